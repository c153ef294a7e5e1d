import gc
import tempfile
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from salesforce_pipelines.config.models import IDENTIFIER_KINDS, Matching
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity.identifiers import SCHEMA
from salesforce_pipelines.identity.matching import (
    CANDIDATES,
    MATCHES,
    Decision,
    Summary,
    candidates,
    decide,
    match,
    summary,
)
from salesforce_pipelines.identity.reference import build_reference
from salesforce_pipelines_tests.identity.tables import identified

NICKNAME = "name_company_nickname"
ORDER = IDENTIFIER_KINDS


def decided(
    conflicts: Literal["park", "first"] = "park",
    order=ORDER,
    shared=(),
    other_names=(),
    **hits: str,
) -> Decision:
    """A decision on hits written as one letter per person."""
    people = {kind: frozenset(letters) for kind, letters in hits.items()}
    return decide(people, order, conflicts, shared, other_names)


@pytest.mark.parametrize(
    ("hits", "decision"),
    [
        ({}, Decision("unmatched", reason="the record has no usable identifier")),
        (
            {"work_email": "", "phone": "", "name_company": ""},
            Decision("unmatched", reason="work_email, phone and name_company hit nobody"),
        ),
        (
            {"work_email": "a"},
            Decision("matched", "a", "work_email", (), (), 1, "work_email hit 1 person"),
        ),
        (
            {"work_email": "", "phone": "a", "linkedin_url": "ab", "name_company": "a"},
            Decision(
                "matched",
                "a",
                "phone",
                ("linkedin_url", "name_company"),
                (),
                1,
                "phone hit 1 person; linkedin_url and name_company agree",
            ),
        ),
        (
            {"phone": "abc", "name_company": "bd"},
            Decision(
                "matched",
                "b",
                "phone",
                ("name_company",),
                (),
                3,
                "phone hit 3 people, only one of them also hit by name_company",
            ),
        ),
        (
            {"phone": "abc", "name_company": "d"},
            Decision(
                "ambiguous",
                None,
                "phone",
                (),
                (),
                3,
                "phone hit 3 people, none of them also hit by other identifiers",
            ),
        ),
        (
            {"phone": "abc", "linkedin_url": "a", "name_company": "b"},
            Decision(
                "ambiguous",
                None,
                "phone",
                (),
                (),
                3,
                "phone hit 3 people, 2 of them also hit by other identifiers",
            ),
        ),
        (
            {"work_email": "a", "phone": "b", "linkedin_url": "a"},
            Decision(
                "ambiguous",
                None,
                "work_email",
                ("linkedin_url",),
                ("phone",),
                1,
                "work_email hit 1 person; linkedin_url agrees; phone hits only other people",
            ),
        ),
        (
            {"phone": "ab", "linkedin_url": "c", "name_company": "a"},
            Decision(
                "ambiguous",
                None,
                "phone",
                ("name_company",),
                ("linkedin_url",),
                2,
                "phone hit 2 people, only one of them also hit by name_company; "
                "linkedin_url hits only other people",
            ),
        ),
    ],
)
def test_decisions(hits, decision):
    assert decided(**hits) == decision


def test_the_first_identifier_may_decide_a_conflict():
    assert decided("first", work_email="a", phone="b", linkedin_url="b") == Decision(
        "matched",
        "a",
        "work_email",
        (),
        ("phone", "linkedin_url"),
        1,
        "work_email hit 1 person; phone and linkedin_url hit only other people",
    )


def test_the_first_identifier_never_decides_between_people():
    assert decided("first", work_email="ab", phone="c").status == "ambiguous"


def test_the_order_is_the_configured_one():
    order = ("name_company", "phone")
    assert decided("first", order, work_email="c", phone="a", name_company="b").person_id == "b"
    assert decided("park", ("phone",), work_email="c", phone="a").disagreeing == ()


def test_nicknames_are_a_second_try_of_the_name():
    assert decided(name_company="", name_company_nickname="b") == Decision(
        "matched", "b", NICKNAME, (), (), 1, "name_company_nickname hit 1 person"
    )
    assert decided(name_company="a", name_company_nickname="b").disagreeing == ()
    assert decided(phone="a", name_company="", name_company_nickname="b").status == "ambiguous"
    assert decided(order=("phone",), name_company_nickname="b").status == "unmatched"


def test_values_that_identify_nobody_are_told():
    assert decided(phone="", name_company="", shared=["phone"]).reason == (
        "name_company hit nobody; a value of phone is shared by more than 100 people"
    )
    assert decided(phone="", other_names=["phone"]).reason == (
        "phone hit only people of another last name"
    )
    assert decided(phone="a", other_names=["phone"]).reason == "phone hit 1 person"


HITS = st.dictionaries(
    st.sampled_from([*ORDER, NICKNAME]), st.frozensets(st.sampled_from("abcd"), max_size=3)
)


@given(HITS, st.permutations(ORDER), st.sampled_from(["park", "first"]))
def test_a_match_is_never_a_guess(hits, order, conflicts):
    decision = decide(hits, order, conflicts)
    pointing = [kind for kind in hits if decision.person_id in hits[kind]]
    if decision.status == "matched":
        assert decision.identifier in pointing
        assert decision.candidates == 1 or len(pointing) > 1
        assert conflicts == "first" or not decision.disagreeing
    else:
        assert decision.person_id is None
    assert (decision.status == "unmatched") == (not any(hits.values()) or not decision.candidates)


EMAILS, PHONES, NAMES = ["e1", "e2", "e3"], ["p1", "p2"], ["n1", "n2", "n3"]
FAMILIES = ["king", "lee"]


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True)


ROWS = st.fixed_dictionaries(
    {
        "work_email": some(EMAILS),
        "personal_email": some(EMAILS),
        "phone": some(PHONES),
        "linkedin_url": some(["l1", "l2"]),
        "name_company": some(NAMES),
        "name_company_nickname": some(NAMES),
        "last_name": some(FAMILIES),
    }
)
SHARED_BY = 3


def hits_of(record, people, order):
    """Who is hit by what, the plain way; the kinds with shared values; those of other names."""
    hits: dict[str, frozenset[str]] = {}
    shared, other_names, seen = set(), set(), set()
    for kind in (*order, *([NICKNAME] if "name_company" in order else [])):
        space = {"work_email": "email", "personal_email": "email", NICKNAME: "name_company"}
        if not record[kind]:
            continue
        hits[kind] = frozenset()
        for value in record[kind]:
            if (space.get(kind, kind), value) in seen:
                continue
            seen.add((space.get(kind, kind), value))
            names = ["work_email", "personal_email"] if "email" in kind else [kind]
            names = ["name_company"] if kind == NICKNAME else names
            owners = {key for key, row in people.items() if any(value in row[n] for n in names)}
            if len(owners) > SHARED_BY:
                shared.add(kind)
                continue
            for owner in owners:
                other = people[owner]["last_name"]
                told_apart = kind == "phone" and record["last_name"] and other
                if told_apart and not set(other) & set(record["last_name"]):
                    other_names.add(kind)
                else:
                    hits[kind] |= {owner}
    return hits, shared, other_names


def compare(people_rows, record_rows, order, conflicts):
    people = {f"P{number}": row for number, row in enumerate(people_rows)}
    records = {f"C{number}": row for number, row in enumerate(record_rows)}
    matching = Matching(order=tuple(order), conflicts=conflicts)
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.parquet"
        build_reference(identified(people), reference, stamp="x", shared_by=SHARED_BY)
        matches = match(identified(records), reference, matching).read_all().to_pylist()
        found = candidates(identified(records), reference, matching).to_pylist()
    expected = {}
    for key, record in records.items():
        hits, shared, other_names = hits_of(record, people, order)
        expected[key] = decide(hits, order, conflicts, shared, other_names)
        kinds_of = {row["person_id"]: row["identifiers"] for row in found if row["Id"] == key}
        assert kinds_of == {
            person: [kind for kind in hits if person in hits[kind]]
            for person in frozenset().union(*hits.values())
        }
    assert {row.pop("Id"): row for row in matches} == {
        key: {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(decision).items()
        }
        for key, decision in expected.items()
    }
    assert len(matches) == len(records)


CASES = given(
    st.lists(ROWS, max_size=8),
    st.lists(ROWS, max_size=12),
    st.permutations(ORDER).flatmap(lambda order: st.integers(1, 5).map(lambda n: order[:n])),
    st.sampled_from(["park", "first"]),
)
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(SLOW, max_examples=25)
@CASES
def test_duckdb_decides_as_the_function_does(people_rows, record_rows, order, conflicts):
    compare(people_rows, record_rows, order, conflicts)


@pytest.mark.slow
@settings(SLOW, max_examples=200)
@CASES
def test_duckdb_decides_as_the_function_does_in_many_cases(
    people_rows, record_rows, order, conflicts
):
    compare(people_rows, record_rows, order, conflicts)


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "reference.parquet"
    people = {
        "P1": {
            "work_email": ["ada@example.com"],
            "personal_email": ["ada@example.org"],
            "phone": ["+12125550101"],
            "name_company": ["ada|king|acme"],
            "last_name": ["king"],
        },
        "P2": {"phone": ["+12125550101", "+12125550102"], "last_name": ["lee"]},
        "P3": {"phone": ["+12125550103"]},
    }
    build_reference(identified(people), path, stamp="x")
    return path


def matched(reference, records, **options):
    matches = match(identified(records), reference, Matching(**options)).read_all()
    assert matches.schema == MATCHES
    return {row["Id"]: row for row in matches.to_pylist()}


def test_an_address_is_an_address_whatever_column_it_stands_in(reference):
    records = {
        "C1": {"personal_email": ["ada@example.com"]},
        "C2": {"work_email": ["ada@example.org"]},
        "C3": {"work_email": ["ada@example.com"], "personal_email": ["ada@example.com"]},
        "C4": {"work_email": ["ada@example.com"], "personal_email": ["ada@example.org"]},
    }
    found = matched(reference, records)
    assert {key: row["person_id"] for key, row in found.items()} == dict.fromkeys(records, "P1")
    assert found["C1"]["identifier"] == "personal_email"
    assert found["C2"]["identifier"] == "work_email"
    # One value is one piece of evidence.
    assert found["C3"]["agreeing"] == []
    assert found["C4"]["agreeing"] == ["personal_email"]


def test_a_telephone_is_a_line_not_a_person(reference):
    found = matched(
        reference,
        {
            "C1": {"phone": ["+12125550101"], "last_name": ["king"]},
            "C2": {"phone": ["+12125550101"]},
            "C3": {"phone": ["+12125550102"], "last_name": ["moore"]},
            "C4": {"phone": ["+12125550103"], "last_name": ["moore"]},
            "C5": {
                "work_email": ["ada@example.com"],
                "phone": ["+12125550102"],
                "last_name": ["king"],
            },
        },
    )
    assert [found[key]["status"] for key in sorted(found)] == [
        "matched",
        "ambiguous",
        "unmatched",
        "matched",
        "matched",
    ]
    assert found["C3"]["reason"] == "phone hit only people of another last name"
    assert found["C5"]["disagreeing"] == []


def test_a_value_of_too_many_people_identifies_nobody(tmp_path):
    path = tmp_path / "reference.parquet"
    people = {f"P{n}": {"phone": ["+12125550100"], "name_company": ["a|b|c"]} for n in range(4)}
    people["P9"] = {"phone": ["+12125550109"]}
    build_reference(identified(people), path, stamp="x", shared_by=3)
    found = matched(
        path,
        {
            "C1": {"phone": ["+12125550100"], "name_company": ["a|b|c"]},
            "C2": {"phone": ["+12125550100", "+12125550109"]},
        },
    )
    assert found["C1"]["status"] == "unmatched"
    assert found["C1"]["reason"].startswith("a value of phone is shared by more than")
    assert found["C2"]["person_id"] == "P9"
    assert len(found) == 2


def test_nicknames_can_be_switched_off(reference):
    records = {"C1": {NICKNAME: ["ada|king|acme"]}}
    assert matched(reference, records)["C1"]["identifier"] == NICKNAME
    off = matched(reference, records, nicknames=False)["C1"]
    assert off["reason"] == "the record has no usable identifier"


def test_equal_hashes_are_confirmed_on_the_values(tmp_path, monkeypatch):
    for module in ("reference", "matching"):
        monkeypatch.setattr(f"salesforce_pipelines.identity.{module}.HASH", "42::UBIGINT")
    path = tmp_path / "reference.parquet"
    people = {"P1": {"phone": ["+12125550101"]}, "P2": {"linkedin_url": ["+12125550102"]}}
    build_reference(identified(people), path, stamp="x", shared_by=1)
    found = matched(path, {"C1": {"phone": ["+12125550101"]}, "C2": {"phone": ["+12125550102"]}})
    assert found["C1"]["person_id"] == "P1"
    assert found["C2"]["status"] == "unmatched"


def test_nothing_matches_nothing(tmp_path, reference):
    assert match(identified({}), reference, Matching()).read_all().num_rows == 0
    empty = tmp_path / "empty.parquet"
    build_reference(identified({}), empty, stamp="x")
    assert matched(empty, {"C1": {"phone": ["+12125550101"]}})["C1"]["status"] == "unmatched"


def test_candidates_of_a_record(reference):
    records = {
        "C1": {"phone": ["+12125550101"], "name_company": ["ada|king|acme"]},
        "C2": {"phone": ["+12125550109"]},
    }
    found = candidates(identified(records), reference, Matching())
    assert found.schema == CANDIDATES
    assert found.to_pylist() == [
        {"Id": "C1", "person_id": "P1", "identifiers": ["phone", "name_company"]},
        {"Id": "C1", "person_id": "P2", "identifiers": ["phone"]},
    ]


def test_summary_counts(reference):
    records = {
        "C1": {"work_email": ["ada@example.com"]},
        "C2": {"phone": ["+12125550102"]},
        "C3": {"phone": ["+12125550103"]},
        "C4": {"phone": ["+12125550101"]},
        "C5": {},
    }
    expected = Summary({"phone": 2, "work_email": 1}, ambiguous=1, unmatched=1)
    assert summary(match(identified(records), reference, Matching())) == expected
    assert summary(match(identified(records), reference, Matching()).read_all()) == expected


def test_the_error_of_the_records_comes_through(reference):
    def failing():
        yield from identified({"C1": {}})
        raise PipelineError("the org went away")

    with pytest.raises(PipelineError, match=r"^the org went away$"):
        match(pa.RecordBatchReader.from_batches(SCHEMA, failing()), reference, Matching())


def many(rows: int) -> pa.RecordBatchReader:
    def batches():
        for start in range(0, rows, 10_000):
            numbers = [str(number) for number in range(start, min(start + 10_000, rows))]
            values = {
                "key": numbers,
                "work_email": [[f"somebody-of-that-name-{n}@example.com"] for n in numbers],
                "phone": [[f"+1212{n:>07}"] for n in numbers],
            }
            columns = {name: values.get(name, [[]] * len(numbers)) for name in SCHEMA.names}
            yield pa.RecordBatch.from_pydict(columns, schema=SCHEMA)

    return pa.RecordBatchReader.from_batches(SCHEMA, batches())


def test_what_is_spilled_is_deleted_read_or_not(tmp_path):
    path, spill = tmp_path / "reference.parquet", tmp_path / "spill"
    build_reference(many(60_000), path, stamp="x", memory_limit="40MB", temp_dir=spill)
    matches = match(many(60_000), path, Matching(), memory_limit="40MB", temp_dir=spill)
    assert any(spill.iterdir()), "the limit is too large for this test to tell anything"
    assert summary(matches) == Summary({"work_email": 60_000}, 0, 0)
    assert not any(spill.iterdir())
    unread = match(many(60_000), path, Matching(), memory_limit="40MB", temp_dir=spill)
    del unread
    gc.collect()
    assert not any(spill.iterdir())


def test_too_little_memory_is_told(tmp_path, monkeypatch):
    path = tmp_path / "reference.parquet"
    with pytest.raises(PipelineError, match="allow more memory"):
        build_reference(many(60_000), path, stamp="x", memory_limit="1MB")
    assert list(tmp_path.iterdir()) == []
