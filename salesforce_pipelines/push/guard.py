"""The one guarded way out: what may be written to the org, and nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salesforce_pipelines.config.models import FieldMapping, LinkField, Pipelines
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.describe import FieldDescribe, SObjectDescribe


class NotAllowedError(PipelineError):
    """A field that the configuration does not name, or that this user may not write."""


@dataclass(frozen=True)
class Stream:
    """One flow of values towards one sObject, such as the enrichment of Contacts.

    Attributes:
        name: What plans and journals call it: contacts, leads, referrals/spring.
        sobject: The sObject it writes to.
        purpose: enrichment or referrals.
        mapping: The only fields it may write, with the column and the rule of each.
    """

    name: str
    sobject: str
    purpose: str
    mapping: Mapping[str, FieldMapping | LinkField]


def streams(config: Pipelines) -> dict[str, Stream]:
    """Every stream that the configuration names; there are no others."""
    found = [
        Stream(name.lower() + "s", name, "enrichment", person.mapping)
        for name, person in config.objects.people().items()
        if person.mapping
    ]
    found += [
        Stream(f"referrals/{slug}", program.member_object(), "referrals", program.write_back)
        for slug, program in config.referrals.items()
        if program.write_back
    ]
    return {stream.name: stream for stream in found}


class Guard:
    """Lets a stream write the fields that are mapped for it and updateable; refuses the rest."""

    def __init__(self, stream: Stream, described: SObjectDescribe) -> None:
        """Hold the stream's mapping against the org's describe.

        Raises:
            MissingFieldError: The org lacks a mapped field, or hides it from this user.
            NotAllowedError: A mapped field is not updateable.
        """
        self.stream = stream
        key = _key(stream)
        found = described.require(stream.mapping, f"{key} in pipelines.yaml")
        for field in found:
            if not field.updateable:
                why = "it is calculated" if field.calculated else "the org does not let this user"
                raise NotAllowedError(
                    f"{key}.{field.name}: {stream.sobject}.{field.name} cannot be updated ({why}). "
                    "Map another field, or give the integration user edit access to it."
                )
        self._fields = {field.name: field for field in found}

    @property
    def fields(self) -> Mapping[str, FieldDescribe]:
        """The fields that may be written, by their API name."""
        return self._fields

    def check(self, sobject: str, fields: Iterable[str]) -> None:
        """Let a write to these fields pass.

        Raises:
            NotAllowedError: A field, or the sObject, is not the stream's.
        """
        extra = sorted(set(fields) - set(self._fields))
        if sobject != self.stream.sobject or extra:
            what = ", ".join(f"{sobject}.{name}" for name in extra) or sobject
            raise NotAllowedError(
                f"{what}: not mapped for {self.stream.name} in pipelines.yaml; nothing was sent"
            )


def _key(stream: Stream) -> str:
    if stream.purpose == "enrichment":
        return f"objects.{stream.sobject}.mapping"
    return f"referrals.{stream.name.partition('/')[2]}.write_back"
