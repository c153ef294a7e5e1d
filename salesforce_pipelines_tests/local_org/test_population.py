"""Identifiers of the generated people belong to one person, and words suffice to compose them."""

from collections import Counter
from collections.abc import Callable

import pytest

from salesforce_pipelines.local_org.generated.population import Person, Population
from salesforce_pipelines.local_org.generated.spellings import COUNTRY_SPELLINGS, LEGAL_FORMS
from salesforce_pipelines.local_org.generated.wordlists import (
    cities,
    family_names,
    folded,
    given_names,
    streets,
    titles,
)

CONTACTS, LEADS, SEED = 8_000, 3_000, 11


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(CONTACTS, LEADS, SEED)


@pytest.fixture(scope="module")
def people(population: Population) -> dict[int, Person]:
    numbers = {population.contact(key).person for key in range(1, CONTACTS + 1)}
    numbers |= {population.lead(key).person for key in range(1, LEADS + 1)}
    return {number: population.person(number) for number in sorted(numbers)}


@pytest.mark.parametrize(
    "identifier",
    [
        lambda person: person.work_email,
        lambda person: person.personal_email,
        lambda person: person.linkedin,
        lambda person: (person.given, person.family, person.company.name),
        lambda person: person.phone or person.number,
    ],
    ids=["work email", "personal email", "linkedin", "name and company", "phone"],
)
def test_identifiers_belong_to_one_person(
    people: dict[int, Person], identifier: Callable[[Person], object]
) -> None:
    count = Counter(identifier(person) for person in people.values())
    assert count.most_common(1)[0][1] == 1


def test_strangers_share_no_identifier_with_the_people_of_the_crm(
    population: Population, people: dict[int, Person]
) -> None:
    strangers = [population.stranger(index) for index in range(2000)]
    for identifiers in (
        lambda person: {person.work_email, person.personal_email, person.linkedin},
        lambda person: {person.phone} - {None},
    ):
        known = set().union(*(identifiers(person) for person in people.values()))
        assert not any(identifiers(stranger) & known for stranger in strangers)
    colleagues = {person.company.number for person in people.values()}
    at_known_companies = sum(stranger.company.number in colleagues for stranger in strangers)
    assert 0.18 < at_known_companies / len(strangers) < 0.26
    names = {(person.given, person.family, person.company.number) for person in people.values()}
    namesakes = sum((s.given, s.family, s.company.number) in names for s in strangers)
    assert 0.01 < namesakes / len(strangers) < 0.03


def test_switchboards_are_nobodys_direct_number(
    population: Population, people: dict[int, Person]
) -> None:
    switchboards = [population.company(number).switchboard for number in range(population.accounts)]
    given = [number for number in switchboards if number]
    assert len(set(given)) == len(given) > 0
    assert not set(given) & {person.phone for person in people.values()}


def test_companies_have_names_of_their_own(population: Population) -> None:
    companies = [population.company(number) for number in range(5000)]
    assert len({company.domain for company in companies}) == len(companies)
    assert len({company.name for company in companies}) == len(companies)


def test_accounts_have_an_eighth_of_the_contacts_on_average() -> None:
    for contacts in (64, 200, 1000, 5000, 100_000):
        assert contacts / 10 < Population(contacts, 0, 1).accounts < contacts / 5


def test_people_do_not_depend_on_the_order_they_are_asked_for(population: Population) -> None:
    again = Population(CONTACTS, LEADS, SEED)
    backwards = [again.person(number) for number in range(300, -1, -1)]
    assert backwards[::-1] == [population.person(number) for number in range(301)]


def test_word_lists_suffice() -> None:
    given, family = given_names(), family_names()
    assert given.keys() == family.keys()
    assert sum(map(len, given.values())) >= 150
    assert sum(map(len, family.values())) >= 250
    for language in given:
        assert len(given[language]) * len(family[language]) >= 64
        slugs = [name.slug for name in given[language]]
        assert len(set(slugs)) == len(slugs)
        assert all(slugs)
    slugs = [name.slug for names in family.values() for name in names]
    assert [slug for slug, count in Counter(slugs).items() if count > 1] == []
    assert all(slugs)


def test_every_country_has_places_legal_forms_and_spellings() -> None:
    assert cities().keys() == streets().keys() == LEGAL_FORMS.keys() == COUNTRY_SPELLINGS.keys()
    assert {title.seniority for title in titles()} >= {"C-Level", "VP", "Director", "Manager"}


@pytest.mark.parametrize(
    ("name", "plain"),
    [("Łukasz", "Lukasz"), ("Weiß", "Weiss"), ("Nguyễn", "Nguyen"), ("Yılmaz", "Yilmaz")],
)
def test_folded(name: str, plain: str) -> None:
    assert folded(name) == plain
