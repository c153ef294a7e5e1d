from collections.abc import Iterator
from typing import Any

import pytest

from salesforce_pipelines_tests.local_org.conftest import VERSION, Api, unique

ROOT = f"/services/data/v{VERSION}"
ROLLED_BACK = [
    {
        "errorCode": "PROCESSING_HALTED",
        "message": "The transaction was rolled back since another operation in the same "
        "transaction failed.",
    }
]


def sub(method: str, path: str, reference: str, body: Any = None, **more: Any) -> dict[str, Any]:
    request = {"method": method, "url": f"{ROOT}/{path}", "referenceId": reference, **more}
    return request if body is None else {**request, "body": body}


def composite(api: Api, *requests: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    body = {"compositeRequest": list(requests), **options}
    answer: list[dict[str, Any]] = api.send("POST", "composite", body, 200)["compositeResponse"]
    assert [result["referenceId"] for result in answer] == [r["referenceId"] for r in requests]
    return answer


def statuses(results: list[dict[str, Any]]) -> list[int]:
    return [result["httpStatusCode"] for result in results]


def test_results_are_passed_on(api: Api) -> None:
    name = unique("Passed")
    results = composite(
        api,
        sub("POST", "sobjects/Account", "refAccount", {"Name": name}),
        sub(
            "POST",
            "sobjects/Contact",
            "linked",
            {"LastName": "of @{refAccount.id}", "AccountId": "@{refAccount.id}"},
        ),
        sub("GET", "sobjects/Account/@{refAccount.id}?fields=Name", "read"),
        sub("GET", "query?q=SELECT Id FROM Contact WHERE AccountId = '@{read.Id}'", "found"),
        sub("PATCH", "sobjects/Contact/@{found.records[0].Id}", "changed", {"Title": "CEO"}),
    )
    assert statuses(results) == [201, 201, 200, 200, 204]
    account, contact = results[0]["body"]["id"], results[1]["body"]["id"]
    assert results[0]["httpHeaders"] == {"Location": f"{ROOT}/sobjects/Account/{account}"}
    assert results[2]["body"]["Name"] == name
    assert results[3]["body"]["totalSize"] == 1
    assert results[4]["body"] is None
    row = api.get(f"sobjects/Contact/{contact}")
    assert (row["AccountId"], row["LastName"], row["Title"]) == (account, f"of {account}", "CEO")


def test_a_number_stays_one_and_null_passes_from_v52_on(api: Api) -> None:
    source = api.create("Contact", LastName="x", Referral_Count__c=7)
    requests = [
        sub("GET", f"sobjects/Contact/{source}", "read"),
        sub(
            "POST",
            "sobjects/Contact",
            "copy",
            {
                "LastName": "@{read.LastName}",
                "Referral_Count__c": "@{read.Referral_Count__c}",
                "Title": "@{read.Title}",
            },
        ),
    ]
    results = composite(api, *requests)
    copy = api.get(f"sobjects/Contact/{results[1]['body']['id']}")
    assert (copy["Referral_Count__c"], copy["Title"]) == (7.0, None)
    body = {"compositeRequest": requests}
    older = api.call("POST", "composite", version="51.0", json=body).json()["compositeResponse"]
    assert older[1]["body"][0]["errorCode"] == "PROCESSING_HALTED"


@pytest.mark.parametrize(
    "reference",
    ["bad.id", "good.Id", "good.errors[0]", "good.errors", "nobody.id", "good.", "good", "read[x]"],
)
def test_what_depends_on_nothing_is_halted_and_the_rest_goes_on(api: Api, reference: str) -> None:
    name = unique("Halted")
    results = composite(
        api,
        sub("POST", "sobjects/Contact", "bad", {"Email": "x"}),
        sub("POST", "sobjects/Account", "good", {"Name": name}),
        sub("GET", "query?q=SELECT Id FROM Contact LIMIT 0", "read"),
        sub("POST", "sobjects/Contact", "dependent", {"LastName": f"@{{{reference}}}"}),
        sub("DELETE", "sobjects/Account/@{good.id}", "last"),
    )
    assert statuses(results) == [400, 201, 200, 400, 204]
    (error,) = results[3]["body"]
    assert error["errorCode"] == "PROCESSING_HALTED"
    assert error["message"].startswith(f"Invalid reference specified. No value for {reference} ")


def test_a_body_of_results_in_their_own_words(api: Api) -> None:
    (result,) = composite(
        api, sub("POST", "sobjects/Contact", "badContact", {"LastName": "x", "Email": "bad"})
    )
    assert result == {
        "body": [
            {
                "message": "Email: invalid email address: bad",
                "errorCode": "INVALID_EMAIL_ADDRESS",
                "fields": ["Email"],
            }
        ],
        "httpHeaders": {},
        "httpStatusCode": 400,
        "referenceId": "badContact",
    }


def test_all_or_none_takes_back_what_was_done(api: Api) -> None:
    name = unique("Rolled")
    kept = api.create("Account", Name=name, Site="before")
    requests = [
        sub("POST", "sobjects/Account", "one", {"Name": name}),
        sub("PATCH", f"sobjects/Account/{kept}", "two", {"Site": "after"}),
        sub("GET", f"query?q=SELECT COUNT() FROM Account WHERE Name = '{name}'", "three"),
        sub("POST", "sobjects/Contact", "four", {"AccountId": "@{one.id}"}),
        sub("POST", "sobjects/Account", "five", {"Name": name}),
    ]
    results = composite(api, *requests, allOrNone=True)
    assert statuses(results) == [400] * 5
    for at in (0, 1, 2, 4):
        assert results[at]["body"] == ROLLED_BACK
    assert results[3]["body"][0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{name}'", "queryAll") == [
        {"Id": kept}
    ]
    assert api.get(f"sobjects/Account/{kept}")["Site"] == "before"
    requests[3]["body"]["LastName"] = "x"
    results = composite(api, *requests, allOrNone=True)
    assert statuses(results) == [201, 204, 200, 201, 201]
    assert results[2]["body"]["totalSize"] == 2
    assert api.get(f"sobjects/Account/{kept}")["Site"] == "after"


def test_all_or_none_holds_for_the_collections_within(api: Api) -> None:
    name = unique("Within")
    account = {"attributes": {"type": "Account"}, "Name": name}
    collection = {"allOrNone": False, "records": [account, {"attributes": {"type": "Account"}}]}
    requests = [
        sub("POST", "sobjects/Account", "first", {"Name": name}),
        sub("POST", "composite/sobjects", "many", collection),
    ]
    results = composite(api, *requests, allOrNone=True)
    assert statuses(results) == [400, 200]
    assert [item["success"] for item in results[1]["body"]] == [False, False]
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{name}'", "queryAll") == []
    results = composite(api, *requests)
    assert [item["success"] for item in results[1]["body"]] == [True, False]
    assert len(api.records(f"SELECT Id FROM Account WHERE Name = '{name}'")) == 2


def test_after_a_rollback_the_org_is_written_as_before(api: Api) -> None:
    composite(api, sub("POST", "sobjects/Contact", "bad", {}), allOrNone=True)
    assert api.get(f"sobjects/Contact/{api.create('Contact', LastName='x')}")["LastName"] == "x"


def test_a_composite_is_one_call(api: Api) -> None:
    def used(answer: Any) -> int:
        return int(answer.headers["Sforce-Limit-Info"].partition("=")[2].partition("/")[0])

    before = used(api.call("GET", "limits"))
    body = {"compositeRequest": [sub("GET", "sobjects/Lead", f"r{n}") for n in range(25)]}
    assert used(api.call("POST", "composite", json=body)) == before + 1


def test_headers_of_a_subrequest(api: Api) -> None:
    since = {"If-Modified-Since": "Tue, 31 May 2067 18:00:00 GMT"}
    (result,) = composite(api, sub("GET", "sobjects/Lead/describe", "x", httpHeaders=since))
    assert (result["httpStatusCode"], result["body"]) == (304, None)


def many(count: int, path: str) -> dict[str, Any]:
    return {"compositeRequest": [sub("GET", path, f"r{n}") for n in range(count)]}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "REQUIRED_FIELD_MISSING"),
        ({"compositeRequest": []}, "REQUIRED_FIELD_MISSING"),
        (many(26, "limits"), "LIMIT_EXCEEDED"),
        (many(6, "query?q=SELECT Id FROM Lead LIMIT 1"), "LIMIT_EXCEEDED"),
        (many(6, "composite/sobjects/Lead?ids=x&fields=Id"), "LIMIT_EXCEEDED"),
        ({"compositeRequest": [sub("GET", "sobjects", "same")] * 2}, "INVALID_INPUT"),
        ({"compositeRequest": [sub("GET", "sobjects", "a[1]")]}, "INVALID_INPUT"),
        ({"compositeRequest": [sub("GET", "sobjects", "_a")]}, "INVALID_INPUT"),
        ({"compositeRequest": [sub("get", "sobjects", "a")]}, "INVALID_INPUT"),
        ({"compositeRequest": [sub("GET", "sobjects", "")]}, "REQUIRED_FIELD_MISSING"),
        ({"compositeRequest": [{"method": "GET", "referenceId": "a"}]}, "REQUIRED_FIELD_MISSING"),
        (
            {"compositeRequest": [sub("GET", "sobjects", "a", httpHeaders={"accept": "x"})]},
            "INVALID_INPUT",
        ),
        (
            {"compositeRequest": [{"method": "GET", "url": "/v62.0/limits", "referenceId": "a"}]},
            "INVALID_INPUT",
        ),
        ({"compositeRequest": ["x"]}, "JSON_PARSER_ERROR"),
    ],
)
def test_a_malformed_composite_does_nothing(api: Api, body: dict[str, Any], code: str) -> None:
    (error,) = api.send("POST", "composite", body, 400)
    assert error["errorCode"] == code


def test_the_words_for_a_reference_id_that_is_there_twice(api: Api) -> None:
    body = {"compositeRequest": [sub("GET", "sobjects", "same")] * 2}
    assert api.send("POST", "composite", body, 400) == [
        {
            "message": "Duplicate ReferenceId provided in the request.",
            "errorCode": "INVALID_INPUT",
        }
    ]


def test_what_a_composite_does_not_hold(api: Api) -> None:
    results = composite(
        api,
        sub("POST", "composite", "nested", {"compositeRequest": []}),
        sub("GET", "jobs/ingest", "jobs"),
        sub("GET", "sobjects/Nope", "nope"),
        sub("PUT", "sobjects/Lead", "put", {}),
        {"method": "GET", "url": "/services/data/v12.0/sobjects", "referenceId": "old"},
    )
    assert statuses(results) == [400, 400, 404, 405, 404]


def test_bodies_that_are_too_deep(api: Api) -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"LastName": deep}
    (result,) = composite(api, sub("POST", "sobjects/Contact", "a", deep))
    assert result["body"][0]["errorCode"] == "JSON_PARSER_ERROR"
    (answer,) = batch(api, ("POST", "sobjects/Contact", deep))["results"]
    assert answer["result"][0]["errorCode"] == "JSON_PARSER_ERROR"


def test_composite_resources(api: Api) -> None:
    assert api.get("composite") == {
        "tree": f"{ROOT}/composite/tree",
        "batch": f"{ROOT}/composite/batch",
        "sobjects": f"{ROOT}/composite/sobjects",
    }


# Batch


def batch(api: Api, *requests: tuple[str, str, Any], halt: bool = False) -> dict[str, Any]:
    given = [
        {"method": method, "url": f"v{VERSION}/{path}"} | ({"richInput": body} if body else {})
        for method, path, body in requests
    ]
    body = {"batchRequests": given, "haltOnError": halt}
    answer: dict[str, Any] = api.send("POST", "composite/batch", body, 200)
    return answer


def two_of_one_email(api: Api) -> str:
    """An upsert that finds two records."""
    email = f"{unique()}@example.com"
    for _ in range(2):
        api.create("Contact", LastName="x", Email=email)
    return f"sobjects/Contact/Email/{email}"


def test_several_matches_undo_a_composite(api: Api) -> None:
    name = unique("Undone")
    requests = [
        sub("POST", "sobjects/Account", "account", {"Name": name}),
        sub("PATCH", two_of_one_email(api), "contact", {"Title": "x"}),
    ]
    results = composite(api, *requests, allOrNone=True)
    assert statuses(results) == [400, 300]
    assert results[0]["body"] == ROLLED_BACK
    assert len(results[1]["body"]) == 2
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{name}'") == []


def test_several_matches_halt_a_batch(api: Api) -> None:
    upsert = {"method": "PATCH", "url": f"v{VERSION}/{two_of_one_email(api)}"}
    requests = [upsert | {"richInput": {"Title": "x"}}, {"method": "GET", "url": "v62.0/limits"}]
    body = {"batchRequests": requests, "haltOnError": True}
    answer = api.send("POST", "composite/batch", body, 200)
    assert answer["hasErrors"] is True
    assert [result["statusCode"] for result in answer["results"]] == [300, 412]


def test_a_batch_commits_what_succeeds(api: Api) -> None:
    record_id = api.create("Account", Name="x")
    answer = batch(
        api,
        ("PATCH", f"sobjects/account/{record_id}", {"Site": "new"}),
        ("GET", f"sobjects/account/{record_id}?fields=Name,Site", None),
        ("POST", "sobjects/Contact", {"Email": "bad"}),
        ("GET", "limits", None),
    )
    assert answer["hasErrors"] is True
    assert [result["statusCode"] for result in answer["results"]] == [204, 200, 400, 200]
    assert answer["results"][0]["result"] is None
    assert answer["results"][1]["result"]["Site"] == "new"
    assert answer["results"][2]["result"][0]["errorCode"] == "INVALID_EMAIL_ADDRESS"
    assert batch(api, ("GET", "limits", None))["hasErrors"] is False


def test_a_batch_that_halts_on_errors(api: Api) -> None:
    name = unique("Halting")
    requests = [("GET", "sobjects/Nope", None), ("POST", "sobjects/Account", {"Name": name})]
    answer = batch(api, *requests, halt=True)
    assert [result["statusCode"] for result in answer["results"]] == [404, 412]
    assert answer["results"][1]["result"][0]["errorCode"] == "BATCH_PROCESSING_HALTED"
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{name}'") == []
    assert [r["statusCode"] for r in batch(api, *requests)["results"]] == [404, 201]


def test_what_a_batch_refuses(api: Api) -> None:
    one = {"method": "GET", "url": f"v{VERSION}/limits"}
    for requests, code in (
        ([], "REQUIRED_FIELD_MISSING"),
        ([one] * 26, "LIMIT_EXCEEDED"),
        ([{"method": "GET"}], "REQUIRED_FIELD_MISSING"),
        ([{"method": "X", "url": "v62.0/limits"}], "INVALID_INPUT"),
        ([1], "JSON_PARSER_ERROR"),
    ):
        (error,) = api.send("POST", "composite/batch", {"batchRequests": requests}, 400)
        assert error["errorCode"] == code
    answer = batch(api, ("POST", "composite", {"compositeRequest": []}), ("GET", "../x", None))
    assert [result["statusCode"] for result in answer["results"]] == [400, 404]
    newer = {"batchRequests": [{"method": "GET", "url": "v67.0/limits"}]}
    assert api.send("POST", "composite/batch", newer, 200)["results"][0]["statusCode"] == 400


# Tree


def node(sobject: str, reference: str, **values: Any) -> dict[str, Any]:
    return {"attributes": {"type": sobject, "referenceId": reference}, **values}


def test_a_tree(api: Api) -> None:
    tree = {
        "records": [
            node(
                "Account",
                "ref1",
                Name="SampleAccount",
                Contacts={
                    "records": [
                        node("Contact", "ref2", LastName="Smith"),
                        node("Contact", "ref3", LastName="Evans"),
                    ]
                },
            ),
            node("Account", "ref4", Name="SampleAccount2"),
        ]
    }
    answer = api.send("POST", "composite/tree/Account", tree, 201)
    assert answer["hasErrors"] is False
    assert [result["referenceId"] for result in answer["results"]] == [
        "ref1",
        "ref4",
        "ref2",
        "ref3",
    ]
    ids = {result["referenceId"]: result["id"] for result in answer["results"]}
    smith = api.get(f"sobjects/Contact/{ids['ref2']}")
    assert (smith["LastName"], smith["AccountId"]) == ("Smith", ids["ref1"])


def test_a_tree_is_created_whole_or_not_at_all(api: Api) -> None:
    name = unique("Tree")
    children = {"records": [node("Contact", "ref2", LastName="x", Email="123")]}
    tree = {"records": [node("Account", "ref1", Name=name, Contacts=children)]}
    assert api.send("POST", "composite/tree/Account", tree, 400) == {
        "hasErrors": True,
        "results": [
            {
                "referenceId": "ref2",
                "errors": [
                    {
                        "statusCode": "INVALID_EMAIL_ADDRESS",
                        "message": "Email: invalid email address: 123",
                        "fields": ["Email"],
                    }
                ],
            }
        ],
    }
    assert api.records(f"SELECT Id FROM Account WHERE Name = '{name}'", "queryAll") == []
    children["records"] = [node("Contact", "ref2", Nope=1)]
    (result,) = api.send("POST", "composite/tree/Account", tree, 400)["results"]
    assert result["errors"][0]["statusCode"] == "INVALID_FIELD"


def test_reference_ids_of_a_tree_are_unique(api: Api) -> None:
    tree = {"records": [node("Account", "same", Name="x"), node("Account", "same", Name="y")]}
    answer = api.send("POST", "composite/tree/Account", tree, 400)
    error = {
        "statusCode": "INVALID_INPUT",
        "message": "Duplicate ReferenceId provided in the request.",
        "fields": [],
    }
    assert answer == {
        "hasErrors": True,
        "results": [{"referenceId": "same", "errors": [error]}] * 2,
    }


def nested(levels: int) -> Iterator[dict[str, Any]]:
    record = node("Account", f"r{levels}", Name="x")
    for level in range(levels - 1, 0, -1):
        record = node("Account", f"r{level}", Name="x", ChildAccounts={"records": [record]})
    yield record


@pytest.mark.parametrize(
    ("tree", "code"),
    [
        ({}, "REQUIRED_FIELD_MISSING"),
        ({"records": []}, "REQUIRED_FIELD_MISSING"),
        ({"records": [{"Name": "x"}]}, "INVALID_INPUT"),
        ({"records": [{"attributes": {"type": "Account"}, "Name": "x"}]}, "INVALID_INPUT"),
        ({"records": [node("Lead", "a", LastName="x", Company="y")]}, "INVALID_INPUT"),
        ({"records": [node("Account", "a", Name="x", Nope={"records": []})]}, "INVALID_FIELD"),
        ({"records": [node("Account", f"r{n}", Name="x") for n in range(201)]}, "LIMIT_EXCEEDED"),
        ({"records": list(nested(6))}, "LIMIT_EXCEEDED"),
    ],
)
def test_a_malformed_tree(api: Api, tree: dict[str, Any], code: str) -> None:
    (error,) = api.send("POST", "composite/tree/Account", tree, 400)
    assert error["errorCode"] == code


def test_a_tree_as_large_as_it_may_be(api: Api) -> None:
    records = [node("Account", f"root{n}", Name="x") for n in range(195)]
    answer = api.send("POST", "composite/tree/Account", {"records": [*records, *nested(5)]}, 201)
    assert len(answer["results"]) == 200
    api.send("POST", "composite/tree/Nope", {"records": records}, 404)
