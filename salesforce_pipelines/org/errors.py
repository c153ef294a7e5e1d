"""What Salesforce's errors mean: which may be retried, which end a run, which reject one record.

Source: *REST API Developer Guide*, "Status Codes and Error Responses"; *SOAP API Developer Guide*,
"Core Data Types: StatusCode". The code decides, not the HTTP status.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from salesforce_pipelines.errors import PipelineError


class Reaction(Enum):
    """What to do about an error."""

    REFRESH = "get a new access token, then send the request once more"
    RETRY = "wait, then send the request again"
    HALVE = "ask for half as much at once"
    RESTART = "run the query from its beginning"
    STOP = "end the run; a person has to act first"
    REJECT = "keep the record as a rejected row; go on with the others"


@dataclass(frozen=True)
class ApiError:
    """One error of an answer: its code, Salesforce's words, and the fields it names."""

    code: str
    message: str
    fields: tuple[str, ...] = ()


class SalesforceError(PipelineError):
    """An answer of the org that ends what was being done."""

    def __init__(self, what: str, error: ApiError, status: int) -> None:
        """Name what was attempted, Salesforce's code, and the cure where one is known."""
        cure = CURES.get(error.code)
        told = f"{what}: Salesforce answered {error.code} (HTTP {status}): {without_values(error)}"
        super().__init__(f"{told}. {cure}" if cure else told)
        self.error = error
        self.status = status

    @property
    def code(self) -> str:
        """Salesforce's error code, such as INVALID_FIELD."""
        return self.error.code


class OrgUnreachableError(PipelineError):
    """The org did not answer at all, or not as Salesforce does."""


_RETRIED = {
    "UNABLE_TO_LOCK_ROW",
    "SERVER_UNAVAILABLE",
    "UNKNOWN_EXCEPTION",
    "TOO_MANY_APEX_REQUESTS",
    "TXN_SECURITY_METERING_ERROR",
    "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE",
    # Innocent rows beside one in error.
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "PROCESSING_HALTED",
}
_HALVED = {"QUERY_TIMEOUT", "OPERATION_TOO_LARGE", "EXCEEDED_ID_LIMIT"}
# Bulk jobs fail in words, not codes.
_PASSING_JOB_FAILURES = ("InternalServerError", "Try again later", *sorted(_RETRIED))
_REJECTED = {
    "CANNOT_EXECUTE_FLOW_TRIGGER",
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
    "CANNOT_UPDATE_CONVERTED_LEAD",
    "DUPLICATES_DETECTED",
    "DUPLICATE_EXTERNAL_ID",
    "DUPLICATE_VALUE",
    "ENTITY_IS_DELETED",
    "ENTITY_IS_LOCKED",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "FIELD_FILTER_VALIDATION_EXCEPTION",
    "FIELD_INTEGRITY_EXCEPTION",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
    "INSUFFICIENT_ACCESS_OR_READONLY",
    "INVALID_CROSS_REFERENCE_KEY",
    "INVALID_EMAIL_ADDRESS",
    "INVALID_FIELD_FOR_INSERT_UPDATE",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    "INVALID_TYPE_ON_FIELD_IN_RECORD",
    "JSON_PARSER_ERROR",
    "MALFORMED_ID",
    "NOT_FOUND",
    "NUMBER_OUTSIDE_VALID_RANGE",
    "REQUIRED_FIELD_MISSING",
    "STRING_TOO_LONG",
}
CURES = {
    "API_CURRENTLY_DISABLED": "Switch the API on for the org, or use an edition that has it.",
    "API_DISABLED_FOR_ORG": "Use an edition with API access, or buy it for this one.",
    "CANNOT_UPDATE_CONVERTED_LEAD": "The Lead was converted; write to its Contact instead.",
    "DUPLICATES_DETECTED": "A duplicate rule stopped it; merge the records it names, or allow it.",
    "DUPLICATE_VALUE": "Another record holds this unique value; update that one.",
    "ENTITY_IS_DELETED": "The record is in the recycle bin; restore it or leave it.",
    "ENTITY_IS_LOCKED": "The record is in an approval process; try again when it is out.",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "A validation rule of the org refused the values.",
    "INSUFFICIENT_ACCESS_OR_READONLY": "Give the integration user edit access to the record.",
    "INVALID_EMAIL_ADDRESS": "The value is not an email address; correct it at its source.",
    "INVALID_FIELD": "Check the field's API name and its field-level security for this user.",
    "INVALID_FIELD_FOR_INSERT_UPDATE": "Give the integration user edit access to the field.",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": "Add the value to the picklist, or map another.",
    "INVALID_SESSION_ID": "Check that the connected app still allows this user.",
    "INVALID_TYPE": "Check the sObject's name and the integration user's access to it.",
    "REQUEST_LIMIT_EXCEEDED": "The daily allowance of API calls is used up; wait, or raise it.",
    "REQUIRED_FIELD_MISSING": "The org requires fields that are not mapped; fill them there.",
    "STORAGE_LIMIT_EXCEEDED": "The org's storage is full; free some.",
    "STRING_TOO_LONG": "The value is longer than the field; shorten it or lengthen the field.",
    "invalid_client": "Check SALESFORCE_CLIENT_SECRET.",
    "invalid_client_id": "Check SALESFORCE_CLIENT_ID.",
    "invalid_grant": "The grant is no longer valid; connect the org again.",
}


def reaction(error: ApiError, status: int) -> Reaction:
    """What to do about an error, by its code first and the HTTP status second."""
    code, message = error.code, error.message
    if code == "INVALID_SESSION_ID":
        return Reaction.REFRESH
    if code == "REQUEST_LIMIT_EXCEEDED":
        # "TotalRequests Limit exceeded." lasts a day; the concurrency limits pass in seconds.
        return Reaction.RETRY if "Concurrent" in message else Reaction.STOP
    if code in _RETRIED or "UNABLE_TO_LOCK_ROW" in message:
        return Reaction.RETRY
    if code in _HALVED:
        return Reaction.HALVE
    if code == "INVALID_QUERY_LOCATOR":
        return Reaction.RESTART
    if code in _REJECTED:
        return Reaction.REJECT
    if status in (420, 429, 500, 502, 503, 504):
        return Reaction.RETRY
    return Reaction.STOP


def reaction_to_job(message: str) -> Reaction:
    """What to do about a Bulk query job that failed, by its `errorMessage`."""
    if any(code in message for code in _HALVED):
        return Reaction.HALVE
    if any(words in message for words in _PASSING_JOB_FAILURES):
        return Reaction.RETRY
    return Reaction.STOP


def parse_errors(body: Any) -> list[ApiError]:
    """The errors of a JSON answer: REST's array, a collection's errors, or OAuth's object."""
    if isinstance(body, dict) and "error" in body:
        return [ApiError(str(body["error"]), str(body.get("error_description", "")))]
    items = body if isinstance(body, list) else [body]
    return [_parsed(item) for item in items if isinstance(item, dict)]


def _parsed(item: dict[str, Any]) -> ApiError:
    # Composite collections say statusCode where everything else says errorCode.
    code = item.get("errorCode") or item.get("statusCode") or "UNKNOWN"
    return ApiError(str(code), str(item.get("message", "")), tuple(item.get("fields") or ()))


def parse_bulk_error(text: str) -> ApiError:
    """The error of a failed row of Bulk API 2.0: `CODE:message:Field1,Field2 --`."""
    match = re.fullmatch(r"(?s)([A-Z_]+):(.*):([\w, ]*?)\s*--\s*", text)
    if match is None:
        code, _, message = text.partition(":")
        return ApiError(code.strip() or "UNKNOWN", message.strip())
    fields = tuple(name.strip() for name in match[3].split(",") if name.strip())
    return ApiError(match[1], match[2], fields)


_SAFE = {
    "API_CURRENTLY_DISABLED",
    "API_DISABLED_FOR_ORG",
    "CANNOT_UPDATE_CONVERTED_LEAD",
    "ENTITY_IS_DELETED",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "INVALID_FIELD",
    "INVALID_FIELD_FOR_INSERT_UPDATE",
    "INVALID_SESSION_ID",
    "INVALID_TYPE",
    "MALFORMED_QUERY",
    "NOT_FOUND",
    "QUERY_TIMEOUT",
    "REQUEST_LIMIT_EXCEEDED",
    "REQUIRED_FIELD_MISSING",
    "SERVER_UNAVAILABLE",
    "STORAGE_LIMIT_EXCEEDED",
}


def without_values(error: ApiError) -> str:
    """Salesforce's words where they never repeat a record's value, else the fields they name.

    OAuth's codes are in lower case; their descriptions hold no values.
    """
    if error.code in _SAFE or error.code.islower() or error.code.startswith("HTTP_"):
        return " ".join(error.message.split())
    return _named(error.fields) or "its words are left out, they may repeat a value"


def _named(fields: Iterable[str]) -> str:
    listed = ", ".join(fields)
    return f"field {listed}" if listed else ""


@dataclass(frozen=True)
class Rejection:
    """Why one record was not written, and what to do about it."""

    code: str
    message: str
    fields: tuple[str, ...] = field(default=())

    @property
    def cure(self) -> str:
        """What a person can do about it."""
        return CURES.get(self.code, "See the org's setup for this record and field.")


def rejection(error: ApiError) -> Rejection:
    """The record-level reason kept with a rejected row, free of the record's values."""
    return Rejection(error.code, without_values(error), error.fields)
