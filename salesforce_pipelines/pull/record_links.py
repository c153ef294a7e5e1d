"""Where merged and converted records went: which record each of them is part of now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from salesforce_pipelines.config.models import TABLE_NAMES
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.pull import record_states
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.tables import ChangeLog, Tables

NAME = "pulled/record_links"
SOURCES = ("Account", "Contact", "Lead")
"""The sObjects whose records can be merged or, as Leads, converted."""
MISSING, CYCLE = "missing", "cycle"
LINKS = pa.schema(
    [
        ("Id", pa.string()),
        ("sobject", pa.string()),
        ("kind", pa.string()),
        ("survivor_id", pa.string()),
        ("survivor_sobject", pa.string()),
        ("survivor_state", pa.string()),
        ("last_known_id", pa.string()),
        ("account_id", pa.string()),
        ("opportunity_id", pa.string()),
        ("steps", pa.int64()),
    ]
)
ABOUT = {
    "Id": "The record that was merged or converted.",
    "sobject": "What it is in the org.",
    "kind": "merged or converted.",
    "survivor_id": "The record at the end of the chain; empty where the chain cannot be followed.",
    "survivor_sobject": "What the survivor is: the Contact, where a Lead was converted.",
    "survivor_state": "The survivor's record_state; missing (the chain leads to a record that was "
    "never pulled) or cycle (it leads back into itself).",
    "last_known_id": "The last record of the chain that was pulled.",
    "account_id": "The Account of the conversion, itself followed through merges.",
    "opportunity_id": "The Opportunity of the conversion, if there is one.",
    "steps": "Merges and conversions up to the last known record.",
}


@dataclass
class LinkReport:
    """Links there are, those written just now, and what does not end in a live record.

    Attributes:
        skipped: Nothing had changed, so nothing was computed.
        lost: Links whose survivor was deleted, purged or left the scope.
    """

    merged: int = 0
    converted: int = 0
    missing: int = 0
    cycles: int = 0
    lost: int = 0
    changed: int = 0
    removed: int = 0
    skipped: bool = False


def links_of(tables: Tables) -> ChangeLog:
    """The table of links, by the Id of the record that was merged or converted."""
    return tables.log(NAME)


def survivors(connection: duckdb.DuckDBPyConnection, tables: Tables) -> None:
    """Make the links the temporary view `survivors` of a connection; empty before the first.

    Its columns are those of `LINKS`. A record that is in it is no record to work with any more:
    what was its own belongs to `survivor_id`, where that is known and `survivor_state` is live.
    """
    log = links_of(tables)
    if log.state() is None:
        connection.register("survivors__none", LINKS.empty_table())
        connection.execute("CREATE OR REPLACE TEMP VIEW survivors AS SELECT * FROM survivors__none")
        return
    log.duckdb_view(connection, "survivors", LINKS.names)


def refresh_links(tables: Tables) -> LinkReport:
    """Bring the links up to the pulled tables; only those that changed are written.

    Raises:
        PipelineError: None of the tables was pulled yet.
    """
    sources = {name: tables.log(f"pulled/{TABLE_NAMES[name]}") for name in SOURCES}
    batches = {name: state.batch for name, log in sources.items() if (state := log.state())}
    if not batches:
        raise PipelineError(f"none of {', '.join(SOURCES)} was pulled yet; run the job pull first")
    log, report = links_of(tables), LinkReport()
    state = log.state()
    known: Mapping[str, Any] = state.metadata["batches"] if state else {}
    report.skipped = state is not None and not any(
        _has_changed(sources[name], known.get(name, 0)) for name in batches
    )
    with duck.connect("256MB") as connection:
        survivors(connection, tables)
        if not report.skipped:
            _note_links(connection, {name: sources[name] for name in batches})
            changed = connection.sql(
                "SELECT * FROM links EXCEPT SELECT * FROM survivors"
            ).to_arrow_table()
            gone = connection.sql(
                "SELECT Id FROM survivors ANTI JOIN links USING (Id)"
            ).to_arrow_table()
            report.changed, report.removed = changed.num_rows, gone.num_rows
            log.append(
                changed.cast(LINKS),
                {"batches": batches},
                deleted_keys=gone.column("Id").combine_chunks().cast(pa.string()),
                after_batch=state.batch if state else 0,
            )
            survivors(connection, tables)
        _count(connection, report)
    return report


def untold_losses(tables: Tables) -> int:
    """Links whose survivor is purged by now, and that do not say so."""
    if links_of(tables).state() is None:
        return 0
    with duck.connect("256MB") as connection:
        survivors(connection, tables)
        _note_known(connection, _pulled(tables))
        found = connection.sql(
            """
            SELECT count(*) FROM survivors JOIN known ON known.Id = survivor_id
            WHERE known.state = 'purged' AND survivor_state IS DISTINCT FROM 'purged'
            """
        ).fetchone()
    return int(found[0]) if found else 0


def _pulled(tables: Tables) -> dict[str, ChangeLog]:
    logs = {name: tables.log(f"pulled/{TABLE_NAMES[name]}") for name in SOURCES}
    return {name: log for name, log in logs.items() if log.state() is not None}


def _has_changed(log: ChangeLog, since: int) -> bool:
    """Whether any row came after a batch; a pull commits one even when it found nothing."""
    with log.changed_since(since, ["Id"]) as rows:
        return any(batch.num_rows for batch in rows)


def _note_known(connection: duckdb.DuckDBPyConnection, sources: Mapping[str, ChangeLog]) -> None:
    """`known`: every pulled record with its state."""
    parts = []
    for name, log in sources.items():
        log.duckdb_view(connection, f"pulled_{name}")
        state = record_states.COLUMN if record_states.COLUMN in log.schema().names else "'live'"
        parts.append(f"SELECT Id, '{name}' AS sobject, {state} AS state FROM pulled_{name}")
    connection.execute(f"CREATE TEMP VIEW known AS {' UNION ALL '.join(parts)}")


def _note_links(connection: duckdb.DuckDBPyConnection, sources: Mapping[str, ChangeLog]) -> None:
    """`links`: as they follow from the pulled tables."""
    _note_known(connection, sources)
    parts = [part for name, log in sources.items() for part in _steps(name, log.schema())]
    if not parts:
        parts = ["SELECT NULL, NULL, NULL, NULL, NULL, NULL WHERE false"]
    connection.execute(
        "CREATE TEMP TABLE steps (Id VARCHAR, sobject VARCHAR, kind VARCHAR, next VARCHAR, "
        "account_id VARCHAR, opportunity_id VARCHAR)"
    )
    connection.execute(f"INSERT INTO steps {' UNION ALL '.join(parts)}")
    connection.execute(
        "CREATE TEMP TABLE reached AS SELECT Id, any_value(sobject) AS sobject, "
        "any_value(state) AS state FROM known WHERE Id IN (SELECT Id FROM steps UNION ALL "
        "SELECT next FROM steps WHERE next IS NOT NULL) GROUP BY Id"
    )
    connection.execute(_CHAINS)
    connection.execute(_LINKS)


def _steps(sobject: str, schema: pa.Schema) -> list[str]:
    """SQL for what leads on from records of an sObject to others."""
    found, merged = [], "false"
    if "MasterRecordId" in schema.names:
        # A record that was undeleted after a merge is one of its own again.
        merged = f"MasterRecordId IS NOT NULL AND {record_states.COLUMN} <> 'live'"
        found.append(
            f"SELECT Id, '{sobject}', 'merged', MasterRecordId, NULL, NULL "
            f"FROM pulled_{sobject} WHERE {merged}"
        )
    if "ConvertedContactId" in schema.names:
        found.append(
            f"SELECT Id, '{sobject}', 'converted', ConvertedContactId, ConvertedAccountId, "
            f"ConvertedOpportunityId FROM pulled_{sobject} WHERE IsConverted AND NOT ({merged})"
        )
    return found


_CHAINS = """
CREATE TEMP TABLE chains AS
WITH RECURSIVE chain (origin, last, next, steps, path, account_id, opportunity_id, state) AS (
    SELECT Id, Id, next, 0, [Id], account_id, opportunity_id, NULL::VARCHAR FROM steps
    UNION ALL
    SELECT origin,
        CASE WHEN reached.state IS NULL OR list_contains(path, chain.next) THEN last
            ELSE chain.next END,
        CASE WHEN list_contains(path, chain.next) THEN NULL ELSE onward.next END,
        chain.steps + (reached.state IS NOT NULL AND NOT list_contains(path, chain.next))::INTEGER,
        list_append(path, chain.next),
        coalesce(onward.account_id, chain.account_id),
        coalesce(onward.opportunity_id, chain.opportunity_id),
        CASE WHEN list_contains(path, chain.next) THEN 'cycle'
            WHEN reached.state IS NULL THEN 'missing'
            WHEN onward.Id IS NULL THEN reached.state END
    FROM chain
    LEFT JOIN reached ON reached.Id = chain.next
    LEFT JOIN steps AS onward ON onward.Id = chain.next
    WHERE chain.state IS NULL
)
SELECT origin, last, steps, account_id, opportunity_id, state FROM chain WHERE state IS NOT NULL
"""
"""`chains`: for each record that leads on, the end of its chain and what the end is."""

_LINKS = """
CREATE TEMP TABLE links AS
SELECT steps.Id, steps.sobject, steps.kind,
    CASE WHEN chains.state NOT IN ('missing', 'cycle') THEN chains.last END AS survivor_id,
    CASE WHEN chains.state NOT IN ('missing', 'cycle') THEN ends.sobject END AS survivor_sobject,
    chains.state AS survivor_state,
    chains.last AS last_known_id,
    CASE WHEN accounts.state NOT IN ('missing', 'cycle') THEN accounts.last
        ELSE chains.account_id END AS account_id,
    chains.opportunity_id,
    chains.steps::BIGINT AS steps
FROM steps JOIN chains ON chains.origin = steps.Id
LEFT JOIN reached AS ends ON ends.Id = chains.last
LEFT JOIN chains AS accounts ON accounts.origin = chains.account_id
"""


def _count(connection: duckdb.DuckDBPyConnection, report: LinkReport) -> None:
    found = connection.sql(
        """
        SELECT count(*) FILTER (kind = 'merged'), count(*) FILTER (kind = 'converted'),
            count(*) FILTER (survivor_state = 'missing'),
            count(*) FILTER (survivor_state = 'cycle'),
            count(*) FILTER (survivor_state NOT IN ('live', 'missing', 'cycle'))
        FROM survivors
        """
    ).fetchone() or (0, 0, 0, 0, 0)
    report.merged, report.converted, report.missing, report.cycles, report.lost = found
