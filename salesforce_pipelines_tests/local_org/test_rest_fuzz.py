"""Whatever is sent, the org refuses or answers it; nothing that is sent makes it stumble."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from salesforce_pipelines.local_org.http.routes import DATA_ROUTES
from salesforce_pipelines_tests.local_org.conftest import VERSION, Api
from salesforce_pipelines_tests.local_org.test_bulk import query_job

FUZZ = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FIELDS = [
    "Id",
    "LastName",
    "Company",
    "Email",
    "AccountId",
    "Account",
    "External_Id__c",
    "Birthdate",
    "EmailBouncedDate",
    "Referral_Count__c",
    "NumberOfEmployees",
    "IsConverted",
    "Name",
    "attributes",
]
WORDS = [
    *FIELDS,
    "Contact",
    "Account",
    "lead",
    "User",
    "ListView",
    "Nope",
    "describe",
    "Contacts",
    "003000000000001AAA",
    "001000000000000AAA",
    "0r8abc-2000",
    "00B000000000001",
    "x@example.com",
    "true",
    "2024-05-01T00:00:00Z",
    "1e400",
    "1e999999999",
    "-1",
    "9" * 5000,
    base64.urlsafe_b64encode(b"9" * 5000).decode(),
    "0r8abc-" + "9" * 5000,
    "0001-01-01T00:00:00+14:00",
    "SELECT Id FROM Contact",
    "SELECT COUNT() FROM Lead",
    "FIND {abc} RETURNING Contact(Id)",
    "@{a.id}",
    f"/services/data/v{VERSION}/sobjects/Contact",
]
texts = st.sampled_from(WORDS) | st.text(max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | texts
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | texts, inner, max_size=4)
    ),
    max_leaves=8,
)
records = st.fixed_dictionaries(
    {},
    optional={
        "attributes": st.fixed_dictionaries(
            {"type": st.sampled_from(["Contact", "Lead", "Account"])},
            optional={"referenceId": texts},
        )
        | values,
        **{name: scalars for name in FIELDS if name != "attributes"},
        "Contacts": st.fixed_dictionaries({"records": st.lists(values, max_size=2)}),
    },
)
subrequests = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]) | values,
        "url": texts.map(lambda text: f"/services/data/v{VERSION}/sobjects/{text}")
        | texts.map(lambda text: f"v{VERSION}/{text}")
        | values,
        "referenceId": st.sampled_from(["a", "b", "c"]) | values,
        "body": records | values,
        "richInput": records | values,
        "httpHeaders": st.dictionaries(texts, texts, max_size=2) | values,
    },
)
bodies = (
    values
    | records
    | st.fixed_dictionaries(
        {},
        optional={
            "records": st.lists(records | values, max_size=4) | values,
            "compositeRequest": st.lists(subrequests | values, max_size=4) | values,
            "batchRequests": st.lists(subrequests | values, max_size=4) | values,
            "allOrNone": st.booleans() | values,
            "haltOnError": values,
            "ids": st.lists(texts, max_size=3) | values,
            "fields": st.lists(texts, max_size=3) | values,
            "q": texts | values,
            "sobjects": st.lists(st.fixed_dictionaries({"name": texts}), max_size=2) | values,
            "object": texts,
            "operation": st.sampled_from(["insert", "query", "upsert"]) | values,
            "query": texts,
            "columnDelimiter": st.sampled_from(["COMMA", "TAB"]) | values,
            "lineEnding": st.sampled_from(["LF", "CRLF"]) | values,
            "externalIdFieldName": texts | values,
            "state": st.sampled_from(["UploadComplete", "Aborted"]) | values,
        },
    )
)
HEADERS = [
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "Sforce-Auto-Assign",
    "Sforce-Duplicate-Rule-Header",
    "Sforce-Query-Options",
    "Sforce-Call-Options",
    "Accept",
    "Content-Type",
    "Content-Encoding",
]
HEADER_VALUES = [
    "",
    "*",
    '"x"',
    "gzip",
    "application/json",
    "text/xml",
    "false",
    "allowSave=true",
    "batchSize=999999999999999999999",
    "batchSize=x",
    "Sat, 01 Jan 2000 00:00:00 GMT",
]
latin = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=10)
headers = st.dictionaries(
    st.sampled_from(HEADERS), st.sampled_from(HEADER_VALUES) | latin.map(str.strip), max_size=3
)
PARAMETERS = """q fields ids allOrNone start end _HttpMethod locator limit offset sobject sobjects
sObjects maxRecords queryLocator jobType in Contact.limit"""
parameters = st.dictionaries(st.sampled_from(PARAMETERS.split()), texts, max_size=3)


@st.composite
def paths(draw: st.DrawFn) -> tuple[str, str]:
    """A route's method, or another, and an address that it fits."""
    route = draw(st.sampled_from(DATA_ROUTES))
    parts = [draw(texts) if part.startswith("{") else part for part in route.path.split("/")]
    parts += draw(st.lists(texts, max_size=1))
    method = draw(st.just(route.method) | st.sampled_from(["GET", "POST", "PATCH", "PUT", "HEAD"]))
    return method, "/".join(quote(part, safe="") for part in parts)


def check(answer: requests.Response) -> None:
    assert answer.status_code < 500, answer.text
    assert "UNKNOWN_EXCEPTION" not in answer.text, answer.text
    if answer.content and answer.headers["Content-Type"].startswith("application/json"):
        json.loads(answer.content)


@FUZZ
@given(target=paths(), body=bodies, named=headers, query=parameters)
def test_any_json_to_any_route(
    api: Api, target: tuple[str, str], body: Any, named: dict[str, str], query: dict[str, str]
) -> None:
    method, path = target
    encoded = {name: value.encode("latin-1") for name, value in named.items()}
    data = None if method == "GET" else json.dumps(body).encode()
    check(api.call(method, path, params=query, headers=encoded, data=data))


@FUZZ
@given(target=paths(), data=st.binary(max_size=40) | texts.map(str.encode))
def test_any_bytes_to_any_route(api: Api, target: tuple[str, str], data: bytes) -> None:
    method, path = target
    check(api.call(method, path, data=data, headers={"Content-Type": "application/json"}))


@FUZZ
@given(requests_=st.lists(subrequests, min_size=1, max_size=5), whole=st.booleans())
def test_any_subrequests(api: Api, requests_: list[dict[str, Any]], whole: bool) -> None:
    for at, item in enumerate(requests_):
        item["referenceId"] = f"r{at}"
    check(
        api.call(
            "POST",
            "composite",
            data=json.dumps({"compositeRequest": requests_, "allOrNone": whole}),
            headers={"Content-Type": "application/json"},
        )
    )
    check(api.call("POST", "composite/batch", json={"batchRequests": requests_}))


@FUZZ
@given(trees=st.lists(records, min_size=1, max_size=4), field=st.sampled_from(FIELDS))
def test_any_records(api: Api, trees: list[dict[str, Any]], field: str) -> None:
    data = json.dumps({"records": trees})
    for method, path in (
        ("POST", "composite/tree/Account"),
        ("POST", "composite/sobjects"),
        ("PATCH", "composite/sobjects"),
        ("PATCH", f"composite/sobjects/Contact/{field}"),
    ):
        check(api.call(method, path, data=data))


@pytest.fixture(scope="module")
def readable(api: Api) -> list[str]:
    """Addresses that take parameters, of things that are there."""
    job = query_job(api, "SELECT Id FROM User")
    view = api.get("sobjects/Contact/listviews")["listviews"][0]["id"]
    record = api.create("Contact", LastName="x")
    return [
        f"jobs/query/{job}/results",
        f"jobs/query/{job}/resultPages",
        "jobs/query",
        "jobs/ingest",
        f"sobjects/Contact/listviews/{view}/results",
        f"sobjects/Contact/{record}",
        "sobjects/Contact/updated",
        "sobjects/Contact/deleted",
    ]


@FUZZ
@given(at=st.integers(0, 7), query=parameters, named=headers)
def test_any_parameters(
    api: Api, readable: list[str], at: int, query: dict[str, str], named: dict[str, str]
) -> None:
    encoded = {name: value.encode("latin-1") for name, value in named.items()}
    check(api.call("GET", readable[at], params=query, headers=encoded))


@FUZZ
@given(kind=st.sampled_from(["query", "ingest"]), dialect=values, given_=bodies)
def test_any_job(api: Api, kind: str, dialect: Any, given_: Any) -> None:
    body = {"query": "SELECT Id FROM User", "operation": "query"}
    if kind == "ingest":
        body = {"object": "Lead", "operation": "insert"}
    for name in ("columnDelimiter", "lineEnding", "contentType"):
        check(api.call("POST", f"jobs/{kind}", json={**body, name: dialect}))
    if isinstance(given_, dict):
        check(api.call("POST", f"jobs/{kind}", json={**given_, **body}))
