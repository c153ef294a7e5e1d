"""The journal: every cell that was, or was about to be, written to the org, and what became of it.

An entry is committed as `sending` before the org is asked, and again with its outcome. So every
write can be explained, the value before it is known, and after a crash whose fate is unknown.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import pyarrow as pa

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.push.rules import Value
from salesforce_pipelines.push.values import encoded
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.tables import ChangeLog, Tables


class EntryState(StrEnum):
    """What became of a cell of a confirmed plan."""

    SENDING = "sending"
    WRITTEN = "written"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    HELD = "held"


@dataclass(frozen=True)
class Entry:
    """One cell of one plan: value before and after (JSON), the rule that decided, the outcome."""

    plan_id: str
    sobject: str
    record_id: str
    field: str
    before: Value
    after: Value
    rule: str
    source: str
    run_id: str
    state: EntryState
    reason: str = ""
    cure: str = ""


SCHEMA = pa.schema(
    [
        ("entry", pa.string()),
        ("plan_id", pa.string()),
        ("sobject", pa.string()),
        ("record_id", pa.string()),
        ("field", pa.string()),
        ("before", pa.string()),
        ("after", pa.string()),
        ("rule", pa.string()),
        ("source", pa.string()),
        ("run_id", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("cure", pa.string()),
        ("recorded_at", pa.timestamp("ms", tz="UTC")),
    ]
)


def journal(tables: Tables, stream: str) -> ChangeLog:
    """The journal of one stream; its time travel shows an entry before it had an outcome."""
    return tables.log(f"journal/{stream}", key="entry")


def write(log: ChangeLog, entries: Iterable[Entry]) -> None:
    """Commit entries; an entry of the same plan, record and field takes the older one's place."""
    now = datetime.now(UTC)
    rows = [
        {
            **vars(entry),
            "entry": f"{entry.plan_id}/{entry.record_id}/{entry.field}",
            "before": encoded(entry.before),
            "after": encoded(entry.after),
            "state": entry.state.value,
            "recorded_at": now,
        }
        for entry in entries
    ]
    if rows:
        log.append(pa.Table.from_pylist(rows, schema=SCHEMA), {})


def history(tables: Tables, stream: str, record_id: str) -> list[tuple[object, ...]]:
    """Every entry of one record: at, field, before, after, rule, plan, state, reason; oldest first.

    Raises:
        PipelineError: The stream was never pushed.
    """
    log = journal(tables, stream)
    if log.state() is None:
        raise PipelineError(f"{stream}: nothing was ever pushed, so there is no journal")
    with duck.connect() as connection:
        log.duckdb_view(connection, "journal")
        return connection.execute(
            'SELECT recorded_at, field, "before", "after", rule, plan_id, state, reason '
            "FROM journal WHERE record_id = ? ORDER BY recorded_at, field",
            [record_id],
        ).fetchall()
