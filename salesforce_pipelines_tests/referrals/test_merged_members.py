"""Who is merged or converted keeps the code, and the referrals count for who is left."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.config.models import Program
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.store import plans, referral_members
from salesforce_pipelines.store.plans import PlanKind
from salesforce_pipelines_tests.conftest import CONTACTS, LEADS, SEED, Project, Start
from salesforce_pipelines_tests.local_org.conftest import api_of
from salesforce_pipelines_tests.local_org.soap_client import Soap

pytestmark = pytest.mark.slow

QUALIFICATION = {
    "method": "lead_field",
    "field": "Status",
    "value": "Qualified",
    "code_field": "Referred_By_Code__c",
}


@pytest.fixture
def local_org(tmp_path: Path) -> Iterator[RunningOrg]:
    """An org of its own for every test: these write to it."""
    with running_org(tmp_path / "org", contacts=CONTACTS, leads=LEADS, seed=SEED) as org:
        yield org


@pytest.fixture
def soap(local_org: RunningOrg) -> Iterator[Soap]:
    """Merges, conversions and undeletes of a person in the org."""
    api = api_of(local_org)
    yield Soap(api)
    api.session.close()


def sync(project: Project) -> dict[str, Any]:
    """What the sync tells, once the org's stamps are a second old."""
    time.sleep(1.1)
    return project.run("sync")


def links(project: Project, slug: str = "spring") -> dict[str, dict[str, Any]]:
    rows = project.tables.log(f"referrals/{slug}/links").current().read_all().to_pylist()
    return {row["Id"]: row for row in rows}


def counts(project: Project, record: str, slug: str = "spring") -> tuple[int, int]:
    found = links(project, slug)[record]
    return found["referrals"], found["qualified_referrals"]


def refer(soap: Soap, code: str, status: str = "Open - Not Contacted") -> str:
    """A new Lead that came by a code."""
    number = time.monotonic_ns()
    return soap.api.create(
        "Lead",
        LastName=f"Referred {number}",
        Company=f"Company {number}",
        Status=status,
        Referred_By_Code__c=code,
    )


def push(project: Project, stream: str = "referrals/spring") -> dict[str, Any]:
    """The open plan of a stream, confirmed and carried out."""
    (plan,) = (
        one for one in plans.open_plans(project.ledger, PlanKind.PUSH) if one.stream == stream
    )
    plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")
    done: dict[str, Any] = project.run("push", f"pushed/{stream}")[f"pushed/{stream}"]
    return done


def live_contacts(project: Project, number: int) -> list[str]:
    soql = f"SELECT Id FROM Contact WHERE IsDeleted = false ORDER BY Id LIMIT {number}"
    return [record["Id"] for record in project.query(soql)]


def in_the_org(project: Project, record: str) -> tuple[Any, ...]:
    (found,) = project.query(
        "SELECT Referral_Link__c, Referral_Code__c, Referral_Count__c, "
        f"Qualified_Referral_Count__c FROM Contact WHERE Id = '{record}'"
    )
    return tuple(found.values())


def test_the_survivor_of_a_chain_of_merges_counts_for_all_and_keeps_its_own_link(
    project: Project, soap: Soap
) -> None:
    project.run("sync")
    first, second, third = live_contacts(project, 3)
    was = links(project)
    for record in (first, second, third):
        refer(soap, was[record]["code"])
    refer(soap, was[first]["code"], "Qualified")
    sync(project)
    push(project)
    assert in_the_org(project, first)[2:] == (2, 1)
    # Who merges lets the values of the one that goes stand.
    theirs = {"Referral_Link__c": was[first]["link"], "Referral_Code__c": was[first]["code"]}
    soap.merge("Contact", second, first, **theirs)
    soap.merge("Contact", third, second, **theirs)
    assert in_the_org(project, third)[0] == was[first]["link"]
    told = sync(project)["referrals/spring/links"]
    assert told["codes_of_merged_members"] == 2
    assert first not in links(project)
    assert second not in links(project)
    row = links(project)[third]
    assert (row["code"], row["link"]) == (was[third]["code"], was[third]["link"])
    assert counts(project, third) == (4, 1)
    push(project)
    assert in_the_org(project, third) == (was[third]["link"], was[third]["code"], 4, 1)

    refer(soap, was[second]["code"], "Qualified")
    assert sync(project)["referrals/spring/qualifications"]["recorded_now"] == 1
    assert counts(project, third) == (5, 2), "a link that was shared goes on working"
    codes = [was[record]["code"] for record in (first, second, third)]
    holders = referral_members.members_by_code(project.ledger, codes)
    assert [holders[code].record_id for code in codes] == [first, second, third]


def test_a_merged_member_that_is_restored_has_its_own_link_and_counts_again(
    project: Project, soap: Soap
) -> None:
    project.run("sync")
    first, second = live_contacts(project, 2)
    was = links(project)
    refer(soap, was[first]["code"])
    soap.merge("Contact", second, first)
    sync(project)
    assert counts(project, second) == (1, 0)
    soap.by_id("undelete", first)
    sync(project)
    assert links(project)[first]["code"] == was[first]["code"]
    assert (counts(project, first), counts(project, second)) == ((1, 0), (0, 0))


def test_a_member_whose_survivor_is_deleted_counts_for_nobody(project: Project, soap: Soap) -> None:
    project.run("sync")
    first, second = live_contacts(project, 2)
    was = links(project)
    refer(soap, was[first]["code"], "Qualified")
    soap.merge("Contact", second, first)
    soap.api.delete("Contact", second)
    told = sync(project)["referrals/spring/links"]
    assert not {first, second} & set(links(project))
    assert (told["qualified_referrals"], told["codes_of_merged_members"]) == (0, 0)
    assert referral_members.members_by_code(project.ledger, [was[first]["code"]])


def program(members: Any) -> dict[str, Any]:
    return {
        "members": members,
        "link": "https://refer.example.com/{code}",
        "qualification": QUALIFICATION,
    }


def test_a_converted_lead_counts_for_its_contact_where_the_members_are_contacts(
    start: Start, soap: Soap
) -> None:
    project = start(referrals={"spring": program("Lead")})
    project.run("sync")
    lead = soap.api.create("Lead", LastName="Member", Company="Company of a member")
    sync(project)
    code = links(project)[lead]["code"]
    refer(soap, code)
    contact = soap.convert(lead)["contactId"]
    refer(soap, code, "Qualified")
    assert sync(project)["referrals/spring/qualifications"]["recorded_now"] == 1
    assert lead not in links(project), "a converted Lead is no member of a program of Leads"
    assert contact not in links(project)

    now = Program.model_validate(program("Contact"))
    project.pipelines = project.pipelines.model_copy(update={"referrals": {"spring": now}})
    project.run("refer")
    assert counts(project, contact) == (2, 1)
    assert links(project)[contact]["code"] != code


def test_of_two_memberships_whose_people_are_merged_the_one_that_is_left_counts_for_both(
    start: Start, soap: Soap
) -> None:
    project = start()
    campaign = project.query("SELECT Id FROM Campaign LIMIT 1")[0]["Id"]
    people = [soap.api.create("Contact", LastName=f"In a campaign {n}") for n in range(2)]
    memberships = [
        soap.api.create("CampaignMember", CampaignId=campaign, ContactId=one) for one in people
    ]
    lead = soap.api.create("Lead", LastName="In a campaign", Company="A company in a campaign")
    of_lead = soap.api.create("CampaignMember", CampaignId=campaign, LeadId=lead)
    project = start(referrals={"vip": program({"campaign": campaign})})
    sync(project)
    was = links(project, "vip")
    for membership in (*memberships, of_lead):
        refer(soap, was[membership]["code"])
    soap.merge("Contact", people[1], people[0])
    sync(project)
    assert memberships[0] not in links(project, "vip")
    assert links(project, "vip")[memberships[1]]["code"] == was[memberships[1]]["code"]
    assert counts(project, memberships[1], "vip") == (2, 0)

    soap.merge("Contact", people[1], soap.convert(lead)["contactId"])
    sync(project)
    left = {one for one in (memberships[1], of_lead) if one in links(project, "vip")}
    assert len(left) == 1, "Salesforce joins the memberships of a Lead and of its Contact"
    assert counts(project, left.pop(), "vip") == (3, 0)


def test_a_referral_that_qualified_and_was_merged_does_not_qualify_again(
    project: Project, soap: Soap
) -> None:
    project.run("sync")
    one, other = live_contacts(project, 2)
    codes = links(project)
    qualified = refer(soap, codes[one]["code"], "Qualified")
    again = refer(soap, codes[other]["code"])
    assert sync(project)["referrals/spring/qualifications"]["recorded_now"] == 1
    soap.merge("Lead", again, qualified, Status="Qualified")
    found = sync(project)["referrals/spring/qualifications"]
    assert (found["fitting_now"], found["recorded_now"]) == (0, 0)
    assert counts(project, one) == (0, 1)
    assert counts(project, other) == (1, 0)
    soap.convert(again)
    assert sync(project)["referrals/spring/qualifications"]["recorded_now"] == 0
