"""Describes as documented."""

from typing import Any

from salesforce_pipelines_tests.local_org.conformance.documented import (
    CUMULUSCI,
    GET,
    ID,
    REST,
    story,
)
from salesforce_pipelines_tests.local_org.conformance.exchanges import (
    ANYTHING,
    Each,
    Having,
)
from salesforce_pipelines_tests.local_org.test_describe import FIELD_KEYS, SOBJECT_KEYS

SUMMARY = Having(
    {
        "activateable": bool,
        "createable": bool,
        "custom": bool,
        "customSetting": bool,
        "deletable": bool,
        "deprecatedAndHidden": bool,
        "feedEnabled": bool,
        "keyPrefix": ANYTHING,
        "label": str,
        "labelPlural": str,
        "layoutable": bool,
        "mergeable": bool,
        "mruEnabled": bool,
        "name": str,
        "queryable": bool,
        "replicateable": bool,
        "retrieveable": bool,
        "searchable": bool,
        "triggerable": bool,
        "undeletable": bool,
        "updateable": bool,
        "urls": Having({"sobject": str, "describe": str, "rowTemplate": str}),
    }
)
DESCRIBE_STORIES = [
    story(
        "describe global",
        CUMULUSCI,
        GET(
            "sobjects",
            200,
            {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": Each(SUMMARY)},
        ),
    ),
    story(
        "basic information",
        REST,
        GET("sobjects/Lead", 200, {"objectDescribe": SUMMARY, "recentItems": []}),
    ),
    *(
        story(
            f"describe of {sobject}",
            CUMULUSCI,
            GET(
                f"sobjects/{sobject}/describe",
                200,
                dict.fromkeys(SOBJECT_KEYS, ANYTHING)
                | {
                    "name": sobject,
                    "keyPrefix": prefix,
                    "fields": Each(dict.fromkeys(FIELD_KEYS, ANYTHING)),
                    "recordTypeInfos": Each(
                        {
                            "active": bool,
                            "available": bool,
                            "defaultRecordTypeMapping": bool,
                            "developerName": str,
                            "master": bool,
                            "name": str,
                            "recordTypeId": ID,
                            "urls": Having({}),
                        }
                    ),
                },
            ),
        )
        for sobject, prefix in {
            "Account": "001", "Contact": "003", "User": "005", "Opportunity": "006", "Lead": "00Q",
            "OpportunityContactRole": "00K", "Campaign": "701", "CampaignMember": "00v",
            "Organization": "00D", "ListView": "00B",
        }.items()
    ),
]  # fmt: skip

# (sObject, field): what its describe says at least.
FIELDS: dict[tuple[str, str], dict[str, Any]] = {
    ("Contact", "Id"): {
        "type": "id", "soapType": "tns:ID", "length": 18, "idLookup": True, "nillable": False,
        "defaultedOnCreate": True, "createable": False,
    },
    ("Contact", "LastName"): {
        "type": "string", "soapType": "xsd:string", "length": 80, "byteLength": 240,
        "nillable": False, "compoundFieldName": "Name", "extraTypeInfo": "personname",
        "precision": 0, "scale": 0, "digits": 0, "caseSensitive": False,
    },
    ("Contact", "Name"): {"createable": False, "nameField": True, "length": 121},
    ("Contact", "Email"): {"type": "email", "length": 80, "idLookup": True, "externalId": False},
    ("Contact", "Phone"): {"type": "phone", "length": 40},
    ("Contact", "PhotoUrl"): {
        "type": "url", "length": 255, "extraTypeInfo": "imageurl", "updateable": False,
    },
    ("Contact", "MailingAddress"): {
        "type": "address", "soapType": "urn:address", "length": 0, "createable": False,
        "filterable": True, "queryByDistance": True, "sortable": False,
    },
    ("Contact", "MailingStreet"): {
        "type": "textarea", "compoundFieldName": "MailingAddress", "filterable": True,
    },
    ("Contact", "MailingLatitude"): {"type": "double", "precision": 18, "scale": 15, "length": 0},
    ("Contact", "Description"): {
        "type": "textarea", "length": 32000, "filterable": False, "sortable": False,
        "groupable": False, "extraTypeInfo": "plaintextarea",
    },
    ("Contact", "Birthdate"): {"type": "date", "soapType": "xsd:date", "groupable": True},
    ("Contact", "SystemModstamp"): {
        "type": "datetime", "soapType": "xsd:dateTime", "groupable": False, "nillable": False,
        "createable": False, "updateable": False,
    },
    ("Contact", "IsDeleted"): {
        "type": "boolean", "nillable": False, "defaultedOnCreate": True, "defaultValue": False,
        "aggregatable": False,
    },
    ("Contact", "AccountId"): {
        "type": "reference", "soapType": "tns:ID", "length": 18, "referenceTo": ["Account"],
        "relationshipName": "Account", "polymorphicForeignKey": False,
    },
    ("Contact", "External_Id__c"): {
        "type": "string", "custom": True, "externalId": True, "unique": True, "idLookup": True,
    },
    ("Contact", "CleanStatus"): {"type": "picklist", "restrictedPicklist": True},
    ("Lead", "OwnerId"): {
        "referenceTo": ["Group", "User"], "polymorphicForeignKey": True, "namePointing": True,
    },
    ("Lead", "Company"): {"nillable": False, "length": 255, "createable": True},
    ("Lead", "Status"): {"nillable": False, "defaultedOnCreate": True, "type": "picklist"},
    ("Lead", "IsConverted"): {"createable": True, "updateable": False},
    ("Lead", "NumberOfEmployees"): {
        "type": "int", "soapType": "xsd:int", "digits": 8, "precision": 0,
    },
    ("Lead", "AnnualRevenue"): {
        "type": "currency", "soapType": "xsd:double", "precision": 18, "scale": 0,
    },
    ("Opportunity", "Amount"): {"type": "currency", "precision": 18, "scale": 2},
    ("Opportunity", "Probability"): {"type": "percent", "precision": 3, "scale": 0},
    ("Opportunity", "StageName"): {"nillable": False, "createable": True},
}  # fmt: skip
