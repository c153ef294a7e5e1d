"""Composite requests as documented."""

import re
from typing import Any

from salesforce_pipelines_tests.local_org.conformance.documented import (
    DATETIME,
    GET,
    ID,
    NO_COLUMN,
    POST,
    REST,
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
    Having,
    Saved,
)

ROLLED_BACK = error(
    "PROCESSING_HALTED",
    "The transaction was rolled back since another operation in the same transaction failed.",
)
LACKS_NAME = error(
    "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", "LastName", row=True
)


def asked(method: str, path: str, reference: str, body: Any = None) -> dict[str, Any]:
    """A subrequest."""
    request = {"method": method, "url": f"{ROOT}/{path}", "referenceId": reference}
    return request if body is None else request | {"body": body}


def composite(*requests: dict[str, Any], all_or_none: bool = False) -> dict[str, Any]:
    """A composite request."""
    return {"allOrNone": all_or_none, "compositeRequest": list(requests)}


def answered(reference: str, status: int, body: Any, **headers: Any) -> dict[str, Any]:
    """The answer to a subrequest."""
    return {
        "body": body,
        "httpHeaders": headers,
        "httpStatusCode": status,
        "referenceId": reference,
    }


def answers(*results: dict[str, Any]) -> dict[str, Any]:
    return {"compositeResponse": list(results)}


COMPOSITE_STORIES = [
    story(
        "a composite whose requests name what earlier ones made",
        REST,
        POST(
            "composite",
            200,
            answers(
                answered(
                    "refAccount",
                    201,
                    SUCCESS | {"id": Saved("made", ID)},
                    Location=f"{ROOT}/sobjects/Account/$made",
                ),
                answered(
                    "refContact",
                    201,
                    SUCCESS | {"id": Saved("person", ID)},
                    Location=f"{ROOT}/sobjects/Contact/$person",
                ),
                answered(
                    "refFound", 200, page(1, [of("Contact", "$person", Id="$person", Title=None)])
                ),
                answered("refChanged", 204, None),
                answered("refGone", 204, None),
            ),
            body=composite(
                asked("POST", "sobjects/Account", "refAccount", {"Name": "$name"}),
                asked(
                    "POST",
                    "sobjects/Contact",
                    "refContact",
                    {"LastName": "$name", "AccountId": "@{refAccount.id}"},
                ),
                asked(
                    "GET",
                    "query?q=SELECT Id, Title FROM Contact WHERE AccountId = '@{refAccount.id}'",
                    "refFound",
                ),
                asked(
                    "PATCH",
                    "sobjects/Contact/@{refFound.records[0].Id}",
                    "refChanged",
                    {"Title": "x"},
                ),
                asked("DELETE", "sobjects/Account/@{refAccount.id}", "refGone"),
                all_or_none=True,
            ),
        ),
        GET(
            "queryAll?q=SELECT IsDeleted FROM Account WHERE Id = '$made'",
            200,
            page(1, [of("Account", "$made", IsDeleted=True)]),
        ),
    ),
    story(
        "a composite goes on after a failure, but not with what depends on it",
        REST,
        POST(
            "composite",
            200,
            answers(
                answered("bad", 400, LACKS_NAME),
                answered(
                    "dependent",
                    400,
                    error(
                        "PROCESSING_HALTED",
                        re.compile(
                            r"Invalid reference specified\. No value for bad\.id found in bad\..*"
                        ),
                    ),
                ),
                answered(
                    "other",
                    201,
                    SUCCESS | {"id": Saved("made", ID)},
                    Location=f"{ROOT}/sobjects/Contact/$made",
                ),
            ),
            body=composite(
                asked("POST", "sobjects/Contact", "bad", {"Title": "x"}),
                asked("PATCH", "sobjects/Contact/@{bad.id}", "dependent", {"Title": "y"}),
                asked("POST", "sobjects/Contact", "other", {"LastName": "$name"}),
            ),
        ),
        GET("sobjects/Contact/$made", 200, Having({"LastName": "$name", "CreatedDate": DATETIME})),
    ),
    story(
        "all or none of a composite",
        REST,
        POST(
            "composite",
            200,
            answers(
                answered("first", 400, ROLLED_BACK),
                answered("bad", 400, LACKS_NAME),
                answered("last", 400, ROLLED_BACK),
            ),
            body=composite(
                asked("POST", "sobjects/Contact", "first", {"LastName": "$name"}),
                asked("POST", "sobjects/Contact", "bad", {"Title": "x"}),
                asked("POST", "sobjects/Contact", "last", {"LastName": "$name"}),
                all_or_none=True,
            ),
        ),
        GET("queryAll?q=SELECT Id FROM Contact WHERE LastName = '$name'", 200, page(0, [])),
    ),
    story(
        "a collection and a refused query within a composite",
        REST,
        POST(
            "composite",
            200,
            answers(
                answered(
                    "many",
                    200,
                    [SUCCESS, failure("REQUIRED_FIELD_MISSING", str, "LastName")],
                ),
                answered(
                    "query",
                    400,
                    error(
                        "INVALID_FIELD",
                        "\nSELECT Nope FROM Contact\n       ^\nERROR at Row:1:Column:8\n"
                        + NO_COLUMN.format("Nope"),
                    ),
                ),
            ),
            body=composite(
                asked(
                    "POST",
                    "composite/sobjects",
                    "many",
                    {"records": [contact(LastName="$name"), contact(Title="x")]},
                ),
                asked("GET", "query?q=SELECT Nope FROM Contact", "query"),
            ),
        ),
    ),
    story(
        "composites that are too large",
        REST,
        POST(
            "composite",
            400,
            error("LIMIT_EXCEEDED", str),
            body=composite(*(asked("GET", "limits", f"r{number}") for number in range(26))),
        ),
        POST(
            "composite",
            400,
            error("LIMIT_EXCEEDED", str),
            body=composite(
                *(
                    asked("GET", "query?q=SELECT Id FROM Lead LIMIT 1", f"r{number}")
                    for number in range(6)
                )
            ),
        ),
    ),
]
