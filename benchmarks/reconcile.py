"""Comparing the pulled Contacts with the org, as the asset check would do it.

Usage: python -m benchmarks.reconcile [deep]
"""

import json
import sys

from benchmarks.org import configured
from salesforce_pipelines.pull.reconciling import reconcile
from salesforce_pipelines.store.tables import Tables


def main() -> None:
    """Print what was compared as JSON; fail if anything differed."""
    pipelines, org = configured()
    tables = Tables(pipelines.storage.tables)
    log = tables.log("pulled/contacts")
    remembered = tables.log("reconciled/contacts", key="month")
    deep = "deep" in sys.argv[1:]
    found = reconcile(org, log, remembered, "Contact", pipelines.pull, deep=deep)
    if found.problem or found.total("different"):
        raise SystemExit(f"{found.total('different')} records differed. {found.problem}")
    json.dump({"rows": found.total("compared"), "calls": found.api_calls}, sys.stdout)


if __name__ == "__main__":
    main()
