"""What a request may be written in and answered with: JSON, where Salesforce also takes XML."""

import orjson

from salesforce_pipelines.local_org.errors import ApiError

_JSON = ("application/json", "text/json", "*/*")


class NotAcceptableError(Exception):
    """A client that takes nothing but XML; Salesforce's 406 has no body."""


def check_accept(header: str) -> None:
    """See that a client does not insist on XML, which the local org does not write.

    Raises:
        NotAcceptableError: It does.
    """
    ranges = [_media_type(part) for part in header.split(",") if part.strip()]
    if ranges and all(item.endswith(("/xml", "+xml")) for item in ranges):
        raise NotAcceptableError


def check_content_type(header: str) -> None:
    """See that a body is said to be JSON; one that says nothing is taken for it.

    Raises:
        ApiError: UNSUPPORTED_MEDIA_TYPE.
    """
    kind = _media_type(header)
    if kind and kind not in _JSON:
        message = f"Content-Type not supported: {kind}"
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", message)


def parser_message(body: bytes, error: orjson.JSONDecodeError) -> str:
    """What Salesforce's parser says of a body that is not JSON."""
    place = f"[line:{error.lineno}, column:{error.colno}]"
    text = body.decode("utf-8", "replace")
    if error.pos >= len(text):
        return f"Unexpected end-of-input at {place}"
    character = text[error.pos]
    return f"Unexpected character ('{character}' (code {ord(character)})) at {place}"


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()
