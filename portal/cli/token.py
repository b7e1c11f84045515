"""`tcewatch token`: keys for machines that read through the API."""

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json, show_rows
from store.database import opened
from store.people import SCOPES, People

app = typer.Typer(help="Tokens for machines that read through the API.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    scope: Annotated[list[str], typer.Option(help=f"One or several of: {', '.join(SCOPES)}.")],
    park: Annotated[list[str] | None, typer.Option(help="Park that it may read (default: all); may be repeated.")] = None,
    expires: Annotated[int | None, typer.Option(metavar="DAYS", min=1, max=3650, help="Refuse it after so many days (default: never).")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token; its text is shown this once and cannot be had again."""
    now = datetime.now(UTC)
    end = None if expires is None else now + timedelta(days=expires)
    with opened(settings_from(settings).database_url) as database:
        secret = People(database).add_token(name, scope, park or None, now, end, by=f"{getpass.getuser()} (command line)")
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
