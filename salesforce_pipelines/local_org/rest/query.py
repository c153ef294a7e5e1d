"""REST queries: pages of records, and cursors that keep a result's rows while a client reads on."""

import array
import itertools
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.rest.records import Record, RecordShaper
from salesforce_pipelines.local_org.soql.compiled_query import ChildQuery, CompiledQuery
from salesforce_pipelines.local_org.soql.soql_conditions import too_complicated
from salesforce_pipelines.local_org.soql.soql_sql import compile_query

SMALLEST_PAGE, LARGEST_PAGE = 200, 2000
CHILD_PAGE = 200
_CURSOR_SECONDS = 2 * 24 * 3600
_INVALID_LOCATOR = ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")

Numbers = array.array  # of the records of a result, in its order


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query as somebody asked it, which is what its cursors keep.

    Attributes:
        size: Records a page holds at most, with the children that it shows.
        path: The numbers of the child queries that lead to the one that is paged.
    """

    text: str
    user_id: str
    include_deleted: bool
    size: int
    path: tuple[int, ...] = ()


def first_page(
    org: Org, text: str, user_id: str, version: str, batch_size: int, include_deleted: bool
) -> Record:
    """Answer a query: all of it, or its first page and the address of the next."""
    compiled = compile_query(text, org.schema_for(user_id), org.asking(user_id, include_deleted))
    if compiled.is_count:
        return {"totalSize": _count(org, compiled), "done": True, "records": []}
    if compiled.is_aggregate:
        return _aggregates(org, compiled, version)
    size = min(max(batch_size, SMALLEST_PAGE), compiled.most_rows)
    asked = _Asked(text, user_id, include_deleted, size)
    with _reading(org) as connection:
        found = connection.execute(f"SELECT {compiled.own}._n{compiled.tail}", compiled.parameters)
        rows = (number for (number,) in found)
        # In the order of the table, a page is read from neighbouring places.
        numbers = array.array("q", sorted(rows) if compiled.is_unordered else rows)
        return _Pages(org, asked, version).page(compiled, numbers[:size], len(numbers), numbers)


def next_page(org: Org, locator: str, user_id: str, version: str) -> Record:
    """Answer with the page that a locator such as `0r8…-2000` names.

    Raises:
        ApiError: INVALID_QUERY_LOCATOR; unknown, expired or somebody else's.
    """
    name, _, offset_text = locator.partition("-")
    folder = org.spool / "cursors"
    if not name.isalnum() or not name.isascii() or not offset_text.isdecimal():
        raise _INVALID_LOCATOR
    try:
        cursor = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _INVALID_LOCATOR from None
    asked = _Asked(**{**cursor["asked"], "path": tuple(cursor["asked"]["path"])})
    offset, total = int(offset_text), cursor["total"]
    is_expired = org.store.clock().timestamp() - cursor["created"] > _CURSOR_SECONDS
    if is_expired or asked.user_id != user_id or offset >= total:
        raise _INVALID_LOCATOR
    numbers = array.array("q")
    with (folder / f"{name}.rows").open("rb") as rows:
        rows.seek(offset * numbers.itemsize)
        numbers.frombytes(rows.read(asked.size * numbers.itemsize))
    compiled = compile_query(
        asked.text, org.schema_for(user_id), org.asking(user_id, asked.include_deleted)
    )
    for child in asked.path:
        compiled = compiled.children[child].compiled
    with _reading(org):
        return _Pages(org, asked, version).page(compiled, numbers, total, name, offset)


@contextmanager
def _reading(org: Org) -> Iterator[sqlite3.Connection]:
    """One state of the org; what is beyond SQLite is refused as beyond Salesforce."""
    try:
        with org.store.snapshot() as connection:
            yield connection
    except sqlite3.OperationalError as error:
        if "too " not in str(error) and "overflow" not in str(error):
            raise
        raise too_complicated() from None


def _count(org: Org, compiled: CompiledQuery) -> int:
    sql = f"SELECT count(*) FROM (SELECT {compiled.own}._n{compiled.tail})"
    with _reading(org) as connection:
        return int(connection.execute(sql, compiled.parameters).fetchone()[0])


def _aggregates(org: Org, compiled: CompiledQuery, version: str) -> Record:
    shaper = RecordShaper(compiled, version)
    sql = f"SELECT {shaper.select_list}{compiled.tail}"
    with _reading(org) as connection:
        rows = connection.execute(sql, compiled.parameters).fetchmany(LARGEST_PAGE + 1)
    if len(rows) > LARGEST_PAGE:
        message = (
            "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a "
            "single batch"
        )
        raise ApiError(400, "EXCEEDED_ID_LIMIT", message)
    records = [shaper.record(row) for row in rows]
    return {"totalSize": len(records), "done": True, "records": records}


class _Pages:
    """Makes the pages of one answer."""

    def __init__(self, org: Org, asked: _Asked, version: str) -> None:
        self._org = org
        self._asked = asked
        self._version = version

    def page(
        self,
        compiled: CompiledQuery,
        numbers: "Numbers[int]",
        total: int,
        cursor: "str | Numbers[int]",
        offset: int = 0,
    ) -> Record:
        """A page of records.

        Args:
            compiled: Their query.
            numbers: Those that fit on the page if they have no children.
            total: How many the result has.
            cursor: The result's cursor, or all its numbers if it has none yet.
            offset: The place of the first of them in the result.
        """
        records, used = self._records(compiled, numbers, self._asked)
        end = offset + used
        answer: Record = {"totalSize": total, "done": end >= total}
        if not answer["done"]:
            if not isinstance(cursor, str):
                cursor = self._keep(cursor, self._asked)
            answer["nextRecordsUrl"] = self._address(cursor, end)
        return {**answer, "records": records}

    def _records(
        self, compiled: CompiledQuery, numbers: Sequence[int], asked: _Asked
    ) -> tuple[list[Record], int]:
        """The records with those numbers, in that order, as far as they fit on one page.

        Besides, how many of the numbers that were: some records may be gone by now.
        """
        shaper = RecordShaper(compiled, self._version)
        sql = (
            f"SELECT {compiled.own}._n, {shaper.select_list}{compiled.from_sql}"
            f" WHERE {compiled.own}._n IN (SELECT value FROM json_each(?))"
        )
        rows = self._org.store.reader().execute(sql, [json.dumps(list(numbers))])
        by_number = {row[0]: row[1:] for row in rows}
        there = [at for at, number in enumerate(numbers) if number in by_number]
        ordered = [by_number[numbers[at]] for at in there]
        if not compiled.children:
            return [shaper.record(row) for row in ordered], len(numbers)
        ids = [shaper.record_id(row) for row in ordered]
        families = [self._family(child, ids) for child in compiled.children]
        fitting = _fitting(ids, families, asked.size)
        records = [shaper.record(row) for row in ordered[:fitting]]
        for at, (child, family) in enumerate(zip(compiled.children, families, strict=True)):
            below = replace(asked, path=(*asked.path, at))
            shown = self._children(child, family, ids[:fitting], below)
            for record_id, record in zip(ids, records, strict=False):
                record[child.name] = shown.get(record_id)
        return records, there[fitting] if fitting < len(there) else len(numbers)

    def _family(self, child: ChildQuery, ids: list[str]) -> dict[str, "Numbers[int]"]:
        """The numbers of each record's children, in the order of the child query."""
        compiled = child.compiled
        order = compiled.order_sql or f" ORDER BY {compiled.own}._n"
        sql = (
            f"SELECT {child.key_sql}, {compiled.own}._n"
            f"{compiled.from_sql}{compiled.where_sql}{order}"
        )
        found: dict[str, Numbers[int]] = {}
        parameters = [json.dumps(ids), *compiled.parameters]
        for record_id, number in self._org.store.reader().execute(sql, parameters):
            found.setdefault(record_id, array.array("q")).append(number)
        end = None if compiled.limit is None else compiled.offset + compiled.limit
        return {record_id: numbers[compiled.offset : end] for record_id, numbers in found.items()}

    def _children(
        self,
        child: ChildQuery,
        family: dict[str, "Numbers[int]"],
        ids: list[str],
        asked: _Asked,
    ) -> dict[str, Record]:
        """What stands in each record for its children; a record without any is left out."""
        firsts = {record_id: family.get(record_id, ())[:CHILD_PAGE] for record_id in ids}
        numbers = array.array("q", itertools.chain.from_iterable(firsts.values()))
        # Grandchildren are never cut off here: a page would have to end amid them.
        unlimited = replace(asked, size=len(numbers) * (CHILD_PAGE + 1) ** 2)
        shown = iter(self._records(child.compiled, numbers, unlimited)[0])
        answers: dict[str, Record] = {}
        for record_id, first in firsts.items():
            records = list(itertools.islice(shown, len(first)))
            if not records:
                continue
            whole = family[record_id]
            answer: Record = {"totalSize": len(whole), "done": len(whole) <= CHILD_PAGE}
            if not answer["done"]:
                name = self._keep(whole, replace(asked, size=self._asked.size))
                answer["nextRecordsUrl"] = self._address(name, CHILD_PAGE)
            answers[record_id] = {**answer, "records": records}
        return answers

    def _address(self, cursor: str, offset: int) -> str:
        return f"/services/data/v{self._version}/query/{cursor}-{offset}"

    def _keep(self, numbers: "Numbers[int]", asked: _Asked) -> str:
        """The name of a new cursor that keeps a result."""
        folder = self._org.spool / "cursors"
        now = self._org.store.clock().timestamp()
        _drop_old_cursors(folder, now)
        name = f"0r8{self._org.store.ids.record_id('0r8', secrets.randbelow(62**5))[3:]}"
        cursor: dict[str, Any] = {
            "asked": {
                "text": asked.text,
                "user_id": asked.user_id,
                "include_deleted": asked.include_deleted,
                "size": asked.size,
                "path": asked.path,
            },
            "created": now,
            "total": len(numbers),
        }
        rows, described = folder / f"{name}.rows", folder / f"{name}.json"
        rows.write_bytes(numbers.tobytes())
        described.write_text(json.dumps(cursor), encoding="utf-8")
        for path in (rows, described):
            os.utime(path, (now, now))
        return name


def _fitting(ids: list[str], families: list[dict[str, "Numbers[int]"]], size: int) -> int:
    """How many records fit on a page of a size, as the children they show count too."""
    rows = 0
    for at, record_id in enumerate(ids):
        rows += 1 + sum(min(len(family.get(record_id, ())), CHILD_PAGE) for family in families)
        if rows > size and at:
            return at
    return len(ids)


def _drop_old_cursors(folder: Path, now: float) -> None:
    """Remove cursors that have expired by the org's clock, which dates their files."""
    for path in itertools.islice(folder.iterdir(), 1000):
        if path.stat().st_mtime < now - _CURSOR_SECONDS:
            path.unlink(missing_ok=True)
