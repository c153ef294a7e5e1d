"""OpportunityHistory: one entry for a new opportunity, and one for each step it takes.

A step is a change of its stage, amount, probability or close date. See "OpportunityHistory" in the
Salesforce Object Reference.
"""

import sqlite3
from typing import TYPE_CHECKING

from salesforce_pipelines.local_org.metadata.schema import Schema
from salesforce_pipelines.local_org.storage.ids import IdFactory
from salesforce_pipelines.local_org.storage.store import insert_statement, next_number

if TYPE_CHECKING:  # it calls this module
    from salesforce_pipelines.local_org.saves.saving import Saving

_WATCHED = ("StageName", "Amount", "Probability", "CloseDate")
# A field of the opportunity that leads to the entry of its last change.
_LAST_CHANGES = {
    "Amount": "LastAmountChangedHistoryId",
    "CloseDate": "LastCloseDateChangedHistoryId",
}
_FORECAST = "(SELECT s.ForecastCategory FROM OpportunityStage s WHERE s.MasterLabel = {stage})"


def follow_saved(saving: "Saving") -> None:
    """Keep an entry of what an opportunity has become."""
    if saving.sobject.name != "Opportunity":
        return
    changed = [name for name in _WATCHED if saving.changes(name)]
    if not saving.is_new and not changed:
        return
    amount, probability = saving.value("Amount"), saving.value("Probability")
    expected = None
    if isinstance(amount, int | float) and isinstance(probability, int | float):
        expected = amount * probability / 100
    stage = saving.value("StageName")
    category = saving.connection.execute(f"SELECT {_FORECAST.format(stage='?')}", [stage])
    entry = saving.insert(
        saving.org.schema["OpportunityHistory"],
        {
            "OpportunityId": saving.record_id,
            "StageName": stage,
            "Amount": amount,
            "ExpectedRevenue": expected,
            "CloseDate": saving.value("CloseDate"),
            "Probability": probability,
            "ForecastCategory": category.fetchone()[0],
        },
    )
    if saving.is_new:
        return
    for name, link in _LAST_CHANGES.items():
        if name in changed:
            saving.connection.execute(
                f"UPDATE Opportunity SET {link} = ? WHERE Id = ?", [entry, saving.record_id]
            )


def add_entries(connection: sqlite3.Connection, schema: Schema, ids: IdFactory) -> None:
    """Give the opportunities of a new org that were generated the entry of their creation."""
    sobject = schema["OpportunityHistory"]
    number = next_number(connection, sobject)
    names = (
        *("OpportunityId", "StageName", "Amount", "ExpectedRevenue", "CloseDate", "Probability"),
        *("ForecastCategory", "CreatedDate", "CreatedById", "SystemModstamp", "IsDeleted", "Id"),
    )
    opportunities = connection.execute(
        "SELECT o.Id, o.StageName, o.Amount, o.Amount * o.Probability / 100.0, o.CloseDate,"
        f" o.Probability, {_FORECAST.format(stage='o.StageName')}, o.CreatedDate, o.CreatedById,"
        " o.CreatedDate, o.IsDeleted FROM Opportunity o ORDER BY o._n"
    )
    connection.cursor().executemany(
        insert_statement(sobject, names),
        (
            (at, *row, ids.record_id(sobject.key_prefix, at))
            for at, row in enumerate(opportunities, start=number)
        ),
    )
