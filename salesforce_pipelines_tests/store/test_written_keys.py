"""Which keys of a batch come twice, and which known ones do not come."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesforce_pipelines.store import written_keys
from salesforce_pipelines.store.written_keys import WrittenKeys

KEYS = st.text("ab01", min_size=1, max_size=2)
BATCHES = st.lists(st.lists(KEYS, max_size=5), max_size=6)
KEY = pa.schema([("Id", pa.string())])


@pytest.fixture(autouse=True, params=[4, 100_000])
def remembered(request: pytest.FixtureRequest) -> Iterator[None]:
    """Few keys are remembered, or all."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(written_keys, "_REMEMBERED", request.param)
        patched.setattr(written_keys, "_AT_ONCE", 3)
        yield


def reader(batches: Sequence[Sequence[str]]) -> pa.RecordBatchReader:
    tables = [pa.record_batch([pa.array(keys, pa.string())], schema=KEY) for keys in batches]
    return pa.RecordBatchReader.from_batches(KEY, tables)


def written(batches: Sequence[Sequence[str]], earlier: Sequence[Sequence[str]] = ()) -> WrittenKeys:
    stored = [*earlier, *batches]
    before = WrittenKeys("Id", lambda: reader(earlier))
    for batch in earlier:
        before.add(pa.array(batch, pa.string()))
    keys = WrittenKeys("Id", lambda: reader(stored), sum(map(len, earlier)), before.last)
    for batch in batches:
        keys.add(pa.array(batch, pa.string()))
    return keys


@settings(max_examples=40)
@given(BATCHES, BATCHES, st.booleans())
def test_the_last_row_of_a_key_wins(
    earlier: list[list[str]], batches: list[list[str]], ascending: bool
) -> None:
    if ascending:
        once = sorted({key for batch in batches for key in batch})
        batches = [once[start : start + 3] for start in range(0, len(once), 3)]
    every = [key for batch in [*earlier, *batches] for key in batch]
    wanted = [number for number, key in enumerate(every) if key in every[number + 1 :]]
    assert sorted(written(batches, earlier).repeated().to_pylist()) == wanted


@settings(max_examples=40)
@given(BATCHES, BATCHES, BATCHES)
def test_what_is_known_and_does_not_come_is_missing(
    earlier: list[list[str]], batches: list[list[str]], known: list[list[str]]
) -> None:
    there = {key for batch in [*earlier, *batches] for key in batch}
    missing = written(batches, earlier).missing(reader(known))
    found = [key for batch in missing for key in batch.column("Id").to_pylist()]
    assert sorted(found) == sorted(key for batch in known for key in batch if key not in there)
