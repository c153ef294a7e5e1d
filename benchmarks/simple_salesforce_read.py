"""simple-salesforce reading every Contact, and keeping nothing of it.

Usage: python -m benchmarks.simple_salesforce_read bulk2|query_all
"""

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3
from simple_salesforce.api import Salesforce

from benchmarks.contact_fields import FIELDS


class _ToLocalOrg(requests.adapters.HTTPAdapter):
    """Sends what is meant for https to the local org's plain http."""

    def __init__(self, url: str) -> None:
        # It polls after 5 s, just when the local org's web server lets an idle connection go.
        super().__init__(max_retries=urllib3.Retry(total=3))
        self._url = urlsplit(url)

    # Its options are passed on as they are; requests names each with a type of its own.
    def send(self, request: requests.PreparedRequest, **options: object) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(str(request.url))
        address = (self._url.scheme, self._url.netloc, parts.path, parts.query, parts.fragment)
        request.url = urlunsplit(address)
        return super().send(request, **options)  # type: ignore[arg-type]


def main() -> None:
    """Print the number of rows as JSON."""
    with requests.Session() as session:
        session.mount("https://", _ToLocalOrg(os.environ["SALESFORCE_LOGIN_URL"]))
        salesforce = Salesforce(
            consumer_key=os.environ["SALESFORCE_CLIENT_ID"],
            consumer_secret=os.environ["SALESFORCE_CLIENT_SECRET"],
            domain="local-org",
            session=session,
            version="62.0",
        )
        read = {"bulk2": _bulk2, "query_all": _query_all}[sys.argv[1]]
        rows = sum(1 for _ in read(salesforce))
    json.dump({"rows": rows}, sys.stdout)


def _bulk2(salesforce: Salesforce) -> Iterator[object]:
    soql = f"SELECT {', '.join(FIELDS)} FROM Contact"
    bulk2: Any = salesforce.bulk2  # its sObjects are attributes made up at run time
    for page in bulk2.Contact.query_all(soql, max_records=100_000):
        yield from csv.DictReader(io.StringIO(page, newline=""))


def _query_all(salesforce: Salesforce) -> Iterator[object]:
    soql = f"SELECT {', '.join(FIELDS)} FROM Contact"
    yield from salesforce.query_all_iter(soql, include_deleted=True)


if __name__ == "__main__":
    main()
