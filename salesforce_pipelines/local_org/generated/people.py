"""The people data that a provider holds on the generated CRM's people, and who is who.

The provider holds 70 % of the people behind contacts and 60 % of those behind leads, each
recognised by one identifier at least (`population.SHARED_SHARES`: 45 % by work address, the others
by personal address, number, LinkedIn, or name and company only), and strangers besides, 30 % as
many. It spells things its own way: another spelling of the legal form, numbers in international
form, the canonical LinkedIn URL, one in five by nickname. What makes matching hard is meant:

- 4 % of those with a work address or number are in it twice, under two person_ids;
- 30 % of the rows list the company's switchboard, which many CRM rows have as their number too, so
  a match by number alone can be ambiguous, or unique and wrong;
- six in ten of those recognised by personal address, number or LinkedIn, and not known to the
  provider by the CRM's work address, have moved to another employer;
- one stranger in five works at a company that the CRM knows, and one in fifty has the name and the
  employer of somebody in the CRM.
"""

import csv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.generated.dirt import Draw, instant, pick
from salesforce_pipelines.local_org.generated.generator import external_id
from salesforce_pipelines.local_org.generated.phone_numbers import e164, international
from salesforce_pipelines.local_org.generated.population import (
    LINKEDIN,
    PERSONAL_EMAIL,
    PHONE,
    WORK_EMAIL,
    Company,
    Person,
    Population,
)
from salesforce_pipelines.local_org.generated.spellings import COUNTRY_SPELLINGS, LINKEDIN_CANONICAL

COLUMNS = (
    "person_id",
    "full_name",
    "first_name",
    "last_name",
    "company",
    "job_title",
    "department",
    "work_email",
    "personal_email",
    "phones",
    "linkedin_url",
    "website",
    "twitter",
    "city",
    "state",
    "country",
    "employee_band",
    "seniority",
    "updated_at",
)

STRANGERS = 0.30
"""People of whom the CRM knows nothing, for each person that the provider knows of the CRM."""

_NICKNAME = 0.2
_SWITCHBOARD = 0.3
_NEW_WORK_EMAIL = 0.8
_TWITTER = 0.2


class Pair(NamedTuple):
    """A live CRM row and a provider's row that are the same person."""

    sobject: str
    external_id: str
    person_id: str
    shared: str
    """The identifier both hold, of `population.SHARED_IDENTIFIERS`."""


def write_people(path: Path, contacts: int, leads: int, seed: int) -> int:
    """Write the provider's people as CSV (UTF-8, header, `COLUMNS`) and return the number of rows.

    The same arguments as for `generator.records` give the people of that CRM. An existing file is
    replaced only when the new one is complete.

    Raises:
        PipelineError: A number is negative, or the file cannot be written.
    """
    population = Population(contacts, leads, seed)
    unfinished = path.with_name(f".{path.name}.unfinished")
    count = 0
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in _rows(population, Random(f"{seed} people")):  # noqa: S311 - not a secret
                writer.writerow(row)
                count += 1
        unfinished.replace(path)
    except OSError as error:
        raise PipelineError(
            f"{path}: the people cannot be written ({error.strerror}); "
            "name a file in a folder that exists and is writable"
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return count


def truth(contacts: int, leads: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """The true (sObject, External_Id__c, person_id), to measure matching against.

    Rows entered twice and people listed twice give a pair for each combination. Deleted rows give
    none; converted leads do.

    Raises:
        PipelineError: A number is negative.
    """
    return (pair[:3] for pair in pairs(contacts, leads, seed))


def pairs(contacts: int, leads: int, seed: int) -> Iterator[Pair]:
    """The pairs of `truth` with the identifier that they share.

    Raises:
        PipelineError: A number is negative.
    """
    return _pairs(Population(contacts, leads, seed))


def _pairs(population: Population) -> Iterator[Pair]:
    for sobject, key, number in _live_rows(population):
        person = population.person(number)
        for copy in range(person.listed):
            yield Pair(sobject, external_id(sobject, key), _person_id(number, copy), person.shared)


def _live_rows(population: Population) -> Iterator[tuple[str, int, int]]:
    for key in range(1, population.contacts + 1):
        contact = population.contact(key)
        if not contact.deleted:
            yield "Contact", key, contact.person
    for key in range(1, population.leads + 1):
        lead = population.lead(key)
        if not lead.deleted:
            yield "Lead", key, lead.person


def _rows(population: Population, random: Random) -> Iterator[list[str]]:
    draw = random.random
    strangers = 0
    for number in _people(population):
        person = population.person(number)
        for copy in range(person.listed):
            yield _row(population, person, copy, draw)
        if person.listed and draw() < STRANGERS:
            yield _row(population, population.stranger(strangers), 0, draw)
            strangers += 1


def _people(population: Population) -> Iterator[int]:
    """Everybody behind the CRM's rows, once."""
    for key in range(1, population.contacts + 1):
        contact = population.contact(key)
        if not contact.duplicate:
            yield contact.person
    for key in range(1, population.leads + 1):
        lead = population.lead(key)
        if not lead.duplicate and lead.contact is None:
            yield lead.person


def _row(population: Population, person: Person, copy: int, draw: Draw) -> list[str]:
    employer = population.later_employer(person) if person.moved else person.company
    given = person.given
    if person.nicknames and draw() < _NICKNAME:
        given = pick(person.nicknames, draw)
    title = person.title
    return [
        _person_id(person.number, copy),
        f"{given} {person.family}",
        given,
        person.family,
        _company_name(employer, copy),
        f"Former {title.title}" if copy else title.title,
        title.department,
        _work_email(person, employer, draw),
        person.personal_email if person.in_provider & PERSONAL_EMAIL else "",
        ";".join(_phones(person, draw)),
        LINKEDIN_CANONICAL.format(person.linkedin)
        if person.in_provider & LINKEDIN and not copy
        else "",
        f"https://{employer.domain}",
        f"@{person.linkedin.replace('-', '_')}" if draw() < _TWITTER else "",
        employer.city.name,
        employer.city.state,
        COUNTRY_SPELLINGS[employer.country][0],
        employer.employee_band,
        title.seniority,
        instant(draw())[:10],
    ]


def _person_id(number: int, copy: int) -> str:
    return f"P-{2 * number + copy + 1:06d}"


def _company_name(company: Company, copy: int) -> str:
    spellings = company.legal_spellings
    return company.name + spellings[(company.account_spelling + 1 + copy) % len(spellings)]


def _work_email(person: Person, employer: Company, draw: Draw) -> str:
    if person.in_provider & WORK_EMAIL:
        return person.work_email
    if person.moved and draw() < _NEW_WORK_EMAIL:
        return f"{person.work_email.partition('@')[0]}@{employer.domain}"
    return ""


def _phones(person: Person, draw: Draw) -> Iterator[str]:
    write = e164 if draw() < 0.7 else international
    if person.phone and person.in_provider & PHONE:
        yield write(person.phone)
    switchboard = person.company.switchboard
    if switchboard and not person.moved and draw() < _SWITCHBOARD:
        yield write(switchboard)
