"""Which handler answers which address."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from salesforce_pipelines.local_org.admin.request_faults import answer_subrequest
from salesforce_pipelines.local_org.admin.unconfirmed import status_of
from salesforce_pipelines.local_org.bulk_api import bulk
from salesforce_pipelines.local_org.errors import ApiError, MultipleChoicesError, not_found
from salesforce_pipelines.local_org.http.calls import Call, Handler, Reply
from salesforce_pipelines.local_org.oauth2 import authorize, identity, oauth
from salesforce_pipelines.local_org.rest import (
    collections_api,
    composite,
    describe,
    list_views,
    record_trees,
    search,
)
from salesforce_pipelines.local_org.rest import rows as rest

Segments = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Which handler answers a method and path; `{name}` captures a segment.

    Attributes:
        open: Whether it needs no session.
    """

    method: str
    path: str
    handler: Handler
    open: bool = False

    def match(self, segments: Segments) -> dict[str, str] | None:
        """What the path's names capture; None if it does not fit."""
        parts = self.path.split("/") if self.path else []
        if len(parts) != len(segments):
            return None
        captured = {}
        for part, segment in zip(parts, segments, strict=True):
            if part.startswith("{"):
                captured[part[1:-1]] = segment
            elif part.lower() != segment.lower():
                return None
        return captured


def find_route(
    routes: tuple[Route, ...], method: str, segments: Segments
) -> tuple[Route, dict[str, str]]:
    """The first route that fits, and what it captures.

    Raises:
        ApiError: NOT_FOUND, or METHOD_NOT_ALLOWED.
    """
    fitting = [
        (route, captured) for route in routes if (captured := route.match(segments)) is not None
    ]
    if not fitting:
        raise not_found()
    for route, captured in fitting:
        if route.method == method:
            return route, captured
    allowed = ", ".join(sorted({route.method for route, _ in fitting}))
    message = f"HTTP Method '{method}' not allowed. Allowed are {allowed}"
    raise ApiError(405, "METHOD_NOT_ALLOWED", message)


def needs_no_session(routes: tuple[Route, ...], segments: Segments) -> bool:
    """Whether an address answers people who are not logged in."""
    return any(route.open and route.match(segments) is not None for route in routes)


def is_resource_name(segment: str) -> bool:
    """Whether a segment is a word of some route, and so says nothing about anybody."""
    return segment.lower() in _WORDS


def answer(call: Call) -> Reply:
    """The reply to a request within another one by the same user; a refusal is a reply too."""
    try:
        route, captured = find_route(DATA_ROUTES, call.method, call.path)
        sub = replace(call, captured=captured)
        return answer_subrequest(sub, lambda: route.handler(sub))
    except MultipleChoicesError as choices:
        return Reply(choices.urls, status=300)
    except ApiError as refusal:
        return Reply(refusal.body(), status=status_of(call.org.state, refusal))


def _with_subrequests(handler: Callable[[Call, Callable[[Call], Reply]], Reply]) -> Handler:
    return lambda call: handler(call, answer)


DATA_ROUTES: tuple[Route, ...] = (
    Route("GET", "", describe.resources),
    Route("GET", "limits", describe.limits),
    Route("GET", "limits/recordCount", describe.record_count),
    Route("GET", "recent", search.recent),
    Route("GET", "search", search.search),
    Route("GET", "parameterizedSearch", search.parameterized_search),
    Route("POST", "parameterizedSearch", search.parameterized_search),
    Route("GET", "tooling/query", rest.run_tooling_query),
    Route("GET", "query", rest.run_query),
    Route("GET", "queryAll", rest.run_query_all),
    Route("GET", "query/{locator}", rest.next_query_page),
    Route("GET", "queryAll/{locator}", rest.next_query_page),
    Route("GET", "sobjects", describe.describe_global),
    Route("GET", "sobjects/{sobject}", describe.basic_information),
    Route("POST", "sobjects/{sobject}", rest.create_row),
    Route("GET", "sobjects/{sobject}/describe", describe.describe),
    Route("GET", "sobjects/{sobject}/updated", rest.updated_rows),
    Route("GET", "sobjects/{sobject}/deleted", rest.deleted_rows),
    Route("GET", "sobjects/{sobject}/listviews", list_views.listing),
    Route("GET", "sobjects/{sobject}/listviews/{id}", list_views.information),
    Route("GET", "sobjects/{sobject}/listviews/{id}/describe", list_views.description),
    Route("GET", "sobjects/{sobject}/listviews/{id}/results", list_views.results),
    Route("GET", "sobjects/{sobject}/{id}", rest.read_row),
    Route("PATCH", "sobjects/{sobject}/{id}", rest.update_row),
    Route("POST", "sobjects/{sobject}/{id}", rest.upsert_row_without_id),
    Route("DELETE", "sobjects/{sobject}/{id}", rest.delete_row),
    Route("GET", "sobjects/{sobject}/{key}/{value}", rest.read_row),
    Route("PATCH", "sobjects/{sobject}/{key}/{value}", rest.upsert_row),
    Route("DELETE", "sobjects/{sobject}/{key}/{value}", rest.delete_row),
    Route("GET", "composite", composite.resources),
    Route("POST", "composite", _with_subrequests(composite.execute)),
    Route("POST", "composite/batch", _with_subrequests(composite.execute_batch)),
    Route("POST", "composite/tree/{sobject}", record_trees.create_tree),
    Route("POST", "composite/sobjects", collections_api.create),
    Route("PATCH", "composite/sobjects", collections_api.update),
    Route("DELETE", "composite/sobjects", collections_api.delete),
    Route("GET", "composite/sobjects/{sobject}", collections_api.retrieve),
    Route("POST", "composite/sobjects/{sobject}", collections_api.retrieve),
    Route("PATCH", "composite/sobjects/{sobject}/{key}", collections_api.upsert),
    Route("POST", "jobs/query", bulk.create_query_job),
    Route("GET", "jobs/query", bulk.list_query_jobs),
    Route("GET", "jobs/query/{id}", bulk.read_query_job),
    Route("PATCH", "jobs/query/{id}", bulk.change_query_job),
    Route("DELETE", "jobs/query/{id}", bulk.delete_query_job),
    Route("GET", "jobs/query/{id}/results", bulk.query_results),
    Route("GET", "jobs/query/{id}/resultPages", bulk.result_pages),
    Route("POST", "jobs/ingest", bulk.create_ingest_job),
    Route("GET", "jobs/ingest", bulk.list_ingest_jobs),
    Route("GET", "jobs/ingest/{id}", bulk.read_ingest_job),
    Route("PATCH", "jobs/ingest/{id}", bulk.change_ingest_job),
    Route("DELETE", "jobs/ingest/{id}", bulk.delete_ingest_job),
    Route("PUT", "jobs/ingest/{id}/batches", bulk.upload),
    Route("GET", "jobs/ingest/{id}/successfulResults", bulk.successful_results),
    Route("GET", "jobs/ingest/{id}/failedResults", bulk.failed_results),
    Route("GET", "jobs/ingest/{id}/unprocessedRecords", bulk.unprocessed_records),
)
"""What is answered below `/services/data/vXX.X`."""

HOST_ROUTES: tuple[Route, ...] = (
    Route("GET", "services/data", describe.versions, open=True),
    Route("GET", "services/oauth2/authorize", authorize.ask, open=True),
    Route("POST", "services/oauth2/authorize", authorize.decide, open=True),
    Route("POST", "services/oauth2/token", oauth.token, open=True),
    Route("POST", "services/oauth2/revoke", oauth.revoke, open=True),
    Route("GET", "services/oauth2/revoke", oauth.revoke, open=True),
    Route("POST", "services/oauth2/introspect", oauth.introspect, open=True),
    Route("GET", "services/oauth2/userinfo", identity.userinfo, open=True),
    Route("POST", "services/oauth2/userinfo", identity.userinfo, open=True),
    Route("GET", "id/{org}/{user}", identity.identity, open=True),
    Route("POST", "id/{org}/{user}", identity.identity, open=True),
)
"""What is answered below the host itself."""

_WORDS = frozenset(
    part.lower() for route in DATA_ROUTES + HOST_ROUTES for part in route.path.split("/")
) | {"soap", "async", "apexrest", "tooling"}
