"""The Dagster UI as a child process, and the signals that stop it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from types import FrameType

from salesforce_pipelines.config.loading import configuration_path
from salesforce_pipelines.errors import PipelineError

_HOST = "127.0.0.1"
_STOP_SECONDS = 60
_RUN_STOP_SECONDS = 15
# Its successor `dg dev` needs another package and a project layout of its own.
_SUPERSEDED = "ignore:Function `dev_command` is superseded"


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets SIGTERM and a closed terminal end the body as Ctrl+C does: with one KeyboardInterrupt.

    Ctrl+C itself too, where a shell started this in the background and told it to ignore SIGINT.
    Signals that follow the first are ignored, so that stopping is never left half-done.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        numbers.append(signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve_ui(port: int) -> None:
    """Run `dagster dev` until it is interrupted, with the environment of this process.

    Raises:
        PipelineError: The port is taken, or `dagster dev` ended by itself.
    """
    _check_free(port)
    command = [sys.executable, "-W", _SUPERSEDED, "-m", "dagster", "dev"]
    command += ["-w", str(Path("workspace.yaml").absolute()), "-h", _HOST, "-p", str(port)]
    chosen = {"SALESFORCE_PIPELINES_CONFIG": str(configuration_path())}
    # Where dagster dev finds a .env, that goes before the environment: another org than ours.
    with TemporaryDirectory() as elsewhere:
        # dagster dev stops its own children on SIGINT only, so it gets exactly one, from us.
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            command, start_new_session=True, cwd=elsewhere, env=os.environ | chosen
        )
        try:
            code = process.wait()
        except KeyboardInterrupt:
            _stop(process)
            return
    raise PipelineError(f"dagster dev ended with exit code {code}; its last lines say why")


def _check_free(port: int) -> None:
    # Without its port dagster dev says so, but goes on running without a UI.
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
        except OSError as error:
            raise PipelineError(
                f"The Dagster UI cannot listen at {_HOST}:{port}: {error.strerror}. "
                "Choose another --port."
            ) from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """First the services, then the runs in progress: `dagster dev` leaves those running."""
    try:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=_STOP_SECONDS)
        os.killpg(process.pid, signal.SIGTERM)
        _wait_for_group(process.pid)
    except ProcessLookupError:
        return  # nothing of it is left
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for_group(group: int) -> None:
    """Wait until no process of a group is left.

    Raises:
        ProcessLookupError: None is left.
        TimeoutExpired: Some are still there.
    """
    for _ in range(_RUN_STOP_SECONDS * 10):
        os.killpg(group, 0)
        sleep(0.1)
    raise subprocess.TimeoutExpired("dagster dev", _RUN_STOP_SECONDS)
