"""The keys of a provider's people, written once for each version of its data."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from salesforce_pipelines.config.models import IDENTIFIER_KINDS
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity import duckdb_session
from salesforce_pipelines.identity.identifiers import SCHEMA, identifiers, rules_version
from salesforce_pipelines.identity.keys import HASH, hash_version, keys
from salesforce_pipelines.identity.people import PeopleProvider

SHARED_BY = 100
"""A value that more people have than this identifies nobody."""

_REFERENCE = pa.schema(
    {
        "kind": pa.string(),
        "key_hash": pa.uint64(),
        "value": pa.string(),
        "person_id": pa.string(),
        "last_name": pa.string(),
    }
)


def reference_for(
    provider: PeopleProvider,
    folder: Path,
    *,
    region: str,
    memory_limit: str = "1GB",
    temp_dir: Path | None = None,
) -> Path:
    """The reference of the provider's present data; made if the folder does not have it yet.

    References of its older data are removed, except the newest, which may be in use.

    Args:
        provider: Whose people.
        folder: Where references are kept.
        region: The country of telephone numbers without a prefix.
        memory_limit: As in `duckdb_session.session`.
        temp_dir: As in `duckdb_session.session`.

    Raises:
        PipelineError: The provider's data cannot be read, or changed meanwhile.
    """
    version = provider.version()
    stamp = _stamp(provider, version, region)
    path = folder / f"{provider.name}-{stamp}.parquet"
    if path.exists():
        return path
    older = sorted(folder.glob(f"{provider.name}-*.parquet"), key=lambda file: file.stat().st_mtime)
    build_reference(
        pa.RecordBatchReader.from_batches(SCHEMA, _identified(provider, version, region)),
        path,
        stamp=stamp,
        memory_limit=memory_limit,
        temp_dir=temp_dir,
    )
    for file in older[:-1]:
        file.unlink(missing_ok=True)
    return path


def build_reference(
    people: pa.RecordBatchReader,
    path: Path,
    *,
    stamp: str,
    memory_limit: str = "1GB",
    temp_dir: Path | None = None,
    shared_by: int = SHARED_BY,
) -> None:
    """Write the keys of people as a Parquet file; it appears whole or not at all.

    Rows are `kind` (email, phone, linkedin_url, name_company), `key_hash` (uint64), `value`,
    `person_id` and, of a phone, the words of the person's `last_name` with spaces between. Of a
    value that more than `shared_by` people have, one row without a person is left.

    Args:
        people: What `identifiers` gave, with the person's id as the key, each person once.
        path: The file.
        stamp: What the file was made from; `reference_stamp` gives it back.
        memory_limit: As in `duckdb_session.session`.
        temp_dir: As in `duckdb_session.session`.
        shared_by: How many people may have one value.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    final = draft.with_suffix(".final")
    try:
        with duckdb_session.session(memory_limit=memory_limit, temp_dir=temp_dir) as db:
            _write(draft, (_hashed(db, batch) for batch in people), stamp)
            if _find_shared(db, draft, shared_by):
                rows = db.sql(
                    f"SELECT * FROM read_parquet('{_quoted(draft)}')"
                    " ANTI JOIN shared USING (key_hash, kind, value)"
                    " UNION ALL SELECT kind, key_hash, value, NULL, NULL FROM shared"
                ).to_arrow_reader(100_000)
                _write(final, (pa.Table.from_batches([batch]) for batch in rows), stamp)
                final.replace(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
        final.unlink(missing_ok=True)


def reference_stamp(path: Path) -> str:
    """What a reference was made from."""
    return str(pq.read_metadata(path).metadata[b"stamp"].decode())


def check_reference(path: Path) -> None:
    """Refuse a reference whose hashes cannot be compared with those of this DuckDB.

    Raises:
        PipelineError: Another version made it.
    """
    made_by = pq.read_metadata(path).metadata[b"hash"].decode()
    if made_by != hash_version():
        raise PipelineError(
            f"{path}: made by {made_by}, but this is {hash_version()}; delete the file, "
            "and the next matching makes it anew"
        )


def _stamp(provider: PeopleProvider, version: str, region: str) -> str:
    parts = [
        version,
        provider.identifiers.model_dump_json(),
        provider.separator or "",
        region,
        rules_version(),
        hash_version(),
        " ".join(_REFERENCE.names),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _identified(provider: PeopleProvider, version: str, region: str) -> Iterator[pa.RecordBatch]:
    fields = provider.identifiers
    for batch in provider.people(fields.columns()):
        found = identifiers(
            batch, fields, key="person_id", region=region, separator=provider.separator
        )
        yield from found.to_batches()
    if provider.version() != version:
        raise PipelineError(f"the data of {provider.name} changed while they were read; try again")


def _hashed(db: duckdb.DuckDBPyConnection, people: pa.RecordBatch) -> pa.Table:
    """The rows of the reference for some people."""
    found = keys(people, IDENTIFIER_KINDS)
    of_phone = pc.equal(found["space"], "phone")
    names = pc.binary_join(people.column("last_name"), " ").take(found["place"])
    told = pc.and_(of_phone, pc.not_equal(names, ""))
    found = found.append_column("person_id", people.column("key").take(found["place"]))
    found = found.append_column("last_name", pc.if_else(told, names, pa.scalar(None, pa.string())))
    db.register("found", found)
    return db.sql(
        f"SELECT space AS kind, {HASH} AS key_hash, value, person_id, last_name FROM found"
    ).to_arrow_table()


def _find_shared(db: duckdb.DuckDBPyConnection, file: Path, shared_by: int) -> bool:
    """Fill the table `shared` with the values of too many people; whether there is any."""
    rows = f"read_parquet('{_quoted(file)}')"
    db.execute(
        f"CREATE TEMP TABLE often AS SELECT key_hash FROM {rows}"
        f" GROUP BY ALL HAVING count(*) > {shared_by}"
    )
    db.execute(
        f"CREATE TEMP TABLE shared AS SELECT kind, key_hash, value FROM {rows}"
        " SEMI JOIN often USING (key_hash) GROUP BY ALL"
        f" HAVING count(DISTINCT person_id) > {shared_by}"
    )
    return bool(db.execute("FROM shared LIMIT 1").fetchall())


def _write(path: Path, tables: Iterable[pa.Table], stamp: str) -> None:
    repeated = ["kind", "last_name"]
    with pq.ParquetWriter(path, _REFERENCE, compression="zstd", use_dictionary=repeated) as writer:
        writer.add_key_value_metadata({"stamp": stamp, "hash": hash_version()})
        for table in tables:
            writer.write_table(table.cast(_REFERENCE))


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
