"""Rows of the store as the records that REST shows."""

from collections.abc import Callable, Sequence
from typing import Any

from salesforce_pipelines.local_org.metadata.schema import SObject
from salesforce_pipelines.local_org.soql.compiled_query import Column, CompiledQuery, Parent
from salesforce_pipelines.local_org.storage.store import Value

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
        self._expressions: dict[str, int] = {}
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
        return self._expressions.setdefault(sql, len(self._expressions))

    def _parent_setter(self, parent: Parent) -> Callable[[Record, Sequence[Value]], None]:
        at, path, shown = self._position(parent.id_sql), parent.path, parent.shown_type
        names = parent.sobjects

        def set_parent(record: Record, row: Sequence[Value]) -> None:
            holder = _holder(record, path)
            if holder is not None:
                record_id = row[at]
                if record_id is None:
                    holder[path[-1]] = None
                    return
                attributes = self._attributes(names[str(record_id)[:3]], record_id)
                holder[path[-1]] = {"attributes": {**attributes, "type": shown}}

        return set_parent

    def _column_setter(self, column: Column) -> Callable[[Record, Sequence[Value]], None]:
        if column.compound:
            return self._compound_setter(column)
        if column.type == "typeof":
            return self._typeof_setter(column)
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

    def _typeof_setter(self, column: Column) -> Callable[[Record, Sequence[Value]], None]:
        """Shows of a polymorphic parent what TYPEOF asks for where it is of that sObject."""
        at = self._position(column.sql)
        branches = [
            (branch.key_prefix, [self._column_setter(item) for item in branch.columns])
            for branch in column.branches
        ]

        def set_typeof(record: Record, row: Sequence[Value]) -> None:
            holder = _holder(record, column.path)
            if holder is None:
                return
            record_id = str(row[at] or "")
            fitting = (item for item in branches if item[0] in (None, record_id[:3]))
            chosen = next(fitting, None) if record_id else None
            if chosen is None:
                holder[column.path[-1]] = None
                return
            sobject = column.sobjects[record_id[:3]]
            shown: Record = {"attributes": self._attributes(sobject, record_id)}
            for setter in chosen[1]:
                setter(shown, row)
            holder[column.path[-1]] = shown

        return set_typeof


def _holder(record: Record, path: tuple[str, ...]) -> Record | None:
    """The nested record that a path's last key belongs to; None where a parent is missing."""
    holder: Record | None = record
    for key in path[:-1]:
        holder = holder[key] if holder else None
    return holder


def _component(field_name: str) -> str:
    """The key of a component: `MailingPostalCode` is its address's `postalCode`."""
    name = field_name.lower().removesuffix("__s")
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
        if name.endswith(key.lower()):
            return key
    return field_name


def full_row_query(sobject: SObject) -> str:
    """The SOQL that selects every field of an sObject."""
    return f"SELECT {', '.join(item.name for item in sobject.fields)} FROM {sobject.name}"
