"""`tcewatch user`: people who may log in."""

import getpass
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from config.errors import BadInputError, Problem
from portal.cli.common import SettingsOption, settings_from
from store.database import opened
from store.people import MIN_PASSWORD, ROLES, People

app = typer.Typer(help="People who may log in.", no_args_is_help=True)


@app.callback()
def _people() -> None:
    """People who may log in."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name for the login.")],
    role: Annotated[list[str], typer.Option(help=f"One or several of: {', '.join(ROLES)}.")],
    park: Annotated[list[str] | None, typer.Option(help="Park that the person may see (default: all); may be repeated.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
    settings: SettingsOption = None,
) -> None:
    """Add a person; the first must be an administrator. The password is asked for on a terminal."""
    site = settings_from(settings)
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else _asked()
    with opened(site.database_url) as database:
        People(database).add_user(name, password, role, park or None, datetime.now(UTC), by=f"{getpass.getuser()} (command line)")
    typer.echo(f"{name} may log in as {', '.join(role)}.")


def _asked() -> str:
    if not sys.stdin.isatty():
        raise BadInputError([Problem("password", "is missing, and there is no terminal to ask on", "Give --password-stdin and write it there.")])
    password = getpass.getpass(f"Password ({MIN_PASSWORD} characters or more): ")
    if getpass.getpass("Again: ") != password:
        raise BadInputError([Problem("password", "the two are not the same", "Try again.")])
    return password
