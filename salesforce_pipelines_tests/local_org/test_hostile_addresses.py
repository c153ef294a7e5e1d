"""Addresses and numbers that nobody sends in good faith."""

import base64
import http.client
from typing import Any

import pytest
import requests

from salesforce_pipelines.local_org.http.whole_numbers import whole_number
from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.local_org.conftest import Api
from salesforce_pipelines_tests.local_org.test_bulk import query_job

HUGE = "9" * 5000
LOCATOR = base64.urlsafe_b64encode(HUGE.encode()).decode().rstrip("=")


@pytest.mark.parametrize("host", ["[", "a]b", "[::1", "[zz]"])
@pytest.mark.parametrize(
    "path",
    ["/", "/lightning/page/home", "/local-org/clock", "/services/data", "/services/oauth2/x"],
)
def test_a_host_that_is_none(org: RunningOrg, host: str, path: str) -> None:
    connection = http.client.HTTPConnection(org.url.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 421
        assert b"--host-name" in answer.read()
    finally:
        connection.close()


def test_huge_numbers_for_the_admin_interface(org: RunningOrg) -> None:
    answer = requests.get(f"{org.url}/local-org/calls?limit={HUGE}", timeout=10)
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "limit: give a whole number of at most 18 digits"},
    )


def refused(api: Api, path: str, **parameters: str) -> str:
    (error,) = api.get(path, status=400, **parameters)
    code: str = error["errorCode"]
    return code


def test_huge_numbers_of_bulk_results(api: Api) -> None:
    path = f"jobs/query/{query_job(api, 'SELECT Id FROM User')}"
    answer = api.call("GET", f"{path}/results", params={"maxRecords": HUGE})
    assert answer.status_code == 200
    assert refused(api, f"{path}/results", locator=LOCATOR) == "INVALID_QUERY_LOCATOR"
    assert api.get(f"{path}/resultPages", locator=HUGE)["done"] is True
    for kind in ("query", "ingest"):
        assert refused(api, f"jobs/{kind}", queryLocator=HUGE) == "INVALID_QUERY_LOCATOR"


def test_huge_numbers_of_queries(api: Api) -> None:
    locator = f"query/0r8abc-{HUGE}"
    assert refused(api, locator) == "INVALID_QUERY_LOCATOR"
    view = api.get("sobjects/Contact/listviews")["listviews"][0]["id"]
    for name in ("limit", "offset"):
        path = f"sobjects/Contact/listviews/{view}/results"
        assert refused(api, path, **{name: HUGE}) == "INVALID_QUERY_PARAMETER"


@pytest.mark.parametrize("kind", ["query", "ingest"])
@pytest.mark.parametrize(
    "dialect", [{"columnDelimiter": []}, {"lineEnding": {}}, {"columnDelimiter": None}]
)
def test_dialects_of_csv_that_are_no_text(api: Api, kind: str, dialect: dict[str, Any]) -> None:
    body = {"object": "Lead", "operation": "insert"}
    if kind == "query":
        body = {"query": "SELECT Id FROM Lead", "operation": "query"}
    (error,) = api.send("POST", f"jobs/{kind}", body | dialect, 400)
    assert error["errorCode"] == "INVALIDJOB"


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_beyond_the_calendar(api: Api, time: str) -> None:
    body = {"LastName": "x", "EmailBouncedDate": time}
    (error,) = api.send("POST", "sobjects/Contact", body, 400)
    assert error["errorCode"] == "JSON_PARSER_ERROR"


@pytest.mark.parametrize(
    "date", ["Sat, 01 Jan 0001 00:00:00 +2300", f"Sat, 01 Jan {10**30} 00:00:00 GMT"]
)
def test_conditions_beyond_the_calendar(api: Api, date: str) -> None:
    path = f"sobjects/Lead/{api.create('Lead', LastName='x', Company='x')}"
    answer = api.call("PATCH", path, json={"Title": "x"}, headers={"If-Unmodified-Since": date})
    assert answer.status_code in (400, 412)
    assert "UNKNOWN_EXCEPTION" not in answer.text


def test_whole_numbers() -> None:
    assert [whole_number(text) for text in ("0", "12", "9" * 18)] == [0, 12, 10**18 - 1]
    for text in ("", "-1", "1.0", " 1", "٣", "²", "9" * 19, HUGE):
        assert whole_number(text) is None
    assert whole_number("1000", most_digits=3) is None
