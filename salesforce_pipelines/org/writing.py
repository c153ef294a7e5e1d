"""Updating records in the org. Only `push.sending` may import this: it stands behind the guard."""

import csv
import io
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.errors import (
    ApiError,
    Reaction,
    Rejection,
    parse_bulk_error,
    parse_errors,
    reaction,
    rejection,
)
from salesforce_pipelines.org.reading import JobTimeoutError, wait_for_job
from salesforce_pipelines.org.session import OrgSession

COLLECTION_LIMIT = 200
"""Most records of one sObject Collections call (*REST API Developer Guide*)."""
BULK_THRESHOLD = 2000
"""Rows from which on Salesforce advises Bulk API 2.0 (*Bulk API 2.0 Developer Guide*)."""
_LOCK_ATTEMPTS = 4
_NULL = "#N/A"

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Update:
    """New values of one record by field; None erases."""

    id: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Outcome:
    """What became of one update: written, or rejected for a reason."""

    id: str
    rejected: Rejection | None


def update(session: OrgSession, name: str, updates: Sequence[Update]) -> Iterator[Outcome]:
    """Write the updates; one outcome each, in no particular order.

    From 2,000 records on by a Bulk API 2.0 ingest job, below that by sObject Collections of 200.
    A record's rejection never stops the others. An update sent twice does the same as one.

    Raises:
        SalesforceError: The org refused the whole; what was already written stays written.
        JobTimeoutError: The ingest job is not over after `session.job_timeout`. It is not aborted:
            a part of its records is written, and the rest may still be.
    """
    # In a Bulk CSV this text would erase the value instead of being written.
    literal = [one for one in updates if _NULL in one.values.values()]
    rest = [one for one in updates if _NULL not in one.values.values()]
    if len(rest) >= BULK_THRESHOLD:
        by_id = {one.id: one for one in rest}
        for outcome in _by_bulk(session, name, rest):
            # A Bulk job works in parallel, so records of one parent lock each other out.
            if outcome.rejected is not None and _passes(outcome.rejected):
                literal.append(by_id[outcome.id])
            else:
                yield outcome
    else:
        literal = list(updates)
    for start in range(0, len(literal), COLLECTION_LIMIT):
        yield from _by_collection(session, name, literal[start : start + COLLECTION_LIMIT])


def _by_collection(session: OrgSession, name: str, part: Sequence[Update]) -> Iterator[Outcome]:
    waiting = list(part)
    for attempt in range(_LOCK_ATTEMPTS):
        answers = session.request(
            "PATCH",
            f"{session.base_path}/composite/sobjects",
            json={
                "allOrNone": False,
                "records": [
                    {"attributes": {"type": name}, "id": one.id, **one.values} for one in waiting
                ],
            },
            # Assignment rules run by default and would write an owner that nobody mapped.
            headers={"Sforce-Auto-Assign": "false"},
            what=f"update of {name}",
        ).json()
        locked = []
        for one, answer in zip(waiting, answers, strict=True):
            error = None if answer["success"] else _first_error(answer)
            retry = error is not None and reaction(error, 400) is Reaction.RETRY
            if retry and attempt + 1 < _LOCK_ATTEMPTS:
                locked.append(one)
            else:
                yield Outcome(one.id, None if error is None else rejection(error))
        if not locked:
            return
        waiting = locked
        time.sleep(0.5 * 2**attempt)


def _passes(rejected: Rejection) -> bool:
    """Whether the same update may succeed a little later."""
    return reaction(ApiError(rejected.code, rejected.message), 400) is Reaction.RETRY


def _first_error(answer: dict[str, Any]) -> ApiError:
    errors = parse_errors(answer.get("errors"))
    return errors[0] if errors else ApiError("UNKNOWN", "no reason given")


def _by_bulk(session: OrgSession, name: str, updates: Sequence[Update]) -> Iterator[Outcome]:
    what = f"Bulk ingest job of {name}"
    job = session.request(
        "POST",
        f"{session.base_path}/jobs/ingest",
        json={"object": name, "operation": "update", "contentType": "CSV", "lineEnding": "LF"},
        what=what,
    ).json()
    resource = f"{session.base_path}/jobs/ingest/{job['id']}"
    session.request(
        "PUT",
        f"{resource}/batches",
        data=_csv(updates).encode(),
        headers={"Content-Type": "text/csv; charset=UTF-8"},
        what=what,
    )
    session.request("PATCH", resource, json={"state": "UploadComplete"}, what=what)
    try:
        wait_for_job(session, f"jobs/ingest/{job['id']}", what)
    except JobTimeoutError as error:
        # An abort would leave the same question: which of them are written?
        raise JobTimeoutError(
            error.told,
            ". It was not aborted: a part of its records is written, and the rest may still be. "
            "Setup > Bulk Data Load Jobs in the org shows when it is over; then push again: what "
            "was written is recognised and not sent twice",
        ) from error
    yield from _bulk_outcomes(session, resource, what, {one.id for one in updates})


def _bulk_outcomes(
    session: OrgSession, resource: str, what: str, waiting: set[str]
) -> Iterator[Outcome]:
    for row in _result_rows(session, f"{resource}/successfulResults", what):
        waiting.discard(row["sf__Id"])
        yield Outcome(row["sf__Id"], None)
    for row in _result_rows(session, f"{resource}/failedResults", what):
        waiting.discard(row["Id"])
        yield Outcome(row["Id"], rejection(parse_bulk_error(row["sf__Error"])))
    for row in _result_rows(session, f"{resource}/unprocessedrecords", what):
        waiting.discard(row["Id"])
        yield Outcome(row["Id"], Rejection("UNPROCESSED", "the job ended before this record"))
    if waiting:
        raise PipelineError(
            f"{what}: Salesforce told nothing about {len(waiting)} of its records; push again: "
            "what was written is recognised and not sent twice"
        )


def _result_rows(session: OrgSession, path: str, what: str) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryFile() as body:
        session.download(path, body, what=what)
        body.seek(0)
        with io.TextIOWrapper(body, encoding="utf-8", newline="") as text:
            yield from csv.DictReader(text)


def _csv(updates: Sequence[Update]) -> str:
    fields = list(dict.fromkeys(field for one in updates for field in one.values))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Id", *fields])
    for one in updates:
        writer.writerow([one.id, *(_cell(one.values, field) for field in fields)])
    return text.getvalue()


def _cell(values: Mapping[str, Value], field: str) -> str:
    # An empty cell leaves the field as it is.
    if field not in values:
        return ""
    value = values[field]
    if value is None or value == "":
        return _NULL
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
