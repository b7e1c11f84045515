"""`tcewatch papers`: papers of an enterprise as workbooks, filled from its accounts."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from config.errors import BadInputError
from pipeline.site import Site
from portal import papers
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json

app = typer.Typer(help="Papers of an enterprise: meters fitted, yearly utilisation report, purchase, consumption and stock.", no_args_is_help=True)
EnterpriseOption = Annotated[str, typer.Option(help="Credit code of the enterprise.")]
YearOption = Annotated[int, typer.Option(help="Calendar year.")]
OutOption = Annotated[Path, typer.Option(help="The workbook (.xlsx); one that is there is replaced.")]


@app.command()
def fitting(enterprise: EnterpriseOption, year: YearOption, out: OutOption, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Write the meter fitting table (GB 17167): needed and fitted meters at three levels, accuracy classes, each point and meter."""
    _write("fitting", enterprise, year, out, settings, as_json=as_json)


@app.command()
def utilisation(enterprise: EnterpriseOption, year: YearOption, out: OutOption, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Write the yearly energy utilisation report (Energy Conservation Law, art. 53)."""
    _write("utilisation", enterprise, year, out, settings, as_json=as_json)


@app.command()
def stock(enterprise: EnterpriseOption, year: YearOption, out: OutOption, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Write the statistical form of energy purchase, consumption and stock."""
    _write("stock", enterprise, year, out, settings, as_json=as_json)


def _write(kind: papers.Kind, enterprise: str, year: int, out: Path, settings: Path | None, *, as_json: bool) -> None:
    if out.suffix.lower() != ".xlsx":
        raise typer.BadParameter(f"{out} is no workbook; let its name end in .xlsx", param_hint="--out")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}", param_hint="--out")
    site, now = Site(settings_from(settings)), datetime.now(UTC)
    try:
        if wrong := papers.problems(site, enterprise, year, now):
            raise BadInputError(wrong)
        one, title = papers.paper(site, kind, enterprise, year, now), papers.title(site, kind, enterprise, year)
    finally:
        site.close()
    beside = out.with_name(f".{out.name}.new")
    papers.write(one, beside, title)
    beside.replace(out)
    cells = papers.table(one)
    empty = cells["missing"].ne("").sum()
    if as_json:
        show_json({"file": str(out), "cells": cells.height, "empty": empty})
    else:
        typer.echo(f"{out}: {cells.height} cells, {empty} of them empty; sheet {papers.SOURCES} says where each comes from or why it is empty")
