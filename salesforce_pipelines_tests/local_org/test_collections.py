from typing import Any

import pytest

from salesforce_pipelines_tests.local_org.conftest import Api, unique

ROLLED_BACK = {
    "success": False,
    "errors": [
        {
            "statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK",
            "message": "Record rolled back because not all records were valid and the request was "
            "using AllOrNone header",
            "fields": [],
        }
    ],
}


def lead(**values: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Lead"}, "LastName": "x", "Company": "y"} | values


def contact(**values: Any) -> dict[str, Any]:
    return {"attributes": {"type": "Contact"}} | values


def test_each_record_has_its_result_in_order(api: Api) -> None:
    body = {"records": [lead(), contact(), lead(Email="bad"), contact(LastName="z")]}
    results = api.send("POST", "composite/sobjects", body, 200)
    assert [result["success"] for result in results] == [True, False, False, True]
    assert set(results[0]) == {"id", "success", "errors"}
    assert results[1] == {
        "success": False,
        "errors": [
            {
                "statusCode": "REQUIRED_FIELD_MISSING",
                "message": "Required fields are missing: [LastName]",
                "fields": ["LastName"],
            }
        ],
    }
    assert results[2]["errors"][0]["statusCode"] == "INVALID_EMAIL_ADDRESS"


@pytest.mark.parametrize("key", ["id", "Id"])
def test_update(api: Api, key: str) -> None:
    kept, gone = (api.create("Lead", LastName="x", Company="y") for _ in range(2))
    converted = api.create("Lead", LastName="x", Company="y", IsConverted=True)
    api.delete("Lead", gone)
    ids = (kept, gone, converted, "00Q000000000000EAA", "junk", None)
    records = [{"attributes": {"type": "Lead"}, key: each, "Title": "CEO"} for each in ids]
    results = api.send("PATCH", "composite/sobjects", {"records": records}, 200)
    assert results[0] == {"id": kept, "success": True, "errors": []}
    assert [result["errors"][0]["statusCode"] for result in results[1:]] == [
        "ENTITY_IS_DELETED",
        "CANNOT_UPDATE_CONVERTED_LEAD",
        "INVALID_CROSS_REFERENCE_KEY",
        "MALFORMED_ID",
        "MISSING_ARGUMENT",
    ]
    assert all("id" not in result for result in results[1:])
    assert api.get(f"sobjects/Lead/{kept}")["Title"] == "CEO"


def test_all_or_none_leaves_nothing(api: Api) -> None:
    name = unique("None")
    records = [lead(LastName=name), contact(), lead(LastName=name)]
    body = {"allOrNone": True, "records": records}
    results = api.send("POST", "composite/sobjects", body, 200)
    assert results[0] == results[2] == ROLLED_BACK
    assert results[1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert api.records(f"SELECT Id FROM Lead WHERE LastName = '{name}'", "queryAll") == []
    records.pop(1)
    assert all(r["success"] for r in api.send("POST", "composite/sobjects", body, 200))


def test_upsert(api: Api) -> None:
    old, new, twice = unique("old"), unique("new"), unique("twice")
    existing = api.create("Contact", LastName="x", External_Id__c=old)
    records = [
        contact(External_Id__c=old.upper(), Title="CEO"),
        contact(External_Id__c=new, LastName="New"),
        contact(External_Id__c=twice, LastName="a"),
        contact(External_Id__c=twice, LastName="b"),
        contact(LastName="no key"),
    ]
    path = "composite/sobjects/Contact/External_Id__c"
    results = api.send("PATCH", path, {"allOrNone": False, "records": records}, 200)
    assert results[0] == {"id": existing, "success": True, "errors": [], "created": False}
    assert (results[1]["success"], results[1]["created"]) == (True, True)
    assert results[3]["errors"][0]["statusCode"] == "DUPLICATE_VALUE"
    assert results[4]["errors"][0]["statusCode"] == "MISSING_ARGUMENT"
    assert api.get(f"sobjects/Contact/{existing}")["Title"] == "CEO"
    by_id = [contact(Id=existing, Title="CFO"), contact(LastName="By Id")]
    results = api.send("PATCH", "composite/sobjects/Contact/Id", {"records": by_id}, 200)
    assert [result["created"] for result in results] == [False, True]


def test_upsert_by_a_key_that_names_several(api: Api) -> None:
    email = f"{unique()}@example.com"
    ids = [api.create("Contact", LastName="x", Email=email) for _ in range(2)]
    body = {"records": [contact(Email=email, Title="x")]}
    (result,) = api.send("PATCH", "composite/sobjects/Contact/Email", body, 200)
    assert result["errors"][0]["statusCode"] == "DUPLICATE_EXTERNAL_ID"
    assert all(record_id in result["errors"][0]["message"] for record_id in ids)


def test_delete(api: Api) -> None:
    first, second = (api.create("Lead", LastName="x", Company="y") for _ in range(2))
    ids = f"{first},{second},00Q000000000000EAA"
    kept = api.send("DELETE", f"composite/sobjects?ids={ids}&allOrNone=true", None, 200)
    assert kept[:2] == [ROLLED_BACK, ROLLED_BACK]
    assert api.get(f"sobjects/Lead/{first}")["IsDeleted"] is False
    results = api.send("DELETE", f"composite/sobjects?ids={ids}", None, 200)
    assert [result["success"] for result in results] == [True, True, False]
    api.get(f"sobjects/Lead/{first}", status=404)


def test_retrieve_has_null_in_the_place_of_what_is_missing(api: Api) -> None:
    kept, gone = (api.create("Lead", LastName="x", Company="y") for _ in range(2))
    api.delete("Lead", gone)
    ids = [kept, gone, "00Q000000000000EAA", "junk", kept[:15]]
    posted = api.send(
        "POST", "composite/sobjects/Lead", {"ids": ids, "fields": ["Id", "Status"]}, 200
    )
    got = api.get("composite/sobjects/Lead", ids=",".join(ids), fields="Id,Status")
    assert posted == got
    assert [record and record["Id"] for record in got] == [kept, None, None, None, kept]
    assert set(got[0]) == {"attributes", "Id", "Status"}
    wrong = {"ids": ids, "fields": ["Nope"]}
    (error,) = api.send("POST", "composite/sobjects/Lead", wrong, 400)
    assert error["errorCode"] == "INVALID_FIELD"


def test_as_many_as_allowed_and_no_more(api: Api) -> None:
    too_many: dict[str, Any] = {"records": [lead()] * 201}
    assert api.send("POST", "composite/sobjects", too_many, 400)[0]["errorCode"]
    results = api.send("POST", "composite/sobjects", {"records": [lead()] * 200}, 200)
    ids = [result["id"] for result in results]
    found = api.send("POST", "composite/sobjects/Lead", {"ids": ids * 10, "fields": ["Id"]}, 200)
    assert [record["Id"] for record in found] == ids * 10
    too_many = {"ids": [*ids * 10, ids[0]], "fields": ["Id"]}
    assert api.send("POST", "composite/sobjects/Lead", too_many, 400)[0]["errorCode"]
    runs = {"records": [lead(), contact(LastName="x")] * 6}
    assert api.send("POST", "composite/sobjects", runs, 400)[0]["errorCode"] == "INVALID_BATCH_SIZE"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "REQUIRED_FIELD_MISSING"),
        ({"records": [{"LastName": "x"}]}, "INVALID_FIELD"),
        ({"records": [{"attributes": {"type": "Nope"}}]}, "INVALID_TYPE"),
        ({"records": [lead(Nope=1)]}, "INVALID_FIELD"),
        ({"records": [lead(LastName=1)]}, "JSON_PARSER_ERROR"),
    ],
)
def test_bodies_that_fail_whole(api: Api, body: dict[str, Any], code: str) -> None:
    (error,) = api.send("POST", "composite/sobjects", body, 400)
    assert error["errorCode"] == code
