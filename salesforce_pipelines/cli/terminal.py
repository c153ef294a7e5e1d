"""Where the command line prints its tables."""

from rich.console import Console


def wide_console() -> Console:
    """A console that does not cut tables where there is no terminal to fit them into.

    Rich assumes 80 columns there.
    """
    width = None if Console().is_terminal else 120
    return Console(highlight=False, width=width)
