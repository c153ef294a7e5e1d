"""Runs of the command line whose process is gone: killed, or lost in a power cut.

Dagster notices that only of runs that it launched itself; such a run would hold its pools for ever,
and with them its tables.
"""

import os
import socket

import dagster as dg

PROCESS = "salesforce_pipelines/process"
"""The tag of a run that says where it goes on: host:pid."""
_UNDER_WAY = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def process_tag() -> dict[str, str]:
    """The tag for a run of this process."""
    return {PROCESS: f"{socket.gethostname()}:{os.getpid()}"}


def fail_lost_runs(on: dg.DagsterInstance) -> list[str]:
    """Fail every run in progress whose process on this machine is gone; their ids.

    What such a run had staged or claimed stays, to be gone on with.
    """
    lost = []
    for run in on.get_runs(dg.RunsFilter(statuses=_UNDER_WAY)):
        host, _, pid = run.tags.get(PROCESS, "").rpartition(":")
        if host != socket.gethostname() or _is_alive(int(pid)):
            continue
        on.report_run_failed(run, f"process {pid} of this run is gone: it was killed")
        on.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        lost.append(run.run_id)
    return lost


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Somebody else's: it is there.
        pass
    return True
