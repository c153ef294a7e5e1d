"""sObject Tree: records with their children, created in one call, all or none.

See "sObject Tree" in the REST API Developer Guide.
"""

from dataclasses import dataclass
from typing import Any

from salesforce_pipelines.local_org.errors import ApiError, RowError
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.metadata.schema import SObject
from salesforce_pipelines.local_org.saves.call_writing import call_writer
from salesforce_pipelines.local_org.saves.dml import Writer, sobject_named

MOST_RECORDS, MOST_LEVELS, MOST_TYPES = 200, 5, 5


@dataclass(frozen=True, slots=True)
class _Node:
    """One record of a tree.

    Attributes:
        parent: The position of its parent among the nodes; None for a root.
        parent_field: The field that refers to the parent.
    """

    sobject: SObject
    reference_id: str
    values: dict[str, Any]
    parent: int | None = None
    parent_field: str = ""


class _RefusedError(Exception):
    """Leaves the transaction of a tree with the record that was refused."""

    def __init__(self, node: _Node, error: RowError) -> None:
        super().__init__(error.code)
        self.result = _failure(node.reference_id, error)


def create_tree(call: Call) -> Reply:
    """`POST composite/tree/X`."""
    root = sobject_named(call.schema, call.captured["sobject"])
    given = call.json_object().get("records")
    if not isinstance(given, list) or not given:
        raise ApiError(400, "REQUIRED_FIELD_MISSING", "Required field is missing: records")
    nodes = _nodes(call, root, given)
    failures = _duplicate_references(nodes)
    if failures:
        return Reply({"hasErrors": True, "results": failures}, status=400)
    try:
        with call.org.store.write() as connection:
            created = _created(nodes, call_writer(call, connection))
    except _RefusedError as refusal:
        return Reply({"hasErrors": True, "results": [refusal.result]}, status=400)
    results = [
        {"referenceId": node.reference_id, "id": record_id}
        for node, record_id in zip(nodes, created, strict=True)
    ]
    return Reply({"hasErrors": False, "results": results}, status=201)


def _created(nodes: list[_Node], writer: Writer) -> list[str]:
    """The new records' ids.

    Raises:
        _RefusedError: One of them was refused.
    """
    created: list[str] = []
    for node in nodes:
        values = dict(node.values)
        if node.parent is not None:
            values[node.parent_field] = created[node.parent]
        try:
            outcome = writer.create(node.sobject, values)
        except ApiError as refusal:  # of the body, which alone would fail the whole request
            error = RowError(refusal.code, refusal.message, refusal.fields or ())
            raise _RefusedError(node, error) from None
        if outcome.errors:
            raise _RefusedError(node, outcome.errors[0])
        created.append(str(outcome.id))
    return created


def _nodes(call: Call, root: SObject, given: list[Any]) -> list[_Node]:
    """The records of a tree, parents before their children.

    Raises:
        ApiError: The tree is malformed or too large.
    """
    nodes: list[_Node] = []
    level: list[tuple[SObject, Any, int | None, str]] = [(root, item, None, "") for item in given]
    depth = 0
    while level:
        depth += 1
        _check_limit(depth, MOST_LEVELS, "levels")
        _check_limit(len(nodes) + len(level), MOST_RECORDS, "records")
        below = []
        for sobject, item, parent, field in level:
            node, children = _node(call, sobject, item, parent, field)
            below += [(child, record, len(nodes), name) for child, record, name in children]
            nodes.append(node)
        level = list(below)
    _check_limit(len({node.sobject.name for node in nodes}), MOST_TYPES, "types of sObjects")
    return nodes


def _check_limit(count: int, most: int, what: str) -> None:
    if count > most:
        raise ApiError(400, "LIMIT_EXCEEDED", f"The tree has more than {most} {what}")


def _node(
    call: Call, sobject: SObject, item: Any, parent: int | None, field: str
) -> tuple[_Node, list[tuple[SObject, Any, str]]]:
    """One record of a tree, and its children with the field that refers to it."""
    attributes = item.get("attributes") if isinstance(item, dict) else None
    if not isinstance(attributes, dict):
        raise ApiError(400, "INVALID_INPUT", "Include attributes with every record.")
    given, reference_id = attributes.get("type"), attributes.get("referenceId")
    if not isinstance(reference_id, str) or not reference_id:
        raise ApiError(400, "INVALID_INPUT", "Include a reference ID for record in request.")
    if str(given).lower() != sobject.name.lower():
        message = f"Include the type {sobject.name} with the record {reference_id}"
        raise ApiError(400, "INVALID_INPUT", message)
    values, children = {}, []
    for name, value in item.items():
        if name == "attributes":
            continue
        if isinstance(value, dict) and isinstance(value.get("records"), list):
            child, child_field = _relationship(call, sobject, name)
            children += [(child, record, child_field) for record in value["records"]]
        else:
            values[name] = value
    return _Node(sobject, reference_id, values, parent, field), children


def _relationship(call: Call, parent: SObject, name: str) -> tuple[SObject, str]:
    for relation in call.schema.children(parent):
        if relation.name and relation.name.lower() == name.lower():
            return call.schema[relation.child], relation.field
    message = f"No such column '{name}' on sobject of type {parent.name}"
    raise ApiError(400, "INVALID_FIELD", message)


def _duplicate_references(nodes: list[_Node]) -> list[dict[str, Any]]:
    """A result for each record whose reference ID another one has."""
    ids = [node.reference_id for node in nodes]
    error = RowError("INVALID_INPUT", "Duplicate ReferenceId provided in the request.")
    return [_failure(reference, error) for reference in ids if ids.count(reference) > 1]


def _failure(reference_id: str, error: RowError) -> dict[str, Any]:
    return {"referenceId": reference_id, "errors": [error.in_collection()]}
