"""The org that the benchmarks read, from the environment."""

from salesforce_pipelines.config.loading import configuration_path, load
from salesforce_pipelines.config.models import Pipelines
from salesforce_pipelines.org.session import OrgSession


def configured() -> tuple[Pipelines, OrgSession]:
    """The configuration, and a session with the org of the configuration and the environment."""
    pipelines = load(configuration_path())
    return pipelines, OrgSession(pipelines.connection)
