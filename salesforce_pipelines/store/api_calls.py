"""This installation's own API calls by hour, and what the org last said of everybody's."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.schema import api_calls as table

_KEPT = timedelta(days=30)


def record(ledger: Ledger, calls: int, *, at: datetime, usage: tuple[int, int] | None) -> None:
    """Add calls to those of an hour.

    Args:
        ledger: The ledger.
        calls: How many.
        at: When; the whole hour is kept.
        usage: What the org last told: (used, allowed) of its last 24 hours; None if nothing.
    """
    hour = at.replace(minute=0, second=0, microsecond=0)
    used, allowed = usage or (None, None)
    row = {"hour": hour, "calls": calls, "org_used": used, "org_allowed": allowed}
    with ledger.begin() as connection:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(table).values(row | {"told_at": at if usage else None})
        fresh = insert.excluded
        told = {
            name: func.coalesce(fresh[name], table.c[name])
            for name in ("org_used", "org_allowed", "told_at")
        }
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[table.c.hour], set_={"calls": table.c.calls + fresh.calls, **told}
            )
        )
        connection.execute(delete(table).where(table.c.hour < hour - _KEPT))


def by_hour(ledger: Ledger, since: datetime) -> Mapping[datetime, int]:
    """The calls of each hour that ended after a moment, by the hour's beginning."""
    query = select(table.c.hour, table.c.calls).where(table.c.hour > since - timedelta(hours=1))
    with ledger.read() as connection:
        return {hour: int(calls) for hour, calls in connection.execute(query)}


def usage_told(ledger: Ledger, since: datetime) -> tuple[int, int] | None:
    """(used, allowed) as the org told them last, if that was after a moment."""
    query = (
        select(table.c.org_used, table.c.org_allowed)
        .where(table.c.told_at > since)
        .order_by(table.c.told_at.desc())
        .limit(1)
    )
    with ledger.read() as connection:
        found = connection.execute(query).first()
    return None if found is None else (int(found[0]), int(found[1]))
