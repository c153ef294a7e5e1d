"""Records that are written now and that readers see only later.

So does a long transaction or a lagging replica: a record is stamped 10:00:05 and appears at
10:00:40. Here a write changes its table at once, so that unique values, ids and a second write take
it into account. What readers are to see meanwhile is kept in a side table: the record as it was, or
that it was not there. Readers look through a view that puts this in the record's place.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from salesforce_pipelines.local_org.admin.faults import Fault, Faults, Occasion
from salesforce_pipelines.local_org.metadata.schema import SObject
from salesforce_pipelines.local_org.storage.store import Store, create_table, quoted

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.saves.saving import Saving


class LateRows:
    """The records that readers of one org do not see as they are.

    A restart shows them all.
    """

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self._covered: dict[str, SObject] = {}
        self._next_due: float | None = None
        self._changing = threading.Lock()
        with store.write() as connection:
            for sobject in store.schema:
                connection.execute(f"DROP TABLE IF EXISTS {_side(sobject)}")

    @property
    def is_any(self) -> bool:
        """Whether there is or may be any."""
        return bool(self._covered)

    def add_fault(self, given: Mapping[str, Any], sobject: SObject) -> Fault:
        """Take up a fault that makes records of an sObject late.

        Raises:
            FaultError: It cannot be.
        """
        with self._changing:
            if sobject.name not in self._covered:
                self._cover(sobject)
            return self._faults.add(given)

    def _cover(self, sobject: SObject) -> None:
        """Prepare for late records, before the first of them is written."""
        with self._store.write() as connection:
            connection.execute(f"DROP TABLE IF EXISTS {_side(sobject)}")
            create_table(connection, sobject, _side_name(sobject))
            for column in ("_visible_at REAL", "_is_new INTEGER DEFAULT 0"):
                connection.execute(f"ALTER TABLE {_side(sobject)} ADD COLUMN {column}")
        self._covered[sobject.name] = sobject
        self._set_views()

    def hide(self, saving: "Saving") -> None:
        """Keep readers from seeing a record that was just written, if a fault wants it so."""
        if not self._faults.may_strike("rows"):
            return
        sobject, connection = saving.sobject, saving.connection
        occasion = Occasion(
            sobjects=frozenset({sobject.name.lower()}),
            user_id=saving.user_id,
            record_id=saving.record_id,
        )
        fault = self._faults.strike("rows", occasion).get("rows")
        if fault is None:
            return
        due = self._store.clock().timestamp() + fault["seconds"]
        side = _side(sobject)
        (number,) = connection.execute(
            f"SELECT _n FROM {quoted(sobject.name)} WHERE Id = ?", [saving.record_id]
        ).fetchone()
        # A column that was added meanwhile is not in the side table.
        kept = _columns(connection.execute(f"PRAGMA table_info({side})").fetchall())
        earlier = {"_n": number, **{k: v for k, v in (saving.before or {}).items() if k in kept}}
        names = ", ".join(quoted(name) for name in earlier)
        marks = ", ".join("?" for _ in earlier)
        # The oldest version stays what readers see, however often the record is written.
        connection.execute(
            f"INSERT INTO {side} ({names}, _visible_at, _is_new) VALUES ({marks}, ?, ?)"
            " ON CONFLICT (_n) DO UPDATE SET _visible_at = max(_visible_at, excluded._visible_at)",
            [*earlier.values(), due, saving.is_new],
        )
        self._next_due = due if self._next_due is None else min(self._next_due, due)

    def catch_up(self) -> None:
        """Let readers see what is due by the org's clock; costs nothing where nothing is late."""
        if not self.is_any:
            return
        with self._changing:
            if self._next_due is not None and self._next_due <= self._store.clock().timestamp():
                self._show_due()
            self._uncover()

    def _show_due(self) -> None:
        now = self._store.clock().timestamp()
        with self._store.write() as connection:
            waiting = []
            for sobject in self._covered.values():
                side = _side(sobject)
                connection.execute(f"DELETE FROM {side} WHERE _visible_at <= ?", [now])
                waiting += connection.execute(f"SELECT min(_visible_at) FROM {side}").fetchone()
            self._next_due = min((due for due in waiting if due is not None), default=None)

    def _uncover(self) -> None:
        """Give readers their tables back where nothing is late and nothing will be."""
        late = {fault.matchers["sobject"].lower() for fault in self._faults.at("rows")}
        reader = self._store.reader()
        for name, sobject in list(self._covered.items()):
            waiting = reader.execute(f"SELECT 1 FROM {_side(sobject)} LIMIT 1").fetchone()
            if name.lower() not in late and not waiting:
                del self._covered[name]
        self._set_views()

    def _set_views(self) -> None:
        self._store.reader_views.set(
            {name: _view(self._store, sobject) for name, sobject in self._covered.items()}
        )


def hide_late_row(saving: "Saving") -> None:
    """Keep readers from seeing a written record, if a fault wants it so."""
    saving.org.late_rows.hide(saving)


def _side_name(sobject: SObject) -> str:
    return f"_late_{sobject.name}"


def _side(sobject: SObject) -> str:
    return quoted(_side_name(sobject))


def _view(store: Store, sobject: SObject) -> str:
    """What readers see of an sObject; columns added meanwhile are empty in earlier versions."""
    reader = store.reader()
    columns = _columns(reader.execute(f"PRAGMA main.table_info({quoted(sobject.name)})").fetchall())
    kept = set(_columns(reader.execute(f"PRAGMA main.table_info({_side(sobject)})").fetchall()))
    now = ", ".join(quoted(name) for name in columns)
    before = ", ".join(quoted(name) if name in kept else "NULL" for name in columns)
    return (
        f"SELECT {now} FROM main.{quoted(sobject.name)}"
        f" WHERE _n NOT IN (SELECT _n FROM main.{_side(sobject)})"
        f" UNION ALL SELECT {before} FROM main.{_side(sobject)} WHERE NOT _is_new"
    )


def _columns(rows: list[tuple[object, ...]]) -> list[str]:
    return [str(row[1]) for row in rows]
