"""A local org that the tests of this folder share, and a client that speaks plain HTTP to it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import pytest
import requests

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.serving_in_thread import ServedOrg, served_org

VERSION = "62.0"
_NUMBERS = count(1)


def unique(prefix: str = "k") -> str:
    """A text that no other test uses, such as an external id."""
    return f"{prefix}-{next(_NUMBERS)}"


class Reachable(Protocol):
    """What a client needs to know of an org."""

    @property
    def url(self) -> str: ...
    @property
    def client_id(self) -> str: ...
    @property
    def client_secret(self) -> str: ...


def token_of(org: Reachable) -> dict[str, str]:
    """The answer of the token endpoint to the org's own client."""
    answer = requests.post(
        f"{org.url}/services/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(org.client_id, org.client_secret),
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    granted: dict[str, str] = answer.json()
    return granted


@dataclass
class Api:
    """Calls to one org with a session of its own."""

    url: str
    session: requests.Session

    def call(
        self, method: str, path: str, version: str = VERSION, **options: Any
    ) -> requests.Response:
        """Any call below `/services/data/vXX.X/`."""
        options.setdefault("timeout", 30)
        return self.session.request(
            method, f"{self.url}/services/data/v{version}/{path}", **options
        )

    def get(self, path: str, status: int = 200, **params: str) -> Any:
        """The JSON that a GET answers."""
        answer = self.call("GET", path, params=params)
        assert answer.status_code == status, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any, status: int) -> Any:
        """The JSON that another method answers, if it answers any."""
        answer = self.call(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def create(self, sobject: str, **values: Any) -> str:
        """A new record's id."""
        record_id: str = self.send("POST", f"sobjects/{sobject}", values, 201)["id"]
        return record_id

    def update(self, sobject: str, record_id: str, **values: Any) -> None:
        """Change a record."""
        self.send("PATCH", f"sobjects/{sobject}/{record_id}", values, 204)

    def delete(self, sobject: str, record_id: str) -> None:
        """Delete a record."""
        self.send("DELETE", f"sobjects/{sobject}/{record_id}", None, 204)

    def records(self, soql: str, path: str = "query") -> list[dict[str, Any]]:
        """The records of a query's first page, without their attributes."""
        found: list[dict[str, Any]] = self.get(path, q=soql)["records"]
        for record in found:
            record.pop("attributes")
        return found

    def refused(self, soql: str) -> tuple[str, str]:
        """The code and message of a query that is refused."""
        (error,) = self.get("query", status=400, q=soql)
        return error["errorCode"], error["message"]

    def finished(self, kind: str, job_id: str, state: str = "JobComplete") -> dict[str, Any]:
        """A Bulk job once it is done."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            job: dict[str, Any] = self.get(f"jobs/{kind}/{job_id}")
            if job["state"] in ("JobComplete", "Failed", "Aborted"):
                assert job["state"] == state, job
                return job
            time.sleep(0.02)
        raise AssertionError("the job did not finish")


def api_of(org: Reachable) -> Api:
    """A client with a new session; close its `session`."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token_of(org)['access_token']}"
    return Api(org.url, session)


@pytest.fixture(scope="session")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """One org for the whole folder; each test makes its own records."""
    with running_org(tmp_path_factory.mktemp("org") / "home") as running:
        yield running


@pytest.fixture(scope="session")
def api(org: RunningOrg) -> Iterator[Api]:
    """A client of the shared org."""
    client = api_of(org)
    with client.session:
        yield client


@pytest.fixture(scope="session")
def _served_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedOrg]:
    with served_org(tmp_path_factory.mktemp("served") / "home") as served:
        yield served


@pytest.fixture
def served(_served_once: ServedOrg) -> Iterator[ServedOrg]:
    """An org whose clock and connected app a test may change; the app is as at first after it."""
    yield _served_once
    _served_once.reset()
