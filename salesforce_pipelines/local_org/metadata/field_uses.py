"""What of an org's Setup names a field, so that the field cannot be deleted.

These are the rules that apply when a record is saved, active or not, the list views and the lead
field mapping. A text uses a field if it can be compiled with it and not without it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.rest.list_views import view_query
from salesforce_pipelines.local_org.saves.lead_conversion import lead_field_mapping
from salesforce_pipelines.local_org.saves.save_rules import KINDS, Rule
from salesforce_pipelines.local_org.soql.compiled_query import Asking
from salesforce_pipelines.local_org.soql.soql_sql import compile_query

_RULE_NAMES = {
    "validationRules": "validation rule",
    "triggers": "trigger",
    "lookupFilters": "lookup filter",
    "duplicateRules": "duplicate rule",
    "assignmentRules": "assignment rule",
}


def field_uses(
    org: Org, connection: sqlite3.Connection, sobject: SObject, fields: Iterable[Field]
) -> list[str]:
    """What names some fields of an sObject, as a person calls it: `the validation rule X`.

    Args:
        connection: The store's, inside a transaction.
    """
    gone = {item.name for item in fields}
    rest = sobject.with_fields([item for item in sobject.fields if item.name not in gone])
    without = Schema(tuple(rest if other is sobject else other for other in org.schema))
    asking = org.asking(org.store.admin_id)
    queries = [*_rule_queries(org), *_list_view_queries(org.schema, connection)]
    uses = [
        use
        for use, query in queries
        if _compiles(query, org.schema, asking) and not _compiles(query, without, asking)
    ]
    mapping = lead_field_mapping(org)
    sources = {source for pairs in mapping.values() for source in pairs}
    targets = set(mapping.get(sobject.name, {}).values())
    if (sobject.name == "Lead" and gone & sources) or gone & targets:
        uses.append("the lead field mapping")
    return list(dict.fromkeys(uses))


def _compiles(query: str, schema: Schema, asking: Asking) -> bool:
    try:
        compile_query(query, schema, asking)
    except ApiError:
        return False
    return True


def _list_view_queries(schema: Schema, connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    for name, definition in connection.execute("SELECT sobject, definition FROM _list_view"):
        view: Mapping[str, Any] = json.loads(definition)
        yield f"the list view {view['developerName']}", view_query(schema[name], view)


def _rule_queries(org: Org) -> Iterator[tuple[str, str]]:
    for kind in KINDS:
        if kind != "recordLocks":
            for rule in org.save_rules.all(kind) or ():
                use = f"the {_RULE_NAMES[kind]} {rule['name']}"
                yield from ((use, query) for query in _queries(org.schema, rule))


def _queries(schema: Schema, rule: Rule) -> Iterator[str]:
    """Queries that name what a rule of any kind names."""
    own = rule["sObject"]
    for key in ("errorCondition", "condition"):
        if rule.get(key):
            yield from (_where(name, rule[key]) for name in _asked_of(schema, rule))
    for key in ("errorDisplayField", "field"):
        if rule.get(key):
            yield _select(own, rule[key])
    for matching in rule.get("matchingRules", ()):
        for pair in matching["fields"]:
            yield _select(own, pair["field"])
            yield _select(matching["sObject"], pair["matches"])
    for entry in rule.get("entries", ()):
        if entry["condition"]:
            yield _where(own, entry["condition"])


def _asked_of(schema: Schema, rule: Rule) -> list[str]:
    """The sObject whose records a rule's condition is about."""
    if "field" not in rule:
        return [rule["sObject"]]
    item = schema[rule["sObject"]].field(rule["field"])
    parent = schema.parent(item) if item else None
    return [parent.name] if parent else []


def _where(sobject: str, condition: str) -> str:
    return f"SELECT Id FROM {sobject} WHERE ({condition})"


def _select(sobject: str, field: str) -> str:
    return f"SELECT {field} FROM {sobject}"
