"""The kinds of custom fields an administrator can add, and what each kind implies."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.metadata.auto_numbers import is_display_format
from salesforce_pipelines.local_org.metadata.field_defaults import is_evaluable
from salesforce_pipelines.local_org.metadata.schema import (
    Field,
    PicklistValue,
    Schema,
    SObject,
    bit_set,
    controlling_values,
)

_NAME = re.compile(r"([A-Za-z][A-Za-z0-9]{0,14}__)?[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*__c")
_FIXED_LENGTHS = {"email": 80, "phone": 40, "url": 255, "picklist": 255, "multipicklist": 4099}
_LENGTHS = {"string": (255, 255), "textarea": (255, 131_072), "encryptedstring": (175, 175)}
_NUMBERS = frozenset({"double", "currency", "percent"})
_PLAIN = frozenset({"boolean", "date", "datetime", "time", "location", "reference"})
_LONG_TEXT = 255
_LONGEST_NAME = 40
_MOST_DIGITS = 18
KINDS = tuple(sorted({*_FIXED_LENGTHS, *_LENGTHS, *_NUMBERS, *_PLAIN}))
_KEYS = frozenset({"string", "double", "email"})

GivenValue = str | Mapping[str, object]
"""A picklist value: its text, or `value` with `label`, `active`, `default` and `valid_for`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRequest:
    """A custom field to be added.

    Attributes:
        name: Its API name, of at most 40 characters before `__c`, which is added where it is
            missing.
        type: As describe calls it, such as `multipicklist` or `reference`.
        length: Of a text; what is usual for the type if it is None.
        precision: Digits of a number, those after the decimal point included.
        default: The value of new records; `default_formula` gives it as a formula.
        picklist: Its values.
        restricted: Whether only those values are taken.
        controller: The field that decides which of them are valid; each value then has
            `valid_for`, a list of that field's values.
        refers_to: The sObject a reference leads to.
        child_relationship: The name of the records that refer to one through it.
        master_detail: Whether a reference makes its record part of the other one.
        auto_number: The display format of an auto-number field, such as `R-{00000}`.
        formula: The text of a formula. The local org does not compute it: such a field is
            read-only, and has the values that a loaded file gives it.
        roll_up: Whether it is a roll-up summary; what is said of a formula is true of it, too.
    """

    name: str
    type: str
    label: str | None = None
    length: int | None = None
    precision: int = _MOST_DIGITS
    scale: int = 0
    required: bool = False
    default: str | float | bool | None = None
    default_formula: str | None = None
    picklist: tuple[GivenValue, ...] = ()
    restricted: bool = True
    controller: str | None = None
    refers_to: str | None = None
    relationship: str | None = None
    child_relationship: str | None = None
    master_detail: bool = False
    restricted_delete: bool = False
    external_id: bool = False
    unique: bool = False
    case_sensitive: bool = False
    rich_text: bool = False
    auto_number: str | None = None
    formula: str | None = None
    roll_up: bool = False
    help_text: str | None = None


def new_fields(schema: Schema, sobject: SObject, wanted: FieldRequest) -> tuple[Field, ...]:
    """The fields a request stands for: one, or a location and its two parts.

    Raises:
        PipelineError: It cannot be added to the sObject; with the reason.
    """
    name = wanted.name if wanted.name.endswith("__c") else f"{wanted.name}__c"
    wanted = replace(wanted, name=name)
    place = f"{sobject.name}.{name}"
    _check(schema, sobject, wanted, place)
    is_computed = wanted.formula is not None or wanted.roll_up
    is_read_only = is_computed or wanted.auto_number is not None or wanted.type == "location"
    is_boolean, is_long = wanted.type == "boolean", _length(wanted) > _LONG_TEXT
    is_long = is_long and wanted.type == "textarea"
    has_default = wanted.default is not None or wanted.default_formula is not None
    is_needed = (wanted.required or wanted.master_detail) and not is_computed
    item = Field(
        name=name,
        label=wanted.label or name.removesuffix("__c").replace("_", " "),
        type=wanted.type,
        length=_length(wanted),
        precision=wanted.precision if wanted.type in _NUMBERS else 0,
        scale=wanted.scale if wanted.type in _NUMBERS else 0,
        createable=not is_read_only,
        updateable=not is_read_only and not wanted.master_detail,
        required=is_needed and not has_default and not is_boolean,
        nillable=not (is_needed or is_boolean or wanted.auto_number),
        defaulted_on_create=has_default or is_boolean or wanted.auto_number is not None,
        id_lookup=wanted.external_id or wanted.auto_number is not None,
        external_id=wanted.external_id,
        unique=wanted.unique,
        case_sensitive=wanted.case_sensitive,
        restricted=wanted.restricted and wanted.type in ("picklist", "multipicklist"),
        filterable=not is_long and wanted.type != "encryptedstring",
        refers_to=(wanted.refers_to,) if wanted.refers_to else (),
        picklist=picklist_values(wanted.picklist),
        calculated=is_computed,
        calculated_text=wanted.formula,
        auto_number=wanted.auto_number,
        default=int(wanted.default) if isinstance(wanted.default, bool) else wanted.default,
        default_formula=wanted.default_formula,
        html=wanted.rich_text,
        mask="*" if wanted.type == "encryptedstring" else None,
        mask_type="all" if wanted.type == "encryptedstring" else None,
        help_text=wanted.help_text,
        relationship=wanted.relationship,
        child_relationship=wanted.child_relationship,
        cascade_delete=wanted.master_detail,
        restricted_delete=wanted.restricted_delete,
        relationship_order=_relationship_order(sobject) if wanted.master_detail else None,
    )
    if wanted.type == "multipicklist":
        item = replace(item, precision=4)  # the lines that are shown of it
    if wanted.controller:
        item = _dependent(sobject, item, wanted)
    if item.default_formula and not is_evaluable(item):
        raise PipelineError(
            f"{place}: the default formula {item.default_formula} cannot be evaluated here; "
            "give a number, a text in double quotes, TODAY() or NOW()"
        )
    return (*_location_parts(item), item) if wanted.type == "location" else (item,)


def picklist_values(given: Iterable[GivenValue]) -> tuple[PicklistValue, ...]:
    """Picklist values as somebody writes them."""
    values = []
    for entry in given:
        known = {"value": entry} if isinstance(entry, str) else dict(entry)
        text = str(known["value"])
        values.append(
            PicklistValue(
                text,
                str(known.get("label") or text),
                default=bool(known.get("default", False)),
                active=bool(known.get("active", True)),
            )
        )
    return tuple(values)


def valid_for(controller: Field, names: Iterable[str]) -> str:
    """The bit set of the controlling field's values that a value may be chosen beside.

    Raises:
        PipelineError: The controlling field has no such value.
    """
    positions = {value: at for at, value in enumerate(controlling_values(controller))}
    names = list(names)
    unknown = [name for name in names if name not in positions]
    if unknown:
        known = ", ".join(positions)
        raise PipelineError(f"{controller.name} has no value {unknown[0]}; it has {known}")
    return bit_set([positions[name] for name in names])


def _check(schema: Schema, sobject: SObject, wanted: FieldRequest, place: str) -> None:
    """Refuse what Salesforce's Setup would not let pass."""
    numbers_only = wanted.type in _NUMBERS
    least, most = wanted.scale + 1, _MOST_DIGITS
    longest = _LENGTHS.get(wanted.type, (0, 0))[1]
    target = schema.get(wanted.refers_to or "")
    is_list = wanted.type in ("picklist", "multipicklist")
    for is_wrong, problem in (
        (not _NAME.fullmatch(wanted.name), "is not a custom field's API name, such as Size__c"),
        (
            len(_own_name(wanted.name)) > _LONGEST_NAME,
            f"has a name of more than {_LONGEST_NAME} characters before __c",
        ),
        (sobject.field(wanted.name) is not None, "is there already"),
        (
            wanted.type not in KINDS,
            f"has an unknown type {wanted.type}; known: {', '.join(KINDS)}. For an auto-number, a"
            " formula or a roll-up give auto_number, formula or roll_up beside the type of its"
            " values",
        ),
        (
            longest and wanted.length is not None and not 1 <= wanted.length <= longest,
            f"needs a length of 1 to {longest}",
        ),
        (
            numbers_only and not (wanted.scale >= 0 and least <= wanted.precision <= most),
            f"needs a precision of at most {most} that is larger than its scale",
        ),
        (wanted.type == "reference" and target is None, "needs refers_to, an sObject of the org"),
        (is_list and not wanted.picklist, "needs picklist, its values"),
        (
            (wanted.external_id or wanted.unique) and wanted.type not in _KEYS,
            "can only be an external id or unique as a string, double or email",
        ),
        (
            wanted.case_sensitive and not (wanted.unique and wanted.type == "string"),
            "can only be case-sensitive as a unique string",
        ),
        (
            wanted.auto_number is not None
            and not (wanted.type == "string" and is_display_format(wanted.auto_number)),
            "needs the type string and a display format such as R-{00000}",
        ),
        (
            wanted.master_detail and wanted.type != "reference",
            "can only be a master-detail relationship as a reference",
        ),
    ):
        if is_wrong:
            raise PipelineError(f"{place} {problem}")


def _own_name(name: str) -> str:
    """An API name without the prefix of a namespace and the suffix."""
    return name.removesuffix("__c").rpartition("__")[2]


def _length(wanted: FieldRequest) -> int:
    if wanted.type == "reference":
        return 18
    if wanted.auto_number is not None:
        return 30
    if wanted.formula is not None and wanted.type == "string":
        return 1300
    if wanted.type in _LENGTHS:
        return wanted.length or _LENGTHS[wanted.type][0]
    return _FIXED_LENGTHS.get(wanted.type, 0)


def _relationship_order(sobject: SObject) -> int:
    return sum(item.relationship_order is not None for item in sobject.fields)


def _dependent(sobject: SObject, item: Field, wanted: FieldRequest) -> Field:
    controller = sobject.field(wanted.controller or "")
    if controller is None or controller.type not in ("picklist", "boolean"):
        raise PipelineError(
            f"{sobject.name}.{item.name}: {wanted.controller} is no picklist or check box of "
            f"{sobject.name}"
        )
    values = []
    for value, entry in zip(item.picklist, wanted.picklist, strict=True):
        names = entry.get("valid_for") if isinstance(entry, Mapping) else None
        if not isinstance(names, list | tuple):
            raise PipelineError(
                f"{sobject.name}.{item.name}: the value {value.value} needs valid_for, a list of "
                f"values of {controller.name}"
            )
        values.append(replace(value, valid_for=valid_for(controller, map(str, names))))
    return replace(item, picklist=tuple(values), controller=controller.name)


def _location_parts(item: Field) -> tuple[Field, Field]:
    stem = item.name.removesuffix("__c")
    latitude, longitude = (
        Field(
            name=f"{stem}__{part}__s",
            label=f"{item.label} ({part})",
            type="double",
            precision=18,
            scale=15,
            createable=True,
            updateable=True,
            compound_name=item.name,
        )
        for part in ("Latitude", "Longitude")
    )
    return latitude, longitude
