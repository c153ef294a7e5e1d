"""Conditional requests: answer only what has changed, write only what has not.

See "Conditional Request Headers" in the REST API Developer Guide. Dates work on rows, describes
and the describe global; entity tags on the rows of Accounts only. HTTP dates are to the second.
"""

import base64
import hashlib
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

import orjson

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.storage.store import Value

_HEADERS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


def is_conditional(call: Call) -> bool:
    """Whether a request has any condition."""
    return any(name in call.headers for name in _HEADERS)


def answered(call: Call, reply: Reply, modified: str, tag: str | None = None) -> Reply:
    """A reply to a reading request, or the one that says that nothing has changed.

    Args:
        modified: When what it shows was last changed, as the store keeps it.
        tag: Its entity tag, if entity tags count for it.

    Raises:
        ApiError: 412; the request does not want it as it is.
    """
    moment = _moment(modified)
    reply.headers["Last-Modified"] = format_datetime(moment, usegmt=True)
    if tag is not None:
        reply.headers["ETag"] = tag
    if is_conditional(call) and _is_known(call, moment, tag):
        return Reply(status=304, headers=reply.headers)
    return reply


def check_write(call: Call, row: Mapping[str, Value], tag: str | None) -> None:
    """See that a record is still what a writing request takes it for.

    Raises:
        ApiError: 412, or 400 for a header that cannot be read.
    """
    if _is_known(call, _moment(str(row["SystemModstamp"])), tag):
        raise _failed()


def row_tag(sobject_name: str, row: Mapping[str, Value]) -> str | None:
    """The entity tag of a stored record; only Accounts have one."""
    if sobject_name != "Account":
        return None
    digest = hashlib.sha256(orjson.dumps(dict(row))).digest()
    return f'"{base64.b64encode(digest).decode()}--gzip"'


def content_tag(body: object) -> str:
    """The entity tag of a describe."""
    return f'"{zlib.crc32(orjson.dumps(body)):08x}"'


def schema_modified(org: Org) -> str:
    """When the org's schema was last changed, as the store keeps it.

    Whoever changes it keeps that in the setting `schema_modified`; else it is as old as the org.
    """
    sql = (
        "SELECT coalesce((SELECT value FROM _setting WHERE key = 'schema_modified'),"
        " (SELECT min(CreatedDate) FROM Organization))"
    )
    (changed,) = org.store.reader().execute(sql).fetchone()
    return str(changed or org.store.now())


def _is_known(call: Call, modified: datetime, tag: str | None) -> bool:
    """Whether the client knows what is there.

    Raises:
        ApiError: 412; it knows something else.
    """
    wanted, known = _tags(call, "if-match"), _tags(call, "if-none-match")
    if tag is not None and wanted is not None and not _holds(wanted, tag):
        raise _failed()
    before = _date(call, "if-unmodified-since")
    if before is not None and modified > before:
        raise _failed()
    if tag is not None and known is not None:
        return _holds(known, tag)
    since = _date(call, "if-modified-since")
    return since is not None and modified <= since


def _holds(tags: list[str], tag: str) -> bool:
    # Clients leave out the suffix that a proxy adds to a compressed reply.
    return "*" in tags or any(_bare(item) == _bare(tag) for item in tags)


def _bare(tag: str) -> str:
    return tag.strip().removeprefix("W/").strip('"').removesuffix("-gzip").rstrip("-")


def _tags(call: Call, header: str) -> list[str] | None:
    value = call.headers.get(header)
    if value is None:
        return None
    tags = [part.strip() for part in value.split(",")]
    if call.method != "GET" and not all(tags):
        raise _unreadable(header)
    return tags


def _date(call: Call, header: str) -> datetime | None:
    """The time of a header; reading requests do not mind one that cannot be read."""
    value = call.headers.get(header)
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        if call.method == "GET" or header == "if-modified-since":
            return None
        raise _unreadable(header) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _moment(stamp: str) -> datetime:
    return datetime.fromisoformat(f"{stamp}+00:00")


def _failed() -> ApiError:
    # The documentation names the status only.
    message = "The precondition that the request's headers set does not hold"
    return ApiError(412, "PRECONDITION_FAILED", message)


def _unreadable(header: str) -> ApiError:
    return ApiError(400, "INVALID_INPUT", f"Invalid value of the header {header}")
