"""The words of documented exchanges: their sources, requests, shapes and records."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from salesforce_pipelines_tests.local_org.conformance.exchanges import (
    Exchange,
    Known,
    Story,
)
from salesforce_pipelines_tests.local_org.conftest import Api, unique

REST = "REST API Developer Guide v67"
BULK = "Bulk API 2.0 and Bulk API Developer Guide v66"
OAUTH = "Salesforce Help, OAuth authorization flows"
CUMULUSCI = "recorded by CumulusCI"
GROUPAROO = "recorded by Grouparoo"
RESTFORCE = "recorded by restforce"
CLIENTS = "what simple-salesforce, jsforce and Airbyte rely on"

ID = re.compile(r"[0-9A-Za-z]{18}")
DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000\+0000")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
USAGE = re.compile(r"api-usage=\d+/\d+")
JSON_TYPE = "application/json;charset=UTF-8"
ROOT = "/services/data/v62.0"
NOT_FOUND = [{"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}]
LIMIT = {"Max": int, "Remaining": int}
SUCCESS = {"id": ID, "success": True, "errors": []}
NO_COLUMN = (
    "No such column '{}' on entity 'Contact'. If you are attempting to use a custom field, be sure "
    "to append the '__c' after the custom field name. Please reference your WSDL or the describe "
    "call for the appropriate names."
)


def _contact(api: Api, known: Known) -> str:
    return api.create("Contact", LastName=known["name"], AccountId=known["account"])


def _deleted(api: Api, known: Known) -> str:
    record_id = api.create("Contact", LastName=known["name"])
    api.delete("Contact", record_id)
    return record_id


def _view(api: Api, known: Known) -> str:
    listed = api.get("sobjects/Contact/listviews")["listviews"]
    return str(next(view["id"] for view in listed if view["developerName"] == "AllContacts"))


def _leads(api: Api, known: Known) -> str:
    record = {"attributes": {"type": "Lead"}, "LastName": known["name"], "Company": "x"}
    for count in (200, 50):
        api.send("POST", "composite/sobjects", {"records": [record] * count}, 200)
    return known["name"]


def _at(minutes: float) -> str:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    return moment.strftime("%Y-%m-%dT%H:%M:%S%%2B00:00")


MAKERS = {
    "name": lambda api, known: unique("Name"),
    "key": lambda api, known: unique("a b/ü&"),
    "quoted_key": lambda api, known: quote(known["key"], safe=""),
    "email": lambda api, known: f"{unique()}@example.com",
    "account": lambda api, known: api.create("Account", Name=known["name"]),
    "contact": _contact,
    "short": lambda api, known: known["contact"][:15],
    "other_case": lambda api, known: known["contact"].swapcase(),
    "keyed": lambda api, known: api.create(
        "Contact", LastName=known["name"], External_Id__c=known["key"]
    ),
    "lonely": lambda api, known: api.create("Contact", LastName=known["name"]),
    "deleted": _deleted,
    "lead": lambda api, known: api.create("Lead", LastName=known["name"], Company="x"),
    "converted": lambda api, known: api.create(
        "Lead", LastName=known["name"], Company="x", IsConverted=True
    ),
    "twin": lambda api, known: api.create("Contact", LastName="x", Email=known["email"]),
    "other_twin": lambda api, known: api.create("Contact", LastName="x", Email=known["email"]),
    "paged": _leads,
    "view": _view,
    "user": lambda api, known: api.get("", status=200)["identity"].rpartition("/")[2],
    "org": lambda api, known: api.get("", status=200)["identity"].split("/")[-2],
    "host": lambda api, known: api.url,
    "hour_ago": lambda api, known: _at(-60),
    "soon": lambda api, known: _at(5),
    "last_year": lambda api, known: _at(-60 * 24 * 365),
}


def error(code: Any, message: Any, *fields: str, row: bool = False) -> list[dict[str, Any]]:
    """The error array; of a row that was not written, it names fields."""
    entry: dict[str, Any] = {"errorCode": code, "message": message}
    return [entry | {"fields": list(fields)} if fields or row else entry]


def failure(code: str, message: Any, *fields: str) -> dict[str, Any]:
    """A record's entry in the answer to a collection."""
    details = {"statusCode": code, "message": message, "fields": list(fields)}
    return {"success": False, "errors": [details]}


def page(total: int, records: Any, next_page: Any = None) -> dict[str, Any]:
    """A page of a query's records; the last one if there is no next."""
    answer = {"totalSize": total, "done": next_page is None, "records": records}
    return answer if next_page is None else answer | {"nextRecordsUrl": next_page}


def of(sobject: str, record: str, **values: Any) -> dict[str, Any]:
    """A record as REST shows it."""
    url = f"{ROOT}/sobjects/{sobject}/{record}"
    return {"attributes": {"type": sobject, "url": url}, **values}


def contact(**values: Any) -> dict[str, Any]:
    """A Contact as a collection takes it."""
    return {"attributes": {"type": "Contact"}, **values}


def GET(path: str, status: int, answer: Any = None, **more: Any) -> Exchange:  # noqa: N802
    return Exchange("GET", path, status, answer, **more)


def POST(path: str, status: int, answer: Any = None, **more: Any) -> Exchange:  # noqa: N802
    return Exchange("POST", path, status, answer, **more)


def PUT(path: str, status: int, answer: Any = None, **more: Any) -> Exchange:  # noqa: N802
    return Exchange("PUT", path, status, answer, **more)


def PATCH(path: str, status: int, answer: Any = None, **more: Any) -> Exchange:  # noqa: N802
    return Exchange("PATCH", path, status, answer, **more)


def DELETE(path: str, status: int, answer: Any = None, **more: Any) -> Exchange:  # noqa: N802
    return Exchange("DELETE", path, status, answer, **more)


def story(name: str, source: str, *exchanges: Exchange) -> Story:
    return Story(name, source, exchanges)
