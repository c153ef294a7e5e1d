"""A fair share of the org's daily API calls: what a reading costs, and whether it may go on now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Literal

from salesforce_pipelines.errors import PipelineError

Channel = Literal["REST", "Bulk API 2.0"]
REST_PAGE_ROWS = 2_000
"""Rows of a page of a REST query (*REST API Developer Guide*); wide rows make it shorter."""
WINDOW = timedelta(hours=24)
"""The stretch over which Salesforce counts calls; it moves on with the clock."""
_HOUR = timedelta(hours=1)
_SHORT_JOB_POLLS, _ROWS_A_POLL = 6, 50_000


class _NoCallsLeftError(PipelineError):
    """There are no API calls left for it now.

    Attributes:
        until: When our own calls that fall out of the 24 hours make room; None if that is not
            enough, and others' calls have to.
    """

    def __init__(self, message: str, until: datetime | None) -> None:
        """Keep when it can go on beside the message that says so."""
        super().__init__(message)
        self.until = until


class ApiBudgetError(_NoCallsLeftError):
    """It would take more calls than this installation may still use; the org was not asked.

    Attributes:
        until: When our own calls that fall out of the 24 hours make room; None if that is not
            enough, and others' calls have to.
    """


class DailyLimitError(_NoCallsLeftError):
    """The org refuses every call: those of its last 24 hours are used up.

    Attributes:
        until: As in `ApiBudgetError`.
    """


@dataclass(frozen=True)
class Terms:
    """What this installation may use (`api_budget` of pipelines.yaml).

    Attributes:
        share: The most of the org's daily allowance, from 0 to 1.
        floor: Calls that are left for others, but never more than the share leaves them anyway.
    """

    share: float
    floor: int


@dataclass(frozen=True)
class Standing:
    """Who used how many calls in the last 24 hours.

    Attributes:
        allowance: Of the org for 24 hours.
        used: By everybody.
        ours: This installation's, by the beginning of the hour.
    """

    allowance: int
    used: int
    ours: Mapping[datetime, int]

    def our_calls(self, now: datetime) -> int:
        """Our calls of the last 24 hours; an hour counts until the whole of it is over."""
        return sum(calls for hour, calls in self.ours.items() if hour + _HOUR + WINDOW > now)


@dataclass(frozen=True)
class Go:
    """It may go on, by a channel, for so many calls."""

    channel: Channel
    calls: int


@dataclass(frozen=True)
class Wait:
    """It may not, for it would take so many calls; `until` as in `ApiBudgetError`."""

    calls: int
    until: datetime | None


def rest_calls(rows: int) -> int:
    """Calls of a REST query for so many rows."""
    return max(1, ceil(rows / REST_PAGE_ROWS))


def bulk_calls(rows: int, page_rows: int) -> int:
    """Calls of a Bulk API 2.0 query job: create, polls, pages, delete.

    A job takes longer the more rows it has; after the first seconds it is polled every 10.
    """
    polls = _SHORT_JOB_POLLS + rows // _ROWS_A_POLL
    return 1 + polls + max(1, ceil(rows / page_rows)) + 1


def our_most(standing: Standing, terms: Terms) -> int:
    """The calls that we may use in 24 hours."""
    return int(standing.allowance * terms.share)


def left(standing: Standing, terms: Terms, now: datetime) -> int:
    """Calls that we may still make now."""
    most = our_most(standing, terms)
    floor = min(terms.floor, standing.allowance - most)
    of_share = most - standing.our_calls(now)
    of_org = standing.allowance - standing.used - floor
    return max(0, min(of_share, of_org))


def room_at(standing: Standing, terms: Terms, now: datetime, calls: int) -> datetime | None:
    """When enough of our own calls fall out of the 24 hours; None if they are not enough."""
    if left(standing, terms, now) >= calls:
        return now
    freed = 0
    for hour in sorted(standing.ours):
        over = hour + _HOUR + WINDOW
        if over <= now:
            continue
        freed += standing.ours[hour]
        then = Standing(standing.allowance, max(0, standing.used - freed), standing.ours)
        if left(then, terms, over) >= calls:
            return over
    return None


def decide(
    standing: Standing,
    terms: Terms,
    now: datetime,
    *,
    preferred: Channel,
    costs: Mapping[Channel, int],
) -> Go | Wait:
    """The preferred channel if its calls are left, else the other one, else wait."""
    have = left(standing, terms, now)
    for channel in sorted(costs, key=lambda one: (one != preferred, costs[one])):
        if costs[channel] <= have:
            return Go(channel, costs[channel])
    cheapest = min(costs.values())
    return Wait(cheapest, room_at(standing, terms, now, cheapest))


class CallBudget:
    """The calls that one step may make to read, asked before it reads much.

    Attributes:
        estimated: Calls that were expected of what it was asked for.
    """

    def __init__(
        self,
        terms: Terms,
        standing: Callable[[], Standing],
        ask_anew: Callable[[], Standing],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare.

        Args:
            terms: What we may use.
            standing: What is known now.
            ask_anew: The same, for a call; before anything is refused.
            clock: The time.
        """
        self._terms = terms
        self._standing = standing
        self._ask_anew = ask_anew
        self._clock = clock
        self.estimated = 0

    def left(self) -> int:
        """Calls that are left."""
        return left(self._standing(), self._terms, self._clock())

    def require(self, what: str, calls: int) -> None:
        """Make sure that so many calls are left.

        Raises:
            ApiBudgetError: They are not.
        """
        self._decided(what, "REST", {"REST": calls})

    def choose(self, what: str, rows: int, preferred: Channel, page_rows: int) -> Channel:
        """How to read so many rows, of which a first REST page is there already.

        Raises:
            ApiBudgetError: Neither way leaves enough calls.
        """
        costs: dict[Channel, int] = {
            "REST": rest_calls(rows) - 1,
            "Bulk API 2.0": bulk_calls(rows, page_rows),
        }
        return self._decided(what, preferred, costs)

    def used_up(self, what: str) -> DailyLimitError:
        """What to raise when the org itself refuses for the day."""
        now = self._clock()
        try:
            until = room_at(self._standing(), self._terms, now, 1)
        except PipelineError:
            # Nothing is known, and the org refuses to tell.
            until = None
        if until == now:
            # By what is known there is room; the org knows better, but does not say when.
            until = None
        return DailyLimitError(
            f"{what}. It can go on {_when(until)}. Nothing is lost: what was pulled stays", until
        )

    def _decided(self, what: str, preferred: Channel, costs: Mapping[Channel, int]) -> Channel:
        standing, now = self._standing(), self._clock()
        decision = decide(standing, self._terms, now, preferred=preferred, costs=costs)
        if isinstance(decision, Wait):
            standing = self._ask_anew()
            decision = decide(standing, self._terms, now, preferred=preferred, costs=costs)
        if isinstance(decision, Wait):
            message = _refusal(what, standing, self._terms, now, decision)
            raise ApiBudgetError(message, decision.until)
        self.estimated += decision.calls
        return decision.channel


def _refusal(what: str, standing: Standing, terms: Terms, now: datetime, wait: Wait) -> str:
    most = our_most(standing, terms)
    told = (
        f"{what} takes about {wait.calls:,} API calls and {left(standing, terms, now):,} are left: "
        f"in the last 24 hours this installation used {standing.our_calls(now):,} of its "
        f"{most:,}, everybody {standing.used:,} of the org's {standing.allowance:,}."
    )
    if wait.calls > most:
        return f"{told} Raise api_budget.share in pipelines.yaml: it never has so many."
    return (
        f"{told} It can go on {_when(wait.until)}; nothing is lost. "
        "api_budget in pipelines.yaml sets how many it may use"
    )


def _when(until: datetime | None) -> str:
    if until is None:
        return "within 24 hours, when calls of others fall out of the count"
    return f"at {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
