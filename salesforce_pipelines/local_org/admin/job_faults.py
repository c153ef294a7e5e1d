"""Faults at Bulk jobs: jobs that wait, fail, or are aborted by somebody.

Which faults strike at a job is decided when it is first come to. A fault that is deleted
meanwhile does not strike any more.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from salesforce_pipelines.local_org.admin.faults import Fault, Faults, Occasion
from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.storage.state import State
from salesforce_pipelines.local_org.storage.store import Clock

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.bulk_api.jobs import Job, Jobs


# How often a part of a job is tried ("Bulk API 2.0 and Bulk API Developer Guide").
_MOST_RETRIES = {"query": 15, "ingest": 20}


class JobFailedError(Exception):
    """A job that ends as Failed; the text is its errorMessage."""


class JobFaults:
    """What faults do to the jobs of one org."""

    def __init__(self, faults: Faults, clock: Clock, state: State) -> None:
        self._faults = faults
        self._clock = clock
        self._state = state
        self._lock = threading.Lock()
        self._struck: dict[str, tuple[float, Mapping[str, Fault]]] = {}

    def holds(self, jobs: "Jobs", job: "Job") -> bool:
        """Whether a job that is ready must not be worked on yet."""
        fault = self._fault(job, "wait")
        if fault is None:
            return False
        since = self._struck[job.id][0]
        seconds = fault["seconds"]
        if seconds is not None and self._clock().timestamp() >= since + seconds:
            return False
        if fault["state"] == "InProgress":
            jobs.move(job, "InProgress", ("UploadComplete",))
        return True

    def chunk_rows(self, job: "Job", done: int, most: int) -> int:
        """How many records of an ingest job are worked off together next; at least one."""
        fault = self._fault(job, "end")
        return max(1, min(most, fault["after_records"] - done)) if fault else most

    def end_if_due(self, jobs: "Jobs", job: "Job", done: int) -> None:
        """Abort a job that has come far enough, or let it fail.

        Raises:
            JobFailedError: It is to fail.
        """
        fault = self._fault(job, "end")
        if fault and done >= fault["after_records"]:
            self.end(jobs, job)

    def end(self, jobs: "Jobs", job: "Job") -> None:
        """Abort a job whose work is done but not its end, or let it fail.

        Raises:
            JobFailedError: It is to fail.
        """
        fault = self._fault(job, "end")
        if fault is None:
            return
        with self._lock:
            self._struck.pop(job.id, None)
        if fault.kind == "job_fails":
            if choice(self._state, "bulk_retries_of_failed_job") == "all":
                job.body["retries"] = _MOST_RETRIES[job.kind]
            raise JobFailedError(fault["message"])
        jobs.move(job, "Aborted", ("InProgress",))

    def _fault(self, job: "Job", effect: str) -> Fault | None:
        """The fault with an effect on a job, if it has not been deleted."""
        with self._lock:
            if job.id not in self._struck:
                if not self._faults.may_strike("job"):
                    return None
                occasion = Occasion(
                    sobjects=frozenset({str(job.body["object"]).lower()}),
                    user_id=str(job.private["user_id"]),
                    job=job.kind,
                )
                struck = self._faults.strike("job", occasion)
                self._struck[job.id] = (self._clock().timestamp(), struck)
            fault = self._struck[job.id][1].get(effect)
        return fault if fault and self._faults.get(fault.id) is fault else None
