"""What is written down when an answer fails for a reason that nobody thought of."""

import logging
import traceback
from pathlib import Path

_LOG = logging.getLogger(__name__)


def log_failure(method: str, masked_path: str, error: Exception) -> str:
    """Log what failed and where; the name of the error's type.

    Its message is left out, as it may hold people's data.

    Args:
        masked_path: The address without what may name a person.
    """
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    kind = type(error).__name__
    _LOG.error("%s %s: %s at %s", method, masked_path, kind, places)
    return kind
