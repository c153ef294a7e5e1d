"""Whether the org holds changes that a pull would see: a pure decision."""

from collections.abc import Mapping
from datetime import datetime


def changed_objects(
    newest: Mapping[str, datetime | None], watermarks: Mapping[str, datetime | None]
) -> list[str]:
    """The sObjects that changed since they were pulled.

    Args:
        newest: The newest SystemModstamp that a pull would take now, by sObject; None where the
            org holds nothing.
        watermarks: How far each table has followed the org; None where it was never pulled.
    """
    found = []
    for name, stamp in newest.items():
        watermark = watermarks[name]
        if stamp is not None and (watermark is None or stamp >= watermark):
            found.append(name)
    return found
