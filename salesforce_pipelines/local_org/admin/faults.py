"""Faults that are asked for: what they match, and when they strike.

Nothing here answers a request or touches a record. Whoever is about to do something tells the
`Faults` about it as an `Occasion`, and does what the faults that strike say. Faults are kept in
memory, and a restart forgets them.
"""

import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from salesforce_pipelines.local_org.admin.fault_kinds import (
    COUNTERS,
    HTTP_ONLY,
    HTTP_PLACES,
    KINDS,
    MATCHERS,
    OPERATIONS,
    FaultError,
    Kind,
    Place,
)
from salesforce_pipelines.local_org.storage.ids import is_id, to_18


@dataclass(frozen=True, slots=True)
class Occasion:
    """Something that a fault may strike at.

    Attributes:
        path: The whole path of a request, with its version.
        below_version: Its path below /services/data/vXX.X; None for another address.
        sobjects: The names of the sObjects that it is about, in lower case.
        job: query or ingest, for what is about a Bulk job.
        from_record: The record that a page of results begins at.
    """

    method: str = ""
    path: str = ""
    below_version: str | None = None
    sobjects: frozenset[str] = frozenset()
    user_id: str = ""
    record_id: str | None = None
    operation: str = ""
    job: str = ""
    from_record: int = 0


@dataclass
class Fault:
    """A fault that was asked for.

    Attributes:
        options: What its kind can be told, complete with defaults.
        matchers: What an occasion has to be like.
        times: How often it still strikes at the most, counted from the beginning; None for always.
        seen: Matching occasions so far, until it was spent.
        hits: How often it has struck.
    """

    id: str
    kind: str
    options: Mapping[str, Any]
    matchers: Mapping[str, str]
    times: int | None
    skip: int
    probability: float
    seed: int
    seen: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  # to be repeatable, not secret

    def __getitem__(self, option: str) -> Any:
        """The value of an option."""
        return self.options[option]

    @property
    def is_spent(self) -> bool:
        """Whether it will not strike again."""
        return self.times is not None and self.hits >= self.times

    def strikes(self, occasion: Occasion) -> bool:
        """Whether it strikes on an occasion, which is counted."""
        if self.is_spent or not self._matches(occasion):
            return False
        self.seen += 1
        if self.seen <= self.skip:
            return False
        if self.probability < 1 and self._random.random() >= self.probability:
            return False
        self.hits += 1
        return True

    def _matches(self, occasion: Occasion) -> bool:
        wanted, options = self.matchers, self.options
        return (
            _fits(wanted.get("method"), occasion.method)
            and _fits(wanted.get("user"), occasion.user_id)
            and _fits(options.get("job"), occasion.job)
            and ("sobject" not in wanted or wanted["sobject"].lower() in occasion.sobjects)
            and (KINDS[self.kind].place not in HTTP_PLACES or self._on_path(occasion))
            and (options.get("ids") is None or occasion.record_id in options["ids"])
            and ("operations" not in options or occasion.operation in options["operations"])
            and occasion.from_record >= options.get("from_record", 0)
        )

    def _on_path(self, occasion: Occasion) -> bool:
        if "path_regex" in self.matchers:
            return re.search(self.matchers["path_regex"], occasion.path) is not None
        pattern = self.matchers.get("path", "**")
        path = occasion.path if pattern.startswith("/") else occasion.below_version
        return path is not None and path_fits(pattern.strip("/"), path.strip("/"))

    def shown(self) -> dict[str, Any]:
        """What the admin interface shows of it."""
        return {
            "id": self.id,
            "kind": self.kind,
            **self.matchers,
            **{name: value for name, value in self.options.items() if value is not None},
            "times": "unlimited" if self.times is None else self.times,
            "skip": self.skip,
            "probability": self.probability,
            "seed": self.seed,
            "seen": self.seen,
            "hits": self.hits,
        }


def _fits(wanted: str | None, found: str) -> bool:
    return wanted is None or wanted.lower() == found.lower()


def path_fits(pattern: str, path: str) -> bool:
    """Whether a path is one that a pattern with `*` and `**` stands for, in any letter case."""
    pieces = ("[^/]*" if p == "*" else ".*" if p == "**" else re.escape(p)
              for p in re.split(r"(\*\*|\*)", pattern))  # fmt: skip
    return re.fullmatch("".join(pieces), path, re.IGNORECASE | re.DOTALL) is not None


def parse_fault(fault_id: str, given: Mapping[str, Any]) -> Fault:
    """The fault that somebody describes.

    Raises:
        FaultError: It has unknown, missing or contradictory keys.
    """
    name = given.get("kind")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if not isinstance(name, str) or kind is None:
        raise FaultError(f"kind: give one of {', '.join(KINDS)}")
    _check_keys(name, kind, given)
    options = {
        key: option.checked(key, given[key]) if key in given else option.default
        for key, option in kind.options.items()
    }
    fixed = {
        key: value.format(**options) if isinstance(value, str) else value
        for key, value in kind.fixed.items()
    }
    counters = {
        key: option.checked(key, given[key]) if key in given else option.default
        for key, option in COUNTERS.items()
    }
    matchers = {
        key: option.checked(key, given[key]) for key, option in MATCHERS.items() if key in given
    }
    _check_values(name, options, matchers, counters)
    if options.get("ids") is not None:
        options["ids"] = _ids(options["ids"])
    times = _times(given["times"]) if "times" in given else kind.times
    return Fault(fault_id, name, {**options, **fixed}, matchers, times, **counters)


def _check_keys(name: str, kind: Kind, given: Mapping[str, Any]) -> None:
    matchers = [key for key in MATCHERS if kind.place in HTTP_PLACES or key not in HTTP_ONLY]
    allowed = ["kind", *kind.options, *matchers, "times", *COUNTERS]
    for key in given:
        if key not in allowed:
            raise FaultError(f"{key}: a fault of kind {name} takes only {', '.join(allowed)}")
    for key, option in kind.options.items():
        if option.required and key not in given:
            raise FaultError(f"{key} is missing. {option.doc}")


def _check_values(
    name: str, options: Mapping[str, Any], matchers: Mapping[str, str], counters: Mapping[str, Any]
) -> None:
    if name == "cut" and options["after_bytes"] is not None and options["fraction"] is not None:
        raise FaultError("fraction: leave it out, or leave out after_bytes")
    if name == "truncated_results" and (options["missing_rows"] is None) == (
        options["after_bytes"] is None
    ):
        raise FaultError("missing_rows: give either this or after_bytes")
    if options.get("fraction") is not None and options["fraction"] >= 1:
        raise FaultError("fraction: give a number below 1; the whole body would be no cut")
    unknown = set(options.get("operations") or ()) - set(OPERATIONS)
    if unknown:
        raise FaultError(f"operations: {', '.join(unknown)} is none of create, update, delete")
    if name == "late_rows" and "sobject" not in matchers:
        raise FaultError("sobject is missing. Name the sObject whose records are late.")
    if "path" in matchers and "path_regex" in matchers:
        raise FaultError("path_regex: leave it out, or leave out path")
    if counters["probability"] > 1:
        raise FaultError("probability: give a number from 0 to 1")
    try:
        re.compile(matchers.get("path_regex", ""))
    except re.error as error:
        raise FaultError(f"path_regex: this is no regular expression: {error}") from None


def _ids(given: list[str]) -> list[str]:
    for record_id in given:
        if not is_id(record_id):
            raise FaultError(f"ids: {record_id} is not the id of a record")
    return [to_18(record_id) for record_id in given]


def _times(value: Any) -> int | None:
    if value == "unlimited":
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise FaultError('times: give a whole number of at least 1, or "unlimited"')
    return value


class Faults:
    """The faults of one org. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[str, Fault] = {}
        self._at: dict[Place, tuple[Fault, ...]] = {}
        self._number = 0

    def add(self, given: Mapping[str, Any]) -> Fault:
        """Take up a fault that somebody describes.

        Raises:
            FaultError: It cannot be.
        """
        with self._lock:
            fault = parse_fault(f"fault-{self._number + 1}", given)
            self._number += 1
            self._all[fault.id] = fault
            self._arrange()
            return fault

    def all(self) -> Sequence[Fault]:
        """Every fault, the oldest first."""
        return tuple(self._all.values())

    def at(self, place: Place) -> Sequence[Fault]:
        """The faults of one place, the oldest first."""
        return self._at.get(place, ())

    def get(self, fault_id: str) -> Fault | None:
        """A fault by its id."""
        return self._all.get(fault_id)

    def remove(self, fault_id: str) -> Fault | None:
        """Withdraw a fault; None if there is none."""
        with self._lock:
            fault = self._all.pop(fault_id, None)
            self._arrange()
            return fault

    def _arrange(self) -> None:
        places = {KINDS[fault.kind].place for fault in self._all.values()}
        self._at = {
            place: tuple(f for f in self._all.values() if KINDS[f.kind].place == place)
            for place in places
        }

    def may_strike(self, *places: Place) -> bool:
        """Whether there is any fault at one of those places; costs next to nothing."""
        return any(place in self._at for place in places)

    def asks_for_sobject(self, *places: Place) -> bool:
        """Whether a fault at one of those places is about a certain sObject."""
        return any("sobject" in f.matchers for place in places for f in self._at.get(place, ()))

    def strike(
        self,
        place: Place,
        occasion: Occasion,
        concerned: Callable[[Fault], bool] = lambda _: True,
    ) -> dict[str, Fault]:
        """The faults that strike on an occasion, each under its effect.

        Args:
            concerned: Whether a fault is about occasions of this sort at all; for others it is no
                occasion.
        """
        struck: dict[str, Fault] = {}
        if place not in self._at:
            return struck
        with self._lock:
            for fault in self._at.get(place, ()):
                effect = KINDS[fault.kind].effect
                if effect not in struck and concerned(fault) and fault.strikes(occasion):
                    struck[effect] = fault
        return struck
