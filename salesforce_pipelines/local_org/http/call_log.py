"""The newest API calls, how many there were of each kind, and requests that were not understood.

It is kept in memory, and says nothing about any person: paths are masked, values are left out.
"""

import re
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from salesforce_pipelines.local_org.storage.store import Clock

_KEPT_CALLS = 1_000
_KEPT_KINDS = 500
_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]{0,39}")
_SOQL_WORD = re.compile(
    r"\b(SELECT|FROM|WHERE|GROUP BY|HAVING|ORDER BY|LIMIT|OFFSET|TYPEOF|FIND|RETURNING|FORMAT"
    r"|CONVERTCURRENCY|DISTANCE|GEOLOCATION|ROLLUP|CUBE|WITH|SCOPE|FOR VIEW|FOR REFERENCE"
    r"|FOR UPDATE|UPDATE TRACKING|UPDATE VIEWSTAT|ALL ROWS|INCLUDES|EXCLUDES)\b",
    re.IGNORECASE,
)
_NOT_UNDERSTOOD = frozenset({"MALFORMED_QUERY", "JSON_PARSER_ERROR", "METHOD_NOT_ALLOWED"})


@dataclass
class LoggedCall:
    """One call.

    Attributes:
        at: The org's time.
        path: With everything masked that may name a record or a person.
        api: Which API it belongs to, such as `REST` or `Bulk API 2.0`.
        kind: Its method and route, such as `GET sobjects/{sobject}/{id}`; empty if there is none.
        milliseconds: Until the answer began.
        status: 0 if nothing was answered.
        bytes: The length of the body before a stream is compressed.
        client: The product that `User-Agent` or `Sforce-Call-Options` names.
        error_code: Of an answer that is an error.
    """

    at: datetime
    method: str
    path: str
    api: str = ""
    kind: str = ""
    status: int = 0
    milliseconds: float = 0.0
    bytes: int = 0
    user_id: str = ""
    client: str = ""
    error_code: str = ""


class CallLog:
    """The calls of one org since it was started."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: deque[LoggedCall] = deque(maxlen=_KEPT_CALLS)
        self._counts: Counter[str] = Counter()
        self._total = 0
        self._not_understood: dict[tuple[str, ...], dict[str, Any]] = {}

    def begin(self, method: str, path: str, api: str, client: str) -> LoggedCall:
        """A call that has come in; fill in the rest as it becomes known."""
        return LoggedCall(self._clock(), method, path, api, client=client)

    def end(self, call: LoggedCall) -> None:
        """Keep a call whose answer is known; the length of a streamed body may follow."""
        with self._lock:
            self._calls.append(call)
            self._total += 1
            if call.kind in self._counts or len(self._counts) < _KEPT_KINDS:
                self._counts[call.kind or "other"] += 1

    def newest(self) -> list[LoggedCall]:
        """The calls, the newest first."""
        with self._lock:
            return list(self._calls)[::-1]

    def shown(self, most: int) -> dict[str, Any]:
        """The newest calls, and the counts of all."""
        with self._lock:
            newest = [_shown(call) for call in list(self._calls)[::-1][:most]]
            counts = dict(self._counts.most_common())
        return {"total": self._total, "by_kind": counts, "calls": newest}

    def note_not_understood(self, call: LoggedCall, why: str, names: tuple[str, ...]) -> None:
        """Remember a request that the org has no answer to, or no sense for."""
        key = (call.method, call.path, why, *names)
        with self._lock:
            known = self._not_understood.get(key)
            if known is None and len(self._not_understood) < _KEPT_KINDS:
                known = self._not_understood[key] = {
                    "method": call.method,
                    "path": call.path,
                    "why": why,
                    "names": list(names),
                    "count": 0,
                    "client": call.client,
                }
            if known is not None:
                known["count"] += 1
                known["last"] = _time(call)

    def not_understood(self) -> list[dict[str, Any]]:
        """The distinct requests that were not understood, in the order they first came."""
        with self._lock:
            return [dict(entry) for entry in self._not_understood.values()]

    def forget_not_understood(self) -> None:
        """Begin the list anew."""
        with self._lock:
            self._not_understood.clear()


def _shown(call: LoggedCall) -> dict[str, Any]:
    values = asdict(call)
    del values["at"]
    return {"time": _time(call), **values}


def _time(call: LoggedCall) -> str:
    return call.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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


def client_of(user_agent: str, call_options: str) -> str:
    """The product that sends a request, such as `python-requests/2.32.5`."""
    named = re.search(r"\bclient\s*=\s*([\w./-]+)", call_options, re.IGNORECASE)
    return (named[1] if named else user_agent.partition(" ")[0])[:60]


def is_not_understood(status: int, code: str, has_route: bool) -> bool:
    """Whether an error answer means that the request made no sense to the org."""
    return (status in (404, 405) and not has_route) or code in _NOT_UNDERSTOOD


def telling_names(resource: str | None, parameters: list[str], soql: str) -> tuple[str, ...]:
    """The names in a request that tell what it wanted, and nothing about anybody.

    Args:
        resource: The first part of the path below the version.
        parameters: The names of its query parameters.
        soql: A query, of which only the words of the language are told.
    """
    words = sorted({word.upper() for word in _SOQL_WORD.findall(soql)})
    names = [resource or "", *(f"?{name}" for name in parameters)]
    plain = [name for name in names if _NAME.fullmatch(name.removeprefix("?"))]
    return (*plain, *words)
