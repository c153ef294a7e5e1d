"""What Dagster loads: without network and data, complete, and described for people."""

import shutil
import socket
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from salesforce_pipelines.config.loading import configuration_path, load
from salesforce_pipelines.definitions import build, open_ledger
from salesforce_pipelines_tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build(load(REPOSITORY / "pipelines.yaml"))


def test_loading_touches_neither_the_network_nor_any_file_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("loading definitions opened a connection")

    for name in ("CLIENT_ID", "CLIENT_SECRET", "LOGIN_URL"):
        monkeypatch.delenv(f"SALESFORCE_{name}", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    path = tmp_path / "pipelines.yaml"
    path.write_text((REPOSITORY / "pipelines.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    dg.Definitions.validate_loadable(build(load(path)))
    assert list(tmp_path.iterdir()) == [path]


def test_every_asset_tells_what_it_is(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    groups = set()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.group_name != "default", key
        groups.add(node.group_name)
        if key.path[0] not in ("enrichment_confirmation", "push_confirmation"):
            assert node.kinds, key
    stages = {"salesforce", "people", "pull", "identity", "enrichment", "referrals", "push"}
    assert groups == stages


def test_the_story_runs_from_the_org_to_what_was_pushed(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()

    def upstream(path: str) -> set[str]:
        found: set[str] = set()
        keys = {dg.AssetKey(path.split("/"))}
        while keys:
            keys = {parent for key in keys for parent in graph.get(key).parent_keys}
            found |= {key.to_user_string() for key in keys}
        return found

    contacts = upstream("pushed/contacts")
    assert {
        "salesforce/contacts",
        "people/people",
        "pulled/contacts",
        "pulled/accounts",
        "identifiers/contacts",
        "matches/contacts",
        "enrichment_plan/contacts",
        "enrichment_confirmation",
        "enriched/contacts",
        "push_plan/contacts",
        "push_confirmation",
    } <= contacts
    assert {"referrals/spring/links", "referrals/spring/members"} <= upstream(
        "pushed/referrals/spring"
    )


def test_the_configured_schedule_runs_and_the_other_three_wait(tmp_path: Path) -> None:
    document = yaml.safe_load((REPOSITORY / "pipelines.yaml").read_text(encoding="utf-8"))
    document["schedule"]["time_frame"] = "weekly"
    path = tmp_path / "pipelines.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    built = build(load(path))
    status = {}
    for name in ("hourly", "daily", "weekly", "monthly"):
        schedule = built.resolve_schedule_def(f"sync_{name}")
        assert schedule.job_name == "sync"
        status[name] = schedule.default_status
    running = [name for name, found in status.items() if found.value == "RUNNING"]
    assert running == ["weekly"]


def test_a_schedule_asks_for_one_run_for_each_moment(definitions: dg.Definitions) -> None:
    from datetime import UTC, datetime

    schedule = definitions.resolve_schedule_def("sync_daily")
    early = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 4, 2, tzinfo=UTC))
    assert "starts on 2026-01-05" in (schedule.evaluate_tick(early).skip_message or "")
    due = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 6, 2, tzinfo=UTC))
    requests = schedule.evaluate_tick(due).run_requests or []
    assert [request.run_key for request in requests] == ["2026-01-06T02:00:00+00:00"]


def test_what_runs_unattended_neither_spends_nor_sends(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("sync")
    keys = {key.path[0] for key in job.asset_layer.executable_asset_keys}
    assert not keys & {"enriched", "pushed", "enrichment_confirmation", "push_confirmation"}
    assert {"pulled", "identifiers", "matches", "enrichment_plan", "push_plan"} <= keys


def test_there_is_a_job_for_each_capability(definitions: dg.Definitions) -> None:
    expected = {
        "pull",
        "identify",
        "plan_enrichment",
        "confirm_enrichment",
        "enrich",
        "refer",
        "qualify",
        "plan_push",
        "confirm_push",
        "push",
        "sync",
        "maintenance",
    }
    jobs = {job.name: job for job in definitions.resolve_all_job_defs()}
    assert expected <= set(jobs)
    assert all(jobs[name].description for name in expected)


def test_confirmations_have_no_defaults(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("confirm_enrichment")
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, {})
    decision = {"plan_id": "x", "credits": 1}
    with pytest.raises(dg.DagsterInvalidConfigError, match="confirmed_by"):
        dg.validate_run_config(job, {"ops": {"enrichment_confirmation": {"config": decision}}})


def test_a_configuration_with_contacts_alone_is_enough() -> None:
    built = build(load(REPOSITORY / "demo" / "congress" / "pipelines.yaml"))
    dg.Definitions.validate_loadable(built)
    assert not any(job.name == "refer" for job in built.resolve_all_job_defs())


def test_the_ledger_of_the_environment_is_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    home.mkdir()
    shutil.copy(REPOSITORY / "pipelines.yaml", home / "pipelines.yaml")
    monkeypatch.setenv("SALESFORCE_PIPELINES_CONFIG", str(home / "pipelines.yaml"))
    monkeypatch.setenv("SALESFORCE_PIPELINES_LEDGER", "sqlite:///own.db")
    for folder in (home, elsewhere):
        monkeypatch.chdir(folder)
        open_ledger(load(configuration_path())).close()
    assert (home / "own.db").exists()
    assert not list(elsewhere.iterdir())
