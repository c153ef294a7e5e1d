"""Running the same work in several processes at once."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from typing import Any

_start: Barrier


def race(work: Callable[..., Any], *arguments: tuple[Any, ...]) -> list[Any]:
    """What each process returned; one process for each tuple of arguments."""
    context = multiprocessing.get_context("spawn")
    runners = len(arguments)
    with ProcessPoolExecutor(
        runners, mp_context=context, initializer=_prepare, initargs=(context.Barrier(runners),)
    ) as pool:
        started = [pool.submit(_run, work, each) for each in arguments]
        return [future.result() for future in started]


def _prepare(start: Barrier) -> None:
    global _start
    _start = start


def _run(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """All start once all are there: getting there takes longer than the work."""
    _start.wait(timeout=60)
    return work(*arguments)
