"""Making the home of a new org: its tables, the records every org has, and generated people.

A home is built beside its final name and moved there when it is whole, so that an interrupted
build leaves nothing behind that looks like an org.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.metadata.schema import Schema, SObject, load_schema
from salesforce_pipelines.local_org.rest.list_views import SEEDED
from salesforce_pipelines.local_org.saves import campaign_members, stage_history
from salesforce_pipelines.local_org.storage.ids import IdFactory
from salesforce_pipelines.local_org.storage.loading import load_records
from salesforce_pipelines.local_org.storage.store import (
    ADMIN_NUMBER,
    INTEGRATION_USER_NUMBER,
    Value,
    create_indexes,
    create_tables,
    insert_statement,
    prepare,
    stamp,
    utc_now,
)

GeneratedRecords = Iterable[tuple[str, dict[str, object]]]

# (stage, probability, closed, won, forecast category, its label)
_STAGES = (
    ("Prospecting", 10, 0, 0, "Pipeline", "Pipeline"),
    ("Qualification", 10, 0, 0, "Pipeline", "Pipeline"),
    ("Needs Analysis", 20, 0, 0, "Pipeline", "Pipeline"),
    ("Value Proposition", 50, 0, 0, "Pipeline", "Pipeline"),
    ("Id. Decision Makers", 60, 0, 0, "Pipeline", "Pipeline"),
    ("Perception Analysis", 70, 0, 0, "Pipeline", "Pipeline"),
    ("Proposal/Price Quote", 75, 0, 0, "Pipeline", "Pipeline"),
    ("Negotiation/Review", 90, 0, 0, "Pipeline", "Pipeline"),
    ("Closed Won", 100, 1, 1, "Closed", "Closed"),
    ("Closed Lost", 0, 1, 0, "Omitted", "Omitted"),
)


def build_home(home: Path, seed: int, records: Callable[[], GeneratedRecords]) -> bool:
    """Make an org in a home folder, with generated records; False if one is there already.

    Args:
        home: The folder; made if it is missing.
        seed: Decides the org's ids, so that equal seeds and records give equal orgs.
        records: Called for a new org; gives (sObject, row) in dependency order, as
            `generator.records` yields them.

    Raises:
        PipelineError: The folder holds something that is not an org.
    """
    final = home / "org.db"
    if final.exists():
        _check_is_org(final)
        return False
    home.mkdir(parents=True, exist_ok=True)
    partial = home / "org.db.partial"
    for leftover in (partial, home / "org.db-wal", home / "org.db-shm"):
        leftover.unlink(missing_ok=True)
    connection = sqlite3.connect(partial, isolation_level=None)
    try:
        _fill(connection, seed, records())
        connection.close()
        partial.replace(final)
    finally:
        connection.close()
        partial.unlink(missing_ok=True)
    return True


def _fill(connection: sqlite3.Connection, seed: int, records: GeneratedRecords) -> None:
    # The file counts only once it is whole, so neither a journal nor syncing is needed.
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -64000")
    prepare(connection)
    schema = load_schema()
    ids = IdFactory(_pod(seed))
    connection.execute("BEGIN")
    create_tables(connection, schema)
    now = stamp(utc_now())
    _OwnRecords(connection, schema, ids, now).insert(_pod(seed))
    load_records(connection, schema, ids, records, now)
    campaign_members.add_statuses(connection, schema, ids, ids.record_id("005", ADMIN_NUMBER))
    stage_history.add_entries(connection, schema, ids)
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    create_indexes(connection, schema)
    connection.execute("COMMIT")


def _check_is_org(path: Path) -> None:
    try:
        connection = sqlite3.connect(path)
        try:
            connection.execute("SELECT value FROM _setting").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        raise PipelineError(
            f"{path} is not the file of a local org. Choose another --home, or delete it."
        ) from None


def _pod(seed: int) -> str:
    digits = hashlib.sha256(str(seed).encode()).hexdigest()
    return f"{int(digits[0], 16) % 9 + 1}{'ghijklmnopqrstuv'[int(digits[1], 16)]}0"


class _OwnRecords:
    """The records that every org has before anybody loads one."""

    def __init__(
        self, connection: sqlite3.Connection, schema: Schema, ids: IdFactory, now: str
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._ids = ids
        self._now = now
        self._admin = ids.record_id("005", ADMIN_NUMBER)

    def insert(self, pod: str) -> None:
        self._insert_users()
        self._insert_queue()
        org_id = self._insert_organization()
        self._insert_statuses()
        self._insert_stages()
        self._insert_list_views()
        facts = {"pod": pod, "org_id": org_id}
        self._connection.executemany("INSERT INTO _setting VALUES (?, ?)", facts.items())

    def _record(self, sobject: SObject, number: int, row: dict[str, Value]) -> str:
        record_id = self._ids.record_id(sobject.key_prefix, number)
        row = {
            "Id": record_id,
            **row,
            "CreatedDate": self._now,
            "CreatedById": self._admin,
            "LastModifiedDate": self._now,
            "LastModifiedById": self._admin,
            "SystemModstamp": self._now,
        }
        self._connection.execute(insert_statement(sobject, list(row)), [number, *row.values()])
        return record_id

    def _insert_users(self) -> None:
        users = (
            (ADMIN_NUMBER, "System", "Administrator", "admin", "sysadmin"),
            (INTEGRATION_USER_NUMBER, "Integration", "User", "integration", "integusr"),
        )
        for number, first, last, name, alias in users:
            self._record(
                self._schema["User"],
                number,
                {
                    "Username": f"{name}@local-org.example",
                    "Email": f"{name}@local-org.example",
                    "FirstName": first,
                    "LastName": last,
                    "Alias": alias,
                    "CommunityNickname": name,
                    "IsActive": 1,
                    "UserType": "Standard",
                    "ProfileId": self._ids.record_id("00e", number),
                    "TimeZoneSidKey": "UTC",
                    "LocaleSidKey": "en_US",
                    "LanguageLocaleKey": "en_US",
                    "EmailEncodingKey": "UTF-8",
                    "UserPermissionsMarketingUser": 1,
                },
            )

    def _insert_queue(self) -> None:
        queue: dict[str, Value] = {"Name": "Inbound Leads", "DeveloperName": "Inbound_Leads"}
        queue |= {"Type": "Queue", "OwnerId": self._admin}
        self._record(self._schema["Group"], 1, queue)

    def _insert_organization(self) -> str:
        return self._record(
            self._schema["Organization"],
            1,
            {
                "Name": "Local Org",
                "Country": "US",
                "DefaultLocaleSidKey": "en_US",
                "TimeZoneSidKey": "UTC",
                "LanguageLocaleKey": "en_US",
                "FiscalYearStartMonth": 1,
                "OrganizationType": "Developer Edition",
                "InstanceName": "LOCAL",
            },
        )

    def _insert_statuses(self) -> None:
        status = self._schema["Lead"].field("Status")
        for order, value in enumerate(status.picklist if status else (), start=1):
            self._record(
                self._schema["LeadStatus"],
                order,
                {
                    "MasterLabel": value.label,
                    "ApiName": value.value,
                    "SortOrder": order,
                    "IsDefault": int(value.default),
                    "IsConverted": int(value.converted),
                },
            )

    def _insert_stages(self) -> None:
        for order, (name, probability, closed, won, category, label) in enumerate(_STAGES, start=1):
            self._record(
                self._schema["OpportunityStage"],
                100 + order,
                {
                    "MasterLabel": name,
                    "ApiName": name,
                    "IsActive": 1,
                    "SortOrder": order,
                    "IsClosed": closed,
                    "IsWon": won,
                    "ForecastCategory": category,
                    "ForecastCategoryName": label,
                    "DefaultProbability": float(probability),
                },
            )

    def _insert_list_views(self) -> None:
        for number, view in enumerate(SEEDED, start=1):
            record_id = self._record(
                self._schema["ListView"],
                number,
                {
                    "Name": view["label"],
                    "DeveloperName": view["developerName"],
                    "SobjectType": view["sobjectType"],
                    "IsSoqlCompatible": 1,
                },
            )
            self._connection.execute(
                "INSERT INTO _list_view VALUES (?, ?, ?)",
                [record_id, view["sobjectType"], json.dumps(view)],
            )
