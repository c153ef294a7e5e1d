"""The steps of a request that writes several records: all of them or none, or each by itself."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from salesforce_pipelines.local_org.errors import MultipleChoicesError, RowError
from salesforce_pipelines.local_org.metadata.schema import Field, SObject
from salesforce_pipelines.local_org.saves.dml import Outcome, Writer
from salesforce_pipelines.local_org.storage.store import Store

ROLLED_BACK = RowError(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone "
    "header",
)
"""Why a record was not written that would have been alone."""

Step = Callable[[Writer], Outcome]


class StepResult(Protocol):
    """What became of a step; with errors, nothing was written."""

    @property
    def errors(self) -> tuple[RowError, ...]:
        """Why it was refused."""


Result = TypeVar("Result", bound=StepResult)


class _RollBack(Exception):  # noqa: N818  # it is a way out of a transaction, not an error
    """Leaves a transaction whose results are already known."""


def run_steps(
    store: Store,
    writer: Callable[[sqlite3.Connection], Writer],
    steps: Sequence[Callable[[Writer], Result]],
    rolled_back: Callable[[Result], Result],
    *,
    all_or_none: bool,
) -> list[Result]:
    """Take each step in one transaction.

    Args:
        writer: Makes the writer of the steps.
        rolled_back: The result of a step that is taken back because another one was refused.
    """
    results: list[Result] = []
    try:
        with store.write() as connection:
            writes = writer(connection)
            results += [step(writes) for step in steps]
            if all_or_none and any(result.errors for result in results):
                raise _RollBack  # noqa: TRY301  # only an exception undoes the transaction
    except _RollBack:
        return [result if result.errors else rolled_back(result) for result in results]
    return results


def outcome_rolled_back(outcome: Outcome) -> Outcome:
    """The outcome of a record that is taken back because another one was refused."""
    return Outcome(None, errors=(ROLLED_BACK,))


def creating(sobject: SObject, values: Mapping[str, object]) -> Step:
    """A step that inserts a record."""
    return lambda writer: writer.create(sobject, values)


def updating(sobject: SObject, record_id: object, values: Mapping[str, object]) -> Step:
    """A step that changes a record."""
    if not isinstance(record_id, str) or not record_id:
        return refusing("MISSING_ARGUMENT", "Id not specified in an update call")
    return lambda writer: writer.update(sobject, record_id, values)


def upserting(sobject: SObject, key: Field, value: str, values: Mapping[str, object]) -> Step:
    """A step that changes the record whose key has a value, or inserts it."""

    def step(writer: Writer) -> Outcome:
        try:
            return writer.upsert(sobject, key, value, values)
        except MultipleChoicesError as choices:
            message = (
                f"{key.name}: more than one record found for external id field: "
                f"[{', '.join(choices.urls)}]"
            )
            return Outcome(None, errors=(RowError("DUPLICATE_EXTERNAL_ID", message),))

    return step


def refusing(code: str, message: str, *fields: str) -> Step:
    """A step that is refused before anything is looked up."""
    return lambda writer: Outcome(None, errors=(RowError(code, message, fields),))
