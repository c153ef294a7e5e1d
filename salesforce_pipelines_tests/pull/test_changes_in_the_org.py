"""What happens to records between and during pulls: nothing is lost, and each has its state."""

import pytest

from salesforce_pipelines.config.models import ListViewScope
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.pull.formula_refresh import refresh_formulas
from salesforce_pipelines.pull.pulling import watermark_of
from salesforce_pipelines.pull.record_links import links_of, refresh_links
from salesforce_pipelines_tests.local_org.conftest import unique
from salesforce_pipelines_tests.pull.mirror import LAG, OVERLAP, Mirror, small_bulk_pages

pytestmark = pytest.mark.slow


# Late rows, ties


@pytest.mark.parametrize("seconds", [30, 300, 650])
def test_rows_that_become_visible_late_are_not_lost(mirror: Mirror, seconds: int) -> None:
    assert seconds < (LAG + OVERLAP).total_seconds()
    mirror.pull()
    edited, deleted = mirror.some(2)
    with mirror.admin.fault("late_rows", sobject="Contact", seconds=seconds):
        mirror.api.update("Contact", edited, Department=unique("Late"))
        mirror.api.delete("Contact", deleted)
        new = mirror.api.create("Contact", LastName=unique("Late"))
    for _ in range(2):
        mirror.pull()
        assert new not in mirror.rows()
    # The watermark passes the stamps while the rows cannot be seen yet.
    mirror.later(seconds=seconds - 1)
    unseen = mirror.pull()
    assert (unseen.added, unseen.changed, unseen.deleted) == (0, 0, 0)
    mirror.later(seconds=1)
    if seconds <= LAG.total_seconds():
        mirror.later()
    landed = mirror.pull()
    assert (landed.added, landed.changed, landed.deleted) == (1, 1, 1)
    mirror.assert_equal()
    assert mirror.states()[deleted] == "deleted"
    again = mirror.pull()
    assert (again.landed, again.unchanged) == (0, 3), "read again, and recognised"


def test_ties_on_the_stamp_are_never_split_by_a_window(mirror: Mirror) -> None:
    mirror.pull()
    first, second = mirror.some(2)
    mirror.api.update("Contact", first, Department=unique())
    end = mirror.admin.now().replace(microsecond=0) + LAG
    mirror.admin.set_clock(end)
    before = mirror.pull()
    assert before.window.end == end - LAG
    assert before.landed == 0, "the running second is the next pull's"
    mirror.admin.set_clock(end - LAG)
    mirror.api.update("Contact", second, Department=unique())
    stamps = {mirror.in_org()[one]["SystemModstamp"] for one in (first, second)}
    assert stamps == {before.window.end}
    mirror.settings = mirror.settings.model_copy(update={"overlap": LAG * 0})
    mirror.admin.set_clock(end + LAG)
    assert mirror.pull().changed == 2, "without any overlap, too"
    mirror.assert_equal()


# Deletes


@pytest.mark.parametrize("bulk", [False, True], ids=["REST", "Bulk API 2.0"])
def test_records_deleted_while_pages_are_read_are_not_lost(
    mirror: Mirror, bulk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.use_rest_pages(200)
    if bulk:
        small_bulk_pages(mirror, monkeypatch)
    last = [
        row["Id"] for row in mirror.api.records("SELECT Id FROM Contact ORDER BY Id DESC LIMIT 3")
    ]

    def meanwhile() -> None:
        mirror.api.delete("Contact", last[0])
        mirror.bulk("Contact", "hardDelete", last[1:2])
        mirror.api.update("Contact", last[2], Department="Meanwhile")

    first = mirror.pull(between=meanwhile)
    assert first.read == len(mirror.rows()) > 400, "no row came twice in another one's place"
    mirror.later()
    mirror.pull()
    mirror.reconcile()
    # A REST query is asked anew, and then the org knows nothing of the one deleted for good.
    gone = "purged" if bulk else None
    assert [mirror.states().get(one) for one in last] == ["deleted", gone, "live"]
    mirror.assert_equal()


def test_undeleted_records_are_live_again(mirror: Mirror) -> None:
    gone = mirror.some(2)
    for one in gone:
        mirror.api.delete("Contact", one)
    mirror.later()
    mirror.pull()
    assert {mirror.states()[one] for one in gone} == {"deleted"}
    mirror.soap.by_id("undelete", *gone)
    mirror.later()
    assert mirror.pull().changed == 2
    assert {mirror.states()[one] for one in gone} == {"live"}
    mirror.assert_equal()


@pytest.mark.parametrize("bulk", [False, True], ids=["REST", "Bulk API 2.0"])
def test_hard_deletes_and_an_emptied_recycle_bin_are_marked_by_reconciliation(
    mirror: Mirror, bulk: bool
) -> None:
    if bulk:
        mirror.use_bulk()
    hard, binned = mirror.some(4)[:2], mirror.some(4)[2:]
    mirror.pull()
    for one in binned[:1]:
        mirror.api.delete("Contact", one)
    mirror.later()
    mirror.pull()
    assert mirror.states()[binned[0]] == "deleted"
    mirror.bulk("Contact", "hardDelete", hard)
    mirror.api.delete("Contact", binned[1])
    mirror.admin.empty_recycle_bin()
    mirror.later()
    assert mirror.pull().landed == 0, "nothing is left that a pull could read"
    report = mirror.reconcile()
    assert (report.problem, report.total("extra")) == ("", 3)
    assert {mirror.states()[one] for one in (*hard, *binned)} == {"purged"}
    mirror.assert_equal()
    again = mirror.reconcile()
    assert (again.purged, again.total("different")) == (0, 0)
    full = mirror.pull(full=True)
    assert full.purged == 0, "told once"
    assert {mirror.states()[one] for one in (*hard, *binned)} == {"purged"}


def test_campaign_members_that_are_removed_are_marked(mirror: Mirror) -> None:
    campaign = mirror.api.create("Campaign", Name=unique("Campaign"))
    contacts = mirror.some(3)
    members = [
        mirror.api.create("CampaignMember", CampaignId=campaign, ContactId=one) for one in contacts
    ]
    mirror.later()
    mirror.pull("CampaignMember")
    mirror.api.delete("CampaignMember", members[0])
    mirror.api.delete("Contact", contacts[1])
    mirror.later()
    mirror.pull("CampaignMember")
    mirror.reconcile("CampaignMember", deep=False)
    states = mirror.states("CampaignMember")
    assert (states[members[0]], states[members[2]]) == ("purged", "live")
    assert states[members[1]] != "live"
    mirror.assert_equal("CampaignMember")


# Merges and conversions


def test_a_chain_of_merges_is_followed_to_its_end(mirror: Mirror) -> None:
    first, second, third = (mirror.api.create("Contact", LastName=unique("M")) for _ in range(3))
    mirror.later()
    mirror.pull()
    mirror.soap.merge("Contact", second, first)
    mirror.later()
    assert mirror.pull().merged == 1
    mirror.soap.merge("Contact", third, second)
    mirror.later()
    assert mirror.pull().merged == 1
    rows = mirror.rows("Contact", ["MasterRecordId", "record_state"])
    assert [rows[one]["record_state"] for one in (first, second, third)] == [
        "merged",
        "merged",
        "live",
    ]
    assert [rows[one]["MasterRecordId"] for one in (first, second)] == [second, third]
    refresh_links(mirror.tables)
    links = {row["Id"]: row for row in links_of(mirror.tables).current().read_all().to_pylist()}
    assert {links[one]["survivor_id"] for one in (first, second)} == {third}
    assert [links[one]["steps"] for one in (first, second)] == [2, 1]
    mirror.admin.empty_recycle_bin()
    mirror.later()
    mirror.pull()
    mirror.reconcile()
    assert mirror.states()[first] == "merged", "what it became part of stays known"
    mirror.pull(full=True)
    assert mirror.rows("Contact", ["MasterRecordId"])[first]["MasterRecordId"] == second
    mirror.assert_equal()


def test_a_converted_lead_leads_to_its_contact_account_and_opportunity(mirror: Mirror) -> None:
    lead = mirror.api.create("Lead", LastName=unique("L"), Company=unique("Company"))
    mirror.later()
    for sobject in ("Lead", "Contact", "Account", "Opportunity"):
        mirror.pull(sobject)
    done = mirror.soap.convert(lead)
    mirror.later()
    assert mirror.pull("Lead").converted == 1
    for sobject in ("Contact", "Account", "Opportunity"):
        assert mirror.pull(sobject).added == 1
        mirror.assert_equal(sobject)
    mirror.assert_equal("Lead")
    row = mirror.rows("Lead")[lead]
    assert (row["IsConverted"], row["record_state"]) == (True, "live")
    refresh_links(mirror.tables)
    links = {
        found["Id"]: found for found in links_of(mirror.tables).current().read_all().to_pylist()
    }
    link = links[lead]
    assert (link["kind"], link["survivor_state"]) == ("converted", "live")
    assert (link["survivor_id"], link["account_id"], link["opportunity_id"]) == (
        done["contactId"],
        done["accountId"],
        done["opportunityId"],
    )


def test_formulas_that_change_without_the_stamp_are_refreshed(mirror: Mirror) -> None:
    mirror.fields["Contact"].append("Account_Tier__c")
    mirror.pull()
    account = mirror.api.records("SELECT AccountId FROM Contact WHERE AccountId != null LIMIT 1")
    mirror.api.update("Account", account[0]["AccountId"], AnnualRevenue=987_000_000)
    mirror.later()
    assert mirror.pull().landed == 0
    names = mirror.fields["Contact"]
    found = refresh_formulas(
        mirror.session, mirror.log("Contact"), "Contact", names, mirror.settings
    )
    assert found.changed > 0
    mirror.assert_equal()


# Scopes


def test_records_enter_and_leave_the_scope(mirror: Mirror) -> None:
    scope = "Department = 'Scoped'"
    stays, leaves, enters = mirror.some(3)
    for one in (stays, leaves):
        mirror.api.update("Contact", one, Department="Scoped")
    mirror.later()
    first = mirror.pull(scope=scope)
    assert (first.full, set(mirror.states().values())) == (True, {"live"})
    mirror.api.update("Contact", leaves, Department="Elsewhere")
    mirror.api.update("Contact", enters, Department="Scoped")
    mirror.later()
    report = mirror.pull(scope=scope)
    assert (report.full, report.left_scope) == (False, 1)
    assert mirror.states()[leaves] == "out_of_scope"
    mirror.assert_equal(where=scope)
    mirror.later()
    assert mirror.pull(scope=scope).left_scope == 0, "told once"
    wider = "Department IN ('Scoped', 'Elsewhere')"
    assert mirror.pull(scope=wider).full
    mirror.assert_equal(where=wider)
    assert mirror.states()[leaves] == "live"
    narrower = mirror.pull(scope=scope)
    assert narrower.left_scope == 1
    mirror.assert_equal(where=scope)
    assert mirror.pull(full=True, scope=scope).left_scope == 0, "told once"
    mirror.api.delete("Contact", stays)
    mirror.later()
    mirror.pull(scope=scope)
    assert mirror.states()[stays] == "deleted"


def test_a_narrower_scope_leaves_what_was_deleted_deleted(mirror: Mirror) -> None:
    binned, merged_away, survivor = mirror.some(3)
    mirror.api.delete("Contact", binned)
    mirror.soap.merge("Contact", survivor, merged_away)
    mirror.later()
    mirror.pull()
    before = mirror.states()
    live = sum(state == "live" for state in before.values())
    narrower = mirror.pull(scope=f"Id = '{survivor}'")
    assert (narrower.left_scope, narrower.purged) == (live - 1, 0)
    after = mirror.states()
    kept = {one: state for one, state in before.items() if state != "live"}
    assert {one: after[one] for one in kept} == kept
    assert kept[binned] == "deleted"
    assert kept[merged_away] == "merged"
    wider = mirror.pull()
    assert (wider.deleted, wider.merged, wider.purged) == (0, 0, 0)
    assert mirror.states() == before
    mirror.assert_equal()


def test_a_list_view_is_a_scope_that_people_may_change(mirror: Mirror) -> None:
    name = unique("Scope").replace("-", "_")
    view = {
        "sobjectType": "Contact",
        "developerName": name,
        "label": name,
        "columns": [{"fieldNameOrPath": "Name", "label": "Name", "type": "string"}],
        "whereCondition": {"field": "Title", "operator": "equals", "values": [f"'{name}'"]},
    }
    made = mirror.admin.send("POST", "list-views", view)
    one, other = mirror.some(2)
    mirror.api.update("Contact", one, Title=name)
    mirror.later()
    scope = ListViewScope(list_view=name)
    mirror.pull(scope=scope)
    assert set(mirror.live()) == {one}
    mirror.admin.send("DELETE", f"list-views/{made['id']}")
    view["whereCondition"]["values"] = [f"'{name} 2'"]  # type: ignore[index]
    mirror.admin.send("POST", "list-views", view)
    mirror.api.update("Contact", other, Title=f"{name} 2")
    mirror.later()
    report = mirror.pull(scope=scope)
    assert (report.full, report.left_scope) == (True, 1)
    assert mirror.states() == {one: "out_of_scope", other: "live"}
    with pytest.raises(PipelineError, match=r"scope\.list_view: .* no list view 'Nothing'"):
        mirror.pull(scope=ListViewScope(list_view="Nothing"))


def test_a_scope_with_relative_dates_is_kept_by_reconciliation(mirror: Mirror) -> None:
    scope = "CreatedDate = LAST_N_DAYS:1"
    new = mirror.api.create("Contact", LastName=unique("Relative"))
    mirror.later()
    mirror.pull(scope=scope)
    assert new in mirror.live()
    mirror.later(minutes=20)
    mirror.pull(scope=scope)
    mirror.later(days=3)
    mirror.pull(scope=scope)
    assert new in mirror.live(), "it did not change"
    mirror.reconcile()
    assert mirror.states()[new] == "out_of_scope"
    mirror.assert_equal(where=scope)


def test_a_scope_by_a_semi_join(mirror: Mirror) -> None:
    campaign = mirror.api.create("Campaign", Name=unique("Semi"))
    one, other = mirror.some(2)
    mirror.api.create("CampaignMember", CampaignId=campaign, ContactId=one)
    scope = f"Id IN (SELECT ContactId FROM CampaignMember WHERE CampaignId = '{campaign}')"
    mirror.later()
    mirror.pull(scope=scope)
    assert set(mirror.live()) == {one}
    mirror.api.create("CampaignMember", CampaignId=campaign, ContactId=other)
    mirror.api.update("Contact", other, Department=unique())
    (member,) = mirror.api.records(
        f"SELECT Id FROM CampaignMember WHERE CampaignId = '{campaign}' AND ContactId = '{one}'"
    )
    mirror.api.delete("CampaignMember", member["Id"])
    mirror.api.update("Contact", one, Department=unique())
    mirror.later()
    mirror.pull(scope=scope)
    assert mirror.states() == {one: "out_of_scope", other: "live"}


@pytest.mark.parametrize(
    "scope",
    ["Department != 'None'", "AccountId IN (SELECT Id FROM Account WHERE Industry != 'None')"],
    ids=["plain", "semi-join"],
)
def test_a_scope_of_which_nothing_changed_costs_three_calls(mirror: Mirror, scope: str) -> None:
    mirror.pull(scope=scope)
    mirror.later(hours=1)
    mirror.pull(scope=scope)
    assert mirror.pull(scope=scope).api_calls <= 3
    mirror.assert_equal(where=scope)


@pytest.mark.parametrize(
    "scope",
    ["Department = 'Scoped'", "Department = 'Scoped' AND AccountId IN (SELECT Id FROM Account)"],
    ids=["plain", "semi-join"],
)
@pytest.mark.parametrize("bulk", [False, True], ids=["REST", "Bulk API 2.0"])
def test_what_left_the_scope_is_asked_for_in_halves_where_it_is_too_much(
    mirror: Mirror, scope: str, bulk: bool
) -> None:
    if bulk:
        mirror.use_bulk()
    leaves, stays = mirror.some(2, where="AccountId != null")
    too_much = {"status": 400, "error_code": "QUERY_TIMEOUT", "message": "Too long."}
    for one in (leaves, stays):
        mirror.api.update("Contact", one, Department="Scoped")
    mirror.later()
    mirror.pull()
    with mirror.admin.fault("error", path="queryAll", skip=1, times=1, **too_much):
        assert mirror.pull(scope=scope).full
    mirror.assert_equal(where=scope)
    mirror.api.update("Contact", leaves, Department="Elsewhere")
    mirror.later()
    with mirror.admin.fault("error", path="queryAll", skip=1, times=1, **too_much):
        assert mirror.pull(scope=scope).left_scope == 1
    mirror.assert_equal(where=scope)
    assert not mirror.query_jobs(), "what landed is deleted"


@pytest.mark.parametrize(
    "scope",
    ["Shoe_Size__c = 44", "Department =", "Department = 'x') OR (Id != null"],
)
def test_a_bad_scope_is_named(mirror: Mirror, scope: str) -> None:
    mirror.pull()
    before = mirror.log("Contact").state()
    with pytest.raises(PipelineError, match=r"objects\.Contact\.scope"):
        mirror.pull(scope=scope)
    assert mirror.log("Contact").state() == before


def test_a_scope_whose_field_is_hidden_later_is_named(mirror: Mirror) -> None:
    scope = "Fax = null"
    mirror.pull(scope=scope)
    before = mirror.log("Contact").state()
    mirror.hide("Contact", "Fax")
    try:
        with pytest.raises(PipelineError, match=r"objects\.Contact\.scope .*Fax"):
            mirror.pull(scope=scope)
    finally:
        mirror.hide("Contact", "Fax", hidden=False)
    assert mirror.log("Contact").state() == before
    assert watermark_of(mirror.log("Contact")) is not None
