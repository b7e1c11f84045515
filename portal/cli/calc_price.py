"""`tcewatch calc price`: add-ons to the price of electricity by the dated schemes of the law, on files."""

from collections.abc import Mapping
from typing import Final

import polars as pl
import typer

from config import schemas
from config.errors import Problem
from config.price_schemes import price_schemes
from monitors.limits import with_days
from monitors.price import CONSUMPTION_UNIT, misfits, price
from portal.cli.calc_columns import above_one, at, site_tables
from portal.cli.files import Column, Table, check_output, columns_of, read_tables, schema_option, write_table

PRICED: Final = (
    Column("scheme", "text", "code of the table price_schemes"),
    Column("billing_period", "period", "year, month or day that is billed; left out: the scheme's only edition holds", required=False),
    Column("period", "period", "instead of billing_period", required=False),
    Column("period_start", "day", "first day, instead of a period", required=False),
    Column("period_end", "day", "last day, included", required=False),
    Column("excess_ratio", "number", "schemes by excess: excess by the limit's absolute value, as `calc limits` says it; "
           "schemes by consumption, where actual is empty: by how much their own threshold is exceeded", required=False),
    Column("catalogue_class", "text", "schemes by class: code or Chinese name", required=False),
    Column("grade", "text", "schemes by grade: code or Chinese name", required=False),
    Column("indicator", "text", "what `actual` is; a scheme for another indicator gives no add-on", required=False),
    Column("actual", "number", "schemes by consumption: unit consumption, as `calc limits` says it", required=False),
    Column("value", "number", "instead of actual", required=False),
    Column("unit", "text", f"unit of actual or value; a scheme by consumption asks for {CONSUMPTION_UNIT}", required=False),
    Column("excess", "number", "actual less the limit; says with `actual` whether the limit is above zero", required=False),
    Column("limit", "number", "the limit exceeded: at or below zero no step follows by itself", required=False),
    Column("verdict", "text", "of `calc limits`: an open one gives no add-on", required=False),
    Column("electricity_kwh", "number", "electricity billed; with it the add-on is told in CNY", required=False, unit="kWh", low=0),
    Column("days_unpaid", "number", "days since the notice without payment; left out: none", required=False, unit="d", low=0),
    Column("renewable_ratio", "number", "share of non-hydro renewable power; left out: none", required=False, low=0),
    Column("incentive_ratio", "number", "the province's incentive value for that share, of the year before; "
           "column left out: taken as reached, and told; empty: unknown", required=False, low=0),
)
ADDONS: Final = columns_of(schemas.ADDON, {
    "step": "step of the scheme", "addon_cny_per_kwh": "add-on to the price; empty: see `missing`", "addon_cny": "for the electricity billed",
    "edition": "document in force on all days of the period", "source": "where its row is from", "confidence": "of its row",
    "missing": "why the add-on is empty", "missing_zh": "the same in Chinese", "derivation": "the arithmetic", "derivation_zh": "the same in Chinese",
})


def price_command(
    products: str = typer.Option(..., "--products", help="What is billed, by which scheme; the output of `calc limits` with a scheme will do."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    schema: bool = schema_option({"--products": PRICED, "--out, after the input columns": ADDONS}),  # noqa: ARG001 - acts when it is read
) -> None:
    """Find the step and the add-on to the price of electricity by the scheme's edition in force."""
    check_output(out)
    table = price_schemes(site_tables())

    def check(read: Mapping[str, Table]) -> list[Problem]:
        rows = read["products"]
        days = with_days(rows.frame.select("period_start", "period_end", period=pl.coalesce("billing_period", "period")))
        half = pl.col("period_start").is_not_null() | pl.col("period_end").is_not_null()
        dated = rows._replace(frame=rows.frame.with_columns(_first=days["period_start"], _last=days["period_end"]))
        return [
            *at(dated, half & (pl.col("_first").is_null() | pl.col("_last").is_null()), "period_end", "the period has one of its two days only",
                "Write a billing_period, or both period_start and period_end"),
            *at(dated, pl.col("_last") < pl.col("_first"), "period_end", "lies before period_start", "Write the last day of the period"),
            *_other_days(rows),
            *above_one(rows, "renewable_ratio", "incentive_ratio"),
            *(Problem(rows.where(row, column), what, remedy) for row, column, what, remedy in misfits(rows.frame, table)),
        ]

    rows = read_tables({"products": (products, PRICED)}, check=check)["products"]
    result = price(rows.frame.select(pl.exclude(() if "incentive_ratio" in rows.given else "incentive_ratio")), table)
    given = [name for name in rows.frame.columns if name in rows.given and name not in schemas.ADDON]
    write_table(result.select(*given, *schemas.ADDON), out)


def _other_days(rows: Table) -> list[Problem]:
    """Days that are no part of the row's period: an edition may have judged a part of it, but not what lies outside."""
    problems = []
    for name in ("billing_period", "period"):
        span = with_days(rows.frame.select(period=name))
        whole = rows._replace(frame=rows.frame.with_columns(_begin=span["period_start"], _end=span["period_end"]))
        outside = (pl.col("period_start") < pl.col("_begin")) | (pl.col("period_end") > pl.col("_end"))
        problems += at(whole, outside, name, "does not hold the days of period_start and period_end", "Write the period or the two days, not both")
    return problems


COMMANDS: Final = {"price": price_command}
