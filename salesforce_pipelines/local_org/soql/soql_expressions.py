"""Fields and functions of a query as SQL expressions."""

from collections.abc import Sequence
from dataclasses import dataclass

from salesforce_pipelines.local_org.metadata.schema import COMPOUND_TYPES, Field, SObject
from salesforce_pipelines.local_org.soql.soql_literals import ID_TYPES, TEXT_TYPES
from salesforce_pipelines.local_org.storage.store import quoted

AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "MIN", "MAX", "SUM", "AVG"})
NUMBER_TYPES = frozenset({"double", "currency", "percent", "int"})
# "Support for Field Types in Aggregate Functions"
_NEVER_AGGREGATED = COMPOUND_TYPES | {"boolean", "multipicklist", "encryptedstring", "time"}
_XSD_NAMES = {"datetime": "dateTime", "currency": "double", "percent": "double"}
_DAY, _DAY_OF_YEAR = "CAST(strftime('%d', {}) AS INTEGER)", "CAST(strftime('%j', {}) AS INTEGER)"
_YEAR, _MONTH = "CAST(strftime('%Y', {}) AS INTEGER)", "CAST(strftime('%m', {}) AS INTEGER)"
_QUARTER = f"(({_MONTH} + 2) / 3)"
DATE_FUNCTIONS = {
    "CALENDAR_YEAR": (_YEAR, "int"),
    "CALENDAR_QUARTER": (_QUARTER, "int"),
    "CALENDAR_MONTH": (_MONTH, "int"),
    "FISCAL_YEAR": (_YEAR, "int"),
    "FISCAL_QUARTER": (_QUARTER, "int"),
    "FISCAL_MONTH": (_MONTH, "int"),
    "DAY_IN_MONTH": (_DAY, "int"),
    "DAY_IN_WEEK": ("(CAST(strftime('%w', {}) AS INTEGER) + 1)", "int"),
    "DAY_IN_YEAR": (_DAY_OF_YEAR, "int"),
    "WEEK_IN_MONTH": (f"(({_DAY} + 6) / 7)", "int"),
    "WEEK_IN_YEAR": (f"(({_DAY_OF_YEAR} + 6) / 7)", "int"),
    "HOUR_IN_DAY": ("CAST(strftime('%H', {}) AS INTEGER)", "int"),
    "DAY_ONLY": ("date({})", "date"),
}
DATETIME_FUNCTIONS = frozenset({"HOUR_IN_DAY", "DAY_ONLY", "CONVERTTIMEZONE"})


@dataclass(frozen=True, slots=True)
class Expression:
    """An operand as SQL, with the type of its values.

    Attributes:
        sql: For a compound field, the alias of the table that has its parts.
        name: The field's name.
        sobject: The sObject whose field it is.
        path: The names that lead to it from the queried sObject, in their canonical spelling.
        field: That field; None for the result of a function that changes its values.
        function: The outermost function, in capitals; empty for a field.
        text: As it is shown where a name is needed: `Account.Name`, `avg(Amount)`.
    """

    sql: str
    type: str
    name: str
    sobject: SObject
    path: tuple[str, ...]
    field: Field | None = None
    function: str = ""
    text: str = ""

    @property
    def is_aggregate(self) -> bool:
        """Whether it is one value of a group of records."""
        return self.function in AGGREGATES or self.function == "GROUPING"

    @property
    def is_filterable(self) -> bool:
        """Whether conditions may use it."""
        if self.type in COMPOUND_TYPES or self.type == "encryptedstring":
            return False
        return self.field is None or self.field.filterable

    @property
    def is_sortable(self) -> bool:
        """Whether ORDER BY may use it."""
        return self.is_filterable and self.type != "multipicklist"

    @property
    def is_groupable(self) -> bool:
        """Whether GROUP BY may use it."""
        return self.is_sortable and (self.field is None or self.field.groupable)

    @property
    def is_text(self) -> bool:
        """Whether its values are texts, which compare without letter case."""
        return self.type in TEXT_TYPES

    @property
    def type_in_words(self) -> str:
        """Its type as refusals name it, which is the XML schema's name."""
        if self.type in ID_TYPES:
            return "ID"
        return "string" if self.is_text else _XSD_NAMES.get(self.type, self.type)

    def supports(self, aggregate: str) -> bool:
        """Whether an aggregate function takes it."""
        if self.type in _NEVER_AGGREGATED or not self.is_filterable:
            return False
        return aggregate not in ("SUM", "AVG") or self.type in NUMBER_TYPES


def field_sql(item: Field, alias: str) -> str:
    """The SQL that reads a field of the row with that alias; of a compound field, the alias."""
    if item.type in COMPOUND_TYPES:
        return alias
    if item.formula:
        collation = " COLLATE NOCASE" if item.is_text else ""
        return f"(({item.formula.sql.replace('{t}', alias)}){collation})"
    return f"{alias}.{quoted(item.name)}"


def first_of(alternatives: Sequence[str], type_: str) -> str:
    """The first of several expressions that has a value."""
    if len(alternatives) == 1:
        return alternatives[0]
    collation = " COLLATE NOCASE" if type_ in TEXT_TYPES else ""
    return f"(coalesce({', '.join(alternatives)}){collation})"


def group_key(expression: Expression) -> str:
    """What makes two records of one group: texts that differ in letter case only are equal."""
    if not expression.is_text:
        return expression.sql
    # Most texts need no call out of SQLite, which ignores the case of ASCII letters by itself.
    sql = expression.sql
    return f"(CASE WHEN {sql} GLOB '*[^ -~]*' THEN fold({sql}) ELSE {sql} END COLLATE NOCASE)"


def label_sql(item: Field, sql: str) -> str:
    """The labels of a picklist field's values, as `toLabel()` gives them."""
    labels = [(value.value, value.label) for value in item.picklist if value.value != value.label]
    if not labels:
        return sql
    if item.type == "multipicklist":
        return _labels_of_several(labels, sql)
    cases = " ".join(f"WHEN {_text(value)} THEN {_text(label)}" for value, label in labels)
    return f"(CASE {sql} {cases} ELSE {sql} END COLLATE NOCASE)"


def _labels_of_several(labels: list[tuple[str, str]], sql: str) -> str:
    """A mark keeps a label from being taken for another value while values are replaced."""
    replaced = f"(';' || {sql} || ';')"
    for value, label in labels:
        marked = f"';' || char(1) || {_text(label)} || ';'"
        replaced = f"replace({replaced}, {_text(f';{value};')}, {marked})"
    return f"(trim(replace({replaced}, char(1), ''), ';') COLLATE NOCASE)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def coordinates(parts: Sequence[Field]) -> tuple[Field, Field] | None:
    """The latitude and longitude among a compound field's parts."""
    found = {}
    for part in parts:
        for key in ("latitude", "longitude"):
            if part.name.lower().removesuffix("__s").endswith(key):
                found[key] = part
    return (found["latitude"], found["longitude"]) if len(found) == 2 else None
