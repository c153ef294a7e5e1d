"""Field-level security: what one user may not see is not there for them."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.metadata.metadata_changes import make_required, set_field_access
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines_tests.local_org.served import ServedOrg, served


@pytest.fixture
def home(tmp_path: Path) -> Path:
    build_home(tmp_path / "home", 1, tuple)
    return tmp_path / "home"


@pytest.fixture
def running(home: Path) -> Iterator[ServedOrg]:
    with served(Org(home, Settings())) as running:
        yield running


def restrict(
    running: ServedOrg, sobject: str, field: str, readable: bool = False, editable: bool = False
) -> dict[str, Any]:
    user_id = running.org.store.integration_user_id
    return set_field_access(running.org, user_id, sobject, field, readable, editable)


def names(running: ServedOrg, sobject: str = "Contact") -> set[str]:
    described = running.api.get(f"sobjects/{sobject}/describe")
    return {field["name"] for field in described["fields"]}


def test_a_hidden_field_is_as_good_as_missing(running: ServedOrg) -> None:
    api = running.api
    record_id = api.create("Contact", LastName="x", Twitter__c="@x")
    restrict(running, "Contact", "Twitter__c")
    assert "Twitter__c" not in names(running)
    for soql in (
        "SELECT {} FROM Contact",
        "SELECT Id FROM Contact WHERE {} = 'x'",
        "SELECT Id FROM Contact ORDER BY {}",
        "SELECT count(Id) FROM Contact GROUP BY {}",
        "SELECT Contact.{} FROM CampaignMember",
    ):
        hidden, missing = (api.refused(soql.format(name)) for name in ("Twitter__c", "Nothing__c"))
        assert hidden[0] == missing[0] == "INVALID_FIELD"
        assert hidden[1].replace("Twitter__c", "Nothing__c") == missing[1]
    for method, path in (("POST", "sobjects/Contact"), ("PATCH", f"sobjects/Contact/{record_id}")):
        (hidden_error,), (missing_error,) = (
            api.send(method, path, {"LastName": "y", name: "z"}, 400)
            for name in ("Twitter__c", "Nothing__c")
        )
        assert hidden_error["errorCode"] == missing_error["errorCode"] == "INVALID_FIELD"
        assert (
            hidden_error["message"].replace("Twitter__c", "Nothing__c")
            == (missing_error["message"])
        )
    assert "Twitter__c" not in api.get(f"sobjects/Contact/{record_id}")
    (record,) = api.records("SELECT FIELDS(CUSTOM) FROM Contact LIMIT 1")
    assert "Twitter__c" not in record
    restrict(running, "Contact", "Twitter__c", readable=True, editable=True)
    assert api.get(f"sobjects/Contact/{record_id}")["Twitter__c"] == "@x"


def test_a_read_only_field_is_seen_and_not_written(running: ServedOrg) -> None:
    api = running.api
    restrict(running, "Contact", "Twitter__c", readable=True)
    restrict(running, "Contact", "Title", readable=True)
    described = api.get("sobjects/Contact/describe")["fields"]
    for field in (entry for entry in described if entry["name"] in ("Twitter__c", "Title")):
        assert (field["createable"], field["updateable"]) == (False, False)
        assert field["permissionable"]
    record_id = api.create("Contact", LastName="x")
    assert api.records("SELECT Twitter__c FROM Contact") == [{"Twitter__c": None}]
    for method, path in (("POST", "sobjects/Contact"), ("PATCH", f"sobjects/Contact/{record_id}")):
        (error,) = api.send(method, path, {"LastName": "x", "Twitter__c": "y"}, 400)
        assert error["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
        assert error["fields"] == ["Twitter__c"]
        assert error["message"].startswith("Unable to create/update fields: Twitter__c.")


def test_a_hidden_reference_takes_its_relationship_along(running: ServedOrg) -> None:
    api = running.api
    restrict(running, "Contact", "AccountId")
    code, message = api.refused("SELECT Account.Name FROM Contact")
    assert (code, "Didn't understand relationship 'Account'" in message) == ("INVALID_FIELD", True)
    children = api.get("sobjects/Account/describe")["childRelationships"]
    assert "Contacts" not in {child["relationshipName"] for child in children}
    code, message = api.refused("SELECT (SELECT Id FROM Contacts) FROM Account")
    assert (code, "relationship 'Contacts'" in message) == ("INVALID_TYPE", True)


def test_a_compound_field_and_its_parts_have_one_security(running: ServedOrg) -> None:
    answer = restrict(running, "Contact", "MailingCity")
    assert "MailingAddress" in answer["fields"]
    assert not [name for name in names(running) if name.startswith("Mailing")]
    restrict(running, "Lead", "Office_Location__c", readable=True)
    described = running.api.get("sobjects/Lead/describe")["fields"]
    parts = [field for field in described if field["name"].startswith("Office")]
    assert len(parts) == 3
    assert not any(field["updateable"] for field in parts)


def test_a_dependent_picklist_without_its_controlling_field(running: ServedOrg) -> None:
    restrict(running, "Contact", "Region__c")
    described = running.api.get("sobjects/Contact/describe")["fields"]
    territory = next(field for field in described if field["name"] == "Territory__c")
    assert (territory["controllerName"], territory["dependentPicklist"]) == (None, False)


def test_hidden_fields_keep_their_rules(running: ServedOrg) -> None:
    restrict(running, "Contact", "Newsletter__c")
    record_id = running.api.create("Contact", LastName="x")
    restrict(running, "Contact", "Newsletter__c", readable=True, editable=True)
    assert running.api.get(f"sobjects/Contact/{record_id}")["Newsletter__c"] is True


def test_list_views_leave_hidden_columns_out(running: ServedOrg) -> None:
    restrict(running, "Lead", "State")
    views = running.api.get("sobjects/Lead/listviews")["listviews"]
    for view in views:
        described = running.api.get(f"sobjects/Lead/listviews/{view['id']}/describe")
        shown = {column["fieldNameOrPath"] for column in described["columns"]}
        assert "State" not in shown
        running.api.get(f"sobjects/Lead/listviews/{view['id']}/results")
        running.api.get("query", q=described["query"])


def test_bulk_queries_and_uploads_see_what_their_user_sees(running: ServedOrg) -> None:
    api = running.api
    restrict(running, "Contact", "Twitter__c")
    body = {"operation": "query", "query": "SELECT Twitter__c FROM Contact"}
    (error,) = api.send("POST", "jobs/query", body, 400)
    assert "No such column 'Twitter__c'" in error["message"]
    job = api.send("POST", "jobs/ingest", {"object": "Contact", "operation": "insert"}, 200)
    api.call("PUT", f"jobs/ingest/{job['id']}/batches", data=b"LastName,Twitter__c\nx,y\n")
    api.send("PATCH", f"jobs/ingest/{job['id']}", {"state": "UploadComplete"}, 200)
    failed = api.finished("ingest", job["id"], "Failed")
    assert failed["errorMessage"] == "InvalidBatch : Field name not found : Twitter__c"


@pytest.mark.parametrize(
    "field",
    ["Id", "LastName", "FirstName", "Name", "OwnerId", "SystemModstamp", "IsDeleted", "PhotoUrl"],
)
def test_system_and_required_fields_cannot_be_hidden(home: Path, field: str) -> None:
    words = f"{field} is required or a system field"
    with closing(Org(home, Settings())) as org, pytest.raises(PipelineError, match=words):
        set_field_access(org, org.store.admin_id, "Contact", field, False, False)


def test_access_that_makes_no_sense(home: Path) -> None:
    with closing(Org(home, Settings())) as org:
        with pytest.raises(PipelineError, match="There is no user 005000000000000AAA"):
            set_field_access(org, "005000000000000AAA", "Contact", "Title", False, False)
        with pytest.raises(PipelineError, match="without being readable"):
            set_field_access(org, org.store.admin_id, "Contact", "Title", False, True)


def test_a_field_that_becomes_required_is_seen_again(running: ServedOrg) -> None:
    restrict(running, "Contact", "Twitter__c")
    make_required(running.org, sobject="Contact", field="Twitter__c")
    assert "Twitter__c" in names(running)


def test_views_are_made_once_and_forgotten(home: Path) -> None:
    with closing(Org(home, Settings())) as org:
        user, other = org.store.integration_user_id, org.store.admin_id
        assert org.schema_for(user) is org.schema
        set_field_access(org, user, "Contact", "Title", False, False)
        view = org.schema_for(user)
        assert view is org.schema_for(user)
        assert view["Lead"] is org.schema["Lead"]
        assert org.schema_for(other) is org.schema
        gone = weakref.ref(view), weakref.ref(org.schema)
        set_field_access(org, user, "Contact", "Title", True, True)
        del view
        gc.collect()
        assert [reference() for reference in gone] == [None, None]


def test_access_outlives_a_restart(home: Path) -> None:
    with closing(Org(home, Settings())) as org:
        user = org.store.integration_user_id
        set_field_access(org, user, "Contact", "Title", False, False)
    with closing(Org(home, Settings())) as org:
        assert org.schema_for(user)["Contact"].field("Title") is None
        assert org.schema["Contact"].field("Title")
