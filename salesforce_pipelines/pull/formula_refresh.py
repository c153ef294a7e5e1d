"""Reading formula fields anew: they change with other records, the clock or their definition.

None of that moves the record's SystemModstamp (*Salesforce Field Reference*, "System Fields"), so
no incremental pull sees it.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.config.models import Pull
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.describe import FieldDescribe, SObjectDescribe, describe
from salesforce_pipelines.org.reading import read
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.soql import conjunction, instant
from salesforce_pipelines.pull import record_states
from salesforce_pipelines.pull.drift import configured, fields_to_read
from salesforce_pipelines.pull.held_rows import chunks, compare
from salesforce_pipelines.pull.pulling import refuse_another_org
from salesforce_pipelines.store.columns import conformed
from salesforce_pipelines.store.tables import ChangeLog


@dataclass
class FormulaReport:
    """What a refresh of formulas did. Counts are records.

    Attributes:
        fields: The formula fields that were read; none, and nothing was read.
        channel: How; empty if nothing was.
        compared: Live records whose formulas were read.
        changed: Those whose values were others than in the table.
        waits: Whether nothing was read because an interrupted pull has to go on first.
    """

    sobject: str
    fields: tuple[str, ...] = ()
    channel: str = ""
    compared: int = 0
    changed: int = 0
    api_calls: int = 0
    waits: bool = False


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
    field it costs the describe alone. What an interrupted pull landed is not written over: while
    such a pull waits to go on, nothing is read at all.

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
    if log.staged() is not None:
        return FormulaReport(sobject, waits=True)
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
        with closing(reading.batches) as batches:
            changed = _changed_rows(log, batches, report)
            first = next(changed, None)
            if first is not None:
                # The metadata stays: it says what the last pull read, and how far it came.
                log.append(
                    pa.RecordBatchReader.from_batches(log.schema(), chain([first], changed)),
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
    return conjunction(str(known.get("scope", "")), *conditions)


def _changed_rows(
    log: ChangeLog, batches: Iterator[pa.RecordBatch], report: FormulaReport
) -> Iterator[pa.RecordBatch]:
    """The table's live rows whose formulas are others now, with the new values."""
    columns = log.schema()
    for sent in chunks(batches):
        report.compared += sent.num_rows
        fresh = conformed(sent, pa.schema([columns.field(name) for name in sent.schema.names]))
        found = compare(log, fresh, pc.field(record_states.COLUMN) == record_states.LIVE)
        fresh = fresh.filter(pc.and_not(found.known, found.same))
        if not fresh.num_rows:
            continue
        report.changed += fresh.num_rows
        held = log.held(fresh.column("Id"), columns.names).select(columns.names).combine_chunks()
        places = pc.index_in(held["Id"].combine_chunks(), fresh.column("Id"))
        for field in fresh.schema:
            at = columns.get_field_index(field.name)
            held = held.set_column(at, columns.field(at), fresh.column(field.name).take(places))
        yield from held.to_batches()
