"""The values written in a query, as the store keeps such values."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time

from salesforce_pipelines.local_org.soql.syntax import Literal
from salesforce_pipelines.local_org.storage.ids import is_id, to_18
from salesforce_pipelines.local_org.storage.store import Value, stamp

TEXT_TYPES = frozenset(
    {
        *("string", "textarea", "email", "phone", "url", "picklist", "combobox"),
        *("multipicklist", "encryptedstring"),
    }
)
ID_TYPES = frozenset({"id", "reference"})
_NUMBERS = ("double", "currency", "percent", "int", "distance")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_ESCAPES |= {letter.upper(): character for letter, character in _ESCAPES.items()}


class WrongTypeError(Exception):
    """A value of another type than the field's."""


class InvalidIdError(Exception):
    """A text that is not a record id."""


class InvalidEscapeError(Exception):
    """A backslash before a character that it does not escape."""


def stored_value(literal: Literal, type_: str) -> Value:
    """A literal as the store keeps a value of that type; an empty string is no value.

    Raises:
        WrongTypeError: The type does not take such a literal.
        InvalidIdError: It does not name a record.
        InvalidEscapeError: It has an escape that SOQL does not know.
    """
    if literal.kind == "null":
        # "The boolean field never has a null value. Instead, null is treated as false."
        return 0 if type_ == "boolean" else None
    if literal.kind == "string" and type_ in TEXT_TYPES:
        return _unescaped(literal.text) or None
    convert = _CONVERT.get((literal.kind, type_))
    if convert is None:
        raise WrongTypeError
    try:
        return convert(literal.text)
    except (ValueError, OverflowError):
        raise WrongTypeError from None


def like_pattern(literal: Literal) -> str:
    r"""A LIKE pattern in which a backslash escapes %, _ and itself, as SQLite reads it.

    Raises:
        InvalidEscapeError: It has an escape that SOQL does not know.
    """

    def piece(match: re.Match[str]) -> str:
        return match[0] if match[1] in "_%\\" else _escaped(match[1])

    return re.sub(r"\\(.)", piece, literal.text, flags=re.DOTALL)


def _unescaped(text: str) -> str:
    def piece(match: re.Match[str]) -> str:
        return match[1] if match[1] in "_%" else _escaped(match[1])

    return re.sub(r"\\(.)", piece, text, flags=re.DOTALL)


def _escaped(character: str) -> str:
    if character not in _ESCAPES:
        raise InvalidEscapeError
    return _ESCAPES[character]


def _to_id(text: str) -> Value:
    if not text:
        return None
    if not is_id(text):
        raise InvalidIdError
    return to_18(text)


def _to_boolean(text: str) -> Value:
    return int(text.lower() == "true")


def _to_datetime(text: str) -> Value:
    moment = datetime.fromisoformat(text.upper().replace("Z", "+00:00")).astimezone(UTC)
    # Stored times have no fraction, so a literal that has one lies after its second.
    return stamp(moment) + (f".{moment.microsecond:06}" if moment.microsecond else "")


def _to_date(text: str) -> Value:
    return date.fromisoformat(text).isoformat()


def _to_time(text: str) -> Value:
    moment = time.fromisoformat(text.upper().removesuffix("Z"))
    return moment.isoformat("milliseconds")


_CONVERT: dict[tuple[str, str], Callable[[str], Value]] = {
    **{("string", type_): _to_id for type_ in ID_TYPES},
    **{("number", type_): float for type_ in _NUMBERS},
    ("boolean", "boolean"): _to_boolean,
    ("date", "date"): _to_date,
    ("datetime", "datetime"): _to_datetime,
    ("time", "time"): _to_time,
}
