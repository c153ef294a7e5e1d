"""What changed in which pull can be asked for, by record and by time."""

import csv
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from deltalake import DeltaTable
from typer.testing import CliRunner

from salesforce_pipelines.cli.main import app
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.pull.history import batch_of, changes_since, versions
from salesforce_pipelines_tests.conftest import REPOSITORY, Project
from salesforce_pipelines_tests.pull.mirror import Mirror

pytestmark = pytest.mark.slow


def edited(mirror: Mirror, *values: str) -> str:
    """A record that was pulled after each edit."""
    one = mirror.some(1)[0]
    for value in values:
        mirror.api.update("Contact", one, Department=value)
        mirror.later()
        mirror.pull()
    return one


def test_the_versions_of_a_record(mirror: Mirror) -> None:
    one = edited(mirror, "first", "second")
    other = mirror.some(2)[1]
    mirror.api.update("Contact", other, Department="another one")
    mirror.later()
    mirror.pull()
    mirror.pull(full=True)
    mirror.log("Contact").compact()
    mirror.api.delete("Contact", one)
    mirror.later()
    mirror.pull()
    found = versions(mirror.log("Contact"), one)
    assert [version.changed.get("Department") for version in found] == [
        (None, "first"),
        ("first", "second"),
        None,
    ]
    assert [version.batch for version in found] == [1, 2, 5]
    assert [version.state for version in found] == ["live", "live", "deleted"]
    assert found[-1].changed["record_state"] == ("live", "deleted")
    assert set(found[1].changed) == {"Department", "SystemModstamp"}
    assert all(version.at for version in found)
    marks = [datetime.fromisoformat(version.watermark) for version in found]
    assert marks == sorted(marks)
    with pytest.raises(PipelineError, match="holds no record 003000000000000AAA"):
        versions(mirror.log("Contact"), "003000000000000AAA")


def test_versions_that_were_vacuumed_away_are_not_missed(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = edited(mirror, "first", "second", "third")
    log = mirror.log("Contact")
    log.compact()
    for path in (mirror.folder / "pulled" / "contacts").glob("*.parquet"):
        if path.name not in {file.path for file in log._readable().files}:
            path.unlink()
    (last,) = versions(log, one)
    assert (last.batch, last.changed["Department"]) == (3, (None, "third"))


def test_a_record_that_did_not_change_for_long_is_still_told(mirror: Mirror) -> None:
    one = edited(mirror, "first", "second")
    other = mirror.some(2)[1]
    folder = mirror.folder / "pulled" / "contacts"
    DeltaTable(folder).create_checkpoint()
    for path in (folder / "_delta_log").iterdir():
        # Longer ago than commits are kept.
        os.utime(path, (0, 0))
    mirror.api.update("Contact", one, Department="third")
    mirror.later()
    mirror.pull()
    DeltaTable(folder).create_checkpoint()
    DeltaTable(folder).cleanup_metadata()
    (only,) = versions(mirror.log("Contact"), other)
    assert (only.batch, only.at, only.state) == (1, None, "live")
    last = versions(mirror.log("Contact"), one)[-1]
    assert (last.batch, last.changed["Department"]) == (3, ("second", "third"))


def test_what_changed_since_a_batch_or_a_time(mirror: Mirror) -> None:
    mirror.pull()
    log = mirror.log("Contact")
    first = log.state()
    assert first is not None
    edited_one, gone, merged, master = mirror.some(4)
    mirror.api.update("Contact", edited_one, Department="changed")
    mirror.api.delete("Contact", gone)
    mirror.soap.merge("Contact", master, merged)
    new = mirror.api.create("Contact", LastName="Added")
    mirror.later()
    mirror.pull()
    found = {one.record: (one.change, one.batch) for one in changes_since(log, 1)}
    assert found == {
        edited_one: ("changed", 2),
        master: ("changed", 2),
        gone: ("deleted", 2),
        merged: ("merged", 2),
        new: ("added", 2),
    }
    assert not list(changes_since(log, 2))
    assert batch_of(log, "1") == 1
    assert batch_of(log, first.committed_at.isoformat()) == 1
    assert batch_of(log, (first.committed_at - timedelta(days=1)).isoformat()) == 0
    assert batch_of(log, (datetime.now(UTC) + timedelta(hours=1)).isoformat()) == 2
    assert {one.change for one in changes_since(log, 0)} >= {"added", "deleted", "merged"}
    for wrong in ("3", "yesterday"):
        with pytest.raises(PipelineError, match=f"--since {wrong}"):
            batch_of(log, wrong)


@pytest.fixture
def configured(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = yaml.safe_load((REPOSITORY / "pipelines.yaml").read_text(encoding="utf-8"))
    document["storage"]["tables"] = str(mirror.folder)
    path = tmp_path / "pipelines.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    monkeypatch.setenv("SALESFORCE_PIPELINES_CONFIG", str(path))


@pytest.mark.usefixtures("configured")
def test_the_command_line_shows_values_only_when_asked(mirror: Mirror) -> None:
    one = edited(mirror, "Secret Place", "Hidden Place")
    runner = CliRunner()
    masked = runner.invoke(app, ["history", "contacts", one])
    assert masked.exit_code == 0, masked.output
    assert "Department" in masked.output
    assert "S•••••" in masked.output
    assert "Secret" not in masked.output
    shown = runner.invoke(app, ["history", "contacts", one, "--show"])
    assert "Secret Place" in shown.output
    assert "Hidden Place" in shown.output


@pytest.mark.usefixtures("configured")
def test_the_command_line_lists_what_changed_by_id(mirror: Mirror) -> None:
    one = edited(mirror, "Secret Place", "Hidden Place")
    runner = CliRunner()
    listed = runner.invoke(app, ["changes", "contacts", "--since", "1"])
    assert list(csv.reader(listed.stdout.splitlines())) == [
        ["Id", "change", "batch"],
        [one, "changed", "2"],
    ]
    assert "contacts since batch 1: 1 changed" in listed.stderr
    told = json.loads(
        runner.invoke(app, ["changes", "contacts", "--since", "1", "--format", "json"]).stdout
    )
    assert told == {
        "table": "contacts",
        "since_batch": 1,
        "counts": {"changed": 1},
        "records": [{"record": one, "change": "changed", "batch": 2}],
    }
    wrong = runner.invoke(app, ["changes", "kontakte", "--since", "1"])
    assert isinstance(wrong.exception, PipelineError)
    assert "kontakte: no pulled table" in str(wrong.exception)


def test_every_pull_tells_numbers_that_can_be_plotted(project: Project) -> None:
    first = project.run("pull", "pulled/contacts")["pulled/contacts"]
    again = project.run("pull", "pulled/contacts")["pulled/contacts"]
    numbers = ["rows_read", "added", "changed", "deleted", "merged", "converted", "unchanged"]
    numbers += ["purged", "left_scope", "api_calls", "bytes_read", "lag_seconds"]
    for told in (first, again):
        assert all(type(told[name]) in (int, float) for name in numbers), told
    assert again["window_seconds"] >= project.pipelines.pull.overlap.total_seconds()
    assert (again["added"], again["changed"]) == (0, 0)
