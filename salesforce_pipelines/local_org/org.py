"""One local org: its schema, its records, its platform state and its settings."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.admin.clock import MovableClock
from salesforce_pipelines.local_org.admin.faults import Faults
from salesforce_pipelines.local_org.admin.job_faults import JobFaults
from salesforce_pipelines.local_org.admin.late_rows import LateRows
from salesforce_pipelines.local_org.admin.limits import Limits
from salesforce_pipelines.local_org.http.call_log import CallLog
from salesforce_pipelines.local_org.metadata.field_permissions import visible_schema
from salesforce_pipelines.local_org.metadata.home_metadata import FieldAccess, open_metadata
from salesforce_pipelines.local_org.metadata.schema import Schema
from salesforce_pipelines.local_org.oauth2.connected_app import change_app_settings
from salesforce_pipelines.local_org.oauth2.sessions import Sessions
from salesforce_pipelines.local_org.saves.history import open_history
from salesforce_pipelines.local_org.saves.save_rules import SaveRules
from salesforce_pipelines.local_org.soql.compiled_query import Asking
from salesforce_pipelines.local_org.storage.state import State
from salesforce_pipelines.local_org.storage.store import Clock, Store, stamp, utc_now
from salesforce_pipelines.local_org.web_pages.page_state import PageState

OLDEST_VERSION = 42
NEWEST_VERSION = 67
DAILY_API_CALLS = 100_000
WORK_KINDS = ("query", "ingest", "housekeeping")


def is_served(version: str) -> bool:
    """Whether the org answers an API version such as `62.0`."""
    number, point, minor = version.partition(".")
    served = {str(number) for number in range(OLDEST_VERSION, NEWEST_VERSION + 1)}
    return number in served and (point, minor) == (".", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an org is reached.

    Attributes:
        client_id: The consumer key of its one connected app.
        client_secret: Its consumer secret.
        daily_api_calls: API calls allowed in 24 hours.
        app_changes: What to change in `connected_app.AppSettings` when the org is opened; the
            rest stays as the home keeps it.
        soap_login: Whether SOAP's `login()` works up to v64, with a user's name and the consumer
            secret as password; new orgs of Salesforce have it disabled.
        admin_from_anywhere: Whether other machines may see the pages and use the admin interface.
        host_names: Public names that the server answers to, beside this machine's own.
    """

    client_id: str = "local-org"
    client_secret: str = "local-org-secret"  # noqa: S105  # the documented secret of a local org
    daily_api_calls: int = DAILY_API_CALLS
    app_changes: Mapping[str, Any] = field(default_factory=dict)
    soap_login: bool = False
    admin_from_anywhere: bool = False
    host_names: tuple[str, ...] = ()


class Org:
    """An org opened from its home folder.

    Args:
        home: The folder with `org.db`, as `building.build_home` makes it.
        settings: How it is reached.
        clock: The machine's time; the org's is moved against it as the home says.

    Raises:
        PipelineError: Another process serves it, or a change of the app's settings is refused.

    Attributes:
        save_rules: The rules that apply when a record is saved.
        stopping: Set when the server stops; Bulk jobs then rest until the next start.
        clock: The org's time.
        faults: What was asked to go wrong.
        changing_metadata: Held while the metadata changes, so that changes come one by one.
        work_waits: Set, by the kind of work, when there may be some: `query` and `ingest` jobs,
            and `housekeeping`.
    """

    def __init__(self, home: Path, settings: Settings, clock: Clock = utc_now) -> None:
        self.clock = clock = MovableClock(home / "clock.json", clock)
        self.settings = settings
        self.state = State(home / "platform.db", clock)
        try:
            change_app_settings(self.state, **settings.app_changes)
        except PipelineError:
            self.state.close()
            raise
        schema, access = open_metadata(home / "org.db", stamp(clock()))
        self.store = Store(home / "org.db", schema, clock)
        self.changing_metadata = threading.Lock()
        self.use_metadata(schema, access)
        self.sessions = Sessions(self.state, self.store)
        open_history(self.store)
        self.call_log = CallLog(clock)
        self.page_state = PageState()
        self.save_rules = SaveRules(self.store)
        self.faults = Faults()
        self.late_rows = LateRows(self.store, self.faults)
        self.job_faults = JobFaults(self.faults, clock, self.state)
        self.limits = Limits(clock)
        self.stopping = threading.Event()
        self.work_waits = {kind: threading.Event() for kind in WORK_KINDS}
        self.spool = home / "spool"
        for folder in ("cursors", "jobs"):
            (self.spool / folder).mkdir(parents=True, exist_ok=True)

    def asking(self, user_id: str, include_deleted: bool = False) -> Asking:
        """What a query of a user depends on beside its text."""
        return Asking(user_id, self.store.clock(), include_deleted)

    def schema_for(self, user_id: str) -> Schema:
        """The sObjects and fields that a user may see."""
        schema, access, views = self._metadata
        if user_id not in access:
            return schema
        view = views.get(user_id)
        if view is None:
            view = views[user_id] = visible_schema(schema, access[user_id])
        return view

    @property
    def schema(self) -> Schema:
        """Every sObject and field of the org."""
        return self._metadata[0]

    def use_metadata(self, schema: Schema, access: FieldAccess) -> None:
        """Let every request from now on see other metadata; `metadata_changes` calls it."""
        views: dict[str, Schema] = {}
        self._metadata = schema, access, views
        self.store.schema = schema

    def count_rows(self) -> Mapping[str, int]:
        """The live records of each sObject."""
        reader = self.store.reader()
        return {
            sobject.name: reader.execute(
                f'SELECT count(*) FROM "{sobject.name}"'
                f"{' WHERE IsDeleted = 0' if sobject.has_is_deleted else ''}"
            ).fetchone()[0]
            for sobject in self.schema
        }

    def close(self) -> None:
        """Close its files."""
        self.store.close()
        self.state.close()
