"""Reading in slices of time what the org cannot answer at once.

QUERY_TIMEOUT and OPERATION_TOO_LARGE say that a query took longer than the org's two minutes, or
asked for too much; by half the time it may be answered.
"""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.budget import Channel
from salesforce_pipelines.org.describe import FieldDescribe, arrow_schema
from salesforce_pipelines.org.errors import Reaction, SalesforceError, reaction
from salesforce_pipelines.org.reading import (
    BulkPosition,
    JobFailedError,
    Page,
    Reading,
    ResultsGoneError,
    forget_results,
    no_pages,
    read,
    resume,
)
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.soql import conjunction, instant, select

_MOST_HALVINGS = 10
_SHORTEST = timedelta(seconds=2)


@dataclass(frozen=True)
class Slice:
    """Records by one of their datetimes: from `start` on, before `end`; None for no bound.

    Attributes:
        halvings: How often the span that it is a part of was halved.
    """

    field: str
    start: datetime | None = None
    end: datetime | None = None
    halvings: int = 0

    def where(self) -> str:
        """Its SOQL condition; empty without bounds."""
        found = []
        if self.start is not None:
            found.append(f"{self.field} >= {instant(self.start)}")
        if self.end is not None:
            found.append(f"{self.field} < {instant(self.end)}")
        return " AND ".join(found)

    def halves(self, oldest: datetime, newest: datetime) -> "tuple[Slice, Slice] | None":
        """Two slices that hold the same records; None if it is too short for that.

        Args:
            oldest: Where to think that it begins, without a bound.
            newest: Where to think that it ends, without a bound.
        """
        start, end = self.start or oldest, self.end or newest
        if end - start < _SHORTEST:
            return None
        middle = (start + (end - start) / 2).replace(microsecond=0)
        part = replace(self, halvings=self.halvings + 1)
        return replace(part, end=middle), replace(part, start=middle)

    def noted(self) -> dict[str, Any]:
        """The slice as plain JSON."""
        start, end = (None if one is None else one.isoformat() for one in (self.start, self.end))
        return {"field": self.field, "start": start, "end": end, "halvings": self.halvings}

    @classmethod
    def of(cls, noted: Mapping[str, Any]) -> "Slice":
        """The slice that `noted` gave."""
        bounds = {
            name: None if noted[name] is None else datetime.fromisoformat(noted[name])
            for name in ("start", "end")
        }
        return cls(noted["field"], **bounds, halvings=noted["halvings"])


@dataclass(frozen=True)
class SlicePosition(BulkPosition):
    """A place in a reading in slices; its attributes are plain JSON.

    The place in the results is that of the slice's Bulk query job. A slice that was read by REST
    has no job: its only place is after its end, with the locator `null`.

    Attributes:
        slice: The slice that is being read, as `Slice.noted` tells it.
        waiting: The slices after it, in their order.
        rows_before: Rows of the slices before it.
    """

    slice: dict[str, Any]
    waiting: list[dict[str, Any]]
    rows_before: int


def read_in_slices(
    session: OrgSession,
    name: str,
    fields: Sequence[FieldDescribe],
    span: Slice,
    *,
    where: str = "",
    bulk_threshold: int,
) -> Reading:
    """As `reading.read`, but what is too much for the org is read half by half.

    A half is asked for when the one before it has landed, and `Reading.expected_rows` grows with
    it. Every position is a `SlicePosition`; the results of a slice that landed are deleted when the
    next page is asked for.

    Args:
        session: The org.
        name: The sObject.
        fields: What to select.
        span: Which records. By CreatedDate a record stays in its slice; by SystemModstamp one that
            changes meanwhile leaves the span, and the next pull reads it.
        where: A further SOQL condition.
        bulk_threshold: Rows from which on Bulk API 2.0 is used.

    Raises:
        PipelineError: As `reading.read`; also if a thousandth of the span is still too much.
    """
    return _Sliced(session, name, fields, where, bulk_threshold).read(span)


def resume_in_slices(
    session: OrgSession,
    name: str,
    fields: Sequence[FieldDescribe],
    start: SlicePosition,
    *,
    where: str = "",
    bulk_threshold: int,
) -> Reading:
    """The rest of a reading in slices.

    Slices that landed are not asked for again; the one that was being read is, where the org no
    longer has its results and nothing of them landed.

    Args:
        session: The org.
        name: The sObject.
        fields: As the interrupted reading had them.
        start: Where the last page that was kept ended.
        where: As the interrupted reading had it.
        bulk_threshold: Rows from which on Bulk API 2.0 is used.

    Raises:
        ResultsGoneError: The org no longer has the results of which a part landed, or nothing had
            landed at all.
        SalesforceError: The org refused.
    """
    return _Sliced(session, name, fields, where, bulk_threshold).resume(start)


class _Sliced:
    def __init__(
        self,
        session: OrgSession,
        name: str,
        fields: Sequence[FieldDescribe],
        where: str,
        bulk_threshold: int,
    ) -> None:
        self._session = session
        self._name = name
        self._fields = fields
        self._where = where
        self._bulk_threshold = bulk_threshold
        self._oldest: datetime | None = None

    def read(self, span: Slice) -> Reading:
        slices = [span]
        while True:
            try:
                begun = _Begun(self._read(slices[0]))
            except PipelineError as error:
                slices = [*self._halves(slices[0], error), *slices[1:]]
            else:
                return self._joined(begun.reading.channel, slices, begun)

    def resume(self, start: SlicePosition) -> Reading:
        one, waiting = Slice.of(start.slice), [Slice.of(noted) for noted in start.waiting]
        slices, before, begun = [one, *waiting], start.rows_before, None
        if not start.job_id:
            landed = Reading("REST", start.rows, arrow_schema(self._fields), no_pages())
            return self._joined("REST", slices, _Begun(landed, has_rows=True), before)
        at = BulkPosition(start.job_id, start.locator, start.rows, start.expected_rows)
        where = self._condition(one)
        try:
            reading = resume(self._session, self._name, self._fields, at, where=where)
            begun = _Begun(reading, start.job_id, has_rows=start.rows > 0)
        except ResultsGoneError:
            if start.rows or not (before or waiting):
                raise
        except JobFailedError as error:
            slices = [*self._halves(one, error), *waiting]
        return self._joined("Bulk API 2.0", slices, begun, before)

    def _condition(self, one: Slice) -> str:
        return conjunction(self._where, one.where())

    def _read(self, one: Slice) -> Reading:
        return read(
            self._session,
            self._name,
            self._fields,
            where=self._condition(one),
            bulk_threshold=self._bulk_threshold,
        )

    def _halves(self, one: Slice, error: PipelineError) -> tuple[Slice, Slice]:
        """What to read in place of a slice; raises the error if that is no cure."""
        if one.halvings == _MOST_HALVINGS or not _is_too_much(error):
            raise error
        halves = one.halves(self._beginning(one), datetime.now(UTC))
        if halves is None:
            raise error
        return halves

    def _beginning(self, span: Slice) -> datetime:
        if span.start is not None:
            return span.start
        if self._oldest is None:
            soql = f"{select([span.field], self._name)} ORDER BY {span.field} LIMIT 1"
            records = self._session.get("queryAll", {"q": soql})["records"]
            stamps = [datetime.fromisoformat(record[span.field]) for record in records]
            self._oldest = min(stamps, default=datetime.now(UTC))
        return self._oldest

    def _joined(
        self, channel: Channel, slices: Sequence[Slice], begun: "_Begun | None", before: int = 0
    ) -> Reading:
        """One reading of every slice; `begun` is the reading of the first."""
        expected = before + (begun.reading.expected_rows if begun else 0)
        whole = Reading(channel, expected, arrow_schema(self._fields), no_pages())
        whole.pages = self._pages(whole, slices, begun, before)
        return whole

    def _pages(
        self, whole: Reading, slices: Sequence[Slice], begun: "_Begun | None", before: int
    ) -> Generator[Page]:
        while slices:
            one, waiting = slices[0], slices[1:]
            now = begun
            try:
                now = now or _Begun(self._read(one))
                for page, after in now.pages():
                    whole.expected_rows = before + now.reading.expected_rows
                    yield Page(page.batches, after and _position(after, one, waiting, before))
            except PipelineError as error:
                if now is not None and now.has_rows:
                    raise
                slices, begun = [*self._halves(one, error), *waiting], None
                continue
            if waiting and now.job_id:
                forget_results(self._session, self._name, now.job_id)
            elif one.halvings and not now.job_id:
                rows = now.reading.expected_rows
                end = BulkPosition("", "null", rows, rows)
                yield Page(iter(()), _position(end, one, waiting, before))
            before += now.reading.expected_rows
            slices, begun = waiting, None


@dataclass
class _Begun:
    """The reading of one slice, on its way."""

    reading: Reading
    job_id: str = ""
    has_rows: bool = False

    def pages(self) -> Generator[tuple[Page, BulkPosition | None]]:
        with contextlib.closing(self.reading.pages) as pages:
            for page in pages:
                self.job_id = page.after.job_id if page.after else ""
                yield page, page.after
                self.has_rows = self.has_rows or page.after is None or page.after.rows > 0


def _position(at: BulkPosition, one: Slice, waiting: Sequence[Slice], before: int) -> SlicePosition:
    return SlicePosition(
        at.job_id,
        at.locator,
        at.rows,
        at.expected_rows,
        one.noted(),
        [later.noted() for later in waiting],
        before,
    )


def _is_too_much(error: PipelineError) -> bool:
    if isinstance(error, JobFailedError):
        return error.reaction is Reaction.HALVE
    if isinstance(error, SalesforceError):
        return reaction(error.error, error.status) is Reaction.HALVE
    return False
