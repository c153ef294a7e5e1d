"""Pages that show a person what is in the org, at the addresses a real org has for its records.

They need no session and are no API calls. They answer only this machine, unless the server was
started to answer anybody.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import Any

from salesforce_pipelines.local_org.bulk_api.jobs import Job, Jobs
from salesforce_pipelines.local_org.errors import ApiError, not_found
from salesforce_pipelines.local_org.http.access import is_loopback
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.http.routes import Route
from salesforce_pipelines.local_org.org import NEWEST_VERSION, Org, Settings
from salesforce_pipelines.local_org.saves.history import Entry, entries
from salesforce_pipelines.local_org.storage.ids import is_id
from salesforce_pipelines.local_org.web_pages import list_page, record_page
from salesforce_pipelines.local_org.web_pages.page_rows import names_of
from salesforce_pipelines.local_org.web_pages.page_templates import asset, label, list_address, page

_CHANGES_AT_HOME, _CALLS_AT_HOME, _JOBS_AT_HOME = 10, 8, 8
_MOST_JOBS = 200
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    # Without any referrer a browser would not say where a form comes from either.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_ASSETS = {
    "pages.css": "text/css;charset=UTF-8",
    "pages.js": "text/javascript;charset=UTF-8",
    "pages.svg": "image/svg+xml",
}


def is_page(method: str, segments: tuple[str, ...]) -> bool:
    """Whether a request is for a page, and not for an API."""
    if method == "GET" and segments and segments[0].lower() == "lightning":
        return True
    if len(segments) == 1 and not is_id(segments[0]):
        return False
    return any(route.method == method and route.match(segments) is not None for route in _ROUTES)


def may_see_pages(request_peer: str, settings: Settings) -> bool:
    """Whether pages answer a peer's address: only this machine's, unless anybody may."""
    return settings.admin_from_anywhere or is_loopback(request_peer)


def answer(call: Call, peer: str) -> Reply:
    """The page of a request, or a page that says why there is none."""
    if not may_see_pages(peer, call.org.settings):
        text = "The pages of this org answer only the machine it runs on.\n"
        return Reply(status=403, content=text.encode(), content_type="text/plain;charset=UTF-8")
    call = replace(call, user_id=call.org.store.admin_id)
    try:
        reply = _handled(call)
    except ApiError as problem:
        reply = _problem(call, problem)
    except TimeoutError:
        reply = page(
            call,
            "message.html",
            status=503,
            title="This takes too long",
            text="The org is large. Look for something more particular.",
        )
    reply.headers = _HEADERS | reply.headers
    return reply


def _handled(call: Call) -> Reply:
    for route in _ROUTES:
        captured = route.match(call.path)
        if captured is not None and route.method == call.method:
            return route.handler(replace(call, captured=captured))
    raise not_found()


def _problem(call: Call, problem: ApiError) -> Reply:
    is_missing = problem.status == 404
    return page(
        call,
        "message.html",
        status=problem.status,
        title="There is nothing here" if is_missing else "That did not work",
        text="The org has no such record, list or page." if is_missing else problem.message,
    )


# Home, jobs and calls


def home(call: Call) -> Reply:
    """`/`: what the org is, and what happened in it."""
    org = call.org
    counts = org.page_state.counts.get(org.count_rows)
    latest = entries(org.store.reader(), org.schema, None, 5 * _CHANGES_AT_HOME)
    return page(
        call,
        "home.html",
        org_id=org.store.org_id,
        address=call.host,
        client_id=org.settings.client_id,
        newest_version=f"{NEWEST_VERSION}.0",
        calls_used=org.state.calls_used(),
        calls_allowed=org.settings.daily_api_calls,
        sobjects=[(sobject, counts.get(sobject.name, 0)) for sobject in org.schema],
        changes=_changes(org, latest)[:_CHANGES_AT_HOME],
        names=names_of(org, (i for entry in latest for i in (entry.record_id, entry.user_id))),
        calls=org.call_log.newest()[:_CALLS_AT_HOME],
        jobs=_jobs(org)[:_JOBS_AT_HOME],
        users=_users(call),
    )


def _changes(org: Org, latest: list[Entry]) -> list[tuple[Entry, list[str]]]:
    """What was changed at once: one of the changes, and the labels of all of them."""
    together = groupby(latest, key=lambda entry: (entry.record_id, entry.at, entry.user_id))
    return [
        (group[0], list(dict.fromkeys(_label(org, entry) for entry in reversed(group))))
        for group in (list(entries) for _, entries in together)
    ]


def _label(org: Org, entry: Entry) -> str:
    sobject = org.schema.get(entry.sobject)
    item = sobject.field(entry.field) if sobject else None
    return label(item) if item else entry.field.lstrip("#")


def _users(call: Call) -> dict[str, str]:
    """The names of the users whose calls are listed."""
    return names_of(call.org, {one.user_id for one in call.org.call_log.newest() if one.user_id})


def show_calls(call: Call) -> Reply:
    """`/lightning/setup/ApiCalls/home`: the last calls, filtered."""
    calls = call.org.call_log.newest()
    wanted = {key: call.query.get(key, "") for key in ("api", "method", "user", "failed")}
    found = [
        one
        for one in calls
        if wanted["api"] in ("", one.api)
        and wanted["method"] in ("", one.method)
        and wanted["user"] in ("", one.user_id)
        and (not wanted["failed"] or one.status >= 400)
    ]
    return page(
        call,
        "calls.html",
        calls=found,
        wanted=wanted,
        apis=_choices((one.api for one in calls), wanted["api"]),
        methods=_choices((one.method for one in calls), wanted["method"]),
        users=_users(call),
        total=len(calls),
    )


def show_jobs(call: Call) -> Reply:
    """`/lightning/setup/AsyncApiJobStatus/home`: Bulk jobs, filtered."""
    jobs = _jobs(call.org)
    wanted = {key: call.query.get(key, "") for key in ("kind", "state", "object", "id")}
    found = [
        job
        for job in jobs
        if wanted["kind"] in ("", job.kind)
        and wanted["state"] in ("", job.state)
        and wanted["object"] in ("", str(job.body.get("object")))
        and wanted["id"] in ("", job.id)
    ]
    return page(
        call,
        "jobs.html",
        jobs=found[:_MOST_JOBS],
        total=len(jobs),
        wanted=wanted,
        kinds=_choices((job.kind for job in jobs), wanted["kind"]),
        states=_choices((job.state for job in jobs), wanted["state"]),
        objects=_choices((str(job.body.get("object")) for job in jobs), wanted["object"]),
        users=names_of(call.org, (job.private.get("user_id") for job in found)),
    )


def _jobs(org: Org) -> list[Job]:
    jobs = Jobs(org)
    both = [*jobs.all("query"), *jobs.all("ingest")]
    return sorted(both, key=lambda job: (job.body["createdDate"], job.id), reverse=True)


def _choices(values: Iterable[Any], chosen: str) -> list[str]:
    return sorted({str(value) for value in values} | ({chosen} if chosen else set()))


def show_asset(call: Call) -> Reply:
    """`/lightning/assets/pages.css` and `/lightning/assets/pages.js`."""
    name = call.path[-1].lower()
    return Reply(content=asset(name), content_type=_ASSETS[name])


def open_list(call: Call) -> Reply:
    """`/lightning/o/{sObject}/home` is the list here."""
    sobject = call.org.schema.get(call.captured["sobject"])
    if sobject is None:
        raise not_found()
    return Reply(status=302, headers={"Location": list_address(sobject)})


def open_home(call: Call) -> Reply:
    """`/lightning/page/home` is the org's start page."""
    return Reply(status=302, headers={"Location": "/"})


_ROUTES: tuple[Route, ...] = (
    Route("GET", "", home),
    *(Route("GET", f"lightning/assets/{name}", show_asset) for name in _ASSETS),
    Route("GET", "lightning/setup/AsyncApiJobStatus/home", show_jobs),
    Route("GET", "lightning/setup/ApiCalls/home", show_calls),
    Route("GET", "lightning", open_home),
    Route("GET", "lightning/page/home", open_home),
    Route("GET", "lightning/o/{sobject}/home", open_list),
    Route("GET", "lightning/o/{sobject}/list", list_page.show),
    Route("GET", "lightning/r/{sobject}/{id}/view", record_page.show),
    Route("GET", "lightning/r/{sobject}/{id}/edit", record_page.edit),
    Route("POST", "lightning/r/{sobject}/{id}/edit", record_page.save),
    Route("POST", "lightning/r/{sobject}/{id}/delete", record_page.delete),
    Route("GET", "lightning/r/{id}/view", record_page.redirect),
    Route("GET", "{id}", record_page.redirect),
)
