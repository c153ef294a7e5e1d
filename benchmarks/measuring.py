"""Measures one child process as a whole: wall and CPU seconds, peak memory, what it printed."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Measured:
    """Seconds of wall clock and CPU, peak resident memory in MB, and the child's JSON answer."""

    wall: float
    cpu: float
    peak_mb: float
    answer: dict[str, Any]


def measure(module: str, *arguments: str, code: int = 0) -> Measured:
    """Run `python -m module arguments`; its last line of output is its answer as JSON.

    Args:
        module: What to run.
        arguments: Of it.
        code: The exit status it must end with.
    """
    return measure_command([sys.executable, "-m", module, *arguments], code=code)


def measure_command(command: list[str], *, code: int = 0, folder: Path | None = None) -> Measured:
    """Run a command in a process of its own; the last line that is a JSON object is its answer."""
    launch = [sys.executable, "-I", "-S", str(_LAUNCH), *command]
    done = subprocess.run(launch, stdout=subprocess.PIPE, text=True, check=True, cwd=folder)
    *lines, last = done.stdout.splitlines()
    used = json.loads(last)
    if used.pop("code") != code:
        raise SystemExit(f"{' '.join(command)} did not end with {code}")
    told = [line for line in lines if line.startswith("{")]
    return Measured(**used, answer=json.loads(told[-1]) if told else {})


def best(times: int, one: Callable[[], Measured]) -> Measured:
    """The run of the least CPU among several: what others do on the machine only adds to it.

    The peak is the highest of them.
    """
    found = [one() for _ in range(times)]
    least = min(found, key=lambda each: each.cpu)
    highest = max(each.peak_mb for each in found)
    return Measured(least.wall, least.cpu, highest, least.answer)
