"""Faults at the writing of a record, as rules on saving and deleting."""

from typing import TYPE_CHECKING

from salesforce_pipelines.local_org.admin.faults import Occasion
from salesforce_pipelines.local_org.errors import RowRefusedError

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.saves.saving import Saving


def refuse_save_by_fault(saving: "Saving") -> None:
    """Refuse a record that a fault is about.

    Raises:
        RowRefusedError: With the fault's code and message.
    """
    _refuse(saving, "create" if saving.is_new else "update")


def refuse_delete_by_fault(saving: "Saving") -> None:
    """Refuse the deletion of a record that a fault is about.

    Raises:
        RowRefusedError: With the fault's code and message.
    """
    _refuse(saving, "delete")


def _refuse(saving: "Saving", operation: str) -> None:
    faults = saving.org.faults
    if not faults.may_strike("save"):
        return
    occasion = Occasion(
        sobjects=frozenset({saving.sobject.name.lower()}),
        user_id=saving.user_id,
        record_id=saving.record_id,
        operation=operation,
    )
    fault = faults.strike("save", occasion).get("save")
    if fault is not None:
        message = str(fault["message"]).replace("{id}", saving.record_id or "")
        raise RowRefusedError(fault["error_code"], message, *fault.options.get("fields", ()))
