"""Reading formula fields anew: they change with other records, the clock or their definition.

None of that moves the record's SystemModstamp (*Salesforce Field Reference*, "System Fields"), so
no incremental pull sees it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from salesforce_pipelines.config.models import Pull
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.describe import FieldDescribe, SObjectDescribe, describe
from salesforce_pipelines.org.reading import read
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.soql import instant
from salesforce_pipelines.pull import record_states
from salesforce_pipelines.pull.drift import configured, fields_to_read
from salesforce_pipelines.pull.pulling import refuse_another_org
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.columns import conformed
from salesforce_pipelines.store.tables import ChangeLog

_MEMORY_MB, _THREADS = 128, 2
_BATCH = 20_000


@dataclass
class FormulaReport:
    """What a refresh of formulas did. Counts are records.

    Attributes:
        fields: The formula fields that were read; none, and nothing was read.
        channel: How; empty if nothing was.
        compared: Live records whose formulas were read.
        changed: Those whose values were others than in the table.
    """

    sobject: str
    fields: tuple[str, ...] = ()
    channel: str = ""
    compared: int = 0
    changed: int = 0
    api_calls: int = 0


def formulas(
    described: SObjectDescribe,
    names: Sequence[str],
    table: pa.Schema,
    followed: Sequence[str],
    *,
    every_field: bool = False,
) -> list[FieldDescribe]:
    """The formula fields that are worth reading anew.

    Roll-up summaries are among them: describe does not tell them from formulas.

    Args:
        described: The sObject as the org describes it now.
        names: What the configuration needs of it, for whatever purpose (`Pipelines.fields_of`).
        table: The table's columns.
        followed: The fields that its last pull read; others wait for the next one.
        every_field: Whether the configuration asks for every field.
    """
    wanted = configured(described, names, every_field)
    pulled = [name for name in wanted if name in followed and name in table.names]
    shown = fields_to_read(described, pulled, table, followed, full=False).read
    return [one for one in shown if one.calculated]


def refresh_formulas(
    session: OrgSession,
    log: ChangeLog,
    sobject: str,
    names: Sequence[str],
    settings: Pull,
    *,
    every_field: bool = False,
) -> FormulaReport:
    """Bring the formula fields of a table up to the org, in one commit if any value changed.

    Only these fields are read. A changed record is written with its other columns as they are;
    what was edited after the table's watermark is left to the next pull. Where there is no formula
    field it costs the describe alone.

    Args:
        session: The org.
        log: The table.
        sobject: The sObject.
        names: What the configuration needs of it.
        settings: How to read.
        every_field: Whether the configuration asks for every field.

    Raises:
        PipelineError: The table was never pulled, or holds another org's records; the org refused
            or is unreachable.
    """
    state = log.state()
    if state is None or record_states.COLUMN not in log.schema().names:
        raise PipelineError(f"{log.name}: there is nothing to refresh yet; pull it in full")
    calls, known = session.api_calls, state.metadata
    described = describe(session, sobject)
    refuse_another_org(session, log, known)
    fields = formulas(described, names, log.schema(), known["fields"], every_field=every_field)
    report = FormulaReport(sobject, tuple(one.name for one in fields))
    if fields:
        reading = read(
            session,
            sobject,
            [*described.require(["Id"], "the refresh of formulas"), *fields],
            where=_settled(described, known),
            bulk_threshold=settings.bulk_threshold,
        )
        report.channel = reading.channel
        memory = duck.memory_for(len(log.schema()), _MEMORY_MB)
        with duck.connect(memory, _THREADS) as connection:
            log.duckdb_view(connection, "pulled")
            report.compared = _land(connection, reading.schema, reading.batches)
            report.changed = _note_changed(connection, report.fields)
            if report.changed:
                rows = _changed_rows(connection, report.fields, log.schema())
                # The metadata stays: it says what the last pull read, and how far it came.
                log.append(
                    pa.RecordBatchReader.from_batches(log.schema(), rows),
                    known,
                    after_batch=state.batch,
                )
    report.api_calls = session.api_calls - calls
    return report


def _settled(described: SObjectDescribe, known: dict[str, Any]) -> str:
    """SOQL for live records of the table's scope that were not edited since its watermark."""
    conditions = [f"SystemModstamp < {instant(datetime.fromisoformat(known['watermark']))}"]
    if described.field("IsDeleted") is not None:
        conditions.append("IsDeleted = false")
    if known.get("scope"):
        conditions.append(f"({known['scope']})")
    return " AND ".join(conditions)


def _land(
    connection: duckdb.DuckDBPyConnection, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> int:
    """`fresh`: the formulas as they are now."""
    connection.register("batch", schema.empty_table())
    connection.execute("CREATE TEMP TABLE fresh AS SELECT * FROM batch")
    landed = 0
    for batch in batches:
        connection.register("batch", pa.Table.from_batches([batch]))
        connection.execute("INSERT INTO fresh SELECT * FROM batch")
        landed += batch.num_rows
    connection.unregister("batch")
    return landed


def _note_changed(connection: duckdb.DuckDBPyConnection, fields: Sequence[str]) -> int:
    """`changed`: the formulas of live records whose values are others than in the table."""
    names = [duck.quoted(name) for name in fields]
    differs = " OR ".join(f"fresh.{name} IS DISTINCT FROM pulled.{name}" for name in names)
    connection.execute(
        f"CREATE TEMP TABLE changed AS SELECT fresh.* FROM fresh JOIN pulled USING (Id) "
        f"WHERE pulled.{record_states.COLUMN} = '{record_states.LIVE}' AND ({differs})"
    )
    found = connection.sql("SELECT count(*) FROM changed").fetchone()
    return int(found[0]) if found else 0


def _changed_rows(
    connection: duckdb.DuckDBPyConnection, fields: Sequence[str], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    columns = ", ".join(
        f"{'changed' if name in fields else 'pulled'}.{duck.quoted(name)}" for name in schema.names
    )
    found = connection.execute(f"SELECT {columns} FROM pulled JOIN changed USING (Id)")
    for batch in found.to_arrow_reader(_BATCH):
        yield conformed(batch, schema)
