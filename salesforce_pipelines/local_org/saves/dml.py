"""Creating, updating, upserting and deleting records under the rules Salesforce applies.

Every function works inside the store's writing transaction and checks a record before it writes
anything of it, so a refused record leaves no trace and the others of its request go on.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from salesforce_pipelines.local_org.admin.save_faults import refuse_delete_by_fault
from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.errors import (
    ApiError,
    MultipleChoicesError,
    RowError,
    RowRefusedError,
)
from salesforce_pipelines.local_org.metadata.field_defaults import field_defaults
from salesforce_pipelines.local_org.metadata.picklists import check_dependent_picklists
from salesforce_pipelines.local_org.metadata.schema import Field, Schema, SObject
from salesforce_pipelines.local_org.org import Org
from salesforce_pipelines.local_org.saves import campaign_members
from salesforce_pipelines.local_org.saves.field_values import cleared
from salesforce_pipelines.local_org.saves.record_locks import check_record_lock
from salesforce_pipelines.local_org.saves.recycle_bin import RecycleBin
from salesforce_pipelines.local_org.saves.saving import (
    AFTER_SAVE,
    BEFORE_DELETE,
    BEFORE_SAVE,
    SaveRule,
    Saving,
    WriteOptions,
    insert_record,
    system_values,
)
from salesforce_pipelines.local_org.storage.ids import is_id, to_18
from salesforce_pipelines.local_org.storage.store import Value, quoted, undoable

Converter = Callable[[Field, object], Value]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record.

    Attributes:
        id: The record's id; None where none was created or found.
    """

    id: str | None
    created: bool = False
    errors: tuple[RowError, ...] = ()

    @property
    def success(self) -> bool:
        """Whether the record was written."""
        return not self.errors

    def in_collection(self, with_created: bool = False) -> dict[str, object]:
        """The entry of a collection response; a failure shows no id."""
        if self.errors:
            entry: dict[str, object] = {
                "success": False,
                "errors": [error.in_collection() for error in self.errors],
            }
        else:
            entry = {"id": self.id, "success": True, "errors": []}
        if with_created:
            entry["created"] = self.created
        return entry


class Writer:
    """Writes records on behalf of one user, within one transaction.

    Args:
        connection: The store's writing connection, inside its transaction.
        convert: Reads written values: `field_values.from_json` or `from_csv`.
        options: What the request's headers ask for.
    """

    def __init__(
        self,
        org: Org,
        connection: sqlite3.Connection,
        user_id: str,
        convert: Converter,
        options: WriteOptions = WriteOptions(),  # noqa: B008  # it cannot be changed
    ) -> None:
        self._org = org
        self._store = org.store
        self._schema = org.schema
        self._visible = org.schema_for(user_id)
        self._options = options
        self._connection = connection
        self._user_id = user_id
        self._convert = convert
        self._now = org.store.now()
        self._bin = RecycleBin(
            org.schema,
            connection,
            self._now,
            self.write,
            self._check_taken_along,
            keeps_members=choice(org.state, "members_of_deleted_person") == "kept",
        )

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection it writes through."""
        return self._connection

    @property
    def now(self) -> str:
        """The time of its writes, as the store keeps it."""
        return self._now

    def create(self, sobject: SObject, values: Mapping[str, object]) -> Outcome:
        """Insert one record."""
        try:
            return self._create(sobject, values)
        except RowRefusedError as refusal:
            return Outcome(None, errors=(refusal.error,))

    def update(self, sobject: SObject, record_id: str, values: Mapping[str, object]) -> Outcome:
        """Change one record."""
        try:
            return self._update(sobject, record_id, values)
        except RowRefusedError as refusal:
            return Outcome(None, errors=(refusal.error,))

    def upsert(
        self, sobject: SObject, key: Field, key_value: str, values: Mapping[str, object]
    ) -> Outcome:
        """Change the record whose key field has a value, or insert it if there is none.

        Raises:
            MultipleChoicesError: Several records have the value.
        """
        try:
            found = self.find(sobject, key, key_value)
            if found is None:
                values = dict(values) if key.type == "id" else {**values, key.name: key_value}
                return self._create(sobject, values)
            return self._update(sobject, found, values)
        except RowRefusedError as refusal:
            return Outcome(None, errors=(refusal.error,))

    def delete(self, sobject: SObject, record_id: str) -> Outcome:
        """Move one record, and those that belong to it, to the recycle bin."""
        try:
            row = self.existing(sobject, record_id)
            if not sobject.deletable:
                raise _not_supported(sobject, "delete")
            sobject = self._schema[sobject.name]  # from here on also what the user may not see
            check_record_lock(self._org, str(row["Id"]))
            self._check_not_referred_to(sobject, row)
            self._check_rules(BEFORE_DELETE, sobject, {}, row)
            with undoable(self._connection):
                self._bin.put(sobject, row)
        except RowRefusedError as refusal:
            return Outcome(None, errors=(refusal.error,))
        return Outcome(str(row["Id"]))

    def merge_into(self, sobject: SObject, master_id: str, row: Mapping[str, Value]) -> None:
        """Delete a record because another one has taken its place.

        Raises:
            RowRefusedError: A lock, a trigger or a fault is against it; what has been written of
                it has to be undone.
        """
        sobject = self._schema[sobject.name]
        check_record_lock(self._org, str(row["Id"]))
        self._check_rules(BEFORE_DELETE, sobject, {}, row)
        self._bin.put(sobject, row, {"MasterRecordId": master_id})

    def undelete(self, sobject: SObject, record_id: str) -> Outcome:
        """Bring one record, and those that were deleted with it, back from the recycle bin."""
        try:
            return self._undelete(sobject, record_id)
        except RowRefusedError as refusal:
            return Outcome(None, errors=(refusal.error,))

    def empty_recycle_bin(self, record_id: str) -> Outcome:
        """Remove a record of the recycle bin, and those that were deleted with it, for good."""
        found = to_18(record_id) if is_id(record_id) else ""
        if not self._bin.empty(found):
            message = "invalid record id; no recycle bin entry found"
            return Outcome(None, errors=(RowError("INVALID_ID_FIELD", message),))
        return Outcome(found)

    def hard_delete(self, sobject: SObject, record_id: str) -> Outcome:
        """Remove one record, and those that belong to it, for good."""
        outcome = self.delete(sobject, record_id)
        if outcome.id:
            self._bin.empty(outcome.id)
        return outcome

    def find(self, sobject: SObject, key: Field, value: str) -> str | None:
        """The id of the live record whose key field has a value; None if there is none.

        Raises:
            MultipleChoicesError: Several records have the value.
        """
        if key.type == "id":
            return str(self.existing(sobject, value)["Id"]) if value else None
        rows = self._connection.execute(
            f"SELECT Id FROM {quoted(sobject.name)} WHERE {quoted(key.name)} = ?"
            f"{' AND IsDeleted = 0' if sobject.has_is_deleted else ''} LIMIT 10",
            [value],
        ).fetchall()
        if len(rows) > 1:
            raise MultipleChoicesError([row[0] for row in rows])
        return str(rows[0][0]) if rows else None

    def existing(self, sobject: SObject, record_id: str) -> Mapping[str, Value]:
        """The stored values of a live record.

        Raises:
            RowRefusedError: MALFORMED_ID, INVALID_CROSS_REFERENCE_KEY or ENTITY_IS_DELETED.
        """
        if not is_id(record_id) or record_id[:3] != sobject.key_prefix:
            message = f"Id value is not valid for the {sobject.label} standard object type"
            raise RowRefusedError("MALFORMED_ID", message, "Id")
        row = self.stored(sobject, to_18(record_id))
        if row is None:
            raise RowRefusedError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if sobject.has_is_deleted and row["IsDeleted"]:
            raise RowRefusedError("ENTITY_IS_DELETED", "entity is deleted")
        return row

    def stored(self, sobject: SObject, record_id: str) -> Mapping[str, Value] | None:
        """The stored values of a record, live or deleted; None if there is none."""
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        row: sqlite3.Row | None = cursor.execute(
            f"SELECT * FROM {quoted(sobject.name)} WHERE Id = ?", [record_id]
        ).fetchone()
        return None if row is None else dict(row)

    # Rules

    def _create(self, sobject: SObject, values: Mapping[str, object]) -> Outcome:
        if not sobject.createable:
            message = f"entity type {sobject.label} cannot be inserted"
            raise RowRefusedError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message)
        # The metadata may have changed since the caller looked.
        row = self._converted(self._visible[sobject.name], values, creating=True)
        sobject = self._schema[sobject.name]  # from here on also what the user may not see
        _default(sobject, row, self._user_id)
        for name, value in field_defaults(sobject, self._now).items():
            row.setdefault(name, value)
        self._complete(sobject, row, None)
        missing = [item.name for item in sobject.fields if _is_missing(item, row)]
        if missing:
            message = f"Required fields are missing: [{', '.join(missing)}]"
            raise RowRefusedError("REQUIRED_FIELD_MISSING", message, *missing)
        check_dependent_picklists(sobject, row, None)
        self._check_references(sobject, row)
        self._check_unique(sobject, row, None)
        self._check_rules(BEFORE_SAVE, sobject, row, None)
        return Outcome(self._insert(sobject, row), created=True)

    def _update(self, sobject: SObject, record_id: str, values: Mapping[str, object]) -> Outcome:
        existing = self.existing(sobject, record_id)
        found = str(existing["Id"])
        check_record_lock(self._org, found)
        if sobject.name == "Lead" and existing["IsConverted"]:
            raise RowRefusedError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        row = self._converted(self._visible[sobject.name], values, creating=False)
        sobject = self._schema[sobject.name]  # from here on also what the user may not see
        cleared_required = [
            item.name
            for item in sobject.fields
            if item.name in row and row[item.name] is None and not item.nillable
        ]
        if cleared_required:
            message = f"Required fields are missing: [{', '.join(cleared_required)}]"
            raise RowRefusedError("REQUIRED_FIELD_MISSING", message, *cleared_required)
        self._complete(sobject, row, existing)
        check_dependent_picklists(sobject, row, existing)
        self._check_references(sobject, row)
        self._check_unique(sobject, row, found)
        self._check_rules(BEFORE_SAVE, sobject, row, existing)
        self.write(sobject, existing, row)
        return Outcome(found)

    def _undelete(self, sobject: SObject, record_id: str) -> Outcome:
        if not sobject.undeletable:
            raise _not_supported(sobject, "undelete")
        restored = self._bin.deleted_with(to_18(record_id) if is_id(record_id) else "")
        if not restored:
            raise RowRefusedError("UNDELETE_FAILED", "Entity is not in the recycle bin")
        for child, found in restored:
            if any(item.unique for item in child.fields):
                self._check_unique(child, self.stored(child, found) or {}, found)
        self._bin.take_out(restored)
        return Outcome(to_18(record_id))

    def _converted(
        self, sobject: SObject, values: Mapping[str, object], creating: bool
    ) -> dict[str, Value]:
        """The written values as the store keeps them."""
        row: dict[str, Value] = {}
        readonly = []
        for name, value in values.items():
            item = sobject.field(name)
            if item is None:
                reference, value = self._by_external_id(sobject, name, value)
                row[reference.name] = value
                continue
            if not (item.createable if creating else item.updateable):
                readonly.append(item.name)
                continue
            row[item.name] = self._convert(item, value) if value is not None else cleared(item)
        if readonly:
            message = (
                f"Unable to create/update fields: {', '.join(readonly)}. Please check the security "
                "settings of this field and verify that it is read/write for your profile or "
                "permission set."
            )
            raise RowRefusedError("INVALID_FIELD_FOR_INSERT_UPDATE", message, *readonly)
        return row

    def _by_external_id(self, sobject: SObject, name: str, value: object) -> tuple[Field, Value]:
        """A reference written as its parent's external id: {"Account": {"Ext__c": "x"}}."""
        relationship, _, key_name = name.partition(".")
        reference = sobject.reference(relationship)
        parent = reference and self._visible.parent(reference)
        if isinstance(value, Mapping) and not key_name and parent:
            pairs = [(k, v) for k, v in value.items() if k != "attributes"]
            key_name, value = pairs[0] if len(pairs) == 1 else ("", None)
        key = parent.field(key_name) if parent else None
        if not reference or not parent or not key or not (key.id_lookup or key.external_id):
            message = f"No such column '{name}' on sobject of type {sobject.name}"
            raise ApiError(400, "INVALID_FIELD", message)
        if value is None:
            return reference, None
        try:
            found = self.find(parent, key, str(value))
        except MultipleChoicesError:
            found = None
        if found is None:
            message = (
                f"Foreign key external ID: {value} not found for field {key.name} in entity "
                f"{parent.name}"
            )
            raise RowRefusedError("INVALID_FIELD", message)
        return reference, found

    def _complete(
        self, sobject: SObject, row: dict[str, Value], existing: Mapping[str, Value] | None
    ) -> None:
        """What an sObject fills in or forbids beyond its fields' own rules."""
        if sobject.name == "Opportunity" and row.get("StageName"):
            self._complete_stage(row, existing)
        if sobject.name == "CampaignMember":
            campaign_members.complete(self._connection, row, existing, self._now, self._org.state)
        if sobject.name == "Lead" and existing is None and row.get("IsConverted"):
            row.setdefault("ConvertedDate", self._now[:10])

    def _complete_stage(self, row: dict[str, Value], existing: Mapping[str, Value] | None) -> None:
        if existing is not None and existing["StageName"] == row["StageName"]:
            return
        row["LastStageChangeDate"] = self._now if existing is not None else None
        stage = self._connection.execute(
            "SELECT DefaultProbability, ForecastCategoryName FROM OpportunityStage"
            " WHERE MasterLabel = ?",
            [row["StageName"]],
        ).fetchone()
        probability, category = stage or (0.0, "Pipeline")
        if row.get("Probability") is None:
            row["Probability"] = probability
        if row.get("ForecastCategoryName") is None:
            row["ForecastCategoryName"] = category

    def _check_references(self, sobject: SObject, row: Mapping[str, Value]) -> None:
        for name, value in row.items():
            item = sobject.field(name)
            if value is None or item is None or item.type != "reference":
                continue
            parents = [parent for parent in map(self._schema.get, item.refers_to) if parent]
            if not parents:
                continue
            parent = next((p for p in parents if p.key_prefix == str(value)[:3]), None)
            if parent is None:
                message = f"{item.label}: id value of incorrect type: {value}"
                raise RowRefusedError("FIELD_INTEGRITY_EXCEPTION", message, name)
            self._check_reference(sobject, item, parent, str(value))

    def _check_reference(self, sobject: SObject, item: Field, parent: SObject, value: str) -> None:
        state = {"User": "NOT IsActive"}.get(
            parent.name, "IsDeleted" if parent.has_is_deleted else "0"
        )
        found = self._connection.execute(
            f"SELECT {state} FROM {quoted(parent.name)} WHERE Id = ?", [value]
        ).fetchone()
        if found is None:
            raise RowRefusedError(
                "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", item.name
            )
        if found[0] and parent.name == "User":
            if item.name == "OwnerId":
                message = (
                    f"operation performed with inactive user [{value}] as owner of {sobject.label}"
                )
                raise RowRefusedError(choice(self._org.state, "inactive_owner"), message)
        elif found[0]:
            raise RowRefusedError("ENTITY_IS_DELETED", "entity is deleted", item.name)

    def _check_unique(self, sobject: SObject, row: Mapping[str, Value], own_id: str | None) -> None:
        for item in sobject.fields:
            value = row.get(item.name) if item.unique else None
            if value is None:
                continue
            other = self._connection.execute(
                f"SELECT Id FROM {quoted(sobject.name)} WHERE {quoted(item.name)} = ?"
                f"{' AND IsDeleted = 0' if sobject.has_is_deleted else ''} AND Id IS NOT ?",
                [value, own_id],
            ).fetchone()
            if other:
                message = (
                    f"duplicate value found: {item.name} duplicates value on record with id: "
                    f"{other[0]}"
                )
                raise RowRefusedError("DUPLICATE_VALUE", message)

    def _check_not_referred_to(self, sobject: SObject, existing: Mapping[str, Value]) -> None:
        """Refuse to delete a record that others refer to by a lookup that restricts it."""
        for relation in self._schema.children(sobject):
            if not relation.restricted_delete:
                continue
            child = self._schema[relation.child]
            found = self._connection.execute(
                f"SELECT Id FROM {quoted(child.name)} WHERE {quoted(relation.field)} = ?"
                f"{' AND IsDeleted = 0' if child.has_is_deleted else ''} LIMIT 1",
                [existing["Id"]],
            ).fetchone()
            if found:
                message = (
                    "Your attempt to delete the record could not be completed because it is "
                    f"associated with the following {child.label_plural.lower()}: {found[0]}"
                )
                raise RowRefusedError("DELETE_FAILED", message)

    # Writing

    def _insert(self, sobject: SObject, row: dict[str, Value]) -> str:
        record_id = insert_record(
            self._org, self._connection, sobject, row, user_id=self._user_id, now=self._now
        )
        self._follow(sobject, row, None, record_id)
        return record_id

    def write(self, sobject: SObject, existing: Mapping[str, Value], row: dict[str, Value]) -> None:
        """Change a record beyond what its user could: no rule is asked.

        Args:
            existing: Its stored values, as `existing` and `stored` give them.
            row: The values to change, as the store keeps them.
        """
        record_id = str(existing["Id"])
        row |= system_values(sobject, self._user_id, self._now)
        assignments = ", ".join(f"{quoted(name)} = ?" for name in row)
        self._connection.execute(
            f"UPDATE {quoted(sobject.name)} SET {assignments} WHERE Id = ?",
            [*row.values(), record_id],
        )
        self._follow(sobject, row, existing, record_id)

    def write_by_rules(
        self, sobject: SObject, existing: Mapping[str, Value], row: dict[str, Value]
    ) -> None:
        """Change a record beyond what its user could, if the org's rules let it.

        Args:
            existing: As for `write`, and `row`, too.

        Raises:
            RowRefusedError: A lock, a rule or a fault is against it.
        """
        check_record_lock(self._org, str(existing["Id"]))
        self._check_rules(BEFORE_SAVE, sobject, row, existing)
        self.write(sobject, existing, row)

    def _check_taken_along(self, sobject: SObject, record_id: str) -> None:
        """Refuse a delete that would take along a record that must not be deleted."""
        check_record_lock(self._org, record_id)
        if self._org.faults.may_strike("save"):
            refuse_delete_by_fault(self._saving(sobject, {}, None, record_id))

    def _check_rules(
        self,
        rules: tuple[SaveRule, ...],
        sobject: SObject,
        row: dict[str, Value],
        existing: Mapping[str, Value] | None,
    ) -> None:
        record_id = None if existing is None else str(existing["Id"])
        saving = self._saving(sobject, row, existing, record_id)
        for rule in rules:
            rule(saving)

    def _follow(
        self,
        sobject: SObject,
        row: dict[str, Value],
        existing: Mapping[str, Value] | None,
        record_id: str,
    ) -> None:
        saving = self._saving(sobject, row, existing, record_id)
        for follow in AFTER_SAVE:
            follow(saving)

    def _saving(
        self,
        sobject: SObject,
        row: dict[str, Value],
        existing: Mapping[str, Value] | None,
        record_id: str | None,
    ) -> Saving:
        return Saving(
            org=self._org,
            connection=self._connection,
            sobject=sobject,
            before=existing,
            values=row,
            user_id=self._user_id,
            now=self._now,
            record_id=record_id,
            options=self._options,
        )


def _not_supported(sobject: SObject, operation: str) -> RowRefusedError:
    message = f"entity type {sobject.label} does not support {operation}"
    return RowRefusedError("INSUFFICIENT_ACCESS_OR_READONLY", message)


def external_id_field(sobject: SObject, name: str) -> Field:
    """The field that an upsert may find records by.

    Raises:
        ApiError: NOT_FOUND; the sObject has no such external id.
    """
    item = sobject.field(name)
    if item is None or not (item.external_id or item.id_lookup):
        message = f"Provided external ID field does not exist or is not accessible: {name}"
        raise ApiError(404, "NOT_FOUND", message)
    return item


def sobject_named(schema: Schema, name: str) -> SObject:
    """The sObject of a request's address or body.

    Raises:
        ApiError: NOT_FOUND; the org has no such sObject.
    """
    sobject = schema.get(name)
    if sobject is None:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    return sobject


def _is_missing(item: Field, row: Mapping[str, Value]) -> bool:
    """Whether a new record lacks a value it needs, or blanks one that has a default."""
    if row.get(item.name) is not None:
        return False
    return item.required or (item.createable and not item.nillable and item.name in row)


def _default(sobject: SObject, row: dict[str, Value], user_id: str) -> None:
    """The values a new record gets where none were written."""
    if sobject.name == "Lead":
        row.setdefault("IsUnreadByOwner", 1)
    if sobject.name == "User":
        row.setdefault("IsActive", 1)
    for item in sobject.fields:
        if not item.is_stored or row.get(item.name) is not None:
            continue
        if item.name == "OwnerId":
            row[item.name] = user_id
        elif item.is_picklist and item.default_value and item.defaulted_on_create:
            row[item.name] = item.default_value
