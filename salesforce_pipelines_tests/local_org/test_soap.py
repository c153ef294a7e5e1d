"""The SOAP API over HTTP: envelopes, sessions, faults and its core calls."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.local_org.http.calls import Call
from salesforce_pipelines.local_org.org import Org, Settings
from salesforce_pipelines.local_org.soap_api.soap import answer as soap_answer
from salesforce_pipelines.local_org.soap_api.soap_xml import (
    MalformedMessageError,
    read_message,
    tag,
)
from salesforce_pipelines.local_org.storage.building import build_home
from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.soap_client import (
    Soap,
    fault_of,
    lead_converts,
    values,
)

SF = "{urn:sobject.partner.soap.sforce.com}"


@pytest.fixture(scope="module")
def soap(api: Api) -> Soap:
    return Soap(api)


def lead(api: Api, **more: str) -> str:
    return api.create("Lead", LastName="Lee", Company="Acme", **more)


def test_convert_lead_byte_for_byte(api: Api, soap: Soap) -> None:
    lead_id = lead(api)
    sent = (
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">'
        '<soapenv:Header xmlns="urn:partner.soap.sforce.com"><SessionHeader><sessionId>'
        f"{soap.token}</sessionId></SessionHeader></soapenv:Header>\n"
        '<soapenv:Body xmlns="urn:partner.soap.sforce.com"><convertLead><leadConverts>'
        f"<leadId>{lead_id}</leadId><convertedStatus>Closed - Converted</convertedStatus>"
        "<doNotCreateOpportunity>true</doNotCreateOpportunity></leadConverts></convertLead>"
        "</soapenv:Body></soapenv:Envelope>"
    )
    answer = soap.raw(sent.encode())
    assert answer.status_code == 200
    converted = api.get(f"sobjects/Lead/{lead_id}")
    expected = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns="urn:partner.soap.sforce.com"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        "<soapenv:Header><LimitInfoHeader><limitInfo><current>N</current><limit>100000</limit>"
        "<type>API REQUESTS</type></limitInfo></LimitInfoHeader></soapenv:Header>"
        "<soapenv:Body><convertLeadResponse><result>"
        f"<accountId>{converted['ConvertedAccountId']}</accountId>"
        f"<contactId>{converted['ConvertedContactId']}</contactId><leadId>{lead_id}</leadId>"
        '<opportunityId xsi:nil="true"/><success>true</success></result></convertLeadResponse>'
        "</soapenv:Body></soapenv:Envelope>"
    )
    assert re.sub(r"<current>\d+<", "<current>N<", answer.text) == expected


def test_a_call_is_counted(api: Api, soap: Soap) -> None:
    used = [
        int(re.findall(r"<current>(\d+)", soap.post("<getServerTimestamp/>").text)[0])
        for _ in range(2)
    ]
    assert used[1] == used[0] + 1
    left = api.get("limits")["DailyApiRequests"]
    assert left["Max"] - left["Remaining"] == used[1] + 1


@pytest.mark.parametrize("token", ["", "nonsense", "00D000000000001!x"])
def test_a_session_that_is_none(soap: Soap, token: str) -> None:
    answer = soap.post("<getUserInfo/>", token=token)
    code, text = fault_of(answer)
    assert code == "sf:INVALID_SESSION_ID"
    assert text.startswith(
        "INVALID_SESSION_ID: Invalid Session ID found in SessionHeader: Illegal Session. Session"
        " not found, missing session hash: "
    )
    assert '<sf:UnexpectedErrorFault xsi:type="sf:UnexpectedErrorFault">' in answer.text
    assert 'xmlns:sf="urn:fault.partner.soap.sforce.com"' in answer.text


def test_the_authorization_header_is_no_session(api: Api, soap: Soap) -> None:
    envelope = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<getUserInfo xmlns="urn:partner.soap.sforce.com"/></e:Body></e:Envelope>'
    )
    answer = api.session.post(f"{api.url}/services/Soap/u/62.0", data=envelope, timeout=10)
    assert fault_of(answer)[0] == "sf:INVALID_SESSION_ID"


@pytest.mark.parametrize("version", ["30.0", "41.0", "68.0", "62", "x"])
def test_versions_that_are_not_served(soap: Soap, version: str) -> None:
    code, text = soap.fault("<getUserInfo/>", version=version)
    assert code == "sf:UNSUPPORTED_API_VERSION"
    assert text == "UNSUPPORTED_API_VERSION: Invalid Api version specified on URL"


def test_an_address_with_the_org(api: Api, soap: Soap) -> None:
    org_id = api.records("SELECT Id FROM Organization")[0]["Id"]
    assert soap.post("<getUserInfo/>", version=f"62.0/{org_id}").status_code == 200
    answer = requests.get(f"{api.url}/services/Soap/u/62.0", timeout=10)
    assert answer.status_code in (401, 404)


@pytest.mark.parametrize("operation", ["convertLeads", "processSubmitRequests", "describeNothing"])
def test_an_unknown_operation(soap: Soap, operation: str) -> None:
    assert soap.fault(f"<{operation}/>") == (
        "soapenv:Client",
        f"No operation available for request {{urn:partner.soap.sforce.com}}{operation},"
        " please check the WSDL for the service.",
    )


def test_an_operation_of_the_other_wsdl(soap: Soap) -> None:
    text = soap.fault('<getUserInfo xmlns="urn:enterprise.soap.sforce.com"/>')[1]
    assert text.startswith("No operation available for request {urn:enterprise.")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no xml",
        b"<a>",
        b"<a/>",
        b"{}",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
        b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"/>',
        b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body/></e:Envelope>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><a>&z;</a>',
        b"<a>" * 5_000,
        b"<a>&nothing;</a>",
    ],
)
def test_messages_that_are_none(soap: Soap, content: bytes) -> None:
    code, text = fault_of(soap.raw(content))
    assert code == "soapenv:Client"
    assert "hostname" not in text


@given(st.binary() | st.text().map(str.encode))
def test_reading_never_fails_otherwise(content: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        read_message(content)


@given(st.text())
def test_every_text_can_be_written(text: str) -> None:
    ElementTree.fromstring(tag("a", text))


def test_a_message_that_is_too_large_is_not_read(soap: Soap) -> None:
    with requests.Session() as session:
        request = requests.Request("POST", f"{soap.api.url}/services/Soap/u/62.0", data=b"x")
        prepared = session.prepare_request(request)
        prepared.headers["Content-Length"] = str(60 << 20)
        answer = session.send(prepared, timeout=10)
    assert fault_of(answer)[0] == "sf:EXCEEDED_MAX_SIZE_REQUEST"


def test_an_element_that_the_wsdl_does_not_know(api: Api, soap: Soap) -> None:
    lead_id = lead(api)
    code, text = soap.fault(f"<convertLead>{lead_converts(lead_id, leadID='x')}</convertLead>")
    assert code == "soapenv:Client"
    assert text == "Element {urn:partner.soap.sforce.com}leadID invalid at this location"
    assert api.get(f"sobjects/Lead/{lead_id}")["IsConverted"] is False


def test_too_many_at_once(soap: Soap) -> None:
    many = lead_converts("00Q000000000001") * 101
    assert soap.fault(f"<convertLead>{many}</convertLead>")[0] == "sf:EXCEEDED_LEAD_CONVERT_LIMIT"
    ids = "<ids>003000000000001</ids>" * 201
    code, text = soap.fault(f"<delete>{ids}</delete>")
    assert code == "sf:EXCEEDED_ID_LIMIT"
    assert text.endswith("cannot submit more than 200 records into this call")


def test_queries(api: Api, soap: Soap) -> None:
    name = unique("Soap & <co>")
    account = api.create("Account", Name=name)
    contact = api.create("Contact", LastName=name, AccountId=account, MailingCity="Bonn")
    text = name.replace("&", "&amp;").replace("<", "&lt;")
    (result,) = soap.results(
        "<query><queryString>SELECT Id, LastName, Title, CreatedDate, MailingAddress, Account.Name,"
        f" (SELECT Id FROM CampaignMembers) FROM Contact WHERE LastName = '{text}'"
        "</queryString></query>"
    )
    (record,) = result.iter("{urn:partner.soap.sforce.com}records")
    found = values(record)
    assert [element.text for element in record.findall(f"{SF}Id")] == [contact, contact]
    assert (found["LastName"], found["Name"], found["city"]) == (name, name, "Bonn")
    assert found["CreatedDate"].endswith(".000Z")
    assert "Title" not in found
    assert values(result)["size"] == "1"
    (count,) = soap.results(
        "<query><queryString>SELECT count(Id) n FROM Contact WHERE LastName = 'nobody'"
        "</queryString></query>"
    )
    assert values(count)["n"] == "0"


def test_a_query_of_several_pages(api: Api, soap: Soap) -> None:
    name = unique("Page")
    records = [{"attributes": {"type": "Lead"}, "LastName": name, "Company": "x"}] * 200
    for part in (records, records[:50]):
        api.send("POST", "composite/sobjects", {"records": part}, 200)
    text = f"SELECT Id FROM Lead WHERE LastName = '{name}'"
    header = "<QueryOptions><batchSize>200</batchSize></QueryOptions>"
    (page,) = soap.results(f"<query><queryString>{text}</queryString></query>", header)
    first = values(page)
    assert first["done"] == "false"
    locator = first["queryLocator"]
    (page,) = soap.results(f"<queryMore><queryLocator>{locator}</queryLocator></queryMore>")
    second = values(page)
    assert second["done"] == "true"
    assert len({*first["Id"].split(), *second["Id"].split()}) == 250
    code, _ = soap.fault("<queryMore><queryLocator>0r8nothing-200</queryLocator></queryMore>")
    assert code == "sf:INVALID_QUERY_LOCATOR"


@pytest.mark.parametrize(
    ("text", "code", "kind"),
    [
        ("SELECT FROM Contact", "MALFORMED_QUERY", "MalformedQueryFault"),
        ("", "MALFORMED_QUERY", "MalformedQueryFault"),
        ("SELECT Nope FROM Contact", "INVALID_FIELD", "InvalidFieldFault"),
        ("SELECT Id FROM Nope", "INVALID_TYPE", "InvalidSObjectFault"),
    ],
)
def test_queries_that_are_refused(soap: Soap, text: str, code: str, kind: str) -> None:
    answer = soap.post(f"<query><queryString>{text}</queryString></query>")
    given, said = fault_of(answer)
    assert given == f"sf:{code}"
    assert said.startswith(f"{code}: ")
    assert f'<sf:{kind} xsi:type="sf:{kind}">' in answer.text
    assert "<sf:row>" in answer.text


def test_creating_updating_retrieving_and_deleting(api: Api, soap: Soap) -> None:
    key = unique("soap")
    (result,) = soap.results(
        "<create><sObjects><type>Contact</type><LastName>Ünal</LastName>"
        f"<External_Id__c>{key}</External_Id__c><DoNotCall>true</DoNotCall></sObjects></create>"
    )
    record_id = values(result)["id"]
    (result,) = soap.results(
        f"<update><sObjects><type>Contact</type><Id>{record_id}</Id><Title>CEO</Title>"
        "<fieldsToNull>External_Id__c</fieldsToNull></sObjects></update>"
    )
    assert values(result) == {"id": record_id, "success": "true"}
    row = api.get(f"sobjects/Contact/{record_id}")
    assert (row["LastName"], row["Title"], row["External_Id__c"]) == ("Ünal", "CEO", None)
    assert row["DoNotCall"] is True
    found, missing = soap.results(
        "<retrieve><fieldList>Id, Title</fieldList><sObjectType>Contact</sObjectType>"
        f"<ids>{record_id}</ids><ids>003000000000001</ids></retrieve>"
    )
    assert values(found)["Title"] == "CEO"
    assert values(missing) == {}
    assert soap.by_id("delete", record_id) == [{"id": record_id, "success": "true"}]
    (again,) = soap.by_id("delete", record_id)
    assert (again["success"], again["statusCode"]) == ("false", "ENTITY_IS_DELETED")
    assert soap.by_id("delete", "xyz")[0]["statusCode"] == "MALFORMED_ID"


def test_upserting(api: Api, soap: Soap) -> None:
    key = unique("soap-upsert")
    record = f"<External_Id__c>{key}</External_Id__c><LastName>x</LastName><Company>y</Company>"
    body = (
        "<upsert><externalIDFieldName>External_Id__c</externalIDFieldName><sObjects>"
        f"<type>Lead</type>{record}</sObjects></upsert>"
    )
    created, updated = (values(soap.results(body)[0]) for _ in range(2))
    assert (created["created"], updated["created"]) == ("true", "false")
    assert created["id"] == updated["id"]
    wrong = body.replace("<externalIDFieldName>External_Id__c", "<externalIDFieldName>Title")
    assert soap.fault(wrong)[0] == "sf:INVALID_FIELD"


def test_refused_records_do_not_stop_the_others(api: Api, soap: Soap) -> None:
    name = unique("Mixed")
    body = (
        "<create><sObjects><type>Contact</type><Title>x</Title></sObjects>"
        f"<sObjects><type>Contact</type><LastName>{name}</LastName></sObjects></create>"
    )
    refused, created = (values(result) for result in soap.results(body))
    assert refused == {
        "fields": "LastName",
        "message": "Required fields are missing: [LastName]",
        "statusCode": "REQUIRED_FIELD_MISSING",
        "success": "false",
    }
    assert created["success"] == "true"
    header = "<AllOrNoneHeader><allOrNone>true</allOrNone></AllOrNoneHeader>"
    refused, undone = (values(result) for result in soap.results(body, header))
    assert refused["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert undone["statusCode"] == "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    assert len(api.records(f"SELECT Id FROM Contact WHERE LastName = '{name}'")) == 1


def test_truncation_is_asked_for(soap: Soap) -> None:
    body = (
        f"<create><sObjects><type>Contact</type><LastName>{'x' * 81}</LastName></sObjects></create>"
    )
    assert values(soap.results(body)[0])["statusCode"] == "STRING_TOO_LONG"
    header = (
        "<AllowFieldTruncationHeader><allowFieldTruncation>true</allowFieldTruncation>"
        "</AllowFieldTruncationHeader>"
    )
    assert values(soap.results(body, header)[0])["success"] == "true"


def test_records_that_are_refused_as_a_call(soap: Soap) -> None:
    unknown = "<create><sObjects><type>Nope</type></sObjects></create>"
    assert soap.fault(unknown)[0] == "sf:INVALID_TYPE"
    field = "<create><sObjects><type>Lead</type><Nope>x</Nope></sObjects></create>"
    assert soap.fault(field)[0] == "sf:INVALID_FIELD"
    with_id = "<create><sObjects><type>Lead</type><Id>00Q000000000001</Id></sObjects></create>"
    result = values(soap.results(with_id)[0])
    assert result["message"] == "cannot specify Id in an insert call"


def test_who_is_calling(api: Api, soap: Soap) -> None:
    found = values(soap.results("<getUserInfo/>")[0])
    user = api.get("../../oauth2/userinfo")
    assert found["userId"] == user["user_id"]
    assert found["organizationId"] == user["organization_id"]
    assert found["userName"] == user["preferred_username"]
    stamp = values(soap.results("<getServerTimestamp/>")[0])["timestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", stamp)


def test_the_enterprise_wsdl(api: Api, soap: Soap) -> None:
    contact = api.create("Contact", LastName="x")
    text = f"SELECT Id FROM Contact WHERE Id = '{contact}'"
    answer = soap.post(f"<query><queryString>{text}</queryString></query>", path="c")
    assert f'<records xsi:type="sf:Contact"><sf:Id>{contact}</sf:Id></records>' in answer.text


def test_login_is_disabled(soap: Soap) -> None:
    body = "<login><username>a@example.com</username><password>b</password></login>"
    assert soap.fault(body, token="", version="64.0") == (
        "sf:INVALID_OPERATION",
        "INVALID_OPERATION: SOAP API login() is disabled by default in this org. Contact the org"
        " administrator to enable SOAP API login().",
    )
    code, text = soap.fault(body, token="", version="65.0")
    assert code == "soapenv:Client"
    assert text.startswith("No operation available for request")


@pytest.fixture
def own_org(tmp_path: Path) -> Iterator[Org]:
    build_home(tmp_path / "home", 1, list)
    org = Org(tmp_path / "home", Settings(soap_login=True))
    yield org
    org.close()


@pytest.mark.parametrize("password", ["local-org-secret", "wrong"])
def test_login_where_it_is_enabled(own_org: Org, password: str) -> None:
    envelope = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<login xmlns="urn:partner.soap.sforce.com">'
        "<username>integration@local-org.example</username>"
        f"<password>{password}</password></login></e:Body></e:Envelope>"
    )
    call = Call(
        org=own_org,
        method="POST",
        path=("services", "Soap", "u", "59.0"),
        version="67.0",
        host="http://localhost",
        query={},
        headers={},
        body=envelope.encode(),
    )
    reply = soap_answer(call, lambda call: ("", None))
    if password == "wrong":
        assert reply.status == 500
        assert b"<faultcode>sf:INVALID_LOGIN</faultcode>" in reply.encoded()
        return
    found = values(ElementTree.fromstring(reply.encoded()))
    session = own_org.sessions.find(found["sessionId"])
    assert session is not None
    assert session.user_id == found["userId"].split()[0] == own_org.store.integration_user_id
    assert found["serverUrl"] == f"http://localhost/services/Soap/u/59.0/{own_org.store.org_id}"
    assert found["sessionSecondsValid"] == "7200"
