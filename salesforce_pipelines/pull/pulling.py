"""Pulling one sObject into its change log: first in full, then only what changed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.config.models import Pull
from salesforce_pipelines.org.describe import describe
from salesforce_pipelines.org.reading import Reading, read
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull.window import Window, next_window
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.tables import ChangeLog


@dataclass
class PullReport:
    """What a pull did. Counts are rows; `unchanged` were read again and already held."""

    sobject: str
    full: bool
    window: Window
    channel: str = ""
    read: int = 0
    added: int = 0
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0
    api_calls: int = 0

    @property
    def landed(self) -> int:
        """Rows that the table took in."""
        return self.added + self.changed + self.deleted


def watermark_of(log: ChangeLog) -> datetime | None:
    """How far the table has followed the org; None before the first pull succeeded."""
    state = log.state()
    return None if state is None else datetime.fromisoformat(state.metadata["watermark"])


def pull(
    session: OrgSession,
    log: ChangeLog,
    sobject: str,
    fields: Sequence[str],
    settings: Pull,
    progress: Callable[[int], None] = lambda _rows: None,
) -> PullReport:
    """Bring a table up to the org, in one commit that also holds the new watermark.

    The first pull is full, and so is one for which fields were added to the configuration.
    Rows that were deleted or merged in the org stay, with IsDeleted true.

    Raises:
        PipelineError: The org refused, is unreachable, or lacks a field; the table is as before.
    """
    calls = session.api_calls
    found = describe(session, sobject).require(fields, f"objects.{sobject} in pipelines.yaml")
    state = log.state()
    known = set() if state is None else set(state.metadata["fields"])
    full = not known.issuperset(field.name for field in found)
    window = next_window(
        None if full else watermark_of(log),
        session.server_time(),
        lag=settings.lag,
        overlap=settings.overlap,
    )
    reading = read(
        session,
        sobject,
        found,
        where=window.where(),
        bulk_threshold=settings.bulk_threshold,
        progress=progress,
    )
    report = PullReport(sobject, full, window, reading.channel)
    metadata = {
        "sobject": sobject,
        "watermark": window.end.isoformat(),
        "fields": sorted(known.union(reading.schema.names)) if not full else reading.schema.names,
    }
    if full:
        rows = _reader(reading, _counted(reading, report))
        log.replace(rows, metadata)
    else:
        rows = _reader(reading, _only_changed(reading, log, window, report))
        log.append(rows, metadata)
    report.api_calls = session.api_calls - calls
    return report


def _reader(reading: Reading, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(reading.schema, batches)


def _counted(reading: Reading, report: PullReport) -> Iterator[pa.RecordBatch]:
    for batch in reading.batches:
        report.read += batch.num_rows
        deleted = _sum(_flags(batch))
        report.deleted += deleted
        report.added += batch.num_rows - deleted
        yield batch


def _only_changed(
    reading: Reading, log: ChangeLog, window: Window, report: PullReport
) -> Iterator[pa.RecordBatch]:
    """The rows of the reading that the table does not hold with the same stamp."""
    start = window.start
    if start is None:
        raise ValueError("an incremental window has a start")
    held = log.current(["Id", "SystemModstamp"], where=f"SystemModstamp >= '{start.isoformat()}'")
    with duck.connect() as connection:
        known = held.read_all()
        connection.register("held", known)
        for batch in reading.batches:
            report.read += batch.num_rows
            connection.register("batch", pa.Table.from_batches([batch]))
            fresh = connection.sql(
                "SELECT batch.* FROM batch ANTI JOIN held USING (Id, SystemModstamp)"
            ).to_arrow_table()
            connection.unregister("batch")
            report.unchanged += batch.num_rows - fresh.num_rows
            _count(fresh, known.column("Id"), start, report)
            yield from fresh.cast(reading.schema).to_batches()


def _count(fresh: pa.Table, held: pa.ChunkedArray, start: datetime, report: PullReport) -> None:
    """Rows created within the window and not held before are added; others changed or deleted."""
    created = pc.greater_equal(fresh.column("CreatedDate"), pa.scalar(start))
    new = pc.and_not(created, pc.is_in(fresh.column("Id"), held))
    deleted = _flags(fresh)
    report.deleted += _sum(deleted)
    report.added += _sum(pc.and_not(new, deleted))
    report.changed += _sum(pc.invert(pc.or_(new, deleted)))


def _flags(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """IsDeleted of each row; a User is never deleted and has no such field."""
    if "IsDeleted" in rows.schema.names:
        return rows.column("IsDeleted")
    return pa.repeat(pa.scalar(False), rows.num_rows)


def _sum(flags: pa.Array) -> int:
    return int(pc.sum(flags).as_py() or 0)
