"""OpportunityHistory: what a step of an opportunity leaves behind."""

from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.local_org.running import running_org
from salesforce_pipelines_tests.local_org.conftest import Api, api_of

FIELDS = "StageName, Amount, ExpectedRevenue, CloseDate, Probability, ForecastCategory"


def history(api: Api, opportunity: str) -> list[dict[str, Any]]:
    return api.records(
        f"SELECT Id, {FIELDS} FROM OpportunityHistory WHERE OpportunityId = '{opportunity}'"
        " ORDER BY CreatedDate, Id"
    )


def test_each_step_leaves_an_entry(api: Api) -> None:
    opportunity = api.create(
        "Opportunity", Name="x", StageName="Prospecting", CloseDate="2030-01-01", Amount=200
    )
    (first,) = history(api, opportunity)
    assert {name: first[name] for name in first if name != "Id"} == {
        "StageName": "Prospecting",
        "Amount": 200.0,
        "ExpectedRevenue": 20.0,
        "CloseDate": "2030-01-01",
        "Probability": 10.0,
        "ForecastCategory": "Pipeline",
    }
    api.update("Opportunity", opportunity, Description="no step", StageName="Prospecting")
    assert len(history(api, opportunity)) == 1
    api.update("Opportunity", opportunity, Amount=300)
    api.update("Opportunity", opportunity, CloseDate="2030-02-01")
    api.update("Opportunity", opportunity, StageName="Closed Won")
    _, amount, close_date, won = history(api, opportunity)
    assert (won["StageName"], won["Probability"]) == ("Closed Won", 100.0)
    assert (won["ForecastCategory"], won["ExpectedRevenue"]) == ("Closed", 300.0)
    row = api.get(f"sobjects/Opportunity/{opportunity}")
    assert row["LastAmountChangedHistoryId"] == amount["Id"]
    assert row["LastCloseDateChangedHistoryId"] == close_date["Id"]
    assert row["LastStageChangeDate"] == row["SystemModstamp"]
    children = api.records(
        f"SELECT (SELECT Id FROM OpportunityHistories) FROM Opportunity WHERE Id = '{opportunity}'"
    )
    assert children[0]["OpportunityHistories"]["totalSize"] == 4


def test_a_refused_step_leaves_none(api: Api) -> None:
    opportunity = api.create(
        "Opportunity", Name="x", StageName="Prospecting", CloseDate="2030-01-01"
    )
    path = f"sobjects/Opportunity/{opportunity}"
    api.send("PATCH", path, {"StageName": "Closed Won", "Name": None}, 400)
    assert len(history(api, opportunity)) == 1


def test_nobody_writes_it(api: Api) -> None:
    opportunity = api.create(
        "Opportunity", Name="x", StageName="Prospecting", CloseDate="2030-01-01"
    )
    (entry,) = history(api, opportunity)
    created = api.send("POST", "sobjects/OpportunityHistory", {"StageName": "x"}, 400)
    assert created[0]["errorCode"] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    api.send("DELETE", f"sobjects/OpportunityHistory/{entry['Id']}", None, 403)


def test_it_is_deleted_with_its_opportunity(api: Api) -> None:
    opportunity = api.create(
        "Opportunity", Name="x", StageName="Prospecting", CloseDate="2030-01-01"
    )
    api.delete("Opportunity", opportunity)
    assert history(api, opportunity) == []
    soql = f"SELECT IsDeleted FROM OpportunityHistory WHERE OpportunityId = '{opportunity}'"
    assert api.records(soql, "queryAll") == [{"IsDeleted": True}]


@pytest.mark.slow
def test_generated_opportunities_have_their_first_entry(tmp_path: Path) -> None:
    with running_org(tmp_path / "home", contacts=200) as org:
        api = api_of(org)
        with api.session:
            opportunities = api.get("query", q="SELECT count() FROM Opportunity")["totalSize"]
            entries = api.get("query", q="SELECT count() FROM OpportunityHistory")["totalSize"]
            campaigns = api.get("query", q="SELECT count() FROM Campaign")["totalSize"]
            statuses = api.get("query", q="SELECT count() FROM CampaignMemberStatus")["totalSize"]
    assert opportunities == entries > 0
    assert statuses == 2 * campaigns > 0
