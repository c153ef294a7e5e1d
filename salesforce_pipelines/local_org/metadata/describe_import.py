"""Taking over the metadata of a real org from the JSON of its describe calls.

The local org then has that org's fields, labels, lengths and picklists, and its custom sObjects, so
that a pull or a push can be rehearsed with them. What cannot be taken over is listed. Importing the
same file again changes nothing.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.metadata.described_fields import DescribedField
from salesforce_pipelines.local_org.metadata.field_definitions import field_as_json, sobject_as_json
from salesforce_pipelines.local_org.metadata.home_metadata import (
    add_column,
    add_table,
    change_field,
    home_schema,
    keep_field,
    keep_sobject,
)
from salesforce_pipelines.local_org.metadata.metadata_changes import changing, converter
from salesforce_pipelines.local_org.metadata.picklist_records import add_status
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.rest.describe import describe_field, describe_sobject
from salesforce_pipelines.local_org.storage.store import column_definition, undoable

_SYSTEM_FIELDS = ("Id", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById")
_NEEDED_FIELDS = (*_SYSTEM_FIELDS, "SystemModstamp")
_KEPT_AS_THEY_ARE = frozenset({*_NEEDED_FIELDS, "IsDeleted", "OwnerId"})
_ID_PREFIX_LENGTH = 3
_NEWEST = "67.0"
_PLACE_DEPENDENT = frozenset({"urls", "fields", "childRelationships", "recordTypeInfos"})


@dataclass
class ImportReport:
    """What became of one describe.

    Attributes:
        added: Fields that the local org did not have.
        changed: Fields that it had otherwise.
        unchanged: How many fields were as they are.
        kept: Fields of the local org that the describe does not have.
        remarks: What was not taken over, and what is taken over but not acted upon.
    """

    sobject: str
    is_new: bool = False
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0
    kept: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report as it is printed."""
        what = "a new sObject" if self.is_new else "the sObject"
        lines = [
            f"{self.sobject}: {what}; {len(self.added)} fields added, {len(self.changed)} changed,"
            f" {self.unchanged} as they were"
        ]
        if self.kept:
            lines.append(f"  only in the local org, and kept: {', '.join(self.kept)}")
        return [*lines, *(f"  {remark}" for remark in self.remarks)]


@dataclass(frozen=True, slots=True)
class Described:
    """One sObject's describe as a file has it, checked as far as its shape goes."""

    place: str
    keys: Mapping[str, Any]
    name: str
    fields: tuple[DescribedField, ...]


def read_describes(path: Path) -> list[Described]:
    """The describes in a file: one, a list of them, or what `sf sobject describe --json` prints.

    Raises:
        PipelineError: Naming the file and the key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise PipelineError(f"{path}: there is no such file") from None
    except UnicodeDecodeError:
        raise PipelineError(f"{path}: not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise PipelineError(f"{path}, {where}: not JSON: {error.msg}") from None
    if isinstance(content, dict) and isinstance(content.get("result"), dict | list):
        content = content["result"]
    if isinstance(content, list):
        return [_described(entry, f"{path}: [{at}].") for at, entry in enumerate(content)]
    return [_described(content, f"{path}: ")]


def _described(keys: object, place: str) -> Described:
    if not isinstance(keys, dict):
        raise PipelineError(f"{place}must be a describe, an object with name and fields")
    name, entries = keys.get("name"), keys.get("fields")
    if not isinstance(name, str) or not name.isidentifier():
        raise PipelineError(f"{place}name: must be the API name of an sObject")
    if not isinstance(entries, list) or not entries:
        raise PipelineError(f"{place}fields: must be a list of fields")
    for key in ("childRelationships", "recordTypeInfos"):
        if not _is_list_of_objects(keys.get(key, [])):
            raise PipelineError(f"{place}{key}: must be a list of objects")
    for key in ("label", "labelPlural", "keyPrefix"):
        if not isinstance(keys.get(key), str | None):
            raise PipelineError(f"{place}{key}: must be a text or null")
    fields = tuple(
        DescribedField(entry, f"{place}fields[{at}]") for at, entry in enumerate(entries)
    )
    return Described(place, keys, name, fields)


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def import_describes(org: Org, paths: Sequence[Path]) -> list[ImportReport]:
    """Take over every describe in some files: all of them, or nothing if one is not usable.

    Raises:
        PipelineError: Naming the file and the key.
    """
    given = [described for path in paths for described in read_describes(path)]
    _check_distinct(given)
    with changing(org) as connection:
        importing = _Import(org, connection, given)
        reports = [importing.take(described) for described in given]
        schema = home_schema(connection)
        for described, report in zip(given, reports, strict=True):
            report.remarks += _children_elsewhere(schema, described)
        return reports


def _check_distinct(given: Iterable[Described]) -> None:
    """Refuse two describes of one sObject, and two sObjects of one key prefix."""
    names: set[str] = set()
    prefixes: dict[str, str] = {}
    for described in given:
        if described.name.lower() in names:
            raise PipelineError(f"{described.place}name: {described.name} is described twice")
        names.add(described.name.lower())
        prefix = described.keys.get("keyPrefix")
        other = prefixes.setdefault(prefix, described.name) if prefix else described.name
        if other != described.name:
            raise PipelineError(f"{described.place}keyPrefix: {prefix} is that of {other}, too")


class _Import:
    """Takes over describes within one transaction."""

    def __init__(
        self, org: Org, connection: sqlite3.Connection, given: Iterable[Described]
    ) -> None:
        self._org = org
        self._connection = connection
        self._schema: Schema = org.schema
        self._names = {sobject.name for sobject in org.schema} | {
            described.name for described in given if _obstacle(described) is None
        }

    def take(self, described: Described) -> ImportReport:
        report = ImportReport(described.name)
        local = self._schema.get(described.name)
        obstacle = None if local else _obstacle(described)
        if local and local.is_history:
            obstacle = "field history is the org's own"
        if obstacle:
            report.remarks.append(f"not taken over: {obstacle}")
            return report
        other = self._schema.with_prefix(str(described.keys.get("keyPrefix")))
        if local is None and other:
            raise PipelineError(
                f"{described.place}keyPrefix: {other.key_prefix} is that of {other.name}"
            )
        fields = self._fields(described, local, report)
        sobject = self._sobject(described, local, fields)
        if local is None:
            report.is_new = True
            report.added = [item.name for item in fields]
            add_table(self._connection, sobject)
            for item in fields:
                keep_field(self._connection, sobject.name, item)
        else:
            for item in fields:
                self._take_field(local, local.field(item.name), item, report)
            taken = {item.name for item in fields}
            report.kept = [i.name for i in local.fields if i.custom and i.name not in taken]
        if local is None or sobject_as_json(local) != sobject_as_json(sobject):
            keep_sobject(self._connection, sobject)
        report.remarks += self._left_out(described)
        return report

    def _fields(
        self, described: Described, local: SObject | None, report: ImportReport
    ) -> list[Field]:
        taken = []
        compounds = {
            str(part.name): compound
            for part in described.fields
            for compound in [part.compound]
            if compound
        }
        for entry in described.fields:
            if not entry.is_taken:
                remark = f"{entry.name}: not taken over: there are no fields of type {entry.type}"
                report.remarks.append(remark)
                continue
            parts = [part for part, compound in compounds.items() if compound == entry.name]
            own = local.field(entry.name) if local else None
            item = entry.field(own, parts)
            if own and own.name in _KEPT_AS_THEY_ARE:
                item = replace(own, label=item.label, described=item.described)
            targets = [name for name in item.refers_to if name in self._names]
            report.remarks += entry.remarks(item, targets)
            taken.append(item)
        return taken

    def _take_field(
        self, sobject: SObject, old: Field | None, new: Field, report: ImportReport
    ) -> None:
        now = self._org.store.now()
        if old is None:
            if new.is_stored:
                add_column(self._connection, sobject, new, now)
            keep_field(self._connection, sobject.name, new)
            report.added.append(new.name)
        elif field_as_json(old) == field_as_json(new):
            report.unchanged += 1
        elif self._change(sobject, old, new, now):
            report.changed.append(new.name)
        else:
            remark = f"{new.name}: not taken over: records have values that do not fit it"
            report.remarks.append(remark)

    def _change(self, sobject: SObject, old: Field, new: Field, now: str) -> bool:
        """Change a field; False if records have values that do not fit."""
        is_other_kind = (
            old.is_stored and new.is_stored and column_definition(old) != column_definition(new)
        )
        convert = converter(old, new) if is_other_kind and old.type != new.type else None
        try:
            with undoable(self._connection):
                change_field(self._connection, sobject, old, new, now, convert)
        except (sqlite3.OperationalError, sqlite3.IntegrityError):
            return False
        known = {value.value for value in old.picklist}
        for value in new.picklist:
            if value.value not in known:
                add_status(self._connection, self._org, sobject, new, value)
        return True

    def _sobject(
        self, described: Described, local: SObject | None, fields: Sequence[Field]
    ) -> SObject:
        """The sObject with what its describe says of it."""
        keys = described.keys
        label = str(keys.get("label") or described.name)
        known = [*fields, *(local.fields if local else ())]
        has_is_deleted = any(item.name == "IsDeleted" for item in known)
        sobject = SObject(
            name=described.name,
            label=label,
            label_plural=str(keys.get("labelPlural") or label),
            key_prefix=local.key_prefix if local else str(keys["keyPrefix"]),
            fields=(),
            createable=keys.get("createable") is True,
            # Without IsDeleted there is no recycle bin here to put a record into.
            deletable=keys.get("deletable") is True and has_is_deleted,
            mergeable=keys.get("mergeable") is True,
            listviewable=local.listviewable if local else keys.get("searchLayoutable") is True,
            named_children=_named_children(keys),
        ).with_fields(fields)
        shown = describe_sobject(self._schema, sobject, _NEWEST)
        told = {key: keys[key] for key in shown if key in keys and key not in _PLACE_DEPENDENT}
        kept = {key: value for key, value in told.items() if value != shown[key]}
        if "recordTypeInfos" in keys:
            kept["recordTypeInfos"] = [
                {key: value for key, value in info.items() if key != "urls"}
                for info in keys["recordTypeInfos"]
                if isinstance(info.get("recordTypeId"), str)
            ]
        return replace(sobject, described=kept)

    def _left_out(self, described: Described) -> list[str]:
        """What of a describe the local org has nothing to do with."""
        children = {
            str(child.get("childSObject")) for child in described.keys.get("childRelationships", [])
        }
        away = sorted(children - self._names)
        field_keys = set(describe_field(Field("x", "x", "string")))
        unknown_keys = sorted({k for entry in described.fields for k in entry.keys - field_keys})
        types = [i for i in described.keys.get("recordTypeInfos", []) if not i.get("master")]
        remarks = []
        if away:
            shown = ", ".join(away[:5]) + (", ..." if len(away) > 5 else "")
            remarks.append(
                f"child relationships from {len(away)} sObjects that the org lacks: {shown}"
            )
        if unknown_keys:
            remarks.append(f"keys of fields that are not known: {', '.join(unknown_keys)}")
        if types:
            remarks.append(
                f"{len(types)} record types are described, but do not limit picklists or layouts"
            )
        return remarks


def _children_elsewhere(schema: Schema, described: Described) -> list[str]:
    """Child relationships through fields that do not lead to the sObject here."""
    sobject = schema.get(described.name)
    if sobject is None:
        return []
    known = {(child.child, child.field) for child in schema.children(sobject)}
    given = {
        (str(child.get("childSObject")), str(child.get("field")))
        for child in described.keys.get("childRelationships", [])
    }
    return [
        f"child relationship from {child}.{name}: the field does not lead to {sobject.name} here"
        for child, name in sorted(given - known)
        if schema.get(child)
    ]


def _obstacle(described: Described) -> str | None:
    """Why the local org cannot have an sObject; None if it can."""
    prefix = described.keys.get("keyPrefix")
    if not isinstance(prefix, str) or len(prefix) != _ID_PREFIX_LENGTH or not prefix.isalnum():
        return "it has no key prefix, so it has no records with ids"
    names = {entry.name for entry in described.fields}
    missing = [name for name in _NEEDED_FIELDS if name not in names]
    return f"it has no {', '.join(missing)}" if missing else None


def _named_children(
    keys: Mapping[str, Any],
) -> dict[tuple[str, str], tuple[str | None, bool, bool]]:
    named = {}
    for child in keys.get("childRelationships", []):
        key = str(child.get("childSObject")).lower(), str(child.get("field")).lower()
        name = child.get("relationshipName")
        cascade, restricted = child.get("cascadeDelete"), child.get("restrictedDelete")
        named[key] = (str(name) if name else None, cascade is True, restricted is True)
    return named
