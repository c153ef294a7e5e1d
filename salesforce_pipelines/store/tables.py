"""Versioned tables of keyed rows, kept as an append-only change log in Delta Lake.

Every batch adds its rows in one commit, together with the metadata the caller gives (a watermark,
the positions of its inputs), so that data and metadata are never apart. Nothing is rewritten: the
current view is computed while reading. What changed since a batch is found by file statistics, so
that its cost follows the change. When the changes outgrow the base they are folded into a new one;
readers keep the version they opened.

One writer per table at a time is assumed (a Dagster pool holds it to that); a second one is refused
at its commit, before anything of it is visible. A batch that is written again after a crash changes
nothing in the current view: rows replace rows of the same key. Object stores must support
conditional writes, as those of Amazon, Google and Microsoft do. The files are ordinary Delta,
readable by other programs; these must not rewrite them (no OPTIMIZE, no MERGE).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.batch_writer import BatchWriter, DataFile
from salesforce_pipelines.store.columns import (
    BATCH,
    CHANGE,
    conformed,
    merged_schema,
    stored_schema,
    with_internal,
)
from salesforce_pipelines.store.delta_log import (
    RETENTION_DAYS,
    ConcurrentWriteError,
    DeltaLog,
    OpenedVersion,
    State,
)
from salesforce_pipelines.store.row_history import RowVersion, row_versions
from salesforce_pipelines.store.snapshot import (
    BASE,
    DELETE,
    REMOVED,
    SCAN_ROWS,
    UPSERT,
    Snapshot,
)
from salesforce_pipelines.store.staging import Journal, Staged, noted
from salesforce_pipelines.store.written_keys import WrittenKeys, keys_of

_NAME = re.compile(r"[A-Za-z0-9][\w.=-]*(/[A-Za-z0-9][\w.=-]*)*", re.ASCII)
_FOLD_SHARE = 0.2
_FOLD_ROWS = 10_000
_CHANGE_FILES = 32
_KEYS_AT_ONCE = 65_536


class Tables:
    """All tables below one folder or object-store URL.

    Args:
        root: a folder, or a URL such as ``s3://bucket/prefix``.
        storage_options: of delta-rs for that URL (credentials, region, endpoint).
    """

    def __init__(self, root: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        self._root = str(root).rstrip("/") if "://" in str(root) else str(Path(root).absolute())
        self._storage_options = dict(storage_options or {})

    def log(self, name: str, *, key: str = "Id") -> "ChangeLog":
        """The change log of this name, whether written yet or not.

        Args:
            name: such as ``pulled/contacts``; the place below the root.
            key: the column whose value tells rows apart.

        Raises:
            PipelineError: the name cannot be a place below the root.
        """
        if not _NAME.fullmatch(name):
            raise PipelineError(
                f"Table name {name!r} is not usable. Use letters, digits, _ . = - and / between "
                "parts that begin with a letter or digit."
            )
        return ChangeLog(DeltaLog(self._root, name, key, self._storage_options), name, key)


class ChangeLog:
    """A table of keyed rows that remembers which batch brought each row."""

    def __init__(self, delta: DeltaLog, name: str, key: str, *, version: int | None = None) -> None:
        self.name = name
        self.key = key
        self._delta = delta
        self._version = version

    def state(self) -> State | None:
        """The newest batch and its metadata; None when nothing was ever committed."""
        opened = self._delta.open(self._version)
        return None if opened is None else opened.state

    def schema(self) -> pa.Schema:
        """The columns, without the internal ones."""
        return self._readable().schema

    def count(self) -> int:
        """The number of rows of the current view; reads no more than the keys."""
        return self._readable().count()

    def current(
        self, columns: Sequence[str] | None = None, *, where: str | None = None
    ) -> pa.RecordBatchReader:
        """The newest row of each key, deleted ones left out, in no particular order.

        Args:
            columns: all by default.
            where: a condition on the columns of the table, in DuckDB's SQL.

        Raises:
            PipelineError: the table was never written, lacks a column, or the condition is wrong.
        """
        snapshot = self._readable()
        schema = snapshot.projected(columns)
        rows = snapshot.current(columns)
        if where is not None:
            rows = self._filtered(snapshot, schema, where)
        return pa.RecordBatchReader.from_batches(schema, rows)

    def changed_since(
        self, batch: int, columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """The newest row of each key that changed after a batch, deletions too.

        Rows carry two more columns: ``_change`` (``upsert`` or ``delete``; a deleted row has its
        key alone) and ``_batch``, the batch that brought it. A deletion is told even if the key was
        never there. All that ever changed comes with ``batch=0``.

        Raises:
            PipelineError: the table was never written or lacks a column.
        """
        snapshot = self._readable()
        schema = snapshot.changed_schema(columns)
        return pa.RecordBatchReader.from_batches(schema, snapshot.changed_since(batch, columns))

    def held(
        self, keys: pa.Array, columns: Sequence[str], keep: pc.Expression | None = None
    ) -> pa.Table:
        """The rows of the current view that have one of these keys, with ``_batch`` at the end.

        Args:
            keys: the closer together they are, the less has to be read.
            columns: of the table; the key among them.
            keep: a further condition on columns of the table.

        Raises:
            PipelineError: the table was never written or lacks a column.
        """
        snapshot = self._readable()
        schema = pa.schema(
            [*snapshot.projected(columns), with_internal(pa.schema([])).field(BATCH)]
        )
        return pa.Table.from_batches(snapshot.held(keys, schema.names, keep), schema)

    def as_of(self, version: int) -> "ChangeLog":
        """The table as it was at a version, to read only; kept for seven days.

        Raises:
            PipelineError: there is no such version, or it was vacuumed away.
        """
        pinned = ChangeLog(self._delta, self.name, self.key, version=version)
        pinned._readable().check_complete()
        return pinned

    def batches(self) -> list[State]:
        """The state of every batch that is still known, newest first; of 30 days at least."""
        return list(self._delta.states())

    def versions(self, key: str) -> list[RowVersion]:
        """What is still known of one row, oldest first: as each batch brought it."""
        return row_versions(self._delta, self.key, key)

    def duckdb_view(
        self,
        connection: duckdb.DuckDBPyConnection,
        view: str,
        columns: Sequence[str] | None = None,
    ) -> None:
        """Make the current view a temporary view of a DuckDB connection, to join it in SQL.

        The view keeps the version of this moment; DuckDB reads only the columns a query uses.

        Raises:
            PipelineError: the table was never written or lacks a column.
        """
        snapshot = self._readable()
        _register_view(connection, snapshot, self.key, view, snapshot.projected(columns).names)

    def replace(
        self,
        rows: pa.RecordBatchReader | pa.Table,
        metadata: Mapping[str, Any],
        *,
        after_batch: int | None = None,
    ) -> State:
        """A new base of these rows, in one commit; the columns become those of the rows.

        Keys that were there and are not among the rows count as deleted by this batch. When a key
        comes twice its last row wins.

        Args:
            rows: streamed; memory does not grow with their number.
            metadata: JSON, committed with the rows.
            after_batch: what the caller knows as the newest batch (0: none). Another one is an
                error: somebody wrote since.

        Raises:
            PipelineError: a row has no key, or a column cannot be stored.
            ConcurrentWriteError: somebody else wrote meanwhile.
        """
        opened = self._writable(after_batch)
        schema = stored_schema(self.name, rows.schema, self.key)
        batch = opened.state.batch + 1 if opened else 1
        with self._delta.writer(schema) as writer:
            keys = self._written_keys(writer)
            upserted = self._write_rows(writer, keys, rows, schema, batch, BASE)
            upserted -= _drop_repeated(writer, keys)
            deleted = self._write_missing(writer, keys, schema, batch, opened) if opened else 0
            files = writer.finish()
        state = State.new(batch, metadata, upserted, deleted)
        return self._delta.commit(opened, state, schema, files, overwrite=True).state

    def append(
        self,
        rows: pa.RecordBatchReader | pa.Table | None,
        metadata: Mapping[str, Any],
        *,
        deleted_keys: pa.Array | None = None,
        after_batch: int | None = None,
    ) -> State:
        """One batch of changed rows and deletions, in one commit, even when both are empty.

        When a key comes twice its last row wins; a key both among the rows and deleted is deleted.
        New columns are added (null in older rows); a column that the rows lack is null in them.
        Creates the table when absent.

        Args:
            rows: streamed; None for none, once the table exists.
            metadata: JSON, committed with the rows.
            deleted_keys: keys of rows that no longer exist.
            after_batch: what the caller knows as the newest batch (0: none). Another one is an
                error: somebody wrote since.

        Raises:
            PipelineError: a row has no key, a column changed its type or cannot be stored.
            ConcurrentWriteError: somebody else wrote meanwhile.
        """
        opened = self._writable(after_batch)
        schema = self._grown_schema(opened, rows)
        batch = opened.state.batch + 1 if opened else 1
        upsert, delete = (UPSERT, DELETE) if opened and opened.snapshot.files else (BASE, REMOVED)
        with self._delta.writer(schema) as writer:
            keys = self._written_keys(writer)
            upserted = self._write_rows(writer, keys, rows, schema, batch, upsert)
            gone = self._deleted_rows(schema, deleted_keys)
            deleted = self._write_rows(writer, keys, gone, schema, batch, delete)
            upserted -= _drop_repeated(writer, keys)
            files = writer.finish()
        state = State.new(batch, metadata, upserted, deleted)
        return self._folded_if_outgrown(self._delta.commit(opened, state, schema, files)).state

    def stage(
        self, schema: pa.Schema, *, replaces: bool, after_batch: int | None = None
    ) -> "StagedBatch":
        """Begin a batch that a later process may go on with; an older one is given up.

        Args:
            schema: of the rows to come.
            replaces: whether the rows become a new base, as by `replace`, or are added to what is
                there, as by `append`.
            after_batch: what the caller knows as the newest batch (0: none). Another one is an
                error: somebody wrote since.

        Raises:
            PipelineError: a column changed its type or cannot be stored.
            ConcurrentWriteError: somebody else wrote meanwhile.
        """
        opened = self._writable(after_batch)
        stored = stored_schema(self.name, schema, self.key)
        if not replaces:
            known = opened.snapshot.schema if opened else pa.schema([])
            stored = merged_schema(self.name, known, stored)
        journal = self._delta.journal()
        newest = opened.state.batch if opened else 0
        journal.give_up(newest)
        return StagedBatch(self, opened, journal, Staged(replaces, newest, stored, [], 0, None, {}))

    def staged(self) -> "StagedBatch | None":
        """The batch that an interrupted process left, to go on with; None if there is none.

        One that no longer fits the table is given up.
        """
        opened = self._writable()
        journal = self._delta.journal()
        staged = journal.read()
        if staged is None:
            return None
        newest = opened.state.batch if opened else 0
        if staged.after_batch != newest or not journal.is_complete(staged):
            journal.give_up(newest)
            return None
        return StagedBatch(self, opened, journal, staged)

    def compact(self) -> None:
        """Fold all changes into a new base; every row keeps its batch, deletions are kept too.

        Raises:
            ConcurrentWriteError: somebody else wrote meanwhile.
        """
        opened = self._writable()
        if opened and opened.snapshot.change_files:
            self._fold(opened)

    def vacuum(self, keep_days: int = RETENTION_DAYS) -> int:
        """Delete files that no version of the last days needs; returns how many.

        Keep more days than the longest reader runs.

        Raises:
            PipelineError: fewer than one day.
        """
        if keep_days < 1:
            raise PipelineError(f"Table {self.name}: keep at least 1 day of versions.")
        opened = self._writable()
        if opened is None:
            return 0
        vacuum = partial(
            opened.table.vacuum,
            retention_hours=24 * keep_days,
            enforce_retention_duration=False,
            full=True,
        )
        # Delta also tells of files that an earlier vacuum deleted.
        deleted = self._delta.existing(vacuum(dry_run=True))
        if deleted:
            vacuum(dry_run=False, commit_properties=opened.state.commit_properties())
        return len(deleted)

    def _readable(self) -> Snapshot:
        opened = self._delta.open(self._version)
        if opened is None:
            raise PipelineError(
                f"Table {self.name} does not exist yet. Materialize the asset that writes it first."
            )
        return opened.snapshot

    def _writable(self, after_batch: int | None = None) -> OpenedVersion | None:
        if self._version is not None:
            raise PipelineError(
                f"Table {self.name} as of version {self._version} is there to read only."
            )
        opened = self._delta.open()
        newest = opened.state.batch if opened else 0
        if after_batch is not None and newest != after_batch:
            raise self._delta.conflict()
        if opened is None:
            self._delta.refuse_nesting()
        return opened

    def _grown_schema(
        self, opened: OpenedVersion | None, rows: pa.RecordBatchReader | pa.Table | None
    ) -> pa.Schema:
        if rows is not None:
            incoming = stored_schema(self.name, rows.schema, self.key)
            stored = opened.snapshot.schema if opened else pa.schema([])
            return merged_schema(self.name, stored, incoming)
        if opened is not None:
            return opened.snapshot.schema
        raise PipelineError(
            f"Table {self.name} does not exist yet; its first batch must say its columns."
        )

    def _write_rows(
        self,
        writer: BatchWriter,
        keys: WrittenKeys,
        rows: pa.RecordBatchReader | pa.Table | None,
        schema: pa.Schema,
        batch: int,
        change: str,
    ) -> int:
        reader = rows.to_reader(SCAN_ROWS) if isinstance(rows, pa.Table) else rows or ()
        written = 0
        for incoming in reader:
            plain = conformed(incoming, schema)
            keys.add(keys_of(self.name, plain, self.key))
            writer.write(_stamped(plain, pa.repeat(pa.scalar(batch), plain.num_rows), change))
            written += plain.num_rows
        return written

    def _write_missing(
        self,
        writer: BatchWriter,
        keys: WrittenKeys,
        schema: pa.Schema,
        batch: int,
        opened: OpenedVersion,
    ) -> int:
        """Keys gone since the opened version; those gone before keep the batch they went with."""
        known = opened.snapshot.changed_schema([self.key])
        if known.field(self.key).type != schema.field(self.key).type:
            raise PipelineError(
                f"Table {self.name}: the key {self.key} holds {known.field(self.key).type}, the "
                f"new rows have {schema.field(self.key).type}. Give the new table another name."
            )
        rows = opened.snapshot.changed_since(0, [self.key])
        deleted = 0
        for missing in keys.missing(pa.RecordBatchReader.from_batches(known, rows)):
            now = pc.equal(missing.column(CHANGE), UPSERT)
            batches = pc.if_else(now, batch, missing.column(BATCH))
            gone = conformed(missing.select([self.key]), schema)
            writer.write(_stamped(gone, batches, REMOVED))
            deleted += now.true_count
        return deleted

    def _deleted_rows(self, schema: pa.Schema, deleted_keys: pa.Array | None) -> pa.Table:
        key_type = schema.field(self.key).type
        keys = pa.array([], key_type) if deleted_keys is None else deleted_keys
        if len(keys) and keys.type != key_type:
            raise PipelineError(
                f"Table {self.name}: the deleted keys are {keys.type}, but {self.key} holds "
                f"{key_type}."
            )
        return pa.table({self.key: keys.unique()})

    def _folded_if_outgrown(self, opened: OpenedVersion) -> OpenedVersion:
        base = sum(file.rows for file in opened.snapshot.base_files)
        changed = sum(file.rows for file in opened.snapshot.change_files)
        with suppress(ConcurrentWriteError):
            if changed > max(_FOLD_ROWS, _FOLD_SHARE * base):
                return self._fold(opened)
            if len(opened.snapshot.change_files) > _CHANGE_FILES:
                return self._fold(opened, changes_only=True)
        return opened

    def _fold(self, opened: OpenedVersion, *, changes_only: bool = False) -> OpenedVersion:
        snapshot = opened.snapshot
        with self._delta.writer(snapshot.schema) as writer:
            for rows in snapshot.folded_changes() if changes_only else snapshot.folded():
                writer.write(rows)
            files = writer.finish()
        folded = snapshot.change_files if changes_only else snapshot.files
        return self._delta.commit(opened, opened.state, snapshot.schema, files, folded=folded)

    def _filtered(
        self, snapshot: Snapshot, schema: pa.Schema, where: str
    ) -> Iterator[pa.RecordBatch]:
        connection = duck.connect()
        _register_view(connection, snapshot, self.key, "current_view", snapshot.schema.names)
        names = ", ".join(duck.quoted(name) for name in schema.names)
        try:
            found = connection.execute(f"SELECT {names} FROM current_view WHERE ({where})")
        except (duckdb.ParserException, duckdb.BinderException) as error:
            raise PipelineError(
                f"Table {self.name}: the condition {where!r} cannot be used: {error}"
            ) from error
        return _streamed(connection, found.to_arrow_reader(SCAN_ROWS), schema)

    def _written_keys(
        self, writer: BatchWriter, earlier: int = 0, last: str | None = None
    ) -> WrittenKeys:
        return WrittenKeys(self.key, lambda: writer.column(self.key), earlier, last)


class StagedBatch:
    """A batch of a change log in the making; used as a context manager.

    What was written before the last checkpoint outlives the block, however it ends; the rest does
    not. Nothing is visible before `commit`.
    """

    def __init__(
        self, log: ChangeLog, opened: OpenedVersion | None, journal: Journal, staged: Staged
    ) -> None:
        self._log = log
        self._opened = opened
        self._journal = journal
        self._staged = staged
        self._batch = staged.after_batch + 1
        self._writer = log._delta.writer(staged.schema, staged.files)
        self._keys = log._written_keys(self._writer, staged.rows, staged.last_key)
        self._written = staged.rows
        self._kept = staged.kept
        self._lacks_none = False

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    @property
    def metadata(self) -> dict[str, Any]:
        """What was noted at the last checkpoint; empty before the first."""
        return self._staged.metadata

    @property
    def schema(self) -> pa.Schema:
        """The columns that the table will have."""
        return self._staged.schema

    @property
    def replaces(self) -> bool:
        """Whether the rows become a new base."""
        return self._staged.replaces

    def write(self, rows: pa.RecordBatch, batches: pa.Int64Array | None = None) -> None:
        """Add rows; of a key that comes twice the last row wins.

        Args:
            rows: to add.
            batches: of a batch that replaces what is there: the batch that brought the same row
                before, which it then still counts as changed by; null for a row that is new.

        Raises:
            PipelineError: a row has no key.
        """
        plain = conformed(rows, self._staged.schema)
        self._keys.add(keys_of(self._log.name, plain, self._log.key))
        if self.replaces or self._opened is None or not self._opened.snapshot.files:
            change = BASE
        else:
            change = UPSERT
        numbers = pa.repeat(pa.scalar(self._batch), rows.num_rows)
        if batches is not None:
            numbers = pc.coalesce(batches, numbers)
            self._kept += pc.sum(pc.not_equal(numbers, self._batch)).as_py() or 0
        self._writer.write(_stamped(plain, numbers, change))
        self._written += plain.num_rows

    def unseen(self) -> Iterator[tuple[pa.RecordBatch, pa.Int64Array]]:
        """The rows of the current view whose key was not written so far, with the new columns.

        Each with the batch that brought it.
        """
        if self._opened is None:
            return
        snapshot, schema, key = self._opened.snapshot, self._staged.schema, self._log.key
        keys = pa.RecordBatchReader.from_batches(snapshot.projected([key]), snapshot.current([key]))
        missing = pa.Table.from_batches(self._keys.missing(keys), snapshot.projected([key]))
        if not missing.num_rows:
            self._lacks_none = True
            return
        names = [name for name in snapshot.schema.names if name in schema.names]
        # Not by a join in DuckDB: what it puts aside grows with the table.
        for part in missing.combine_chunks().to_batches(_KEYS_AT_ONCE):
            for rows in snapshot.held(part.column(key), [*names, BATCH], keep=None):
                if rows.num_rows:
                    yield _retyped(rows, schema), rows.column(BATCH)

    def checkpoint(self, metadata: Mapping[str, Any]) -> None:
        """Make what was written so far outlive this process, together with the caller's notes."""
        self._staged = replace(
            self._staged,
            files=self._writer.checkpoint(),
            kept=self._kept,
            last_key=self._keys.last,
            metadata=noted(metadata),
        )
        self._journal.write(self._staged)

    def commit(self, metadata: Mapping[str, Any]) -> State:
        """Make the batch visible, in one commit with its metadata.

        Raises:
            ConcurrentWriteError: somebody else wrote meanwhile; the batch is given up.
        """
        log, opened, schema = self._log, self._opened, self._staged.schema
        self._require_files(self._staged.files)
        repeated = _drop_repeated(self._writer, self._keys)
        upserted = self._written - self._kept - repeated
        deleted = 0
        if self.replaces and opened is not None and self._may_lack(opened):
            deleted = log._write_missing(self._writer, self._keys, schema, self._batch, opened)
        files = self._writer.finish()
        self._require_files(files)
        state = State.new(self._batch, metadata, upserted, deleted)
        done = log._delta.commit(opened, state, schema, files, overwrite=self.replaces)
        self._journal.forget()
        return done.state if self.replaces else log._folded_if_outgrown(done).state

    def _require_files(self, files: Sequence[DataFile]) -> None:
        """Make sure that nobody gave the batch up meanwhile, and its files with it."""
        paths = [file.path for file in files]
        if self._log._delta.existing(paths) != paths:
            raise self._log._delta.conflict()

    def _may_lack(self, opened: OpenedVersion) -> bool:
        """Whether keys of the opened version may be missing among those written."""
        return not self._lacks_none or opened.snapshot.has_deletions

    def discard(self) -> None:
        """Give the batch up, with what was written before the last checkpoint."""
        self._journal.give_up(self._staged.after_batch)


def _retyped(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows with other columns and types; a value that has no place in its column is null."""
    for place, field in enumerate(rows.schema):
        wanted = schema.field(field.name).type if field.name in schema.names else field.type
        if wanted != field.type:
            rows = rows.set_column(place, field.name, _try_cast(rows.column(place), wanted))
    return conformed(rows, schema)


def _try_cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    with closing(duck.connect(threads=1)) as connection:
        connection.execute("SET preserve_insertion_order = true")
        connection.register("given", pa.table({"value": values}))
        cast = f"SELECT TRY_CAST(value AS {duck.type_of(kind)}) AS value FROM given"
        return connection.execute(cast).to_arrow_table()["value"].combine_chunks().cast(kind)


def _register_view(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    key: str,
    view: str,
    columns: Sequence[str],
) -> None:
    names = ", ".join(duck.quoted(name) for name in columns)
    heads = snapshot.heads()
    parts = {
        "base": snapshot.base().filter(pc.field(CHANGE) == BASE),
        "later": snapshot.later().filter(pc.field(CHANGE) == UPSERT),
        "newest": heads,
    }
    base, later, newest = (duck.quoted(f"{view}__{part}") for part in parts)
    for part, rows in parts.items():
        connection.register(f"{view}__{part}", rows)
    quoted = duck.quoted(key)
    replaced = f"ANTI JOIN {newest} USING ({quoted})" if heads.num_rows else ""
    connection.execute(
        f"CREATE OR REPLACE TEMPORARY VIEW {duck.quoted(view)} AS SELECT {names} FROM {base} "
        f"{replaced} UNION ALL SELECT {names} FROM {later} "
        f"SEMI JOIN {newest} USING ({quoted}, {duck.quoted(BATCH)})"
    )


def _streamed(
    connection: duckdb.DuckDBPyConnection, rows: pa.RecordBatchReader, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    with closing(connection):
        for batch in rows:
            yield batch.cast(schema)


def _stamped(rows: pa.RecordBatch, batches: pa.Array, change: str) -> pa.RecordBatch:
    changes = pa.repeat(pa.scalar(change), rows.num_rows)
    columns = [batches, changes, *rows.columns]
    return pa.RecordBatch.from_arrays(columns, schema=with_internal(rows.schema))


def _drop_repeated(writer: BatchWriter, keys: WrittenKeys) -> int:
    repeated = keys.repeated()
    if len(repeated):
        writer.drop_rows(repeated)
    return len(repeated)
