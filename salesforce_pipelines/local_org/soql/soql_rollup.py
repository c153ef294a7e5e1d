"""GROUP BY ROLLUP and CUBE, for which SQLite has no counterpart: one SELECT for each subtotal."""

from collections.abc import Sequence
from itertools import combinations

MOST_FIELDS = 3
ALIAS = "g"


def subtotal_levels(kind: str, count: int) -> list[tuple[int, ...]]:
    """The grouped fields, by number, of each level of subtotals, from the finest to the total."""
    if kind == "ROLLUP":
        return [tuple(range(length)) for length in range(count, -1, -1)]
    return [
        level for length in range(count, -1, -1) for level in combinations(range(count), length)
    ]


class Subtotals:
    """Collects the values that a query shows and gives the table that holds them at every level.

    Args:
        kind: ROLLUP or CUBE.
        shown: The SQL of the grouped fields.
        keys: What makes two records of one group, for each of them.
    """

    def __init__(self, kind: str, shown: Sequence[str], keys: Sequence[str]) -> None:
        self._levels = subtotal_levels(kind, len(keys))
        self._shown = list(shown)
        self._keys = list(keys)
        self._values: list[str | int] = []

    @property
    def level_count(self) -> int:
        """How often the parameters of the query occur."""
        return len(self._levels)

    def column(self, sql: str) -> str:
        """The column that holds a grouped field or an aggregate."""
        return self._column(sql)

    def grouping(self, sql: str) -> str:
        """The column that says whether a grouped field is summed up: `GROUPING()`."""
        return self._column(self._shown.index(sql))

    def _column(self, value: str | int) -> str:
        if value not in self._values:
            self._values.append(value)
        return f"{ALIAS}.v{self._values.index(value)}"

    def from_sql(self, source: str, having: str) -> str:
        """FROM the levels of a query, whose FROM and WHERE is `source`."""
        selects = []
        for level in self._levels:
            values = ", ".join(
                f"{self._at(level, value)} AS v{at}" for at, value in enumerate(self._values)
            )
            keys = ", ".join(self._keys[at] for at in level) or "NULL"
            selects.append(f"SELECT {values}{source} GROUP BY {keys}{having}")
        return f" FROM ({' UNION ALL '.join(selects)}) {ALIAS}"

    def _at(self, level: tuple[int, ...], value: str | int) -> str:
        """A value as one level shows it."""
        if isinstance(value, int):
            return "0" if value in level else "1"
        is_summed_up = value in self._shown and self._shown.index(value) not in level
        return "NULL" if is_summed_up else value
