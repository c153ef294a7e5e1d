"""Composing SOQL: names come from describe, values are quoted here and nowhere else."""

from collections.abc import Iterable
from datetime import UTC, datetime


def quoted(value: str) -> str:
    r"""A SOQL string literal; quotes, backslashes and control characters are escaped.

    Source: *SOQL and SOSL Reference*, "Quoted String Escape Sequences".
    """
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + "'"


def instant(value: datetime) -> str:
    """A SOQL dateTime literal in UTC, to the second (as Salesforce keeps system stamps)."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def select(fields: Iterable[str], name: str, where: str = "") -> str:
    """A SELECT of plain fields; `where` is a condition without the word WHERE."""
    query = f"SELECT {', '.join(fields)} FROM {name}"
    return f"{query} WHERE {where}" if where else query
