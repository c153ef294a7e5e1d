"""Fields as a real org's describe JSON has them, as fields of the local org."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.metadata.field_defaults import is_evaluable
from salesforce_pipelines.local_org.metadata.formulas import person_name
from salesforce_pipelines.local_org.metadata.schema import Field, PicklistValue
from salesforce_pipelines.local_org.rest.describe import describe_field

_TAKEN_TYPES = frozenset(
    {
        *("id", "reference", "string", "textarea", "email", "phone", "url", "picklist"),
        *("multipicklist", "combobox", "encryptedstring", "boolean", "int", "long", "double"),
        *("currency", "percent", "date", "datetime", "time", "address", "location"),
    }
)
_ID_LENGTH, _SHORT_TEXT, _MOST_DIGITS = 18, 255, 18
_NAME_PARTS = frozenset({"FirstName", "LastName"})


class DescribedField:
    """One entry of a describe's `fields`, read with its place for messages.

    Args:
        place: Where it stands, such as `contact.json: fields[3]`.

    Raises:
        PipelineError: It is not an object, or has no name or type.
    """

    def __init__(self, entry: object, place: str) -> None:
        if not isinstance(entry, dict):
            raise PipelineError(f"{place} is not an object")
        self._entry: Mapping[str, Any] = entry
        self._place = place
        self.name = self._text("name")
        if not self.name.isidentifier():
            raise self._problem("name", "the API name of a field")
        self.type = self._text("type")

    @property
    def compound(self) -> str | None:
        """The compound field that it is a part of."""
        return self._optional("compoundFieldName")

    @property
    def keys(self) -> set[str]:
        """The keys that it has."""
        return set(self._entry)

    @property
    def is_taken(self) -> bool:
        """Whether the local org has fields of its type."""
        return self.type in _TAKEN_TYPES

    def field(self, local: Field | None, parts: Sequence[str]) -> Field:
        """The field it describes.

        Args:
            local: The local org's field of that name.
            parts: The names of the fields that it is put together of.

        Raises:
            PipelineError: A key has a value of another type than it should.
        """
        taken = self._taken()
        if local and local.formula and local.type == taken.type and not taken.createable:
            # The local org computes it; how it looks is the real org's business.
            taken = replace(taken, formula=local.formula, auto_number=None)
        elif self._is_person_name(parts):
            taken = replace(taken, formula=person_name())
        if local:
            taken = _with_local(taken, local)
        shown = describe_field(replace(taken, described={}))
        # What the describe says otherwise than the local org would.
        told = {key: self._entry[key] for key in shown if key in self._entry}
        return replace(taken, described={k: v for k, v in told.items() if v != shown[k]})

    def remarks(self, taken: Field, targets: Sequence[str]) -> list[str]:
        """What of it the local org does not do, although it takes the field over.

        Args:
            targets: Those sObjects it refers to that the local org has.
        """
        missing = [name for name in taken.refers_to if name not in targets]
        found = []
        for is_so, remark in (
            (
                taken.calculated and not taken.formula,
                "its values are not computed; load them, or they are blank",
            ),
            (
                taken.auto_number is not None and self._entry.get("autoNumber") is True,
                "describe does not say its display format; numbers are plain",
            ),
            (
                taken.default_formula is not None and not is_evaluable(taken),
                "its default formula is not evaluated; new records begin blank",
            ),
            (bool(self._entry.get("filteredLookupInfo")), "its lookup filter is not enforced"),
            (
                bool(missing) and not targets,
                f"the org has no {', '.join(missing)}; any id is accepted",
            ),
        ):
            if is_so:
                found.append(f"{self.name}: {remark}")
        return found

    def _taken(self) -> Field:
        is_number = self.type in ("double", "currency", "percent")
        is_int = self.type in ("int", "long")
        createable, nillable = self._flag("createable"), self._flag("nillable", True)
        defaulted, calculated = self._flag("defaultedOnCreate"), self._flag("calculated")
        relationship = self._optional("relationshipName")
        is_reference, order = self.type == "reference", self._order()
        digits = self._number("digits" if is_int else "precision")
        length = self._number("length")
        taken = Field(
            name=self.name,
            label=self._optional("label") or self.name,
            type=self.type,
            length=_ID_LENGTH if self.type in ("id", "reference") else length,
            precision=digits or (_MOST_DIGITS if is_number or is_int else 0),
            scale=self._number("scale"),
            createable=createable,
            updateable=self._flag("updateable"),
            required=createable and not nillable and not defaulted and self.type != "boolean",
            nillable=nillable,
            defaulted_on_create=defaulted,
            id_lookup=self._flag("idLookup"),
            external_id=self._flag("externalId"),
            unique=self._flag("unique"),
            name_field=self._flag("nameField"),
            restricted=self._flag("restrictedPicklist"),
            filterable=self._flag("filterable", True),
            compound_name=self._optional("compoundFieldName"),
            refers_to=tuple(map(str, self._list("referenceTo"))),
            picklist=self._picklist(),
            calculated=calculated,
            calculated_text=self._optional("calculatedFormula"),
            treats_null_as_zero=self._flag("formulaTreatNullNumberAsZero"),
            auto_number="{0}" if self._flag("autoNumber") else None,
            default=self._default(),
            default_formula=self._optional("defaultValueFormula"),
            controller=self._optional("controllerName"),
            case_sensitive=self._flag("caseSensitive"),
            html=self._flag("htmlFormatted"),
            mask=self._optional("mask"),
            mask_type=self._optional("maskType"),
            help_text=self._optional("inlineHelpText"),
            relationship=(relationship or "") if is_reference else None,
            cascade_delete=self._flag("cascadeDelete") or order is not None,
            restricted_delete=self._flag("restrictedDelete"),
            relationship_order=order,
        )
        return replace(taken, length=_SHORT_TEXT) if taken.is_text and not length else taken

    def _is_person_name(self, parts: Sequence[str]) -> bool:
        return self.name == "Name" and not self._flag("createable") and set(parts) >= _NAME_PARTS

    def _default(self) -> str | float | None:
        value = self._entry.get("defaultValue")
        if self.type == "boolean":
            return int(value is True) or None
        if self.type in ("picklist", "multipicklist", "combobox"):
            return None  # the picklist marks it
        is_value = isinstance(value, str | int | float) and not isinstance(value, bool)
        return value if is_value else None

    def _picklist(self) -> tuple[PicklistValue, ...]:
        values = []
        for at, entry in enumerate(self._list("picklistValues")):
            if not isinstance(entry, dict) or not isinstance(entry.get("value"), str):
                raise self._problem(f"picklistValues[{at}]", "an object with a text value")
            values.append(
                PicklistValue(
                    entry["value"],
                    str(entry.get("label") or entry["value"]),
                    default=entry.get("defaultValue") is True,
                    active=entry.get("active") is not False,
                    valid_for=entry.get("validFor") or None,
                )
            )
        return tuple(values)

    # Keys

    def _text(self, key: str) -> str:
        value = self._entry.get(key)
        if not isinstance(value, str) or not value:
            raise self._problem(key, "a text")
        return value

    def _optional(self, key: str) -> str | None:
        value = self._entry.get(key)
        if value is not None and not isinstance(value, str):
            raise self._problem(key, "a text or null")
        return value or None

    def _flag(self, key: str, default: bool = False) -> bool:
        value = self._entry.get(key, default)
        if not isinstance(value, bool):
            raise self._problem(key, "true or false")
        return value

    def _number(self, key: str) -> int:
        value = self._entry.get(key) or 0
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._problem(key, "a whole number")
        return value

    def _order(self) -> int | None:
        value = self._entry.get("relationshipOrder")
        return None if value is None else self._number("relationshipOrder")

    def _list(self, key: str) -> list[Any]:
        value = self._entry.get(key) or []
        if not isinstance(value, list):
            raise self._problem(key, "a list")
        return value

    def _problem(self, key: str, wanted: str) -> PipelineError:
        name = self._entry.get("name")
        which = f" ({name})" if isinstance(name, str) else ""
        return PipelineError(f"{self._place}.{key}{which}: must be {wanted}")


def _with_local(taken: Field, local: Field) -> Field:
    """What describe does not say and the local org knows: which status is a converted Lead's."""
    converted = {value.value for value in local.picklist if value.converted}
    values = tuple(replace(value, converted=value.value in converted) for value in taken.picklist)
    return replace(
        taken,
        picklist=values,
        auto_number=local.auto_number if taken.auto_number else None,
        child_relationship=local.child_relationship,
        cascade_delete=taken.cascade_delete or local.cascade_delete,
        restricted_delete=taken.restricted_delete or local.restricted_delete,
    )
