"""Composite resources: several requests in one call, or a tree of records in one.

Each subrequest is answered by the handler that answers it alone. What a composite adds is the
passing on of results (`@{reference.field}`), one transaction for all with `allOrNone`, and limits.
See "Composite", "Composite Batch" and "sObject Tree" in the REST API Developer Guide.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import orjson

from salesforce_pipelines.local_org.errors import ApiError, not_found
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.org import is_served

Answer = Callable[[Call], Reply]

MOST_SUBREQUESTS, MOST_QUERIES = 25, 5
_METHODS = ("POST", "PUT", "PATCH", "GET", "DELETE")
_MOST_DEPTH = 100
_COMPOSED = (["sobjects"], ["query"], ["queryall"])
_NOT_BATCHED = ("composite", "jobs")
_INHERITED = frozenset({"accept", "authorization", "content-type"})
_NULLS_PASS_FROM = 52.0
_ROLLED_BACK = (
    "The transaction was rolled back since another operation in the same transaction failed."
)
_REFERENCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"@\{([^{}]*)\}")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,6})\]")
_VERSIONED = re.compile(r"/services/data/v\d+\.\d/.+", re.DOTALL)


def resources(call: Call) -> Reply:
    """`GET composite`."""
    root = f"/services/data/v{call.version}/composite"
    return Reply({name: f"{root}/{name}" for name in ("tree", "batch", "sobjects")})


# Composite


@dataclass(frozen=True, slots=True)
class _Subrequest:
    method: str
    url: str
    reference_id: str
    body: Any
    headers: Mapping[str, str]

    @property
    def is_query(self) -> bool:
        """Whether it counts as a query or a collection."""
        parts = [part.lower() for part in self.url.partition("?")[0].split("/")[4:] if part]
        return parts[:1] in (["query"], ["queryall"]) or parts[:2] == ["composite", "sobjects"]


class _RollBack(Exception):  # noqa: N818  # it is a way out of a transaction, not an error
    """Leaves a transaction whose answers are already known."""


class _UnresolvedError(Exception):
    """A reference to something that an earlier subrequest did not answer."""


def execute(call: Call, answer: Answer) -> Reply:
    """`POST composite`.

    Args:
        answer: Answers one subrequest as if it had been sent alone.
    """
    body = call.json_object()
    requests = _subrequests(call, body)
    if body.get("allOrNone") is not True:
        return _composite(requests, _run_each(call, requests, answer))
    replies: list[Reply] = []
    try:
        with call.org.store.transaction():
            for reply in _run_each(call, requests, answer, all_or_none=True):
                replies.append(reply)
                if reply.status >= 300 or _has_failures(reply):
                    raise _RollBack  # noqa: TRY301  # only an exception undoes the transaction
    except _RollBack:
        halted = [_halted(_ROLLED_BACK) for _ in requests]
        halted[len(replies) - 1] = replies[-1]
        replies = halted
    return _composite(requests, replies)


def _run_each(
    call: Call, requests: list[_Subrequest], answer: Answer, all_or_none: bool = False
) -> Iterator[Reply]:
    answered: dict[str, Any] = {}
    for request in requests:
        references = _References(answered, float(call.version) >= _NULLS_PASS_FROM)
        try:
            sub = _as_call(call, request, references, all_or_none)
        except _UnresolvedError as error:
            yield _halted(str(error))
            continue
        except ApiError as refusal:
            yield Reply(refusal.body(), status=refusal.status)
            continue
        reply = answer(sub)
        if reply.status < 300:
            answered[request.reference_id] = reply.body
        yield reply


def _composite(requests: list[_Subrequest], replies: Iterator[Reply] | list[Reply]) -> Reply:
    results = [
        {
            "body": reply.body,
            "httpHeaders": reply.headers,
            "httpStatusCode": reply.status,
            "referenceId": request.reference_id,
        }
        for request, reply in zip(requests, replies, strict=True)
    ]
    return Reply({"compositeResponse": results})


def _halted(message: str) -> Reply:
    return Reply([{"errorCode": "PROCESSING_HALTED", "message": message}], status=400)


def _has_failures(reply: Reply) -> bool:
    """Whether a collection's reply has a record that was not written."""
    body = reply.body
    return isinstance(body, list) and any(
        isinstance(item, dict) and item.get("success") is False for item in body
    )


def _subrequests(call: Call, body: Mapping[str, Any]) -> list[_Subrequest]:
    """The subrequests of a body that is well formed.

    Raises:
        ApiError: The whole request is refused, and nothing of it done.
    """
    given = body.get("compositeRequest")
    if not isinstance(given, list) or not given:
        raise _invalid("Required field is missing: compositeRequest", "REQUIRED_FIELD_MISSING")
    if len(given) > MOST_SUBREQUESTS:
        message = f"The composite request has more than {MOST_SUBREQUESTS} subrequests"
        raise _invalid(message, "LIMIT_EXCEEDED")
    requests = [_subrequest(call, item) for item in given]
    if len({request.reference_id for request in requests}) < len(requests):
        raise _invalid("Duplicate ReferenceId provided in the request.")
    if sum(request.is_query for request in requests) > MOST_QUERIES:
        message = (
            f"The composite request has more than {MOST_QUERIES} queries and sObject Collections"
        )
        raise _invalid(message, "LIMIT_EXCEEDED")
    return requests


def _subrequest(call: Call, item: Any) -> _Subrequest:
    if not isinstance(item, dict):
        raise ApiError(400, "JSON_PARSER_ERROR", "A subrequest has to be a JSON object")
    reference_id = item.get("referenceId", item.get("referenceID"))
    texts = {"method": item.get("method"), "url": item.get("url"), "referenceId": reference_id}
    for name, text in texts.items():
        if not isinstance(text, str) or not text:
            raise _invalid(f"Required field is missing: {name}", "REQUIRED_FIELD_MISSING")
    method, url = str(item["method"]), str(item["url"])
    if method not in _METHODS:
        raise _invalid(f"Unsupported HTTP method: {method}")
    if not _VERSIONED.fullmatch(url):
        raise _invalid(f"The url must start with /services/data/vXX.X/: {url}")
    headers = item.get("httpHeaders") or {}
    if not isinstance(headers, dict):
        raise ApiError(400, "JSON_PARSER_ERROR", "httpHeaders has to be a JSON object")
    lower = {str(name).lower(): str(value) for name, value in headers.items()}
    if forbidden := sorted(_INHERITED & lower.keys()):
        raise _invalid(f"A subrequest may not have the header {forbidden[0]}")
    if float(call.version) >= _NULLS_PASS_FROM:
        _check_reference_id(str(reference_id))
    return _Subrequest(method, url, str(reference_id), item.get("body"), lower)


def _check_reference_id(reference_id: str) -> None:
    if not _REFERENCE_ID.fullmatch(reference_id):
        raise _invalid(
            f"Provided referenceId ('{reference_id}') must start with a letter or a number, and it "
            "can contain only letters, numbers and underscores ('_')."
        )


def _too_deep() -> ApiError:
    return ApiError(400, "JSON_PARSER_ERROR", "The body of a subrequest is nested too deeply")


def _invalid(message: str, code: str = "INVALID_INPUT") -> ApiError:
    return ApiError(400, code, message)


def _as_call(
    call: Call, request: _Subrequest, references: "_References", all_or_none: bool
) -> Call:
    """The call that a subrequest stands for.

    Raises:
        _UnresolvedError: It refers to what there is not.
        ApiError: NOT_FOUND.
    """
    body = references.filled(request.body)
    if all_or_none and request.is_query and isinstance(body, dict):
        body = {**body, "allOrNone": True}
    sub = called(call, request.method, references.filled_url(request.url), body)
    parts = [part.lower() for part in sub.path]
    if parts[:1] not in _COMPOSED and parts[:2] != ["composite", "sobjects"]:
        raise _invalid("The resource is not supported in a composite request")
    if all_or_none and request.is_query and request.method == "DELETE":
        sub = replace(sub, query={**sub.query, "allOrNone": "true"})
    return replace(sub, headers={**_inherited(call), **request.headers})


def called(call: Call, method: str, url: str, body: Any) -> Call:
    """A call by the same user to an address such as `/services/data/v62.0/limits`.

    Raises:
        ApiError: NOT_FOUND; the address is of another version.
    """
    try:
        content = b"" if body is None else orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise _too_deep() from None
    path, _, query = url.partition("?")
    segments = tuple(unquote(part) for part in path.strip("/").split("/") if part)
    version = segments[2].lower().removeprefix("v") if len(segments) > 2 else ""
    if not is_served(version):
        raise not_found()
    return replace(
        call,
        method=method,
        path=segments[3:],
        version=version,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        body=content,
        captured={},
    )


def _inherited(call: Call) -> dict[str, str]:
    return {name: value for name, value in call.headers.items() if name in _INHERITED}


class _References:
    """The replies so far, which later subrequests may refer to.

    Args:
        nulls_pass: Whether a field that is null may be referred to.
    """

    def __init__(self, answered: Mapping[str, Any], nulls_pass: bool) -> None:
        self._answered = answered
        self._nulls_pass = nulls_pass

    def filled(self, value: Any, depth: int = 0) -> Any:
        """A JSON value with every reference in its texts replaced."""
        if depth > _MOST_DEPTH:
            raise _too_deep()
        if isinstance(value, dict):
            return {key: self.filled(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item, depth + 1) for item in value]
        if not isinstance(value, str):
            return value
        whole = _REFERENCE.fullmatch(value)
        if whole:  # a number or a null stays what it is
            return self._value(whole[1])
        return _REFERENCE.sub(lambda match: _text(self._value(match[1])), value)

    def filled_url(self, url: str) -> str:
        """An address with every reference in it replaced."""
        return _REFERENCE.sub(lambda match: quote(_text(self._value(match[1])), safe=""), url)

    def _value(self, reference: str) -> Any:
        name = re.split(r"[.\[]", reference, maxsplit=1)[0]
        if name not in self._answered:
            raise self._unresolved(reference, name)
        value, rest = self._answered[name], reference[len(name) :]
        while rest:
            step = _STEP.match(rest)
            if step is None:
                raise self._unresolved(reference, name)
            rest = rest[step.end() :]
            try:
                value = value[step[1]] if step[1] is not None else value[int(step[2])]
            except (KeyError, IndexError, TypeError):
                raise self._unresolved(reference, name) from None
        if isinstance(value, dict | list) or (value is None and not self._nulls_pass):
            raise self._unresolved(reference, name)
        return value

    def _unresolved(self, reference: str, name: str) -> _UnresolvedError:
        return _UnresolvedError(
            f"Invalid reference specified. No value for {reference} found in {name}. "
            f"Provided referenceId ('{reference}') must start with a letter or a number, and it "
            "can contain only letters, numbers and underscores ('_')."
        )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


# Batch


def execute_batch(call: Call, answer: Answer) -> Reply:
    """`POST composite/batch`: independent requests, each with a transaction of its own."""
    body = call.json_object()
    given = body.get("batchRequests")
    if not isinstance(given, list) or not given:
        raise _invalid("Required field is missing: batchRequests", "REQUIRED_FIELD_MISSING")
    if len(given) > MOST_SUBREQUESTS:
        message = f"The batch has more than {MOST_SUBREQUESTS} subrequests"
        raise _invalid(message, "LIMIT_EXCEEDED")
    requests = [_batch_request(item) for item in given]
    results: list[dict[str, Any]] = []
    failed = False
    for method, url, rich_input in requests:
        if failed and body.get("haltOnError") is True:
            message = "Batch processing halted: a previous subrequest was not successful"
            halted = ApiError(412, "BATCH_PROCESSING_HALTED", message)
            results.append({"statusCode": 412, "result": halted.body()})
            continue
        reply = _batch_reply(call, method, url, rich_input, answer)
        failed = failed or reply.status >= 300
        results.append({"statusCode": reply.status, "result": reply.body})
    return Reply({"hasErrors": failed, "results": results})


def _batch_request(item: Any) -> tuple[str, str, Any]:
    if not isinstance(item, dict):
        raise ApiError(400, "JSON_PARSER_ERROR", "A subrequest has to be a JSON object")
    method, url = item.get("method"), item.get("url")
    for name, text in (("method", method), ("url", url)):
        if not isinstance(text, str) or not text:
            raise _invalid(f"Required field is missing: {name}", "REQUIRED_FIELD_MISSING")
    if str(method).upper() not in _METHODS:
        raise _invalid(f"Unsupported HTTP method: {method}")
    below = str(url).lstrip("/").removeprefix("services/data/")
    return str(method).upper(), f"/services/data/{below}", item.get("richInput")


def _batch_reply(call: Call, method: str, url: str, rich_input: Any, answer: Answer) -> Reply:
    try:
        sub = called(call, method, url, rich_input)
    except ApiError as refusal:
        return Reply(refusal.body(), status=refusal.status)
    if float(sub.version) > float(call.version):
        message = "The version of a subrequest may not be newer than that of the batch"
        return Reply(_invalid(message).body(), status=400)
    if sub.path and sub.path[0].lower() in _NOT_BATCHED:
        message = "The resource is not supported in a batch"
        return Reply(_invalid(message).body(), status=400)
    return answer(replace(sub, headers=_inherited(call)))
