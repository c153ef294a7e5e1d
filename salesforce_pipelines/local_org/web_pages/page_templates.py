"""HTML from templates: everything that is put into one is escaped."""

from collections.abc import Mapping
from functools import cache, partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.metadata.schema import Field, SObject
from salesforce_pipelines.local_org.web_pages.page_values import ago, number, readable, size_of

_FOLDER = "templates"
_TABS = ("Contact", "Lead", "Account", "Campaign", "Opportunity")


def page(call: Call, template: str, status: int = 200, **values: Any) -> Reply:
    """A page; `call.org.schema` says which tabs it has."""
    org = call.org
    around = {
        "org_name": org_name(call),
        "tabs": [sobject for name in _TABS if (sobject := org.schema.get(name))],
        "path": "/" + "/".join(call.path),
        "now": org.store.clock(),
        "ago": partial(ago, org.store.clock()),
    }
    html = _environment().get_template(template).render(around | values)
    return Reply(status=status, content=html.encode(), content_type="text/html;charset=UTF-8")


def org_name(call: Call) -> str:
    """The name of the org."""
    row = call.org.store.reader().execute("SELECT Name FROM Organization").fetchone()
    return str(row[0]) if row else "Local Org"


def asset(name: str) -> bytes:
    """A file that pages refer to."""
    return (files("salesforce_pipelines.local_org.web_pages") / _FOLDER / name).read_bytes()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Any] = {
        "readable": readable,
        "number": number,
        "size": size_of,
        "list_address": list_address,
        "label": label,
    }
    environment.filters.update(filters)
    return environment


def _source(name: str) -> str:
    return asset(name).decode()


def label(item: Field) -> str:
    """A field's label as pages of a real org show it: a reference is called by what it names."""
    return item.label.removesuffix(" ID") if item.type == "reference" else item.label


def list_address(sobject: SObject) -> str:
    """Where the records of an sObject are listed."""
    return f"/lightning/o/{sobject.name}/list"
