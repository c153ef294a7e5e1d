"""What Dagster loads: every capability's definitions, assembled from `pipelines.yaml`."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from salesforce_pipelines.automation import jobs, schedules, sensors
from salesforce_pipelines.automation.time_frames import longest_gap_hours
from salesforce_pipelines.config.environment import LedgerEnvironment
from salesforce_pipelines.config.loading import configuration_path, load
from salesforce_pipelines.config.models import Pipelines, ledger_beside
from salesforce_pipelines.enrichment import assets as enrichment
from salesforce_pipelines.enrichment.providers import FilePeople
from salesforce_pipelines.identity import assets as identity
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull import assets as pull
from salesforce_pipelines.pull import reconciliation_assets as reconciliation
from salesforce_pipelines.pull.progress import NoDisplay
from salesforce_pipelines.push import assets as push
from salesforce_pipelines.referrals import assets as referrals
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.tables import Tables


def build(pipelines: Pipelines, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions of one configuration; neither the network nor any data is touched.

    Args:
        pipelines: The configuration.
        resources: Substitutes for `org`, `tables`, `ledger` and `people`, for tests, and for
            `progress`, which shows nothing by itself.
    """
    gap = longest_gap_hours(pipelines.schedule.time_frame) + 1
    sobjects = list(pipelines.objects.pulled())
    return dg.Definitions(
        assets=[
            *(pull.external(pipelines, sobject) for sobject in sobjects),
            identity.external_people(pipelines),
            *(pull.build(pipelines, sobject) for sobject in sobjects),
            reconciliation.build_record_links(pipelines),
            *identity.build_all(pipelines),
            *enrichment.build_all(pipelines),
            *push.build_all(pipelines),
            *referrals.build_all(pipelines),
        ],
        asset_checks=[
            *(check for sobject in sobjects for check in pull.checks(pipelines, sobject, gap)),
            *reconciliation.checks(pipelines),
            *identity.checks(pipelines),
            *enrichment.checks(pipelines),
            *push.checks(pipelines),
        ],
        jobs=jobs.build_all(pipelines),
        schedules=schedules.build_all(pipelines),
        sensors=sensors.build_all(pipelines),
        resources={**_resources(pipelines), **(resources or {})},
        # A process for each step would take longer to start than most steps take.
        executor=dg.in_process_executor,
    )


def open_ledger(pipelines: Pipelines) -> Ledger:
    """The ledger of a configuration, migrated to the newest schema; the caller closes it."""
    secret = LedgerEnvironment().ledger
    if secret is None:
        return Ledger.open(pipelines.storage.ledger)
    # As in the file: wherever a process was started, it is the same ledger.
    return Ledger.open(ledger_beside(configuration_path().parent, secret.get_secret_value()))


def _resources(pipelines: Pipelines) -> dict[str, dg.ResourceDefinition]:
    def org(_context: dg.InitResourceContext) -> Iterator[OrgSession]:
        session = OrgSession(pipelines.connection, job_timeout=pipelines.pull.job_timeout)
        yield session
        session.close()

    def ledger(_context: dg.InitResourceContext) -> Iterator[Ledger]:
        opened = open_ledger(pipelines)
        yield opened
        opened.close()

    def tables(_context: dg.InitResourceContext) -> Tables:
        return Tables(pipelines.storage.tables)

    def people(_context: dg.InitResourceContext) -> FilePeople:
        return FilePeople(pipelines.enrichment.provider)

    functions = {"org": org, "ledger": ledger, "tables": tables, "people": people}
    return {
        **{name: dg.ResourceDefinition(function) for name, function in functions.items()},
        "progress": dg.ResourceDefinition.hardcoded_resource(NoDisplay()),
    }


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the configuration in use."""
    return build(load(configuration_path()))
