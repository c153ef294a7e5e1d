"""Faults at requests: what is answered instead, and what becomes of an answer on its way."""

import html
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

from anyio import sleep
from starlette.concurrency import run_in_threadpool

from salesforce_pipelines.local_org.admin.fault_kinds import KINDS, Place
from salesforce_pipelines.local_org.admin.faults import Fault
from salesforce_pipelines.local_org.admin.request_occasion import occasion_of
from salesforce_pipelines.local_org.admin.unconfirmed import status_of_code
from salesforce_pipelines.local_org.bulk_api import bulk_query
from salesforce_pipelines.local_org.bulk_api.jobs import Job, Jobs
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.calls import Call, Reply

_EDGE_STATUSES = {420: "Enhance Your Calm"}
_RESULTS = frozenset(
    {"results", "resultpages", "successfulresults", "failedresults", "unprocessedrecords"}
)
_SUBREQUEST_MATCHERS = frozenset({"path", "path_regex", "sobject"})
Refusal = Callable[[Call, ApiError], Reply]
"""How an API shows an error of a call."""

_PLACES: tuple[Place, ...] = ("request", "results", "page", "count")


@dataclass
class Disturbance:
    """What becomes of an answer between the org and who asked.

    Attributes:
        cut: Whether the connection is closed too early.
        after_bytes: How much of the body is sent before that; without this and a fraction, not
            even the head is sent.
        fraction: The part of the body that is sent before that.
        bytes_per_second: How fast the body is sent; None for no limit.
    """

    cut: bool = False
    after_bytes: int | None = None
    fraction: float | None = None
    bytes_per_second: float | None = None

    @property
    def no_answer(self) -> bool:
        """Whether not even the head of the answer is sent."""
        return self.cut and self.after_bytes is None and self.fraction is None

    @property
    def is_any(self) -> bool:
        """Whether the answer does not arrive as it should."""
        return self.cut or self.bytes_per_second is not None


class CutBeforeError(Exception):
    """Ends a request that is not worked off because its connection is closed."""


async def answer_with_faults(
    call: Call,
    answer: Callable[[], Awaitable[Reply]],
    disturbance: Disturbance,
    refusal: Refusal | None = None,
) -> Reply:
    """What a request is answered, with the faults that strike at it.

    Args:
        answer: Works the request off.
        disturbance: Is told what becomes of the answer on its way.
        refusal: How the API of the call shows an error, if that is not as JSON.

    Raises:
        ApiError: A fault that ends a session, or the request itself, is an error.
        CutBeforeError: The connection is to be closed, and the request is not worked off.
    """
    if not call.org.faults.may_strike(*_PLACES):
        return await answer()
    struck = await run_in_threadpool(_struck, call)
    if "pace" in struck:
        disturbance.bytes_per_second = struck["pace"]["bytes_per_second"]
        await sleep(struck["pace"]["delay_seconds"])
    if "session" in struck:
        expired = await run_in_threadpool(_expired, call, struck["session"])
        if refusal is None:
            raise expired
        return refusal(call, expired)
    error, cut = struck.get("answer"), struck.get("connection")
    if error and error.options.get("when", "before") == "before":
        return _error_reply(call, error, refusal)
    if cut:
        disturbance.cut = True
        disturbance.after_bytes, disturbance.fraction = cut["after_bytes"], cut["fraction"]
        if cut["when"] == "before":
            raise CutBeforeError
    reply = await answer()
    if error:
        return _error_reply(call, error, refusal)
    if "count" in struck:
        _exaggerate(reply, struck["count"])
    return reply


def answer_subrequest(call: Call, answer: Callable[[], Reply]) -> Reply:
    """What a subrequest of a composite is answered, with the errors that strike at it.

    Only a fault that names a path or an sObject is about subrequests, and only if it is an error
    of the org: a page of the edge, a cut or a pace is one of the whole answer.
    """
    faults = call.org.faults
    if not faults.may_strike("request"):
        return answer()
    error = faults.strike("request", occasion_of(call), _concerns_subrequests).get("answer")
    if error is None:
        return answer()
    if error.options.get("when", "before") == "after":
        answer()
    return _error_reply(call, error, None)


def _concerns_subrequests(fault: Fault) -> bool:
    is_error = KINDS[fault.kind].effect == "answer" and fault.kind != "html_page"
    return is_error and not _SUBREQUEST_MATCHERS.isdisjoint(fault.matchers)


def truncated_page(call: Call, jobs: Jobs, job: Job, page: bulk_query.Page) -> bulk_query.Page:
    """A page of a query job's results, or what a fault leaves of it."""
    if not call.org.faults.may_strike("page_body"):
        return page
    fault = call.org.faults.strike("page_body", occasion_of(call)).get("body")
    if fault is None:
        return page
    if fault["after_bytes"] is not None:
        left = max(0, fault["after_bytes"] - len(page.header))
        return replace(page, end=min(page.end, page.start + left))
    kept = max(0, page.records - fault["missing_rows"])
    return replace(page, end=bulk_query.line_start(jobs, job, page.first + kept))


def _struck(call: Call) -> Mapping[str, Fault]:
    occasion, faults = occasion_of(call), call.org.faults
    words = [part.lower() for part in call.path]
    struck = faults.strike("request", occasion)
    if call.method == "GET" and words[:1] == ["jobs"] and call.is_data:
        last = words[3] if len(words) == 4 else ""
        if last in _RESULTS:
            struck = {**faults.strike("results", occasion), **struck}
        if words[1:2] == ["query"] and last == "results":
            struck = {**faults.strike("page", occasion), **struck}
        if words[1:2] == ["query"] and (last == "results" or len(words) == 3):
            struck = {**faults.strike("count", occasion), **struck}
    return struck


def _expired(call: Call, fault: Fault) -> ApiError:
    token = call.headers.get("authorization", "").partition(" ")[2].strip()
    if fault["sessions"] == "all":
        call.org.sessions.end()
    elif token or call.query.get("oauth_token"):
        call.org.sessions.end(token or call.query["oauth_token"])
    return ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")


def _error_reply(call: Call, fault: Fault, refusal: Refusal | None) -> Reply:
    status = fault.options.get("status") or status_of_code(call.org.state, fault["error_code"])
    if fault.kind == "html_page":
        return Reply(content=_page(status), status=status, content_type="text/html; charset=utf-8")
    if call.path[:2] == ("services", "oauth2"):
        body = {"error": fault["error_code"], "error_description": fault["message"]}
        return Reply(body, status=status)
    error = ApiError(status, fault["error_code"], fault["message"])
    return refusal(call, error) if refusal else Reply(error.body(), status=status)


def _page(status: int) -> bytes:
    title = f"{status} {_EDGE_STATUSES.get(status) or HTTPStatus(status).phrase}"
    text = html.escape(title)
    return (
        f"<!DOCTYPE html>\n<html><head><title>{text}</title></head>"
        f"<body><h1>{text}</h1><p>We are down for maintenance. Sorry for the inconvenience.</p>"
        "</body></html>\n"
    ).encode()


def _exaggerate(reply: Reply, fault: Fault) -> None:
    """Let an answer announce more records than there are."""
    extra, where = fault["extra"], fault["in"]
    if where in ("both", "header") and "Sforce-NumberOfRecords" in reply.headers:
        announced = int(reply.headers["Sforce-NumberOfRecords"])
        reply.headers["Sforce-NumberOfRecords"] = str(announced + extra)
    is_job = isinstance(reply.body, dict) and "numberRecordsProcessed" in reply.body
    if where in ("both", "job") and is_job:
        reply.body["numberRecordsProcessed"] += extra
