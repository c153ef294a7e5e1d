"""A call to the admin interface, for the handlers that answer it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from salesforce_pipelines.local_org.org import Org

_LARGEST = 10**15


class AdminError(Exception):
    """A refusal; the message names the key and the cure."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


@dataclass(frozen=True)
class AdminCall:
    """One call.

    Attributes:
        captured: The parts of the path that the route names, such as {"id": "fault-1"}.
        query: The parameters of the address.
        body: The JSON object that was sent; empty if there was none.
    """

    org: Org
    captured: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]

    def check_keys(self, *allowed: str) -> None:
        """Refuse a body with other keys, or without any.

        Raises:
            AdminError: It has.
        """
        unknown = [key for key in self.body if key not in allowed]
        if unknown or (allowed and not self.body):
            what = f"{unknown[0]}: there is no such key" if unknown else "The body is empty"
            may = f"give {', '.join(allowed)}" if allowed else "give an empty object"
            raise AdminError(f"{what}; {may}")

    def number(self, key: str, least: float | None = None) -> float | None:
        """A number of the body; None if the key is not given.

        Raises:
            AdminError: It is none, or too small.
        """
        value = self.body.get(key)
        if key not in self.body:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AdminError(f"{key}: give a number")
        if least is not None and value < least:
            raise AdminError(f"{key}: give a number of at least {least:g}")
        return value

    def whole_number(self, key: str, least: int = 0) -> int | None:
        """A whole number of the body; None if the key is not given.

        Raises:
            AdminError: It is none, or too small.
        """
        value = self.number(key, least)
        if isinstance(value, float):
            raise AdminError(f"{key}: give a whole number")
        if value is not None and value > _LARGEST:
            raise AdminError(f"{key}: give a number of at most {_LARGEST}")
        return value


AdminHandler = Callable[[AdminCall], Any]
"""What answers a call: a value that JSON can hold, or an `AdminError`."""
