"""Tables equal the org after every pull, whatever happened between and during them."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from salesforce_pipelines.config.models import SoqlScope
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.pull.pulling import PullReport, Wanted, pull, watermark_of
from salesforce_pipelines_tests.conftest import Project, Start

pytestmark = pytest.mark.slow


def pull_contacts(project: Project) -> PullReport:
    log = project.tables.log("pulled/contacts")
    fields = project.pipelines.fields_of("Contact")
    return pull(project.org, log, Wanted("Contact", fields), project.pipelines.pull)


def held(project: Project, columns: list[str]) -> dict[str, dict[str, Any]]:
    rows = project.tables.log("pulled/contacts").current(columns).read_all().to_pylist()
    return {row["Id"]: row for row in rows}


def in_org(project: Project, columns: list[str]) -> dict[str, dict[str, Any]]:
    records = project.query(f"SELECT {', '.join(columns)} FROM Contact")
    for record in records:
        for name, value in record.items():
            if name.endswith(("Date", "Modstamp")) and value:
                record[name] = datetime.fromisoformat(value)
    return {record["Id"]: record for record in records}


def a_second() -> None:
    """Stamps are whole seconds, and the running second is left to the next pull."""
    time.sleep(1.1)


@pytest.mark.parametrize("threshold", [10_000, 1], ids=["REST", "Bulk API 2.0"])
def test_a_full_pull_equals_the_org_field_by_field(
    start: Start, shipped: dict[str, Any], threshold: int
) -> None:
    project = start(pull={**shipped["pull"], "bulk_threshold": threshold})
    columns = list(project.pipelines.fields_of("Contact"))
    report = pull_contacts(project)
    org = in_org(project, columns)
    assert report.full
    assert report.channel == ("Bulk API 2.0" if threshold == 1 else "REST")
    assert report.read == len(org)
    assert report.deleted == sum(row["IsDeleted"] for row in org.values()) > 0
    assert held(project, columns) == org


@pytest.mark.parametrize("threshold", [10_000, 1], ids=["REST", "Bulk API 2.0"])
def test_a_full_pull_over_the_table_counts_only_what_is_other(
    start: Start, shipped: dict[str, Any], threshold: int
) -> None:
    project = start(pull={**shipped["pull"], "bulk_threshold": threshold})
    columns = ["Id", "Department", "IsDeleted", "record_state"]
    first = pull_contacts(project)
    log = project.tables.log("pulled/contacts")
    wanted = Wanted("Contact", project.pipelines.fields_of("Contact"), full=True)
    ids = [row["Id"] for row in project.query("SELECT Id FROM Contact WHERE IsDeleted = false")]
    project.edit("Contact", ids[0], Department=f"Moved at {time.time()}")
    created = project.org.request(
        "POST", f"{project.org.base_path}/sobjects/Contact", json={"LastName": "New"}
    ).json()["id"]
    before = log.state()
    assert before is not None
    report = pull(project.org, log, wanted, project.pipelines.pull)
    assert (report.full, report.added, report.changed) == (True, 1, 1)
    assert (report.deleted, report.merged, report.unchanged) == (0, 0, first.read - 1)
    others = log.changed_since(before.batch, ["Id"]).read_all()["Id"].to_pylist()
    assert sorted(others) == sorted([ids[0], created])
    state = log.state()
    assert state is not None
    assert (state.upserted, state.deleted) == (2, 0)
    again = pull(project.org, log, wanted, project.pipelines.pull)
    assert (again.landed, again.unchanged) == (0, first.read + 1)
    assert not log.changed_since(state.batch, ["Id"]).read_all().num_rows
    org = in_org(project, columns[:3])
    assert {key: dict(list(row.items())[:3]) for key, row in held(project, columns).items()} == org


def test_an_incremental_pull_takes_what_changed_and_nothing_else(project: Project) -> None:
    columns = ["Id", "Department", "IsDeleted", "SystemModstamp"]
    pull_contacts(project)
    ids = [row["Id"] for row in project.query("SELECT Id FROM Contact WHERE IsDeleted = false")]
    edited, deleted = ids[:7], ids[7:9]
    for record in edited:
        project.edit("Contact", record, Department="Moved")
    for record in deleted:
        project.org.request("DELETE", f"{project.org.base_path}/sobjects/Contact/{record}")
    project.org.request(
        "POST", f"{project.org.base_path}/sobjects/Contact", json={"LastName": "New"}
    )
    a_second()
    report = pull_contacts(project)
    assert (report.full, report.added, report.changed, report.deleted) == (False, 1, 7, 2)
    assert held(project, columns) == in_org(project, columns)
    a_second()
    again = pull_contacts(project)
    read_before = report.landed + report.unchanged
    assert (again.landed, again.unchanged) == (0, read_before), (
        "the overlap is read again and recognised"
    )
    assert again.api_calls <= 3


def test_the_watermark_moves_with_the_data_and_never_back(project: Project) -> None:
    log = project.tables.log("pulled/contacts")
    assert watermark_of(log) is None
    before = datetime.now(UTC).replace(microsecond=0)
    pull_contacts(project)
    first = watermark_of(log)
    assert first is not None
    assert first >= before
    pull_contacts(project)
    second = watermark_of(log)
    assert second is not None
    assert second >= first


def test_a_pull_that_fails_leaves_the_last_good_data(project: Project) -> None:
    pull_contacts(project)
    log = project.tables.log("pulled/contacts")
    before = log.state()
    scope = SoqlScope(soql="Shoe_Size__c = 44")
    wanted = Wanted("Contact", project.pipelines.fields_of("Contact"), scope=scope)
    with pytest.raises(PipelineError, match=r"Contact\.scope .* does not take .*Shoe_Size"):
        pull(project.org, log, wanted, project.pipelines.pull)
    assert log.state() == before
    assert held(project, ["Id"])


def test_a_field_that_is_added_to_the_configuration_is_pulled_for_every_record(
    project: Project,
) -> None:
    log = project.tables.log("pulled/contacts")
    some = ["Id", "IsDeleted", "CreatedDate", "SystemModstamp", "LastName"]
    pull(project.org, log, Wanted("Contact", some), project.pipelines.pull)
    report = pull(project.org, log, Wanted("Contact", [*some, "Email"]), project.pipelines.pull)
    assert report.full
    assert held(project, ["Id", "Email"]) == in_org(project, ["Id", "Email"])


KILLED = """
import os, sys
from pathlib import Path
from salesforce_pipelines.config.loading import load
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull.pulling import Wanted, pull
from salesforce_pipelines.store.tables import Tables

pipelines = load(Path(sys.argv[1]))
org = OrgSession(pipelines.connection)
pull(org, Tables(pipelines.storage.tables).log("pulled/contacts"),
     Wanted("Contact", pipelines.fields_of("Contact")), pipelines.pull,
     lambda rows, expected: os._exit(9))
"""


@pytest.mark.parametrize("threshold", [10_000, 1], ids=["REST", "Bulk API 2.0"])
def test_killing_the_process_during_a_pull_changes_nothing(
    start: Start, shipped: dict[str, Any], threshold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**shipped["pull"], "bulk_threshold": threshold}
    killed, undisturbed = start(pull=settings), start(pull=settings)
    environment = killed.org._given
    assert environment is not None
    monkeypatch.setenv("SALESFORCE_LOGIN_URL", str(environment.login_url))
    monkeypatch.setenv("SALESFORCE_CLIENT_ID", environment.client_id)
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", environment.client_secret.get_secret_value())
    configuration = str(killed.folder / "pipelines.yaml")

    def kill() -> None:
        done = subprocess.run([sys.executable, "-c", KILLED, configuration], check=False)
        assert done.returncode == 9, "the process died while rows were landing"

    columns = list(killed.pipelines.fields_of("Contact"))
    kill()
    assert killed.tables.log("pulled/contacts").state() is None
    pull_contacts(killed)
    a_second()
    first = killed.query("SELECT Id FROM Contact WHERE IsDeleted = false LIMIT 3")
    for record in first:
        killed.edit("Contact", record["Id"], Title="Between two pulls")
    a_second()
    before = killed.tables.log("pulled/contacts").state()
    kill()
    assert killed.tables.log("pulled/contacts").state() == before
    pull_contacts(killed)
    pull_contacts(undisturbed)
    assert held(killed, columns) == held(undisturbed, columns) == in_org(killed, columns)
    assert all(held(killed, ["Id", "Title"])[row["Id"]]["Title"] == "Between two pulls"
               for row in first)  # fmt: skip


def test_the_table_is_readable_while_nothing_of_a_broken_pull_is_visible(tmp_path: Path) -> None:
    """A folder with the leftovers of a killed pull is no table."""
    from salesforce_pipelines.store.tables import Tables

    log = Tables(tmp_path).log("pulled/contacts")
    (tmp_path / "pulled" / "contacts").mkdir(parents=True)
    (tmp_path / "pulled" / "contacts" / "leftover.parquet").write_bytes(b"half a file")
    assert log.state() is None


def test_a_field_that_was_left_out_for_a_while_comes_back_whole(project: Project) -> None:
    log = project.tables.log("pulled/contacts")
    some = ["Id", "IsDeleted", "CreatedDate", "SystemModstamp"]
    settings = project.pipelines.pull
    pull(project.org, log, Wanted("Contact", [*some, "Department"]), settings)
    record = project.query("SELECT Id FROM Contact WHERE IsDeleted = false LIMIT 1")[0]["Id"]
    project.edit("Contact", record, Department="While it was left out")
    a_second()
    assert not pull(project.org, log, Wanted("Contact", some), settings).full
    assert pull(project.org, log, Wanted("Contact", [*some, "Department"]), settings).full
    assert held(project, ["Id", "Department"]) == in_org(project, ["Id", "Department"])


def test_a_second_change_within_the_same_second_is_not_lost(project: Project) -> None:
    record = project.query("SELECT Id FROM Contact WHERE IsDeleted = false LIMIT 1")[0]["Id"]
    project.edit("Contact", record, Department="first")
    pull_contacts(project)
    project.edit("Contact", record, Department="second")
    a_second()
    pull_contacts(project)
    assert held(project, ["Id", "Department"])[record]["Department"] == "second"


def test_a_record_that_the_org_has_forgotten_stays_as_deleted(project: Project) -> None:
    log = project.tables.log("pulled/contacts")
    fields = list(project.pipelines.fields_of("Contact"))
    pull_contacts(project)
    forgotten = log.current().read_all().slice(0, 1)
    index = forgotten.schema.get_field_index("Id")
    forgotten = forgotten.set_column(index, "Id", pa.array(["003000000000000AAA"]))
    state = log.state()
    assert state is not None
    log.append(forgotten, state.metadata)
    report = pull(project.org, log, Wanted("Contact", [*fields, "Fax"]), project.pipelines.pull)
    assert report.full
    assert held(project, ["Id", "IsDeleted"])["003000000000000AAA"]["IsDeleted"] is True
    assert len(held(project, ["Id"])) == len(in_org(project, ["Id"])) + 1


def test_a_table_never_takes_in_another_org(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull_contacts(project)
    before = project.tables.log("pulled/contacts").state()
    monkeypatch.setattr(project.org, "_org_id", "00D000000000099EAA")
    with pytest.raises(PipelineError, match="Give each org a storage of its own"):
        pull_contacts(project)
    assert project.tables.log("pulled/contacts").state() == before


def test_a_field_written_in_another_case_is_named(project: Project) -> None:
    log = project.tables.log("pulled/contacts")
    with pytest.raises(PipelineError, match="write the field title as Title"):
        pull(project.org, log, Wanted("Contact", ["Id", "title"]), project.pipelines.pull)
