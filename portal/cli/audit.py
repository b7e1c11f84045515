"""`tcewatch audit`: whether the records of who did what are as they were written."""

from typing import Annotated

import typer

from portal.cli.common import EXIT_BAD_INPUT, JsonOption, SettingsOption, settings_from, show_json, show_rows
from store.audit import AuditLog
from store.database import opened

app = typer.Typer(help="Records of who did what, chained by hash.", no_args_is_help=True)


@app.command()
def verify(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Follow the chain and name the first record that was altered, removed or put in (exit 3)."""
    with opened(settings_from(settings).database_url) as database:
        log = AuditLog(database)
        found, head = log.verify(), log.head()
    if as_json:
        show_json({"checked": found.checked, "broken": found.broken, "what": found.what, "head": head})
    elif found.broken is None:
        typer.echo(f"{found.checked} records hold. Last hash: {head}")
    else:
        typer.echo(f"The audit records are not as they were written: {found.what}. {found.checked} records before it hold.", err=True)
    if found.broken is not None:
        raise typer.Exit(EXIT_BAD_INPUT)


@app.command("list")
def list_(
    after: Annotated[int, typer.Option(help="Go on after this record.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Records to show.")] = 100,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show records in order."""
    with opened(settings_from(settings).database_url) as database:
        rows = AuditLog(database).entries(after=after, limit=limit)
    show_rows(rows.to_dicts(), rows.columns, as_json=as_json)
