"""The recycle bin: what a delete takes with it, what comes back, and what is gone for good.

A delete takes along the live records that belong to the deleted one, and clears the lookups of the
others without moving their stamps. An undelete undoes both. After 15 days, or when the bin is
emptied, the rows vanish and only a log of their ids is left, for `getDeleted`. Campaign members are
never in the bin: a delete removes them at once.

The store keeps, for this module: in `_recycle_bin` each deleted record with the one whose delete
took it along (its root); in `_cleared_lookup` the lookups that an undelete restores; in `_deleted`
the records that are gone; in `_highest_number` a number that no new record may fall back to.
Records that were generated as deleted have no entry: nothing restores or purges them.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from salesforce_pipelines.local_org.errors import RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.storage.store import Value, quoted, stamp

KEPT_DAYS = 15
_PURGE_SECONDS = 60
_PURGED_AT_ONCE = 200
_MERGED_INTO = "MasterRecordId"

Row = Mapping[str, Value]
Write = Callable[[SObject, Row, dict[str, Value]], None]


class RecycleBin:
    """The recycle bin of an org, within one writing transaction.

    Args:
        now: The time of its deletes, as the store keeps it.
        write: Changes a record and moves its stamps.
    """

    def __init__(
        self, schema: Schema, connection: sqlite3.Connection, now: str, write: Write
    ) -> None:
        self._schema = schema
        self._connection = connection
        self._now = now
        self._write = write
        self._references: dict[str, list[tuple[SObject, Field, bool]]] = {}

    def put(self, sobject: SObject, row: Row, values: dict[str, Value] | None = None) -> None:
        """Delete a live record, and what belongs to it.

        Args:
            values: What to write to the record beside that it is deleted.
        """
        self._put(sobject, row, str(row["Id"]), values or {})

    def deleted_with(self, record_id: str) -> list[tuple[SObject, Row]]:
        """A record of the bin and what came into it together with it; none if it is not there."""
        entries = self._connection.execute(
            "SELECT sobject, id FROM _recycle_bin WHERE root = ?1 AND EXISTS"
            " (SELECT 1 FROM _recycle_bin WHERE id = ?1 AND root = ?1) ORDER BY id <> root",
            [record_id],
        ).fetchall()
        found = [(self._schema[name], self._row(self._schema[name], at)) for name, at in entries]
        return [(sobject, row) for sobject, row in found if row]

    def take_out(self, records: list[tuple[SObject, Row]]) -> None:
        """Make records of the bin live again, with the lookups that led to them.

        Args:
            records: As `deleted_with` gives them.

        Raises:
            RowRefusedError: The first one belongs to a record that is deleted itself.
        """
        together = {str(row["Id"]) for _, row in records}
        for position, (sobject, row) in enumerate(records):
            lost = list(self._lost_parents(sobject, row, together))
            owner = next((parent for item, parent in lost if not item.nillable), None)
            if owner is None:
                self._restore(sobject, row, lost)
            elif position == 0:
                raise RowRefusedError("ENTITY_IS_DELETED", "entity is deleted")
            else:
                self._leave_with(str(row["Id"]), owner)

    def empty(self, record_id: str) -> bool:
        """Remove a record of the bin, and what came into it with it, for good.

        Returns:
            False if it is not there, or came there only with another record.
        """
        records = self.deleted_with(record_id)
        for sobject, row in records:
            self.remove(sobject, str(row["Id"]), str(row["SystemModstamp"]))
        return bool(records)

    # Deleting

    def _put(self, sobject: SObject, row: Row, root: str, values: dict[str, Value]) -> None:
        record_id = str(row["Id"])
        if not sobject.undeletable and sobject.deletable:
            self.remove(sobject, record_id, self._now)
            return
        self._write(sobject, row, {"IsDeleted": 1, **values})
        self._connection.execute(
            "INSERT OR REPLACE INTO _recycle_bin VALUES (?, ?, ?, ?)",
            [record_id, sobject.name, root, self._now],
        )
        for child, item, cascades in self._references_to(sobject):
            if cascades:
                for found in self._live_children(child, item, record_id):
                    self._put(child, found, root, {})
            elif item.name != _MERGED_INTO:
                self._clear_lookup(child, item, record_id)

    def _clear_lookup(self, child: SObject, item: Field, parent_id: str) -> None:
        live = " AND IsDeleted = 0" if child.has_is_deleted else ""
        cleared = self._connection.execute(
            f"UPDATE {quoted(child.name)} SET {quoted(item.name)} = NULL"
            f" WHERE {quoted(item.name)} = ?{live} RETURNING Id",
            [parent_id],
        ).fetchall()
        for (record_id,) in cleared:
            self._remember_cleared(parent_id, child, record_id, item.name)

    def _remember_cleared(
        self, parent_id: str, sobject: SObject, record_id: str, field: str
    ) -> None:
        self._connection.execute(
            "INSERT OR IGNORE INTO _cleared_lookup VALUES (?, ?, ?, ?)",
            [parent_id, sobject.name, record_id, field],
        )

    # Restoring

    def _restore(self, sobject: SObject, row: Row, lost: list[tuple[Field, str]]) -> None:
        record_id = str(row["Id"])
        for item, parent_id in lost:
            if item.name != _MERGED_INTO:
                self._remember_cleared(parent_id, sobject, record_id, item.name)
        values: dict[str, Value] = {item.name: None for item, _ in lost}
        self._write(sobject, row, {"IsDeleted": 0, **values})
        self._connection.execute("DELETE FROM _recycle_bin WHERE id = ?", [record_id])
        self._restore_lookups(record_id)

    def _leave_with(self, record_id: str, owner: str) -> None:
        """Let a record come back with another deleted one that it belongs to."""
        self._connection.execute(
            "UPDATE _recycle_bin SET root ="
            " ifnull((SELECT o.root FROM _recycle_bin o WHERE o.id = ?1), ?1) WHERE id = ?2",
            [owner, record_id],
        )

    def _restore_lookups(self, parent_id: str) -> None:
        cleared = self._connection.execute(
            "DELETE FROM _cleared_lookup WHERE parent = ? RETURNING sobject, id, field",
            [parent_id],
        ).fetchall()
        for name, record_id, field in cleared:
            self._connection.execute(
                f"UPDATE {quoted(name)} SET {quoted(field)} = ?"
                f" WHERE Id = ? AND {quoted(field)} IS NULL",
                [parent_id, record_id],
            )

    def _lost_parents(
        self, sobject: SObject, row: Row, together: set[str]
    ) -> Iterator[tuple[Field, str]]:
        """The references of a deleted record that it may not have when it is live, and their ids.

        They lead to what is deleted and does not come back together with it. What is gone for good
        has no references left.
        """
        for item in sobject.stored_fields:
            value = row.get(item.name)
            if item.type != "reference" or value is None or value in together:
                continue
            parents = (self._schema.get(name) for name in item.refers_to)
            parent = next((p for p in parents if p and p.key_prefix == str(value)[:3]), None)
            if parent is None or not parent.has_is_deleted:
                continue
            found = self._row(parent, str(value))
            if item.name == _MERGED_INTO or found is None or found["IsDeleted"]:
                yield item, str(value)

    # Removing

    def remove(self, sobject: SObject, record_id: str, deleted_at: str) -> None:
        """Remove the row, what belongs to it, and every lookup that leads to it."""
        table = quoted(sobject.name)
        numbers = self._connection.execute(
            f"DELETE FROM {table} WHERE Id = ? RETURNING _n", [record_id]
        ).fetchall()
        for (number,) in numbers:
            self._connection.execute(
                "INSERT INTO _highest_number VALUES (?, ?) ON CONFLICT (sobject)"
                " DO UPDATE SET number = max(number, excluded.number)",
                [sobject.name, number],
            )
        self._connection.execute(
            "INSERT OR IGNORE INTO _deleted VALUES (?, ?, ?)",
            [sobject.name, deleted_at, record_id],
        )
        self._connection.execute("DELETE FROM _recycle_bin WHERE id = ?", [record_id])
        self._connection.execute("DELETE FROM _history WHERE record_id = ?", [record_id])
        self._connection.execute(
            "DELETE FROM _cleared_lookup WHERE parent = ? OR id = ?", [record_id, record_id]
        )
        for child, item, cascades in self._references_to(sobject):
            if cascades and not item.nillable:
                self._remove_children(child, item, record_id)
            else:
                self._connection.execute(
                    f"UPDATE {quoted(child.name)} SET {quoted(item.name)} = NULL"
                    f" WHERE {quoted(item.name)} = ?",
                    [record_id],
                )

    def _remove_children(self, child: SObject, item: Field, parent_id: str) -> None:
        rows = self._connection.execute(
            f"SELECT Id, SystemModstamp FROM {quoted(child.name)} WHERE {quoted(item.name)} = ?",
            [parent_id],
        ).fetchall()
        for record_id, deleted_at in rows:
            self.remove(child, record_id, deleted_at)

    # Reading

    def _references_to(self, parent: SObject) -> list[tuple[SObject, Field, bool]]:
        """Each sObject and stored field that leads to a parent, and whether deletes cascade."""
        known = self._references.get(parent.name)
        if known is None:
            known = self._references[parent.name] = list(self._find_references(parent))
        return known

    def _find_references(self, parent: SObject) -> Iterator[tuple[SObject, Field, bool]]:
        for relation in self._schema.children(parent):
            child = self._schema[relation.child]
            item = child.field(relation.field)
            # Without a stamp it is the field history of its parent, which keeps itself.
            if item is not None and item.is_stored and child.field("SystemModstamp"):
                yield child, item, relation.cascade_delete

    def _live_children(self, child: SObject, item: Field, parent_id: str) -> list[Row]:
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        rows = cursor.execute(
            f"SELECT * FROM {quoted(child.name)} WHERE {quoted(item.name)} = ? AND IsDeleted = 0",
            [parent_id],
        ).fetchall()
        return [dict(row) for row in rows]

    def _row(self, sobject: SObject, record_id: str) -> Row | None:
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        row = cursor.execute(
            f"SELECT * FROM {quoted(sobject.name)} WHERE Id = ?", [record_id]
        ).fetchone()
        return None if row is None else dict(row)


def empty_bin(org: Org) -> dict[str, int]:
    """Remove every deleted record for good; how many of each sObject."""
    removed = {}
    with org.store.write() as connection:
        bin_ = RecycleBin(org.schema, connection, org.store.now(), _never)
        for sobject in org.schema:
            if not sobject.deletable or not sobject.has_is_deleted:
                continue
            rows = connection.execute(
                f"SELECT Id, SystemModstamp FROM {quoted(sobject.name)} WHERE IsDeleted = 1"
            ).fetchall()
            for record_id, deleted_at in rows:
                bin_.remove(sobject, record_id, deleted_at)
            if rows:
                removed[sobject.name] = len(rows)
    return removed


def purge(org: Org) -> int:
    """Remove for good what has been in the bin for 15 days of the org's clock; how many roots."""
    oldest = stamp(org.store.clock() - timedelta(days=KEPT_DAYS))
    purged = 0
    while not org.stopping.is_set():
        roots = (
            org.store.reader()
            .execute(
                "SELECT DISTINCT root FROM _recycle_bin WHERE deleted_at < ?"
                f" LIMIT {_PURGED_AT_ONCE}",
                [oldest],
            )
            .fetchall()
        )
        if not roots:
            break
        with org.store.write() as connection:
            bin_ = RecycleBin(org.schema, connection, org.store.now(), _never)
            for (root,) in roots:
                bin_.empty(root)
            marks = ", ".join("?" for _ in roots)
            connection.execute(
                f"DELETE FROM _recycle_bin WHERE root IN ({marks}) AND deleted_at < ?",
                [*(root for (root,) in roots), oldest],
            )
        purged += len(roots)
    _shorten_log(org, oldest)
    return purged


def _shorten_log(org: Org, oldest: str) -> None:
    expired = "FROM _deleted WHERE deleted_at < ?"
    if org.store.reader().execute(f"SELECT 1 {expired} LIMIT 1", [oldest]).fetchone():
        with org.store.write() as connection:
            connection.execute(f"DELETE {expired}", [oldest])


def deleted_records(org: Org, sobject: SObject, start: str, end: str) -> list[tuple[str, str]]:
    """The ids and times of what was deleted in a span, in the bin or gone, the oldest first."""
    in_bin = (
        f"SELECT Id, SystemModstamp FROM {quoted(sobject.name)}"
        " WHERE SystemModstamp >= :start AND SystemModstamp < :end AND IsDeleted = 1"
    )
    gone = (
        "SELECT id, deleted_at FROM _deleted"
        " WHERE sobject = :sobject AND deleted_at >= :start AND deleted_at < :end"
    )
    rows = org.store.reader().execute(
        f"{in_bin} UNION ALL {gone} ORDER BY 2, 1",
        {"start": start, "end": end, "sobject": sobject.name},
    )
    return rows.fetchall()


class PurgeWorker(threading.Thread):
    """Purges the recycle bin at the start of a server and every minute after."""

    def __init__(self, org: Org) -> None:
        super().__init__(daemon=True, name="recycle-bin")
        self._org = org

    def run(self) -> None:
        """Purge until the org is stopping."""
        while not self._org.stopping.is_set():
            purge(self._org)
            self._org.stopping.wait(_PURGE_SECONDS)


def _never(sobject: SObject, row: Row, values: dict[str, Value]) -> None:
    raise AssertionError("emptying the recycle bin writes no record")
