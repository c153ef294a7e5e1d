"""Four schedules of the sync, one for each time frame; formulas and maintenance have their own."""

from datetime import timedelta

import dagster as dg

from salesforce_pipelines.automation import maintenance
from salesforce_pipelines.automation.jobs import formulas_config
from salesforce_pipelines.automation.time_frames import cron, is_due
from salesforce_pipelines.config.models import TABLE_NAMES, Pipelines, TimeFrame
from salesforce_pipelines.pull.assets import pulled_key
from salesforce_pipelines.store.tables import Tables

_AFTER_THE_SYNC = timedelta(minutes=30)
_AFTER_THE_FORMULAS = timedelta(minutes=30)


def build(pipelines: Pipelines, time_frame: TimeFrame) -> dg.ScheduleDefinition:
    """The schedule of one time frame, anchored at the configured start."""
    anchor = pipelines.schedule.anchor()
    running = pipelines.schedule.time_frame is time_frame

    @dg.schedule(
        name=f"sync_{time_frame.value}",
        job_name="sync",
        cron_schedule=cron(time_frame, anchor),
        execution_timezone=pipelines.schedule.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING
        if running
        else dg.DefaultScheduleStatus.STOPPED,
        description=f"Runs the sync {time_frame.value}, from "
        f"{anchor:%Y-%m-%d %H:%M} {pipelines.schedule.time_zone} on. "
        f"{'Chosen' if running else 'Not chosen'} by schedule.time_frame in pipelines.yaml.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        moment = context.scheduled_execution_time
        if not is_due(time_frame, anchor, moment):
            return dg.SkipReason(
                f"not due: the {time_frame.value} sync starts on {anchor:%Y-%m-%d %H:%M}"
                + (", on the last day of shorter months" if anchor.day > 28 else "")
            )
        return dg.RunRequest(run_key=moment.isoformat(), tags={"time_frame": time_frame.value})

    return schedule


def build_formulas(pipelines: Pipelines) -> dg.ScheduleDefinition:
    """The schedule that reads formula fields anew, half an hour after the minute of the sync."""
    chosen = pipelines.pull.formula_refresh
    time_frame = TimeFrame.DAILY if chosen == "off" else TimeFrame(chosen)
    anchor = pipelines.schedule.anchor() + _AFTER_THE_SYNC

    @dg.schedule(
        name="refresh_formulas",
        job_name="refresh_formulas",
        cron_schedule=cron(time_frame, anchor),
        execution_timezone=pipelines.schedule.time_zone,
        default_status=dg.DefaultScheduleStatus.STOPPED
        if chosen == "off"
        else dg.DefaultScheduleStatus.RUNNING,
        description=f"Reads formula fields {time_frame.value}, as pull.formula_refresh in "
        f"pipelines.yaml says ({chosen}), of the tables that have any.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, tables: dg.ResourceParam[Tables]
    ) -> dg.RunRequest | dg.SkipReason:
        moment = context.scheduled_execution_time
        if not is_due(time_frame, anchor, moment):
            return dg.SkipReason(f"not due: formulas are first read on {anchor:%Y-%m-%d %H:%M}")
        wanted = [name for name in pipelines.objects.pulled() if _has_formulas(tables, name)]
        if not wanted:
            return dg.SkipReason("no pulled field is a formula")
        return dg.RunRequest(
            run_key=moment.isoformat(),
            asset_selection=[pulled_key(name) for name in wanted],
            asset_check_keys=[],
            run_config=formulas_config(wanted),
        )

    return schedule


def _has_formulas(tables: Tables, sobject: str) -> bool:
    """Whether the last pull of an sObject saw a formula field, as far as it was noted."""
    state = tables.log(f"pulled/{TABLE_NAMES[sobject]}").state()
    return state is not None and bool(state.metadata.get("calculated", True))


def build_maintenance(pipelines: Pipelines) -> dg.ScheduleDefinition:
    """The schedule of the maintenance: once a week, an hour after the minute of the sync."""
    anchor = pipelines.schedule.anchor() + _AFTER_THE_SYNC + _AFTER_THE_FORMULAS

    @dg.schedule(
        name=maintenance.JOB,
        job_name=maintenance.JOB,
        cron_schedule=cron(TimeFrame.WEEKLY, anchor),
        execution_timezone=pipelines.schedule.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Once a week ends plans older than {pipelines.storage.keep_days} days and "
        "deletes files that no version of the tables of these days needs.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        moment = context.scheduled_execution_time
        if not is_due(TimeFrame.WEEKLY, anchor, moment):
            return dg.SkipReason(f"not due: the first is on {anchor:%Y-%m-%d %H:%M}")
        return dg.RunRequest(run_key=moment.isoformat())

    return schedule


def build_all(pipelines: Pipelines) -> list[dg.ScheduleDefinition]:
    """Every schedule."""
    sync = [build(pipelines, time_frame) for time_frame in TimeFrame]
    return [*sync, build_formulas(pipelines), build_maintenance(pipelines)]
