"""How OAuth and identity answers are written: JSON, XML or form-urlencoded.

`format` decides, else the Accept header, whose values are tried from left to right; JSON is the
default ("OAuth 2.0 Refresh Token Flow" and "Identity URLs" in Salesforce Help).
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

from salesforce_pipelines.local_org.errors import OAuthError
from salesforce_pipelines.local_org.http.calls import JSON, Call, Reply

_XML = "application/xml;charset=UTF-8"
_FORM = "application/x-www-form-urlencoded;charset=UTF-8"
_CONTENT_TYPES = {"json": JSON, "xml": _XML, "urlencoded": _FORM}
_BY_ACCEPT = {
    "application/json": "json",
    "*/*": "json",
    "application/xml": "xml",
    "text/xml": "xml",
    "application/x-www-form-urlencoded": "urlencoded",
}


def form_of(call: Call) -> dict[str, str]:
    """The parameters of a call, those of its body before those of its address."""
    body = parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True)
    return {**call.query, **dict(body)}


def formatted(
    call: Call, form: Mapping[str, str], root: str, body: Mapping[str, object], status: int = 200
) -> Reply:
    """A reply in the format that the caller asks for.

    Args:
        call: The call.
        form: Its parameters.
        root: The name of the outermost XML element.
        body: What to say.
        status: The HTTP status.
    """
    name = answer_format(form.get("format", ""), call.headers.get("accept", ""))
    kind = _CONTENT_TYPES[name]
    if name == "xml":
        return Reply(content=as_xml(root, body), status=status, content_type=kind)
    if name == "urlencoded":
        form_body = urlencode({key: _text(value) for key, value in body.items()}).encode()
        return Reply(content=form_body, status=status, content_type=kind)
    return Reply(body, status=status, content_type=kind)


def refused(call: Call, form: Mapping[str, str], refusal: OAuthError) -> Reply:
    """A refusal of the token endpoint, in the format that the caller asks for."""
    return formatted(call, form, "OAuth", refusal.body(), refusal.status)


def answer_format(asked: str, accept: str) -> str:
    """`json`, `xml` or `urlencoded`; JSON for anything else."""
    if asked.lower() in _CONTENT_TYPES:
        return asked.lower()
    for value in accept.lower().split(","):
        name = _BY_ACCEPT.get(value.partition(";")[0].strip())
        if name:
            return name
    return "json"


def as_xml(root: str, body: Mapping[str, object]) -> bytes:
    """A document with an element per key; null is `xsi:nil`."""
    namespace = ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><{root}{namespace}>{_elements(body)}</{root}>'
    ).encode("utf-8", "replace")


def _elements(body: Mapping[str, object]) -> str:
    return "".join(_element(name, value) for name, value in body.items())


def _element(name: str, value: object) -> str:
    if value is None:
        return f'<{name} xsi:nil="true"/>'
    content = _elements(value) if isinstance(value, Mapping) else escape(_printable(_text(value)))
    return f"<{name}>{content}</{name}>"


def _printable(text: str) -> str:
    """A text without the control characters that XML 1.0 has no way to write."""
    return "".join(c for c in text if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff"))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
