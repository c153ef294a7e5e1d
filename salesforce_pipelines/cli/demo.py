"""The demo: the whole story on a local org, told step by step."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from rich.console import Console
from rich.table import Table

from salesforce_pipelines.automation.sensors import plan_targets
from salesforce_pipelines.cli.runs import JobRun, instance, run_job
from salesforce_pipelines.cli.terminal import wide_console
from salesforce_pipelines.config.loading import configuration_path, load
from salesforce_pipelines.config.models import Pipelines
from salesforce_pipelines.confirmation import UNITS
from salesforce_pipelines.definitions import open_ledger
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.generated.people import write_people
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.store import plans as ledger_plans
from salesforce_pipelines.store.plans import Plan, PlanKind, PlanStatus
from salesforce_pipelines.store.tables import Tables

SEED = 7
EDITED = 20
REFERRED = 8
Command = Callable[[list[str]], None]


@dataclass
class Tally:
    """What the demo adds up while it goes along."""

    pulled: dict[str, int] = field(default_factory=dict)
    matched: Counter[str] = field(default_factory=Counter)
    ambiguous: int = 0
    planned: int = 0
    credits: int = 0
    cells: Counter[str] = field(default_factory=Counter)
    links: int = 0
    api_calls: int = 0


def tell(command: Command, contacts: int, leads: int) -> None:
    """Tell the story, with the configuration in use.

    Args:
        command: Runs one command of the command line, given its arguments.
        contacts: Contacts to generate when the local org is new.
        leads: Leads to generate when the local org is new.

    Raises:
        PipelineError: A step failed.
    """
    started = perf_counter()
    pipelines = load(configuration_path())
    console = wide_console()
    console.print(f"Starting the local org ({contacts:,} Contacts, {leads:,} Leads, Congress) ...")
    with rehearsal(pipelines, contacts, leads) as org, reached(org), instance() as on:
        console.print(f"The local org answers at {org.url}")
        story = _Story(console, pipelines, on, command)
        story.first_part()
        story.second_part()
        story.summary(perf_counter() - started)


def tell_congress(command: Command) -> None:
    """The first part of the story over nothing but real people, with a configuration of its own.

    Raises:
        PipelineError: A step failed.
    """
    started = perf_counter()
    os.environ["SALESFORCE_PIPELINES_CONFIG"] = str(_congress() / "pipelines.yaml")
    pipelines = load(configuration_path())
    console = wide_console()
    with rehearsal(pipelines, 0, 0) as org, reached(org), instance() as on:
        story = _Story(console, pipelines, on, command)
        story.first_part()
        story.summary(perf_counter() - started)


@contextmanager
def rehearsal(
    pipelines: Pipelines, contacts: int, leads: int, port: int = 0
) -> Iterator[RunningOrg]:
    """The local org with generated and real people, and the provider's file beside it."""
    if urlsplit(pipelines.connection.login_url).hostname not in ("127.0.0.1", "localhost"):
        raise PipelineError(
            f"connection.login_url is {pipelines.connection.login_url}: demo and dev confirm plans "
            "by themselves or serve a local org, so they run with a configuration for the local "
            "org only. For your own org: dagster dev -w workspace.yaml"
        )
    congress = _congress()
    people = pipelines.enrichment.provider.path
    if not people.exists():
        _write_people(people, congress / "people.csv", contacts, leads)
    with running_org(
        pipelines.storage.scratch.parent / "org",
        contacts=contacts,
        leads=leads,
        seed=SEED,
        load=[congress / "contacts.csv"],
        port=port,
    ) as org:
        yield org


def _congress() -> Path:
    folder = Path(__file__).parents[2] / "demo" / "congress"
    if not folder.is_dir():
        raise PipelineError(f"{folder}: the demo's data is missing; run it from a clone")
    return folder


def _write_people(path: Path, congress: Path, contacts: int, leads: int) -> None:
    """The provider's people: those of the generated records, and the members of Congress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    write_people(partial, contacts, leads, SEED)
    with congress.open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    with partial.open(encoding="utf-8", newline="") as written:
        header = next(csv.reader(written))
    with partial.open("a", encoding="utf-8", newline="") as target:
        csv.DictWriter(target, header, restval="", extrasaction="ignore").writerows(rows)
    partial.rename(path)


@contextmanager
def reached(org: RunningOrg) -> Iterator[None]:
    """The environment that points this process at the local org."""
    wanted = {
        "SALESFORCE_LOGIN_URL": org.url,
        "SALESFORCE_CLIENT_ID": org.client_id,
        "SALESFORCE_CLIENT_SECRET": org.client_secret,
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Story:
    def __init__(
        self, console: Console, pipelines: Pipelines, on: dg.DagsterInstance, command: Command
    ) -> None:
        self._console = console
        self._pipelines = pipelines
        self._on = on
        self._command = command
        self._tally = Tally()

    def first_part(self) -> None:
        self._title("1. Pull, match, plan (nothing is spent, nothing is sent)")
        synced = self._run("sync")
        self._show_pull(synced)
        self._show_matches(synced)
        self._carry_out("2. A person confirms the enrichment", PlanKind.ENRICHMENT, "enrich")
        self._carry_out("3. A person confirms the push", PlanKind.PUSH, "push")
        self._title("4. Pull again: our own writes come back, nothing else")
        self._show_pull(self._run("pull"))

    def second_part(self) -> None:
        self._title("5. People work in the org, then the nightly sync runs")
        self._edit_the_org()
        synced = self._run("sync")
        self._show_pull(synced)
        self._carry_out("6. What that leads to, confirmed too", PlanKind.ENRICHMENT, "enrich")
        self._carry_out("7. Referral counts and new values go back", PlanKind.PUSH, "push")

    def summary(self, seconds: float) -> None:
        self._title("Summary")
        tally = self._tally
        shown = Table("what", "number", show_header=False)
        for name, number in tally.pulled.items():
            shown.add_row(f"{name} in the table", f"{number:,}")
        for name, number in tally.matched.most_common():
            shown.add_row(f"matched by {name}", f"{number:,}")
        shown.add_row("ambiguous, left to a person", f"{tally.ambiguous:,}")
        shown.add_row("records planned for enrichment", f"{tally.planned:,}")
        shown.add_row("credits spent", f"{tally.credits:,}")
        for state in ("written", "unchanged", "held", "rejected"):
            shown.add_row(f"cells {state}", f"{tally.cells[state]:,}")
        shown.add_row("referral links", f"{tally.links:,}")
        shown.add_row("API calls of pulls and pushes", f"{tally.api_calls:,}")
        shown.add_row("time", f"{seconds:.1f} s")
        self._console.print(shown)
        self._console.print(
            "Look around: [bold]make dev[/] starts the local org and the Dagster UI at "
            "http://127.0.0.1:3000, with these runs in its history.\n"
            "[bold]salesforce-pipelines plans --all[/] lists every plan; "
            "[bold]salesforce-pipelines journal contacts RECORD_ID[/] explains every write."
        )

    def _title(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/]")

    def _run(self, job: str, assets: list[dg.AssetKey] | None = None) -> JobRun:
        started = perf_counter()
        done = run_job(self._pipelines, job, self._on, assets=assets)
        self._console.print(f"   job {job}: {perf_counter() - started:.1f} s")
        return done

    def _show_pull(self, done: JobRun) -> None:
        shown = Table("table", "pull", "by", "added", "changed", "deleted", "unchanged", "calls")
        for asset, found in done.metadata.items():
            if asset.startswith("pulled/") and "channel" in found:
                self._tally.pulled[asset.partition("/")[2]] = found["dagster/row_count"]
                self._tally.api_calls += found["api_calls"]
                counts = [found[name] for name in ("added", "changed", "deleted", "unchanged")]
                name = asset.partition("/")[2]
                shown.add_row(
                    name,
                    found["pull"],
                    found["channel"],
                    *(f"{n:,}" for n in [*counts, found["api_calls"]]),
                )
            elif asset.endswith("/links"):
                self._tally.links = found["links"]
        self._console.print(shown)

    def _show_matches(self, done: JobRun) -> None:
        shown = Table("matches", "records", "matched", "ambiguous", "unmatched", "matched by")
        for asset, found in done.metadata.items():
            if not asset.startswith("matches/"):
                continue
            by = {row["identifier"]: row["records"] for row in _rows(found["matched_by"])}
            self._tally.matched.update(by)
            counts = [found[name] for name in ("records", "matched", "ambiguous", "unmatched")]
            self._tally.ambiguous += found["ambiguous"]
            told = ", ".join(f"{name} {number:,}" for name, number in by.items())
            shown.add_row(asset.partition("/")[2], *(f"{n:,}" for n in counts), told)
        self._console.print(shown)

    def _carry_out(self, title: str, kind: PlanKind, job: str) -> None:
        plans = self._proposed(kind)
        if not plans:
            return
        self._title(title)
        for plan in plans:
            unit = UNITS[kind]
            self._console.print(
                f"   plan {plan.id} of {plan.stream}: {plan.eligible:,} of {plan.records:,} "
                f"records, {plan.amount:,} {unit}"
            )
            arguments = ["confirm", plan.id, "--amount", str(plan.amount), "--by", "demo"]
            self._console.print(f"   $ salesforce-pipelines {' '.join(arguments)}")
            self._command(arguments)
            self._tally.planned += plan.eligible if kind is PlanKind.ENRICHMENT else 0
        done = self._run(job, self._targets(plans))
        for found in done.metadata.values():
            self._tally.credits += found.get("credits_charged", 0)
            for state in ("written", "unchanged", "held", "rejected"):
                self._tally.cells[state] += found.get(f"cells_{state}", 0)
            if "cells_written" in found:
                self._tally.api_calls += found["api_calls"]

    def _proposed(self, kind: PlanKind) -> list[Plan]:
        ledger = open_ledger(self._pipelines)
        try:
            found = ledger_plans.open_plans(ledger, kind)
        finally:
            ledger.close()
        return [plan for plan in found if plan.status is PlanStatus.PROPOSED]

    def _targets(self, plans: list[Plan]) -> list[dg.AssetKey]:
        """The assets that carry out these plans and no others."""
        return [key for plan in plans for key in plan_targets(self._pipelines, plan)]

    def _edit_the_org(self) -> None:
        """What people do in the org between two nights, as another user of its API."""
        session = OrgSession(self._pipelines.connection)
        try:
            contacts = _ids(session, "Contact", "External_Id__c LIKE 'GEN-C-%'", EDITED)
            leads = _ids(session, "Lead", "IsConverted = false", REFERRED)
            codes = self._codes(contacts[:REFERRED])
            _edit(session, "Contact", {one: {"Department": "Edited by hand"} for one in contacts})
            _edit(
                session,
                "Lead",
                {
                    lead: {"Referred_By_Code__c": code, "Status": "Qualified"}
                    for lead, code in zip(leads, codes, strict=False)
                },
            )
        finally:
            session.close()
        self._console.print(
            f"   {len(contacts)} Contacts edited by hand; {len(codes)} Leads came by a referral "
            "link and were qualified"
        )
        # Stamps are whole seconds, and a pull leaves the running second to the next one.
        sleep(1.1)

    def _codes(self, records: list[str]) -> list[str]:
        """The referral codes of some records."""
        log = Tables(self._pipelines.storage.tables).log(
            f"referrals/{next(iter(self._pipelines.referrals))}/links"
        )
        rows = log.current(["Id", "code"]).read_all().to_pylist()
        codes = {row["Id"]: row["code"] for row in rows}
        return [codes[record] for record in records]


def _rows(metadata: dg.TableMetadataValue | str) -> list[dict[str, Any]]:
    """The rows of a table in a materialization's metadata, where an empty one is a word."""
    return [] if isinstance(metadata, str) else [dict(record.data) for record in metadata.records]


def _ids(session: OrgSession, sobject: str, where: str, limit: int) -> list[str]:
    soql = f"SELECT Id FROM {sobject} WHERE {where} ORDER BY Id LIMIT {limit}"
    return [record["Id"] for record in session.get("query", {"q": soql})["records"]]


def _edit(session: OrgSession, sobject: str, values: dict[str, dict[str, str]]) -> None:
    records = [
        {"attributes": {"type": sobject}, "id": record, **fields}
        for record, fields in values.items()
    ]
    answers = session.request(
        "PATCH",
        f"{session.base_path}/composite/sobjects",
        json={"allOrNone": True, "records": records},
        what=f"editing {sobject}",
    ).json()
    if not all(answer["success"] for answer in answers):
        raise PipelineError(f"the local org refused the demo's edits of {sobject}: {answers}")
