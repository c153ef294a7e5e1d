import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.rest.query import first_page, next_page
from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines.local_org.saves.dml import Writer
from salesforce_pipelines.local_org.saves.field_values import from_json
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique


@pytest.fixture(scope="module")
def family(api: Api) -> str:
    """A last name of 450 Contacts with FirstName 000 to 449, the last with an Account."""
    name = unique("Family")
    account = api.create("Account", Name=f"{name} Ltd", AnnualRevenue=5)
    for start in range(0, 450, 150):
        records = [
            {
                "attributes": {"type": "Contact"},
                "LastName": name,
                "FirstName": f"{number:03}",
                "Birthdate": f"2000-01-{number % 28 + 1:02}",
                "Referral_Count__c": number % 3 or None,
                "AccountId": account if number == 449 else None,
            }
            for number in range(start, start + 150)
        ]
        results = api.send("POST", "composite/sobjects", {"records": records}, 200)
        assert all(result["success"] for result in results)
    return name


def test_pages_of_the_size_asked_for(api: Api, family: str) -> None:
    soql = f"SELECT FirstName FROM Contact WHERE LastName = '{family}' ORDER BY FirstName DESC"
    answer = api.call(
        "GET", "query/", params={"q": soql}, headers={"Sforce-Query-Options": "batchSize=200"}
    ).json()
    names, addresses = [], []
    while True:
        assert answer["totalSize"] == 450
        names += [record["FirstName"] for record in answer["records"]]
        if answer["done"]:
            break
        addresses.append(answer["nextRecordsUrl"])
        answer = api.session.get(api.url + answer["nextRecordsUrl"], timeout=10).json()
    assert "nextRecordsUrl" not in answer
    assert names == [f"{number:03}" for number in reversed(range(450))]
    assert [address.rpartition("-")[2] for address in addresses] == ["200", "400"]
    assert addresses[0].startswith("/services/data/v62.0/query/0r8")


@pytest.mark.parametrize("asked", ["1", "5000", "x"])
def test_page_sizes_are_kept_within_bounds(api: Api, family: str, asked: str) -> None:
    answer = api.call(
        "GET",
        "query",
        params={"q": f"SELECT Id FROM Contact WHERE LastName = '{family}'"},
        headers={"Sforce-Query-Options": f"batchSize={asked}"},
    ).json()
    assert len(answer["records"]) == (200 if asked == "1" else 450)


def test_pages_are_those_of_the_moment_of_the_query(api: Api) -> None:
    name = unique("Moving")
    records = [
        {"attributes": {"type": "Lead"}, "LastName": name, "Company": f"{number:03}"}
        for number in range(200)
    ]
    for _ in range(2):
        api.send("POST", "composite/sobjects", {"records": records}, 200)
    soql = f"SELECT Id, Company FROM Lead WHERE LastName = '{name}' ORDER BY Company"
    first = api.call(
        "GET", "query", params={"q": soql}, headers={"Sforce-Query-Options": "batchSize=200"}
    ).json()
    api.create("Lead", LastName=name, Company="000")
    seen = [record["Id"] for record in first["records"]]
    following = api.session.get(api.url + first["nextRecordsUrl"], timeout=10).json()
    repeated = api.session.get(api.url + first["nextRecordsUrl"], timeout=10).json()
    assert following == repeated
    seen += [record["Id"] for record in following["records"]]
    assert len(seen) == len(set(seen)) == first["totalSize"] == following["totalSize"] == 400


def test_locators_that_lead_nowhere(api: Api, family: str) -> None:
    soql = f"SELECT Id FROM Contact WHERE LastName = '{family}'"
    answer = api.call(
        "GET", "query", params={"q": soql}, headers={"Sforce-Query-Options": "batchSize=200"}
    ).json()
    locator = answer["nextRecordsUrl"].rpartition("/")[2]
    name = locator.partition("-")[0]
    for wrong in (f"{name}-450", f"{name}-x", name, "0r8000000000000000-200", "..%2F..-200"):
        (error,) = api.get(f"query/{wrong}", status=400)
        assert error == {"message": "invalid query locator", "errorCode": "INVALID_QUERY_LOCATOR"}
    assert len(api.get(f"queryAll/{locator}", q="ignored")["records"]) == 200


def test_parents_are_nested_and_missing_ones_are_null(api: Api, family: str) -> None:
    found = api.records(
        "SELECT firstname, account.name, Account.Owner.Name, Owner.Alias FROM Contact"
        f" WHERE LastName = '{family}' AND FirstName IN ('448', '449') ORDER BY FirstName"
    )
    assert list(found[0]) == ["FirstName", "Account", "Owner"]
    assert found[0]["Account"] is None
    account = found[1]["Account"]
    assert account["attributes"]["type"] == "Account"
    assert (account["Name"], account["Owner"]["Name"]) == (f"{family} Ltd", "Integration User")
    assert found[1]["Owner"]["Alias"] == "integusr"


def test_filters_on_parents(api: Api, family: str) -> None:
    mine = f"LastName = '{family}'"
    with_account = f"SELECT COUNT() FROM Contact WHERE {mine} AND Account.Name LIKE '% ltd'"
    assert api.get("query", q=with_account)["totalSize"] == 1
    without = f"SELECT COUNT() FROM Contact WHERE {mine} AND Account.Name = null"
    assert api.get("query", q=without)["totalSize"] == 449
    other = f"SELECT COUNT() FROM Contact WHERE {mine} AND Account.Name != 'Other'"
    assert api.get("query", q=other)["totalSize"] == 450


def test_children(api: Api, family: str) -> None:
    (account,) = api.records(
        "SELECT Name, (SELECT FirstName, Account.Name FROM Contacts WHERE FirstName > '4'), "
        f"(SELECT Id FROM Opportunities) FROM Account WHERE Name = '{family} ltd'"
    )
    assert account["Opportunities"] is None
    contacts = account["Contacts"]
    assert (contacts["totalSize"], contacts["done"]) == (1, True)
    assert contacts["records"][0]["FirstName"] == "449"
    assert contacts["records"][0]["Account"]["Name"] == f"{family} Ltd"
    code, message = api.refused("SELECT (SELECT Id FROM Contact) FROM Account")
    assert code == "INVALID_TYPE"
    assert "Didn't understand relationship 'Contact' in FROM part of query call" in message


def test_semi_joins(api: Api) -> None:
    campaign = api.create("Campaign", Name=unique("c"))
    inside, outside = (api.create("Lead", LastName=campaign, Company="x") for _ in range(2))
    api.create("CampaignMember", CampaignId=campaign, LeadId=inside)
    members = f"(SELECT LeadId FROM CampaignMember WHERE CampaignId = '{campaign}')"
    for operator, expected in (("IN", inside), ("NOT IN", outside)):
        (found,) = api.records(
            f"SELECT Id FROM Lead WHERE LastName = '{campaign}' AND Id {operator} {members}"
        )
        assert found["Id"] == expected
    code, _ = api.refused(
        "SELECT Id FROM Lead WHERE LastName IN (SELECT LeadId FROM CampaignMember)"
    )
    assert code == "MALFORMED_QUERY"


def test_aggregates(api: Api, family: str) -> None:
    mine = f"FROM Contact WHERE LastName = '{family}'"
    (total,) = api.records(
        "SELECT COUNT(Id), COUNT(Referral_Count__c) c, SUM(Referral_Count__c), "
        f"AVG(Referral_Count__c), MIN(FirstName), MAX(Birthdate) newest {mine}"
    )
    assert total == {
        "expr0": 450,
        "c": 300,
        "expr1": 450.0,
        "expr2": 1.5,
        "expr3": "000",
        "newest": "2000-01-28",
    }
    grouped = api.get(
        "query",
        q=f"SELECT Account.Name who, COUNT_DISTINCT(FirstName) n {mine} GROUP BY Account.Name"
        " HAVING COUNT(Id) > 1",
    )
    assert grouped["records"] == [
        {"attributes": {"type": "AggregateResult"}, "who": None, "n": 449}
    ]
    by_year = api.records(
        f"SELECT CALENDAR_YEAR(Birthdate), COUNT(Id) {mine} GROUP BY CALENDAR_YEAR(Birthdate)"
    )
    assert by_year == [{"expr0": 2000, "expr1": 450}]
    assert api.get("query", q=f"SELECT COUNT() {mine}") == {
        "totalSize": 450,
        "done": True,
        "records": [],
    }


@pytest.mark.parametrize(
    ("soql", "code", "words"),
    [
        (
            "SELECT LeadSource, COUNT(Id) FROM Lead",
            "MALFORMED_QUERY",
            "must be grouped or aggregated",
        ),
        (
            "SELECT CreatedDate, COUNT(Id) FROM Lead GROUP BY CreatedDate",
            "MALFORMED_QUERY",
            "grouped",
        ),
        ("SELECT SUM(LastName) FROM Lead", "MALFORMED_QUERY", "aggregate operator SUM"),
        ("SELECT Id FROM Lead OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "2000"),
        ("SELECT Id, id FROM Lead", "INVALID_FIELD", "duplicate field selected: Id"),
        ("SELECT Id FROM Lead ORDER BY Description", "MALFORMED_QUERY", "can not be sorted"),
        ("SELECT Id FROM Nothing__c", "INVALID_TYPE", "sObject type 'Nothing__c' is not supported"),
        ("SELECT Boss.Name FROM Lead", "INVALID_FIELD", "Didn't understand relationship 'Boss'"),
        ("SELECT Individual.Name FROM Lead", "INVALID_FIELD", "relationship 'Individual'"),
        ("SELECT FIELDS(ALL) FROM Lead", "MALFORMED_QUERY", "LIMIT of at most 200"),
        ("SELECT FIELDS(ALL) FROM Lead LIMIT 201", "MALFORMED_QUERY", "LIMIT of at most 200"),
        ("SELECT Id FROM Lead USING SCOPE team", "INVALID_SCOPE", "team"),
        ("SELECT Id FROM ScratchOrgInfo", "INVALID_TYPE", "ScratchOrgInfo"),
    ],
)
def test_refused_queries(api: Api, soql: str, code: str, words: str) -> None:
    refused, message = api.refused(soql)
    assert refused == code
    assert words in message


def test_a_query_has_to_be_given(api: Api) -> None:
    assert api.get("query", status=400)[0]["errorCode"] == "MALFORMED_QUERY"


def test_fields_functions(api: Api) -> None:
    record_id = api.create("Contact", LastName="x", MailingCity="Rome")
    where = f"FROM Contact WHERE Id = '{record_id}' LIMIT 1"
    described = api.get("sobjects/Contact/describe")["fields"]
    by_kind = {
        "ALL": {field["name"] for field in described},
        "CUSTOM": {field["name"] for field in described if field["custom"]},
        "STANDARD": {field["name"] for field in described if not field["custom"]},
    }
    for kind, names in by_kind.items():
        (record,) = api.records(f"SELECT FIELDS({kind}) {where}")
        assert set(record) == names
    (record,) = api.records(f"SELECT MailingAddress, toLabel(LeadSource) {where}")
    assert record["MailingAddress"]["city"] == "Rome"
    assert "LeadSource" in record


def test_scope_and_deleted_rows(api: Api) -> None:
    name = unique("Scoped")
    (admin,) = api.records("SELECT Id FROM User WHERE Name = 'System Administrator'")
    mine = api.create("Lead", LastName=name, Company="x")
    theirs = api.create("Lead", LastName=name, Company="x", OwnerId=admin["Id"])
    gone = api.create("Lead", LastName=name, Company="x")
    api.delete("Lead", gone)
    where = f"WHERE LastName = '{name}'"

    def ids(soql: str, path: str = "query") -> set[str]:
        return {record["Id"] for record in api.records(soql, path)}

    assert ids(f"SELECT Id FROM Lead USING SCOPE mine {where}") == {mine}
    assert ids(f"SELECT Id FROM Lead {where}") == {mine, theirs}
    assert ids(f"SELECT Id FROM Lead {where} AND IsDeleted = true") == set()
    assert ids(f"SELECT Id FROM Lead {where} AND IsDeleted = true", "queryAll") == {gone}


def test_strings_compare_without_letter_case_and_with_their_escapes(api: Api) -> None:
    name = unique("Q")
    api.create("Lead", LastName=f"{name} O'Neil \\ É\n\"", Company="100% x_y")
    for condition in (
        f"LastName = '{name.lower()} o\\'neil \\\\ é\\n\\\"'",
        f"LastName LIKE '{name} %é_\\\"'",
        f"LastName LIKE '{name}%' AND Company LIKE '100\\% x\\_Y'",
    ):
        assert len(api.records(f"SELECT Id FROM Lead WHERE {condition}")) == 1, condition
    none = f"LastName LIKE '{name}%' AND Company LIKE '%\\%\\_%'"
    assert api.records(f"SELECT Id FROM Lead WHERE {none}") == []


def test_times_in_any_zone(api: Api) -> None:
    record_id = api.create("Contact", LastName="x", EmailBouncedDate="2024-05-01T10:00:00Z")
    for literal in (
        "2024-05-01T10:00:00Z",
        "2024-05-01T12:00:00+02:00",
        "2024-05-01T10:00:00.000+0000",
    ):
        where = f"Id = '{record_id}' AND EmailBouncedDate = {literal}"
        (found,) = api.records(f"SELECT EmailBouncedDate FROM Contact WHERE {where}")
        assert found["EmailBouncedDate"] == "2024-05-01T10:00:00.000+0000"
    later = f"Id = '{record_id}' AND EmailBouncedDate < 2024-05-01T10:00:00.500Z"
    assert len(api.records(f"SELECT Id FROM Contact WHERE {later}")) == 1


def test_queries_and_writes_at_the_same_time(api: Api, org: RunningOrg) -> None:
    name = unique("Busy")
    stop = threading.Event()
    totals: list[int] = []

    def read() -> None:
        reader = api_of(org)
        with reader.session:
            while not stop.is_set():
                soql = f"SELECT Id, Company FROM Lead WHERE LastName = '{name}'"
                totals.append(reader.get("query", q=soql)["totalSize"])

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    records = [{"attributes": {"type": "Lead"}, "LastName": name, "Company": "x"}] * 50
    for _ in range(6):
        api.send("POST", "composite/sobjects", {"records": records}, 200)
    stop.set()
    for thread in threads:
        thread.join()
    assert totals
    assert all(total % 50 == 0 for total in totals)


def test_a_locator_expires_by_the_clock_of_the_org(tmp_path: Path) -> None:
    now = [datetime(2024, 5, 15, tzinfo=UTC)]
    build_home(tmp_path / "home", 1, lambda: ())
    with closing(Org(tmp_path / "home", Settings(), lambda: now[0])) as org:
        user = org.store.integration_user_id
        row = {"LastName": "x", "Company": "x"}
        with org.store.write() as connection:
            writer = Writer(org, connection, user, from_json)
            assert all(writer.create(org.schema["Lead"], row).id for _ in range(250))
        page = first_page(org, "SELECT Id FROM Lead", user, "62.0", 200, include_deleted=False)
        locator = page["nextRecordsUrl"].rpartition("/")[2]
        now[0] += timedelta(hours=47)
        assert len(next_page(org, locator, user, "62.0")["records"]) == 50
        now[0] += timedelta(hours=2)
        with pytest.raises(ApiError) as refusal:
            next_page(org, locator, user, "62.0")
        assert refusal.value.code == "INVALID_QUERY_LOCATOR"
        with pytest.raises(ApiError):
            next_page(org, locator, org.store.admin_id, "62.0")
        first_page(org, "SELECT Id FROM Lead", user, "62.0", 200, include_deleted=False)
        kept = list((org.spool / "cursors").glob("*.json"))
        assert len(kept) == 1
