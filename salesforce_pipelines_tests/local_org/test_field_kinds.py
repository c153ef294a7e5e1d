"""Every kind of field: its describe, what it accepts, and how its values come back."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.local_org.errors import ApiError, RowRefusedError
from salesforce_pipelines.local_org.metadata.auto_numbers import auto_number_writer
from salesforce_pipelines.local_org.metadata.schema import Field, PicklistValue, bit_set
from salesforce_pipelines.local_org.saves.field_values import from_csv, from_json
from salesforce_pipelines_tests.local_org.conftest import Api, unique


def described(api: Api, sobject: str) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in api.get(f"sobjects/{sobject}/describe")["fields"]}


def stored(api: Api, record_id: str, *names: str, sobject: str = "Contact") -> dict[str, Any]:
    (record,) = api.records(f"SELECT {', '.join(names)} FROM {sobject} WHERE Id = '{record_id}'")
    return record


def refusal(api: Api, status: int = 400, **values: Any) -> dict[str, Any]:
    (error,) = api.send("POST", "sobjects/Contact", {"LastName": "x", **values}, status)
    found: dict[str, Any] = error
    return found


@pytest.mark.parametrize(
    ("sobject", "name", "expected"),
    [
        (
            "Contact",
            "Interests__c",
            {
                "type": "multipicklist",
                "soapType": "xsd:string",
                "length": 4099,
                "byteLength": 4099,
                "precision": 4,
                "sortable": False,
                "groupable": False,
                "aggregatable": False,
                "filterable": True,
                "restrictedPicklist": False,
                "inlineHelpText": "What the contact asked to hear about",
            },
        ),
        (
            "Contact",
            "Preferred_Call_Time__c",
            {"type": "time", "soapType": "xsd:time", "length": 0, "sortable": True,
             "groupable": False, "filterable": True},
        ),
        (
            "Contact",
            "Office_Location__c",
            {
                "type": "location",
                "soapType": "urn:location",
                "createable": False,
                "updateable": False,
                "queryByDistance": True,
                "displayLocationInDecimal": True,
                "sortable": False,
                "groupable": False,
                "aggregatable": False,
                "compoundFieldName": None,
                "custom": True,
            },
        ),
        (
            "Contact",
            "Office_Location__Latitude__s",
            {"type": "double", "precision": 18, "scale": 15, "custom": True, "createable": True,
             "compoundFieldName": "Office_Location__c", "queryByDistance": False},
        ),
        (
            "Contact",
            "Member_Number__c",
            {
                "type": "string",
                "autoNumber": True,
                "length": 30,
                "byteLength": 90,
                "createable": False,
                "updateable": False,
                "nillable": False,
                "defaultedOnCreate": True,
                "idLookup": True,
                "groupable": False,
                "calculated": False,
            },
        ),
        (
            "Contact",
            "Discount__c",
            {"type": "percent", "soapType": "xsd:double", "precision": 5, "scale": 2, "length": 0,
             "byteLength": 0, "groupable": False},
        ),
        ("Contact", "Lifetime_Value__c", {"type": "currency", "precision": 16, "scale": 2}),
        ("Contact", "Customer_Since__c", {"type": "date", "groupable": True}),
        ("Contact", "Last_Survey_At__c", {"type": "datetime", "groupable": False}),
        (
            "Contact",
            "Referred_By__c",
            {"type": "reference", "soapType": "tns:ID", "length": 18, "byteLength": 18,
             "referenceTo": ["Contact"], "relationshipName": "Referred_By__r",
             "relationshipOrder": None, "searchPrefilterable": True},
        ),
        (
            "Contact",
            "Profile_Notes__c",
            {"type": "textarea", "length": 131072, "extraTypeInfo": "plaintextarea",
             "htmlFormatted": False, "filterable": False, "sortable": False, "groupable": False,
             "aggregatable": False},
        ),
        (
            "Contact",
            "Biography__c",
            {"type": "textarea", "extraTypeInfo": "richtextarea", "htmlFormatted": True},
        ),
        (
            "Contact",
            "Tax_Number__c",
            {"type": "encryptedstring", "encrypted": True, "mask": "*", "maskType": "lastFour",
             "filterable": False, "sortable": False},
        ),
        (
            "Contact",
            "Case_Code__c",
            {"externalId": True, "unique": True, "idLookup": True, "caseSensitive": True},
        ),
        (
            "Contact",
            "Legacy_Number__c",
            {"type": "double", "externalId": True, "unique": False, "idLookup": True},
        ),
        ("Contact", "Login_Email__c", {"type": "email", "externalId": True, "unique": True}),
        (
            "Contact",
            "Newsletter__c",
            {"type": "boolean", "defaultValue": True, "defaultedOnCreate": True, "nillable": False,
             "aggregatable": False},
        ),
        (
            "Contact",
            "Account_Tier__c",
            {"type": "string", "length": 1300, "calculated": True, "groupable": False,
             "formulaTreatNullNumberAsZero": False, "createable": False, "updateable": False},
        ),
        (
            "Contact",
            "Discounted_Value__c",
            {"type": "currency", "calculated": True, "nillable": True, "precision": 18, "scale": 2,
             "calculatedFormula": "Lifetime_Value__c * (1 - Discount__c)",
             "formulaTreatNullNumberAsZero": True, "defaultedOnCreate": False},
        ),
        (
            "Contact",
            "Renewal_Date__c",
            {"type": "date", "calculatedFormula": "Customer_Since__c + 365", "groupable": True},
        ),
        (
            "Contact",
            "Is_VIP__c",
            {"type": "boolean", "calculated": True, "nillable": False, "defaultedOnCreate": True,
             "calculatedFormula": "Lifetime_Value__c >= 10000"},
        ),
        (
            "Account",
            "Number_Of_Contacts__c",
            {"type": "double", "calculated": True, "calculatedFormula": None, "updateable": False},
        ),
        (
            "Account",
            "Name",
            {"extraTypeInfo": "switchablepersonname", "compoundFieldName": "Name",
             "nameField": True, "permissionable": False},
        ),
        ("Contact", "FirstName", {"extraTypeInfo": "personname", "compoundFieldName": "Name"}),
        ("Contact", "PhotoUrl", {"extraTypeInfo": "imageurl", "updateable": False}),
        ("Lead", "Status", {"defaultValue": "Open - Not Contacted", "permissionable": False}),
        ("Lead", "Inquiry_Number__c", {"autoNumber": True}),
        ("Opportunity", "Fiscal", {"length": 6, "byteLength": 6}),
        ("Opportunity", "HasOpenActivity", {"groupable": True, "filterable": False}),
        ("Opportunity", "ContactId", {"relationshipName": None, "updateable": False}),
        ("CampaignMember", "CampaignId", {"updateable": False, "nillable": False}),
    ],
)  # fmt: skip
def test_describe_of_each_kind(api: Api, sobject: str, name: str, expected: dict[str, Any]) -> None:
    field = described(api, sobject)[name]
    assert {key: field[key] for key in expected} == expected


def test_picklist_values_with_labels_inactive_and_dependent_ones(api: Api) -> None:
    fields = described(api, "Contact")
    regions = fields["Region__c"]["picklistValues"]
    assert regions[0] == {
        "active": True,
        "defaultValue": False,
        "label": "Americas",
        "validFor": None,
        "value": "AMER",
    }
    assert [value["active"] for value in regions] == [True, True, True, False]
    territory = fields["Territory__c"]
    assert (territory["dependentPicklist"], territory["controllerName"]) == (True, "Region__c")
    valid = {
        value["value"]: [
            region["value"]
            for at, region in enumerate(regions)
            if base64.b64decode(value["validFor"])[at >> 3] & (0x80 >> at % 8)
        ]
        for value in territory["picklistValues"]
    }
    assert valid["DACH"] == ["EMEA"]
    assert valid["Strategic"] == ["AMER", "EMEA", "APAC"]


def test_child_relationships_of_custom_lookups(api: Api) -> None:
    children = api.get("sobjects/Contact/describe")["childRelationships"]
    named = {child["relationshipName"]: child for child in children if child["relationshipName"]}
    assert named["Referrals__r"]["field"] == "Referred_By__c"
    assert named["Referred_Leads__r"]["childSObject"] == "Lead"
    assert not named["Referrals__r"]["cascadeDelete"]
    assert named["CampaignMembers"]["cascadeDelete"]
    assert named["Users"]["restrictedDelete"]


def test_keys_that_older_versions_lack(api: Api) -> None:
    old = api.call("GET", "sobjects/Contact/describe", version="42.0").json()
    new = api.call("GET", "sobjects/Contact/describe", version="59.0").json()
    assert (len(old), len(new)) == (36, 45)
    assert (len(old["fields"][0]), len(new["fields"][0])) == (55, 57)
    assert set(new["fields"][0]) - set(old["fields"][0]) == {
        "aiPredictionField",
        "formulaTreatNullNumberAsZero",
    }
    assert "developerName" not in old["recordTypeInfos"][0]
    assert new["recordTypeInfos"][0]["urls"]["layout"] == (
        "/services/data/v59.0/sobjects/Contact/describe/layouts/012000000000000AAA"
    )
    listed = api.call("GET", "sobjects", version="42.0").json()["sobjects"][0]
    assert "deepCloneable" not in listed


def test_values_of_each_kind_come_back(api: Api) -> None:
    friend = api.create("Contact", LastName="Friend", FirstName="A")
    record_id = api.create(
        "Contact",
        LastName="x",
        Interests__c="Security;Analytics;Analytics",
        Preferred_Call_Time__c="18:23:39.5Z",
        Office_Location__Latitude__s=52.52,
        Office_Location__Longitude__s=-13.4,
        Region__c="EMEA",
        Territory__c="DACH",
        Discount__c="12.345",
        Lifetime_Value__c=20000.555,
        Customer_Since__c="2024-02-29",
        Last_Survey_At__c="2024-05-01T10:00:00+02:00",
        Referred_By__c=friend,
        Biography__c="<p>hi</p>",
        Tax_Number__c="123-45-6789",
    )
    names = (
        "Interests__c, Preferred_Call_Time__c, Office_Location__c, Office_Location__Latitude__s,"
        "Region__c, Territory__c, Discount__c, Lifetime_Value__c, Customer_Since__c,"
        "Last_Survey_At__c, Referred_By__r.Name, Newsletter__c, Discounted_Value__c,"
        "Renewal_Date__c, Is_VIP__c, Biography__c, Tax_Number__c"
    )
    record = stored(api, record_id, names)
    assert record.pop("Referred_By__r")["Name"] == "A Friend"
    assert record == {
        "Interests__c": "Analytics;Security",
        "Preferred_Call_Time__c": "18:23:39.500Z",
        "Office_Location__c": {"latitude": 52.52, "longitude": -13.4},
        "Office_Location__Latitude__s": 52.52,
        "Region__c": "EMEA",
        "Territory__c": "DACH",
        "Discount__c": 12.35,
        "Lifetime_Value__c": 20000.56,
        "Customer_Since__c": "2024-02-29",
        "Last_Survey_At__c": "2024-05-01T08:00:00.000+0000",
        "Newsletter__c": True,
        "Discounted_Value__c": pytest.approx(17530.49, abs=0.01),
        "Renewal_Date__c": "2025-02-28",
        "Is_VIP__c": True,
        "Biography__c": "<p>hi</p>",
        "Tax_Number__c": "123-45-6789",
    }
    whole = api.get(f"sobjects/Contact/{record_id}")
    assert whole["Preferred_Call_Time__c"] == "18:23:39.500Z"
    assert whole["Office_Location__c"] == {"latitude": 52.52, "longitude": -13.4}
    (parent,) = api.records(
        f"SELECT (SELECT LastName FROM Referrals__r) FROM Contact WHERE Id = '{friend}'"
    )
    assert [child["LastName"] for child in parent["Referrals__r"]["records"]] == ["x"]


def test_null_clears_each_kind(api: Api) -> None:
    record_id = api.create(
        "Contact",
        LastName="x",
        Interests__c="Security",
        Preferred_Call_Time__c="08:00:00Z",
        Office_Location__Latitude__s=1,
        Office_Location__Longitude__s=1,
        Newsletter__c=True,
    )
    cleared = {
        "Interests__c": None,
        "Preferred_Call_Time__c": None,
        "Office_Location__Latitude__s": None,
        "Office_Location__Longitude__s": None,
    }
    api.update("Contact", record_id, **cleared, Newsletter__c=None)
    assert stored(api, record_id, *cleared, "Office_Location__c", "Newsletter__c") == {
        **cleared,
        "Office_Location__c": None,
        "Newsletter__c": False,
    }


def test_a_roll_up_counts_live_children(api: Api) -> None:
    account = api.create("Account", Name=unique("Rolled"))
    contacts = [api.create("Contact", LastName="x", AccountId=account) for _ in range(3)]
    api.delete("Contact", contacts[0])
    assert stored(api, account, "Number_Of_Contacts__c", sobject="Account") == {
        "Number_Of_Contacts__c": 2.0
    }


def test_auto_numbers_follow_each_other(api: Api) -> None:
    first, second = (api.create("Lead", LastName="x", Company="y") for _ in range(2))
    numbers = [
        str(stored(api, record_id, "Inquiry_Number__c", sobject="Lead")["Inquiry_Number__c"])
        for record_id in (first, second)
    ]
    assert all(number.startswith("R-") and len(number) == 7 for number in numbers)
    assert int(numbers[1][2:]) == int(numbers[0][2:]) + 1
    (error,) = api.send("PATCH", f"sobjects/Lead/{first}", {"Inquiry_Number__c": "R-1"}, 400)
    assert error["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"Preferred_Call_Time__c": "25:00:00Z"}, "JSON_PARSER_ERROR", "instance of time from"),
        ({"Preferred_Call_Time__c": 8}, "JSON_PARSER_ERROR", "VALUE_NUMBER_INT value 8"),
        ({"Office_Location__Latitude__s": 90.1}, "NUMBER_OUTSIDE_VALID_RANGE", "(Latitude): value"),
        ({"Office_Location__Longitude__s": -181}, "NUMBER_OUTSIDE_VALID_RANGE", "(Longitude)"),
        ({"MailingLatitude": 91}, "NUMBER_OUTSIDE_VALID_RANGE", "Mailing Latitude"),
        (
            {"Region__c": "Mars"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Region: bad value for restricted picklist field: Mars",
        ),
        ({"Region__c": "ROW"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "field: ROW"),
        (
            {"Region__c": "APAC", "Territory__c": "DACH"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Territory: bad value for restricted picklist field: DACH",
        ),
        ({"Territory__c": "DACH"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "field: DACH"),
        ({"Discount__c": 1000}, "NUMBER_OUTSIDE_VALID_RANGE", "Discount"),
        ({"Tax_Number__c": "1" * 21}, "STRING_TOO_LONG", "Tax Number: data value too large"),
        ({"Is_VIP__c": True}, "INVALID_FIELD_FOR_INSERT_UPDATE", "Is_VIP__c"),
        ({"Office_Location__c": {"latitude": 1}}, "INVALID_FIELD_FOR_INSERT_UPDATE", "Location"),
        ({"Referred_By__c": "001000000000000AAA"}, "FIELD_INTEGRITY_EXCEPTION", "Referred By"),
    ],
)
def test_values_that_are_refused(api: Api, values: dict[str, Any], code: str, words: str) -> None:
    error = refusal(api, **values)
    assert error["errorCode"] == code
    assert words in error["message"]


def test_a_controlling_value_cannot_leave_a_dependent_one_behind(api: Api) -> None:
    record_id = api.create("Contact", LastName="x", Region__c="EMEA", Territory__c="DACH")
    path = f"sobjects/Contact/{record_id}"
    (error,) = api.send("PATCH", path, {"Region__c": "AMER"}, 400)
    assert error["errorCode"] == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
    assert error["fields"] == ["Territory__c"]
    api.send("PATCH", path, {"Region__c": "AMER", "Territory__c": "Strategic"}, 204)
    api.send("PATCH", path, {"LastName": "y"}, 204)


def test_unique_external_ids_with_and_without_letter_case(api: Api) -> None:
    code, email = unique("Code"), f"{unique('who')}@example.com"
    one = api.create("Contact", LastName="x", Case_Code__c=code, Login_Email__c=email)
    two = api.create("Contact", LastName="y", Case_Code__c=code.upper())
    assert refusal(api, Case_Code__c=code)["errorCode"] == "DUPLICATE_VALUE"
    error = refusal(api, Login_Email__c=email.upper())
    assert error["message"] == (
        f"duplicate value found: Login_Email__c duplicates value on record with id: {one}"
    )
    assert api.get(f"sobjects/Contact/Case_Code__c/{code}")["Id"] == one
    assert api.get(f"sobjects/Contact/Case_Code__c/{code.upper()}")["Id"] == two
    assert api.get(f"sobjects/Contact/Login_Email__c/{email.upper()}")["Id"] == one


def test_an_external_id_that_is_not_unique(api: Api) -> None:
    number = 70_000_000 + int(unique("n").removeprefix("n-"))
    path = f"sobjects/Contact/Legacy_Number__c/{number}"
    created = api.send("PATCH", path, {"LastName": "x"}, 201)
    assert stored(api, created["id"], "Legacy_Number__c") == {"Legacy_Number__c": float(number)}
    other = api.create("Contact", LastName="y", Legacy_Number__c=number)
    urls = api.send("PATCH", path, {"LastName": "z"}, 300)
    assert {url.rpartition("/")[2] for url in urls} == {created["id"], other}


def test_bulk_writes_and_shows_each_kind(api: Api) -> None:
    key = unique("bulk")
    lines = [
        "External_Id__c,LastName,Interests__c,Preferred_Call_Time__c,Office_Location__Latitude__s,"
        "Newsletter__c,Region__c,Tax_Number__c",
        f'{key}-1,x,Security;Automation,07:30:00.000Z,1.5,false,AMER,"a""b"',
        f"{key}-2,x,Automation,7:30,1.5,,,",
        f"{key}-3,x,#N/A,,,,Mars,",
    ]
    body = {"object": "Contact", "operation": "insert"}
    job = api.send("POST", "jobs/ingest", body, 200)
    upload = "\n".join(lines).encode()
    api.call("PUT", f"jobs/ingest/{job['id']}/batches", data=upload)
    api.send("PATCH", f"jobs/ingest/{job['id']}", {"state": "UploadComplete"}, 200)
    api.finished("ingest", job["id"])
    failed = api.call("GET", f"jobs/ingest/{job['id']}/failedResults").text
    assert "'7:30' is not a valid value for the type xsd:time" in failed
    assert "Region: bad value for restricted picklist field: Mars" in failed
    query = {
        "operation": "query",
        "query": "SELECT Interests__c, Preferred_Call_Time__c, Office_Location__Latitude__s,"
        " Newsletter__c, Discount__c, Tax_Number__c, Member_Number__c FROM Contact"
        f" WHERE External_Id__c = '{key}-1'",
    }
    job = api.send("POST", "jobs/query", query, 200)
    api.finished("query", job["id"])
    header, line = api.call("GET", f"jobs/query/{job['id']}/results").text.splitlines()
    assert header.startswith('"Interests__c","Preferred_Call_Time__c"')
    start = '"Automation;Security","07:30:00.000Z","1.5","false","","a""b","M-'
    assert line.startswith(start)


def test_locations_cannot_be_selected_in_bulk(api: Api) -> None:
    body = {"operation": "query", "query": "SELECT Office_Location__c FROM Contact"}
    (error,) = api.send("POST", "jobs/query", body, 400)
    assert "Selecting compound data not supported in Bulk Query" in error["message"]


# Rules

TIME = Field("Time__c", "Time", "time")
COLOURS = Field(
    "Colours__c",
    "Colours",
    "multipicklist",
    length=4099,
    picklist=tuple(PicklistValue(name, name) for name in "ABCDE"),
)


@given(st.lists(st.integers(0, 200), unique=True))
def test_a_bit_set_names_its_positions(positions: list[int]) -> None:
    value = PicklistValue("x", "x", valid_for=bit_set(positions))
    assert [at for at in range(250) if value.is_valid_for(at)] == sorted(positions)


@given(st.times())
def test_times_are_kept_to_the_millisecond(time: Any) -> None:
    text = time.isoformat()
    kept = from_csv(TIME, text)
    assert kept == from_json(TIME, f"{text}Z")
    assert kept == f"{time.replace(microsecond=0).isoformat()}.{time.microsecond // 1000:03}"


@pytest.mark.parametrize("text", ["24:00:00", "12:60", "12", "12:00:00+02:00", "noon"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(ApiError):
        from_json(TIME, text)
    with pytest.raises(RowRefusedError):
        from_csv(TIME, text)


@given(st.lists(st.sampled_from([*"ABCDE", "X", ""]), max_size=9))
def test_chosen_values_stand_once_and_in_order(chosen: list[str]) -> None:
    kept = from_json(COLOURS, ";".join(chosen))
    expected = ";".join(name for name in "ABCDEX" if name in chosen)
    assert kept == (expected or None)


@pytest.mark.parametrize(
    ("display_format", "text"),
    [
        ("R-{00000}", "R-00007"),
        ("{0}", "7"),
        ("100%-{YYYY}{MM}{DD}-{000}", "100%-20240509-007"),
        ("{YY}/{0}", "24/7"),
    ],
)
def test_display_formats(display_format: str, text: str) -> None:
    assert auto_number_writer(display_format, "2024-05-09T00:00:00")(1007) == text
