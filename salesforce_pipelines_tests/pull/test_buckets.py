"""Months, stretches, turns and fingerprints: no record is skipped, no set mistaken for another."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import quote_plus

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.pull.buckets import (
    FINGERPRINT,
    LONGEST_QUERY,
    MOST_STRETCHES,
    Month,
    Stretch,
    condition,
    differing,
    fingerprint,
    id_conditions,
    turn,
    united,
)
from salesforce_pipelines.store import duck

LAST = datetime(2030, 1, 1, tzinfo=UTC)
moments = st.datetimes(datetime(1999, 1, 1), datetime(2029, 12, 31), timezones=st.just(UTC))
stretches = st.lists(
    st.builds(
        lambda start, length: Stretch(start, start + timedelta(minutes=length)),
        moments,
        st.integers(0, 3_000_000),
    )
    | st.builds(lambda end: Stretch(None, end), moments),
    max_size=8,
)
months = st.builds(Month, st.integers(2000, 2003), st.integers(1, 12))
ids = st.lists(st.text("0123456789abcdefABCDEF", min_size=18, max_size=18), max_size=30)


@given(moments)
def test_a_moment_is_in_its_month_and_in_no_other(moment: datetime) -> None:
    mine = Month(moment.year, moment.month)
    assert mine.stretch(LAST).holds(moment)
    later = mine.stretch(LAST).end
    assert not Month(later.year, later.month).stretch(LAST).holds(moment)


def test_a_month_ends_where_the_watermark_is() -> None:
    assert str(Month(2026, 3)) == "2026-03"
    cut = datetime(2026, 3, 9, 12, tzinfo=UTC)
    assert Month(2026, 3).stretch(cut).where() == (
        "CreatedDate >= 2026-03-01T00:00:00Z AND CreatedDate < 2026-03-09T12:00:00Z"
    )


@given(stretches, moments)
def test_united_stretches_hold_the_same_moments(given: list[Stretch], moment: datetime) -> None:
    found = united(given)
    assert any(one.holds(moment) for one in found) == any(one.holds(moment) for one in given)
    assert all(one.end < two.start for one, two in pairwise(found) if two.start)
    assert sum(one.start is None for one in found) <= 1


def test_too_many_stretches_become_one_that_holds_them_all() -> None:
    days = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=2 * n) for n in range(200)]
    many = [Stretch(day, day + timedelta(days=1)) for day in days]
    assert united(many) == [Stretch(days[0], days[-1] + timedelta(days=1))]
    assert len(united(many[:MOST_STRETCHES])) == MOST_STRETCHES


def test_a_condition_of_several_stretches_puts_each_in_parentheses() -> None:
    first, second = Month(2026, 1).stretch(LAST), Stretch(None, datetime(2001, 1, 1, tzinfo=UTC))
    assert condition([second]) == "CreatedDate < 2001-01-01T00:00:00Z"
    assert condition([second, first]) == f"({second.where()}) OR ({first.where()})"


@given(st.dictionaries(months, st.integers(0, 3)), st.dictionaries(months, st.integers(0, 3)))
def test_a_month_that_one_side_does_not_know_holds_nothing(
    org: dict[Month, int], table: dict[Month, int]
) -> None:
    for month in {*org, *table}:
        assert (month in differing(org, table)) == (org.get(month, 0) != table.get(month, 0))


@given(st.lists(moments, max_size=60), st.integers(1, 10))
def test_turns_follow_on_each_other_until_every_moment_had_its_turn(
    created: list[datetime], most: int
) -> None:
    start: datetime | None = None
    seen: list[Stretch] = []
    while True:
        left = sorted(one for one in created if start is None or one >= start)[:most]
        stretch, following = turn(start, left[-1] if len(left) == most else None, LAST)
        assert not seen or stretch.start == seen[-1].end
        seen.append(stretch)
        if following is None:
            break
        assert following > (start or datetime.min.replace(tzinfo=UTC))
        start = following
    assert seen[0].start is None
    assert seen[-1].end == LAST
    assert len(seen) <= len(created) // most + 1
    assert all(sum(stretch.holds(one) for stretch in seen) == 1 for one in created)


@given(ids, st.randoms())
def test_a_fingerprint_does_not_depend_on_order_and_is_the_same_in_sql(
    some: list[str], random: object
) -> None:
    shuffled = sorted(some, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert fingerprint(shuffled) == fingerprint(some)
    with duck.connect(threads=1) as connection:
        connection.register("ids", pa.table({"Id": pa.array(some, pa.string())}))
        assert connection.sql(f"SELECT {FINGERPRINT} FROM ids").fetchone() == (fingerprint(some),)


@given(st.sets(st.sampled_from([f"003{n:015}" for n in range(40)])),
       st.sets(st.sampled_from([f"003{n:015}" for n in range(40)])))  # fmt: skip
def test_different_sets_have_different_fingerprints(one: set[str], other: set[str]) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


def test_a_repeated_id_shows() -> None:
    assert fingerprint(["a", "b", "b"]) != fingerprint(["a"]) != fingerprint(["a", "b"])


@given(st.integers(0, 3_000), st.integers(1, 20_000))
def test_every_id_is_named_once_in_conditions_that_fit(number: int, length: int) -> None:
    some = [f"003{n:015}" for n in range(number)]
    query = "x" * length
    found = list(id_conditions(some, query))
    named = [one for part in found for one in part.removeprefix("Id IN (")[:-1].split(", ")]
    assert [one.strip("'") for one in named if one] == some
    if length < 10_000:
        assert all(len(quote_plus(f"{query} WHERE {part}")) <= LONGEST_QUERY for part in found)
