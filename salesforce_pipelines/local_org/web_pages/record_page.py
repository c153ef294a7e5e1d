"""`/lightning/r/{sObject}/{id}/view`: a record's fields, its relatives and its history."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode

from salesforce_pipelines.local_org.errors import ApiError, not_found
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.metadata.schema import ChildRelationship, Field, SObject
from salesforce_pipelines.local_org.saves.dml import Outcome, Writer
from salesforce_pipelines.local_org.saves.field_values import from_csv
from salesforce_pipelines.local_org.saves.history import (
    CREATED,
    DELETED,
    UNDELETED,
    WRITTEN_THROUGH,
    Entry,
    entries,
)
from salesforce_pipelines.local_org.storage.ids import is_id, to_18
from salesforce_pipelines.local_org.storage.store import Value, quoted
from salesforce_pipelines.local_org.web_pages.list_page import (
    Table,
    columns_of,
    record_address,
    table_of,
)
from salesforce_pipelines.local_org.web_pages.page_rows import (
    Row,
    name_field,
    names_of,
    read_rows,
    references,
    within,
)
from salesforce_pipelines.local_org.web_pages.page_templates import label, list_address, page
from salesforce_pipelines.local_org.web_pages.page_values import EMPTY, Shown, moment, shown

_MOST_CHILDREN, _CHILD_COLUMNS = 8, 4
_MOST_COUNTED = 10_000
_MOST_ENTRIES = 200
_SECONDS = 3.0
_FRESH = timedelta(hours=24)
_EVENTS = {CREATED: "Created", DELETED: "Deleted", UNDELETED: "Undeleted"}
_SYSTEM = (
    *("Id", "IsDeleted", "MasterRecordId", "OwnerId", "CreatedDate", "CreatedById"),
    *("LastModifiedDate", "LastModifiedById", "SystemModstamp", "LastActivityDate"),
    *("LastViewedDate", "LastReferencedDate"),
)
_CONVERTED = ("ConvertedContactId", "ConvertedAccountId", "ConvertedOpportunityId")


@dataclass(frozen=True, slots=True)
class ShownField:
    """A field of the record.

    Attributes:
        change: Its newest change, if that was a short time ago.
        before: The value it had then.
        editable: Whether a person may change it.
    """

    field: Field
    value: Shown
    change: Entry | None
    before: Shown
    editable: bool


@dataclass(frozen=True, slots=True)
class Section:
    """Fields that belong together: those with a value, and those without."""

    title: str
    filled: tuple[ShownField, ...]
    empty: tuple[ShownField, ...]


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """A change as the history shows it."""

    entry: Entry
    label: str
    is_event: bool
    old: Shown
    new: Shown
    job_id: str


@dataclass(frozen=True, slots=True)
class Relatives:
    """The records that refer to this one through one of their fields."""

    label: str
    count: int
    is_more: bool
    table: Table
    all_address: str


@dataclass(frozen=True, slots=True)
class Editing:
    """The field that is being edited, what was typed, and why that was refused."""

    field: Field
    text: str
    ticket: str
    problem: str = ""


def redirect(call: Call) -> Reply:
    """`/{id}` and `/lightning/r/{id}/view` lead to the record, as in a real org."""
    wanted = call.captured["id"]
    sobject = call.org.schema.with_prefix(wanted[:3]) if is_id(wanted) else None
    if sobject is None:
        raise not_found()
    return Reply(status=302, headers={"Location": record_address(sobject, to_18(wanted))})


def show(call: Call) -> Reply:
    """The page."""
    sobject, record_id = _addressed(call)
    return _page(call, sobject, record_id, None)


def edit(call: Call) -> Reply:
    """`GET …/edit?field=`: the page with one field as a form."""
    sobject, record_id = _addressed(call)
    item = sobject.field(call.query.get("field", ""))
    row = _row(call, sobject, record_id)
    if item is None or not _is_editable(item) or row is None:
        return Reply(status=302, headers={"Location": record_address(sobject, record_id)})
    editing = Editing(item, _typed(item, row[item.name]), _ticket(call, record_id))
    return _page(call, sobject, record_id, editing)


def save(call: Call) -> Reply:
    """`POST …/edit`: change one field as a person in the org would."""
    sobject, record_id = _addressed(call)
    form = _form(call, record_id)
    item = sobject.field(form.get("field", ""))
    if item is None or not _is_editable(item):
        raise ApiError(400, "INVALID_FIELD", "This field cannot be changed.")
    text = form.get("value", "").replace("\r\n", "\n")
    problem = _write(
        call, lambda writer: writer.update(sobject, record_id, {item.name: text or None})
    )
    if problem:
        editing = Editing(item, text, _ticket(call, record_id), problem)
        return _page(call, sobject, record_id, editing, status=400)
    return _see(f"{record_address(sobject, record_id)}#{item.name}")


def delete(call: Call) -> Reply:
    """`POST …/delete`: move the record to the recycle bin as a person in the org would."""
    sobject, record_id = _addressed(call)
    _form(call, record_id)
    problem = _write(call, lambda writer: writer.delete(sobject, record_id))
    if problem:
        raise ApiError(400, "DELETE_FAILED", problem)
    return _see(record_address(sobject, record_id))


# Reading


def _addressed(call: Call) -> tuple[SObject, str]:
    sobject = call.org.schema.get(call.captured["sobject"])
    wanted = call.captured["id"]
    if sobject is None or not is_id(wanted) or wanted[:3] != sobject.key_prefix:
        raise not_found()
    return sobject, to_18(wanted)


def _page(
    call: Call, sobject: SObject, record_id: str, editing: Editing | None, status: int = 200
) -> Reply:
    reader = call.org.store.reader()
    row = _row(call, sobject, record_id)
    changes = entries(reader, call.org.schema, record_id, _MOST_ENTRIES)
    if row is None:
        if not changes:
            raise not_found()
        row, status = {"Id": record_id}, 404
    ids: list[Value | bytes] = [*references(sobject, [row])]
    ids += [entry.user_id for entry in changes]
    ids += [value for entry in changes for value in (entry.old, entry.new)]
    names = names_of(call.org, ids)
    named = name_field(sobject)
    is_deleted = bool(row.get("IsDeleted"))
    may_change = status != 404 and not is_deleted and not row.get("IsConverted")
    return page(
        call,
        "record.html",
        status=status,
        sobject=sobject,
        record_id=record_id,
        is_gone=status == 404,
        is_deleted=is_deleted,
        title=str((row.get(named.name) if named else None) or record_id),
        highlights=_highlights(sobject, row, names),
        sections=_sections(call, sobject, row, names, changes, may_change),
        merged_into=names.get(str(row.get("MasterRecordId"))) and row["MasterRecordId"],
        converted_into=[
            (name, names[str(row[name])]) for name in _CONVERTED if str(row.get(name)) in names
        ],
        row=row,
        relatives=_relatives(call, sobject, record_id),
        changes=[_shown_entry(call, sobject, entry, names) for entry in changes],
        names=names,
        editing=editing,
        list_address=list_address(sobject),
        edit_address=f"/lightning/r/{sobject.name}/{record_id}/edit",
        delete_address=f"/lightning/r/{sobject.name}/{record_id}/delete",
        delete_ticket=_ticket(call, record_id) if may_change and sobject.deletable else "",
    )


def _row(call: Call, sobject: SObject, record_id: str) -> Row | None:
    """Every field of a record; without computed ones where those take too long."""
    fields = [item for item in sobject.fields if not item.is_compound]
    stored = [item.name for item in fields if item.is_stored]
    try:
        with within(call.org.store.reader(), _SECONDS):
            rows = read_rows(
                call.org, sobject, [item.name for item in fields], "{t}.Id = ?", [record_id]
            )
    except TimeoutError:
        rows = read_rows(call.org, sobject, stored, "{t}.Id = ?", [record_id])
    return rows[0] if rows else None


def _highlights(sobject: SObject, row: Row, names: Mapping[str, str]) -> list[tuple[Field, Shown]]:
    named = name_field(sobject)
    return [
        (item, shown(item, row.get(item.name), names))
        for item in columns_of(sobject)
        if item is not named and row.get(item.name) is not None
    ]


def _sections(
    call: Call,
    sobject: SObject,
    row: Row,
    names: Mapping[str, str],
    changes: list[Entry],
    may_change: bool,
) -> list[Section]:
    newest: dict[str, Entry] = {}
    since = call.org.store.clock() - _FRESH
    for entry in changes:
        if moment(entry.at) >= since:
            newest.setdefault(entry.field, entry)
    groups: dict[str, list[ShownField]] = {"Custom fields": [], "Details": [], "System": []}
    for item in sobject.fields:
        if item.name not in row:
            continue
        change = newest.get(item.name)
        field = ShownField(
            field=item,
            value=shown(item, row[item.name], names),
            change=change,
            before=shown(item, change.old, names) if change else EMPTY,
            editable=may_change and _is_editable(item),
        )
        title = "System" if item.name in _SYSTEM else "Details"
        groups["Custom fields" if item.custom else title].append(field)
    return [
        Section(
            title,
            tuple(f for f in fields if f.value.kind != "empty" or f.change),
            tuple(f for f in fields if f.value.kind == "empty" and not f.change),
        )
        for title, fields in groups.items()
        if fields
    ]


def _shown_entry(
    call: Call, sobject: SObject, entry: Entry, names: Mapping[str, str]
) -> ShownEntry:
    item = sobject.field(entry.field)
    via, _, job_id = entry.via.rpartition(" ")
    return ShownEntry(
        entry=entry,
        label=_EVENTS.get(entry.field) or (label(item) if item else entry.field),
        is_event=entry.field in _EVENTS,
        old=shown(item, entry.old, names),
        new=shown(item, entry.new, names),
        job_id=job_id if via and is_id(job_id) else "",
    )


def _relatives(call: Call, sobject: SObject, record_id: str) -> list[Relatives]:
    relations = [
        relation
        for relation in call.org.schema.children(sobject)
        if relation.name and not call.org.schema[relation.child].is_history
    ]
    return [_related(call, relation, record_id) for relation in relations]


def _related(call: Call, relation: ChildRelationship, record_id: str) -> Relatives:
    child = call.org.schema[relation.child]
    reader = call.org.store.reader()
    live = " AND IsDeleted = 0" if child.has_is_deleted else ""
    tail = f" FROM {quoted(child.name)} WHERE {quoted(relation.field)} = ?{live}"
    numbers: list[int] = []
    count = 0
    try:
        with within(reader, _SECONDS):
            rows = reader.execute(
                f"SELECT _n{tail} ORDER BY _n DESC LIMIT {_MOST_CHILDREN}", [record_id]
            )
            numbers = [number for (number,) in rows]
            (count,) = reader.execute(
                f"SELECT count(*) FROM (SELECT 1{tail} LIMIT {_MOST_COUNTED + 1})", [record_id]
            ).fetchone()
    except TimeoutError:
        count = len(numbers)
    query = urlencode({"by": relation.field, "of": record_id})
    return Relatives(
        label=re.sub(r"(?<!^)(?=[A-Z])", " ", relation.name),
        count=min(count, _MOST_COUNTED),
        is_more=count > _MOST_COUNTED,
        table=table_of(call, child, numbers, without=relation.field, most=_CHILD_COLUMNS),
        all_address=f"{list_address(child)}?{query}",
    )


# Writing


def _is_editable(item: Field) -> bool:
    return item.updateable and item.is_stored


def _typed(item: Field, value: Value) -> str:
    if value is None:
        return ""
    if item.type == "boolean":
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return f"{value}Z" if item.type == "datetime" else str(value)


def _ticket(call: Call, record_id: str) -> str:
    return call.org.page_state.tickets.issue(record_id)


def _form(call: Call, record_id: str) -> dict[str, str]:
    """A form's values, once it is sure that it was sent by the person who saw it.

    Raises:
        ApiError: It was sent by another site, twice, or long after it was shown.
    """
    form = dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
    origin = call.headers.get("origin", "")
    is_own = not origin or origin.lower() == call.host.lower()
    from_here = call.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    if not (is_own and from_here):
        raise ApiError(403, "FORBIDDEN", "The form was sent by another site. Nothing was changed.")
    if not call.org.page_state.tickets.redeem(form.get("ticket", ""), record_id):
        message = "The form was sent before, or is too old. Nothing was changed: open it again."
        raise ApiError(409, "STALE_FORM", message)
    return form


def _write(call: Call, change: Callable[[Writer], Outcome]) -> str:
    """Change the record in the name of the System Administrator; why it was refused, or nothing."""
    WRITTEN_THROUGH.set("Page")
    try:
        with call.org.store.write() as connection:
            writer = Writer(call.org, connection, call.org.store.admin_id, _from_form)
            _raise_first(change(writer))
    except ApiError as error:
        return error.message
    except sqlite3.IntegrityError:
        return "Another record has this value already."
    return ""


def _raise_first(outcome: Outcome) -> None:
    """Undo the transaction of a refused record."""
    if outcome.errors:
        raise outcome.errors[0].in_row_call()


def _from_form(item: Field, value: object) -> Value:
    return from_csv(item, str(value))


def _see(address: str) -> Reply:
    return Reply(status=303, headers={"Location": address})
