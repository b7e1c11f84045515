"""`tcewatch readings import`: readings from a file, through the same journal, decoding and rules as those from gateways."""

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from pipeline.settle import Settler
from pipeline.site import Site
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json
from portal.cli.files import Column, read_tables
from portal.cli.run import hold, is_held
from store.journal import HISTORY, Arrival

app = typer.Typer(help="Readings: bring in a file.", no_args_is_help=True)
READINGS_A_MESSAGE = 10_000
UNREGISTERED = "file"  # stands for the gateway of a meter that the register does not know
FOLLOW_S = 60.0
_COLUMNS = (
    Column("enterprise", "text", "18-character credit code"), Column("gateway", "text", "id of the gateway (default: the meter's)", required=False),
    Column("meter", "text", "id of the meter"), Column("register", "text", "name of the register", required=False, default="main"),
    Column("read_at", "instant", "time of the reading"), Column("value", "number", "what the register showed"),
    Column("unit", "text", "unit of the value (default: the register's)", required=False),
)


@app.callback()
def _group() -> None:
    """Readings: bring in a file."""


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or xlsx with enterprise, meter, read_at, value, [gateway, register, unit].")],
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the readings of a file into the journal and tell what became of them."""
    site = Site(settings_from(settings))
    table = read_tables({"readings": (str(file), _COLUMNS)}, zone=None)["readings"].frame
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]  # the same file again is the same messages: all duplicates
    messages = list(_messages(_with_gateway(table, site), f"file-{digest}"))
    now = datetime.now(UTC)
    ids = site.journal.append([Arrival("file", topic, None, None, payload, now, lane=HISTORY) for topic, payload in messages])
    if ids:
        _follow(site, ids[-1])
    became = site.ledger.settlements(ids[0] - 1, len(ids)).filter(pl.col("message").is_in(ids)) if ids else site.ledger.settlements(0, 0)
    counts = {name: int(became[name].sum()) for name in ("decoded", "stored", "duplicate", "conflicting", "rejected")}
    site.close()
    summary = {"readings": table.height, "messages": len(ids), "settled": became.height, **counts}
    if as_json:
        show_json(summary)
    else:
        print(", ".join(f"{name} {count}" for name, count in summary.items()))
        if became.height < len(ids):
            print("The rest is in the journal and will be settled by `tcewatch run`.")
        if counts["rejected"]:
            print("What was rejected is in `tcewatch quarantine list`, with its reasons.")


def _with_gateway(table: pl.DataFrame, site: Site) -> pl.DataFrame:
    registered = site.register.meters().select("enterprise", "meter", registered="gateway").unique(["enterprise", "meter"], keep="last")
    given = pl.col("gateway") if "gateway" in table.columns else pl.lit(None, dtype=pl.String())
    joined = table.join(registered, on=["enterprise", "meter"], how="left", maintain_order="left")
    return joined.with_columns(gateway=pl.coalesce(given, "registered", pl.lit(UNREGISTERED)))


def _messages(table: pl.DataFrame, epoch: str) -> Iterator[tuple[str, bytes]]:
    columns = ["meter", "register", "ts", "value", *(["unit"] if "unit" in table.columns else [])]
    timed = table.with_columns(ts=pl.col("read_at").dt.epoch("ms"))
    for (enterprise, gateway), group in timed.group_by(["enterprise", "gateway"], maintain_order=True):
        for seq, chunk in enumerate(group.sort("read_at", maintain_order=True).iter_slices(READINGS_A_MESSAGE), start=1):
            body = {"v": 1, "epoch": epoch, "seq": seq, **chunk.select(columns).to_dict(as_series=False)}
            yield f"tce/v1/000000/{enterprise}/{gateway}/backfill", json.dumps(body, allow_nan=False).encode()


def _follow(site: Site, last: int) -> None:
    """Let the running service settle it, or do so here where none runs."""
    if is_held(site.data_dir, "settle"):
        deadline = time.monotonic() + FOLLOW_S
        while site.ledger.cursor(HISTORY) < last and time.monotonic() < deadline:
            time.sleep(0.1)
        return
    lock = hold(site.data_dir, "settle")
    settler = Settler(site)
    while settler.once():
        if sys.stderr.isatty():
            print(f"\r{site.ledger.cursor(HISTORY)} of {last} messages", end="", file=sys.stderr)
    del lock
