"""What compiling a SOQL query gives: the pieces of its SQL and how its rows are to be shown."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from salesforce_pipelines.local_org.metadata.schema import Field, SObject
from salesforce_pipelines.local_org.storage.store import Value


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a result row.

    Attributes:
        path: The keys that lead to it in a REST record.
        header: Its name in a Bulk CSV.
        sql: The SQLite expression that reads it.
        type: The field type that says how it is shown.
        compound: For a compound field, its part-fields; `sql` is then unused.
        branches: For TYPEOF, what is shown of each sObject; `sql` is then the record's id.
        sobjects: For TYPEOF, those the record may be of, by key prefix.
        field: The field it shows; None for what a function makes of one.
        text: What it was asked for as: `avg(Amount)`; empty for a field.
    """

    path: tuple[str, ...]
    header: str
    sql: str
    type: str
    compound: tuple["Column", ...] = ()
    branches: tuple["Branch", ...] = ()
    sobjects: Mapping[str, str] = dataclasses.field(default_factory=dict)
    field: Field | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Branch:
    """What TYPEOF shows of the records of one sObject.

    Attributes:
        key_prefix: With which their ids begin; None for all the others.
    """

    key_prefix: str | None
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Parent:
    """A record that a row reaches through a relationship; `id_sql` is NULL where there is none.

    Attributes:
        reference: The field that refers to it, such as `OwnerId`.
        is_polymorphic: It may be of several sObjects.
        sobjects: Those of them that the org has, by key prefix.
    """

    path: tuple[str, ...]
    reference: str
    is_polymorphic: bool
    sobjects: Mapping[str, str]
    id_sql: str

    @property
    def shown_type(self) -> str:
        """The type in the record's attributes: `Name` where it may be of several sObjects."""
        return "Name" if self.is_polymorphic else next(iter(self.sobjects.values()))


@dataclass(frozen=True, slots=True)
class ChildQuery:
    """A query within the field list, answered for all rows of a page at once.

    The first parameter of `compiled` is a JSON array of the ids that its records may refer to,
    and its LIMIT and OFFSET hold for each of them.

    Attributes:
        key_sql: The id that a record refers to.
    """

    name: str
    key_sql: str
    compiled: "CompiledQuery"


@dataclass(frozen=True)
class CompiledQuery:
    """A query ready to run.

    Attributes:
        own: The alias of the queried sObject's table.
        is_count: It is `SELECT COUNT()`, whose answer is only a number.
        is_aggregate: Its rows are aggregate results, not records.
        is_grouped: It has a GROUP BY.
        parameters: The values bound in `tail`.
        limit: Its LIMIT; None without one.
        offset: Its OFFSET.
        most_rows: Rows that a page of it holds at most.
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
    parameters: tuple[Value, ...]
    limit: int | None = None
    offset: int = 0
    is_grouped: bool = False
    has_condition: bool = False
    has_offset: bool = False
    most_rows: int = 2000

    @property
    def window(self) -> str:
        """LIMIT and OFFSET as SQL."""
        if self.limit is None and not self.offset:
            return ""
        return f" LIMIT {-1 if self.limit is None else self.limit} OFFSET {self.offset}"

    @property
    def is_unordered(self) -> bool:
        """Whether the order of its rows is left open, and does not decide which they are."""
        return not self.order_sql and not self.window

    @property
    def tail(self) -> str:
        """Everything after the selected columns."""
        return f"{self.unlimited}{self.window}"

    @property
    def unlimited(self) -> str:
        """The tail without LIMIT and OFFSET."""
        return f"{self.from_sql}{self.where_sql}{self.group_sql}{self.order_sql}"


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks and when: what a query's meaning depends on beside its text."""

    user_id: str
    now: datetime
    include_deleted: bool = False
