"""What every rule that applies when a record is saved is made of."""

from abc import abstractmethod
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from salesforce_pipelines.local_org.errors import ApiError
from salesforce_pipelines.local_org.metadata.schema import Field as SObjectField
from salesforce_pipelines.local_org.metadata.schema import SObject

if TYPE_CHECKING:
    from salesforce_pipelines.local_org.org import Org


class RuleDefinition(BaseModel):
    """A rule of one sObject; its name is unique among those of its kind."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1)
    sObject: str  # noqa: N815  # as in Salesforce's metadata
    active: bool = True

    @abstractmethod
    def check(self, org: "Org") -> None:
        """See that it fits the org's schema, and bring names to their canonical spelling.

        Raises:
            ApiError: INVALID_INPUT, or what the SOQL compiler says against a condition.
        """


def sobject_of(org: "Org", rule: RuleDefinition) -> SObject:
    """The sObject of a rule, whose name the rule then has in its canonical spelling.

    Raises:
        ApiError: INVALID_INPUT; the org has no such sObject.
    """
    sobject = org.schema.get(rule.sObject)
    if sobject is None:
        raise ApiError(400, "INVALID_INPUT", f"sObject: there is no {rule.sObject}")
    rule.sObject = sobject.name
    return sobject


def field_of(sobject: SObject, name: str) -> SObjectField:
    """A field that the store keeps a value of.

    Raises:
        ApiError: INVALID_INPUT; there is no such field, or it is calculated.
    """
    item = sobject.field(name)
    if item is None or not item.is_stored:
        raise ApiError(400, "INVALID_INPUT", f"{sobject.name} has no stored field {name}")
    return item
