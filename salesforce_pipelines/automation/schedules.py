"""Four schedules of the sync, one for each time frame; the configuration says which one runs."""

import dagster as dg

from salesforce_pipelines.automation.time_frames import cron, is_due
from salesforce_pipelines.config.models import Pipelines, TimeFrame


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


def build_all(pipelines: Pipelines) -> list[dg.ScheduleDefinition]:
    """The four schedules."""
    return [build(pipelines, time_frame) for time_frame in TimeFrame]
