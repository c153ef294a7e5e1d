"""Enrichment in the asset graph: plan, a person's confirmation, enriched records."""

from typing import Any

import dagster as dg
from pydantic import Field

from salesforce_pipelines.config.models import TABLE_NAMES, Pipelines
from salesforce_pipelines.confirmation import claimed, decided, how_to_confirm, waiting_check
from salesforce_pipelines.enrichment import enriching, plans
from salesforce_pipelines.enrichment.plans import EnrichmentPlan
from salesforce_pipelines.identity.assets import matches_key
from salesforce_pipelines.identity.people import PeopleProvider
from salesforce_pipelines.pull.ages import input_ages
from salesforce_pipelines.pull.assets import pulled_key
from salesforce_pipelines.reporting import explained, of_table, sample, table
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import PlanKind
from salesforce_pipelines.store.tables import Tables

GROUP = "enrichment"
CONFIRMATION_KEY = dg.AssetKey("enrichment_confirmation")
_ABOUT = {
    "Id": "The record's Id in the org.",
    "person_id": "The provider's person.",
    "identifier": "The identifier by which the record was matched.",
    "provider_updated_at": "When the provider last changed the person.",
    "provider_version": "Which state of the provider's data these are.",
    "plan_id": "The confirmed plan that paid for them.",
}


def plan_key(sobject: str) -> dg.AssetKey:
    """The asset of an sObject's enrichment plan."""
    return dg.AssetKey(["enrichment_plan", TABLE_NAMES[sobject]])


def enriched_key(sobject: str) -> dg.AssetKey:
    """The asset of an sObject's enriched records."""
    return dg.AssetKey(["enriched", TABLE_NAMES[sobject]])


def enriched_objects(pipelines: Pipelines) -> list[str]:
    """The sObjects that have fields mapped for enrichment."""
    return [name for name, person in pipelines.objects.people().items() if person.mapping]


def provider_columns(pipelines: Pipelines, sobject: str) -> tuple[str, ...]:
    """The provider's columns that are mapped for an sObject: nothing else is read or kept."""
    mapping = pipelines.objects.people()[sobject].mapping
    names = [field.source for field in mapping.values()]
    dated = pipelines.enrichment.provider.updated_at
    wanted = dict.fromkeys([*names, *([dated] if dated else [])])
    # The person's id comes with every answer.
    return tuple(name for name in wanted if name != "person_id")


def build_plan(pipelines: Pipelines, sobject: str) -> dg.AssetsDefinition:
    """What an enrichment of one sObject would do and cost."""
    stream, columns = TABLE_NAMES[sobject], provider_columns(pipelines, sobject)

    @dg.asset(
        key=plan_key(sobject),
        deps=[pulled_key(sobject), matches_key(sobject)],
        group_name=GROUP,
        kinds={"deltalake"},
        owners=list(pipelines.owners),
        pool=f"enrichment_plan_{stream}",
        description=f"What an enrichment of the matched {stream} would do and cost. Nothing is "
        "spent before a person confirms it in enrichment_confirmation or on the command line.",
    )
    @explained
    def enrichment_plan(
        context: dg.AssetExecutionContext,
        tables: dg.ResourceParam[Tables],
        ledger: dg.ResourceParam[Ledger],
        people: dg.ResourceParam[PeopleProvider],
    ) -> dg.MaterializeResult[None]:
        drawn = plans.draw_up(tables, ledger, people, stream, columns, run_id=context.run.run_id)
        ages = input_ages(tables, [sobject])
        return dg.MaterializeResult(metadata=_plan_metadata(drawn) | ages)

    return enrichment_plan


def _plan_metadata(drawn: EnrichmentPlan) -> dict[str, Any]:
    totals = [
        {"what": "records in the org", "number": drawn.records},
        {"what": "matched with a person", "number": drawn.matched},
        {"what": "eligible now", "number": drawn.eligible},
        {"what": "people", "number": drawn.people},
        {"what": "credits", "number": drawn.credits},
    ]
    identifiers = [
        {"identifier": name, "records": number}
        for name, number in drawn.by_identifier.most_common()
    ]
    found: dict[str, Any] = {
        "plan": table(totals),
        "by_identifier": table(identifiers),
        "eligible": drawn.eligible,
        "credits": drawn.credits,
    }
    if drawn.plan is None:
        return {"status": "nothing to enrich, nothing to confirm"} | found
    # What a person decides on comes first, the rest below it.
    return {
        "status": drawn.plan.status.value,
        "plan_id": drawn.plan.id,
        "to_confirm": how_to_confirm(drawn.plan),
    } | found


class EnrichmentDecision(dg.Config):
    """A person's decision about one enrichment plan. Nothing is filled in for them."""

    plan_id: str = Field(description="The plan's id, as its asset shows it.")
    credits: int = Field(description="Exactly the credits that the plan asks for.")
    confirmed_by: str = Field(description="Who decides; kept with the plan.")


def build_confirmation(pipelines: Pipelines) -> dg.AssetsDefinition:
    """Where a person confirms an enrichment plan in the launchpad."""
    cap = pipelines.enrichment.max_credits_per_plan

    @dg.asset(
        key=CONFIRMATION_KEY,
        deps=[plan_key(sobject) for sobject in enriched_objects(pipelines)],
        group_name=GROUP,
        owners=list(pipelines.owners),
        description="A person's decision to spend credits: the plan's id, exactly its credits, "
        "and who decides. A plan that changed since it was shown has to be confirmed anew.",
    )
    @explained
    def enrichment_confirmation(
        config: EnrichmentDecision, ledger: dg.ResourceParam[Ledger]
    ) -> dg.MaterializeResult[None]:
        plan = plans.confirm(
            ledger, config.plan_id, credits=config.credits, by=config.confirmed_by, cap=cap
        )
        return decided(plan)

    return enrichment_confirmation


def build_enriched(pipelines: Pipelines, sobject: str) -> dg.AssetsDefinition:
    """The records of one sObject with the people data that was bought for them."""
    stream, columns = TABLE_NAMES[sobject], provider_columns(pipelines, sobject)

    @dg.asset(
        key=enriched_key(sobject),
        deps=[plan_key(sobject), CONFIRMATION_KEY],
        group_name=GROUP,
        kinds={"deltalake"},
        owners=list(pipelines.owners),
        pool=f"enriched_{stream}",
        description=f"The {stream} with the people data of confirmed plans: the only asset that "
        "spends credits. It claims the confirmed plan; without one it refuses to run.",
    )
    @explained
    def enriched(
        context: dg.AssetExecutionContext,
        tables: dg.ResourceParam[Tables],
        ledger: dg.ResourceParam[Ledger],
        people: dg.ResourceParam[PeopleProvider],
    ) -> dg.MaterializeResult[None]:
        with claimed(context, ledger, PlanKind.ENRICHMENT, stream) as plan:
            done = enriching.carry_out(
                tables, ledger, people, plan, columns, run_id=str(plan.claimed_by)
            )
        log = tables.log(f"enriched/{stream}")
        return dg.MaterializeResult(
            metadata={
                **of_table(log, _ABOUT),
                "plan_id": plan.id,
                "confirmed_by": plan.decided_by or "",
                "enriched": done.records,
                "credits_charged": done.credits,
                "not_found": done.not_found,
                "sample": sample(log, columns),
            }
        )

    return enriched


def checks(pipelines: Pipelines) -> list[dg.AssetChecksDefinition]:
    """One check for each plan: does it wait for a person?"""
    return [
        waiting_check(PlanKind.ENRICHMENT, TABLE_NAMES[sobject], plan_key(sobject))
        for sobject in enriched_objects(pipelines)
    ]


def build_all(pipelines: Pipelines) -> list[dg.AssetsDefinition]:
    """Plans, the confirmation and enriched records, in the order of the story."""
    objects = enriched_objects(pipelines)
    return [
        *(build_plan(pipelines, sobject) for sobject in objects),
        build_confirmation(pipelines),
        *(build_enriched(pipelines, sobject) for sobject in objects),
    ]
