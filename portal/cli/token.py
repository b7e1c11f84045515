"""`tcewatch token`: keys for machines that read through the API, and for gateways that send through it."""

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from config.errors import BadInputError, Problem
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json, show_rows
from store.database import opened
from store.people import SCOPES, People

app = typer.Typer(help="Tokens for machines that read, and gateways that send, through the API.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    scope: Annotated[list[str] | None, typer.Option(help=f"What it may read, one or several of: {', '.join(SCOPES)}.")] = None,
    park: Annotated[list[str] | None, typer.Option(help="Park that it may read (default: all); may be repeated.")] = None,
    gateway: Annotated[str | None, typer.Option(
        metavar="ENTERPRISE/GATEWAY", help="The gateway that sends its readings with it; such a token reads nothing.")] = None,
    expires: Annotated[int | None, typer.Option(metavar="DAYS", min=1, max=3650, help="Refuse it after so many days (default: never).")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token; its text is shown this once and cannot be had again."""
    now = datetime.now(UTC)
    end = None if expires is None else now + timedelta(days=expires)
    if gateway is not None and (scope or park):
        raise BadInputError([Problem("--gateway", "goes with neither --scope nor --park", "A gateway's token sends and reads nothing.")])
    by = f"{getpass.getuser()} (command line)"
    with opened(settings_from(settings).database_url) as database:
        if gateway is None:
            secret = People(database).add_token(name, scope or [], park or None, now, end, by=by)
        else:
            enterprise, _, of_gateway = gateway.partition("/")
            secret = People(database).add_gateway_token(name, (enterprise, of_gateway), now, end, by=by)
    if as_json:
        show_json({"name": name, "token": secret, "expires_at": end})
        return
    typer.echo(secret)
    typer.echo("Keep it now: it is stored as a hash and cannot be shown again.", err=True)


@app.command("list")
def list_(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Show the tokens, never their text."""
    with opened(settings_from(settings).database_url) as database:
        tokens = People(database).tokens()
    show_rows(tokens.to_dicts(), tokens.columns, as_json=as_json)


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="Its name.")], settings: SettingsOption = None) -> None:
    """Refuse a token from now on."""
    with opened(settings_from(settings).database_url) as database:
        People(database).revoke_token(name, datetime.now(UTC), by=f"{getpass.getuser()} (command line)")
    typer.echo(f"{name} is refused from now on.")
