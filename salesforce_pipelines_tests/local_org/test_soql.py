"""SOQL's grammar and meaning, against an evaluation that shares nothing with the compiler."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.metadata.schema import load_schema
from salesforce_pipelines.local_org.soql.compiled_query import Asking
from salesforce_pipelines.local_org.soql.soql_sql import compile_query
from salesforce_pipelines.local_org.soql.syntax import parse
from salesforce_pipelines.local_org.storage.ids import to_18
from salesforce_pipelines.local_org.storage.store import (
    create_indexes,
    create_tables,
    insert_statement,
    prepare,
)

NOW = datetime(2024, 5, 15, 12, 30, tzinfo=UTC)
SCHEMA = load_schema()
ACCOUNT_IDS = [to_18(f"00100000000000{n}") for n in "AB"]
ACCOUNTS = dict(zip(ACCOUNT_IDS, ("Acme", None), strict=True))

Row = dict[str, Any]
Test = Callable[[Row], bool]

texts = st.text(alphabet="aAbBéÉ%_'\\ ", min_size=1, max_size=4)
moments = st.datetimes(datetime(2024, 5, 1), datetime(2024, 5, 31)).map(
    lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S")
)
days = st.dates(datetime(2024, 5, 1).date(), datetime(2024, 5, 31).date()).map(str)
numbers = st.sampled_from([-1.5, 0.0, 1.0, 2.0, 1e7])
FIELDS = {
    "FirstName": texts,
    "MailingCity": texts,
    "Birthdate": days,
    "EmailBouncedDate": moments,
    "Referral_Count__c": numbers,
    "AccountId": st.sampled_from(ACCOUNT_IDS),
}
rows = st.lists(
    st.fixed_dictionaries(
        {
            **{name: st.none() | values for name, values in FIELDS.items()},
            "HasOptedOutOfEmail": st.booleans(),
        }
    ),
    max_size=8,
)
ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def written(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def literal(name: str, value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value)
    if name == "Birthdate":
        return str(value)
    if name == "EmailBouncedDate":
        return f"{value}Z"
    return str(value) if isinstance(value, float) else written(value)


def folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def get(name: str) -> Callable[[Row], Any]:
    if name == "Account.Name":
        return lambda row: ACCOUNTS.get(row["AccountId"])
    return lambda row: row[name]


@st.composite
def equalities(draw: st.DrawFn) -> tuple[str, Test]:
    name = draw(st.sampled_from([*FIELDS, "Account.Name", "HasOptedOutOfEmail"]))
    if name == "HasOptedOutOfEmail":
        value: Any = draw(st.booleans())
    else:
        value = draw(st.none() | FIELDS.get(name, st.sampled_from(["acme", "Other"])))
    operator = draw(st.sampled_from(["=", "!=", "<>"]))
    read, wanted = get(name), operator == "="
    return (
        f"{name} {operator} {literal(name, value)}",
        lambda row: (folded(read(row)) == folded(value)) == wanted,
    )


@st.composite
def orderings(draw: st.DrawFn) -> tuple[str, Test]:
    name = draw(st.sampled_from([name for name in FIELDS if name != "AccountId"]))
    value = draw(FIELDS[name])
    operator = draw(st.sampled_from(list(ORDERED)))
    compare = ORDERED[operator]
    return (
        f"{name} {operator} {literal(name, value)}",
        lambda row: row[name] is not None and compare(folded(row[name]), folded(value)),
    )


@st.composite
def memberships(draw: st.DrawFn) -> tuple[str, Test]:
    name = draw(st.sampled_from(list(FIELDS)))
    values = draw(st.lists(st.none() | FIELDS[name], min_size=1, max_size=4))
    negated = draw(st.booleans())
    inside = ", ".join(literal(name, value) for value in values)
    among = {folded(value) for value in values}
    return (
        f"{name} {'NOT IN' if negated else 'in'} ({inside})",
        lambda row: (folded(row[name]) in among) != negated,
    )


@st.composite
def likes(draw: st.DrawFn) -> tuple[str, Test]:
    name = draw(st.sampled_from(["FirstName", "MailingCity"]))
    pieces = draw(
        st.lists(st.sampled_from(["a", "B", "É", "%", "_", "\\%", "\\_", " "]), max_size=4)
    )
    pattern = "".join(pieces)
    regex = "".join(
        {"%": ".*", "_": "."}.get(piece, re.escape(piece.lstrip("\\"))) for piece in pieces
    )
    matcher = re.compile(regex, re.IGNORECASE | re.DOTALL)
    return (
        f"{name} LIKE '{pattern}'",
        lambda row: row[name] is not None and matcher.fullmatch(row[name]) is not None,
    )


@st.composite
def ranges(draw: st.DrawFn) -> tuple[str, Test]:
    name = draw(st.sampled_from(["Birthdate", "EmailBouncedDate"]))
    operator = draw(st.sampled_from(["=", "!=", *ORDERED]))
    first, last = "2024-05-12", "2024-05-18"

    def holds(row: Row) -> bool:
        day: str | None = row[name] and row[name][:10]
        if day is None:
            return operator == "!="
        return {
            "=": first <= day <= last,
            "!=": not first <= day <= last,
            "<": day < first,
            "<=": day <= last,
            ">": day > last,
            ">=": day >= first,
        }[operator]

    return f"{name} {operator} THIS_WEEK", holds


def combined(inner: st.SearchStrategy[tuple[str, Test]]) -> st.SearchStrategy[tuple[str, Test]]:
    def negation(part: tuple[str, Test]) -> tuple[str, Test]:
        return f"(NOT ({part[0]}))", lambda row: not part[1](row)

    def joined(word: str, every: Callable[[Iterator[bool]], bool]) -> Callable[..., Any]:
        def join(parts: list[tuple[str, Test]]) -> tuple[str, Test]:
            text = f" {word} ".join(f"({part})" for part, _ in parts)
            return text, lambda row: every(test(row) for _, test in parts)

        return join

    several = st.lists(inner, min_size=2, max_size=3)
    return inner.map(negation) | several.map(joined("AND", all)) | several.map(joined("or", any))


conditions = st.recursive(
    equalities() | orderings() | memberships() | likes() | ranges(), combined, max_leaves=5
)


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    """The tables of an org with the two Accounts."""
    with closing(sqlite3.connect(":memory:")) as opened:
        prepare(opened)
        create_tables(opened, SCHEMA)
        create_indexes(opened, SCHEMA)
        for number, (record_id, name) in enumerate(ACCOUNTS.items()):
            statement = insert_statement(SCHEMA["Account"], ["Id", "Name"])
            opened.execute(statement, [number, record_id, name])
        yield opened


def selected(connection: sqlite3.Connection, stored: list[Row], soql: str) -> list[int]:
    connection.execute("DELETE FROM Contact")
    for number, row in enumerate(stored):
        statement = insert_statement(SCHEMA["Contact"], ["Id", "LastName", *row])
        connection.execute(statement, [number, f"003{number}", "x", *row.values()])
    compiled = compile_query(soql, SCHEMA, Asking("005000000000001AAA", NOW))
    sql = f"SELECT {compiled.own}._n{compiled.tail}"
    numbers = [number for (number,) in connection.execute(sql, compiled.parameters)]
    return sorted(numbers) if compiled.is_unordered else numbers


@settings(max_examples=300, deadline=None)
@given(rows, conditions)
def test_a_condition_selects_what_it_means(
    connection: sqlite3.Connection, stored: list[Row], condition: tuple[str, Test]
) -> None:
    text, test = condition
    found = selected(connection, stored, f"SELECT Id FROM Contact WHERE {text}")
    assert found == [number for number, row in enumerate(stored) if test(row)]


@settings(max_examples=60, deadline=None)
@given(
    rows,
    st.sampled_from(["FirstName", "Birthdate", "Referral_Count__c"]),
    st.booleans(),
    st.sampled_from([None, "FIRST", "LAST"]),
    st.integers(0, 5),
    st.integers(0, 3),
)
def test_order_limit_and_offset(
    connection: sqlite3.Connection,
    stored: list[Row],
    name: str,
    descending: bool,
    nulls: str | None,
    limit: int,
    offset: int,
) -> None:
    direction = "DESC" if descending else "ASC"
    clause = f"{direction} NULLS {nulls}" if nulls else direction
    ordered = f"SELECT Id FROM Contact ORDER BY {name} {clause} LIMIT {limit} OFFSET {offset}"
    found = selected(connection, stored, ordered)
    empty = [number for number, row in enumerate(stored) if row[name] is None]
    full = [number for number, row in enumerate(stored) if row[name] is not None]
    # Stable sorting in reverse keeps ties in the order of the records, as the server does.
    key = lambda number: (  # noqa: E731
        stored[number][name].encode().lower() if name == "FirstName" else stored[number][name]
    )
    full.sort(key=key, reverse=descending)
    nulls_first = nulls != "LAST"
    expected = empty + full if nulls_first else full + empty
    assert found == expected[offset : offset + limit]


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for soql in (text, f"SELECT Id FROM Contact WHERE {text}"):
        try:
            parse(soql)
        except ApiError as refusal:
            outcome = refusal.code, "ERROR at Row:" in refusal.message
        else:
            outcome = "MALFORMED_QUERY", True
        assert outcome == ("MALFORMED_QUERY", True)


@pytest.mark.parametrize(
    ("soql", "column", "found"),
    [
        ("SELECT Id FROM Contact WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", 55, "OR"),
        ("SELECT Id FROM Contact WHERE Name = 'a' OR Name = 'b' AND Name = 'c'", 54, "AND"),
        ("SELECT Id FROM Contact WHERE Name = 'a' AND NOT Name = 'b'", 44, "NOT"),
        ("SELECT Id FROM Contact WHERE", 28, "<EOF>"),
        ("SELECT FROM Contact", 7, "FROM"),
        ("SELECT Id, FROM Contact", 11, "FROM"),
        ("SELECT Id FROM Contact WHERE Name == 'a'", 35, "="),
        ("SELECT Id FROM Contact LIMIT x", 29, "x"),
        ("SELECT * FROM Contact", 7, "*"),
        ("DELETE FROM Contact", 0, "DELETE"),
        ("SELECT Id FROM Contact WHERE CreatedDate > SOMEDAY", 43, "SOMEDAY"),
        ("SELECT median(Amount) FROM Opportunity", 7, "median"),
    ],
)
def test_malformed_queries_point_at_the_token(soql: str, column: int, found: str) -> None:
    with pytest.raises(ApiError) as refusal:
        compile_query(soql, SCHEMA, Asking("005", NOW))
    assert refusal.value.code == "MALFORMED_QUERY"
    assert refusal.value.message.endswith(
        f"ERROR at Row:1:Column:{column}\nunexpected token: '{found}'"
    )


@pytest.mark.parametrize(
    ("condition", "code", "words"),
    [
        ("Description = 'x'", "INVALID_FIELD", "can not be filtered in a query call"),
        ("MailingAddress = 'x'", "INVALID_FIELD", "can not be filtered in a query call"),
        (
            "CreatedDate = '2024-05-01'",
            "INVALID_FIELD",
            "must be of type dateTime and should not be",
        ),
        ("CreatedDate > 2024-05-01", "INVALID_FIELD", "must be of type dateTime and should not be"),
        (
            "Birthdate > 2024-05-01T00:00:00Z",
            "INVALID_FIELD",
            "must be of type date and should not",
        ),
        ("Birthdate = 2024-02-30", "INVALID_FIELD", "must be of type date"),
        ("LastName = 5", "INVALID_FIELD", "must be of type string and should be enclosed"),
        ("HasOptedOutOfEmail = 'true'", "INVALID_FIELD", "must be of type boolean and should not"),
        ("Referral_Count__c = '5'", "INVALID_FIELD", "must be of type double and should not"),
        ("Id = 'nonsense'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: nonsense"),
        (
            "Birthdate LIKE '2024%'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator on date field",
        ),
        (
            "LeadSource INCLUDES ('a;b')",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator on picklist field",
        ),
        (r"LastName = '\x'", "MALFORMED_QUERY", "Illegal character sequence in string literal"),
    ],
)
def test_refused_conditions(condition: str, code: str, words: str) -> None:
    with pytest.raises(ApiError) as refusal:
        compile_query(f"SELECT Id FROM Contact WHERE {condition}", SCHEMA, Asking("005", NOW))
    assert refusal.value.code == code
    assert words in refusal.value.message


def test_the_place_in_a_query_of_several_lines() -> None:
    with pytest.raises(ApiError) as refusal:
        compile_query("SELECT Id,\n       Nope\nFROM Contact", SCHEMA, Asking("005", NOW))
    assert refusal.value.message == (
        "\n       Nope\n       ^\nERROR at Row:2:Column:8\n"
        "No such column 'Nope' on entity 'Contact'. If you are attempting to use a custom field, "
        "be sure to append the '__c' after the custom field name. Please reference your WSDL or "
        "the describe call for the appropriate names."
    )


def test_values_never_become_sql() -> None:
    nasty = "x'; DROP TABLE Contact; --"
    compiled = compile_query(
        f"SELECT Id FROM Contact WHERE LastName = {written(nasty)}", SCHEMA, Asking("005", NOW)
    )
    assert compiled.parameters == (nasty,)
    assert "DROP" not in compiled.tail
