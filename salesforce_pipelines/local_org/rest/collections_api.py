"""sObject Collections: up to 200 records written, or 2,000 read, in one call."""

from functools import partial
from typing import Any

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.metadata.schema import SObject
from salesforce_pipelines.local_org.rest.rows import read_records
from salesforce_pipelines.local_org.saves.call_writing import call_writer
from salesforce_pipelines.local_org.saves.dml import Outcome, external_id_field, sobject_named
from salesforce_pipelines.local_org.saves.record_steps import (
    Step,
    creating,
    outcome_rolled_back,
    refusing,
    run_steps,
    updating,
    upserting,
)
from salesforce_pipelines.local_org.storage.ids import is_id, to_18

MOST_WRITTEN, MOST_READ, MOST_CHUNKS = 200, 2000, 10


def create(call: Call) -> Reply:
    """`POST composite/sobjects`."""
    body = call.json_object()
    steps = []
    for sobject, values in _records(call, body):
        values.pop(_id_key(values), None)
        steps.append(creating(sobject, values))
    return Reply([outcome.in_collection() for outcome in _run(call, steps, _all_or_none(body))])


def update(call: Call) -> Reply:
    """`PATCH composite/sobjects`."""
    body = call.json_object()
    steps = []
    for sobject, values in _records(call, body):
        row_id = values.pop(_id_key(values), None)
        steps.append(updating(sobject, row_id, values))
    return Reply([outcome.in_collection() for outcome in _run(call, steps, _all_or_none(body))])


def upsert(call: Call) -> Reply:
    """`PATCH composite/sobjects/X/ExternalId__c`."""
    body = call.json_object()
    sobject = sobject_named(call.schema, call.captured["sobject"])
    key = external_id_field(sobject, call.captured["key"])
    steps: list[Step] = []
    seen: set[str] = set()
    for given, values in _records(call, body):
        name = next((name for name in values if name.lower() == key.name.lower()), key.name)
        value = values.pop(name, None)
        if given is not sobject:
            message = f"All records must be of type {sobject.name}"
            raise ApiError(400, "INVALID_FIELD", message)
        if key.type != "id" and value in (None, ""):
            steps.append(refusing("MISSING_ARGUMENT", f"{key.name} not specified"))
        elif value and str(value).lower() in seen:
            message = f"Duplicate external id specified: {value}"
            steps.append(refusing("DUPLICATE_VALUE", message, key.name))
        else:
            steps.append(upserting(sobject, key, str(value or ""), values))
        seen.add(str(value).lower())
    outcomes = _run(call, steps, _all_or_none(body))
    return Reply([outcome.in_collection(with_created=True) for outcome in outcomes])


def delete(call: Call) -> Reply:
    """`DELETE composite/sobjects?ids=`."""
    ids = [row_id for row_id in call.query.get("ids", "").split(",") if row_id]
    if not ids:
        raise ApiError(400, "REQUIRED_FIELD_MISSING", "ids is required")
    _check_count(len(ids), MOST_WRITTEN)
    steps = [_deleting(call.schema.with_prefix(row_id[:3]), row_id) for row_id in ids]
    outcomes = _run(call, steps, call.flag("allOrNone"))
    return Reply([outcome.in_collection() for outcome in outcomes])


def retrieve(call: Call) -> Reply:
    """`GET composite/sobjects/X?ids=&fields=`, or the same as a `POST`."""
    sobject = sobject_named(call.schema, call.captured["sobject"])
    if call.method == "POST":
        body = call.json_object()
        ids, names = body.get("ids"), body.get("fields")
    else:
        ids = [row_id for row_id in call.query.get("ids", "").split(",") if row_id]
        names = [name for name in call.query.get("fields", "").split(",") if name]
    if not isinstance(ids, list) or not isinstance(names, list) or not ids or not names:
        raise ApiError(400, "REQUIRED_FIELD_MISSING", "ids and fields are required")
    _check_count(len(ids), MOST_READ)
    full_ids = [to_18(str(row_id)) if is_id(str(row_id)) else "" for row_id in ids]
    return Reply(read_records(call, sobject, full_ids, [str(name) for name in names]))


def _records(call: Call, body: dict[str, Any]) -> list[tuple[SObject, dict[str, Any]]]:
    """The sObject and the values of each record of a body."""
    given = body.get("records")
    if not isinstance(given, list):
        raise ApiError(400, "REQUIRED_FIELD_MISSING", "records is required")
    _check_count(len(given), MOST_WRITTEN)
    records, chunks, previous = [], 0, None
    for record in given:
        values = dict(record) if isinstance(record, dict) else {}
        attributes = values.pop("attributes", None)
        name = attributes.get("type") if isinstance(attributes, dict) else None
        if not name:
            message = "The record's attributes must have a type"
            raise ApiError(400, "INVALID_FIELD", message)
        sobject = call.schema.get(str(name))
        if sobject is None:
            message = f"sObject type '{name}' is not supported."
            raise ApiError(400, "INVALID_TYPE", message)
        chunks += sobject is not previous
        previous = sobject
        records.append((sobject, values))
    if chunks > MOST_CHUNKS:
        message = f"Cannot process more than {MOST_CHUNKS} chunks of records of one type"
        raise ApiError(400, "INVALID_BATCH_SIZE", message)
    return records


def _check_count(count: int, most: int) -> None:
    if count > most:
        message = f"record count: {count}, exceeds max: {most}"
        raise ApiError(400, "EXCEEDED_ID_LIMIT", message)


def _all_or_none(body: dict[str, Any]) -> bool:
    return body.get("allOrNone") is True


def _id_key(values: dict[str, Any]) -> str:
    return next((name for name in values if name.lower() == "id"), "id")


def _run(call: Call, steps: list[Step], all_or_none: bool) -> list[Outcome]:
    writer = partial(call_writer, call)
    return run_steps(call.org.store, writer, steps, outcome_rolled_back, all_or_none=all_or_none)


def _deleting(sobject: SObject | None, row_id: str) -> Step:
    if sobject is None:
        return refusing("MALFORMED_ID", f"bad id {row_id}")
    return lambda writer: writer.delete(sobject, row_id)
