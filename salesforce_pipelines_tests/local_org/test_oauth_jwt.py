"""JWT bearer: what an assertion has to say, and who may say it."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed

from salesforce_pipelines.local_org.oauth2.jwt_bearer import expiry_seconds, is_audience
from salesforce_pipelines.local_org.running import running_org
from salesforce_pipelines_tests.local_org.conftest import api_of, unique
from salesforce_pipelines_tests.local_org.serving_in_thread import ServedOrg
from salesforce_pipelines_tests.local_org.test_simple_salesforce import ToLocalOrg
from salesforce_pipelines_tests.local_org.web_login import (
    Browser,
    exchanged,
    new_user,
    post_token,
    refused,
)

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ADMIN = "admin@local-org.example"
INVALID = refused("invalid_grant", "invalid assertion")
AUDIENCE = refused("invalid_grant", "Audience validation failed")
EXPIRED = refused("invalid_grant", "expired authorization code")
NOT_APPROVED = refused("invalid_grant", "user hasn't approved this consumer")


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


KEY, OTHER_KEY = new_key(), new_key()


def certificate_of(key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local-org.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def app(served: ServedOrg) -> ServedOrg:
    """An org whose app knows the certificate of `KEY`."""
    served.change(certificates=[certificate_of(KEY)])
    return served


def claims_of(app: ServedOrg, **changes: object) -> dict[str, Any]:
    claims = {
        "iss": app.client_id,
        "sub": ADMIN,
        "aud": "https://login.salesforce.com",
        "exp": int(app.clock.now.timestamp()) + 180,
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


def login(app: ServedOrg, assertion: str) -> tuple[int, Any]:
    return post_token(app, grant_type=GRANT, assertion=assertion, client_id="-", client_secret="-")


def login_with(app: ServedOrg, **changes: object) -> tuple[int, Any]:
    return login(app, jwt.encode(claims_of(app, **changes), KEY, "RS256"))


def test_a_server_logs_a_user_in(app: ServedOrg) -> None:
    status, granted = login_with(app)
    assert status == 200
    assert "refresh_token" not in granted
    assert granted["scope"] == "api web full id"
    assert granted["id"].endswith(app.org.store.admin_id)
    assert login_with(app, sub=None, prn=ADMIN.upper())[1]["id"] == granted["id"]


def test_audiences(app: ServedOrg) -> None:
    host = app.url.partition("://")[2]
    good = ("https://login.salesforce.com/", "https://test.salesforce.com", f"http://{host}/",
            f"https://{host}", [app.url])  # fmt: skip
    for audience in good:
        assert login_with(app, aud=audience)[0] == 200, audience
    bad: tuple[object, ...] = (
        "", None, "login.salesforce.com", "http://login.salesforce.com", "https://example.com",
        f"{app.url}/services/oauth2/token", "https://login.salesforce.com@example.com",
        "https://[", 7, [], [7], {"a": "b"},
    )  # fmt: skip
    for each in bad:
        assert login_with(app, aud=each) == AUDIENCE, each


def test_expiries(app: ServedOrg) -> None:
    now = int(app.clock.now.timestamp())
    # The sf CLI counts in milliseconds and gives less than a second.
    for good in (now + 300, str(now + 180), f"{now + 180}.0", now * 1000 + 300, now + 0.5):
        assert login_with(app, exp=good)[0] == 200, good
    for late in (now - 31, str(now - 3600), (now - 60) * 1000, 0, -1):
        assert login_with(app, exp=late) == EXPIRED, late
    bad: object
    for bad in (None, "", "soon", True, [], now + 3600, (now + 3600) * 1000, "inf", "nan", 10**400):
        assert login_with(app, exp=bad) == INVALID, bad


def test_a_used_assertion_expires_with_the_clock(app: ServedOrg) -> None:
    assertion = jwt.encode(claims_of(app), KEY, "RS256")
    assert login(app, assertion)[0] == 200
    app.clock.forward(180 + 31)
    assert login(app, assertion) == EXPIRED


def test_signatures(app: ServedOrg) -> None:
    claims = claims_of(app)
    assert login(app, jwt.encode(claims, OTHER_KEY, "RS256")) == INVALID
    assert login(app, jwt.encode(claims, KEY, "RS512")) == INVALID
    assert login(app, jwt.encode(claims, KEY, "PS256")) == INVALID
    assert login(app, jwt.encode(claims, "x" * 64, "HS256")) == INVALID
    assert login(app, jwt.encode(claims, "", "none")) == INVALID
    head, body, signature = jwt.encode(claims, KEY, "RS256").split(".")
    forged = jwt.encode(claims | {"sub": "integration@local-org.example"}, KEY, "RS256")
    assert login(app, f"{head}.{forged.split('.')[1]}.{signature}") == INVALID
    assert login(app, f"{head}.{body}.") == INVALID
    app.change(certificates=[public_pem(OTHER_KEY), public_pem(KEY)])
    assert login_with(app)[0] == 200
    app.change(certificates=[])
    assert login_with(app) == INVALID


@pytest.mark.parametrize("assertion", ["", "-", "x", "a.b.c", "..", "é.é.é", "e30.W10."])
def test_assertions_that_are_none(app: ServedOrg, assertion: str) -> None:
    assert login(app, assertion) == INVALID


def test_claims_that_make_no_sense(app: ServedOrg) -> None:
    unknown = refused("invalid_client_id", "client identifier invalid")
    for issuer in ("other", None, 7, ["local-org"]):
        # PyJWT refuses to sign what is no text, so it is signed as bytes.
        assertion = jwt.PyJWS().encode(
            json.dumps(claims_of(app, iss=issuer)).encode(), KEY, "RS256"
        )
        assert login(app, assertion) == unknown
    for subject in (None, "", 7, ["x"], {"a": "b"}):
        payload = json.dumps(claims_of(app, sub=subject)).encode()
        assert login(app, jwt.PyJWS().encode(payload, KEY, "RS256")) == INVALID
    for payload in (b"[]", b"7", b"{", b"\xff", b'{"sub": "\\ud800"}'):
        assert login(app, jwt.PyJWS().encode(payload, KEY, "RS256")) == INVALID


def test_users_who_may_not(app: ServedOrg) -> None:
    assert login_with(app, sub="nobody@example.com") == NOT_APPROVED
    name = unique("Approver")
    username = new_user(app, FirstName="An", LastName=name)
    assert login_with(app, sub=username)[0] == 200
    app.change(preauthorised_users=["Integration@local-org.example"])
    assert login_with(app, sub=username) == NOT_APPROVED
    assert login_with(app, sub="integration@local-org.example")[0] == 200
    # Whoever allowed the app in a browser, with a refresh token, has approved it.
    with requests.Session() as session:
        browser = Browser(app, session)
        exchanged(app, browser.code(f"An {name}", scope="api"))
        assert login_with(app, sub=username) == NOT_APPROVED
        _, granted = exchanged(app, browser.code(f"An {name}"))
    assert login_with(app, sub=username)[0] == 200
    data = {"token": granted["refresh_token"]}
    requests.post(f"{app.url}/services/oauth2/revoke", data=data, timeout=10)
    assert login_with(app, sub=username) == NOT_APPROVED


def test_an_inactive_user(app: ServedOrg) -> None:
    client = api_of(app)
    with client.session:
        admin = app.org.store.admin_id
        client.update("User", admin, IsActive=False)
        assert login_with(app) == refused("invalid_grant", "inactive user")
        client.update("User", admin, IsActive=True)
    assert login_with(app)[0] == 200


@given(st.floats(0, 1e10) | st.integers(0, 10**10))
def test_an_expiry_is_read_alike_in_every_form(seconds: float) -> None:
    for claim in (seconds, str(seconds), repr(float(seconds))):
        read = expiry_seconds(claim)
        assert read is not None
        assert math.isclose(read, seconds)
    milliseconds = expiry_seconds(max(seconds, 1e9) * 1000)
    assert milliseconds is not None
    assert math.isclose(milliseconds, max(seconds, 1e9))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON)
def test_any_claim_is_read_without_an_error(claim: object) -> None:
    read = expiry_seconds(claim)
    assert read is None or math.isfinite(read)
    assert not is_audience(claim, "org.example.com")


def test_simple_salesforce_logs_in_with_a_key(tmp_path: Path) -> None:
    certificate, key, wrong = (tmp_path / name for name in ("app.crt", "app.key", "wrong.key"))
    certificate.write_text(certificate_of(KEY), encoding="utf-8")
    key.write_text(private_pem(KEY), encoding="utf-8")
    wrong.write_text(private_pem(OTHER_KEY), encoding="utf-8")
    options = ("--jwt-certificate", str(certificate))
    with running_org(tmp_path / "home", options=options) as org, requests.Session() as session:
        session.mount("https://", ToLocalOrg(org.url))
        for _ in range(2):
            salesforce = Salesforce(
                username=ADMIN,
                consumer_key=org.client_id,
                privatekey_file=str(key),
                session=session,
                version="62.0",
            )
            found = salesforce.query("SELECT Id FROM User WHERE LastName = 'Administrator'")
            assert found["totalSize"] == 1
        with pytest.raises(SalesforceAuthenticationFailed, match="invalid assertion"):
            Salesforce(
                username=ADMIN,
                consumer_key=org.client_id,
                privatekey_file=str(wrong),
                session=session,
            )
