"""A pull that is cut at any point goes on from there: no job and no page is asked for twice."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from salesforce_pipelines.org import reading
from salesforce_pipelines.org.reading import JobFailedError, JobTimeoutError
from salesforce_pipelines.org.writing import BULK_THRESHOLD, Update, update
from salesforce_pipelines.pull.pulling import Wanted, pull
from salesforce_pipelines_tests.local_org.conftest import unique
from salesforce_pipelines_tests.pull.mirror import PAGE_ROWS, Mirror, small_bulk_pages

pytestmark = pytest.mark.slow

TOO_MUCH = {
    "status": 400,
    "error_code": "QUERY_TIMEOUT",
    "message": "Your query request was running for too long.",
}


class CutError(Exception):
    """The process ends here."""


def cut() -> None:
    raise CutError


@pytest.fixture
def by_bulk(mirror: Mirror) -> Mirror:
    """The org, pulled by Bulk API in one page."""
    mirror.use_bulk()
    return mirror


@pytest.fixture
def by_bulk_pages(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """The org, pulled by Bulk API in pages of a hundred rows."""
    small_bulk_pages(mirror, monkeypatch)
    return mirror


class Asked:
    """What the org is asked from now on."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._before = self._shown()["total"]

    def _shown(self) -> Any:
        return self._mirror.admin.send("GET", "calls?limit=1000")

    def _number(self, method: str, ending: str) -> int:
        shown = self._shown()
        new = shown["calls"][: shown["total"] - self._before]
        return len([c for c in new if c["method"] == method and c["path"].endswith(ending)])

    @property
    def queries(self) -> int:
        """REST queries."""
        return self._number("GET", "queryAll")

    @property
    def jobs(self) -> int:
        """Bulk query jobs that were made."""
        return self._number("POST", "jobs/query")

    @property
    def pages(self) -> int:
        """Pages of results of Bulk query jobs."""
        return self._number("GET", "/results")


@contextmanager
def cut_while_waiting() -> Iterator[None]:
    """The process ends in the first pause of a job that is waited for."""
    with pytest.MonkeyPatch.context() as patch:
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: cut())
        patch.setattr(reading, "time", clock)
        yield


@contextmanager
def soon(act: Callable[[], Any]) -> Iterator[None]:
    """Do something while the org works on a job."""
    timer = threading.Timer(0.7, act)
    timer.start()
    yield
    timer.join()


def until(reached: Callable[[], bool]) -> None:
    for _ in range(100):
        if reached():
            return
        time.sleep(0.05)
    raise AssertionError("the org never got there")


# One job


@pytest.mark.parametrize("first_pull", [True, False], ids=["full", "incremental"])
def test_a_result_of_one_page_is_not_asked_for_again(by_bulk: Mirror, first_pull: bool) -> None:
    if not first_pull:
        by_bulk.pull()
        by_bulk.api.update("Contact", by_bulk.some(1)[0], Department=unique("Edited"))
        by_bulk.later()
    asked, was = Asked(by_bulk), by_bulk.log("Contact").state()
    with pytest.raises(CutError):
        by_bulk.pull(between=cut)
    assert by_bulk.log("Contact").state() == was
    report = by_bulk.pull()
    assert (report.resumed, asked.jobs, asked.pages) == (True, 1, 2)
    assert not by_bulk.query_jobs(), "what landed is deleted"
    by_bulk.assert_equal()


def test_a_full_pull_over_the_table_goes_on_though_only_changes_are_wanted(
    by_bulk: Mirror,
) -> None:
    by_bulk.pull()
    asked = Asked(by_bulk)
    with pytest.raises(CutError):
        by_bulk.pull(full=True, between=cut)
    report = by_bulk.pull()
    assert (report.full, report.resumed, asked.jobs) == (True, True, 1)
    assert report.unchanged == len(by_bulk.rows())
    assert not by_bulk.pull().full
    by_bulk.assert_equal()


def test_a_job_that_still_runs_is_waited_for_by_the_next_process(by_bulk: Mirror) -> None:
    asked, fault = Asked(by_bulk), by_bulk.admin.add_fault("job_waits", job="query")
    with cut_while_waiting(), pytest.raises(CutError):
        by_bulk.pull()
    with soon(lambda: by_bulk.admin.remove_fault(fault)):
        report = by_bulk.pull()
    assert (report.resumed, asked.jobs, asked.pages) == (True, 1, 1)
    assert report.read == len(by_bulk.rows())
    by_bulk.assert_equal()


def test_a_job_that_is_gone_before_anything_landed_is_made_anew(by_bulk: Mirror) -> None:
    with pytest.raises(CutError):
        by_bulk.pull(between=cut)
    by_bulk.forget_jobs()
    later = by_bulk.admin.now() + timedelta(hours=1)
    by_bulk.later(hours=1)
    report = by_bulk.pull()
    assert not report.resumed
    assert report.window.end > later - timedelta(minutes=5), "its window is that of today"
    by_bulk.assert_equal()


@pytest.mark.parametrize(
    ("message", "jobs"),
    [("InternalServerError : Try again later.", 1), ("QUERY_TIMEOUT", 2)],
    ids=["passing", "too much"],
)
def test_a_job_that_fails_while_nobody_waits_is_cured_as_ever(
    by_bulk: Mirror, message: str, jobs: int
) -> None:
    waits = by_bulk.admin.add_fault("job_waits", job="query")
    fails = by_bulk.admin.add_fault("job_fails", job="query", message=message)
    with cut_while_waiting(), pytest.raises(CutError):
        by_bulk.pull()
    by_bulk.admin.remove_fault(waits)
    until(lambda: by_bulk.query_jobs()[0]["state"] == "Failed")
    assert by_bulk.admin.read_fault(fails)["hits"] == 1
    asked = Asked(by_bulk)
    report = by_bulk.pull()
    assert report.read == len(by_bulk.rows())
    assert asked.jobs == jobs
    by_bulk.assert_equal()


def test_a_job_that_ends_without_a_result_leaves_nothing_to_go_on_with(by_bulk: Mirror) -> None:
    with by_bulk.admin.fault("job_aborts", job="query"), pytest.raises(JobFailedError):
        by_bulk.pull()
    assert by_bulk.log("Contact").staged() is None


# Slices


@pytest.mark.parametrize("pages_before", [0, 1, 2, 3, 4])
def test_slices_go_on_with_the_page_they_lack(by_bulk_pages: Mirror, pages_before: int) -> None:
    mirror = by_bulk_pages
    asked = Asked(mirror)
    with (
        mirror.admin.fault("error", path="queryAll", times=1, **TOO_MUCH),
        pytest.raises(CutError),
    ):
        mirror.pull(between=cut, after_pages=pages_before)
    assert len(mirror.query_jobs()) == 1, "the other half's turn has not come, or the first is over"
    report = mirror.pull()
    assert report.resumed
    assert report.read == len(mirror.rows()) == report.added + report.deleted + report.merged
    assert asked.jobs == 2
    whole, oldest, halves = 1, 1, 2
    assert asked.queries == whole + oldest + halves
    pages_of_halves = asked.pages - 1
    assert -(-report.read // PAGE_ROWS) <= pages_of_halves <= -(-report.read // PAGE_ROWS) + 1
    assert not mirror.query_jobs(), "what landed is deleted"
    mirror.assert_equal()


def test_slices_are_cut_again_and_again(by_bulk_pages: Mirror) -> None:
    mirror = by_bulk_pages
    asked = Asked(mirror)
    cuts = 0
    with mirror.admin.fault("error", path="queryAll", times=1, **TOO_MUCH):
        while mirror.log("Contact").state() is None:
            try:
                mirror.pull(between=cut, after_pages=1)
            except CutError:
                cuts += 1
    landed = asked.pages - cuts
    assert landed == cuts + 1, "each attempt landed a page, and lost the one that it was cut in"
    assert asked.jobs == 2
    mirror.assert_equal()


def test_an_incremental_pull_in_slices_goes_on(by_bulk_pages: Mirror) -> None:
    mirror = by_bulk_pages
    mirror.pull()
    for part in (mirror.some(150), mirror.some(300)[150:]):
        for one in part:
            mirror.api.update("Contact", one, Department=unique("Edited"))
        mirror.later(minutes=20)
    asked = Asked(mirror)
    with (
        mirror.admin.fault("error", path="queryAll", times=1, **TOO_MUCH),
        pytest.raises(CutError),
    ):
        mirror.pull(between=cut, after_pages=2)
    # It leaves its slice, and the window; the next pull has it.
    mirror.api.update("Contact", mirror.some(1)[0], Department=unique("Meanwhile"))
    mirror.later()
    report = mirror.pull()
    assert (report.full, report.resumed, asked.jobs) == (False, True, 2)
    mirror.pull()
    mirror.assert_equal()


def test_a_slice_whose_job_is_gone_is_asked_for_anew_and_no_other(by_bulk_pages: Mirror) -> None:
    mirror = by_bulk_pages
    jobs: set[str] = set()

    def cut_in_the_second_half() -> None:
        # The first page of the second half's job: the first half's job is deleted by then.
        (job,) = mirror.query_jobs()
        jobs.add(job["id"])
        if len(jobs) == 2:
            cut()

    with (
        mirror.admin.fault("error", path="queryAll", times=1, **TOO_MUCH),
        pytest.raises(CutError),
    ):
        pull_with(mirror, cut_in_the_second_half)
    mirror.forget_jobs()
    asked = Asked(mirror)
    report = mirror.pull()
    assert (report.resumed, asked.jobs, asked.queries) == (True, 1, 1)
    assert report.read == len(mirror.rows())
    mirror.assert_equal()


def pull_with(mirror: Mirror, landed: Callable[[], None]) -> None:
    """A pull that does something at each page."""
    wanted = Wanted("Contact", mirror.fields["Contact"])
    pull(mirror.session, mirror.log("Contact"), wanted, mirror.settings, lambda *_: landed())


def test_slices_by_rest_go_on_with_the_slice_they_lack(mirror: Mirror) -> None:
    asked = Asked(mirror)
    with (
        mirror.admin.fault("error", path="queryAll", times=1, **TOO_MUCH),
        pytest.raises(CutError),
    ):
        mirror.pull(between=cut, after_pages=1)
    assert asked.queries == 4, "the whole, the oldest stamp, two halves"
    report = mirror.pull()
    assert (report.resumed, report.channel, asked.queries) == (True, "REST", 5)
    assert report.read == len(mirror.rows()) == report.added + report.deleted + report.merged
    mirror.assert_equal()


def test_a_job_that_fails_after_a_slice_landed_does_not_stop_the_pulls_for_good(
    by_bulk_pages: Mirror,
) -> None:
    mirror = by_bulk_pages
    with (
        mirror.admin.fault("error", path="queryAll", times=1, **TOO_MUCH),
        mirror.admin.fault("job_fails", job="query", skip=1, message="InvalidBatch : Once"),
        pytest.raises(JobFailedError, match="InvalidBatch"),
    ):
        mirror.pull()
    asked = Asked(mirror)
    report = mirror.pull()
    assert (report.resumed, asked.jobs) == (True, 1)
    mirror.assert_equal()


# A field that the job does not find any more


def test_a_field_that_is_hidden_while_the_job_waits(by_bulk: Mirror) -> None:
    by_bulk.pull()
    held = {one: row["Title"] for one, row in by_bulk.rows().items()}
    fault = by_bulk.admin.add_fault("job_waits", job="query", state="UploadComplete")

    def hide() -> None:
        by_bulk.hide("Contact", "Title")
        by_bulk.admin.remove_fault(fault)

    try:
        with soon(hide):
            report = by_bulk.pull(full=True)
        assert report.fields.missing == ("Title",)
        assert {one: row["Title"] for one, row in by_bulk.rows().items()} == held
        failed = [job for job in by_bulk.query_jobs() if job["state"] == "Failed"]
        assert len(failed) == 1, "the first job told it"
    finally:
        by_bulk.hide("Contact", "Title", hidden=False)


def test_a_field_that_stays_unknown_fails_the_pull(by_bulk: Mirror) -> None:
    message = "InvalidBatch : Failed to process query: INVALID_FIELD: No such column 'X'"
    asked = Asked(by_bulk)
    with (
        by_bulk.admin.fault("job_fails", job="query", times="unlimited", message=message),
        pytest.raises(JobFailedError, match="No such column"),
    ):
        by_bulk.pull()
    assert asked.jobs == 2, "looked again once"


# Jobs that never end


def test_a_job_that_never_ends_is_aborted(by_bulk: Mirror) -> None:
    by_bulk.session.job_timeout = timedelta(seconds=0.5)
    says = r"job 750\w+ is InProgress after 0:00:00.* it was aborted.*pull\.job_timeout"
    with (
        by_bulk.admin.fault("job_waits", job="query"),
        pytest.raises(JobTimeoutError, match=says),
    ):
        by_bulk.pull()
    assert [job["state"] for job in by_bulk.query_jobs()] == ["Aborted"]
    assert by_bulk.log("Contact").staged() is None
    report = by_bulk.pull()
    assert not report.resumed
    by_bulk.assert_equal()


def test_a_job_that_cannot_be_aborted_is_gone_on_with(by_bulk: Mirror) -> None:
    by_bulk.session.job_timeout = timedelta(seconds=0.5)
    asked = Asked(by_bulk)
    refused = {"status": 400, "error_code": "API_ERROR", "message": "No"}
    with (
        by_bulk.admin.fault("job_waits", job="query"),
        by_bulk.admin.fault("error", method="PATCH", path="jobs/query/*", **refused),
        pytest.raises(JobTimeoutError, match="could not be aborted, and the next run goes on"),
    ):
        by_bulk.pull()
    by_bulk.session.job_timeout = timedelta(seconds=60)
    report = by_bulk.pull()
    assert (report.resumed, asked.jobs) == (True, 1)
    by_bulk.assert_equal()


def test_an_ingest_job_that_never_ends_is_left_alone(mirror: Mirror) -> None:
    mirror.session.job_timeout = timedelta(seconds=0.5)
    records = itertools.islice(itertools.cycle(mirror.some(100)), BULK_THRESHOLD)
    updates = [Update(one, {"Department": "Pushed"}) for one in records]
    fault = mirror.admin.add_fault("job_waits", job="ingest")
    says = r"job 750\w+ is InProgress after .* It was not aborted: .* then push again"
    with pytest.raises(JobTimeoutError, match=says):
        list(update(mirror.session, "Contact", updates))
    mirror.admin.remove_fault(fault)

    def state() -> str:
        jobs = mirror.admin.send("GET", "jobs")["jobs"]
        return next(job["state"] for job in jobs if job["operation"] == "update")  # type: ignore[no-any-return]

    until(lambda: state() == "JobComplete")
