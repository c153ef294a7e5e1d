"""Reading the formula fields of the pulled Contacts anew, as the scheduled asset would do it."""

import json
import sys

from benchmarks.contact_fields import FIELDS
from benchmarks.org import configured
from salesforce_pipelines.pull.formula_refresh import refresh_formulas
from salesforce_pipelines.store.tables import Tables


def main() -> None:
    """Print what was read as JSON."""
    pipelines, org = configured()
    log = Tables(pipelines.storage.tables).log("pulled/contacts")
    found = refresh_formulas(org, log, "Contact", FIELDS, pipelines.pull)
    told = {"rows": found.compared, "changed": found.changed, "calls": found.api_calls}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
