"""Bulk API 2.0 jobs as the platform remembers them."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.errors import not_found
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.rest.records import rest_datetime
from salesforce_pipelines.local_org.storage.ids import is_id, to_18
from salesforce_pipelines.local_org.storage.store import stamp

KEY_PREFIX = "750"
_KEPT_DAYS, _OPEN_HOURS = 7, 24
TERMINAL = frozenset({"JobComplete", "Failed", "Aborted"})
DELIMITERS = {
    "BACKQUOTE": "`",
    "CARET": "^",
    "COMMA": ",",
    "PIPE": "|",
    "SEMICOLON": ";",
    "TAB": "\t",
}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}


@dataclass
class Job:
    """One job.

    Attributes:
        kind: query or ingest.
        body: What the API shows of it, without its state.
        private: What only the server needs, such as the query's text.
    """

    id: str
    kind: str
    state: str
    body: dict[str, Any]
    private: dict[str, Any]

    @property
    def delimiter(self) -> str:
        """The character between two cells of its CSV."""
        return DELIMITERS[self.body["columnDelimiter"]]

    @property
    def line_ending(self) -> str:
        """The end of a line of its CSV."""
        return LINE_ENDINGS[self.body["lineEnding"]]


class Jobs:
    """The jobs of one org."""

    def __init__(self, org: Org) -> None:
        self._org = org

    def file(self, job: Job, suffix: str) -> Path:
        """Where a job keeps one of its files."""
        return self._org.spool / "jobs" / f"{job.id}.{suffix}"

    def add(self, kind: str, state: str, body: dict[str, Any], private: dict[str, Any]) -> Job:
        """Remember a new job."""
        ((number,),) = self._org.state.rows("INSERT INTO job DEFAULT VALUES RETURNING number")
        job_id = self._org.store.ids.record_id(KEY_PREFIX, number)
        now = rest_datetime(self._org.store.now())
        body = {"id": job_id, **body, "createdDate": now, "systemModstamp": now}
        self._org.state.rows(
            "UPDATE job SET id = ?, kind = ?, state = ?, body = ? WHERE number = ?",
            [job_id, kind, state, json.dumps([body, private]), number],
        )
        return Job(job_id, kind, state, body, private)

    def get(self, kind: str, job_id: str) -> Job:
        """A job by its id.

        Raises:
            ApiError: NOT_FOUND.
        """
        wanted = to_18(job_id) if is_id(job_id) else ""
        rows = self._org.state.rows(
            "SELECT id, kind, state, body FROM job WHERE id = ? AND kind = ?", [wanted, kind]
        )
        if not rows:
            raise not_found()
        return _job(rows[0])

    def all(self, kind: str) -> list[Job]:
        """Every job of a kind, the newest first."""
        rows = self._org.state.rows(
            "SELECT id, kind, state, body FROM job WHERE kind = ? ORDER BY number DESC", [kind]
        )
        return [_job(row) for row in rows]

    def waiting(self, kind: str, besides: Collection[str] = ()) -> Job | None:
        """The oldest job that is ready to be worked on, besides those with certain ids."""
        marks = ", ".join("?" for _ in besides)
        rows = self._org.state.rows(
            "SELECT id, kind, state, body FROM job WHERE kind = ?"
            f" AND state IN ('UploadComplete', 'InProgress') AND id NOT IN ({marks})"
            " ORDER BY number LIMIT 1",
            [kind, *besides],
        )
        return _job(rows[0]) if rows else None

    def move(self, job: Job, state: str, only_from: tuple[str, ...]) -> bool:
        """Change a job's state if it is in one of those states; False if it is not."""
        marks = ", ".join("?" for _ in only_from)
        rows = self._org.state.rows(
            f"UPDATE job SET state = ? WHERE id = ? AND state IN ({marks}) RETURNING id",
            [state, job.id, *only_from],
        )
        if rows:
            job.state = state
        return bool(rows)

    def take_upload(self, job: Job, upload: Path) -> bool:
        """Make a file the upload of an open job; False if it is not open, or has one already."""
        now = rest_datetime(self._org.store.now())
        with self._org.state.transaction() as connection:
            taken = connection.execute(
                "UPDATE job SET body ="
                " json_set(body, '$[1].uploaded', json('true'), '$[0].systemModstamp', ?)"
                " WHERE id = ? AND state = 'Open' AND NOT json_extract(body, '$[1].uploaded')",
                [now, job.id],
            ).rowcount
            if taken:
                upload.replace(self.file(job, "upload"))
        return bool(taken)

    def save(self, job: Job) -> None:
        """Remember what the API shows of a job, but not its state."""
        job.body["systemModstamp"] = rest_datetime(self._org.store.now())
        self._org.state.rows(
            "UPDATE job SET body = ? WHERE id = ?", [json.dumps([job.body, job.private]), job.id]
        )

    def is_aborted(self, job: Job) -> bool:
        """Whether somebody has aborted or deleted a job meanwhile."""
        rows = self._org.state.rows("SELECT state FROM job WHERE id = ?", [job.id])
        return not rows or rows[0][0] == "Aborted"

    def delete_expired(self) -> None:
        """Forget the jobs whose results need not be kept any longer."""
        oldest = stamp(self._org.store.clock() - timedelta(days=_KEPT_DAYS))
        for kind in ("query", "ingest"):
            for job in self.all(kind):
                if job.body["createdDate"] < oldest:
                    self.delete(job)

    def fail_left_open(self) -> None:
        """End the ingest jobs that nobody has closed within 24 hours, the limit of Bulk API 2.0."""
        chosen = choice(self._org.state, "bulk_ingest_left_open")
        if chosen == "open":
            return
        oldest = stamp(self._org.store.clock() - timedelta(hours=_OPEN_HOURS))
        for job in self.all("ingest"):
            is_late = job.state == "Open" and job.body["createdDate"] < oldest
            if is_late and chosen == "aborted":
                self.move(job, "Aborted", ("Open",))
            elif is_late and self.move(job, "Failed", ("Open",)):
                job.body["errorMessage"] = (
                    f"InvalidJobState : The job was not closed within {_OPEN_HOURS} hours"
                )
                self.save(job)

    def delete(self, job: Job) -> None:
        """Forget a job and remove its files."""
        self._org.state.rows("DELETE FROM job WHERE id = ?", [job.id])
        for path in (self._org.spool / "jobs").glob(f"{job.id}.*"):
            path.unlink(missing_ok=True)


def _job(row: tuple[Any, ...]) -> Job:
    body, private = json.loads(row[3])
    return Job(row[0], row[1], row[2], body, private)
