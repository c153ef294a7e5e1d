"""Answers that depend on what an administrator has set up, or on the org's condition."""

import re
from dataclasses import dataclass
from typing import Any

from salesforce_pipelines_tests.local_org.conformance.documented import (
    CLIENTS,
    DELETE,
    GET,
    ID,
    NO_COLUMN,
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
    Exchange,
    Having,
    Saved,
    Story,
)

LOCKED = "unable to obtain exclusive access to this record or 1 records: $account"
RULE = "Standard_Contact_Duplicate_Rule"
ALERT = "Use one of these records?"
PERSON = {"FirstName": "Ann", "LastName": "$name", "Email": "$email"}


@dataclass(frozen=True)
class Arranged:
    """A story of an org that its administrator has arranged for it.

    Attributes:
        before: What arranges it.
        after: What takes that back.
    """

    story: Story
    before: Exchange
    after: Exchange


def access(readable: bool, editable: bool) -> Exchange:
    return PATCH(
        "/local-org/fields/Contact/Fax/access",
        200,
        ANYTHING,
        body={
            "user": "integration@local-org.example",
            "readable": readable,
            "editable": editable,
        },
    )


def rule_active(active: bool, **more: str) -> Exchange:
    return PATCH(
        f"/local-org/rules/duplicateRules/{RULE}", 200, ANYTHING, body={"active": active, **more}
    )


def fault(kind: str, **options: Any) -> Exchange:
    return POST("/local-org/faults", 200, ANYTHING, body={"kind": kind, **options})


NO_FAULTS = DELETE("/local-org/faults", 200, ANYTHING, body={})


def failing(name: str, answer: Exchange, kind: str, **options: Any) -> Arranged:
    """An exchange while a fault is there."""
    return Arranged(story(name, CLIENTS, answer), fault(kind, **options), NO_FAULTS)


def duplicates(allow_save: bool, record: Any) -> dict[str, Any]:
    """What the rule says of the one record that is there."""
    return {
        "allowSave": allow_save,
        "duplicateRule": RULE,
        "duplicateRuleEntityType": "Contact",
        "errorMessage": ALERT,
        "matchResults": [
            {
                "entityType": "Contact",
                "errors": [],
                "matchEngine": "FuzzyMatchEngine",
                "matchRecords": [
                    {
                        "additionalInformation": [],
                        "fieldDiffs": [],
                        "matchConfidence": float,
                        "record": record,
                    }
                ],
                "rule": str,
                "size": 1,
                "success": True,
            }
        ],
    }


def detected(allow_save: bool) -> list[dict[str, Any]]:
    found = duplicates(allow_save, of("Contact", "$first", Id="$first"))
    return [{"duplicateResut": found, "errorCode": "DUPLICATES_DETECTED", "message": ALERT}]


FIRST = POST("sobjects/Contact", 201, SUCCESS | {"id": Saved("first", ID)}, body=PERSON)
ALLOW_SAVE = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}

SETUP_STORIES = [
    Arranged(
        story(
            "a hidden field is none",
            REST,
            GET(
                "sobjects/Contact/describe",
                200,
                Having({"fields": Each(Having({"name": re.compile("(?!Fax$).+")}))}),
            ),
            GET(
                "query?q=SELECT Fax FROM Contact",
                400,
                error(
                    "INVALID_FIELD",
                    "\nSELECT Fax FROM Contact\n       ^\nERROR at Row:1:Column:8\n"
                    + NO_COLUMN.format("Fax"),
                ),
            ),
            *(
                Exchange(
                    method,
                    path,
                    400,
                    error("INVALID_FIELD", "No such column 'Fax' on sobject of type Contact"),
                    body={"LastName": "$name", "Fax": "555-0100"},
                )
                for method, path in {
                    "POST": "sobjects/Contact",
                    "PATCH": "sobjects/Contact/$contact",
                }.items()
            ),
            POST(
                "jobs/query",
                400,
                ANYTHING,
                body={"operation": "query", "query": "SELECT Fax FROM Contact"},
            ),
        ),
        access(readable=False, editable=False),
        access(readable=True, editable=True),
    ),
    Arranged(
        story(
            "a field that is only read",
            REST,
            GET("sobjects/Contact/$contact", 200, Having({"Fax": None})),
            PATCH(
                "sobjects/Contact/$contact",
                400,
                error(
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    "Unable to create/update fields: Fax. Please check the security settings of "
                    "this field and verify that it is read/write for your profile or permission "
                    "set.",
                    "Fax",
                ),
                body={"Fax": "555-0100"},
            ),
        ),
        access(readable=True, editable=False),
        access(readable=True, editable=True),
    ),
    Arranged(
        story(
            "an alert about duplicates, and who saves all the same",
            REST,
            FIRST,
            POST("sobjects/Contact", 400, detected(True), body=PERSON),
            POST(
                "composite/sobjects",
                200,
                [
                    {
                        "success": False,
                        "errors": [
                            {
                                "statusCode": "DUPLICATES_DETECTED",
                                "message": ALERT,
                                "fields": [],
                                "duplicateResut": ANYTHING,
                            }
                        ],
                    }
                ],
                body={"records": [contact(**PERSON)]},
            ),
            POST("sobjects/Contact", 201, SUCCESS, body=PERSON, sends=ALLOW_SAVE),
            GET("query?q=SELECT COUNT() FROM Contact WHERE Email = '$email'", 200, page(2, [])),
        ),
        rule_active(True),
        rule_active(False),
    ),
    Arranged(
        story(
            "the details of duplicates",
            REST,
            FIRST,
            POST(
                "sobjects/Contact",
                400,
                [
                    Having(
                        {
                            "duplicateResut": duplicates(
                                True, Having({"Id": "$first", "LastName": "$name"})
                            )
                        }
                    )
                ],
                body=PERSON,
                sends={
                    "Sforce-Duplicate-Rule-Header": "allowSave=false; includeRecordDetails=true; "
                    "runAsCurrentUser=true"
                },
            ),
        ),
        rule_active(True),
        rule_active(False),
    ),
    Arranged(
        story(
            "a rule that blocks is not passed by",
            REST,
            FIRST,
            POST("sobjects/Contact", 400, detected(False), body=PERSON, sends=ALLOW_SAVE),
        ),
        rule_active(True, onCreate="block"),
        rule_active(False, onCreate="alert"),
    ),
    Arranged(
        story(
            "a row that somebody else holds",
            CLIENTS,
            PATCH(
                "sobjects/Account/$account",
                400,
                error("UNABLE_TO_LOCK_ROW", LOCKED, row=True),
                body={"Site": "x"},
            ),
            POST(
                "sobjects/Contact",
                400,
                error("UNABLE_TO_LOCK_ROW", LOCKED, row=True),
                body={"LastName": "$name", "AccountId": "$account"},
            ),
            POST(
                "composite/sobjects",
                200,
                [failure("UNABLE_TO_LOCK_ROW", LOCKED), SUCCESS],
                body={
                    "records": [
                        contact(LastName="$name", AccountId="$account"),
                        contact(LastName="$name"),
                    ]
                },
            ),
            GET("sobjects/Account/$account", 200, Having({"Site": None})),
        ),
        POST("/local-org/locks", 200, ANYTHING, body={"id": "$account"}),
        DELETE("/local-org/locks/$account", 200, {"unlocked": True}, body={}),
    ),
    Arranged(
        story(
            "a record in approval",
            CLIENTS,
            PATCH(
                "sobjects/Account/$account",
                400,
                [Having({"errorCode": "ENTITY_IS_LOCKED"})],
                body={"Site": "x"},
            ),
        ),
        POST("/local-org/locks", 200, ANYTHING, body={"id": "$account", "kind": "approval"}),
        DELETE("/local-org/locks/$account", 200, {"unlocked": True}, body={}),
    ),
    Arranged(
        story(
            "a validation rule in the words of its administrator",
            CLIENTS,
            POST(
                "sobjects/Contact",
                400,
                error("FIELD_CUSTOM_VALIDATION_EXCEPTION", "A CEO needs a phone.", "Phone"),
                body={"LastName": "$name", "Title": "CEO"},
            ),
            POST(
                "composite/sobjects",
                200,
                [
                    failure("FIELD_CUSTOM_VALIDATION_EXCEPTION", "A CEO needs a phone.", "Phone"),
                    SUCCESS,
                ],
                body={
                    "records": [
                        contact(LastName="$name", Title="CEO"),
                        contact(LastName="$name", Title="CEO", Phone="555-0100"),
                    ]
                },
            ),
        ),
        POST(
            "/local-org/rules/validationRules",
            200,
            ANYTHING,
            body={
                "name": "CEO_has_phone",
                "sObject": "Contact",
                "errorCondition": "Title = 'CEO' AND Phone = null",
                "errorMessage": "A CEO needs a phone.",
                "errorDisplayField": "Phone",
            },
        ),
        DELETE("/local-org/rules/validationRules/CEO_has_phone", 200, ANYTHING, body={}),
    ),
]

FAULT_STORIES = [
    failing(
        "no calls are left",
        GET("limits", 403, error("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")),
        "daily_limit",
    ),
    failing(
        "too many long requests",
        GET(
            "query?q=SELECT Id FROM Lead LIMIT 1",
            403,
            error("REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded"),
        ),
        "concurrency_limit",
    ),
    failing(
        "an edition without API",
        GET(
            "sobjects",
            403,
            error("API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization."),
        ),
        "api_disabled",
    ),
    failing(
        "a server that is busy",
        POST(
            "composite/sobjects",
            503,
            error("SERVER_UNAVAILABLE", re.compile("Server is too busy.*")),
            body={"records": [contact(LastName="x")]},
        ),
        "server_unavailable",
    ),
    failing(
        "an error that nobody expected",
        GET(
            "limits",
            500,
            error(
                "UNKNOWN_EXCEPTION",
                re.compile(
                    "An unexpected error occurred. Please include this ErrorId if you contact "
                    r"support: \S.*"
                ),
            ),
        ),
        "unknown_exception",
    ),
    failing(
        "a page of the edge, which is no JSON",
        GET(
            "limits",
            502,
            re.compile("(?s)<.*>\\s*"),
            headers={"Content-Type": re.compile("text/html.*"), "Sforce-Limit-Info": None},
        ),
        "html_page",
        status=502,
    ),
    failing(
        "a query that takes too long",
        GET(
            "query?q=SELECT Id FROM Lead LIMIT 1",
            400,
            error("QUERY_TIMEOUT", "Your query request was running for too long."),
        ),
        "error",
        status=400,
        error_code="QUERY_TIMEOUT",
        message="Your query request was running for too long.",
    ),
    Arranged(
        story(
            "an org that only reads, for maintenance",
            CLIENTS,
            POST(
                "sobjects/Contact",
                400,
                [Having({"errorCode": "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"})],
                body={"LastName": "$name"},
            ),
            GET("query?q=SELECT COUNT() FROM Contact WHERE LastName = '$name'", 200, page(0, [])),
        ),
        fault("maintenance"),
        NO_FAULTS,
    ),
    Arranged(
        story(
            "an org that is full",
            CLIENTS,
            POST(
                "composite/sobjects",
                200,
                [failure("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded")],
                body={"records": [contact(LastName="$name")]},
            ),
            GET("query?q=SELECT COUNT() FROM Contact WHERE LastName = '$name'", 200, page(0, [])),
        ),
        fault("storage_limit"),
        NO_FAULTS,
    ),
    Arranged(
        story(
            "a server that loses the answer to a write",
            CLIENTS,
            POST(
                "sobjects/Contact",
                503,
                [Having({"errorCode": "SERVER_UNAVAILABLE"})],
                body={"LastName": "$name"},
            ),
            GET("query?q=SELECT COUNT() FROM Contact WHERE LastName = '$name'", 200, page(1, [])),
        ),
        fault("server_unavailable", when="after"),
        NO_FAULTS,
    ),
]
