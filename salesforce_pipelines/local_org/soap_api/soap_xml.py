"""SOAP messages: reading an envelope safely, and writing answers and faults.

A document type is refused, so there are neither entities to expand nor files to fetch; size, depth
and number of elements are bounded.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from xml.parsers import expat  # document types are refused below

LARGEST_MESSAGE = 50 << 20
_DEEPEST = 32
_MOST_ELEMENTS = 500_000
_ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"[A-Za-z_][\w.-]*")


class MalformedMessageError(Exception):
    """A message that is no SOAP envelope; its text says why."""


@dataclass(slots=True)
class Element:
    """One element of a message, with names apart from their namespaces.

    Attributes:
        is_nil: Whether it says `xsi:nil="true"`.
        type: What `xsi:type` says, without its prefix.
    """

    name: str
    namespace: str
    is_nil: bool = False
    type: str = ""
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def child(self, name: str) -> "Element | None":
        """The first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def all(self, name: str) -> Iterator["Element"]:
        """Every child of that name."""
        return (child for child in self.children if child.name == name)

    def value(self, *path: str) -> str:
        """The text at the end of a path of names; empty if there is none."""
        found: Element | None = self
        for name in path:
            found = found.child(name) if found else None
        return found.text.strip() if found else ""

    def flag(self, *path: str) -> bool:
        """Whether the text at the end of a path says true."""
        return self.value(*path).lower() in ("true", "1")


@dataclass(frozen=True, slots=True)
class Message:
    """A SOAP message: the operation that is asked for, and its headers by their name."""

    operation: Element
    headers: Mapping[str, Element]


def read_message(content: bytes) -> Message:
    """The message in an envelope.

    Raises:
        MalformedMessageError: It is no well-formed SOAP 1.1 envelope with one operation.
    """
    envelope = _parse(content)
    if (envelope.name, envelope.namespace) != ("Envelope", _ENVELOPE):
        raise MalformedMessageError(f"Unexpected element {{{envelope.namespace}}}{envelope.name}")
    header, body = envelope.child("Header"), envelope.child("Body")
    if body is None or len(body.children) != 1:
        raise MalformedMessageError("SOAP Body must hold one operation")
    headers = {element.name: element for element in header.children} if header else {}
    return Message(body.children[0], headers)


def _parse(content: bytes) -> Element:
    if len(content) > LARGEST_MESSAGE:
        raise MalformedMessageError("The message is too large")
    tree = _Tree()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = tree.refuse_document_type
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.characters
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise MalformedMessageError(f"Failed to parse the message: {error}") from None
    assert tree.root is not None  # noqa: S101  # a well-formed document has a root
    return tree.root


class _Tree:
    """Collects what the parser meets."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._count = 0

    def refuse_document_type(self, *_: object) -> None:
        raise MalformedMessageError("DOCTYPE is not allowed")

    def start(self, qualified: str, attributes: Mapping[str, str]) -> None:
        self._count += 1
        if len(self._open) >= _DEEPEST or self._count > _MOST_ELEMENTS:
            raise MalformedMessageError("The message is too deep or too large")
        namespace, _, name = qualified.rpartition(" ")
        element = Element(
            name,
            namespace,
            is_nil=attributes.get(f"{_INSTANCE} nil", "").lower() in ("true", "1"),
            type=attributes.get(f"{_INSTANCE} type", "").rpartition(":")[2],
        )
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def end(self, _: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def characters(self, text: str) -> None:
        self._texts[-1].append(text)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One of the two WSDLs: partner (`u`), for any org, or enterprise (`c`), for this one."""

    name: str

    @property
    def namespace(self) -> str:
        """The namespace of its operations."""
        return f"urn:{self.name}.soap.sforce.com"

    def envelope(self, body: str, calls: str | None) -> bytes:
        """An answer.

        Args:
            calls: The API usage, such as `5/15000`, that is told in `LimitInfoHeader`.
        """
        header = ""
        if calls:
            current, _, limit = calls.partition("/")
            info = tag("current", current) + tag("limit", limit) + tag("type", "API REQUESTS")
            header = (
                "<soapenv:Header><LimitInfoHeader><limitInfo>"
                f"{info}</limitInfo></LimitInfoHeader></soapenv:Header>"
            )
        sobject = f' xmlns:sf="urn:sobject.{self.name}.soap.sforce.com"' if "sf:" in body else ""
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="{_ENVELOPE}"'
            f' xmlns="{self.namespace}"{sobject} xmlns:xsi="{_INSTANCE}">'
            f"{header}<soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
        ).encode()

    def fault(self, code: str, message: str, kind: str, more: str = "") -> bytes:
        """A refusal of a whole call in the platform's words.

        Args:
            kind: The type of the fault, such as `UnexpectedErrorFault`.
            more: Further elements of it.
        """
        detail = (
            f'<detail><sf:{kind} xsi:type="sf:{kind}">{tag("sf:exceptionCode", code)}'
            f"{tag('sf:exceptionMessage', message)}{more}</sf:{kind}></detail>"
        )
        return self._fault(f"sf:{code}", f"{code}: {message}", detail)

    def client_fault(self, message: str) -> bytes:
        """A refusal of a message that cannot be understood."""
        return self._fault("soapenv:Client", message, "")

    def _fault(self, code: str, text: str, detail: str) -> bytes:
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="{_ENVELOPE}"'
            f' xmlns:sf="urn:fault.{self.name}.soap.sforce.com" xmlns:xsi="{_INSTANCE}">'
            f"<soapenv:Body><soapenv:Fault>{tag('faultcode', code)}{tag('faultstring', text)}"
            f"{detail}</soapenv:Fault></soapenv:Body></soapenv:Envelope>"
        ).encode()


def tag(name: str, value: object) -> str:
    """An element with a text; nil for None."""
    if value is None:
        return f'<{name} xsi:nil="true"/>'
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return f"<{name}>{escape(_NOT_IN_XML.sub('', shown), quote=False)}</{name}>"


def is_name(text: str) -> bool:
    """Whether a text may be the name of an element."""
    return _NAME.fullmatch(text) is not None
