"""Referral members: who may refer in a program, each with one code that never changes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from sqlalchemy import Connection, select

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store.inserts import CHUNK_ROWS, chunked, insert_missing
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.schema import referral_member as table

MEMBERS = pa.schema(
    [
        ("program", pa.string()),
        ("object", pa.string()),
        ("record_id", pa.string()),
        ("code", pa.string()),
        ("enrolled_at", pa.timestamp("us", "UTC")),
    ]
)
_TRANSACTION_ROWS = 20_000
_CODE_ATTEMPTS = 10


@dataclass(frozen=True)
class Member:
    """Somebody who may refer in a program.

    Attributes:
        program: the referral program.
        object: sObject of the record.
        record_id: its Salesforce id.
        code: unique among all programs, never changed, never reused.
        enrolled_at: when the code was given.
    """

    program: str
    object: str
    record_id: str
    code: str
    enrolled_at: datetime


def enrol(
    ledger: Ledger,
    *,
    program: str,
    members: Iterable[tuple[str, str]],
    new_code: Callable[[], str],
) -> int:
    """The number of members newly enrolled; those who have a code keep it.

    Works through any number of members, a transaction for every 20,000; when it stops half-way,
    enrolling the same members again does the rest.

    Args:
        ledger: where codes are kept.
        program: the referral program.
        members: object and record id of each.
        new_code: a code nobody can guess; another one is asked for if it is taken.

    Raises:
        PipelineError: ``new_code`` keeps giving codes that are taken.
    """
    enrolled = 0
    for chunk in chunked(members, _TRANSACTION_ROWS):
        with ledger.begin() as connection:
            enrolled += _enrol(connection, program, chunk, new_code)
    return enrolled


def members(ledger: Ledger, program: str | None = None) -> pa.RecordBatchReader:
    """All members, of one program if given, as Arrow batches in the schema ``MEMBERS``."""
    query = select(*(table.c[name] for name in MEMBERS.names))
    if program is not None:
        query = query.where(table.c.program == program)
    return ledger.stream(query, MEMBERS)


def members_by_code(ledger: Ledger, codes: Sequence[str]) -> dict[str, Member]:
    """The members who hold these codes; a code that nobody holds is left out."""
    columns = [table.c[name] for name in MEMBERS.names]
    found: dict[str, Member] = {}
    with ledger.read() as connection:
        for chunk in chunked(codes, CHUNK_ROWS):
            rows = connection.execute(select(*columns).where(table.c.code.in_(chunk)))
            found.update((row.code, Member(**row._asdict())) for row in rows)
    return found


def _enrol(
    connection: Connection,
    program: str,
    chunk: Sequence[tuple[str, str]],
    new_code: Callable[[], str],
) -> int:
    absent, enrolled = set(chunk), 0
    for _ in range(_CODE_ATTEMPTS):
        absent -= _enrolled(connection, program, absent)
        if not absent:
            return enrolled
        now = datetime.now(UTC)
        rows = [
            {
                "program": program,
                "object": sobject,
                "record_id": record_id,
                "code": new_code(),
                "enrolled_at": now,
            }
            for sobject, record_id in sorted(absent)
        ]
        inserted = insert_missing(connection, table, rows, [table.c.object, table.c.record_id])
        enrolled += len(inserted)
        absent -= {(row.object, row.record_id) for row in inserted}
    if not absent:
        return enrolled
    raise PipelineError(
        f"Referral program {program}: {len(absent)} member(s) got no code, since the new codes "
        "keep being taken already. Make the codes longer."
    )


def _enrolled(
    connection: Connection, program: str, wanted: set[tuple[str, str]]
) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for sobject in {sobject for sobject, _ in wanted}:
        record_ids = [record_id for other, record_id in wanted if other == sobject]
        for chunk in chunked(record_ids, CHUNK_ROWS):
            query = select(table.c.record_id).where(
                table.c.program == program,
                table.c.object == sobject,
                table.c.record_id.in_(chunk),
            )
            found.update((sobject, record_id) for record_id in connection.execute(query).scalars())
    return found
