import csv
import io
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.config.models import FileProvider, Identifiers, NameCompany
from salesforce_pipelines.enrichment import providers
from salesforce_pipelines.enrichment.providers import FilePeople
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity.people import PeopleProvider

GOOD = "person_id,first,last,company,email,phones\nP1,Ada,King,Acme,ada@example.com,\nP2,,,,,\n"


def people_of(path: Path, **changes: object) -> FilePeople:
    values: dict[str, object] = {
        "kind": "file",
        "name": "people",
        "path": path,
        "person_id": "person_id",
        "identifiers": Identifiers(
            work_email=("email",),
            phone=("phones",),
            name_company=NameCompany(first="first", last="last", company="company"),
        ),
        "credits_per_person": 2,
    }
    return FilePeople(FileProvider.model_validate(values | changes))


def written(folder: Path, content: str | bytes, **changes: object) -> FilePeople:
    path = folder / "people.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return people_of(path, **changes)


def refusal(people: FilePeople, *columns: str) -> str:
    with pytest.raises(PipelineError) as caught:
        people.check(columns)
    assert caught.value.__cause__ is None or "Arrow" not in type(caught.value.__cause__).__name__
    return str(caught.value).replace(str(people._path), "people.csv")


def test_it_is_a_provider(tmp_path):
    file = written(tmp_path, GOOD, updated_at="company")
    file.check()
    people: PeopleProvider = file
    assert people.name == "people"
    assert people.credits_per_person == 2
    assert people.separator == ";"
    assert people.updated_at == "company"
    assert people.identifiers.work_email == ("email",)


def test_a_missing_file(tmp_path):
    people = people_of(tmp_path / "people.csv")
    assert refusal(people) == "people.csv: no such file; enrichment.provider.path names it"
    with pytest.raises(PipelineError, match="no such file"):
        people.version()
    with pytest.raises(PipelineError, match="no such file"):
        people.people([])


def test_a_folder_instead_of_a_file(tmp_path):
    assert refusal(people_of(tmp_path)).endswith("cannot be read: Is a directory")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf"])
def test_an_empty_file(tmp_path, content):
    assert refusal(written(tmp_path, content)) == (
        "people.csv:1: the file is empty; it needs a header and people"
    )


def test_a_header_without_people(tmp_path):
    content = GOOD.splitlines(keepends=True)[0]
    assert refusal(written(tmp_path, content)) == (
        "people.csv:2: there are no people below the header"
    )
    assert "no people" in refusal(written(tmp_path, content.rstrip()))


@pytest.mark.parametrize(
    ("changes", "columns", "told"),
    [
        (
            {"person_id": "person"},
            (),
            "there is no column 'person', which enrichment.provider.person_id names; "
            "did you mean 'person_id'?",
        ),
        (
            {"identifiers": Identifiers(phone=("Mobile",))},
            (),
            "there is no column 'Mobile', which enrichment.provider.identifiers.phone names; "
            "the header has person_id, first, last, company, email, phones",
        ),
        (
            {
                "identifiers": Identifiers(
                    name_company=NameCompany(first="first", last="last", company="Company")
                )
            },
            (),
            "there is no column 'Company', which enrichment.provider.identifiers.name_company "
            "names; did you mean 'company'?",
        ),
        (
            {"updated_at": "seen"},
            (),
            "there is no column 'seen', which enrichment.provider.updated_at names; "
            "the header has person_id, first, last, company, email, phones",
        ),
        (
            {},
            ("job_title",),
            "there is no column 'job_title', which a field mapping names; "
            "the header has person_id, first, last, company, email, phones",
        ),
    ],
)
def test_a_missing_column(tmp_path, changes, columns, told):
    assert refusal(written(tmp_path, GOOD, **changes), *columns) == f"people.csv:1: {told}"


def test_a_column_that_stands_twice(tmp_path):
    content = GOOD.replace("company", "last", 1)
    assert refusal(written(tmp_path, content)) == (
        "people.csv:1: column 'last' stands twice; rename one"
    )


def test_another_column_called_person_id(tmp_path):
    people = written(tmp_path, GOOD, person_id="email")
    assert "is not the id, which is 'email'" in refusal(people, "person_id")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("P1,a,b,c,d,e\nP2,a,b\n", "3: 3 cells below 6 columns; put cells with commas or line"),
        ('P1,"a\n\nb",b,c,d,e\nP2,a,b\n', "5: 3 cells below 6 columns"),
        ("P1,a,b,c,d,e\n\nP2,a,b,c,d,e,f\n", "4: 7 cells below 6 columns"),
        ('P1,a,b,c,d,e\nP2,a,"b,c,d,e\nP3,a,b,c,d,e\n', "3: unexpected end of data; close every"),
        ('P1,a,b,c,d,"e"x"\nP2,a,b,c,d,e\n', "2: ',' expected after '\"'; close every"),
        (b"P1,a,b,c,d,e\nP2,a,b,caf\xe9,d,e\n", "3: column 'company' is not UTF-8; save"),
        ("P1,a,b,c,d,e\n,a,b,c,d,e\n", "3: column 'person_id' is blank; every person needs"),
        (
            'P1,"a\nb",b,c,d,e\nP2,a,b,c,d,e\nP1,a,b,c,d,e\nP2,a,b,c,d,e\n',
            "5: column 'person_id' is that of line 2; a person may stand once",
        ),
    ],
)
def test_malformed_rows(tmp_path, rows, told):
    header = GOOD.splitlines(keepends=True)[0].encode()
    people = written(tmp_path, header + (rows.encode() if isinstance(rows, str) else rows))
    assert refusal(people).startswith(f"people.csv:{told}")


def test_an_unclosed_quotation_mark_in_a_large_file(tmp_path):
    row = "P{},Ada,King,Acme,ada@example.com,212-555-0100 212-555-0101\n"
    lines = [GOOD.splitlines(keepends=True)[0], *(row.format(n) for n in range(150_000))]
    lines[70_000] = lines[70_000].replace("King", '"King')
    told = refusal(written(tmp_path, "".join(lines)))
    assert told.startswith("people.csv:70001: field larger than field limit")


def test_an_unclosed_quotation_mark_in_the_header(tmp_path):
    told = refusal(written(tmp_path, f'"{GOOD}{"x" * 200_000}'))
    assert told.startswith("people.csv:1: unexpected end of data; close every quotation mark")


def test_errors_do_not_quote_rows(tmp_path):
    content = GOOD + "P3,Grace,Secret\n"
    people = written(tmp_path, content)
    for call in (people.check, lambda: people.read(["P1"], ["first"]), people.people([]).read_all):
        with pytest.raises(PipelineError) as caught:
            call()
        assert "Secret" not in str(caught.value)
        assert caught.value.__suppress_context__


def test_a_quotation_mark_inside_an_unquoted_cell_is_text(tmp_path):
    people = written(tmp_path, GOOD.replace("Acme", 'Acme 5" Pipes'))
    people.check()
    assert people.read(["P1"], ["company"]).to_pylist() == [
        {"person_id": "P1", "company": 'Acme 5" Pipes'}
    ]


def test_people_streams_text_as_it_stands(tmp_path):
    content = (
        '\ufeffid,a,b\r\nP1,NA,"x\r\ny\nz"\r\nP2,null,#N/A\r\nP3,"",\r\nP4,007," q ""r"" "\r\n'
    )
    people = written(tmp_path, content, person_id="id", identifiers=Identifiers(work_email=("a",)))
    people.check()
    reader = people.people(["b", "a"])
    assert reader.schema == pa.schema([(name, pa.string()) for name in ["person_id", "b", "a"]])
    assert reader.read_all().to_pylist() == [
        {"person_id": "P1", "b": "x\r\ny\nz", "a": "NA"},
        {"person_id": "P2", "b": "#N/A", "a": "null"},
        {"person_id": "P3", "b": None, "a": None},
        {"person_id": "P4", "b": ' q "r" ', "a": "007"},
    ]
    assert people.people(["id"]).read_all().column_names == ["person_id", "id"]
    assert people.people([]).read_all().column_names == ["person_id"]


CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8
)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_every_cell_comes_back(tmp_path_factory, cells):
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(["person_id", "email", "x"])
    writer.writerows([f"P{number}", *row] for number, row in enumerate(cells))
    folder = tmp_path_factory.mktemp("people")
    people = written(folder, text.getvalue(), identifiers=Identifiers(work_email=("email",)))
    people.check()
    table = people.people(["email", "x"]).read_all()
    found = [
        tuple("" if cell is None else cell for cell in row.values()) for row in table.to_pylist()
    ]
    assert found == [(f"P{number}", *row) for number, row in enumerate(cells)]


def test_read_gives_the_people_found_and_the_columns_wanted(tmp_path):
    people = written(tmp_path, GOOD)
    for ids in (["P1", "P9"], ("P1",), pa.array(["P1"]), pa.chunked_array([["P9"], ["P1", "P1"]])):
        assert people.read(ids, ["first", "email"]).to_pylist() == [
            {"person_id": "P1", "first": "Ada", "email": "ada@example.com"}
        ]
    nobody = people.read([], ["first"])
    assert nobody.num_rows == 0
    assert nobody.column_names == ["person_id", "first"]


def test_the_version_follows_the_content(tmp_path):
    people = written(tmp_path, GOOD)
    first = people.version()
    os.utime(people._path)
    assert people.version() == first
    written(tmp_path, GOOD.replace("Ada", "Bob"))
    second = people.version()
    assert second != first
    written(tmp_path, GOOD)
    assert people.version() == first


def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path):
    people = written(tmp_path, GOOD)
    state = people._path.stat()
    os.utime(people._path, ns=(0, 10**18))
    first = people.version()
    written(tmp_path, GOOD.replace("Ada", "Bob"))
    os.utime(people._path, ns=(0, 10**18))
    assert people._path.stat().st_size == state.st_size
    assert people.version() != first


def test_an_old_file_is_read_once(tmp_path, monkeypatch):
    people = written(tmp_path, GOOD)
    reads: list[Path] = []
    sha256 = providers._sha256

    def read(path):
        reads.append(path)
        return sha256(path)

    monkeypatch.setattr(providers, "_sha256", read)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 1_000_000)
    versions = {people.version(), people.version()}
    assert len(reads) == 2  # written just now: another edit may follow unseen
    monkeypatch.setattr(time, "time_ns", lambda: now + 3_000_000_000)
    versions |= {people.version(), people.version(), people_of(people._path).version()}
    assert len(reads) == 3
    assert len(versions) == 1


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    people = written(tmp_path, GOOD + "".join(f"Q{n},{'x' * 50},,,,\n" for n in range(200_000)))
    reader = people.people(["first"])
    reader.read_next_batch()
    with people._path.open("a", encoding="utf-8") as file:
        file.write("P3,,,,,\n")
    with pytest.raises(PipelineError, match="changed while it was read"):
        reader.read_all()


def test_reading_can_be_given_up(tmp_path):
    people = written(tmp_path, GOOD + "".join(f"Q{n},{'x' * 50},,,,\n" for n in range(200_000)))
    reader = people.people(["first"])
    reader.read_next_batch()
    del reader
    people._path.unlink()


def test_memory_does_not_grow_with_the_file(tmp_path):
    people = written(tmp_path, GOOD + "".join(f"Q{n},{'x' * 90},,,,\n" for n in range(600_000)))
    assert people._path.stat().st_size > 60_000_000
    before = pa.total_allocated_bytes()
    most = 0
    for _ in people.people(["first"]):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 40_000_000
