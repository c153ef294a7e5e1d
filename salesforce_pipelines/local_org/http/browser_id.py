"""The cookie by which Salesforce knows a browser again; API clients get it too.

Recordings show `BrowserId=` and 22 characters, for a year. The local org reads none, so it is kept
nowhere. It names no domain: that of a local org is the host alone.
"""

import base64
import re
import uuid
from datetime import datetime, timedelta
from email.utils import format_datetime

_SENT = re.compile(r"(?:^|;)\s*BrowserId=")
_LIFETIME = timedelta(days=365)


def browser_id_cookie(sent: str, now: datetime) -> str | None:
    """A `Set-Cookie` for a client that sends no such cookie; None for one that does.

    Args:
        sent: The request's `Cookie` header.
    """
    if _SENT.search(sent):
        return None
    name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    expires = format_datetime(now + _LIFETIME, usegmt=True)
    age = int(_LIFETIME.total_seconds())
    return f"BrowserId={name}; path=/; expires={expires}; Max-Age={age}"
