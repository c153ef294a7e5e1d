"""Matching people nobody invented: 537 members of Congress from public records."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from salesforce_pipelines.config.models import FileProvider, Identifiers, Matching, NameCompany
from salesforce_pipelines.enrichment.providers import FilePeople
from salesforce_pipelines.identity.identifiers import identifiers
from salesforce_pipelines.identity.matching import Summary, match, summary
from salesforce_pipelines.identity.reference import reference_for
from salesforce_pipelines.store.csv_stream import open_csv

CONGRESS = Path(__file__).parents[2] / "demo" / "congress"
RECORDS = Identifiers(
    phone=("Phone",),
    name_company=NameCompany(first="FirstName", last="LastName", company="Account"),
)
INITIALS = ["C.", "H.", "J.", "J.", "W."]
OTHERS = ["Alejandro", "Clarence", "Earl", "Garland", "Jesús", "Katherine"]
PEOPLE = FilePeople(
    FileProvider(
        kind="file",
        name="congress",
        path=CONGRESS / "people.csv",
        person_id="person_id",
        identifiers=Identifiers(
            phone=("phones",),
            name_company=NameCompany(first="first_name", last="last_name", company="company"),
        ),
    )
)


@pytest.fixture(scope="module")
def contacts() -> pa.Table:
    with (CONGRESS / "contacts.csv").open("rb") as file:
        return open_csv(file).read_all()


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    return reference_for(PEOPLE, tmp_path_factory.mktemp("references"), region="US")


def matches(contacts: pa.Table, reference: Path, fields: Identifiers, **options) -> pa.Table:
    found = identifiers(contacts, fields, key="external_id", region="US", nicknames=True)
    return match(found.to_reader(), reference, Matching(**options)).read_all()


@pytest.mark.parametrize("conflicts", ["park", "first"])
def test_who_is_matched_by_what(contacts, reference, conflicts):
    found = matches(contacts, reference, RECORDS, conflicts=conflicts)
    by = {"phone": 424, "name_company": 110, "name_company_nickname": 2}
    assert summary(found) == Summary(by, ambiguous=0, unmatched=1)


def test_without_nicknames(contacts, reference):
    found = matches(contacts, reference, RECORDS, nicknames=False)
    assert summary(found) == Summary({"phone": 424, "name_company": 110}, 0, unmatched=3)


def test_by_names_alone(contacts, reference):
    names = Identifiers(name_company=RECORDS.name_company)
    found = matches(contacts, reference, names)
    by = {"name_company": 503, "name_company_nickname": 23}
    assert summary(found) == Summary(by, ambiguous=0, unmatched=11)
    # A lone initial names nobody; the others go by a name that no list of nicknames can know.
    unmatched = {row["Id"] for row in found.to_pylist() if row["status"] == "unmatched"}
    records = [row for row in contacts.to_pylist() if row["external_id"] in unmatched]
    assert sorted(row["FirstName"] for row in records if len(row["FirstName"]) == 2) == INITIALS
    assert sorted(row["FirstName"] for row in records if len(row["FirstName"]) > 2) == OTHERS


@pytest.mark.parametrize(
    "fields",
    [RECORDS, Identifiers(phone=("Phone",)), Identifiers(name_company=RECORDS.name_company)],
)
def test_nobody_is_taken_for_somebody_else(contacts, reference, fields):
    records = {row["external_id"]: row for row in contacts.to_pylist()}
    columns = ["last_name", "state", "website", "company"]
    people = {row["person_id"]: row for row in PEOPLE.people(columns).read_all().to_pylist()}
    pairs = [
        (records[row["Id"]], people[row["person_id"]])
        for row in matches(contacts, reference, fields, conflicts="first").to_pylist()
        if row["status"] == "matched"
    ]
    assert len(pairs) > 400
    for record, person in pairs:
        assert record["LastName"] == person["last_name"]
        assert record["MailingState"] == person["state"]
        assert ("Senate" in record["Account"]) == ("Senate" in person["company"])
        assert record["Website"] in (None, person["website"])
    # Everybody is somebody else.
    assert len({id(person) for _, person in pairs}) == len(pairs)


def test_last_name_state_and_chamber_are_proof_enough(contacts):
    chambers = Counter(
        (row["LastName"], row["MailingState"], row["Account"]) for row in contacts.to_pylist()
    )
    assert [key for key, count in chambers.items() if count > 1] == []
