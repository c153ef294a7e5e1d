"""The operations of the SOAP API: each makes the results of its answer, as XML.

See "Core Calls" and "Utility Calls" in the SOAP API Developer Guide.
"""

import hmac
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from salesforce_pipelines.local_org.errors import ApiError, RowError
from salesforce_pipelines.local_org.http.calls import Call
from salesforce_pipelines.local_org.http.whole_numbers import whole_number
from salesforce_pipelines.local_org.metadata.schema import Field, SObject
from salesforce_pipelines.local_org.oauth2.connected_app import app_settings
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.rest import query
from salesforce_pipelines.local_org.rest import rows as rest
from salesforce_pipelines.local_org.saves import lead_conversion, merging
from salesforce_pipelines.local_org.saves.dml import Outcome, Writer
from salesforce_pipelines.local_org.saves.field_values import from_csv
from salesforce_pipelines.local_org.saves.lead_conversion import Converted, LeadConvert
from salesforce_pipelines.local_org.saves.merging import Merged
from salesforce_pipelines.local_org.saves.record_steps import (
    ROLLED_BACK,
    Step,
    creating,
    outcome_rolled_back,
    refusing,
    run_steps,
    updating,
    upserting,
)
from salesforce_pipelines.local_org.saves.saving import WriteOptions
from salesforce_pipelines.local_org.soap_api.soap_xml import Dialect, Element, Message, is_name, tag
from salesforce_pipelines.local_org.storage.ids import is_id, to_18
from salesforce_pipelines.local_org.storage.store import Value

MOST_RECORDS, MOST_CONVERSIONS, MOST_READ = 200, 100, 2_000
_FIRST_WITHOUT_LOGIN = 65.0
_REST_DATETIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000)\+0000")
_LEAD_CONVERT = frozenset(
    """leadId convertedStatus accountId contactId opportunityId opportunityName ownerId
    doNotCreateOpportunity overwriteLeadSource sendNotificationEmail bypassAccountDedupeCheck
    bypassContactDedupeCheck""".split()  # noqa: SIM905  # the names as the WSDL lists them
)

Result = TypeVar("Result", Outcome, Converted, Merged)


class UnexpectedElementError(Exception):
    """A message with an element that the WSDL does not know."""


@dataclass(frozen=True)
class SoapCall:
    """One SOAP call of somebody who is logged in."""

    call: Call
    dialect: Dialect
    message: Message

    @property
    def org(self) -> Org:
        """The org that is called."""
        return self.call.org

    @property
    def body(self) -> Element:
        """The element of the operation."""
        return self.message.operation

    def header(self, name: str, *path: str) -> str:
        """A value of one of the message's headers; empty if it is not there."""
        element = self.message.headers.get(name)
        return element.value(*path) if element else ""

    def header_flag(self, name: str, *path: str) -> bool:
        """Whether a value of one of the message's headers says true."""
        return self.header(name, *path).lower() in ("true", "1")


Operation = Callable[[SoapCall], list[str]]


# Leads


def convert_lead(soap: SoapCall) -> list[str]:
    """`convertLead`: at most 100 leads, each by itself."""
    wanted = [_lead_convert(element) for element in soap.body.all("leadConverts")]
    if len(wanted) > MOST_CONVERSIONS:
        message = f"maximum number of leads to convert at one time is {MOST_CONVERSIONS}"
        raise ApiError(500, "EXCEEDED_LEAD_CONVERT_LIMIT", message)
    mapping = lead_conversion.lead_field_mapping(soap.org)

    def step(one: LeadConvert) -> Callable[[Writer], Converted]:
        return lambda writer: lead_conversion.convert_lead(soap.org, writer, mapping, one)

    converted = _run(soap, [step(one) for one in wanted], _unconverted)
    return [_lead_convert_result(one) for one in converted]


def _lead_convert(element: Element) -> LeadConvert:
    for child in element.children:
        if child.name not in _LEAD_CONVERT:
            message = f"Element {{{child.namespace}}}{child.name} invalid at this location"
            raise UnexpectedElementError(message)
    return LeadConvert(
        lead_id=element.value("leadId"),
        converted_status=element.value("convertedStatus"),
        account_id=element.value("accountId"),
        contact_id=element.value("contactId"),
        opportunity_id=element.value("opportunityId"),
        opportunity_name=element.value("opportunityName"),
        owner_id=element.value("ownerId"),
        do_not_create_opportunity=element.flag("doNotCreateOpportunity"),
        overwrite_lead_source=element.flag("overwriteLeadSource"),
    )


def _unconverted(converted: Converted) -> Converted:
    return Converted(converted.lead_id, errors=(ROLLED_BACK,))


def _lead_convert_result(converted: Converted) -> str:
    return (
        tag("accountId", converted.account_id)
        + tag("contactId", converted.contact_id)
        + _errors(converted.errors)
        + tag("leadId", converted.lead_id)
        + tag("opportunityId", converted.opportunity_id)
        + tag("success", not converted.errors)
    )


# Merging and the recycle bin


def merge(soap: SoapCall) -> list[str]:
    """`merge`: each request is a master with one or two records that give way to it."""
    requests = list(soap.body.all("request"))
    _check_count(len(requests))
    steps = [_merging(soap, request) for request in requests]
    merged = _run(soap, steps, lambda one: Merged(one.id, errors=(ROLLED_BACK,)))
    return [
        _errors(one.errors)
        + tag("id", one.id or None)
        + "".join(tag("mergedRecordIds", victim) for victim in one.victims)
        + tag("success", not one.errors)
        + "".join(tag("updatedRelatedIds", record_id) for record_id in one.related)
        for one in merged
    ]


def _merging(soap: SoapCall, request: Element) -> Callable[[Writer], Merged]:
    element = request.child("masterRecord")
    if element is None:
        raise ApiError(500, "MISSING_ARGUMENT", "masterRecord not specified")
    sobject, master_id, values = _record(soap, element)
    victims = [child.text.strip() for child in request.all("recordToMergeIds")]
    return lambda writer: merging.merge(soap.org, writer, sobject, master_id, values, victims)


def delete(soap: SoapCall) -> list[str]:
    """`delete`: at most 200 records, into the recycle bin."""
    return _by_id(soap, "ids", lambda writer, sobject, at: writer.delete(sobject, at))


def undelete(soap: SoapCall) -> list[str]:
    """`undelete`: at most 200 records, with what was deleted with them."""
    return _by_id(soap, "ids", lambda writer, sobject, at: writer.undelete(sobject, at))


def empty_recycle_bin(soap: SoapCall) -> list[str]:
    """`emptyRecycleBin`: at most 200 records of the bin, for good."""
    return _by_id(soap, "ids", lambda writer, _, at: writer.empty_recycle_bin(at))


def _by_id(
    soap: SoapCall, name: str, apply: Callable[[Writer, SObject, str], Outcome]
) -> list[str]:
    given = [element.text.strip() for element in soap.body.all(name)]
    _check_count(len(given))
    steps = []
    for record_id in given:
        sobject = soap.call.schema.with_prefix(record_id[:3])
        if sobject is None or not is_id(record_id):
            steps.append(refusing("MALFORMED_ID", f"malformed id {record_id}"))
        else:
            steps.append(_applying(apply, sobject, record_id))
    outcomes = _run(soap, steps, outcome_rolled_back)
    return [
        _errors(outcome.errors) + tag("id", outcome.id or at) + tag("success", outcome.success)
        for at, outcome in zip(given, outcomes, strict=True)
    ]


def _applying(
    apply: Callable[[Writer, SObject, str], Outcome], sobject: SObject, record_id: str
) -> Callable[[Writer], Outcome]:
    return lambda writer: apply(writer, sobject, record_id)


# Writing


def create(soap: SoapCall) -> list[str]:
    """`create`: at most 200 records."""
    return _save(soap, _creating)


def update(soap: SoapCall) -> list[str]:
    """`update`: at most 200 records."""
    return _save(soap, updating)


def upsert(soap: SoapCall) -> list[str]:
    """`upsert`: at most 200 records, found by the field that is named."""
    key = soap.body.value("externalIDFieldName")

    def making(sobject: SObject, given: str, values: dict[str, object]) -> Step:
        return _upserting(sobject, key, given, values)

    return _save(soap, making, with_created=True)


Making = Callable[[SObject, str, dict[str, object]], Step]


def _save(soap: SoapCall, making: Making, with_created: bool = False) -> list[str]:
    elements = list(soap.body.all("sObjects"))
    _check_count(len(elements))
    outcomes = _run(
        soap, [making(*_record(soap, element)) for element in elements], outcome_rolled_back
    )
    return [
        (tag("created", outcome.created) if with_created else "")
        + _errors(outcome.errors)
        + tag("id", outcome.id)
        + tag("success", outcome.success)
        for outcome in outcomes
    ]


def _creating(sobject: SObject, given: str, values: dict[str, object]) -> Step:
    if given:
        code = "INVALID_FIELD_FOR_INSERT_UPDATE"
        return refusing(code, "cannot specify Id in an insert call", "Id")
    return creating(sobject, values)


def _upserting(sobject: SObject, key: str, given: str, values: dict[str, object]) -> Step:
    item = sobject.field(key)
    if item is None or not (item.external_id or item.id_lookup):
        message = f"Field name provided, {key} is not an External ID or indexed field"
        raise ApiError(500, "INVALID_FIELD", f"{message} for {sobject.name}")
    name = next((name for name in values if name.lower() == key.lower()), key)
    value = given if item.type == "id" else str(values.pop(name, None) or "")
    if item.type != "id" and not value:
        return refusing("MISSING_ARGUMENT", f"{item.name} not specified")

    return upserting(sobject, item, value, values)


def _run(
    soap: SoapCall,
    steps: list[Callable[[Writer], Result]],
    rolled_back: Callable[[Result], Result],
) -> list[Result]:
    """Take each step in one transaction; all or none of them if the call's header says so."""
    convert = _truncated if _truncates(soap) else _text

    def writer(connection: sqlite3.Connection) -> Writer:
        return Writer(soap.org, connection, soap.call.user_id, convert, _options(soap))

    all_or_none = soap.header_flag("AllOrNoneHeader", "allOrNone")
    return run_steps(soap.org.store, writer, steps, rolled_back, all_or_none=all_or_none)


def _options(soap: SoapCall) -> WriteOptions:
    return WriteOptions(
        allow_save=soap.header_flag("DuplicateRuleHeader", "allowSave"),
        include_duplicates=soap.header_flag("DuplicateRuleHeader", "includeRecordDetails"),
        # Unlike REST, SOAP asks no assignment rule unless it is told to.
        auto_assign=soap.header_flag("AssignmentRuleHeader", "useDefaultRule")
        or bool(soap.header("AssignmentRuleHeader", "assignmentRuleId")),
    )


def _truncates(soap: SoapCall) -> bool:
    return soap.header_flag("AllowFieldTruncationHeader", "allowFieldTruncation")


def _text(item: Field, value: object) -> Value:
    return from_csv(item, str(value))


def _truncated(item: Field, value: object) -> Value:
    text = str(value)
    return from_csv(item, text[: item.length] if item.is_text and item.type != "email" else text)


def _record(soap: SoapCall, element: Element) -> tuple[SObject, str, dict[str, object]]:
    """The sObject, the Id and the values of a record in a message."""
    sobject = _sobject(soap, element.value("type") or element.type)
    record_id = ""
    values: dict[str, object] = {}
    for child in element.children:
        if child.name == "type":
            continue
        if child.name == "fieldsToNull":
            values[child.text.strip()] = None
        elif child.name.lower() == "id":
            record_id = child.text.strip() or record_id
        elif child.children:
            values[child.name] = {
                key.name: key.text for key in child.children if key.name not in ("type", "Id")
            }
        else:
            values[child.name] = None if child.is_nil or not child.text else child.text
    return sobject, record_id, values


def _sobject(soap: SoapCall, name: str) -> SObject:
    sobject = soap.call.schema.get(name)
    if sobject is None:
        raise ApiError(500, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    return sobject


def _check_count(count: int) -> None:
    if count > MOST_RECORDS:
        message = (
            f"record limit reached. cannot submit more than {MOST_RECORDS} records into this call"
        )
        raise ApiError(500, "EXCEEDED_ID_LIMIT", message)


def _errors(errors: tuple[RowError, ...]) -> str:
    return "".join(
        "<errors>"
        + ("".join(tag("fields", name) for name in error.fields) or tag("fields", None))
        + tag("message", error.message)
        + tag("statusCode", error.code)
        + "</errors>"
        for error in errors
    )


# Reading


def run_query(soap: SoapCall) -> list[str]:
    """`query`."""
    return _query(soap, include_deleted=False)


def run_query_all(soap: SoapCall) -> list[str]:
    """`queryAll`: with what lies in the recycle bin."""
    return _query(soap, include_deleted=True)


def query_more(soap: SoapCall) -> list[str]:
    """`queryMore`: the next page of a query."""
    locator = soap.body.value("queryLocator")
    page = query.next_page(soap.org, locator, soap.call.user_id, soap.call.version)
    return [_query_result(soap.dialect, page)]


def retrieve(soap: SoapCall) -> list[str]:
    """`retrieve`: at most 2,000 records by their ids; nil where there is none."""
    sobject = _sobject(soap, soap.body.value("sObjectType"))
    given = [element.text.strip() for element in soap.body.all("ids")]
    if len(given) > MOST_READ:
        message = f"Too many ids: {len(given)}, at most {MOST_READ} are allowed"
        raise ApiError(500, "EXCEEDED_ID_LIMIT", message)
    names = [name.strip() for name in soap.body.value("fieldList").split(",") if name.strip()]
    if not names:
        raise ApiError(500, "MALFORMED_QUERY", "fieldList is required")
    full_ids = [to_18(row_id) if is_id(row_id) else "" for row_id in given]
    records = rest.read_records(soap.call, sobject, full_ids, names)
    return [_record_xml(soap.dialect, "result", record) for record in records]


def get_updated(soap: SoapCall) -> list[str]:
    """`getUpdated`."""
    body = rest.updated_rows(_window(soap)).body
    return [
        "".join(tag("ids", row_id) for row_id in body["ids"])
        + tag("latestDateCovered", _shown(body["latestDateCovered"]))
    ]


def get_deleted(soap: SoapCall) -> list[str]:
    """`getDeleted`: in the recycle bin, or gone for good in the last 15 days."""
    body = rest.deleted_rows(_window(soap)).body
    deleted = (
        f"<deletedRecords>{tag('deletedDate', _shown(row['deletedDate']))}"
        f"{tag('id', row['id'])}</deletedRecords>"
        for row in body["deletedRecords"]
    )
    return [
        "".join(deleted)
        + tag("earliestDateAvailable", _shown(body["earliestDateAvailable"]))
        + tag("latestDateCovered", _shown(body["latestDateCovered"]))
    ]


def _window(soap: SoapCall) -> Call:
    """The REST call that asks the same."""
    sobject = _sobject(soap, soap.body.value("sObjectType"))
    span = {"start": soap.body.value("startDate"), "end": soap.body.value("endDate")}
    return replace(soap.call, query=span, captured={"sobject": sobject.name})


def _query(soap: SoapCall, include_deleted: bool) -> list[str]:
    size = whole_number(soap.header("QueryOptions", "batchSize"))
    page = query.first_page(
        soap.org,
        soap.body.value("queryString"),
        soap.call.user_id,
        soap.call.version,
        query.LARGEST_PAGE if size is None else size,
        include_deleted,
    )
    return [_query_result(soap.dialect, page)]


def _query_result(dialect: Dialect, page: Mapping[str, Any]) -> str:
    address = page.get("nextRecordsUrl")
    return (
        tag("done", page["done"])
        + tag("queryLocator", str(address).rpartition("/")[2] if address else None)
        + "".join(_record_xml(dialect, "records", record) for record in page["records"])
        + tag("size", page["totalSize"])
    )


def _record_xml(dialect: Dialect, name: str, record: Mapping[str, Any] | None) -> str:
    """A REST record as SOAP shows it; partner records begin with their type and Id."""
    if record is None:
        return tag(name, None)
    type_ = record["attributes"]["type"]
    shown = "sObject" if dialect.name == "partner" else type_
    head = tag("sf:type", type_) + tag("sf:Id", record.get("Id")) if shown == "sObject" else ""
    values = "".join(
        _value_xml(dialect, key, value) for key, value in record.items() if key != "attributes"
    )
    return f'<{name} xsi:type="sf:{shown}">{head}{values}</{name}>'


def _value_xml(dialect: Dialect, name: str, value: Any) -> str:
    if not is_name(name):
        return ""
    if not isinstance(value, Mapping):
        return tag(f"sf:{name}", _shown(value))
    if "attributes" in value:
        return _record_xml(dialect, f"sf:{name}", value)
    if "records" in value:
        return f'<sf:{name} xsi:type="QueryResult">{_query_result(dialect, value)}</sf:{name}>'
    parts = "".join(tag(part, _shown(shown)) for part, shown in value.items())
    return f'<sf:{name} xsi:type="address">{parts}</sf:{name}>'


def _shown(value: Any) -> Any:
    """A value of REST as SOAP writes it: times end in Z."""
    match = _REST_DATETIME.fullmatch(value) if isinstance(value, str) else None
    return f"{match[1]}Z" if match else value


# The org and its user


def get_server_timestamp(soap: SoapCall) -> list[str]:
    """`getServerTimestamp`."""
    return [tag("timestamp", f"{soap.org.store.now()}.000Z")]


def get_user_info(soap: SoapCall) -> list[str]:
    """`getUserInfo`."""
    return [_user_info(soap.org, soap.call.user_id)]


def logout(soap: SoapCall) -> list[str]:
    """`logout`: the session ends."""
    soap.org.sessions.revoke(soap.header("SessionHeader", "sessionId"))
    return []


def login(call: Call, message: Message) -> list[str]:
    """`login`: a session for a user's name and the consumer secret.

    Raises:
        ApiError: INVALID_OPERATION where it is disabled, or INVALID_LOGIN.
    """
    org = call.org
    if not org.settings.soap_login:
        text = (
            "SOAP API login() is disabled by default in this org. Contact the org administrator to"
            " enable SOAP API login()."
        )
        raise ApiError(500, "INVALID_OPERATION", text)
    row = (
        org.store.reader()
        .execute(
            "SELECT Id FROM User WHERE Username = ? AND IsActive",
            [message.operation.value("username")],
        )
        .fetchone()
    )
    password = message.operation.value("password")
    secret = org.settings.client_secret
    if row is None or not hmac.compare_digest(password.encode(), secret.encode()):
        text = "Invalid username, password, security token; or user locked out."
        raise ApiError(500, "INVALID_LOGIN", text)
    session = org.sessions.open(row[0], org.settings.client_id, "api")
    address = f"{call.host}/services/Soap/{{}}/{call.version}/{org.store.org_id}"
    return [
        tag("metadataServerUrl", address.format("m"))
        + tag("passwordExpired", False)
        + tag("sandbox", False)
        + tag("serverUrl", address.format("u"))
        + tag("sessionId", session.token)
        + tag("userId", row[0])
        + f"<userInfo>{_user_info(org, row[0])}</userInfo>"
    ]


def _user_info(org: Org, user_id: str) -> str:
    reader = org.store.reader()
    user = reader.execute(
        "SELECT ProfileId, UserRoleId, Email, ifnull(FirstName || ' ', '') || LastName,"
        " LanguageLocaleKey, LocaleSidKey, Username, TimeZoneSidKey, UserType FROM User"
        " WHERE Id = ?",
        [user_id],
    ).fetchone()
    name, locale = reader.execute("SELECT Name, DefaultLocaleSidKey FROM Organization").fetchone()
    values = {
        "accessibilityMode": False,
        "chatterExternal": False,
        "currencySymbol": "$",
        "orgAttachmentFileSizeLimit": 5_242_880,
        "orgDefaultCurrencyIsoCode": "USD",
        "orgDefaultCurrencyLocale": locale,
        "orgDisallowHtmlAttachments": False,
        "orgHasPersonAccounts": False,
        "organizationId": org.store.org_id,
        "organizationMultiCurrency": False,
        "organizationName": name,
        "profileId": user[0],
        "roleId": user[1],
        "sessionSecondsValid": app_settings(org.state).session_seconds,
        "userDefaultCurrencyIsoCode": None,
        "userEmail": user[2],
        "userFullName": user[3],
        "userId": user_id,
        "userLanguage": user[4],
        "userLocale": user[5],
        "userName": user[6],
        "userTimeZone": user[7],
        "userType": user[8],
        "userUiSkin": "Theme3",
    }
    return "".join(tag(key, value) for key, value in values.items())


def has_login(version: str) -> bool:
    """Whether an API version has `login` at all."""
    return float(version) < _FIRST_WITHOUT_LOGIN


OPERATIONS: Mapping[str, Operation] = {
    "convertLead": convert_lead,
    "create": create,
    "delete": delete,
    "emptyRecycleBin": empty_recycle_bin,
    "getDeleted": get_deleted,
    "getServerTimestamp": get_server_timestamp,
    "getUpdated": get_updated,
    "getUserInfo": get_user_info,
    "logout": logout,
    "merge": merge,
    "query": run_query,
    "queryAll": run_query_all,
    "queryMore": query_more,
    "retrieve": retrieve,
    "undelete": undelete,
    "update": update,
    "upsert": upsert,
}
"""What the local org answers of the SOAP API, beside `login`."""
