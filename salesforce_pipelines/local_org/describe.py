"""What the org says about itself: its versions, resources, limits, sObjects and their fields."""

from typing import Any

from salesforce_pipelines.local_org import conditional_requests
from salesforce_pipelines.local_org.calls import Call, Reply
from salesforce_pipelines.local_org.dml import sobject_named
from salesforce_pipelines.local_org.org import NEWEST_VERSION, OLDEST_VERSION
from salesforce_pipelines.local_org.schema import Field, PicklistValue, Schema, SObject

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
    "address": "urn:address",
    "anyType": "xsd:anyType",
}
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
    body = {
        "encoding": "UTF-8",
        "maxBatchSize": 200,
        "sobjects": [_summary(sobject, call.version) for sobject in call.schema],
    }
    return _conditional(call, body)


def basic_information(call: Call) -> Reply:
    """`GET sobjects/X`."""
    sobject = sobject_named(call.schema, call.captured["sobject"])
    return Reply({"objectDescribe": _summary(sobject, call.version), "recentItems": []})


def describe(call: Call) -> Reply:
    """`GET sobjects/X/describe`."""
    sobject = sobject_named(call.schema, call.captured["sobject"])
    return _conditional(call, describe_sobject(call.schema, sobject, call.version))


def _conditional(call: Call, body: dict[str, Any]) -> Reply:
    reply = Reply(body, headers={"ETag": conditional_requests.content_tag(body)})
    return conditional_requests.answered(
        call, reply, conditional_requests.schema_modified(call.org)
    )


def describe_sobject(schema: Schema, sobject: SObject, version: str) -> dict[str, Any]:
    """An sObject's describe, with every key that v59 has."""
    url = f"/services/data/v{version}/sobjects/{sobject.name}"
    return {
        **_summary(sobject, version),
        "actionOverrides": [],
        "childRelationships": [
            {
                "cascadeDelete": child.cascade_delete,
                "childSObject": child.child,
                "deprecatedAndHidden": False,
                "field": child.field,
                "junctionIdListNames": [],
                "junctionReferenceTo": [],
                "relationshipName": child.name or None,
                "restrictedDelete": False,
            }
            for child in schema.children(sobject)
        ],
        "compactLayoutable": sobject.listviewable,
        "defaultImplementation": None,
        "extendedBy": None,
        "extendsInterfaces": None,
        "fields": [_describe_field(item) for item in sobject.fields],
        "implementedBy": None,
        "implementsInterfaces": None,
        "listviewable": None,
        "lookupLayoutable": None,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "recordTypeInfos": [
            {
                "active": True,
                "available": True,
                "defaultRecordTypeMapping": True,
                "developerName": "Master",
                "master": True,
                "name": "Master",
                "recordTypeId": "012000000000000AAA",
                "urls": {"layout": f"{url}/describe/layouts/012000000000000AAA"},
            }
        ],
        "searchLayoutable": sobject.listviewable,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": [
            {"label": f"All {sobject.label_plural.lower()}", "name": "everything"},
            *(
                [{"label": f"My {sobject.label_plural.lower()}", "name": "mine"}]
                if sobject.field("OwnerId")
                else []
            ),
        ],
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
    return {
        "activateable": False,
        "associateEntityType": "History" if sobject.is_history else None,
        "associateParentEntity": sobject.fields[2].refers_to[0] if sobject.is_history else None,
        "createable": sobject.createable,
        "custom": False,
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


def _describe_field(item: Field) -> dict[str, Any]:
    is_boolean, is_address = item.type == "boolean", item.type == "address"
    calculated = bool(item.formula and item.formula.text)
    polymorphic = len(item.refers_to) > 1
    return {
        "aggregatable": not is_boolean and not is_address and item.filterable,
        "aiPredictionField": False,
        "autoNumber": False,
        "byteLength": item.length if item.is_id else item.length * 3,
        "calculated": calculated,
        "calculatedFormula": item.formula.text if item.formula and calculated else None,
        "cascadeDelete": False,
        "caseSensitive": False,
        "compoundFieldName": item.compound_name,
        "controllerName": None,
        "createable": item.createable,
        "custom": item.custom,
        "defaultValue": False if is_boolean else None,
        "defaultValueFormula": None,
        "defaultedOnCreate": item.defaulted_on_create,
        "dependentPicklist": False,
        "deprecatedAndHidden": False,
        "digits": item.precision if item.type == "int" else 0,
        "displayLocationInDecimal": False,
        "encrypted": False,
        "externalId": item.external_id,
        "extraTypeInfo": _extra_type(item),
        "filterable": item.filterable,
        "filteredLookupInfo": None,
        "formulaTreatNullNumberAsZero": calculated and item.is_number,
        "groupable": item.groupable,
        "highScaleNumber": False,
        "htmlFormatted": False,
        "idLookup": item.id_lookup,
        "inlineHelpText": None,
        "label": item.label,
        "length": item.length,
        "mask": None,
        "maskType": None,
        "name": item.name,
        "nameField": item.name_field,
        "namePointing": polymorphic,
        "nillable": item.nillable,
        "permissionable": item.custom
        or (item.nillable and not item.compound_name and item.updateable),
        "picklistValues": [_picklist_value(value) for value in item.picklist],
        "polymorphicForeignKey": polymorphic,
        "precision": 0 if item.type == "int" else item.precision,
        "queryByDistance": is_address,
        "referenceTargetField": None,
        "referenceTo": list(item.refers_to),
        "relationshipName": item.relationship_name,
        "relationshipOrder": None,
        "restrictedDelete": False,
        "restrictedPicklist": item.restricted,
        "scale": item.scale,
        "searchPrefilterable": False,
        "soapType": _SOAP_TYPES.get(item.type, "xsd:string"),
        "sortable": item.filterable and not is_address,
        "type": item.type,
        "unique": item.unique,
        "updateable": item.updateable,
        "writeRequiresMasterRead": False,
    }


def _picklist_value(value: PicklistValue) -> dict[str, Any]:
    return {
        "active": True,
        "defaultValue": value.default,
        "label": value.label,
        "validFor": None,
        "value": value.value,
    }


def _extra_type(item: Field) -> str | None:
    if item.name == "PhotoUrl":
        return "imageurl"
    if item.compound_name == "Name" or (item.name == "Name" and item.formula):
        return "personname"
    if item.type == "textarea":
        return "plaintextarea"
    return None
