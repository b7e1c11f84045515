"""`tcewatch figures`: what enterprises report, entered by one person and checked by another."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json, show_rows
from store.database import opened
from store.figures import Figures

app = typer.Typer(help="Reported figures: value added, output value, outputs of products.", no_args_is_help=True)
_SHOWN = ("id", "state", "enterprise", "period", "figure", "value", "unit", "product", "line", "maker", "checker")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV or a workbook: enterprise, period, figure, value, [unit, product, ...].")],
    maker: Annotated[str, typer.Option(help="Who enters the figures.")],
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enter figures from FILE; they count once another person has checked them."""
    with opened(settings_from(settings).database_url) as database:
        count = Figures(database).import_file(file, maker=maker, at=datetime.now(UTC))
    show_json(asdict(count)) if as_json else typer.echo(str(count))


@app.command()
def check(
    checker: Annotated[str, typer.Option(help="Who has compared the figures with the report; not their maker.")],
    ids: Annotated[list[int] | None, typer.Argument(help="Ids from `figures list` (default: all that wait and are of others).")] = None,
    maker: Annotated[str | None, typer.Option(help="Only the figures of this maker.")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Confirm figures that another person entered."""
    if ids and maker:
        raise typer.BadParameter("give ids or --maker, not both")
    with opened(settings_from(settings).database_url) as database:
        figures, now = Figures(database), datetime.now(UTC)
        done = figures.check(ids, checker=checker, at=now) if ids else figures.check_all(checker=checker, at=now, maker=maker)
    show_json({"checked": done}) if as_json else typer.echo(f"{done} figures checked by {checker}")


@app.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="unchecked, checked or superseded.")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every report and whether it counts."""
    with opened(settings_from(settings).database_url) as database:
        rows = Figures(database).rows().to_dicts()
    show_rows([row for row in rows if state in (None, row["state"])], _SHOWN, as_json=as_json)
