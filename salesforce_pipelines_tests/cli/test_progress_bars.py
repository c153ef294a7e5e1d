"""A long pull shows how far it is: in the run's log, and on a terminal if there is one."""

import io
from collections.abc import Iterator

import dagster as dg
import pytest
from rich.console import Console

from salesforce_pipelines.cli.demo import reached
from salesforce_pipelines.cli.progress_bars import ProgressBars
from salesforce_pipelines.cli.runs import run_job
from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.conftest import Project


def on_terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def tell(console: Console) -> None:
    with ProgressBars(console) as bars, bars.of("Contact") as told:
        told(300, 1_000)
        told(1_000, 1_000)


def test_a_terminal_shows_a_bar() -> None:
    console = on_terminal()
    tell(console)
    assert "Contact" in printed(console)
    assert "300/1000" in printed(console)


def test_without_a_terminal_nothing_is_printed() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    tell(console)
    assert printed(console) == ""


def test_a_reading_without_rows_has_no_bar() -> None:
    console = on_terminal()
    with ProgressBars(console) as bars, bars.of("Contact"):
        pass
    assert "Contact" not in printed(console)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.mark.slow
def test_a_job_run_from_the_command_line_shows_its_pulls(
    project: Project, local_org: RunningOrg, instance: dg.DagsterInstance
) -> None:
    terminal, file = on_terminal(), Console(file=io.StringIO(), force_terminal=False)
    with reached(local_org):
        done = run_job(project.pipelines, "pull", instance, console=terminal)
        run_job(project.pipelines, "pull", instance, console=file)
    rows = done.metadata["pulled/contacts"]["rows_read"]
    assert f"{rows}/{rows}" in printed(terminal)
    assert printed(file) == ""


@pytest.mark.slow
def test_the_runs_log_says_how_far_a_pull_is(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salesforce_pipelines.pull.assets._PROGRESS_ROWS", 100)
    result = project.attempt("pull", "pulled/contacts")
    records = project.instance.all_logs(result.run_id)
    assert any("rows landed (100 %)" in record.user_message for record in records)
