"""Which records of an sObject are pulled: all, a list view's, or those of a SOQL condition."""

import re
from typing import Any

from salesforce_pipelines.config.models import ListViewScope, Scope, SoqlScope
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.errors import SalesforceError
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.soql import conjunction, has_semi_join, quoted

_STRING = re.compile(r"'(?:\\.|[^'\\])*'", re.DOTALL)
_CLAUSE = re.compile(r"\b(?:ORDER\s+BY|GROUP\s+BY|LIMIT|OFFSET|HAVING)\b", re.IGNORECASE)
_WHERE = re.compile(r"\bWHERE\b", re.IGNORECASE)


def condition_of(session: OrgSession, sobject: str, scope: Scope | None) -> str:
    """The SOQL condition that a configured scope stands for at this moment; empty for all records.

    A list view costs two API calls: its condition is asked for anew every time, because people
    change list views.

    Raises:
        PipelineError: There is no such list view, or it cannot be expressed for a pull.
    """
    if scope is None:
        return ""
    if isinstance(scope, SoqlScope):
        return scope.soql
    return _condition_of_view(session, sobject, scope)


def validate(session: OrgSession, sobject: str, condition: str) -> int:
    """How many live records fit a condition; one API call.

    Raises:
        PipelineError: The org does not understand the condition; with its words.
    """
    if not condition:
        return int(session.get("query", {"q": f"SELECT COUNT() FROM {sobject}"})["totalSize"])
    try:
        # Without parentheses around it, which could close those that it leaves open.
        soql = f"SELECT COUNT() FROM {sobject} WHERE {condition}"
        return int(session.get("query", {"q": soql})["totalSize"])
    except SalesforceError as error:
        if error.status != 400:
            raise
        raise PipelineError(
            f"objects.{sobject}.scope in pipelines.yaml: the org does not take the condition "
            f"({error.code}): {' '.join(error.error.message.split())}"
        ) from error


def can_be_negated(condition: str) -> bool:
    """Whether SOQL takes `NOT (...)` around a condition: not where there is a semi-join in it.

    Source: *SOQL and SOSL Reference*, "Comparison Operators", "Semi-Joins with IN and Anti-Joins
    with NOT IN".
    """
    return not has_semi_join(condition)


def where_of(soql: str) -> str:
    """The condition of a query, without the word WHERE; empty if it has none."""
    # Words inside of literals are no clauses.
    masked = _STRING.sub(lambda match: "'" + "x" * (len(match[0]) - 2) + "'", soql)
    start = _WHERE.search(masked)
    if start is None:
        return ""
    end = _CLAUSE.search(masked, start.end())
    return soql[start.end() : end.start() if end else None].strip()


def _condition_of_view(session: OrgSession, sobject: str, scope: ListViewScope) -> str:
    view = _view(session, sobject, scope.list_view)
    if not view["soqlCompatible"]:
        raise PipelineError(
            f"objects.{sobject}.scope.list_view: Salesforce cannot express {scope.list_view} as "
            "SOQL. Choose another list view, or write the condition as soql."
        )
    described = session.get(f"sobjects/{sobject}/listviews/{view['id']}/describe")
    return conjunction(where_of(described["query"]), _owner(session, described))


def _view(session: OrgSession, sobject: str, name: str) -> dict[str, Any]:
    answer = session.get(f"sobjects/{sobject}/listviews", {"limit": "2000"})
    seen: list[str] = []
    while True:
        for view in answer["listviews"]:
            if name.lower() in (view["developerName"].lower(), view["label"].lower()):
                found: dict[str, Any] = view
                return found
            seen.append(view["developerName"])
        if answer["done"] or not answer["nextRecordsUrl"]:
            break
        answer = session.request("GET", answer["nextRecordsUrl"]).json()
    raise PipelineError(
        f"objects.{sobject}.scope.list_view: the org shows this user no list view {name!r}; there "
        f"are {', '.join(sorted(seen)) or 'none'}"
    )


def _owner(session: OrgSession, described: dict[str, Any]) -> str:
    """The condition of a list view's scope: everybody's records, one's own, or a queue's."""
    scope = str(described.get("scope") or "everything").lower()
    if scope == "everything":
        return ""
    if scope == "mine":
        return f"OwnerId = {quoted(session.user_id)}"
    if scope == "queue_owned" and described.get("scopeEntityId"):
        return f"OwnerId = {quoted(str(described['scopeEntityId']))}"
    raise PipelineError(
        f"objects.{described['sobjectType']}.scope.list_view: its scope {scope!r} has no condition "
        "in SOQL. Choose a list view of everybody's, one's own or a queue's records."
    )
