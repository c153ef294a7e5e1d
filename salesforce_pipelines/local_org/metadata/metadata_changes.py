"""Changes of an org's metadata while it runs: what an administrator does in Setup.

Each change is one transaction, is kept in the home, and counts for every request that begins after
it. What a function returns can be shown as JSON: the sObject and its changed fields as `describe`
has them. Every function raises `PipelineError` for a change that cannot be made, with the reason.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.errors import RowRefusedError
from salesforce_pipelines.local_org.metadata.field_kinds import (
    FieldRequest,
    GivenValue,
    new_fields,
    picklist_values,
    valid_for,
)
from salesforce_pipelines.local_org.metadata.field_permissions import secured_together
from salesforce_pipelines.local_org.metadata.field_uses import field_uses
from salesforce_pipelines.local_org.metadata.home_metadata import (
    FieldAccess,
    add_column,
    change_field,
    field_access,
    forget_field,
    home_schema,
    keep_field,
)
from salesforce_pipelines.local_org.metadata.picklist_records import add_status, rename_status
from salesforce_pipelines.local_org.metadata.schema import Field, PicklistValue, Schema, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.rest.describe import describe_field
from salesforce_pipelines.local_org.saves.field_values import from_csv
from salesforce_pipelines.local_org.storage.store import Value, quoted, stamp

Changed = dict[str, Any]

_RETYPED_LENGTHS = {"email": 80, "phone": 40, "url": 255, "picklist": 255, "multipicklist": 4099}
_RETYPEABLE = frozenset(
    {
        *("string", "textarea", "email", "phone", "url", "picklist", "multipicklist"),
        *("double", "currency", "percent", "boolean", "date", "datetime"),
    }
)
_MOST_VALUES = 1_000


@contextmanager
def changing(org: Org) -> Iterator[sqlite3.Connection]:
    """A transaction that changes the metadata; the org then goes by the new one.

    No record is written between its end and that.
    """
    changed: list[tuple[Schema, FieldAccess]] = []

    def publish() -> None:
        org.use_metadata(*changed[0])

    with org.changing_metadata, org.store.write(publish) as connection:
        yield connection
        changed.append((home_schema(connection), field_access(connection)))
        _move_modified(org, connection)


def _move_modified(org: Org, connection: sqlite3.Connection) -> None:
    """Let the schema be modified now, and later than before wherever the clock stands.

    Who asks `If-Modified-Since` the last change, which is told to the second, then sees this one.
    """
    (before,) = connection.execute(
        "SELECT coalesce((SELECT value FROM _setting WHERE key = 'schema_modified'),"
        " (SELECT min(CreatedDate) FROM Organization), '')"
    ).fetchone()
    now = org.store.now()
    if before:
        now = max(now, stamp(datetime.fromisoformat(f"{before}+00:00") + timedelta(seconds=1)))
    connection.execute("INSERT OR REPLACE INTO _setting VALUES ('schema_modified', ?)", [now])


def add_field(org: Org, *, sobject: str, **wanted: Any) -> Changed:
    """Add a custom field.

    Args:
        sobject: The sObject that gets it.
        wanted: The attributes of a `FieldRequest`; `name` and `type` are needed.
    """
    try:
        given = {**wanted, "picklist": tuple(wanted.get("picklist") or ())}
        request = FieldRequest(**given)
    except TypeError as error:
        raise PipelineError(f"The field cannot be added: {error}") from None
    with changing(org) as connection:
        target = _sobject(org, sobject)
        fields = new_fields(org.schema, target, request)
        for item in fields:
            if item.is_stored:
                add_column(connection, target, item, org.store.now())
            keep_field(connection, target.name, item)
    return _changed(org, target, fields)


def delete_field(org: Org, *, sobject: str, field: str) -> Changed:
    """Delete a custom field; a compound one with its parts.

    Its values are gone: a field of that name that is added later begins without any. A field that
    another one, a rule, a list view or the lead field mapping names cannot be deleted.
    """
    with changing(org) as connection:
        target, item = _field(org, sobject, field)
        place = f"{target.name}.{item.name}"
        if not item.custom or item.name_field:
            raise PipelineError(f"{place} is a standard field and cannot be deleted")
        if item.compound_name:
            raise PipelineError(f"{place} is a part of {item.compound_name}; delete that")
        users = [
            other.name
            for other in target.fields
            if other.controller == item.name or item.name in (other.calculated_text or "")
        ]
        if users:
            raise PipelineError(f"{place} is used by {', '.join(users)}; delete that first")
        deleted = secured_together(target, item)
        if uses := field_uses(org, connection, target, deleted):
            raise PipelineError(f"{place} is used by {', '.join(uses)}; change that first")
        for part in deleted:
            # The column stays until it is needed: a query that runs now still reads it.
            forget_field(connection, target.name, part.name)
    return {"sobject": target.name, "fields": [], "deleted": [part.name for part in deleted]}


def make_required(
    org: Org,
    *,
    sobject: str,
    field: str,
    required: bool = True,
    default: str | float | None = None,
) -> Changed:
    """Make a field required, or no longer required.

    Records that are there keep their blanks. With a default, new records need not give a value.
    """
    with changing(org) as connection:
        target, item = _field(org, sobject, field)
        if not item.is_stored or not item.createable or item.type == "boolean":
            raise PipelineError(f"{target.name}.{item.name} cannot be required or not required")
        if default is not None:
            default = _checked(item, default)
        new = replace(
            item,
            required=required and default is None,
            nillable=not required,
            default=default if default is not None else item.default,
            defaulted_on_create=default is not None or item.defaulted_on_create,
        )
        change_field(connection, target, item, new, org.store.now())
        if required:  # nobody may be kept from a field that every record needs
            connection.execute(
                "DELETE FROM _field_access WHERE sobject = ? AND field = ?",
                [target.name, item.name],
            )
    return _changed(org, target, [new])


def retype_field(
    org: Org,
    *,
    sobject: str,
    field: str,
    type: str,  # noqa: A002  # as describe calls it
    length: int | None = None,
    precision: int = 18,
    scale: int = 0,
    picklist: Sequence[GivenValue] = (),
) -> Changed:
    """Give a custom field another type; every value of it must fit the new one.

    Args:
        length: Of a text; what it was, if it is None.
        picklist: The values of a picklist; if there are none, those that records have.
    """
    with changing(org) as connection:
        target, item = _field(org, sobject, field)
        place = f"{target.name}.{item.name}"
        special = item.calculated or item.auto_number or item.compound_name or item.controller
        if not item.custom or special or {item.type, type} - _RETYPEABLE:
            raise PipelineError(f"{place} of type {item.type} cannot become {type}")
        is_number = type in ("double", "currency", "percent")
        is_long = type == "textarea" and (length or item.length or 255) > 255
        new = replace(
            item,
            type=type,
            length=_retyped_length(item, type, length),
            precision=precision if is_number else 4 if type == "multipicklist" else 0,
            scale=scale if is_number else 0,
            picklist=picklist_values(picklist),
            restricted=False,
            filterable=not is_long,
            nillable=item.nillable and type != "boolean",
            defaulted_on_create=item.defaulted_on_create or type == "boolean",
            required=item.required and type != "boolean",
            default=None,
            default_formula=None,
            case_sensitive=item.case_sensitive and type == "string",
            unique=item.unique and type in ("string", "double", "email"),
            external_id=item.external_id and type in ("string", "double", "email"),
            described={},
        )
        if new.is_picklist and not picklist:
            new = replace(new, picklist=_values_of_records(connection, target, item))
        _convert(connection, org, target, item, new)
    return _changed(org, target, [new])


def rename_picklist_value(
    org: Org,
    *,
    sobject: str,
    field: str,
    value: str,
    new_value: str | None = None,
    new_label: str | None = None,
    update_records: bool = True,
) -> Changed:
    """Give a picklist value another API name, another label, or both.

    Args:
        update_records: Whether records that have the value get the new one. Their SystemModstamp
            stays.
    """
    with changing(org) as connection:
        target, item = _picklist(org, sobject, field)
        renamed = new_value or value
        old = _value(target, item, value)
        if renamed != value and any(entry.value == renamed for entry in item.picklist):
            raise PipelineError(f"{target.name}.{item.name} has a value {renamed} already")
        label = new_label or (renamed if old.label == old.value else old.label)
        new = _with_value(item, value, replace(old, value=renamed, label=label))
        change_field(connection, target, item, new, org.store.now())
        rename_status(connection, target, item, value, replace(old, value=renamed, label=label))
        if update_records and renamed != value:
            _rename_in_records(connection, target, item, value, renamed)
    return _changed(org, target, [new])


def add_picklist_value(
    org: Org,
    *,
    sobject: str,
    field: str,
    value: str,
    label: str | None = None,
    valid_for_values: Iterable[str] | None = None,
) -> Changed:
    """Add a value at the end of a picklist.

    Args:
        valid_for_values: Of a dependent picklist: the values of the controlling field that it may
            be chosen beside.
    """
    with changing(org) as connection:
        target, item = _picklist(org, sobject, field)
        if not value or ";" in value or any(entry.value == value for entry in item.picklist):
            raise PipelineError(
                f"{target.name}.{item.name} has the value {value} already, or cannot have it"
            )
        added = PicklistValue(value, label or value)
        controller = target.field(item.controller or "")
        if controller:
            added = replace(added, valid_for=valid_for(controller, valid_for_values or ()))
        new = replace(item, picklist=(*item.picklist, added))
        change_field(connection, target, item, new, org.store.now())
        add_status(connection, org, target, item, added)
    return _changed(org, target, [new])


def deactivate_picklist_value(
    org: Org, *, sobject: str, field: str, value: str, active: bool = False
) -> Changed:
    """Deactivate a picklist value, or activate it again; records that have it keep it."""
    with changing(org) as connection:
        target, item = _picklist(org, sobject, field)
        old = _value(target, item, value)
        new = _with_value(item, value, replace(old, active=active))
        change_field(connection, target, item, new, org.store.now())
    return _changed(org, target, [new])


def set_field_access(
    org: Org, user_id: str, sobject: str, field: str, readable: bool, editable: bool
) -> Changed:
    """Hide a field from a user, make it read-only for them, or give it back.

    Args:
        readable: Whether the user sees it; if not, the org answers as if it did not exist.
        editable: Whether the user may write it; what is not readable is not editable.
    """
    with changing(org) as connection:
        target, item = _field(org, sobject, field)
        place = f"{target.name}.{item.name}"
        if not connection.execute("SELECT 1 FROM User WHERE Id = ?", [user_id]).fetchone():
            raise PipelineError(f"There is no user {user_id}")
        if editable and not readable:
            raise PipelineError(f"{place} cannot be editable without being readable")
        if not item.permissionable:
            raise PipelineError(f"{place} is required or a system field; everybody sees it")
        secured = secured_together(target, item)
        for part in secured:
            connection.execute(
                "DELETE FROM _field_access WHERE user_id = ? AND sobject = ? AND field = ?",
                [user_id, target.name, part.name],
            )
            if not (readable and editable):
                connection.execute(
                    "INSERT INTO _field_access VALUES (?, ?, ?, ?, ?)",
                    [user_id, target.name, part.name, int(readable), int(editable)],
                )
    return {
        "user_id": user_id,
        "sobject": target.name,
        "fields": [part.name for part in secured],
        "readable": readable,
        "editable": editable,
    }


# Finding


def _sobject(org: Org, name: str) -> SObject:
    sobject = org.schema.get(name)
    if sobject is None:
        raise PipelineError(f"The org has no sObject {name}")
    if sobject.is_history:
        raise PipelineError(f"{sobject.name} is field history, which has no fields of its own")
    return sobject


def _field(org: Org, sobject: str, name: str) -> tuple[SObject, Field]:
    target = _sobject(org, sobject)
    item = target.field(name)
    if item is None:
        raise PipelineError(f"{target.name} has no field {name}")
    return target, item


def _picklist(org: Org, sobject: str, name: str) -> tuple[SObject, Field]:
    target, item = _field(org, sobject, name)
    if not item.is_picklist or not item.is_stored:
        raise PipelineError(f"{target.name}.{item.name} is not a picklist")
    return target, item


def _value(sobject: SObject, item: Field, value: str) -> PicklistValue:
    found = next((entry for entry in item.picklist if entry.value == value), None)
    if found is None:
        known = ", ".join(entry.value for entry in item.picklist)
        raise PipelineError(f"{sobject.name}.{item.name} has no value {value}; it has {known}")
    return found


def _with_value(item: Field, value: str, new: PicklistValue) -> Field:
    values = (new if entry.value == value else entry for entry in item.picklist)
    return replace(item, picklist=tuple(values))


def _changed(org: Org, sobject: SObject, fields: Iterable[Field]) -> Changed:
    return {"sobject": sobject.name, "fields": [describe_field(item) for item in fields]}


# Values


def _checked(item: Field, value: str | float) -> Value:
    try:
        return from_csv(item, str(value))
    except RowRefusedError as refusal:
        raise PipelineError(refusal.error.message) from None


def _retyped_length(item: Field, type_: str, length: int | None) -> int:
    if type_ in _RETYPED_LENGTHS:
        return _RETYPED_LENGTHS[type_]
    return length or item.length or 255 if type_ in ("string", "textarea") else 0


def _values_of_records(
    connection: sqlite3.Connection, sobject: SObject, item: Field
) -> tuple[PicklistValue, ...]:
    column = quoted(item.name)
    rows = connection.execute(
        f"SELECT DISTINCT {column} FROM {quoted(sobject.name)} WHERE {column} IS NOT NULL"
        f" ORDER BY 1 LIMIT {_MOST_VALUES}"
    )
    return picklist_values(_written(item, value) for (value,) in rows)


def _convert(
    connection: sqlite3.Connection, org: Org, sobject: SObject, old: Field, new: Field
) -> None:
    try:
        change_field(connection, sobject, old, new, org.store.now(), converter(old, new))
    except sqlite3.OperationalError:
        raise PipelineError(
            f"{sobject.name}.{old.name} has values that are not of type {new.type}, or too large"
        ) from None
    except sqlite3.IntegrityError:
        raise PipelineError(f"{sobject.name}.{old.name} would no longer be unique") from None


def converter(old: Field, new: Field) -> Callable[[Value], Value]:
    """What makes a field's value of another type; it raises for one that does not fit."""

    def converted(value: Value) -> Value:
        return None if value is None else from_csv(new, _written(old, value))

    return converted


def _written(item: Field, value: Value) -> str:
    """A stored value as a CSV has it."""
    if item.type == "boolean":
        return "true" if value else "false"
    if item.type == "datetime":
        return f"{value}Z"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _rename_in_records(
    connection: sqlite3.Connection, sobject: SObject, item: Field, old: str, new: str
) -> None:
    table, column = quoted(sobject.name), quoted(item.name)
    if item.type != "multipicklist":
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", [new, old])
        return
    connection.execute(
        f"UPDATE {table} SET {column} ="
        f" trim(replace(';' || {column} || ';', ';' || ? || ';', ';' || ? || ';'), ';')"
        f" WHERE instr(';' || {column} || ';', ';' || ? || ';')",
        [old, new, old],
    )
