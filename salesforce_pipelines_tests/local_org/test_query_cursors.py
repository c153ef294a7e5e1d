"""Pages of a query whose records vanish while a client reads on."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique
from salesforce_pipelines_tests.local_org.test_bulk import ingest

LATE = 60
SMALL_PAGES = {"Sforce-Query-Options": "batchSize=200"}


def leads(api: Api, name: str, count: int) -> list[str]:
    """The ids of new Leads, in the order of their making."""
    made = []
    for start in range(0, count, 200):
        records = [
            {"attributes": {"type": "Lead"}, "LastName": name, "Company": f"{number:04}"}
            for number in range(start, min(start + 200, count))
        ]
        made += api.send("POST", "composite/sobjects", {"records": records}, 200)
    return [result["id"] for result in made]


def purge(api: Api, sobject: str, ids: Sequence[str]) -> None:
    job = ingest(api, sobject, "hardDelete", "Id\n" + "".join(f"{one}\n" for one in ids))
    assert api.finished("ingest", job["id"])["numberRecordsFailed"] == 0


def first_page(api: Api, soql: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.call(
        "GET", "query", params={"q": soql}, headers=SMALL_PAGES
    ).json()
    return answer


def rest_of(api: Api, page: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The records of each page after one."""
    for _ in range(20):
        if page["done"]:
            return
        page = api.session.get(api.url + page["nextRecordsUrl"], timeout=10).json()
        yield page["records"]
    raise AssertionError("the pages do not end")


def of_leads(name: str) -> str:
    return f"SELECT Id FROM Lead WHERE LastName = '{name}' ORDER BY Company"


def ids_of(page: list[dict[str, Any]]) -> list[str]:
    return [record["Id"] for record in page]


@pytest.mark.parametrize("gone", [slice(200, 400), slice(200, 400, 2), slice(350, 700)])
def test_a_cursor_leads_past_records_that_are_gone(api: Api, gone: slice) -> None:
    ids = leads(api, name := unique("Vanish"), 700)
    page = first_page(api, of_leads(name))
    assert ids_of(page["records"]) == ids[:200]
    purge(api, "Lead", ids[gone])
    lost = set(ids[gone])
    assert [ids_of(records) for records in rest_of(api, page)] == [
        [one for one in ids[at : at + 200] if one not in lost] for at in (200, 400, 600)
    ]


@pytest.fixture(scope="module")
def own_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    with running_org(tmp_path_factory.mktemp("cursors") / "home") as running:
        running.admin.freeze_clock()
        yield running


def test_a_cursor_leads_past_late_records(own_org: RunningOrg) -> None:
    own = api_of(own_org)
    with own.session:
        ids = leads(own, name := unique("Late"), 500)
        with own_org.admin.fault("late_rows", sobject="Lead", seconds=LATE):
            leads(own, name, 200)
            page = first_page(own, of_leads(name))
            assert page["totalSize"] == 500
            for at in range(200, 400, 100):
                path = f"composite/sobjects?ids={','.join(ids[at : at + 100])}"
                own.send("DELETE", path, None, 200)
            own_org.admin.move_clock(seconds=LATE)
        own_org.admin.empty_recycle_bin()
        assert [ids_of(records) for records in rest_of(own, page)] == [[], ids[400:]]


def test_a_cursor_of_families_leads_past_those_that_are_gone(api: Api) -> None:
    name = unique("House")
    houses = [api.create("Account", Name=f"{name} {number}") for number in range(4)]
    for house in houses:
        records = [
            {"attributes": {"type": "Contact"}, "LastName": f"{number:03}", "AccountId": house}
            for number in range(150)
        ]
        api.send("POST", "composite/sobjects", {"records": records}, 200)
    soql = (
        f"SELECT Id, (SELECT Id FROM Contacts) FROM Account WHERE Name LIKE '{name}%' ORDER BY Name"
    )
    page = first_page(api, soql)
    assert ids_of(page["records"]) == houses[:1]
    purge(api, "Account", houses[1:2])
    assert [ids_of(records) for records in rest_of(api, page)] == [houses[2:3], houses[3:]]


def test_a_cursor_of_children_leads_past_those_that_are_gone(api: Api) -> None:
    house = api.create("Account", Name=unique("Full house"))
    ids: list[str] = []
    for start in range(0, 600, 200):
        records = [
            {"attributes": {"type": "Contact"}, "LastName": f"{number:03}", "AccountId": house}
            for number in range(start, start + 200)
        ]
        results = api.send("POST", "composite/sobjects", {"records": records}, 200)
        ids += [result["id"] for result in results]
    children = "SELECT Id FROM Contacts ORDER BY LastName"
    (record,) = first_page(api, f"SELECT Id, ({children}) FROM Account WHERE Id = '{house}'")[
        "records"
    ]
    page = record["Contacts"]
    assert ids_of(page["records"]) == ids[:200]
    purge(api, "Contact", ids[200:400])
    assert [ids_of(records) for records in rest_of(api, page)] == [[], ids[400:]]
