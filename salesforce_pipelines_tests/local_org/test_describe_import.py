"""Importing describe JSON of a real org: its fields, its custom sObjects, what is left out."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.command import app
from salesforce_pipelines.local_org.metadata.describe_import import ImportReport, import_describes
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.running import running_org
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines.local_org.storage.csv_loading import load_csv, loadable, parse_load
from salesforce_pipelines_tests.local_org.conftest import api_of
from salesforce_pipelines_tests.local_org.served import ServedOrg, served

DESCRIBES = Path(__file__).parent / "describes"
CONTACT, PROGRAM, ENROLLMENT = (
    DESCRIBES / f"{name}.json" for name in ("contact", "program", "enrollment")
)
ALL = (CONTACT, PROGRAM, ENROLLMENT)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    build_home(tmp_path / "home", 1, tuple)
    return tmp_path / "home"


@pytest.fixture
def running(home: Path) -> Iterator[ServedOrg]:
    org = Org(home, Settings())
    import_describes(org, ALL)
    with served(org) as running:
        yield running


def imported(org: Org, *paths: Path) -> dict[str, ImportReport]:
    return {report.sobject: report for report in import_describes(org, paths)}


def given(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_org_then_describes_itself_as_the_real_one_does(running: ServedOrg, path: Path) -> None:
    real = given(path)
    answer = running.api.call("GET", f"sobjects/{real['name']}/describe", version="59.0").json()
    ours = {field["name"]: field for field in answer["fields"]}
    assert len(real["fields"]) > 10
    for field in real["fields"]:
        if field["type"] != "base64":
            assert ours[field["name"]] == field
    assert answer["recordTypeInfos"] == real["recordTypeInfos"]
    for key in ("label", "labelPlural", "keyPrefix", "custom", "supportedScopes", "mergeable"):
        assert answer[key] == real[key]


def test_importing_again_changes_nothing(home: Path) -> None:
    with closing(Org(home, Settings())) as org:
        first = imported(org, *ALL)
        assert (first["Contact"].is_new, first["Program__c"].is_new) == (False, True)
        assert len(first["Contact"].added) > 40
        again = imported(org, *ALL)
    with closing(Org(home, Settings())) as org:
        later = imported(org, *ALL)
    for reports in (again, later):
        for report in reports.values():
            assert (report.is_new, report.added, report.changed) == (False, [], [])
            assert report.unchanged


def test_what_is_not_taken_over_is_listed(home: Path) -> None:
    with closing(Org(home, Settings())) as org:
        reports = imported(org, *ALL)
    contact = reports["Contact"]
    assert contact.remarks == [
        "Expires__c: its default formula is not evaluated; new records begin blank",
        "Branch__c: its lookup filter is not enforced",
        "Branch__c: the org has no Branch__c; any id is accepted",
        "Serial__c: describe does not say its display format; numbers are plain",
        *(
            f"{name}: its values are not computed; load them, or they are blank"
            for name in (
                *("Formula_Text__c", "Formula_Number__c", "Formula_Currency__c"),
                *("Formula_Date__c", "Formula_Flag__c", "Rolled_Up__c"),
            )
        ),
        "Photo__c: not taken over: there are no fields of type base64",
        "child relationships from 1 sObjects that the org lacks: Case",
        "1 record types are described, but do not limit picklists or layouts",
    ]
    assert "External_Id__c" in contact.kept
    assert "Employee_Band__c" not in contact.kept


def test_people_work_with_the_imported_fields(running: ServedOrg) -> None:
    api = running.api
    (error,) = api.send("POST", "sobjects/Contact", {"LastName": "x"}, 400)
    assert error["message"] == "Required fields are missing: [Badge_Code__c]"
    record_id = api.create(
        "Contact",
        LastName="x",
        Badge_Code__c="b",
        Topics__c="Drama;Art",
        Continent__c="EU",
        Country__c="France",
        Employee_Band__c="S",
        Home__Latitude__s=1,
        Home__Longitude__s=2,
    )
    record = api.get(f"sobjects/Contact/{record_id}")
    assert record["Topics__c"] == "Art;Drama"
    assert record["Home__c"] == {"latitude": 1.0, "longitude": 2.0}
    defaults = {
        "Greeting__c": "Hello",
        "Tier__c": "Bronze",
        "Visits__c": 0.0,
        "Share__c": 10.0,
        "Stage__c": "New",
        "Wants_Mail__c": True,
        "Expires__c": None,
        "Serial__c": "1",
        "Formula_Text__c": None,
    }
    assert {name: record[name] for name in defaults} == defaults
    assert record["Joined__c"] == record["CreatedDate"][:10]
    for values, code in (
        ({"Country__c": "Canada"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"Employee_Band__c": "1-10"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"Newsletter_Kind__c": "None"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ({"Formula_Number__c": 1}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Tier__c": None}, "REQUIRED_FIELD_MISSING"),
        ({"Photo__c": "x"}, "INVALID_FIELD"),
    ):
        (error,) = api.send("PATCH", f"sobjects/Contact/{record_id}", values, 400)
        assert error["errorCode"] == code


def test_custom_sobjects_and_their_relationships(running: ServedOrg) -> None:
    api = running.api
    program = api.create("Program__c", Code__c="P-1", Days__c="Wed;Mon")
    assert program.startswith("a0P")
    (record,) = api.records("SELECT Name, Days__c, OwnerId FROM Program__c")
    assert record["Name"] == program
    assert record["Days__c"] == "Mon;Wed"
    (error,) = api.send("POST", "sobjects/Enrollment__c", {}, 400)
    assert error["message"] == "Required fields are missing: [Program__c]"
    contact = api.create(
        "Contact", LastName="Ann", Badge_Code__c="b", Program__r={"Code__c": "P-1"}
    )
    enrollment = api.create("Enrollment__c", Program__c=program, Contact__c=contact)
    (record,) = api.records(
        "SELECT Name, Program__r.Code__c, Contact__r.LastName FROM Enrollment__c"
    )
    assert record["Name"] == "1"
    assert record["Program__r"]["Code__c"] == "P-1"
    assert record["Contact__r"]["LastName"] == "Ann"
    (record,) = api.records(
        "SELECT (SELECT Id FROM Enrollments__r), (SELECT LastName FROM Participants__r)"
        " FROM Program__c"
    )
    assert record["Enrollments__r"]["records"][0]["Id"] == enrollment
    assert record["Participants__r"]["records"][0]["LastName"] == "Ann"
    (error,) = api.send(
        "PATCH", f"sobjects/Enrollment__c/{enrollment}", {"Program__c": program}, 400
    )
    assert error["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
    api.delete("Program__c", program)
    assert api.records("SELECT Id FROM Enrollment__c") == []
    assert api.get(f"sobjects/Contact/{contact}")["LastName"] == "Ann"
    found = api.get("query", q="SELECT Id FROM Program__c")
    assert found["totalSize"] == 0


def test_a_file_fills_what_the_org_cannot_compute(home: Path, tmp_path: Path) -> None:
    with closing(Org(home, Settings())) as org:
        import_describes(org, ALL)
        for name, text in (
            ("Program__c", "Name,Code__c,Days__c,Enrolled__c\nRowing,P-1,Tue;Mon,12\n"),
            (
                "Contact",
                "LastName,Badge_Code__c,ERP_Id__c,Formula_Text__c,Formula_Flag__c,Serial__c,"
                "Wake_Up__c,Program__r.Code__c\n"
                "Ann,b,e-1,hello,true,C-0007,06:30,p-1\nBob,b,e-2,,,,,\n",
            ),
            ("Enrollment__c", "Program.Name,Contact.ERP_Id,Paid\nRowing,E-1,true\n"),
        ):
            path = tmp_path / f"{name}.csv"
            path.write_text(text, encoding="utf-8")
            load_csv(org.store, parse_load(f"{name}={path}", loadable(org.schema)))
        with served(org) as running:
            api = running.api
            ann, bob = api.records(
                "SELECT Formula_Text__c, Formula_Flag__c, Serial__c, Wake_Up__c,"
                " Wants_Mail__c FROM Contact ORDER BY LastName"
            )
            (enrollment,) = api.records(
                "SELECT Name, Paid__c, Program__r.Name, Contact__r.LastName FROM Enrollment__c"
            )
            (program,) = api.records("SELECT Days__c, Enrolled__c FROM Program__c")
    assert ann == {
        "Formula_Text__c": "hello",
        "Formula_Flag__c": True,
        "Serial__c": "C-0007",
        "Wake_Up__c": "06:30:00.000Z",
        "Wants_Mail__c": True,
    }
    assert (bob["Formula_Text__c"], bob["Formula_Flag__c"]) == (None, False)
    assert enrollment["Contact__r"]["LastName"] == "Ann"
    assert (enrollment["Name"], enrollment["Paid__c"]) == ("1", True)
    assert program == {"Days__c": "Mon;Tue", "Enrolled__c": 12.0}


def test_records_that_do_not_fit_keep_their_field(home: Path, tmp_path: Path) -> None:
    real = given(CONTACT)
    score = next(field for field in real["fields"] if field["name"] == "Score__c")
    score["name"] = "Twitter__c"
    path = tmp_path / "contact.json"
    path.write_text(json.dumps(real), encoding="utf-8")
    with closing(Org(home, Settings())) as org:
        with org.store.write() as connection:
            connection.execute(
                "INSERT INTO Contact (_n, Id, LastName, Twitter__c) VALUES (1001, 'x', 'y', '@z')"
            )
        report = imported(org, path)["Contact"]
        assert (
            report.remarks.count(
                "Twitter__c: not taken over: records have values that do not fit it"
            )
            == 1
        )
        kept = org.schema["Contact"].field("Twitter__c")
        assert kept is not None
        assert kept.type == "string"
        with org.store.write() as connection:
            connection.execute("UPDATE Contact SET Twitter__c = '4.5'")
        assert imported(org, path)["Contact"].changed == ["Twitter__c"]
        rows = org.store.reader().execute("SELECT Twitter__c FROM Contact").fetchall()
        assert rows == [(4.5,)]


def test_an_sobject_without_system_fields_is_listed(home: Path, tmp_path: Path) -> None:
    real = given(PROGRAM)
    real["fields"] = [field for field in real["fields"] if field["name"] != "SystemModstamp"]
    path = tmp_path / "program.json"
    path.write_text(json.dumps({"status": 0, "result": [real]}), encoding="utf-8")
    with closing(Org(home, Settings())) as org:
        report = imported(org, path)["Program__c"]
        assert report.remarks == ["not taken over: it has no SystemModstamp"]
        assert org.schema.get("Program__c") is None


def with_field(**keys: Any) -> str:
    real = given(PROGRAM)
    real["fields"][9] |= keys
    return json.dumps(real)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", r"bad\.json, line 1, column 2: not JSON"),
        ("[1]", r"bad\.json: \[0\]\.must be a describe"),
        ('{"fields": [1]}', r"bad\.json: name: must be the API name"),
        ('{"name": "X__c"}', r"bad\.json: fields: must be a list of fields"),
        ('{"name": "X__c", "fields": [1]}', r"fields\[0\] is not an object"),
        ('{"name": "X__c", "fields": [{"type": "id"}]}', r"fields\[0\]\.name: must be a text"),
        (with_field(type=7), r"fields\[9\]\.type \(Code__c\): must be a text"),
        (with_field(length="long"), r"fields\[9\]\.length \(Code__c\): must be a whole number"),
        (with_field(nillable="no"), r"fields\[9\]\.nillable \(Code__c\): must be true or false"),
        (with_field(picklistValues=[{"value": 1}]), r"picklistValues\[0\] \(Code__c\)"),
        (with_field(referenceTo="Account"), r"referenceTo \(Code__c\): must be a list"),
        (with_field(name='a" b'), r"must be the API name of a field"),
        (json.dumps({**given(PROGRAM), "keyPrefix": "003"}), "003 is that of Contact"),
        (json.dumps({**given(PROGRAM), "childRelationships": [1]}), "childRelationships: must be"),
        (json.dumps([given(PROGRAM), given(PROGRAM)]), "Program__c is described twice"),
    ],
)
def test_files_that_are_refused(home: Path, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with closing(Org(home, Settings())) as org:
        before = org.schema
        with pytest.raises(PipelineError, match=words):
            import_describes(org, [CONTACT, path])
        assert org.schema is before


def test_the_command_line(home: Path, tmp_path: Path) -> None:
    arguments = ["import-describe", "--home", str(home), *map(str, ALL)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "Contact: the sObject; 47 fields added" in result.output
    assert "Program__c: a new sObject; 14 fields added" in result.output
    assert "Photo__c: not taken over" in result.output
    result = CliRunner().invoke(app, ["import-describe", "--home", str(tmp_path), str(CONTACT)])
    assert isinstance(result.exception, PipelineError)
    assert "has no org yet" in str(result.exception)


@pytest.mark.slow
def test_serving_with_describes_and_loads(tmp_path: Path) -> None:
    programs = tmp_path / "programs.csv"
    programs.write_text("Name,Code__c\nRowing,P-1\n", encoding="utf-8")
    options = ["--load", f"program__c={programs}"]
    for path in ALL:
        options += ["--describe", str(path)]
    with running_org(tmp_path / "home", options=options) as org:
        api = api_of(org)
        with api.session:
            assert api.records("SELECT Name FROM Program__c") == [{"Name": "Rowing"}]
