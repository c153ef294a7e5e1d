"""The days that SOQL's date literals stand for, such as `LAST_N_DAYS:30` or `THIS_QUARTER`.

Days are in UTC, weeks begin on Sunday and quarters are those of the calendar, as in an org with
the en_US locale and a fiscal year that begins in January. See "Date Formats and Date Literals in
WHERE" in the SOQL and SOSL Reference.
"""

import re
from collections.abc import Callable
from datetime import date, timedelta

DateRange = tuple[date, date]
"""The first day and the day after the last."""

_UNIT_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12, "FISCAL_QUARTER": 3, "FISCAL_YEAR": 12}
_NAME = re.compile(
    r"(?P<which>LAST|THIS|NEXT)_(?P<unit>WEEK|MONTH|QUARTER|YEAR|FISCAL_QUARTER|FISCAL_YEAR)"
    r"|(?P<way>LAST|NEXT)_N_(?P<units>(?:DAY|WEEK|MONTH|QUARTER|YEAR|FISCAL_QUARTER|FISCAL_YEAR))S"
    r":(?P<n>\d+)"
    r"|N_(?P<ago>(?:DAY|WEEK|MONTH|QUARTER|YEAR|FISCAL_QUARTER|FISCAL_YEAR))S_AGO:(?P<m>\d+)"
)


def date_range(literal: str, today: date) -> DateRange | None:
    """The days a date literal stands for; None if SOQL has no such literal."""
    literal = literal.upper()
    simple = _SIMPLE.get(literal)
    if simple:
        first, last = simple
        return today + timedelta(first), today + timedelta(last + 1)
    match = _NAME.fullmatch(literal)
    if not match:
        return None
    try:
        return _computed(match, today)
    except (OverflowError, ValueError):
        return None


def _computed(match: re.Match[str], today: date) -> DateRange:
    if match["which"]:
        shift = {"LAST": -1, "THIS": 0, "NEXT": 1}[match["which"]]
        period = _periods(match["unit"], today)
        return period(shift), period(shift + 1)
    if match["units"]:
        count, period = int(match["n"]), _periods(match["units"], today)
        if match["way"] == "NEXT":
            return period(1), period(count + 1)
        # The days of LAST_N_DAYS reach up to now; longer units end with the last whole one.
        return period(-count), period(1 if match["units"] == "DAY" else 0)
    period = _periods(match["ago"], today)
    return period(-int(match["m"])), period(1 - int(match["m"]))


def _periods(unit: str, today: date) -> Callable[[int], date]:
    """Gives the first day of the n-th period of a unit from the one that holds today."""
    if unit == "DAY":
        return lambda n: today + timedelta(n)
    if unit == "WEEK":
        sunday = today - timedelta((today.weekday() + 1) % 7)
        return lambda n: sunday + timedelta(7 * n)
    months = _UNIT_MONTHS[unit]
    start = today.year * 12 + (today.month - 1) // months * months
    return lambda n: _first_of_month(start + n * months)


def _first_of_month(months: int) -> date:
    return date(months // 12, months % 12 + 1, 1)


_SIMPLE = {
    "YESTERDAY": (-1, -1),
    "TODAY": (0, 0),
    "TOMORROW": (1, 1),
    "LAST_90_DAYS": (-90, 0),
    "NEXT_90_DAYS": (1, 90),
}
