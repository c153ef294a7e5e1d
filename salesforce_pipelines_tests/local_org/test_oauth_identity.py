"""The identity URL and userinfo."""

from typing import Any
from xml.etree import ElementTree

import pytest
import requests

from salesforce_pipelines_tests.local_org.conftest import token_of
from salesforce_pipelines_tests.local_org.serving_in_thread import ServedOrg
from salesforce_pipelines_tests.local_org.web_login import new_user, post_token


def get(url: str, token: str = "", **params: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(url, headers=headers, params=params, timeout=10)


def known(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_every_key_of_an_identity(served: ServedOrg) -> None:
    granted = token_of(served)
    answer = get(granted["id"], granted["access_token"], format="json")
    body = known(answer)
    host, org_id = served.url, served.org.store.org_id
    user_id = served.org.store.integration_user_id
    urls = body.pop("urls")
    modified = body.pop("last_modified_date")
    assert modified.endswith(".000+0000")
    assert body == {
        "id": granted["id"],
        "asserted_user": True,
        "user_id": user_id,
        "organization_id": org_id,
        "username": "integration@local-org.example",
        "nick_name": "integration",
        "display_name": "Integration User",
        "email": "integration@local-org.example",
        "email_verified": True,
        "first_name": "Integration",
        "last_name": "User",
        "timezone": "UTC",
        "photos": {
            "picture": f"{host}/profilephoto/005/F",
            "thumbnail": f"{host}/profilephoto/005/T",
        },
        "addr_street": None,
        "addr_city": None,
        "addr_state": None,
        "addr_country": None,
        "addr_zip": None,
        "mobile_phone": None,
        "mobile_phone_verified": False,
        "is_lightning_login_user": False,
        "status": {"created_date": None, "body": None},
        "active": True,
        "user_type": "STANDARD",
        "language": "en_US",
        "locale": "en_US",
        "utcOffset": 0,
        "is_app_installed": True,
    }
    assert urls == {
        "enterprise": f"{host}/services/Soap/c/{{version}}/{org_id}",
        "metadata": f"{host}/services/Soap/m/{{version}}/{org_id}",
        "partner": f"{host}/services/Soap/u/{{version}}/{org_id}",
        "rest": f"{host}/services/data/v{{version}}/",
        "sobjects": f"{host}/services/data/v{{version}}/sobjects/",
        "search": f"{host}/services/data/v{{version}}/search/",
        "query": f"{host}/services/data/v{{version}}/query/",
        "recent": f"{host}/services/data/v{{version}}/recent/",
        "tooling_soap": f"{host}/services/Soap/T/{{version}}/{org_id}",
        "tooling_rest": f"{host}/services/data/v{{version}}/tooling/",
        "profile": f"{host}/{user_id}",
        "feeds": f"{host}/services/data/v{{version}}/chatter/feeds",
        "groups": f"{host}/services/data/v{{version}}/chatter/groups",
        "users": f"{host}/services/data/v{{version}}/chatter/users",
        "feed_items": f"{host}/services/data/v{{version}}/chatter/feed-items",
        "feed_elements": f"{host}/services/data/v{{version}}/chatter/feed-elements",
        "custom_domain": host,
    }
    assert "Sforce-Limit-Info" not in answer.headers


def test_an_identity_can_name_the_version(served: ServedOrg) -> None:
    granted = token_of(served)
    rest = f"{served.url}/services/data"
    for version, path in (("latest", "/v67.0/"), ("60.0", "/v60.0/"), ("x", "/v{version}/")):
        body = known(get(granted["id"], granted["access_token"], version=version))
        assert body["urls"]["rest"] == f"{rest}{path}"


def test_an_identity_in_xml_with_the_token_in_the_address(served: ServedOrg) -> None:
    granted = token_of(served)
    answer = get(granted["id"], oauth_token=granted["access_token"], format="xml")
    assert answer.headers["Content-Type"] == "application/xml;charset=UTF-8"
    root = ElementTree.fromstring(answer.text)
    assert root.tag == "user"
    assert root.findtext("asserted_user") == "true"
    assert root.findtext("urls/query") == f"{served.url}/services/data/v{{version}}/query/"
    nil = root.find("mobile_phone")
    assert nil is not None
    assert nil.get("{http://www.w3.org/2001/XMLSchema-instance}nil") == "true"


def test_the_identity_of_somebody_else(served: ServedOrg) -> None:
    new_user(served, FirstName="Else", LastName="Body")
    granted = token_of(served)
    token, root = granted["access_token"], granted["id"].rpartition("/")[0]
    admin = served.org.store.admin_id
    body = known(get(f"{root}/{admin}", token))
    assert (body["asserted_user"], body["username"]) == (False, "admin@local-org.example")
    _, narrow = post_token(served, grant_type="client_credentials", scope="id")
    assert known(get(granted["id"], narrow["access_token"]))["asserted_user"] is True
    answer = get(f"{root}/{admin}", narrow["access_token"])
    assert (answer.status_code, answer.text) == (404, "No_Access")


def test_a_short_id_is_the_same_user(served: ServedOrg) -> None:
    granted = token_of(served)
    short = "/".join(p[:15] if p.startswith("00") else p for p in granted["id"].split("/"))
    assert short != granted["id"]
    assert known(get(short, granted["access_token"]))["id"] == granted["id"]


@pytest.mark.parametrize(
    ("path", "token", "refusal"),
    [
        ("{org}/{user}", "", (403, "Missing_OAuth_Token")),
        ("{org}/{user}", "00Dx0000000BV7z!AR8", (403, "Bad_OAuth_Token")),
        ("00D000000000062EAA/{user}", "{token}", (403, "Wrong_Org")),
        ("{org}/005000000000000AAA", "{token}", (404, "Bad_Id")),
        ("{org}/'", "{token}", (404, "Bad_Id")),
    ],
)
def test_refusals_in_one_word(
    served: ServedOrg, path: str, token: str, refusal: tuple[int, str]
) -> None:
    store = served.org.store
    path = path.format(org=store.org_id, user=store.integration_user_id)
    token = token.replace("{token}", token_of(served)["access_token"])
    answer = get(f"{served.url}/id/{path}", token)
    assert (answer.status_code, answer.text) == refusal
    assert answer.headers["Content-Type"] == "text/plain;charset=UTF-8"


def test_userinfo(served: ServedOrg) -> None:
    granted = token_of(served)
    address = f"{served.url}/services/oauth2/userinfo"
    body = known(get(address, granted["access_token"]))
    identity = known(get(granted["id"], granted["access_token"]))
    assert body["sub"] == granted["id"]
    assert body["preferred_username"] == "integration@local-org.example"
    assert (body["name"], body["given_name"], body["family_name"]) == (
        "Integration User",
        "Integration",
        "User",
    )
    assert body["zoneinfo"] == "UTC"
    for name in ("user_id", "organization_id", "email", "urls", "photos", "active", "locale"):
        assert body[name] == identity[name]
    assert body["picture"] == identity["photos"]["picture"]
    posted = requests.post(
        address, headers={"Authorization": f"Bearer {granted['access_token']}"}, timeout=10
    )
    assert known(posted) == body
    served.clock.forward(7201)
    answer = get(address, granted["access_token"])
    assert (answer.status_code, answer.text) == (403, "Bad_OAuth_Token")
