"""The last calls that the org answered: what a person wants to see of them, and nobody's data."""

import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from salesforce_pipelines.local_org.history import WRITTEN_THROUGH
from salesforce_pipelines.local_org.store import Clock

MOST_CALLS = 500
Answer = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class LoggedCall:
    """One call.

    Attributes:
        number: Counts the calls since the server started.
        path: Only the words of it that name a resource.
        status: Of the response.
        milliseconds: Until the last byte was handed over.
        bytes: Of the response's body as it was sent.
        user_id: Whose session it was; empty for a call without one.
        api: Which API it belongs to, such as `REST` or `Bulk API 2.0`.
    """

    number: int
    at: datetime
    method: str
    path: str
    status: int
    milliseconds: float
    bytes: int
    user_id: str
    api: str


class CallLog:
    """The last calls of one org, kept in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: deque[LoggedCall] = deque(maxlen=MOST_CALLS)
        self._count = 0

    def newest(self) -> list[LoggedCall]:
        """The calls, the newest first."""
        return list(reversed(self._calls))

    def noting(self, answer: Answer, masked: Callable[[Request], str | None]) -> Answer:
        """An `answer` whose calls are noted.

        Args:
            masked: Gives a request's path without what names anybody; None for what is no call.
        """

        async def noted(request: Request) -> Response:
            path = masked(request)
            if path is None:
                return await answer(request)
            started, at, api = time.perf_counter(), self._clock(), api_of(path.split("/"))
            WRITTEN_THROUGH.set(api)
            response = await answer(request)
            self._count += 1
            call = LoggedCall(
                number=self._count,
                at=at,
                method=request.method,
                path=path,
                status=response.status_code,
                milliseconds=_since(started),
                bytes=int(response.headers.get("content-length", 0)),
                user_id=getattr(request.state, "user_id", ""),
                api=api,
            )
            self._calls.append(call)
            if isinstance(response, StreamingResponse):
                response.body_iterator = _measured(response.body_iterator, call, started)
            return response

        return noted


def api_of(segments: Sequence[str]) -> str:
    """Which API a path belongs to."""
    words = [segment.lower() for segment in segments if segment]
    if words[:2] == ["services", "oauth2"] or words[:1] == ["id"]:
        return "OAuth"
    if words[:2] == ["services", "soap"]:
        return "SOAP"
    if words[:2] == ["services", "async"]:
        return "Bulk API"
    if words[:2] != ["services", "data"]:
        return "Other"
    return {"jobs": "Bulk API 2.0", "composite": "Composite", "tooling": "Tooling"}.get(
        words[3] if len(words) > 3 else "", "REST"
    )


async def _measured(
    pieces: AsyncIterable[str | bytes | memoryview], call: LoggedCall, started: float
) -> AsyncIterator[str | bytes | memoryview]:
    try:
        async for piece in pieces:
            call.bytes += len(piece)
            yield piece
    finally:
        call.milliseconds = _since(started)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
