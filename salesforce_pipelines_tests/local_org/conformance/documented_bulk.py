"""Bulk API 2.0 and list views as documented."""

import re
from typing import Any

from salesforce_pipelines_tests.local_org.conformance.documented import (
    BULK,
    CLIENTS,
    DATETIME,
    DELETE,
    GET,
    ID,
    NOT_FOUND,
    PATCH,
    POST,
    PUT,
    REST,
    RESTFORCE,
    ROOT,
    error,
    story,
)
from salesforce_pipelines_tests.local_org.conformance.exchanges import (
    ANYTHING,
    Each,
    Exchange,
    Having,
    Saved,
)

QUERY_JOB = {
    "id": re.compile("750.{15}"),
    "operation": "query",
    "object": "Lead",
    "createdById": "$user",
    "createdDate": DATETIME,
    "systemModstamp": DATETIME,
    "state": "UploadComplete",
    "concurrencyMode": "Parallel",
    "contentType": "CSV",
    "apiVersion": 62.0,
    "lineEnding": "LF",
    "columnDelimiter": "COMMA",
}
INGEST_JOB = QUERY_JOB | {
    "operation": "insert",
    "object": "Contact",
    "state": "Open",
    "contentUrl": re.compile(r"services/data/v62\.0/jobs/ingest/750.{15}/batches"),
}
PROGRESS = {
    "jobType": "V2Ingest",
    "numberRecordsProcessed": int,
    "numberRecordsFailed": int,
    "retries": int,
    "totalProcessingTime": int,
    "apiActiveProcessingTime": int,
    "apexProcessingTime": int,
}
CSV_TYPE = re.compile("text/csv.*")
ROW = r'"\w{18}","x"\n'


def uploaded(csv: bytes, job: dict[str, Any]) -> tuple[Exchange, ...]:
    """An ingest job as it is made, filled, closed and done; its id is then `$job`."""
    asked = {
        name: job[name] for name in ("object", "operation", "externalIdFieldName") if name in job
    }
    named = job | {"id": Saved("job", job["id"]), "contentUrl": Saved("upload", job["contentUrl"])}
    return (
        POST("jobs/ingest", 200, named, body=asked | {"contentType": "CSV", "lineEnding": "LF"}),
        PUT("/$upload", 201, body=csv, sends={"Content-Type": "text/csv"}),
        PATCH(
            "jobs/ingest/$job",
            200,
            Having({"id": "$job", "state": "UploadComplete"}),
            body={"state": "UploadComplete"},
        ),
        GET(
            "jobs/ingest/$job",
            200,
            Having({"state": "JobComplete", **PROGRESS}),
            until=True,
        ),
    )


BULK_STORIES = [
    story(
        "a query job",
        BULK,
        POST(
            "jobs/query",
            200,
            QUERY_JOB | {"id": Saved("job", QUERY_JOB["id"])},
            body={
                "operation": "query",
                "query": "SELECT Id, Company FROM Lead WHERE LastName = '$paged'",
            },
        ),
        GET(
            "jobs/query/$job",
            200,
            Having(
                {
                    "state": "JobComplete",
                    "jobType": "V2Query",
                    "numberRecordsProcessed": 250,
                    "retries": int,
                    "totalProcessingTime": int,
                }
            ),
            until=True,
        ),
        GET(
            "jobs/query/$job/results?maxRecords=200",
            200,
            re.compile(f'"Id","Company"\n({ROW}){{200}}'),
            headers={
                "Sforce-Locator": Saved("locator", re.compile("[A-Za-z0-9]+=*")),
                "Sforce-NumberOfRecords": "200",
                "Content-Type": CSV_TYPE,
            },
        ),
        GET(
            "jobs/query/$job/results?locator=$locator&maxRecords=200",
            200,
            re.compile(f'"Id","Company"\n({ROW}){{50}}'),
            headers={"Sforce-Locator": "null", "Sforce-NumberOfRecords": "50"},
        ),
        GET(
            "jobs/query/$job/results",
            200,
            re.compile(f'"Id","Company"\n({ROW}){{250}}'),
            headers={"Sforce-Locator": "null", "Sforce-NumberOfRecords": "250"},
        ),
        GET(
            "jobs/query/$job/resultPages",
            200,
            Having(
                {
                    "resultPages": Each(
                        {
                            "resultUrl": re.compile(
                                rf"{ROOT}/jobs/query/750.{{15}}/results(\?locator=.+)?"
                            )
                        }
                    ),
                    "done": True,
                }
            ),
        ),
        GET("jobs/query/$job/results", 409, Each(Having({"errorCode": str})), version="61.0"),
        GET(
            "jobs/query",
            200,
            {
                "done": bool,
                "records": Each(Having({"id": ID, "state": str})),
                "nextRecordsUrl": None,
            },
        ),
        DELETE("jobs/query/$job", 204),
        GET("jobs/query/$job", 404, NOT_FOUND),
    ),
    story(
        "a query job over deleted rows, times and nulls",
        BULK,
        POST(
            "jobs/query",
            200,
            Having({"id": Saved("job"), "operation": "queryAll"}),
            body={
                "operation": "queryAll",
                "query": "SELECT Id, IsDeleted, Email, SystemModstamp FROM Contact"
                " WHERE Id = '$deleted'",
            },
        ),
        GET("jobs/query/$job", 200, Having({"state": "JobComplete"}), until=True),
        GET(
            "jobs/query/$job/results",
            200,
            re.compile(
                '"Id","IsDeleted","Email","SystemModstamp"\n'
                r'"003\w{15}","true","","\d{4}-\d\d-\d\dT[\d:]{8}\.000Z"' + "\n"
            ),
        ),
    ),
    story(
        "queries that Bulk does not take",
        f"{BULK}, {CLIENTS}",
        POST(
            "jobs/query",
            400,
            error(str, re.compile(".*Selecting compound data not supported in Bulk Query.*")),
            body={"operation": "query", "query": "SELECT MailingAddress FROM Contact"},
        ),
        *(
            POST(
                "jobs/query",
                400,
                error(str, re.compile(".* is not supported by the Bulk API.*")),
                body={"operation": "query", "query": query},
            )
            for query in (
                "SELECT COUNT(Id) FROM Contact",
                "SELECT LastName FROM Contact GROUP BY LastName",
                "SELECT Id FROM Contact LIMIT 1 OFFSET 1",
                "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
            )
        ),
        POST(
            "jobs/query",
            400,
            error(
                "INVALID_FIELD", re.compile(r"(?s).*No such column 'Nope' on entity 'Contact'.*")
            ),
            body={"operation": "query", "query": "SELECT Nope FROM Contact"},
        ),
    ),
    story(
        "an ingest job",
        BULK,
        *uploaded(b"LastName,Email\n$$x,\nx,bad\n,\n", INGEST_JOB),
        GET(
            "jobs/ingest/$job",
            200,
            Having({"numberRecordsProcessed": 3, "numberRecordsFailed": 2}),
        ),
        GET(
            "jobs/ingest/$job/successfulResults",
            200,
            re.compile(
                r'"sf__Id","sf__Created","LastName","Email"\n"003\w{15}","true","\$\$x",""\n'
            ),
            headers={"Content-Type": CSV_TYPE},
        ),
        GET(
            "jobs/ingest/$job/failedResults",
            200,
            re.compile(
                r'"sf__Id","sf__Error","LastName","Email"\n'
                r'("","INVALID_EMAIL_ADDRESS:Email: invalid email address: bad:Email --",'
                r'"x","bad"\n'
                r'|"","REQUIRED_FIELD_MISSING:Required fields are missing: \[LastName\]:LastName --'
                r'","",""\n){2}'
            ),
        ),
        GET("jobs/ingest/$job/unprocessedrecords", 200, '"LastName","Email"\n'),
        GET("jobs/ingest/$job/unprocessedRecords", 200, '"LastName","Email"\n'),
        PUT("/$upload", 400, Each(Having({"errorCode": str})), body=b"LastName\nx\n"),
        GET("jobs/ingest", 200, Having({"done": bool, "records": Each(Having({"id": ID}))})),
        DELETE("jobs/ingest/$job", 204),
        GET("jobs/ingest/$job", 404, NOT_FOUND),
    ),
    story(
        "an ingest job of upserts",
        BULK,
        GET("sobjects/Contact/$keyed", 200, ANYTHING),
        *uploaded(
            b"External_Id__c,LastName,Title\nconformance upsert,x,#N/A\n",
            INGEST_JOB | {"operation": "upsert", "externalIdFieldName": "External_Id__c"},
        ),
        GET(
            "jobs/ingest/$job/successfulResults",
            200,
            re.compile(
                r'"sf__Id","sf__Created","External_Id__c","LastName","Title"\n'
                r'"003\w{15}","(true|false)","conformance upsert","x","#N/A"\n'
            ),
        ),
    ),
    story(
        "an ingest job that is aborted",
        BULK,
        POST(
            "jobs/ingest",
            200,
            Having({"id": Saved("job"), "state": "Open"}),
            body={"object": "Contact", "operation": "insert"},
        ),
        GET(
            "jobs/ingest/$job/successfulResults",
            400,
            Each(Having({"errorCode": "INVALIDJOBSTATE"})),
        ),
        PATCH("jobs/ingest/$job", 200, Having({"state": "Aborted"}), body={"state": "Aborted"}),
        PATCH(
            "jobs/ingest/$job",
            400,
            Each(Having({"errorCode": "INVALIDJOBSTATE"})),
            body={"state": "UploadComplete"},
        ),
        POST(
            "jobs/ingest",
            400,
            Each(Having({"errorCode": "INVALIDJOB"})),
            body={"object": "Nothing", "operation": "insert"},
        ),
    ),
]

VIEW = {
    "describeUrl": f"{ROOT}/sobjects/Contact/listviews/$view/describe",
    "developerName": "AllContacts",
    "id": "$view",
    "label": "All Contacts",
    "resultsUrl": f"{ROOT}/sobjects/Contact/listviews/$view/results",
    "soqlCompatible": True,
    "url": f"{ROOT}/sobjects/Contact/listviews/$view",
}
COLUMN = Having(
    {
        "ascendingLabel": ANYTHING,
        "descendingLabel": ANYTHING,
        "fieldNameOrPath": str,
        "hidden": bool,
        "label": str,
        "selectListItem": str,
        "sortDirection": ANYTHING,
        "sortIndex": ANYTHING,
        "sortable": bool,
        "type": str,
    }
)
LIST_VIEW_STORIES = [
    story(
        "list views",
        f"{REST}, {RESTFORCE}",
        GET(
            "sobjects/Contact/listviews",
            200,
            {
                "done": True,
                "listviews": Each(dict.fromkeys(VIEW, ANYTHING)),
                "nextRecordsUrl": None,
                "size": int,
                "sobjectType": "Contact",
            },
        ),
        GET("sobjects/Contact/listviews/$view", 200, VIEW),
        GET(
            "sobjects/Contact/listviews/$view/describe",
            200,
            Having(
                {
                    "columns": Each(COLUMN),
                    "id": re.compile(r"00B\w{12}(\w{3})?"),
                    "orderBy": Each(
                        {"fieldNameOrPath": str, "nullsPosition": str, "sortDirection": str}
                    ),
                    "query": re.compile("SELECT .*, id, createddate, .*FROM Contact.*"),
                    "scope": ANYTHING,
                    "sobjectType": "Contact",
                    "whereCondition": ANYTHING,
                }
            ),
        ),
        GET(
            "sobjects/Contact/listviews/$view/results?limit=2",
            200,
            Having(
                {
                    "columns": Each(COLUMN),
                    "developerName": "AllContacts",
                    "done": bool,
                    "id": ANYTHING,
                    "label": "All Contacts",
                    "records": Each({"columns": Each({"fieldNameOrPath": str, "value": ANYTHING})}),
                    "size": int,
                }
            ),
        ),
        GET("sobjects/Contact/listviews/00B000000000000AAA", 404, NOT_FOUND),
    ),
]
