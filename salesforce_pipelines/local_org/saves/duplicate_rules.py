"""Duplicate rules: what happens to a record that seems to be there already.

A rule has matching rules, one per sObject to look in, for instance among Contacts and Leads. A
record matches if every field of the matching rule does; a blank field matches nothing. Values are
compared exactly but for letter case (`exact`, `email`), or also without regard to accents' case
and surrounding blanks (`fuzzy`), which is far less than Salesforce's own fuzzy matching finds.

The standard rules are there from the beginning, as in an org of Salesforce, but not active.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from salesforce_pipelines.local_org.errors import ApiError, RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import SObject
from salesforce_pipelines.local_org.saves.rule_definition import (
    RuleDefinition,
    field_of,
    sobject_of,
)
from salesforce_pipelines.local_org.saves.save_rules import Rule
from salesforce_pipelines.local_org.storage.store import Value, quoted

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.org import Org
    from salesforce_pipelines.local_org.saves.saving import Saving

Action = Literal["allow", "alert", "block"]
_ALERT = "Use one of these records?"
_MOST_MATCHES = 100
_DETAILS = ("Id", "Name", "FirstName", "LastName", "Email", "Phone", "Company", "Title")


class MatchField(BaseModel):
    """One field of the record and the field it is compared with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    field: str
    matches: str = ""
    method: Literal["exact", "email", "fuzzy"] = "exact"


class MatchingRule(BaseModel):
    """Where to look for duplicates and what makes one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1)
    sObject: str  # noqa: N815  # as in Salesforce's metadata
    fields: list[MatchField] = Field(min_length=1)


class DuplicateRule(RuleDefinition):
    """What becomes of a record with duplicates, when it is created and when it is edited.

    `alert` refuses it unless the request says `allowSave=true`, `block` always refuses it.
    """

    onCreate: Action = "alert"  # noqa: N815
    onEdit: Action = "allow"  # noqa: N815
    alertText: str = _ALERT  # noqa: N815
    matchingRules: list[MatchingRule] = Field(min_length=1)  # noqa: N815

    def check(self, org: "Org") -> None:
        """See that it fits the org's schema."""
        sobject = sobject_of(org, self)
        for matching in self.matchingRules:
            other = org.schema.get(matching.sObject)
            if other is None:
                raise ApiError(400, "INVALID_INPUT", f"sObject: there is no {matching.sObject}")
            matching.sObject = other.name
            for pair in matching.fields:
                pair.field = field_of(sobject, pair.field).name
                pair.matches = field_of(other, pair.matches or pair.field).name


def standard_rules() -> list[Rule]:
    """The rules that every org of Salesforce has, not active."""
    person = [
        {"field": "FirstName", "method": "fuzzy"},
        {"field": "LastName", "method": "fuzzy"},
        {"field": "Email", "method": "email"},
    ]
    account = [{"field": "Name", "method": "fuzzy"}, {"field": "BillingCity", "method": "fuzzy"}]
    return [
        _standard("Contact", [("Contact", "v1_1", person), ("Lead", "v1_0", person)]),
        _standard("Lead", [("Lead", "v1_0", person), ("Contact", "v1_1", person)]),
        _standard("Account", [("Account", "v1_0", account)]),
    ]


def _standard(sobject: str, matching: Sequence[tuple[str, str, list[dict[str, str]]]]) -> Rule:
    return {
        "name": f"Standard_{sobject}_Duplicate_Rule",
        "sObject": sobject,
        "active": False,
        "onCreate": "alert",
        "onEdit": "allow",
        "alertText": _ALERT,
        "matchingRules": [
            {
                "name": f"Standard_{other}_Match_Rule_{version}",
                "sObject": other,
                "fields": [{"matches": pair["field"], **pair} for pair in pairs],
            }
            for other, version, pairs in matching
        ],
    }


def check_duplicate_rules(saving: "Saving") -> None:
    """Refuse a record that a duplicate rule stops."""
    for rule in saving.org.save_rules.active("duplicateRules", saving.sobject.name):
        action = rule["onCreate"] if saving.is_new else rule["onEdit"]
        if action == "allow" or (action == "alert" and saving.options.allow_save):
            continue
        results = [
            _match_result(saving, matching, found)
            for matching in rule["matchingRules"]
            if (found := _duplicates(saving, matching))
        ]
        if results:
            raise _refusal(rule, action == "alert", results)


def _duplicates(saving: "Saving", matching: Rule) -> list[str]:
    """The ids of the live records that match."""
    pairs = matching["fields"]
    if not any(saving.changes(pair["field"]) for pair in pairs):
        return []
    other = saving.org.schema[matching["sObject"]]
    conditions = ["Id IS NOT ?"]
    parameters: list[Value] = [saving.record_id]
    if other.has_is_deleted:
        conditions.append("IsDeleted = 0")
    if other.name == "Lead":
        conditions.append("IsConverted = 0")
    for pair in pairs:
        value = _compared(saving.value(pair["field"]), pair["method"])
        if value in (None, ""):
            return []
        column = quoted(pair["matches"])
        is_fuzzy = pair["method"] == "fuzzy"
        conditions.append(f"fold(trim({column})) = ?" if is_fuzzy else f"{column} = ?")
        parameters.append(value)
    sql = f"SELECT Id FROM {quoted(other.name)} WHERE {' AND '.join(conditions)} LIMIT ?"
    rows = saving.connection.execute(sql, [*parameters, _MOST_MATCHES])
    return [row_id for (row_id,) in rows]


def _compared(value: Value, method: str) -> Value:
    if not isinstance(value, str):
        return value
    return value.strip().casefold() if method == "fuzzy" else value.strip()


def _match_result(saving: "Saving", matching: Rule, ids: list[str]) -> dict[str, Any]:
    is_fuzzy = any(pair["method"] == "fuzzy" for pair in matching["fields"])
    other = saving.org.schema[matching["sObject"]]
    return {
        "entityType": other.name,
        "errors": [],
        "matchEngine": "FuzzyMatchEngine" if is_fuzzy else "ExactMatchEngine",
        "matchRecords": [
            {
                "additionalInformation": [],
                "fieldDiffs": [],
                "matchConfidence": 100.0,
                "record": _record(saving, other, row_id),
            }
            for row_id in ids
        ],
        "rule": matching["name"],
        "size": len(ids),
        "success": True,
    }


def _record(saving: "Saving", sobject: SObject, record_id: str) -> dict[str, Any]:
    """A duplicate: its id, and more of it if the request wants to see details."""
    url = f"/services/data/v{saving.options.version}/sobjects/{sobject.name}/{record_id}"
    record: dict[str, Any] = {"attributes": {"type": sobject.name, "url": url}, "Id": record_id}
    visible = saving.org.schema_for(saving.user_id).get(sobject.name)
    if not saving.options.include_duplicates or visible is None:
        return record
    fields = [item for name in _DETAILS if (item := visible.field(name)) and item.is_stored]
    columns = ", ".join(quoted(item.name) for item in fields)
    sql = f"SELECT {columns} FROM {quoted(sobject.name)} WHERE Id = ?"
    row = saving.connection.execute(sql, [record_id]).fetchone()
    return record | {item.name: value for item, value in zip(fields, row, strict=True)}


def _refusal(rule: Rule, may_save: bool, results: list[dict[str, Any]]) -> RowRefusedError:
    # Salesforce misspells the key.
    details = {
        "duplicateResut": {
            "allowSave": may_save,
            "duplicateRule": rule["name"],
            "duplicateRuleEntityType": rule["sObject"],
            "errorMessage": rule["alertText"],
            "matchResults": results,
        }
    }
    return RowRefusedError("DUPLICATES_DETECTED", rule["alertText"], details=details)
