"""The conditions of a query as SQL.

SOQL's logic has two values: a comparison with a missing value is false and its opposite true,
`!=` finds records without a value, and an empty string is no value. Negation is therefore carried
down to the comparisons, each of which is written so that it is never NULL.
"""

from collections.abc import Callable
from datetime import date
from typing import NoReturn

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.soql import syntax as soql
from salesforce_pipelines.local_org.soql.compiled_query import CompiledQuery
from salesforce_pipelines.local_org.soql.date_ranges import date_range
from salesforce_pipelines.local_org.soql.soql_expressions import Expression
from salesforce_pipelines.local_org.soql.soql_literals import (
    InvalidEscapeError,
    InvalidIdError,
    WrongTypeError,
    like_pattern,
    stored_value,
)
from salesforce_pipelines.local_org.storage.store import Value

DEEPEST_CONDITION = 100
_NEGATED = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
# Types that not every operator takes.
_OPERATORS = {
    "boolean": ("=", "!=", "IN"),
    "multipicklist": ("=", "!=", "IN", "INCLUDES"),
    "distance": ("<", ">"),
}


class Conditions:
    """Turns the conditions of one query into SQL and gathers the values bound in it.

    Args:
        text: The query, for error messages.
        today: The day that date literals are relative to.
        resolve: Gives the SQL of an operand.
        compile_inner: Compiles the query that an operand's ids are tested against.
    """

    def __init__(
        self,
        text: str,
        today: date,
        resolve: Callable[[soql.Operand], Expression],
        compile_inner: Callable[[soql.Query, soql.Operand], CompiledQuery],
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
            parts = [self.sql(part, negated) for part in condition.conditions]
            return _joined(parts, word)
        operand = self._resolve(condition.operand)
        place = condition.operand.place
        if not operand.is_filterable:
            message = f"field '{operand.name}' can not be filtered in a query call"
            self._refuse("INVALID_FIELD", place, message)
        self._check_operator(condition, operand)
        if isinstance(condition, soql.Comparison):
            return self._comparison(condition, operand, negated)
        negated = negated != condition.negated
        if isinstance(condition, soql.Inclusion):
            return self._inclusion(condition, operand, negated)
        if isinstance(condition.values, soql.Query):
            return self._semi_join(condition, condition.values, operand, negated)
        return self._membership(condition, condition.values, operand, negated)

    def _check_operator(
        self, test: soql.Comparison | soql.Inclusion | soql.Membership, operand: Expression
    ) -> None:
        operator = "INCLUDES" if isinstance(test, soql.Inclusion) else "IN"
        operator = test.operator if isinstance(test, soql.Comparison) else operator
        if operator == "LIKE":
            allowed = operand.is_text and operand.type != "multipicklist"
        elif operator == "INCLUDES":
            allowed = operand.type == "multipicklist"
        else:
            allowed = operator in _OPERATORS.get(operand.type, (operator,))
        if not allowed:
            kind = "id" if operand.type_in_words == "ID" else operand.type
            message = f"invalid operator on {kind} field"
            self._refuse("INVALID_QUERY_FILTER_OPERATOR", test.operand.place, message)

    def _comparison(self, comparison: soql.Comparison, operand: Expression, negated: bool) -> str:
        operator, literal, sql = comparison.operator, comparison.value, _tested(operand)
        place = comparison.operand.place
        if operator == "LIKE":
            return self._like(literal, operand, negated)
        effective = _NEGATED[operator] if negated else operator
        if literal.kind == "range":
            return self._in_range(literal, operand, effective, negated, place)
        value = self._value(literal, operand, place)
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
        self,
        literal: soql.Literal,
        operand: Expression,
        operator: str,
        negated: bool,
        place: soql.Place,
    ) -> str:
        bounds = date_range(literal.text, self._today)
        if bounds is None:
            raise soql.unexpected(self._text, literal.place, literal.text)
        if operand.type not in ("date", "datetime"):
            self._refuse_type(operand, place)
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
        try:
            pattern = like_pattern(literal)
        except InvalidEscapeError:
            self._refuse_escape(literal)
        self.parameters.append(pattern)
        sql = operand.sql
        left, right = (f"fold({sql})", "fold(?)") if _needs_folding(pattern) else (sql, "?")
        test = f"{left} LIKE {right} ESCAPE '\\'"
        return f"({sql} IS NULL OR NOT {test})" if negated else test

    def _inclusion(self, test: soql.Inclusion, operand: Expression, negated: bool) -> str:
        alternatives = []
        for literal in test.values:
            wanted = str(self._value(literal, operand, test.operand.place) or "")
            alternatives.append(
                _joined([self._selects(operand, value) for value in _several(wanted)], "AND")
            )
        includes = f"{operand.sql} IS NOT NULL AND {_joined(alternatives, 'OR')}"
        return f"(NOT ({includes}))" if negated else f"({includes})"

    def _selects(self, operand: Expression, value: str) -> str:
        """Whether one value of a multi-select picklist is selected."""
        self.parameters.append(f";{value};")
        fold = "lower" if value.isascii() else "fold"
        return f"instr({fold}(';' || {operand.sql} || ';'), {fold}(?)) > 0"

    def _membership(
        self,
        test: soql.Membership,
        literals: tuple[soql.Literal, ...],
        operand: Expression,
        negated: bool,
    ) -> str:
        place, sql = test.operand.place, _tested(operand)
        ranges = [literal for literal in literals if literal.kind == "range"]
        if ranges:
            comparisons = [soql.Comparison(test.operand, "=", literal) for literal in literals]
            parts = [self._comparison(part, operand, negated) for part in comparisons]
            return _joined(parts, "AND" if negated else "OR")
        values = [self._value(literal, operand, place) for literal in literals]
        present = [value for value in values if value is not None]
        has_null = len(present) < len(values)
        self.parameters += present
        folds = any(map(_needs_folding, present))
        left, mark = (f"fold({sql})", "fold(?)") if folds else (sql, "?")
        marks = ", ".join([mark] * len(present))
        if negated:
            nulls = f"{sql} IS NOT NULL AND" if has_null else f"{sql} IS NULL OR"
            return f"({nulls} {left} NOT IN ({marks}))"
        return f"({left} IN ({marks}){f' OR {sql} IS NULL' if has_null else ''})"

    def _semi_join(
        self, test: soql.Membership, query: soql.Query, operand: Expression, negated: bool
    ) -> str:
        compiled = self._compile_inner(query, test.operand)
        self.parameters += compiled.parameters
        found = f"SELECT {compiled.columns[0].sql} AS id{compiled.tail}"
        inner = f"SELECT id FROM ({found}) WHERE id IS NOT NULL"
        sql = operand.sql
        return f"({sql} IS NULL OR {sql} NOT IN ({inner}))" if negated else f"{sql} IN ({inner})"

    def _value(self, literal: soql.Literal, operand: Expression, place: soql.Place) -> Value:
        try:
            value = stored_value(literal, operand.type)
        except InvalidIdError:
            message = f"invalid ID field: {literal.text}"
            self._refuse("INVALID_QUERY_FILTER_OPERATOR", place, message)
        except InvalidEscapeError:
            self._refuse_escape(literal)
        except WrongTypeError:
            self._refuse_type(operand, place)
        return _in_picklist_order(value, operand) if operand.type == "multipicklist" else value

    def _refuse_escape(self, literal: soql.Literal) -> NoReturn:
        message = "Illegal character sequence in string literal"
        self._refuse("MALFORMED_QUERY", literal.place, message)

    def _refuse_type(self, operand: Expression, place: soql.Place) -> NoReturn:
        wanted = operand.type_in_words
        message = (
            f"value of filter criterion for field '{operand.name}' must be of type {wanted} and "
            f"should {'' if wanted in ('string', 'ID') else 'not '}be enclosed in quotes"
        )
        self._refuse("INVALID_FIELD", place, message)

    def _refuse(self, code: str, place: soql.Place, message: str) -> NoReturn:
        raise soql.positioned(code, self._text, place, message) from None


def check_depth(condition: soql.Condition) -> None:
    """Refuse a condition nested deeper than the functions that read it.

    Raises:
        ApiError: QUERY_TOO_COMPLICATED.
    """
    level: list[soql.Condition] = [condition]
    for _ in range(DEEPEST_CONDITION):
        level = [
            part
            for outer in level
            if isinstance(outer, soql.Not | soql.And | soql.Or)
            for part in ([outer.condition] if isinstance(outer, soql.Not) else outer.conditions)
        ]
    if level:
        raise too_complicated()


def too_complicated() -> ApiError:
    """The refusal of a query that is beyond what the database can do."""
    message = (
        "Query is either selecting too many fields or the filter conditions are too complicated."
    )
    return ApiError(400, "QUERY_TOO_COMPLICATED", message)


def _tested(operand: Expression) -> str:
    """The SQL of an operand in a condition, where a boolean without a value counts as false."""
    is_own = len(operand.path) == 1 and operand.field is not None and operand.field.formula is None
    return f"ifnull({operand.sql}, 0)" if operand.type == "boolean" and not is_own else operand.sql


def _several(value: str) -> list[str]:
    """The values that a text such as `A;B` names."""
    return [part for part in value.split(";") if part]


def _in_picklist_order(value: Value, operand: Expression) -> Value:
    """`B;A` as the store keeps it: in the order of the picklist."""
    if not isinstance(value, str) or operand.field is None:
        return value
    order = {item.value.lower(): at for at, item in enumerate(operand.field.picklist)}
    parts = sorted(_several(value), key=lambda part: order.get(part.lower(), len(order)))
    return ";".join(parts) or None


def _needs_folding(value: Value) -> bool:
    """Whether letter case must be ignored beyond ASCII, which the store does by itself."""
    return isinstance(value, str) and not value.isascii()


def _joined(parts: list[str], word: str) -> str:
    """Conditions joined in halves, as SQLite limits how deep an expression may be."""
    if not parts:
        return "0"
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_joined(parts[:half], word)} {word} {_joined(parts[half:], word)})"
