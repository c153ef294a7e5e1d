"""The rows of a CRM as dirty as real ones, generated; `dirt` documents the shares of the dirt."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from random import Random

from salesforce_pipelines.local_org.generated import dirt
from salesforce_pipelines.local_org.generated.generated_fields import CUSTOM_FIELDS
from salesforce_pipelines.local_org.generated.phone_numbers import PHONE_FORMATS
from salesforce_pipelines.local_org.generated.population import Population, account_key
from salesforce_pipelines.local_org.generated.spellings import COUNTRY_SPELLINGS

Row = dict[str, object]

USERS = 6
"""Users besides the org's admin; the last one is inactive and still owns records."""
CONTACTS_PER_CAMPAIGN = 120
LEADS_PER_CAMPAIGN = 80
"""At most so many members of each campaign."""


_LEAD_SOURCES = ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other")


def records(contacts: int, leads: int, seed: int) -> Iterator[tuple[str, Row]]:
    """The rows of a CRM as (sObject, row), referred rows before those that refer to them.

    Args:
        contacts: Number of Contact rows; Account follows with about an eighth, at least one.
        leads: Number of Lead rows.
        seed: Same numbers and seed, same rows.

    Returns:
        Rows by Salesforce field name, in the order User, Account, Contact, Lead, Campaign,
        CampaignMember, Opportunity. `_key` is unique per sObject (User from 1, as 0 is the org's
        admin); reference fields hold the key of the referred row. Dates are ISO strings, date-times
        `YYYY-MM-DDTHH:MM:SSZ`. Blank is None. Memory does not grow with the numbers.

    Raises:
        PipelineError: A number is negative.
    """
    return _stream(Population(contacts, leads, seed), seed)


def external_id(sobject: str, key: int) -> str:
    """The External_Id__c of the Contact or Lead of that key, such as `GEN-C-000001`."""
    return f"GEN-{sobject[0]}-{key:06d}"


def _stream(population: Population, seed: int) -> Iterator[tuple[str, Row]]:
    sources: tuple[tuple[str, Callable[[Population, Random], Iterator[Row]]], ...] = (
        ("User", _users),
        ("Account", _accounts),
        ("Contact", _contacts),
        ("Lead", _leads),
        ("Campaign", _campaigns),
        ("CampaignMember", _members),
        ("Opportunity", _opportunities),
    )
    for sobject, rows in sources:
        fill = CUSTOM_FIELDS.get(sobject)
        # A stream of its own: the other values of a seed stay what they were.
        own = Random(f"{seed} {sobject} custom fields")  # noqa: S311 - not a secret
        for row in rows(population, Random(f"{seed} {sobject}")):  # noqa: S311 - not a secret
            if fill:
                fill(row, own.getrandbits(64))
            yield sobject, row


def _owner(draw: dirt.Draw) -> int:
    chance = draw()
    if chance < 0.02:
        return 0
    return USERS if chance < 0.07 else 1 + int(draw() * (USERS - 1))


_USER_NAMES = (
    ("Robin", "Seller"),
    ("Kim", "Closer"),
    ("Alex", "Hunter"),
    ("Sam", "Farmer"),
    ("Toni", "Caller"),
    ("Jo", "Gone"),
)
_ACCOUNT_TYPES = (
    "Prospect",
    "Customer - Direct",
    "Customer - Channel",
    "Channel Partner / Reseller",
    "Technology Partner",
    "Other",
)
_BAND_MIDDLES = {
    "1-10": 6,
    "11-50": 30,
    "51-200": 120,
    "201-500": 350,
    "501-1000": 750,
    "1001-5000": 2600,
    "5001+": 9000,
}
_WEBSITES = ("https://www.{0}", "http://{0}", "www.{0}", "{0}", "https://{0}/", "HTTP://WWW.{0}/")
_OPEN_STATUSES = dirt.table(
    {
        "Open - Not Contacted": 46,
        "Working - Contacted": 30,
        "Qualified": 10,
        "Closed - Not Converted": 14,
    }
)
_RATINGS = ("Hot", "Warm", "Cold")


def _users(_: Population, random: Random) -> Iterator[Row]:
    created = "2023-01-02T09:00:00Z"
    for key, (given, family) in enumerate(_USER_NAMES, start=1):
        name = f"{given}.{family}".lower()
        yield {
            "_key": key,
            "Username": f"{name}@salesforce-pipelines.example",
            "FirstName": given,
            "LastName": family,
            "Email": f"{name}@salesforce-pipelines.example",
            "Alias": f"{given[0]}{family}".lower()[:8],
            "CommunityNickname": name,
            "Title": "Account Executive",
            "Department": "Sales",
            "IsActive": key != USERS,
            "UserType": "Standard",
            "TimeZoneSidKey": random.choice(("America/New_York", "Europe/Berlin")),
            "LocaleSidKey": "en_US",
            "LanguageLocaleKey": "en_US",
            "EmailEncodingKey": "UTF-8",
            "CreatedDate": created,
            "LastModifiedDate": created,
            "SystemModstamp": created,
        }


def _accounts(population: Population, random: Random) -> Iterator[Row]:
    draw = random.random
    for number in range(population.accounts):
        company = population.company(number)
        created, modified, stamp = dirt.stamps(draw)
        known = draw() < 0.6
        yield {
            "_key": number + 1,
            "Name": company.name + company.legal_spellings[company.account_spelling],
            "Type": dirt.pick(_ACCOUNT_TYPES, draw) if draw() < 0.7 else None,
            "Industry": company.industry if draw() < 0.6 else None,
            "Phone": dirt.pick(PHONE_FORMATS, draw)(company.switchboard)
            if company.switchboard and draw() < 0.6
            else None,
            "Website": dirt.pick(_WEBSITES, draw).format(company.domain) if draw() < 0.6 else None,
            "BillingStreet": company.street if known else None,
            "BillingCity": company.city.name if known else None,
            "BillingState": company.city.state if known else None,
            "BillingPostalCode": company.postal_code if known else None,
            "BillingCountry": dirt.pick(COUNTRY_SPELLINGS[company.country], draw)
            if known
            else None,
            "NumberOfEmployees": _BAND_MIDDLES[company.employee_band] if draw() < 0.3 else None,
            "AnnualRevenue": int(draw() * 500) * 100_000 if draw() < 0.2 else None,
            "Description": dirt.description(draw),
            "OwnerId": _owner(draw),
            "IsDeleted": False,
            "CreatedDate": created,
            "LastModifiedDate": modified,
            "SystemModstamp": stamp,
        }


def _contacts(population: Population, random: Random) -> Iterator[Row]:
    draw = random.random
    for key in range(1, population.contacts + 1):
        entry = population.contact(key)
        person = population.person(entry.person)
        given, family = dirt.name(person, entry.duplicate, draw)
        email, personal_email = dirt.emails(person, draw)
        phone, mobile = dirt.phones(person, draw)
        street, city, state, postal_code, country = dirt.address(person, draw)
        created, modified, stamp = dirt.stamps(draw)
        yield {
            "_key": key,
            "FirstName": given,
            "LastName": family,
            "Salutation": dirt.salutation(person, draw),
            "AccountId": account_key(entry, person),
            "Email": email,
            "Personal_Email__c": personal_email,
            "Phone": phone,
            "MobilePhone": mobile,
            "LinkedIn_URL__c": dirt.linkedin(person, draw),
            "Title": dirt.title(person, draw),
            "Department": person.title.department if draw() < 0.3 else None,
            "MailingStreet": street,
            "MailingCity": city,
            "MailingState": state,
            "MailingPostalCode": postal_code,
            "MailingCountry": country,
            "LeadSource": dirt.pick(_LEAD_SOURCES, draw) if draw() < 0.7 else None,
            "Birthdate": _birthdate(draw) if draw() < 0.15 else None,
            "Description": dirt.description(draw),
            "External_Id__c": external_id("Contact", key),
            "Employee_Band__c": dirt.employee_band(person.company, draw),
            "HasOptedOutOfEmail": draw() < 0.03,
            "OwnerId": _owner(draw),
            "IsDeleted": entry.deleted,
            "CreatedDate": created,
            "LastModifiedDate": modified,
            "SystemModstamp": stamp,
        }


def _leads(population: Population, random: Random) -> Iterator[Row]:
    draw = random.random
    for key in range(1, population.leads + 1):
        entry = population.lead(key)
        person = population.person(entry.person)
        company = person.company
        given, family = dirt.name(person, entry.duplicate, draw)
        email, personal_email = dirt.emails(person, draw)
        phone, mobile = dirt.phones(person, draw)
        street, city, state, postal_code, country = dirt.address(person, draw)
        created, modified, stamp = dirt.stamps(draw)
        yield {
            "_key": key,
            "FirstName": given,
            "LastName": family,
            "Company": dirt.company_name(person, draw),
            "Email": email,
            "Personal_Email__c": personal_email,
            "Phone": phone,
            "MobilePhone": mobile,
            "LinkedIn_URL__c": dirt.linkedin(person, draw),
            "Title": dirt.title(person, draw),
            "Status": "Closed - Converted" if entry.converted else dirt.pick(_OPEN_STATUSES, draw),
            "Industry": company.industry if draw() < 0.5 else None,
            "Rating": dirt.pick(_RATINGS, draw) if draw() < 0.3 else None,
            "LeadSource": dirt.pick(_LEAD_SOURCES, draw) if draw() < 0.8 else None,
            "Street": street,
            "City": city,
            "State": state,
            "PostalCode": postal_code,
            "Country": country,
            "Website": dirt.pick(_WEBSITES, draw).format(company.domain) if draw() < 0.4 else None,
            "Description": dirt.description(draw),
            "External_Id__c": external_id("Lead", key),
            "Employee_Band__c": dirt.employee_band(company, draw),
            "IsConverted": entry.converted,
            "ConvertedDate": modified[:10] if entry.converted else None,
            "ConvertedContactId": entry.contact if entry.converted else None,
            "ConvertedAccountId": company.number + 1 if entry.converted else None,
            "OwnerId": _owner(draw),
            "IsDeleted": entry.deleted,
            "CreatedDate": created,
            "LastModifiedDate": modified,
            "SystemModstamp": stamp,
        }


def _birthdate(draw: dirt.Draw) -> str:
    return date.fromordinal(date(1950, 1, 1).toordinal() + int(draw() * 19_000)).isoformat()


_CAMPAIGNS = (
    ("Spring Referral Program", "Referral Program", "In Progress", "2025-03-01", "2025-06-30"),
    ("Webinar: Clean CRM Data", "Webinar", "Completed", "2024-09-10", "2024-09-10"),
    ("Trade Fair, Hall 4", "Trade Show", "Completed", "2023-10-02", "2023-10-05"),
)


def _campaigns(_: Population, random: Random) -> Iterator[Row]:
    for key, (name, kind, status, start, end) in enumerate(_CAMPAIGNS, start=1):
        yield {
            "_key": key,
            "Name": name,
            "Type": kind,
            "Status": status,
            "IsActive": status == "In Progress",
            "StartDate": start,
            "EndDate": end,
            "BudgetedCost": 1000 * (1 + int(random.random() * 50)),
            "OwnerId": 1 + key % (USERS - 1),
            "IsDeleted": False,
            "CreatedDate": f"{start}T08:00:00Z",
            "LastModifiedDate": f"{end}T18:00:00Z",
            "SystemModstamp": f"{end}T18:00:00Z",
        }


def _members(population: Population, random: Random) -> Iterator[Row]:
    draw = random.random
    key = 0
    for campaign in range(1, len(_CAMPAIGNS) + 1):
        for contact, lead in _people_for_campaign(population, campaign):
            key += 1
            created, modified, stamp = dirt.stamps(draw)
            yield {
                "_key": key,
                "CampaignId": campaign,
                "ContactId": contact,
                "LeadId": lead,
                "Status": "Responded" if draw() < 0.3 else "Sent",
                "IsDeleted": False,
                "CreatedDate": created,
                "LastModifiedDate": modified,
                "SystemModstamp": stamp,
            }


def _people_for_campaign(
    population: Population, campaign: int
) -> Iterator[tuple[int | None, int | None]]:
    """Live contacts, then live leads, spread over all of them; each person once."""
    for key in _spread(population.contacts, CONTACTS_PER_CAMPAIGN, campaign):
        if not population.contact(key).deleted:
            yield key, None
    for key in _spread(population.leads, LEADS_PER_CAMPAIGN, campaign):
        lead = population.lead(key)
        if not (lead.deleted or lead.converted):
            yield None, key


def _spread(rows: int, wanted: int, shift: int) -> Iterator[int]:
    """Up to `wanted` different keys of `rows`, never more than half of them."""
    count = min(wanted, -(-rows // 2))
    for index in range(count):
        yield (index * rows // count + shift - 1) % rows + 1


_DEALS = ("new business", "new business", "renewal")
_STAGES = (
    ("Prospecting", 10),
    ("Qualification", 10),
    ("Needs Analysis", 20),
    ("Value Proposition", 50),
    ("Proposal/Price Quote", 75),
    ("Negotiation/Review", 90),
    ("Closed Won", 100),
    ("Closed Won", 100),
    ("Closed Lost", 0),
)


def _opportunities(population: Population, random: Random) -> Iterator[Row]:
    draw = random.random
    key = 0
    for contact in range(1, population.contacts + 1, 25):
        entry = population.contact(contact)
        person = population.person(entry.person)
        account = account_key(entry, person)
        if entry.deleted or account is None:
            continue
        key += 1
        stage, probability = dirt.pick(_STAGES, draw)
        created, modified, stamp = dirt.stamps(draw)
        yield {
            "_key": key,
            "Name": f"{person.company.name} – {dirt.pick(_DEALS, draw)} {key}",
            "AccountId": account,
            "ContactId": contact,
            "CampaignId": 1 + int(draw() * len(_CAMPAIGNS)) if draw() < 0.3 else None,
            "StageName": stage,
            "Probability": probability,
            "IsClosed": stage.startswith("Closed"),
            "IsWon": stage == "Closed Won",
            "Amount": int(draw() * 20_000) * 5.0 if draw() < 0.9 else None,
            "CloseDate": modified[:10] if stage.startswith("Closed") else _close_date(draw),
            "Type": "Existing Business" if draw() < 0.3 else "New Business",
            "LeadSource": dirt.pick(_LEAD_SOURCES, draw) if draw() < 0.6 else None,
            "Description": dirt.description(draw),
            "OwnerId": _owner(draw),
            "IsDeleted": draw() < 0.01,
            "CreatedDate": created,
            "LastModifiedDate": modified,
            "SystemModstamp": stamp,
        }


def _close_date(draw: dirt.Draw) -> str:
    return (dirt.LAST_DAY + timedelta(days=1 + int(draw() * 180))).isoformat()
