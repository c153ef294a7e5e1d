"""One pull of Contacts into the table, as an asset would do it.

Usage: python -m benchmarks.pull [full] [killed-after=ROWS]
"""

import json
import os
import sys

from benchmarks.contact_fields import FIELDS
from benchmarks.org import configured
from salesforce_pipelines.pull.pulling import Wanted, pull
from salesforce_pipelines.store.tables import Tables

KILLED = 9
"""The exit status of a pull that was killed."""


def main() -> None:
    """Print what the pull did as JSON."""
    pipelines, org = configured()
    options = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    last = int(options.get("killed-after", 0))

    def progress(rows: int, _expected: int) -> None:
        if last and rows >= last:
            os._exit(KILLED)

    log = Tables(pipelines.storage.tables).log("pulled/contacts")
    wanted = Wanted("Contact", FIELDS, full="full" in options)
    report = pull(org, log, wanted, pipelines.pull, progress)
    told = {
        "rows": report.read,
        "landed": report.landed,
        "calls": report.api_calls,
        "full": report.full,
        "resumed": report.resumed,
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
