"""Which stretch of time the next pull reads: a pure decision."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from salesforce_pipelines.org.soql import instant


@dataclass(frozen=True)
class Window:
    """A stretch of SystemModstamp: from `start` on (None: from the beginning), before `end`."""

    start: datetime | None
    end: datetime

    def where(self) -> str:
        """The SOQL condition of the window; empty for a full pull.

        A full pull takes everything: what changes while it runs is read again by the next one,
        which starts before this one began.
        """
        if self.start is None:
            return ""
        return f"SystemModstamp >= {instant(self.start)} AND SystemModstamp < {instant(self.end)}"


def next_window(
    watermark: datetime | None, org_time: datetime, *, lag: timedelta, overlap: timedelta
) -> Window:
    """The window of the pull after the one that reached `watermark`.

    It ends `lag` before the org's clock, because a row can become visible after its stamp, and
    starts `overlap` before the watermark, for rows that were later still. Stamps are kept to the
    second and ties are normal: the end is a whole second and excluded, the start included, so
    rows of one second are never split. The end is the next watermark; it never goes back.
    """
    end = (org_time - lag).replace(microsecond=0)
    if watermark is None:
        return Window(None, end)
    return Window(watermark - overlap, max(end, watermark))
