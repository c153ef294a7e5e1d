"""The org's sObjects as external assets, and what is pulled of them as tables."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from salesforce_pipelines.config.models import TABLE_NAMES, Pipelines
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull.pulling import PullReport, pull, watermark_of
from salesforce_pipelines.reporting import explained, moment, of_table, sample
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.tables import Tables

GROUP = "pull"
_PROGRESS_ROWS = 50_000
_ABOUT = {
    "Id": "The record's Id in the org.",
    "IsDeleted": "Whether the record was deleted or merged in the org.",
    "SystemModstamp": "When a person or an automation last changed the record.",
}


def pulled_key(sobject: str) -> dg.AssetKey:
    """The asset of what is pulled of an sObject."""
    return dg.AssetKey(["pulled", TABLE_NAMES[sobject]])


def external_key(sobject: str) -> dg.AssetKey:
    """The asset that stands for an sObject in the org."""
    return dg.AssetKey(["salesforce", TABLE_NAMES[sobject]])


def external(pipelines: Pipelines, sobject: str) -> dg.AssetSpec:
    """An sObject of the org, at the left edge of the lineage."""
    address = f"{pipelines.connection.login_url}/lightning/o/{sobject}/list"
    metadata: dict[str, Any] = {"sObject": sobject, "org": dg.MetadataValue.url(address)}
    return dg.AssetSpec(
        external_key(sobject),
        description=f"{sobject} records in the Salesforce org, as people there see them.",
        group_name="salesforce",
        kinds={"salesforce"},
        owners=list(pipelines.owners),
        metadata=metadata,
    )


def build(pipelines: Pipelines, sobject: str) -> dg.AssetsDefinition:
    """The table of one sObject, brought up to the org by every materialisation."""
    name, fields = TABLE_NAMES[sobject], pipelines.fields_of(sobject)

    @dg.asset(
        key=pulled_key(sobject),
        deps=[external_key(sobject)],
        group_name=GROUP,
        kinds={"salesforce", "deltalake"},
        owners=list(pipelines.owners),
        pool=f"pulled_{name}",
        description=f"{sobject} records as last pulled: the first pull is full, every later one "
        "reads only what changed. Deleted, merged and converted records stay, with their state.",
        metadata={"sObject": sobject, "fields": ", ".join(fields)},
    )
    @explained
    def pulled(
        context: dg.AssetExecutionContext,
        org: dg.ResourceParam[OrgSession],
        tables: dg.ResourceParam[Tables],
    ) -> dg.MaterializeResult[None]:
        log = tables.log(f"pulled/{name}")
        report = pull(org, log, sobject, fields, pipelines.pull, _told(context, sobject))
        context.log.info(
            f"{sobject}: {'full' if report.full else 'incremental'} pull by {report.channel}: "
            f"{report.added} added, {report.changed} changed, {report.deleted} deleted, "
            f"{report.unchanged} unchanged, {report.api_calls} API calls"
        )
        person = pipelines.objects.people().get(sobject)
        shown = [c for c in person.identifiers.columns() if "." not in c] if person else fields[5:8]
        return dg.MaterializeResult(
            metadata={
                **of_table(log, _ABOUT),
                **_metadata(report),
                "api_usage": _usage(org),
                "sample": sample(log, shown),
            }
        )

    return pulled


def _told(context: dg.AssetExecutionContext, sobject: str) -> Callable[[int], None]:
    told = 0

    def progress(rows: int) -> None:
        nonlocal told
        if rows - told >= _PROGRESS_ROWS:
            told = rows
            context.log.info(f"{sobject}: {rows:,} rows landed")

    return progress


def _usage(org: OrgSession) -> str:
    if org.api_usage is None:
        return "not told by the org"
    used, allowed = org.api_usage
    return f"{used:,} of {allowed:,} calls of the org's last 24 hours"


def _metadata(report: PullReport) -> dict[str, Any]:
    return {
        "pull": "full" if report.full else "incremental",
        "channel": report.channel,
        "rows_read": report.read,
        "added": report.added,
        "changed": report.changed,
        "deleted": report.deleted,
        "unchanged": report.unchanged,
        "api_calls": report.api_calls,
        "window_start": moment(report.window.start),
        "watermark": moment(report.window.end),
    }


def checks(
    pipelines: Pipelines, sobject: str, longest_gap_hours: int
) -> list[dg.AssetChecksDefinition]:
    """Whether a table holds each record once, and how far behind the org it is."""
    log_name = f"pulled/{TABLE_NAMES[sobject]}"

    @dg.asset_check(
        asset=pulled_key(sobject),
        name="ids_are_unique",
        blocking=True,
        description="Every record stands in the table exactly once.",
    )
    def ids_are_unique(tables: dg.ResourceParam[Tables]) -> dg.AssetCheckResult:
        with duck.connect() as connection:
            tables.log(log_name).duckdb_view(connection, "pulled", ["Id"])
            found = connection.sql("SELECT count(*), count(DISTINCT Id) FROM pulled").fetchone()
        rows, ids = found or (0, 0)
        return dg.AssetCheckResult(passed=rows == ids, metadata={"rows": rows, "ids": ids})

    @dg.asset_check(
        asset=pulled_key(sobject),
        name="is_fresh",
        description=f"The watermark is at most {longest_gap_hours} h behind: the configured time "
        "frame and one hour. Older data stays usable; this says how old it is.",
    )
    def is_fresh(tables: dg.ResourceParam[Tables]) -> dg.AssetCheckResult:
        watermark = watermark_of(tables.log(log_name))
        if watermark is None:
            return dg.AssetCheckResult(
                passed=False,
                severity=dg.AssetCheckSeverity.WARN,
                description="never pulled: the first full pull has to succeed once",
            )
        hours = (datetime.now(UTC) - watermark).total_seconds() / 3600
        return dg.AssetCheckResult(
            passed=hours <= longest_gap_hours,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"watermark": moment(watermark), "hours_behind": round(hours, 2)},
        )

    return [ids_are_unique, is_fresh]


def build_all(pipelines: Pipelines) -> Iterable[dg.AssetsDefinition]:
    """The tables of every configured sObject."""
    return [build(pipelines, sobject) for sobject in pipelines.objects.pulled()]
