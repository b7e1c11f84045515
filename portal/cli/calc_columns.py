"""Columns and checks that the calc commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from config import settings
from config.errors import Problem
from portal.cli.files import Column, Table

RATIOS: Final = (
    Column("covered_ratio", "number", "share of the period that data cover; left out: a reported figure, complete", required=False, low=0),
    Column("estimated_ratio", "number", "share of the quantity that is estimated; left out: none", required=False, low=0),
)
PLACES: Final = tuple(Column(name, "text", f"{name} within the enterprise", required=False) for name in ("site", "process", "product"))
ENTERPRISE: Final = Column("enterprise", "text", "any id")
PERIOD: Final = Column("period", "period", "local year, month or day")
SUMS: Final = (
    Column("calorific_tce", "number", "energy on the calorific basis", unit="tce", nullable=True),
    Column("equivalent_tce", "number", "energy on the equivalent basis", unit="tce", nullable=True),
    Column("feedstock_tce", "number", "calorific part used as raw material", unit="tce", required=False),
    Column("renewable_tce", "number", "calorific renewable part", unit="tce", required=False),
    Column("electricity_kwh", "number", "electricity", unit="kWh", required=False),
    Column("fresh_water_m3", "number", "tap, ground and surface water", unit="m3", required=False),
    Column("unconventional_water_m3", "number", "mine and reclaimed water", unit="m3", required=False),
    *RATIOS,
    Column("missing", "text", "why a basis is empty", required=False),
)


def site_tables() -> Path | None:
    """The site's own tables, where a settings file is found: calc judges as the site's services do."""
    file = settings.find_settings_file()
    return settings.load(file).site.tables_dir if file is not None else None


def at(table: Table, wrong: pl.Expr, column: str, what: str, remedy: str) -> list[Problem]:
    """A problem in that column for each row that is wrong."""
    rows = table.frame.select(wrong.fill_null(value=False).alias("wrong"))["wrong"].arg_true()
    return [Problem(table.where(row, column), what, remedy) for row in rows]


def above_one(table: Table, *columns: str) -> list[Problem]:
    """A problem for each share above 1."""
    return [
        problem for column in columns
        for problem in at(table, pl.col(column) > 1, column, "is above 1", "Write a share between 0 and 1, not a percentage")
    ]


def twice(table: Table, keys: Sequence[str], remedy: str) -> list[Problem]:
    """A problem for each row whose keys stood in an earlier one."""
    return at(table, ~pl.struct(keys).is_first_distinct(), keys[-1], f"stands a second time for the same {', '.join(keys)}", remedy)


def without_empty(frame: pl.DataFrame, columns: Sequence[Column], table: Table) -> pl.DataFrame:
    """The frame without those of the columns that the table did not have."""
    return frame.drop([column.name for column in columns if column.name not in table.given])
