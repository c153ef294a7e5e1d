"""A local org that is served by a thread of the test, so that a test can move its clock."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn

from salesforce_pipelines.local_org.http.app import make_app
from salesforce_pipelines.local_org.oauth2.connected_app import AppSettings, change_app_settings
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.storage.building import build_home


class MovingClock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class ServedOrg:
    """An org that answers at `url`, and its inside."""

    url: str
    org: Org
    clock: MovingClock
    client_id: str = Settings().client_id
    client_secret: str = Settings().client_secret

    def change(self, **changes: Any) -> None:
        """Change settings of the connected app."""
        change_app_settings(self.org.state, **changes)

    def reset(self) -> None:
        """Give the connected app its first settings again."""
        self.change(**asdict(AppSettings()))


@contextmanager
def served_org(home: Path, settings: Settings | None = None) -> Iterator[ServedOrg]:
    """Serve a new org, or the one of a home, until the block ends."""
    build_home(home, 1, lambda: ())
    clock = MovingClock()
    org = Org(home, settings or Settings(), clock)
    config = uvicorn.Config(
        make_app(org), port=0, log_config=None, access_log=False, ws="none", date_header=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield ServedOrg(f"http://127.0.0.1:{port}", org, clock)
    finally:
        server.should_exit = True
        thread.join()
