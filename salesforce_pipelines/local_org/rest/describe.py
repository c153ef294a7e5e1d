"""What the org says about itself: its versions, resources, limits, sObjects and their fields."""

from typing import Any

from salesforce_pipelines.local_org.admin.unconfirmed import choice
from salesforce_pipelines.local_org.http import conditional_requests
from salesforce_pipelines.local_org.http.calls import Call, Reply
from salesforce_pipelines.local_org.metadata.schema import (
    ChildRelationship,
    Field,
    PicklistValue,
    Schema,
    SObject,
)
from salesforce_pipelines.local_org.org import NEWEST_VERSION, OLDEST_VERSION
from salesforce_pipelines.local_org.rest.list_views import has_list_views
from salesforce_pipelines.local_org.saves.dml import sobject_named

_SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "time": "xsd:time",
    "address": "urn:address",
    "anyType": "xsd:anyType",
    "location": "urn:location",
}
_SINCE = {
    **dict.fromkeys(("aiPredictionField", "formulaTreatNullNumberAsZero", "deepCloneable"), 46),
    **dict.fromkeys(("defaultImplementation", "extendedBy", "extendsInterfaces"), 46),
    **dict.fromkeys(("implementedBy", "implementsInterfaces", "isInterface"), 46),
    **dict.fromkeys(("associateEntityType", "associateParentEntity"), 50),
    "developerName": 43,
}
"""The version that brought a key: recorded describes of v42 and v48 lack them, those of v59 have
them. In which version between they came is a guess."""
_UNFILTERED_LOOKUPS = frozenset({"MasterRecordId", "RecordTypeId"})
_SEASONS = ("Spring", "Summer", "Winter")


def versions(call: Call) -> Reply:
    """`GET /services/data`."""
    return Reply(
        [
            {
                "label": _label(number),
                "url": f"/services/data/v{number}.0",
                "version": f"{number}.0",
            }
            for number in range(OLDEST_VERSION, NEWEST_VERSION + 1)
        ]
    )


def _label(number: int) -> str:
    """The release of a version: v42 is Spring '18, and each year has three."""
    years, season = divmod(number - 42, 3)
    year = 18 + years + (1 if _SEASONS[season] == "Winter" else 0)
    return f"{_SEASONS[season]} '{year}"


def resources(call: Call) -> Reply:
    """`GET /services/data/vXX.X`."""
    root = f"/services/data/v{call.version}"
    names = ["sobjects", "query", "queryAll", "limits", "jobs", "composite", "recent", "search"]
    names += ["parameterizedSearch", "tooling"]
    user = f"{call.host}/id/{call.org.store.org_id}/{call.user_id}"
    return Reply({**{name: f"{root}/{name}" for name in names}, "identity": user})


def limits(call: Call) -> Reply:
    """`GET limits`."""
    most = call.org.settings.daily_api_calls
    left = max(0, most - call.org.state.calls_used())
    bulk = call.org.limits
    most_jobs, most_mb = bulk.daily_bulk_query_jobs, bulk.daily_bulk_query_mb
    query_jobs = max(0, most_jobs - bulk.bulk_query_jobs.used())
    query_mb = max(0, most_mb - bulk.bulk_query_mb_used)
    return Reply(
        {
            "DailyApiRequests": {"Max": most, "Remaining": left},
            "DailyAsyncApexExecutions": {"Max": 250_000, "Remaining": 250_000},
            "DailyBulkApiBatches": {"Max": 15_000, "Remaining": 15_000},
            "DailyBulkV2QueryFileStorageMB": {"Max": most_mb, "Remaining": query_mb},
            "DailyBulkV2QueryJobs": {"Max": most_jobs, "Remaining": query_jobs},
            "DataStorageMB": {"Max": 10_240, "Remaining": 10_240},
            "FileStorageMB": {"Max": 10_240, "Remaining": 10_240},
            "SingleEmail": {"Max": 5_000, "Remaining": 5_000},
        }
    )


def record_count(call: Call) -> Reply:
    """`GET limits/recordCount`: an empty sObject is left out."""
    wanted = {
        name.strip().lower() for name in call.query.get("sObjects", "").split(",") if name.strip()
    }
    counts = call.org.count_rows()
    return Reply(
        {
            "sObjects": [
                {"count": count, "name": name}
                for name, count in counts.items()
                if count and (not wanted or name.lower() in wanted)
            ]
        }
    )


def describe_global(call: Call) -> Reply:
    """`GET sobjects`."""
    summaries = [
        _with_list_views(call, sobject, _summary(sobject, call.version)) for sobject in call.schema
    ]
    body = {
        "encoding": "UTF-8",
        "maxBatchSize": 200,
        "sobjects": [_known_at(call.version, summary) for summary in summaries],
    }
    return _conditional(call, body)


def basic_information(call: Call) -> Reply:
    """`GET sobjects/X`."""
    sobject = sobject_named(call.schema, call.captured["sobject"])
    summary = _with_list_views(call, sobject, _summary(sobject, call.version))
    summary = _known_at(call.version, summary)
    return Reply({"objectDescribe": summary, "recentItems": []})


def describe(call: Call) -> Reply:
    """`GET sobjects/X/describe`."""
    sobject = sobject_named(call.schema, call.captured["sobject"])
    body = describe_sobject(call.schema, sobject, call.version)
    if choice(call.org.state, "roll_up_formula") == "empty":
        for item in body["fields"]:
            if item["calculated"] and item["calculatedFormula"] is None:
                item["calculatedFormula"] = ""
    return _conditional(call, _with_list_views(call, sobject, body))


def _with_list_views(call: Call, sobject: SObject, body: dict[str, Any]) -> dict[str, Any]:
    """A describe with the address of the list views, if the sObject has some."""
    if has_list_views(call.org, sobject):
        body["urls"]["listviews"] = f"{body['urls']['sobject']}/listviews"
    return body


def _conditional(call: Call, body: dict[str, Any]) -> Reply:
    reply = Reply(body, headers={"ETag": conditional_requests.content_tag(body)})
    return conditional_requests.answered(
        call, reply, conditional_requests.schema_modified(call.org)
    )


def describe_sobject(schema: Schema, sobject: SObject, version: str) -> dict[str, Any]:
    """An sObject's describe, with every key that the version has."""
    url = f"/services/data/v{version}/sobjects/{sobject.name}"
    keys = {
        **_summary(sobject, version),
        "actionOverrides": [],
        "childRelationships": [_describe_child(child) for child in schema.children(sobject)],
        "compactLayoutable": sobject.listviewable,
        "defaultImplementation": None,
        "extendedBy": None,
        "extendsInterfaces": None,
        "implementedBy": None,
        "implementsInterfaces": None,
        "listviewable": None,
        "lookupLayoutable": None,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "recordTypeInfos": [_MASTER_RECORD_TYPE],
        "searchLayoutable": sobject.listviewable,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": _scopes(sobject),
        **sobject.described,
    }
    keys["recordTypeInfos"] = [
        _known_at(
            version,
            {**info, "urls": {"layout": f"{url}/describe/layouts/{info['recordTypeId']}"}},
        )
        for info in keys["recordTypeInfos"]
    ]
    keys["fields"] = [_known_at(version, describe_field(item)) for item in sobject.fields]
    return _known_at(version, keys)


def _known_at(version: str, keys: dict[str, Any]) -> dict[str, Any]:
    """The keys that a version has."""
    return {key: value for key, value in keys.items() if _SINCE.get(key, 0) <= float(version)}


_MASTER_RECORD_TYPE: dict[str, Any] = {
    "active": True,
    "available": True,
    "defaultRecordTypeMapping": True,
    "developerName": "Master",
    "master": True,
    "name": "Master",
    "recordTypeId": "012000000000000AAA",
}


def _scopes(sobject: SObject) -> list[dict[str, str]]:
    """The scopes that `USING SCOPE` takes."""
    plural = sobject.label_plural.lower()
    everything = {"label": f"All {plural}", "name": "everything"}
    mine = {"label": f"My {plural}", "name": "mine"}
    return [everything, mine] if sobject.field("OwnerId") else [everything]


def _describe_child(child: ChildRelationship) -> dict[str, Any]:
    return {
        "cascadeDelete": child.cascade_delete,
        "childSObject": child.child,
        "deprecatedAndHidden": False,
        "field": child.field,
        "junctionIdListNames": [],
        "junctionReferenceTo": [],
        "relationshipName": child.name or None,
        "restrictedDelete": child.restricted_delete,
    }


def _summary(sobject: SObject, version: str) -> dict[str, Any]:
    url = f"/services/data/v{version}/sobjects/{sobject.name}"
    urls = {
        "sobject": url,
        "describe": f"{url}/describe",
        "rowTemplate": f"{url}/{{ID}}",
        "layouts": f"{url}/describe/layouts",
        "compactLayouts": f"{url}/describe/compactLayouts",
    }
    if sobject.listviewable:
        urls["listviews"] = f"{url}/listviews"
    summary = {
        "activateable": False,
        "associateEntityType": "History" if sobject.is_history else None,
        "associateParentEntity": sobject.fields[2].refers_to[0] if sobject.is_history else None,
        "createable": sobject.createable,
        "custom": sobject.custom,
        "customSetting": False,
        "deepCloneable": False,
        "deletable": sobject.deletable,
        "deprecatedAndHidden": False,
        "feedEnabled": sobject.listviewable,
        "hasSubtypes": False,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": sobject.key_prefix,
        "label": sobject.label,
        "labelPlural": sobject.label_plural,
        "layoutable": sobject.listviewable,
        "mergeable": sobject.mergeable,
        "mruEnabled": sobject.listviewable,
        "name": sobject.name,
        "queryable": True,
        "replicateable": True,
        "retrieveable": True,
        "searchable": sobject.listviewable,
        "triggerable": sobject.createable,
        "undeletable": sobject.undeletable,
        "updateable": sobject.updateable,
        "urls": urls,
    }
    return summary | {key: value for key, value in sobject.described.items() if key in summary}


def describe_field(item: Field) -> dict[str, Any]:
    """A field's entry in its sObject's describe, with every key of v59."""
    is_compound, is_reference = item.is_compound, item.type == "reference"
    polymorphic = len(item.refers_to) > 1
    return {
        "aggregatable": item.aggregatable,
        "aiPredictionField": False,
        "autoNumber": item.auto_number is not None,
        "byteLength": item.length if item.is_id or _is_multiple(item) else item.length * 3,
        "calculated": item.calculated,
        "calculatedFormula": item.calculated_text,
        "cascadeDelete": is_reference and item.relationship_order is not None,
        "caseSensitive": item.case_sensitive,
        "compoundFieldName": item.compound_name,
        "controllerName": item.controller,
        "createable": item.createable,
        "custom": item.custom,
        "defaultValue": _default_value(item),
        "defaultValueFormula": item.default_formula,
        "defaultedOnCreate": item.defaulted_on_create,
        "dependentPicklist": item.controller is not None,
        "deprecatedAndHidden": False,
        "digits": item.precision if item.type == "int" else 0,
        "displayLocationInDecimal": item.type == "location",
        "encrypted": item.type == "encryptedstring",
        "externalId": item.external_id,
        "extraTypeInfo": _extra_type(item),
        "filterable": item.filterable,
        "filteredLookupInfo": None,
        "formulaTreatNullNumberAsZero": item.treats_null_as_zero,
        "groupable": item.groupable,
        "highScaleNumber": False,
        "htmlFormatted": item.html,
        "idLookup": item.id_lookup,
        "inlineHelpText": item.help_text,
        "label": item.label,
        "length": item.length,
        "mask": item.mask,
        "maskType": item.mask_type,
        "name": item.name,
        "nameField": item.name_field,
        "namePointing": polymorphic,
        "nillable": item.nillable,
        "permissionable": item.permissionable,
        "picklistValues": [_picklist_value(value) for value in item.picklist],
        "polymorphicForeignKey": polymorphic,
        "precision": 0 if item.type == "int" else item.precision,
        "queryByDistance": is_compound,
        "referenceTargetField": None,
        "referenceTo": list(item.refers_to),
        "relationshipName": item.relationship_name,
        "relationshipOrder": item.relationship_order,
        "restrictedDelete": item.restricted_delete,
        "restrictedPicklist": item.restricted,
        "scale": item.scale,
        "searchPrefilterable": is_reference
        and item.nillable
        and not polymorphic
        and item.name not in _UNFILTERED_LOOKUPS,
        "soapType": _SOAP_TYPES.get(item.type, "xsd:string"),
        "sortable": item.sortable,
        "type": item.type,
        "unique": item.unique,
        "updateable": item.updateable,
        "writeRequiresMasterRead": False,
        **item.described,
    }


def _is_multiple(item: Field) -> bool:
    return item.type == "multipicklist"


def _default_value(item: Field) -> object:
    if item.type == "boolean":
        return bool(item.default)
    if item.is_picklist:
        return item.default_value if item.defaulted_on_create else None
    return item.default


def _picklist_value(value: PicklistValue) -> dict[str, Any]:
    return {
        "active": value.active,
        "defaultValue": value.default,
        "label": value.label,
        "validFor": value.valid_for,
        "value": value.value,
    }


def _extra_type(item: Field) -> str | None:
    if item.name == "PhotoUrl":
        return "imageurl"
    if item.compound_name == "Name" or (item.name == "Name" and item.formula):
        return "personname"
    if item.type == "textarea":
        return "richtextarea" if item.html else "plaintextarea"
    return None
