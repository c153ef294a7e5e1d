"""Rules that refuse a record for what it would become: validation rules, triggers, lookup filters.

Their conditions are SOQL conditions, see `record_conditions`. A trigger here is one that fails: it
stands for Apex code that throws.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from salesforce_pipelines.local_org.errors import ApiError, RowRefusedError
from salesforce_pipelines.local_org.saves.record_conditions import (
    check_condition,
    satisfied,
    stored_record_meets,
)
from salesforce_pipelines.local_org.saves.rule_definition import (
    RuleDefinition,
    field_of,
    sobject_of,
)

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.org import Org
    from salesforce_pipelines.local_org.saves.saving import Saving

Event = Literal["BeforeInsert", "BeforeUpdate", "BeforeDelete"]
_SAVE_EVENTS: tuple[Event, ...] = ("BeforeInsert", "BeforeUpdate")


class ValidationRule(RuleDefinition):
    """A record that meets the error condition is refused with the error message."""

    errorCondition: str = Field(min_length=1)  # noqa: N815  # as in Salesforce's metadata
    errorMessage: str = Field(min_length=1)  # noqa: N815
    errorDisplayField: str | None = None  # noqa: N815

    def check(self, org: "Org") -> None:
        """See that it fits the org's schema."""
        sobject = sobject_of(org, self)
        check_condition(org, sobject, self.errorCondition)
        if self.errorDisplayField is not None:
            self.errorDisplayField = field_of(sobject, self.errorDisplayField).name


class Trigger(RuleDefinition):
    """Code that throws for records that meet a condition, or for all without one."""

    events: list[Event] = Field(default_factory=lambda: list(_SAVE_EVENTS))
    condition: str = ""
    errorMessage: str = Field(min_length=1)  # noqa: N815

    def check(self, org: "Org") -> None:
        """See that it fits the org's schema."""
        sobject = sobject_of(org, self)
        if self.condition:
            check_condition(org, sobject, self.condition)


class LookupFilter(RuleDefinition):
    """A reference may only lead to records that meet a condition of their own."""

    field: str
    condition: str = Field(min_length=1)
    errorMessage: str = "Value does not exist or does not match filter criteria."  # noqa: N815

    def check(self, org: "Org") -> None:
        """See that it fits the org's schema."""
        item = field_of(sobject_of(org, self), self.field)
        parent = org.schema.parent(item)
        if parent is None:
            raise ApiError(400, "INVALID_INPUT", f"field: {item.name} is not a reference")
        self.field = item.name
        check_condition(org, parent, self.condition)


def check_lookup_filters(saving: "Saving") -> None:
    """Refuse a reference that its lookup filter does not let through."""
    for rule in saving.org.save_rules.active("lookupFilters", saving.sobject.name):
        name = rule["field"]
        value = saving.value(name)
        if value is None or not saving.changes(name):
            continue
        item = saving.sobject.field(name)
        parent = saving.org.schema.parent(item) if item else None
        if parent and not stored_record_meets(saving, parent, rule["condition"], str(value)):
            raise RowRefusedError("FIELD_FILTER_VALIDATION_EXCEPTION", rule["errorMessage"], name)


def run_triggers(saving: "Saving") -> None:
    """Refuse a record that a trigger fails on."""
    event = "BeforeInsert" if saving.is_new else "BeforeUpdate"
    rules = [
        rule
        for rule in saving.org.save_rules.active("triggers", saving.sobject.name)
        if event in rule["events"]
    ]
    if not rules:
        return
    for rule, met in zip(rules, satisfied(saving, [r["condition"] for r in rules]), strict=True):
        if met:
            raise _failed(rule["name"], event, rule["errorMessage"])


def run_delete_triggers(saving: "Saving") -> None:
    """Refuse to delete a record that a trigger fails on."""
    for rule in saving.org.save_rules.active("triggers", saving.sobject.name):
        if "BeforeDelete" in rule["events"] and stored_record_meets(
            saving, saving.sobject, rule["condition"], str(saving.record_id)
        ):
            raise _failed(rule["name"], "BeforeDelete", rule["errorMessage"])


def check_validation_rules(saving: "Saving") -> None:
    """Refuse a record that meets the error condition of a validation rule."""
    rules = saving.org.save_rules.active("validationRules", saving.sobject.name)
    if not rules:
        return
    conditions = [rule["errorCondition"] for rule in rules]
    for rule, met in zip(rules, satisfied(saving, conditions), strict=True):
        if met:
            shown = rule["errorDisplayField"]
            fields = (shown,) if shown else ()
            code = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
            raise RowRefusedError(code, rule["errorMessage"], *fields)


def _failed(name: str, event: str, message: str) -> RowRefusedError:
    text = f"{name}: execution of {event}\n\ncaused by: {message}"
    return RowRefusedError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", text)
