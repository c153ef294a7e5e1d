"""The models of `pipelines.yaml`: the only place where behaviour is chosen."""

import re
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

IdentifierKind = Literal["work_email", "personal_email", "phone", "linkedin_url", "name_company"]
IDENTIFIER_KINDS: tuple[IdentifierKind, ...] = (
    "work_email",
    "personal_email",
    "phone",
    "linkedin_url",
    "name_company",
)
SYSTEM_FIELDS = ("Id", "IsDeleted", "CreatedDate", "LastModifiedDate", "SystemModstamp")
TABLE_NAMES = {
    "Account": "accounts",
    "Campaign": "campaigns",
    "CampaignMember": "campaign_members",
    "Contact": "contacts",
    "Lead": "leads",
    "Opportunity": "opportunities",
    "User": "users",
}
"""What the tables and assets of an sObject are called."""


_MERGEABLE = ("Account", "Contact", "Lead")
_CONVERSION_FIELDS = (
    "IsConverted",
    "ConvertedDate",
    "ConvertedAccountId",
    "ConvertedContactId",
    "ConvertedOpportunityId",
)


class WriteRule(StrEnum):
    """When a value may replace the one that stands in the org."""

    FILL_IF_BLANK = "fill_if_blank"
    OVERWRITE = "overwrite"
    OVERWRITE_IF_NEWER = "overwrite_if_newer"
    OVERWRITE_OWN = "overwrite_own"
    APPEND = "append"
    NEVER = "never"


RESERVED_COLUMNS = frozenset(
    {
        "Id",
        "identifier",
        "provider",
        "provider_version",
        "provider_updated_at",
        "plan_id",
        "enriched_at",
        "columns_read",
    }
)
"""Columns of enriched records that are ours, so no column of a provider may have their name."""


class TimeFrame(StrEnum):
    """How often the scheduled sync runs."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


_DURATION = re.compile(r"(\d+)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


_SOQL_STRING = re.compile(r"'(?:\\.|[^'\\])*'", re.DOTALL)
_SOQL_CLAUSE = re.compile(
    r"^(?:where|select)\b|\b(?:order\s+by|group\s+by|limit|offset|using\s+scope)\b", re.IGNORECASE
)


def _duration(value: object) -> object:
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a duration such as 60s, 10m, 2h or 1d")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def _off_is_a_word(value: object) -> object:
    # YAML reads off as false.
    return "off" if value is False else value


def _api_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value):
        raise ValueError(f"{value!r} is not an API name of a field (letters, digits, underscores)")
    return value


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder: Path | None = (info.context or {}).get("folder")
    return path if folder is None else folder / path.expanduser()


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\s*(s|m|h|d)$"}),
]
ApiName = Annotated[str, AfterValidator(_api_name)]
FilePath = Annotated[Path, AfterValidator(_beside_the_file)]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Model(BaseModel):
    """A part of the configuration: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Connection(Model):
    """How to reach the org. Secrets come from the environment (see `config.environment`)."""

    login_url: str = Field(
        pattern=r"^https?://[^/\s]+$",
        description="The org's My Domain URL, such as https://example.my.salesforce.com, "
        "without a path. SALESFORCE_LOGIN_URL takes precedence.",
    )
    grant: Literal["client_credentials", "refresh_token"] = Field(
        "client_credentials", description="The OAuth 2.0 grant that gives access tokens."
    )
    api_version: str = Field("62.0", pattern=r"^\d{2}\.0$", description="REST API version.")
    timeout: Duration = Field("120s", validate_default=True, description="Longest silence allowed.")

    @model_validator(mode="after")
    def _has_its_own_host(self) -> Self:
        if self.grant == "client_credentials" and re.match(
            r"https://(login|test)\.salesforce\.com$", self.login_url
        ):
            raise ValueError(
                "client_credentials works only on the org's My Domain host, "
                "https://….my.salesforce.com, not on login or test.salesforce.com"
            )
        return self


class Storage(Model):
    """Where tables and the ledger are kept; relative paths start at the configuration's folder."""

    tables: str = Field(description="A folder, or the URL of a place in an object store.")
    ledger: str = Field(
        pattern=r"^(sqlite:///|postgresql(\+psycopg2)?://)",
        description="SQLAlchemy URL of the ledger: sqlite:///file.db or postgresql+psycopg2://…. "
        "SALESFORCE_PIPELINES_LEDGER takes precedence, for URLs with a password.",
    )
    scratch: FilePath = Field(
        description="A local folder for what can be made again, such as the index of people data."
    )
    keep_days: int = Field(
        7,
        ge=1,
        description="Days for which old versions of the tables are kept, and open plans wait: what "
        "a plan shows is such a version. More than the longest run lasts.",
    )

    @model_validator(mode="before")
    @classmethod
    def _beside_the_file(cls, data: object, info: ValidationInfo) -> object:
        folder: Path | None = (info.context or {}).get("folder")
        if not isinstance(data, dict) or folder is None:
            return data
        found = dict(data)
        tables, ledger = found.get("tables"), found.get("ledger")
        if isinstance(tables, str) and "://" not in tables:
            found["tables"] = str(folder / Path(tables).expanduser())
        if isinstance(ledger, str):
            found["ledger"] = ledger_beside(folder, ledger)
        return found


def ledger_beside(folder: Path, url: str) -> str:
    """The URL of a ledger; the path of a SQLite file starts at the folder."""
    if not url.startswith("sqlite:///"):
        return url
    return f"sqlite:///{folder / Path(url.removeprefix('sqlite:///')).expanduser()}"


class Pull(Model):
    """How changes are read from the org."""

    lag: Duration = Field(
        "60s",
        validate_default=True,
        description="Rows stamped within this time before the org's clock are left to the next "
        "pull: a row can become visible after its stamp.",
    )
    overlap: Duration = Field(
        "10m",
        validate_default=True,
        description="How far before the watermark an incremental pull reads again.",
    )
    bulk_threshold: int = Field(
        10_000, ge=1, description="From this many rows on, Bulk API 2.0 is used instead of REST."
    )
    job_timeout: Duration = Field(
        "3h",
        ge=timedelta(minutes=1),
        validate_default=True,
        description="How long a Bulk job is waited for. A query job that takes longer is aborted; "
        "an ingest job of a push is not, for a part of it may be written.",
    )
    reconcile: bool = Field(
        True, description="Whether the sync compares every table with the org and heals it."
    )
    reconciled_ids: int = Field(
        2_000,
        ge=0,
        description="Records whose Ids each reconciliation compares in turn, besides the counts.",
    )
    formula_refresh: Annotated[
        Literal["off", "hourly", "daily", "weekly"], BeforeValidator(_off_is_a_word)
    ] = Field(
        "daily",
        description="How often formula fields are read anew: they change without moving the "
        "record's SystemModstamp.",
    )


class ApiBudget(Model):
    """How many of the org's API calls pulls may use; pushes and enrichment are only counted."""

    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The most of the org's daily allowance of API calls that this installation "
        "may use in 24 hours, from 0 to 1.",
    )
    floor: int = Field(
        1_000,
        ge=0,
        description="Calls of the org's allowance that pulls leave for others, but never more "
        "than share leaves them anyway.",
    )


class NameCompany(Model):
    """The three parts of the identifier first + last name + company."""

    first: str
    last: str
    company: str = Field(
        description="A field or column; on a Contact also Account.Name, the name of its Account."
    )


class Identifiers(Model):
    """Which fields (of an sObject) or columns (of people data) hold which identifier."""

    work_email: tuple[str, ...] = ()
    personal_email: tuple[str, ...] = ()
    phone: tuple[str, ...] = ()
    linkedin_url: tuple[str, ...] = ()
    name_company: NameCompany | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if not self.kinds():
            raise ValueError(f"map at least one identifier: {', '.join(IDENTIFIER_KINDS)}")
        return self

    def kinds(self) -> tuple[IdentifierKind, ...]:
        """The identifiers that are mapped, strongest first."""
        return tuple(kind for kind in IDENTIFIER_KINDS if getattr(self, kind))

    def columns(self) -> tuple[str, ...]:
        """Every field or column that is read, each once."""
        names = [*self.work_email, *self.personal_email, *self.phone, *self.linkedin_url]
        if self.name_company is not None:
            names += [self.name_company.first, self.name_company.last, self.name_company.company]
        return tuple(dict.fromkeys(names))


class FieldMapping(Model):
    """One field of the org that may be written: from which column of people data, by which rule."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str = Field(alias="from", description="The column that the value comes from.")
    rule: WriteRule = WriteRule.FILL_IF_BLANK
    allow_blank: bool = Field(False, description="Whether a blank value may erase what stands.")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: object) -> object:
        return {"from": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _not_reserved(self) -> Self:
        # Tables cannot hold two columns that differ in case alone.
        if self.source.lower() in {name.lower() for name in RESERVED_COLUMNS}:
            raise ValueError(f"{self.source!r} is a name of our own; rename the provider's column")
        return self


class ListViewScope(Model):
    """The records of a list view, by its condition at the time of each pull."""

    list_view: str = Field(min_length=1, description="The list view's API name or label.")


class SoqlScope(Model):
    """The records that fit a condition."""

    soql: str = Field(
        min_length=1, description="A SOQL condition, without WHERE: Country__c = 'US'."
    )

    @field_validator("soql")
    @classmethod
    def _is_a_condition(cls, value: str) -> str:
        condition = value.strip()
        masked = _SOQL_STRING.sub("''", condition)
        if clause := _SOQL_CLAUSE.search(masked):
            raise ValueError(f"write the condition alone, without {clause[0]}")
        if masked.count("(") != masked.count(")") or masked.count("'") % 2:
            raise ValueError("its parentheses or quotes do not match")
        return condition


Scope = ListViewScope | SoqlScope


class SObjectPull(Model):
    """What is pulled of one sObject, besides its system fields."""

    fields: tuple[ApiName, ...] | Literal["all"] = Field(
        (), description="Further fields; `all` for every field that the org shows."
    )
    scope: Scope | None = Field(
        None, description="Only the records of a list view or of a SOQL condition; all by default."
    )


class PersonObject(SObjectPull):
    """What is pulled of Contact or Lead, how its people are identified, and what may be written."""

    identifiers: Identifiers
    mapping: dict[ApiName, FieldMapping] = Field(
        default_factory=dict,
        description="Field of the org: column of the provider. Nothing else is ever written.",
    )


class Objects(Model):
    """The sObjects that are pulled."""

    Contact: PersonObject | None = None
    Lead: PersonObject | None = None
    Account: SObjectPull | None = None
    Campaign: SObjectPull | None = None
    CampaignMember: SObjectPull | None = None
    Opportunity: SObjectPull | None = None
    User: SObjectPull | None = None

    def people(self) -> "dict[str, PersonObject]":
        """Contact and Lead, those that are configured."""
        found = {"Contact": self.Contact, "Lead": self.Lead}
        return {name: value for name, value in found.items() if value is not None}

    def pulled(self) -> "dict[str, SObjectPull]":
        """Every configured sObject by its API name."""
        return {
            name: value
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
        }


class Matching(Model):
    """How a record is matched with the provider's people."""

    order: tuple[IdentifierKind, ...] = Field(
        IDENTIFIER_KINDS, description="The first identifier with a hit decides."
    )
    conflicts: Literal["park", "first"] = Field(
        "park",
        description="When identifiers of one record point at different people: park the record for "
        "a person to look at, or let the first identifier decide.",
    )
    nicknames: bool = Field(
        True, description="Whether Bernie and Bernard may be the same first name at one company."
    )
    default_region: str = Field(
        "US", pattern=r"^[A-Z]{2}$", description="Country of telephone numbers without a prefix."
    )


class FileProvider(Model):
    """A provider of people data that is a CSV file."""

    kind: Literal["file"]
    name: Slug
    path: FilePath
    person_id: str = Field(description="The column that names a person, unique in the file.")
    identifiers: Identifiers
    separator: str = Field(
        ";", min_length=1, description="What stands between several values in one cell."
    )
    updated_at: str | None = Field(
        None, description="A column with the ISO date of each person's data, if there is one."
    )
    credits_per_person: int = Field(1, ge=0)


class Enrichment(Model):
    """Where people data comes from and what may be spent on it."""

    provider: FileProvider
    max_credits_per_plan: int = Field(
        10_000, ge=0, description="A plan beyond this cannot be confirmed."
    )


class CampaignMembers(Model):
    """The Leads or Contacts of one campaign."""

    campaign: str = Field(description="The campaign's Id or exact name.")


class LeadField(Model):
    """A referral qualifies when a field of the referred Lead reaches a value."""

    method: Literal["lead_field"]
    field: ApiName
    value: str
    code_field: ApiName = Field(
        description="The Lead's field that holds the code of the referrer who sent the lead."
    )


class NoQualification(Model):
    """Referrals are counted but never qualify."""

    method: Literal["none"]


LinkColumn = Literal["link", "code", "referrals", "qualified_referrals"]


class LinkField(Model):
    """One field of the member's record that may be written with its link, code or counts."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: LinkColumn = Field(alias="from")
    rule: WriteRule = WriteRule.OVERWRITE_OWN

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: object) -> object:
        return {"from": data} if isinstance(data, str) else data


class Program(Model):
    """A referral program: who its members are, their links, and when a referral qualifies."""

    members: Literal["Contact", "Lead"] | CampaignMembers
    link: str = Field(
        pattern=r"^https?://\S*\{code\}\S*$",
        description="The link's pattern; {code} stands for the member's referral code.",
    )
    write_back: dict[ApiName, LinkField] = Field(default_factory=dict)
    qualification: Annotated[LeadField | NoQualification, Field(discriminator="method")] = Field(
        default_factory=lambda: NoQualification(method="none")
    )

    def member_object(self) -> str:
        """The sObject whose records are the members and carry the links."""
        return self.members if isinstance(self.members, str) else "CampaignMember"


class Schedule(Model):
    """When the sync runs by itself: one of four time frames, anchored at a start."""

    time_frame: TimeFrame
    start: datetime = Field(
        description="Date and time of the first run; gives minute, hour, weekday and day of month."
    )
    time_zone: str = "UTC"

    @model_validator(mode="after")
    def _known_zone(self) -> Self:
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(
                f"{self.time_zone!r} is not an IANA time zone such as Europe/Paris"
            ) from error
        if self.start.tzinfo is not None:
            raise ValueError("write start without an offset; time_zone says where it is")
        return self

    def anchor(self) -> datetime:
        """The start as an aware datetime in the schedule's time zone."""
        return self.start.replace(tzinfo=ZoneInfo(self.time_zone))


class Sensors(Model):
    """What runs between the schedules. The sensors can also be switched in the Dagster UI."""

    org_changes: bool = Field(False, description="Start an incremental pull when the org changed.")
    confirmed_plans: bool = Field(True, description="Carry out plans that a person confirmed.")
    qualification: bool = Field(False, description="Look for referrals that qualify.")
    interval: Duration = Field("5m", validate_default=True, description="Time between two looks.")


class Pipelines(Model):
    """The whole of `pipelines.yaml`."""

    connection: Connection
    storage: Storage
    pull: Pull = Field(default_factory=Pull)
    api_budget: ApiBudget = Field(default_factory=ApiBudget)
    objects: Objects
    matching: Matching = Field(default_factory=Matching)
    enrichment: Enrichment
    referrals: dict[Slug, Program] = Field(default_factory=dict)
    schedule: Schedule
    sensors: Sensors = Field(default_factory=Sensors)
    owners: tuple[Annotated[str, Field(pattern=r"^(team:\w+|[^@\s]+@[^@\s]+)$")], ...] = Field(
        (), description="E-mail addresses, or team:name, shown as the owners of every asset."
    )

    @model_validator(mode="after")
    def _objects_fit(self) -> Self:
        needed: dict[str, str] = {}
        for name, person in self.objects.people().items():
            company = person.identifiers.name_company and person.identifiers.name_company.company
            if company and "." in company:
                if (name, company) != ("Contact", "Account.Name"):
                    raise ValueError(
                        f"objects.{name}.identifiers.name_company.company: {company!r} is not a "
                        "field; only a Contact has a company elsewhere, as Account.Name"
                    )
                needed["Account"] = "objects.Contact.identifiers.name_company.company"
        for slug, program in self.referrals.items():
            needed[program.member_object()] = f"referrals.{slug}.members"
            if not isinstance(program.members, str):
                needed["Campaign"] = f"referrals.{slug}.members"
            if isinstance(program.qualification, LeadField):
                needed["Lead"] = f"referrals.{slug}.qualification"
        pulled = self.objects.pulled()
        for name, key in needed.items():
            if name not in pulled:
                raise ValueError(
                    f"{key} needs {name}: add it to objects, if only as `{name}: {{}}`"
                )
        if not self.objects.people():
            raise ValueError("objects: name Contact, Lead or both")
        self._each_field_has_one_writer()
        return self

    def _each_field_has_one_writer(self) -> None:
        # Two sources would overwrite each other for ever.
        writers: dict[tuple[str, str], str] = {}
        for name, person in self.objects.people().items():
            for field in person.mapping:
                _claim(writers, name, field, f"objects.{name}.mapping.{field}")
        for slug, program in self.referrals.items():
            for field in program.write_back:
                key = f"referrals.{slug}.write_back.{field}"
                _claim(writers, program.member_object(), field, key)

    def fields_of(self, name: str) -> tuple[str, ...]:
        """Every field of an sObject that is pulled: configured, or needed by what is configured."""
        # Users are never deleted, only made inactive.
        wanted = [field for field in SYSTEM_FIELDS if (name, field) != ("User", "IsDeleted")]
        person = self.objects.people().get(name)
        if person is not None:
            wanted += [field for field in person.identifiers.columns() if "." not in field]
            wanted += person.mapping
            if "Account.Name" in person.identifiers.columns():
                wanted.append("AccountId")
        if name in _MERGEABLE:
            wanted.append("MasterRecordId")
        if name == "Lead":
            wanted += _CONVERSION_FIELDS
        if name in ("Account", "Campaign"):
            wanted.append("Name")
        if name == "CampaignMember":
            wanted += ["CampaignId", "ContactId", "LeadId"]
        for program in self.referrals.values():
            if program.member_object() == name:
                wanted += program.write_back
            if name == "Lead" and isinstance(program.qualification, LeadField):
                wanted += [program.qualification.field, program.qualification.code_field]
        configured = self.objects.pulled()[name].fields
        return tuple(dict.fromkeys([*wanted, *(() if configured == "all" else configured)]))


def _claim(writers: dict[tuple[str, str], str], sobject: str, field: str, key: str) -> None:
    other = writers.setdefault((sobject, field.lower()), key)
    if other != key:
        raise ValueError(f"{key}: {other} writes the same field; only one of them may")
