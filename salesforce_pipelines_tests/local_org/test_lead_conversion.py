"""Converting leads through SOAP: what becomes of the lead, and what it becomes."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.saves.dml import Writer
from salesforce_pipelines.local_org.saves.field_values import from_csv
from salesforce_pipelines.local_org.saves.lead_conversion import (
    DEFAULT_MAPPING,
    LeadConvert,
    convert_lead,
    end_of_quarter,
    lead_field_mapping,
    set_lead_field_mapping,
)
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.soap_client import Soap, lead_converts, values

NOTHING = "00Q000000000001"


@pytest.fixture(scope="module")
def soap(api: Api) -> Soap:
    return Soap(api)


def new_lead(api: Api, **more: Any) -> str:
    return api.create("Lead", **{"LastName": "Lee", "Company": "Acme", **more})


def row(api: Api, sobject: str, record_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"sobjects/{sobject}/{record_id}")
    return found


def test_a_lead_becomes_account_contact_and_opportunity(api: Api, soap: Soap) -> None:
    lead = new_lead(
        api,
        FirstName="Ann",
        Salutation="Ms.",
        Title="CTO",
        Email="ann@example.com",
        Phone="+1 202 555 0101",
        MobilePhone="+1 202 555 0102",
        Website="https://acme.example.com",
        Industry="Banking",
        AnnualRevenue=1_500_000,
        NumberOfEmployees=42,
        LeadSource="Web",
        Street="1 Main St",
        City="Bonn",
        Country="Germany",
        Description="A note",
        HasOptedOutOfEmail=True,
        Referral_Code__c="R-1",
        Referral_Count__c=3,
        External_Id__c=unique("lead"),
    )
    before = row(api, "Lead", lead)
    result = soap.convert(lead)
    assert result["success"] == "true"
    after = row(api, "Lead", lead)
    assert after["IsConverted"] is True
    assert after["Status"] == "Closed - Converted"
    assert after["IsUnreadByOwner"] is False
    assert after["ConvertedDate"] == after["SystemModstamp"][:10]
    assert after["SystemModstamp"] >= before["SystemModstamp"]
    assert [after[f"Converted{name}Id"] for name in ("Account", "Contact", "Opportunity")] == [
        result[f"{name}Id"] for name in ("account", "contact", "opportunity")
    ]
    account = row(api, "Account", result["accountId"])
    assert (account["Name"], account["Website"]) == ("Acme", "https://acme.example.com")
    assert (account["BillingCity"], account["Industry"]) == ("Bonn", "Banking")
    assert (account["AnnualRevenue"], account["NumberOfEmployees"]) == (1_500_000, 42)
    assert (account["AccountSource"], account["Phone"]) == ("Web", "+1 202 555 0101")
    contact = row(api, "Contact", result["contactId"])
    assert (contact["Name"], contact["Title"]) == ("Ann Lee", "CTO")
    assert (contact["Email"], contact["MailingCountry"]) == ("ann@example.com", "Germany")
    assert (contact["LeadSource"], contact["Description"]) == ("Web", "A note")
    assert contact["HasOptedOutOfEmail"] is True
    assert contact["AccountId"] == result["accountId"]
    assert (contact["Referral_Code__c"], contact["Referral_Count__c"]) == ("R-1", 3)
    assert contact["External_Id__c"] is None
    opportunity = row(api, "Opportunity", result["opportunityId"])
    assert (opportunity["Name"], opportunity["StageName"]) == ("Acme-", "Prospecting")
    assert (opportunity["AccountId"], opportunity["Probability"]) == (result["accountId"], 10)
    today = date.fromisoformat(after["ConvertedDate"])
    assert opportunity["CloseDate"] == end_of_quarter(today).isoformat()
    (role,) = api.records(
        "SELECT ContactId, IsPrimary FROM OpportunityContactRole"
        f" WHERE OpportunityId = '{result['opportunityId']}'"
    )
    assert role == {"ContactId": result["contactId"], "IsPrimary": True}


def test_no_opportunity_is_wanted_or_one_with_a_name(api: Api, soap: Soap) -> None:
    result = soap.convert(new_lead(api), doNotCreateOpportunity="true")
    assert "opportunityId" not in result
    named = soap.convert(new_lead(api), opportunityName="Big & new")
    assert row(api, "Opportunity", named["opportunityId"])["Name"] == "Big & new"
    long = soap.convert(new_lead(api), opportunityName="x" * 81)
    assert long["statusCode"] == "STRING_TOO_LONG"
    company = "c" * 255
    cut = soap.convert(new_lead(api, Company=company))
    assert row(api, "Opportunity", cut["opportunityId"])["Name"] == "c" * 120


def test_existing_records_only_get_what_they_lack(api: Api, soap: Soap) -> None:
    account = api.create("Account", Name="Old", Industry="Energy")
    contact = api.create("Contact", LastName="Old", AccountId=account, LeadSource="Other")
    lead = new_lead(api, Title="CTO", Industry="Banking", Website="a.example.com", LeadSource="Web")
    result = soap.convert(lead, accountId=account, contactId=contact)
    assert (result["accountId"], result["contactId"]) == (account, contact)
    kept = row(api, "Account", account)
    assert (kept["Name"], kept["Industry"], kept["Website"]) == ("Old", "Energy", "a.example.com")
    kept = row(api, "Contact", contact)
    assert (kept["LastName"], kept["Title"], kept["LeadSource"]) == ("Old", "CTO", "Other")
    again = new_lead(api, LeadSource="Web")
    soap.convert(again, accountId=account, contactId=contact, overwriteLeadSource="true")
    assert row(api, "Contact", contact)["LeadSource"] == "Web"


def test_an_existing_opportunity(api: Api, soap: Soap) -> None:
    account = api.create("Account", Name="Old")
    deal: dict[str, Any] = {"Name": "o", "StageName": "Qualification", "CloseDate": "2030-01-01"}
    opportunity = api.create("Opportunity", AccountId=account, **deal)
    result = soap.convert(new_lead(api), accountId=account, opportunityId=opportunity)
    assert result["opportunityId"] == opportunity
    elsewhere = api.create("Opportunity", **deal)
    refused = soap.convert(new_lead(api), accountId=account, opportunityId=elsewhere)
    assert refused["statusCode"] == "INVALID_CROSS_REFERENCE_KEY"
    both = soap.convert(
        new_lead(api), accountId=account, opportunityId=opportunity, opportunityName="x"
    )
    assert both["statusCode"] == "INVALID_OPERATION"


@pytest.mark.parametrize(
    "status", ["", "Nonsense", "Working - Contacted", "Closed - Not Converted"]
)
def test_a_status_that_does_not_convert(api: Api, soap: Soap, status: str) -> None:
    lead = new_lead(api)
    refused = soap.convert(lead, status)
    assert refused["statusCode"] == "INVALID_STATUS"
    assert refused["message"] == f"invalid convertedStatus: {status}"
    assert row(api, "Lead", lead)["IsConverted"] is False


def test_one_refusal_does_not_stop_the_others(api: Api, soap: Soap) -> None:
    converted, deleted, fine = (new_lead(api) for _ in range(3))
    soap.convert(converted)
    api.delete("Lead", deleted)
    contact = api.create("Contact", LastName="x")
    account = api.create("Account", Name="y")
    wanted = [
        lead_converts(converted),
        lead_converts(deleted),
        lead_converts(NOTHING),
        lead_converts("nonsense"),
        lead_converts(contact),
        lead_converts(fine, contactId=contact),
        lead_converts(fine, contactId=contact, accountId=account),
        lead_converts(fine, ownerId=contact),
        lead_converts(fine),
        lead_converts(fine),
    ]
    results = soap.results(f"<convertLead>{''.join(wanted)}</convertLead>")
    assert [values(result).get("statusCode", "") for result in results] == [
        "CANNOT_UPDATE_CONVERTED_LEAD",
        "ENTITY_IS_DELETED",
        "INVALID_CROSS_REFERENCE_KEY",
        "MALFORMED_ID",
        "MALFORMED_ID",
        "MISSING_ARGUMENT",
        "INVALID_CROSS_REFERENCE_KEY",
        "UNKNOWN_EXCEPTION",
        "",
        "CANNOT_UPDATE_CONVERTED_LEAD",
    ]


def test_all_or_none(api: Api, soap: Soap) -> None:
    name = unique("AllOrNone")
    lead = new_lead(api, Company=name)
    header = "<AllOrNoneHeader><allOrNone>true</allOrNone></AllOrNoneHeader>"
    body = f"<convertLead>{lead_converts(lead)}{lead_converts(NOTHING)}</convertLead>"
    first, second = (values(result) for result in soap.results(body, header))
    assert first["statusCode"] == "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    assert second["statusCode"] == "INVALID_CROSS_REFERENCE_KEY"
    assert row(api, "Lead", lead)["IsConverted"] is False
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{name}'") == []


def test_a_refused_conversion_leaves_no_trace(api: Api, soap: Soap) -> None:
    name = unique("Trace")
    lead = new_lead(api, Company=name)
    refused = soap.convert(lead, opportunityId="006000000000001")
    assert refused["statusCode"] == "INVALID_CROSS_REFERENCE_KEY"
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{name}'") == []


def test_a_queue_needs_a_user_who_takes_over(api: Api, soap: Soap) -> None:
    (queue,) = api.records("SELECT Id, Name FROM Group WHERE Type = 'Queue'")
    lead = new_lead(api, OwnerId=queue["Id"])
    assert row(api, "Lead", lead)["OwnerId"] == queue["Id"]
    refused = soap.convert(lead)
    assert refused["statusCode"] == "UNKNOWN_EXCEPTION"
    assert refused["message"].startswith("Converted objects can only be owned by users.")
    (user,) = api.records("SELECT Id FROM User WHERE LastName = 'Administrator'")
    result = soap.convert(lead, ownerId=user["Id"])
    assert row(api, "Contact", result["contactId"])["OwnerId"] == user["Id"]
    (error,) = api.send("POST", "sobjects/Contact", {"LastName": "x", "OwnerId": queue["Id"]}, 400)
    assert error["errorCode"] == "FIELD_INTEGRITY_EXCEPTION"


def test_an_inactive_owner_takes_nothing_over(api: Api, soap: Soap) -> None:
    profile = api.records("SELECT ProfileId FROM User LIMIT 1")[0]["ProfileId"]
    user = api.create(
        "User",
        Username=f"{unique()}@example.com",
        LastName="Gone",
        Email="gone@example.com",
        Alias="gone",
        ProfileId=profile,
        TimeZoneSidKey="UTC",
        LocaleSidKey="en_US",
        EmailEncodingKey="UTF-8",
        LanguageLocaleKey="en_US",
    )
    lead = new_lead(api, OwnerId=user)
    api.update("User", user, IsActive=False)
    assert row(api, "Lead", lead)["OwnerId"] == user
    refused = soap.convert(lead)
    assert refused["statusCode"] == "OPERATION_WITH_INACTIVE_USER_EXCEPTION"


def test_memberships_follow(api: Api, soap: Soap) -> None:
    lead = new_lead(api)
    sent, responded = (api.create("Campaign", Name=name) for name in ("a", "b"))
    member = api.create("CampaignMember", CampaignId=responded, LeadId=lead, Status="Responded")
    api.create("CampaignMember", CampaignId=sent, LeadId=lead)
    result = soap.convert(lead)
    assert row(api, "Opportunity", result["opportunityId"])["CampaignId"] == responded
    kept = row(api, "CampaignMember", member)
    assert (kept["LeadId"], kept["ContactId"]) == (lead, result["contactId"])
    assert (kept["Type"], kept["HasResponded"]) == ("Contact", True)
    campaign = row(api, "Campaign", responded)
    assert (campaign["NumberOfLeads"], campaign["NumberOfConvertedLeads"]) == (0, 1)
    assert campaign["NumberOfContacts"] == 1
    (error,) = api.send(
        "POST",
        "sobjects/CampaignMember",
        {"CampaignId": api.create("Campaign", Name="c"), "LeadId": lead},
        400,
    )
    assert error["errorCode"] == "CANNOT_UPDATE_CONVERTED_LEAD"


def test_lead_and_contact_of_one_campaign_become_one_member(api: Api, soap: Soap) -> None:
    account = api.create("Account", Name="x")
    contact = api.create("Contact", LastName="x", AccountId=account)
    lead = new_lead(api)
    campaign = api.create("Campaign", Name="a")
    kept = api.create("CampaignMember", CampaignId=campaign, ContactId=contact)
    gone = api.create("CampaignMember", CampaignId=campaign, LeadId=lead, Status="Responded")
    soap.convert(lead, accountId=account, contactId=contact)
    member = row(api, "CampaignMember", kept)
    assert (member["LeadId"], member["Status"]) == (lead, "Responded")
    api.get(f"sobjects/CampaignMember/{gone}", status=404)


def test_rest_has_no_such_action(api: Api) -> None:
    api.send("POST", "actions/standard/convertLead", {"inputs": []}, 404)


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)))
def test_the_end_of_a_quarter(day: date) -> None:
    end = end_of_quarter(day)
    assert (end.month, end.day) in ((3, 31), (6, 30), (9, 30), (12, 31))
    assert 0 <= (end - day).days <= 92


# The mapping of custom fields


@pytest.fixture
def own_org(tmp_path: Path) -> Iterator[Org]:
    build_home(tmp_path / "home", 1, list)
    org = Org(tmp_path / "home", Settings())
    yield org
    org.close()


def convert_with_code(org: Org) -> tuple[Any, ...]:
    with org.store.write() as connection:
        user = org.store.integration_user_id
        writer = Writer(org, connection, user, lambda item, value: from_csv(item, str(value)))
        lead = {"LastName": "x", "Company": "y", "Referral_Code__c": "R-1", "Twitter__c": "@x"}
        lead_id = writer.create(org.schema["Lead"], lead).id
        wanted = LeadConvert(str(lead_id), "Closed - Converted")
        converted = convert_lead(org, writer, lead_field_mapping(org), wanted)
        assert not converted.errors
        sql = "SELECT Referral_Code__c, Twitter__c FROM Contact WHERE Id = ?"
        found: tuple[Any, ...] = connection.execute(sql, [converted.contact_id]).fetchone()
        return found


def test_the_mapping_is_a_setting_of_the_org(own_org: Org) -> None:
    assert lead_field_mapping(own_org) == DEFAULT_MAPPING
    assert convert_with_code(own_org) == ("R-1", "@x")
    set_lead_field_mapping(own_org, {"Contact": {"Referral_Code__c": "Twitter__c"}})
    assert lead_field_mapping(own_org)["Contact"] == {"Referral_Code__c": "Twitter__c"}
    assert convert_with_code(own_org) == (None, "R-1")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"Campaign": {}}, "not Campaign"),
        ({"Contact": {"Nope__c": "Twitter__c"}}, "no custom field Nope__c"),
        ({"Contact": {"Title": "Twitter__c"}}, "no custom field Title"),
        ({"Contact": {"Twitter__c": "Nope__c"}}, "Contact has no custom field Nope__c"),
        ({"Contact": {"Twitter__c": "Title"}}, "no custom field Title"),
        ({"Contact": {"Full_Name_Length__c": "Referral_Count__c"}}, "keeps a value"),
        ({"Contact": {"Twitter__c": "Referral_Count__c"}}, "differ in type"),
    ],
)
def test_a_mapping_that_does_not_fit(
    own_org: Org, mapping: dict[str, dict[str, str]], message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        set_lead_field_mapping(own_org, mapping)
    assert lead_field_mapping(own_org) == DEFAULT_MAPPING
