"""Identity in the asset graph: the provider's people, identifiers and matches."""

import dagster as dg

from salesforce_pipelines.config.models import (
    TABLE_NAMES,
    IdentifierKind,
    Identifiers,
    NameCompany,
    Pipelines,
)
from salesforce_pipelines.identity import identifying
from salesforce_pipelines.identity.people import PeopleProvider
from salesforce_pipelines.pull.ages import input_ages
from salesforce_pipelines.pull.assets import pulled_key
from salesforce_pipelines.reporting import explained, of_table, table
from salesforce_pipelines.store.tables import Tables

GROUP = "identity"
COVERAGE_FLOOR = 0.5
"""The share of records with an identifier below which the coverage check warns."""


_ABOUT_IDENTIFIERS = {
    "Id": "The record's Id in the org.",
    "name_company": "First name, last name and company.",
    "name_company_nickname": "The same with the other forms of the first name.",
    "last_name": "To tell people apart who share an address; nobody is found by it.",
}
_ABOUT_MATCHES = {
    "Id": "The record's Id in the org.",
    "status": "matched, ambiguous (a person has to look) or unmatched.",
    "person_id": "The provider's person; empty unless matched.",
    "identifier": "The kind that decided: the first in order that hit anybody.",
    "agreeing": "Other kinds that point at the same person.",
    "disagreeing": "Kinds that point only at other people.",
    "candidates": "How many people the deciding kind hit.",
    "reason": "The same in words, without people's data.",
}


def people_key(pipelines: Pipelines) -> dg.AssetKey:
    """The asset that stands for the provider's people data."""
    return dg.AssetKey(["people", pipelines.enrichment.provider.name])


def identifiers_key(sobject: str) -> dg.AssetKey:
    """The asset of an sObject's identifiers."""
    return dg.AssetKey(["identifiers", TABLE_NAMES[sobject]])


def matches_key(sobject: str) -> dg.AssetKey:
    """The asset of an sObject's matches."""
    return dg.AssetKey(["matches", TABLE_NAMES[sobject]])


def external_people(pipelines: Pipelines) -> dg.AssetSpec:
    """The provider's people data, at the left edge of the lineage."""
    provider = pipelines.enrichment.provider
    return dg.AssetSpec(
        people_key(pipelines),
        description="People data of the provider: read for matching, and for the people of "
        "confirmed plans.",
        group_name="people",
        kinds={"csv"},
        owners=list(pipelines.owners),
        metadata={
            "file": dg.MetadataValue.path(str(provider.path)),
            "credits_per_person": provider.credits_per_person,
            "identifiers": ", ".join(provider.identifiers.kinds()),
        },
    )


def build_identifiers(pipelines: Pipelines, sobject: str) -> dg.AssetsDefinition:
    """The normalised identifiers of one sObject's records."""
    stream, person = TABLE_NAMES[sobject], pipelines.objects.people()[sobject]
    with_accounts = identifying.ACCOUNT_NAME in person.identifiers.columns()
    sources = [sobject, *(["Account"] if with_accounts else [])]

    @dg.asset(
        key=identifiers_key(sobject),
        deps=[pulled_key(source) for source in sources],
        group_name=GROUP,
        kinds={"deltalake"},
        owners=list(pipelines.owners),
        pool=f"identifiers_{stream}",
        description=f"Emails, telephones, LinkedIn profiles and name with company of the {stream}, "
        "normalised so that they can be compared. Only records that changed are done again.",
        metadata={
            kind: dg.MetadataValue.text(_sources(person.identifiers, kind))
            for kind in person.identifiers.kinds()
        },
    )
    @explained
    def normalised_identifiers(tables: dg.ResourceParam[Tables]) -> dg.MaterializeResult[None]:
        report = identifying.refresh_identifiers(tables, stream, person, pipelines.matching)
        found = identifying.coverage(tables, stream)
        return dg.MaterializeResult(
            metadata={
                **of_table(identifying.identifiers_of(tables, stream), _ABOUT_IDENTIFIERS),
                "refreshed": report.refreshed,
                "removed": report.removed,
                "coverage": table(_shares(found)),
                **input_ages(tables, sources),
            }
        )

    return normalised_identifiers


def _sources(identifiers: Identifiers, kind: IdentifierKind) -> str:
    """The fields that hold a kind of identifier, as people write them."""
    found = getattr(identifiers, kind)
    if isinstance(found, NameCompany):
        return f"{found.first} + {found.last} + {found.company}"
    return ", ".join(found)


def _shares(found: dict[str, int]) -> list[dict[str, object]]:
    whole = max(found["records"], 1)
    return [
        {"identifier": kind, "records": number, "share": f"{number / whole:.1%}"}
        for kind, number in found.items()
        if kind != "records"
    ]


def build_matches(pipelines: Pipelines, sobject: str) -> dg.AssetsDefinition:
    """Which person each record is, and why."""
    stream = TABLE_NAMES[sobject]

    @dg.asset(
        key=matches_key(sobject),
        deps=[identifiers_key(sobject), people_key(pipelines)],
        group_name=GROUP,
        kinds={"deltalake", "duckdb"},
        owners=list(pipelines.owners),
        pool=f"matches_{stream}",
        description=f"Which person of the provider each of the {stream} is, by which identifier "
        "and for which reason. Ambiguous records are parked, never guessed.",
        metadata={"order": " → ".join(pipelines.matching.order)},
    )
    @explained
    def matches(
        tables: dg.ResourceParam[Tables], people: dg.ResourceParam[PeopleProvider]
    ) -> dg.MaterializeResult[None]:
        report = identifying.refresh_matches(
            tables, stream, people, pipelines.matching, pipelines.storage.scratch
        )
        by = [{"identifier": name, "records": n} for name, n in report.matched_by.items()]
        reasons = [{"reason": reason, "records": n} for reason, n in report.reasons.items()]
        return dg.MaterializeResult(
            metadata={
                **of_table(identifying.matches_of(tables, stream), _ABOUT_MATCHES),
                "records": report.records,
                "matched": report.matched,
                "ambiguous": report.ambiguous,
                "unmatched": report.unmatched,
                "refreshed": report.refreshed,
                "matched_by": table(by),
                "why_ambiguous": table(reasons),
                **input_ages(tables, [sobject]),
            }
        )

    return matches


def checks(pipelines: Pipelines) -> list[dg.AssetChecksDefinition]:
    """Whether enough records have an identifier to be matched by."""
    return [_coverage_check(sobject) for sobject in pipelines.objects.people()]


def _coverage_check(sobject: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=identifiers_key(sobject),
        name="coverage",
        description=f"At least {COVERAGE_FLOOR:.0%} of the records have an identifier that can be "
        "compared. Fewer usually means that a field is mapped wrongly.",
    )
    def coverage(tables: dg.ResourceParam[Tables]) -> dg.AssetCheckResult:
        found = identifying.coverage(tables, TABLE_NAMES[sobject])
        share = found["any"] / max(found["records"], 1)
        return dg.AssetCheckResult(
            passed=share >= COVERAGE_FLOOR or not found["records"],
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"share": round(share, 4), "by_identifier": table(_shares(found))},
        )

    return coverage


def build_all(pipelines: Pipelines) -> list[dg.AssetsDefinition]:
    """Identifiers and matches of Contact and Lead."""
    found = []
    for sobject in pipelines.objects.people():
        found += [build_identifiers(pipelines, sobject), build_matches(pipelines, sobject)]
    return found
