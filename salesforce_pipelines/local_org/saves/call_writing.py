"""The writer of a request: on behalf of its user, with what its headers ask for."""

import sqlite3

from salesforce_pipelines.local_org.http.calls import Call
from salesforce_pipelines.local_org.saves.dml import Writer
from salesforce_pipelines.local_org.saves.field_values import from_json
from salesforce_pipelines.local_org.saves.saving import WriteOptions
from salesforce_pipelines.local_org.storage.ids import is_id


def call_writer(call: Call, connection: sqlite3.Connection) -> Writer:
    """A writer of JSON values for a REST call."""
    assign = call.headers.get("sforce-auto-assign", "").strip()
    options = WriteOptions(
        allow_save=_is_on(call, "sforce-duplicate-rule-header", "allowSave", default=False),
        include_duplicates=_is_on(
            call, "sforce-duplicate-rule-header", "includeRecordDetails", default=False
        ),
        auto_assign=assign.lower() != "false",
        assignment_rule_id=assign if is_id(assign) else "",
        version=call.version,
    )
    return Writer(call.org, connection, call.user_id, from_json, options)


def _is_on(call: Call, header: str, name: str, default: bool) -> bool:
    value = call.option(header, name)
    return default if value is None else value.lower() == "true"
