"""One pull of Contacts into the table, as an asset would do it."""

import json
import sys

from benchmarks.org import session
from salesforce_pipelines.config.loading import configuration_path, load
from salesforce_pipelines.pull.pulling import Wanted, pull
from salesforce_pipelines.store.tables import Tables


def main() -> None:
    """Print what the pull did as JSON."""
    pipelines = load(configuration_path())
    log = Tables(pipelines.storage.tables).log("pulled/contacts")
    wanted = Wanted("Contact", pipelines.fields_of("Contact"), full="full" in sys.argv[1:])
    report = pull(session(), log, wanted, pipelines.pull)
    json.dump(
        {
            "rows": report.read,
            "landed": report.landed,
            "calls": report.api_calls,
            "full": report.full,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
