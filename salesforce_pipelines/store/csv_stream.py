"""CSV as a stream of Arrow batches whose every byte survives."""

import csv
import io
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.csv

BLOCK_SIZE = 4 << 20
_HEADER_SIZE = 256 << 10


class Readable(Protocol):
    """Anything with `read(n)`: an open binary file, the body of an HTTP response."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class NeverSplitCrLf:
    """A readable source whose blocks never end between a carriage return and its line feed.

    pyarrow loses a byte where a CRLF inside quotes straddles two blocks
    (https://github.com/apache/arrow/issues/51368). A carriage return at the end of a block is held
    back and starts the next one. Blocks are otherwise as long as asked for, however little the
    source gives at a time, as pyarrow takes a row over two blocks at most.

    Args:
        source: Where the bytes come from. It is not closed here.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._ahead = b""
        self.closed = False

    def peek(self, size: int) -> bytes:
        """The next bytes, `size` of them unless the source ends before; `read` gives them again."""
        parts, missing = [self._ahead], size - len(self._ahead)
        while missing > 0 and (more := self._source.read(missing)):
            parts.append(more)
            missing -= len(more)
        self._ahead = b"".join(parts)
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """`size` bytes (at least 2) or one less; fewer, then none, at the end of the source."""
        if size < 2:
            raise ValueError("a block of fewer than two bytes cannot hold a line break")
        block = self.peek(size)
        if len(block) > 1 and block.endswith(b"\r"):
            block = block[:-1]
        self._ahead = self._ahead[len(block) :]
        return block

    def close(self) -> None:
        """Mark the stream as closed; the source belongs to who opened it."""
        self.closed = True


def open_csv(
    source: Readable, *, columns: Sequence[str] | None = None, block_size: int = BLOCK_SIZE
) -> pa.RecordBatchReader:
    """The rows of a CSV with a header, as batches of strings; only a blank cell is null.

    Line breaks inside quotes are kept exactly; NA, null and #N/A are text; a byte order mark is
    skipped. Memory is that of some forty blocks, which pyarrow reads ahead, whatever the length.

    Args:
        source: The CSV in UTF-8. It stays open and must stay so until the last batch.
        columns: The columns that are read, in this order; all of the header's by default.
        block_size: Bytes parsed at a time; a single row must fit, and the header in 256 KiB.

    Raises:
        pyarrow.ArrowInvalid: There is no header, or, here or while iterating, a row has more or
            fewer cells than the header or is not UTF-8. Its message can quote a row, so it is not
            for logs.
        pyarrow.ArrowKeyError: A column is not in the header.
    """
    stream = NeverSplitCrLf(source)
    most = min(block_size, _HEADER_SIZE)
    start = stream.peek(most)
    names = header(start)
    if names and len(start) < most and len(start.splitlines()) == 1:
        # The header is all there is; pyarrow wants its line to end.
        stream = NeverSplitCrLf(io.BytesIO(start.rstrip(b"\r\n") + b"\n"))
    return pyarrow.csv.open_csv(
        pa.PythonFile(stream, mode="r"),
        read_options=pyarrow.csv.ReadOptions(block_size=block_size, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=columns,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def header(start: bytes) -> list[str]:
    """The column names of a CSV from its first bytes; an empty list where none can be read."""
    text = io.StringIO(start.decode("utf-8-sig", errors="replace"), newline="")
    try:
        return next((row for row in csv.reader(text) if row), [])
    except csv.Error:
        return []
