from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves.record_locks import (
    lock_record,
    record_locks,
    unlock_record,
)
from salesforce_pipelines.local_org.saves.rule_settings import (
    add_rule,
    change_rule,
    delete_rule,
    rules,
)
from salesforce_pipelines.local_org.saves.save_rules import KINDS
from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.served_org import served_org


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Org, Api]]:
    with served_org(tmp_path_factory.mktemp("rules") / "home") as pair:
        yield pair


@pytest.fixture
def org(served: tuple[Org, Api]) -> Iterator[Org]:
    yield served[0]
    for kind in KINDS:
        served[0].save_rules.replace(kind, [])


@pytest.fixture
def api(served: tuple[Org, Api], org: Org) -> Api:
    return served[1]


def refused(api: Api, method: str, path: str, body: Any, status: int = 400) -> dict[str, Any]:
    (error,) = api.send(method, path, body, status)
    return dict(error)


def ingest(
    api: Api, operation: str, sobject: str, csv: str, **options: Any
) -> tuple[dict[str, Any], str]:
    """A finished job, and its failed records."""
    body = {"object": sobject, "operation": operation, "contentType": "CSV", **options}
    job_id = api.send("POST", "jobs/ingest", body, 200)["id"]
    upload = api.call("PUT", f"jobs/ingest/{job_id}/batches", data=csv.encode())
    assert upload.status_code == 201
    api.send("PATCH", f"jobs/ingest/{job_id}", {"state": "UploadComplete"}, 200)
    job = api.finished("ingest", job_id)
    return job, api.call("GET", f"jobs/ingest/{job_id}/failedResults").text


# Validation rules


def no_ceo_without_phone(**changes: Any) -> dict[str, Any]:
    return {
        "name": "CEO_has_phone",
        "sObject": "contact",
        "errorCondition": "Title = 'CEO' AND Phone = null",
        "errorMessage": "A CEO needs a phone number.",
        "errorDisplayField": "phone",
    } | changes


def test_a_validation_rule_refuses_what_a_record_would_become(org: Org, api: Api) -> None:
    before = api.create("Contact", LastName="x", Title="CEO")
    rule = add_rule(org, "validationRules", no_ceo_without_phone())
    assert (rule["sObject"], rule["errorDisplayField"], rule["active"]) == (
        "Contact",
        "Phone",
        True,
    )
    expected = {
        "message": "A CEO needs a phone number.",
        "errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "fields": ["Phone"],
    }
    body = {"LastName": "x", "Title": "ceo"}
    assert refused(api, "POST", "sobjects/Contact", body) == expected
    assert refused(api, "PATCH", f"sobjects/Contact/{before}", {"FirstName": "y"}) == expected
    api.create("Contact", LastName="x", Title="CEO", Phone="555-0100")
    api.update("Contact", before, FirstName="y", Phone="555-0101")
    assert refused(api, "PATCH", f"sobjects/Contact/{before}", {"Phone": None}) == expected
    row = api.get(f"sobjects/Contact/{before}")
    assert (row["FirstName"], row["Phone"]) == ("y", "555-0101")
    assert api.records("SELECT Id FROM Contact WHERE Title = 'ceo' AND Phone = null") == []


def test_in_collections_and_bulk_only_the_record_is_refused(org: Org, api: Api) -> None:
    add_rule(org, "validationRules", no_ceo_without_phone(errorDisplayField=None))
    contact = {"attributes": {"type": "Contact"}, "LastName": "x"}
    records = [contact, contact | {"Title": "CEO"}]
    results = api.send("POST", "composite/sobjects", {"records": records}, 200)
    assert [result["success"] for result in results] == [True, False]
    assert results[1]["errors"] == [
        {
            "statusCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            "message": "A CEO needs a phone number.",
            "fields": [],
        }
    ]
    job, failed = ingest(api, "insert", "Contact", "LastName,Title\na,CEO\nb,CFO\n")
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (2, 1)
    assert "FIELD_CUSTOM_VALIDATION_EXCEPTION:A CEO needs a phone number.:--" in failed


def test_conditions_see_parents_formulas_and_other_records(org: Org, api: Api) -> None:
    conditions = {
        "parent": "Account.Name = 'Forbidden'",
        "formula": "Full_Name_Length__c > 20",
        "semi_join": "AccountId IN (SELECT AccountId FROM Opportunity WHERE IsWon = true)",
        "day": "CreatedDate = TODAY AND Department = 'Today'",
    }
    for name, condition in conditions.items():
        rule = no_ceo_without_phone(name=name, errorCondition=condition, errorMessage=name)
        add_rule(org, "validationRules", rule)
    forbidden, fine = (api.create("Account", Name=name) for name in ("Forbidden", "Fine"))
    api.create(
        "Opportunity", Name="o", StageName="Closed Won", CloseDate="2024-05-31", AccountId=fine
    )
    path = "sobjects/Contact"
    assert refused(api, "POST", path, {"LastName": "x", "AccountId": forbidden})["message"] == (
        "parent"
    )
    assert refused(api, "POST", path, {"LastName": "x" * 21})["message"] == "formula"
    assert (
        refused(api, "POST", path, {"LastName": "x", "AccountId": fine})["message"] == "semi_join"
    )
    assert refused(api, "POST", path, {"LastName": "x", "Department": "Today"})["message"] == "day"
    record_id = api.create("Contact", LastName="x" * 20)
    assert refused(api, "PATCH", f"{path}/{record_id}", {"FirstName": "y"})["message"] == "formula"


def test_changes_take_effect_at_once(org: Org, api: Api) -> None:
    body = {"LastName": "x", "Title": "CEO"}
    add_rule(org, "validationRules", no_ceo_without_phone(active=False))
    api.send("POST", "sobjects/Contact", body, 201)
    change_rule(org, "validationRules", "ceo_HAS_phone", {"active": True})
    assert refused(api, "POST", "sobjects/Contact", body)["message"].startswith("A CEO")
    change_rule(org, "validationRules", "CEO_has_phone", {"errorMessage": "No."})
    assert refused(api, "POST", "sobjects/Contact", body)["message"] == "No."
    change_rule(org, "validationRules", "CEO_has_phone", {"errorCondition": "Title = 'CFO'"})
    api.send("POST", "sobjects/Contact", body, 201)
    delete_rule(org, "validationRules", "CEO_has_phone")
    assert rules(org, "validationRules") == []
    api.send("POST", "sobjects/Contact", body | {"Title": "CFO"}, 201)


def test_the_first_of_several_rules_speaks(org: Org, api: Api) -> None:
    for name in ("first", "second"):
        rule = no_ceo_without_phone(name=name, errorMessage=name)
        add_rule(org, "validationRules", rule)
    body = {"LastName": "x", "Title": "CEO"}
    assert refused(api, "POST", "sobjects/Contact", body)["message"] == "first"
    change_rule(org, "validationRules", "first", {"active": False})
    assert refused(api, "POST", "sobjects/Contact", body)["message"] == "second"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"errorCondition": ""}, "INVALID_INPUT"),
        ({"errorCondition": "Nope = 1"}, "INVALID_FIELD"),
        ({"errorCondition": "Title ="}, "MALFORMED_QUERY"),
        ({"errorCondition": "Title = 'x') LIMIT 1"}, "MALFORMED_QUERY"),
        ({"sObject": "Nope"}, "INVALID_INPUT"),
        ({"errorDisplayField": "Nope"}, "INVALID_INPUT"),
        ({"nope": 1}, "INVALID_INPUT"),
        ({"active": "yes"}, "INVALID_INPUT"),
        ({"name": "ceo_has_PHONE"}, "DUPLICATE_VALUE"),
    ],
)
def test_a_rule_that_does_not_fit_is_not_kept(org: Org, changes: dict[str, Any], code: str) -> None:
    kept = add_rule(org, "validationRules", no_ceo_without_phone())
    with pytest.raises(ApiError) as refusal:
        add_rule(org, "validationRules", no_ceo_without_phone(name="other") | changes)
    assert refusal.value.code == code
    assert rules(org, "validationRules") == [kept]


def test_unknown_rules_and_kinds(org: Org) -> None:
    for call in (
        lambda: change_rule(org, "triggers", "nope", {}),
        lambda: delete_rule(org, "triggers", "nope"),
        lambda: rules(org, "nope"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ApiError) as refusal:
            call()
        assert refusal.value.status == 404


def test_rules_outlive_a_restart(tmp_path: Path) -> None:
    with served_org(tmp_path / "home") as (org, api):
        add_rule(org, "validationRules", no_ceo_without_phone())
        locked = api.create("Account", Name="x")
        lock_record(org, locked, "approval")
    with served_org(tmp_path / "home") as (_, api):
        refused(api, "POST", "sobjects/Contact", {"LastName": "x", "Title": "CEO"})
        error = refused(api, "PATCH", f"sobjects/Account/{locked}", {"Site": "x"})
        assert error["errorCode"] == "ENTITY_IS_LOCKED"


# Triggers and lookup filters


def test_a_trigger_fails(org: Org, api: Api) -> None:
    kept = api.create("Lead", LastName="x", Company="y")
    trigger = {
        "name": "LeadTrigger",
        "sObject": "Lead",
        "events": ["BeforeUpdate", "BeforeDelete"],
        "condition": "Company != 'Safe'",
        "errorMessage": "System.NullPointerException: Attempt to de-reference a null object",
    }
    add_rule(org, "triggers", trigger)
    other = api.create("Lead", LastName="x", Company="y")
    for method, event in (("PATCH", "BeforeUpdate"), ("DELETE", "BeforeDelete")):
        body = {"Title": "x"} if method == "PATCH" else None
        error = refused(api, method, f"sobjects/Lead/{kept}", body)
        assert error["errorCode"] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
        assert error["message"] == (
            f"LeadTrigger: execution of {event}\n\ncaused by: System.NullPointerException: "
            "Attempt to de-reference a null object"
        )
    api.update("Lead", other, Company="Safe")
    api.delete("Lead", other)
    change_rule(org, "triggers", "LeadTrigger", {"events": ["BeforeInsert"], "condition": ""})
    body = {"LastName": "x", "Company": "Safe"}
    assert "BeforeInsert" in refused(api, "POST", "sobjects/Lead", body)["message"]
    api.delete("Lead", kept)


def test_a_trigger_runs_before_validation_rules_and_after_the_system(org: Org, api: Api) -> None:
    add_rule(org, "validationRules", no_ceo_without_phone(errorCondition="LastName != null"))
    trigger = {"name": "T", "sObject": "Contact", "errorMessage": "first"}
    add_rule(org, "triggers", trigger)
    assert refused(api, "POST", "sobjects/Contact", {"LastName": "x"})["message"].startswith("T:")
    error = refused(api, "POST", "sobjects/Contact", {"LastName": "x", "Email": "bad"})
    assert error["errorCode"] == "INVALID_EMAIL_ADDRESS"


def test_a_lookup_filter(org: Org, api: Api) -> None:
    good, bad = (api.create("Account", Name=name) for name in ("Good", "Bad"))
    before = api.create("Contact", LastName="x", AccountId=bad)
    rule = {
        "name": "F",
        "sObject": "Contact",
        "field": "accountid",
        "condition": "Name LIKE 'Good%'",
    }
    add_rule(org, "lookupFilters", rule)
    expected = {
        "message": "Value does not exist or does not match filter criteria.",
        "errorCode": "FIELD_FILTER_VALIDATION_EXCEPTION",
        "fields": ["AccountId"],
    }
    assert refused(api, "POST", "sobjects/Contact", {"LastName": "x", "AccountId": bad}) == expected
    api.create("Contact", LastName="x")
    api.update("Contact", before, Title="x")
    api.update("Contact", before, AccountId=good)
    assert refused(api, "PATCH", f"sobjects/Contact/{before}", {"AccountId": bad}) == expected


# Duplicate rules


def same_email(**changes: Any) -> dict[str, Any]:
    fields = [{"field": "Email", "method": "email"}]
    return {
        "name": "Contacts_DR",
        "sObject": "Contact",
        "onCreate": "alert",
        "onEdit": "block",
        "matchingRules": [{"name": "Contact_MR", "sObject": "Contact", "fields": fields}],
    } | changes


def test_an_alert_to_the_letter(org: Org, api: Api) -> None:
    email = f"{unique('Dup')}@example.com"
    first = api.create("Contact", LastName="x", Email=email)
    add_rule(org, "duplicateRules", same_email())
    duplicate = {
        "allowSave": True,
        "duplicateRule": "Contacts_DR",
        "duplicateRuleEntityType": "Contact",
        "errorMessage": "Use one of these records?",
        "matchResults": [
            {
                "entityType": "Contact",
                "errors": [],
                "matchEngine": "ExactMatchEngine",
                "matchRecords": [
                    {
                        "additionalInformation": [],
                        "fieldDiffs": [],
                        "matchConfidence": 100.0,
                        "record": {
                            "attributes": {
                                "type": "Contact",
                                "url": f"/services/data/v62.0/sobjects/Contact/{first}",
                            },
                            "Id": first,
                        },
                    }
                ],
                "rule": "Contact_MR",
                "size": 1,
                "success": True,
            }
        ],
    }
    body = {"LastName": "other", "Email": email.upper()}
    assert api.send("POST", "sobjects/Contact", body, 400) == [
        {
            "duplicateResut": duplicate,
            "errorCode": "DUPLICATES_DETECTED",
            "message": "Use one of these records?",
        }
    ]
    records = {"records": [{"attributes": {"type": "Contact"}} | body]}
    (result,) = api.send("POST", "composite/sobjects", records, 200)
    assert result["errors"] == [
        {
            "duplicateResut": duplicate,
            "statusCode": "DUPLICATES_DETECTED",
            "message": "Use one of these records?",
            "fields": [],
        }
    ]


def test_allow_save_passes_an_alert_but_no_block(org: Org, api: Api) -> None:
    email = f"{unique('dup')}@example.com"
    first = api.create("Contact", LastName="x", Email=email)
    add_rule(org, "duplicateRules", same_email())
    headers = {"Sforce-Duplicate-Rule-Header": "allowSave=true; includeRecordDetails=true"}
    body = {"LastName": "y", "Email": email}
    answer = api.call("POST", "sobjects/Contact", json=body, headers=headers)
    assert answer.status_code == 201
    other = api.create("Contact", LastName="z")
    answer = api.call("PATCH", f"sobjects/Contact/{other}", json={"Email": email}, headers=headers)
    (error,) = answer.json()
    assert (answer.status_code, error["duplicateResut"]["allowSave"]) == (400, False)
    (found,) = error["duplicateResut"]["matchResults"]
    shown = {item["record"]["Id"]: item["record"] for item in found["matchRecords"]}
    assert set(shown) == {first, answer_id(api, email, "y")}
    assert (shown[first]["LastName"], shown[first]["Email"]) == ("x", email)
    api.update("Contact", first, Title="unrelated")


def answer_id(api: Api, email: str, name: str) -> str:
    soql = f"SELECT Id FROM Contact WHERE Email = '{email}' AND LastName = '{name}'"
    return str(api.records(soql)[0]["Id"])


def test_bulk_passes_alerts_and_not_blocks(org: Org, api: Api) -> None:
    email = f"{unique('bulk')}@example.com"
    api.create("Contact", LastName="x", Email=email)
    add_rule(org, "duplicateRules", same_email())
    csv = f"LastName,Email\nb,{email}\n"
    job, _ = ingest(api, "insert", "Contact", csv)
    assert job["numberRecordsFailed"] == 0
    change_rule(org, "duplicateRules", "Contacts_DR", {"onCreate": "block"})
    job, failed = ingest(api, "insert", "Contact", csv)
    assert job["numberRecordsFailed"] == 1
    assert "DUPLICATES_DETECTED:Use one of these records?:--" in failed


def test_the_standard_rules_are_there_and_not_active(org: Org, api: Api) -> None:
    org.save_rules._rules.pop("duplicateRules", None)  # as nobody had ever changed any
    known = rules(org, "duplicateRules")
    assert [(rule["name"], rule["active"]) for rule in known] == [
        ("Standard_Contact_Duplicate_Rule", False),
        ("Standard_Lead_Duplicate_Rule", False),
        ("Standard_Account_Duplicate_Rule", False),
    ]
    person = {"FirstName": "Zoë", "LastName": "Ørsted", "Email": f"{unique('z')}@example.com"}
    contact = api.create("Contact", **person)
    lead = api.create("Lead", Company="x", **person)
    change_rule(org, "duplicateRules", "Standard_Lead_Duplicate_Rule", {"active": True})
    assert len(rules(org, "duplicateRules")) == 3
    body = person | {"Company": "other", "FirstName": "ZOË", "LastName": "ørsted"}
    found = refused(api, "POST", "sobjects/Lead", body)["duplicateResut"]["matchResults"]
    assert [(item["entityType"], item["matchEngine"], item["size"]) for item in found] == [
        ("Lead", "FuzzyMatchEngine", 1),
        ("Contact", "FuzzyMatchEngine", 1),
    ]
    ids = [item["matchRecords"][0]["record"]["Id"] for item in found]
    assert ids == [lead, contact]
    api.create("Lead", **body | {"FirstName": None})
    api.create("Contact", **person)


# Assignment rules


def users(api: Api) -> list[str]:
    return [str(row["Id"]) for row in api.records("SELECT Id FROM User ORDER BY CreatedDate, Id")]


def test_an_assignment_rule_gives_new_leads_an_owner(org: Org, api: Api) -> None:
    first, second = users(api)[:2]
    me = api.get(f"sobjects/Lead/{api.create('Lead', LastName='x', Company='y')}")["OwnerId"]
    assigned = next(user for user in (first, second) if user != me)
    entries = [
        {"condition": "Company = 'Mine'", "ownerId": me},
        {"condition": "LeadSource = 'Web'", "ownerId": assigned[:15]},
    ]
    rule = add_rule(org, "assignmentRules", {"name": "Standard", "entries": entries})
    assert rule["id"].startswith("01Q")

    def owner(headers: dict[str, str], **values: Any) -> str:
        body = {"LastName": "x", "Company": "y", **values}
        lead = api.call("POST", "sobjects/Lead", json=body, headers=headers).json()["id"]
        return str(api.get(f"sobjects/Lead/{lead}")["OwnerId"])

    assert owner({}, LeadSource="Web") == assigned
    assert owner({}, LeadSource="Web", OwnerId=me) == assigned
    assert owner({}, LeadSource="Web", Company="Mine") == me
    assert owner({}, LeadSource="Other") == me
    assert owner({"Sforce-Auto-Assign": "FALSE"}, LeadSource="Web") == me
    csv = "LastName,Company,LeadSource\nBulk,{},Web\n"
    found = []
    for options in ({}, {"assignmentRuleId": rule["id"][:15]}):
        name = unique("bulk")
        ingest(api, "insert", "Lead", csv.format(name), **options)
        found += api.records(f"SELECT OwnerId FROM Lead WHERE Company = '{name}'")
    assert [row["OwnerId"] for row in found] == [me, assigned]
    other = {"name": "Other", "entries": [{"ownerId": me}]}
    add_rule(org, "assignmentRules", other)
    assert [item["active"] for item in rules(org, "assignmentRules")] == [False, True]
    assert owner({}, LeadSource="Web") == me
    change_rule(org, "assignmentRules", "Other", {"active": False})
    assert owner({"Sforce-Auto-Assign": rule["id"]}, LeadSource="Web") == assigned
    assert owner({}, LeadSource="Web") == me


def test_an_owner_has_to_be_there(org: Org) -> None:
    for owner in ("005000000000000AAA", "x"):
        with pytest.raises(ApiError, match="INVALID_INPUT"):
            add_rule(org, "assignmentRules", {"name": "x", "entries": [{"ownerId": owner}]})


# Locks


def test_a_row_lock_holds_the_record_and_its_children(org: Org, api: Api) -> None:
    account, other = (api.create("Account", Name=name) for name in ("Locked", "Free"))
    contact = api.create("Contact", LastName="x", AccountId=account)
    lock_record(org, account[:15])
    expected = {
        "message": "unable to obtain exclusive access to this record or 1 records: " + account,
        "errorCode": "UNABLE_TO_LOCK_ROW",
        "fields": [],
    }
    path = "sobjects/Contact"
    for method, where, body in (
        ("PATCH", f"sobjects/Account/{account}", {"Email": "not even looked at", "Site": "x"}),
        ("DELETE", f"sobjects/Account/{account}", None),
        ("POST", path, {"LastName": "y", "AccountId": account}),
        ("PATCH", f"{path}/{contact}", {"Title": "x"}),
        ("PATCH", f"{path}/{contact}", {"AccountId": other}),
        ("DELETE", f"{path}/{contact}", None),
    ):
        assert refused(api, method, where, body) == expected
    api.update("Account", other, Site="x")
    csv = f"Id,Title\n{contact},CEO\n"
    job, failed = ingest(api, "update", "Contact", csv)
    assert job["numberRecordsFailed"] == 1
    assert f"UNABLE_TO_LOCK_ROW:{expected['message']}:--" in failed
    assert unlock_record(org, account) is True
    assert unlock_record(org, account) is False
    api.update("Contact", contact, Title="CEO")


def test_an_approval_locks_the_record_alone(org: Org, api: Api) -> None:
    account = api.create("Account", Name="Approving")
    lock_record(org, account, "approval")
    error = refused(api, "PATCH", f"sobjects/Account/{account}", {"Site": "x"})
    assert error["errorCode"] == "ENTITY_IS_LOCKED"
    api.create("Contact", LastName="x", AccountId=account)
    lock_record(org, account, "row")
    assert [lock["kind"] for lock in record_locks(org)] == ["row"]


def test_a_lock_lasts_some_refusals_or_some_time(org: Org, api: Api) -> None:
    account = api.create("Account", Name="Twice")
    lock_record(org, account, times=2)
    for left in (1, 0):
        refused(api, "PATCH", f"sobjects/Account/{account}", {"Site": "x"})
        assert sum(lock["times"] for lock in record_locks(org)) == left
    api.update("Account", account, Site="x")
    now = datetime.now(UTC)
    lock_record(org, account, until=(now + timedelta(hours=1)).isoformat())
    refused(api, "PATCH", f"sobjects/Account/{account}", {"Site": "y"})
    lock_record(org, account, until=(now - timedelta(seconds=1)).isoformat())
    api.update("Account", account, Site="y")
    assert record_locks(org) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"record_id": "x"},
        {"record_id": "zzz000000000000AAA"},
        {"kind": "table"},
        {"times": 0},
        {"until": "tomorrow"},
    ],
)
def test_a_lock_that_cannot_be(org: Org, arguments: dict[str, Any]) -> None:
    with pytest.raises(ApiError):
        lock_record(org, **{"record_id": "001000000000000AAA"} | arguments)
    assert record_locks(org) == []


def test_a_refused_record_of_a_composite_takes_the_others_back(org: Org, api: Api) -> None:
    add_rule(org, "validationRules", no_ceo_without_phone())
    name = unique("Composite")
    requests = [
        ("Account", {"Name": name}),
        ("Contact", {"LastName": name, "Title": "CEO", "AccountId": "@{r0.id}"}),
    ]
    body = {
        "allOrNone": True,
        "compositeRequest": [
            {
                "method": "POST",
                "url": f"/services/data/v62.0/sobjects/{sobject}",
                "referenceId": f"r{at}",
                "body": values,
            }
            for at, (sobject, values) in enumerate(requests)
        ],
    }
    results = api.send("POST", "composite", body, 200)["compositeResponse"]
    codes = [result["body"][0]["errorCode"] for result in results]
    assert codes == ["PROCESSING_HALTED", "FIELD_CUSTOM_VALIDATION_EXCEPTION"]
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{name}'", "queryAll") == []
