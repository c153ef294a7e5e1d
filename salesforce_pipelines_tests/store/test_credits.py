import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store import credits, plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan, PlanKind
from salesforce_pipelines_tests.store.racing import race


def under_way(ledger: Ledger, digit: str = "a", amount: int = 1000) -> Plan:
    plan = plans.propose(
        ledger,
        kind=PlanKind.ENRICHMENT,
        stream=f"contacts/{digit}",
        fingerprint=digit * 64,
        records=amount,
        eligible=amount,
        amount=amount,
        summary={},
        run_id="run-0",
    )
    plans.confirm(ledger, plan.id, amount=amount, by="Ann")
    return plans.claim(ledger, plan.id, run_id="run-1")


def charge(
    ledger: Ledger, plan: Plan, people: list[str], each: int = 1, provider: str = "acme"
) -> int:
    return credits.charge(
        ledger, provider=provider, person_ids=people, plan_id=plan.id, credits_each=each
    )


def test_a_person_is_charged_once_with_a_provider(ledger: Ledger) -> None:
    first, second = under_way(ledger, "a"), under_way(ledger, "b")
    assert charge(ledger, first, ["p1", "p2", "p1"], each=3) == 6
    assert charge(ledger, first, ["p1", "p2"], each=3) == 0
    assert charge(ledger, second, ["p2", "p3"], each=3) == 3
    assert charge(ledger, second, ["p2"], each=1, provider="other") == 1
    assert charge(ledger, second, []) == 0
    assert (credits.spent(ledger, "acme"), credits.spent(ledger, "other")) == (9, 1)
    assert credits.spent(ledger, "nobody") == 0


def test_who_was_charged(ledger: Ledger) -> None:
    people = [f"p{number}" for number in range(12_000)]
    assert charge(ledger, under_way(ledger, amount=12_000), people) == 12_000
    asked = [*people, "p-1", "p-2"]
    assert credits.already_charged(ledger, "acme", asked) == set(people)
    assert credits.already_charged(ledger, "other", asked) == set()
    assert credits.already_charged(ledger, "acme", []) == set()
    read = credits.charged_people(ledger, "acme").read_all()
    assert read.schema == credits.CHARGED
    assert sorted(read["person_id"].to_pylist()) == sorted(people)
    assert credits.charged_people(ledger, "other").read_all().num_rows == 0


def test_no_more_than_confirmed(ledger: Ledger) -> None:
    plan = under_way(ledger, amount=5)
    assert charge(ledger, plan, ["p1", "p2"], each=2) == 4
    with pytest.raises(PipelineError, match="confirmed for 5 credits; charging 2 more would make"):
        charge(ledger, plan, ["p2", "p3"], each=2)
    assert credits.spent(ledger, "acme") == 4
    assert credits.already_charged(ledger, "acme", ["p3"]) == set()
    assert charge(ledger, plan, ["p3"], each=1) == 1


def test_nothing_without_a_plan_under_way(ledger: Ledger) -> None:
    plan = under_way(ledger)
    plans.finish(ledger, plan.id, run_id="run-1", outcome={})
    for plan_id in (plan.id, "absent"):
        with pytest.raises(PipelineError, match=f"Plan {plan_id} is not under way"):
            credits.charge(
                ledger, provider="acme", person_ids=["p"], plan_id=plan_id, credits_each=1
            )
    assert credits.spent(ledger, "acme") == 0


def charge_all(url: str, plan_id: str, backwards: bool) -> int:
    people = [f"p{number:05}" for number in range(9000)]
    if backwards:
        people.reverse()
    with Ledger.open(url) as ledger:
        return credits.charge(
            ledger, provider="acme", person_ids=people, plan_id=plan_id, credits_each=2
        )


def test_racing_runs_charge_once(ledger_url: str, ledger: Ledger) -> None:
    first, second = under_way(ledger, "a", 18_000), under_way(ledger, "b", 18_000)
    charged = race(
        charge_all,
        (ledger_url, first.id, False),
        (ledger_url, second.id, True),
        (ledger_url, second.id, False),
    )
    assert sum(charged) == 18_000
    assert credits.spent(ledger, "acme") == 18_000
