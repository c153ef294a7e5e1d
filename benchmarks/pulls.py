"""The pulls of Contacts of one size of org, each beside the floor of the same run."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep

from rich.console import Console
from rich.table import Table

from benchmarks import airbyte
from benchmarks.changes import change
from benchmarks.contact_fields import FIELDS
from benchmarks.measuring import Measured, best, measure
from benchmarks.pull import KILLED
from salesforce_pipelines.config.loading import configuration_path, load

FULL, FLOOR, CHANGED = "full pull", "floor: Bulk download, parsed", "0.5% changed"
SHARE = 200
"""One of so many Contacts is changed."""


@dataclass(frozen=True)
class Line:
    """What was measured, under its name."""

    name: str
    measured: Measured


def measure_pulls(contacts: int, times: int) -> list[Line]:
    """Every pull of an org that answers, the best of so many runs of each."""
    return [Line(name, found) for name, found in _measured(contacts, times)]


def _measured(contacts: int, times: int) -> Iterator[tuple[str, Measured]]:
    yield "Python, imports, configuration", best(3, lambda: measure("benchmarks.start_up"))
    yield FLOOR, best(times, lambda: measure("benchmarks.floor"))
    yield FULL, best(times, _anew)
    yield "full pull over the table", best(times, lambda: measure("benchmarks.pull", "full"))
    _wait()
    yield "nothing changed", best(times, lambda: measure("benchmarks.pull"))
    yield "reconciliation, all well", best(times, lambda: measure("benchmarks.reconcile"))
    yield "deep reconciliation, all well", measure("benchmarks.reconcile", "deep")
    yield "formulas read anew, none changed", measure("benchmarks.formulas")

    def changed() -> Measured:
        change(contacts // SHARE)
        _wait()
        return measure("benchmarks.pull")

    yield CHANGED, best(times, changed)
    _forget()
    half = f"killed-after={contacts // 2}"
    yield "full pull, killed in the middle", measure("benchmarks.pull", half, code=KILLED)
    yield "the rest of it", measure("benchmarks.pull")


def measure_peers() -> list[Line]:
    """Other programs reading every Contact of an org that answers, to nothing or to a file."""
    lines = [
        Line(f"simple-salesforce, {way}", measure("benchmarks.simple_salesforce_read", way))
        for way in ("bulk2", "query_all")
    ]
    if airbyte.is_installed():
        with TemporaryDirectory() as folder:
            lines.append(Line("Airbyte source, Bulk", airbyte.read_contacts(Path(folder))))
    return lines


def print_pulls(console: Console, contacts: int, lines: list[Line]) -> None:
    """The table of one size, and what follows from it."""
    measured = {line.name: line.measured for line in lines}
    start, floor, full = lines[0].measured, measured[FLOOR], measured[FULL]
    size = floor.answer["bytes"] / 1e6
    console.print(f"{contacts:,} Contacts, {len(FIELDS)} fields, {size:,.0f} MB of CSV")
    shown = Table(
        *("what", "wall s", "CPU s", "CPU / floor", "beyond start-up", "of the full pull"),
        *("peak MB", "rows", "rows/s", "calls"),
    )
    for line in lines:
        found, read = line.measured, line.measured.answer.get("rows")
        beyond = found.cpu - start.cpu
        shown.add_row(
            line.name,
            f"{found.wall:.2f}",
            f"{found.cpu:.2f}",
            f"{found.cpu / floor.cpu:.2f}" if read else "",
            f"{beyond:.2f}" if found is not start else "",
            f"{beyond / (full.cpu - start.cpu):.1%}" if found is not start else "",
            f"{found.peak_mb:.0f}",
            "" if read is None else f"{read:,}",
            f"{read / found.wall:,.0f}" if read else "",
            str(found.answer.get("calls", "")),
        )
    console.print(shown)


def print_peers(console: Console, lines: list[Line], full: Measured) -> None:
    """The table of the other programs, as ratios to our full pull into a table."""
    shown = Table("what", "wall s", "CPU s", "CPU / our full pull", "peak MB", "rows")
    for line in [Line("our full pull into a table", full), *lines]:
        found = line.measured
        ratio, rows = found.cpu / full.cpu, found.answer["rows"]
        shown.add_row(
            *(line.name, f"{found.wall:.2f}", f"{found.cpu:.2f}", f"{ratio:.2f}"),
            *(f"{found.peak_mb:.0f}", f"{rows:,}"),
        )
    console.print(shown)
    if not airbyte.is_installed():
        console.print("Airbyte's source was left out: `make clients` installs it.")


def _anew() -> Measured:
    _forget()
    return measure("benchmarks.pull")


def _forget() -> None:
    shutil.rmtree(load(configuration_path()).storage.tables, ignore_errors=True)


def _wait() -> None:
    """Let the second of the last edit be over: a pull's window ends before the present one."""
    sleep(1.1)
