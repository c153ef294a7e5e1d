"""Deleting, undeleting, emptying and purging over HTTP and by the org's clock."""

import random
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.saves import lead_conversion, merging
from salesforce_pipelines.local_org.saves.dml import Writer
from salesforce_pipelines.local_org.saves.field_values import from_csv
from salesforce_pipelines.local_org.saves.lead_conversion import LeadConvert
from salesforce_pipelines.local_org.saves.recycle_bin import deleted_records, purge
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.soap_client import Soap

DEAL = {"Name": "o", "StageName": "Qualification", "CloseDate": "2030-01-01"}


@pytest.fixture(scope="module")
def soap(api: Api) -> Soap:
    return Soap(api)


def live(api: Api, sobject: str, record_id: str) -> bool:
    return bool(api.records(f"SELECT Id FROM {sobject} WHERE Id = '{record_id}'"))


def kept(api: Api, sobject: str, record_id: str) -> bool:
    return bool(api.records(f"SELECT Id FROM {sobject} WHERE Id = '{record_id}'", "queryAll"))


def listed_as_deleted(api: Api, sobject: str) -> set[str]:
    now = datetime.now(UTC)
    answer = api.get(
        f"sobjects/{sobject}/deleted",
        start=(now - timedelta(hours=1)).isoformat(),
        end=(now + timedelta(hours=1)).isoformat(),
    )
    return {record["id"] for record in answer["deletedRecords"]}


def wait_a_second() -> None:
    """Until getDeleted covers what was just deleted; it stops at the current second."""
    before = datetime.now(UTC).replace(microsecond=0)
    while datetime.now(UTC).replace(microsecond=0) == before:
        time.sleep(0.02)


def test_an_account_comes_back_with_what_went_with_it(api: Api, soap: Soap) -> None:
    account = api.create("Account", Name="x")
    contact, earlier = (api.create("Contact", LastName=n, AccountId=account) for n in "ab")
    opportunity = api.create("Opportunity", AccountId=account, **DEAL)
    role = api.create("OpportunityContactRole", OpportunityId=opportunity, ContactId=contact)
    part = api.create("Account", Name="part", ParentId=account)
    before = api.get(f"sobjects/Account/{part}")["SystemModstamp"]
    api.delete("Contact", earlier)
    api.delete("Account", account)
    gone = [("Contact", contact), ("Opportunity", opportunity), ("OpportunityContactRole", role)]
    assert not any(live(api, sobject, record_id) for sobject, record_id in gone)
    child = api.get(f"sobjects/Account/{part}")
    assert (child["ParentId"], child["SystemModstamp"]) == (None, before)
    (cascaded,) = soap.by_id("undelete", contact)
    assert (cascaded["statusCode"], cascaded["message"]) == (
        "UNDELETE_FAILED",
        "Entity is not in the recycle bin",
    )
    assert soap.by_id("undelete", account) == [{"id": account, "success": "true"}]
    assert all(live(api, sobject, record_id) for sobject, record_id in gone)
    assert not live(api, "Contact", earlier)
    assert api.get(f"sobjects/Account/{part}")["ParentId"] == account
    histories = f"SELECT Id FROM OpportunityHistory WHERE OpportunityId = '{opportunity}'"
    assert len(api.records(histories)) == 1


def test_what_cannot_be_undeleted(api: Api, soap: Soap) -> None:
    contact = api.create("Contact", LastName="x")
    member = api.create(
        "CampaignMember", CampaignId=api.create("Campaign", Name="c"), ContactId=contact
    )
    api.delete("CampaignMember", member)
    results = soap.by_id("undelete", contact, "003000000000001AAA", member, "nonsense", "")
    assert [result["statusCode"] for result in results] == [
        "UNDELETE_FAILED",
        "UNDELETE_FAILED",
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "MALFORMED_ID",
        "MALFORMED_ID",
    ]


def test_a_child_without_its_parent(api: Api, soap: Soap) -> None:
    account = api.create("Account", Name="x")
    contact = api.create("Contact", LastName="a", AccountId=account)
    api.delete("Contact", contact)
    api.delete("Account", account)
    assert soap.by_id("undelete", contact)[0]["success"] == "true"
    assert api.get(f"sobjects/Contact/{contact}")["AccountId"] is None
    assert soap.by_id("undelete", account)[0]["success"] == "true"
    assert api.get(f"sobjects/Contact/{contact}")["AccountId"] == account


def test_a_detail_waits_for_its_master(api: Api, soap: Soap) -> None:
    account = api.create("Account", Name="x")
    contact = api.create("Contact", LastName="a")
    opportunity = api.create("Opportunity", AccountId=account, **DEAL)
    role = api.create("OpportunityContactRole", OpportunityId=opportunity, ContactId=contact)
    api.delete("Contact", contact)
    api.delete("Account", account)
    soap.by_id("undelete", contact)
    assert not live(api, "OpportunityContactRole", role)
    soap.by_id("undelete", account)
    assert live(api, "OpportunityContactRole", role)
    api.delete("OpportunityContactRole", role)
    api.delete("Opportunity", opportunity)
    assert soap.by_id("undelete", role)[0]["statusCode"] == "ENTITY_IS_DELETED"


def test_a_unique_value_that_was_taken_meanwhile(api: Api, soap: Soap) -> None:
    key = unique("bin")
    contact = api.create("Contact", LastName="a", External_Id__c=key)
    api.delete("Contact", contact)
    api.create("Contact", LastName="b", External_Id__c=key)
    assert soap.by_id("undelete", contact)[0]["statusCode"] == "DUPLICATE_VALUE"
    assert not live(api, "Contact", contact)


def test_emptying_the_bin(api: Api, soap: Soap) -> None:
    account = api.create("Account", Name="x")
    contact = api.create("Contact", LastName="a", AccountId=account)
    lead = api.create("Lead", LastName="x", Company="y")
    converted = soap.convert(lead, accountId=account)["contactId"]
    api.delete("Account", account)
    for record_id in (contact, lead):
        (refused,) = soap.by_id("emptyRecycleBin", record_id)
        assert (refused["statusCode"], refused["message"]) == (
            "INVALID_ID_FIELD",
            "invalid record id; no recycle bin entry found",
        )
    assert soap.by_id("emptyRecycleBin", account) == [{"id": account, "success": "true"}]
    assert not kept(api, "Account", account)
    assert not any(kept(api, "Contact", record_id) for record_id in (contact, converted))
    assert api.get(f"sobjects/Lead/{lead}")["ConvertedAccountId"] is None
    assert soap.by_id("undelete", account)[0]["statusCode"] == "UNDELETE_FAILED"
    wait_a_second()
    assert account in listed_as_deleted(api, "Account")
    assert {contact, converted} <= listed_as_deleted(api, "Contact")
    assert api.create("Account", Name="next") != account


def test_campaign_members_are_never_in_the_bin(api: Api, soap: Soap) -> None:
    campaigns = [api.create("Campaign", Name=name) for name in "ab"]
    contact = api.create("Contact", LastName="x")
    lead = api.create("Lead", LastName="x", Company="y")
    members = [
        api.create("CampaignMember", CampaignId=campaigns[0], ContactId=contact),
        api.create("CampaignMember", CampaignId=campaigns[0], LeadId=lead),
        api.create("CampaignMember", CampaignId=campaigns[1], LeadId=lead),
        api.create("CampaignMember", CampaignId=campaigns[1], ContactId=contact),
    ]
    api.delete("CampaignMember", members[0])
    assert not kept(api, "CampaignMember", members[0])
    api.delete("Lead", lead)
    assert not kept(api, "CampaignMember", members[1])
    api.delete("Campaign", campaigns[1])
    soap.by_id("undelete", lead, campaigns[1])
    assert live(api, "Lead", lead)
    assert not any(kept(api, "CampaignMember", member) for member in members)
    assert api.get("sobjects/CampaignMember/describe")["undeletable"] is False
    assert api.get("sobjects/Contact/describe")["undeletable"] is True
    wait_a_second()
    assert set(members) <= listed_as_deleted(api, "CampaignMember")
    again = api.create("CampaignMember", CampaignId=campaigns[0], ContactId=contact)
    assert again not in members


def test_hard_delete_through_bulk(api: Api) -> None:
    account = api.create("Account", Name="x")
    contact = api.create("Contact", LastName="a", AccountId=account)
    job = api.send("POST", "jobs/ingest", {"object": "Account", "operation": "hardDelete"}, 200)
    path = f"jobs/ingest/{job['id']}"
    headers = {"Content-Type": "text/csv"}
    api.call("PUT", f"{path}/batches", data=f"Id\n{account}\n", headers=headers)
    api.send("PATCH", path, {"state": "UploadComplete"}, 200)
    api.finished("ingest", job["id"])
    assert not kept(api, "Account", account)
    assert not kept(api, "Contact", contact)
    wait_a_second()
    assert account in listed_as_deleted(api, "Account")
    assert contact in listed_as_deleted(api, "Contact")


# By the org's clock


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def own_org(tmp_path: Path, clock: Clock) -> Iterator[Org]:
    seeded: list[tuple[str, dict[str, Any]]] = [
        ("Contact", {"_key": 1, "LastName": "Live"}),
        ("Contact", {"_key": 2, "LastName": "Gone", "IsDeleted": True, "MasterRecordId": 1}),
    ]
    build_home(tmp_path / "home", 1, lambda: seeded)
    org = Org(tmp_path / "home", Settings(), clock)
    yield org
    org.close()


def writer_of(org: Org, connection: sqlite3.Connection) -> Writer:
    user = org.store.integration_user_id
    return Writer(org, connection, user, lambda item, value: from_csv(item, str(value)))


def test_the_bin_is_purged_after_fifteen_days(own_org: Org, clock: Clock) -> None:
    org = own_org
    contact = org.schema["Contact"]
    with org.store.write() as connection:
        writer = writer_of(org, connection)
        account = str(writer.create(org.schema["Account"], {"Name": "x"}).id)
        child = str(writer.create(contact, {"LastName": "x", "AccountId": account}).id)
        other = str(writer.create(contact, {"LastName": "y"}).id)
        writer.delete(org.schema["Account"], account)
    clock.now += timedelta(days=14)
    assert purge(org) == 0
    with org.store.write() as connection:
        writer_of(org, connection).delete(contact, other)
    clock.now += timedelta(days=1, seconds=1)
    assert purge(org) == 1
    left = org.store.reader().execute("SELECT Id FROM Contact WHERE IsDeleted").fetchall()
    assert (child,) not in left
    assert (other,) in left
    assert len(left) == 2, "a record that was generated as deleted stays"
    span = ("2026-03-01T00:00:00", "2026-04-01T00:00:00")
    assert [row[0] for row in deleted_records(org, contact, *span)] == [other]
    clock.now += timedelta(days=15)
    assert purge(org) == 1
    assert org.store.reader().execute("SELECT count(*) FROM _recycle_bin").fetchone() == (0,)


@pytest.mark.parametrize("way", ["delete", "undelete", "hard_delete", "merge"])
def test_many_children_are_never_in_memory_at_once(own_org: Org, way: str) -> None:
    org, children = own_org, 2500
    account = org.schema["Account"]
    with org.store.write() as connection:
        writer = writer_of(org, connection)
        parent, other = (str(writer.create(account, {"Name": n}).id) for n in "ab")
        for at in range(children):
            contact = {"LastName": f"c{at}", "AccountId": parent, "Description": "d" * 2000}
            writer.create(org.schema["Contact"], contact)
        if way == "undelete":
            writer.delete(account, parent)
        tracemalloc.start()
        try:
            if way == "merge":
                merged = merging.merge(org, writer, account, other, {}, [parent])
                assert len(merged.related) == children
            else:
                assert getattr(writer, way)(account, parent).success
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 3_000_000
    live = "SELECT count(*) FROM Contact WHERE LastName LIKE 'c%' AND IsDeleted = 0"
    expected = children if way in ("undelete", "merge") else 0
    assert org.store.reader().execute(live).fetchone() == (expected,)


# Whatever happens in whatever order

STEPS = (
    *("create", "create", "create", "member", "member", "update", "delete", "undelete"),
    *("merge", "convert", "empty", "hard"),
)


def a_life(org: Org, seed: int, length: int) -> None:
    chance = random.Random(seed)
    with org.store.write() as connection:
        writer = writer_of(org, connection)
        for _ in range(length):
            _step(org, writer, chance)


def _step(org: Org, writer: Writer, chance: random.Random) -> None:
    step = chance.choice(STEPS)
    kinds = ("Account", "Contact", "Contact", "Lead", "Lead", "Opportunity", "Campaign")
    name = chance.choice(kinds)
    sobject = org.schema[name]

    def some(kind: str) -> str:
        rows = writer.connection.execute(f'SELECT Id FROM "{kind}" WHERE _n > 1000').fetchall()
        return str(chance.choice(rows)[0]) if rows else org.store.ids.record_id("001", 5)

    if step == "create":
        rows: dict[str, dict[str, object]] = {
            "Account": {"Name": "a", "ParentId": chance.choice((None, some("Account")))},
            "Contact": {
                "LastName": "c",
                "AccountId": chance.choice((None, some("Account"))),
                "ReportsToId": chance.choice((None, some("Contact"))),
                "External_Id__c": chance.choice((None, str(chance.randrange(5)))),
            },
            "Lead": {"LastName": "l", "Company": "x"},
            "Opportunity": {
                **DEAL,
                "AccountId": chance.choice((None, some("Account"))),
                "CampaignId": chance.choice((None, some("Campaign"))),
            },
            "Campaign": {"Name": "c", "ParentId": chance.choice((None, some("Campaign")))},
        }
        outcome = writer.create(sobject, rows[name])
        if outcome.id and name == "Opportunity":
            role = {"OpportunityId": outcome.id, "ContactId": some("Contact")}
            writer.create(org.schema["OpportunityContactRole"], role)
    elif step == "member":
        person = chance.choice(("Contact", "Lead"))
        values = {"CampaignId": some("Campaign"), f"{person}Id": some(person)}
        writer.create(org.schema["CampaignMember"], values)
    elif step == "update":
        writer.update(sobject, some(name), {"Description": str(chance.random())})
    elif step == "delete":
        writer.delete(sobject, some(name))
    elif step == "undelete":
        writer.undelete(sobject, some(name))
    elif step == "empty":
        writer.empty_recycle_bin(some(name))
    elif step == "hard" and chance.random() < 0.3:
        writer.hard_delete(sobject, some(name))
    elif step == "merge":
        victims = [some(name) for _ in range(chance.randint(1, 2))]
        merging.merge(org, writer, sobject, some(name), {}, victims)
    elif step == "convert":
        account = chance.choice(("", some("Account")))
        contact = chance.choice(("", some("Contact"))) if account else ""
        wanted = LeadConvert(some("Lead"), "Closed - Converted", account, contact)
        mapping = lead_conversion.lead_field_mapping(org)
        lead_conversion.convert_lead(org, writer, mapping, wanted)


def check(org: Org) -> None:
    reader = org.store.reader()

    def count(sql: str) -> int:
        return int(reader.execute(f"SELECT count(*) FROM {sql}").fetchone()[0])

    for parent in org.schema:
        if not parent.has_is_deleted:
            continue
        for relation in org.schema.children(parent):
            child = org.schema[relation.child]
            item = child.field(relation.field)
            if item is None or not item.is_stored:
                continue
            joined = (
                f'"{child.name}" c LEFT JOIN "{parent.name}" p ON p.Id = c."{item.name}"'
                f' WHERE c."{item.name}" IS NOT NULL'
                f" AND substr(c.\"{item.name}\", 1, 3) = '{parent.key_prefix}'"
            )
            assert count(f"{joined} AND p.Id IS NULL") == 0, f"{child.name}.{item.name} dangles"
            if child.has_is_deleted:
                dangling = f"{joined} AND NOT c.IsDeleted AND p.IsDeleted"
                assert count(dangling) == 0, f"a live {child.name}.{item.name} is deleted"
    for name in ("Account", "Contact", "Lead"):
        assert count(f"{name} WHERE MasterRecordId IS NOT NULL AND NOT IsDeleted") == 0
        assert count(f"{name} WHERE MasterRecordId = Id") == 0
        bins = f"_recycle_bin b LEFT JOIN {name} r ON r.Id = b.id WHERE b.sobject = '{name}'"
        assert count(f"{bins} AND NOT coalesce(r.IsDeleted, 0)") == 0
        deleted = f"{name} WHERE IsDeleted AND _n > 1002 AND Id NOT IN"
        assert count(f"{deleted} (SELECT id FROM _recycle_bin)") == 0
    assert count("CampaignMember WHERE IsDeleted") == 0
    twice = "(SELECT 1 FROM CampaignMember WHERE {0} IS NOT NULL GROUP BY CampaignId, {0}"
    assert count(f"{twice.format('ContactId')} HAVING count(*) > 1)") == 0
    assert count(f"{twice.format('LeadId')} HAVING count(*) > 1)") == 0
    assert count("_deleted d JOIN Contact c ON c.Id = d.id") == 0
    assert count("Lead WHERE IsConverted AND Status <> 'Closed - Converted'") == 0


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_records_stay_consistent_whatever_happens(own_org: Org, seed: int) -> None:
    a_life(own_org, seed, 120)
    check(own_org)


def test_a_random_life_has_every_kind_of_event(own_org: Org) -> None:
    for seed in range(3):
        a_life(own_org, seed, 400)
    reader = own_org.store.reader()
    for sql in (
        "Contact WHERE MasterRecordId IS NOT NULL AND _n > 1002",
        "Lead WHERE IsConverted",
        "CampaignMember WHERE ContactId IS NOT NULL AND LeadId IS NOT NULL",
        "_recycle_bin WHERE id <> root",
        "_deleted",
        "_cleared_lookup",
    ):
        assert reader.execute(f"SELECT count(*) FROM {sql}").fetchone()[0] > 0, sql
