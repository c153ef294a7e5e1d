"""Faults at the writing of records: by REST, collections and Bulk."""

from collections.abc import Iterator

import pytest

from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.test_bulk import ingest, ingest_results

LOCKED = {
    "error_code": "UNABLE_TO_LOCK_ROW",
    "message": "unable to obtain exclusive access to this record or 1 records: {id}",
}


@pytest.fixture(autouse=True)
def _no_faults_afterwards(org: RunningOrg) -> Iterator[None]:
    yield
    org.admin.clear()


def test_a_chosen_record_is_locked_twice(org: RunningOrg, api: Api) -> None:
    one, two = (api.create("Contact", LastName=unique("Lock")) for _ in range(2))
    with org.admin.fault("save_error", **LOCKED, ids=[one[:15]], times=2) as fault:
        api.update("Contact", two, Title="free")
        (error,) = api.send("PATCH", f"sobjects/Contact/{one}", {"Title": "x"}, 400)
        assert error["errorCode"] == "UNABLE_TO_LOCK_ROW"
        assert error["message"].endswith(f"or 1 records: {one}")
        records = [
            {"attributes": {"type": "Contact"}, "id": record, "Title": "y"} for record in (one, two)
        ]
        first, second = api.send("PATCH", "composite/sobjects", {"records": records}, 200)
        assert first["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW"
        assert second["success"]
        api.update("Contact", one, Title="z")
        assert org.admin.read_fault(fault)["hits"] == 2
    assert api.get(f"sobjects/Contact/{one}")["Title"] == "z"


def test_operations_and_fields(org: RunningOrg, api: Api) -> None:
    options = {"error_code": "FIELD_INTEGRITY_EXCEPTION", "message": "no", "fields": ["Title"]}
    with org.admin.fault("save_error", sobject="Contact", operations=["create"], **options):
        error = api.send("POST", "sobjects/Contact", {"LastName": "x"}, 400)[0]
        assert error == {
            "message": "no",
            "errorCode": "FIELD_INTEGRITY_EXCEPTION",
            "fields": ["Title"],
        }
        contact = api.create("Contact", LastName=unique("Op"))
    with org.admin.fault("save_error", operations=["delete"], ids=[contact], **options):
        api.update("Contact", contact, Title="x")
        assert api.send("DELETE", f"sobjects/Contact/{contact}", None, 400)
        api.delete("Contact", contact)


def test_some_rows_of_a_bulk_job_fail(org: RunningOrg, api: Api) -> None:
    name = unique("BulkLock")
    with org.admin.fault("save_error", sobject="Lead", skip=1, times=2, **LOCKED):
        text = "LastName,Company\n" + "".join(f"{name},{at}\n" for at in range(5))
        job = ingest(api, "Lead", "insert", text)
        done = api.finished("ingest", job["id"])
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (5, 2)
    failed = ingest_results(api, job["id"], "failedResults")
    assert sorted(row["Company"] for row in failed) == ["1", "2"]
    assert failed[0]["sf__Error"].startswith("UNABLE_TO_LOCK_ROW:unable to obtain")


def test_maintenance_lets_reads_go_on(org: RunningOrg, api: Api) -> None:
    contact = api.create("Contact", LastName=unique("Maintained"))
    with org.admin.fault("maintenance"):
        for method, path, body in (
            ("POST", "sobjects/Contact", {"LastName": "x"}),
            ("PATCH", f"sobjects/Contact/{contact}", {"LastName": "x"}),
            ("DELETE", f"sobjects/Contact/{contact}", None),
        ):
            code = "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"
            assert api.send(method, path, body, 400)[0]["errorCode"] == code
        assert api.get(f"sobjects/Contact/{contact}")["Id"] == contact
    api.delete("Contact", contact)


def test_no_storage_is_left(org: RunningOrg, api: Api) -> None:
    contact = api.create("Contact", LastName=unique("Stored"))
    with org.admin.fault("storage_limit"):
        error = api.send("POST", "sobjects/Contact", {"LastName": "x"}, 400)[0]
        assert (error["errorCode"], error["message"]) == (
            "STORAGE_LIMIT_EXCEEDED",
            "storage limit exceeded",
        )
        api.update("Contact", contact, Title="x")
        api.delete("Contact", contact)
