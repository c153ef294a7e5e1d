"""The project's own client against an org with faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tenacity
from pydantic import SecretStr

from salesforce_pipelines.config.environment import OrgEnvironment
from salesforce_pipelines.config.models import Connection
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.org.errors import OrgUnreachableError, SalesforceError
from salesforce_pipelines.org.session import OrgSession

LIMITS = "/services/data/v62.0/limits"
CONTACT = "/services/data/v62.0/sobjects/Contact"


@pytest.fixture(scope="module")
def own_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    with running_org(tmp_path_factory.mktemp("client") / "home") as running:
        yield running


@pytest.fixture
def session(own_org: RunningOrg) -> Iterator[OrgSession]:
    environment = OrgEnvironment(
        client_id=own_org.client_id, client_secret=SecretStr(own_org.client_secret)
    )
    connection = Connection(login_url=own_org.url)
    opened = OrgSession(connection, environment, attempts=3, wait=tenacity.wait_none())
    yield opened
    opened.close()
    own_org.admin.clear()


def names(session: OrgSession, last_name: str) -> int:
    path = "/services/data/v62.0/query"
    soql = f"SELECT Id FROM Contact WHERE LastName = '{last_name}'"
    total: int = session.request("GET", path, params={"q": soql}).json()["totalSize"]
    return total


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("server_unavailable", {}),
        ("html_page", {"status": 502}),
        ("html_page", {"status": 429}),
        ("concurrency_limit", {}),
        ("cut", {}),
    ],
)
def test_what_passes_is_tried_again(
    own_org: RunningOrg, session: OrgSession, kind: str, options: dict[str, object]
) -> None:
    with own_org.admin.fault(kind, path="limits", times=2, **options) as fault:
        assert session.request("GET", LIMITS).json()["DailyApiRequests"]["Max"]
        assert own_org.admin.read_fault(fault)["hits"] == 2


def test_it_gives_up_in_the_end(own_org: RunningOrg, session: OrgSession) -> None:
    with own_org.admin.fault("server_unavailable", times="unlimited") as fault:
        with pytest.raises(SalesforceError, match="SERVER_UNAVAILABLE"):
            session.request("GET", LIMITS)
        assert own_org.admin.read_fault(fault)["hits"] == 3


def test_the_daily_limit_is_not_tried_again(own_org: RunningOrg, session: OrgSession) -> None:
    with own_org.admin.fault("daily_limit") as fault:
        with pytest.raises(SalesforceError, match="REQUEST_LIMIT_EXCEEDED"):
            session.request("GET", LIMITS)
        assert own_org.admin.read_fault(fault)["hits"] == 1


def test_an_expired_session_is_renewed_once(own_org: RunningOrg, session: OrgSession) -> None:
    session.request("GET", LIMITS)
    with own_org.admin.fault("session_expired", skip=1) as fault:
        for _ in range(3):
            session.request("GET", LIMITS)
        assert own_org.admin.read_fault(fault)["hits"] == 1
    assert [call["status"] for call in own_org.admin.calls(5)] == [200, 200, 200, 401, 200]
    own_org.admin.expire_sessions()
    assert session.request("GET", LIMITS).ok


@pytest.mark.parametrize("kind", ["unknown_exception", "cut"])
def test_a_create_whose_fate_is_unknown_is_not_sent_twice(
    own_org: RunningOrg, session: OrgSession, kind: str
) -> None:
    name = f"Fate {kind}"
    with (
        own_org.admin.fault(kind, method="POST", path="sobjects/*", when="after"),
        pytest.raises((SalesforceError, OrgUnreachableError)),
    ):
        session.request("POST", CONTACT, json={"LastName": name}, replayable=False)
    assert names(session, name) == 1


def test_an_upsert_is_sent_twice_and_lands_once(own_org: RunningOrg, session: OrgSession) -> None:
    path = f"{CONTACT}/External_Id__c/replayed"
    with own_org.admin.fault("unknown_exception", method="PATCH", when="after"):
        answer = session.request("PATCH", path, json={"LastName": "Replayed"}, replayable=True)
    assert answer.json()["created"] is False
    assert names(session, "Replayed") == 1


def test_a_download_that_always_breaks_is_said(
    own_org: RunningOrg, session: OrgSession, tmp_path: Path
) -> None:
    with (
        own_org.admin.fault("cut", path="sobjects", after_bytes=200, times=3),
        (tmp_path / "body").open("wb") as body,
        pytest.raises(OrgUnreachableError, match="the connection broke in the middle"),
    ):
        session.download("/services/data/v62.0/sobjects", body)
