"""Values of cells as plain JSON, the same whether they come from a table or from the org."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from salesforce_pipelines.org.describe import FieldDescribe
from salesforce_pipelines.push.rules import Value


def plain(value: Any) -> Value:
    """A value of an Arrow column: dates and datetimes (in UTC) as ISO text, decimals as numbers."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"no plain value: {type(value).__name__}")


def from_org(value: Any, field: FieldDescribe) -> Value:
    """A value as the REST API answers it, in the form that `plain` gives."""
    if isinstance(value, str) and field.type == "datetime":
        return plain(datetime.fromisoformat(value))
    return plain(value)


def encoded(value: Value) -> str:
    """The value as JSON text, as plans and the journal keep it."""
    return json.dumps(value, ensure_ascii=False)


def decoded(text: str) -> Value:
    """The value of JSON text that `encoded` made."""
    found: Value = json.loads(text)
    return found
