"""The org's one connected app: what its settings are, and how they change while it is served.

They are kept with the home. The names follow those of Salesforce's setup pages ("Manage OAuth
Access Policies for a Connected App").
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from functools import cache, lru_cache
from typing import Annotated, Any, ClassVar

import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    TypeAdapter,
    ValidationError,
)

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.errors import ApiError, OAuthError
from salesforce_pipelines.local_org.oauth2.callbacks import is_callback
from salesforce_pipelines.local_org.storage.state import State

SCOPES = frozenset(
    {
        "address", "api", "cdp_ingest_api", "cdp_profile_api", "cdp_query_api", "chatbot_api",
        "chatter_api", "content", "custom_permissions", "eclair_api", "einstein_gpt_api", "email",
        "full", "id", "interaction_api", "lightning", "openid", "pardot_api", "phone", "profile",
        "refresh_token", "sfap_api", "user_registration_api", "visualforce", "wave_api", "web",
    }
)  # fmt: skip
"""What an app can be allowed ("OAuth Tokens and Scopes"); `offline_access` is `refresh_token`."""

_SETTING = "connected_app"
_SMALLEST_KEY_BITS = 2048
_YEAR_SECONDS = 366 * 24 * 3600


class AppSettingsError(PipelineError):
    """A change of the app's settings that is refused; the message names the setting."""


def _callback(uri: str) -> str:
    if not is_callback(uri):
        raise ValueError("a callback is an absolute address without a fragment")
    return uri


def _scope(name: str) -> str:
    if name not in SCOPES:
        raise ValueError(f"the scopes are {', '.join(sorted(SCOPES))}")
    return name


def _certificate(pem: str) -> str:
    """The public key alone, so that a private key given with it is not kept."""
    key = rsa_key(pem)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@lru_cache(maxsize=32)
def rsa_key(pem: str) -> RSAPublicKey:
    """The RSA key of a certificate or a public key in PEM.

    Raises:
        ValueError: It is neither, or is shorter than 2048 bits.
    """
    key = _public_key(pem.encode("utf-8", "replace"))
    if not isinstance(key, RSAPublicKey) or key.key_size < _SMALLEST_KEY_BITS:
        raise ValueError("a PEM certificate or public key is needed, RSA with 2048 bits or more")
    return key


def _public_key(pem: bytes) -> object:
    """The key of a PEM; None if it has none or one of a kind that is not supported."""
    try:
        if b"-----BEGIN CERTIFICATE-----" in pem:
            return x509.load_pem_x509_certificate(pem).public_key()
        return load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None


_Seconds = Annotated[int, Field(strict=True, ge=1, le=_YEAR_SECONDS)]
_Username = Annotated[StrictStr, Field(min_length=1, max_length=80)]


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The switches of the connected app.

    Attributes:
        session_seconds: How long an access token lives after its last use.
        code_seconds: How long an authorization code can be exchanged.
        callbacks: Addresses a login may end at, beside every address of this machine.
        scopes: What the app may be allowed; a request that names no scope gets all of them.
        require_pkce: Whether a login needs a code challenge.
        require_secret: Whether a code is exchanged only with the consumer secret.
        require_refresh_secret: Whether a refresh token is used only with the consumer secret.
        rotate_refresh_tokens: Whether each refresh gives a new refresh token and spends the old
            one; using a spent one again ends the approval and its access tokens.
        preauthorised_users: Usernames that JWT bearer may log in at once; None for every user.
            Somebody who has approved the app in a browser and left a refresh token may be logged
            in too.
        client_credentials_user: Username that client credentials run as; None for nobody.
        certificates: PEM certificates or RSA public keys that check the signatures of JWTs; only
            their public keys are kept.
        api_access: Whether the API answers at all.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    session_seconds: _Seconds = 7200
    code_seconds: _Seconds = 900
    callbacks: tuple[Annotated[StrictStr, AfterValidator(_callback)], ...] = ()
    scopes: Annotated[
        tuple[Annotated[StrictStr, AfterValidator(_scope)], ...], Field(min_length=1)
    ] = ("api", "web", "full", "id", "refresh_token")
    require_pkce: StrictBool = False
    require_secret: StrictBool = True
    require_refresh_secret: StrictBool = True
    rotate_refresh_tokens: StrictBool = False
    preauthorised_users: tuple[_Username, ...] | None = None
    client_credentials_user: _Username | None = "integration@local-org.example"
    certificates: tuple[Annotated[StrictStr, AfterValidator(_certificate)], ...] = ()
    api_access: StrictBool = True


def app_settings(state: State) -> AppSettings:
    """The app's settings as they are now."""
    return _decoded(state.setting(_SETTING))


def change_app_settings(state: State, **changes: Any) -> AppSettings:
    """Change some of the app's settings from now on; the settings as they are then.

    Args:
        state: Where they are kept.
        changes: New values by the names of `AppSettings`; sequences may be lists.

    Raises:
        AppSettingsError: A name or a value is not valid; nothing is changed.
    """
    before = app_settings(state)
    if not changes:
        return before
    try:
        settings = _adapter().validate_python(asdict(before) | changes)
    except ValidationError as error:
        raise AppSettingsError("; ".join(map(_told, error.errors()))) from None
    state.set_setting(_SETTING, orjson.dumps(asdict(settings)).decode())
    return settings


def granted_scope(requested: str, assigned: Collection[str]) -> str:
    """The scope that a login gives, as the token response names it.

    Raises:
        OAuthError: invalid_scope; the app may not be allowed what is asked for.
    """
    names = ["refresh_token" if n == "offline_access" else n for n in requested.split()]
    for name in names:
        implied = "full" in assigned and name in SCOPES and name != "refresh_token"
        if name not in assigned and not implied:
            raise OAuthError("invalid_scope", "the requested scope is not allowed")
    return " ".join(dict.fromkeys(names or assigned))


def without_refresh(scope: str) -> str:
    """A scope without `refresh_token`, for the flows that give none."""
    return " ".join(name for name in scope.split() if name != "refresh_token")


def check_api_access(settings: AppSettings, scope: str) -> None:
    """Refuse a call to the API that the app or the token's scope does not allow.

    Raises:
        ApiError: API_DISABLED_FOR_ORG or INVALID_SESSION_ID.
    """
    if not settings.api_access:
        message = "The REST API is not enabled for this Organization."
        raise ApiError(403, "API_DISABLED_FOR_ORG", message)
    if not {"api", "full"} & set(scope.split()):
        message = "This session is not valid for use with the REST API"
        raise ApiError(401, "INVALID_SESSION_ID", message)


@cache
def _adapter() -> TypeAdapter[AppSettings]:
    return TypeAdapter(AppSettings)


@lru_cache(maxsize=32)
def _decoded(kept: str | None) -> AppSettings:
    if kept is None:
        return AppSettings()
    names = {item.name for item in fields(AppSettings)}
    values = {name: value for name, value in orjson.loads(kept).items() if name in names}
    return _adapter().validate_python(values)


def _told(problem: Any) -> str:
    """A problem without the value that has it."""
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    if problem["type"] == "unexpected_keyword_argument":
        return f"{name}: there is no such setting of the connected app"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"
