from dataclasses import replace
from datetime import UTC, datetime

from salesforce_pipelines.store import qualifications
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.qualifications import Qualification
from salesforce_pipelines_tests.store.racing import race

WON = Qualification(
    program="spring",
    referred_object="Lead",
    referred_id="00Q1",
    code="c1",
    method="opportunity_stage",
    evidence={"opportunity": "0061", "StageName": "Closed Won", "seen": [1, None]},
    qualified_at=datetime(2024, 5, 1, 12, tzinfo=UTC),
    run_id="run-1",
)


def counts(ledger: Ledger, program: str | None = None) -> dict[tuple[str, str], int]:
    rows = qualifications.counts_by_code(ledger, program).read_all()
    assert rows.schema == qualifications.COUNTS
    return {(row["program"], row["code"]): row["qualified"] for row in rows.to_pylist()}


def test_a_referral_counts_once(ledger: Ledger) -> None:
    later = replace(WON, code="c2", method="lead_field", run_id="run-2")
    assert qualifications.record(ledger, [WON, later]) == 1
    assert qualifications.record(ledger, [later]) == 0
    assert qualifications.evidence_of(ledger, "spring", "Lead", "00Q1") == WON
    assert qualifications.evidence_of(ledger, "spring", "Lead", "00Q2") is None
    others = [
        replace(WON, referred_id="00Q2"),
        replace(WON, referred_object="Contact"),
        replace(WON, program="autumn"),
        replace(WON, referred_id="00Q3", code="c3"),
    ]
    assert qualifications.record(ledger, iter(others)) == 4
    assert counts(ledger, "spring") == {("spring", "c1"): 3, ("spring", "c3"): 1}
    assert counts(ledger) == counts(ledger, "spring") | {("autumn", "c1"): 1}
    assert qualifications.record(ledger, []) == 0


def test_qualifications_read_back(ledger: Ledger) -> None:
    qualifications.record(ledger, [WON, replace(WON, program="autumn")])
    rows = qualifications.qualifications(ledger, "spring").read_all()
    assert rows.schema == qualifications.QUALIFICATIONS
    (row,) = rows.to_pylist()
    assert row == {name: getattr(WON, name) for name in rows.schema.names}
    assert qualifications.qualifications(ledger).read_all().num_rows == 2


def record_all(url: str, run_id: str) -> int:
    seen = [replace(WON, referred_id=str(number), run_id=run_id) for number in range(500)]
    if run_id == "run-2":
        seen.reverse()
    with Ledger.open(url) as ledger:
        return qualifications.record(ledger, seen)


def test_racing_runs_record_once(ledger_url: str, ledger: Ledger) -> None:
    assert sum(race(record_all, (ledger_url, "run-1"), (ledger_url, "run-2"))) == 500
    assert counts(ledger) == {("spring", "c1"): 500}
