"""What a change log held before: its batches, and every version of one row that is still there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from salesforce_pipelines.store.columns import BATCH, CHANGE
from salesforce_pipelines.store.delta_log import DeltaLog, State
from salesforce_pipelines.store.snapshot import BASE, UPSERT, Snapshot


@dataclass(frozen=True)
class RowVersion:
    """A row as a batch brought it.

    Attributes:
        batch: Its number.
        state: What was committed with it; None if that was so long ago that the log forgot it.
        row: None if the batch deleted it.
    """

    batch: int
    state: State | None
    row: dict[str, Any] | None


def row_versions(delta: DeltaLog, key: str, value: str) -> list[RowVersion]:
    """The versions of the row of this key, oldest first.

    Those that a later batch replaced are kept as long as the files that hold them: until a fold
    and then a vacuum.
    """
    opened = delta.open()
    if opened is None:
        return []
    states = {state.batch: state for state in delta.states()}
    found = dict(_rows(opened.snapshot, key, value))
    for batch, state in states.items():
        if batch in found:
            continue
        try:
            earlier = delta.open(state.version)
            if earlier is not None:
                found |= dict(_rows(earlier.snapshot, key, value, batch))
        except FileNotFoundError:
            break
    return [RowVersion(batch, states.get(batch), found[batch]) for batch in sorted(found)]


def _rows(
    snapshot: Snapshot, key: str, value: str, batch: int | None = None
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    wanted = pc.field(key) == value
    files = snapshot.files
    if batch is not None:
        files = [file for file in files if file.first_batch <= batch <= file.last_batch]
        wanted = wanted & (pc.field(BATCH) == batch)
    columns = [BATCH, CHANGE, *snapshot.schema.names]
    for rows in snapshot.scan(snapshot.dataset(files), columns, wanted):
        for row in rows.to_pylist():
            number, change = row.pop(BATCH), row.pop(CHANGE)
            yield number, row if change in (BASE, UPSERT) else None
