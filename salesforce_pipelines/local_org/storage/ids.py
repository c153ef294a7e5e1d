"""Salesforce record ids: a three-character key prefix, the org's pod, a counter, and a checksum.

An id is 15 case-sensitive characters, or 18 with a suffix that keeps two ids apart where letter
case is lost. See "ID Field Type" in the Salesforce Object Reference.
"""

import string
from functools import lru_cache

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
CHECKSUM = string.ascii_uppercase + "012345"
_ALPHABET = frozenset(DIGITS)
_LOW_RANGE = 62**5


def _upper_bits(text: str) -> int:
    """Bit i is set where character i is an upper-case letter."""
    return sum(1 << i for i, character in enumerate(text) if "A" <= character <= "Z")


_PAIRS = [first + second for first in DIGITS for second in DIGITS]
_PAIR_BITS = [_upper_bits(pair) for pair in _PAIRS]
_DIGIT_BITS = [_upper_bits(digit) for digit in DIGITS]


def checksum(id15: str) -> str:
    """The three-character suffix of a 15-character id."""
    return "".join(CHECKSUM[_upper_bits(id15[start : start + 5])] for start in (0, 5, 10))


def is_id(text: str) -> bool:
    """Whether a text is a well-formed 15-character id, or an 18-character one with its checksum."""
    if len(text) not in (15, 18) or not _ALPHABET.issuperset(text):
        return False
    return len(text) == 15 or checksum(text[:15]) == text[15:].upper()


def to_18(text: str) -> str:
    """A well-formed id in its 18-character form."""
    return text[:15] + checksum(text[:15])


class IdFactory:
    """Makes the ids of one org: the same key prefix, pod and number always give the same id.

    Args:
        pod: Three characters that are the same in every id of an org.
    """

    def __init__(self, pod: str) -> None:
        self._pod = pod

    def record_id(self, key_prefix: str, number: int) -> str:
        """The 18-character id of the `number`-th record of the sObject with that key prefix."""
        high, low = divmod(number, _LOW_RANGE)
        first, rest = divmod(low, 238328)
        second, last = divmod(rest, 62)
        head, head_checksum = _head(key_prefix, self._pod, high)
        bits = _PAIR_BITS[first] | _PAIR_BITS[second] << 2 | _DIGIT_BITS[last] << 4
        return head + _PAIRS[first] + _PAIRS[second] + DIGITS[last] + head_checksum + CHECKSUM[bits]


@lru_cache(maxsize=4096)
def _head(key_prefix: str, pod: str, high: int) -> tuple[str, str]:
    """The first ten characters of an id and their two checksum characters."""
    upper, lower = divmod(high, 3844)
    head = key_prefix + pod + _PAIRS[upper] + _PAIRS[lower]
    return head, checksum(head.ljust(15, "0"))[:2]
