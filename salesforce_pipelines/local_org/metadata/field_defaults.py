"""The values that the fields of a new record get where none were written."""

import re

from salesforce_pipelines.local_org.metadata.schema import Field, SObject
from salesforce_pipelines.local_org.storage.store import Value

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_TEXT = re.compile(r'"([^"\\]*)"')
_CLOCK = {"TODAY()": "date", "NOW()": "datetime"}


def field_defaults(sobject: SObject, now: str) -> dict[str, Value]:
    """The defaults of custom kinds: of check boxes, and those given as a value or a formula.

    Args:
        now: The time of the write as the store keeps it.
    """
    defaults = ((item.name, default_of(item, now)) for item in sobject.stored_fields)
    return {name: value for name, value in defaults if value is not None}


def default_of(item: Field, now: str) -> Value:
    """The value a new record gets; None if there is none, or its formula cannot be evaluated."""
    if item.type == "boolean":
        return int(bool(item.default))
    if item.default is not None:
        return item.default
    if item.default_formula is None or not is_evaluable(item):
        return None
    formula = item.default_formula.strip()
    if formula.upper() == "TODAY()":
        return now[:10]
    if formula.upper() == "NOW()":
        return now
    text = _TEXT.fullmatch(formula)
    if text:
        return text[1] or None
    number = float(formula)
    if item.type == "int":
        return int(number)
    # A percentage is kept as 50, and written 0.5 in a formula.
    return number * 100 if item.type == "percent" else number


def is_evaluable(item: Field) -> bool:
    """Whether the default formula is one the local org can evaluate.

    Those are a number, a text in double quotes, TODAY() and NOW().
    """
    formula = (item.default_formula or "").strip()
    if formula.upper() in _CLOCK:
        return item.type == _CLOCK[formula.upper()]
    if item.is_number or item.type == "int":
        return bool(_NUMBER.fullmatch(formula))
    return item.is_text and bool(_TEXT.fullmatch(formula))
