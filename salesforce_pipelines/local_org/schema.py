"""The sObjects of the local org and their fields, read from the tables in `metadata/`."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any

from salesforce_pipelines.local_org.formulas import FORMULAS, Formula

_TEXT_TYPES = frozenset({"string", "textarea", "email", "phone", "url", "picklist"})
_NUMBER_TYPES = frozenset({"double", "currency", "percent"})
HISTORY_KEY_PREFIX = "017"


@dataclass(frozen=True, slots=True)
class PicklistValue:
    """One value of a picklist field."""

    value: str
    label: str
    default: bool = False
    converted: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an sObject, in the terms of its describe.

    Attributes:
        length: Characters a text may have; 0 for other types.
        precision: Digits a number may have in all; for an int, its digits.
        scale: Digits a number may have after the decimal point.
        compound_name: The compound field it is a part of, such as `MailingAddress`.
        refers_to: The sObjects a reference may point to.
        formula: How a calculated field's value is computed; None for a stored field.
    """

    name: str
    label: str
    type: str
    length: int = 0
    precision: int = 0
    scale: int = 0
    createable: bool = False
    updateable: bool = False
    required: bool = False
    nillable: bool = True
    defaulted_on_create: bool = False
    id_lookup: bool = False
    external_id: bool = False
    unique: bool = False
    name_field: bool = False
    restricted: bool = False
    filterable: bool = True
    compound_name: str | None = None
    refers_to: tuple[str, ...] = ()
    picklist: tuple[PicklistValue, ...] = ()
    formula: Formula | None = None

    @property
    def custom(self) -> bool:
        """Whether an administrator added it."""
        return self.name.endswith("__c")

    @property
    def is_text(self) -> bool:
        """Whether its values are texts with a length."""
        return self.type in _TEXT_TYPES

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers that may have a fraction."""
        return self.type in _NUMBER_TYPES

    @property
    def is_id(self) -> bool:
        """Whether its values are record ids."""
        return self.type in ("id", "reference")

    @property
    def is_stored(self) -> bool:
        """Whether the store has a column for it."""
        return self.formula is None and self.type != "address"

    @property
    def groupable(self) -> bool:
        """Whether GROUP BY may use it."""
        if self.formula and self.formula.text:
            return False
        return self.filterable and not self.is_number and self.type not in ("datetime", "address")

    @property
    def relationship_name(self) -> str | None:
        """The name that leads to the record it refers to, such as `Account` for `AccountId`."""
        if self.type != "reference":
            return None
        return self.name[:-1] + "r" if self.custom else self.name.removesuffix("Id")

    @property
    def default_value(self) -> str | None:
        """The picklist value a new record gets; None if it has none."""
        return next((value.value for value in self.picklist if value.default), None)


@dataclass(frozen=True)
class SObject:
    """One sObject with its fields.

    Attributes:
        parts: The part-fields of each compound field, by the compound's name.
    """

    name: str
    label: str
    label_plural: str
    key_prefix: str
    fields: tuple[Field, ...]
    createable: bool = True
    deletable: bool = True
    mergeable: bool = False
    listviewable: bool = False
    parts: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {item.name.lower(): item for item in self.fields}

    @cached_property
    def _by_relationship(self) -> dict[str, Field]:
        names = ((item.relationship_name, item) for item in self.fields)
        return {name.lower(): item for name, item in names if name}

    def field(self, name: str) -> Field | None:
        """The field of that name, whatever its letter case; None if there is none."""
        return self._by_name.get(name.lower())

    def reference(self, relationship_name: str) -> Field | None:
        """The reference field that a relationship name stands for; None if there is none."""
        return self._by_relationship.get(relationship_name.lower())

    @cached_property
    def stored_fields(self) -> tuple[Field, ...]:
        """The fields that the store keeps a column for."""
        return tuple(item for item in self.fields if item.is_stored)

    @cached_property
    def has_is_deleted(self) -> bool:
        """Whether its records go to the recycle bin when they are deleted."""
        return self.field("IsDeleted") is not None

    @property
    def undeletable(self) -> bool:
        """Whether a deleted record can be brought back; the others are gone at once."""
        return self.deletable and self.name != "CampaignMember"

    @property
    def is_history(self) -> bool:
        """Whether its records are changes of another sObject's fields, kept in a view."""
        return self.key_prefix == HISTORY_KEY_PREFIX

    @property
    def updateable(self) -> bool:
        """Whether any of its fields can be updated."""
        return any(item.updateable for item in self.fields)


@dataclass(frozen=True, slots=True)
class ChildRelationship:
    """The records that refer to an sObject through one of their fields."""

    name: str
    child: str
    field: str
    cascade_delete: bool


# (name, plural label, key prefix, may be created, may be deleted, mergeable, has list views)
_SOBJECTS = (
    ("Account", "Accounts", "001", True, True, True, True),
    ("AccountHistory", "Account History", "017", False, False, False, False),
    ("Campaign", "Campaigns", "701", True, True, False, True),
    ("CampaignHistory", "Campaign Field History", "017", False, False, False, False),
    ("CampaignMember", "Campaign Members", "00v", True, True, False, False),
    ("CampaignMemberStatus", "Campaign Member Statuses", "01Y", True, True, False, False),
    ("Contact", "Contacts", "003", True, True, True, True),
    ("Group", "Groups", "00G", False, False, False, False),
    ("ContactHistory", "Contact History", "017", False, False, False, False),
    ("Lead", "Leads", "00Q", True, True, True, True),
    ("LeadHistory", "Lead History", "017", False, False, False, False),
    ("LeadStatus", "Lead Status Values", "01J", False, False, False, False),
    ("ListView", "List Views", "00B", False, False, False, False),
    ("Opportunity", "Opportunities", "006", True, True, False, True),
    ("OpportunityFieldHistory", "Opportunity Field History", "017", False, False, False, False),
    ("OpportunityContactRole", "Opportunity Contact Roles", "00K", True, True, False, False),
    ("OpportunityHistory", "Opportunity History", "008", False, False, False, False),
    ("OpportunityStage", "Opportunity Stages", "01J", False, False, False, False),
    ("Organization", "Organizations", "00D", False, False, False, False),
    ("User", "Users", "005", True, False, False, True),
)

# (child, field) -> (name of the relationship seen from the parent, whether deletes cascade)
_CHILDREN = {
    ("Contact", "AccountId"): ("Contacts", True),
    ("Contact", "ReportsToId"): (None, False),
    ("Opportunity", "AccountId"): ("Opportunities", True),
    ("Opportunity", "CampaignId"): ("Opportunities", False),
    ("Opportunity", "ContactId"): (None, False),
    ("Account", "ParentId"): ("ChildAccounts", False),
    ("Campaign", "ParentId"): ("ChildCampaigns", False),
    ("CampaignMember", "CampaignId"): ("CampaignMembers", True),
    ("CampaignMember", "ContactId"): ("CampaignMembers", True),
    ("CampaignMember", "LeadId"): ("CampaignMembers", True),
    ("CampaignMemberStatus", "CampaignId"): ("CampaignMemberStatuses", True),
    ("OpportunityHistory", "OpportunityId"): ("OpportunityHistories", True),
    ("OpportunityContactRole", "OpportunityId"): ("OpportunityContactRoles", True),
    ("OpportunityContactRole", "ContactId"): ("OpportunityContactRoles", True),
    ("AccountHistory", "AccountId"): ("Histories", True),
    ("CampaignHistory", "CampaignId"): ("Histories", True),
    ("ContactHistory", "ContactId"): ("Histories", True),
    ("LeadHistory", "LeadId"): ("Histories", True),
    ("OpportunityFieldHistory", "OpportunityId"): ("Histories", True),
}


class Schema:
    """Every sObject of an org, found by name whatever its letter case."""

    def __init__(self, sobjects: tuple[SObject, ...]) -> None:
        self.sobjects = sobjects
        self._by_name = {sobject.name.lower(): sobject for sobject in sobjects}

    def __iter__(self) -> Iterator[SObject]:
        return iter(self.sobjects)

    def get(self, name: str) -> SObject | None:
        """The sObject of that name; None if the org has none."""
        return self._by_name.get(name.lower())

    def __getitem__(self, name: str) -> SObject:
        return self._by_name[name.lower()]

    def parent(self, reference: Field) -> SObject | None:
        """The sObject a reference leads to; of several, the last one the org has."""
        targets = (self.get(name) for name in reversed(reference.refers_to))
        return next((target for target in targets if target), None)

    def with_prefix(self, key_prefix: str) -> SObject | None:
        """The first sObject whose ids begin with a key prefix."""
        return next((item for item in self.sobjects if item.key_prefix == key_prefix), None)

    def children(self, parent: SObject) -> list[ChildRelationship]:
        """The relationships that lead from an sObject to those that refer to it."""
        return [
            ChildRelationship(name or "", child.name, item.name, cascade)
            for child in self.sobjects
            for item in child.fields
            if parent.name in item.refers_to
            for name, cascade in [_CHILDREN.get((child.name, item.name), (None, False))]
        ]


def load_schema() -> Schema:
    """The sObjects of a local org, as `metadata/` describes them."""
    folder = files("salesforce_pipelines.local_org") / "metadata"
    picklists = json.loads((folder / "picklists.json").read_text(encoding="utf-8"))
    sobjects = []
    for name, plural, prefix, createable, deletable, mergeable, listviewable in _SOBJECTS:
        table = (folder / f"{name}.csv").read_text(encoding="utf-8")
        rows = csv.DictReader(table.splitlines())
        fields = tuple(_field(name, row, picklists) for row in rows)
        sobjects.append(
            SObject(
                name=name,
                label=_spaced(name),
                label_plural=plural,
                key_prefix=prefix,
                fields=fields,
                createable=createable,
                deletable=deletable,
                mergeable=mergeable,
                listviewable=listviewable,
                parts=_parts(fields),
            )
        )
    return Schema(tuple(sobjects))


def _field(sobject: str, row: Mapping[str, str], picklists: Mapping[str, Any]) -> Field:
    name, type_, marks = row["name"], row["type"], frozenset(row["marks"].split())
    formula = FORMULAS.get((sobject, name))
    length, precision, scale = _size(type_, row["size"])
    values = picklists.get(f"{sobject}.{name}") or picklists.get(name) or ()
    return Field(
        name=name,
        label=row["label"],
        type=type_,
        length=length,
        precision=precision,
        scale=scale,
        createable="C" in row["access"],
        updateable="U" in row["access"],
        required="required" in marks,
        nillable=not marks & {"required", "notnull"},
        defaulted_on_create="defaulted" in marks,
        id_lookup="idlookup" in marks,
        external_id="externalid" in marks,
        unique="unique" in marks,
        name_field="namefield" in marks,
        restricted="restricted" in marks,
        filterable="unfilterable" not in marks,
        compound_name=row["compound"] or None,
        refers_to=tuple(row["refers_to"].split("/")) if row["refers_to"] else (),
        picklist=tuple(_picklist_value(value) for value in values) if type_ == "picklist" else (),
        formula=formula,
    )


def _size(type_: str, size: str) -> tuple[int, int, int]:
    """The length, precision and scale that a size such as `80` or `18,2` stands for."""
    if type_ in ("id", "reference"):
        return 18, 0, 0
    if type_ in _NUMBER_TYPES:
        precision, scale = size.split(",")
        return 0, int(precision), int(scale)
    if type_ == "int":
        return 0, int(size), 0
    return int(size or 0), 0, 0


def _picklist_value(value: str | Mapping[str, Any]) -> PicklistValue:
    if isinstance(value, str):
        return PicklistValue(value, value)
    text = value["value"]
    return PicklistValue(
        text, value.get("label", text), value.get("default", False), value.get("converted", False)
    )


def _parts(fields: tuple[Field, ...]) -> dict[str, tuple[Field, ...]]:
    compounds = [item.name for item in fields if item.type == "address"]
    return {
        compound: tuple(item for item in fields if item.compound_name == compound)
        for compound in compounds
    }


def _spaced(name: str) -> str:
    return "".join(" " + c if c.isupper() and i else c for i, c in enumerate(name))
