"""What people type into a CRM: values of its fields as dirty as in real ones.

Measured shares of the rows, in per cent (of contacts / of leads where they differ):

- rows: second row of the same person 4 / 3; of somebody who is a contact as well - / 8 converted
  and 5 not; deleted 1; AccountId blank 3 / -; Company missing (`[not provided]`, `NA`) - / 3
- names: in capitals 5; in lower case 1.8; in a non-Latin script 8.5; in Unicode form NFD 1.4; with
  an apostrophe 3.7 (typographic 0.6); with a hyphen 2.4; prefix in FirstName 0.9; suffix in
  LastName 2.9; FirstName blank and LastName the given name 0.9, or the whole name 0.9
- Email: blank 17; placeholder (`n/a`, `test`) 5.1; malformed (`x@@y`, `x(at)y`) 6.2; of a shared
  mailbox (`info@`) 3.2; in mixed case 8.7; padded 4.8; with `mailto:` 1.4
- Phone: blank, and MobilePhone too, 32 / 35; a switchboard 20 / 19; with an extension 12.5; a
  placeholder 5.1; without area code 4
- LinkedIn_URL__c: blank 60; legacy `/pub/` 1.3; of nobody 1.8
- Title: blank 50; `NA`, `null` or `#N/A` 1; quoted, with a line feed 2
- Employee_Band__c: blank 80
- Description: `NA`, `null` or `#N/A` 2.4; with line feeds 3.1, of these CRLF 0.8
- street: `NA`, `null` or `#N/A` 0.25; with line feeds 4.4, of these CRLF 2.2

Real orgs refuse malformed values in fields of type email; here they stand for what older imports
and custom text fields are full of.
"""

import unicodedata
from collections.abc import Callable
from datetime import date, timedelta
from typing import TypeVar

from salesforce_pipelines.local_org.generated.phone_numbers import (
    EXTENSION_FORMATS,
    PHONE_FORMATS,
    without_area,
)
from salesforce_pipelines.local_org.generated.population import (
    EMPLOYEE_BANDS,
    LINKEDIN,
    PERSONAL_EMAIL,
    PHONE,
    WORK_EMAIL,
    Company,
    Person,
)
from salesforce_pipelines.local_org.generated.spellings import (
    COUNTRY_SPELLINGS,
    EMAIL_CASES,
    EMAIL_PADDINGS,
    LINKEDIN_FORMS,
    MALFORMED_EMAILS,
    PLACEHOLDER_EMAILS,
    PLACEHOLDER_PHONES,
    linkedin_legacy,
)

Draw = Callable[[], float]
"""Gives a random number from 0 up to 1."""
T = TypeVar("T")

FIRST_DAY = date(2023, 1, 1)
LAST_DAY = date(2025, 12, 31)
_SECONDS = ((LAST_DAY - FIRST_DAY).days + 1) * 86_400 - 1
_DAYS = tuple(
    (FIRST_DAY + timedelta(days=day)).isoformat() for day in range((LAST_DAY - FIRST_DAY).days + 1)
)
_TIMES = tuple(f"T{hour:02d}:{minute:02d}:" for hour in range(24) for minute in range(60))
_ENDS = tuple(f"{second:02d}Z" for second in range(60))
_IMPORTS = tuple(index * 2_351_003 % _SECONDS for index in range(1, 41))
"""Seconds at which somebody imported a file: many rows share these instants."""


def table(shares: dict[str, int]) -> tuple[str, ...]:
    """Each name as often as its share in per cent, to be drawn from with equal chances."""
    return tuple(name for name, share in shares.items() for _ in range(share))


def pick(values: tuple[T, ...], draw: Draw) -> T:
    """One of the values, with equal chances."""
    return values[int(draw() * len(values))]


def stamps(draw: Draw) -> tuple[str, str, str]:
    """CreatedDate, LastModifiedDate and SystemModstamp, in this order of time; some are equal."""
    chance = draw()
    if chance < 0.12:
        created = _IMPORTS[int(chance / 0.12 * len(_IMPORTS))]
    else:
        created = int(draw() * _SECONDS)
    created_at = modified_at = _instant(created)
    modified = created
    if draw() > 0.4:
        modified = created + int((_SECONDS - created) * draw())
        modified_at = _instant(modified)
    if draw() > 0.15:
        return created_at, modified_at, modified_at
    return created_at, modified_at, _instant(min(_SECONDS, modified + int(draw() * 259_200)))


def instant(fraction: float) -> str:
    """The date-time at that fraction of the years that the records were made in."""
    return _instant(int(fraction * _SECONDS))


def _instant(second: int) -> str:
    day, rest = divmod(second, 86_400)
    minute, rest = divmod(rest, 60)
    return _DAYS[day] + _TIMES[minute] + _ENDS[rest]


_NAME_STYLES = table(
    {
        "plain": 65,
        "nickname": 10,
        "capitals": 5,
        "lower": 2,
        "folded": 5,
        "decomposed": 4,
        "padded": 2,
        "suffix": 3,
        "prefix": 1,
        "whole in last": 1,
        "first in last": 1,
        "initial": 1,
    }
)
_RECOGNISABLE_NAME_STYLES = table(
    {
        "plain": 65,
        "nickname": 10,
        "capitals": 6,
        "lower": 3,
        "folded": 6,
        "decomposed": 5,
        "padded": 2,
        "suffix": 3,
    }
)
_SECOND_ROW_STYLES = table(
    {"plain": 10, "nickname": 30, "initial": 15, "typing error": 20, "capitals": 10, "folded": 15}
)
_PREFIXES = ("Dr. ", "Prof. ", "Dr ", "Mr. ", "Mrs ", "Ing. ")
_SUFFIXES = (" Jr.", ", PhD", " III", " Sr.", ", MBA", " (retired)", ", CPA", " Jr")
_SALUTATIONS = {"f": ("Ms.", "Mrs.", "Ms.", "Dr.", "Prof."), "m": ("Mr.", "Mr.", "Dr.", "Prof.")}
_NATIVE_SPELLING = 0.4
_TYPOGRAPHIC_APOSTROPHE = 0.3


def name(person: Person, duplicate: bool, draw: Draw) -> tuple[str | None, str]:
    """FirstName and LastName; the second row of a person differs in spelling as a rule."""
    if person.native_family and draw() < _NATIVE_SPELLING:
        given, family = person.native_given, person.native_family
    else:
        given, family = person.given, person.family
    if person.shared == "name_and_company":
        styles = _RECOGNISABLE_NAME_STYLES
    else:
        styles = _SECOND_ROW_STYLES if duplicate else _NAME_STYLES
    style = pick(styles, draw)
    if style == "plain":
        typographic = "'" in family and draw() < _TYPOGRAPHIC_APOSTROPHE
        return given, family.replace("'", "’") if typographic else family
    return _styled_name(style, person, given, family, draw)


def _styled_name(
    style: str, person: Person, given: str, family: str, draw: Draw
) -> tuple[str | None, str]:
    match style:
        case "nickname" if person.nicknames:
            return pick(person.nicknames, draw), family
        case "capitals":
            return given.upper(), family.upper()
        case "lower":
            return given.lower(), family.lower()
        case "folded":
            return person.given_folded, person.family_folded
        case "decomposed":
            return unicodedata.normalize("NFD", given), unicodedata.normalize("NFD", family)
        case "padded":
            return f" {given}", f"{family}  "
        case "suffix":
            return given, family + pick(_SUFFIXES, draw)
        case "prefix":
            return pick(_PREFIXES, draw) + given, family
        case "whole in last":
            return None, f"{given} {family}"
        case "first in last":
            return None, given
        case "initial":
            return f"{given[0]}.", family
        case "typing error":
            middle = len(family) // 2
            return given, family[:middle] + family[middle - 1 :]
    return given, family


def salutation(person: Person, draw: Draw) -> str | None:
    """Salutation; blank for two thirds."""
    chance = draw()
    if chance > 0.35:
        return None
    choices = _SALUTATIONS[person.gender]
    return choices[int(chance / 0.35 * len(choices))]


_ADDRESS_STYLES = table({"plain": 78, "mixed case": 13, "padded": 7, "mailto": 2})
_WITHOUT_ADDRESS = table({"blank": 54, "placeholder": 16, "malformed": 20, "shared mailbox": 10})
_MAILBOXES = ("info", "office", "sales", "contact", "hello")
_PERSONAL_PLACEHOLDER = 0.01


def emails(person: Person, draw: Draw) -> tuple[str | None, str | None]:
    """Email and Personal_Email__c."""
    personal = None
    if person.in_crm & PERSONAL_EMAIL:
        personal = _address(person.personal_email, draw)
    elif draw() < _PERSONAL_PLACEHOLDER:
        personal = pick(PLACEHOLDER_EMAILS, draw)
    if person.in_crm & WORK_EMAIL:
        return _address(person.work_email, draw), personal
    if person.in_crm & PERSONAL_EMAIL and draw() < 0.4:
        return personal, None
    return _without_address(person, draw), personal


def _address(address: str, draw: Draw) -> str:
    style = pick(_ADDRESS_STYLES, draw)
    if style == "plain":
        return address
    if style == "mixed case":
        return pick(EMAIL_CASES, draw)(address)
    if style == "padded":
        return pick(EMAIL_PADDINGS, draw).format(address)
    return f"mailto:{address}"


def _without_address(person: Person, draw: Draw) -> str | None:
    match pick(_WITHOUT_ADDRESS, draw):
        case "placeholder":
            return pick(PLACEHOLDER_EMAILS, draw)
        case "malformed":
            return pick(MALFORMED_EMAILS, draw)(person.work_email)
        case "shared mailbox":
            return f"{_MAILBOXES[person.company.number % 5]}@{person.company.domain}"
    return None


_WITHOUT_NUMBER = table(
    {
        "blank": 52,
        "switchboard": 22,
        "extension": 12,
        "without area": 7,
        "placeholder": 7,
    }
)


def phones(person: Person, draw: Draw) -> tuple[str | None, str | None]:
    """Phone and MobilePhone."""
    number = person.phone
    if number is None or not person.in_crm & PHONE:
        return _without_number(person, draw), None
    written = pick(PHONE_FORMATS, draw)(number)
    chance = draw()
    if chance < 0.5:
        return written, None
    if chance < 0.6:
        return written, pick(PHONE_FORMATS, draw)(number)
    return _without_number(person, draw), written


def _without_number(person: Person, draw: Draw) -> str | None:
    kind = pick(_WITHOUT_NUMBER, draw)
    if kind == "blank":
        return None
    if kind == "placeholder":
        return pick(PLACEHOLDER_PHONES, draw)
    if kind == "without area":
        return without_area(person.phone) if person.phone else None
    switchboard = person.company.switchboard
    if switchboard is None:
        return None
    formats = EXTENSION_FORMATS if kind == "extension" else PHONE_FORMATS
    return pick(formats, draw)(switchboard)


_NO_PROFILES = (
    "https://www.linkedin.com/company/{0}",
    "https://www.linkedin.com/feed/",
    "n/a",
    "https://www.linkedin.com/search/results/people/?keywords={0}",
)
_TITLE_STYLES = table(
    {
        "blank": 50,
        "plain": 36,
        "capitals": 4,
        "lower": 2,
        "comma": 2,
        "quoted": 2,
        "padded": 2,
        "missing": 2,
    }
)
_MISSING = ("NA", "null", "#N/A", "N/A", "None", "-")
_DESCRIPTIONS = (
    "Met at the fair, asked for prices; call back in Q3.",
    'Said: "not before the budget round".\nSend the deck.',
    "Imported 2023.\r\nOld CRM no. 4711, see notes,\r\n- assistant: front desk",
    "NA",
    "null",
    "#N/A",
    "Prefers e-mail; no calls before 10:00.",
    'Left-handed quote \' and double "" quote, and a trailing comma,',
    "Zweitkontakt – bitte nicht anrufen.\n\nÜber Messe Köln.",
    "=SUM(A1:A3)",
    "Line one\nLine two\nLine three",
    "\tTabbed from a spreadsheet;semicolons;too",
    "<b>Newsletter</b> sign-up &amp; webinar",
    "日本語のメモ: 折り返し電話してください。",
    "\\N",
)
_LONG_NOTE = "Called, no answer. " * 120
_STREET_ADDITIONS = (
    "\nSuite 300",
    "\r\n2nd floor",
    ', "Old Mill" building',
    "\nAttn: front desk, door 4",
    "\r\nc/o Facilities",
    " ",
)


def linkedin(person: Person, draw: Draw) -> str | None:
    """LinkedIn_URL__c: a form of the person's profile, a URL that is nobody's, or blank."""
    chance = draw()
    if person.in_crm & LINKEDIN:
        if chance < 0.05 and person.shared != "linkedin_url":
            return linkedin_legacy(person.linkedin)
        form = pick(LINKEDIN_FORMS, draw)
        return form.format(person.linkedin, person.linkedin.upper())
    if chance < 0.03:
        return pick(_NO_PROFILES, draw).format(person.company.domain.partition(".")[0])
    return None


def title(person: Person, draw: Draw) -> str | None:
    """Title; blank for half."""
    style = pick(_TITLE_STYLES, draw)
    if style == "blank":
        return None
    plain = person.title.title
    match style:
        case "capitals":
            return plain.upper()
        case "lower":
            return plain.lower()
        case "comma":
            return f"{plain}, {person.company.city.name}"
        case "quoted":
            return f'{plain} "EMEA"\n(interim)'
        case "padded":
            return f" {plain} "
        case "missing":
            return pick(_MISSING, draw)
    return plain


def description(draw: Draw) -> str | None:
    """Description; blank for most."""
    chance = draw()
    if chance > 0.12:
        return None
    if chance < 0.0005:
        return _LONG_NOTE
    return _DESCRIPTIONS[int(chance / 0.12 * len(_DESCRIPTIONS))]


def employee_band(company: Company, draw: Draw) -> str | None:
    """Employee_Band__c: mostly blank, mostly right otherwise."""
    chance = draw()
    if chance > 0.2:
        return None
    return company.employee_band if chance < 0.16 else pick(EMPLOYEE_BANDS, draw)


def address(
    person: Person, draw: Draw
) -> tuple[str | None, str | None, str | None, str | None, str | None]:
    """Street, City, State, PostalCode and Country.

    Where a number identifies somebody, the country needed to read it is given and plain.
    """
    company = person.company
    spellings = COUNTRY_SPELLINGS[company.country]
    chance = draw()
    if person.shared == "phone":
        country: str | None = spellings[chance < 0.3]
    else:
        country = pick(spellings, draw) if chance < 0.7 else None
    if draw() < 0.45:
        return None, None, None, None, country
    street = company.street
    chance = draw()
    if chance < 0.12:
        street += _STREET_ADDITIONS[int(chance / 0.12 * len(_STREET_ADDITIONS))]
    elif chance > 0.99:
        street = pick(_MISSING, draw)
    city = company.city
    name = city.name.upper() if chance > 0.95 else city.name
    state = None if chance < 0.2 else city.state_code if chance < 0.6 else city.state
    return street, name, state, company.postal_code, country


_COMPANY_STYLES = table(
    {"spelling": 76, "bare": 10, "capitals": 4, "lower": 2, "quoted": 2, "site": 3, "missing": 3}
)


def company_name(person: Person, draw: Draw) -> str:
    """Company of a lead: a spelling of the company's name."""
    company = person.company
    spelling = company.name + pick(company.legal_spellings, draw)
    style = pick(_COMPANY_STYLES, draw)
    if style == "bare":
        return company.name
    if person.shared == "name_and_company":
        return spelling
    match style:
        case "capitals":
            return spelling.upper()
        case "lower":
            return spelling.lower()
        case "quoted":
            return f'"{company.name}"'
        case "site":
            return f"{spelling} ({company.city.name})"
        case "missing":
            return pick(("[not provided]", "NA", "-", "n/a", "Self-employed"), draw)
    return spelling
