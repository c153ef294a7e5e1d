"""The keys of a provider's people, written once for each version of its data."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity.duckdb_session import load, session
from salesforce_pipelines.identity.identifiers import SCHEMA, identifiers, rules_version
from salesforce_pipelines.identity.people import PeopleProvider

# A value that more people have than this identifies nobody.
SHARED_BY = 100
_LAYOUT = "2"  # Raise it with every change of the file's columns.
_STAMP = b"salesforce_pipelines.reference"

# An address is an address, whatever column it stands in.
_SPACES = {
    "email": ("work_email", "personal_email"),
    "phone": ("phone",),
    "linkedin_url": ("linkedin_url",),
    "name_company": ("name_company",),
}
_LAST_NAME = "nullif(array_to_string(last_name, ' '), '')"


def key_hash(space: str, value: str) -> str:
    """The SQL of a key's 64-bit hash: half an MD5, the same in every version of every engine."""
    return f"md5_number_lower({space} || ':' || {value})"


def key_space(kind: str) -> str:
    """The kind of key in the reference that an identifier of a record is looked up as."""
    if kind == "name_company_nickname":
        return "name_company"
    return next(space for space, kinds in _SPACES.items() if kind in kinds)


def reference_for(
    provider: PeopleProvider,
    folder: Path,
    *,
    region: str,
    memory_limit: str = "1GB",
    temp_dir: Path | None = None,
) -> Path:
    """The reference of the provider's present data; made if the folder does not have it yet.

    References of its older data are removed, except the newest one, which may be in use.

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
    fields = provider.identifiers
    parts = [version, fields.model_dump_json(), provider.separator or "", region, rules_version()]
    stamp = hashlib.sha256("\n".join([_LAYOUT, *parts]).encode()).hexdigest()[:16]
    path = folder / f"{provider.name}-{stamp}.parquet"
    if path.exists():
        return path

    def people() -> Iterator[pa.RecordBatch]:
        for batch in provider.people(fields.columns()):
            found = identifiers(
                batch, fields, key="person_id", region=region, separator=provider.separator
            )
            yield from found.to_batches()
        if provider.version() != version:
            raise PipelineError(f"the data of {provider.name} changed while they were read; retry")

    older = sorted(folder.glob(f"{provider.name}-*.parquet"), key=lambda file: file.stat().st_mtime)
    reader = pa.RecordBatchReader.from_batches(SCHEMA, people())
    build_reference(reader, path, stamp=stamp, memory_limit=memory_limit, temp_dir=temp_dir)
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
    keys = " UNION ALL ".join(
        f"SELECT '{space}' AS kind, unnest(list_distinct({' || '.join(kinds)})) AS value,"
        f" key AS person_id, {_LAST_NAME if space == 'phone' else 'NULL'} AS last_name FROM people"
        for space, kinds in _SPACES.items()
    )
    try:
        with session(memory_limit=memory_limit, temp_dir=temp_dir) as db:
            load(db, "CREATE TEMP TABLE people AS SELECT * FROM source", people)
            db.execute(
                f"CREATE TEMP TABLE keys AS SELECT kind, {key_hash('kind', 'value')} AS key_hash,"
                f" value, person_id, last_name FROM ({keys})"
            )
            db.execute(
                "CREATE TEMP TABLE shared AS SELECT kind, key_hash, value FROM keys"
                " SEMI JOIN (SELECT key_hash FROM keys GROUP BY ALL HAVING count(*) > $1)"
                " USING (key_hash) GROUP BY ALL HAVING count(*) > $1",
                [shared_by],
            )
            db.execute(
                "COPY (SELECT * FROM keys ANTI JOIN shared USING (key_hash, kind, value)"
                " UNION ALL SELECT *, NULL, NULL FROM shared)"
                f" TO '{_quoted(draft)}' (FORMAT parquet, COMPRESSION zstd,"
                f" KV_METADATA {{'{_STAMP.decode()}': '{_quoted(stamp)}'}})"
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def reference_stamp(path: Path) -> str:
    """What a reference was made from."""
    return str(pq.read_metadata(path).metadata[_STAMP].decode())


def _quoted(text: object) -> str:
    return str(text).replace("'", "''")
