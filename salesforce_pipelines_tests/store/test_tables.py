import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store import batch_writer, delta_log, tables
from salesforce_pipelines.store.delta_log import ConcurrentWriteError
from salesforce_pipelines.store.tables import ChangeLog, Tables


@pytest.fixture(params=["folder", "url"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> ChangeLog:
    """A change log in a folder, and one behind the interface that object stores have too."""
    if request.param == "folder":
        return Tables(tmp_path).log("pulled/contacts")
    (tmp_path / "pulled" / "contacts").mkdir(parents=True)
    return Tables(tmp_path.as_uri()).log("pulled/contacts")


def rows(**columns: list[Any]) -> pa.Table:
    return pa.table(columns)


def streamed(*pages: pa.Table, then: Exception | None = None) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for page in pages:
            yield from page.to_batches()
        if then is not None:
            raise then

    return pa.RecordBatchReader.from_batches(pages[0].schema, batches())


def listed(reader: pa.RecordBatchReader) -> list[dict[str, Any]]:
    return sorted(reader.read_all().to_pylist(), key=lambda row: str(row["Id"]))


def data_files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.parquet") if path.parent.name != "_delta_log"}


def test_reads_what_was_written(log: ChangeLog) -> None:
    assert log.state() is None
    state = log.append(rows(Id=["1", "2"], Name=["a", "b"]), {"watermark": "t1"})
    assert (state.batch, state.upserted, state.deleted) == (1, 2, 0)
    state = log.append(rows(Id=["2"], Name=["B"]), {}, deleted_keys=pa.array(["1"]))
    assert (state.batch, state.upserted, state.deleted) == (2, 1, 1)
    assert listed(log.current()) == [{"Id": "2", "Name": "B"}]
    assert listed(log.changed_since(1, ["Id"])) == [
        {"Id": "1", "_change": "delete", "_batch": 2},
        {"Id": "2", "_change": "upsert", "_batch": 2},
    ]
    assert log.state() == state
    log.compact()
    assert listed(log.current()) == listed(log.current(where="Name = 'B'"))
    assert log.current(["Name"]).read_all().to_pylist() == [{"Name": "B"}]


def test_metadata_is_committed_without_rows(log: ChangeLog) -> None:
    log.append(rows(Id=["1"]), {"watermark": "t1"})
    state = log.append(None, {"watermark": "t2"})
    assert (state.batch, state.metadata, state.upserted) == (2, {"watermark": "t2"}, 0)
    assert log.count() == 1
    before = datetime.now(UTC)
    log.compact()
    after = log.state()
    assert after is not None
    assert after.metadata == {"watermark": "t2"}
    assert after.committed_at < before


def test_empty_table_keeps_its_columns(log: ChangeLog) -> None:
    log.replace(rows(Id=["1"], Name=["a"]).slice(0, 0), {})
    assert log.schema().names == ["Id", "Name"]
    assert (log.count(), listed(log.current()), listed(log.changed_since(0))) == (0, [], [])


def test_every_stored_type_survives(log: ChangeLog) -> None:
    when = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)
    table = pa.table(
        {
            "Id": pa.array(["1"], pa.large_string()),
            "Kind": pa.array(["a"]).dictionary_encode(),
            "Created": pa.array([when], pa.timestamp("ns", "Europe/Berlin")),
            "Day": pa.array([when.date()], pa.date64()),
            "Amount": pa.array([Decimal("12.30")], pa.decimal128(18, 2)),
            "Tags": pa.array([["x", None]], pa.large_list(pa.large_string())),
            "Address": pa.array([{"City": "Q", "Zip": "1"}]),
            "Nothing": pa.nulls(1),
        }
    )
    log.append(table, {})
    log.append(table.set_column(0, "Id", pa.array(["2"])), {})
    row = {
        "Kind": "a",
        "Created": when,
        "Day": when.date(),
        "Amount": Decimal("12.30"),
        "Tags": ["x", None],
        "Address": {"City": "Q", "Zip": "1"},
    }
    stored = log.schema()
    assert stored.field("Created").type == pa.timestamp("us", "UTC")
    assert "Nothing" not in stored.names
    for found in (log.current(), log.current(where="Created > TIMESTAMPTZ '2024-01-01 00:00:00Z'")):
        assert found.schema == stored
        assert listed(found) == [{"Id": "1", **row}, {"Id": "2", **row}]


def test_new_column_is_null_in_older_rows(log: ChangeLog) -> None:
    log.append(rows(Id=["1"], Name=["a"]), {"watermark": "t1"})
    state = log.append(rows(Id=["2"], Email=["e"]), {"watermark": "t2"})
    assert state.batch == 2
    assert listed(log.current()) == [
        {"Id": "1", "Name": "a", "Email": None},
        {"Id": "2", "Name": None, "Email": "e"},
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"Id": ["1"], "Score": ["high"]}), "column Score holds int64, the new rows have"),
        (pa.table({"Id": ["1"], "score": [1]}), "column score is stored as Score"),
        (pa.table({"Id": ["1"], "a": [1], "A": [1]}), "comes twice"),
        (pa.table({"Id": ["1"], "_batch": [1]}), "column _batch is reserved"),
        (pa.table({"Name": ["1"]}), "without the key column Id"),
        (pa.table({"Id": ["1", None]}), "1 row\\(s\\) have no Id"),
        (pa.table({"Id": ["1"], "t": [datetime(2024, 1, 1)]}), "Give times a time zone"),
        (pa.table({"Id": ["1"], "n": pa.array([1], pa.uint8())}), "n of type uint8 cannot be"),
    ],
)
def test_rows_that_do_not_fit_change_nothing(
    log: ChangeLog, tmp_path: Path, table: pa.Table, message: str
) -> None:
    state = log.append(rows(Id=["1"], Score=[1]), {"watermark": "t1"})
    files = data_files(tmp_path)
    with pytest.raises(PipelineError, match=message):
        log.append(table, {"watermark": "t2"})
    assert log.state() == state
    assert data_files(tmp_path) == files


def test_error_of_the_source_reaches_the_caller(log: ChangeLog, tmp_path: Path) -> None:
    state = log.append(rows(Id=["1"]), {})
    files = data_files(tmp_path)
    page = rows(Id=[str(number) for number in range(250_000)])
    for write in (log.append, log.replace):
        with pytest.raises(PipelineError, match="the org went away"):
            write(streamed(page, then=PipelineError("the org went away")), {"watermark": "t2"})
    assert log.state() == state
    assert data_files(tmp_path) == files


def test_last_of_repeated_rows_wins_across_files(
    log: ChangeLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "ROW_GROUP_ROWS", 2)
    monkeypatch.setattr(batch_writer, "FILE_BYTES", 1)
    pages = [rows(Id=["1", "2", "3"], n=[1, 1, 1]), rows(Id=["2", "4", "1", "2"], n=[2, 2, 2, 3])]
    state = log.replace(streamed(*pages), {})
    assert state.upserted == 4
    assert [row["n"] for row in listed(log.current())] == [2, 3, 1, 2]
    assert data_files(tmp_path) == {
        Path(path).name for path in DeltaTable(tmp_path / "pulled" / "contacts").file_uris()
    }


def test_reader_keeps_the_version_it_opened(
    log: ChangeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.replace(rows(Id=[f"{n:06}" for n in range(100_000)], n=[0] * 100_000), {})
    log.append(rows(Id=["000001"], n=[1]), {})
    opened = [log.current(), log.changed_since(0), log.current(where="true")]
    first = [next(reader) for reader in opened]
    monkeypatch.setattr(tables, "_FOLD_ROWS", 0)
    monkeypatch.setattr(tables, "_FOLD_SHARE", 0)
    log.append(rows(Id=["000002"], n=[2]), {}, deleted_keys=pa.array(["000003"]))
    log.vacuum()
    for start, reader in zip(first, opened, strict=True):
        whole = pa.Table.from_batches([start, *reader])
        assert whole.num_rows == 100_000
        assert pc.sum(whole["n"]).as_py() == 1
    assert (log.count(), pc.sum(log.current().read_all()["n"]).as_py()) == (99_999, 3)


def test_older_version_is_there_to_read_until_vacuumed(log: ChangeLog, tmp_path: Path) -> None:
    first = log.append(rows(Id=["1"], n=[1]), {"watermark": "t1"})
    log.replace(rows(Id=["1"], m=["x"]), {"watermark": "t2"})
    then = log.as_of(first.version)
    assert (then.state(), listed(then.current())) == (first, [{"Id": "1", "n": 1}])
    with pytest.raises(PipelineError, match="there to read only"):
        then.append(None, {})
    with pytest.raises(PipelineError, match="has no version 9"):
        log.as_of(9)


def test_vacuum_ends_the_time_travel(log: ChangeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    first = log.append(rows(Id=["1"], n=[1]), {})
    log.append(rows(Id=["1"], n=[2]), {"watermark": "t2"})
    eight_days_ago = time.time() - 8 * 24 * 3600
    monkeypatch.setattr(delta_log, "time", lambda: eight_days_ago)
    log.compact()
    assert log.vacuum(keep_days=9) == 0
    assert listed(log.as_of(first.version).current()) == [{"Id": "1", "n": 1}]
    assert log.vacuum() == 2
    version = log.state()
    assert (log.vacuum(), log.state()) == (0, version), "there is nothing left to delete"
    with pytest.raises(PipelineError, match="Version 0 of table pulled/contacts was vacuumed"):
        log.as_of(first.version)
    assert listed(log.current()) == [{"Id": "1", "n": 2}]


def test_vacuum_removes_what_a_killed_run_left(log: ChangeLog, tmp_path: Path) -> None:
    state = log.append(rows(Id=["1"]), {"watermark": "t1"})
    left = tmp_path / "pulled" / "contacts" / "part-left.parquet"
    left.write_bytes(b"PAR1")
    assert log.vacuum() == 0, "it may belong to a run that is still writing"
    week = 8 * 24 * 3600
    os.utime(left, (time.time() - week, time.time() - week))
    assert log.vacuum() == 1
    assert not left.exists()
    after = log.state()
    assert after is not None
    assert (after.batch, after.metadata) == (state.batch, state.metadata)
    # Old commits are forgotten after a while; the newest one must do.
    DeltaTable(tmp_path / "pulled" / "contacts").create_checkpoint()
    *old, _ = sorted((tmp_path / "pulled" / "contacts" / "_delta_log").glob("*.json"))
    for commit in old:
        commit.unlink()
    assert log.state() == after
    assert log.append(None, {"watermark": "t2"}).batch == 2
    with pytest.raises(PipelineError, match="at least 1 day"):
        log.vacuum(keep_days=0)


KILLED = """
import os, sys
import pyarrow as pa
from salesforce_pipelines.store import batch_writer
from salesforce_pipelines.store.tables import Tables

batch_writer.ROW_GROUP_ROWS = batch_writer.FILE_BYTES = 10

def pages():
    for page in range(5):
        yield pa.record_batch({"Id": [f"{page}-{row}" for row in range(20)]})
    os._exit(9)

reader = pa.RecordBatchReader.from_batches(pa.schema([("Id", pa.string())]), pages())
getattr(Tables(sys.argv[1]).log("pulled/contacts"), sys.argv[2])(reader, {"watermark": "t2"})
"""


@pytest.mark.parametrize("write", ["append", "replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_killed_process_leaves_the_table_as_it_was(
    tmp_path: Path, write: str, existing: bool
) -> None:
    log = Tables(tmp_path).log("pulled/contacts")
    if existing:
        log.append(rows(Id=["1"]), {"watermark": "t1"})
    before, files = log.state(), data_files(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), write], check=False)
    assert done.returncode == 9
    assert data_files(tmp_path) > files, "the process died too early to prove anything"
    assert log.state() == before
    state = getattr(log, write)(rows(Id=["2"]), {"watermark": "t3"})
    assert state.batch == (2 if existing else 1)
    keys = [row["Id"] for row in listed(log.current())]
    assert keys == (["1", "2"] if existing and write == "append" else ["2"])


def interrupted_by(event: Any, table: pa.Table) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from table.to_batches()
        event()

    return pa.RecordBatchReader.from_batches(table.schema, batches())


@pytest.mark.parametrize("write", ["append", "replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_second_writer_is_refused(log: ChangeLog, write: str, existing: bool) -> None:
    if existing:
        log.append(rows(Id=["0"]), {})

    def other_run() -> None:
        log.append(rows(Id=["1"]), {"watermark": "theirs"})

    with pytest.raises(ConcurrentWriteError, match="written by another run"):
        getattr(log, write)(interrupted_by(other_run, rows(Id=["2"])), {"watermark": "ours"})
    state = log.state()
    assert state is not None
    assert state.metadata == {"watermark": "theirs"}
    assert [row["Id"] for row in listed(log.current())] == (["0", "1"] if existing else ["1"])


@pytest.mark.parametrize("write", ["append", "replace"])
def test_vacuum_and_compaction_are_no_conflict(log: ChangeLog, write: str) -> None:
    log.append(rows(Id=["0"], n=[0]), {})
    log.append(rows(Id=["1"], n=[1]), {})

    def housekeeping() -> None:
        log.vacuum()
        log.compact()

    getattr(log, write)(interrupted_by(housekeeping, rows(Id=["1"], m=["x"])), {})
    kept = {"append": ["0", "1"], "replace": ["1"]}[write]
    assert [row["Id"] for row in listed(log.current(["Id"]))] == kept
    assert listed(log.current(["Id", "m"]))[-1] == {"Id": "1", "m": "x"}


def at_the_first_write(patch: pytest.MonkeyPatch, event: Callable[[], Any]) -> None:
    write = batch_writer.BatchWriter.write
    waiting = [event]

    def write_late(self: batch_writer.BatchWriter, batch: pa.RecordBatch) -> None:
        if waiting:
            waiting.pop()()
        write(self, batch)

    patch.setattr(batch_writer.BatchWriter, "write", write_late)


def test_compaction_gives_way_to_a_writer(log: ChangeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append(rows(Id=["0"]), {})
    log.append(rows(Id=["1"]), {})
    at_the_first_write(monkeypatch, lambda: log.append(rows(Id=["2"]), {"watermark": "theirs"}))
    with pytest.raises(ConcurrentWriteError):
        log.compact()
    assert [row["Id"] for row in listed(log.current())] == ["0", "1", "2"]


def test_two_compactions_at_once_fold_once(log: ChangeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append(rows(Id=["0"]), {})
    log.append(rows(Id=["1"]), {})
    at_the_first_write(monkeypatch, log.compact)
    with pytest.raises(ConcurrentWriteError):
        log.compact()
    assert [row["Id"] for row in listed(log.current())] == ["0", "1"]


def test_write_on_stale_knowledge_is_refused(log: ChangeLog) -> None:
    known = log.append(rows(Id=["0"]), {}, after_batch=0).batch
    log.append(rows(Id=["1"]), {}, after_batch=known)
    for write in (log.append, log.replace):
        with pytest.raises(ConcurrentWriteError):
            write(rows(Id=["2"]), {}, after_batch=known)
    assert log.count() == 2


def test_changes_are_found_without_reading_the_base(log: ChangeLog, tmp_path: Path) -> None:
    log.replace(rows(Id=[str(n) for n in range(5000)]), {})
    base = data_files(tmp_path)
    log.append(rows(Id=["1"]), {})
    for name in base:
        (tmp_path / "pulled" / "contacts" / name).unlink()
    assert [row["Id"] for row in listed(log.changed_since(1))] == ["1"]
    with pytest.raises(FileNotFoundError):
        log.current().read_all()


@pytest.mark.slow
def test_many_small_batches_stay_few_files(tmp_path: Path) -> None:
    log = Tables(tmp_path).log("pulled/contacts")
    log.replace(rows(Id=[str(n) for n in range(500)], n=[0] * 500), {})
    for batch in range(1, 121):
        log.append(rows(Id=[str(batch % 50)], n=[batch]), {"watermark": batch})
    folder = tmp_path / "pulled" / "contacts"
    assert list((folder / "_delta_log").glob("*.checkpoint.parquet")), "no checkpoint was passed"
    assert len(DeltaTable(folder).file_uris()) <= 34
    assert sum(row["n"] for row in listed(log.current())) == sum(range(71, 121))
    assert [row["n"] for row in log.changed_since(119).read_all().to_pylist()] == [119, 120]


def test_names_that_are_no_place_are_refused(tmp_path: Path) -> None:
    for name in ["", "/etc", "../x", "pulled/../x", "pulled/_x", "pulled//x", "a b", "pulled/"]:
        with pytest.raises(PipelineError, match="is not usable"):
            Tables(tmp_path).log(name)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_tables_inside_tables_are_refused(tmp_path: Path, scheme: str) -> None:
    store = Tables(f"{scheme}{tmp_path}")
    (tmp_path / "pulled" / "contacts" / "old").mkdir(parents=True)
    (tmp_path / "pulled" / "leads").mkdir()
    store.log("pulled/contacts").append(rows(Id=["1"]), {})
    with pytest.raises(PipelineError, match="would hold other tables"):
        store.log("pulled").append(rows(Id=["1"]), {})
    with pytest.raises(PipelineError, match="cannot be inside table pulled/contacts"):
        store.log("pulled/contacts/old").append(rows(Id=["1"]), {})
    store.log("pulled/leads").append(rows(Id=["1"]), {})


def test_errors_say_what_to_do(log: ChangeLog) -> None:
    for read in (log.current, log.schema, log.count, lambda: log.changed_since(0)):
        with pytest.raises(PipelineError, match="pulled/contacts does not exist yet"):
            read()
    with pytest.raises(PipelineError, match="its first batch must say its columns"):
        log.append(None, {})
    log.append(rows(Id=["1"], Name=["a"]), {})
    with pytest.raises(PipelineError, match=r"has no column Nmae\. It has Id, Name\."):
        log.current(["Id", "Nmae"])
    with pytest.raises(PipelineError, match="the condition 'Nmae = 1' cannot be used"):
        log.current(where="Nmae = 1")
    with pytest.raises(PipelineError, match="the deleted keys are int64, but Id holds string"):
        log.append(None, {}, deleted_keys=pa.array([1]))
    with pytest.raises(PipelineError, match="the key Id holds string, the new rows have int64"):
        log.replace(rows(Id=[1]), {})
    assert log.count() == 1


def test_foreign_tables_are_left_alone(tmp_path: Path) -> None:
    DeltaTable.create(tmp_path / "theirs", schema=rows(Id=["1"]).schema)
    with pytest.raises(PipelineError, match="was not written by this program"):
        Tables(tmp_path).log("theirs").state()


def test_rewriting_by_another_program_is_noticed(tmp_path: Path) -> None:
    log = Tables(tmp_path).log("pulled/contacts")
    log.append(rows(Id=["1"]), {})
    log.append(rows(Id=["1"]), {})
    DeltaTable(tmp_path / "pulled" / "contacts").optimize.compact()
    with pytest.raises(PipelineError, match="was rewritten by another program"):
        log.current()


def test_changes_keep_their_batch_when_folded_together(
    log: ChangeLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_CHANGE_FILES", 3)
    log.replace(rows(Id=[str(n) for n in range(9)], n=[0] * 9), {})
    for batch in range(2, 6):
        log.append(rows(Id=[str(batch), "0"], n=[batch, batch]), {})
    assert len(DeltaTable(tmp_path / "pulled" / "contacts").file_uris()) == 2
    for after in range(1, 6):
        since = log.changed_since(after).read_all().to_pylist()
        expected = {str(batch): batch for batch in range(after + 1, 6)}
        if after < 5:
            expected["0"] = 5
        assert {row["Id"]: row["_batch"] for row in since} == expected
        assert len(since) == len(expected)


def test_a_table_of_many_columns_is_read_back(log: ChangeLog) -> None:
    """Delta reads statistics of the first columns only, and reading depends on two of them."""
    columns = {f"Field_{n}__c": pa.array([str(n)]) for n in range(200)}
    log.append(pa.table({"Id": pa.array(["1"]), **columns}), {})
    log.append(pa.table({"Id": pa.array(["2"]), **columns}), {})
    assert log.count() == 2
    assert listed(log.current(["Id", "Field_199__c"])) == [
        {"Id": "1", "Field_199__c": "199"},
        {"Id": "2", "Field_199__c": "199"},
    ]
