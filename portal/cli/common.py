"""What all commands share: settings, output as text or JSON, errors as exit codes."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from config import settings as site_settings
from config.errors import BadInputError, ServiceUnavailableError, StoreFullError, TcewatchError

if TYPE_CHECKING:
    import polars as pl

EXIT_FAULT, EXIT_USAGE, EXIT_BAD_INPUT, EXIT_UNAVAILABLE = 1, 2, 3, 4

SettingsOption = Annotated[Path | None, typer.Option("--settings", help="Settings file (default: $TCEWATCH_SETTINGS, else tcewatch.toml here).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def instant_of(text: str, zone: ZoneInfo, where: str) -> datetime:
    """An instant as it is written on the command line, in UTC; without an offset it is of `zone`.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant; write 2026-03-01T08:00:00+08:00", param_hint=where) from None
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


def settings_from(path: Path | None) -> site_settings.Settings:
    """The settings that a command works with."""
    return site_settings.load(site_settings.find_settings_file(path))


def local(frame: "pl.DataFrame", zone: str) -> "pl.DataFrame":
    """A table with its instants as text of the place's clock, with offset."""
    from polars import selectors  # commands that need no tables start without it

    return frame.with_columns(selectors.datetime().dt.convert_time_zone(zone).dt.strftime("%Y-%m-%dT%H:%M:%S%:z"))


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, title: str | None = None) -> None:
    """Print rows as a table for people or as JSON for machines."""
    if as_json:
        show_json(list(rows))
        return
    table = Table(title=title)
    for column in columns:
        numbers = any(isinstance(row.get(column), int | float) and not isinstance(row[column], bool) for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def _cell(value: Any) -> str:
    """A value for a person: a number at the digits that mean something."""
    return "" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def show_json(document: Any) -> None:
    """Print one JSON document; instants, dates and paths as text."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n")


def exit_code(error: TcewatchError) -> int:
    """The exit code of an error: 3 bad input, 4 something cannot be reached, 1 a fault of ours."""
    match error:
        case BadInputError():
            return EXIT_BAD_INPUT
        case ServiceUnavailableError() | StoreFullError():
            return EXIT_UNAVAILABLE
        case _:
            return EXIT_BAD_INPUT if type(error).__name__ in {"NoRuleInForceError", "UnknownCodeError"} else EXIT_FAULT


def guarded(command: Callable[[], None]) -> int:
    """Run a command; an error of ours becomes one clear sentence and its exit code."""
    try:
        command()
    except TcewatchError as error:
        sys.stderr.write(f"tcewatch: {error}\n")
        return exit_code(error)
    return 0
