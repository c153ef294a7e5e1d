"""The limits of 24 hours beside that of API calls, and what is used of them."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.storage.store import Clock

_HOURS = 24
_MB = 1 << 20
QUERY_JOBS = 10_000
QUERY_MB = 976_562


class RollingCount:
    """A number of the last 24 hours, kept by the hour and in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._by_hour: Counter[int] = Counter()

    def add(self, number: int, at: datetime | None = None) -> None:
        """Count something that happened at a time, or now."""
        with self._lock:
            self._by_hour[_hour(at or self._clock())] += number

    def set(self, number: int) -> None:
        """Let that much be used, all of it just now."""
        with self._lock:
            self._by_hour = Counter({_hour(self._clock()): number})

    def used(self) -> int:
        """What was counted in the last 24 hours."""
        now = _hour(self._clock())
        with self._lock:
            return sum(n for hour, n in self._by_hour.items() if now - _HOURS < hour <= now)


def _hour(moment: datetime) -> int:
    return int(moment.timestamp() // 3600)


@dataclass
class Limits:
    """What Bulk query jobs may use, and what they have used; a restart restores what is allowed."""

    clock: Clock
    daily_bulk_query_jobs: int = QUERY_JOBS
    daily_bulk_query_mb: int = QUERY_MB
    bulk_query_jobs: RollingCount = field(init=False)
    bulk_query_bytes: RollingCount = field(init=False)

    def __post_init__(self) -> None:
        self.bulk_query_jobs = RollingCount(self.clock)
        self.bulk_query_bytes = RollingCount(self.clock)

    @property
    def bulk_query_mb_used(self) -> int:
        """The size of the results of the last 24 hours."""
        return self.bulk_query_bytes.used() // _MB

    def set_bulk_query_mb_used(self, megabytes: int) -> None:
        """Let results of that size have been made in the last 24 hours."""
        self.bulk_query_bytes.set(megabytes * _MB)


def check_bulk_query_limits(limits: Limits) -> None:
    """Refuse a Bulk query job that a limit forbids.

    The texts are those that Estuary's and Airbyte's connectors look for; the code is in Airbyte's.

    Raises:
        ApiError: LIMIT_EXCEEDED.
    """
    most = limits.daily_bulk_query_jobs
    if limits.bulk_query_jobs.used() >= most:
        message = f"Max bulk v2 query jobs ({most}) per 24 hrs has been reached"
        raise ApiError(400, "LIMIT_EXCEEDED", message)
    megabytes = limits.daily_bulk_query_mb
    if limits.bulk_query_mb_used >= megabytes:
        kilobytes = 1_000_000_000 if megabytes == QUERY_MB else megabytes * 1024
        message = (
            f"Max bulk v2 query result size stored ({kilobytes}) kb per 24 hrs has been exceeded"
        )
        raise ApiError(400, "LIMIT_EXCEEDED", message)
