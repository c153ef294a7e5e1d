"""A local org in a process of its own, for tests and demos."""

import queue
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.admin_client import AdminClient
from salesforce_pipelines.local_org.org import Settings

_READY = re.compile(r"Local org ready at (http://\S+)")
_STOP_SECONDS = 15


@dataclass(frozen=True)
class RunningOrg:
    """A local org that answers at `url` until it is stopped."""

    url: str
    client_id: str
    client_secret: str
    home: Path
    process: subprocess.Popen[str]

    @property
    def admin(self) -> AdminClient:
        """Its clock, limits and faults."""
        return AdminClient(self.url)

    def stop(self) -> None:
        """Stop it cleanly; harmless if it has stopped."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def running_org(
    home: Path,
    *,
    contacts: int = 0,
    leads: int = 0,
    seed: int = 1,
    load: Sequence[Path] = (),
    port: int = 0,
    options: Sequence[str] = (),
    startup_timeout: float = 60,
) -> Iterator[RunningOrg]:
    """Start a local org, wait until it is ready, and stop it in the end.

    Args:
        home: The folder that keeps it; an org that is there already is served as it is.
        contacts: Contacts to generate for a new org.
        leads: Leads to generate for a new org.
        seed: Equal seeds give equal orgs.
        load: CSV files of Contacts to load.
        port: 0 picks a free one.
        options: Further options of `local-org serve`, such as `("--require-pkce",)`.
        startup_timeout: Seconds it may take until it is ready.

    Raises:
        PipelineError: It did not start; with the last thing it said.
    """
    settings = Settings()
    command = [sys.executable, "-m", "salesforce_pipelines.local_org", "serve"]
    command += ["--home", str(home), "--port", str(port), "--seed", str(seed)]
    command += ["--contacts", str(contacts), "--leads", str(leads)]
    for path in load:
        command += ["--load", str(path)]
    command += options
    with subprocess.Popen(  # noqa: S603  # our own command line
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as process:
        output = _Output(process)
        try:
            url = output.address(startup_timeout)
            org = RunningOrg(url, settings.client_id, settings.client_secret, home, process)
        except BaseException:  # also Ctrl+C while it generates: Popen would leave it running
            process.kill()
            raise
        try:
            yield org
        finally:
            org.stop()
            output.finish()


class _Output:
    """Reads what a process says, so that it is never held up, and keeps the last lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._addresses: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._last: deque[str] = deque(maxlen=5)
        self._thread = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._thread.start()

    def address(self, timeout: float) -> str:
        """The address of the ready line.

        Raises:
            PipelineError: The process ended, or took too long.
        """
        try:
            address = self._addresses.get(timeout=timeout)
        except queue.Empty:
            address = None
            said = f"it was not ready within {timeout:g} seconds"
        else:
            said = "\n".join(self._last).strip() or "it said nothing"
        if address is None:
            raise PipelineError(f"The local org did not start: {said}")
        return address

    def finish(self) -> None:
        """Wait until everything is read."""
        self._thread.join()

    def _read(self, stream: IO[str] | None) -> None:
        for line in stream or ():
            self._last.append(line.rstrip())
            ready = _READY.match(line)
            if ready:
                self._addresses.put(ready[1])
        self._addresses.put(None)
