"""Reading and changing the rules that apply when a record is saved.

Every rule is a JSON object with a `name` that is unique among its kind; what else it holds its
definition says: `ValidationRule`, `Trigger`, `LookupFilter`, `DuplicateRule`, `AssignmentRule`.
Changes take effect at once. Locks of single records are the business of `record_locks`.
"""

import itertools
from typing import Any

from pydantic import ValidationError

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves.assignment_rules import KEY_PREFIX, AssignmentRule
from salesforce_pipelines.local_org.saves.duplicate_rules import DuplicateRule, standard_rules
from salesforce_pipelines.local_org.saves.rule_definition import RuleDefinition
from salesforce_pipelines.local_org.saves.save_rules import Kind, Rule
from salesforce_pipelines.local_org.saves.validation_rules import (
    LookupFilter,
    Trigger,
    ValidationRule,
)

DEFINITIONS: dict[Kind, type[RuleDefinition]] = {
    "validationRules": ValidationRule,
    "triggers": Trigger,
    "lookupFilters": LookupFilter,
    "duplicateRules": DuplicateRule,
    "assignmentRules": AssignmentRule,
}


def rules(org: Org, kind: Kind) -> list[Rule]:
    """Every rule of a kind, active or not, in the order they are applied in.

    Raises:
        ApiError: NOT_FOUND; there is no such kind.
    """
    _definition(kind)
    known = org.save_rules.all(kind)
    if known is None:
        return standard_rules() if kind == "duplicateRules" else []
    return known


def add_rule(org: Org, kind: Kind, rule: dict[str, Any]) -> Rule:
    """Add a rule after the others.

    Returns:
        The rule with what was left out filled in.

    Raises:
        ApiError: INVALID_INPUT, DUPLICATE_VALUE for a name that is taken, or what the SOQL
            compiler says against a condition.
    """
    known = rules(org, kind)
    whole = _checked(org, kind, rule)
    if _position(known, whole["name"]) is not None:
        message = f"duplicate value found: name duplicates {whole['name']}"
        raise ApiError(400, "DUPLICATE_VALUE", message)
    if kind == "assignmentRules":
        whole["id"] = _new_id(org, {other["id"] for other in known})
    _store(org, kind, [*known, whole], whole)
    return whole


def change_rule(org: Org, kind: Kind, name: str, changes: dict[str, Any]) -> Rule:
    """Change some of a rule, such as `{"active": False}`.

    Raises:
        ApiError: NOT_FOUND, and as for `add_rule`.
    """
    known = rules(org, kind)
    at = _known_position(known, name)
    whole = _checked(org, kind, known[at] | changes)
    taken = _position(known, whole["name"])
    if taken is not None and taken != at:
        message = f"duplicate value found: name duplicates {whole['name']}"
        raise ApiError(400, "DUPLICATE_VALUE", message)
    known[at] = whole
    _store(org, kind, known, whole)
    return whole


def delete_rule(org: Org, kind: Kind, name: str) -> None:
    """Take a rule away.

    Raises:
        ApiError: NOT_FOUND.
    """
    known = rules(org, kind)
    del known[_known_position(known, name)]
    org.save_rules.replace(kind, known)


def _definition(kind: Kind) -> type[RuleDefinition]:
    definition = DEFINITIONS.get(kind)
    if definition is None:
        raise ApiError(404, "NOT_FOUND", f"There is no kind of rules {kind}")
    return definition


def _checked(org: Org, kind: Kind, rule: dict[str, Any]) -> Rule:
    try:
        definition = _definition(kind).model_validate(rule)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, "INVALID_INPUT", f"{place}: {first['msg']}") from None
    definition.check(org)
    return definition.model_dump()


def _store(org: Org, kind: Kind, known: list[Rule], changed: Rule) -> None:
    """Keep the rules; of assignment rules, the one that was made active is the only one."""
    if kind == "assignmentRules" and changed["active"]:
        for other in known:
            other["active"] = other is changed
    org.save_rules.replace(kind, known)


def _new_id(org: Org, taken: set[str]) -> str:
    made = (org.store.ids.record_id(KEY_PREFIX, number) for number in itertools.count(1))
    return next(rule_id for rule_id in made if rule_id not in taken)


def _known_position(known: list[Rule], name: str) -> int:
    at = _position(known, name)
    if at is None:
        raise ApiError(404, "NOT_FOUND", f"There is no rule {name}")
    return at


def _position(known: list[Rule], name: str) -> int | None:
    names = [rule["name"].casefold() for rule in known]
    return names.index(name.casefold()) if name.casefold() in names else None
