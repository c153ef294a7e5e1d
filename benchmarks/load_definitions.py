"""Loading the definitions, without network and without data; seconds besides `import dagster`."""

import json
import sys
from time import perf_counter

started = perf_counter()
import dagster as dg  # noqa: E402 - the import is what is timed

imported = perf_counter()


def main() -> None:
    """Print the seconds of `import dagster` and of everything after it."""
    from salesforce_pipelines.definitions import defs

    definitions = defs()
    dg.Definitions.validate_loadable(definitions)
    done = perf_counter()
    json.dump({"import_dagster": imported - started, "ours": done - imported}, sys.stdout)


if __name__ == "__main__":
    main()
