"""The server as a process: started, stopped, started again, and what it says."""

import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.admin_client import AdminClient
from salesforce_pipelines.local_org.running import running_org
from salesforce_pipelines_tests.local_org.conftest import api_of, unique

CONTACTS = "external_id,LastName,Account\nk-1,Lee,Acme\nk-2,Ray,Acme\n"


def test_everything_outlives_a_restart(tmp_path: Path) -> None:
    people = tmp_path / "contacts.csv"
    people.write_text(CONTACTS, encoding="utf-8")
    home = tmp_path / "home"
    with running_org(home, load=[people]) as org:
        api = api_of(org)
        with api.session:
            lead = api.create("Lead", LastName="x", Company="y")
            api.update("Contact", api.records("SELECT Id FROM Contact")[0]["Id"], Title="CEO")
            before = api.records("SELECT FIELDS(ALL) FROM Contact ORDER BY Id LIMIT 9")
            used = api.call("GET", "limits").headers["Sforce-Limit-Info"]
            token = api.session.headers["Authorization"]
        assert org.process.poll() is None
    assert org.process.returncode == 0
    started = time.monotonic()
    with running_org(home, contacts=9, load=[people]) as org:
        assert time.monotonic() - started < 10
        api = api_of(org)
        with api.session:
            api.session.headers["Authorization"] = token
            again = api.call("GET", f"sobjects/Lead/{lead}")
            assert again.status_code == 200
            calls = int(used.removeprefix("api-usage=").partition("/")[0])
            assert again.headers["Sforce-Limit-Info"] == f"api-usage={calls + 1}/100000"
            after = api.records("SELECT FIELDS(ALL) FROM Contact ORDER BY Id LIMIT 9")
            assert [{**row, "attributes": None} for row in after] == [
                {**row, "attributes": None} for row in before
            ]


@dataclass(frozen=True)
class Address:
    """Where an org that a test has started answers."""

    url: str
    client_id: str = "local-org"
    client_secret: str = "local-org-secret"


def serve(home: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "salesforce_pipelines.local_org", "serve"]
    return subprocess.Popen(
        [*command, "--home", str(home), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(tmp_path: Path, how: signal.Signals) -> None:
    with serve(tmp_path / "home") as process:
        assert process.stdout
        ready = process.stdout.readline()
        assert ready.startswith("Local org ready at http://127.0.0.1:")
        assert ready.endswith(" (0 Contacts, 0 Leads)\n")
        process.send_signal(how)
        said, complained = process.communicate(timeout=15)
    assert (process.returncode, said, complained) == (0, "", "")
    assert not list((tmp_path / "home").glob("*.partial"))


@pytest.mark.slow
def test_a_signal_amid_a_slow_answer_is_quiet(tmp_path: Path) -> None:
    with serve(tmp_path / "home") as process:
        assert process.stdout
        url = process.stdout.readline().split()[4]
        api = api_of(Address(url))
        AdminClient(url).add_fault("slow", path="sobjects", bytes_per_second=100)
        with api.session, api.call("GET", "sobjects", stream=True) as answer:
            assert answer.raw.read(10)
            process.send_signal(signal.SIGTERM)
            said, complained = process.communicate(timeout=15)
    assert (process.returncode, said) == (0, "")
    assert "Traceback" not in complained
    assert "Exception" not in complained


def test_its_log_names_no_person_and_no_token(tmp_path: Path) -> None:
    secret = unique("secretperson")
    with serve(tmp_path / "home") as process:
        assert process.stdout
        url = process.stdout.readline().split()[4]
        api = api_of(Address(url))
        with api.session:
            token = str(api.session.headers["Authorization"]).partition("!")[2]
            api.create("Contact", LastName=secret, External_Id__c=secret)
            api.get(f"sobjects/Contact/External_Id__c/{secret}")
            api.get(f"sobjects/Contact/External_Id__c/{secret}/more", status=404)
            api.get(f"nowhere/{secret}", status=404, q=secret)
            api.get("query", status=400, q=f"SELECT {secret} FROM Contact")
            api.session.post(f"{url}/services/Soap/u/62.0", data=secret, timeout=10)
        process.terminate()
        said, complained = process.communicate(timeout=15)
    assert said == ""
    assert "GET /services/data/v62.0/…" in complained
    assert "POST /services/Soap/…/…: 500" in complained
    assert secret not in complained
    assert token not in complained


def test_what_keeps_it_from_starting_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text("LastName,Shoe\nx,y\n", encoding="utf-8")
    why = r"did not start: .*broken\.csv, line 1, column Shoe"
    with pytest.raises(PipelineError, match=why), running_org(tmp_path / "home", load=[broken]):
        raise AssertionError("it started")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        why = f"cannot listen at 127.0.0.1:{port}"
        with pytest.raises(PipelineError, match=why), running_org(tmp_path / "other", port=port):
            raise AssertionError("it started")


def test_a_start_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    why = r"not ready within 0\.01 seconds"
    home = tmp_path / "home"
    with pytest.raises(PipelineError, match=why), running_org(home, startup_timeout=0.01):
        raise AssertionError("it started")


def test_a_refused_command_line_is_exit_code_2(tmp_path: Path) -> None:
    with serve(tmp_path / "home", "--load", str(tmp_path / "nowhere.csv")) as process:
        said, complained = process.communicate(timeout=15)
    assert process.returncode == 2
    assert said == ""
    assert complained.count("\n") == 1
    assert "there is no file" in complained


def test_a_generated_org_and_its_people(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_org(home, contacts=300, leads=100, seed=7) as org:
        api = api_of(org)
        with api.session:
            live = api.get("query", q="SELECT COUNT() FROM Contact")["totalSize"]
            every = api.get("queryAll", q="SELECT COUNT() FROM Contact")["totalSize"]
            assert 250 <= live <= every == 300
            assert api.get("queryAll", q="SELECT COUNT() FROM Lead")["totalSize"] == 100
            orphans = "AccountId != null AND Account.Id = null"
            assert (
                api.get("query", q=f"SELECT COUNT() FROM Contact WHERE {orphans}")["totalSize"] == 0
            )
            converted = "IsConverted = true AND ConvertedContact.LastName != null"
            assert api.get("queryAll", q=f"SELECT COUNT() FROM Lead WHERE {converted}")["totalSize"]
    out = tmp_path / "people.csv"
    command = [sys.executable, "-m", "salesforce_pipelines.local_org", "people"]
    command += ["--contacts", "300", "--leads", "100", "--seed", "7", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    assert out.stat().st_size > 10_000


def test_calls_beyond_the_daily_limit_are_refused(tmp_path: Path) -> None:
    with serve(tmp_path / "home", "--api-limit", "2") as process:
        assert process.stdout
        api = api_of(Address(process.stdout.readline().split()[4]))
        with api.session:
            for used in (1, 2):
                answer = api.call("GET", "limits")
                assert answer.headers["Sforce-Limit-Info"] == f"api-usage={used}/2"
            answer = api.call("GET", "limits")
            assert answer.status_code == 403
            assert answer.json() == [
                {
                    "message": "TotalRequests Limit exceeded.",
                    "errorCode": "REQUEST_LIMIT_EXCEEDED",
                }
            ]
        process.terminate()
        process.communicate(timeout=15)


def test_two_servers_do_not_share_a_home(tmp_path: Path) -> None:
    with running_org(tmp_path / "home") as org:
        why = "is in use by another local org"
        with pytest.raises(PipelineError, match=why), running_org(tmp_path / "home"):
            raise AssertionError("it started")
        assert org.process.poll() is None
