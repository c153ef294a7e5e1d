"""The clients that `make clients` installs, and a local org with a connected client."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from salesforce_pipelines.local_org.running import running_org
from salesforce_pipelines_tests.local_org.web_login import Browser, exchanged

CONTACTS, LEADS, SEED = 250, 120, 5
SCRIPTS = Path(__file__).parent / "clients"
_REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class ConnectedOrg:
    """A local org, and the refresh token that its user has given to the org's own client."""

    url: str
    client_id: str
    client_secret: str
    refresh_token: str


@pytest.fixture(scope="session")
def clients() -> Path:
    """The folder of the installed clients."""
    folder = _REPOSITORY / ".clients"
    if not (folder / "installed").exists():
        pytest.skip("Salesforce clients are not installed: run `make clients`")
    return folder


@pytest.fixture(scope="session")
def connected_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectedOrg]:
    """An org of generated people."""
    home = tmp_path_factory.mktemp("connected") / "home"
    with running_org(home, contacts=CONTACTS, leads=LEADS, seed=SEED) as running:
        with requests.Session() as session:
            code = Browser(running, session).code()
        _, granted = exchanged(running, code)
        yield ConnectedOrg(
            running.url, running.client_id, running.client_secret, granted["refresh_token"]
        )
