"""Pulls stay within their share of the API; what fails or waits goes on with the last good data."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.org.budget import DailyLimitError
from salesforce_pipelines.org.errors import SalesforceError
from salesforce_pipelines.pull.pulling import watermark_of
from salesforce_pipelines.store import api_calls
from salesforce_pipelines_tests.conftest import CONTACTS, LEADS, SEED, Project, Start, why

pytestmark = pytest.mark.slow
PULLED = ["pulled/contacts", "pulled/leads"]


@pytest.fixture
def local_org(tmp_path: Path) -> Iterator[RunningOrg]:
    """An org of its own for every test, of 15,000 calls a day: these use them up."""
    with running_org(tmp_path / "org", contacts=CONTACTS, leads=LEADS, seed=SEED) as org:
        org.admin.set_limits(daily_api_calls=15_000)
        yield org


def materialised(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    return {
        event.materialization.asset_key.to_user_string(): {
            key: value.value for key, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }


def check(result: dg.ExecuteInProcessResult, asset: str, name: str) -> dg.AssetCheckEvaluation:
    found = {
        (one.asset_key.to_user_string(), one.check_name): one
        for one in result.get_asset_check_evaluations()
    }
    return found[asset, name]


def calls_in_ledger(project: Project) -> int:
    since = datetime.now(UTC) - timedelta(hours=24)
    return sum(api_calls.by_hour(project.ledger, since).values())


def test_every_call_of_every_step_is_in_the_ledger(project: Project, local_org: RunningOrg) -> None:
    found = project.run("sync")
    assert calls_in_ledger(project) == project.org.api_calls
    assert calls_in_ledger(project) == local_org.admin.limits()["api_calls_used"]
    pulled = found["pulled/contacts"]
    assert pulled["api_calls"] == pulled["api_calls_estimated"] == 2
    used, allowed = project.org.api_usage or (0, 0)
    assert 0 < pulled["api_budget_left"] <= allowed // 2
    assert used == project.org.api_calls


def test_calls_of_a_step_that_failed_count_as_well(project: Project, local_org: RunningOrg) -> None:
    with local_org.admin.fault("error", path="queryAll", status=400, error_code="X", message="x"):
        assert not project.attempt("pull", "pulled/contacts").success
    assert calls_in_ledger(project) == project.org.api_calls > 0


def test_the_first_pull_is_mandatory(project: Project, local_org: RunningOrg) -> None:
    with local_org.admin.fault("daily_limit", path="queryAll"):
        result = project.attempt("sync")
    assert not result.success
    assert "REQUEST_LIMIT_EXCEEDED" in why(result)
    assert "within 24 hours" in why(result)
    assert "identifiers/contacts" not in materialised(result)


def test_an_org_that_refuses_every_call_is_told_with_the_same_words(
    project: Project, local_org: RunningOrg
) -> None:
    with local_org.admin.fault("daily_limit", path="**"):
        result = project.attempt("pull", "pulled/contacts")
    assert "REQUEST_LIMIT_EXCEEDED" in why(result)
    assert "It can go on within 24 hours" in why(result)


def test_the_daily_limit_on_contacts_stops_neither_leads_nor_what_is_built_on_contacts(
    project: Project, local_org: RunningOrg
) -> None:
    project.run("sync")
    log = project.tables.log("pulled/contacts")
    before, rows = watermark_of(log), log.count()
    lead = project.query("SELECT Id FROM Lead WHERE IsConverted = false LIMIT 1")[0]["Id"]
    project.edit("Lead", lead, Rating="Hot")
    time.sleep(1.1)
    with local_org.admin.fault("daily_limit", path="sobjects/Contact/describe", times=1):
        result = project.attempt("sync")
    found = materialised(result)

    assert not result.success, "the run shows red"
    assert "pulling Contact failed" in why(result)
    assert "It can go on" in why(result)
    failed = check(result, "pulled/contacts", "pulled_now")
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check(result, "pulled/leads", "pulled_now").passed

    told = found["pulled/contacts"]
    assert told["pull"] == "failed"
    assert "REQUEST_LIMIT_EXCEEDED" in told["error"]
    assert told["stale_since"] == before.timestamp() if before else False
    assert (watermark_of(log), log.count()) == (before, rows)
    assert found["pulled/leads"]["changed"] == 1

    for built in ("identifiers", "matches", "enrichment_plan", "push_plan"):
        assert found[f"{built}/contacts"]["contacts_as_of"] == told["stale_since"]
        assert found[f"{built}/leads"]["leads_as_of"] > told["stale_since"]
    assert found["referrals/spring/members"]["contacts_age"].endswith("min")

    again = project.attempt("sync")
    assert again.success
    assert check(again, "pulled/contacts", "pulled_now").passed


def test_a_concurrency_limit_passes_by_itself(project: Project, local_org: RunningOrg) -> None:
    with local_org.admin.fault("concurrency_limit", path="queryAll", times=2):
        assert project.run("pull", "pulled/contacts")["pulled/contacts"]["added"] > 0


def test_a_pull_over_the_budget_is_held_back_and_loses_nothing(
    start: Start, shipped: dict[str, Any], local_org: RunningOrg
) -> None:
    project = start(api_budget={"share": 0.02, "floor": 0})  # 300 of 15,000
    project.run("pull", *PULLED)
    before = watermark_of(project.tables.log("pulled/contacts"))
    contact = project.query("SELECT Id FROM Contact WHERE IsDeleted = false LIMIT 1")[0]["Id"]
    project.edit("Contact", contact, Department="Moved")
    time.sleep(1.1)
    yesterday = datetime.now(UTC) - timedelta(hours=20)
    api_calls.record(project.ledger, 300, at=yesterday, usage=None)

    result = project.attempt("pull", *PULLED)
    assert result.success, "a pull that waits is no failure"
    told = materialised(result)["pulled/contacts"]
    assert told["pull"] == "held back"
    free = yesterday.replace(minute=0) + timedelta(hours=25)
    assert f"It can go on at {free:%Y-%m-%d %H:%M} UTC" in told["error"]
    assert "of its 300" in told["error"]
    held_back = check(result, "pulled/contacts", "pulled_now")
    assert (held_back.passed, held_back.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert watermark_of(project.tables.log("pulled/contacts")) == before

    api_calls.record(project.ledger, -300, at=yesterday, usage=None)
    assert project.run("pull", "pulled/contacts")["pulled/contacts"]["changed"] == 1


def test_a_first_pull_over_the_budget_says_when_it_can_begin(start: Start) -> None:
    project = start(api_budget={"share": 0.0001, "floor": 0})  # 1 of 15,000
    result = project.attempt("pull", "pulled/contacts")
    assert not result.success
    assert "Raise api_budget.share" in why(result)
    assert project.org.api_calls == 2, "the limits were asked, and once more before refusing"


def test_calls_of_others_hold_back_too(start: Start, local_org: RunningOrg) -> None:
    project = start(api_budget={"share": 0.5, "floor": 1000})
    project.run("pull", *PULLED)
    local_org.admin.set_limits(api_calls_used=14_500)
    # What others did is learned from the answers of the first pull after it.
    project.run("pull", "pulled/leads")
    told = materialised(project.attempt("pull", "pulled/contacts"))["pulled/contacts"]
    assert told["pull"] == "held back"
    assert "within 24 hours" in told["error"]


def test_a_pull_that_would_break_the_budget_goes_by_bulk(
    start: Start, shipped: dict[str, Any], local_org: RunningOrg, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pages of 10 rows stand for an object of many rows.
    monkeypatch.setattr("salesforce_pipelines.org.budget.REST_PAGE_ROWS", 10)
    project = start(api_budget={"share": 0.002, "floor": 0})  # 30 of 15,000
    told = project.run("pull", "pulled/contacts")["pulled/contacts"]
    assert told["channel"] == "Bulk API 2.0"
    assert told["added"] + told["deleted"] + told["merged"] >= CONTACTS * 0.9
    assert told["api_calls"] <= told["api_calls_estimated"] <= 15


def test_pushes_are_counted_and_not_held_back(start: Start, local_org: RunningOrg) -> None:
    project = start(api_budget={"share": 0.01, "floor": 0})
    project.run("sync")
    api_calls.record(project.ledger, 150, at=datetime.now(UTC), usage=None)
    before = calls_in_ledger(project)
    project.run("plan_push")
    assert calls_in_ledger(project) == before + 3, "one describe for each stream"


def test_what_else_uses_the_org_is_told_when_the_day_is_over(
    project: Project, local_org: RunningOrg
) -> None:
    project.run("sync")
    local_org.admin.set_limits(api_calls_used=15_000)
    result = project.attempt("plan_push", "push_plan/contacts")
    assert "It can go on" in why(result)


def test_another_orgs_records_are_not_old_data(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("pull", "pulled/contacts")
    monkeypatch.setattr(type(project.org), "org_id", "00DOTHER")
    result = project.attempt("pull", "pulled/contacts")
    assert "Give each org a storage of its own" in why(result)
    assert not materialised(result)


def test_only_the_daily_limit_is_explained(project: Project, local_org: RunningOrg) -> None:
    from salesforce_pipelines.metering import metered

    def ask() -> None:
        with metered(project.org, project.ledger, project.pipelines.api_budget):
            project.org.get("sobjects")

    with local_org.admin.fault("api_disabled", path="sobjects"), pytest.raises(SalesforceError):
        ask()
    with local_org.admin.fault("daily_limit", path="sobjects"), pytest.raises(DailyLimitError):
        ask()
    assert project.org.budget is None
