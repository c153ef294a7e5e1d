"""Refresh tokens, rotation, revocation, introspection, and sessions that end."""

import base64
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.local_org.oauth2.oauth_replies import answer_format, as_xml
from salesforce_pipelines_tests.local_org.conftest import api_of, token_of
from salesforce_pipelines_tests.local_org.serving_in_thread import ServedOrg
from salesforce_pipelines_tests.local_org.web_login import (
    Browser,
    exchanged,
    post_token,
    refreshed,
    refused,
    status_of,
)

EXPIRED = refused("invalid_grant", "expired access/refresh token")


@pytest.fixture
def granted(served: ServedOrg) -> dict[str, str]:
    """The tokens of somebody who logged in with a browser."""
    with requests.Session() as session:
        status, tokens = exchanged(served, Browser(served, session).code())
    assert status == 200
    return dict(tokens)


def revoke(served: ServedOrg, token: str) -> requests.Response:
    return requests.post(f"{served.url}/services/oauth2/revoke", data={"token": token}, timeout=10)


def introspected(served: ServedOrg, token: str) -> Any:
    answer = requests.post(
        f"{served.url}/services/oauth2/introspect",
        data={"token": token, "token_type_hint": "access_token"},
        auth=(served.client_id, served.client_secret),
        timeout=10,
    )
    assert answer.status_code == 200
    return answer.json()


def test_a_refresh_token_is_used_again_and_again(
    served: ServedOrg, granted: dict[str, str]
) -> None:
    served.clock.forward(3 * 3600)
    assert status_of(served, granted["access_token"]) == 401
    tokens = set()
    for _ in range(3):
        status, again = refreshed(served, granted["refresh_token"])
        assert status == 200
        assert "refresh_token" not in again
        assert (again["scope"], again["id"]) == (granted["scope"], granted["id"])
        assert status_of(served, again["access_token"]) == 200
        tokens.add(again["access_token"])
    assert len(tokens) == 3


def test_the_signature_is_of_the_id_and_the_time(
    served: ServedOrg, granted: dict[str, str]
) -> None:
    text = granted["id"] + granted["issued_at"]
    signed = hmac.new(served.client_secret.encode(), text.encode(), hashlib.sha256).digest()
    assert granted["signature"] == base64.b64encode(signed).decode()


def test_a_refresh_needs_its_own_client(served: ServedOrg, granted: dict[str, str]) -> None:
    token = granted["refresh_token"]
    denied = refused("invalid_client", "invalid client credentials")
    assert refreshed(served, token, client_secret="-") == denied
    assert refreshed(served, token, client_id="x") == refused(
        "invalid_client_id", "client identifier invalid"
    )
    assert refreshed(served, granted["access_token"]) == EXPIRED
    assert refreshed(served, "nothing") == EXPIRED
    assert refreshed(served, "-") == refused(  # none at all
        "invalid_request", "missing required parameter: refresh_token"
    )
    served.change(require_refresh_secret=False)
    assert refreshed(served, token, client_secret="-")[0] == 200
    assert refreshed(served, token, client_secret="wrong") == denied


def test_rotation_gives_a_new_refresh_token_each_time(
    served: ServedOrg, granted: dict[str, str]
) -> None:
    served.change(rotate_refresh_tokens=True)
    token, seen = granted["refresh_token"], {granted["refresh_token"]}
    for _ in range(3):
        status, again = refreshed(served, token)
        assert status == 200
        token = again["refresh_token"]
        assert token not in seen
        seen.add(token)
        assert status_of(served, again["access_token"]) == 200
    served.change(rotate_refresh_tokens=False)
    assert "refresh_token" not in refreshed(served, token)[1]


def test_using_a_spent_refresh_token_ends_the_approval(
    served: ServedOrg, granted: dict[str, str]
) -> None:
    served.change(rotate_refresh_tokens=True)
    bystander = token_of(served)["access_token"]
    _, current = refreshed(served, granted["refresh_token"])
    assert status_of(served, current["access_token"]) == 200
    assert refreshed(served, granted["refresh_token"]) == EXPIRED
    assert refreshed(served, current["refresh_token"]) == EXPIRED
    assert status_of(served, current["access_token"]) == 401
    assert status_of(served, granted["access_token"]) == 401
    assert status_of(served, bystander) == 200


def test_a_spent_refresh_token_stays_spent_without_rotation(
    served: ServedOrg, granted: dict[str, str]
) -> None:
    served.change(rotate_refresh_tokens=True)
    _, current = refreshed(served, granted["refresh_token"])
    served.change(rotate_refresh_tokens=False)
    assert refreshed(served, current["refresh_token"])[0] == 200
    assert refreshed(served, granted["refresh_token"]) == EXPIRED
    assert refreshed(served, current["refresh_token"]) == EXPIRED


def test_two_who_use_one_refresh_token_end_the_approval(
    served: ServedOrg, granted: dict[str, str]
) -> None:
    served.change(rotate_refresh_tokens=True)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refreshed(served, granted["refresh_token"]), range(8)))
    good = [body for status, body in answers if status == 200]
    assert len(good) == 1
    assert answers.count(EXPIRED) == 7
    assert status_of(served, good[0]["access_token"]) == 401
    assert refreshed(served, good[0]["refresh_token"]) == EXPIRED


def test_revoking_a_refresh_token_ends_its_sessions(
    served: ServedOrg, granted: dict[str, str]
) -> None:
    _, again = refreshed(served, granted["refresh_token"])
    assert status_of(served, again["access_token"]) == 200
    answer = revoke(served, granted["refresh_token"])
    assert (answer.status_code, answer.content) == (200, b"")
    assert status_of(served, granted["access_token"]) == 401
    assert status_of(served, again["access_token"]) == 401
    assert refreshed(served, granted["refresh_token"]) == EXPIRED


def test_revoking_an_access_token_leaves_the_refresh_token(
    served: ServedOrg, granted: dict[str, str]
) -> None:
    address = f"{served.url}/services/oauth2/revoke"
    params = {"token": granted["access_token"]}
    assert requests.get(address, params=params, timeout=10).status_code == 200
    assert status_of(served, granted["access_token"]) == 401
    assert refreshed(served, granted["refresh_token"])[0] == 200


def test_revocations_that_are_refused(served: ServedOrg) -> None:
    address = f"{served.url}/services/oauth2/revoke"
    old = token_of(served)["access_token"]
    served.clock.forward(7201)
    for data, error in (
        ({"token": "nothing"}, "invalid_token"),
        ({"token": old}, "invalid_token"),
        ({}, "invalid_request"),
        ({"token": old, "token_type_hint": "device_secret"}, "unsupported_token_type"),
    ):
        answer = requests.post(address, data=data, timeout=10)
        assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_introspection(served: ServedOrg, granted: dict[str, str]) -> None:
    now = int(served.clock.now.timestamp())
    known = introspected(served, granted["access_token"])
    assert known == {
        "active": True,
        "scope": granted["scope"],
        "client_id": served.client_id,
        "username": "integration@local-org.example",
        "sub": granted["id"],
        "token_type": "access_token",
        "iat": now,
        "nbf": now,
        "exp": now + 7200,
    }
    refresh = introspected(served, granted["refresh_token"])
    assert (refresh["token_type"], "exp" in refresh) == ("refresh_token", False)
    # To be looked at is not to be used.
    served.clock.forward(7000)
    assert introspected(served, granted["access_token"])["exp"] == now + 7200
    served.clock.forward(201)
    for token in (granted["access_token"], "nothing"):
        assert introspected(served, token) == {"active": False}
    assert status_of(served, granted["access_token"]) == 401


def test_introspection_is_for_the_client(served: ServedOrg) -> None:
    address = f"{served.url}/services/oauth2/introspect"
    token = token_of(served)["access_token"]
    known = {"token": token, "client_id": served.client_id}
    answer = requests.post(address, data=known, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")
    known |= {"client_secret": served.client_secret, "token": ""}
    answer = requests.post(address, data=known, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_the_tokens_of_another_client(served: ServedOrg) -> None:
    user_id = served.org.store.admin_id
    session, refresh_token = served.org.sessions.approve(user_id, "another", "api refresh_token")
    assert refreshed(served, refresh_token) == EXPIRED
    for token in (session.token, refresh_token):
        assert introspected(served, token) == {"active": False}
    assert status_of(served, session.token) == 200


def test_a_session_slides_with_its_use(served: ServedOrg) -> None:
    served.change(session_seconds=600)
    token = token_of(served)["access_token"]
    for _ in range(3):
        served.clock.forward(590)
        assert status_of(served, token) == 200
    served.clock.forward(601)
    answer = requests.get(
        f"{served.url}/services/data/v62.0/limits",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )
    assert (answer.status_code, answer.text) == (
        401,
        '[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]',
    )


def test_a_change_of_the_lifetime_holds_for_open_sessions(served: ServedOrg) -> None:
    token = token_of(served)["access_token"]
    assert status_of(served, token) == 200
    served.change(session_seconds=60)
    served.clock.forward(61)
    assert status_of(served, token) == 401


def test_the_tokens_of_an_inactive_user_do_not_work(
    served: ServedOrg, granted: dict[str, str]
) -> None:
    user_id = granted["id"].rpartition("/")[2]
    with requests.Session() as session:
        page = Browser(served, session)
        code = page.code("System Administrator")
    admin = exchanged(served, code)[1]["access_token"]
    client = api_of(served)
    client.session.headers["Authorization"] = f"Bearer {admin}"
    with client.session:
        assert status_of(served, granted["access_token"]) == 200
        client.update("User", user_id, IsActive=False)
        assert status_of(served, granted["access_token"]) == 401
        assert refreshed(served, granted["refresh_token"]) == refused(
            "invalid_grant", "inactive user"
        )
        assert introspected(served, granted["refresh_token"]) == {"active": False}
        assert post_token(served, grant_type="client_credentials") == refused(
            "invalid_grant", "inactive user"
        )
        client.update("User", user_id, IsActive=True)


def test_the_run_as_user_of_client_credentials(served: ServedOrg) -> None:
    served.change(client_credentials_user="Admin@local-org.example")
    assert token_of(served)["id"].endswith(served.org.store.admin_id)
    for nobody in (None, "nobody@example.com"):
        served.change(client_credentials_user=nobody)
        assert post_token(served, grant_type="client_credentials") == refused(
            "invalid_grant", "no client credentials user enabled"
        )


def test_the_password_flow_is_blocked(served: ServedOrg) -> None:
    form = {"grant_type": "password", "username": "admin@local-org.example", "password": "x"}
    assert post_token(served, **form) == refused("invalid_grant", "authentication failure")


def test_a_token_without_the_api_scope_is_not_for_the_api(served: ServedOrg) -> None:
    status, granted = post_token(served, grant_type="client_credentials", scope="id")
    assert (status, granted["scope"]) == (200, "id")
    answer = requests.get(
        f"{served.url}/services/data/v62.0/limits",
        headers={"Authorization": f"Bearer {granted['access_token']}"},
        timeout=10,
    )
    assert (answer.status_code, answer.json()) == (
        401,
        [
            {
                "message": "This session is not valid for use with the REST API",
                "errorCode": "INVALID_SESSION_ID",
            }
        ],
    )


def test_the_api_can_be_switched_off(served: ServedOrg) -> None:
    token = token_of(served)["access_token"]
    served.change(api_access=False)
    assert status_of(served, token) == 403
    served.change(api_access=True)
    assert status_of(served, token) == 200


def test_the_token_endpoint_answers_in_the_format_asked_for(served: ServedOrg) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": served.client_id,
        "client_secret": served.client_secret,
    }
    address = f"{served.url}/services/oauth2/token"
    answer = requests.post(address, data=form | {"format": "xml"}, timeout=10)
    assert answer.headers["Content-Type"] == "application/xml;charset=UTF-8"
    root = ElementTree.fromstring(answer.text)
    assert (root.tag, root.findtext("instance_url")) == ("OAuth", served.url)
    answer = requests.post(address, data=form | {"format": "urlencoded"}, timeout=10)
    assert answer.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    assert dict(parse_qsl(answer.text))["token_type"] == "Bearer"
    answer = requests.post(
        address,
        data=form | {"client_secret": "x"},
        headers={"Accept": "application/xml,application/json"},
        timeout=10,
    )
    assert answer.status_code == 400
    root = ElementTree.fromstring(answer.text)
    assert root.findtext("error_description") == "invalid client credentials"
    answer = requests.post(address, data=form, timeout=10)
    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"


@pytest.mark.parametrize(
    ("asked", "accept", "chosen"),
    [
        ("", "", "json"),
        ("", "*/*", "json"),
        ("", "application/xml,application/json,application/html,*/*", "xml"),
        ("", "text/html, application/x-www-form-urlencoded;q=0.5", "urlencoded"),
        ("json", "application/xml", "json"),
        ("XML", "", "xml"),
        ("yaml", "image/png", "json"),
    ],
)
def test_the_format_before_the_accept_header(asked: str, accept: str, chosen: str) -> None:
    assert answer_format(asked, accept) == chosen


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(st.sampled_from("abcde"), st.none() | st.booleans() | _TEXTS))
def test_any_text_is_well_formed_xml(body: dict[str, object]) -> None:
    root = ElementTree.fromstring(as_xml("user", {**body, "in": body}))
    for name, value in body.items():
        found = root.find(name)
        assert found is not None
        if isinstance(value, bool):
            assert found.text == ("true" if value else "false")
        elif isinstance(value, str) and value.isprintable():
            assert (found.text or "") == value
