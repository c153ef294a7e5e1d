"""What changed in which pull: the versions of one record, and the records that changed since."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.pull import record_states
from salesforce_pipelines.store.tables import ChangeLog


@dataclass(frozen=True)
class Version:
    """A record as one batch brought it.

    Attributes:
        batch: Of the table; pulls, reconciliations and refreshes of formulas each write one.
        at: When it was written; None where the table's log no longer tells.
        watermark: How far the table followed the org then, in ISO format; empty where `at` is None.
        state: Its record_state.
        changed: Before and after of the fields that this batch changed; all that are not empty for
            the first version that is known.
    """

    batch: int
    at: datetime | None
    watermark: str
    state: str
    changed: dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Change:
    """A record that changed: added, changed, or the record_state that it has now if not live.

    Added are those that were created in the org after what the table had followed before.
    """

    record: str
    change: str
    batch: int


def versions(log: ChangeLog, record: str) -> list[Version]:
    """The versions of one record that differ, oldest first.

    Raises:
        PipelineError: The table holds no such record.
    """
    found: list[Version] = []
    before: dict[str, Any] = {}
    for version in log.versions(record):
        row = version.row or {}
        changed = {
            name: (before.get(name), row.get(name))
            for name in dict.fromkeys([*before, *row])
            if before.get(name) != row.get(name)
        }
        before = row
        if not changed:
            # Read again in a full pull.
            continue
        state = version.state
        found.append(
            Version(
                version.batch,
                state.committed_at if state else None,
                str(state.metadata.get("watermark", "")) if state else "",
                str(row.get(record_states.COLUMN, "")),
                changed,
            )
        )
    if not found:
        raise PipelineError(f"{log.name}: the table holds no record {record}")
    return found


def batch_of(log: ChangeLog, since: str) -> int:
    """The batch that a number, or an ISO date or time (UTC without a zone), stands for.

    Of a time it is the newest batch that was there then; 0 if none was.

    Raises:
        PipelineError: It is neither, or there was no such batch yet.
    """
    newest = log.state()
    if newest is None:
        raise PipelineError(f"{log.name}: never pulled; run the job pull first")
    if since.isdecimal():
        if int(since) > newest.batch:
            raise PipelineError(f"{log.name}: --since {since}: the newest batch is {newest.batch}")
        return int(since)
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise PipelineError(
            f"--since {since}: give the number of a batch, or a time such as 2026-01-31T06:00"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max((one.batch for one in log.batches() if one.committed_at <= moment), default=0)


def changes_since(log: ChangeLog, batch: int) -> Iterator[Change]:
    """The records that changed after a batch, in no particular order.

    Of a full pull only those count that were others than in the table.
    """
    before = next((one for one in log.batches() if one.batch == batch), None)
    mark = before.metadata.get("watermark") if before else None
    start = datetime.fromisoformat(mark) if mark else None
    known = log.schema().names
    created = ["CreatedDate"] if "CreatedDate" in known else []
    for rows in log.changed_since(batch, ["Id", record_states.COLUMN, *created]):
        for row in rows.filter(pc.equal(rows.column("_change"), "upsert")).to_pylist():
            change = row[record_states.COLUMN]
            if change == record_states.LIVE:
                stamp = row.get("CreatedDate")
                is_new = batch == 0 or (start and stamp and stamp >= start)
                change = "added" if is_new else "changed"
            yield Change(row["Id"], change, row["_batch"])
