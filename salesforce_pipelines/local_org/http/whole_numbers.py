"""Whole numbers in what clients send."""

_MOST_DIGITS = 18


def whole_number(text: str, most_digits: int = _MOST_DIGITS) -> int | None:
    """The whole number that a text is; None if it is none, or one of more digits.

    Python refuses to read a number of thousands of digits, and SQLite holds one of 18.
    """
    if len(text) > most_digits or not text.isascii() or not text.isdecimal():
        return None
    return int(text)
