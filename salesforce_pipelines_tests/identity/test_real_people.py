"""Real people: how many are matched by what, and that no match is wrong."""

import csv
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from salesforce_pipelines.config.loading import load
from salesforce_pipelines.config.models import Identifiers
from salesforce_pipelines.enrichment.providers import FilePeople
from salesforce_pipelines.identity.identifiers import identifiers
from salesforce_pipelines.identity.matching import match
from salesforce_pipelines.identity.reference import reference_for
from salesforce_pipelines_tests.conftest import REPOSITORY

CONGRESS = REPOSITORY / "demo" / "congress"
PIPELINES = load(CONGRESS / "pipelines.yaml")


def rows(name: str, key: str) -> dict[str, dict[str, str]]:
    with (CONGRESS / name).open(encoding="utf-8", newline="") as file:
        return {row[key]: row for row in csv.DictReader(file)}


CONTACTS = rows("contacts.csv", "external_id")
PEOPLE = rows("people.csv", "person_id")


def matched(tmp_path: Path, fields: Identifiers) -> list[dict[str, str]]:
    table = pa.table(
        {
            "Id": list(CONTACTS),
            **{
                name: pa.array([row[column] or None for row in CONTACTS.values()], pa.string())
                for name, column in (
                    ("FirstName", "FirstName"),
                    ("LastName", "LastName"),
                    ("Account.Name", "Account"),
                    ("Phone", "Phone"),
                )
            },
        }
    )
    found = identifiers(table, fields, key="Id", region="US", nicknames=True)
    provider = FilePeople(PIPELINES.enrichment.provider)
    reference = reference_for(provider, tmp_path / "reference", region="US", temp_dir=tmp_path)
    reader = match(found.to_reader(), reference, PIPELINES.matching, temp_dir=tmp_path)
    result: list[dict[str, str]] = reader.read_all().to_pylist()
    return result


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (
            ("phone", "name_company"),
            {"phone": 424, "name_company": 110, "name_company_nickname": 2, "unmatched": 1},
        ),
        (("name_company",), {"name_company": 503, "name_company_nickname": 23, "unmatched": 11}),
    ],
    ids=["telephone and name", "name alone"],
)
def test_members_of_congress_are_matched_by_this_and_nobody_wrongly(
    tmp_path: Path, kinds: tuple[str, ...], expected: dict[str, int]
) -> None:
    person = PIPELINES.objects.people()["Contact"].identifiers
    fields = Identifiers.model_validate({kind: getattr(person, kind) for kind in kinds})
    found = matched(tmp_path, fields)
    assert Counter(row["identifier"] or row["status"] for row in found) == expected
    for row in found:
        if row["status"] == "matched":
            contact, someone = CONTACTS[row["Id"]], PEOPLE[row["person_id"]]
            # Matching never sees the state; last names differ at most by an accent or a hyphen.
            assert contact["MailingState"] == someone["state"]
            assert contact["LastName"][:3].lower() == someone["last_name"][:3].lower()


def test_a_phone_that_two_people_have_is_decided_by_the_name(tmp_path: Path) -> None:
    person = PIPELINES.objects.people()["Contact"].identifiers
    alone = matched(tmp_path, Identifiers(phone=person.phone))
    shared = {row["Id"] for row in alone if row["status"] == "ambiguous"}
    assert len(shared) == 2
    both = {row["Id"]: row for row in matched(tmp_path, person)}
    assert all(both[one]["status"] == "matched" for one in shared)
