"""Setup through the admin interface: it counts at once, and bad input is told by its key."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.local_org.admin_client import AdminRefusedError
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """An org of this module's own: its metadata is changed."""
    with running_org(tmp_path_factory.mktemp("setup") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def api(org: RunningOrg) -> Iterator[Api]:
    client = api_of(org)
    with client.session:
        yield client


def field_of(api: Api, sobject: str, name: str) -> dict[str, Any] | None:
    fields = api.get(f"sobjects/{sobject}/describe")["fields"]
    return next((item for item in fields if item["name"] == name), None)


def test_a_field_is_added_made_required_and_deleted(org: RunningOrg, api: Api) -> None:
    org.admin.send("POST", "fields/Contact", {"name": "Shoe_Size__c", "type": "double", "scale": 1})
    added = field_of(api, "Contact", "Shoe_Size__c")
    assert added is not None
    assert (added["type"], added["scale"], added["updateable"]) == ("double", 1, True)
    record_id = api.create("Contact", LastName="x", Shoe_Size__c=44.5)
    assert api.get(f"sobjects/Contact/{record_id}")["Shoe_Size__c"] == 44.5
    org.admin.send("PATCH", "fields/Contact/Shoe_Size__c", {"required": True})
    refused = api.send("POST", "sobjects/Contact", {"LastName": "x"}, 400)
    assert refused[0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    org.admin.send("PATCH", "fields/Contact/Shoe_Size__c", {"required": False})
    org.admin.send("PATCH", "fields/Contact/Shoe_Size__c", {"type": "string", "length": 10})
    assert api.get(f"sobjects/Contact/{record_id}")["Shoe_Size__c"] == "44.5"
    org.admin.send("DELETE", "fields/Contact/Shoe_Size__c")
    assert field_of(api, "Contact", "Shoe_Size__c") is None
    assert api.refused("SELECT Shoe_Size__c FROM Contact")[0] == "INVALID_FIELD"


def test_a_hidden_field_is_as_if_it_were_not_there(org: RunningOrg, api: Api) -> None:
    user = "integration@local-org.example"
    record_id = api.create("Lead", LastName="x", Company="y", Title="CEO")
    org.admin.send("PATCH", "fields/Lead/Title/access", {"user": user, "readable": False})
    assert field_of(api, "Lead", "Title") is None
    assert api.refused("SELECT Title FROM Lead")[0] == "INVALID_FIELD"
    assert "Title" not in api.get(f"sobjects/Lead/{record_id}")
    org.admin.send("PATCH", "fields/Lead/Title/access", {"user": user, "editable": False})
    assert api.get(f"sobjects/Lead/{record_id}")["Title"] == "CEO"
    refused = api.send("PATCH", f"sobjects/Lead/{record_id}", {"Title": "CTO"}, 400)
    assert refused[0]["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
    org.admin.send("PATCH", "fields/Lead/Title/access", {"user": user})
    api.update("Lead", record_id, Title="CTO")


def test_a_picklist_value_is_renamed_added_and_deactivated(org: RunningOrg, api: Api) -> None:
    record_id = api.create("Lead", LastName="x", Company="y", Rating="Warm")
    change = {"change": "rename", "value": "Warm", "new_value": "Lukewarm"}
    org.admin.send("PATCH", "fields/Lead/Rating/picklist", change)
    assert api.get(f"sobjects/Lead/{record_id}")["Rating"] == "Lukewarm"
    org.admin.send("PATCH", "fields/Lead/Rating/picklist", {"change": "add", "value": "Icy"})
    deactivate = {"change": "deactivate", "value": "Cold"}
    org.admin.send("PATCH", "fields/Lead/Rating/picklist", deactivate)
    rating = field_of(api, "Lead", "Rating")
    assert rating is not None
    active = {value["value"] for value in rating["picklistValues"] if value["active"]}
    assert {"Lukewarm", "Icy"} <= active
    assert not {"Warm", "Cold"} & active


def test_a_validation_rule_refuses_until_it_is_switched_off(org: RunningOrg, api: Api) -> None:
    rule = {
        "name": "No_CEOs",
        "sObject": "Contact",
        "errorCondition": "Title = 'CEO'",
        "errorMessage": "Too grand",
    }
    org.admin.send("POST", "rules/validationRules", rule)
    refused = api.send("POST", "sobjects/Contact", {"LastName": "x", "Title": "CEO"}, 400)
    assert refused[0]["errorCode"] == "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert refused[0]["message"] == "Too grand"
    listed = org.admin.send("GET", "rules/validationRules")["rules"]
    assert [one["name"] for one in listed] == ["No_CEOs"]
    org.admin.send("PATCH", "rules/validationRules/No_CEOs", {"active": False})
    api.create("Contact", LastName="x", Title="CEO")
    org.admin.send("DELETE", "rules/validationRules/No_CEOs")
    assert org.admin.send("GET", "rules/validationRules")["rules"] == []


def test_a_locked_record_is_refused_as_often_as_asked(org: RunningOrg, api: Api) -> None:
    record_id = api.create("Contact", LastName="x")
    org.admin.send("POST", "locks", {"id": record_id, "times": 1})
    refused = api.send("PATCH", f"sobjects/Contact/{record_id}", {"Title": "a"}, 400)
    assert refused[0]["errorCode"] == "UNABLE_TO_LOCK_ROW"
    api.update("Contact", record_id, Title="a")
    org.admin.send("POST", "locks", {"id": record_id, "kind": "approval"})
    assert org.admin.send("GET", "locks")["locks"][0]["id"] == record_id
    assert org.admin.send("DELETE", f"locks/{record_id}") == {"unlocked": True}
    api.update("Contact", record_id, Title="b")


def test_a_list_view_of_a_real_org_is_described_as_soql(org: RunningOrg, api: Api) -> None:
    view = {
        "sobjectType": "Contact",
        "developerName": "Chiefs_in_Ohio",
        "label": "Chiefs in Ohio",
        "columns": [
            {"fieldNameOrPath": "Name", "hidden": False},
            {"fieldNameOrPath": "Account.Name", "hidden": False},
            {"fieldNameOrPath": "Id", "hidden": True},
        ],
        "whereCondition": {
            "conjunction": "and",
            "conditions": [
                {"field": "Title", "operator": "in", "values": ["'CEO'", "'CTO'"]},
                {
                    "conjunction": "or",
                    "conditions": [
                        {"field": "MailingState", "operator": "like", "values": ["'OH%'"]},
                        {
                            "condition": {
                                "field": "LastName",
                                "operator": "equals",
                                "values": ["'x'"],
                            }
                        },
                    ],
                },
            ],
        },
        "scope": "everything",
    }
    saved = org.admin.send("POST", "list-views", view)
    inside, outside = unique("in"), unique("out")
    api.create("Contact", LastName=inside, Title="CTO", MailingState="OHIO")
    api.create("Contact", LastName=outside, Title="Clerk", MailingState="OHIO")
    described = api.get(f"sobjects/Contact/listviews/{saved['id']}/describe")
    assert described["query"] == saved["query"]
    found = {record["Name"] for record in api.get("query", q=described["query"])["records"]}
    assert inside in found
    assert outside not in found
    again = org.admin.send("POST", "list-views", {**view, "whereCondition": None})
    assert again["id"] == saved["id"]
    recent = api.get("sobjects/Contact/listviews/recent")["listviews"]
    assert saved["id"] in {one["id"] for one in recent}
    assert org.admin.send("DELETE", f"list-views/{saved['id']}") == {"deleted": True}
    assert api.get(f"sobjects/Contact/listviews/{saved['id']}", status=404)


def test_a_view_leaves_out_a_column_that_its_user_may_not_see(org: RunningOrg, api: Api) -> None:
    user = "integration@local-org.example"
    view = {"sobjectType": "Lead", "developerName": "Fax", "columns": ["Name", "Fax"]}
    saved = org.admin.send("POST", "list-views", view)
    org.admin.send("PATCH", "fields/Lead/Fax/access", {"user": user, "readable": False})
    described = api.get(f"sobjects/Lead/listviews/{saved['id']}/describe")
    org.admin.send("PATCH", "fields/Lead/Fax/access", {"user": user})
    shown = [one["fieldNameOrPath"] for one in described["columns"] if not one["hidden"]]
    assert shown == ["Name"]


def test_settings_of_the_app_and_of_conversion(org: RunningOrg) -> None:
    assert org.admin.send("PATCH", "app", {"session_seconds": 600})["session_seconds"] == 600
    assert org.admin.send("GET", "app")["session_seconds"] == 600
    mapping = {"Contact": {"LinkedIn_URL__c": "LinkedIn_URL__c"}}
    kept = {"Account": {}, "Opportunity": {}, **mapping}
    assert org.admin.send("PUT", "lead-field-mapping", mapping) == kept
    assert org.admin.send("GET", "lead-field-mapping") == kept


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "fields/Shoe", {"name": "X__c", "type": "double"}, "Shoe"),
        ("POST", "fields/Contact", {"name": "X__c"}, "type: "),
        ("POST", "fields/Contact", {"name": "X__c", "type": "shoe"}, "shoe"),
        ("POST", "fields/Contact", {"name": "X__c", "type": "double", "scale": "x"}, "scale: "),
        ("POST", "fields/Contact", {"name": "X__c", "type": "double", "size": 1}, "size"),
        ("PATCH", "fields/Contact/LastName", {}, "give required, or type"),
        ("PATCH", "fields/Contact/Nope__c", {"required": True}, "Nope__c"),
        ("PATCH", "fields/Contact/Title", {"required": "perhaps"}, "required: "),
        ("DELETE", "fields/Contact/LastName", None, "LastName"),
        ("PATCH", "fields/Lead/Rating/picklist", {"change": "paint"}, "change: give one of"),
        ("PATCH", "fields/Lead/Rating/picklist", {"change": "add"}, "value: "),
        ("PATCH", "fields/Lead/Title/access", {"user": "nobody"}, "no user 'nobody'"),
        ("POST", "rules/shoes", {}, "kind: "),
        ("POST", "rules/validationRules", {"name": "x"}, "sObject: "),
        ("DELETE", "rules/validationRules/x", None, "no rule x"),
        ("POST", "locks", {}, "id: "),
        ("POST", "list-views", {"sobjectType": "CampaignMember"}, "sobjectType: "),
        (
            "POST",
            "list-views",
            {"sobjectType": "Lead", "developerName": "x", "columns": ["Shoe"]},
            "cannot be queried",
        ),
        (
            "POST",
            "list-views",
            {
                "sobjectType": "Lead",
                "developerName": "x",
                "columns": ["Name"],
                "whereCondition": {"field": "Name", "operator": "near", "values": ["'x'"]},
            },
            "'near' is not known",
        ),
        ("PATCH", "app", {"session_seconds": -1}, "session_seconds"),
        ("PATCH", "app", {"colour": "red"}, "colour"),
        ("PUT", "lead-field-mapping", {"Contact": {"Shoe__c": "X__c"}}, "Shoe__c"),
    ],
)
def test_bad_input_is_told_by_its_key(
    org: RunningOrg, method: str, path: str, body: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(AdminRefusedError) as refused:
        org.admin.send(method, path, body)
    assert message in str(refused.value)


def test_setup_outlives_a_restart(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_org(home) as org:
        org.admin.send("POST", "fields/Lead", {"name": "Kept__c", "type": "boolean"})
        org.admin.send(
            "PATCH",
            "fields/Lead/Fax/access",
            {"user": "integration@local-org.example", "readable": False},
        )
    with running_org(home) as org:
        client = api_of(org)
        with client.session:
            names = {one["name"] for one in client.get("sobjects/Lead/describe")["fields"]}
    assert "Kept__c" in names
    assert "Fax" not in names
