"""Reading records from the org as Arrow batches: REST for little, Bulk API 2.0 for much."""

import contextlib
import logging
import re
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import IO, Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.budget import Channel, bulk_calls
from salesforce_pipelines.org.describe import FieldDescribe, arrow_schema
from salesforce_pipelines.org.errors import Reaction, SalesforceError, reaction, reaction_to_job
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.soql import instant, select
from salesforce_pipelines.store.csv_stream import NeverSplitCrLf

RETRIEVE_LIMIT = 2000
"""Most records of one `composite/sobjects/X` retrieve (*REST API Developer Guide*)."""
COMPOUND_TYPES = frozenset({"address", "location"})
"""Types of fields that are read by their components."""
_LONGEST_URL = 14_000
_LARGEST_BULK_PAGE = 100_000
_SMALLEST_BULK_PAGE = 2_000
_BULK_PAGE_CELLS = 5_000_000
_GONE = frozenset({"NOT_FOUND", "INVALIDJOBSTATE", "INVALID_QUERY_LOCATOR"})
_CSV_BLOCKS = (1 << 20, 1 << 24)
"""Bytes of a CSV parsed at a time: one row has to fit. Few hold more than the first, and none more
than the second: an sObject has 1,638,400 characters of long text at the most."""
_TELL_SECONDS = 60.0
_LOG = logging.getLogger(__name__)


class UnsoundResultsError(PipelineError):
    """What the org sent is not what it promised: nothing of the pull may be kept."""


class RowCountError(UnsoundResultsError):
    """Fewer or more rows landed than the org promised."""


class RowsGoneError(RowCountError):
    """Rows were deleted for good while the pages of a REST query were read; ask anew."""


class ResultsGoneError(PipelineError):
    """The org no longer has the results of a Bulk query job; the query has to be run anew."""


class JobFailedError(PipelineError):
    """A Bulk job ended without a result.

    Attributes:
        reason: The org's words; empty if it gave none.
        aborted: Whether somebody aborted it.
    """

    def __init__(self, what: str, job: Mapping[str, Any]) -> None:
        """Tell which job ended how."""
        self.reason = str(job.get("errorMessage") or "")
        self.aborted = job["state"] == "Aborted"
        super().__init__(
            f"{what}: job {job['id']} ended as {job['state']}: {self.reason or 'no reason given'}"
        )

    @property
    def reaction(self) -> Reaction:
        """What to do about it."""
        return Reaction.STOP if self.aborted else reaction_to_job(self.reason)

    @property
    def names_unknown_field(self) -> bool:
        """Whether the job selects a field that the org does not show (any more)."""
        return re.search(r"\bINVALID_FIELD\b", self.reason) is not None


class JobTimeoutError(PipelineError):
    """A Bulk job was not over after `session.job_timeout`.

    Attributes:
        told: What is known of the job, without what to do.
        aborted: Whether it was aborted; else it goes on.
    """

    def __init__(self, told: str, cure: str, *, aborted: bool = False) -> None:
        """Keep what is known, so that whoever made the job can say what becomes of it."""
        super().__init__(f"{told}{cure}")
        self.told = told
        self.aborted = aborted


@dataclass(frozen=True)
class BulkPosition:
    """A place in the results of a Bulk query job, which may not be there yet.

    Attributes:
        job_id: The job.
        locator: Of the page to read next; empty for the first, `null` when all were read.
        rows: Rows of the pages before it.
        expected_rows: Rows of the whole result, as the job says; 0 before the first page.
    """

    job_id: str
    locator: str
    rows: int
    expected_rows: int


@dataclass(frozen=True)
class Page:
    """A part of a reading: its rows, to be read to the end, and where to go on after it.

    A page without rows comes as soon as a query job was made, before it is waited for: whoever
    notes its `after` can wait for the same job in another process.

    Attributes:
        after: None for a page of a REST query, which is not gone on with later.
    """

    batches: Iterator[pa.RecordBatch]
    after: BulkPosition | None


@dataclass
class Reading:
    """Rows on their way, page by page. Read each page to its end before the next, or close it.

    Attributes:
        expected_rows: As far as is known by now: a Bulk query job tells when it is complete.
    """

    channel: Channel
    expected_rows: int
    schema: pa.Schema
    pages: Generator[Page]

    @property
    def batches(self) -> Generator[pa.RecordBatch]:
        """The rows of every page."""
        with contextlib.closing(self.pages):
            for page in self.pages:
                yield from page.batches


def read(
    session: OrgSession,
    name: str,
    fields: Sequence[FieldDescribe],
    *,
    where: str = "",
    bulk_threshold: int,
) -> Reading:
    """Every record of an sObject that fits `where`, deleted and merged ones included.

    The first REST page tells how many there are; from `bulk_threshold` rows on, or where the
    query would not fit a URL (and there is a record at all), a Bulk API 2.0 query job delivers
    them. Where the session's budget has not enough calls left for that, the other way is taken. The
    job is made when the first page is asked for, and every error of a job comes with its pages.

    Args:
        session: The org.
        name: The sObject.
        fields: What to select; compound fields have to be named by their components.
        where: A SOQL condition.
        bulk_threshold: Rows from which on Bulk API 2.0 is used.

    Raises:
        PipelineError: A compound field is among the fields.
        ApiBudgetError: The session's budget has not enough calls left.
        JobFailedError: While reading: the Bulk query job failed; once more, if the first failure
            may pass.
        JobTimeoutError: While reading: the Bulk query job took too long, and was aborted.
        RowCountError: While reading: the rows do not add up to what the org promised.
        SalesforceError: The org refused.
    """
    if compound := [field.name for field in fields if field.type in COMPOUND_TYPES]:
        raise PipelineError(
            f"{name}: {', '.join(compound)} is a compound field; name its components "
            "(such as MailingCity) in pipelines.yaml"
        )
    schema = arrow_schema(fields)
    soql, expected = select(schema.names, name, where), 0
    if len(quote_plus(soql)) < _LONGEST_URL:
        what = f"query of {name}"
        first = session.request(
            "GET", f"{session.base_path}/queryAll", params={"q": soql}, what=what
        ).json()
        expected = int(first["totalSize"])
        if _channel(session, name, expected, bulk_threshold, schema) == "REST":
            return Reading("REST", expected, schema, _rest_pages(session, first, schema, what))
    else:
        if not _has_records(session, name, where):
            return Reading("REST", 0, schema, no_pages())
        if session.budget is not None:
            session.budget.require(f"the query of {name}", bulk_calls(0, _page_rows(schema)))
    return _BulkQuery(session, name, schema, soql).reading(expected)


def _has_records(session: OrgSession, name: str, where: str) -> bool:
    """Whether a record fits a condition, deleted and merged ones included; one API call.

    Also true where the org cannot tell: the condition is too long for a URL, or takes too long.
    """
    soql = f"{select(['Id'], name, where)} LIMIT 1"
    if len(quote_plus(soql)) >= _LONGEST_URL:
        return True
    try:
        return int(session.get("queryAll", {"q": soql})["totalSize"]) > 0
    except SalesforceError as error:
        if reaction(error.error, error.status) is Reaction.HALVE:
            return True
        raise


def _channel(
    session: OrgSession, name: str, rows: int, bulk_threshold: int, schema: pa.Schema
) -> Channel:
    preferred: Channel = "REST" if rows < bulk_threshold else "Bulk API 2.0"
    if session.budget is None:
        return preferred
    what = f"reading {rows:,} rows of {name}"
    return session.budget.choose(what, rows, preferred, _page_rows(schema))


def resume(
    session: OrgSession,
    name: str,
    fields: Sequence[FieldDescribe],
    start: BulkPosition,
    *,
    where: str = "",
) -> Reading:
    """The rest of a Bulk query job's results, from a page on.

    A job that is not over yet is waited for, if no page of it was read.

    Args:
        session: The org.
        name: The sObject.
        fields: What the interrupted reading selected.
        start: Where the last page that was kept ended.
        where: The condition of the interrupted reading.

    Raises:
        ResultsGoneError: The org no longer has them (it keeps results for seven days), or the job
            was deleted or aborted, or failed for another reason than the next.
        JobFailedError: The job was too much for the org; ask for less at once.
        SalesforceError: The org refused.
    """
    schema = arrow_schema(fields)
    query = _BulkQuery(session, name, schema, select(schema.names, name, where))
    if start.locator != "null":
        _require_job(session, name, start)
    return query.reading(start.expected_rows, start)


def _require_job(session: OrgSession, name: str, start: BulkPosition) -> None:
    try:
        job = session.get(f"jobs/query/{start.job_id}")
    except SalesforceError as error:
        if error.code in _GONE:
            raise _gone(name) from error
        raise
    if job["state"] in ("Failed", "Aborted"):
        failed = JobFailedError(f"Bulk query job of {name}", job)
        raise failed if failed.reaction is Reaction.HALVE else _gone(name)
    if start.rows and job["state"] != "JobComplete":
        raise _gone(name)


def forget_results(session: OrgSession, name: str, job_id: str) -> None:
    """Delete a Bulk query job whose results landed; a job that is gone is no error."""
    with contextlib.suppress(PipelineError):
        resource = f"{session.base_path}/jobs/query/{job_id}"
        session.request("DELETE", resource, what=f"deletion of the Bulk query job of {name}")


def newest_stamp(session: OrgSession, name: str, *, before: datetime) -> datetime | None:
    """The newest SystemModstamp of an sObject before a moment, None where there is none.

    Deleted records count. One API call.
    """
    where = f"SystemModstamp < {instant(before)}"
    soql = select(["SystemModstamp"], name, where) + " ORDER BY SystemModstamp DESC LIMIT 1"
    records = session.get("queryAll", {"q": soql})["records"]
    return datetime.fromisoformat(records[0]["SystemModstamp"]) if records else None


def retrieve(
    session: OrgSession, name: str, ids: Sequence[str], fields: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The present values of records by Id; a record that is gone or hidden is not in the answer.

    One API call for every 2,000 records.
    """
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), RETRIEVE_LIMIT):
        part = ids[start : start + RETRIEVE_LIMIT]
        answer = session.request(
            "POST",
            f"{session.base_path}/composite/sobjects/{name}",
            json={"ids": list(part), "fields": list(fields)},
            what=f"retrieve of {name}",
        ).json()
        found.update({record["Id"]: record for record in answer if record is not None})
    return found


def _rest_pages(
    session: OrgSession, page: dict[str, Any], schema: pa.Schema, what: str
) -> Generator[Page]:
    expected, landed = int(page["totalSize"]), 0
    while True:
        landed += len(page["records"])
        if page["records"]:
            with _told_without_values():
                batch = batch_of(page["records"], schema)
            yield Page(iter([batch]), None)
        if page["done"]:
            break
        page = session.request("GET", page["nextRecordsUrl"], what=what).json()
    _prove(what, expected, landed, RowsGoneError if landed < expected else RowCountError)


def batch_of(records: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Records as the REST API answers them, as one Arrow batch of the given schema."""
    columns = [
        _column([record.get(field.name) for record in records], field.type) for field in schema
    ]
    return pa.record_batch(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return pa.array(values, kind)
    texts = pa.array([None if value is None else str(value) for value in values], pa.string())
    return _typed(texts, kind)


def _typed(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Texts of Salesforce as values: numbers may come in scientific notation."""
    if pa.types.is_integer(kind):
        return texts.cast(pa.float64()).cast(kind)
    if pa.types.is_decimal(kind):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            # More digits than the field's scale, as a calculation can leave them.
            wide = texts.cast(pa.decimal128(38, 18))
            return pc.round(wide, kind.scale, "half_towards_infinity").cast(kind)
    return texts.cast(kind)


def wait_for_job(session: OrgSession, resource: str, what: str) -> dict[str, Any]:
    """The description of a Bulk API 2.0 job that has ended well.

    Polls after 0.2 s first, every 10 s for some minutes, and less often the longer it takes. The
    log tells every minute how far the job is.

    Raises:
        JobFailedError: The job failed or was aborted.
        JobTimeoutError: It is not over after `session.job_timeout`, and goes on.
    """
    began, pause, told = time.monotonic(), 0.2, 0.0
    longest = session.job_timeout.total_seconds()
    while True:
        job: dict[str, Any] = session.get(resource)
        waited = time.monotonic() - began
        if job["state"] == "JobComplete":
            return job
        if job["state"] in ("Failed", "Aborted"):
            raise JobFailedError(what, job)
        if waited >= longest:
            raise JobTimeoutError(_so_far(what, job, waited), "")
        if waited - told >= _TELL_SECONDS:
            _LOG.info("%s", _so_far(what, job, waited))
            told = waited
        time.sleep(min(pause, longest - waited))
        # A thirtieth of the time that it took already: hours cost some hundred calls at the most.
        pause = max(min(pause * 1.5, 10.0), min(waited / 30, 60.0))


def _so_far(what: str, job: Mapping[str, Any], waited: float) -> str:
    records = int(job.get("numberRecordsProcessed") or 0)
    return (
        f"{what}: job {job['id']} is {job['state']} after {timedelta(seconds=int(waited))}, "
        f"with {records:,} records processed"
    )


class _BulkQuery:
    """A query that a Bulk query job answers."""

    def __init__(self, session: OrgSession, name: str, schema: pa.Schema, soql: str) -> None:
        self._session = session
        self._schema = schema
        self._soql = soql
        self._job = f"Bulk query job of {name}"

    def reading(self, expected_rows: int, start: BulkPosition | None = None) -> Reading:
        """Its rows: of a new job, or of one that is there from a place on."""
        reading = Reading("Bulk API 2.0", expected_rows, self._schema, no_pages())
        reading.pages = self._pages(reading, start)
        return reading

    def _pages(self, reading: Reading, start: BulkPosition | None) -> Generator[Page]:
        if start is not None and start.locator:
            yield from self._results(start)
            return
        try:
            begun = (yield from self._created()) if start is None else start
            position = self._completed(begun)
        except JobFailedError as error:
            if error.reaction is not Reaction.RETRY:
                raise
            position = self._completed((yield from self._created()))
        reading.expected_rows = position.expected_rows
        yield from self._results(position)

    def _created(self) -> Generator[Page, None, BulkPosition]:
        created = self._session.request(
            "POST",
            f"{self._session.base_path}/jobs/query",
            json={"operation": "queryAll", "query": self._soql},
            # A second job would only cost a call; the first would wait for its results in vain.
            what=self._job,
        ).json()
        position = BulkPosition(str(created["id"]), "", 0, 0)
        yield Page(iter(()), position)
        return position

    def _completed(self, position: BulkPosition) -> BulkPosition:
        resource = f"jobs/query/{position.job_id}"
        try:
            job = wait_for_job(self._session, resource, self._job)
        except JobTimeoutError as error:
            raise self._given_up(resource, error.told) from error
        return replace(position, expected_rows=int(job["numberRecordsProcessed"]))

    def _given_up(self, resource: str, told: str) -> JobTimeoutError:
        cure = (
            "Run it again when the org is less busy, give the sObject a scope, or raise "
            "pull.job_timeout in pipelines.yaml"
        )
        path = f"{self._session.base_path}/{resource}"
        try:
            self._session.request("PATCH", path, json={"state": "Aborted"}, what=self._job)
        except PipelineError:
            kept = "; it could not be aborted, and the next run goes on with it. "
            return JobTimeoutError(told, kept + cure)
        return JobTimeoutError(told, f"; it was aborted. {cure}", aborted=True)

    def _results(self, position: BulkPosition) -> Generator[Page]:
        """Each page is fetched whole before it is parsed, so a broken connection costs one page."""
        what = f"results of the {self._job}"
        rows = _page_rows(self._schema)
        while position.locator != "null":
            with _fetched(self._session, position, rows, what) as page:
                after = replace(position, locator=page.locator, rows=position.rows + page.records)
                batches = csv_batches(page.file, self._schema)
                yield Page(_proven(batches, page.records, what), after)
            position = after
        _prove(what, position.expected_rows, position.rows)


def no_pages() -> Generator[Page]:
    """The pages of a reading that has none, or none yet."""
    yield from ()


def _page_rows(schema: pa.Schema) -> int:
    """Rows of a page such that it stays small on disk, however wide they are."""
    return max(_SMALLEST_BULK_PAGE, min(_LARGEST_BULK_PAGE, _BULK_PAGE_CELLS // len(schema)))


@dataclass(frozen=True)
class _FetchedPage:
    file: IO[bytes]
    records: int
    locator: str


@contextlib.contextmanager
def _fetched(
    session: OrgSession, position: BulkPosition, rows: int, what: str
) -> Iterator[_FetchedPage]:
    """One page of results in a temporary file, complete."""
    resource = f"{session.base_path}/jobs/query/{position.job_id}/results"
    params = {"maxRecords": str(rows)}
    if position.locator:
        params["locator"] = position.locator
    with tempfile.TemporaryFile() as file:
        try:
            headers = session.download(resource, file, params=params, what=what)
        except SalesforceError as error:
            if error.code in _GONE:
                raise _gone(what) from error
            raise
        file.seek(0)
        records = int(headers["Sforce-NumberOfRecords"])
        yield _FetchedPage(file, records, headers["Sforce-Locator"])


def _proven(
    batches: Iterator[pa.RecordBatch], promised: int, what: str
) -> Iterator[pa.RecordBatch]:
    landed = 0
    for batch in batches:
        landed += batch.num_rows
        yield batch
    _prove(what, promised, landed)


def _gone(what: str) -> ResultsGoneError:
    return ResultsGoneError(f"{what}: the org no longer has the results; the query runs anew")


class _LongRowError(Exception):
    """A row is longer than a block."""


class _Turn:
    """A source until its turn is over: pyarrow reads ahead, and on after its reader was closed."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._over = False

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end, or when the turn is over."""
        with self._lock:
            return b"" if self._over else bytes(self._source.read(size))

    def end(self) -> None:
        """Let the source be read by somebody else."""
        with self._lock:
            self._over = True


def csv_batches(source: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a Bulk CSV as typed batches; only an empty cell is null, `NA` stays text.

    Where a row is very long the source is read once more, so it has to be seekable.
    """
    landed = 0
    for block in _CSV_BLOCKS:
        turn, before = _Turn(source), landed
        try:
            for batch in _parsed(turn, schema, block):
                fresh = batch.slice(min(before, batch.num_rows))
                before -= batch.num_rows - fresh.num_rows
                landed += fresh.num_rows
                if fresh.num_rows:
                    yield fresh
        except _LongRowError:
            turn.end()
            source.seek(0)
        else:
            return
    raise UnsoundResultsError(f"a row of the results is longer than {_CSV_BLOCKS[-1]:,} bytes")


def _parsed(source: _Turn, schema: pa.Schema, block: int) -> Iterator[pa.RecordBatch]:
    as_text = {
        field.name: pa.string()
        for field in schema
        if pa.types.is_decimal(field.type) or pa.types.is_integer(field.type)
    }
    with _told_without_values():
        reader = pyarrow.csv.open_csv(
            NeverSplitCrLf(source),
            read_options=pyarrow.csv.ReadOptions(block_size=block, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={field.name: as_text.get(field.name, field.type) for field in schema},
                include_columns=schema.names,
                null_values=[""],
                true_values=["true"],
                false_values=["false"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    with reader:
        while True:
            with _told_without_values():
                batch = next(reader, None)
                if batch is None:
                    return
                columns = [
                    _typed(batch.column(field.name), field.type)
                    if field.name in as_text
                    else batch.column(field.name)
                    for field in schema
                ]
            if batch.num_rows:
                yield pa.record_batch(columns, schema=schema)


@contextlib.contextmanager
def _told_without_values() -> Iterator[None]:
    """Tell that results cannot be understood, without Arrow's words: they quote the row."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowKeyError) as error:
        if str(error).startswith("straddling object straddles two block boundaries"):
            raise _LongRowError from None
        raise UnsoundResultsError(
            "results are not of the form that Salesforce describes; nothing of them is kept. "
            "Run the pull again."
        ) from None


def _prove(
    what: str, promised: int, landed: int, error: type[RowCountError] = RowCountError
) -> None:
    if promised != landed:
        raise error(
            f"{what}: the org promised {promised} rows and {landed} landed; nothing is kept. "
            "Run the pull again."
        )
