"""What compiling a SOQL query gives: the pieces of its SQL and how its rows are to be shown."""

from dataclasses import dataclass
from datetime import datetime

from salesforce_pipelines.local_org.schema import SObject
from salesforce_pipelines.local_org.store import Value


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
