"""Values of every type, planned, pushed to the org and read back, under each write rule."""

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines.org import writing
from salesforce_pipelines.store import plans
from salesforce_pipelines.store.plans import PlanKind
from salesforce_pipelines_tests.conftest import Start
from salesforce_pipelines_tests.local_org.conftest import Api, api_of

pytestmark = pytest.mark.slow

NEW_FIELDS: list[dict[str, Any]] = [
    {"name": "Skills__c", "type": "multipicklist", "picklist": ["A", "B", "C"]},
    {"name": "Opens__c", "type": "time"},
    {"name": "Met__c", "type": "date"},
    {"name": "Called__c", "type": "datetime"},
    {"name": "Agreed__c", "type": "boolean"},
    {"name": "Share__c", "type": "percent", "precision": 5, "scale": 2},
    {"name": "Deal__c", "type": "currency", "precision": 18, "scale": 2},
    {"name": "Level__c", "type": "picklist", "picklist": ["Low", "High"]},
    {"name": "Office__c", "type": "location"},
]
OFFERED = {
    "Skills__c": "B;A",
    "Opens__c": "12:30:00Z",
    "Met__c": "2026-01-31",
    "Called__c": "2026-01-31T09:00:00+02:00",
    "Agreed__c": "TRUE",
    "Share__c": "12.50",
    "Deal__c": "1.50",
    "Level__c": "High",
    "Office__Latitude__s": "52.520008",
    "Office__Longitude__s": "13.404954",
}
"""What the source says of each field."""
LANDED = {
    "Skills__c": "A;B",
    "Opens__c": "12:30:00.000Z",
    "Met__c": "2026-01-31",
    "Called__c": "2026-01-31T07:00:00.000+0000",
    "Agreed__c": True,
    "Share__c": 12.5,
    "Deal__c": 1.5,
    "Level__c": "High",
    "Office__Latitude__s": 52.520008,
    "Office__Longitude__s": 13.404954,
}
"""The same as the org answers it."""
OTHER = {
    "Skills__c": "C",
    "Opens__c": "08:00:00.000Z",
    "Met__c": "2020-02-29",
    "Called__c": "2020-02-29T07:00:00.000+0000",
    "Agreed__c": False,
    "Share__c": 1.25,
    "Deal__c": 99.99,
    "Level__c": "Low",
    "Office__Latitude__s": -1.5,
    "Office__Longitude__s": -2.5,
}
"""Something else that a person entered before."""
BLANK: dict[str, Any] = dict.fromkeys(OFFERED) | {"Agreed__c": False}
PEOPLE = ("blank", "equal", "other", "ours", "erased")
COLUMNS = ["person_id", "work_email", "updated_at", *OFFERED]


@pytest.fixture(scope="module")
def local_org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """An org with a field of every type that can be written."""
    with running_org(tmp_path_factory.mktemp("org"), contacts=20, leads=5, seed=3) as org:
        for field in NEW_FIELDS:
            org.admin.send("POST", "fields/Contact", field)
        yield org


@pytest.fixture
def api(local_org: RunningOrg) -> Iterator[Api]:
    """A person in the org."""
    found = api_of(local_org)
    yield found
    found.session.close()


class Story:
    """People of a source, their Contacts, and an installation that maps every field by one rule."""

    def __init__(
        self,
        start: Start,
        shipped: dict[str, Any],
        api: Api,
        folder: Path,
        rule: str,
        **mapping: Any,
    ) -> None:
        self.api = api
        self.run = time.monotonic_ns()
        self.path = folder / "typed_people.csv"
        self.values = {name: dict(OFFERED) for name in PEOPLE}
        self.values["erased"] = dict.fromkeys(OFFERED, "")
        self.write()
        self.contacts = {
            name: api.create(
                "Contact", LastName=f"Typed {name}", Email=self.email(name), **standing
            )
            for name, standing in {
                "blank": {},
                "equal": LANDED,
                "other": OTHER,
                "ours": {},
                "erased": OTHER,
            }.items()
        }
        contact = shipped["objects"]["Contact"] | {
            "mapping": {name: {"from": name, "rule": rule, **mapping} for name in OFFERED}
        }
        provider = shipped["enrichment"]["provider"] | {
            "path": str(self.path),
            "identifiers": {"work_email": ["work_email"]},
        }
        self.project = start(
            objects=shipped["objects"] | {"Contact": contact},
            enrichment={"provider": provider},
            referrals={},
        )

    def email(self, name: str) -> str:
        return f"{name}.{self.run}@typed.example.com"

    def write(self, updated_at: str = "2030-01-01") -> None:
        """The source's file, as its values are now."""
        with self.path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for name, values in self.values.items():
                key = f"{name}-{self.run}"
                ours = {"person_id": key, "work_email": self.email(name), "updated_at": updated_at}
                writer.writerow(ours | values)

    def plan(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Pull, match, enrich; the cells of the push plan by person and field."""
        time.sleep(1.1)
        self.project.run("sync")
        for plan in plans.open_plans(self.project.ledger, PlanKind.ENRICHMENT):
            plans.confirm(self.project.ledger, plan.id, amount=plan.amount, by="a test")
            if plan.stream == "contacts":
                self.project.run("enrich", "enriched/contacts", "push_plan/contacts")
        log = self.project.tables.log("push_plan/contacts", key="cell")
        names = {record: name for name, record in self.contacts.items()}
        found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in PEOPLE}
        for cell in log.current().read_all().to_pylist():
            found[names[cell["Id"]]][cell["field"]] = cell
        return found

    def push(self) -> dict[str, Any]:
        """The plan, confirmed and carried out."""
        (plan,) = plans.open_plans(self.project.ledger, PlanKind.PUSH)
        plans.confirm(self.project.ledger, plan.id, amount=plan.amount, by="a test")
        done: dict[str, Any] = self.project.run("push", "pushed/contacts")["pushed/contacts"]
        return done

    def standing(self, name: str) -> dict[str, Any]:
        """What stands in the org."""
        soql = f"SELECT {', '.join(OFFERED)} FROM Contact WHERE Id = '{self.contacts[name]}'"
        return self.project.query(soql)[0]


def written(cells: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, cell in cells.items() if cell["verdict"] == "write"}


@pytest.fixture(params=[1, 2000], ids=["Bulk API", "REST"])
def channel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which records are updated."""
    monkeypatch.setattr(writing, "BULK_THRESHOLD", request.param)


EVERY = set(OFFERED)
CHECKBOX = {"Agreed__c"}


@pytest.mark.usefixtures("channel")
@pytest.mark.parametrize(
    ("rule", "blank", "other"),
    [
        # A checkbox holds false: it is never blank.
        ("fill_if_blank", EVERY - CHECKBOX, set()),
        ("overwrite", EVERY, EVERY),
        ("overwrite_if_newer", EVERY, EVERY),
        ("overwrite_own", EVERY - CHECKBOX, set()),
        ("append", EVERY - CHECKBOX, {"Skills__c"}),
        ("never", set(), set()),
    ],
)
def test_values_of_every_type_land_and_an_equal_value_is_no_change(
    start: Start,
    shipped: dict[str, Any],
    api: Api,
    tmp_path: Path,
    rule: str,
    blank: set[str],
    other: set[str],
) -> None:
    story = Story(start, shipped, api, tmp_path, rule)
    planned = story.plan()
    assert written(planned["blank"]) == blank
    assert written(planned["other"]) == other
    assert planned["equal"] == {}, "what stands already is not planned"
    assert planned["erased"] == {}, "a blank of the source erases nothing"
    if rule == "append":
        refused = {name: cell for name, cell in planned["other"].items() if name not in other}
        assert set(refused) == EVERY - other
        for name, cell in refused.items():
            assert cell["verdict"] == "refused"
            assert cell["reason"].startswith(f"Contact.{name}: ")
            assert "choose another rule" in cell["reason"]
    if not blank:
        return
    done = story.push()
    assert done["cells_written"] == 2 * len(blank) + len(other)
    assert story.standing("blank") == BLANK | {name: LANDED[name] for name in blank}
    landed = LANDED | {"Skills__c": "A;B;C"} if rule == "append" else LANDED
    assert story.standing("other") == OTHER | {name: landed[name] for name in other}
    assert story.standing("equal") == LANDED
    journal = story.project.tables.log("journal/contacts", key="entry").current()
    for entry in journal.read_all().to_pylist():
        name = entry["field"]
        if name not in ("Called__c",) and entry["record_id"] == story.contacts["other"]:
            assert json.loads(entry["before"]) == OTHER[name]
            assert json.loads(entry["after"]) == landed[name], "as the org answers it"
    again = story.plan()
    assert {name for cells in again.values() for name in written(cells)} == set()


def test_what_we_wrote_is_recognised_as_ours_and_replaced(
    start: Start, shipped: dict[str, Any], api: Api, tmp_path: Path
) -> None:
    story = Story(start, shipped, api, tmp_path, "overwrite_own")
    story.plan()
    story.push()
    new = {"Skills__c": "C;A", "Opens__c": "23:59:59.999", "Deal__c": "7", "Level__c": "Low"}
    story.values["ours"] |= new
    story.write()
    planned = story.plan()
    assert written(planned["ours"]) == set(new)
    assert not any(written(planned[name]) for name in PEOPLE if name != "ours")
    story.push()
    assert story.standing("ours") == LANDED | {
        "Agreed__c": False,
        "Skills__c": "A;C",
        "Opens__c": "23:59:59.999Z",
        "Deal__c": 7,
        "Level__c": "Low",
    }


def test_a_blank_erases_where_it_may_and_never_a_checkbox(
    start: Start, shipped: dict[str, Any], api: Api, tmp_path: Path
) -> None:
    story = Story(start, shipped, api, tmp_path, "overwrite", allow_blank=True)
    planned = story.plan()
    assert written(planned["erased"]) == EVERY - CHECKBOX
    story.push()
    assert story.standing("erased") == BLANK
    assert not any(written(cells) for cells in story.plan().values())


def test_equal_values_in_another_spelling_are_no_change(
    start: Start, shipped: dict[str, Any], api: Api, tmp_path: Path
) -> None:
    story = Story(start, shipped, api, tmp_path, "overwrite")
    story.values["equal"] |= {
        "Skills__c": " B ; A;B",
        "Opens__c": "12:30",
        "Called__c": "2026-01-31T07:00:00.250Z",
        "Agreed__c": "true",
        "Share__c": "1.25e1",
        "Deal__c": "1.5",
        "Office__Latitude__s": "52.5200080",
    }
    story.write()
    assert story.plan()["equal"] == {}


def test_a_value_that_its_field_cannot_hold_is_refused_with_the_field_and_the_cure(
    start: Start, shipped: dict[str, Any], api: Api, tmp_path: Path
) -> None:
    story = Story(start, shipped, api, tmp_path, "overwrite")
    wrong = {
        "Skills__c": ("A;Juggling", "not a value of the picklist; correct it in the source"),
        "Level__c": ("Middling", "not a value of the picklist; correct it in the source"),
        "Opens__c": ("half past nine", "not a time of day such as 09:30"),
        "Met__c": ("31.1.2026", "not an ISO date such as 2026-01-31"),
        "Called__c": ("2026-01-31 09:00", "without an offset; write an ISO date and time"),
        "Agreed__c": ("yes", "not true or false"),
        "Share__c": ("12.345", "more than 2 decimals"),
        "Deal__c": ("a lot", "not a number"),
        "Office__Latitude__s": ("north", "not a number"),
    }
    story.values["blank"] |= {name: text for name, (text, _) in wrong.items()}
    story.write()
    planned = story.plan()["blank"]
    assert written(planned) == {"Office__Longitude__s"}
    for name, (text, why) in wrong.items():
        cell = planned[name]
        assert cell["verdict"] == "refused"
        assert cell["reason"].startswith(f"Contact.{name}: ")
        assert why in cell["reason"]
        assert text not in cell["reason"], "people's data are not told"
    assert story.push()["cells_rejected"] == 0
    assert story.standing("blank") == BLANK | {"Office__Longitude__s": 13.404954}
