"""What an administrator changes in Setup counts at once, and stays in the home."""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.metadata import metadata_changes as change
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.saves.lead_conversion import set_lead_field_mapping
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines_tests.local_org.conftest import Api, api_of
from salesforce_pipelines_tests.local_org.served import ServedOrg, served

NO_COLUMN = "No such column"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    build_home(tmp_path / "home", 1, tuple)
    return tmp_path / "home"


@pytest.fixture
def running(home: Path) -> Iterator[ServedOrg]:
    with served(Org(home, Settings())) as running:
        yield running


def fields(api: Api, sobject: str = "Contact") -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in api.get(f"sobjects/{sobject}/describe")["fields"]}


def added(running: ServedOrg, **wanted: Any) -> dict[str, Any]:
    """A new field of Contact as its describe has it; what was answered can be shown as JSON."""
    answer = change.add_field(running.org, sobject="Contact", **wanted)
    name = answer["fields"][-1]["name"]
    described = fields(running.api)[name]
    assert json.loads(json.dumps(answer["fields"][-1])) == described
    return described


def refusal(api: Api, **values: Any) -> dict[str, Any]:
    (error,) = api.send("POST", "sobjects/Contact", {"LastName": "x", **values}, 400)
    found: dict[str, Any] = error
    return found


@pytest.mark.parametrize(
    ("wanted", "written", "shown", "expected"),
    [
        ({"type": "string", "length": 12}, "abc", "abc", {"length": 12, "nillable": True}),
        ({"type": "textarea", "length": 5000}, "abc", "abc", {"filterable": False}),
        ({"type": "double", "precision": 5, "scale": 1}, 12.34, 12.3, {"scale": 1}),
        ({"type": "percent"}, 50, 50.0, {"precision": 18}),
        ({"type": "currency", "scale": 2}, "1.5", 1.5, {"type": "currency"}),
        ({"type": "boolean", "default": True}, False, False, {"defaultValue": True}),
        ({"type": "date"}, "2024-01-02", "2024-01-02", {"soapType": "xsd:date"}),
        ({"type": "time"}, "08:00:00", "08:00:00.000Z", {"soapType": "xsd:time"}),
        ({"type": "email", "unique": True}, "a@example.com", "a@example.com", {"length": 80}),
        (
            {"type": "picklist", "picklist": ["A", {"value": "B", "label": "Bee"}]},
            "B",
            "B",
            {"restrictedPicklist": True},
        ),
        ({"type": "multipicklist", "picklist": ["A", "B"]}, "B;A", "A;B", {"length": 4099}),
        ({"type": "encryptedstring"}, "abc", "abc", {"mask": "*"}),
        (
            {"type": "string", "external_id": True, "unique": True, "case_sensitive": True},
            "Key",
            "Key",
            {"externalId": True, "caseSensitive": True, "idLookup": True},
        ),
    ],
)
def test_a_field_of_each_kind_is_added(
    running: ServedOrg, wanted: dict[str, Any], written: Any, shown: Any, expected: dict[str, Any]
) -> None:
    before = running.api.create("Contact", LastName="before")
    described = added(running, name="New_Thing", **wanted)
    assert (described["label"], described["custom"]) == ("New Thing", True)
    assert {key: described[key] for key in expected} == expected
    record_id = running.api.create("Contact", LastName="x", New_Thing__c=written)
    record = running.api.get(f"sobjects/Contact/{record_id}")
    assert record["New_Thing__c"] == shown
    blank = True if wanted.get("default") else False if wanted["type"] == "boolean" else None
    assert running.api.get(f"sobjects/Contact/{before}")["New_Thing__c"] == blank


def test_locations_references_and_numbers_are_added(running: ServedOrg) -> None:
    api = running.api
    before = api.create("Contact", LastName="before")
    added(running, name="Hut__c", type="location")
    added(
        running,
        name="Coach__c",
        type="reference",
        refers_to="Contact",
        child_relationship="Coached__r",
        restricted_delete=True,
    )
    added(running, name="Ticket__c", type="string", auto_number="T-{0000}")
    record_id = api.create(
        "Contact", LastName="x", Hut__Latitude__s=1, Hut__Longitude__s=2, Coach__c=before
    )
    (record,) = api.records(
        f"SELECT Hut__c, Coach__r.LastName, Ticket__c FROM Contact WHERE Id = '{record_id}'"
    )
    assert record["Hut__c"] == {"latitude": 1.0, "longitude": 2.0}
    assert record["Coach__r"]["LastName"] == "before"
    assert record["Ticket__c"] == "T-0002"
    assert api.get(f"sobjects/Contact/{before}")["Ticket__c"] == "T-0001"
    (error,) = api.send("DELETE", f"sobjects/Contact/{before}", None, 400)
    assert error["errorCode"] == "DELETE_FAILED"


def test_details_go_with_their_master(running: ServedOrg) -> None:
    change.add_field(
        running.org,
        sobject="Campaign",
        name="Client__c",
        type="reference",
        refers_to="Account",
        child_relationship="Client_Campaigns__r",
        master_detail=True,
    )
    described = fields(running.api, "Campaign")["Client__c"]
    assert (described["relationshipOrder"], described["updateable"]) == (0, False)
    assert (described["nillable"], described["createable"]) == (False, True)
    (error,) = running.api.send("POST", "sobjects/Campaign", {"Name": "c"}, 400)
    assert error["message"] == "Required fields are missing: [Client__c]"
    account = running.api.create("Account", Name="a")
    campaign = running.api.create("Campaign", Name="c", Client__c=account)
    running.api.delete("Account", account)
    assert running.api.get(f"sobjects/Campaign/{campaign}", 404)[0]["errorCode"] == "NOT_FOUND"


def test_a_field_that_is_deleted_is_gone(running: ServedOrg) -> None:
    api = running.api
    record_id = api.create("Contact", LastName="x", Twitter__c="@old")
    set_lead_field_mapping(running.org, {})
    answer = change.delete_field(running.org, sobject="contact", field="twitter__c")
    assert answer["deleted"] == ["Twitter__c"]
    assert "Twitter__c" not in fields(api)
    code, message = api.refused("SELECT Twitter__c FROM Contact")
    assert (code, NO_COLUMN in message) == ("INVALID_FIELD", True)
    assert "Twitter__c" not in api.get(f"sobjects/Contact/{record_id}")
    assert refusal(api, Twitter__c="x")["errorCode"] == "INVALID_FIELD"
    added(running, name="Twitter__c", type="double")
    assert api.get(f"sobjects/Contact/{record_id}")["Twitter__c"] is None


def test_a_location_is_deleted_with_its_parts(running: ServedOrg) -> None:
    answer = change.delete_field(running.org, sobject="Contact", field="Office_Location__c")
    assert len(answer["deleted"]) == 3
    assert not [name for name in fields(running.api) if name.startswith("Office")]


def test_required_fields(running: ServedOrg) -> None:
    api = running.api
    before = api.create("Contact", LastName="x")
    change.make_required(running.org, sobject="Contact", field="Twitter__c")
    described = fields(api)["Twitter__c"]
    assert (described["nillable"], described["defaultedOnCreate"]) == (False, False)
    assert described["permissionable"] is False
    error = refusal(api)
    assert (error["errorCode"], error["fields"]) == ("REQUIRED_FIELD_MISSING", ["Twitter__c"])
    record_id = api.create("Contact", LastName="x", Twitter__c="@x")
    (error,) = api.send("PATCH", f"sobjects/Contact/{record_id}", {"Twitter__c": None}, 400)
    assert error["errorCode"] == "REQUIRED_FIELD_MISSING"
    api.update("Contact", before, FirstName="y")
    change.make_required(running.org, sobject="Contact", field="Twitter__c", default="@none")
    record_id = api.create("Contact", LastName="x")
    assert api.get(f"sobjects/Contact/{record_id}")["Twitter__c"] == "@none"
    assert refusal(api, Twitter__c=None)["errorCode"] == "REQUIRED_FIELD_MISSING"
    change.make_required(running.org, sobject="Contact", field="Twitter__c", required=False)
    api.update("Contact", record_id, Twitter__c=None)


def test_a_text_becomes_a_number_if_every_value_is_one(running: ServedOrg) -> None:
    api = running.api
    change.add_field(running.org, sobject="Contact", name="Size__c", type="string")
    record_id = api.create("Contact", LastName="x", Size__c="42")
    other = api.create("Contact", LastName="y", Size__c="large")

    def retype(type_: str, **options: Any) -> dict[str, Any]:
        return change.retype_field(
            running.org, sobject="Contact", field="Size__c", type=type_, **options
        )

    with pytest.raises(PipelineError, match=r"Contact\.Size__c has values that are not of type"):
        retype("double")
    assert api.get(f"sobjects/Contact/{record_id}")["Size__c"] == "42"
    api.update("Contact", other, Size__c=None)
    retype("double", precision=4)
    assert fields(api)["Size__c"]["type"] == "double"
    assert api.get(f"sobjects/Contact/{record_id}")["Size__c"] == 42.0
    assert api.records("SELECT Size__c FROM Contact WHERE Size__c > 41") == [{"Size__c": 42.0}]
    assert refusal(api, Size__c="big")["errorCode"] == "JSON_PARSER_ERROR"
    retype("picklist")
    assert [value["value"] for value in fields(api)["Size__c"]["picklistValues"]] == ["42"]
    assert api.get(f"sobjects/Contact/{record_id}")["Size__c"] == "42"


def test_picklist_values_change(running: ServedOrg) -> None:
    api, org = running.api, running.org
    record_id = api.create(
        "Contact", LastName="x", Interests__c="EVENTS;Security", Region__c="AMER"
    )
    change.rename_picklist_value(
        org, sobject="Contact", field="Interests__c", value="EVENTS", new_value="Fairs"
    )
    assert api.get(f"sobjects/Contact/{record_id}")["Interests__c"] == "Fairs;Security"
    value = next(
        entry
        for entry in fields(api)["Interests__c"]["picklistValues"]
        if entry["value"] == "Fairs"
    )
    assert value["label"] == "Events & Webinars"
    change.deactivate_picklist_value(org, sobject="Contact", field="Region__c", value="AMER")
    assert refusal(api, Region__c="AMER")["errorCode"].endswith("RESTRICTED_PICKLIST")
    api.update("Contact", record_id, FirstName="kept")
    change.add_picklist_value(
        org, sobject="Contact", field="Territory__c", value="Africa", valid_for_values=["EMEA"]
    )
    api.create("Contact", LastName="x", Region__c="EMEA", Territory__c="Africa")
    assert refusal(api, Region__c="APAC", Territory__c="Africa")["fields"] == ["Territory__c"]


def test_stages_and_statuses_follow_their_picklists(running: ServedOrg) -> None:
    api, org = running.api, running.org
    change.add_picklist_value(org, sobject="Opportunity", field="StageName", value="Pilot")
    change.rename_picklist_value(
        org, sobject="Opportunity", field="StageName", value="Closed Won", new_value="Won"
    )
    stages = {
        stage["ApiName"]: stage
        for stage in api.records("SELECT ApiName, IsWon, SortOrder FROM OpportunityStage")
    }
    assert (stages["Pilot"]["IsWon"], stages["Pilot"]["SortOrder"]) == (False, 11)
    assert stages["Won"]["IsWon"]
    assert "Closed Won" not in stages


def test_changes_outlive_a_restart(home: Path) -> None:
    with served(Org(home, Settings())) as running:
        added(running, name="Extra__c", type="multipicklist", picklist=["A", "B"])
        set_lead_field_mapping(running.org, {})
        change.delete_field(running.org, sobject="Contact", field="Twitter__c")
        change.make_required(running.org, sobject="Lead", field="Industry")
        record_id = running.api.create("Contact", LastName="x", Extra__c="B;A")
        before = running.api.get("sobjects/Contact/describe")
    with served(Org(home, Settings())) as running:
        assert running.api.get("sobjects/Contact/describe") == before
        assert running.api.get(f"sobjects/Contact/{record_id}")["Extra__c"] == "A;B"
        assert fields(running.api, "Lead")["Industry"]["nillable"] is False


def test_a_home_of_an_older_version_gets_the_columns_it_lacks(home: Path) -> None:
    with closing(sqlite3.connect(home / "org.db")) as connection:
        connection.execute('DROP INDEX "Contact.Member_Number__c"')
        for column in ("Interests__c", "Newsletter__c", "Member_Number__c"):
            connection.execute(f"ALTER TABLE Contact DROP COLUMN {column}")
        connection.execute("DROP TABLE CampaignMemberStatus")
        connection.execute(
            "INSERT INTO Contact (_n, Id, LastName, IsDeleted) VALUES (1001, 'x', 'Old', 0)"
        )
        connection.commit()
    with served(Org(home, Settings())) as running:
        soql = "SELECT Interests__c, Newsletter__c, Member_Number__c FROM Contact"
        assert running.api.records(soql) == [
            {"Interests__c": None, "Newsletter__c": True, "Member_Number__c": "M-000001"}
        ]
        assert running.api.records("SELECT Id FROM CampaignMemberStatus") == []


def test_requests_go_on_while_the_metadata_changes(running: ServedOrg) -> None:
    org, stop, answers = running.org, threading.Event(), Counter[str]()
    change.add_field(org, sobject="Contact", name="Size__c", type="string")

    def ask(client: Api) -> None:
        while not stop.is_set():
            written = client.call("POST", "sobjects/Contact", json={"LastName": "x", "Size__c": 5})
            read = client.call("GET", "query", params={"q": "SELECT Id, Size__c FROM Contact"})
            for answer in (written, read):
                refused = answer.status_code >= 400
                answers[answer.json()[0]["errorCode"] if refused else "fine"] += 1

    clients = [api_of(running) for _ in range(3)]
    threads = [threading.Thread(target=ask, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for _ in range(8):
        change.retype_field(org, sobject="Contact", field="Size__c", type="double")
        change.retype_field(org, sobject="Contact", field="Size__c", type="string")
        change.delete_field(org, sobject="Contact", field="Size__c")
        change.add_field(org, sobject="Contact", name="Size__c", type="string")
    stop.set()
    for thread, client in zip(threads, clients, strict=True):
        thread.join()
        client.session.close()
    # A number is no text, and a field that is not there is none: nothing else may go wrong.
    assert set(answers) <= {"fine", "INVALID_FIELD", "JSON_PARSER_ERROR"}
    assert answers["fine"]


def test_every_change_is_a_later_one_wherever_the_clock_stands(running: ServedOrg) -> None:
    api, clock = running.api, running.org.clock
    path = "sobjects/Contact/describe"
    clock.set_frozen(True)
    known = api.call("GET", path).headers["Last-Modified"]
    for moved in (0, 0, -86_400, 3600):
        clock.move_by(moved)
        change.make_required(running.org, sobject="Contact", field="Title", required=False)
        answer = api.call("GET", path, headers={"If-Modified-Since": known})
        assert answer.status_code == 200
        later = answer.headers["Last-Modified"]
        assert parsedate_to_datetime(later) > parsedate_to_datetime(known)
        known = later
        unchanged = api.call("GET", path, headers={"If-Modified-Since": known})
        assert unchanged.status_code == 304


def test_a_name_may_have_forty_characters(running: ServedOrg) -> None:
    assert added(running, name="x" * 40, type="string")["name"] == f"{'x' * 40}__c"


def test_a_writer_that_waits_writes_by_the_new_metadata(
    running: ServedOrg, monkeypatch: pytest.MonkeyPatch
) -> None:
    org, seen = running.org, list[bool]()
    publish = org.use_metadata

    def wait_and_write() -> None:
        with org.store.write():
            seen.append(org.schema["Contact"].field("Late__c") is not None)

    writer = threading.Thread(target=wait_and_write)

    def use_metadata(*metadata: Any) -> None:
        writer.start()
        writer.join(0.3)  # as long as a writer would need that is let in
        publish(*metadata)

    monkeypatch.setattr(org, "use_metadata", use_metadata)
    change.add_field(org, sobject="Contact", name="Late__c", type="string")
    writer.join(10)
    assert seen == [True]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"name": "a b", "type": "string"}, "is not a custom field's API name"),
        ({"name": "Twitter__c", "type": "string"}, "Contact.Twitter__c is there already"),
        ({"name": f"{'x' * 41}__c", "type": "string"}, "more than 40 characters before __c"),
        ({"name": "x", "type": "colour"}, "unknown type colour; known: boolean, currency"),
        ({"name": "x", "type": "roll_up"}, "give auto_number, formula or roll_up beside"),
        ({"name": "x", "type": "string", "length": 256}, "a length of 1 to 255"),
        ({"name": "x", "type": "double", "precision": 19}, "a precision of at most 18"),
        ({"name": "x", "type": "double", "precision": 2, "scale": 2}, "larger than its scale"),
        ({"name": "x", "type": "reference", "refers_to": "Nope"}, "needs refers_to"),
        ({"name": "x", "type": "picklist"}, "needs picklist"),
        ({"name": "x", "type": "date", "unique": True}, "external id or unique"),
        ({"name": "x", "type": "string", "case_sensitive": True}, "as a unique string"),
        ({"name": "x", "type": "string", "auto_number": "R-1"}, "such as R-{00000}"),
        ({"name": "x", "type": "date", "default_formula": "TODAY() + 1"}, "cannot be evaluated"),
        ({"name": "x", "type": "string", "colour": "red"}, "cannot be added: .*colour"),
        ({"name": "x"}, "cannot be added: .*type"),
        (
            {"name": "x", "type": "picklist", "picklist": ["A"], "controller": "Region__c"},
            "the value A needs valid_for",
        ),
    ],
)
def test_fields_that_cannot_be_added(home: Path, wanted: dict[str, Any], words: str) -> None:
    with closing(Org(home, Settings())) as org:
        before = org.schema
        with pytest.raises(PipelineError, match=words):
            change.add_field(org, sobject="Contact", **wanted)
        assert org.schema is before


def test_changes_that_make_no_sense(home: Path) -> None:
    contact: dict[str, Any] = {"sobject": "Contact"}
    with closing(Org(home, Settings())) as org:
        refusals: list[tuple[Callable[[], Any], str]] = [
            (lambda: change.delete_field(org, sobject="Nope", field="x"), "no sObject Nope"),
            (lambda: change.delete_field(org, **contact, field="Nope"), "Contact has no field"),
            (lambda: change.delete_field(org, **contact, field="Email"), "a standard field"),
            (lambda: change.delete_field(org, **contact, field="Region__c"), "Territory__c"),
            (
                lambda: change.delete_field(org, **contact, field="Discount__c"),
                "is used by Discounted_Value__c",
            ),
            (
                lambda: change.delete_field(org, **contact, field="Office_Location__Latitude__s"),
                "a part of Office_Location__c",
            ),
            (lambda: change.make_required(org, **contact, field="Name"), "cannot be required"),
            (
                lambda: change.retype_field(org, **contact, field="Email", type="string"),
                "cannot become string",
            ),
            (
                lambda: change.rename_picklist_value(
                    org, **contact, field="Region__c", value="Mars", new_value="x"
                ),
                "no value Mars; it has AMER",
            ),
            (
                lambda: change.rename_picklist_value(
                    org, **contact, field="Region__c", value="AMER", new_value="EMEA"
                ),
                "has a value EMEA already",
            ),
            (
                lambda: change.add_picklist_value(
                    org, **contact, field="Territory__c", value="x", valid_for_values=["Mars"]
                ),
                "Region__c has no value Mars",
            ),
            (
                lambda: change.deactivate_picklist_value(org, **contact, field="Email", value="x"),
                "is not a picklist",
            ),
        ]
        for refused, words in refusals:
            with pytest.raises(PipelineError, match=words):
                refused()
