"""Auto-number fields: the texts that new records get, such as `M-000123`.

A record's number is that of its place within its sObject, so numbers follow each other and none is
given twice.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from salesforce_pipelines.local_org.metadata.schema import SObject
from salesforce_pipelines.local_org.storage.store import FIRST_LOADED_NUMBER

_PLACE = re.compile(r"\{(0+|YYYY|YY|MM|DD)\}")
_DATES = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d"}


def is_display_format(text: str) -> bool:
    """Whether a display format has exactly one place for the number, such as `R-{00000}`."""
    return sum(1 for place in _PLACE.findall(text) if place.startswith("0")) == 1


def auto_number_writer(display_format: str, now: str) -> Callable[[int], str]:
    """What turns a record's own number into the text of its auto-number field.

    Args:
        display_format: With one place for the number and any for the date, as Salesforce writes
            them: `{00000}`, `{YYYY}`, `{YY}`, `{MM}`, `{DD}`.
        now: The time of the write as the store keeps it.
    """
    day = datetime.fromisoformat(now).replace(tzinfo=UTC)

    def piece(match: re.Match[str]) -> str:
        place = match[1]
        return day.strftime(_DATES[place]) if place in _DATES else f"%0{len(place)}d"

    template = _PLACE.sub(piece, display_format.replace("%", "%%"))
    return lambda number: template % (number - FIRST_LOADED_NUMBER)


def auto_number_values(sobject: SObject, number: int, now: str) -> dict[str, str]:
    """The auto-number values of one new record, by field."""
    return {
        item.name: auto_number_writer(item.auto_number or "{0}", now)(number)
        for item in sobject.auto_numbers
    }
