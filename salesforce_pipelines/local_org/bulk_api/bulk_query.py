"""Bulk query jobs: a query's whole result as CSV in a file, and pages cut out of it.

The rows come from one SQL statement, so a result is one consistent snapshot of the org, and SQLite
itself composes and quotes each line. Beside the lines stands an index of where each begins, so a
page is found without reading those before it.
"""

import array
import base64
import binascii
import itertools
from dataclasses import dataclass
from pathlib import Path

from salesforce_pipelines.local_org.bulk_api.jobs import Job, Jobs
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.whole_numbers import whole_number
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.soql.compiled_query import Column, CompiledQuery
from salesforce_pipelines.local_org.soql.soql_literals import TEXT_TYPES
from salesforce_pipelines.local_org.soql.soql_sql import compile_query

_FETCH_ROWS = 1_000
_PRINTF_COLUMNS = 100
_OFFSET_BYTES = 8


def check_bulk_query(compiled: CompiledQuery) -> None:
    """Refuse what the Bulk API does not answer.

    Raises:
        ApiError: In the words that clients look for.
    """
    if any(column.compound for column in compiled.columns):
        message = "FUNCTIONALITY_NOT_ENABLED:Selecting compound data not supported in Bulk Query"
        raise ApiError(400, "FUNCTIONALITY_NOT_ENABLED", message)
    for found, what in (
        (compiled.is_count or compiled.is_aggregate, "An aggregate query"),
        (compiled.has_offset, "OFFSET"),
        (bool(compiled.children), "A nested query"),
        (any(column.branches for column in compiled.columns), "TYPEOF"),
    ):
        if found:
            raise ApiError(400, "API_ERROR", f"{what} is not supported by the Bulk API")


def run_query_job(org: Org, jobs: Jobs, job: Job) -> None:
    """Write a job's result; stops early if the job is aborted or the server stops.

    Raises:
        ApiError: The query no longer compiles, or was one that could not be.
    """
    if refusal := job.private.get("refusal"):
        raise ApiError(400, *refusal)
    asking = org.asking(job.private["user_id"], job.body["operation"] == "queryAll")
    compiled = compile_query(job.private["query"], org.schema_for(asking.user_id), asking)
    sql = f"SELECT {_line_sql(compiled, job)}{_tail(compiled)}"
    count, position = 0, 0
    with (
        org.store.bytes_reader() as connection,
        jobs.file(job, "csv").open("wb") as lines,
        jobs.file(job, "offsets").open("wb") as offsets,
    ):
        cursor = connection.execute(sql, compiled.parameters)
        while rows := cursor.fetchmany(_FETCH_ROWS):
            batch = [row[0] for row in rows]
            ends = list(itertools.accumulate(map(len, batch), initial=position))
            array.array("q", ends[:-1]).tofile(offsets)
            position = ends[-1]
            lines.write(b"".join(batch))
            count += len(batch)
            if org.stopping.is_set() or jobs.is_aborted(job):
                return
        array.array("q", [position]).tofile(offsets)
    job.private["header"] = _header(compiled, job)
    job.body["numberRecordsProcessed"] = count
    org.limits.bulk_query_bytes.add(position)


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a job's result.

    Attributes:
        first: The number of its first record.
        start: Where its first line begins in the file of lines.
        end: Where its last line ends.
        locator: What leads to the next page; None if there is none.
    """

    path: Path
    header: bytes
    first: int
    start: int
    end: int
    records: int
    locator: str | None


def page(jobs: Jobs, job: Job, locator: str | None, max_records: int) -> Page:
    """The page of a finished job that a locator names.

    Raises:
        ApiError: INVALID_QUERY_LOCATOR.
    """
    total = int(job.body["numberRecordsProcessed"])
    first = record_number(locator)
    if first > total or (first == total and first > 0):
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    last = min(first + max_records, total)
    offsets = jobs.file(job, "offsets")
    start, end = _offset(offsets, first), _offset(offsets, last)
    following = encode_locator(last) if last < total else None
    header = str(job.private["header"]).encode()
    return Page(jobs.file(job, "csv"), header, first, start, end, last - first, following)


def line_start(jobs: Jobs, job: Job, number: int) -> int:
    """Where the line of a finished job's record begins in its file of lines."""
    return _offset(jobs.file(job, "offsets"), number)


def encode_locator(record_number: int) -> str:
    """The locator of the page that begins with a record."""
    return base64.urlsafe_b64encode(str(record_number).encode()).decode().rstrip("=")


def record_number(locator: str | None) -> int:
    """The number of the record that a locator's page begins with.

    Raises:
        ApiError: INVALID_QUERY_LOCATOR.
    """
    if not locator:
        return 0
    try:
        padded = locator + "=" * (-len(locator) % 4)
        decoded = base64.urlsafe_b64decode(padded)
    except (binascii.Error, ValueError):
        decoded = b""
    number = whole_number(decoded.decode("ascii", "replace"))
    if number is None:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return number


def _offset(path: Path, record_number: int) -> int:
    with path.open("rb") as offsets:
        offsets.seek(record_number * _OFFSET_BYTES)
        found = array.array("q")
        found.frombytes(offsets.read(_OFFSET_BYTES))
    return found[0]


def _tail(compiled: CompiledQuery) -> str:
    """FROM and what follows; an unordered result is read in the order of the table.

    An index that finds most of a large table would lead to its rows in the wrong order, and cost
    twice the time. Looking their numbers up first costs little, and SQLite then sorts them.
    """
    if not compiled.has_condition or not compiled.is_unordered:
        return compiled.tail
    number = f"{compiled.own}._n"
    return f"{compiled.from_sql} WHERE {number} IN (SELECT {number}{compiled.tail})"


def _header(compiled: CompiledQuery, job: Job) -> str:
    names = (f'"{column.header}"' for column in compiled.columns)
    return job.delimiter.join(names) + job.line_ending


def _line_sql(compiled: CompiledQuery, job: Job) -> str:
    """An expression that gives one line of CSV; `%w` doubles the quotes in a text."""
    pieces = []
    columns = list(compiled.columns)
    for at in range(0, len(columns), _PRINTF_COLUMNS):
        group = columns[at : at + _PRINTF_COLUMNS]
        is_last = at + _PRINTF_COLUMNS >= len(columns)
        template = job.delimiter.join('"%w"' if _may_hold_quotes(c) else '"%s"' for c in group)
        template += job.line_ending if is_last else job.delimiter
        values = ", ".join(_cell_sql(column) for column in group)
        pieces.append(f"printf('{template}', {values})")
    return " || ".join(pieces)


def _may_hold_quotes(column: Column) -> bool:
    return column.type in TEXT_TYPES or column.type == "anyType"


def _cell_sql(column: Column) -> str:
    """A column's value as a text, never NULL."""
    sql = column.sql
    if column.type == "boolean":
        return f"CASE {sql} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE '' END"
    if column.type == "datetime":
        return f"ifnull({sql} || '.000Z', '')"
    if column.type == "time":
        return f"ifnull({sql} || 'Z', '')"
    if column.type in ("double", "currency", "percent"):
        return (
            f"CASE WHEN {sql} IS NULL THEN ''"
            f" WHEN {sql} = 0 OR abs({sql}) >= 1e-3 AND abs({sql}) < 1e7 THEN CAST({sql} AS TEXT)"
            f" ELSE java_double({sql}) END"
        )
    return f"ifnull({sql}, '')"
