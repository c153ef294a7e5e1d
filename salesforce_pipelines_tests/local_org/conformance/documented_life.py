"""The life of records as documented: conditions of requests, merges, conversions, owners."""

import re

from salesforce_pipelines_tests.local_org.conformance.documented import (
    CLIENTS,
    DATE,
    DATETIME,
    GET,
    GROUPAROO,
    ID,
    NOT_FOUND,
    PATCH,
    POST,
    REST,
    SUCCESS,
    contact,
    error,
    failure,
    of,
    page,
    story,
)
from salesforce_pipelines_tests.local_org.conformance.exchanges import (
    ANYTHING,
    Each,
    Having,
    Known,
    Saved,
)
from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.soap_client import Soap

HTTP_DATE = re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")
LONG_AGO = "Sat, 01 Jan 2000 00:00:00 GMT"
ONE_DAY = "Fri, 01 Jan 2055 00:00:00 GMT"
CONVERTED = error("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", row=True)
REFUSED_SORT = error("MALFORMED_QUERY", re.compile(r"(?s).*can not be sorted.*"))
DELETED = error("ENTITY_IS_DELETED", "entity is deleted", row=True)
USER = {
    "LastName": "Rep",
    "Email": "rep@example.com",
    "Alias": "rep",
    "ProfileId": "00e000000000001AAA",
    "TimeZoneSidKey": "America/Los_Angeles",
    "LocaleSidKey": "en_US",
    "EmailEncodingKey": "UTF-8",
    "LanguageLocaleKey": "en_US",
}


def _victim(api: Api, known: Known) -> str:
    victim = api.create("Contact", LastName=known["name"])
    known["report"] = api.create("Contact", LastName="x", ReportsToId=victim)
    assert Soap(api).merge("Contact", known["contact"], victim)["success"] == "true"
    return victim


def _opened(api: Api, known: Known) -> str:
    """A Lead that became an Account, a Contact and an Opportunity."""
    lead = api.create("Lead", LastName=known["name"], Company=known["name"])
    result = Soap(api).convert(lead)
    known["new_account"], known["new_contact"] = result["accountId"], result["contactId"]
    known["new_opportunity"] = result["opportunityId"]
    return lead


def _unopened(api: Api, known: Known) -> str:
    """A Lead that became no Opportunity."""
    lead = api.create("Lead", LastName=known["name"], Company=known["name"])
    assert Soap(api).convert(lead, doNotCreateOpportunity="true")["success"] == "true"
    return lead


def _member(api: Api, known: Known) -> str:
    return api.create("CampaignMember", CampaignId=known["campaign"], LeadId=known["lead"])


def _inactive(api: Api, known: Known) -> str:
    user = api.create("User", Username=f"{unique('rep')}@example.com", **USER)
    api.update("User", user, IsActive=False)
    return user


LIFE_MAKERS = {
    "victim": _victim,
    "opened": _opened,
    "unopened": _unopened,
    "campaign": lambda api, known: api.create("Campaign", Name=known["name"]),
    "member": _member,
    "inactive": _inactive,
}

CONDITION_STORIES = [
    story(
        "an Account that has not changed",
        REST,
        GET(
            "sobjects/Account/$account",
            200,
            ANYTHING,
            headers={
                "ETag": Saved("tag", re.compile('".+"')),
                "Last-Modified": Saved("modified", HTTP_DATE),
            },
        ),
        *(
            GET("sobjects/Account/$account", 304, sends={name: value})
            for name, value in {
                "If-None-Match": "$tag",
                "If-Modified-Since": "$modified",
            }.items()
        ),
        GET("sobjects/Account/$account", 304, sends={"If-Modified-Since": ONE_DAY}),
        GET("sobjects/Account/$account", 200, ANYTHING, sends={"If-Modified-Since": LONG_AGO}),
        GET("sobjects/Account/$account", 200, ANYTHING, sends={"If-None-Match": '"other"'}),
        GET("sobjects/Account/$account", 200, ANYTHING, sends={"If-Match": "$tag"}),
    ),
    story(
        "an Account that somebody else has changed",
        REST,
        GET(
            "sobjects/Account/$account",
            200,
            ANYTHING,
            headers={"ETag": Saved("tag", str)},
        ),
        PATCH("sobjects/Account/$account", 204, body={"Site": "a"}, sends={"If-Match": "$tag"}),
        PATCH(
            "sobjects/Account/$account",
            412,
            ANYTHING,
            body={"Site": "b"},
            sends={"If-Match": "$tag"},
        ),
        PATCH(
            "sobjects/Account/$account",
            412,
            ANYTHING,
            body={"Site": "c"},
            sends={"If-Unmodified-Since": LONG_AGO},
        ),
        GET("sobjects/Account/$account?fields=Site", 200, Having({"Site": "a"})),
        GET("sobjects/Account/$account", 412, ANYTHING, sends={"If-Unmodified-Since": LONG_AGO}),
    ),
    *(
        story(
            f"{path} that has not changed",
            REST,
            GET(path, 200, ANYTHING, headers={"Last-Modified": Saved("modified", HTTP_DATE)}),
            GET(path, 304, sends={"If-Modified-Since": "$modified"}),
            GET(path, 200, ANYTHING, sends={"If-Modified-Since": LONG_AGO}),
        )
        for path in ("sobjects", "sobjects/Contact/describe", "sobjects/Contact/$contact")
    ),
]

LIFE_STORIES = [
    story(
        "what a merge leaves",
        REST,
        GET("sobjects/Contact/$victim", 404, NOT_FOUND),
        PATCH("sobjects/Contact/$victim", 404, DELETED, body={"Title": "x"}),
        PATCH(
            "composite/sobjects",
            200,
            [failure("ENTITY_IS_DELETED", "entity is deleted")],
            body={"records": [contact(id="$victim", Title="x")]},
        ),
        GET("query?q=SELECT Id FROM Contact WHERE Id = '$victim'", 200, page(0, [])),
        GET(
            "queryAll?q=SELECT IsDeleted, MasterRecordId FROM Contact WHERE Id = '$victim'",
            200,
            page(1, [of("Contact", "$victim", IsDeleted=True, MasterRecordId="$contact")]),
        ),
        GET(
            "queryAll?q=SELECT Id FROM Contact WHERE MasterRecordId = '$contact'"
            " AND IsDeleted = true",
            200,
            page(1, [of("Contact", "$victim", Id="$victim")]),
        ),
        GET(
            "sobjects/Contact/$contact",
            200,
            Having({"IsDeleted": False, "MasterRecordId": None}),
        ),
        GET("sobjects/Contact/$report", 200, Having({"ReportsToId": "$contact"})),
        GET(
            "sobjects/Contact/deleted?start=$hour_ago&end=$soon",
            200,
            Having({"deletedRecords": Each({"id": ID, "deletedDate": DATETIME})}),
            until=True,
        ),
    ),
    story(
        "what a conversion leaves",
        GROUPAROO,
        GET(
            "sobjects/Lead/$opened",
            200,
            Having(
                {
                    "IsConverted": True,
                    "ConvertedDate": DATE,
                    "ConvertedAccountId": "$new_account",
                    "ConvertedContactId": "$new_contact",
                    "ConvertedOpportunityId": "$new_opportunity",
                    "Status": "Closed - Converted",
                    "IsUnreadByOwner": False,
                    "IsDeleted": False,
                }
            ),
        ),
        GET("sobjects/Contact/$new_contact", 200, Having({"AccountId": "$new_account"})),
        GET(
            "query?q=SELECT ContactId FROM OpportunityContactRole"
            " WHERE OpportunityId = '$new_opportunity'",
            200,
            page(1, [Having({"ContactId": "$new_contact"})]),
        ),
        PATCH("sobjects/Lead/$opened", 400, CONVERTED, body={"Title": "x"}),
        PATCH(
            "composite/sobjects",
            200,
            [failure("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")],
            body={
                "records": [{"attributes": {"type": "Lead"}, "id": "$opened", "Title": "x"}],
            },
        ),
    ),
    story(
        "a conversion without an Opportunity",
        GROUPAROO,
        GET(
            "query?q=SELECT ConvertedAccountId, ConvertedContactId, ConvertedOpportunityId"
            " FROM Lead WHERE Id = '$unopened'",
            200,
            page(
                1,
                [
                    of(
                        "Lead",
                        "$unopened",
                        ConvertedAccountId=re.compile("001.{15}"),
                        ConvertedContactId=re.compile("003.{15}"),
                        ConvertedOpportunityId=None,
                    )
                ],
            ),
        ),
    ),
    story(
        "there is no action that converts",
        REST,
        POST("actions/standard/convertLead", 404, NOT_FOUND, body={"inputs": []}),
    ),
    story(
        "a campaign has nobody twice",
        REST,
        GET(
            "sobjects/CampaignMember/$member",
            200,
            Having({"CampaignId": "$campaign", "LeadId": "$lead", "ContactId": None}),
        ),
        POST(
            "sobjects/CampaignMember",
            400,
            error("DUPLICATE_VALUE", str, row=True),
            body={"CampaignId": "$campaign", "LeadId": "$lead"},
        ),
        POST(
            "composite/sobjects",
            200,
            [failure("DUPLICATE_VALUE", str)],
            body={
                "records": [
                    {
                        "attributes": {"type": "CampaignMember"},
                        "CampaignId": "$campaign",
                        "LeadId": "$lead",
                    }
                ]
            },
        ),
    ),
    story(
        "an inactive user takes no records over",
        REST,
        POST(
            "sobjects/Contact",
            400,
            error("OPERATION_WITH_INACTIVE_USER_EXCEPTION", re.compile(".*inactive.*"), row=True),
            body={"LastName": "$name", "OwnerId": "$inactive"},
        ),
        PATCH(
            "sobjects/Contact/$contact",
            400,
            error("OPERATION_WITH_INACTIVE_USER_EXCEPTION", str, row=True),
            body={"OwnerId": "$inactive"},
        ),
        GET("sobjects/Contact/$contact", 200, Having({"OwnerId": "$user"})),
    ),
]

_COLUMN = {
    "aggregate": False,
    "apexType": ANYTHING,
    "booleanType": bool,
    "columnName": str,
    "custom": bool,
    "displayName": str,
    "foreignKeyName": None,
    "insertable": bool,
    "joinColumns": [],
    "numberType": bool,
    "textType": bool,
    "updatable": bool,
}
VALUE_STORIES = [
    story(
        "the columns of a query, as the sf CLI asks for them",
        CLIENTS,
        GET(
            "query?q=SELECT Name, Account.Name, Referral_Count__c, HasOptedOutOfEmail"
            " FROM Contact&columns=true",
            200,
            {
                "entityName": "Contact",
                "keyPrefix": "003",
                "groupBy": False,
                "idSelected": False,
                "columnMetadata": [
                    _COLUMN | {"columnName": "Name", "displayName": "Name", "textType": True},
                    _COLUMN
                    | {
                        "columnName": "Account",
                        "displayName": "Account",
                        "foreignKeyName": "AccountId",
                        "joinColumns": [_COLUMN | {"columnName": "Name", "textType": True}],
                    },
                    _COLUMN
                    | {"columnName": "Referral_Count__c", "custom": True, "numberType": True},
                    _COLUMN | {"columnName": "HasOptedOutOfEmail", "booleanType": True},
                ],
            },
        ),
        GET(
            "query?q=SELECT COUNT(Id) n, LeadSource FROM Lead GROUP BY LeadSource&columns=true",
            200,
            Having(
                {
                    "entityName": "Lead",
                    "groupBy": True,
                    "columnMetadata": [
                        Having({"columnName": "n", "aggregate": True}),
                        Having({"columnName": "LeadSource", "aggregate": False}),
                    ],
                }
            ),
        ),
    ),
    story(
        "what the sf CLI asks for at connecting and takes a refusal of",
        CLIENTS,
        *(
            GET(
                f"{path}?q=SELECT Id FROM {sobject} LIMIT 1",
                400,
                error(
                    "INVALID_TYPE",
                    f"\nSELECT Id FROM {sobject} LIMIT 1\n               ^\n"
                    f"ERROR at Row:1:Column:16\nsObject type '{sobject}' is not supported. If you "
                    "are attempting to use a custom object, be sure to append the '__c' after the "
                    "entity name. Please reference your WSDL or the describe call for the "
                    "appropriate names.",
                ),
            )
            for path, sobject in {
                "query": "ScratchOrgInfo",
                "tooling/query": "SandboxProcess",
            }.items()
        ),
    ),
    story(
        "several values of one field",
        REST,
        POST(
            "sobjects/Contact",
            201,
            SUCCESS | {"id": Saved("several", ID)},
            body={"LastName": "$name", "Interests__c": "Analytics;Security"},
        ),
        GET(
            "sobjects/Contact/$several?fields=Interests__c",
            200,
            of("Contact", "$several", Interests__c="Analytics;Security", Id="$several"),
        ),
        *(
            GET(
                f"query?q=SELECT Id FROM Contact WHERE LastName = '$name'"
                f" AND Interests__c {condition}",
                200,
                page(found, [of("Contact", "$several", Id="$several")] * found),
            )
            for condition, found in {
                "INCLUDES ('Security')": 1,
                "INCLUDES ('Automation', 'Analytics')": 1,
                "INCLUDES ('Analytics;Security')": 1,
                "INCLUDES ('Analytics;Automation')": 0,
                "EXCLUDES ('Automation')": 1,
                "EXCLUDES ('Security')": 0,
                "= 'Analytics;Security'": 1,
                "= 'Analytics'": 0,
            }.items()
        ),
        PATCH("sobjects/Contact/$several", 204, body={"Interests__c": None}),
        GET("sobjects/Contact/$several", 200, Having({"Interests__c": None})),
        GET("query?q=SELECT Id FROM Contact ORDER BY Interests__c", 400, REFUSED_SORT),
    ),
]
