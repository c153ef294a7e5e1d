"""`python -m benchmarks.local_org`: what the local org itself can do, measured from outside.

Building a home, starting on one that is there, and a Bulk query over every Contact, whose result
curl downloads; beside it the floor, the same bytes sent by `python -m http.server`.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import typer
from rich.console import Console
from rich.table import Table

from salesforce_pipelines.local_org.running import RunningOrg, running_org

FIELDS = (
    *("Id", "IsDeleted", "AccountId", "LastName", "FirstName", "Salutation", "Name"),
    *("MailingStreet", "MailingCity", "MailingState", "MailingPostalCode", "MailingCountry"),
    *("Phone", "MobilePhone", "Email", "Title", "Department", "LeadSource", "OwnerId"),
    *("CreatedDate", "LastModifiedDate", "SystemModstamp", "LinkedIn_Url__c"),
    *("External_Id__c", "Full_Name_Length__c"),
)
"""25 fields of Contact, one of them a formula."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    seconds: float
    megabytes: float | None = None
    rows: int | None = None
    peak_mb: float | None = None


def main(contacts: int = 1_000_000) -> None:
    """Measure an org of so many Contacts."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        started = time.perf_counter()
        with running_org(home, contacts=contacts, startup_timeout=1800) as org:
            rows = [Row("build and start", time.perf_counter() - started, rows=contacts)]
            rows[0] = Row(rows[0].what, rows[0].seconds, rows=contacts, peak_mb=_peak(org))
        started = time.perf_counter()
        with running_org(home, startup_timeout=120) as org:
            rows.append(Row("start on an existing home", time.perf_counter() - started))
            rows += _bulk_query(org, Path(folder) / "result.csv")
        rows.append(_floor(Path(folder)))
    _print(rows)


def _bulk_query(org: RunningOrg, result: Path) -> Iterator[Row]:
    headers = {"Authorization": f"Bearer {_token(org)}"}
    root = f"{org.url}/services/data/v62.0/jobs/query"
    body = {"operation": "query", "query": f"SELECT {', '.join(FIELDS)} FROM Contact"}
    started = time.perf_counter()
    job = requests.post(root, json=body, headers=headers, timeout=60).json()
    while job["state"] not in ("JobComplete", "Failed", "Aborted"):
        time.sleep(0.2)
        job = requests.get(f"{root}/{job['id']}", headers=headers, timeout=60).json()
    if job["state"] != "JobComplete":
        raise SystemExit(f"The Bulk query ended as {job['state']}: {job.get('errorMessage')}")
    composing = time.perf_counter() - started
    rows = job["numberRecordsProcessed"]
    address = f"{root}/{job['id']}/results?maxRecords={rows}"
    plain = _curl(address, headers, result)
    size = result.stat().st_size / 1e6
    yield Row("Bulk query, composed", composing, size, rows, _peak(org))
    yield Row("Bulk result, curl", plain, size, rows, _peak(org))
    zipped = _curl(address, headers, result, "--compressed")
    yield Row("Bulk result, curl --compressed", zipped, size, rows, _peak(org))


def _curl(address: str, headers: dict[str, str], result: Path, *options: str) -> float:
    """Seconds that curl takes for the whole of a download."""
    named = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    form = '{"seconds": %{time_total}, "status": %{http_code}}'
    command = ["curl", "-s", "-o", str(result), "-w", form, *named, *options, address]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer["status"] != 200:
        raise SystemExit(f"{address} answered {answer['status']}")
    return float(answer["seconds"])


def _floor(folder: Path) -> Row:
    """The same file from Python's own web server."""
    with _static(folder) as address:
        seconds = _curl(f"{address}/result.csv", {}, folder / "copy.csv")
    size = (folder / "result.csv").stat().st_size / 1e6
    return Row("floor: the same bytes, http.server", seconds, size)


@contextmanager
def _static(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().split("port ")[1].split()[0]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _token(org: RunningOrg) -> str:
    answer = requests.post(
        f"{org.url}/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(org.client_id, org.client_secret),
        timeout=10,
    )
    return str(answer.json()["access_token"])


def _peak(org: RunningOrg) -> float:
    """The most memory that the server has held so far, in MB."""
    status = Path(f"/proc/{org.process.pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _print(rows: list[Row]) -> None:
    table = Table("local org", "s", "MB", "MB/s", "rows/s", "peak MB")
    for row in rows:
        speed = f"{row.megabytes / row.seconds:,.0f}" if row.megabytes else ""
        table.add_row(
            row.what,
            f"{row.seconds:.2f}",
            f"{row.megabytes:,.0f}" if row.megabytes else "",
            speed,
            f"{row.rows / row.seconds:,.0f}" if row.rows else "",
            f"{row.peak_mb:.0f}" if row.peak_mb else "",
        )
    Console(highlight=False, width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
