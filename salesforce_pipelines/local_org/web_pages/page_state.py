"""What the server remembers for its pages: the tickets of open forms, and counts of records."""

import secrets
import threading
import time
from collections.abc import Callable, Mapping

_LIFETIME_SECONDS = 3600
_MOST_TICKETS = 2_000
_FRESH_SECONDS = 2.0
_RESTING_TIMES = 10


class Tickets:
    """One-time tickets of forms, so that no other site can make a browser send one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str, float]] = {}

    def issue(self, purpose: str) -> str:
        """A ticket for one form; the oldest ones are forgotten when there are many."""
        ticket = secrets.token_urlsafe(24)
        with self._lock:
            self._open[ticket] = purpose, time.monotonic()
            while len(self._open) > _MOST_TICKETS:
                self._open.pop(next(iter(self._open)))
        return ticket

    def redeem(self, ticket: str, purpose: str) -> bool:
        """Whether a ticket is valid for that purpose; it never is again."""
        with self._lock:
            issued = self._open.pop(ticket, None)
        if issued is None:
            return False
        return issued[0] == purpose and time.monotonic() - issued[1] < _LIFETIME_SECONDS


class Counts:
    """Counts of records that may be some seconds old, and ten times as old as counting takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Mapping[str, int] = {}
        self._stale_at = 0.0

    def get(self, count: Callable[[], Mapping[str, int]]) -> Mapping[str, int]:
        """The counts that `count` gave now or a moment ago."""
        with self._lock:
            started = time.monotonic()
            if started >= self._stale_at:
                self._known = count()
                ended = time.monotonic()
                self._stale_at = ended + max(_FRESH_SECONDS, _RESTING_TIMES * (ended - started))
            return self._known


class PageState:
    """The state of the pages of one org."""

    def __init__(self) -> None:
        self.tickets = Tickets()
        self.counts = Counts()
