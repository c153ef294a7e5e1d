"""List views: the saved filters of an sObject, described as SOQL and as what the screen shows."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.http.whole_numbers import whole_number
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves.dml import sobject_named
from salesforce_pipelines.local_org.soql.compiled_query import Column
from salesforce_pipelines.local_org.soql.soql_sql import compile_query
from salesforce_pipelines.local_org.storage.ids import is_id, to_18
from salesforce_pipelines.local_org.storage.store import Value, insert_statement, next_number

_HIDDEN = ("Id", "CreatedDate", "LastModifiedDate", "SystemModstamp")
_OPERATORS = {
    "equals": "=",
    "notEquals": "!=",
    "lessThan": "<",
    "lessThanOrEqualTo": "<=",
    "greaterThan": ">",
    "greaterThanOrEqualTo": ">=",
    "like": "LIKE",
    "in": "IN",
    "notIn": "NOT IN",
    "includes": "INCLUDES",
    "excludes": "EXCLUDES",
}
_LIST_OPERATORS = frozenset({"in", "notIn", "includes", "excludes"})
_CONTACT_COLUMNS = ["Name", "Account.Name", "Title", "Phone", "Email", "Owner.Alias"]
_LEAD_COLUMNS = [
    "Name",
    "Title",
    "Company",
    "Phone",
    "MobilePhone",
    "Email",
    "Status",
    "Owner.Alias",
]


def _view(
    sobject: str,
    name: str,
    label: str,
    columns: list[str],
    where: dict[str, Any] | None = None,
    scope: str = "everything",
) -> dict[str, Any]:
    return {
        "sobjectType": sobject,
        "developerName": name,
        "label": label,
        "columns": columns,
        "where": where,
        "scope": scope,
        "orderBy": [["Name", "ascending"], ["Id", "ascending"]],
    }


def _test(field: str, operator: str, *values: str) -> dict[str, Any]:
    return {"field": field, "operator": operator, "values": list(values)}


def _all_of(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"conditions": list(conditions), "conjunction": "and"}


SEEDED: tuple[dict[str, Any], ...] = (
    _view("Contact", "AllContacts", "All Contacts", _CONTACT_COLUMNS),
    _view("Contact", "MyContacts", "My Contacts", _CONTACT_COLUMNS, scope="mine"),
    _view(
        "Contact",
        "NewThisWeek",
        "New This Week",
        _CONTACT_COLUMNS,
        _test("CreatedDate", "equals", "THIS_WEEK"),
    ),
    _view(
        "Contact",
        "RecentlyCreatedContacts",
        "Recently Created Contacts",
        _CONTACT_COLUMNS,
        _test("CreatedDate", "greaterThanOrEqualTo", "LAST_N_DAYS:30"),
    ),
    _view(
        "Contact",
        "ContactsWithoutPhone",
        "Contacts Without Phone",
        _CONTACT_COLUMNS,
        _all_of(_test("Phone", "equals", "null"), _test("Email", "notEquals", "null")),
    ),
    _view(
        "Lead",
        "AllOpenLeads",
        "All Open Leads",
        _LEAD_COLUMNS,
        _test("IsConverted", "equals", "false"),
    ),
    _view(
        "Lead",
        "MyUnreadLeads",
        "My Unread Leads",
        _LEAD_COLUMNS,
        _all_of(
            _test("IsUnreadByOwner", "equals", "true"), _test("IsConverted", "equals", "false")
        ),
        scope="mine",
    ),
    _view(
        "Lead",
        "RecentlyCreatedLeads",
        "Recently Created Leads",
        _LEAD_COLUMNS,
        _test("CreatedDate", "greaterThanOrEqualTo", "LAST_N_DAYS:30"),
    ),
    _view(
        "Lead",
        "WorkingLeads",
        "Working Leads",
        _LEAD_COLUMNS,
        _test("Status", "equals", "'Working - Contacted'"),
    ),
    _view("Account", "AllAccounts", "All Accounts", ["Name", "BillingState", "Phone", "Type"]),
    _view(
        "Opportunity",
        "AllOpportunities",
        "All Opportunities",
        ["Name", "Account.Name", "Amount", "CloseDate", "StageName", "Owner.Alias"],
    ),
    _view(
        "Campaign",
        "AllActiveCampaigns",
        "All Active Campaigns",
        ["Name", "Type", "Status", "StartDate", "EndDate"],
        _test("IsActive", "equals", "true"),
    ),
)


def add_list_view(org: Org, view: Mapping[str, Any]) -> dict[str, Any]:
    """Save a list view of one's own; one with the same developer name is replaced.

    Args:
        view: What the describe of a real org's list view has: `sobjectType`, `columns` (those that
            are not hidden) or a list of field paths, `whereCondition`, `scope`, `orderBy`; and its
            `developerName` and `label`.

    Returns:
        Its id and the SOQL it stands for.

    Raises:
        PipelineError: Naming the key; nothing was saved.
    """
    sobject = org.schema.get(str(view.get("sobjectType")))
    if sobject is None or not has_list_views(org, sobject):
        raise PipelineError(f"sobjectType: there are no list views of {view.get('sobjectType')}")
    name = str(view.get("developerName") or "")
    if not name.isidentifier():
        raise PipelineError(f"developerName: {name!r} must be letters, digits and underscores")
    saved = _view(
        sobject.name,
        name,
        str(view.get("label") or name),
        _shown_columns(view.get("columns")),
        _where(view.get("whereCondition")),
        str(view.get("scope") or "everything"),
    )
    try:
        if view.get("orderBy"):
            saved["orderBy"] = [
                [item["fieldNameOrPath"], item["sortDirection"]] for item in view["orderBy"]
            ]
        soql = view_query(sobject, saved)
        compile_query(soql, org.schema, org.asking(org.store.admin_id))
    except ApiError as error:
        raise PipelineError(f"The list view {name} cannot be queried: {error.message}") from None
    except (KeyError, TypeError) as error:
        raise PipelineError(f"whereCondition or orderBy of {name}: {error} is not known") from None
    return {"id": _save(org, saved), "query": soql}


def delete_list_view(org: Org, record_id: str) -> bool:
    """Forget a list view; False if there is none."""
    wanted = to_18(record_id) if is_id(record_id) else ""
    with org.store.write() as connection:
        connection.execute("DELETE FROM ListView WHERE Id = ?", [wanted])
        gone = connection.execute("DELETE FROM _list_view WHERE id = ?", [wanted])
    return bool(gone.rowcount)


def _shown_columns(columns: object) -> list[str]:
    if not isinstance(columns, list) or not columns:
        raise PipelineError("columns: a list of field paths, or of a describe's columns, is needed")
    paths = [
        item if isinstance(item, str) else item.get("fieldNameOrPath")
        for item in columns
        if isinstance(item, str) or (isinstance(item, Mapping) and not item.get("hidden"))
    ]
    return [str(path) for path in paths]


def _where(condition: object) -> dict[str, Any] | None:
    if not isinstance(condition, Mapping) or condition.get("conditions") == []:
        return None
    return dict(condition)


def _save(org: Org, view: dict[str, Any]) -> str:
    sobject, now = org.schema["ListView"], org.store.now()
    admin = org.store.admin_id
    with org.store.write() as connection:
        found = connection.execute(
            "SELECT Id FROM ListView WHERE DeveloperName = ? AND SobjectType = ?",
            [view["developerName"], view["sobjectType"]],
        ).fetchone()
        number = next_number(connection, sobject)
        record_id = found[0] if found else org.store.ids.record_id(sobject.key_prefix, number)
        row = {
            "Id": record_id,
            "Name": view["label"],
            "DeveloperName": view["developerName"],
            "SobjectType": view["sobjectType"],
            "IsSoqlCompatible": 1,
            "CreatedDate": now,
            "CreatedById": admin,
            "LastModifiedDate": now,
            "LastModifiedById": admin,
            "SystemModstamp": now,
        }
        connection.execute("DELETE FROM ListView WHERE Id = ?", [record_id])
        connection.execute(insert_statement(sobject, list(row)), [number, *row.values()])
        connection.execute(
            "INSERT OR REPLACE INTO _list_view VALUES (?, ?, ?)",
            [record_id, view["sobjectType"], json.dumps(view)],
        )
    return str(record_id)


def has_list_views(org: Org, sobject: SObject) -> bool:
    """Whether an sObject has list views."""
    if sobject.name == "CampaignMember":
        return choice(org.state, "campaign_member_list_views") == "offered"
    return sobject.listviewable


def listing(call: Call) -> Reply:
    """`GET sobjects/X/listviews`."""
    sobject = _listviewable(call)
    rows = call.org.store.reader().execute(
        "SELECT id, definition FROM _list_view WHERE sobject = ? ORDER BY id", [sobject.name]
    )
    views = [_summary(call, record_id, json.loads(definition)) for record_id, definition in rows]
    return Reply(
        {
            "done": True,
            "listviews": views,
            "nextRecordsUrl": None,
            "size": len(views),
            "sobjectType": sobject.name,
        }
    )


def information(call: Call) -> Reply:
    """`GET sobjects/X/listviews/ID`, or `recent`, which lists them all."""
    if call.captured["id"].lower() == "recent":
        return listing(call)
    record_id, view = _found(call)
    return Reply(_summary(call, record_id, view))


def description(call: Call) -> Reply:
    """`GET sobjects/X/listviews/ID/describe`: the view as SOQL."""
    record_id, view = _found(call)
    sobject = call.schema[view["sobjectType"]]
    soql = view_query(sobject, view)
    # A view that filters by a field its reader may not see is refused, as its results are.
    compile_query(soql, call.schema, call.org.asking(call.user_id))
    return Reply(
        {
            "columns": _columns(call.schema, sobject, view),
            "id": record_id[:15],
            "orderBy": [
                {"fieldNameOrPath": name, "nullsPosition": "first", "sortDirection": direction}
                for name, direction in view["orderBy"]
            ],
            "query": soql,
            "relatedEntityId": None,
            "scope": view["scope"],
            "scopeEntityId": None,
            "sobjectType": sobject.name,
            "whereCondition": view["where"] or {"conditions": [], "conjunction": "and"},
        }
    )


def results(call: Call) -> Reply:
    """`GET sobjects/X/listviews/ID/results`: the view's rows as texts, as a screen shows them."""
    record_id, view = _found(call)
    limit, offset = _number(call, "limit", 25, 1, 2000), _number(call, "offset", 0, 0, 2000)
    org, schema, sobject = call.org, call.schema, call.schema[view["sobjectType"]]
    text = f"{view_query(sobject, view)} LIMIT {limit} OFFSET {offset}"
    compiled = compile_query(text, schema, org.asking(call.user_id))
    select = ", ".join(column.sql for column in compiled.columns)
    rows = org.store.reader().execute(f"SELECT {select}{compiled.tail}", compiled.parameters)
    records = [
        {
            "columns": [
                {"fieldNameOrPath": column.header, "value": _shown(column, value)}
                for column, value in zip(compiled.columns, row, strict=True)
            ]
        }
        for row in rows
    ]
    return Reply(
        {
            "columns": _columns(schema, sobject, view),
            "developerName": view["developerName"],
            "done": len(records) < limit,
            "id": record_id,
            "label": view["label"],
            "records": records,
            "size": len(records),
        }
    )


def _listviewable(call: Call) -> SObject:
    sobject = sobject_named(call.schema, call.captured["sobject"])
    if not has_list_views(call.org, sobject):
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    return sobject


def _found(call: Call) -> tuple[str, dict[str, Any]]:
    sobject, wanted = _listviewable(call), call.captured["id"]
    record_id = to_18(wanted) if is_id(wanted) else ""
    row = (
        call.org.store.reader()
        .execute(
            "SELECT definition FROM _list_view WHERE id = ? AND sobject = ?",
            [record_id, sobject.name],
        )
        .fetchone()
    )
    if row is None:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    view = json.loads(row[0])
    view["columns"] = [path for path in view["columns"] if _is_visible(call.schema, sobject, path)]
    return record_id, view


def _is_visible(schema: Schema, sobject: SObject, path: str) -> bool:
    try:
        _field_at(schema, sobject, path)
    except KeyError:
        return False
    return True


def _summary(call: Call, record_id: str, view: dict[str, Any]) -> dict[str, Any]:
    url = f"/services/data/v{call.version}/sobjects/{view['sobjectType']}/listviews/{record_id}"
    return {
        "describeUrl": f"{url}/describe",
        "developerName": view["developerName"],
        "id": record_id,
        "label": view["label"],
        "resultsUrl": f"{url}/results",
        "soqlCompatible": True,
        "url": url,
    }


def view_query(sobject: SObject, view: Mapping[str, Any]) -> str:
    """The view's query: lower-case names, labels of picklists, and the hidden columns."""
    selected = []
    for path in [*view["columns"], *_HIDDEN]:
        item = sobject.field(path)
        name = path.lower()
        selected.append(f"tolabel({name})" if item and item.type == "picklist" else name)
    scope = " USING SCOPE mine" if view["scope"] == "mine" else ""
    where = f" WHERE {_condition(view['where'])}" if view["where"] else ""
    order = ", ".join(
        f"{name} {'ASC' if direction == 'ascending' else 'DESC'} NULLS FIRST"
        for name, direction in view["orderBy"]
    )
    return f"SELECT {', '.join(selected)} FROM {sobject.name}{scope}{where} ORDER BY {order}"


def _condition(condition: dict[str, Any]) -> str:
    if "conditions" in condition:
        parts = [
            f"({_condition(part)})" if "conditions" in part else _condition(part)
            for part in condition["conditions"]
        ]
        return f" {condition['conjunction'].upper()} ".join(parts)
    if "condition" in condition:
        return f"(NOT ({_condition(condition['condition'])}))"
    operator, values = _OPERATORS[condition["operator"]], condition["values"]
    value = f"({', '.join(values)})" if condition["operator"] in _LIST_OPERATORS else values[0]
    return f"{condition['field']} {operator} {value}"


def _columns(schema: Schema, sobject: SObject, view: dict[str, Any]) -> list[dict[str, Any]]:
    shown = [_column(schema, sobject, path, False, view) for path in view["columns"]]
    return shown + [_column(schema, sobject, path, True, view) for path in _HIDDEN]


def _column(
    schema: Schema, sobject: SObject, path: str, hidden: bool, view: dict[str, Any]
) -> dict[str, Any]:
    item = _field_at(schema, sobject, path)
    positions = {name: (at, way) for at, (name, way) in enumerate(view["orderBy"])}
    index, direction = positions.get(path, (None, None)) if not hidden else (None, None)
    is_picklist = item.type == "picklist"
    return {
        "ascendingLabel": None if hidden else "Z-A",
        "descendingLabel": None if hidden else "A-Z",
        "fieldNameOrPath": path,
        "hidden": hidden,
        "label": item.label,
        "searchable": not hidden and item.is_text,
        "selectListItem": f"toLabel({path})" if is_picklist else path,
        "sortDirection": direction,
        "sortIndex": index,
        "sortable": not hidden,
        "type": item.type,
    }


def _field_at(schema: Schema, sobject: SObject, path: str) -> Field:
    *relations, name = path.split(".")
    for relation in relations:
        reference = sobject.reference(relation)
        parent = reference and schema.parent(reference)
        if not parent:
            raise KeyError(path)
        sobject = parent
    item = sobject.field(name)
    if item is None:
        raise KeyError(path)
    return item


def _shown(column: Column, value: Value) -> str | None:
    """A value as the screen shows it: everything is text, times are in English."""
    if value is None:
        return None
    if column.type == "boolean":
        return "true" if value else "false"
    if column.type == "datetime":
        return datetime.fromisoformat(f"{value}+00:00").strftime("%a %b %d %H:%M:%S GMT %Y")
    return str(value)


def _number(call: Call, name: str, default: int, least: int, most: int) -> int:
    number = whole_number(call.query.get(name, str(default)))
    if number is None or not least <= number <= most:
        raise ApiError(400, "INVALID_QUERY_PARAMETER", f"{name} must be {least} to {most}")
    return number
