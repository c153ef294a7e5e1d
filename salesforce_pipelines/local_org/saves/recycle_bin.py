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
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

from salesforce_pipelines.local_org.errors import RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.storage.store import Value, quoted, stamp

KEPT_DAYS = 15
_PURGED_AT_ONCE = 200
_READ_AT_ONCE = 500
_MERGED_INTO = "MasterRecordId"

Row = Mapping[str, Value]
Write = Callable[[SObject, Row, dict[str, Value]], None]
Check = Callable[[SObject, str], None]


class RecycleBin:
    """The recycle bin of an org, within one writing transaction.

    Args:
        now: The time of its deletes, as the store keeps it.
        write: Changes a record and moves its stamps.
        check: Refuses, by `RowRefusedError`, that a record with an id is taken along.
        keeps_members: Whether a person who is deleted leaves their campaign members.
    """

    def __init__(
        self,
        schema: Schema,
        connection: sqlite3.Connection,
        now: str,
        write: Write,
        check: Check,
        *,
        keeps_members: bool = False,
    ) -> None:
        self._schema = schema
        self._connection = connection
        self._now = now
        self._write = write
        self._check = check
        self._keeps_members = keeps_members
        self._references: dict[str, list[tuple[SObject, Field, bool]]] = {}

    def put(self, sobject: SObject, row: Row, values: dict[str, Value] | None = None) -> None:
        """Delete a live record, and what belongs to it.

        Args:
            values: What to write to the record beside that it is deleted.

        Raises:
            RowRefusedError: It may not take along what belongs to it; what has been written of
                the delete has to be undone.
        """
        self._put(sobject, row, str(row["Id"]), values or {})

    def deleted_with(self, record_id: str) -> list[tuple[SObject, str]]:
        """The ids of a record of the bin, and of what came into it together with it.

        There are none if it is not there.
        """
        entries = self._connection.execute(
            "SELECT sobject, id FROM _recycle_bin WHERE root = ?1 AND EXISTS"
            " (SELECT 1 FROM _recycle_bin WHERE id = ?1 AND root = ?1) ORDER BY id <> root",
            [record_id],
        ).fetchall()
        return [(self._schema[name], found) for name, found in entries]

    def take_out(self, records: Sequence[tuple[SObject, str]]) -> None:
        """Make records of the bin live again, with the lookups that led to them.

        Args:
            records: As `deleted_with` gives them.

        Raises:
            RowRefusedError: The first one belongs to a record that is deleted itself.
        """
        together = {record_id for _, record_id in records}
        for position, (sobject, record_id) in enumerate(records):
            row = self._row(sobject, record_id)
            if row is None:
                continue
            lost = list(self._lost_parents(sobject, row, together))
            owner = next((parent for item, parent in lost if not item.nillable), None)
            if owner is None:
                self._restore(sobject, row, lost)
            elif position == 0:
                raise RowRefusedError("ENTITY_IS_DELETED", "entity is deleted")
            else:
                self._leave_with(record_id, owner)

    def empty(self, record_id: str) -> bool:
        """Remove a record of the bin, and what came into it with it, for good.

        Returns:
            False if it is not there, or came there only with another record.
        """
        records = self.deleted_with(record_id)
        for sobject, found in records:
            stamps = self._connection.execute(
                f"SELECT SystemModstamp FROM {quoted(sobject.name)} WHERE Id = ?", [found]
            ).fetchone()
            if stamps:
                self.remove(sobject, found, stamps[0])
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
            is_left = self._keeps_members and child.name == "CampaignMember" and item.nillable
            if cascades and not is_left:
                self._put_children(child, item, record_id, root)
            elif item.name != _MERGED_INTO:
                self._clear_lookup(child, item, record_id)

    def _put_children(self, child: SObject, item: Field, parent_id: str, root: str) -> None:
        condition = f"{quoted(item.name)} = ? AND IsDeleted = 0"
        for record_id in ids_where(self._connection, child, condition, parent_id):
            self._check(child, record_id)
            row = self._row(child, record_id)
            if row is not None and not row["IsDeleted"]:  # not taken along by another one
                self._put(child, row, root, {})

    def _clear_lookup(self, child: SObject, item: Field, parent_id: str) -> None:
        live = " AND IsDeleted = 0" if child.has_is_deleted else ""
        leading = f"{quoted(child.name)} WHERE {quoted(item.name)} = ?{live}"
        self._connection.execute(
            f"INSERT OR IGNORE INTO _cleared_lookup SELECT ?, ?, Id, ? FROM {leading}",
            [parent_id, child.name, item.name, parent_id],
        )
        self._connection.execute(
            f"UPDATE {quoted(child.name)} SET {quoted(item.name)} = NULL"
            f" WHERE {quoted(item.name)} = ?{live}",
            [parent_id],
        )

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

    def _row(self, sobject: SObject, record_id: str) -> Row | None:
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        row = cursor.execute(
            f"SELECT * FROM {quoted(sobject.name)} WHERE Id = ?", [record_id]
        ).fetchone()
        return None if row is None else dict(row)


def ids_where(
    connection: sqlite3.Connection, sobject: SObject, condition: str, parameter: Value
) -> Iterator[str]:
    """The ids of the records that meet a SQL condition, read in parts, in their order.

    Between the parts the records may change.
    """
    last = 0
    while True:
        rows = connection.execute(
            f"SELECT _n, Id FROM {quoted(sobject.name)} WHERE {condition} AND _n > ?"
            f" ORDER BY _n LIMIT {_READ_AT_ONCE}",
            [parameter, last],
        ).fetchall()
        yield from (record_id for _, record_id in rows)
        if len(rows) < _READ_AT_ONCE:
            return
        last = rows[-1][0]


def empty_bin(org: Org) -> dict[str, int]:
    """Remove every deleted record for good; how many of each sObject."""
    removed = {}
    with org.store.write() as connection:
        bin_ = RecycleBin(org.schema, connection, org.store.now(), _never, _unchecked)
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
            bin_ = RecycleBin(org.schema, connection, org.store.now(), _never, _unchecked)
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


def _never(sobject: SObject, row: Row, values: dict[str, Value]) -> None:
    raise AssertionError("emptying the recycle bin writes no record")


def _unchecked(sobject: SObject, record_id: str) -> None:
    raise AssertionError("emptying the recycle bin deletes no live record")
