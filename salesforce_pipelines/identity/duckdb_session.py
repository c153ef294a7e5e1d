"""DuckDB for one piece of work: it spills to disk, leaves nothing behind, and reads streams."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store import duck


@contextmanager
def session(
    *, memory_limit: str = "1GB", threads: int = 2, temp_dir: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A private DuckDB, closed at the end, when it deletes what it spilled.

    Args:
        memory_limit: What its tables and joins may hold, such as `512MB`; the process takes some
            200 MB more.
        threads: How many it uses.
        temp_dir: Where it may spill; by default the system's temporary folder.

    Raises:
        PipelineError: The memory limit, or the disk it spills to, is too small for the work.
    """
    with duck.connect(memory_limit, threads) as connection:
        if temp_dir is not None:
            temp_dir.mkdir(parents=True, exist_ok=True)
            spill = temp_dir / f"duckdb-{uuid4().hex}"
            connection.execute("SET temp_directory = $1", [str(spill)])
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise PipelineError(
                f"DuckDB could not do with {memory_limit} of memory and its temporary folder: "
                "allow more memory, or free disk space"
            ) from error


def load(
    connection: duckdb.DuckDBPyConnection, statement: str, source: pa.RecordBatchReader
) -> None:
    """Execute a statement that reads the Arrow stream `source` once.

    Raises:
        Exception: What the stream itself raised, as it raised it; DuckDB's own error would quote
            its message within a long one.
    """
    failures: list[Exception] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from source
        except Exception as error:  # whatever it is, the caller gets it as it is
            failures.append(error)
            raise

    connection.register("source", pa.RecordBatchReader.from_batches(source.schema, batches()))
    try:
        connection.execute(statement)
    except duckdb.Error:
        if failures:
            raise failures[0] from None
        raise
    finally:
        connection.unregister("source")
