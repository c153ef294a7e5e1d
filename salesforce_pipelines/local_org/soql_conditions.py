"""The conditions of a query as SQL.

SOQL's logic has two values: a comparison with a missing value is false and its opposite true,
`!=` finds records without a value, and an empty string is no value. Negation is therefore carried
down to the comparisons, each of which is written so that it is never NULL.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import NoReturn

from salesforce_pipelines.local_org import soql
from salesforce_pipelines.local_org.compiled_query import CompiledQuery
from salesforce_pipelines.local_org.date_ranges import date_range
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.schema import COMPOUND_TYPES, Field, SObject
from salesforce_pipelines.local_org.soql_literals import (
    ID_TYPES,
    TEXT_TYPES,
    InvalidEscapeError,
    InvalidIdError,
    WrongTypeError,
    like_pattern,
    stored_value,
)
from salesforce_pipelines.local_org.store import Value

_NEGATED = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(frozen=True, slots=True)
class Expression:
    """An operand as SQL, with the type of its values.

    Attributes:
        path: The names that lead to it from the queried sObject, in their canonical spelling.
        sobject: The sObject whose field it is.
        field: That field; None for the result of a function.
    """

    sql: str
    type: str
    name: str
    sobject: SObject
    path: tuple[str, ...]
    field: Field | None = None

    @property
    def is_filterable(self) -> bool:
        """Whether conditions and orders may use it."""
        return self.type not in COMPOUND_TYPES and (self.field is None or self.field.filterable)


class Conditions:
    """Turns the conditions of one query into SQL and gathers the values bound in it.

    Args:
        text: The query, for error messages.
        today: The day that date literals are relative to.
        resolve: Gives the SQL of an operand.
        compile_inner: Compiles the query of a semi-join.
    """

    def __init__(
        self,
        text: str,
        today: date,
        resolve: Callable[[soql.Operand], Expression],
        compile_inner: Callable[[soql.Query], CompiledQuery],
    ) -> None:
        self._text = text
        self._today = today
        self._resolve = resolve
        self._compile_inner = compile_inner
        self.parameters: list[Value] = []

    def sql(self, condition: soql.Condition, negated: bool = False) -> str:
        """The SQL of a condition, or of its opposite."""
        if isinstance(condition, soql.Not):
            return self.sql(condition.condition, not negated)
        if isinstance(condition, soql.And | soql.Or):
            word = "AND" if isinstance(condition, soql.And) != negated else "OR"
            return _joined([self.sql(part, negated) for part in condition.conditions], word)
        operand = self._resolve(condition.operand)
        place = condition.operand.place
        if not operand.is_filterable:
            message = f"field '{operand.name}' can not be filtered in a query call"
            self._refuse("INVALID_FIELD", place, message)
        if isinstance(condition, soql.Comparison):
            return self._comparison(condition, operand, negated)
        if isinstance(condition, soql.Inclusion):
            message = f"'{operand.name}' is not a multi-select picklist"
            self._refuse("INVALID_QUERY_FILTER_OPERATOR", place, message)
        negated = negated != condition.negated
        if isinstance(condition.values, soql.Query):
            return self._semi_join(condition.values, operand, negated)
        return self._membership(condition.values, operand, negated)

    def _comparison(self, comparison: soql.Comparison, operand: Expression, negated: bool) -> str:
        operator, literal, sql = comparison.operator, comparison.value, operand.sql
        if operator == "LIKE":
            return self._like(literal, operand, negated)
        effective = _NEGATED[operator] if negated else operator
        if literal.kind == "range":
            return self._in_range(literal, operand, effective, negated)
        value = self._value(literal, operand)
        if value is None and effective in ("=", "!="):
            return f"{sql} IS {'NOT ' if effective == '!=' else ''}NULL"
        if value is None:
            return "1" if negated else "0"
        self.parameters.append(value)
        left, right = (f"fold({sql})", "fold(?)") if _needs_folding(value) else (sql, "?")
        if effective == "!=":
            return f"{left} IS NOT {right}"
        test = f"{left} {effective} {right}"
        return f"({test} OR {sql} IS NULL)" if negated and effective != "=" else test

    def _in_range(
        self, literal: soql.Literal, operand: Expression, operator: str, negated: bool
    ) -> str:
        bounds = date_range(literal.text, self._today)
        if bounds is None:
            self._refuse("MALFORMED_QUERY", literal.place, f"unexpected token: '{literal.text}'")
        if operand.type not in ("date", "datetime"):
            self._refuse_type(literal, operand)
        start, end = (day.isoformat() for day in bounds)
        if operand.type == "datetime":
            start, end = f"{start}T00:00:00", f"{end}T00:00:00"
        sql = operand.sql
        if operator in ("=", "!="):
            self.parameters += [start, end]
            inside = f"{sql} >= ? AND {sql} < ?"
            outside = f"{sql} < ? OR {sql} >= ? OR {sql} IS NULL"
            return f"({inside if operator == '=' else outside})"
        edge = start if operator in ("<", ">=") else end
        symbol = "<" if operator in ("<", "<=") else ">="
        self.parameters.append(edge)
        return f"({sql} {symbol} ? OR {sql} IS NULL)" if negated else f"{sql} {symbol} ?"

    def _like(self, literal: soql.Literal, operand: Expression, negated: bool) -> str:
        if operand.type not in TEXT_TYPES:
            message = f"invalid operator on {operand.type} field"
            self._refuse("INVALID_QUERY_FILTER_OPERATOR", literal.place, message)
        try:
            pattern = like_pattern(literal)
        except InvalidEscapeError:
            self._refuse_escape(literal)
        self.parameters.append(pattern)
        sql = operand.sql
        left, right = (f"fold({sql})", "fold(?)") if _needs_folding(pattern) else (sql, "?")
        test = f"{left} LIKE {right} ESCAPE '\\'"
        return f"({sql} IS NULL OR NOT {test})" if negated else test

    def _membership(
        self, literals: tuple[soql.Literal, ...], operand: Expression, negated: bool
    ) -> str:
        values = [self._value(literal, operand) for literal in literals]
        present = [value for value in values if value is not None]
        has_null = len(present) < len(values)
        self.parameters += present
        sql = operand.sql
        folds = any(map(_needs_folding, present))
        left, mark = (f"fold({sql})", "fold(?)") if folds else (sql, "?")
        marks = ", ".join([mark] * len(present))
        if negated:
            nulls = f"{sql} IS NOT NULL AND" if has_null else f"{sql} IS NULL OR"
            return f"({nulls} {left} NOT IN ({marks}))"
        return f"({left} IN ({marks}){f' OR {sql} IS NULL' if has_null else ''})"

    def _semi_join(self, query: soql.Query, operand: Expression, negated: bool) -> str:
        if operand.type not in ID_TYPES:
            message = f"Semi join sub-selects need an id field, not '{operand.name}'"
            raise ApiError(400, "MALFORMED_QUERY", message)
        compiled = self._compile_inner(query)
        if len(compiled.columns) != 1 or compiled.columns[0].type not in ID_TYPES:
            message = "The inner select of a semi join selects one id field"
            raise ApiError(400, "MALFORMED_QUERY", message)
        self.parameters += compiled.parameters
        found = f"SELECT {compiled.columns[0].sql} AS id{compiled.tail}"
        inner = f"SELECT id FROM ({found}) WHERE id IS NOT NULL"
        sql = operand.sql
        return f"({sql} IS NULL OR {sql} NOT IN ({inner}))" if negated else f"{sql} IN ({inner})"

    def _value(self, literal: soql.Literal, operand: Expression) -> Value:
        try:
            return stored_value(literal, operand.type)
        except InvalidIdError:
            message = f"invalid ID field: {literal.text}"
            self._refuse("INVALID_QUERY_FILTER_OPERATOR", literal.place, message)
        except InvalidEscapeError:
            self._refuse_escape(literal)
        except WrongTypeError:
            self._refuse_type(literal, operand)

    def _refuse_escape(self, literal: soql.Literal) -> NoReturn:
        message = "Illegal character sequence in string literal"
        self._refuse("MALFORMED_QUERY", literal.place, message)

    def _refuse_type(self, literal: soql.Literal, operand: Expression) -> NoReturn:
        wanted = "dateTime" if operand.type == "datetime" else operand.type
        is_quoted = operand.type in TEXT_TYPES | ID_TYPES
        message = (
            f"value of filter criterion for field '{operand.name}' must be of type {wanted} and "
            f"should {'' if is_quoted else 'not '}be enclosed in quotes"
        )
        self._refuse("INVALID_FIELD", literal.place, message)

    def _refuse(self, code: str, place: soql.Place, message: str) -> NoReturn:
        raise soql.positioned(code, self._text, place, message) from None


def _needs_folding(value: Value) -> bool:
    """Whether letter case must be ignored beyond ASCII, which the store does by itself."""
    return isinstance(value, str) and not value.isascii()


def _joined(parts: list[str], word: str) -> str:
    """Conditions joined in halves, as SQLite limits how deep an expression may be."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_joined(parts[:half], word)} {word} {_joined(parts[half:], word)})"
