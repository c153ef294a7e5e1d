"""Merging records through SOAP: who is left, who is gone, and whose the children are."""

from typing import Any

import pytest

from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.soap_client import Soap


@pytest.fixture(scope="module")
def soap(api: Api) -> Soap:
    return Soap(api)


def row(api: Api, sobject: str, record_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"sobjects/{sobject}/{record_id}")
    return found


def deleted(api: Api, sobject: str, record_id: str) -> dict[str, Any]:
    (found,) = api.records(
        f"SELECT IsDeleted, MasterRecordId FROM {sobject} WHERE Id = '{record_id}'", "queryAll"
    )
    return found


def test_contacts_give_way_to_a_master(api: Api, soap: Soap) -> None:
    master, one, two = (api.create("Contact", LastName=name) for name in "abc")
    campaign = api.create("Campaign", Name="x")
    deal: dict[str, Any] = {"Name": "o", "StageName": "Qualification", "CloseDate": "2030-01-01"}
    opportunity = api.create("Opportunity", ContactId=one, **deal)
    role = api.create("OpportunityContactRole", OpportunityId=opportunity, ContactId=two)
    member = api.create("CampaignMember", CampaignId=campaign, ContactId=one)
    double = api.create("CampaignMember", CampaignId=campaign, ContactId=two, Status="Responded")
    report = api.create("Contact", LastName="r", ReportsToId=two)
    result = soap.merge("Contact", master, one, two, Title="Chief & boss")
    assert result["success"] == "true"
    assert result["id"] == master
    assert result["mergedRecordIds"] == f"{one} {two}"
    assert set(result["updatedRelatedIds"].split()) == {opportunity, role, member, report}
    kept = row(api, "Contact", master)
    assert (kept["Title"], kept["IsDeleted"]) == ("Chief & boss", False)
    for victim in (one, two):
        assert deleted(api, "Contact", victim) == {"IsDeleted": True, "MasterRecordId": master}
        api.get(f"sobjects/Contact/{victim}", status=404)
    assert row(api, "OpportunityContactRole", role)["ContactId"] == master
    assert row(api, "Opportunity", opportunity)["ContactId"] == master
    assert row(api, "Contact", report)["ReportsToId"] == master
    merged = row(api, "CampaignMember", member)
    assert (merged["ContactId"], merged["Status"]) == (master, "Responded")
    api.get(f"sobjects/CampaignMember/{double}", status=404)
    assert row(api, "Campaign", campaign)["NumberOfContacts"] == 1


def test_accounts_keep_their_people_and_deals(api: Api, soap: Soap) -> None:
    master, victim = (api.create("Account", Name=name) for name in "ab")
    contact = api.create("Contact", LastName="x", AccountId=victim)
    part = api.create("Account", Name="part", ParentId=victim)
    api.update("Account", master, ParentId=victim)
    before = row(api, "Contact", contact)["SystemModstamp"]
    assert soap.merge("Account", master, victim)["success"] == "true"
    moved = row(api, "Contact", contact)
    assert moved["AccountId"] == master
    assert moved["SystemModstamp"] >= before
    assert row(api, "Account", part)["ParentId"] == master
    assert row(api, "Account", master)["ParentId"] is None


def test_a_chain_of_merges(api: Api, soap: Soap) -> None:
    a, b, c = (api.create("Lead", LastName=name, Company="x") for name in "abc")
    assert soap.merge("Lead", b, a)["success"] == "true"
    assert soap.merge("Lead", c, b)["success"] == "true"
    assert deleted(api, "Lead", a)["MasterRecordId"] == b
    assert deleted(api, "Lead", b)["MasterRecordId"] == c


def test_a_victim_comes_back_alone(api: Api, soap: Soap) -> None:
    master, victim = (api.create("Contact", LastName=name) for name in "ab")
    report = api.create("Contact", LastName="r", ReportsToId=victim)
    soap.merge("Contact", master, victim)
    assert soap.by_id("undelete", victim)[0]["success"] == "true"
    back = row(api, "Contact", victim)
    assert (back["IsDeleted"], back["MasterRecordId"]) == (False, None)
    assert row(api, "Contact", report)["ReportsToId"] == master


def test_merges_that_are_refused(api: Api, soap: Soap) -> None:
    master, victim, third, gone = (api.create("Contact", LastName=name) for name in "abcd")
    account = api.create("Account", Name="x")
    api.delete("Contact", gone)

    def code(sobject: str, *ids: str, **written: str) -> str:
        result = soap.merge(sobject, *ids, **written)
        assert result["success"] == "false"
        assert result["id"] == ids[0]
        return result["statusCode"]

    assert code("Contact", master) == "INVALID_OPERATION"
    assert code("Contact", master, victim, third, account) == "INVALID_OPERATION"
    assert code("Contact", master, account) == "MALFORMED_ID"
    assert code("Contact", master, "nonsense") == "MALFORMED_ID"
    assert code("Contact", master, master) == "INVALID_CROSS_REFERENCE_KEY"
    assert code("Contact", master, victim, victim) == "INVALID_CROSS_REFERENCE_KEY"
    assert code("Contact", master, gone) == "ENTITY_IS_DELETED"
    assert code("Contact", gone, master) == "ENTITY_IS_DELETED"
    assert code("Contact", master, victim, Email="nonsense") == "INVALID_EMAIL_ADDRESS"
    assert code("Contact", master, victim, LastName="") == "REQUIRED_FIELD_MISSING"
    campaign = api.create("Campaign", Name="x")
    assert code("Campaign", campaign, campaign) == "INVALID_TYPE_FOR_OPERATION"
    lead, converted = (api.create("Lead", LastName="x", Company="y") for _ in range(2))
    soap.convert(converted)
    assert code("Lead", lead, converted) == "CANNOT_UPDATE_CONVERTED_LEAD"
    assert code("Lead", converted, lead) == "CANNOT_UPDATE_CONVERTED_LEAD"
    for record_id in (master, victim, third):
        assert row(api, "Contact", record_id)["IsDeleted"] is False
    assert soap.fault("<merge><request/></merge>")[0] == "sf:MISSING_ARGUMENT"


def test_a_unique_value_of_a_victim_is_still_taken(api: Api, soap: Soap) -> None:
    key = unique("merge")
    master = api.create("Contact", LastName="a")
    victim = api.create("Contact", LastName="b", External_Id__c=key)
    result = soap.merge("Contact", master, victim, External_Id__c=key)
    assert result["statusCode"] == "DUPLICATE_VALUE"


def test_a_converted_lead_follows_its_contact(api: Api, soap: Soap) -> None:
    lead = api.create("Lead", LastName="x", Company="y")
    contact = soap.convert(lead)["contactId"]
    master = api.create("Contact", LastName="m")
    soap.merge("Contact", master, contact)
    assert row(api, "Lead", lead)["ConvertedContactId"] == master
