"""Readings keep to a share of the org's API calls, and say when they may go on."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.org.budget import (
    ApiBudgetError,
    CallBudget,
    Channel,
    Go,
    Standing,
    Terms,
    Wait,
    bulk_calls,
    decide,
    left,
    rest_calls,
    room_at,
)

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
HALF = Terms(share=0.5, floor=1_000)


def hours_ago(hours: int) -> datetime:
    return NOW.replace(minute=0) - timedelta(hours=hours)


@pytest.mark.parametrize(
    ("allowance", "used", "ours", "expected"),
    [
        (15_000, 0, 0, 7_500),
        (15_000, 2_000, 2_000, 5_500),
        (15_000, 13_500, 1_000, 500),  # others used so much that the floor decides
        (15_000, 14_500, 0, 0),
        (5_000, 0, 0, 2_500),
        (5_000, 3_900, 0, 100),
        (1_000, 0, 0, 500),  # the floor of 1,000 would lock it: the share applies first
        (1_000, 500, 0, 0),
    ],
)
def test_what_is_left(allowance: int, used: int, ours: int, expected: int) -> None:
    standing = Standing(allowance, used, {hours_ago(3): ours})
    assert left(standing, HALF, NOW) == expected


def test_an_org_of_our_own_may_be_used_to_its_end() -> None:
    assert left(Standing(5_000, 0, {}), Terms(1.0, 1_000), NOW) == 5_000


def test_an_hour_counts_until_the_whole_of_it_is_a_day_old() -> None:
    standing = Standing(1_000, 0, {hours_ago(24): 300, hours_ago(25): 100})
    assert standing.our_calls(NOW) == 300
    assert standing.our_calls(NOW + timedelta(minutes=30)) == 0


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, 1), (1, 1), (2_000, 1), (2_001, 2), (10_000, 5)]
)
def test_calls_of_a_rest_query(rows: int, expected: int) -> None:
    assert rest_calls(rows) == expected


def test_calls_of_a_bulk_job_grow_with_pages_and_polls() -> None:
    assert bulk_calls(0, 100_000) == 9
    assert bulk_calls(1_000_000, 100_000) == 1 + 26 + 10 + 1


@pytest.mark.parametrize(
    ("preferred", "costs", "have", "expected"),
    [
        ("REST", {"REST": 10, "Bulk API 2.0": 5}, 10, Go("REST", 10)),
        ("REST", {"REST": 10, "Bulk API 2.0": 5}, 9, Go("Bulk API 2.0", 5)),
        ("Bulk API 2.0", {"REST": 1, "Bulk API 2.0": 9}, 5, Go("REST", 1)),
        ("REST", {"REST": 10, "Bulk API 2.0": 5}, 4, Wait(5, hours_ago(2) + timedelta(hours=25))),
    ],
)
def test_the_other_way_is_taken_before_waiting(
    preferred: Channel, costs: dict[Channel, int], have: int, expected: Go | Wait
) -> None:
    standing = Standing(1_000, 500 - have, {hours_ago(2): 500 - have})
    assert decide(standing, HALF, NOW, preferred=preferred, costs=costs) == expected


def test_it_waits_for_as_many_of_our_own_hours_as_it_takes() -> None:
    ours = {hours_ago(23): 10, hours_ago(20): 40, hours_ago(5): 450}
    standing = Standing(1_000, 500, ours)
    assert room_at(standing, HALF, NOW, 10) == hours_ago(23) + timedelta(hours=25)
    assert room_at(standing, HALF, NOW, 11) == hours_ago(20) + timedelta(hours=25)
    assert room_at(standing, HALF, NOW, 51) == hours_ago(5) + timedelta(hours=25)
    assert room_at(standing, HALF, NOW, 501) is None, "it never has so many"


def test_calls_of_others_give_no_time() -> None:
    assert room_at(Standing(15_000, 15_000, {hours_ago(3): 5}), HALF, NOW, 3) is None


standings = st.builds(
    Standing,
    st.integers(0, 200_000),
    st.integers(0, 250_000),
    st.dictionaries(st.integers(0, 40).map(hours_ago), st.integers(0, 50_000), max_size=8),
)
terms = st.builds(Terms, st.floats(0.01, 1.0), st.integers(0, 5_000))


@given(standings, terms)
def test_what_is_left_never_breaks_the_share_nor_the_allowance(
    standing: Standing, given_terms: Terms
) -> None:
    have = left(standing, given_terms, NOW)
    assert have >= 0
    if have:
        assert standing.our_calls(NOW) + have <= standing.allowance * given_terms.share
        assert standing.used + have <= standing.allowance


@given(standings, terms, st.integers(1, 20_000))
def test_there_is_room_when_it_says_so_and_not_an_hour_before(
    standing: Standing, given_terms: Terms, calls: int
) -> None:
    then = room_at(standing, given_terms, NOW, calls)
    if left(standing, given_terms, NOW) >= calls:
        assert then == NOW
        return
    if then is None:
        return
    assert NOW < then <= NOW + timedelta(hours=25)

    def room(moment: datetime) -> int:
        over = {h: n for h, n in standing.ours.items() if NOW < h + timedelta(hours=25) <= moment}
        used = max(0, standing.used - sum(over.values()))
        return left(Standing(standing.allowance, used, standing.ours), given_terms, moment)

    assert room(then) >= calls
    before = then - timedelta(hours=1)
    assert before <= NOW or room(before) < calls


def budget(known: Standing, anew: Callable[[], Standing]) -> CallBudget:
    return CallBudget(HALF, lambda: known, anew, lambda: NOW)


def test_it_asks_the_org_anew_before_it_refuses_and_not_otherwise() -> None:
    def not_asked() -> Standing:
        raise AssertionError("the org was asked")

    rich, poor = Standing(15_000, 0, {}), Standing(15_000, 15_000, {})
    budget(rich, not_asked).require("a pull", 2)
    freed = budget(poor, lambda: rich)
    freed.require("a pull", 2)
    assert freed.estimated == 2
    with pytest.raises(ApiBudgetError) as refused:
        budget(poor, lambda: poor).require("pulling Contact", 2)
    assert "within 24 hours" in str(refused.value)
    assert "everybody 15,000 of the org's 15,000" in str(refused.value)


def test_a_refusal_says_when_it_can_go_on() -> None:
    spent = Standing(1_000, 500, {hours_ago(2): 500})
    with pytest.raises(ApiBudgetError, match="at 2026-03-05 11:00 UTC") as refused:
        budget(spent, lambda: spent).choose("reading 30,000 rows", 30_000, "REST", 100_000)
    assert refused.value.until == hours_ago(2) + timedelta(hours=25)
    with pytest.raises(ApiBudgetError, match=r"Raise api_budget\.share .* never has so many"):
        budget(spent, lambda: spent).require("a big pull", 501)


def test_estimates_add_up() -> None:
    rich = Standing(15_000, 0, {})
    one = budget(rich, lambda: rich)
    one.require("a pull", 2)
    assert one.choose("rows", 6_000, "REST", 100_000) == "REST"
    assert one.choose("rows", 600_000, "Bulk API 2.0", 100_000) == "Bulk API 2.0"
    assert one.estimated == 2 + 2 + bulk_calls(600_000, 100_000)
