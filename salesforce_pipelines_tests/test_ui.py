"""The Dagster UI, used as people use it: run the sync, read the plan, confirm it, see it done."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests
import yaml
from playwright.sync_api import Browser, Locator, Page, Playwright, expect, sync_playwright

from salesforce_pipelines.local_org.generated.people import write_people
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.store import credits, plans
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.plans import Plan, PlanKind, PlanStatus
from salesforce_pipelines_tests.conftest import REPOSITORY

CONTACTS, LEADS, SEED = 200, 100, 5
JOBS = "/locations/salesforce_pipelines.definitions/jobs"
SERVE = """
from salesforce_pipelines.cli.ui import interruptible, serve_ui
with interruptible():
    serve_ui({port})
"""
NEEDED = (
    "The test of the UI needs Chromium: install it (on Debian: apt-get install chromium) or Google "
    "Chrome, or run .venv/bin/playwright install chromium. To leave the test out: "
    "pytest -m 'not browser'"
)
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
]
PAGE_MS, RUN_MS = 30_000, 90_000


@dataclass
class Installation:
    """A folder with the shipped configuration and people data, for an org that is running."""

    folder: Path
    environment: dict[str, str]

    def plan(self, stream: str) -> Plan:
        """The newest enrichment plan of a stream."""
        ledger = self._ledger()
        try:
            return plans.history(ledger, kind=PlanKind.ENRICHMENT, stream=stream, limit=1)[0]
        finally:
            ledger.close()

    def spent(self) -> int:
        ledger = self._ledger()
        try:
            return credits.spent(ledger, "people")
        finally:
            ledger.close()

    def _ledger(self) -> Ledger:
        return Ledger.open(f"sqlite:///{self.folder / '.home' / 'ledger.db'}")


@dataclass
class Served:
    """The UI and the daemon of an installation, as `salesforce-pipelines dev` starts them."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> list[str]:
        """Stop it as a service manager does; what did not end is killed and named."""
        if self.process.poll() is not None:
            return []
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        try:
            self.process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _, left = psutil.wait_procs(family, timeout=10)
        for one in left:
            one.kill()
        return [str(one) for one in left]

    def told(self) -> str:
        """What it logged, without colours."""
        return re.sub(r"\x1b\[\d*m", "", self.log.read_text(encoding="utf-8"))

    def is_loaded(self) -> bool:
        """Whether the definitions are there; fails when they cannot be loaded."""
        assert self.process.poll() is None, self.told()
        query = (
            "{workspaceOrError {... on Workspace {locationEntries {loadStatus locationOrLoadError "
            "{__typename ... on PythonError {message}}}}}}"
        )
        try:
            answer = requests.post(f"{self.url}/graphql", json={"query": query}, timeout=20)
        except requests.RequestException:
            return False
        entries = answer.json()["data"]["workspaceOrError"]["locationEntries"]
        if not entries or entries[0]["loadStatus"] != "LOADED":
            return False
        assert entries[0]["locationOrLoadError"]["__typename"] == "RepositoryLocation", entries
        return True


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(playwright), args=ARGUMENTS)
        yield browser
        browser.close()


def _chromium(playwright: Playwright) -> str:
    own = Path(playwright.chromium.executable_path)
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), str(own) if own.exists() else None)
    if found is None:
        pytest.fail(NEEDED, pytrace=False)
    return found


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with running_org(tmp_path / "org", contacts=CONTACTS, leads=LEADS, seed=SEED) as org:
        yield _installed(tmp_path / "installation", org)


def _installed(folder: Path, org: RunningOrg) -> Installation:
    state = folder / ".home" / "dagster"
    state.mkdir(parents=True)
    # What `dev` chose goes before it: another org must not be reached by mistake.
    (folder / ".env").write_text("SALESFORCE_LOGIN_URL=http://127.0.0.1:9\n", encoding="utf-8")
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(REPOSITORY / name, folder / name)
    document = yaml.safe_load((REPOSITORY / "pipelines.yaml").read_text(encoding="utf-8"))
    # No schedule falls due while the test runs.
    document["schedule"]["start"] = "2199-01-05T02:00"
    path = folder / "pipelines.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    write_people(folder / ".home" / "people.csv", CONTACTS, LEADS, SEED)
    ours = ("SALESFORCE_", "DAGSTER_")
    around = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    own = {
        "DAGSTER_HOME": str(folder),
        "DAGSTER_STATE": str(state),
        "SALESFORCE_LOGIN_URL": org.url,
        "SALESFORCE_CLIENT_ID": org.client_id,
        "SALESFORCE_CLIENT_SECRET": org.client_secret,
        "SALESFORCE_PIPELINES_CONFIG": str(path),
    }
    return Installation(folder, around | own)


@pytest.fixture
def served(installation: Installation) -> Iterator[Served]:
    port = _free_port()
    log = installation.folder / "dagster.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE.format(port=port)],
            cwd=installation.folder,
            env=installation.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    found = Served(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(found.is_loaded, 120, found.told)
        yield found
    finally:
        found.stop()


@pytest.fixture
def page(browser: Browser, served: Served, tmp_path: Path) -> Iterator[Page]:
    """A page of the UI; its last look is kept for whoever has to find out why a step failed."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000}, base_url=served.url)
    expect.set_options(timeout=PAGE_MS)
    yield page
    page.screenshot(path=tmp_path / "last.png")
    page.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait(until: Callable[[], bool], seconds: float, told: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, told()
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.usefixtures("browser")  # without one nothing else is started
def test_a_person_runs_the_sync_and_confirms_a_plan_and_the_sensor_carries_it_out(
    installation: Installation, served: Served, page: Page
) -> None:
    lineage_reads_from_left_to_right(page)
    run_the_sync(page)
    plan = installation.plan("contacts")
    assert plan.status is PlanStatus.PROPOSED
    to_type = plan_is_shown(page, plan)
    confirm(page, to_type.replace("your name", "Ada"))

    _wait(lambda: installation.plan("contacts").status is PlanStatus.DONE, 90, served.told)
    done = installation.plan("contacts")
    assert (done.id, done.decided_by) == (plan.id, "Ada")
    assert installation.spent() == plan.amount > 0
    assert installation.plan("leads").status is PlanStatus.PROPOSED
    enriched_is_shown(page, plan)
    automation_is_listed(page)

    assert served.stop() == []
    assert served.process.returncode == 0
    nothing_to_complain_of(served.told())


def lineage_reads_from_left_to_right(page: Page) -> None:
    page.goto("/asset-groups")
    places = {}
    for group in ("salesforce", "pull", "people", "identity", "enrichment", "referrals", "push"):
        node = page.locator("foreignObject").get_by_text(group, exact=True).first
        expect(node).to_be_visible()
        box = node.bounding_box()
        assert box is not None
        places[group] = box["x"]
    story = ("salesforce", "pull", "identity", "enrichment", "push")
    assert [*sorted(story, key=places.__getitem__)] == [*story]
    assert places["people"] < places["identity"]
    assert places["pull"] < places["referrals"] < places["push"]


def run_the_sync(page: Page) -> None:
    page.goto(f"{JOBS}/sync")
    page.locator("button", has_text="Materialize").first.click()
    # Dagster asks because no record was ever enriched, which the push plans come after.
    page.get_by_role("button", name="Confirm", exact=True).click()
    page.get_by_role("link", name="View", exact=True).click()
    run_succeeds(page)


def run_succeeds(page: Page) -> None:
    """The page of a run that was launched shows how it ends."""
    page.wait_for_url(re.compile("/runs/[0-9a-f-]{36}"))
    ended = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
    expect(ended).to_be_visible(timeout=RUN_MS)
    expect(ended).to_have_text("Success")


def plan_is_shown(page: Page, plan: Plan) -> str:
    """The plan's page tells what it would cost; what it says is to be typed."""
    page.goto("/assets/enrichment_plan/contacts")
    expect(row(page, "plan_id")).to_contain_text(plan.id)
    expect(row(page, "status")).to_contain_text("proposed")
    expect(row(page, "credits")).to_contain_text(str(plan.amount))
    return row(page, "to_confirm").locator("pre").first.inner_text()


def row(page: Page, key: str) -> Locator:
    """The row of a key in the metadata of an asset's page, below its columns of the same name."""
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=key, exact=True)).last


def confirm(page: Page, text: str) -> None:
    page.goto(f"{JOBS}/confirm_enrichment")
    page.locator("button", has_text="Materialize").first.click()
    launchpad = page.get_by_role("dialog")
    launchpad.locator(".CodeMirror").click()
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.insert_text(text)
    launchpad.locator("button", has_text="Materialize").click()
    run_succeeds(page)


def enriched_is_shown(page: Page, plan: Plan) -> None:
    page.goto("/assets/enriched/contacts")
    expect(row(page, "plan_id")).to_contain_text(plan.id, timeout=RUN_MS)
    expect(row(page, "confirmed_by")).to_contain_text("Ada")
    expect(row(page, "credits_charged")).to_contain_text(str(plan.amount))
    page.goto("/assets/enrichment_plan/contacts?view=checks")
    expect(page.get_by_text("Succeeded", exact=True)).to_be_visible()
    page.goto("/runs")
    expect(page.get_by_text("Success", exact=True)).to_have_count(3, timeout=RUN_MS)
    for job in ("sync", "confirm_enrichment", "enrich"):
        expect(page.get_by_role("link", name=job, exact=True)).to_have_count(1)


def automation_is_listed(page: Page) -> None:
    page.goto("/automation")
    schedules = [f"sync_{name}" for name in ("hourly", "daily", "weekly", "monthly")]
    sensors = ["org_changes", "confirmed_enrichment_plans", "confirmed_push_plans"]
    for name in [*schedules, *sensors, "qualification_spring"]:
        expect(page.get_by_text(name, exact=True)).to_be_visible()


def nothing_to_complain_of(log: str) -> None:
    complaint = re.compile(r" - (ERROR|CRITICAL) - | - dagster - WARNING - |Traceback|\w+Warning: ")
    assert [line for line in log.splitlines() if complaint.search(line)] == []
