"""Field-level security: an org's sObjects as one user may see them."""

from collections.abc import Mapping
from dataclasses import replace

from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject

Access = Mapping[tuple[str, str], tuple[bool, bool]]
"""By (sObject, field): whether the field may be read, and edited."""


def visible_schema(schema: Schema, access: Access) -> Schema:
    """A schema without the fields that are hidden, and with others made read-only."""
    named = {sobject for sobject, _ in access}
    return Schema(
        tuple(_visible(sobject, access) if sobject.name in named else sobject for sobject in schema)
    )


def _visible(sobject: SObject, access: Access) -> SObject:
    hidden = {
        item.name
        for item in sobject.fields
        if access.get((sobject.name, item.name), (True, True)) == (False, False)
    }
    fields = []
    for item in sobject.fields:
        if item.name in hidden:
            continue
        _, editable = access.get((sobject.name, item.name), (True, True))
        shown = item if editable else _read_only(item)
        if shown.controller in hidden:
            shown = replace(shown, controller=None)
        fields.append(shown)
    return sobject.with_fields(fields)


def _read_only(item: Field) -> Field:
    described = {**item.described, "permissionable": item.permissionable}
    return replace(item, createable=False, updateable=False, described=described)


def secured_together(sobject: SObject, item: Field) -> tuple[Field, ...]:
    """The fields whose security is one: a compound field and its parts."""
    compound = item if item.is_compound else sobject.field(item.compound_name or "")
    if compound is None or not compound.is_compound:
        return (item,)
    return (compound, *sobject.parts[compound.name])
