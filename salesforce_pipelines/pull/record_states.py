"""What became of a record of the org, as a column of the pulled tables: pure decisions.

Nothing is dropped from the tables; this column says which rows still are records of the org that
may be worked with.
"""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

RecordState = Literal["live", "deleted", "merged", "purged", "out_of_scope"]
COLUMN = "record_state"
LIVE: RecordState = "live"
IS_LIVE = f"{COLUMN} = '{LIVE}'"
"""SQL for the only rows that may be matched, planned, linked or written."""
ABOUT = (
    "live; deleted (in the recycle bin); merged (MasterRecordId is the record it became part of); "
    "purged (the org no longer holds it); out_of_scope (it left the configured scope)."
)


def with_state(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows as the org gave them, with their state at the end."""
    deleted, merged = _is_deleted(rows), _is_merged(rows)
    states = pc.if_else(deleted, pc.if_else(merged, "merged", "deleted"), LIVE)
    return rows.append_column(pa.field(COLUMN, pa.string()), states)


def purged(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of a table that the org no longer holds: deleted for good.

    A record that was merged before stays so: its survivor remains known.
    """
    states = rows.column(COLUMN)
    return _marked(rows, pc.if_else(pc.equal(states, "merged"), "merged", "purged"), deleted=True)


def out_of_scope(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of a table that the org holds, but not within the configured scope."""
    return _marked(rows, pa.repeat(pa.scalar("out_of_scope"), rows.num_rows), deleted=False)


def schema_with_state(schema: pa.Schema) -> pa.Schema:
    """The schema of rows with their state."""
    return schema.append(pa.field(COLUMN, pa.string()))


def _marked(rows: pa.RecordBatch, states: pa.Array, *, deleted: bool) -> pa.RecordBatch:
    at = rows.schema.get_field_index(COLUMN)
    marked = rows.set_column(at, rows.schema.field(at), states)
    flag = marked.schema.get_field_index("IsDeleted")
    if deleted and flag >= 0:
        flags = pa.repeat(pa.scalar(True), rows.num_rows)
        marked = marked.set_column(flag, marked.schema.field(flag), flags)
    return marked


def _is_deleted(rows: pa.RecordBatch) -> pa.Array:
    # A User is never deleted and has no such field.
    if "IsDeleted" not in rows.schema.names:
        return pa.repeat(pa.scalar(False), rows.num_rows)
    return pc.fill_null(rows.column("IsDeleted"), False)


def _is_merged(rows: pa.RecordBatch) -> pa.Array:
    if "MasterRecordId" not in rows.schema.names:
        return pa.repeat(pa.scalar(False), rows.num_rows)
    return pc.is_valid(rows.column("MasterRecordId"))
