"""From a plan to the org and back: only mapped fields, only what was confirmed, nothing twice."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.config.models import WriteRule
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.org import reading, writing
from salesforce_pipelines.org.errors import Rejection
from salesforce_pipelines.push import sending
from salesforce_pipelines.push.guard import Guard, NotAllowedError, streams
from salesforce_pipelines.store import plans
from salesforce_pipelines.store.plans import Plan, PlanKind, PlanStatus
from salesforce_pipelines_tests.conftest import CONTACTS, LEADS, SEED, Project, Start, why

pytestmark = pytest.mark.slow

MOVES_BY_ITSELF = {"LastModifiedDate", "LastModifiedById", "SystemModstamp"}


@pytest.fixture
def local_org(tmp_path: Path) -> Iterator[RunningOrg]:
    """An org of its own for every test: these write to it."""
    with running_org(tmp_path / "org", contacts=CONTACTS, leads=LEADS, seed=SEED) as org:
        yield org


def open_plan(project: Project, kind: PlanKind, stream: str) -> Plan:
    found = [plan for plan in plans.open_plans(project.ledger, kind) if plan.stream == stream]
    assert len(found) == 1
    return found[0]


def confirmed(project: Project, kind: PlanKind, stream: str) -> Plan:
    plan = open_plan(project, kind, stream)
    return plans.confirm(project.ledger, plan.id, amount=plan.amount, by="a test")


def enriched(project: Project) -> None:
    """Contacts pulled, matched and enriched, and the push planned."""
    project.run("sync")
    confirmed(project, PlanKind.ENRICHMENT, "contacts")
    project.run("enrich", "enriched/contacts", "push_plan/contacts")


def everything(project: Project, sobject: str) -> dict[str, dict[str, Any]]:
    """Every field of every record, as the org's describe names them."""
    described = project.org.get(f"sobjects/{sobject}/describe")
    names = [f["name"] for f in described["fields"] if f["type"] not in ("address", "location")]
    records = project.query(f"SELECT {', '.join(names)} FROM {sobject}")
    return {record["Id"]: record for record in records}


def journal(project: Project, stream: str) -> list[dict[str, Any]]:
    log = project.tables.log(f"journal/{stream}", key="entry")
    rows: list[dict[str, Any]] = log.current().read_all().to_pylist()
    return rows


def test_the_written_fields_are_exactly_those_of_the_plan_and_no_other_field_moved(
    project: Project,
) -> None:
    enriched(project)
    plan = confirmed(project, PlanKind.PUSH, "contacts")
    before = {name: everything(project, name) for name in ("Contact", "Lead", "Account")}
    done = project.run("push", "pushed/contacts")["pushed/contacts"]
    after = {name: everything(project, name) for name in ("Contact", "Lead", "Account")}
    assert after["Lead"] == before["Lead"]
    assert after["Account"] == before["Account"]
    entries = {
        (row["record_id"], row["field"]): row
        for row in journal(project, "contacts")
        if row["plan_id"] == plan.id
    }
    changed = set()
    for record, fields in after["Contact"].items():
        for name, value in fields.items():
            old = before["Contact"][record][name]
            if name in MOVES_BY_ITSELF or value == old:
                continue
            changed.add((record, name))
            entry = entries[record, name]
            assert json.loads(entry["before"]) == old
            assert json.loads(entry["after"]) == value
            assert entry["state"] == "written"
    written = {key for key, row in entries.items() if row["state"] == "written"}
    assert changed == written
    assert {name for _, name in changed} <= set(streams(project.pipelines)["contacts"].mapping)
    assert len(entries) == plan.amount
    assert done["cells_written"] == len(written)
    untouched = set(before["Contact"]) - {record for record, _ in changed}
    stamps = [(before["Contact"][one], after["Contact"][one]) for one in untouched]
    assert stamps
    assert all(old["SystemModstamp"] == new["SystemModstamp"] for old, new in stamps)


def test_nothing_is_sent_without_a_confirmation(project: Project) -> None:
    project.run("sync")
    before = everything(project, "Contact")
    result = project.attempt("push", "pushed/referrals/spring")
    plan = open_plan(project, PlanKind.PUSH, "referrals/spring")
    assert f"plan {plan.id} is not confirmed" in why(result)
    assert f"confirm {plan.id} --amount {plan.amount}" in why(result)
    assert everything(project, "Contact") == before


def test_what_a_person_changed_since_the_pull_is_held(project: Project) -> None:
    project.run("sync")
    confirmed(project, PlanKind.PUSH, "referrals/spring")
    rows = project.tables.log("push_plan/referrals/spring", key="cell").current().read_all()
    record = next(row["Id"] for row in rows.to_pylist() if row["field"] == "Referral_Link__c")
    project.edit("Contact", record, Referral_Link__c="https://by.hand.example/")
    done = project.run("push", "pushed/referrals/spring")["pushed/referrals/spring"]
    assert done["cells_held"] == 1
    found = project.query(
        f"SELECT Referral_Link__c, Referral_Code__c FROM Contact WHERE Id = '{record}'"
    )[0]
    assert found["Referral_Link__c"] == "https://by.hand.example/"
    assert found["Referral_Code__c"] is not None, "the other cells of the record are written"
    held = [row for row in journal(project, "referrals/spring") if row["state"] == "held"]
    assert [row["record_id"] for row in held] == [record]


def test_a_plan_is_carried_out_once(project: Project) -> None:
    project.run("sync")
    plan = confirmed(project, PlanKind.PUSH, "referrals/spring")
    project.run("push", "pushed/referrals/spring")
    assert plans.get(project.ledger, plan.id).status is PlanStatus.DONE
    result = project.attempt("push", "pushed/referrals/spring")
    assert "no push plan is open" in why(result)


def test_a_plan_that_changed_since_it_was_shown_has_to_be_confirmed_anew(
    start: Start, shipped: dict[str, Any]
) -> None:
    project = start()
    project.run("sync")
    first = open_plan(project, PlanKind.PUSH, "referrals/spring")
    gone = project.query("SELECT Id FROM Contact WHERE IsDeleted = false LIMIT 1")[0]["Id"]
    project.org.request("DELETE", f"{project.org.base_path}/sobjects/Contact/{gone}")
    time.sleep(1.1)
    project.run("sync")
    second = open_plan(project, PlanKind.PUSH, "referrals/spring")
    assert second.id != first.id
    with pytest.raises(PipelineError, match=second.id):
        plans.confirm(project.ledger, first.id, amount=first.amount, by="a test")


def test_a_record_in_error_does_not_stop_the_others_and_is_not_sent_again(
    start: Start, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = start()
    project.run("sync")
    confirmed(project, PlanKind.PUSH, "referrals/spring")
    # A record deleted by somebody between the look at it and the update.
    victims: list[str] = []
    real = reading.retrieve

    def then_deleted(session: Any, name: str, ids: Any, fields: Any) -> Any:
        found = real(session, name, ids, fields)
        victims.append(ids[0])
        session.request("DELETE", f"{session.base_path}/sobjects/{name}/{ids[0]}")
        return found

    monkeypatch.setattr(sending, "retrieve", then_deleted)
    done = project.run("push", "pushed/referrals/spring")["pushed/referrals/spring"]
    assert done["cells_rejected"] == 4
    assert done["cells_written"] > 100
    rejected = [row for row in journal(project, "referrals/spring") if row["state"] == "rejected"]
    assert {row["record_id"] for row in rejected} == set(victims)
    assert all("ENTITY_IS_DELETED" in row["reason"] and row["cure"] for row in rejected)


class CrashError(Exception):
    """The process dies here."""


@pytest.mark.parametrize("sent", [False, True], ids=["before sending", "after sending"])
def test_a_push_that_died_goes_on_and_writes_nothing_twice(
    project: Project, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    project.run("sync")
    plan = confirmed(project, PlanKind.PUSH, "referrals/spring")
    real = writing.update
    calls = 0

    def dies(*arguments: Any) -> Iterator[writing.Outcome]:
        nonlocal calls
        calls += 1
        if calls == 2:
            if sent:
                list(real(*arguments))
            raise CrashError
        yield from real(*arguments)

    monkeypatch.setattr(sending, "CHUNK", 50)
    monkeypatch.setattr(sending, "update", dies)
    assert not project.attempt("push", "pushed/referrals/spring").success
    assert plans.get(project.ledger, plan.id).status is PlanStatus.CONFIRMED
    sent_twice: list[str] = []
    already = {r["Id"] for r in project.query(
        "SELECT Id FROM Contact WHERE Referral_Link__c LIKE 'https://refer.example.com/spring/%'"
    )}  # fmt: skip

    def counted(session: Any, name: str, updates: list[writing.Update]) -> Any:
        sent_twice.extend(one.id for one in updates if one.id in already)
        return real(session, name, updates)

    monkeypatch.setattr(sending, "update", counted)
    project.run("push", "pushed/referrals/spring")
    assert sent_twice == []
    entries = [row for row in journal(project, "referrals/spring") if row["plan_id"] == plan.id]
    assert len(entries) == plan.amount
    assert {row["state"] for row in entries} <= {"written", "unchanged"}
    interrupted = [row for row in entries if row["reason"] == "sent before an interruption"]
    assert bool(interrupted) == sent


def test_the_guard_lets_nothing_through_that_is_not_mapped(project: Project) -> None:
    from salesforce_pipelines.org.describe import describe

    stream = streams(project.pipelines)["contacts"]
    guard = Guard(stream, describe(project.org, "Contact"))
    guard.check("Contact", ["Title"])
    with pytest.raises(NotAllowedError, match=r"Contact\.Email: not mapped for contacts"):
        guard.check("Contact", ["Title", "Email"])
    with pytest.raises(NotAllowedError, match="not mapped"):
        guard.check("Lead", ["Title"])


def test_a_mapped_field_that_is_missing_or_read_only_is_told_before_anything_is_planned(
    start: Start, shipped: dict[str, Any]
) -> None:
    objects = {**shipped["objects"]}
    objects["Contact"] = {**objects["Contact"], "mapping": {"Name": "full_name"}}
    project = start(objects=objects)
    assert "Contact.Name cannot be updated" in why(project.attempt("sync"))
    objects["Contact"] = {**objects["Contact"], "mapping": {"Shoe_Size__c": "job_title"}}
    project = start(objects=objects)
    assert "the org has no field Shoe_Size__c" in why(project.attempt("sync"))


@pytest.mark.parametrize(
    ("code", "fields", "again"),
    [
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", ("Referral_Link__c",), 3),
        ("UNABLE_TO_LOCK_ROW", (), 4),
        ("INSUFFICIENT_ACCESS_OR_READONLY", (), 4),
    ],
)
def test_only_a_value_that_was_refused_for_itself_is_not_offered_again(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    fields: tuple[str, ...],
    again: int,
) -> None:
    project.run("sync")
    confirmed(project, PlanKind.PUSH, "referrals/spring")
    real = writing.update

    def refuses_one(session: Any, name: str, updates: Any) -> Iterator[writing.Outcome]:
        yield writing.Outcome(updates[0].id, Rejection(code, "words", fields))
        yield from real(session, name, updates[1:])

    monkeypatch.setattr(sending, "update", refuses_one)
    project.run("push", "pushed/referrals/spring")
    time.sleep(1.1)
    found = project.run("sync")["push_plan/referrals/spring"]
    assert found["cells_to_write"] == again


def test_a_plan_whose_rules_changed_after_the_confirmation_is_refused(
    project: Project, shipped: dict[str, Any]
) -> None:
    project.run("sync")
    confirmed(project, PlanKind.PUSH, "referrals/spring")
    program = project.pipelines.referrals["spring"]
    fields = {**program.write_back}
    fields["Referral_Link__c"] = fields["Referral_Link__c"].model_copy(
        update={"rule": WriteRule.NEVER}
    )
    changed = program.model_copy(update={"write_back": fields})
    project.pipelines = project.pipelines.model_copy(update={"referrals": {"spring": changed}})
    result = project.attempt("push", "pushed/referrals/spring")
    assert "changed since it was confirmed" in why(result)
    assert not journal_exists(project, "referrals/spring")


def journal_exists(project: Project, stream: str) -> bool:
    return project.tables.log(f"journal/{stream}", key="entry").state() is not None
