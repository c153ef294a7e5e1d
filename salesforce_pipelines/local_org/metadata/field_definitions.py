"""sObjects and fields as JSON, as a home keeps those that differ from `metadata/`."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from salesforce_pipelines.local_org.metadata.formulas import FORMULAS, person_name
from salesforce_pipelines.local_org.metadata.schema import Field, PicklistValue, SObject

_COMPUTED = "computed"


def field_as_json(item: Field) -> str:
    """A field as JSON: what differs from a field without any attributes."""
    kept: dict[str, Any] = {}
    for attribute in fields(Field):
        value = getattr(item, attribute.name)
        default = attribute.default if attribute.default_factory is MISSING else {}
        if attribute.name != "formula" and value != default:
            kept[attribute.name] = value
    kept["picklist"] = [asdict(value) for value in item.picklist]
    kept[_COMPUTED] = item.formula is not None
    return json.dumps(kept)


def field_from_json(sobject: str, text: str) -> Field:
    """The field that `field_as_json` wrote; a computed one is computed as this version does."""
    kept: dict[str, Any] = json.loads(text)
    is_computed = kept.pop(_COMPUTED)
    kept["picklist"] = tuple(PicklistValue(**value) for value in kept["picklist"])
    kept["refers_to"] = tuple(kept.get("refers_to", ()))
    # What is computed of an sObject that `metadata/` does not have is the name of its people.
    formula = FORMULAS.get((sobject, kept["name"]), person_name()) if is_computed else None
    return Field(**kept, formula=formula)


def sobject_as_json(sobject: SObject) -> str:
    """An sObject without its fields as JSON."""
    return json.dumps(
        {
            "name": sobject.name,
            "label": sobject.label,
            "label_plural": sobject.label_plural,
            "key_prefix": sobject.key_prefix,
            "createable": sobject.createable,
            "deletable": sobject.deletable,
            "mergeable": sobject.mergeable,
            "listviewable": sobject.listviewable,
            "described": dict(sobject.described),
            "named_children": [
                [*key, *known] for key, known in sorted(sobject.named_children.items())
            ],
        }
    )


def sobject_from_json(text: str) -> SObject:
    """The sObject that `sobject_as_json` wrote, without fields."""
    kept: Mapping[str, Any] = json.loads(text)
    children = {
        (child, field): (name, cascade, restricted)
        for child, field, name, cascade, restricted in kept["named_children"]
    }
    return SObject(**{**kept, "fields": (), "named_children": children})
