"""The records that stand beside picklists: a LeadStatus for each status, an OpportunityStage for
each stage."""

import sqlite3

from salesforce_pipelines.local_org.metadata.schema import Field, PicklistValue, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.storage.store import insert_statement, quoted

_RECORDS = {("Lead", "Status"): "LeadStatus", ("Opportunity", "StageName"): "OpportunityStage"}
_FIRST_NUMBERS = {"LeadStatus": 1, "OpportunityStage": 101}
"""Both sObjects have one key prefix here, so their numbers are apart."""


def rename_status(
    connection: sqlite3.Connection, sobject: SObject, item: Field, old: str, new: PicklistValue
) -> None:
    """Let the record of a renamed value follow it; other picklists have no records."""
    name = _RECORDS.get((sobject.name, item.name))
    if name:
        connection.execute(
            f"UPDATE {quoted(name)} SET MasterLabel = ?, ApiName = ? WHERE ApiName = ?",
            [new.value, new.value, old],
        )


def add_status(
    connection: sqlite3.Connection, org: Org, sobject: SObject, item: Field, value: PicklistValue
) -> None:
    """Add the record of a new value: an open stage of no probability, or an unconverted status."""
    name = _RECORDS.get((sobject.name, item.name))
    if not name:
        return
    records = org.schema[name]
    (known,) = connection.execute(
        f"SELECT count(*) FROM {quoted(name)} WHERE ApiName = ?", [value.value]
    ).fetchone()
    if known:
        return
    number, order = connection.execute(
        f"SELECT coalesce(max(_n) + 1, ?), coalesce(max(SortOrder), 0) + 1 FROM {quoted(name)}",
        [_FIRST_NUMBERS[name]],
    ).fetchone()
    now, admin = org.store.now(), org.store.admin_id
    row = {
        "Id": org.store.ids.record_id(records.key_prefix, number),
        "MasterLabel": value.value,
        "ApiName": value.value,
        "SortOrder": order,
        "CreatedDate": now,
        "CreatedById": admin,
        "LastModifiedDate": now,
        "LastModifiedById": admin,
        "SystemModstamp": now,
    }
    if name == "OpportunityStage":
        row |= {"IsActive": 1, "DefaultProbability": 0.0}
        row |= {"ForecastCategory": "Pipeline", "ForecastCategoryName": "Pipeline"}
    connection.execute(insert_statement(records, list(row)), [number, *row.values()])
