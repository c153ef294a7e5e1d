"""Identifiers and matches of pulled records, kept up to date: the work follows what changed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.config.models import IDENTIFIER_KINDS, Matching, PersonObject
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity.identifiers import SCHEMA, identifiers, rules_version
from salesforce_pipelines.identity.matching import MATCHES, match
from salesforce_pipelines.identity.people import PeopleProvider
from salesforce_pipelines.identity.reference import reference_for, reference_stamp
from salesforce_pipelines.pull.record_states import IS_LIVE
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.tables import ChangeLog, Tables

ACCOUNT_NAME = "Account.Name"
_BATCH = 20_000
_IDENTIFIERS = pa.schema([pa.field("Id", pa.string()), *list(SCHEMA)[1:]])


@dataclass
class IdentifierReport:
    """Records whose identifiers were made now, and those that are gone."""

    refreshed: int = 0
    removed: int = 0
    everything: bool = False


@dataclass
class MatchReport:
    """Records matched now, and the whole table by identifier and status."""

    refreshed: int = 0
    everything: bool = False
    matched_by: dict[str, int] = field(default_factory=dict)
    ambiguous: int = 0
    unmatched: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def matched(self) -> int:
        """Records that are one person."""
        return sum(self.matched_by.values())

    @property
    def records(self) -> int:
        """Every record of the table."""
        return self.matched + self.ambiguous + self.unmatched


def identifiers_of(tables: Tables, stream: str) -> ChangeLog:
    """The table of normalised identifiers of contacts or leads."""
    return tables.log(f"identifiers/{stream}")


def matches_of(tables: Tables, stream: str) -> ChangeLog:
    """The table of matches of contacts or leads."""
    return tables.log(f"matches/{stream}")


def refresh_identifiers(
    tables: Tables, stream: str, person: PersonObject, matching: Matching
) -> IdentifierReport:
    """Normalise the identifiers of the records that changed, or of all when the rules did.

    A Contact also changes when its Account does, if its company is the Account's name. Only live
    records have identifiers.
    """
    log, pulled = identifiers_of(tables, stream), tables.log(f"pulled/{stream}")
    inputs = {"pulled": pulled}
    if ACCOUNT_NAME in person.identifiers.columns():
        inputs["accounts"] = tables.log("pulled/accounts")
    positions = {name: _position(source) for name, source in inputs.items()}
    rules = _fingerprint(
        person.identifiers.model_dump_json(),
        matching.default_region,
        matching.nicknames,
        rules_version(),
    )
    state = log.state()
    everything = state is None or state.metadata["rules"] != rules
    since = dict.fromkeys(inputs, 0) if state is None or everything else state.metadata["since"]
    report = IdentifierReport(everything=everything)
    metadata = {"rules": rules, "since": positions}
    with duck.connect() as connection:
        gone = _changed_records(connection, inputs, since)
        report.removed = len(gone)
        rows = pa.RecordBatchReader.from_batches(
            _IDENTIFIERS, _normalised(connection, person, matching, report)
        )
        if everything:
            log.replace(rows, metadata)
        else:
            log.append(rows, metadata, deleted_keys=gone)
    return report


def _position(source: ChangeLog) -> int:
    state = source.state()
    if state is None:
        raise PipelineError(f"{source.name}: never pulled; materialise it first")
    return state.batch


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def _changed_records(
    connection: duckdb.DuckDBPyConnection, inputs: dict[str, ChangeLog], since: dict[str, int]
) -> pa.Array:
    """Fill the view `changed` with the records to normalise; the Ids of those not live."""
    inputs["pulled"].duckdb_view(connection, "pulled")
    connection.execute("CREATE TEMP TABLE ids (Id VARCHAR)")
    _insert_ids(connection, inputs["pulled"], since["pulled"], "SELECT Id FROM batch")
    if "accounts" in inputs:
        inputs["accounts"].duckdb_view(connection, "accounts", ["Id", "Name"])
        by_account = "SELECT pulled.Id FROM pulled JOIN batch ON pulled.AccountId = batch.Id"
        # Without contacts of before there is nothing that an account could have changed.
        if since["pulled"]:
            _insert_ids(connection, inputs["accounts"], since["accounts"], by_account)
        company = "accounts.Name" + f' AS "{ACCOUNT_NAME}"'
        joined = "LEFT JOIN accounts ON accounts.Id = pulled.AccountId"
    else:
        company, joined = "NULL AS unused", ""
    connection.execute(
        f"""
        CREATE TEMP VIEW changed AS SELECT pulled.*, {company} FROM pulled {joined}
        WHERE pulled.Id IN (SELECT Id FROM ids)
        """
    )
    gone = connection.sql(f"SELECT Id FROM changed WHERE NOT ({IS_LIVE})").to_arrow_table()
    return gone.column("Id").combine_chunks().cast(pa.string())


def _insert_ids(
    connection: duckdb.DuckDBPyConnection, log: ChangeLog, since: int, select: str
) -> None:
    for batch in log.changed_since(since, ["Id"]):
        connection.register("batch", pa.Table.from_batches([batch]))
        connection.execute(f"INSERT INTO ids {select}")
        connection.unregister("batch")


def _normalised(
    connection: duckdb.DuckDBPyConnection,
    person: PersonObject,
    matching: Matching,
    report: IdentifierReport,
) -> Iterator[pa.RecordBatch]:
    columns = ", ".join(f'"{name}"' for name in person.identifiers.columns())
    reader = connection.sql(f"SELECT Id, {columns} FROM changed WHERE {IS_LIVE}").to_arrow_reader(
        _BATCH
    )
    for batch in reader:
        found = identifiers(
            batch,
            person.identifiers,
            key="Id",
            region=matching.default_region,
            nicknames=matching.nicknames,
        )
        report.refreshed += found.num_rows
        yield from found.rename_columns(_IDENTIFIERS.names).cast(_IDENTIFIERS).to_batches()


def coverage(tables: Tables, stream: str) -> dict[str, int]:
    """How many records there are, how many have each identifier, and how many have any."""
    kinds = list(IDENTIFIER_KINDS)
    with duck.connect() as connection:
        identifiers_of(tables, stream).duckdb_view(connection, "identifiers")
        counts = ", ".join(f"count(*) FILTER (len({kind}) > 0)" for kind in kinds)
        some = " OR ".join(f"len({kind}) > 0" for kind in kinds)
        row = (
            connection.sql(
                f"SELECT count(*), count(*) FILTER ({some}), {counts} FROM identifiers"
            ).fetchone()
            or ()
        )
    return dict(zip(["records", "any", *kinds], row, strict=True))


def refresh_matches(
    tables: Tables, stream: str, provider: PeopleProvider, matching: Matching, scratch: Path
) -> MatchReport:
    """Match the records whose identifiers changed, or all when the people or the rules did."""
    log, source = matches_of(tables, stream), identifiers_of(tables, stream)
    position = _position(source)
    reference = reference_for(
        provider, scratch / "people", region=matching.default_region, temp_dir=scratch
    )
    basis = _fingerprint(reference_stamp(reference), matching.model_dump_json())
    state = log.state()
    everything = state is None or state.metadata["basis"] != basis
    report = MatchReport(everything=everything)
    metadata = {"basis": basis, "since": position}
    if state is None or everything:
        found = match(_keyed(source.current()), reference, matching, temp_dir=scratch)
        log.replace(_counted(found, report), metadata)
    else:
        since = int(state.metadata["since"])
        kept = _of_change(source.changed_since(since), "upsert")
        gone = _of_change(source.changed_since(since, ["Id"]), "delete").read_all()
        found = match(_keyed(kept), reference, matching, temp_dir=scratch)
        deleted = gone.column("Id").combine_chunks()
        log.append(_counted(found, report), metadata, deleted_keys=deleted)
    _totals(log, report)
    return report


def _keyed(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The rows as `match` takes them, with the Id as the key."""
    batches = (batch.select(_IDENTIFIERS.names).rename_columns(SCHEMA.names) for batch in rows)
    return pa.RecordBatchReader.from_batches(SCHEMA, (batch.cast(SCHEMA) for batch in batches))


def _of_change(changed: pa.RecordBatchReader, kind: str) -> pa.RecordBatchReader:
    batches = (batch.filter(pc.equal(batch.column("_change"), kind)) for batch in changed)
    return pa.RecordBatchReader.from_batches(changed.schema, batches)


def _counted(found: pa.RecordBatchReader, report: MatchReport) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in found:
            report.refreshed += batch.num_rows
            yield batch

    return pa.RecordBatchReader.from_batches(MATCHES, batches())


def _totals(log: ChangeLog, report: MatchReport) -> None:
    with duck.connect() as connection:
        log.duckdb_view(connection, "matches", ["status", "identifier", "reason"])
        rows = connection.sql(
            "SELECT status, identifier, count(*) FROM matches GROUP BY ALL ORDER BY 3 DESC, 2"
        ).fetchall()
        reasons = connection.sql(
            "SELECT reason, count(*) FROM matches WHERE status = 'ambiguous' "
            "GROUP BY ALL ORDER BY 2 DESC, 1 LIMIT 10"
        ).fetchall()
    report.matched_by = {str(kind): n for status, kind, n in rows if status == "matched"}
    report.ambiguous = sum(n for status, _, n in rows if status == "ambiguous")
    report.unmatched = sum(n for status, _, n in rows if status == "unmatched")
    report.reasons = dict(reasons)
