"""The Delta table of one change log: opening versions, and committing data together with its state.

Files are committed by delta-rs exactly onto the version that was read. A version that somebody else
took in between is noticed and never skipped over.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any, Self

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import CommitProperties, RemoveAction, create_table_with_add_actions

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store.batch_writer import BatchWriter, DataFile
from salesforce_pipelines.store.columns import with_internal
from salesforce_pipelines.store.snapshot import Snapshot, StoredFile
from salesforce_pipelines.store.staging import Journal

RETENTION_DAYS = 7

_COMMIT_KEY = "salesforce_pipelines"
_COMMIT_ATTEMPTS = 5
_CONFIGURATION = {
    "delta.deletedFileRetentionDuration": f"interval {RETENTION_DAYS} days",
    "delta.logRetentionDuration": "interval 30 days",
}


class ConcurrentWriteError(PipelineError):
    """Another run wrote the table meanwhile; nothing of this write is visible."""


@dataclass(frozen=True)
class State:
    """What a change log held after its newest batch.

    Attributes:
        version: of the Delta table; grows with every commit, also of compaction and vacuum.
        batch: number of the newest batch, from 1; compaction leaves it.
        metadata: what the caller committed with that batch.
        upserted: rows of that batch, counted once per key.
        deleted: keys which that batch deleted.
        committed_at: when that batch was committed.
    """

    version: int
    batch: int
    metadata: dict[str, Any]
    upserted: int
    deleted: int
    committed_at: datetime

    @classmethod
    def new(cls, batch: int, metadata: Mapping[str, Any], upserted: int, deleted: int) -> Self:
        """The state to commit with a batch; its version is known afterwards."""
        return cls(-1, batch, dict(metadata), upserted, deleted, datetime.now(UTC))

    @classmethod
    def from_commit(cls, version: int, kept: Mapping[str, Any]) -> Self:
        """The state that a commit carries."""
        return cls(
            version=version,
            batch=kept["batch"],
            metadata=kept["metadata"],
            upserted=kept["upserted"],
            deleted=kept["deleted"],
            committed_at=datetime.fromisoformat(kept["committed_at"]),
        )

    def commit_properties(self) -> CommitProperties:
        """What makes a commit carry the state. No retries: they would skip over other commits."""
        kept = {
            "batch": self.batch,
            "metadata": self.metadata,
            "upserted": self.upserted,
            "deleted": self.deleted,
            "committed_at": self.committed_at.isoformat(),
        }
        return CommitProperties(custom_metadata={_COMMIT_KEY: kept}, max_commit_retries=0)


@dataclass(frozen=True)
class OpenedVersion:
    """One version: the Delta table at it, the state committed with it, and its rows."""

    table: DeltaTable
    state: State
    snapshot: Snapshot


@dataclass(frozen=True)
class _Newest:
    """What was opened last, and the file of its commit: opening anew costs as much as a query."""

    opened: OpenedVersion
    commit: pafs.FileInfo


class DeltaLog:
    """The place of one change log: a folder or an object-store prefix."""

    def __init__(self, root: str, name: str, key: str, storage_options: Mapping[str, str]) -> None:
        self.name = name
        self._root = root
        self._key = key
        self._uri = f"{root}/{name}"
        self._is_local = "://" not in root
        self._storage_options = dict(storage_options)
        self._newest: _Newest | None = None

    def open(self, version: int | None = None) -> OpenedVersion | None:
        """A version, the newest by default; None when the table does not exist yet."""
        if version is not None:
            return self._open(version)
        if self._newest is None or self._is_outdated(self._newest):
            opened = self._open(None)
            if opened is None:
                return None
            self._newest = _Newest(opened, self._commits(opened.snapshot.version)[0])
        return self._newest.opened

    def _is_outdated(self, newest: _Newest) -> bool:
        known = newest.commit
        commit, following = self._commits(newest.opened.snapshot.version)
        same = (commit.size, commit.mtime_ns) == (known.size, known.mtime_ns)
        return not same or following.type != pafs.FileType.NotFound

    def _commits(self, version: int) -> list[pafs.FileInfo]:
        """The commit of a version, and the one after it."""
        names = [f"_delta_log/{number:020}.json" for number in (version, version + 1)]
        return list(self._filesystem().get_file_info(names))

    def _open(self, version: int | None) -> OpenedVersion | None:
        try:
            table = DeltaTable(self._uri, version, self._storage_options)
        except TableNotFoundError:
            return None
        except DeltaError as error:
            problem = "cannot be opened" if version is None else f"has no version {version}"
            raise PipelineError(
                f"Table {self.name} below {self._root} {problem}: {error}"
            ) from error
        snapshot = Snapshot(self.name, self._key, table, self._filesystem(), local=self._is_local)
        return OpenedVersion(table, self._state(table.version()), snapshot)

    def states(self) -> Iterator[State]:
        """The state of every batch that the log still knows, newest first.

        Each with the version that the batch was committed as.
        """
        opened = self.open()
        if opened is None:
            return
        waiting = opened.state
        for version in range(opened.state.version, -1, -1):
            try:
                state = self._state_of(version)
            except FileNotFoundError:
                break
            if state is None:
                continue
            if state.batch != waiting.batch:
                yield waiting
            waiting = state
        yield waiting

    def existing(self, paths: Sequence[str]) -> list[str]:
        """Those of the files that are there."""
        infos = self._filesystem().get_file_info(list(paths))
        return [info.path for info in infos if info.type != pafs.FileType.NotFound]

    def writer(self, schema: pa.Schema, finished: Sequence[DataFile] = ()) -> BatchWriter:
        """A writer of data files for a commit to come, for rows of this schema."""
        if self._is_local:
            Path(self._uri).mkdir(parents=True, exist_ok=True)
        return BatchWriter(self._filesystem(), with_internal(schema), finished)

    def journal(self) -> Journal:
        """What is remembered of a batch that was begun and not committed."""
        if self._is_local:
            Path(self._uri).mkdir(parents=True, exist_ok=True)
        return Journal(self._filesystem())

    def commit(
        self,
        opened: OpenedVersion | None,
        state: State,
        schema: pa.Schema,
        files: Sequence[DataFile],
        *,
        overwrite: bool = False,
        folded: Sequence[StoredFile] = (),
    ) -> OpenedVersion:
        """Make the files visible on top of the opened version; a vacuum since then is no conflict.

        Args:
            opened: the version the files build on; None creates the table.
            state: committed with the files.
            schema: of the rows from now on, without the internal columns.
            files: complete and closed.
            overwrite: the files replace everything there is.
            folded: stored files whose rows the new files hold, to be taken out.

        Raises:
            ConcurrentWriteError: another batch or compaction was committed since.
        """
        for _ in range(_COMMIT_ATTEMPTS):
            try:
                if opened is None:
                    self._create(state, schema, files)
                else:
                    _commit_onto(opened, state, schema, files, overwrite, folded)
                return self._reopened()
            except CommitFailedError:
                opened = self._unchanged(opened, folded)
        raise self.conflict()

    def conflict(self) -> ConcurrentWriteError:
        """The error of a write that came second."""
        return ConcurrentWriteError(
            f"Table {self.name} was written by another run meanwhile. Nothing of this write was "
            "kept; run it again."
        )

    def refuse_nesting(self) -> None:
        """Make sure that a new table is not in another's folder, whose vacuum would delete it.

        Raises:
            PipelineError: it is inside another table, or would hold one.
        """
        parts = self.name.split("/")
        for end in range(1, len(parts)):
            outer = "/".join(parts[:end])
            if DeltaTable.is_deltatable(f"{self._root}/{outer}", self._storage_options):
                raise PipelineError(f"Table {self.name} cannot be inside table {outer}. Rename it.")
        everything = pafs.FileSelector("", allow_not_found=True, recursive=True)
        inside = self._filesystem().get_file_info(everything)
        if any("/_delta_log/" in info.path.lstrip("/") for info in inside):
            raise PipelineError(f"Table {self.name} would hold other tables. Rename it.")

    def _create(self, state: State, schema: pa.Schema, files: Sequence[DataFile]) -> None:
        try:
            create_table_with_add_actions(
                self._uri,
                _delta_schema(schema),
                [file.add_action(data_change=True) for file in files],
                mode="error",
                name=self.name,
                configuration=_CONFIGURATION,
                storage_options=self._storage_options,
                commit_properties=state.commit_properties(),
            )
        except DeltaError as error:
            if self.open() is not None:
                raise self.conflict() from error
            raise

    def _unchanged(
        self, opened: OpenedVersion | None, folded: Sequence[StoredFile]
    ) -> OpenedVersion:
        """The table reopened, provided that its content is what it was."""
        now = self._reopened()
        if opened is None or now.state.batch != opened.state.batch:
            raise self.conflict()
        if not {file.path for file in folded} <= {file.path for file in now.snapshot.files}:
            raise self.conflict()
        return now

    def _reopened(self) -> OpenedVersion:
        opened = self.open()
        if opened is None:
            raise PipelineError(f"Table {self.name} below {self._root} was removed meanwhile.")
        return opened

    def _state(self, version: int) -> State:
        """The state in the newest commit of this program, seldom not the very last commit."""
        for commit in range(version, -1, -1):
            try:
                state = self._state_of(commit)
            except FileNotFoundError:
                break
            if state is not None:
                return replace(state, version=version)
        raise PipelineError(
            f"Table {self.name} below {self._root} was not written by this program. "
            "Move it away, or choose another place for the tables."
        )

    def _state_of(self, commit: int) -> State | None:
        """The state that a commit carries; None if it is another program's."""
        with self._filesystem().open_input_stream(f"_delta_log/{commit:020}.json") as source:
            lines = source.read().splitlines()
        for action in map(json.loads, lines):
            if _COMMIT_KEY in action.get("commitInfo", {}):
                return State.from_commit(commit, action["commitInfo"][_COMMIT_KEY])
        return None

    def _filesystem(self) -> pafs.FileSystem:
        if self._is_local:
            return pafs.SubTreeFileSystem(self._uri, pafs.LocalFileSystem())
        return pafs.PyFileSystem(DeltaStorageHandler(self._uri, self._storage_options))


def _commit_onto(
    opened: OpenedVersion,
    state: State,
    schema: pa.Schema,
    files: Sequence[DataFile],
    overwrite: bool,
    folded: Sequence[StoredFile],
) -> None:
    """One try at the version after the opened one; any commit in between fails it."""
    added = [name for name in schema.names if name not in opened.snapshot.schema.names]
    if added and not overwrite:
        # delta-rs adds columns in a commit of their own; they are null, and the state stays.
        fields = Schema.from_arrow(pa.schema([schema.field(name) for name in added])).fields
        opened.table.alter.add_columns(fields, commit_properties=opened.state.commit_properties())
    now = int(time() * 1000)
    opened.table.create_write_transaction(
        [
            *(file.add_action(data_change=not folded) for file in files),
            *(RemoveAction(file.path, False, now, file.size) for file in folded),
        ],
        "overwrite" if overwrite else "append",
        _delta_schema(schema),
        commit_properties=state.commit_properties(),
    )


def _delta_schema(schema: pa.Schema) -> Schema:
    return Schema.from_arrow(with_internal(schema))
