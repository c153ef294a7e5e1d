"""Airbyte's Salesforce source, a connector that nobody here wrote, against the local org."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines_tests.local_org.conformance.conftest import SCRIPTS, ConnectedOrg
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique

pytestmark = pytest.mark.clients

STREAMS = ("Account", "Contact", "Lead")
Message = dict[str, Any]


@dataclass
class Airbyte:
    """The connector, configured for one org."""

    python: Path
    org: ConnectedOrg
    folder: Path
    bulk: bool

    def run(self, command: str, **files: Any) -> list[Message]:
        """The messages of one command; the files are what its options name."""
        config = {
            "client_id": self.org.client_id,
            "client_secret": self.org.client_secret,
            "refresh_token": self.org.refresh_token,
            "start_date": "2010-01-01T00:00:00Z",
            "stream_slice_step": "P9000D",
            "force_use_bulk_api": self.bulk,
            "preserve_na_values": True,
            "streams_criteria": [{"criteria": "exacts", "value": name} for name in STREAMS],
        }
        options: list[str] = []
        for name, content in {"config": config, **files}.items():
            path = self.folder / f"{name}.json"
            path.write_text(json.dumps(content), encoding="utf-8")
            options += [f"--{name}", str(path)]
        answer = subprocess.run(
            [self.python, SCRIPTS / "airbyte_source.py", self.org.url, command, *options],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
        return [json.loads(line) for line in answer.stdout.splitlines()]

    def discover(self) -> list[Message]:
        """The streams of the org."""
        (catalog,) = [m["catalog"] for m in self.run("discover") if m["type"] == "CATALOG"]
        return [stream for stream in catalog["streams"] if stream["name"] in STREAMS]

    def read(self, mode: str, state: list[Message] | None = None) -> "Reading":
        """What a sync gives."""
        catalog = {
            "streams": [
                {"stream": stream, "sync_mode": mode, "destination_sync_mode": "append"}
                for stream in self.discover()
            ]
        }
        files = {"catalog": catalog} if state is None else {"catalog": catalog, "state": state}
        return Reading(self.run("read", **files))


class Reading:
    """The records of a sync by stream and id, the state it ended with, and how it read."""

    def __init__(self, messages: list[Message]) -> None:
        self.records: dict[str, dict[str, Message]] = {name: {} for name in STREAMS}
        last: dict[str, Message] = {}
        for message in messages:
            if message["type"] == "RECORD":
                record = message["record"]
                assert record["data"]["Id"] not in self.records[record["stream"]]
                self.records[record["stream"]][record["data"]["Id"]] = record["data"]
            elif message["type"] == "STATE":
                last[message["state"]["stream"]["stream_descriptor"]["name"]] = message["state"]
        self.state = list(last.values())
        said = [message["log"]["message"] for message in messages if message["type"] == "LOG"]
        self.used_bulk = any("/jobs/query" in line for line in said)
        self.used_rest = any("/queryAll" in line for line in said)

    def ids(self) -> dict[str, set[str]]:
        """The ids of each stream."""
        return {name: set(records) for name, records in self.records.items()}


@pytest.fixture(scope="module", params=[False, True], ids=["rest", "bulk"])
def airbyte(
    request: pytest.FixtureRequest,
    clients: Path,
    connected_org: ConnectedOrg,
    tmp_path_factory: pytest.TempPathFactory,
) -> Airbyte:
    folder = tmp_path_factory.mktemp("airbyte")
    python = clients / "airbyte" / "bin" / "python"
    return Airbyte(python, connected_org, folder, bulk=request.param)


@pytest.fixture
def api(connected_org: ConnectedOrg) -> Iterator[Api]:
    client = api_of(connected_org)
    with client.session:
        yield client


def everything(api: Api) -> dict[str, dict[str, Message]]:
    """Every record of the streams, the deleted ones too."""
    found = {}
    for name in STREAMS:
        described = api.get(f"sobjects/{name}/describe")["fields"]
        columns = ", ".join(field["name"] for field in described)
        page = api.get("queryAll", q=f"SELECT {columns} FROM {name}")
        rows = page["records"]
        while not page["done"]:
            page = api.session.get(f"{api.url}{page['nextRecordsUrl']}", timeout=30).json()
            rows += page["records"]
        for row in rows:
            row.pop("attributes")
        found[name] = {row["Id"]: row for row in rows}
    return found


def given(record: Message, bulk: bool) -> Message:
    """A record of the org as the connector gives it: without what has no value."""
    values = {name: value for name, value in record.items() if value not in (None, "")}
    if not bulk:
        return values
    return {
        name: _from_csv(value) if isinstance(value, str) else value
        for name, value in values.items()
        if not isinstance(value, dict)
    }


def _from_csv(text: str) -> str:
    """A text as Bulk shows it; the connector turns line ends into newlines."""
    shown = text.replace("+0000", "Z") if text.endswith(".000+0000") else text
    return shown.replace("\r\n", "\n")


def shown(record: Message) -> Message:
    """A record of the connector without what has no value, and what is none of the org's."""
    return {
        name: value
        for name, value in record.items()
        if value not in (None, "") and name != "attributes"
    }


def test_check_and_discover(airbyte: Airbyte, api: Api) -> None:
    (status,) = [m for m in airbyte.run("check") if m["type"] == "CONNECTION_STATUS"]
    assert status["connectionStatus"] == {"status": "SUCCEEDED"}
    streams = {stream["name"]: stream for stream in airbyte.discover()}
    assert set(streams) == set(STREAMS)
    for name, stream in streams.items():
        assert stream["supported_sync_modes"] == ["full_refresh", "incremental"]
        assert stream["default_cursor_field"] == ["SystemModstamp"]
        assert stream["source_defined_primary_key"] == [["Id"]]
        fields = {field["name"] for field in api.get(f"sobjects/{name}/describe")["fields"]}
        assert set(stream["json_schema"]["properties"]) == fields


def test_a_full_read_gives_every_record(airbyte: Airbyte, api: Api) -> None:
    reading, org = airbyte.read("full_refresh"), everything(api)
    assert (reading.used_bulk, reading.used_rest) == (airbyte.bulk, not airbyte.bulk)
    assert reading.ids() == {name: set(records) for name, records in org.items()}
    assert len(org["Contact"]) >= 250
    assert any(record["IsDeleted"] for record in org["Contact"].values())
    for name in STREAMS:
        for record_id, record in reading.records[name].items():
            assert shown(record) == given(org[name][record_id], airbyte.bulk)


def test_an_incremental_read_gives_what_changed(airbyte: Airbyte, api: Api) -> None:
    name = unique("Changed")
    first = airbyte.read("incremental")
    assert first.ids() == {name: set(records) for name, records in everything(api).items()}
    leads = api.records("SELECT Id FROM Lead WHERE IsConverted = false LIMIT 2")
    changed, deleted = (lead["Id"] for lead in leads)
    api.update("Lead", changed, Title=name)
    api.delete("Lead", deleted)
    created = api.create("Contact", LastName=name)
    second = airbyte.read("incremental", first.state)
    # The connector reads the last ten minutes again: here what other tests wrote.
    assert {changed, deleted} <= set(second.records["Lead"])
    assert created in second.records["Contact"]
    assert len(second.records["Lead"]) < 20
    assert len(second.records["Contact"]) < 20
    assert second.records["Lead"][changed]["Title"] == name
    assert second.records["Lead"][deleted]["IsDeleted"] is True
    assert second.records["Lead"][changed]["IsDeleted"] is False
