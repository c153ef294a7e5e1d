"""Parents whose roll-up summaries change with a record, and whether their stamps move by that."""

from typing import TYPE_CHECKING

from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.storage.store import quoted

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.saves.saving import Saving

_ROLLED_UP = {"Contact": ("AccountId", "Account")}
"""The sObjects that are counted, and the lookup and sObject that count them."""


def follow_saved(saving: "Saving") -> None:
    """Move the SystemModstamp of the records that count another number now."""
    found = _ROLLED_UP.get(saving.sobject.name)
    if found is None or choice(saving.org.state, "roll_up_stamp") == "stays":
        return
    lookup, parent = found
    before = saving.before[lookup] if saving.before is not None else None
    after = saving.value(lookup)
    if not saving.is_new and before == after and not saving.changes("IsDeleted"):
        return
    saving.connection.execute(
        f"UPDATE {quoted(parent)} SET SystemModstamp = ? WHERE Id IN (?, ?)",
        [saving.now, before, after],
    )
