"""Updates leave what nobody mapped alone, and locks are waited for."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from salesforce_pipelines.org import writing
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines_tests.org.conftest import Scripted

Connect = Callable[[str], OrgSession]
DONE: dict[str, Any] = {"id": "00QA", "success": True, "errors": []}


def failed(code: str) -> dict[str, Any]:
    return {"success": False, "errors": [{"statusCode": code, "message": "m", "fields": ["F"]}]}


def test_assignment_rules_are_switched_off(scripted: Scripted, connect: Connect) -> None:
    scripted.answer(200, [DONE])
    updates = [writing.Update("00QA", {"Title": "CEO"})]
    assert list(writing.update(connect(scripted.url), "Lead", updates)) == [
        writing.Outcome("00QA", None)
    ]
    assert scripted.headers[-1]["Sforce-Auto-Assign"] == "false"


def test_a_locked_record_is_sent_again_and_the_others_are_not(
    scripted: Scripted, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    scripted.answer(200, [failed("UNABLE_TO_LOCK_ROW"), DONE])
    scripted.answer(200, [DONE])
    updates = [writing.Update("00QB", {"F": "1"}), writing.Update("00QA", {"F": "1"})]
    found = {one.id: one.rejected for one in writing.update(connect(scripted.url), "Lead", updates)}
    assert found == {"00QA": None, "00QB": None}
    assert len(scripted.paths()) == 2


def test_a_rejection_names_its_field_and_stops_nobody_else(
    scripted: Scripted, connect: Connect
) -> None:
    scripted.answer(200, [failed("STRING_TOO_LONG"), DONE])
    updates = [writing.Update("00QB", {"F": "1"}), writing.Update("00QA", {"F": "1"})]
    found = {one.id: one.rejected for one in writing.update(connect(scripted.url), "Lead", updates)}
    assert found["00QA"] is None
    assert found["00QB"] is not None
    assert (found["00QB"].code, found["00QB"].fields) == ("STRING_TOO_LONG", ("F",))
