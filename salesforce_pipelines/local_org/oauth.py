"""The OAuth endpoints: client credentials, refresh, revoke, and who somebody is."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_plus

from salesforce_pipelines.local_org.calls import Call, Reply
from salesforce_pipelines.local_org.errors import ApiError, OAuthError
from salesforce_pipelines.local_org.org import Org

_SCOPE = "api refresh_token"


def token(call: Call) -> Reply:
    """`POST /services/oauth2/token`."""
    form = _form(call)
    client_id, secret = _client(call, form)
    grant = form.get("grant_type")
    if grant == "client_credentials":
        _check_client(call.org, client_id, secret)
        return Reply(_grant(call, call.org.store.integration_user_id, client_id))
    if grant == "refresh_token":
        return Reply(_refresh(call, form.get("refresh_token", ""), client_id, secret))
    if not grant:
        raise OAuthError("invalid_request", "must specify grant_type")
    raise OAuthError("unsupported_grant_type", "grant type not supported")


def revoke(call: Call) -> Reply:
    """`POST` or `GET /services/oauth2/revoke`."""
    given = _form(call).get("token") or call.query.get("token")
    if not given:
        raise OAuthError("invalid_request", "token required")
    if not call.org.state.revoke(given):
        raise OAuthError("invalid_token", "invalid token")
    return Reply()


def userinfo(call: Call) -> Reply:
    """`GET /services/oauth2/userinfo`: OpenID Connect's view of the caller."""
    identity = _identity(call)
    names = (
        "user_id",
        "organization_id",
        "email",
        "urls",
        "active",
        "user_type",
        "language",
        "locale",
    )
    return Reply(
        {
            "sub": identity["id"],
            "preferred_username": identity["username"],
            "name": identity["display_name"],
            "nickname": identity["nick_name"],
            "zoneinfo": identity["timezone"],
            "utcOffset": 0,
            **{name: identity[name] for name in names},
        }
    )


def identity(call: Call) -> Reply:
    """`GET /id/ORG/USER`: Salesforce's own view of the caller."""
    return Reply(_identity(call))


def _form(call: Call) -> dict[str, str]:
    return {
        **call.query,
        **dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True)),
    }


def _client(call: Call, form: Mapping[str, str]) -> tuple[str, str]:
    kind, _, encoded = call.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise OAuthError("invalid_client", "invalid client credentials") from None
    return unquote_plus(name), unquote_plus(secret)


def _check_client(org: Org, client_id: str, secret: str) -> None:
    if client_id != org.settings.client_id:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    if not hmac.compare_digest(secret.encode(), org.settings.client_secret.encode()):
        raise OAuthError("invalid_client", "invalid client credentials")


def _refresh(call: Call, refresh_token: str, client_id: str, secret: str) -> dict[str, str]:
    if client_id != call.org.settings.client_id:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    if secret:
        _check_client(call.org, client_id, secret)
    granted = call.org.state.refresh_grant(refresh_token)
    if granted is None or granted[1] != client_id:
        raise OAuthError("invalid_grant", "expired access/refresh token")
    return _grant(call, granted[0], client_id, refresh_token)


def _grant(
    call: Call, user_id: str, client_id: str, refresh_token: str | None = None
) -> dict[str, str]:
    org = call.org
    session = org.state.open_session(org.store.org_id, user_id, client_id, refresh_token)
    issued_at = str(int(org.store.clock().timestamp() * 1000))
    identity_url = f"{call.host}/id/{org.store.org_id}/{user_id}"
    signed = hmac.new(
        org.settings.client_secret.encode(), (identity_url + issued_at).encode(), hashlib.sha256
    )
    return {
        "access_token": session.token,
        "signature": base64.b64encode(signed.digest()).decode(),
        "scope": _SCOPE,
        "instance_url": call.host,
        "id": identity_url,
        "token_type": "Bearer",
        "issued_at": issued_at,
    }


def _identity(call: Call) -> dict[str, object]:
    org = call.org
    row = (
        org.store.reader()
        .execute(
            "SELECT Username, CommunityNickname, FirstName, LastName, Email, TimeZoneSidKey,"
            " IsActive, UserType, LanguageLocaleKey, LocaleSidKey, LastModifiedDate FROM User"
            " WHERE Id = ?",
            [call.user_id],
        )
        .fetchone()
    )
    if row is None:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    url = f"{call.host}/id/{org.store.org_id}/{call.user_id}"
    rest = f"{call.host}/services/data/v{{version}}/"
    photo = f"{call.host}/profilephoto/005"
    return {
        "id": url,
        "asserted_user": True,
        "user_id": call.user_id,
        "organization_id": org.store.org_id,
        "username": row[0],
        "nick_name": row[1],
        "display_name": " ".join(filter(None, row[2:4])),
        "email": row[4],
        "email_verified": True,
        "first_name": row[2],
        "last_name": row[3],
        "timezone": row[5],
        "photos": {"picture": f"{photo}/F", "thumbnail": f"{photo}/T"},
        "addr_street": None,
        "addr_city": None,
        "addr_state": None,
        "addr_country": None,
        "addr_zip": None,
        "mobile_phone": None,
        "status": {"created_date": None, "body": None},
        "urls": {
            "enterprise": f"{call.host}/services/Soap/c/{{version}}/{org.store.org_id}",
            "metadata": f"{call.host}/services/Soap/m/{{version}}/{org.store.org_id}",
            "partner": f"{call.host}/services/Soap/u/{{version}}/{org.store.org_id}",
            "rest": rest,
            "sobjects": f"{rest}sobjects/",
            "search": f"{rest}search/",
            "query": f"{rest}query/",
            "recent": f"{rest}recent/",
            "feeds": f"{rest}chatter/feeds",
            "profile": f"{call.host}/{call.user_id}",
        },
        "active": bool(row[6]),
        "user_type": str(row[7]).upper(),
        "language": row[8],
        "locale": row[9],
        "utcOffset": 0,
        "last_modified_date": f"{row[10]}Z",
        "is_app_installed": True,
    }
