"""Parts of SOQL that are not about which records a condition finds."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from salesforce_pipelines_tests.local_org.conftest import Api, unique


@pytest.fixture(scope="module")
def family(api: Api) -> str:
    """A name shared by an Account with five Contacts and a Lead of the administrator."""
    name = unique("Feature")
    parent = api.create("Account", Name=f"{name} Group")
    account = api.create("Account", Name=name, ParentId=parent, AnnualRevenue=1234567)
    campaign = api.create("Campaign", Name=name)
    for number in range(5):
        contact = api.create(
            "Contact",
            LastName=name,
            FirstName=f"{number}",
            AccountId=account,
            LeadSource=("Web", "Other")[number % 2],
            Birthdate=f"199{number}-04-10",
            MailingLatitude=37.0 + number,
            MailingLongitude=-122.0,
        )
        if number < 2:
            api.create("CampaignMember", CampaignId=campaign, ContactId=contact)
    (admin,) = api.records("SELECT Id FROM User WHERE Name = 'System Administrator'")
    api.create("Lead", LastName=name, Company=name, OwnerId=admin["Id"])
    return name


def first_names(api: Api, rest: str) -> list[Any]:
    return [record["FirstName"] for record in api.records(f"SELECT FirstName FROM Contact {rest}")]


def test_a_polymorphic_owner(api: Api, family: str) -> None:
    soql = f"SELECT Owner.Name, Owner.Type FROM Lead WHERE LastName = '{family}'"
    (lead,) = api.records(f"{soql} AND Owner.Type = 'user' AND Owner.Alias != null")
    owner = lead["Owner"]
    assert owner["attributes"]["type"] == "Name"
    assert "/sobjects/User/005" in owner["attributes"]["url"]
    assert (owner["Name"], owner["Type"]) == ("System Administrator", "User")
    assert api.records(f"{soql} AND Owner.Type = 'Group'") == []


def test_typeof(api: Api, family: str) -> None:
    where = f"FROM Lead WHERE LastName = '{family}'"
    (lead,) = api.records(
        f"SELECT Id, TYPEOF Owner WHEN Group THEN Name WHEN User THEN Alias, IsActive END {where}"
    )
    assert lead["Owner"]["attributes"]["type"] == "User"
    assert set(lead["Owner"]) == {"attributes", "Alias", "IsActive"}
    (other,) = api.records(f"SELECT TYPEOF Owner WHEN Group THEN Name ELSE Name END {where}")
    assert other["Owner"]["Name"] == "System Administrator"
    (none,) = api.records(f"SELECT TYPEOF Owner WHEN Group THEN Name END {where}")
    assert none == {"Owner": None}
    code, _ = api.refused(f"SELECT TYPEOF Owner WHEN Contact THEN Name END {where}")
    assert code == "INVALID_TYPE"


def test_aliases_of_from(api: Api, family: str) -> None:
    found = api.records(
        "SELECT c.FirstName, g.Name FROM Contact c, c.Account a, a.Parent g"
        f" WHERE a.Name = '{family}' AND c.FirstName = '3' AND Contact.LastName = '{family}'"
    )
    assert [record["Account"]["Parent"]["Name"] for record in found] == [f"{family} Group"]
    assert found[0]["FirstName"] == "3"


def test_children_of_children(api: Api, family: str) -> None:
    (account,) = api.records(
        "SELECT Id, (SELECT FirstName, (SELECT Status FROM CampaignMembers) FROM a.Contacts"
        " WHERE FirstName != '4' ORDER BY FirstName DESC LIMIT 3 OFFSET 1)"
        f" FROM Account a WHERE Name = '{family}'"
    )
    contacts = account["Contacts"]["records"]
    assert [contact["FirstName"] for contact in contacts] == ["2", "1", "0"]
    assert [bool(contact["CampaignMembers"]) for contact in contacts] == [False, True, True]
    assert contacts[1]["CampaignMembers"]["records"][0]["Status"] == "Sent"


def test_pages_of_children(api: Api) -> None:
    name = unique("Parents")
    many, few, none = (api.create("Account", Name=f"{name} {n}") for n in (1, 2, 3))
    for account, count in ((many, 450), (few, 30)):
        for start in range(0, count, 150):
            records = [
                {
                    "attributes": {"type": "Contact"},
                    "LastName": name,
                    "FirstName": f"{n:03}",
                    "AccountId": account,
                }
                for n in range(start, min(start + 150, count))
            ]
            api.send("POST", "composite/sobjects", {"records": records}, 200)
    soql = (
        "SELECT Name, (SELECT FirstName FROM Contacts ORDER BY FirstName) FROM Account"
        f" WHERE Name LIKE '{name}%' ORDER BY Name"
    )
    small = {"Sforce-Query-Options": "batchSize=200"}
    page = api.call("GET", "query", params={"q": soql}, headers=small).json()
    # The children that a page shows count toward its size.
    assert (page["totalSize"], page["done"], len(page["records"])) == (3, False, 1)
    assert page["nextRecordsUrl"].endswith("-1")
    children = page["records"][0]["Contacts"]
    assert (children["totalSize"], children["done"], len(children["records"])) == (450, False, 200)
    names = [record["FirstName"] for record in children["records"]]
    while not children["done"]:
        children = api.session.get(api.url + children["nextRecordsUrl"], timeout=10).json()
        assert children["totalSize"] == 450
        names += [record["FirstName"] for record in children["records"]]
    assert names == [f"{n:03}" for n in range(450)]
    rest = api.session.get(api.url + page["nextRecordsUrl"], timeout=10).json()
    assert rest["done"]
    assert [record["Name"] for record in rest["records"]] == [f"{name} 2", f"{name} 3"]
    assert rest["records"][0]["Contacts"]["totalSize"] == 30
    assert rest["records"][1]["Contacts"] is None
    assert none


def test_distances(api: Api, family: str) -> None:
    place = "DISTANCE(MailingAddress, GEOLOCATION(37.0, -122.0), 'km')"
    mine = f"LastName = '{family}'"
    # A degree of latitude is about 111 km, or 69 miles.
    assert first_names(api, f"WHERE {mine} AND {place} < 112 ORDER BY FirstName") == ["0", "1"]
    miles = place.replace("km", "mi")
    assert first_names(api, f"WHERE {mine} AND {miles} > 68 AND {miles} < 70") == ["1"]
    order = f"WHERE {mine} ORDER BY {place} DESC LIMIT 2"
    assert first_names(api, order) == ["4", "3"]
    for wrong in (
        f"SELECT {place} FROM Contact",
        f"SELECT Id FROM Contact WHERE {place} = 5",
        f"SELECT Id FROM Contact WHERE {place.replace('km', 'ft')} < 5",
        f"SELECT Id FROM Contact WHERE {place.replace('MailingAddress', 'Name')} < 5",
    ):
        assert api.refused(wrong)[0] in ("MALFORMED_QUERY", "INVALID_QUERY_FILTER_OPERATOR")


def test_functions_of_dates(api: Api, family: str) -> None:
    (found,) = api.records(
        "SELECT WEEK_IN_MONTH(Birthdate) w, DAY_IN_MONTH(Birthdate) d, COUNT(Id) FROM Contact"
        f" WHERE LastName = '{family}' GROUP BY WEEK_IN_MONTH(Birthdate), DAY_IN_MONTH(Birthdate)"
    )
    assert found == {"w": 2, "d": 10, "expr0": 5}
    hours = "HOUR_IN_DAY(convertTimezone(CreatedDate))"
    grouped = (
        f"SELECT {hours}, COUNT(Id) n FROM Contact WHERE LastName = '{family}' GROUP BY {hours}"
    )
    assert sum(record["n"] for record in api.records(grouped)) == 5
    code, message = api.refused("SELECT CALENDAR_YEAR(Birthdate) FROM Contact")
    assert code == "MALFORMED_QUERY"
    assert "must be grouped or aggregated" in message


def test_formats(api: Api, family: str) -> None:
    (account,) = api.records(
        "SELECT AnnualRevenue, FORMAT(AnnualRevenue) shown, FORMAT(CreatedDate) FROM Account"
        f" WHERE Name = '{family}'"
    )
    assert account["shown"] == "$1,234,567"
    now = datetime.now(UTC)
    assert account["CreatedDate"].startswith(f"{now.month}/{now.day}/{now.year}, ")
    (row,) = api.records(
        f"SELECT FORMAT(MIN(Birthdate)) first FROM Contact WHERE LastName = '{family}'"
    )
    assert row == {"first": "4/10/1990"}


def test_subtotals(api: Api, family: str) -> None:
    rows = api.records(
        "SELECT LeadSource s, GROUPING(LeadSource) g, COUNT(Id) n FROM Contact"
        f" WHERE LastName = '{family}' GROUP BY ROLLUP(LeadSource)"
        " HAVING COUNT(Id) > 2 ORDER BY GROUPING(LeadSource), COUNT(Id)"
    )
    assert rows == [{"s": "Web", "g": 0, "n": 3}, {"s": None, "g": 1, "n": 5}]
    cube = api.records(
        "SELECT LeadSource, FirstName, COUNT(Id) FROM Contact"
        f" WHERE LastName = '{family}' GROUP BY CUBE(LeadSource, FirstName)"
    )
    assert len(cube) == 5 + 2 + 5 + 1


@pytest.mark.parametrize(
    "tail",
    ["WITH SECURITY_ENFORCED", "WITH USER_MODE", "FOR VIEW", "FOR VIEW, REFERENCE", "FOR UPDATE"],
)
def test_clauses_that_change_nothing(api: Api, family: str, tail: str) -> None:
    assert len(first_names(api, f"WHERE LastName = '{family}' {tail}")) == 5


@pytest.mark.parametrize(
    ("soql", "code", "words"),
    [
        ("SELECT Id FROM Lead ALL ROWS", "MALFORMED_QUERY", "ALL ROWS not allowed"),
        (
            "SELECT Id FROM Lead WHERE Name = :name",
            "MALFORMED_QUERY",
            "Bind variables only allowed in Apex code",
        ),
        ("SELECT Id FROM Lead -- all", "MALFORMED_QUERY", "unexpected token: '-'"),
        ("SELECT /* all */ Id FROM Lead", "MALFORMED_QUERY", "unexpected token: '/'"),
        (
            'SELECT Id FROM Lead WHERE Name = "x"',
            "MALFORMED_QUERY",
            "line 1:33 no viable alternative at character '\"'",
        ),
        (
            "SELECT Id FROM Lead WHERE Name = 'x",
            "MALFORMED_QUERY",
            "line 1:35 mismatched character '<EOF>' expecting '''",
        ),
        ("SELECT Id FROM Lead LIMIT -1", "MALFORMED_QUERY", "unexpected token: '-1'"),
        ("SELECT Id FROM Lead LIMIT 2147483648", "MALFORMED_QUERY", "out of range"),
        ("SELECT Id FROM Lead WITH DATA", "MALFORMED_QUERY", "unexpected token: 'DATA'"),
        (
            "SELECT Id x FROM Lead",
            "MALFORMED_QUERY",
            "only aggregate expressions use field aliasing",
        ),
        (
            "SELECT COUNT(Id) n, MAX(Name) n FROM Lead",
            "MALFORMED_QUERY",
            "duplicate alias: n",
        ),
        (
            "SELECT COUNT(Id) FROM Lead LIMIT 1",
            "MALFORMED_QUERY",
            "Non-grouped query that uses overall aggregate functions cannot also use LIMIT",
        ),
        (
            "SELECT Status, COUNT(Id) FROM Lead GROUP BY Status ORDER BY Name",
            "MALFORMED_QUERY",
            "Ordered field must be grouped or aggregated: Name",
        ),
        (
            "SELECT COUNT() FROM Lead ORDER BY Name",
            "MALFORMED_QUERY",
            "Ordered field must be grouped or aggregated: Name",
        ),
        (
            "SELECT Id, (SELECT COUNT(Id) FROM Contacts) FROM Account",
            "MALFORMED_QUERY",
            "only root queries support aggregate expressions",
        ),
        ("SELECT COUNT(IsConverted) FROM Lead", "MALFORMED_QUERY", "aggregate operator COUNT"),
        ("SELECT Id FROM Lead WHERE COUNT(Id) > 1", "MALFORMED_QUERY", "unexpected token: 'COUNT'"),
        (
            "SELECT Id FROM Lead WHERE IsConverted < true",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator on boolean field",
        ),
        (
            "SELECT Id FROM Lead WHERE OwnerId LIKE '005%'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator on id field",
        ),
        (
            "SELECT Id FROM Lead WHERE AnnualRevenue = '5'",
            "INVALID_FIELD",
            "field 'AnnualRevenue' must be of type double and should not be enclosed in quotes",
        ),
        (
            "SELECT Id FROM Contact WHERE " + "ReportsTo." * 6 + "Name = 'x'",
            "MALFORMED_QUERY",
            "5 levels",
        ),
        ("SELECT Id FROM CampaignMember USING SCOPE mine", "INVALID_SCOPE", "mine"),
        (
            "SELECT Id FROM Lead WHERE " + "NOT (" * 200 + "Name = 'x'" + ")" * 200,
            "QUERY_TOO_COMPLICATED",
            "filter conditions are too complicated",
        ),
    ],
)
def test_refusals(api: Api, soql: str, code: str, words: str) -> None:
    refused, message = api.refused(soql)
    assert refused == code
    assert words in message


def test_a_refusal_shows_whole_words_around_the_field(api: Api) -> None:
    # As recorded from an org.
    _, message = api.refused(
        "SELECT Id, Name, BillingState, BillingPostalCode FROM Account WHERE Id = '53'"
    )
    assert message == (
        "\nBillingPostalCode FROM Account WHERE Id = '53'\n"
        "                                     ^\nERROR at Row:1:Column:69\ninvalid ID field: 53"
    )


MEMBERS = "SELECT ContactId FROM CampaignMember"


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (f"Id IN ({MEMBERS}) OR Name = 'x'", "not allowed with the 'OR' operator"),
        (
            f"Name = 'x' AND (Id IN ({MEMBERS}) OR Name = 'y')",
            "only allowed at the top level WHERE expressions",
        ),
        (f"NOT Id IN ({MEMBERS})", "not allowed with the 'NOT' operator"),
        (f"LastName IN ({MEMBERS})", "can only query id fields, cannot use: 'LastName'"),
        ("Id IN (SELECT Name FROM CampaignMember)", "cannot use: 'Name'"),
        ("Account.Id IN (SELECT AccountId FROM Opportunity)", "more than one level"),
        ("AccountId IN (SELECT Opportunity.AccountId FROM OpportunityContactRole)", "one level"),
        ("Id IN (SELECT ReportsToId FROM Contact)", "should not be on the same object type"),
        (f"AccountId IN ({MEMBERS})", "should point to the same object type"),
        (
            f"Id IN ({MEMBERS} WHERE CampaignId IN (SELECT CampaignId FROM Opportunity))",
            "Nesting of semi join sub-selects is not supported",
        ),
        (" AND ".join([f"Id IN ({MEMBERS})"] * 3), "Maximum 2 semi join sub-selects are allowed"),
        (f"Id IN ({MEMBERS} LIMIT 5)", "unexpected token: 'LIMIT'"),
        (f"Id IN ({MEMBERS} ORDER BY Id)", "unexpected token: 'ORDER'"),
    ],
)
def test_refused_semi_joins(api: Api, condition: str, words: str) -> None:
    code, message = api.refused(f"SELECT Id FROM Contact WHERE {condition}")
    assert code == "MALFORMED_QUERY"
    assert words in message


def test_lists_of_date_literals(api: Api, family: str) -> None:
    mine = f"LastName = '{family}'"
    created = api.records(f"SELECT CreatedDate FROM Contact WHERE {mine} LIMIT 1")[0]["CreatedDate"]
    day = date.fromisoformat(created[:10])
    today = "TODAY" if day == datetime.now(UTC).date() else "YESTERDAY"
    for condition, count in (
        (f"CreatedDate IN (LAST_YEAR, {today})", 5),
        (f"CreatedDate NOT IN ({today}, LAST_YEAR)", 0),
        ("Birthdate IN (1990-04-10, TODAY, null)", 1),
        ("Birthdate NOT IN (1990-04-10, TODAY)", 4),
    ):
        soql = f"SELECT COUNT() FROM Contact WHERE {mine} AND {condition}"
        assert api.get("query", q=soql)["totalSize"] == count, condition


def test_a_boolean_of_a_missing_parent_is_false(api: Api, family: str) -> None:
    mine = f"LastName = '{family}'"
    for condition, count in (
        ("ReportsTo.HasOptedOutOfEmail = false", 5),
        ("ReportsTo.HasOptedOutOfEmail != true", 5),
        ("ReportsTo.HasOptedOutOfEmail = true", 0),
        ("HasOptedOutOfEmail = null", 5),
    ):
        soql = f"SELECT COUNT() FROM Contact WHERE {mine} AND {condition}"
        assert api.get("query", q=soql)["totalSize"] == count, condition


def test_columns(api: Api) -> None:
    soql = "SELECT Name, Owner.Name, (SELECT LastName FROM Contacts) FROM Account"
    found = api.get("query", q=soql, columns="true")
    columns = found.pop("columnMetadata")
    assert found == {
        "entityName": "Account",
        "groupBy": False,
        "idSelected": False,
        "keyPrefix": "001",
    }
    plain: dict[str, Any] = {
        "aggregate": False,
        "apexType": None,
        "booleanType": False,
        "custom": False,
        "foreignKeyName": None,
        "insertable": False,
        "joinColumns": [],
        "numberType": False,
        "textType": False,
        "updatable": False,
    }
    text = {**plain, "apexType": "String", "textType": True}
    written = {**text, "insertable": True, "updatable": True}

    def column(name: str, **values: Any) -> dict[str, Any]:
        return {**plain, "columnName": name, "displayName": name, **values}

    assert columns == [
        column("Name", **written),
        column("Owner", foreignKeyName="OwnerId", joinColumns=[column("Name", **text)]),
        column("Contacts", aggregate=True, joinColumns=[column("LastName", **written)]),
    ]


def test_columns_of_an_aggregate(api: Api) -> None:
    soql = "SELECT CampaignId, AVG(Amount), COUNT(Id) n FROM Opportunity GROUP BY CampaignId"
    found = api.get("query", q=soql, columns="true")
    assert found["groupBy"] is True
    shown = [
        (item["columnName"], item["displayName"], item["aggregate"], item["apexType"])
        for item in found["columnMetadata"]
    ]
    assert shown == [
        ("CampaignId", "CampaignId", False, "Id"),
        ("expr0", "avg(Amount)", True, None),
        ("n", "count(Id)", True, None),
    ]
    assert found["columnMetadata"][1]["numberType"] is True
