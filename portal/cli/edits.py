"""`tcewatch edits`: corrections of meter data, proposed by one person and checked by another."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from config.errors import BadInputError, Problem
from pipeline.site import Site
from portal.cli.common import JsonOption, SettingsOption, local, settings_from, show_json, show_rows
from portal.cli.estimate import estimate_command
from portal.views import with_effect

app = typer.Typer(help="Edits of meter data: exclude, replace, confirm, estimate; the original readings stay.", no_args_is_help=True)
app.command("estimate")(estimate_command)
_SHOWN = ("edit", "state", "effect", "enterprise", "meter", "register", "kind", "start", "end", "value", "reason", "maker", "checker", "withdrawn_by")
Ids = Annotated[list[int], typer.Argument(help="Numbers from `edits list`.")]
Reason = Annotated[str, typer.Option(help="Why.")]
Checker = Annotated[str, typer.Option(help="Who has looked at the evidence; not who made the edit, or asked to withdraw it.")]


@app.command("list")
def list_(
    state: Annotated[
        Literal["waiting", "effective", "withdrawing", "refused", "withdrawn"] | None, typer.Option(help="Only edits in it."),
    ] = None,
    enterprise: Annotated[str | None, typer.Option(help="Only this enterprise.")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every edit, who made and who checked it, and whether it counts; of a replacement whether its value does (effect)."""
    site = Site(settings_from(settings))
    found = with_effect(site, site.edits.rows(states=None if state is None else [state], enterprises=None if enterprise is None else [enterprise]))
    site.close()
    show_rows(local(found, site.settings.site.zone).to_dicts(), _SHOWN, as_json=as_json)


@app.command()
def propose(
    file: Annotated[Path, typer.Argument(
        help="CSV or a workbook: enterprise, meter, register, kind, start, [end, value, low, high, method, evidence], reason.",
    )],
    maker: Annotated[str, typer.Option(help="Who proposes.")],
    evidence: Annotated[Path | None, typer.Option(help="A file that shows why, for all rows that name none by its SHA-256.")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose the edits of FILE; they count once another person has checked them."""
    site, now = Site(settings_from(settings)), datetime.now(UTC)
    try:
        sha256 = None if evidence is None else site.edits.keep_evidence(_read(evidence), name=evidence.name, by=maker, at=now)
        ids = site.edits.propose_file(file, maker=maker, at=now, evidence=sha256)
    finally:
        site.close()
    show_json({"edits": ids, "evidence": sha256}) if as_json else typer.echo(f"Proposed: {_numbers(ids)}. Another person checks them.")


@app.command()
def check(ids: Ids, checker: Checker, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Agree to edits, or to withdrawals, that wait."""
    _decide(settings, "check", ids, "checked", as_json=as_json, checker=checker)


@app.command()
def refuse(ids: Ids, checker: Checker, reason: Reason, settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Refuse edits, or withdrawals, that wait."""
    _decide(settings, "refuse", ids, "refused", as_json=as_json, checker=checker, reason=reason)


@app.command()
def withdraw(
    ids: Ids, by: Annotated[str, typer.Option(help="Who asks.")], reason: Reason, settings: SettingsOption = None, as_json: JsonOption = False,
) -> None:
    """Ask that edits count no longer, which another person checks; or take back one's own that still wait."""
    _decide(settings, "withdraw", ids, "withdrawn, or waiting for another person's check to be", as_json=as_json, by=by, reason=reason)


def _decide(settings: Path | None, action: str, ids: list[int], done: str, *, as_json: bool, **said: Any) -> None:
    site = Site(settings_from(settings))
    try:
        getattr(site.edits, action)(ids, at=datetime.now(UTC), **said)
    finally:
        site.close()
    show_json({"edits": sorted(set(ids))}) if as_json else typer.echo(f"{_numbers(sorted(set(ids)))} {done}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError([Problem(str(path), f"cannot be read ({error.strerror})", "Name the evidence file.")]) from error


def _numbers(ids: list[int]) -> str:
    return f"edit{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"
