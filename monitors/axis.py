"""Where readings lie on one integer axis, register after register; its local hours and days; and the register row in force at a place."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from config import calendar
from config.schemas import EVENT, INSTANT

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

HOUR_US: Final = 3_600_000_000
CHUNK_READINGS: Final = 4_000_000  # worked on at once: bounds the memory
_MOST_PLACES: Final = 10_000_000  # of a table from keys to positions; beyond it would be mostly holes
_NO_EVENTS: Final = pl.DataFrame(schema=EVENT)


@dataclass(frozen=True, slots=True)
class Axis:
    """Register and time in one Int64, `position in keys * span + us since base`: one integer sorts and compares both."""

    zone: str
    first_year: int
    last_year: int
    base: int  # us since 1970, a local New Year
    span: int  # us, to another local New Year
    keys: pl.Series  # the registers, sorted

    def pack(self, position: pl.Series, instant: pl.Series) -> pl.Series:
        """Places of instants of registers."""
        return position * self.span + (instant.to_physical() - self.base)

    def pack_within(self, position: pl.Series, instant: pl.Series, null: int) -> pl.Series:
        """As `pack`, but an instant off the axis moves to just beyond its end, and null to a given place."""
        return position * self.span + (instant.to_physical() - self.base).clip(-1, self.span).fill_null(null)

    def key_and_instant(self, *places: pl.Series) -> tuple[pl.Series, ...]:
        """The register_key of the first places given, and the instants of all; all lie on the same registers."""
        position = places[0] // self.span
        origin = self.base - position * self.span
        return self.keys.gather(position), *((place + origin).cast(INSTANT) for place in places)

    def bounds(self, grain: str) -> pl.Series:
        """Starts of the local hours, days, months or years in us since base; the last one is the end of the axis."""
        return grain_bounds(self.zone, grain, self.first_year, self.last_year) - self.base


class Slots:
    """The intervals of a grain on the axis, numbered through all registers."""

    def __init__(self, axis: Axis, grain: str) -> None:
        self.bounds, self.span = axis.bounds(grain), axis.span
        self.count = len(self.bounds) - 1  # of each register
        widths = self.bounds.diff().drop_nulls()
        self._width = int(self.bounds[1]) if (widths == widths[0]).all() else None  # where all are equal

    def of(self, k: pl.Series) -> pl.Series:
        """The interval in which each place lies."""
        if self._width:
            return k // self._width
        return k // self.span * self.count + self.bounds.search_sorted(k % self.span, side="right").cast(pl.Int64) - 1

    def low(self, slot: pl.Series) -> pl.Series:
        """The place at which each interval begins."""
        return slot * self._width if self._width else slot // self.count * self.span + self.bounds.gather(slot % self.count)

    def high(self, slot: pl.Series) -> pl.Series:
        """The place at which each interval ends."""
        return (slot + 1) * self._width if self._width else slot // self.count * self.span + self.bounds.gather(slot % self.count + 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """The register rows in use, sorted by position and valid_from, and from where on the axis each holds."""

    frame: pl.DataFrame  # REGISTER, its validity on the axis (valid_from_k, valid_to_k) and position
    at: pl.Series
    multiplier: pl.Series
    multiplier_at: pl.Series  # multiplier events have their place in it

    def of(self, name: str, packed: pl.Series) -> pl.Series:
        """An attribute as it holds at some places of the axis: few, or in any order."""
        return self.frame[name].gather(self.at.search_sorted(packed, side="right") - 1)

    def multiplier_of(self, packed: pl.Series) -> pl.Series:
        """The multiplier in force at some places of the axis."""
        return self.multiplier.gather(self.multiplier_at.search_sorted(packed, side="right") - 1)


def axis_of(readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, keys: pl.Series, zone: str) -> Axis:
    """The axis that holds some readings and events, and what interval readings cover beyond their stamps."""
    instants = readings["read_at"]
    if events.height:
        instants = pl.concat([instants, events.filter(pl.col("register_key").is_in(keys.implode()))["at"]])
    earliest, latest = cast(datetime, instants.min()), cast(datetime, instants.max())
    beyond = 1 if (registers["kind"] == "interval").any() else 0
    first, last = calendar.local_day(earliest, zone).year - beyond, calendar.local_day(latest, zone).year + beyond
    base, end = (int(calendar.day_span(date(year, 1, 1), zone)[0].timestamp()) * 1_000_000 for year in (first, last + 1))
    return Axis(zone, first, last, base, end - base, keys)


def position_of(register_key: pl.Series, keys: pl.Series) -> pl.Series:
    """Place of each register in the sorted keys, null where it is not among them."""
    if not len(keys):
        return pl.repeat(None, len(register_key), dtype=pl.Int64, eager=True)
    low, high = int(keys[0]), int(keys[-1])
    if high - low > _MOST_PLACES:
        return register_key.replace_strict(keys, pl.int_range(len(keys), eager=True), default=None, return_dtype=pl.Int64)
    if high - low == len(keys) - 1 and cast(int, register_key.min() or low) >= low and cast(int, register_key.max() or high) <= high:
        return register_key.cast(pl.Int64) - low
    table = pl.repeat(None, high - low + 1, dtype=pl.Int64, eager=True).scatter(keys.cast(pl.Int64) - low, pl.int_range(len(keys), eager=True))
    place = register_key.cast(pl.Int64) - low
    inside = place.is_between(0, high - low)
    return table.gather(place if inside.all() else place.set(~inside, None))


def chunks(position: pl.Series, registers: int, span: int, most: int | None = None) -> Iterator[tuple[int, int]]:
    """Ranges of positions with at most so many readings (None: CHUNK_READINGS), each of which fits into one Int64 axis."""
    most = CHUNK_READINGS if most is None else most
    widest = 2**62 // span
    if len(position) <= most and registers <= widest:
        yield 0, registers
        return
    counts = pl.DataFrame({"position": position}).group_by("position").len().sort("position")
    first = held = 0
    for place, count in counts.iter_rows():
        if place > first and (held + count > most or place - first >= widest):
            yield first, place
            first, held = place, 0
        held += count
    yield first, registers


def rows_on(axis: Axis, registers: pl.DataFrame, events: pl.DataFrame = _NO_EVENTS) -> Rows:
    """The register rows of the axis, with the multipliers that events give."""
    frame = registers.filter(pl.col("register_key").is_in(axis.keys.implode())).sort("register_key", "valid_from", nulls_last=False)
    position = position_of(frame["register_key"], axis.keys)
    frame = frame.with_columns(
        valid_from_k=axis.pack_within(position, frame["valid_from"], -1), valid_to_k=axis.pack_within(position, frame["valid_to"], axis.span),
        multiplier=pl.col("multiplier").fill_null(1.0), net=pl.col("net").fill_null(False), position=position,
    )
    first = (position != position.shift(1)).fill_null(True)
    at = frame["valid_from_k"].zip_with(~first, position * axis.span)
    changes = pl.DataFrame({"at": at, "multiplier": frame["multiplier"]})
    given = events.filter((pl.col("event") == "multiplier") & pl.col("multiplier").is_not_null())
    if given.height:
        given_at = axis.pack(position_of(given["register_key"], axis.keys), given["at"])
        changes = pl.concat([changes, pl.DataFrame({"at": given_at, "multiplier": given["multiplier"]})]).sort("at", maintain_order=True)
    return Rows(frame, at, changes["multiplier"], changes["at"])


@lru_cache(maxsize=64)
def grain_bounds(zone: str, grain: str, first_year: int, last_year: int) -> pl.Series:
    """Starts of the local hours, days, months or years of some years, and the end of the last one, in us since 1970.

    Where the clock jumps by less than an hour, the hour in which it jumps is the shorter or longer for it.
    """
    if grain == "hour":
        start, end = (calendar.day_span(date(year, 1, 1), zone)[0] for year in (first_year, last_year + 1))
        for every in ("1h", "15m", "1m"):  # most clocks differ by hours, some by quarters, in old times by seconds
            steps = pl.datetime_range(start, end, every, time_unit="us", eager=True, time_zone="UTC")
            local = steps.dt.convert_time_zone(zone)
            if every != "1h" or (local.dt.minute() == 0).all():
                break
        hour = local.dt.date().cast(pl.Int64) * 24 + local.dt.hour()
        bounds = steps.filter((local.dt.minute() == 0) | (hour != hour.shift(1)).fill_null(True))
        return bounds.to_physical()
    first, last = date(first_year, 1, 1), date(last_year + 1, 1, 1)
    days = [first + timedelta(days=ahead) for ahead in range((last - first).days + 1)]
    chosen = [day for day in days if grain == "day" or (day.day == 1 and (grain == "month" or day.month == 1))]
    return pl.Series([calendar.day_span(day, zone)[0] for day in chosen], dtype=INSTANT).to_physical()


def ragged(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """The numbers of ranges one after the other, ends not included, and before them to which range each belongs."""
    length = np.maximum(high - low, 0)
    owner = np.repeat(np.arange(len(length)), length)
    return owner, np.arange(len(owner)) + (low - (np.cumsum(length) - length))[owner]
