"""A session with the org: OAuth, requests with retries, and the count of API calls."""

import re
import shutil
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import IO, Any, Literal, NoReturn

import requests
import tenacity
import urllib3

from salesforce_pipelines.config.environment import OrgEnvironment, org_environment
from salesforce_pipelines.config.models import Connection
from salesforce_pipelines.org.budget import CallBudget
from salesforce_pipelines.org.errors import (
    ApiError,
    OrgUnreachableError,
    Reaction,
    SalesforceError,
    parse_errors,
    reaction,
)

Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
_COPIED_BYTES = 1 << 18
_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")


class _RetryableError(Exception):
    """Carries the error to raise when the attempts are used up."""

    def __init__(self, final: Exception) -> None:
        super().__init__(str(final))
        self.final = final


class OrgSession:
    """An authenticated session with one org; safe to share between threads.

    Attributes:
        api_calls: Calls of this session that count against the org's daily allowance.
        bytes_read: Of results that were downloaded, unpacked.
        api_usage: (used, allowed) in the org's last 24 hours as the newest answer told, or None.
        budget: What is asked before many rows are read; None where nobody counts.
        job_timeout: How long a Bulk job is waited for.
    """

    def __init__(
        self,
        connection: Connection,
        environment: OrgEnvironment | None = None,
        *,
        attempts: int = 5,
        wait: tenacity.wait.wait_base | None = None,
        job_timeout: timedelta = timedelta(hours=3),
    ) -> None:
        """Prepare a session; the environment is read, and the org asked, at the first request.

        Args:
            connection: How to reach the org.
            environment: The secrets; by default those of this process's environment.
            attempts: How often a request is sent at the most.
            wait: The pauses between attempts; by default exponential with jitter, 30 s at most.
            job_timeout: How long a Bulk job is waited for.
        """
        self._connection = connection
        self._given = environment
        self._http = requests.Session()
        self._lock = threading.Lock()
        self._token: str | None = None
        self._instance_url = ""
        self._org_id = ""
        self._user_id = ""
        self._attempts = attempts
        self._wait = wait or tenacity.wait_random_exponential(multiplier=0.5, max=30)
        self._server_time: datetime | None = None
        self._silent = False
        self.api_calls = 0
        self.bytes_read = 0
        self.api_usage: tuple[int, int] | None = None
        self.budget: CallBudget | None = None
        self.job_timeout = job_timeout

    @cached_property
    def _environment(self) -> OrgEnvironment:
        return self._given or org_environment(self._connection)

    @property
    def login_url(self) -> str:
        """The host that gives tokens."""
        return self._environment.login_url or self._connection.login_url

    @property
    def instance_url(self) -> str:
        """The org's own host, once a token was given."""
        return self._instance_url

    @property
    def org_id(self) -> str:
        """The organization's Id, once a token was given."""
        return self._org_id

    @property
    def user_id(self) -> str:
        """The Id of the user that this session acts as, once a token was given."""
        return self._user_id

    @property
    def base_path(self) -> str:
        """The REST API's root path, with the configured version."""
        return f"/services/data/v{self._connection.api_version}"

    def server_time(self) -> datetime:
        """The org's clock, from the Date header of a fresh answer (UTC, whole seconds)."""
        # The versions resource needs no session and is not counted.
        self.request("GET", "/services/data", authenticated=False)
        if self._server_time is None:
            raise OrgUnreachableError(f"{_host(self.login_url)}: its answers carry no Date header")
        return self._server_time

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """The JSON that a resource below the REST root answers with."""
        return self.request("GET", f"{self.base_path}/{path}", params=params).json()

    def request(
        self,
        method: Method,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        replayable: bool = True,
        authenticated: bool = True,
        what: str = "",
    ) -> requests.Response:
        """An answer of 2xx; retries what may be retried, with jittered exponential back-off.

        Args:
            method: The HTTP verb.
            path: An absolute path on the org's host.
            params: Query parameters.
            json: A body sent as JSON.
            data: A body sent as it is.
            headers: Further headers.
            stream: Leave the body unread; the caller closes the answer.
            replayable: Whether sending twice does the same as sending once. If not, a request
                whose fate is unknown (no answer, 5xx) is never sent again.
            authenticated: Whether the request carries the session's token.
            what: What is being done, for messages: "describe of Contact".

        Raises:
            SalesforceError: The org refused.
            OrgUnreachableError: The org did not answer, or not as Salesforce does.
        """
        what = what or f"{method} {path}"

        def send() -> requests.Response:
            return self._send_refreshing(
                method, path, what, replayable, authenticated,
                params=params, json=json, data=data, headers=dict(headers or {}), stream=stream,
            )  # fmt: skip

        try:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(_RetryableError),
                # Who was told that the org does not answer need not wait for it once more.
                stop=tenacity.stop_after_attempt(1 if self._silent else self._attempts),
                wait=self._wait,
                reraise=True,
            ):
                with attempt:
                    response = send()
                    self._silent = False
                    return response
        except _RetryableError as error:
            self._silent = isinstance(error.final, OrgUnreachableError)
            raise error.final from error.final.__cause__
        raise AssertionError("tenacity either returns or raises")

    def download(
        self,
        path: str,
        target: IO[bytes],
        *,
        params: Mapping[str, str] | None = None,
        what: str = "",
    ) -> Mapping[str, str]:
        """Write the whole body of an answer to a file; the answer's headers.

        A body that breaks off is fetched anew, as a request without an answer is sent again.

        Raises:
            SalesforceError: The org refused.
            OrgUnreachableError: The org did not answer, or every body broke off.
        """
        what = what or path
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_RetryableError),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=self._wait,
            retry_error_callback=_raise_final,
        ):
            with attempt:
                target.seek(0)
                target.truncate()
                return self._download(path, target, params, what)
        raise AssertionError("tenacity either returns or raises")

    def _download(
        self, path: str, target: IO[bytes], params: Mapping[str, str] | None, what: str
    ) -> Mapping[str, str]:
        response = self.request(
            "GET", path, params=params, stream=True, headers={"Accept-Encoding": "gzip"}, what=what
        )
        with response:
            response.raw.decode_content = True
            try:
                shutil.copyfileobj(response.raw, target, _COPIED_BYTES)
            except urllib3.exceptions.HTTPError as error:
                final = OrgUnreachableError(
                    f"{what}: the connection broke in the middle of the answer again and again "
                    f"({type(error).__name__}). Run it again: it goes on from here."
                )
                raise _RetryableError(final) from error
            with self._lock:
                self.bytes_read += target.tell()
            return response.headers

    def close(self) -> None:
        """Let the connections go. The token stays valid for whoever else uses it."""
        self._http.close()

    def _send_refreshing(
        self,
        method: Method,
        path: str,
        what: str,
        replayable: bool,
        authenticated: bool,
        **options: Any,
    ) -> requests.Response:
        if not authenticated:
            return self._send(method, self.login_url + path, what, replayable, **options)
        token = self._authenticate(stale=None)
        for fresh in (False, True):
            options["headers"]["Authorization"] = f"Bearer {token}"
            try:
                with self._lock:
                    self.api_calls += 1
                url = self._instance_url + path
                return self._send(method, url, what, replayable, **options)
            except SalesforceError as error:
                if fresh or reaction(error.error, error.status) is not Reaction.REFRESH:
                    raise
                # A 401 was not carried out, so even a create may be sent once more.
                token = self._authenticate(stale=token)
        raise AssertionError("the second answer is returned or raised")

    def _send(
        self, method: Method, url: str, what: str, replayable: bool, **options: Any
    ) -> requests.Response:
        timeout = self._connection.timeout.total_seconds()
        try:
            response = self._http.request(method, url, timeout=(10, timeout), **options)
        except requests.ConnectionError as error:
            final = OrgUnreachableError(
                f"{what}: no answer from {_host(url)}; is the org's URL right, and is it running? "
                f"({type(error).__name__})"
            )
            # No connection, no request: nothing was sent that could be sent twice.
            if replayable or _never_connected(error):
                raise _RetryableError(final) from error
            raise final from error
        except requests.RequestException as error:
            final = OrgUnreachableError(f"{what}: {_host(url)}: {type(error).__name__}")
            if replayable:
                raise _RetryableError(final) from error
            raise final from error
        self._note(response)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        if (response.ok and not is_page) or response.status_code == 304:
            return response
        with response:
            raise self._refusal(response, what, replayable)

    def _refusal(self, response: requests.Response, what: str, replayable: bool) -> Exception:
        status = response.status_code
        try:
            errors = parse_errors(response.json())
        except requests.JSONDecodeError:
            errors = []
        if not errors:
            page = ApiError(f"HTTP_{status}", "an answer that is not Salesforce's JSON")
            if status not in (420, 429, 500, 502, 503, 504):
                host = _host(response.url)
                return OrgUnreachableError(
                    f"{what}: {host} answered HTTP {status} without Salesforce's JSON; "
                    "is it the address of a Salesforce org?"
                )
            errors = [page]
        final = SalesforceError(what, errors[0], status)
        unsure = status >= 500 and not replayable
        if reaction(errors[0], status) is Reaction.RETRY and not unsure:
            return _RetryableError(final)
        return final

    def _note(self, response: requests.Response) -> None:
        if date := response.headers.get("Date"):
            self._server_time = parsedate_to_datetime(date).astimezone(UTC)
        if found := _USAGE.match(response.headers.get("Sforce-Limit-Info", "")):
            self.api_usage = (int(found[1]), int(found[2]))

    def _authenticate(self, stale: str | None) -> str:
        """A token other than the stale one; only one thread asks for it."""
        with self._lock:
            if self._token is None or self._token == stale:
                answer = self._send(
                    "POST",
                    f"{self.login_url}/services/oauth2/token",
                    f"signing in at {_host(self.login_url)}",
                    replayable=True,
                    data=self._grant(),
                ).json()
                self._token = str(answer["access_token"])
                self._instance_url = str(answer["instance_url"]).rstrip("/")
                # https://login.salesforce.com/id/<organization Id>/<user Id>
                parts = str(answer.get("id", "")).split("/")
                self._org_id, self._user_id = parts[-2:] if len(parts) > 2 else ("", "")
            return self._token

    def _grant(self) -> dict[str, str]:
        grant = {
            "grant_type": self._connection.grant,
            "client_id": self._environment.client_id,
            "client_secret": self._environment.client_secret.get_secret_value(),
        }
        if self._connection.grant == "refresh_token" and self._environment.refresh_token:
            grant["refresh_token"] = self._environment.refresh_token.get_secret_value()
        return grant


def _raise_final(state: tenacity.RetryCallState) -> NoReturn:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _RetryableError):
        raise error.final from error.__cause__
    raise AssertionError("only a retryable error uses up the attempts")


def _host(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def _never_connected(error: requests.ConnectionError) -> bool:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return type(reason).__name__ in ("NewConnectionError", "ConnectTimeoutError")
