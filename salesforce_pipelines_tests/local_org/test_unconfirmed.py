"""What no public source settles: each switch over HTTP, with each of its choices."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from salesforce_pipelines.local_org.admin.unconfirmed import SWITCHES
from salesforce_pipelines.local_org.admin_client import AdminRefusedError
from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.conftest import Api, api_of, token_of, unique
from salesforce_pipelines_tests.local_org.soap_client import Soap
from salesforce_pipelines_tests.local_org.web_login import (
    CHALLENGE,
    PKCE,
    VERIFIER,
    Browser,
    exchanged,
    new_user,
    returned,
    status_of,
)

HOUR = 3600


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    with running_org(tmp_path_factory.mktemp("unconfirmed") / "home") as running:
        yield running


@pytest.fixture
def api(org: RunningOrg) -> Iterator[Api]:
    """A client whose session no moved clock has ended."""
    client = api_of(org)
    with client.session:
        yield client


@pytest.fixture(autouse=True)
def _as_at_first(org: RunningOrg) -> Iterator[None]:
    yield
    org.admin.send("DELETE", "unconfirmed")
    org.admin.clear()
    org.admin.reset_clock()


def chosen(org: RunningOrg, **choices: str) -> None:
    org.admin.send("PATCH", "unconfirmed", choices)


# The switches themselves


def test_every_switch_says_what_it_is_about(org: RunningOrg) -> None:
    shown = org.admin.send("GET", "unconfirmed")
    assert shown["switches"].keys() == SWITCHES.keys()
    for switch in shown["switches"].values():
        assert switch["about"]
        assert switch["source"]
        assert len(switch["choices"]) > 1
        assert switch["chosen"] == switch["default"] == next(iter(switch["choices"]))
    assert "code_seconds" in shown["elsewhere"]["lifetime of authorization codes"]
    assert "wording" in shown["guesses"]


def test_choices_are_checked_by_name(org: RunningOrg) -> None:
    for body, message in (
        ({"revoke": "x"}, "revoke: there is no such key"),
        ({"retired_version": "405"}, "retired_version: give one of 410, 404"),
        ({"retired_version": ["404"]}, "retired_version: give one of 410, 404"),
        ({"retired_version": "404", "roll_up_stamp": None}, "roll_up_stamp: give one of"),
        ({}, "The body is empty"),
    ):
        with pytest.raises(AdminRefusedError, match=message):
            org.admin.send("PATCH", "unconfirmed", body)
    assert org.admin.unconfirmed()["retired_version"] == "410"
    assert org.admin.send("PATCH", "unconfirmed", {"retired_version": 404})
    assert org.admin.unconfirmed()["retired_version"] == "404"
    assert org.admin.send("DELETE", "unconfirmed")["retired_version"] == "410"


def test_choices_outlive_a_restart_and_end_with_a_block(tmp_path: Path) -> None:
    with running_org(tmp_path / "home") as first:
        with first.admin.choose(retired_version="404", revoke_by_get="refused"):
            assert first.admin.unconfirmed()["revoke_by_get"] == "refused"
        assert first.admin.unconfirmed()["revoke_by_get"] == "accepted"
        chosen(first, retired_version="404")
    with running_org(tmp_path / "home") as second:
        assert second.admin.unconfirmed()["retired_version"] == "404"


# OAuth


@pytest.mark.parametrize(("choice", "last"), [("extends", 200), ("does_not_extend", 401)])
def test_whether_use_extends_a_session(org: RunningOrg, choice: str, last: int) -> None:
    chosen(org, session_use=choice)
    token = token_of(org)["access_token"]
    statuses = []
    for _ in range(3):
        org.admin.move_clock(minutes=59)
        statuses.append(status_of(org, token))
    assert statuses == [200, 200, last]


def test_a_session_that_use_does_not_extend_is_introspected_so(org: RunningOrg) -> None:
    org.admin.freeze_clock()
    token = token_of(org)["access_token"]
    org.admin.move_clock(seconds=HOUR)
    assert status_of(org, token) == 200
    now = org.admin.now().timestamp()
    lives = {}
    for choice in ("extends", "does_not_extend"):
        chosen(org, session_use=choice)
        known = requests.post(
            f"{org.url}/services/oauth2/introspect",
            data={"token": token},
            auth=(org.client_id, org.client_secret),
            timeout=10,
        ).json()
        lives[choice] = round(known["exp"] - now, -1)
    assert lives == {"extends": 2 * HOUR, "does_not_extend": HOUR}


@pytest.mark.parametrize(
    ("choice", "status", "left"), [("accepted", 200, 401), ("refused", 405, 200)]
)
def test_revoking_by_get(org: RunningOrg, choice: str, status: int, left: int) -> None:
    chosen(org, revoke_by_get=choice)
    token = token_of(org)["access_token"]
    address = f"{org.url}/services/oauth2/revoke"
    assert requests.get(address, params={"token": token}, timeout=10).status_code == status
    assert status_of(org, token) == left
    if left == 200:
        assert requests.post(address, data={"token": token}, timeout=10).status_code == 200


@pytest.fixture
def browser(org: RunningOrg) -> Iterator[Browser]:
    with requests.Session() as session:
        yield Browser(org, session)


def test_public_clients_without_pkce(org: RunningOrg, browser: Browser) -> None:
    org.admin.send("PATCH", "app", {"require_secret": False})
    try:
        code = browser.code()
        assert exchanged(org, code, client_secret="-")[0] == 200
        chosen(org, public_client_without_pkce="refused")
        told = returned(browser.asked())
        assert (told["error"], told["error_description"]) == (
            "invalid_request",
            "missing required code challenge",
        )
        code = browser.code(**PKCE)
        assert exchanged(org, code, client_secret="-", code_verifier=VERIFIER)[0] == 200
    finally:
        org.admin.send("PATCH", "app", {"require_secret": True})
    assert browser.asked().status_code == 200  # the app is not a public client any more


def test_another_method_than_s256(org: RunningOrg, browser: Browser) -> None:
    plain = {"code_challenge": CHALLENGE, "code_challenge_method": "plain"}
    assert returned(browser.asked(**plain))["error"] == "invalid_request"
    chosen(org, pkce_plain="ignored")
    code = browser.code(**plain)
    assert exchanged(org, code, code_verifier=CHALLENGE)[0] == 400
    assert exchanged(org, code, code_verifier=VERIFIER)[0] == 200


# Statuses


@pytest.mark.parametrize(("choice", "code"), [("410", "GONE"), ("404", "NOT_FOUND")])
def test_retired_versions(org: RunningOrg, api: Api, choice: str, code: str) -> None:
    chosen(org, retired_version=choice)
    answer = api.call("GET", "limits", version="20.0")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (int(choice), code)


@pytest.mark.parametrize("status", [403, 400])
def test_insufficient_access(org: RunningOrg, api: Api, status: int) -> None:
    chosen(org, status_of_insufficient_access_or_readonly=str(status))
    user = api.records("SELECT Id FROM User LIMIT 1")[0]["Id"]
    (error,) = api.send("DELETE", f"sobjects/User/{user}", None, status)
    assert error["errorCode"] == "INSUFFICIENT_ACCESS_OR_READONLY"
    path = f"/services/data/v62.0/sobjects/User/{user}"
    request = {"method": "DELETE", "url": path, "referenceId": "a"}
    whole = api.send("POST", "composite", {"compositeRequest": [request]}, 200)
    assert whole["compositeResponse"][0]["httpStatusCode"] == status


@pytest.mark.parametrize("status", [404, 400])
def test_deleted_records(org: RunningOrg, api: Api, status: int) -> None:
    chosen(org, status_of_entity_is_deleted=str(status))
    lead = api.create("Lead", LastName="x", Company="x")
    api.delete("Lead", lead)
    (error,) = api.send("PATCH", f"sobjects/Lead/{lead}", {"Title": "x"}, status)
    assert error["errorCode"] == "ENTITY_IS_DELETED"


def test_deleted_parents_are_another_matter(org: RunningOrg, api: Api) -> None:
    account = api.create("Account", Name="x")
    api.delete("Account", account)
    (error,) = api.send("POST", "sobjects/Contact", {"LastName": "x", "AccountId": account}, 400)
    assert (error["errorCode"], error["fields"]) == ("ENTITY_IS_DELETED", ["AccountId"])


@pytest.mark.parametrize(
    ("fault", "code", "statuses"),
    [
        ("storage_limit", "STORAGE_LIMIT_EXCEEDED", (400, 403)),
        ("maintenance", "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", (400, 503)),
        ("too_many_apex_requests", "TOO_MANY_APEX_REQUESTS", (403, 503)),
        ("transaction_security", "TXN_SECURITY_NO_ACCESS", (403, 400)),
    ],
)
def test_statuses_of_faults(
    org: RunningOrg, api: Api, fault: str, code: str, statuses: tuple[int, int]
) -> None:
    name = "txn_security" if fault == "transaction_security" else code.lower()
    switch = f"status_of_{name}"
    assert SWITCHES[switch].default == str(statuses[0])
    for status in statuses:
        chosen(org, **{switch: str(status)})
        with org.admin.fault(fault):
            (error,) = api.send("POST", "sobjects/Lead", {"LastName": "x", "Company": "x"}, status)
        assert error["errorCode"] == code


def test_a_fault_says_which_transaction_security_code(org: RunningOrg, api: Api) -> None:
    with org.admin.fault("transaction_security", error_code="TXN_SECURITY_METERING_ERROR"):
        assert api.get("limits", status=403)[0]["errorCode"] == "TXN_SECURITY_METERING_ERROR"


def test_an_error_that_is_asked_for_keeps_its_status(org: RunningOrg, api: Api) -> None:
    error = {"status": 500, "error_code": "TOO_MANY_APEX_REQUESTS", "message": "m"}
    with org.admin.fault("error", **error):
        assert api.get("limits", status=500)[0]["message"] == "m"


@pytest.mark.parametrize("status", [413, 400])
def test_too_large_bodies(org: RunningOrg, api: Api, status: int) -> None:
    chosen(org, status_of_exceeded_max_size_request=str(status))
    answer = api.call(
        "POST",
        "sobjects/Lead",
        data=(b" " * (1 << 20) for _ in range(51)),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == status
    assert answer.json()[0]["errorCode"] == "EXCEEDED_MAX_SIZE_REQUEST"


# Bulk


def query_job(soql: str) -> dict[str, str]:
    return {"operation": "query", "query": soql}


@pytest.mark.parametrize(
    ("soql", "code", "sobject"),
    [
        ("SELECT Nothing__c FROM contact", "INVALID_FIELD", "contact"),
        ("SELECT Id FROM Nothing__c", "INVALID_TYPE", "Nothing__c"),
        ("SELECT MailingAddress FROM Contact", "FUNCTIONALITY_NOT_ENABLED", "Contact"),
        ("SELECT count() FROM Contact", "API_ERROR", "Contact"),
    ],
)
def test_mistakes_in_a_bulk_query(
    org: RunningOrg, api: Api, soql: str, code: str, sobject: str
) -> None:
    (error,) = api.send("POST", "jobs/query", query_job(soql), 400)
    assert error["errorCode"] == code
    chosen(org, bulk_query_mistake="job_fails")
    created = api.send("POST", "jobs/query", query_job(soql), 200)
    assert (created["state"], created["object"]) == ("UploadComplete", sobject)
    done = api.finished("query", created["id"], "Failed")
    assert done["errorMessage"] == f"{code} : {error['message']}"
    assert api.send("POST", "jobs/query", query_job("SELECT FROM"), 400)[0]["errorCode"] == (
        "MALFORMED_QUERY"
    )
    good = api.send("POST", "jobs/query", query_job("SELECT Id FROM contact"), 200)
    assert api.finished("query", good["id"])["object"] == "Contact"


def test_bulk_queries_beyond_the_limit(org: RunningOrg, api: Api) -> None:
    before = org.admin.limits()
    org.admin.set_limits(bulk_query_jobs_used=10_000)
    text = "Max bulk v2 query jobs (10000) per 24 hrs has been reached"
    body = query_job("SELECT Id FROM Contact")
    try:
        for status in (400, 403):
            chosen(org, bulk_query_over_limit=str(status))
            assert api.send("POST", "jobs/query", body, status) == [
                {"errorCode": "LIMIT_EXCEEDED", "message": text}
            ]
        chosen(org, bulk_query_over_limit="job_fails")
        job = api.send("POST", "jobs/query", body, 200)
        done = api.finished("query", job["id"], "Failed")
        assert done["errorMessage"] == f"LIMIT_EXCEEDED : {text}"
    finally:
        org.admin.set_limits(**before)


@pytest.mark.parametrize(
    ("choice", "state"), [("failed", "Failed"), ("aborted", "Aborted"), ("open", "Open")]
)
def test_ingest_jobs_left_open(org: RunningOrg, api: Api, choice: str, state: str) -> None:
    chosen(org, bulk_ingest_left_open=choice)
    job = api.send("POST", "jobs/ingest", {"object": "Lead", "operation": "insert"}, 200)["id"]
    org.admin.move_clock(hours=25)
    later = api_of(org)
    with later.session:
        shown = later.get(f"jobs/ingest/{job}")
    assert shown["state"] == state
    assert ("errorMessage" in shown) is (choice == "failed")


@pytest.mark.parametrize(("choice", "query", "ingest"), [("none", 0, 0), ("all", 15, 20)])
def test_retries_of_failed_jobs(
    org: RunningOrg, api: Api, choice: str, query: int, ingest: int
) -> None:
    chosen(org, bulk_retries_of_failed_job=choice)
    with org.admin.fault("job_fails", times=2):
        job = api.send("POST", "jobs/query", query_job("SELECT Id FROM Lead"), 200)["id"]
        assert api.finished("query", job, "Failed")["retries"] == query
        body = {"object": "Lead", "operation": "insert"}
        job = api.send("POST", "jobs/ingest", body, 200)["id"]
        headers = {"Content-Type": "text/csv"}
        csv = "LastName,Company\nx,x\n"
        api.call("PUT", f"jobs/ingest/{job}/batches", data=csv, headers=headers)
        api.send("PATCH", f"jobs/ingest/{job}", {"state": "UploadComplete"}, 200)
        assert api.finished("ingest", job, "Failed")["retries"] == ingest
    job = api.send("POST", "jobs/query", query_job("SELECT Id FROM Lead"), 200)["id"]
    assert api.finished("query", job)["retries"] == 0


# Campaigns and their members


def member_of(api: Api, **values: Any) -> tuple[str, str, str]:
    """The ids of a campaign, a contact and the member that is both."""
    campaign, contact = api.create("Campaign", Name="x"), api.create("Contact", LastName="x")
    member = api.create("CampaignMember", CampaignId=campaign, ContactId=contact, **values)
    return campaign, contact, member


def test_a_status_that_the_campaign_lacks(org: RunningOrg, api: Api) -> None:
    campaign, _, member = member_of(api, Status="Nonsense")
    assert api.get(f"sobjects/CampaignMember/{member}")["Status"] == "Sent"
    chosen(org, campaign_member_unknown_status="refused")
    values = {"CampaignId": campaign, "ContactId": api.create("Contact", LastName="x")}
    refused = [
        {
            "errorCode": "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "message": "Status: bad value for restricted picklist field: Nonsense",
            "fields": ["Status"],
        }
    ]
    body = {**values, "Status": "Nonsense"}
    assert api.send("POST", "sobjects/CampaignMember", body, 400) == refused
    path = f"sobjects/CampaignMember/{member}"
    assert api.send("PATCH", path, {"Status": "Nonsense"}, 400) == refused
    api.update("CampaignMember", member, Status="responded")
    assert api.get(path)["Status"] == "Responded"
    other = api.create("CampaignMember", **values)
    assert api.get(f"sobjects/CampaignMember/{other}")["Status"] == "Sent"


@pytest.mark.parametrize(
    ("choice", "labels"),
    [
        ("sent_responded", ["Sent", "Responded"]),
        ("planned_sent_received_responded", ["Planned", "Sent", "Received", "Responded"]),
        ("none", []),
    ],
)
def test_statuses_of_a_new_campaign(
    org: RunningOrg, api: Api, choice: str, labels: list[str]
) -> None:
    chosen(org, new_campaign_statuses=choice)
    campaign, _, member = member_of(api)
    found = api.records(
        "SELECT Label, IsDefault, HasResponded FROM CampaignMemberStatus"
        f" WHERE CampaignId = '{campaign}' ORDER BY SortOrder"
    )
    assert [status["Label"] for status in found] == labels
    default = [status["Label"] for status in found if status["IsDefault"]]
    assert default == [label for label in labels if label == "Sent"]
    assert [s["Label"] for s in found if s["HasResponded"]] == labels[-1:]
    assert api.get(f"sobjects/CampaignMember/{member}")["Status"] == "Sent"


def test_members_of_a_deleted_person(org: RunningOrg, api: Api) -> None:
    _, contact, member = member_of(api)
    api.delete("Contact", contact)
    assert api.get(f"sobjects/CampaignMember/{member}", status=404)
    chosen(org, members_of_deleted_person="kept")
    campaign, contact, member = member_of(api)
    api.delete("Contact", contact)
    shown = api.get(f"sobjects/CampaignMember/{member}")
    assert (shown["CampaignId"], shown["ContactId"]) == (campaign, None)
    assert Soap(api).by_id("undelete", contact)[0]["success"] == "true"
    assert api.get(f"sobjects/CampaignMember/{member}")["ContactId"] == contact
    api.delete("Campaign", campaign)
    assert api.get(f"sobjects/CampaignMember/{member}", status=404)


def test_list_views_of_campaign_members(org: RunningOrg, api: Api) -> None:
    path = "sobjects/CampaignMember/listviews"
    assert api.get(path, status=404)[0]["errorCode"] == "NOT_FOUND"
    assert "listviews" not in api.get("sobjects/CampaignMember/describe")["urls"]
    chosen(org, campaign_member_list_views="offered")
    shown = api.get(path)
    assert (shown["listviews"], shown["size"], shown["done"]) == ([], 0, True)
    address = f"/services/data/v62.0/{path}"
    assert api.get("sobjects/CampaignMember/describe")["urls"]["listviews"] == address
    assert api.get("sobjects/CampaignMember")["objectDescribe"]["urls"]["listviews"] == address


# Owners and roll-ups


def test_inactive_owners(org: RunningOrg, api: Api) -> None:
    username = new_user(org)
    user = api.records(f"SELECT Id FROM User WHERE Username = '{username}'")[0]["Id"]
    api.update("User", user, IsActive=False)
    body = {"LastName": "x", "OwnerId": user}
    for code in ("OPERATION_WITH_INACTIVE_USER_EXCEPTION", "INACTIVE_OWNER_OR_USER"):
        chosen(org, inactive_owner=code)
        assert api.send("POST", "sobjects/Contact", body, 400)[0]["errorCode"] == code


@pytest.mark.parametrize("choice", ["stays", "moves"])
def test_whether_a_roll_up_moves_the_stamp(org: RunningOrg, api: Api, choice: str) -> None:
    chosen(org, roll_up_stamp=choice)
    accounts = [api.create("Account", Name=unique("Rolled up")) for _ in range(2)]
    contact = api.create("Contact", LastName="x")

    def stamps() -> list[str]:
        found = {
            row["Id"]: row
            for row in api.records("SELECT Id, SystemModstamp, LastModifiedDate FROM Account")
        }
        assert all(
            (found[one]["LastModifiedDate"] == found[one]["SystemModstamp"]) or choice == "moves"
            for one in accounts
        )
        return [found[one]["SystemModstamp"] for one in accounts]

    def moved(change: Any) -> list[bool]:
        org.admin.move_clock(minutes=1)
        before = stamps()
        change()
        return [old != new for old, new in zip(before, stamps(), strict=True)]

    moves = choice == "moves"
    first, second = accounts
    assert moved(lambda: api.update("Contact", contact, AccountId=first)) == [moves, False]
    assert moved(lambda: api.update("Contact", contact, AccountId=second)) == [moves, moves]
    assert moved(lambda: api.update("Contact", contact, Title="CEO")) == [False, False]
    assert moved(lambda: api.delete("Contact", contact)) == [False, moves]
    new = {"LastName": "x", "AccountId": first}
    assert moved(lambda: api.create("Contact", **new)) == [moves, False]


@pytest.mark.parametrize(("choice", "text"), [("null", None), ("empty", "")])
def test_the_formula_of_a_roll_up(org: RunningOrg, api: Api, choice: str, text: str | None) -> None:
    chosen(org, roll_up_formula=choice)
    fields = {f["name"]: f for f in api.get("sobjects/Account/describe")["fields"]}
    roll_up = fields["Number_Of_Contacts__c"]
    assert (roll_up["calculated"], roll_up["calculatedFormula"]) == (True, text)
    assert fields["Name"]["calculatedFormula"] is None
