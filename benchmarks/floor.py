"""The floor: download a Bulk query result and parse it with pyarrow; nothing is kept."""

import io
import json
import sys
import time

from benchmarks.contact_fields import FIELDS
from benchmarks.org import configured
from salesforce_pipelines.org.describe import arrow_schema, describe
from salesforce_pipelines.org.reading import csv_batches, wait_for_job
from salesforce_pipelines.org.soql import select


def main() -> None:
    """Print rows, bytes and API calls as JSON."""
    _, org = configured()
    fields = describe(org, "Contact").require(FIELDS, "the floor")
    schema = arrow_schema(fields)
    soql = select(schema.names, "Contact")
    created = org.request(
        "POST", f"{org.base_path}/jobs/query", json={"operation": "queryAll", "query": soql}
    ).json()
    job = wait_for_job(org, f"jobs/query/{created['id']}", "floor")
    rows, size, locator = 0, 0, ""
    while locator != "null":
        params = {"maxRecords": "100000"} | ({"locator": locator} if locator else {})
        with org.request(
            "GET",
            f"{org.base_path}/jobs/query/{job['id']}/results",
            params=params,
            stream=True,
            headers={"Accept-Encoding": "gzip"},
        ) as response:
            response.raw.decode_content = True
            locator = response.headers["Sforce-Locator"]
            body = _Counted(response.raw)
            rows += sum(batch.num_rows for batch in csv_batches(body, schema))
            size += body.size
    # pyarrow's reading thread lets go of its source a moment after the last batch, and must not
    # meet an interpreter that has ended.
    time.sleep(0.1)
    json.dump({"rows": rows, "bytes": size, "calls": org.api_calls}, sys.stdout)


class _Counted(io.RawIOBase):
    def __init__(self, source: object) -> None:
        self._source = source
        self.size = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        # urllib3's raw body; requests does not type it.
        data: bytes = self._source.read(size)  # type: ignore[attr-defined]
        self.size += len(data)
        return data


if __name__ == "__main__":
    main()
