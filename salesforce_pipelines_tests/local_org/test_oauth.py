import re
from typing import Any

import pytest
import requests

from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, token_of


def ask(org: RunningOrg, auth: tuple[str, str] | None = None, **form: str) -> tuple[int, Any]:
    answer = requests.post(f"{org.url}/services/oauth2/token", data=form, auth=auth, timeout=10)
    return answer.status_code, answer.json()


def test_client_credentials_by_form_or_by_basic(org: RunningOrg) -> None:
    by_basic = token_of(org)
    status, by_form = ask(
        org,
        grant_type="client_credentials",
        client_id=org.client_id,
        client_secret=org.client_secret,
    )
    assert status == 200
    for granted in (by_basic, by_form):
        assert re.fullmatch(r"00D\w{12}![\w.]{96}", granted["access_token"])
        assert granted["instance_url"] == org.url
        assert granted["token_type"] == "Bearer"
        assert granted["issued_at"].isdecimal()
        assert len(granted["issued_at"]) == 13
        assert "expires_in" not in granted
        assert "refresh_token" not in granted


@pytest.mark.parametrize(
    ("form", "error", "description"),
    [
        (
            {"client_id": "x", "client_secret": "y"},
            "invalid_client_id",
            "client identifier invalid",
        ),
        ({"client_secret": "y"}, "invalid_client", "invalid client credentials"),
        ({"grant_type": "magic"}, "unsupported_grant_type", "grant type not supported"),
        ({"grant_type": ""}, "invalid_request", "must specify grant_type"),
        (
            {"grant_type": "refresh_token", "refresh_token": "gone"},
            "invalid_grant",
            "expired access/refresh token",
        ),
    ],
)
def test_refusals_are_an_object(
    org: RunningOrg, form: dict[str, str], error: str, description: str
) -> None:
    known: dict[str, Any] = {
        "grant_type": "client_credentials",
        "client_id": org.client_id,
        "client_secret": org.client_secret,
    }
    status, body = ask(org, **(known | form))
    assert (status, body) == (400, {"error": error, "error_description": description})


def test_a_bad_token_is_refused_without_being_counted(org: RunningOrg) -> None:
    for headers in ({}, {"Authorization": "Bearer 00Dx0000000BV7z!AR8"}):
        answer = requests.get(f"{org.url}/services/data/v62.0/limits", headers=headers, timeout=10)
        assert answer.status_code == 401
        assert answer.json() == [
            {"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}
        ]
        assert "Sforce-Limit-Info" not in answer.headers


def test_a_header_of_another_kind_is_refused(org: RunningOrg) -> None:
    answer = requests.get(f"{org.url}/services/data/v62.0/limits", auth=("a", "b"), timeout=10)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_AUTH_HEADER")


def test_a_revoked_token_is_dead(org: RunningOrg) -> None:
    api = api_of(org)
    with api.session:
        token = token_of(org)["access_token"]
        api.session.headers["Authorization"] = f"Bearer {token}"
        api.get("limits")
        revoke = f"{org.url}/services/oauth2/revoke"
        answer = requests.post(revoke, data={"token": token}, timeout=10)
        assert (answer.status_code, answer.content) == (200, b"")
        assert api.get("limits", status=401)[0]["errorCode"] == "INVALID_SESSION_ID"
        again = requests.post(revoke, data={"token": token}, timeout=10)
        assert (again.status_code, again.json()["error"]) == (400, "invalid_token")


def test_who_am_i(org: RunningOrg, api: Api) -> None:
    info = api.session.get(f"{org.url}/services/oauth2/userinfo", timeout=10).json()
    assert info["name"] == "Integration User"
    assert len(info["user_id"]) == len(info["organization_id"]) == 18
    root = api.get("")
    identity = api.session.get(root["identity"], timeout=10).json()
    assert identity["id"] == root["identity"] == info["sub"]
    assert "{version}" in identity["urls"]["rest"]
