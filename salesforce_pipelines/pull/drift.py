"""How the fields of an sObject differ from what was pulled before: pure decisions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from salesforce_pipelines.org.describe import (
    FieldDescribe,
    SObjectDescribe,
    arrow_type,
)
from salesforce_pipelines.org.reading import COMPOUND_TYPES

INDISPENSABLE = frozenset({"Id", "SystemModstamp"})
_UNREADABLE_TYPES = COMPOUND_TYPES | {"base64"}
"""Compounds are read by their components; Bulk queries refuse base64."""


@dataclass(frozen=True)
class Fields:
    """What the next pull reads of an sObject, and what it has to leave out.

    Attributes:
        read: The fields to read, in the configured order.
        missing: Configured fields that the org no longer shows to this user: deleted or hidden.
        retyped: Fields whose type is another than that of their column.
        added: Fields that the table does not have yet, or did not follow in its last pull.
    """

    read: tuple[FieldDescribe, ...]
    missing: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def told(self) -> dict[str, list[str]]:
        """What is left out, to remember and to compare with what was told before."""
        found = {"missing": sorted(self.missing), "retyped": sorted(self.retyped)}
        return {kind: names for kind, names in found.items() if names}


def configured(
    described: SObjectDescribe,
    names: Sequence[str],
    every_field: bool,
    held: Sequence[str] = (),
) -> list[str]:
    """The fields that the configuration asks for; with `every_field` also all the others.

    Compound fields are read by their components, and base64 fields not at all. Every field also
    means those that the table holds and the org no longer shows, so that they are missed.
    """
    if not every_field:
        return list(names)
    readable = [f.name for f in described.fields.values() if f.type not in _UNREADABLE_TYPES]
    hidden = [name for name in held if described.field(name) is None]
    return list(dict.fromkeys([*names, *sorted(readable), *hidden]))


def fields_to_read(
    described: SObjectDescribe,
    names: Sequence[str],
    table: pa.Schema | None,
    followed: Collection[str],
    *,
    full: bool,
) -> Fields:
    """What to read of the configured fields, given what the table holds already.

    Args:
        described: What the org shows to this user.
        names: The configured fields.
        table: The table's columns; None before the first pull.
        followed: The fields that the table's last pull read.
        full: Whether the pull is full on demand, which takes new types over.

    Raises:
        MissingFieldError: Before the first pull a field is missing, which may be an error of
            writing; later only one without which no pull is possible.
    """
    if table is None:
        read = described.require(names, f"objects.{described.name} in pipelines.yaml")
        return Fields(tuple(read), added=tuple(names))
    missing = [name for name in names if described.field(name) is None]
    if lost := INDISPENSABLE.intersection(missing):
        described.require(sorted(lost), "every pull")
    shown = described.require([n for n in names if n not in missing], "pipelines.yaml")
    columns = {field.name: field.type for field in table}
    retyped = [] if full else [f.name for f in shown if _is_retyped(f, columns)]
    rest = tuple(f for f in shown if f.name not in retyped)
    added = tuple(f.name for f in rest if f.name not in followed)
    return Fields(rest, tuple(missing), tuple(retyped), added)


def _is_retyped(field: FieldDescribe, columns: Mapping[str, pa.DataType]) -> bool:
    stored = columns.get(field.name)
    return stored is not None and not _same(stored, arrow_type(field))


def _same(stored: pa.DataType, read: pa.DataType) -> bool:
    """Whether a column may hold values of this type; tables keep times in microseconds."""
    if pa.types.is_timestamp(stored) and pa.types.is_timestamp(read):
        return True
    return bool(stored == read)


def explanation(sobject: str, fields: Fields) -> str:
    """What a person must know about the fields that are left out; empty if there are none."""
    parts = []
    if fields.missing:
        parts.append(
            f"{', '.join(fields.missing)}: the org no longer shows it to this user (deleted, or "
            "hidden by field-level security). Its last values stay. Give the integration user "
            "read access again, or take it out of pipelines.yaml."
        )
    if fields.retyped:
        parts.append(
            f"{', '.join(fields.retyped)}: its type in the org is another than that of the table. "
            "Its last values stay. A full pull takes the new type over."
        )
    return f"{sobject}: {' '.join(parts)}" if parts else ""
