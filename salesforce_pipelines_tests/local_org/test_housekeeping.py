"""What becomes of an org by the mere passing of time."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from salesforce_pipelines.local_org import housekeeping
from salesforce_pipelines.local_org.bulk_api.jobs import Jobs
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines_tests.local_org.conftest import Api, api_of


@pytest.fixture(scope="module")
def own_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    with running_org(tmp_path_factory.mktemp("time") / "home") as running:
        yield running


@pytest.fixture
def own(own_org: RunningOrg) -> Iterator[Api]:
    own_org.admin.reset_clock()
    client = api_of(own_org)
    with client.session:
        yield client
    own_org.admin.reset_clock()


def test_a_deleted_record_is_gone_as_soon_as_its_days_are_over(
    own_org: RunningOrg, own: Api
) -> None:
    contact = own.create("Contact", LastName="x")
    own.delete("Contact", contact)
    soql = f"SELECT Id FROM Contact WHERE Id = '{contact}'"
    assert own.records(soql, "queryAll")
    own_org.admin.move_clock(days=17)
    later = api_of(own_org)
    with later.session:
        assert later.records(soql, "queryAll") == []


def test_an_ingest_job_that_nobody_closes_fails_after_a_day(own_org: RunningOrg, own: Api) -> None:
    body = {"object": "Contact", "operation": "insert", "contentType": "CSV"}
    job = own.send("POST", "jobs/ingest", body, 200)["id"]
    own_org.admin.move_clock(hours=23)
    later = api_of(own_org)
    with later.session:
        assert later.get(f"jobs/ingest/{job}")["state"] == "Open"
    own_org.admin.move_clock(hours=2)
    later = api_of(own_org)
    with later.session:
        shown = later.get(f"jobs/ingest/{job}")
        assert shown["state"] == "Failed"
        assert "was not closed within 24 hours" in shown["errorMessage"]
        later.send("PATCH", f"jobs/ingest/{job}", {"state": "UploadComplete"}, 400)


def test_housekeeping_goes_on_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build_home(tmp_path / "home", 1, tuple)
    org = Org(tmp_path / "home", Settings())
    done: list[str] = []

    def failing(jobs: Jobs) -> None:
        done.append("jobs")
        raise OSError("the disk is full")

    def purging(org: Org) -> None:
        done.append("purge")
        if done.count("purge") == 2:
            org.stopping.set()
        org.work_waits["housekeeping"].set()

    monkeypatch.setattr(Jobs, "delete_expired", failing)
    monkeypatch.setattr(housekeeping, "purge", purging)
    with caplog.at_level(logging.WARNING):
        housekeeper = housekeeping.Housekeeper(org)
        housekeeper.start()
        housekeeper.join(10)
    assert not housekeeper.is_alive()
    assert done == ["jobs", "purge"] * 2
    assert "housekeeping failed: OSError" in caplog.text
    assert "disk" not in caplog.text
    org.close()
