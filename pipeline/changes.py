"""What a change of the register, its events or the edits means in time: the windows in which consumption may be another one.

A version that says the same, or a name, or from when a row is known, changes nothing.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

import polars as pl

from config import calendar
from config.schemas import EDIT, EVENT, REGISTER, VEE_RULE, WINDOW, conform, empty
from store.ledger import Ledger

STATE: Final = "rolled_with_rows"
_TICK: Final = timedelta(microseconds=1)  # instants are whole microseconds
_WHOLE: Final = ("kind", "stamp")  # of a register's last row, they hold for all of its time
_DATED: Final = ("modulus", "range_low", "range_high", "max_rate_per_h", "resolution", "net", "unit", "formula")
_EVENT: Final = ("register_key", "at", "event", "closing_value", "opening_value", "multiplier")
_EDIT: Final = ("register_key", "edit", "kind", "start", "end", "value", "low", "high", "method")
_AT: Final = ("register_key", "start")
_PIECE: Final = pl.Schema({"register_key": pl.UInt32(), "start": pl.Int64(), "end": pl.Int64(), "meaning": pl.UInt64()})
_LOW, _HIGH = -(2**62), 2**62  # microseconds before and after all time


@dataclass(frozen=True)
class Rows:
    """What consumption is computed with, besides readings."""

    registers: pl.DataFrame = field(default_factory=lambda: empty(REGISTER))
    events: pl.DataFrame = field(default_factory=lambda: empty(EVENT))
    edits: pl.DataFrame = field(default_factory=lambda: empty(EDIT))  # those in effect
    rules: pl.DataFrame = field(default_factory=lambda: empty(VEE_RULE))  # of validation


def changed_windows(before: Rows, after: Rows) -> pl.DataFrame:
    """WINDOW: exactly the time of each register in which its rows, events or edits mean something else; null = without bound.

    A row is compared where it holds: from valid_from to valid_to, both ends included, or to where the next row begins. Kind and stamp are
    those of the last row for all time. A multiplier holds from its row or event until the next one; any other event is an instant. An
    edit is its span, `replace` its instant.
    """
    last = _last(before.registers).join(_last(after.registers), on="register_key", suffix="_after")
    whole = last.filter(pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_after")) for name in _WHOLE))
    whole = whole.select("register_key", start=pl.lit(_LOW), end=pl.lit(_HIGH))
    events = _differing(_events(before), _events(after)).select("register_key", start="at", end=pl.col("at") + 1)
    edits = _differing(_edits(before), _edits(after)).select("register_key", start="start", end=pl.max_horizontal(pl.col("start") + 1, "end"))
    return _joined(pl.concat([whole, _unequal(_pieces(before), _pieces(after)), events, edits]))


def changed_days(before: Rows, after: Rows, computed: Sequence[date], zone: str) -> pl.DataFrame:
    """register_key, day: the local days to compute again, of those that were ever computed (in order), and those of estimates and events.

    An estimate stands where nothing was measured, and the value of an event is the neighbour of the first or last reading, so their days
    count even where none was computed.
    """
    estimates = _differing(_edits(before), _edits(after)).filter(pl.col("kind") == "estimate").select("register_key", "start", "end")
    events = _differing(_events(before), _events(after)).select("register_key", start="at", end=pl.col("at") + 1)
    spans = conform(pl.concat([estimates, events]), WINDOW)
    days = [_days(spans, zone)]
    if computed:
        days.append(days_of(changed_windows(before, after), computed[0], computed[-1], zone))
    return pl.concat(days).unique().sort("register_key", "day")


def days_of(windows: pl.DataFrame, first: date, last: date, zone: str) -> pl.DataFrame:
    """register_key, day: the local days first..last (both included) that WINDOW touches; what has no bound ends there."""
    start, end = calendar.day_span(first, zone)[0], calendar.day_span(last, zone)[1]
    cut = windows.with_columns(pl.col("start").fill_null(start).clip(start), pl.col("end").fill_null(end).clip(None, end))
    return _days(cut, zone)


def _days(spans: pl.DataFrame, zone: str) -> pl.DataFrame:
    local = spans.filter(pl.col("start") < pl.col("end")).with_columns(
        first=pl.col("start").dt.convert_time_zone(zone).dt.date(), last=(pl.col("end") - _TICK).dt.convert_time_zone(zone).dt.date(),
    )
    days = local.select("register_key", day=pl.date_ranges("first", "last"))
    return days.explode("day").unique().sort("register_key", "day")


def rolled_with(ledger: Ledger) -> Rows:
    """The rows that the derived tables were last brought up to; none at the start."""
    text = ledger.get_state(STATE)
    if text is None:
        return Rows()
    parts = [pl.read_ipc(io.BytesIO(base64.b64decode(part))) for part in text.split(" ")]
    return Rows(*(conform(part, schema) for part, schema in zip(parts, (REGISTER, EVENT, EDIT, VEE_RULE), strict=True)))


def set_rolled_with(ledger: Ledger, rows: Rows) -> None:
    """Keep the rows; called after their changed days are marked, so that a crash in between marks them again."""
    parts = []
    for table in (rows.registers, rows.events, rows.edits, rows.rules):
        file = io.BytesIO()
        table.write_ipc(file, compression="zstd")
        parts.append(base64.b64encode(file.getvalue()).decode())
    ledger.set_state(STATE, " ".join(parts))


def _registers(table: pl.DataFrame) -> pl.DataFrame:
    """Rows with the time in which each is the one that holds, in us: a later row begins where it begins."""
    known = pl.Schema({**REGISTER, "formula": REGISTER.get("formula", pl.String())})
    rows = conform(table, known).sort("register_key", "valid_from", nulls_last=False)
    begin, until = pl.col("valid_from").to_physical(), pl.col("valid_to").to_physical() + 1
    following = begin.shift(-1).over("register_key")
    return rows.with_columns(start=begin.fill_null(_LOW), end=pl.min_horizontal(until, following).fill_null(_HIGH))


def _last(table: pl.DataFrame) -> pl.DataFrame:
    return _registers(table).unique("register_key", keep="last", maintain_order=True).select("register_key", *_WHOLE)


def _multipliers(rows: Rows) -> pl.DataFrame:
    """register_key, start, multiplier: each holds until the next one begins; the first row's from ever on."""
    of_rows = _registers(rows.registers).select("register_key", "start", multiplier=pl.col("multiplier").fill_null(1.0))
    is_first = pl.int_range(pl.len()).over("register_key") == 0
    given = rows.events.filter(pl.col("event") == "multiplier", pl.col("multiplier").is_not_null())
    return pl.concat([
        of_rows.with_columns(start=pl.when(is_first).then(_LOW).otherwise("start")),
        given.select("register_key", start=pl.col("at").to_physical(), multiplier="multiplier"),
    ]).sort("start", maintain_order=True)  # of several that begin together the last one holds: an event's


def _pieces(rows: Rows) -> pl.DataFrame:
    """_PIECE: the time that rows cover, cut where anything begins or ends to hold."""
    registers, multipliers = _registers(rows.registers).sort("start"), _multipliers(rows)
    cuts = pl.concat([registers.select(_AT), registers.select("register_key", start="end"), multipliers.select(_AT)]).unique().sort(_AT)
    pieces = cuts.with_columns(end=pl.col("start").shift(-1).over("register_key")).drop_nulls("end").sort("start")
    pieces = _as_of(pieces, registers.select(*_AT, *_DATED, until="end")).filter(pl.col("start") < pl.col("until"))
    pieces = _as_of(pieces, multipliers)
    return pieces.select(*_PIECE.names()[:3], meaning=pieces.select(*_DATED, "multiplier").hash_rows(seed=0))


def _events(rows: Rows) -> pl.DataFrame:
    """Events, each with the multiplier that holds from it on."""
    events = conform(rows.events, pl.Schema({name: EVENT[name] for name in _EVENT})).with_columns(start=pl.col("at").to_physical()).sort("start")
    with_multiplier = _as_of(events, _multipliers(rows).rename({"multiplier": "in_force"}))
    return with_multiplier.with_columns(at="start").drop("start")


def _edits(rows: Rows) -> pl.DataFrame:
    edits = conform(rows.edits, pl.Schema({name: EDIT[name] for name in _EDIT}))
    return edits.with_columns(pl.col("start", "end").to_physical())


def _as_of(frame: pl.DataFrame, dated: pl.DataFrame) -> pl.DataFrame:
    """What holds at each start."""
    return frame.join_asof(dated, on="start", by="register_key", check_sortedness=False)  # both are sorted by start


def _differing(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Rows that only one of the two has."""
    return pl.concat([a.join(b, on=a.columns, how="anti", nulls_equal=True) for a, b in ((one, other), (other, one))])


def _unequal(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """register_key, start, end: where the meaning of two _PIECEs differs; being in none is a meaning of its own."""
    cuts = pl.concat([table.select("register_key", start=name) for table in (one, other) for name in ("start", "end")]).unique().sort(_AT)
    cuts = cuts.with_columns(end=pl.col("start").shift(-1).over("register_key")).drop_nulls("end").sort("start")
    for number, table in enumerate((one, other)):
        found = _as_of(cuts, table.sort("start").rename({"end": "until"}))
        cuts = found.with_columns(pl.when(pl.col("start") < pl.col("until")).then("meaning").alias(f"meaning_{number}")).drop("until", "meaning")
    return cuts.filter(pl.col("meaning_0").ne_missing(pl.col("meaning_1"))).select("register_key", "start", "end")


def _joined(windows: pl.DataFrame) -> pl.DataFrame:
    """WINDOW: the same time as windows that neither touch nor overlap."""
    sorted_ = windows.sort("register_key", "start", "end")
    before = pl.col("end").cum_max().shift(1).over("register_key")
    groups = sorted_.with_columns(group=(pl.col("start") > before).fill_null(value=True).cum_sum())
    joined = groups.group_by("register_key", "group", maintain_order=True).agg(pl.col("start").min(), pl.col("end").max())
    bounded = joined.with_columns(
        start=pl.when(pl.col("start") > _LOW).then("start"), end=pl.when(pl.col("end") < _HIGH).then("end"),
    )
    return conform(bounded.drop("group"), WINDOW)
