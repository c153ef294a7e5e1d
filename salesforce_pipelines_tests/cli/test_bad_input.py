"""Bad input: one clear message, exit code 2, no traceback, nothing half-done."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines.store.tables import Tables
from salesforce_pipelines_tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow
COMMAND = str(Path(sys.executable).with_name("salesforce-pipelines"))


@dataclass
class Installation:
    """A folder with a configuration, and the environment of its command line."""

    folder: Path
    environment: dict[str, str]

    def write(self, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        document = yaml.safe_load((REPOSITORY / "pipelines.yaml").read_text(encoding="utf-8"))
        document["enrichment"]["provider"]["path"] = "people.csv"
        change(document)
        text = yaml.safe_dump(document, sort_keys=False)
        (self.folder / "pipelines.yaml").write_text(text, encoding="utf-8")

    def refused(self, *arguments: str) -> str:
        """Run a command that has to be refused; what it tells."""
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        told = done.stdout + done.stderr
        assert done.returncode == 2, told
        assert "Traceback" not in told
        assert told.count("Error: ") == 1
        return told

    def tables(self) -> list[str]:
        """The tables that have a committed row or watermark."""
        root = self.folder / ".home" / "tables"
        found = (path.parent.relative_to(root) for path in root.glob("**/_delta_log"))
        return sorted(str(name) for name in found if Tables(root).log(str(name)).state())


@pytest.fixture
def installation(tmp_path: Path, local_org: RunningOrg, people_file: Path) -> Installation:
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    shutil.copy(people_file, tmp_path / "people.csv")
    state = tmp_path / ".home" / "dagster"
    state.mkdir(parents=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "DAGSTER_HOME": str(tmp_path),
        "DAGSTER_STATE": str(state),
        "SALESFORCE_LOGIN_URL": local_org.url,
        "SALESFORCE_CLIENT_ID": local_org.client_id,
        "SALESFORCE_CLIENT_SECRET": local_org.client_secret,
    }
    made = Installation(tmp_path, environment)
    made.write()
    return made


def test_an_unknown_key(installation: Installation) -> None:
    installation.write(lambda document: document["pull"].update(overlpa="5m"))
    told = installation.refused("run", "sync")
    assert "pipelines.yaml:" in told
    assert "pull.overlpa: unknown key; did you mean 'overlap'?" in told
    assert installation.tables() == []


def test_a_mapped_field_that_the_org_lacks(installation: Installation) -> None:
    installation.write(
        lambda document: document["objects"]["Contact"]["mapping"].update(Shoe_Size__c="job_title")
    )
    for command in (["check"], ["run", "pull"]):
        told = installation.refused(*command)
        assert "Contact: the org has no field Shoe_Size__c" in told
        assert "pipelines.yaml" in told
    assert "pulled/contacts" not in installation.tables()


def test_a_mapped_field_that_is_not_updateable(installation: Installation) -> None:
    installation.write(
        lambda document: document["objects"]["Contact"]["mapping"].update(
            Full_Name_Length__c="job_title"
        )
    )
    told = installation.refused("check")
    assert "objects.Contact.mapping.Full_Name_Length__c" in told
    assert "cannot be updated (it is calculated)" in told


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ({"list_view": "No_Such_View"}, "No_Such_View"),
        (
            {"soql": "Shoe_Size__c = 44"},
            "objects.Contact.scope in pipelines.yaml: the org does not",
        ),
    ],
    ids=["no list view", "no field"],
)
def test_a_scope_that_the_org_does_not_take(
    installation: Installation, scope: dict[str, str], told: str
) -> None:
    installation.write(lambda document: document["objects"]["Contact"].update(scope=scope))
    assert told in installation.refused("check")
    assert told in installation.refused("run", "pull")
    assert "pulled/contacts" not in installation.tables()


def test_a_wrong_secret(installation: Installation) -> None:
    installation.environment["SALESFORCE_CLIENT_SECRET"] = "not-the-secret"
    told = installation.refused("run", "pull")
    assert "Check SALESFORCE_CLIENT_SECRET" in told
    assert "not-the-secret" not in told
    assert installation.tables() == []


def test_a_missing_secret(installation: Installation) -> None:
    del installation.environment["SALESFORCE_CLIENT_SECRET"]
    assert "SALESFORCE_CLIENT_SECRET: set in the environment" in installation.refused("check")


def test_an_org_that_is_not_running(installation: Installation) -> None:
    installation.environment["SALESFORCE_LOGIN_URL"] = "http://127.0.0.1:9"
    told = installation.refused("run", "pull")
    assert "no answer from http://127.0.0.1:9" in told
    assert "is it running?" in told
    assert installation.tables() == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "people.csv"),
        ("person_id,work_email\n", "people.csv"),
        ('person_id,work_email,phones\nP-1,"a@example.com\n', "people.csv"),
        ("person_id,work_email\nP-1,a@example.com,one too many\n", "people.csv"),
    ],
    ids=["empty", "no rows", "an open quote", "too many cells"],
)
def test_people_data_that_cannot_be_used(installation: Installation, text: str, told: str) -> None:
    (installation.folder / "people.csv").write_text(text, encoding="utf-8")
    assert told in installation.refused("check")
    assert told in installation.refused("run", "sync")
    assert not [name for name in installation.tables() if name.startswith(("matches", "enrich"))]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "contacts.csv"),
        ("LastName,Shoe Size\nA,42\n", "Shoe Size"),
        ("LastName,Title\nA\n", "2"),
    ],
    ids=["empty", "unknown column", "a cell too few"],
)
def test_rows_for_the_local_org_that_cannot_be_loaded(
    installation: Installation, text: str, told: str
) -> None:
    path = installation.folder / "contacts.csv"
    path.write_text(text, encoding="utf-8")
    home = str(installation.folder / "org")
    found = installation.refused(
        "local-org", "serve", "--port", "0", "--home", home, "--load", str(path)
    )
    assert "contacts.csv" in found
    assert told in found


def test_an_unknown_job_and_an_unknown_plan(installation: Installation) -> None:
    assert "no such job; there are" in installation.refused("run", "snyc")
    told = installation.refused("confirm", "abc", "--amount", "1", "--by", "a test")
    assert "abc" in told
