"""What the pulled tables tell of the past: the versions of a record, and what changed since."""

import csv
import json
import sys
from collections import Counter
from enum import Enum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from salesforce_pipelines.cli.terminal import wide_console
from salesforce_pipelines.config.loading import configuration_path, load
from salesforce_pipelines.config.models import TABLE_NAMES
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.pull import record_states
from salesforce_pipelines.pull.history import batch_of, changes_since, versions
from salesforce_pipelines.reporting import masked
from salesforce_pipelines.store.tables import ChangeLog, Tables

TableName = Annotated[str, typer.Argument(help="A pulled table: contacts, leads, accounts …")]


_NOT_PERSONAL = frozenset(
    {
        *("Id", "IsDeleted", "MasterRecordId", "AccountId", "OwnerId", record_states.COLUMN),
        *("CreatedDate", "LastModifiedDate", "SystemModstamp"),
        *("IsConverted", "ConvertedDate", "ConvertedContactId", "ConvertedAccountId"),
        "ConvertedOpportunityId",
    }
)


class Format(Enum):
    """How Ids are printed."""

    csv = "csv"
    json = "json"


def history(
    table: TableName,
    record: Annotated[str, typer.Argument(help="The record's Id.")],
    show: Annotated[bool, typer.Option("--show", help="Show the values; else masked.")] = False,
) -> None:
    """Show what each pull changed in one record: batch, time, state, fields before and after.

    Older versions are kept until the table is folded and vacuumed.
    """
    shown = Table("batch", "written", "up to", "state", "field", "before", "after")
    for version in versions(_log(table), record):
        at = f"{version.at:%Y-%m-%d %H:%M:%S}" if version.at else "long ago"
        head = [str(version.batch), at, version.watermark[:19]]
        head.append(version.state)
        for name, values in version.changed.items():
            plain = show or name in _NOT_PERSONAL
            told = [str(one) if plain and one is not None else masked(one) for one in values]
            shown.add_row(*head, *(escape(text) for text in (name, *told)))
            head = [""] * len(head)
    wide_console().print(shown)


def changes(
    table: TableName,
    since: Annotated[
        str,
        typer.Option(help="The batch after which, or the time (UTC): 12, 2026-01-31T06:00."),
    ],
    form: Annotated[Format, typer.Option("--format", help="How to print the Ids.")] = Format.csv,
) -> None:
    """List the records that pulls brought or changed since then, by Id; no values are shown."""
    log = _log(table)
    batch = batch_of(log, since)
    found = changes_since(log, batch)
    counts: Counter[str] = Counter()
    if form is Format.json:
        records = [vars(one) for one in found]
        counts.update(str(one["change"]) for one in records)
        told = {"table": table, "since_batch": batch, "counts": counts, "records": records}
        typer.echo(json.dumps(told, indent=2))
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["Id", "change", "batch"])
    for one in found:
        counts[one.change] += 1
        writer.writerow([one.record, one.change, one.batch])
    told_counts = ", ".join(f"{number:,} {change}" for change, number in sorted(counts.items()))
    # Not among the rows, which another program may read.
    typer.echo(f"{table} since batch {batch}: {told_counts or 'nothing changed'}", err=True)


def _log(table: str) -> ChangeLog:
    if table not in TABLE_NAMES.values():
        raise PipelineError(f"{table}: no pulled table; give {', '.join(TABLE_NAMES.values())}")
    log = Tables(load(configuration_path()).storage.tables).log(f"pulled/{table}")
    if log.state() is None:
        raise PipelineError(f"pulled/{table}: never pulled; run the job pull first")
    return log
