"""The addresses that a login may send a person back to, which are a connected app's callbacks.

An address that is not one of them is never redirected to, so that nobody is led astray and no
code is handed to a stranger (RFC 6749, section 10.15).
"""

import re
from collections.abc import Collection, Mapping
from urllib.parse import urlencode

# Neither spaces, control characters, backslashes nor fragments: browsers read those in ways of
# their own.
_REST = r"[A-Za-z0-9\-._~%!$&'()*+,;=:@/?\[\]]"
_LOOPBACK = re.compile(
    rf"http://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{{1,5}})?(?:[/?]{_REST}*)?"
)
_ABSOLUTE = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.\-]*):{_REST}+")
_WEB = re.compile(rf"https?://[A-Za-z0-9\-.\[\]:]+(?:[/?]{_REST}*)?")
_UNSAFE_SCHEMES = frozenset(
    {"about", "blob", "data", "file", "filesystem", "javascript", "vbscript", "view-source"}
)


def is_callback(uri: str) -> bool:
    """Whether an address can be registered: absolute, without a fragment, of a harmless scheme."""
    match = _ABSOLUTE.fullmatch(uri)
    if not match or match["scheme"] in _UNSAFE_SCHEMES:
        return False
    return match["scheme"] not in ("http", "https") or _WEB.fullmatch(uri) is not None


def is_registered(uri: str, callbacks: Collection[str]) -> bool:
    """Whether a login may end at an address.

    Any address of this machine may be used, on any port and path, as native apps do (RFC 8252,
    section 7.3); every other one has to be registered to the letter.
    """
    return uri in callbacks or _LOOPBACK.fullmatch(uri) is not None


def with_parameters(uri: str, parameters: Mapping[str, str], *, in_fragment: bool = False) -> str:
    """A callback with parameters added to its query, or put into its fragment."""
    separator = "#" if in_fragment else "&" if "?" in uri else "?"
    return f"{uri}{separator}{urlencode(parameters)}"
