"""Stored values as pages show them: texts, and links only where they are harmless."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from salesforce_pipelines.local_org.metadata.schema import Field
from salesforce_pipelines.local_org.storage.store import Value

_UNSAFE_IN_ADDRESS = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True)
class Shown:
    """A value as a page shows it.

    Attributes:
        kind: `empty`, `text`, `long`, `number`, `time`, `yes`, `no`, `record` or `url`.
        text: Not escaped; the template does that.
        href: Where `record` and `url` lead.
    """

    kind: str
    text: str = ""
    href: str = ""


EMPTY = Shown("empty")


def shown(item: Field | None, value: Value | bytes, names: Mapping[str, str]) -> Shown:
    """A field's value.

    Args:
        item: None for a field that the schema no longer has.
        names: The names of the records that references lead to.
    """
    if value is None or value == "":
        return EMPTY
    if isinstance(value, bytes):
        return Shown("yes", "true") if value == b"true" else Shown("no", "false")
    if item is None:
        return Shown("text", str(value))
    if item.type == "boolean":
        return Shown("yes", "true") if value else Shown("no", "false")
    if item.type == "datetime":
        return Shown("time", str(value))
    if item.is_number or item.type == "int":
        return Shown("number", number(value))
    text = str(value)
    if item.type == "reference":
        return (
            Shown("record", names.get(text, text), f"/{text}") if text in names else text_of(text)
        )
    if item.type == "url" and is_web_address(text):
        return Shown("url", text, text)
    return text_of(text)


def text_of(text: str) -> Shown:
    """A plain text, which may have lines."""
    return Shown("long" if "\n" in text or len(text) > 120 else "text", text)


def number(value: Value) -> str:
    """A number without needless decimals, in groups of three digits."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:,}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def is_web_address(text: str) -> bool:
    """Whether a text is an address that a link may lead to."""
    if _UNSAFE_IN_ADDRESS.search(text):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and bool(parts.hostname)


def moment(text: str) -> datetime:
    """A stored time, or one that REST shows."""
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)


def readable(text: str) -> str:
    """A stored time for people."""
    return f"{text[:10]} {text[11:19]} UTC"


def ago(now: datetime, text: str) -> str:
    """How long ago a stored time was."""
    seconds = int((now - moment(text)).total_seconds())
    if seconds < 0:
        return "in the future"
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            amount = seconds // size
            return f"{amount} {unit}{'s' if amount > 1 else ''} ago"
    return f"{seconds} seconds ago" if seconds >= 5 else "just now"


def size_of(amount: int) -> str:
    """A number of bytes for people."""
    if amount < 1_000:
        return f"{amount} B"
    return f"{amount / 1_000:.1f} kB" if amount < 1_000_000 else f"{amount / 1_000_000:.1f} MB"
