"""SQL views that stand before tables on every reading connection, but not on the writing one."""

import sqlite3
from collections.abc import Mapping


class ReaderViews:
    """The views that readers look through; none at first.

    Attributes:
        version: Changes with the views; a connection is up to date if it has seen this one.
    """

    def __init__(self) -> None:
        self._current: tuple[int, Mapping[str, str]] = (0, {})

    @property
    def version(self) -> int:
        """The number of the current views."""
        return self._current[0]

    def set(self, views: Mapping[str, str]) -> None:
        """Put views, by the name of the table, in the place of those that were there."""
        version, current = self._current
        if dict(current) != dict(views):
            self._current = (version + 1, dict(views))

    def apply(self, connection: sqlite3.Connection) -> int:
        """Bring a connection up to date, outside of a transaction; the version it then has."""
        version, views = self._current
        connection.execute("PRAGMA query_only = 0")
        # A temporary view comes before a table of its name.
        for (name,) in connection.execute(
            "SELECT name FROM temp.sqlite_master WHERE type = 'view'"
        ).fetchall():
            connection.execute(f'DROP VIEW temp."{name}"')
        for name, select in views.items():
            connection.execute(f'CREATE TEMP VIEW "{name}" AS {select}')
        connection.execute("PRAGMA query_only = 1")
        return version
