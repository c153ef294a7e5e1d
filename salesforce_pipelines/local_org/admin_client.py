"""A client of the admin interface, for tests and rehearsals in Python."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests

_TIMEOUT_SECONDS = 60


class AdminRefusedError(Exception):
    """The local org refused; the message says why, and what to give instead."""


@dataclass(frozen=True)
class AdminClient:
    """What can be done to a running local org beside what Salesforce can do.

    Every method raises `AdminRefusedError` if the org refuses.

    Attributes:
        url: The org's address.
    """

    url: str

    def now(self) -> datetime:
        """The org's time."""
        return _moment(self.send("GET", "clock"))

    def move_clock(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> datetime:
        """Move the org's clock on (or back, with negative numbers); its time then."""
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return _moment(self.send("PATCH", "clock", {"move_by_seconds": step.total_seconds()}))

    def set_clock(self, now: datetime) -> None:
        """Let the org's clock tell a time."""
        self.send("PATCH", "clock", {"now": now.isoformat()})

    def freeze_clock(self, frozen: bool = True) -> datetime:
        """Stop the org's clock, or let it run on; its time then."""
        return _moment(self.send("PATCH", "clock", {"frozen": frozen}))

    def reset_clock(self) -> None:
        """Let the org's clock tell the real time again."""
        self.send("PATCH", "clock", {"offset_seconds": 0, "frozen": False})

    def limits(self) -> dict[str, int]:
        """The limits of 24 hours and what is used of them."""
        answer: dict[str, int] = self.send("GET", "limits")
        return answer

    def set_limits(self, **numbers: int) -> None:
        """Change some of what `limits` shows, such as `api_calls_used`."""
        self.send("PATCH", "limits", numbers)

    def add_fault(self, kind: str, **options: Any) -> str:
        """Ask for a fault; its id.

        Args:
            kind: One of `fault_kinds.KINDS`.
            options: The kind's own, what it matches (`path`, `sobject`, ...), and how often it
                strikes (`times`, `skip`, `probability`).
        """
        fault_id: str = self.send("POST", "faults", {"kind": kind, **options})["id"]
        return fault_id

    def read_fault(self, fault_id: str) -> dict[str, Any]:
        """A fault as it stands; `hits` says how often it has struck."""
        answer: dict[str, Any] = self.send("GET", f"faults/{fault_id}")
        return answer

    def remove_fault(self, fault_id: str) -> None:
        """Withdraw a fault."""
        self.send("DELETE", f"faults/{fault_id}")

    @contextmanager
    def fault(self, kind: str, **options: Any) -> Iterator[str]:
        """A fault that is there for the time of a `with` block; gives its id."""
        fault_id = self.add_fault(kind, **options)
        try:
            yield fault_id
        finally:
            self.remove_fault(fault_id)

    def clear(self) -> None:
        """Withdraw every fault."""
        self.send("DELETE", "faults")

    def unconfirmed(self) -> dict[str, str]:
        """What is chosen for each switch of what no public source settles about Salesforce."""
        switches = self.send("GET", "unconfirmed")["switches"]
        return {name: switch["chosen"] for name, switch in switches.items()}

    @contextmanager
    def choose(self, **choices: str) -> Iterator[None]:
        """Let the org behave otherwise where no public source settles it, within a `with` block.

        Args:
            choices: Choices by the names of `unconfirmed.SWITCHES`.
        """
        before = self.unconfirmed()
        self.send("PATCH", "unconfirmed", choices)
        try:
            yield
        finally:
            self.send("PATCH", "unconfirmed", {name: before[name] for name in choices})

    def expire_sessions(self) -> int:
        """End every session; how many there were."""
        ended: int = self.send("POST", "sessions/expire")["ended"]
        return ended

    def empty_recycle_bin(self) -> dict[str, int]:
        """Remove deleted records for good; how many of each sObject there were."""
        removed: dict[str, int] = self.send("POST", "recycle-bin/empty")
        return removed

    def calls(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The newest API calls, the newest first."""
        found: list[dict[str, Any]] = self.send("GET", f"calls?limit={limit}")["calls"]
        return found

    def not_understood(self) -> list[dict[str, Any]]:
        """The distinct requests that the org did not understand."""
        found: list[dict[str, Any]] = self.send("GET", "not-understood")["requests"]
        return found

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Any call below `/local-org/`; what it answers."""
        response = requests.request(
            method, f"{self.url}/local-org/{path}", json=body or {}, timeout=_TIMEOUT_SECONDS
        )
        answer = response.json()
        if not response.ok:
            raise AdminRefusedError(answer["error"])
        return answer


def _moment(clock: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(clock["now"])
