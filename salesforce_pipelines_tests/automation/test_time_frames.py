"""The four time frames over real calendars, months of every length and clock changes included."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.automation.time_frames import cron, is_due
from salesforce_pipelines.config.models import TimeFrame


def due(time_frame: TimeFrame, anchor: datetime, since: datetime, days: int) -> list[datetime]:
    """The moments within so many days at which Dagster would run the sync."""
    found: list[datetime] = []
    ticks = schedule_execution_time_iterator(
        since.timestamp(), cron(time_frame, anchor), str(anchor.tzinfo), ascending=True
    )
    for moment in ticks:
        if moment > since + timedelta(days=days):
            return found
        if is_due(time_frame, anchor, moment):
            found.append(moment)
    raise AssertionError("a cron expression never ends")


@pytest.mark.parametrize(("day", "expected"), [(28, 28), (29, 29), (30, 30), (31, 31)])
def test_monthly_runs_once_a_month_on_the_day_or_the_last_one(day: int, expected: int) -> None:
    anchor = datetime(2026, 1, day, 2, 30, tzinfo=ZoneInfo("Europe/Paris"))
    runs = due(TimeFrame.MONTHLY, anchor, anchor - timedelta(hours=1), 500)
    months = [(run.year, run.month) for run in runs]
    assert len(months) == len(set(months)) >= 16
    last_days = {1: 31, 2: 28, 4: 30, 6: 30, 9: 30, 11: 30}
    for run in runs:
        assert run.day == min(expected, last_days.get(run.month, 31))
        assert (run.hour, run.minute) == (2, 30) or run.hour == 3


def test_nothing_runs_before_the_start() -> None:
    anchor = datetime(2026, 6, 10, 9, 15, tzinfo=UTC)
    for time_frame in TimeFrame:
        runs = due(time_frame, anchor, anchor - timedelta(days=70), 110)
        assert runs[0] == anchor


def test_weekly_keeps_the_weekday_and_daily_the_hour_through_the_clock_change() -> None:
    anchor = datetime(2026, 3, 22, 8, 5, tzinfo=ZoneInfo("America/New_York"))
    weekly = due(TimeFrame.WEEKLY, anchor, anchor - timedelta(hours=1), 60)
    assert {run.weekday() for run in weekly} == {anchor.weekday()}
    assert len(weekly) == 9
    daily = due(TimeFrame.DAILY, anchor, anchor - timedelta(hours=1), 10)
    assert {(run.hour, run.minute) for run in daily} == {(8, 5)}


@given(
    anchor=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    time_frame=st.sampled_from(list(TimeFrame)),
)
def test_the_anchor_itself_is_due(anchor: datetime, time_frame: TimeFrame) -> None:
    anchor = anchor.replace(second=0, microsecond=0)
    assert due(time_frame, anchor, anchor - timedelta(minutes=1), 1)[0] == anchor
