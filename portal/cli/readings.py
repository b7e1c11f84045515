"""`tcewatch readings`: readings from a file, through the same journal, decoding and rules as those from gateways; and to a file."""

import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import polars as pl
import typer

from config.errors import BadInputError, Problem
from config.schemas import READING_QUALITY
from pipeline.site import Site
from portal.cli.columns import load_mapping, read_readings
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json
from portal.cli.files import check_output, write_table
from portal.cli.follow import settled
from store.journal import HISTORY, Arrival

app = typer.Typer(help="Readings: bring in a file, write one.", no_args_is_help=True)
READINGS_A_MESSAGE: Final = 10_000
MESSAGES_AT_ONCE: Final = 100  # in one transaction of the journal
UNREGISTERED: Final = "file"  # stands for the gateway of a meter that the register does not know
UNKNOWN: Final = "unknown"  # stands for an enterprise that a row does not name
_TOLD: Final = 50
_XLSX_ROWS: Final = 1_048_575
_COUNTED: Final = ("decoded", "stored", "duplicate", "conflicting", "rejected")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or xlsx with enterprise, meter, read_at, value, [gateway, register, unit].")],
    mapping: Annotated[Path | None, typer.Option(help="TOML that says which column is what, for a file with other columns.")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the readings of a file into the journal and tell what became of them.

    A row that cannot be read costs no other: it goes to quarantine. The same file again stores nothing again.
    """
    site = Site(settings_from(settings))
    table, problems = read_readings(str(file), None if mapping is None else load_mapping(mapping))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    identity = f"{file.name} sha256:{digest}"
    ids: list[int] = []
    # The same file again is the same messages: all duplicates.
    messages = _messages(_with_gateway(table, site), f"file-{digest[:16]}")
    while some := list(islice(messages, MESSAGES_AT_ONCE)):
        now = datetime.now(UTC)
        ids += site.journal.append([Arrival("file", topic, identity, None, payload, now, lane=HISTORY) for topic, payload in some])
    became = settled(site, ids)
    counts = {name: int(became[name].sum()) for name in _COUNTED}
    site.close()
    summary = {"readings": table.height, "messages": len(ids), "settled": became.height, **counts}
    if as_json:
        show_json({**summary, "undecodable": became["reason"].count(), "problems": [str(problem) for problem in problems]})
        return
    for problem in problems[:_TOLD]:
        print(problem, file=sys.stderr)
    if len(problems) > _TOLD:
        print(f"and {len(problems) - _TOLD} more such cells; --json lists them all", file=sys.stderr)
    print(", ".join(f"{name} {count}" for name, count in summary.items()))
    if became.height < len(ids):
        print("The rest is in the journal and will be settled by `tcewatch run`.")
    if counts["rejected"] or became["reason"].count():
        print("What was rejected is in `tcewatch quarantine list`, with its reasons.")


@app.command("export")
def export_file(
    file: Annotated[Path, typer.Argument(help="What to write: CSV (.zst and .gz too), Parquet or xlsx by suffix; - for CSV on standard output.")],
    start: Annotated[datetime, typer.Option("--from", metavar="INSTANT", help="First instant, as 2026-11-20 or 2026-11-20T08:00:00 (local).")],
    end: Annotated[datetime, typer.Option("--to", metavar="INSTANT", help="The instant after the last.")],
    enterprise: Annotated[str | None, typer.Option(help="Only this enterprise.")] = None,
    meter: Annotated[str | None, typer.Option(help="Only this meter.")] = None,
    register: Annotated[str | None, typer.Option(help="Only this register.")] = None,
    settings: SettingsOption = None,
) -> None:
    """Write readings as they are stored, each with its quality and the number of the message that brought it."""
    check_output(str(file))
    site = Site(settings_from(settings))
    first, last = (at.replace(tzinfo=site.settings.zone).astimezone(UTC) for at in (start, end))
    if last <= first:
        raise BadInputError([Problem("--to", "is not after --from", "Give a later one.")])
    wanted = (("enterprise", enterprise), ("meter", meter), ("register", register))
    names = site.register.names().filter(*(pl.col(column) == value for column, value in wanted if value is not None))
    if names.is_empty():
        raise BadInputError([Problem("readings export", "no register fits", "`tcewatch register export` shows what is registered.")])
    units = site.register.registers().group_by("register_key").agg(pl.col("unit").last())
    keys = None if enterprise is meter is register is None else names["register_key"].to_list()
    found = pl.concat(_months(site, keys, first, last)).join(names, on="register_key").join(units, on="register_key", how="left")
    site.close()
    if str(file).lower().endswith(".xlsx") and found.height > _XLSX_ROWS:
        raise BadInputError([Problem(str(file), f"{found.height:,} readings do not fit into a sheet", "Write CSV or Parquet, or ask for less.")])
    quality = pl.col("quality").cast(pl.Int64).replace_strict(dict(enumerate(READING_QUALITY)), default=None, return_dtype=pl.String())
    shown = found.with_columns(quality).sort("enterprise", "meter", "register", "read_at", "copy").select(
        "enterprise", "meter", "register", "read_at", "value", "unit", "quality", "copy", "received_at", "message"
    )
    write_table(shown, str(file), zone=site.settings.site.zone)
    print(f"{shown.height} readings", file=sys.stderr)


def _months(site: Site, keys: list[int] | None, first: datetime, last: datetime) -> Iterator[pl.DataFrame]:
    store, at = site.readings(), first
    while at < last:
        yield store.span(keys, at, min(at + timedelta(days=31), last))
        at += timedelta(days=31)


def _with_gateway(table: pl.DataFrame, site: Site) -> pl.DataFrame:
    registered = site.register.meters().select("enterprise", "meter", registered="gateway").unique(["enterprise", "meter"], keep="last")
    joined = table.join(registered, on=["enterprise", "meter"], how="left", maintain_order="left")
    return joined.with_columns(
        enterprise=pl.col("enterprise").fill_null(UNKNOWN), gateway=pl.coalesce("gateway", "registered", pl.lit(UNREGISTERED))
    )


def _messages(table: pl.DataFrame, epoch: str) -> Iterator[tuple[str, bytes]]:
    columns = ["meter", "register", *(["unit"] if table["unit"].null_count() < table.height else [])]
    for (enterprise, gateway), group in table.group_by(["enterprise", "gateway"], maintain_order=True):
        for seq, chunk in enumerate(group.sort("ts", maintain_order=True).iter_slices(READINGS_A_MESSAGE), start=1):
            cells = {"ts": _said(chunk, "ts", "said_at"), "value": _said(chunk, "value", "said")}
            body = {"v": 1, "epoch": epoch, "seq": seq, **chunk.select(columns).to_dict(as_series=False), **cells}
            yield f"tce/v1/000000/{enterprise}/{gateway}/backfill", json.dumps(body, allow_nan=False).encode()


def _said(chunk: pl.DataFrame, name: str, said: str) -> list[Any]:
    """The values, and where there is none the cell as it stands: decoding refuses that one and keeps it."""
    if not chunk[name].null_count():
        return chunk[name].to_list()
    return [text if value is None else value for value, text in chunk.select(name, said).iter_rows()]
