"""Write rules: whether a value may replace the one that stands in the org. Pure decisions."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum

from salesforce_pipelines.config.models import WriteRule
from salesforce_pipelines.org.describe import FieldDescribe

Value = str | int | float | bool | None
LISTS = frozenset({"multipicklist", "string", "textarea"})
"""Types of fields that may hold several values, with semicolons in between."""


class Verdict(StrEnum):
    """What is to become of one cell."""

    WRITE = "write"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    REFUSED = "refused"


@dataclass(frozen=True)
class Decision:
    """The verdict on one cell, the value that would stand afterwards, and why."""

    verdict: Verdict
    after: Value
    reason: str


@dataclass(frozen=True)
class Candidate:
    """What is known about one cell when its rule is asked.

    Attributes:
        before: The value that stands in the org, None where there is none.
        value: The value offered, None where the source has none.
        own: The value that we wrote there last, None where we never did.
        offered_on: The day of the offered value's origin, where the source tells it.
        record_changed: When a person or process last modified the record.
        type: The field's type as the org describes it, which says what are the same values.
    """

    before: Value
    value: Value
    own: Value = None
    offered_on: date | None = None
    record_changed: datetime | None = None
    type: str = ""


def is_blank(value: Value) -> bool:
    """Whether Salesforce holds this as no value: null, or text of nothing but spaces."""
    return value is None or (isinstance(value, str) and not value.strip())


def decide(candidate: Candidate, rule: WriteRule, *, allow_blank: bool = False) -> Decision:
    """Apply a write rule to one cell.

    A blank never erases unless `allow_blank`, and then only by a rule that may overwrite.
    """
    before, value = candidate.before, candidate.value
    if rule is WriteRule.NEVER:
        return Decision(Verdict.KEPT, before, "rule never")
    if is_blank(value):
        # A checkbox is true or false, never blank.
        is_kept = not allow_blank or candidate.type == "boolean"
        if is_kept or rule in (WriteRule.FILL_IF_BLANK, WriteRule.APPEND):
            return Decision(Verdict.KEPT, before, "the source has no value")
        if is_blank(before):
            return Decision(Verdict.UNCHANGED, before, "blank already")
        value = None
    if same(before, value, candidate.type):
        return Decision(Verdict.UNCHANGED, before, "the value stands already")
    if rule is WriteRule.APPEND:
        return _appended(before, value)
    if is_blank(before):
        return Decision(Verdict.WRITE, value, "blank in the org")
    if rule is WriteRule.FILL_IF_BLANK:
        return Decision(Verdict.KEPT, before, "filled in the org")
    if rule is WriteRule.OVERWRITE:
        return Decision(Verdict.WRITE, value, "rule overwrite")
    if rule is WriteRule.OVERWRITE_OWN:
        if not is_blank(candidate.own) and same(before, candidate.own, candidate.type):
            return Decision(Verdict.WRITE, value, "replaces what we wrote")
        return Decision(Verdict.KEPT, before, "the value in the org is not ours")
    return _newer(candidate, value)


def same(one: Value, other: Value, type: str = "") -> bool:  # noqa: A002  # describe's word
    """Whether two values are the same to Salesforce in a field of a type.

    Blank is null, 3 is 3.0, text is trimmed; the values of a multi-select picklist have no order;
    times of day are compared as times, and moments to the second, which is all the org keeps.
    """
    if is_blank(one) or is_blank(other):
        return is_blank(one) and is_blank(other)
    if isinstance(one, str) and isinstance(other, str):
        return _comparable(one.strip(), type) == _comparable(other.strip(), type)
    if isinstance(one, str) or isinstance(other, str):
        return False
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _comparable(text: str, type: str) -> object:  # noqa: A002
    try:
        match type:
            case "multipicklist":
                return frozenset(_parts(text))
            case "time":
                return time.fromisoformat(text).replace(tzinfo=None)
            case "datetime":
                return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
    except ValueError:
        return text
    return text


def _parts(text: str) -> list[str]:
    """The values of a list, each once, in their order."""
    return list(dict.fromkeys(part.strip() for part in text.split(";") if part.strip()))


def _newer(candidate: Candidate, value: Value) -> Decision:
    offered, changed = candidate.offered_on, candidate.record_changed
    if offered is None or changed is None:
        return Decision(Verdict.KEPT, candidate.before, "the age of the value is unknown")
    # The source tells a day: a record changed on that day may hold the later value.
    if offered > changed.date():
        return Decision(Verdict.WRITE, value, f"newer: of {offered}")
    return Decision(Verdict.KEPT, candidate.before, f"the record changed since {offered}")


def _appended(before: Value, value: Value) -> Decision:
    if is_blank(before):
        return Decision(Verdict.WRITE, value, "blank in the org")
    standing = _parts(str(before))
    missing = [part for part in _parts(str(value)) if part not in standing]
    if not missing:
        return Decision(Verdict.UNCHANGED, before, "every value stands already")
    return Decision(Verdict.WRITE, ";".join([str(before).strip(), *missing]), "adds values")


class UnfitError(Exception):
    """A value that its field cannot hold; the message says why and the cure, not the value."""


def fitted(text: str | None, field: FieldDescribe) -> Value:
    """The text of a source as a value of the field, checked as the org would check it.

    Nothing is coerced in silence: no truncation, no nearest picklist value.

    Raises:
        UnfitError: The value is no value of the field's type, too long, or not in its picklist.
    """
    if text is None or not text.strip():
        return None
    value = text.strip()
    match field.type:
        case "boolean":
            if value.lower() not in ("true", "false"):
                raise UnfitError("not true or false")
            return value.lower() == "true"
        case "int" | "double" | "currency" | "percent":
            return _number(value, field)
        case "date":
            return _iso(value, date, "an ISO date such as 2026-01-31")
        case "datetime":
            return _iso(value, datetime, "an ISO date and time such as 2026-01-31T09:00:00+00:00")
        case "time":
            return _time(value)
        case "picklist":
            return _picked(value, field)
        case "multipicklist":
            return _picked_several(value, field)
    if field.length and len(value) > field.length:
        raise UnfitError(f"{len(value)} characters; the field holds {field.length}")
    if field.type == "email" and (value.count("@") != 1 or " " in value):
        raise UnfitError("not an email address")
    return value


def _number(value: str, field: FieldDescribe) -> Value:
    try:
        number = float(value)
    except ValueError as error:
        raise UnfitError("not a number") from error
    if number != number or number in (float("inf"), float("-inf")):
        raise UnfitError("not a number")
    if field.type == "int" or field.scale == 0:
        if number != int(number):
            raise UnfitError("not a whole number")
        number = int(number)
    elif round(number, field.scale) != number:
        raise UnfitError(f"more than {field.scale} decimals")
    digits = field.precision - field.scale
    if digits > 0 and abs(number) >= 10**digits:
        raise UnfitError(f"more than {digits} digits before the point")
    return number


def _iso(value: str, kind: type[date], example: str) -> str:
    try:
        found = kind.fromisoformat(value)
    except ValueError as error:
        raise UnfitError(f"not {example}") from error
    if isinstance(found, datetime) and found.tzinfo is None:
        raise UnfitError(f"without an offset; write {example}")
    return (found.astimezone(UTC) if isinstance(found, datetime) else found).isoformat()


def _time(value: str) -> str:
    """A time of day as Salesforce writes it; it has no zone, whatever the Z says."""
    example = "a time of day such as 09:30, 09:30:00 or 09:30:00.000Z"
    try:
        found = time.fromisoformat(value)
    except ValueError as error:
        raise UnfitError(f"not {example}") from error
    if found.utcoffset():
        raise UnfitError(f"with an offset, which a time of day has none of; write {example}")
    if found.microsecond % 1000:
        raise UnfitError("finer than milliseconds")
    return found.replace(tzinfo=None).isoformat("milliseconds") + "Z"


def _picked_several(value: str, field: FieldDescribe) -> str:
    """In the picklist's own order, in which Salesforce gives them back."""
    rank = {known: at for at, known in enumerate(field.picklist_values)}
    chosen = [_picked(part, field) for part in _parts(value)]
    return ";".join(sorted(chosen, key=lambda part: rank.get(part, len(rank))))


def _picked(value: str, field: FieldDescribe) -> str:
    # The org would take an unknown value of an unrestricted picklist and so create it.
    known = field.picklist_values
    if value not in known and (known or field.restricted_picklist):
        raise UnfitError(
            "not a value of the picklist; correct it in the source, or add it to the field's "
            "values in Setup"
        )
    return value
