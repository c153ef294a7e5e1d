"""Logins of people and of servers as documented."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
import requests

from salesforce_pipelines_tests.local_org.conformance.documented import (
    CLIENTS,
    GET,
    JSON_TYPE,
    OAUTH,
    PATCH,
    POST,
    RESTFORCE,
    story,
)
from salesforce_pipelines_tests.local_org.conformance.documented_setup import Arranged
from salesforce_pipelines_tests.local_org.conformance.exchanges import (
    ANYTHING,
    Exchange,
    Saved,
)
from salesforce_pipelines_tests.local_org.conftest import Api
from salesforce_pipelines_tests.local_org.test_oauth_jwt import (
    KEY,
    OTHER_KEY,
    certificate_of,
)
from salesforce_pipelines_tests.local_org.web_login import (
    CALLBACK,
    PKCE,
    VERIFIER,
    Browser,
)

TOKEN = "/services/oauth2/token"
CLIENT = {"client_id": "local-org", "client_secret": "local-org-secret"}
GRANTED = {
    "access_token": Saved("token", re.compile(r"00D[0-9A-Za-z]{12}![\w.]{90,}")),
    "signature": re.compile(r"[A-Za-z0-9+/]{43}="),
    "scope": str,
    "instance_url": "$host",
    "id": re.compile(r"http://.+/id/00D\w{15}/005\w{15}"),
    "token_type": "Bearer",
    "issued_at": re.compile(r"\d{13}"),
}
WITH_REFRESH = GRANTED | {"refresh_token": Saved("refresh", re.compile(r"5Aep861\S+"))}


@dataclass(frozen=True)
class OwnClient:
    """The org's own client."""

    url: str
    client_id: str = CLIENT["client_id"]
    client_secret: str = CLIENT["client_secret"]


def _code(api: Api, **changes: str) -> str:
    with requests.Session() as session:
        return Browser(OwnClient(api.url), session).code(**changes)


def _assertion(api: Api, key: Any = KEY, **changes: Any) -> str:
    claims = {
        "iss": CLIENT["client_id"],
        "sub": "admin@local-org.example",
        "aud": "https://login.salesforce.com",
        "exp": str(int(datetime.now(UTC).timestamp()) + 170),
    }
    return jwt.encode(claims | changes, key, "RS256")


LOGIN_MAKERS = {
    "code": lambda api, known: _code(api),
    "pkce_code": lambda api, known: _code(api, scope="api refresh_token", **PKCE),
    # As jsforce asks: without the method.
    "bare_pkce_code": lambda api, known: _code(api, code_challenge=PKCE["code_challenge"]),
    "api_code": lambda api, known: _code(api, scope="api"),
    "certificate": lambda api, known: certificate_of(KEY),
    "assertion": lambda api, known: _assertion(api),
    # As the sf CLI asks: milliseconds, and the host with a slash.
    "sf_assertion": lambda api, known: _assertion(
        api, aud=f"{api.url}/", exp=int(datetime.now(UTC).timestamp() * 1000) + 170_000
    ),
    "sandbox_assertion": lambda api, known: _assertion(api, aud="https://test.salesforce.com"),
    "foreign_assertion": lambda api, known: _assertion(api, aud="https://example.com"),
    "stranger_assertion": lambda api, known: _assertion(api, sub="nobody@example.com"),
    "other_app_assertion": lambda api, known: _assertion(api, iss="nothing"),
    "forged_assertion": lambda api, known: _assertion(api, key=OTHER_KEY),
}


def granted(answer: Any, form: dict[str, str]) -> Exchange:
    """A login that succeeds."""
    headers = {"Content-Type": JSON_TYPE, "Sforce-Limit-Info": None}
    return POST(TOKEN, 200, answer, form=form, session=False, headers=headers)


def denied(code: str, description: Any, form: dict[str, str]) -> Exchange:
    """A login that is refused."""
    answer = {"error": code, "error_description": description}
    return POST(TOKEN, 400, answer, form=form, session=False)


def by_code(code: str, **more: str) -> dict[str, str]:
    return CLIENT | {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        **more,
    }


def by_refresh(token: str, **more: str) -> dict[str, str]:
    return CLIENT | {"grant_type": "refresh_token", "refresh_token": token, **more}


def by_jwt(assertion: str) -> dict[str, str]:
    return {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": assertion,
    }


WITH_TOKEN = {"Authorization": "Bearer $token"}

LOGIN_STORIES = [
    story(
        "a code with its verifier, a refresh, and the end of both",
        f"{OAUTH}, {RESTFORCE}",
        granted(
            WITH_REFRESH | {"scope": "api refresh_token"},
            by_code("$pkce_code", code_verifier=VERIFIER),
        ),
        GET("limits", 200, ANYTHING, sends=WITH_TOKEN, session=False),
        granted(GRANTED | {"scope": "api refresh_token"}, by_refresh("$refresh")),
        GET("limits", 200, ANYTHING, sends=WITH_TOKEN, session=False),
        POST("/services/oauth2/revoke", 200, form={"token": "$refresh"}, session=False),
        GET(
            "limits",
            401,
            [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}],
            sends=WITH_TOKEN,
            session=False,
        ),
        denied("invalid_grant", "expired access/refresh token", by_refresh("$refresh")),
    ),
    story(
        "a code is of one use",
        OAUTH,
        granted(WITH_REFRESH, by_code("$code")),
        denied("invalid_grant", "expired authorization code", by_code("$code")),
        denied("invalid_grant", "invalid authorization code", by_code("aPrxNothing")),
    ),
    story(
        "a code without its verifier",
        OAUTH,
        denied("invalid_grant", str, by_code("$pkce_code")),
    ),
    story(
        "a challenge without a method",
        CLIENTS,
        granted(WITH_REFRESH, by_code("$bare_pkce_code", code_verifier=VERIFIER)),
    ),
    story(
        "a login without a scope for refreshing",
        OAUTH,
        granted(GRANTED | {"scope": "api"}, by_code("$api_code")),
    ),
    story(
        "a code and another address",
        OAUTH,
        denied(
            "redirect_uri_mismatch",
            "redirect_uri must match configuration",
            by_code("$code", redirect_uri="http://localhost:1717/other"),
        ),
    ),
    story(
        "a refresh by others, and of nothing",
        f"{OAUTH}, {RESTFORCE}",
        granted(WITH_REFRESH, by_code("$code")),
        denied(
            "invalid_client_id",
            "client identifier invalid",
            by_refresh("$refresh", client_id="nothing"),
        ),
        denied(
            "invalid_client",
            "invalid client credentials",
            by_refresh("$refresh", client_secret="wrong"),
        ),
        denied("invalid_grant", "expired access/refresh token", by_refresh("nothing")),
    ),
]

ROTATION_STORY = Arranged(
    story(
        "refresh tokens that rotate",
        OAUTH,
        granted(WITH_REFRESH | {"refresh_token": Saved("first")}, by_code("$code")),
        granted(WITH_REFRESH, by_refresh("$first")),
        denied("invalid_grant", "expired access/refresh token", by_refresh("$first")),
        denied("invalid_grant", "expired access/refresh token", by_refresh("$refresh")),
        GET("limits", 401, ANYTHING, sends=WITH_TOKEN, session=False),
    ),
    PATCH("/local-org/app", 200, ANYTHING, body={"rotate_refresh_tokens": True}),
    PATCH("/local-org/app", 200, ANYTHING, body={"rotate_refresh_tokens": False}),
)
JWT_STORY = Arranged(
    story(
        "assertions of servers",
        f"{OAUTH}, {CLIENTS}",
        *(
            granted(GRANTED, by_jwt(assertion))
            for assertion in ("$assertion", "$sandbox_assertion", "$sf_assertion")
        ),
        GET("limits", 200, ANYTHING, sends=WITH_TOKEN, session=False),
        denied("invalid_grant", "Audience validation failed", by_jwt("$foreign_assertion")),
        denied("invalid_grant", "invalid assertion", by_jwt("$forged_assertion")),
        denied("invalid_grant", "invalid assertion", by_jwt("nothing")),
        denied(
            "invalid_grant", "user hasn't approved this consumer", by_jwt("$stranger_assertion")
        ),
        denied("invalid_client_id", "client identifier invalid", by_jwt("$other_app_assertion")),
    ),
    PATCH("/local-org/app", 200, ANYTHING, body={"certificates": ["$certificate"]}),
    PATCH("/local-org/app", 200, ANYTHING, body={"certificates": []}),
)
