"""What was merged, deleted or converted since the plan is not written, and the push says so."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.org import writing
from salesforce_pipelines.store import credits, plans
from salesforce_pipelines.store.plans import Plan, PlanKind
from salesforce_pipelines_tests.conftest import CONTACTS, LEADS, SEED, Project
from salesforce_pipelines_tests.local_org.conftest import api_of
from salesforce_pipelines_tests.local_org.soap_client import Soap

pytestmark = pytest.mark.slow


@pytest.fixture
def local_org(tmp_path: Path) -> Iterator[RunningOrg]:
    """An org of its own for every test: these write to it."""
    with running_org(tmp_path / "org", contacts=CONTACTS, leads=LEADS, seed=SEED) as org:
        yield org


@pytest.fixture
def soap(local_org: RunningOrg) -> Iterator[Soap]:
    """Merges and conversions of a person in the org."""
    api = api_of(local_org)
    yield Soap(api)
    api.session.close()


def confirmed(project: Project, kind: PlanKind, stream: str) -> Plan:
    (plan,) = (one for one in plans.open_plans(project.ledger, kind) if one.stream == stream)
    return plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")


def rows(project: Project, name: str, key: str = "Id") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = project.tables.log(name, key=key).current().read_all().to_pylist()
    return found


def planned(project: Project, stream: str) -> list[str]:
    """The records of a stream's plan that would be written."""
    cells = rows(project, f"push_plan/{stream}", "cell")
    return sorted({cell["Id"] for cell in cells if cell["verdict"] == "write"})


@pytest.mark.parametrize("threshold", [1, 2000], ids=["Bulk API", "REST"])
def test_a_record_that_was_merged_or_deleted_since_the_plan_is_refused_with_the_reason(
    project: Project, soap: Soap, monkeypatch: pytest.MonkeyPatch, threshold: int
) -> None:
    monkeypatch.setattr(writing, "BULK_THRESHOLD", threshold)
    project.run("sync")
    plan = confirmed(project, PlanKind.PUSH, "referrals/spring")
    victim, survivor, deleted, *_ = planned(project, "referrals/spring")
    soap.merge("Contact", survivor, victim)
    soap.api.delete("Contact", deleted)
    done = project.run("push", "pushed/referrals/spring")["pushed/referrals/spring"]
    (told,) = (record.data for record in done["rejections"].records)
    assert "deleted or merged into another one since it was pulled" in told["reason"]
    assert "Pull again" in told["cure"]
    journal = rows(project, "journal/referrals/spring", "entry")
    rejected = {row["record_id"] for row in journal if row["state"] == "rejected"}
    assert rejected == {victim, deleted}
    assert told["cells"] == sum(row["state"] == "rejected" for row in journal)
    assert done["cells_written"] == plan.amount - told["cells"]
    gone = project.query(
        f"SELECT Referral_Link__c FROM Contact WHERE Id IN ('{victim}', '{deleted}')"
    )
    assert [record["Referral_Link__c"] for record in gone] == [None, None]
    time.sleep(1.1)
    project.run("sync")
    assert not {victim, deleted} & set(planned(project, "referrals/spring"))


def test_a_lead_that_was_converted_since_the_plan_is_refused_with_the_reason(
    project: Project, soap: Soap
) -> None:
    project.run("sync")
    confirmed(project, PlanKind.ENRICHMENT, "leads")
    project.run("enrich", "enriched/leads", "push_plan/leads")
    confirmed(project, PlanKind.PUSH, "leads")
    lead = planned(project, "leads")[0]
    before = project.query(f"SELECT Title, Employee_Band__c FROM Lead WHERE Id = '{lead}'")
    assert soap.convert(lead)["success"] == "true"
    done = project.run("push", "pushed/leads")["pushed/leads"]
    (told,) = (record.data for record in done["rejections"].records)
    assert "CANNOT_UPDATE_CONVERTED_LEAD" in told["reason"]
    assert "Contact" in told["cure"]
    after = project.query(f"SELECT Title, Employee_Band__c FROM Lead WHERE Id = '{lead}'")
    assert after == before
    assert done["cells_written"] > 0
    time.sleep(1.1)
    project.run("sync")
    assert lead not in planned(project, "leads")


def test_a_person_who_was_paid_for_a_merged_record_costs_nothing_for_the_survivor(
    project: Project, soap: Soap
) -> None:
    project.run("sync")
    confirmed(project, PlanKind.ENRICHMENT, "contacts")
    project.run("enrich", "enriched/contacts", "push_plan/contacts")
    spent = credits.spent(project.ledger, "people")
    paid = next(
        row for row in rows(project, "enriched/contacts") if row["identifier"] == "work_email"
    )
    record = project.query(f"SELECT Email FROM Contact WHERE Id = '{paid['Id']}'")[0]
    survivor = soap.api.create("Contact", LastName="Survivor of a merge")
    soap.merge("Contact", survivor, paid["Id"], Email=record["Email"])
    time.sleep(1.1)
    told = project.run("sync")["enrichment_plan/contacts"]
    (found,) = (row for row in rows(project, "enrichment_plan/contacts"))
    assert (found["Id"], found["person_id"], found["credits"]) == (survivor, paid["person_id"], 0)
    assert told["credits"] == 0
    confirmed(project, PlanKind.ENRICHMENT, "contacts")
    project.run("enrich", "enriched/contacts", "push_plan/contacts")
    assert survivor in {row["Id"] for row in rows(project, "enriched/contacts")}
    assert credits.spent(project.ledger, "people") == spent
