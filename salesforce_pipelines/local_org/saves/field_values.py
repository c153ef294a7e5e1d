"""What a field accepts: a written value becomes the stored one or is refused with its reason.

Two ways of writing are known: JSON values, as REST takes them, and CSV texts, as Bulk takes them.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from salesforce_pipelines.local_org.errors import ApiError, RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import Field
from salesforce_pipelines.local_org.storage.ids import is_id, to_18
from salesforce_pipelines.local_org.storage.store import Value, stamp

_EMAIL = re.compile(
    r"[^\s@<>()\[\],;:\\\"]+@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+"
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATETIME = re.compile(
    r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?", re.IGNORECASE
)
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,3})\d*)?)?(?:Z|[+-]00:?00)?", re.IGNORECASE)
_XSD_TYPES = {"date": "xsd:date", "datetime": "xsd:dateTime", "time": "xsd:time"}
_JSON_KINDS: dict[type, str] = {
    str: "VALUE_STRING",
    bool: "VALUE_TRUE",
    int: "VALUE_NUMBER_INT",
    float: "VALUE_NUMBER_FLOAT",
    dict: "START_OBJECT",
    list: "START_ARRAY",
}
_XSD_NAMES = {"datetime": "datetime", "boolean": "boolean", "date": "date", "int": "int"}
_XSD_NAMES |= {"time": "time", "long": "long"}


def from_json(item: Field, value: object) -> Value:
    """A JSON value as the store keeps it.

    Raises:
        ApiError: JSON_PARSER_ERROR for a value of another type; it fails the whole request.
        RowRefusedError: A value of the right type that the field does not take.
    """
    if value is None or value == "":
        return _nothing(item)
    type_ = item.type
    if type_ == "boolean":
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return int(value.lower() == "true")
        raise _cannot_deserialize(item, value)
    if item.is_number or type_ in ("int", "long"):
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise _cannot_deserialize(item, value)
        return _number(item, value, lambda: _cannot_deserialize(item, value))
    if not isinstance(value, str):
        raise _cannot_deserialize(item, value)
    if type_ in _XSD_TYPES:
        return _moment(item, value, lambda: _cannot_deserialize(item, value))
    return _text(item, value)


def from_csv(item: Field, value: str) -> Value:
    """A CSV text as the store keeps it; the caller has dealt with empty cells and `#N/A`.

    Raises:
        RowRefusedError: The field does not take the value.
    """
    type_ = item.type
    if type_ == "boolean":
        if value.lower() in ("true", "false", "1", "0"):
            return int(value.lower() in ("true", "1"))
        raise _not_of_type(item, value, "xsd:boolean")
    if item.is_number or type_ in ("int", "long"):
        kind = "xsd:double" if item.is_number else f"xsd:{type_}"
        return _number(item, value, lambda: _not_of_type(item, value, kind))
    if type_ in _XSD_TYPES:
        kind = _XSD_TYPES[type_]
        return _moment(item, value, lambda: _not_of_type(item, value, kind))
    return _text(item, value)


def cleared(item: Field) -> Value:
    """What the store keeps when a field is set to null."""
    return _nothing(item)


def _nothing(item: Field) -> Value:
    return 0 if item.type == "boolean" else None


def _text(item: Field, value: str) -> Value:
    if item.type == "reference":
        return _reference(item, value)
    value = value.replace("\0", "")
    if item.type == "multipicklist":
        value = _in_picklist_order(item, value)
    if len(value) > item.length:
        shown = value if len(value) <= 255 else value[:255]
        message = f"{item.label}: data value too large: {shown} (max length={item.length})"
        raise RowRefusedError("STRING_TOO_LONG", message, item.name)
    if item.type == "email" and not _EMAIL.fullmatch(value):
        message = f"{item.label}: invalid email address: {value}"
        raise RowRefusedError("INVALID_EMAIL_ADDRESS", message, item.name)
    if item.restricted and item.type != "multipicklist":
        _check_allowed(item, value)
    return value or None


def _check_allowed(item: Field, value: str) -> None:
    if not any(value == allowed.value and allowed.active for allowed in item.picklist):
        message = f"{item.label}: bad value for restricted picklist field: {value}"
        raise RowRefusedError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, item.name)


def _in_picklist_order(item: Field, value: str) -> str:
    """The chosen values as Salesforce keeps them: each once, in the order of the picklist."""
    chosen = dict.fromkeys(part for part in value.split(";") if part)
    if item.restricted:
        for part in chosen:
            _check_allowed(item, part)
    known = [allowed.value for allowed in item.picklist if allowed.value in chosen]
    return ";".join([*known, *(part for part in chosen if part not in known)])


def _reference(item: Field, value: str) -> str:
    if not is_id(value):
        message = f"{item.label}: id value of incorrect type: {value}"
        raise RowRefusedError("MALFORMED_ID", message, item.name)
    return to_18(value)


def _number(item: Field, value: float | str, refusal: Callable[[], Exception]) -> Value:
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise refusal() from None
    if not number.is_finite():
        raise refusal()
    if item.type in ("int", "long"):
        # Its size first: the digits of 1e999999999 would take forever.
        if number.adjusted() >= item.precision or number != number.to_integral_value():
            raise refusal()
        return int(number)
    if number.adjusted() >= item.precision - item.scale:
        message = f"{item.label}: value outside of valid range on numeric field: {value}"
        raise RowRefusedError("NUMBER_OUTSIDE_VALID_RANGE", message, item.name)
    if item.largest is not None and abs(number) > item.largest:
        message = f"{item.label}: value outside of valid range on numeric field: {value}"
        raise RowRefusedError("NUMBER_OUTSIDE_VALID_RANGE", message, item.name)
    return float(number.quantize(Decimal(1).scaleb(-item.scale), ROUND_HALF_UP))


def _moment(item: Field, value: str, refusal: Callable[[], Exception]) -> str:
    pattern = _DATE if item.type == "date" else _DATETIME
    text = value.strip()
    if item.type == "time":
        return _time(text, refusal)
    if item.type == "date" and _DATETIME.fullmatch(text):
        text = text[:10]
    if not pattern.fullmatch(text):
        raise refusal()
    try:
        if item.type == "date":
            return date.fromisoformat(text).isoformat()
        moment = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
        return stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):  # such as one before year 1 in UTC
        raise refusal() from None


def _time(text: str, refusal: Callable[[], Exception]) -> str:
    """A time of day as `HH:MM:SS.mmm`, in UTC as Salesforce takes it."""
    found = _TIME.fullmatch(text)
    if not found:
        raise refusal()
    hour, minute, second, fraction = (part or "0" for part in found.groups())
    if int(hour) > 23 or int(minute) > 59 or int(second) > 59:
        raise refusal()
    return f"{hour}:{minute}:{second:0>2}.{fraction:0<3}"


def _cannot_deserialize(item: Field, value: object) -> ApiError:
    kind = _JSON_KINDS.get(type(value), "VALUE_STRING")
    wanted = "double" if item.is_number else _XSD_NAMES.get(item.type, "string")
    shown = f" {value}" if isinstance(value, str | int | float) else ""
    message = (
        f"Cannot deserialize instance of {wanted} from {kind} value{shown} or request may be "
        "missing a required field"
    )
    return ApiError(400, "JSON_PARSER_ERROR", message, (item.name,))


def _not_of_type(item: Field, value: str, kind: str) -> RowRefusedError:
    message = f"'{value}' is not a valid value for the type {kind}"
    return RowRefusedError("INVALID_TYPE_ON_FIELD_IN_RECORD", message, item.name)
