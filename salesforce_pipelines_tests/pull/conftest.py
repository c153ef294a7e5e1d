"""One org of its own for every module, with a clock that the tests move."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.pull.mirror import Mirror, close, mirror_of

CONTACTS, LEADS = 450, 60


@pytest.fixture(scope="module")
def moved_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """An org whose clock stands still unless a test moves it."""
    home = tmp_path_factory.mktemp("moved") / "home"
    with running_org(home, contacts=CONTACTS, leads=LEADS, seed=5) as org:
        org.admin.freeze_clock()
        yield org


@pytest.fixture
def mirror(moved_org: RunningOrg, tmp_path: Path) -> Iterator[Mirror]:
    """The org, and empty tables."""
    # What earlier tests changed is behind the first window's overlap.
    moved_org.admin.move_clock(minutes=20)
    found = mirror_of(moved_org, tmp_path)
    found.forget_jobs()
    yield found
    close(found)
