"""Where a CSV is malformed, for people to find it."""

import csv
from collections.abc import Iterator
from pathlib import Path

from salesforce_pipelines.store.csv_stream import BLOCK_SIZE


def line_of_row(path: Path, row: int) -> int:
    """The line where the row of this number begins; row 0 is the first below the header."""
    return next(line for number, (line, _) in enumerate(_lines(path), -1) if number == row)


def first_flaw(path: Path) -> str | None:
    """The first thing that is wrong with a CSV, as file, line, what and cure; None if nothing is.

    Ten times slower than reading: call it once something is known to be wrong.
    """
    columns: list[str] = []
    line = 0
    try:
        for line, cells in _lines(path, strict=True):
            columns = columns or cells
            if len(cells) != len(columns):
                return (
                    f"{path}:{line}: {len(cells)} cells below {len(columns)} columns; put cells "
                    "with commas or line breaks in quotation marks"
                )
            for name, cell in zip(columns, cells, strict=True):
                if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
                    return f"{path}:{line}: column {name!r} is not UTF-8; save the file as UTF-8"
    except _UnreadableError as error:
        return (
            f"{path}:{error.line}: {error}; close every quotation mark, double those inside a cell"
        )
    return None


class _UnreadableError(Exception):
    """What the csv module could not read, and the line where the row begins."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _lines(path: Path, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV, its header first, each with the line where it begins."""
    # A cell that does not fit pyarrow's block is one whose quotation mark is not closed.
    limit = csv.field_size_limit(BLOCK_SIZE)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            rows = csv.reader(text, strict=strict)
            begin = 1
            for cells in rows:
                if cells:
                    yield begin, cells
                begin = rows.line_num + 1
    except csv.Error as error:
        raise _UnreadableError(str(error), begin) from None
    finally:
        csv.field_size_limit(limit)
