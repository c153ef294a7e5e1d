"""Queries that are too much for the org, that lose their place, and jobs that fail in passing."""

from typing import Any

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines.pull.pulling import PullReport, Wanted, pull
from salesforce_pipelines_tests.conftest import Project, Start

pytestmark = pytest.mark.slow
TIMEOUT = {
    "status": 400,
    "error_code": "QUERY_TIMEOUT",
    "message": "Your query request was running for too long.",
}


@pytest.fixture
def bulk(start: Start, shipped: dict[str, Any]) -> Project:
    """An installation that reads everything by Bulk API 2.0."""
    return start(pull={**shipped["pull"], "bulk_threshold": 1})


def pull_contacts(project: Project, **wanted: Any) -> PullReport:
    log = project.tables.log("pulled/contacts")
    fields = project.pipelines.fields_of("Contact")
    return pull(project.org, log, Wanted("Contact", fields, **wanted), project.pipelines.pull)


def ids(project: Project) -> list[str]:
    rows = project.tables.log("pulled/contacts").current(["Id"]).read_all()
    return sorted(rows.column("Id").to_pylist())


def ids_of_the_org(project: Project) -> list[str]:
    return sorted(row["Id"] for row in project.query("SELECT Id FROM Contact"))


@pytest.mark.parametrize("code", ["QUERY_TIMEOUT", "OPERATION_TOO_LARGE"])
def test_a_full_pull_that_is_too_much_is_read_in_halves(
    project: Project, local_org: RunningOrg, code: str
) -> None:
    fault = TIMEOUT | {"error_code": code}
    with local_org.admin.fault("error", path="queryAll", times=1, **fault):
        report = pull_contacts(project)
    assert report.full
    assert report.read == report.landed == len(ids_of_the_org(project))
    assert ids(project) == ids_of_the_org(project)
    assert report.api_calls == 1 + 1 + 1 + 2, "describe, too much, the oldest stamp, two halves"


def test_halves_of_halves(project: Project, local_org: RunningOrg) -> None:
    admin = local_org.admin
    with (
        admin.fault("error", path="queryAll", times=1, **TIMEOUT),
        # The next query looks for the oldest stamp; the one after it is the first half.
        admin.fault("error", path="queryAll", skip=1, times=1, **TIMEOUT),
    ):
        report = pull_contacts(project)
    assert ids(project) == ids_of_the_org(project)
    assert report.read == len(ids_of_the_org(project))


def test_an_incremental_pull_that_is_too_much_is_read_in_halves(
    project: Project, local_org: RunningOrg
) -> None:
    pull_contacts(project)
    contact = ids(project)[0]
    project.edit("Contact", contact, Department="Halved")
    local_org.admin.move_clock(minutes=5)
    with local_org.admin.fault("error", path="queryAll", times=1, **TIMEOUT):
        report = pull_contacts(project)
    assert not report.full
    rows = project.tables.log("pulled/contacts").current(["Id", "Department"]).read_all()
    departments = {row["Id"]: row["Department"] for row in rows.to_pylist()}
    assert departments[contact] == "Halved"
    assert report.api_calls == 1 + 1 + 2, "describe, too much, two halves of the window"


def test_a_bulk_job_that_is_too_much_is_read_in_halves(
    bulk: Project, local_org: RunningOrg
) -> None:
    message = "InternalServerError : Retried too often. Last error was: QUERY_TIMEOUT"
    with local_org.admin.fault("job_fails", job="query", times=1, message=message):
        report = pull_contacts(bulk)
    assert report.channel == "Bulk API 2.0"
    assert ids(bulk) == ids_of_the_org(bulk)
    jobs = bulk.org.get("jobs/query")["records"]
    assert [job["state"] for job in jobs] == ["Failed"], "those that were read are deleted"


def test_a_job_that_fails_in_passing_is_started_once_more(
    bulk: Project, local_org: RunningOrg
) -> None:
    with local_org.admin.fault("job_fails", job="query", times=1):
        pull_contacts(bulk)
    assert ids(bulk) == ids_of_the_org(bulk)


def test_a_job_that_fails_again_is_told(bulk: Project, local_org: RunningOrg) -> None:
    with (
        local_org.admin.fault("job_fails", job="query", times=2),
        pytest.raises(PipelineError, match="Unable to complete the job"),
    ):
        pull_contacts(bulk)


def test_a_job_that_cannot_succeed_is_not_started_again(
    bulk: Project, local_org: RunningOrg
) -> None:
    admin, message = local_org.admin, "InvalidBatch : Field name not found : Foo__c"
    fault = admin.add_fault("job_fails", job="query", times="unlimited", message=message)
    try:
        with pytest.raises(PipelineError, match="InvalidBatch"):
            pull_contacts(bulk)
        assert admin.read_fault(fault)["hits"] == 1
    finally:
        admin.remove_fault(fault)


def test_a_lost_cursor_restarts_the_query(
    project: Project, local_org: RunningOrg, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The local org's pages follow the client's wish; Salesforce's are 2,000 rows.
    request = project.org.request

    def in_small_pages(*args: Any, **options: Any) -> Any:
        headers = {**(options.pop("headers", None) or {}), "Sforce-Query-Options": "batchSize=200"}
        return request(*args, headers=headers, **options)

    monkeypatch.setattr(project.org, "request", in_small_pages)
    lost = {"status": 400, "error_code": "INVALID_QUERY_LOCATOR", "message": "invalid locator"}
    with local_org.admin.fault("error", path="query/*", times=1, **lost):
        report = pull_contacts(project)
    assert ids(project) == ids_of_the_org(project)
    assert report.read == report.added + report.deleted + report.merged


def test_results_that_are_gone_in_the_middle_are_read_anew(
    bulk: Project, local_org: RunningOrg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salesforce_pipelines.org.reading._LARGEST_BULK_PAGE", 100)
    monkeypatch.setattr("salesforce_pipelines.org.reading._SMALLEST_BULK_PAGE", 100)
    gone = {"status": 404, "error_code": "NOT_FOUND", "message": "gone"}
    with local_org.admin.fault("result_page_fails", from_record=200, times=1, **gone):
        pull_contacts(bulk)
    assert ids(bulk) == ids_of_the_org(bulk)
