"""The SOAP API: an envelope comes in, and an envelope or a fault goes out.

A fault has HTTP status 500, as SOAP 1.1 asks for. The session is in the envelope's `SessionHeader`
and may be one of OAuth. See "Error Handling" in the SOAP API Developer Guide.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.org import NEWEST_VERSION, OLDEST_VERSION
from salesforce_pipelines.local_org.soap_api.soap_operations import (
    OPERATIONS,
    SoapCall,
    UnexpectedElementError,
    has_login,
    login,
)
from salesforce_pipelines.local_org.soap_api.soap_xml import (
    Dialect,
    MalformedMessageError,
    Message,
    read_message,
    tag,
)

Authenticate = Callable[[Call], tuple[str, str | None]]
"""Gives the user of a call's bearer token, and the API usage such as `5/15000`; counts the call.

It raises `ApiError` for a token that is none.
"""

_CONTENT_TYPE = "text/xml;charset=UTF-8"
_DIALECTS = {"u": Dialect("partner"), "c": Dialect("enterprise")}
_VERSION = re.compile(r"(\d+)\.0")
_PLACE = re.compile(r"ERROR at Row:(\d+):Column:(\d+)")
_QUERY_FAULTS = {
    "MALFORMED_QUERY": "MalformedQueryFault",
    "INVALID_FIELD": "InvalidFieldFault",
    "INVALID_TYPE": "InvalidSObjectFault",
}
_OTHER_FAULTS = {
    "INVALID_QUERY_LOCATOR": "InvalidQueryLocatorFault",
    "INVALID_LOGIN": "LoginFault",
    "MALFORMED_ID": "InvalidIdFault",
}


class _Fault(Exception):  # noqa: N818  # SOAP's own word
    """An answer that refuses the call."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content


def is_soap(call: Call) -> bool:
    """Whether a call is one of the SOAP API: `POST /services/Soap/u/62.0[/ORG]`."""
    path = tuple(part.lower() for part in call.path)
    is_address = path[:2] == ("services", "soap") and len(path) in (4, 5) and path[2] in _DIALECTS
    return is_address and call.method == "POST"


def too_large(call: Call) -> Reply:
    """The refusal of a message that is too large."""
    dialect = _DIALECTS[call.path[2].lower()]
    code, message = "EXCEEDED_MAX_SIZE_REQUEST", "Request exceeded the maximum size of 50 MB"
    return _fault_reply(dialect.fault(code, message, "UnexpectedErrorFault"))


def with_session(call: Call) -> Call:
    """A call with the session of its envelope in place of an Authorization header, and its user.

    The call is not counted, and there may be no such session.
    """
    try:
        token = _token(read_message(call.body))
    except MalformedMessageError:
        token = ""
    session = call.org.sessions.find(token) if token else None
    headers = {**call.headers, "authorization": f"Bearer {token}"}
    return replace(call, headers=headers, user_id=session.user_id if session else "")


def refusal(call: Call, error: ApiError) -> Reply:
    """An error of a call that `with_session` gave, as a SOAP fault."""
    dialect = _DIALECTS[call.path[2].lower()]
    if error.code == "INVALID_SESSION_ID":
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        return _fault_reply(_session_fault(dialect, token))
    return _fault_reply(_api_fault(dialect, error))


def answer(call: Call, authenticate: Authenticate) -> Reply:
    """The answer to any message."""
    dialect = _DIALECTS[call.path[2].lower()]
    try:
        content = _answer(call, dialect, authenticate)
    except _Fault as fault:
        return _fault_reply(fault.content)
    except (MalformedMessageError, UnexpectedElementError) as error:
        return _fault_reply(dialect.client_fault(str(error)))
    except ApiError as error:
        return _fault_reply(_api_fault(dialect, error))
    return Reply(content=content, content_type=_CONTENT_TYPE)


def _answer(call: Call, dialect: Dialect, authenticate: Authenticate) -> bytes:
    call = replace(call, version=_version(call))
    message = read_message(call.body)
    operation = message.operation
    logs_in = operation.name == "login" and has_login(call.version)
    known = OPERATIONS.get(operation.name)
    if operation.namespace != dialect.namespace or not (logs_in or known):
        text = (
            f"No operation available for request {{{operation.namespace}}}{operation.name},"
            " please check the WSDL for the service."
        )
        raise MalformedMessageError(text)
    if logs_in or known is None:
        return dialect.envelope(_response(operation.name, login(call, message)), None)
    user_id, usage = _authenticated(call, dialect, message, authenticate)
    results = known(SoapCall(replace(call, user_id=user_id), dialect, message))
    return dialect.envelope(_response(operation.name, results), usage)


def _version(call: Call) -> str:
    match = _VERSION.fullmatch(call.path[3])
    if not match or not OLDEST_VERSION <= int(match[1]) <= NEWEST_VERSION:
        raise ApiError(500, "UNSUPPORTED_API_VERSION", "Invalid Api version specified on URL")
    return call.path[3]


def _authenticated(
    call: Call, dialect: Dialect, message: Message, authenticate: Authenticate
) -> tuple[str, str | None]:
    token = _token(message)
    try:
        return authenticate(replace(call, headers={"authorization": f"Bearer {token}"}))
    except ApiError as error:
        if error.code != "INVALID_SESSION_ID":
            raise
    raise _Fault(_session_fault(dialect, token))


def _token(message: Message) -> str:
    header = message.headers.get("SessionHeader")
    return header.value("sessionId") if header else ""


def _session_fault(dialect: Dialect, token: str) -> bytes:
    missing = base64.b64encode(hashlib.sha256(token.encode()).digest()).decode()
    text = (
        "Invalid Session ID found in SessionHeader: Illegal Session. Session not found, missing"
        f" session hash: {missing}\nThis error usually occurs after a session expires or a user"
        " logs out. "
    )
    return dialect.fault("INVALID_SESSION_ID", text, "UnexpectedErrorFault")


def _response(operation: str, results: list[str]) -> str:
    if not results:
        return f"<{operation}Response/>"
    shown = "".join(
        result if result.startswith("<result ") else f"<result>{result}</result>"
        for result in results
    )
    return f"<{operation}Response>{shown}</{operation}Response>"


def _api_fault(dialect: Dialect, error: ApiError) -> bytes:
    if error.code not in _QUERY_FAULTS:
        kind = _OTHER_FAULTS.get(error.code, "UnexpectedErrorFault")
        return dialect.fault(error.code, error.message, kind)
    place = _PLACE.search(error.message)
    row, column = place.groups() if place else (-1, -1)
    where = tag("sf:row", row) + tag("sf:column", column)
    return dialect.fault(error.code, error.message, _QUERY_FAULTS[error.code], where)


def _fault_reply(content: bytes) -> Reply:
    return Reply(status=500, content=content, content_type=_CONTENT_TYPE)
