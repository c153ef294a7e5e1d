"""People in the loop, as Dagster sees it: how a plan is confirmed, and how a run claims it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store import plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan, PlanKind, PlanStatus

UNITS = {PlanKind.ENRICHMENT: "credits", PlanKind.PUSH: "cells"}
"""What a plan of each kind asks a person to agree to."""

ATTEMPTS = 3
"""How often a sensor starts a confirmed plan that keeps failing; after that a person does."""
_CHECK = "decided"


def how_to_confirm(plan: Plan) -> dg.MarkdownMetadataValue:
    """What a person types to confirm a plan: in the launchpad, or on the command line."""
    return dg.MetadataValue.md(
        f"Open the job `confirm_{plan.kind.value}`, press Materialize and enter:\n\n"
        f"```yaml\nops:\n  {plan.kind.value}_confirmation:\n    config:\n"
        f"      plan_id: {plan.id}\n      {UNITS[plan.kind]}: {plan.amount}\n"
        "      confirmed_by: your name\n```\n\n"
        "or on the command line:\n\n"
        f"```\nsalesforce-pipelines confirm {plan.id} \\\n"
        f"    --amount {plan.amount} --by 'your name'\n```"
    )


def decided(plan: Plan) -> dg.MaterializeResult[None]:
    """What the confirmation asset shows of a decision."""
    return dg.MaterializeResult(
        metadata={
            "plan_id": plan.id,
            "stream": plan.stream,
            "status": plan.status.value,
            UNITS[plan.kind]: plan.amount,
            "confirmed_by": plan.decided_by or "",
        }
    )


def waiting_check(kind: PlanKind, stream: str, asset: dg.AssetKey) -> dg.AssetChecksDefinition:
    """Warns while a plan waits for a person."""

    @dg.asset_check(
        asset=asset,
        name=_CHECK,
        additional_deps=[dg.AssetKey(f"{kind.value}_confirmation")],
        description="No plan waits for a person's decision. A warning, not a failure: waiting is "
        "what an unconfirmed plan is meant to do.",
    )
    def decided(ledger: dg.ResourceParam[Ledger]) -> dg.AssetCheckResult:
        failing = [
            plan
            for plan in plans.confirmed(ledger, kind)
            if plan.stream == stream and plan.attempts >= ATTEMPTS
        ]
        if failing:
            return dg.AssetCheckResult(
                passed=False,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"plan {failing[0].id} failed {failing[0].attempts} times; see its "
                "runs, cure the cause, then start it by hand",
            )
        waiting = _waiting(ledger, kind, stream)
        if not waiting:
            return dg.AssetCheckResult(passed=True)
        plan = waiting[0]
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"plan {plan.id} waits for a decision on {plan.amount} {UNITS[kind]}",
            metadata={"to_confirm": how_to_confirm(plan)},
        )

    return decided


@contextmanager
def claimed(
    context: dg.AssetExecutionContext, ledger: Ledger, kind: PlanKind, stream: str
) -> Iterator[Plan]:
    """The confirmed plan of a stream, claimed by this run; released again when the body fails.

    A plan that a run left unfinished when it ended is taken over. A run that this Dagster instance
    does not know may still be at work elsewhere: its plan is left to it until a person says
    otherwise (`salesforce-pipelines release`).

    Raises:
        PipelineError: No plan of the stream is confirmed; the message names the open one.
    """
    run_id = context.run.run_id
    # A newer confirmed plan holds what is left of an older one that a dead run still has.
    ready = [*plans.confirmed(ledger, kind), *plans.under_way(ledger, kind)]
    ready = [plan for plan in ready if plan.stream == stream]
    if not ready:
        open_plans = plans.open_plans(ledger, kind)
        waiting = [plan for plan in open_plans if plan.stream == stream]
        raise PipelineError(_nothing_confirmed(kind, stream, waiting))
    plan = plans.claim(ledger, ready[0].id, run_id=run_id, abandoned=ended(context.instance))
    _tell_check(context.instance, ledger, plan)
    try:
        yield plan
    except Exception:
        # Whatever failed. Not when a person cancels the run: then the plan waits for a person, too.
        plans.release(ledger, plan.id, run_id=run_id)
        raise


def _tell_check(instance: dg.DagsterInstance, ledger: Ledger, plan: Plan) -> None:
    """Pass the plan's check, which ran when the plan waited and would warn until the next plan."""
    if not _waiting(ledger, plan.kind, plan.stream):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey([f"{plan.kind.value}_plan", *plan.stream.split("/")]),
                check_name=_CHECK,
                passed=True,
            )
        )


def _waiting(ledger: Ledger, kind: PlanKind, stream: str) -> list[Plan]:
    return [
        plan
        for plan in plans.open_plans(ledger, kind)
        if plan.stream == stream and plan.status is PlanStatus.PROPOSED
    ]


def ended(instance: dg.DagsterInstance) -> Callable[[str], bool]:
    """Whether a run is known to have ended, so that it will not go on with its plan."""

    def has_ended(run_id: str) -> bool:
        run = instance.get_run_by_id(run_id)
        return run is not None and run.is_finished

    return has_ended


def _nothing_confirmed(kind: PlanKind, stream: str, waiting: list[Plan]) -> str:
    if not waiting:
        return (
            f"{stream}: no {kind.value} plan is open. Materialise {kind.value}_plan/{stream} "
            "first; when it finds something to do, a person confirms it."
        )
    plan = waiting[0]
    return (
        f"{stream}: plan {plan.id} is not confirmed. Review it, then: salesforce-pipelines confirm "
        f"{plan.id} --amount {plan.amount} --by 'your name'"
    )
