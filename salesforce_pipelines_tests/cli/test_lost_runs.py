"""Runs whose process was killed fail, and let go of their pools."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from salesforce_pipelines.cli.lost_runs import fail_lost_runs

pytestmark = pytest.mark.slow

# A run in a process of its own, that never comes to its end.
_RUN = """
import sys, time
import dagster as dg
from salesforce_pipelines.cli.lost_runs import process_tag

@dg.op(pool="pulled_contacts")
def pull():
    print("pulling", flush=True)
    time.sleep(600)

@dg.job
def pulls():
    pull()

with dg.DagsterInstance.from_config(sys.argv[1]) as on:
    pulls.execute_in_process(instance=on, tags=process_tag())
"""


@dg.op(pool="pulled_contacts")
def pull_again() -> None:
    """Wants the same pool."""


@dg.job
def pulls_again() -> None:
    """The run after it."""
    pull_again()


def test_a_killed_run_fails_and_frees_its_pool(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(
        "concurrency: {pools: {default_limit: 1, granularity: op}}", encoding="utf-8"
    )
    command = [sys.executable, "-c", _RUN, str(tmp_path)]
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as on,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process,
    ):
        assert process.stdout is not None
        while "pulling" not in process.stdout.readline():
            pass
        (run,) = on.get_runs()
        assert fail_lost_runs(on) == [], "its process is alive"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert fail_lost_runs(on) == [run.run_id]
        found = on.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status is dg.DagsterRunStatus.FAILURE
        began = time.monotonic()
        assert pulls_again.execute_in_process(instance=on).success
        assert time.monotonic() - began < 30
        assert fail_lost_runs(on) == []
