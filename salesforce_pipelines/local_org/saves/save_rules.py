"""The rules that apply when a record is saved: kept as JSON in `org.db`, ready for use in memory.

Every record that is written asks for its rules, so asking where there are none costs one look-up.
A change is stored first and seen by the next record, also by those of a running Bulk job.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from salesforce_pipelines.local_org.storage.store import Store

Kind = Literal[
    "validationRules",
    "triggers",
    "lookupFilters",
    "duplicateRules",
    "assignmentRules",
    "recordLocks",
]
KINDS: tuple[Kind, ...] = (
    "validationRules",
    "triggers",
    "lookupFilters",
    "duplicateRules",
    "assignmentRules",
    "recordLocks",
)

Rule = dict[str, Any]
_NONE: tuple[Rule, ...] = ()


class SaveRules:
    """All the rules of one org.

    A rule is a JSON object. Those of `recordLocks` are found by their `id`, others by their
    `sObject` as long as they are not inactive.

    Attributes:
        any: Whether any rule may have a say.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changing = threading.RLock()
        self._rules: dict[Kind, list[Rule]] = {}
        self._active: dict[Kind, Mapping[str, tuple[Rule, ...]]] = {}
        self.any = False
        for kind in KINDS:
            text = store.setting(_key(kind))
            self._keep(kind, json.loads(text) if text else None)

    def active(self, kind: Kind, key: str) -> tuple[Rule, ...]:
        """The rules in force for an sObject, or the locks of a record, in their order."""
        return self._active[kind].get(key, _NONE)

    def any_active(self, kind: Kind) -> bool:
        """Whether a kind has rules in force at all."""
        return bool(self._active[kind])

    def with_id(self, kind: Kind, rule_id: str) -> Rule | None:
        """The rule with an id, active or not; None if there is none."""
        return next((rule for rule in self._rules.get(kind, ()) if rule["id"] == rule_id), None)

    def all(self, kind: Kind) -> list[Rule] | None:
        """Copies of every rule of a kind; None if nobody has ever set any."""
        with self._changing:
            known = self._rules.get(kind)
            return None if known is None else json.loads(json.dumps(known))

    def replace(self, kind: Kind, rules: Sequence[Rule]) -> None:
        """Put these rules in the place of all others of their kind."""
        text = json.dumps(list(rules))
        with self._changing:
            with self._store.write() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO _setting VALUES (?, ?)", [_key(kind), text]
                )
            self._keep(kind, json.loads(text))

    def _keep(self, kind: Kind, rules: list[Rule] | None) -> None:
        if rules is not None:
            self._rules[kind] = rules
        by_key: dict[str, tuple[Rule, ...]] = {}
        name = "id" if kind == "recordLocks" else "sObject"
        for rule in rules or ():
            if rule.get("active", True):
                by_key[rule[name]] = (*by_key.get(rule[name], ()), rule)
        self._active[kind] = by_key
        # A request may name an assignment rule that is not active.
        self.any = any(self._active.values()) or bool(self._rules.get("assignmentRules"))


def _key(kind: Kind) -> str:
    return f"rules.{kind}"
