"""Old plans end and old files go, and nothing that is still needed."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import update

from salesforce_pipelines.automation import maintenance, schedules
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.store import delta_log, plans, schema
from salesforce_pipelines.store.plans import PlanKind, PlanStatus
from salesforce_pipelines_tests.conftest import CONTACTS, LEADS, SEED, Project, Start, why

pytestmark = pytest.mark.slow


@pytest.fixture
def local_org(tmp_path: Path) -> Iterator[RunningOrg]:
    """An org of its own for every test: these write to it."""
    with running_org(tmp_path / "org", contacts=CONTACTS, leads=LEADS, seed=SEED) as org:
        yield org


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the job's steps."""
    return {
        name: value.value
        for event in result.all_events
        if event.is_successful_output
        for name, value in event.step_output_data.metadata.items()
    }


def keep_house(project: Project) -> dict[str, Any]:
    result = project.attempt("maintenance")
    assert result.success
    return told(result)


def proposed_days_ago(project: Project, days: float) -> None:
    """Make every plan older."""
    then = datetime.now(UTC) - timedelta(days=days)
    with project.ledger.begin() as connection:
        connection.execute(update(schema.plan).values(proposed_at=then))


def test_every_table_that_the_story_writes_is_kept(project: Project) -> None:
    project.run("sync")
    for kind, job, stream in (
        (PlanKind.ENRICHMENT, "enrich", "contacts"),
        (PlanKind.ENRICHMENT, "enrich", "leads"),
        (PlanKind.PUSH, "push", "contacts"),
        (PlanKind.PUSH, "push", "leads"),
        (PlanKind.PUSH, "push", "referrals/spring"),
    ):
        (plan,) = (one for one in plans.open_plans(project.ledger, kind) if one.stream == stream)
        plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")
        done = [f"enriched/{stream}", f"push_plan/{stream}"] if job == "enrich" else []
        project.run(job, *(done or [f"pushed/{stream}"]))
    root = Path(project.pipelines.storage.tables)
    written = {path.parent.relative_to(root).as_posix() for path in root.rglob("_delta_log")}
    kept = [log.name for log in maintenance.maintained(project.pipelines, project.tables)]
    assert written == set(kept)
    assert len(kept) == len(set(kept))
    found = keep_house(project)
    assert (found["tables"], found["files_deleted"]) == (len(written), 0)


def test_plans_of_the_last_days_stay_and_older_ones_end(start: Start) -> None:
    project = start()
    project.run("sync")
    waiting = {plan.id for plan in plans.open_plans(project.ledger)}
    push = plans.open_plans(project.ledger, PlanKind.PUSH)[0]
    plans.confirm(project.ledger, push.id, amount=push.amount, by="a test")
    proposed_days_ago(project, 6.9)
    assert keep_house(project)["plans_expired"] == 0
    assert {plan.id for plan in plans.open_plans(project.ledger)} == waiting
    proposed_days_ago(project, 7.1)
    found = keep_house(project)
    assert found["plans_expired"] == len(waiting)
    assert {record.data["plan"] for record in found["plans"].records} == waiting
    assert plans.get(project.ledger, push.id).status is PlanStatus.EXPIRED
    assert "no push plan is open" in why(project.attempt("push", "pushed/referrals/spring"))

    project.run("sync")
    (anew,) = plans.open_plans(project.ledger, PlanKind.PUSH)
    assert (anew.id, anew.status) == (f"{push.id}-2", PlanStatus.PROPOSED)
    plans.confirm(project.ledger, anew.id, amount=anew.amount, by="a test")
    assert keep_house(project)["plans_expired"] == 0
    done = project.run("push", "pushed/referrals/spring")["pushed/referrals/spring"]
    assert done["cells_written"] == anew.amount


def test_files_of_old_versions_go_and_every_row_stays(
    start: Start, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = start(storage=shipped["storage"] | {"keep_days": 3})
    project.run("sync")
    for sobject in ("Contact", "Lead"):
        one = project.query(f"SELECT Id FROM {sobject} WHERE IsDeleted = false LIMIT 1")[0]
        project.edit(sobject, one["Id"], Title="Changed")
    time.sleep(1.1)
    project.run("pull")
    now = time.time()
    for name, days in (("pulled/contacts", 2.9), ("pulled/leads", 3.1)):
        then = now - days * 86_400
        monkeypatch.setattr(delta_log, "time", lambda then=then: then)
        project.tables.log(name).compact()
    logs = list(maintenance.maintained(project.pipelines, project.tables))
    before = {log.name: log.count() for log in logs if log.state() is not None}
    found = keep_house(project)
    assert found["files_deleted"] > 0
    shrunk = {one.data["table"]: one.data["files"] for one in found["deleted_from"].records}
    assert shrunk == {"pulled/leads": found["files_deleted"]}
    assert {log.name: log.count() for log in logs if log.state() is not None} == before


def test_a_table_that_cannot_be_opened_is_told_and_does_not_keep_the_others_from_it(
    project: Project,
) -> None:
    project.run("sync")
    broken = Path(project.pipelines.storage.tables) / "pulled" / "contacts" / "_delta_log"
    for commit in broken.glob("*.json"):
        commit.write_text("no commit", encoding="utf-8")
    proposed_days_ago(project, 8)
    result = project.attempt("maintenance")
    assert not result.success
    assert "pulled/contacts" in why(result)
    assert told(result)["plans_expired"] > 0
    (failed,) = (event for event in result.all_events if event.is_step_failure)
    failure = failed.step_failure_data.user_failure_data
    assert failure is not None
    root = Path(project.pipelines.storage.tables)
    assert failure.metadata["tables"].value == len(list(root.rglob("_delta_log"))) - 1


def test_the_schedule_starts_it_once_a_week_after_the_sync(project: Project) -> None:
    found = {one.name: one for one in schedules.build_all(project.pipelines)}[maintenance.JOB]
    assert found.default_status is dg.DefaultScheduleStatus.RUNNING
    assert found.cron_schedule == "0 3 * * 1"

    def tick(*day: int) -> Any:
        moment = datetime(*day, 3, tzinfo=UTC)  # type: ignore[misc,arg-type]
        return found.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=moment))

    assert "2026-01-05 03:00" in (tick(2025, 12, 29).skip_message or "")
    (request,) = tick(2026, 1, 12).run_requests
    assert request.run_key == "2026-01-12T03:00:00+00:00"
