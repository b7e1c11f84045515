"""`tcewatch rebuild`: derive every table again from the journal, print the hashes, and compare or replace."""

import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from config.errors import StoreUnavailableError
from pipeline.evaluate import Evaluator
from pipeline.rebuild import rebuilt
from pipeline.site import Site
from portal.cli.common import EXIT_FAULT, JsonOption, SettingsOption, settings_from, show_json, show_rows
from portal.cli.run import hold


def command(
    settings: SettingsOption = None,
    first_day: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="Hash hours and days from this one on.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Change nothing; tell whether the live tables are equal.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Derive hours, days, energy, intensity and verdicts again from the journal; print the hash of each table."""
    site = Site(settings_from(settings))
    locks = [] if compare else [hold(site.data_dir, name) for name in ("roll", "evaluate")]
    first = first_day.date() if first_day else None
    upto = site.ledger.cursors()
    marks = site.ledger.dirty()
    behind = site.waiting() > 0 or (compare and not (marks.is_empty() and Evaluator(site, lambda: datetime.now(UTC)).is_current()))
    if behind:
        remedy = "Wait until `tcewatch run` has caught up, then call again; where none runs, start it."
        raise StoreUnavailableError(site.data_dir, "messages, days or results are still being worked on", remedy)
    before = site.derived.hashes(first)
    with tempfile.TemporaryDirectory(prefix="rebuild-", dir=site.data_dir) as folder:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("messages", total=site.ledger.totals().received)
            shadow = rebuilt(site, Path(folder), upto=upto, progress=lambda done: bar.update(task, completed=done))
        again = shadow.derived.hashes(first)
        shadow.readings().close()
        if compare and site.ledger.cursors() != upto:
            remedy = "Call again when it is quiet, or stop `tcewatch run` first."
            raise StoreUnavailableError(site.data_dir, "new messages were settled meanwhile", remedy)
        if not compare:
            _replace(site, shadow)
            site.ledger.clear_dirty(marks)
    hashes = [(name, before.get(name), again.get(name)) for name in sorted({*before, *again})]
    rows = [{"table": name, "live": live, "rebuilt": new, "equal": live == new} for name, live, new in hashes]
    equal = all(row["equal"] for row in rows)
    if as_json:
        show_json({"equal": equal, "messages": site.ledger.totals().received, "tables": rows})
    else:
        show_rows(rows, ["table", "live", "rebuilt", "equal"], as_json=False)
        print("equal" if equal else "The live tables differed." if compare else "The live tables differed and were replaced.")
    del locks
    site.close()
    if compare and not equal:
        sys.exit(EXIT_FAULT)


def _replace(site: Site, shadow: Site) -> None:
    live, old = site.data_dir / "derived", site.data_dir / "derived.old"
    live.rename(old)
    (shadow.data_dir / "derived").rename(live)
    shutil.rmtree(old)
