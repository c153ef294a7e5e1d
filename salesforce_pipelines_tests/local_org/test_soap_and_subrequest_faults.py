"""Faults at SOAP calls and at the subrequests of composites."""

from collections.abc import Iterator
from typing import Any

import pytest

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.conftest import VERSION, Api, api_of, unique
from salesforce_pipelines_tests.local_org.soap_client import Soap, fault_of

TIMEOUT = {"status": 400, "error_code": "QUERY_TIMEOUT", "message": "Too long."}


@pytest.fixture(autouse=True)
def _no_faults_afterwards(org: RunningOrg) -> Iterator[None]:
    yield
    org.admin.clear()


@pytest.fixture
def soap(api: Api) -> Soap:
    return Soap(api)


@pytest.mark.parametrize("path", ["u", "c"])
def test_an_error_is_a_soap_fault(org: RunningOrg, soap: Soap, path: str) -> None:
    with org.admin.fault("error", path="/services/Soap/**", **TIMEOUT):
        code, text = fault_of(soap.post("<getServerTimestamp/>", path=path))
    assert (code, text) == ("sf:QUERY_TIMEOUT", "QUERY_TIMEOUT: Too long.")


def test_an_error_after_the_write_is_one_too(org: RunningOrg, api: Api, soap: Soap) -> None:
    name = unique("After")
    create = f"<create><sObjects><type>Account</type><Name>{name}</Name></sObjects></create>"
    with org.admin.fault("unknown_exception", path="/services/Soap/**", when="after"):
        assert soap.fault(create)[0] == "sf:UNKNOWN_EXCEPTION"
    assert len(api.records(f"SELECT Id FROM Account WHERE Name = '{name}'")) == 1


def test_only_the_user_of_the_envelope_is_concerned(org: RunningOrg, soap: Soap) -> None:
    path = "/services/Soap/**"
    with org.admin.fault("error", path=path, user="admin@local-org.example", **TIMEOUT):
        assert soap.post("<getServerTimestamp/>").status_code == 200
    with org.admin.fault("error", path=path, user="integration@local-org.example", **TIMEOUT):
        assert soap.post("<getServerTimestamp/>", token="nobody").status_code == 500
        assert soap.fault("<getServerTimestamp/>")[0] == "sf:QUERY_TIMEOUT"


def test_the_session_of_the_envelope_ends(tmp_path: Any) -> None:
    with running_org(tmp_path / "home") as own_org:
        one, other = api_of(own_org), api_of(own_org)
        with one.session, other.session:
            soap = Soap(one)
            with own_org.admin.fault("session_expired", path="/services/Soap/**"):
                code, text = soap.fault("<getServerTimestamp/>")
            assert code == "sf:INVALID_SESSION_ID"
            assert "Illegal Session. Session not found, missing session hash: " in text
            assert soap.fault("<getServerTimestamp/>") == (code, text)
            one.get("limits", status=401)
            assert Soap(other).post("<getServerTimestamp/>").status_code == 200


def batch(api: Api, *urls: str) -> list[tuple[int, Any]]:
    requests = [{"method": "GET", "url": f"v{VERSION}/{url}"} for url in urls]
    results = api.send("POST", "composite/batch", {"batchRequests": requests}, 200)["results"]
    return [(result["statusCode"], result["result"]) for result in results]


def test_an_error_strikes_one_subrequest(org: RunningOrg, api: Api) -> None:
    with org.admin.fault("error", path="query", **TIMEOUT) as fault:
        limits, queried, again = batch(api, "limits", *["query?q=SELECT+Id+FROM+Organization"] * 2)
        assert org.admin.read_fault(fault)["hits"] == 1
    assert (limits[0], again[0]) == (200, 200)
    assert queried == (400, [{"errorCode": "QUERY_TIMEOUT", "message": "Too long."}])


def test_all_or_none_takes_back_what_was_done_before(org: RunningOrg, api: Api) -> None:
    name = unique("Sub")
    root = f"/services/data/v{VERSION}/sobjects"
    requests = [
        {
            "method": "POST",
            "url": f"{root}/{sobject}",
            "referenceId": sobject,
            "body": {"LastName": name, **more},
        }
        for sobject, more in (("Contact", {}), ("Lead", {"Company": "x"}))
    ]
    body = {"allOrNone": True, "compositeRequest": requests}
    with org.admin.fault("unknown_exception", sobject="Lead", when="after"):
        first, second = api.send("POST", "composite", body, 200)["compositeResponse"]
    assert first["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert (second["httpStatusCode"], second["body"][0]["errorCode"]) == (500, "UNKNOWN_EXCEPTION")
    for sobject in ("Contact", "Lead"):
        assert api.records(f"SELECT Id FROM {sobject} WHERE LastName = '{name}'") == []


def test_what_is_about_whole_answers_spares_subrequests(org: RunningOrg, api: Api) -> None:
    for kind in ("html_page", "session_expired", "cut"):
        with org.admin.fault(kind, path="limits") as fault:
            assert batch(api, "limits")[0][0] == 200
            assert org.admin.read_fault(fault)["seen"] == 0
    with org.admin.fault("server_unavailable", skip=1) as fault:
        assert batch(api, "limits", "limits")[1][0] == 200
        assert org.admin.read_fault(fault)["seen"] == 1
