"""`tcewatch calc key-units`: who is a key energy user by the energy of each year, on files."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

import polars as pl
import typer

from config import key_units as law
from config import schemas
from config.calendar import is_period
from config.errors import Problem
from monitors.key_units import key_units
from portal.cli.calc_columns import above_one, at, site_tables
from portal.cli.files import Column, Table, check_output, columns_of, read_tables, schema_option, write_table

ENERGY: Final = (
    Column("enterprise", "text", "the legal person, any id; several rows of a year (its sites) are added"),
    Column("period", "period", "the year, as 2025"),
    Column("calorific_tce", "number", "energy of the year, calorific basis; empty: not known", nullable=True),
    Column("equivalent_tce", "number", "the same, equivalent basis", required=False),
    Column("covered_ratio", "number", "share of it that data cover; left out: complete", required=False, low=0),
    Column("estimated_ratio", "number", "share of it that is estimated", required=False, low=0),
    Column("missing", "text", "what it lacks", required=False),
)
DESIGNATIONS: Final = (
    Column("enterprise", "text", "who is designated"),
    Column("authority", "text", "by whom"),
    Column("document", "text", "in which document", required=False),
    Column("valid_from", "day", "first day", nullable=True),
    Column("valid_to", "day", "first day on which it no longer holds; empty: open", required=False),
)
_MEANINGS: Final = {
    "status": "key, designated, designable (between the thresholds, not designated), below, unknown",
    "listed": "a key energy user by this year, or by the last known one before it", "change": "entry, exit, none, first_known, undecided",
    "decided_on": "from when the status can hold; empty while the year runs", "since_year": "first year of `listed` without a break",
    "figure": "which one counts: metered, reported", "basis": "of the threshold", "other_status": "the status on the other basis",
    "watch": "within the share of a threshold that the table says", "watched_tce": "that threshold", "margin_ratio": "how far above it",
    "missing": "why something is not known", "missing_zh": "the same in Chinese",
    "reason": "the sentence that says why", "source": "of the thresholds, and of a designation",
}


def key_units_command(
    on: Annotated[datetime, typer.Option("--on", formats=["%Y-%m-%d"], help="The day as of which: years that are not over by then are unknown.")],
    energy: str = typer.Option(..., "--energy", help="Output of `calc energy --sum enterprise,period` by years."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    reported: str | None = typer.Option(None, "--reported", help="The same as enterprises report it: counts where the metered is incomplete."),
    designations: str | None = typer.Option(None, "--designations", help="Who is designated below the general threshold."),
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--energy": ENERGY, "--reported": ENERGY, "--designations": DESIGNATIONS, "--out": columns_of(schemas.KEY_UNIT, _MEANINGS),
    }),
) -> None:
    """Tell key energy users by the thresholds in force: status, entry and exit, watch list, both bases."""
    check_output(out)

    def check(read: Mapping[str, Table]) -> list[Problem]:
        problems = []
        for name in ("energy", "reported"):
            if name in read:
                no_year = ~is_period("year")
                problems += at(read[name], no_year, "period", "is no year", "Sum the energy by years: the thresholds are those of a year")
                problems += above_one(read[name], "covered_ratio", "estimated_ratio")
        if "designations" in read:
            ended = pl.col("valid_to") <= pl.col("valid_from")
            problems += at(read["designations"], ended, "valid_to", "is not after valid_from", "Leave it empty or write a later day")
        return problems

    read = read_tables({"energy": (energy, ENERGY), "reported": (reported, ENERGY), "designations": (designations, DESIGNATIONS)}, check=check)
    metered, told = (
        schemas.conform(read[name].frame.with_columns(year=pl.col("period").cast(pl.Int32)), schemas.YEAR_ENERGY)
        if name in read else schemas.empty(schemas.YEAR_ENERGY) for name in ("energy", "reported")
    )
    named = read["designations"].frame if "designations" in read else schemas.empty(schemas.DESIGNATION)
    write_table(key_units(metered, told, named, law.thresholds(site_tables()), on.date()), out)


COMMANDS: Final = {"key-units": key_units_command}
