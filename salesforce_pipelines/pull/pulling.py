"""Pulling one sObject into its change log: first in full, then only what changed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.config.models import Pull
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.describe import describe
from salesforce_pipelines.org.reading import Reading, read
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull.window import Window, next_window
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.tables import ChangeLog

_BATCH = 20_000


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
    if state is not None and state.metadata["org"] != session.org_id:
        raise PipelineError(
            f"{log.name}: the table holds records of org {state.metadata['org']}, and "
            f"{session.login_url} is org {session.org_id}. Give each org a storage of its own in "
            "pipelines.yaml."
        )
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
        # A field that is left out for a while and comes back needs a full pull: what changed
        # meanwhile was pulled without it.
        "fields": reading.schema.names,
        "org": session.org_id,
    }
    if full:
        rows = _reader(reading, _everything(reading, log, report))
        log.replace(rows, metadata)
    else:
        rows = _reader(reading, _only_changed(reading, log, window, report))
        log.append(rows, metadata)
    report.api_calls = session.api_calls - calls
    return report


def _reader(reading: Reading, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(reading.schema, batches)


def _everything(reading: Reading, log: ChangeLog, report: PullReport) -> Iterator[pa.RecordBatch]:
    """The rows of a full reading, then those of before that the org no longer tells of.

    Salesforce forgets a deleted record after some weeks; the table keeps it, as deleted.
    """
    first = log.state() is None
    with duck.connect() as connection:
        connection.execute("CREATE TEMP TABLE seen (Id VARCHAR)")
        for batch in reading.batches:
            report.read += batch.num_rows
            deleted = _sum(_flags(batch))
            report.deleted += deleted
            report.added += batch.num_rows - deleted
            if not first:
                connection.register("batch", pa.Table.from_batches([batch.select(["Id"])]))
                connection.execute("INSERT INTO seen SELECT Id FROM batch")
                connection.unregister("batch")
            yield batch
        if first:
            return
        log.duckdb_view(connection, "held")
        known = set(log.schema().names)
        columns = ", ".join(_kept(name, known) for name in reading.schema.names)
        forgotten = connection.sql(f"SELECT {columns} FROM held ANTI JOIN seen USING (Id)")
        for batch in forgotten.to_arrow_reader(_BATCH):
            report.deleted += batch.num_rows
            yield from pa.Table.from_batches([batch]).cast(reading.schema).to_batches()


def _kept(name: str, known: set[str]) -> str:
    if name == "IsDeleted":
        return "true AS IsDeleted"
    return f'"{name}"' if name in known else f'NULL AS "{name}"'


def _only_changed(
    reading: Reading, log: ChangeLog, window: Window, report: PullReport
) -> Iterator[pa.RecordBatch]:
    """The rows of the reading that the table does not hold with the same content.

    The stamp alone does not tell: two changes within one second share it.
    """
    start = window.start
    if start is None:
        raise ValueError("an incremental window has a start")
    columns = ", ".join(f'"{name}"' for name in reading.schema.names)
    with duck.connect() as connection:
        log.duckdb_view(connection, "pulled", reading.schema.names)
        connection.execute(
            f"CREATE TEMP TABLE held AS SELECT Id, hash(row({columns})) AS content FROM pulled "
            "WHERE SystemModstamp >= ?",
            [start],
        )
        known = connection.sql("SELECT Id FROM held").to_arrow_table().column("Id")
        for batch in reading.batches:
            report.read += batch.num_rows
            connection.register("batch", pa.Table.from_batches([batch]))
            fresh = connection.sql(
                f"SELECT * FROM batch WHERE (Id, hash(row({columns}))) NOT IN (FROM held)"
            ).to_arrow_table()
            connection.unregister("batch")
            report.unchanged += batch.num_rows - fresh.num_rows
            _count(fresh, known, start, report)
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
