"""Who may use the admin interface: people and tests of this machine, no web page of another.

A page in somebody's browser can reach a server on their machine too. It is kept out by what a
browser says of where a request comes from, by a content type that a foreign page may not send
unasked; the server answers no name that such a page could have chosen (`http.access`).
"""

from collections.abc import Mapping

from salesforce_pipelines.local_org.admin.admin_calls import AdminError
from salesforce_pipelines.local_org.http.access import is_loopback

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
    if (
        headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        or headers.get("origin", f"{scheme}://{host}").lower() != f"{scheme}://{host}".lower()
    ):
        raise AdminError("Pages of other sites may not use /local-org/.", 403)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    # A browser asks before it sends a DELETE to another site; one without a body says no type.
    if method == "DELETE" and not content_type:
        return
    if method in _CHANGES and content_type != "application/json":
        raise AdminError("Send changes with Content-Type: application/json.", 415)
