from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store import plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan, PlanKind, PlanStatus
from salesforce_pipelines.store.schema import plan as table
from salesforce_pipelines_tests.store.racing import race

ONE, TWO = "1" * 64, "2" * 64


def propose(
    ledger: Ledger, fingerprint: str = ONE, *, stream: str = "contacts", run_id: str = "plan-run"
) -> Plan:
    return plans.propose(
        ledger,
        kind=PlanKind.ENRICHMENT,
        stream=stream,
        fingerprint=fingerprint,
        records=1000,
        eligible=400,
        amount=120,
        summary={"matched": 120},
        run_id=run_id,
    )


def confirmed(ledger: Ledger, fingerprint: str = ONE) -> Plan:
    return plans.confirm(ledger, propose(ledger, fingerprint).id, amount=120, by="Ann")


def claimed(ledger: Ledger, fingerprint: str = ONE, run_id: str = "run-1") -> Plan:
    return plans.claim(ledger, confirmed(ledger, fingerprint).id, run_id=run_id)


def status(ledger: Ledger, plan: Plan) -> PlanStatus:
    return plans.get(ledger, plan.id).status


def test_life_of_a_plan(ledger: Ledger) -> None:
    plan = propose(ledger)
    assert plan.id == "1" * 16
    assert (plan.status, plan.records, plan.eligible, plan.amount, plan.attempts) == (
        PlanStatus.PROPOSED,
        1000,
        400,
        120,
        0,
    )
    assert (plan.summary, plan.unit, plan.proposed_run) == ({"matched": 120}, "credits", "plan-run")
    assert datetime.now(UTC) - plan.proposed_at < timedelta(minutes=1)
    assert plans.open_plans(ledger) == plans.open_plans(ledger, PlanKind.ENRICHMENT) == [plan]
    assert plans.open_plans(ledger, PlanKind.PUSH) == []

    plan = plans.confirm(ledger, plan.id, amount=120, by=" Ann ")
    assert (plan.status, plan.decided_by) == (PlanStatus.CONFIRMED, "Ann")
    assert plans.confirmed(ledger, PlanKind.ENRICHMENT) == [plan]

    plan = plans.claim(ledger, plan.id, run_id="run-1")
    assert (plan.status, plan.claimed_by, plan.attempts) == (PlanStatus.CLAIMED, "run-1", 1)
    assert (plans.open_plans(ledger), plans.under_way(ledger)) == ([], [plan])

    plan = plans.finish(ledger, plan.id, run_id="run-1", outcome={"charged": 118})
    assert (plan.status, plan.outcome) == (PlanStatus.DONE, {"charged": 118})
    assert plans.get(ledger, plan.id) == plan
    assert plans.history(ledger, stream="contacts") == [plan]


def test_same_plan_is_proposed_once(ledger: Ledger) -> None:
    plan = propose(ledger)
    assert propose(ledger, run_id="later") == plan
    plan = confirmed(ledger)
    assert propose(ledger) == plan
    plan = plans.claim(ledger, plan.id, run_id="run-1")
    assert propose(ledger) == plan, "it is under way: asking again would spend it twice"


def test_newer_plan_takes_the_place_of_open_ones(ledger: Ledger) -> None:
    first, elsewhere = propose(ledger), propose(ledger, stream="leads")
    second = propose(ledger, TWO)
    old = plans.get(ledger, first.id)
    assert (old.status, old.superseded_by) == (PlanStatus.SUPERSEDED, second.id)
    plans.confirm(ledger, second.id, amount=120, by="Ann")
    third = propose(ledger, "3" * 64)
    assert status(ledger, second) is PlanStatus.SUPERSEDED
    assert {plan.id for plan in plans.open_plans(ledger)} == {third.id, elsewhere.id}
    with pytest.raises(PipelineError, match=f"plan {third.id} took its place"):
        plans.confirm(ledger, first.id, amount=120, by="Ann")


def test_empty_plan_closes_the_open_one(ledger: Ledger) -> None:
    plan = propose(ledger)
    closed = plans.supersede_open(ledger, kind=PlanKind.ENRICHMENT, stream="contacts")
    assert [closed_plan.id for closed_plan in closed] == [plan.id]
    assert plans.supersede_open(ledger, kind=PlanKind.ENRICHMENT, stream="contacts") == []
    with pytest.raises(PipelineError, match="nothing is left of it to do"):
        plans.confirm(ledger, plan.id, amount=120, by="Ann")


def done(ledger: Ledger) -> Plan:
    plan = claimed(ledger)
    return plans.finish(ledger, plan.id, run_id="run-1", outcome={})


@pytest.mark.parametrize(
    "end",
    [
        done,
        lambda ledger: plans.reject(ledger, propose(ledger).id, by="Ann"),
        lambda ledger: [propose(ledger), plans.expire(ledger, proposed_before=tomorrow())],
        lambda ledger: [propose(ledger), propose(ledger, TWO)],
    ],
)
def test_what_comes_again_must_be_confirmed_again(
    ledger: Ledger, end: Callable[[Ledger], Any]
) -> None:
    end(ledger)
    again = propose(ledger)
    assert (again.id, again.status) == ("1" * 16 + "-2", PlanStatus.PROPOSED)
    assert again.fingerprint == ONE
    assert plans.find(ledger, "1" * 16).status is not PlanStatus.PROPOSED
    plans.reject(ledger, again.id, by="Ann", note="not now")
    assert propose(ledger).id == "1" * 16 + "-3"


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def test_confirming_names_the_amount(ledger: Ledger) -> None:
    plan = propose(ledger)
    with pytest.raises(PipelineError, match="asks for 120 credits, not 121"):
        plans.confirm(ledger, plan.id, amount=121, by="Ann")
    with pytest.raises(PipelineError, match="Say who confirms"):
        plans.confirm(ledger, plan.id, amount=120, by="  ")
    with pytest.raises(PipelineError, match=f"There is no plan 'f00'. Open plans: {plan.id}"):
        plans.confirm(ledger, "f00", amount=120, by="Ann")
    assert status(ledger, plan) is PlanStatus.PROPOSED
    first = plans.confirm(ledger, plan.id, amount=120, by="Ann")
    assert plans.confirm(ledger, plan.id, amount=120, by="Ann") == first
    with pytest.raises(PipelineError, match="it is confirmed by Ann"):
        plans.confirm(ledger, plan.id, amount=120, by="Bob")
    with pytest.raises(PipelineError, match="asks for 120"):
        plans.confirm(ledger, plan.id, amount=1, by="Ann")


def test_rejecting(ledger: Ledger) -> None:
    plan = confirmed(ledger)
    with pytest.raises(PipelineError, match="Say who rejects"):
        plans.reject(ledger, plan.id, by="")
    rejected = plans.reject(ledger, plan.id, by="Bob", note="too dear")
    assert (rejected.status, rejected.decided_by, rejected.decision_note) == (
        PlanStatus.REJECTED,
        "Bob",
        "too dear",
    )
    assert plans.reject(ledger, plan.id, by="Bob", note="again") == rejected
    with pytest.raises(PipelineError, match="cannot be claimed: Bob rejected it"):
        plans.claim(ledger, plan.id, run_id="run-1")
    with pytest.raises(PipelineError, match="cannot be rejected: run run-1 holds it"):
        plans.reject(ledger, claimed(ledger).id, by="Bob")


def test_expiring(ledger: Ledger) -> None:
    old = propose(ledger)
    under_way = plans.claim(
        ledger,
        plans.confirm(ledger, propose(ledger, TWO, stream="leads").id, amount=120, by="Ann").id,
        run_id="run-1",
    )
    assert plans.expire(ledger, proposed_before=old.proposed_at) == []
    assert [plan.id for plan in plans.expire(ledger, proposed_before=tomorrow())] == [old.id]
    assert status(ledger, under_way) is PlanStatus.CLAIMED
    with pytest.raises(PipelineError, match="it expired"):
        plans.confirm(ledger, old.id, amount=120, by="Ann")


def test_only_a_confirmed_plan_is_claimed(ledger: Ledger) -> None:
    plan = propose(ledger)
    with pytest.raises(PipelineError, match="waits to be confirmed"):
        plans.claim(ledger, plan.id, run_id="run-1")
    plan = claimed(ledger)
    assert plans.claim(ledger, plan.id, run_id="run-1") == plan
    with pytest.raises(PipelineError, match="run run-1 holds it"):
        plans.claim(ledger, plan.id, run_id="run-2")
    plan = plans.finish(ledger, plan.id, run_id="run-1", outcome={})
    with pytest.raises(PipelineError, match="it is done, by run run-1"):
        plans.claim(ledger, plan.id, run_id="run-1")


def test_plan_of_a_dead_run_is_taken_over(ledger: Ledger) -> None:
    plan = claimed(ledger)
    asked: list[str] = []

    def abandoned(run_id: str) -> bool:
        asked.append(run_id)
        return True

    taken = plans.claim(ledger, plan.id, run_id="run-2", abandoned=abandoned)
    assert asked == ["run-1"]
    assert (taken.claimed_by, taken.attempts) == ("run-2", 2)
    for late in (
        lambda: plans.finish(ledger, plan.id, run_id="run-1", outcome={}),
        lambda: plans.release(ledger, plan.id, run_id="run-1"),
    ):
        with pytest.raises(PipelineError, match="run run-2 holds it"):
            late()


def test_finishing_twice_keeps_the_first_outcome(ledger: Ledger) -> None:
    plan = claimed(ledger)
    first = plans.finish(ledger, plan.id, run_id="run-1", outcome={"charged": 1})
    assert plans.finish(ledger, plan.id, run_id="run-1", outcome={"charged": 2}) == first


def test_released_plan_stays_confirmed(ledger: Ledger) -> None:
    plan = claimed(ledger)
    back = plans.release(ledger, plan.id, run_id="run-1")
    assert (back.status, back.claimed_by, back.decided_by) == (PlanStatus.CONFIRMED, None, "Ann")
    assert plans.claim(ledger, plan.id, run_id="run-2").attempts == 2


def test_released_plan_gives_way_to_a_newer_one(ledger: Ledger) -> None:
    plan = claimed(ledger)
    newer = propose(ledger, TWO)
    back = plans.release(ledger, plan.id, run_id="run-1")
    assert (back.status, back.superseded_by) == (PlanStatus.SUPERSEDED, newer.id)
    assert status(ledger, newer) is PlanStatus.PROPOSED


def test_one_plan_of_a_stream_is_under_way(ledger: Ledger) -> None:
    first = claimed(ledger, ONE, "run-1")
    second = confirmed(ledger, TWO)
    with pytest.raises(PipelineError, match="run run-1 holds it"):
        plans.claim(ledger, second.id, run_id="run-2")
    assert (
        plans.claim(
            ledger, second.id, run_id="run-2", abandoned=lambda run_id: run_id == "run-1"
        ).status
        is PlanStatus.CLAIMED
    )
    left = plans.get(ledger, first.id)
    assert (left.status, left.superseded_by) == (PlanStatus.SUPERSEDED, second.id)


def test_database_holds_to_one_open_plan(ledger: Ledger) -> None:
    propose(ledger)
    with ledger.read() as connection:
        row = dict(connection.execute(select(table)).mappings().one())
    row.pop("number")
    with pytest.raises(IntegrityError), ledger.begin() as connection:
        connection.execute(table.insert(), [row | {"id": "other"}])


def test_finding_by_the_first_digits(ledger: Ledger) -> None:
    plan = propose(ledger, "ab" * 32)
    other = propose(ledger, "ac" * 32, stream="leads")
    assert plans.find(ledger, "ab") == plan
    with pytest.raises(PipelineError, match=f"begin with 'a': {other.id}, {plan.id}"):
        plans.find(ledger, "a")
    for absent in ("", "b", "%", "a%"):
        with pytest.raises(PipelineError, match=r"There is no plan|Several plans"):
            plans.find(ledger, absent)
    plans.reject(ledger, plan.id, by="Ann")
    again = propose(ledger, "ab" * 32)
    assert plans.find(ledger, "ab" * 8).id == plan.id
    assert plans.find(ledger, "ab" * 8 + "-") == again


@pytest.mark.parametrize("fingerprint", ["", "abc", "G" * 64, "A" * 64])
def test_fingerprint_is_a_hexadecimal_digest(ledger: Ledger, fingerprint: str) -> None:
    with pytest.raises(ValueError, match="at least 16 lowercase hexadecimal digits"):
        propose(ledger, fingerprint)


def try_to_claim(url: str, plan_id: str, run_id: str) -> bool:
    with Ledger.open(url) as ledger:
        try:
            plans.claim(ledger, plan_id, run_id=run_id)
        except PipelineError:
            return False
        return True


def test_one_of_many_runs_gets_the_claim(ledger_url: str, ledger: Ledger) -> None:
    plan = confirmed(ledger)
    won = race(try_to_claim, *((ledger_url, plan.id, f"run-{number}") for number in range(3)))
    assert sorted(won) == [False, False, True]
    assert plans.get(ledger, plan.id).claimed_by == f"run-{won.index(True)}"


def propose_many(url: str, digit: str) -> None:
    with Ledger.open(url) as ledger:
        for number in range(8):
            propose(ledger, digit + f"{number:063x}")


def test_runs_that_propose_at_once_leave_one_open(ledger_url: str, ledger: Ledger) -> None:
    race(propose_many, (ledger_url, "a"), (ledger_url, "b"), (ledger_url, "c"))
    assert len(plans.open_plans(ledger)) == 1
    assert len(plans.history(ledger)) == 24


NEXT = {
    PlanStatus.PROPOSED: {
        PlanStatus.CONFIRMED,
        PlanStatus.REJECTED,
        PlanStatus.EXPIRED,
        PlanStatus.SUPERSEDED,
    },
    PlanStatus.CONFIRMED: {
        PlanStatus.CLAIMED,
        PlanStatus.REJECTED,
        PlanStatus.EXPIRED,
        PlanStatus.SUPERSEDED,
    },
    PlanStatus.CLAIMED: {PlanStatus.DONE, PlanStatus.CONFIRMED, PlanStatus.SUPERSEDED},
}
STEPS = st.tuples(
    st.sampled_from(
        # What plans mostly go through comes twice.
        [*("propose", "confirm", "claim", "finish", "release") * 2, "reject", "expire", "supersede"]
    ),
    st.sampled_from([ONE, TWO]),
    st.sampled_from(["run-1", "run-2", "dead"]),
)


def step(ledger: Ledger, kind: str, fingerprint: str, run_id: str) -> None:
    latest = next((p for p in plans.history(ledger) if p.fingerprint == fingerprint), None)
    plan_id = latest.id if latest else "absent"
    match kind:
        case "propose":
            propose(ledger, fingerprint)
        case "confirm":
            plans.confirm(ledger, plan_id, amount=120, by="Ann")
        case "claim":
            plans.claim(ledger, plan_id, run_id=run_id, abandoned=lambda holder: holder == "dead")
        case "finish":
            plans.finish(ledger, plan_id, run_id=run_id, outcome={})
        case "release":
            plans.release(ledger, plan_id, run_id=run_id)
        case "reject":
            plans.reject(ledger, plan_id, by="Ann")
        case "expire":
            plans.expire(ledger, proposed_before=tomorrow())
        case "supersede":
            plans.supersede_open(ledger, kind=PlanKind.ENRICHMENT, stream="contacts")


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_only_allowed_ways_are_taken(steps: list[tuple[str, str, str]]) -> None:
    with TemporaryDirectory() as folder, Ledger.open(f"sqlite:///{Path(folder)}/l.db") as ledger:
        before: dict[str, Plan] = {}
        for taken in steps:
            refused = False
            try:
                step(ledger, *taken)
            except PipelineError:
                refused = True
            now = {plan.id: plan for plan in plans.history(ledger)}
            if refused:
                assert now == before
            for plan_id, plan in before.items():
                new = now[plan_id].status
                assert new is plan.status or new in NEXT.get(plan.status, set())
            counted = [plan.status for plan in now.values()]
            assert counted.count(PlanStatus.CLAIMED) <= 1
            assert counted.count(PlanStatus.PROPOSED) + counted.count(PlanStatus.CONFIRMED) <= 1
            before = now
