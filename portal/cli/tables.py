"""`tcewatch tables`: the dated tables of the law, and who has compared which limit with the standard's text."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from pydantic import BaseModel
from rich.cells import cell_len

from config import coal_equivalents, lawbook, limit_tables, schemas
from config import settings as site_settings
from config.errors import BadInputError, Problem
from config.lawbook import MODELS
from config.tables import DatedRow, TableRow, load
from monitors.corrections import parameters
from monitors.limits import with_standing
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json, show_rows
from store import law_files
from store.confirmations import Confirmations
from store.database import opened

app = typer.Typer(help="The shipped and the site's own tables: limits, coal equivalents, confirmations.")
OnOption = Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="Only rows in force on this day.")]
KINDS = {"limits": "energy-consumption limits of products (GB standards)", "coal_equivalent": "coal equivalents of carriers (GB/T 2589-2020)"}
PLAIN = {name: (model.__doc__ or "").partition("\n")[0] for name, model in MODELS.items() if name not in KINDS}  # shown as they stand in their files
TableOption = Annotated[str | None, typer.Option("--table", help="Whose rows a CSV holds, where its name does not begin with the table's.")]
COEFFICIENT_COLUMNS = ("carrier", "name_zh", "basis", "kgce_per_unit", "unit", "valid_from", "valid_to", "role", "confidence", "source")


@app.callback(invoke_without_command=True)
def _tables(context: typer.Context, on: OnOption = None, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """List the tables; name one to see its rows."""
    if context.invoked_subcommand is not None:  # an option before the name holds for the table that is named
        given = {"on": on and f"{on:%Y-%m-%d}", "settings": settings and str(settings), "as_json": as_json or None}
        context.default_map = {name: {key: value for key, value in given.items() if value is not None} for name in KINDS | PLAIN}
        return
    folder = settings_from(settings).site.tables_dir
    counted = {"limits": _limits(settings, on), "coal_equivalent": _coefficients(folder, on), **{name: _plain(name, folder, on) for name in PLAIN}}
    show_rows(
        [
            {"table": name, "content": (KINDS | PLAIN)[name], "rows": len(rows), **{
                confidence: sum(row.get("confidence") == confidence for row in rows) for confidence in ("high", "medium", "low")
            }}
            for name, rows in counted.items()
        ],
        ("table", "content", "rows", "high", "medium", "low"), as_json=as_json,
    )


@app.command()
def limits(on: OnOption = None, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """The limits of products: levels, dates, source, confidence and standing, and the parameters that their corrections ask for."""
    rows = _limits(settings, on)
    if as_json:
        show_json(rows)
        return
    for (standard, start, end, source), group in groupby(rows, key=itemgetter("standard", "effective_from", "effective_to", "source")):
        members = list(group)
        dates = f"in force from {start}{f' to {end}' if end else ''}" if start else "without a date of effect: never in force"
        typer.echo(f"\n{standard} {members[0]['name_zh']}, {dates}\n  source: {source}")
        _echo_aligned([
            (
                row["product"], row["indicator"], row["feedstock"] or "", " / ".join(_shown(row[f"level_{level}"]) or "-" for level in (1, 2, 3)),
                row["unit"], row["basis"], row["confidence"], row["standing"], row["product_zh"],
            )
            for row in members
        ])
        asked = [
            (each.name, each.told, each.en, each.zh, "" if each.needed else "left empty: not applied")
            for each in parameters(correction for row in members for correction in row["corrections"])
        ]
        if asked:
            typer.echo("  parameters of the corrections, columns of `calc limits`:")
            _echo_aligned(asked)


@app.command("coal_equivalent")
def coal_equivalent(on: OnOption = None, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """The coal equivalents of carriers: kgce for one unit on each basis, dates, source and confidence."""
    rows = _coefficients(settings_from(settings).site.tables_dir, on)
    if as_json:
        show_json(rows)
    else:
        _echo_aligned([COEFFICIENT_COLUMNS, *(tuple(_shown(row[column]) for column in COEFFICIENT_COLUMNS) for row in rows)])


def _shows(name: str) -> Callable[..., None]:
    def show(on: OnOption = None, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
        rows = _plain(name, settings_from(settings).site.tables_dir, on)
        if as_json:
            show_json(rows)
        else:
            fields = MODELS[name].model_fields
            columns = [*sorted(fields, key=lambda field: field in DatedRow.model_fields), *(["standing"] if "confidence" in fields else []), "origin"]
            _echo_aligned([columns, *([_shown(row.get(column)) for column in columns] for row in rows)])

    return show


for _name, _content in PLAIN.items():
    app.command(_name, help=f"{_content[:1].upper()}{_content[1:]}: every row with its dates and source.")(_shows(_name))


@app.command()
def confirm(
    product: Annotated[str, typer.Argument(help="Code of the product in the table of limits.")],
    indicator: Annotated[str, typer.Argument(help="Code of the indicator.")],
    standard: Annotated[str, typer.Argument(help="Number of the standard with its year, such as \"GB 21343-2023\".")],
    by: Annotated[str, typer.Option("--by", help="Who compared the row with the text.")],
    on: Annotated[datetime, typer.Option("--on", formats=["%Y-%m-%d"], help="Day of the comparison.")],
    copy: Annotated[str, typer.Option("--copy", help="Which copy of the text was read.")],
    remark: Annotated[str | None, typer.Option(help="Anything else worth keeping.")] = None,
    settings: SettingsOption = None,
) -> None:
    """Record that a person compared a limit with the standard's text: its verdicts bind from now on."""
    site = settings_from(settings)
    table = limit_tables.limits(site.site.tables_dir)
    row = table.filter(product=product, indicator=indicator, standard=standard)
    problems = [
        Problem(f"--{name}", "is empty", "Say it; a confirmation stands for a person and a text.")
        for name, value in (("by", by), ("copy", copy)) if not value.strip()
    ]
    if row.is_empty():
        near = table.filter(product=product).select("indicator", "standard").unique(maintain_order=True).rows()
        remedy = "; ".join(f"{each} {number}" for each, number in near) if near else "see `tcewatch tables limits`"
        problems.append(Problem(f"{product} {indicator} {standard}", "is no row of the limits", f"The product has: {remedy}."))
    if problems:
        raise BadInputError(problems)
    with opened(site.database_url) as database:
        Confirmations(database).add(product, indicator, standard, by.strip(), on.date(), copy.strip(), remark)
    if not row["corrections_complete"].all():
        typer.echo("Noted. Its verdicts stay indicative: corrections of this standard are not all carried as data, see the row's remark.")
    else:
        typer.echo(f"{standard}, {product}, {indicator}: confirmed by {by} on {on.date()}. Its verdicts bind.")


@app.command("check")
def check_file(
    file: Annotated[Path, typer.Argument(help="CSV or TOML with rows of one or more tables.")],
    table: TableOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a new edition that a site brings: every problem at once, and what it would change of what is in force."""
    _show_edition(lawbook.check(file, settings_from(settings).site.tables_dir, table), as_json=as_json)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="CSV or TOML with rows of one or more tables.")],
    by: Annotated[str, typer.Option("--by", help="Who adds it.")],
    table: TableOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a new edition into the site's own folder, if it checks; nothing there is overwritten."""
    site = settings_from(settings)
    folder = site.site.tables_dir
    problems = [] if by.strip() else [Problem("--by", "is empty", "Say it; an edition is added by a person.")]
    if folder is None:
        problems.append(Problem("settings [site] tables_dir", "is empty", "Name the folder of the site's own tables."))
    try:
        edition = lawbook.check(file, folder, table)
    except BadInputError as error:
        raise BadInputError([*problems, *error.problems]) from None
    if problems or folder is None:
        raise BadInputError(problems)
    with opened(site.database_url) as database:
        law_files.add(
            database, folder, edition.name, edition.content, by=by.strip(), rows={name: len(rows) for name, rows in edition.rows.items()},
        )
    _show_edition(edition, as_json=as_json, added=folder / edition.name)


def _show_edition(edition: lawbook.Edition, *, as_json: bool, added: Path | None = None) -> None:
    counts = {name: len(rows) for name, rows in edition.rows.items()}
    if as_json:
        show_json({"file": edition.name, "rows": counts, "notes": list(edition.notes), "added": added})
        return
    typer.echo(f"{edition.name}: {', '.join(f'{count} rows of {name}' for name, count in counts.items())}; all fit.")
    for note in edition.notes:
        typer.echo(f"  {note}")
    if added is not None:
        typer.echo(f"Added as {added}. It counts from the next evaluation on; `known_from` in a row says since when it was known.")


def _limits(settings: Path | None, on: datetime | None) -> list[dict[str, Any]]:
    site = settings_from(settings)
    table = with_standing(limit_tables.limits(site.site.tables_dir), _confirmations(site))
    if on is not None:
        day = on.date()
        table = table.filter(pl.col("effective_from") <= day, (pl.col("effective_to") >= day).fill_null(value=True))
    return [
        row | {"parameters": [{**each._asdict(), "told": each.told} for each in parameters(row["corrections"] or ())]} for row in table.to_dicts()
    ]


def _coefficients(folder: Path | None, on: datetime | None) -> list[dict[str, Any]]:
    rows = coal_equivalents.coefficient_rows(folder)
    return _dumped(rows if on is None else [row for row in rows if _holds(row, on.date())])


def _plain(name: str, folder: Path | None, on: datetime | None) -> list[dict[str, Any]]:
    base, own = load(name, MODELS[name], folder)
    return [
        {**row.model_dump(), **_standing(row), "origin": origin}
        for origin, rows in (("shipped", base), ("site", own)) for row in rows if on is None or row.holds_on(on.date())
    ]


def _standing(row: TableRow) -> dict[str, str]:
    """As that of a limit that nobody has confirmed: only limits are confirmed."""
    confidence = getattr(row, "confidence", None)
    return {} if confidence is None else {"standing": "indicative" if confidence == "low" else "unconfirmed"}


def _holds(row: coal_equivalents.CoefficientRow, day: date) -> bool:
    return row.valid_from <= day and (row.valid_to is None or day < row.valid_to)


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def _echo_aligned(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(rows[0]))] if rows else []
    for row in rows:
        typer.echo(("  " + "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))).rstrip())


def _dumped(rows: Sequence[BaseModel]) -> list[dict[str, Any]]:
    return [row.model_dump() for row in rows]


def _confirmations(site: site_settings.Settings) -> pl.DataFrame:
    """What the site has confirmed; nothing where it has no database yet (a look at the tables creates none)."""
    if site.store.database_url is None and not (site.data_dir / "tcewatch.db").exists():
        return schemas.empty(schemas.CONFIRMATION)
    with opened(site.database_url) as database:
        return Confirmations(database).frame()
