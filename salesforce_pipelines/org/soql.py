"""Composing SOQL: names come from describe, values are quoted here and nowhere else."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

_STRING = re.compile(r"'(?:\\.|[^'\\])*'", re.DOTALL)
_SEMI_JOIN = re.compile(r"\(\s*SELECT\b", re.IGNORECASE)


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


def conjunction(*conditions: str) -> str:
    """One condition for all of these; empty ones do not count.

    One with a semi-join gets no parentheses, for Salesforce takes semi-joins at the top level only;
    nor does it take them beside an OR, which would need parentheses.
    """
    parts = [one for one in conditions if one]
    if len(parts) < 2:
        return "".join(parts)
    return " AND ".join(one if has_semi_join(one) else f"({one})" for one in parts)


def has_semi_join(condition: str) -> bool:
    """Whether a query is part of a condition."""
    return _SEMI_JOIN.search(_STRING.sub("''", condition)) is not None
