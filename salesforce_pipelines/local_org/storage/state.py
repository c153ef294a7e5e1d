"""What the platform remembers beside the records: API calls, Bulk jobs, sessions, settings.

It has a file of its own, so that counting a call never waits for a load of records.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.storage.store import Clock, utc_now

_DAY_HOURS = 24

_TABLES = """
CREATE TABLE IF NOT EXISTS platform_setting (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS oauth_session
    (token TEXT PRIMARY KEY, user_id TEXT, client_id TEXT, scope TEXT, approval TEXT,
     issued_at REAL, used_at REAL);
CREATE TABLE IF NOT EXISTS oauth_refresh_token
    (token TEXT PRIMARY KEY, user_id TEXT, client_id TEXT, scope TEXT, approval TEXT,
     issued_at REAL, spent_at REAL);
CREATE TABLE IF NOT EXISTS oauth_code
    (code TEXT PRIMARY KEY, user_id TEXT, body TEXT, issued_at REAL, spent INTEGER);
CREATE TABLE IF NOT EXISTS oauth_ticket
    (ticket TEXT PRIMARY KEY, browser TEXT, body TEXT, issued_at REAL);
CREATE TABLE IF NOT EXISTS api_calls (hour INTEGER PRIMARY KEY, calls INTEGER);
CREATE TABLE IF NOT EXISTS job
    (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, kind TEXT, state TEXT, body TEXT);
"""


class State:
    """The platform's own file, opened.

    Args:
        path: The SQLite file; made if it is missing.

    Raises:
        PipelineError: Another process has it open.
    """

    def __init__(self, path: Path, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=1, isolation_level=None, check_same_thread=False
        )
        try:
            # Held until it is closed, so that two servers never share a home.
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            # A crash of the server loses nothing; only one of the machine could.
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.executescript(_TABLES)
        except sqlite3.OperationalError:
            self._connection.close()
            raise PipelineError(
                f"{path.parent} is in use by another local org. Stop it, or choose another --home."
            ) from None
        self._settings: dict[str, str] = dict(self.rows("SELECT name, value FROM platform_setting"))
        self._calls: dict[int, int] = dict(self.rows("SELECT hour, calls FROM api_calls"))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection to itself, in a transaction that an exception undoes."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def time(self) -> float:
        """The server's time in seconds since 1970."""
        return self._clock().timestamp()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    # Settings that are changed while the org is served

    def setting(self, name: str) -> str | None:
        """One setting's value; None if it was never set."""
        return self._settings.get(name)

    def set_setting(self, name: str, value: str) -> None:
        """Keep one setting's value."""
        self.rows("INSERT OR REPLACE INTO platform_setting VALUES (?, ?)", [name, value])
        self._settings[name] = value

    # API calls

    def count_call(self) -> int:
        """Count one API call; the calls of the last 24 hours."""
        hour = int(self.time() // 3600)
        with self._lock:
            self._calls[hour] = self._calls.get(hour, 0) + 1
            self._connection.execute(
                "INSERT OR REPLACE INTO api_calls VALUES (?, ?)", [hour, self._calls[hour]]
            )
            return self._used(hour)

    def calls_used(self) -> int:
        """The API calls of the last 24 hours."""
        with self._lock:
            return self._used(int(self.time() // 3600))

    def set_calls_used(self, calls: int) -> None:
        """Let that many API calls be used in the last 24 hours, all of them just now."""
        hour = int(self.time() // 3600)
        with self._lock:
            self._calls = {hour: calls}
            self._connection.execute("DELETE FROM api_calls")
            self._connection.execute("INSERT INTO api_calls VALUES (?, ?)", [hour, calls])

    def _used(self, hour: int) -> int:
        # A clock that was moved back makes calls of the future.
        return sum(calls for at, calls in self._calls.items() if hour - _DAY_HOURS < at <= hour)
