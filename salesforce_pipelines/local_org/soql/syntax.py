"""SOQL text to a syntax tree."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken

from salesforce_pipelines.local_org.errors import ApiError

LONGEST_QUERY = 100_000
_LARGEST_WINDOW = 2**31 - 1
_SHOWN_CHARACTERS = 40
_MODES = ("SECURITY_ENFORCED", "USER_MODE", "SYSTEM_MODE")
_PURPOSES = ("VIEW", "REFERENCE", "UPDATE")
# What the language uses in other places; the lexer knows no other character by itself.
_PUNCTUATION = frozenset("*+-/=<>()[],.;:")


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
    """A function of fields and values, or of nothing: `COUNT()`, `toLabel(Status)`."""

    name: str
    arguments: "tuple[FieldPath | Call | Literal, ...]"
    place: Place

    @property
    def argument(self) -> "FieldPath | Call | None":
        """Its only argument, when that is a field or a function."""
        only = self.arguments[0] if len(self.arguments) == 1 else None
        return None if isinstance(only, Literal) else only


Operand = FieldPath | Call


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written in the query.

    Attributes:
        kind: string, number, boolean, null, date, datetime, time or range.
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
class TypeBranch:
    """The fields that TYPEOF asks for where the record is of one sObject."""

    sobject: str
    place: Place
    fields: tuple[FieldPath, ...]


@dataclass(frozen=True, slots=True)
class TypeOf:
    """`TYPEOF Owner WHEN User THEN Email ELSE Name END`.

    Attributes:
        otherwise: The fields of ELSE; None without one.
    """

    relationship: FieldPath
    branches: tuple[TypeBranch, ...]
    otherwise: tuple[FieldPath, ...] | None


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of FROM: an sObject, a relationship, or a path from an alias to a parent."""

    path: FieldPath
    alias: str | None


@dataclass(frozen=True, slots=True)
class Ordering:
    """One key of ORDER BY; nulls_first is None where the query leaves it open."""

    operand: Operand
    descending: bool
    nulls_first: bool | None


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query, or a query within one.

    Attributes:
        joined: Parents that FROM gives an alias: `FROM Contact c, c.Account a`.
    """

    selected: tuple["Selected | TypeOf | Query", ...]
    source: Source
    joined: tuple[Source, ...] = ()
    scope: str | None = None
    where: Condition | None = None
    group_by: tuple[Operand, ...] = ()
    having: Condition | None = None
    order_by: tuple[Ordering, ...] = ()
    limit: int | None = None
    offset: int | None = None


def parse(text: str) -> Query:
    """The syntax tree of a query.

    Raises:
        ApiError: MALFORMED_QUERY, with the place in the text; QUERY_TOO_COMPLICATED.
    """
    if len(text) > LONGEST_QUERY:
        raise ApiError(
            400, "QUERY_TOO_COMPLICATED", "Query is too long: more than 100,000 characters"
        )
    try:
        return cast(Query, _parser().parse(text))
    except UnexpectedCharacters as error:
        raise _unreadable(text, Place(error.line, error.column), error.pos_in_stream or 0) from None
    except UnexpectedToken as error:
        if error.token.type == "$END":
            raise unexpected(text, _end(text), "<EOF>") from None
        raise unexpected(text, Place(error.line, error.column), str(error.token)) from None
    except _MisplacedError as error:
        raise unexpected(text, error.place, error.token) from None
    except _WrongError as error:
        raise positioned("MALFORMED_QUERY", text, error.place, error.message) from None


def positioned(code: str, text: str, place: Place, message: str) -> ApiError:
    """A refusal of a query that points at the place in its text.

    Recorded answers show whole words of the line, some 40 characters to either side.
    """
    lines = text.split("\n")
    line = lines[place.row - 1] if place.row <= len(lines) else ""
    at = max(0, place.column - 1)
    start = _word_start(line, at - _SHOWN_CHARACTERS, at)
    end = _word_end(line, at + _SHOWN_CHARACTERS, at)
    caret = " " * (at - start) + "^"
    where = f"ERROR at Row:{place.row}:Column:{place.column}"
    return ApiError(400, code, f"\n{line[start:end]}\n{caret}\n{where}\n{message}")


def unexpected(text: str, place: Place, token: str) -> ApiError:
    """The refusal of a token that cannot stand where it does.

    Recorded answers count the column of an unexpected token from 0, that of a wrong field from 1.
    """
    place = Place(place.row, place.column - 1)
    return positioned("MALFORMED_QUERY", text, place, f"unexpected token: '{token}'")


def _unreadable(text: str, place: Place, at: int) -> ApiError:
    """The refusal of a character that begins no token."""
    character = text[at : at + 1]
    if character == ":":
        message = "Bind variables only allowed in Apex code"
        return positioned("MALFORMED_QUERY", text, place, message)
    if character in _PUNCTUATION:
        return unexpected(text, place, character)
    if character == "'":
        end = _end(text)
        where = Place(end.row, end.column - 1)
        what = "mismatched character '<EOF>' expecting " + "'" * 3
    else:
        where = Place(place.row, place.column - 1)
        what = f"no viable alternative at character '{character}'"
    message = f"line {where.row}:{where.column} {what}"
    return positioned("MALFORMED_QUERY", text, where, message)


def _word_start(line: str, at: int, least: int) -> int:
    """Where the first word begins that begins at a place or after it."""
    if at <= 0:
        return 0
    space = line.find(" ", at - 1, least)
    return at if space < 0 else space + 1


def _word_end(line: str, at: int, least: int) -> int:
    """Where the last word ends that ends at a place or before it."""
    if at >= len(line):
        return len(line)
    space = line.rfind(" ", least, at + 1)
    return at if space < 0 else space


def _end(text: str) -> Place:
    lines = text.split("\n")
    return Place(len(lines), len(lines[-1]) + 1)


class _MisplacedError(Exception):
    """A token that the grammar lets through but SOQL does not."""

    def __init__(self, token: Token) -> None:
        super().__init__(str(token))
        self.token, self.place = str(token), _place(token)


class _WrongError(Exception):
    """Something else that the grammar lets through."""

    def __init__(self, token: Token, message: str) -> None:
        super().__init__(message)
        self.message, self.place = message, _place(token)


class _TreeBuilder(Transformer[Token, Query]):
    """Builds the syntax tree while the text is parsed."""

    def start(self, children: list[Query]) -> Query:
        return children[0]

    def query(self, children: list[Any]) -> Query:
        *selected, sources, scope, where, _, group, having, order, limit, offset, _, _ = children
        return Query(
            selected=tuple(selected),
            source=sources[0],
            joined=sources[1:],
            scope=scope,
            where=where,
            group_by=group,
            having=having,
            order_by=order,
            limit=limit,
            offset=offset,
        )

    def inner_query(self, children: list[Any]) -> Query:
        *selected, sources, scope, where = children
        return Query(tuple(selected), sources[0], sources[1:], scope, where)

    def selected(self, children: list[Any]) -> Selected:
        operand, alias = children
        return Selected(operand, alias and str(alias))

    def child_query(self, children: list[Query]) -> Query:
        return children[0]

    def type_of(self, children: list[Any]) -> TypeOf:
        name, *branches, otherwise = children
        return TypeOf(_path(name), tuple(branches), otherwise)

    def type_branch(self, children: list[Any]) -> TypeBranch:
        name, *fields = children
        return TypeBranch(str(name), _place(name), tuple(fields))

    def type_default(self, children: list[FieldPath]) -> tuple[FieldPath, ...]:
        return tuple(children)

    def path(self, children: list[Token]) -> FieldPath:
        return _path(children[0])

    def sources(self, children: list[Source]) -> tuple[Source, ...]:
        return tuple(children)

    def source(self, children: list[Any]) -> Source:
        name, alias = children
        return Source(_path(name), alias and str(alias))

    def scope(self, children: list[Token | None]) -> str | None:
        return children[0] and str(children[0])

    def with_clause(self, children: list[Token | None]) -> None:
        if children[0] and children[0].upper() not in _MODES:
            raise _MisplacedError(children[0])

    def for_clause(self, children: list[Token]) -> None:
        for name in children:
            if name.upper() not in _PURPOSES:
                raise _MisplacedError(name)

    def all_rows(self, children: list[Token | None]) -> None:
        if children[0]:
            # [?] The words in which Apex refuses it; `queryAll` is its counterpart in REST.
            raise _WrongError(children[0], "ALL ROWS not allowed in this context")

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
        token = children[0]
        if token is None:
            return None
        if not token.isdecimal():
            raise _MisplacedError(token)
        # [?] No recorded answer; larger numbers fit no counter.
        if len(token) > len(str(_LARGEST_WINDOW)) or int(token) > _LARGEST_WINDOW:
            raise _WrongError(token, f"numeric value out of range: {token}")
        return int(token)

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
        return _path(children[0])

    def call(self, children: list[Any]) -> Call:
        name, *arguments = children
        return Call(str(name), tuple(item for item in arguments if item), _place(name))

    def string(self, children: list[Token]) -> Literal:
        return _string(children[0])

    def number(self, children: list[Token]) -> Literal:
        return _literal("number", children[0])

    def datetime(self, children: list[Token]) -> Literal:
        return _literal("datetime", children[0])

    def date(self, children: list[Token]) -> Literal:
        return _literal("date", children[0])

    def time(self, children: list[Token]) -> Literal:
        return _literal("time", children[0])

    def boolean(self, children: list[Token]) -> Literal:
        return _literal("boolean", children[0])

    def null(self, children: list[Token]) -> Literal:
        return _literal("null", children[0])

    def date_range(self, children: list[Token]) -> Literal:
        return _literal("range", children[0])


def _place(token: Token) -> Place:
    return Place(token.line or 1, token.column or 1)


def _path(token: Token) -> FieldPath:
    return FieldPath(tuple(token.split(".")), _place(token))


def _literal(kind: str, token: Token) -> Literal:
    return Literal(kind, str(token), _place(token))


def _string(token: Token) -> Literal:
    return Literal("string", str(token)[1:-1], _place(token))


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = files("salesforce_pipelines.local_org.soql") / "soql.lark"
    return Lark(
        grammar.read_text(encoding="utf-8"),
        parser="lalr",
        lexer="contextual",
        maybe_placeholders=True,
        transformer=_TreeBuilder(),
    )
