"""What the columns of a query are: the answer to `query?q=…&columns=true`.

The `sf` command line asks for it before it prints a query's rows. Its shape is the one that the
exemplars of the `sf` data plugin record.
"""

from typing import Any

from salesforce_pipelines.local_org.metadata.schema import Field
from salesforce_pipelines.local_org.soql.compiled_query import Column, CompiledQuery, Parent
from salesforce_pipelines.local_org.soql.soql_expressions import NUMBER_TYPES
from salesforce_pipelines.local_org.soql.soql_literals import TEXT_TYPES

Metadata = dict[str, Any]

_APEX_TYPES = {
    "id": "Id",
    "reference": "Id",
    "boolean": "Boolean",
    "int": "Integer",
    "date": "Date",
    "datetime": "Datetime",
    "time": "Time",
    "address": "Address",
    "location": "Location",
    **dict.fromkeys(("double", "currency", "percent"), "Double"),
    **dict.fromkeys(TEXT_TYPES, "String"),
}


def query_columns(compiled: CompiledQuery) -> Metadata:
    """The metadata of a query's columns."""
    return {
        "columnMetadata": _columns(compiled),
        "entityName": compiled.sobject.name,
        "groupBy": compiled.is_grouped,
        "idSelected": any(column.path == ("Id",) for column in compiled.columns),
        "keyPrefix": compiled.sobject.key_prefix,
    }


def _columns(compiled: CompiledQuery) -> list[Metadata]:
    """Fields, parents with theirs, and child queries with theirs, in the order of the query."""
    parents = {parent.path: parent for parent in compiled.parents}
    found: list[Metadata] = []
    joins: dict[tuple[str, ...], list[Metadata]] = {(): found}
    for column in compiled.columns:
        holder = () if compiled.is_aggregate else column.path[:-1]
        for length in range(1, len(holder) + 1):
            path = column.path[:length]
            if path not in joins:
                joins[path] = []
                joins[path[:-1]].append(_parent(parents[path], joins[path]))
        joins[holder].append(_column(column, compiled.is_aggregate))
    return found + [
        _metadata(child.name, aggregate=True, joins=_columns(child.compiled))
        for child in compiled.children
    ]


def _column(column: Column, is_aggregate: bool) -> Metadata:
    name = column.path[-1]
    if is_aggregate and column.text:
        return _metadata(name, display=column.text, aggregate=True, type_=column.type, apex=None)
    joins = [_column(item, False) for branch in column.branches for item in branch.columns]
    return _metadata(name, type_=column.type, field=column.field, joins=joins)


def _parent(parent: Parent, joins: list[Metadata]) -> Metadata:
    return _metadata(parent.path[-1], foreign_key=parent.reference, joins=joins)


def _metadata(
    name: str,
    *,
    display: str = "",
    aggregate: bool = False,
    type_: str = "",
    apex: str | None = "",
    field: Field | None = None,
    foreign_key: str | None = None,
    joins: list[Metadata] | None = None,
) -> Metadata:
    return {
        "aggregate": aggregate,
        "apexType": _APEX_TYPES.get(type_) if apex == "" else apex,
        "booleanType": type_ == "boolean",
        "columnName": name,
        "custom": field is not None and field.custom,
        "displayName": display or name,
        "foreignKeyName": foreign_key,
        "insertable": field is not None and field.createable,
        "joinColumns": [] if joins is None else joins,
        "numberType": type_ in NUMBER_TYPES,
        "textType": type_ in TEXT_TYPES,
        "updatable": field is not None and field.updateable,
    }
