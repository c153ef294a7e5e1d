"""A SOQL syntax tree to SQLite: names checked against the schema, values always bound.

SOQL's logic has two values: a comparison with a missing value is false and its opposite true,
`!=` finds records without a value, and an empty string is no value. Negation is therefore carried
down to the comparisons, each of which is written so that it is never NULL.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from salesforce_pipelines.local_org import soql
from salesforce_pipelines.local_org.date_ranges import date_range
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.ids import is_id, to_18
from salesforce_pipelines.local_org.schema import ChildRelationship, Field, Schema, SObject
from salesforce_pipelines.local_org.store import Value, quoted, stamp

MAX_OFFSET = 2000
FIELDS_LIMIT = 200

_AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "MIN", "MAX", "SUM", "AVG"})
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
_NEGATED = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a result row.

    Attributes:
        path: The keys that lead to it in a REST record.
        header: Its name in a Bulk CSV.
        sql: The SQLite expression that reads it.
        type: The field type that says how it is shown.
        compound: For an address, its part-fields; `sql` is then unused.
    """

    path: tuple[str, ...]
    header: str
    sql: str
    type: str
    compound: tuple["Column", ...] = ()


@dataclass(frozen=True, slots=True)
class Parent:
    """A record that a row reaches through a relationship; `id_sql` is NULL where there is none."""

    path: tuple[str, ...]
    sobject: str
    id_sql: str


@dataclass(frozen=True, slots=True)
class ChildQuery:
    """A query within the field list, answered for each row from the records that refer to it."""

    name: str
    field: str
    compiled: "CompiledQuery"


@dataclass(frozen=True)
class CompiledQuery:
    """A query ready to run.

    Attributes:
        own: The alias of the queried sObject's table.
        is_count: It is `SELECT COUNT()`, whose answer is only a number.
        is_aggregate: Its rows are aggregate results, not records.
        tail: FROM, WHERE, GROUP BY and HAVING.
        parameters: The values bound in `tail`.
        window: LIMIT and OFFSET as SQL.
    """

    sobject: SObject
    own: str
    columns: tuple[Column, ...]
    parents: tuple[Parent, ...]
    children: tuple[ChildQuery, ...]
    is_count: bool
    is_aggregate: bool
    from_sql: str
    where_sql: str
    group_sql: str
    order_sql: str
    window: str
    parameters: tuple[Value, ...]
    has_condition: bool = False
    has_offset: bool = False

    @property
    def is_unordered(self) -> bool:
        """Whether the order of its rows is left open, and does not decide which they are."""
        return not self.order_sql and not self.window

    @property
    def tail(self) -> str:
        """Everything after the selected columns."""
        return f"{self.from_sql}{self.where_sql}{self.group_sql}{self.order_sql}{self.window}"


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks and when: what a query's meaning depends on beside its text."""

    user_id: str
    now: datetime
    include_deleted: bool = False


def compile_query(text: str, schema: Schema, asking: Asking) -> CompiledQuery:
    """A query's SQL.

    Raises:
        ApiError: MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD and the like.
    """
    return _Compiler(text, schema, asking).outermost(soql.parse(text))


@dataclass(frozen=True, slots=True)
class _Expression:
    """An operand as SQL with the field or function result it stands for."""

    sql: str
    type: str
    name: str
    sobject: SObject
    path: tuple[str, ...]
    field: Field | None = None


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
        parameters: list[Value] = []
        where_sql = self._where(query, frame, parameters, inherent)
        group_sql = self._group(query, frame, parameters)
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
            parameters=tuple(parameters),
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

    def _column(self, expression: _Expression, frame: _Frame) -> Column:
        parts: tuple[Column, ...] = ()
        if expression.type == "address":
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

    def _own_field(self, item: Field, frame: _Frame) -> _Expression:
        sql = frame.own if item.type == "address" else _field_sql(item, frame.own)
        return _Expression(sql, item.type, item.name, frame.sobject, (item.name,), item)

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

    def _operand(self, operand: soql.Operand, frame: _Frame) -> _Expression:
        if isinstance(operand, soql.FieldPath):
            return self._field(operand, frame)
        return self._call(operand, frame)

    def _field(self, path: soql.FieldPath, frame: _Frame) -> _Expression:
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
        sql = alias if item.type == "address" else _field_sql(item, alias)
        return _Expression(sql, item.type, item.name, sobject, (*walked, item.name), item)

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

    def _call(self, call: soql.Call, frame: _Frame) -> _Expression:
        name = call.name.upper()
        if name == "COUNT" and call.argument is None:
            return _Expression("count(*)", "int", "COUNT", frame.sobject, ("COUNT",))
        if call.argument is None:
            self._refuse("MALFORMED_QUERY", call.place, "unexpected token: ')'")
        inner = self._operand(call.argument, frame)
        if name in _AGGREGATES:
            return self._aggregate(name, call, inner)
        if name in _DATE_FUNCTIONS:
            if inner.type not in ("date", "datetime"):
                self._refuse("MALFORMED_QUERY", call.place, f"{name} takes a date or a dateTime")
            template, type_ = _DATE_FUNCTIONS[name]
            return _Expression(template.format(inner.sql), type_, name, inner.sobject, inner.path)
        if name not in ("TOLABEL", "FORMAT", "CONVERTTIMEZONE", "CONVERTCURRENCY"):
            self._refuse("MALFORMED_QUERY", call.place, f"unexpected token: '{call.name}'")
        return inner

    def _aggregate(self, name: str, call: soql.Call, inner: _Expression) -> _Expression:
        unfit = inner.type in ("boolean", "address") or (
            name in ("SUM", "AVG") and inner.type not in ("double", "currency", "percent", "int")
        )
        if unfit or (inner.field and not inner.field.filterable):
            message = f"field {inner.name} does not support aggregate operator {name}"
            self._refuse("MALFORMED_QUERY", call.place, message)
        if name == "COUNT_DISTINCT":
            return _Expression(f"count(DISTINCT {inner.sql})", "int", name, inner.sobject, (name,))
        type_ = {"COUNT": "int", "AVG": "double"}.get(name, inner.type)
        sql = f"{name.lower()}({inner.sql})"
        return _Expression(sql, type_, name, inner.sobject, (name,))

    # WHERE, GROUP BY, ORDER BY, LIMIT

    def _where(
        self, query: soql.Query, frame: _Frame, parameters: list[Value], inherent: str
    ) -> str:
        parts = []
        if inherent:
            parts.append(inherent.format(own=frame.own))
        if query.scope and query.scope.lower() == "mine":
            parts.append(f'{frame.own}."OwnerId" = ?')
            parameters.append(self._asking.user_id)
        elif query.scope and query.scope.lower() != "everything":
            raise ApiError(400, "INVALID_SCOPE", f"Unsupported scope: {query.scope}")
        if frame.sobject.has_is_deleted and not self._asking.include_deleted:
            parts.append(f'{frame.own}."IsDeleted" = 0')
        if query.where:
            parts.append(f"({self._condition(query.where, False, frame, parameters)})")
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def _group(self, query: soql.Query, frame: _Frame, parameters: list[Value]) -> str:
        if not query.group_by:
            if query.having:
                raise ApiError(400, "MALFORMED_QUERY", "HAVING needs GROUP BY")
            return ""
        keys = []
        for operand in query.group_by:
            expression = self._operand(operand, frame)
            if not _groupable(expression):
                message = f"field '{expression.name}' can not be grouped in a query call"
                self._refuse("MALFORMED_QUERY", operand.place, message)
            keys.append(expression.sql)
        sql = f" GROUP BY {', '.join(keys)}"
        if query.having:
            sql += f" HAVING {self._condition(query.having, False, frame, parameters)}"
        return sql

    def _order(self, query: soql.Query, frame: _Frame, is_aggregate: bool) -> str:
        keys = []
        for item in query.order_by:
            expression = self._operand(item.operand, frame)
            if expression.type == "address" or (
                expression.field and not expression.field.filterable
            ):
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

    # Conditions

    def _condition(
        self, condition: soql.Condition, negated: bool, frame: _Frame, parameters: list[Value]
    ) -> str:
        if isinstance(condition, soql.Not):
            return self._condition(condition.condition, not negated, frame, parameters)
        if isinstance(condition, soql.And | soql.Or):
            joined = " AND " if isinstance(condition, soql.And) != negated else " OR "
            parts = [
                self._condition(part, negated, frame, parameters) for part in condition.conditions
            ]
            return f"({joined.join(parts)})"
        expression = self._operand(condition.operand, frame)
        self._check_filterable(expression, condition.operand.place)
        if isinstance(condition, soql.Comparison):
            return self._comparison(condition, expression, negated, parameters)
        if isinstance(condition, soql.Inclusion):
            message = f"'{expression.name}' is not a multi-select picklist"
            self._refuse("INVALID_QUERY_FILTER_OPERATOR", condition.operand.place, message)
        return self._membership(condition, expression, negated != condition.negated, parameters)

    def _check_filterable(self, expression: _Expression, place: soql.Place) -> None:
        if expression.type == "address" or (expression.field and not expression.field.filterable):
            message = f"field '{expression.name}' can not be filtered in a query call"
            self._refuse("INVALID_FIELD", place, message)

    def _comparison(
        self,
        comparison: soql.Comparison,
        expression: _Expression,
        negated: bool,
        parameters: list[Value],
    ) -> str:
        operator, literal, sql = comparison.operator, comparison.value, expression.sql
        if operator == "LIKE":
            return self._like(literal, expression, negated, parameters)
        effective = _NEGATED[operator] if negated else operator
        if literal.kind == "range":
            return self._in_range(literal, expression, effective, negated, parameters)
        value = self._value(literal, expression)
        if value is None:
            if effective in ("=", "!="):
                return f"{sql} IS {'NOT ' if effective == '!=' else ''}NULL"
            return "1" if negated else "0"
        left, right = sql, "?"
        if isinstance(value, str) and not value.isascii():
            left, right = f"fold({sql})", "fold(?)"
        parameters.append(value)
        if effective in ("=", "!="):
            # IS and IS NOT would keep SQLite from using an index on the column.
            return f"{left} = {right}" if effective == "=" else f"{left} IS NOT {right}"
        test = f"{left} {effective} {right}"
        return f"({test} OR {sql} IS NULL)" if negated else test

    def _in_range(
        self,
        literal: soql.Literal,
        expression: _Expression,
        operator: str,
        negated: bool,
        parameters: list[Value],
    ) -> str:
        bounds = date_range(literal.text, self._asking.now.date())
        if bounds is None:
            self._refuse("MALFORMED_QUERY", literal.place, f"unexpected token: '{literal.text}'")
        if expression.type not in ("date", "datetime"):
            self._refuse_literal(literal, expression)
        start, end = (day.isoformat() for day in bounds)
        if expression.type == "datetime":
            start, end = f"{start}T00:00:00", f"{end}T00:00:00"
        sql = expression.sql
        if operator == "=":
            parameters += [start, end]
            return f"({sql} >= ? AND {sql} < ?)"
        if operator == "!=":
            parameters += [start, end]
            return f"({sql} < ? OR {sql} >= ? OR {sql} IS NULL)"
        edge, symbol = {
            "<": (start, "<"), "<=": (end, "<"), ">": (end, ">="), ">=": (start, ">="),
        }[operator]  # fmt: skip
        parameters.append(edge)
        return f"({sql} {symbol} ? OR {sql} IS NULL)" if negated else f"{sql} {symbol} ?"

    def _like(
        self,
        literal: soql.Literal,
        expression: _Expression,
        negated: bool,
        parameters: list[Value],
    ) -> str:
        if not _is_text(expression.type):
            message = f"invalid operator on {expression.type} field"
            self._refuse("INVALID_QUERY_FILTER_OPERATOR", literal.place, message)
        pattern = self._pattern(literal)
        sql = expression.sql
        left, right = (sql, "?") if pattern.isascii() else (f"fold({sql})", "fold(?)")
        parameters.append(pattern)
        test = f"{left} LIKE {right} ESCAPE '\\'"
        return f"({sql} IS NULL OR NOT {test})" if negated else test

    def _membership(
        self,
        membership: soql.Membership,
        expression: _Expression,
        negated: bool,
        parameters: list[Value],
    ) -> str:
        sql = expression.sql
        if isinstance(membership.values, soql.Query):
            inner = self._semi_join(membership.values, expression, parameters)
            return (
                f"({sql} IS NULL OR {sql} NOT IN ({inner}))" if negated else f"{sql} IN ({inner})"
            )
        ranges = [literal for literal in membership.values if literal.kind == "range"]
        if ranges:
            self._refuse_literal(ranges[0], expression)
        values = [self._value(literal, expression) for literal in membership.values]
        present = [value for value in values if value is not None]
        has_null = len(present) < len(values)
        parameters += present
        folded = any(isinstance(value, str) and not value.isascii() for value in present)
        left, mark = (f"fold({sql})", "fold(?)") if folded else (sql, "?")
        marks = ", ".join([mark] * len(present))
        if negated:
            nulls = f"{sql} IS NOT NULL AND" if has_null else f"{sql} IS NULL OR"
            return f"({nulls} {left} NOT IN ({marks}))"
        return f"({left} IN ({marks}){f' OR {sql} IS NULL' if has_null else ''})"

    def _semi_join(
        self, query: soql.Query, expression: _Expression, parameters: list[Value]
    ) -> str:
        if not _is_id(expression.type):
            message = f"Semi join sub-selects need an id field, not '{expression.name}'"
            raise ApiError(400, "MALFORMED_QUERY", message)
        compiled = self.outermost(query)
        if len(compiled.columns) != 1 or not _is_id(compiled.columns[0].type):
            message = "The inner select of a semi join selects one id field"
            raise ApiError(400, "MALFORMED_QUERY", message)
        parameters += compiled.parameters
        column = compiled.columns[0].sql
        return f"SELECT * FROM (SELECT {column} AS id{compiled.tail}) WHERE id IS NOT NULL"

    # Values

    def _value(self, literal: soql.Literal, expression: _Expression) -> Value:
        """A literal as the store keeps such a value; an empty string is no value."""
        if literal.kind == "null":
            return None
        type_ = expression.type
        convert = _CONVERT.get((literal.kind, "text" if _is_text(type_) else type_))
        if convert is None:
            self._refuse_literal(literal, expression)
        if literal.kind == "string" and _is_text(type_):
            return self._unescaped(literal) or None
        try:
            return convert(literal.text)
        except ValueError:
            if _is_id(type_):
                message = f"invalid ID field: {literal.text}"
                self._refuse("INVALID_QUERY_FILTER_OPERATOR", literal.place, message)
            self._refuse_literal(literal, expression)

    def _unescaped(self, literal: soql.Literal) -> str:
        return re.sub(
            r"\\(.)", lambda match: self._escape(match, literal), literal.text, flags=re.S
        )

    def _escape(self, match: re.Match[str], literal: soql.Literal) -> str:
        character = _ESCAPES.get(match[1].lower() if match[1] in "NRTBF" else match[1])
        if character is None and match[1] in "_%":
            return match[1]
        if character is None:
            message = "Illegal character sequence in string literal"
            self._refuse("MALFORMED_QUERY", literal.place, message)
        return character

    def _pattern(self, literal: soql.Literal) -> str:
        r"""A LIKE pattern in which a backslash escapes %, _ and itself, as SQLite reads it."""

        def piece(match: re.Match[str]) -> str:
            if match[1] in "_%\\":
                return match[0]
            return self._escape(match, literal)

        return re.sub(r"\\(.)", piece, literal.text, flags=re.S)

    def _refuse_literal(self, literal: soql.Literal, expression: _Expression) -> NoReturn:
        wanted = {"datetime": "dateTime", "reference": "reference", "id": "id"}.get(
            expression.type, expression.type
        )
        enclosed = (
            "should be"
            if _is_text(expression.type) or _is_id(expression.type)
            else ("should not be")
        )
        message = (
            f"value of filter criterion for field '{expression.name}' must be of type {wanted} and "
            f"{enclosed} enclosed in quotes"
        )
        self._refuse("INVALID_FIELD", literal.place, message)

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


def _groupable(expression: _Expression) -> bool:
    if expression.field is None:
        return True
    if expression.field.formula and expression.type == "string":
        return expression.field.name == "Name"
    return expression.field.filterable and expression.type not in (
        "datetime", "double", "currency", "percent", "address",
    )  # fmt: skip


def _is_text(type_: str) -> bool:
    return type_ in ("string", "textarea", "email", "phone", "url", "picklist")


def _is_id(type_: str) -> bool:
    return type_ in ("id", "reference")


def _to_id(text: str) -> str:
    if not text:
        return ""
    if not is_id(text):
        raise ValueError("not a record id")
    return to_18(text)


def _to_boolean(text: str) -> int:
    return int(text.lower() == "true")


def _to_datetime(text: str) -> str:
    moment = datetime.fromisoformat(text.upper().replace("Z", "+00:00")).astimezone(UTC)
    return stamp(moment) + (f".{moment.microsecond:06}" if moment.microsecond else "")


def _to_date(text: str) -> str:
    return datetime.strptime(text, "%Y-%m-%d").date().isoformat()  # noqa: DTZ007  # a day has no zone


_CONVERT: dict[tuple[str, str], Callable[[str], Value]] = {
    ("string", "text"): str,
    ("string", "id"): _to_id,
    ("string", "reference"): _to_id,
    ("number", "double"): float,
    ("number", "currency"): float,
    ("number", "percent"): float,
    ("number", "int"): float,
    ("boolean", "boolean"): _to_boolean,
    ("date", "date"): _to_date,
    ("datetime", "datetime"): _to_datetime,
}
