"""The kinds of fault that can be asked for, and what each can be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Place = Literal["request", "results", "page", "page_body", "count", "save", "job", "rows"]
HTTP_PLACES: tuple[Place, ...] = ("request", "results", "page", "page_body", "count")


class FaultError(ValueError):
    """A fault that cannot be; the message names the key and the cure."""


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a kind of fault.

    Attributes:
        type: What its value must be; `float` takes whole numbers too.
        values: The only values allowed, if there are any.
        least: The least number allowed.
    """

    type: type[Any]
    doc: str
    default: Any = None
    required: bool = False
    values: Sequence[Any] = ()
    least: float | None = None

    def checked(self, name: str, value: Any) -> Any:
        """A given value, if it is allowed.

        Raises:
            FaultError: It is not.
        """
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type) or (self.type is int and isinstance(value, bool)):
            raise FaultError(f"{name}: give {_TYPE_NAMES[self.type]}. {self.doc}")
        if self.values and value not in self.values:
            allowed = ", ".join(map(str, self.values))
            raise FaultError(f"{name}: {value} is none of {allowed}")
        if self.least is not None and value < self.least:
            raise FaultError(f"{name}: give a number of at least {self.least:g}")
        if self.type is list and not all(isinstance(item, str) for item in value):
            raise FaultError(f"{name}: give a list of texts. {self.doc}")
        return value


_TYPE_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    list: "a list of texts",
    bool: "true or false",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        place: Where it strikes: at a request, at the results of a Bulk job, at a page of a query
            job's results, at the body of such a page, at the number of records it announces, at
            the writing of a record, at a Bulk job, or at the visibility of written records.
        effect: Of the faults with one effect, only the first strikes on an occasion.
        times: How often it strikes unless that is said; None for as often as it matches.
        fixed: Options that this kind does not leave open.
    """

    place: Place
    effect: str
    doc: str
    options: Mapping[str, Option] = field(default_factory=dict)
    times: int | None = 1
    fixed: Mapping[str, Any] = field(default_factory=dict)


_WHEN = Option(
    str,
    "`before`: the request is not worked off; `after`: it is, and only its answer is lost.",
    default="before",
    values=("before", "after"),
)
_MESSAGE = Option(str, "The text of the error.", required=True)
_JOB = Option(str, "Only jobs of this kind.", values=("query", "ingest"))
_AFTER_RECORDS = Option(
    int, "How many records of an ingest job are worked off before that.", default=0, least=0
)
OPERATIONS = ("create", "update", "delete")
_SERVER_BUSY = "Server is too busy"
_UNKNOWN = (
    "An unexpected error occurred. Please include this ErrorId if you contact support: "
    "1234567890-12345 (-1234567890)"
)
_JOB_FAILURE = "InternalServerError : Unable to complete the job. Try again later."

KINDS: Mapping[str, Kind] = {
    "error": Kind(
        "request",
        "answer",
        "Any error answer, in the shape the address has its errors in (SOAP: a fault, which is"
        " always 500). With a path or sobject it also strikes at subrequests of composite and"
        " composite/batch, as the other errors do.",
        {
            "status": Option(int, "The HTTP status.", required=True, values=range(400, 600)),
            "error_code": Option(str, "The errorCode, such as QUERY_TIMEOUT.", required=True),
            "message": _MESSAGE,
            "when": _WHEN,
        },
    ),
    "daily_limit": Kind(
        "request",
        "answer",
        "No API calls are left in 24 hours; see also PATCH /local-org/limits.",
        times=None,
        fixed={
            "status": 403,
            "error_code": "REQUEST_LIMIT_EXCEEDED",
            "message": "TotalRequests Limit exceeded.",
        },
    ),
    "concurrency_limit": Kind(
        "request",
        "answer",
        "Too many long requests at once.",
        {
            "limit": Option(
                str,
                "Which limit is exceeded.",
                default="ConcurrentPerOrgLongTxn",
                values=("ConcurrentPerOrgLongTxn", "ConcurrentRequests"),
            )
        },
        fixed={
            "status": 403,
            "error_code": "REQUEST_LIMIT_EXCEEDED",
            "message": "{limit} Limit exceeded",
        },
    ),
    "server_unavailable": Kind(
        "request",
        "answer",
        "503 SERVER_UNAVAILABLE.",
        {"when": _WHEN},
        fixed={"status": 503, "error_code": "SERVER_UNAVAILABLE", "message": _SERVER_BUSY},
    ),
    "unknown_exception": Kind(
        "request",
        "answer",
        "500 UNKNOWN_EXCEPTION with an ErrorId.",
        {"when": _WHEN},
        fixed={"status": 500, "error_code": "UNKNOWN_EXCEPTION", "message": _UNKNOWN},
    ),
    "too_many_apex_requests": Kind(
        "request",
        "answer",
        "TOO_MANY_APEX_REQUESTS; its status is a switch of /local-org/unconfirmed.",
        fixed={
            "error_code": "TOO_MANY_APEX_REQUESTS",
            # [?] The code is documented, its text is not.
            "message": "Too many Apex requests have been sent. Resend your request later.",
        },
    ),
    "transaction_security": Kind(
        "request",
        "answer",
        "A transaction security policy is against it; its status is a switch of"
        " /local-org/unconfirmed.",
        {
            "error_code": Option(
                str,
                "Which code.",
                default="TXN_SECURITY_NO_ACCESS",
                values=(
                    "TXN_SECURITY_APEX_ERROR",
                    "TXN_SECURITY_METERING_ERROR",
                    "TXN_SECURITY_NO_ACCESS",
                    "TXN_SECURITY_RUNTIME_ERROR",
                ),
            )
        },
        # [?] The codes are documented, their texts are not.
        fixed={"message": "A transaction security policy does not allow this operation."},
    ),
    "html_page": Kind(
        "request",
        "answer",
        "An HTML page of the edge before the org, instead of JSON.",
        {
            "status": Option(
                int,
                "The HTTP status.",
                default=503,
                values=(420, 428, 429, 431, 500, 502, 503, 504),
            ),
            "when": _WHEN,
        },
    ),
    "api_disabled": Kind(
        "request",
        "answer",
        "An edition without API access, or (with `user`) a user without the API permission.",
        {
            "error_code": Option(
                str,
                "Which of the two codes.",
                default="API_DISABLED_FOR_ORG",
                values=("API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"),
            )
        },
        times=None,
        fixed={"status": 403, "message": "The REST API is not enabled for this Organization."},
    ),
    "session_expired": Kind(
        "request",
        "session",
        "The session of a matching request has ended: 401 INVALID_SESSION_ID.",
        {"sessions": Option(str, "Whose session ends.", default="own", values=("own", "all"))},
    ),
    "cut": Kind(
        "request",
        "connection",
        "The connection closes before any byte of the answer, or in the middle of its body.",
        {
            "after_bytes": Option(int, "Bytes of the body that are still sent.", least=0),
            "fraction": Option(float, "The part of the body that is still sent.", least=0),
            "when": Option(_WHEN.type, _WHEN.doc, default="after", values=_WHEN.values),
        },
    ),
    "slow": Kind(
        "request",
        "pace",
        "An answer that takes its time.",
        {
            "delay_seconds": Option(float, "Real seconds before the answer.", default=0.0, least=0),
            "bytes_per_second": Option(float, "How fast its body is sent.", least=1),
        },
    ),
    "results_gone": Kind(
        "results",
        "answer",
        "The results of a Bulk job are not there any more: 404 NOT_FOUND.",
        {"job": _JOB},
        times=None,
        fixed={
            "status": 404,
            "error_code": "NOT_FOUND",
            "message": "The requested resource does not exist",
        },
    ),
    "result_page_fails": Kind(
        "page",
        "answer",
        "A page of a query job's results is not given.",
        {
            "from_record": Option(
                int, "Only pages that begin at this record or behind it.", default=0, least=0
            ),
            "status": Option(int, "The HTTP status.", default=500, values=range(400, 600)),
            "error_code": Option(str, "The errorCode.", default="UNKNOWN_EXCEPTION"),
            "message": Option(str, "The text of the error.", default=_UNKNOWN),
        },
    ),
    "row_count_mismatch": Kind(
        "count",
        "count",
        "More records are announced than a query job's CSV holds.",
        {
            "extra": Option(int, "How many more.", default=1, least=1),
            "in": Option(
                str,
                "Where: Sforce-NumberOfRecords of a page, numberRecordsProcessed of the job.",
                default="both",
                values=("both", "header", "job"),
            ),
        },
        times=None,
    ),
    "truncated_results": Kind(
        "page_body",
        "body",
        "A page of a query job's results that looks complete, and is not.",
        {
            "missing_rows": Option(int, "How many of its last records are missing.", least=1),
            "after_bytes": Option(int, "The byte behind which it ends instead.", least=0),
        },
    ),
    "save_error": Kind(
        "save",
        "save",
        "The writing of a record fails, as by UNABLE_TO_LOCK_ROW; `{id}` stands for its id.",
        {
            "error_code": Option(str, "The code, such as UNABLE_TO_LOCK_ROW.", required=True),
            "message": _MESSAGE,
            "fields": Option(list, "The fields that are named.", default=[]),
            "ids": Option(list, "Only the records with these ids."),
            "operations": Option(
                list,
                "Only these of create, update, delete.",
                default=["create", "update", "delete"],
            ),
        },
    ),
    "maintenance": Kind(
        "save",
        "save",
        "Salesforce is being maintained: nothing is written, reads go on.",
        times=None,
        fixed={
            "error_code": "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE",
            # [?] The code is documented, its text is not.
            "message": "Updates can't be made during maintenance.",
            "operations": OPERATIONS,
        },
    ),
    "storage_limit": Kind(
        "save",
        "save",
        "No storage is left: nothing is created.",
        times=None,
        fixed={
            "error_code": "STORAGE_LIMIT_EXCEEDED",
            "message": "storage limit exceeded",
            "operations": ["create"],
        },
    ),
    "job_fails": Kind(
        "job",
        "end",
        "A Bulk job ends as Failed.",
        {
            "job": _JOB,
            "after_records": _AFTER_RECORDS,
            "message": Option(str, "Its errorMessage.", default=_JOB_FAILURE),
        },
    ),
    "job_aborts": Kind(
        "job",
        "end",
        "A Bulk job is aborted by somebody.",
        {"job": _JOB, "after_records": _AFTER_RECORDS},
    ),
    "job_waits": Kind(
        "job",
        "wait",
        "A Bulk job stays in a state for a while, or until the fault is deleted.",
        {
            "job": _JOB,
            "state": Option(
                str,
                "Where it stays.",
                default="InProgress",
                values=("UploadComplete", "InProgress"),
            ),
            "seconds": Option(
                float, "How long on the org's clock; without it, until released.", least=0
            ),
        },
    ),
    "late_rows": Kind(
        "rows",
        "rows",
        "Written records are stamped now and seen by readers only later.",
        {"seconds": Option(float, "How much later on the org's clock.", required=True, least=0)},
        times=None,
    ),
}
MATCHERS = {
    "method": Option(str, "An HTTP method, such as GET."),
    "path": Option(
        str,
        "The path below /services/data/vXX.X, or from the host on if it begins with `/`; `*` stands"
        " for a part, `**` for any number of them.",
    ),
    "path_regex": Option(str, "A regular expression that is found in the whole path."),
    "sobject": Option(str, "The sObject it is about."),
    "user": Option(str, "The id or Username of who asks."),
}
COUNTERS = {
    "skip": Option(int, "How many matching occasions go well first.", default=0, least=0),
    "probability": Option(float, "How likely it strikes, from 0 to 1.", default=1.0, least=0),
    "seed": Option(int, "Makes the draws of `probability` repeatable.", default=1),
}
HTTP_ONLY = ("method", "path", "path_regex")


def describe_kinds() -> dict[str, Any]:
    """Every kind of fault with what it can be told, for people to read."""
    return {
        "kinds": {
            name: {
                "is": kind.doc,
                "options": {key: _described(option) for key, option in kind.options.items()},
                "times": "unlimited" if kind.times is None else kind.times,
            }
            for name, kind in KINDS.items()
        },
        "matchers": {key: option.doc for key, option in MATCHERS.items()},
        "counters": {
            "times": 'How often it strikes: a number, or "unlimited".',
            **{key: option.doc for key, option in COUNTERS.items()},
        },
    }


def _described(option: Option) -> str:
    text = option.doc
    if option.values and not isinstance(option.values, range):
        text += f" One of {', '.join(map(str, option.values))}."
    if option.required:
        return f"{text} Required."
    return text if option.default in (None, []) else f"{text} Default: {option.default}."
