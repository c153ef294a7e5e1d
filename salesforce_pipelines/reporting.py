"""What runs tell people: one clear message for a failure, and metadata without people's data."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

import dagster as dg
import pyarrow as pa

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store.tables import ChangeLog

P = ParamSpec("P")
R = TypeVar("R")

SAMPLE_ROWS = 5
_SHORT = 3
_MASKED_LENGTH = 16
# With the Ids, two columns are what the page of an asset shows without scrolling sideways.
_SAMPLE_COLUMNS = 2


def explained(compute: Callable[P, R]) -> Callable[P, R]:
    """Let a problem that a person can cure fail the run with its message, not with a traceback."""

    @functools.wraps(compute)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return compute(*args, **kwargs)
        except PipelineError as error:
            # The org's requests were retried where that can help; running again would not.
            raise dg.Failure(description=str(error), allow_retries=False) from None

    return wrapper


def masked(value: object) -> str:
    """A value that shows its shape but not its content: `A••• B••`, `2•••-••-••`, blank as ∅.

    Of a short one not even the first character is shown: it may be the whole name.
    """
    if value is None or value == "":
        return "∅"
    text = " ".join(str(value).split())
    first = 1 if sum(map(str.isalnum, text)) > _SHORT else 0
    shown = "".join("•" if char.isalnum() and at >= first else char for at, char in enumerate(text))
    return shown if len(shown) <= _MASKED_LENGTH else shown[: _MASKED_LENGTH - 1] + "…"


def sample(log: ChangeLog, columns: Sequence[str]) -> dg.MetadataValue[Any]:
    """A few rows of a table with the first of these columns, every value but its Ids masked."""
    records: list[dict[str, Any]] = []
    reader = log.current(list(dict.fromkeys(["Id", *columns[:_SAMPLE_COLUMNS]])))
    for batch in reader:
        records += batch.slice(0, SAMPLE_ROWS - len(records)).to_pylist()
        if len(records) >= SAMPLE_ROWS:
            break
    return table(
        {name: value if name == "Id" else masked(value) for name, value in record.items()}
        for record in records
    )


def table(rows: Iterable[Mapping[str, Any]]) -> dg.MetadataValue[Any]:
    """Rows as a table in the UI, or the word none.

    Keep it to a few narrow columns: wide ones have to be scrolled into view.
    """
    records = [dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in rows]
    names = list(dict.fromkeys(name for record in records for name in record.data))
    if not names:
        return dg.MetadataValue.text("none")
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in names])
    return dg.MetadataValue.table(records=records, schema=schema)


def _cell(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def columns(schema: pa.Schema, about: Mapping[str, str]) -> dg.TableSchema:
    """An Arrow schema as the UI's table of columns, with what is known about them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(field.name, type=str(field.type), description=about.get(field.name))
            for field in schema
        ]
    )


def of_table(log: ChangeLog, about: Mapping[str, str]) -> dict[str, Any]:
    """Row count, columns and place of a table, under the keys that Dagster's UI knows.

    Args:
        log: The table.
        about: What its columns mean, by name; columns may be left out.
    """
    return {
        "dagster/row_count": log.count(),
        "dagster/column_schema": columns(log.schema(), about),
        "table": dg.MetadataValue.text(log.name),
    }


def moment(value: datetime | None) -> dg.MetadataValue[Any]:
    """A time as the UI shows times, in the reader's zone."""
    if value is None:
        return dg.MetadataValue.text("the beginning")
    return dg.MetadataValue.timestamp(value)
