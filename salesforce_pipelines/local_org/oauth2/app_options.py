"""The connected app's settings as options of the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from salesforce_pipelines.errors import PipelineError

EVERY_USER = "*"


def app_changes(
    *,
    certificates: Sequence[Path] | None = None,
    preauthorised_users: Sequence[str] | None = None,
    client_credentials_user: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """What to change in the app's settings; an option that was not given changes nothing.

    Args:
        certificates: PEM files, read here.
        preauthorised_users: Usernames; `EVERY_USER` among them stands for all.
        client_credentials_user: A username; an empty one stands for nobody.
        others: Settings by their names in `connected_app.AppSettings`.

    Raises:
        PipelineError: A certificate cannot be read.
    """
    changes = {name: value for name, value in others.items() if value is not None}
    if certificates:
        changes["certificates"] = [_read(path) for path in certificates]
    if preauthorised_users:
        everybody = EVERY_USER in preauthorised_users
        changes["preauthorised_users"] = None if everybody else list(preauthorised_users)
    if client_credentials_user is not None:
        changes["client_credentials_user"] = client_credentials_user or None
    return changes


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise PipelineError(
            f"--jwt-certificate: {path} cannot be read as a PEM file. Give the path of a "
            "certificate or a public key."
        ) from None
