"""What is too much for the org at once is read half by half, each record once."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.org.describe import FieldDescribe
from salesforce_pipelines.org.errors import SalesforceError
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.slices import Slice, SlicePosition, read_in_slices
from salesforce_pipelines_tests.org.conftest import Scripted

ID = FieldDescribe("Id", "Id", "id", 18, 0, 0, True, True, True, False, False, (), ())
DAY = datetime(2026, 3, 4, tzinfo=UTC)

moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(st.none() | moments, st.none() | moments, moments, moments, moments)
def test_halves_hold_each_record_once(
    start: datetime | None, end: datetime | None, oldest: datetime, newest: datetime, at: datetime
) -> None:
    span = Slice("CreatedDate", start, end)
    halves = span.halves(oldest, newest)
    if halves is None:
        assert (end or newest) - (start or oldest) < timedelta(seconds=2)
        return

    def holds(one: Slice) -> bool:
        return (one.start is None or one.start <= at) and (one.end is None or at < one.end)

    assert sum(map(holds, halves)) == holds(span)
    assert halves[0].end == halves[1].start


def test_a_span_without_bounds_has_no_condition() -> None:
    assert Slice("CreatedDate").where() == ""
    assert Slice("CreatedDate", DAY).where() == "CreatedDate >= 2026-03-04T00:00:00Z"


def test_a_query_that_stays_too_much_ends_with_the_orgs_words(
    scripted: Scripted, connect: Callable[[str], OrgSession]
) -> None:
    scripted.error(400, "QUERY_TIMEOUT", "Your query request was running for too long.")
    span = Slice("SystemModstamp", DAY, DAY + timedelta(days=1))
    with pytest.raises(SalesforceError, match="running for too long"):
        read_in_slices(connect(scripted.url), "Contact", [ID], span, bulk_threshold=100)
    assert len(scripted.paths()) == 11, "the whole, and ten halvings of its beginning"


def test_what_halving_does_not_cure_is_not_halved(
    scripted: Scripted, connect: Callable[[str], OrgSession]
) -> None:
    scripted.error(400, "MALFORMED_QUERY")
    with pytest.raises(SalesforceError, match="MALFORMED_QUERY"):
        read_in_slices(
            connect(scripted.url), "Contact", [ID], Slice("CreatedDate"), bulk_threshold=100
        )
    assert len(scripted.paths()) == 1


@given(st.none() | moments, st.none() | moments, st.integers(0, 10))
def test_a_position_outlives_its_process_as_json(
    start: datetime | None, end: datetime | None, halvings: int
) -> None:
    one = Slice("CreatedDate", start, end, halvings)
    noted = one.noted()
    position = SlicePosition("750A", "MTAw", 100, 250, noted, [noted, noted], 7)
    read_back = SlicePosition(**json.loads(json.dumps(vars(position))))
    assert read_back == position
    assert [Slice.of(each) for each in read_back.waiting] == [one, one]
