"""Whether a record that is being saved meets a condition.

Salesforce writes the conditions of its rules in a formula language. The local org's stand-in is
the text of a SOQL condition, such as `Email = null AND Account.Industry = 'Energy'`, asked of the
record as it will be after the save: its formulas, its parents and semi-joins included. What the
record was before cannot be asked.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from salesforce_pipelines.local_org.errors import ApiError, RowRefusedError
from salesforce_pipelines.local_org.metadata.schema import Schema, SObject
from salesforce_pipelines.local_org.soql.compiled_query import Asking, CompiledQuery
from salesforce_pipelines.local_org.soql.soql_sql import compile_query
from salesforce_pipelines.local_org.storage.store import (
    Value,
    insert_statement,
    next_number,
    quoted,
    undoable,
)

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.org import Org
    from salesforce_pipelines.local_org.saves.saving import Saving


class _Undo(Exception):  # noqa: N818  # it is a way out of a savepoint, not an error
    """Leaves a savepoint whose writes shall not stay."""


def check_condition(org: "Org", sobject: SObject, text: str) -> None:
    """See that a text is a condition on an sObject's records.

    Raises:
        ApiError: What the SOQL compiler says against it.
    """
    compiled = compile_query(_query(sobject, text), org.schema, org.asking(""))
    if compiled.window or compiled.order_sql or compiled.group_sql:
        raise ApiError(400, "MALFORMED_QUERY", "A condition is only what may stand after WHERE")


def satisfied(saving: "Saving", texts: Sequence[str]) -> list[bool]:
    """Which conditions the record will meet once it is saved; an empty one is always met.

    Raises:
        RowRefusedError: A condition does not fit the org's schema any more.
    """
    if not any(texts):
        return [True for _ in texts]
    answers: list[bool] = []
    try:
        with undoable(saving.connection):
            record_id = _write_for_now(saving)
            answers += [not text or _is_met(saving, text, record_id) for text in texts]
            raise _Undo  # noqa: TRY301  # only an exception undoes the savepoint
    except _Undo:
        return answers


def stored_record_meets(saving: "Saving", sobject: SObject, text: str, record_id: str) -> bool:
    """Whether a record meets a condition as it is stored.

    Raises:
        RowRefusedError: The condition does not fit the org's schema any more.
    """
    return not text or _is_met(saving, text, record_id, sobject)


def _is_met(saving: "Saving", text: str, record_id: str, sobject: SObject | None = None) -> bool:
    asking = saving.org.asking(saving.user_id)
    day = asking.now.replace(hour=0, minute=0, second=0, microsecond=0)
    query = _query(sobject or saving.sobject, text)
    try:
        compiled = _compiled(query, saving.org.schema, replace(asking, now=day))
    except ApiError as error:
        # [?] What Salesforce says of a rule that the metadata has left behind is not documented.
        message = f"The condition of a rule of {saving.sobject.name} is not valid: {error.message}"
        raise RowRefusedError("FIELD_CUSTOM_VALIDATION_EXCEPTION", message) from None
    condition = f'{compiled.own}."Id" = ?'
    where = f"{compiled.where_sql} AND {condition}" if compiled.where_sql else f" WHERE {condition}"
    sql = f"SELECT 1{compiled.from_sql}{where}"
    found = saving.connection.execute(sql, [*compiled.parameters, record_id]).fetchone()
    return found is not None


@lru_cache(maxsize=256)
def _compiled(text: str, schema: Schema, asking: Asking) -> CompiledQuery:
    """A compiled query; date literals make it hold for one day."""
    return compile_query(text, schema, asking)


def _query(sobject: SObject, text: str) -> str:
    return f"SELECT Id FROM {sobject.name} WHERE ({text})"


def _write_for_now(saving: "Saving") -> str:
    """Write the record within the savepoint; its id, for now."""
    connection, sobject = saving.connection, saving.sobject
    stamps = {
        "LastModifiedDate": saving.now,
        "LastModifiedById": saving.user_id,
        "SystemModstamp": saving.now,
    }
    known = {item.name for item in sobject.stored_fields}
    row = {name: value for name, value in {**saving.values, **stamps}.items() if name in known}
    if saving.record_id is not None:
        assignments = ", ".join(f"{quoted(name)} = ?" for name in row)
        sql = f"UPDATE {quoted(sobject.name)} SET {assignments} WHERE Id = ?"
        connection.execute(sql, [*row.values(), saving.record_id])
        return saving.record_id
    return _insert_for_now(connection, saving, row)


def _insert_for_now(connection: sqlite3.Connection, saving: "Saving", row: dict[str, Value]) -> str:
    number = next_number(connection, saving.sobject)
    record_id = saving.org.store.ids.record_id(saving.sobject.key_prefix, number)
    row |= {"Id": record_id, "CreatedDate": saving.now, "CreatedById": saving.user_id}
    sql = insert_statement(saving.sobject, list(row))
    connection.execute(sql, [number, *row.values()])
    return record_id
