"""The web server flow: consent, codes, callbacks, and what nobody may do with them."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.local_org.oauth2.authorization_codes import verifier_fits
from salesforce_pipelines.local_org.oauth2.callbacks import is_callback, is_registered
from salesforce_pipelines_tests.local_org.conftest import api_of, unique
from salesforce_pipelines_tests.local_org.serving_in_thread import ServedOrg
from salesforce_pipelines_tests.local_org.web_login import (
    CALLBACK,
    CHALLENGE,
    PKCE,
    VERIFIER,
    Browser,
    exchanged,
    new_user,
    people_of,
    refused,
    returned,
    status_of,
)

EXPIRED = refused("invalid_grant", "expired authorization code")
INVALID = refused("invalid_grant", "invalid authorization code")


@pytest.fixture
def browser(served: ServedOrg) -> Iterator[Browser]:
    with requests.Session() as session:
        yield Browser(served, session)


def test_a_person_allows_and_the_code_gives_tokens(served: ServedOrg, browser: Browser) -> None:
    page = browser.page(scope="api refresh_token", **PKCE)
    assert "Manage user data via APIs" in page
    answer = browser.decided(page, user=people_of(page)["System Administrator"])
    told = returned(answer)
    assert told.pop("state") == "a state"
    status, granted = exchanged(served, told.pop("code"), code_verifier=VERIFIER)
    assert (status, told) == (200, {})
    assert re.fullmatch(r"00D\w{12}![\w.]{96}", granted["access_token"])
    assert granted["refresh_token"].startswith("5Aep861")
    assert granted["scope"] == "api refresh_token"
    assert granted["id"].endswith(f"/{served.org.store.admin_id}")
    assert granted["issued_at"] == str(int(served.clock.now.timestamp() * 1000))
    assert "expires_in" not in granted
    assert status_of(served, granted["access_token"]) == 200


def test_without_a_scope_for_it_there_is_no_refresh_token(
    served: ServedOrg, browser: Browser
) -> None:
    _, granted = exchanged(served, browser.code(scope="api id"))
    assert granted["scope"] == "api id"
    assert "refresh_token" not in granted
    _, granted = exchanged(served, browser.code(scope="api offline_access"))
    assert granted["scope"] == "api refresh_token"
    assert "refresh_token" in granted
    _, granted = exchanged(served, browser.code())
    assert granted["scope"] == "api web full id refresh_token"


def test_a_person_denies(browser: Browser) -> None:
    answer = browser.decided(browser.page(), "deny")
    query = "error=access_denied&error_description=end-user+denied+authorization&state=a+state"
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"{CALLBACK}&{query}"


def test_nothing_is_said_about_a_state_that_was_not_sent(browser: Browser) -> None:
    request = {
        "response_type": "code",
        "client_id": browser.org.client_id,
        "redirect_uri": "http://[::1]/",
    }
    page = browser.session.get(browser.address, params=request, timeout=10).text
    answer = browser.decided(page, user=people_of(page)["Integration User"])
    assert re.fullmatch(r"http://\[::1\]/\?code=aPrx[\w%-]+", answer.headers["Location"])


def test_an_authorization_request_may_be_posted(served: ServedOrg, browser: Browser) -> None:
    request = {
        "response_type": "code",
        "client_id": served.client_id,
        "redirect_uri": CALLBACK,
    }
    answer = browser.session.post(browser.address, data=request, timeout=10)
    told = returned(browser.decided(answer.text, user=served.org.store.admin_id))
    assert exchanged(served, told["code"])[0] == 200


def test_a_code_works_once(served: ServedOrg, browser: Browser) -> None:
    code = browser.code()
    assert exchanged(served, code)[0] == 200
    assert exchanged(served, code) == EXPIRED
    assert exchanged(served, "aPrxNoCode==") == INVALID


def test_two_who_use_one_code(served: ServedOrg, browser: Browser) -> None:
    code = browser.code()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: exchanged(served, code), range(8)))
    assert sorted(status for status, _ in answers) == [200] + [400] * 7
    assert answers.count(EXPIRED) == 7


def test_a_code_lives_for_a_while(served: ServedOrg, browser: Browser) -> None:
    code, late = browser.code(), browser.code()
    served.clock.forward(15 * 60)
    assert exchanged(served, code)[0] == 200
    served.clock.forward(1)
    assert exchanged(served, late) == EXPIRED
    served.change(code_seconds=5)
    late = browser.code()
    served.clock.forward(6)
    assert exchanged(served, late) == EXPIRED


def test_a_code_is_for_its_callback_and_its_verifier(served: ServedOrg, browser: Browser) -> None:
    code = browser.code(**PKCE)
    mismatch = refused("redirect_uri_mismatch", "redirect_uri must match configuration")
    assert exchanged(
        served, code, redirect_uri="http://localhost:1717/", code_verifier=VERIFIER
    ) == (mismatch)
    wrong = refused("invalid_grant", "invalid code verifier")
    for verifier in ("-", "x" * 43, CHALLENGE, VERIFIER + "~"):
        assert exchanged(served, code, code_verifier=verifier) == wrong
    assert exchanged(served, code, redirect_uri="-") == refused(
        "invalid_request", "missing required parameter: redirect_uri"
    )
    assert exchanged(served, code, code_verifier=VERIFIER)[0] == 200
    # A verifier where no challenge was made is somebody else's.
    assert exchanged(served, browser.code(), code_verifier=VERIFIER) == wrong


def test_a_code_needs_the_secret_unless_the_app_says_otherwise(
    served: ServedOrg, browser: Browser
) -> None:
    code = browser.code(**PKCE)
    without = {"client_secret": "-", "code_verifier": VERIFIER}
    denied = refused("invalid_client", "invalid client credentials")
    assert exchanged(served, code, **without) == denied
    assert exchanged(served, code, client_id="x") == refused(
        "invalid_client_id", "client identifier invalid"
    )
    served.change(require_secret=False)
    assert exchanged(served, code, client_secret="wrong", code_verifier=VERIFIER) == denied
    assert exchanged(served, code, **without)[0] == 200


def test_who_becomes_inactive_cannot_use_a_code(served: ServedOrg, browser: Browser) -> None:
    username = new_user(served, FirstName="Soon", LastName="Gone")
    page = browser.page(login_hint=username)
    person = people_of(page)["Soon Gone"]
    code = returned(browser.decided(page, user=person))["code"]
    client = api_of(served)
    with client.session:
        client.update("User", person, IsActive=False)
    assert exchanged(served, code) == refused("invalid_grant", "inactive user")
    page = browser.page(login_hint=username)
    assert "Soon Gone" not in people_of(page)
    answer = browser.decided(page, user=person)
    assert (answer.status_code, "Choose who logs in." in answer.text) == (400, True)


def test_pkce_can_be_required(served: ServedOrg, browser: Browser) -> None:
    served.change(require_pkce=True)
    assert returned(browser.asked()) == {
        "error": "invalid_request",
        "error_description": "missing required code challenge",
        "state": "a state",
    }
    # S256 is the only method, so it need not be named.
    assert (
        exchanged(served, browser.code(code_challenge=CHALLENGE), code_verifier=VERIFIER)[0] == 200
    )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"response_type": ""}, "invalid_request"),
        ({"scope": "api magic"}, "invalid_scope"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "plain"}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
        ({"immediate": "true"}, "immediate_unsuccessful"),
    ],
)
def test_refusals_that_the_client_is_told(
    browser: Browser, changes: dict[str, str], error: str
) -> None:
    told = returned(browser.asked(**changes))
    assert told.pop("error_description")
    assert told == {"error": error, "state": "a state"}


def test_the_user_agent_flow_is_refused_in_the_fragment(browser: Browser) -> None:
    location = browser.asked(response_type="token").headers["Location"]
    assert location == (
        f"{CALLBACK}#error=unsupported_response_type"
        "&error_description=response+type+not+supported&state=a+state"
    )


def test_a_scope_that_the_app_lacks_is_refused(served: ServedOrg, browser: Browser) -> None:
    served.change(scopes=["api", "refresh_token"])
    assert returned(browser.asked(scope="web"))["error"] == "invalid_scope"
    assert exchanged(served, browser.code(scope="api"))[1]["scope"] == "api"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "other"}, "invalid_client_id"),
        ({"redirect_uri": ""}, "redirect_uri_missing"),
        ({"redirect_uri": "https://example.com/callback"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://localhost@example.com/"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://localhost.example.com/"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://localhost:80@example.com/"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://localhost\\@example.com/"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://localhost/\r\nSet-Cookie: a=b"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "javascript:alert(1)//http://localhost/"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "//localhost/"}, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://localhost/#fragment"}, "redirect_uri_mismatch"),
        ({"redirect_uri": '"><script>alert(1)</script>'}, "redirect_uri_mismatch"),
    ],
)
def test_refusals_that_go_nowhere(browser: Browser, changes: dict[str, str], error: str) -> None:
    answer = browser.asked(**changes, response_type="nonsense", scope="nonsense")
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Content-Type"] == "text/html;charset=UTF-8"
    assert f"error={error}&amp;" in answer.text
    assert "<script" not in answer.text


def test_further_callbacks_can_be_registered(served: ServedOrg, browser: Browser) -> None:
    callbacks = ["https://app.example.com/callback", "myapp:/oauth"]
    served.change(callbacks=callbacks)
    for callback in callbacks:
        page = browser.page(redirect_uri=callback)
        answer = browser.decided(page, user=served.org.store.admin_id)
        told = returned(answer, callback)
        assert exchanged(served, told["code"], redirect_uri=callback)[0] == 200
    assert browser.asked(redirect_uri=f"{callbacks[0]}/").status_code == 400
    page = browser.page(redirect_uri=callbacks[0])
    served.change(callbacks=[])
    answer = browser.decided(page, user=served.org.store.admin_id)
    assert (answer.status_code, "Location" in answer.headers) == (400, False)


def test_another_site_cannot_decide(served: ServedOrg, browser: Browser) -> None:
    page = browser.page()
    admin = served.org.store.admin_id
    with requests.Session() as session:
        victim = Browser(served, session)
        # The victim's browser has no page open, or has one of its own.
        for _ in range(2):
            answer = victim.decided(page, user=admin)
            assert (answer.status_code, "Location" in answer.headers) == (400, False)
            victim.page()
    # The attempt did not use up the ticket; the decision does.
    assert browser.decided(page, user=admin).status_code == 302
    assert browser.decided(page, user=admin).status_code == 400
    old = browser.page()
    served.clock.forward(3601)
    assert browser.decided(old, user=admin).status_code == 400


def test_two_tabs_of_one_browser(served: ServedOrg, browser: Browser) -> None:
    first, second = browser.page(state="1"), browser.page(state="2")
    admin = served.org.store.admin_id
    assert returned(browser.decided(second, user=admin))["state"] == "2"
    assert returned(browser.decided(first, user=admin))["state"] == "1"


def test_the_page_cannot_be_framed_and_runs_no_script(browser: Browser) -> None:
    answer = browser.asked()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "no-store" in answer.headers["Cache-Control"]
    assert "http" not in re.sub(r"http://localhost:1717", "", answer.text)


class _Tags(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_are_texts_and_not_html(served: ServedOrg, browser: Browser) -> None:
    name = "<img src=x onerror=alert(1)>\"'&{{7*7}}"
    username = new_user(served, FirstName="Zed", LastName=name)
    page = _Tags(browser.page(login_hint=username))
    assert f"Zed {name}" in page.text
    assert {tag for tag, _ in page.tags}.isdisjoint({"img", "script", "link", "iframe"})
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]


def test_a_login_hint_chooses_the_person(served: ServedOrg, browser: Browser) -> None:
    username = new_user(served, FirstName="Hinted", LastName=unique("Person"))

    def checked(**changes: str) -> list[str | None]:
        tags = _Tags(browser.page(**changes)).tags
        return [attributes["value"] for _, attributes in tags if "checked" in attributes]

    assert checked() == []
    assert checked(login_hint="nobody@example.com") == []
    (chosen,) = checked(login_hint=username.upper(), prompt="login consent")
    client = api_of(served)
    with client.session:
        rows = client.records(f"SELECT Id FROM User WHERE Username = '{username}'")
    assert rows == [{"Id": chosen}]


def test_a_decision_without_a_person_asks_again(served: ServedOrg, browser: Browser) -> None:
    for form in ({}, {"user": "005000000000000AAA"}, {"user": "\0'\""}, {"username": "nobody"}):
        answer = browser.decided(browser.page(), **form)
        assert (answer.status_code, "Choose who logs in." in answer.text) == (400, True)
        assert browser.decided(answer.text, user=served.org.store.admin_id).status_code == 302


def test_someone_who_is_not_listed_gives_a_username(
    served: ServedOrg, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salesforce_pipelines.local_org.oauth2.authorize.MOST_LISTED_PEOPLE", 1)
    page = browser.page()
    assert len(people_of(page)) == 1
    answer = browser.decided(page, username=" ADMIN@local-org.example ")
    _, granted = exchanged(served, returned(answer)["code"])
    assert granted["id"].endswith(served.org.store.admin_id)


_WORDS = ("localhost", "127.0.0.1", "[::1]", "example.com", "%2f", "80", "user", "//")
_PARTS = (*_WORDS, *"@:/\\?#.é\t\n\0 ")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@given(
    st.tuples(
        st.sampled_from(["http:", "https:", "", "HTTP:"]),
        st.sampled_from(["//", "/", "\\\\", ""]),
        st.lists(
            st.sampled_from(_PARTS),
            max_size=7,
        ).map("".join),
    ).map("".join)
)
def test_what_is_registered_by_default_leads_to_this_machine(uri: str) -> None:
    if is_registered(uri, ()):
        parts = urlsplit(uri)
        assert (parts.scheme, parts.hostname in LOOPBACK, parts.username) == ("http", True, None)
        assert not parts.fragment
        assert uri.isascii()
        assert uri.isprintable()
        assert not set(uri) & set(' \\#"<>')


@given(
    st.sampled_from((*LOOPBACK[:2], "[::1]")),
    st.none() | st.integers(0, 65535),
    st.sampled_from(["", "/", "/a/b?c=d%20e", "?x"]),
)
def test_every_port_and_path_of_this_machine_is_registered(
    host: str, port: int | None, path: str
) -> None:
    uri = f"http://{host}{'' if port is None else f':{port}'}{path}"
    assert is_registered(uri, ())
    assert is_callback(uri)


@pytest.mark.parametrize(
    ("uri", "can_be"),
    [
        ("https://app.example.com", True),
        ("com.example.app:/callback", True),
        ("sfdc://oauth/done", True),
        ("/callback", False),
        ("https://example.com/#a", False),
        ("https://user@example.com/", False),
        ("https:example.com", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("https://exa mple.com/", False),
        ("", False),
    ],
)
def test_what_can_be_registered(uri: str, can_be: bool) -> None:
    assert is_callback(uri) is can_be


@given(st.text(max_size=140), st.text(max_size=50))
def test_a_verifier_fits_its_own_challenge_only(verifier: str, challenge: str) -> None:
    assert verifier_fits(CHALLENGE, verifier) is (verifier == VERIFIER)
    assert not verifier_fits(challenge, VERIFIER)
    assert verifier_fits(CHALLENGE, VERIFIER)
