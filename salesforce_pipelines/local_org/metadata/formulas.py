"""Fields whose value is computed when it is read: names, mirrors, roll-ups and custom formulas.

A computed field has no column, so it follows what it depends on without moving the record's
SystemModstamp, as a formula field of Salesforce does.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Formula:
    """How a computed field gets its value.

    Attributes:
        sql: A SQLite expression; `{t}` is the alias of the record's own row.
        text: The formula text that describe shows; None where describe does not call the field
            calculated, because Salesforce itself keeps it.
        is_roll_up: Whether it is a roll-up summary, which is calculated but shows no text.
        treats_null_as_zero: Whether blank numbers count as 0, as far as describe says.
    """

    sql: str
    text: str | None = None
    is_roll_up: bool = False
    treats_null_as_zero: bool = False


def _person_name(alias: str) -> str:
    return f"ifnull({alias}.FirstName || ' ', '') || {alias}.LastName"


def person_name() -> Formula:
    """The name of a person, of its first and last names."""
    return Formula(_person_name("{t}"))


def _member_mirror(contact: str | None, lead: str | None) -> Formula:
    """A value that a campaign member shows of its Contact or else its Lead."""
    of_contact = f"(SELECT {contact} FROM Contact p WHERE p.Id = {{t}}.ContactId)"
    of_lead = f"(SELECT {lead} FROM Lead p WHERE p.Id = {{t}}.LeadId)"
    if contact and lead:
        return Formula(
            f"CASE WHEN {{t}}.ContactId IS NOT NULL THEN {of_contact} ELSE {of_lead} END"
        )
    return Formula(of_contact if contact else of_lead)


def _stage(column: str, otherwise: str) -> Formula:
    """What a stage says; a stage that the org's list lacks counts as an open one."""
    return Formula(
        f"coalesce((SELECT s.{column} FROM OpportunityStage s"
        f" WHERE s.MasterLabel = {{t}}.StageName), {otherwise})"
    )


def _campaign_members(condition: str) -> Formula:
    return Formula(
        "(SELECT count(*) FROM CampaignMember m WHERE m.CampaignId = {t}.Id"
        f" AND NOT m.IsDeleted AND {condition})"
    )


def _responded(member: str) -> str:
    return (
        "coalesce((SELECT max(s.HasResponded) FROM CampaignMemberStatus s"
        f" WHERE s.CampaignId = {member}.CampaignId AND s.Label = {member}.Status"
        f" AND NOT s.IsDeleted), {member}.Status = 'Responded', 0)"
    )


def _campaign_opportunities(value: str, condition: str) -> Formula:
    return Formula(
        f"(SELECT {value} FROM Opportunity o WHERE o.CampaignId = {{t}}.Id"
        f" AND NOT o.IsDeleted AND {condition})"
    )


_WON = "o.StageName IN (SELECT s.MasterLabel FROM OpportunityStage s WHERE s.IsWon)"
_CLOSE_MONTH = "CAST(substr({t}.CloseDate, 6, 2) AS INTEGER)"
_CLOSE_YEAR = "CAST(substr({t}.CloseDate, 1, 4) AS INTEGER)"
_CLOSE_QUARTER = f"(({_CLOSE_MONTH} + 2) / 3)"
_FULL_NAME_LENGTH = Formula(
    f"CAST(length({_person_name('{t}')}) AS REAL)",
    'LEN(IF(ISBLANK(FirstName), "", FirstName & " ") & LastName)',
    treats_null_as_zero=True,
)
_ACCOUNT_TIER = Formula(
    "CASE WHEN (SELECT a.AnnualRevenue FROM Account a WHERE a.Id = {t}.AccountId) >= 100000000"
    " THEN 'Enterprise'"
    " WHEN (SELECT a.AnnualRevenue FROM Account a WHERE a.Id = {t}.AccountId) >= 10000000"
    " THEN 'Mid-market' WHEN {t}.AccountId IS NULL THEN NULL ELSE 'Small business' END",
    'IF(ISBLANK(AccountId), "", IF(Account.AnnualRevenue >= 100000000, "Enterprise",'
    ' IF(Account.AnnualRevenue >= 10000000, "Mid-market", "Small business")))',
)
_DISCOUNTED_VALUE = Formula(
    "round(coalesce({t}.Lifetime_Value__c, 0) * (1 - coalesce({t}.Discount__c, 0) / 100.0), 2)",
    "Lifetime_Value__c * (1 - Discount__c)",
    treats_null_as_zero=True,
)
_RENEWAL_DATE = Formula("date({t}.Customer_Since__c, '+365 days')", "Customer_Since__c + 365")
_IS_VIP = Formula("(coalesce({t}.Lifetime_Value__c, 0) >= 10000)", "Lifetime_Value__c >= 10000")
_NUMBER_OF_CONTACTS = Formula(
    "CAST((SELECT count(*) FROM Contact c WHERE c.AccountId = {t}.Id AND NOT c.IsDeleted) AS REAL)",
    is_roll_up=True,
)
_MIRRORED = (
    *("Salutation", "FirstName", "LastName", "Title", "Email", "Phone", "Fax", "MobilePhone"),
    *("Description", "DoNotCall", "HasOptedOutOfEmail", "HasOptedOutOfFax", "LeadSource"),
)
_MIRRORED_ADDRESS = ("Street", "City", "State", "PostalCode", "Country")

FORMULAS: dict[tuple[str, str], Formula] = {
    **{(o, "Name"): Formula(_person_name("{t}")) for o in ("Contact", "Lead", "User")},
    **{(o, "Full_Name_Length__c"): _FULL_NAME_LENGTH for o in ("Contact", "Lead")},
    **{
        (o, "PhotoUrl"): Formula("'/services/images/photo/' || {t}.Id")
        for o in ("Account", "Contact", "Lead")
    },
    ("Contact", "Account_Tier__c"): _ACCOUNT_TIER,
    ("Contact", "Discounted_Value__c"): _DISCOUNTED_VALUE,
    ("Contact", "Renewal_Date__c"): _RENEWAL_DATE,
    ("Contact", "Is_VIP__c"): _IS_VIP,
    ("Account", "Number_Of_Contacts__c"): _NUMBER_OF_CONTACTS,
    ("Contact", "IsEmailBounced"): Formula("{t}.EmailBouncedDate IS NOT NULL"),
    **{("CampaignMember", name): _member_mirror(f"p.{name}", f"p.{name}") for name in _MIRRORED},
    **{
        ("CampaignMember", name): _member_mirror(f"p.Mailing{name}", f"p.{name}")
        for name in _MIRRORED_ADDRESS
    },
    ("CampaignMember", "Name"): _member_mirror(_person_name("p"), _person_name("p")),
    ("CampaignMember", "CompanyOrAccount"): _member_mirror(
        "(SELECT a.Name FROM Account a WHERE a.Id = p.AccountId)", "p.Company"
    ),
    ("CampaignMember", "Type"): Formula(
        "CASE WHEN {t}.ContactId IS NOT NULL THEN 'Contact' ELSE 'Lead' END"
    ),
    ("CampaignMember", "LeadOrContactId"): Formula("coalesce({t}.ContactId, {t}.LeadId)"),
    ("CampaignMember", "LeadOrContactOwnerId"): _member_mirror("p.OwnerId", "p.OwnerId"),
    ("CampaignMember", "HasResponded"): Formula(_responded("{t}")),
    ("Opportunity", "IsClosed"): _stage("IsClosed", "0"),
    ("Opportunity", "IsWon"): _stage("IsWon", "0"),
    ("Opportunity", "ForecastCategory"): _stage("ForecastCategory", "'Pipeline'"),
    ("Opportunity", "ExpectedRevenue"): Formula("{t}.Amount * {t}.Probability / 100.0"),
    ("Opportunity", "FiscalQuarter"): Formula(_CLOSE_QUARTER),
    ("Opportunity", "FiscalYear"): Formula(_CLOSE_YEAR),
    ("Opportunity", "Fiscal"): Formula(f"{_CLOSE_YEAR} || ' ' || {_CLOSE_QUARTER}"),
    ("Campaign", "NumberOfLeads"): _campaign_members("m.ContactId IS NULL"),
    ("Campaign", "NumberOfConvertedLeads"): _campaign_members(
        "m.LeadId IN (SELECT l.Id FROM Lead l WHERE l.IsConverted)"
    ),
    ("Campaign", "NumberOfContacts"): _campaign_members("m.ContactId IS NOT NULL"),
    ("Campaign", "NumberOfResponses"): _campaign_members(_responded("m")),
    ("Campaign", "NumberOfOpportunities"): _campaign_opportunities("count(*)", "1"),
    ("Campaign", "NumberOfWonOpportunities"): _campaign_opportunities("count(*)", _WON),
    ("Campaign", "AmountAllOpportunities"): _campaign_opportunities(
        "ifnull(sum(o.Amount), 0.0)", "1"
    ),
    ("Campaign", "AmountWonOpportunities"): _campaign_opportunities(
        "ifnull(sum(o.Amount), 0.0)", _WON
    ),
}
