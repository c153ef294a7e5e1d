"""Push plans: every cell that would be written, why, and what is refused; nothing is sent."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from salesforce_pipelines.config.models import TABLE_NAMES, FieldMapping, WriteRule
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.describe import FieldDescribe
from salesforce_pipelines.pull.record_links import survivors
from salesforce_pipelines.pull.record_states import IS_LIVE
from salesforce_pipelines.push.guard import Guard, Stream
from salesforce_pipelines.push.journal import EntryState, journal
from salesforce_pipelines.push.rules import (
    LISTS,
    Candidate,
    Decision,
    UnfitError,
    Value,
    Verdict,
    decide,
    fitted,
    is_blank,
    same,
)
from salesforce_pipelines.push.values import decoded, encoded, plain
from salesforce_pipelines.store import duck
from salesforce_pipelines.store import plans as ledger_plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan, PlanKind
from salesforce_pipelines.store.tables import ChangeLog, Tables

CELLS = pa.schema(
    [
        ("cell", pa.string()),
        ("Id", pa.string()),
        ("field", pa.string()),
        ("before", pa.string()),
        ("after", pa.string()),
        ("rule", pa.string()),
        ("source", pa.string()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
    ]
)
_ROWS = 5_000
_NUMBERS = {"int", "double", "currency", "percent"}
REMEMBERED = {
    "DUPLICATE_VALUE",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "FIELD_FILTER_VALIDATION_EXCEPTION",
    "FIELD_INTEGRITY_EXCEPTION",
    "INVALID_EMAIL_ADDRESS",
    "INVALID_TYPE_ON_FIELD_IN_RECORD",
    "NUMBER_OUTSIDE_VALID_RANGE",
    "STRING_TOO_LONG",
}
"""Rejections of a value itself; the others (locks, rights, approvals) may be gone tomorrow."""
REMEMBERED_DAYS = 7
"""How long a rejected value is not offered again; the org's rules may change, too."""


@dataclass
class PushPlan:
    """What a push would do. `plan` is the ledger's row; None when there is nothing to write."""

    stream: Stream
    considered: int = 0
    records: int = 0
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    plan: Plan | None = None

    @property
    def writes(self) -> int:
        """Cells that would be written."""
        return sum(n for (_, verdict), n in self.cells.items() if verdict == Verdict.WRITE)

    def summary(self) -> dict[str, Any]:
        """Counts by field and verdict, as plain JSON."""
        by_field: dict[str, dict[str, int]] = {name: {} for name in self.stream.mapping}
        for (name, verdict), number in sorted(self.cells.items()):
            by_field[name][verdict] = number
        return {"records": self.records, "considered": self.considered, "fields": by_field}


def source_table(stream: Stream) -> str:
    """The table that a stream's values come from: rows by the Id of the record to write."""
    if stream.purpose == "enrichment":
        return f"enriched/{stream.name}"
    return f"{stream.name}/links"


def cells_of(tables: Tables, stream: str) -> ChangeLog:
    """The table of a stream's newest plan, one row for each cell to write or refused."""
    return tables.log(f"push_plan/{stream}", key="cell")


def draw_up(tables: Tables, ledger: Ledger, guard: Guard, *, run_id: str) -> PushPlan:
    """Decide every cell of a stream against what was pulled, and propose the result.

    Cells whose value stands already, or that a rule keeps, are not rows of the plan. Records that
    are not live, or Leads that are converted, are left alone. A value that the org rejected for
    itself is refused for a week, or until it or the record's value changes. An older open plan is
    superseded.
    """
    stream = guard.stream
    drawn = PushPlan(stream)
    digest = hashlib.sha256(rules_of(stream).encode())
    log = cells_of(tables, stream.name)
    rows = pa.RecordBatchReader.from_batches(CELLS, _cells(tables, guard, drawn, digest))
    state = log.replace(rows, {"stream": stream.name})
    if drawn.writes == 0:
        ledger_plans.supersede_open(ledger, kind=PlanKind.PUSH, stream=stream.name)
        return drawn
    drawn.plan = ledger_plans.propose(
        ledger,
        kind=PlanKind.PUSH,
        stream=stream.name,
        fingerprint=digest.hexdigest(),
        records=drawn.considered,
        eligible=drawn.records,
        amount=drawn.writes,
        summary=drawn.summary() | {"table_version": state.version, "rules": rules_of(stream)},
        run_id=run_id,
    )
    return drawn


def rules_of(stream: Stream) -> str:
    """What a plan was decided by: the stream's fields, columns and write rules."""
    rules = {name: mapping.model_dump(mode="json") for name, mapping in stream.mapping.items()}
    return json.dumps([stream.name, stream.sobject, rules], sort_keys=True)


def _cells(
    tables: Tables, guard: Guard, drawn: PushPlan, digest: "hashlib._Hash"
) -> Iterator[pa.RecordBatch]:
    rejected = _rejected(tables, guard.stream)
    with duck.connect() as connection:
        reader = _candidates(connection, tables, guard, drawn)
        for batch in reader:
            rows = []
            for record in batch.to_pylist():
                found = list(_decided(record, guard, rejected))
                drawn.records += any(row["verdict"] == Verdict.WRITE for row in found)
                rows += found
            for row in rows:
                drawn.cells[row["field"], row["verdict"]] += 1
                drawn.reasons[row["verdict"], row["reason"]] += 1
                digest.update(json.dumps(list(row.values())).encode())
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema=CELLS)


def _candidates(
    connection: duckdb.DuckDBPyConnection, tables: Tables, guard: Guard, drawn: PushPlan
) -> pa.RecordBatchReader:
    """The records that some rule might write, in the order of their Ids."""
    stream = guard.stream
    pulled = tables.log(f"pulled/{TABLE_NAMES[stream.sobject]}")
    source = tables.log(source_table(stream))
    if pulled.state() is None:
        raise PipelineError(f"{pulled.name}: never pulled; materialise it before {stream.name}")
    if source.state() is None:
        # Nothing was enriched yet, so there is nothing to push either.
        return pa.RecordBatchReader.from_batches(pa.schema([]), [])
    # A column that was mapped after the enrichment has no values yet.
    known = set(source.schema().names)
    offered = {mapping.source for mapping in stream.mapping.values()} & known
    dated = "provider_updated_at" in source.schema().names
    pulled.duckdb_view(connection, "pulled")
    source.duckdb_view(
        connection, "source", ["Id", *sorted(offered), *(["provider_updated_at"] if dated else [])]
    )
    has_converted = "IsConverted" in pulled.schema().names
    alive = f"pulled.{IS_LIVE}" + (" AND NOT pulled.IsConverted" if has_converted else "")
    written = journal(tables, stream.name)
    if written.state() is None:
        connection.execute(
            "CREATE VIEW journal AS SELECT NULL AS record_id, NULL AS field, NULL AS state, "
            'NULL AS "after", NULL AS recorded_at WHERE false'
        )
    else:
        columns_read = ["record_id", "field", "state", "after", "recorded_at"]
        written.duckdb_view(connection, "journal", columns_read)
    survivors(connection, tables)
    columns, joins, filters = [], [], []
    for number, (name, mapping) in enumerate(stream.mapping.items()):
        before = f'pulled."{name}"'
        column = f'source."{mapping.source}"' if mapping.source in known else "NULL"
        value = f"CAST({column} AS VARCHAR)"
        columns.append(f'{before} AS "before_{number}", {value} AS "value_{number}"')
        if mapping.rule is WriteRule.OVERWRITE_OWN:
            columns.append(f'own_{number}.own AS "own_{number}"')
            joins.append(_own(name, number))
        blank = f"coalesce(trim(CAST({before} AS VARCHAR)), '') = ''"
        if mapping.rule is WriteRule.FILL_IF_BLANK:
            filters.append(f"({blank} AND {value} IS NOT NULL)")
        elif mapping.rule is not WriteRule.NEVER:
            kind = "DOUBLE" if guard.fields[name].type in _NUMBERS else "VARCHAR"
            # A value that is no number has to be told, also where the field is blank.
            filters.append(
                f"(CAST({before} AS {kind}) IS DISTINCT FROM TRY_CAST({value} AS {kind})"
                f" OR ({value} IS NOT NULL AND TRY_CAST({value} AS {kind}) IS NULL))"
            )
    join = "FROM source JOIN pulled USING (Id)"
    counted = connection.sql(f"SELECT count(*) {join} WHERE {alive}").fetchone()
    drawn.considered = int(counted[0]) if counted else 0
    return connection.sql(
        f"""
        SELECT Id, pulled.LastModifiedDate AS record_changed,
            {"source.provider_updated_at" if dated else "NULL"} AS offered_on, {", ".join(columns)}
        {join} {" ".join(joins)}
        WHERE {alive} AND ({" OR ".join(filters) or "false"})
        ORDER BY Id
        """
    ).to_arrow_reader(_ROWS)


def _own(name: str, number: int) -> str:
    """Joins what we wrote last into a field, or sent before a run died.

    What we wrote into a record that was merged is ours as well, where the survivor took it over.
    """
    return f"""
        LEFT JOIN (
            SELECT coalesce(survivor_id, record_id) AS Id, list(own) AS own FROM (
                SELECT record_id, arg_max("after", recorded_at) AS own FROM journal
                WHERE field = '{name}' AND state IN ('{EntryState.WRITTEN}', '{EntryState.SENDING}')
                GROUP BY ALL
            ) LEFT JOIN survivors ON survivors.Id = record_id GROUP BY ALL
        ) own_{number} USING (Id)"""


def _rejected(tables: Tables, stream: Stream) -> dict[tuple[str, str], tuple[str, str, str]]:
    """By record and field: the before and after that the org rejected last, and why."""
    log = journal(tables, stream.name)
    if log.state() is None:
        return {}
    with duck.connect() as connection:
        log.duckdb_view(connection, "journal")
        rows = connection.execute(
            """
            SELECT record_id, field, arg_max("before", recorded_at),
                arg_max("after", recorded_at), arg_max(reason, recorded_at)
            FROM journal GROUP BY ALL
            HAVING arg_max(state, recorded_at) = ?
                AND split_part(arg_max(reason, recorded_at), ':', 1) IN (SELECT unnest(?))
                AND max(recorded_at) > now() - to_days(?)
            """,
            [EntryState.REJECTED.value, sorted(REMEMBERED), REMEMBERED_DAYS],
        ).fetchall()
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}


def _decided(
    record: dict[str, Any],
    guard: Guard,
    rejected: dict[tuple[str, str], tuple[str, str, str]],
) -> Iterator[dict[str, Any]]:
    """The cells of one record that would be written or are refused."""
    for number, (name, mapping) in enumerate(guard.stream.mapping.items()):
        before = plain(record[f"before_{number}"])
        described = guard.fields[name]
        own = [decoded(text) for text in record.get(f"own_{number}") or ()]
        allow_blank = isinstance(mapping, FieldMapping) and mapping.allow_blank
        try:
            candidate = Candidate(
                before=before,
                value=fitted(record[f"value_{number}"], described),
                own=next((one for one in own if same(one, before, described.type)), None),
                offered_on=_day(record["offered_on"]),
                record_changed=record["record_changed"],
                type=described.type,
            )
            decision = decide(candidate, mapping.rule, allow_blank=allow_blank)
            if mapping.rule is WriteRule.APPEND and decision.verdict is Verdict.WRITE:
                decision = _fitting_together(decision, before, described)
        except UnfitError as error:
            # A value that no rule would write needs no refusal either.
            if mapping.rule is WriteRule.FILL_IF_BLANK and before not in (None, ""):
                continue
            told = f"{guard.stream.sobject}.{name}: {error}"
            yield _cell(record["Id"], name, before, None, mapping, Verdict.REFUSED, told)
            continue
        if decision.verdict is not Verdict.WRITE:
            continue
        verdict: Verdict = decision.verdict
        reason = decision.reason
        last = rejected.get((record["Id"], name))
        if last is not None and last[:2] == (encoded(before), encoded(decision.after)):
            verdict, reason = Verdict.REFUSED, f"the org rejected it before: {last[2]}"
        yield _cell(record["Id"], name, before, decision.after, mapping, verdict, reason)


def _fitting_together(decision: Decision, before: Value, described: FieldDescribe) -> Decision:
    """What was added to, in the form of its field.

    Raises:
        UnfitError: The field holds one value, or not as many as that.
    """
    if not is_blank(before) and described.type not in LISTS:
        raise UnfitError(
            f"a field of type {described.type} holds one value, to which nothing can be appended; "
            "choose another rule"
        )
    return replace(decision, after=fitted(str(decision.after), described))


def _cell(
    record_id: str,
    name: str,
    before: Value,
    after: Value,
    mapping: Any,
    verdict: Verdict,
    reason: str,
) -> dict[str, Any]:
    return {
        "cell": f"{record_id}/{name}",
        "Id": record_id,
        "field": name,
        "before": encoded(before),
        "after": encoded(after),
        "rule": mapping.rule.value,
        "source": mapping.source,
        "verdict": verdict.value,
        "reason": reason,
    }


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text[:10])
    except ValueError:
        return None
