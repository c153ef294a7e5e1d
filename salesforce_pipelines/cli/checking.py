"""Holding the configuration against the org and the people data, before anything runs."""

from collections.abc import Iterator

from salesforce_pipelines.config.models import Pipelines
from salesforce_pipelines.enrichment.providers import FilePeople
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.org.describe import describe
from salesforce_pipelines.org.session import OrgSession
from salesforce_pipelines.pull.drift import configured
from salesforce_pipelines.pull.scope import condition_of, validate
from salesforce_pipelines.push.guard import Guard, streams


def check_all(pipelines: Pipelines) -> Iterator[str]:
    """What was found in order, line by line.

    Raises:
        PipelineError: At the end, with every problem that was found.
    """
    problems: list[str] = []
    session = OrgSession(pipelines.connection)
    try:
        yield f"org: {session.login_url}"
        described = {}
        for name in pipelines.objects.pulled():
            described[name] = describe(session, name)
            try:
                wanted = pipelines.objects.pulled()[name]
                described[name].require(pipelines.fields_of(name), f"objects.{name}")
                every = wanted.fields == "all"
                names = configured(described[name], pipelines.fields_of(name), every)
                yield f"{name}: {len(names)} fields can be read"
                if condition := condition_of(session, name, wanted.scope):
                    yield f"{name}: {validate(session, name, condition):,} records in scope"
            except PipelineError as error:
                problems.append(str(error))
        for stream in streams(pipelines).values():
            try:
                Guard(stream, described[stream.sobject])
                yield f"{stream.name}: {', '.join(stream.mapping)} can be written"
            except PipelineError as error:
                problems.append(str(error))
    finally:
        session.close()
    try:
        columns = [
            field.source
            for person in pipelines.objects.people().values()
            for field in person.mapping.values()
        ]
        FilePeople(pipelines.enrichment.provider).check(list(dict.fromkeys(columns)))
        yield f"people data: {pipelines.enrichment.provider.path.name} can be read"
    except PipelineError as error:
        problems.append(str(error))
    if problems:
        raise PipelineError("\n".join(dict.fromkeys(problems)))
