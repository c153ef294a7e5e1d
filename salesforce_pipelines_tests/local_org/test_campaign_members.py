"""The statuses of a campaign's members over HTTP; the members' other rules are in test_rows."""

from typing import Any

from salesforce_pipelines.local_org.saves.campaign_members import MemberStatus, furthest
from salesforce_pipelines_tests.local_org.conftest import Api


def statuses(api: Api, campaign: str) -> list[dict[str, Any]]:
    return api.records(
        "SELECT Label, IsDefault, HasResponded FROM CampaignMemberStatus"
        f" WHERE CampaignId = '{campaign}' ORDER BY SortOrder"
    )


def row(api: Api, sobject: str, record_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"sobjects/{sobject}/{record_id}")
    return found


def test_a_new_campaign_has_two_statuses(api: Api) -> None:
    campaign = api.create("Campaign", Name="x")
    assert statuses(api, campaign) == [
        {"Label": "Sent", "IsDefault": True, "HasResponded": False},
        {"Label": "Responded", "IsDefault": False, "HasResponded": True},
    ]


def test_a_campaign_s_own_statuses(api: Api) -> None:
    campaign = api.create("Campaign", Name="x")
    api.create(
        "CampaignMemberStatus",
        CampaignId=campaign,
        Label="Attended",
        HasResponded=True,
        IsDefault=True,
        SortOrder=3,
    )
    assert [status["IsDefault"] for status in statuses(api, campaign)] == [False, False, True]
    contact = api.create("Contact", LastName="x")
    member = api.create("CampaignMember", CampaignId=campaign, ContactId=contact, Status="Nonsense")
    found = row(api, "CampaignMember", member)
    assert (found["Status"], found["HasResponded"]) == ("Attended", True)
    assert found["FirstRespondedDate"] == found["CreatedDate"][:10]
    assert row(api, "Campaign", campaign)["NumberOfResponses"] == 1
    api.update("CampaignMember", member, Status="sent")
    found = row(api, "CampaignMember", member)
    assert (found["Status"], found["HasResponded"]) == ("Sent", False)
    assert found["FirstRespondedDate"] is not None
    assert row(api, "Campaign", campaign)["NumberOfResponses"] == 0


def test_statuses_go_with_their_campaign(api: Api) -> None:
    campaign = api.create("Campaign", Name="x")
    api.delete("Campaign", campaign)
    assert statuses(api, campaign) == []


def test_the_status_that_is_further_along() -> None:
    order = [
        MemberStatus("Sent", True, False),
        MemberStatus("Attended", False, True),
        MemberStatus("Reminded", False, False),
    ]
    assert furthest(order, "Reminded", "attended") == "Attended"
    assert furthest(order, "Sent", "Reminded") == "Reminded"
    assert furthest(order, "Nonsense", None) == "Sent"
