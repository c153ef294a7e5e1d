"""The keys of one batch: which of them come twice, and which known ones do not come."""

from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store import duck

_REMEMBERED = 100_000
_AT_ONCE = 100_000


class WrittenKeys:
    """The keys of one batch in the order written.

    So many are remembered; of more, the files that hold them are read again if need be. As a rule
    none is: Salesforce sends records in the order of their Ids, and then no key comes twice.
    """

    def __init__(
        self,
        key: str,
        stored: Callable[[], pa.RecordBatchReader],
        earlier: int = 0,
        last: str | None = None,
    ) -> None:
        """Begin with the keys of an earlier process, if any.

        Args:
            key: The column whose values they are.
            stored: Reads every key from the files, as that column, in the order written.
            earlier: How many there are already.
            last: The last of them, if each is greater than the one before it.
        """
        self._key = key
        self._stored = stored
        self._remembered: list[pa.Array] | None = None if earlier else []
        self._ascending = not earlier or last is not None
        self._last: pa.Scalar | None = None if last is None else pa.scalar(last)
        self._count = earlier

    def add(self, keys: pa.Array) -> None:
        """Note the keys of the next rows."""
        if not len(keys):
            return
        self._ascending = self._ascending and self._follow(keys)
        self._last = keys[-1]
        self._count += len(keys)
        if self._count > _REMEMBERED:
            self._remembered = None
        elif self._remembered is not None:
            self._remembered.append(keys)

    @property
    def last(self) -> str | None:
        """The last key, if each is a text greater than the one before it."""
        last = None if self._last is None or not self._ascending else self._last.as_py()
        return last if isinstance(last, str) else None

    def repeated(self) -> pa.Array:
        """The numbers, from 0 in the order written, of the rows that a later row replaces."""
        if self._ascending:
            return pa.array([], pa.int64())
        if self._remembered is not None:
            return _repeated(self._remembered)
        with self._loaded() as connection:
            # Part by part, so that memory does not grow with the keys.
            parts = 1 + self._count // _AT_ONCE
            found = [_repeated_of(connection, part, parts) for part in range(parts)]
        return pa.concat_tables(found)["number"].combine_chunks()

    def missing(self, known: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """Those of the known rows whose key was not written; rows may be written meanwhile."""
        if self._remembered is not None:
            written = pa.chunked_array(self._remembered, known.schema.field(self._key).type)
            for rows in known:
                yield rows.filter(pc.invert(pc.is_in(rows.column(self._key), written)))
            return
        with self._loaded() as connection:
            connection.register("known", known)
            key = duck.quoted(self._key)
            yield from connection.execute(
                f"SELECT known.* FROM known ANTI JOIN written ON known.{key} = written.key"
            ).to_arrow_reader(_AT_ONCE)

    def _follow(self, keys: pa.Array) -> bool:
        if self._last is not None and not pc.greater(keys[0], self._last).as_py():
            return False
        return pc.all(pc.greater(keys[1:], keys[:-1])).as_py() is not False

    def _loaded(self) -> duckdb.DuckDBPyConnection:
        connection = duck.connect(memory_limit="64MB", threads=1)
        connection.execute("SET preserve_insertion_order = true")
        connection.register("stored", self._stored())
        key = duck.quoted(self._key)
        connection.execute(f"CREATE TABLE written AS SELECT {key} AS key FROM stored")
        return connection


def _repeated(keys: list[pa.Array]) -> pa.Array:
    rows = pa.table({"key": pa.chunked_array(keys)})
    rows = rows.append_column("number", pa.array(range(rows.num_rows), pa.int64()))
    newest = rows.group_by("key").aggregate([("number", "max")])["number_max"]
    return rows.filter(pc.invert(pc.is_in(rows["number"], newest)))["number"].combine_chunks()


def _repeated_of(connection: duckdb.DuckDBPyConnection, part: int, parts: int) -> pa.Table:
    return connection.sql(
        f"""
        WITH part AS (SELECT rowid AS number, key FROM written WHERE hash(key) % {parts} = {part}),
        repeated AS (
            SELECT key, max(number) AS newest FROM part GROUP BY key HAVING count(*) > 1
        )
        SELECT number FROM part JOIN repeated USING (key) WHERE number < newest
        """
    ).to_arrow_table()


def keys_of(table: str, batch: pa.RecordBatch, key: str) -> pa.Array:
    """The key column of a batch.

    Raises:
        PipelineError: a row has no key.
    """
    keys = batch.column(key)
    if keys.null_count:
        raise PipelineError(
            f"Table {table}: {keys.null_count} row(s) have no {key}. Every row needs its key; "
            "leave such rows out or correct their source."
        )
    return keys


def are_among(keys: pa.Array, wanted: pa.Array) -> pa.BooleanArray:
    """Whether keys are among others; quick where the keys are close together."""
    # Arrow hashes all that it is given, at every call.
    bounds = pc.min_max(keys)
    near = pc.and_(pc.greater_equal(wanted, bounds["min"]), pc.less_equal(wanted, bounds["max"]))
    return pc.is_in(keys, wanted.filter(near))
