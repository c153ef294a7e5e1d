"""The command line, `salesforce-pipelines`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import dagster as dg
import dotenv
import typer
from rich.markup import escape
from rich.table import Table

from salesforce_pipelines.automation.sensors import plan_targets
from salesforce_pipelines.cli import demo as demo_story
from salesforce_pipelines.cli import histories
from salesforce_pipelines.cli.checking import check_all
from salesforce_pipelines.cli.lost_runs import fail_lost_runs
from salesforce_pipelines.cli.runs import instance, run_job
from salesforce_pipelines.cli.terminal import wide_console
from salesforce_pipelines.cli.ui import interruptible, serve_ui
from salesforce_pipelines.config.loading import configuration_path, json_schema, load
from salesforce_pipelines.config.models import Pipelines
from salesforce_pipelines.confirmation import UNITS
from salesforce_pipelines.definitions import open_ledger
from salesforce_pipelines.enrichment.plans import confirm as confirm_enrichment
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.command import app as local_org
from salesforce_pipelines.push.journal import history
from salesforce_pipelines.store import plans as ledger_plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan, PlanKind
from salesforce_pipelines.store.tables import Tables

_SHOWN = int | float | datetime

app = typer.Typer(
    name="salesforce-pipelines",
    help="Enrichment, referral programs and write-back for a Salesforce org.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(local_org, name="local-org")
app.command()(histories.history)
app.command()(histories.changes)

PlanId = Annotated[str, typer.Argument(help="The plan's id, or the first characters of it.")]
By = Annotated[str, typer.Option("--by", help="Who decides; kept with the plan.")]
Contacts = Annotated[int, typer.Option(help="Contacts to generate when the local org is new.")]
Leads = Annotated[int, typer.Option(help="Leads to generate when the local org is new.")]


def run() -> None:
    """Run the command line; a problem a person can cure is one message and exit code 2."""
    dotenv.load_dotenv(Path(".env"))
    try:
        app()
    except PipelineError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)


@app.command()
def check() -> None:
    """Check the configuration against the org and the people data, before anything runs."""
    pipelines = _configuration()
    for line in check_all(pipelines):
        typer.echo(line)


@app.command(name="run")
def run_command(job: Annotated[str, typer.Argument(help="The job's name, such as sync.")]) -> None:
    """Run one job to its end in this process."""
    pipelines = _configuration()
    with instance() as on:
        done = run_job(pipelines, job, on, assets=_ready(pipelines, job))
    for asset, metadata in done.metadata.items():
        shown = {k: v for k, v in metadata.items() if isinstance(v, _SHOWN) and "/" not in k}
        told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
        typer.echo(f"{asset}: {told or 'done'}")
        if "error" in metadata:
            typer.echo(f"{asset} is {metadata['age']} old: {metadata['error']}", err=True)


@app.command()
def plans(
    every: Annotated[bool, typer.Option("--all", help="Also plans that are over.")] = False,
) -> None:
    """List the plans that wait for a decision or are being carried out."""
    with _ledger() as ledger:
        found = [*ledger_plans.under_way(ledger), *ledger_plans.open_plans(ledger)]
        found = ledger_plans.history(ledger) if every else found
    if not found:
        typer.echo("No plan is open.")
        return
    shown = Table("plan", "kind", "stream", "status", "amount", "proposed", "decided by")
    for plan in found:
        amount = f"{plan.amount:,} {UNITS[plan.kind]}"
        proposed = f"{plan.proposed_at:%Y-%m-%d %H:%M}"
        row = [plan.id, plan.kind.value, plan.stream, plan.status.value, amount, proposed]
        shown.add_row(*row, plan.decided_by or "")
    wide_console().print(shown)


@app.command()
def plan(plan_id: PlanId) -> None:
    """Show one plan: its counts, and what became of it. No values of records are shown."""
    with _ledger() as ledger:
        found = ledger_plans.find(ledger, plan_id)
    typer.echo(f"{found.kind.value} plan {found.id} of {found.stream}: {found.status.value}")
    typer.echo(f"asks for {found.amount:,} {UNITS[found.kind]}")
    typer.echo(json.dumps(found.summary, indent=2))
    if found.outcome:
        typer.echo("outcome:")
        typer.echo(json.dumps(found.outcome, indent=2))


@app.command()
def confirm(
    plan_id: PlanId,
    amount: Annotated[int, typer.Option(help="The credits or cells that the plan asks for.")],
    by: By,
) -> None:
    """Confirm a plan: it may be carried out once, exactly as shown."""
    pipelines = _configuration()
    with _ledger() as ledger:
        done = confirm_plan(pipelines, ledger, plan_id, amount, by)
    typer.echo(f"{done.kind.value} plan {done.id} of {done.stream}: {done.status.value}")


@app.command()
def reject(
    plan_id: PlanId,
    by: By,
    note: Annotated[str, typer.Option(help="Why; kept with the plan.")] = "",
) -> None:
    """Reject a plan: it can never be carried out."""
    with _ledger() as ledger:
        found = ledger_plans.find(ledger, plan_id)
        done = ledger_plans.reject(ledger, found.id, by=by, note=note)
    typer.echo(f"{done.kind.value} plan {done.id} of {done.stream}: {done.status.value}")


@app.command()
def release(plan_id: PlanId) -> None:
    """Give a plan back that a run holds which no longer exists, so that it can be carried out.

    Only for a run that Dagster does not know any more; what it did already is recognised.
    """
    with _ledger() as ledger, instance() as on:
        found = ledger_plans.find(ledger, plan_id)
        run = None if found.claimed_by is None else on.get_run_by_id(found.claimed_by)
        if run is not None and not run.is_finished:
            raise PipelineError(
                f"plan {found.id}: run {run.run_id} is at work on it. If its process is dead, "
                "cancel the run in the Dagster UI (Runs, Terminate) and release the plan again."
            )
        done = ledger_plans.release(ledger, found.id, run_id=str(found.claimed_by))
    typer.echo(f"{done.kind.value} plan {done.id} of {done.stream}: {done.status.value}")


@app.command()
def journal(
    stream: Annotated[str, typer.Argument(help="contacts, leads, or referrals/<program>.")],
    record: Annotated[str, typer.Argument(help="The record's Id.")],
) -> None:
    """Explain every write to one record: field, before, after, rule, plan, outcome.

    This shows the record's values.
    """
    shown = Table("at", "field", "before", "after", "rule", "plan", "state", "reason")
    for entry in history(Tables(_configuration().storage.tables), stream, record):
        shown.add_row(*(escape(str(value)) for value in entry))
    if not shown.row_count:
        raise PipelineError(f"{stream}: the journal has no entry for record {record}")
    wide_console().print(shown)


@app.command()
def schema() -> None:
    """Print the JSON Schema of pipelines.yaml, for editors."""
    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def demo(
    contacts: Contacts = 2000,
    leads: Leads = 1000,
    congress: Annotated[bool, typer.Option(help="Only the real people of demo/congress.")] = False,
) -> None:
    """Run the whole story on a local org: pull, match, plan, confirm, enrich, push, refer."""
    if congress:
        demo_story.tell_congress(_command)
    else:
        demo_story.tell(_command, contacts, leads)


@app.command()
def dev(
    contacts: Contacts = 2000,
    leads: Leads = 1000,
    port: Annotated[int, typer.Option(help="Where the Dagster UI is served.")] = 3000,
    org_port: Annotated[int, typer.Option(help="Where the local org is served.")] = 8765,
) -> None:
    """Start the local org and the Dagster UI, until Ctrl+C."""
    pipelines = _configuration()
    with instance() as on:
        fail_lost_runs(on)
    with (
        interruptible(),
        demo_story.rehearsal(pipelines, contacts, leads, port=org_port) as org,
        demo_story.reached(org),
    ):
        typer.echo(f"Local org: {org.url}   Dagster UI: http://127.0.0.1:{port}   (Ctrl+C stops)")
        serve_ui(port)


def _command(arguments: list[str]) -> None:
    app(arguments, standalone_mode=False)


def confirm_plan(pipelines: Pipelines, ledger: Ledger, plan_id: str, amount: int, by: str) -> Plan:
    """Confirm a plan of either kind, by its id or the beginning of it."""
    found = ledger_plans.find(ledger, plan_id)
    if found.kind is PlanKind.PUSH:
        return ledger_plans.confirm(ledger, found.id, amount=amount, by=by)
    cap = pipelines.enrichment.max_credits_per_plan
    return confirm_enrichment(ledger, found.id, credits=amount, by=by, cap=cap)


def _ready(pipelines: Pipelines, job: str) -> list[dg.AssetKey] | None:
    """Of the jobs that carry out plans, the assets whose plan is confirmed; else everything."""
    kinds = {"enrich": PlanKind.ENRICHMENT, "push": PlanKind.PUSH}
    if job not in kinds:
        return None
    with _ledger() as ledger:
        kind = kinds[job]
        ready = [*ledger_plans.confirmed(ledger, kind), *ledger_plans.under_way(ledger, kind)]
    if not ready:
        raise PipelineError(f"no {kind.value} plan is confirmed; see: salesforce-pipelines plans")
    return [key for plan in ready for key in plan_targets(pipelines, plan)]


def _configuration() -> Pipelines:
    return load(configuration_path())


@contextmanager
def _ledger() -> Iterator[Ledger]:
    ledger = open_ledger(_configuration())
    try:
        yield ledger
    finally:
        ledger.close()
