"""Bulk ingest jobs: an uploaded CSV written record by record, with its results as CSV.

Each chunk of records is committed together with how far the job has come, so a job that was
interrupted goes on where it stopped and writes no record twice.
"""

import csv
import io
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from salesforce_pipelines.local_org.bulk_api.jobs import Job, Jobs
from salesforce_pipelines.local_org.errors import MultipleChoicesError, RowError
from salesforce_pipelines.local_org.metadata.schema import Field, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves import history
from salesforce_pipelines.local_org.saves.dml import Outcome, Writer
from salesforce_pipelines.local_org.saves.field_values import from_csv
from salesforce_pipelines.local_org.saves.saving import WriteOptions
from salesforce_pipelines.local_org.storage.store import Value

CHUNK_ROWS = 200
LONGEST_CELL = 131_072
_CLEAR = "#N/A"
_LONGEST_HEADER = 1_000_000


class InvalidBatchError(Exception):
    """An upload that no record can be read from; the job fails with this message."""


def run_ingest_job(org: Org, jobs: Jobs, job: Job) -> None:
    """Work off an uploaded job, or what is left of it; stops early if the job is aborted.

    Raises:
        InvalidBatchError: The upload's header or a line of it is not usable.
    """
    _Ingest(org, jobs, job).run()


def unprocessed(jobs: Jobs, job: Job) -> Iterator[bytes]:
    """The upload's header, and the records that the job never came to, as CSV."""
    with _lines(jobs.file(job, "upload")) as upload:
        try:
            rows = _rows(upload, job)
            header = next(rows, None)
            if header is None:
                return
            yield csv_line(header, job)
            for row in itertools.islice(rows, job.body.get("numberRecordsProcessed", 0), None):
                yield csv_line(row, job)
        except InvalidBatchError:
            return


def uploaded_header(jobs: Jobs, job: Job) -> list[str]:
    """The column names of a job's upload; none if it has none."""
    with _lines(jobs.file(job, "upload")) as upload:
        try:
            return next(_rows(upload, job), [])
        except InvalidBatchError:
            return []


def csv_line(cells: Iterable[object], job: Job) -> bytes:
    """One line of a job's CSV, every cell quoted."""
    line = job.delimiter.join(f'"{str(cell).replace(chr(34), chr(34) * 2)}"' for cell in cells)
    return (line + job.line_ending).encode()


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far a job has come; the lengths are those of its result files."""

    done: int = 0
    failed: int = 0
    succeeded_bytes: int = 0
    failed_bytes: int = 0


class _Ingest:
    def __init__(self, org: Org, jobs: Jobs, job: Job) -> None:
        self._org = org
        self._jobs = jobs
        self._job = job
        self._operation = str(job.body["operation"])
        self._user_id = str(job.private["user_id"])
        self._schema = org.schema_for(self._user_id)
        self._sobject: SObject = self._schema[job.body["object"]]
        self._options = _options(job)
        self._key: Field | None = None
        self._keys_in_chunk: set[str] = set()
        if self._operation == "upsert":
            self._key = self._sobject.field(str(job.body["externalIdFieldName"]))

    def run(self) -> None:
        self._check_line_ending()
        progress = self._progress()
        history.WRITTEN_THROUGH.set(f"Bulk API 2.0 {self._job.id}")
        with (
            _lines(self._jobs.file(self._job, "upload")) as upload,
            _at(self._jobs.file(self._job, "succeeded"), progress.succeeded_bytes) as succeeded,
            _at(self._jobs.file(self._job, "failed"), progress.failed_bytes) as failed,
        ):
            rows = _rows(upload, self._job)
            header = next(rows, None)
            if header is None:
                return
            self._check_header(header)
            remaining = itertools.islice(rows, progress.done, None)
            while chunk := list(itertools.islice(remaining, self._chunk_rows(progress.done))):
                if self._org.stopping.is_set() or self._jobs.is_aborted(self._job):
                    return
                progress = self._write(header, chunk, progress, succeeded, failed)
                self._report(progress)

    def _chunk_rows(self, done: int) -> int:
        self._org.job_faults.end_if_due(self._jobs, self._job, done)
        return self._org.job_faults.chunk_rows(self._job, done, CHUNK_ROWS)

    def _progress(self) -> _Progress:
        row = (
            self._org.store.reader()
            .execute(
                "SELECT rows_done, rows_failed, succeeded_bytes, failed_bytes FROM _ingest_progress"
                " WHERE job_id = ?",
                [self._job.id],
            )
            .fetchone()
        )
        return _Progress(*row) if row else _Progress()

    def _report(self, progress: _Progress) -> None:
        self._job.body["numberRecordsProcessed"] = progress.done
        self._job.body["numberRecordsFailed"] = progress.failed
        self._jobs.save(self._job)

    def _check_line_ending(self) -> None:
        path = self._jobs.file(self._job, "upload")
        if not path.exists():
            return
        with path.open("rb") as upload:
            header = upload.readline(_LONGEST_HEADER)
        named = self._job.body["lineEnding"]
        if header.endswith(b"\n") and header.endswith(b"\r\n") != (named == "CRLF"):
            raise InvalidBatchError(
                "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting "
                f"is {named}"
            )

    def _check_header(self, header: Sequence[str]) -> None:
        seen = set()
        for name in header:
            relationship, _, key = name.partition(".")
            reference = self._sobject.reference(relationship) if key else None
            parent = reference and self._schema.parent(reference)
            known = parent.field(key) if parent else self._sobject.field(name)
            if known is None:
                raise InvalidBatchError(f"InvalidBatch : Field name not found : {name}")
            if name.lower() in seen:
                raise InvalidBatchError(f"InvalidBatch : Duplicate column: {name}")
            seen.add(name.lower())

    def _write(
        self,
        header: Sequence[str],
        chunk: list[list[str]],
        progress: _Progress,
        succeeded: BinaryIO,
        failed: BinaryIO,
    ) -> _Progress:
        """Write one chunk of records and their results."""
        with self._org.store.write() as connection:
            writer = Writer(self._org, connection, self._user_id, _convert, self._options)
            self._keys_in_chunk.clear()
            outcomes = [self._outcome(writer, header, row) for row in chunk]
            failures = 0
            # Salesforce does not keep the order of the upload; nobody shall rely on it here.
            for row, (given_id, outcome) in zip(reversed(chunk), reversed(outcomes), strict=True):
                if outcome.success:
                    created = str(outcome.created).lower()
                    succeeded.write(csv_line([outcome.id, created, *row], self._job))
                else:
                    failures += 1
                    reason = outcome.errors[0].in_bulk()
                    failed.write(csv_line([given_id, reason, *row], self._job))
            succeeded.flush()
            failed.flush()
            after = _Progress(
                progress.done + len(chunk),
                progress.failed + failures,
                succeeded.tell(),
                failed.tell(),
            )
            _remember(connection, self._job.id, after)
        return after

    def _outcome(
        self, writer: Writer, header: Sequence[str], row: list[str]
    ) -> tuple[str, Outcome]:
        """The id a row gave, and what became of it."""
        if len(row) != len(header):
            message = f"The row has {len(row)} columns, the header {len(header)}"
            return "", _refused("INVALID_BATCH", message)
        cells = {
            name: None if cell == _CLEAR else cell
            for name, cell in zip(header, row, strict=True)
            if cell != ""
        }
        given_id = self._take(cells, "Id") or ""
        if any(cell is not None and len(cell) > LONGEST_CELL for cell in cells.values()):
            return given_id, _refused(
                "STRING_TOO_LONG", "A field is longer than 131,072 characters"
            )
        return given_id, self._apply(writer, cells, given_id)

    def _apply(self, writer: Writer, cells: dict[str, str | None], given_id: str) -> Outcome:
        if self._operation == "insert":
            return writer.create(self._sobject, cells)
        if self._operation == "upsert":
            return self._upsert(writer, cells, given_id)
        if not given_id:
            return _refused("MISSING_ARGUMENT", "Id not specified in an update call")
        if self._operation == "update":
            return writer.update(self._sobject, given_id, cells)
        if self._operation == "delete":
            return writer.delete(self._sobject, given_id)
        return writer.hard_delete(self._sobject, given_id)

    def _upsert(self, writer: Writer, cells: dict[str, str | None], given_id: str) -> Outcome:
        assert self._key is not None  # noqa: S101  # a job for an upsert has its key
        if self._key.type == "id":
            value = given_id
        else:
            value = self._take(cells, self._key.name) or ""
            if not value:
                return _refused("MISSING_ARGUMENT", f"{self._key.name} not specified")
        if value and value.lower() in self._keys_in_chunk:
            message = f"Duplicate external id specified: {value}"
            return _refused("DUPLICATE_VALUE", message, self._key.name)
        self._keys_in_chunk.add(value.lower())
        try:
            return writer.upsert(self._sobject, self._key, value, cells)
        except MultipleChoicesError as choices:
            message = (
                f"{self._key.name}: more than one record found for external id field: "
                f"[{', '.join(choices.urls)}]"
            )
            return _refused("DUPLICATE_EXTERNAL_ID", message)

    @staticmethod
    def _take(cells: dict[str, str | None], name: str) -> str | None:
        found = next((given for given in cells if given.lower() == name.lower()), None)
        return cells.pop(found) if found else None


def _options(job: Job) -> WriteOptions:
    """Bulk writes pass duplicate rules that alert, and ask assignment rules only by their id."""
    rule_id = str(job.body.get("assignmentRuleId") or "")
    return WriteOptions(allow_save=True, auto_assign=bool(rule_id), assignment_rule_id=rule_id)


def _convert(item: Field, value: object) -> Value:
    return from_csv(item, str(value))


def _refused(code: str, message: str, *fields: str) -> Outcome:
    return Outcome(None, errors=(RowError(code, message, fields),))


def _remember(connection: sqlite3.Connection, job_id: str, progress: _Progress) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO _ingest_progress VALUES (?, ?, ?, ?, ?)",
        [
            job_id,
            progress.done,
            progress.failed,
            progress.succeeded_bytes,
            progress.failed_bytes,
        ],
    )


def _lines(path: Path) -> io.TextIOWrapper:
    if not path.exists():
        path.write_bytes(b"")
    return path.open(encoding="utf-8-sig", newline="")


def _rows(upload: io.TextIOWrapper, job: Job) -> Iterator[list[str]]:
    """The header and the records of an upload; blank lines do not count."""
    csv.field_size_limit(10 * LONGEST_CELL)
    reader = csv.reader(upload, delimiter=job.delimiter, strict=True)
    try:
        yield from (row for row in reader if row)
    except csv.Error as error:
        raise InvalidBatchError(f"InvalidBatch : {_csv_problem(str(error))}") from None
    except UnicodeDecodeError:
        # [?] No recording of it is public.
        message = "ClientInputError : Failed to parse CSV. The data is not valid UTF-8"
        raise InvalidBatchError(message) from None


def _csv_problem(reason: str) -> str:
    """What Salesforce's own CSV reader says where Python's says something else.

    The words are those of `CSVReader` in Salesforce's Web Service Connector.
    """
    if "end of data" in reason:
        return "Failed to parse CSV. EOF reached before closing an opened quote"
    if "field limit" in reason:
        return "Failed to parse CSV. Exceeded max length for one record"
    return "Failed to parse CSV. Found unescaped quote. A value with quote should be within a quote"


def _at(path: Path, position: int) -> BinaryIO:
    """A result file, open for writing after what is known to be in it."""
    path.touch()
    file = path.open("r+b")
    file.truncate(position)
    file.seek(position)
    return file
