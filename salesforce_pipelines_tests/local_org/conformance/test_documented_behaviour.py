"""Documented answers that need an org of their own: its setup, its faults, SOAP."""

import re
from collections.abc import Iterator
from string import Template

import pytest
import requests

from salesforce_pipelines.local_org.running import RunningOrg, running_org
from salesforce_pipelines_tests.local_org.conformance.documented import MAKERS
from salesforce_pipelines_tests.local_org.conformance.documented_composite import (
    COMPOSITE_STORIES,
)
from salesforce_pipelines_tests.local_org.conformance.documented_life import (
    CONDITION_STORIES,
    LIFE_MAKERS,
    LIFE_STORIES,
    VALUE_STORIES,
)
from salesforce_pipelines_tests.local_org.conformance.documented_login import (
    JWT_STORY,
    LOGIN_MAKERS,
    LOGIN_STORIES,
    ROTATION_STORY,
)
from salesforce_pipelines_tests.local_org.conformance.documented_setup import (
    FAULT_STORIES,
    SETUP_STORIES,
    Arranged,
)
from salesforce_pipelines_tests.local_org.conformance.exchanges import Known, Story, tell
from salesforce_pipelines_tests.local_org.conftest import Api, api_of
from salesforce_pipelines_tests.local_org.web_login import Browser, returned

STORIES = [
    *COMPOSITE_STORIES,
    *CONDITION_STORIES,
    *LIFE_STORIES,
    *VALUE_STORIES,
    *LOGIN_STORIES,
]
ARRANGED = [*SETUP_STORIES, *FAULT_STORIES, ROTATION_STORY, JWT_STORY]

# As Grouparoo recorded it; jsforce 3 sends the same bytes.
CONVERSION = Template(
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">'
    '<soapenv:Header xmlns="urn:partner.soap.sforce.com">'
    "<SessionHeader><sessionId>$token</sessionId></SessionHeader></soapenv:Header>"
    '<soapenv:Body xmlns="urn:partner.soap.sforce.com"><convertLead><leadConverts>'
    "<leadId>$lead</leadId><convertedStatus>Closed - Converted</convertedStatus>"
    "<doNotCreateOpportunity>true</doNotCreateOpportunity></leadConverts></convertLead>"
    "</soapenv:Body></soapenv:Envelope>"
)
CONVERTED = (
    r"<soapenv:Header><LimitInfoHeader><limitInfo><current>\d+</current><limit>\d+</limit>"
    r"<type>API REQUESTS</type></limitInfo></LimitInfoHeader></soapenv:Header><soapenv:Body>"
    r"<convertLeadResponse><result><accountId>(001\w{15})</accountId>"
    r"<contactId>(003\w{15})</contactId><leadId>(00Q\w{15})</leadId>"
    r'<opportunityId xsi:nil="true"/><success>true</success></result></convertLeadResponse>'
    r"</soapenv:Body></soapenv:Envelope>$"
)


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrg]:
    """An org of this module's own: its setup is changed."""
    with running_org(tmp_path_factory.mktemp("behaviour") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def api(org: RunningOrg) -> Iterator[Api]:
    client = api_of(org)
    with client.session:
        yield client


@pytest.fixture
def known(api: Api) -> Known:
    return Known(api, MAKERS | LIFE_MAKERS | LOGIN_MAKERS)


@pytest.mark.parametrize("told", [pytest.param(each, id=each.name) for each in STORIES])
def test_it_answers_as_salesforce(told: Story, api: Api, known: Known) -> None:
    tell(told, api, known)


@pytest.mark.parametrize("told", [pytest.param(each, id=each.story.name) for each in ARRANGED])
def test_an_arranged_org_answers_as_salesforce(told: Arranged, api: Api, known: Known) -> None:
    name = told.story.name
    tell(Story(name, "before", (told.before,)), api, known)
    try:
        tell(told.story, api, known)
    finally:
        tell(Story(name, "after", (told.after,)), api, known)


def test_a_person_who_denies_is_sent_back(org: RunningOrg) -> None:
    with requests.Session() as session:
        browser = Browser(org, session)
        told = returned(browser.decided(browser.page(), "deny"))
    assert told == {
        "error": "access_denied",
        "error_description": "end-user denied authorization",
        "state": "a state",
    }


def converted(api: Api, token: str, lead: str) -> requests.Response:
    """The answer to the recorded bytes."""
    return requests.post(
        f"{api.url}/services/Soap/u/62.0",
        data=CONVERSION.substitute(token=token, lead=lead).encode(),
        headers={"Content-Type": "text/xml", "SOAPAction": '""'},
        timeout=30,
    )


def test_a_conversion_is_answered_as_recorded(api: Api, known: Known) -> None:
    token = str(api.session.headers["Authorization"]).removeprefix("Bearer ")
    answer = converted(api, token, known["lead"])
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/xml;charset=UTF-8")
    found = re.search(CONVERTED, answer.text)
    assert found, answer.text
    account, contact, lead = found.groups()
    assert lead == known["lead"]
    assert api.get(f"sobjects/Contact/{contact}")["AccountId"] == account
    assert api.get(f"sobjects/Lead/{lead}")["ConvertedContactId"] == contact

    again = converted(api, token, lead)
    assert again.status_code == 200
    assert "<message>cannot reference converted lead</message>" in again.text
    assert "<statusCode>CANNOT_UPDATE_CONVERTED_LEAD</statusCode>" in again.text
    assert "<success>false</success>" in again.text


def test_a_conversion_needs_a_session(api: Api, known: Known) -> None:
    answer = converted(api, "nothing", known["lead"])
    assert answer.status_code == 500
    assert "<faultcode>sf:INVALID_SESSION_ID</faultcode>" in answer.text
    assert api.get(f"sobjects/Lead/{known['lead']}")["IsConverted"] is False
