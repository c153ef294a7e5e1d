"""Who is told how far pulls are: nobody, or a terminal."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from salesforce_pipelines.pull.pulling import Progress


class ProgressDisplay(Protocol):
    """Shows how far the readings of a run are; the resource `progress`."""

    def of(self, what: str) -> AbstractContextManager[Progress]:
        """What to tell the rows of one reading, for as long as it lasts."""


class NoDisplay:
    """Shows nothing: the run's log says how far it is."""

    @contextmanager
    def of(self, what: str) -> Iterator[Progress]:
        """Tell nobody."""
        yield lambda _rows, _expected: None
