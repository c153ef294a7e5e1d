"""Carrying out a confirmed enrichment plan: the only place where credits are spent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.enrichment.plans import rows_of
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity.people import PeopleProvider
from salesforce_pipelines.store import credits, plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan
from salesforce_pipelines.store.tables import Tables


@dataclass
class Enriched:
    """What an enrichment did: records enriched, credits charged, records whose person is gone."""

    records: int = 0
    credits: int = 0
    not_found: int = 0


def carry_out(
    tables: Tables,
    ledger: Ledger,
    provider: PeopleProvider,
    plan: Plan,
    columns: Sequence[str],
    *,
    run_id: str,
    progress: Callable[[int], None] = lambda _records: None,
) -> Enriched:
    """Read the people of a claimed plan, charge those that were found, keep their data, finish.

    A person is charged once for ever: whatever was charged by an attempt that broke off is not
    charged again. A person the provider no longer has costs nothing.

    Args:
        tables: Where the enriched records are kept.
        ledger: Where credits are charged.
        provider: The source of people data.
        plan: The plan, claimed by this run.
        columns: The provider's columns that are mapped; nothing else is read.
        run_id: The run that claimed the plan.
        progress: Told the number of records enriched so far.

    Raises:
        PipelineError: The provider's data is not the one that was planned with.
    """
    _hold_against(plan, provider, columns)
    done = Enriched()
    log = tables.log(f"enriched/{plan.stream}")
    rows = rows_of(tables, plan.stream).as_of(int(plan.summary["table_version"]))
    for batch in rows.current():
        table = pa.Table.from_batches([batch])
        people = provider.read(pc.unique(table.column("person_id")), columns)
        # What was read is what was confirmed, or it is not charged.
        _hold_against(plan, provider, columns)
        done.credits += credits.charge(
            ledger,
            provider=provider.name,
            person_ids=people.column("person_id").to_pylist(),
            plan_id=plan.id,
            credits_each=provider.credits_per_person,
        )
        enriched = _enriched(table, people, provider, plan, columns)
        log.append(enriched, {"plan": plan.id})
        done.records += enriched.num_rows
        done.not_found += table.num_rows - enriched.num_rows
        progress(done.records)
    plans.finish(ledger, plan.id, run_id=run_id, outcome=vars(done))
    return done


def _hold_against(plan: Plan, provider: PeopleProvider, columns: Sequence[str]) -> None:
    """Refuse to go on with other data, or other columns, than the plan was confirmed for."""
    same_data = provider.version() == plan.summary["provider_version"]
    if not same_data or sorted(columns) != plan.summary["columns"]:
        what = "mapped columns" if same_data else f"data of provider {provider.name!r}"
        raise PipelineError(
            f"plan {plan.id}: the {what} changed since the plan was confirmed; plan again. "
            "Nothing more was spent."
        )


def _enriched(
    table: pa.Table,
    people: pa.Table,
    provider: PeopleProvider,
    plan: Plan,
    columns: Sequence[str],
) -> pa.Table:
    joined = table.select(["Id", "person_id", "identifier"]).join(
        people, keys="person_id", join_type="inner"
    )
    if provider.updated_at is not None:
        joined = joined.append_column("provider_updated_at", joined.column(provider.updated_at))
    constants = {
        "provider": provider.name,
        "provider_version": provider.version(),
        "plan_id": plan.id,
    }
    for name, value in constants.items():
        joined = joined.append_column(name, pa.repeat(value, joined.num_rows))
    read = pa.scalar(sorted(columns), pa.list_(pa.string()))
    joined = joined.append_column("columns_read", pa.repeat(read, joined.num_rows))
    now = pa.scalar(datetime.now(UTC), pa.timestamp("ms", tz="UTC"))
    return joined.append_column("enriched_at", pa.repeat(now, joined.num_rows))
