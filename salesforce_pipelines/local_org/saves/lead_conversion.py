"""Lead conversion: a lead becomes a contact of an account and, if wanted, an opportunity.

The standard fields go where Salesforce's own mapping takes them; a custom field is copied only if
the org's lead field mapping names it, as `lead_field_mapping` gives and `set_lead_field_mapping`
changes. In an account or contact that was there before, only empty fields are filled. See
"convertLead()" in the SOAP API Developer Guide.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.errors import RowError, RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves.dml import Outcome, Writer
from salesforce_pipelines.local_org.saves.merging import join_members
from salesforce_pipelines.local_org.saves.record_locks import check_record_lock
from salesforce_pipelines.local_org.storage.store import Value, undoable

TARGETS = ("Account", "Contact", "Opportunity")
_SETTING = "lead_field_mapping"
_LONGEST_OPPORTUNITY_NAME = 80
_ADDRESS = (
    *("Street", "City", "State", "PostalCode", "Country"),
    *("Latitude", "Longitude", "GeocodeAccuracy"),
)
_STANDARD: dict[str, dict[str, str]] = {
    "Account": {
        "Name": "Company",
        **{f"Billing{name}": name for name in _ADDRESS},
        **{name: name for name in ("Phone", "Fax", "Website", "Industry", "Rating")},
        **{name: name for name in ("AnnualRevenue", "NumberOfEmployees")},
        "AccountSource": "LeadSource",
        "DunsNumber": "CompanyDunsNumber",
    },
    "Contact": {
        **{f"Mailing{name}": name for name in _ADDRESS},
        **{name: name for name in ("Salutation", "FirstName", "LastName", "Title", "Email")},
        **{name: name for name in ("Phone", "MobilePhone", "Fax", "Description", "LeadSource")},
        **{name: name for name in ("DoNotCall", "HasOptedOutOfEmail", "HasOptedOutOfFax")},
        "IndividualId": "IndividualId",
    },
    "Opportunity": {"LeadSource": "LeadSource"},
}
# An external id is the key of whoever wrote the lead, so the contact does not inherit it.
_COPIED_TO_CONTACT = (
    *("Personal_Email__c", "LinkedIn_URL__c", "Employee_Band__c", "Twitter__c"),
    *("Referral_Code__c", "Referral_Link__c", "Referral_Count__c"),
    *("Qualified_Referral_Count__c", "Referred_By_Code__c"),
)

LeadFieldMapping = Mapping[str, Mapping[str, str]]
"""For each of Account, Contact and Opportunity: a custom Lead field and the field it goes to."""

DEFAULT_MAPPING: LeadFieldMapping = {
    "Account": {},
    "Contact": {name: name for name in _COPIED_TO_CONTACT},
    "Opportunity": {},
}

Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class LeadConvert:
    """What a caller wants of one conversion; an empty id means a new record, or the default."""

    lead_id: str
    converted_status: str
    account_id: str = ""
    contact_id: str = ""
    opportunity_id: str = ""
    opportunity_name: str = ""
    owner_id: str = ""
    do_not_create_opportunity: bool = False
    overwrite_lead_source: bool = False


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of one conversion."""

    lead_id: str
    account_id: str | None = None
    contact_id: str | None = None
    opportunity_id: str | None = None
    errors: tuple[RowError, ...] = ()


def lead_field_mapping(org: Org) -> LeadFieldMapping:
    """Where a conversion copies the custom fields of a lead."""
    kept = org.store.setting(_SETTING)
    mapping: LeadFieldMapping = json.loads(kept) if kept else DEFAULT_MAPPING
    return mapping


def set_lead_field_mapping(org: Org, mapping: LeadFieldMapping) -> None:
    """Change where a conversion copies the custom fields of a lead.

    Raises:
        PipelineError: A field is unknown, or the two fields of a pair do not fit each other.
    """
    for target, fields in mapping.items():
        if target not in TARGETS:
            raise PipelineError(
                f"Lead field mapping: a lead becomes {', '.join(TARGETS)}, not {target}"
            )
        for source, destination in fields.items():
            _check_pair(org.schema, source, target, destination)
    kept = {target: dict(mapping.get(target, {})) for target in TARGETS}
    with org.store.write() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO _setting VALUES (?, ?)", [_SETTING, json.dumps(kept)]
        )


def convert_lead(
    org: Org, writer: Writer, mapping: LeadFieldMapping, wanted: LeadConvert
) -> Converted:
    """Convert one lead; a conversion that is refused leaves no trace.

    Args:
        writer: Reads values as texts.
        mapping: As `lead_field_mapping` gives it.
    """
    try:
        with undoable(writer.connection):
            return _Conversion(org, writer, mapping, wanted).run()
    except RowRefusedError as refusal:
        return Converted(wanted.lead_id, errors=(refusal.error,))


def end_of_quarter(day: date) -> date:
    """The last day of a day's calendar quarter."""
    first_month_after = (day.month + 2) // 3 * 3 + 1
    return date(
        day.year + first_month_after // 13, (first_month_after - 1) % 12 + 1, 1
    ) - timedelta(days=1)


def _check_pair(schema: Schema, source: str, target: str, destination: str) -> None:
    lead_field, field = schema["Lead"].field(source), schema[target].field(destination)
    pair = f"Lead field mapping {source} -> {target}.{destination}"
    if lead_field is None or not lead_field.custom or not lead_field.is_stored:
        raise PipelineError(f"{pair}: Lead has no custom field {source} that keeps a value")
    if field is None or not field.custom or not field.createable:
        raise PipelineError(f"{pair}: {target} has no custom field {destination} to write to")
    if field.type != lead_field.type or field.length < lead_field.length:
        raise PipelineError(f"{pair}: the fields differ in type, or the second one is shorter")


class _Conversion:
    def __init__(
        self, org: Org, writer: Writer, mapping: LeadFieldMapping, wanted: LeadConvert
    ) -> None:
        self._org = org
        self._schema = org.schema
        self._writer = writer
        self._mapping = mapping
        self._wanted = wanted
        self._connection = writer.connection
        self._lead: Row = {}

    def run(self) -> Converted:
        self._lead = self._writer.existing(self._schema["Lead"], self._wanted.lead_id)
        if self._lead["IsConverted"]:
            raise RowRefusedError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        check_record_lock(self._org, str(self._lead["Id"]))
        status = self._status()
        self._check_arguments()
        account = self._account()
        contact = self._contact(account)
        opportunity = self._opportunity(account, contact)
        self._move_memberships(contact)
        self._writer.write_by_rules(
            self._schema["Lead"],
            self._lead,
            {
                "IsConverted": 1,
                "ConvertedDate": self._writer.now[:10],
                "ConvertedAccountId": account,
                "ConvertedContactId": contact,
                "ConvertedOpportunityId": opportunity,
                "Status": status,
                "IsUnreadByOwner": 0,
            },
        )
        return Converted(str(self._lead["Id"]), account, contact, opportunity)

    def _status(self) -> str:
        given = self._wanted.converted_status
        row = self._connection.execute(
            "SELECT ApiName FROM LeadStatus WHERE MasterLabel = ? AND IsConverted", [given]
        ).fetchone()
        if row is None:
            raise RowRefusedError("INVALID_STATUS", f"invalid convertedStatus: {given}")
        return str(row[0])

    def _check_arguments(self) -> None:
        wanted = self._wanted
        if wanted.contact_id and not wanted.account_id:
            message = "accountId must be specified if contactId is"
            raise RowRefusedError("MISSING_ARGUMENT", message)
        if wanted.opportunity_id and wanted.opportunity_name:
            message = "opportunityId and opportunityName cannot both be specified"
            raise RowRefusedError("INVALID_OPERATION", message)
        name = wanted.opportunity_name
        if len(name) > _LONGEST_OPPORTUNITY_NAME:
            message = (
                f"Opportunity Name: data value too large: {name[:255]}"
                f" (max length={_LONGEST_OPPORTUNITY_NAME})"
            )
            raise RowRefusedError("STRING_TOO_LONG", message)

    def _owner(self) -> str:
        owner = self._wanted.owner_id or str(self._lead["OwnerId"])
        if not owner.startswith(self._schema["User"].key_prefix):
            message = (
                "Converted objects can only be owned by users.  If the lead is not owned by a user,"
                " you must specify a user for the Owner field."
            )
            raise RowRefusedError("UNKNOWN_EXCEPTION", message)
        return owner

    def _account(self) -> str:
        sobject = self._schema["Account"]
        if self._wanted.account_id:
            existing = self._writer.existing(sobject, self._wanted.account_id)
            self._fill(sobject, existing, self._copied(sobject))
            return str(existing["Id"])
        return self._create(sobject, self._copied(sobject) | {"OwnerId": self._owner()})

    def _contact(self, account: str) -> str:
        sobject = self._schema["Contact"]
        values = self._copied(sobject)
        if not self._wanted.contact_id:
            return self._create(sobject, values | {"AccountId": account, "OwnerId": self._owner()})
        existing = self._writer.existing(sobject, self._wanted.contact_id)
        if existing["AccountId"] != account:
            message = "contactId is not a contact of accountId"
            raise RowRefusedError("INVALID_CROSS_REFERENCE_KEY", message)
        overwritten = ("LeadSource",) if self._wanted.overwrite_lead_source else ()
        self._fill(sobject, existing, values, overwritten)
        return str(existing["Id"])

    def _opportunity(self, account: str, contact: str) -> str | None:
        sobject = self._schema["Opportunity"]
        if self._wanted.opportunity_id:
            existing = self._writer.existing(sobject, self._wanted.opportunity_id)
            if existing["AccountId"] != account:
                message = "opportunityId is not an opportunity of the account"
                raise RowRefusedError("INVALID_CROSS_REFERENCE_KEY", message)
            self._add_role(str(existing["Id"]), contact)
            return str(existing["Id"])
        if self._wanted.do_not_create_opportunity:
            return None
        first_stage = self._connection.execute(
            "SELECT MasterLabel FROM OpportunityStage WHERE IsActive ORDER BY SortOrder LIMIT 1"
        ).fetchone()[0]
        longest = sobject.field("Name")
        name = self._wanted.opportunity_name or f"{self._lead['Company']}-"
        opportunity = self._create(
            sobject,
            self._copied(sobject)
            | {
                "Name": name[: longest.length if longest else None],
                "StageName": first_stage,
                "CloseDate": end_of_quarter(date.fromisoformat(self._writer.now[:10])).isoformat(),
                "AccountId": account,
                "OwnerId": self._owner(),
                "CampaignId": self._latest_campaign(),
            },
        )
        self._add_role(opportunity, contact)
        return opportunity

    def _latest_campaign(self) -> str | None:
        """The campaign that the lead responded to last, or else was added to last."""
        row = self._connection.execute(
            "SELECT CampaignId FROM CampaignMember WHERE LeadId = ? AND IsDeleted = 0"
            " ORDER BY FirstRespondedDate IS NULL, FirstRespondedDate DESC, CreatedDate DESC,"
            " _n DESC LIMIT 1",
            [self._lead["Id"]],
        ).fetchone()
        return None if row is None else str(row[0])

    def _add_role(self, opportunity: str, contact: str) -> None:
        """Connect contact and opportunity; the first one to be connected is the primary one."""
        roles = self._connection.execute(
            "SELECT ContactId, IsPrimary FROM OpportunityContactRole"
            " WHERE OpportunityId = ? AND IsDeleted = 0",
            [opportunity],
        ).fetchall()
        if any(known == contact for known, _ in roles):
            return
        is_primary = not any(primary for _, primary in roles)
        self._create(
            self._schema["OpportunityContactRole"],
            {"OpportunityId": opportunity, "ContactId": contact, "IsPrimary": is_primary},
        )

    def _move_memberships(self, contact: str) -> None:
        sobject = self._schema["CampaignMember"]
        own = {row["CampaignId"]: row for row in self._memberships("ContactId", contact)}
        lead_id = self._lead["Id"]
        for member in self._memberships("LeadId", str(lead_id)):
            kept = own.get(member["CampaignId"])
            if kept is None:
                check_record_lock(self._org, str(member["Id"]))
                self._writer.write(sobject, member, {"ContactId": contact})
            else:
                join_members(self._writer, self._org, kept, member, {"LeadId": lead_id})

    def _memberships(self, column: str, person_id: str) -> list[Row]:
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        rows = cursor.execute(
            f"SELECT * FROM CampaignMember WHERE {column} = ? AND IsDeleted = 0 ORDER BY _n",
            [person_id],
        ).fetchall()
        return [dict(row) for row in rows]

    def _copied(self, sobject: SObject) -> dict[str, Value]:
        """What the lead gives to a record, by that record's fields."""
        pairs = dict(_STANDARD[sobject.name])
        pairs |= {to: source for source, to in self._mapping.get(sobject.name, {}).items()}
        values = {}
        for name, source in pairs.items():
            item = sobject.field(name)
            value = self._lead.get(source)
            if item is not None and item.createable and value is not None:
                values[item.name] = _fitting(item, value)
        return values

    def _fill(
        self,
        sobject: SObject,
        existing: Row,
        values: Mapping[str, Value],
        overwritten: tuple[str, ...] = (),
    ) -> None:
        """Write what an existing record has no value for."""
        changes = {
            name: value
            for name, value in values.items()
            if existing.get(name) is None or (name in overwritten and existing[name] != value)
        }
        if changes:
            _written(self._writer.update(sobject, str(existing["Id"]), changes))

    def _create(self, sobject: SObject, values: Mapping[str, Value]) -> str:
        return _written(self._writer.create(sobject, values))


def _fitting(item: Field, value: Value) -> Value:
    if item.is_text and isinstance(value, str):
        return value[: item.length]
    return value


def _written(outcome: Outcome) -> str:
    if outcome.errors:
        error = outcome.errors[0]
        raise RowRefusedError(error.code, error.message, *error.fields)
    return str(outcome.id)
