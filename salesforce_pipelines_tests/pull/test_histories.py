"""Whatever happened in the org, to the network and to our processes: in the end tables equal it."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.org import reading
from salesforce_pipelines_tests.local_org.conftest import token_of, unique
from salesforce_pipelines_tests.pull.mirror import LAG, OVERLAP, Mirror, close, mirror_of

pytestmark = pytest.mark.slow

PULLED = ("Contact", "Lead", "Account", "CampaignMember")
PEOPLE = ("Contact", "Lead")
SEEDS, STEPS = range(4), 45
LATEST = int((LAG + OVERLAP).total_seconds()) - 1
PASSING: list[tuple[str, dict[str, Any]]] = [
    ("server_unavailable", {"path": "queryAll"}),
    ("cut", {"path": "queryAll", "fraction": 0.5}),
    ("cut", {"path": "jobs/query/*/results", "fraction": 0.3}),
    ("session_expired", {"path": "queryAll"}),
    ("session_expired", {"path": "jobs/query/*/results"}),
]
ENDING: list[tuple[str, dict[str, Any]]] = [
    ("job_fails", {"job": "query"}),
    ("results_gone", {"times": "unlimited"}),
    ("row_count_mismatch", {"in": "both"}),
    ("truncated_results", {"missing_rows": 1}),
    ("server_unavailable", {"path": "queryAll", "times": "unlimited"}),
    ("daily_limit", {"path": "jobs/query/*/results", "skip": 1}),
]


class KilledError(Exception):
    """Stands for the death of the process while rows land."""


class History:
    """Edits of people, pulls, reconciliations and faults, as a seed has it."""

    def __init__(self, org: RunningOrg, folder: Path, seed: int) -> None:
        self.org = org
        self.random = random.Random(seed)
        self.mirror: Mirror = mirror_of(org, folder)
        # Where a Contact is deleted for good, a Lead's reference to it is cleared without any
        # stamp: ours keeps what it led to.
        self.mirror.fields["Lead"].remove("ConvertedContactId")
        self.late: str | None = None
        self.hidden = False
        self.seen: dict[str, set[str]] = {name: set() for name in PULLED}
        self.told: list[str] = []

    def run(self) -> None:
        """Let so many things happen."""
        for name in PULLED:
            self._pull(name)
        people: list[Callable[[], str | None]] = [
            self.create,
            self.update,
            self.update,
            self.delete,
            self.undelete,
        ]
        people += [self.delete_for_good, self.empty_recycle_bin, self.merge, self.convert]
        people += [self.join_campaign, self.leave_campaign, self.hide_or_show]
        people += [self.be_late, self.be_in_time, self.let_time_pass, self.let_time_pass]
        ours: list[Callable[[], str | None]] = [
            self.pull,
            self.pull,
            self.pull_through,
            self.fail_to_pull,
            self.be_killed,
        ]
        ours += [self.reconcile]
        for _ in range(STEPS):
            step = self.random.choice(self.random.choice([people, ours]))
            told = step()
            self.told.append(f"{step.__name__} {told or ''}".strip())

    # What people do

    def _one(self, sobject: str, where: str = "IsDeleted = false") -> str | None:
        soql = f"SELECT Id FROM {sobject} WHERE {where} ORDER BY Id"
        found = self.mirror.api.records(soql, "queryAll")
        return self.random.choice(found)["Id"] if found else None

    def _person(self) -> str:
        return self.random.choice(PEOPLE)

    def _way(self) -> bool:
        bulk = self.random.random() < 0.5
        self.mirror.use_bulk(1 if bulk else 10_000)
        return bulk

    def _full(self) -> bool:
        return self.random.random() < 0.25

    def create(self) -> str:
        sobject = self._person()
        more = {"Company": unique("Company")} if sobject == "Lead" else {"Title": unique("Title")}
        return self.mirror.api.create(sobject, LastName=unique("New"), **more)

    def update(self) -> str | None:
        sobject = self._person()
        where = "IsDeleted = false" + (" AND IsConverted = false" if sobject == "Lead" else "")
        if one := self._one(sobject, where):
            shown = {"Title": unique()} | ({} if self.hidden else {"Department": unique()})
            changed = shown if sobject == "Contact" else {"Company": unique("Company")}
            # A record that is deleted and still seen cannot be changed.
            self.mirror.api.call("PATCH", f"sobjects/{sobject}/{one}", json=changed)
        return one

    def delete(self) -> str | None:
        sobject = self._person()
        if one := self._one(sobject):
            self.mirror.api.call("DELETE", f"sobjects/{sobject}/{one}")
        return one

    def undelete(self) -> str | None:
        if one := self._one(self._person(), "IsDeleted = true"):
            self.mirror.soap.by_id("undelete", one)
        return one

    def delete_for_good(self) -> str | None:
        if one := self._one("Contact"):
            # One that is deleted and still seen is refused.
            with contextlib.suppress(AssertionError):
                self.mirror.bulk("Contact", "hardDelete", [one])
        return one

    def empty_recycle_bin(self) -> None:
        self.mirror.admin.empty_recycle_bin()

    def merge(self) -> str:
        sobject = self._person()
        where = "IsDeleted = false" + (" AND IsConverted = false" if sobject == "Lead" else "")
        master, victim = self._one(sobject, where), self._one(sobject, where)
        if master and victim and master != victim:
            self.mirror.soap.merge(sobject, master, victim)
        return f"{victim} into {master}"

    def convert(self) -> str | None:
        where = "IsDeleted = false AND IsConverted = false"
        if lead := self._one("Lead", where):
            self.mirror.soap.convert(lead)
        return lead

    def join_campaign(self) -> None:
        campaign, contact = self._one("Campaign"), self._one("Contact")
        if campaign and contact:
            values = {"CampaignId": campaign, "ContactId": contact}
            self.mirror.api.call("POST", "sobjects/CampaignMember", json=values)

    def leave_campaign(self) -> None:
        if member := self._one("CampaignMember"):
            self.mirror.api.call("DELETE", f"sobjects/CampaignMember/{member}")

    def hide_or_show(self) -> None:
        self.hidden = not self.hidden
        self.mirror.hide("Contact", "Department", hidden=self.hidden)

    def be_late(self) -> str:
        self.be_in_time()
        sobject, seconds = self._person(), self.random.randint(1, LATEST)
        self.late = self.mirror.admin.add_fault("late_rows", sobject=sobject, seconds=seconds)
        return f"{sobject} {seconds}"

    def be_in_time(self) -> None:
        if self.late is not None:
            self.mirror.admin.remove_fault(self.late)
            self.late = None

    def let_time_pass(self) -> str:
        seconds = self.random.choice([1, 30, 61, 400, 1200])
        self.mirror.admin.move_clock(seconds=seconds)
        token = token_of(self.org)["access_token"]
        self.mirror.api.session.headers["Authorization"] = f"Bearer {token}"
        return str(seconds)

    # What we do

    def _pull(self, sobject: str, **options: Any) -> Any:
        report = self.mirror.pull(sobject, **options)
        self.seen[sobject] |= set(self.mirror.states(sobject))
        return report

    def pull(self) -> str:
        sobject, bulk, full = self.random.choice(PULLED), self._way(), self._full()
        self._pull(sobject, full=full)
        return f"{sobject} {bulk=} {full=}"

    def pull_through(self) -> str:
        sobject, bulk = self.random.choice(PULLED), self._way()
        kind, options = self.random.choice(PASSING)
        with self.mirror.admin.fault(kind, **options):
            self._pull(sobject)
        return f"{sobject} {bulk=} {kind}"

    def fail_to_pull(self) -> str:
        self.mirror.use_bulk()
        sobject, full = self._person(), self._full()
        kind, options = self.random.choice(ENDING)
        with self.mirror.admin.fault(kind, **options), contextlib.suppress(PipelineError):
            self._pull(sobject, full=full)
        return f"{sobject} {full=} {kind}"

    def be_killed(self) -> str:
        sobject, full = self._person(), self._full()

        def die() -> None:
            raise KilledError

        self.mirror.use_bulk()
        with contextlib.suppress(KilledError):
            self.mirror.pull(sobject, full=full, after_pages=1, between=die)
        return f"{sobject} {full=}"

    def reconcile(self) -> str:
        sobject, deep = self.random.choice(PULLED), self.random.random() < 0.5
        self.mirror.reconcile(sobject, deep=deep)
        return f"{sobject} {deep=}"

    # In the end

    def check(self) -> None:
        self.mirror.admin.clear()
        if self.hidden:
            self.mirror.hide("Contact", "Department", hidden=False)
        self.mirror.admin.move_clock(seconds=LATEST + LAG.total_seconds() + 1)
        for name in PULLED:
            if self._pull(name).resumed:
                self._pull(name)
            assert self.mirror.reconcile(name).problem == ""
            self.mirror.assert_equal(name)
            self._check_states(name)

    def _check_states(self, sobject: str) -> None:
        states = self.mirror.states(sobject)
        assert self.seen[sobject] <= set(states), "nothing is dropped"
        merges = "MasterRecordId, " if "MasterRecordId" in self.mirror.fields[sobject] else ""
        soql = f"SELECT {merges}Id FROM {sobject} WHERE IsDeleted = true"
        page = self.mirror.session.get("queryAll", {"q": soql})
        binned = {row["Id"]: row.get("MasterRecordId") for row in page["records"]}
        for record, state in states.items():
            if state == "live":
                continue
            if record in binned:
                assert state == ("merged" if binned[record] else "deleted"), (record, state)
            else:
                assert state in ("purged", "merged"), (record, state)


@pytest.mark.parametrize("seed", SEEDS)
def test_tables_equal_the_org_after_any_history(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_LARGEST_BULK_PAGE", 10)
    monkeypatch.setattr(reading, "_SMALLEST_BULK_PAGE", 10)
    with running_org(tmp_path / "home", contacts=40, leads=25, seed=11) as org:
        org.admin.freeze_clock()
        history = History(org, tmp_path / "tables", seed)
        try:
            history.run()
            history.check()
        except Exception as error:
            error.add_note("\n".join(history.told))
            raise
        finally:
            close(history.mirror)
