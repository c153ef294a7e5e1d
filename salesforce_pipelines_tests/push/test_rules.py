"""What each write rule does with each kind of value."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.config.models import WriteRule
from salesforce_pipelines.org.describe import FieldDescribe
from salesforce_pipelines.push.rules import (
    Candidate,
    UnfitError,
    Value,
    Verdict,
    decide,
    fitted,
    is_blank,
    same,
)

blanks = st.sampled_from([None, "", "  ", "\n"])
texts = st.text(min_size=1, max_size=20)
values = st.one_of(blanks, texts, st.integers(-1000, 1000), st.booleans())
rules = st.sampled_from(list(WriteRule))
types = st.sampled_from(["", "string", "multipicklist", "time", "datetime", "boolean"])


def field(kind: str, **options: object) -> FieldDescribe:
    known: dict[str, object] = {
        "name": "F__c",
        "label": "F",
        "type": kind,
        "length": 0,
        "precision": 0,
        "scale": 0,
        "createable": True,
        "updateable": True,
        "nillable": True,
        "calculated": False,
        "restricted_picklist": False,
        "picklist_values": (),
        "reference_to": (),
    }
    return FieldDescribe(**(known | options))  # type: ignore[arg-type]


@given(before=values, value=values, own=values, rule=rules, allow=st.booleans(), kind=types)
def test_what_no_rule_may_do(
    before: Value, value: Value, own: Value, rule: WriteRule, allow: bool, kind: str
) -> None:
    decision = decide(Candidate(before, value, own, type=kind), rule, allow_blank=allow)
    if decision.verdict is not Verdict.WRITE:
        assert decision.after == before
        return
    assert rule is not WriteRule.NEVER
    assert not same(before, decision.after, kind), "a write changes something"
    if is_blank(decision.after):
        assert allow, "a blank erases only where that is allowed"
        assert kind != "boolean"
    if rule is WriteRule.FILL_IF_BLANK:
        assert is_blank(before)
    if rule is WriteRule.OVERWRITE_OWN and not is_blank(before):
        assert same(before, own, kind)
    if rule is WriteRule.APPEND and not is_blank(before):
        assert str(decision.after).startswith(str(before).strip())


@given(before=values, value=values, own=values, rule=rules, allow=st.booleans(), kind=types)
def test_deciding_again_after_a_write_finds_nothing_to_do(
    before: Value, value: Value, own: Value, rule: WriteRule, allow: bool, kind: str
) -> None:
    first = decide(Candidate(before, value, own, type=kind), rule, allow_blank=allow)
    if first.verdict is Verdict.WRITE:
        written = Candidate(first.after, value, first.after, type=kind)
        again = decide(written, rule, allow_blank=allow)
        assert again.verdict is not Verdict.WRITE


@pytest.mark.parametrize(
    ("offered", "changed", "verdict"),
    [
        (date(2026, 3, 2), datetime(2026, 3, 1, 23, tzinfo=UTC), Verdict.WRITE),
        (date(2026, 3, 1), datetime(2026, 3, 1, 1, tzinfo=UTC), Verdict.KEPT),
        (date(2026, 2, 1), datetime(2026, 3, 1, 1, tzinfo=UTC), Verdict.KEPT),
        (None, datetime(2026, 3, 1, 1, tzinfo=UTC), Verdict.KEPT),
        (date(2026, 3, 2), None, Verdict.KEPT),
    ],
)
def test_newer_means_a_later_day_than_the_records_change(
    offered: date | None, changed: datetime | None, verdict: Verdict
) -> None:
    candidate = Candidate("old", "new", offered_on=offered, record_changed=changed)
    assert decide(candidate, WriteRule.OVERWRITE_IF_NEWER).verdict is verdict


def test_append_adds_only_what_is_missing() -> None:
    decision = decide(Candidate("red;green", "green;blue"), WriteRule.APPEND)
    assert decision.after == "red;green;blue"
    assert decide(Candidate("red", "red"), WriteRule.APPEND).verdict is Verdict.UNCHANGED


def test_true_is_not_one() -> None:
    assert not same(True, 1)
    assert same(3, 3.0)
    assert same("a ", " a")
    assert same(None, "")


@given(st.permutations(["a", "b", "c d"]), st.sampled_from([";", " ; ", ";;"]))
def test_a_multi_select_picklist_has_no_order(values: list[str], separator: str) -> None:
    text = separator.join([*values, values[0]])
    assert same("a;b;c d", text, "multipicklist")
    assert not same("a;b", text, "multipicklist")
    assert not same("a;b;c d", "c d;b;a", "string"), "in other fields the order is the value"


@pytest.mark.parametrize(
    ("one", "other", "type_", "is_same"),
    [
        ("12:30:00.000Z", "12:30:00Z", "time", True),
        ("12:30:00.000Z", "12:30", "time", True),
        ("12:30:00.000Z", "12:30:00.001Z", "time", False),
        ("12:30:00.000Z", "half past twelve", "time", False),
        ("2026-01-31T07:00:00+00:00", "2026-01-31T09:00:00+02:00", "datetime", True),
        ("2026-01-31T07:00:00+00:00", "2026-01-31T07:00:00.900+00:00", "datetime", True),
        ("2026-01-31T07:00:00+00:00", "2026-01-31T07:00:01+00:00", "datetime", False),
        (1.5, 1.50, "currency", True),
        (50, 50.0, "percent", True),
    ],
)
def test_what_is_the_same_depends_on_the_type(
    one: Value, other: Value, type_: str, is_same: bool
) -> None:
    assert same(one, other, type_) is is_same


@pytest.mark.parametrize(
    ("text", "described", "value"),
    [
        (" CEO ", field("string", length=3), "CEO"),
        ("", field("string", length=3), None),
        ("TRUE", field("boolean"), True),
        ("12", field("double", precision=18), 12),
        ("12.5", field("double", precision=18, scale=2), 12.5),
        ("1e3", field("int"), 1000),
        ("2026-01-31", field("date"), "2026-01-31"),
        ("a", field("picklist", restricted_picklist=True, picklist_values=("a",)), "a"),
        ("z", field("picklist"), "z"),
        ("a; b", field("multipicklist"), "a;b"),
        ("c;a; ;a", field("multipicklist", picklist_values=("a", "b", "c")), "a;c"),
        ("2026-01-31T09:00:00+02:00", field("datetime"), "2026-01-31T07:00:00+00:00"),
        ("09:30", field("time"), "09:30:00.000Z"),
        ("09:30:00.25", field("time"), "09:30:00.250Z"),
        ("09:30:00+00:00", field("time"), "09:30:00.000Z"),
    ],
)
def test_a_value_that_fits(text: str, described: FieldDescribe, value: Value) -> None:
    assert fitted(text, described) == value


@pytest.mark.parametrize(
    ("text", "described", "why"),
    [
        ("abcd", field("string", length=3), "4 characters; the field holds 3"),
        ("yes", field("boolean"), "not true or false"),
        ("twelve", field("double", precision=18), "not a number"),
        ("nan", field("double", precision=18), "not a number"),
        ("1.5", field("int"), "not a whole number"),
        ("1000", field("double", precision=3), "more than 3 digits"),
        ("1.005", field("currency", precision=18, scale=2), "more than 2 decimals"),
        ("31.1.2026", field("date"), "not an ISO date"),
        ("2026-02-28T09:00:00", field("datetime"), "without an offset"),
        ("half past nine", field("time"), "not a time of day"),
        ("10:45:00+02:00", field("time"), "with an offset"),
        ("10:45:00.0001", field("time"), "finer than milliseconds"),
        (
            "violet",
            field("picklist", restricted_picklist=True, picklist_values=("a",)),
            "not a value of the picklist",
        ),
        ("a.example.com", field("email", length=80), "not an email address"),
        ("violet", field("picklist", picklist_values=("a",)), "not a value of the picklist"),
        ("a;violet", field("multipicklist", picklist_values=("a",)), "in the source, or add it"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_without_repeating_it(
    text: str, described: FieldDescribe, why: str
) -> None:
    with pytest.raises(UnfitError, match=why) as caught:
        fitted(text, described)
    assert text not in str(caught.value)
