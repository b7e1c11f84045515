"""`tcewatch as-of`: figures as they followed from what was known at an instant, and why they differ from those of another."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Annotated, Final, Literal

import polars as pl
import typer

from config import calendar
from config.errors import BadInputError, Problem
from pipeline.as_of import Judged, Table, index_at, judged_at
from pipeline.site import Site
from portal.as_of import NAMES, Asked
from portal.cli.common import SettingsOption, instant_of, settings_from
from portal.cli.files import check_output, write_table

Shown = Literal[
    "consumption", "hours", "energy", "carriers", "intensity", "park_intensity", "verdicts", "quality_index", "validation", "validation_counts",
    "validation_periods",
]
TABLES: Final[Mapping[Shown, Table]] = {
    "consumption": "daily", "hours": "hourly", "energy": "energy", "carriers": "carriers", "intensity": "intensity",
    "park_intensity": "park_intensity", "verdicts": "verdicts",
}
JUDGED: Final[Mapping[Shown, tuple[Judged, ...]]] = {
    "validation": ("verdicts",), "validation_counts": ("verdict_counts",), "validation_periods": ("day_starts", "balances"),
}
_DAY: Final = ["%Y-%m-%d"]


def command(
    instant: Annotated[str, typer.Argument(metavar="INSTANT", help="As 2026-03-01T08:00:00+08:00; without an offset of the site's zone.")],
    table: Annotated[Shown, typer.Option(help="consumption (days), hours, energy and carriers by period, intensity, park_intensity, "
                                  "verdicts; quality_index (of enterprises), what validation said of readings, in counts, of periods.")],
    against: Annotated[str | None, typer.Option(metavar="INSTANT", help="Show what differs between the two instants, and why.")] = None,
    first_day: Annotated[datetime | None, typer.Option("--from", formats=_DAY, help="First local day; else 1 January of INSTANT's year.")] = None,
    last_day: Annotated[datetime | None, typer.Option("--to", formats=_DAY, help="Last local day, included; else that of INSTANT.")] = None,
    enterprise: Annotated[list[str] | None, typer.Option(help="Only this enterprise; may be given several times.")] = None,
    out: Annotated[str, typer.Option(help="Where it goes: CSV, Parquet or xlsx by suffix, - for CSV on standard output.")] = "-",
    settings: SettingsOption = None,
) -> None:
    """Compute figures from what was known at an instant; with --against, tell what differs from another one and why.

    Readings count by their arrival, register rows, edits, figures and coefficients from when they were known. Nothing is changed. Energy and
    intensities are those of the periods that lie in the days as a whole, verdicts those of the years that the days touch.
    """
    check_output(out)
    site = Site(settings_from(settings))
    zone = site.settings.zone
    asked = Asked(instant_of(instant, zone, "INSTANT"), None if against is None else instant_of(against, zone, "--against"))
    today = calendar.local_day(asked.as_of, site.settings.site.zone)
    first = first_day.date() if first_day else date(today.year, 1, 1)
    last = last_day.date() if last_day else today
    if last < first:
        raise BadInputError([Problem("--to", f"{last} is before --from ({first})", "Give a later day.")])
    known = site.register.names()["enterprise"].unique().to_list()
    if against is not None and table not in TABLES:
        raise BadInputError([Problem("--against", f"{table} has no differences that are explained", "Ask for each of the two instants.")])
    if strange := [code for code in enterprise or () if code not in known]:
        raise BadInputError([Problem("--enterprise", f"{code} is not in the register", "`tcewatch register export` shows it.") for code in strange])
    try:
        if table in TABLES:
            found = asked.frame(site, TABLES[table], first, last, enterprise or None)
        else:
            found = _of_data(site, table, asked.as_of, first, last, enterprise or None)
    finally:
        site.close()
    joined = found.with_columns(pl.col(pl.List(pl.String)).list.join(";")) if not out.lower().endswith(".parquet") else found
    write_table(joined, out, zone=site.settings.site.zone)


def _of_data(site: Site, table: Shown, as_of: datetime, first: date, last: date, enterprises: Collection[str] | None) -> pl.DataFrame:
    """The quality index of enterprises, or what validation said, with the names of registers."""
    if table == "quality_index":
        index = index_at(site, as_of, first, last, ("enterprise",))["enterprise"].drop("park", "meter")
        return index if enterprises is None else index.filter(pl.col("enterprise").is_in(enterprises))
    found = judged_at(site, as_of, JUDGED[table], first, last, enterprises)
    return found.join(site.register.names(), on="register_key").select(*NAMES, pl.exclude("register_key", *NAMES)).sort(*NAMES, "start")
