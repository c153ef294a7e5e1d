"""What starts between the schedules: changes in the org, confirmed plans, referrals to qualify."""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from salesforce_pipelines.config.models import TABLE_NAMES, LeadField, Pipelines
from salesforce_pipelines.confirmation import ATTEMPTS, ended
from salesforce_pipelines.enrichment import assets as enrichment
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.metering import metered
from salesforce_pipelines.org.reading import newest_stamp
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.soql import instant, quoted
from salesforce_pipelines.pull.assets import pulled_key, quick_check_keys
from salesforce_pipelines.pull.changes import changed_objects
from salesforce_pipelines.pull.pulling import watermark_of
from salesforce_pipelines.pull.reconciliation_assets import LINKS_CHECK_KEY, LINKS_KEY
from salesforce_pipelines.pull.record_links import SOURCES
from salesforce_pipelines.push import assets as push
from salesforce_pipelines.push.guard import streams
from salesforce_pipelines.store import plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan, PlanKind, PlanStatus
from salesforce_pipelines.store.tables import Tables

_PLAN_INTERVAL = 10


def _status(running: bool) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED


def build_org_changes(pipelines: Pipelines) -> dg.SensorDefinition:
    """Starts an incremental pull of the sObjects that changed in the org."""

    @dg.sensor(
        name="org_changes",
        job_name="pull",
        minimum_interval_seconds=int(pipelines.sensors.interval.total_seconds()),
        default_status=_status(pipelines.sensors.org_changes),
        description="Compares the newest SystemModstamp of each sObject with its watermark, one "
        "API call each, and pulls what changed.",
    )
    def org_changes(
        org: dg.ResourceParam[OrgSession],
        tables: dg.ResourceParam[Tables],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.RunRequest | dg.SkipReason:
        names = list(pipelines.objects.pulled())
        try:
            with metered(org, ledger, pipelines.api_budget) as budget:
                visible = org.server_time() - pipelines.pull.lag
                budget.require("looking for changes", len(names))
                newest = {name: newest_stamp(org, name, before=visible) for name in names}
        except PipelineError as error:
            return dg.SkipReason(f"the org could not be asked: {error}")
        marks = {name: watermark_of(tables.log(f"pulled/{TABLE_NAMES[name]}")) for name in names}
        changed = changed_objects(newest, marks)
        if not changed:
            return dg.SkipReason("nothing changed in the org since the last pull")
        return dg.RunRequest(
            run_key=_changes_key(changed, newest, visible),
            asset_selection=_targets(changed),
            # A run of a part of a job takes along checks that the job leaves out, unless told.
            asset_check_keys=[*quick_check_keys(changed), LINKS_CHECK_KEY],
            tags={"changed": ",".join(changed)},
        )

    return org_changes


def _targets(changed: list[str]) -> list[dg.AssetKey]:
    links = [LINKS_KEY] if set(changed) & set(SOURCES) else []
    return [*(pulled_key(name) for name in changed), *links]


def _changes_key(changed: list[str], newest: dict[str, datetime | None], visible: datetime) -> str:
    # Run keys are remembered for ever; the hour lets a pull that failed be started again.
    stamps = [f"{name}@{newest[name]}" for name in changed]
    return "/".join([*stamps, f"{visible:%Y-%m-%dT%H}"])


def build_confirmed_plans(pipelines: Pipelines, kind: PlanKind, job: str) -> dg.SensorDefinition:
    """Starts one run for each plan that a person confirmed."""

    @dg.sensor(
        name=f"confirmed_{kind.value}_plans",
        job_name=job,
        minimum_interval_seconds=_PLAN_INTERVAL,
        default_status=_status(pipelines.sensors.confirmed_plans),
        description=f"Carries out {kind.value} plans that a person confirmed, each in a run of its "
        f"own; after {ATTEMPTS} failures it leaves the plan to a person.",
    )
    def confirmed_plans(
        context: dg.SensorEvaluationContext, ledger: dg.ResourceParam[Ledger]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        waiting = [
            plan
            for plan in [*plans.confirmed(ledger, kind), *plans.under_way(ledger, kind)]
            if plan.stream in streams(pipelines)
            and plan.attempts < ATTEMPTS
            and _is_claimable(context.instance, plan)
        ]
        if not waiting:
            yield dg.SkipReason(f"no confirmed {kind.value} plan waits")
        for plan in waiting:
            yield dg.RunRequest(
                run_key=f"{kind.value}/{plan.id}/{plan.attempts}",
                asset_selection=plan_targets(pipelines, plan),
                tags={"plan_id": plan.id},
            )

    return confirmed_plans


def _is_claimable(instance: dg.DagsterInstance, plan: Plan) -> bool:
    if plan.status is PlanStatus.CONFIRMED:
        return True
    if plan.status is not PlanStatus.CLAIMED or plan.claimed_by is None:
        return False
    run = instance.get_run_by_id(plan.claimed_by)
    # A person who cancelled the run decides when the plan goes on.
    return ended(instance)(plan.claimed_by) and not (
        run is not None and run.status is dg.DagsterRunStatus.CANCELED
    )


def plan_targets(pipelines: Pipelines, plan: Plan) -> list[dg.AssetKey]:
    """The assets that carry out a confirmed plan, and the plan that follows from it."""
    if plan.kind is PlanKind.PUSH:
        return [push.pushed_key(plan.stream)]
    sobject = streams(pipelines)[plan.stream].sobject
    return [enrichment.enriched_key(sobject), push.plan_key(plan.stream)]


def build_qualification(pipelines: Pipelines, slug: str, rule: LeadField) -> dg.SensorDefinition:
    """Starts the qualification of a program when referred Leads reach the value."""

    @dg.sensor(
        name=f"qualification_{slug}",
        job_name="qualify",
        minimum_interval_seconds=int(pipelines.sensors.interval.total_seconds()),
        default_status=_status(pipelines.sensors.qualification),
        description=f"Looks for referred Leads whose {rule.field} reached {rule.value!r} since "
        "the last pull, one API call, and records the qualifications.",
    )
    def qualification(
        org: dg.ResourceParam[OrgSession],
        tables: dg.ResourceParam[Tables],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.RunRequest | dg.SkipReason:
        watermark = watermark_of(tables.log(f"pulled/{TABLE_NAMES['Lead']}"))
        if watermark is None:
            return dg.SkipReason("Leads were never pulled")
        try:
            visible = org.server_time() - pipelines.pull.lag
            where = (
                f"{rule.field} = {quoted(rule.value)} AND {rule.code_field} != null "
                f"AND SystemModstamp >= {instant(watermark)} "
                f"AND SystemModstamp < {instant(visible)}"
            )
            with metered(org, ledger, pipelines.api_budget) as budget:
                budget.require("looking for qualified referrals", 1)
                found = org.get("query", {"q": f"SELECT COUNT() FROM Lead WHERE {where}"})
        except PipelineError as error:
            return dg.SkipReason(f"the org could not be asked: {error}")
        if not found["totalSize"]:
            return dg.SkipReason(f"no referred Lead reached {rule.field} = {rule.value} since")
        return dg.RunRequest(run_key=f"{slug}/{watermark.isoformat()}/{visible:%Y-%m-%dT%H}")

    return qualification


def build_all(pipelines: Pipelines) -> list[dg.SensorDefinition]:
    """Every sensor."""
    return [
        build_org_changes(pipelines),
        build_confirmed_plans(pipelines, PlanKind.ENRICHMENT, "enrich"),
        build_confirmed_plans(pipelines, PlanKind.PUSH, "push"),
        *(
            build_qualification(pipelines, slug, program.qualification)
            for slug, program in pipelines.referrals.items()
            if isinstance(program.qualification, LeadField)
        ),
    ]
