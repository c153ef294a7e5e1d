"""The org's sObjects as external assets, and what is pulled of them as tables."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from salesforce_pipelines.config.models import TABLE_NAMES, Pipelines
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.metering import metered
from salesforce_pipelines.org.budget import ApiBudgetError, CallBudget
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull import record_states
from salesforce_pipelines.pull.ages import in_words
from salesforce_pipelines.pull.drift import explanation
from salesforce_pipelines.pull.formula_refresh import FormulaReport, refresh_formulas
from salesforce_pipelines.pull.progress import ProgressDisplay
from salesforce_pipelines.pull.pulling import (
    OtherOrgError,
    Progress,
    PullReport,
    Wanted,
    pull,
    watermark_of,
)
from salesforce_pipelines.reporting import explained, moment, of_table, sample
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.tables import ChangeLog, Tables

GROUP = "pull"
_PROGRESS_ROWS = 50_000
_IDS_ARE_UNIQUE, _IS_FRESH, _PULLED_NOW = "ids_are_unique", "is_fresh", "pulled_now"
_ERROR, _HELD_BACK = "error", "held back"
_LEAST_CALLS = 2
"""Calls of the smallest pull: a describe and one page."""
_ABOUT = {
    "Id": "The record's Id in the org.",
    "IsDeleted": "Whether the record was deleted or merged in the org.",
    "SystemModstamp": "When a person or an automation last changed the record.",
    "MasterRecordId": "The record that this one became part of by a merge.",
    record_states.COLUMN: record_states.ABOUT,
}


class PullMode(Enum):
    """What a run reads. Dagster's run configuration names the members."""

    changes = "changes"
    full = "full"
    formulas = "formulas"


class PullConfig(dg.Config):
    """What one run may ask for beyond the configuration."""

    mode: PullMode = Field(
        default=PullMode.changes,
        description="changes: what changed since the last pull. full: every record anew. formulas: "
        "only the values of formula fields, which change without moving a record's SystemModstamp.",
    )


def pulled_key(sobject: str) -> dg.AssetKey:
    """The asset of what is pulled of an sObject."""
    return dg.AssetKey(["pulled", TABLE_NAMES[sobject]])


def external_key(sobject: str) -> dg.AssetKey:
    """The asset that stands for an sObject in the org."""
    return dg.AssetKey(["salesforce", TABLE_NAMES[sobject]])


def quick_check_keys(sobjects: Iterable[str]) -> list[dg.AssetCheckKey]:
    """The checks of pulled tables that ask the org nothing, so that every pull may run them."""
    return [
        dg.AssetCheckKey(pulled_key(sobject), name)
        for sobject in sobjects
        for name in (_IDS_ARE_UNIQUE, _IS_FRESH, _PULLED_NOW)
    ]


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
    configured = pipelines.objects.pulled()[sobject]

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
        config: PullConfig,
        org: dg.ResourceParam[OrgSession],
        tables: dg.ResourceParam[Tables],
        ledger: dg.ResourceParam[Ledger],
        progress: dg.ResourceParam[ProgressDisplay],
    ) -> dg.MaterializeResult[None]:
        log = tables.log(f"pulled/{name}")
        if config.mode is PullMode.formulas:
            with metered(org, ledger, pipelines.api_budget) as budget:
                budget.require(f"refreshing formulas of {sobject}", _LEAST_CALLS)
                return _refreshed(context, org, log, pipelines, sobject, budget)
        wanted = Wanted(
            sobject,
            fields,
            every_field=configured.fields == "all",
            scope=configured.scope,
            full=config.mode is PullMode.full,
        )
        try:
            with (
                metered(org, ledger, pipelines.api_budget) as budget,
                progress.of(sobject) as shown_to,
            ):
                budget.require(f"pulling {sobject}", _LEAST_CALLS)
                told = _told(context, sobject, shown_to)
                report = pull(org, log, wanted, pipelines.pull, told)
                calls = _calls(budget, report.api_calls)
        except OtherOrgError:
            raise
        except PipelineError as error:
            return _going_on_with_old_data(context, log, sobject, error)
        _tell(context, report)
        person = pipelines.objects.people().get(sobject)
        shown = [c for c in person.identifiers.columns() if "." not in c] if person else fields[5:8]
        return dg.MaterializeResult(
            metadata={
                **of_table(log, _ABOUT),
                **_metadata(report),
                **calls,
                "api_usage": _usage(org),
                "sample": sample(log, shown),
            }
        )

    return pulled


def _refreshed(
    context: dg.AssetExecutionContext,
    org: OrgSession,
    log: ChangeLog,
    pipelines: Pipelines,
    sobject: str,
    budget: CallBudget,
) -> dg.MaterializeResult[None]:
    every_field = pipelines.objects.pulled()[sobject].fields == "all"
    fields = pipelines.fields_of(sobject)
    report: FormulaReport = refresh_formulas(
        org, log, sobject, fields, pipelines.pull, every_field=every_field
    )
    if report.waits:
        context.log.warning(f"{sobject}: formulas wait, an interrupted pull goes on first")
    context.log.info(
        f"{sobject}: {report.changed:,} of {report.compared:,} records have other values of "
        f"{', '.join(report.fields) or 'no formula field'}, {report.api_calls} API calls"
    )
    return dg.MaterializeResult(
        metadata={
            **of_table(log, _ABOUT),
            "pull": "formulas",
            "channel": report.channel or "none",
            "formula_fields": ", ".join(report.fields) or "none",
            "rows_compared": report.compared,
            "rows_changed": report.changed,
            **_calls(budget, report.api_calls),
            "api_usage": _usage(org),
        }
    )


def _going_on_with_old_data(
    context: dg.AssetExecutionContext, log: ChangeLog, sobject: str, error: PipelineError
) -> dg.MaterializeResult[None]:
    """What is told of a pull that failed or was held back; what is built on the table goes on.

    Raises:
        PipelineError: The same; nothing was ever pulled.
    """
    watermark = watermark_of(log)
    if watermark is None:
        raise error
    age, held_back = in_words(watermark), isinstance(error, ApiBudgetError)
    told = context.log.warning if held_back else context.log.error
    told(f"{sobject}: {error}. The run goes on with data that are {age} old")
    return dg.MaterializeResult(
        metadata={
            **of_table(log, _ABOUT),
            "pull": _HELD_BACK if held_back else "failed",
            _ERROR: str(error),
            "stale_since": moment(watermark),
            "age": age,
        }
    )


def _calls(budget: CallBudget, made: int) -> dict[str, Any]:
    return {
        "api_calls_estimated": budget.estimated,
        "api_calls": made,
        "api_budget_left": budget.left(),
    }


def _told(context: dg.AssetExecutionContext, sobject: str, shown_to: Progress) -> Progress:
    told = 0

    def progress(rows: int, expected: int) -> None:
        nonlocal told
        shown_to(rows, expected)
        if rows - told >= _PROGRESS_ROWS:
            told = rows
            share = f" ({100 * rows // expected} %)" if expected else ""
            context.log.info(f"{sobject}: {rows:,} of {expected:,} rows landed{share}")

    return progress


def _tell(context: dg.AssetExecutionContext, report: PullReport) -> None:
    kind = "full" if report.full else "incremental"
    resumed = ", gone on with after an interruption" if report.resumed else ""
    context.log.info(
        f"{report.sobject}: {kind} pull by {report.channel}{resumed}: {report.added} added, "
        f"{report.changed} changed, {report.deleted} deleted, {report.merged} merged, "
        f"{report.purged} purged, {report.left_scope} left the scope, {report.unchanged} "
        f"unchanged, {report.api_calls} API calls"
    )
    if report.drift_is_new:
        context.log.warning(explanation(report.sobject, report.fields))


def _usage(org: OrgSession) -> str:
    if org.api_usage is None:
        return "not told by the org"
    used, allowed = org.api_usage
    return f"{used:,} of {allowed:,} calls of the org's last 24 hours"


def _lag(report: PullReport) -> float:
    """Seconds between the org's clock and what the pull covers."""
    if report.org_time is None:
        return 0.0
    return (report.org_time - report.window.end).total_seconds()


def _window_seconds(report: PullReport) -> dict[str, float]:
    """How long the stretch of time was that was read; nothing of a full pull."""
    if report.window.start is None:
        return {}
    return {"window_seconds": (report.window.end - report.window.start).total_seconds()}


def _metadata(report: PullReport) -> dict[str, Any]:
    return {
        "pull": "full" if report.full else "incremental",
        "channel": report.channel,
        "rows_read": report.read,
        "added": report.added,
        "changed": report.changed,
        "deleted": report.deleted,
        "merged": report.merged,
        "converted": report.converted,
        "purged": report.purged,
        "left_scope": report.left_scope,
        "unchanged": report.unchanged,
        "bytes_read": report.bytes_read,
        "lag_seconds": _lag(report),
        **_window_seconds(report),
        "resumed": report.resumed,
        "scope": report.scope or "all records",
        "left_out_fields": ", ".join([*report.fields.missing, *report.fields.retyped]) or "none",
        "window_start": moment(report.window.start),
        "watermark": moment(report.window.end),
    }


def checks(
    pipelines: Pipelines, sobject: str, longest_gap_hours: int
) -> list[dg.AssetChecksDefinition]:
    """Whether a table holds each record once, how far behind it is, and whether its pull failed."""
    log_name = f"pulled/{TABLE_NAMES[sobject]}"

    @dg.asset_check(
        asset=pulled_key(sobject),
        name=_IDS_ARE_UNIQUE,
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
        name=_IS_FRESH,
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

    return [ids_are_unique, is_fresh, _pulled_now(sobject)]


def _pulled_now(sobject: str) -> dg.AssetChecksDefinition:
    """Whether the latest pull succeeded; a red run where it failed, without stopping anything."""
    key = pulled_key(sobject)

    # One check, but only a multi_asset_check may tell its result and fail after that.
    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(
                _PULLED_NOW,
                asset=key,
                description="The latest pull succeeded. If it failed, this step fails and the run "
                "with it, while everything built on the table goes on with what was pulled "
                "before. A pull that the API budget held back is a warning.",
            )
        ],
        name=f"{key.to_python_identifier()}_{_PULLED_NOW}",
    )
    def pulled_now(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        event = context.instance.get_latest_materialization_event(key)
        latest = None if event is None else event.asset_materialization
        told = {} if latest is None else {k: v.value for k, v in latest.metadata.items()}
        error = str(told.get(_ERROR, ""))
        held_back = told.get("pull") == _HELD_BACK
        yield dg.AssetCheckResult(
            passed=not error,
            asset_key=key,
            check_name=_PULLED_NOW,
            severity=dg.AssetCheckSeverity.WARN if held_back else dg.AssetCheckSeverity.ERROR,
            description=error or None,
        )
        if error and not held_back:
            raise dg.Failure(f"pulling {sobject} failed: {error}", allow_retries=False)

    return pulled_now


def build_all(pipelines: Pipelines) -> Iterable[dg.AssetsDefinition]:
    """The tables of every configured sObject."""
    return [build(pipelines, sobject) for sobject in pipelines.objects.pulled()]
