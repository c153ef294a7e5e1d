"""The metadata of one home: that of `metadata/` with the home's own changes, kept in `org.db`.

`_metadata` holds a line for each sObject and field that differs: its definition as JSON, or NULL
for a deleted field. `_field_access` holds what field-level security takes from a user.
"""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from salesforce_pipelines.local_org.metadata.auto_numbers import auto_number_writer
from salesforce_pipelines.local_org.metadata.field_definitions import (
    field_as_json,
    field_from_json,
    sobject_as_json,
    sobject_from_json,
)
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject, load_schema
from salesforce_pipelines.local_org.storage.store import (
    Value,
    column_definition,
    create_index,
    create_table,
    index_name,
    prepare,
    quoted,
)

_TABLES = """
CREATE TABLE IF NOT EXISTS _metadata
    (sobject TEXT, field TEXT, definition TEXT, PRIMARY KEY (sobject, field));
CREATE TABLE IF NOT EXISTS _field_access
    (user_id TEXT, sobject TEXT, field TEXT, readable INTEGER, editable INTEGER,
    PRIMARY KEY (user_id, sobject, field)) WITHOUT ROWID;
"""
_SOBJECT_ITSELF = ""

FieldAccess = dict[str, dict[tuple[str, str], tuple[bool, bool]]]
"""By user, then by (sObject, field): whether the field may be read, and edited."""


def open_metadata(path: Path, now: str) -> tuple[Schema, FieldAccess]:
    """The schema and the field-level security of a home.

    A home made by an older version gets the tables and columns that it lacks.

    Args:
        path: The home's `org.db`.
        now: The time as the store keeps it.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        prepare(connection)
        connection.executescript(_TABLES)
        schema = home_schema(connection)
        connection.execute("BEGIN IMMEDIATE")
        for sobject in schema:
            if not sobject.is_history:  # those are views, made by `open_history`
                _complete_table(connection, sobject, now)
        connection.execute("COMMIT")
        return schema, field_access(connection)
    finally:
        connection.close()


def known_schema(path: Path) -> Schema:
    """The schema of a home that may be there or not; nothing is changed."""
    if not path.exists():
        return load_schema()
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        return home_schema(connection)
    except sqlite3.DatabaseError:  # of an older version, or not an org: opening it will tell
        return load_schema()
    finally:
        connection.close()


def home_schema(connection: sqlite3.Connection) -> Schema:
    """The sObjects of `metadata/` with the home's own changes."""
    own_sobjects: dict[str, SObject] = {}
    own_fields: dict[str, dict[str, Field | None]] = {}
    rows = connection.execute("SELECT sobject, field, definition FROM _metadata ORDER BY rowid")
    for name, field, definition in rows:
        if field == _SOBJECT_ITSELF:
            own_sobjects[name] = sobject_from_json(definition)
        else:
            item = None if definition is None else field_from_json(name, definition)
            own_fields.setdefault(name, {})[field] = item
    sobjects = {sobject.name: sobject for sobject in load_schema()}
    for name, own in own_sobjects.items():
        fields = sobjects[name].fields if name in sobjects else ()
        sobjects[name] = own.with_fields(fields)
    for name, changes in own_fields.items():
        sobjects[name] = sobjects[name].with_fields(_changed(sobjects[name].fields, changes))
    return Schema(tuple(sobjects.values()))


def _changed(fields: Iterable[Field], changes: dict[str, Field | None]) -> list[Field]:
    """Fields with some replaced in their places, some deleted, and the new ones at the end."""
    given = list(fields)
    known = {item.name for item in given}
    kept = [changes.get(item.name, item) for item in given]
    added = [item for name, item in changes.items() if name not in known]
    return [item for item in (*kept, *added) if item is not None]


def field_access(connection: sqlite3.Connection) -> FieldAccess:
    """What field-level security takes from each user."""
    access: FieldAccess = {}
    rows = connection.execute(
        "SELECT user_id, sobject, field, readable, editable FROM _field_access"
    )
    for user_id, sobject, field, readable, editable in rows:
        access.setdefault(user_id, {})[sobject, field] = bool(readable), bool(editable)
    return access


def keep_sobject(connection: sqlite3.Connection, sobject: SObject) -> None:
    """Remember an sObject's own definition, without its fields."""
    _keep(connection, sobject.name, _SOBJECT_ITSELF, sobject_as_json(sobject))


def keep_field(connection: sqlite3.Connection, sobject: str, item: Field) -> None:
    """Remember a field's definition."""
    _keep(connection, sobject, item.name, field_as_json(item))


def forget_field(connection: sqlite3.Connection, sobject: str, name: str) -> None:
    """Remember that a field is deleted."""
    _keep(connection, sobject, name, None)
    connection.execute("DELETE FROM _field_access WHERE sobject = ? AND field = ?", [sobject, name])


def _keep(connection: sqlite3.Connection, sobject: str, field: str, definition: str | None) -> None:
    connection.execute(
        "INSERT INTO _metadata VALUES (?, ?, ?)"
        " ON CONFLICT (sobject, field) DO UPDATE SET definition = excluded.definition",
        [sobject, field, definition],
    )


# Tables and columns


def columns_of(connection: sqlite3.Connection, sobject: SObject) -> set[str]:
    """The columns of an sObject's table; none if it has no table."""
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", [sobject.name])
    return {name for (name,) in rows}


def _complete_table(connection: sqlite3.Connection, sobject: SObject, now: str) -> None:
    columns = columns_of(connection, sobject)
    if not columns:
        add_table(connection, sobject)
        return
    for item in sobject.stored_fields:
        if item.name not in columns:
            add_column(connection, sobject, item, now)


def add_table(connection: sqlite3.Connection, sobject: SObject) -> None:
    """Make the table and the indexes of a new sObject."""
    create_table(connection, sobject)
    for item in sobject.stored_fields:
        create_index(connection, sobject, item)


def add_column(connection: sqlite3.Connection, sobject: SObject, item: Field, now: str) -> None:
    """Make the column of a new field; records that are there get their auto-numbers."""
    table, column = quoted(sobject.name), quoted(item.name)
    if item.name in columns_of(connection, sobject):
        drop_column(connection, sobject, item)
    connection.execute(f"ALTER TABLE {table} ADD COLUMN {column_definition(item)}")
    if item.auto_number is not None:
        connection.create_function("auto_number", 1, auto_number_writer(item.auto_number, now))
        connection.execute(f"UPDATE {table} SET {column} = auto_number(_n)")
    create_index(connection, sobject, item)


def change_field(
    connection: sqlite3.Connection,
    sobject: SObject,
    old: Field,
    new: Field,
    now: str,
    convert: Callable[[Value], Value] | None = None,
) -> None:
    """Give a field another definition, and its column what the definition asks for.

    Args:
        convert: Makes the new value of a kept one; None keeps the values.

    Raises:
        sqlite3.OperationalError: A value could not be converted.
        sqlite3.IntegrityError: The field becomes unique, and live records share a value.
    """
    keep_field(connection, sobject.name, new)
    if not new.is_stored:
        return
    if not old.is_stored:
        add_column(connection, sobject, new, now)
        return
    if convert or column_definition(old) != column_definition(new):
        _rebuild_column(connection, sobject, new, convert)
    connection.execute(f"DROP INDEX IF EXISTS {quoted(index_name(sobject, old))}")
    create_index(connection, sobject, new)


def _rebuild_column(
    connection: sqlite3.Connection,
    sobject: SObject,
    new: Field,
    convert: Callable[[Value], Value] | None,
) -> None:
    """Replace a column by one of another type that has the same values, or converted ones."""
    table, column, beside = quoted(sobject.name), quoted(new.name), quoted(f"{new.name}#")
    definition = column_definition(replace(new, name=f"{new.name}#"))
    connection.execute(f"ALTER TABLE {table} ADD COLUMN {definition}")
    value = column
    if convert:
        connection.create_function("converted", 1, convert)
        value = f"converted({column})"
    if new.type == "boolean":
        value = f"coalesce({value}, 0)"
    connection.execute(f"UPDATE {table} SET {beside} = {value}")
    drop_column(connection, sobject, new)
    connection.execute(f"ALTER TABLE {table} RENAME COLUMN {beside} TO {column}")


def drop_column(connection: sqlite3.Connection, sobject: SObject, item: Field) -> None:
    """Remove a field's column with its values."""
    connection.execute(f"DROP INDEX IF EXISTS {quoted(index_name(sobject, item))}")
    connection.execute(f"ALTER TABLE {quoted(sobject.name)} DROP COLUMN {quoted(item.name)}")
