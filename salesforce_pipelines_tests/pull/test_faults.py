"""Whatever the org or the network does to a pull: the table is right, or as it was before."""

import signal
import subprocess
import sys
from typing import Any

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.errors import OrgUnreachableError, SalesforceError
from salesforce_pipelines.org.reading import RowCountError, UnsoundResultsError
from salesforce_pipelines_tests.local_org.conftest import unique
from salesforce_pipelines_tests.pull.mirror import (
    PAGE_ROWS,
    Mirror,
    session_of,
    small_bulk_pages,
)

pytestmark = pytest.mark.slow

RESULTS = "jobs/query/*/results"


@pytest.fixture(params=[False, True], ids=["REST", "Bulk API 2.0"])
def by_both(
    mirror: Mirror, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Mirror:
    """The org, pulled in several pages by either API."""
    mirror.use_rest_pages(200)
    if request.param:
        small_bulk_pages(mirror, monkeypatch)
    return mirror


@pytest.fixture
def by_bulk(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """The org, pulled in several pages by Bulk API."""
    small_bulk_pages(mirror, monkeypatch)
    return mirror


class Calls:
    """The calls that the org gets from now on."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._before = self._shown()["total"]

    def _shown(self) -> Any:
        return self._mirror.admin.send("GET", "calls?limit=1000")

    def of(self, method: str, ending: str) -> int:
        """How many there were with this method and end of the path."""
        shown = self._shown()
        new = shown["calls"][: shown["total"] - self._before]
        return len([c for c in new if c["method"] == method and c["path"].endswith(ending)])

    @property
    def pages(self) -> int:
        """Requests for a page of results."""
        return self.of("GET", "/results")

    @property
    def jobs(self) -> int:
        """Query jobs that were made."""
        return self.of("POST", "jobs/query")


# What passes, and is not noticed


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("server_unavailable", {"times": 2}),
        ("unknown_exception", {"times": 2}),
        ("html_page", {"status": 503, "times": 2}),
        ("concurrency_limit", {"times": 2}),
        ("session_expired", {"times": 1}),
        ("cut", {"after_bytes": 0, "times": 2}),
        ("cut", {"fraction": 0.5, "times": 2}),
        ("slow", {"delay_seconds": 0.3, "times": 2}),
    ],
)
@pytest.mark.parametrize("skip", [0, 2])
def test_a_fault_that_passes_is_not_noticed(
    by_both: Mirror, kind: str, options: dict[str, Any], skip: int
) -> None:
    fault = by_both.admin.add_fault(kind, path="**", skip=skip, **options)
    report = by_both.pull()
    assert by_both.admin.read_fault(fault)["hits"] == options["times"]
    assert report.read == len(by_both.rows())
    by_both.assert_equal()


def test_a_page_that_breaks_off_is_fetched_again_and_no_other(by_bulk: Mirror) -> None:
    calls = Calls(by_bulk)
    with by_bulk.admin.fault("cut", path=RESULTS, fraction=0.5, skip=1):
        report = by_bulk.pull()
    pages = -(-report.read // PAGE_ROWS)
    assert calls.pages == pages + 1
    assert not by_bulk.query_jobs(), "what landed is deleted"
    by_bulk.assert_equal()


# What ends the pull


def refusing(mirror: Mirror, fails: type[Exception], says: str, **options: Any) -> None:
    """A pull that fails, once the table is there, changes nothing; the next one is right."""
    mirror.pull()
    before = mirror.log("Contact").state()
    rows = mirror.rows()
    mirror.api.update("Contact", mirror.some(1)[0], Department=unique("While it failed"))
    mirror.later()
    kind = options.pop("kind")
    with mirror.admin.fault(kind, **options), pytest.raises(fails, match=says):
        mirror.pull(full=True)
    assert mirror.log("Contact").state() == before
    assert mirror.rows() == rows
    mirror.pull()
    mirror.assert_equal()


@pytest.mark.parametrize(
    ("kind", "fails", "says"),
    [
        ("daily_limit", SalesforceError, "REQUEST_LIMIT_EXCEEDED.*daily allowance"),
        ("api_disabled", SalesforceError, "API_DISABLED_FOR_ORG"),
        ("server_unavailable", SalesforceError, "SERVER_UNAVAILABLE"),
        ("html_page", SalesforceError, "HTTP_503"),
        ("cut", OrgUnreachableError, "broke|no answer|ChunkedEncodingError|ConnectionError"),
    ],
)
def test_a_fault_that_stays_fails_the_pull_and_nothing_else(
    by_both: Mirror, kind: str, fails: type[Exception], says: str
) -> None:
    more = {"fraction": 0.5} if kind == "cut" else {}
    # In mid pull: the second REST page, or the second page of results.
    path = RESULTS if by_both.settings.bulk_threshold == 1 else "query/*"
    refusing(by_both, fails, says, kind=kind, path=path, skip=1, times="unlimited", **more)


@pytest.mark.parametrize(
    ("kind", "options", "fails", "says"),
    [
        (
            "job_fails",
            {"job": "query", "times": 2},
            PipelineError,
            "ended as Failed: InternalServerError",
        ),
        ("job_aborts", {"job": "query"}, PipelineError, "ended as Aborted"),
        ("row_count_mismatch", {"in": "job"}, RowCountError, r"promised \d+ rows and \d+ landed"),
        ("row_count_mismatch", {"in": "header"}, RowCountError, "promised 101 rows and 100"),
        ("row_count_mismatch", {"in": "both"}, RowCountError, "promised 101 rows and 100"),
        ("truncated_results", {"missing_rows": 1}, RowCountError, "promised 100 rows and 99"),
        (
            "truncated_results",
            {"after_bytes": 5000},
            UnsoundResultsError,
            "nothing of them is kept",
        ),
        (
            "result_page_fails",
            {"from_record": 150, "times": "unlimited"},
            SalesforceError,
            "UNKNOWN",
        ),
    ],
)
def test_a_bulk_job_that_goes_wrong_fails_the_pull_and_nothing_else(
    by_bulk: Mirror, kind: str, options: dict[str, Any], fails: type[Exception], says: str
) -> None:
    refusing(by_bulk, fails, says, kind=kind, **options)


def test_a_job_that_fails_in_passing_is_started_once_more(by_bulk: Mirror) -> None:
    calls = Calls(by_bulk)
    with by_bulk.admin.fault("job_fails", job="query"):
        report = by_bulk.pull()
    assert calls.jobs == 2
    assert report.read == len(by_bulk.rows())
    by_bulk.assert_equal()


def test_results_that_are_wrong_are_never_gone_on_with(by_bulk: Mirror) -> None:
    with by_bulk.admin.fault("row_count_mismatch", **{"in": "job"}), pytest.raises(RowCountError):
        by_bulk.pull()
    assert by_bulk.log("Contact").staged() is None
    assert by_bulk.log("Contact").state() is None
    report = by_bulk.pull()
    assert (report.resumed, report.read) == (False, len(by_bulk.rows()))
    by_bulk.assert_equal()


def test_results_that_vanish_while_they_are_read_are_asked_for_anew(by_bulk: Mirror) -> None:
    calls = Calls(by_bulk)

    def vanish() -> None:
        for job in by_bulk.query_jobs():
            by_bulk.api.send("DELETE", f"jobs/query/{job['id']}", None, 204)

    report = by_bulk.pull(between=vanish)
    assert calls.jobs == 2
    assert report.read == len(by_bulk.rows())
    by_bulk.assert_equal()


def test_results_that_are_never_there_fail_the_pull(by_bulk: Mirror) -> None:
    refusing(by_bulk, PipelineError, "no longer has the results", kind="results_gone")


# An interrupted pull goes on


def test_a_pull_that_failed_goes_on_with_the_page_it_lacks(by_bulk: Mirror) -> None:
    with (
        by_bulk.admin.fault("daily_limit", path=RESULTS, skip=2),
        pytest.raises(SalesforceError, match="REQUEST_LIMIT"),
    ):
        by_bulk.pull()
    (job,) = by_bulk.query_jobs()
    # What happens meanwhile is not in the results, and is the next pull's.
    edited = by_bulk.some(1)[0]
    by_bulk.api.update("Contact", edited, Department=unique("Meanwhile"))
    by_bulk.later(hours=1)
    calls = Calls(by_bulk)
    report = by_bulk.pull()
    assert report.resumed
    assert calls.pages == -(-report.read // PAGE_ROWS) - 2
    assert report.read == len(by_bulk.rows()) == report.added + report.deleted + report.merged
    assert job["id"] not in {one["id"] for one in by_bulk.query_jobs()}
    after = by_bulk.pull()
    assert (after.full, after.changed) == (False, 1)
    by_bulk.assert_equal()


KILLED = """
import os, signal, sys
from pathlib import Path
from salesforce_pipelines.org import reading
from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.pull.mirror import FIELDS, PAGE_ROWS, session_of
from salesforce_pipelines.config.models import Pull
from salesforce_pipelines.pull.pulling import Wanted, pull
from salesforce_pipelines.store.tables import Tables

url, client_id, client_secret, folder, pages = sys.argv[1:]
reading._LARGEST_BULK_PAGE = reading._SMALLEST_BULK_PAGE = PAGE_ROWS
org = RunningOrg(url, client_id, client_secret, Path(folder), None)
settings = Pull.model_validate({"lag": "60s", "overlap": "10m", "bulk_threshold": 1})
left = int(pages)

def die(rows, expected):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

pull(session_of(org), Tables(Path(folder)).log("pulled/contacts"),
     Wanted("Contact", FIELDS["Contact"]), settings, die)
"""


def killed_after(mirror: Mirror, pages: int) -> None:
    """A pull in a process that is killed while it lands the page after so many."""
    org = mirror.running
    arguments = [org.url, org.client_id, org.client_secret, str(mirror.folder), str(pages)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("first_pull", [True, False], ids=["full", "incremental"])
def test_a_killed_process_is_gone_on_with_page_by_page(by_bulk: Mirror, first_pull: bool) -> None:
    if not first_pull:
        by_bulk.pull()
        for one in by_bulk.some(330):
            by_bulk.api.update("Contact", one, Department=unique("Edited"))
        by_bulk.later()
    calls, was = Calls(by_bulk), by_bulk.log("Contact").state()
    killed_after(by_bulk, 1)
    assert by_bulk.log("Contact").state() == was
    (job,) = by_bulk.query_jobs()
    killed_after(by_bulk, 2)
    assert by_bulk.log("Contact").state() == was
    report = by_bulk.pull()
    assert report.resumed
    assert by_bulk.log("Contact").state() != was
    assert calls.jobs == 1, "one query job for all three"
    # The page that each of the two was killed in is asked for again.
    assert calls.pages == -(-report.read // PAGE_ROWS) + 2
    assert job["id"] not in {one["id"] for one in by_bulk.query_jobs()}
    by_bulk.assert_equal()


@pytest.mark.parametrize("how", ["job", "results"])
def test_a_killed_pull_whose_results_are_gone_starts_anew(by_bulk: Mirror, how: str) -> None:
    killed_after(by_bulk, 2)
    (job,) = by_bulk.query_jobs()
    if how == "job":
        by_bulk.api.send("DELETE", f"jobs/query/{job['id']}", None, 204)
    fault = by_bulk.admin.add_fault("results_gone", times=1) if how == "results" else None
    report = by_bulk.pull()
    assert fault is None or by_bulk.admin.read_fault(fault)["hits"] == 1
    assert (report.resumed, report.read) == (False, len(by_bulk.rows()))
    by_bulk.assert_equal()


def test_what_an_interrupted_pull_left_is_not_taken_for_another_one(by_bulk: Mirror) -> None:
    killed_after(by_bulk, 2)
    by_bulk.fields["Contact"] = [*by_bulk.fields["Contact"], "Email"]
    report = by_bulk.pull()
    assert not report.resumed
    by_bulk.assert_equal()


def test_a_session_is_renewed_in_the_middle_of_a_job(by_bulk: Mirror) -> None:
    def expire() -> None:
        assert by_bulk.admin.expire_sessions() > 0

    report = by_bulk.pull(between=expire)
    assert report.read == len(by_bulk.rows())


def test_a_slow_page_is_not_given_up_while_it_comes(
    by_bulk: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = session_of(by_bulk.running)
    monkeypatch.setattr(by_bulk.session, "_http", quick._http)
    with by_bulk.admin.fault("slow", path=RESULTS, bytes_per_second=40_000):
        by_bulk.pull()
    by_bulk.assert_equal()
    quick.close()
