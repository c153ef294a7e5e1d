"""Reading records for pages: rows with their formulas, names of records, within a time limit."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from salesforce_pipelines.local_org.metadata.schema import Field, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.soql.compiled_query import Asking, CompiledQuery
from salesforce_pipelines.local_org.soql.soql_sql import compile_query
from salesforce_pipelines.local_org.storage.ids import is_id
from salesforce_pipelines.local_org.storage.store import Value

Row = dict[str, Value]
_STEPS_BETWEEN_LOOKS = 5_000
_NAME_FIELDS = ("Name", "MasterLabel", "Label", "Subject")


@contextmanager
def within(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Stop what the connection does when it takes too long.

    Raises:
        TimeoutError: It took too long.
    """
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error) == "interrupted":
            raise TimeoutError from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


def compiled_for(org: Org, sobject: SObject, names: Sequence[str]) -> CompiledQuery:
    """The query of some fields of every record, deleted ones among them."""
    asking = Asking(org.store.admin_id, org.store.clock(), include_deleted=True)
    return compile_query(f"SELECT {', '.join(names)} FROM {sobject.name}", org.schema, asking)


def read_rows(
    org: Org, sobject: SObject, names: Sequence[str], condition: str, parameters: Sequence[Value]
) -> list[Row]:
    """The records that meet a condition on the columns of `{t}`, with ORDER BY and LIMIT in it."""
    compiled = compiled_for(org, sobject, names)
    selected = ", ".join(column.sql for column in compiled.columns)
    where = condition.replace("{t}", compiled.own)
    sql = f"SELECT {selected}{compiled.from_sql} WHERE {where}"
    rows = org.store.reader().execute(sql, parameters)
    keys = [column.path[-1] for column in compiled.columns]
    return [dict(zip(keys, row, strict=True)) for row in rows]


def numbered_rows(
    org: Org, sobject: SObject, names: Sequence[str], numbers: Sequence[int]
) -> list[Row]:
    """The records with those numbers, in that order."""
    compiled = compiled_for(org, sobject, names)
    selected = ", ".join(column.sql for column in compiled.columns)
    rows = org.store.reader().execute(
        f"SELECT {compiled.own}._n, {selected}{compiled.from_sql}"
        f" WHERE {compiled.own}._n IN (SELECT value FROM json_each(?))",
        [json.dumps(list(numbers))],
    )
    keys = [column.path[-1] for column in compiled.columns]
    found = {row[0]: dict(zip(keys, row[1:], strict=True)) for row in rows}
    return [found[number] for number in numbers if number in found]


def name_field(sobject: SObject) -> Field | None:
    """The field that names a record for people."""
    known = filter(None, map(sobject.field, _NAME_FIELDS))
    return next(known, None)


def names_of(org: Org, ids: Iterable[Value | bytes]) -> dict[str, str]:
    """The names of records by id, deleted ones among them; unknown ids are left out."""
    by_prefix: dict[str, set[str]] = {}
    for value in ids:
        if isinstance(value, str) and is_id(value):
            by_prefix.setdefault(value[:3], set()).add(value)
    names: dict[str, str] = {}
    for prefix, wanted in by_prefix.items():
        for sobject in org.schema:
            if sobject.key_prefix != prefix or sobject.is_history:
                continue
            named = name_field(sobject)
            compiled = compiled_for(org, sobject, ["Id", named.name] if named else ["Id"])
            columns = [column.sql for column in compiled.columns]
            rows = org.store.reader().execute(
                f"SELECT {columns[0]}, {columns[-1]}{compiled.from_sql}"
                f" WHERE {columns[0]} IN (SELECT value FROM json_each(?))",
                [json.dumps(sorted(wanted))],
            )
            names |= {row[0]: str(row[1] or row[0]) for row in rows}
    return names


def references(sobject: SObject, rows: Iterable[Row]) -> list[Value]:
    """The ids that some rows refer to."""
    names = [item.name for item in sobject.fields if item.type == "reference"]
    return [row[name] for row in rows for name in names if row.get(name)]
