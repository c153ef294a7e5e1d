"""Writing the data files of one commit: bounded memory, one row per key, nothing left behind."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from salesforce_pipelines.store.columns import BATCH, CHANGE, sliced

ROW_GROUP_ROWS = 16_384
ROW_GROUP_BYTES = 64 * 2**20
FILE_BYTES = 128 * 2**20


@dataclass
class DataFile:
    """One finished Parquet file: what the commit must know of it."""

    path: str
    rows: int
    size: int
    least: dict[str, int | str]
    greatest: dict[str, int | str]

    def add_action(self, *, data_change: bool) -> AddAction:
        """The Delta action that makes the file part of the table.

        The statistics are those that reads are pruned by; the protocol asks for no more
        (https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics).
        """
        stats = {
            "numRecords": self.rows,
            "minValues": self.least,
            "maxValues": self.greatest,
            "nullCount": {BATCH: 0, CHANGE: 0},
        }
        now = int(time.time() * 1000)
        return AddAction(self.path, self.size, {}, now, data_change, json.dumps(stats))


class BatchWriter:
    """Writes rows (with the internal columns) to new files, which a commit then makes visible.

    Used as a context manager: when the block fails, its files are removed. A killed process leaves
    files that no version knows; vacuum removes them.
    """

    def __init__(
        self, filesystem: pafs.FileSystem, schema: pa.Schema, finished: Sequence[DataFile] = ()
    ) -> None:
        """Begin to write.

        Args:
            filesystem: Where the files go.
            schema: Of the rows, with the internal columns.
            finished: Files of an earlier writer that go before those of this one.
        """
        self._filesystem = filesystem
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self._open: _OpenFile | None = None
        self._finished: list[DataFile] = list(finished)
        self._created: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abandon()

    def write(self, batch: pa.RecordBatch) -> None:
        """Write a batch of any size; row groups and files get sizes of their own."""
        for piece in sliced(batch, ROW_GROUP_ROWS):
            self._pending.append(piece)
            self._pending_rows += piece.num_rows
            self._pending_bytes += piece.nbytes
            if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
                self._write_row_group()

    def checkpoint(self) -> list[DataFile]:
        """Complete what was written so far; these files outlive a block that fails later."""
        self._finish_file()
        self._created.clear()
        return list(self._finished)

    def column(self, name: str) -> pa.RecordBatchReader:
        """What was written of one column, in the order written."""
        self._finish_file()
        schema = pa.schema([self._schema.field(name)])
        return pa.RecordBatchReader.from_batches(schema, self._column(name, list(self._finished)))

    def _column(self, name: str, files: Sequence[DataFile]) -> Iterator[pa.RecordBatch]:
        for file in files:
            with self._filesystem.open_input_file(file.path) as source:
                yield from pq.ParquetFile(source).iter_batches(columns=[name])

    def drop_rows(self, numbers: pa.Array) -> None:
        """Take back rows, numbered from 0 in the order written."""
        self._finish_file()
        start, kept = 0, []
        written, self._finished = self._finished, []
        for file in written:
            dropped = numbers.filter(
                pc.and_(
                    pc.greater_equal(numbers, start),
                    pc.less(numbers, start + file.rows),
                )
            )
            if len(dropped):
                self._rewrite(file, pc.subtract(dropped, start))
            else:
                kept.append(file)
            start += file.rows
        self._finished = kept + self._finished

    def finish(self) -> list[DataFile]:
        """The files written, complete and closed."""
        self._finish_file()
        return self._finished

    def _rewrite(self, file: DataFile, dropped: pa.Array) -> None:
        start = 0
        with self._filesystem.open_input_file(file.path) as source:
            for batch in pq.ParquetFile(source).iter_batches(ROW_GROUP_ROWS):
                numbers = pa.array(range(start, start + batch.num_rows), pa.int64())
                start += batch.num_rows
                self.write(batch.filter(pc.invert(pc.is_in(numbers, dropped))))
        self._finish_file()
        self._filesystem.delete_file(file.path)

    def _write_row_group(self) -> None:
        if not self._pending_rows:
            return
        if self._open is None:
            self._open = _OpenFile(self._filesystem, self._schema)
            self._created.append(self._open.path)
        self._open.write(pa.Table.from_batches(self._pending, self._schema))
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        if self._open.size() >= FILE_BYTES:
            self._finish_file()

    def _finish_file(self) -> None:
        self._write_row_group()
        if self._open is not None:
            self._finished.append(self._open.finish())
            self._open = None

    def _abandon(self) -> None:
        if self._open is not None:
            self._open.abandon()
        for path in self._created:
            with suppress(OSError):
                self._filesystem.delete_file(path)


class _OpenFile:
    def __init__(self, filesystem: pafs.FileSystem, schema: pa.Schema) -> None:
        self.path = f"part-{uuid4().hex}.parquet"
        self._sink = filesystem.open_output_stream(self.path)
        self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd", compression_level=1)
        self._rows = 0
        self._least: dict[str, int | str] = {}
        self._greatest: dict[str, int | str] = {}

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows, row_group_size=rows.num_rows)
        self._rows += rows.num_rows
        for column in (BATCH, CHANGE):
            bounds = pc.min_max(rows[column]).as_py()
            self._least[column] = min(self._least.get(column, bounds["min"]), bounds["min"])
            self._greatest[column] = max(self._greatest.get(column, bounds["max"]), bounds["max"])

    def size(self) -> int:
        return int(self._sink.tell())

    def finish(self) -> DataFile:
        self._writer.close()
        size = self.size()
        self._sink.close()
        return DataFile(self.path, self._rows, size, self._least, self._greatest)

    def abandon(self) -> None:
        with suppress(OSError):
            self._writer.close()
        with suppress(OSError):
            self._sink.close()
