"""Loading records that somebody brings as a CSV file: all of the file, or nothing of it.

With an `External_Id__c` column, or another unique external id, rows update the records that have
their external id and insert the others; a row that changes nothing leaves its record untouched,
SystemModstamp included. A file that was loaded once, byte for byte, is not loaded again, so a
restart never undoes later changes.
"""

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.metadata.auto_numbers import auto_number_writer
from salesforce_pipelines.local_org.metadata.picklists import fits
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject, load_schema
from salesforce_pipelines.local_org.saves.history import Change, History, changed_columns
from salesforce_pipelines.local_org.storage.csv_rows import DEFAULTED, Column, CsvRows, Row
from salesforce_pipelines.local_org.storage.loading import STAGE_DEFAULTS, default_values
from salesforce_pipelines.local_org.storage.store import (
    Store,
    Value,
    insert_statement,
    next_number,
    quoted,
)

_BATCH_ROWS = 5_000
_PEOPLE = ("ContactId", "LeadId")
_USER_DEFAULTS: dict[str, Value] = {
    "TimeZoneSidKey": "UTC",
    "LocaleSidKey": "en_US",
    "LanguageLocaleKey": "en_US",
    "EmailEncodingKey": "UTF-8",
}
_REPEATED_MEMBERS = """
SELECT 1 FROM CampaignMember WHERE IsDeleted = 0
GROUP BY CampaignId, coalesce(ContactId, LeadId) HAVING count(*) > 1
"""


@dataclass(frozen=True, slots=True)
class CsvLoad:
    """A file to load, and the sObject its rows are records of."""

    sobject: str
    path: Path


def loadable(schema: Schema) -> tuple[str, ...]:
    """The sObjects whose records a file may bring."""
    return tuple(sobject.name for sobject in schema if sobject.createable)


def parse_load(text: str, names: Sequence[str] = ()) -> CsvLoad:
    """What `--load` means: a file of Contacts, or `SOBJECT=FILE`.

    Args:
        names: The sObjects that can be loaded; without them, those of `metadata/`.

    Raises:
        PipelineError: The sObject cannot be loaded, or there is no such file.
    """
    name, equals, rest = text.partition("=")
    if not equals or Path(text).exists():
        name, rest = "Contact", text
    names = names or loadable(load_schema())
    sobject = next((known for known in names if known.lower() == name.lower()), None)
    if sobject is None:
        raise PipelineError(f"--load {text}: only {', '.join(names)} can be loaded, not {name}")
    path = Path(rest)
    if not path.is_file():
        raise PipelineError(f"--load {text}: there is no file {path}")
    return CsvLoad(sobject, path)


def load_csv(store: Store, load: CsvLoad) -> int:
    """Load a file unless it was loaded before; how many records changed.

    Raises:
        PipelineError: Naming the file, line and column; nothing of the file was loaded.
    """
    with load.path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    fingerprint = f"loaded:{load.sobject}:{digest}"
    if store.setting(fingerprint):
        return 0
    sobject = store.schema[load.sobject]
    try:
        with load.path.open(encoding="utf-8-sig", newline="") as file, store.write() as connection:
            rows = CsvRows(file, load.path, store.schema, sobject)
            changed = _Loader(store, connection, sobject, rows).load()
            connection.execute("INSERT INTO _setting VALUES (?, ?)", [fingerprint, str(load.path)])
    except UnicodeDecodeError:
        message = f"{load.path}: not UTF-8. Save it as UTF-8 and load it again."
        raise PipelineError(message) from None
    except sqlite3.IntegrityError as error:
        # It names the index, which is named after the field, and no value.
        message = f"{load.path}: two records would share a value that must be unique ({error})"
        raise PipelineError(message) from None
    return changed


class _Loader:
    """Writes the rows of one file in the caller's transaction."""

    def __init__(
        self, store: Store, connection: sqlite3.Connection, sobject: SObject, rows: CsvRows
    ) -> None:
        self._store = store
        self._connection = connection
        self._sobject = sobject
        self._rows = rows
        self._now = store.now()
        self._history = History(
            store, connection, store.integration_user_id, self._now, via="--load"
        )
        self._fields = [column.field for column in rows.columns]
        self._names = [column.field.name for column in rows.columns]
        self._key = rows.key
        self._key_at = self._names.index(rows.key.name) if rows.key else None
        self._dependent = self._dependent_columns()
        self._required = [
            (item.name, self._names.index(item.name) if item.name in self._names else None)
            for item in sobject.fields
            if item.required and item.name not in DEFAULTED.get(sobject.name, ())
        ]
        self._known_references: set[Value] = set()

    def load(self) -> int:
        """How many records were inserted or changed."""
        # Keys are compared as the store compares them, and a file may have any number of them.
        collation = "BINARY" if self._key and self._key.case_sensitive else "NOCASE"
        self._connection.execute(
            f"CREATE TEMP TABLE _seen (key TEXT PRIMARY KEY COLLATE {collation}, line INTEGER)"
            " WITHOUT ROWID"
        )
        changed = 0
        rows = iter(self._rows)
        while batch := list(itertools.islice(rows, _BATCH_ROWS)):
            for at, column in enumerate(self._rows.columns):
                if column.creates:
                    self._resolve_accounts(batch, at)
                elif column.parent:
                    self._resolve_named(batch, at, column, column.parent)
                elif column.field.type == "reference":
                    self._check_references(batch, at, column)
            changed += self._write(batch)
        self._connection.execute("DROP TABLE temp._seen")
        if self._sobject.name == "Opportunity":
            self._connection.execute(STAGE_DEFAULTS)
        if self._sobject.name == "CampaignMember":
            self._check_members()
        return changed

    def _check_members(self) -> None:
        if self._connection.execute(_REPEATED_MEMBERS).fetchone():
            raise PipelineError(f"{self._rows.path}: somebody would be twice in a campaign")

    # References

    def _resolve_accounts(self, batch: list[Row], at: int) -> None:
        """Put the Account's id in the place of its name; Accounts not found are created."""
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

    def _resolve_named(self, batch: list[Row], at: int, column: Column, parent: SObject) -> None:
        """Put the ids of records in the place of the values that name them."""
        key = column.accepts
        live = " AND p.IsDeleted = 0" if parent.has_is_deleted else ""
        rows = self._connection.execute(
            f"SELECT p.{quoted(key.name)}, min(p.Id), count(DISTINCT p.Id) FROM json_each(?) j"
            f" JOIN {quoted(parent.name)} p ON p.{quoted(key.name)} = j.value{live}"
            " GROUP BY 1",
            [json.dumps(list({values[at] for _, values in batch if values[at] is not None}))],
        )
        ids = {_folded(name, key): (record_id, count) for name, record_id, count in rows}
        for line, values in batch:
            if values[at] is None:
                continue
            record_id, count = ids.get(_folded(values[at], key), ("", 0))
            if count != 1:
                found = "several records have" if count else f"no {parent.name} has"
                raise self._rows.problem(line, column.header, f"{found} that {key.name}")
            values[at] = record_id

    def _check_references(self, batch: list[Row], at: int, column: Column) -> None:
        for line, values in batch:
            value = values[at]
            if value is not None and value not in self._known_references:
                self._check_reference(line, column, str(value))
                self._known_references.add(value)

    def _check_reference(self, line: int, column: Column, value: str) -> None:
        parents = [p for p in map(self._store.schema.get, column.field.refers_to) if p]
        if not parents:
            return
        parent = next((p for p in parents if value.startswith(p.key_prefix)), None)
        found = parent and self._connection.execute(
            f"SELECT 1 FROM {quoted(parent.name)} WHERE Id = ?", [value]
        ).fetchone()  # fmt: skip
        if not found:
            raise self._rows.problem(line, column.header, "there is no record with that id")

    # Writing

    def _write(self, batch: list[Row]) -> int:
        existing = {} if self._key_at is None else self._existing(batch, self._key_at)
        inserted, updated = [], []
        changes: list[tuple[str, list[Change]]] = []
        for line, values in batch:
            self._check_row(line, values)
            key = b"" if self._key_at is None else _folded(values[self._key_at], self._key)
            found = existing.get(key)
            if found is None:
                self._check_required(line, values)
                inserted.append(values)
                continue
            number, *before = found
            after = [old if new is None else new for new, old in zip(values, before, strict=True)]
            if after != before:
                updated.append([*after, number])
                record_id = self._store.ids.record_id(self._sobject.key_prefix, int(str(number)))
                changes.append((record_id, changed_columns(self._fields, before, after)))
        self._insert(self._sobject, self._names, inserted)
        self._update(updated)
        for record_id, changed in changes:
            self._history.add(self._sobject, record_id, changed)
        return len(inserted) + len(updated)

    def _existing(self, batch: list[Row], key_at: int) -> dict[bytes, list[Value]]:
        """The records that the batch's external ids name: number and values, by external id."""
        self._check_keys(batch, key_at)
        columns = ", ".join(f"t.{quoted(name)}" for name in self._names)
        key = f"t.{quoted(self._names[key_at])}"
        live = "t.IsDeleted = 0 AND " if self._sobject.has_is_deleted else ""
        rows = self._connection.execute(
            f"SELECT t._n, {columns} FROM json_each(?) j JOIN {quoted(self._sobject.name)} t"
            f" ON {key} = j.value WHERE {live}{key} IS NOT NULL",
            [json.dumps([values[key_at] for _, values in batch])],
        )
        return {_folded(row[key_at + 1], self._key): list(row) for row in rows}

    def _check_keys(self, batch: list[Row], key_at: int) -> None:
        """Refuse a blank external id, and one that stands in the file twice."""
        header = self._rows.columns[key_at].header
        for line, values in batch:
            if values[key_at] is None:
                raise self._rows.problem(line, header, "the external id is blank")
        before = self._connection.total_changes
        self._connection.executemany(
            "INSERT OR IGNORE INTO temp._seen VALUES (?, ?)",
            ((values[key_at], line) for line, values in batch),
        )
        if self._connection.total_changes - before == len(batch):
            return
        for line, values in batch:
            (first,) = self._connection.execute(
                "SELECT line FROM temp._seen WHERE key = ?", [values[key_at]]
            ).fetchone()
            if first != line:
                message = f"the external id stands in line {first} already"
                raise self._rows.problem(line, header, message)

    def _dependent_columns(self) -> list[tuple[Field, Field, int, int | None]]:
        """The dependent picklists of the file: field, controlling field, and their columns."""
        return [
            (item, controller, self._names.index(item.name), at)
            for item, controller in self._sobject.dependent_picklists
            if item.restricted and item.name in self._names
            for at in [
                self._names.index(controller.name) if controller.name in self._names else None
            ]
        ]

    def _check_row(self, line: int, values: list[Value]) -> None:
        """Refuse values that do not go together."""
        for item, controller, at, controlling_at in self._dependent:
            value = values[at]
            controlling = None if controlling_at is None else values[controlling_at]
            if value is not None and not fits(item, controller, str(value), controlling):
                header = self._rows.columns[at].header
                message = f"the value is not valid beside that of {controller.name}"
                raise self._rows.problem(line, header, message)
        if self._sobject.name == "CampaignMember":
            people = [values[at] for at, name in enumerate(self._names) if name in _PEOPLE]
            if sum(person is not None for person in people) != 1 and self._key is None:
                raise self._rows.problem(line, None, "a member is one Contact or one Lead")

    def _check_required(self, line: int, values: list[Value]) -> None:
        for name, at in self._required:
            if at is None or values[at] is None:
                raise self._rows.problem(line, name, "the value is blank, but required")

    def _insert(self, sobject: SObject, names: list[str], rows: list[list[Value]]) -> list[str]:
        """Insert records; their ids."""
        if not rows:
            return []
        user_id = self._store.integration_user_id
        every = default_values(sobject, frozenset(), user_id, self._now)
        if sobject.name == "User":
            every |= _USER_DEFAULTS | {"ProfileId": self._store.ids.record_id("00e", 2)}
        defaults = {name: value for name, value in every.items() if name not in names}
        for at, name in enumerate(names):
            item = sobject.field(name)
            blank = every.get(name, 0 if item and item.type == "boolean" else None)
            if blank is not None:
                for row in rows:
                    row[at] = blank if row[at] is None else row[at]
        first = next_number(self._connection, sobject)
        record_id, prefix = self._store.ids.record_id, sobject.key_prefix
        ids = [record_id(prefix, first + at) for at in range(len(rows))]
        constants = tuple(defaults.values())
        numbered = [item for item in sobject.auto_numbers if item.name not in names]
        writers = [auto_number_writer(item.auto_number or "", self._now) for item in numbered]
        columns = [*names, *defaults, *(item.name for item in numbered), "Id"]
        self._connection.executemany(
            insert_statement(sobject, columns),
            (
                (number, *row, *constants, *(write(number) for write in writers), record_id)
                for number, (row, record_id) in enumerate(zip(rows, ids, strict=True), first)
            ),
        )
        return ids

    def _update(self, rows: list[list[Value]]) -> None:
        user_id = self._store.integration_user_id
        assignments = ", ".join(f"{quoted(name)} = ?" for name in self._names)
        self._connection.executemany(
            f"UPDATE {quoted(self._sobject.name)} SET LastModifiedDate = ?, SystemModstamp = ?,"
            f" LastModifiedById = ?, {assignments} WHERE _n = ?",
            ((self._now, self._now, user_id, *row) for row in rows),
        )


def _folded(value: Value, key: Field | None = None) -> bytes:
    """A text without its letter case, as far as the store ignores it: that of ASCII."""
    text = str(value).encode()
    return text if key and key.case_sensitive else text.lower()
