"""SOQL over field types that not every sObject has, in an org made of two sObjects."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.metadata.schema import Field, PicklistValue, Schema, SObject
from salesforce_pipelines.local_org.rest.records import RecordShaper
from salesforce_pipelines.local_org.soql.compiled_query import Asking
from salesforce_pipelines.local_org.soql.soql_sql import compile_query
from salesforce_pipelines.local_org.storage.ids import to_18
from salesforce_pipelines.local_org.storage.store import prepare

USER, GROUP = to_18("005000000000001"), to_18("00G000000000001")
PLACE = tuple(
    Field(f"Place__{part}__s", part, "double", precision=18, scale=15, compound_name="Place__c")
    for part in ("Latitude", "Longitude")
)
SKILLS = tuple(PicklistValue(value, label) for value, label in [("A", "B"), ("B", "C"), ("É", "É")])
STATES = (PicklistValue("open", "Offen"), PicklistValue("won", "It's won"))
THING = SObject(
    name="Thing__c",
    label="Thing",
    label_plural="Things",
    key_prefix="a00",
    fields=(
        Field("Id", "ID", "id", length=18),
        Field("OwnerId", "Owner", "reference", length=18, refers_to=("Group", "User")),
        Field("Skills__c", "Skills", "multipicklist", length=4099, picklist=SKILLS),
        Field("State__c", "State", "picklist", length=255, picklist=STATES),
        Field("Starts__c", "Starts", "time"),
        Field("Secret__c", "Secret", "encryptedstring", length=20),
        Field("Notes__c", "Notes", "textarea", length=32768, filterable=False),
        Field("More__c", "More", "textarea", length=32768, filterable=False),
        Field("Place__c", "Place", "location"),
        *PLACE,
    ),
    parts={"Place__c": PLACE},
)
PEOPLE = tuple(
    SObject(name, name, f"{name}s", prefix, fields)
    for name, prefix, fields in (
        ("User", "005", (Field("Id", "ID", "id"), Field("Name", "Name", "string", length=80))),
        (
            "Group",
            "00G",
            (
                Field("Id", "ID", "id"),
                Field("Name", "Name", "string", length=80),
                Field("Email", "Email", "email", length=80),
            ),
        ),
    )
)
SCHEMA = Schema((THING, *PEOPLE))
ROWS = (
    (USER, "A;B", "open", "08:30:00.000", "x", 37.0, -122.0),
    (GROUP, "É", "won", "23:59:59.999", None, None, None),
    (USER, None, "Other", None, None, 0.0, 0.0),
)


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    """Three things, the user and the group that own them."""
    with closing(sqlite3.connect(":memory:")) as opened:
        prepare(opened)
        opened.execute(
            "CREATE TABLE Thing__c (_n INTEGER PRIMARY KEY, Id, OwnerId, Skills__c TEXT COLLATE"
            " NOCASE, State__c TEXT COLLATE NOCASE, Starts__c, Secret__c, Place__Latitude__s,"
            " Place__Longitude__s, Notes__c, More__c)"
        )
        for number, row in enumerate(ROWS):
            record_id = to_18(f"a0000000000000{number}")
            values = (number, record_id, *row)
            opened.execute(
                "INSERT INTO Thing__c VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'a', 'b')", values
            )
        columns = "_n INTEGER PRIMARY KEY, Id, Name TEXT COLLATE NOCASE, Email TEXT COLLATE NOCASE"
        for name in ("User", "Group"):
            opened.execute(f'CREATE TABLE "{name}" ({columns})')
        opened.execute("INSERT INTO User VALUES (1, ?, 'Ada', NULL)", [USER])
        opened.execute("INSERT INTO \"Group\" VALUES (1, ?, 'Queue', 'q@example.com')", [GROUP])
        yield opened


def records(connection: sqlite3.Connection, soql: str) -> list[dict[str, Any]]:
    compiled = compile_query(soql, SCHEMA, Asking(USER, datetime(2024, 5, 15, tzinfo=UTC)))
    shaper = RecordShaper(compiled, "62.0")
    rows = connection.execute(f"SELECT {shaper.select_list}{compiled.tail}", compiled.parameters)
    found = [shaper.record(row) for row in rows]
    for record in found:
        record.pop("attributes")
    return found


def numbers(connection: sqlite3.Connection, rest: str) -> list[int]:
    return [int(r["Id"][14]) for r in records(connection, f"SELECT Id FROM Thing__c {rest}")]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("Skills__c INCLUDES ('a')", [0]),
        ("Skills__c INCLUDES ('B;A', 'x')", [0]),
        ("Skills__c INCLUDES ('A;x', 'é')", [1]),
        ("Skills__c INCLUDES ('')", []),
        ("Skills__c EXCLUDES ('A')", [1, 2]),
        ("NOT Skills__c EXCLUDES ('A', 'É')", [0, 1]),
        ("Skills__c = 'B;A'", [0]),
        ("Skills__c = 'A'", []),
        ("Skills__c != 'A;B'", [1, 2]),
        ("Skills__c = null", [2]),
        ("toLabel(State__c) = 'offen'", [0]),
        ("toLabel(State__c) IN ('It\\'s won', 'Other')", [1, 2]),
        ("toLabel(State__c) LIKE 'O%'", [0, 2]),
        ("toLabel(Skills__c) INCLUDES ('C')", [0]),
        ("State__c = 'Offen'", []),
        ("Starts__c > 08:30:00.000Z", [1]),
        ("Starts__c = 08:30:00Z", [0]),
        ("Starts__c IN (23:59:59.999Z, null)", [1, 2]),
        ("DISTANCE(Place__c, GEOLOCATION(0, 0), 'km') < 1", [2]),
        ("DISTANCE(Place__c, GEOLOCATION(0, 0), 'km') > 1", [0]),
        ("Place__Latitude__s > 1", [0]),
        ("Owner.Name = 'queue'", [1]),
        ("Owner.Type IN ('User')", [0, 2]),
        ("Owner.Email = 'Q@example.com'", [1]),
    ],
)
def test_conditions(connection: sqlite3.Connection, condition: str, found: list[int]) -> None:
    assert numbers(connection, f"WHERE {condition} ORDER BY Id") == found


def test_what_is_shown(connection: sqlite3.Connection) -> None:
    soql = "SELECT Skills__c, Starts__c, Place__c, Secret__c, FORMAT(Starts__c) f FROM Thing__c"
    assert records(connection, f"{soql} ORDER BY Id LIMIT 2") == [
        {
            "Skills__c": "A;B",
            "Starts__c": "08:30:00.000Z",
            "Place__c": {"latitude": 37.0, "longitude": -122.0},
            "Secret__c": "x",
            "f": "8:30 AM",
        },
        {
            "Skills__c": "É",
            "Starts__c": "23:59:59.999Z",
            "Place__c": None,
            "Secret__c": None,
            "f": "11:59 PM",
        },
    ]
    labels = "SELECT toLabel(Skills__c), toLabel(State__c) FROM Thing__c ORDER BY Id"
    found = records(connection, labels)
    assert [tuple(record.values()) for record in found] == [
        ("B;C", "Offen"),
        ("É", "It's won"),
        (None, "Other"),
    ]


def test_an_owner_of_two_kinds(connection: sqlite3.Connection) -> None:
    found = records(connection, "SELECT Owner.Name, Owner.Type FROM Thing__c ORDER BY Id LIMIT 2")
    owners = [record["Owner"] for record in found]
    assert [(owner["Name"], owner["Type"]) for owner in owners] == [
        ("Ada", "User"),
        ("Queue", "Group"),
    ]
    assert [owner["attributes"] for owner in owners] == [
        {"type": "Name", "url": f"/services/data/v62.0/sobjects/User/{USER}"},
        {"type": "Name", "url": f"/services/data/v62.0/sobjects/Group/{GROUP}"},
    ]
    typed = (
        "SELECT TYPEOF Owner WHEN Group THEN Email ELSE Id END FROM Thing__c ORDER BY Id LIMIT 2"
    )
    owners = [record["Owner"] for record in records(connection, typed)]
    assert [owner["attributes"]["type"] for owner in owners] == ["User", "Group"]
    assert [owner.get("Id") or owner["Email"] for owner in owners] == [USER, "q@example.com"]


def test_an_order_by_distance(connection: sqlite3.Connection) -> None:
    place = "DISTANCE(Place__c, GEOLOCATION(38, -122), 'mi')"
    assert numbers(connection, f"ORDER BY {place} DESC NULLS LAST") == [2, 0, 1]


@pytest.mark.parametrize(
    ("soql", "code", "words"),
    [
        ("SELECT Id FROM Thing__c ORDER BY Skills__c", "MALFORMED_QUERY", "can not be sorted"),
        (
            "SELECT Skills__c FROM Thing__c GROUP BY Skills__c",
            "MALFORMED_QUERY",
            "field 'Skills__c' can not be grouped in a query call",
        ),
        ("SELECT COUNT(Skills__c) FROM Thing__c", "MALFORMED_QUERY", "aggregate operator COUNT"),
        ("SELECT MAX(Starts__c) FROM Thing__c", "MALFORMED_QUERY", "aggregate operator MAX"),
        (
            "SELECT Id FROM Thing__c WHERE Secret__c = 'x'",
            "INVALID_FIELD",
            "field 'Secret__c' can not be filtered in a query call",
        ),
        (
            "SELECT Id FROM Thing__c WHERE Place__c = 'x'",
            "INVALID_FIELD",
            "field 'Place__c' can not be filtered in a query call",
        ),
        (
            "SELECT Id FROM Thing__c WHERE Skills__c LIKE 'x'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator on multipicklist field",
        ),
        (
            "SELECT Id FROM Thing__c WHERE Skills__c > 'x'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator on multipicklist field",
        ),
        (
            "SELECT Id FROM Thing__c WHERE Starts__c = '08:00'",
            "INVALID_FIELD",
            "must be of type time and should not be enclosed in quotes",
        ),
        ("SELECT Owner.Alias FROM Thing__c", "INVALID_FIELD", "'Alias' on entity 'Name'"),
    ],
)
def test_refusals(connection: sqlite3.Connection, soql: str, code: str, words: str) -> None:
    with pytest.raises(ApiError) as refusal:
        records(connection, soql)
    assert refusal.value.code == code
    assert words in refusal.value.message


def test_long_texts_make_small_pages() -> None:
    asking = Asking(USER, datetime(2024, 5, 15, tzinfo=UTC))
    sizes = [
        compile_query(f"SELECT {fields} FROM Thing__c", SCHEMA, asking).most_rows
        for fields in ("Id, Notes__c", "Id, Notes__c, More__c")
    ]
    assert sizes == [2000, 200]


def test_another_schema_gives_another_answer() -> None:
    asking = Asking(USER, datetime(2024, 5, 15, tzinfo=UTC))
    soql = "SELECT Secret__c FROM Thing__c"
    assert compile_query(soql, SCHEMA, asking) is compile_query(soql, SCHEMA, asking)
    seen = SObject(
        THING.name,
        THING.label,
        THING.label_plural,
        THING.key_prefix,
        tuple(item for item in THING.fields if item.name != "Secret__c"),
    )
    with pytest.raises(ApiError) as refusal:
        compile_query(soql, Schema((seen,)), asking)
    assert refusal.value.code == "INVALID_FIELD"
