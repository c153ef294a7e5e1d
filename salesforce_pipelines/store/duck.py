"""DuckDB connections set up for joins that may not fit in memory."""

import os
import tempfile
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa


def connect(memory_limit: str = "1GB", threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """A private in-memory DuckDB database that spills to the temporary folder.

    Nothing is ever downloaded: automatic loading of extensions is off. Times are shown in UTC. Row
    order is not preserved, so ask for an ``ORDER BY`` where it matters.

    Args:
        memory_limit: above this, joins, sorts and aggregations spill to disk.
        threads: at most four by default; more seldom helps next to other runs.
    """
    spill = Path(tempfile.gettempdir()) / f"salesforce-pipelines-{uuid4().hex}"
    connection = duckdb.connect(
        config={
            "memory_limit": memory_limit,
            "threads": threads or min(4, os.cpu_count() or 1),
            "temp_directory": str(spill),
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def memory_for(columns: int, least_mb: int) -> str:
    """The memory limit for whole rows of so many columns.

    Each step of a query holds 2,048 values of every column, for each of its threads, however few
    rows there are. Hundreds of columns need more than what joins of narrow tables are given.
    """
    return f"{max(least_mb, columns // 2)}MB"


def quoted(name: str) -> str:
    """A SQL identifier that DuckDB takes literally, whatever it contains."""
    return '"' + name.replace('"', '""') + '"'


def type_of(kind: pa.DataType) -> str:
    """The DuckDB type that holds an Arrow type's values."""
    with connect(threads=1) as connection:
        connection.register("empty", pa.table({"value": pa.array([], kind)}))
        described = connection.sql("DESCRIBE empty").fetchone()
    return str(described[1]) if described else "VARCHAR"
