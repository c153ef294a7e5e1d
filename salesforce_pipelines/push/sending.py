"""Carrying out a confirmed push plan: the only place from which records are written to the org."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.errors import Rejection
from salesforce_pipelines.org.reading import retrieve
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.writing import Update, update
from salesforce_pipelines.push.guard import Guard
from salesforce_pipelines.push.journal import Entry, EntryState, journal, write
from salesforce_pipelines.push.plans import cells_of, rules_of
from salesforce_pipelines.push.rules import Verdict, same
from salesforce_pipelines.push.values import decoded, from_org
from salesforce_pipelines.store import duck
from salesforce_pipelines.store import plans as ledger_plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan
from salesforce_pipelines.store.tables import Tables

CHUNK = 10_000
"""Records that are looked at, journaled and sent together."""
_TOGETHER = "The next plan offers this value without the other one."
_GONE = (
    "NOT_FOUND: the record was deleted or merged into another one since it was pulled, or is "
    "hidden from the integration user"
)
_WITHOUT_IT = "Pull again; the next plan leaves the record out, or writes to the one it is part of."


@dataclass
class Pushed:
    """What a push did: cells by state, rejected cells by reason and cure, and records written."""

    cells: Counter[str] = field(default_factory=Counter)
    rejections: Counter[tuple[str, str]] = field(default_factory=Counter)
    records: int = 0
    api_calls: int = 0

    def outcome(self) -> dict[str, Any]:
        """The counts as plain JSON, for the ledger."""
        return {
            "cells": dict(self.cells),
            "records": self.records,
            "api_calls": self.api_calls,
            "rejections": [
                {"reason": reason, "cure": cure, "cells": number}
                for (reason, cure), number in self.rejections.most_common()
            ],
        }


def carry_out(
    session: OrgSession,
    guard: Guard,
    tables: Tables,
    ledger: Ledger,
    plan: Plan,
    *,
    run_id: str,
    progress: Callable[[int], None] = lambda _records: None,
) -> Pushed:
    """Send the cells of a claimed plan, chunk by chunk, and finish the plan.

    Before each chunk the present values are read: a cell that already holds the new value is not
    sent again, and one that no longer holds the value it had when it was pulled is held, because
    somebody changed it since. Entries are in the journal before anything is sent.

    Raises:
        PipelineError: The org is unreachable or refuses altogether. The plan can be claimed again
            and goes on where it stopped; what was written is recognised.
    """
    if plan.summary["rules"] != rules_of(guard.stream):
        raise PipelineError(
            f"plan {plan.id}: the mapping or rules of {guard.stream.name} changed since it was "
            "confirmed; plan again. Nothing was sent."
        )
    calls = session.api_calls
    pushed = Pushed()
    done, unsure = _earlier_attempt(tables, guard, plan)
    seen = 0
    for chunk in _chunks(tables, guard, plan, run_id):
        rest = [entry for entry in chunk if _key(entry) not in done]
        seen += len({entry.record_id for entry in chunk})
        pushed.cells.update(done[_key(entry)] for entry in chunk if _key(entry) in done)
        if rest:
            _send(session, guard, tables, rest, unsure, pushed)
        progress(seen)
    pushed.api_calls = session.api_calls - calls
    ledger_plans.finish(ledger, plan.id, run_id=run_id, outcome=pushed.outcome())
    return pushed


def _key(entry: Entry) -> tuple[str, str]:
    return entry.record_id, entry.field


def _earlier_attempt(
    tables: Tables, guard: Guard, plan: Plan
) -> tuple[dict[tuple[str, str], str], set[tuple[str, str]]]:
    """Of an attempt that broke off: the cells with an outcome, and those whose fate is unknown."""
    log = journal(tables, guard.stream.name)
    if log.state() is None:
        return {}, set()
    with duck.connect() as connection:
        log.duckdb_view(connection, "journal", ["plan_id", "record_id", "field", "state"])
        rows = connection.execute(
            "SELECT record_id, field, state FROM journal WHERE plan_id = ?", [plan.id]
        ).fetchall()
    sending = EntryState.SENDING.value
    done = {(record, name): state for record, name, state in rows if state != sending}
    return done, {(record, name) for record, name, state in rows if state == sending}


def _chunks(tables: Tables, guard: Guard, plan: Plan, run_id: str) -> Iterator[list[Entry]]:
    """The plan's cells to write, whole records at a time, in the order of their Ids."""
    version = int(plan.summary["table_version"])
    shown = cells_of(tables, guard.stream.name).as_of(version)
    with duck.connect() as connection:
        shown.duckdb_view(connection, "cells")
        reader = connection.execute(
            "SELECT * FROM cells WHERE verdict = ? ORDER BY Id, field", [Verdict.WRITE.value]
        ).to_arrow_reader(CHUNK)
        rows = (row for batch in reader for row in batch.to_pylist())
        chunk: list[Entry] = []
        records = 0
        for _, cells in groupby(rows, key=lambda row: row["Id"]):
            chunk += [_entry(row, guard, plan, run_id) for row in cells]
            records += 1
            if records == CHUNK:
                yield chunk
                chunk, records = [], 0
        if chunk:
            yield chunk


def _entry(row: dict[str, Any], guard: Guard, plan: Plan, run_id: str) -> Entry:
    return Entry(
        plan_id=plan.id,
        sobject=guard.stream.sobject,
        record_id=row["Id"],
        field=row["field"],
        before=decoded(row["before"]),
        after=decoded(row["after"]),
        rule=row["rule"],
        source=row["source"],
        run_id=run_id,
        state=EntryState.SENDING,
        reason=row["reason"],
    )


def _send(
    session: OrgSession,
    guard: Guard,
    tables: Tables,
    entries: list[Entry],
    unsure: set[tuple[str, str]],
    pushed: Pushed,
) -> None:
    sobject = guard.stream.sobject
    fields = sorted({entry.field for entry in entries})
    guard.check(sobject, fields)
    ids = list(dict.fromkeys(entry.record_id for entry in entries))
    present = retrieve(session, sobject, ids, ["Id", *fields])
    looked = [_against(entry, present.get(entry.record_id), guard, unsure) for entry in entries]
    log = journal(tables, guard.stream.name)
    write(log, looked)
    to_send = [entry for entry in looked if entry.state is EntryState.SENDING]
    updates = [
        Update(record, {entry.field: entry.after for entry in cells})
        for record, cells in groupby(to_send, key=lambda entry: entry.record_id)
    ]
    rejected: dict[str, Rejection | None] = {}
    try:
        for outcome in update(session, sobject, updates):
            rejected[outcome.id] = outcome.rejected
    finally:
        # What is known is kept, also when the rest broke off.
        ended = [
            _ended(entry, rejected[entry.record_id])
            for entry in to_send
            if entry.record_id in rejected
        ]
        write(log, ended)
    pushed.records += sum(reason is None for reason in rejected.values())
    for entry in [*ended, *(one for one in looked if one.state is not EntryState.SENDING)]:
        pushed.cells[entry.state] += 1
        if entry.state is EntryState.REJECTED:
            pushed.rejections[entry.reason, entry.cure] += 1


def _against(
    entry: Entry,
    record: dict[str, Any] | None,
    guard: Guard,
    unsure: set[tuple[str, str]],
) -> Entry:
    """The entry after a look at the record's present value."""
    if record is None:
        return replace(entry, state=EntryState.REJECTED, reason=_GONE, cure=_WITHOUT_IT)
    described = guard.fields[entry.field]
    now = from_org(record[entry.field], described)
    if same(now, entry.after, described.type):
        if _key(entry) in unsure:
            return replace(entry, state=EntryState.WRITTEN, reason="sent before an interruption")
        return replace(entry, state=EntryState.UNCHANGED, reason="the value stands already")
    if not same(now, entry.before, described.type):
        return replace(
            entry,
            state=EntryState.HELD,
            reason="changed in the org since it was pulled",
            cure="Pull again; the next plan decides on the new value.",
        )
    return entry


def _ended(entry: Entry, rejected: Rejection | None) -> Entry:
    if rejected is None:
        return replace(entry, state=EntryState.WRITTEN)
    if rejected.fields and entry.field not in rejected.fields:
        reason = f"rejected together with {', '.join(rejected.fields)}"
        return replace(entry, state=EntryState.REJECTED, reason=reason, cure=_TOGETHER)
    reason = f"{rejected.code}: {rejected.message}"
    return replace(entry, state=EntryState.REJECTED, reason=reason, cure=rejected.cure)
