"""Counting the API calls of every step that talks to the org, and holding its readings to a budget.

Every asset, check and sensor that uses the org does so within `metered`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from salesforce_pipelines.config.models import ApiBudget
from salesforce_pipelines.org.budget import WINDOW, CallBudget, Standing, Terms
from salesforce_pipelines.org.errors import Reaction, SalesforceError, reaction
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.store import api_calls
from salesforce_pipelines.store.ledger import Ledger

_TOLD_IS_KNOWN = timedelta(hours=1)


@contextmanager
def metered(session: OrgSession, ledger: Ledger, settings: ApiBudget) -> Iterator[CallBudget]:
    """Count the calls of a step in the ledger, however it ends; its readings keep to the budget.

    Other calls (describes, writes, retrieves) are counted and never held back.

    Raises:
        DailyLimitError: In place of the org's own REQUEST_LIMIT_EXCEEDED of the day.
    """
    meter = _Meter(session, ledger)
    terms = Terms(settings.share, settings.floor)
    budget = CallBudget(terms, meter.standing, meter.ask_anew)
    session.budget = budget
    try:
        yield budget
    except SalesforceError as error:
        daily = reaction(error.error, error.status) is Reaction.STOP
        if error.code == "REQUEST_LIMIT_EXCEEDED" and daily:
            raise budget.used_up(str(error).rstrip(".")) from error
        raise
    finally:
        session.budget = None
        meter.flush()


class _Meter:
    def __init__(self, session: OrgSession, ledger: Ledger) -> None:
        self._session = session
        self._ledger = ledger
        self._noted = session.api_calls

    def flush(self) -> None:
        """Write down the calls since the last time."""
        calls = self._session.api_calls
        if calls > self._noted:
            usage = self._session.api_usage
            api_calls.record(self._ledger, calls - self._noted, at=datetime.now(UTC), usage=usage)
            self._noted = calls

    def standing(self) -> Standing:
        """What is known: by the session's answers, else by those of a step not long ago."""
        if self._session.api_usage is None:
            told = api_calls.usage_told(self._ledger, datetime.now(UTC) - _TOLD_IS_KNOWN)
            if told is None:
                return self.ask_anew()
            return self._standing(told)
        return self._standing(self._session.api_usage)

    def ask_anew(self) -> Standing:
        """What the org says now, for one call."""
        told = self._session.get("limits")["DailyApiRequests"]
        return self._standing((int(told["Max"]) - int(told["Remaining"]), int(told["Max"])))

    def _standing(self, usage: tuple[int, int]) -> Standing:
        self.flush()
        used, allowance = usage
        ours = api_calls.by_hour(self._ledger, datetime.now(UTC) - WINDOW)
        return Standing(allowance, used, ours)
