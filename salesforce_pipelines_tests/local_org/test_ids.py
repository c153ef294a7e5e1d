from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.local_org.storage.ids import IdFactory, checksum, is_id, to_18


def test_checksum_is_that_of_ids_recorded_from_real_orgs() -> None:
    for real in ("00Q4S000002sSacUAE", "0014S000007NeNUQA0", "0034S000005YJYcQAO"):
        assert checksum(real[:15]) == real[15:]
        assert to_18(real[:15]) == real


def test_what_is_no_id() -> None:
    assert is_id("0034S000005YJYc")
    assert is_id("0034S000005YJYcQAO")
    assert not is_id("0034S000005YJYcQAA")
    assert not is_id("0034S000005YJY")
    assert not is_id("0034S000005YJY-")
    assert not is_id("")


@given(st.sets(st.integers(0, 62**7), min_size=2, max_size=20), st.sampled_from(["003", "00Q"]))
def test_ids_are_well_formed_and_distinct_even_without_letter_case(
    numbers: set[int], prefix: str
) -> None:
    factory = IdFactory("5g0")
    ids = [factory.record_id(prefix, number) for number in numbers]
    assert all(is_id(record_id) and len(record_id) == 18 for record_id in ids)
    assert all(record_id.startswith(f"{prefix}5g0") for record_id in ids)
    assert len({record_id.lower() for record_id in ids}) == len(numbers)


@given(st.integers(0, 62**6))
def test_ids_grow_with_their_number(number: int) -> None:
    factory = IdFactory("5g0")
    here, there = (factory.record_id("003", n) for n in (number, number + 1))
    assert here[:15] < there[:15]
    assert here == factory.record_id("003", number)
