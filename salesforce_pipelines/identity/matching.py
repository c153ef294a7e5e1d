"""Matching records with people by exact identifiers, out of core.

The decision is one pure function, `decide`. DuckDB finds who is hit by what; records that are hit
in the same way, whoever by, are decided together, so the function runs once for each way.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from salesforce_pipelines.config.models import IdentifierKind, Matching
from salesforce_pipelines.identity import duckdb_session
from salesforce_pipelines.identity.keys import HASH, NICKNAME, keys
from salesforce_pipelines.identity.reference import SHARED_BY, check_reference

Status = Literal["matched", "ambiguous", "unmatched"]

_STRINGS = pa.list_(pa.string())
MATCHES = pa.schema(
    {
        "Id": pa.string(),
        "status": pa.string(),
        "person_id": pa.string(),
        "identifier": pa.string(),
        "agreeing": _STRINGS,
        "disagreeing": _STRINGS,
        "candidates": pa.int32(),
        "reason": pa.string(),
    }
)
CANDIDATES = pa.schema({"Id": pa.string(), "person_id": pa.string(), "identifiers": _STRINGS})


@dataclass(frozen=True)
class Decision:
    """What became of one record, and why.

    Attributes:
        status: `matched`, `ambiguous` (for a person to look at) or `unmatched`.
        person_id: The person; None unless matched.
        identifier: The kind that decided: the first in order that hit anybody.
        agreeing: Other kinds that point at the person whom the deciding kind found.
        disagreeing: Kinds that point only at other people.
        candidates: How many people the deciding kind hit.
        reason: The same in words, without people's data.
    """

    status: Status
    person_id: str | None = None
    identifier: str | None = None
    agreeing: tuple[str, ...] = ()
    disagreeing: tuple[str, ...] = ()
    candidates: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Summary:
    """How many records were matched, by the kind that decided; how many were not."""

    matched: dict[str, int]
    ambiguous: int
    unmatched: int


def decide(
    hits_by_kind: Mapping[str, frozenset[str]],
    order: Sequence[IdentifierKind],
    conflicts: Literal["park", "first"],
    shared: Collection[str] = (),
    other_names: Collection[str] = (),
) -> Decision:
    """Who a record is, from whom its identifiers hit.

    The first kind in order with a hit decides; name and company by nickname is a second try of
    name and company, made last and only where the exact name hits nobody. Of several people hit,
    those that other identifiers hit too are kept; exactly one must be left. With `park`, an
    identifier that hits only other people leaves the record to a person.

    Args:
        hits_by_kind: The people hit by each kind that the record has a value of; empty for none.
            Kinds that are not in `order` do not count.
        order: `Matching.order`.
        conflicts: `Matching.conflicts`.
        shared: Kinds with a value that too many people share to identify anybody.
        other_names: Kinds with a value whose owners have another last name than the record; they
            are not among the hits. A telephone is a line, not a person.
    """
    tried = [kind for kind in _kinds(order) if kind in hits_by_kind]
    hits = {kind: people for kind in tried if (people := hits_by_kind[kind])}
    if "name_company" in hits:
        hits.pop(NICKNAME, None)
    told = [_shared(kind) for kind in tried if kind in shared]
    told += [_others(kind) for kind in tried if kind in other_names and kind not in hits]
    if not hits:
        missed = [kind for kind in tried if kind not in shared and kind not in other_names]
        return Decision("unmatched", reason=_sentence(_missed(missed, bool(tried)), *told))
    kind, *others = hits
    hit = found = hits[kind]
    if len(hit) > 1:
        found = hit & frozenset[str]().union(*(hits[other] for other in others))
    if len(found) != 1:
        reason = f"{kind} hit {len(hit)} people, {_left(len(found))}"
        return Decision("ambiguous", None, kind, (), (), len(hit), _sentence(reason, *told))
    (person,) = found
    agreeing = tuple(other for other in others if person in hits[other])
    disagreeing = tuple(other for other in others if person not in hits[other])
    parked = bool(disagreeing) and conflicts == "park"
    reason = _sentence(_hit(kind, len(hit), agreeing), _elsewhere(disagreeing), *told)
    return Decision(
        "ambiguous" if parked else "matched",
        None if parked else person,
        kind,
        agreeing,
        disagreeing,
        len(hit),
        reason,
    )


def match(
    records: pa.RecordBatchReader,
    reference: Path,
    matching: Matching,
    *,
    memory_limit: str = "1GB",
    temp_dir: Path | None = None,
) -> pa.RecordBatchReader:
    """The decision on every record, one row each, in no particular order.

    All the work is done before it returns; the rows are then streamed.

    Args:
        records: What `identifiers` gave for the records, each record once.
        reference: What `reference_for` made.
        matching: The order of identifiers and what to do about conflicts; with `nicknames` off,
            `name_company_nickname` of the records does not count.
        memory_limit: As in `duckdb_session.session`.
        temp_dir: As in `duckdb_session.session`.

    Returns:
        Rows as in `MATCHES`: `Id` and the attributes of `Decision`.
    """
    with ExitStack() as stack:
        db = stack.enter_context(
            duckdb_session.session(memory_limit=memory_limit, temp_dir=temp_dir)
        )
        kinds = _counting_kinds(matching)
        _find(db, records, reference, kinds)
        db.register("decisions", _decisions(db, kinds, matching))
        rows = db.sql(
            "SELECT r.key AS Id, d.status, p.person_id, d.identifier, d.agreeing, d.disagreeing,"
            " d.candidates, d.reason FROM records r LEFT JOIN ways w USING (row)"
            " JOIN decisions d ON d.tried = r.tried AND d.shared = coalesce(w.shared, 0)"
            " AND d.other_names = coalesce(w.other_names, 0) AND d.way = coalesce(w.way, [])"
            " LEFT JOIN (FROM people WHERE person_id IS NOT NULL) p"
            " ON p.row = r.row AND p.kinds = d.person"
        )
        batches = rows.to_arrow_reader(50_000)
        open_session = stack.pop_all()

    stream = _streamed(batches, open_session)
    next(stream)  # From here on the session ends with the stream, read or not.
    return pa.RecordBatchReader.from_batches(MATCHES, stream)


def candidates(
    records: pa.RecordBatchReader,
    reference: Path,
    matching: Matching,
    *,
    memory_limit: str = "1GB",
    temp_dir: Path | None = None,
) -> pa.Table:
    """Everybody whom any identifier of the records hits, for a person who resolves them.

    Args:
        records: What `identifiers` gave, of those records that are to be looked at.
        reference: What `reference_for` made.
        matching: As in `match`.
        memory_limit: As in `duckdb_session.session`.
        temp_dir: As in `duckdb_session.session`.

    Returns:
        Rows as in `CANDIDATES`, sorted: the record's `Id`, a `person_id`, and the `identifiers`
        (kinds, in order) that hit this person.
    """
    with duckdb_session.session(memory_limit=memory_limit, temp_dir=temp_dir) as db:
        kinds = _counting_kinds(matching)
        _find(db, records, reference, kinds)
        named = ", ".join(
            f"CASE WHEN kinds & {1 << bit} > 0 THEN '{kind}' END" for bit, kind in enumerate(kinds)
        )
        rows = db.sql(
            f"SELECT key AS Id, person_id, list_filter([{named}], lambda k: k IS NOT NULL)"
            " AS identifiers FROM people JOIN records USING (row)"
            " WHERE person_id IS NOT NULL AND kinds > 0 ORDER BY ALL"
        )
        return rows.to_arrow_table().cast(CANDIDATES)


def summary(matches: pa.Table | Iterable[pa.RecordBatch]) -> Summary:
    """The counts of what `match` gave; a reader is used up."""
    counts: Counter[tuple[str, str | None]] = Counter()
    for batch in matches.to_batches() if isinstance(matches, pa.Table) else matches:
        statuses, deciding = batch.column("status"), batch.column("identifier")
        counts.update(zip(statuses.to_pylist(), deciding.to_pylist(), strict=True))
    matched = {
        str(kind): count for (status, kind), count in counts.most_common() if status == "matched"
    }
    return Summary(
        matched,
        sum(count for (status, _), count in counts.items() if status == "ambiguous"),
        sum(count for (status, _), count in counts.items() if status == "unmatched"),
    )


def _streamed(batches: pa.RecordBatchReader, session: ExitStack) -> Iterator[pa.RecordBatch]:
    with session:
        yield None
        for batch in batches:
            yield batch.cast(MATCHES)


def _kinds(order: Sequence[IdentifierKind]) -> tuple[str, ...]:
    return (*order, NICKNAME) if "name_company" in order else tuple(order)


def _counting_kinds(matching: Matching) -> tuple[str, ...]:
    kinds = _kinds(tuple(dict.fromkeys(matching.order)))
    return kinds if matching.nicknames else tuple(kind for kind in kinds if kind != NICKNAME)


def _find(
    db: duckdb.DuckDBPyConnection,
    records: pa.RecordBatchReader,
    reference: Path,
    kinds: Sequence[str],
) -> None:
    """Fill the tables of one matching; sets of kinds are bit masks, the first kind is bit 0.

    - records: row, key, last_name, and the kinds that were tried
    - people: row, person_id (null: too many share the value), the kinds that hit this person, and
      those that would, had the person the record's last name
    - ways: row, the sorted masks of its people, the kinds whose value too many share, and those
      with a value of people of another last name
    """
    check_reference(reference)
    _read(db, records, kinds)
    # First by the hash alone: the wide columns of the reference stay out of the large join.
    file = [str(reference)]
    db.execute(
        "CREATE TEMP TABLE likely AS SELECT keys.rowid AS number, file_row_number AS place"
        " FROM read_parquet($1, file_row_number = true) JOIN keys USING (key_hash)",
        file,
    )
    # One value may stand under two kinds of the record: it counts for the first.
    db.execute(
        "CREATE TEMP TABLE hits AS SELECT k.row, min(k.bit) AS bit, r.person_id, r.last_name"
        " FROM read_parquet($1, file_row_number = true) r"
        " JOIN (FROM likely JOIN keys ON keys.rowid = likely.number) k"
        " ON r.file_row_number = k.place AND r.kind = k.space AND r.value = k.value"
        " GROUP BY k.row, k.place, r.person_id, r.last_name",
        file,
    )
    db.execute(
        "CREATE TEMP TABLE people AS SELECT row, person_id,"
        " coalesce(bit_or(bit) FILTER (NOT another), 0) AS kinds,"
        " coalesce(bit_or(bit) FILTER (another), 0) AS other_names"
        " FROM (SELECT row, person_id, bit, h.last_name IS NOT NULL AND len(r.last_name) > 0"
        " AND NOT list_has_any(r.last_name, string_split(h.last_name, ' ')) AS another"
        " FROM hits h JOIN records r USING (row)) GROUP BY ALL"
    )
    db.execute(
        "CREATE TEMP TABLE ways AS SELECT row,"
        " list_sort(coalesce(list(kinds) FILTER (person_id IS NOT NULL AND kinds > 0), [])) AS way,"
        " coalesce(bit_or(kinds) FILTER (person_id IS NULL), 0) AS shared,"
        " bit_or(other_names) AS other_names FROM people GROUP BY row"
    )


def _read(
    db: duckdb.DuckDBPyConnection, records: pa.RecordBatchReader, kinds: Sequence[str]
) -> None:
    """Fill `records`, and `keys`: row, bit of the kind, space, value and hash."""
    db.execute(
        "CREATE TEMP TABLE records (row BIGINT, key VARCHAR, tried INTEGER, last_name VARCHAR[]);"
        "CREATE TEMP TABLE keys"
        " (row BIGINT, bit INTEGER, space VARCHAR, value VARCHAR, key_hash UBIGINT)"
    )
    tried = " | ".join(
        f"CASE WHEN len({kind}) > 0 THEN {1 << bit} ELSE 0 END" for bit, kind in enumerate(kinds)
    )
    start = 0
    # Batch by batch: DuckDB would read far ahead of what it can store, outside its limit.
    for batch in records:
        rows = pa.array(range(start, start + batch.num_rows), pa.int64())
        db.register("found", pa.Table.from_batches([batch]).append_column("row", rows))
        db.execute(f"INSERT INTO records SELECT row, key, {tried}, last_name FROM found")
        db.register("found", keys(batch, kinds))
        db.execute(
            f"INSERT INTO keys SELECT place + $1, bit, space, value, {HASH} FROM found", [start]
        )
        start += batch.num_rows
    db.unregister("found")


def _decisions(db: duckdb.DuckDBPyConnection, kinds: Sequence[str], matching: Matching) -> pa.Table:
    """The decision on every way in which records are hit; `person` is the mask of the matched."""
    ways = db.execute(
        "SELECT DISTINCT tried, coalesce(shared, 0), coalesce(other_names, 0), coalesce(way, [])"
        " FROM records LEFT JOIN ways USING (row)"
    ).fetchall()
    rows = []
    for tried, shared, other_names, way in ways:
        # Who they are does not matter to the decision: a person is its place in the list.
        hits = {
            kind: frozenset(str(place) for place, mask in enumerate(way) if mask >> bit & 1)
            for bit, kind in enumerate(kinds)
            if tried >> bit & 1
        }
        decision = decide(
            hits,
            matching.order,
            matching.conflicts,
            _of_mask(kinds, shared),
            _of_mask(kinds, other_names),
        )
        told = {name: getattr(decision, name) for name in _DECISIONS.names[5:]}
        person = None if decision.person_id is None else way[int(decision.person_id)]
        rows.append([tried, shared, other_names, way, person, *told.values()])
    columns = zip(*rows, strict=True) if rows else [[] for _ in _DECISIONS]
    arrays = [
        pa.array(values, field.type) for values, field in zip(columns, _DECISIONS, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=_DECISIONS)


def _of_mask(kinds: Sequence[str], mask: int) -> list[str]:
    return [kind for bit, kind in enumerate(kinds) if mask >> bit & 1]


_DECISIONS = pa.schema(
    [
        pa.field("tried", pa.int32()),
        pa.field("shared", pa.int32()),
        pa.field("other_names", pa.int32()),
        pa.field("way", pa.list_(pa.int32())),
        pa.field("person", pa.int32()),
        *(field for field in MATCHES if field.name not in ("Id", "person_id")),
    ]
)


def _sentence(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _listed(kinds: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))


def _missed(kinds: Sequence[str], tried: bool) -> str:
    if not tried:
        return "the record has no usable identifier"
    return f"{_listed(kinds)} hit nobody" if kinds else ""


def _shared(kind: str) -> str:
    return f"a value of {kind} is shared by more than {SHARED_BY} people"


def _others(kind: str) -> str:
    return f"{kind} hit only people of another last name"


def _left(people: int) -> str:
    return f"{people or 'none'} of them also hit by other identifiers"


def _hit(kind: str, people: int, agreeing: Sequence[str]) -> str:
    if people > 1:
        return f"{kind} hit {people} people, only one of them also hit by {_listed(agreeing)}"
    agree = f"; {_listed(agreeing)} agree{'s' * (len(agreeing) == 1)}" if agreeing else ""
    return f"{kind} hit 1 person{agree}"


def _elsewhere(kinds: Sequence[str]) -> str:
    return f"{_listed(kinds)} hit{'s' * (len(kinds) == 1)} only other people" if kinds else ""
