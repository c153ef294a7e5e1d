"""A local org served by the test's own process, for what only Python can set."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from salesforce_pipelines.local_org.http.app import make_app
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines.local_org.storage.store import Clock, utc_now
from salesforce_pipelines_tests.local_org.conftest import Api, api_of


@dataclass(frozen=True)
class ServedOrg:
    """An org that is reached both ways."""

    org: Org
    url: str
    client_id: str
    client_secret: str


@contextmanager
def served_org(home: Path, clock: Clock = utc_now) -> Iterator[tuple[Org, Api]]:
    """An org in a home of its own, or in one that is there, and a client of it."""
    if not (home / "org.db").exists():
        build_home(home, 1, tuple)
    settings = Settings()
    org = Org(home, settings, clock)
    config = uvicorn.Config(make_app(org), port=0, log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        (socket,) = server.servers[0].sockets
        url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        served = ServedOrg(org, url, settings.client_id, settings.client_secret)
        client = api_of(served)
        with client.session:
            yield org, client
    finally:
        server.should_exit = True
        thread.join(20)
