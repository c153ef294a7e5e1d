import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salesforce_pipelines.config.models import FileProvider, Identifiers, Matching, NameCompany
from salesforce_pipelines.enrichment.providers import FilePeople
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity import reference
from salesforce_pipelines.identity.matching import match
from salesforce_pipelines.identity.reference import (
    build_reference,
    reference_for,
    reference_stamp,
)
from salesforce_pipelines_tests.identity.tables import identified

HEADER = "person_id,first,last,company,email,phones\n"
ADA = "P1,Ada,De La Cruz,Acme Inc.,ada@example.com,212-555-0101;212-555-0102\n"
BOB = "P2,Bob,Lee,Acme Inc.,bob@example.com,212-555-0102\n"


def people_of(path: Path, **changes: object) -> FilePeople:
    identifiers = Identifiers(
        work_email=("email",),
        phone=("phones",),
        name_company=NameCompany(first="first", last="last", company="company"),
    )
    values = {
        "kind": "file",
        "name": "people",
        "path": path,
        "person_id": "person_id",
        "identifiers": identifiers,
    }
    return FilePeople(FileProvider.model_validate(values | changes))


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(HEADER + ADA + BOB, encoding="utf-8")
    return people_of(path)


def rows(path: Path) -> list[tuple[str, str, str | None, str | None]]:
    table = pq.read_table(path, columns=["kind", "value", "person_id", "last_name"])
    return sorted(tuple(row.values()) for row in table.to_pylist())


def test_a_reference_holds_every_key(people, tmp_path):
    assert rows(reference_for(people, tmp_path / "refs", region="US")) == [
        ("email", "ada@example.com", "P1", None),
        ("email", "bob@example.com", "P2", None),
        ("name_company", "ada|delacruz|acme", "P1", None),
        ("name_company", "bob|lee|acme", "P2", None),
        ("phone", "+12125550101", "P1", "cruz delacruz"),
        ("phone", "+12125550102", "P1", "cruz delacruz"),
        ("phone", "+12125550102", "P2", "lee"),
    ]


def test_it_is_made_once_for_each_version_of_the_data(people, tmp_path):
    folder = tmp_path / "refs"
    first = reference_for(people, folder, region="US")
    made = first.stat().st_mtime_ns
    assert reference_for(people, folder, region="US") == first
    assert first.stat().st_mtime_ns == made
    (tmp_path / "people.csv").write_text(HEADER + ADA, encoding="utf-8")
    second = reference_for(people, folder, region="US")
    assert second != first
    assert len(rows(second)) == 4


def test_only_the_newest_of_the_old_ones_is_kept(people, tmp_path):
    folder = tmp_path / "refs"
    made = []
    for number in range(4):
        (tmp_path / "people.csv").write_text(HEADER + ADA * (number > 0), encoding="utf-8")
        (tmp_path / "people.csv").write_text(HEADER + ADA + f"Q{number},,,,,\n", encoding="utf-8")
        made.append(reference_for(people, folder, region="US"))
        os.utime(made[-1], (number, number))
    assert sorted(folder.iterdir()) == sorted(made[-2:])


@pytest.mark.parametrize(
    ("region", "changes"),
    [
        ("GB", {}),
        ("US", {"separator": "|"}),
        ("US", {"identifiers": Identifiers(phone=("phones",))}),
    ],
)
def test_it_is_made_anew_when_what_it_depends_on_changes(people, tmp_path, region, changes):
    folder = tmp_path / "refs"
    first = reference_for(people, folder, region="US")
    other = people_of(tmp_path / "people.csv", **changes)
    second = reference_for(other, folder, region=region)
    assert second != first
    assert reference_stamp(second) != reference_stamp(first)


def test_a_newer_duckdb_makes_it_anew(people, tmp_path, monkeypatch):
    folder = tmp_path / "refs"
    first = reference_for(people, folder, region="US")
    monkeypatch.setattr(reference, "hash_version", lambda: "duckdb-9")
    with pytest.raises(PipelineError, match=r"made by duckdb-1\.\d.*delete the file"):
        match(identified({}), first, Matching())
    second = reference_for(people, folder, region="US")
    assert second != first
    assert match(identified({}), second, Matching()).read_all().num_rows == 0


def test_a_reference_appears_whole_or_not_at_all(people, tmp_path):
    (tmp_path / "people.csv").write_text(HEADER + ADA + "P2,too,few\n", encoding="utf-8")
    with pytest.raises(PipelineError, match=r"people\.csv:3: 3 cells below 6 columns"):
        reference_for(people, tmp_path / "refs", region="US")
    assert list((tmp_path / "refs").iterdir()) == []


class ChangingPeople(FilePeople):
    """People whose file is replaced by another while it is read."""

    versions = iter(["1", "2"])

    def version(self) -> str:
        return next(self.versions)


def test_data_that_change_meanwhile_are_refused(people, tmp_path):
    changing = ChangingPeople(people._config)
    with pytest.raises(PipelineError, match="changed while they were read"):
        reference_for(changing, tmp_path / "refs", region="US")
    assert list((tmp_path / "refs").iterdir()) == []


def test_a_value_of_many_people_keeps_one_row_without_a_person(tmp_path):
    path = tmp_path / "reference.parquet"
    many = {f"P{number}": {"phone": ["+12125550100"]} for number in range(5)}
    # One person who has a value twice is one person.
    many["Q"] = {"work_email": ["q@example.com"], "personal_email": ["q@example.com"]}
    build_reference(identified(many), path, stamp="s", shared_by=4)
    assert set(rows(path)) == {
        ("phone", "+12125550100", None, None),
        ("email", "q@example.com", "Q", None),
    }
    assert reference_stamp(path) == "s"
    build_reference(identified(many), path, stamp="s", shared_by=5)
    assert len([row for row in rows(path) if row[0] == "phone"]) == 5
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_with_a_quote_in_its_name(people, tmp_path):
    folder = tmp_path / "it's here"
    made = reference_for(people, folder, region="US", temp_dir=folder / "spill'd")
    found = match(
        identified({"C": {"work_email": ["ada@example.com"]}}),
        made,
        Matching(),
        temp_dir=folder / "spill'd",
    )
    assert found.read_all().column("person_id").to_pylist() == ["P1"]


def test_the_hash_is_the_same_in_every_batch(tmp_path):
    path = tmp_path / "reference.parquet"
    people = {f"P{n}": {"work_email": [f"a{n}@example.com"]} for n in range(20)}
    build_reference(identified(people), path, stamp="x")
    hashes = pq.read_table(path, columns=["key_hash"]).column(0)
    assert hashes.type == pa.uint64()
    assert len(set(hashes.to_pylist())) == 20
