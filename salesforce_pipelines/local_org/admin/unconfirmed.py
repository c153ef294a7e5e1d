"""What no public source settles about Salesforce, as switches: a client should bear every choice.

To add one, add a line to `SWITCHES` and let the code that it concerns ask `choice`. The first of
its choices is what a new org does. Keep out what is only the wording of a message.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.storage.state import State

_SETTING = "unconfirmed"
_STATUS_OF = "status_of_"
_TXN_SECURITY = "TXN_SECURITY_"


class UnconfirmedError(PipelineError):
    """A choice that cannot be made; the message names the switch and its choices."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One matter that sources leave open.

    Attributes:
        about: The question.
        choices: The answers that Salesforce may give and what each means, the default first.
        source: What public sources say.
    """

    about: str
    choices: Mapping[str, str]
    source: str

    @property
    def default(self) -> str:
        """What holds until something else is chosen."""
        return next(iter(self.choices))


def _status(code: str, source: str, *statuses: int) -> Switch:
    meanings = {str(status): f"{code} is answered with {status}" for status in statuses}
    return Switch(f"The HTTP status of {code} in REST, outside of collections.", meanings, source)


SWITCHES: Mapping[str, Switch] = {
    "session_use": Switch(
        "Whether a session that is used lives longer.",
        {
            "extends": "it ends session_seconds after its last use",
            "does_not_extend": "it ends session_seconds after its login",
        },
        "An administrator sets the lifetime; that use extends it is not confirmed.",
    ),
    "revoke_by_get": Switch(
        "GET /services/oauth2/revoke?token=.",
        {"accepted": "revokes as POST does", "refused": "405 METHOD_NOT_ALLOWED"},
        "Salesforce Help shows POST; GET is known from practice alone.",
    ),
    "public_client_without_pkce": Switch(
        "A login without a code challenge, if the app needs no secret (require_secret: false).",
        {"accepted": "as for any app", "refused": "invalid_request goes back to the client"},
        "Salesforce Help recommends PKCE for public clients; require_pkce is an app's policy.",
    ),
    "pkce_plain": Switch(
        "code_challenge_method=plain, or another one than S256.",
        {
            "refused": "invalid_request goes back to the client",
            "ignored": "the challenge is taken as one of S256",
        },
        "S256 is the only method documented; jsforce sends no method at all.",
    ),
    "retired_version": Switch(
        "REST addresses of the API versions 7.0 to 30.0.",
        {"410": "410 GONE", "404": "404 NOT_FOUND, as for versions that never were"},
        "The end-of-life policy says 410; recordings of addresses that are not there show 404.",
    ),
    "status_of_insufficient_access_or_readonly": _status(
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "403 in most sources, 400 in two hand-written ones.",
        *(403, 400),
    ),
    "status_of_entity_is_deleted": _status(
        "ENTITY_IS_DELETED", "404 in the tests of three clients, in no recording.", 404, 400
    ),
    "status_of_storage_limit_exceeded": _status(
        "STORAGE_LIMIT_EXCEEDED", "Both are reported.", 400, 403
    ),
    "status_of_insert_update_delete_not_allowed_during_maintenance": _status(
        "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", "Both are reported.", 400, 503
    ),
    "status_of_too_many_apex_requests": _status(
        "TOO_MANY_APEX_REQUESTS", "The code is documented, its status is not.", 403, 503
    ),
    "status_of_txn_security": _status(
        "TXN_SECURITY_...", "The codes are documented, their status is not.", 403, 400
    ),
    "status_of_exceeded_max_size_request": _status(
        "EXCEEDED_MAX_SIZE_REQUEST", "The code is that of SOAP; REST is not recorded.", 413, 400
    ),
    "bulk_query_mistake": Switch(
        "A Bulk query that is well-formed and yet cannot be: an unknown field or sObject, or what"
        " the Bulk API does not answer.",
        {
            "refused": "no job is created; 400 with the error",
            "job_fails": "the job is created and ends as Failed with the error",
        },
        "The texts are known from clients; where they meet them is not.",
    ),
    "bulk_query_over_limit": Switch(
        "A Bulk query job beyond the limits of 24 hours.",
        {
            "400": "no job is created; 400 LIMIT_EXCEEDED",
            "403": "no job is created; 403 LIMIT_EXCEEDED",
            "job_fails": "the job is created and ends as Failed with the error",
        },
        "Airbyte and Estuary look for the text; neither shows the status.",
    ),
    "bulk_ingest_left_open": Switch(
        "An ingest job that was not closed within 24 hours.",
        {
            "failed": "it is Failed, with an errorMessage",
            "aborted": "it is Aborted",
            "open": "it stays Open until jobs are forgotten, after 7 days",
        },
        "The limit is documented, what becomes of the job is not.",
    ),
    "bulk_retries_of_failed_job": Switch(
        "How often a job that the fault job_fails ends says it was tried (retries).",
        {"none": "0", "all": "as often as is documented: 15 (query), 20 (ingest)"},
        "The numbers of retries are documented, what the job shows of them is not.",
    ),
    "campaign_member_unknown_status": Switch(
        "A CampaignMember whose Status its campaign does not have.",
        {
            "becomes_default": "the campaign's default status is written",
            "refused": "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        },
        "The Object Reference says the default; no recording shows it.",
    ),
    "new_campaign_statuses": Switch(
        "The statuses that a campaign has from its creation on.",
        {
            "sent_responded": "Sent (default), Responded",
            "planned_sent_received_responded": "Planned, Sent (default), Received, Responded",
            "none": "none; members get Sent as long as there is none",
        },
        "Secondary sources name the first; no recording shows it.",
    ),
    "members_of_deleted_person": Switch(
        "The CampaignMembers of a Contact or Lead that is deleted.",
        {
            "removed": "they are removed for good",
            "kept": "they stay, without the id of the person until that one is undeleted",
        },
        "No primary source.",
    ),
    "campaign_member_list_views": Switch(
        "GET sobjects/CampaignMember/listviews.",
        {"none": "404 NOT_FOUND", "offered": "an empty list, and an address in describe"},
        "Support varies by sObject; no describe of CampaignMember is public.",
    ),
    "inactive_owner": Switch(
        "The code when a record is given to an inactive user.",
        {
            "OPERATION_WITH_INACTIVE_USER_EXCEPTION": "that code",
            "INACTIVE_OWNER_OR_USER": "that code",
        },
        "Both codes are there; when which one comes is not confirmed.",
    ),
    "roll_up_stamp": Switch(
        "Whether a roll-up summary that changes moves the SystemModstamp of its record"
        " (Account.Number_Of_Contacts__c).",
        {"stays": "the record looks unchanged", "moves": "SystemModstamp alone moves"},
        "Practice says that it normally moves; whether always is open. A client that relies on"
        " it misses values where it stays.",
    ),
    "roll_up_formula": Switch(
        "What describe shows as calculatedFormula of a roll-up summary.",
        {"null": "null", "empty": "an empty text"},
        "Clients tell roll-ups by null; no describe of one is public.",
    ),
}
"""Every switch by its name."""

ELSEWHERE: Mapping[str, str] = {
    "lifetime of authorization codes": "PATCH /local-org/app: code_seconds",
    "lifetime of sessions": "PATCH /local-org/app: session_seconds",
    "PKCE required of every client": "PATCH /local-org/app: require_pkce",
    "how late a record can be seen": "POST /local-org/faults: late_rows",
    "which fields of User are required": "PATCH /local-org/fields/User/{field}: required",
}
"""What is open too, and is set at another address."""

GUESSES = (
    "The wording of messages that no source quotes is a guess; rely on codes. So are the"
    " probabilities of a new org's stages (every org sets its own), the lengths of fields of"
    " ListView and User, describes of time and geolocation fields, and the versions in which v60"
    " to v67 added keys to describes."
)
"""What is open and has no switch."""


def choice(state: State, name: str) -> str:
    """What is chosen for a switch."""
    return _chosen(state.setting(_SETTING)).get(name, SWITCHES[name].default)


def choices(state: State) -> dict[str, str]:
    """What is chosen for every switch."""
    return {name: choice(state, name) for name in SWITCHES}


def choose(state: State, chosen: Mapping[str, Any]) -> None:
    """Choose for some switches, from now on and beyond a restart.

    Raises:
        UnconfirmedError: There is no such switch or choice; nothing is changed.
    """
    given = {name: str(value) for name, value in chosen.items()}  # a status may be a number
    for name, value in given.items():
        if name not in SWITCHES:
            raise UnconfirmedError(f"{name}: there is no such switch; GET shows those there are")
        if value not in SWITCHES[name].choices:
            raise UnconfirmedError(f"{name}: give one of {', '.join(SWITCHES[name].choices)}")
    known = _chosen(state.setting(_SETTING)) | given
    state.set_setting(_SETTING, orjson.dumps(known).decode())


def reset(state: State) -> None:
    """Let every switch be as in a new org."""
    state.set_setting(_SETTING, "{}")


def status_of(state: State, refusal: ApiError) -> int:
    """The HTTP status of a refusal; one that names fields is about another record."""
    if refusal.fields:
        return refusal.status
    return status_of_code(state, refusal.code, refusal.status)


def status_of_code(state: State, code: str, otherwise: int = 400) -> int:
    """The HTTP status that comes with an error code."""
    is_txn_security = code.startswith(_TXN_SECURITY)
    name = _STATUS_OF + ("txn_security" if is_txn_security else code.lower())
    return int(choice(state, name)) if name in SWITCHES else otherwise


@lru_cache(maxsize=32)
def _chosen(kept: str | None) -> dict[str, str]:
    """What was chosen, without what this version does not know."""
    values = orjson.loads(kept) if kept else {}
    return {
        name: value
        for name, value in values.items()
        if name in SWITCHES and value in SWITCHES[name].choices
    }
