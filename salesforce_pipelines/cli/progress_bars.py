"""Progress bars on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from salesforce_pipelines.pull.pulling import Progress as Told


class ProgressBars:
    """A bar for each reading that is under way, gone when it is over; nothing without a terminal.

    Used as a context manager for the time of a run, as Dagster's resource `progress`.
    """

    def __init__(self, console: Console | None = None) -> None:
        """Prepare; by default for the standard output."""
        console = console or Console()
        self._bars = Progress(
            TextColumn("   {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # What others print stays where they print it.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    @contextmanager
    def of(self, what: str) -> Iterator[Told]:
        """What to tell the rows of one reading; its bar comes with the first of them."""
        task: TaskID | None = None

        def told(rows: int, expected: int) -> None:
            nonlocal task
            first = task is None
            if task is None:
                task = self._bars.add_task(what)
            self._bars.update(task, completed=rows, total=expected or None, refresh=first)

        try:
            yield told
        finally:
            if task is not None:
                self._bars.remove_task(task)
