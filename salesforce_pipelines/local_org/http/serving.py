"""Serving an org: its home is made or opened, and requests are answered until a signal comes."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.admin.disturbed_response import with_transport
from salesforce_pipelines.local_org.http.app import make_app
from salesforce_pipelines.local_org.http.header_names import SalesforceHeaderNames
from salesforce_pipelines.local_org.metadata.describe_import import import_describes, read_describes
from salesforce_pipelines.local_org.metadata.home_metadata import known_schema
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.storage.building import GeneratedRecords, build_home
from salesforce_pipelines.local_org.storage.csv_loading import load_csv, loadable, parse_load

_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Serving:
    """What to serve and where.

    Attributes:
        port: 0 picks a free one.
        records: Gives the generated records of an org that is not there yet.
        describe: Describe JSON of a real org, to be taken over before anything is loaded.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 8765
    seed: int = 1
    records: Callable[[], GeneratedRecords] = tuple
    load: tuple[str, ...] = ()
    describe: tuple[Path, ...] = ()
    settings: Settings = field(default_factory=Settings)


def serve(serving: Serving, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        announce: Receives the one line that says where, once requests are answered.

    Raises:
        PipelineError: The address is taken, the home is not an org's, or a load was refused.
    """
    listener = _listen(serving.host, serving.port)
    try:
        names = _loadable(serving)
        loads = [parse_load(text, names) for text in serving.load]
        build_home(serving.home, serving.seed, serving.records)
        org = Org(serving.home, serving.settings)
        try:
            if serving.describe:
                for report in import_describes(org, serving.describe):
                    announce("\n".join(report.lines()))
            for load in loads:
                load_csv(org.store, load)
        except PipelineError:
            org.close()
            raise
        counts = org.count_rows()
        address = f"http://{serving.host}:{listener.getsockname()[1]}"
        ready = (
            f"Local org ready at {address} ({counts['Contact']} Contacts, {counts['Lead']} Leads)"
        )
        _run(org, listener, lambda: announce(ready))
    finally:
        listener.close()


def _loadable(serving: Serving) -> tuple[str, ...]:
    """The sObjects that can be loaded once the home is made and its describes are taken over."""
    described = [each.name for path in serving.describe for each in read_describes(path)]
    return tuple(dict.fromkeys([*loadable(known_schema(serving.home / "org.db")), *described]))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's delay of 40 ms per call only where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PipelineError(
            f"The local org cannot listen at {host}:{port}: {error.strerror}. "
            "Choose another --port, or 0 for a free one."
        ) from None
    listener.listen(_BACKLOG)
    return listener


class _AnnouncingServer(uvicorn.Server):
    """Says that it is ready once it is."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let a signal stop the server; uvicorn itself would then die of it."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept requests."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def _run(org: Org, listener: socket.socket, ready: Callable[[], None]) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        with_transport(make_app(org)),
        http=SalesforceHeaderNames,
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=5,
    )
    server = _AnnouncingServer(config, ready)
    asyncio.run(server.serve(sockets=[listener]))
