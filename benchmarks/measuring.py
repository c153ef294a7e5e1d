"""Measures one child process as a whole: wall and CPU seconds, peak memory, what it printed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Measured:
    """Seconds of wall clock and CPU, peak resident memory in MB, and the child's JSON answer."""

    wall: float
    cpu: float
    peak_mb: float
    answer: dict[str, Any]


def measure(module: str, *arguments: str) -> Measured:
    """Run `python -m module arguments`; its last line of output is its answer as JSON."""
    started = perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    wall = perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{module} {' '.join(arguments)} failed with {process.returncode}")
    answer = json.loads(lines[-1]) if lines else {}
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, answer)
