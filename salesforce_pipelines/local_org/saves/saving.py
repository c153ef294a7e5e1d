"""What happens around the writing of one record: rules that may refuse it, and what follows it.

A rule is a function of a `Saving`. It refuses the record by raising `RowRefusedError`, or changes
the values that are about to be written.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from salesforce_pipelines.local_org.admin.late_rows import hide_late_row
from salesforce_pipelines.local_org.admin.save_faults import (
    refuse_delete_by_fault,
    refuse_save_by_fault,
)
from salesforce_pipelines.local_org.metadata.auto_numbers import auto_number_values
from salesforce_pipelines.local_org.metadata.schema import SObject
from salesforce_pipelines.local_org.org import NEWEST_VERSION, Org
from salesforce_pipelines.local_org.saves import (
    campaign_members,
    history,
    roll_up_stamps,
    stage_history,
)
from salesforce_pipelines.local_org.saves.assignment_rules import assign_owner
from salesforce_pipelines.local_org.saves.duplicate_rules import check_duplicate_rules
from salesforce_pipelines.local_org.saves.record_locks import check_parent_locks
from salesforce_pipelines.local_org.saves.validation_rules import (
    check_lookup_filters,
    check_validation_rules,
    run_delete_triggers,
    run_triggers,
)
from salesforce_pipelines.local_org.storage.store import Value, insert_statement, next_number


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What a request's headers say about the records it writes.

    Attributes:
        allow_save: Save in spite of duplicate rules that only alert
            (`Sforce-Duplicate-Rule-Header: allowSave=true`).
        include_duplicates: Show the records that a duplicate rule found
            (`includeRecordDetails=true`).
        auto_assign: Let assignment rules choose the owner of a new Lead (`Sforce-Auto-Assign`).
        assignment_rule_id: The assignment rule to use instead of the active one.
        version: The API version of the addresses shown.
    """

    allow_save: bool = False
    include_duplicates: bool = False
    auto_assign: bool = True
    assignment_rule_id: str = ""
    version: str = f"{NEWEST_VERSION}.0"


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

    def insert(self, sobject: SObject, values: dict[str, Value]) -> str:
        """Insert a record that comes with this one, beyond any rule; its id."""
        return insert_record(
            self.org, self.connection, sobject, values, user_id=self.user_id, now=self.now
        )

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


def insert_record(
    org: Org,
    connection: sqlite3.Connection,
    sobject: SObject,
    values: dict[str, Value],
    *,
    user_id: str,
    now: str,
) -> str:
    """Insert a record as it is; its id. Its id and system fields are added to the values."""
    number = next_number(connection, sobject)
    record_id = org.store.ids.record_id(sobject.key_prefix, number)
    values |= {"Id": record_id} | system_values(sobject, user_id, now, creating=True)
    values |= auto_number_values(sobject, number, now)
    _name_by_id(sobject, values)
    connection.execute(insert_statement(sobject, list(values)), [number, *values.values()])
    return record_id


def _name_by_id(sobject: SObject, row: dict[str, Value]) -> None:
    """A custom record that is given no name is named by its id."""
    for item in sobject.fields:
        if sobject.custom and item.name_field and item.is_stored and row.get(item.name) is None:
            row[item.name] = row["Id"]


def system_values(
    sobject: SObject, user_id: str, now: str, *, creating: bool = False
) -> dict[str, Value]:
    """The stamps of a write, as far as the sObject has them."""
    stamps: dict[str, Value] = {"CreatedDate": now, "CreatedById": user_id} if creating else {}
    stamps |= {"LastModifiedDate": now, "LastModifiedById": user_id, "SystemModstamp": now}
    return {name: value for name, value in stamps.items() if sobject.field(name)}


SaveRule = Callable[[Saving], None]

_ORG_RULES: tuple[SaveRule, ...] = (
    check_parent_locks,
    check_lookup_filters,
    run_triggers,
    check_validation_rules,
    check_duplicate_rules,
    assign_owner,
)


def apply_org_rules(saving: Saving) -> None:
    """The rules that somebody set up for the org, in the order Salesforce executes them."""
    if saving.org.save_rules.any:
        for rule in _ORG_RULES:
            rule(saving)


BEFORE_SAVE: tuple[SaveRule, ...] = (apply_org_rules, refuse_save_by_fault)
"""Rules on a record whose values are valid, in the order of Salesforce's order of execution."""

BEFORE_DELETE: tuple[SaveRule, ...] = (
    check_parent_locks,
    run_delete_triggers,
    refuse_delete_by_fault,
)
"""Rules on a record that is about to be deleted."""

AFTER_SAVE: tuple[SaveRule, ...] = (
    history.follow_saved,
    stage_history.follow_saved,
    campaign_members.follow_saved,
    roll_up_stamps.follow_saved,
    hide_late_row,
)
"""What follows a written record, within the same transaction."""
