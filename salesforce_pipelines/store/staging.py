"""A batch in the making that outlives the process that makes it.

Its data files lie in the table's folder, where no version knows them yet; beside them a journal
says which are complete and what the caller noted with them. A later process takes it up where the
last checkpoint was, and the commit at the end is the same as of a batch written in one go. Only the
commit makes rows visible.
"""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from salesforce_pipelines.store.batch_writer import DataFile

# Names that begin with an underscore are no data files to Delta, and vacuum leaves them.
_JOURNAL = "_staged.json"
_FORMAT = 3
_BUFFER = 1 << 16


@dataclass(frozen=True)
class Staged:
    """What a journal tells of a batch that was not committed.

    Attributes:
        replaces: Whether the batch is to replace everything there is.
        after_batch: The newest batch of the table when it was begun; 0 for none.
        schema: Of the rows, without the internal columns.
        files: Complete, with the internal columns.
        kept: How many of their rows are as they were in the table.
        last_key: Of their rows, if each key is greater than the one before it.
        metadata: What the caller noted at the last checkpoint.
    """

    replaces: bool
    after_batch: int
    schema: pa.Schema
    files: list[DataFile]
    kept: int
    last_key: str | None
    metadata: dict[str, Any]

    @property
    def rows(self) -> int:
        """The rows of the complete files."""
        return sum(file.rows for file in self.files)


class Journal:
    """The file beside a table that remembers its staged batch."""

    def __init__(self, filesystem: pafs.FileSystem) -> None:
        self._filesystem = filesystem

    def read(self) -> Staged | None:
        """The staged batch; None if there is none, or one that this version cannot take up."""
        try:
            with self._filesystem.open_input_stream(_JOURNAL) as source:
                kept = json.loads(source.read())
        except (FileNotFoundError, ValueError):
            return None
        if kept.get("format") != _FORMAT:
            return None
        return Staged(
            kept["replaces"],
            kept["after_batch"],
            pa.ipc.read_schema(pa.py_buffer(base64.b64decode(kept["schema"]))),
            [DataFile(**file) for file in kept["files"]],
            kept["kept"],
            kept["last_key"],
            kept["metadata"],
        )

    def write(self, staged: Staged) -> None:
        """Remember a batch in place of what was remembered; it is either whole or not there."""
        kept = {
            "format": _FORMAT,
            "replaces": staged.replaces,
            "after_batch": staged.after_batch,
            "schema": base64.b64encode(staged.schema.serialize().to_pybytes()).decode(),
            "files": [asdict(file) for file in staged.files],
            "kept": staged.kept,
            "last_key": staged.last_key,
            "metadata": staged.metadata,
        }
        # Without a buffer delta-rs does not take what Python writes.
        with self._filesystem.open_output_stream(f"{_JOURNAL}.new", buffer_size=_BUFFER) as sink:
            sink.write(json.dumps(kept).encode())
        self._filesystem.move(f"{_JOURNAL}.new", _JOURNAL)

    def forget(self) -> None:
        """Remember nothing any more: the batch was committed."""
        with suppress(FileNotFoundError):
            self._filesystem.delete_file(_JOURNAL)

    def give_up(self, newest_batch: int) -> None:
        """Remember nothing any more, and remove the batch's files unless they may be in use.

        Args:
            newest_batch: Of the table. If it is another than the staged batch was begun after, the
                files may have been committed by a process that was then killed: vacuum decides.
        """
        staged = self.read()
        self.forget()
        if staged is None or staged.after_batch != newest_batch:
            return
        for file in staged.files:
            with suppress(FileNotFoundError):
                self._filesystem.delete_file(file.path)

    def is_complete(self, staged: Staged) -> bool:
        """Whether every file of a staged batch is there as it was written."""
        infos = self._filesystem.get_file_info([file.path for file in staged.files])
        sizes = [None if info.type == pafs.FileType.NotFound else info.size for info in infos]
        return sizes == [file.size for file in staged.files]


def noted(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a caller's metadata that is sure to be JSON."""
    copied: dict[str, Any] = json.loads(json.dumps(dict(metadata)))
    return copied
