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
