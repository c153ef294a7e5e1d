"""Loading records that somebody brings as a CSV file: all of the file, or nothing of it.

With an `External_Id__c` column, rows update the records that have their external id and insert the
others; a row that changes nothing leaves its record untouched, SystemModstamp included. A file
that was loaded once, byte for byte, is not loaded again, so a restart never undoes later changes.
"""

import csv
import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.errors import RowRefusedError
from salesforce_pipelines.local_org.field_values import from_csv
from salesforce_pipelines.local_org.loading import default_values
from salesforce_pipelines.local_org.schema import Field, SObject
from salesforce_pipelines.local_org.store import (
    Store,
    Value,
    insert_statement,
    next_number,
    quoted,
)

LOADABLE = ("Account", "Contact", "Lead")
_KEY = "External_Id__c"
_BATCH_ROWS = 5_000
_LONGEST_CELL = 10_000_000
_REASONS = {
    "STRING_TOO_LONG": "is longer than {length} characters",
    "INVALID_EMAIL_ADDRESS": "is not an email address",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": "is none of the values {values}",
    "NUMBER_OUTSIDE_VALID_RANGE": "is too large a number",
    "MALFORMED_ID": "is not a record id",
    "INVALID_TYPE_ON_FIELD_IN_RECORD": "is not a {type}",
}

Cells = list[str]
Line = tuple[int, list[Value]]
"""The line a row begins at, and its values."""


@dataclass(frozen=True, slots=True)
class CsvLoad:
    """A file to load, and the sObject its rows are records of."""

    sobject: str
    path: Path


def parse_load(text: str) -> CsvLoad:
    """What `--load` means: a file of Contacts, or `SOBJECT=FILE`.

    Raises:
        PipelineError: The sObject cannot be loaded, or there is no such file.
    """
    name, equals, rest = text.partition("=")
    if not equals or Path(text).exists():
        name, rest = "Contact", text
    sobject = next((known for known in LOADABLE if known.lower() == name.lower()), None)
    if sobject is None:
        raise PipelineError(f"--load {text}: only {', '.join(LOADABLE)} can be loaded, not {name}")
    path = Path(rest)
    if not path.is_file():
        raise PipelineError(f"--load {text}: there is no file {path}")
    return CsvLoad(sobject, path)


def load_csv(store: Store, load: CsvLoad) -> int:
    """Load a file unless it was loaded before; how many records changed.

    Raises:
        PipelineError: Naming the file, line and column; nothing of the file was loaded.
    """
    fingerprint = f"loaded:{load.sobject}:{_digest(load.path)}"
    if store.setting(fingerprint):
        return 0
    try:
        with load.path.open(encoding="utf-8-sig", newline="") as file, store.write() as connection:
            changed = _Loader(store, connection, load).load(file)
            connection.execute("INSERT INTO _setting VALUES (?, ?)", [fingerprint, str(load.path)])
    except UnicodeDecodeError:
        message = f"{load.path}: not UTF-8. Save it as UTF-8 and load it again."
        raise PipelineError(message) from None
    return changed


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: its name in the file and its field; no field for the account's name."""

    header: str
    field: Field


class _Loader:
    def __init__(self, store: Store, connection: sqlite3.Connection, load: CsvLoad) -> None:
        self._store = store
        self._connection = connection
        self._path = load.path
        self._sobject: SObject = store.schema[load.sobject]
        self._now = store.now()
        self._known_references: set[Value] = set()

    def load(self, file: Iterator[str]) -> int:
        rows = self._rows(file)
        _, header = next(rows, (0, []))
        if not header:
            raise PipelineError(f"{self._path}: the file is empty; it needs a header line")
        self._columns = [self._column(name) for name in header]
        self._check_columns()
        names = [column.field.name for column in self._columns]
        self._key_at = names.index(_KEY) if _KEY in names else None
        self._account_at = next(
            (at for at, column in enumerate(self._columns) if self._is_account(column)), None
        )
        self._create_seen()
        changed = 0
        lines = ((line, self._values(line, cells)) for line, cells in rows)
        while batch := list(itertools.islice(lines, _BATCH_ROWS)):
            self._resolve_accounts(batch)
            self._check_references(batch)
            changed += self._write(batch, names)
        self._connection.execute("DROP TABLE temp._seen")
        return changed

    # Reading

    def _rows(self, file: Iterator[str]) -> Iterator[tuple[int, Cells]]:
        """Each record with the line it begins at; blank lines do not count."""
        csv.field_size_limit(_LONGEST_CELL)
        reader = csv.reader(file, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._problem(line, None, f"malformed CSV: {error}") from None
            if cells:
                yield line, cells

    def _column(self, header: str) -> _Column:
        name = header.strip()
        item = self._sobject.field(name) or self._sobject.field(f"{name}__c")
        if item is None and name.lower() == "account":
            item = self._sobject.field("AccountId")
            if item:
                return _Column(header, item)
        if item is None:
            known = sorted(f.name for f in self._sobject.fields if f.createable)
            raise self._problem(
                1, header, f"{self._sobject.name} has no such field. It has {', '.join(known)}"
            )
        if not item.createable or not item.is_stored:
            raise self._problem(1, header, f"{item.name} is read-only; remove the column")
        return _Column(header, item)

    def _check_columns(self) -> None:
        seen: dict[str, str] = {}
        for column in self._columns:
            other = seen.setdefault(column.field.name, column.header)
            if other is not column.header:
                raise self._problem(
                    1, column.header, f"a second column for {column.field.name}, beside {other}"
                )
        for item in self._sobject.fields:
            if item.required and item.name not in seen and _KEY not in seen:
                raise self._problem(
                    1, None, f"there is no column for {item.name}, which is required"
                )

    def _is_account(self, column: _Column) -> bool:
        return column.field.name == "AccountId" and column.header.strip().lower() == "account"

    def _values(self, line: int, cells: Cells) -> list[Value]:
        if len(cells) != len(self._columns):
            raise self._problem(
                line, None, f"{len(cells)} cells, but the header has {len(self._columns)}"
            )
        return [
            self._value(line, column, cell, at) if cell else None
            for at, (column, cell) in enumerate(zip(self._columns, cells, strict=True))
        ]

    def _value(self, line: int, column: _Column, cell: str, at: int) -> Value:
        item = column.field
        if at == self._account_at:
            item = self._account_name
        try:
            return from_csv(item, cell)
        except RowRefusedError as refusal:
            reason = _REASONS[refusal.error.code].format(
                length=item.length,
                values=", ".join(value.value for value in item.picklist),
                type=item.type,
            )
            raise self._problem(line, column.header, f"the value {reason}") from None

    @property
    def _account_name(self) -> Field:
        item = self._store.schema["Account"].field("Name")
        if item is None:
            raise KeyError("Account.Name")
        return item

    # References

    def _resolve_accounts(self, batch: list[Line]) -> None:
        """Put the Account's id in the place of its name; Accounts not found are created."""
        at = self._account_at
        if at is None:
            return
        spellings: dict[bytes, Value] = {}
        for _, values in batch:
            if values[at]:
                spellings.setdefault(_folded(values[at]), values[at])
        rows = self._connection.execute(
            "SELECT a.Name, min(a.Id) FROM json_each(?) j JOIN Account a ON a.Name = j.value"
            " WHERE a.IsDeleted = 0 GROUP BY a.Name",
            [json.dumps(list(spellings.values()))],
        )
        ids = {_folded(name): record_id for name, record_id in rows}
        missing = [[name] for folded, name in spellings.items() if folded not in ids]
        created = self._insert(self._store.schema["Account"], ["Name"], missing)
        pairs = zip(missing, created, strict=True)
        ids |= {_folded(name): record_id for (name,), record_id in pairs}
        for _, values in batch:
            if values[at]:
                values[at] = ids[_folded(values[at])]

    def _check_references(self, batch: list[Line]) -> None:
        for at, column in enumerate(self._columns):
            if column.field.type != "reference" or at == self._account_at:
                continue
            for line, values in batch:
                value = values[at]
                if value is not None and value not in self._known_references:
                    self._check_reference(line, column, str(value))
                    self._known_references.add(value)

    def _check_reference(self, line: int, column: _Column, value: str) -> None:
        parents = filter(None, map(self._store.schema.get, column.field.refers_to))
        parent = next((p for p in parents if value.startswith(p.key_prefix)), None)
        found = (
            parent
            and self._connection.execute(
                f"SELECT 1 FROM {quoted(parent.name)} WHERE Id = ?", [value]
            ).fetchone()
        )
        if not found:
            raise self._problem(line, column.header, "there is no record with that id")

    # Writing

    def _write(self, batch: list[Line], names: Sequence[str]) -> int:
        existing = self._existing(batch, names)
        inserted, updated = [], []
        for line, values in batch:
            found = existing.get(self._key_of(values))
            if found is None:
                self._check_required(line, names, values)
                inserted.append(values)
                continue
            number, *before = found
            after = [old if new is None else new for new, old in zip(values, before, strict=True)]
            if after != before:
                updated.append([*after, number])
        self._insert(self._sobject, names, inserted)
        self._update(names, updated)
        return len(inserted) + len(updated)

    def _key_of(self, values: list[Value]) -> bytes | None:
        return None if self._key_at is None else _folded(values[self._key_at])

    def _existing(self, batch: list[Line], names: Sequence[str]) -> dict[bytes | None, list[Value]]:
        """The records that the batch's external ids name: number and values, by external id."""
        if self._key_at is None:
            return {}
        self._check_keys(batch)
        columns = ", ".join(f"t.{quoted(name)}" for name in names)
        rows = self._connection.execute(
            f"SELECT t._n, {columns} FROM json_each(?) j JOIN {quoted(self._sobject.name)} t"
            f" ON t.{_KEY} = j.value WHERE t.IsDeleted = 0 AND t.{_KEY} IS NOT NULL",
            [json.dumps([values[self._key_at] for _, values in batch])],
        )
        return {_folded(row[self._key_at + 1]): list(row) for row in rows}

    def _create_seen(self) -> None:
        self._connection.execute(
            "CREATE TEMP TABLE _seen (key TEXT PRIMARY KEY COLLATE NOCASE, line INTEGER)"
            " WITHOUT ROWID"
        )

    def _check_keys(self, batch: list[Line]) -> None:
        """Refuse a blank external id, and one that stands in the file twice."""
        assert self._key_at is not None  # noqa: S101  # only called with a key column
        header = self._columns[self._key_at].header
        for line, values in batch:
            key = values[self._key_at]
            if key is None:
                raise self._problem(line, header, "the external id is blank")
            try:
                self._connection.execute("INSERT INTO temp._seen VALUES (?, ?)", [key, line])
            except sqlite3.IntegrityError:
                first = self._connection.execute(
                    "SELECT line FROM temp._seen WHERE key = ?", [key]
                ).fetchone()[0]
                raise self._problem(
                    line, header, f"the external id stands in line {first} already"
                ) from None

    def _check_required(self, line: int, names: Sequence[str], values: list[Value]) -> None:
        for item in self._sobject.fields:
            if item.required and (
                item.name not in names or values[list(names).index(item.name)] is None
            ):
                raise self._problem(line, item.name, "the value is blank, but required")

    def _insert(self, sobject: SObject, names: Sequence[str], rows: list[list[Value]]) -> list[str]:
        """Insert records; their ids."""
        if not rows:
            return []
        user_id = self._store.integration_user_id
        every = default_values(sobject, frozenset(), user_id, self._now)
        defaults = {name: value for name, value in every.items() if name not in names}
        for at, name in enumerate(names):
            item = sobject.field(name)
            blank = 0 if item and item.type == "boolean" else every.get(name)
            if blank is not None:
                for row in rows:
                    row[at] = blank if row[at] is None else row[at]
        first = next_number(self._connection, sobject)
        record_id, prefix = self._store.ids.record_id, sobject.key_prefix
        ids = [record_id(prefix, first + at) for at in range(len(rows))]
        constants = tuple(defaults.values())
        self._connection.executemany(
            insert_statement(sobject, [*names, *defaults, "Id"]),
            ((first + at, *row, *constants, ids[at]) for at, row in enumerate(rows)),
        )
        return ids

    def _update(self, names: Sequence[str], rows: list[list[Value]]) -> None:
        user_id = self._store.integration_user_id
        assignments = ", ".join(f"{quoted(name)} = ?" for name in names)
        self._connection.executemany(
            f"UPDATE {quoted(self._sobject.name)} SET LastModifiedDate = ?, SystemModstamp = ?,"
            f" LastModifiedById = ?, {assignments} WHERE _n = ?",
            ((self._now, self._now, user_id, *row) for row in rows),
        )

    def _problem(self, line: int, column: str | None, what: str) -> PipelineError:
        where = f"{self._path}, line {line}" + (f", column {column}" if column else "")
        return PipelineError(f"{where}: {what}")


def _folded(value: Value) -> bytes:
    """A text without its letter case, as far as the store ignores it: that of ASCII."""
    return str(value).encode().lower()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
