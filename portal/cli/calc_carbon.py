"""`tcewatch calc carbon`: CO2 of enterprises in a year, and the levels of the carbon code, on files."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import polars as pl
import typer

from config import coal_equivalents, schemas
from config.carbon import CarbonFactorRow, carbon_factors, carbon_levels
from config.errors import Problem
from config.tables import load
from monitors import carbon as core
from monitors.energy_misfits import misfits
from portal.cli.calc_accounts import FIGURES, QUANTITIES, carrier_names, mixed_price_bases
from portal.cli.calc_columns import above_one, site_tables, twice
from portal.cli.files import Column, Table, check_output, columns_of, read_tables, schema_option, write_table

USED: Final = (
    *(replace(column, nullable=True) if column.name in ("carrier", "quantity", "unit") else column for column in QUANTITIES),
    Column("grid_region", "text", "of grid electricity: code or Chinese name in the table carbon_factors; left out: national", required=False),
    Column("process_t", "number", "process emissions, counted once for each row; in a row of their own where carrier is empty; a sink is negative",
           required=False, unit="t CO2"),
)
VALUED: Final = (
    *FIGURES,
    Column("sector", "text", "whose mean the grade is measured by", required=False),
    Column("sector_intensity", "number", "mean of the sector where it is published, else that of the enterprises here", required=False, above=0,
           unit="t CO2/10^4 CNY"),
)
CARBON_OUT: Final = columns_of(schemas.CARBON, {
    "emissions_t": "CO2 of the year, less what is passed on; empty: see `missing`", "electricity_t": "net grid electricity", "heat_t": "net heat",
    "fuel_t": "fuels", "process_t": "as given", "covered_ratio": "of the year, of the carrier that is covered worst",
    "factor_year": "year of the factor of grid electricity", "source": "of the factors", "intensity": "t CO2 for each 10,000 yuan of value added",
    "relative_intensity": "intensity over that of the sector", "level": "by intensity", "grade": "by relative intensity",
    "level_source": "of level and grade", "missing": "why a figure is empty", "missing_zh": "the same in Chinese",
    "derivation": "the arithmetic", "derivation_zh": "the same in Chinese",
})
_OF_ONE_BASIS: Final = re.compile("，.*|（(当量值|等价值)）$")  # what a row's name says beside the carrier's: grid region, basis
FIGURE_COLUMNS: Final = ("sector", "value_added_10k_cny", "intensity", "sector_intensity", "relative_intensity", "level", "grade", "level_source")


def carbon_command(
    quantities: str = typer.Option(..., "--quantities", help="Output of `calc quantities`."),
    year: int = typer.Option(..., "--year", min=1990, max=2199, help="Whose emissions; rows of other years are left out."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    figures: str | None = typer.Option(None, "--figures", help="Value added of the year with the sector: adds intensity, level and grade."),
    schema: bool = schema_option({"--quantities": USED, "--figures": VALUED, "--out": CARBON_OUT}),  # noqa: ARG001 - acts when it is read
) -> None:
    """Sum the CO2 of each enterprise in a year by the newest published factors."""
    check_output(out)
    folder = site_tables()
    factors, coefficients = carbon_factors(folder), coal_equivalents.coefficients(folder)
    known = set(coefficients["carrier"])
    beside = factors.filter(~pl.col("carrier").is_in(known)).select(
        "carrier", "unit", "source", basis=pl.lit("calorific"), kgce_per_unit=pl.lit(1.0), valid_from=pl.date(1900, 1, 1), role=pl.lit("fuel"),
    )
    law = pl.concat([coefficients, schemas.conform(beside, schemas.COEFFICIENT)])

    def check(read: Mapping[str, Table]) -> list[Problem]:
        rows = read["quantities"]
        named = rows.frame.with_row_index("_row").filter(pl.col("carrier").is_not_null())
        numbers = named["_row"].to_list()
        return [
            *above_one(rows, "covered_ratio", "estimated_ratio", "renewable_ratio"),
            *(Problem(rows.where(numbers[row], column), what, remedy)
              for row, column, what, remedy in misfits(named.drop("_row"), law, carrier_names())),
            *(Problem(rows.where(row, column), what, remedy) for row, column, what, remedy in core.misfits(rows.frame, factors, year)),
            *((*twice(read["figures"], ["enterprise", "park", "period"], "Keep one row for each enterprise and period"),
               *mixed_price_bases(read["figures"], ["enterprise", pl.col("period").str.slice(0, 4)])) if figures else ()),
        ]

    read = read_tables({"quantities": (quantities, USED), "figures": (figures, VALUED)}, check=check)
    rows = read["quantities"].frame
    others = rows.filter(pl.col("period").str.slice(0, 4) != str(year)).height
    if others:
        typer.echo(f"{others} rows of other years than {year} are in no sum", err=True)
    valued = read["figures"].frame if figures else None
    listed = [(row.carrier, row.name_zh) for rows_of in load("carbon_factors", CarbonFactorRow, folder) for row in rows_of]
    listed += [(row.carrier, row.name_zh) for row in coal_equivalents.coefficient_rows(folder) if row.name_zh is not None]
    names_zh = {carrier: _OF_ONE_BASIS.sub("", name) for carrier, name in listed}
    media = coefficients.filter(pl.col("role") == "consumed_medium")["carrier"].unique().to_list()
    result = core.carbon(rows, factors, year, media=media, figures=valued, levels=carbon_levels(folder), names_zh=names_zh)
    write_table(result.drop(() if figures else FIGURE_COLUMNS), out)


COMMANDS: Final = {"carbon": carbon_command}
