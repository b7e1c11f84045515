"""Readings of registers -> consumption over intervals: which readings count, what lies between them, how it falls into hours and days.

The rules, in the order in which they act. Each is a function of neighbouring readings of the same register only, so that a
window recomputed with REACH readings on either side gives the rows that the whole history gives, to the last bit. What a rule
sets aside is returned with the name of the rule; nothing is invented, zeroed or dropped.

1. A reading counts by itself if its value is a finite number (else `not_finite`), a row of its register is valid at its instant
   (both ends included; else `no_register_row`), the value is within range_low .. range_high and below the modulus (else
   `outside_range`), the gateway did not call it bad (else `marked_bad`), and it is not negative where an interval or rate
   register is not `net` (else `negative`). Reach 0.
2. One reading counts for one instant. The same value again is a `duplicate`. Of different values (`conflicting_copy`) one counts
   that keeps a cumulative register from falling between the instants before and after, else the one received first, else the
   greatest. Reach 1 instant.
3. Declared events. A change or reset, and a rollover or multiplier with values, ends one run of the register with its closing
   value and starts the next with its opening value, both at its instant, so that the energy is carried over exactly; a value
   that is not given leaves that side unknown. A reading at that very instant yields to the declared values. A rollover without
   values makes the fall across its instant a wrap.
4. A fall of a cumulative register that is not `net`:
   a. up to the resolution and a millionth of the value: jitter. The register is taken to stand at its earlier value until it is
      passed, for at most NEARBY readings; what has not come back by then is booked as a step back. Reach NEARBY before.
   b. `transient`: within NEARBY readings it is back at the earlier value or above, by one step of at least half the fall: the
      readings in between are set aside. Reach NEARBY after.
   c. `spike`: within NEARBY readings before, it had risen from a value not above the new one, by one step of at least half the
      fall: the readings since are set aside. Where b and c both fit, the one that sets aside fewer, else b. Reach NEARBY before.
   d. wrap: a modulus is declared and the step forward across it is within max_rate_per_h or, where none is declared, at most
      half the modulus. Reach 1.
   e. else a reset: counting goes on from the new value. What was used in between is unknown: that time is not covered, and
      the intervals that it touches, up to the one in which the new counting begins, are suspect. Reach 1.
5. The difference between successive counted readings, times the multiplier in force at the first of them, is the consumption
   between them, spread evenly. A difference above max_rate_per_h (in the quantity's unit, multiplier applied), or at a reading
   that the gateway called uncertain, is kept and suspect.
6. An interval register's reading covers the time to the stamp before it (stamp "end") or after it ("start"); where that is more
   than 1.5 times the usual spacing (the lower median of this spacing and two on either side) there is a gap, and it covers the
   usual spacing. The first (last) reading takes the usual spacing. Without any neighbour, or beyond 366 days, its length is
   unknown (`length_unknown`). Reach 3.
7. A rate register (power, flow) is integrated by trapezoid between neighbours at most 90 minutes apart; beyond that nothing is
   known of the time between. Reach 1.
8. Values at the bounds of hours and days are interpolated linearly, so hours, days, months and years telescope. A step longer
   than 1.5 times the grain is real consumption whose distribution is not known: its share is `estimated`. So a register read
   once a day has estimated hours and measured days, and hourly readings a little off the hour are not estimated. Reach 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, cast

import polars as pl

from config import calendar
from config.schemas import EVENT, INSTANT, INTERVAL, QUALITY, SET_ASIDE

Grain = Literal["reading", "hour", "day", "month", "year"]

NEARBY: Final = 4  # readings in a row that a transient or a spike may last
REACH: Final = 24  # readings that pass rule 1, on either side of a window, that decide about it
LONG_IN_GRAINS: Final = 1.5  # a step longer than this is estimated in its intervals
USUAL_TOLERANCE: Final = 1.5  # a spacing longer than this times the usual one is a gap between interval readings
JITTER_SHARE: Final = 1e-6
RATE_ROUNDING: Final = 1e-9  # by how much floating point may carry a consumption over its greatest rate
LONGEST_INTERVAL: Final = timedelta(days=366)
LONGEST_RATE_STEP: Final = timedelta(minutes=90)
CHUNK_READINGS: Final = 4_000_000  # worked on at once: bounds the memory

_HOUR_US: Final = 3_600_000_000
_GRAIN_US: Final = {"hour": _HOUR_US, "day": 24 * _HOUR_US, "month": 720 * _HOUR_US, "year": 8760 * _HOUR_US}
_UNCERTAIN, _BAD = 1, 2
_k, _v, _a, _b, _q = pl.col("k"), pl.col("v"), pl.col("a"), pl.col("b"), pl.col("q")


@dataclass(frozen=True, slots=True)
class Intervals:
    """Consumption, and the readings that the rules did not count."""

    intervals: pl.DataFrame  # INTERVAL, sorted by register_key and start
    set_aside: pl.DataFrame  # SET_ASIDE, sorted by register_key, read_at and copy


@dataclass(frozen=True, slots=True)
class _Axis:
    """Register and time in one Int64, `position in keys * span + us since base`: one integer sorts and compares both."""

    zone: str
    first_year: int
    last_year: int
    base: int  # us since 1970, a local New Year
    span: int  # us, to another local New Year
    keys: pl.Series  # the registers, sorted

    def pack(self, position: pl.Series, instant: pl.Series) -> pl.Series:
        return position * self.span + (instant.to_physical() - self.base)

    def pack_within(self, position: pl.Series, instant: pl.Series, null: int) -> pl.Series:
        """As `pack`, but an instant off the axis moves to just beyond its end, and null to a given place."""
        return position * self.span + (instant.to_physical() - self.base).clip(-1, self.span).fill_null(null)

    def bounds(self, grain: str) -> pl.Series:
        """Starts of the local hours, days, months or years in us since base; the last one is the end of the axis."""
        return _bounds(self.zone, grain, self.first_year, self.last_year) - self.base


@dataclass(frozen=True, slots=True)
class _Rows:
    """The register rows in use, sorted by position and valid_from, and from where on the axis each holds."""

    frame: pl.DataFrame  # REGISTER
    at: pl.Series
    multiplier: pl.Series
    multiplier_at: pl.Series  # multiplier events have their place in it

    def of(self, name: str, packed: pl.Series) -> pl.Series:
        """An attribute as it holds at some places of the axis."""
        return self.frame[name].gather(self.at.search_sorted(packed, side="right") - 1)

    def multiplier_of(self, packed: pl.Series) -> pl.Series:
        return self.multiplier.gather(self.multiplier_at.search_sorted(packed, side="right") - 1)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some registers' consumption: runs of values between which it is a plain difference, single steps, and what is doubtful."""

    axis: _Axis
    points: pl.DataFrame  # of cumulative registers, k: packed instant, v: value times multiplier, start: a run begins here
    steps: pl.DataFrame  # of interval and rate registers, a, b: packed span, q: quantity
    suspect: pl.DataFrame  # a, b
    unknown: pl.DataFrame  # a, b: across a reset, suspect and not covered


@dataclass(frozen=True, slots=True)
class Counted:
    """What counts of some readings, ready to be spread over any grain."""

    parts: tuple[_Part, ...]
    set_aside: pl.DataFrame  # SET_ASIDE


def intervals(readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, *, by: Grain, zone: str) -> Intervals:
    """Consumption between readings, or by local hour, day, month or year, by the rules at the head of this module.

    Args:
        readings: READING, in any order, all copies.
        registers: REGISTER, the rows to be used: one for each register and span of validity. Kind and stamp are those of a
            register's last row; other attributes those of the row valid at the instant.
        events: EVENT.
        by: "reading" gives one row for each counted step, and across a reset a row of quantity 0 that covers nothing.
        zone: the place whose hours and days are meant, its summer times included.

    Returns:
        INTERVAL in each register's unit (see `quantity_unit`), multiplier applied. `covered_ratio` is the share of the
        interval between readings: nothing is extrapolated, and an interval of which nothing is known has no row.
        `estimated_ratio` is the share of the covered time whose consumption is estimated. `quality` is the worst that
        touches the interval: suspect, estimated, measured.
    """
    done = counted(readings, registers, events, zone=zone)
    return Intervals(spread(done, by), done.set_aside)


def counted(readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, *, zone: str) -> Counted:
    """Decide what counts (rules 1 to 7), once for all grains; arguments as for `intervals`."""
    keys = registers["register_key"].unique().sort()
    position = _position(readings["register_key"], keys)
    unknown = position.is_null().arg_true()
    aside = [_aside(readings, unknown, "no_register_row")]
    if len(unknown):
        readings, position = readings.filter(position.is_not_null()), position.drop_nulls()
    parts = []
    if readings.height:
        axis = _axis(readings, registers, events, keys, zone)
        for first, last in _chunks(position, len(keys), axis.span):
            whole = last - first == len(keys)
            mine = position.is_between(first, last - 1)
            chunk = replace(axis, keys=keys.slice(first, last - first))
            part, left = _count(
                readings if whole else readings.filter(mine), position if whole else position.filter(mine) - first, registers, events, chunk,
            )
            parts.append(part)
            aside.extend(left)
    return Counted(tuple(parts), pl.concat(aside).sort("register_key", "read_at", "copy", "received_at", "message", "value"))


def spread(what: Counted, by: Grain) -> pl.DataFrame:
    """INTERVAL of what counts, by that grain (rule 8)."""
    rows = [_by_reading(part) if by == "reading" else _by_grain(part, by) for part in what.parts]
    return pl.concat(rows) if rows else pl.DataFrame(schema=INTERVAL)


def short_of_reach(readings: pl.DataFrame, registers: pl.DataFrame, start: datetime, end: datetime, *, pad: int, zone: str) -> pl.Series:
    """The register_keys of which more readings must be looked at to decide about [start, end).

    These have fewer than REACH instants that pass rule 1 before `start` or from `end` on, although the `pad` instants that were asked for
    on that side were there: a long run of readings out of range, say, has to be looked beyond.
    """
    keys = registers["register_key"].unique().sort()
    position = _position(readings["register_key"], keys)
    readings, position = readings.filter(position.is_not_null()), position.drop_nulls()
    if readings.is_empty():
        return keys.clear()
    axis = _axis(readings, registers, pl.DataFrame(schema=EVENT), keys, zone)
    frame, _ = _by_own_value(_frame(readings, position, axis), readings, _rows(registers, pl.DataFrame(schema=EVENT), axis))
    sides = {"before": pl.col("read_at") < start, "after": pl.col("read_at") >= end}
    passed, there = (
        rows.group_by("register_key").agg(pl.col("read_at").filter(side).n_unique().alias(name) for name, side in sides.items())
        for rows in (readings[frame["row"]], readings)
    )
    counts = there.join(passed, on="register_key", how="left", suffix="_passed").with_columns(pl.col("before_passed", "after_passed").fill_null(0))
    short = pl.any_horizontal((pl.col(side) >= pad) & (pl.col(f"{side}_passed") < REACH) for side in sides)
    return counts.filter(short)["register_key"].sort()


def quantity_unit(kind: str, unit: str) -> str | None:
    """The unit of a register's quantities: its own, or for a rate that of the rate times an hour; None where that has no name.

    >>> quantity_unit("rate", "kW"), quantity_unit("rate", "m3/h"), quantity_unit("cumulative", "kWh")
    ('kWh', 'm3', 'kWh')
    """
    if kind != "rate":
        return unit
    return unit.removesuffix("/h") if unit.endswith("/h") else {"W": "Wh", "kW": "kWh", "MW": "MWh", "GW": "GWh"}.get(unit)


def affected_days(
    readings: pl.DataFrame, zone: str, events: pl.DataFrame | None = None, span: tuple[datetime, datetime] | None = None,
) -> pl.DataFrame:
    """The local days whose intervals may change when readings of some days come, change or go.

    Args:
        readings: READING of those days, with REACH instants more on either side of each register.
        zone: the place whose days are meant.
        events: EVENT. Before the first and after the last reading of all, a declared value is the neighbour.
        span: the instants [start, end) of those days; needed with events, to know where a register's readings end.

    Returns:
        register_key, day (pl.Date): every day from the first to the last of them, those without a reading included, since a
        step across them is spread over them too.
    """
    at = pl.col("read_at")
    ends = readings.group_by("register_key").agg(first=at.min(), last=at.max())
    if events is not None and span is not None:
        start, end = span
        number = readings.group_by("register_key").agg(before=at.filter(at < start).n_unique(), after=at.filter(at >= end).n_unique())
        beyond = events.join(ends.join(number, on="register_key"), on="register_key").group_by("register_key").agg(
            earlier=pl.col("at").filter((pl.col("before") < REACH) & (pl.col("at") < pl.col("first"))).max(),
            later=pl.col("at").filter((pl.col("after") < REACH) & (pl.col("at") > pl.col("last"))).min(),
        )
        ends = ends.join(beyond, on="register_key", how="left").with_columns(
            first=pl.min_horizontal("first", "earlier"), last=pl.max_horizontal("last", "later"),
        )
    first, last = (pl.col(name).dt.convert_time_zone(zone).dt.date() for name in ("first", "last"))
    return ends.select("register_key", day=pl.date_ranges(first, last)).explode("day").sort("register_key", "day")


# --- the axis ---------------------------------------------------------------------------------------------------------

@lru_cache(maxsize=64)
def _bounds(zone: str, grain: str, first_year: int, last_year: int) -> pl.Series:
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


def _axis(readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, keys: pl.Series, zone: str) -> _Axis:
    instants = readings["read_at"]
    if events.height:
        instants = pl.concat([instants, events.filter(pl.col("register_key").is_in(keys.implode()))["at"]])
    earliest, latest = cast(datetime, instants.min()), cast(datetime, instants.max())
    # An interval reading covers time beyond its stamp.
    beyond = 1 if (registers["kind"] == "interval").any() else 0
    first, last = calendar.local_day(earliest, zone).year - beyond, calendar.local_day(latest, zone).year + beyond
    base, end = (int(calendar.day_span(date(year, 1, 1), zone)[0].timestamp()) * 1_000_000 for year in (first, last + 1))
    return _Axis(zone, first, last, base, end - base, keys)


def _position(register_key: pl.Series, keys: pl.Series) -> pl.Series:
    """Place of each register in the sorted keys, null where it is not among them."""
    if not len(keys):
        return pl.repeat(None, len(register_key), dtype=pl.Int64, eager=True)
    low, high = int(keys[0]), int(keys[-1])
    if high - low > 10_000_000:  # a table would be mostly holes
        return register_key.replace_strict(keys, pl.int_range(len(keys), eager=True), default=None, return_dtype=pl.Int64)
    table = pl.repeat(None, high - low + 1, dtype=pl.Int64, eager=True).scatter(keys.cast(pl.Int64) - low, pl.int_range(len(keys), eager=True))
    place = register_key.cast(pl.Int64) - low
    inside = place.is_between(0, high - low)
    return table.gather(place if inside.all() else place.set(~inside, None))


def _chunks(position: pl.Series, registers: int, span: int) -> Iterator[tuple[int, int]]:
    """Ranges of positions with a bounded number of readings, each of which fits into one Int64 axis."""
    widest = 2**62 // span
    if len(position) <= CHUNK_READINGS and registers <= widest:
        yield 0, registers
        return
    counts = pl.DataFrame({"position": position}).group_by("position").len().sort("position")
    first = held = 0
    for place, count in counts.iter_rows():
        if place > first and (held + count > CHUNK_READINGS or place - first >= widest):
            yield first, place
            first, held = place, 0
        held += count
    yield first, registers


def _rows(registers: pl.DataFrame, events: pl.DataFrame, axis: _Axis) -> _Rows:
    frame = registers.filter(pl.col("register_key").is_in(axis.keys.implode())).sort("register_key", "valid_from", nulls_last=False)
    position = _position(frame["register_key"], axis.keys)
    frame = frame.with_columns(
        valid_from_k=axis.pack_within(position, frame["valid_from"], -1), valid_to_k=axis.pack_within(position, frame["valid_to"], axis.span),
        multiplier=pl.col("multiplier").fill_null(1.0), net=pl.col("net").fill_null(False), position=position,
    )
    first = (position != position.shift(1)).fill_null(True)
    at = frame["valid_from_k"].zip_with(~first, position * axis.span)
    changes = pl.DataFrame({"at": at, "multiplier": frame["multiplier"]})
    given = events.filter((pl.col("event") == "multiplier") & pl.col("multiplier").is_not_null())
    if given.height:
        given_at = axis.pack(_position(given["register_key"], axis.keys), given["at"])
        changes = pl.concat([changes, pl.DataFrame({"at": given_at, "multiplier": given["multiplier"]})]).sort("at", maintain_order=True)
    return _Rows(frame, at, changes["multiplier"], changes["at"])


def _aside(readings: pl.DataFrame, rows: pl.Series, rules: str | pl.Series) -> pl.DataFrame:
    broken = pl.repeat([rules], len(rows), dtype=pl.List(pl.String), eager=True) if isinstance(rules, str) else rules
    return readings[rows.cast(pl.UInt32)].select(SET_ASIDE.names()[:-1]).with_columns(broken.alias("broken_rules"))


# --- what counts ------------------------------------------------------------------------------------------------------

def _count(
    readings: pl.DataFrame, position: pl.Series, registers: pl.DataFrame, events: pl.DataFrame, axis: _Axis,
) -> tuple[_Part, list[pl.DataFrame]]:
    """The counted part of some readings, all of registers of the axis, and what was set aside (SET_ASIDE)."""
    events = events.filter(pl.col("register_key").is_in(axis.keys.implode()))
    rows = _rows(registers, events, axis)
    frame, aside = _by_own_value(_frame(readings, position, axis), readings, rows)
    frame, repeated = _one_for_an_instant(frame, readings, rows, axis)
    aside += repeated

    last_row = rows.frame.unique("position", keep="last", maintain_order=True)
    kinds = last_row["kind"]
    spans = pl.DataFrame(schema={"a": pl.Int64, "b": pl.Int64})
    points = pl.DataFrame(schema={"k": pl.Int64, "v": pl.Float64, "start": pl.Boolean})
    steps, suspect, unknown = [pl.DataFrame(schema={**spans.schema, "q": pl.Float64})], [spans], spans
    for kind in kinds.unique(maintain_order=True):
        whole = kinds.n_unique() == 1
        mine = frame if whole else frame.filter((kinds == kind).gather(frame["k"] // axis.span))
        if not mine.height:
            continue
        if kind == "cumulative":
            theirs = events if whole else events.filter((kinds == kind).gather(_position(events["register_key"], axis.keys)))
            points, unknown, left = _runs(mine, rows, theirs, axis)
            differences = points.select(a=_k.shift(1), b="k", q=_v - _v.shift(1), uncertain=pl.col("uncertain") | pl.col("uncertain").shift(1))
            suspect += [unknown, _doubtful(differences, rows, ~points["start"])]
            points = points.drop("uncertain")
        else:
            some, left = _interval_steps(mine, rows, last_row["stamp"], axis) if kind == "interval" else (_rate_steps(mine, rows, axis), _NONE_LEFT)
            suspect.append(_doubtful(some, rows))
            steps.append(some.drop("uncertain"))
        aside.append(_aside(readings, left["row"], left["rules"]))
    return _Part(axis, points, pl.concat(steps), pl.concat(suspect), unknown), aside


def _frame(readings: pl.DataFrame, position: pl.Series, axis: _Axis) -> pl.DataFrame:
    """The readings sorted by packed instant: k, v, row (of the readings), uncertain."""
    packed = axis.pack(position, readings["read_at"])
    frame = pl.DataFrame({
        "k": packed, "v": readings["value"], "row": pl.int_range(readings.height, dtype=pl.UInt32, eager=True),
        "uncertain": (readings["quality"] == _UNCERTAIN).fill_null(False),
    })
    return frame if (packed.diff() > 0).all() else frame.sort("k")


def _by_own_value(frame: pl.DataFrame, readings: pl.DataFrame, rows: _Rows) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Rule 1. Only rules that some register row can break are looked at."""
    table, k, v = rows.frame, frame["k"], frame["v"]
    broken = {"not_finite": ~v.is_finite().fill_null(False)}
    if table["valid_from"].null_count() + table["valid_to"].null_count() < 2 * table.height:
        broken["no_register_row"] = (k < rows.of("valid_from_k", k)) | (k > rows.of("valid_to_k", k))
    for name, beyond in (("range_low", pl.Series.lt), ("range_high", pl.Series.gt), ("modulus", pl.Series.ge)):
        if table[name].null_count() < table.height:
            outside = beyond(v, rows.of(name, k)).fill_null(False)
            broken["outside_range"] = broken["outside_range"] | outside if "outside_range" in broken else outside
    if (readings["quality"] == _BAD).any():
        broken["marked_bad"] = (readings["quality"] == _BAD).fill_null(False).gather(frame["row"])
    signed = table["net"] | (table["kind"] == "cumulative")
    if not signed.all():
        broken["negative"] = (v < 0) & ~signed.gather(rows.at.search_sorted(k, side="right") - 1)
    some = pl.DataFrame(broken).select(pl.any_horizontal(pl.all())).to_series()
    if not some.any():
        return frame, []
    rules = pl.DataFrame(broken).filter(some).select(
        pl.concat_list([pl.when(name).then(pl.lit(name)) for name in broken]).list.drop_nulls().alias("rules"),
    ).to_series()
    return frame.filter(~some), [_aside(readings, frame["row"].filter(some), rules)]


def _one_for_an_instant(frame: pl.DataFrame, readings: pl.DataFrame, rows: _Rows, axis: _Axis) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Rule 2."""
    again = (frame["k"] == frame["k"].shift(1)).fill_null(False)
    if not again.any():
        return frame, []
    repeated = (again | again.shift(-1, fill_value=False)).arg_true().cast(pl.Int64)
    copies = frame[repeated].with_columns(
        at=repeated, received_at=readings["received_at"].gather(frame["row"].gather(repeated)),
        message=readings["message"].gather(frame["row"].gather(repeated)),
    )
    instants = copies.group_by("k", maintain_order=True).agg(first=pl.col("at").min(), last=pl.col("at").max(), low=_v.min(), high=_v.max())

    def beside(step: int, bound: str) -> pl.Series:
        """The lowest or highest value at the instant before or after; null beyond the register's first or last."""
        at = (instants["first"] - 1) if step < 0 else (instants["last"] + 1)
        there = at.is_between(0, frame.height - 1)
        at = at.clip(0, frame.height - 1)
        k = frame["k"].gather(at)
        same = there & (k // axis.span == instants["k"] // axis.span)
        own = pl.DataFrame({"k": k, "value": frame["v"].gather(at)}).join(instants.select("k", bound), on="k", how="left", maintain_order="left")
        return own.select(pl.coalesce(bound, "value")).to_series().set(~same, None)

    instants = instants.with_columns(before=beside(-1, "low"), after=beside(1, "high"))
    free = rows.of("net", copies["k"]) | (rows.of("kind", copies["k"]) != "cumulative")
    ranked = (
        copies.with_columns(free=free).join(instants.select("k", "before", "after"), on="k", how="left", maintain_order="left")
        .with_columns(fits=pl.col("free") | ((_v >= pl.col("before")).fill_null(True) & (_v <= pl.col("after")).fill_null(True)))
        .sort("k", "fits", "received_at", "v", "message", descending=[False, True, False, True, False], nulls_last=True, maintain_order=True)
        .with_columns(counts=_v.first().over("k"), rank=pl.int_range(pl.len()).over("k"))
    )
    left = ranked.filter(pl.col("rank") > 0)
    rules = left.select(pl.concat_list(pl.when(_v == pl.col("counts")).then(pl.lit("duplicate")).otherwise(pl.lit("conflicting_copy")))).to_series()
    keep = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True).scatter(left["at"], False)
    return frame.filter(keep), [_aside(readings, left["row"], rules)]


def _doubtful(steps: pl.DataFrame, rows: _Rows, real: pl.Series | None = None) -> pl.DataFrame:
    """The spans of steps (a, b, q, uncertain) that are too fast for their register, or end at an uncertain reading."""
    doubtful = steps["uncertain"].fill_null(False)
    if rows.frame["max_rate_per_h"].null_count() < rows.frame.height:
        rate = rows.of("max_rate_per_h", steps["a"].fill_null(0)) * (1 + RATE_ROUNDING) / _HOUR_US
        doubtful = doubtful | (steps["q"].abs() > rate * (steps["b"] - steps["a"])).fill_null(False)
    return steps.select("a", "b").filter(doubtful if real is None else doubtful & real)


# --- cumulative registers ---------------------------------------------------------------------------------------------

_NONE_LEFT: Final = pl.DataFrame(schema={"row": pl.UInt32, "rules": pl.List(pl.String)})


def _runs(frame: pl.DataFrame, rows: _Rows, events: pl.DataFrame, axis: _Axis) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Rules 3 to 5 for cumulative registers.

    Args:
        frame: k, v, row, uncertain: one reading for an instant, sorted.
        rows: the register rows.
        events: EVENT of these registers.
        axis: the axis.

    Returns:
        The points (k, v times multiplier, start, uncertain), the spans (a, b) across a reset, and what is set aside (row, rules).
    """
    frame, starts, turns, left = _with_events(frame, rows, events, axis)
    fallen = _falls(frame, starts, rows)
    if fallen.height:
        frame, starts, glitches = _without_glitches(frame, starts, fallen)
        left = pl.concat([left, glitches])
        fallen = _falls(frame, starts, rows) if glitches.height else fallen
    wraps, resets = _wraps_and_resets(fallen.filter(_fall > pl.col("jitter")), rows, turns)
    starts = pl.concat([starts, resets["at"]]).unique().sort()
    frame = _on_floor(frame, fallen.filter(_fall <= pl.col("jitter")), pl.concat([starts, wraps["at"]]).sort())
    points = frame.select("k", "v", "uncertain", start=pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True).scatter(starts, True))
    changed = _multiplier_changes(points, rows, axis)
    if wraps.height or len(changed):
        points = _inserted(points, wraps, changed)
    if (rows.multiplier != 1).any():
        # A run has one multiplier: that of its first reading.
        begun = points["start"].arg_true()
        run = begun.search_sorted(pl.int_range(points.height, dtype=pl.UInt32, eager=True), side="right") - 1
        points = points.with_columns(v=_v * rows.multiplier_of(points["k"].gather(begun)).gather(run))
    return points, resets.select("a", "b"), left


def _with_events(frame: pl.DataFrame, rows: _Rows, events: pl.DataFrame, axis: _Axis) -> tuple[pl.DataFrame, pl.Series, pl.Series, pl.DataFrame]:
    """Put the declared values among the readings.

    Returns:
        The readings, the places at which a run starts, the instants (packed) of rollovers without values, and the readings
        that yield to a declared value.
    """
    left = _NONE_LEFT
    turns = pl.Series(dtype=pl.Int64)
    breaks: list[pl.Series] = [pl.int_range(len(axis.keys), eager=True) * axis.span]
    # A span in which no row is valid lies between two different meters.
    after = rows.frame["valid_to_k"].shift(1)
    breaks.append(rows.at.filter((rows.frame["position"] == rows.frame["position"].shift(1)) & (rows.frame["valid_from_k"] > after)))
    opened = pl.Series(dtype=pl.Int64)
    if events.height:
        closing, opening, kind = pl.col("closing_value"), pl.col("opening_value"), pl.col("event")
        order = pl.Enum(["change", "reset", "rollover", "multiplier"])
        known = (
            events.with_columns(k=axis.pack(_position(events["register_key"], axis.keys), events["at"]))
            .filter(kind.is_in(order.categories.implode()))
            .with_columns(  # a multiplier changes, the register shows the same
                closing_value=pl.when(kind == "multiplier").then(pl.coalesce(closing, opening)).otherwise(closing),
                opening_value=pl.when(kind == "multiplier").then(pl.coalesce(opening, closing)).otherwise(opening),
            )
            .with_columns(valued=closing.is_not_null() & opening.is_not_null())
        )
        turns = known.filter((kind == "rollover") & ~pl.col("valued"))["k"].sort()
        known = (
            known.filter(pl.col("valued") | kind.is_in(["change", "reset"]))
            .sort("k", kind.cast(order)).unique("k", keep="first", maintain_order=True)
        )
        declared = pl.concat([
            known.filter(value.is_not_null()).select("k", v=value, opens=pl.lit(value is opening)) for value in (closing, opening)
        ]).sort("k", "opens", maintain_order=True)
        at = frame["k"].search_sorted(declared["k"], side="left")
        met = declared.with_columns(at=at.cast(pl.Int64)).filter(frame["k"].extend_constant(-1, 1).gather(at) == declared["k"])
        if met.height:
            there = met.group_by("at", maintain_order=True).agg(declared="v").with_columns(v=frame["v"].gather(met["at"].unique(maintain_order=True)))
            rule = pl.when(_v.is_in(pl.col("declared"))).then(pl.lit("duplicate")).otherwise(pl.lit("conflicting_copy"))
            left = there.select(row=frame["row"].gather(there["at"]), rules=pl.concat_list(rule))
            frame = frame.filter(pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True).scatter(there["at"], False))
        frame = pl.concat([
            frame.with_columns(opens=pl.lit(False)),
            declared.select("k", "v", row=pl.lit(None, dtype=pl.UInt32), uncertain=pl.lit(False), opens="opens"),
        ]).sort("k", maintain_order=True)
        opened = frame["opens"].arg_true().cast(pl.Int64)
        # Without an opening value the run starts at the first reading from the event on, or after the closing value.
        silent = known.filter(opening.is_null()).with_columns(shut=closing.is_not_null())
        breaks.append(silent.filter(~pl.col("shut"))["k"])
        opened = pl.concat([opened, frame["k"].search_sorted(silent.filter("shut")["k"], side="right").cast(pl.Int64)])
        frame = frame.drop("opens")
    starts = pl.concat([opened, *(frame["k"].search_sorted(each, side="left").cast(pl.Int64) for each in breaks)])
    return frame, starts.filter(starts < frame.height).unique().sort(), turns, left


_fall: Final = pl.col("before") - pl.col("now")


def _falls(frame: pl.DataFrame, starts: pl.Series, rows: _Rows) -> pl.DataFrame:
    """The places (at) where a register falls inside a run (first, end), its values before and now, and what passes for jitter."""
    k, v = frame["k"], frame["v"]
    at = (v < v.shift(1)).arg_true().cast(pl.Int64)
    run = starts.search_sorted(at, side="right").cast(pl.Int64)
    first, end = starts.gather(run - 1), starts.extend_constant(frame.height, 1).gather(run)
    inside = first < at
    at, first, end = at.filter(inside), first.filter(inside), end.filter(inside)
    a = k.gather(at - 1)
    fallen = pl.DataFrame({
        "at": at, "first": first, "end": end, "a": a, "b": k.gather(at), "before": v.gather(at - 1), "now": v.gather(at),
        "jitter": rows.of("resolution", a).fill_null(0.0),
    }).with_columns(jitter=pl.col("jitter") + JITTER_SHARE * pl.col("before").abs())
    return fallen.filter(~rows.of("net", a))


def _without_glitches(frame: pl.DataFrame, starts: pl.Series, fallen: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
    """Rules 4b and 4c: the readings without the dips and spikes, the starts of their runs, and what is set aside."""
    fallen = fallen.filter(_fall > pl.col("jitter"))
    at, last = fallen["at"], frame.height - 1
    fallen = fallen.with_columns((frame["v"].gather((at + ahead).clip(0, last))).alias(f"v{ahead}") for ahead in range(-NEARBY - 1, NEARBY + 1))
    inside = {ahead: (pl.col("first") <= pl.col("at") + ahead) & (pl.col("at") + ahead < pl.col("end")) for ahead in range(-NEARBY - 1, NEARBY + 1)}
    back = {n: inside[n] & (pl.col(f"v{n}") >= pl.col("before")) for n in range(1, NEARBY + 1)}  # n readings lie in the dip
    risen = {n: inside[-n - 1] & (pl.col(f"v{-n - 1}") <= pl.col("now")) for n in range(1, NEARBY + 1)}  # n readings make the spike

    def length(found: dict[int, pl.Expr], jump: dict[int, pl.Expr]) -> pl.Expr:
        """How many readings the nearest match sets aside, null where there is none or its jump is not steep."""
        steep = pl.coalesce(pl.when(match).then(jump[n]) for n, match in found.items()) >= _fall / 2
        return pl.when(steep).then(pl.coalesce(pl.when(match).then(pl.lit(n, dtype=pl.Int64)) for n, match in found.items()))

    dip = length(back, {n: pl.col(f"v{n}") - pl.col(f"v{n - 1}") for n in back})
    spike = length(risen, {n: pl.col(f"v{-n}") - pl.col(f"v{-n - 1}") for n in risen})
    judged = fallen.select("at", dip=dip, spike=spike)
    dips = pl.col("dip").is_not_null() & (pl.col("dip") <= pl.col("spike")).fill_null(True)
    spikes = pl.col("spike").is_not_null() & ~dips
    gone = pl.concat([
        judged.filter(dips).select(at=pl.int_ranges("at", pl.col("at") + pl.col("dip")), rules=pl.lit("transient")),
        judged.filter(spikes).select(at=pl.int_ranges(pl.col("at") - pl.col("spike"), "at"), rules=pl.lit("spike")),
    ]).explode("at").group_by("at").agg(pl.col("rules").unique().sort()).sort("at")
    if not gone.height:
        return frame, starts, _NONE_LEFT
    left = gone.select(row=frame["row"].gather(gone["at"]), rules="rules").filter(pl.col("row").is_not_null())
    keep = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True).scatter(gone["at"], False)
    # A run's first reading is never set aside: a dip has a reading before it, a spike too.
    return frame.filter(keep), starts - gone["at"].search_sorted(starts, side="left").cast(pl.Int64), left


def _wraps_and_resets(fallen: pl.DataFrame, rows: _Rows, turns: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rules 4d and 4e: the falls (at, a, b, modulus) that are wraps, and those (at, a, b) that are resets."""
    a = fallen["a"]
    declared = turns.search_sorted(fallen["b"], side="right") > turns.search_sorted(a, side="right")
    judged = fallen.with_columns(
        modulus=rows.of("modulus", a), rate=rows.of("max_rate_per_h", a), multiplier=rows.multiplier_of(a), declared=declared,
    ).with_columns(forward=pl.col("modulus") - _fall)
    allowed = pl.when(pl.col("rate").is_not_null()).then(
        pl.col("forward") * pl.col("multiplier") <= pl.col("rate") * (1 + RATE_ROUNDING) * (_b - _a) / _HOUR_US,
    ).otherwise(pl.col("forward") <= pl.col("modulus") / 2)
    wraps = (pl.col("modulus").is_not_null() & (pl.col("declared") | allowed)).fill_null(False)
    return judged.filter(wraps).select("at", "a", "b", "modulus"), judged.filter(~wraps).select("at", "a", "b")


def _on_floor(frame: pl.DataFrame, jitter: pl.DataFrame, starts: pl.Series) -> pl.DataFrame:
    """Rule 4a: after a small step back the register stands at its earlier value until that is passed."""
    if not jitter.height:
        return frame
    end = starts.extend_constant(frame.height, 1).gather(starts.search_sorted(jitter["at"], side="right"))
    floors = (
        jitter.select("before", at=pl.int_ranges("at", pl.min_horizontal(pl.col("at") + NEARBY, end))).explode("at")
        .group_by("at").agg(pl.col("before").max())
    )
    lifted = floors.with_columns(v=frame["v"].gather(floors["at"])).select("at", v=pl.max_horizontal("v", "before"))
    return frame.with_columns(v=frame["v"].clone().scatter(lifted["at"], lifted["v"]))


def _multiplier_changes(points: pl.DataFrame, rows: _Rows, axis: _Axis) -> pl.Series:
    """The places inside a run from which on another multiplier holds."""
    same = (rows.multiplier == rows.multiplier.shift(1)) | (rows.multiplier_at // axis.span != rows.multiplier_at.shift(1) // axis.span)
    at = points["k"].search_sorted(rows.multiplier_at.filter(~same.fill_null(True)), side="left").cast(pl.Int64)
    at = at.filter(at < points.height).unique().sort()
    return at.filter(~points["start"].gather(at))


def _inserted(points: pl.DataFrame, wraps: pl.DataFrame, changed: pl.Series) -> pl.DataFrame:
    """Start a run before each wrap, one modulus lower; and end one where the multiplier changes, at the value the next begins with."""
    order = pl.col("order")
    lower = points[wraps["at"] - 1].with_columns(v=_v - wraps["modulus"], start=pl.lit(True), order=wraps["at"] * 4 - 2)
    ended = points[changed].with_columns(start=pl.lit(False), order=changed * 4 - 1)
    begun = points["start"].clone().scatter(changed, True)
    return (
        points.with_columns(start=begun, order=pl.int_range(pl.len(), dtype=pl.Int64) * 4)
        .merge_sorted(pl.concat([lower, ended]).sort(order), key="order").drop("order")
    )


# --- interval and rate registers --------------------------------------------------------------------------------------

def _interval_steps(frame: pl.DataFrame, rows: _Rows, stamps: pl.Series, axis: _Axis) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rule 6: steps (a, b, q, uncertain) of interval registers, and what is set aside (row, rules)."""
    of = _k // axis.span
    ahead = pl.col("ahead")  # a start-stamped reading covers the spacing after it, an end-stamped one that before it
    frame = frame.with_columns(
        spacing=pl.when(of == of.shift(1)).then(_k - _k.shift(1)), ahead=(stamps == "start").fill_null(False).gather(frame["k"] // axis.span),
    )
    around = [pl.when(of == of.shift(-n)).then(pl.col("spacing").shift(-n)) for n in range(-2, 4)]
    five = [pl.when(ahead).then(around[n + 1]).otherwise(around[n]) for n in range(5)]
    frame = frame.with_columns(own=five[2], least=pl.min_horizontal(five)).with_columns(
        length=pl.when(pl.col("own") <= USUAL_TOLERANCE * pl.col("least")).then("own"),  # then it is within that of the median too
    )
    odd = frame["length"].is_null()
    if odd.any():
        spacings = frame.select(pl.concat_list(five).alias("five"), "own", "least").filter(odd).with_columns(
            five=pl.col("five").list.drop_nulls().list.sort(),
        )
        usual = pl.col("five").list.get((pl.col("five").list.len().cast(pl.Int64) - 1) // 2, null_on_oob=True)
        length = spacings.select(pl.when(pl.col("own") <= USUAL_TOLERANCE * usual).then("own").otherwise(usual)).to_series()
        frame = frame.with_columns(length=frame["length"].scatter(odd.arg_true(), length))
    known = (pl.col("length") <= LONGEST_INTERVAL // timedelta(microseconds=1)).fill_null(False)
    a = pl.when(ahead).then(_k).otherwise(_k - pl.col("length"))
    steps = frame.filter(known).select(a=a, b=a + pl.col("length"), q="v", uncertain="uncertain")
    steps = steps.with_columns(q=_q * rows.multiplier_of(steps["a"])).sort("a")
    return steps, frame.filter(~known).select("row", rules=pl.concat_list(pl.lit("length_unknown")))


def _rate_steps(frame: pl.DataFrame, rows: _Rows, axis: _Axis) -> pl.DataFrame:
    """Rule 7: steps (a, b, q, uncertain) of rate registers."""
    a = _k.shift(1)
    near = (_k // axis.span == a // axis.span) & (_k - a <= LONGEST_RATE_STEP // timedelta(microseconds=1))
    steps = frame.select(
        a=a, b="k", q=(_v + _v.shift(1)) / 2 * (_k - a) / _HOUR_US, uncertain=pl.col("uncertain") | pl.col("uncertain").shift(1), near=near,
    ).filter(pl.col("near").fill_null(False)).drop("near")
    return steps.with_columns(q=_q * rows.multiplier_of(steps["a"]))


def _runs_of_steps(steps: pl.DataFrame, axis: _Axis) -> pl.DataFrame:
    """Points (k, v, start, length: us of the whole step) whose differences are the steps: a run for each stretch within a local day.

    Cut at midnight, a run is the same whichever days are computed with it, and so are its sums, to the last bit.
    """
    bounds = axis.bounds("day")
    origin = steps["a"] // axis.span * axis.span
    first = bounds.search_sorted(steps["a"] - origin, side="right").cast(pl.Int64) - 1
    last = bounds.search_sorted(steps["b"] - origin, side="left").cast(pl.Int64) - 1
    steps = steps.select("a", "b", "q", length=_b - _a, day=first, origin=origin)
    if (last > first).any():
        steps = steps.with_columns(day=pl.int_ranges("day", last + 1)).explode("day")
        low, high = (steps["origin"] + bounds.gather(steps["day"] + ahead) for ahead in (0, 1))
        part = pl.min_horizontal("b", high) - pl.max_horizontal("a", low)
        steps = steps.with_columns(
            a=pl.max_horizontal("a", low), b=pl.min_horizontal("b", high),
            q=pl.when(part < pl.col("length")).then(_q * part / pl.col("length")).otherwise("q"),
        )
    begins = (_a != _b.shift(1)) | (pl.col("day") != pl.col("day").shift(1)) | (pl.col("origin") != pl.col("origin").shift(1))
    steps = steps.with_columns(start=begins.fill_null(True), order=pl.int_range(pl.len(), dtype=pl.Int64) * 2)
    opens = steps.filter("start").select(k="a", v=pl.lit(0.0), start=pl.lit(True), length=pl.lit(0, dtype=pl.Int64), order="order")
    ends = steps.select(k="b", v=_q.cum_sum().over(pl.col("start").cum_sum()), start=pl.lit(False), length="length", order=pl.col("order") + 1)
    return opens.merge_sorted(ends, key="order").drop("order")


# --- spreading --------------------------------------------------------------------------------------------------------

def _by_reading(part: _Part) -> pl.DataFrame:
    """INTERVAL: one row for each step, and one for each reset."""
    axis = part.axis
    differences = part.points.select(a=_k.shift(1), b="k", q=_v - _v.shift(1), start="start").filter(~pl.col("start") & (_b > _a)).drop("start")
    across = part.unknown.with_columns(q=pl.lit(0.0), covered=pl.lit(0.0))
    steps = (
        pl.concat([pl.concat([differences, part.steps]).with_columns(covered=pl.lit(1.0)), across]).sort("a", "b")
        .join(part.suspect.unique().with_columns(suspect=pl.lit(True)), on=["a", "b"], how="left", maintain_order="left")
    )
    position = steps["a"] // axis.span
    origin = axis.base - position * axis.span
    return pl.DataFrame({
        "register_key": axis.keys.gather(position), "start": (steps["a"] + origin).cast(INSTANT), "end": (steps["b"] + origin).cast(INSTANT),
        "quantity": steps["q"], "quality": (steps["suspect"].fill_null(False).cast(pl.UInt8) * 2).cat.to(QUALITY),
        "covered_ratio": steps["covered"], "estimated_ratio": pl.repeat(0.0, steps.height, eager=True),
    }, schema=INTERVAL)


class _Slots:
    """The intervals of a grain on the axis, numbered through all registers."""

    def __init__(self, axis: _Axis, grain: str) -> None:
        self.bounds, self.span = axis.bounds(grain), axis.span
        self.count = len(self.bounds) - 1  # of each register
        self.long = round(LONG_IN_GRAINS * _GRAIN_US[grain])
        widths = self.bounds.diff().drop_nulls()
        self.width = int(self.bounds[1]) if (widths == widths[0]).all() else None  # where all are equal

    def of(self, k: pl.Series) -> pl.Series:
        if self.width:
            return k // self.width
        return k // self.span * self.count + self.bounds.search_sorted(k % self.span, side="right").cast(pl.Int64) - 1

    def low(self, slot: pl.Series) -> pl.Series:
        return slot * self.width if self.width else slot // self.count * self.span + self.bounds.gather(slot % self.count)

    def high(self, slot: pl.Series) -> pl.Series:
        return (slot + 1) * self.width if self.width else slot // self.count * self.span + self.bounds.gather(slot % self.count + 1)


def _by_grain(part: _Part, grain: str) -> pl.DataFrame:
    """INTERVAL: one row for each hour, day, ... of which something is known."""
    axis, slots = part.axis, _Slots(part.axis, grain)
    runs = [part.points.with_columns(length=_k - _k.shift(1)), _runs_of_steps(part.steps, axis)]
    pieces = pl.concat([piece for run in runs for piece in _pieces(run, slots)])
    slot = pieces["slot"]
    if not (slot.diff() > 0).all():
        pieces = pieces.sort("slot", maintain_order=True)
        slot = pieces["slot"]
        if (slot == slot.shift(1)).any():
            # Running sums keep the order of the pieces, so that a day alone and among others is the same to the last bit.
            pieces = pieces.group_by("slot", maintain_order=True).agg(pl.col("quantity", "us", "estimated").cum_sum().last())
            slot = pieces["slot"]
    low, high = slots.low(slot), slots.high(slot)
    quality = (pieces["estimated"] > 0).cast(pl.UInt8)
    doubtful = pl.concat([part.suspect, part.unknown.with_columns(_b + 1)])
    if doubtful.height:
        first, last = slots.of(doubtful["a"]), slots.of(doubtful["b"] - 1)
        touched = doubtful.select(slot=pl.int_ranges(first, last + 1)).explode("slot")["slot"].unique()
        at = slot.search_sorted(touched, side="left")
        quality = quality.scatter(at.filter(slot.extend_constant(-1, 1).gather(at) == touched), 2)
    position = slot // slots.count
    origin = axis.base - position * axis.span
    return pl.DataFrame({
        "register_key": axis.keys.gather(position), "start": (low + origin).cast(INSTANT), "end": (high + origin).cast(INSTANT),
        "quantity": pieces["quantity"], "quality": quality.cat.to(QUALITY),
        "covered_ratio": pieces["us"] / (high - low), "estimated_ratio": pieces["estimated"] / pieces["us"],
    }, schema=INTERVAL)


def _pieces(points: pl.DataFrame, slots: _Slots) -> list[pl.DataFrame]:
    """What each run gives to each slot (slot, quantity, us, estimated). Arithmetic only where the slot changes or a run starts."""
    if not points.height:
        return [pl.DataFrame(schema={"slot": pl.Int64, "quantity": pl.Float64, "us": pl.Int64, "estimated": pl.Int64})]
    slot, start, long = pl.col("slot"), pl.col("start"), pl.col("length") > slots.long
    edges = points.with_columns(slot=slots.of(points["k"])).with_columns(k0=_k.shift(1), v0=_v.shift(1), s0=slot.shift(1)).filter(
        ((slot != pl.col("s0")) | start | long).fill_null(True),
    )
    k0, v0, s0 = pl.col("k0"), pl.col("v0"), pl.col("s0")
    edges = edges.with_columns(slope=pl.when(_k > k0).then((_v - v0) / (_k - k0)).otherwise(0.0), long=(long & ~start).fill_null(False))
    inside = slot == s0  # a long step that ends in the slot in which it began

    def at(bound: pl.Series) -> pl.Expr:
        """The value at a bound between two points; never beyond theirs by rounding."""
        return (_v - pl.col("slope") * (_k - bound)).clip(pl.min_horizontal("v", "v0"), pl.max_horizontal("v", "v0"))

    shut, open_ = slots.high(edges["s0"]), slots.low(edges["slot"])
    edges = edges.with_columns(
        shut_k=pl.when(start).then(k0).when(inside).then(_k).otherwise(shut),
        shut_v=pl.when(start).then(v0).when(inside).then(_v).otherwise(at(shut)),
        open_k=pl.when(start | inside).then(_k).otherwise(open_),
        open_v=pl.when(start | inside).then(_v).otherwise(at(open_)),
    )
    end_k, end_v = points["k"][-1], points["v"][-1]
    main = edges.select(
        "slot",
        quantity=pl.col("shut_v").shift(-1, fill_value=end_v) - pl.col("open_v"),
        us=pl.col("shut_k").shift(-1, fill_value=end_k) - pl.col("open_k"),
        estimated=pl.when("long").then(_k - pl.col("open_k")).otherwise(0)
        + pl.when("long").then(pl.col("shut_k") - k0).otherwise(0).shift(-1, fill_value=0),
    ).filter(pl.col("us") > 0)
    across = edges.filter(~start & (slot - s0 > 1))
    if not across.height:
        return [main]
    inner = across.select(slot=pl.int_ranges(s0 + 1, slot), slope="slope", long="long").explode("slot")
    width = slots.high(inner["slot"]) - slots.low(inner["slot"])
    between = inner.select("slot", quantity=pl.col("slope") * width, us=width, estimated=pl.when("long").then(width).otherwise(0))
    return [main, between]
