"""A table that differs from the org is found out and mended, whatever made it differ."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from salesforce_pipelines.config.models import SoqlScope
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.pull.pulling import Wanted, pull
from salesforce_pipelines.pull.reconciling import Reconciliation, reconcile
from salesforce_pipelines.store.tables import ChangeLog
from salesforce_pipelines_tests.conftest import Project, Start

pytestmark = pytest.mark.slow

COLUMNS = {
    "Contact": ["Id", "LastName", "Department", "IsDeleted", "CreatedDate", "SystemModstamp"],
    "CampaignMember": ["Id", "CampaignId", "Status", "IsDeleted", "CreatedDate", "SystemModstamp"],
    "User": ["Id", "IsActive", "CreatedDate", "SystemModstamp"],
}


def log_of(project: Project, sobject: str = "Contact") -> ChangeLog:
    return project.tables.log(f"pulled/{sobject}")


def pulled(project: Project, sobject: str = "Contact", scope: str = "") -> ChangeLog:
    wanted = Wanted(sobject, COLUMNS[sobject], scope=SoqlScope(soql=scope) if scope else None)
    time.sleep(1.1)  # stamps are whole seconds, and the running second is the next pull's
    pull(project.org, log_of(project, sobject), wanted, project.pipelines.pull)
    return log_of(project, sobject)


def compared(
    project: Project, sobject: str = "Contact", *, ids: int = 2_000, deep: bool = False
) -> Reconciliation:
    return reconcile(
        project.org,
        log_of(project, sobject),
        project.tables.log(f"reconciled/{sobject}", key="month"),
        sobject,
        project.pipelines.pull.model_copy(update={"reconciled_ids": ids}),
        deep=deep,
    )


def live(log: ChangeLog) -> dict[str, dict[str, Any]]:
    rows = log.current(where="record_state = 'live'").read_all().to_pylist()
    return {row["Id"]: row for row in rows}


def in_org(project: Project, sobject: str = "Contact", scope: str = "") -> dict[str, Any]:
    columns = COLUMNS[sobject]
    conditions = [
        *(["IsDeleted = false"] if "IsDeleted" in columns else []),
        *([scope] if scope else []),
    ]
    where = f" WHERE {' AND '.join(f'({c})' for c in conditions)}" if conditions else ""
    found = {}
    for record in project.query(f"SELECT {', '.join(columns)} FROM {sobject}{where}"):
        for name in ("CreatedDate", "SystemModstamp"):
            record[name] = datetime.fromisoformat(record[name])
        found[record["Id"]] = record | {"record_state": "live"}
    return found


def states(log: ChangeLog, ids: Sequence[str]) -> dict[str, str]:
    rows = log.current(["Id", "record_state"]).read_all().to_pylist()
    return {row["Id"]: row["record_state"] for row in rows if row["Id"] in ids}


def take_out(log: ChangeLog, ids: Sequence[str]) -> None:
    state = log.state()
    assert state is not None
    log.append(None, state.metadata, deleted_keys=pa.array(list(ids)))


def put_in(log: ChangeLog, like: str, ids: Sequence[str], **values: Any) -> None:
    """Rows like another one that the org knows nothing of."""
    state = log.state()
    assert state is not None
    row = live(log)[like]
    rows = [{**row, **values, "Id": one} for one in ids]
    log.append(pa.Table.from_pylist(rows, log.schema()), state.metadata)


def delete(project: Project, sobject: str, ids: Sequence[str], operation: str) -> None:
    base = f"{project.org.base_path}/jobs/ingest"
    body = {"object": sobject, "operation": operation}
    job = project.org.request("POST", base, json=body).json()["id"]
    csv = "Id\n" + "".join(f"{one}\n" for one in ids)
    headers = {"Content-Type": "text/csv"}
    project.org.request("PUT", f"{base}/{job}/batches", data=csv.encode(), headers=headers)
    project.org.request("PATCH", f"{base}/{job}", json={"state": "UploadComplete"})
    for _ in range(200):
        done = project.org.request("GET", f"{base}/{job}").json()
        if done["state"] == "JobComplete":
            assert done["numberRecordsFailed"] == 0
            return
        time.sleep(0.05)
    raise AssertionError("the job did not end")


def test_when_all_is_well_two_calls_prove_it_and_nothing_is_written(project: Project) -> None:
    log = pulled(project)
    before = log.state()
    report = compared(project)
    assert log.state() == before
    assert report.api_calls == 2
    assert (report.total("different"), report.problem) == (0, "")
    assert report.total("org") == report.total("table") == len(live(log)) > 300
    assert compared(project, ids=0).api_calls == 1, "the counts alone"


def test_records_deleted_for_good_are_marked_and_nothing_else_is_touched(
    project: Project,
) -> None:
    log = pulled(project)
    before = live(log)
    gone = list(before)[:7]
    delete(project, "Contact", gone, "hardDelete")
    report = compared(project, ids=0)
    assert (report.total("missing"), report.total("extra"), report.total("healed")) == (0, 7, 7)
    assert (report.purged, report.fetched, report.problem) == (7, 0, "")
    assert states(log, gone) == dict.fromkeys(gone, "purged")
    state = log.state()
    assert state is not None
    changed = log.changed_since(state.batch - 1, ["Id"]).read_all().column("Id").to_pylist()
    assert sorted(changed) == sorted(gone)
    assert live(log) == in_org(project)
    again = compared(project, ids=0)
    assert (again.total("different"), again.api_calls) == (0, 1)


def test_a_healed_table_is_pulled_from_where_it_was(project: Project) -> None:
    log = pulled(project)
    state = log.state()
    assert state is not None
    lost = next(iter(live(log)))
    take_out(log, [lost])
    compared(project)
    healed = log.state()
    assert healed is not None
    assert healed.metadata == state.metadata
    project.edit("Contact", lost, Department="after the healing")
    pulled(project)
    assert live(log)[lost]["Department"] == "after the healing"


def test_lost_and_invented_rows_are_found_by_the_counts(project: Project) -> None:
    log = pulled(project)
    lost, kept = list(live(log))[:3], list(live(log))[5]
    take_out(log, lost)
    invented = ["003000000000001AAA", "003000000000002AAA"]
    put_in(log, kept, invented, CreatedDate=datetime(2001, 2, 3, tzinfo=UTC))
    report = compared(project, ids=0)
    assert (report.fetched, report.purged) == (3, 2)
    assert (report.total("missing"), report.total("extra"), report.total("healed")) == (3, 2, 5)
    assert {str(m): b.extra for m, b in report.buckets.items() if b.extra} == {"2001-02": 2}
    assert live(log) == in_org(project)


def test_a_swap_within_a_month_is_found_when_its_turn_comes(project: Project) -> None:
    log = pulled(project)
    rows = sorted(live(log).values(), key=lambda row: (row["CreatedDate"], row["Id"]))
    lost = rows[len(rows) // 2]
    put_in(log, lost["Id"], ["003000000000003AAA"])
    take_out(log, [lost["Id"]])
    assert compared(project, ids=0).total("different") == 0, "the counts see nothing"
    found = []
    for _ in range(40):
        report = compared(project, ids=20)
        assert report.problem == ""
        found.append((report.total("missing"), report.total("extra"), report.total("healed")))
        assert report.api_calls <= 4
        if any(found[-1]):
            break
    assert found[-1] == (1, 1, 2)
    assert len(found) > 3, "not by the first look"
    assert live(log) == in_org(project)


def test_a_deep_comparison_looks_at_every_id(project: Project) -> None:
    log = pulled(project)
    lost = sorted(live(log))[-1]
    put_in(log, lost, ["003000000000004AAA"])
    take_out(log, [lost])
    report = compared(project, ids=1, deep=True)
    assert (report.total("missing"), report.total("extra"), report.total("healed")) == (1, 1, 2)
    assert report.total("compared") == len(project.query("SELECT Id FROM Contact"))
    assert live(log) == in_org(project)


@pytest.mark.parametrize("threshold", [10_000, 1], ids=["REST", "Bulk API 2.0"])
def test_a_table_that_lost_nearly_everything_is_made_whole(
    start: Start, shipped: dict[str, Any], threshold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = start(pull={**shipped["pull"], "bulk_threshold": threshold})
    log = pulled(project)
    if threshold == 1:  # as if there were more Ids than queries are worth
        monkeypatch.setattr("salesforce_pipelines.pull.reconciling._MOST_QUERIES", 0)
    expected = log.current().read_all().sort_by("Id")
    take_out(log, expected.column("Id").to_pylist()[3:])
    report = compared(project)
    assert report.fetched == expected.num_rows - 3
    assert report.total("healed") == report.total("missing")
    assert log.current().read_all().sort_by("Id") == expected, "deleted ones included"


def test_what_changed_after_the_watermark_is_left_to_the_next_pull(project: Project) -> None:
    log = pulled(project)
    time.sleep(1.1)
    before = log.state()
    some = list(live(log))[:3]
    delete(project, "Contact", some[:2], "delete")
    project.edit("Contact", some[2], Department="later")
    project.org.request(
        "POST", f"{project.org.base_path}/sobjects/Contact", json={"LastName": "New"}
    )
    for deep in (False, True):
        report = compared(project, deep=deep)
        assert (report.total("different"), report.problem) == (0, "")
    assert log.state() == before
    pulled(project)
    assert compared(project, deep=True).total("different") == 0
    assert live(log) == in_org(project)


def test_removed_campaign_members_leave_no_stamp_and_are_found(project: Project) -> None:
    log = pulled(project, "CampaignMember")
    gone = list(live(log))[:4]
    delete(project, "CampaignMember", gone, "hardDelete")
    pulled(project, "CampaignMember")
    assert set(gone) <= set(live(log)), "an incremental pull cannot see it"
    assert compared(project, "CampaignMember").purged == 4
    assert live(log) == in_org(project, "CampaignMember")


def test_users_have_no_recycle_bin_and_are_compared_all_the_same(project: Project) -> None:
    log = pulled(project, "User")
    lost = next(iter(live(log)))
    take_out(log, [lost])
    assert compared(project, "User").fetched == 1
    assert live(log) == in_org(project, "User")


def test_only_the_scope_is_compared(project: Project) -> None:
    departments = [row["Department"] for row in in_org(project).values() if row["Department"]]
    scope = f"Department = '{max(set(departments), key=departments.count)}'"
    log = pulled(project, scope=scope)
    rows = in_org(project, scope=scope)
    assert 2 < len(rows) < len(in_org(project))
    assert compared(project).total("different") == 0
    outsider = next(one for one in in_org(project) if one not in rows)
    put_in(log, next(iter(rows)), [outsider, "003000000000005AAA"])
    lost = next(iter(rows))
    take_out(log, [lost])
    report = compared(project)
    assert (report.fetched, report.purged, report.left_scope) == (1, 1, 1)
    assert report.problem == ""
    assert states(log, [outsider, lost]) == {outsider: "out_of_scope", lost: "live"}
    assert live(log) == in_org(project, scope=scope)


def test_a_deleted_record_that_the_table_holds_as_live_gets_its_state(project: Project) -> None:
    one = next(iter(in_org(project)))
    delete(project, "Contact", [one], "delete")
    log = pulled(project)
    assert states(log, [one]) == {one: "deleted"}
    row = log.current(where=f"Id = '{one}'").read_all()
    state = log.state()
    assert state is not None
    at = row.schema.get_field_index("record_state")
    log.append(row.set_column(at, row.schema.field(at), pa.array(["live"])), state.metadata)
    report = compared(project)
    assert (report.total("extra"), report.fetched, report.purged) == (1, 1, 0)
    assert states(log, [one]) == {one: "deleted"}


def test_columns_that_the_org_hides_keep_their_values(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from salesforce_pipelines.org.describe import describe
    from salesforce_pipelines.pull import reconciling

    log = pulled(project)
    one = next(row for row in live(log).values() if row["Department"])
    put_in(log, one["Id"], [one["Id"]], record_state="purged", LastName="wrong")

    def hiding(session: Any, name: str) -> Any:
        described = describe(session, name)
        del described.fields["department"]
        return described

    monkeypatch.setattr(reconciling, "describe", hiding)
    assert compared(project).fetched == 1
    assert live(log)[one["Id"]] == one


def test_when_access_is_lost_nothing_is_marked_in_the_mass(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("salesforce_pipelines.pull.reconciling._PLENTY", 10)
    log = pulled(project)
    before = log.state()
    kept = live(log)
    strangers = [f"003{number:012}AAA" for number in range(len(kept) + 50)]
    put_in(log, next(iter(kept)), strangers)
    held = log.state()
    report = compared(project)
    assert "shows this user none of" in report.problem
    assert report.total("healed") == 0
    assert log.state() == held
    assert before is not None


def test_a_cut_pull_keeps_what_it_had_landed(project: Project) -> None:
    log = pulled(project)
    take_out(log, [next(iter(live(log)))])
    with log.stage(log.schema(), replaces=True) as staged:
        staged.write(log.current().read_all().to_batches()[0])
        staged.checkpoint({"position": 1})
    report = compared(project)
    assert "interrupted" in report.problem
    assert report.total("missing") == 1
    again = log.staged()
    assert again is not None
    with again:
        assert again.metadata == {"position": 1}


def test_a_table_that_was_never_pulled_or_is_of_another_org_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PipelineError, match="nothing to compare yet"):
        compared(project)
    pulled(project)
    monkeypatch.setattr(project.org, "_org_id", "00D000000000099EAA")
    with pytest.raises(PipelineError, match="Give each org a storage of its own"):
        compared(project)


def test_what_was_compared_is_remembered(project: Project) -> None:
    pulled(project)
    compared(project, deep=True)
    rows = project.tables.log("reconciled/Contact", key="month").current().read_all()
    assert pc.sum(rows.column("compared_ids")).as_py() == len(
        project.query("SELECT Id FROM Contact")
    )
    assert pc.sum(rows.column("org_rows")).as_py() == len(in_org(project))
    assert pc.min(rows.column("compared_at")).as_py() > datetime.now(UTC) - timedelta(minutes=5)


def test_a_record_that_left_the_scope_after_the_watermark_is_left_to_the_next_pull(
    project: Project,
) -> None:
    some = [row["Id"] for row in list(in_org(project).values())[:3]]
    for one in some:
        project.edit("Contact", one, Department="Scoped")
    log = pulled(project, scope="Department = 'Scoped'")
    time.sleep(1.1)
    project.edit("Contact", some[0], Department="Elsewhere")
    state = log.state()
    assert compared(project, deep=True).total("different") == 0
    assert log.state() == state
    pulled(project, scope="Department = 'Scoped'")
    assert states(log, some) == {some[0]: "out_of_scope", some[1]: "live", some[2]: "live"}
