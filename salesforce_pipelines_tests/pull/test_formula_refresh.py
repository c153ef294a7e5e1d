"""Formulas change without a stamp; reading them anew brings the table up to the org."""

import dataclasses
import time
from typing import Any

import pytest

from salesforce_pipelines.config.models import SoqlScope
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org import reading
from salesforce_pipelines.org.describe import FieldDescribe, SObjectDescribe, arrow_schema
from salesforce_pipelines.pull.formula_refresh import FormulaReport, formulas, refresh_formulas
from salesforce_pipelines.pull.pulling import Wanted, pull
from salesforce_pipelines.store.tables import ChangeLog
from salesforce_pipelines_tests.conftest import Project, Start

SYSTEM = ["Id", "IsDeleted", "CreatedDate", "SystemModstamp"]
FIELDS = [*SYSTEM, "LastName", "AccountId", "Account_Tier__c", "Full_Name_Length__c"]


def field(name: str, kind: str = "string", *, calculated: bool = False) -> FieldDescribe:
    return FieldDescribe(
        name, name, kind, 255, 18, 0, False, False, True, calculated, False, (), ()
    )


DESCRIBED = SObjectDescribe(
    "Contact",
    "Contact",
    {
        one.name.lower(): one
        for one in (
            field("Id", "id"),
            field("SystemModstamp", "datetime"),
            field("LastName"),
            field("Tier__c", calculated=True),
            field("Length__c", "double", calculated=True),
        )
    },
)
TABLE = arrow_schema(DESCRIBED.fields.values())
NAMES = TABLE.names


def chosen(names: list[str], followed: list[str], **options: Any) -> list[str]:
    table = options.pop("table", TABLE)
    return [one.name for one in formulas(DESCRIBED, names, table, followed, **options)]


def test_only_calculated_fields_that_are_configured_and_pulled_are_read() -> None:
    assert chosen(NAMES, NAMES) == ["Tier__c", "Length__c"]
    assert chosen(["Id", "SystemModstamp", "LastName", "Tier__c"], NAMES) == ["Tier__c"]
    assert chosen(["Id", "SystemModstamp", "LastName"], NAMES) == []
    assert chosen(["Id", "SystemModstamp"], NAMES, every_field=True) == ["Length__c", "Tier__c"]
    assert chosen(NAMES, ["Id", "SystemModstamp", "Tier__c"]) == ["Tier__c"], "not pulled yet"
    retyped = arrow_schema(
        [
            dataclasses.replace(one, type="double") if one.name == "Tier__c" else one
            for one in DESCRIBED.fields.values()
        ]
    )
    assert chosen(NAMES, NAMES, table=retyped) == ["Length__c"], "left to a full pull"


def pulled(project: Project, fields: list[str] = FIELDS, scope: str = "") -> ChangeLog:
    log = project.tables.log("pulled/contacts")
    time.sleep(1.1)
    wanted = Wanted("Contact", fields, scope=SoqlScope(soql=scope) if scope else None)
    pull(project.org, log, wanted, project.pipelines.pull)
    return log


def refreshed(project: Project, fields: list[str] = FIELDS) -> FormulaReport:
    log = project.tables.log("pulled/contacts")
    return refresh_formulas(project.org, log, "Contact", fields, project.pipelines.pull)


def tiers(project: Project, log: ChangeLog, account: str) -> set[str]:
    rows = log.current(where=f"AccountId = '{account}' AND record_state = 'live'").read_all()
    return set(rows.column("Account_Tier__c").to_pylist())


def an_account(project: Project) -> tuple[str, list[str]]:
    """An account and its contacts."""
    where = "IsDeleted = false AND AccountId != null"
    account = project.query(f"SELECT AccountId FROM Contact WHERE {where} LIMIT 1")[0]["AccountId"]
    where = f"IsDeleted = false AND AccountId = '{account}'"
    return account, [row["Id"] for row in project.query(f"SELECT Id FROM Contact WHERE {where}")]


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [10_000, 1], ids=["REST", "Bulk API 2.0"])
def test_a_formula_over_another_record_is_brought_up_without_a_stamp(
    start: Start, shipped: dict[str, Any], threshold: int
) -> None:
    project = start(pull={**shipped["pull"], "bulk_threshold": threshold})
    account, contacts = an_account(project)
    project.edit("Account", account, AnnualRevenue=1)
    log = pulled(project)
    before = log.current().read_all().sort_by("Id")
    state = log.state()
    assert state is not None
    assert state.metadata["calculated"] == ["Account_Tier__c", "Full_Name_Length__c"]
    assert tiers(project, log, account) == {"Small business"}
    project.edit("Account", account, AnnualRevenue=250_000_000)
    pulled(project)
    assert tiers(project, log, account) == {"Small business"}, "no pull sees it"
    report = refreshed(project)
    assert (report.changed, report.fields) == (
        len(contacts),
        ("Account_Tier__c", "Full_Name_Length__c"),
    )
    assert report.compared == len(project.query("SELECT Id FROM Contact WHERE IsDeleted = false"))
    assert report.channel == ("Bulk API 2.0" if threshold == 1 else "REST")
    assert tiers(project, log, account) == {"Enterprise"}
    after = log.current().read_all().sort_by("Id")
    others = [name for name in after.schema.names if name != "Account_Tier__c"]
    assert after.select(others) == before.select(others)
    state = log.state()
    assert state is not None
    written = log.changed_since(state.batch - 1, ["Id"]).read_all().column("Id").to_pylist()
    assert sorted(written) == sorted(contacts)
    assert set(state.metadata) >= {"sobject", "watermark", "fields", "drift", "scope", "org"}
    again = refreshed(project)
    assert (again.changed, log.state()) == (0, state), "and then there is nothing to write"


@pytest.mark.slow
def test_a_record_edited_since_the_pull_is_left_to_the_next_one(project: Project) -> None:
    account, contacts = an_account(project)
    log = pulled(project)
    time.sleep(1.1)
    project.edit("Contact", contacts[0], LastName="A name of another length altogether")
    assert refreshed(project).changed == 0
    pulled(project)
    row = log.current(where=f"Id = '{contacts[0]}'").read_all().to_pylist()[0]
    assert row["Full_Name_Length__c"] >= len("A name of another length altogether")
    assert account


@pytest.mark.slow
def test_what_an_interrupted_pull_landed_is_kept(
    start: Start, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = start(pull={**shipped["pull"], "bulk_threshold": 1})
    account, _ = an_account(project)
    log = pulled(project)
    project.edit("Account", account, AnnualRevenue=250_000_000)
    monkeypatch.setattr(reading, "_LARGEST_BULK_PAGE", 100)
    monkeypatch.setattr(reading, "_SMALLEST_BULK_PAGE", 100)

    def cut(rows: int, _expected: int) -> None:
        if rows > 100:
            raise KeyError

    wanted = Wanted("Contact", FIELDS, full=True)
    with pytest.raises(KeyError):
        pull(project.org, log, wanted, project.pipelines.pull, cut)
    report = refreshed(project)
    assert (report.waits, report.changed) == (True, 0)
    assert pull(project.org, log, wanted, project.pipelines.pull).resumed
    assert not refreshed(project).waits
    assert tiers(project, log, account) == {"Enterprise"}


@pytest.mark.slow
def test_only_the_scope_is_read(project: Project) -> None:
    account, contacts = an_account(project)
    pulled(project, scope=f"AccountId = '{account}' OR LastName = 'Nobody'")
    assert refreshed(project).compared == len(contacts)


@pytest.mark.slow
def test_without_a_formula_field_the_describe_is_all_it_costs(project: Project) -> None:
    log = pulled(project, SYSTEM)
    state = log.state()
    assert state is not None
    assert state.metadata["calculated"] == []
    assert refreshed(project, SYSTEM) == FormulaReport("Contact", api_calls=1)


@pytest.mark.slow
def test_before_the_first_pull_there_is_nothing_to_refresh(project: Project) -> None:
    with pytest.raises(PipelineError, match="nothing to refresh yet"):
        refreshed(project)
