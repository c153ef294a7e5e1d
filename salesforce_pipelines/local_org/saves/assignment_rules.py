"""Assignment rules: who becomes the owner of a new Lead.

A rule's entries are tried in their order; the first whose condition the Lead meets names the
owner. A Lead that meets none keeps the owner it was given.
"""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.saves.record_conditions import check_condition, satisfied
from salesforce_pipelines.local_org.saves.rule_definition import RuleDefinition, sobject_of
from salesforce_pipelines.local_org.saves.save_rules import Rule
from salesforce_pipelines.local_org.storage.ids import is_id, to_18

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.org import Org
    from salesforce_pipelines.local_org.saves.saving import Saving

KEY_PREFIX = "01Q"


class RuleEntry(BaseModel):
    """Leads that meet a condition, or all without one, go to an owner."""

    model_config = ConfigDict(extra="forbid", strict=True)

    condition: str = ""
    ownerId: str  # noqa: N815  # as the field is called


class AssignmentRule(RuleDefinition):
    """The owners of new records of one sObject; at most one rule of it is active."""

    sObject: str = "Lead"  # noqa: N815
    id: str = ""
    entries: list[RuleEntry]

    def check(self, org: "Org") -> None:
        """See that it fits the org's schema and users."""
        sobject = sobject_of(org, self)
        if sobject.name != "Lead":
            raise ApiError(400, "INVALID_INPUT", "sObject: only Leads have assignment rules here")
        for entry in self.entries:
            if entry.condition:
                check_condition(org, sobject, entry.condition)
            entry.ownerId = _active_user(org, entry.ownerId)


def assign_owner(saving: "Saving") -> None:
    """Give a new record the owner that the assignment rule chooses."""
    if not saving.is_new or not saving.options.auto_assign or saving.sobject.name != "Lead":
        return
    rule = _rule(saving)
    if rule is None:
        return
    entries = rule["entries"]
    met = satisfied(saving, [entry["condition"] for entry in entries])
    for entry, fits in zip(entries, met, strict=True):
        if fits:
            saving.values["OwnerId"] = entry["ownerId"]
            return


def _rule(saving: "Saving") -> Rule | None:
    """The rule that the request names, or the active one."""
    rules = saving.org.save_rules
    wanted = saving.options.assignment_rule_id
    if wanted:
        return rules.with_id("assignmentRules", to_18(wanted))
    return next(iter(rules.active("assignmentRules", saving.sobject.name)), None)


def _active_user(org: "Org", user_id: str) -> str:
    if is_id(user_id):
        sql = "SELECT 1 FROM User WHERE Id = ? AND IsActive"
        if org.store.reader().execute(sql, [to_18(user_id)]).fetchone():
            return to_18(user_id)
    raise ApiError(400, "INVALID_INPUT", f"ownerId: there is no active user {user_id}")
