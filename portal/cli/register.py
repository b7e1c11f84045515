"""`tcewatch register`: the register of enterprises, meters and registers, in and out of files."""

import getpass
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json
from store.database import opened
from store.register import RegisterStore

app = typer.Typer(help="The register: parks, enterprises, gateways, meters, registers, what they stand for.", no_args_is_help=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A workbook (.xlsx, one sheet for each table) or a folder of CSV files named by table.")],
    by: Annotated[str | None, typer.Option(help="Who answers for it (default: the name of this login).")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over rows from FILE; rows that it lacks stay, and the same file again changes nothing."""
    site = settings_from(settings)
    with opened(site.database_url) as database:
        count = RegisterStore(database, zone=site.site.zone).import_file(file, by=by or getpass.getuser(), known_from=datetime.now(UTC))
    show_json(asdict(count)) if as_json else typer.echo(str(count))


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="A workbook (.xlsx), else a folder for CSV files.")],
    settings: SettingsOption = None,
) -> None:
    """Write the current rows to FILE; `register import` reads it again."""
    site = settings_from(settings)
    with opened(site.database_url) as database:
        RegisterStore(database, zone=site.site.zone).export_file(file)
    typer.echo(f"Written: {file}")
