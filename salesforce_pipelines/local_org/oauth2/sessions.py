"""Who is logged in: access tokens, and the refresh tokens that give new ones.

An approval is what a person granted in a browser: one current refresh token, the spent ones
before it, and the access tokens they gave. Ending an approval ends all of them.
"""

import secrets
import sqlite3
import threading
from dataclasses import dataclass

from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.errors import OAuthError
from salesforce_pipelines.local_org.oauth2.connected_app import app_settings
from salesforce_pipelines.local_org.oauth2.users import is_active
from salesforce_pipelines.local_org.storage.state import State
from salesforce_pipelines.local_org.storage.store import Store

_TOKEN_BYTES = 72
# The last use is written this often within a session's lifetime, not at each call.
_WRITES_PER_LIFETIME = 120
_SPENT_SECONDS = 90 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in."""

    token: str
    user_id: str
    client_id: str
    scope: str


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token that is valid now.

    Attributes:
        kind: `access_token` or `refresh_token`.
        expires_at: Seconds since 1970; None for one that does not expire.
    """

    kind: str
    user_id: str
    client_id: str
    scope: str
    issued_at: float
    expires_at: float | None = None


class Sessions:
    """The tokens of one org, kept in its platform state.

    Args:
        state: Where tokens are kept, and what time it is.
        store: Tells which Users are active; the tokens of others do not work.
    """

    def __init__(self, state: State, store: Store) -> None:
        self._state = state
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Session, float]] = {}

    def open(self, user_id: str, client_id: str, scope: str) -> Session:
        """Log a user in, without a refresh token."""
        self._forget_expired()
        with self._state.transaction() as connection:
            return self._insert(connection, user_id, client_id, scope, "")

    def approve(self, user_id: str, client_id: str, scope: str) -> tuple[Session, str]:
        """Log a user in; the session and its refresh token."""
        self._forget_expired()
        approval, token = secrets.token_hex(16), _refresh_token()
        with self._state.transaction() as connection:
            granted = (user_id, client_id, scope, approval)
            _keep_refresh_token(connection, token, granted, self._state.time())
            return self._insert(connection, user_id, client_id, scope, approval), token

    def find(self, token: str) -> Session | None:
        """The session of an access token, which is used by this; None if it is not valid."""
        now, lifetime = self._state.time(), app_settings(self._state).session_seconds
        known = self._known.get(token) if self._lives_from() == "used_at" else None
        if known is None or now - known[1] > lifetime / _WRITES_PER_LIFETIME:
            known = self._used(token, now, lifetime)
        if known is None or not is_active(self._store, known[0].user_id):
            return None
        return known[0]

    def refresh(self, token: str, client_id: str, *, rotate: bool) -> tuple[Session, str | None]:
        """A new session for a refresh token, and the next refresh token if they rotate.

        Raises:
            OAuthError: The token is not valid, or its user is not active. A spent one ends its
                approval.
        """
        expired = OAuthError("invalid_grant", "expired access/refresh token")
        found = self._state.rows(
            "SELECT user_id, client_id, scope, approval FROM oauth_refresh_token WHERE token = ?",
            [token],
        )
        if not found or found[0][1] != client_id:
            raise expired
        user_id, _, scope, approval = found[0]
        if not is_active(self._store, user_id):
            raise OAuthError("invalid_grant", "inactive user")
        self._forget_expired()
        with self._state.transaction() as connection:
            successor = self._rotated(connection, token) if rotate else None
            if successor or (not rotate and _is_current(connection, token)):
                session = self._insert(connection, user_id, client_id, scope, approval)
                return session, successor
        # It is spent, so somebody has used it who should not have it.
        self._end(approval)
        raise expired

    def has_approval(self, user_id: str, client_id: str) -> bool:
        """Whether a user has granted a refresh token that is still there."""
        return bool(
            self._state.rows(
                "SELECT 1 FROM oauth_refresh_token"
                " WHERE user_id = ? AND client_id = ? AND spent_at IS NULL LIMIT 1",
                [user_id, client_id],
            )
        )

    def known_token(self, token: str) -> KnownToken | None:
        """What a valid access or refresh token is, without using it; None for any other."""
        refresh = self._state.rows(
            "SELECT user_id, client_id, scope, issued_at FROM oauth_refresh_token"
            " WHERE token = ? AND spent_at IS NULL",
            [token],
        )
        access = self._state.rows(
            f"SELECT user_id, client_id, scope, issued_at, {self._lives_from()}"
            " FROM oauth_session WHERE token = ?",
            [token],
        )
        if refresh:
            known = KnownToken("refresh_token", *refresh[0])
        elif access:
            user_id, client_id, scope, issued_at, lives_from = access[0]
            ends = lives_from + app_settings(self._state).session_seconds
            if ends < self._state.time():
                return None
            known = KnownToken("access_token", user_id, client_id, scope, issued_at, ends)
        else:
            return None
        return known if is_active(self._store, known.user_id) else None

    def revoke(self, token: str) -> bool:
        """End a session, or a refresh token with the sessions it gave; False if not valid."""
        self._forget_expired()
        approval = self._state.rows(
            "SELECT approval FROM oauth_refresh_token WHERE token = ? AND spent_at IS NULL", [token]
        )
        if approval:
            self._end(approval[0][0])
            return True
        return self._delete_sessions("token = ?", token) > 0

    def end(self, token: str | None = None) -> int:
        """End the session of an access token, or every session; how many there were.

        Refresh tokens stay valid.
        """
        return self._delete_sessions("? IN ('', token)", token or "")

    def _used(self, token: str, now: float, lifetime: float) -> tuple[Session, float] | None:
        """A session whose use is written down; None if it is not there or has expired."""
        with self._lock:
            found = self._state.rows(
                "UPDATE oauth_session SET used_at = ?"
                f" WHERE token = ? AND {self._lives_from()} >= ?"
                " RETURNING user_id, client_id, scope",
                [now, token, now - lifetime],
            )
            if not found:
                self._known.pop(token, None)
                return None
            known = Session(token, *found[0]), now
            self._known[token] = known
            return known

    def _insert(
        self,
        connection: sqlite3.Connection,
        user_id: str,
        client_id: str,
        scope: str,
        approval: str,
    ) -> Session:
        secret = secrets.token_urlsafe(_TOKEN_BYTES).replace("-", ".")
        session = Session(f"{self._store.org_id[:15]}!{secret}", user_id, client_id, scope)
        now = self._state.time()
        connection.execute(
            "INSERT INTO oauth_session VALUES (?, ?, ?, ?, ?, ?, ?)",
            [session.token, user_id, client_id, scope, approval, now, now],
        )
        return session

    def _rotated(self, connection: sqlite3.Connection, token: str) -> str | None:
        """The next refresh token, the old one being spent; None if it was spent before."""
        now = self._state.time()
        row = connection.execute(
            "UPDATE oauth_refresh_token SET spent_at = ? WHERE token = ? AND spent_at IS NULL"
            " RETURNING user_id, client_id, scope, approval",
            [now, token],
        ).fetchone()
        if row is None:
            return None
        successor = _refresh_token()
        _keep_refresh_token(connection, successor, row, now)
        connection.execute(
            "DELETE FROM oauth_refresh_token WHERE spent_at < ?", [now - _SPENT_SECONDS]
        )
        return successor

    def _end(self, approval: str) -> None:
        self._state.rows("DELETE FROM oauth_refresh_token WHERE approval = ?", [approval])
        self._delete_sessions("approval = ?", approval)

    def _forget_expired(self) -> None:
        lifetime = app_settings(self._state).session_seconds
        self._delete_sessions(f"{self._lives_from()} < ?", self._state.time() - lifetime)

    def _lives_from(self) -> str:
        """The column with the time that a session's lifetime counts from."""
        extends = choice(self._state, "session_use") == "extends"
        return "used_at" if extends else "issued_at"

    def _delete_sessions(self, condition: str, value: str | float) -> int:
        with self._lock:
            gone = self._state.rows(
                f"DELETE FROM oauth_session WHERE {condition} RETURNING token", [value]
            )
            for (token,) in gone:
                self._known.pop(token, None)
            return len(gone)


def _is_current(connection: sqlite3.Connection, token: str) -> bool:
    sql = "SELECT 1 FROM oauth_refresh_token WHERE token = ? AND spent_at IS NULL"
    return connection.execute(sql, [token]).fetchone() is not None


def _refresh_token() -> str:
    return f"5Aep861{secrets.token_urlsafe(48).replace('-', '.')}"


def _keep_refresh_token(
    connection: sqlite3.Connection,
    token: str,
    granted: tuple[str, str, str, str],
    now: float,
) -> None:
    """Keep a token with its user, client, scope and approval."""
    connection.execute(
        "INSERT INTO oauth_refresh_token VALUES (?, ?, ?, ?, ?, ?, NULL)", [token, *granted, now]
    )
