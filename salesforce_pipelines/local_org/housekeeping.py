"""What becomes of an org by the mere passing of time: late rows, expired jobs, the recycle bin."""

import logging
import threading
from collections.abc import Callable

from salesforce_pipelines.local_org.bulk_api.jobs import Jobs
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves.recycle_bin import purge

_LOG = logging.getLogger(__name__)
_EVERY_SECONDS = 60


def tidy(org: Org) -> None:
    """Do everything that is due by the org's clock; what fails is logged and tried again."""
    tasks: tuple[Callable[[], object], ...] = (
        org.late_rows.catch_up,
        Jobs(org).fail_left_open,
        Jobs(org).delete_expired,
        lambda: purge(org),
    )
    for task in tasks:
        try:
            task()
        except Exception as error:  # noqa: BLE001  # one failure must not end the housekeeping
            _LOG.warning("housekeeping failed: %s", type(error).__name__)


class Housekeeper(threading.Thread):
    """Tidies an org at the start of a server, every minute after, and when its clock is moved."""

    def __init__(self, org: Org) -> None:
        super().__init__(daemon=True, name="housekeeping")
        self._org = org

    def run(self) -> None:
        """Tidy until the org is stopping."""
        waits = self._org.work_waits["housekeeping"]
        while not self._org.stopping.is_set():
            tidy(self._org)
            waits.wait(_EVERY_SECONDS)
            waits.clear()
