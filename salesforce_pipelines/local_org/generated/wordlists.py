"""Word lists that generated people, companies and places are composed from.

The lists are the CSV files in `local_org/data`. Given and family names are common ones of twenty
languages; companies are composed of three ordinary words. Nobody real is meant.
"""

import csv
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple

# Letters that Unicode does not decompose into a base letter and an accent.
_FOLDED = str.maketrans(
    {"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "æ": "ae"}
)
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})


class GivenName(NamedTuple):
    """A given name; `native` is its non-Latin spelling or "", `slug` that of mail addresses."""

    name: str
    native: str
    folded: str
    slug: str
    gender: str
    nicknames: tuple[str, ...]


class FamilyName(NamedTuple):
    """A family name; `slug` is unique among all family names of all languages."""

    name: str
    native: str
    folded: str
    slug: str


class City(NamedTuple):
    """A city; in `postal_code` each `#` stands for a digit."""

    name: str
    state: str
    state_code: str
    postal_code: str


class Title(NamedTuple):
    """A job title with its department and seniority."""

    title: str
    department: str
    seniority: str


class CompanyWords(NamedTuple):
    """The three positions of a company's name; `sectors` pairs the last word with its industry."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    sectors: tuple[tuple[str, str], ...]


def folded(text: str) -> str:
    """`text` without accents and other marks on its letters."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_FOLDED))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


@cache
def given_names() -> dict[str, tuple[GivenName, ...]]:
    """Given names by language code."""
    names: dict[str, list[GivenName]] = {}
    for row in _rows("given_names.csv"):
        name, language = row["name"], row["language"]
        given = GivenName(
            name,
            row["native"],
            folded(name),
            _slug(name, language),
            row["gender"],
            tuple(row["nicknames"].split()),
        )
        names.setdefault(language, []).append(given)
    return {language: tuple(given) for language, given in names.items()}


@cache
def family_names() -> dict[str, tuple[FamilyName, ...]]:
    """Family names by language code."""
    names: dict[str, list[FamilyName]] = {}
    for row in _rows("family_names.csv"):
        name, language = row["name"], row["language"]
        family = FamilyName(name, row["native"], folded(name), _slug(name, language))
        names.setdefault(language, []).append(family)
    return {language: tuple(family) for language, family in names.items()}


@cache
def cities() -> dict[str, tuple[City, ...]]:
    """Cities by ISO country code."""
    found: dict[str, list[City]] = {}
    for row in _rows("cities.csv"):
        city = City(row["city"], row["state"], row["state_code"], row["postal_code"])
        found.setdefault(row["country"], []).append(city)
    return {country: tuple(places) for country, places in found.items()}


@cache
def streets() -> dict[str, tuple[str, ...]]:
    """Street addresses by ISO country code; `#` stands for the house number."""
    found: dict[str, list[str]] = {}
    for row in _rows("streets.csv"):
        found.setdefault(row["country"], []).append(row["street"])
    return {country: tuple(places) for country, places in found.items()}


@cache
def titles() -> tuple[Title, ...]:
    """Job titles of all departments and seniorities."""
    return tuple(
        Title(row["title"], row["department"], row["seniority"]) for row in _rows("titles.csv")
    )


@cache
def company_words() -> CompanyWords:
    """The words that company names are composed from."""
    rows = list(_rows("company_words.csv"))
    return CompanyWords(
        tuple(row["word"] for row in rows if row["position"] == "first"),
        tuple(row["word"] for row in rows if row["position"] == "second"),
        tuple((row["word"], row["industry"]) for row in rows if row["position"] == "sector"),
    )


def _slug(name: str, language: str) -> str:
    transcribed = name.translate(_GERMAN) if language == "de" else name
    return "".join(
        letter for letter in folded(transcribed).lower() if letter.isascii() and letter.isalpha()
    )


def _rows(filename: str) -> Iterator[dict[str, str]]:
    source = files("salesforce_pipelines.local_org.generated.data") / filename
    with source.open(encoding="utf-8") as lines:
        yield from csv.DictReader(lines)
