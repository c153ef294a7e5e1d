"""Enrichment plans: which records would be enriched with which person, and for how many credits."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity.people import PeopleProvider
from salesforce_pipelines.pull.record_states import IS_LIVE
from salesforce_pipelines.store import credits, duck, plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan, PlanKind
from salesforce_pipelines.store.tables import ChangeLog, Tables

ROWS = pa.schema(
    [
        ("Id", pa.string()),
        ("person_id", pa.string()),
        ("identifier", pa.string()),
        ("credits", pa.int64()),
    ]
)
_BATCH = 50_000


@dataclass
class EnrichmentPlan:
    """What an enrichment would do and cost. `plan` is the ledger's row; None when empty."""

    stream: str
    records: int = 0
    matched: int = 0
    eligible: int = 0
    people: int = 0
    credits: int = 0
    by_identifier: Counter[str] = field(default_factory=Counter)
    plan: Plan | None = None

    def summary(self) -> dict[str, Any]:
        """The counts as plain JSON."""
        return {
            "records": self.records,
            "matched": self.matched,
            "eligible": self.eligible,
            "people": self.people,
            "credits": self.credits,
            "by_identifier": dict(self.by_identifier),
        }


def rows_of(tables: Tables, stream: str) -> ChangeLog:
    """The table of a stream's newest enrichment plan, one row for each record."""
    return tables.log(f"enrichment_plan/{stream}")


def draw_up(
    tables: Tables,
    ledger: Ledger,
    provider: PeopleProvider,
    stream: str,
    columns: Sequence[str],
    *,
    run_id: str,
) -> EnrichmentPlan:
    """Plan the enrichment of the matched records that lack some mapped column of this data.

    A person costs once, however many records are theirs; a person bought before costs nothing.
    Only live records, and no converted Leads, are in it. An older open plan is superseded.
    """
    drawn = EnrichmentPlan(stream)
    version = provider.version()
    shown = [stream, provider.name, version, provider.credits_per_person, *sorted(columns)]
    digest = hashlib.sha256("\n".join(map(str, shown)).encode())
    log = rows_of(tables, stream)
    with duck.connect() as connection:
        reader = _eligible(connection, tables, ledger, provider, drawn, version, columns)
        batches = _counted(reader, drawn, digest)
        state = log.replace(
            pa.RecordBatchReader.from_batches(ROWS, batches),
            {"provider": provider.name, "provider_version": version},
        )
    if drawn.eligible == 0:
        plans.supersede_open(ledger, kind=PlanKind.ENRICHMENT, stream=stream)
        return drawn
    drawn.plan = plans.propose(
        ledger,
        kind=PlanKind.ENRICHMENT,
        stream=stream,
        fingerprint=digest.hexdigest(),
        records=drawn.records,
        eligible=drawn.eligible,
        amount=drawn.credits,
        summary=drawn.summary()
        | {
            "table_version": state.version,
            "provider": provider.name,
            "provider_version": version,
            "columns": sorted(columns),
        },
        run_id=run_id,
    )
    return drawn


def confirm(ledger: Ledger, plan_id: str, *, credits: int, by: str, cap: int) -> Plan:
    """Record a person's decision to spend exactly the credits that the plan shows.

    Raises:
        PipelineError: The plan is not open, asks for another number, or is beyond the cap.
    """
    plan = plans.get(ledger, plan_id)
    if plan.kind is not PlanKind.ENRICHMENT:
        raise PipelineError(f"plan {plan_id} is a {plan.kind} plan, not an enrichment plan")
    if plan.amount > cap:
        raise PipelineError(
            f"plan {plan_id} asks for {plan.amount} credits; enrichment.max_credits_per_plan in "
            f"pipelines.yaml allows {cap}. Raise it, or narrow what is pulled."
        )
    return plans.confirm(ledger, plan_id, amount=credits, by=by)


def _eligible(
    connection: duckdb.DuckDBPyConnection,
    tables: Tables,
    ledger: Ledger,
    provider: PeopleProvider,
    drawn: EnrichmentPlan,
    version: str,
    columns: Sequence[str],
) -> pa.RecordBatchReader:
    stream = drawn.stream
    pulled, matches = tables.log(f"pulled/{stream}"), tables.log(f"matches/{stream}")
    for log in (pulled, matches):
        if log.state() is None:
            raise PipelineError(
                f"{log.name}: the table is empty; materialise it before the plan of {stream}"
            )
    pulled.duckdb_view(connection, "pulled")
    matches.duckdb_view(connection, "matches", ["Id", "status", "person_id", "identifier"])
    enriched = tables.log(f"enriched/{stream}")
    if enriched.state() is None:
        connection.sql(
            "CREATE VIEW enriched AS SELECT '' AS Id, '' AS person_id, '' AS provider_version, "
            "[''] AS columns_read WHERE false"
        )
    else:
        wanted = ["Id", "person_id", "provider_version", "columns_read"]
        enriched.duckdb_view(connection, "enriched", wanted)
    connection.sql("CREATE TEMP TABLE charged (person_id VARCHAR)")
    for batch in credits.charged_people(ledger, provider.name):
        connection.register("batch", pa.Table.from_batches([batch]))
        connection.sql("INSERT INTO charged SELECT person_id FROM batch")
        connection.unregister("batch")
    alive = IS_LIVE
    if "IsConverted" in pulled.schema().names:
        alive += " AND NOT IsConverted"
    connection.sql(f"CREATE VIEW alive AS SELECT Id FROM pulled WHERE {alive}")
    counted = connection.sql(
        """
        SELECT count(*), count(*) FILTER (status = 'matched')
        FROM alive LEFT JOIN matches USING (Id)
        """
    ).fetchone()
    drawn.records, drawn.matched = counted or (0, 0)
    return connection.execute(
        """
        SELECT *, CASE
            WHEN first_of_person AND person_id NOT IN (SELECT person_id FROM charged)
            THEN $credits ELSE 0
        END AS credits
        FROM (
            SELECT Id, person_id, identifier,
                row_number() OVER (PARTITION BY person_id ORDER BY Id) = 1 AS first_of_person
            FROM alive JOIN matches USING (Id)
            WHERE status = 'matched' AND NOT EXISTS (
                SELECT 1 FROM enriched
                WHERE enriched.Id = matches.Id AND enriched.person_id = matches.person_id
                    AND enriched.provider_version = $version
                    AND list_has_all(enriched.columns_read, $columns)
            )
        )
        ORDER BY Id
        """,
        {
            "credits": provider.credits_per_person,
            "version": version,
            "columns": sorted(columns),
        },
    ).to_arrow_reader(_BATCH)


def _counted(
    reader: pa.RecordBatchReader, drawn: EnrichmentPlan, digest: "hashlib._Hash"
) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        for row in batch.to_pylist():
            drawn.eligible += 1
            drawn.credits += row["credits"]
            drawn.by_identifier[row["identifier"]] += 1
            drawn.people += row["first_of_person"]
            digest.update(f"{row['Id']} {row['person_id']} {row['credits']}\n".encode())
        yield batch.select(ROWS.names).cast(ROWS)
