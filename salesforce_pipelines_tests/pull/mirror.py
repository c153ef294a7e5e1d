"""A local org whose clock and faults the tests move, and our tables that follow it."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import tenacity
from pydantic import SecretStr

from salesforce_pipelines.config.environment import OrgEnvironment
from salesforce_pipelines.config.models import TABLE_NAMES, Connection, Pull, Scope, SoqlScope
from salesforce_pipelines.local_org.admin_client import AdminClient
from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines.org import reading
from salesforce_pipelines.org.describe import describe
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull.pulling import PullReport, Wanted, pull
from salesforce_pipelines.pull.reconciling import Reconciliation, reconcile
from salesforce_pipelines.store.tables import ChangeLog, Tables
from salesforce_pipelines_tests.local_org.conftest import Api, api_of
from salesforce_pipelines_tests.local_org.soap_client import Soap

SYSTEM = ["Id", "IsDeleted", "CreatedDate", "SystemModstamp"]
FIELDS = {
    "Account": [*SYSTEM, "MasterRecordId", "Name", "Industry"],
    "Campaign": [*SYSTEM, "Name"],
    "CampaignMember": [*SYSTEM, "CampaignId", "ContactId", "LeadId", "Status"],
    "Contact": [*SYSTEM, "MasterRecordId", "AccountId", "LastName", "Department", "Title"],
    "Lead": [
        *SYSTEM,
        *("MasterRecordId", "LastName", "Company", "Status", "IsConverted", "ConvertedDate"),
        *("ConvertedContactId", "ConvertedAccountId", "ConvertedOpportunityId"),
    ],
    "Opportunity": [*SYSTEM, "Name", "StageName", "Amount"],
}
LAG, OVERLAP = timedelta(seconds=60), timedelta(minutes=10)
INTEGRATION_USER = "integration@local-org.example"


def session_of(org: RunningOrg, **options: Any) -> OrgSession:
    """A session that does not pause between attempts."""
    return OrgSession(
        Connection.model_validate({"login_url": org.url, "timeout": "30s"}),
        OrgEnvironment(client_id=org.client_id, client_secret=SecretStr(org.client_secret)),
        **{"attempts": 3, "wait": tenacity.wait_none(), **options},
    )


@dataclass
class Mirror:
    """One org, a person who works in it, and the tables that follow it."""

    running: RunningOrg
    folder: Path
    session: OrgSession
    api: Api
    settings: Pull = field(
        default_factory=lambda: Pull.model_validate(
            {"lag": "60s", "overlap": "10m", "bulk_threshold": 10_000}
        )
    )
    fields: dict[str, list[str]] = field(
        default_factory=lambda: {name: list(names) for name, names in FIELDS.items()}
    )

    @property
    def admin(self) -> AdminClient:
        """The org's clock, faults and Setup."""
        return self.running.admin

    @cached_property
    def tables(self) -> Tables:
        """The tables."""
        return Tables(self.folder)

    @property
    def soap(self) -> Soap:
        """Merges, conversions and undeletes of a person in the org."""
        return Soap(self.api)

    def log(self, sobject: str) -> ChangeLog:
        """The table of an sObject."""
        return self.tables.log(f"pulled/{TABLE_NAMES[sobject]}")

    def use_bulk(self, threshold: int = 1) -> None:
        """Pull by Bulk API from so many rows on."""
        self.settings = self.settings.model_copy(update={"bulk_threshold": threshold})

    def use_rest_pages(self, rows: int) -> None:
        """Ask for REST pages of so many rows (at least 200)."""
        self.session._http.headers["Sforce-Query-Options"] = f"batchSize={rows}"

    def later(self, **step: float) -> None:
        """Let the org's time pass; the lag by default, so that a pull sees all there is."""
        self.admin.move_clock(**(step or {"seconds": LAG.total_seconds() + 1}))

    def pull(
        self,
        sobject: str = "Contact",
        *,
        scope: str | Scope = "",
        full: bool = False,
        every_field: bool = False,
        between: Callable[[], None] | None = None,
        after_pages: int = 0,
    ) -> PullReport:
        """Pull an sObject as the org is now.

        Args:
            sobject: The sObject.
            scope: A condition in SOQL, or a list view.
            full: Whether to read everything.
            every_field: Whether every field is wanted.
            between: Done once, when the first rows have landed.
            after_pages: How many more pages land before that.
        """
        waiting = [between] if between else []
        pages = itertools.count()

        def landed(_rows: int, _expected: int) -> None:
            if waiting and next(pages) >= after_pages:
                waiting.pop()()

        chosen = SoqlScope(soql=scope) if isinstance(scope, str) and scope else scope or None
        assert not isinstance(chosen, str)
        wanted = Wanted(sobject, self.fields[sobject], every_field, chosen, full)
        return pull(self.session, self.log(sobject), wanted, self.settings, landed)

    def reconcile(self, sobject: str = "Contact", *, deep: bool = True) -> Reconciliation:
        """Compare a table with the org and mend it."""
        return reconcile(
            self.session,
            self.log(sobject),
            self.tables.log(f"reconciled/{TABLE_NAMES[sobject]}", key="month"),
            sobject,
            self.settings,
            deep=deep,
        )

    def rows(
        self, sobject: str = "Contact", columns: Sequence[str] | None = None, where: str = "true"
    ) -> dict[str, dict[str, Any]]:
        """The table's rows by Id."""
        if columns is not None:
            columns = list(dict.fromkeys(["Id", *columns]))
        found = self.log(sobject).current(columns, where=where).read_all().to_pylist()
        return {row["Id"]: row for row in found}

    def live(self, sobject: str = "Contact") -> dict[str, dict[str, Any]]:
        """The table's live rows, with the fields that are pulled."""
        return self.rows(sobject, self.fields[sobject], "record_state = 'live'")

    def states(self, sobject: str = "Contact") -> dict[str, str]:
        """What became of each record that the table holds."""
        rows = self.rows(sobject, ["record_state"])
        return {record: row["record_state"] for record, row in rows.items()}

    def in_org(self, sobject: str = "Contact", where: str = "") -> dict[str, dict[str, Any]]:
        """The org's live records by Id, typed as the tables are."""
        described = describe(self.session, sobject)
        kinds = {f.name: f.type for f in described.require(self.fields[sobject], "the test")}
        condition = f" WHERE {where}" if where else ""
        soql = f"SELECT {', '.join(kinds)} FROM {sobject}{condition}"
        page, records = self.session.get("query", {"q": soql}), []
        while True:
            records += page["records"]
            if page["done"]:
                break
            page = self.session.request("GET", page["nextRecordsUrl"]).json()
        return {
            record["Id"]: {name: typed(record[name], kind) for name, kind in kinds.items()}
            for record in records
        }

    def assert_equal(self, sobject: str = "Contact", where: str = "") -> None:
        """Check that the table's live rows are the org's, field by field."""
        held, theirs = self.live(sobject), self.in_org(sobject, where)
        assert set(held) == set(theirs), {
            "only ours": {i: self.states(sobject)[i] for i in set(held) - set(theirs)},
            "only theirs": {i: self.states(sobject).get(i) for i in set(theirs) - set(held)},
        }
        different = {i: (held[i], theirs[i]) for i in theirs if held[i] != theirs[i]}
        assert not different, different

    def some(self, number: int, sobject: str = "Contact", where: str = "") -> list[str]:
        """The Ids of so many live records of the org."""
        condition = f" WHERE {where}" if where else ""
        soql = f"SELECT Id FROM {sobject}{condition} ORDER BY Id LIMIT {number}"
        found = [row["Id"] for row in self.api.records(soql)]
        assert len(found) == number
        return found

    def bulk(self, sobject: str, operation: str, ids: Sequence[str]) -> None:
        """Delete records by a Bulk job, such as `hardDelete`."""
        body = {"object": sobject, "operation": operation}
        job = self.api.send("POST", "jobs/ingest", body, 200)["id"]
        content = "Id\n" + "".join(f"{one}\n" for one in ids)
        headers = {"Content-Type": "text/csv"}
        self.api.call("PUT", f"jobs/ingest/{job}/batches", data=content, headers=headers)
        self.api.send("PATCH", f"jobs/ingest/{job}", {"state": "UploadComplete"}, 200)
        done = self.api.finished("ingest", job)
        assert done["numberRecordsFailed"] == 0

    def hide(self, sobject: str, name: str, *, hidden: bool = True) -> None:
        """Hide a field from the integration user, or show it again."""
        body = {"user": INTEGRATION_USER, "readable": not hidden}
        self.admin.send("PATCH", f"fields/{sobject}/{name}/access", body)

    def query_jobs(self) -> list[dict[str, Any]]:
        """The Bulk query jobs that the org has now."""
        jobs = self.admin.send("GET", "jobs")["jobs"]
        return [job for job in jobs if job["operation"] in ("query", "queryAll")]

    def forget_jobs(self) -> None:
        """Delete the Bulk query jobs that are over."""
        for job in self.query_jobs():
            self.api.call("DELETE", f"jobs/query/{job['id']}")


def mirror_of(org: RunningOrg, folder: Path) -> Mirror:
    """A mirror with sessions of its own; close them."""
    return Mirror(org, folder, session_of(org), api_of(org))


def close(mirror: Mirror) -> None:
    """Let the connections of a mirror go, and the org's faults."""
    mirror.admin.clear()
    mirror.session.close()
    mirror.api.session.close()


PAGE_ROWS = 100


def small_bulk_pages(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pull by Bulk API in pages of a hundred rows."""
    mirror.use_bulk()
    monkeypatch.setattr(reading, "_LARGEST_BULK_PAGE", PAGE_ROWS)
    monkeypatch.setattr(reading, "_SMALLEST_BULK_PAGE", PAGE_ROWS)


def typed(value: Any, kind: str) -> Any:
    """A value of the REST API as the tables hold it."""
    if value is None:
        return None
    if kind == "datetime":
        return datetime.fromisoformat(value)
    if kind == "date":
        return date.fromisoformat(value)
    if kind == "currency":
        return Decimal(str(value))
    return value
