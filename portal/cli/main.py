"""The `tcewatch` command: every sub-command has a module of its own beside this one."""

import importlib
import os
import sys

import typer

from config.allocator import keep_freed_memory
from portal.cli.common import guarded

# command or group -> module with `app` (a typer.Typer) or, for a single command, `command` (a function)
GROUPS = {
    "register": "portal.cli.register", "figures": "portal.cli.figures", "edits": "portal.cli.edits",
    "quarantine": "portal.cli.quarantine", "user": "portal.cli.user",
    "token": "portal.cli.token", "calc": "portal.cli.calc", "tables": "portal.cli.tables", "gateway": "portal.cli.gateway",
    "readings": "portal.cli.readings", "audit": "portal.cli.audit", "enterprises": "portal.cli.enterprises", "meters": "portal.cli.meters",
    "papers": "portal.cli.papers", "signs": "portal.cli.signs",
}
COMMANDS = {
    "demo": "portal.cli.demo", "init": "portal.cli.init", "check": "portal.cli.check", "run": "portal.cli.run",
    "rebuild": "portal.cli.rebuild", "decode": "portal.cli.decode", "as-of": "portal.cli.as_of",
}
_SMALL_TABLES = {"collect", "settle"}  # services that work on a batch of readings at a time
_LARGE_TABLES = {"roll", "evaluate", "portal"}


def build(only: str | None = None) -> typer.Typer:
    """The command tree; with `only`, just the part that the command line names (start-up stays quick)."""
    app = typer.Typer(
        name="tcewatch", help="Watch the energy of industrial parks: readings to verdicts, alerts and park figures.",
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    )
    app.callback()(_root)
    for name, module in GROUPS.items():
        if only in (None, name):
            app.add_typer(importlib.import_module(module).app, name=name)
    for name, module in COMMANDS.items():
        if only in (None, name):
            app.command(name)(importlib.import_module(module).command)
    return app


def _root() -> None:
    """Watch the energy of industrial parks."""


def main() -> None:
    """Entry point of the `tcewatch` script."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    named = words[0] if words else None
    if named == "run" and set(words) & _SMALL_TABLES and not set(words) & _LARGE_TABLES:
        # Read when Polars is loaded. For a batch every 0.1 s, handing it to several threads costs more than the work.
        os.environ.setdefault("POLARS_MAX_THREADS", "1")
    keep_freed_memory()
    app = build(named if named in GROUPS | COMMANDS else None)
    sys.exit(guarded(app))
