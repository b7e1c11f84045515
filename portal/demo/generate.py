"""What the gateways of the demo park publish: two years of history, then a replay with planted events. Deterministic by seed.

The instants that a replay needs are given as a function; nothing here looks at a clock.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple

import polars as pl
import zstandard

from config.calendar import day_span, local_day
from portal.demo import model, park
from portal.demo.model import QUARTER, SEED, ZONE

CAPTURE_FILE: Final = "data/MQTT_ENY_NOW_20260112_lines0001-1400.log.zst"
CHUNK_DAYS: Final = 14  # of history in one message: about 4,000 readings, below 64 KiB packed
CATCH_UP_S: Final = 10.0  # pauses while yesterday and today are replayed, in all
LIVE_S: Final = 3.0  # between messages of a gateway once the replay has reached the present
CAPTURE_SLOTS: Final = 80  # quarters over which the KPM33B capture is spread
_LIVE_BLOCK: Final = timedelta(hours=6)
_OPENING_YEARS: Final = (0.2, 3.0)  # how long a register has counted before the history starts
_ROW_FORM: Final = "machine"  # its gateway sends the row form, all others columns



class Plant(NamedTuple):
    """Where and when an event is planted: the quarter of the first replayed day (a day has 96)."""

    gateway: tuple[str, str]
    slot: int


EVENTS: Final[Mapping[str, Plant]] = {
    "duplicate": Plant(("cement", "GW-01"), 12),
    "poison": Plant(("ferroalloy", "GW-01"), 16),
    "wrap": Plant(("steel", "GW-01"), 20),
    "gap": Plant(("coking", "GW-01"), 24),
    "unknown_meter": Plant(("carbide", "GW-01"), 34),
    "wrong_clock": Plant(("ferroalloy", "GW-01"), 37),
    "wrong_type": Plant(("machine", "GW-01"), 40),
    "backfill": Plant(("coking", "GW-01"), 44),
}
GAP_SLOTS: Final = 8
WRAPPING: Final = ("steel", "W-101")


class Outgoing(NamedTuple):
    """One message to be published; a message without `seq` is no part of its gateway's count."""

    topic: str
    payload: bytes
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What the park publishes at one moment, and how long it waits afterwards."""

    at: datetime
    messages: tuple[Outgoing, ...]
    pause_s: float
    events: tuple[str, ...] = ()  # of EVENTS, planted in this step


def history(first: date, last_exclusive: date, *, seed: int = SEED) -> Iterator[Outgoing]:
    """Hourly readings of all registers for the local days [first, last_exclusive), a fortnight of a gateway a message.

    Column form, packed as zstd, on the gateways' `backfill` topics, in the order of time; `seq` runs from 1 for each gateway.
    """
    start = day_span(last_exclusive, ZONE)[0]
    every_hour = _levels(first, start, start, seed).filter(pl.col("at").dt.minute() == 0, pl.col("at") < start)
    packer = zstandard.ZstdCompressor(level=6)
    rows_a_chunk = CHUNK_DAYS * 24
    for seq, offset in enumerate(range(0, every_hour.height, rows_a_chunk), start=1):
        chunk = every_hour.slice(offset, rows_a_chunk)
        for (shop, gateway), rows in _gateways().items():
            columns = [(row, chunk.select("at", value=model.key(row)).drop_nulls()) for row in rows]
            payload = '{{"v":1,"epoch":"{}","seq":{},"meter":[{}],"register":[{}],"ts":[{}],"value":[{}]}}'.format(
                _epoch(first), seq,
                ",".join(",".join([f'"{row["meter"]}"'] * column.height) for row, column in columns),
                ",".join(",".join([f'"{row["register"]}"'] * column.height) for row, column in columns),
                ",".join(_joined(column["at"].dt.epoch("ms")) for _, column in columns),
                ",".join(_joined(column["value"]) for _, column in columns),
            )
            yield Outgoing(_topic(shop, gateway, "backfill"), packer.compress(payload.encode()), seq)


def replay(start: datetime, clock: Callable[[], datetime], *, seed: int = SEED) -> Iterator[Step]:
    """A quarter of an hour a step from `start` (a local midnight) to the present, then live every few seconds, without end.

    Registers and `seq` go on where `history` up to that day has left them. All planted events lie in the first half day.

    Args:
        start: where the history ended: the start of a local day before today.
        clock: the present instant; asked before each step.
        seed: that of the history.
    """
    first = park.history_start(local_day(start, ZONE) + timedelta(days=1))
    talk = _Talk(first, (local_day(start, ZONE) - first).days)
    capture = _capture()
    until = start
    slot = 0
    while (at := start + slot * QUARTER) <= clock():
        if at >= until:
            until = max(clock(), start + timedelta(days=1)) + _LIVE_BLOCK
            levels = _levels(first, until, start, seed)
        row = _row(levels, at)
        messages, events = talk.slot(slot, at, row)
        part = capture[slot * len(capture) // CAPTURE_SLOTS : (slot + 1) * len(capture) // CAPTURE_SLOTS]
        behind = max(1, (clock() - start) // QUARTER)
        yield Step(at, (*messages, *(Outgoing(park.KPM_TOPIC, line) for line in part)), CATCH_UP_S / behind, events)
        slot += 1
    quarter_told = start + (slot - 1) * QUARTER
    while True:
        now = clock().replace(microsecond=0)
        if now + QUARTER >= until:
            until = now + _LIVE_BLOCK
            levels = _levels(first, until, start, seed)
        quarter = start + (now - start) // QUARTER * QUARTER
        row = _between(_row(levels, quarter), _row(levels, quarter + QUARTER), (now - quarter) / QUARTER)
        yield Step(now, talk.live(now, row, _row(levels, quarter), quarter if quarter > quarter_told else None), LIVE_S)
        quarter_told = quarter


def missing(messages: Iterable[Outgoing]) -> int:
    """How many messages the platform must report missing after these: the gaps in the count of each gateway."""
    seen: dict[str, set[int]] = {}
    for message in messages:
        if message.seq is not None:
            seen.setdefault(message.topic.rsplit("/", 1)[0], set()).add(message.seq)
    return sum(max(numbers) - min(numbers) + 1 - len(numbers) for numbers in seen.values())


class _Talk:
    """The gateways' counts, and what each says at a step."""

    def __init__(self, first: date, days: int) -> None:
        self._first = first
        self._seq = dict.fromkeys(_gateways(), -(-days // CHUNK_DAYS))
        self._kept: list[Outgoing] = []

    def slot(self, slot: int, at: datetime, row: Mapping[str, Any]) -> tuple[list[Outgoing], tuple[str, ...]]:
        now = {name for name, plant in EVENTS.items() if plant.slot == slot}
        withheld = EVENTS["gap"].gateway if EVENTS["gap"].slot <= slot < EVENTS["gap"].slot + GAP_SLOTS else None
        messages: list[Outgoing] = []
        for gateway, registers in _gateways().items():
            here = {name for name in now if EVENTS[name].gateway == gateway}
            readings = [_reading(one, at, row) for one in registers]
            if "unknown_meter" in here:
                readings.append({"meter": "E-999", "register": "active_import", "at": at, "value": 1.0})
            if "wrong_clock" in here:
                readings.append({**readings[0], "at": at + timedelta(days=400)})
            if "wrong_type" in here:
                readings.append({**readings[0], "at": at - QUARTER / 3, "value": "12,7"})
            message = self._message(gateway, readings)
            if gateway == withheld:
                self._kept.append(message)
                continue
            messages.append(message)
            if "duplicate" in here:
                messages.append(message)
            if "poison" in here:
                messages.append(Outgoing(message.topic, b'{"v":1,"readings":[{"meter":"E-501","register":"active_import","ts":'))
            if "backfill" in here:
                messages += [kept._replace(topic=_topic(*gateway, "backfill")) for kept in self._kept]
        return messages, tuple(sorted(now))

    def live(self, now: datetime, row: Mapping[str, Any], at_quarter: Mapping[str, Any], quarter: datetime | None) -> tuple[Outgoing, ...]:
        """Cumulative registers as they stand now; what an interval register measured only once its quarter is over."""
        messages = []
        for gateway, registers in _gateways().items():
            readings = [_reading(one, now, row) for one in registers if one["kind"] == "cumulative"]
            if quarter is not None:
                readings += [_reading(one, quarter, at_quarter) for one in registers if one["kind"] == "interval"]
            messages.append(self._message(gateway, readings))
        return tuple(messages)

    def _message(self, gateway: tuple[str, str], readings: Sequence[Mapping[str, Any]]) -> Outgoing:
        self._seq[gateway] += 1
        head = {"v": 1, "epoch": _epoch(self._first), "seq": self._seq[gateway]}
        if gateway[0] == _ROW_FORM:
            rows = [{**reading, "ts": reading["at"].astimezone(UTC).isoformat()} for reading in readings]
            body: dict[str, Any] = {"readings": [{name: one[name] for name in ("meter", "register", "ts", "value")} for one in rows]}
        else:
            body = {name: [reading[name] for reading in readings] for name in ("meter", "register")}
            body |= {"ts": [int(reading["at"].timestamp() * 1000) for reading in readings], "value": [reading["value"] for reading in readings]}
        return Outgoing(_topic(*gateway, "readings"), json.dumps(head | body, separators=(",", ":")).encode(), self._seq[gateway])


@cache
def _gateways() -> Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]:
    groups = park.meters().group_by("shop", "gateway", maintain_order=True)
    return {(str(shop), str(gateway)): tuple(rows.iter_rows(named=True)) for (shop, gateway), rows in groups}


def _levels(first: date, until: datetime, replay_start: datetime, seed: int) -> pl.DataFrame:
    """`at` and what each register shows then, by quarters from the first local midnight up to and including `until`.

    A cumulative register shows its level by its multiplier; an interval register what the quarter (up to the replay's start, the
    hour) that ends then has added. The declared wrap lies in the replay: the opening value of that register sees to it.
    """
    wrap_at = replay_start + EVENTS["wrap"].slot * QUARTER
    added = model.quarters(park.meters(), first, max(until, wrap_at) + QUARTER, seed)
    columns = []
    for number, row in enumerate(park.meters().iter_rows(named=True)):
        name = model.key(row)
        if row["kind"] == "interval":
            hourly, quarterly = pl.col(name).rolling_sum(4).shift(1), pl.col(name).shift(1)
            shown = pl.when(pl.col("at") <= replay_start).then(hourly).otherwise(quarterly)  # null before the first whole hour
        else:
            level = pl.col(name).cum_sum().shift(1, fill_value=0.0) / row["multiplier"] + _opening(row, number, added, wrap_at)
            shown = level if row["modulus"] is None else level % row["modulus"]
        columns.append(_to_resolution(shown, row).alias(name))
    return added.select("at", *columns)


def _opening(row: Mapping[str, Any], number: int, added: pl.DataFrame, wrap_at: datetime) -> float:
    if (row["shop"], row["meter"]) == WRAPPING:
        before_wrap = added.filter(pl.col("at") < wrap_at)[model.key(row)].sum()
        past_it = row["base_per_h"] / 8  # half a quarter: the wrap itself falls between two readings
        return float((past_it - before_wrap) / row["multiplier"] % row["modulus"])
    low, high = _OPENING_YEARS
    years = low + (high - low) * ((number * 37) % 101) / 101
    return float(row["base_per_h"] / row["multiplier"] * 8760 * years)


def _to_resolution(value: pl.Expr, row: Mapping[str, Any]) -> pl.Expr:
    rounded = value.round(_decimals(row))
    if row["modulus"] is None:
        return rounded
    return pl.when(rounded >= row["modulus"]).then(0.0).otherwise(rounded)  # a counter never shows its modulus


def _decimals(row: Mapping[str, Any]) -> int:
    return max(0, len(f"{row['resolution']:.6f}".rstrip("0").split(".")[1]))


def _joined(values: pl.Series) -> str:
    return ",".join(values.cast(pl.String).to_list())


def _row(levels: pl.DataFrame, at: datetime) -> Mapping[str, Any]:
    first: datetime = levels["at"][0]
    return levels.row((at - first) // QUARTER, named=True)


def _between(before: Mapping[str, Any], after: Mapping[str, Any], ratio: float) -> Mapping[str, Any]:
    """What cumulative registers show inside a quarter; across a wrap they wait for its end."""
    return {name: value + max(0.0, after[name] - value) * ratio for name, value in before.items() if name != "at"}


def _reading(register: Mapping[str, Any], at: datetime, row: Mapping[str, Any]) -> dict[str, Any]:
    value = round(row[model.key(register)], _decimals(register))
    return {"meter": register["meter"], "register": register["register"], "at": at, "value": value}


def _topic(shop: str, gateway: str, kind: str) -> str:
    return f"tce/v1/{park.REGION}/{park.ENTERPRISES[shop].code}/{gateway}/{kind}"


def _epoch(first: date) -> str:
    return day_span(first, ZONE)[0].isoformat()


def _capture() -> list[bytes]:
    """The payloads of the real KPM33B capture, unchanged."""
    packed = resources.files("portal.demo").joinpath(CAPTURE_FILE).read_bytes()
    lines = zstandard.ZstdDecompressor().decompressobj().decompress(packed).splitlines()
    return [line.split(b" ", 1)[1] for line in lines]
