"""A field that Setup names stays, and a rule that was left behind refuses one record at a time."""

from collections.abc import Iterator
from typing import Any

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.metadata.metadata_changes import (
    add_field,
    delete_field,
    set_field_access,
)
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.rest.list_views import add_list_view, delete_list_view
from salesforce_pipelines.local_org.saves.lead_conversion import set_lead_field_mapping
from salesforce_pipelines.local_org.saves.rule_settings import add_rule, delete_rule
from salesforce_pipelines.local_org.saves.save_rules import Kind
from salesforce_pipelines_tests.local_org.conftest import Api
from salesforce_pipelines_tests.local_org.served_org import served_org
from salesforce_pipelines_tests.local_org.test_save_rules import ingest

CONDITION = "S9__c = 'x'"
RULES: list[tuple[Kind, dict[str, Any], str]] = [
    ("validationRules", {"errorCondition": CONDITION, "errorMessage": "m"}, "validation rule"),
    (
        "validationRules",
        {
            "sObject": "CampaignMember",
            "errorCondition": f"Contact.{CONDITION}",
            "errorMessage": "m",
            "active": False,
        },
        "validation rule",
    ),
    (
        "validationRules",
        {"errorCondition": "Title = 'x'", "errorMessage": "m", "errorDisplayField": "S9__c"},
        "validation rule",
    ),
    ("triggers", {"condition": CONDITION, "errorMessage": "m"}, "trigger"),
    ("lookupFilters", {"field": "ReportsToId", "condition": CONDITION}, "lookup filter"),
    (
        "duplicateRules",
        {"matchingRules": [{"name": "m", "sObject": "Contact", "fields": [{"field": "S9__c"}]}]},
        "duplicate rule",
    ),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Org, Api]]:
    with served_org(tmp_path_factory.mktemp("uses") / "home") as pair:
        yield pair


@pytest.fixture
def org(served: tuple[Org, Api]) -> Iterator[Org]:
    org = served[0]
    for sobject in ("Contact", "Lead"):
        add_field(org, sobject=sobject, name="S9__c", type="string")
    yield org
    for sobject in ("Contact", "Lead"):
        if org.schema[sobject].field("S9__c"):
            delete_field(org, sobject=sobject, field="S9__c")


@pytest.fixture
def api(served: tuple[Org, Api], org: Org) -> Api:
    return served[1]


def delete(org: Org, sobject: str = "Contact") -> None:
    delete_field(org, sobject=sobject, field="S9__c")


@pytest.mark.parametrize(("kind", "rule", "shown"), RULES)
def test_a_field_that_a_rule_names_stays(
    org: Org, api: Api, kind: Kind, rule: dict[str, Any], shown: str
) -> None:
    add_rule(org, kind, {"name": "R", "sObject": "Contact", **rule})
    delete(org, "Lead")
    with pytest.raises(PipelineError, match=rf"Contact\.S9__c is used by the {shown} R; change"):
        delete(org)
    api.create("Contact", LastName="x", S9__c="y")
    delete_rule(org, kind, "R")
    delete(org)


@pytest.mark.parametrize("part", ["columns", "whereCondition", "orderBy"])
def test_a_field_that_a_list_view_names_stays(org: Org, part: str) -> None:
    parts = {
        "columns": ["Name", "S9__c"],
        "whereCondition": {"field": "S9__c", "operator": "equals", "values": ["'x'"]},
        "orderBy": [{"fieldNameOrPath": "S9__c", "sortDirection": "ascending"}],
    }
    view = {"sobjectType": "Contact", "developerName": "V", "columns": ["Name"]}
    added = add_list_view(org, {**view, part: parts[part]})
    with pytest.raises(PipelineError, match="is used by the list view V"):
        delete(org)
    delete_list_view(org, added["id"])
    delete(org)


def test_a_field_that_the_lead_mapping_names_stays(org: Org) -> None:
    set_lead_field_mapping(org, {"Contact": {"S9__c": "S9__c"}})
    for sobject in ("Contact", "Lead"):
        with pytest.raises(PipelineError, match="is used by the lead field mapping"):
            delete(org, sobject)
    set_lead_field_mapping(org, {})
    delete(org, "Lead")


@pytest.mark.parametrize("kind", ["validationRules", "triggers"])
def test_a_rule_that_was_left_behind_refuses_one_record(org: Org, api: Api, kind: Kind) -> None:
    condition = "errorCondition" if kind == "validationRules" else "condition"
    rule = {
        "name": "Left",
        "sObject": "Contact",
        condition: "Long_Gone__c = 'x'",
        "errorMessage": "m",
        "errorDisplayField": None,
        "events": ["BeforeInsert", "BeforeDelete"],
        "active": True,
    }
    kept = api.create("Contact", LastName="x")
    org.save_rules.replace(kind, [rule])
    try:
        (error,) = api.send("POST", "sobjects/Contact", {"LastName": "x"}, 400)
        assert error["errorCode"] == "FIELD_CUSTOM_VALIDATION_EXCEPTION"
        assert "Long_Gone__c" in error["message"]
        job, failed = ingest(api, "insert", "Contact", "LastName\na\nb\n")
        assert (job["state"], job["numberRecordsFailed"]) == ("JobComplete", 2)
        assert "FIELD_CUSTOM_VALIDATION_EXCEPTION" in failed
        if kind == "triggers":
            (error,) = api.send("DELETE", f"sobjects/Contact/{kept}", None, 400)
            assert "Long_Gone__c" in error["message"]
    finally:
        org.save_rules.replace(kind, [])


def test_a_view_that_filters_by_a_hidden_field_is_refused(org: Org, api: Api) -> None:
    view = {
        "sobjectType": "Contact",
        "developerName": "Hidden",
        "columns": ["Name", "S9__c"],
        "whereCondition": {"field": "S9__c", "operator": "equals", "values": ["'x'"]},
    }
    view_id = add_list_view(org, view)["id"]
    user = org.store.integration_user_id
    set_field_access(org, user, "Contact", "S9__c", False, False)
    path = f"sobjects/Contact/listviews/{view_id}"
    described, results = (api.get(f"{path}/{what}", status=400) for what in ("describe", "results"))
    assert described[0]["errorCode"] == results[0]["errorCode"] == "INVALID_FIELD"
    set_field_access(org, user, "Contact", "S9__c", True, True)
    assert "S9__c = 'x'" in api.get(f"{path}/describe")["query"]
    delete_list_view(org, view_id)
