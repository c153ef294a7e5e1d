"""Pages over HTTP, read as a browser reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from salesforce_pipelines.local_org.org import Settings
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.local_org.web_pages.page_state import Counts, Tickets
from salesforce_pipelines.local_org.web_pages.page_values import ago, is_web_address, moment
from salesforce_pipelines.local_org.web_pages.pages import is_page, may_see_pages
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


@dataclass
class Reader:
    """Somebody who looks at pages and has no session."""

    url: str
    session: requests.Session

    def get(self, path: str, **options: object) -> requests.Response:
        return self.session.get(f"{self.url}{path}", timeout=10, **options)  # type: ignore[arg-type]

    def page(self, path: str, status: int = 200) -> html.HtmlElement:
        answer = self.get(path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "text/html;charset=UTF-8"
        return html.document_fromstring(answer.text)

    def record(self, record_id: str, status: int = 200) -> html.HtmlElement:
        return self.page(f"/{record_id}", status)


@pytest.fixture
def reader(org: RunningOrg) -> Iterator[Reader]:
    with requests.Session() as session:
        yield Reader(org.url, session)


def text(element: html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def field(page: html.HtmlElement, name: str) -> html.HtmlElement:
    """The value of a field on a record's page."""
    (found,) = page.xpath(f'//div[@id="{name}"]/dd')
    return found


def listed(page: html.HtmlElement) -> list[str]:
    """The names in a list."""
    return [text(cell) for cell in page.xpath("//tbody//th")]


def form_values(page: html.HtmlElement, kind: str) -> tuple[str, dict[str, str]]:
    (form,) = page.xpath(f'//form[@method="post"][contains(@action, "/{kind}")]')
    return form.action, dict(form.form_values())


# The org


def test_home_tells_what_the_org_is(api: Api, reader: Reader, org: RunningOrg) -> None:
    name = unique("Latest")
    api.create("Contact", LastName=name)
    page = reader.page("/")
    shown = text(page.body)
    assert org.url in shown
    assert text(page.xpath('//dt[.="Client id"]/following-sibling::dd')[0]) == "local-org"
    assert org.client_secret not in reader.get("/").text
    assert "of 100,000" in shown
    assert name in shown
    assert "/lightning/o/Contact/list" in page.xpath('//ul[@class="tiles"]//a/@href')
    assert "/services/data/v62.0/sobjects/…" in shown


def test_pages_are_no_api_calls_and_need_no_session(api: Api, reader: Reader) -> None:
    before = api.get("limits")["DailyApiRequests"]["Remaining"]
    for path in (
        "/",
        "/lightning/o/Contact/list",
        "/lightning/setup/AsyncApiJobStatus/home",
        "/lightning/setup/ApiCalls/home",
    ):
        assert "Sforce-Limit-Info" not in reader.get(path).headers
    assert api.get("limits")["DailyApiRequests"]["Remaining"] == before - 1


def test_calls_are_listed_without_ids_and_values(api: Api, reader: Reader) -> None:
    name = unique("Secret")
    record_id = api.create("Contact", LastName=name)
    api.get("query", q=f"SELECT Id FROM Contact WHERE LastName = '{name}'")
    api.get("query", status=400, q="SELECT Nope FROM Contact")
    page = reader.page("/lightning/setup/ApiCalls/home?api=REST&failed=1")
    rows = page.xpath("//tbody/tr")
    assert text(rows[0].xpath("td")[2]) == "GET /services/data/v62.0/query"
    assert text(rows[0].xpath("td")[3]) == "400"
    assert text(rows[0].xpath("td")[6]) == "Integration User"
    assert all(int(text(row.xpath("td")[3])) >= 400 for row in rows)
    everything = reader.get("/lightning/setup/ApiCalls/home").text
    assert name not in everything
    assert record_id not in everything


def test_jobs_are_listed_with_state_and_counts(api: Api, reader: Reader) -> None:
    api.create("Contact", LastName=unique())
    body = {"operation": "query", "query": "SELECT Id FROM Contact"}
    job = api.send("POST", "jobs/query", body, 200)
    done = api.finished("query", job["id"])
    page = reader.page(f"/lightning/setup/AsyncApiJobStatus/home?id={job['id']}")
    (row,) = page.xpath("//tbody/tr")
    cells = [text(cell) for cell in row]
    assert cells[:4] == [job["id"], "query", "Contact", "JobComplete"]
    assert cells[4] == f"{done['numberRecordsProcessed']:,}"
    assert "SELECT Id FROM Contact" in text(page.body)
    assert (
        listed(
            reader.page(
                "/lightning/setup/AsyncApiJobStatus/home?state=Aborted&kind=query&object=Nothing"
            )
        )
        == []
    )


# Records


@pytest.mark.parametrize("length", [15, 18])
def test_an_id_leads_to_the_record_as_in_a_real_org(api: Api, reader: Reader, length: int) -> None:
    record_id = api.create("Contact", LastName=unique())
    address = f"/lightning/r/Contact/{record_id}/view"
    for path in (f"/{record_id[:length]}", f"/lightning/r/{record_id[:length]}/view"):
        answer = reader.get(path, allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (302, address)
    assert reader.get(address.replace("Contact", "contact")).status_code == 200


def test_a_record_shows_fields_relatives_and_history(api: Api, reader: Reader) -> None:
    account = api.create("Account", Name="Parent Ltd")
    record_id = api.create("Contact", FirstName="Ada", LastName="Shown", AccountId=account)
    campaign = api.create("Campaign", Name="Spring")
    api.create("CampaignMember", CampaignId=campaign, ContactId=record_id)
    api.update("Contact", record_id, Referral_Link__c="https://refer.example.com/a?b=1&c=2")
    page = reader.record(record_id)

    assert text(page.xpath("//h1")[0]) == "Ada Shown"
    headings = [text(one) for one in page.xpath("//section/h2")]
    assert headings[:3] == ["Custom fields", "Details", "System"]
    (link,) = field(page, "Referral_Link__c").xpath('.//a[@class="out"]')
    assert link.get("href") == "https://refer.example.com/a?b=1&c=2"
    assert "noopener" in link.get("rel")
    assert "fresh" in page.xpath('//div[@id="Referral_Link__c"]')[0].get("class")
    assert field(page, "AccountId").xpath(".//a/@href")[0] == f"/{account}"
    assert field(page, "Phone").xpath("ancestor::details")
    assert "Campaign Members 1" in headings
    assert "Spring" in text(page.xpath("//table")[0])
    first = text(page.xpath('//ol[@class="history"]/li')[0])
    assert "Referral Link Referral_Link__c — → https://refer.example.com/a?b=1&c=2" in first
    assert "by Integration User through REST" in first

    of_account = reader.record(account)
    (children,) = [s for s in of_account.xpath("//section") if "Contacts 1" in text(s[0])]
    assert listed(children) == ["Ada Shown"]
    (more,) = children.xpath("h2/a/@href")
    assert listed(reader.page(more)) == ["Ada Shown"]


def test_hostile_values_stay_texts(api: Api, reader: Reader) -> None:
    record_id = api.create(
        "Contact",
        LastName=HOSTILE,
        FirstName="\u202egro",
        Website__c="javascript:alert(1)",
        LinkedIn_URL__c="https:\\\\evil.example.com",
        Description=f"{HOSTILE}\n{'x' * 20_000}",
        Title="ما اسمك",
    )
    api.update("Contact", record_id, LastName=f"{HOSTILE}2", Website__c="data:text/html,x")
    for path in (
        f"/{record_id}",
        f"/lightning/r/Contact/{record_id}/edit?field=LastName",
        "/lightning/o/Contact/list",
        f"/lightning/o/Contact/list?q={requests.utils.quote(HOSTILE)}",  # type: ignore[attr-defined]
        "/",
    ):
        page = reader.page(path)
        assert [s.get("src") for s in page.xpath("//script")] == ["/lightning/assets/pages.js"]
        assert not page.xpath("//img")
        assert not page.xpath('//*[@*[starts-with(name(), "on")]]')
        targets = page.xpath("//a/@href")
        assert all(target.startswith(("/", "#", "http://", "https://")) for target in targets)
    shown = reader.record(record_id)
    assert text(field(shown, "LastName")).startswith(f"{HOSTILE}2")
    assert not field(shown, "Website__c").xpath('.//a[@class="out"]')
    assert not field(shown, "LinkedIn_URL__c").xpath('.//a[@class="out"]')


def test_deleted_records_say_so(api: Api, reader: Reader) -> None:
    name = unique("Deleted")
    record_id = api.create("Contact", LastName=name)
    api.delete("Contact", record_id)
    page = reader.record(record_id)
    assert "This record lies in the recycle bin." in text(page.body)
    assert text(page.xpath('//ol[@class="history"]/li')[0]).startswith("Deleted")
    assert not page.xpath('//form[@method="post"]')
    assert listed(reader.page(f"/lightning/o/Contact/list?q={name}")) == []
    assert listed(reader.page(f"/lightning/o/Contact/list?q={name}&deleted=true")) == [name]
    assert name in listed(reader.page("/lightning/o/Contact/list?deleted=true"))


@pytest.mark.parametrize(
    "path",
    [
        "/003000000000000AAA",
        "/lightning/r/Contact/003000000000000AAA/view",
        "/lightning/r/Lead/003000000000000AAA/view",
        "/lightning/r/Contact/nobody/view",
        "/lightning/r/Nothing/003000000000000AAA/view",
        "/lightning/o/Nothing/list",
        "/lightning/o/Contact/list?after=x~y~z~a",
        "/lightning/o/Contact/list?view=nothing",
        "/lightning/anything",
        "/zzz000000000000AAA",
    ],
)
def test_what_is_not_there_is_a_friendly_page(reader: Reader, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text


def test_the_api_keeps_its_own_404(api: Api, reader: Reader) -> None:
    assert reader.get("/elsewhere").json()[0]["errorCode"] == "INVALID_SESSION_ID"
    answer = api.session.get(f"{api.url}/elsewhere", timeout=10)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (404, "NOT_FOUND")


# Lists


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """An org with generated records."""
    with running_org(tmp_path_factory.mktemp("full") / "home", contacts=260, leads=40) as running:
        yield running


@pytest.fixture(scope="module")
def full_api(full: RunningOrg) -> Iterator[Api]:
    client = api_of(full)
    with client.session:
        yield client


@pytest.fixture
def full_reader(full: RunningOrg) -> Iterator[Reader]:
    with requests.Session() as session:
        yield Reader(full.url, session)


@pytest.mark.parametrize(
    ("sort", "order"), [("modified", "SystemModstamp DESC"), ("created", "Id DESC")]
)
def test_pages_of_a_list_hold_every_record_once(
    full_api: Api, full_reader: Reader, sort: str, order: str
) -> None:
    found: list[str] = []
    address: str | None = f"/lightning/o/Contact/list?sort={sort}"
    while address:
        page = full_reader.page(address)
        addresses = page.xpath("//tbody//th/a/@href")
        assert 0 < len(addresses) <= 50
        found += [one.split("/")[-2] for one in addresses]
        address = next(iter(page.xpath('//a[@rel="next"]/@href')), None)
    rows = full_api.records(f"SELECT Id, SystemModstamp FROM Contact ORDER BY {order}")
    assert sorted(found) == sorted(row["Id"] for row in rows)
    if sort == "created":
        assert found == [row["Id"] for row in rows]
    else:
        stamps = {row["Id"]: row["SystemModstamp"] for row in rows}
        assert [stamps[one] for one in found] == [row["SystemModstamp"] for row in rows]


def test_a_list_view_filters_the_list(full_api: Api, full_reader: Reader) -> None:
    views = full_api.get("sobjects/Contact/listviews")["listviews"]
    view = next(v["id"] for v in views if v["developerName"] == "ContactsWithoutPhone")
    page = full_reader.page(f"/lightning/o/Contact/list?view={view}")
    wanted = full_api.records("SELECT Id FROM Contact WHERE Phone = null AND Email != null")
    found = page.xpath("//tbody//th/a/@href")
    assert len(found) == min(50, len(wanted)) > 0
    assert {one.split("/")[-2] for one in found} <= {row["Id"] for row in wanted}


@pytest.mark.parametrize("sobject", ["Account", "Campaign", "Opportunity", "Lead", "User"])
def test_every_sobject_has_a_list(full_reader: Reader, sobject: str) -> None:
    names = listed(full_reader.page(f"/lightning/o/{sobject}/list"))
    assert names
    assert all(names)


def test_search_finds_by_what_people_know(api: Api, reader: Reader) -> None:
    name, key = unique("Sought"), unique("ext")
    record_id = api.create(
        "Contact",
        FirstName="Grace",
        LastName=f"{name} 100%",
        Email=f"{key}@example.com",
        Phone="+1 (415) 555-0199",
        External_Id__c=key,
    )
    for sought in (f"{name}", f"grace {name}", f"{key}@EXAMPLE.com", key, "4155550199", "100%25"):
        page = reader.page(f"/lightning/o/Contact/list?q={sought}")
        assert f"Grace {name} 100%" in listed(page), sought
    for missed in (f"{name}x", "grace%20nobody", "4155550198", "%25%25"):
        page = reader.page(f"/lightning/o/Contact/list?q={missed}")
        assert f"Grace {name} 100%" not in listed(page), missed
    answer = reader.get(f"/lightning/o/Contact/list?q={record_id[:15]}", allow_redirects=False)
    assert answer.headers["location"] == f"/{record_id}"


def test_an_exact_find_leads_on_to_the_rest(api: Api, reader: Reader) -> None:
    key = unique("exact")
    api.create("Contact", LastName="Owner of the key", External_Id__c=key)
    api.create("Contact", LastName=f"Namesake of {key}")
    page = reader.page(f"/lightning/o/Contact/list?q={key}")
    assert listed(page) == ["Owner of the key"]
    (rest,) = page.xpath('//a[@rel="next"]/@href')
    assert f"Namesake of {key}" in listed(reader.page(rest))


def test_a_converted_lead_leads_to_what_it_became(full_api: Api, full_reader: Reader) -> None:
    (lead,) = full_api.records(
        "SELECT Id, ConvertedContactId, ConvertedContact.Name FROM Lead"
        " WHERE ConvertedContactId != null LIMIT 1"
    )
    page = full_reader.record(lead["Id"])
    (banner,) = page.xpath('//p[@class="banner"]')
    assert f"/{lead['ConvertedContactId']}" in banner.xpath("a/@href")
    assert lead["ConvertedContact"]["Name"] in text(banner)
    assert not page.xpath('//form[@method="post"]')


# A person changes a record


def test_a_person_changes_a_field(api: Api, reader: Reader) -> None:
    record_id = api.create("Contact", LastName=unique(), Title="Old")
    action, values = form_values(
        reader.page(f"/lightning/r/Contact/{record_id}/edit?field=Title"), "edit"
    )
    assert values["value"] == "Old"
    answer = reader.session.post(
        f"{reader.url}{action}",
        data=values | {"value": "New"},
        timeout=10,
        allow_redirects=False,
    )
    assert answer.status_code == 303
    assert api.get(f"sobjects/Contact/{record_id}")["Title"] == "New"
    (row,) = api.records(
        "SELECT CreatedBy.Name, OldValue, NewValue FROM ContactHistory"
        f" WHERE ContactId = '{record_id}' AND Field = 'Title'"
    )
    assert (row["CreatedBy"]["Name"], row["OldValue"]) == ("System Administrator", "Old")
    assert "through Page" in text(reader.record(record_id).body)

    again = reader.session.post(f"{reader.url}{action}", data=values, timeout=10)
    assert again.status_code == 409
    assert api.get(f"sobjects/Contact/{record_id}")["Title"] == "New"


def test_a_refused_change_shows_why_and_keeps_what_was_typed(api: Api, reader: Reader) -> None:
    record_id = api.create("Contact", LastName=unique(), Email="good@example.com")
    action, values = form_values(
        reader.page(f"/lightning/r/Contact/{record_id}/edit?field=Email"), "edit"
    )
    answer = reader.session.post(
        f"{reader.url}{action}", data=values | {"value": HOSTILE}, timeout=10
    )
    page = html.document_fromstring(answer.text)
    assert answer.status_code == 400
    assert "invalid email address" in text(page.xpath('//*[@role="alert"]')[0])
    assert page.xpath('//form[@class="edit"]//input[@name="value"]/@value') == [HOSTILE]
    assert api.get(f"sobjects/Contact/{record_id}")["Email"] == "good@example.com"


def test_a_person_deletes_a_record(api: Api, reader: Reader) -> None:
    record_id = api.create("Contact", LastName=unique())
    action, values = form_values(reader.record(record_id), "delete")
    answer = reader.session.post(f"{reader.url}{action}", data=values, timeout=10)
    assert "This record lies in the recycle bin." in answer.text
    api.get(f"sobjects/Contact/{record_id}", status=404)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, 409),
    ],
)
def test_another_site_cannot_send_a_form(
    api: Api, reader: Reader, headers: dict[str, str], status: int
) -> None:
    record_id = api.create("Contact", LastName="Kept")
    action, values = form_values(
        reader.page(f"/lightning/r/Contact/{record_id}/edit?field=LastName"), "edit"
    )
    ticket = values["ticket"] if headers else "guessed"
    data = {"field": "LastName", "value": "Changed", "ticket": ticket}
    answer = reader.session.post(f"{reader.url}{action}", data=data, headers=headers, timeout=10)
    assert answer.status_code == status
    assert api.get(f"sobjects/Contact/{record_id}")["LastName"] == "Kept"


def test_what_nobody_may_change_is_no_form(api: Api, reader: Reader) -> None:
    record_id = api.create("Contact", LastName=unique())
    page = reader.page(f"/lightning/r/Contact/{record_id}/edit?field=CreatedDate")
    assert not page.xpath('//form[@class="edit"]')
    ticket = form_values(reader.record(record_id), "delete")[1]["ticket"]
    answer = reader.session.post(
        f"{reader.url}/lightning/r/Contact/{record_id}/edit",
        data={"ticket": ticket, "field": "CreatedDate", "value": "2020-01-01"},
        timeout=10,
    )
    assert answer.status_code == 400


# Who may see them


@pytest.mark.parametrize("path", ["/", "/lightning/o/Contact/list", "/lightning/assets/pages.css"])
def test_pages_forbid_what_they_do_not_need(reader: Reader, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = reader.session.request(method, f"{reader.url}{path}", timeout=10)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("peer", "may"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_only_this_machine_may_see_pages(peer: str, may: bool) -> None:
    assert may_see_pages(peer, Settings()) is may


def test_addresses_of_the_api_are_no_pages() -> None:
    assert not is_page("GET", ("services", "data"))
    assert not is_page("GET", ("favicon.ico",))
    assert not is_page("DELETE", ("lightning", "r", "Contact", "003000000000000AAA", "view"))
    assert not is_page("POST", ())
    assert is_page("GET", ("lightning", "nothing"))


# Rules


@pytest.mark.parametrize(
    ("address", "harmless"),
    [
        ("https://example.com/a", True),
        ("HTTP://example.com", True),
        ("javascript:alert(1)", False),
        ("java\tscript:alert(1)", False),
        (" https://example.com", False),
        ("https://", False),
        ("https:\\\\example.com", False),
        ("//example.com", False),
        ("data:text/html,x", False),
        ("http://[x", False),
    ],
)
def test_only_web_addresses_become_links(address: str, harmless: bool) -> None:
    assert is_web_address(address) is harmless


@given(st.text())
def test_a_link_begins_with_http(address: str) -> None:
    if is_web_address(address):
        assert address.lower().startswith(("http://", "https://"))


def test_how_long_ago() -> None:
    now = moment("2024-05-02T00:00:00")
    for at, expected in (
        ("2024-05-01T23:59:58", "just now"),
        ("2024-05-01T23:59:00", "1 minute ago"),
        ("2024-05-01T21:00:00", "3 hours ago"),
        ("2024-04-30T00:00:00", "2 days ago"),
        ("2024-05-02T00:00:01", "in the future"),
    ):
        assert ago(now, at) == expected


def test_a_ticket_serves_one_form_once() -> None:
    tickets = Tickets()
    ticket = tickets.issue("a")
    assert not tickets.redeem(ticket, "b")
    assert not tickets.redeem(ticket, "a")
    assert tickets.redeem(tickets.issue("a"), "a")
    first = tickets.issue("a")
    for _ in range(3_000):
        tickets.issue("b")
    assert not tickets.redeem(first, "a")


def test_counts_are_not_taken_for_every_page() -> None:
    counts, taken = Counts(), iter(({"Contact": 1}, {"Contact": 2}))
    assert counts.get(lambda: next(taken)) == {"Contact": 1}
    assert counts.get(lambda: next(taken)) == {"Contact": 1}


def test_assets_are_part_of_the_package() -> None:
    package = Path(__file__).parents[2] / "salesforce_pipelines" / "local_org"
    folder = package / "web_pages" / "templates"
    css = (folder / "pages.css").read_text(encoding="utf-8")
    assert "url(" not in css
    assert "@import" not in css
