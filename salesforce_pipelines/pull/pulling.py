"""Pulling one sObject into its change log: first in full, then only what changed."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.config.models import Pull, Scope
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.describe import SObjectDescribe, arrow_schema, describe
from salesforce_pipelines.org.errors import Reaction, SalesforceError, reaction
from salesforce_pipelines.org.reading import (
    BulkPosition,
    JobFailedError,
    JobTimeoutError,
    Reading,
    ResultsGoneError,
    RowsGoneError,
    UnsoundResultsError,
    forget_results,
)
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.slices import Slice, SlicePosition, read_in_slices, resume_in_slices
from salesforce_pipelines.pull import record_states
from salesforce_pipelines.pull.drift import Fields, configured, fields_to_read
from salesforce_pipelines.pull.held_rows import chunks, compare, with_held
from salesforce_pipelines.pull.scope import can_be_negated, condition_of, validate
from salesforce_pipelines.pull.window import Window, next_window
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.columns import conformed
from salesforce_pipelines.store.tables import ChangeLog, StagedBatch

_BATCH = 20_000
_BINNED = pa.array(["deleted", "merged"])
Progress = Callable[[int, int], None]
"""Told the rows landed so far and the rows expected."""


@dataclass(frozen=True)
class Wanted:
    """What is to be pulled.

    Attributes:
        sobject: The sObject.
        fields: The configured fields.
        every_field: Whether every other field that the org shows is wanted too.
        scope: Which records; None for all.
        full: Whether to pull everything though only changes were needed.
    """

    sobject: str
    fields: Sequence[str]
    every_field: bool = False
    scope: Scope | None = None
    full: bool = False


@dataclass
class PullReport:
    """What a pull did. Counts are rows.

    Attributes:
        unchanged: Read again, and already held with the same content.
        purged: Held, and the org no longer has them.
        left_scope: Held, and no longer within the configured scope.
        resumed: Whether an interrupted pull was gone on with.
        api_calls: Of this process; those of an interrupted one are not known any more.
    """

    sobject: str
    full: bool
    window: Window
    fields: Fields
    channel: str = ""
    read: int = 0
    added: int = 0
    changed: int = 0
    deleted: int = 0
    merged: int = 0
    converted: int = 0
    unchanged: int = 0
    purged: int = 0
    left_scope: int = 0
    bytes_read: int = 0
    api_calls: int = 0
    resumed: bool = False
    drift_is_new: bool = False
    scope: str = ""
    org_time: datetime | None = None
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def landed(self) -> int:
        """Rows that the table took in."""
        return (
            self.added + self.changed + self.deleted + self.merged + self.purged + self.left_scope
        )


class OtherOrgError(PipelineError):
    """A table holds another org's records: nothing may go on with them."""


def watermark_of(log: ChangeLog) -> datetime | None:
    """How far the table has followed the org; None before the first pull succeeded."""
    state = log.state()
    return None if state is None else datetime.fromisoformat(state.metadata["watermark"])


def refuse_another_org(session: OrgSession, log: ChangeLog, known: Mapping[str, Any]) -> None:
    """Make sure that the session is with the org that a table was pulled from.

    Args:
        session: With a token: it was asked something before.
        log: The table.
        known: Its metadata.

    Raises:
        OtherOrgError: It is another org.
    """
    if known["org"] != session.org_id:
        raise OtherOrgError(
            f"{log.name}: the table holds records of org {known['org']}, and "
            f"{session.login_url} is org {session.org_id}. Give each org a storage of its own in "
            "pipelines.yaml."
        )


def pull(
    session: OrgSession,
    log: ChangeLog,
    wanted: Wanted,
    settings: Pull,
    progress: Progress = lambda _rows, _expected: None,
) -> PullReport:
    """Bring a table up to the org, in one commit that also holds the new watermark.

    The first pull is full, and so is one for which fields were added or the scope was changed. A
    pull that was cut goes on after the last page it had checkpointed, where the org still has the
    results. Rows that were deleted, merged or purged in the org stay, with their state.

    Raises:
        PipelineError: The org refused, is unreachable, or lacks a field; the table is as before.
    """
    return _Pulling(session, log, wanted, settings, progress).run()


class _Pulling:
    def __init__(
        self,
        session: OrgSession,
        log: ChangeLog,
        wanted: Wanted,
        settings: Pull,
        progress: Progress,
    ) -> None:
        self._session = session
        self._log = log
        self._wanted = wanted
        self._settings = settings
        self._progress = progress
        self._state = log.state()
        self._known: dict[str, Any] = {} if self._state is None else self._state.metadata
        self._table = None if self._state is None else log.schema()

    def run(self) -> PullReport:
        calls, size = self._session.api_calls, self._session.bytes_read
        described = describe(self._session, self._wanted.sobject)
        if self._state is not None:
            refuse_another_org(self._session, self._log, self._known)
        condition = self._condition()
        try:
            report = self._pull(described, condition)
        except (ResultsGoneError, RowsGoneError):
            # Of the job that was gone on with, or of what was just read: once more, from anew.
            self._discard_staged()
            report = self._pull(described, condition)
        except SalesforceError as error:
            if reaction(error.error, error.status) is Reaction.RESTART:
                # The org lost its place in the results.
                self._discard_staged()
                report = self._pull(described, condition)
            elif error.code == "INVALID_FIELD":
                report = self._pull_what_is_shown_now(condition)
            else:
                raise
        except JobFailedError as error:
            self._discard_staged(only_without_rows=True)
            if not error.names_unknown_field:
                raise
            report = self._pull_what_is_shown_now(condition)
        except JobTimeoutError as error:
            if error.aborted:
                self._discard_staged(only_without_rows=True)
            raise
        except UnsoundResultsError:
            # Going on with these results would fail in the same way, again and again.
            self._discard_staged()
            raise
        report.api_calls = self._session.api_calls - calls
        report.bytes_read = self._session.bytes_read - size
        return report

    def _pull_what_is_shown_now(self, condition: str) -> PullReport:
        """Once more: a field was hidden or deleted after the describe."""
        if condition:
            validate(self._session, self._wanted.sobject, condition)
        return self._pull(describe(self._session, self._wanted.sobject), condition)

    def _discard_staged(self, *, only_without_rows: bool = False) -> None:
        staged = self._log.staged()
        if staged is not None:
            with staged:
                if not (only_without_rows and staged.metadata["counts"]["read"]):
                    staged.discard()

    def _condition(self) -> str:
        condition = condition_of(self._session, self._wanted.sobject, self._wanted.scope)
        if condition and condition != self._known.get("scope"):
            validate(self._session, self._wanted.sobject, condition)
        return condition

    def _pull(self, described: SObjectDescribe, condition: str) -> PullReport:
        wanted = self._wanted
        in_full = wanted.full or self._is_full_pull_waiting(condition)
        followed = self._known.get("fields", ())
        fields = fields_to_read(
            described,
            configured(described, wanted.fields, wanted.every_field, self._columns()),
            self._table,
            followed,
            full=in_full,
        )
        full = bool(
            in_full
            or fields.added
            or condition != self._known.get("scope", "")
            or self._is_without_states()
        )
        now = self._session.server_time()
        window = next_window(
            None if full or self._state is None else watermark_of(self._log),
            now,
            lag=self._settings.lag,
            overlap=self._settings.overlap,
        )
        report = PullReport(wanted.sobject, full, window, fields, scope=condition, org_time=now)
        drift = fields.told()
        report.drift_is_new = bool(drift) and drift != self._known.get("drift", {})
        staged, reading = self._begin(report, condition)
        with staged:
            self._land(staged, reading, report)
            if full:
                self._keep_unseen(staged, report, condition)
            elif condition:
                self._mark_out_of_scope(staged, report, condition)
            staged.commit(self._metadata(report))
        if job_id := report.told.get("job_id"):
            forget_results(self._session, wanted.sobject, job_id)
        return report

    def _is_full_pull_waiting(self, condition: str) -> bool:
        """Whether a full pull was cut, which has to go on though only changes are wanted now."""
        staged = self._log.staged()
        if staged is None:
            return False
        with staged:
            notes = staged.metadata
            known = (notes.get("scope"), notes.get("org"))
            return staged.replaces and known == (condition, self._session.org_id)

    def _columns(self) -> list[str]:
        """The fields that the table has columns of."""
        names = [] if self._table is None else self._table.names
        return [name for name in names if name != record_states.COLUMN]

    def _is_without_states(self) -> bool:
        """Whether the table was pulled before states were kept."""
        return self._table is not None and record_states.COLUMN not in self._table.names

    # Beginning, or going on

    def _begin(self, report: PullReport, condition: str) -> tuple[StagedBatch, Reading]:
        names = [one.name for one in report.fields.read]
        staged = self._log.staged()
        if staged is not None:
            reading = self._resumed(staged, report, names, condition)
            if reading is not None:
                return staged, reading
        reading = read_in_slices(
            self._session,
            report.sobject,
            report.fields.read,
            _span(report.window),
            where=condition,
            bulk_threshold=self._settings.bulk_threshold,
        )
        report.channel = reading.channel
        schema = record_states.schema_with_state(reading.schema)
        held = self._held_columns(report)
        columns = pa.schema([*schema, *(self._column(name) for name in held)])
        return self._log.stage(columns, replaces=report.full), reading

    def _resumed(
        self, staged: StagedBatch, report: PullReport, names: list[str], condition: str
    ) -> Reading | None:
        """The rest of an interrupted pull's reading; None if it is another pull's."""
        notes = staged.metadata
        fits = (
            notes
            and (notes["fields"], notes["scope"], notes["org"])
            == (names, condition, self._session.org_id)
            and notes.get("types") == _types(report)
            and "slice" in notes["position"]
            and staged.replaces == report.full
        )
        if not fits:
            staged.discard()
            return None
        start = SlicePosition(**notes["position"])
        try:
            reading = resume_in_slices(
                self._session,
                report.sobject,
                report.fields.read,
                start,
                where=condition,
                bulk_threshold=self._settings.bulk_threshold,
            )
        except ResultsGoneError:
            staged.discard()
            return None
        # What it read fits the window it had, whenever it comes to its end.
        began, end = notes["window"]
        report.window = Window(
            None if began is None else datetime.fromisoformat(began), datetime.fromisoformat(end)
        )
        for name, count in notes["counts"].items():
            setattr(report, name, count)
        report.resumed, report.channel = True, notes["channel"]
        report.told["job_id"] = start.job_id
        return reading

    def _checkpoint(self, staged: StagedBatch, report: PullReport, after: BulkPosition) -> None:
        if after.job_id:
            # Of several slices the first may have come by REST.
            report.channel = "Bulk API 2.0"
        window = report.window
        start = window.start.isoformat() if window.start else None
        counts = ("read", "added", "changed", "deleted", "merged", "converted", "unchanged")
        staged.checkpoint(
            {
                "fields": [one.name for one in report.fields.read],
                "types": _types(report),
                "scope": report.scope,
                "org": self._session.org_id,
                "window": [start, window.end.isoformat()],
                "position": vars(after),
                "channel": report.channel,
                "counts": {name: getattr(report, name) for name in counts},
            }
        )

    # Landing

    def _land(self, staged: StagedBatch, reading: Reading, report: PullReport) -> None:
        with closing(reading.pages) as pages:
            land = self._landing(staged, reading.schema, report)
            for page in pages:
                for batch in page.batches if self._state is None else chunks(page.batches):
                    report.read += batch.num_rows
                    land(record_states.with_state(batch))
                    self._progress(report.read, reading.expected_rows)
                if page.after is not None:
                    self._checkpoint(staged, report, page.after)
                    report.told["job_id"] = page.after.job_id

    def _landing(
        self, staged: StagedBatch, schema: pa.Schema, report: PullReport
    ) -> Callable[[pa.RecordBatch], None]:
        """What takes rows of the reading into the table."""
        if self._state is None:

            def all_new(rows: pa.RecordBatch) -> None:
                _count(rows, pa.repeat(pa.scalar(True), rows.num_rows), report)
                staged.write(rows)

            return all_new
        start, kept = report.window.start, self._held_columns(report)
        columns = record_states.schema_with_state(schema).names
        landed = pa.schema([staged.schema.field(name) for name in columns])
        keep = None if start is None else pc.field("SystemModstamp") >= pa.scalar(start)

        def compared(rows: pa.RecordBatch) -> None:
            rows = conformed(rows, landed)
            found = compare(self._log, rows, keep)
            report.unchanged += _sum(found.same)
            others = pc.invert(found.same)
            fresh = rows.filter(others)
            _count(fresh, _are_new(rows, found.known, start).filter(others), report)
            if staged.replaces:
                batches = pc.if_else(found.same, found.batches, None)
                staged.write(with_held(self._log, rows, kept), batches)
            elif fresh.num_rows:
                staged.write(with_held(self._log, fresh, kept))

        return compared

    def _held_columns(self, report: PullReport) -> list[str]:
        """Columns whose values stay though the org no longer shows them, or shows another type."""
        if self._table is None:
            return []
        left_out = {*report.fields.missing, *report.fields.retyped}
        return [name for name in self._table.names if name in left_out]

    def _column(self, name: str) -> pa.Field:
        if self._table is None:
            raise ValueError("only a table that is there has columns to keep")
        return self._table.field(name)

    # What the org no longer tells of

    def _keep_unseen(self, staged: StagedBatch, report: PullReport, condition: str) -> None:
        """Keep what the table held and a full reading did not bring, with its state."""
        with duck.connect(duck.memory_for(len(staged.schema), 256)) as connection:
            if condition:
                self._note_ids(connection, "org", report)
            for rows, batches in staged.unseen():
                if record_states.COLUMN not in (self._table or pa.schema([])).names:
                    rows = _stated(rows)
                there = pa.repeat(pa.scalar(False), rows.num_rows)
                if condition:
                    there = self._in_the_org(connection, rows)
                    # Ids of the recycle bin are told too; what we hold as deleted or merged stays.
                    binned = pc.is_in(rows.column(record_states.COLUMN), _BINNED)
                    left = pc.and_not(there, binned)
                    outside = rows.filter(left)
                    report.left_scope += _others(outside, "out_of_scope")
                    marked = record_states.out_of_scope(outside)
                    _keep(staged, outside, marked, batches.filter(left))
                    kept = pc.and_(there, binned)
                    staged.write(rows.filter(kept), batches.filter(kept))
                gone = pc.invert(there)
                lost = rows.filter(gone)
                report.purged += _others(lost, "purged", "merged")
                _keep(staged, lost, record_states.purged(lost), batches.filter(gone))

    def _note_ids(
        self, connection: duckdb.DuckDBPyConnection, name: str, report: PullReport, where: str = ""
    ) -> None:
        """A table of the Ids that the org has of the pull's stretch of time."""
        reading = read_in_slices(
            self._session,
            report.sobject,
            [one for one in report.fields.read if one.name == "Id"],
            _span(report.window),
            where=where,
            bulk_threshold=self._settings.bulk_threshold,
        )
        job_id = ""
        connection.execute(f"CREATE TEMP TABLE {name} (Id VARCHAR)")
        with closing(reading.pages) as pages:
            for page in pages:
                for batch in page.batches:
                    connection.register("batch", pa.Table.from_batches([batch]))
                    connection.execute(f"INSERT INTO {name} SELECT Id FROM batch")
                    connection.unregister("batch")
                job_id = page.after.job_id if page.after else ""
        if job_id:
            forget_results(self._session, report.sobject, job_id)

    @staticmethod
    def _in_the_org(connection: duckdb.DuckDBPyConnection, rows: pa.RecordBatch) -> pa.Array:
        connection.register("batch", pa.Table.from_batches([rows.select(["Id"])]))
        found = connection.sql("SELECT Id FROM batch SEMI JOIN org USING (Id)").to_arrow_table()
        connection.unregister("batch")
        return pc.is_in(rows.column("Id"), found.column("Id").combine_chunks())

    def _mark_out_of_scope(self, staged: StagedBatch, report: PullReport, condition: str) -> None:
        """Mark what changed within the window so that it no longer fits the condition."""
        columns = ", ".join(duck.quoted(name) for name in staged.schema.names)
        with duck.connect(duck.memory_for(len(staged.schema), 256)) as connection:
            self._note_outside(connection, report, condition)
            if not connection.sql("FROM outside LIMIT 1").fetchone():
                return
            self._log.duckdb_view(connection, "pulled")
            held = connection.execute(
                f"SELECT {columns} FROM pulled SEMI JOIN outside USING (Id) "
                f"WHERE {record_states.COLUMN} = '{record_states.LIVE}'"
            )
            for batch in held.to_arrow_reader(_BATCH):
                report.left_scope += batch.num_rows
                staged.write(record_states.out_of_scope(conformed(batch, staged.schema)))

    def _note_outside(
        self, connection: duckdb.DuckDBPyConnection, report: PullReport, condition: str
    ) -> None:
        """`outside`: what of the window does not fit the condition."""
        if can_be_negated(condition):
            self._note_ids(connection, "outside", report, f"NOT ({condition})")
            return
        # In this order: what becomes visible in between and fits is not taken for outside.
        self._note_ids(connection, "everything", report)
        if not connection.sql("FROM everything LIMIT 1").fetchone():
            connection.execute("CREATE TEMP VIEW outside AS FROM everything")
            return
        self._note_ids(connection, "inside", report, condition)
        connection.execute("CREATE TEMP VIEW outside AS FROM everything EXCEPT FROM inside")

    def _metadata(self, report: PullReport) -> dict[str, Any]:
        return {
            "sobject": report.sobject,
            "watermark": report.window.end.isoformat(),
            # A field that is left out for a while and comes back needs a full pull: what changed
            # meanwhile was pulled without it.
            "fields": [one.name for one in report.fields.read],
            # What a refresh of formulas has to read; nothing is scheduled where it is empty.
            "calculated": [one.name for one in report.fields.read if one.calculated],
            "drift": report.fields.told(),
            "scope": report.scope,
            "org": self._session.org_id,
        }


def _types(report: PullReport) -> list[str]:
    return [str(field.type) for field in arrow_schema(report.fields.read)]


def _span(window: Window) -> Slice:
    """A full reading is cut by the one stamp that never moves."""
    if window.start is None:
        return Slice("CreatedDate")
    return Slice("SystemModstamp", window.start, window.end)


def _are_new(rows: pa.RecordBatch, known: pa.Array, start: datetime | None) -> pa.Array:
    """Whether rows were never in the table; what it held before the window was not looked at."""
    new = pc.invert(known)
    if start is not None and "CreatedDate" in rows.schema.names:
        new = pc.and_(new, pc.greater_equal(rows.column("CreatedDate"), pa.scalar(start)))
    return new


def _count(rows: pa.RecordBatch, new: pa.Array, report: PullReport) -> None:
    states = rows.column(record_states.COLUMN)
    live = pc.equal(states, record_states.LIVE)
    report.deleted += _sum(pc.equal(states, "deleted"))
    report.merged += _sum(pc.equal(states, "merged"))
    report.added += _sum(pc.and_(live, new))
    changed = pc.and_not(live, new)
    report.changed += _sum(changed)
    if "IsConverted" in rows.schema.names:
        converted = pc.fill_null(rows.column("IsConverted"), False)
        report.converted += _sum(pc.and_(changed, converted))


def _keep(
    staged: StagedBatch, before: pa.RecordBatch, after: pa.RecordBatch, batches: pa.Int64Array
) -> None:
    """Keep rows that a full reading did not bring; those whose state was so count as unchanged."""
    states = [rows.column(record_states.COLUMN) for rows in (before, after)]
    staged.write(after, pc.if_else(pc.equal(*states), batches, None))


def _stated(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of a table that was pulled before states were kept."""
    at = rows.schema.get_field_index(record_states.COLUMN)
    return record_states.with_state(rows.remove_column(at)) if at >= 0 else rows


def _others(rows: pa.RecordBatch, *states: str) -> int:
    """Rows that are in none of these states yet."""
    there = _sum(pc.is_in(rows.column(record_states.COLUMN), pa.array(states)))
    return int(rows.num_rows) - there


def _sum(flags: pa.Array) -> int:
    return int(pc.sum(flags).as_py() or 0)
