"""One member, one code for ever; a referral qualifies once, with its evidence."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.store import plans, qualifications
from salesforce_pipelines.store.plans import PlanKind
from salesforce_pipelines_tests.conftest import CONTACTS, LEADS, SEED, Project, Start, why

pytestmark = pytest.mark.slow


@pytest.fixture
def local_org(tmp_path: Path) -> Iterator[RunningOrg]:
    """An org of its own for every test: these write to it."""
    with running_org(tmp_path / "org", contacts=CONTACTS, leads=LEADS, seed=SEED) as org:
        yield org


def links(project: Project, slug: str = "spring") -> dict[str, dict[str, Any]]:
    rows = project.tables.log(f"referrals/{slug}/links").current().read_all().to_pylist()
    return {row["Id"]: row for row in rows}


def test_every_contact_has_one_link_that_never_changes(project: Project) -> None:
    project.run("sync")
    first = links(project)
    alive = project.query("SELECT Id FROM Contact WHERE IsDeleted = false")
    assert set(first) == {record["Id"] for record in alive}
    codes = [row["code"] for row in first.values()]
    assert len(set(codes)) == len(codes)
    assert all(row["link"].endswith(row["code"]) for row in first.values())
    assert links(project) == first
    found = project.run("refer")["referrals/spring/links"]
    assert found["new_or_changed"] == 0
    assert links(project) == first


def test_a_lead_that_reaches_the_value_qualifies_its_referrer_once(project: Project) -> None:
    project.run("sync")
    referrer, row = next(iter(links(project).items()))
    leads = project.query(
        "SELECT Id FROM Lead WHERE IsConverted = false AND IsDeleted = false "
        "AND Status = 'Open - Not Contacted' LIMIT 2"
    )
    for lead in leads:
        project.edit("Lead", lead["Id"], Referred_By_Code__c=row["code"])
    project.edit("Lead", leads[0]["Id"], Status="Qualified")
    time.sleep(1.1)
    assert project.run("sync")["referrals/spring/qualifications"]["recorded_now"] == 1
    found = links(project)[referrer]
    assert (found["referrals"], found["qualified_referrals"]) == (2, 1)
    proof = qualifications.evidence_of(project.ledger, "spring", "Lead", leads[0]["Id"])
    assert proof is not None
    assert proof.code == row["code"]
    assert proof.evidence["field"] == "Status"
    project.edit("Lead", leads[0]["Id"], Status="Working - Contacted")
    time.sleep(1.1)
    project.run("sync")
    project.edit("Lead", leads[0]["Id"], Status="Qualified")
    time.sleep(1.1)
    assert project.run("sync")["referrals/spring/qualifications"]["recorded_now"] == 0
    assert links(project)[referrer]["qualified_referrals"] == 1


def test_links_and_counts_arrive_in_the_org(project: Project) -> None:
    project.run("sync")
    plan = plans.open_plans(project.ledger, PlanKind.PUSH)[0]
    plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")
    project.run("push", "pushed/referrals/spring")
    ours = links(project)
    for record in project.query(
        "SELECT Id, Referral_Link__c, Referral_Code__c, Referral_Count__c FROM Contact "
        "WHERE IsDeleted = false"
    ):
        row = ours[record["Id"]]
        assert record["Referral_Link__c"] == row["link"]
        assert record["Referral_Code__c"] == row["code"]
        assert record["Referral_Count__c"] == row["referrals"]


def test_the_members_of_one_campaign_carry_the_link_on_their_membership(
    start: Start, shipped: dict[str, Any]
) -> None:
    project = start()
    campaign = project.query("SELECT Id, Name FROM Campaign LIMIT 1")[0]
    program = {
        "members": {"campaign": campaign["Name"]},
        "link": "https://refer.example.com/{code}",
        "write_back": {"Referral_Link__c": "link"},
    }
    project = start(referrals={"vip": program})
    project.run("sync")
    members = project.query(f"SELECT Id FROM CampaignMember WHERE CampaignId = '{campaign['Id']}'")
    assert set(links(project, "vip")) == {member["Id"] for member in members}
    plan = plans.open_plans(project.ledger, PlanKind.PUSH)[0]
    plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")
    done = project.run("push", "pushed/referrals/vip")["pushed/referrals/vip"]
    assert done["records_written"] == len(members)


def test_a_campaign_that_the_org_lacks_is_named(start: Start, shipped: dict[str, Any]) -> None:
    program = {"members": {"campaign": "No such"}, "link": "https://refer.example.com/{code}"}
    project = start(referrals={"vip": program})
    told = why(project.attempt("sync"))
    assert "referrals.vip.members.campaign" in told
    assert "0 campaigns" in told
