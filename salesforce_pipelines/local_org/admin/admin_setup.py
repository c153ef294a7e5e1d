"""The part of the admin interface that stands for an org's Setup: fields, rules, locks, the app.

Each handler hands the keys of the body to the function that does the work, once they fit it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, validate_call

from salesforce_pipelines.local_org.admin.admin_calls import AdminCall, AdminError
from salesforce_pipelines.local_org.metadata import metadata_changes
from salesforce_pipelines.local_org.metadata.field_kinds import FieldRequest
from salesforce_pipelines.local_org.oauth2.connected_app import app_settings, change_app_settings
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.rest import list_views
from salesforce_pipelines.local_org.saves import lead_conversion, record_locks, rule_settings

_PICKLIST_CHANGES: Mapping[str, Callable[..., Any]] = {
    "add": metadata_changes.add_picklist_value,
    "rename": metadata_changes.rename_picklist_value,
    "deactivate": metadata_changes.deactivate_picklist_value,
}


def _done(function: Callable[..., Any], org: Org, given: Mapping[str, Any]) -> Any:
    """What a function answers to keys that come from outside.

    Raises:
        AdminError: A key is missing, unknown or of another type.
    """
    checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
    with _said_by_key():
        return checked(org, **given)


@contextmanager
def _said_by_key() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        raise AdminError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


# Fields


def list_fields(call: AdminCall) -> dict[str, Any]:
    """The fields of an sObject."""
    sobject = call.org.schema.get(call.captured["sobject"])
    if sobject is None:
        raise AdminError(f"sobject: the org has no {call.captured['sobject']}", 404)
    return {
        "sobject": sobject.name,
        "fields": [
            {"name": item.name, "label": item.label, "type": item.type, "required": item.required}
            for item in sobject.fields
        ],
    }


def add_field(call: AdminCall) -> Any:
    """Add a custom field."""
    with _said_by_key():
        TypeAdapter(FieldRequest).validate_python(dict(call.body))
    return metadata_changes.add_field(call.org, **{**call.body, **call.captured})


def change_field(call: AdminCall) -> Any:
    """Make a field required (or no longer), or give it another type."""
    if not call.body:
        raise AdminError("The body is empty; give required, or type")
    if "type" in call.body:
        return _done(metadata_changes.retype_field, call.org, {**call.body, **call.captured})
    return _done(metadata_changes.make_required, call.org, {**call.body, **call.captured})


def delete_field(call: AdminCall) -> Any:
    """Delete a field."""
    return _done(metadata_changes.delete_field, call.org, call.captured)


def change_picklist(call: AdminCall) -> Any:
    """Add, rename or deactivate a value of a picklist."""
    body = dict(call.body)
    change = _PICKLIST_CHANGES.get(str(body.pop("change", None)))
    if change is None:
        raise AdminError(f"change: give one of {', '.join(_PICKLIST_CHANGES)}")
    return _done(change, call.org, {**body, **call.captured})


def change_field_access(call: AdminCall) -> Any:
    """Hide a field from a user, or make it read-only."""
    body = dict(call.body)
    user = str(body.pop("user", ""))
    found = (
        call.org.store.reader()
        .execute("SELECT Id FROM User WHERE Id = ? OR Username = ? LIMIT 1", [user, user])
        .fetchone()
    )
    if found is None:
        raise AdminError(f"user: the org has no user {user!r}; give an Id or a Username")
    readable = body.get("readable", True)
    given = {"readable": readable, "editable": readable, **body, "user_id": found[0]}
    given |= call.captured
    return _done(metadata_changes.set_field_access, call.org, given)


# Rules and locks


def list_rules(call: AdminCall) -> dict[str, Any]:
    """The rules of a kind."""
    return {"rules": _done(rule_settings.rules, call.org, call.captured)}


def add_rule(call: AdminCall) -> Any:
    """Add a rule."""
    return _done(rule_settings.add_rule, call.org, {**call.captured, "rule": dict(call.body)})


def change_rule(call: AdminCall) -> Any:
    """Change a rule."""
    given = {**call.captured, "changes": dict(call.body)}
    return _done(rule_settings.change_rule, call.org, given)


def delete_rule(call: AdminCall) -> dict[str, Any]:
    """Take a rule away."""
    _done(rule_settings.delete_rule, call.org, call.captured)
    return {}


def list_locks(call: AdminCall) -> dict[str, Any]:
    """The locks in force."""
    return {"locks": record_locks.record_locks(call.org)}


def lock_record(call: AdminCall) -> Any:
    """Lock a record."""
    return _done(_lock, call.org, call.body)


def _lock(
    org: Org,
    *,
    id: str,  # noqa: A002  # the key of the body
    kind: record_locks.LockKind = "row",
    times: int | None = None,
    until: str | None = None,
) -> Any:
    return record_locks.lock_record(org, id, kind, times, until)


def unlock_record(call: AdminCall) -> dict[str, Any]:
    """Take a record's lock away."""
    return {"unlocked": record_locks.unlock_record(call.org, call.captured["id"])}


# Conversion, list views, the connected app


def read_lead_mapping(call: AdminCall) -> Any:
    """Where a conversion copies the custom fields of a Lead."""
    return lead_conversion.lead_field_mapping(call.org)


def change_lead_mapping(call: AdminCall) -> Any:
    """Change where a conversion copies the custom fields of a Lead."""
    _done(lead_conversion.set_lead_field_mapping, call.org, {"mapping": dict(call.body)})
    return lead_conversion.lead_field_mapping(call.org)


def add_list_view(call: AdminCall) -> Any:
    """Save a list view."""
    return list_views.add_list_view(call.org, call.body)


def delete_list_view(call: AdminCall) -> dict[str, Any]:
    """Forget a list view."""
    return {"deleted": list_views.delete_list_view(call.org, call.captured["id"])}


def read_app(call: AdminCall) -> dict[str, Any]:
    """The settings of the connected app."""
    return _shown_app(asdict(app_settings(call.org.state)))


def change_app(call: AdminCall) -> dict[str, Any]:
    """Change settings of the connected app."""
    return _shown_app(asdict(change_app_settings(call.org.state, **call.body)))


def _shown_app(settings: dict[str, Any]) -> dict[str, Any]:
    certificates = settings.pop("certificates", ())
    return {**settings, "certificates": len(certificates)}
