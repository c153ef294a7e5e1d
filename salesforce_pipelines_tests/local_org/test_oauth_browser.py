"""The consent page in a browser, from the authorization request to the callback."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, Playwright, expect, sync_playwright

from salesforce_pipelines_tests.local_org.serving_in_thread import ServedOrg
from salesforce_pipelines_tests.local_org.web_login import PKCE, VERIFIER, exchanged, new_user
from salesforce_pipelines_tests.test_ui import ARGUMENTS, NEEDED

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class _Client(BaseHTTPRequestHandler):
    """A web application that says thank you for whatever comes back."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(b"Thank you")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening() -> Iterator[str]:
    """The callback of an application that listens for the answer."""
    with HTTPServer(("127.0.0.1", 0), _Client) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/callback"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page; its last look is kept for whoever has to find out why a step failed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(playwright), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 900, "height": 900})
        yield page
        page.screenshot(path=tmp_path / "last.png")
        browser.close()


def _chromium(playwright: Playwright) -> str:
    own = Path(playwright.chromium.executable_path)
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), str(own) if own.exists() else None)
    if found is None:
        pytest.fail(NEEDED, pytrace=False)
    return found


def authorization(served: ServedOrg, callback: str, **changes: str) -> str:
    request = {
        "response_type": "code",
        "client_id": served.client_id,
        "redirect_uri": callback,
        "state": "42",
        **PKCE,
    }
    return f"{served.url}/services/oauth2/authorize?{urlencode(request | changes)}"


def answer_of(page: Page) -> dict[str, str]:
    expect(page.get_by_text("Thank you")).to_be_visible()
    return dict(parse_qsl(urlsplit(page.url).query))


def test_a_person_chooses_who_logs_in_and_allows(served: ServedOrg, page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    new_user(served, FirstName="Zoë", LastName='<b>Quote</b> "O\'Neill"')
    with listening() as callback:
        page.goto(authorization(served, callback))
        expect(page.get_by_role("heading", name="Allow access?")).to_be_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('main')).borderRadius") == (
            "16px"
        )
        expect(page.get_by_role("group", name="Log in as")).to_be_visible()
        # Nobody is chosen yet, so the browser itself asks for a choice.
        page.get_by_role("button", name="Allow").click()
        assert page.evaluate("document.querySelector('form').checkValidity()") is False
        expect(page.get_by_text('<b>Quote</b> "O\'Neill"')).to_be_visible()
        page.get_by_role("radio", name="System Administrator").check()
        page.get_by_role("button", name="Allow").click()
        told = answer_of(page)
        assert told["state"] == "42"
        status, granted = exchanged(
            served, told["code"], redirect_uri=callback, code_verifier=VERIFIER
        )
        assert (status, granted["id"].rpartition("/")[2]) == (200, served.org.store.admin_id)
    assert said == []


def test_a_person_denies_with_the_keyboard(served: ServedOrg, page: Page) -> None:
    with listening() as callback:
        page.goto(authorization(served, callback, login_hint="admin@local-org.example"))
        expect(page.get_by_role("radio", name="System Administrator")).to_be_checked()
        expect(page.get_by_role("radio", name="System Administrator")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Allow")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Deny")).to_be_focused()
        page.keyboard.press("Enter")
        assert answer_of(page) == {
            "error": "access_denied",
            "error_description": "end-user denied authorization",
            "state": "42",
        }


def test_another_site_cannot_post_a_decision(served: ServedOrg, page: Page) -> None:
    with listening() as callback:
        page.goto(authorization(served, callback))
        ticket = page.locator("input[name=ticket]").input_value()
        # The same machine under another name is another site.
        page.goto(callback.replace("127.0.0.1", "localhost"))
        page.set_content(
            f"""<form method="post" action="{served.url}/services/oauth2/authorize">
            <input name="ticket" value="{ticket}"><input name="decision" value="allow">
            <input name="user" value="{served.org.store.admin_id}"><button>Go</button></form>"""
        )
        page.get_by_role("button", name="Go").click()
        expect(page.get_by_role("alert")).to_contain_text("This page is no longer valid")
        assert page.url.startswith(served.url)


def test_an_address_that_is_not_registered_is_a_page(served: ServedOrg, page: Page) -> None:
    page.goto(authorization(served, "https://example.com/callback"))
    expect(page.get_by_role("heading", name="We can’t log you in")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("redirect_uri must match configuration")
    assert page.url.startswith(served.url)
