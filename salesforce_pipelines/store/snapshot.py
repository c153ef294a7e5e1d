"""One version of a change log, ready to read: which files it has, and which of their rows count.

Rows of the base carry the change ``base``, or ``removed`` for a deletion folded into it; rows
that came later carry ``upsert`` or ``delete``. A key is at most once in the base and at most once
in each later batch, so its newest row is the one with the greatest ``_batch``, and a base row
counts unless a later row has its key. Files hold either base rows or later rows; their statistics
say which.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from deltalake import DeltaTable

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store.columns import BATCH, CHANGE, INTERNAL, with_internal
from salesforce_pipelines.store.written_keys import are_among

BASE, REMOVED, UPSERT, DELETE = "base", "removed", "upsert", "delete"
SCAN_ROWS = 32_768

_EVERY = pc.scalar(True)
_OUTWARD = {BASE: UPSERT, REMOVED: DELETE, UPSERT: UPSERT, DELETE: DELETE}


@dataclass(frozen=True)
class StoredFile:
    """One data file of a version, with the statistics it was committed with."""

    path: str
    size: int
    rows: int
    first_batch: int
    last_batch: int
    in_base: bool
    has_deletions: bool


class Snapshot:
    """The rows of one version; stays readable while newer versions are written."""

    def __init__(
        self, name: str, key: str, table: DeltaTable, filesystem: pafs.FileSystem, *, local: bool
    ) -> None:
        self._name = name
        self._key = key
        self._filesystem = filesystem
        # Remote reads are few and large, local ones small and cheap on memory.
        self._format = ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(
                use_buffered_stream=local, pre_buffer=not local
            )
        )
        self.version = table.version()
        stored = pa.schema(table.schema().to_arrow())
        self.schema = pa.schema([f for f in stored if f.name not in (BATCH, CHANGE)])
        self.files = _stored_files(name, table)

    @cached_property
    def base_files(self) -> list[StoredFile]:
        """The files of the base, those with the oldest rows first."""
        return [file for file in self.files if file.in_base]

    @cached_property
    def change_files(self) -> list[StoredFile]:
        """The files of what came after the base, oldest first."""
        return [file for file in self.files if not file.in_base]

    @property
    def has_deletions(self) -> bool:
        """Whether a row says that its key was deleted."""
        return any(file.has_deletions for file in self.files)

    def projected(self, columns: Sequence[str] | None) -> pa.Schema:
        """The schema of these columns, all by default.

        Raises:
            PipelineError: the table has no such column.
        """
        if columns is None:
            return self.schema
        unknown = [column for column in columns if column not in self.schema.names]
        if unknown:
            raise PipelineError(
                f"Table {self._name} has no column {', '.join(unknown)}. "
                f"It has {', '.join(self.schema.names)}."
            )
        return pa.schema([self.schema.field(column) for column in columns])

    def changed_schema(self, columns: Sequence[str] | None) -> pa.Schema:
        """The schema of what changed, of these columns: with ``_change`` and ``_batch`` at the end.

        Raises:
            PipelineError: the table has no such column.
        """
        return pa.schema([*self.projected(columns), *reversed(INTERNAL)])

    def heads(self, after: int = 0) -> pa.Table:
        """Key and ``_batch`` of the newest later row of each key, of batches after this one."""
        return self._all_heads if after == 0 else self._heads(after)

    @cached_property
    def _all_heads(self) -> pa.Table:
        return self._heads(0)

    def _heads(self, after: int) -> pa.Table:
        files = [file for file in self.change_files if file.last_batch > after]
        rows = self.dataset(files).to_table(
            columns=[self._key, BATCH], filter=pc.field(BATCH) > after
        )
        newest = rows.group_by(self._key).aggregate([(BATCH, "max")])
        return newest.rename_columns([self._key, BATCH])

    def base(self, after: int = 0) -> ds.Dataset:
        """The files of the base that have rows of batches after this one."""
        if not after:
            return self._whole_base
        return self.dataset([file for file in self.base_files if file.last_batch > after])

    @cached_property
    def _whole_base(self) -> ds.Dataset:
        # It remembers the statistics of its files.
        return self.dataset(self.base_files)

    def later(self) -> ds.Dataset:
        """Every row that came after the base, replaced ones too."""
        return self.dataset(self.change_files)

    def in_force(
        self, heads: pa.Table, columns: Sequence[str], keep: pc.Expression, after: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the base that no later row replaces, of batches after this one."""
        rows = self.scan(
            self.base(after), self._with_key(columns), keep & (pc.field(BATCH) > after)
        )
        replaced = heads[self._key].combine_chunks()
        for batch in rows:
            if len(replaced):
                batch = batch.filter(pc.invert(are_among(batch.column(self._key), replaced)))
            if batch.num_rows:
                yield batch.select(list(columns))

    def newest_later(
        self, heads: pa.Table, columns: Sequence[str], keep: pc.Expression
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the heads, oldest batch first."""
        for file in self.change_files:
            mine = heads.filter(
                (pc.field(BATCH) >= file.first_batch) & (pc.field(BATCH) <= file.last_batch)
            )[self._key].combine_chunks()
            if not len(mine):
                continue
            for batch in self.scan(self.dataset([file]), self._with_key(columns), keep):
                batch = batch.filter(are_among(batch.column(self._key), mine))
                if batch.num_rows:
                    yield batch.select(list(columns))

    def current(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The newest row of each key that is not deleted."""
        names, heads = self.projected(columns).names, self.heads()
        yield from self.in_force(heads, names, pc.field(CHANGE) == BASE)
        yield from self.newest_later(heads, names, pc.field(CHANGE) == UPSERT)

    def held(
        self, keys: pa.Array, columns: Sequence[str], keep: pc.Expression | None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of the current view that have one of these keys and fit a condition."""
        if not len(keys):
            return
        key, bounds = pc.field(self._key), pc.min_max(keys)
        near = (key >= bounds["min"]) & (key <= bounds["max"])
        wanted = near if keep is None else near & keep
        heads = self.heads().filter(near)
        names = self._with_key(columns)
        base = self.in_force(heads, names, (pc.field(CHANGE) == BASE) & wanted)
        later = self.newest_later(heads, names, (pc.field(CHANGE) == UPSERT) & wanted)
        for rows in chain(base, later):
            yield rows.filter(are_among(rows.column(self._key), keys)).select(list(columns))

    def count(self) -> int:
        """The number of rows of the current view."""
        heads = self.heads()
        if heads.num_rows:
            return sum(batch.num_rows for batch in self.current([self._key]))
        live = pc.field(CHANGE) == BASE
        return int(self.base().count_rows(filter=live, batch_size=SCAN_ROWS))

    def changed_since(
        self, batch: int, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The newest row of each key that changed after the batch, deletions too."""
        schema = self.changed_schema(columns)
        heads = self.heads(batch)
        for rows in self.in_force(heads, schema.names, _EVERY, batch):
            yield _outward(rows, schema)
        for rows in self.newest_later(heads, schema.names, _EVERY):
            yield _outward(rows, schema)

    def folded_changes(self) -> Iterator[pa.RecordBatch]:
        """The newest later row of each key: what one file of changes must hold."""
        yield from self.newest_later(self.heads(), self._stored_names(), _EVERY)

    def folded(self) -> Iterator[pa.RecordBatch]:
        """What a new base must hold, oldest batch first."""
        heads, names = self.heads(), self._stored_names()
        yield from self.in_force(heads, names, _EVERY)
        for rows in self.newest_later(heads, names, _EVERY):
            yield _with_changes(rows, {UPSERT: BASE, DELETE: REMOVED})

    def scan(
        self, dataset: ds.Dataset, columns: Sequence[str], keep: pc.Expression
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a dataset in stored order.

        One row group at a time: a scan of the whole dataset reads ahead of a slow consumer, up to
        a gigabyte. The condition is held against the statistics of each, so it must be short.
        """
        for fragment in dataset.get_fragments(keep):
            for row_group in fragment.split_by_row_group(keep, schema=dataset.schema):
                batches = row_group.to_batches(
                    schema=dataset.schema, columns=list(columns), filter=keep, batch_size=SCAN_ROWS
                )
                yield from (batch for batch in batches if batch.num_rows)
                pa.default_memory_pool().release_unused()

    def check_complete(self) -> None:
        """Make sure that no file was vacuumed away.

        Raises:
            PipelineError: the version can no longer be read.
        """
        infos = self._filesystem.get_file_info([file.path for file in self.files])
        if any(info.type == pafs.FileType.NotFound for info in infos):
            raise PipelineError(
                f"Version {self.version} of table {self._name} was vacuumed away. "
                "Read a newer version."
            )

    def dataset(self, files: Sequence[StoredFile]) -> ds.FileSystemDataset:
        """These files, with the internal columns."""
        fragments = [self._format.make_fragment(file.path, self._filesystem) for file in files]
        return _Unhurried(fragments, with_internal(self.schema), self._format, self._filesystem)

    def _with_key(self, columns: Sequence[str]) -> list[str]:
        return list(dict.fromkeys([*columns, self._key]))

    def _stored_names(self) -> list[str]:
        return [BATCH, CHANGE, *self.schema.names]


class _Unhurried(ds.FileSystemDataset):  # type: ignore[misc]  # pyarrow ships no types
    """Files that a scan (DuckDB's too) reads hardly ahead: by default it fills a gigabyte."""

    def scanner(self, **options: Any) -> ds.Scanner:
        ahead = {"batch_readahead": 1, "fragment_readahead": 1, "batch_size": SCAN_ROWS}
        return super().scanner(**(ahead | options))


def _outward(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return _with_changes(rows, _OUTWARD).cast(schema)


def _with_changes(rows: pa.RecordBatch, names: dict[str, str]) -> pa.RecordBatch:
    positions = pc.index_in(rows.column(CHANGE), pa.array(list(names)))
    renamed = pa.array(list(names.values())).take(positions)
    return rows.set_column(rows.schema.get_field_index(CHANGE), CHANGE, renamed)


def _stored_files(name: str, table: DeltaTable) -> list[StoredFile]:
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    files = [_stored_file(name, action) for action in actions]
    return sorted(files, key=lambda file: (file.first_batch, file.last_batch, file.path))


def _stored_file(name: str, action: dict[str, object]) -> StoredFile:
    bounds = {action.get(f"min.{CHANGE}"), action.get(f"max.{CHANGE}")}
    in_base, later = bounds <= {BASE, REMOVED}, bounds <= {UPSERT, DELETE}
    if not (in_base or later):
        raise PipelineError(
            f"Table {name} was rewritten by another program (file {action['path']}). "
            "Restore the version before that, or replace the table (a full pull)."
        )
    return StoredFile(
        path=str(action["path"]),
        size=int(str(action["size_bytes"])),
        rows=int(str(action["num_records"])),
        first_batch=int(str(action[f"min.{BATCH}"])),
        last_batch=int(str(action[f"max.{BATCH}"])),
        in_base=in_base,
        has_deletions=bool(bounds & {REMOVED, DELETE}),
    )
