"""Secrets and addresses that come from the environment, never from a file of the project."""

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from salesforce_pipelines.config.models import Connection
from salesforce_pipelines.errors import PipelineError


class OrgEnvironment(BaseSettings):
    """What the OAuth grant needs: SALESFORCE_CLIENT_ID, SALESFORCE_CLIENT_SECRET and so on."""

    model_config = SettingsConfigDict(env_prefix="SALESFORCE_", extra="ignore", frozen=True)

    client_id: str = Field(min_length=1)
    client_secret: SecretStr
    refresh_token: SecretStr | None = None
    login_url: str | None = Field(None, pattern=r"^https?://[^/\s]+$")


class LedgerEnvironment(BaseSettings):
    """SALESFORCE_PIPELINES_LEDGER: the ledger's URL where it holds a password."""

    model_config = SettingsConfigDict(env_prefix="SALESFORCE_PIPELINES_", extra="ignore")

    ledger: SecretStr | None = None


def org_environment(connection: Connection) -> OrgEnvironment:
    """The environment's part of the connection.

    Raises:
        PipelineError: A variable that the grant needs is missing or malformed.
    """
    try:
        found = OrgEnvironment()
    except ValidationError as error:
        # The error itself holds the values, so it goes no further.
        names = ", ".join(
            "SALESFORCE_" + str(problem["loc"][-1]).upper() for problem in error.errors()
        )
        raise PipelineError(
            f"{names}: set in the environment (or in .env) what the org's app gave you; "
            f"connection.grant is {connection.grant}"
        ) from None
    if connection.grant == "refresh_token" and found.refresh_token is None:
        raise PipelineError(
            "SALESFORCE_REFRESH_TOKEN: set it in the environment (or in .env); "
            "connection.grant is refresh_token"
        )
    return found
