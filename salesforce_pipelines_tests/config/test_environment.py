"""Secrets come from the environment, and one that is missing is named."""

from pathlib import Path

import pytest

from salesforce_pipelines.config.environment import org_environment
from salesforce_pipelines.config.loading import load
from salesforce_pipelines.config.models import Connection
from salesforce_pipelines.errors import PipelineError

CONNECTION = load(Path(__file__).parents[2] / "pipelines.yaml").connection


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN", "LOGIN_URL"):
        monkeypatch.delenv(f"SALESFORCE_{name}", raising=False)


def test_missing_secrets_are_named() -> None:
    with pytest.raises(PipelineError, match="SALESFORCE_CLIENT_ID, SALESFORCE_CLIENT_SECRET"):
        org_environment(CONNECTION)


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALESFORCE_CLIENT_ID", "app")
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", "hush")
    assert "hush" not in repr(org_environment(CONNECTION))


def test_the_refresh_token_grant_needs_a_refresh_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALESFORCE_CLIENT_ID", "app")
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", "hush")
    connection = Connection.model_validate(
        {"login_url": "http://127.0.0.1:1", "grant": "refresh_token"}
    )
    with pytest.raises(PipelineError, match="SALESFORCE_REFRESH_TOKEN"):
        org_environment(connection)
