"""Plain SOAP messages to a local org, and its answers as trees."""

from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import requests

from salesforce_pipelines_tests.local_org.conftest import VERSION, Api

PARTNER = "{urn:partner.soap.sforce.com}"
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"


@dataclass
class Soap:
    """Calls of the partner WSDL to one org, in the session of a REST client."""

    api: Api

    @property
    def token(self) -> str:
        return str(self.api.session.headers["Authorization"]).removeprefix("Bearer ")

    def post(
        self,
        body: str,
        header: str = "",
        version: str = VERSION,
        token: str | None = None,
        path: str = "u",
    ) -> requests.Response:
        """The answer to any body."""
        kind = {"u": "partner", "c": "enterprise"}[path]
        session = self.token if token is None else token
        envelope = (
            '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
            ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            f'<soapenv:Header xmlns="urn:{kind}.soap.sforce.com">'
            f"<SessionHeader><sessionId>{escape(session)}</sessionId></SessionHeader>{header}"
            f'</soapenv:Header><soapenv:Body xmlns="urn:{kind}.soap.sforce.com">{body}'
            "</soapenv:Body></soapenv:Envelope>"
        )
        return self.raw(envelope.encode(), version, path)

    def raw(self, content: bytes, version: str = VERSION, path: str = "u") -> requests.Response:
        """The answer to any bytes."""
        return requests.post(
            f"{self.api.url}/services/Soap/{path}/{version}",
            data=content,
            headers={"Content-Type": "text/xml", "SOAPAction": '""'},
            timeout=30,
        )

    def results(self, body: str, header: str = "") -> list[ElementTree.Element]:
        """The results of a call that is not refused as a whole."""
        answer = self.post(body, header)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "text/xml;charset=UTF-8"
        return list(ElementTree.fromstring(answer.content).iter(f"{PARTNER}result"))

    def fault(self, body: str, **options: str) -> tuple[str, str]:
        """The code and the text of a fault."""
        return fault_of(self.post(body, **options))

    def convert(self, lead: str, status: str = "Closed - Converted", **more: str) -> dict[str, str]:
        """The result of one conversion."""
        (result,) = self.results(
            f"<convertLead>{lead_converts(lead, status, **more)}</convertLead>"
        )
        return values(result)

    def merge(self, sobject: str, master: str, *victims: str, **written: str) -> dict[str, str]:
        """The result of one merge."""
        fields = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in written.items())
        gone = "".join(f"<recordToMergeIds>{victim}</recordToMergeIds>" for victim in victims)
        (result,) = self.results(
            f"<merge><request><masterRecord><type>{sobject}</type><Id>{master}</Id>{fields}"
            f"</masterRecord>{gone}</request></merge>"
        )
        return values(result)

    def by_id(self, operation: str, *ids: str) -> list[dict[str, str]]:
        """The results of an operation on ids, such as undelete."""
        given = "".join(f"<ids>{record_id}</ids>" for record_id in ids)
        return [values(result) for result in self.results(f"<{operation}>{given}</{operation}>")]


def lead_converts(lead: str, status: str = "Closed - Converted", **more: str) -> str:
    """One element of a convertLead call."""
    fields = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in more.items())
    return (
        f"<leadConverts><leadId>{lead}</leadId><convertedStatus>{status}</convertedStatus>"
        f"{fields}</leadConverts>"
    )


def values(element: ElementTree.Element) -> dict[str, str]:
    """The leaves of an element by their names; repeated ones joined by spaces, nil left out."""
    found: dict[str, str] = {}
    for leaf in element.iter():
        if len(leaf) or leaf is element or leaf.get(NIL):
            continue
        name = leaf.tag.rpartition("}")[2]
        found[name] = " ".join(filter(None, (found.get(name), leaf.text or "")))
    return found


def fault_of(answer: requests.Response) -> tuple[str, str]:
    """The code and the text of a fault."""
    assert answer.status_code == 500, answer.text
    assert answer.headers["Content-Type"] == "text/xml;charset=UTF-8"
    tree = ElementTree.fromstring(answer.content)
    return str(next(tree.iter("faultcode")).text), str(next(tree.iter("faultstring")).text)
