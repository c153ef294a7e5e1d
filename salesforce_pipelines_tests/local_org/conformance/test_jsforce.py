"""jsforce, a client that nobody here wrote, against the local org."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.local_org.conformance.conftest import SCRIPTS, ConnectedOrg
from salesforce_pipelines_tests.local_org.conftest import Api, Reachable, token_of, unique

pytestmark = pytest.mark.clients

DEFAULT_VERSION = "50.0"


@dataclass
class Jsforce:
    """jsforce, connected to one org."""

    folder: Path
    org: Reachable
    access_token: str
    version: str = DEFAULT_VERSION

    def __call__(self, call: str, **given: Any) -> Any:
        """What one of the script's calls gives."""
        connection = {
            "url": self.org.url,
            "clientId": self.org.client_id,
            "clientSecret": self.org.client_secret,
            "accessToken": self.access_token,
            "version": self.version,
        }
        answer = subprocess.run(
            ["node", SCRIPTS / "jsforce_calls.js", call],
            input=json.dumps(connection | given),
            env={**os.environ, "NODE_PATH": str(self.folder / "node_modules")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def thrown(self, call: str, **given: Any) -> dict[str, Any]:
        """The error that one of the script's calls throws."""
        gave = self(call, **given)
        assert "thrown" in gave, gave
        error: dict[str, Any] = gave["thrown"]
        return error


@pytest.fixture(scope="module")
def node(clients: Path) -> Path:
    """The folder of the installed clients, where Node.js is there to run them."""
    if not shutil.which("node"):
        pytest.skip("Node.js is not installed, which `make clients` needs")
    return clients


@pytest.fixture(scope="module")
def jsforce(node: Path, org: RunningOrg) -> Jsforce:
    return Jsforce(node, org, token_of(org)["access_token"])


@pytest.fixture(scope="module")
def leads(api: Api) -> tuple[str, list[str]]:
    """450 Leads: what their LastName is, and their ids."""
    name = unique("Paged")
    records = [
        {"attributes": {"type": "Lead"}, "LastName": name, "Company": f"{number:03}"}
        for number in range(450)
    ]
    ids: list[str] = []
    for start in range(0, 450, 200):
        body = {"allOrNone": True, "records": records[start : start + 200]}
        ids += [result["id"] for result in api.send("POST", "composite/sobjects", body, 200)]
    return name, ids


def test_identity(jsforce: Jsforce, org: RunningOrg) -> None:
    identity = jsforce("identity")
    granted = token_of(org)
    assert granted["id"] == identity["id"]
    assert granted["id"].endswith(f"/id/{identity['organization_id']}/{identity['user_id']}")
    assert identity["urls"]["rest"].startswith(f"{org.url}/services/data/v{{version}}/")


def test_limits(jsforce: Jsforce) -> None:
    given = jsforce("limits")
    usage, daily = given["usage"], given["limits"]["DailyApiRequests"]
    assert usage == {"used": daily["Max"] - daily["Remaining"], "limit": daily["Max"]}


@pytest.mark.parametrize("version", ["42.0", "67.0"])
def test_describe(jsforce: Jsforce, version: str) -> None:
    client = Jsforce(jsforce.folder, jsforce.org, jsforce.access_token, version)
    named = {sobject["name"]: sobject for sobject in client("describeGlobal")["sobjects"]}
    assert named["Contact"]["urls"]["sobject"] == f"/services/data/v{version}/sobjects/Contact"
    described = client("describe", sobject="Lead")
    fields = {field["name"]: field for field in described["fields"]}
    assert described["keyPrefix"] == "00Q"
    assert (fields["Company"]["type"], fields["Company"]["nillable"]) == ("string", False)
    error = client.thrown("describe", sobject="Nothing__c")
    assert (error["errorCode"], error["message"]) == (
        "NOT_FOUND", "The requested resource does not exist",
    )  # fmt: skip


def test_queries_page_by_page(jsforce: Jsforce, leads: tuple[str, list[str]]) -> None:
    name, ids = leads
    soql = f"SELECT Id, Company FROM Lead WHERE LastName = '{name}' ORDER BY Company"
    fetched = jsforce("queryToTheEnd", soql=soql)
    assert (fetched["totalSize"], fetched["done"]) == (450, True)
    assert [record["Id"] for record in fetched["records"]] == ids
    pages = jsforce("queryMore", soql=soql)
    assert [len(page["records"]) for page in pages] == [200, 200, 50]
    assert [page["done"] for page in pages] == [False, False, True]
    assert [record["Id"] for page in pages for record in page["records"]] == ids


def test_queries_of_deleted_records_and_by_conditions(jsforce: Jsforce, api: Api) -> None:
    name = unique("Found")
    kept = api.create("Contact", LastName=name, Birthdate="1990-02-28")
    gone = api.create("Contact", LastName=name)
    api.delete("Contact", gone)
    soql = f"SELECT Id FROM Contact WHERE LastName = '{name}'"
    assert [record["Id"] for record in jsforce("query", soql=soql)["records"]] == [kept]
    assert {record["Id"] for record in jsforce("queryAll", soql=soql)["records"]} == {kept, gone}
    conditions = {"LastName": {"$like": f"{name}%"}, "Email": None, "Birthdate": {"$ne": None}}
    fields = ["Id", "Birthdate", "Owner.Name"]
    (found,) = jsforce("find", sobject="Contact", conditions=conditions, fields=fields)
    assert (found["Id"], found["Birthdate"]) == (kept, "1990-02-28")
    assert found["Owner"]["Name"] == "Integration User"


def test_one_record(jsforce: Jsforce) -> None:
    name, key = unique("One"), unique()
    created = jsforce("create", sobject="Contact", records={"LastName": name})
    assert created == {"id": created["id"], "success": True, "errors": []}
    updated = jsforce(
        "update", sobject="Contact", records={"Id": created["id"], "Title": "CEO", "Phone": None}
    )
    assert updated == created
    read = jsforce("retrieve", sobject="Contact", ids=created["id"])
    assert (read["LastName"], read["Title"], read["Phone"]) == (name, "CEO", None)
    some = jsforce("retrieve", sobject="Contact", ids=created["id"], options={"fields": ["Title"]})
    assert (some["Title"], "LastName" in some) == ("CEO", False)
    new = {"External_Id__c": key, "LastName": name}
    upserted = jsforce("upsert", sobject="Contact", records=new, key="External_Id__c")
    assert (upserted["success"], upserted["created"]) == (True, True)
    again = jsforce("upsert", sobject="Contact", records=new, key="External_Id__c")
    assert (again["id"], again["created"]) == (upserted["id"], False)
    assert jsforce("destroy", sobject="Contact", ids=created["id"]) == created


def test_upsert_before_v46_says_nothing_on_update(jsforce: Jsforce) -> None:
    client = Jsforce(jsforce.folder, jsforce.org, jsforce.access_token, "45.0")
    record = {"External_Id__c": unique(), "LastName": "x"}
    assert client("upsert", sobject="Contact", records=record, key="External_Id__c")["created"]
    again = client("upsert", sobject="Contact", records=record, key="External_Id__c")
    assert again == {"success": True, "errors": []}


def test_many_records(jsforce: Jsforce) -> None:
    name = unique("Many")
    records = [{"LastName": name}, {"FirstName": "no last name"}, {"LastName": name}]
    first, refused, last = jsforce("create", sobject="Contact", records=records)
    assert (first["success"], last["success"], refused["success"]) == (True, True, False)
    assert "id" not in refused
    (error,) = refused["errors"]
    assert error == {
        "statusCode": "REQUIRED_FIELD_MISSING",
        "message": "Required fields are missing: [LastName]",
        "fields": ["LastName"],
    }
    whole = jsforce("create", sobject="Contact", records=records, options={"allOrNone": True})
    assert [result["errors"][0]["statusCode"] for result in whole] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "REQUIRED_FIELD_MISSING",
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    ]
    ids = [first["id"], last["id"]]
    changes = [{"Id": record_id, "Title": record_id} for record_id in ids]
    changed = jsforce("update", sobject="Contact", records=changes)
    assert [(result["id"], result["success"]) for result in changed] == [(i, True) for i in ids]
    read = jsforce("retrieve", sobject="Contact", ids=[ids[0], "003000000000000AAA", ids[1]])
    assert read[1] is None
    assert [read[0]["Title"], read[2]["Title"]] == ids
    gone = jsforce("destroy", sobject="Contact", ids=ids)
    assert [(result["id"], result["success"]) for result in gone] == [(i, True) for i in ids]
    (refused,) = jsforce("update", sobject="Contact", records=changes[:1])
    assert refused["errors"][0]["statusCode"] == "ENTITY_IS_DELETED"
    assert jsforce("retrieve", sobject="Contact", ids=ids) == [None, None]


def test_many_upserts_and_more_than_one_request_takes(jsforce: Jsforce) -> None:
    name = unique("Upserted")
    records = [{"External_Id__c": unique(), "LastName": name} for _ in range(210)]
    options = {"allowRecursive": True}
    call = {"sobject": "Contact", "key": "External_Id__c", "options": options}
    first = jsforce("upsert", records=records, **call)
    assert [result["created"] for result in first] == [True] * 210
    second = jsforce("upsert", records=records[:3], **call)
    assert [(result["id"], result["created"]) for result in second] == [
        (result["id"], False) for result in first[:3]
    ]
    error = jsforce.thrown("upsert", **call | {"records": records, "options": {}})
    assert error["errorCode"] == "EXCEEDED_ID_LIMIT"
    found = jsforce("query", soql=f"SELECT COUNT() FROM Contact WHERE LastName = '{name}'")
    assert found["totalSize"] == 210


def test_errors_have_their_codes(jsforce: Jsforce, api: Api) -> None:
    deleted = api.create("Contact", LastName="x")
    api.delete("Contact", deleted)
    change = {"Id": deleted, "Title": "x"}
    calls: dict[str, dict[str, Any]] = {
        "ENTITY_IS_DELETED": {"call": "update", "sobject": "Contact", "records": change},
        "NOT_FOUND": {"call": "retrieve", "sobject": "Contact", "ids": deleted},
        "REQUIRED_FIELD_MISSING": {"call": "create", "sobject": "Contact", "records": {}},
        "INVALID_FIELD": {"call": "query", "soql": "SELECT Nope FROM Contact"},
        "INVALID_TYPE": {"call": "query", "soql": "SELECT Id FROM Nope"},
        "MALFORMED_QUERY": {"call": "query", "soql": "SELECT"},
    }
    thrown = {
        code: jsforce.thrown(call.pop("call"), **call)["errorCode"] for code, call in calls.items()
    }
    assert thrown == {code: code for code in calls}
    again = jsforce.thrown("destroy", sobject="Contact", ids=deleted)
    assert (again["errorCode"], again["message"]) == ("ENTITY_IS_DELETED", "entity is deleted")


def test_what_was_updated_and_deleted(jsforce: Jsforce, api: Api) -> None:
    changed, gone = (api.create("Lead", LastName="x", Company="y") for _ in range(2))
    api.delete("Lead", gone)
    now = datetime.now(UTC)
    window = {
        "start": (now - timedelta(hours=1)).isoformat(),
        "end": (now + timedelta(minutes=5)).isoformat(),
    }
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    while datetime.now(UTC) < deadline:  # a second counts once it is over
        updated = jsforce("updated", sobject="Lead", **window)
        deleted = jsforce("deleted", sobject="Lead", **window)
        if changed in updated["ids"]:
            break
    assert changed in updated["ids"]
    assert gone not in updated["ids"]
    assert gone in [record["id"] for record in deleted["deletedRecords"]]
    assert deleted["earliestDateAvailable"] < deleted["latestDateCovered"]


def test_list_views(jsforce: Jsforce) -> None:
    given = jsforce("listViews", sobject="Lead")
    assert given["description"]["sobjectType"] == "Lead"
    shown = [c["fieldNameOrPath"] for c in given["description"]["columns"]]
    assert [c["fieldNameOrPath"] for c in given["results"]["columns"]] == shown


def test_bulk_load(jsforce: Jsforce, api: Api) -> None:
    name, key = unique("Loaded"), unique()
    rows = [{"LastName": name, "Email": f"p{number}@example.com"} for number in range(20)]
    rows.append({"LastName": name, "Email": "bad"})
    done = jsforce("bulkLoad", options={"object": "Contact", "operation": "insert", "input": rows})
    assert len(done["successfulResults"]) == 20
    assert {row["sf__Created"] for row in done["successfulResults"]} == {"true"}
    (refused,) = done["failedResults"]
    assert (
        refused["sf__Error"] == "INVALID_EMAIL_ADDRESS:Email: invalid email address: bad:Email --"
    )
    assert refused["Email"] == "bad"
    assert done["unprocessedRecords"] == []
    upserts = [{"External_Id__c": key, "LastName": name, "Title": '€ "x",\ny'}]
    options = {
        "object": "Contact", "operation": "upsert", "externalIdFieldName": "External_Id__c",
        "input": upserts,
    }  # fmt: skip
    (created,) = jsforce("bulkLoad", options=options)["successfulResults"]
    assert api.get(f"sobjects/Contact/{created['sf__Id']}")["Title"] == '€ "x",\ny'
    (updated,) = jsforce("bulkLoad", options=options)["successfulResults"]
    assert (updated["sf__Id"], updated["sf__Created"]) == (created["sf__Id"], "false")


def test_bulk_jobs_step_by_step(jsforce: Jsforce, api: Api) -> None:
    name = unique("Stepped")
    job = jsforce("bulkJob", sobject="Contact", csv=f"LastName\n{name}\n{name}\n")
    assert job["states"] == ["Open", "JobComplete"]
    assert len(api.records(f"SELECT Id FROM Contact WHERE LastName = '{name}'")) == 2
    assert api.get(f"jobs/ingest/{job['id']}", status=404)[0]["errorCode"] == "NOT_FOUND"
    aborted = jsforce("bulkAbort", sobject="Contact")
    assert (aborted["state"], aborted["object"]) == ("Aborted", "Contact")


def test_bulk_query(jsforce: Jsforce, api: Api, leads: tuple[str, list[str]]) -> None:
    name, ids = leads
    soql = f"SELECT Id, Company, IsConverted FROM Lead WHERE LastName = '{name}' ORDER BY Company"
    rows = jsforce("bulkQuery", soql=soql)
    assert [row["Id"] for row in rows] == ids
    assert rows[7]["Company"] == "007"
    assert {row["IsConverted"] for row in rows} == {"false"}
    deleted = api.create("Lead", LastName=f"{name} deleted", Company="x")
    api.delete("Lead", deleted)
    soql = f"SELECT Id FROM Lead WHERE LastName = '{name} deleted'"
    assert jsforce("bulkQuery", soql=soql) == []
    assert jsforce("bulkQuery", soql=soql, scanAll=True) == [{"Id": deleted}]
    error = jsforce.thrown("bulkQuery", soql="SELECT Nope FROM Lead")
    assert error["errorCode"] == "INVALID_FIELD"


def test_client_credentials(jsforce: Jsforce, org: RunningOrg) -> None:
    given = jsforce("clientCredentials")
    assert given["totalSize"] == 1
    assert token_of(org)["id"].endswith(
        f"/id/{given['user']['organizationId']}/{given['user']['id']}"
    )
    wrong = jsforce.thrown("clientCredentials", clientSecret="wrong")
    assert (wrong["name"], wrong["message"]) == ("invalid_client", "invalid client credentials")


def test_refresh_token(node: Path, connected_org: ConnectedOrg) -> None:
    client = Jsforce(node, connected_org, "00Dxx0000000000!expired")
    granted = client("refreshToken", refreshToken=connected_org.refresh_token)
    assert granted["instance_url"] == connected_org.url
    assert granted["token_type"] == "Bearer"
    assert granted["issued_at"].isdecimal()
    assert "expires_in" not in granted
    called = client("refreshWhileCalling", refreshToken=connected_org.refresh_token)
    assert called == {"refreshes": 1, "totalSize": 1}
    refused = client.thrown("refreshToken", refreshToken="5Aep861unknown")
    assert (refused["name"], refused["message"]) == (
        "invalid_grant", "expired access/refresh token",
    )  # fmt: skip
    expired = client.thrown("query", soql="SELECT Id FROM Organization")
    assert (expired["errorCode"], expired["message"]) == (
        "INVALID_SESSION_ID", "Session expired or invalid",
    )  # fmt: skip


def test_a_revoked_session_has_ended(node: Path, org: RunningOrg) -> None:
    client = Jsforce(node, org, token_of(org)["access_token"])
    assert client("limits")["usage"]["used"] > 0
    assert client.thrown("revoke")["errorCode"] == "INVALID_SESSION_ID"
