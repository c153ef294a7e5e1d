"""By which names the org answers, so that no web page of another site can read it."""

from pathlib import Path

import pytest
import requests

from salesforce_pipelines.local_org.http.access import is_trusted_host
from salesforce_pipelines.local_org.running import RunningOrg, running_org


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("127.0.0.1:8765", True),
        ("[::1]:8765", True),
        ("localhost", True),
        ("org:8765", True),
        ("x.localhost", True),
        ("org.internal", True),
        ("192.168.1.4", True),
        ("evil.example", False),
        ("localhost.evil.example:80", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[::1", False),
        ("[", False),
        ("localhost.:80", True),
        ("0.0.0.0", True),
    ],
)
def test_hosts_that_a_foreign_page_cannot_choose(host: str, trusted: bool) -> None:
    assert is_trusted_host(host) is trusted


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/lightning/o/Contact/list",
        "/local-org/clock",
        "/services/data",
        "/services/oauth2/token",
    ],
)
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "["])
def test_nothing_is_answered_under_a_foreign_name(org: RunningOrg, path: str, host: str) -> None:
    answer = requests.get(f"{org.url}{path}", headers={"Host": host}, timeout=10)
    assert answer.status_code == 421
    assert "--host-name" in answer.text


def test_a_public_name_is_answered_once_it_is_given(tmp_path: Path) -> None:
    with running_org(tmp_path / "home", options=("--host-name", "org.example")) as org:
        for host, status in (("org.example:443", 200), ("ORG.example", 200), ("x.example", 421)):
            answer = requests.get(f"{org.url}/services/data", headers={"Host": host}, timeout=10)
            assert answer.status_code == status
