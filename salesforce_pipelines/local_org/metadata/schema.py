"""The sObjects of the local org and their fields, read from the tables in `metadata/`."""

import base64
import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from typing import Any

from salesforce_pipelines.local_org.metadata.formulas import FORMULAS, Formula

COMPOUND_TYPES = frozenset({"address", "location"})
"""Types of fields that have no column: their parts have."""

_TEXT_TYPES = frozenset(
    {
        *("string", "textarea", "email", "phone", "url", "picklist"),
        *("multipicklist", "combobox", "encryptedstring"),
    }
)
_NUMBER_TYPES = frozenset({"double", "currency", "percent"})
HISTORY_KEY_PREFIX = "017"
_PICKLIST_TYPES = frozenset({"picklist", "multipicklist", "combobox"})
_UNGROUPABLE = frozenset({"datetime", "time", "multipicklist", "encryptedstring"}) | COMPOUND_TYPES
_UNSORTABLE = frozenset({"multipicklist", "encryptedstring"}) | COMPOUND_TYPES
_CUSTOM_ENDINGS = ("__c", "__s", "__pc")


@dataclass(frozen=True, slots=True)
class PicklistValue:
    """One value of a picklist field.

    Attributes:
        converted: Of a Lead's status: whether it is that of a converted Lead.
        active: Whether new records may get it.
        valid_for: For which values of the controlling field it may be chosen: a base64 bit set,
            the first value of the controlling field being the highest bit of the first byte.
    """

    value: str
    label: str
    default: bool = False
    converted: bool = False
    active: bool = True
    valid_for: str | None = None

    def is_valid_for(self, position: int) -> bool:
        """Whether it may be chosen beside the controlling value at a position."""
        if self.valid_for is None:
            return True
        bits = base64.b64decode(self.valid_for)
        return position >> 3 < len(bits) and bool(bits[position >> 3] & (0x80 >> position % 8))


def bit_set(positions: Sequence[int]) -> str:
    """The `valid_for` of a value that may be chosen beside the controlling values at positions."""
    # Salesforce writes whole groups of four base64 characters.
    bits = bytearray(3 * (max(positions, default=0) // 24 + 1))
    for position in positions:
        bits[position >> 3] |= 0x80 >> position % 8
    return base64.b64encode(bytes(bits)).decode()


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
        calculated: Whether describe calls it calculated: a formula or a roll-up summary.
        calculated_text: The formula as describe shows it.
        treats_null_as_zero: Whether the formula reads blank numbers as 0.
        auto_number: The display format, such as `M-{00000}`, of numbers assigned on create.
        default: The value of a new record that gives none.
        default_formula: The same as a formula; `field_defaults` says which it can evaluate.
        controller: The field whose value decides which values of this picklist are valid.
        case_sensitive: Whether unique values that differ in letter case are different ones.
        html: Whether a long text is rich text.
        relationship: The name that leads to the record it refers to; "" if there is none, None if
            it follows from the field's name.
        child_relationship: The name of the records that refer to one through it.
        cascade_delete: Whether records are deleted with the one they refer to.
        restricted_delete: Whether a record that others refer to through it cannot be deleted.
        relationship_order: 0 for the first master-detail relationship of an sObject, 1 for the
            second.
        described: What its describe says otherwise than follows from its type.
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
    calculated: bool = False
    calculated_text: str | None = None
    treats_null_as_zero: bool = False
    auto_number: str | None = None
    default: str | int | float | None = None
    default_formula: str | None = None
    controller: str | None = None
    case_sensitive: bool = False
    html: bool = False
    mask: str | None = None
    mask_type: str | None = None
    help_text: str | None = None
    relationship: str | None = None
    child_relationship: str | None = None
    cascade_delete: bool = False
    restricted_delete: bool = False
    relationship_order: int | None = None
    described: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def custom(self) -> bool:
        """Whether an administrator added it."""
        return self.name.endswith(_CUSTOM_ENDINGS)

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
        return self.formula is None and self.type not in COMPOUND_TYPES

    @property
    def is_loadable(self) -> bool:
        """Whether a file of records may bring its values."""
        return self.is_stored and (
            self.createable or self.calculated or self.auto_number is not None
        )

    @property
    def is_picklist(self) -> bool:
        """Whether its values come from a list."""
        return self.type in _PICKLIST_TYPES

    @property
    def is_compound(self) -> bool:
        """Whether its value is put together of other fields'."""
        return self.type in COMPOUND_TYPES

    @property
    def largest(self) -> int | None:
        """How far from 0 a part of a location may be, in degrees; None for other fields."""
        if self.type != "double" or not self.compound_name:
            return None
        name = self.name.lower().removesuffix("__s")
        return 90 if name.endswith("latitude") else 180 if name.endswith("longitude") else None

    @property
    def groupable(self) -> bool:
        """Whether GROUP BY may use it."""
        computed = (
            self.filterable
            and not (self.calculated and self.is_text)
            and self.auto_number is None
            and not self.is_number
            and self.type not in _UNGROUPABLE
        )
        return bool(self.described.get("groupable", computed))

    @property
    def sortable(self) -> bool:
        """Whether ORDER BY may use it."""
        computed = self.filterable and self.type not in _UNSORTABLE
        return bool(self.described.get("sortable", computed))

    @property
    def aggregatable(self) -> bool:
        """Whether MIN, MAX and the like may use it."""
        computed = self.sortable and self.type not in ("boolean", "combobox")
        return bool(self.described.get("aggregatable", computed))

    @property
    def permissionable(self) -> bool:
        """Whether field-level security can hide it or make it read-only."""
        may_be_blank = self.nillable or self.type == "boolean" or self.auto_number is not None
        is_named = self.compound_name == "Name"
        computed = (
            may_be_blank
            and not is_named
            and (self.custom or self.is_compound or (self.updateable and self.createable))
        )
        return bool(self.described.get("permissionable", computed))

    @property
    def relationship_name(self) -> str | None:
        """The name that leads to the record it refers to, such as `Account` for `AccountId`."""
        if self.type != "reference" or self.relationship == "":
            return None
        if self.relationship:
            return self.relationship
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
        described: What its describe says otherwise than follows from the rest.
        named_children: What is known of the records that refer to it, by (sObject, field) in
            lower case: the relationship's name, whether deletes cascade, whether they are refused.
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
    described: Mapping[str, Any] = field(default_factory=dict)
    named_children: Mapping[tuple[str, str], tuple[str | None, bool, bool]] = field(
        default_factory=dict
    )

    def with_fields(self, fields: Sequence[Field]) -> "SObject":
        """The same sObject with other fields."""
        return replace(self, fields=tuple(fields), parts=_parts(tuple(fields)))

    @property
    def custom(self) -> bool:
        """Whether an administrator made it."""
        return self.name.endswith("__c")

    @cached_property
    def auto_numbers(self) -> tuple[Field, ...]:
        """The fields whose values are assigned on create."""
        return tuple(item for item in self.stored_fields if item.auto_number is not None)

    @cached_property
    def dependent_picklists(self) -> tuple[tuple[Field, Field], ...]:
        """The picklists that depend on another field, each with that field."""
        pairs = ((item, self.field(item.controller or "")) for item in self.stored_fields)
        return tuple((item, controller) for item, controller in pairs if controller)

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
    restricted_delete: bool = False


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
    ("Opportunity", "ContactId"): ("Opportunities", False),
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
    ("User", "AccountId"): ("Users", False),
    ("User", "ContactId"): ("Users", False),
}
_RESTRICTED_DELETES = frozenset({("User", "ContactId")})


class Schema:
    """Every sObject of an org, found by name whatever its letter case."""

    def __init__(self, sobjects: tuple[SObject, ...]) -> None:
        self.sobjects = sobjects
        self._by_name = {sobject.name.lower(): sobject for sobject in sobjects}
        self._children: dict[str, list[ChildRelationship]] = {}

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
        if parent.name not in self._children:
            self._children[parent.name] = self._find_children(parent)
        return self._children[parent.name]

    def _find_children(self, parent: SObject) -> list[ChildRelationship]:
        found = []
        for child in self.sobjects:
            for item in child.fields:
                if parent.name not in item.refers_to:
                    continue
                own = item.child_relationship, item.cascade_delete, item.restricted_delete
                key = child.name.lower(), item.name.lower()
                name, cascade, restricted = parent.named_children.get(key, own)
                found.append(
                    ChildRelationship(name or "", child.name, item.name, cascade, restricted)
                )
        return found


def load_schema() -> Schema:
    """The sObjects of a local org, as `metadata/` describes them."""
    folder = files("salesforce_pipelines.local_org.metadata") / "tables"
    picklists = json.loads((folder / "picklists.json").read_text(encoding="utf-8"))
    details = json.loads((folder / "details.json").read_text(encoding="utf-8"))
    sobjects = []
    for name, plural, prefix, createable, deletable, mergeable, listviewable in _SOBJECTS:
        table = (folder / f"{name}.csv").read_text(encoding="utf-8")
        rows = csv.DictReader(table.splitlines())
        fields = with_bit_sets(_field(name, row, picklists, details) for row in rows)
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
                described=details.get(name, {}),
            )
        )
    return Schema(tuple(sobjects))


def _field(
    sobject: str,
    row: Mapping[str, str],
    picklists: Mapping[str, Any],
    details: Mapping[str, Mapping[str, Any]],
) -> Field:
    name, type_, marks = row["name"], row["type"], frozenset(row["marks"].split())
    formula = FORMULAS.get((sobject, name))
    length, precision, scale = _size(type_, row["size"])
    values = picklists.get(f"{sobject}.{name}") or picklists.get(name) or ()
    picklist = tuple(map(_picklist_value, values)) if type_ in _PICKLIST_TYPES else ()
    child_relationship, cascade_delete = _CHILDREN.get((sobject, name), (None, False))
    item = Field(
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
        picklist=picklist,
        formula=formula,
        calculated=formula is not None and (formula.text is not None or formula.is_roll_up),
        calculated_text=formula.text if formula else None,
        treats_null_as_zero=formula is not None and formula.treats_null_as_zero,
        case_sensitive="casesensitive" in marks,
        child_relationship=child_relationship,
        cascade_delete=cascade_delete,
        restricted_delete=(sobject, name) in _RESTRICTED_DELETES,
    )
    return replace(item, **details.get(f"{sobject}.{name}", {}))


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
        text,
        value.get("label", text),
        value.get("default", False),
        value.get("converted", False),
        value.get("active", True),
        ";".join(value["valid_for"]) if "valid_for" in value else None,
    )


def with_bit_sets(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Fields whose dependent picklists name the controlling values, joined by `;`, as bit sets."""
    given = tuple(fields)
    by_name = {item.name: item for item in given}
    return tuple(
        replace(item, picklist=_bit_sets(item, by_name[item.controller]))
        if item.controller
        else item
        for item in given
    )


def _bit_sets(item: Field, controller: Field) -> tuple[PicklistValue, ...]:
    positions = {value: at for at, value in enumerate(controlling_values(controller))}
    values = []
    for value in item.picklist:
        names = value.valid_for.split(";") if value.valid_for else []
        values.append(replace(value, valid_for=bit_set([positions[name] for name in names])))
    return tuple(values)


def controlling_values(controller: Field) -> tuple[str, ...]:
    """The values of a controlling field, in the order that the bits of `valid_for` stand for."""
    if controller.type == "boolean":
        return "false", "true"
    return tuple(value.value for value in controller.picklist)


def _parts(fields: tuple[Field, ...]) -> dict[str, tuple[Field, ...]]:
    compounds = [item.name for item in fields if item.type in COMPOUND_TYPES]
    return {
        compound: tuple(item for item in fields if item.compound_name == compound)
        for compound in compounds
    }


def _spaced(name: str) -> str:
    return "".join(" " + c if c.isupper() and i else c for i, c in enumerate(name))
