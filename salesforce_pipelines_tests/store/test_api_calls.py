"""API calls are counted by the hour, by any number of processes."""

from datetime import UTC, datetime, timedelta

from salesforce_pipelines.store import api_calls
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines_tests.store.racing import race

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def test_calls_of_an_hour_add_up_and_the_last_usage_stays(ledger: Ledger) -> None:
    api_calls.record(ledger, 3, at=NOON + timedelta(minutes=5), usage=(10, 5_000))
    api_calls.record(ledger, 4, at=NOON + timedelta(minutes=55), usage=None)
    api_calls.record(ledger, 2, at=NOON + timedelta(minutes=65), usage=(40, 5_000))
    hour = timedelta(hours=1)
    assert api_calls.by_hour(ledger, NOON) == {NOON: 7, NOON + hour: 2}
    assert api_calls.by_hour(ledger, NOON + hour) == {NOON + hour: 2}
    assert api_calls.usage_told(ledger, NOON) == (40, 5_000)
    assert api_calls.usage_told(ledger, NOON + 2 * hour) is None


def test_the_usage_told_in_an_hour_outlives_calls_that_told_nothing(ledger: Ledger) -> None:
    api_calls.record(ledger, 1, at=NOON + timedelta(minutes=5), usage=(10, 5_000))
    api_calls.record(ledger, 1, at=NOON + timedelta(minutes=6), usage=None)
    assert api_calls.usage_told(ledger, NOON) == (10, 5_000)


def test_old_hours_are_forgotten(ledger: Ledger) -> None:
    api_calls.record(ledger, 1, at=NOON - timedelta(days=31), usage=None)
    api_calls.record(ledger, 1, at=NOON, usage=None)
    assert api_calls.by_hour(ledger, NOON - timedelta(days=60)) == {NOON: 1}


def add(url: str, calls: int) -> None:
    with Ledger.open(url) as ledger:
        for _ in range(10):
            api_calls.record(ledger, calls, at=NOON, usage=None)


def test_no_call_is_lost_between_processes(ledger_url: str) -> None:
    Ledger.open(ledger_url).close()
    race(add, *((ledger_url, calls) for calls in (1, 2, 3)))
    with Ledger.open(ledger_url) as ledger:
        assert api_calls.by_hour(ledger, NOON) == {NOON: 60}
