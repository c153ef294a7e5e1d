import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests

from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.served_org import served_org

LONG_AGO = "Sat, 01 Jan 2000 00:00:00 GMT"
ONE_DAY = "Fri, 01 Jan 2055 00:00:00 GMT"


def status(api: Api, method: str, path: str, body: Any = None, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = api.call(method, path, json=body, headers=named)
    if answer.status_code == 304:
        assert answer.content == b""
    return int(answer.status_code)


# Conditional requests


@pytest.mark.parametrize("path", ["sobjects", "sobjects/Contact/describe", "row", "account"])
def test_dates_of_reading_requests(api: Api, path: str) -> None:
    if path == "row":
        path = f"sobjects/Contact/{api.create('Contact', LastName='x')}"
    if path == "account":
        path = f"sobjects/Account/{api.create('Account', Name='x')}"
    modified = api.call("GET", path).headers["Last-Modified"]
    assert modified.endswith(" GMT")
    assert status(api, "GET", path, If_Modified_Since=modified) == 304
    assert status(api, "GET", path, If_Modified_Since=ONE_DAY) == 304
    assert status(api, "GET", path, If_Modified_Since=LONG_AGO) == 200
    assert status(api, "GET", path, If_Modified_Since="nonsense") == 200
    assert status(api, "GET", path, If_Unmodified_Since=modified) == 200
    assert status(api, "GET", path, If_Unmodified_Since=LONG_AGO) == 412
    assert status(api, "HEAD", path, If_Modified_Since=modified) == 304


def test_the_tag_of_a_describe_follows_its_content(api: Api) -> None:
    tags = [
        api.call("GET", path).headers["ETag"]
        for path in ("sobjects/Lead/describe", "sobjects/Lead/describe", "sobjects/User/describe")
    ]
    assert tags[0] == tags[1] != tags[2]
    assert len(tags[0].strip('"')) == 8


def test_entity_tags_of_accounts(api: Api) -> None:
    path = f"sobjects/Account/{api.create('Account', Name='x')}"
    tag = api.call("GET", path).headers["ETag"]
    assert status(api, "GET", path, If_None_Match=tag) == 304
    assert status(api, "GET", path, If_None_Match='"other"') == 200
    assert status(api, "GET", path, If_Match=f'"other", {tag}') == 200
    assert status(api, "GET", path, If_Match='"other"') == 412
    assert status(api, "PATCH", path, {"Site": "a"}, If_Match='"other"') == 412
    assert status(api, "PATCH", path, {"Site": "a"}, If_None_Match=tag) == 412
    assert api.get(path)["Site"] is None
    assert status(api, "PATCH", path, {"Site": "b"}, If_Match=tag) == 204
    assert status(api, "PATCH", path, {"Site": "c"}, If_Match=tag) == 412
    assert api.get(path)["Site"] == "b"
    assert status(api, "GET", path, If_None_Match=tag) == 200


def test_other_rows_have_no_entity_tags(api: Api) -> None:
    path = f"sobjects/Contact/{api.create('Contact', LastName='x')}"
    assert "ETag" not in api.call("GET", path).headers
    assert status(api, "GET", path, If_None_Match="*") == 200
    assert status(api, "PATCH", path, {"Title": "x"}, If_Match='"other"') == 204


def test_dates_of_writing_requests(api: Api) -> None:
    path = f"sobjects/Contact/{api.create('Contact', LastName='x')}"
    modified = api.call("GET", path).headers["Last-Modified"]
    assert status(api, "PATCH", path, {"Title": "a"}, If_Unmodified_Since=LONG_AGO) == 412
    assert status(api, "PATCH", path, {"Title": "b"}, If_Unmodified_Since="nonsense") == 400
    assert api.get(path)["Title"] is None
    assert status(api, "PATCH", path, {"Title": "c"}, If_Unmodified_Since=modified) == 204
    assert status(api, "DELETE", path, If_Unmodified_Since=LONG_AGO) == 412
    modified = api.call("GET", path).headers["Last-Modified"]
    assert status(api, "DELETE", path, If_Unmodified_Since=modified) == 204


def test_conditions_of_deletions(api: Api) -> None:
    key = unique("delete")
    path = f"sobjects/Account/{api.create('Account', Name=key)}"
    tag = api.call("GET", path).headers["ETag"]
    assert status(api, "DELETE", path, If_Match='"other"') == 412
    assert status(api, "DELETE", path, If_Unmodified_Since="nonsense") == 400
    assert status(api, "DELETE", path, If_Match=tag) == 204
    api.create("Contact", LastName="x", External_Id__c=key)
    path = f"sobjects/Contact/External_Id__c/{key}"
    assert status(api, "DELETE", path, If_Unmodified_Since=LONG_AGO) == 412
    assert status(api, "DELETE", path) == 204


def test_conditions_of_upserts(api: Api) -> None:
    path = f"sobjects/Contact/External_Id__c/{unique('upsert')}"
    old = {"If_Unmodified_Since": LONG_AGO}
    assert status(api, "PATCH", path, {"LastName": "x"}, **old) == 201
    assert status(api, "PATCH", path, {"Title": "a"}, **old) == 412
    assert status(api, "PATCH", path, {"Title": "b"}, If_Unmodified_Since="nonsense") == 400
    assert api.get(path)["Title"] is None
    modified = api.call("GET", path).headers["Last-Modified"]
    assert status(api, "PATCH", path, {"Title": "c"}, If_Unmodified_Since=modified) == 200
    path = f"sobjects/Account/Id/{api.create('Account', Name='x')}"
    assert status(api, "PATCH", path, {"Site": "a"}, If_Match='"other"') == 412
    assert status(api, "PATCH", "sobjects/Account/Id/x", {"Site": "a"}, If_Match="*") == 400


def test_headers_that_every_answer_has(api: Api) -> None:
    with requests.Session() as session:
        session.headers.update(api.session.headers)
        first = session.get(f"{api.url}/services/data/v62.0/limits", timeout=10)
        again = session.get(f"{api.url}/services/data/v62.0/limits", timeout=10)
    assert first.headers["X-XSS-Protection"] == "1; mode=block"
    cookie, *attributes = first.headers["Set-Cookie"].split("; ")
    assert re.fullmatch(r"BrowserId=[\w-]{22}", cookie)
    assert [name.partition("=")[0] for name in attributes] == ["path", "expires", "Max-Age"]
    assert "Set-Cookie" not in again.headers


# Rows


def test_the_relationships_of_a_row(api: Api) -> None:
    account = api.create("Account", Name="Acme")
    ids = [api.create("Contact", LastName=f"c{n}", AccountId=account) for n in range(3)]
    parent = api.get(f"sobjects/Contact/{ids[0]}/Account", fields="Name")
    assert (parent["Name"], parent["Id"]) == ("Acme", account)
    assert parent["attributes"]["type"] == "Account"
    assert api.get(f"sobjects/Contact/{ids[0]}/owner")["attributes"]["type"] == "User"
    children = api.get(f"sobjects/Account/{account}/contacts", fields="Id,LastName")
    assert (children["totalSize"], children["done"]) == (3, True)
    assert {child["Id"] for child in children["records"]} == set(ids)
    assert set(children["records"][0]) == {"attributes", "Id", "LastName"}
    whole = api.get(f"sobjects/Account/{account}/Contacts")["records"][0]
    assert whole["AccountId"] == account
    assert api.get(f"sobjects/Account/{account}/Opportunities")["records"] == []
    alone = api.create("Contact", LastName="alone")
    for path in (
        f"sobjects/Contact/{alone}/Account",
        f"sobjects/Account/{account}/Nope",
        "sobjects/Account/001000000000000AAA/Contacts",
    ):
        assert api.get(path, status=404)[0]["errorCode"] == "NOT_FOUND"
    (error,) = api.get(f"sobjects/Account/{account}/Contacts", status=400, fields="Nope")
    assert error["errorCode"] == "INVALID_FIELD"


def test_a_row_by_its_id_as_key(api: Api) -> None:
    record_id = api.create("Contact", LastName="x")
    assert api.get(f"sobjects/Contact/Id/{record_id}")["Id"] == record_id
    assert api.get("sobjects/Contact/Id/003000000000000AAA", status=404)
    (error,) = api.get("sobjects/Contact/Id/x", status=400)
    assert error["errorCode"] == "MALFORMED_ID"


def test_upserts_that_have_no_id(api: Api) -> None:
    created = api.send("POST", "sobjects/Contact/Id", {"LastName": "x"}, 201)
    assert api.get(f"sobjects/Contact/{created['id']}")["LastName"] == "x"


def test_methods_in_the_address_and_head(api: Api) -> None:
    path = f"sobjects/Contact/{api.create('Contact', LastName='x')}"
    assert status(api, "POST", f"{path}?_HttpMethod=PATCH", {"Title": "y"}) == 204
    assert api.get(path)["Title"] == "y"
    answer = api.call("HEAD", path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Last-Modified"]
    assert status(api, "HEAD", "sobjects/Contact/003000000000000AAA") == 404


def test_bodies_that_are_no_json(api: Api) -> None:
    path = "sobjects/Contact"
    for kind in ("application/xml", "application/x-www-form-urlencoded", "text/plain"):
        answer = api.call("POST", path, data="<Contact/>", headers={"Content-Type": kind})
        assert answer.status_code == 415
        assert answer.json()[0]["errorCode"] == "UNSUPPORTED_MEDIA_TYPE"
    empty = api.call("POST", path, headers={"Content-Type": "application/json"})
    assert empty.json() == [
        {
            "message": "The HTTP entity body is required, but this request has no entity body.",
            "errorCode": "JSON_PARSER_ERROR",
        }
    ]
    wrong = api.call("POST", path, data='{"LastName": x}').json()[0]["message"]
    assert wrong == "Unexpected character ('x' (code 120)) at [line:1, column:14]"


def test_a_client_that_takes_only_xml(api: Api) -> None:
    for accept in ("application/xml", "text/xml;q=0.9, application/soap+xml"):
        answer = api.call("GET", "limits", headers={"Accept": accept})
        assert (answer.status_code, answer.content) == (406, b"")
    for accept in ("application/xml, */*;q=0.1", "application/json", ""):
        assert api.call("GET", "limits", headers={"Accept": accept}).status_code == 200


# What clients ask at connect


def test_tooling_and_scratch_orgs(api: Api) -> None:
    for path, sobject in (("tooling/query", "SandboxProcess"), ("query", "ScratchOrgInfo")):
        (error,) = api.get(path, status=400, q=f"SELECT Id FROM {sobject} LIMIT 1")
        assert error["errorCode"] == "INVALID_TYPE"
        assert f"sObject type '{sobject}' is not supported." in error["message"]
    api.send("POST", "actions/standard/convertLead", {"inputs": []}, 404)


def test_recent_and_limits(api: Api) -> None:
    assert api.get("recent") == []
    limits = api.get("limits/")
    assert limits["DailyApiRequests"]["Remaining"] < limits["DailyApiRequests"]["Max"]


# updated and deleted


def window(start: datetime, end: datetime) -> dict[str, Any]:
    return {"start": start.isoformat(), "end": end.isoformat()}


def code(api: Api, what: str, start: datetime, end: datetime) -> str | None:
    answer = api.call("GET", f"sobjects/Lead/{what}", params=window(start, end)).json()
    return str(answer[0]["errorCode"]) if isinstance(answer, list) else None


@pytest.mark.parametrize(("what", "days"), [("updated", 30), ("deleted", 15)])
def test_windows(api: Api, what: str, days: int) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minute = timedelta(minutes=1)
    assert code(api, what, now - 3 * minute, now - minute) is None
    assert code(api, what, now - minute, now) == "INVALID_REPLICATION_DATE"
    assert code(api, what, now - minute, now + timedelta(seconds=59)) == "INVALID_REPLICATION_DATE"
    assert code(api, what, now, now - minute) == "INVALID_REPLICATION_DATE"
    assert code(api, what, now - timedelta(days=days), now) is None
    assert code(api, what, now - timedelta(days=days, hours=1), now) == "INVALID_REPLICATION_DATE"


def test_seconds_of_a_window_do_not_count(tmp_path_factory: pytest.TempPathFactory) -> None:
    now = [datetime(2024, 5, 1, 10, 0, 30, tzinfo=UTC)]
    with served_org(tmp_path_factory.mktemp("window") / "home", lambda: now[0]) as (_, api):
        early = api.create("Lead", LastName="early", Company="x")
        now[0] += timedelta(minutes=2)
        late = api.create("Lead", LastName="late", Company="x")
        now[0] += timedelta(hours=1)
        start = datetime(2024, 5, 1, 10, 0, 59, tzinfo=UTC)
        end = datetime(2024, 5, 1, 10, 2, 59, tzinfo=UTC)
        answer = api.get("sobjects/Lead/updated", **window(start, end))
        assert answer == {"ids": [early], "latestDateCovered": "2024-05-01T10:02:00.000+0000"}
        answer = api.get("sobjects/Lead/updated", **window(start, end + timedelta(minutes=1)))
        assert answer["ids"] == [early, late]


# Collections


def test_ids_in_an_address_have_an_end(api: Api) -> None:
    ids = ",".join(["00Q000000000000EAA"] * 201)
    (error,) = api.send("DELETE", f"composite/sobjects?ids={ids}", None, 400)
    assert error["errorCode"] == "EXCEEDED_ID_LIMIT"
    many = ",".join(["00Q000000000000EAA"] * 800)
    found = api.get(f"composite/sobjects/Lead?fields=Id&ids={many}")
    assert found == [None] * 800
    too_many = ",".join(["00Q000000000000EAA"] * 900)
    assert status(api, "GET", f"composite/sobjects/Lead?fields=Id&ids={too_many}") == 414


def test_ten_type_runs(api: Api) -> None:
    lead = {"attributes": {"type": "Lead"}, "LastName": "x", "Company": "y"}
    contact = {"attributes": {"type": "Contact"}, "LastName": "x"}
    results = api.send("POST", "composite/sobjects", {"records": [lead, contact] * 5}, 200)
    assert [result["success"] for result in results] == [True] * 10


def test_one_external_id_twice(api: Api) -> None:
    key = unique("twice")
    record = {"attributes": {"type": "Contact"}, "LastName": "x", "External_Id__c": key}
    path = "composite/sobjects/Contact/External_Id__c"
    results = api.send("PATCH", path, {"records": [record, record]}, 200)
    (error,) = results[1]["errors"]
    assert (error["statusCode"], error["message"]) == (
        "DUPLICATE_VALUE",
        f"Duplicate external id specified: {key}",
    )


# Search


@pytest.fixture
def person(api: Api) -> tuple[str, str]:
    name = unique("Findme").replace("-", "")
    record_id = api.create("Contact", FirstName="Ann", LastName=name, Email=f"{name}@example.com")
    return name, record_id


def test_a_search(api: Api, person: tuple[str, str]) -> None:
    name, record_id = person
    lead = api.create("Lead", LastName="x", Company="y", Email=f"{name}@example.com")
    sosl = f"FIND {{{name.lower()}}} IN ALL FIELDS RETURNING Contact(Id, Name), Lead(Id LIMIT 5)"
    found = api.get("search", q=sosl)["searchRecords"]
    assert [(item["attributes"]["type"], item["Id"]) for item in found] == [
        ("Contact", record_id),
        ("Lead", lead),
    ]
    assert found[0]["Name"] == f"Ann {name}"
    by_name = api.get("search", q=f"FIND {{{name}}} IN NAME FIELDS RETURNING Contact, Lead")
    assert [item["Id"] for item in by_name["searchRecords"]] == [record_id]
    assert len(api.get("search", q=f"FIND {{{name}}} LIMIT 1")["searchRecords"]) == 1


def test_a_parameterized_search(api: Api, person: tuple[str, str]) -> None:
    name, record_id = person
    options: dict[str, Any] = {"q": name, "sobject": "Contact", "Contact.fields": "Id,LastName"}
    got = api.get("parameterizedSearch", **options)["searchRecords"]
    body = {"q": name, "sobjects": [{"name": "Contact", "fields": ["Id", "LastName"], "limit": 3}]}
    posted = api.send("POST", "parameterizedSearch", body, 200)["searchRecords"]
    assert got == posted
    assert (got[0]["Id"], got[0]["LastName"]) == (record_id, name)


@pytest.mark.parametrize(
    "sosl",
    [
        "",
        "FIND x",
        "FIND {x}",
        "FIND {ab} IN NOPE FIELDS",
        "FIND {ab} RETURNING Nope(Id)",
        "FIND {ab} RETURNING Lead(Nope)",
        "FIND {ab} RETURNING (",
        "FIND {%'} RETURNING Lead(Id FROM Lead)",
    ],
)
def test_searches_that_are_none(api: Api, sosl: str) -> None:
    assert api.get("search", status=400, q=sosl)[0]["errorCode"] != "UNKNOWN_EXCEPTION"


def test_quotes_and_wildcards_are_searched_for(api: Api) -> None:
    name = unique("O'Neil_100%").replace("-", "x")
    record_id = api.create("Account", Name=name)
    api.create("Account", Name=name.replace("_", "Z").replace("%", "Z"))
    found = api.get("search", q=f"FIND {{{name}}} RETURNING Account(Id)")["searchRecords"]
    assert [item["Id"] for item in found] == [record_id]


def test_http_dates_of_other_zones_are_understood(api: Api) -> None:
    path = f"sobjects/Contact/{api.create('Contact', LastName='x')}"
    future = format_datetime(datetime.now(UTC) + timedelta(hours=1))
    assert status(api, "GET", path, If_Modified_Since=future) == 304
