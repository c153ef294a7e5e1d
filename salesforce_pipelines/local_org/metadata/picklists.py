"""Dependent picklists: which of their values are valid beside the controlling field's value."""

from collections.abc import Mapping

from salesforce_pipelines.local_org.errors import RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import Field, SObject, controlling_values
from salesforce_pipelines.local_org.storage.store import Value


def check_dependent_picklists(
    sobject: SObject, row: Mapping[str, Value], existing: Mapping[str, Value] | None
) -> None:
    """Refuse a restricted picklist's value that does not fit its controlling field's.

    Args:
        row: The values that are written, as the store keeps them.
        existing: The record's stored values; None for a new one.

    Raises:
        RowRefusedError: INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST.
    """
    for item, controller in sobject.dependent_picklists:
        if not item.restricted or (item.name not in row and controller.name not in row):
            continue
        stored = {**(existing or {}), **row}
        value = stored.get(item.name)
        if value is not None and not fits(
            item, controller, str(value), stored.get(controller.name)
        ):
            message = f"{item.label}: bad value for restricted picklist field: {value}"
            raise RowRefusedError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, item.name)


def fits(item: Field, controller: Field, value: str, controlling: Value) -> bool:
    """Whether a dependent picklist may have a value beside the controlling field's value.

    Every chosen value of a multi-select picklist must fit.
    """
    if controller.type == "boolean":
        position: int | None = int(bool(controlling))
    else:
        positions = {name: at for at, name in enumerate(controlling_values(controller))}
        position = positions.get(str(controlling))
    chosen = value.split(";") if item.type == "multipicklist" else [value]
    known = {entry.value: entry for entry in item.picklist}
    return all(
        entry is None or (position is not None and entry.is_valid_for(position))
        for entry in map(known.get, chosen)
    )
