"""Credits: which people were paid for, so that nobody is ever paid for twice."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
from sqlalchemy import Connection, func, select

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store.inserts import CHUNK_ROWS, chunked, insert_missing
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import PlanStatus
from salesforce_pipelines.store.schema import credit as table
from salesforce_pipelines.store.schema import plan

CHARGED = pa.schema([("person_id", pa.string())])


def charge(
    ledger: Ledger, *, provider: str, person_ids: Sequence[str], plan_id: str, credits_each: int
) -> int:
    """The credits newly charged for people under a plan that a run has claimed.

    All or none, and safe to repeat: a person once charged with a provider costs nothing again,
    whatever the plan.

    Raises:
        PipelineError: the plan is not under way, or the charges would exceed what was confirmed;
            then nothing is charged.
    """
    now = datetime.now(UTC)
    with ledger.begin() as connection:
        confirmed = _confirmed_amount(connection, plan_id)
        rows = [
            {
                "provider": provider,
                "person_id": person_id,
                "plan_id": plan_id,
                "credits": credits_each,
                "charged_at": now,
            }
            for person_id in sorted(set(person_ids))
        ]
        charged = len(insert_missing(connection, table, rows, [table.c.person_id])) * credits_each
        total = connection.execute(
            select(func.coalesce(func.sum(table.c.credits), 0)).where(table.c.plan_id == plan_id)
        ).scalar_one()
        if total > confirmed:
            raise PipelineError(
                f"Plan {plan_id} was confirmed for {confirmed} credits; charging {charged} more "
                f"would make {total}. Nothing was charged. Materialize the plan again."
            )
    return charged


def already_charged(ledger: Ledger, provider: str, person_ids: Sequence[str]) -> set[str]:
    """Those of the people who were charged with this provider before."""
    found: set[str] = set()
    with ledger.read() as connection:
        for chunk in chunked(person_ids, CHUNK_ROWS):
            query = select(table.c.person_id).where(
                table.c.provider == provider, table.c.person_id.in_(chunk)
            )
            found.update(connection.execute(query).scalars())
    return found


def charged_people(ledger: Ledger, provider: str) -> pa.RecordBatchReader:
    """Everyone charged with a provider, as Arrow batches of one column, ``person_id``."""
    return ledger.stream(select(table.c.person_id).where(table.c.provider == provider), CHARGED)


def spent(ledger: Ledger, provider: str) -> int:
    """All credits ever charged with a provider."""
    total = select(func.coalesce(func.sum(table.c.credits), 0)).where(table.c.provider == provider)
    with ledger.read() as connection:
        return int(connection.execute(total).scalar_one())


def _confirmed_amount(connection: Connection, plan_id: str) -> int:
    """The credits agreed to; the plan stays as it is until the charges are committed."""
    query = select(plan.c.amount).where(plan.c.id == plan_id, plan.c.status == PlanStatus.CLAIMED)
    amount = connection.execute(query.with_for_update()).scalar()
    if amount is None:
        raise PipelineError(
            f"Plan {plan_id} is not under way, so nothing can be charged for it. "
            "Confirm it and let a run claim it first."
        )
    return int(amount)
