"""What matching and enrichment need of any provider of people data."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from salesforce_pipelines.config.models import Identifiers


class PeopleProvider(Protocol):
    """A source of people data, whose people are told apart by `person_id`."""

    @property
    def name(self) -> str:
        """The provider's name in the configuration."""
        ...

    @property
    def credits_per_person(self) -> int:
        """What one person's data cost."""
        ...

    @property
    def identifiers(self) -> Identifiers:
        """Which columns of the people hold which identifier."""
        ...

    @property
    def separator(self) -> str | None:
        """What stands between several values in one cell; None where a cell is one value."""
        ...

    @property
    def updated_at(self) -> str | None:
        """The column with the ISO date of each person's data, if there is one."""
        ...

    def version(self) -> str:
        """A text that changes whenever the data change."""
        ...

    def people(self, columns: Sequence[str]) -> pa.RecordBatchReader:
        """Everybody: `person_id`, then the columns, all strings; a blank is null."""
        ...

    def read(self, person_ids: pa.Array | Sequence[str], columns: Sequence[str]) -> pa.Table:
        """The people found among these: `person_id`, then the columns, all strings."""
        ...
