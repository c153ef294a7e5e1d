"""Every merged or converted record leads to the record that it is part of now, or says why not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.pull.record_links import (
    LINKS,
    LinkReport,
    links_of,
    refresh_links,
    survivors,
    untold_losses,
)
from salesforce_pipelines.store import duck
from salesforce_pipelines.store.tables import Tables

CONTACTS = pa.schema(
    [("Id", pa.string()), ("MasterRecordId", pa.string()), ("record_state", pa.string())]
)
LEADS = pa.schema(
    [
        *CONTACTS,
        ("IsConverted", pa.bool_()),
        ("ConvertedContactId", pa.string()),
        ("ConvertedAccountId", pa.string()),
        ("ConvertedOpportunityId", pa.string()),
    ]
)


def put(tables: Tables, name: str, *rows: Mapping[str, Any]) -> None:
    schema = LEADS if name == "leads" else CONTACTS
    full = [
        {"record_state": "merged" if row.get("MasterRecordId") else "live", **row} for row in rows
    ]
    tables.log(f"pulled/{name}").append(pa.Table.from_pylist(full, schema), {})


def merged(record: str, into: str) -> dict[str, str]:
    return {"Id": record, "MasterRecordId": into}


def converted(
    lead: str, contact: str | None, account: str | None = None, deal: str | None = None
) -> dict[str, Any]:
    return {
        "Id": lead,
        "IsConverted": True,
        "ConvertedContactId": contact,
        "ConvertedAccountId": account,
        "ConvertedOpportunityId": deal,
    }


def links(tables: Tables) -> dict[str, dict[str, Any]]:
    return {row["Id"]: row for row in links_of(tables).current().read_all().to_pylist()}


def link(tables: Tables, record: str) -> tuple[Any, ...]:
    found = links(tables)[record]
    return tuple(
        found[name] for name in ("survivor_id", "survivor_state", "last_known_id", "steps")
    )


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def test_merges_are_followed_to_the_live_record(tables: Tables) -> None:
    put(tables, "contacts", {"Id": "C3"}, merged("C1", "C2"), merged("C2", "C3"), {"Id": "C4"})
    report = refresh_links(tables)
    assert (report.merged, report.changed, report.lost) == (2, 2, 0)
    assert link(tables, "C1") == ("C3", "live", "C3", 2)
    assert link(tables, "C2") == ("C3", "live", "C3", 1)
    assert set(links(tables)) == {"C1", "C2"}
    assert links(tables)["C1"]["survivor_sobject"] == "Contact"


def test_a_conversion_is_followed_through_the_merges_of_its_contact_and_account(
    tables: Tables,
) -> None:
    put(tables, "leads", converted("L1", "C1", "A1", "O1"), merged("L0", "L1"), {"Id": "L2"})
    put(tables, "contacts", merged("C1", "C2"), {"Id": "C2"})
    put(tables, "accounts", merged("A1", "A2"), {"Id": "A2"})
    report = refresh_links(tables)
    assert (report.merged, report.converted) == (3, 1)
    found = links(tables)
    assert {name: found["L1"][name] for name in LINKS.names} == {
        "Id": "L1",
        "sobject": "Lead",
        "kind": "converted",
        "survivor_id": "C2",
        "survivor_sobject": "Contact",
        "survivor_state": "live",
        "last_known_id": "C2",
        "account_id": "A2",
        "opportunity_id": "O1",
        "steps": 2,
    }
    assert found["L0"] == {**found["L1"], "Id": "L0", "kind": "merged", "steps": 3}
    assert "L2" not in found


def test_a_chain_that_cannot_be_followed_says_so(tables: Tables) -> None:
    put(
        tables,
        "contacts",
        merged("C1", "C2"),
        merged("C2", "lost"),
        merged("R1", "R2"),
        merged("R2", "R1"),
        merged("Self", "Self"),
        merged("In", "R1"),
    )
    put(tables, "leads", converted("L1", None, None), converted("L2", "never pulled", "A1"))
    report = refresh_links(tables)
    assert (report.missing, report.cycles) == (4, 4)
    assert link(tables, "C1") == (None, "missing", "C2", 1)
    assert link(tables, "C2") == (None, "missing", "C2", 0)
    assert link(tables, "R1") == (None, "cycle", "R2", 1)
    assert link(tables, "Self") == (None, "cycle", "Self", 0)
    assert link(tables, "In") == (None, "cycle", "R2", 2)
    assert link(tables, "L1") == (None, "missing", "L1", 0)
    assert links(tables)["L2"]["account_id"] == "A1", "known from the Lead itself"


def test_a_survivor_that_is_gone_keeps_its_id_and_says_what_became_of_it(tables: Tables) -> None:
    put(tables, "contacts", merged("C1", "C2"), {"Id": "C2"})
    refresh_links(tables)
    assert untold_losses(tables) == 0
    put(tables, "contacts", {"Id": "C2", "record_state": "purged"})
    assert untold_losses(tables) == 1
    assert refresh_links(tables).lost == 1
    assert untold_losses(tables) == 0
    assert link(tables, "C1") == ("C2", "purged", "C2", 1)


def test_only_what_changed_is_written_and_nothing_where_nothing_was_pulled(
    tables: Tables,
) -> None:
    put(tables, "contacts", merged("C1", "C2"), {"Id": "C2"}, merged("C5", "C6"), {"Id": "C6"})
    first = refresh_links(tables)
    assert (first.changed, first.skipped) == (2, False)
    state = links_of(tables).state()
    # A pull commits its watermark though no row came.
    tables.log("pulled/contacts").append(CONTACTS.empty_table(), {})
    again = refresh_links(tables)
    assert again == LinkReport(merged=2, skipped=True)
    assert links_of(tables).state() == state
    put(tables, "contacts", merged("C6", "C2"))
    assert refresh_links(tables).changed == 2, "C5 leads elsewhere, C6 is new"
    put(tables, "contacts", {"Id": "C1"})
    undeleted = refresh_links(tables)
    assert (undeleted.changed, undeleted.removed) == (0, 1)
    assert set(links(tables)) == {"C5", "C6"}


def test_other_work_joins_the_survivors(tables: Tables) -> None:
    with duck.connect() as connection:
        survivors(connection, tables)
        assert connection.sql("FROM survivors").fetchall() == []
        assert connection.table("survivors").columns == LINKS.names
    put(tables, "contacts", merged("C1", "C2"), {"Id": "C2"})
    refresh_links(tables)
    with duck.connect() as connection:
        survivors(connection, tables)
        assert connection.sql("SELECT Id, survivor_id FROM survivors").fetchall() == [("C1", "C2")]


def test_before_the_first_pull_there_is_nothing_to_follow(tables: Tables) -> None:
    with pytest.raises(PipelineError, match="run the job pull first"):
        refresh_links(tables)
    assert untold_losses(tables) == 0


NODES = [f"N{number}" for number in range(9)]


def expected(start: str, into: Mapping[str, str], known: Mapping[str, str]) -> tuple[Any, ...]:
    """The end of a chain, found by walking."""
    path = [start]
    while path[-1] in into and path[-1] in known:
        following = into[path[-1]]
        if following in path:
            return (None, "cycle", path[-1], len(path) - 1)
        if following not in known:
            return (None, "missing", path[-1], len(path) - 1)
        path.append(following)
    return (path[-1], known[path[-1]], path[-1], len(path) - 1)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NODES), st.sampled_from(NODES)),
    st.dictionaries(st.sampled_from(NODES), st.sampled_from(["live", "deleted", "purged"])),
)
def test_chains_end_where_walking_them_ends(
    tmp_path_factory: pytest.TempPathFactory, into: dict[str, str], states: dict[str, str]
) -> None:
    tables = Tables(tmp_path_factory.mktemp("chains"))
    known = {**states, **dict.fromkeys(into, "merged")}
    rows = [
        {"Id": node, "MasterRecordId": into.get(node), "record_state": state}
        for node, state in known.items()
    ]
    put(tables, "contacts", *rows)
    refresh_links(tables)
    assert set(links(tables)) == set(into)
    for node in into:
        assert link(tables, node) == expected(node, into, known)
