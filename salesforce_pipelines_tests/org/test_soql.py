"""Composing conditions."""

import pytest

from salesforce_pipelines.org.soql import conjunction

SEMI_JOIN = "Title = 'x' AND AccountId IN (SELECT Id FROM Account WHERE Name = 'a' OR Name = 'b')"


@pytest.mark.parametrize(
    ("conditions", "joined"),
    [
        ([], ""),
        (["", "A = 1"], "A = 1"),
        (["A = 1 OR B = 2"], "A = 1 OR B = 2"),
        (["NOT (A = 1)", "B = 2 OR C = 3"], "(NOT (A = 1)) AND (B = 2 OR C = 3)"),
        (["A = '(SELECT'", "B = 2"], "(A = '(SELECT') AND (B = 2)"),
        ([SEMI_JOIN, "D = 4"], f"{SEMI_JOIN} AND (D = 4)"),
    ],
)
def test_conditions_hold_together_and_semi_joins_stay_at_the_top(
    conditions: list[str], joined: str
) -> None:
    assert conjunction(*conditions) == joined
