"""What the admin interface does by itself: clock, limits, faults, sessions, and what happened."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from salesforce_pipelines.local_org.admin.admin_calls import AdminCall, AdminError
from salesforce_pipelines.local_org.admin.fault_kinds import FaultError, describe_kinds
from salesforce_pipelines.local_org.bulk_api.jobs import TERMINAL, Jobs
from salesforce_pipelines.local_org.housekeeping import tidy
from salesforce_pipelines.local_org.http.whole_numbers import whole_number
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves.recycle_bin import empty_bin

_SHOWN_CALLS = 100

# Clock


def read_clock(call: AdminCall) -> dict[str, Any]:
    """The org's time and how it differs from the machine's."""
    setting = call.org.clock.setting
    return {
        "now": call.org.clock().isoformat().replace("+00:00", "Z"),
        "offset_seconds": setting.offset_seconds,
        "frozen": setting.frozen_at is not None,
    }


def change_clock(call: AdminCall) -> dict[str, Any]:
    """Move, set, stop or start the clock."""
    call.check_keys("move_by_seconds", "offset_seconds", "now", "frozen")
    moved_by, offset = call.number("move_by_seconds"), call.number("offset_seconds")
    moment = _moment(call.body["now"]) if "now" in call.body else None
    frozen = call.body.get("frozen")
    if "frozen" in call.body and not isinstance(frozen, bool):
        raise AdminError("frozen: give true or false")
    if sum(value is not None for value in (moved_by, offset, moment)) > 1:
        raise AdminError("now: give only one of move_by_seconds, offset_seconds and now")
    clock = call.org.clock
    try:
        if moved_by is not None:
            clock.move_by(moved_by)
        if offset is not None:
            clock.set_offset(offset)
        if moment is not None:
            clock.set_now(moment)
    except ValueError as error:
        raise AdminError(f"{next(iter(call.body))}: {error}") from None
    if isinstance(frozen, bool):
        clock.set_frozen(frozen)
    _follow_clock(call.org)
    return read_clock(call)


def _moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise AdminError("now: give a time such as 2027-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _follow_clock(org: Org) -> None:
    tidy(org)
    for waits in org.work_waits.values():
        waits.set()


# Limits


def read_limits(call: AdminCall) -> dict[str, int]:
    """The limits of 24 hours, and what is used of them."""
    org = call.org
    return {
        "api_calls_used": org.state.calls_used(),
        "daily_api_calls": org.settings.daily_api_calls,
        "bulk_query_jobs_used": org.limits.bulk_query_jobs.used(),
        "daily_bulk_query_jobs": org.limits.daily_bulk_query_jobs,
        "bulk_query_mb_used": org.limits.bulk_query_mb_used,
        "daily_bulk_query_mb": org.limits.daily_bulk_query_mb,
    }


def change_limits(call: AdminCall) -> dict[str, int]:
    """Change limits, or what is used of them."""
    call.check_keys(*read_limits(call))
    given = {key: call.whole_number(key) for key in call.body}
    org, limits = call.org, call.org.limits
    if (calls := given.get("api_calls_used")) is not None:
        org.state.set_calls_used(calls)
    if (most := given.get("daily_api_calls")) is not None:
        org.settings = replace(org.settings, daily_api_calls=most)
    if (jobs := given.get("bulk_query_jobs_used")) is not None:
        limits.bulk_query_jobs.set(jobs)
    if (megabytes := given.get("bulk_query_mb_used")) is not None:
        limits.set_bulk_query_mb_used(megabytes)
    limits.daily_bulk_query_jobs = _or(
        given.get("daily_bulk_query_jobs"), limits.daily_bulk_query_jobs
    )
    limits.daily_bulk_query_mb = _or(given.get("daily_bulk_query_mb"), limits.daily_bulk_query_mb)
    return read_limits(call)


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


# Faults


def list_fault_kinds(call: AdminCall) -> dict[str, Any]:
    """Every kind of fault, and what it can be told."""
    return describe_kinds()


def list_faults(call: AdminCall) -> dict[str, Any]:
    """The faults with their counters."""
    return {"faults": [fault.shown() for fault in call.org.faults.all()]}


def add_fault(call: AdminCall) -> dict[str, Any]:
    """Ask for a fault."""
    org, given = call.org, dict(call.body)
    sobject = org.schema.get(str(given["sobject"])) if "sobject" in given else None
    if "sobject" in given and sobject is None:
        raise AdminError(f"sobject: the org has no {given['sobject']}")
    if sobject is not None:
        given["sobject"] = sobject.name
    if isinstance(given.get("user"), str):
        given["user"] = _user_id(org, given["user"])
    try:
        if given.get("kind") == "late_rows" and sobject is not None:
            return org.late_rows.add_fault(given, sobject).shown()
        return org.faults.add(given).shown()
    except FaultError as error:
        raise AdminError(str(error)) from None


def read_fault(call: AdminCall) -> dict[str, Any]:
    """One fault with its counters."""
    fault = call.org.faults.get(call.captured["id"])
    if fault is None:
        raise AdminError("There is no such fault", 404)
    return fault.shown()


def delete_fault(call: AdminCall) -> dict[str, Any]:
    """Withdraw one fault; a job that it holds goes on."""
    shown = read_fault(call)
    call.org.faults.remove(call.captured["id"])
    _follow_faults(call.org)
    return shown


def delete_faults(call: AdminCall) -> dict[str, Any]:
    """Withdraw every fault."""
    shown = list_faults(call)
    for fault in shown["faults"]:
        call.org.faults.remove(fault["id"])
    _follow_faults(call.org)
    return shown


def _follow_faults(org: Org) -> None:
    org.late_rows.catch_up()
    for waits in org.work_waits.values():
        waits.set()


def _user_id(org: Org, given: str) -> str:
    """The id of the user with that id or Username."""
    row = (
        org.store.reader()
        .execute("SELECT Id FROM User WHERE Id = ? OR Username = ?", [given, given])
        .fetchone()
    )
    if row is None:
        raise AdminError("user: the org has no User with this Id or Username")
    return str(row[0])


# The state of the org


def expire_sessions(call: AdminCall) -> dict[str, int]:
    """End every session; refresh tokens stay valid."""
    call.check_keys()
    return {"ended": call.org.sessions.end()}


def empty_recycle_bin(call: AdminCall) -> dict[str, int]:
    """Remove deleted records for good."""
    call.check_keys()
    return empty_bin(call.org)


def list_calls(call: AdminCall) -> dict[str, Any]:
    """The newest API calls, and how many there were of each kind."""
    most = whole_number(call.query.get("limit", str(_SHOWN_CALLS)))
    if most is None:
        raise AdminError("limit: give a whole number of at most 18 digits")
    return call.org.call_log.shown(most)


def list_not_understood(call: AdminCall) -> dict[str, Any]:
    """Requests that the org did not understand, each once."""
    return {"requests": call.org.call_log.not_understood()}


def forget_not_understood(call: AdminCall) -> dict[str, Any]:
    """Begin the list of requests that were not understood anew."""
    call.org.call_log.forget_not_understood()
    return {"requests": []}


def list_jobs(call: AdminCall) -> dict[str, Any]:
    """The Bulk jobs of the org, the newest first."""
    jobs = Jobs(call.org)
    return {
        "jobs": [
            {"kind": job.kind, "state": job.state, "done": job.state in TERMINAL, **job.body}
            for kind in ("query", "ingest")
            for job in jobs.all(kind)
        ]
    }
