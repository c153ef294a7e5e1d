"""Providers of people data."""

import difflib
import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from salesforce_pipelines.config.models import FileProvider, Identifiers
from salesforce_pipelines.enrichment.csv_flaws import first_flaw, line_of_row
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity import duckdb_session
from salesforce_pipelines.store.csv_stream import BLOCK_SIZE, header, open_csv

# A file written this recently may be written again within the same tick of its clock.
_SETTLED_NS = 2_000_000_000


class FilePeople:
    """The people of one CSV file: UTF-8, a header, one row for each person.

    Rows are streamed, so a file of any size takes little memory. Cells are text as they stand,
    line breaks included; only a blank cell is null. Errors name the file, line and column and
    never quote a row.
    """

    def __init__(self, config: FileProvider) -> None:
        self._config = config
        self._path = config.path

    @property
    def name(self) -> str:
        """The provider's name in the configuration."""
        return self._config.name

    @property
    def credits_per_person(self) -> int:
        """What one person's data cost."""
        return self._config.credits_per_person

    @property
    def identifiers(self) -> Identifiers:
        """Which columns of the people hold which identifier."""
        return self._config.identifiers

    @property
    def separator(self) -> str | None:
        """What stands between several values in one cell."""
        return self._config.separator

    @property
    def updated_at(self) -> str | None:
        """The column with the ISO date of each person's data, if there is one."""
        return self._config.updated_at

    def check(self, columns: Sequence[str] = ()) -> None:
        """Read the whole file once and refuse what could not be matched or enriched from.

        Args:
            columns: Columns that are needed besides those of the provider's configuration, such
                as the sources of field mappings.

        Raises:
            PipelineError: The file is missing, empty, without people or malformed; a column is
                missing or stands twice; a person's id is blank or stands twice.
        """
        updated_at = [self.updated_at] if self.updated_at else []
        people = self.people([*self.identifiers.columns(), *updated_at, *columns])
        with duckdb_session.session() as db:
            statement = "CREATE TEMP TABLE ids AS FROM source"
            duckdb_session.load(db, statement, _numbered_ids(people))
            if not db.execute("FROM ids LIMIT 1").fetchall():
                raise PipelineError(f"{self._path}:2: there are no people below the header")
            for (row,) in db.execute(
                "SELECT row FROM ids WHERE person_id IS NULL ORDER BY row LIMIT 1"
            ).fetchall():
                raise self._wrong_id(row, "is blank; every person needs an id")
            same = db.execute(
                "SELECT row FROM ids SEMI JOIN ("
                " SELECT person_id FROM ids GROUP BY ALL HAVING count(*) > 1"
                " ORDER BY min(row) LIMIT 1) USING (person_id) ORDER BY row LIMIT 2"
            ).fetchall()
            if same:
                (first,), (second,) = same
                line = line_of_row(self._path, first)
                raise self._wrong_id(second, f"is that of line {line}; a person may stand once")

    def version(self) -> str:
        """A fingerprint of the file's content.

        It is computed once for each state of the file (size, times, inode), and every time while
        the file is younger than two seconds.

        Raises:
            PipelineError: The file cannot be read.
        """
        with self._opened() as file:
            state = os.fstat(file.fileno())
            if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) < _SETTLED_NS:
                return _sha256(self._path)
            return _sha256_once(self._path, *_signature(state))

    def people(self, columns: Sequence[str]) -> pa.RecordBatchReader:
        """Everybody: `person_id`, then the columns, all strings; a blank is null.

        Raises:
            PipelineError: The file is missing, empty or malformed, a column is missing or stands
                twice, or the file changed while it was read; here or while iterating.
        """
        sources = self._sources(columns)
        schema = pa.schema([(name, pa.string()) for name in sources])
        return pa.RecordBatchReader.from_batches(schema, self._rows(sources, schema))

    def read(self, person_ids: pa.Array | Sequence[str], columns: Sequence[str]) -> pa.Table:
        """The people found among these: `person_id`, then the columns, in no particular order.

        Raises:
            PipelineError: As `people`.
        """
        people = self.people(columns)
        arrow = isinstance(person_ids, pa.Array | pa.ChunkedArray)
        ids = person_ids if arrow else pa.array(person_ids, pa.string())
        with duckdb_session.session() as db:
            db.register("wanted", pa.table({"person_id": ids}))
            statement = "CREATE TEMP TABLE found AS FROM source SEMI JOIN wanted USING (person_id)"
            duckdb_session.load(db, statement, people)
            return db.sql("FROM found").to_arrow_table().cast(people.schema)

    def _sources(self, columns: Sequence[str]) -> dict[str, str]:
        """The columns of the answer, and the columns of the file that they come from."""
        with self._opened() as file:
            names = header(file.read(BLOCK_SIZE))
        if not names:
            empty = f"{self._path}:1: the file is empty; it needs a header and people"
            raise PipelineError(first_flaw(self._path) or empty)
        for name, count in Counter(names).items():
            if count > 1:
                raise PipelineError(f"{self._path}:1: column {name!r} stands twice; rename one")
        own = self._config.person_id
        for name in (own, *columns):
            if name not in names:
                raise PipelineError(f"{self._path}:1: {self._missing(name, names)}")
        if own != "person_id" and "person_id" in columns:
            raise PipelineError(
                f"{self._path}:1: column 'person_id' is not the id, which is {own!r}; rename it"
            )
        return {"person_id": own, **{name: name for name in columns if name != "person_id"}}

    def _missing(self, column: str, names: Sequence[str]) -> str:
        provider = self._config
        keys = {kind: getattr(provider.identifiers, kind) for kind in provider.identifiers.kinds()}
        if provider.identifiers.name_company:
            keys["name_company"] = provider.identifiers.name_company.model_dump().values()
        places = [f"identifiers.{kind}" for kind, wanted in keys.items() if column in wanted]
        places += ["person_id"] * (column == provider.person_id)
        places += ["updated_at"] * (column == provider.updated_at)
        asked = f"enrichment.provider.{places[0]}" if places else "a field mapping"
        near = difflib.get_close_matches(column, names, n=1)
        cure = f"did you mean {near[0]!r}?" if near else f"the header has {', '.join(names)}"
        return f"there is no column {column!r}, which {asked} names; {cure}"

    def _rows(self, sources: dict[str, str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._opened() as file:
            before = _signature(os.fstat(file.fileno()))
            counted = _CountingQuotes(file)
            try:
                for batch in open_csv(counted, columns=list(dict.fromkeys(sources.values()))):
                    cells = [batch.column(source) for source in sources.values()]
                    yield pa.record_batch(cells, schema=schema)
            except pa.ArrowInvalid:
                # Not chained: its message quotes the row.
                reason = first_flaw(self._path) or f"{self._path}: not CSV that could be read"
                raise PipelineError(reason) from None
            if counted.odd and (flaw := first_flaw(self._path)):
                raise PipelineError(flaw)
            if _signature(self._path.stat()) != before:
                raise PipelineError(f"{self._path}: changed while it was read; try again")

    def _wrong_id(self, row: int, what: str) -> PipelineError:
        line = line_of_row(self._path, row)
        return PipelineError(f"{self._path}:{line}: column {self._config.person_id!r} {what}")

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            file = self._path.open("rb")
        except FileNotFoundError as error:
            raise PipelineError(
                f"{self._path}: no such file; enrichment.provider.path names it"
            ) from error
        except OSError as error:
            raise PipelineError(f"{self._path}: cannot be read: {error.strerror}") from error
        with file:
            yield file


class _CountingQuotes:
    """A file that knows whether an odd number of quotation marks was read from it.

    An odd number is the only trace of a quotation mark that is never closed: pyarrow takes the
    rest of the file for one cell.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.odd = False

    def read(self, size: int, /) -> bytes:
        block = self._file.read(size)
        self.odd ^= block.count(b'"') % 2 == 1
        return block


def _numbered_ids(people: pa.RecordBatchReader) -> pa.RecordBatchReader:
    schema = pa.schema([("person_id", pa.string()), ("row", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in people:
            numbers = pa.array(range(start, start + batch.num_rows), pa.int64())
            start += batch.num_rows
            yield pa.record_batch([batch.column("person_id"), numbers], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _signature(state: os.stat_result) -> tuple[int, int, int, int]:
    # The change time tells an edit that kept size and modification time.
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


@lru_cache(maxsize=16)
def _sha256_once(path: Path, *_state: int) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
