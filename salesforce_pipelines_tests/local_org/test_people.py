"""The provider's file speaks of the CRM's people in its own spelling; the truth says who is who."""

import csv
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import phonenumbers
import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.generated.generator import Row, records
from salesforce_pipelines.local_org.generated.people import (
    COLUMNS,
    Pair,
    pairs,
    truth,
    write_people,
)
from salesforce_pipelines.local_org.generated.population import EMPLOYEE_BANDS, SHARED_IDENTIFIERS
from salesforce_pipelines.local_org.generated.spellings import COUNTRY_SPELLINGS, LEGAL_FORMS

CONTACTS, LEADS, SEED = 8_000, 3_000, 21
RUN = (CONTACTS, LEADS, SEED)

People = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("provider") / "people.csv"
    count = write_people(path, *RUN)
    with path.open(encoding="utf-8", newline="") as lines:
        assert count == sum(1 for _ in csv.reader(lines)) - 1
    return path


@pytest.fixture(scope="module")
def people(path: Path) -> People:
    with path.open(encoding="utf-8", newline="") as lines:
        return {row["person_id"]: row for row in csv.DictReader(lines, strict=True)}


@pytest.fixture(scope="module")
def crm() -> dict[str, Row]:
    """Contacts and leads by External_Id__c, each with the name of its company as `_company`."""
    accounts: dict[object, object] = {}
    found: dict[str, Row] = {}
    for sobject, row in records(*RUN):
        if sobject == "Account":
            accounts[row["_key"]] = row["Name"]
        elif sobject in ("Contact", "Lead"):
            row["_company"] = row.get("Company") or accounts.get(row.get("AccountId"))
            found[str(row["External_Id__c"])] = row
    return found


@pytest.fixture(scope="module")
def true_pairs() -> list[Pair]:
    return list(pairs(*RUN))


def addresses(row: Row) -> set[str]:
    written = (str(row[field] or "") for field in ("Email", "Personal_Email__c"))
    plain = {address.strip().lower().removeprefix("mailto:") for address in written}
    return plain - {""}


def e164(text: str, region: str | None) -> str:
    dialled = re.sub("^00", "+", text.strip())
    try:
        number = phonenumbers.parse(dialled, region)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    return f"+{number.country_code}{number.national_number}"


def region(row: Row) -> str | None:
    country = row.get("MailingCountry", row.get("Country"))
    codes = {
        spelling: code for code, spellings in COUNTRY_SPELLINGS.items() for spelling in spellings
    }
    return codes.get(str(country))


def crm_numbers(row: Row) -> set[str]:
    written = (str(row[field] or "") for field in ("Phone", "MobilePhone"))
    return {e164(text, region(row)) for text in written} - {""}


def provider_numbers(person: dict[str, str]) -> set[str]:
    return {e164(text, None) for text in person["phones"].split(";")} - {""}


def profile(url: object) -> str:
    found = re.search(r"linkedin\.com/in/([^/?]+)", str(url or "").lower())
    return found[1] if found else ""


def letters(text: object) -> str:
    plain = unicodedata.normalize("NFKD", str(text or "")).casefold()
    return "".join(letter for letter in plain if letter.isalpha() and letter.isascii())


def bare_company(text: object) -> str:
    """The three words that every generated name begins with."""
    return letters(" ".join(str(text or "").split()[:3]))


def held_by_both(row: Row, person: dict[str, str]) -> set[str]:
    both = set()
    for identifier in ("work_email", "personal_email"):
        if person[identifier] in addresses(row):
            both.add(identifier)
    if crm_numbers(row) & provider_numbers(person):
        both.add("phone")
    if person["linkedin_url"] and profile(person["linkedin_url"]) == profile(
        row["LinkedIn_URL__c"]
    ):
        both.add("linkedin_url")
    if bare_company(row["_company"]) == bare_company(person["company"]) and letters(
        row["LastName"]
    ).startswith(letters(person["last_name"])):
        both.add("name_and_company")
    return both


def test_file_is_well_formed(path: Path, people: People) -> None:
    with path.open(encoding="utf-8", newline="") as lines:
        assert tuple(next(csv.reader(lines))) == COLUMNS
    for person_id, row in people.items():
        assert re.fullmatch(r"P-\d{6,}", person_id)
        assert None not in row.values()
        assert row["full_name"] == f"{row['first_name']} {row['last_name']}"
        assert unicodedata.is_normalized("NFC", row["full_name"])
        assert row["employee_band"] in EMPLOYEE_BANDS
        assert re.fullmatch(r"202[345]-\d\d-\d\d", row["updated_at"])
        assert row["company"].strip() == row["company"] != ""
        assert all(re.fullmatch(r"\+[\d ]+", text) for text in row["phones"].split(";") if text)


def test_person_ids_are_unique(path: Path, people: People) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(people) + 1


def test_same_arguments_give_the_same_file(path: Path, tmp_path: Path) -> None:
    write_people(tmp_path / "again.csv", *RUN)
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    write_people(tmp_path / "other.csv", CONTACTS, LEADS, SEED + 1)
    assert (tmp_path / "other.csv").read_bytes() != path.read_bytes()


def test_truth_names_rows_and_people_that_exist(
    people: People, crm: dict[str, Row], true_pairs: list[Pair]
) -> None:
    assert [pair[:3] for pair in true_pairs] == list(truth(*RUN))
    assert len(set(true_pairs)) == len(true_pairs)
    for pair in true_pairs:
        assert pair.person_id in people
        assert pair.external_id.startswith(f"GEN-{pair.sobject[0]}-")
        assert not crm[pair.external_id]["IsDeleted"]


def test_coverage(crm: dict[str, Row], true_pairs: list[Pair]) -> None:
    covered = {pair.external_id for pair in true_pairs}
    live = Counter(external_id[4] for external_id, row in crm.items() if not row["IsDeleted"])
    found = Counter(external_id[4] for external_id in covered)
    assert 0.68 < found["C"] / live["C"] < 0.72
    assert 0.58 < found["L"] / live["L"] < 0.65


def test_shares_of_shared_identifiers(true_pairs: list[Pair]) -> None:
    of_row = {pair.external_id: pair.shared for pair in true_pairs}
    count = Counter(of_row.values())
    assert set(count) == set(SHARED_IDENTIFIERS)
    expected = {
        "work_email": 0.45,
        "personal_email": 0.13,
        "phone": 0.14,
        "linkedin_url": 0.18,
        "name_and_company": 0.10,
    }
    for identifier, share in expected.items():
        assert abs(count[identifier] / len(of_row) - share) < 0.02, identifier


def test_true_pairs_share_what_they_are_said_to(
    people: People, crm: dict[str, Row], true_pairs: list[Pair]
) -> None:
    first_listing = [pair for pair in true_pairs if int(pair.person_id[2:]) % 2]
    for pair in first_listing:
        both = held_by_both(crm[pair.external_id], people[pair.person_id])
        assert pair.shared in both, (pair, both)
        others = both - {pair.shared, "name_and_company"}
        # A switchboard may be held by both without identifying anybody.
        assert pair.shared == "work_email" or others <= {"phone"}, (pair, both)


def test_work_addresses_lead_to_the_right_person_only(
    people: People, crm: dict[str, Row], true_pairs: list[Pair]
) -> None:
    true = {(pair.external_id, pair.person_id) for pair in true_pairs}
    by_address = defaultdict(set)
    for person_id, person in people.items():
        by_address[person["work_email"]].add(person_id)
    found = 0
    for external_id, row in crm.items():
        for address in addresses(row):
            for person_id in by_address.get(address, ()):
                assert row["IsDeleted"] or (external_id, person_id) in true
                found += 1
    assert found > 0.25 * len(crm)


def test_some_are_listed_twice_under_one_address_or_number(
    people: People, true_pairs: list[Pair]
) -> None:
    listed: dict[str, list[str]] = defaultdict(list)
    for pair in true_pairs:
        listed[pair.external_id].append(pair.person_id)
    twice = [ids for ids in listed.values() if len(ids) == 2]
    assert 0.02 < len(twice) / len(listed) < 0.05
    for first, second in twice:
        one, other = people[first], people[second]
        same_address = one["work_email"] and one["work_email"] == other["work_email"]
        assert same_address or provider_numbers(one) & provider_numbers(other)


def test_switchboards_make_numbers_ambiguous_and_sometimes_misleading(
    people: People, crm: dict[str, Row], true_pairs: list[Pair]
) -> None:
    true = defaultdict(set)
    for pair in true_pairs:
        true[pair.external_id].add(pair.person_id)
    by_number = defaultdict(set)
    for person_id, person in people.items():
        for number in provider_numbers(person):
            by_number[number].add(person_id)
    outcome: Counter[str] = Counter()
    for external_id, row in crm.items():
        hits = set().union(*(by_number[number] for number in crm_numbers(row)))
        if hits:
            right = hits <= true[external_id]
            outcome["right" if right else "ambiguous" if len(hits) > 1 else "wrong"] += 1
    assert outcome["right"] > 0.10 * len(crm)
    assert outcome["ambiguous"] > 0.05 * len(crm)
    assert 0 < outcome["wrong"] < 0.2 * outcome["right"]


def test_strangers_are_three_for_ten_people(people: People, true_pairs: list[Pair]) -> None:
    of_crm = {int(person_id[2:]) for person_id in people} & {
        int(pair.person_id[2:]) for pair in true_pairs
    }
    last = max(of_crm)
    strangers = sum(int(person_id[2:]) > last for person_id in people)
    assert 0.26 < strangers / len(of_crm) < 0.33


def test_both_sources_spell_differently(
    people: People, crm: dict[str, Row], true_pairs: list[Pair]
) -> None:
    same: Counter[str] = Counter()
    for pair in true_pairs:
        row, person = crm[pair.external_id], people[pair.person_id]
        same["company"] += row["_company"] == person["company"]
        same["first name"] += row["FirstName"] == person["first_name"]
        same["number"] += row["Phone"] in person["phones"].split(";")
        same["linkedin"] += row["LinkedIn_URL__c"] == person["linkedin_url"] != ""
    assert same["company"] < 0.10 * len(true_pairs)
    assert same["first name"] < 0.75 * len(true_pairs)
    assert same["number"] < 0.05 * len(true_pairs)
    assert same["linkedin"] < 0.05 * len(true_pairs)
    endings = {spelling for forms in LEGAL_FORMS.values() for form in forms for spelling in form}
    assert all(person["company"].endswith(tuple(endings)) for person in people.values())


def test_some_have_moved_to_an_employer_the_crm_does_not_know(
    people: People, true_pairs: list[Pair]
) -> None:
    known = {bare_company(row["Name"]) for sobject, row in records(*RUN) if sobject == "Account"}
    covered = {pair.person_id: pair.shared for pair in true_pairs if pair.sobject == "Contact"}
    moved = [
        shared
        for person_id, shared in covered.items()
        if bare_company(people[person_id]["company"]) not in known
    ]
    assert 0.08 < len(moved) / len(covered) < 0.25
    assert set(moved) <= {"personal_email", "phone", "linkedin_url"}


def test_unwritable_path_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"people\.csv.*folder that exists"):
        write_people(tmp_path / "missing" / "people.csv", 5, 5, 1)
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match="writable"):
        write_people(tmp_path / "file" / "people.csv", 5, 5, 1)
    (tmp_path / "people.csv").mkdir()
    with pytest.raises(PipelineError, match="writable"):
        write_people(tmp_path / "people.csv", 5, 5, 1)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "people.csv"]


def test_interrupted_writing_keeps_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "people.csv"
    path.write_text("earlier", encoding="utf-8")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "salesforce_pipelines.local_org.generated.population.Population.stranger", interrupt
    )
    with pytest.raises(KeyboardInterrupt):
        write_people(path, 500, 100, 1)
    assert path.read_text(encoding="utf-8") == "earlier"
    assert [found.name for found in tmp_path.iterdir()] == ["people.csv"]


def test_negative_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="contacts: -1"):
        write_people(tmp_path / "people.csv", -1, 0, 1)
    with pytest.raises(PipelineError, match="leads: -1"):
        truth(0, -1, 1)
    assert list(tmp_path.iterdir()) == []


def test_no_rows_for_an_empty_crm(tmp_path: Path) -> None:
    assert write_people(tmp_path / "people.csv", 0, 0, 1) == 0
    assert list(truth(0, 0, 1)) == []
