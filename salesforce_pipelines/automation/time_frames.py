"""The four time frames of the sync, anchored at a start: pure decisions about cron and days."""

import calendar
from datetime import datetime

from salesforce_pipelines.config.models import TimeFrame


def cron(time_frame: TimeFrame, anchor: datetime) -> str:
    """The cron expression of a time frame; the anchor gives minute, hour, weekday, day of month.

    Cron has no last day of the month: a monthly frame anchored after the 28th names every day
    from the 28th on, and `is_due` picks the right one.
    """
    minute, hour = anchor.minute, anchor.hour
    match time_frame:
        case TimeFrame.HOURLY:
            return f"{minute} * * * *"
        case TimeFrame.DAILY:
            return f"{minute} {hour} * * *"
        case TimeFrame.WEEKLY:
            return f"{minute} {hour} * * {anchor.isoweekday() % 7}"
        case TimeFrame.MONTHLY:
            days = str(anchor.day) if anchor.day <= 28 else f"28-{anchor.day}"
            return f"{minute} {hour} {days} * *"


def is_due(time_frame: TimeFrame, anchor: datetime, moment: datetime) -> bool:
    """Whether a run is due at a moment that the cron expression named.

    Never before the anchor. In a month shorter than the anchor's day, the last day is due.
    """
    if moment < anchor:
        return False
    if time_frame is not TimeFrame.MONTHLY:
        return True
    local = moment.astimezone(anchor.tzinfo)
    last = calendar.monthrange(local.year, local.month)[1]
    return local.day == min(anchor.day, last)


def longest_gap_hours(time_frame: TimeFrame) -> int:
    """Hours between two runs at the most: data older than that missed a run."""
    days = {TimeFrame.DAILY: 1, TimeFrame.WEEKLY: 7, TimeFrame.MONTHLY: 31}
    return 1 if time_frame is TimeFrame.HOURLY else days[time_frame] * 24
