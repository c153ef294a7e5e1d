"""A running local org, a configuration that points at it, and everything a run needs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from hypothesis import settings
from pydantic import SecretStr

from salesforce_pipelines.config.environment import OrgEnvironment
from salesforce_pipelines.config.loading import load
from salesforce_pipelines.config.models import Pipelines
from salesforce_pipelines.definitions import build
from salesforce_pipelines.enrichment.providers import FilePeople
from salesforce_pipelines.local_org.generated.people import write_people
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.tables import Tables

# Speed is measured by the benchmarks; a busy machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

REPOSITORY = Path(__file__).parents[1]
CONTACTS, LEADS, SEED = 400, 200, 3


@pytest.fixture(scope="module")
def local_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """An org of 400 generated Contacts and 200 Leads, new for every module."""
    home = tmp_path_factory.mktemp("org")
    with running_org(home, contacts=CONTACTS, leads=LEADS, seed=SEED) as org:
        yield org


@pytest.fixture(scope="session")
def people_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The people data that fit the generated org."""
    path = tmp_path_factory.mktemp("people") / "people.csv"
    write_people(path, CONTACTS, LEADS, SEED)
    return path


@dataclass
class Project:
    """One installation: configuration, org session, tables, ledger, people, Dagster instance."""

    folder: Path
    pipelines: Pipelines
    org: OrgSession
    tables: Tables
    ledger: Ledger
    people: FilePeople
    instance: dg.DagsterInstance
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self, job: str, *assets: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a job to success; the metadata of what it materialised, by asset."""
        result = self.attempt(job, *assets, config=config)
        assert result.success
        found = {}
        for event in result.get_asset_materialization_events():
            materialization = event.step_materialization_data.materialization
            found[materialization.asset_key.to_user_string()] = {
                key: value.value for key, value in materialization.metadata.items()
            }
        return found

    def attempt(
        self, job: str, *assets: str, config: dict[str, Any] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run a job, whatever comes of it."""
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        definitions = build(
            self.pipelines,
            {
                "org": self.org,
                "tables": self.tables,
                "ledger": self.ledger,
                "people": self.people,
            },
        )
        chosen = definitions.resolve_job_def(job)
        return chosen.execute_in_process(
            instance=self.instance,
            run_config={**(chosen.run_config or {}), **quiet, **(config or {})},
            raise_on_error=False,
            asset_selection=[dg.AssetKey(name.split("/")) for name in assets] or None,
        )

    def query(self, soql: str) -> list[dict[str, Any]]:
        """Every record of a query, deleted ones included, without the attributes."""
        page = self.org.get("queryAll", {"q": soql})
        records = list(page["records"])
        while not page["done"]:
            page = self.org.request("GET", page["nextRecordsUrl"]).json()
            records += page["records"]
        return [{k: v for k, v in record.items() if k != "attributes"} for record in records]

    def edit(self, sobject: str, record: str, **values: Any) -> None:
        """Edit a record as a person in the org would."""
        path = f"{self.org.base_path}/sobjects/{sobject}/{record}"
        self.org.request("PATCH", path, json=values)


def why(result: dg.ExecuteInProcessResult) -> str:
    """What a failed run tells."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            assert failure.user_failure_data is not None, failure.error
            return failure.user_failure_data.description or ""
    raise AssertionError("the run did not fail")


Start = Callable[..., Project]


@pytest.fixture
def start(tmp_path: Path, local_org: RunningOrg, people_file: Path) -> Iterator[Start]:
    """Starts an installation; keyword arguments change top-level keys of the configuration."""
    opened: list[Project] = []

    def begin(**changes: Any) -> Project:
        folder = tmp_path / f"installation{len(opened)}"
        folder.mkdir()
        document = yaml.safe_load((REPOSITORY / "pipelines.yaml").read_text(encoding="utf-8"))
        document["enrichment"]["provider"]["path"] = str(people_file)
        document.update(changes)
        path = folder / "pipelines.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        pipelines = load(path)
        environment = OrgEnvironment(
            client_id=local_org.client_id,
            client_secret=SecretStr(local_org.client_secret),
            login_url=local_org.url,
        )
        project = Project(
            folder,
            pipelines,
            OrgSession(pipelines.connection, environment),
            Tables(pipelines.storage.tables),
            Ledger.open(pipelines.storage.ledger),
            FilePeople(pipelines.enrichment.provider),
            dg.DagsterInstance.ephemeral(),
        )
        opened.append(project)
        return project

    yield begin
    for project in opened:
        project.org.close()
        project.ledger.close()
        project.instance.dispose()


@pytest.fixture
def project(start: Start) -> Project:
    """An installation with the shipped configuration."""
    return start()


@pytest.fixture(scope="session")
def shipped() -> dict[str, Any]:
    """The shipped configuration as a document, to change and pass to `start`."""
    document: dict[str, Any] = yaml.safe_load(
        (REPOSITORY / "pipelines.yaml").read_text(encoding="utf-8")
    )
    return document
