"""`make bench`: the figures, as ratios to the floor of the same run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Measured, measure
from benchmarks.org import session
from salesforce_pipelines.cli.demo import reached
from salesforce_pipelines.local_org.running import running_org

REPOSITORY = Path(__file__).parents[1]
CHANGED = 1000


def main(contacts: int = 100_000, keep: Path | None = None) -> None:
    """Measure definitions, pulls and the floor on a local org of so many Contacts."""
    console = Console(highlight=False)
    with _folder(keep) as home:
        shutil.copy(REPOSITORY / "pipelines.yaml", home / "pipelines.yaml")
        os.environ["SALESFORCE_PIPELINES_CONFIG"] = str(home / "pipelines.yaml")
        with (
            running_org(
                home / "org", contacts=contacts, leads=0, seed=1, startup_timeout=900
            ) as org,
            reached(org),
        ):
            rows = [("definitions", measure("benchmarks.load_definitions"))]
            floor = measure("benchmarks.floor")
            rows.append(("floor: Bulk download, parsed", floor))
            rows.append(("full pull", measure("benchmarks.pull")))
            rows.append(("pull, nothing changed", measure("benchmarks.pull")))
            _change(CHANGED)
            rows.append((f"pull, {CHANGED:,} changed", measure("benchmarks.pull")))
    _print(console, contacts, rows, floor)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(keep / ".home", ignore_errors=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


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


def _print(
    console: Console, contacts: int, rows: list[tuple[str, Measured]], floor: Measured
) -> None:
    shown = Table("what", "wall s", "CPU s", "CPU / floor", "peak MB", "rows", "rows/s", "calls",
                  title=f"{contacts:,} Contacts on the local org")  # fmt: skip
    for name, found in rows:
        read = found.answer.get("rows")
        shown.add_row(
            name,
            f"{found.wall:.2f}",
            f"{found.cpu:.2f}",
            f"{found.cpu / floor.cpu:.2f}",
            f"{found.peak_mb:.0f}",
            "" if read is None else f"{read:,}",
            f"{read / found.wall:,.0f}" if read else "",
            str(found.answer.get("calls", "")),
        )
    console.print(shown)
    loaded = rows[0][1].answer
    console.print(
        f"definitions: import dagster {loaded['import_dagster']:.2f} s, "
        f"ours {loaded['ours']:.2f} s; floor: {floor.answer['bytes'] / 1e6:,.0f} MB of CSV"
    )


if __name__ == "__main__":
    typer.run(main)
