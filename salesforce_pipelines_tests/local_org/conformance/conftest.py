"""The clients that `make clients` installs, and a local org with a connected client."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from salesforce_pipelines.local_org.building import build_home
from salesforce_pipelines.local_org.generator import records
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.running import running_org

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
    build_home(home, SEED, partial(records, CONTACTS, LEADS, SEED))
    org = Org(home, Settings())
    try:
        user_id, client_id = org.store.integration_user_id, org.settings.client_id
        refresh_token = org.state.grant_refresh_token(user_id, client_id)
    finally:
        org.close()
    with running_org(home) as running:
        yield ConnectedOrg(running.url, running.client_id, running.client_secret, refresh_token)
