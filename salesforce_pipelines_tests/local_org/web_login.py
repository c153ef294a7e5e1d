"""The web server flow as a web application and a browser without a screen go through it."""

import base64
import hashlib
import html
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

from salesforce_pipelines_tests.local_org.conftest import Reachable, api_of, unique

CALLBACK = "http://localhost:1717/OauthRedirect?from=test"
VERIFIER = "a.verifier_of-sufficient-length-0123456789-ABCDEF"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().strip("=")
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}


@dataclass
class Browser:
    """Somebody's browser at one org; close its `session`."""

    org: Reachable
    session: requests.Session

    @property
    def address(self) -> str:
        return f"{self.org.url}/services/oauth2/authorize"

    def asked(self, **changes: str) -> requests.Response:
        """The answer to an authorization request."""
        request = {
            "response_type": "code",
            "client_id": self.org.client_id,
            "redirect_uri": CALLBACK,
            "state": "a state",
        }
        return self.session.get(
            self.address, params=request | changes, allow_redirects=False, timeout=10
        )

    def page(self, **changes: str) -> str:
        """The consent page."""
        answer = self.asked(**changes)
        assert answer.status_code == 200, answer.text
        return answer.text

    def decided(self, page: str, decision: str = "allow", **form: str) -> requests.Response:
        """The answer to a decision on a consent page."""
        data = {"ticket": ticket_of(page), "decision": decision} | form
        return self.session.post(self.address, data=data, allow_redirects=False, timeout=10)

    def code(self, user: str = "Integration User", **changes: str) -> str:
        """The code of a login that a person allowed."""
        page = self.page(**changes)
        return returned(self.decided(page, user=people_of(page)[user]))["code"]


def new_user(org: Reachable, **values: object) -> str:
    """The username of a new User."""
    username = f"{unique('rep')}@example.com"
    client = api_of(org)
    with client.session:
        known = {
            "Username": username,
            "LastName": "Rep",
            "Email": "rep@example.com",
            "Alias": "rep",
            "ProfileId": "00e000000000001AAA",
            "TimeZoneSidKey": "America/Los_Angeles",
            "LocaleSidKey": "en_US",
            "EmailEncodingKey": "UTF-8",
            "LanguageLocaleKey": "en_US",
        }
        client.create("User", **(known | values))
    return username


def ticket_of(page: str) -> str:
    found = re.search(r'name="ticket" value="([^"]+)"', page)
    assert found
    return html.unescape(found[1])


def people_of(page: str) -> dict[str, str]:
    """The ids of the listed people by their names."""
    found = re.findall(r'name="user" value="(\w{18})".*?<b>(.*?)</b>', page, re.DOTALL)
    return {html.unescape(name): user_id for user_id, name in found}


def returned(answer: requests.Response, callback: str = CALLBACK) -> dict[str, str]:
    """What a redirect tells the client, beside what the callback itself says."""
    assert answer.status_code == 302, answer.text
    location = answer.headers["Location"]
    assert location.startswith(callback)
    told = dict(parse_qsl(urlsplit(location).query, keep_blank_values=True))
    for name, _ in parse_qsl(urlsplit(callback).query):
        told.pop(name)
    return told


def post_token(org: Reachable, **form: str) -> tuple[int, Any]:
    """The status and JSON of the token endpoint; the client names itself unless told not to."""
    known = {"client_id": org.client_id, "client_secret": org.client_secret}
    data = {name: value for name, value in (known | form).items() if value != "-"}
    answer = requests.post(f"{org.url}/services/oauth2/token", data=data, timeout=10)
    return answer.status_code, answer.json()


def exchanged(org: Reachable, code: str, **form: str) -> tuple[int, Any]:
    """The answer to the exchange of a code."""
    known = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
    return post_token(org, **(known | form))


def refreshed(org: Reachable, refresh_token: str, **form: str) -> tuple[int, Any]:
    """The answer to the use of a refresh token."""
    return post_token(org, grant_type="refresh_token", refresh_token=refresh_token, **form)


def refused(error: str, description: str) -> tuple[int, dict[str, str]]:
    """What the token endpoint answers when it refuses."""
    return 400, {"error": error, "error_description": description}


def status_of(org: Reachable, access_token: str) -> int:
    """The status of an API call with a token."""
    answer = requests.get(
        f"{org.url}/services/data/v62.0/limits",
        headers={"Authorization": f"Bearer {access_token}"},
        timeout=10,
    )
    return answer.status_code
