"""Qualifications: which referrals count, each once, with the evidence."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import func, select

from salesforce_pipelines.store.inserts import insert_missing
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.schema import qualification as table

COUNTS = pa.schema([("program", pa.string()), ("code", pa.string()), ("qualified", pa.int64())])
QUALIFICATIONS = pa.schema(
    [
        ("program", pa.string()),
        ("referred_object", pa.string()),
        ("referred_id", pa.string()),
        ("code", pa.string()),
        ("method", pa.string()),
        ("qualified_at", pa.timestamp("us", "UTC")),
        ("run_id", pa.string()),
    ]
)


@dataclass(frozen=True)
class Qualification:
    """A referral that counts.

    Attributes:
        program: the referral program.
        referred_object: sObject of the referred user's record.
        referred_id: Salesforce id of that record.
        code: of the referrer.
        method: of qualifying, such as ``opportunity_stage``.
        evidence: what was seen, JSON: ids, field names and values that prove it.
        qualified_at: when it was seen.
        run_id: of the run that saw it.
    """

    program: str
    referred_object: str
    referred_id: str
    code: str
    method: str
    evidence: dict[str, Any]
    qualified_at: datetime
    run_id: str


def record(ledger: Ledger, qualifications: Iterable[Qualification]) -> int:
    """The number newly recorded; a referred record counts once in a program, the first time."""
    rows = [asdict(qualification) for qualification in sorted(qualifications, key=_referred)]
    with ledger.begin() as connection:
        return len(insert_missing(connection, table, rows, [table.c.referred_id]))


def counts_by_code(ledger: Ledger, program: str | None = None) -> pa.RecordBatchReader:
    """How many referrals of each code count, as Arrow batches in the schema ``COUNTS``."""
    query = select(table.c.program, table.c.code, func.count()).group_by(
        table.c.program, table.c.code
    )
    if program is not None:
        query = query.where(table.c.program == program)
    return ledger.stream(query, COUNTS)


def qualifications(ledger: Ledger, program: str | None = None) -> pa.RecordBatchReader:
    """All qualifications without their evidence, in the schema ``QUALIFICATIONS``."""
    query = select(*(table.c[name] for name in QUALIFICATIONS.names))
    if program is not None:
        query = query.where(table.c.program == program)
    return ledger.stream(query, QUALIFICATIONS)


def evidence_of(
    ledger: Ledger, program: str, referred_object: str, referred_id: str
) -> Qualification | None:
    """The qualification of one referred record with its evidence, if it counts."""
    query = select(table).where(
        table.c.program == program,
        table.c.referred_object == referred_object,
        table.c.referred_id == referred_id,
    )
    with ledger.read() as connection:
        row = connection.execute(query).first()
        return None if row is None else Qualification(**row._asdict())


def _referred(qualification: Qualification) -> tuple[str, str, str]:
    return qualification.program, qualification.referred_object, qualification.referred_id
