"""SOQL text to a syntax tree."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, NoReturn, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedEOF, UnexpectedToken
from lark.exceptions import VisitError

from salesforce_pipelines.local_org.errors import ApiError

LONGEST_QUERY = 100_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the text something stands; both count from 1."""

    row: int
    column: int


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A field, reached through zero or more relationships: `Account.Owner.Name`."""

    names: tuple[str, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Call:
    """A function of a field, or of nothing: `COUNT()`, `toLabel(Status)`, `FIELDS(ALL)`."""

    name: str
    argument: "FieldPath | Call | None"
    place: Place


Operand = FieldPath | Call


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written in the query.

    Attributes:
        kind: string, number, boolean, null, date, datetime or range.
        text: As written; strings without quotes but with their escapes.
    """

    kind: str
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field compared with one value; the operator is one of = != < <= > >= LIKE."""

    operand: Operand
    operator: str
    value: Literal


@dataclass(frozen=True, slots=True)
class Membership:
    """A field tested against a list of values or the results of another query."""

    operand: Operand
    negated: bool
    values: "tuple[Literal, ...] | Query"


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A multi-select picklist tested for combinations such as 'A;B'."""

    operand: Operand
    negated: bool
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class And:
    """Conditions that must all hold."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Conditions of which one must hold."""

    conditions: tuple["Condition", ...]


Condition = Comparison | Membership | Inclusion | Not | And | Or


@dataclass(frozen=True, slots=True)
class Selected:
    """One item of the field list, with the alias it was given."""

    operand: Operand
    alias: str | None


@dataclass(frozen=True, slots=True)
class Ordering:
    """One key of ORDER BY; nulls_first is None where the query leaves it open."""

    operand: Operand
    descending: bool
    nulls_first: bool | None


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query, or a query within one."""

    selected: tuple["Selected | Query", ...]
    sobject: str
    sobject_place: Place
    alias: str | None
    scope: str | None
    where: Condition | None
    group_by: tuple[Operand, ...]
    having: Condition | None
    order_by: tuple[Ordering, ...]
    limit: int | None
    offset: int | None


def parse(text: str) -> Query:
    """The syntax tree of a query.

    Raises:
        ApiError: MALFORMED_QUERY, with the place in the text.
    """
    if len(text) > LONGEST_QUERY:
        raise ApiError(
            400, "QUERY_TOO_COMPLICATED", "Query is too long: more than 100,000 characters"
        )
    try:
        query = cast(Query, _parser().parse(text))
    except UnexpectedCharacters as error:
        found = text[error.pos_in_stream : (error.pos_in_stream or 0) + 1]
        _malformed(text, Place(error.line, error.column), f"unexpected token: '{found}'")
    except UnexpectedEOF:
        _malformed(text, _end(text), "unexpected token: '<EOF>'")
    except UnexpectedToken as error:
        if error.token.type == "$END":
            _malformed(text, _end(text), "unexpected token: '<EOF>'")
        _malformed(text, Place(error.line, error.column), f"unexpected token: '{error.token}'")
    except VisitError as error:
        if isinstance(error.orig_exc, ApiError):
            raise error.orig_exc from None
        raise
    return query


def positioned(code: str, text: str, place: Place, message: str) -> ApiError:
    """A refusal of a query that points at the place in its text."""
    lines = text.split("\n")
    line = lines[place.row - 1] if place.row <= len(lines) else ""
    start = max(0, place.column - 41)
    shown = line[start : place.column + 40]
    caret = " " * (place.column - 1 - start) + "^"
    where = f"ERROR at Row:{place.row}:Column:{place.column}"
    return ApiError(400, code, f"\n{shown}\n{caret}\n{where}\n{message}")


def _malformed(text: str, place: Place, message: str) -> NoReturn:
    raise positioned("MALFORMED_QUERY", text, place, message) from None


def _end(text: str) -> Place:
    lines = text.split("\n")
    return Place(len(lines), len(lines[-1]) + 1)


class _TreeBuilder(Transformer[Token, Query]):
    """Builds the syntax tree while the text is parsed."""

    def start(self, children: list[Query]) -> Query:
        return children[0]

    def query(self, children: list[Any]) -> Query:
        *selected, source, scope, where, _, group, having, order, limit, offset, _ = children
        (name, place), alias = source
        return Query(
            selected=tuple(selected),
            sobject=name,
            sobject_place=place,
            alias=alias,
            scope=scope,
            where=where,
            group_by=group,
            having=having,
            order_by=order,
            limit=limit,
            offset=offset,
        )

    def selected(self, children: list[Any]) -> Selected:
        operand, alias = children
        return Selected(operand, alias and str(alias))

    def child_query(self, children: list[Query]) -> Query:
        return children[0]

    def source(self, children: list[Any]) -> tuple[tuple[str, Place], str | None]:
        name, alias = children
        return (str(name), _place(name)), alias and str(alias)

    def scope(self, children: list[Token | None]) -> str | None:
        return children[0] and str(children[0])

    def where(self, children: list[Condition | None]) -> Condition | None:
        return children[0]

    having = where

    def group(self, children: list[Operand]) -> tuple[Operand, ...]:
        return tuple(children)

    def order(self, children: list[Ordering]) -> tuple[Ordering, ...]:
        return tuple(children)

    def order_item(self, children: list[Any]) -> Ordering:
        operand, direction, nulls = children
        first = None if nulls is None else nulls.upper().endswith("FIRST")
        return Ordering(operand, direction is not None and direction.upper() == "DESC", first)

    def limit(self, children: list[Token | None]) -> int | None:
        return None if children[0] is None else int(children[0])

    offset = limit

    def conjunction(self, children: list[Condition]) -> And:
        return And(tuple(children))

    def disjunction(self, children: list[Condition]) -> Or:
        return Or(tuple(children))

    def negation(self, children: list[Condition]) -> Not:
        return Not(children[0])

    def compared(self, children: list[Any]) -> Comparison:
        operand, operator, value = children
        return Comparison(operand, "!=" if operator == "<>" else str(operator), value)

    def like(self, children: list[Any]) -> Comparison:
        return Comparison(children[0], "LIKE", _string(children[1]))

    def member(self, children: list[Any]) -> Membership:
        operand, keyword, *values = children
        return Membership(operand, keyword.type == "NOT_IN", tuple(values))

    def semi_join(self, children: list[Any]) -> Membership:
        operand, keyword, query = children
        return Membership(operand, keyword.type == "NOT_IN", query)

    def includes(self, children: list[Any]) -> Inclusion:
        operand, keyword, *values = children
        return Inclusion(
            operand, keyword.type == "EXCLUDES", tuple(_string(value) for value in values)
        )

    def field(self, children: list[Token]) -> FieldPath:
        return FieldPath(tuple(children[0].split(".")), _place(children[0]))

    def call(self, children: list[Any]) -> Call:
        name, argument = children
        return Call(str(name), argument, _place(name))

    def string(self, children: list[Token]) -> Literal:
        return _string(children[0])

    def number(self, children: list[Token]) -> Literal:
        return _literal("number", children[0])

    def datetime(self, children: list[Token]) -> Literal:
        return _literal("datetime", children[0])

    def date(self, children: list[Token]) -> Literal:
        return _literal("date", children[0])

    def boolean(self, children: list[Token]) -> Literal:
        return _literal("boolean", children[0])

    def null(self, children: list[Token]) -> Literal:
        return _literal("null", children[0])

    def date_range(self, children: list[Token]) -> Literal:
        return _literal("range", children[0])


def _place(token: Token) -> Place:
    return Place(token.line or 1, token.column or 1)


def _literal(kind: str, token: Token) -> Literal:
    return Literal(kind, str(token), _place(token))


def _string(token: Token) -> Literal:
    return Literal("string", str(token)[1:-1], _place(token))


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = files("salesforce_pipelines.local_org") / "soql.lark"
    return Lark(
        grammar.read_text(encoding="utf-8"),
        parser="lalr",
        lexer="contextual",
        maybe_placeholders=True,
        transformer=_TreeBuilder(),
    )
