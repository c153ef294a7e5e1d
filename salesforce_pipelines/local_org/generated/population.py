"""The generated people and companies, and what a CRM and a people-data provider each know of them.

Everybody is a pure function of the seed and of their number, so the CRM's rows and the provider's
rows can be written apart from each other, in any order and in constant memory, and still speak of
the same people. Numbers run in blocks of 512 people in 64 companies: first the people behind
contacts, then those behind leads, then strangers that only the provider knows.

Within one population a work address, a personal address, a direct number and a LinkedIn profile
belong to one person only. Everything that several people share (a switchboard, `info@`) is meant.
"""

from collections import Counter
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.generated.phone_numbers import PhoneNumber, phone_number
from salesforce_pipelines.local_org.generated.spellings import LEGAL_FORMS
from salesforce_pipelines.local_org.generated.wordlists import (
    City,
    Title,
    cities,
    company_words,
    family_names,
    given_names,
    streets,
    titles,
)

WORK_EMAIL = 1
PERSONAL_EMAIL = 2
PHONE = 4
LINKEDIN = 8
"""Bits of `Person.in_crm` and `Person.in_provider`."""

SHARED_IDENTIFIERS = ("work_email", "personal_email", "phone", "linkedin_url", "name_and_company")
"""Values of `Person.shared`."""

CONTACT_COVERAGE = 0.70
LEAD_COVERAGE = 0.60
"""Shares of people that the provider holds."""

SHARED_SHARES = {
    "work_email": 0.45,
    "personal_email": 0.13,
    "phone": 0.17,
    "linkedin_url": 0.13,
    "name_and_company": 0.12,
}
"""What covered people are recognised by, as drawn.

People of a country without fictitious numbers, and people whose name has a non-Latin spelling, are
recognised by LinkedIn where it says phone, or name and company: measured 45, 13, 14, 18 and 10 %.
"""

LISTED_TWICE = 0.04
"""Share of covered people with an address or number in the provider who are in it twice."""

DUPLICATE_CONTACTS = 0.04
DUPLICATE_LEADS = 0.03
"""Shares of rows that are a second row of somebody entered at most 50 rows before."""

CONVERTED_LEADS = 0.08
LEADS_OF_CONTACTS = 0.05
"""Shares of leads that became a contact, and that are one already without anybody's noticing."""

STRANGERS_IN_KNOWN_COMPANIES = 0.2
NAMESAKES = 0.02
"""Shares of the provider's strangers."""

DELETED = 0.01
CONTACTS_WITHOUT_ACCOUNT = 0.03

EMPLOYEE_BANDS = ("1-10", "11-50", "51-200", "201-500", "501-1000", "1001-5000", "5001+")

PEOPLE_IN_BLOCK = 512
COMPANIES_IN_BLOCK = 64
_COMPANY_SIZES = (6, 3, 12, 1, 8, 2, 20, 4, 1, 10, 5, 2, 40, 3, 10, 1) * 4
_COMPANY_COUNTRIES = tuple(
    country
    for quarter in (
        "US GB US DE US FR US CA GB US AU US US ES DE NL",
        "GB US FR US US DE US JP AU US GB US GB IN CA FR",
        "US DE US GB AU US FR US US IT US GB US DE NL JP",
        "US CA GB US FR US IN US GB US ES DE US BR AU PL",
    )
    for country in quarter.split()
)
_ENTRY_WINDOW = 4096
_DUPLICATE_DISTANCE = 50
_POSITIONS = 64

_LANGUAGES = {
    "US": "en en en en en en en en es es zh hi ko vi it ga de ar ru pl pt ja el",
    "CA": "en en en fr fr zh hi ko ar it ga",
    "GB": "en en en en en ga hi pl ar zh el fr",
    "DE": "de de de de de de tr tr pl cs ru it el",
    "FR": "fr fr fr fr fr ar pt es vi",
    "AU": "en en en en ga vi zh el it",
    "ES": "es es es es es pt ar",
    "IT": "it it it it it ar",
    "NL": "nl nl nl nl tr sv de",
    "IN": "hi",
    "JP": "ja ja ja ja en",
    "BR": "pt pt pt pt it ja",
    "PL": "pl pl pl pl cs ru",
}
_PERSONAL_DOMAINS = (
    "mail.example.com",
    "inbox.example.net",
    "post.example.org",
    "home.example.com",
    "letters.example.net",
    "example.org",
)
_ADDRESS_FORMS = ("{0}.{1}", "{0}.{1}", "{0}.{1}", "{0}_{1}", "{1}.{0}", "{0}-{1}")

_SHARED_TABLE = tuple(
    name for name, share in SHARED_SHARES.items() for _ in range(round(share * 100))
)
_KINDS = (
    # bit, what it is shared as, share of the CRM's rows, share of the provider's rows
    (WORK_EMAIL, "work_email", 0.68, 0.75),
    (PERSONAL_EMAIL, "personal_email", 0.15, 0.40),
    (PHONE, "phone", 0.55, 0.60),
    (LINKEDIN, "linkedin_url", 0.35, 0.80),
)
_PROVIDER_SHIFT = 4
_IN_CRM = 15
_PHONE_IN_BOTH = PHONE | PHONE << _PROVIDER_SHIFT


def _outcomes(bit: int, crm: float, provider: float, both: float) -> tuple[int, ...]:
    """A hundred equally likely outcomes of who holds an identifier, the provider's bits shifted."""
    in_provider = bit << _PROVIDER_SHIFT
    shares = {
        bit | in_provider: round(100 * both),
        bit: round(100 * (crm - both)),
        in_provider: round(100 * (provider - both)),
    }
    drawn = [outcome for outcome, share in shares.items() for _ in range(share)]
    return tuple(drawn + [0] * (100 - len(drawn)))


def _held(shared: str) -> tuple[tuple[int, ...], ...]:
    """For each kind of identifier, who holds it of somebody recognised by `shared`.

    Of strangers, and of those recognised by their work address, each holds the rest by chance. Of
    anybody else no other identifier is held by both.
    """
    by_chance = shared in ("", "work_email")
    return tuple(
        _outcomes(bit, 1, 1, 1)
        if name == shared
        else _outcomes(bit, crm, provider, crm * provider)
        if by_chance
        else _outcomes(bit, crm / 2, provider / 2, 0)
        for bit, name, crm, provider in _KINDS
    )


_HELD = {shared: _held(shared) for shared in ("", *SHARED_IDENTIFIERS)}

_TWO_POWER_16 = 65536
_MOVED = int(0.6 * _TWO_POWER_16)
_DOUBLE_NAMES = int(0.02 * _TWO_POWER_16)
_LISTED_TWICE = int(LISTED_TWICE * _TWO_POWER_16)
_DUPLICATE = int(DUPLICATE_CONTACTS * _TWO_POWER_16)
_DELETED = int(DELETED * _TWO_POWER_16)
_WITHOUT_ACCOUNT = int(CONTACTS_WITHOUT_ACCOUNT * _TWO_POWER_16)
_CONTACT_COVERED = int(CONTACT_COVERAGE * _TWO_POWER_16)
_LEAD_COVERED = int(LEAD_COVERAGE * _TWO_POWER_16)
_MULTIPLIER = 7919
_ODD_MULTIPLIER = 2654435761
_PERSON_DRAWS = Struct("<32H").unpack
_ROW_DRAWS = Struct("<4H").unpack


class Company(NamedTuple):
    """A company; `legal_spellings` are the spellings of its one legal form."""

    number: int
    name: str
    domain: str
    legal_spellings: tuple[str, ...]
    account_spelling: int
    """Which of them the CRM's Account has; the provider has the next one."""
    country: str
    city: City
    street: str
    postal_code: str
    industry: str
    employee_band: str
    size: int
    address_form: str
    switchboard: PhoneNumber | None


class Person(NamedTuple):
    """Somebody as they really are; both sources hold a part of it in spellings of their own."""

    number: int
    given: str
    family: str
    given_folded: str
    family_folded: str
    native_given: str
    native_family: str
    nicknames: tuple[str, ...]
    gender: str
    company: Company
    title: Title
    work_email: str
    personal_email: str
    phone: PhoneNumber | None
    linkedin: str
    shared: str
    """What both sources hold, of `SHARED_IDENTIFIERS`; "" if the provider lacks the person."""
    in_crm: int
    in_provider: int
    moved: bool
    """Whether the provider already knows of a later employer."""
    listed: int
    """Rows in the provider: 0, 1 or 2."""


class ContactEntry(NamedTuple):
    """Whom a contact row stands for; `duplicate` if an earlier row does so too."""

    person: int
    duplicate: bool
    deleted: bool
    without_account: bool


def account_key(entry: ContactEntry, person: Person) -> int | None:
    """The key of a contact row's account; None if nobody linked it to one."""
    if entry.without_account and person.shared != "name_and_company":
        return None
    return person.company.number + 1


class LeadEntry(NamedTuple):
    """Whom a lead row stands for; `contact` is the key of the contact that is the same person."""

    person: int
    duplicate: bool
    deleted: bool
    contact: int | None
    converted: bool


class Population:
    """All people and companies of one run."""

    def __init__(self, contacts: int, leads: int, seed: int) -> None:
        for name, count in (("contacts", contacts), ("leads", leads)):
            if count < 0:
                raise PipelineError(f"{name}: {count} rows cannot be generated; give 0 or more")
        self.contacts = contacts
        self.leads = leads
        self._salt = blake2b(str(seed).encode(), digest_size=16).digest()
        self._offset = int.from_bytes(self._salt[:4], "little")
        self._first_lead = _whole_blocks(contacts)
        self._first_stranger = self._first_lead + _whole_blocks(leads)
        self._first_outside_company = (
            (self._first_stranger + _whole_blocks(contacts + leads))
            // PEOPLE_IN_BLOCK
            * COMPANIES_IN_BLOCK
        )
        self._words = company_words()
        self._given = given_names()
        self._family = family_names()
        self._titles = titles()
        self._cities = cities()
        self._streets = streets()
        self._languages = {country: text.split() for country, text in _LANGUAGES.items()}
        self._company_starts, self._people = _block_layout()
        self._phones_in_block = _phones_in_block(self._people)
        self.company = lru_cache(maxsize=2048)(self._company)

    @property
    def accounts(self) -> int:
        """Number of accounts: the companies of the people behind contacts, at least one."""
        if self.contacts == 0:
            return 1
        return self.company_of(self.contacts - 1)[0] + 1

    def company_of(self, number: int) -> tuple[int, int]:
        """The number of the company somebody works at, and their position in it (from 0)."""
        block, index = divmod(number, PEOPLE_IN_BLOCK)
        company, position = self._people[index]
        return block * COMPANIES_IN_BLOCK + company, position

    def person(self, number: int) -> Person:
        """The person of that number."""
        company, position = self.company_of(number)
        return self._person(number, self.company(company), position)

    def stranger(self, index: int) -> Person:
        """The `index`-th person of whom the CRM knows nothing.

        One in five works at a company that the CRM knows, under a name nobody there has; one in
        fifty has the name and employer of somebody in the CRM and nothing else in common.
        """
        number = self._first_stranger + index
        share = self._row(b"stranger", index)[0] / _TWO_POWER_16
        if share < NAMESAKES and self.contacts:
            return self._namesake(number, self.person(index * _MULTIPLIER % self.contacts))
        if share > NAMESAKES + STRANGERS_IN_KNOWN_COMPANIES:
            return self.person(number)
        company = self.company(index * _MULTIPLIER % self.accounts)
        return self._person(number, company, company.size + index % (_POSITIONS - company.size))

    def _namesake(self, number: int, model: Person) -> Person:
        name, _, domain = model.work_email.partition("@")
        return self.person(number)._replace(
            given=model.given,
            family=model.family,
            nicknames=model.nicknames,
            gender=model.gender,
            company=model.company,
            work_email=f"{name}2@{domain}",
        )

    def later_employer(self, person: Person) -> Company:
        """The company somebody who moved works at now, which the CRM does not know."""
        return self.company(self._first_outside_company + person.number // 8)

    def contact(self, key: int) -> ContactEntry:
        """The contact row of that key (from 1)."""
        duplicate, back, deleted, account = self._row(b"contact", key)
        is_duplicate = key > 1 and duplicate < _DUPLICATE
        if is_duplicate:
            number = self.contact(max(1, key - 1 - back % _DUPLICATE_DISTANCE)).person
        else:
            number = _entry_order(key - 1, self.contacts)
        return ContactEntry(number, is_duplicate, deleted < _DELETED, account < _WITHOUT_ACCOUNT)

    def lead(self, key: int) -> LeadEntry:
        """The lead row of that key (from 1)."""
        kind, back, deleted, _ = self._row(b"lead", key)
        is_deleted = deleted < _DELETED
        share = kind / _TWO_POWER_16
        if share < CONVERTED_LEADS + LEADS_OF_CONTACTS:
            contact = self._live_contact(key)
            if contact is not None:
                converted = share < CONVERTED_LEADS
                person = self.contact(contact).person
                return LeadEntry(person, False, is_deleted and not converted, contact, converted)
        elif key > 1 and share < CONVERTED_LEADS + LEADS_OF_CONTACTS + DUPLICATE_LEADS:
            earlier = self.lead(max(1, key - 1 - back % _DUPLICATE_DISTANCE))
            return LeadEntry(earlier.person, True, is_deleted, earlier.contact, False)
        number = self._first_lead + _entry_order(key - 1, self.leads)
        return LeadEntry(number, False, is_deleted, None, False)

    def _live_contact(self, lead_key: int) -> int | None:
        for step in range(min(self.contacts, 64)):
            key = (lead_key * 3 + step) % self.contacts + 1
            entry = self.contact(key)
            if not (entry.duplicate or entry.deleted or entry.without_account):
                return key
        return None

    def _row(self, stream: bytes, key: int) -> tuple[int, int, int, int]:
        digest = blake2b(self._salt + stream + key.to_bytes(8, "little"), digest_size=8).digest()
        first, second, third, fourth = _ROW_DRAWS(digest)
        return first, second, third, fourth

    def _person(self, number: int, company: Company, position: int) -> Person:
        digest = blake2b(self._salt + b"person" + number.to_bytes(8, "little")).digest()
        draw = iter(_PERSON_DRAWS(digest)).__next__
        languages = self._languages[company.country]
        language = languages[draw() * len(languages) >> 16]
        all_given, all_family = self._given[language], self._family[language]
        # Steps of a prime: no two positions of a company get the same name of a language.
        name = (self._offset + company.number * 31 + position * _MULTIPLIER) % (
            len(all_given) * len(all_family)
        )
        given, family = all_given[name % len(all_given)], all_family[name // len(all_given)]
        family_name, family_folded, family_slug = family.name, family.folded, family.slug
        native_given, native_family = given.native, family.native
        if draw() < _DOUBLE_NAMES and not native_family:
            second = all_family[draw() * len(all_family) >> 16]
            family_name = f"{family_name}-{second.name}"
            family_folded = f"{family_folded}-{second.folded}"
            family_slug = f"{family_slug}-{second.slug}"
        phone = self._direct_number(number)
        shared = self._shared(draw(), draw(), number, phone, native_given)
        held = 0
        for outcomes in _HELD[shared]:
            held |= outcomes[draw() * 100 >> 16]
        if phone is None:
            held &= ~_PHONE_IN_BOTH
        in_crm, in_provider = held & _IN_CRM, held >> _PROVIDER_SHIFT
        moved = bool(
            shared in ("personal_email", "phone", "linkedin_url")
            and not in_provider & WORK_EMAIL
            and draw() < _MOVED
        )
        twice = in_provider & (WORK_EMAIL | PHONE) and draw() < _LISTED_TWICE
        hexadecimal = (number * _ODD_MULTIPLIER + self._offset) & 0xFFFFFFFF
        return Person(
            number,
            given.name,
            family_name,
            given.folded,
            family_folded,
            native_given,
            native_family,
            given.nicknames,
            given.gender,
            company,
            self._titles[draw() * len(self._titles) >> 16],
            f"{company.address_form.format(given.slug, family_slug)}@{company.domain}",
            f"{given.slug}.{family_slug}{number}@{_PERSONAL_DOMAINS[draw() % 6]}",
            phone,
            f"gen-{given.slug}-{family_slug}-{hexadecimal:08x}",
            shared,
            in_crm,
            in_provider,
            moved,
            0 if not shared else 2 if twice else 1,
        )

    def _shared(
        self, covered: int, kind: int, number: int, phone: PhoneNumber | None, native: str
    ) -> str:
        if number >= self._first_stranger:
            return ""
        if covered >= (_CONTACT_COVERED if number < self._first_lead else _LEAD_COVERED):
            return ""
        shared = _SHARED_TABLE[kind * 100 >> 16]
        if (shared == "phone" and phone is None) or (shared == "name_and_company" and native):
            return "linkedin_url"
        return shared

    def _direct_number(self, number: int) -> PhoneNumber | None:
        block, index = divmod(number, PEOPLE_IN_BLOCK)
        country = _COMPANY_COUNTRIES[self._people[index][0]]
        in_block, _, rank = self._phones_in_block[index]
        return phone_number(country, block * in_block + rank)

    def _switchboard(self, company: int) -> PhoneNumber | None:
        block, index = divmod(company, COMPANIES_IN_BLOCK)
        in_block, rank, _ = self._phones_in_block[self._company_starts[index]]
        return phone_number(_COMPANY_COUNTRIES[index], block * in_block + rank)

    def _company(self, number: int) -> Company:
        digest = blake2b(self._salt + b"company" + number.to_bytes(8, "little")).digest()
        draw = iter(_PERSON_DRAWS(digest)).__next__
        first, second, sectors = self._words
        names = len(first) * len(second) * len(sectors)
        again, index = divmod(number, names)
        index = (index * 130_363 + self._offset) % names
        rest, index = divmod(index, len(sectors))
        sector, industry = sectors[index]
        words = [first[rest % len(first)], second[rest // len(first)], sector]
        if again:
            words.append(str(again + 1))
        slot = number % COMPANIES_IN_BLOCK
        country = _COMPANY_COUNTRIES[slot]
        forms = LEGAL_FORMS[country]
        spellings = forms[draw() * len(forms) >> 16]
        places, roads = self._cities[country], self._streets[country]
        city = places[draw() * len(places) >> 16]
        house = 1 + draw() % 180
        return Company(
            number,
            " ".join(words),
            f"{'-'.join(words).lower()}.example",
            spellings,
            draw() % len(spellings),
            country,
            city,
            roads[draw() * len(roads) >> 16].replace("#", str(house)),
            _digits_filled(city.postal_code, draw()),
            industry,
            EMPLOYEE_BANDS[min(draw(), draw()) * len(EMPLOYEE_BANDS) >> 16],
            _COMPANY_SIZES[slot],
            _ADDRESS_FORMS[draw() % len(_ADDRESS_FORMS)],
            self._switchboard(number) if number < self._first_outside_company else None,
        )


def _whole_blocks(people: int) -> int:
    return -(-people // PEOPLE_IN_BLOCK) * PEOPLE_IN_BLOCK


def _entry_order(index: int, total: int) -> int:
    """Whom the `index`-th row stands for: colleagues are entered apart, within a window."""
    start = index - index % _ENTRY_WINDOW
    size = min(_ENTRY_WINDOW, total - start)
    step = 2741 if size != 2741 else 2729
    return start + (index - start) * step % size


def _block_layout() -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """The first person of each company, and the company and position of each person of a block."""
    starts: list[int] = []
    people: list[tuple[int, int]] = []
    for company, size in enumerate(_COMPANY_SIZES):
        starts.append(len(people))
        people.extend((company, position) for position in range(size))
    return tuple(starts), tuple(people)


def _phones_in_block(people: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int, int], ...]:
    """For each person of a block, where their numbers stand among their country's.

    Numbers of the country per block, rank of the switchboard, rank of the direct number.
    """
    companies = Counter(_COMPANY_COUNTRIES)
    employees = Counter(_COMPANY_COUNTRIES[company] for company, _ in people)
    ranks: list[tuple[int, int, int]] = []
    given: Counter[str] = Counter()
    for company, _ in people:
        country = _COMPANY_COUNTRIES[company]
        ranks.append(
            (
                companies[country] + employees[country],
                _COMPANY_COUNTRIES[:company].count(country),
                companies[country] + given[country],
            )
        )
        given[country] += 1
    return tuple(ranks)


def _digits_filled(pattern: str, draw: int) -> str:
    filled = pattern.replace("#", str(draw % 10), 1)
    return filled.replace("#", str(draw // 10 % 10))
