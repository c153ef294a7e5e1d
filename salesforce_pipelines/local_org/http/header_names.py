"""Names of HTTP headers in the letter case that Salesforce sends them in.

uvicorn writes them in lower case. HTTP does not mind, but clients that look a name up as they know
it do: Airbyte's connector reads a Bulk result with a `content-type` header wrongly, and one with a
`Content-Type` header as it should.
"""

import asyncio
from functools import lru_cache
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_STATUS_LINE = b"HTTP/1.1 "
_OTHERWISE = {
    b"etag": b"ETag",
    b"sforce-numberofrecords": b"Sforce-NumberOfRecords",
    b"x-xss-protection": b"X-XSS-Protection",
}


class SalesforceHeaderNames(HttpToolsProtocol):
    """One connection of the server, with its header names spelt as Salesforce spells them."""

    def connection_made(  # type: ignore[override]  # as uvicorn has it
        self, transport: asyncio.Transport
    ) -> None:
        """Begin to speak through a transport."""
        super().connection_made(cast("asyncio.Transport", _Respelling(transport)))


class _Respelling:
    """A transport that respells the names in every head of a response."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        # uvicorn writes a head at once, and no body here begins like one.
        self._transport.write(_respelt(data) if data.startswith(_STATUS_LINE) else data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _respelt(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    for at, line in enumerate(lines[1:], start=1):
        name, colon, value = line.partition(b":")
        lines[at] = _spelling(name) + colon + value
    return b"\r\n".join(lines)


@lru_cache(maxsize=100)
def _spelling(name: bytes) -> bytes:
    return _OTHERWISE.get(name.lower(), name.title())
