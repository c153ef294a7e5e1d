"""Batches in the making: what a later process takes up, and what becomes of two at once."""

from pathlib import Path

import pyarrow as pa
import pytest

from salesforce_pipelines.store.delta_log import ConcurrentWriteError
from salesforce_pipelines.store.tables import ChangeLog, Tables

SCHEMA = pa.schema([("Id", pa.string())])


@pytest.fixture(params=["folder", "url"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    """Tables in a folder, and behind the interface that object stores have too."""
    if request.param == "folder":
        return Tables(tmp_path)
    (tmp_path / "pulled" / "contacts").mkdir(parents=True)
    return Tables(tmp_path.as_uri())


def contacts(tables: Tables) -> ChangeLog:
    return tables.log("pulled/contacts")


def rows(*ids: str) -> pa.RecordBatch:
    return pa.record_batch([pa.array(ids, pa.string())], schema=SCHEMA)


def ids(log: ChangeLog) -> list[str]:
    return sorted(log.current().read_all().column("Id").to_pylist())


@pytest.mark.parametrize("replaces", [True, False])
def test_a_later_process_goes_on_after_the_last_checkpoint(tables: Tables, replaces: bool) -> None:
    contacts(tables).append(pa.Table.from_batches([rows("0")]), {})
    with contacts(tables).stage(SCHEMA, replaces=replaces) as first:
        first.write(rows("1"))
        first.checkpoint({"page": 1})
        first.write(rows("2"))
        first.checkpoint({"page": 2})
        first.write(rows("lost"))
    later = contacts(tables).staged()
    assert later is not None
    with later:
        assert later.metadata == {"page": 2}
        later.write(rows("3"))
        later.commit({})
    assert ids(contacts(tables)) == (["1", "2", "3"] if replaces else ["0", "1", "2", "3"])
    assert contacts(tables).staged() is None


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("replaces", [True, False])
def test_a_batch_that_another_process_gave_up_is_not_committed(
    tables: Tables, existing: bool, replaces: bool
) -> None:
    if existing:
        contacts(tables).append(pa.Table.from_batches([rows("0")]), {})
    with contacts(tables).stage(SCHEMA, replaces=replaces) as ours:
        ours.write(rows("1"))
        ours.checkpoint({})
        # Its files are those of a dead process to whoever begins anew.
        with contacts(tables).stage(SCHEMA, replaces=not replaces) as theirs:
            ours.write(rows("2"))
            with pytest.raises(ConcurrentWriteError):
                ours.commit({})
            theirs.write(rows("3"))
            theirs.commit({})
    assert ids(contacts(tables)) == (["0", "3"] if existing and replaces else ["3"])
