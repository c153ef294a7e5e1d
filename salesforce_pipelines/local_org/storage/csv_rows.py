"""The rows of a CSV file as values of an sObject's fields, each refusal naming line and column."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.errors import RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.saves.field_values import from_csv
from salesforce_pipelines.local_org.storage.store import Value

KEY = "External_Id__c"
"""The external id that rows are matched by, wherever a file has it."""
DEFAULTED = {
    "User": (
        *("ProfileId", "TimeZoneSidKey", "LocaleSidKey", "LanguageLocaleKey"),
        "EmailEncodingKey",
    )
}
"""Required fields that a load fills in."""
_LONGEST_CELL = 10_000_000
_PLAIN_TYPES = frozenset({"string", "textarea", "phone", "url", "picklist"})
# A value itself is never shown: it may be somebody's.
_REASONS = {
    "STRING_TOO_LONG": "is longer than {length} characters",
    "INVALID_EMAIL_ADDRESS": "is not an email address",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": "is none of the values {values}",
    "NUMBER_OUTSIDE_VALID_RANGE": "is too large a number",
    "MALFORMED_ID": "is not a record id",
    "INVALID_TYPE_ON_FIELD_IN_RECORD": "is not a {type}",
}

Row = tuple[int, list[Value]]
"""The line a row begins at, and its values; None for a blank cell."""


def _plain(item: Field) -> int:
    return item.length if item.type in _PLAIN_TYPES and not item.restricted else -1


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file.

    Attributes:
        field: The field it is written to.
        accepts: The field whose rules its cells must meet: of a record that is named by one of its
            fields, that field.
        parent: The sObject of the records that cells name so.
        creates: Whether records that are not found are created.
        plain: Up to this many characters, a cell is a value as it stands.
    """

    header: str
    field: Field
    accepts: Field
    plain: int
    parent: SObject | None = None
    creates: bool = False


class CsvRows:
    """Reads one file; its header is read and checked at once.

    Args:
        file: The opened file, with `newline=""`.
        path: Its name in messages.

    Raises:
        PipelineError: The header is not usable.
    """

    def __init__(self, file: Iterator[str], path: Path, schema: Schema, sobject: SObject) -> None:
        self.path = path
        self._schema = schema
        self._sobject = sobject
        self._lines = self._read(file)
        _, header = next(self._lines, (0, []))
        if not header:
            raise PipelineError(f"{path}: the file is empty; it needs a header line")
        self.columns = [self._column(name) for name in header]
        self.key = self._key()
        self._check_columns()

    def __iter__(self) -> Iterator[Row]:
        """The rows as values.

        Raises:
            PipelineError: A line that is not CSV, or a value that does not fit.
        """
        for line, cells in self._lines:
            if len(cells) != len(self.columns):
                message = f"{len(cells)} cells, but the header has {len(self.columns)}"
                raise self.problem(line, None, message)
            yield (
                line,
                [
                    (cell if len(cell) <= column.plain else self._value(line, column, cell))
                    if cell
                    else None
                    for column, cell in zip(self.columns, cells, strict=True)
                ],
            )

    def problem(self, line: int, column: str | None, what: str) -> PipelineError:
        """The error to raise about a place in the file."""
        where = f"{self.path}, line {line}" + (f", column {column}" if column else "")
        return PipelineError(f"{where}: {what}")

    def _read(self, file: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
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
                raise self.problem(line, None, f"malformed CSV: {error}") from None
            if cells:
                yield line, cells

    def _column(self, header: str) -> Column:
        name = header.strip()
        relationship, is_path, key = name.partition(".")
        if is_path:
            return self._related(header, relationship, key)
        item = self._sobject.field(name) or self._sobject.field(f"{name}__c")
        if item is None and name.lower() == "account" and self._sobject.field("AccountId"):
            return replace(self._related(header, name, "Name"), creates=True)
        if item is None:
            known = ", ".join(sorted(f.name for f in self._sobject.fields if f.createable))
            message = f"{self._sobject.name} has no such field. It has {known}"
            raise self.problem(1, header, message)
        if not item.is_loadable:
            raise self.problem(1, header, f"{item.name} is read-only; remove the column")
        return Column(header, item, item, _plain(item))

    def _related(self, header: str, relationship: str, key_name: str) -> Column:
        """A column whose cells name a record by one of its fields, such as `Account.Name`."""
        sobject = self._sobject
        reference = sobject.reference(relationship) or sobject.reference(f"{relationship}__r")
        parent = self._schema.parent(reference) if reference else None
        if reference is None or parent is None:
            message = f"{self._sobject.name} has no relationship {relationship} to records here"
            raise self.problem(1, header, message)
        key = parent.field(key_name) or parent.field(f"{key_name}__c")
        if key is None or not key.is_stored or not (key.id_lookup or key.name_field):
            message = f"{parent.name} records cannot be found by a field {key_name}"
            raise self.problem(1, header, message)
        if not reference.is_loadable:
            raise self.problem(1, header, f"{reference.name} is read-only; remove the column")
        return Column(header, reference, key, _plain(key), parent)

    def _key(self) -> Field | None:
        """The field that rows are matched by: the usual external id, or else another one."""
        fields = [column.field for column in self.columns]
        keys = [item for item in fields if item.external_id and item.unique]
        return next((item for item in keys if item.name == KEY), keys[0] if keys else None)

    def _check_columns(self) -> None:
        seen: dict[str, str] = {}
        for column in self.columns:
            other = seen.setdefault(column.field.name, column.header)
            if other is not column.header:
                message = f"a second column for {column.field.name}, beside {other}"
                raise self.problem(1, column.header, message)
        defaulted = DEFAULTED.get(self._sobject.name, ())
        for item in self._sobject.fields:
            if item.name in seen or item.name in defaulted or self.key:
                continue
            if item.required:
                message = f"there is no column for {item.name}, which is required"
                raise self.problem(1, None, message)

    def _value(self, line: int, column: Column, cell: str) -> Value:
        item = column.accepts
        try:
            return from_csv(item, cell)
        except RowRefusedError as refusal:
            reason = _REASONS[refusal.error.code].format(
                length=item.length,
                values=", ".join(value.value for value in item.picklist if value.active),
                type=item.type,
            )
            raise self.problem(line, column.header, f"the value {reason}") from None
