"""How old the data are that something was made from."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from salesforce_pipelines.config.models import TABLE_NAMES
from salesforce_pipelines.pull.pulling import watermark_of
from salesforce_pipelines.reporting import moment
from salesforce_pipelines.store.tables import Tables


def in_words(watermark: datetime, now: datetime | None = None) -> str:
    """The age of what was pulled up to a watermark, such as "5 h 12 min"."""
    minutes = max(0, int(((now or datetime.now(UTC)) - watermark).total_seconds() // 60))
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def input_ages(tables: Tables, sobjects: Iterable[str]) -> dict[str, Any]:
    """For the metadata of what was made from pulled tables: up to when each follows the org."""
    found: dict[str, Any] = {}
    for sobject in dict.fromkeys(sobjects):
        name = TABLE_NAMES[sobject]
        watermark = watermark_of(tables.log(f"pulled/{name}"))
        if watermark is None:
            found[f"{name}_as_of"] = "never pulled"
            continue
        found[f"{name}_as_of"] = moment(watermark)
        found[f"{name}_age"] = in_words(watermark)
    return found
