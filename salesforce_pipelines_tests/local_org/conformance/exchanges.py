"""Exchanges as documents show them: what a client sends and the shape of what it is answered.

A shape is compared with a value part by part: a type stands for any value of it, a pattern for any
text that it matches whole, `ANYTHING` for anything; a dictionary has exactly the shape's keys and
`Having` at least those; texts may name what is known so far, such as `$contact`.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Any

import requests

from salesforce_pipelines_tests.local_org.conftest import VERSION, Api

ANYTHING = object()
_PATIENCE_SECONDS = 20


@dataclass(frozen=True)
class Having:
    """A dictionary with at least these keys."""

    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Each:
    """A list that is not empty; each of its elements has this shape."""

    shape: Any


@dataclass(frozen=True)
class Saved:
    """A value that later exchanges name."""

    name: str
    shape: Any = str


@dataclass(frozen=True)
class Exchange:
    """A request and its answer.

    Attributes:
        path: Below `/services/data/vXX.X/`; below the host if it begins with a slash.
        answer: The shape of the body: of its JSON, or of its text; None if it is empty.
        body: Sent as JSON, or as it is if it is bytes or a form's fields are given.
        form: Sent as a form.
        headers: The shapes of headers of the answer; None for one that is not there.
        sends: Headers of the request.
        until: Whether it is sent until the answer fits.
    """

    method: str
    path: str
    status: int
    answer: Any = None
    body: Any = None
    form: Mapping[str, str] | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    sends: Mapping[str, str] = field(default_factory=dict)
    version: str = VERSION
    session: bool = True
    until: bool = False


@dataclass(frozen=True)
class Story:
    """Exchanges that follow one another.

    Attributes:
        source: Where it is documented or was recorded.
    """

    name: str
    source: str
    exchanges: tuple[Exchange, ...]


class Known(dict[str, str]):
    """What exchanges may name; records are made when they are first named."""

    def __init__(self, api: Api, makers: Mapping[str, Callable[[Api, "Known"], str]]) -> None:
        super().__init__()
        self._api = api
        self._makers = makers

    def __missing__(self, name: str) -> str:
        self[name] = self._makers[name](self._api, self)
        return self[name]


def tell(story: Story, api: Api, known: Known) -> None:
    """Send every request of a story and compare every answer.

    Raises:
        AssertionError: An answer differs; with all differences.
    """
    for number, exchange in enumerate(story.exchanges, start=1):
        deadline = time.monotonic() + (_PATIENCE_SECONDS if exchange.until else 0)
        found: list[str] = []
        while True:
            answer = _send(exchange, api, known)
            found = list(_differences_of(exchange, answer, known))
            if not found or time.monotonic() >= deadline:
                break
            time.sleep(0.05)
        what = f"{story.name} ({story.source}), {number}: {exchange.method} {exchange.path}"
        assert not found, "\n".join([what, *found, answer.text[:2000]])


def differences(shape: Any, value: Any, known: dict[str, str], at: str = "body") -> Iterator[str]:
    """How a value differs from its shape."""
    if shape is ANYTHING:
        return
    if isinstance(shape, Saved):
        yield from differences(shape.shape, value, known, at)
        known[shape.name] = str(value)
    elif isinstance(shape, Having | Mapping):
        yield from _of_keys(shape, value, known, at)
    elif isinstance(shape, Each | list):
        yield from _of_elements(shape, value, known, at)
    elif isinstance(shape, type):
        if type(value) is not shape:
            yield f"{at}: {value!r} is no {shape.__name__}"
    elif isinstance(shape, re.Pattern):
        if not isinstance(value, str) or not shape.fullmatch(value):
            yield f"{at}: {value!r} does not match {shape.pattern!r}"
    else:
        wanted = Template(shape).substitute(known) if isinstance(shape, str) else shape
        if type(value) is not type(wanted) or value != wanted:
            yield f"{at}: {value!r} is not {wanted!r}"


def _of_keys(shape: Any, value: Any, known: dict[str, str], at: str) -> Iterator[str]:
    keys = shape.keys if isinstance(shape, Having) else shape
    if not isinstance(value, dict):
        yield f"{at}: {value!r} is no object"
        return
    missing = set(keys) - set(value)
    more = set() if isinstance(shape, Having) else set(value) - set(keys)
    if missing or more:
        yield f"{at}: lacks {sorted(missing)}, has also {sorted(more)}"
    for key, part in keys.items():
        if key in value:
            yield from differences(part, value[key], known, f"{at}.{key}")


def _of_elements(shape: Any, value: Any, known: dict[str, str], at: str) -> Iterator[str]:
    if not isinstance(value, list) or (not value and isinstance(shape, Each)):
        yield f"{at}: {value!r} is no list, or empty"
        return
    shapes = [shape.shape] * len(value) if isinstance(shape, Each) else shape
    if len(shapes) != len(value):
        yield f"{at}: {len(value)} elements, not {len(shapes)}"
        return
    for number, (part, element) in enumerate(zip(shapes, value, strict=True)):
        yield from differences(part, element, known, f"{at}[{number}]")


def _send(exchange: Exchange, api: Api, known: Known) -> requests.Response:
    path = Template(exchange.path).substitute(known)
    root = "" if path.startswith("/") else f"/services/data/v{exchange.version}/"
    body = exchange.body
    options: dict[str, Any] = {}
    if exchange.form is not None:
        options["data"] = {name: _filled(value, known) for name, value in exchange.form.items()}
    elif isinstance(body, bytes):
        options["data"] = body
    elif body is not None:
        options["json"] = _filled(body, known)
    send = api.session.request if exchange.session else requests.request
    sends = _filled(dict(exchange.sends), known)
    return send(exchange.method, f"{api.url}{root}{path}", headers=sends, timeout=30, **options)


def _filled(value: Any, known: Known) -> Any:
    if isinstance(value, str):
        return Template(value).substitute(known)
    if isinstance(value, dict):
        return {key: _filled(part, known) for key, part in value.items()}
    return [_filled(part, known) for part in value] if isinstance(value, list) else value


def _differences_of(exchange: Exchange, answer: requests.Response, known: Known) -> Iterator[str]:
    if answer.status_code != exchange.status:
        yield f"status: {answer.status_code} is not {exchange.status}"
        return
    for name, shape in exchange.headers.items():
        yield from differences(shape, answer.headers.get(name), known, name)
    if exchange.answer is None:
        yield from [] if not answer.content else [f"body: {len(answer.content)} bytes, not empty"]
    elif "json" in answer.headers.get("Content-Type", ""):
        yield from differences(exchange.answer, answer.json(), known)
    else:
        yield from differences(exchange.answer, answer.content.decode(), known)
