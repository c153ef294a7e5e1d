"""Sensors start what is due, once, and say why they do not."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from salesforce_pipelines.automation import sensors
from salesforce_pipelines.confirmation import ATTEMPTS
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.store import plans
from salesforce_pipelines.store.plans import PlanKind
from salesforce_pipelines_tests.conftest import CONTACTS, LEADS, SEED, Project, why

pytestmark = pytest.mark.slow


@pytest.fixture
def local_org(tmp_path: Path) -> Iterator[RunningOrg]:
    """An org of its own for every test: these write to it."""
    with running_org(tmp_path / "org", contacts=CONTACTS, leads=LEADS, seed=SEED) as org:
        yield org


def tick(project: Project, name: str) -> Any:
    """What a sensor answers now."""
    found = {sensor.name: sensor for sensor in sensors.build_all(project.pipelines)}[name]
    context = dg.build_sensor_context(
        instance=project.instance,
        resources={"org": project.org, "tables": project.tables, "ledger": project.ledger},
    )
    return found.evaluate_tick(context)


def test_changes_in_the_org_start_a_pull_of_what_changed(project: Project) -> None:
    first = tick(project, "org_changes")
    (request,) = first.run_requests or []
    assert {key.path[-1] for key in request.asset_selection or []} == {
        "contacts",
        "leads",
        "accounts",
        "campaigns",
        "campaign_members",
        "record_links",
    }
    # Comparing with the org is the sync's business.
    checks = {key.name for key in request.asset_check_keys or []}
    assert checks == {"ids_are_unique", "is_fresh", "pulled_now", "losses_are_told"}
    project.run("pull")
    assert "nothing changed" in (tick(project, "org_changes").skip_message or "")
    record = project.query("SELECT Id FROM Lead WHERE IsConverted = false LIMIT 1")[0]["Id"]
    project.edit("Lead", record, Rating="Hot")
    time.sleep(1.1)
    (request,) = tick(project, "org_changes").run_requests or []
    assert [key.path[-1] for key in request.asset_selection or []] == [
        "leads",
        "record_links",
    ]
    (again,) = tick(project, "org_changes").run_requests or []
    assert again.run_key == request.run_key, "Dagster starts one run for one key"


def test_an_org_that_cannot_be_asked_is_a_reason_not_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project.org, "_attempts", 1)
    environment = project.org._environment.model_copy(update={"login_url": "http://127.0.0.1:9"})
    monkeypatch.setattr(project.org, "_environment", environment)
    assert "could not be asked" in (tick(project, "org_changes").skip_message or "")


def test_a_confirmed_plan_is_started_once_and_given_up_after_three_failures(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("sync")
    assert "no confirmed push plan" in (tick(project, "confirmed_push_plans").skip_message or "")
    plan = plans.open_plans(project.ledger, PlanKind.PUSH)[0]
    plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")
    keys = set()
    for _ in range(ATTEMPTS):
        (request,) = tick(project, "confirmed_push_plans").run_requests or []
        assert request.tags["plan_id"] == plan.id
        assert [key.to_user_string() for key in request.asset_selection or []] == [
            "pushed/referrals/spring"
        ]
        keys.add(request.run_key)
        plans.claim(project.ledger, plan.id, run_id="some run")
        plans.release(project.ledger, plan.id, run_id="some run")
    assert len(keys) == ATTEMPTS, "every attempt is a run of its own"
    assert "no confirmed" in (tick(project, "confirmed_push_plans").skip_message or "")
    project.run("push", "pushed/referrals/spring")


def test_a_plan_whose_run_died_is_started_again(project: Project) -> None:
    project.run("sync")
    plan = plans.open_plans(project.ledger, PlanKind.PUSH)[0]
    dead = project.attempt("push", "pushed/contacts")
    assert not dead.success
    plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")
    plans.claim(project.ledger, plan.id, run_id=dead.run_id)
    (request,) = tick(project, "confirmed_push_plans").run_requests or []
    assert request.tags["plan_id"] == plan.id
    project.run("push", "pushed/referrals/spring")
    assert plans.get(project.ledger, plan.id).done_at is not None


def test_a_plan_whose_run_nobody_knows_is_left_alone(project: Project) -> None:
    project.run("sync")
    plan = plans.open_plans(project.ledger, PlanKind.PUSH)[0]
    plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")
    plans.claim(project.ledger, plan.id, run_id="a run of another instance")
    assert "no confirmed" in (tick(project, "confirmed_push_plans").skip_message or "")
    assert "a run of another instance" in why(project.attempt("push", "pushed/referrals/spring"))


def test_a_referred_lead_that_reaches_the_value_starts_the_qualification(
    project: Project,
) -> None:
    assert "never pulled" in (tick(project, "qualification_spring").skip_message or "")
    project.run("sync")
    assert "no referred Lead" in (tick(project, "qualification_spring").skip_message or "")
    row = project.tables.log("referrals/spring/links").current(["code"]).read_all().to_pylist()[0]
    lead = project.query(
        "SELECT Id FROM Lead WHERE IsConverted = false AND IsDeleted = false LIMIT 1"
    )[0]["Id"]
    project.edit("Lead", lead, Status="Qualified", Referred_By_Code__c=row["code"])
    time.sleep(1.1)
    assert len(tick(project, "qualification_spring").run_requests or []) == 1
    found = project.run("qualify")["referrals/spring/qualifications"]
    assert found["recorded_now"] == 1
    assert "no referred Lead" in (tick(project, "qualification_spring").skip_message or "")
