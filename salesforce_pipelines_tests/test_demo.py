"""The demo, as a newcomer runs it, twice: the second one changes nothing it should not."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from salesforce_pipelines.config.environment import OrgEnvironment
from salesforce_pipelines.config.models import Connection
from salesforce_pipelines.local_org.running import running_org
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines_tests.conftest import REPOSITORY

STAMPS = {"LastModifiedDate", "LastModifiedById", "SystemModstamp"}


def demo(folder: Path) -> str:
    state = folder / ".home" / "dagster"
    state.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "salesforce_pipelines.cli", "demo", "--contacts=150", "--leads=80"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DAGSTER_HOME": str(folder),
            "DAGSTER_STATE": str(state),
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "no warning, no log line"
    return done.stdout


def number(summary: str, what: str) -> int:
    found = re.search(rf"│ {what}\s+│ ([\d,]+)", summary)
    assert found, summary
    return int(found[1].replace(",", ""))


def values(folder: Path) -> dict[str, dict[str, Any]]:
    """Every field of every Contact and Lead but the stamps."""
    with running_org(folder / ".home" / "org") as org:
        environment = OrgEnvironment(
            client_id=org.client_id, client_secret=SecretStr(org.client_secret)
        )
        session = OrgSession(Connection(login_url=org.url), environment)
        found = {}
        for name in ("Contact", "Lead"):
            fields = [
                field["name"]
                for field in session.get(f"sobjects/{name}/describe")["fields"]
                if field["type"] not in ("address", "location") and field["name"] not in STAMPS
            ]
            soql = f"SELECT {', '.join(fields)} FROM {name}"
            for record in session.get("queryAll", {"q": soql})["records"]:
                found[record["Id"]] = record
        session.close()
        return found


@pytest.mark.slow
def test_the_demo_runs_and_a_second_one_spends_and_changes_nothing(tmp_path: Path) -> None:
    for name in ("pipelines.yaml", "dagster.yaml", "workspace.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    first = demo(tmp_path)
    assert number(first, "credits spent") > 100
    assert number(first, "cells written") > 1000
    assert number(first, "cells rejected") == 0
    assert number(first, "referral links") > 600
    assert "full" in first
    before = values(tmp_path)
    second = demo(tmp_path)
    assert number(second, "credits spent") == 0
    assert number(second, "records planned for enrichment") == 0
    assert number(second, "cells written") == 0
    assert "full" not in second
    assert values(tmp_path) == before
