"""What Salesforce's documentation and recordings of real orgs show, asked of the local org."""

from typing import Any

import pytest
import requests

from salesforce_pipelines.local_org.org import NEWEST_VERSION, OLDEST_VERSION
from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.local_org.conformance.documented import MAKERS
from salesforce_pipelines_tests.local_org.conformance.documented_access import (
    OAUTH_STORIES,
    ROOT_STORIES,
)
from salesforce_pipelines_tests.local_org.conformance.documented_bulk import (
    BULK_STORIES,
    LIST_VIEW_STORIES,
)
from salesforce_pipelines_tests.local_org.conformance.documented_describe import (
    DESCRIBE_STORIES,
    FIELDS,
)
from salesforce_pipelines_tests.local_org.conformance.documented_records import (
    COLLECTION_STORIES,
    QUERY_STORIES,
    REFUSED_STORIES,
    ROW_STORIES,
)
from salesforce_pipelines_tests.local_org.conformance.exchanges import (
    Having,
    Known,
    Story,
    differences,
    tell,
)
from salesforce_pipelines_tests.local_org.conftest import Api, token_of

STORIES = [
    *OAUTH_STORIES,
    *ROOT_STORIES,
    *DESCRIBE_STORIES,
    *QUERY_STORIES,
    *ROW_STORIES,
    *REFUSED_STORIES,
    *COLLECTION_STORIES,
    *BULK_STORIES,
    *LIST_VIEW_STORIES,
]


@pytest.fixture
def known(api: Api) -> Known:
    return Known(api, MAKERS)


@pytest.mark.parametrize("told", [pytest.param(each, id=each.name) for each in STORIES])
def test_it_answers_as_salesforce(told: Story, api: Api, known: Known) -> None:
    tell(told, api, known)


@pytest.fixture(scope="module")
def described(api: Api) -> dict[str, dict[str, Any]]:
    return {
        name: {each["name"]: each for each in api.get(f"sobjects/{name}/describe")["fields"]}
        for name in {sobject for sobject, _ in FIELDS}
    }


@pytest.mark.parametrize(("sobject", "name"), FIELDS, ids=".".join)
def test_a_field_is_described_as_recorded(
    described: dict[str, dict[str, Any]], sobject: str, name: str
) -> None:
    shape = Having(FIELDS[sobject, name])
    assert not list(differences(shape, described[sobject][name], {}, f"{sobject}.{name}"))


@pytest.mark.parametrize("number", range(OLDEST_VERSION, NEWEST_VERSION + 1))
def test_every_version_is_in_every_address_that_it_answers(api: Api, number: int) -> None:
    version = f"{number}.0"
    root = f"/services/data/v{version}"

    def asked(method: str, path: str, **options: Any) -> Any:
        answer = api.call(method, path, version=version, **options)
        assert answer.ok, answer.text
        return answer

    assert asked("GET", "").json()["sobjects"] == f"{root}/sobjects"
    created = asked("POST", "sobjects/Lead", json={"LastName": "x", "Company": "y"})
    address = f"{root}/sobjects/Lead/{created.json()['id']}"
    assert created.headers["Location"] == address
    soql = f"SELECT Id FROM Lead WHERE Id = '{created.json()['id']}'"
    (record,) = asked("GET", "query", params={"q": soql}).json()["records"]
    assert record["attributes"]["url"] == address
    summary = asked("GET", "sobjects/Lead").json()["objectDescribe"]
    assert all(url.startswith(f"{root}/sobjects/Lead") for url in summary["urls"].values())
    view = asked("GET", "sobjects/Lead/listviews").json()["listviews"][0]
    assert view["describeUrl"].startswith(f"{root}/sobjects/Lead/listviews/")
    job = asked("POST", "jobs/ingest", json={"object": "Lead", "operation": "insert"}).json()
    assert job["contentUrl"] == f"{root.removeprefix('/')}/jobs/ingest/{job['id']}/batches"
    assert type(job["apiVersion"]) is float
    assert job["apiVersion"] == float(version)


def test_header_names_are_spelt_as_salesforce_spells_them(api: Api) -> None:
    answer = api.call("POST", "sobjects/Contact", json={"LastName": "x"})
    assert set(answer.raw.headers) >= {
        "Date",
        "Strict-Transport-Security",
        "X-Content-Type-Options",
        "X-Robots-Tag",
        "Cache-Control",
        "Vary",
        "Sforce-Limit-Info",
        "Location",
        "Content-Type",
        "Content-Length",
    }
    job = api.send(
        "POST", "jobs/query", {"operation": "query", "query": "SELECT Id FROM User"}, 200
    )
    api.finished("query", job["id"])
    results = api.call("GET", f"jobs/query/{job['id']}/results")
    assert {"Sforce-Locator", "Sforce-NumberOfRecords", "Content-Type"} <= set(results.raw.headers)


def test_each_call_counts_once_and_a_token_counts_nothing(org: RunningOrg, api: Api) -> None:
    def used(answer: requests.Response) -> int:
        usage = answer.headers["Sforce-Limit-Info"]
        return int(usage.removeprefix("api-usage=").partition("/")[0])

    before = used(api.call("GET", "limits"))
    token_of(org)
    records = [{"attributes": {"type": "Contact"}, "LastName": "x"}] * 200
    many = api.call("POST", "composite/sobjects", json={"records": records})
    assert used(many) == before + 1
    assert used(api.call("GET", "nowhere")) == before + 2
