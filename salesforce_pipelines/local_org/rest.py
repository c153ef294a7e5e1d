"""REST: queries, single rows, what changed, and what was deleted."""

from datetime import UTC, datetime, timedelta
from typing import Any

from salesforce_pipelines.local_org import query
from salesforce_pipelines.local_org.calls import Call, Reply
from salesforce_pipelines.local_org.dml import Outcome, Writer, external_id_field, sobject_named
from salesforce_pipelines.local_org.errors import ApiError, MultipleChoicesError, not_found
from salesforce_pipelines.local_org.field_values import from_json
from salesforce_pipelines.local_org.ids import is_id, to_18
from salesforce_pipelines.local_org.query_columns import query_columns
from salesforce_pipelines.local_org.records import (
    Record,
    RecordShaper,
    full_row_query,
    rest_datetime,
)
from salesforce_pipelines.local_org.schema import SObject
from salesforce_pipelines.local_org.soql_sql import compile_query
from salesforce_pipelines.local_org.store import quoted, stamp

_UPSERT_WITH_BODY = 46.0
_DELETED_DAYS, _UPDATED_DAYS = 15, 30
_MOST_IDS = 600_000


def run_query(call: Call) -> Reply:
    """`GET query?q=`."""
    return _query(call, include_deleted=False)


def run_query_all(call: Call) -> Reply:
    """`GET queryAll?q=`: with what lies in the recycle bin."""
    return _query(call, include_deleted=True)


def next_query_page(call: Call) -> Reply:
    """`GET query/LOCATOR`; a query given beside it does not count."""
    return Reply(query.next_page(call.org, call.captured["locator"], call.user_id, call.version))


def _query(call: Call, include_deleted: bool) -> Reply:
    text = call.query.get("q")
    if not text:
        raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
    if call.flag("columns"):
        asking = call.org.asking(call.user_id, include_deleted)
        return Reply(query_columns(compile_query(text, call.org.schema, asking)))
    size = call.option("sforce-query-options", "batchSize") or str(query.LARGEST_PAGE)
    batch = int(size[:9]) if size.isdecimal() else query.LARGEST_PAGE
    return Reply(
        query.first_page(call.org, text, call.user_id, call.version, batch, include_deleted)
    )


def read_row(call: Call) -> Reply:
    """`GET sobjects/X/ID[?fields=]`, or `GET sobjects/X/ExternalId__c/VALUE`."""
    sobject = sobject_named(call.org.schema, call.captured["sobject"])
    key = call.captured.get("key")
    if key is None:
        if not is_id(call.captured["id"]):
            message = (
                "Provided external ID field does not exist or is not accessible: "
                f"{call.captured['id']}"
            )
            raise ApiError(404, "NOT_FOUND", message)
        row_id = to_18(call.captured["id"])
    else:
        row_id = _id_by_key(call, sobject, key, call.captured["value"])
    names = [name.strip() for name in call.query.get("fields", "").split(",") if name.strip()]
    record = read_records(call, sobject, [row_id], names)[0]
    if record is None:
        raise not_found()
    modified = datetime.fromisoformat(f"{_modified(call, sobject, row_id)}+00:00")
    headers = {"Last-Modified": modified.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    return Reply(record, headers=headers)


def read_records(
    call: Call, sobject: SObject, ids: list[str], names: list[str]
) -> list[Record | None]:
    """The live records with those ids, in that order; None where there is none."""
    for name in names:
        if "." not in name and sobject.field(name) is None:
            message = f"No such column '{name}' on sobject of type {sobject.name}"
            raise ApiError(400, "INVALID_FIELD", message)
    unique = list(dict.fromkeys(name.lower() for name in names))
    text = f"SELECT {', '.join(unique)} FROM {sobject.name}" if names else full_row_query(sobject)
    compiled = compile_query(text, call.org.schema, call.org.asking(call.user_id))
    shaper = RecordShaper(compiled, call.version)
    condition = f'{compiled.own}."Id" IN ({", ".join("?" for _ in ids)})'
    where = f"{compiled.where_sql} AND {condition}" if compiled.where_sql else f" WHERE {condition}"
    sql = f"SELECT {compiled.own}.Id, {shaper.select_list}{compiled.from_sql}{where}"
    rows = call.org.store.reader().execute(sql, [*compiled.parameters, *ids])
    found = {row[0]: shaper.record(row[1:]) for row in rows}
    return [found.get(row_id) for row_id in ids]


def _modified(call: Call, sobject: SObject, row_id: str) -> str:
    sql = f"SELECT SystemModstamp FROM {quoted(sobject.name)} WHERE Id = ?"
    return str(call.org.store.reader().execute(sql, [row_id]).fetchone()[0])


def _id_by_key(call: Call, sobject: SObject, key: str, value: str) -> str:
    item = external_id_field(sobject, key)
    writer = Writer(call.org.store, call.org.store.reader(), call.user_id, from_json)
    try:
        found = writer.find(sobject, item, value)
    except MultipleChoicesError as choices:
        raise _with_addresses(call, sobject, choices) from None
    if found is None:
        raise not_found()
    return found


def create_row(call: Call) -> Reply:
    """`POST sobjects/X`."""
    sobject = sobject_named(call.org.schema, call.captured["sobject"])
    values = _written(call)
    with call.org.store.write() as connection:
        outcome = Writer(call.org.store, connection, call.user_id, from_json).create(
            sobject, values
        )
        _raise_first(outcome)
    return _created(call, sobject, outcome, {"id": outcome.id, "success": True, "errors": []})


def update_row(call: Call) -> Reply:
    """`PATCH sobjects/X/ID`."""
    sobject = sobject_named(call.org.schema, call.captured["sobject"])
    values = _written(call)
    for name in values:
        if name.lower() in ("id", "attributes"):
            message = "The Id field should not be specified in the sobject data."
            raise ApiError(400, "INVALID_FIELD", message)
    with call.org.store.write() as connection:
        writer = Writer(call.org.store, connection, call.user_id, from_json)
        _raise_first(writer.update(sobject, call.captured["id"], values), missing_is_404=True)
    return Reply(status=204)


def upsert_row(call: Call) -> Reply:
    """`PATCH sobjects/X/ExternalId__c/VALUE`."""
    sobject = sobject_named(call.org.schema, call.captured["sobject"])
    key = external_id_field(sobject, call.captured["key"])
    values = _written(call)
    if key.name.lower() in {name.lower() for name in values}:
        message = f"The {key.name} field should not be specified in the sobject data."
        raise ApiError(400, "INVALID_FIELD", message)
    try:
        with call.org.store.write() as connection:
            writer = Writer(call.org.store, connection, call.user_id, from_json)
            outcome = writer.upsert(sobject, key, call.captured["value"], values)
            _raise_first(outcome, missing_is_404=True)
    except MultipleChoicesError as choices:
        raise _with_addresses(call, sobject, choices) from None
    if not outcome.created and float(call.version) < _UPSERT_WITH_BODY:
        return Reply(status=204)
    body: dict[str, Any] = {"id": outcome.id, "success": True, "errors": []}
    body["created"] = outcome.created
    return _created(call, sobject, outcome, body) if outcome.created else Reply(body)


def delete_row(call: Call) -> Reply:
    """`DELETE sobjects/X/ID`, or `DELETE sobjects/X/ExternalId__c/VALUE`."""
    sobject = sobject_named(call.org.schema, call.captured["sobject"])
    if "key" in call.captured:
        row_id = _id_by_key(call, sobject, call.captured["key"], call.captured["value"])
    else:
        row_id = call.captured["id"]
    with call.org.store.write() as connection:
        writer = Writer(call.org.store, connection, call.user_id, from_json)
        _raise_first(writer.delete(sobject, row_id), missing_is_404=True)
    return Reply(status=204)


def upsert_row_without_id(call: Call) -> Reply:
    """`POST sobjects/X/Id`: an upsert that can only insert."""
    if call.captured["id"].lower() != "id":
        raise not_found()
    return create_row(call)


def updated_rows(call: Call) -> Reply:
    """`GET sobjects/X/updated?start=&end=`."""
    sobject, start, end = _window(call, _UPDATED_DAYS)
    live = " AND IsDeleted = 0" if sobject.has_is_deleted else ""
    rows = call.org.store.reader().execute(
        f"SELECT Id FROM {quoted(sobject.name)} WHERE SystemModstamp >= ? AND SystemModstamp < ?"
        f"{live} ORDER BY SystemModstamp, Id LIMIT {_MOST_IDS + 1}",
        [start, end],
    )
    ids = [row_id for (row_id,) in rows]
    if len(ids) > _MOST_IDS:
        message = "The number of records within the specified date range exceeds the limit"
        raise ApiError(400, "EXCEEDED_ID_LIMIT", message)
    return Reply({"ids": ids, "latestDateCovered": rest_datetime(end)})


def deleted_rows(call: Call) -> Reply:
    """`GET sobjects/X/deleted?start=&end=`."""
    sobject, start, end = _window(call, _DELETED_DAYS)
    if not sobject.has_is_deleted:
        raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"{sobject.name} is not replicateable")
    rows = call.org.store.reader().execute(
        f"SELECT Id, SystemModstamp FROM {quoted(sobject.name)}"
        " WHERE SystemModstamp >= ? AND SystemModstamp < ? AND IsDeleted = 1"
        " ORDER BY SystemModstamp, Id",
        [start, end],
    )
    deleted = [{"id": row[0], "deletedDate": rest_datetime(row[1])} for row in rows]
    earliest = call.org.store.clock() - timedelta(days=_DELETED_DAYS)
    return Reply(
        {
            "deletedRecords": deleted,
            "earliestDateAvailable": rest_datetime(stamp(earliest)),
            "latestDateCovered": rest_datetime(end),
        }
    )


def _window(call: Call, days: int) -> tuple[SObject, str, str]:
    sobject = sobject_named(call.org.schema, call.captured["sobject"])
    now = call.org.store.clock()
    start, end = (_moment(call.query.get(name, "")) for name in ("start", "end"))
    if start < now - timedelta(days=days, minutes=1):
        message = "startDate cannot be before the earliest date available"
        raise ApiError(400, "INVALID_REPLICATION_DATE", message)
    if end - start < timedelta(minutes=1):
        message = "startDate must be before endDate by at least one minute"
        raise ApiError(400, "INVALID_REPLICATION_DATE", message)
    return sobject, stamp(start), stamp(min(end, now.replace(microsecond=0)))


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "+").replace("Z", "+00:00"))
    except ValueError:
        message = "start and end must be given as times such as 2024-05-01T00:00:00Z"
        raise ApiError(400, "INVALID_REPLICATION_DATE", message) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _written(call: Call) -> dict[str, Any]:
    values = call.json_object()
    if call.method == "POST":
        values.pop("attributes", None)
    return values


def _raise_first(outcome: Outcome, missing_is_404: bool = False) -> None:
    """Refuse the whole call, inside its transaction, when its one record was refused."""
    if not outcome.errors:
        return
    error = outcome.errors[0]
    if missing_is_404 and error.code == "INVALID_CROSS_REFERENCE_KEY" and not error.fields:
        raise not_found()
    raise error.in_row_call()


def _created(call: Call, sobject: SObject, outcome: Outcome, body: dict[str, Any]) -> Reply:
    location = f"/services/data/v{call.version}/sobjects/{sobject.name}/{outcome.id}"
    return Reply(body, status=201, headers={"Location": location})


def _with_addresses(
    call: Call, sobject: SObject, choices: MultipleChoicesError
) -> MultipleChoicesError:
    root = f"/services/data/v{call.version}/sobjects/{sobject.name}"
    return MultipleChoicesError([f"{root}/{row_id}" for row_id in choices.urls])
