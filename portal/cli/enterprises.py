"""`tcewatch enterprises`: key energy users, access by park and medium, projects with quotas and minutes."""

import getpass
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final

import polars as pl
import typer

from config import calendar
from config.errors import BadInputError, Problem
from pipeline import enterprises
from pipeline.site import Site
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json, show_rows

app = typer.Typer(help="Enterprises: key energy users, who is on line, new projects and their quotas.", no_args_is_help=True)
OnOption = Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="As of this day (default: today).")]
_KEY: Final = ("enterprise", "year", "status", "change", "decided_on", "calorific_tce", "equivalent_tce", "figure", "watch", "bases_differ", "reason")
_SHARES: Final = (
    "park", "members", "medium", "enterprises", "online", "unknown", "share_ratio", "at_least_ratio", "at_most_ratio", "goal_ratio", "meets",
)
_ACCESS: Final = ("park", "enterprise", "members", "medium", "state", "meters", "lacking", "undeclared", "missing")
_PROJECTS: Final = (
    "project", "enterprise", "park", "state", "approved_calorific_tce", "granted_tce", "used_tce", "reclaimed_tce", "remaining_tce", "reclaim_due",
    "level", "advanced", "meets_required", "missing",
)
_EXPECTED: Final = ("project", "park", "state", "period", "calorific_tce", "equivalent_tce", "missing")


@app.command()
def key(
    on: OnOption = None,
    year: Annotated[int | None, typer.Option(help="Only this year (default: all that are known).")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List key energy users and what else the energy of each year says: entry, exit, watch list, both bases."""
    found = _of(settings, on, enterprises.key_energy_users)
    show_rows((found if year is None else found.filter(pl.col("year") == year)).to_dicts(), _KEY, as_json=as_json)


@app.command()
def access(
    day: Annotated[datetime | None, typer.Option("--day", formats=["%Y-%m-%d"], help="Of this local day (default: live).")] = None,
    who: Annotated[bool, typer.Option("--who", help="Each enterprise and medium, with what it lacks, in place of the shares.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the share of enterprises that are fully on line by park and medium, against the goals."""
    def found(site: Site, on: date) -> pl.DataFrame:
        rows = enterprises.access(site, on, datetime.now(UTC), live=day is None)
        return rows if who else enterprises.access_shares(site, rows, on)

    show_rows(_of(settings, day, found).to_dicts(), _ACCESS if who else _SHARES, as_json=as_json)


@app.command()
def projects(on: OnOption = None, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """List new projects: state, quota, design against the advanced level."""
    show_rows(_of(settings, on, enterprises.project_states).to_dicts(), _PROJECTS, as_json=as_json)


@app.command()
def expected(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m"], help="First month, as 2026-01.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m"], help="Last month.")],
    on: OnOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what approved projects that do not operate yet will add, by month."""
    if last < first:
        raise typer.BadParameter("--to lies before --from")
    found = _of(settings, on, lambda site, day: enterprises.expected_energy(site, first.date(), last.date(), day))
    show_rows(found.to_dicts(), _EXPECTED, as_json=as_json)


@app.command()
def minutes(
    project: Annotated[str, typer.Argument(help="The project, as the register names it.")],
    file: Annotated[Path, typer.Argument(help="The file of the minutes, of any type.")],
    held_on: Annotated[datetime, typer.Option("--held-on", formats=["%Y-%m-%d"], help="Day of the consultation.")],
    subject: Annotated[str, typer.Option("--subject", help="What it was about.")],
    by: Annotated[str | None, typer.Option(help="Who keeps it (default: the name of this login).")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep the minutes of a consultation about a project under their SHA-256."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInputError([Problem(str(file), f"cannot be read ({error.strerror})", "Name a file that is there and readable.")]) from None
    site = Site(settings_from(settings))
    try:
        sha256 = site.minutes.add(
            project, held_on.date(), subject, content, name=file.name, by=by or getpass.getuser(), at=datetime.now(UTC),
        )
    finally:
        site.close()
    show_json({"project": project, "evidence": sha256}) if as_json else typer.echo(f"Kept: {sha256}")


def _of(settings: Path | None, on: datetime | None, found: Callable[[Site, date], pl.DataFrame]) -> pl.DataFrame:
    site = Site(settings_from(settings))
    try:
        return found(site, on.date() if on else calendar.local_day(datetime.now(UTC), site.settings.site.zone))
    finally:
        site.close()
