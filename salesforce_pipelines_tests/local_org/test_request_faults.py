"""Faults at requests, as clients of several makes see them over the wire."""

import http.client
import re
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
import urllib3

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique


@pytest.fixture(autouse=True)
def _no_faults_afterwards(org: RunningOrg) -> Iterator[None]:
    yield
    org.admin.clear()


@pytest.mark.parametrize(
    ("kind", "options", "status", "code", "message"),
    [
        ("daily_limit", {}, 403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
        (
            "concurrency_limit",
            {},
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentPerOrgLongTxn Limit exceeded",
        ),
        (
            "concurrency_limit",
            {"limit": "ConcurrentRequests"},
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentRequests Limit exceeded",
        ),
        ("server_unavailable", {}, 503, "SERVER_UNAVAILABLE", "Server is too busy"),
        ("unknown_exception", {}, 500, "UNKNOWN_EXCEPTION", "An unexpected error occurred. Please"),
        (
            "api_disabled",
            {},
            403,
            "API_DISABLED_FOR_ORG",
            "The REST API is not enabled for this Organization.",
        ),
        (
            "api_disabled",
            {"error_code": "API_CURRENTLY_DISABLED", "user": "integration@local-org.example"},
            403,
            "API_CURRENTLY_DISABLED",
            "The REST API is not enabled",
        ),
        (
            "error",
            {"status": 400, "error_code": "QUERY_TIMEOUT", "message": "Too long."},
            400,
            "QUERY_TIMEOUT",
            "Too long.",
        ),
    ],
)
def test_error_answers(
    org: RunningOrg,
    api: Api,
    kind: str,
    options: dict[str, object],
    status: int,
    code: str,
    message: str,
) -> None:
    with org.admin.fault(kind, path="limits", times=2, **options) as fault:
        for _ in range(2):
            (error,) = api.get("limits", status=status)
            assert (error["errorCode"], set(error)) == (code, {"errorCode", "message"})
            assert error["message"].startswith(message)
        assert api.get("limits")
        assert org.admin.read_fault(fault)["hits"] == 2


def test_another_user_is_not_concerned(org: RunningOrg, api: Api) -> None:
    with org.admin.fault("api_disabled", user="admin@local-org.example"):
        assert api.get("limits")


@pytest.mark.parametrize("status", [420, 429, 500, 502, 503, 504])
def test_pages_of_the_edge(org: RunningOrg, api: Api, status: int) -> None:
    with org.admin.fault("html_page", status=status):
        answer = api.call("GET", "limits")
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert f"<h1>{status} " in answer.text
    assert "Sforce-Limit-Info" not in answer.headers


def test_the_token_endpoint_has_its_own_shape_and_is_spared_unless_named(org: RunningOrg) -> None:
    options = {"status": 400, "error_code": "invalid_grant", "message": "inactive user"}
    form = {"grant_type": "client_credentials"}
    login = (org.client_id, org.client_secret)
    with org.admin.fault("error", **options):
        token = f"{org.url}/services/oauth2/token"
        assert requests.post(token, data=form, auth=login, timeout=10).status_code == 200
    with org.admin.fault("error", path="/services/oauth2/token", **options):
        answer = requests.post(token, data=form, auth=login, timeout=10)
    assert answer.status_code == 400
    assert answer.json() == {"error": "invalid_grant", "error_description": "inactive user"}


@pytest.mark.parametrize(("when", "landed"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("kind", ["server_unavailable", "unknown_exception", "html_page"])
def test_an_error_before_or_after_the_write(
    org: RunningOrg, api: Api, kind: str, when: str, landed: int
) -> None:
    name = unique("Landed")
    with org.admin.fault(kind, method="POST", sobject="Contact", when=when):
        answer = api.call("POST", "sobjects/Contact", json={"LastName": name})
    assert answer.status_code in (500, 503)
    assert len(api.records(f"SELECT Id FROM Contact WHERE LastName = '{name}'")) == landed


@pytest.mark.parametrize(("when", "landed"), [("before", 0), ("after", 1)])
def test_a_connection_cut_before_any_answer(
    org: RunningOrg, api: Api, when: str, landed: int
) -> None:
    name = unique("Cut")
    own = api_of(org)
    with own.session:
        own.get("limits")
        with (
            org.admin.fault("cut", method="POST", path="sobjects/Contact", when=when),
            pytest.raises(requests.ConnectionError, match=r"RemoteDisconnected|reset by peer"),
        ):
            own.call("POST", "sobjects/Contact", json={"LastName": name})
    assert len(api.records(f"SELECT Id FROM Contact WHERE LastName = '{name}'")) == landed
    assert [call["status"] for call in org.admin.calls(2)] == [200, 0]


def test_a_refusal_is_cut_too(org: RunningOrg, api: Api) -> None:
    with org.admin.fault("cut"), pytest.raises(requests.ConnectionError):
        api.get("sobjects/Contact/003", status=404)
    assert api.get("limits")


def test_json_cut_in_the_middle(org: RunningOrg, api: Api) -> None:
    whole = len(api.call("GET", "sobjects", headers={"Accept-Encoding": "identity"}).content)
    for options, sent in (({"after_bytes": 100}, 100), ({"fraction": 0.5}, whole // 2)):
        with org.admin.fault("cut", path="sobjects", **options):
            address = urlsplit(org.url)
            assert address.hostname
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
            token = str(api.session.headers["Authorization"])
            connection.request(
                "GET", "/services/data/v62.0/sobjects", headers={"Authorization": token}
            )
            answer = connection.getresponse()
            assert answer.status == 200
            assert int(answer.headers["Content-Length"]) == whole
            with pytest.raises(http.client.IncompleteRead) as caught:
                answer.read()
            assert len(caught.value.partial) == sent
            connection.close()
    with (
        org.admin.fault("cut", path="sobjects", after_bytes=100),
        pytest.raises(requests.RequestException, match="IncompleteRead"),
    ):
        api.get("sobjects")


@pytest.fixture(scope="module")
def big_job(org: RunningOrg, api: Api) -> str:
    """A finished query job with a result of about a megabyte."""
    name = unique("Big")
    for _ in range(5):
        records = [
            {"attributes": {"type": "Lead"}, "LastName": name, "Company": "x" * 250,
             "Description": "y" * 1000}
            for _ in range(200)
        ]  # fmt: skip
        api.send("POST", "composite/sobjects", {"records": records}, 200)
    soql = f"SELECT Id, Company, Description FROM Lead WHERE LastName = '{name}'"
    job: str = api.send("POST", "jobs/query", {"operation": "query", "query": soql}, 200)["id"]
    assert api.finished("query", job)["numberRecordsProcessed"] == 1000
    return job


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("options", [{"after_bytes": 5_000}, {"fraction": 0.5}])
def test_a_bulk_result_cut_in_the_middle(
    org: RunningOrg, api: Api, big_job: str, encoding: str, options: dict[str, float]
) -> None:
    path = f"/services/data/v62.0/jobs/query/{big_job}/results"
    token = str(api.session.headers["Authorization"])
    headers = {"Authorization": token, "Accept-Encoding": encoding}
    with urllib3.PoolManager() as pool:
        whole = pool.request("GET", org.url + path, headers=headers, decode_content=False)
        assert whole.headers["Transfer-Encoding"] == "chunked"
        length = len(whole.data)
        with org.admin.fault("cut", path="jobs/query/*/results", **options):
            answer = pool.request(
                "GET", org.url + path, headers=headers, decode_content=False, preload_content=False
            )
            assert answer.status == 200
            got = bytearray()
            with pytest.raises(urllib3.exceptions.ProtocolError):
                _read_into(got, answer)
            answer.close()
    expected = options.get("after_bytes") or length * options["fraction"]
    assert expected - 1 <= len(got) <= expected
    assert got == whole.data[: len(got)] or encoding == "gzip"


def _read_into(got: bytearray, answer: urllib3.BaseHTTPResponse) -> None:
    for piece in answer.read_chunked(decode_content=False):
        got += piece


def test_a_cut_result_is_an_error_for_requests_too(org: RunningOrg, api: Api, big_job: str) -> None:
    with (
        org.admin.fault("cut", path="jobs/query/*/results", after_bytes=1000),
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        api.call("GET", f"jobs/query/{big_job}/results")
    assert api.call("GET", f"jobs/query/{big_job}/results").status_code == 200


def test_a_slow_answer(org: RunningOrg, api: Api) -> None:
    with org.admin.fault("slow", path="limits", delay_seconds=0.4):
        started = time.monotonic()
        api.get("limits")
        assert 0.4 <= time.monotonic() - started < 3
        started = time.monotonic()
        api.get("limits")
        assert time.monotonic() - started < 0.4


def test_a_slow_body(org: RunningOrg, api: Api, big_job: str) -> None:
    length = len(api.call("GET", "sobjects", headers={"Accept-Encoding": "identity"}).content)
    with org.admin.fault("slow", path="sobjects", bytes_per_second=length * 2):
        started = time.monotonic()
        answer = api.call("GET", "sobjects", headers={"Accept-Encoding": "identity"}, stream=True)
        first = time.monotonic() - started
        assert len(answer.content) == length
        assert answer.json()["encoding"] == "UTF-8"
    whole = time.monotonic() - started
    assert first < 0.3 < 0.45 < whole < 5
    headers = {"Accept-Encoding": "identity"}
    plain = api.call("GET", f"jobs/query/{big_job}/results", headers=headers).content
    with org.admin.fault("slow", path="jobs/**", bytes_per_second=len(plain) * 3):
        started = time.monotonic()
        slow = api.call("GET", f"jobs/query/{big_job}/results", headers=headers)
        assert time.monotonic() - started > 0.3
    assert slow.content == plain


def test_a_client_reads_with_a_time_limit(org: RunningOrg, api: Api) -> None:
    with (
        org.admin.fault("slow", path="limits", delay_seconds=2),
        pytest.raises(requests.ReadTimeout),
    ):
        api.call("GET", "limits", timeout=0.3)
    assert api.get("limits")


@pytest.fixture(scope="module")
def own_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """An org whose sessions nobody else uses."""
    with running_org(tmp_path_factory.mktemp("sessions") / "home") as running:
        yield running


@pytest.mark.parametrize(("sessions", "other"), [("own", 200), ("all", 401)])
def test_a_session_ends_at_the_third_call(own_org: RunningOrg, sessions: str, other: int) -> None:
    one, two = api_of(own_org), api_of(own_org)
    expiry = own_org.admin.fault("session_expired", path="sobjects", skip=2, sessions=sessions)
    with one.session, two.session, expiry:
        one.get("sobjects")
        two.get("sobjects")
        assert one.get("sobjects", status=401) == [
            {"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}
        ]
        one.get("limits", status=401)
        assert two.call("GET", "sobjects").status_code == other


def test_what_a_request_is_about(org: RunningOrg, api: Api, big_job: str) -> None:
    busy = {"path": "**", "times": "unlimited"}
    lead = {"attributes": {"type": "Lead"}, "LastName": "x", "Company": "y"}
    with org.admin.fault("server_unavailable", sobject="lead", **busy) as fault:
        assert api.call("GET", "sobjects/Lead/describe").status_code == 503
        for soql in (
            "SELECT Id FROM Lead",
            "SELECT Id, (SELECT Id FROM CampaignMembers WHERE Id IN (SELECT Id FROM X)) FROM Lead",
        ):
            assert api.call("GET", "query", params={"q": soql}).status_code == 503
            body = {"operation": "query", "query": soql}
            assert api.call("POST", "jobs/query", json=body).status_code == 503
        job = {"operation": "insert", "object": "Lead"}
        assert api.call("POST", "jobs/ingest", json=job).status_code == 503
        assert api.call("GET", f"jobs/query/{big_job}").status_code == 503
        leads = {"records": [lead]}
        assert api.call("POST", "composite/sobjects", json=leads).status_code == 503
        assert api.call("PATCH", "composite/sobjects/Lead/Id", json=leads).status_code == 503
        assert org.admin.read_fault(fault)["hits"] == 9
        assert api.get("sobjects/Contact/describe")
        assert api.get("query", q="SELECT Id FROM Contact")["done"]
        assert api.get(
            "query", q="SELECT Id FROM Contact WHERE Id IN (SELECT ContactId FROM CampaignMember)"
        )["done"]
        assert api.call("POST", "jobs/query", data="{").status_code == 400
        assert api.call("POST", "composite/sobjects", json=[1]).status_code == 400
    assert org.admin.send("GET", "faults") == {"faults": []}


def test_the_log_of_calls_shows_a_fault_as_it_was_answered(org: RunningOrg, api: Api) -> None:
    with org.admin.fault("html_page", status=502):
        api.call("GET", "limits")
    assert org.admin.calls(1)[0]["status"] == 502
    assert re.fullmatch(r"20\d\d-.*Z", org.admin.calls(1)[0]["time"])
