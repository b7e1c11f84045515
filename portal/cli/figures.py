"""`tcewatch figures`: what enterprises report, entered by one person and checked by another."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from config import limit_tables
from monitors.limit_misfits import unfit_parameters
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json, show_rows
from store.database import opened
from store.supplies import Reported

app = typer.Typer(
    help="Reported figures: value added, outputs of products, monthly quantities of carriers, batches of fuel, budgets.", no_args_is_help=True,
)
Kind = Literal["figures", "monthly", "batches", "budgets"]
_SHOWN: Final = {
    "figures": ("id", "state", "enterprise", "period", "figure", "value", "unit", "product", "line", "maker", "checker"),
    "monthly": ("id", "state", "enterprise", "carrier", "flow", "kind", "first_day", "last_day", "quantity", "unit", "document", "withdrawn", "maker",
                "checker"),
    "batches": ("id", "state", "enterprise", "carrier", "batch", "origin", "first_day", "last_day", "mass_t", "lhv", "lhv_unit", "basis",
                "moisture_ratio", "withdrawn", "maker", "checker"),
    "budgets": ("id", "state", "region", "park", "enterprise", "measure", "kind", "period", "target", "base", "source", "withdrawn", "maker",
                "checker"),
}


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help=(
        "CSV or a workbook. With a column `figure`: enterprise, period, figure, value, [unit, product, ...]; with `quantity`: monthly figures of "
        "carriers; with `lhv`: batches of fuel; with `target`: budgets."
    ))],
    maker: Annotated[str, typer.Option(help="Who enters the figures.")],
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Enter figures from FILE; they count once another person has checked them. Further columns of outputs are parameters of their limits."""
    site = settings_from(settings)
    with opened(site.database_url) as database:
        count = Reported(database, unfit_parameters(limit_tables.limits(site.site.tables_dir))).import_file(file, maker=maker, at=datetime.now(UTC))
    show_json(asdict(count)) if as_json else typer.echo(str(count))


@app.command()
def check(
    checker: Annotated[str, typer.Option(help="Who has compared the figures with the report; not their maker.")],
    ids: Annotated[list[int] | None, typer.Argument(help="Ids from `figures list` (default: all that wait and are of others).")] = None,
    of: Annotated[Kind | None, typer.Option(help="Only these; without it ids are of figures.")] = None,
    maker: Annotated[str | None, typer.Option(help="Only the figures of this maker.")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Confirm figures that another person entered."""
    if ids and maker:
        raise typer.BadParameter("give ids or --maker, not both")
    with opened(settings_from(settings).database_url) as database:
        kinds, now = Reported(database).kinds, datetime.now(UTC)
        if ids:
            done = kinds[of or "figures"].check(ids, checker=checker, at=now)
        else:
            done = sum(one.check_all(checker=checker, at=now, maker=maker) for name, one in kinds.items() if of in (None, name))
    show_json({"checked": done}) if as_json else typer.echo(f"{done} figures checked by {checker}")


@app.command("list")
def list_(
    of: Annotated[Kind, typer.Option(help="Figures, monthly quantities of carriers, batches of fuel, or budgets.")] = "figures",
    state: Annotated[str | None, typer.Option(help="unchecked, checked or superseded.")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every report and whether it counts."""
    with opened(settings_from(settings).database_url) as database:
        rows = Reported(database).kinds[of].rows().to_dicts()
    show_rows([row for row in rows if state in (None, row["state"])], _SHOWN[of], as_json=as_json)
