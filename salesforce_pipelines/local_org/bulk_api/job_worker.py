"""The threads that work off Bulk jobs."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from salesforce_pipelines.local_org.admin.job_faults import JobFailedError
from salesforce_pipelines.local_org.bulk_api import bulk_ingest, bulk_query
from salesforce_pipelines.local_org.bulk_api.jobs import Job, Jobs
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.org import Org

_LOG = logging.getLogger(__name__)


class JobWorker:
    """Two threads that work off what waits: one for queries, one for ingest jobs."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._threads = [
            threading.Thread(target=self._run, args=(kind, work), daemon=True, name=f"bulk-{kind}")
            for kind, work in (
                ("query", bulk_query.run_query_job),
                ("ingest", bulk_ingest.run_ingest_job),
            )
        ]

    def start(self) -> None:
        """Begin to work, first on what an earlier run of the server left."""
        Jobs(self._org).delete_expired()
        self._count_earlier_queries()
        for thread in self._threads:
            thread.start()

    def _count_earlier_queries(self) -> None:
        """Let the jobs of an earlier run of the server count against the daily limits."""
        limits, jobs = self._org.limits, Jobs(self._org)
        for job in jobs.all("query"):
            made = datetime.fromisoformat(job.body["createdDate"])
            limits.bulk_query_jobs.add(1, made)
            if (result := jobs.file(job, "csv")).exists():
                limits.bulk_query_bytes.add(result.stat().st_size, made)

    def stop(self) -> None:
        """Stop after the chunk at hand; an interrupted job goes on at the next start."""
        self._org.stopping.set()
        for waits in self._org.work_waits.values():
            waits.set()
        for thread in self._threads:
            thread.join()

    def _run(self, kind: str, work: Callable[[Org, Jobs, Job], None]) -> None:
        jobs = Jobs(self._org)
        while not self._org.stopping.is_set():
            job = self._next(jobs, kind)
            if job is None:
                self._org.work_waits[kind].wait(0.5)
                self._org.work_waits[kind].clear()
                continue
            self._work(jobs, job, work)

    def _next(self, jobs: Jobs, kind: str) -> Job | None:
        """The oldest job that is ready and that no fault holds."""
        held: list[str] = []
        while (job := jobs.waiting(kind, held)) and self._org.job_faults.holds(jobs, job):
            held.append(job.id)
        return job

    def _work(self, jobs: Jobs, job: Job, work: Callable[[Org, Jobs, Job], None]) -> None:
        if not jobs.move(job, "InProgress", ("UploadComplete", "InProgress")):
            return
        started = time.monotonic()
        state = "JobComplete"
        try:
            self._org.late_rows.catch_up()
            work(self._org, jobs, job)
            if not self._org.stopping.is_set():
                self._org.job_faults.end(jobs, job)
        except (bulk_ingest.InvalidBatchError, JobFailedError) as error:
            state, job.body["errorMessage"] = "Failed", str(error)
        except ApiError as error:
            state, job.body["errorMessage"] = "Failed", f"{error.code} : {error.message}"
        except Exception as error:  # noqa: BLE001  # the thread must live on
            _LOG.warning("bulk %s job failed: %s", job.kind, type(error).__name__)
            state, job.body["errorMessage"] = "Failed", "InternalServerError : unexpected error"
        if self._org.stopping.is_set() and state == "JobComplete":
            return
        job.private["milliseconds"] = int((time.monotonic() - started) * 1000)
        jobs.save(job)
        jobs.move(job, state, ("InProgress",))
