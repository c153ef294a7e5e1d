"""`make bench`: the figures, as ratios to the floor of the same run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Measured, measure
from benchmarks.pulls import FULL, measure_peers, measure_pulls, print_peers, print_pulls
from salesforce_pipelines.cli.demo import reached
from salesforce_pipelines.config.loading import load
from salesforce_pipelines.local_org.generated.people import write_people
from salesforce_pipelines.local_org.running import running_org

REPOSITORY = Path(__file__).parents[1]
SIZES = (100_000, 300_000)


def main(contacts: int = 0) -> None:
    """Measure definitions, main jobs, pulls and other programs; or pulls of so many Contacts."""
    console = Console(highlight=False, width=140)
    if contacts:
        _pulls(console, contacts, times=2)
        return
    for size in SIZES:
        _pulls(console, size, times=3, peers=size == SIZES[0])
    rows = [("load definitions", measure("benchmarks.load_definitions"))]
    for size, leads in ((2_000, 1_000), (SIZES[0], 0)):
        with _installation(size, leads):
            rows.append((f"main job, {size:,} Contacts", measure("benchmarks.main_job")))
    _print(console, rows)


def _pulls(console: Console, contacts: int, *, times: int, peers: bool = False) -> None:
    with _installation(contacts, 0, people=False):
        lines = measure_pulls(contacts, times)
        print_pulls(console, contacts, lines)
        if peers:
            full = next(line.measured for line in lines if line.name == FULL)
            print_peers(console, measure_peers(), full)


@contextmanager
def _installation(contacts: int, leads: int, *, people: bool = True) -> Iterator[None]:
    """A new folder with the shipped configuration, people data, and a local org that runs."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copy(REPOSITORY / "pipelines.yaml", home / "pipelines.yaml")
        configuration = str(home / "pipelines.yaml")
        if people:
            file = load(home / "pipelines.yaml").enrichment.provider.path
            file.parent.mkdir(parents=True)
            write_people(file, contacts, leads, 1)
        with (
            running_org(
                home / "org", contacts=contacts, leads=leads, seed=1, startup_timeout=900
            ) as org,
            reached(org),
            patch.dict(os.environ, SALESFORCE_PIPELINES_CONFIG=configuration),
        ):
            yield


def _print(console: Console, rows: list[tuple[str, Measured]]) -> None:
    shown = Table("what", "wall s", "CPU s", "peak MB", "rows", "calls")
    for name, found in rows:
        read = found.answer.get("rows")
        shown.add_row(
            name,
            f"{found.wall:.2f}",
            f"{found.cpu:.2f}",
            f"{found.peak_mb:.0f}",
            "" if read is None else f"{read:,}",
            str(found.answer.get("calls", "")),
        )
    console.print(shown)
    loaded = rows[0][1].answer
    console.print(
        f"Definitions: import dagster {loaded['import_dagster']:.2f} s, "
        f"ours {loaded['ours']:.2f} s."
    )
    for name, found in rows:
        if "credits" in found.answer:
            spent, cells = found.answer["credits"], found.answer["cells"]
            console.print(f"{name}: {spent:,} credits spent, {cells:,} cells written.")


if __name__ == "__main__":
    typer.run(main)
