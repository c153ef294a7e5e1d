"""Fields that are hidden, deleted, retyped or new, and what they hold: nothing is lost."""

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.running import running_org
from salesforce_pipelines.pull.formula_refresh import refresh_formulas
from salesforce_pipelines_tests.local_org.conftest import unique
from salesforce_pipelines_tests.pull.mirror import Mirror, close, mirror_of

pytestmark = pytest.mark.slow

_NUMBERS = itertools.count(1)


@pytest.fixture
def added(mirror: Mirror) -> Iterator[str]:
    """A new text field of Contact, in the configuration; shown again and deleted in the end."""
    name = f"Added_{next(_NUMBERS)}__c"
    mirror.admin.send("POST", "fields/Contact", {"name": name, "type": "string", "length": 80})
    mirror.fields["Contact"].append(name)
    yield name
    if any(one["name"] == name for one in fields_of(mirror)):
        mirror.admin.send("DELETE", f"fields/Contact/{name}")


def fields_of(mirror: Mirror) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = mirror.admin.send("GET", "fields/Contact")["fields"]
    return found


def take_out(mirror: Mirror, record: str) -> None:
    state = mirror.log("Contact").state()
    assert state is not None
    mirror.log("Contact").append(None, state.metadata, deleted_keys=pa.array([record]))


def values(mirror: Mirror, field: str) -> dict[str, Any]:
    return {record: row[field] for record, row in mirror.rows("Contact", [field]).items()}


def test_a_hidden_field_is_told_once_and_keeps_its_values(mirror: Mirror, added: str) -> None:
    one, other = mirror.some(2)
    mirror.api.update("Contact", one, **{added: "kept"})
    mirror.later()
    mirror.pull()
    mirror.hide("Contact", added)
    mirror.api.update("Contact", one, Department=unique("Edited"))
    new = mirror.api.create("Contact", LastName=unique("New"))
    mirror.later()
    first = mirror.pull()
    assert (first.full, first.fields.missing, first.drift_is_new) == (False, (added,), True)
    assert (first.changed, first.added) == (1, 1), "the other fields go on"
    assert (values(mirror, added)[one], values(mirror, added)[new]) == ("kept", None)
    again = mirror.pull()
    assert (again.drift_is_new, again.landed) == (False, 0)
    full = mirror.pull(full=True)
    assert not full.drift_is_new
    assert values(mirror, added)[one] == "kept", "after a full pull, too"
    mirror.reconcile()
    assert values(mirror, added)[one] == "kept"
    mirror.hide("Contact", added, hidden=False)
    mirror.api.update("Contact", other, **{added: "shown again"})
    mirror.later()
    back = mirror.pull()
    assert back.full, "what changed while it was hidden is known only to the org"
    mirror.assert_equal()


@pytest.mark.parametrize("bulk", [False, True], ids=["REST", "Bulk API 2.0"])
@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_a_field_that_is_hidden_between_describe_and_query(
    mirror: Mirror, added: str, bulk: bool, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bulk:
        mirror.use_bulk()
    one = mirror.some(1)[0]
    mirror.api.update("Contact", one, **{added: "kept"})
    mirror.later()
    mirror.pull()
    mirror.api.update("Contact", one, Department=unique("Edited"))
    mirror.later()
    asked = mirror.session.server_time

    def hide_then_ask() -> datetime:
        monkeypatch.setattr(mirror.session, "server_time", asked)
        mirror.hide("Contact", added)
        return asked()

    # The clock is asked after the describe and before the query.
    monkeypatch.setattr(mirror.session, "server_time", hide_then_ask)
    report = mirror.pull(full=full)
    assert (report.fields.missing, report.drift_is_new) == ((added,), True)
    row = mirror.rows()[one]
    assert row[added] == "kept"
    assert row["Department"] == mirror.api.get(f"sobjects/Contact/{one}")["Department"]
    assert not mirror.pull().drift_is_new


def test_a_field_that_is_hidden_while_rows_land(mirror: Mirror, added: str) -> None:
    one = mirror.some(1)[0]
    mirror.api.update("Contact", one, **{added: "kept"})
    mirror.later()
    mirror.use_rest_pages(200)
    mirror.pull()
    report = mirror.pull(full=True, between=lambda: mirror.hide("Contact", added))
    assert (report.fields.missing, report.drift_is_new) == ((added,), True)
    assert report.read == len(mirror.rows())
    assert values(mirror, added)[one] == "kept"
    assert not mirror.pull().drift_is_new


@pytest.mark.parametrize("every_field", [False, True], ids=["named", "all"])
def test_a_deleted_field_keeps_its_values(mirror: Mirror, added: str, every_field: bool) -> None:
    one = mirror.some(1)[0]
    mirror.api.update("Contact", one, **{added: "kept"})
    mirror.later()
    if every_field:
        mirror.fields["Contact"].remove(added)
    mirror.pull(every_field=every_field)
    mirror.admin.send("DELETE", f"fields/Contact/{added}")
    mirror.api.update("Contact", one, Department=unique("Edited"))
    mirror.later()
    report = mirror.pull(every_field=every_field)
    assert (report.full, report.drift_is_new, report.changed) == (False, True, 1)
    assert values(mirror, added)[one] == "kept"
    again = mirror.pull(every_field=every_field, full=True)
    assert (again.drift_is_new, values(mirror, added)[one]) == (False, "kept")


def test_all_fields_also_means_new_ones(mirror: Mirror) -> None:
    first = mirror.pull(every_field=True)
    assert len(first.fields.read) > 60
    assert not {"MailingAddress", "OtherAddress"} & set(mirror.log("Contact").schema().names)
    name = f"Added_{next(_NUMBERS)}__c"
    mirror.admin.send("POST", "fields/Contact", {"name": name, "type": "string", "length": 80})
    one = mirror.some(1)[0]
    mirror.api.update("Contact", one, **{name: "new"})
    mirror.later()
    report = mirror.pull(every_field=True)
    assert (report.full, report.fields.added) == (True, (name,))
    assert values(mirror, name)[one] == "new"
    assert not mirror.pull(every_field=True).full
    mirror.admin.send("DELETE", f"fields/Contact/{name}")


def test_a_retyped_field_keeps_its_values_until_a_full_pull(mirror: Mirror, added: str) -> None:
    one, other = mirror.some(2)
    mirror.api.update("Contact", one, **{added: "12.50"})
    mirror.later()
    mirror.pull()
    body = {"type": "currency", "precision": 18, "scale": 2}
    mirror.admin.send("PATCH", f"fields/Contact/{added}", body)
    mirror.api.update("Contact", one, Department=unique("Edited"))
    mirror.api.update("Contact", other, **{added: 7.25})
    mirror.later()
    first = mirror.pull()
    assert (first.full, first.fields.retyped, first.drift_is_new) == (False, (added,), True)
    assert (values(mirror, added)[one], values(mirror, added)[other]) == ("12.50", None)
    assert not mirror.pull().drift_is_new
    gone = mirror.some(3)[2]
    mirror.bulk("Contact", "hardDelete", [gone])
    full = mirror.pull(full=True)
    assert (full.fields.retyped, full.drift_is_new) == ((), False)
    assert mirror.log("Contact").schema().field(added).type == pa.decimal128(18, 2)
    assert values(mirror, added)[other] == Decimal("7.25")
    assert mirror.states()[gone] == "purged", "rows that only the table has are kept"
    mirror.assert_equal()


def test_a_configured_field_that_was_never_there_is_named(mirror: Mirror) -> None:
    mirror.fields["Contact"].append("Shoe_Size__c")
    with pytest.raises(PipelineError, match=r"no field Shoe_Size__c .*objects\.Contact"):
        mirror.pull()


# What fields hold

TEXTS = [
    "NA",
    "null",
    "NULL",
    "NaN",
    "#N/A",
    "true",
    "007",
    "1e5",
    'He said "no", twice',
    "a,b;c",
    "'quoted' \\ back",
    "Zoë 日本語 🚀 é",
    "=1+1",
]
LONG_TEXTS = ["first\nsecond\r\nthird", '"\n"', "x" * 30_000, "tab\there"]


@pytest.mark.parametrize("bulk", [False, True], ids=["REST", "Bulk API 2.0"])
def test_texts_are_exact(mirror: Mirror, bulk: bool) -> None:
    if bulk:
        mirror.use_bulk()
    mirror.fields["Contact"].append("Description")
    made = {
        mirror.api.create("Contact", LastName=unique("Text"), Department=text, Title=text): text
        for text in TEXTS
    }
    long = {
        mirror.api.create("Contact", LastName=unique("Text"), Description=text): text
        for text in LONG_TEXTS
    }
    mirror.later()
    mirror.pull()
    rows = mirror.rows()
    assert {record: rows[record]["Department"] for record in made} == made
    stored = {record: rows[record]["Description"] for record in long}
    assert stored == long
    mirror.assert_equal()


KINDS: dict[str, dict[str, Any]] = {
    "T_Text__c": {"type": "string", "length": 80},
    "T_Money__c": {"type": "currency", "precision": 18, "scale": 2},
    "T_Number__c": {"type": "double", "precision": 18, "scale": 4},
    "T_Percent__c": {"type": "percent", "precision": 5, "scale": 2},
    "T_Flag__c": {"type": "boolean"},
    "T_Day__c": {"type": "date"},
    "T_Moment__c": {"type": "datetime"},
    "T_Time__c": {"type": "time"},
    "T_Place__c": {"type": "location"},
    "T_Choices__c": {"type": "multipicklist", "picklist": ["A", "B", "C, D"]},
    "T_Choice__c": {"type": "picklist", "picklist": ["A", "B"]},
    "T_Count__c": {"type": "string", "auto_number": "R-{00000}"},
    "T_Secret__c": {"type": "encryptedstring", "length": 40},
    "T_Link__c": {"type": "url"},
    "T_Mail__c": {"type": "email"},
    "T_Call__c": {"type": "phone"},
}
GIVEN = {
    "T_Text__c": "NA",
    "T_Money__c": 1234567890123.45,
    "T_Number__c": 0.1234,
    "T_Percent__c": 12.5,
    "T_Flag__c": True,
    "T_Day__c": "2024-02-29",
    "T_Moment__c": "2024-02-29T23:59:58.000+0000",
    "T_Time__c": "18:23:39.125Z",
    "T_Place__Latitude__s": 52.520008,
    "T_Place__Longitude__s": -13.404954,
    "T_Choices__c": "A;C, D",
    "T_Choice__c": "B",
    "T_Secret__c": "hush",
    "T_Link__c": "https://example.com/?a=b&c=d",
    "T_Mail__c": "somebody@example.com",
    "T_Call__c": "(212) 555-0100",
}
HELD = {
    **GIVEN,
    "T_Money__c": Decimal("1234567890123.45"),
    "T_Day__c": date(2024, 2, 29),
    "T_Moment__c": datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC),
}
TYPES = {
    "T_Money__c": pa.decimal128(18, 2),
    "T_Number__c": pa.float64(),
    "T_Percent__c": pa.float64(),
    "T_Flag__c": pa.bool_(),
    "T_Day__c": pa.date32(),
    "T_Moment__c": pa.timestamp("us", "UTC"),
    "T_Time__c": pa.string(),
    "T_Place__Latitude__s": pa.float64(),
    "T_Place__Longitude__s": pa.float64(),
    "T_Choices__c": pa.string(),
    "T_Count__c": pa.string(),
    "T_Secret__c": pa.string(),
    "Full_Name_Length__c": pa.float64(),
    "Account_Tier__c": pa.string(),
}


@pytest.fixture
def with_kinds(mirror: Mirror) -> Mirror:
    if not any(one["name"] == "T_Text__c" for one in fields_of(mirror)):
        for name, kind in KINDS.items():
            mirror.admin.send("POST", "fields/Contact", {"name": name, **kind})
    return mirror


@pytest.mark.parametrize("bulk", [False, True], ids=["REST", "Bulk API 2.0"])
def test_every_kind_of_field_is_typed(with_kinds: Mirror, bulk: bool) -> None:
    mirror = with_kinds
    if bulk:
        mirror.use_bulk()
    record = mirror.api.create("Contact", LastName=unique("Kinds"), FirstName="Ada", **GIVEN)
    blank = mirror.api.create("Contact", LastName=unique("Kinds"))
    mirror.later()
    mirror.pull(every_field=True)
    schema = mirror.log("Contact").schema()
    assert {name: schema.field(name).type for name in TYPES} == TYPES
    assert "T_Place__c" not in schema.names, "compounds are read by their components"
    row = mirror.rows()[record]
    assert {name: row[name] for name in HELD} == HELD
    assert row["T_Count__c"].startswith("R-0")
    theirs = mirror.api.get(f"sobjects/Contact/{record}")
    assert row["Full_Name_Length__c"] == theirs["Full_Name_Length__c"] > 0
    empty = {name: mirror.rows()[blank][name] for name in HELD}
    assert empty == dict.fromkeys(HELD) | {"T_Flag__c": False}
    assert mirror.pull(every_field=True).landed == 0, "what is stored equals what is read"


def test_roll_ups_are_typed(mirror: Mirror) -> None:
    names = ["NumberOfContacts", "AmountAllOpportunities"]
    mirror.fields["Campaign"] += names
    campaign = mirror.api.create("Campaign", Name=unique("Roll-up"))
    mirror.api.create("CampaignMember", CampaignId=campaign, ContactId=mirror.some(1)[0])
    mirror.later()
    mirror.pull("Campaign")
    schema = mirror.log("Campaign").schema()
    assert [schema.field(n).type for n in names] == [pa.int64(), pa.decimal128(18, 0)]
    assert mirror.rows("Campaign")[campaign]["NumberOfContacts"] == 1
    mirror.assert_equal("Campaign")


def test_a_query_that_no_url_holds_is_a_bulk_job(mirror: Mirror, tmp_path: Path) -> None:
    described = mirror.api.get("sobjects/Contact/describe")
    like = next(one for one in described["fields"] if one["name"] == "Twitter__c")
    wide = [f"Wide_field_{number:03}__c" for number in range(800)]
    described["fields"] += [{**like, "name": name, "label": name} for name in wide]
    path = tmp_path / "contact.json"
    path.write_text(json.dumps(described), encoding="utf-8")
    with running_org(tmp_path / "wide", contacts=50, options=("--describe", str(path))) as org:
        other = mirror_of(org, tmp_path / "tables")
        filled = {name: f"{name} value" for name in wide[::2]}
        one = other.some(1)[0]
        other.api.update("Contact", one, **filled)
        other.later()
        report = other.pull(every_field=True)
        assert report.channel == "Bulk API 2.0"
        assert len(report.fields.read) > 800
        other.later(minutes=20)
        other.pull(every_field=True)
        other.later(minutes=20)
        assert other.pull(every_field=True).api_calls <= 3, "nothing changed"
        row = other.rows()[one]
        assert {name: row[name] for name in wide if row[name]} == filled
        other.api.update("Contact", one, **{wide[-1]: "changed", wide[0]: None})
        other.later()
        assert other.pull(every_field=True).changed == 1
        row = other.rows()[one]
        assert (row[wide[-1]], row[wide[0]], row[wide[2]]) == ("changed", None, filled[wide[2]])
        gone, lost = other.some(3, where=f"Id != '{one}'")[:2]
        other.bulk("Contact", "hardDelete", [gone])
        take_out(other, lost)
        assert other.reconcile().total("healed") == 2
        other.assert_equal()
        purged = other.some(2)[1]
        other.bulk("Contact", "hardDelete", [purged])
        other.hide("Contact", wide[-1])
        assert other.pull(every_field=True, full=True).purged == 1
        assert other.rows()[one][wide[-1]] == "changed"
        names = [field.name for field in report.fields.read]
        refresh_formulas(other.session, other.log("Contact"), "Contact", names, other.settings)
        close(other)


def test_a_query_whose_commas_make_it_too_long_for_a_url_is_a_bulk_job(mirror: Mirror) -> None:
    # Every comma and space grows on its way into a URL; the text alone would fit.
    scope = f"Id IN ({', '.join(repr('701000000000001AAA') for _ in range(550))})"
    assert len(scope) < 14_000
    report = mirror.pull("Campaign", scope=scope[:12_000].rpartition(",")[0] + ")")
    assert (report.read, report.channel) == (0, "Bulk API 2.0")
