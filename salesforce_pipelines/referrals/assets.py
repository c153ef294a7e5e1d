"""Referral programs in the asset graph: members, links and qualifications of each program."""

import dagster as dg

from salesforce_pipelines.config.models import LeadField, Pipelines, Program
from salesforce_pipelines.pull.ages import input_ages
from salesforce_pipelines.pull.assets import pulled_key
from salesforce_pipelines.pull.reconciliation_assets import LINKS_KEY
from salesforce_pipelines.push.assets import links_key
from salesforce_pipelines.referrals import members
from salesforce_pipelines.reporting import explained, of_table, sample
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.tables import Tables

GROUP = "referrals"
_ABOUT_LINKS = {
    "Id": "The Id of the record that carries the link: a Contact, Lead or campaign member.",
    "code": "The member's own code, which the link carries; it never changes.",
    "referrals": "Leads that came by the link, or by that of a member merged into this one.",
    "qualified_referrals": "Those of them that qualified, each counted once.",
}


def members_key(slug: str) -> dg.AssetKey:
    """The asset of a program's members."""
    return dg.AssetKey(["referrals", slug, "members"])


def qualifications_key(slug: str) -> dg.AssetKey:
    """The asset of a program's qualifications."""
    return dg.AssetKey(["referrals", slug, "qualifications"])


def _member_sources(program: Program) -> list[str]:
    if isinstance(program.members, str):
        return [program.members]
    return ["Campaign", "CampaignMember"]


def build_members(pipelines: Pipelines, slug: str, program: Program) -> dg.AssetsDefinition:
    """Who may refer in one program, each with a code of their own."""

    @dg.asset(
        key=members_key(slug),
        deps=[pulled_key(source) for source in _member_sources(program)],
        group_name=GROUP,
        kinds={"sql"},
        owners=list(pipelines.owners),
        pool=f"referrals_{slug}_members",
        description="Members of the program, each with a referral code that is unguessable, never "
        "changes and is never used again. Kept in the ledger.",
    )
    @explained
    def program_members(
        tables: dg.ResourceParam[Tables], ledger: dg.ResourceParam[Ledger]
    ) -> dg.MaterializeResult[None]:
        report = members.enrol(tables, ledger, slug, program)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": report.members,
                "members": report.members,
                "enrolled_now": report.enrolled,
                **input_ages(tables, _member_sources(program)),
            }
        )

    return program_members


def build_links(pipelines: Pipelines, slug: str, program: Program) -> dg.AssetsDefinition:
    """The link of every member of one program, with what came of it."""
    rule = program.qualification
    counted = [pulled_key("Lead"), qualifications_key(slug)] if isinstance(rule, LeadField) else []

    @dg.asset(
        key=links_key(f"referrals/{slug}"),
        deps=[members_key(slug), LINKS_KEY, *counted],
        group_name=GROUP,
        kinds={"deltalake"},
        owners=list(pipelines.owners),
        pool=f"referrals_{slug}_links",
        description="The referral link of every member, and how many people came by it and "
        "qualified. Whoever came by the link of a member that was merged counts for the survivor.",
        metadata={"pattern": dg.MetadataValue.text(program.link)},
    )
    @explained
    def program_links(
        tables: dg.ResourceParam[Tables], ledger: dg.ResourceParam[Ledger]
    ) -> dg.MaterializeResult[None]:
        report = members.refresh_links(tables, ledger, slug, program)
        log = members.links_of(tables, slug)
        return dg.MaterializeResult(
            metadata={
                **of_table(log, _ABOUT_LINKS),
                "links": report.links,
                "new_or_changed": report.changed,
                "codes_of_merged_members": report.inherited,
                "referrals": report.referrals,
                "qualified_referrals": report.qualified,
                **input_ages(tables, ["Lead"] if counted else []),
                "sample": sample(log, ["code", "link"]),
            }
        )

    return program_links


def build_qualifications(
    pipelines: Pipelines, slug: str, program: Program, rule: LeadField
) -> dg.AssetsDefinition:
    """The referrals of one program that qualified, each once, with the evidence."""

    @dg.asset(
        key=qualifications_key(slug),
        deps=[members_key(slug), pulled_key("Lead"), LINKS_KEY],
        group_name=GROUP,
        kinds={"sql"},
        owners=list(pipelines.owners),
        pool=f"referrals_{slug}_qualifications",
        description=f"Referred Leads whose {rule.field} reached {rule.value!r}: each qualifies at "
        "most once, and the evidence is kept in the ledger.",
    )
    @explained
    def program_qualifications(
        context: dg.AssetExecutionContext,
        tables: dg.ResourceParam[Tables],
        ledger: dg.ResourceParam[Ledger],
    ) -> dg.MaterializeResult[None]:
        report = members.record_qualifications(
            tables, ledger, slug, program, run_id=context.run.run_id
        )
        return dg.MaterializeResult(
            metadata={
                "referred_leads": report.referred,
                "fitting_now": report.fitting,
                "recorded_now": report.recorded,
                **input_ages(tables, ["Lead"]),
            }
        )

    return program_qualifications


def build_all(pipelines: Pipelines) -> list[dg.AssetsDefinition]:
    """Members, qualifications and links of every program."""
    found = []
    for slug, program in pipelines.referrals.items():
        found.append(build_members(pipelines, slug, program))
        if isinstance(program.qualification, LeadField):
            found.append(build_qualifications(pipelines, slug, program, program.qualification))
        found.append(build_links(pipelines, slug, program))
    return found
