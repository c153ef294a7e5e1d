"""The Dagster UI as a child process."""

import signal
import subprocess
import sys

from salesforce_pipelines.errors import PipelineError


def serve_ui(port: int) -> None:
    """Run `dagster dev` until it is interrupted.

    Raises:
        PipelineError: It ended by itself.
    """
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml"]
    # dagster dev stops its own children on SIGINT only, so it gets exactly one, from us.
    process = subprocess.Popen(  # noqa: S603 - a fixed command
        [*command, "-h", "127.0.0.1", "-p", str(port)], start_new_session=True
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        return
    raise PipelineError(f"dagster dev ended with exit code {code}; its last lines say why")
