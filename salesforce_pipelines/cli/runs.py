"""Running the project's jobs from the command line, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from rich.console import Console

from salesforce_pipelines.cli.lost_runs import fail_lost_runs, process_tag
from salesforce_pipelines.cli.progress_bars import ProgressBars
from salesforce_pipelines.config.models import Pipelines
from salesforce_pipelines.definitions import build
from salesforce_pipelines.errors import PipelineError

# The UI lists the runs of a job by the code location that they say they are of.
_OF_THE_LOCATION = {".dagster/repository": "__repository__@salesforce_pipelines.definitions"}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class JobRun:
    """A finished run: its id, and the metadata of what it materialised by asset (a/b/c)."""

    run_id: str
    metadata: dict[str, dict[str, Any]]


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of DAGSTER_HOME, so that the runs appear in the UI."""
    with dg.DagsterInstance.get() as found:
        yield found


def job_names(pipelines: Pipelines) -> list[str]:
    """The jobs that can be run."""
    return sorted(job.name for job in build(pipelines).resolve_all_job_defs() if job.name[0] != "_")


def run_job(
    pipelines: Pipelines,
    name: str,
    on: dg.DagsterInstance,
    *,
    assets: list[dg.AssetKey] | None = None,
    console: Console | None = None,
) -> JobRun:
    """Run a job to its end, or only some of its assets; a terminal shows how far pulls are.

    Raises:
        PipelineError: There is no such job, or the run failed; with the failure's message.
    """
    if name not in job_names(pipelines):
        raise PipelineError(f"{name}: no such job; there are {', '.join(job_names(pipelines))}")
    fail_lost_runs(on)
    with ProgressBars(console) as progress:
        job = build(pipelines, {"progress": progress}).resolve_job_def(name)
        result = job.execute_in_process(
            instance=on,
            run_config={**(job.run_config or {}), **_QUIET},
            raise_on_error=False,
            asset_selection=assets,
            tags={**process_tag(), **_OF_THE_LOCATION},
        )
    if not result.success:
        raise PipelineError(f"job {name} failed (run {result.run_id}): {_why(result)}")
    found: dict[str, dict[str, Any]] = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        found[materialization.asset_key.to_user_string()] = {
            key: _told(value) for key, value in materialization.metadata.items()
        }
    return JobRun(result.run_id, found)


def _told(value: dg.MetadataValue[Any]) -> Any:
    if isinstance(value, dg.TimestampMetadataValue):
        return datetime.fromtimestamp(value.value, UTC)
    return value.value


def _why(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            error = failure.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None:
                return error.message.strip()
    return "see the run in the Dagster UI"
