"""The records of a local org: one SQLite table per sObject in a file that outlives the server.

Texts are compared without letter case (SOQL does), times are kept to the second as
`YYYY-MM-DDTHH:MM:SS` in UTC, booleans as 0 and 1. A record's `_n` numbers it within its sObject
and its Id follows from that number.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.soql.soql_functions import register_soql_functions
from salesforce_pipelines.local_org.storage.ids import IdFactory
from salesforce_pipelines.local_org.storage.reader_views import ReaderViews

Value = str | int | float | None
Clock = Callable[[], datetime]

_INDEXED = frozenset(
    {"SystemModstamp", "AccountId", "CampaignId", "ContactId", "LeadId", "OpportunityId"}
)
_NEVER_DELETED = frozenset({"User", "Group"})
_READER_CACHE_KIB = 4_000
# What `recycle_bin` keeps: see there.
_RECYCLE_BIN = (
    "CREATE TABLE _recycle_bin (id TEXT PRIMARY KEY, sobject TEXT, root TEXT, deleted_at TEXT)"
    " WITHOUT ROWID",
    "CREATE INDEX _recycle_bin_root ON _recycle_bin (root)",
    "CREATE INDEX _recycle_bin_time ON _recycle_bin (deleted_at)",
    "CREATE TABLE _cleared_lookup (parent TEXT, sobject TEXT, id TEXT, field TEXT,"
    " PRIMARY KEY (parent, sobject, id, field)) WITHOUT ROWID",
    "CREATE INDEX _cleared_lookup_id ON _cleared_lookup (id)",
    "CREATE TABLE _deleted (sobject TEXT, deleted_at TEXT, id TEXT,"
    " PRIMARY KEY (sobject, deleted_at, id)) WITHOUT ROWID",
    "CREATE INDEX _deleted_time ON _deleted (deleted_at)",
    "CREATE TABLE _highest_number (sobject TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID",
)


def utc_now() -> datetime:
    """The server's time."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """A time as the store keeps it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


class Store:
    """The open records of one org: many readers, one writer at a time.

    Args:
        path: The SQLite file, already made by `create_tables`.
        schema: The sObjects it keeps.
        clock: The server's time; tests may bring their own.
    """

    def __init__(self, path: Path, schema: Schema, clock: Clock = utc_now) -> None:
        self.path = path
        self.schema = schema
        self.clock = clock
        self.reader_views = ReaderViews()
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        self._writing = threading.Lock()
        self._writer = self._connect()
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = NORMAL")
        self.ids = IdFactory(self.setting("pod") or "5g0")
        self.org_id = self.setting("org_id") or ""
        self.admin_id = self.ids.record_id("005", ADMIN_NUMBER)
        self.integration_user_id = self.ids.record_id("005", INTEGRATION_USER_NUMBER)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        prepare(connection)
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        connection.execute("PRAGMA busy_timeout = 60000")
        with self._opening:
            self._opened.append(connection)
        return connection

    def reader(self) -> sqlite3.Connection:
        """This thread's connection for reading."""
        joined: sqlite3.Connection | None = getattr(self._local, "writing", None)
        if joined is not None:
            return joined
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("PRAGMA query_only = 1")
            self._local.views = 0
        if self._local.views != self.reader_views.version and not connection.in_transaction:
            self._local.views = self.reader_views.apply(connection)
        return connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection on which every statement sees the same state of the org."""
        connection = self.reader()
        if connection is self._writer:  # within `transaction`, which sees one state anyway
            yield connection
            return
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")

    @contextmanager
    def bytes_reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own that gives texts as bytes, for results of any size."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            prepare(connection)
            connection.execute("PRAGMA query_only = 1")
            connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
            if self.reader_views.version:
                self.reader_views.apply(connection)
            connection.text_factory = bytes
            yield connection
        finally:
            connection.close()

    @contextmanager
    def write(
        self, once_committed: Callable[[], None] | None = None
    ) -> Iterator[sqlite3.Connection]:
        """The only connection that writes, in a transaction that an exception undoes.

        Args:
            once_committed: Called when it is committed, before anybody else may write; not for use
                within `transaction`.
        """
        if getattr(self._local, "writing", None) is not None:
            with undoable(self._writer):
                yield self._writer
            return
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")
            if once_committed:
                once_committed()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything this thread reads and writes until it ends, as one transaction.

        Each `write` within it may fail alone, and is seen by what is read after it; an exception
        that leaves the whole undoes all of it.
        """
        with self.write() as connection:
            self._local.writing = connection
            try:
                yield
            finally:
                self._local.writing = None

    def now(self) -> str:
        """The server's time as the store keeps it."""
        return stamp(self.clock())

    def setting(self, key: str) -> str | None:
        """One of the org's own facts, such as its id."""
        row = self._writer.execute("SELECT value FROM _setting WHERE key = ?", [key]).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Close every connection; nobody may use the store any more."""
        for connection in reversed(self._opened):
            connection.close()


@contextmanager
def undoable(connection: sqlite3.Connection) -> Iterator[None]:
    """A part of the writing transaction that an exception undoes without the rest."""
    connection.execute("SAVEPOINT part")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK TO part")
        raise
    finally:
        connection.execute("RELEASE part")


ADMIN_NUMBER = 1
INTEGRATION_USER_NUMBER = 2
FIRST_LOADED_NUMBER = 1000
"""Records with lower numbers are the org's own, made with it."""


def prepare(connection: sqlite3.Connection) -> None:
    """Teach a connection the functions that the store's SQL uses."""
    connection.create_function("fold", 1, _fold, deterministic=True)
    connection.create_function("java_double", 1, java_double, deterministic=True)
    register_soql_functions(connection)


def _fold(value: Value) -> Value:
    # Not casefold(): the ASCII texts `ss`, which SQLite compares by itself, are no `ß`.
    return value.lower() if isinstance(value, str) else value


def java_double(value: float | None) -> str:
    """A number as Java prints a double, which is how Bulk results show it."""
    if value is None:
        return ""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(float(value))
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    fraction = "".join(map(str, digits[1:])) or "0"
    return f"{'-' * sign}{digits[0]}.{fraction}E{int(exponent) + len(digits) - 1}"


def create_tables(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make the tables of an empty org; their indexes come after the first load."""
    for sobject in schema:
        if not sobject.is_history:
            create_table(connection, sobject)
    connection.execute("CREATE TABLE _setting (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
    connection.execute(
        "CREATE TABLE _list_view (id TEXT PRIMARY KEY, sobject TEXT, definition TEXT)"
    )
    connection.execute(
        "CREATE TABLE _ingest_progress (job_id TEXT PRIMARY KEY, rows_done INTEGER,"
        " rows_failed INTEGER, succeeded_bytes INTEGER, failed_bytes INTEGER)"
    )
    for statement in _RECYCLE_BIN:
        connection.execute(statement)


def create_table(connection: sqlite3.Connection, sobject: SObject, name: str = "") -> None:
    """Make a table with the columns of an sObject, by default that of its records."""
    columns = ", ".join(column_definition(item) for item in sobject.stored_fields)
    table = quoted(name or sobject.name)
    connection.execute(f"CREATE TABLE {table} (_n INTEGER PRIMARY KEY, {columns})")


def create_indexes(connection: sqlite3.Connection, schema: Schema) -> None:
    """Make the indexes that look-ups, deletes and incremental pulls use."""
    for sobject in schema:
        if sobject.is_history:
            continue
        for item in sobject.stored_fields:
            create_index(connection, sobject, item)


def create_index(connection: sqlite3.Connection, sobject: SObject, item: Field) -> None:
    """Make the index of one field, if it needs one.

    Raises:
        sqlite3.IntegrityError: The field is unique, and live records share a value.
    """
    table, column = quoted(sobject.name), quoted(item.name)
    name = quoted(index_name(sobject, item))
    if item.type == "id":
        connection.execute(f"CREATE UNIQUE INDEX {name} ON {table} ({column})")
    elif item.unique:
        live = "IsDeleted = 0 AND " if sobject.has_is_deleted else ""
        connection.execute(
            f"CREATE UNIQUE INDEX {name} ON {table} ({column}) WHERE {live}{column} IS NOT NULL"
        )
    elif item.name == "SystemModstamp" and sobject.has_is_deleted:
        # With IsDeleted it answers counts and windows without reading the records.
        connection.execute(f"CREATE INDEX {name} ON {table} (SystemModstamp, IsDeleted)")
    elif (
        item.name in _INDEXED
        or _is_account_name(sobject, item)
        or (item.id_lookup and not item.external_id)
    ):
        connection.execute(f"CREATE INDEX {name} ON {table} ({column})")
    elif item.external_id or _leads_to_deletable(item):
        # Most records have none.
        connection.execute(f"CREATE INDEX {name} ON {table} ({column}) WHERE {column} IS NOT NULL")


def index_name(sobject: SObject, item: Field) -> str:
    """The name of a field's index."""
    return f"{sobject.name}.{item.name}"


def _is_account_name(sobject: SObject, item: Field) -> bool:
    return sobject.name == "Account" and item.name == "Name"


def _leads_to_deletable(item: Field) -> bool:
    """Whether a delete must find the records that have a value here: users are never deleted."""
    return bool(set(item.refers_to) - _NEVER_DELETED)


def column_definition(item: Field) -> str:
    """The column that keeps a stored field."""
    name = quoted(item.name)
    if item.type == "boolean":
        return f"{name} INTEGER NOT NULL DEFAULT {int(bool(item.default))}"
    if item.type in ("int", "long"):
        return f"{name} INTEGER"
    if item.is_number:
        return f"{name} REAL"
    if item.case_sensitive:
        return f"{name} TEXT"
    return f"{name} TEXT COLLATE NOCASE" if item.is_text else f"{name} TEXT"


def next_number(connection: sqlite3.Connection, sobject: SObject) -> int:
    """The number of the next record of an sObject; call it inside the writing transaction."""
    highest = connection.execute(
        f"SELECT max(ifnull((SELECT max(_n) FROM {quoted(sobject.name)}), 0),"
        " ifnull((SELECT number FROM _highest_number WHERE sobject = ?), 0))",
        [sobject.name],
    ).fetchone()[0]
    return max(int(highest), FIRST_LOADED_NUMBER) + 1


def insert_statement(sobject: SObject, names: Sequence[str]) -> str:
    """The SQL that inserts one record: its number, then the named fields."""
    columns = ", ".join(quoted(name) for name in names)
    marks = ", ".join("?" for _ in names)
    return f"INSERT INTO {quoted(sobject.name)} (_n, {columns}) VALUES (?, {marks})"
