"""An org served within the tests' own process, so that a test can also change it from inside."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from salesforce_pipelines.local_org.http.app import make_app
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines_tests.local_org.conftest import Api, api_of


@dataclass(frozen=True)
class ServedOrg:
    """An open org and where it answers; `api` is its integration user's session."""

    org: Org
    url: str
    api: Api
    client_id: str = Settings().client_id
    client_secret: str = Settings().client_secret


@dataclass(frozen=True)
class _Address:
    url: str
    client_id: str = Settings().client_id
    client_secret: str = Settings().client_secret


@contextmanager
def served(org: Org) -> Iterator[ServedOrg]:
    """Serve an open org; it is closed in the end."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(make_app(org), log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    address = _Address(f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        api = api_of(address)
        with api.session:
            yield ServedOrg(org, address.url, api)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
