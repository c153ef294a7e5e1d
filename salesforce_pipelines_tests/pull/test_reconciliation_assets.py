"""The check against the org, record links and the refresh of formulas, as Dagster runs them."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from salesforce_pipelines.automation.schedules import build_formulas
from salesforce_pipelines.definitions import build
from salesforce_pipelines_tests.conftest import Project, Start

CONTACTS = dg.AssetKey(["pulled", "contacts"])


def evaluations(
    result: dg.ExecuteInProcessResult, check: str
) -> dict[str, dg.AssetCheckEvaluation]:
    found = result.get_asset_check_evaluations()
    return {one.asset_key.path[-1]: one for one in found if one.check_name == check}


def checks_of(project: Project, job: str) -> set[str]:
    found = build(project.pipelines).resolve_job_def(job).asset_layer.asset_graph
    return {key.name for key in found.asset_check_keys if key.asset_key.path[0] == "pulled"}


@pytest.mark.slow
def test_the_sync_proves_its_tables_and_a_person_can_have_every_id_compared(
    project: Project,
) -> None:
    synced = project.attempt("sync")
    assert synced.success
    found = evaluations(synced, "matches_the_org")
    assert set(found) == {"contacts", "leads", "accounts", "campaigns", "campaign_members"}
    assert all(one.passed for one in found.values())
    for each in found.values():
        calls = each.metadata["api_calls"].value
        assert isinstance(calls, int)
        assert calls <= 2

    log = project.tables.log("pulled/contacts")
    state = log.state()
    assert state is not None
    one = log.current(["Id"], where="record_state = 'live'").read_all().column("Id")[0].as_py()
    log.append(None, state.metadata, deleted_keys=pa.array([one]))
    config = {"ops": {"pulled__contacts_matches_the_org": {"config": {"deep": True}}}}
    result = project.attempt("reconcile", config=config)
    assert result.success
    healed = evaluations(result, "matches_the_org")["contacts"]
    assert (healed.passed, healed.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert healed.description == "1 missing and 0 extra records were healed"
    assert healed.metadata["healed"].value == healed.metadata["fetched"].value == 1
    assert healed.metadata["ids_compared"].value == len(project.query("SELECT Id FROM Contact"))
    assert not result.get_asset_materialization_events()
    again = evaluations(project.attempt("reconcile"), "matches_the_org")["contacts"]
    assert again.passed


@pytest.mark.slow
def test_what_cannot_be_compared_fails_the_check_and_not_the_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project.org, "_attempts", 1)
    result = project.attempt("reconcile")
    assert result.success
    found = evaluations(result, "matches_the_org")["contacts"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "pull it in full" in (found.description or "")
    project.run("pull", "pulled/contacts")
    environment = project.org._environment.model_copy(update={"login_url": "http://127.0.0.1:9"})
    monkeypatch.setattr(project.org, "_environment", environment)
    monkeypatch.setattr(project.org, "_token", None)
    found = evaluations(project.attempt("reconcile"), "matches_the_org")["contacts"]
    assert not found.passed
    assert "no answer" in (found.description or "")


def test_only_the_sync_and_its_own_job_compare_with_the_org(
    start: Start, shipped: dict[str, Any]
) -> None:
    project = start()
    assert "matches_the_org" in checks_of(project, "sync")
    assert checks_of(project, "reconcile") == {"matches_the_org"}
    for job in ("pull", "qualify", "refresh_formulas"):
        assert "matches_the_org" not in checks_of(project, job)
    quiet = start(pull={**shipped["pull"], "reconcile": False})
    assert "matches_the_org" not in checks_of(quiet, "sync")
    assert "ids_are_unique" in checks_of(quiet, "sync")


@pytest.mark.slow
def test_record_links_follow_the_pulls(project: Project) -> None:
    found = project.run("pull")["pulled/record_links"]
    leads = project.query("SELECT Id FROM Lead WHERE IsConverted = true")
    assert found["converted"] == len(leads)
    assert found["computed"]
    again = project.attempt("pull")
    assert again.success
    (told,) = [
        event.step_materialization_data.materialization
        for event in again.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["pulled", "record_links"])
    ]
    assert told.metadata["computed"].value is False
    assert evaluations(again, "losses_are_told")["record_links"].passed


def with_tier(shipped: dict[str, Any], **pull: str) -> dict[str, Any]:
    contact = shipped["objects"]["Contact"]
    fields = [*contact["fields"], "Account_Tier__c"]
    return {
        "objects": {**shipped["objects"], "Contact": {**contact, "fields": fields}},
        "pull": {**shipped["pull"], **pull},
    }


@pytest.mark.slow
def test_formulas_are_refreshed_by_a_job_of_their_own(
    start: Start, shipped: dict[str, Any]
) -> None:
    project = start(**with_tier(shipped))
    project.run("pull")
    where = "IsDeleted = false AND AccountId != null"
    account = project.query(f"SELECT AccountId FROM Contact WHERE {where} LIMIT 1")[0]["AccountId"]
    project.edit("Account", account, AnnualRevenue=300_000_000)
    found = project.run("refresh_formulas")
    assert found["pulled/contacts"]["pull"] == "formulas"
    assert found["pulled/contacts"]["formula_fields"] == "Account_Tier__c"
    assert found["pulled/contacts"]["rows_changed"] > 0
    assert found["pulled/leads"]["api_calls"] == 1, "the describe alone"
    rows = project.tables.log("pulled/contacts").current(
        ["Account_Tier__c"], where=f"AccountId = '{account}' AND record_state = 'live'"
    )
    assert set(rows.read_all().column("Account_Tier__c").to_pylist()) == {"Enterprise"}


def tick(project: Project, moment: datetime) -> Any:
    context = dg.build_schedule_context(
        instance=project.instance,
        scheduled_execution_time=moment,
        resources={"tables": project.tables},
    )
    return build_formulas(project.pipelines).evaluate_tick(context)


@pytest.mark.slow
def test_the_schedule_names_the_tables_that_have_formulas(
    start: Start, shipped: dict[str, Any]
) -> None:
    due = datetime(2026, 1, 6, 2, 30, tzinfo=UTC)
    plain, project = start(), start(**with_tier(shipped))
    assert "not due" in tick(project, datetime(2026, 1, 4, 2, 30, tzinfo=UTC)).skip_message
    assert "no pulled field is a formula" in tick(project, due).skip_message
    for one in (plain, project):
        one.run("pull")
    assert "no pulled field is a formula" in tick(plain, due).skip_message
    (request,) = tick(project, due).run_requests
    assert request.asset_selection == [CONTACTS]
    assert request.asset_check_keys == []
    config = {"pulled__contacts": {"config": {"mode": "formulas"}}}
    assert request.run_config == {"ops": config}
    job = build(project.pipelines).resolve_job_def("refresh_formulas")
    dg.validate_run_config(job, request.run_config)


@pytest.mark.parametrize(
    ("chosen", "cron", "running"),
    [
        ("hourly", "30 * * * *", True),
        ("daily", "30 2 * * *", True),
        ("weekly", "30 2 * * 1", True),
        (False, "30 2 * * *", False),
    ],
)
def test_the_schedule_of_formulas_is_the_configured_one(
    start: Start, shipped: dict[str, Any], chosen: Any, cron: str, running: bool
) -> None:
    project = start(pull={**shipped["pull"], "formula_refresh": chosen})
    schedule = build(project.pipelines).resolve_schedule_def("refresh_formulas")
    assert schedule.cron_schedule == cron
    assert (schedule.default_status is dg.DefaultScheduleStatus.RUNNING) == running
