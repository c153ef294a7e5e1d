"""A response that arrives slowly, or whose connection closes too early."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from anyio import sleep
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from salesforce_pipelines.local_org.admin.request_faults import Disturbance

_TRANSPORT = "local_org.transport"
_PIECE_BYTES = 1 << 16
_TICK_SECONDS = 0.05


def with_transport(app: ASGIApp) -> ASGIApp:
    """An application whose requests know the connection they came by, and end it when cancelled.

    ASGI has no way to close a connection in the middle of a response, so the transport that
    uvicorn sends by is put into the scope. Nothing may stand between uvicorn and this.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if scope["type"] == "http" and transport is not None:
            scope.setdefault("extensions", {})[_TRANSPORT] = transport
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            # The server stops and waits no longer; uvicorn would log that as a failure.
            if transport is None:
                raise
            transport.abort()
            await asyncio.sleep(0)  # until the connection is known to be lost

    return wrapped


class DisturbedResponse(Response):
    """Another response, disturbed on its way.

    Args:
        response: What would be sent.
        spool: A folder for a body whose length must be known first.
    """

    def __init__(self, response: Response, disturbance: Disturbance, spool: Path) -> None:
        super().__init__(status_code=response.status_code)
        self.raw_headers = response.raw_headers
        self._response = response
        self._disturbance = disturbance
        self._spool = spool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is to arrive, and close the connection if it is to be cut."""
        how = self._disturbance
        if how.no_answer:
            await _close(scope, receive, at_once=True)
            return
        head: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        with tempfile.TemporaryFile(dir=self._spool) as copy:
            pieces, left = await self._body(copy)
            await send(head)
            async for piece in pieces:
                sent = piece[:left] if how.cut else piece
                left -= len(sent)
                if sent:
                    await self._send(sent, send)
                if how.cut and left <= 0:
                    break
        if how.cut:
            await _close(scope, receive)
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _body(self, copy: IO[bytes]) -> tuple[AsyncIterator[bytes], int]:
        """The pieces of the body, and how many bytes of them are sent if the connection is cut."""
        how, response = self._disturbance, self._response
        if not isinstance(response, StreamingResponse):
            body = bytes(response.body)
            return _once(body), int(len(body) * (how.fraction or 0)) or how.after_bytes or 0
        if how.fraction is None:
            return _pieces(response), how.after_bytes or 0
        async for piece in _pieces(response):
            await run_in_threadpool(copy.write, piece)
        length = copy.tell()
        copy.seek(0)
        return _read(copy), int(length * how.fraction)

    async def _send(self, piece: bytes, send: Send) -> None:
        pace = self._disturbance.bytes_per_second
        step = len(piece) if pace is None else max(1, int(pace * _TICK_SECONDS))
        for at in range(0, len(piece), step):
            part = piece[at : at + step]
            if pace is not None:
                await sleep(len(part) / pace)
            await send({"type": "http.response.body", "body": part, "more_body": True})


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _pieces(response: StreamingResponse) -> AsyncIterator[bytes]:
    async for piece in response.body_iterator:
        yield piece.encode() if isinstance(piece, str) else bytes(piece)


async def _read(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await run_in_threadpool(file.read, _PIECE_BYTES):
        yield piece


async def _close(scope: Scope, receive: Receive, at_once: bool = False) -> None:
    """Close the connection; what is on its way still arrives unless it closes at once."""
    transport = scope.get("extensions", {}).get(_TRANSPORT)
    if transport is None:
        raise ConnectionAbortedError("a fault cuts the connection")
    if at_once:
        transport.abort()
    else:
        transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
