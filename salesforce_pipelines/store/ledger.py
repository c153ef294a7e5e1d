"""The ledger: what must be right row by row, in SQLite or PostgreSQL.

Plans and who confirmed them, credits, referral codes, qualifications. Every change is one write
transaction; on SQLite these wait for one another (``BEGIN IMMEDIATE``), on PostgreSQL they rely on
unique keys and conditional updates.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import tenacity
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Select, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.schema import CreateSchema

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store.schema import SCHEMA

_WAIT_SECONDS = 60
_STREAM_ROWS = 50_000
_MIGRATIONS = Path(__file__).parent / "migrations"
_READING = {"ledger_reading": True}


class Ledger:
    """An open ledger; safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the ledger, creating or upgrading its tables as needed.

        Args:
            url: ``sqlite:///folder/ledger.db`` (the folder is created) or
                ``postgresql://user:password@host/database``.

        Raises:
            PipelineError: the URL is wrong, the database cannot be reached, or a newer release of
                this program wrote it. The message never shows the password.
        """
        parsed = _parsed(url)
        ledger = cls(_engine(parsed))
        try:
            ledger._migrate(_place(parsed))
        except DBAPIError as error:
            ledger.close()
            reason = str(error.orig).strip().partition("\n")[0]
            raise PipelineError(
                f"The ledger at {_place(parsed)} cannot be opened: {reason}. "
                "Check its URL, and that the database runs and lets this program in."
            ) from None
        except BaseException:
            ledger.close()
            raise
        return ledger

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One write transaction: committed when the block ends, undone when it fails."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction to read, which waits for no writer and holds none up."""
        options: dict[str, Any] = dict(_READING)
        if self._engine.dialect.name == "postgresql":
            options["postgresql_readonly"] = True
        with self._engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def stream(self, query: Select[Any], schema: pa.Schema) -> pa.RecordBatchReader:
        """The rows of a query as Arrow batches; columns in the order of the schema.

        All of one moment, and bounded in memory. Read it to the end, or drop it, soon.
        """
        return pa.RecordBatchReader.from_batches(schema, self._batches(query, schema))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _batches(self, query: Select[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self.read() as connection:
            rows = connection.execution_options(yield_per=_STREAM_ROWS).execute(query)
            for partition in rows.partitions():
                columns = zip(*partition, strict=True)
                arrays = [
                    pa.array(column, field.type)
                    for column, field in zip(columns, schema, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _migrate(self, place: str) -> None:
        scripts = ScriptDirectory(str(_MIGRATIONS))
        head = scripts.get_current_head()
        with self.read() as connection:
            if _revision(connection) == head:
                return
        with self.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Holds up other processes that open the same ledger for the first time.
                connection.execute(text(f"SELECT pg_advisory_xact_lock(hashtext('{SCHEMA}'))"))
                if not inspect(connection).has_schema(SCHEMA):
                    connection.execute(CreateSchema(SCHEMA))
            revision = _revision(connection)
            if revision not in {None, *(script.revision for script in scripts.walk_revisions())}:
                raise PipelineError(
                    f"The ledger at {place} was written by a newer release (its version is "
                    f"{revision}). Upgrade this program, or open another ledger."
                )
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
            command.upgrade(config, "head")


def version_table_options(dialect: str) -> dict[str, Any]:
    """Where Alembic keeps the version of the ledger."""
    return {"version_table_schema": SCHEMA if dialect == "postgresql" else None}


def _revision(connection: Connection) -> str | None:
    options = version_table_options(connection.dialect.name)
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise PipelineError(
            "The URL of the ledger is not usable. Give sqlite:///path/to/ledger.db or "
            "postgresql://user:password@host:5432/database."
        )
    if parsed.get_backend_name() == "sqlite" and not parsed.database:
        raise PipelineError(
            "The URL of the ledger names no file; what is kept in memory is lost. "
            "Give sqlite:///path/to/ledger.db."
        )
    return parsed


def _place(url: URL) -> str:
    """Where the ledger is, without user, password and options."""
    return URL.create(
        url.get_backend_name(), host=url.host, port=url.port, database=url.database
    ).render_as_string()


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        connect: Mapping[str, Any] = (
            {} if "connect_timeout" in url.query else {"connect_timeout": 10}
        )
        return create_engine(url, pool_pre_ping=True, connect_args=dict(connect))
    file = Path(str(url.database))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PipelineError(
            f"The folder of the ledger {file} cannot be created: {error.strerror}."
        ) from error
    engine = create_engine(
        url,
        connect_args={"timeout": _WAIT_SECONDS},
        execution_options={"schema_translate_map": {SCHEMA: None}},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so
    _switch_to_wal(connection)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


# SQLite does not wait for this lock by itself, and several processes may open a new file at once.
@tenacity.retry(
    retry=tenacity.retry_if_exception_type(sqlite3.OperationalError),
    stop=tenacity.stop_after_delay(_WAIT_SECONDS),
    wait=tenacity.wait_random(0.01, 0.1),
    reraise=True,
)
def _switch_to_wal(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("ledger_reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
