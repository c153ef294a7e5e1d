"""The one error that people see."""


class PipelineError(Exception):
    """A problem a person can cure; the message names the file, key, field or record, and the cure.

    The command line prints the message alone and exits with code 2; in Dagster it fails the run
    with that message. Messages never carry secrets or people's data.
    """
