import gzip
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from salesforce_pipelines_tests.local_org.conftest import Api, unique


def row(api: Api, sobject: str, record_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"sobjects/{sobject}/{record_id}")
    return found


def refused(api: Api, sobject: str, **values: Any) -> dict[str, Any]:
    (error,) = api.send("POST", f"sobjects/{sobject}", values, 400)
    return dict(error)


def test_a_new_contact_is_whole(api: Api) -> None:
    answer = api.call(
        "POST",
        "sobjects/Contact/",
        json={"LastName": "Ørsted", "FirstName": "Zoë", "MailingCity": "Århus", "Title": ""},
    )
    created = answer.json()
    assert answer.status_code == 201
    assert created == {"id": created["id"], "success": True, "errors": []}
    assert answer.headers["Location"] == (f"/services/data/v62.0/sobjects/Contact/{created['id']}")
    contact = row(api, "Contact", created["id"])
    assert contact["attributes"] == {
        "type": "Contact",
        "url": f"/services/data/v62.0/sobjects/Contact/{created['id']}",
    }
    assert contact["Name"] == "Zoë Ørsted"
    assert contact["Full_Name_Length__c"] == 10.0
    assert contact["Title"] is None
    assert contact["Email"] is None
    assert contact["IsDeleted"] is False
    assert contact["OwnerId"] == contact["CreatedById"] == contact["LastModifiedById"]
    assert contact["MailingAddress"] == {
        "city": "Århus",
        "country": None,
        "geocodeAccuracy": None,
        "latitude": None,
        "longitude": None,
        "postalCode": None,
        "state": None,
        "street": None,
    }
    stamp = datetime.strptime(contact["SystemModstamp"], "%Y-%m-%dT%H:%M:%S.000%z")
    assert abs((datetime.now(UTC) - stamp).total_seconds()) < 5
    assert contact["CreatedDate"] == contact["LastModifiedDate"] == contact["SystemModstamp"]


def test_a_contact_without_address_has_none(api: Api) -> None:
    contact = row(api, "Contact", api.create("Contact", LastName="x"))
    assert contact["MailingAddress"] is None


def test_field_names_in_any_case_and_values_of_every_type(api: Api) -> None:
    key = unique()
    record_id = api.create(
        "contact",
        LASTNAME="x",
        birthdate="1990-02-28",
        EmailBouncedDate="2024-05-01T12:00:00+02:00",
        MailingLatitude=12.5,
        Referral_Count__c=3.5,
        hasOptedOutOfEmail=True,
        external_id__c=key,
    )
    contact = row(api, "Contact", record_id)
    assert contact["Birthdate"] == "1990-02-28"
    assert contact["EmailBouncedDate"] == "2024-05-01T10:00:00.000+0000"
    assert contact["MailingLatitude"] == 12.5
    assert contact["Referral_Count__c"] == 4.0
    assert contact["HasOptedOutOfEmail"] is True
    assert contact["IsEmailBounced"] is True
    assert contact["External_Id__c"] == key


def test_read_some_fields_by_any_id_form(api: Api) -> None:
    account = api.create("Account", Name="Acme")
    record_id = api.create("Contact", LastName="x", AccountId=account)
    found = api.get(f"sobjects/Contact/{record_id[:15]}", fields="LastName,Account.Name")
    assert found["LastName"] == "x"
    assert found["Account"]["Name"] == "Acme"
    assert found["Account"]["attributes"]["type"] == "Account"
    assert found["Id"] == record_id  # shown though nobody asked for it
    wrong = api.get(f"sobjects/Contact/{record_id}", status=400, fields="Nope")
    assert wrong[0]["message"] == "No such column 'Nope' on sobject of type Contact"


def test_last_modified_header_is_the_stamp(api: Api) -> None:
    record_id = api.create("Contact", LastName="x")
    answer = api.call("GET", f"sobjects/Contact/{record_id}")
    stamp = datetime.strptime(answer.json()["SystemModstamp"], "%Y-%m-%dT%H:%M:%S.000%z")
    assert answer.headers["Last-Modified"] == stamp.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(
    ("values", "code", "message", "fields"),
    [
        (
            {"FirstName": "x"},
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [LastName]",
            ["LastName"],
        ),
        ({"Nope": 1}, "INVALID_FIELD", "No such column 'Nope' on sobject of type Contact", None),
        (
            {"Name": "x", "Full_Name_Length__c": 1},
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "Unable to create/update fields: Name, Full_Name_Length__c. Please check the security "
            "settings of this field and verify that it is read/write for your profile or "
            "permission set.",
            ["Name", "Full_Name_Length__c"],
        ),
        (
            {"LastName": "x" * 81},
            "STRING_TOO_LONG",
            f"Last Name: data value too large: {'x' * 81} (max length=80)",
            ["LastName"],
        ),
        (
            {"Email": "badone"},
            "INVALID_EMAIL_ADDRESS",
            "Email: invalid email address: badone",
            ["Email"],
        ),
        (
            {"Employee_Band__c": "lots"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Employee Band: bad value for restricted picklist field: lots",
            ["Employee_Band__c"],
        ),
        (
            {"AccountId": "001000000000000AAA"},
            "INVALID_CROSS_REFERENCE_KEY",
            "invalid cross reference id",
            ["AccountId"],
        ),
        (
            {"AccountId": "nonsense"},
            "MALFORMED_ID",
            "Account ID: id value of incorrect type: nonsense",
            ["AccountId"],
        ),
        (
            {"AccountId": "003000000000000AAA"},
            "FIELD_INTEGRITY_EXCEPTION",
            "Account ID: id value of incorrect type: 003000000000000AAA",
            ["AccountId"],
        ),
        (
            {"Birthdate": "tomorrow"},
            "JSON_PARSER_ERROR",
            "Cannot deserialize instance of date from VALUE_STRING value tomorrow or request may "
            "be missing a required field",
            ["Birthdate"],
        ),
        (
            {"FirstName": 5},
            "JSON_PARSER_ERROR",
            "Cannot deserialize instance of string from VALUE_NUMBER_INT value 5 or request may "
            "be missing a required field",
            ["FirstName"],
        ),
        (
            {"Referral_Count__c": "1e999999999"},
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Referral Count: value outside of valid range on numeric field: 1e999999999",
            ["Referral_Count__c"],
        ),
        (
            {"Referral_Count__c": 1e19},
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Referral Count: value outside of valid range on numeric field: 1e+19",
            ["Referral_Count__c"],
        ),
    ],
)
def test_refused_values(
    api: Api, values: dict[str, Any], code: str, message: str, fields: list[str] | None
) -> None:
    given = values if code == "REQUIRED_FIELD_MISSING" else {"LastName": "x"} | values
    error = refused(api, "Contact", **given)
    assert (error["errorCode"], error["message"]) == (code, message)
    assert error.get("fields") == fields


@pytest.mark.parametrize("number", ["1e9999999", "123456789", "1.5", "nan"])
def test_whole_numbers(api: Api, number: str) -> None:
    error = refused(api, "Account", Name="x", NumberOfEmployees=number)
    assert error["errorCode"] == "JSON_PARSER_ERROR"
    assert row(api, "Account", api.create("Account", Name="x", NumberOfEmployees="12345678"))


def test_bodies_that_are_no_records(api: Api) -> None:
    for body in (b"{", b"", b"[1]", b"null", b"\xff"):
        answer = api.call("POST", "sobjects/Contact", data=body)
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR")


def test_a_compressed_body(api: Api) -> None:
    body = gzip.compress(json.dumps({"LastName": "Packed"}).encode())
    answer = api.call("POST", "sobjects/Contact", data=body, headers={"Content-Encoding": "gzip"})
    assert row(api, "Contact", answer.json()["id"])["LastName"] == "Packed"


def test_an_update_changes_only_what_it_names_and_moves_the_stamp(api: Api) -> None:
    record_id = api.create("Contact", LastName="Before", Title="CEO", Phone="1")
    before = row(api, "Contact", record_id)
    while datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S") <= before["SystemModstamp"][:19]:
        pass
    api.update("Contact", record_id, LastName="After", Phone=None)
    after = row(api, "Contact", record_id)
    assert (after["LastName"], after["Title"], after["Phone"]) == ("After", "CEO", None)
    assert after["SystemModstamp"] > before["SystemModstamp"]
    assert after["CreatedDate"] == before["CreatedDate"]
    api.update("Contact", record_id, FirstName="New")
    assert row(api, "Contact", record_id)["Name"] == "New After"


def test_an_update_cannot_take_away_what_is_required(api: Api) -> None:
    record_id = api.create("Contact", LastName="x")
    (error,) = api.send("PATCH", f"sobjects/Contact/{record_id}", {"LastName": None}, 400)
    assert error["errorCode"] == "REQUIRED_FIELD_MISSING"


def test_update_of_what_is_not_there(api: Api) -> None:
    path = "sobjects/Contact/"
    missing = api.send("PATCH", f"{path}003000000000000AAA", {"Title": "x"}, 404)
    assert missing == [
        {"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}
    ]
    malformed = api.send("PATCH", f"{path}001000000000000AAA", {"Title": "x"}, 400)
    assert malformed[0]["errorCode"] == "MALFORMED_ID"
    record_id = api.create("Contact", LastName="x")
    with_id = api.send("PATCH", f"{path}{record_id}", {"Id": record_id, "Title": "x"}, 400)
    assert with_id[0]["errorCode"] == "INVALID_FIELD"


def test_a_deleted_row(api: Api) -> None:
    record_id = api.create("Contact", LastName="x")
    before = row(api, "Contact", record_id)["SystemModstamp"]
    api.delete("Contact", record_id)
    path = f"sobjects/Contact/{record_id}"
    assert api.get(path, status=404)[0]["errorCode"] == "NOT_FOUND"
    gone = {"message": "entity is deleted", "errorCode": "ENTITY_IS_DELETED", "fields": []}
    assert api.send("PATCH", path, {"Title": "x"}, 404) == [gone]
    assert api.send("DELETE", path, None, 404) == [gone]
    soql = f"SELECT IsDeleted, SystemModstamp FROM Contact WHERE Id = '{record_id}'"
    assert api.records(soql) == []
    (left,) = api.records(soql, path="queryAll")
    assert left["IsDeleted"] is True
    assert left["SystemModstamp"] >= before
    error = refused(api, "Contact", LastName="y", ReportsToId=record_id)
    assert error["errorCode"] == "ENTITY_IS_DELETED"


def test_deleting_an_account_takes_its_contacts_and_their_memberships(api: Api) -> None:
    account = api.create("Account", Name="Acme")
    contact = api.create("Contact", LastName="x", AccountId=account)
    campaign = api.create("Campaign", Name="c")
    member = api.create("CampaignMember", CampaignId=campaign, ContactId=contact)
    api.delete("Account", account)
    for sobject, record_id in (("Contact", contact), ("CampaignMember", member)):
        api.get(f"sobjects/{sobject}/{record_id}", status=404)
    assert row(api, "Campaign", campaign)["NumberOfContacts"] == 0


def test_unique_external_ids_ignore_case_and_deleted_rows(api: Api) -> None:
    key = unique("Key")
    record_id = api.create("Contact", LastName="x", External_Id__c=key)
    error = refused(api, "Contact", LastName="y", External_Id__c=key.upper())
    assert error["errorCode"] == "DUPLICATE_VALUE"
    assert error["message"] == (
        f"duplicate value found: External_Id__c duplicates value on record with id: {record_id}"
    )
    api.update("Contact", record_id, External_Id__c=key.upper())
    api.delete("Contact", record_id)
    api.create("Contact", LastName="z", External_Id__c=key)


def test_upsert_by_external_id(api: Api) -> None:
    key = unique("a b/ü&")
    path = f"sobjects/Contact/External_Id__c/{quote(key, safe='')}"
    created = api.send("PATCH", path, {"LastName": "x"}, 201)
    updated = api.send("PATCH", path, {"Title": "y"}, 200)
    assert created == {"id": created["id"], "success": True, "errors": [], "created": True}
    assert updated == {**created, "created": False}
    assert api.get(path)["External_Id__c"] == key
    assert api.call("PATCH", path, version="45.0", json={"Title": "z"}).status_code == 204
    twice = api.send("PATCH", path, {"External_Id__c": key}, 400)
    assert twice[0]["errorCode"] == "INVALID_FIELD"
    missing = api.send("PATCH", "sobjects/Contact/Title/x", {"LastName": "x"}, 404)
    assert missing[0]["message"] == (
        "Provided external ID field does not exist or is not accessible: Title"
    )
    api.send("DELETE", path, None, 204)
    api.get(path, status=404)


def test_a_key_that_names_several_rows(api: Api) -> None:
    email = f"{unique()}@example.com"
    ids = [api.create("Contact", LastName="x", Email=email) for _ in range(2)]
    answer = api.call("PATCH", f"sobjects/Contact/Email/{email}", json={"Title": "x"})
    assert answer.status_code == 300
    root = "/services/data/v62.0/sobjects/Contact"
    assert sorted(answer.json()) == [f"{root}/{record_id}" for record_id in ids]


def test_a_parent_by_its_external_id(api: Api) -> None:
    key = unique()
    boss = api.create("Contact", LastName="Boss", External_Id__c=key)
    record_id = api.create("Contact", LastName="x", ReportsTo={"External_Id__c": key})
    assert row(api, "Contact", record_id)["ReportsToId"] == boss
    missing = refused(api, "Contact", LastName="x", ReportsTo={"External_Id__c": "nobody"})
    assert missing["errorCode"] == "INVALID_FIELD"


def test_a_converted_lead_is_immutable(api: Api) -> None:
    record_id = api.create("Lead", LastName="x", Company="y", IsConverted=True)
    lead = row(api, "Lead", record_id)
    assert lead["IsConverted"] is True
    assert lead["ConvertedDate"] == lead["CreatedDate"][:10]
    assert api.send("PATCH", f"sobjects/Lead/{record_id}", {"Title": "x"}, 400) == [
        {
            "message": "cannot reference converted lead",
            "errorCode": "CANNOT_UPDATE_CONVERTED_LEAD",
            "fields": [],
        }
    ]
    other = api.create("Lead", LastName="x", Company="y")
    (error,) = api.send("PATCH", f"sobjects/Lead/{other}", {"IsConverted": True}, 400)
    assert error["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"


def test_defaults_of_a_lead(api: Api) -> None:
    lead = row(api, "Lead", api.create("Lead", LastName="x", Company="y"))
    assert lead["Status"] == "Open - Not Contacted"
    assert lead["IsUnreadByOwner"] is True
    assert lead["IsConverted"] is False


def test_the_stage_decides_about_an_opportunity(api: Api) -> None:
    record_id = api.create(
        "Opportunity", Name="x", StageName="Prospecting", CloseDate="2024-05-31", Amount=200
    )
    opened = row(api, "Opportunity", record_id)
    assert (opened["IsClosed"], opened["IsWon"], opened["Probability"]) == (False, False, 10.0)
    assert (opened["ExpectedRevenue"], opened["Fiscal"]) == (20.0, "2024 2")
    assert opened["LastStageChangeDate"] is None
    api.update("Opportunity", record_id, StageName="Closed Won")
    won = row(api, "Opportunity", record_id)
    assert (won["IsClosed"], won["IsWon"], won["Probability"]) == (True, True, 100.0)
    assert (won["ForecastCategory"], won["ForecastCategoryName"]) == ("Closed", "Closed")
    assert won["LastStageChangeDate"] == won["SystemModstamp"]
    api.update("Opportunity", record_id, StageName="Closed Lost", Probability=5)
    lost = row(api, "Opportunity", record_id)
    assert (lost["IsClosed"], lost["IsWon"], lost["Probability"]) == (True, False, 5.0)


def test_campaign_members(api: Api) -> None:
    campaign = api.create("Campaign", Name="Referrals")
    lead = api.create("Lead", LastName="Lee", FirstName="Ann", Company="Acme")
    contact = api.create("Contact", LastName="Con")
    alone = refused(api, "CampaignMember", CampaignId=campaign)
    assert alone["errorCode"] == "FIELD_INTEGRITY_EXCEPTION"
    member_id = api.create("CampaignMember", CampaignId=campaign, LeadId=lead, Status="Nonsense")
    member = row(api, "CampaignMember", member_id)
    assert (member["Status"], member["HasResponded"], member["Type"]) == ("Sent", False, "Lead")
    assert (member["Name"], member["CompanyOrAccount"]) == ("Ann Lee", "Acme")
    assert member["LeadOrContactId"] == lead
    again = refused(api, "CampaignMember", CampaignId=campaign, LeadId=lead)
    assert (again["errorCode"], again["message"]) == (
        "DUPLICATE_VALUE",
        "Already a campaign member.",
    )
    api.update("CampaignMember", member_id, Status="responded", Referral_Code__c="R-1")
    member = row(api, "CampaignMember", member_id)
    assert (member["Status"], member["HasResponded"]) == ("Responded", True)
    assert member["FirstRespondedDate"] == member["LastModifiedDate"][:10]
    both = api.create("CampaignMember", CampaignId=campaign, LeadId=lead, ContactId=contact)
    assert row(api, "CampaignMember", both)["LeadId"] is None
    moved = api.send("PATCH", f"sobjects/CampaignMember/{member_id}", {"CampaignId": campaign}, 400)
    assert moved[0]["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
    counts = row(api, "Campaign", campaign)
    assert (counts["NumberOfLeads"], counts["NumberOfContacts"]) == (1, 1)
    assert counts["NumberOfResponses"] == 1


def test_a_formula_follows_another_record_without_moving_the_stamp(api: Api) -> None:
    account = api.create("Account", Name="Acme", AnnualRevenue=1000)
    contact = api.create("Contact", LastName="x", AccountId=account)
    before = row(api, "Contact", contact)
    api.update("Account", account, AnnualRevenue=200_000_000)
    after = row(api, "Contact", contact)
    assert (before["Account_Tier__c"], after["Account_Tier__c"]) == ("Small business", "Enterprise")
    assert before["SystemModstamp"] == after["SystemModstamp"]


def test_owners_are_active_users(api: Api) -> None:
    profile = api.records("SELECT ProfileId FROM User LIMIT 1")[0]["ProfileId"]
    user = api.create(
        "User",
        Username=f"{unique()}@example.com",
        LastName="Owner",
        Email="owner@example.com",
        Alias="own",
        ProfileId=profile,
        TimeZoneSidKey="UTC",
        LocaleSidKey="en_US",
        EmailEncodingKey="UTF-8",
        LanguageLocaleKey="en_US",
    )
    contact = api.create("Contact", LastName="x", OwnerId=user)
    api.update("User", user, IsActive=False)
    error = refused(api, "Contact", LastName="x", OwnerId=user)
    assert error["errorCode"] == "OPERATION_WITH_INACTIVE_USER_EXCEPTION"
    assert row(api, "Contact", contact)["OwnerId"] == user
    (kept,) = api.send("DELETE", f"sobjects/User/{user}", None, 403)
    assert kept["errorCode"] == "INSUFFICIENT_ACCESS_OR_READONLY"


def test_what_cannot_be_created(api: Api) -> None:
    error = refused(api, "LeadStatus", MasterLabel="x")
    assert error["errorCode"] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"


def test_updated_and_deleted_rows(api: Api) -> None:
    kept = api.create("Opportunity", Name="x", StageName="Prospecting", CloseDate="2024-05-31")
    gone = api.create("Opportunity", Name="x", StageName="Prospecting", CloseDate="2024-05-31")
    api.delete("Opportunity", gone)
    stamp = api.records(f"SELECT SystemModstamp FROM Opportunity WHERE Id = '{gone}'", "queryAll")
    while datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S") <= stamp[0]["SystemModstamp"][:19]:
        pass
    today = datetime.now(UTC)
    window: dict[str, Any] = {
        "start": today.strftime("%Y-%m-%dT00:00:00+00:00"),
        "end": today.strftime("%Y-%m-%dT23:59:59Z"),
    }
    updated = api.get("sobjects/Opportunity/updated/", **window)
    assert kept in updated["ids"]
    assert gone not in updated["ids"]
    assert updated["latestDateCovered"].endswith(".000+0000")
    deleted = api.get("sobjects/Opportunity/deleted/", **window)
    assert {"id": gone, "deletedDate": stamp[0]["SystemModstamp"]} in deleted["deletedRecords"]
    assert deleted["earliestDateAvailable"] < deleted["latestDateCovered"]
    window["start"] = "2001-01-01T00:00:00Z"
    early = api.get("sobjects/Opportunity/deleted", status=400, **window)
    assert early[0]["errorCode"] == "INVALID_REPLICATION_DATE"
