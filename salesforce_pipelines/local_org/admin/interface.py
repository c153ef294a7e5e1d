"""The admin interface below `/local-org/`: what Salesforce cannot be asked for.

To add something, write a handler `AdminCall -> value` and a line in `ADMIN_ROUTES`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.admin import (
    admin_handlers,
    admin_setup,
    unconfirmed_handlers,
)
from salesforce_pipelines.local_org.admin.admin_access import check_access
from salesforce_pipelines.local_org.admin.admin_calls import AdminCall, AdminError, AdminHandler
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.failures import log_failure
from salesforce_pipelines.local_org.http.request_body import read_body
from salesforce_pipelines.local_org.org import Org

ROOT = "local-org"


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """Which handler answers a method and path; `{name}` captures a part.

    Attributes:
        path: Below `/local-org/`.
        doc: One line for who asks what there is.
    """

    method: str
    path: str
    doc: str
    handler: AdminHandler

    def match(self, path: str) -> dict[str, str] | None:
        """What the path's names capture; None if it does not fit."""
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None


def list_routes(call: AdminCall) -> dict[str, Any]:
    """What there is."""
    return {
        "about": "Clock, limits, faults and Setup of this local org. Send changes as JSON.",
        "routes": [
            {"method": route.method, "path": f"/{ROOT}/{route.path}", "does": route.doc}
            for route in ADMIN_ROUTES
        ],
    }


ADMIN_ROUTES: tuple[AdminRoute, ...] = (
    AdminRoute("GET", "", "what there is", list_routes),
    AdminRoute("GET", "clock", "the org's time", admin_handlers.read_clock),
    AdminRoute(
        "PATCH",
        "clock",
        "move it: move_by_seconds, offset_seconds or now; frozen: true stops it",
        admin_handlers.change_clock,
    ),
    AdminRoute("GET", "limits", "limits of 24 hours and their use", admin_handlers.read_limits),
    AdminRoute("PATCH", "limits", "change any of these numbers", admin_handlers.change_limits),
    AdminRoute(
        "GET", "fault-kinds", "the kinds of fault and their keys", admin_handlers.list_fault_kinds
    ),
    AdminRoute("GET", "faults", "the faults and how often they struck", admin_handlers.list_faults),
    AdminRoute("POST", "faults", "ask for a fault; kind is required", admin_handlers.add_fault),
    AdminRoute("DELETE", "faults", "withdraw every fault", admin_handlers.delete_faults),
    AdminRoute("GET", "faults/{id}", "one fault", admin_handlers.read_fault),
    AdminRoute("DELETE", "faults/{id}", "withdraw one fault", admin_handlers.delete_fault),
    AdminRoute("GET", "fields/{sobject}", "the fields of an sObject", admin_setup.list_fields),
    AdminRoute(
        "POST",
        "fields/{sobject}",
        "add a custom field: name (at most 40 characters before __c), type, label ...; an"
        ' auto-number is a string with auto_number, such as "R-{00000}", a formula has formula'
        " (its text), a roll-up has roll_up: true, beside the type of its values",
        admin_setup.add_field,
    ),
    AdminRoute(
        "PATCH",
        "fields/{sobject}/{field}",
        "required: true with a default, or another type with length, precision, scale",
        admin_setup.change_field,
    ),
    AdminRoute("DELETE", "fields/{sobject}/{field}", "delete a field", admin_setup.delete_field),
    AdminRoute(
        "PATCH",
        "fields/{sobject}/{field}/picklist",
        "change: add, rename or deactivate; value, new_value, label ...",
        admin_setup.change_picklist,
    ),
    AdminRoute(
        "PATCH",
        "fields/{sobject}/{field}/access",
        "field-level security: user, readable, editable",
        admin_setup.change_field_access,
    ),
    AdminRoute(
        "GET",
        "rules/{kind}",
        "validationRules, triggers, lookupFilters, duplicateRules or assignmentRules",
        admin_setup.list_rules,
    ),
    AdminRoute("POST", "rules/{kind}", "add a rule: name, sObject ...", admin_setup.add_rule),
    AdminRoute(
        "PATCH", "rules/{kind}/{name}", "change a rule, such as active", admin_setup.change_rule
    ),
    AdminRoute("DELETE", "rules/{kind}/{name}", "take a rule away", admin_setup.delete_rule),
    AdminRoute("GET", "locks", "the records that are locked", admin_setup.list_locks),
    AdminRoute(
        "POST",
        "locks",
        "lock a record: id; kind row or approval, times, until",
        admin_setup.lock_record,
    ),
    AdminRoute("DELETE", "locks/{id}", "take a record's lock away", admin_setup.unlock_record),
    AdminRoute(
        "GET",
        "lead-field-mapping",
        "where a conversion copies custom fields of a Lead",
        admin_setup.read_lead_mapping,
    ),
    AdminRoute(
        "PUT",
        "lead-field-mapping",
        'change that: {"Contact": {"Lead_Field__c": "Contact_Field__c"}}',
        admin_setup.change_lead_mapping,
    ),
    AdminRoute(
        "POST",
        "list-views",
        "save a list view: what a real org's describe of it has, developerName, label",
        admin_setup.add_list_view,
    ),
    AdminRoute("DELETE", "list-views/{id}", "forget a list view", admin_setup.delete_list_view),
    AdminRoute("GET", "app", "the settings of the connected app", admin_setup.read_app),
    AdminRoute("PATCH", "app", "change any of these settings", admin_setup.change_app),
    AdminRoute(
        "GET",
        "unconfirmed",
        "what no public source settles: each switch, its choices, what is chosen",
        unconfirmed_handlers.read_switches,
    ),
    AdminRoute(
        "PATCH",
        "unconfirmed",
        'choose otherwise: {"revoke_by_get": "refused"}',
        unconfirmed_handlers.change_switches,
    ),
    AdminRoute(
        "DELETE", "unconfirmed", "choose as a new org does", unconfirmed_handlers.reset_switches
    ),
    AdminRoute("POST", "sessions/expire", "end every session", admin_handlers.expire_sessions),
    AdminRoute(
        "POST",
        "recycle-bin/empty",
        "remove deleted records for good",
        admin_handlers.empty_recycle_bin,
    ),
    AdminRoute(
        "GET", "calls", "the newest API calls (?limit=), counts by kind", admin_handlers.list_calls
    ),
    AdminRoute("GET", "jobs", "the Bulk jobs", admin_handlers.list_jobs),
    AdminRoute(
        "GET",
        "not-understood",
        "distinct requests that were not understood",
        admin_handlers.list_not_understood,
    ),
    AdminRoute(
        "DELETE",
        "not-understood",
        "begin that list anew",
        admin_handlers.forget_not_understood,
    ),
)
"""What is answered below `/local-org/`."""


async def answer_admin(request: Request, parts: tuple[str, ...], org: Org) -> Response:
    """The response to a request below `/local-org/`.

    Args:
        parts: The decoded parts of its path below that.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    peer = request.client.host if request.client else None
    try:
        check_access(
            request.method, headers, peer, request.url.scheme, org.settings.admin_from_anywhere
        )
        route, captured = _route(request.method, "/".join(parts))
        call = AdminCall(
            org=org,
            captured=captured,
            query=dict(parse_qsl(request.url.query)),
            body=_json_object(await read_body(request)),
        )
        status, answer = 200, await run_in_threadpool(route.handler, call)
    except AdminError as refusal:
        status, answer = refusal.status, {"error": refusal.message}
    except ApiError as refusal:
        status, answer = refusal.status, {"error": refusal.message}
    except PipelineError as refusal:
        status, answer = 400, {"error": str(refusal)}
    except ClientDisconnect:
        status, answer = 400, {}
    except Exception as error:  # noqa: BLE001  # whatever goes wrong, clients get JSON
        kind = log_failure(request.method, f"/{ROOT}/…", error)
        status, answer = 400, {"error": f"The local org could not do this ({kind})"}
    content = orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return Response(
        b"" if request.method == "HEAD" else content,
        status,
        {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        "application/json",
    )


def _route(method: str, path: str) -> tuple[AdminRoute, dict[str, str]]:
    fitting = [
        (route, captured) for route in ADMIN_ROUTES if (captured := route.match(path)) is not None
    ]
    if not fitting:
        raise AdminError(f"There is no such address; GET /{ROOT}/ says what there is", 404)
    for route, captured in fitting:
        if route.method == ("GET" if method == "HEAD" else method):
            return route, captured
    allowed = ", ".join(route.method for route, _ in fitting)
    raise AdminError(f"This address takes only {allowed}", 405)


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise AdminError(
            f"The body is not JSON: line {error.lineno}, column {error.colno}"
        ) from None
    if not isinstance(value, dict):
        raise AdminError("The body must be a JSON object, such as {}")
    return value
