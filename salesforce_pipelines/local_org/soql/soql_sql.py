"""A SOQL query to SQL: names are checked against the schema, values always bound."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache, partial
from typing import NoReturn

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.metadata.schema import (
    COMPOUND_TYPES,
    ChildRelationship,
    Field,
    Schema,
    SObject,
)
from salesforce_pipelines.local_org.soql import syntax as soql
from salesforce_pipelines.local_org.soql.compiled_query import (
    Asking,
    Branch,
    ChildQuery,
    Column,
    CompiledQuery,
    Parent,
)
from salesforce_pipelines.local_org.soql.semi_joins import check_semi_joins
from salesforce_pipelines.local_org.soql.soql_conditions import Conditions, check_depth
from salesforce_pipelines.local_org.soql.soql_expressions import (
    AGGREGATES,
    DATE_FUNCTIONS,
    DATETIME_FUNCTIONS,
    Expression,
    coordinates,
    field_sql,
    first_of,
    group_key,
    label_sql,
)
from salesforce_pipelines.local_org.soql.soql_literals import ID_TYPES, TEXT_TYPES
from salesforce_pipelines.local_org.soql.soql_rollup import MOST_FIELDS, Subtotals
from salesforce_pipelines.local_org.storage.store import quoted

MAX_OFFSET = 2000
FIELDS_LIMIT = 200
MOST_PARENTS = 55
MOST_CHILD_QUERIES = 20
DEEPEST_PATH = 5
_CHILD_LEVELS = 4
_LARGEST_PAGE, _PAGE_OF_LONG_TEXTS = 2000, 200
_LONG_TEXT = 255
_CACHED_QUERIES, _LONGEST_CACHED = 256, 10_000

_SHAPING = frozenset({"TOLABEL", "FORMAT", "CONVERTTIMEZONE", "CONVERTCURRENCY"})
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
_NO_RELATIONSHIP = (
    "Didn't understand relationship '{name}' in {where}. If you are attempting to use a custom "
    "relationship, be sure to append the '__r' after the custom relationship name. Please "
    "reference your WSDL or the describe call for the appropriate names."
)


def compile_query(text: str, schema: Schema, asking: Asking) -> CompiledQuery:
    """A query's SQL.

    Raises:
        ApiError: MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD and the like.
    """
    compiling = _compiled_again if len(text) <= _LONGEST_CACHED else _compiled
    return compiling(text, schema, asking.user_id, asking.now.date(), asking.include_deleted)


def _compiled(
    text: str, schema: Schema, user_id: str, today: date, include_deleted: bool
) -> CompiledQuery:
    compiler = _Compiler(text, schema, user_id, today, include_deleted)
    return compiler.outermost(soql.parse(text))


_compiled_again = lru_cache(_CACHED_QUERIES)(_compiled)


@dataclass(frozen=True, slots=True)
class _Join:
    """A parent that a query has joined: one table for each sObject it may be of."""

    parent: Parent
    tables: tuple[tuple[str, SObject], ...]


@dataclass
class _Frame:
    """One query's tables: its own sObject as `t0` and the parents it has joined.

    Attributes:
        level: How many queries it is nested in.
        aliases: The relationships that an alias of FROM stands for.
    """

    sobject: SObject
    prefix: str
    level: int
    aliases: dict[str, tuple[str, ...]]
    tables: list[str] = field(default_factory=list)
    joined: dict[tuple[str, ...], _Join] = field(default_factory=dict)

    @property
    def own(self) -> str:
        return f"{self.prefix}0"


@dataclass(frozen=True, slots=True)
class _Grouping:
    """What GROUP BY makes of a query."""

    keys: tuple[str, ...]
    shown: tuple[str, ...]
    subtotals: Subtotals | None


class _Compiler:
    def __init__(
        self, text: str, schema: Schema, user_id: str, today: date, include_deleted: bool
    ) -> None:
        self._text = text
        self._schema = schema
        self._user_id = user_id
        self._today = today
        self._include_deleted = include_deleted
        self._frames = 0

    def outermost(self, query: soql.Query) -> CompiledQuery:
        return self._query(query, self._queried(query.source.path))

    def _queried(self, path: soql.FieldPath) -> SObject:
        name = ".".join(path.names)
        return self._schema.get(name) or self._refuse(
            "INVALID_TYPE", path.place, _NO_SOBJECT.format(name=name)
        )

    def _query(
        self, query: soql.Query, sobject: SObject, level: int = 0, of_parents: str = ""
    ) -> CompiledQuery:
        frame = self._frame(query, sobject, level)
        grouping = self._grouping(query, frame)
        items = [item for item in query.selected if isinstance(item, soql.Selected)]
        is_count = self._is_bare_count(query, items)
        is_aggregate = not is_count and _is_aggregate(query, items)
        if is_aggregate or is_count:
            self._check_aggregate(query, frame, is_count)
        columns: tuple[Column, ...] = ()
        if is_aggregate:
            columns = self._aggregate_columns(items, frame, grouping)
        elif not is_count:
            columns = self._columns(query, frame)
        children = self._children(query, sobject, level)
        conditions = Conditions(
            self._text,
            self._today,
            partial(self._tested, frame=frame, grouping=None),
            partial(self._semi_join_query, outer=sobject),
        )
        where_sql = self._where(query, frame, conditions, of_parents)
        group_sql, having_sql = self._group(query, frame, grouping, conditions)
        order_sql = self._order(query, frame, grouping, is_aggregate)
        from_sql = f" FROM {quoted(sobject.name)} {frame.own}" + "".join(frame.tables)
        parameters = conditions.parameters
        if grouping and grouping.subtotals:
            subtotals = grouping.subtotals
            from_sql = subtotals.from_sql(f"{from_sql}{where_sql}", having_sql)
            where_sql = group_sql = having_sql = ""
            parameters = parameters * subtotals.level_count
        return CompiledQuery(
            sobject=sobject,
            own=frame.own,
            columns=columns,
            parents=tuple(join.parent for join in frame.joined.values()),
            children=children,
            is_count=is_count,
            is_aggregate=is_aggregate,
            from_sql=from_sql,
            where_sql=where_sql,
            group_sql=group_sql + having_sql,
            order_sql=order_sql,
            parameters=tuple(parameters),
            limit=query.limit,
            offset=self._offset(query),
            is_grouped=grouping is not None,
            has_condition=query.where is not None,
            has_offset=query.offset is not None,
            most_rows=_most_rows(columns),
        )

    def _frame(self, query: soql.Query, sobject: SObject, level: int) -> _Frame:
        prefix = "abcdefghijklmnopqrstuvwxyz"[self._frames % 26] * (1 + self._frames // 26)
        self._frames += 1
        aliases: dict[str, tuple[str, ...]] = {}
        if sobject.reference(sobject.name) is None:
            aliases[sobject.name.lower()] = ()
        if query.source.alias:
            aliases[query.source.alias.lower()] = ()
        for joined in query.joined:
            first, *rest = joined.path.names
            start = aliases.get(first.lower())
            if start is None or not rest or not joined.alias:
                place = joined.path.place
                raise soql.unexpected(self._text, place, ".".join(joined.path.names))
            aliases[joined.alias.lower()] = (*start, *rest)
        frame = _Frame(sobject, prefix, level, aliases)
        for joined in query.joined:
            self._walk((*joined.path.names, ""), joined.path, frame)
        return frame

    # The field list

    def _columns(self, query: soql.Query, frame: _Frame) -> tuple[Column, ...]:
        columns: dict[str, Column] = {}
        for item in query.selected:
            if isinstance(item, soql.Query):
                continue
            if isinstance(item, soql.TypeOf):
                found = [self._type_of(item, frame)]
            else:
                found = self._plain_columns(query, item, frame)
            for column in found:
                if column.header.lower() in columns:
                    message = f"duplicate field selected: {column.header}"
                    raise ApiError(400, "INVALID_FIELD", message)
                columns[column.header.lower()] = column
        return tuple(columns.values())

    def _plain_columns(self, query: soql.Query, item: soql.Selected, frame: _Frame) -> list[Column]:
        operand = item.operand
        if isinstance(operand, soql.Call) and operand.name.upper() == "FIELDS":
            return self._all_fields(query, operand, frame)
        if item.alias and isinstance(operand, soql.FieldPath):
            message = "only aggregate expressions use field aliasing"
            self._refuse("MALFORMED_QUERY", operand.place, message)
        expression = self._operand(operand, frame)
        if expression.type == "distance":
            raise soql.unexpected(self._text, operand.place, expression.function)
        column = self._column(expression)
        if not item.alias:
            return [column]
        path = (*column.path[:-1], item.alias)
        return [replace(column, path=path, header=".".join(path))]

    def _column(self, expression: Expression) -> Column:
        parts: tuple[Column, ...] = ()
        if expression.type in COMPOUND_TYPES:
            parts = tuple(
                Column((part.name,), part.name, field_sql(part, expression.sql), part.type)
                for part in expression.sobject.parts.get(expression.name, ())
            )
        path = expression.path
        return Column(
            path=path,
            header=".".join(path),
            sql=expression.sql,
            type=expression.type,
            compound=parts,
            field=expression.field,
            text=expression.text if expression.function else "",
        )

    def _all_fields(self, query: soql.Query, call: soql.Call, frame: _Frame) -> list[Column]:
        kind = call.argument.names[0].upper() if isinstance(call.argument, soql.FieldPath) else ""
        if kind not in ("ALL", "STANDARD", "CUSTOM"):
            self._refuse("MALFORMED_QUERY", call.place, "FIELDS takes ALL, STANDARD or CUSTOM")
        if kind != "STANDARD" and (query.limit is None or query.limit > FIELDS_LIMIT):
            message = f"The SOQL FIELDS function must have a LIMIT of at most {FIELDS_LIMIT}"
            raise ApiError(400, "MALFORMED_QUERY", message)
        wanted = {"ALL": (True, False), "STANDARD": (False,), "CUSTOM": (True,)}[kind]
        return [
            self._column(_of_field(item, frame.sobject, frame.own, ()))
            for item in frame.sobject.fields
            if item.custom in wanted
        ]

    def _type_of(self, item: soql.TypeOf, frame: _Frame) -> Column:
        path = item.relationship
        join = self._walk((*path.names, ""), path, frame)[0]
        if join is None:
            self._no_relationship(path.names[0], path.place)
        branches = []
        for branch in item.branches:
            sobject = self._schema.get(branch.sobject)
            if sobject is None:
                continue  # The org has no such records, so there is nothing to show of them.
            tables = tuple(table for table in join.tables if table[1] is sobject)
            if not tables:
                message = _NO_SOBJECT.format(name=branch.sobject)
                self._refuse("INVALID_TYPE", branch.place, message)
            columns = self._branch_columns(branch.fields, replace(join, tables=tables))
            branches.append(Branch(sobject.key_prefix, columns))
        if item.otherwise is not None:
            branches.append(Branch(None, self._branch_columns(item.otherwise, join)))
        parent = join.parent
        header = ".".join(parent.path)
        return Column(
            path=parent.path,
            header=header,
            sql=parent.id_sql,
            type="typeof",
            branches=tuple(branches),
            sobjects=parent.sobjects,
        )

    def _branch_columns(
        self, fields: tuple[soql.FieldPath, ...], join: _Join
    ) -> tuple[Column, ...]:
        found = []
        for path in fields:
            if len(path.names) > 1:
                self._no_relationship(path.names[0], path.place)
            column = self._column(self._joined_field(path.names[0], join, path))
            found.append(replace(column, path=column.path[-1:], header=column.path[-1]))
        return tuple(found)

    def _children(self, query: soql.Query, parent: SObject, level: int) -> tuple[ChildQuery, ...]:
        queries = [item for item in query.selected if isinstance(item, soql.Query)]
        if len(queries) > MOST_CHILD_QUERIES:
            raise ApiError(
                400, "MALFORMED_QUERY", f"more than {MOST_CHILD_QUERIES} child relationships"
            )
        aliases = {parent.name.lower(), (query.source.alias or parent.name).lower()}
        return tuple(self._child(item, parent, aliases, level + 1) for item in queries)

    def _child(
        self, query: soql.Query, parent: SObject, aliases: set[str], level: int
    ) -> ChildQuery:
        path = query.source.path
        if level > _CHILD_LEVELS:
            message = (
                f"SOQL statements cannot query aggregate relationships more than {_CHILD_LEVELS} "
                "levels away from the root entity object."
            )
            self._refuse("INVALID_TYPE", path.place, message)
        names = path.names[1:] if path.names[0].lower() in aliases else path.names
        name = ".".join(names or path.names)
        relation = _child_relationship(self._schema.children(parent), name)
        child = self._schema.get(relation.child) if relation else None
        if relation is None or child is None:
            message = _NO_RELATIONSHIP.format(name=name, where="FROM part of query call")
            self._refuse("INVALID_TYPE", path.place, message)
        compiled = self._query(query, child, level, of_parents=quoted(relation.field))
        return ChildQuery(relation.name, f"{compiled.own}.{quoted(relation.field)}", compiled)

    # Fields

    def _operand(self, operand: soql.Operand, frame: _Frame) -> Expression:
        if isinstance(operand, soql.FieldPath):
            return self._field(operand, frame)
        return self._call(operand, frame)

    def _field(self, path: soql.FieldPath, frame: _Frame) -> Expression:
        join, name = self._walk(path.names, path, frame)
        if join:
            return self._joined_field(name, join, path)
        item = frame.sobject.field(name)
        if item is None:
            self._no_column(name, frame.sobject.name, path.place)
        return _of_field(item, frame.sobject, frame.own, ())

    def _joined_field(self, name: str, join: _Join, path: soql.FieldPath) -> Expression:
        """A field of a parent; of one that may be of several sObjects, the first that has it."""
        found = [
            _of_field(item, sobject, table, join.parent.path)
            for table, sobject in join.tables
            if (item := sobject.field(name))
        ]
        if name.lower() == "type" and join.parent.is_polymorphic:
            return self._type_of_parent(join)
        if not found:
            shown = "Name" if join.parent.is_polymorphic else join.tables[0][1].name
            self._no_column(name, shown, path.place)
        if found[0].type in COMPOUND_TYPES:
            return found[0]
        return replace(found[0], sql=first_of([item.sql for item in found], found[0].type))

    def _type_of_parent(self, join: _Join) -> Expression:
        """The sObject that a polymorphic parent is of: `Owner.Type`."""
        cases = " ".join(
            f"WHEN '{prefix}' THEN '{name}'" for prefix, name in join.parent.sobjects.items()
        )
        sql = f"(CASE substr({join.parent.id_sql}, 1, 3) {cases} END COLLATE NOCASE)"
        path = (*join.parent.path, "Type")
        return Expression(sql, "string", "Type", join.tables[0][1], path, text=".".join(path))

    def _walk(
        self, names: tuple[str, ...], path: soql.FieldPath, frame: _Frame
    ) -> tuple[_Join | None, str]:
        """The parent whose field a path names, after joining it; and the field's name."""
        start = frame.aliases.get(names[0].lower()) if len(names) > 1 else None
        if start is not None:
            names = (*start, *names[1:])
        if len(names) > DEEPEST_PATH + 1:
            # [?] The reference sets the limit without quoting the refusal.
            message = f"A relationship path may have {DEEPEST_PATH} levels at most"
            self._refuse("MALFORMED_QUERY", path.place, message)
        join: _Join | None = None
        for name in names[:-1]:
            join = self._joined(name, join, frame, path)
        return join, names[-1]

    def _joined(self, name: str, child: _Join | None, frame: _Frame, path: soql.FieldPath) -> _Join:
        start = child.tables if child else ((frame.own, frame.sobject),)
        found = (
            (table, reference, targets)
            for table, sobject in start
            if (reference := sobject.reference(name)) and (targets := self._targets(reference))
        )
        table, reference, targets = next(found, None) or self._no_relationship(name, path.place)
        walked = (*(child.parent.path if child else ()), reference.relationship_name or name)
        if walked not in frame.joined:
            frame.joined[walked] = self._join(walked, reference, table, targets, frame)
        return frame.joined[walked]

    def _targets(self, reference: Field) -> list[SObject]:
        """The sObjects of the org that a reference leads to, the one people are of first."""
        found = [self._schema.get(name) for name in reversed(reference.refers_to)]
        return [sobject for sobject in found if sobject]

    def _join(
        self,
        walked: tuple[str, ...],
        reference: Field,
        child: str,
        targets: list[SObject],
        frame: _Frame,
    ) -> _Join:
        if len(frame.joined) >= MOST_PARENTS:
            message = f"more than {MOST_PARENTS} child-to-parent relationships"
            raise ApiError(400, "MALFORMED_QUERY", message)
        tables, key = [], field_sql(reference, child)
        for target in targets:
            table = f"{frame.prefix}{len(frame.tables) + 1}"
            frame.tables.append(f' LEFT JOIN {quoted(target.name)} {table} ON {table}."Id" = {key}')
            tables.append((table, target))
        ids = first_of([f'{table}."Id"' for table, _ in tables], "id")
        sobjects = {target.key_prefix: target.name for target in targets}
        parent = Parent(walked, reference.name, len(reference.refers_to) > 1, sobjects, ids)
        return _Join(parent, tuple(tables))

    # Functions

    def _call(self, call: soql.Call, frame: _Frame) -> Expression:
        name = call.name.upper()
        if name == "COUNT" and not call.arguments:
            return Expression(
                "count(*)",
                "int",
                "COUNT",
                frame.sobject,
                ("COUNT",),
                function="COUNT",
                text="count()",
            )
        if name == "DISTANCE":
            return self._distance(call, frame)
        if call.argument is None:
            raise soql.unexpected(self._text, call.place, call.name)
        inner = self._operand(call.argument, frame)
        text = f"{call.name.lower()}({inner.text})"
        if name in AGGREGATES:
            return self._aggregate(name, call, inner, text)
        if name in DATE_FUNCTIONS:
            return self._date_function(name, call, inner, text)
        if name == "GROUPING":
            return replace(inner, type="int", field=None, function=name, text=text)
        if name not in _SHAPING:
            raise soql.unexpected(self._text, call.place, call.name)
        return self._shaped(name, call, inner, text)

    def _shaped(self, name: str, call: soql.Call, inner: Expression, text: str) -> Expression:
        shaped = replace(inner, function=inner.function or name, text=text)
        if name == "TOLABEL" and inner.field and inner.field.picklist:
            return replace(shaped, sql=label_sql(inner.field, inner.sql), field=None)
        if name == "FORMAT" and inner.type in COMPOUND_TYPES:
            self._refuse("MALFORMED_QUERY", call.place, f"FORMAT does not take {inner.name}")
        if name == "FORMAT" and inner.type not in TEXT_TYPES | ID_TYPES | {"boolean"}:
            scale = inner.field.scale if inner.field else 0
            sql = f"formatted({inner.sql}, '{inner.type}', {scale})"
            return replace(shaped, sql=sql, type="string", field=None)
        return shaped

    def _date_function(
        self, name: str, call: soql.Call, inner: Expression, text: str
    ) -> Expression:
        takes = ("datetime",) if name in DATETIME_FUNCTIONS else ("date", "datetime")
        if inner.type not in takes or inner.is_aggregate:
            wanted = "a dateTime" if name in DATETIME_FUNCTIONS else "a date or a dateTime"
            self._refuse("MALFORMED_QUERY", call.place, f"{name} takes {wanted}")
        template, type_ = DATE_FUNCTIONS[name]
        sql = template.replace("{}", inner.sql)
        return replace(inner, sql=sql, type=type_, name=name, field=None, function=name, text=text)

    def _aggregate(self, name: str, call: soql.Call, inner: Expression, text: str) -> Expression:
        if inner.is_aggregate or not inner.supports(name):
            message = f"field {inner.name} does not support aggregate operator {name}"
            self._refuse("MALFORMED_QUERY", call.place, message)
        collation = " COLLATE NOCASE" if inner.is_text else ""
        sql = f"({name.lower()}({inner.sql}){collation})"
        if name == "COUNT_DISTINCT":
            sql = f"count(DISTINCT {group_key(inner)})"
        type_ = {"COUNT": "int", "COUNT_DISTINCT": "int", "AVG": "double"}.get(name, inner.type)
        kept = inner.field if type_ == inner.type else None
        return replace(
            inner,
            sql=sql,
            type=type_,
            name=name,
            path=(name,),
            field=kept,
            function=name,
            text=text,
        )

    def _distance(self, call: soql.Call, frame: _Frame) -> Expression:
        """`DISTANCE(Location__c, GEOLOCATION(37.7, -122.4), 'km')`."""
        if len(call.arguments) != 3:
            raise soql.unexpected(self._text, call.place, call.name)
        place, other, unit = call.arguments
        spot = self._geolocation(other, call)
        if not isinstance(place, soql.FieldPath) or not isinstance(unit, soql.Literal):
            raise soql.unexpected(self._text, call.place, call.name)
        compound = self._field(place, frame)
        parts = coordinates(compound.sobject.parts.get(compound.name, ()))
        if compound.type not in COMPOUND_TYPES or parts is None:
            message = f"field {compound.name} does not support DISTANCE"
            self._refuse("MALFORMED_QUERY", place.place, message)
        if unit.text.lower() not in ("km", "mi"):
            message = f"Invalid distance unit: {unit.text}. Must be 'mi' or 'km'"
            self._refuse("MALFORMED_QUERY", unit.place, message)
        latitude, longitude = (field_sql(part, compound.sql) for part in parts)
        sql = f"distance({latitude}, {longitude}, {spot}, '{unit.text.lower()}')"
        return replace(compound, sql=sql, type="distance", field=None, function="DISTANCE")

    def _geolocation(
        self, value: "soql.FieldPath | soql.Call | soql.Literal", call: soql.Call
    ) -> str:
        if isinstance(value, soql.Call) and value.name.upper() == "GEOLOCATION":
            numbers = [
                float(item.text)
                for item in value.arguments
                if isinstance(item, soql.Literal) and item.kind == "number"
            ]
            if len(numbers) == len(value.arguments) == 2 and all(abs(n) <= 180 for n in numbers):
                return ", ".join(map(repr, numbers))
        raise soql.unexpected(self._text, call.place, call.name)

    # Aggregates

    def _is_bare_count(self, query: soql.Query, items: list[soql.Selected]) -> bool:
        counts = [
            item.operand
            for item in items
            if isinstance(item.operand, soql.Call)
            and item.operand.name.upper() == "COUNT"
            and not item.operand.arguments
        ]
        if counts and len(query.selected) > 1:
            message = "COUNT() must be the only element in the SELECT list"
            self._refuse("MALFORMED_QUERY", counts[0].place, message)
        return bool(counts)

    def _check_aggregate(self, query: soql.Query, frame: _Frame, is_count: bool) -> None:
        place = query.source.path.place
        if frame.level:
            message = "only root queries support aggregate expressions"
            self._refuse("MALFORMED_QUERY", place, message)
        others = [item for item in query.selected if not isinstance(item, soql.Selected)]
        if others:
            message = "Aggregate queries select neither child records nor TYPEOF"
            self._refuse("MALFORMED_QUERY", place, message)
        if is_count and query.group_by:
            message = "COUNT() cannot be used with GROUP BY"
            self._refuse("MALFORMED_QUERY", query.group_by[0].place, message)
        if is_count and query.order_by:
            self._refuse_ungrouped("Ordered field", query.order_by[0].operand)
        if not is_count and not query.group_by:
            for clause, value in (("LIMIT", query.limit), ("OFFSET", query.offset)):
                if value is not None:
                    message = (
                        "Non-grouped query that uses overall aggregate functions cannot also use "
                        f"{clause}"
                    )
                    raise ApiError(400, "MALFORMED_QUERY", message)

    def _aggregate_columns(
        self, items: list[soql.Selected], frame: _Frame, grouping: _Grouping | None
    ) -> tuple[Column, ...]:
        columns: dict[str, Column] = {}
        unnamed = 0
        for item in items:
            if _calls(item.operand, frozenset({"FIELDS"})):
                raise soql.unexpected(self._text, item.operand.place, "FIELDS")
            expression = self._grouped(item.operand, frame, grouping, "Field")
            name = item.alias
            if name is None and isinstance(item.operand, soql.Call):
                name, unnamed = f"expr{unnamed}", unnamed + 1
            name = name or expression.path[-1]
            if name.lower() in columns:
                raise ApiError(400, "MALFORMED_QUERY", f"duplicate alias: {name}")
            column = self._column(expression)
            columns[name.lower()] = replace(column, path=(name,), header=name)
        return tuple(columns.values())

    def _grouping(self, query: soql.Query, frame: _Frame) -> _Grouping | None:
        if not query.group_by:
            return None
        operands, kind = list(query.group_by), ""
        first = operands[0]
        if isinstance(first, soql.Call) and first.name.upper() in ("ROLLUP", "CUBE"):
            kind = first.name.upper()
            fields = [item for item in first.arguments if not isinstance(item, soql.Literal)]
            if len(operands) > 1 or len(fields) != len(first.arguments) or not fields:
                raise soql.unexpected(self._text, first.place, first.name)
            if len(fields) > MOST_FIELDS:
                message = f"GROUP BY {kind} takes {MOST_FIELDS} fields at most"
                self._refuse("MALFORMED_QUERY", first.place, message)
            operands = list(fields)
        expressions = [self._group_operand(operand, frame) for operand in operands]
        shown = tuple(expression.sql for expression in expressions)
        keys = tuple(group_key(expression) for expression in expressions)
        return _Grouping(keys, shown, Subtotals(kind, shown, keys) if kind else None)

    def _group_operand(self, operand: soql.Operand, frame: _Frame) -> Expression:
        expression = self._operand(operand, frame)
        is_plain = not expression.function or expression.function in DATE_FUNCTIONS
        if not expression.is_groupable or not is_plain:
            message = f"field '{expression.name}' can not be grouped in a query call"
            self._refuse("MALFORMED_QUERY", operand.place, message)
        return expression

    def _grouped(
        self, operand: soql.Operand, frame: _Frame, grouping: _Grouping | None, what: str
    ) -> Expression:
        """An operand of an aggregate query, which must be an aggregate or grouped."""
        expression = self._operand(operand, frame)
        shown = grouping.shown if grouping else ()
        subtotals = grouping.subtotals if grouping else None
        if expression.function == "GROUPING":
            if subtotals is None or expression.sql not in shown:
                self._refuse_ungrouped(what, operand)
            return replace(expression, sql=subtotals.grouping(expression.sql))
        if not expression.is_aggregate and self._unshaped(operand, frame).sql not in shown:
            self._refuse_ungrouped(what, operand)
        return (
            replace(expression, sql=subtotals.column(expression.sql)) if subtotals else expression
        )

    def _unshaped(self, operand: soql.Operand, frame: _Frame) -> Expression:
        """An operand without `toLabel()` and the like, which may be put around a grouped field."""
        while isinstance(operand, soql.Call) and operand.name.upper() in _SHAPING:
            if operand.argument is None:
                break
            operand = operand.argument
        return self._operand(operand, frame)

    def _refuse_ungrouped(self, what: str, operand: soql.Operand) -> NoReturn:
        name = ".".join(operand.names) if isinstance(operand, soql.FieldPath) else operand.name
        message = f"{what} must be grouped or aggregated: {name}"
        self._refuse("MALFORMED_QUERY", operand.place, message)

    # WHERE, GROUP BY, ORDER BY, LIMIT

    def _tested(
        self, operand: soql.Operand, frame: _Frame, grouping: _Grouping | None
    ) -> Expression:
        """An operand of WHERE, or of HAVING."""
        expression = self._operand(operand, frame)
        if grouping is None:
            if expression.is_aggregate and isinstance(operand, soql.Call):
                raise soql.unexpected(self._text, operand.place, operand.name)
        elif not expression.is_aggregate and expression.sql not in grouping.shown:
            self._refuse_ungrouped("Field", operand)
        elif expression.function == "GROUPING" and isinstance(operand, soql.Call):
            raise soql.unexpected(self._text, operand.place, operand.name)
        return expression

    def _where(
        self, query: soql.Query, frame: _Frame, conditions: Conditions, of_parents: str
    ) -> str:
        parts = []
        if of_parents:
            parts.append(f"{frame.own}.{of_parents} IN (SELECT value FROM json_each(?))")
        if query.scope and query.scope.lower() == "mine" and frame.sobject.field("OwnerId"):
            parts.append(f'{frame.own}."OwnerId" = ?')
            conditions.parameters.append(self._user_id)
        elif query.scope and query.scope.lower() != "everything":
            raise ApiError(400, "INVALID_SCOPE", f"Unsupported scope: {query.scope}")
        if frame.sobject.has_is_deleted and not self._include_deleted:
            parts.append(f'{frame.own}."IsDeleted" = 0')
        if query.where:
            check_depth(query.where)
            check_semi_joins(self._text, query.where, is_nested=frame.level > 0)
            parts.append(f"({conditions.sql(query.where)})")
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def _semi_join_query(
        self, query: soql.Query, operand: soql.Operand, outer: SObject
    ) -> CompiledQuery:
        """The query that ids are tested against."""
        left = self._id_field(operand, outer, "The left operand", "in the where expression")
        inner = self._queried(query.source.path)
        if inner is outer:
            message = "The inner and outer selects should not be on the same object type"
            self._refuse("MALFORMED_QUERY", operand.place, message)
        item = query.selected[0]
        if len(query.selected) > 1 or not isinstance(item, soql.Selected) or item.alias:
            message = "semi join sub-selects can only query one field"
            self._refuse("MALFORMED_QUERY", query.source.path.place, message)
        right = self._id_field(item.operand, inner, "The inner select field", "in the sub-select")
        if not _points_to(left, outer) & _points_to(right, inner):
            message = (
                f"The selected field '{right.name}' in the subquery and the left operand field in "
                f"the where expression in the outer query '{left.name}' should point to the same "
                "object type"
            )
            self._refuse("MALFORMED_QUERY", operand.place, message)
        if query.where:
            check_depth(query.where)
            check_semi_joins(self._text, query.where, is_nested=True)
        return self._query(query, inner)

    def _id_field(self, operand: soql.Operand, sobject: SObject, what: str, where: str) -> Field:
        names = operand.names if isinstance(operand, soql.FieldPath) else ("",)
        if len(names) > 1 and names[0].lower() == sobject.name.lower():
            names = names[1:]
        if len(names) > 1:
            message = f"{what} '{'.'.join(names)}' cannot have more than one level of relationships"
            self._refuse("MALFORMED_QUERY", operand.place, message)
        item = sobject.field(names[0])
        if item is None and isinstance(operand, soql.FieldPath):
            self._no_column(names[0], sobject.name, operand.place)
        if item is None or not item.is_id:
            name = item.name if item else getattr(operand, "name", "")
            message = f"semi join sub-selects can only query id fields, cannot use: '{name}'"
            self._refuse("MALFORMED_QUERY", operand.place, message)
        return item

    def _group(
        self,
        query: soql.Query,
        frame: _Frame,
        grouping: _Grouping | None,
        conditions: Conditions,
    ) -> tuple[str, str]:
        """GROUP BY and HAVING."""
        if grouping is None:
            if query.having:
                raise soql.unexpected(self._text, _place_of(query.having), "HAVING")
            return "", ""
        having = ""
        if query.having:
            check_depth(query.having)
            tests = Conditions(
                self._text,
                self._today,
                partial(self._tested, frame=frame, grouping=grouping),
                partial(self._semi_join_query, outer=frame.sobject),
            )
            having = f" HAVING {tests.sql(query.having)}"
            conditions.parameters += tests.parameters
        return f" GROUP BY {', '.join(grouping.keys)}", having

    def _order(
        self, query: soql.Query, frame: _Frame, grouping: _Grouping | None, is_aggregate: bool
    ) -> str:
        keys = []
        for item in query.order_by:
            operand = item.operand
            if is_aggregate:
                expression = self._grouped(operand, frame, grouping, "Ordered field")
            else:
                expression = self._operand(operand, frame)
            if expression.is_aggregate and not is_aggregate:
                self._refuse_ungrouped("Ordered field", operand)
            if not expression.is_sortable:
                message = f"field '{expression.name}' can not be sorted in a query call"
                self._refuse("MALFORMED_QUERY", operand.place, message)
            direction = "DESC" if item.descending else "ASC"
            # "By default, null values are sorted first", whatever the direction.
            first = item.nulls_first is not False
            keys.append(f"{expression.sql} {direction} NULLS {'FIRST' if first else 'LAST'}")
        if not keys:
            return ""
        if not is_aggregate:
            keys.append(f"{frame.own}._n")
        return f" ORDER BY {', '.join(keys)}"

    def _offset(self, query: soql.Query) -> int:
        if query.offset is not None and query.offset > MAX_OFFSET:
            message = f"Maximum SOQL offset allowed is {MAX_OFFSET}"
            raise ApiError(400, "NUMBER_OUTSIDE_VALID_RANGE", message)
        return query.offset or 0

    def _no_column(self, name: str, entity: str, place: soql.Place) -> NoReturn:
        self._refuse("INVALID_FIELD", place, _NO_COLUMN.format(name=name, entity=entity))

    def _no_relationship(self, name: str, place: soql.Place) -> NoReturn:
        message = _NO_RELATIONSHIP.format(name=name, where="field path")
        self._refuse("INVALID_FIELD", place, message)

    def _refuse(self, code: str, place: soql.Place, message: str) -> NoReturn:
        raise soql.positioned(code, self._text, place, message)


def _of_field(item: Field, sobject: SObject, table: str, walked: tuple[str, ...]) -> Expression:
    path = (*walked, item.name)
    sql = field_sql(item, table)
    return Expression(sql, item.type, item.name, sobject, path, item, text=".".join(path))


def _child_relationship(
    relations: Sequence[ChildRelationship], name: str
) -> ChildRelationship | None:
    named = (item for item in relations if item.name and item.name.lower() == name.lower())
    return next(named, None)


def _is_aggregate(query: soql.Query, items: list[soql.Selected]) -> bool:
    """Whether the rows are groups; a date function makes them so, as it needs to be grouped."""
    names = AGGREGATES | DATE_FUNCTIONS.keys() | {"GROUPING"}
    return bool(query.group_by) or any(_calls(item.operand, names) for item in items)


def _calls(operand: soql.Operand, names: Set[str]) -> bool:
    """Whether an operand is one of those functions, or one within another."""
    if not isinstance(operand, soql.Call):
        return False
    if operand.name.upper() in names:
        return True
    return operand.argument is not None and _calls(operand.argument, names)


def _points_to(item: Field, sobject: SObject) -> set[str]:
    """The sObjects whose ids a field holds."""
    return {sobject.name} if item.type == "id" else set(item.refers_to)


def _place_of(condition: soql.Condition) -> soql.Place:
    while not isinstance(condition, soql.Comparison | soql.Membership | soql.Inclusion):
        condition = (
            condition.condition if isinstance(condition, soql.Not) else condition.conditions[0]
        )
    return condition.operand.place


def _most_rows(columns: Sequence[Column]) -> int:
    """How many rows a page holds: few if two or more custom fields are long texts."""
    long_texts = sum(
        1
        for column in columns
        if column.field
        and column.field.custom
        and column.field.type == "textarea"
        and column.field.length > _LONG_TEXT
    )
    return _PAGE_OF_LONG_TEXTS if long_texts > 1 else _LARGEST_PAGE
