"""Rows arrive complete and with the values the org holds, by either channel."""

import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.org.describe import FieldDescribe, arrow_schema
from salesforce_pipelines.org.errors import OrgUnreachableError
from salesforce_pipelines.org.reading import RowCountError, batch_of, csv_batches, read
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines_tests.org.conftest import Scripted


def field(name: str, kind: str, precision: int = 0, scale: int = 0) -> FieldDescribe:
    return FieldDescribe(
        name, name, kind, 255, precision, scale, True, True, True, False, False, (), ()
    )


FIELDS = [
    field("Id", "id"),
    field("Text", "string"),
    field("Flag", "boolean"),
    field("Whole", "int"),
    field("Number", "double", 18, 2),
    field("Money", "currency", 18, 2),
    field("Day", "date"),
    field("Moment", "datetime"),
]
SCHEMA = arrow_schema(FIELDS)
EXPECTED = {
    "Id": "003A",
    "Text": 'NA, "quoted"\r\nnew line',
    "Flag": True,
    "Whole": 12_000_000,
    "Number": 1200.5,
    "Money": Decimal("12345678901234.56"),
    "Day": date(2021, 12, 2),
    "Moment": datetime(2021, 12, 2, 18, 23, 39, tzinfo=UTC),
}


def test_rest_values_are_typed() -> None:
    record = {
        **EXPECTED,
        "Money": 12345678901234.56,
        "Day": "2021-12-02",
        "Moment": "2021-12-02T18:23:39.000+0000",
    }
    empty = dict.fromkeys(SCHEMA.names) | {"Id": "003B", "Flag": False}
    rows = batch_of([record, empty], SCHEMA).to_pylist()
    assert rows == [EXPECTED, empty]


def test_bulk_values_are_typed_and_only_an_empty_cell_is_null() -> None:
    text = (
        '"Id","Text","Flag","Whole","Number","Money","Day","Moment"\n'
        '"003A","NA, ""quoted""\r\nnew line","true","1.2E7","1.2005E3","12345678901234.56",'
        '"2021-12-02","2021-12-02T18:23:39.000Z"\n'
        '"003B","","false","","","","",""\n'
        '"003C","null","false","0","0","1.005E3","",""\n'
        '"003D","#N/A","false","","","0.005","",""\n'
    )
    rows = [row for b in csv_batches(io.BytesIO(text.encode()), SCHEMA) for row in b.to_pylist()]
    assert rows[0] == EXPECTED
    assert rows[1] == dict.fromkeys(SCHEMA.names) | {"Id": "003B", "Flag": False}
    assert [row["Text"] for row in rows[2:]] == ["null", "#N/A"]
    assert [row["Money"] for row in rows[2:]] == [Decimal("1005.00"), Decimal("0.01")]


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), max_size=20
    )
)
def test_any_text_survives_the_bulk_csv(texts: list[str]) -> None:
    schema = pa.schema([("Id", pa.string()), ("Text", pa.string())])
    quoted = [text.replace('"', '""') for text in texts]
    body = '"Id","Text"\n' + "".join(f'"{n}","{text}"\n' for n, text in enumerate(quoted))
    found = [
        row["Text"]
        for batch in csv_batches(io.BytesIO(body.encode()), schema)
        for row in batch.to_pylist()
    ]
    assert found == [text or None for text in texts]


@pytest.mark.parametrize("before", [0, 1, 30_000], ids=["first", "second", "later"])
def test_a_row_longer_than_a_block_is_read_with_a_longer_one(before: int) -> None:
    schema = pa.schema([("Id", pa.string()), ("Text", pa.string())])
    long = "é\r\n" * 400_000
    texts = [*(f"short {n} {'x' * 60}" for n in range(before)), long, "after"]
    body = '"Id","Text"\n' + "".join(f'"{n}","{text}"\n' for n, text in enumerate(texts))
    found = [
        row for batch in csv_batches(io.BytesIO(body.encode()), schema) for row in batch.to_pylist()
    ]
    assert found == [{"Id": str(n), "Text": text} for n, text in enumerate(texts)]


def test_rows_that_do_not_add_up_fail_the_reading(
    scripted: Scripted, connect: Callable[[str], OrgSession]
) -> None:
    scripted.answer(200, {"totalSize": 2, "done": True, "records": [{"Id": "003A"}]})
    reading = read(connect(scripted.url), "Contact", FIELDS[:1], bulk_threshold=100)
    with pytest.raises(RowCountError, match="promised 2 rows and 1 landed"):
        list(reading.batches)


def test_a_compound_field_is_refused_with_its_cure(
    scripted: Scripted, connect: Callable[[str], OrgSession]
) -> None:
    with pytest.raises(Exception, match="MailingAddress is a compound field; name its components"):
        read(
            connect(scripted.url), "Contact", [field("MailingAddress", "address")], bulk_threshold=9
        )


def test_a_connection_cut_in_the_middle_of_a_result_is_told(
    scripted: Scripted, connect: Callable[[str], OrgSession]
) -> None:
    scripted.answer(-1, '"Id"\n"003A"\n', "text/csv")
    session = connect(scripted.url)
    with pytest.raises(OrgUnreachableError, match="again and again"):
        session.download("/results", io.BytesIO(), what="results")
    assert scripted.paths() == ["/results"] * 3


def test_a_result_that_was_cut_is_fetched_again(
    scripted: Scripted, connect: Callable[[str], OrgSession]
) -> None:
    text = '"Id"\n"003A"\n'
    scripted.answer(-1, text, "text/csv")
    scripted.answer(200, text, "text/csv")
    found = io.BytesIO()
    connect(scripted.url).download("/results", found, what="results")
    assert found.getvalue() == text.encode()
