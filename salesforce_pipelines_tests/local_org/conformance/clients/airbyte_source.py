"""Airbyte's Salesforce source, started with what is meant for the login hosts sent to a local org.

The connector logs in at login.salesforce.com, whatever its configuration says.

Usage: python airbyte.py LOCAL_ORG_URL check|discover|read [the connector's own options]
"""

import sys
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests.adapters

LOGIN_HOSTS = ("login.salesforce.com", "test.salesforce.com")


def send_logins_to(url: str) -> None:
    """From now on requests to the login hosts go to `url`, a plain-http address."""
    org = urlsplit(url)
    send = requests.adapters.HTTPAdapter.send

    def redirected(
        adapter: requests.adapters.HTTPAdapter, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        parts = urlsplit(str(request.url))
        if parts.hostname in LOGIN_HOSTS:
            request.url = urlunsplit(parts._replace(scheme=org.scheme, netloc=org.netloc))
        return send(adapter, request, **options)

    requests.adapters.HTTPAdapter.send = redirected  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    from airbyte_cdk.sources.declarative.async_job.job_orchestrator import AsyncJobOrchestrator
    from source_salesforce.run import run

    AsyncJobOrchestrator._WAIT_TIME_BETWEEN_STATUS_UPDATE_IN_SECONDS = 0.2  # instead of 5
    send_logins_to(sys.argv.pop(1))
    run()
