"""Queries, rows and collections as documented."""

import gzip
import json
import re
from typing import Any

from salesforce_pipelines_tests.local_org.conformance.documented import (
    CLIENTS,
    CUMULUSCI,
    DATE,
    DATETIME,
    DELETE,
    GET,
    GROUPAROO,
    ID,
    NO_COLUMN,
    NOT_FOUND,
    PATCH,
    POST,
    REST,
    RESTFORCE,
    ROOT,
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
    Saved,
)

QUERY_STORIES = [
    story(
        "a query",
        REST,
        GET(
            "query?q=SELECT Id, Email, Account.Name, SystemModstamp FROM Contact"
            " WHERE Id = '$contact'",
            200,
            page(
                1,
                [
                    of(
                        "Contact",
                        "$contact",
                        Id="$contact",
                        Email=None,
                        Account=of("Account", "$account", Name="$name"),
                        SystemModstamp=DATETIME,
                    )
                ],
            ),
        ),
    ),
    story(
        "a parent that is not there, and children",
        REST,
        GET(
            "query?q=SELECT Id, Account.Name FROM Contact WHERE Id = '$lonely'",
            200,
            page(1, [of("Contact", "$lonely", Id="$lonely", Account=None)]),
        ),
        GET("sobjects/Contact/$contact", 200, ANYTHING),
        GET(
            "query?q=SELECT Name, (SELECT Id FROM Contacts), (SELECT Id FROM Opportunities)"
            " FROM Account WHERE Id = '$account'",
            200,
            page(
                1,
                [
                    of(
                        "Account",
                        "$account",
                        Name="$name",
                        Contacts=page(1, [of("Contact", "$contact", Id="$contact")]),
                        Opportunities=None,
                    )
                ],
            ),
        ),
    ),
    story(
        "aggregates and counts",
        REST,
        GET("sobjects/Lead/$lead", 200, ANYTHING),
        GET(
            "query?q=SELECT COUNT(Id), Company c FROM Lead WHERE LastName = '$name'"
            " GROUP BY Company",
            200,
            page(1, [{"attributes": {"type": "AggregateResult"}, "expr0": 1, "c": "x"}]),
        ),
        GET("query?q=SELECT COUNT() FROM Lead WHERE LastName = '$name'", 200, page(1, [])),
    ),
    story(
        "pages",
        REST,
        GET(
            "queryAll?q=SELECT Id FROM Lead WHERE LastName = '$paged'",
            200,
            page(
                250,
                [of("Lead", "", Id=ID) | {"attributes": ANYTHING}] * 200,
                Saved("next", re.compile(r"/services/data/v62\.0/query/(0r8|01g)\w+-200")),
            ),
            sends={"Sforce-Query-Options": "batchSize=200"},
        ),
        # As tap-salesforce asks: with the query beside the locator.
        GET("$next?q=SELECT Id FROM Account", 200, page(250, [ANYTHING] * 50)),
        GET(
            "query?q=SELECT Id FROM Lead WHERE LastName = '$paged'", 200, page(250, Each(ANYTHING))
        ),
        GET("query/01gXX0000000000AAA-2000", 400, error("INVALID_QUERY_LOCATOR", str)),
    ),
    story(
        "deleted rows",
        REST,
        GET("query?q=SELECT Id FROM Contact WHERE Id = '$deleted'", 200, page(0, [])),
        GET(
            "queryAll?q=SELECT IsDeleted FROM Contact WHERE Id = '$deleted'",
            200,
            page(1, [of("Contact", "$deleted", IsDeleted=True)]),
        ),
    ),
    story(
        "queries that are refused",
        f"{CUMULUSCI}, {RESTFORCE}",
        GET(
            "query?q=SELECT Id FROM Foo",
            400,
            error(
                "INVALID_TYPE",
                "\nSELECT Id FROM Foo\n               ^\nERROR at Row:1:Column:16\n"
                "sObject type 'Foo' is not supported. If you are attempting to use a custom "
                "object, be sure to append the '__c' after the entity name. Please reference your "
                "WSDL or the describe call for the appropriate names.",
            ),
        ),
        GET(
            "query?q=SELECT Nope FROM Contact",
            400,
            error(
                "INVALID_FIELD",
                "\nSELECT Nope FROM Contact\n       ^\nERROR at Row:1:Column:8\n"
                + NO_COLUMN.format("Nope"),
            ),
        ),
        GET("query?q=SELECT Id FROM", 400, error("MALFORMED_QUERY", re.compile(r"(?s).*<EOF>'"))),
        GET("query", 400, error("MALFORMED_QUERY", str)),
        GET("query?q=SELECT FIELDS(ALL) FROM Lead", 400, error("MALFORMED_QUERY", str)),
        GET(
            "query?q=SELECT Id FROM Lead WHERE Description = 'x'",
            400,
            error("INVALID_FIELD", re.compile(r"(?s).*can not be filtered in a query call")),
        ),
        GET(
            "query?q=SELECT Id FROM Contact WHERE Birthdate LIKE 'x'",
            400,
            error("INVALID_QUERY_FILTER_OPERATOR", re.compile(r"(?s).*invalid operator on date.*")),
        ),
        # The sf command line asks this of every org that it connects to.
        GET(
            "query?q=SELECT Id FROM ScratchOrgInfo",
            400,
            Each(Having({"errorCode": "INVALID_TYPE"})),
        ),
    ),
    story(
        "the organization, as clients ask for it at connecting",
        CLIENTS,
        GET(
            "query?q=SELECT Name, InstanceName, IsSandbox, TrialExpirationDate, NamespacePrefix,"
            " OrganizationType FROM Organization",
            200,
            page(1, Each(Having({"Name": str, "IsSandbox": bool, "OrganizationType": str}))),
        ),
        GET("sobjects/Organization/$org", 200, Having({"Id": "$org"})),
        GET("sobjects/User/$user", 200, Having({"Id": "$user", "Username": str})),
    ),
]

ROW_STORIES = [
    story(
        "a row from creation to deletion",
        f"{REST}, {GROUPAROO}",
        POST(
            "sobjects/Contact",
            201,
            {"id": Saved("new", ID), "success": True, "errors": []},
            body={"LastName": "$name", "Phone": "1", "MailingCity": "Bergen"},
            headers={"Location": re.compile(rf"{ROOT}/sobjects/Contact/003\w{{15}}")},
        ),
        PATCH("sobjects/Contact/$new", 204, body={"Phone": None}, headers={"Content-Type": None}),
        GET(
            "sobjects/Contact/$new",
            200,
            Having(
                of(
                    "Contact",
                    "$new",
                    Id="$new",
                    IsDeleted=False,
                    LastName="$name",
                    Name="$name",
                    Phone=None,
                    MasterRecordId=None,
                    OwnerId="$user",
                    MailingAddress={
                        "city": "Bergen",
                        "country": None,
                        "geocodeAccuracy": None,
                        "latitude": None,
                        "longitude": None,
                        "postalCode": None,
                        "state": None,
                        "street": None,
                    },
                    CreatedDate=DATETIME,
                    LastModifiedDate=DATETIME,
                    SystemModstamp=DATETIME,
                    PhotoUrl="/services/images/photo/$new",
                )
            ),
            headers={"Last-Modified": re.compile(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT")},
        ),
        DELETE("sobjects/Contact/$new", 204),
        GET("sobjects/Contact/$new", 404, NOT_FOUND),
        PATCH(
            "sobjects/Contact/$new",
            404,
            error("ENTITY_IS_DELETED", "entity is deleted", row=True),
            body={"Phone": "1"},
        ),
        DELETE(
            "sobjects/Contact/$new", 404, error("ENTITY_IS_DELETED", "entity is deleted", row=True)
        ),
    ),
    story(
        "a converted lead",
        GROUPAROO,
        GET(
            "sobjects/Lead/$converted",
            200,
            Having({"IsConverted": True, "ConvertedDate": DATE, "Address": None}),
        ),
        PATCH(
            "sobjects/Lead/$converted",
            400,
            error("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", row=True),
            body={"Title": "x"},
        ),
    ),
    story(
        "rows that are not there",
        REST,
        GET("sobjects/Contact/003000000000000AAA", 404, NOT_FOUND),
        PATCH("sobjects/Contact/003000000000000AAA", 404, NOT_FOUND, body={"Title": "x"}),
        PATCH(
            "sobjects/Contact/$account",
            400,
            error(
                "MALFORMED_ID", "Id value is not valid for the Contact standard object type", "Id"
            ),
            body={"Title": "x"},
        ),
    ),
    story(
        "an upsert by external id",
        REST,
        PATCH(
            "sobjects/Contact/External_Id__c/$quoted_key",
            201,
            {"id": Saved("new", ID), "success": True, "errors": [], "created": True},
            body={"LastName": "x"},
        ),
        PATCH(
            "sobjects/Contact/External_Id__c/$quoted_key",
            200,
            {"id": "$new", "success": True, "errors": [], "created": False},
            body={"Title": "x"},
        ),
        PATCH(
            "sobjects/Contact/External_Id__c/$quoted_key", 204, body={"Title": "y"}, version="45.0"
        ),
        PATCH(
            "sobjects/Contact/External_Id__c/$quoted_key",
            200,
            ANYTHING,
            body={"Title": "y"},
            version="46.0",
        ),
        GET(
            "sobjects/Contact/External_Id__c/$quoted_key", 200, Having({"Id": "$new", "Title": "y"})
        ),
        PATCH(
            "sobjects/Contact/External_Id__c/$quoted_key",
            400,
            Each(Having({"errorCode": "INVALID_FIELD"})),
            body={"External_Id__c": "x"},
        ),
        POST(
            "sobjects/Contact/Id", 201, Having({"id": ID, "success": True}), body={"LastName": "x"}
        ),
    ),
    story(
        "a key that several rows have",
        REST,
        GET("sobjects/Contact/$twin", 200, ANYTHING),
        GET("sobjects/Contact/$other_twin", 200, ANYTHING),
        PATCH(
            "sobjects/Contact/Email/$email",
            300,
            [f"{ROOT}/sobjects/Contact/$twin", f"{ROOT}/sobjects/Contact/$other_twin"],
            body={"Title": "x"},
        ),
    ),
    story(
        "a key that is none",
        RESTFORCE,
        PATCH(
            "sobjects/Contact/Nope__c/x",
            404,
            error(
                "NOT_FOUND",
                "Provided external ID field does not exist or is not accessible: Nope__c",
            ),
            body={"LastName": "x"},
        ),
    ),
    story(
        "bodies that are packed, and answers",
        GROUPAROO,
        POST(
            "sobjects/Contact",
            201,
            SUCCESS,
            body=gzip.compress(json.dumps({"LastName": "Packed"}).encode()),
            sends={"Content-Encoding": "gzip", "Content-Type": "application/json"},
        ),
        GET(
            "sobjects/Contact/describe",
            200,
            Having({"name": "Contact"}),
            sends={"Accept-Encoding": "gzip"},
            headers={"Content-Encoding": "gzip"},
        ),
        GET(
            "sobjects/Contact/describe",
            200,
            Having({"name": "Contact"}),
            sends={"Accept-Encoding": "identity"},
            headers={"Content-Encoding": None},
        ),
    ),
    story(
        "what was updated and deleted",
        RESTFORCE,
        GET("sobjects/Contact/$contact", 200, ANYTHING),
        GET("sobjects/Contact/$deleted", 404, NOT_FOUND),
        GET(
            "sobjects/Contact/updated/?start=$hour_ago&end=$soon",
            200,
            {"ids": Each(ID), "latestDateCovered": DATETIME},
            until=True,
        ),
        GET(
            "sobjects/Contact/deleted/?start=$hour_ago&end=$soon",
            200,
            {
                "deletedRecords": Each({"id": ID, "deletedDate": DATETIME}),
                "earliestDateAvailable": DATETIME,
                "latestDateCovered": DATETIME,
            },
            until=True,
        ),
        GET(
            "sobjects/Contact/updated/?start=$last_year&end=$soon",
            400,
            error("INVALID_REPLICATION_DATE", str),
        ),
        GET(
            "sobjects/Contact/deleted/?start=$hour_ago&end=$hour_ago",
            400,
            error("INVALID_REPLICATION_DATE", str),
        ),
    ),
]

READ_ONLY = (
    "Unable to create/update fields: Name. Please check the security settings of this field and "
    "verify that it is read/write for your profile or permission set."
)
# The body of a new Contact that is refused, and how: code, message, fields.
REFUSED: list[tuple[dict[str, Any], str, Any, tuple[str, ...]]] = [
    ({}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", ("LastName",)),
    ({"LastName": "x", "Name": "y"}, "INVALID_FIELD_FOR_INSERT_UPDATE", READ_ONLY, ("Name",)),
    (
        {"LastName": "x" * 81},
        "STRING_TOO_LONG",
        re.compile(r"Last Name: data value too large: x+ \(max length=80\)"),
        ("LastName",),
    ),
    (
        {"LastName": "x", "Email": "badone"},
        "INVALID_EMAIL_ADDRESS",
        "Email: invalid email address: badone",
        ("Email",),
    ),
    (
        {"LastName": "x", "CleanStatus": "v"},
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        re.compile(".+: bad value for restricted picklist field: v"),
        ("CleanStatus",),
    ),
    (
        {"LastName": "x", "AccountId": "001000000000000AAA"},
        "INVALID_CROSS_REFERENCE_KEY",
        "invalid cross reference id",
        ("AccountId",),
    ),
    ({"LastName": "x", "AccountId": "x"}, "MALFORMED_ID", str, ("AccountId",)),
    (
        {"LastName": "x", "External_Id__c": "$key"},
        "DUPLICATE_VALUE",
        "duplicate value found: External_Id__c duplicates value on record with id: $keyed",
        (),
    ),
    (
        {"LastName": "x", "Referral_Count__c": 1e30},
        "NUMBER_OUTSIDE_VALID_RANGE",
        re.compile(r"Referral Count: value outside of valid range on numeric field: 1e\+30"),
        ("Referral_Count__c",),
    ),
]
REFUSED_STORIES = [
    story(
        f"a new row that is refused: {code}",
        REST,
        GET("sobjects/Contact/$keyed", 200, ANYTHING),
        POST("sobjects/Contact", 400, error(code, message, *fields, row=True), body=body),
        POST(
            "composite/sobjects",
            200,
            [Having({"id": ID}), failure(code, message, *fields)],
            body={"allOrNone": False, "records": [contact(LastName="x"), contact(**body)]},
        ),
    )
    for body, code, message, fields in REFUSED
] + [
    story(
        "columns that are not there, bodies that are no JSON",
        REST,
        POST(
            "sobjects/Contact",
            400,
            error("INVALID_FIELD", "No such column 'Nope__c' on sobject of type Contact"),
            body={"LastName": "x", "Nope__c": 1},
        ),
        PATCH(
            "sobjects/Contact/$contact",
            400,
            Each(Having({"errorCode": "INVALID_FIELD"})),
            body={"Id": "$contact"},
        ),
        POST("sobjects/Contact", 400, error("JSON_PARSER_ERROR", str), body=b'{"LastName":'),
        POST(
            "sobjects/Contact",
            400,
            error(
                "JSON_PARSER_ERROR",
                re.compile("Cannot deserialize instance of date from VALUE_STRING value soon.*"),
                "Birthdate",
            ),
            body={"LastName": "x", "Birthdate": "soon"},
        ),
    ),
]

ROLLED_BACK = failure(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone "
    "header",
)


COLLECTION_STORIES = [
    story(
        "a collection: a result per record, in order, no id on a failure",
        GROUPAROO,
        POST(
            "composite/sobjects",
            200,
            [
                {"id": Saved("new", ID), "success": True, "errors": []},
                failure(
                    "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", "LastName"
                ),
                {"id": re.compile("00Q.{15}"), "success": True, "errors": []},
            ],
            body={
                "allOrNone": False,
                "records": [
                    contact(LastName="x"),
                    contact(),
                    {"attributes": {"type": "Lead"}, "LastName": "x", "Company": "y"},
                ],
            },
        ),
        PATCH(
            "composite/sobjects",
            200,
            [
                {"id": "$new", "success": True, "errors": []},
                failure("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead"),
                failure("ENTITY_IS_DELETED", "entity is deleted"),
            ],
            body={
                "records": [
                    contact(id="$new", Title="x"),
                    {"attributes": {"type": "Lead"}, "Id": "$converted", "Title": "x"},
                    contact(Id="$deleted", Title="x"),
                ]
            },
        ),
        DELETE(
            "composite/sobjects?ids=$new,$deleted&allOrNone=false",
            200,
            [
                {"id": "$new", "success": True, "errors": []},
                failure("ENTITY_IS_DELETED", "entity is deleted"),
            ],
        ),
    ),
    story(
        "all or none",
        CUMULUSCI,
        POST(
            "composite/sobjects",
            200,
            [
                ROLLED_BACK,
                failure("INVALID_EMAIL_ADDRESS", "Email: invalid email address: bad", "Email"),
            ],
            body={
                "allOrNone": True,
                "records": [contact(LastName="$name"), contact(LastName="$name", Email="bad")],
            },
        ),
        GET("queryAll?q=SELECT Id FROM Contact WHERE LastName = '$name'", 200, page(0, [])),
        DELETE(
            "composite/sobjects?ids=$contact,$deleted&allOrNone=true",
            200,
            [ROLLED_BACK, failure("ENTITY_IS_DELETED", "entity is deleted")],
        ),
    ),
    story(
        "a collection of upserts",
        CUMULUSCI,
        GET("sobjects/Contact/$keyed", 200, ANYTHING),
        PATCH(
            "composite/sobjects/Contact/External_Id__c",
            200,
            [
                {"id": "$keyed", "success": True, "errors": [], "created": False},
                {"id": ID, "success": True, "errors": [], "created": True},
            ],
            body={
                "allOrNone": False,
                "records": [
                    contact(External_Id__c="$key", Title="x"),
                    contact(External_Id__c="$key new", LastName="x"),
                ],
            },
        ),
        PATCH(
            "composite/sobjects/Contact/Email",
            200,
            [{"id": ID, "success": True, "errors": [], "created": True}],
            body={"records": [contact(Email="$email", LastName="x")]},
        ),
        PATCH(
            "composite/sobjects/Contact/Id",
            200,
            [
                {"id": "$keyed", "success": True, "errors": [], "created": False},
                {"id": ID, "success": True, "errors": [], "created": True},
            ],
            body={"records": [contact(Id="$keyed", Title="y"), contact(Id=None, LastName="x")]},
        ),
    ),
    story(
        "a collection of reads: null where there is none",
        REST,
        POST(
            "composite/sobjects/Contact",
            200,
            [of("Contact", "$contact", Id="$contact", LastName="$name"), None, None],
            body={
                "ids": ["$contact", "$deleted", "003000000000000AAA"],
                "fields": ["Id", "LastName"],
            },
        ),
        GET(
            "composite/sobjects/Contact?ids=$deleted,$contact&fields=LastName",
            200,
            [None, Having({"LastName": "$name"})],
        ),
        POST(
            "composite/sobjects/Contact",
            400,
            error("INVALID_FIELD", "No such column 'Nope' on sobject of type Contact"),
            body={"ids": ["$contact"], "fields": ["Nope"]},
        ),
    ),
    story(
        "collections that are too large",
        REST,
        POST(
            "composite/sobjects",
            400,
            Each(Having({"errorCode": str, "message": str})),
            body={"records": [contact(LastName="$name")] * 201},
        ),
        POST(
            "composite/sobjects",
            400,
            Each(Having({"errorCode": str, "message": str})),
            body={
                "records": [
                    contact(LastName="$name"),
                    {"attributes": {"type": "Lead"}, "LastName": "$name", "Company": "x"},
                ]
                * 6
            },
        ),
        GET("queryAll?q=SELECT Id FROM Contact WHERE LastName = '$name'", 200, page(0, [])),
    ),
]
