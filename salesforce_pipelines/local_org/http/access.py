"""Who a request may come from and by which name: against web pages that reach for this machine.

A page in somebody's browser can send requests to a server on their machine. Reading the answers
takes a name that leads there and that the page's author controls (DNS rebinding), so only names
that no public DNS can give away are answered, and IP addresses, which cannot be rebound.
"""

from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

_PRIVATE_ENDINGS = (".localhost", ".local", ".internal", ".test")


def is_loopback(peer: str | None) -> bool:
    """Whether an address is this machine's own."""
    try:
        address = ip_address(peer or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_trusted_host(host: str, known: Collection[str] = ()) -> bool:
    """Whether a Host header names this server in a way that no foreign page can bring about.

    Args:
        host: The header, with or without a port.
        known: Further names that the server was told to answer to.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    if name in {one.lower() for one in known}:
        return True
    try:
        ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(_PRIVATE_ENDINGS))
    return True
