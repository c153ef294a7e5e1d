import csv
import gzip
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from salesforce_pipelines.local_org.running import running_org
from salesforce_pipelines.local_org.storage.store import java_double
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique


def rows_of(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def query_job(api: Api, soql: str, **options: str) -> str:
    body = {"operation": "query", "query": soql} | options
    job_id: str = api.send("POST", "jobs/query", body, 200)["id"]
    api.finished("query", job_id)
    return job_id


def results(api: Api, job_id: str, **parameters: str) -> Any:
    answer = api.call("GET", f"jobs/query/{job_id}/results", params=parameters)
    answer.encoding = "utf-8"
    assert answer.status_code == 200, answer.text
    return answer


def ingest(api: Api, sobject: str, operation: str, text: str, **options: str) -> dict[str, Any]:
    job: dict[str, Any] = api.send(
        "POST", "jobs/ingest", {"object": sobject, "operation": operation} | options, 200
    )
    answer = api.session.put(
        f"{api.url}/{job['contentUrl']}",
        data=text.encode(errors="surrogateescape"),
        headers={"Content-Type": "text/csv"},
        timeout=30,
    )
    assert (answer.status_code, answer.content) == (201, b"")
    api.send("PATCH", f"jobs/ingest/{job['id']}", {"state": "UploadComplete"}, 200)
    return job


def ingest_results(api: Api, job_id: str, kind: str) -> list[dict[str, str]]:
    answer = api.call("GET", f"jobs/ingest/{job_id}/{kind}")
    assert answer.status_code == 200, answer.text
    answer.encoding = "utf-8"
    header, *rows = rows_of(answer.text)
    return [dict(zip(header, row, strict=True)) for row in rows]


# Query jobs


def test_a_query_job_from_start_to_end(api: Api) -> None:
    name = unique("Bulk")
    account = api.create("Account", Name='Quote "Co", Ltd')
    first = api.create(
        "Contact",
        LastName=name,
        FirstName="Zoë",
        AccountId=account,
        Description='line\r\nand "quoted", too',
        Birthdate="2000-02-29",
        Referral_Count__c=12_345_678,
        HasOptedOutOfEmail=True,
    )
    api.create("Contact", LastName=name)
    soql = (
        "SELECT id, FirstName, account.name, Description, Birthdate, Referral_Count__c, "
        f"HasOptedOutOfEmail, SystemModstamp FROM Contact WHERE LastName = '{name}' "
        "ORDER BY FirstName NULLS LAST"
    )
    job = api.send("POST", "jobs/query", {"operation": "query", "query": soql}, 200)
    assert (job["state"], job["object"], job["apiVersion"]) == ("UploadComplete", "Contact", 62.0)
    assert job["id"].startswith("750")
    done = api.finished("query", job["id"])
    assert (done["jobType"], done["numberRecordsProcessed"]) == ("V2Query", 2)
    answer = results(api, job["id"])
    assert answer.headers["Sforce-Locator"] == "null"
    assert answer.headers["Sforce-NumberOfRecords"] == "2"
    assert answer.headers["Content-Type"] == "text/csv"
    assert answer.text.startswith('"Id","FirstName","Account.Name","Description",')
    stamp = api.get(f"sobjects/Contact/{first}")["SystemModstamp"].replace("+0000", "Z")
    _, full, empty = rows_of(answer.text)
    assert full == [
        first, "Zoë", 'Quote "Co", Ltd', 'line\r\nand "quoted", too', "2000-02-29", "1.2345678E7",
        "true", stamp,
    ]  # fmt: skip
    assert empty[1:7] == ["", "", "", "", "", "false"]
    assert '"","","","","","false"' in answer.text
    assert api.call("DELETE", f"jobs/query/{job['id']}").status_code == 204
    assert api.get(f"jobs/query/{job['id']}", status=404)[0]["errorCode"] == "NOT_FOUND"


@pytest.fixture(scope="module")
def job_of_25(api: Api) -> str:
    """A finished job with the Companies 00 to 24, in order."""
    name = unique("Paged")
    records = [
        {"attributes": {"type": "Lead"}, "LastName": name, "Company": f'{number:02}\n"x"'}
        for number in range(25)
    ]
    api.send("POST", "composite/sobjects", {"records": records}, 200)
    where = f"WHERE LastName = '{name}' ORDER BY Company"
    return query_job(api, f"SELECT Company FROM Lead {where}")


@pytest.mark.parametrize("size", [1, 7, 24, 25, 26])
def test_pages_by_locator(api: Api, job_of_25: str, size: int) -> None:
    companies: list[str] = []
    locator, pages = "", 0
    while locator != "null":
        parameters = {"locator": locator} if locator else {}
        answer = results(api, job_of_25, maxRecords=str(size), **parameters)
        header, *rows = rows_of(answer.text)
        assert header == ["Company"]
        assert int(answer.headers["Sforce-NumberOfRecords"]) == len(rows)
        companies += [company for (company,) in rows]
        locator, pages = answer.headers["Sforce-Locator"], pages + 1
    assert companies == [f'{number:02}\n"x"' for number in range(25)]
    assert pages == -(-25 // size)


def test_result_pages_lead_to_all_records(api: Api, job_of_25: str) -> None:
    pages = api.get(f"jobs/query/{job_of_25}/resultPages")
    assert pages["done"] is True
    assert len(pages["resultPages"]) == 1
    answer = api.session.get(api.url + pages["resultPages"][0]["resultUrl"], timeout=10)
    assert len(rows_of(answer.text)) == 26


def test_wrong_locators_and_versions(api: Api, job_of_25: str) -> None:
    for locator in ("!", "MjU", "OTk5", "LTE"):
        answer = api.call("GET", f"jobs/query/{job_of_25}/results", params={"locator": locator})
        assert answer.status_code == 400, locator
        assert answer.json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"
    other = api.call("GET", f"jobs/query/{job_of_25}/results", version="61.0")
    assert other.status_code == 409


def test_an_empty_result_has_its_header(api: Api) -> None:
    job_id = query_job(api, "SELECT Id, Name FROM Contact WHERE LastName = 'nobody at all'")
    answer = results(api, job_id)
    assert answer.text == '"Id","Name"\n'
    assert answer.headers["Sforce-NumberOfRecords"] == "0"
    assert answer.headers["Sforce-Locator"] == "null"


def test_another_dialect_of_csv(api: Api) -> None:
    name = unique("Tab")
    api.create("Lead", LastName=name, Company="a\tb")
    soql = f"SELECT LastName, Company FROM Lead WHERE LastName = '{name}'"
    job_id = query_job(api, soql, columnDelimiter="TAB", lineEnding="CRLF")
    text = results(api, job_id).content.decode()
    assert text == f'"LastName"\t"Company"\r\n"{name}"\t"a\tb"\r\n'


def test_query_all_has_deleted_rows(api: Api) -> None:
    name = unique("Gone")
    api.delete("Lead", api.create("Lead", LastName=name, Company="x"))
    soql = f"SELECT IsDeleted FROM Lead WHERE LastName = '{name}'"
    job = api.send("POST", "jobs/query", {"operation": "queryAll", "query": soql}, 200)
    api.finished("query", job["id"])
    assert rows_of(results(api, job["id"]).text)[1:] == [["true"]]


def test_results_are_compressed_if_asked(api: Api, job_of_25: str) -> None:
    path = f"jobs/query/{job_of_25}/results"
    plain = api.call("GET", path, headers={"Accept-Encoding": "identity"})
    packed = api.call("GET", path, headers={"Accept-Encoding": "gzip"}, stream=True)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.raw.read()) == plain.content


@pytest.mark.parametrize(
    ("soql", "code", "words"),
    [
        (
            "SELECT MailingAddress FROM Contact",
            "FUNCTIONALITY_NOT_ENABLED",
            "Selecting compound data not supported in Bulk Query",
        ),
        ("SELECT COUNT() FROM Contact", "API_ERROR", "is not supported by the Bulk API"),
        (
            "SELECT LeadSource, COUNT(Id) FROM Contact GROUP BY LeadSource",
            "API_ERROR",
            "is not supported by the Bulk API",
        ),
        ("SELECT Id FROM Contact LIMIT 5 OFFSET 5", "API_ERROR", "OFFSET is not supported"),
        ("SELECT Id, (SELECT Id FROM Contacts) FROM Account", "API_ERROR", "A nested query"),
        ("SELECT Nope FROM Contact", "INVALID_FIELD", "No such column 'Nope'"),
        ("SELECT Id FROM Nope", "INVALID_TYPE", "sObject type 'Nope' is not supported"),
        ("SELECT", "MALFORMED_QUERY", "unexpected token"),
        ("", "INVALIDJOB", "query"),
    ],
)
def test_queries_that_bulk_refuses(api: Api, soql: str, code: str, words: str) -> None:
    (error,) = api.send("POST", "jobs/query", {"operation": "query", "query": soql}, 400)
    assert error["errorCode"] == code
    assert words in error["message"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
        min_size=1,
        max_size=10,
    )
)
def test_any_text_comes_back_as_it_was(api: Api, texts: list[str]) -> None:
    name = unique("Any")
    records = [
        {
            "attributes": {"type": "Lead"},
            "LastName": name,
            "Company": f"{number}",
            "Description": text,
        }
        for number, text in enumerate(texts)
    ]
    created = api.send("POST", "composite/sobjects", {"records": records}, 200)
    assert all(result["success"] for result in created)
    where = f"WHERE LastName = '{name}'"
    answer = results(api, query_job(api, f"SELECT Company, Description FROM Lead {where}"))
    back = {int(company): text for company, text in rows_of(answer.text)[1:]}
    assert [back[number] for number in range(len(texts))] == texts


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0.0, "0.0"),
        (3.0, "3.0"),
        (-1.5, "-1.5"),
        (0.001, "0.001"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (139000000.0, "1.39E8"),
        (123456789.25, "1.2345678925E8"),
        (0.0001, "1.0E-4"),
        (1e22, "1.0E22"),
        (None, ""),
    ],
)
def test_numbers_look_as_java_prints_them(number: float | None, shown: str) -> None:
    assert java_double(number) == shown


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_digit(number: float) -> None:
    assert float(java_double(number)) == number


# Ingest jobs


def test_an_insert_reports_every_row(api: Api) -> None:
    name = unique("Ingest")
    job = ingest(
        api,
        "Contact",
        "insert",
        "LastName,FirstName,Email,HasOptedOutOfEmail,Birthdate\n"
        f'{name},"a, ""b""\nc",a@example.com,TRUE,2000-01-02\n'
        f"{name},,bad,,\n"
        f",x,,,\n"
        f"{name},,,,soon\n"
        f"{name},too,few\n",
    )
    assert job["contentUrl"] == f"services/data/v62.0/jobs/ingest/{job['id']}/batches"
    assert (job["state"], job["apiVersion"], job["contentType"]) == ("Open", 62.0, "CSV")
    done = api.finished("ingest", job["id"])
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (5, 4)
    (good,) = ingest_results(api, job["id"], "successfulResults")
    assert list(good)[:3] == ["sf__Id", "sf__Created", "LastName"]
    assert good["sf__Created"] == "true"
    contact = api.get(f"sobjects/Contact/{good['sf__Id']}")
    assert contact["FirstName"] == good["FirstName"] == 'a, "b"\nc'
    assert contact["HasOptedOutOfEmail"] is True
    failed = api.call("GET", f"jobs/ingest/{job['id']}/failedResults").text
    assert "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --" in failed
    assert "INVALID_EMAIL_ADDRESS:Email: invalid email address: bad:Email --" in failed
    assert "INVALID_TYPE_ON_FIELD_IN_RECORD" in failed
    assert "INVALID_BATCH" in failed
    assert ingest_results(api, job["id"], "unprocessedrecords") == []
    assert api.call("DELETE", f"jobs/ingest/{job['id']}").status_code == 204


def test_update_ignores_empty_cells_and_clears_with_na(api: Api) -> None:
    record_id = api.create("Contact", LastName="x", Title="CEO", Phone="1", DoNotCall=True)
    gone = api.create("Contact", LastName="x")
    api.delete("Contact", gone)
    job = ingest(
        api,
        "Contact",
        "update",
        f"Id,Title,Phone,DoNotCall\n{record_id},,#N/A,#N/A\n{gone},x,,\n,x,,\n",
    )
    done = api.finished("ingest", job["id"])
    assert done["numberRecordsFailed"] == 2
    contact = api.get(f"sobjects/Contact/{record_id}")
    assert (contact["Title"], contact["Phone"], contact["DoNotCall"]) == ("CEO", None, False)
    failed = ingest_results(api, job["id"], "failedresults")
    by_id = {row["sf__Id"]: row["sf__Error"] for row in failed}
    assert by_id[gone] == "ENTITY_IS_DELETED:entity is deleted:--"
    assert by_id[""].startswith("MISSING_ARGUMENT:")


def test_upsert_and_a_parent_by_its_key(api: Api) -> None:
    old, new, lost, boss = (unique(name) for name in ("old", "new", "lost", "boss"))
    api.create("Contact", LastName="x", External_Id__c=old)
    boss_id = api.create("Contact", LastName="Boss", External_Id__c=boss)
    job = ingest(
        api,
        "Contact",
        "upsert",
        f"External_Id__c|LastName|ReportsTo.External_Id__c\r\n{old}||{boss}\r\n{lost}|New|nobody\r\n"
        f"{new}|New|\r\n{new}|Again|\r\n|y|\r\n",
        externalIdFieldName="External_Id__c",
        columnDelimiter="PIPE",
        lineEnding="CRLF",
    )
    assert job["externalIdFieldName"] == "External_Id__c"
    done = api.finished("ingest", job["id"])
    assert done["numberRecordsFailed"] == 3
    failed = api.call("GET", f"jobs/ingest/{job['id']}/failedResults").text
    assert f"DUPLICATE_VALUE:Duplicate external id specified: {new}" in failed
    answer = api.call("GET", f"jobs/ingest/{job['id']}/successfulResults").text
    rows = rows_of(answer, "|")
    created = {row[2]: row[1] for row in rows[1:]}
    assert created == {old: "false", new: "true"}
    found = api.get(f"sobjects/Contact/External_Id__c/{old}")
    assert found["ReportsToId"] == boss_id


@pytest.mark.parametrize(("setting", "ending"), [("LF", "\r\n"), ("CRLF", "\n")])
def test_another_line_ending_than_the_job_names(api: Api, setting: str, ending: str) -> None:
    rows = f"LastName{ending}x{ending}"
    job = ingest(api, "Contact", "insert", rows, lineEnding=setting)
    failed = api.finished("ingest", job["id"], state="Failed")
    assert failed["errorMessage"] == (
        "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is "
        f"{setting}"
    )
    assert failed["numberRecordsProcessed"] == 0
    left = api.call("GET", f"jobs/ingest/{job['id']}/unprocessedrecords").text
    assert "x" in left


def test_delete_and_hard_delete(api: Api) -> None:
    soft, hard = (api.create("Lead", LastName="x", Company="y") for _ in range(2))
    for operation, record_id in (("delete", soft), ("hardDelete", hard)):
        job = ingest(api, "Lead", operation, f"Id\n{record_id}\n")
        api.finished("ingest", job["id"])
    where = f"WHERE Id IN ('{soft}', '{hard}')"
    assert api.records(f"SELECT Id FROM Lead {where}", "queryAll") == [{"Id": soft}]


def test_results_are_not_in_the_order_of_the_upload(api: Api) -> None:
    name = unique("Order")
    lines = "".join(f"{name},{number}\n" for number in range(450))
    job = ingest(api, "Lead", "insert", f"LastName,Company\n{lines}")
    api.finished("ingest", job["id"])
    companies = [int(row["Company"]) for row in ingest_results(api, job["id"], "successfulResults")]
    assert sorted(companies) == list(range(450))
    assert companies != sorted(companies)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LastName,Nope\nx,y\n", "InvalidBatch : Field name not found : Nope"),
        ("LastName,lastname\nx,y\n", "InvalidBatch : Duplicate column: lastname"),
        ('LastName,Company\n"x,y\n', "InvalidBatch : Failed to parse CSV. EOF reached"),
        ('LastName,Company\n"x"z,y\n', "InvalidBatch : Failed to parse CSV. Found unescaped quote"),
        (f"LastName,Company\n{'x' * 1_400_000},y\n", "Exceeded max length for one record"),
        ("LastName,Company\n\udcff,y\n", "ClientInputError : Failed to parse CSV. The data is not"),
    ],
)
def test_uploads_that_fail_whole(api: Api, text: str, words: str) -> None:
    job = ingest(api, "Lead", "insert", text)
    done = api.finished("ingest", job["id"], "Failed")
    assert words in done["errorMessage"]
    assert api.call("GET", f"jobs/ingest/{job['id']}/unprocessedRecords").status_code == 200


def test_an_aborted_job_leaves_its_records_unprocessed(api: Api) -> None:
    job = api.send("POST", "jobs/ingest", {"object": "Lead", "operation": "insert"}, 200)
    url = f"{api.url}/{job['contentUrl']}"
    upload = gzip.compress(b"LastName,Company\nx,y\n")
    headers = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    assert api.session.put(url, data=upload, headers=headers, timeout=10).status_code == 201
    again = api.session.put(url, data=upload, headers=headers, timeout=10)
    assert again.json()[0]["errorCode"] == "INVALIDJOBSTATE"
    early = api.get(f"jobs/ingest/{job['id']}/failedResults", status=400)
    assert early[0]["errorCode"] == "INVALIDJOBSTATE"
    path = f"jobs/ingest/{job['id']}"
    assert api.send("PATCH", path, {"state": "Aborted"}, 200)["state"] == "Aborted"
    assert api.send("PATCH", path, {"state": "UploadComplete"}, 400)
    assert ingest_results(api, job["id"], "unprocessedrecords") == [
        {"LastName": "x", "Company": "y"}
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"object": "Nope", "operation": "insert"}, "Unable to find object: Nope"),
        ({"object": "Lead", "operation": "merge"}, "Invalid operation: merge"),
        (
            {"object": "Contact", "operation": "upsert"},
            "InvalidJob : External ID was blank for Contact. An External ID must be specified",
        ),
        (
            {"object": "Contact", "operation": "upsert", "externalIdFieldName": "No__c"},
            "InvalidJob : Field name not found : No__c",
        ),
        ({"object": "Lead", "operation": "insert", "contentType": "XML"}, "is not supported"),
    ],
)
def test_jobs_that_are_refused(api: Api, body: dict[str, str], words: str) -> None:
    (error,) = api.send("POST", "jobs/ingest", body, 400)
    assert error["errorCode"] == "INVALIDJOB"
    assert words in error["message"]


def test_of_uploads_at_once_one_is_taken(api: Api) -> None:
    many = 4
    with ThreadPoolExecutor(many) as pool, ExitStack() as stack:
        sessions = [stack.enter_context(requests.Session()) for _ in range(many)]
        for session in sessions:
            session.headers.update(api.session.headers)
        for _ in range(25):
            job = api.send("POST", "jobs/ingest", {"object": "Lead", "operation": "insert"}, 200)
            url, together = f"{api.url}/{job['contentUrl']}", threading.Barrier(many)

            def send(at: int, url: str = url, together: threading.Barrier = together) -> int:
                together.wait()
                upload = f"LastName,Company\n{at},y\n"
                return sessions[at].put(url, data=upload, timeout=10).status_code

            answers = list(pool.map(send, range(many)))
            assert sorted(answers) == [201, 400, 400, 400]
            api.send("PATCH", f"jobs/ingest/{job['id']}", {"state": "Aborted"}, 200)
            (left,) = ingest_results(api, job["id"], "unprocessedrecords")
            assert left["LastName"] == str(answers.index(201))


def test_jobs_are_listed(api: Api) -> None:
    first, second = (
        api.send("POST", "jobs/ingest", {"object": "Lead", "operation": "insert"}, 200)["id"]
        for _ in range(2)
    )
    listed = [job["id"] for job in api.get("jobs/ingest")["records"]]
    assert listed.index(second) < listed.index(first)
    assert api.call("DELETE", f"jobs/ingest/{second}").status_code == 400, "it is open"
    api.send("PATCH", f"jobs/ingest/{second}", {"state": "Aborted"}, 200)
    assert api.call("DELETE", f"jobs/ingest/{second}").status_code == 204
    assert second not in [job["id"] for job in api.get("jobs/ingest")["records"]]
    third = api.send("POST", "jobs/ingest", {"object": "Lead", "operation": "insert"}, 200)["id"]
    assert third > second


def test_a_job_goes_on_where_a_stopped_server_left_it(tmp_path: Path) -> None:
    count, home = 6_000, tmp_path / "home"
    lines = "".join(f"Resumed,{number}\n" for number in range(count))
    with running_org(home) as org:
        api = api_of(org)
        with api.session:
            job = ingest(api, "Lead", "insert", f"LastName,Company\n{lines}")
            while not api.get(f"jobs/ingest/{job['id']}")["numberRecordsProcessed"]:
                time.sleep(0.005)
            state = api.get(f"jobs/ingest/{job['id']}")["state"]
        org.process.kill()
        org.process.wait()
    assert state == "InProgress"
    with running_org(home) as org:
        api = api_of(org)
        with api.session:
            done = api.finished("ingest", job["id"])
            assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (count, 0)
            soql = "SELECT Company, Id FROM Lead ORDER BY Id"
            rows = rows_of(results(api, query_job(api, soql)).text)[1:]
            assert sorted(int(company) for company, _ in rows) == list(range(count))
            assert all(a < b for (_, a), (_, b) in pairwise(rows))
            reported = ingest_results(api, job["id"], "successfulResults")
            assert {row["sf__Id"]: row["Company"] for row in reported} == {
                record_id: company for company, record_id in rows
            }
            assert len(reported) == count
