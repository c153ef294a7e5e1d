import itertools
import secrets
from collections.abc import Iterator

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store import referral_members
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines_tests.store.racing import race


def enrol(
    ledger: Ledger, members: list[tuple[str, str]], codes: Iterator[str], program: str = "spring"
) -> int:
    return referral_members.enrol(
        ledger, program=program, members=members, new_code=lambda: next(codes)
    )


def held(ledger: Ledger, program: str | None = None) -> dict[tuple[str, str, str], str]:
    rows = referral_members.members(ledger, program).read_all()
    assert rows.schema == referral_members.MEMBERS
    return {(r["program"], r["object"], r["record_id"]): r["code"] for r in rows.to_pylist()}


def test_a_code_once_given_stays(ledger: Ledger) -> None:
    codes = (f"c{number}" for number in itertools.count())
    assert enrol(ledger, [("Lead", "1"), ("Contact", "1"), ("Lead", "1")], codes) == 2
    first = held(ledger)
    assert enrol(ledger, [("Lead", "1"), ("Lead", "2")], codes) == 1
    assert enrol(ledger, [("Lead", "1")], codes, program="autumn") == 1
    after = held(ledger)
    assert {key: after[key] for key in first} == first
    assert len(set(after.values())) == len(after) == 4
    assert set(held(ledger, "autumn")) == {("autumn", "Lead", "1")}
    assert enrol(ledger, [], codes) == 0


def test_taken_code_is_replaced_by_another(ledger: Ledger) -> None:
    assert enrol(ledger, [("Lead", "1")], iter(["a"])) == 1
    assert enrol(ledger, [("Lead", "2"), ("Lead", "3")], iter(["a", "a", "a", "b", "c"])) == 2
    assert sorted(held(ledger).values()) == ["a", "b", "c"]


def test_codes_that_run_out_are_an_error(ledger: Ledger) -> None:
    enrol(ledger, [("Lead", "1")], iter(["a"]))
    with pytest.raises(PipelineError, match=r"1 member\(s\) got no code.*Make the codes longer"):
        enrol(ledger, [("Lead", "2")], itertools.repeat("a"))
    assert len(held(ledger)) == 1


def test_members_are_found_by_code(ledger: Ledger) -> None:
    members = [("Lead" if number % 2 else "Contact", str(number)) for number in range(7000)]
    assert enrol(ledger, members, (f"c{number}" for number in itertools.count())) == 7000
    by_key = held(ledger)
    found = referral_members.members_by_code(ledger, [*by_key.values(), "absent"])
    assert {(m.program, m.object, m.record_id): code for code, m in found.items()} == by_key
    assert referral_members.members_by_code(ledger, ["absent"]) == {}


def enrol_everybody(url: str, start: int) -> int:
    members = [("Lead", str((number + start) % 3000)) for number in range(3000)]
    with Ledger.open(url) as ledger:
        return referral_members.enrol(
            ledger, program="spring", members=members, new_code=lambda: secrets.token_urlsafe(9)
        )


def test_racing_runs_give_one_code_each(ledger_url: str, ledger: Ledger) -> None:
    enrolled = race(enrol_everybody, *((ledger_url, start) for start in (0, 1000, 2000)))
    assert sum(enrolled) == 3000
    assert len(set(held(ledger).values())) == len(held(ledger)) == 3000
