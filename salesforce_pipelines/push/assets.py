"""Push in the asset graph: push plans, a person's confirmation, and what was pushed."""

from typing import Any

import dagster as dg
from pydantic import Field

from salesforce_pipelines.config.models import Pipelines
from salesforce_pipelines.confirmation import claimed, decided, how_to_confirm, waiting_check
from salesforce_pipelines.enrichment.assets import enriched_key
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.metering import metered
from salesforce_pipelines.org.describe import describe
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull.ages import input_ages
from salesforce_pipelines.pull.assets import pulled_key
from salesforce_pipelines.pull.reconciliation_assets import LINKS_KEY
from salesforce_pipelines.push import plans
from salesforce_pipelines.push.guard import Guard, Stream, streams
from salesforce_pipelines.push.plans import PushPlan
from salesforce_pipelines.push.sending import Pushed, carry_out
from salesforce_pipelines.reporting import explained, table
from salesforce_pipelines.store import plans as ledger_plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import PlanKind
from salesforce_pipelines.store.tables import Tables

GROUP = "push"
CONFIRMATION_KEY = dg.AssetKey("push_confirmation")


def plan_key(stream: str) -> dg.AssetKey:
    """The asset of a stream's push plan."""
    return dg.AssetKey(["push_plan", *stream.split("/")])


def pushed_key(stream: str) -> dg.AssetKey:
    """The asset of what was pushed of a stream."""
    return dg.AssetKey(["pushed", *stream.split("/")])


def links_key(stream: str) -> dg.AssetKey:
    """The asset of a program's links, whose stream is named referrals/<program>."""
    return dg.AssetKey([*stream.split("/"), "links"])


def build_plan(pipelines: Pipelines, stream: Stream) -> dg.AssetsDefinition:
    """Every cell that a push of one stream would write, and why."""
    enrichment = stream.purpose == "enrichment"
    source = enriched_key(stream.sobject) if enrichment else links_key(stream.name)

    @dg.asset(
        key=plan_key(stream.name),
        deps=[pulled_key(stream.sobject), LINKS_KEY, source],
        group_name=GROUP,
        kinds={"deltalake"},
        owners=list(pipelines.owners),
        pool=_pool("push_plan", stream),
        description=f"Every cell of {stream.sobject} that a push of {stream.name} would write, "
        "with the value before and after and the write rule that decided; and the cells that are "
        "refused, with the reason. Nothing is sent before a person confirms it.",
    )
    @explained
    def push_plan(
        context: dg.AssetExecutionContext,
        org: dg.ResourceParam[OrgSession],
        tables: dg.ResourceParam[Tables],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.MaterializeResult[None]:
        with metered(org, ledger, pipelines.api_budget):
            guard = Guard(stream, describe(org, stream.sobject))
        drawn = plans.draw_up(tables, ledger, guard, run_id=context.run.run_id)
        ages = input_ages(tables, [stream.sobject])
        return dg.MaterializeResult(metadata=_plan_metadata(drawn) | ages)

    return push_plan


def _pool(what: str, stream: Stream) -> str:
    return f"{what}_{stream.name.replace('/', '_')}"


def _plan_metadata(drawn: PushPlan) -> dict[str, Any]:
    fields = [
        {
            "field (rule)": f"{name} ({mapping.rule.value})",
            "write": drawn.cells[name, "write"],
            "refused": drawn.cells[name, "refused"],
        }
        for name, mapping in drawn.stream.mapping.items()
    ]
    reasons = [
        {"verdict": verdict, "reason": reason, "cells": number}
        for (verdict, reason), number in drawn.reasons.most_common(10)
    ]
    found: dict[str, Any] = {
        "fields": table(fields),
        "reasons": table(reasons),
        "records_considered": drawn.considered,
        "records_to_write": drawn.records,
        "cells_to_write": drawn.writes,
    }
    if drawn.plan is None:
        return {"status": "nothing to write, nothing to confirm"} | found
    # What a person decides on comes first, the rest below it.
    return {
        "status": drawn.plan.status.value,
        "plan_id": drawn.plan.id,
        "to_confirm": how_to_confirm(drawn.plan),
    } | found


class PushDecision(dg.Config):
    """A person's decision about one push plan. Nothing is filled in for them."""

    plan_id: str = Field(description="The plan's id, as its asset shows it.")
    cells: int = Field(description="Exactly the number of cells that the plan would write.")
    confirmed_by: str = Field(description="Who decides; kept with the plan.")


def build_confirmation(pipelines: Pipelines) -> dg.AssetsDefinition:
    """Where a person confirms a push plan in the launchpad."""

    @dg.asset(
        key=CONFIRMATION_KEY,
        deps=[plan_key(name) for name in streams(pipelines)],
        group_name=GROUP,
        owners=list(pipelines.owners),
        description="A person's decision to write to the org: the plan's id, exactly its number "
        "of cells, and who decides. A plan that changed since has to be confirmed anew.",
    )
    @explained
    def push_confirmation(
        config: PushDecision, ledger: dg.ResourceParam[Ledger]
    ) -> dg.MaterializeResult[None]:
        plan = ledger_plans.get(ledger, config.plan_id)
        if plan.kind is not PlanKind.PUSH:
            raise PipelineError(f"plan {plan.id} is an {plan.kind} plan, not a push plan")
        return decided(
            ledger_plans.confirm(
                ledger, config.plan_id, amount=config.cells, by=config.confirmed_by
            )
        )

    return push_confirmation


def build_pushed(pipelines: Pipelines, stream: Stream) -> dg.AssetsDefinition:
    """What one stream wrote to the org, and what it did not."""

    @dg.asset(
        key=pushed_key(stream.name),
        deps=[plan_key(stream.name), CONFIRMATION_KEY],
        group_name=GROUP,
        kinds={"salesforce"},
        owners=list(pipelines.owners),
        pool=_pool("pushed", stream),
        description=f"The confirmed plan of {stream.name}, carried out: each record's present "
        "values are read first, every cell is in the journal before it is sent, and a value that "
        "somebody changed since the pull is held. Without a confirmed plan it refuses to run.",
        metadata={"journal": f"journal/{stream.name}"},
    )
    @explained
    def pushed(
        context: dg.AssetExecutionContext,
        org: dg.ResourceParam[OrgSession],
        tables: dg.ResourceParam[Tables],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.MaterializeResult[None]:
        with (
            metered(org, ledger, pipelines.api_budget),
            claimed(context, ledger, PlanKind.PUSH, stream.name) as plan,
        ):
            guard = Guard(stream, describe(org, stream.sobject))
            done = carry_out(
                org,
                guard,
                tables,
                ledger,
                plan,
                run_id=str(plan.claimed_by),
                progress=lambda n: context.log.info(f"{stream.name}: {n:,} records looked at"),
            )
        return dg.MaterializeResult(
            metadata={
                "plan_id": plan.id,
                "confirmed_by": plan.decided_by or "",
                **_pushed_metadata(done),
            }
        )

    return pushed


def _pushed_metadata(done: Pushed) -> dict[str, Any]:
    rejections = [
        {"reason": reason, "cure": cure, "cells": number}
        for (reason, cure), number in done.rejections.most_common(10)
    ]
    return {
        "records_written": done.records,
        "cells_written": done.cells["written"],
        "cells_unchanged": done.cells["unchanged"],
        "cells_held": done.cells["held"],
        "cells_rejected": done.cells["rejected"],
        "rejections": table(rejections),
        "api_calls": done.api_calls,
    }


def checks(pipelines: Pipelines) -> list[dg.AssetChecksDefinition]:
    """One check for each plan: does it wait for a person?"""
    return [waiting_check(PlanKind.PUSH, name, plan_key(name)) for name in streams(pipelines)]


def build_all(pipelines: Pipelines) -> list[dg.AssetsDefinition]:
    """Push plans, the confirmation and what was pushed, in the order of the story."""
    found = streams(pipelines).values()
    return [
        *(build_plan(pipelines, stream) for stream in found),
        build_confirmation(pipelines),
        *(build_pushed(pipelines, stream) for stream in found),
    ]
