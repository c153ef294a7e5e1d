"""What a request is about, for the faults that may strike at it."""

import re
from collections.abc import Iterator

import orjson

from salesforce_pipelines.local_org.admin.faults import Occasion
from salesforce_pipelines.local_org.bulk_api import bulk_query
from salesforce_pipelines.local_org.bulk_api.jobs import Jobs
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.calls import Call

_IN_PARENTHESES = re.compile(r"\([^()]*\)")
_OTHER_APIS = (["services", "soap"], ["services", "async"])
_FROM = re.compile(r"\bFROM\s+(\w+)", re.IGNORECASE)


def occasion_of(call: Call) -> Occasion:
    """A request as an occasion for faults."""
    joined = "/".join(call.path)
    words = [part.lower() for part in call.path]
    faults = call.org.faults
    wanted = faults.asks_for_sobject("request", "results", "page", "page_body", "count")
    return Occasion(
        method=call.method,
        path=f"/services/data/v{call.version}/{joined}" if call.is_data else f"/{joined}",
        below_version=joined if call.is_data or words[:2] in _OTHER_APIS else None,
        sobjects=frozenset(_sobjects(call, words)) if wanted and call.is_data else frozenset(),
        user_id=call.user_id,
        job=words[1] if words[:1] == ["jobs"] and len(words) > 1 else "",
        from_record=_first_record(call, words),
    )


def _sobjects(call: Call, words: list[str]) -> Iterator[str]:
    if words[:1] == ["sobjects"] and len(words) > 1:
        yield words[1]
    elif words[:2] == ["composite", "sobjects"] and len(words) > 2:
        yield words[2]
    elif words[:1] == ["jobs"] and len(words) > 2:
        try:
            yield str(Jobs(call.org).get(words[1], call.path[2]).body["object"]).lower()
        except ApiError:
            return
    elif words[:1] in (["query"], ["queryall"]):
        yield from _queried(call.query.get("q", ""))
    elif call.body:
        yield from _in_body(call.body)


def _in_body(body: bytes) -> Iterator[str]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return
    if not isinstance(value, dict):
        return
    yield str(value.get("object", "")).lower()
    yield from _queried(str(value.get("query", "")))
    records = value.get("records")
    for record in records if isinstance(records, list) else ():
        attributes = record.get("attributes") if isinstance(record, dict) else None
        if isinstance(attributes, dict):
            yield str(attributes.get("type", "")).lower()


def _queried(soql: str) -> Iterator[str]:
    """The sObject that a query is from, not those of its subqueries."""
    shorter = _IN_PARENTHESES.sub("", soql)
    while shorter != soql:
        soql, shorter = shorter, _IN_PARENTHESES.sub("", shorter)
    found = _FROM.search(soql)
    if found:
        yield found[1].lower()


def _first_record(call: Call, words: list[str]) -> int:
    if words[:2] != ["jobs", "query"] or words[3:] != ["results"]:
        return 0
    locator = call.query.get("locator")
    try:
        return bulk_query.record_number(None if locator == "null" else locator)
    except ApiError:
        return 0
