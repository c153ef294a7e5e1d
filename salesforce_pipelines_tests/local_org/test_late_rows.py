"""Records that are stamped now and seen later, read by every way there is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.local_org.saves.dml import Writer
from salesforce_pipelines.local_org.saves.field_values import from_json
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique
from salesforce_pipelines_tests.local_org.test_bulk import ingest

LATE = 60


@pytest.fixture(scope="module")
def own_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    with running_org(tmp_path_factory.mktemp("late") / "home") as running:
        running.admin.freeze_clock()
        yield running


@pytest.fixture(scope="module")
def own(own_org: RunningOrg) -> Iterator[Api]:
    client = api_of(own_org)
    with client.session:
        yield client


@pytest.fixture(autouse=True)
def _nothing_is_late_afterwards(own_org: RunningOrg) -> Iterator[None]:
    yield
    own_org.admin.clear()
    own_org.admin.move_clock(seconds=10 * LATE)


def bulk_rows(api: Api, soql: str) -> list[str]:
    body = {"operation": "query", "query": soql}
    job = api.send("POST", "jobs/query", body, 200)["id"]
    api.finished("query", job)
    lines: list[str] = api.call("GET", f"jobs/query/{job}/results").text.splitlines()[1:]
    return lines


def test_a_new_record_appears_late_by_every_way(own_org: RunningOrg, own: Api) -> None:
    name = unique("Late")
    select = f"SELECT Id FROM Contact WHERE LastName = '{name}'"
    window = {"start": "2020-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"}
    now = own_org.admin.now()
    window["start"] = now.strftime("%Y-%m-%dT%H:%M:00Z")

    def sightings(record: str) -> list[bool]:
        counts = own.get("limits/recordCount", sObjects="Contact")["sObjects"]
        body = {"ids": [record], "fields": ["Id"]}
        return [
            len(own.records(select)) == 1,
            own.get("query", q=select.replace("Id", "COUNT()", 1))["totalSize"] == 1,
            own.call("GET", f"sobjects/Contact/{record}").status_code == 200,
            own.call("GET", f"sobjects/Contact/External_Id__c/{name}").status_code == 200,
            own.send("POST", "composite/sobjects/Contact", body, 200) != [None],
            bulk_rows(own, select) == [f'"{record}"'],
            (counts[0]["count"] if counts else 0) == before + 1,
        ]

    counts = own.get("limits/recordCount", sObjects="Contact")["sObjects"]
    before = counts[0]["count"] if counts else 0
    with own_org.admin.fault("late_rows", sobject="Contact", seconds=LATE):
        record = own.create("Contact", LastName=name, External_Id__c=name)
        stamp = own_org.admin.now()
        assert sightings(record) == [False] * 7
        own_org.admin.move_clock(seconds=LATE - 1)
        assert sightings(record) == [False] * 7
        own_org.admin.move_clock(seconds=1)
        assert sightings(record) == [True] * 7
    shown = own.get(f"sobjects/Contact/{record}")
    assert shown["SystemModstamp"] == stamp.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    assert shown["CreatedDate"] == shown["SystemModstamp"]


def test_a_changed_record_is_seen_as_it_was(own_org: RunningOrg, own: Api) -> None:
    name = unique("Change")
    record = own.create("Contact", LastName=name, Title="old", External_Id__c=name)
    stamp = own.get(f"sobjects/Contact/{record}")["SystemModstamp"]
    own_org.admin.move_clock(seconds=5)
    with own_org.admin.fault("late_rows", sobject="Contact", seconds=LATE):
        own.update("Contact", record, Title="new", Department="x")
        seen = own.get(f"sobjects/Contact/{record}")
        assert (seen["Title"], seen["Department"], seen["SystemModstamp"]) == ("old", None, stamp)
        select = f"SELECT Title FROM Contact WHERE lastname = '{name.upper()}'"
        assert own.records(select) == [{"Title": "old"}]
        assert bulk_rows(own, select) == ['"old"']
        assert own.records(f"SELECT Id FROM Contact WHERE Title = 'NEW' AND Id = '{record}'") == []
        own_org.admin.move_clock(seconds=30)
        own.update("Contact", record, Department="y", Phone="555-0100")
        own_org.admin.move_clock(seconds=59)
        assert own.get(f"sobjects/Contact/{record}")["Title"] == "old"
        own_org.admin.move_clock(seconds=1)
    seen = own.get(f"sobjects/Contact/{record}")
    assert (seen["Title"], seen["Department"], seen["Phone"]) == ("new", "y", "555-0100")


def test_a_deletion_is_seen_late_too(own_org: RunningOrg, own: Api) -> None:
    record = own.create("Lead", LastName=unique("Gone"), Company="x")
    with own_org.admin.fault("late_rows", sobject="Lead", seconds=LATE):
        own.delete("Lead", record)
        assert own.get(f"sobjects/Lead/{record}")["Id"] == record
        error = own.send("PATCH", f"sobjects/Lead/{record}", {"Company": "y"}, 404)[0]
        assert error["errorCode"] == "ENTITY_IS_DELETED"
        own_org.admin.move_clock(seconds=LATE)
        assert own.call("GET", f"sobjects/Lead/{record}").status_code == 404
    shown = own.records(f"SELECT IsDeleted FROM Lead WHERE Id = '{record}'", "queryAll")
    assert shown == [{"IsDeleted": True}]


def test_writers_take_hidden_records_into_account(own_org: RunningOrg, own: Api) -> None:
    key = unique("key")
    with own_org.admin.fault("late_rows", sobject="Contact", seconds=LATE):
        first = own.create("Contact", LastName="x", External_Id__c=key)
        error = own.send("POST", "sobjects/Contact", {"LastName": "y", "External_Id__c": key}, 400)
        assert error[0]["errorCode"] == "DUPLICATE_VALUE"
        again = own.send("PATCH", f"sobjects/Contact/External_Id__c/{key}", {"Title": "z"}, 200)
        assert (again["id"], again["created"]) == (first, False)
        assert own.create("Contact", LastName="other") != first
        member = own.send("POST", "sobjects/Campaign", {"Name": key}, 201)["id"]
        own.create("CampaignMember", CampaignId=member, ContactId=first)
        assert own.get(f"sobjects/Contact/{first}", status=404)
    own_org.admin.move_clock(seconds=LATE)
    assert own.get(f"sobjects/Contact/{first}")["Title"] == "z"


def test_one_record_is_late_and_the_others_are_not(own_org: RunningOrg, own: Api) -> None:
    name = unique("One")
    with own_org.admin.fault("late_rows", sobject="Lead", seconds=LATE, times=1, skip=1):
        ids = [own.create("Lead", LastName=name, Company=str(at)) for at in range(3)]
        own.create("Contact", LastName=name)
        seen = own.records(f"SELECT Id FROM Lead WHERE LastName = '{name}'")
        assert {row["Id"] for row in seen} == {ids[0], ids[2]}
        assert own.records(f"SELECT Id FROM Contact WHERE LastName = '{name}'")
    # What is late stays so when the fault is withdrawn.
    assert len(own.records(f"SELECT Id FROM Lead WHERE LastName = '{name}'")) == 2
    own_org.admin.move_clock(seconds=LATE)
    assert len(own.records(f"SELECT Id FROM Lead WHERE LastName = '{name}'")) == 3


def test_bulk_writes_are_late_and_refused_ones_leave_nothing(own_org: RunningOrg, own: Api) -> None:
    name = unique("BulkLate")
    count = f"SELECT COUNT() FROM Lead WHERE LastName = '{name}'"
    with own_org.admin.fault("late_rows", sobject="Lead", seconds=LATE):
        text = "LastName,Company\n" + "".join(f"{name},{at}\n" for at in range(300))
        own.finished("ingest", ingest(own, "Lead", "insert", text)["id"])
        records = [
            {"attributes": {"type": "Lead"}, "LastName": name, "Company": company}
            for company in ("x", None)
        ]
        body = {"allOrNone": True, "records": records}
        assert not own.send("POST", "composite/sobjects", body, 200)[0]["success"]
        assert own.get("query", q=count)["totalSize"] == 0
        own_org.admin.move_clock(seconds=LATE)
        assert own.get("query", q=count)["totalSize"] == 300


def test_a_restart_shows_everything(tmp_path: Path) -> None:
    with running_org(tmp_path / "home") as org:
        client = api_of(org)
        with client.session:
            org.admin.add_fault("late_rows", sobject="Contact", seconds=3600)
            client.create("Contact", LastName="Late")
            assert client.records("SELECT Id FROM Contact") == []
    with running_org(tmp_path / "home") as org:
        client = api_of(org)
        with client.session:
            assert len(client.records("SELECT Id FROM Contact")) == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(0, 2)),
        st.tuples(st.just("update"), st.integers(0, 2)),
        st.tuples(st.just("delete"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.integers(1, LATE)),
    ),
    max_size=12,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_readers_see_each_record_as_it_was_or_as_it_is(
    own_org: RunningOrg, own: Api, steps: list[tuple[str, int]]
) -> None:
    """Whatever is written: before its time nothing of it is seen, and in the end all of it."""
    name = unique("Model")
    ids: dict[int, str] = {}
    visible: dict[str, str] = {}
    written: dict[str, str | None] = {}
    due: dict[str, float] = {}
    with own_org.admin.fault("late_rows", sobject="Lead", seconds=LATE):
        for at, (step, number) in enumerate(steps):
            record = ids.get(number)
            now = own_org.admin.now().timestamp()
            if step == "wait":
                now = own_org.admin.move_clock(seconds=number).timestamp()
            elif step == "create" and record is None:
                record = ids[number] = own.create("Lead", LastName=name, Company=str(at))
                written[record], due[record] = str(at), now + LATE
            elif step == "update" and record and written[record] is not None:
                own.update("Lead", record, Company=str(at))
                written[record], due[record] = str(at), now + LATE
            elif step == "delete" and record and written[record] is not None:
                own.delete("Lead", record)
                written[record], due[record] = None, now + LATE
            _make_visible(now, visible, written, due)
            assert _seen(own, name) == visible
        own_org.admin.move_clock(seconds=LATE)
        assert _seen(own, name) == {key: value for key, value in written.items() if value}


def _make_visible(
    now: float, visible: dict[str, str], written: dict[str, str | None], due: dict[str, float]
) -> None:
    for record, value in written.items():
        if now >= due[record]:
            visible.pop(record, None)
            if value is not None:
                visible[record] = value


def _seen(api: Api, name: str) -> dict[str, Any]:
    rows = api.records(f"SELECT Id, Company FROM Lead WHERE LastName = '{name}'")
    return {row["Id"]: row["Company"] for row in rows}


def test_a_column_that_is_added_meanwhile_breaks_nothing(tmp_path: Path) -> None:
    build_home(tmp_path, 1, list)
    org = Org(tmp_path, Settings())
    try:
        lead = org.schema["Lead"]
        org.late_rows.add_fault(
            {"kind": "late_rows", "sobject": "Lead", "seconds": LATE, "skip": 1}, lead
        )

        def write(company: str, record: str | None) -> str:
            with org.store.write() as connection:
                writer = Writer(org, connection, org.store.admin_id, from_json)
                values = {"LastName": "x", "Company": company}
                done = (
                    writer.update(lead, record, values) if record else writer.create(lead, values)
                )
            assert done.id
            return done.id

        record = write("old", None)
        with org.store.write() as connection:
            connection.execute("ALTER TABLE Lead ADD COLUMN Added__c TEXT")
        write("new", record)
        org.late_rows.catch_up()
        seen = "SELECT Company, Added__c FROM Lead"
        assert org.store.reader().execute(seen).fetchall() == [("old", None)]
        org.clock.move_by(LATE)
        org.late_rows.catch_up()
        assert org.store.reader().execute(seen).fetchall() == [("new", None)]
    finally:
        org.close()
