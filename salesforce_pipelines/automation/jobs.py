"""One job for each capability, and the sync that runs all that neither spends nor sends."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from salesforce_pipelines.automation import maintenance
from salesforce_pipelines.config.models import TABLE_NAMES, LeadField, Pipelines
from salesforce_pipelines.enrichment import assets as enrichment
from salesforce_pipelines.pull.assets import PullMode, pulled_key
from salesforce_pipelines.pull.reconciliation_assets import LINKS_KEY, check_keys
from salesforce_pipelines.push import assets as push
from salesforce_pipelines.push.guard import streams
from salesforce_pipelines.referrals import assets as referrals

if TYPE_CHECKING:
    # What define_asset_job gives; Dagster exports no public name of it.
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition,
    )


def with_checks(*keys: dg.AssetKey) -> dg.AssetSelection:
    """These assets and their checks."""
    chosen = dg.AssetSelection.assets(*keys)
    return chosen | dg.AssetSelection.checks_for_assets(*keys)


def groups(*names: str) -> dg.AssetSelection:
    """The assets of these groups; their checks come along."""
    return dg.AssetSelection.groups(*names)


def build_all(
    pipelines: Pipelines,
) -> "list[UnresolvedAssetJobDefinition | dg.JobDefinition]":
    """Every job, in the order of the story."""
    people = enrichment.enriched_objects(pipelines)
    enrichment_plans = [enrichment.plan_key(sobject) for sobject in people]
    enriched = [enrichment.enriched_key(sobject) for sobject in people]
    push_plans = [push.plan_key(name) for name in streams(pipelines)]
    pushed = [push.pushed_key(name) for name in streams(pipelines)]
    enriched_push_plans = [
        push.plan_key(stream.name)
        for stream in streams(pipelines).values()
        if stream.purpose == "enrichment"
    ]
    comparisons = dg.AssetSelection.checks(*check_keys(pipelines))
    # A sensor may start it every few minutes: it compares nothing with the org.
    pull = groups("pull") - comparisons
    unattended = _unattended(enrichment_plans, push_plans)
    if not pipelines.pull.reconcile:
        unattended = unattended - comparisons
    found: list[UnresolvedAssetJobDefinition | dg.JobDefinition] = [
        _job("pull", pull, "Read what changed in the org; the first time, everything."),
        _job("reconcile", comparisons, "Compare every table with the org and heal it."),
        dg.define_asset_job(
            "refresh_formulas",
            selection=dg.AssetSelection.assets(*_pulled(pipelines)).without_checks(),
            description="Read formula fields anew, which change without moving SystemModstamp.",
            config=formulas_config(list(pipelines.objects.pulled())),
        ),
        _job("identify", groups("identity"), "Normalise identifiers and match them with people."),
        _job(
            "plan_enrichment",
            with_checks(*enrichment_plans),
            "Say what an enrichment would do and cost. Spends nothing.",
        ),
        _job(
            "confirm_enrichment",
            dg.AssetSelection.assets(enrichment.CONFIRMATION_KEY)
            | dg.AssetSelection.checks_for_assets(*enrichment_plans),
            "Confirm an enrichment plan: its id, its credits, who decides.",
        ),
        _job(
            "enrich",
            with_checks(*enriched, *enriched_push_plans),
            "Carry out confirmed enrichment plans, then plan what to push. Spends credits.",
        ),
        _job("plan_push", with_checks(*push_plans), "Say what a push would write. Sends nothing."),
        _job(
            "confirm_push",
            dg.AssetSelection.assets(push.CONFIRMATION_KEY)
            | dg.AssetSelection.checks_for_assets(*push_plans),
            "Confirm a push plan: its id, its number of cells, who decides.",
        ),
        _job("push", with_checks(*pushed), "Carry out confirmed push plans. Writes to the org."),
        _job("sync", unattended, _SYNC),
    ]
    if pipelines.referrals:
        found.append(_job("refer", groups("referrals"), "Members, links and qualifications."))
    if any(isinstance(p.qualification, LeadField) for p in pipelines.referrals.values()):
        qualifying = _qualifying(pipelines) - comparisons
        found.append(_job("qualify", qualifying, "Pull Leads; record who qualified."))
    return [*found, maintenance.build_job(pipelines)]


_SYNC = (
    "Pull, compare with the org, match, plan enrichments, refresh referral links, plan pushes: "
    "everything that needs no person. It spends nothing and sends nothing."
)


def formulas_config(sobjects: list[str]) -> dict[str, Any]:
    """The run configuration that reads the formula fields of these sObjects, and nothing else."""
    ops = [pulled_key(sobject).to_python_identifier() for sobject in sobjects]
    return {"ops": {op: {"config": {"mode": PullMode.formulas.name}} for op in ops}}


def _pulled(pipelines: Pipelines) -> list[dg.AssetKey]:
    return [pulled_key(sobject) for sobject in pipelines.objects.pulled()]


def _job(name: str, selection: dg.AssetSelection, why: str) -> "UnresolvedAssetJobDefinition":
    return dg.define_asset_job(name, selection=selection, description=why)


def _unattended(
    enrichment_plans: list[dg.AssetKey], push_plans: list[dg.AssetKey]
) -> dg.AssetSelection:
    plans = with_checks(*enrichment_plans, *push_plans)
    return groups("pull", "identity", "referrals") | plans


def _qualifying(pipelines: Pipelines) -> dg.AssetSelection:
    keys = [dg.AssetKey(["pulled", TABLE_NAMES["Lead"]]), LINKS_KEY]
    for slug, program in pipelines.referrals.items():
        if isinstance(program.qualification, LeadField):
            keys += [referrals.qualifications_key(slug), push.links_key(f"referrals/{slug}")]
    return with_checks(*keys)
