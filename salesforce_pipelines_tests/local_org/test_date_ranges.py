from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.local_org.soql.date_ranges import date_range

WEDNESDAY = date(2024, 5, 15)


@pytest.mark.parametrize(
    ("literal", "first", "last"),
    [
        ("TODAY", "2024-05-15", "2024-05-15"),
        ("yesterday", "2024-05-14", "2024-05-14"),
        ("TOMORROW", "2024-05-16", "2024-05-16"),
        ("THIS_WEEK", "2024-05-12", "2024-05-18"),
        ("LAST_WEEK", "2024-05-05", "2024-05-11"),
        ("NEXT_WEEK", "2024-05-19", "2024-05-25"),
        ("THIS_MONTH", "2024-05-01", "2024-05-31"),
        ("LAST_MONTH", "2024-04-01", "2024-04-30"),
        ("NEXT_MONTH", "2024-06-01", "2024-06-30"),
        ("THIS_QUARTER", "2024-04-01", "2024-06-30"),
        ("LAST_QUARTER", "2024-01-01", "2024-03-31"),
        ("NEXT_YEAR", "2025-01-01", "2025-12-31"),
        ("LAST_N_DAYS:30", "2024-04-15", "2024-05-15"),
        ("NEXT_N_DAYS:2", "2024-05-16", "2024-05-17"),
        ("N_DAYS_AGO:3", "2024-05-12", "2024-05-12"),
        ("LAST_90_DAYS", "2024-02-15", "2024-05-15"),
        ("LAST_N_MONTHS:2", "2024-03-01", "2024-04-30"),
        ("NEXT_N_WEEKS:1", "2024-05-19", "2024-05-25"),
        ("N_MONTHS_AGO:5", "2023-12-01", "2023-12-31"),
        ("LAST_N_YEARS:1", "2023-01-01", "2023-12-31"),
    ],
)
def test_the_days_of_a_literal(literal: str, first: str, last: str) -> None:
    start, end = date.fromisoformat(first), date.fromisoformat(last) + timedelta(1)
    assert date_range(literal, WEDNESDAY) == (start, end)


@pytest.mark.parametrize("text", ["SOMEDAY", "LAST_N_DAYS", "LAST_N_DAYS:x", "NEXT", "THIS_DAY"])
def test_what_is_no_literal(text: str) -> None:
    assert date_range(text, WEDNESDAY) is None


def test_a_literal_beyond_the_calendar_is_none() -> None:
    assert date_range("LAST_N_YEARS:99999", WEDNESDAY) is None
    assert date_range("LAST_N_DAYS:99999999", WEDNESDAY) is None


@given(
    st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    st.sampled_from(["WEEK", "MONTH", "QUARTER", "YEAR", "FISCAL_QUARTER"]),
)
def test_last_this_and_next_adjoin_and_this_holds_today(today: date, unit: str) -> None:
    ranges = [date_range(f"{which}_{unit}", today) for which in ("LAST", "THIS", "NEXT")]
    last, this, following = (found for found in ranges if found)
    assert last[1] == this[0] <= today < this[1] == following[0]
