"""`tcewatch meters`: verifications that run out, faults that are to be repaired, and reports of those that take longer."""

import getpass
from datetime import UTC, datetime
from typing import Annotated

import polars as pl
import typer

from config import calendar
from monitors.calibration import DUE_WITHIN_DAYS
from pipeline import quality
from pipeline.site import Site
from portal.cli.common import JsonOption, SettingsOption, local, settings_from, show_rows

app = typer.Typer(help="Meters: verifications that run out, repairs that are due.", no_args_is_help=True)
_DUE = ("state", "enterprise", "meter", "medium", "accuracy_class", "calibrated_on", "due_on", "days_left", "due_by")
_OUT = (
    "state", "enterprise", "meter", "opened_at", "or_earlier", "due_at", "repaired_at", "reported_at", "reported_by", "report", "edit", "by_notice",
)
_EXCHANGED = ("in_time", "enterprise", "meter", "register", "at", "entered_at", "due_at", "by_notice")


@app.command()
def due(
    on: Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="As of this day (default: today).")] = None,
    within: Annotated[int, typer.Option("--within", min=0, max=3660, help="Days within which one that runs out is due soon.")] = DUE_WITHIN_DAYS,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List meters whose verification has run out, runs out soon, or is not known."""
    site = Site(settings_from(settings))
    try:
        day = on.date() if on else calendar.local_day(datetime.now(UTC), site.settings.site.zone)
        found = quality.verifications(site, day, within).filter(pl.col("state") != "valid")
    finally:
        site.close()
    show_rows(found.sort("days_left", "enterprise", "meter", nulls_last=True).to_dicts(), _DUE, as_json=as_json, title=f"Verifications as of {day}")


@app.command()
def repairs(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List meters that are out, and until when they are to be repaired (three working days)."""
    site = Site(settings_from(settings))
    try:
        found = quality.repairs(site, datetime.now(UTC))
    finally:
        site.close()
    shown = found if everything else found.filter(pl.col("repaired_at").is_null())
    show_rows(local(shown, site.settings.site.zone).to_dicts(), _OUT, as_json=as_json)


@app.command()
def exchanges(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """List exchanges of meters, and whether they were entered in the register within three working days."""
    site = Site(settings_from(settings))
    try:
        found = quality.exchanges(site)
    finally:
        site.close()
    show_rows(local(found, site.settings.site.zone).to_dicts(), _EXCHANGED, as_json=as_json)


@app.command()
def report(
    enterprise: Annotated[str, typer.Argument(help="Whose meter.")],
    meter: Annotated[str, typer.Argument(help="Which meter.")],
    at: Annotated[datetime, typer.Option("--at", formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d"], help="A local time at which it was out.")],
    text: Annotated[str, typer.Option("--text", help="What is the matter, and what is done about it.")],
    edit: Annotated[int | None, typer.Option("--edit", help="Number of the edit by which its figure was entered by hand.")] = None,
    by: Annotated[str | None, typer.Option(help="Who reports it (default: the name of this login).")] = None,
    settings: SettingsOption = None,
) -> None:
    """Report that a meter is out for longer than the three working days that a repair may take."""
    site = Site(settings_from(settings))
    try:
        instant = at.replace(tzinfo=site.settings.zone).astimezone(UTC)
        site.repairs.report(enterprise, meter, instant, text, by=by or getpass.getuser(), now=datetime.now(UTC), edit=edit)
    finally:
        site.close()
    typer.echo(f"Reported: {enterprise}/{meter}.")
