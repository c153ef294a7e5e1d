"""REST: queries, single rows, what changed, and what was deleted."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from salesforce_pipelines.local_org.errors import (
    ApiError,
    MultipleChoicesError,
    RowRefusedError,
    not_found,
)
from salesforce_pipelines.local_org.http import conditional_requests
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.rest import query
from salesforce_pipelines.local_org.rest.records import (
    Record,
    RecordShaper,
    full_row_query,
    rest_datetime,
)
from salesforce_pipelines.local_org.saves.call_writing import call_writer
from salesforce_pipelines.local_org.saves.dml import (
    Outcome,
    Writer,
    external_id_field,
    sobject_named,
)
from salesforce_pipelines.local_org.saves.recycle_bin import deleted_records
from salesforce_pipelines.local_org.soql.query_columns import query_columns
from salesforce_pipelines.local_org.soql.soql_sql import compile_query
from salesforce_pipelines.local_org.storage.ids import is_id, to_18
from salesforce_pipelines.local_org.storage.store import Value, quoted, stamp

_UPSERT_WITH_BODY = 46.0
_DELETED_DAYS, _UPDATED_DAYS = 15, 30
_MOST_IDS = 600_000


def run_query(call: Call) -> Reply:
    """`GET query?q=`."""
    return _query(call, include_deleted=False)


def run_query_all(call: Call) -> Reply:
    """`GET queryAll?q=`: with what lies in the recycle bin."""
    return _query(call, include_deleted=True)


def run_tooling_query(call: Call) -> Reply:
    """`GET tooling/query?q=`: the local org has none of the Tooling API's objects."""
    text = _query_text(call)
    compile_query(text, Schema(()), call.org.asking(call.user_id))
    raise ApiError(400, "INVALID_TYPE", "sObject type is not supported.")


def next_query_page(call: Call) -> Reply:
    """`GET query/LOCATOR`; a query given beside it does not count."""
    return Reply(query.next_page(call.org, call.captured["locator"], call.user_id, call.version))


def _query(call: Call, include_deleted: bool) -> Reply:
    text = _query_text(call)
    if call.flag("columns"):
        asking = call.org.asking(call.user_id, include_deleted)
        return Reply(query_columns(compile_query(text, call.schema, asking)))
    size = call.option("sforce-query-options", "batchSize") or str(query.LARGEST_PAGE)
    batch = int(size[:9]) if size.isdecimal() else query.LARGEST_PAGE
    return Reply(
        query.first_page(call.org, text, call.user_id, call.version, batch, include_deleted)
    )


def _query_text(call: Call) -> str:
    text = call.query.get("q")
    if not text:
        raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
    return text


def read_row(call: Call) -> Reply:
    """`GET sobjects/X/ID[?fields=]`, or `GET sobjects/X/ExternalId__c/VALUE`.

    With an id before the last part, as in `sobjects/Contact/ID/Account`, that part is a
    relationship.
    """
    sobject = sobject_named(call.schema, call.captured["sobject"])
    key = call.captured.get("key")
    if key is not None and sobject.field(key) is None and is_id(key):
        return _read_related(call, sobject, to_18(key), call.captured["value"])
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
    record.setdefault("Id", row_id)  # shown whatever fields were asked for
    row = call_writer(call, call.org.store.reader()).stored(sobject, row_id)
    if row is None:
        raise not_found()
    tag = conditional_requests.row_tag(sobject.name, row)
    return conditional_requests.answered(call, Reply(record), str(row["SystemModstamp"]), tag)


def _read_related(call: Call, sobject: SObject, row_id: str, relationship: str) -> Reply:
    """The parent of a record, or its children."""
    own = call_writer(call, call.org.store.reader()).stored(sobject, row_id)
    if own is None or (sobject.has_is_deleted and own["IsDeleted"]):
        raise not_found()
    reference = sobject.reference(relationship)
    if reference is not None:
        parent = _parent_of(call, reference, own)
        captured = {"sobject": parent.name, "id": str(own[reference.name])}
        return read_row(replace(call, captured=captured))
    for relation in call.schema.children(sobject):
        if relation.name and relation.name.lower() == relationship.lower():
            child = call.schema[relation.child]
            return _read_children(call, child, f"{relation.field} = '{row_id}'")
    raise not_found()


def _parent_of(call: Call, reference: Field, row: Mapping[str, Value]) -> SObject:
    """The sObject that a record's reference leads to."""
    parent_id = row[reference.name]
    targets = (call.schema.get(name) for name in reference.refers_to)
    for target in targets:
        if parent_id is not None and target and target.key_prefix == str(parent_id)[:3]:
            return target
    raise not_found()


def _read_children(call: Call, child: SObject, condition: str) -> Reply:
    names = [name.strip() for name in call.query.get("fields", "").split(",") if name.strip()]
    selected = f"SELECT {', '.join(names)} FROM {child.name}" if names else full_row_query(child)
    soql = f"{selected} WHERE {condition}"
    page = query.first_page(
        call.org, soql, call.user_id, call.version, query.LARGEST_PAGE, include_deleted=False
    )
    return Reply(page)


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
    compiled = compile_query(text, call.schema, call.org.asking(call.user_id))
    shaper = RecordShaper(compiled, call.version)
    condition = f'{compiled.own}."Id" IN ({", ".join("?" for _ in ids)})'
    where = f"{compiled.where_sql} AND {condition}" if compiled.where_sql else f" WHERE {condition}"
    sql = f"SELECT {compiled.own}.Id, {shaper.select_list}{compiled.from_sql}{where}"
    rows = call.org.store.reader().execute(sql, [*compiled.parameters, *ids])
    found = {row[0]: shaper.record(row[1:]) for row in rows}
    return [found.get(row_id) for row_id in ids]


def _id_by_key(call: Call, sobject: SObject, key: str, value: str) -> str:
    item = external_id_field(sobject, key)
    writer = call_writer(call, call.org.store.reader())
    try:
        found = writer.find(sobject, item, value)
    except MultipleChoicesError as choices:
        raise _with_addresses(call, sobject, choices) from None
    except RowRefusedError as refusal:
        malformed = refusal.error.code == "MALFORMED_ID"
        raise (refusal.error.in_row_call() if malformed else not_found()) from None
    if found is None:
        raise not_found()
    return found


def create_row(call: Call) -> Reply:
    """`POST sobjects/X`."""
    sobject = sobject_named(call.schema, call.captured["sobject"])
    values = _written(call)
    with call.org.store.write() as connection:
        outcome = call_writer(call, connection).create(sobject, values)
        _raise_first(outcome)
    return _created(call, sobject, outcome, {"id": outcome.id, "success": True, "errors": []})


def update_row(call: Call) -> Reply:
    """`PATCH sobjects/X/ID`."""
    sobject = sobject_named(call.schema, call.captured["sobject"])
    values = _written(call)
    for name in values:
        if name.lower() in ("id", "attributes"):
            message = "The Id field should not be specified in the sobject data."
            raise ApiError(400, "INVALID_FIELD", message)
    with call.org.store.write() as connection:
        writer = call_writer(call, connection)
        _check_conditions(call, writer, sobject, call.captured["id"])
        _raise_first(writer.update(sobject, call.captured["id"], values), missing_is_404=True)
    return Reply(status=204)


def upsert_row(call: Call) -> Reply:
    """`PATCH sobjects/X/ExternalId__c/VALUE`."""
    sobject = sobject_named(call.schema, call.captured["sobject"])
    key = external_id_field(sobject, call.captured["key"])
    values = _written(call)
    if key.name.lower() in {name.lower() for name in values}:
        message = f"The {key.name} field should not be specified in the sobject data."
        raise ApiError(400, "INVALID_FIELD", message)
    try:
        with call.org.store.write() as connection:
            writer = call_writer(call, connection)
            if conditional_requests.is_conditional(call):
                with suppress(RowRefusedError):  # the upsert itself says what is wrong
                    found = writer.find(sobject, key, call.captured["value"])
                    _check_conditions(call, writer, sobject, found or "")
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
    sobject = sobject_named(call.schema, call.captured["sobject"])
    if "key" in call.captured:
        row_id = _id_by_key(call, sobject, call.captured["key"], call.captured["value"])
    else:
        row_id = call.captured["id"]
    with call.org.store.write() as connection:
        writer = call_writer(call, connection)
        _check_conditions(call, writer, sobject, row_id)
        _raise_first(writer.delete(sobject, row_id), missing_is_404=True)
    return Reply(status=204)


def _check_conditions(call: Call, writer: Writer, sobject: SObject, row_id: str) -> None:
    """See that a record, if there is one, is still what the request takes it for.

    Raises:
        ApiError: 412, or 400 for a header that cannot be read.
    """
    if not conditional_requests.is_conditional(call):
        return
    row = writer.stored(sobject, to_18(row_id))
    if row is not None:
        tag = conditional_requests.row_tag(sobject.name, row)
        conditional_requests.check_write(call, row, tag)


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
    rows = deleted_records(call.org, sobject, start, end)
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
    sobject = sobject_named(call.schema, call.captured["sobject"])
    now = call.org.store.clock()
    start, end = (_moment(call.query.get(name, "")) for name in ("start", "end"))
    if start < now - timedelta(days=days, minutes=1):
        message = "startDate before org replication enabled date"
        raise ApiError(400, "INVALID_REPLICATION_DATE", message)
    if end - start <= timedelta(minutes=1):
        message = "startDate must be before endDate by more than one minute"
        raise ApiError(400, "INVALID_REPLICATION_DATE", message)
    return sobject, stamp(start), stamp(min(end, now.replace(microsecond=0)))


def _moment(text: str) -> datetime:
    """A time of a window; its seconds do not count."""
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "+").replace("Z", "+00:00"))
    except ValueError:
        message = "start and end must be given as times such as 2024-05-01T00:00:00Z"
        raise ApiError(400, "INVALID_REPLICATION_DATE", message) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.replace(second=0, microsecond=0)


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
