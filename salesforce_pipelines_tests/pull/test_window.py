"""No second is read twice for good or left out between two pulls."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.pull.changes import changed_objects
from salesforce_pipelines.pull.window import next_window

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
spans = st.integers(min_value=0, max_value=7200).map(lambda n: timedelta(seconds=n))


def test_the_first_pull_reads_everything_and_ends_before_the_lag() -> None:
    window = next_window(None, NOON, lag=timedelta(seconds=60), overlap=timedelta(minutes=10))
    assert window.start is None
    assert window.where() == ""
    assert window.end == NOON - timedelta(seconds=60)


def test_a_later_pull_starts_before_the_watermark_and_binds_both_ends() -> None:
    window = next_window(
        NOON, NOON + timedelta(hours=1), lag=timedelta(0), overlap=timedelta(minutes=10)
    )
    assert window.where() == (
        "SystemModstamp >= 2026-03-01T11:50:00Z AND SystemModstamp < 2026-03-01T13:00:00Z"
    )


@given(
    clocks=st.lists(st.integers(0, 10**6), min_size=2, max_size=12),
    lag=spans,
    overlap=spans,
    stamp=st.integers(0, 10**6),
)
def test_every_stamp_before_the_last_end_is_in_some_window(
    clocks: list[int], lag: timedelta, overlap: timedelta, stamp: int
) -> None:
    watermark = None
    stamped = NOON + timedelta(seconds=stamp)
    seen = False
    for clock in clocks:
        window = next_window(watermark, NOON + timedelta(seconds=clock), lag=lag, overlap=overlap)
        assert watermark is None or window.end >= watermark
        if (window.start is None or window.start <= stamped) and stamped < window.end:
            seen = True
        watermark = window.end
    assert watermark is not None
    assert seen == (stamped < watermark)


def test_an_object_changed_when_its_newest_stamp_is_past_the_watermark() -> None:
    second = timedelta(seconds=1)
    newest = {
        "Contact": NOON,
        "Lead": NOON - second,
        "Account": None,
        "Campaign": NOON,
    }
    watermarks = {"Contact": NOON, "Lead": NOON, "Account": None, "Campaign": None}
    assert changed_objects(newest, watermarks) == ["Contact", "Campaign"]
