"""The org that the benchmarks read, from the environment."""

from salesforce_pipelines.config.loading import configuration_path, load
from salesforce_pipelines.org.session import OrgSession


def session() -> OrgSession:
    """A session with the org of the configuration and the environment."""
    return OrgSession(load(configuration_path()).connection)
