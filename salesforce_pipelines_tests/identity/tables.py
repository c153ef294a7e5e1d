"""Small tables of identifiers, as `identifiers` gives them."""

import pyarrow as pa

from salesforce_pipelines.identity.identifiers import SCHEMA


def identified(rows: dict[str, dict[str, list[str]]]) -> pa.RecordBatchReader:
    """Rows by key; what is not named is empty."""
    nothing: dict[str, list[str]] = {name: [] for name in SCHEMA.names[1:]}
    table = pa.Table.from_pylist(
        [{"key": key, **nothing, **values} for key, values in rows.items()], schema=SCHEMA
    )
    return table.to_reader(max_chunksize=3)
