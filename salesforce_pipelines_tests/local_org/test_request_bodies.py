"""Bodies of any size and encoding: what is too large is refused before it fills the memory."""

import gzip
import http.client
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from salesforce_pipelines.local_org.running import RunningOrg
from salesforce_pipelines_tests.local_org.conftest import Api, unique
from salesforce_pipelines_tests.local_org.soap_client import fault_of

JSON = {"Content-Type": "application/json"}
GZIP = JSON | {"Content-Encoding": "gzip"}
MEGABYTE = 1 << 20


def bomb(megabytes: int) -> bytes:
    """Spaces that gzip makes a thousandth of."""
    deflate = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    pieces = [deflate.compress(b" " * MEGABYTE) for _ in range(megabytes)]
    return b"".join(pieces) + deflate.flush()


def chunks(megabytes: int) -> Iterator[bytes]:
    """A body whose length is not announced."""
    for _ in range(megabytes):
        yield b" " * MEGABYTE


def memory_peak(org: RunningOrg) -> int:
    """The most memory that the server has had, in bytes."""
    status = Path(f"/proc/{org.process.pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) * 1024


def refusal(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()[0]["errorCode"]


@pytest.mark.parametrize("way", ["bomb", "chunks"])
def test_a_rest_body_has_an_end(api: Api, org: RunningOrg, way: str) -> None:
    data = bomb(400) if way == "bomb" else chunks(60)
    headers = GZIP if way == "bomb" else JSON
    before = memory_peak(org)
    answer = api.call("POST", "sobjects/Contact", data=data, headers=headers)
    assert refusal(answer) == (413, "EXCEEDED_MAX_SIZE_REQUEST")
    assert memory_peak(org) - before < 200 * MEGABYTE


def test_an_announced_length_is_enough(org: RunningOrg, api: Api) -> None:
    connection = http.client.HTTPConnection(org.url.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest("POST", "/services/data/v62.0/sobjects/Contact")
        connection.putheader("Authorization", str(api.session.headers["Authorization"]))
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        assert connection.getresponse().status == 413
    finally:
        connection.close()


def test_a_soap_message_has_an_end(org: RunningOrg) -> None:
    address = f"{org.url}/services/Soap/u/62.0"
    headers = {"Content-Type": "text/xml", "Content-Encoding": "gzip"}
    answer = requests.post(address, data=bomb(400), headers=headers, timeout=30)
    assert fault_of(answer)[0] == "sf:EXCEEDED_MAX_SIZE_REQUEST"
    answer = requests.post(address, data=chunks(60), headers={"SOAPAction": '""'}, timeout=30)
    assert fault_of(answer)[0] == "sf:EXCEEDED_MAX_SIZE_REQUEST"


def test_bodies_for_people_have_an_end(org: RunningOrg) -> None:
    clock = requests.patch(f"{org.url}/local-org/clock", data=chunks(60), headers=JSON, timeout=30)
    assert clock.status_code == 413
    assert "50 MB" in clock.json()["error"]
    page = requests.post(
        f"{org.url}/lightning/r/Contact/003000000000001AAA/edit",
        data=bomb(400),
        headers=GZIP,
        timeout=30,
    )
    assert page.status_code == 413
    assert "50 MB" in page.text


def test_an_upload_has_a_limit_of_its_own(api: Api) -> None:
    job = api.send("POST", "jobs/ingest", {"object": "Lead", "operation": "insert"}, 200)
    path = f"jobs/ingest/{job['id']}/batches"
    headers = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    answer = api.call("PUT", path, data=bomb(151), headers=headers)
    assert refusal(answer) == (413, "API_ERROR")
    cut = gzip.compress(b"LastName,Company\nx,y\n")[:-4]
    answer = api.call("PUT", path, data=cut, headers=headers)
    assert refusal(answer) == (400, "JSON_PARSER_ERROR")
    assert api.call("PUT", path, data=bomb(60), headers=headers).status_code == 201


@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=4), padding=st.integers(0, 3))
def test_gzip_of_several_members(api: Api, texts: list[str], padding: int) -> None:
    body = b'{"LastName": "x", "Company": "y"}'
    parts = [body[:7], body[7:]] + [b" " * len(text) for text in texts]
    data = b"".join(gzip.compress(part) for part in parts) + b"\0" * padding
    assert api.call("POST", "sobjects/Lead", data=data, headers=GZIP).status_code == 201


@pytest.mark.parametrize("end", [b"x", gzip.compress(b"")[:10]], ids=["text", "cut"])
def test_gzip_that_is_none(api: Api, end: bytes) -> None:
    data = gzip.compress(b'{"LastName": "x", "Company": "y"}')
    for broken in (data + end, data[:-1], end):
        answer = api.call("POST", "sobjects/Lead", data=broken, headers=GZIP)
        assert refusal(answer) == (400, "JSON_PARSER_ERROR"), broken
    assert api.create("Lead", LastName=unique(), Company="x")
