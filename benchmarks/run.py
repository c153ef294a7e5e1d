"""`make bench`: the figures, as ratios to the floor of the same run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Measured, measure
from benchmarks.org import session
from salesforce_pipelines.cli.demo import reached
from salesforce_pipelines.config.loading import load
from salesforce_pipelines.local_org.generated.people import write_people
from salesforce_pipelines.local_org.running import running_org

REPOSITORY = Path(__file__).parents[1]
CHANGED = 1000


def main(contacts: int = 100_000) -> None:
    """Measure definitions, the main job on an org of the demo's size, and pulls on a large one."""
    rows = [("load definitions", measure("benchmarks.load_definitions"))]
    with _installation(2_000, 1_000):
        rows.append(("main job, 2,000 Contacts", measure("benchmarks.main_job")))
    with _installation(contacts, 0):
        floor = measure("benchmarks.floor")
        rows.append(("floor: Bulk download, parsed", floor))
        rows.append(("full pull", measure("benchmarks.pull")))
        sleep(1.1)
        rows.append(("pull, nothing changed", measure("benchmarks.pull")))
        _change(CHANGED)
        sleep(1.1)
        rows.append((f"pull, {CHANGED:,} changed", measure("benchmarks.pull")))
    with _installation(contacts, 0):
        rows.append((f"main job, {contacts:,} Contacts", measure("benchmarks.main_job")))
    _print(contacts, rows, floor)


@contextmanager
def _installation(contacts: int, leads: int) -> Iterator[None]:
    """A new folder with the shipped configuration, people data, and a local org that runs."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copy(REPOSITORY / "pipelines.yaml", home / "pipelines.yaml")
        os.environ["SALESFORCE_PIPELINES_CONFIG"] = str(home / "pipelines.yaml")
        people = load(home / "pipelines.yaml").enrichment.provider.path
        people.parent.mkdir(parents=True)
        write_people(people, contacts, leads, 1)
        with (
            running_org(
                home / "org", contacts=contacts, leads=leads, seed=1, startup_timeout=900
            ) as org,
            reached(org),
        ):
            yield


def _change(number: int) -> None:
    """Edit so many Contacts, as people in the org would."""
    org = session()
    soql = f"SELECT Id FROM Contact ORDER BY Id LIMIT {number}"
    ids = [record["Id"] for record in org.get("query", {"q": soql})["records"]]
    for start in range(0, number, 200):
        records = [
            {"attributes": {"type": "Contact"}, "id": one, "Department": "Edited"}
            for one in ids[start : start + 200]
        ]
        org.request(
            "PATCH",
            f"{org.base_path}/composite/sobjects",
            json={"allOrNone": False, "records": records},
        )
    org.close()


def _print(contacts: int, rows: list[tuple[str, Measured]], floor: Measured) -> None:
    console = Console(highlight=False, width=120)
    shown = Table("what", "wall s", "CPU s", "CPU / floor", "peak MB", "rows", "rows/s", "calls")
    for name, found in rows:
        read = found.answer.get("rows")
        shown.add_row(
            name,
            f"{found.wall:.2f}",
            f"{found.cpu:.2f}",
            f"{found.cpu / floor.cpu:.2f}" if "pull" in name else "",
            f"{found.peak_mb:.0f}",
            "" if read is None else f"{read:,}",
            f"{read / found.wall:,.0f}" if read else "",
            str(found.answer.get("calls", "")),
        )
    console.print(shown)
    loaded = rows[0][1].answer
    console.print(
        f"Pulls: {contacts:,} Contacts, {floor.answer['bytes'] / 1e6:,.0f} MB of CSV. Definitions: "
        f"import dagster {loaded['import_dagster']:.2f} s, ours {loaded['ours']:.2f} s."
    )
    for name, found in rows:
        if "credits" in found.answer:
            spent, cells = found.answer["credits"], found.answer["cells"]
            console.print(f"{name}: {spent:,} credits spent, {cells:,} cells written.")


if __name__ == "__main__":
    typer.run(main)
