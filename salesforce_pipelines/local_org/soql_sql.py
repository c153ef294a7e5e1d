"""A SOQL query to SQL: names are checked against the schema, values always bound."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from salesforce_pipelines.local_org import soql
from salesforce_pipelines.local_org.compiled_query import (
    Asking,
    ChildQuery,
    Column,
    CompiledQuery,
    Parent,
)
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.schema import (
    COMPOUND_TYPES,
    ChildRelationship,
    Field,
    Schema,
    SObject,
)
from salesforce_pipelines.local_org.soql_conditions import Conditions, Expression
from salesforce_pipelines.local_org.store import quoted

MAX_OFFSET = 2000
FIELDS_LIMIT = 200

_AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "MIN", "MAX", "SUM", "AVG"})
_NUMBER_TYPES = frozenset({"double", "currency", "percent", "int"})
_DATE_FUNCTIONS = {
    "CALENDAR_YEAR": ("CAST(strftime('%Y', {}) AS INTEGER)", "int"),
    "CALENDAR_QUARTER": ("((CAST(strftime('%m', {}) AS INTEGER) + 2) / 3)", "int"),
    "CALENDAR_MONTH": ("CAST(strftime('%m', {}) AS INTEGER)", "int"),
    "FISCAL_YEAR": ("CAST(strftime('%Y', {}) AS INTEGER)", "int"),
    "FISCAL_QUARTER": ("((CAST(strftime('%m', {}) AS INTEGER) + 2) / 3)", "int"),
    "FISCAL_MONTH": ("CAST(strftime('%m', {}) AS INTEGER)", "int"),
    "DAY_IN_MONTH": ("CAST(strftime('%d', {}) AS INTEGER)", "int"),
    "DAY_IN_WEEK": ("(CAST(strftime('%w', {}) AS INTEGER) + 1)", "int"),
    "DAY_IN_YEAR": ("CAST(strftime('%j', {}) AS INTEGER)", "int"),
    "HOUR_IN_DAY": ("CAST(strftime('%H', {}) AS INTEGER)", "int"),
    "DAY_ONLY": ("date({})", "date"),
}
_NO_COLUMN = (
    "No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, "
    "be sure to append the '__c' after the custom field name. Please reference your WSDL or the "
    "describe call for the appropriate names."
)
_NO_SOBJECT = (
    "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure "
    "to append the '__c' after the entity name. Please reference your WSDL or the describe call "
    "for the appropriate names."
)


def compile_query(text: str, schema: Schema, asking: Asking) -> CompiledQuery:
    """A query's SQL.

    Raises:
        ApiError: MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD and the like.
    """
    return _Compiler(text, schema, asking).outermost(soql.parse(text))


@dataclass
class _Frame:
    """One query's tables: its own sObject as `t0` and the parents it has joined."""

    sobject: SObject
    prefix: str
    alias: str | None
    joins: list[str] = field(default_factory=list)
    parents: dict[tuple[str, ...], tuple[str, SObject]] = field(default_factory=dict)

    @property
    def own(self) -> str:
        return f"{self.prefix}0"


class _Compiler:
    def __init__(self, text: str, schema: Schema, asking: Asking) -> None:
        self._text = text
        self._schema = schema
        self._asking = asking
        self._frames = 0

    def outermost(self, query: soql.Query) -> CompiledQuery:
        sobject = self._schema.get(query.sobject)
        if sobject is None:
            message = _NO_SOBJECT.format(name=query.sobject)
            self._refuse("INVALID_TYPE", query.sobject_place, message)
        return self._query(query, sobject)

    def _query(self, query: soql.Query, sobject: SObject, inherent: str = "") -> CompiledQuery:
        frame = self._frame(query, sobject)
        items = [item for item in query.selected if isinstance(item, soql.Selected)]
        is_count = _is_bare_count(items)
        is_aggregate = not is_count and (
            bool(query.group_by) or any(_is_aggregate(item.operand) for item in items)
        )
        columns = () if is_count else self._columns(query, items, frame, is_aggregate)
        children = tuple(
            self._child(item, sobject) for item in query.selected if isinstance(item, soql.Query)
        )
        resolve = partial(self._operand, frame=frame)
        today = self._asking.now.date()
        conditions = Conditions(self._text, today, resolve, self.outermost)
        where_sql = self._where(query, frame, conditions, inherent)
        group_sql = self._group(query, frame, conditions)
        order_sql = self._order(query, frame, is_aggregate)
        from_sql = f" FROM {quoted(sobject.name)} {frame.own}" + "".join(frame.joins)
        return CompiledQuery(
            sobject=sobject,
            own=frame.own,
            columns=columns,
            parents=tuple(
                Parent(path, parent.name, f'{alias}."Id"')
                for path, (alias, parent) in frame.parents.items()
            ),
            children=children,
            is_count=is_count,
            is_aggregate=is_aggregate,
            from_sql=from_sql,
            where_sql=where_sql,
            group_sql=group_sql,
            order_sql=order_sql,
            window=self._window(query),
            parameters=tuple(conditions.parameters),
            has_condition=query.where is not None,
            has_offset=query.offset is not None,
        )

    def _frame(self, query: soql.Query, sobject: SObject) -> _Frame:
        prefix = "abcdefghijklmnopqrstuvwxyz"[self._frames % 26] * (1 + self._frames // 26)
        self._frames += 1
        return _Frame(sobject, prefix, query.alias)

    # The field list

    def _columns(
        self, query: soql.Query, items: list[soql.Selected], frame: _Frame, is_aggregate: bool
    ) -> tuple[Column, ...]:
        if is_aggregate:
            return self._aggregate_columns(query, items, frame)
        columns: dict[str, Column] = {}
        for item in items:
            for column in self._plain_columns(query, item, frame):
                if column.header in columns:
                    message = f"duplicate field selected: {column.header}"
                    self._refuse("INVALID_FIELD", item.operand.place, message)
                columns[column.header] = column
        return tuple(columns.values())

    def _plain_columns(self, query: soql.Query, item: soql.Selected, frame: _Frame) -> list[Column]:
        operand = item.operand
        if isinstance(operand, soql.Call) and operand.name.upper() == "FIELDS":
            return self._all_fields(query, operand, frame)
        if item.alias and isinstance(operand, soql.FieldPath):
            message = "only aggregate expressions use field aliasing"
            self._refuse("MALFORMED_QUERY", operand.place, message)
        expression = self._operand(operand, frame)
        return [self._column(expression, frame)]

    def _column(self, expression: Expression, frame: _Frame) -> Column:
        parts: tuple[Column, ...] = ()
        if expression.type in COMPOUND_TYPES:
            alias = expression.sql
            parts = tuple(
                Column((part.name,), part.name, _field_sql(part, alias), part.type)
                for part in expression.sobject.parts[expression.name]
            )
        path = expression.path
        return Column(path, ".".join(path), expression.sql, expression.type, parts)

    def _all_fields(self, query: soql.Query, call: soql.Call, frame: _Frame) -> list[Column]:
        kind = call.argument.names[0].upper() if isinstance(call.argument, soql.FieldPath) else ""
        if kind not in ("ALL", "STANDARD", "CUSTOM"):
            self._refuse("MALFORMED_QUERY", call.place, "FIELDS takes ALL, STANDARD or CUSTOM")
        if kind != "STANDARD" and (query.limit is None or query.limit > FIELDS_LIMIT):
            message = f"The SOQL FIELDS function must have a LIMIT of at most {FIELDS_LIMIT}"
            raise ApiError(400, "MALFORMED_QUERY", message)
        wanted = {"ALL": (True, False), "STANDARD": (False,), "CUSTOM": (True,)}[kind]
        return [
            self._column(self._own_field(item, frame), frame)
            for item in frame.sobject.fields
            if item.custom in wanted
        ]

    def _own_field(self, item: Field, frame: _Frame) -> Expression:
        sql = frame.own if item.type in COMPOUND_TYPES else _field_sql(item, frame.own)
        return Expression(sql, item.type, item.name, frame.sobject, (item.name,), item)

    def _aggregate_columns(
        self, query: soql.Query, items: list[soql.Selected], frame: _Frame
    ) -> tuple[Column, ...]:
        grouped = {self._operand(operand, frame).sql for operand in query.group_by}
        columns, unnamed = [], 0
        for item in items:
            expression = self._operand(item.operand, frame)
            if not _is_aggregate(item.operand) and expression.sql not in grouped:
                message = f"Field must be grouped or aggregated: {'.'.join(expression.path)}"
                self._refuse("MALFORMED_QUERY", item.operand.place, message)
            name = item.alias
            if name is None and isinstance(item.operand, soql.Call):
                name, unnamed = f"expr{unnamed}", unnamed + 1
            name = name or expression.path[-1]
            columns.append(Column((name,), name, expression.sql, expression.type))
        return tuple(columns)

    def _child(self, query: soql.Query, parent: SObject) -> ChildQuery:
        relation = _child_relationship(self._schema.children(parent), query.sobject)
        if relation is None:
            message = (
                f"Didn't understand relationship '{query.sobject}' in FROM part of query call. If "
                "you are attempting to use a custom relationship, be sure to append the '__r' "
                "after the custom relationship name. Please reference your WSDL or the describe "
                "call for the appropriate names."
            )
            self._refuse("INVALID_TYPE", query.sobject_place, message)
        child = self._schema[relation.child]
        compiled = self._query(query, child, inherent=f"{{own}}.{quoted(relation.field)} = ?")
        return ChildQuery(relation.name, relation.field, compiled)

    # Fields and functions

    def _operand(self, operand: soql.Operand, frame: _Frame) -> Expression:
        if isinstance(operand, soql.FieldPath):
            return self._field(operand, frame)
        return self._call(operand, frame)

    def _field(self, path: soql.FieldPath, frame: _Frame) -> Expression:
        names = path.names
        own_names = {frame.sobject.name.lower(), (frame.alias or "").lower()}
        if (
            len(names) > 1
            and names[0].lower() in own_names
            and not (frame.sobject.reference(names[0]))
        ):
            names = names[1:]
        sobject, alias = frame.sobject, frame.own
        walked: tuple[str, ...] = ()
        for name in names[:-1]:
            sobject, alias, walked = self._parent(name, sobject, alias, walked, frame, path)
        item = sobject.field(names[-1])
        if item is None:
            message = _NO_COLUMN.format(name=names[-1], entity=sobject.name)
            self._refuse("INVALID_FIELD", path.place, message)
        sql = alias if item.type in COMPOUND_TYPES else _field_sql(item, alias)
        return Expression(sql, item.type, item.name, sobject, (*walked, item.name), item)

    def _parent(
        self,
        name: str,
        sobject: SObject,
        alias: str,
        walked: tuple[str, ...],
        frame: _Frame,
        path: soql.FieldPath,
    ) -> tuple[SObject, str, tuple[str, ...]]:
        reference = sobject.reference(name)
        parent = reference and self._schema.parent(reference)
        if not reference or not parent:
            message = (
                f"Didn't understand relationship '{name}' in field path. If you are attempting to "
                "use a custom relationship, be sure to append the '__r' after the custom "
                "relationship name. Please reference your WSDL or the describe call for the "
                "appropriate names."
            )
            self._refuse("INVALID_FIELD", path.place, message)
        walked = (*walked, reference.relationship_name or "")
        if walked not in frame.parents:
            joined = f"{frame.prefix}{len(frame.parents) + 1}"
            key = _field_sql(reference, alias)
            frame.joins.append(
                f' LEFT JOIN {quoted(parent.name)} {joined} ON {joined}."Id" = {key}'
            )
            frame.parents[walked] = joined, parent
        joined, parent = frame.parents[walked]
        return parent, joined, walked

    def _call(self, call: soql.Call, frame: _Frame) -> Expression:
        name = call.name.upper()
        if name == "COUNT" and call.argument is None:
            return Expression("count(*)", "int", "COUNT", frame.sobject, ("COUNT",))
        if call.argument is None:
            self._refuse("MALFORMED_QUERY", call.place, "unexpected token: ')'")
        inner = self._operand(call.argument, frame)
        if name in _AGGREGATES:
            return self._aggregate(name, call, inner)
        if name in _DATE_FUNCTIONS:
            if inner.type not in ("date", "datetime"):
                self._refuse("MALFORMED_QUERY", call.place, f"{name} takes a date or a dateTime")
            template, type_ = _DATE_FUNCTIONS[name]
            return Expression(template.format(inner.sql), type_, name, inner.sobject, inner.path)
        if name not in ("TOLABEL", "FORMAT", "CONVERTTIMEZONE", "CONVERTCURRENCY"):
            self._refuse("MALFORMED_QUERY", call.place, f"unexpected token: '{call.name}'")
        return inner

    def _aggregate(self, name: str, call: soql.Call, inner: Expression) -> Expression:
        is_summed = name in ("SUM", "AVG")
        if (
            not inner.is_filterable
            or inner.type == "boolean"
            or (is_summed and inner.type not in _NUMBER_TYPES)
        ):
            message = f"field {inner.name} does not support aggregate operator {name}"
            self._refuse("MALFORMED_QUERY", call.place, message)
        if name == "COUNT_DISTINCT":
            return Expression(f"count(DISTINCT {inner.sql})", "int", name, inner.sobject, (name,))
        type_ = {"COUNT": "int", "AVG": "double"}.get(name, inner.type)
        sql = f"{name.lower()}({inner.sql})"
        return Expression(sql, type_, name, inner.sobject, (name,))

    # WHERE, GROUP BY, ORDER BY, LIMIT

    def _where(
        self, query: soql.Query, frame: _Frame, conditions: Conditions, inherent: str
    ) -> str:
        parts = []
        if inherent:
            parts.append(inherent.format(own=frame.own))
        if query.scope and query.scope.lower() == "mine":
            parts.append(f'{frame.own}."OwnerId" = ?')
            conditions.parameters.append(self._asking.user_id)
        elif query.scope and query.scope.lower() != "everything":
            raise ApiError(400, "INVALID_SCOPE", f"Unsupported scope: {query.scope}")
        if frame.sobject.has_is_deleted and not self._asking.include_deleted:
            parts.append(f'{frame.own}."IsDeleted" = 0')
        if query.where:
            parts.append(f"({conditions.sql(query.where)})")
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def _group(self, query: soql.Query, frame: _Frame, conditions: Conditions) -> str:
        if not query.group_by:
            if query.having:
                raise ApiError(400, "MALFORMED_QUERY", "HAVING needs GROUP BY")
            return ""
        keys = []
        for operand in query.group_by:
            expression = self._operand(operand, frame)
            if expression.field and not expression.field.groupable:
                message = f"field '{expression.name}' can not be grouped in a query call"
                self._refuse("MALFORMED_QUERY", operand.place, message)
            keys.append(expression.sql)
        having = f" HAVING {conditions.sql(query.having)}" if query.having else ""
        return f" GROUP BY {', '.join(keys)}{having}"

    def _order(self, query: soql.Query, frame: _Frame, is_aggregate: bool) -> str:
        keys = []
        for item in query.order_by:
            expression = self._operand(item.operand, frame)
            if not expression.is_filterable:
                message = f"field '{expression.name}' can not be sorted in a query call"
                self._refuse("MALFORMED_QUERY", item.operand.place, message)
            direction = "DESC" if item.descending else "ASC"
            first = not item.descending if item.nulls_first is None else item.nulls_first
            keys.append(f"{expression.sql} {direction} NULLS {'FIRST' if first else 'LAST'}")
        if not keys:
            return ""
        if not is_aggregate:
            keys.append(f"{frame.own}._n")
        return f" ORDER BY {', '.join(keys)}"

    def _window(self, query: soql.Query) -> str:
        if query.offset is not None and query.offset > MAX_OFFSET:
            message = f"Maximum SOQL offset allowed is {MAX_OFFSET}"
            raise ApiError(400, "NUMBER_OUTSIDE_VALID_RANGE", message)
        if query.limit is None and query.offset is None:
            return ""
        limit = -1 if query.limit is None else query.limit
        return f" LIMIT {limit} OFFSET {query.offset or 0}"

    def _refuse(self, code: str, place: soql.Place, message: str) -> NoReturn:
        raise soql.positioned(code, self._text, place, message)


def _field_sql(item: Field, alias: str) -> str:
    if item.formula:
        collation = " COLLATE NOCASE" if item.is_text else ""
        return f"(({item.formula.sql.replace('{t}', alias)}){collation})"
    return f"{alias}.{quoted(item.name)}"


def _child_relationship(
    relations: Sequence[ChildRelationship], name: str
) -> ChildRelationship | None:
    named = (item for item in relations if item.name and item.name.lower() == name.lower())
    return next(named, None)


def _is_bare_count(items: list[soql.Selected]) -> bool:
    if len(items) != 1 or not isinstance(items[0].operand, soql.Call):
        return False
    return items[0].operand.name.upper() == "COUNT" and items[0].operand.argument is None


def _is_aggregate(operand: soql.Operand) -> bool:
    return isinstance(operand, soql.Call) and operand.name.upper() in _AGGREGATES
