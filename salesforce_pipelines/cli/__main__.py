"""`python -m salesforce_pipelines.cli` is the command line."""

from salesforce_pipelines.cli.main import run

run()
