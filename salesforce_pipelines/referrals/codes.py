"""Referral codes."""

import secrets

ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""Digits and letters that nobody mistakes for each other when reading a code aloud."""
LENGTH = 10
"""Characters of a code: 31^10 = 8 x 10^14 codes, so a guess finds one of a million members'
codes once in 800 million tries."""


def new_code() -> str:
    """An unguessable code from the operating system's random source."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
