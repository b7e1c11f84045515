"""`tcewatch quarantine`: what could not be taken over, with its reason and its bytes."""

import base64
import sys
from typing import Annotated

import polars as pl
import typer

from config.errors import BadInputError, Problem
from pipeline.site import Site
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json, show_rows
from store.database import opened
from store.quarantine import WHOLE_MESSAGE, Quarantine

app = typer.Typer(help="Messages and readings that could not be taken over.", no_args_is_help=True)
_PRINTED_BYTES = 2_000
_NAMED = 20
_SHOWN = ("message", "index", "kind", "reasons", "enterprise", "gateway", "meter", "register", "read_at", "value", "unit", "raw_size", "received_at")


@app.command("list")
def list_(
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    enterprise: Annotated[str | None, typer.Option(help="Only this enterprise.")] = None,
    after: Annotated[str | None, typer.Option(metavar="MESSAGE:INDEX", help="Go on after this row.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows to show.")] = 50,
    counts: Annotated[bool, typer.Option("--counts", help="Show how many rows have each reason instead.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show rows, the newest first."""
    with opened(settings_from(settings).database_url) as database:
        quarantine = Quarantine(database)
        if counts:
            rows = quarantine.counts()
            show_rows(rows.to_dicts(), rows.columns, as_json=as_json)
            return
        page = quarantine.page(after=_place(after), limit=limit, filters={"reason": reason, "enterprise": enterprise}).to_dicts()
    for row in page:
        row["reasons"] = row["reasons"] if as_json else ", ".join(row["reasons"])
    show_rows(page, _SHOWN, as_json=as_json)
    if len(page) == limit and not as_json:
        typer.echo(f"More: --after {page[-1]['message']}:{page[-1]['index']}")


@app.command(context_settings={"ignore_unknown_options": True})
def show(
    message: Annotated[int, typer.Argument(help="Number of the message.")],
    index: Annotated[int, typer.Argument(help="Position of the reading in it; -1: the whole message.")] = WHOLE_MESSAGE,
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes as they came to standard output, and nothing else.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one row with its bytes: of a reading that broke a rule, those of the whole message that it came in."""
    site = Site(settings_from(settings))
    row = site.quarantine.get(message, index)
    if row is None:
        raise BadInputError([_not_there(site.quarantine, message, index)])
    whole = None if row["raw"] or index == WHOLE_MESSAGE else site.journal.get(message)
    site.close()
    held = bytes(row["raw"] or b"") if whole is None else whole.payload
    row = {**row, "raw": held}
    if raw:
        sys.stdout.buffer.write(held)
        return
    if as_json:
        show_json({**row, "raw": base64.b64encode(held).decode()})
        return
    for name, value in row.items():
        typer.echo(f"{name}: {ascii(held[:_PRINTED_BYTES]) if name == 'raw' else '' if value is None else value}")
    if len(held) > _PRINTED_BYTES:
        typer.echo(f"These are the first {_PRINTED_BYTES:,} of {len(held):,} bytes; --raw writes them all.")


def _not_there(quarantine: Quarantine, message: int, index: int) -> Problem:
    """Say what of the message is there, if anything."""
    rows = quarantine.page(after=(message, WHOLE_MESSAGE - 1), limit=_NAMED).filter(pl.col("message") == message)
    where = f"message {message} index {index}"
    if rows.is_empty():
        return Problem(where, "is not in quarantine", "`tcewatch quarantine list` shows what is.")
    there = rows["index"].to_list()
    listed = ", ".join(map(str, there)) + (", ..." if len(there) == _NAMED else "")
    return Problem(where, f"is not in quarantine, but index {listed} of the message", f"Name one: `tcewatch quarantine show {message} {there[0]}`.")


def _place(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        message, index = text.split(":")
        return int(message), int(index)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no place; write MESSAGE:INDEX, for example 1842:-1") from None
