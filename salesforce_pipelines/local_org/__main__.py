"""`python -m salesforce_pipelines.local_org`."""

import sys

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.command import app


def main() -> None:
    """Run the command line; a problem a person can cure is one line and exit code 2."""
    try:
        app()
    except PipelineError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
