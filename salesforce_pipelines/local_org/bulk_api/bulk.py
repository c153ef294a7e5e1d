"""Bulk API 2.0: the calls that make jobs, ask after them and fetch their results."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.concurrency import iterate_in_threadpool

from salesforce_pipelines.local_org.admin.limits import check_bulk_query_limits
from salesforce_pipelines.local_org.admin.request_faults import truncated_page
from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.bulk_api import bulk_ingest, bulk_query
from salesforce_pipelines.local_org.bulk_api.jobs import (
    DELIMITERS,
    LINE_ENDINGS,
    TERMINAL,
    Job,
    Jobs,
)
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.http.whole_numbers import whole_number
from salesforce_pipelines.local_org.saves.dml import external_id_field
from salesforce_pipelines.local_org.soql.soql_sql import compile_query
from salesforce_pipelines.local_org.soql.syntax import parse

MOST_UPLOADED_BYTES = 150_000_000
PAGE_RECORDS = 100_000
_PIECE_BYTES = 1 << 20
_LISTED_JOBS = 1000
_RESULT_PAGES = 5
_OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")


# Query jobs


def create_query_job(call: Call) -> Reply:
    """`POST jobs/query`."""
    body = call.json_object()
    operation, text = body.get("operation"), body.get("query")
    if operation not in ("query", "queryAll"):
        raise ApiError(400, "INVALIDJOB", f"Invalid operation: {operation}")
    if not isinstance(text, str) or not text:
        raise ApiError(400, "INVALIDJOB", "A query has to be specified")
    sobject, refusal = _examined(call, text, operation == "queryAll")
    shown = {
        "operation": operation,
        "object": sobject,
        "createdById": call.user_id,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(call.version),
        **_format(body),
    }
    private = {"query": text, "user_id": call.user_id, "refusal": refusal}
    job = Jobs(call.org).add("query", "UploadComplete", shown, private)
    call.org.limits.bulk_query_jobs.add(1)
    call.org.work_waits["query"].set()
    return Reply(_shown(job))


def _examined(call: Call, text: str, include_deleted: bool) -> tuple[str, list[str] | None]:
    """A query's sObject; and the code and message its job will fail with, if it is to.

    Raises:
        ApiError: There is to be no job.
    """
    state = call.org.state
    try:
        asking = call.org.asking(call.user_id, include_deleted)
        compiled = compile_query(text, call.schema, asking)
        bulk_query.check_bulk_query(compiled)
    except ApiError as refusal:
        if choice(state, "bulk_query_mistake") == "refused":
            raise
        return parse(text).source.path.names[0], [refusal.code, refusal.message]
    try:
        check_bulk_query_limits(call.org.limits)
    except ApiError as refusal:
        chosen = choice(state, "bulk_query_over_limit")
        if chosen != "job_fails":
            raise ApiError(int(chosen), refusal.code, refusal.message) from None
        return compiled.sobject.name, [refusal.code, refusal.message]
    return compiled.sobject.name, None


def read_query_job(call: Call) -> Reply:
    """`GET jobs/query/ID`."""
    job = Jobs(call.org).get("query", call.captured["id"])
    more = {"jobType": "V2Query", "retries": 0, "isPkChunkingSupported": True}
    return Reply({**more, **_shown(job), **_timing(job)})


def query_results(call: Call) -> Reply:
    """`GET jobs/query/ID/results`."""
    jobs = Jobs(call.org)
    job = _finished_query(call, jobs)
    most = whole_number(call.query.get("maxRecords", "")) or PAGE_RECORDS
    locator = call.query.get("locator") or None
    page = bulk_query.page(jobs, job, None if locator == "null" else locator, most)
    page = truncated_page(call, jobs, job, page)
    headers = {
        "Sforce-Locator": page.locator or "null",
        "Sforce-NumberOfRecords": str(page.records),
    }
    pieces = _pieces(page.header, page.path, page.start, page.end)
    return Reply(content_type="text/csv", headers=headers, stream=iterate_in_threadpool(pieces))


def result_pages(call: Call) -> Reply:
    """`GET jobs/query/ID/resultPages`: addresses of pages that may be read in parallel."""
    job = _finished_query(call, Jobs(call.org))
    total = int(job.body["numberRecordsProcessed"])
    first = whole_number(call.query.get("locator", "0")) or 0
    root = f"/services/data/v{call.version}/jobs/query/{job.id}"
    starts = range(first, max(total, 1), PAGE_RECORDS)
    pages = []
    for at in starts[:_RESULT_PAGES]:
        parameter = f"?locator={bulk_query.encode_locator(at)}" if at else ""
        pages.append({"resultUrl": f"{root}/results{parameter}"})
    answer: dict[str, Any] = {"resultPages": pages, "done": len(starts) <= _RESULT_PAGES}
    if not answer["done"]:
        answer["nextRecordsUrl"] = f"{root}/resultPages?locator={starts[_RESULT_PAGES]}"
    return Reply(answer)


def change_query_job(call: Call) -> Reply:
    """`PATCH jobs/query/ID`: abort it."""
    return _change(call, "query", ("Aborted",))


def _finished_query(call: Call, jobs: Jobs) -> Job:
    job = jobs.get("query", call.captured["id"])
    if float(call.version) != job.body["apiVersion"]:
        message = f"The job has version {job.body['apiVersion']}, the request {call.version}"
        raise ApiError(409, "API_ERROR", message)
    if job.state != "JobComplete":
        message = f"Results are not available: the job is in state {job.state}"
        raise ApiError(400, "INVALIDJOBSTATE", message)
    return job


# Ingest jobs


def create_ingest_job(call: Call) -> Reply:
    """`POST jobs/ingest`."""
    body = call.json_object()
    sobject = call.schema.get(str(body.get("object")))
    operation = body.get("operation")
    if sobject is None:
        message = f"InvalidJob : Unable to find object: {body.get('object')}"
        raise ApiError(400, "INVALIDJOB", message)
    if operation not in _OPERATIONS:
        raise ApiError(400, "INVALIDJOB", f"InvalidJob : Invalid operation: {operation}")
    shown = {
        "operation": operation,
        "object": sobject.name,
        "createdById": call.user_id,
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": float(call.version),
        **_format(body),
    }
    if operation == "upsert":
        name = str(body.get("externalIdFieldName") or "")
        if not name:
            # [?] So said the Bulk API 1.0 to jobs of clients that could not name a field.
            message = (
                f"InvalidJob : External ID was blank for {sobject.name}. "
                "An External ID must be specified for upsert."
            )
            raise ApiError(400, "INVALIDJOB", message)
        try:
            shown["externalIdFieldName"] = external_id_field(sobject, name).name
        except ApiError:
            message = f"InvalidJob : Field name not found : {name}"
            raise ApiError(400, "INVALIDJOB", message) from None
    if body.get("assignmentRuleId"):
        shown["assignmentRuleId"] = body["assignmentRuleId"]
    job = Jobs(call.org).add("ingest", "Open", shown, {"user_id": call.user_id, "uploaded": False})
    job.body["contentUrl"] = f"services/data/v{call.version}/jobs/ingest/{job.id}/batches"
    Jobs(call.org).save(job)
    return Reply(_shown(job))


def upload(call: Call) -> Reply:
    """`PUT jobs/ingest/ID/batches`: the one upload of a job."""
    jobs = Jobs(call.org)
    job = jobs.get("ingest", call.captured["id"])
    if call.upload is None or not jobs.take_upload(job, call.upload):
        message = f"Uploading data is not allowed: the job is in state {job.state} or has data"
        raise ApiError(400, "INVALIDJOBSTATE", message)
    return Reply(status=201)


def change_ingest_job(call: Call) -> Reply:
    """`PATCH jobs/ingest/ID`: the upload is complete, or the job is aborted."""
    return _change(call, "ingest", ("UploadComplete", "Aborted"))


def read_ingest_job(call: Call) -> Reply:
    """`GET jobs/ingest/ID`."""
    job = Jobs(call.org).get("ingest", call.captured["id"])
    more = {
        "jobType": "V2Ingest",
        "retries": 0,
        "numberRecordsProcessed": 0,
        "numberRecordsFailed": 0,
        "apexProcessingTime": 0,
    }
    return Reply({**more, **_shown(job), **_timing(job)})


def successful_results(call: Call) -> Reply:
    """`GET jobs/ingest/ID/successfulResults`."""
    return _ingest_results(call, "succeeded", ("sf__Id", "sf__Created"))


def failed_results(call: Call) -> Reply:
    """`GET jobs/ingest/ID/failedResults`."""
    return _ingest_results(call, "failed", ("sf__Id", "sf__Error"))


def unprocessed_records(call: Call) -> Reply:
    """`GET jobs/ingest/ID/unprocessedrecords`."""
    jobs = Jobs(call.org)
    job = _finished_ingest(call, jobs)
    pieces = bulk_ingest.unprocessed(jobs, job)
    return Reply(content_type="text/csv", stream=iterate_in_threadpool(pieces))


def _ingest_results(call: Call, suffix: str, own_columns: tuple[str, str]) -> Reply:
    jobs = Jobs(call.org)
    job = _finished_ingest(call, jobs)
    uploaded = bulk_ingest.uploaded_header(jobs, job)
    header = bulk_ingest.csv_line([*own_columns, *uploaded], job)
    path = jobs.file(job, suffix)
    end = path.stat().st_size if path.exists() else 0
    pieces = _pieces(header, path, 0, end)
    return Reply(content_type="text/csv", stream=iterate_in_threadpool(pieces))


def _finished_ingest(call: Call, jobs: Jobs) -> Job:
    job = jobs.get("ingest", call.captured["id"])
    if job.state not in TERMINAL:
        message = f"Results are not available: the job is in state {job.state}"
        raise ApiError(400, "INVALIDJOBSTATE", message)
    return job


# Both kinds


def list_query_jobs(call: Call) -> Reply:
    """`GET jobs/query`."""
    return _list(call, "query", "V2Query")


def list_ingest_jobs(call: Call) -> Reply:
    """`GET jobs/ingest`."""
    return _list(call, "ingest", "V2Ingest")


def delete_query_job(call: Call) -> Reply:
    """`DELETE jobs/query/ID`."""
    return _delete(call, "query", TERMINAL)


def delete_ingest_job(call: Call) -> Reply:
    """`DELETE jobs/ingest/ID`."""
    return _delete(call, "ingest", TERMINAL | {"UploadComplete"})


def _list(call: Call, kind: str, job_type: str) -> Reply:
    wanted = call.query.get("jobType", job_type)
    start = whole_number(call.query.get("queryLocator", "0"))
    if start is None:
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    listed = Jobs(call.org).all(kind)[start:] if wanted == job_type else []
    following = None
    if len(listed) > _LISTED_JOBS:
        root = f"/services/data/v{call.version}/jobs/{kind}"
        following = f"{root}?queryLocator={start + _LISTED_JOBS}"
    records = [{**_shown(job), "jobType": job_type} for job in listed[:_LISTED_JOBS]]
    return Reply({"done": following is None, "records": records, "nextRecordsUrl": following})


def _change(call: Call, kind: str, allowed: tuple[str, ...]) -> Reply:
    jobs = Jobs(call.org)
    job = jobs.get(kind, call.captured["id"])
    state = call.json_object().get("state")
    if state not in allowed:
        raise ApiError(400, "INVALIDJOB", f"InvalidJob : Invalid state: {state}")
    only_from = ("Open",) if state == "UploadComplete" else ("Open", "UploadComplete", "InProgress")
    if not jobs.move(job, str(state), only_from):
        message = f"InvalidJobState : the job is in state {job.state}"
        raise ApiError(400, "INVALIDJOBSTATE", message)
    call.org.work_waits[kind].set()
    return Reply(_shown(job))


def _delete(call: Call, kind: str, allowed: frozenset[str]) -> Reply:
    jobs = Jobs(call.org)
    job = jobs.get(kind, call.captured["id"])
    if job.state not in allowed:
        message = f"The job cannot be deleted while it is in state {job.state}"
        raise ApiError(400, "API_ERROR", message)
    jobs.delete(job)
    return Reply(status=204)


def _format(body: dict[str, Any]) -> dict[str, str]:
    """The CSV dialect a job asks for."""
    content = body.get("contentType", "CSV")
    delimiter = body.get("columnDelimiter", "COMMA")
    ending = body.get("lineEnding", "LF")
    is_text = isinstance(delimiter, str) and isinstance(ending, str)
    if content != "CSV" or not is_text or delimiter not in DELIMITERS or ending not in LINE_ENDINGS:
        message = "InvalidJob : contentType, columnDelimiter or lineEnding is not supported"
        raise ApiError(400, "INVALIDJOB", message)
    return {"lineEnding": ending, "columnDelimiter": delimiter}


def _shown(job: Job) -> dict[str, Any]:
    return {**job.body, "state": job.state}


def _timing(job: Job) -> dict[str, Any]:
    spent = int(job.private.get("milliseconds", 0))
    return {"totalProcessingTime": spent, "apiActiveProcessingTime": spent}


def _pieces(header: bytes, path: Path, start: int, end: int) -> Iterator[bytes]:
    """A part of a file after a header, a piece at a time."""
    yield header
    if start == end:
        return
    with path.open("rb") as file:
        file.seek(start)
        left = end - start
        while left > 0 and (piece := file.read(min(_PIECE_BYTES, left))):
            left -= len(piece)
            yield piece
