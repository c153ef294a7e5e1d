"""Searches: SOSL of the simple kind, parameterized search, and recently viewed records.

A search term is looked for within the texts of the name, e-mail and phone fields, in any letter
case; Salesforce's index of words, its stemming and its ranking are not there.
"""

import re
from dataclasses import dataclass
from typing import Any

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.metadata.schema import SObject
from salesforce_pipelines.local_org.rest.query import first_page

MOST_RESULTS = 2000
_DEFAULT_RESULTS = 25
_GROUPS = {
    "ALL": ("name", "email", "phone"),
    "NAME": ("name",),
    "EMAIL": ("email",),
    "PHONE": ("phone",),
}
_FIND = re.compile(
    r"\s*FIND\s*\{(?P<term>(?:\\.|[^{}\\])+)\}\s*(?:IN\s+(?P<group>\w+)\s+FIELDS\s*)?"
    r"(?:RETURNING\s+(?P<returning>.+?))?(?:\s+LIMIT\s+(?P<limit>\d{1,9}))?\s*",
    re.IGNORECASE | re.DOTALL,
)
_RETURNED = re.compile(
    r"\s*(?P<sobject>\w+)\s*(?:\((?P<fields>[\w\s,.]+?)(?:\s+LIMIT\s+(?P<limit>\d{1,9}))?\s*\))?\s*"
    r"(?:,|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a search returns of one sObject."""

    sobject: str
    fields: tuple[str, ...] = ("Id",)
    limit: int = MOST_RESULTS


def recent(call: Call) -> Reply:
    """`GET recent`: the local org has nobody who looks at records in a browser."""
    return Reply([])


def search(call: Call) -> Reply:
    """`GET search?q=FIND {term} IN ALL FIELDS RETURNING Contact(Id, Name)`."""
    found = _FIND.fullmatch(call.query.get("q", ""))
    group = (found["group"] or "ALL").upper() if found else ""
    if found is None or group not in _GROUPS:
        message = "No search term found. The search string must be a SOSL FIND expression."
        raise ApiError(400, "MALFORMED_SEARCH", message)
    wanted = _returned(found["returning"])
    limit = int(found["limit"] or MOST_RESULTS)
    term = re.sub(r"\\(.)", r"\1", found["term"])
    return Reply({"searchRecords": _records(call, term, group, wanted, limit)})


def parameterized_search(call: Call) -> Reply:
    """`GET parameterizedSearch?q=&sobject=`, or the same as a `POST`."""
    given = call.json_object() if call.method == "POST" else _parameters(call)
    term = given.get("q")
    if not isinstance(term, str) or not term.strip():
        raise ApiError(400, "INVALID_SEARCH", "A search term has to be specified with q")
    sobjects = given.get("sobjects") or [{"name": name} for name in ("Account", "Contact", "Lead")]
    if not isinstance(sobjects, list) or not all(_is_named(item) for item in sobjects):
        raise ApiError(400, "INVALID_SEARCH", "sobjects must be objects with a name")
    wanted = [
        _Wanted(
            str(item["name"]),
            _names(item.get("fields") or given.get("fields")),
            _count(item.get("limit"), given.get("defaultLimit"), _DEFAULT_RESULTS),
        )
        for item in sobjects
    ]
    group = str(given.get("in") or "ALL").upper()
    if group not in _GROUPS:
        raise ApiError(400, "INVALID_SEARCH", f"Unsupported search group: {group}")
    limit = _count(given.get("overallLimit"), MOST_RESULTS)
    return Reply({"searchRecords": _records(call, term, group, wanted, limit)})


def _parameters(call: Call) -> dict[str, Any]:
    """The query parameters in the shape of the body of a `POST`."""
    names = [name for name in call.query.get("sobject", "").split(",") if name.strip()]
    given: dict[str, Any] = {key: call.query.get(key) for key in ("q", "in", "defaultLimit")}
    given["overallLimit"] = call.query.get("overallLimit")
    given["fields"] = call.query.get("fields", "").split(",")
    given["sobjects"] = [
        {
            "name": name.strip(),
            "fields": call.query.get(f"{name}.fields", "").split(","),
            "limit": call.query.get(f"{name}.limit"),
        }
        for name in names
    ]
    return given


def _returned(text: str | None) -> list[_Wanted]:
    if text is None:
        return [_Wanted(name) for name in ("Account", "Contact", "Lead")]
    wanted, at = [], 0
    while at < len(text):
        found = _RETURNED.match(text, at)
        if found is None:
            raise ApiError(400, "MALFORMED_SEARCH", "unexpected token in RETURNING")
        fields = tuple(name.strip() for name in (found["fields"] or "Id").split(","))
        wanted.append(_Wanted(found["sobject"], fields, int(found["limit"] or MOST_RESULTS)))
        at = found.end()
    return wanted


def _records(
    call: Call, term: str, group: str, wanted: list[_Wanted], limit: int
) -> list[dict[str, Any]]:
    """The records whose texts hold the term, of one sObject after the other."""
    text = term.strip().strip("*").replace("\\", "\\\\").replace("'", "\\'")
    if len(text) < 2:
        raise ApiError(400, "INVALID_SEARCH", "The search term must have at least two characters")
    pattern = text.replace("%", "\\%").replace("_", "\\_").replace("*", "%").replace("?", "_")
    records: list[dict[str, Any]] = []
    for item in wanted:
        sobject = call.schema.get(item.sobject)
        if sobject is None or not sobject.listviewable:
            message = f"sObject type '{item.sobject}' is not supported."
            raise ApiError(400, "INVALID_TYPE", message)
        names = _searched(sobject, group)
        most = min(item.limit, limit - len(records), MOST_RESULTS)
        if not names or most < 1:
            continue
        condition = " OR ".join(f"{name} LIKE '%{pattern}%'" for name in names)
        soql = f"SELECT {', '.join(item.fields)} FROM {sobject.name} WHERE {condition} LIMIT {most}"
        answer = first_page(call.org, soql, call.user_id, call.version, MOST_RESULTS, False)
        records += answer["records"]
    return records


def _searched(sobject: SObject, group: str) -> list[str]:
    """The fields that a search group looks into."""
    kinds = _GROUPS[group]
    return [
        item.name
        for item in sobject.fields
        if (item.name_field and item.is_text and "name" in kinds)
        or (item.type in ("email", "phone") and item.type in kinds and item.is_stored)
    ]


def _names(given: object) -> tuple[str, ...]:
    if not isinstance(given, list):
        return ("Id",)
    return tuple(str(name).strip() for name in given if str(name).strip()) or ("Id",)


def _count(*given: object) -> int:
    """The first of the values that is a number of records."""
    return next(int(str(item)) for item in given if re.fullmatch(r"\d{1,9}", str(item)))


def _is_named(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str)
