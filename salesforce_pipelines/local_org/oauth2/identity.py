"""Who somebody is: the identity URL and OpenID Connect's userinfo.

Both answer a bad token with 403 and one word of plain text, unlike the REST API. See "Identity
URLs" and "Query for User Information" in Salesforce Help.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.oauth2.oauth_replies import form_of, formatted
from salesforce_pipelines.local_org.oauth2.sessions import Session
from salesforce_pipelines.local_org.org import NEWEST_VERSION

_PLAIN = "text/plain;charset=UTF-8"
_VERSION = re.compile(r"\d+(?:\.0)?")
_COLUMNS = (
    "Username, CommunityNickname, FirstName, LastName, Email, TimeZoneSidKey, IsActive, UserType,"
    " LanguageLocaleKey, LocaleSidKey, LastModifiedDate"
)


class _RefusedError(Exception):
    """A refusal in one word of plain text."""

    def __init__(self, status: int, word: str) -> None:
        super().__init__(word)
        self.status = status
        self.word = word

    def reply(self) -> Reply:
        return Reply(content=self.word.encode(), status=self.status, content_type=_PLAIN)


def identity(call: Call) -> Reply:
    """`GET /id/ORG/USER`: Salesforce's own view of a user.

    Somebody else's is shown to a token with the scope `api` or `full`.
    """
    form = form_of(call)
    try:
        session = _caller(call, form)
        user_id = _asked_user(call, session)
        body = _identity(call, user_id, asserted=user_id == session.user_id)
    except _RefusedError as refusal:
        return refusal.reply()
    body["urls"] = _with_version(_urls(call, user_id), form.get("version", ""))
    return formatted(call, form, "user", body)


def userinfo(call: Call) -> Reply:
    """`GET /services/oauth2/userinfo`: OpenID Connect's view of the caller."""
    form = form_of(call)
    try:
        session = _caller(call, form)
        known = _identity(call, session.user_id, asserted=True)
    except _RefusedError as refusal:
        return refusal.reply()
    same = ("user_id", "organization_id", "email", "email_verified", "photos", "urls", "active",
            "user_type", "language", "locale", "utcOffset", "is_app_installed")  # fmt: skip
    photos = known["photos"]
    body: dict[str, object] = {
        "sub": known["id"],
        "preferred_username": known["username"],
        "nickname": known["nick_name"],
        "name": known["display_name"],
        "given_name": known["first_name"],
        "family_name": known["last_name"],
        "zoneinfo": known["timezone"],
        "profile": f"{call.host}/{session.user_id}",
        "picture": photos["picture"] if isinstance(photos, dict) else None,
        "address": {},
        "updated_at": known["last_modified_date"],
        **{name: known[name] for name in same},
    }
    return formatted(call, form, "user", body)


def _caller(call: Call, form: Mapping[str, str]) -> Session:
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    if kind.lower() not in ("bearer", "oauth"):
        token = form.get("oauth_token") or form.get("access_token") or ""
    if not token.strip():
        raise _RefusedError(403, "Missing_OAuth_Token")
    session = call.org.sessions.find(token.strip())
    if session is None:
        raise _RefusedError(403, "Bad_OAuth_Token")
    return session


def _asked_user(call: Call, session: Session) -> str:
    """The 18-character id of the user in the address."""
    org_id, user_id = call.captured["org"], call.captured["user"]
    own = call.org.store.org_id
    if org_id not in (own, own[:15]):
        raise _RefusedError(403, "Wrong_Org")
    found = (
        call.org.store.reader()
        .execute("SELECT Id FROM User WHERE Id = ? OR substr(Id, 1, 15) = ?", [user_id, user_id])
        .fetchone()
    )
    if found is None:
        raise _RefusedError(404, "Bad_Id")
    asked: str = found[0]
    if asked != session.user_id and not {"api", "full"} & set(session.scope.split()):
        raise _RefusedError(404, "No_Access")
    return asked


def _identity(call: Call, user_id: str, *, asserted: bool) -> dict[str, object]:
    org = call.org
    row = (
        org.store.reader()
        .execute(f"SELECT {_COLUMNS} FROM User WHERE Id = ?", [user_id])
        .fetchone()
    )
    if row is None:
        raise _RefusedError(404, "Bad_Id")
    photo = f"{call.host}/profilephoto/005"
    address = ("addr_street", "addr_city", "addr_state", "addr_country", "addr_zip")
    return {
        "id": f"{call.host}/id/{org.store.org_id}/{user_id}",
        "asserted_user": asserted,
        "user_id": user_id,
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
        **dict.fromkeys(address),
        "mobile_phone": None,
        "mobile_phone_verified": False,
        "is_lightning_login_user": False,
        "status": {"created_date": None, "body": None},
        "urls": _urls(call, user_id),
        "active": bool(row[6]),
        "user_type": str(row[7] or "Standard").upper(),
        "language": row[8],
        "locale": row[9],
        "utcOffset": _utc_offset(row[5], org.store.clock()),
        "last_modified_date": f"{row[10]}.000+0000",
        "is_app_installed": True,
    }


def _urls(call: Call, user_id: str) -> dict[str, str]:
    soap, org_id = f"{call.host}/services/Soap", call.org.store.org_id
    rest = f"{call.host}/services/data/v{{version}}/"
    return {
        "enterprise": f"{soap}/c/{{version}}/{org_id}",
        "metadata": f"{soap}/m/{{version}}/{org_id}",
        "partner": f"{soap}/u/{{version}}/{org_id}",
        "rest": rest,
        "sobjects": f"{rest}sobjects/",
        "search": f"{rest}search/",
        "query": f"{rest}query/",
        "recent": f"{rest}recent/",
        "tooling_soap": f"{soap}/T/{{version}}/{org_id}",
        "tooling_rest": f"{rest}tooling/",
        "profile": f"{call.host}/{user_id}",
        "feeds": f"{rest}chatter/feeds",
        "groups": f"{rest}chatter/groups",
        "users": f"{rest}chatter/users",
        "feed_items": f"{rest}chatter/feed-items",
        "feed_elements": f"{rest}chatter/feed-elements",
        "custom_domain": call.host,
    }


def _with_version(urls: Mapping[str, str], asked: str) -> dict[str, str]:
    """The addresses with a version filled in, if the caller asks for one or for `latest`."""
    version = f"{NEWEST_VERSION}.0" if asked == "latest" else asked
    if not _VERSION.fullmatch(version):
        return dict(urls)
    return {name: url.replace("{version}", version) for name, url in urls.items()}


def _utc_offset(time_zone: str | None, now: datetime) -> int:
    """The standard offset of a time zone in milliseconds, without daylight saving."""
    try:
        local = now.astimezone(ZoneInfo(time_zone or "UTC"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        local = now.astimezone(UTC)
    offset = (local.utcoffset() or timedelta()) - (local.dst() or timedelta())
    return int(offset.total_seconds() * 1000)
