"""Airbyte's Salesforce source reading every Contact by Bulk, measured as it writes to a file.

It logs in with a refresh token, which somebody gives it by the web server flow.
"""

import html
import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import requests

from benchmarks.measuring import Measured, measure_command

REPOSITORY = Path(__file__).parents[1]
CLIENTS = Path(os.environ.get("CLIENTS", REPOSITORY / ".clients"))
_PYTHON = CLIENTS / "airbyte" / "bin" / "python"
_SOURCE = REPOSITORY / "salesforce_pipelines_tests/local_org/conformance/clients/airbyte_source.py"
_CALLBACK = "http://localhost:1717/OauthRedirect"


def is_installed() -> bool:
    """Whether `make clients` has installed the connector."""
    return (CLIENTS / "installed").exists() and _PYTHON.exists()


def read_contacts(folder: Path) -> Measured:
    """One full read of Contact; the answer has the rows that it brought."""
    url = os.environ["SALESFORCE_LOGIN_URL"]
    config = {
        "client_id": os.environ["SALESFORCE_CLIENT_ID"],
        "client_secret": os.environ["SALESFORCE_CLIENT_SECRET"],
        "refresh_token": _refresh_token(url),
        "start_date": "2010-01-01T00:00:00Z",
        "stream_slice_step": "P9000D",
        "force_use_bulk_api": True,
        "preserve_na_values": True,
        "streams_criteria": [{"criteria": "exacts", "value": "Contact"}],
    }
    command = [str(_PYTHON), str(_SOURCE), url]
    named = ["--config", _written(folder / "config.json", config)]
    found = subprocess.run(
        [*command, "discover", *named], cwd=folder, capture_output=True, text=True, check=True
    )
    messages = [json.loads(line) for line in found.stdout.splitlines()]
    (catalog,) = [m["catalog"] for m in messages if m["type"] == "CATALOG"]
    (contact,) = [stream for stream in catalog["streams"] if stream["name"] == "Contact"]
    chosen = {
        "stream": contact,
        "sync_mode": "full_refresh",
        "destination_sync_mode": "overwrite",
    }
    named += ["--catalog", _written(folder / "catalog.json", {"streams": [chosen]})]
    output = folder / "airbyte.jsonl"
    script = f'exec "$0" "$@" > {output}'
    read = measure_command(["sh", "-c", script, *command, "read", *named], folder=folder)
    with output.open(encoding="utf-8") as lines:
        rows = sum(line.startswith('{"type":"RECORD"') for line in lines)
    output.unlink()
    return replace(read, answer={"rows": rows})


def _written(path: Path, content: object) -> str:
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def _refresh_token(url: str) -> str:
    client = {
        "client_id": os.environ["SALESFORCE_CLIENT_ID"],
        "redirect_uri": _CALLBACK,
    }
    with requests.Session() as browser:
        address = f"{url}/services/oauth2/authorize"
        page = browser.get(address, params={"response_type": "code", **client}, timeout=10).text
        ticket = re.search(r'name="ticket" value="([^"]+)"', page)
        users = re.findall(r'name="user" value="(\w{18})".*?<b>(.*?)</b>', page, re.DOTALL)
        user = next(found for found, name in users if name == "Integration User")
        assert ticket is not None
        form = {"ticket": html.unescape(ticket[1]), "decision": "allow", "user": user}
        answer = browser.post(address, data=form, allow_redirects=False, timeout=10)
        (code,) = parse_qs(urlsplit(answer.headers["Location"]).query)["code"]
        granted = browser.post(
            f"{url}/services/oauth2/token",
            data={
                **client,
                "grant_type": "authorization_code",
                "code": code,
                "client_secret": os.environ["SALESFORCE_CLIENT_SECRET"],
            },
            timeout=10,
        ).json()
    return str(granted["refresh_token"])
