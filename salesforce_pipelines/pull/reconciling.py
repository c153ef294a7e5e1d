"""Proving that a table holds what the org holds, and mending what it does not.

Incremental pulls follow SystemModstamp, and some things leave no stamp: records deleted for good,
campaign members removed, records that appear by sharing or by another record's change of scope.
So the live records are counted on both sides by the month of their creation, months that differ
are looked at Id by Id, and besides, at every run, so is the next stretch in turn: a lost record
and one too many hide each other from the counts, but not for ever.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from salesforce_pipelines.config.models import Pull
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.describe import FieldDescribe, arrow_schema, describe
from salesforce_pipelines.org.reading import read
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.org.soql import conjunction, instant, select
from salesforce_pipelines.pull import record_states
from salesforce_pipelines.pull.buckets import (
    FINGERPRINT,
    Month,
    Stretch,
    condition,
    differing,
    id_conditions,
    ids_in_a_query,
    turn,
    united,
)
from salesforce_pipelines.pull.drift import fields_to_read
from salesforce_pipelines.pull.held_rows import chunks, with_held
from salesforce_pipelines.pull.pulling import refuse_another_org
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.columns import conformed
from salesforce_pipelines.store.tables import ChangeLog
from salesforce_pipelines.store.written_keys import are_among

_MEMORY_MB, _THREADS = 128, 2
_BATCH = 20_000
_MOST_QUERIES, _ROWS_WORTH_A_QUERY = 10, 10_000
"""Records are fetched by Id, by that many queries or by one for so many rows that were compared;
where there are more of them, their months are read as a whole."""
_PLENTY = 1_000
"""Up to so many records are marked purged without asking what share of the table they are."""
_UTC = "make_timestamp(epoch_us(CreatedDate))"
_YEAR, _MONTH = f"year({_UTC})", f"month({_UTC})"
"""Of a timestamp without time zone: with one it takes DuckDB twenty times as long."""
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_ID_FIELDS = {
    "Id": "id",
    "CreatedDate": "datetime",
    "SystemModstamp": "datetime",
    "IsDeleted": "boolean",
    "MasterRecordId": "reference",
}
REMEMBERED = pa.schema(
    [
        ("month", pa.string()),
        ("org_rows", pa.int64()),
        ("table_rows", pa.int64()),
        ("compared_ids", pa.int64()),
        ("missing", pa.int64()),
        ("extra", pa.int64()),
        ("healed", pa.int64()),
        ("fingerprint", pa.string()),
        ("compared_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass
class Bucket:
    """One month of creation. Counts are records.

    Attributes:
        org: Live in the org (and in its scope), as counted.
        table: Live in the table, as counted.
        compared: Ids of the org that were compared, deleted ones included.
        missing: The org has them; the table lacks them, or holds them in another state.
        extra: Live in the table, and not in the org.
        healed: Of these, how many are right now.
        fingerprint: Of the live Ids compared, as the org had them; empty if none were.
    """

    org: int = 0
    table: int = 0
    compared: int = 0
    missing: int = 0
    extra: int = 0
    healed: int = 0
    fingerprint: str = ""

    @property
    def different(self) -> int:
        """The records that were not as in the org."""
        return self.missing + self.extra


@dataclass
class Reconciliation:
    """What a comparison found and mended.

    Attributes:
        watermark: What came later is the next pull's business, on either side.
        deep: Whether every Id was compared.
        fetched: Records taken from the org anew.
        purged: Records marked purged.
        left_scope: Records marked out of scope.
        problem: Why something could not be healed; empty if all could.
    """

    sobject: str
    watermark: datetime
    deep: bool
    buckets: dict[Month, Bucket] = field(default_factory=dict)
    fetched: int = 0
    purged: int = 0
    left_scope: int = 0
    api_calls: int = 0
    problem: str = ""

    def total(self, count: str) -> int:
        """The sum of one count over all months."""
        return sum(getattr(bucket, count) for bucket in self.buckets.values())


def reconcile(
    session: OrgSession,
    log: ChangeLog,
    remembered: ChangeLog,
    sobject: str,
    settings: Pull,
    *,
    deep: bool = False,
) -> Reconciliation:
    """Compare a pulled table with the org and mend it, in one commit; nothing else is touched.

    When all is well it costs one API call for the counts, and one for every 2,000 Ids in turn.

    Args:
        session: The org.
        log: The table.
        remembered: Where each table keeps what was compared when; by the key `month`.
        sobject: The sObject.
        settings: How to read, and how many Ids to compare in turn.
        deep: Compare the Ids of all records.

    Raises:
        PipelineError: The table was never pulled, or holds another org's records; the org refused
            or is unreachable.
    """
    return _Reconciling(session, log, remembered, sobject, settings).run(deep=deep)


class _Reconciling:
    def __init__(
        self,
        session: OrgSession,
        log: ChangeLog,
        remembered: ChangeLog,
        sobject: str,
        settings: Pull,
    ) -> None:
        state = log.state()
        if state is None or record_states.COLUMN not in log.schema().names:
            raise PipelineError(f"{log.name}: there is nothing to compare yet; pull it in full")
        self._session = session
        self._log = log
        self._remembered = remembered
        self._settings = settings
        self._batch = state.batch
        self._known = state.metadata
        self._scope = str(self._known.get("scope", ""))
        self._report = Reconciliation(
            sobject, datetime.fromisoformat(self._known["watermark"]), deep=False
        )

    def run(self, *, deep: bool) -> Reconciliation:
        calls, report = self._session.api_calls, self._report
        report.deep = deep
        org = self._org_counts()
        refuse_another_org(self._session, self._log, self._known)
        memory = duck.memory_for(len(self._log.schema()), _MEMORY_MB)
        with duck.connect(memory, _THREADS) as connection:
            self._log.duckdb_view(connection, "pulled")
            table = self._table_counts(connection)
            for month in sorted({*org, *table}):
                report.buckets[month] = Bucket(org.get(month, 0), table.get(month, 0))
            stretches = [month.stretch(report.watermark) for month in differing(org, table)]
            following = None
            if deep:
                stretches = [Stretch(None, report.watermark)]
            elif self._settings.reconciled_ids:
                in_turn, following = self._turn(connection)
                stretches.append(in_turn)
            if stretches := united(stretches):
                self._compare(connection, stretches)
        self._remember(following)
        report.api_calls = self._session.api_calls - calls
        return report

    # Counting

    def _org_counts(self) -> dict[Month, int]:
        year, month = "CALENDAR_YEAR(CreatedDate)", "CALENDAR_MONTH(CreatedDate)"
        soql = select(
            [f"{year} y", f"{month} m", "COUNT(Id) n"],
            self._report.sobject,
            self._in_scope(f"CreatedDate < {instant(self._report.watermark)}"),
        )
        # One page holds 2,000 months, and there is no second one of an aggregate.
        answer = self._session.get("query", {"q": f"{soql} GROUP BY {year}, {month}"})
        return {Month(int(row["y"]), int(row["m"])): int(row["n"]) for row in answer["records"]}

    def _table_counts(self, connection: duckdb.DuckDBPyConnection) -> dict[Month, int]:
        found = connection.execute(
            f"SELECT {_YEAR}, {_MONTH}, count(*) FROM pulled "
            f"WHERE {record_states.COLUMN} = '{record_states.LIVE}' AND CreatedDate < $1 "
            "GROUP BY ALL",
            [self._report.watermark],
        )
        return {Month(year, month): count for year, month, count in found.fetchall()}

    def _turn(self, connection: duckdb.DuckDBPyConnection) -> tuple[Stretch, datetime | None]:
        state = self._remembered.state()
        noted = state.metadata.get("next") if state else None
        start = datetime.fromisoformat(noted) if noted else None
        most = self._settings.reconciled_ids
        rows, newest = connection.execute(
            """
            SELECT count(*), max(CreatedDate) FROM (
                SELECT CreatedDate FROM pulled
                WHERE CreatedDate < $1 AND ($2 IS NULL OR CreatedDate >= $2)
                ORDER BY CreatedDate LIMIT $3
            )
            """,
            [self._report.watermark, start, most],
        ).fetchone() or (0, None)
        return turn(start, newest if rows == most else None, self._report.watermark)

    def _in_scope(self, where: str) -> str:
        return conjunction(self._scope, where)

    # Comparing

    def _compare(self, connection: duckdb.DuckDBPyConnection, stretches: Sequence[Stretch]) -> None:
        self._note_org(connection, stretches)
        self._view_held(connection, "pulled", "held", stretches)
        different = self._differing_months(connection, "held")
        self._note_suspects(connection, different)
        if _count(connection, "suspects"):
            self._heal(connection)
            self._log.duckdb_view(connection, "now", ["Id", "CreatedDate", record_states.COLUMN])
            self._view_held(connection, "now", "held_now", stretches)
            different = self._differing_months(connection, "held_now")
        self._conclude(different)

    def _note_org(
        self, connection: duckdb.DuckDBPyConnection, stretches: Sequence[Stretch]
    ) -> None:
        """`org`: what it has of the stretches; `unsettled`: what changed since the watermark."""
        followed = {"Id", "CreatedDate", "SystemModstamp", *self._known["fields"]}
        reading = read(
            self._session,
            self._report.sobject,
            [_described(name, kind) for name, kind in _ID_FIELDS.items() if name in followed],
            where=self._in_scope(condition(stretches)),
            bulk_threshold=self._settings.bulk_threshold,
        )
        wanted = f"Id, CreatedDate, SystemModstamp, {record_states.COLUMN}"
        connection.execute(
            "CREATE TEMP TABLE org (Id VARCHAR, CreatedDate TIMESTAMPTZ, "
            f"SystemModstamp TIMESTAMPTZ, {record_states.COLUMN} VARCHAR)"
        )
        for batch in reading.batches:
            _insert(
                connection,
                f"INSERT INTO org SELECT {wanted} FROM batch",
                record_states.with_state(batch),
            )
        connection.execute(
            "CREATE TEMP TABLE unsettled AS SELECT Id FROM org WHERE SystemModstamp >= $1",
            [self._report.watermark],
        )
        counted = connection.sql(f"SELECT {_YEAR}, {_MONTH}, count(*) FROM org GROUP BY ALL")
        for year, month, ids in counted.fetchall():
            self._bucket(year, month).compared = ids

    @staticmethod
    def _view_held(
        connection: duckdb.DuckDBPyConnection,
        source: str,
        view: str,
        stretches: Sequence[Stretch],
    ) -> None:
        """A view of the table's own Ids within the stretches."""
        within = " OR ".join(
            f"(CreatedDate >= TIMESTAMPTZ '{stretch.start or _BEGINNING}' "
            f"AND CreatedDate < TIMESTAMPTZ '{stretch.end}')"
            for stretch in stretches
        )
        connection.execute(
            f"CREATE TEMP VIEW {view} AS SELECT Id, CreatedDate, {record_states.COLUMN} "
            f"FROM {source} WHERE {within}"
        )

    def _differing_months(self, connection: duckdb.DuckDBPyConnection, held: str) -> set[Month]:
        """Months whose live Ids are not the same on both sides, by their fingerprints."""
        org, table = _fingerprints(connection, "org"), _fingerprints(connection, held)
        for month, value in org.items():
            self._bucket(*month).fingerprint = f"{value:016x}"
        return {month for month in {*org, *table} if org.get(month) != table.get(month)}

    @staticmethod
    def _note_suspects(connection: duckdb.DuckDBPyConnection, different: Iterable[Month]) -> None:
        """`suspects`: records that the table does not hold as the org does.

        Of a month whose fingerprints agree only records that are not live can be any. Those that
        left the recycle bin (`binned`) are no difference that anybody has to be told.
        """
        connection.execute("CREATE TEMP TABLE months (month INTEGER)")
        for month in different:
            connection.execute("INSERT INTO months VALUES (?)", [100 * month.year + month.month])
        doubtful = f"100 * {_YEAR} + {_MONTH} IN (FROM months)"
        not_live = f"{record_states.COLUMN} <> '{record_states.LIVE}'"
        # A merged record whose MasterRecordId is hidden looks deleted; it stays merged.
        connection.execute(
            f"""
            CREATE TEMP TABLE suspects AS
            WITH theirs AS (FROM org WHERE {not_live} OR {doubtful}),
            ours AS (
                FROM held WHERE {doubtful} OR {record_states.COLUMN} = 'deleted'
                    OR Id IN (SELECT Id FROM org WHERE {not_live})
            )
            SELECT Id, coalesce(theirs.CreatedDate, ours.CreatedDate) AS CreatedDate,
                theirs.{record_states.COLUMN} AS org_state,
                ours.{record_states.COLUMN} AS held_state,
                org_state IS NULL AND coalesce(held_state = 'deleted', false) AS binned
            FROM theirs FULL JOIN ours USING (Id)
            WHERE Id NOT IN (FROM unsettled)
                AND CASE WHEN org_state IS NULL THEN held_state IN ('live', 'deleted')
                    WHEN org_state = 'deleted' AND held_state = 'merged' THEN false
                    ELSE org_state IS DISTINCT FROM held_state END
            """
        )

    # Healing

    def _heal(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._is_being_pulled():
            self._count_differences(connection)
            if self._report.total("different"):
                self._report.problem = (
                    "a pull was interrupted and goes on where it was: run the job pull, then "
                    "compare again"
                )
            return
        with tempfile.TemporaryFile() as file:
            self._fetch(connection, file)
            self._settle(connection)
            self._count_differences(connection)
            if not _count(connection, "suspects"):
                return
            self._report.problem = self._why_not_purge(connection)
            if not self._report.problem:
                self._append(connection, file)

    def _is_being_pulled(self) -> bool:
        staged = self._log.staged()
        if staged is None:
            return False
        with staged:
            return True

    def _fetch(self, connection: duckdb.DuckDBPyConnection, file: IO[bytes]) -> None:
        """`fetched`: the suspects that the org has; the file: with every field that it follows."""
        # Those that the scope does not show may be in the org all the same.
        where = "" if self._scope else "WHERE org_state IS NOT NULL"
        connection.execute(f"CREATE TEMP TABLE asked AS SELECT Id FROM suspects {where}")
        asked = connection.sql("FROM asked").to_arrow_table()["Id"].combine_chunks()
        connection.execute(
            "CREATE TEMP TABLE fetched (Id VARCHAR, SystemModstamp TIMESTAMPTZ, "
            f"{record_states.COLUMN} VARCHAR)"
        )
        wanted = f"INSERT INTO fetched SELECT Id, SystemModstamp, {record_states.COLUMN} FROM batch"
        fields = self._fields()
        schema = record_states.schema_with_state(arrow_schema(fields))
        wheres, threshold = self._queries(connection, [one.name for one in fields])
        with pa.ipc.new_stream(file, schema) as spooled:
            for where in wheres:
                reading = read(
                    self._session,
                    self._report.sobject,
                    fields,
                    where=where,
                    bulk_threshold=threshold,
                )
                for batch in chunks(reading.batches):
                    batch = batch.filter(are_among(batch.column("Id"), asked))
                    rows = record_states.with_state(batch)
                    spooled.write_batch(rows)
                    _insert(connection, wanted, rows)

    def _queries(
        self, connection: duckdb.DuckDBPyConnection, names: Sequence[str]
    ) -> tuple[list[str], int]:
        """The conditions to fetch by, and the rows from which on Bulk API is used."""
        query = select(names, self._report.sobject)
        room = max(_MOST_QUERIES, _count(connection, "org") // _ROWS_WORTH_A_QUERY)
        if _count(connection, "asked") <= room * ids_in_a_query(query):
            ids = [row[0] for row in connection.sql("FROM asked ORDER BY Id").fetchall()]
            return list(id_conditions(ids, query)), len(ids) + 1
        months = connection.sql(f"SELECT DISTINCT {_YEAR}, {_MONTH} FROM suspects").fetchall()
        stretches = united(Month(*month).stretch(self._report.watermark) for month in months)
        return [condition(stretches)], self._settings.bulk_threshold

    def _fields(self) -> Sequence[FieldDescribe]:
        """The fields that the table follows and the org still shows."""
        followed = self._known["fields"]
        described = describe(self._session, self._report.sobject)
        return fields_to_read(described, followed, self._log.schema(), followed, full=False).read

    def _settle(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Leave to the next pull what changed since, and forget what the org lost meanwhile."""
        connection.execute(
            "INSERT INTO unsettled SELECT Id FROM fetched WHERE SystemModstamp >= $1",
            [self._report.watermark],
        )
        connection.execute(
            """
            CREATE TEMP VIEW lost AS
            SELECT Id FROM asked WHERE Id NOT IN (SELECT Id FROM fetched);
            DELETE FROM org WHERE Id IN (FROM lost);
            DELETE FROM suspects WHERE Id IN (FROM unsettled)
                OR (held_state IS DISTINCT FROM 'live' AND NOT binned AND Id IN (FROM lost))
                OR (binned AND Id IN (SELECT Id FROM fetched WHERE record_state = 'deleted'));
            DELETE FROM fetched WHERE Id NOT IN (SELECT Id FROM suspects);
            CREATE TEMP TABLE gone AS SELECT Id, held_state FROM suspects
            WHERE (held_state = 'live' OR binned) AND Id NOT IN (SELECT Id FROM fetched)
            """
        )

    def _count_differences(self, connection: duckdb.DuckDBPyConnection) -> None:
        found = connection.sql(
            f"SELECT {_YEAR}, {_MONTH}, "
            "count(*) FILTER (held_state IS DISTINCT FROM 'live' AND NOT binned), "
            "count(*) FILTER (held_state = 'live') FROM suspects GROUP BY ALL"
        )
        for year, month, missing, extra in found.fetchall():
            bucket = self._bucket(year, month)
            bucket.missing, bucket.extra = missing, extra

    def _bucket(self, year: int, month: int) -> Bucket:
        return self._report.buckets.setdefault(Month(year, month), Bucket())

    def _why_not_purge(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Why the vanished records are not marked; empty if they may be."""
        gone, held = (
            _count(connection, "gone WHERE held_state = 'live'"),
            self._report.total("table"),
        )
        if gone <= max(_PLENTY, held // 2):
            return ""
        return (
            f"the org shows this user none of {gone:,} of {held:,} records any more. If they were "
            "deleted for good, pull in full; if access to them was lost, give it back"
        )

    def _append(self, connection: duckdb.DuckDBPyConnection, file: IO[bytes]) -> None:
        report = self._report
        report.purged = _count(connection, "gone")
        report.left_scope = _count(connection, f"({self._outside()})")
        report.fetched = _count(connection, "fetched") - report.left_scope
        schema = self._log.schema()
        rows = pa.RecordBatchReader.from_batches(schema, self._mended(connection, schema, file))
        # The metadata stays: it says what the last pull read, and how far it came.
        self._log.append(rows, self._known, after_batch=self._batch)

    def _outside(self) -> str:
        """SQL for the Ids of fetched records that are live and do not fit the scope."""
        if not self._scope:
            return "SELECT Id FROM fetched WHERE false"
        return (
            f"SELECT Id FROM fetched WHERE {record_states.COLUMN} = '{record_states.LIVE}' "
            "AND Id NOT IN (SELECT Id FROM org)"
        )

    def _mended(
        self, connection: duckdb.DuckDBPyConnection, schema: pa.Schema, file: IO[bytes]
    ) -> Iterator[pa.RecordBatch]:
        file.seek(0)
        fetched = connection.sql("SELECT Id FROM fetched").to_arrow_table()["Id"].combine_chunks()
        outside = connection.sql(self._outside()).to_arrow_table()["Id"].combine_chunks()
        with pa.ipc.open_stream(file) as spooled:
            # What the org no longer shows to this user keeps its last value.
            hidden = [name for name in schema.names if name not in spooled.schema.names]
            for batch in spooled:
                rows = batch.filter(are_among(batch.column("Id"), fetched))
                rows = conformed(with_held(self._log, rows, hidden), schema)
                left = are_among(rows.column("Id"), outside)
                yield rows.filter(pc.invert(left))
                yield record_states.out_of_scope(rows.filter(left))
        if self._report.purged:
            names = ", ".join(duck.quoted(name) for name in schema.names)
            found = f"SELECT {names} FROM pulled SEMI JOIN gone USING (Id)"
            for rows in _rows(connection, found, schema):
                yield record_states.purged(rows)

    # Concluding and remembering

    def _conclude(self, different: set[Month]) -> None:
        """Tell what was healed, by what still differs."""
        for month, bucket in self._report.buckets.items():
            unhealed = self._report.problem or month in different
            bucket.healed = 0 if unhealed else bucket.different
        if different and not self._report.problem:
            self._report.problem = f"{', '.join(map(str, sorted(different)))}: still different"

    def _remember(self, following: datetime | None) -> None:
        report = self._report
        state = self._remembered.state()
        noted = state.metadata.get("next") if state else None
        if not report.deep and not report.problem:
            noted = following.isoformat() if following else None
        now = datetime.now(UTC)
        rows: list[dict[str, Any]] = [
            {
                "month": str(month),
                "org_rows": bucket.org,
                "table_rows": bucket.table,
                "compared_ids": bucket.compared,
                "missing": bucket.missing,
                "extra": bucket.extra,
                "healed": bucket.healed,
                "fingerprint": bucket.fingerprint,
                "compared_at": now,
            }
            for month, bucket in report.buckets.items()
            if bucket.compared or bucket.different
        ]
        if rows:
            table = pa.Table.from_pylist(rows, REMEMBERED)
            self._remembered.append(table, {"next": noted})


def _described(name: str, kind: str) -> FieldDescribe:
    """A system field as every org describes it; asking for it would cost a call."""
    return FieldDescribe(name, name, kind, 18, 0, 0, False, False, True, False, False, (), ())


def _insert(connection: duckdb.DuckDBPyConnection, statement: str, batch: pa.RecordBatch) -> None:
    connection.register("batch", pa.Table.from_batches([batch]))
    connection.execute(statement)
    connection.unregister("batch")


def _count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    found = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
    return int(found[0]) if found else 0


def _rows(
    connection: duckdb.DuckDBPyConnection, statement: str, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    for batch in connection.execute(statement).to_arrow_reader(_BATCH):
        yield conformed(batch, schema)


def _fingerprints(connection: duckdb.DuckDBPyConnection, table: str) -> dict[Month, int]:
    found = connection.sql(
        f"SELECT {_YEAR}, {_MONTH}, {FINGERPRINT} FROM {table} "
        f"WHERE {record_states.COLUMN} = '{record_states.LIVE}' AND Id NOT IN (FROM unsettled) "
        "GROUP BY ALL"
    )
    return {Month(year, month): int(value) for year, month, value in found.fetchall()}
