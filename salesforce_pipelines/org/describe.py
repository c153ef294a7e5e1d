"""What an sObject and its fields are, as the org describes them to this user."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.errors import SalesforceError
from salesforce_pipelines.org.session import OrgSession


@dataclass(frozen=True)
class FieldDescribe:
    """One field: name, label, type, size in characters, precision and scale in digits, rights."""

    name: str
    label: str
    type: str
    length: int
    precision: int
    scale: int
    createable: bool
    updateable: bool
    nillable: bool
    calculated: bool
    restricted_picklist: bool
    picklist_values: tuple[str, ...]
    reference_to: tuple[str, ...]


class MissingFieldError(PipelineError):
    """Fields that the org does not show to this user."""


@dataclass(frozen=True)
class SObjectDescribe:
    """An sObject and its fields by lower-cased API name (Salesforce ignores their case)."""

    name: str
    label: str
    fields: dict[str, FieldDescribe]

    def field(self, name: str) -> FieldDescribe | None:
        """The field of this API name, or None where it is missing or hidden."""
        return self.fields.get(name.lower())

    def require(self, names: Collection[str], needed_by: str) -> list[FieldDescribe]:
        """The fields of these API names.

        Raises:
            MissingFieldError: Some are missing, or hidden by field-level security: the describe
                leaves both out, so the message names both cures.
        """
        missing = [name for name in names if self.field(name) is None]
        if missing:
            raise MissingFieldError(
                f"{self.name}: the org has no field {', '.join(missing)} for this user "
                f"(needed by {needed_by}). Create it in Setup, correct its API name in "
                "pipelines.yaml, or give the integration user read access to it."
            )
        found = [self.fields[name.lower()] for name in names]
        for name, field in zip(names, found, strict=True):
            if field.name != name:
                raise MissingFieldError(
                    f"{self.name}: write the field {name} as {field.name} (needed by {needed_by})"
                )
        return found


def describe(session: OrgSession, name: str) -> SObjectDescribe:
    """The describe of one sObject; one API call.

    Raises:
        PipelineError: The org has no such sObject for this user.
    """
    try:
        answer = session.get(f"sobjects/{name}/describe")
    except SalesforceError as error:
        if error.code == "NOT_FOUND":
            raise PipelineError(
                f"{name}: the org has no such sObject for this user. Correct its API name in "
                "pipelines.yaml, or give the integration user access to it."
            ) from error
        raise
    fields = {found["name"].lower(): _field(found) for found in answer["fields"]}
    return SObjectDescribe(str(answer["name"]), str(answer["label"]), fields)


def _field(found: dict[str, Any]) -> FieldDescribe:
    return FieldDescribe(
        name=found["name"],
        label=found["label"],
        type=found["type"],
        length=found["length"],
        precision=found["precision"],
        scale=found["scale"],
        createable=found["createable"],
        updateable=found["updateable"],
        nillable=found["nillable"],
        calculated=found["calculated"],
        restricted_picklist=found["restrictedPicklist"],
        picklist_values=tuple(
            value["value"] for value in found["picklistValues"] or () if value["active"]
        ),
        reference_to=tuple(found["referenceTo"]),
    )


def arrow_type(field: FieldDescribe) -> pa.DataType:
    """The Arrow type that holds a field's values without loss.

    Dates are days, datetimes milliseconds in UTC, money decimal; what Salesforce itself keeps as
    a double stays one, and everything else is text, exactly as the org gave it, so that it can be
    compared with what the org answers later, and written back.

    That holds for times of day, `18:23:39.000Z` (they have no zone, whatever the Z says): Delta
    has no type for them. It holds for multi-select picklists, `A;B`: rules compare and write a
    field as one value, as Salesforce itself does. DuckDB's `string_split(x, ';')` takes it apart.
    """
    match field.type:
        case "boolean":
            return pa.bool_()
        case "int":
            return pa.int64()
        case "double" | "percent":
            return pa.float64()
        case "currency":
            return pa.decimal128(max(field.precision, 18), field.scale)
        case "date":
            return pa.date32()
        case "datetime":
            return pa.timestamp("ms", tz="UTC")
        case _:
            return pa.string()


def arrow_schema(fields: Iterable[FieldDescribe]) -> pa.Schema:
    """The Arrow schema of rows of these fields."""
    return pa.schema([pa.field(field.name, arrow_type(field)) for field in fields])
