"""JWT bearer assertions: who a server says it acts for, and whether it may say so.

See "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration" in Salesforce Help and RFC 7523.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt
import orjson

from salesforce_pipelines.local_org.errors import OAuthError
from salesforce_pipelines.local_org.oauth2.connected_app import rsa_key

MOST_SECONDS_AHEAD = 300
# Clocks differ; the sf CLI also gives its assertions less than a second to live.
SKEW_SECONDS = 30
_AUDIENCES = frozenset({"login.salesforce.com", "test.salesforce.com"})
# Larger numbers are milliseconds: in seconds they would be after the year 5000.
_SMALLEST_MILLISECONDS = 1e11


def subject_of(
    assertion: str, *, client_id: str, certificates: Collection[str], host: str, now: float
) -> str:
    """The username that a valid assertion is about.

    Args:
        assertion: The signed JWT.
        client_id: The consumer key that it has to name as its issuer.
        certificates: Public keys in PEM, one of which has to fit the signature.
        host: The org's own host and port, which may be the audience.
        now: Seconds since 1970.

    Raises:
        OAuthError: It is malformed, signed by somebody else, expired, or meant for others.
    """
    claims = _claims(assertion)
    if claims.get("iss") != client_id:
        raise OAuthError("invalid_client_id", "client identifier invalid")
    if not _is_signed(assertion, certificates):
        raise _invalid()
    if not is_audience(claims.get("aud"), host):
        raise OAuthError("invalid_grant", "Audience validation failed")
    check_expiry(claims.get("exp"), now)
    subject = claims.get("sub") or claims.get("prn")
    if not isinstance(subject, str):
        raise _invalid()
    return subject


def is_audience(audience: object, host: str) -> bool:
    """Whether an `aud` claim, or one of a list, means this org's login."""
    if isinstance(audience, list):
        return any(is_audience(one, host) for one in audience if isinstance(one, str))
    if not isinstance(audience, str):
        return False
    try:
        parts = urlsplit(audience)
    except ValueError:
        return False
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return False
    if parts.scheme == "https" and parts.netloc.lower() in _AUDIENCES:
        return True
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def check_expiry(claim: object, now: float) -> None:
    """Refuse an `exp` claim that is over, too far ahead, or none.

    Raises:
        OAuthError: invalid_grant.
    """
    expiry = expiry_seconds(claim)
    if expiry is None or expiry > now + MOST_SECONDS_AHEAD + SKEW_SECONDS:
        raise _invalid()
    if expiry < now - SKEW_SECONDS:
        # Salesforce's words for an assertion that is over, too.
        raise OAuthError("invalid_grant", "expired authorization code")


def expiry_seconds(claim: object) -> float | None:
    """An `exp` claim in seconds since 1970; None if it is no time.

    Clients send it as a number, as a text, and in milliseconds.
    """
    if isinstance(claim, bool) or not isinstance(claim, int | float | str):
        return None
    try:
        number = float(claim)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return number / 1000 if number >= _SMALLEST_MILLISECONDS else number


def _claims(assertion: str) -> Mapping[str, Any]:
    """The claims, before anybody has looked at the signature."""
    try:
        read = jwt.PyJWS().decode_complete(assertion, options={"verify_signature": False})
        claims = orjson.loads(read["payload"])
    except (jwt.PyJWTError, ValueError):
        raise _invalid() from None
    if not isinstance(claims, dict):
        raise _invalid()
    return claims


def _is_signed(assertion: str, certificates: Collection[str]) -> bool:
    for pem in certificates:
        try:
            jwt.PyJWS().decode(assertion, rsa_key(pem), algorithms=["RS256"])
        except jwt.PyJWTError:
            continue
        return True
    return False


def _invalid() -> OAuthError:
    return OAuthError("invalid_grant", "invalid assertion")
