import re

from salesforce_pipelines_tests.local_org.conftest import Api, unique


def views(api: Api, sobject: str) -> dict[str, str]:
    listing = api.get(f"sobjects/{sobject}/listviews")
    assert listing["size"] == len(listing["listviews"])
    assert listing["sobjectType"] == sobject
    return {view["developerName"]: view["id"] for view in listing["listviews"]}


def test_the_views_of_an_sobject_and_the_rows_of_list_view_agree(api: Api) -> None:
    contacts = views(api, "Contact")
    assert {"AllContacts", "RecentlyCreatedContacts", "MyContacts"} <= set(contacts)
    rows = api.records("SELECT Id, DeveloperName FROM ListView WHERE SobjectType = 'Contact'")
    assert {row["DeveloperName"]: row["Id"] for row in rows} == contacts
    assert len(views(api, "Lead")) >= 3


def test_one_view(api: Api) -> None:
    record_id = views(api, "Contact")["AllContacts"]
    view = api.get(f"sobjects/Contact/listviews/{record_id}")
    url = f"/services/data/v62.0/sobjects/Contact/listviews/{record_id}"
    assert view == {
        "describeUrl": f"{url}/describe",
        "developerName": "AllContacts",
        "id": record_id,
        "label": "All Contacts",
        "resultsUrl": f"{url}/results",
        "soqlCompatible": True,
        "url": url,
    }
    assert api.get(f"sobjects/Contact/listviews/{record_id[:15]}") == view


def test_a_described_view_can_be_run(api: Api) -> None:
    api.create("Lead", LastName="x", Company="y")
    for sobject in ("Contact", "Lead", "Account", "Opportunity", "Campaign"):
        for record_id in views(api, sobject).values():
            described = api.get(f"sobjects/{sobject}/listviews/{record_id}/describe")
            assert described["sobjectType"] == sobject
            assert described["id"] == record_id[:15]
            api.get("query", q=described["query"])
            condition = described["whereCondition"]
            if "field" in condition:
                assert condition["field"] in described["query"]
            hidden = [c["fieldNameOrPath"] for c in described["columns"] if c["hidden"]]
            assert hidden == ["Id", "CreatedDate", "LastModifiedDate", "SystemModstamp"]


def test_the_soql_of_a_view(api: Api) -> None:
    described = api.get(f"sobjects/Lead/listviews/{views(api, 'Lead')['MyUnreadLeads']}/describe")
    assert described["query"] == (
        "SELECT name, title, company, phone, mobilephone, email, tolabel(status), owner.alias, id, "
        "createddate, lastmodifieddate, systemmodstamp FROM Lead USING SCOPE mine "
        "WHERE IsUnreadByOwner = true AND IsConverted = false "
        "ORDER BY Name ASC NULLS FIRST, Id ASC NULLS FIRST"
    )
    assert described["scope"] == "mine"
    assert described["whereCondition"] == {
        "conditions": [
            {"field": "IsUnreadByOwner", "operator": "equals", "values": ["true"]},
            {"field": "IsConverted", "operator": "equals", "values": ["false"]},
        ],
        "conjunction": "and",
    }
    assert described["orderBy"][0] == {
        "fieldNameOrPath": "Name",
        "nullsPosition": "first",
        "sortDirection": "ascending",
    }


def test_results_are_texts(api: Api) -> None:
    name = unique("0000 Viewed")
    api.create("Lead", LastName=name, Company="y")
    record_id = views(api, "Lead")["RecentlyCreatedLeads"]
    results = api.get(f"sobjects/Lead/listviews/{record_id}/results", limit="2000")
    assert results["developerName"] == "RecentlyCreatedLeads"
    assert results["size"] == len(results["records"])
    shown = [
        {column["fieldNameOrPath"]: column["value"] for column in record["columns"]}
        for record in results["records"]
    ]
    (found,) = [row for row in shown if row["Name"] == name]
    assert found["Status"] == "Open - Not Contacted"
    assert found["Owner.Alias"] == "integusr"
    assert re.fullmatch(r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d GMT \d{4}", found["CreatedDate"])
    assert all(value is None or isinstance(value, str) for row in shown for value in row.values())
    assert len(api.get(f"sobjects/Lead/listviews/{record_id}/results", limit="1")["records"]) == 1


def test_views_that_are_not_there(api: Api) -> None:
    lead_view = views(api, "Lead")["AllOpenLeads"]
    for path in (
        f"sobjects/Contact/listviews/{lead_view}",
        "sobjects/contact/listviews/00B000000000000EAA/describe",
        "sobjects/Contact/listviews/junk/results",
        "sobjects/CampaignMember/listviews",
    ):
        assert api.get(path, status=404)[0]["errorCode"] == "NOT_FOUND"
    wrong = api.get(f"sobjects/Lead/listviews/{lead_view}/results", status=400, limit="0")
    assert wrong[0]["errorCode"] == "INVALID_QUERY_PARAMETER"
