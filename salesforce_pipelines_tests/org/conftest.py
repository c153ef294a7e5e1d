"""A server that answers as scripted: for faults that the local org does not have."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import tenacity
from pydantic import SecretStr

from salesforce_pipelines.config.environment import OrgEnvironment
from salesforce_pipelines.config.models import Connection
from salesforce_pipelines.org.session import OrgSession

JSON = "application/json;charset=UTF-8"


@dataclass
class Scripted:
    """Answers in order, the last one again and again; and the requests that came.

    Status 0 cuts the connection before the answer, -1 in the middle of it.
    """

    url: str = ""
    answers: list[tuple[int, str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    tokens: int = 0

    def answer(self, status: int, body: Any, kind: str = JSON) -> None:
        self.answers.append((status, kind, body))

    def error(self, status: int, code: str, message: str = "words") -> None:
        self.answer(status, [{"errorCode": code, "message": message}])

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.requests if "oauth2" not in path]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            token = self.headers.get("Authorization", "")
            script.headers.append(dict(self.headers))
            script.requests.append((self.command, self.path, token))
            if "oauth2/token" in self.path:
                script.tokens += 1
                body: Any = {"access_token": f"token{script.tokens}", "instance_url": script.url}
                status, kind = 200, JSON
            else:
                status, kind, body = (
                    script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
                )
            if status == 0:
                self.close_connection = True
                return
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            cut = status == -1
            self.send_response(200 if cut else status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data) + 100 * cut))
            self.send_header("Sforce-Limit-Info", "api-usage=18/5000")
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = self.close_connection or cut

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield script
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def connect() -> Iterator[Callable[[str], OrgSession]]:
    """Sessions with a host, without pauses between attempts."""
    opened: list[OrgSession] = []

    def session(url: str) -> OrgSession:
        opened.append(
            OrgSession(
                Connection(login_url=url),
                OrgEnvironment(client_id="app", client_secret=SecretStr("hush")),
                attempts=3,
                wait=tenacity.wait_none(),
            )
        )
        return opened[-1]

    yield session
    for one in opened:
        one.close()
