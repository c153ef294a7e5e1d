"""What the local org answers when it refuses a request, in the words Salesforce uses."""

from collections.abc import Mapping
from dataclasses import dataclass


class ApiError(Exception):
    """A refusal of a whole request: an HTTP status and one entry of the error array.

    Args:
        fields: The fields it is about; None leaves the key out of the response.
        details: What the entry shows beside its message, such as the duplicates of a record.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        fields: tuple[str, ...] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.fields = fields
        self.details = details or {}

    def body(self) -> list[dict[str, object]]:
        """The error array of the response."""
        entry: dict[str, object] = {
            **self.details,
            "message": self.message,
            "errorCode": self.code,
        }
        if self.fields is not None:
            entry["fields"] = list(self.fields)
        return [entry]


class MultipleChoicesError(ApiError):
    """An external id that names several records; the response lists their addresses."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__(300, "DUPLICATE_EXTERNAL_ID", "more than one record found")
        self.urls = urls


class OAuthError(Exception):
    """A refusal by the token endpoint: an object, not an array."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.description = description

    def body(self) -> dict[str, str]:
        """The error object of the response."""
        return {"error": self.error, "error_description": self.description}


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one record was not written.

    Attributes:
        details: What REST shows beside the message, such as the duplicates of the record.
    """

    code: str
    message: str
    fields: tuple[str, ...] = ()
    details: Mapping[str, object] | None = None

    def in_collection(self) -> dict[str, object]:
        """The entry of a collection result's `errors`."""
        return {
            **(self.details or {}),
            "statusCode": self.code,
            "message": self.message,
            "fields": list(self.fields),
        }

    def in_bulk(self) -> str:
        """The text of a Bulk result's `sf__Error` column."""
        fields = f"{','.join(self.fields)} " if self.fields else ""
        return f"{self.code}:{self.message}:{fields}--"

    def in_row_call(self) -> ApiError:
        """The refusal of a call that was about this one record."""
        # With fields, it is about a record that this one refers to.
        status = 400 if self.fields else _STATUS_BY_CODE.get(self.code, 400)
        fields = None if self.details else self.fields
        return ApiError(status, self.code, self.message, fields, self.details)


_STATUS_BY_CODE = {
    "ENTITY_IS_DELETED": 404,
    "NOT_FOUND": 404,
    "INSUFFICIENT_ACCESS_OR_READONLY": 403,
}


class RowRefusedError(Exception):
    """Carries a `RowError` from a validation rule to whoever reports the record's outcome."""

    def __init__(
        self,
        code: str,
        message: str,
        *fields: str,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(code)
        self.error = RowError(code, message, fields, details)


def not_found() -> ApiError:
    """The refusal of an address that leads nowhere."""
    return ApiError(404, "NOT_FOUND", "The requested resource does not exist")
