"""The token, revocation and introspection endpoints."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from urllib.parse import unquote_plus

from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.errors import ApiError, OAuthError
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.oauth2.authorization_codes import redeem_code
from salesforce_pipelines.local_org.oauth2.connected_app import (
    app_settings,
    granted_scope,
    without_refresh,
)
from salesforce_pipelines.local_org.oauth2.jwt_bearer import subject_of
from salesforce_pipelines.local_org.oauth2.oauth_replies import form_of, formatted, refused
from salesforce_pipelines.local_org.oauth2.sessions import Session
from salesforce_pipelines.local_org.oauth2.users import Person, person_named, person_with_id
from salesforce_pipelines.local_org.org import Org

Form = Mapping[str, str]
Grant = Callable[[Call, Form], dict[str, object]]
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def token(call: Call) -> Reply:
    """`POST /services/oauth2/token`."""
    form = form_of(call)
    try:
        grant = _grant_named(form.get("grant_type", ""))
        return formatted(call, form, "OAuth", grant(call, form))
    except OAuthError as refusal:
        return refused(call, form, refusal)


def revoke(call: Call) -> Reply:
    """`POST` or `GET /services/oauth2/revoke`."""
    if call.method == "GET" and choice(call.org.state, "revoke_by_get") == "refused":
        message = "HTTP Method 'GET' not allowed. Allowed are POST"
        raise ApiError(405, "METHOD_NOT_ALLOWED", message)
    form = form_of(call)
    given = form.get("token")
    if not given:
        return refused(call, form, OAuthError("invalid_request", "token required"))
    if form.get("token_type_hint", "access_token") not in ("access_token", "refresh_token"):
        unsupported = OAuthError("unsupported_token_type", "this token type is not supported")
        return refused(call, form, unsupported)
    if not call.org.sessions.revoke(given):
        return refused(call, form, OAuthError("invalid_token", "invalid token"))
    return Reply()


def introspect(call: Call) -> Reply:
    """`POST /services/oauth2/introspect` (RFC 7662)."""
    form, org = form_of(call), call.org
    client_id, secret = _client(call, form)
    _check_client(org, client_id, secret)
    if not form.get("token"):
        raise OAuthError("invalid_request", "token required")
    known = org.sessions.known_token(form["token"])
    person = person_with_id(org.store, known.user_id) if known else None
    if known is None or person is None or known.client_id != client_id:
        return Reply({"active": False})
    body: dict[str, object] = {
        "active": True,
        "scope": known.scope,
        "client_id": known.client_id,
        "username": person.username,
        "sub": _identity_url(call, known.user_id),
        "token_type": known.kind,
        "iat": int(known.issued_at),
        "nbf": int(known.issued_at),
    }
    if known.expires_at is not None:
        body["exp"] = int(known.expires_at)
    return Reply(body)


def _authorization_code(call: Call, form: Form) -> dict[str, object]:
    org, settings = call.org, app_settings(call.org.state)
    client_id, secret = _client(call, form)
    _check_client(org, client_id, secret, required=settings.require_secret)
    for name in ("code", "redirect_uri"):
        if not form.get(name):
            raise OAuthError("invalid_request", f"missing required parameter: {name}")
    user_id, request = redeem_code(
        org.state,
        form["code"],
        client_id=client_id,
        redirect_uri=form["redirect_uri"],
        verifier=form.get("code_verifier") or None,
        lifetime=settings.code_seconds,
    )
    person = _active(person_with_id(org.store, user_id))
    if "refresh_token" not in request.scope.split():
        return _granted(call, org.sessions.open(person.id, client_id, request.scope))
    session, refresh_token = org.sessions.approve(person.id, client_id, request.scope)
    return _granted(call, session, refresh_token)


def _refresh_token(call: Call, form: Form) -> dict[str, object]:
    org, settings = call.org, app_settings(call.org.state)
    client_id, secret = _client(call, form)
    _check_client(org, client_id, secret, required=settings.require_refresh_secret)
    if not form.get("refresh_token"):
        raise OAuthError("invalid_request", "missing required parameter: refresh_token")
    session, refresh_token = org.sessions.refresh(
        form["refresh_token"], client_id, rotate=settings.rotate_refresh_tokens
    )
    return _granted(call, session, refresh_token)


def _jwt_bearer(call: Call, form: Form) -> dict[str, object]:
    org, settings = call.org, app_settings(call.org.state)
    username = subject_of(
        form.get("assertion", ""),
        client_id=org.settings.client_id,
        certificates=settings.certificates,
        host=call.host.partition("://")[2],
        now=org.state.time(),
    )
    person = person_named(org.store, username)
    if person is None:
        raise OAuthError("invalid_grant", "user hasn't approved this consumer")
    _active(person)
    if not _is_approved(org, person):
        raise OAuthError("invalid_grant", "user hasn't approved this consumer")
    return _without_refresh_token(call, person, form)


def _client_credentials(call: Call, form: Form) -> dict[str, object]:
    org = call.org
    client_id, secret = _client(call, form)
    _check_client(org, client_id, secret)
    username = app_settings(org.state).client_credentials_user
    person = person_named(org.store, username) if username else None
    if person is None:
        raise OAuthError("invalid_grant", "no client credentials user enabled")
    return _without_refresh_token(call, _active(person), form)


def _password(call: Call, form: Form) -> dict[str, object]:
    # New orgs block this flow; "authentication failure" is all they say about it.
    client_id, secret = _client(call, form)
    _check_client(call.org, client_id, secret)
    raise OAuthError("invalid_grant", "authentication failure")


_GRANTS: Mapping[str, Grant] = {
    "authorization_code": _authorization_code,
    "refresh_token": _refresh_token,
    JWT_BEARER: _jwt_bearer,
    "client_credentials": _client_credentials,
    "password": _password,
}


def _grant_named(name: str) -> Grant:
    if not name:
        raise OAuthError("invalid_request", "must specify grant_type")
    grant = _GRANTS.get(name)
    if grant is None:
        raise OAuthError("unsupported_grant_type", "grant type not supported")
    return grant


def _is_approved(org: Org, person: Person) -> bool:
    """Whether a user is pre-authorised, or has approved the app in a browser before."""
    allowed = app_settings(org.state).preauthorised_users
    if allowed is None or person.username.lower() in map(str.lower, allowed):
        return True
    return org.sessions.has_approval(person.id, org.settings.client_id)


def _client(call: Call, form: Form) -> tuple[str, str]:
    kind, _, encoded = call.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise OAuthError("invalid_client", "invalid client credentials") from None
    return unquote_plus(name), unquote_plus(secret)


def _check_client(org: Org, client_id: str, secret: str, *, required: bool = True) -> None:
    if client_id != org.settings.client_id:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    if not required and not secret:
        return
    if not hmac.compare_digest(secret.encode(), org.settings.client_secret.encode()):
        raise OAuthError("invalid_client", "invalid client credentials")


def _active(person: Person | None) -> Person:
    if person is None or not person.active:
        raise OAuthError("invalid_grant", "inactive user")
    return person


def _without_refresh_token(call: Call, person: Person, form: Form) -> dict[str, object]:
    """The answer of a flow that a server repeats instead of refreshing."""
    org = call.org
    scope = granted_scope(form.get("scope", ""), app_settings(org.state).scopes)
    session = org.sessions.open(person.id, org.settings.client_id, without_refresh(scope))
    return _granted(call, session)


def _granted(call: Call, session: Session, refresh_token: str | None = None) -> dict[str, object]:
    org = call.org
    issued_at = str(int(org.state.time() * 1000))
    identity_url = _identity_url(call, session.user_id)
    signed = hmac.new(
        org.settings.client_secret.encode(), (identity_url + issued_at).encode(), hashlib.sha256
    )
    return {
        "access_token": session.token,
        **({"refresh_token": refresh_token} if refresh_token else {}),
        "signature": base64.b64encode(signed.digest()).decode(),
        "scope": session.scope,
        "instance_url": call.host,
        "id": identity_url,
        "token_type": "Bearer",
        "issued_at": issued_at,
    }


def _identity_url(call: Call, user_id: str) -> str:
    return f"{call.host}/id/{call.org.store.org_id}/{user_id}"
