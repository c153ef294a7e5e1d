"""Making an org's home: its own records, generated ones, and those of CSV files."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.bulk_api.jobs import Jobs
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines.local_org.storage.csv_loading import load_csv, parse_load

Records = list[tuple[str, dict[str, Any]]]

GENERATED: Records = [
    ("User", {"_key": 1, "LastName": "Rep", "Username": "rep@example.com", "Alias": "rep"}),
    ("Account", {"_key": 7, "Name": "Acme", "OwnerId": 1}),
    (
        "Contact",
        {
            "_key": 3,
            "LastName": "Con",
            "AccountId": 7,
            "OwnerId": 0,
            "HasOptedOutOfEmail": True,
            "Birthdate": "2000-01-02",
            "CreatedDate": "2024-05-01T10:00:00Z",
            "LastModifiedDate": "2024-05-02T10:00:00Z",
            "SystemModstamp": "2024-05-03T10:00:00Z",
        },
    ),
    ("Contact", {"_key": 4, "LastName": "Gone", "IsDeleted": True, "MasterRecordId": 3}),
    (
        "Lead",
        {
            "_key": 1,
            "LastName": "Lee",
            "Company": "Acme",
            "IsConverted": True,
            "ConvertedContactId": 3,
            "ConvertedAccountId": 7,
            "ConvertedDate": "2024-05-04",
        },
    ),
    (
        "Opportunity",
        {"_key": 1, "Name": "o", "StageName": "Closed Won", "CloseDate": "2024-05-04", "IsWon": 1},
    ),
]


def rows(home: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home / "org.db")) as connection:
        return connection.execute(sql).fetchall()


def built(home: Path, seed: int = 1, records: Records = GENERATED) -> Path:
    assert build_home(home, seed, lambda: records)
    return home


@pytest.fixture
def org(tmp_path: Path) -> Iterator[Org]:
    opened = Org(built(tmp_path / "home", records=[]), Settings())
    yield opened
    opened.close()


def test_generated_records_keep_their_links_and_times(tmp_path: Path) -> None:
    home = built(tmp_path / "home")
    assert rows(
        home,
        "SELECT c.LastName, a.Name, o.LastName, u.FirstName, c.HasOptedOutOfEmail, c.Birthdate,"
        " c.CreatedDate, c.LastModifiedDate, c.SystemModstamp FROM Contact c"
        " JOIN Account a ON a.Id = c.AccountId JOIN User o ON o.Id = a.OwnerId"
        " JOIN User u ON u.Id = c.OwnerId WHERE NOT c.IsDeleted",
    ) == [
        (
            "Con", "Acme", "Rep", "System", 1, "2000-01-02",
            "2024-05-01T10:00:00", "2024-05-02T10:00:00", "2024-05-03T10:00:00",
        )
    ]  # fmt: skip
    assert rows(
        home,
        "SELECT g.LastName, c.LastName FROM Contact g JOIN Contact c ON c.Id = g.MasterRecordId"
        " WHERE g.IsDeleted",
    ) == [("Gone", "Con")]
    assert rows(
        home,
        "SELECT l.IsConverted, c.LastName, l.Status FROM Lead l"
        " JOIN Contact c ON c.Id = l.ConvertedContactId",
    ) == [(1, "Con", "Open - Not Contacted")]
    assert rows(home, "SELECT Probability, ForecastCategoryName FROM Opportunity") == [
        (100.0, "Closed")
    ]


def test_equal_seeds_give_equal_ids_and_others_do_not(tmp_path: Path) -> None:
    homes = [built(tmp_path / str(n), seed) for n, seed in enumerate((1, 1, 2))]
    ids = [rows(home, "SELECT Id FROM Contact ORDER BY Id") for home in homes]
    assert ids[0] == ids[1] != ids[2]


def test_a_home_that_is_there_is_left_alone(tmp_path: Path) -> None:
    home = built(tmp_path / "home")
    before = (home / "org.db").read_bytes()

    def never() -> Records:
        raise AssertionError("records were generated again")

    assert not build_home(home, 2, never)
    assert (home / "org.db").read_bytes() == before


def test_an_interrupted_build_leaves_no_org(tmp_path: Path) -> None:
    home = tmp_path / "home"

    def interrupted() -> Iterator[tuple[str, dict[str, Any]]]:
        yield GENERATED[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_home(home, 1, interrupted)
    assert list(home.iterdir()) == []
    built(home)


def test_a_generated_field_that_is_unknown_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="Contact has no field Nope"):
        build_home(tmp_path / "home", 1, lambda: [("Contact", {"_key": 1, "Nope": 1})])


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "org.db").write_text("not a database, just a text that somebody put here", "utf-8")
    with pytest.raises(PipelineError, match=r"org\.db is not the file of a local org"):
        build_home(tmp_path, 1, list)


# CSV files

CONTACTS = """\ufeffexternal_id,FirstName,lastname,Account,Website,hasoptedoutofemail,Phone
k-1,Ann,Lee,Acme,https://example.com,true,1
K-2,,"O'Neil
Jr",acme,,,2

k-3,Bob,Ray,Other Ltd,,false,
"""


def loaded(org: Org, tmp_path: Path, text: str, name: str = "contacts.csv") -> int:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load_csv(org.store, parse_load(str(path)))


def contacts(org: Org, columns: str) -> list[tuple[Any, ...]]:
    sql = f"SELECT {columns} FROM Contact ORDER BY External_Id__c"
    return org.store.reader().execute(sql).fetchall()


def test_a_file_of_contacts(org: Org, tmp_path: Path) -> None:
    assert loaded(org, tmp_path, CONTACTS) == 3
    assert contacts(
        org, "External_Id__c, FirstName, LastName, Website__c, HasOptedOutOfEmail, Phone"
    ) == [
        ("k-1", "Ann", "Lee", "https://example.com", 1, "1"),
        ("K-2", None, "O'Neil\nJr", None, 0, "2"),
        ("k-3", "Bob", "Ray", None, 0, None),
    ]
    reader = org.store.reader()
    assert reader.execute("SELECT Name FROM Account ORDER BY Name").fetchall() == [
        ("Acme",),
        ("Other Ltd",),
    ]
    accounts = [account for (account,) in contacts(org, "AccountId")]
    assert accounts[0] == accounts[1] != accounts[2]
    owners = {owner for (owner,) in contacts(org, "OwnerId")}
    assert owners == {org.store.integration_user_id}


def test_loading_again_changes_nothing_and_a_change_changes_one_row(
    org: Org, tmp_path: Path
) -> None:
    loaded(org, tmp_path, CONTACTS)
    with org.store.write() as connection:
        connection.execute("UPDATE Contact SET SystemModstamp = '2020-01-01T00:00:00'")
    assert loaded(org, tmp_path, CONTACTS) == 0
    # Another file with the same rows is read, and finds nothing to do.
    assert loaded(org, tmp_path, CONTACTS + "\n", "again.csv") == 0
    assert loaded(org, tmp_path, CONTACTS.replace("Bob", "Rob"), "third.csv") == 1
    stamps = [stamp for (stamp,) in contacts(org, "SystemModstamp")]
    assert stamps[:2] == ["2020-01-01T00:00:00"] * 2
    assert stamps[2] > "2024"
    assert len(contacts(org, "Id")) == 3


def test_a_loaded_file_does_not_undo_later_changes(org: Org, tmp_path: Path) -> None:
    loaded(org, tmp_path, CONTACTS)
    with org.store.write() as connection:
        connection.execute("UPDATE Contact SET FirstName = 'Changed'")
    assert loaded(org, tmp_path, CONTACTS) == 0
    assert {name for (name,) in contacts(org, "FirstName")} == {"Changed"}


def test_without_external_ids_every_row_is_new_once(org: Org, tmp_path: Path) -> None:
    assert loaded(org, tmp_path, "LastName\nLee\nLee\n") == 2
    assert loaded(org, tmp_path, "LastName\nLee\nLee\n") == 0
    assert len(contacts(org, "Id")) == 2


def test_files_of_other_sobjects(org: Org, tmp_path: Path) -> None:
    path = tmp_path / "leads.csv"
    path.write_text("LastName,Company,Website,Status\nLee,Acme,https://example.com,\n", "utf-8")
    assert load_csv(org.store, parse_load(f"lead={path}")) == 1
    assert org.store.reader().execute("SELECT Website, Status FROM Lead").fetchall() == [
        ("https://example.com", "Open - Not Contacted")
    ]


def test_more_rows_than_a_batch(org: Org, tmp_path: Path) -> None:
    count = 12_345
    lines = "".join(f"k-{n},Name {n},Account {n % 700}\n" for n in range(count))
    assert loaded(org, tmp_path, f"External_Id__c,LastName,Account\n{lines}") == count
    reader = org.store.reader()
    assert reader.execute("SELECT count(*) FROM Account").fetchone() == (700,)
    wrong = reader.execute(
        "SELECT count(*) FROM Contact c JOIN Account a ON a.Id = c.AccountId"
        " WHERE 'Account ' || (substr(c.LastName, 6) % 700) <> a.Name"
    )
    assert wrong.fetchone() == (0,)
    assert reader.execute("SELECT count(DISTINCT Id) FROM Contact").fetchone() == (count,)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "", "the file is empty"),
        ("LastName,Shoe\nx,y\n", "line 1, column Shoe", "Contact has no such field"),
        ("LastName,Name\nx,y\n", "line 1, column Name", "Name is read-only"),
        ("LastName,Id\nx,y\n", "line 1, column Id", "Id is read-only"),
        ("LastName,last_name__c\nx,y\n", "line 1, column last_name__c", "no such field"),
        ("LastName,LASTNAME\nx,y\n", "line 1, column LASTNAME", "a second column for LastName"),
        ("FirstName\nx\n", "line 1", "there is no column for LastName"),
        ("LastName,Title\nx,y\nx\n", "line 3", "1 cells, but the header has 2"),
        ('LastName,Title\n"a\nb",y\nx,y,z\n', "line 4", "3 cells, but the header has 2"),
        ('LastName,Title\nx,"y"z\n', "line 2", "malformed CSV"),
        ('LastName,Title\nx,"y\n', "line 2", "malformed CSV"),
        ("LastName,Email\nx,secret-value\n", "line 2, column Email", "is not an email address"),
        (
            f"LastName\n{'secret-value' * 9}\n",
            "line 2, column LastName",
            "longer than 80 characters",
        ),
        (
            "LastName,Employee_Band\nx,secret-value\n",
            "line 2, column Employee_Band",
            "is none of the values 1-10,",
        ),
        ("LastName,Birthdate\nx,secret-value\n", "line 2, column Birthdate", "is not a date"),
        ("LastName,DoNotCall\nx,secret-value\n", "line 2, column DoNotCall", "is not a boolean"),
        ("LastName,Referral_Count\nx,1e30\n", "line 2, column Referral_Count", "too large"),
        ("LastName,OwnerId\nx,secret-value\n", "line 2, column OwnerId", "is not a record id"),
        ("LastName,AccountId\nx,001000000000000\n", "line 2, column AccountId", "no record with"),
        ("External_Id,LastName\n,x\n", "line 2, column External_Id", "the external id is blank"),
        ("External_Id,LastName\na,x\nA,y\n", "line 3, column External_Id", "stands in line 2"),
        ("LastName,Title\n,y\n", "line 2, column LastName", "blank, but required"),
    ],
)
def test_files_that_are_refused(org: Org, tmp_path: Path, text: str, where: str, what: str) -> None:
    with pytest.raises(PipelineError) as refusal:
        loaded(org, tmp_path, text)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path / 'contacts.csv'}{', ' + where if where else ''}: ")
    assert what in message
    assert "secret-value" not in message
    for sobject in ("Contact", "Account"):
        assert org.store.reader().execute(f"SELECT count(*) FROM {sobject}").fetchone() == (0,)


def test_a_late_error_undoes_the_whole_file(org: Org, tmp_path: Path) -> None:
    lines = "".join(f"k-{n},x,Account {n}\n" for n in range(6_000))
    with pytest.raises(PipelineError, match="line 6002"):
        loaded(org, tmp_path, f"External_Id__c,LastName,Account\n{lines}k-0,x,y\n")
    for sobject in ("Contact", "Account"):
        assert org.store.reader().execute(f"SELECT count(*) FROM {sobject}").fetchone() == (0,)
    assert loaded(org, tmp_path, f"External_Id__c,LastName,Account\n{lines}") == 6_000


def test_a_file_that_is_not_utf_8(org: Org, tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("LastName\nMüller\n".encode("latin-1"))
    with pytest.raises(PipelineError, match="not UTF-8"):
        load_csv(org.store, parse_load(str(path)))


def test_loads_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="there is no file"):
        parse_load(str(tmp_path / "nowhere.csv"))
    with pytest.raises(PipelineError, match=r"only Account, .*, User can be loaded, not Task"):
        parse_load(f"Task={tmp_path}")


def load_files(org: Org, tmp_path: Path, **texts: str) -> None:
    for sobject, text in texts.items():
        path = tmp_path / f"{sobject}.csv"
        path.write_text(text, encoding="utf-8")
        load_csv(org.store, parse_load(f"{sobject}={path}"))


def test_files_of_every_sobject_refer_to_each_other(org: Org, tmp_path: Path) -> None:
    load_files(
        org,
        tmp_path,
        User="Username,LastName,Email,Alias\nkim@example.com,Kim,kim@example.com,kim\n",
        Account="Name,Owner.Username\nAcme,KIM@example.com\n",
        Contact="External_Id__c,LastName,Account.Name,Newsletter\nc-1,Ann,acme,\n",
        Lead="External_Id__c,LastName,Company,Referred_By__r.External_Id__c\nl-1,Lee,x,C-1\n",
        Campaign="Name,IsActive\nSpring,true\n",
        CampaignMember="Campaign.Name,Contact.External_Id,Lead.External_Id,Status\n"
        "Spring,c-1,,Responded\nspring,,l-1,\n",
        Opportunity="Name,StageName,CloseDate,Account.Name\nDeal,Closed Won,2024-05-01,Acme\n",
    )
    reader = org.store.reader()
    assert reader.execute(
        "SELECT u.LastName, u.TimeZoneSidKey, c.LastName, c.Newsletter__c, c.Member_Number__c"
        " FROM Account a JOIN User u ON u.Id = a.OwnerId JOIN Contact c ON c.AccountId = a.Id"
    ).fetchall() == [("Kim", "UTC", "Ann", 1, "M-000001")]
    assert reader.execute(
        "SELECT l.LastName, c.LastName, l.Inquiry_Number__c FROM Lead l"
        " JOIN Contact c ON c.Id = l.Referred_By__c"
    ).fetchall() == [("Lee", "Ann", "R-00001")]
    assert reader.execute(
        "SELECT m.Status, c.LastName, l.LastName FROM CampaignMember m"
        " LEFT JOIN Contact c ON c.Id = m.ContactId LEFT JOIN Lead l ON l.Id = m.LeadId"
    ).fetchall() == [("Responded", "Ann", None), ("Sent", None, "Lee")]
    assert reader.execute(
        "SELECT Probability, ForecastCategoryName FROM Opportunity"
    ).fetchall() == [(100.0, "Closed")]


@pytest.mark.parametrize(
    ("sobject", "text", "what"),
    [
        ("Contact", "LastName,Account.Name\nx,Nobody\n", "line 2, column Account.Name: no Account"),
        ("Contact", "LastName,Account.Phone\nx,1\n", "cannot be found by a field Phone"),
        ("Contact", "LastName,Boss.Name\nx,1\n", "Contact has no relationship Boss"),
        ("Contact", "LastName,CreatedBy.Username\nx,1\n", "CreatedById is read-only"),
        ("Contact", "LastName,Owner.LastName\nx,1\n", "cannot be found by a field LastName"),
        ("Contact", "LastName,Region\nx,ROW\n", "is none of the values AMER, EMEA, APAC"),
        (
            "Contact",
            "LastName,Region,Territory\nx,AMER,North America\nx,APAC,DACH\n",
            "line 3, column Territory: the value is not valid beside that of Region__c",
        ),
        ("Contact", "LastName,Interests\nx,Security\n", ""),
        ("Contact", "LastName,Preferred_Call_Time\nx,noon\n", "is not a time"),
        ("Contact", "LastName,Office_Location__Latitude__s\nx,91\n", "is too large a number"),
        (
            "Contact",
            "Case_Code,LastName,Login_Email\nA,x,a@example.com\na,y,A@example.com\n",
            "two records would share a value that must be unique",
        ),
        ("Contact", "Case_Code,LastName\nA,x\nA,y\n", "stands in line 2 already"),
        ("CampaignMember", "Campaign.Name,LeadId\nSpring,\n", "one Contact or one Lead"),
        (
            "CampaignMember",
            "Campaign.Name,Contact.Email\nSpring,a@example.com\nSpring,a@example.com\n",
            "somebody would be twice in a campaign",
        ),
    ],
)
def test_values_that_do_not_fit_the_rest(
    org: Org, tmp_path: Path, sobject: str, text: str, what: str
) -> None:
    load_files(org, tmp_path, Campaign="Name\nSpring\n")
    load_files(org, tmp_path, Contact="LastName,Email\nAnn,a@example.com\n")
    if not what:
        load_files(org, tmp_path, **{sobject: text})
        return
    with pytest.raises(PipelineError) as refusal:
        load_files(org, tmp_path, **{sobject: text})
    assert what in str(refusal.value)


def test_jobs_are_forgotten_after_a_week(tmp_path: Path) -> None:
    home = built(tmp_path / "home", records=[])
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    org = Org(home, Settings(), clock=lambda: moment)
    jobs = Jobs(org)
    old = jobs.add("query", "JobComplete", {}, {})
    jobs.file(old, "csv").write_text("x")
    moment += timedelta(days=6)
    young = jobs.add("query", "JobComplete", {}, {})
    moment += timedelta(days=2)
    jobs.delete_expired()
    assert [job.id for job in jobs.all("query")] == [young.id]
    assert not jobs.file(old, "csv").exists()
    org.close()


def test_a_session_ends_two_hours_after_its_last_use(tmp_path: Path) -> None:
    home = built(tmp_path / "home", records=[])
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    org = Org(home, Settings(), clock=lambda: moment)
    token = org.sessions.open(org.store.admin_id, "client", "api").token
    for _ in range(3):
        moment += timedelta(minutes=90)
        assert org.sessions.find(token)
    moment += timedelta(minutes=121)
    assert org.sessions.find(token) is None
    org.close()


def test_calls_are_counted_for_a_day(tmp_path: Path) -> None:
    home = built(tmp_path / "home", records=[])
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    org = Org(home, Settings(), clock=lambda: moment)
    assert [org.state.count_call() for _ in range(3)] == [1, 2, 3]
    moment += timedelta(hours=23)
    assert org.state.count_call() == 4
    moment += timedelta(hours=1)
    assert org.state.calls_used() == 1
    org.close()
