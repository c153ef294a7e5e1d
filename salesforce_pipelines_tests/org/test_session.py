"""What is sent again, what is not, and what a person is told."""

import socket
from collections.abc import Callable

import pytest

from salesforce_pipelines.org.errors import OrgUnreachableError, SalesforceError
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines_tests.org.conftest import Scripted

Connect = Callable[[str], OrgSession]


def test_an_expired_session_is_renewed_once_and_the_request_sent_again(
    scripted: Scripted, connect: Connect
) -> None:
    scripted.error(401, "INVALID_SESSION_ID", "Session expired or invalid")
    scripted.answer(200, {"ok": True})
    session = connect(scripted.url)
    assert session.get("limits") == {"ok": True}
    tokens = [token for _, path, token in scripted.requests if "oauth2" not in path]
    assert tokens == ["Bearer token1", "Bearer token2"]


def test_a_session_that_stays_invalid_is_not_renewed_for_ever(
    scripted: Scripted, connect: Connect
) -> None:
    scripted.error(401, "INVALID_SESSION_ID", "Session expired or invalid")
    with pytest.raises(SalesforceError, match="connected app still allows"):
        connect(scripted.url).get("limits")
    assert scripted.tokens == 2


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (503, "SERVER_UNAVAILABLE", "busy"),
        (403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded."),
        (400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access"),
    ],
)
def test_what_passes_is_tried_again(
    scripted: Scripted, connect: Connect, status: int, code: str, message: str
) -> None:
    scripted.error(status, code, message)
    scripted.error(status, code, message)
    scripted.answer(200, {"ok": True})
    assert connect(scripted.url).get("limits") == {"ok": True}
    assert len(scripted.paths()) == 3


def test_an_html_page_of_a_gateway_is_tried_again_and_then_told(
    scripted: Scripted, connect: Connect
) -> None:
    scripted.answer(502, "<html>bad gateway</html>", "text/html")
    with pytest.raises(SalesforceError, match="HTTP_502"):
        connect(scripted.url).get("limits")
    assert len(scripted.paths()) == 3


@pytest.mark.parametrize(
    ("status", "code", "message", "cure"),
    [
        (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", "daily allowance"),
        (403, "API_DISABLED_FOR_ORG", "not enabled", "edition with API access"),
        (400, "INVALID_FIELD", "No such column 'X'", "field-level security"),
    ],
)
def test_what_a_person_has_to_cure_is_not_tried_again(
    scripted: Scripted, connect: Connect, status: int, code: str, message: str, cure: str
) -> None:
    scripted.error(status, code, message)
    with pytest.raises(SalesforceError, match=cure):
        connect(scripted.url).get("limits")
    assert len(scripted.paths()) == 1


def test_a_request_whose_fate_is_unknown_is_sent_again_only_if_that_is_harmless(
    scripted: Scripted, connect: Connect
) -> None:
    scripted.error(500, "UNKNOWN_EXCEPTION")
    session = connect(scripted.url)
    with pytest.raises(SalesforceError):
        session.request("POST", "/create", json={}, replayable=False)
    assert scripted.paths() == ["/create"]
    with pytest.raises(SalesforceError):
        session.request("PATCH", "/update", json={})
    assert scripted.paths()[1:] == ["/update"] * 3


def test_a_connection_cut_before_the_answer_leaves_the_fate_unknown(
    scripted: Scripted, connect: Connect
) -> None:
    scripted.answer(0, "")
    session = connect(scripted.url)
    with pytest.raises(OrgUnreachableError):
        session.request("POST", "/create", json={}, replayable=False)
    assert scripted.paths() == ["/create"]


def test_an_org_that_is_not_running_is_named(connect: Connect) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(OrgUnreachableError, match=f"no answer from {url}.*is it running"):
        connect(url).get("limits")


def test_a_host_that_is_no_salesforce_is_named(scripted: Scripted, connect: Connect) -> None:
    scripted.answer(404, "<html>not here</html>", "text/html")
    with pytest.raises(OrgUnreachableError, match="address of a Salesforce org"):
        connect(scripted.url).get("limits")


def test_calls_are_counted_and_the_orgs_own_count_is_kept(
    scripted: Scripted, connect: Connect
) -> None:
    scripted.answer(200, {})
    session = connect(scripted.url)
    session.get("limits")
    session.get("limits")
    assert session.api_calls == 2
    assert session.api_usage == (18, 5000)
    assert session.server_time().tzinfo is not None
    assert session.api_calls == 2, "the versions resource is not counted"


def test_no_message_holds_a_secret_or_a_records_value(scripted: Scripted, connect: Connect) -> None:
    scripted.answer(
        400,
        [
            {
                "errorCode": "INVALID_EMAIL_ADDRESS",
                "message": "Email: invalid email address: someone@private",
                "fields": ["Email"],
            }
        ],
    )
    with pytest.raises(SalesforceError) as caught:
        connect(scripted.url).get("limits")
    assert "private" not in str(caught.value)
    assert "field Email" in str(caught.value)
    assert "hush" not in str(caught.value)
