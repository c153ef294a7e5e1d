"""`/lightning/o/{sObject}/list`: an sObject's records, 50 to a page, and the search in them."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from salesforce_pipelines.local_org.errors import not_found
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.http.whole_numbers import whole_number
from salesforce_pipelines.local_org.metadata.schema import Field, SObject
from salesforce_pipelines.local_org.rest import list_views
from salesforce_pipelines.local_org.soql.soql_sql import compile_query
from salesforce_pipelines.local_org.storage.ids import is_id, to_18
from salesforce_pipelines.local_org.storage.store import Value, quoted
from salesforce_pipelines.local_org.web_pages.page_rows import (
    compiled_for,
    name_field,
    names_of,
    numbered_rows,
    references,
    within,
)
from salesforce_pipelines.local_org.web_pages.page_templates import list_address, page
from salesforce_pipelines.local_org.web_pages.page_values import Shown, shown

PAGE_ROWS = 50
_SEARCH_SECONDS = 1.2
_LIST_SECONDS = 4.0
_SCANNED_ROWS = 10_000
_MOST_WORDS = 5
_FEWEST_DIGITS = 4
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Account": ("Name", "Industry", "BillingCity", "BillingState", "Phone", "Website"),
    "Campaign": ("Name", "Type", "Status", "StartDate", "EndDate", "IsActive"),
    "CampaignMember": ("Name", "Type", "CampaignId", "Status", "HasResponded", "CreatedDate"),
    "Contact": ("Name", "AccountId", "Title", "Email", "Phone", "Referral_Code__c"),
    "Lead": ("Name", "Company", "Title", "Email", "Phone", "Status"),
    "Opportunity": ("Name", "AccountId", "StageName", "Amount", "CloseDate", "OwnerId"),
    "OpportunityContactRole": ("ContactId", "OpportunityId", "Role", "IsPrimary", "CreatedDate"),
    "User": ("Name", "Username", "Email", "IsActive", "UserType"),
}
_SHOWN_COLUMNS = 6
_NAMES = ("FirstName", "LastName", "Name", "Company", "MasterLabel", "Label", "Username")
_UNTOLD = frozenset({"Id", "IsDeleted", "SystemModstamp", "LastModifiedById", "CreatedById"})


@dataclass(frozen=True, slots=True)
class ListedRow:
    """One row of a table: the address of its record, and its cells."""

    address: str
    is_deleted: bool
    modified: str
    cells: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Records as a table."""

    sobject: SObject
    columns: tuple[Field, ...]
    rows: tuple[ListedRow, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """The numbers of a page's records.

    Attributes:
        after: Leads to the next page; empty if there is none.
        is_partial: There was no time to look at every record.
        is_exact: An index found them, and nothing else was looked at.
    """

    numbers: list[int]
    after: str = ""
    is_partial: bool = False
    is_exact: bool = False


def show(call: Call) -> Reply:
    """The page."""
    sobject = call.org.schema.get(call.captured["sobject"])
    if sobject is None:
        raise not_found()
    text = call.query.get("q", "").strip()
    record_id = to_18(text) if is_id(text) else ""
    if record_id and names_of(call.org, [record_id]):
        return Reply(status=302, headers={"Location": f"/{record_id}"})
    listing = _Listing(call, sobject)
    with within(call.org.store.reader(), _LIST_SECONDS):
        found = listing.search(text) if text else listing.listed()
        table = table_of(call, sobject, found.numbers)
    return page(
        call,
        "list.html",
        sobject=sobject,
        table=table,
        text=text,
        deleted=listing.deleted,
        sort="created" if text or listing.parent else listing.sort,
        parent=listing.parent,
        views=_views(call, sobject),
        view=call.query.get("view", ""),
        count=call.org.page_state.counts.get(call.org.count_rows).get(sobject.name, 0),
        older=_address(call, sobject, after=found.after) if found.after else "",
        newest=_address(call, sobject, after="") if call.query.get("after") else "",
        is_partial=found.is_partial,
        is_exact=found.is_exact,
    )


def table_of(
    call: Call,
    sobject: SObject,
    numbers: Sequence[int],
    without: str | None = None,
    most: int = _SHOWN_COLUMNS,
) -> Table:
    """Records as a table of the columns that tell most, without one they have in common."""
    columns = tuple(item for item in columns_of(sobject) if item.name != without)[:most]
    extra = ["IsDeleted"] if sobject.has_is_deleted else []
    modified = "SystemModstamp" if sobject.field("SystemModstamp") else "CreatedDate"
    names = [item.name for item in columns if item.name not in ("Id", "IsDeleted", modified)]
    rows = numbered_rows(call.org, sobject, ["Id", *names, *extra, modified], numbers)
    known = names_of(call.org, references(sobject, rows))
    listed = tuple(
        ListedRow(
            address=record_address(sobject, str(row["Id"])),
            is_deleted=bool(row.get("IsDeleted")),
            modified=str(row[modified]),
            cells=tuple(shown(item, row[item.name], known) for item in columns),
        )
        for row in rows
    )
    return Table(sobject, columns, listed)


def columns_of(sobject: SObject) -> tuple[Field, ...]:
    """The fields that tell most about a record."""
    preferred = _COLUMNS.get(sobject.name, ())
    known = tuple(item for name in preferred if (item := sobject.field(name)))
    if known:
        return known
    first = name_field(sobject)
    others = (
        item
        for item in sobject.fields
        if item is not first and not item.is_compound and item.name not in _UNTOLD
    )
    return ((first,) if first else ()) + tuple(others)[:_SHOWN_COLUMNS]


def record_address(sobject: SObject, record_id: str) -> str:
    """Where a record is shown."""
    return f"/lightning/r/{sobject.name}/{record_id}/view"


class _Listing:
    """Finds the records of one page, newest first."""

    def __init__(self, call: Call, sobject: SObject) -> None:
        self._call = call
        self._org = call.org
        self._sobject = sobject
        self._after = call.query.get("after", "")
        self.deleted = call.flag("deleted") and sobject.has_is_deleted
        # A list view is read in the order of the table: an index would lead to and fro in it.
        is_newest = call.query.get("sort") == "created" or call.query.get("view")
        self.sort = "created" if is_newest else "modified"
        self.parent = self._parent()

    def _parent(self) -> dict[str, str] | None:
        """The record whose children are listed, of `?by=AccountId&of=001…`."""
        item = self._sobject.field(self._call.query.get("by", ""))
        record_id = self._call.query.get("of", "")
        if item is None or item.type != "reference" or not is_id(record_id) or item.formula:
            return None
        name = names_of(self._org, [to_18(record_id)]).get(to_18(record_id))
        return {"field": item.name, "id": to_18(record_id), "name": name or record_id}

    def listed(self) -> _Found:
        """A page of all records, of a list view's, or of those of one parent."""
        own, from_sql, conditions, parameters = self._source()
        if self.parent:
            conditions.append(f"{own}.{quoted(self.parent['field'])} = ?")
            parameters.append(self.parent["id"])
        keys = self._keys(own)
        if self._after:
            values = self._after.split("~")
            if len(values) != len(keys):
                raise not_found()
            conditions.append(f"({', '.join(keys)}) < ({', '.join('?' for _ in keys)})")
            numbers = [whole_number(value) for value in values]
            parameters += [
                value if number is None else number
                for value, number in zip(values, numbers, strict=True)
            ]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        order = ", ".join(f"{key} DESC" for key in keys)
        rows = (
            self._org.store.reader()
            .execute(
                f"SELECT {', '.join(keys)}{from_sql}{where} ORDER BY {order} LIMIT {PAGE_ROWS + 1}",
                parameters,
            )
            .fetchall()
        )
        shown_rows = rows[:PAGE_ROWS]
        after = "~".join(map(str, shown_rows[-1])) if len(rows) > PAGE_ROWS else ""
        return _Found([row[-1] for row in shown_rows], after)

    def _source(self) -> tuple[str, str, list[str], list[Value]]:
        """The table's alias, FROM, and what a list view and the recycle bin ask for."""
        definition = self._view_query()
        if definition:
            asking = self._org.asking(self._call.user_id)
            compiled = compile_query(definition, self._org.schema, asking)
            where = [compiled.where_sql.removeprefix(" WHERE ")] if compiled.where_sql else []
            return compiled.own, compiled.from_sql, where, list(compiled.parameters)
        compiled = compiled_for(self._org, self._sobject, ["Id"])
        live = f"{compiled.own}.IsDeleted = {int(self.deleted)}"
        conditions = [live] if self._sobject.has_is_deleted else []
        return compiled.own, compiled.from_sql, conditions, []

    def _view_query(self) -> str:
        view = self._call.query.get("view", "")
        if not view or not self._sobject.listviewable:
            return ""
        found = replace(self._call, captured={"sobject": self._sobject.name, "id": view})
        return str(list_views.description(found).body["query"])

    def _keys(self, own: str) -> list[str]:
        """The columns that order a page; with IsDeleted they are those of an index."""
        if self.sort == "created" or self.parent or self._sobject.is_history:
            return [f"{own}._n"]
        keys = [f"{own}.SystemModstamp"]
        if self._sobject.has_is_deleted:
            keys.append(f"{own}.IsDeleted")
        return [*keys, f"{own}._n"]

    # Search

    def search(self, text: str) -> _Found:
        """Records with a text: those an index finds, or else those a look at the newest finds.

        The look is bounded in time and goes on at `after`.
        """
        condition, parameters = self._condition(text)
        table = quoted(self._sobject.name)
        live = f" AND IsDeleted = {int(self.deleted)}" if self._sobject.has_is_deleted else ""
        reader = self._org.store.reader()
        highest = reader.execute(f"SELECT max(_n) FROM {table}").fetchone()[0] or 0
        if not self._after and (exact := self._by_key(text)):
            return _Found(exact, str(highest), is_exact=True)
        after = whole_number(self._after)
        high = highest if after is None else min(after, highest)
        numbers: list[int] = []
        deadline = time.monotonic() + _SEARCH_SECONDS
        while high > 0:
            low = max(0, high - _SCANNED_ROWS)
            wanted = PAGE_ROWS + 1 - len(numbers)
            rows = reader.execute(
                f"SELECT t._n FROM {table} t WHERE t._n > ? AND t._n <= ?{live} AND ({condition})"
                f" ORDER BY t._n DESC LIMIT {wanted}",
                [low, high, *parameters],
            )
            numbers += [number for (number,) in rows]
            if len(numbers) > PAGE_ROWS:
                return _Found(numbers[:PAGE_ROWS], str(numbers[PAGE_ROWS]))
            high = low
            if time.monotonic() > deadline:
                break
        return _Found(numbers, str(high) if high else "", is_partial=high > 0)

    def _by_key(self, text: str) -> list[int]:
        """The records whose email or external id is the text."""
        found: dict[int, None] = {}
        live = f" AND IsDeleted = {int(self.deleted)}" if self._sobject.has_is_deleted else ""
        for item in self._sobject.stored_fields:
            if item.is_text and (item.id_lookup or item.unique):
                present = f" AND {quoted(item.name)} IS NOT NULL" if item.unique else ""
                rows = self._org.store.reader().execute(
                    f"SELECT _n FROM {quoted(self._sobject.name)}"
                    f" WHERE {quoted(item.name)} = ?{present}{live} LIMIT {PAGE_ROWS}",
                    [text],
                )
                found |= dict.fromkeys(number for (number,) in rows)
        return list(found)[:PAGE_ROWS]

    def _condition(self, text: str) -> tuple[str, list[Value]]:
        """What a record must meet: a phone number's digits, or every word in some field."""
        digits = re.sub(r"\D", "", text)
        phones = [quoted(item.name) for item in self._sobject.stored_fields if item.type == "phone"]
        if phones and len(digits) >= _FEWEST_DIGITS and re.fullmatch(r"[\d\s().+/-]+", text):
            # The digits may be parted by anything, but begin within the number.
            pattern = "%" + "%".join(digits) + "%"
            bare = [_bare(phone) for phone in phones]
            test = " OR ".join(
                f"({phone} LIKE ? AND {digits_of} LIKE ?)"
                for phone, digits_of in zip(phones, bare, strict=True)
            )
            fields = self._text_columns()
            texts = "".join(f" OR {field} LIKE ? ESCAPE '\\'" for field in fields)
            values: list[Value] = [pattern, f"%{digits}%"] * len(phones)
            return test + texts, values + [_like(text)] * len(fields)
        columns = self._text_columns()
        words = text.split()[:_MOST_WORDS]
        any_field = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns)
        tests = [f"({any_field})" for _ in words]
        return " AND ".join(tests) or "0", [_like(word) for word in words for _ in columns]

    def _text_columns(self) -> list[str]:
        """What a search looks at: names, emails, external ids and codes."""
        stored = [
            quoted(item.name)
            for item in self._sobject.stored_fields
            if item.name in _NAMES
            or item.type == "email"
            or item.external_id
            or item.name.endswith("_Code__c")
        ]
        if stored:
            return stored
        compiled = compiled_for(
            self._org, self._sobject, [(name_field(self._sobject) or self._sobject.fields[0]).name]
        )
        return [compiled.columns[0].sql.replace(f"{compiled.own}.", "t.")]


def _bare(column: str) -> str:
    """A phone number without what people put between its digits."""
    sql = column
    for character in (" ", "-", "(", ")", ".", "/", "+"):
        sql = f"replace({sql}, '{character}', '')"
    return sql


def _like(word: str) -> str:
    escaped = re.sub(r"([\\%_])", r"\\\1", word)
    return f"%{escaped}%"


def _views(call: Call, sobject: SObject) -> list[tuple[str, str]]:
    """The list views of an sObject: id and label."""
    rows = call.org.store.reader().execute(
        "SELECT id, definition FROM _list_view WHERE sobject = ? ORDER BY id", [sobject.name]
    )
    return [(record_id, json.loads(definition)["label"]) for record_id, definition in rows]


def _address(call: Call, sobject: SObject, **changed: str) -> str:
    kept = {key: call.query[key] for key in _KEPT if call.query.get(key)}
    query = {key: value for key, value in (kept | changed).items() if value}
    return f"{list_address(sobject)}?{urlencode(query)}" if query else list_address(sobject)


_KEPT = ("q", "view", "deleted", "sort", "by", "of")
