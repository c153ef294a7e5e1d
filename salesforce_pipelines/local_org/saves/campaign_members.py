"""The rules of campaign members and of the statuses that a campaign's members may have.

A member's Status is one of its campaign's CampaignMemberStatus labels, and that status says
whether the member has responded. See "CampaignMember" in the Salesforce Object Reference.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.errors import RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import Schema
from salesforce_pipelines.local_org.storage.ids import IdFactory
from salesforce_pipelines.local_org.storage.state import State
from salesforce_pipelines.local_org.storage.store import (
    Value,
    insert_statement,
    next_number,
)

if TYPE_CHECKING:  # it calls this module
    from salesforce_pipelines.local_org.saves.saving import Saving


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One status that a campaign's members may have."""

    label: str
    is_default: bool
    has_responded: bool


NEW_CAMPAIGN = (MemberStatus("Sent", True, False), MemberStatus("Responded", False, True))
"""The statuses of a new campaign, in their order."""

_NEW_CAMPAIGN: Mapping[str, tuple[MemberStatus, ...]] = {
    "sent_responded": NEW_CAMPAIGN,
    "planned_sent_received_responded": (
        MemberStatus("Planned", False, False),
        NEW_CAMPAIGN[0],
        MemberStatus("Received", False, False),
        NEW_CAMPAIGN[1],
    ),
    "none": (),
}
"""The same, by the choices of the switch `new_campaign_statuses`."""


def complete(
    connection: sqlite3.Connection,
    row: dict[str, Value],
    before: Mapping[str, Value] | None,
    now: str,
    state: State,
) -> None:
    """Fill in what a member's values leave open, and refuse a member that may not be.

    Raises:
        RowRefusedError: It is nobody's, a converted lead's, or a second one of somebody, or has a
            status that its campaign lacks and that is not to become the default one.
    """
    campaign = before["CampaignId"] if before is not None else row.get("CampaignId")
    if "Status" in row or before is None:
        statuses = member_statuses(connection, campaign)
        status = _status(statuses, row.get("Status"))
        if choice(state, "campaign_member_unknown_status") == "refused":
            _check_known(status, row.get("Status"))
        row["Status"] = status.label
        earlier = before is not None and before["FirstRespondedDate"]
        if status.has_responded and not earlier:
            row["FirstRespondedDate"] = now[:10]
    if before is None:
        _check_new(connection, row)


def member_statuses(connection: sqlite3.Connection, campaign_id: Value) -> list[MemberStatus]:
    """The statuses of a campaign's members, in their order."""
    rows = connection.execute(
        "SELECT Label, IsDefault, HasResponded FROM CampaignMemberStatus"
        " WHERE CampaignId = ? AND IsDeleted = 0 ORDER BY SortOrder, _n",
        [campaign_id],
    ).fetchall()
    return [MemberStatus(row[0], bool(row[1]), bool(row[2])) for row in rows] or [*NEW_CAMPAIGN]


def furthest(statuses: list[MemberStatus], *labels: Value) -> str:
    """The label of the status that is furthest along: with a response, then later in the order."""
    known = [_status(statuses, label) for label in labels]
    return max(known, key=lambda status: (status.has_responded, statuses.index(status))).label


def follow_saved(saving: "Saving") -> None:
    """Give a new campaign its statuses, and let a campaign have one default status only."""
    if saving.sobject.name == "Campaign" and saving.is_new:
        status = saving.org.schema["CampaignMemberStatus"]
        chosen = _NEW_CAMPAIGN[choice(saving.org.state, "new_campaign_statuses")]
        for values in _new_campaign_rows(saving.record_id, chosen):
            saving.insert(status, values)
    if saving.sobject.name == "CampaignMemberStatus" and saving.values.get("IsDefault"):
        saving.connection.execute(
            "UPDATE CampaignMemberStatus SET IsDefault = 0, LastModifiedDate = ?,"
            " LastModifiedById = ?, SystemModstamp = ?"
            " WHERE CampaignId = ? AND IsDefault = 1 AND Id <> ?",
            [saving.now, saving.user_id, saving.now, saving.value("CampaignId"), saving.record_id],
        )


def add_statuses(
    connection: sqlite3.Connection, schema: Schema, ids: IdFactory, user_id: str
) -> None:
    """Give the campaigns of a new org that were generated their statuses."""
    sobject = schema["CampaignMemberStatus"]
    campaigns = connection.execute("SELECT Id, CreatedDate FROM Campaign").fetchall()
    number = next_number(connection, sobject)
    for campaign_id, created in campaigns:
        for values in _new_campaign_rows(campaign_id):
            row = {
                "Id": ids.record_id(sobject.key_prefix, number),
                **values,
                "CreatedDate": created,
                "CreatedById": user_id,
                "LastModifiedDate": created,
                "LastModifiedById": user_id,
                "SystemModstamp": created,
            }
            connection.execute(insert_statement(sobject, list(row)), [number, *row.values()])
            number += 1


def _new_campaign_rows(
    campaign_id: Value, statuses: Sequence[MemberStatus] = NEW_CAMPAIGN
) -> list[dict[str, Value]]:
    return [
        {
            "CampaignId": campaign_id,
            "Label": status.label,
            "SortOrder": order,
            "IsDefault": int(status.is_default),
            "HasResponded": int(status.has_responded),
        }
        for order, status in enumerate(statuses, start=1)
    ]


def _status(statuses: list[MemberStatus], label: Value) -> MemberStatus:
    """The status of that label, whatever its letter case; else silently the default one."""
    for status in statuses:
        if status.label.lower() == str(label).lower():
            return status
    return next((status for status in statuses if status.is_default), statuses[0])


def _check_known(status: MemberStatus, label: Value) -> None:
    """Refuse a label that is written and is not that of the status that was found for it."""
    if label is not None and str(label).lower() != status.label.lower():
        message = f"Status: bad value for restricted picklist field: {label}"
        raise RowRefusedError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, "Status")


def _check_new(connection: sqlite3.Connection, row: dict[str, Value]) -> None:
    column = "ContactId" if row.get("ContactId") else "LeadId"
    if not row.get(column):
        message = "A campaign member needs a lead or contact"
        raise RowRefusedError("FIELD_INTEGRITY_EXCEPTION", message, "LeadId", "ContactId")
    if column == "ContactId":
        row["LeadId"] = None
    elif _is_converted(connection, row["LeadId"]):
        raise RowRefusedError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    duplicate = connection.execute(
        f"SELECT 1 FROM CampaignMember WHERE CampaignId = ? AND {column} = ? AND IsDeleted = 0",
        [row.get("CampaignId"), row[column]],
    ).fetchone()
    if duplicate:
        raise RowRefusedError("DUPLICATE_VALUE", "Already a campaign member.")


def _is_converted(connection: sqlite3.Connection, lead_id: Value) -> bool:
    sql = "SELECT 1 FROM Lead WHERE Id = ? AND IsConverted AND NOT IsDeleted"
    return connection.execute(sql, [lead_id]).fetchone() is not None
