"""What lives between a person's consent and the tokens: consent tickets and authorization codes.

A ticket ties the decision on the consent page to the browser that was shown it, so that no other
site can decide in a person's name. A code is exchanged once, by the client and for the callback
it was made for.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import asdict, dataclass

import orjson

from salesforce_pipelines.local_org.errors import OAuthError
from salesforce_pipelines.local_org.storage.state import State

TICKET_SECONDS = 3600
# A spent code is remembered this long, to say "expired" instead of "invalid".
_REMEMBERED_SECONDS = 24 * 3600
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
# RFC 7636 also allows "~", which Salesforce refuses (cognizant-ai-lab/nsflow issue 249).
_VERIFIER = re.compile(r"[A-Za-z0-9._-]{43,128}")


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """What a client asks a person for, after every check that needs no person.

    Attributes:
        state: The client's own note, given back as it is; None if it sent none.
        challenge: The base64url SHA-256 of the code verifier; None without PKCE.
    """

    client_id: str
    redirect_uri: str
    scope: str
    state: str | None = None
    challenge: str | None = None


def issue_ticket(state: State, browser: str, request: AuthorizationRequest) -> str:
    """A ticket for one decision of one browser."""
    now, ticket = state.time(), secrets.token_urlsafe(32)
    state.rows("DELETE FROM oauth_ticket WHERE issued_at < ?", [now - TICKET_SECONDS])
    state.rows(
        "INSERT INTO oauth_ticket VALUES (?, ?, ?, ?)", [ticket, browser, _dump(request), now]
    )
    return ticket


def redeem_ticket(state: State, browser: str, ticket: str) -> AuthorizationRequest | None:
    """The request that a ticket was for, which ends it; None if it is not this browser's."""
    found = state.rows(
        "DELETE FROM oauth_ticket WHERE ticket = ? AND browser = ? AND issued_at >= ?"
        " RETURNING body",
        [ticket, browser, state.time() - TICKET_SECONDS],
    )
    return AuthorizationRequest(**orjson.loads(found[0][0])) if found else None


def issue_code(state: State, user_id: str, request: AuthorizationRequest) -> str:
    """A code for a user who allowed a request."""
    now, code = state.time(), f"aPrx{secrets.token_urlsafe(60)}=="
    state.rows("DELETE FROM oauth_code WHERE issued_at < ?", [now - _REMEMBERED_SECONDS])
    state.rows(
        "INSERT INTO oauth_code VALUES (?, ?, ?, ?, 0)", [code, user_id, _dump(request), now]
    )
    return code


def redeem_code(
    state: State,
    code: str,
    *,
    client_id: str,
    redirect_uri: str,
    verifier: str | None,
    lifetime: float,
) -> tuple[str, AuthorizationRequest]:
    """The user who allowed a request, and the request; the code is spent by this.

    Raises:
        OAuthError: The code is not valid, or was made for something else; it is not spent then.
    """
    found = state.rows("SELECT user_id, body, issued_at FROM oauth_code WHERE code = ?", [code])
    if not found:
        raise OAuthError("invalid_grant", "invalid authorization code")
    user_id, body, issued_at = found[0]
    expired = OAuthError("invalid_grant", "expired authorization code")
    if state.time() - issued_at > lifetime:
        raise expired
    request = AuthorizationRequest(**orjson.loads(body))
    if request.client_id != client_id:
        raise OAuthError("invalid_grant", "invalid authorization code")
    if request.redirect_uri != redirect_uri:
        raise OAuthError("redirect_uri_mismatch", "redirect_uri must match configuration")
    if not verifier_fits(request.challenge, verifier):
        raise OAuthError("invalid_grant", "invalid code verifier")
    if not state.rows(
        "UPDATE oauth_code SET spent = 1 WHERE code = ? AND NOT spent RETURNING code", [code]
    ):
        raise expired
    return user_id, request


def is_challenge(text: str) -> bool:
    """Whether a text is the base64url of a SHA-256, without padding."""
    return _CHALLENGE.fullmatch(text) is not None


def verifier_fits(challenge: str | None, verifier: str | None) -> bool:
    """Whether a code verifier is the one behind a challenge; none belongs to none."""
    if challenge is None or verifier is None:
        return challenge is None and verifier is None
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    return hmac.compare_digest(digest.rstrip(b"="), challenge.encode("utf-8", "replace"))


def _dump(request: AuthorizationRequest) -> str:
    return orjson.dumps(asdict(request)).decode()
