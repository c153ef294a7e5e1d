"""Locks, faults and rules hold for merges, conversions and what a delete takes along."""

from collections.abc import Iterator

import pytest

from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves.record_locks import lock_record, unlock_record
from salesforce_pipelines.local_org.saves.rule_settings import add_rule
from salesforce_pipelines.local_org.saves.save_rules import KINDS
from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.served_org import served_org
from salesforce_pipelines_tests.local_org.soap_client import Soap

LOCKED = "UNABLE_TO_LOCK_ROW"
FAULT = {"kind": "save_error", "error_code": LOCKED, "message": "{id} is locked"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Org, Api]]:
    with served_org(tmp_path_factory.mktemp("locks") / "home") as pair:
        yield pair


@pytest.fixture
def org(served: tuple[Org, Api]) -> Iterator[Org]:
    yield served[0]
    for kind in KINDS:
        served[0].save_rules.replace(kind, [])
    for fault in served[0].faults.all():
        served[0].faults.remove(fault.id)


@pytest.fixture
def api(served: tuple[Org, Api], org: Org) -> Api:
    return served[1]


@pytest.fixture
def soap(api: Api) -> Soap:
    return Soap(api)


def is_live(api: Api, sobject: str, record_id: str) -> bool:
    return bool(api.records(f"SELECT Id FROM {sobject} WHERE Id = '{record_id}'"))


@pytest.mark.parametrize("place", ["master", "victim", "child"])
def test_a_locked_record_is_not_merged(org: Org, api: Api, soap: Soap, place: str) -> None:
    ids = {name: api.create("Contact", LastName=name) for name in ("master", "victim")}
    ids["child"] = api.create("Contact", LastName="child", ReportsToId=ids["victim"])
    lock_record(org, ids[place])
    refused = soap.merge("Contact", ids["master"], ids["victim"], Title="new")
    assert (refused["success"], refused["statusCode"]) == ("false", LOCKED)
    assert api.get(f"sobjects/Contact/{ids['master']}")["Title"] is None
    assert api.get(f"sobjects/Contact/{ids['child']}")["ReportsToId"] == ids["victim"]
    unlock_record(org, ids[place])
    assert soap.merge("Contact", ids["master"], ids["victim"], Title="new")["success"] == "true"


def test_a_fault_and_a_trigger_keep_a_victim(org: Org, api: Api, soap: Soap) -> None:
    master, victim = (api.create("Account", Name=name) for name in "ab")
    org.faults.add({**FAULT, "ids": [victim], "operations": ["delete"]})
    refused = soap.merge("Account", master, victim)
    assert (refused["statusCode"], refused["message"]) == (LOCKED, f"{victim} is locked")
    trigger = {
        "name": "keep",
        "sObject": "Account",
        "events": ["BeforeDelete"],
        "condition": "Name = 'b'",
        "errorMessage": "no",
    }
    add_rule(org, "triggers", trigger)
    refused = soap.merge("Account", master, victim)
    assert refused["statusCode"] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    assert is_live(api, "Account", victim)


def test_a_locked_lead_is_not_converted(org: Org, api: Api, soap: Soap) -> None:
    company = unique("Locked")
    lead = api.create("Lead", LastName="x", Company=company)
    lock_record(org, lead, "approval")
    assert soap.convert(lead)["statusCode"] == "ENTITY_IS_LOCKED"
    unlock_record(org, lead)
    org.faults.add({**FAULT, "ids": [lead]})
    assert soap.convert(lead)["statusCode"] == LOCKED
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{company}'") == []
    assert soap.convert(lead)["success"] == "true"


def test_a_validation_rule_holds_for_a_conversion(org: Org, api: Api, soap: Soap) -> None:
    company = unique("Invalid")
    lead = api.create("Lead", LastName="x", Company=company)
    rule = {
        "name": "phone",
        "sObject": "Lead",
        "errorCondition": "IsConverted = true AND Phone = null",
        "errorMessage": "A converted lead needs a phone.",
    }
    add_rule(org, "validationRules", rule)
    refused = soap.convert(lead)
    assert (refused["statusCode"], refused["message"]) == (
        "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "A converted lead needs a phone.",
    )
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{company}'") == []
    api.update("Lead", lead, Phone="555-0100")
    assert soap.convert(lead)["success"] == "true"


def test_a_locked_membership_is_not_moved(org: Org, api: Api, soap: Soap) -> None:
    lead = api.create("Lead", LastName="x", Company=unique("Member"))
    campaign = api.create("Campaign", Name="x")
    member = api.create("CampaignMember", CampaignId=campaign, LeadId=lead)
    lock_record(org, member)
    assert soap.convert(lead)["statusCode"] == LOCKED
    assert api.get(f"sobjects/Lead/{lead}")["IsConverted"] is False


@pytest.mark.parametrize("by", ["lock", "fault"])
def test_a_delete_takes_no_locked_child_along(org: Org, api: Api, by: str) -> None:
    account = api.create("Account", Name="x")
    first, locked = (api.create("Contact", LastName=n, AccountId=account) for n in "ab")
    part = api.create("Account", Name="part", ParentId=account)
    if by == "lock":
        lock_record(org, locked, times=1)
    else:
        org.faults.add({**FAULT, "ids": [locked]})
    (error,) = api.send("DELETE", f"sobjects/Account/{account}", None, 400)
    assert error["errorCode"] == LOCKED
    live = [("Account", account), ("Contact", first), ("Contact", locked)]
    assert all(is_live(api, sobject, record_id) for sobject, record_id in live)
    assert api.get(f"sobjects/Account/{part}")["ParentId"] == account
    api.delete("Account", account)
    assert not is_live(api, "Contact", locked)


def test_an_inactive_owner_is_told_with_the_records_own_name(api: Api) -> None:
    user = api.records("SELECT ProfileId FROM User LIMIT 1")[0]
    gone = api.create(
        "User",
        Username=f"{unique()}@example.com",
        LastName="Gone",
        Email="gone@example.com",
        Alias="gone",
        ProfileId=user["ProfileId"],
        TimeZoneSidKey="UTC",
        LocaleSidKey="en_US",
        EmailEncodingKey="UTF-8",
        LanguageLocaleKey="en_US",
        IsActive=False,
    )
    contact = api.create("Contact", LastName="x")
    (error,) = api.send("PATCH", f"sobjects/Contact/{contact}", {"OwnerId": gone}, 400)
    assert (
        error["message"] == f"operation performed with inactive user [{gone}] as owner of Contact"
    )
