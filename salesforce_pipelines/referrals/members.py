"""Members of a program and their links: who may refer, with which code, and what came of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from salesforce_pipelines.config.models import TABLE_NAMES, LeadField, Program
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.pull.record_links import survivors
from salesforce_pipelines.pull.record_states import IS_LIVE
from salesforce_pipelines.referrals.codes import new_code
from salesforce_pipelines.referrals.qualification import qualified
from salesforce_pipelines.store import duck, qualifications, referral_members
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.tables import ChangeLog, Tables

LINKS = pa.schema(
    [
        ("Id", pa.string()),
        ("code", pa.string()),
        ("link", pa.string()),
        ("referrals", pa.int64()),
        ("qualified_referrals", pa.int64()),
    ]
)
_BATCH = 20_000


@dataclass
class Enrolment:
    """Members of a program: those of the org now, and those who got a code just now."""

    members: int = 0
    enrolled: int = 0


@dataclass
class LinkReport:
    """Links of a program: all, those that are new or whose counts changed, and the referrals.

    Attributes:
        inherited: Codes of merged members, whose referrals count for the survivor.
    """

    links: int = 0
    changed: int = 0
    inherited: int = 0
    referrals: int = 0
    qualified: int = 0


@dataclass
class QualificationReport:
    """Referred Leads of a program, those that fit the rule now, and those recorded just now."""

    referred: int = 0
    fitting: int = 0
    recorded: int = 0


def links_of(tables: Tables, slug: str) -> ChangeLog:
    """The table of a program's links, by the Id of the record that carries the link."""
    return tables.log(f"referrals/{slug}/links")


def enrol(tables: Tables, ledger: Ledger, slug: str, program: Program) -> Enrolment:
    """Give every member of a program a code; whoever has one keeps it for ever."""
    report = Enrolment()
    sobject = program.member_object()
    with duck.connect() as connection:
        _view_members(connection, tables, ledger, slug, program)
        total = connection.sql("SELECT count(*) FROM members").fetchone()
        report.members = total[0] if total else 0
        new = connection.sql(
            "SELECT Id FROM members ANTI JOIN enrolled ON record_id = Id ORDER BY Id"
        ).to_arrow_reader(_BATCH)
        for batch in new:
            ids = batch.column("Id").to_pylist()
            report.enrolled += referral_members.enrol(
                ledger, program=slug, members=[(sobject, one) for one in ids], new_code=new_code
            )
    return report


def refresh_links(tables: Tables, ledger: Ledger, slug: str, program: Program) -> LinkReport:
    """Bring the table of links up to the ledger and the pulled Leads; only changes are written.

    A member's link carries the member's own code; its counts are those of that code and of the
    codes of all who were merged into it, or were Leads before they became it.
    """
    report = LinkReport()
    log = links_of(tables, slug)
    with duck.connect() as connection:
        _view_members(connection, tables, ledger, slug, program)
        _note_holders(connection, program)
        _view_counts(connection, tables, ledger, slug, program)
        connection.execute(
            """
            CREATE TEMP TABLE links AS
            SELECT members.Id AS Id, code, replace($pattern, '{code}', code) AS link,
                coalesce(totals.referrals, 0)::BIGINT AS referrals,
                coalesce(totals.qualified_referrals, 0)::BIGINT AS qualified_referrals
            FROM members JOIN enrolled ON enrolled.record_id = members.Id
            LEFT JOIN (
                SELECT Id, sum(referrals) AS referrals,
                    sum(qualified_referrals) AS qualified_referrals
                FROM holders JOIN counts USING (code) GROUP BY Id
            ) AS totals ON totals.Id = members.Id
            """,
            {"pattern": program.link},
        )
        totals = connection.sql(
            "SELECT count(*), sum(referrals), sum(qualified_referrals) FROM links"
        ).fetchone() or (0, 0, 0)
        report.links, report.referrals, report.qualified = (int(n or 0) for n in totals)
        inherited = connection.sql("SELECT count(*) FROM holders WHERE record_id <> Id").fetchone()
        report.inherited = inherited[0] if inherited else 0
        if log.state() is None:
            connection.sql("CREATE TEMP VIEW held AS SELECT * FROM links LIMIT 0")
        else:
            log.duckdb_view(connection, "held", LINKS.names)
        changed = connection.sql("SELECT * FROM links EXCEPT SELECT * FROM held").to_arrow_table()
        gone = connection.sql("SELECT Id FROM held ANTI JOIN links USING (Id)").to_arrow_table()
        report.changed = changed.num_rows
        log.append(
            changed.cast(LINKS), {}, deleted_keys=gone.column("Id").combine_chunks().cast("string")
        )
    return report


def record_qualifications(
    tables: Tables, ledger: Ledger, slug: str, program: Program, *, run_id: str
) -> QualificationReport:
    """Record every referral that qualifies now, with its evidence, once for ever.

    A Lead into which one that qualified was merged is the same referral, and not recorded again.
    """
    report = QualificationReport()
    rule = program.qualification
    if not isinstance(rule, LeadField):
        return report
    with duck.connect() as connection:
        _view_codes(connection, ledger, slug)
        _view_referred(connection, tables, rule)
        _note_recorded(connection, tables, ledger, slug)
        reader = connection.sql(
            f"""
            SELECT Id, code, "{rule.field}", SystemModstamp::VARCHAR AS SystemModstamp,
                coalesce(survivor_id, Id) IN (SELECT Id FROM recorded) AS is_recorded
            FROM referred LEFT JOIN (SELECT Id, survivor_id FROM survivors) USING (Id)
            SEMI JOIN enrolled USING (code) ORDER BY Id
            """
        ).to_arrow_reader(_BATCH)
        for batch in reader:
            report.referred += batch.num_rows
            rows = list(_qualifying(batch, slug, rule, run_id))
            report.fitting += len(rows)
            report.recorded += qualifications.record(ledger, rows)
    return report


def _qualifying(
    batch: pa.RecordBatch, slug: str, rule: LeadField, run_id: str
) -> Iterator[qualifications.Qualification]:
    for row in batch.to_pylist():
        evidence = qualified(row, rule)
        if evidence and not row["is_recorded"]:
            yield qualifications.Qualification(
                program=slug,
                referred_object="Lead",
                referred_id=row["Id"],
                code=row["code"],
                method=rule.method,
                evidence=evidence.as_json(),
                qualified_at=datetime.now(UTC),
                run_id=run_id,
            )


def _insert(
    connection: duckdb.DuckDBPyConnection, name: str, rows: Iterable[pa.RecordBatch], columns: str
) -> None:
    """A temporary table of the ledger's rows."""
    connection.execute(f"CREATE TEMP TABLE {name} ({columns})")
    wanted = ", ".join(part.split()[0] for part in columns.split(","))
    for batch in rows:
        connection.register("batch", pa.Table.from_batches([batch]))
        connection.execute(f"INSERT INTO {name} SELECT {wanted} FROM batch")
        connection.unregister("batch")


def _view_codes(connection: duckdb.DuckDBPyConnection, ledger: Ledger, slug: str) -> None:
    """`enrolled`: every member that ever was, with its code."""
    rows = referral_members.members(ledger, slug)
    _insert(connection, "enrolled", rows, "record_id VARCHAR, code VARCHAR")


def _view_members(
    connection: duckdb.DuckDBPyConnection,
    tables: Tables,
    ledger: Ledger,
    slug: str,
    program: Program,
) -> None:
    """`members`: the records that are members now; `enrolled`: those that have a code.

    Beside them `pulled`, every record of their sObject, and `survivors` of merges.
    """
    _view_codes(connection, ledger, slug)
    sobject = program.member_object()
    pulled = tables.log(f"pulled/{TABLE_NAMES[sobject]}")
    _view(connection, pulled, "pulled")
    survivors(connection, tables)
    if isinstance(program.members, str):
        alive = IS_LIVE + (" AND NOT IsConverted" if sobject == "Lead" else "")
        connection.execute(f"CREATE TEMP VIEW members AS SELECT Id FROM pulled WHERE {alive}")
        return
    _view(connection, tables.log(f"pulled/{TABLE_NAMES['Campaign']}"), "campaigns")
    campaign = program.members.campaign
    found = connection.execute(
        f"SELECT Id FROM campaigns WHERE {IS_LIVE} AND (Id = $c OR Name = $c)", {"c": campaign}
    ).fetchall()
    if len(found) != 1:
        raise PipelineError(
            f"referrals.{slug}.members.campaign in pipelines.yaml: the org has {len(found)} "
            f"campaigns with this Id or name; name exactly one, best by its Id"
        )
    connection.execute(
        f"CREATE TEMP TABLE members AS SELECT Id FROM pulled WHERE {IS_LIVE} AND CampaignId = ?",
        [found[0][0]],
    )


def _note_holders(connection: duckdb.DuckDBPyConnection, program: Program) -> None:
    """`holders`: for each code that was ever given, the member that its referrals count for.

    That is who got it; after a merge or a conversion the record that they are part of now, if
    that is a member. A campaign drops one of two memberships when their people are merged.
    """
    if isinstance(program.members, str):
        heirs = "SELECT Id, survivor_id AS heir FROM survivors"
    else:
        connection.execute(
            """
            CREATE TEMP VIEW people AS
            SELECT pulled.Id, coalesce(survivor_id, ContactId, LeadId) AS person
            FROM pulled LEFT JOIN survivors ON survivors.Id = coalesce(ContactId, LeadId)
            """
        )
        heirs = """
            SELECT people.Id, now.Id AS heir FROM people JOIN (
                SELECT person, min(Id) AS Id FROM people SEMI JOIN members USING (Id) GROUP BY ALL
            ) AS now USING (person)"""
    connection.execute(
        f"""
        CREATE TEMP TABLE holders AS
        SELECT code, record_id, members.Id FROM enrolled
        LEFT JOIN members AS themselves ON themselves.Id = record_id
        LEFT JOIN ({heirs}) AS heirs ON heirs.Id = record_id
        JOIN members ON members.Id = coalesce(themselves.Id, heir)
        """
    )


def _note_recorded(
    connection: duckdb.DuckDBPyConnection, tables: Tables, ledger: Ledger, slug: str
) -> None:
    """`recorded`: the records that Leads which qualified were merged into."""
    rows = qualifications.qualifications(ledger, slug)
    _insert(connection, "known", rows, "referred_id VARCHAR")
    survivors(connection, tables)
    connection.execute(
        """
        CREATE TEMP TABLE recorded AS SELECT DISTINCT survivor_id AS Id
        FROM known JOIN survivors ON survivors.Id = referred_id
        WHERE kind = 'merged' AND survivor_id IS NOT NULL
        """
    )


def _view(connection: duckdb.DuckDBPyConnection, log: ChangeLog, name: str) -> None:
    if log.state() is None:
        raise PipelineError(f"{log.name}: never pulled; materialise it first")
    log.duckdb_view(connection, name)


def _view_referred(connection: duckdb.DuckDBPyConnection, tables: Tables, rule: LeadField) -> None:
    """`referred`: the Leads that carry some referral code."""
    _view(connection, tables.log(f"pulled/{TABLE_NAMES['Lead']}"), "leads")
    connection.execute(
        f"""
        CREATE TEMP VIEW referred AS SELECT leads.*, trim("{rule.code_field}") AS code FROM leads
        WHERE {IS_LIVE} AND coalesce(trim("{rule.code_field}"), '') <> ''
        """
    )


def _view_counts(
    connection: duckdb.DuckDBPyConnection,
    tables: Tables,
    ledger: Ledger,
    slug: str,
    program: Program,
) -> None:
    """`counts`: by code, the Leads that came by it, and the referrals that ever qualified."""
    rule = program.qualification
    rows = qualifications.counts_by_code(ledger, slug)
    _insert(connection, "qualified", rows, "code VARCHAR, qualified BIGINT")
    if isinstance(rule, LeadField):
        _view_referred(connection, tables, rule)
    else:
        connection.execute("CREATE TEMP VIEW referred AS SELECT NULL AS code WHERE false")
    connection.execute(
        """
        CREATE TEMP VIEW counts AS
        SELECT code, coalesce(n, 0) AS referrals, coalesce(qualified, 0) AS qualified_referrals
        FROM (SELECT code, count(*) AS n FROM referred GROUP BY code)
        FULL JOIN qualified USING (code)
        """
    )
