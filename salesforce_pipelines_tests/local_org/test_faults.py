"""Faults as rules: what can be asked for, what matches, and how often it strikes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.local_org.admin.fault_kinds import KINDS, FaultError, describe_kinds
from salesforce_pipelines.local_org.admin.faults import Faults, Occasion, parse_fault, path_fits

ERROR: dict[str, object] = {"kind": "error", "status": 503, "error_code": "X", "message": "m"}


def request(path: str = "query", **more: object) -> Occasion:
    return Occasion(method="GET", path=f"/services/data/v62.0/{path}", below_version=path, **more)  # type: ignore[arg-type]


def strikes(faults: Faults, occasion: Occasion) -> bool:
    return bool(faults.strike("request", occasion))


@pytest.mark.parametrize(
    ("given_keys", "message"),
    [
        ({}, "kind: give one of error, daily_limit"),
        ({"kind": "eror"}, "kind: give one of"),
        ({"kind": ["error"]}, "kind: give one of"),
        ({"kind": "error", "status": 503}, "error_code is missing. The errorCode, such as"),
        ({**ERROR, "status": 200}, "status: 200 is none of"),
        ({**ERROR, "status": "503"}, "status: give a whole number"),
        ({**ERROR, "status": True}, "status: give a whole number"),
        ({**ERROR, "colour": "red"}, "colour: a fault of kind error takes only kind, status,"),
        ({**ERROR, "times": 0}, 'times: give a whole number of at least 1, or "unlimited"'),
        ({**ERROR, "times": True}, "times: give a whole number"),
        ({**ERROR, "skip": -1}, "skip: give a number of at least 0"),
        ({**ERROR, "probability": 1.5}, "probability: give a number from 0 to 1"),
        ({**ERROR, "path": "a", "path_regex": "b"}, "path_regex: leave it out"),
        ({**ERROR, "path_regex": "("}, "path_regex: this is no regular expression"),
        ({**ERROR, "when": "later"}, "when: later is none of before, after"),
        ({"kind": "cut", "after_bytes": 1, "fraction": 0.5}, "fraction: leave it out"),
        ({"kind": "cut", "fraction": 1}, "fraction: give a number below 1"),
        ({"kind": "truncated_results"}, "missing_rows: give either this or after_bytes"),
        ({"kind": "late_rows", "seconds": 5}, "sobject is missing"),
        (
            {"kind": "save_error", "error_code": "X", "message": "m", "ids": ["me"]},
            "ids: me is not the id of a record",
        ),
        (
            {"kind": "save_error", "error_code": "X", "message": "m", "ids": [3]},
            "ids: give a list of texts",
        ),
        (
            {"kind": "save_error", "error_code": "X", "message": "m", "operations": ["upsert"]},
            "operations: upsert is none of create, update, delete",
        ),
        ({"kind": "maintenance", "path": "query"}, "path: a fault of kind maintenance takes only"),
    ],
)
def test_what_cannot_be_is_refused_by_key(given_keys: dict[str, object], message: str) -> None:
    with pytest.raises(FaultError, match=re.escape(message)):
        parse_fault("f", given_keys)


def test_every_kind_can_be_described_and_made() -> None:
    required: dict[str, dict[str, object]] = {
        "error": ERROR,
        "save_error": {"error_code": "X", "message": "m"},
        "truncated_results": {"missing_rows": 1},
        "late_rows": {"seconds": 1, "sobject": "Contact"},
    }
    for kind in KINDS:
        fault = parse_fault("f", {**required.get(kind, {}), "kind": kind})
        assert fault.shown()["kind"] == kind
    assert describe_kinds()["kinds"].keys() == KINDS.keys()


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("query", "query", True),
        ("query", "QUERY", True),
        ("query", "query/01g", False),
        ("query**", "queryAll", True),
        ("sobjects/Contact/*", "sobjects/contact/003", True),
        ("sobjects/Contact/*", "sobjects/contact/003/x", False),
        ("sobjects/**", "sobjects/contact/003/x", True),
        ("jobs/*/*/results", "jobs/query/750/results", True),
        ("a.c", "abc", False),
    ],
)
def test_path_patterns(pattern: str, path: str, fits: bool) -> None:
    assert path_fits(pattern, path) is fits


@given(st.text(max_size=20))
def test_a_path_without_stars_fits_itself_and_every_path_fits_two_stars(path: str) -> None:
    assert path_fits("**", path)
    assert path_fits(path.replace("*", ""), path.replace("*", ""))


@given(skip=st.integers(0, 5), times=st.none() | st.integers(1, 5), occasions=st.integers(0, 15))
def test_it_strikes_after_what_is_skipped_and_then_so_often(
    skip: int, times: int | None, occasions: int
) -> None:
    faults = Faults()
    fault = faults.add({**ERROR, "skip": skip, "times": times or "unlimited"})
    struck = [strikes(faults, request()) for _ in range(occasions)]
    expected = [at >= skip and (times is None or at < skip + times) for at in range(occasions)]
    assert struck == expected
    assert fault.hits == sum(expected)


def test_a_probability_is_met_and_repeatable() -> None:
    def draw(seed: int) -> list[bool]:
        faults = Faults()
        faults.add({**ERROR, "times": "unlimited", "probability": 0.3, "seed": seed})
        return [strikes(faults, request()) for _ in range(1000)]

    assert draw(1) == draw(1) != draw(2)
    assert 230 < sum(draw(1)) < 370


@pytest.mark.parametrize(
    ("matcher", "occasion", "matches"),
    [
        ({}, request(), True),
        ({}, Occasion(path="/services/oauth2/token"), False),
        ({"path": "/services/oauth2/token"}, Occasion(path="/services/oauth2/token"), True),
        ({"path_regex": "oauth2"}, Occasion(path="/services/oauth2/token"), True),
        ({"path": "/services/data/v62.0/query"}, request(), True),
        ({"method": "get"}, request(), True),
        ({"method": "POST"}, request(), False),
        ({"sobject": "Contact"}, request(), False),
        ({"sobject": "Contact"}, request(sobjects=frozenset({"contact"})), True),
        ({"user": "005x"}, request(user_id="005x"), True),
        ({"user": "005x"}, request(user_id="005y"), False),
    ],
)
def test_matchers(matcher: dict[str, str], occasion: Occasion, matches: bool) -> None:
    faults = Faults()
    faults.add({**ERROR, **matcher})
    assert strikes(faults, occasion) is matches


def test_of_one_effect_only_the_first_strikes_and_different_effects_meet() -> None:
    faults = Faults()
    first = faults.add(ERROR)
    second = faults.add({"kind": "server_unavailable"})
    faults.add({"kind": "slow", "delay_seconds": 1})
    struck = faults.strike("request", request())
    assert struck["answer"] is first
    assert struck["pace"].kind == "slow"
    assert (second.seen, second.hits) == (0, 0)
    assert faults.strike("request", request())["answer"] is second
    assert faults.strike("request", request()) == {}


def test_what_was_withdrawn_strikes_no_more() -> None:
    faults = Faults()
    fault = faults.add(ERROR)
    assert faults.may_strike("request")
    assert faults.remove(fault.id) is fault
    assert faults.remove(fault.id) is None
    assert not faults.may_strike("request")
    assert not strikes(faults, request())
    assert faults.add(ERROR).id != fault.id
