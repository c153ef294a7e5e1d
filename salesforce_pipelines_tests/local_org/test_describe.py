from typing import Any

import pytest
import requests

from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.local_org.conftest import Api

SOBJECT_KEYS = frozenset(
    """actionOverrides activateable associateEntityType associateParentEntity
    childRelationships compactLayoutable createable custom customSetting deepCloneable
    defaultImplementation deletable deprecatedAndHidden extendedBy extendsInterfaces
    feedEnabled fields hasSubtypes implementedBy implementsInterfaces isInterface isSubtype
    keyPrefix label labelPlural layoutable listviewable lookupLayoutable mergeable
    mruEnabled name namedLayoutInfos networkScopeFieldName queryable recordTypeInfos
    replicateable retrieveable searchLayoutable searchable sobjectDescribeOption
    supportedScopes triggerable undeletable updateable urls""".split()  # noqa: SIM905  # a list of 50 quoted words reads badly
)
FIELD_KEYS = frozenset(
    """aggregatable aiPredictionField autoNumber byteLength calculated calculatedFormula
    cascadeDelete caseSensitive compoundFieldName controllerName createable custom
    defaultValue defaultValueFormula defaultedOnCreate dependentPicklist deprecatedAndHidden
    digits displayLocationInDecimal encrypted externalId extraTypeInfo filterable
    filteredLookupInfo formulaTreatNullNumberAsZero groupable highScaleNumber htmlFormatted
    idLookup inlineHelpText label length mask maskType name nameField namePointing nillable
    permissionable picklistValues polymorphicForeignKey precision queryByDistance
    referenceTargetField referenceTo relationshipName relationshipOrder restrictedDelete
    restrictedPicklist scale searchPrefilterable soapType sortable type unique updateable
    writeRequiresMasterRead""".split()  # noqa: SIM905  # a list of 50 quoted words reads badly
)


def fields(api: Api, sobject: str) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in api.get(f"sobjects/{sobject}/describe")["fields"]}


def test_versions_need_no_session_and_are_not_counted(org: RunningOrg) -> None:
    answer = requests.get(f"{org.url}/services/data", timeout=10)
    versions = answer.json()
    assert versions[0] == {"label": "Spring '18", "url": "/services/data/v42.0", "version": "42.0"}
    assert versions[-1]["label"] == "Summer '26"
    assert versions[-1]["version"] == "67.0"
    assert "Sforce-Limit-Info" not in answer.headers


@pytest.mark.parametrize("version", ["42.0", "59.0", "67.0"])
def test_the_version_asked_for_is_in_every_address(api: Api, version: str) -> None:
    root = api.call("GET", "", version=version).json()
    assert root["sobjects"] == f"/services/data/v{version}/sobjects"
    described = api.call("GET", "sobjects/Lead", version=version).json()
    assert described["objectDescribe"]["urls"]["describe"].startswith(f"/services/data/v{version}/")


@pytest.mark.parametrize("version", ["41.0", "68.0", "62", "62.5", "x"])
def test_other_versions_are_not_found(api: Api, version: str) -> None:
    answer = api.call("GET", "limits", version=version)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (404, "NOT_FOUND")


def test_every_sobject_is_described_with_every_key(api: Api) -> None:
    listed = api.get("sobjects")
    names = [sobject["name"] for sobject in listed["sobjects"]]
    assert {"Contact", "Lead", "Account", "Campaign", "CampaignMember", "Opportunity"} < set(names)
    assert {"User", "ListView", "Organization", "LeadStatus", "OpportunityStage"} < set(names)
    assert listed["maxBatchSize"] == 200
    for name in names:
        described = api.get(f"sobjects/{name.lower()}/describe/")
        assert described["name"] == name
        assert set(described) == SOBJECT_KEYS
        assert all(set(field) == FIELD_KEYS for field in described["fields"])


def test_what_a_new_record_needs(api: Api) -> None:
    def required(sobject: str) -> set[str]:
        return {
            name
            for name, field in fields(api, sobject).items()
            if field["createable"] and not field["nillable"] and not field["defaultedOnCreate"]
        }

    assert required("Contact") == {"LastName"}
    assert required("Lead") == {"LastName", "Company"}
    assert required("Account") == {"Name"}
    assert required("Opportunity") == {"Name", "StageName", "CloseDate"}
    assert required("CampaignMember") == {"CampaignId"}


def test_fields_of_each_kind(api: Api) -> None:
    contact = fields(api, "Contact")
    key = contact["External_Id__c"]
    assert (key["externalId"], key["unique"], key["idLookup"], key["length"]) == (
        True, True, True, 80,
    )  # fmt: skip
    assert key["byteLength"] == 240
    band = contact["Employee_Band__c"]
    assert band["restrictedPicklist"]
    assert [value["value"] for value in band["picklistValues"]][-1] == "5001+"
    formula = contact["Full_Name_Length__c"]
    assert formula["calculated"]
    assert formula["calculatedFormula"]
    assert not formula["updateable"]
    assert contact["Account_Tier__c"]["length"] == 1300
    count = contact["Referral_Count__c"]
    assert (count["type"], count["precision"], count["scale"]) == ("double", 18, 0)
    assert contact["MailingCity"]["compoundFieldName"] == "MailingAddress"
    assert contact["MailingAddress"]["type"] == "address"
    assert not contact["Description"]["filterable"]
    assert contact["AccountId"]["relationshipName"] == "Account"
    assert contact["AccountId"]["referenceTo"] == ["Account"]
    assert contact["Email"]["idLookup"]
    assert not contact["Email"]["externalId"]
    lead = fields(api, "Lead")
    assert lead["OwnerId"]["referenceTo"] == ["Group", "User"]
    assert lead["OwnerId"]["polymorphicForeignKey"]
    assert "Website__c" not in lead
    assert [value["value"] for value in lead["Status"]["picklistValues"]] == [
        "Open - Not Contacted",
        "Working - Contacted",
        "Qualified",
        "Closed - Converted",
        "Closed - Not Converted",
    ]
    assert lead["Status"]["picklistValues"][0]["defaultValue"]
    assert lead["NumberOfEmployees"]["digits"] == 8


def test_unknown_sobject(api: Api) -> None:
    assert api.get("sobjects/Nothing/describe", status=404)[0]["errorCode"] == "NOT_FOUND"


def test_limits_follow_the_calls(api: Api) -> None:
    before = api.call("GET", "limits/")
    after = api.call("GET", "limits")
    used = [
        int(answer.headers["Sforce-Limit-Info"].removeprefix("api-usage=").partition("/")[0])
        for answer in (before, after)
    ]
    assert used[1] == used[0] + 1
    calls = after.json()["DailyApiRequests"]
    assert calls["Max"] - calls["Remaining"] == used[1]


def test_a_refused_call_counts_too(api: Api) -> None:
    first = api.call("GET", "limits").headers["Sforce-Limit-Info"]
    refused = api.call("GET", "nowhere").headers["Sforce-Limit-Info"]
    number = int(first.removeprefix("api-usage=").partition("/")[0])
    assert refused == f"api-usage={number + 1}/100000"


def test_record_count_leaves_empty_sobjects_out(api: Api) -> None:
    api.create("Account", Name="Counted")
    counts = api.get("limits/recordCount", sObjects="Account,OpportunityContactRole")
    assert [entry["name"] for entry in counts["sObjects"]] == ["Account"]
    assert counts["sObjects"][0]["count"] >= 1


def test_wrong_addresses_and_methods(api: Api) -> None:
    assert api.get("nowhere", status=404)[0]["errorCode"] == "NOT_FOUND"
    assert api.get("sobjects/Contact/a/b/c", status=404)[0]["errorCode"] == "NOT_FOUND"
    answer = api.call("PUT", "sobjects/Contact", json={})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (405, "METHOD_NOT_ALLOWED")
    assert api.session.get(f"{api.url}/elsewhere", timeout=10).status_code == 404


def test_answers_are_compressed_if_asked(api: Api) -> None:
    packed = api.call("GET", "sobjects/Contact/describe", headers={"Accept-Encoding": "gzip"})
    plain = api.call("GET", "sobjects/Contact/describe", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert plain.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert plain.headers["Date"].endswith("GMT")
