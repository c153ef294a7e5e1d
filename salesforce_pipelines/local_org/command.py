"""`salesforce-pipelines local-org`: serve a local org, or write the people data that matches it."""

import logging
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.generated.generator import records
from salesforce_pipelines.local_org.generated.people import write_people
from salesforce_pipelines.local_org.http.serving import Serving
from salesforce_pipelines.local_org.http.serving import serve as serve_org
from salesforce_pipelines.local_org.metadata.describe_import import import_describes
from salesforce_pipelines.local_org.oauth2.app_options import app_changes
from salesforce_pipelines.local_org.org import DAILY_API_CALLS, Org, Settings
from salesforce_pipelines.local_org.storage.building import GeneratedRecords

app = typer.Typer(
    help="A Salesforce-compatible org on this machine, for trials, demos and tests.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def serve(
    home: Annotated[Path, typer.Option(help="Folder that keeps the org.")],
    port: Annotated[int, typer.Option(help="Port to listen at; 0 picks a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    contacts: Annotated[int, typer.Option(min=0, help="Contacts to generate.")] = 0,
    leads: Annotated[int, typer.Option(min=0, help="Leads to generate.")] = 0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal orgs.")] = 1,
    load: Annotated[
        list[str] | None,
        typer.Option(help="CSV of Contacts to load, or SOBJECT=FILE for another sObject."),
    ] = None,
    describe: Annotated[
        list[Path] | None,
        typer.Option(help="Describe JSON of a real org, whose fields the org shall have."),
    ] = None,
    client_id: Annotated[str, typer.Option(help="Consumer key.")] = Settings().client_id,
    client_secret: Annotated[str, typer.Option(help="Consumer secret.")] = Settings().client_secret,
    api_limit: Annotated[int, typer.Option(min=1, help="API calls per day.")] = DAILY_API_CALLS,
    session_seconds: Annotated[
        int | None, typer.Option(help="Seconds a session lives after its last use.")
    ] = None,
    code_seconds: Annotated[
        int | None, typer.Option(help="Seconds an authorization code can be exchanged.")
    ] = None,
    callback: Annotated[
        list[str] | None,
        typer.Option(help="Address a login may end at, beside every one of this machine."),
    ] = None,
    require_pkce: Annotated[
        bool | None,
        typer.Option("--require-pkce/--no-require-pkce", help="Whether logins need PKCE."),
    ] = None,
    rotate_refresh_tokens: Annotated[
        bool | None,
        typer.Option(
            "--rotate-refresh-tokens/--no-rotate-refresh-tokens",
            help="Whether each refresh gives a new refresh token.",
        ),
    ] = None,
    jwt_certificate: Annotated[
        list[Path] | None,
        typer.Option(help="PEM certificate that checks the signatures of JWT bearer logins."),
    ] = None,
    preauthorised_user: Annotated[
        list[str] | None,
        typer.Option(help="Username that JWT bearer may log in at once; * for every user."),
    ] = None,
    client_credentials_user: Annotated[
        str | None,
        typer.Option(help="Username that client credentials run as; '' for nobody."),
    ] = None,
    soap_login: Annotated[
        bool,
        typer.Option(
            "--soap-login",
            help="Allow SOAP login() up to v64, with a username and the consumer secret.",
        ),
    ] = False,
    admin_from_anywhere: Annotated[
        bool,
        typer.Option(
            "--admin-from-anywhere",
            help="Let other machines see the pages and use /local-org/ too.",
        ),
    ] = False,
    host_name: Annotated[
        list[str] | None,
        typer.Option(help="Public name that the org answers to, beside localhost and addresses."),
    ] = None,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Log each call, without ids and values.")
    ] = False,
) -> None:
    """Serve an org until SIGINT or SIGTERM; a home that has one keeps its records."""
    level = logging.INFO if access_log else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    serving = Serving(
        home=home,
        host=host,
        port=port,
        seed=seed,
        records=partial(_generated, contacts, leads, seed),
        load=tuple(load or ()),
        describe=tuple(describe or ()),
        settings=Settings(
            client_id=client_id,
            client_secret=client_secret,
            daily_api_calls=api_limit,
            app_changes=app_changes(
                session_seconds=session_seconds,
                code_seconds=code_seconds,
                callbacks=callback or None,
                require_pkce=require_pkce,
                rotate_refresh_tokens=rotate_refresh_tokens,
                certificates=jwt_certificate,
                preauthorised_users=preauthorised_user,
                client_credentials_user=client_credentials_user,
            ),
            soap_login=soap_login,
            admin_from_anywhere=admin_from_anywhere,
            host_names=tuple(host_name or ()),
        ),
    )
    serve_org(serving, announce=lambda line: print(line, flush=True))


def _generated(contacts: int, leads: int, seed: int) -> GeneratedRecords:
    return records(contacts, leads, seed) if contacts or leads else ()


@app.command()
def import_describe(
    files: Annotated[list[Path], typer.Argument(help="Describe JSON of a real org's sObjects.")],
    home: Annotated[Path, typer.Option(help="Folder that keeps the org.")],
) -> None:
    """Take over the fields and custom sObjects of a real org into an org that is not running."""
    if not (home / "org.db").exists():
        message = f"{home} has no org yet. Serve one there first, or use serve --describe."
        raise PipelineError(message)
    org = Org(home, Settings())
    try:
        for report in import_describes(org, files):
            print("\n".join(report.lines()))
    finally:
        org.close()


@app.command()
def people(
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    contacts: Annotated[int, typer.Option(min=0, help="Contacts of the org.")] = 0,
    leads: Annotated[int, typer.Option(min=0, help="Leads of the org.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the org.")] = 1,
) -> None:
    """Write the people data that matches a generated org."""
    print(f"{write_people(out, contacts, leads, seed)} people written to {out}")
