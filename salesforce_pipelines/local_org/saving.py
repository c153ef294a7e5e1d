"""What happens around the writing of one record: rules that may refuse it, and what follows it.

A rule is a function of a `Saving`. It refuses the record by raising `RowRefusedError`, or changes
the values that are about to be written.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from salesforce_pipelines.local_org.late_rows import hide_late_row
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.save_faults import (
    refuse_delete_by_fault,
    refuse_save_by_fault,
)
from salesforce_pipelines.local_org.schema import SObject
from salesforce_pipelines.local_org.store import Value


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What a request's headers say about the records it writes.

    Attributes:
        allow_save: Save in spite of duplicate rules that only alert
            (`Sforce-Duplicate-Rule-Header: allowSave=true`).
        include_duplicates: Show the records that a duplicate rule found
            (`includeRecordDetails=true`).
        auto_assign: Let assignment rules choose the owner of a new Lead (`Sforce-Auto-Assign`).
    """

    allow_save: bool = False
    include_duplicates: bool = False
    auto_assign: bool = True


@dataclass(frozen=True, slots=True)
class Saving:
    """One record that is being written, inside the store's writing transaction.

    Attributes:
        sobject: With every field, also those that the user may not see.
        before: The record's stored values; None for a new one.
        values: The values that change, as the store keeps them; after the record was written also
            its system fields.
        record_id: None before a new record is written.
        now: The time of the write as the store keeps it.
    """

    org: Org
    connection: sqlite3.Connection
    sobject: SObject
    before: Mapping[str, Value] | None
    values: dict[str, Value]
    user_id: str
    now: str
    record_id: str | None = None
    options: WriteOptions = field(default_factory=WriteOptions)

    @property
    def is_new(self) -> bool:
        """Whether the record is being created."""
        return self.before is None

    def value(self, name: str) -> Value:
        """The value a stored field will have."""
        if name in self.values or self.before is None:
            return self.values.get(name)
        return self.before[name]

    def changes(self, name: str) -> bool:
        """Whether a stored field gets another value than it has."""
        if name not in self.values:
            return False
        return self.before is None or self.before[name] != self.values[name]


SaveRule = Callable[[Saving], None]

BEFORE_SAVE: tuple[SaveRule, ...] = (refuse_save_by_fault,)
"""Rules on a record whose values are valid, in the order of Salesforce's order of execution."""

BEFORE_DELETE: tuple[SaveRule, ...] = (refuse_delete_by_fault,)
"""Rules on a record that a user deletes, not on those that are deleted with it."""

AFTER_SAVE: tuple[SaveRule, ...] = (hide_late_row,)
"""What follows a written record, within the same transaction."""
