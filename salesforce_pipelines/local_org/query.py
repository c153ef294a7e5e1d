"""REST queries: pages of records, and cursors that keep a result's rows while a client reads on."""

import array
import itertools
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from salesforce_pipelines.local_org.compiled_query import CompiledQuery
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.records import Record, RecordShaper
from salesforce_pipelines.local_org.soql_sql import compile_query

SMALLEST_PAGE, LARGEST_PAGE = 200, 2000
_CURSOR_SECONDS = 2 * 24 * 3600
_INVALID_LOCATOR = ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")


def first_page(
    org: Org, text: str, user_id: str, version: str, batch_size: int, include_deleted: bool
) -> Record:
    """Answer a query: all of it, or its first page and the address of the next."""
    compiled = compile_query(text, org.schema_for(user_id), org.asking(user_id, include_deleted))
    if compiled.is_count:
        return {"totalSize": _count(org, compiled), "done": True, "records": []}
    if compiled.is_aggregate:
        return _aggregates(org, compiled, version)
    size = min(max(batch_size, SMALLEST_PAGE), LARGEST_PAGE)
    with org.store.snapshot() as connection:
        found = connection.execute(f"SELECT {compiled.own}._n{compiled.tail}", compiled.parameters)
        rows = (number for (number,) in found)
        # In the order of the table, a page is read from neighbouring places.
        numbers = array.array("q", sorted(rows) if compiled.is_unordered else rows)
        records = _records(org, compiled, numbers[:size], version)
    answer: Record = {"totalSize": len(numbers), "done": len(numbers) <= size}
    if not answer["done"]:
        locator = _keep_cursor(org, text, user_id, size, include_deleted, numbers)
        answer["nextRecordsUrl"] = f"/services/data/v{version}/query/{locator}-{size}"
    return {**answer, "records": records}


def next_page(org: Org, locator: str, user_id: str, version: str) -> Record:
    """Answer with the page that a locator such as `0r8…-2000` names.

    Raises:
        ApiError: INVALID_QUERY_LOCATOR; unknown, expired or somebody else's.
    """
    name, _, offset_text = locator.partition("-")
    folder = org.spool / "cursors"
    if not name.isalnum() or not offset_text.isdecimal():
        raise _INVALID_LOCATOR
    try:
        cursor = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _INVALID_LOCATOR from None
    if cursor.get("kept_at", 0) + _CURSOR_SECONDS < org.clock().timestamp():
        raise _INVALID_LOCATOR
    size, offset, total = cursor["size"], int(offset_text), cursor["total"]
    if cursor["user_id"] != user_id or offset >= total:
        raise _INVALID_LOCATOR
    numbers = array.array("q")
    with (folder / f"{name}.rows").open("rb") as rows:
        rows.seek(offset * numbers.itemsize)
        numbers.frombytes(rows.read(size * numbers.itemsize))
    asking = org.asking(user_id, cursor["include_deleted"])
    compiled = compile_query(cursor["text"], org.schema_for(user_id), asking)
    with org.store.snapshot():
        records = _records(org, compiled, numbers, version)
    done = offset + size >= total
    answer: Record = {"totalSize": total, "done": done}
    if not done:
        answer["nextRecordsUrl"] = f"/services/data/v{version}/query/{name}-{offset + size}"
    return {**answer, "records": records}


def _count(org: Org, compiled: CompiledQuery) -> int:
    sql = f"SELECT count(*) FROM (SELECT {compiled.own}._n{compiled.tail})"
    return int(org.store.reader().execute(sql, compiled.parameters).fetchone()[0])


def _aggregates(org: Org, compiled: CompiledQuery, version: str) -> Record:
    shaper = RecordShaper(compiled, version)
    sql = f"SELECT {shaper.select_list}{compiled.tail}"
    rows = org.store.reader().execute(sql, compiled.parameters).fetchmany(LARGEST_PAGE + 1)
    if len(rows) > LARGEST_PAGE:
        message = (
            "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a "
            "single batch"
        )
        raise ApiError(400, "EXCEEDED_ID_LIMIT", message)
    records = [shaper.record(row) for row in rows]
    return {"totalSize": len(records), "done": True, "records": records}


def _records(
    org: Org, compiled: CompiledQuery, numbers: Sequence[int], version: str
) -> list[Record]:
    """The records with those numbers, in that order."""
    shaper = RecordShaper(compiled, version)
    sql = (
        f"SELECT {compiled.own}._n, {shaper.select_list}{compiled.from_sql}"
        f" WHERE {compiled.own}._n IN (SELECT value FROM json_each(?))"
    )
    rows = org.store.reader().execute(sql, [json.dumps(list(numbers))])
    by_number = {row[0]: row[1:] for row in rows}
    ordered = [by_number[number] for number in numbers if number in by_number]
    records = [shaper.record(row) for row in ordered]
    for child in compiled.children:
        shape = RecordShaper(child.compiled, version)
        sql = f"SELECT {shape.select_list}{child.compiled.tail}"
        for row, record in zip(ordered, records, strict=True):
            parameters = (shaper.record_id(row), *child.compiled.parameters)
            found = org.store.reader().execute(sql, parameters).fetchall()
            record[child.name] = _children([shape.record(item) for item in found])
    return records


def _children(records: list[Record]) -> Record | None:
    """A child query's results as they stand in their parent; null where there are none."""
    return {"totalSize": len(records), "done": True, "records": records} if records else None


def _keep_cursor(
    org: Org, text: str, user_id: str, size: int, include_deleted: bool, numbers: "array.array[int]"
) -> str:
    folder = org.spool / "cursors"
    now = org.clock().timestamp()
    _drop_old_cursors(folder, now)
    name = f"0r8{org.store.ids.record_id('0r8', secrets.randbelow(62**5))[3:]}"
    (folder / f"{name}.rows").write_bytes(numbers.tobytes())
    cursor: dict[str, Any] = {
        "text": text,
        "user_id": user_id,
        "size": size,
        "include_deleted": include_deleted,
        "total": len(numbers),
        "kept_at": now,
    }
    (folder / f"{name}.json").write_text(json.dumps(cursor), encoding="utf-8")
    for suffix in ("json", "rows"):
        os.utime(folder / f"{name}.{suffix}", (now, now))
    return name


def _drop_old_cursors(folder: Path, now: float) -> None:
    oldest = now - _CURSOR_SECONDS
    for path in itertools.islice(folder.iterdir(), 1000):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
