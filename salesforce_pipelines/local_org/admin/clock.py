"""The org's time: the machine's time, moved or stopped, which outlives a restart."""

import json
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.storage.store import Clock, utc_now

EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """How the org's time differs from the machine's.

    Attributes:
        offset_seconds: How far it is ahead.
        frozen_at: The time at which it stands still (seconds since 1970); None if it runs.
    """

    offset_seconds: float = 0.0
    frozen_at: float | None = None

    def time(self, real: datetime) -> datetime:
        """The org's time at a moment of the machine's."""
        if self.frozen_at is not None:
            return datetime.fromtimestamp(self.frozen_at, UTC)
        return real + timedelta(seconds=self.offset_seconds)


class MovableClock:
    """A clock that tells the org's time, and that tests move.

    Args:
        path: The file that keeps its setting; without one, the setting is forgotten.
        real: The machine's time.

    Raises:
        PipelineError: The file is not a clock's.
    """

    def __init__(self, path: Path | None = None, real: Clock = utc_now) -> None:
        self._path = path
        self._real = real
        self._changing = threading.Lock()
        self._setting = _read(path) if path and path.exists() else ClockSetting()

    def __call__(self) -> datetime:
        """The org's time."""
        return self._setting.time(self._real())

    @property
    def setting(self) -> ClockSetting:
        """How it differs from the machine's time now."""
        return self._setting

    def move_by(self, seconds: float) -> None:
        """Move it on, or back with a negative number.

        Raises:
            ValueError: It would leave the years 1970 to 9000.
        """
        with self._changing:
            self._move_to(self().timestamp() + seconds, self._setting.offset_seconds + seconds)

    def set_offset(self, seconds: float) -> None:
        """Let it be that far ahead of the machine's time; one that stands still is put there.

        Raises:
            ValueError: It would leave the years 1970 to 9000.
        """
        with self._changing:
            self._move_to(self._real().timestamp() + seconds, seconds)

    def set_now(self, moment: datetime) -> None:
        """Let it tell a certain time now.

        Raises:
            ValueError: That is not within the years 1970 to 9000.
        """
        with self._changing:
            ahead = (moment - self._real()).total_seconds()
            self._move_to(moment.timestamp(), ahead)

    def set_frozen(self, frozen: bool) -> None:
        """Stop it where it is, or let it run on from where it stands."""
        with self._changing:
            now = self()
            if frozen:
                self._keep(ClockSetting(self._setting.offset_seconds, now.timestamp()))
            elif self._setting.frozen_at is not None:
                self._keep(ClockSetting((now - self._real()).total_seconds()))

    def _move_to(self, timestamp: float, offset: float) -> None:
        if not EARLIEST.timestamp() <= timestamp <= LATEST.timestamp():
            raise ValueError("the org's time must be within the years 1970 to 9000")
        frozen = self._setting.frozen_at is not None
        self._keep(ClockSetting(offset, timestamp if frozen else None))

    def _keep(self, setting: ClockSetting) -> None:
        if self._path:
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(asdict(setting)), encoding="utf-8")
            partial.replace(self._path)
        self._setting = setting


def _read(path: Path) -> ClockSetting:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        frozen_at = kept["frozen_at"]
        setting = ClockSetting(
            float(kept["offset_seconds"]), None if frozen_at is None else float(frozen_at)
        )
        setting.time(utc_now())
    except (ValueError, TypeError, KeyError, OverflowError):
        raise PipelineError(
            f"{path} does not say how far the org's clock is moved. Delete it to run on real time."
        ) from None
    return setting
