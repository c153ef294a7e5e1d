"""How a Bulk job is waited for: soon seen when it is short, cheap when it is long, not for ever."""

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from salesforce_pipelines.org import reading
from salesforce_pipelines.org.reading import JobTimeoutError, wait_for_job
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines_tests.org.conftest import Scripted

RUNS: dict[str, Any] = {"id": "750A", "state": "InProgress", "numberRecordsProcessed": 120_000}


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of waiting."""
    clock = Clock()
    monkeypatch.setattr(reading, "time", clock)
    return clock


def test_a_job_that_never_ends_is_told_with_how_far_it_is(
    scripted: Scripted, connect: Callable[[str], OrgSession], clock: Clock
) -> None:
    scripted.answer(200, RUNS)
    session = connect(scripted.url)
    assert session.job_timeout == timedelta(hours=3)
    says = "Job of X: job 750A is InProgress after 3:00:00, with 120,000 records processed"
    with pytest.raises(JobTimeoutError, match=says):
        wait_for_job(session, "jobs/query/750A", "Job of X")
    assert sum(clock.pauses) == pytest.approx(3 * 3600)
    assert clock.pauses[0] == pytest.approx(0.2)
    assert max(clock.pauses) <= 60
    assert len(scripted.paths()) < 250, "three hours cost few calls"


def test_the_log_tells_every_minute_how_far_a_job_is(
    scripted: Scripted,
    connect: Callable[[str], OrgSession],
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = connect(scripted.url)
    session.job_timeout = timedelta(minutes=10)
    scripted.answer(200, RUNS)
    with (
        caplog.at_level(logging.INFO, logger="salesforce_pipelines.org.reading"),
        pytest.raises(JobTimeoutError),
    ):
        wait_for_job(session, "jobs/query/750A", "Job of X")
    told = [record.getMessage() for record in caplog.records]
    assert 8 <= len(told) <= 10
    assert told[0].startswith("Job of X: job 750A is InProgress after 0:01:0")
    assert told[0].endswith("with 120,000 records processed")


def test_a_short_job_is_not_told(
    scripted: Scripted,
    connect: Callable[[str], OrgSession],
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(5):
        scripted.answer(200, RUNS)
    scripted.answer(200, RUNS | {"state": "JobComplete"})
    with caplog.at_level(logging.INFO, logger="salesforce_pipelines.org.reading"):
        done = wait_for_job(connect(scripted.url), "jobs/query/750A", "Job of X")
    assert done["state"] == "JobComplete"
    assert not caplog.records
    assert sum(clock.pauses) < 3


@pytest.mark.slow
@pytest.mark.parametrize("file", ["dagster.yaml", "deploy/dagster.yaml"])
def test_the_runs_log_shows_it(file: str) -> None:
    project = Path(__file__).parents[2]
    shipped = yaml.safe_load((project / file).read_text(encoding="utf-8"))

    @dg.asset
    def waiting() -> None:
        logging.getLogger(reading.__name__).info("job 750A is InProgress")

    with dg.instance_for_test({"python_logs": shipped["python_logs"]}) as instance:
        run = dg.materialize([waiting], instance=instance)
        told = [event.user_message for event in instance.all_logs(run.run_id)]
    assert "job 750A is InProgress" in told
