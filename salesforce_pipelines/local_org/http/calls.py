"""A call to the local org and its reply, apart from any web framework."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.media_types import check_content_type, parser_message
from salesforce_pipelines.local_org.metadata.schema import Schema
from salesforce_pipelines.local_org.org import Org

JSON = "application/json;charset=UTF-8"


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        path: The decoded segments after the version, such as ("sobjects", "Contact").
        captured: The segments that the route names, such as {"sobject": "Contact"}.
        version: The API version of the address, such as `62.0`.
        is_data: Whether its address is one below `/services/data/vXX.X`.
        upload: Where a large body was put, instead of in `body`.
    """

    org: Org
    method: str
    path: tuple[str, ...]
    version: str
    host: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    upload: Path | None = None
    user_id: str = ""
    captured: Mapping[str, str] = field(default_factory=dict)
    is_data: bool = True

    @property
    def schema(self) -> Schema:
        """The sObjects and fields that the caller may see."""
        return self.org.schema_for(self.user_id)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ApiError: JSON_PARSER_ERROR, or UNSUPPORTED_MEDIA_TYPE.
        """
        check_content_type(self.headers.get("content-type", ""))
        if not self.body.strip():
            message = "The HTTP entity body is required, but this request has no entity body."
            raise ApiError(400, "JSON_PARSER_ERROR", message)
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise ApiError(400, "JSON_PARSER_ERROR", parser_message(self.body, error)) from None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            ApiError: JSON_PARSER_ERROR.
        """
        value = self.json()
        if not isinstance(value, dict):
            message = "The HTTP entity body is required to be a JSON object, but this is none."
            raise ApiError(400, "JSON_PARSER_ERROR", message)
        return value

    def option(self, header: str, name: str) -> str | None:
        """One setting of a header such as `Sforce-Query-Options: batchSize=200`."""
        match = re.search(
            rf"\b{name}\s*=\s*([^;,\s]+)", self.headers.get(header, ""), re.IGNORECASE
        )
        return match[1] if match else None

    def flag(self, name: str) -> bool:
        """Whether a query parameter says true."""
        return self.query.get(name, "").lower() == "true"


@dataclass
class Reply:
    """One response.

    Attributes:
        body: What is sent as JSON; nothing if it is None.
        content: What is sent instead, as it is, such as a page or a SOAP envelope.
        stream: What is sent instead, piece by piece.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON
    content: bytes | None = None
    stream: AsyncIterator[bytes] | None = None

    def encoded(self) -> bytes:
        """The bytes of the body."""
        if self.content is not None:
            return self.content
        return b"" if self.body is None else orjson.dumps(self.body)


Handler = Callable[[Call], Reply]
