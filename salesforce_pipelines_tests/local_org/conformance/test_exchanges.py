"""The comparison of answers with shapes finds what differs."""

import re
from typing import Any

import pytest

from salesforce_pipelines_tests.local_org.conformance.exchanges import (
    ANYTHING,
    Each,
    Having,
    Saved,
    differences,
)


@pytest.mark.parametrize(
    ("shape", "fits", "differs"),
    [
        (int, 1, True),
        (int, 1, "1"),
        (float, 1.0, 1),
        (None, None, ""),
        (True, True, 1),
        ("a $name", "a b", "a $name"),
        (re.compile("a+"), "aa", "aab"),
        ({"a": int}, {"a": 1}, {"a": 1, "b": 2}),
        ({"a": ANYTHING}, {"a": None}, {}),
        (Having({"a": int}), {"a": 1, "b": 2}, {"b": 2}),
        ([int, str], [1, "a"], [1, "a", "b"]),
        ([], [], {}),
        (Each(int), [1, 2], []),
        (Each(int), [1, 2], [1, "2"]),
        ({"a": [{"b": int}]}, {"a": [{"b": 1}]}, {"a": [{"b": None}]}),
    ],
)
def test_differences(shape: Any, fits: Any, differs: Any) -> None:
    known = {"name": "b"}
    assert not list(differences(shape, fits, known))
    assert list(differences(shape, differs, known))


def test_what_is_saved_is_known_afterwards() -> None:
    known: dict[str, str] = {}
    assert not list(differences({"id": Saved("job", re.compile("7.."))}, {"id": "750"}, known))
    assert not list(differences("jobs/$job", "jobs/750", known))
    assert list(differences({"id": Saved("job", int)}, {"id": "x"}, known))
