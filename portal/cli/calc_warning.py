"""`tcewatch calc warning|forecast|whatif`: goals against what was used, the rest of the year, and what brings a level, on files."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

import polars as pl
import typer

from config import budgets as law
from config import limit_tables, schemas
from config.errors import Problem
from monitors import budgets as core
from monitors import forecast as future
from monitors.limit_misfits import misfits
from monitors.running import what_if
from portal.cli.calc_accounts import unfit_carriers
from portal.cli.calc_columns import at, site_tables, twice
from portal.cli.files import Column, Table, check_output, columns_of, read_tables, schema_option, write_table

SUBJECT: Final = (
    Column("subject", "text", "whose goal it is: a region, park or enterprise, any id"),
    Column("measure", "text", "what is measured, any name, such as energy, coal, water, carbon or energy_intensity; one with `_per_` or "
           "`intensity` in it, or ending in `_ratio` (also 强度, 单位), is a level: it has no share of a period"),
)
BUDGETS: Final = (
    *SUBJECT,
    Column("kind", "text", "at most, reduced by at least (1 - actual / base), at least", allowed=law.KINDS),
    Column("period", "period", "the goal's year, month or day"),
    Column("target", "number", "the goal; of a reduction a ratio: 0.03 is 3 %; empty: not set yet", nullable=True),
    Column("base", "number", "of a reduction: what it counts from, of the whole period", required=False),
    Column("shares", "text", "of the months in a year's goal: twelve numbers that add up to 1, with ; between them; empty: by days", required=False),
    Column("level", "text", "whose goal it is, for what follows from a colour", required=False, allowed=("region", "park", "enterprise")),
    Column("source", "text", "where the goal comes from", required=False),
)
ACTUALS: Final = (
    *SUBJECT,
    Column("period", "period", "that of the goal (so far, where it runs), or its months; earlier years are what a forecast is made from"),
    Column("actual", "number", "what was used; with per: what is divided; of a reduction without a base the reduction itself, as a ratio",
           nullable=True),
    Column("per", "number", "what it is divided by, such as value added or output", required=False, above=0),
    Column("base", "number", "of a reduction: the same of the base period, for the same days", required=False),
    Column("covered_ratio", "number", "share of it that data cover; left out: a reported figure, complete", required=False, low=0),
    Column("missing", "text", "what it lacks: then there is no colour", required=False),
)
_OF_WARNING: Final = {
    "actual": "what was used", "target": "the goal as given", "base": "of a reduction: what it counts from, for the same days",
    "through": "the last day that the actual figure knows", "progress_ratio": "share of the period until then",
    "progress_target": "the goal that the figure is held against: of an amount that share of it",
    "reduction_ratio": "of a reduction: what was reached",
    "gap_ratio": "by which the goal is missed, by its absolute value; negative: met by; empty where the goal is 0",
    "colour": "red: missed by more than the bound of the rule; yellow: by up to it; green: met",
    "needed_rate": "what is needed for the rest of the period",
    "needed_of": "what that is: an amount a_day, or a level or reduction at the same amounts",
    "rate": "what it was so far, as needed_rate", "forecast": "of the year; forecast_reason says how, or why there is none",
    "consequence": "what a document says follows from the colour",
    "not_judged": "what a document says follows from a rank or class, and what would have to be known to judge it",
    "missing": "why there is no colour", "missing_zh": "the same in Chinese",
    "source": "of the goal and of the rule",
    "derivation": "the judgement in one line",
}
_OF_FORECAST: Final = {
    "year": "the year of --on", "through": "the last known month", "known": "of the year until then",
    "value": "of the whole year; empty where reason says why", "back_tests": "how often the method was tested on the past",
    "error_ratio": "the largest error of them, by what was forecast", "coverage_ratio": "share of cases in which the next error lies within, at best",
    "reason": "method and back-tests, or why there is no forecast",
}
FORECASTS: Final = (*SUBJECT, *columns_of(schemas.FORECAST, _OF_FORECAST))
MONTHS: Final = (
    *SUBJECT, Column("period", "period", "month of the year"), Column("value", "number", "what was used, or is forecast", nullable=True),
    Column("known", "flag", "whether it is known"),
)
VERDICTS: Final = (
    Column("enterprise", "text", "any id", nullable=True), Column("product", "text", "code of the limit table"),
    *(Column(name, "text", "as `calc limits` says it", required=False) for name in ("indicator", "line", "basis", "standard")),
    *(Column(name, "day", "of the period that was judged", required=False) for name in ("period_start", "period_end")),
    Column("actual", "number", "unit consumption; rows without one are left out", unit="column unit", nullable=True),
    Column("unit", "text", "its unit", nullable=True),
    *(Column(f"level_{level}", "number", "the limit of that level", unit="column unit", nullable=True) for level in (1, 2, 3)),
    Column("output", "number", "output of the period, for amounts", required=False, above=0),
    Column("output_unit", "text", "its unit", required=False),
)
USED: Final = (
    *(Column(name, "text", "as `calc energy` says it", nullable=name == "product") for name in ("enterprise", "product")),
    Column("period", "period", "year, month or day within the period of the verdict"), Column("carrier", "text", "code of the carrier"),
    Column("quantity", "number", "what was used", unit="column unit", nullable=True), Column("unit", "text", "its unit"),
    Column("flow", "text", "only what is consumed counts", required=False, default="consumed"),
    *(Column(f"{basis}_tce", "number", "its energy", unit="tce", nullable=True) for basis in ("calorific", "equivalent")),
)
_OF_WHAT_IF: Final = {
    "level": "3, 2 or 1; each that the limit has", "limit": "the limit of that level", "reached": "whether the figure complies with it",
    "saving": "how much less for one unit of output", "saving_ratio": "by the actual figure", "saving_energy": "for the same output",
    "output_needed": "for the same energy", "carrier_saving": "what this carrier alone would have to save",
    "carrier_quantity": "what is used of it", "carrier_suffices": "whether there is as much of it",
}
OnOption = Annotated[datetime, typer.Option("--on", formats=["%Y-%m-%d"], help="The day as of which, included.")]


def warning_command(
    on: OnOption,
    budgets: str = typer.Option(..., "--budgets", help="Goals of subjects, by measure and period."),
    actuals: str = typer.Option(..., "--actuals", help="What was used."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    schema: bool = schema_option({"--budgets": BUDGETS, "--actuals": ACTUALS, "--out": columns_of(schemas.WARNING, _OF_WARNING)}),  # noqa: ARG001 - acts when it is read
) -> None:
    """Hold goals against what was used until a day: gap, colour, the rate needed for the rest, the forecast of the year."""
    check_output(out)
    folder = site_tables()

    def check(read: Mapping[str, Table]) -> list[Problem]:
        goals, used = read["budgets"], read["actuals"]
        reductions = goals.frame.filter(pl.col("kind") == "reduction_ratio", pl.col("base").is_null()).select("subject", "measure", "period")
        year = pl.col("period").str.slice(0, 4).cast(pl.Int32, strict=False)
        followed = used.frame.select("subject", "measure", period=pl.format("{}{}", year + 1, pl.col("period").str.slice(4)))
        bare = used.frame.with_row_index("_row").filter(
            pl.col("actual").abs() >= 1, pl.col("base").is_null(), pl.col("per").is_null()
        ).join(reductions, on=reductions.columns, how="semi").join(followed, on=reductions.columns, how="anti")["_row"]
        return [
            *twice(goals, ["subject", "measure", "kind", "period"], "Keep one goal"),
            *twice(used, ["subject", "measure", "period"], "Keep one row, or add them up"),
            *at(used, pl.col("covered_ratio") > 1, "covered_ratio", "is above 1", "Write a share between 0 and 1, not a percentage"),
            *(Problem(used.where(row, "actual"), "is no reduction, and there is no base", "Write 0.03 for 3 %, or give the base") for row in bare),
            *(Problem(goals.where(row, column), what, remedy) for row, column, what, remedy in core.misfits(goals.frame)),
        ]

    read = read_tables({"budgets": (budgets, BUDGETS), "actuals": (actuals, ACTUALS)}, check=check)
    goals = read["budgets"].frame
    judged = core.early_warnings(
        goals, read["actuals"].frame, law.warning_rules(folder), on.date(), consequences=law.consequences(folder), reported_reductions=True,
    )
    further = [name for name in goals.columns if name not in judged.columns and name in read["budgets"].given]
    write_table(pl.concat([judged, goals.select(further)], how="horizontal"), out)


def forecast_command(
    on: OnOption,
    actuals: str = typer.Option(..., "--actuals", help="What was used, by month, of several years."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    months: str | None = typer.Option(None, "--months", help="Where the months of the year go: known, then forecast."),
    schema: bool = schema_option({"--actuals": ACTUALS, "--out": FORECASTS, "--months": MONTHS}),  # noqa: ARG001 - acts when it is read
) -> None:
    """Forecast the year of a day from the months of a series, with the largest error that the method made on its past."""
    check_output(out, *((months,) if months else ()))

    def check(read: Mapping[str, Table]) -> list[Problem]:
        return twice(read["actuals"], ["subject", "measure", "period"], "Keep one row, or add them up")

    used = read_tables({"actuals": (actuals, ACTUALS)}, check=check)["actuals"].frame
    names = ["subject", "measure"]
    write_table(future.forecast(used, names, on.date()), out)
    if months is not None:
        write_table(future.forecast_months(used, names, on.date()), months)


def what_if_command(
    verdicts: str = typer.Option(..., "--verdicts", help="Output of `calc limits`."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    energy: str | None = typer.Option(None, "--energy", help="Output of `calc energy`, not summed: then what each carrier alone would have to save."),
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--verdicts": VERDICTS, "--energy": USED, "--out": columns_of(schemas.WHAT_IF, _OF_WHAT_IF),
    }),
) -> None:
    """Say for each level that a limit has which saving, or which output at the same energy, brings it."""
    check_output(out)
    table = limit_tables.limits(site_tables())

    def check(read: Mapping[str, Table]) -> list[Problem]:
        judged = read["verdicts"]
        figures = judged.frame.filter(pl.col("actual").is_not_null()).select("product", "indicator", "unit", value="actual")
        places = judged.frame["actual"].is_not_null().arg_true()
        backwards = pl.col("period_end") < pl.col("period_start")
        carriers = () if energy is None else unfit_carriers(read["energy"].frame.select("carrier", "unit"))
        return [
            *at(judged, backwards, "period_end", "lies before period_start", "Write the last day of the period"),
            *(Problem(judged.where(places[row], column), what, remedy) for row, column, what, remedy in misfits(figures, table)),
            *(Problem(read["energy"].where(row, column), what, remedy) for row, column, what, remedy in carriers
              if column == "unit" or remedy.startswith("Near")),  # else one of the user's own, whose coefficient was brought to `calc energy`
        ]

    read = read_tables({"verdicts": (verdicts, VERDICTS), "energy": (energy, USED)}, check=check)
    write_table(what_if(read["verdicts"].frame, read["energy"].frame if energy else None), out)


COMMANDS: Final = {"warning": warning_command, "forecast": forecast_command, "whatif": what_if_command}
