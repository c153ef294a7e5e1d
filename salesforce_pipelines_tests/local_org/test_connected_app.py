"""The settings of the connected app: what they accept, and that they last."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.oauth2.app_options import app_changes
from salesforce_pipelines.local_org.oauth2.connected_app import (
    AppSettings,
    AppSettingsError,
    app_settings,
    change_app_settings,
)
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.running import running_org
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines.local_org.storage.state import State
from salesforce_pipelines_tests.local_org.conftest import token_of
from salesforce_pipelines_tests.local_org.web_login import post_token, refused


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def state(tmp_path: Path) -> Any:
    state = State(tmp_path / "platform.db")
    yield state
    state.close()


def test_what_is_changed_outlives_a_restart(tmp_path: Path, state: State) -> None:
    assert app_settings(state) == AppSettings()
    changes = {
        "session_seconds": 60,
        "callbacks": ["https://app.example.com/callback"],
        "preauthorised_users": ["a@example.com"],
        "client_credentials_user": None,
        "certificates": [public_pem(RSA_KEY)],
        "rotate_refresh_tokens": True,
    }
    changed = change_app_settings(state, **changes)
    assert changed.callbacks == ("https://app.example.com/callback",)
    assert change_app_settings(state, code_seconds=5).session_seconds == 60
    state.close()
    again = State(tmp_path / "platform.db")
    assert asdict(app_settings(again)) == asdict(changed) | {"code_seconds": 5}
    assert change_app_settings(again, preauthorised_users=None).preauthorised_users is None
    again.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_seconds", 0),
        ("session_seconds", "60"),
        ("session_seconds", True),
        ("session_seconds", 10**9),
        ("code_seconds", 1.5),
        ("require_pkce", 1),
        ("require_pkce", None),
        ("callbacks", "https://app.example.com"),
        ("callbacks", ["https://app.example.com", "javascript:alert(1)"]),
        ("scopes", []),
        ("scopes", ["api", "magic"]),
        ("preauthorised_users", [""]),
        ("client_credentials_user", ""),
        ("certificates", ["no certificate"]),
        ("certificates", ["-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"]),
        ("certificates", [public_pem(ec.generate_private_key(ec.SECP256R1()))]),
        ("certificates", [public_pem(rsa.generate_private_key(65537, 1024))]),
        ("certificates", ["\ud800"]),
        ("no_such_setting", 1),
    ],
)
def test_what_is_refused_changes_nothing(state: State, name: str, value: object) -> None:
    with pytest.raises(AppSettingsError, match=f"^{name}: "):
        change_app_settings(state, **{"code_seconds": 5, name: value})
    assert app_settings(state) == AppSettings()


def test_a_refusal_does_not_repeat_the_value(state: State) -> None:
    private = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(AppSettingsError) as refusal:
        change_app_settings(state, certificates=[private])
    assert "PRIVATE" not in str(refusal.value)
    assert private.splitlines()[1] not in str(refusal.value)


def test_a_private_key_beside_the_public_one_is_not_kept(state: State) -> None:
    kept = change_app_settings(state, certificates=[public_pem(RSA_KEY) + "trailing"]).certificates
    assert kept == (public_pem(RSA_KEY),)


def test_an_org_whose_settings_are_refused_lets_its_home_go(tmp_path: Path) -> None:
    build_home(tmp_path / "home", 1, lambda: ())
    with pytest.raises(PipelineError, match=r"^code_seconds: "):
        Org(tmp_path / "home", Settings(app_changes={"code_seconds": 0}))
    org = Org(tmp_path / "home", Settings(app_changes={"code_seconds": 7}))
    assert app_settings(org.state).code_seconds == 7
    org.close()


def test_options_that_are_not_given_change_nothing(tmp_path: Path) -> None:
    assert app_changes(session_seconds=None, require_pkce=None, callbacks=None) == {}
    assert app_changes(require_pkce=False, client_credentials_user="") == {
        "require_pkce": False,
        "client_credentials_user": None,
    }
    assert app_changes(preauthorised_users=["a", "*"]) == {"preauthorised_users": None}
    assert app_changes(preauthorised_users=["a"]) == {"preauthorised_users": ["a"]}
    path = tmp_path / "app.crt"
    with pytest.raises(PipelineError, match=r"--jwt-certificate: .*app\.crt"):
        app_changes(certificates=[path])
    path.write_text("pem", encoding="utf-8")
    assert app_changes(certificates=[path]) == {"certificates": ["pem"]}


@pytest.mark.slow
def test_options_are_kept_with_the_home(tmp_path: Path) -> None:
    none = refused("invalid_grant", "no client credentials user enabled")
    with running_org(tmp_path, options=("--client-credentials-user", "")) as org:
        assert post_token(org, grant_type="client_credentials") == none
    with running_org(tmp_path) as org:
        assert post_token(org, grant_type="client_credentials") == none
    with running_org(
        tmp_path, options=("--client-credentials-user", "admin@local-org.example")
    ) as org:
        assert token_of(org)["token_type"] == "Bearer"
    with (
        pytest.raises(PipelineError, match="callbacks: a callback is an absolute address"),
        running_org(tmp_path, options=("--callback", "nowhere")),
    ):
        pass
