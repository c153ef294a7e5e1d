"""Reading in slices of time what the org cannot answer at once.

QUERY_TIMEOUT and OPERATION_TOO_LARGE say that a query took longer than the org's two minutes, or
asked for too much; by half the time it may be answered.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.describe import FieldDescribe
from salesforce_pipelines.org.errors import Reaction, SalesforceError, reaction
from salesforce_pipelines.org.reading import JobFailedError, Page, Reading, forget_results, read
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.soql import instant, select

_MOST_HALVINGS = 10
_SHORTEST = timedelta(seconds=2)


@dataclass(frozen=True)
class Slice:
    """Records by one of their datetimes: from `start` on, before `end`; None for no bound."""

    field: str
    start: datetime | None = None
    end: datetime | None = None

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
        return replace(self, end=middle), replace(self, start=middle)


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

    Pages of a reading in slices have no place to go on from after an interruption.

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

    def read(self, span: Slice, halvings: int = 0) -> Reading:
        conditions = [f"({self._where})" if self._where else "", span.where()]
        try:
            return read(
                self._session,
                self._name,
                self._fields,
                where=" AND ".join(one for one in conditions if one),
                bulk_threshold=self._bulk_threshold,
            )
        except PipelineError as error:
            if halvings == _MOST_HALVINGS or not _is_too_much(error):
                raise
            halves = span.halves(self._beginning(span), datetime.now(UTC))
            if halves is None:
                raise
        return self._joined([self.read(half, halvings + 1) for half in halves])

    def _beginning(self, span: Slice) -> datetime:
        if span.start is not None:
            return span.start
        if self._oldest is None:
            soql = f"{select([span.field], self._name)} ORDER BY {span.field} LIMIT 1"
            records = self._session.get("queryAll", {"q": soql})["records"]
            stamps = [datetime.fromisoformat(record[span.field]) for record in records]
            self._oldest = min(stamps, default=datetime.now(UTC))
        return self._oldest

    def _joined(self, readings: Sequence[Reading]) -> Reading:
        bulk = [one.channel for one in readings if one.channel != "REST"]
        return Reading(
            bulk[0] if bulk else "REST",
            sum(one.expected_rows for one in readings),
            readings[0].schema,
            self._pages(readings),
        )

    def _pages(self, readings: Sequence[Reading]) -> Generator[Page, None, None]:
        for reading in readings:
            job_id = ""
            for page in reading.pages:
                job_id = page.after.job_id if page.after else job_id
                yield replace(page, after=None)
            if job_id:
                forget_results(self._session, self._name, job_id)


def _is_too_much(error: PipelineError) -> bool:
    if isinstance(error, JobFailedError):
        return error.reaction is Reaction.HALVE
    if isinstance(error, SalesforceError):
        return reaction(error.error, error.status) is Reaction.HALVE
    return False
