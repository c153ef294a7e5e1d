"""Identifiers as single keys, one row each, to be joined on."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

NICKNAME = "name_company_nickname"
"""The kind of an identifier that is name and company by another form of the first name."""

# An address is an address, whatever column it stands in.
_SPACES = {
    "work_email": "email",
    "personal_email": "email",
    "phone": "phone",
    "linkedin_url": "linkedin_url",
    "name_company": "name_company",
    NICKNAME: "name_company",
}

HASH = "hash(space, value)"
"""The SQL of a key's 64-bit hash. DuckDB promises it for one version only: see `hash_version`."""


def hash_version() -> str:
    """What key hashes depend on; those of another version must not be compared."""
    return f"duckdb-{duckdb.__version__}"


def keys(found: pa.RecordBatch, kinds: Sequence[str]) -> pa.Table:
    """The values of some kinds of identifiers of rows that `identifiers` gave.

    Args:
        found: Rows of `identifiers.SCHEMA`.
        kinds: Its columns.

    Returns:
        `place` (of the row in the batch), `bit` (1 for the first kind, 2, 4, … for the next),
        `space` (email, phone, linkedin_url, name_company: only keys of one space can be equal)
        and `value`.
    """
    tables = []
    for number, kind in enumerate(kinds):
        values = pc.list_flatten(found.column(kind))
        tables.append(
            pa.table(
                {
                    "place": pc.list_parent_indices(found.column(kind)).cast(pa.int64()),
                    "bit": pa.repeat(pa.scalar(1 << number, pa.int32()), len(values)),
                    "space": pa.repeat(_SPACES[kind], len(values)),
                    "value": values,
                }
            )
        )
    return pa.concat_tables(tables)
