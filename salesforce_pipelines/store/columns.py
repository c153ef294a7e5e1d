"""Column types of the tables: what is stored, and how incoming rows are brought to it."""

from collections.abc import Iterator

import pyarrow as pa

from salesforce_pipelines.errors import PipelineError

BATCH = "_batch"
CHANGE = "_change"
INTERNAL = (pa.field(BATCH, pa.int64()), pa.field(CHANGE, pa.string()))


def with_internal(schema: pa.Schema) -> pa.Schema:
    """The schema as it is stored: ours come first, for Delta reads statistics of 32 columns only.

    Source: https://docs.delta.io/latest/optimizations-oss.html ("Data skipping").
    """
    return pa.schema([*INTERNAL, *schema])


def stored_schema(table: str, incoming: pa.Schema, key: str) -> pa.Schema:
    """The schema that a table gets from rows of this schema, without the internal columns.

    Variants of one type become one: large and dictionary-encoded strings become strings, times
    become microseconds in UTC. Columns without a type (all null) are left out: they say nothing.

    Raises:
        PipelineError: the key is missing, a name is reserved or clashes with another one but for
            upper and lower case, or a type cannot be stored.
    """
    names = [name.lower() for name in incoming.names]
    for name in incoming.names:
        if name.lower() in (BATCH, CHANGE):
            raise PipelineError(
                f"Table {table}: column {name} is reserved. Drop or rename it before writing."
            )
        if names.count(name.lower()) > 1:
            raise PipelineError(
                f"Table {table}: column {name} comes twice (upper and lower case are one). "
                "Rename one of them."
            )
    typed = [field for field in incoming if not pa.types.is_null(field.type)]
    schema = pa.schema([pa.field(f.name, _stored_type(table, f.name, f.type)) for f in typed])
    if key not in schema.names:
        raise PipelineError(f"Table {table}: rows without the key column {key} cannot be written.")
    return schema


def merged_schema(table: str, stored: pa.Schema, incoming: pa.Schema) -> pa.Schema:
    """The stored schema with the incoming new columns added at its end.

    Raises:
        PipelineError: a column changed its type or the spelling of its name.
    """
    spelling = {name.lower(): name for name in stored.names}
    added = []
    for field in incoming:
        known = spelling.get(field.name.lower())
        if known is None:
            added.append(field)
        elif known != field.name:
            raise PipelineError(
                f"Table {table}: column {field.name} is stored as {known}. Use one spelling."
            )
        elif stored.field(known).type != field.type:
            raise PipelineError(
                f"Table {table}: column {known} holds {stored.field(known).type}, the new rows "
                f"have {field.type}. Replace the whole table (a full pull) to change a type."
            )
    return pa.schema([*stored, *added])


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly the columns and types of the schema; what it lacks is null."""
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0 or pa.types.is_null(batch.schema.field(index).type):
            columns.append(pa.nulls(batch.num_rows, field.type))
        else:
            columns.append(batch.column(index).cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def sliced(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """The batch in slices of at most so many rows."""
    for offset in range(0, batch.num_rows, rows):
        yield batch.slice(offset, rows)


def _stored_type(table: str, column: str, given: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_dictionary(given):
        return _stored_type(table, column, given.value_type)
    if types.is_large_string(given) or types.is_string_view(given):
        return pa.string()
    if types.is_large_binary(given) or types.is_binary_view(given):
        return pa.binary()
    if types.is_date(given):
        return pa.date32()
    if types.is_timestamp(given) and given.tz is not None:
        return pa.timestamp("us", "UTC")
    if types.is_list(given) or types.is_large_list(given):
        return pa.list_(pa.field("element", _stored_type(table, column, given.value_type)))
    if types.is_struct(given):
        return pa.struct([pa.field(f.name, _stored_type(table, column, f.type)) for f in given])
    if _is_stored_as_given(given):
        return given
    cure = "Give times a time zone." if types.is_timestamp(given) else "Cast it to another type."
    raise PipelineError(f"Table {table}: column {column} of type {given} cannot be stored. {cure}")


def _is_stored_as_given(given: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(given)
        or types.is_binary(given)
        or types.is_boolean(given)
        or types.is_signed_integer(given)
        or types.is_float32(given)
        or types.is_float64(given)
        or types.is_decimal128(given)
    )
