"""Field history as clients read it: what is noted of which write, and in which shape."""

import csv
import io
import sqlite3
import time
from pathlib import Path

from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.saves.history import entries
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines.local_org.storage.csv_loading import CsvLoad, load_csv
from salesforce_pipelines.local_org.storage.ids import to_18
from salesforce_pipelines_tests.local_org.conftest import Api, unique


def history(api: Api, sobject: str, parent: str, record_id: str) -> list[dict[str, object]]:
    return api.records(
        f"SELECT Field, DataType, OldValue, NewValue FROM {sobject} WHERE {parent} = '{record_id}'"
    )


def changes(api: Api, record_id: str) -> list[tuple[object, ...]]:
    rows = history(api, "ContactHistory", "ContactId", record_id)
    return [tuple(row.values()) for row in rows]


def test_a_change_tells_field_type_old_and_new_value(api: Api) -> None:
    record_id = api.create("Contact", LastName=unique(), Title="Old")
    api.update(
        "Contact",
        record_id,
        Title="New",
        DoNotCall=True,
        Referral_Count__c=2,
        Referral_Link__c="https://refer.example.com/1",
        EmailBouncedDate="2024-05-01T10:00:00Z",
        Birthdate="1990-01-02",
    )
    assert changes(api, record_id) == [
        ("created", "Text", None, None),
        ("Title", "Text", "Old", "New"),
        ("DoNotCall", "Boolean", False, True),
        ("Referral_Count__c", "Double", None, 2.0),
        ("Referral_Link__c", "Url", None, "https://refer.example.com/1"),
        ("EmailBouncedDate", "DateTime", None, "2024-05-01T10:00:00.000+0000"),
        ("Birthdate", "DateOnly", None, "1990-01-02"),
    ]


def test_what_did_not_change_is_not_noted(api: Api) -> None:
    record_id = api.create("Contact", LastName="Same", Title="Same")
    api.update("Contact", record_id, LastName="Same", Title="Same", Phone=None)
    assert changes(api, record_id) == [("created", "Text", None, None)]


def test_a_refused_update_leaves_no_history(api: Api) -> None:
    record_id = api.create("Contact", LastName=unique())
    body = {"Title": "New", "Email": "nobody"}
    api.send("PATCH", f"sobjects/Contact/{record_id}", body, 400)
    assert len(changes(api, record_id)) == 1


def test_a_reference_tells_names_and_ids(api: Api) -> None:
    first, second = (api.create("Account", Name=name) for name in ("First Ltd", "Second Ltd"))
    record_id = api.create("Contact", LastName=unique(), AccountId=first)
    api.update("Contact", record_id, AccountId=second)
    assert changes(api, record_id)[1:] == [
        ("Account", "Text", "First Ltd", "Second Ltd"),
        ("Account", "EntityId", first, second),
    ]


def test_of_a_long_text_only_the_fact_is_told(api: Api) -> None:
    record_id = api.create("Contact", LastName=unique())
    api.update("Contact", record_id, Description="secret")
    assert changes(api, record_id)[1:] == [("Description", "StringPlusClob", None, None)]


def test_every_tracked_sobject_has_its_history(api: Api) -> None:
    campaign = api.create("Campaign", Name=unique())
    api.update("Campaign", campaign, Status="Completed")
    lead = api.create("Lead", LastName=unique(), Company="Some Ltd")
    api.update("Lead", lead, Company="Other Ltd")
    account = api.create("Account", Name=unique())
    api.update("Account", account, Phone="+1 415 555 0100")
    deal = api.create("Opportunity", Name=unique(), StageName="Prospecting", CloseDate="2030-01-01")
    api.update("Opportunity", deal, StageName="Closed Won")
    for sobject, parent, record_id, field in (
        ("CampaignHistory", "CampaignId", campaign, "Status"),
        ("LeadHistory", "LeadId", lead, "Company"),
        ("AccountHistory", "AccountId", account, "Phone"),
        ("OpportunityFieldHistory", "OpportunityId", deal, "StageName"),
    ):
        found = [row["Field"] for row in history(api, sobject, parent, record_id)]
        assert found[:2] == ["created", field]


def test_relationships_lead_to_and_from_history(api: Api) -> None:
    record_id = api.create("Contact", LastName="Related")
    api.update("Contact", record_id, Title="New")
    (record,) = api.records(
        f"SELECT Id, (SELECT Field FROM Histories WHERE Field = 'Title') FROM Contact"
        f" WHERE Id = '{record_id}'"
    )
    assert [row["Field"] for row in record["Histories"]["records"]] == ["Title"]
    (row,) = api.records(
        "SELECT Id, Contact.LastName, CreatedBy.Name FROM ContactHistory"
        f" WHERE Field = 'title' AND ContactId = '{record_id}'"
    )
    assert row["Contact"]["LastName"] == "Related"
    assert row["CreatedBy"]["Name"] == "Integration User"
    assert row["Id"].startswith("017")
    assert to_18(row["Id"]) == row["Id"]
    shown = api.get(f"sobjects/ContactHistory/{row['Id']}")
    assert (shown["Field"], shown["NewValue"], shown["IsDeleted"]) == ("Title", "New", False)
    assert api.records(f"SELECT Field FROM ContactHistory WHERE Id = '{row['Id']}'") == [
        {"Field": "Title"}
    ]


def test_the_history_of_a_deleted_record_is_deleted(api: Api) -> None:
    record_id = api.create("Contact", LastName=unique())
    api.delete("Contact", record_id)
    assert changes(api, record_id) == []
    text = f"SELECT Field, IsDeleted FROM ContactHistory WHERE ContactId = '{record_id}'"
    assert api.records(text, "queryAll") == [{"Field": "created", "IsDeleted": True}]


def test_history_cannot_be_written(api: Api) -> None:
    record_id = api.create("Contact", LastName=unique())
    (row,) = api.records(f"SELECT Id FROM ContactHistory WHERE ContactId = '{record_id}'")
    api.send("POST", "sobjects/ContactHistory", {"ContactId": record_id}, 400)
    api.send("PATCH", f"sobjects/ContactHistory/{row['Id']}", {"Field": "x"}, 400)
    api.send("DELETE", f"sobjects/ContactHistory/{row['Id']}", None, 403)
    assert len(changes(api, record_id)) == 1


def test_describe_calls_it_a_history(api: Api) -> None:
    told = api.get("sobjects/ContactHistory/describe")
    assert (told["keyPrefix"], told["associateParentEntity"]) == ("017", "Contact")
    assert not any(told[key] for key in ("createable", "updateable", "deletable"))
    fields = {field["name"]: field for field in told["fields"]}
    assert fields["NewValue"]["type"] == "anyType"
    assert not fields["NewValue"]["filterable"]
    contact = api.get("sobjects/Contact/describe")["childRelationships"]
    assert "ContactHistory" in {
        child["childSObject"] for child in contact if child["relationshipName"] == "Histories"
    }


def test_bulk_writes_and_reads_history(api: Api) -> None:
    record_id = api.create("Contact", LastName=unique())
    job = api.send(
        "POST",
        "jobs/ingest",
        {"object": "Contact", "operation": "update", "contentType": "CSV"},
        200,
    )
    upload = f'Id,Title,DoNotCall\n{record_id},"a ""quoted"" title",true\n'
    api.call(
        "PUT", f"jobs/ingest/{job['id']}/batches", data=upload, headers={"Content-Type": "text/csv"}
    )
    api.send("PATCH", f"jobs/ingest/{job['id']}", {"state": "UploadComplete"}, 200)
    api.finished("ingest", job["id"])

    text = f"SELECT Field, OldValue, NewValue FROM ContactHistory WHERE ContactId = '{record_id}'"
    asked = api.send("POST", "jobs/query", {"operation": "query", "query": text}, 200)
    api.finished("query", asked["id"])
    answer = api.call("GET", f"jobs/query/{asked['id']}/results")
    assert list(csv.reader(io.StringIO(answer.text)))[1:] == [
        ["created", "", ""],
        ["Title", "", 'a "quoted" title'],
        ["DoNotCall", "false", "true"],
    ]


def test_a_load_notes_its_updates_and_no_more(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "contacts.csv"
    build_home(home, 1, tuple)
    org = Org(home, Settings())
    try:
        for title in ("Old", "New"):
            file.write_text(
                f"External_Id__c,LastName,Title\nx-1,Loaded,{title}\n", encoding="utf-8"
            )
            load_csv(org.store, CsvLoad("Contact", file))
        noted = entries(org.store.reader(), org.schema, None, 10)
    finally:
        org.close()
    assert [(one.field, one.old, one.new, one.via) for one in noted] == [
        ("Title", "Old", "New", "--load")
    ]


def test_a_home_without_history_gets_it_when_it_is_opened(tmp_path: Path) -> None:
    home = tmp_path / "home"
    build_home(home, 1, tuple)
    Org(home, Settings()).close()
    connection = sqlite3.connect(home / "org.db")
    for view in ("Account", "Campaign", "Contact", "Lead"):
        connection.execute(f"DROP VIEW {view}History")
    connection.execute("DROP VIEW OpportunityFieldHistory")
    connection.execute("DROP TABLE _history")
    connection.close()
    org = Org(home, Settings())
    try:
        assert org.count_rows()["ContactHistory"] == 0
    finally:
        org.close()


def test_get_updated_finds_new_history(api: Api) -> None:
    record_id = api.create("Contact", LastName=unique())
    (row,) = api.records(f"SELECT Id FROM ContactHistory WHERE ContactId = '{record_id}'")
    now = time.time()
    start, end = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + shift)) for shift in (-120, 62)
    )
    time.sleep(1.1)  # the window ends before the second at hand
    assert row["Id"] in api.get("sobjects/ContactHistory/updated", start=start, end=end)["ids"]
