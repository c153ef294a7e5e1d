"""Whatever happens to a change log, it answers as a plain dictionary would."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesforce_pipelines.store import batch_writer, duck, snapshot, tables
from salesforce_pipelines.store.tables import ChangeLog, Tables

TYPES = {"Name": pa.string(), "Score": pa.int64(), "Added": pa.string(), "Later": pa.bool_()}
VALUES = {
    "Name": st.sampled_from(["", "x", "y"]),
    "Score": st.integers(-3, 3),
    "Added": st.sampled_from(["n", "m"]),
    "Later": st.booleans(),
}
KEYS = st.sampled_from([f"k{number}" for number in range(8)])
COLUMNS = st.lists(st.sampled_from(list(TYPES)), unique=True)


@dataclass
class Model:
    """Newest row (None: deleted) and its batch of each key ever seen."""

    columns: list[str] = field(default_factory=list)
    rows: dict[str, tuple[dict[str, Any] | None, int]] = field(default_factory=dict)
    batch: int = 0

    def replace(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
        self.batch += 1
        new: dict[str, tuple[dict[str, Any] | None, int]] = {
            row["Id"]: (row, self.batch) for row in rows
        }
        for key, (row, batch) in self.rows.items():
            if key not in new:
                new[key] = (None, batch if row is None else self.batch)
        self.rows, self.columns = new, columns

    def kept_batch(self, row: dict[str, Any], columns: list[str]) -> int | None:
        """The batch that brought a row of just this content."""
        known, batch = self.rows.get(row["Id"], (None, 0))
        cells = [(known or {}).get(name) == row.get(name) for name in {*columns, *self.columns}]
        return batch if known is not None and all(cells) else None

    def refresh(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
        kept = {row["Id"]: self.kept_batch(row, columns) for row in rows}
        self.replace(rows, columns)
        for key, batch in kept.items():
            self.rows[key] = (self.rows[key][0], batch or self.batch)

    def append(self, rows: list[dict[str, Any]], columns: list[str], deleted: list[str]) -> None:
        self.batch += 1
        self.columns = self.columns + [name for name in columns if name not in self.columns]
        for row in rows:
            self.rows[row["Id"]] = (row, self.batch)
        for key in deleted:
            self.rows[key] = (None, self.batch)

    def full(self, key: str, row: dict[str, Any] | None) -> dict[str, Any]:
        return {"Id": key} | {name: (row or {}).get(name) for name in self.columns}

    def current(self) -> dict[str, dict[str, Any]]:
        return {key: self.full(key, row) for key, (row, _) in self.rows.items() if row is not None}

    def changed_since(self, batch: int) -> dict[str, dict[str, Any]]:
        return {
            key: self.full(key, row)
            | {"_change": "delete" if row is None else "upsert", "_batch": changed}
            for key, (row, changed) in self.rows.items()
            if changed > batch
        }


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    columns = draw(COLUMNS)
    values = {name: st.none() | VALUES[name] for name in columns}
    rows = st.fixed_dictionaries({"Id": KEYS} | values)
    return draw(st.lists(rows, max_size=12)), columns


OPERATIONS = st.one_of(
    st.tuples(st.just("replace"), batches(), st.just([])),
    st.tuples(st.just("append"), batches(), st.lists(KEYS, max_size=4)),
    st.tuples(st.just("append"), batches(), st.lists(KEYS, max_size=4)),
    st.tuples(st.just("refresh"), batches(), st.just([])),
    st.tuples(st.just("compact"), st.none(), st.none()),
)


def reader(rows: list[dict[str, Any]], columns: list[str]) -> pa.RecordBatchReader:
    schema = pa.schema([("Id", pa.string()), *((name, TYPES[name]) for name in columns)])
    pages = [rows[start : start + 5] for start in range(0, len(rows), 5)]
    return pa.RecordBatchReader.from_batches(
        schema, (pa.RecordBatch.from_pylist(page, schema) for page in pages)
    )


def by_key(rows: Iterator[pa.RecordBatch]) -> dict[str, dict[str, Any]]:
    listed = [row for batch in rows for row in batch.to_pylist()]
    keyed = {row["Id"]: row for row in listed}
    assert len(keyed) == len(listed), "a key came twice"
    return keyed


def check(log: ChangeLog, model: Model) -> None:
    assert set(log.schema().names) == {"Id", *model.columns}
    assert by_key(log.current()) == model.current()
    assert log.count() == len(model.current())
    every = [f"k{number}" for number in range(8)]
    for keys in (every, every[2:4], every[7:0:-3], []):
        held = log.held(pa.array(keys, pa.string()), log.schema().names)
        assert by_key(iter(held.to_batches())) == {
            key: row | {"_batch": model.rows[key][1]}
            for key, row in model.current().items()
            if key in keys
        }
    for batch in range(model.batch + 2):
        assert by_key(log.changed_since(batch)) == model.changed_since(batch)


def check_queries(log: ChangeLog, model: Model) -> None:
    wanted = {key: row for key, row in model.current().items() if key > "k3"}
    assert by_key(log.current(where="Id > 'k3'")) == wanted
    with duck.connect() as connection:
        log.duckdb_view(connection, "contacts")
        assert by_key(connection.sql("FROM contacts").to_arrow_reader()) == model.current()


def apply(log: ChangeLog, model: Model, operation: tuple[str, Any, Any]) -> None:
    kind, batch, deleted = operation
    metadata = {"watermark": f"after {model.batch}", "inputs": {"n": [1, None]}}
    if kind == "compact":
        log.compact()
        return
    rows, columns = batch
    if kind == "replace":
        state = log.replace(reader(rows, columns), metadata)
        model.replace(rows, columns)
    elif kind == "refresh":
        # As a full pull writes: of a key that comes twice the rows have one content.
        rows = list({row["Id"]: row for row in rows}.values())
        found = reader(rows, columns)
        with log.stage(found.schema, replaces=True) as staged:
            for page in found:
                kept = [model.kept_batch(row, columns) for row in page.to_pylist()]
                staged.write(page, pa.array(kept, pa.int64()))
            state = staged.commit(metadata)
        unchanged = sum(model.kept_batch(row, columns) is not None for row in rows)
        model.refresh(rows, columns)
        assert (state.batch, state.metadata) == (model.batch, metadata)
        assert state.upserted == len(rows) - unchanged
        return
    else:
        gone = pa.array(deleted, pa.string())
        state = log.append(reader(rows, columns), metadata, deleted_keys=gone)
        model.append(rows, columns, deleted)
    assert (state.batch, state.metadata) == (model.batch, metadata)
    assert state.upserted == len({row["Id"] for row in rows} - set(deleted))


def run(operations: list[tuple[str, Any, Any]]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Small enough that few rows make several row groups, files and foldings.
        patch.setattr(batch_writer, "ROW_GROUP_ROWS", 3)
        patch.setattr(batch_writer, "FILE_BYTES", 2000)
        patch.setattr(snapshot, "SCAN_ROWS", 2)
        patch.setattr(tables, "_FOLD_ROWS", 12)
        patch.setattr(tables, "_CHANGE_FILES", 3)
        log, model = Tables(Path(folder)).log("pulled/contacts"), Model()
        versions: dict[int, dict[str, Any]] = {}
        for operation in operations:
            apply(log, model, operation)
            state = log.state()
            if state is None:
                assert model.batch == 0
                continue
            check(log, model)
            versions[state.version] = model.current()
        for version, rows in versions.items():
            assert by_key(log.as_of(version).current()) == rows
        if model.batch:
            check_queries(log, model)


@settings(max_examples=15, deadline=None)
@given(st.lists(OPERATIONS, min_size=1, max_size=6))
def test_like_a_dictionary(operations: list[tuple[str, Any, Any]]) -> None:
    run(operations)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(OPERATIONS, min_size=3, max_size=14))
def test_like_a_dictionary_for_long(operations: list[tuple[str, Any, Any]]) -> None:
    run(operations)
