"""The org's clock: as a rule, and as everything that follows it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.admin.clock import MovableClock
from salesforce_pipelines.local_org.admin_client import AdminRefusedError
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, unique

START = datetime(2026, 1, 1, tzinfo=UTC)


class Real:
    """The machine's time in a test."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@given(st.lists(st.integers(-(10**6), 10**6), max_size=5), st.integers(0, 10**6))
def test_steps_add_up_and_time_goes_on(steps: list[int], later: int) -> None:
    real = Real()
    clock = MovableClock(real=real)
    for step in steps:
        clock.move_by(step)
    real.now += timedelta(seconds=later)
    assert clock() == START + timedelta(seconds=sum(steps) + later)


def test_a_stopped_clock_is_moved_and_runs_on_from_where_it_stands() -> None:
    real = Real()
    clock = MovableClock(real=real)
    clock.set_frozen(True)
    real.now += timedelta(hours=1)
    assert clock() == START
    clock.move_by(60)
    assert clock() == START + timedelta(seconds=60)
    clock.set_frozen(False)
    real.now += timedelta(hours=1)
    assert clock() == START + timedelta(seconds=60, hours=1)
    clock.set_offset(0)
    assert clock() == real.now


@pytest.mark.parametrize("seconds", [-1e11, 1e12])
def test_it_stays_within_years_that_can_be_written(seconds: float) -> None:
    clock = MovableClock(real=Real())
    with pytest.raises(ValueError, match="1970 to 9000"):
        clock.move_by(seconds)
    assert clock() == START


def test_it_outlives_its_process(tmp_path: Path) -> None:
    path, real = tmp_path / "clock.json", Real()
    MovableClock(path, real).move_by(7200)
    assert MovableClock(path, real)() == START + timedelta(hours=2)
    first = MovableClock(path, real)
    first.set_frozen(True)
    real.now += timedelta(hours=1)
    assert MovableClock(path, real)() == START + timedelta(hours=2)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"offset_seconds": 1e300, "frozen_at": null}', '{"offset_seconds":1}']
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "clock.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PipelineError, match=r"clock\.json does not say how far"):
        MovableClock(path)


@pytest.fixture(scope="module")
def own_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    with running_org(tmp_path_factory.mktemp("clock") / "home") as running:
        yield running


@pytest.fixture
def own(own_org: RunningOrg) -> Iterator[Api]:
    own_org.admin.reset_clock()
    client = api_of(own_org)
    with client.session:
        yield client
    own_org.admin.reset_clock()


def test_dates_and_stamps_follow(own_org: RunningOrg, own: Api) -> None:
    own_org.admin.set_clock(datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC))
    own_org.admin.freeze_clock()
    own = api_of(own_org)
    with own.session:
        answer = own.call("GET", "limits")
        at = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
        assert parsedate_to_datetime(answer.headers["Date"]) == at
        name = unique("Clock")
        contact = own.create("Contact", LastName=name)
        assert (
            own.get(f"sobjects/Contact/{contact}")["SystemModstamp"]
            == "2031-05-06T07:08:09.000+0000"
        )
        where = f"LastName = '{name}' AND CreatedDate"
        assert len(own.records(f"SELECT Id FROM Contact WHERE {where} = TODAY")) == 1
        own_org.admin.move_clock(days=1)
        assert own.get("query", 401, q="SELECT Id FROM Contact")[0]["errorCode"] == (
            "INVALID_SESSION_ID"
        )
    own = api_of(own_org)
    with own.session:
        assert own.records(f"SELECT Id FROM Contact WHERE {where} = TODAY") == []
        assert len(own.records(f"SELECT Id FROM Contact WHERE {where} = YESTERDAY")) == 1


def test_the_window_of_api_calls_moves_on(own_org: RunningOrg, own: Api) -> None:
    own_org.admin.set_limits(api_calls_used=5000)
    assert own.call("GET", "limits").headers["Sforce-Limit-Info"] == "api-usage=5001/100000"
    own_org.admin.move_clock(hours=25)
    later = api_of(own_org)
    with later.session:
        assert later.call("GET", "limits").headers["Sforce-Limit-Info"] == "api-usage=1/100000"
        own_org.admin.move_clock(hours=-25)
        assert later.call("GET", "limits").headers["Sforce-Limit-Info"] == "api-usage=5002/100000"


def test_a_query_locator_lives_two_days(own_org: RunningOrg, own: Api) -> None:
    records = [
        {"attributes": {"type": "Lead"}, "LastName": "Cursor", "Company": "x"} for _ in range(200)
    ]
    for _ in range(2):
        own.send("POST", "composite/sobjects", {"records": records}, 200)
    answer = own.session.get(
        f"{own.url}/services/data/v62.0/query",
        params={"q": "SELECT Id FROM Lead"},
        headers={"Sforce-Query-Options": "batchSize=200"},
        timeout=30,
    ).json()
    own_org.admin.move_clock(hours=47)
    later = api_of(own_org)
    with later.session:
        page = f"{own.url}{answer['nextRecordsUrl']}"
        assert later.session.get(page, timeout=30).json()["done"] is True
        own_org.admin.move_clock(hours=1.1)
        error = later.session.get(page, timeout=30)
        assert error.status_code == 400
        assert error.json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


def test_a_job_is_forgotten_after_seven_days(own_org: RunningOrg, own: Api) -> None:
    body = {"operation": "query", "query": "SELECT Id FROM Contact"}
    job = own.send("POST", "jobs/query", body, 200)["id"]
    own.finished("query", job)
    own_org.admin.move_clock(days=6, hours=23)
    own_org.admin.move_clock(minutes=30)
    later = api_of(own_org)
    with later.session:
        assert later.get(f"jobs/query/{job}")["state"] == "JobComplete"
        own_org.admin.move_clock(hours=1)
        assert later.get(f"jobs/query/{job}", status=404)[0]["errorCode"] == "NOT_FOUND"


def test_it_is_kept_with_the_home(tmp_path: Path) -> None:
    with running_org(tmp_path / "home") as org:
        org.admin.move_clock(days=400)
        org.admin.add_fault("server_unavailable", times="unlimited")
        before = org.admin.now()
    assert json.loads((tmp_path / "home" / "clock.json").read_text(encoding="utf-8"))
    with running_org(tmp_path / "home") as org:
        assert timedelta(0) <= org.admin.now() - before < timedelta(minutes=5)
        assert org.admin.send("GET", "faults") == {"faults": []}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "The body is empty; give move_by_seconds"),
        ({"offset": 1}, "offset: there is no such key"),
        ({"now": "soon"}, "now: give a time such as 2027"),
        ({"now": "9999-01-01T00:00:00Z"}, "now: the org's time must be within"),
        ({"frozen": 1}, "frozen: give true or false"),
        ({"offset_seconds": "1"}, "offset_seconds: give a number"),
        ({"offset_seconds": 1, "now": "2027-01-01T00:00:00Z"}, "now: give only one of"),
        ({"move_by_seconds": 1e300}, "move_by_seconds: the org's time must be within"),
        ({"offset_seconds": 5, "frozen": "yes"}, "frozen: give true or false"),
    ],
)
def test_a_refused_change_changes_nothing(
    own_org: RunningOrg, own: Api, body: dict[str, object], message: str
) -> None:
    with pytest.raises(AdminRefusedError, match=message):
        own_org.admin.send("PATCH", "clock", body)
    setting = own_org.admin.send("GET", "clock")
    assert (setting["offset_seconds"], setting["frozen"]) == (0, False)
