"""Faults at Bulk jobs and at their results."""

import csv
import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from salesforce_pipelines.local_org.bulk_api.bulk_query import encode_locator
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique
from salesforce_pipelines_tests.local_org.test_bulk import ingest, ingest_results


@pytest.fixture(autouse=True)
def _no_faults_afterwards(org: RunningOrg) -> Iterator[None]:
    yield
    org.admin.clear()


def start_query(api: Api, soql: str = "SELECT Id FROM Contact") -> str:
    body = {"operation": "query", "query": soql}
    job_id: str = api.send("POST", "jobs/query", body, 200)["id"]
    return job_id


def leads(name: str, number: int) -> str:
    return "LastName,Company\n" + "".join(f"{name},{at}\n" for at in range(number))


def stays(api: Api, kind: str, job: str, state: str) -> None:
    deadline = time.monotonic() + 0.8
    while time.monotonic() < deadline:
        assert api.get(f"jobs/{kind}/{job}")["state"] == state
        time.sleep(0.1)


def in_state(api: Api, kind: str, job: str, state: str) -> None:
    deadline = time.monotonic() + 10
    while api.get(f"jobs/{kind}/{job}")["state"] != state:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_next_query_job_fails(org: RunningOrg, api: Api) -> None:
    message = "InternalServerError : Error encountered when executing the query"
    with org.admin.fault("job_fails", job="query", sobject="Contact", message=message):
        other = start_query(api, "SELECT Id FROM Lead")
        job = start_query(api)
        assert api.finished("query", job, "Failed")["errorMessage"] == message
        assert api.finished("query", other)
        error = api.get(f"jobs/query/{job}/results", status=400)[0]
        assert error["errorCode"] == "INVALIDJOBSTATE"
        assert api.finished("query", start_query(api))


def test_a_query_job_is_aborted_by_somebody(org: RunningOrg, api: Api) -> None:
    with org.admin.fault("job_aborts", job="query"):
        job = start_query(api)
        assert "errorMessage" not in api.finished("query", job, "Aborted")


@pytest.mark.parametrize(("kind", "state"), [("job_fails", "Failed"), ("job_aborts", "Aborted")])
@pytest.mark.parametrize("after", [0, 5, 200, 250])
def test_an_ingest_job_ends_in_the_middle(
    org: RunningOrg, api: Api, kind: str, state: str, after: int
) -> None:
    name = unique("Partial")
    with org.admin.fault(kind, sobject="Lead", after_records=after):
        job = ingest(api, "Lead", "insert", leads(name, 450))["id"]
        done = api.finished("ingest", job, state)
    assert done["numberRecordsProcessed"] == after
    assert done.get("errorMessage", "").startswith("InternalServerError") is (state == "Failed")
    written = ingest_results(api, job, "successfulResults")
    left = ingest_results(api, job, "unprocessedRecords")
    assert sorted(int(row["Company"]) for row in written) == list(range(after))
    assert [int(row["Company"]) for row in left] == list(range(after, 450))
    found = api.get("query", q=f"SELECT COUNT() FROM Lead WHERE LastName = '{name}'")
    assert found["totalSize"] == after


def test_an_end_behind_the_last_record_comes_at_the_end(org: RunningOrg, api: Api) -> None:
    with org.admin.fault("job_fails", after_records=1000, message="Late"):
        job = ingest(api, "Lead", "insert", leads(unique("All"), 3))["id"]
        done = api.finished("ingest", job, "Failed")
    assert (done["numberRecordsProcessed"], done["errorMessage"]) == (3, "Late")


@pytest.mark.parametrize("state", ["UploadComplete", "InProgress"])
def test_a_job_waits_until_it_is_released_and_holds_up_no_other(
    org: RunningOrg, api: Api, state: str
) -> None:
    fault = org.admin.add_fault("job_waits", job="query", state=state)
    job = start_query(api)
    in_state(api, "query", job, state)
    assert api.finished("query", start_query(api))
    stays(api, "query", job, state)
    org.admin.remove_fault(fault)
    assert api.finished("query", job)


def test_a_job_waits_a_while_on_the_orgs_clock(tmp_path_factory: Any) -> None:
    with running_org(tmp_path_factory.mktemp("waiting") / "home") as own:
        api = api_of(own)
        with api.session:
            own.admin.freeze_clock()
            own.admin.add_fault("job_waits", job="ingest", seconds=600)
            job = ingest(api, "Lead", "insert", leads(unique("Wait"), 3))["id"]
            in_state(api, "ingest", job, "InProgress")
            own.admin.move_clock(seconds=599)
            stays(api, "ingest", job, "InProgress")
            own.admin.move_clock(seconds=1)
            assert api.finished("ingest", job)["numberRecordsProcessed"] == 3


def test_a_waiting_job_can_be_aborted(org: RunningOrg, api: Api) -> None:
    with org.admin.fault("job_waits"):
        job = start_query(api)
        in_state(api, "query", job, "InProgress")
        api.send("PATCH", f"jobs/query/{job}", {"state": "Aborted"}, 200)
        assert api.finished("query", job, "Aborted")


def test_an_upload_that_landed_is_answered_with_an_error(org: RunningOrg, api: Api) -> None:
    job = api.send("POST", "jobs/ingest", {"object": "Lead", "operation": "insert"}, 200)
    path = f"jobs/ingest/{job['id']}/batches"
    text = leads(unique("Upload"), 2)
    with org.admin.fault("server_unavailable", method="PUT", sobject="Lead"):
        assert api.call("PUT", path, data=text).status_code == 503
        assert api.call("PUT", path, data=text).status_code == 201
    again = api.send("POST", "jobs/ingest", {"object": "Lead", "operation": "insert"}, 200)
    path = f"jobs/ingest/{again['id']}/batches"
    with org.admin.fault("unknown_exception", path="jobs/ingest/*/batches", when="after"):
        assert api.call("PUT", path, data=text).status_code == 500
        refused = api.call("PUT", path, data=text)
    assert (refused.status_code, refused.json()[0]["errorCode"]) == (400, "INVALIDJOBSTATE")


# Results


@pytest.fixture(scope="module")
def job_of_10(api: Api) -> str:
    """A finished job with the Companies 0 to 9, some of two lines."""
    name = unique("Ten")
    records = [
        {
            "attributes": {"type": "Lead"},
            "LastName": name,
            "Company": f"{at}\nInc" if at % 2 else f"{at}",
        }
        for at in range(10)
    ]
    api.send("POST", "composite/sobjects", {"records": records}, 200)
    job = start_query(api, f"SELECT Company FROM Lead WHERE LastName = '{name}' ORDER BY Company")
    api.finished("query", job)
    return job


def page(api: Api, job: str, **parameters: Any) -> requests.Response:
    return api.call("GET", f"jobs/query/{job}/results", params=parameters)


def rows(answer: requests.Response) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.text, newline="")))[1:]


def test_a_page_of_results_fails(org: RunningOrg, api: Api, job_of_10: str) -> None:
    with org.admin.fault("result_page_fails", from_record=6) as fault:
        locator = ""
        for _ in range(2):
            answer = page(api, job_of_10, maxRecords=3, locator=locator)
            locator = answer.headers["Sforce-Locator"]
        assert locator == encode_locator(6)
        failed = page(api, job_of_10, maxRecords=3, locator=locator)
        assert (failed.status_code, failed.json()[0]["errorCode"]) == (500, "UNKNOWN_EXCEPTION")
        again = page(api, job_of_10, maxRecords=3, locator=locator)
        assert len(rows(again)) == 3
        assert org.admin.read_fault(fault)["hits"] == 1
        assert page(api, job_of_10, locator="bad!").status_code == 400


def test_results_are_gone(org: RunningOrg, api: Api, job_of_10: str) -> None:
    with org.admin.fault("results_gone", job="query"):
        for what in ("results", "resultPages"):
            error = api.get(f"jobs/query/{job_of_10}/{what}", status=404)[0]
            assert error["errorCode"] == "NOT_FOUND"
        assert api.get(f"jobs/query/{job_of_10}")["state"] == "JobComplete"
    ingested = ingest(api, "Lead", "insert", leads(unique("Gone"), 2))["id"]
    api.finished("ingest", ingested)
    with org.admin.fault("results_gone", job="ingest"):
        for what in ("successfulResults", "failedResults", "unprocessedrecords"):
            assert api.get(f"jobs/ingest/{ingested}/{what}", status=404)
        assert page(api, job_of_10).status_code == 200


@pytest.mark.parametrize(
    ("where", "header", "job"), [("both", "13", 13), ("header", "13", 10), ("job", "10", 13)]
)
def test_more_rows_are_announced_than_there_are(
    org: RunningOrg, api: Api, job_of_10: str, where: str, header: str, job: int
) -> None:
    with org.admin.fault("row_count_mismatch", extra=3, **{"in": where}):
        answer = page(api, job_of_10)
        assert answer.headers["Sforce-NumberOfRecords"] == header
        assert len(rows(answer)) == 10
        assert api.get(f"jobs/query/{job_of_10}")["numberRecordsProcessed"] == job
    assert api.get(f"jobs/query/{job_of_10}")["numberRecordsProcessed"] == 10


@pytest.mark.parametrize(("missing", "left"), [(1, 9), (4, 6), (10, 0), (99, 0)])
def test_results_that_look_complete_lack_rows(
    org: RunningOrg, api: Api, job_of_10: str, missing: int, left: int
) -> None:
    whole = rows(page(api, job_of_10))
    with org.admin.fault("truncated_results", missing_rows=missing, times=2):
        answer = page(api, job_of_10)
        assert answer.headers["Sforce-NumberOfRecords"] == "10"
        assert answer.headers["Sforce-Locator"] == "null"
        assert rows(answer) == whole[:left]
        second = page(api, job_of_10, locator=encode_locator(2), maxRecords=5)
        assert rows(second) == whole[2 : 2 + max(0, 5 - missing)]
    assert rows(page(api, job_of_10)) == whole


def test_results_end_within_a_line(org: RunningOrg, api: Api, job_of_10: str) -> None:
    whole = page(api, job_of_10).content
    for length in (12, 30, 10_000):
        with org.admin.fault("truncated_results", after_bytes=length):
            assert page(api, job_of_10).content == whole[:length]
