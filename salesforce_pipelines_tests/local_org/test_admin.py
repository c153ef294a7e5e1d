"""The admin interface: who may use it, what it tells, and what it changes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from salesforce_pipelines.local_org.admin.admin_access import check_access
from salesforce_pipelines.local_org.admin.admin_calls import AdminError
from salesforce_pipelines.local_org.admin_client import AdminRefusedError
from salesforce_pipelines.local_org.http.access import is_loopback
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, token_of, unique

JSON = {"Content-Type": "application/json"}


def admin(org: RunningOrg, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, f"{org.url}/local-org/{path}", timeout=10, **options)


def test_it_says_what_there_is_and_every_address_is_there(org: RunningOrg) -> None:
    answer = admin(org, "GET", "")
    assert answer.headers["Content-Type"] == "application/json"
    routes = answer.json()["routes"]
    assert {"method": "GET", "path": "/local-org/clock", "does": "the org's time"} in routes
    for route in routes:
        path = route["path"].removeprefix("/local-org/").replace("{id}", "none")
        path = path.replace("{sobject}", "Contact").replace("{kind}", "triggers")
        if route["method"] == "GET":
            assert admin(org, "GET", path).status_code == (404 if "none" in path else 200)
        assert route["does"]
    assert admin(org, "GET", "nowhere").status_code == 404
    assert admin(org, "PUT", "clock", headers=JSON).json() == {
        "error": "This address takes only GET, PATCH"
    }
    assert admin(org, "HEAD", "clock").content == b""
    kinds = admin(org, "GET", "fault-kinds").json()["kinds"]
    assert kinds["cut"]["options"]["when"].endswith("One of before, after. Default: after.")


def test_a_delete_without_a_body_needs_no_type(org: RunningOrg) -> None:
    admin(org, "POST", "faults", json={"kind": "server_unavailable", "path": "nowhere"})
    elsewhere = {"Origin": "http://evil.example"}
    assert admin(org, "DELETE", "faults", headers=elsewhere).status_code == 403
    assert admin(org, "DELETE", "faults").ok
    assert admin(org, "GET", "faults").json()["faults"] == []


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"Content-Type": "text/plain"}, 415, "Content-Type: application/json"),
        ({}, 415, "Content-Type: application/json"),
        ({**JSON, "Origin": "http://evil.example"}, 403, "Pages of other sites"),
        ({**JSON, "Origin": "null"}, 403, "Pages of other sites"),
        ({**JSON, "Sec-Fetch-Site": "cross-site"}, 403, "Pages of other sites"),
        ({**JSON, "Sec-Fetch-Site": "same-site"}, 403, "Pages of other sites"),
        # A proxy on this machine tells for whom it asks.
        ({**JSON, "X-Forwarded-For": "203.0.113.7"}, 403, "--admin-from-anywhere"),
    ],
)
def test_web_pages_and_other_machines_are_kept_out(
    org: RunningOrg, headers: dict[str, str], status: int, message: str
) -> None:
    body = '{"kind": "server_unavailable"}'
    answer = admin(org, "POST", "faults", data=body, headers=headers)
    assert (answer.status_code, message in answer.json()["error"]) == (status, True)
    assert admin(org, "GET", "faults").json() == {"faults": []}


def test_a_page_of_its_own_host_may_use_it(org: RunningOrg) -> None:
    headers = {**JSON, "Origin": org.url, "Sec-Fetch-Site": "same-origin"}
    assert admin(org, "DELETE", "faults", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("peer", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("", False),
        (None, False),
        ("localhost", False),
    ],
)
def test_loopback_addresses(peer: str | None, loopback: bool) -> None:
    assert is_loopback(peer) is loopback
    headers = {"host": "10.1.1.1:8765"}
    check_access("GET", headers, peer, "http", from_anywhere=True)
    if not loopback:
        with pytest.raises(AdminError, match="Only this machine"):
            check_access("GET", headers, peer, "http", from_anywhere=False)


def test_it_is_open_to_others_only_on_request(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "salesforce_pipelines.local_org", "serve", "--port", "0"]
    command += ["--home", str(tmp_path / "home"), "--admin-from-anywhere"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().split()[4]
            headers = {"X-Forwarded-For": "203.0.113.7"}
            answer = requests.get(f"{url}/local-org/clock", headers=headers, timeout=10)
        finally:
            process.terminate()
    assert answer.status_code == 200


def test_it_is_neither_counted_nor_disturbed_nor_in_the_log(org: RunningOrg, api: Api) -> None:
    used = org.admin.limits()["api_calls_used"]
    total = org.admin.send("GET", "calls")["total"]
    with (
        org.admin.fault("html_page", path="/**", times="unlimited"),
        org.admin.fault("cut", path="/**", times="unlimited"),
    ):
        assert org.admin.limits()["api_calls_used"] == used
        assert org.admin.send("GET", "calls")["total"] == total
        assert api.session.get(f"{org.url}/local-org/", timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "The body is not JSON: line 1"),
        ("[]", "must be a JSON object"),
        ('{"kind": "error"}', "status is missing. The HTTP status."),
        ('{"kind": "slow", "sobject": "Shoe"}', "sobject: the org has no Shoe"),
        ('{"kind": "slow", "sobject": 3}', "sobject: the org has no 3"),
        ('{"kind": "slow", "user": "nobody"}', "user: the org has no User"),
        ('{"kind": "slow", "user": 3}', "user: give a text"),
    ],
)
def test_bad_faults_name_key_and_cure(org: RunningOrg, body: str, message: str) -> None:
    answer = admin(org, "POST", "faults", data=body, headers=JSON)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert admin(org, "GET", "faults").json() == {"faults": []}


def test_faults_come_and_go(org: RunningOrg, api: Api) -> None:
    first = org.admin.add_fault("server_unavailable", path="limits", sobject="contact")
    with org.admin.fault("slow", user="integration@local-org.example") as second:
        shown = org.admin.send("GET", "faults")["faults"]
        assert [fault["id"] for fault in shown] == [first, second]
        assert shown[0]["sobject"] == "Contact"
        me = api.get("query", q="SELECT Id FROM User WHERE Alias = 'integusr'")["records"][0]["Id"]
        assert shown[1]["user"] == me
    with pytest.raises(AdminRefusedError, match="There is no such fault"):
        org.admin.read_fault(second)
    assert org.admin.read_fault(first)["hits"] == 0
    org.admin.clear()
    assert org.admin.send("GET", "faults") == {"faults": []}


def test_limits_are_set_and_shown(org: RunningOrg, api: Api) -> None:
    before = org.admin.limits()
    try:
        org.admin.set_limits(api_calls_used=99_999, bulk_query_jobs_used=9_999)
        assert api.get("limits")["DailyApiRequests"] == {"Max": 100_000, "Remaining": 0}
        answer = api.call("GET", "limits")
        assert (answer.status_code, answer.json()[0]) == (
            403,
            {"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"},
        )
        org.admin.set_limits(daily_api_calls=100_010)
        shown = api.get("limits")
        assert shown["DailyApiRequests"]["Max"] == 100_010
        assert shown["DailyBulkV2QueryJobs"] == {"Max": 10_000, "Remaining": 1}
    finally:
        org.admin.set_limits(**before)
    for body, message in (
        ({"api_calls": 1}, "api_calls: there is no such key; give api_calls_used, "),
        ({"api_calls_used": -1}, "api_calls_used: give a number of at least 0"),
        ({"api_calls_used": 2**63}, "api_calls_used: give a number of at most 10"),
        ({"api_calls_used": 1.5}, "api_calls_used: give a whole number"),
        ({"api_calls_used": 5, "bulk_query_jobs_used": "x"}, "bulk_query_jobs_used: give a number"),
    ):
        with pytest.raises(AdminRefusedError, match=message):
            org.admin.send("PATCH", "limits", body)
    assert org.admin.limits()["api_calls_used"] == before["api_calls_used"]


def test_bulk_query_limits_refuse_jobs(org: RunningOrg, api: Api) -> None:
    body = {"operation": "query", "query": "SELECT Id FROM Contact"}
    before = org.admin.limits()
    try:
        org.admin.set_limits(bulk_query_jobs_used=9_999)
        assert api.send("POST", "jobs/query", body, 200)["state"] == "UploadComplete"
        assert api.send("POST", "jobs/query", body, 400) == [
            {
                "errorCode": "LIMIT_EXCEEDED",
                "message": "Max bulk v2 query jobs (10000) per 24 hrs has been reached",
            }
        ]
        org.admin.set_limits(bulk_query_jobs_used=0, bulk_query_mb_used=976_562)
        assert api.get("limits")["DailyBulkV2QueryFileStorageMB"]["Remaining"] == 0
        text = "Max bulk v2 query result size stored (1000000000) kb per 24 hrs has been exceeded"
        assert api.send("POST", "jobs/query", body, 400)[0]["message"] == text
    finally:
        org.admin.set_limits(**before)


def test_sessions_end(tmp_path: Path) -> None:
    with running_org(tmp_path / "home") as org, api_of(org).session as session:
        own = Api(org.url, session)
        assert own.get("limits")
        assert org.admin.expire_sessions() == 1
        assert own.get("limits", status=401)[0]["errorCode"] == "INVALID_SESSION_ID"
        own.session.headers["Authorization"] = f"Bearer {token_of(org)['access_token']}"
        assert own.get("limits")


def test_an_emptied_recycle_bin_gives_no_id_twice(org: RunningOrg, api: Api) -> None:
    org.admin.empty_recycle_bin()
    name = unique("Bin")
    ids = [api.create("Lead", LastName=name, Company="x") for _ in range(3)]
    for lead in ids[1:]:
        api.delete("Lead", lead)
    every = f"SELECT Id FROM Lead WHERE LastName = '{name}'"
    assert len(api.records(every, "queryAll")) == 3
    assert org.admin.empty_recycle_bin() == {"Lead": 2}
    assert [lead["Id"] for lead in api.records(every, "queryAll")] == ids[:1]
    assert api.create("Lead", LastName=name, Company="x") not in ids


def test_the_call_log_tells_of_calls_and_not_of_people(org: RunningOrg, api: Api) -> None:
    secret = unique("secretperson")
    contact = api.create("Contact", LastName=secret)
    api.get(f"sobjects/Contact/{contact}")
    answer = api.call(
        "GET",
        "query",
        params={"q": f"SELECT Id FROM Contact WHERE LastName = '{secret}'"},
        headers={"Sforce-Call-Options": "client=rehearsal"},
    )
    log = org.admin.send("GET", "calls?limit=3")
    query, read, create = log["calls"]
    assert query["kind"] == "GET query"
    assert (query["status"], query["client"]) == (200, "rehearsal")
    assert query["bytes"] == int(answer.headers["Content-Length"])
    assert read["path"] == "/services/data/v62.0/sobjects/…/…"
    assert read["client"].startswith("python-requests/")
    assert (create["method"], create["status"]) == ("POST", 201)
    assert create["user_id"].startswith("005")
    assert create["milliseconds"] > 0
    assert log["by_kind"]["POST sobjects/{sobject}"] >= 1
    assert secret not in str(log)
    assert contact not in str(log)
    assert org.admin.send("GET", "calls?limit=0")["calls"] == []
    with pytest.raises(AdminRefusedError, match="limit: give a whole number"):
        org.admin.send("GET", "calls?limit=x")


def test_what_was_not_understood_is_listed_once_and_without_values(
    org: RunningOrg, api: Api
) -> None:
    org.admin.send("DELETE", "not-understood")
    secret = unique("secretperson")
    for _ in range(2):
        assert api.call("GET", f"tooling/query/{secret}", params={"q": secret}).status_code == 404
    assert api.call("PUT", "query").status_code == 405
    api.refused(f"SELECT TYPEOF What WHEN {secret} THEN Id END FROM Task")
    assert api.get(f"sobjects/Contact/{'003' + '0' * 15}", status=404)
    listed = org.admin.not_understood()
    assert [(entry["why"], entry["count"]) for entry in listed] == [
        ("NOT_FOUND", 2),
        ("METHOD_NOT_ALLOWED", 1),
        ("MALFORMED_QUERY", 1),
    ]
    assert listed[0]["names"] == ["tooling", "?q"]
    assert listed[2]["names"] == ["query", "?q", "FROM", "SELECT", "TYPEOF"]
    assert secret not in str(listed)


def test_jobs_are_listed(org: RunningOrg, api: Api) -> None:
    body = {"operation": "query", "query": "SELECT Id FROM Contact"}
    job = api.send("POST", "jobs/query", body, 200)["id"]
    api.finished("query", job)
    newest = org.admin.send("GET", "jobs")["jobs"][0]
    assert (newest["id"], newest["kind"], newest["state"], newest["done"]) == (
        job,
        "query",
        "JobComplete",
        True,
    )
