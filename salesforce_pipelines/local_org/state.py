"""What the platform remembers beside the records: sessions, API calls and Bulk jobs.

It has a file of its own, so that counting a call never waits for a load of records.
"""

import secrets
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.store import Clock, utc_now

SESSION_SECONDS = 7200
_TOKEN_BYTES = 72
_DAY_HOURS = 24

_TABLES = """
CREATE TABLE IF NOT EXISTS session
    (token TEXT PRIMARY KEY, user_id TEXT, client_id TEXT, refresh_token TEXT, used_at REAL);
CREATE TABLE IF NOT EXISTS refresh_token (token TEXT PRIMARY KEY, user_id TEXT, client_id TEXT);
CREATE TABLE IF NOT EXISTS api_calls (hour INTEGER PRIMARY KEY, calls INTEGER);
CREATE TABLE IF NOT EXISTS job
    (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, kind TEXT, state TEXT, body TEXT);
"""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in."""

    token: str
    user_id: str


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
        self._sessions: dict[str, tuple[Session, float]] = {}
        self._calls: dict[int, int] = dict(self.rows("SELECT hour, calls FROM api_calls"))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    # Sessions

    def open_session(
        self, org_id: str, user_id: str, client_id: str, refresh_token: str | None = None
    ) -> Session:
        """Log a user in."""
        token = f"{org_id[:15]}!{secrets.token_urlsafe(_TOKEN_BYTES).replace('-', '.')}"
        self.rows(
            "INSERT INTO session VALUES (?, ?, ?, ?, ?)",
            [token, user_id, client_id, refresh_token, self._time()],
        )
        return Session(token, user_id)

    def session(self, token: str) -> Session | None:
        """The session of an access token; None if there is none or it has expired."""
        now = self._time()
        known = self._sessions.get(token)
        if known is None or now - known[1] > SESSION_SECONDS / 120:
            found = self.rows("SELECT user_id, used_at FROM session WHERE token = ?", [token])
            if not found or now - found[0][1] > SESSION_SECONDS:
                self._sessions.pop(token, None)
                return None
            known = Session(token, found[0][0]), now
            self._sessions[token] = known
            self.rows("UPDATE session SET used_at = ? WHERE token = ?", [now, token])
        return known[0]

    def grant_refresh_token(self, user_id: str, client_id: str) -> str:
        """A new refresh token for a user."""
        token = f"5Aep861{secrets.token_urlsafe(48).replace('-', '.')}"
        self.rows("INSERT INTO refresh_token VALUES (?, ?, ?)", [token, user_id, client_id])
        return token

    def refresh_grant(self, token: str) -> tuple[str, str] | None:
        """The user and client of a refresh token; None if it is not valid."""
        found = self.rows("SELECT user_id, client_id FROM refresh_token WHERE token = ?", [token])
        return (found[0][0], found[0][1]) if found else None

    def revoke(self, token: str) -> bool:
        """End a session, or a refresh token with the sessions it gave; False if unknown."""
        gone = self.rows("DELETE FROM refresh_token WHERE token = ? RETURNING token", [token])
        gone += self.rows(
            "DELETE FROM session WHERE token = ? OR refresh_token = ? RETURNING token",
            [token, token],
        )
        for (ended,) in gone:
            self._sessions.pop(ended, None)
        return bool(gone)

    # API calls

    def count_call(self) -> int:
        """Count one API call; the calls of the last 24 hours."""
        hour = int(self._time() // 3600)
        with self._lock:
            self._calls[hour] = self._calls.get(hour, 0) + 1
            self._connection.execute(
                "INSERT OR REPLACE INTO api_calls VALUES (?, ?)", [hour, self._calls[hour]]
            )
            return self._used(hour)

    def calls_used(self) -> int:
        """The API calls of the last 24 hours."""
        with self._lock:
            return self._used(int(self._time() // 3600))

    def _used(self, hour: int) -> int:
        return sum(calls for at, calls in self._calls.items() if at > hour - _DAY_HOURS)

    def _time(self) -> float:
        return self._clock().timestamp()
