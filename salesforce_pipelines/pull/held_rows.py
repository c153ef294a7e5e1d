"""What a table holds, beside what the org sends: which rows are others."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.store.columns import BATCH
from salesforce_pipelines.store.tables import ChangeLog

_CHUNK_ROWS, _CHUNK_BYTES = 16_384, 16 * 2**20


@dataclass(frozen=True)
class Compared:
    """Rows beside those that the table holds.

    Attributes:
        known: Whether the table holds a row of that Id.
        same: Whether it has the same content.
        batches: The batch that brought the row that is there; null where none is.
    """

    known: pa.BooleanArray
    same: pa.BooleanArray
    batches: pa.Int64Array


def compare(log: ChangeLog, rows: pa.RecordBatch, keep: pc.Expression | None = None) -> Compared:
    """Rows beside those of the same Ids in a table.

    Args:
        log: The table.
        rows: With the types that the table is to have; a column that it lacks counts as null there.
            In the order of their Ids they are found soonest, by the statistics of the stored files.
        keep: Which of the rows that the table holds count.
    """
    stored = log.schema()
    names = [name for name in rows.schema.names if name in stored.names]
    held = log.held(rows.column("Id"), names, keep).combine_chunks()
    places = pc.index_in(rows.column("Id"), held["Id"].combine_chunks())
    known = same = pc.is_valid(places)
    for field in rows.schema:
        if field.name in names:
            there = held[field.name].combine_chunks().take(places)
        else:
            there = pa.nulls(rows.num_rows, field.type)
        same = pc.and_(same, _equal(rows.column(field.name), there))
    return Compared(known, same, held[BATCH].combine_chunks().take(places))


def chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in larger batches: each comparison costs some milliseconds."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield from _joined(waiting)
            waiting, rows, size = [], 0, 0
    if rows:
        yield from _joined(waiting)


def with_held(log: ChangeLog, rows: pa.RecordBatch, columns: list[str]) -> pa.RecordBatch:
    """Rows with the values that the table holds of further columns; null where it has no row."""
    if not columns:
        return rows
    held = log.held(rows.column("Id"), ["Id", *columns]).combine_chunks()
    places = pc.index_in(rows.column("Id"), held["Id"].combine_chunks())
    for name in columns:
        rows = rows.append_column(held.field(name), held[name].combine_chunks().take(places))
    return rows


def _joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    found: list[pa.RecordBatch] = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return found


def _equal(here: pa.Array, there: pa.Array) -> pa.BooleanArray:
    if here.type != there.type:
        # The table is about to change the column's type: what it holds is another value then.
        return pa.repeat(pa.scalar(False), len(here))
    both_null = pc.and_(pc.is_null(here), pc.is_null(there))
    return pc.or_(both_null, pc.fill_null(pc.equal(here, there), False))
