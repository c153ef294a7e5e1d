"""Credits are spent on what was confirmed, once, and on nobody who was not found."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.enrichment import enriching
from salesforce_pipelines.enrichment.plans import confirm
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store import credits, plans
from salesforce_pipelines.store.plans import Plan, PlanKind, PlanStatus
from salesforce_pipelines_tests.conftest import Project, Start, why

pytestmark = pytest.mark.slow


def planned(project: Project, stream: str = "contacts") -> Plan:
    project.run("sync")
    return next(
        plan
        for plan in plans.open_plans(project.ledger, PlanKind.ENRICHMENT)
        if plan.stream == stream
    )


def confirmed(project: Project) -> Plan:
    plan = planned(project)
    return plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")


def spent(project: Project) -> int:
    return credits.spent(project.ledger, "people")


def test_a_confirmed_plan_costs_what_it_said_and_only_mapped_columns_are_kept(
    project: Project,
) -> None:
    plan = confirmed(project)
    done = project.run("enrich", "enriched/contacts")["enriched/contacts"]
    assert 0 < plan.amount <= plan.eligible
    assert done["credits_charged"] == plan.amount == spent(project)
    assert done["enriched"] == plan.eligible
    columns = set(project.tables.log("enriched/contacts").schema().names)
    assert {"job_title", "linkedin_url"} <= columns
    assert not {"work_email", "phones", "city", "first_name"} & columns


def test_the_next_plan_is_empty_and_spends_nothing(project: Project) -> None:
    confirmed(project)
    project.run("enrich", "enriched/contacts")
    before = spent(project)
    found = project.run("sync")["enrichment_plan/contacts"]
    assert found["eligible"] == 0
    assert found["status"] == "nothing to enrich, nothing to confirm"
    assert spent(project) == before


def test_nothing_is_spent_without_a_confirmation(project: Project) -> None:
    plan = planned(project)
    assert f"plan {plan.id} is not confirmed" in why(project.attempt("enrich", "enriched/contacts"))
    assert spent(project) == 0


def test_a_plan_beyond_the_cap_or_with_another_amount_cannot_be_confirmed(
    project: Project,
) -> None:
    plan = planned(project)
    with pytest.raises(PipelineError, match="max_credits_per_plan"):
        confirm(project.ledger, plan.id, credits=plan.amount, by="x", cap=plan.amount - 1)
    with pytest.raises(PipelineError, match=str(plan.amount)):
        confirm(project.ledger, plan.id, credits=plan.amount + 1, by="x", cap=10**6)
    with pytest.raises(PipelineError):
        confirm(project.ledger, plan.id, credits=plan.amount, by=" ", cap=10**6)
    assert plans.get(project.ledger, plan.id).status is PlanStatus.PROPOSED


class CrashError(Exception):
    """The process dies here."""


def test_a_run_that_died_after_charging_does_not_charge_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = confirmed(project)
    real = enriching._enriched

    def dies(*arguments: Any) -> Any:
        raise CrashError

    monkeypatch.setattr(enriching, "_enriched", dies)
    assert not project.attempt("enrich", "enriched/contacts").success
    assert spent(project) == plan.amount
    assert plans.get(project.ledger, plan.id).status is PlanStatus.CONFIRMED
    monkeypatch.setattr(enriching, "_enriched", real)
    done = project.run("enrich", "enriched/contacts")["enriched/contacts"]
    assert done["credits_charged"] == 0
    assert done["enriched"] == plan.eligible
    assert spent(project) == plan.amount
    assert plans.get(project.ledger, plan.id).status is PlanStatus.DONE


def test_people_data_that_changed_since_the_plan_are_refused(
    start: Start, shipped: dict[str, Any], people_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "people.csv"
    shutil.copy(people_file, copy)
    provider = {**shipped["enrichment"]["provider"], "path": str(copy)}
    project = start(enrichment={"provider": provider})
    plan = confirmed(project)
    copy.write_text(copy.read_text(encoding="utf-8") + "P-new" + "," * 18 + "\n", encoding="utf-8")
    result = project.attempt("enrich", "enriched/contacts")
    assert "changed since the plan was confirmed" in why(result)
    assert spent(project) == 0
    assert plans.get(project.ledger, plan.id).status is PlanStatus.CONFIRMED


def test_the_launchpad_confirms_with_the_same_rules(project: Project) -> None:
    plan = planned(project)

    def decision(**values: Any) -> dict[str, Any]:
        return {"ops": {"enrichment_confirmation": {"config": values}}}

    wrong = decision(plan_id=plan.id, credits=plan.amount + 1, confirmed_by="Ada")
    assert str(plan.amount) in why(project.attempt("confirm_enrichment", config=wrong))
    right = decision(plan_id=plan.id, credits=plan.amount, confirmed_by="Ada")
    found = project.run("confirm_enrichment", config=right)["enrichment_confirmation"]
    assert found["status"] == "confirmed"
    assert plans.get(project.ledger, plan.id).decided_by == "Ada"


def test_a_column_that_is_mapped_later_is_read_without_paying_again(
    start: Start, shipped: dict[str, Any]
) -> None:
    project = start()
    confirmed(project)
    project.run("enrich", "enriched/contacts")
    before = spent(project)
    objects = {**shipped["objects"]}
    mapping = {**objects["Contact"]["mapping"], "Department": "department"}
    objects["Contact"] = {**objects["Contact"], "mapping": mapping}
    document = {**shipped, "objects": objects}
    project.pipelines = project.pipelines.model_validate(
        {**document, "enrichment": project.pipelines.enrichment.model_dump(by_alias=True)}
    )
    plan = planned(project)
    assert plan.amount == 0
    assert plan.eligible > 0
    plans.confirm(project.ledger, plan.id, amount=0, by="a test")
    project.run("enrich", "enriched/contacts")
    assert spent(project) == before
    assert "department" in project.tables.log("enriched/contacts").schema().names
