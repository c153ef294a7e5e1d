"""Filling an org in bulk: generated records, which bypass the rules of a write."""

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from salesforce_pipelines.local_org.metadata.auto_numbers import auto_number_writer
from salesforce_pipelines.local_org.metadata.field_defaults import field_defaults
from salesforce_pipelines.local_org.metadata.schema import Schema, SObject
from salesforce_pipelines.local_org.storage.ids import IdFactory
from salesforce_pipelines.local_org.storage.store import (
    ADMIN_NUMBER,
    FIRST_LOADED_NUMBER,
    Value,
    insert_statement,
)

_BATCH_ROWS = 5_000
STAGE_DEFAULTS = """
UPDATE Opportunity SET
    Probability = coalesce(Probability, (SELECT s.DefaultProbability FROM OpportunityStage s
        WHERE s.MasterLabel = StageName)),
    ForecastCategoryName = coalesce(ForecastCategoryName, (SELECT s.ForecastCategoryName
        FROM OpportunityStage s WHERE s.MasterLabel = StageName))
"""
"""What an Opportunity's stage decides, where a load left it open."""

Row = Mapping[str, Any]


def load_records(
    connection: sqlite3.Connection,
    schema: Schema,
    ids: IdFactory,
    records: Iterable[tuple[str, Row]],
    now: str,
) -> None:
    """Insert generated records into an org that has none, inside the caller's transaction.

    Each row has a `_key` that numbers it within its sObject; a reference holds the `_key` of the
    record it points to, where User 0 is the org's administrator. Times end in `Z`.
    """
    shapes: dict[tuple[str, tuple[str, ...]], _Shape] = {}
    for name, run in itertools.groupby(records, key=itemgetter(0)):
        for batch in _batches(row for _, row in run):
            for names, rows in itertools.groupby(batch, key=tuple):
                shape = shapes.get((name, names))
                if shape is None:
                    shape = shapes[name, names] = _Shape(schema, schema[name], ids, names, now)
                connection.executemany(shape.statement, map(shape.values, rows))
    connection.execute(STAGE_DEFAULTS)


def _batches(rows: Iterable[Row]) -> Iterable[list[Row]]:
    rows = iter(rows)
    return iter(lambda: list(itertools.islice(rows, _BATCH_ROWS)), [])


class _Shape:
    """Turns generated rows that have the same fields into the values of one INSERT."""

    def __init__(
        self, schema: Schema, sobject: SObject, ids: IdFactory, names: Sequence[str], now: str
    ) -> None:
        known = {name: sobject.field(name) for name in names if name != "_key"}
        unknown = [name for name, item in known.items() if item is None]
        if unknown:
            raise KeyError(f"{sobject.name} has no field {', '.join(unknown)}")
        # What follows from other fields, such as IsWon from the stage, is not stored.
        fields = [(name, item) for name, item in known.items() if item and item.is_stored]
        written = [name for name, _ in fields]
        administrator = ids.record_id("005", ADMIN_NUMBER)
        defaults = default_values(sobject, frozenset(written), administrator, now)
        self._constants = tuple(defaults.values())
        numbered = [item for item in sobject.auto_numbers if item.name not in known]
        self._auto_numbers = [auto_number_writer(item.auto_number or "", now) for item in numbered]
        self._record_id = ids.record_id
        self._key_prefix = sobject.key_prefix
        self._get = itemgetter("_key", *written)
        self._edits: list[tuple[int, Callable[[Any], Value]]] = []
        for at, (_, item) in enumerate(fields, start=1):
            if item.type == "datetime":
                self._edits.append((at, _without_zone))
            elif item.type == "reference":
                parent = schema.parent(item)
                self._edits.append((at, self._reference(parent)))
        names = [*written, *defaults, *(item.name for item in numbered), "Id"]
        self.statement = insert_statement(sobject, names)

    def values(self, row: Row) -> list[Value]:
        """The values of one row, in the order of the statement."""
        values = list(self._get(row))
        for at, edit in self._edits:
            if values[at] is not None:
                values[at] = edit(values[at])
        values[0] = number = values[0] + FIRST_LOADED_NUMBER
        values += self._constants
        for auto_number in self._auto_numbers:
            values.append(auto_number(number))
        values.append(self._record_id(self._key_prefix, number))
        return values

    def _reference(self, parent: SObject | None) -> Callable[[Any], Value]:
        if parent is None:
            return str
        prefix, record_id = parent.key_prefix, self._record_id
        administrator = record_id(prefix, ADMIN_NUMBER) if parent.name == "User" else None

        def to_id(key: int) -> str:
            if key == 0 and administrator:
                return administrator
            return record_id(prefix, key + FIRST_LOADED_NUMBER)

        return to_id


def _without_zone(moment: str) -> str:
    return moment[:19]


def default_values(
    sobject: SObject, written: frozenset[str], user_id: str, now: str
) -> dict[str, Value]:
    """The fields that every record has, less those that are written."""
    values: dict[str, Value] = {
        "OwnerId": user_id,
        "CreatedDate": now,
        "CreatedById": user_id,
        "LastModifiedDate": now,
        "LastModifiedById": user_id,
        "SystemModstamp": now,
    }
    if sobject.name == "User":
        values |= {"IsActive": 1, "UserType": "Standard"}
    for item in sobject.fields:
        if item.is_picklist and item.default_value and item.is_stored:
            values[item.name] = item.default_value
    # A check box that is off by default needs no value: its column has it.
    values |= {name: value for name, value in field_defaults(sobject, now).items() if value != 0}
    stored = {item.name for item in sobject.stored_fields}
    return {name: value for name, value in values.items() if name in stored - written}
