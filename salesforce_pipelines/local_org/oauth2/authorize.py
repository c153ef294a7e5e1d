"""The consent page of the web server flow: who logs in, and whether the app may act for them.

See "OAuth 2.0 Web Server Flow for Web App Integration" in Salesforce Help. A request that names
another client or an address that is not registered is answered with a page and never redirected;
every other refusal goes back to the client.
"""

import re
import secrets
from collections.abc import Mapping
from functools import cache
from http.cookies import CookieError, SimpleCookie

from jinja2 import Environment, PackageLoader

from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.errors import OAuthError
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.oauth2.authorization_codes import (
    AuthorizationRequest,
    is_challenge,
    issue_code,
    issue_ticket,
    redeem_ticket,
)
from salesforce_pipelines.local_org.oauth2.callbacks import is_registered, with_parameters
from salesforce_pipelines.local_org.oauth2.connected_app import (
    AppSettings,
    app_settings,
    granted_scope,
)
from salesforce_pipelines.local_org.oauth2.oauth_replies import form_of
from salesforce_pipelines.local_org.oauth2.users import (
    Person,
    active_people,
    person_named,
    person_with_id,
)
from salesforce_pipelines.local_org.org import Org

MOST_LISTED_PEOPLE = 100
_HTML = "text/html;charset=UTF-8"
_COOKIE = "local-org-browser"
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
_SCOPE_TEXTS = {
    "api": "Manage user data via APIs",
    "web": "Manage user data via Web browsers",
    "full": "Full access",
    "id": "Access the identity URL service",
    "openid": "Access unique user identifiers",
    "profile": "Access the basic profile",
    "email": "Access the email address",
    "address": "Access the address",
    "phone": "Access the phone number",
    "chatter_api": "Access Connect REST API resources",
    "custom_permissions": "Access custom permissions",
    "visualforce": "Access Visualforce applications",
    "lightning": "Access Lightning applications",
    "content": "Access content resources",
    "refresh_token": "Perform requests at any time",
}


class _PageError(Exception):
    """A refusal that is shown to the person and goes nowhere else."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


class _ReturnedError(Exception):
    """A refusal that the client is told."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location


def ask(call: Call) -> Reply:
    """`GET /services/oauth2/authorize`: the page that asks a person."""
    try:
        request, chosen = _checked(call.org, form_of(call))
    except _PageError as refusal:
        return _refusal_page(refusal)
    except _ReturnedError as refusal:
        return _redirect(refusal.location)
    return _consent_page(call, request, chosen)


def decide(call: Call) -> Reply:
    """`POST /services/oauth2/authorize`: what the person decided, or a request sent by POST."""
    form = form_of(call)
    if "ticket" not in form:
        return ask(call)
    request = redeem_ticket(call.org.state, _browser(call) or "", form["ticket"])
    settings = app_settings(call.org.state)
    if request is None or not is_registered(request.redirect_uri, settings.callbacks):
        description = "This page is no longer valid. Go back to the application and log in again."
        return _refusal_page(_PageError("invalid_request", description))
    if form.get("decision") != "allow":
        denied = OAuthError("access_denied", "end-user denied authorization")
        return _redirect(_returned(request.redirect_uri, denied, request.state))
    person = _chosen_person(call.org, form)
    if person is None:
        return _consent_page(call, request, None, problem="Choose who logs in.")
    code = {"code": issue_code(call.org.state, person.id, request)}
    noted = {} if request.state is None else {"state": request.state}
    return _redirect(with_parameters(request.redirect_uri, code | noted))


def _checked(org: Org, form: Mapping[str, str]) -> tuple[AuthorizationRequest, Person | None]:
    """The request, and the person that its `login_hint` names.

    Raises:
        _PageError: The client or its address cannot be trusted.
        _ReturnedError: Anything else is wrong.
    """
    settings = app_settings(org.state)
    redirect_uri, response_type = form.get("redirect_uri", ""), form.get("response_type", "")
    if form.get("client_id") != org.settings.client_id:
        raise _PageError("invalid_client_id", "client identifier invalid")
    if not redirect_uri:
        raise _PageError("redirect_uri_missing", "redirect_uri is missing")
    if not is_registered(redirect_uri, settings.callbacks):
        raise _PageError("redirect_uri_mismatch", "redirect_uri must match configuration")
    try:
        _check_request(
            form,
            response_type,
            require_pkce=_needs_pkce(org, settings),
            only_s256=choice(org.state, "pkce_plain") == "refused",
        )
        scope = granted_scope(form.get("scope", ""), settings.scopes)
    except OAuthError as refusal:
        # The user-agent flow, which asks for a token, reads its answers from the fragment.
        to_fragment = "token" in response_type.split()
        location = _returned(redirect_uri, refusal, form.get("state"), in_fragment=to_fragment)
        raise _ReturnedError(location) from None
    hint = form.get("login_hint", "")
    request = AuthorizationRequest(
        client_id=org.settings.client_id,
        redirect_uri=redirect_uri,
        scope=scope,
        state=form.get("state"),
        challenge=form.get("code_challenge") or None,
    )
    hinted = person_named(org.store, hint) if hint else None
    return request, hinted if hinted and hinted.active else None


def _needs_pkce(org: Org, settings: AppSettings) -> bool:
    without = choice(org.state, "public_client_without_pkce")
    return settings.require_pkce or (not settings.require_secret and without == "refused")


def _check_request(
    form: Mapping[str, str], response_type: str, *, require_pkce: bool, only_s256: bool
) -> None:
    if not response_type:
        raise OAuthError("invalid_request", "missing required parameter: response_type")
    if response_type != "code":
        raise OAuthError("unsupported_response_type", "response type not supported")
    challenge = form.get("code_challenge", "")
    if require_pkce and not challenge:
        raise OAuthError("invalid_request", "missing required code challenge")
    if challenge and not is_challenge(challenge):
        raise OAuthError("invalid_request", "invalid code challenge")
    if only_s256 and form.get("code_challenge_method", "S256") != "S256":
        raise OAuthError("invalid_request", "code challenge method not supported")
    # Nobody is logged in to the local org's pages, so a login without a person never succeeds.
    if "none" in form.get("prompt", "").split():
        raise OAuthError("login_required", "end-user is not logged in")
    if form.get("immediate", "").lower() == "true":
        raise OAuthError("immediate_unsuccessful", "immediate unsuccessful")


def _returned(
    redirect_uri: str, refusal: OAuthError, state: str | None, *, in_fragment: bool = False
) -> str:
    noted = {} if state is None else {"state": state}
    return with_parameters(redirect_uri, refusal.body() | noted, in_fragment=in_fragment)


def _chosen_person(org: Org, form: Mapping[str, str]) -> Person | None:
    """The active User whose username was typed, or who was chosen from the list."""
    username = form.get("username", "").strip()
    if username:
        person = person_named(org.store, username)
    else:
        person = person_with_id(org.store, form.get("user", ""))
    return person if person and person.active else None


def _consent_page(
    call: Call, request: AuthorizationRequest, chosen: Person | None, problem: str = ""
) -> Reply:
    org = call.org
    people = active_people(org.store, MOST_LISTED_PEOPLE)
    by_username = len(people) >= MOST_LISTED_PEOPLE
    if chosen:
        people = [chosen, *(person for person in people if person != chosen)]
    browser = _browser(call) or secrets.token_urlsafe(32)
    reply = _page(
        "consent.html",
        200 if not problem else 400,
        scheme=request.redirect_uri.partition(":")[0],
        app=request.client_id,
        org_id=org.store.org_id,
        returns_to=_site(request.redirect_uri),
        people=people,
        chosen=chosen.id if chosen else "",
        by_username=by_username,
        scopes=[_SCOPE_TEXTS.get(name, name) for name in request.scope.split()],
        ticket=issue_ticket(org.state, browser, request),
        problem=problem,
    )
    reply.headers["Set-Cookie"] = (
        f"{_COOKIE}={browser}; Path=/services/oauth2/authorize; HttpOnly; SameSite=Lax"
    )
    return reply


def _refusal_page(refusal: _PageError) -> Reply:
    return _page("refusal.html", 400, error=refusal.error, description=refusal.description)


def _page(name: str, status: int, *, scheme: str = "", **values: object) -> Reply:
    nonce = secrets.token_urlsafe(16)
    html = _pages().get_template(name).render(nonce=nonce, **values)
    # Chromium holds redirects after a form to form-action, which cannot name an IPv6 address.
    to = f" {scheme}:" if scheme else ""
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'{to};"
        " base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
    }
    return Reply(content=html.encode(), status=status, headers=headers, content_type=_HTML)


def _redirect(location: str) -> Reply:
    return Reply(status=302, headers={"Location": location, "Referrer-Policy": "no-referrer"})


def _site(uri: str) -> str:
    """The part of an address that tells a person where it leads."""
    return "/".join(uri.partition("?")[0].split("/")[:3])


def _browser(call: Call) -> str | None:
    """The cookie that tells this browser from others; None if it has none yet."""
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(call.headers.get("cookie", ""))
    except CookieError:
        return None
    found = cookies.get(_COOKIE)
    return found.value if found and _BROWSER.fullmatch(found.value) else None


@cache
def _pages() -> Environment:
    return Environment(
        loader=PackageLoader("salesforce_pipelines.local_org.oauth2", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
