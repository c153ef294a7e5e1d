"""When a referral qualifies: a pure decision on the referred record."""

from collections.abc import Mapping
from dataclasses import dataclass

from salesforce_pipelines.config.models import LeadField, NoQualification


@dataclass(frozen=True)
class Evidence:
    """Why a referral qualified: the field, the value that stood there, and its stamp (ISO)."""

    field: str
    value: str
    stamp: str

    def as_json(self) -> dict[str, str]:
        """The evidence as the ledger keeps it."""
        return dict(vars(self))


def qualified(
    record: Mapping[str, str | bool | None], rule: LeadField | NoQualification
) -> Evidence | None:
    """The evidence that a referred Lead qualifies now, or None.

    Values are compared as Salesforce compares text: without regard to case, spaces at the ends
    left out.
    """
    if isinstance(rule, NoQualification):
        return None
    found = record.get(rule.field)
    # A checkbox comes as a boolean.
    value = None if found is None else str(found)
    if value is None or value.strip().casefold() != rule.value.strip().casefold():
        return None
    return Evidence(rule.field, value, str(record.get("SystemModstamp") or ""))
