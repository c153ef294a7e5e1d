"""What proves the pulled tables in the asset graph: their check against the org, record links."""

from typing import Any

import dagster as dg
from pydantic import Field

from salesforce_pipelines.config.models import TABLE_NAMES, Pipelines
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.metering import metered
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull import record_links
from salesforce_pipelines.pull.ages import input_ages
from salesforce_pipelines.pull.assets import GROUP, pulled_key
from salesforce_pipelines.pull.reconciling import Reconciliation, reconcile
from salesforce_pipelines.reporting import explained, moment, of_table, table
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.tables import Tables

CHECK = "matches_the_org"
LINKS_KEY = dg.AssetKey(["pulled", "record_links"])
LINKS_CHECK_KEY = dg.AssetCheckKey(LINKS_KEY, "losses_are_told")
_MONTHS_SHOWN = 12


class ReconcileConfig(dg.Config):
    """What one comparison may ask for beyond the configuration."""

    deep: bool = Field(
        default=False,
        description="Compare the Ids of all records, not only the counts and the Ids in turn.",
    )


def check_key(sobject: str) -> dg.AssetCheckKey:
    """The check of a pulled table against the org."""
    return dg.AssetCheckKey(pulled_key(sobject), CHECK)


def check_keys(pipelines: Pipelines) -> list[dg.AssetCheckKey]:
    """The checks of all pulled tables against the org."""
    return [check_key(sobject) for sobject in pipelines.objects.pulled()]


def build_check(pipelines: Pipelines, sobject: str) -> dg.AssetChecksDefinition:
    """Whether a table holds what the org holds; what it does not is mended."""
    name = TABLE_NAMES[sobject]

    @dg.asset_check(
        asset=pulled_key(sobject),
        name=CHECK,
        # It writes the table, so it waits for a pull and a pull waits for it.
        pool=f"pulled_{name}",
        description="As many live records as in the org for every month of creation, and the same "
        "Ids where the counts differ and in a stretch that moves on with every run. Differences "
        "are healed: a warning tells what was, an error what could not be.",
    )
    def matches_the_org(
        config: ReconcileConfig,
        org: dg.ResourceParam[OrgSession],
        tables: dg.ResourceParam[Tables],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.AssetCheckResult:
        log = tables.log(f"pulled/{name}")
        remembered = tables.log(f"reconciled/{name}", key="month")
        try:
            with metered(org, ledger, pipelines.api_budget) as budget:
                budget.require(f"comparing {sobject} with the org", 1)
                report = reconcile(org, log, remembered, sobject, pipelines.pull, deep=config.deep)
        except PipelineError as error:
            # What could not be compared is not proven; the rest of the run goes on.
            return dg.AssetCheckResult(passed=False, description=str(error))
        return _result(report)

    return matches_the_org


def _result(report: Reconciliation) -> dg.AssetCheckResult:
    different = report.total("different")
    healed = bool(different) and not report.problem
    description = report.problem
    if healed:
        description = (
            f"{report.total('missing'):,} missing and {report.total('extra'):,} extra records "
            "were healed"
        )
    return dg.AssetCheckResult(
        passed=not different and not report.problem,
        severity=dg.AssetCheckSeverity.WARN if healed else dg.AssetCheckSeverity.ERROR,
        description=description or None,
        metadata=_metadata(report),
    )


def _metadata(report: Reconciliation) -> dict[str, Any]:
    different = [
        {
            "month": str(month),
            "org": bucket.org,
            "table": bucket.table,
            "missing": bucket.missing,
            "extra": bucket.extra,
            "healed": bucket.healed,
        }
        for month, bucket in sorted(report.buckets.items())
        if bucket.different
    ]
    return {
        "differences": table(different[-_MONTHS_SHOWN:]),
        "months_that_differ": len(different),
        "org_rows": report.total("org"),
        "table_rows": report.total("table"),
        "ids_compared": report.total("compared"),
        "missing": report.total("missing"),
        "extra": report.total("extra"),
        "healed": report.total("healed"),
        "fetched": report.fetched,
        "purged": report.purged,
        "left_scope": report.left_scope,
        "api_calls": report.api_calls,
        "up_to": moment(report.watermark),
    }


def build_record_links(pipelines: Pipelines) -> dg.AssetsDefinition:
    """Where merged and converted records went."""
    sources = [name for name in record_links.SOURCES if name in pipelines.objects.pulled()]

    @dg.asset(
        key=LINKS_KEY,
        deps=[pulled_key(name) for name in sources],
        group_name=GROUP,
        kinds={"deltalake", "duckdb"},
        owners=list(pipelines.owners),
        pool="pulled_record_links",
        description="For each merged record the one that it is part of now, and for each converted "
        "Lead its Contact, Account and Opportunity, along the whole chain. Computed when a pulled "
        "row changed; only links that changed are written.",
    )
    @explained
    def links(tables: dg.ResourceParam[Tables]) -> dg.MaterializeResult[None]:
        report = record_links.refresh_links(tables)
        return dg.MaterializeResult(
            metadata={
                **of_table(record_links.links_of(tables), record_links.ABOUT),
                "merged": report.merged,
                "converted": report.converted,
                "leading_to_nothing_pulled": report.missing,
                "leading_in_a_circle": report.cycles,
                "leading_to_no_live_record": report.lost,
                "links_changed": report.changed,
                "links_removed": report.removed,
                "computed": not report.skipped,
                **input_ages(tables, sources),
            }
        )

    return links


def build_links_check() -> dg.AssetChecksDefinition:
    """Whether the links know what became of the records that they lead to."""

    @dg.asset_check(
        asset=LINKS_KEY,
        name=LINKS_CHECK_KEY.name,
        description="No link leads to a record that was purged without saying so.",
    )
    def losses_are_told(tables: dg.ResourceParam[Tables]) -> dg.AssetCheckResult:
        untold = record_links.untold_losses(tables)
        return dg.AssetCheckResult(
            passed=not untold,
            severity=dg.AssetCheckSeverity.WARN,
            description="materialise pulled/record_links again" if untold else None,
            metadata={"untold": untold},
        )

    return losses_are_told


def checks(pipelines: Pipelines) -> list[dg.AssetChecksDefinition]:
    """Every check of this module."""
    compared = [build_check(pipelines, sobject) for sobject in pipelines.objects.pulled()]
    return [*compared, build_links_check()]
