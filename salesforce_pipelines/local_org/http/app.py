"""The org as a web application: finds the handler of a request and says its answer in HTTP."""

import gzip
import logging
import re
import tempfile
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from anyio import to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route as WebRoute

from salesforce_pipelines.local_org.admin import interface as admin
from salesforce_pipelines.local_org.admin.disturbed_response import DisturbedResponse
from salesforce_pipelines.local_org.admin.request_faults import (
    CutBeforeError,
    Disturbance,
    answer_with_faults,
)
from salesforce_pipelines.local_org.admin.unconfirmed import choice, status_of
from salesforce_pipelines.local_org.bulk_api import bulk
from salesforce_pipelines.local_org.bulk_api.job_worker import JobWorker
from salesforce_pipelines.local_org.errors import (
    ApiError,
    MultipleChoicesError,
    OAuthError,
    not_found,
)
from salesforce_pipelines.local_org.housekeeping import Housekeeper
from salesforce_pipelines.local_org.http.access import is_trusted_host
from salesforce_pipelines.local_org.http.browser_id import browser_id_cookie
from salesforce_pipelines.local_org.http.call_log import (
    LoggedCall,
    api_of,
    client_of,
    is_not_understood,
    telling_names,
)
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.http.failures import log_failure
from salesforce_pipelines.local_org.http.media_types import NotAcceptableError, check_accept
from salesforce_pipelines.local_org.http.request_body import (
    BodyTooLargeError,
    body_pieces,
    read_body,
)
from salesforce_pipelines.local_org.http.routes import (
    DATA_ROUTES,
    HOST_ROUTES,
    find_route,
    is_resource_name,
    needs_no_session,
)
from salesforce_pipelines.local_org.oauth2.connected_app import app_settings, check_api_access
from salesforce_pipelines.local_org.org import NEWEST_VERSION, OLDEST_VERSION, Org
from salesforce_pipelines.local_org.saves.history import WRITTEN_THROUGH
from salesforce_pipelines.local_org.soap_api import soap
from salesforce_pipelines.local_org.web_pages import pages

_LOG = logging.getLogger(__name__)
_OTHER_HOST = (
    "This local org does not answer to that host name, which a page of another site could have"
    " chosen. Use 127.0.0.1 or localhost, or start it with --host-name.\n"
)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_HEADERS = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1; mode=block",
    "X-Robots-Tag": "none",
    "Cache-Control": "no-cache,must-revalidate,max-age=0,no-store,private",
    "Vary": "Accept-Encoding",
}
# Each thread that reads keeps a connection with a cache of its own.
_THREADS = 16
_SMALLEST_GZIP = 1_000
_VERSION = re.compile(r"v(\d+)\.0")
_LONGEST_ADDRESS = 16_384
# The REST API Developer Guide, "API End-of-Life Policy": they answer `410:GONE`. No recording of
# such an answer is public, so its body is a guess.
_RETIRED_VERSIONS = range(7, 31)


def make_app(org: Org) -> Starlette:
    """The web application that serves an org until its lifespan ends, and then closes it."""
    server = _Server(org)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        worker = JobWorker(org)
        worker.start()
        housekeeper = Housekeeper(org)
        housekeeper.start()
        try:
            yield
        finally:
            await run_in_threadpool(worker.stop)
            await run_in_threadpool(housekeeper.join)
            org.close()

    return Starlette(
        routes=[WebRoute("/{path:path}", server.answer, methods=_METHODS)], lifespan=lifespan
    )


class _Server:
    """Answers requests for one org."""

    def __init__(self, org: Org) -> None:
        self._org = org

    async def answer(self, request: Request) -> Response:
        """The response to any request; never a server error."""
        if not is_trusted_host(request.headers.get("host", ""), self._org.settings.host_names):
            return PlainTextResponse(_OTHER_HOST, status_code=421)
        segments = _segments(request)
        if segments[:1] == (admin.ROOT,):
            return await admin.answer_admin(request, segments[1:], self._org)
        if pages.is_page(_method(request), segments):
            return await self._page(request, segments)
        started = time.perf_counter()
        limit_info: dict[str, str] = {}
        disturbance = Disturbance()
        logged = self._org.call_log.begin(
            request.method,
            _masked(segments),
            api_of(segments),
            client_of(
                request.headers.get("user-agent", ""),
                request.headers.get("sforce-call-options", ""),
            ),
        )
        try:
            reply = await self._reply(request, segments, limit_info, disturbance, logged)
        except MultipleChoicesError as choices:
            reply = Reply(choices.urls, status=300)
        except NotAcceptableError:
            reply = Reply(status=406)
        except (ApiError, OAuthError) as refusal:
            reply = Reply(refusal.body(), status=refusal.status)
            if isinstance(refusal, ApiError):
                reply.status = status_of(self._org.state, refusal)
            logged.error_code = refusal.code if isinstance(refusal, ApiError) else refusal.error
            if reply.status in (404, 405):
                _LOG.warning("%s %s: %d", request.method, _masked(segments), reply.status)
        except ClientDisconnect:
            return Response(status_code=400)
        except CutBeforeError:
            reply = Reply()
        except Exception as error:  # noqa: BLE001  # whatever goes wrong, clients get JSON
            kind = log_failure(request.method, _masked(segments), error)
            message = "An unexpected error occurred. The local org does not support this request."
            reply = Reply(ApiError(400, "UNKNOWN_EXCEPTION", message).body(), status=400)
            logged.error_code = "UNKNOWN_EXCEPTION"
            self._note_not_understood(request, segments, logged, kind)
        if is_not_understood(reply.status, logged.error_code, bool(logged.kind)):
            self._note_not_understood(request, segments, logged, logged.error_code)
        _LOG.info("%s %s: %d", request.method, _masked(segments), reply.status)
        is_page = reply.content_type.startswith("text/html")  # it comes from the edge
        if not is_page:
            reply.headers |= limit_info
        if reply.stream is not None:
            reply.stream = _measured(reply.stream, logged)
        response = self._response(request, reply)
        cookie = browser_id_cookie(request.headers.get("cookie", ""), self._org.store.clock())
        if cookie is not None and not is_page:
            response.headers.append("Set-Cookie", cookie)
        logged.status = 0 if disturbance.no_answer else response.status_code
        logged.bytes = 0 if reply.stream is not None else len(response.body)
        logged.milliseconds = round((time.perf_counter() - started) * 1000, 2)
        self._org.call_log.end(logged)
        if disturbance.is_any:
            return DisturbedResponse(response, disturbance, self._org.spool)
        return response

    async def _page(self, request: Request, segments: tuple[str, ...]) -> Response:
        if self._org.late_rows.is_any:
            await run_in_threadpool(self._org.late_rows.catch_up)
        peer = request.client.host if request.client else ""
        try:
            call = replace(self._call(request, segments, None), body=await read_body(request))
            reply = await run_in_threadpool(pages.answer, call, peer)
        except ApiError as refusal:
            reply = _text(refusal.status, refusal.message)
        except ClientDisconnect:
            reply = Reply(status=400)
        except Exception as error:  # noqa: BLE001  # whatever goes wrong, it is no server error
            kind = log_failure(request.method, _masked(segments), error)
            reply = _text(400, f"The local org could not make this page ({kind}).")
        return self._response(request, reply)

    def _call(self, request: Request, path: tuple[str, ...], version: str | None) -> Call:
        return Call(
            org=self._org,
            method=_method(request),
            path=path,
            version=version or f"{NEWEST_VERSION}.0",
            host=f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}",
            query=dict(parse_qsl(request.url.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in request.headers.items()},
            is_data=version is not None,
        )

    def _note_not_understood(
        self, request: Request, segments: tuple[str, ...], logged: LoggedCall, why: str
    ) -> None:
        is_data = segments[:2] == ("services", "data")
        resource = next(iter(segments[3:] if is_data else segments[:1]), None)
        names = telling_names(
            resource, list(request.query_params), request.query_params.get("q", "")
        )
        self._org.call_log.note_not_understood(logged, why, names)

    async def _reply(
        self,
        request: Request,
        segments: tuple[str, ...],
        limit_info: dict[str, str],
        disturbance: Disturbance,
        logged: LoggedCall,
    ) -> Reply:
        if len(str(request.url)) > _LONGEST_ADDRESS:
            raise ApiError(414, "URI_TOO_LONG", "The request URI is too long")
        version = _version(segments, choice(self._org.state, "retired_version") == "410")
        routes, below = (DATA_ROUTES, segments[3:]) if version else (HOST_ROUTES, segments)
        call = self._call(request, below, version)
        if self._org.late_rows.is_any:
            await run_in_threadpool(self._org.late_rows.catch_up)
        WRITTEN_THROUGH.set(logged.api)
        if soap.is_soap(call):
            try:
                call = replace(call, body=await read_body(request))
            except BodyTooLargeError:
                return soap.too_large(call)
            logged.kind = "POST services/Soap"
            answer = partial(self._soap, call, segments)
            if self._org.faults.may_strike("request"):
                call = await run_in_threadpool(soap.with_session, call)
            return await answer_with_faults(call, answer, disturbance, soap.refusal)
        if not needs_no_session(routes, below):
            user_id = await run_in_threadpool(self._authenticate, call, limit_info)
            call = replace(call, user_id=user_id)
            logged.user_id = user_id
        route, captured = find_route(routes, call.method, below)
        call = replace(call, captured=captured)
        logged.kind = f"{route.method} {route.path}"
        if version:
            check_accept(call.headers.get("accept", ""))
        if route.handler is bulk.upload:
            answer = partial(self._upload, request, call)
        else:
            call = replace(call, body=await read_body(request))
            answer = partial(run_in_threadpool, route.handler, call)
        return await answer_with_faults(call, answer, disturbance)

    async def _soap(self, call: Call, segments: tuple[str, ...]) -> Reply:
        reply = await run_in_threadpool(soap.answer, call, self._authenticate_envelope)
        if reply.status != 200:
            _LOG.warning("%s %s: %d", call.method, _masked(segments), reply.status)
        return reply

    def _authenticate_envelope(self, call: Call) -> tuple[str, str | None]:
        """The caller's user id, and the API usage, which SOAP tells in its own header."""
        limit_info: dict[str, str] = {}
        user_id = self._authenticate(call, limit_info)
        return user_id, limit_info.get("Sforce-Limit-Info", "").removeprefix("api-usage=")

    def _authenticate(self, call: Call, limit_info: dict[str, str]) -> str:
        """The caller's user id; the call is counted."""
        kind, _, token = call.headers.get("authorization", "").partition(" ")
        if kind.lower() not in ("bearer", "oauth"):
            if kind:
                raise ApiError(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")
            token = call.query.get("oauth_token", "")
        session = self._org.sessions.find(token.strip()) if token else None
        if session is None:
            raise ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")
        check_api_access(app_settings(self._org.state), session.scope)
        used, most = self._org.state.calls_used(), self._org.settings.daily_api_calls
        if used >= most:
            limit_info["Sforce-Limit-Info"] = f"api-usage={used}/{most}"
            raise ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        used = self._org.state.count_call()
        limit_info["Sforce-Limit-Info"] = f"api-usage={used}/{most}"
        return session.user_id

    async def _upload(self, request: Request, call: Call) -> Reply:
        """Keep a large body in a file and hand it over."""
        with tempfile.NamedTemporaryFile(dir=self._org.spool, suffix=".part", delete=False) as part:
            path = Path(part.name)
            try:
                async for piece in body_pieces(request, bulk.MOST_UPLOADED_BYTES):
                    await run_in_threadpool(part.write, piece)
                part.flush()
                return await run_in_threadpool(bulk.upload, replace(call, upload=path))
            except BodyTooLargeError:
                raise ApiError(413, "API_ERROR", "The upload is larger than 150 MB") from None
            finally:
                path.unlink(missing_ok=True)

    def _response(self, request: Request, reply: Reply) -> Response:
        headers = {"Date": format_datetime(self._org.store.clock(), usegmt=True)}
        headers |= _HEADERS | reply.headers
        wants_gzip = "gzip" in request.headers.get("accept-encoding", "").lower()
        if request.method == "HEAD":
            return Response(status_code=reply.status, headers=headers)
        if reply.stream is not None:
            stream = reply.stream
            if wants_gzip:
                headers["Content-Encoding"] = "gzip"
                stream = _zipped(stream)
            # As it is: a media type that Starlette is given would get a charset.
            headers["Content-Type"] = reply.content_type
            return StreamingResponse(stream, reply.status, headers=headers)
        content = reply.encoded()
        if content:
            headers["Content-Type"] = reply.content_type
        if wants_gzip and len(content) >= _SMALLEST_GZIP:
            content = gzip.compress(content, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        return Response(content, reply.status, headers=headers)


def _segments(request: Request) -> tuple[str, ...]:
    """The decoded parts of the path; an encoded slash stays within its part."""
    raw = bytes(request.scope.get("raw_path") or b"").decode("ascii", "replace")
    parts = raw.partition("?")[0].strip("/").split("/")
    return tuple(unquote(part) for part in parts if part)


def _version(segments: tuple[str, ...], retired_are_gone: bool) -> str | None:
    """The version in `/services/data/vXX.0/…`; None for an address without one.

    Raises:
        ApiError: NOT_FOUND; the org does not serve that version. GONE; it is retired.
    """
    if len(segments) < 3 or tuple(part.lower() for part in segments[:2]) != ("services", "data"):
        return None
    match = _VERSION.fullmatch(segments[2])
    if retired_are_gone and match and int(match[1]) in _RETIRED_VERSIONS:
        raise ApiError(410, "GONE", "The requested resource is no longer available")
    if not match or not OLDEST_VERSION <= int(match[1]) <= NEWEST_VERSION:
        raise not_found()
    return segments[2][1:]


def _method(request: Request) -> str:
    """The method, or the one that `?_HttpMethod=` puts in its place for a POST."""
    method = "GET" if request.method == "HEAD" else request.method
    given = request.query_params.get("_HttpMethod", "")
    return given.upper() if method == "POST" and given else method


def _text(status: int, text: str) -> Reply:
    content = f"{text}\n".encode()
    return Reply(status=status, content=content, content_type="text/plain;charset=UTF-8")


async def _measured(pieces: AsyncIterator[bytes], logged: LoggedCall) -> AsyncIterator[bytes]:
    """A stream whose length is written down as it goes."""
    async for piece in pieces:
        logged.bytes += len(piece)
        yield piece


async def _zipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A stream compressed lightly, as it goes."""
    deflate = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    async for piece in pieces:
        compressed = await run_in_threadpool(deflate.compress, piece)
        if compressed:
            yield compressed
    yield deflate.flush()


def _masked(segments: tuple[str, ...]) -> str:
    """A path for the log: only words that name a resource, nothing that names a person."""
    shown = (s if is_resource_name(s) or _VERSION.fullmatch(s) else "…" for s in segments)
    return "/" + "/".join(shown)
