"""Merging: up to two records give way to a master of the same sObject.

The master takes the values that the caller chose, the records that belonged to the others become
its own, and the others go to the recycle bin with `MasterRecordId`. See "merge()" in the SOAP API
Developer Guide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from salesforce_pipelines.local_org.errors import RowError, RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import Field, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves import campaign_members
from salesforce_pipelines.local_org.saves.dml import Outcome, Writer
from salesforce_pipelines.local_org.saves.record_locks import check_record_lock
from salesforce_pipelines.local_org.saves.recycle_bin import ids_where
from salesforce_pipelines.local_org.storage.store import Value, quoted, undoable

MOST_VICTIMS = 2

Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of one merge.

    Attributes:
        id: The master's id as it was given.
        victims: The records that gave way.
        related: The records that now belong to the master instead.
    """

    id: str
    victims: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    errors: tuple[RowError, ...] = ()


def merge(
    org: Org,
    writer: Writer,
    sobject: SObject,
    master_id: str,
    values: Mapping[str, object],
    victim_ids: Sequence[str],
) -> Merged:
    """Merge records into a master; a merge that is refused leaves no trace.

    Args:
        sobject: What all of them are records of.
        values: What to write to the master, as the writer reads it.
    """
    try:
        with undoable(writer.connection):
            return _Merge(org, writer, sobject).run(master_id, values, victim_ids)
    except RowRefusedError as refusal:
        return Merged(master_id, errors=(refusal.error,))


class _Merge:
    def __init__(self, org: Org, writer: Writer, sobject: SObject) -> None:
        self._org = org
        self._writer = writer
        self._sobject = sobject
        self._connection = writer.connection

    def run(
        self, master_id: str, values: Mapping[str, object], victim_ids: Sequence[str]
    ) -> Merged:
        if not self._sobject.mergeable:
            message = f"entity type {self._sobject.label} does not support merge"
            raise RowRefusedError("INVALID_TYPE_FOR_OPERATION", message)
        if not 1 <= len(victim_ids) <= MOST_VICTIMS:
            message = f"merge requires 1 to {MOST_VICTIMS} records to merge into the master record"
            raise RowRefusedError("INVALID_OPERATION", message)
        master, *victims = (self._mergeable(given) for given in (master_id, *victim_ids))
        ids = tuple(str(row["Id"]) for row in victims)
        if len({str(master["Id"]), *ids}) != len(ids) + 1:
            raise RowRefusedError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        _raise_refusal(self._writer.update(self._sobject, str(master["Id"]), values))
        related: dict[str, None] = {}
        for victim_id in ids:
            related |= dict.fromkeys(self._reparent(victim_id, str(master["Id"])))
            victim = self._writer.existing(self._sobject, victim_id)
            self._writer.merge_into(self._sobject, str(master["Id"]), victim)
        return Merged(str(master["Id"]), ids, tuple(name for name in related if name not in ids))

    def _mergeable(self, given: str) -> Row:
        row = self._writer.existing(self._sobject, given)
        if row.get("IsConverted"):
            raise RowRefusedError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        return row

    def _reparent(self, victim_id: str, master_id: str) -> list[str]:
        """Give the master what belongs to a victim; the live records that changed."""
        changed = []
        for relation in self._org.schema.children(self._sobject):
            child = self._org.schema[relation.child]
            item = child.field(relation.field)
            # Without a stamp it is the field history of its parent, which stays the victim's.
            if item is None or not item.is_stored or not child.field("SystemModstamp"):
                continue
            if item.name != "MasterRecordId":
                changed += self._reparent_children(child, item, victim_id, master_id)
        return changed

    def _reparent_children(
        self, child: SObject, item: Field, victim_id: str, master_id: str
    ) -> list[str]:
        changed = []
        for record_id in ids_where(self._connection, child, f"{quoted(item.name)} = ?", victim_id):
            row = self._writer.stored(child, record_id)
            if row is None or row[item.name] != victim_id:  # what came before has changed it
                continue
            if child.has_is_deleted and row["IsDeleted"]:
                self._connection.execute(
                    f"UPDATE {quoted(child.name)} SET {quoted(item.name)} = ? WHERE Id = ?",
                    [master_id, record_id],
                )
                continue
            if child.name == "CampaignMember" and self._joins_member(row, item, master_id):
                continue
            check_record_lock(self._org, record_id)
            # A record that led to the victim and is the master itself leads nowhere any more.
            parent = None if record_id == master_id else master_id
            self._writer.write(child, row, {item.name: parent})
            changed.append(record_id)
        return changed

    def _joins_member(self, member: Row, item: Field, master_id: str) -> bool:
        """Drop a member of a campaign that the master is a member of already."""
        found = self._connection.execute(
            f"SELECT Id FROM CampaignMember WHERE {quoted(item.name)} = ? AND CampaignId = ?"
            " AND IsDeleted = 0 ORDER BY _n LIMIT 1",
            [master_id, member["CampaignId"]],
        ).fetchone()
        kept = self._writer.stored(self._org.schema["CampaignMember"], found[0]) if found else None
        if kept is None:
            return False
        join_members(self._writer, self._org, kept, member, {})
        return True


def join_members(
    writer: Writer, org: Org, kept: Row, dropped: Row, values: dict[str, Value]
) -> None:
    """Let one of two members of a campaign stand for both, with the status that is further along.

    Args:
        values: What else to write to the one that is kept.
    """
    sobject = org.schema["CampaignMember"]
    statuses = campaign_members.member_statuses(writer.connection, kept["CampaignId"])
    furthest = campaign_members.furthest(statuses, kept["Status"], dropped["Status"])
    responded = [row["FirstRespondedDate"] for row in (kept, dropped) if row["FirstRespondedDate"]]
    changes = {
        "Status": furthest,
        "FirstRespondedDate": min(map(str, responded), default=None),
        **values,
    }
    changes = {name: value for name, value in changes.items() if kept[name] != value}
    _raise_refusal(writer.delete(sobject, str(dropped["Id"])))
    if changes:
        check_record_lock(org, str(kept["Id"]))
        writer.write(sobject, kept, changes)


def _raise_refusal(outcome: Outcome) -> None:
    if outcome.errors:
        error = outcome.errors[0]
        raise RowRefusedError(error.code, error.message, *error.fields)
