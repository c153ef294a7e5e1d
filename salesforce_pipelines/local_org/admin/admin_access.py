"""Who may use the admin interface: people and tests of this machine, no web page of another.

A page in somebody's browser can reach a server on their machine too. It is kept out by what a
browser says of where a request comes from, by a content type that a foreign page may not send
unasked, and by refusing names that a foreign page could point at this machine (DNS rebinding).
"""

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from salesforce_pipelines.local_org.admin.admin_calls import AdminError

_PRIVATE_ENDINGS = (".localhost", ".local", ".internal", ".test")
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def check_access(
    method: str,
    headers: Mapping[str, str],
    peer: str | None,
    scheme: str,
    from_anywhere: bool,
) -> None:
    """Refuse a request that is not allowed to administer the org.

    Args:
        headers: With names in lower case.
        peer: The address that it comes from.
        from_anywhere: Whether other machines may administer it.

    Raises:
        AdminError: With status 403, or 415.
    """
    if not from_anywhere and not is_loopback(peer):
        raise AdminError(
            "Only this machine may use /local-org/. Start the local org with "
            "--admin-from-anywhere to let others in.",
            403,
        )
    host = headers.get("host", "")
    if not is_private_host(host):
        raise AdminError(
            "The Host header names a public host, so this may be DNS rebinding. Use 127.0.0.1, "
            "localhost, or a name without a dot.",
            403,
        )
    if (
        headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        or headers.get("origin", f"{scheme}://{host}").lower() != f"{scheme}://{host}".lower()
    ):
        raise AdminError("Pages of other sites may not use /local-org/.", 403)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method in _CHANGES and content_type != "application/json":
        raise AdminError("Send changes with Content-Type: application/json.", 415)


def is_loopback(peer: str | None) -> bool:
    """Whether an address is this machine's own."""
    try:
        address = ip_address(peer or "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_private_host(host: str) -> bool:
    """Whether a Host header has an IP address, or a name that no public DNS can resolve."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(_PRIVATE_ENDINGS))
    return True
