"""simple-salesforce, a client that nobody here wrote, against the local org."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceResourceNotFound,
)

from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.local_org.conftest import unique

Client = Any  # a Salesforce: what its attributes are depends on their names


class ToLocalOrg(requests.adapters.HTTPAdapter):
    """Sends what is meant for https to the local org's plain http."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = urlsplit(url)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(str(request.url))
        request.url = urlunsplit(
            (self._url.scheme, self._url.netloc, parts.path, parts.query, parts.fragment)
        )
        return super().send(request, **options)


@pytest.fixture(scope="module")
def salesforce(org: RunningOrg) -> Iterator[Client]:
    with requests.Session() as session:
        session.mount("https://", ToLocalOrg(org.url))
        yield Salesforce(
            consumer_key=org.client_id,
            consumer_secret=org.client_secret,
            domain="local-org",
            session=session,
            version="62.0",
        )


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simple_salesforce.bulk2.sleep", lambda seconds: None)


def test_rows(salesforce: Client) -> None:
    created = salesforce.Contact.create({"LastName": "Simple", "Email": "simple@example.com"})
    assert created["success"]
    assert salesforce.Contact.update(created["id"], {"Title": "CEO"}) == 204
    assert salesforce.Contact.get(created["id"])["Title"] == "CEO"
    assert salesforce.Contact.delete(created["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound):
        salesforce.Contact.get(created["id"])
    with pytest.raises(SalesforceMalformedRequest, match="REQUIRED_FIELD_MISSING"):
        salesforce.Contact.create({"FirstName": "x"})


def test_upsert_by_external_id(salesforce: Client) -> None:
    key = unique()
    assert salesforce.Contact.upsert(f"External_Id__c/{key}", {"LastName": "x"}) == 201
    assert salesforce.Contact.upsert(f"External_Id__c/{key}", {"LastName": "y"}) == 200
    assert salesforce.Contact.get_by_custom_id("External_Id__c", key)["LastName"] == "y"


def test_describe_and_limits(salesforce: Client) -> None:
    described = salesforce.describe()
    assert described
    assert "Contact" in [sobject["name"] for sobject in described["sobjects"]]
    assert salesforce.Contact.metadata()["objectDescribe"]["keyPrefix"] == "003"
    assert salesforce.Lead.describe()["name"] == "Lead"
    assert salesforce.limits()["DailyApiRequests"]["Max"] == 100_000
    assert salesforce.api_usage["api-usage"].total == 100_000


def test_queries(salesforce: Client) -> None:
    name = unique("Many")
    records = [
        {"attributes": {"type": "Lead"}, "LastName": name, "Company": str(number)}
        for number in range(200)
    ]
    for _ in range(12):
        salesforce.restful(
            "composite/sobjects", method="POST", json={"allOrNone": True, "records": records}
        )
    soql = f"SELECT Id, Company FROM Lead WHERE LastName = '{name}'"
    assert len(salesforce.query(soql)["records"]) == 2000
    everything = list(salesforce.query_all_iter(soql))
    assert len({record["Id"] for record in everything}) == 2400
    assert salesforce.query_all(soql, include_deleted=True)["totalSize"] == 2400


def test_bulk_ingest_and_query(salesforce: Client) -> None:
    name = unique("Bulk2")
    rows = [{"LastName": name, "Email": f"p{number}@example.com"} for number in range(30)]
    rows.append({"LastName": name, "Email": "bad"})
    (done,) = salesforce.bulk2.Contact.insert(records=rows)
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (31, 1)
    good = salesforce.bulk2.Contact.get_successful_records(done["job_id"])
    assert good.count("\n") == 31
    bad = salesforce.bulk2.Contact.get_failed_records(done["job_id"])
    assert "INVALID_EMAIL_ADDRESS" in bad
    assert salesforce.bulk2.Contact.get_unprocessed_records(done["job_id"]).count("\n") == 1
    soql = f"SELECT Id, Email FROM Contact WHERE LastName = '{name}'"
    pages = list(salesforce.bulk2.Contact.query(soql, max_records=7))
    assert [page.count("\n") - 1 for page in pages] == [7, 7, 7, 7, 2]


def test_bulk_upsert_update_delete_and_query_all(salesforce: Client) -> None:
    name, keys = unique("Bulk2"), [unique() for _ in range(3)]
    contacts, where = salesforce.bulk2.Contact, f"WHERE LastName = '{name}'"
    rows = [{"External_Id__c": key, "LastName": name} for key in keys]
    for created in ("true", "false"):
        (done,) = contacts.upsert(records=rows, external_id_field="External_Id__c")
        assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (3, 0)
        good = contacts.get_successful_records(done["job_id"])
        assert good.count(f'"{created}"') == 3
    ids = [row["Id"] for row in salesforce.query(f"SELECT Id FROM Contact {where}")["records"]]
    (done,) = contacts.update(records=[{"Id": each, "Title": "#N/A"} for each in ids])
    assert done["numberRecordsFailed"] == 0
    (done,) = contacts.delete(records=[{"Id": each} for each in ids[:2]])
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (2, 0)
    soql = f"SELECT Id, IsDeleted FROM Contact {where} ORDER BY IsDeleted"
    (left,) = contacts.query(soql)
    assert left == f'"Id","IsDeleted"\n"{ids[2]}","false"\n'
    pages = list(contacts.query_all(soql, max_records=2))
    assert [page.count("\n") - 1 for page in pages] == [2, 1]
    assert "".join(pages).count('"true"') == 2


def test_collections(salesforce: Client) -> None:
    attributes = {"type": "Contact"}
    records = [{"attributes": attributes, "LastName": "x"}, {"attributes": attributes}]
    first, refused = salesforce.restful(
        "composite/sobjects", method="POST", json={"allOrNone": False, "records": records}
    )
    assert first == {"id": first["id"], "success": True, "errors": []}
    assert refused["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert "id" not in refused
    ids = [first["id"], "003000000000000AAA"]
    read = salesforce.restful(
        "composite/sobjects/Contact", method="POST", json={"ids": ids, "fields": ["LastName"]}
    )
    assert (read[0]["LastName"], read[1]) == ("x", None)
    (gone,) = salesforce.restful("composite/sobjects", {"ids": first["id"]}, method="DELETE")
    assert gone == first


def test_updated_and_deleted(salesforce: Client) -> None:
    kept, gone = (salesforce.Lead.create({"LastName": "x", "Company": "y"})["id"] for _ in "kg")
    salesforce.Lead.delete(gone)
    now = datetime.now(UTC)
    window = (now - timedelta(days=1), now + timedelta(minutes=5))
    while kept not in (updated := salesforce.Lead.updated(*window))["ids"]:
        assert datetime.now(UTC) < now + timedelta(seconds=10)  # a second counts once it is over
    assert set(updated) == {"ids", "latestDateCovered"}
    assert gone not in updated["ids"]
    assert gone in [row["id"] for row in salesforce.Lead.deleted(*window)["deletedRecords"]]


def test_a_bad_session(org: RunningOrg) -> None:
    with requests.Session() as session:
        session.mount("https://", ToLocalOrg(org.url))
        client = Salesforce(instance_url=org.url, session_id="00D!x", session=session)
        with pytest.raises(SalesforceExpiredSession):
            client.query("SELECT Id FROM Contact")
