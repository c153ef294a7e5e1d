"""Only live records are matched, planned, linked and written, whatever became of the others."""

import pyarrow as pa
import pytest

from salesforce_pipelines.store import plans
from salesforce_pipelines.store.plans import PlanKind
from salesforce_pipelines_tests.conftest import Project

pytestmark = pytest.mark.slow

NOT_LIVE = ["deleted", "merged", "purged", "out_of_scope"]


def ids(project: Project, table: str, key: str = "Id") -> set[str]:
    rows = project.tables.log(table, key=key).current(["Id"]).read_all()
    return set(rows.column("Id").to_pylist())


def mark(project: Project, table: str, states: dict[str, str]) -> None:
    """Give records of a pulled table another state, and leave all else as it is.

    What is deleted in the org would also say so in IsDeleted; nobody may rely on that.
    """
    log = project.tables.log(f"pulled/{table}")
    state = log.state()
    assert state is not None
    rows = [row for row in log.current().read_all().to_pylist() if row["Id"] in states]
    assert len(rows) == len(states)
    changed = [{**row, "record_state": states[row["Id"]]} for row in rows]
    log.append(pa.Table.from_pylist(changed, log.schema()), state.metadata)


def planned(project: Project) -> dict[str, set[str]]:
    """The records that some table of ours works with."""
    return {
        "identifiers": ids(project, "identifiers/contacts"),
        "matches": ids(project, "matches/contacts"),
        "enrichment plan": ids(project, "enrichment_plan/contacts"),
        "links": ids(project, "referrals/spring/links"),
        "push plan": ids(project, "push_plan/contacts", "cell"),
        "push plan of links": ids(project, "push_plan/referrals/spring", "cell"),
    }


def test_records_that_are_not_live_are_in_no_plan(project: Project) -> None:
    project.run("sync")
    plan = next(
        one
        for one in plans.open_plans(project.ledger, PlanKind.ENRICHMENT)
        if one.stream == "contacts"
    )
    to_buy = sorted(ids(project, "enrichment_plan/contacts"))
    plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")
    project.run("enrich", "enriched/contacts", "push_plan/contacts")
    before = planned(project)
    in_all = sorted(set.intersection(*(before[n] for n in before if n != "enrichment plan")))
    chosen = dict(zip(in_all[: len(NOT_LIVE)], NOT_LIVE, strict=True))
    assert set(chosen) <= set(to_buy)
    mark(project, "contacts", chosen)
    # Everything would have to be bought again.
    people = project.tables.log("enriched/contacts")
    people.append(None, {}, deleted_keys=pa.array(to_buy))
    for job in ("identify", "plan_enrichment", "refer", "plan_push"):
        project.run(job)
    after = planned(project)
    assert not {name: both for name, found in after.items() if (both := found & set(chosen))}
    assert after["identifiers"] == before["identifiers"] - set(chosen)
    assert after["links"] == before["links"] - set(chosen)
    assert after["enrichment plan"] == set(to_buy) - set(chosen)
    mark(project, "contacts", dict.fromkeys(chosen, "live"))
    for job in ("identify", "refer"):
        project.run(job)
    assert ids(project, "identifiers/contacts") == before["identifiers"]
    assert ids(project, "referrals/spring/links") == before["links"], "with the codes of before"


def test_what_is_enriched_is_pushed_only_to_live_records(project: Project) -> None:
    project.run("sync")
    for plan in plans.open_plans(project.ledger, PlanKind.ENRICHMENT):
        plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")
    project.run("enrich")
    cells = sorted(ids(project, "push_plan/contacts", "cell"))
    chosen = dict(zip(cells[: len(NOT_LIVE)], NOT_LIVE, strict=True))
    mark(project, "contacts", chosen)
    project.run("plan_push")
    assert ids(project, "push_plan/contacts", "cell") == set(cells) - set(chosen)


def test_only_live_leads_count_for_who_referred_them(project: Project) -> None:
    project.run("sync")
    links = project.tables.log("referrals/spring/links")
    code = links.current(["code"]).read_all().column("code")[0].as_py()
    log = project.tables.log("pulled/leads")
    state = log.state()
    assert state is not None
    rows = log.current(where="record_state = 'live' AND NOT IsConverted").read_all().to_pylist()
    leads = [row["Id"] for row in rows[: len(NOT_LIVE) + 1]]
    referred = [
        {**row, "Referred_By_Code__c": code, "Status": "Qualified"}
        for row in rows
        if row["Id"] in leads
    ]
    log.append(pa.Table.from_pylist(referred, log.schema()), state.metadata)
    mark(project, "leads", dict(zip(leads, NOT_LIVE, strict=False)))
    project.run("refer")
    row = links.current(where=f"code = '{code}'").read_all().to_pylist()[0]
    assert row["referrals"] == 1
