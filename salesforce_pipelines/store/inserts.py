"""Inserting what is not there yet, on both databases alike."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Table
from sqlalchemy.dialects import postgresql, sqlite

CHUNK_ROWS = 5_000

Item = TypeVar("Item")


def insert_missing(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    returning: Sequence[ColumnElement[Any]],
) -> list[Row[Any]]:
    """Insert rows, skipping those that any unique key forbids; returns what was inserted.

    The rows all have the same columns. Give them in the order of their key: two transactions that
    insert the same keys in different orders would lock each other out on PostgreSQL.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing().returning(*returning)
    inserted: list[Row[Any]] = []
    for chunk in chunked(rows, CHUNK_ROWS):
        # A list of parameters, not .values([...]), which compiles each row into the statement.
        inserted.extend(connection.execute(statement, chunk).all())
    return inserted


def chunked(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of at most so many."""
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk
