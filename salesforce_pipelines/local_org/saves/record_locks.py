"""Locks on single records, so that a test can see what a client does about them.

A `row` lock is what another transaction holds: writes of the record are refused, and so are those
of records that refer to it, because Salesforce locks a parent while its children are written. An
`approval` lock is what an approval process sets on the record alone.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from salesforce_pipelines.local_org.errors import ApiError, RowRefusedError
from salesforce_pipelines.local_org.saves.save_rules import Rule
from salesforce_pipelines.local_org.storage.ids import is_id, to_18

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.org import Org
    from salesforce_pipelines.local_org.saves.saving import Saving

LockKind = Literal["row", "approval"]


def lock_record(
    org: "Org",
    record_id: str,
    kind: LockKind = "row",
    times: int | None = None,
    until: str | None = None,
) -> dict[str, Any]:
    """Lock a record; a lock it has is replaced.

    Args:
        times: How many writes are refused before the lock is gone. A restart of the org begins
            to count anew.
        until: The time it ends, such as `2024-05-01T10:00:00Z`; a time without zone is UTC.

    Returns:
        The lock as `record_locks` shows it.

    Raises:
        ApiError: MALFORMED_ID, or INVALID_INPUT.
    """
    if not is_id(record_id) or org.schema.with_prefix(record_id[:3]) is None:
        raise ApiError(400, "MALFORMED_ID", f"malformed id {record_id}")
    if kind not in ("row", "approval"):
        raise ApiError(400, "INVALID_INPUT", f"kind: {kind} is neither row nor approval")
    if times is not None and times < 1:
        raise ApiError(400, "INVALID_INPUT", "times: must be at least 1")
    lock = {"id": to_18(record_id), "kind": kind, "times": times, "until": _stamp(until)}
    others = [other for other in record_locks(org) if other["id"] != lock["id"]]
    org.save_rules.replace("recordLocks", [*others, lock])
    return lock


def unlock_record(org: "Org", record_id: str) -> bool:
    """Take a record's lock away; False if it had none."""
    locks = record_locks(org)
    left = [lock for lock in locks if lock["id"] != to_18(record_id)]
    org.save_rules.replace("recordLocks", left)
    return len(left) < len(locks)


def record_locks(org: "Org") -> list[dict[str, Any]]:
    """The locks in force, the oldest first."""
    return [lock for lock in org.save_rules.all("recordLocks") or () if _is_in_force(org, lock)]


def check_record_lock(org: "Org", record_id: str) -> None:
    """Refuse to write a record that is locked itself.

    Raises:
        RowRefusedError: UNABLE_TO_LOCK_ROW or ENTITY_IS_LOCKED.
    """
    if not org.save_rules.any:
        return
    for lock in org.save_rules.active("recordLocks", record_id):
        if _holds(org, lock):
            raise _refusal(lock)


def check_parent_locks(saving: "Saving") -> None:
    """Refuse to write a record that refers to one with a row lock."""
    rules = saving.org.save_rules
    if not rules.any_active("recordLocks"):
        return
    for item in saving.sobject.stored_fields:
        if item.type != "reference":
            continue
        before = saving.before[item.name] if saving.before is not None else None
        for parent_id in {before, saving.value(item.name)} - {None}:
            for lock in rules.active("recordLocks", str(parent_id)):
                if lock["kind"] == "row" and _holds(saving.org, lock):
                    raise _refusal(lock)


def _holds(org: "Org", lock: Rule) -> bool:
    """Whether a lock refuses the write that asks; that one counts."""
    if not _is_in_force(org, lock):
        return False
    if lock["times"] is not None:
        lock["times"] -= 1
    return True


def _is_in_force(org: "Org", lock: Rule) -> bool:
    if lock["times"] is not None and lock["times"] < 1:
        return False
    return lock["until"] is None or org.store.clock() < datetime.fromisoformat(lock["until"])


def _refusal(lock: Rule) -> RowRefusedError:
    if lock["kind"] == "approval":
        return RowRefusedError("ENTITY_IS_LOCKED", "the entity is locked for editing")
    message = f"unable to obtain exclusive access to this record or 1 records: {lock['id']}"
    return RowRefusedError("UNABLE_TO_LOCK_ROW", message)


def _stamp(until: str | None) -> str | None:
    if until is None:
        return None
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        raise ApiError(400, "INVALID_INPUT", f"until: {until} is not a time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
