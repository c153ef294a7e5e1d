"""Which records are compared with the org, by when they were created: pure decisions."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote_plus

from salesforce_pipelines.org.soql import instant, quoted

MOST_STRETCHES = 50
"""More than these are not named one by one in a query: all between the first and the last is."""

LONGEST_QUERY = 14_000
"""Characters of a query, escaped as in a URL; Salesforce takes URLs of 16,384 bytes."""

FINGERPRINT = "(coalesce(sum(md5_number_lower(Id)), 0) % 18446744073709551616)::UBIGINT"
"""`fingerprint` in DuckDB's SQL, over the column Id."""


class Month(NamedTuple):
    """The bucket of the records created in one calendar month, in UTC."""

    year: int
    month: int

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    def stretch(self, before: datetime) -> "Stretch":
        """The month as a stretch of CreatedDate, cut off at a moment."""
        start = datetime(self.year, self.month, 1, tzinfo=UTC)
        following = (self.year + 1, 1) if self.month == 12 else (self.year, self.month + 1)
        return Stretch(start, min(datetime(*following, 1, tzinfo=UTC), before))


@dataclass(frozen=True)
class Stretch:
    """A stretch of CreatedDate: from `start` on (None: from the beginning), before `end`."""

    start: datetime | None
    end: datetime

    def holds(self, created: datetime) -> bool:
        """Whether a record created then is part of it."""
        return (self.start is None or created >= self.start) and created < self.end

    def where(self) -> str:
        """The stretch as a SOQL condition."""
        end = f"CreatedDate < {instant(self.end)}"
        return end if self.start is None else f"CreatedDate >= {instant(self.start)} AND {end}"


def differing(org: Mapping[Month, int], table: Mapping[Month, int]) -> list[Month]:
    """The months of which org and table hold another number of records, oldest first."""
    return sorted(month for month in {*org, *table} if org.get(month, 0) != table.get(month, 0))


def united(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same stretches, oldest first, none of which touch; not more than `MOST_STRETCHES`."""
    earliest = datetime.min.replace(tzinfo=UTC)
    found: list[Stretch] = []
    for one in sorted(stretches, key=lambda stretch: stretch.start or earliest):
        if one.start is not None and one.start >= one.end:
            continue
        if found and (one.start is None or one.start <= found[-1].end):
            found[-1] = Stretch(found[-1].start, max(found[-1].end, one.end))
        else:
            found.append(one)
    return found if len(found) <= MOST_STRETCHES else [Stretch(found[0].start, found[-1].end)]


def condition(stretches: Sequence[Stretch]) -> str:
    """SOQL for the records of any of these stretches."""
    if len(stretches) == 1:
        return stretches[0].where()
    return " OR ".join(f"({stretch.where()})" for stretch in stretches)


def turn(
    start: datetime | None, newest: datetime | None, before: datetime
) -> tuple[Stretch, datetime | None]:
    """The stretch whose turn it is, and where the turn after it starts (None: anew).

    Args:
        start: Where the last turn ended; None at the beginning of a round.
        newest: When the last record that fits this turn was created; None when all that are left
            fit.
        before: Where a round ends.
    """
    if newest is not None:
        # Records of one second stay together: SOQL compares whole seconds.
        end = newest.replace(microsecond=0) + timedelta(seconds=1)
        if end < before:
            return Stretch(start, end), end
    return Stretch(start, before), None


def fingerprint(ids: Iterable[str]) -> int:
    """A number that two sets of Ids share only if they are equal, whatever their order.

    The sum of 64 bits of each Id's MD5, of which nobody here defends against forgery.
    """
    digests = (hashlib.md5(one.encode(), usedforsecurity=False).digest() for one in ids)
    return sum(int.from_bytes(digest[8:], "little") for digest in digests) % 2**64


def ids_in_a_query(query: str) -> int:
    """How many Ids fit into a condition that goes with a query; 0 if none do."""
    room = LONGEST_QUERY - len(quote_plus(f"{query} WHERE Id IN ()"))
    return max(0, room // len(quote_plus(f"{quoted('0' * 18)}, ")))


def id_conditions(ids: Sequence[str], query: str) -> Iterator[str]:
    """SOQL conditions that name all these Ids, each short enough to go with a query.

    Args:
        ids: The Ids.
        query: What goes before the condition; short enough for some Ids.
    """
    most = max(1, ids_in_a_query(query))
    for start in range(0, len(ids), most):
        yield f"Id IN ({', '.join(quoted(one) for one in ids[start : start + most])})"
