"""Keeping house: plans that nobody carried out end, files that no version needs are deleted."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from salesforce_pipelines.config.models import TABLE_NAMES, Pipelines
from salesforce_pipelines.enrichment import plans as enrichment_plans
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity import identifying
from salesforce_pipelines.pull import record_links
from salesforce_pipelines.push import plans as push_plans
from salesforce_pipelines.push.guard import streams
from salesforce_pipelines.push.journal import journal
from salesforce_pipelines.referrals import members
from salesforce_pipelines.reporting import explained, table
from salesforce_pipelines.store import plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.tables import ChangeLog, Tables

JOB = "maintenance"


def maintained(pipelines: Pipelines, tables: Tables) -> Iterator[ChangeLog]:
    """Every table of this configuration, whether written yet or not."""
    for sobject in pipelines.objects.pulled():
        yield tables.log(f"pulled/{TABLE_NAMES[sobject]}")
        yield tables.log(f"reconciled/{TABLE_NAMES[sobject]}", key="month")
    yield record_links.links_of(tables)
    for sobject in pipelines.objects.people():
        name = TABLE_NAMES[sobject]
        yield identifying.identifiers_of(tables, name)
        yield identifying.matches_of(tables, name)
        yield enrichment_plans.rows_of(tables, name)
        yield tables.log(f"enriched/{name}")
    for slug in pipelines.referrals:
        yield members.links_of(tables, slug)
    for stream in streams(pipelines):
        yield push_plans.cells_of(tables, stream)
        yield journal(tables, stream)


def build_job(pipelines: Pipelines) -> dg.JobDefinition:
    """The job that first ends old plans, then deletes old files.

    What a plan shows is a version of a table. So a plan ends before its version can be deleted:
    both are kept for the same number of days, and the files' days begin later.
    """
    days = pipelines.storage.keep_days

    @dg.op(
        out=dg.Out(dg.Nothing),
        description=f"Ends the plans that were proposed {days} days ago or earlier and that no run "
        "has claimed, confirmed ones too.",
    )
    @explained
    def expire_plans(context: dg.OpExecutionContext, ledger: dg.ResourceParam[Ledger]) -> None:
        before = datetime.now(UTC) - timedelta(days=days)
        expired = plans.expire(ledger, proposed_before=before)
        rows = [{"plan": one.id, "kind": one.kind.value, "stream": one.stream} for one in expired]
        context.add_output_metadata({"plans_expired": len(expired), "plans": table(rows)})

    @dg.op(
        ins={"plans_expired": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        description="Deletes the files of the tables that no version of the last "
        f"{days} days needs.",
    )
    def vacuum_tables(context: dg.OpExecutionContext, tables: dg.ResourceParam[Tables]) -> None:
        deleted: dict[str, int] = {}
        problems = []
        for log in maintained(pipelines, tables):
            try:
                if log.state() is not None:
                    deleted[log.name] = log.vacuum(days)
            except PipelineError as error:
                # One table that cannot be opened does not keep the others from it.
                problems.append(str(error))
        rows = [{"table": name, "files": number} for name, number in deleted.items() if number]
        metadata: dict[str, Any] = {
            "tables": len(deleted),
            "files_deleted": sum(deleted.values()),
            "deleted_from": table(rows),
        }
        if problems:
            raise dg.Failure("\n".join(problems), metadata=metadata, allow_retries=False)
        context.add_output_metadata(metadata)

    @dg.job(
        name=JOB,
        description="End plans that nobody carried out, delete files that no version needs. "
        "Touches neither the org nor any row.",
    )
    def maintenance() -> None:
        vacuum_tables(expire_plans())

    return maintenance
