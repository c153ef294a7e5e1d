"""Rows of the store as the records that REST shows."""

from collections.abc import Callable, Sequence
from typing import Any

from salesforce_pipelines.local_org.compiled_query import Column, CompiledQuery, Parent
from salesforce_pipelines.local_org.schema import SObject
from salesforce_pipelines.local_org.store import Value

Record = dict[str, Any]


def rest_datetime(value: str) -> str:
    """A stored time as REST shows it."""
    return value + ".000+0000"


def _rest_boolean(value: Value) -> bool:
    return bool(value)


def _rest_any(value: Value | bytes) -> Any:
    """A value of field history, where a boolean is kept as its name in bytes."""
    return value == b"true" if isinstance(value, bytes) else value


def _rest_time(value: str) -> str:
    return value + "Z"


_SHOWN: dict[str, Callable[[Any], Any]] = {
    "datetime": rest_datetime,
    "boolean": _rest_boolean,
    "anyType": _rest_any,
    "time": _rest_time,
}


class RecordShaper:
    """Makes REST records from the rows of one compiled query.

    The rows must hold, in this order, what `select_list` names.
    """

    def __init__(self, compiled: CompiledQuery, version: str) -> None:
        self._compiled = compiled
        self._version = version
        self._expressions: list[str] = []
        self._setters: list[Callable[[Record, Sequence[Value]], None]] = []
        self._own_id = 0
        parents = {parent.path: parent for parent in compiled.parents}
        if not compiled.is_aggregate:
            self._own_id = self._position(f'{compiled.own}."Id"')
        for column in compiled.columns:
            for length in range(1, len(column.path)):
                parent = parents.pop(column.path[:length], None)
                if parent:
                    self._setters.append(self._parent_setter(parent))
            self._setters.append(self._column_setter(column))

    @property
    def select_list(self) -> str:
        """The SQL of the row's values."""
        return ", ".join(self._expressions)

    def record(self, row: Sequence[Value]) -> Record:
        """One row as REST shows it."""
        if self._compiled.is_aggregate:
            record: Record = {"attributes": {"type": "AggregateResult"}}
        else:
            name = self._compiled.sobject.name
            record = {"attributes": self._attributes(name, row[self._own_id])}
        for setter in self._setters:
            setter(record, row)
        return record

    def record_id(self, row: Sequence[Value]) -> str:
        """The Id of the record a row is about."""
        return str(row[self._own_id])

    def _attributes(self, sobject: str, record_id: Value) -> dict[str, str]:
        url = f"/services/data/v{self._version}/sobjects/{sobject}/{record_id}"
        return {"type": sobject, "url": url}

    def _position(self, sql: str) -> int:
        if sql in self._expressions:
            return self._expressions.index(sql)
        self._expressions.append(sql)
        return len(self._expressions) - 1

    def _parent_setter(self, parent: Parent) -> Callable[[Record, Sequence[Value]], None]:
        at, path = self._position(parent.id_sql), parent.path

        def set_parent(record: Record, row: Sequence[Value]) -> None:
            holder = _holder(record, path)
            if holder is not None:
                record_id = row[at]
                holder[path[-1]] = (
                    {"attributes": self._attributes(parent.sobject, record_id)}
                    if record_id is not None
                    else None
                )

        return set_parent

    def _column_setter(self, column: Column) -> Callable[[Record, Sequence[Value]], None]:
        if column.compound:
            return self._compound_setter(column)
        at, show, path, key = (
            self._position(column.sql),
            _SHOWN.get(column.type),
            column.path,
            column.path[-1],
        )

        def set_own(record: Record, row: Sequence[Value]) -> None:
            value = row[at]
            record[key] = value if show is None or value is None else show(value)

        def set_nested(record: Record, row: Sequence[Value]) -> None:
            holder = _holder(record, path)
            if holder is not None:
                set_own(holder, row)

        return set_own if len(path) == 1 else set_nested

    def _compound_setter(self, column: Column) -> Callable[[Record, Sequence[Value]], None]:
        parts = [(_component(part.path[0]), self._position(part.sql)) for part in column.compound]

        def set_compound(record: Record, row: Sequence[Value]) -> None:
            holder = _holder(record, column.path)
            if holder is not None:
                value = {key: row[at] for key, at in parts}
                holder[column.path[-1]] = (
                    value if any(v is not None for v in value.values()) else None
                )

        return set_compound


def _holder(record: Record, path: tuple[str, ...]) -> Record | None:
    """The nested record that a path's last key belongs to; None where a parent is missing."""
    holder: Record | None = record
    for key in path[:-1]:
        holder = holder[key] if holder else None
    return holder


def _component(field_name: str) -> str:
    """The key of an address component: `MailingPostalCode` is its `postalCode`."""
    for key in (
        "city",
        "country",
        "geocodeAccuracy",
        "latitude",
        "longitude",
        "postalCode",
        "state",
        "street",
    ):
        if field_name.lower().removesuffix("__s").endswith(key.lower()):
            return key
    return field_name


def full_row_query(sobject: SObject) -> str:
    """The SOQL that selects every field of an sObject."""
    return f"SELECT {', '.join(item.name for item in sobject.fields)} FROM {sobject.name}"
