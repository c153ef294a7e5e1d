"""Errors of every surface of the API, parsed and sorted by what to do about them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.org.errors import (
    ApiError,
    Reaction,
    parse_bulk_error,
    parse_errors,
    reaction,
    reaction_to_job,
)


def test_every_surface_names_the_code_in_its_own_way() -> None:
    rest = [{"message": "m", "errorCode": "A", "fields": ["F"]}]
    collection = [{"message": "m", "statusCode": "A", "fields": ["F"]}]
    assert parse_errors(rest) == parse_errors(collection) == [ApiError("A", "m", ("F",))]
    oauth = {"error": "invalid_grant", "error_description": "expired"}
    assert parse_errors(oauth) == [ApiError("invalid_grant", "expired")]
    assert parse_errors("nonsense") == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --",
            ApiError(
                "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", ("LastName",)
            ),
        ),
        (
            "ENTITY_IS_DELETED:entity is deleted:--",
            ApiError("ENTITY_IS_DELETED", "entity is deleted"),
        ),
        ("A:two:colons:F__c,G__c --", ApiError("A", "two:colons", ("F__c", "G__c"))),
        ("no code at all", ApiError("no code at all", "")),
    ],
)
def test_errors_of_bulk_rows(text: str, error: ApiError) -> None:
    assert parse_bulk_error(text) == error


@given(st.text())
def test_any_text_is_an_error_of_some_kind(text: str) -> None:
    assert parse_bulk_error(text).code


@pytest.mark.parametrize(
    ("error", "status", "what"),
    [
        (ApiError("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), 403, Reaction.STOP),
        (ApiError("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests"), 403, Reaction.RETRY),
        (ApiError("CANNOT_UPDATE_CONVERTED_LEAD", ""), 400, Reaction.REJECT),
        (
            ApiError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "caused by: UNABLE_TO_LOCK_ROW"),
            400,
            Reaction.RETRY,
        ),
        (ApiError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "a trigger"), 400, Reaction.REJECT),
        (ApiError("UNHEARD_OF", ""), 503, Reaction.RETRY),
        (ApiError("UNHEARD_OF", ""), 400, Reaction.STOP),
    ],
)
def test_the_code_decides_before_the_status(error: ApiError, status: int, what: Reaction) -> None:
    assert reaction(error, status) is what


TABLE = [
    ("INVALID_SESSION_ID", 401, "Session expired or invalid", Reaction.REFRESH),
    ("INVALID_AUTH_HEADER", 401, "INVALID_HEADER_TYPE", Reaction.STOP),
    ("REQUEST_LIMIT_EXCEEDED", 403, "TotalRequests Limit exceeded.", Reaction.STOP),
    ("REQUEST_LIMIT_EXCEEDED", 403, "ConcurrentPerOrgLongTxn Limit exceeded", Reaction.RETRY),
    ("REQUEST_LIMIT_EXCEEDED", 403, "ConcurrentRequests Limit exceeded", Reaction.RETRY),
    ("API_DISABLED_FOR_ORG", 403, "The REST API is not enabled", Reaction.STOP),
    ("API_CURRENTLY_DISABLED", 403, "The REST API is not enabled", Reaction.STOP),
    ("FUNCTIONALITY_NOT_ENABLED", 403, "", Reaction.STOP),
    ("INSUFFICIENT_ACCESS", 403, "", Reaction.STOP),
    ("INSUFFICIENT_ACCESS_OR_READONLY", 403, "insufficient access rights", Reaction.REJECT),
    ("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", 400, "", Reaction.REJECT),
    ("UNABLE_TO_LOCK_ROW", 400, "unable to obtain exclusive access", Reaction.RETRY),
    ("FIELD_CUSTOM_VALIDATION_EXCEPTION", 400, "an admin's words", Reaction.REJECT),
    ("FIELD_FILTER_VALIDATION_EXCEPTION", 400, "", Reaction.REJECT),
    ("FIELD_INTEGRITY_EXCEPTION", 400, "", Reaction.REJECT),
    # The pull describes the sObject anew; for everybody else a person changes something first.
    ("INVALID_FIELD", 400, "No such column 'X'", Reaction.STOP),
    ("INVALID_FIELD_FOR_INSERT_UPDATE", 400, "Unable to create/update", Reaction.REJECT),
    ("REQUIRED_FIELD_MISSING", 400, "Required fields are missing", Reaction.REJECT),
    ("STRING_TOO_LONG", 400, "data value too large", Reaction.REJECT),
    ("INVALID_EMAIL_ADDRESS", 400, "invalid email address", Reaction.REJECT),
    ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", 400, "bad value", Reaction.REJECT),
    ("INVALID_TYPE_ON_FIELD_IN_RECORD", 400, "", Reaction.REJECT),
    ("JSON_PARSER_ERROR", 400, "Cannot deserialize instance of date", Reaction.REJECT),
    ("NUMBER_OUTSIDE_VALID_RANGE", 400, "", Reaction.REJECT),
    ("DUPLICATES_DETECTED", 400, "Use one of these records?", Reaction.REJECT),
    ("DUPLICATE_VALUE", 400, "duplicate value found", Reaction.REJECT),
    ("DUPLICATE_EXTERNAL_ID", 300, "", Reaction.REJECT),
    ("ENTITY_IS_DELETED", 404, "entity is deleted", Reaction.REJECT),
    ("NOT_FOUND", 404, "The requested resource does not exist", Reaction.REJECT),
    ("INVALID_CROSS_REFERENCE_KEY", 404, "invalid cross reference id", Reaction.REJECT),
    ("MALFORMED_ID", 400, "", Reaction.REJECT),
    ("CANNOT_UPDATE_CONVERTED_LEAD", 400, "cannot reference converted lead", Reaction.REJECT),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", 400, "execution of BeforeUpdate", Reaction.REJECT),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", 400, "UNABLE_TO_LOCK_ROW", Reaction.RETRY),
    ("CANNOT_EXECUTE_FLOW_TRIGGER", 400, "", Reaction.REJECT),
    ("ENTITY_IS_LOCKED", 400, "in approval", Reaction.REJECT),
    ("ALL_OR_NONE_OPERATION_ROLLED_BACK", 200, "Record rolled back", Reaction.RETRY),
    ("PROCESSING_HALTED", 400, "", Reaction.RETRY),
    ("MALFORMED_QUERY", 400, "", Reaction.STOP),
    ("INVALID_TYPE", 400, "", Reaction.STOP),
    ("INVALID_QUERY_FILTER_OPERATOR", 400, "", Reaction.STOP),
    ("INVALID_QUERY_LOCATOR", 400, "invalid query locator", Reaction.RESTART),
    ("QUERY_TIMEOUT", 400, "Your query request was running for too long.", Reaction.HALVE),
    ("OPERATION_TOO_LARGE", 400, "", Reaction.HALVE),
    ("EXCEEDED_ID_LIMIT", 400, "", Reaction.HALVE),
    # Of getUpdated and getDeleted, which nothing here calls.
    ("INVALID_REPLICATION_DATE", 400, "", Reaction.STOP),
    ("STORAGE_LIMIT_EXCEEDED", 403, "storage limit exceeded", Reaction.STOP),
    ("TXN_SECURITY_METERING_ERROR", 403, "", Reaction.RETRY),
    ("TXN_SECURITY_NO_ACCESS", 403, "", Reaction.STOP),
    ("TXN_SECURITY_APEX_ERROR", 403, "", Reaction.STOP),
    ("TXN_SECURITY_RUNTIME_ERROR", 403, "", Reaction.STOP),
    ("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", 400, "", Reaction.RETRY),
    ("TOO_MANY_APEX_REQUESTS", 403, "", Reaction.RETRY),
    ("SERVER_UNAVAILABLE", 503, "Server is too busy", Reaction.RETRY),
    ("UNKNOWN_EXCEPTION", 500, "An unexpected error occurred.", Reaction.RETRY),
    ("HTTP_420", 420, "an HTML page", Reaction.RETRY),
    ("HTTP_429", 429, "an HTML page", Reaction.RETRY),
    ("HTTP_502", 502, "an HTML page", Reaction.RETRY),
    ("HTTP_503", 503, "an HTML page", Reaction.RETRY),
    ("HTTP_504", 504, "an HTML page", Reaction.RETRY),
]


@pytest.mark.parametrize(("code", "status", "message", "what"), TABLE)
def test_each_documented_error_has_its_reaction(
    code: str, status: int, message: str, what: Reaction
) -> None:
    assert reaction(ApiError(code, message), status) is what


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ("InternalServerError : Unable to complete the job. Try again later.", Reaction.RETRY),
        ("UNABLE_TO_LOCK_ROW: unable to obtain exclusive access", Reaction.RETRY),
        (
            "InternalServerError : Retried more than fifteen times. Last error: QUERY_TIMEOUT",
            Reaction.HALVE,
        ),
        ("OPERATION_TOO_LARGE: too many rows", Reaction.HALVE),
        ("InvalidBatch : Field name not found : Foo__c", Reaction.STOP),
        ("", Reaction.STOP),
    ],
)
def test_failed_bulk_jobs_have_a_reaction_too(message: str, what: Reaction) -> None:
    assert reaction_to_job(message) is what
