"""`tcewatch signs`: what does not fit together and should be looked at by a person; a sign is never a verdict."""

import getpass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import polars as pl
import typer

from config.errors import BadInputError, Problem
from monitors.signs import RULES
from pipeline.signs import signs
from pipeline.site import Site
from portal.cli.common import JsonOption, SettingsOption, local, settings_from, show_rows
from portal.i18n import term

app = typer.Typer(help="Signs that a person should look at, with their evidence; never a verdict.", no_args_is_help=True)
_SHOWN: Final = (
    "state", "status", "enterprise", "rule", "subject", "period", "actual", "expected", "low", "high", "unit", "missing", "looked_at_by", "note",
)


@app.command("list")
def list_(
    enterprise: Annotated[str | None, typer.Option(help="Only this enterprise.")] = None,
    state: Annotated[Literal["seen", "unknown"] | None, typer.Option(help="Seen, or not to be judged for want of data (default: both).")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the signs; with --json their evidence, sources and what could explain them innocently too."""
    site = Site(settings_from(settings))
    try:
        found = signs(site, datetime.now(UTC))
    finally:
        site.close()
    wanted = {"enterprise": enterprise, "state": state}
    chosen = found.filter(*(pl.col(name) == value for name, value in wanted.items() if value is not None))
    rows = local(chosen, site.settings.site.zone).to_dicts()
    if as_json:
        rows = [row | {f"innocent_{language}": term(language, "sign-innocent", row["rule"]) for language in ("zh", "en")} for row in rows]
    rows.sort(key=lambda row: row["state"] != "seen")
    show_rows(rows, _SHOWN, as_json=as_json, title="Signs to look at. A sign asks, it never judges; evidence and what could explain it: --json")


@app.command()
def look(
    enterprise: Annotated[str, typer.Argument(help="Whose sign.")],
    rule: Annotated[str, typer.Argument(help="Which sign, as `signs list` names it.")],
    period: Annotated[str, typer.Argument(help="Its period, as `signs list` shows it.")],
    note: Annotated[str, typer.Option(help="What was found.")],
    subject: Annotated[str | None, typer.Option(help="Its subject, where it has one.")] = None,
    by: Annotated[str | None, typer.Option(help="Who looked (default: the name of this login).")] = None,
    settings: SettingsOption = None,
) -> None:
    """Record that a person looked at a sign, and what they found."""
    site, now = Site(settings_from(settings)), datetime.now(UTC)
    try:
        named = {"enterprise": enterprise, "rule": rule, "period": period}
        found = signs(site, now).filter(pl.col("state") == "seen", pl.col("subject").eq_missing(pl.lit(subject)), **named)
        if found.is_empty():
            rules = f"Rules are {', '.join(RULES)}; `tcewatch signs list --state seen` shows the signs."
            raise BadInputError([Problem("sign", f"there is no sign {rule} {subject or ''} {period} of {enterprise}", rules)])
        site.sign_notes.look(enterprise, rule, subject, period, note, by=by or getpass.getuser(), now=now)
    finally:
        site.close()
    typer.echo(f"Recorded: {enterprise} {rule} {period}.")
