"""The pages in a browser: somebody watches a Contact while a program writes it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests import test_ui
from salesforce_pipelines_tests.local_org.conftest import Api, unique

browser = test_ui.browser


@pytest.fixture
def page(browser: Browser, org: RunningOrg) -> Iterator[Page]:
    """A page on which nothing is refused or fails."""
    complaints: list[str] = []
    page = browser.new_page(base_url=org.url)
    page.on("console", lambda message: _note(message, complaints))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert complaints == []


def _note(message: ConsoleMessage, complaints: list[str]) -> None:
    if message.type in ("error", "warning"):
        complaints.append(message.text)


@pytest.mark.slow
@pytest.mark.browser
def test_a_person_sees_a_link_arrive_and_changes_the_record(page: Page, api: Api) -> None:
    link = f"https://refer.example.com/{unique()}"
    record_id = api.create("Contact", FirstName="Ada", LastName=unique("Watched"))
    page.goto(f"/{record_id}")
    page.wait_for_url(f"**/lightning/r/Contact/{record_id}/view")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Ada")
    expect(page.get_by_role("link", name=link)).to_have_count(0)

    page.get_by_label("Auto-refresh").check()
    api.update("Contact", record_id, Referral_Link__c=link)
    arrived = page.locator("#Referral_Link__c")
    expect(arrived.get_by_role("link", name=link)).to_be_visible(timeout=10_000)
    expect(arrived).to_contain_text("by Integration User")
    newest = page.locator(".history li").first
    expect(newest).to_contain_text("Referral Link")
    expect(newest.get_by_role("link", name=link)).to_be_visible()

    field = page.locator("#LastName")
    field.hover()
    field.get_by_role("link", name="Edit Last Name").click()
    page.get_by_role("textbox", name="Last Name").fill('<b onclick="x()">Meanwhile</b>')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text('Ada <b onclick="x()">Meanwhile</b>')
    expect(page.locator(".history li").first).to_contain_text("System Administrator through Page")
    assert "Meanwhile" in api.get(f"sobjects/Contact/{record_id}")["LastName"]
