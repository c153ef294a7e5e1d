"""Field history: who changed what of which record, when and through which API.

Every stored field of every sObject is tracked, not only the twenty an administrator would choose.
`ContactHistory` and its like are views over the same table. See "StandardObjectNameHistory" in the
Salesforce Object Reference.
"""

import sqlite3
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from salesforce_pipelines.local_org.metadata.schema import (
    HISTORY_KEY_PREFIX,
    Field,
    Schema,
    SObject,
)
from salesforce_pipelines.local_org.storage.ids import CHECKSUM, DIGITS
from salesforce_pipelines.local_org.storage.store import Store, Value, quoted

if TYPE_CHECKING:  # it calls this module
    from salesforce_pipelines.local_org.saves.saving import Saving

WRITTEN_THROUGH: ContextVar[str] = ContextVar("written_through", default="")
"""What the records of this request or job are written through, such as `REST` or `Bulk API 2.0`."""

CREATED, DELETED, UNDELETED = "created", "#deleted", "#undeleted"
"""What stands for a field where the whole record was meant; Salesforce shows only the first."""

Change = tuple[Field, Value, Value]
"""A field with its old and its new stored value."""

_TABLE = """
CREATE TABLE IF NOT EXISTS _history
    (n INTEGER PRIMARY KEY, sobject TEXT NOT NULL, record_id TEXT NOT NULL,
    field TEXT NOT NULL COLLATE NOCASE, data_type TEXT, old, new, at TEXT NOT NULL,
    user_id TEXT NOT NULL, via TEXT NOT NULL, is_deleted INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS "_history.record_id" ON _history (record_id);
"""
_INSERT = (
    "INSERT INTO _history (at, user_id, via, sobject, record_id, field, data_type, old, new)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SYSTEM_FIELDS = frozenset(
    {
        "Id",
        "CreatedDate",
        "CreatedById",
        "IsDeleted",
        "LastModifiedDate",
        "LastModifiedById",
        "SystemModstamp",
    }
)
_DATA_TYPES = {
    "boolean": "Boolean",
    "currency": "Currency",
    "date": "DateOnly",
    "datetime": "DateTime",
    "double": "Double",
    "email": "Email",
    "int": "Double",
    "percent": "Percent",
    "phone": "Phone",
    "picklist": "DynamicEnum",
    "reference": "EntityId",
    "textarea": "MultiLineText",
    "url": "Url",
}
_LONG_TEXT = "StringPlusClob"
_LONGEST_TRACKED = 255


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of a record, as a person wants to see it.

    Attributes:
        field: An API name, or one of `CREATED`, `DELETED` and `UNDELETED`.
        old: As the store kept it, but a boolean as `b"true"` or `b"false"`.
        at: The time as the store keeps it.
        via: What it was written through, as `WRITTEN_THROUGH` said; may be empty.
    """

    number: int
    sobject: str
    record_id: str
    field: str
    old: Value | bytes
    new: Value | bytes
    at: str
    user_id: str
    via: str


def open_history(store: Store) -> None:
    """Make the table of changes where it is missing, and the views over it."""
    with store.write() as connection:
        for statement in _TABLE.split(";"):
            connection.execute(statement)
        for sobject in store.schema:
            if sobject.is_history:
                connection.execute(f"DROP VIEW IF EXISTS {quoted(sobject.name)}")
                connection.execute(_view(store, sobject))


def follow_saved(saving: "Saving") -> None:
    """Note what changed of a record, in the transaction that writes it."""
    before, record_id = saving.before, str(saving.record_id)
    history = History(saving.org.store, saving.connection, saving.user_id, saving.now)
    if before is None:
        history.add_event(saving.sobject, record_id, CREATED)
        return
    changes: list[Change] = []
    for name, value in saving.values.items():
        old = before[name]
        if old != value and name not in _SYSTEM_FIELDS:
            item = saving.sobject.field(name)
            if item is not None:
                changes.append((item, old, value))
    if changes:
        history.add(saving.sobject, record_id, changes)
    if saving.changes("IsDeleted"):
        is_deleted = saving.values["IsDeleted"]
        history.add_event(saving.sobject, record_id, DELETED if is_deleted else UNDELETED)


class History:
    """Notes changes inside a writing transaction, in the name of one user.

    Args:
        connection: The store's writing connection, inside its transaction.
        now: The time of the change as the store keeps it.
        via: What the records are written through; `WRITTEN_THROUGH` if it is not given.
    """

    def __init__(
        self,
        store: Store,
        connection: sqlite3.Connection,
        user_id: str,
        now: str,
        via: str | None = None,
    ) -> None:
        self._store = store
        self._connection = connection
        self._who = (now, user_id, WRITTEN_THROUGH.get() if via is None else via)

    def add(self, sobject: SObject, record_id: str, changes: Sequence[Change]) -> None:
        """Note the changed fields of a record."""
        whose = (*self._who, sobject.name, record_id)
        rows = [(*whose, *row) for change in changes for row in self._rows(change)]
        self._connection.executemany(_INSERT, rows)

    def add_event(self, sobject: SObject, record_id: str, event: str) -> None:
        """Note what became of a record as a whole: `CREATED`, `DELETED` or `UNDELETED`."""
        if event != CREATED:
            self._connection.execute(
                "UPDATE _history SET is_deleted = ? WHERE record_id = ?",
                [int(event == DELETED), record_id],
            )
        shown = "Text" if event == CREATED else None
        row = (*self._who, sobject.name, record_id, event, shown, None, None)
        self._connection.execute(_INSERT, row)

    def _rows(self, change: Change) -> Sequence[tuple[Value | bytes, ...]]:
        """A field's row; a reference has two, the first with the names of the records."""
        item, old, new = change
        data_type = _DATA_TYPES.get(item.type, "Text")
        if data_type == "Boolean":
            return ((item.name, data_type, _boolean(old), _boolean(new)),)
        if data_type == "MultiLineText" and item.length > _LONGEST_TRACKED:
            data_type = _LONG_TEXT
        elif data_type == "DateTime":
            old, new = _datetime(old), _datetime(new)
        own = (item.name, data_type, old, new)
        if data_type != "EntityId":
            return (own,)
        return ((item.name, "Text", self._name(old), self._name(new)), own)

    def _name(self, record_id: Value) -> Value:
        parent = self._store.schema.with_prefix(str(record_id)[:3]) if record_id else None
        name = parent.field("Name") if parent else None
        if parent is None or name is None:
            return None
        sql = name.formula.sql.replace("{t}", "t") if name.formula else "t.Name"
        row = self._connection.execute(
            f"SELECT {sql} FROM {quoted(parent.name)} t WHERE t.Id = ?", [record_id]
        ).fetchone()
        return None if row is None else str(row[0])


def entries(
    connection: sqlite3.Connection, schema: Schema, record_id: str | None, most: int
) -> list[Entry]:
    """The newest changes of a record, or of every record, the newest first."""
    condition, parameters = ("WHERE record_id = ?", [record_id]) if record_id else ("", [])
    rows = connection.execute(
        "SELECT n, sobject, record_id, field, old, new, at, user_id, via, data_type"
        f" FROM _history {condition} ORDER BY n DESC LIMIT ?",
        [*parameters, 2 * most],
    )
    found = [Entry(*row[:-1]) for row in rows if not _is_name_row(schema, row[1], row[3], row[-1])]
    return found[:most]


def _is_name_row(schema: Schema, sobject: str, field: str, data_type: str | None) -> bool:
    """Whether it repeats a change of a reference with the names of the records."""
    if data_type != "Text":
        return False
    known = schema.get(sobject)
    item = known.field(field) if known else None
    return item is not None and item.type == "reference"


def _view(store: Store, sobject: SObject) -> str:
    """The SQL of an sObject such as ContactHistory.

    Events that Salesforce does not tell of have no data type. Of a long text it tells that it
    changed, but not how. SystemModstamp is no field of it, but `getUpdated` works.
    """
    parent_field = sobject.fields[2]
    parent = store.schema[parent_field.refers_to[0]]
    shown = " ".join(
        f"WHEN '{item.name}' THEN '{item.relationship_name}'"
        for item in parent.stored_fields
        if item.type == "reference" and not item.custom
    )
    values = ", ".join(
        f"CASE WHEN data_type <> '{_LONG_TEXT}' THEN {column} END AS {name}"
        for column, name in (("old", "OldValue"), ("new", "NewValue"))
    )
    columns = (
        "n AS _n",
        f"{_id_sql(store)} AS Id",
        "is_deleted AS IsDeleted",
        f"record_id AS {quoted(parent_field.name)}",
        "user_id AS CreatedById",
        "at AS CreatedDate",
        f"(CASE field {shown} ELSE field END) COLLATE NOCASE AS Field",
        "data_type AS DataType",
        values,
        "at AS SystemModstamp",
    )
    return (
        f"CREATE VIEW {quoted(sobject.name)} AS SELECT {', '.join(columns)} FROM _history"
        f" WHERE sobject = '{parent.name}' AND data_type IS NOT NULL"
    )


def _id_sql(store: Store) -> str:
    """A row's id as `ids.IdFactory` makes it: what is the same in all of them, and five digits."""
    first = store.ids.record_id(HISTORY_KEY_PREFIX, 0)
    places = [f"(n / {62**power} % 62)" for power in (4, 3, 2, 1, 0)]
    digits = " || ".join(f"substr('{DIGITS}', {place} + 1, 1)" for place in places)
    bits = " + ".join(f"(({place} BETWEEN 10 AND 35) << {bit})" for bit, place in enumerate(places))
    return f"'{first[:10]}' || {digits} || '{first[15:17]}' || substr('{CHECKSUM}', {bits} + 1, 1)"


def _boolean(value: Value) -> bytes:
    return b"true" if value else b"false"


def _datetime(value: Value) -> Value:
    return None if value is None else f"{value}.000+0000"


def changed_columns(
    fields: Sequence[Field], before: Sequence[Value], after: Sequence[Value]
) -> list[Change]:
    """The changes between two rows of values of those fields."""
    return [
        (item, old, new)
        for item, old, new in zip(fields, before, after, strict=True)
        if old != new and item.name not in _SYSTEM_FIELDS
    ]
