"""Readings of registers -> consumption over intervals: which readings count, what lies between them, how it falls into hours and days.

The rules, in the order in which they act. Each looks at readings of the same register only, and says how far: so a window
recomputed with what lies within that reach gives the rows that the whole history gives, to the last bit (monitors/reach.py tells
how much that is). What a rule sets aside is returned with the name of the rule, what it decides is flagged; nothing is invented,
zeroed or dropped.

1. A reading counts by itself if its value is a number, up to GREATEST when multiplied (else `not_finite`), a row of its register is
   valid at its instant (both ends included; else `no_register_row`), the value is within range_low .. range_high and below the
   modulus (else `outside_range`), the gateway did not call it bad (else `marked_bad`), and it is not negative where the register is
   not `net` (else `negative`; a cumulative one may be where range_low says so). Reach 0.
2. One reading counts for one instant. The same value again is a `duplicate`. Of different values (`conflicting_copy`) of a
   cumulative register that is not `net` one counts that keeps it from falling between the instants before and after, then one
   that is not zero; of any the one received first, then the greatest. Reach 1 instant.
3. Declared events. A change or reset, and a rollover or multiplier with values, ends one run of the register with its closing
   value and starts the next with its opening value, both at its instant, so that the energy is carried over exactly; a value
   that is not given leaves that side unknown. A reading at that very instant yields to the declared values. A rollover without
   values makes the fall across its instant a wrap.
4. A fall of a cumulative register that is not `net`, within a run. The tolerance of a fall is the resolution or a thousandth of the
   value fallen from, whichever is more.
   a. Glitches of falls beyond the tolerance, the short ones first: of 1 reading, then of up to 2, 3, 4, 8, 16 ... readings, each pass on
      what the one before left. `transient`: after the fall the register comes back to the value fallen from, or within the
      tolerance below it. `spike`: before the fall it had risen from a value not above the one fallen to, but for the tolerance. In
      both, one step makes at least half of the climb (nine tenths where there are more than NEARBY readings in between), and
      LONGEST_GLITCH (31 days) lie at most between the good readings on either side; only NEARBY zeros may last longer, or one
      reading if hardly anything was used meanwhile (a tenth of the climb). What lies in between is set aside. Where both fit, the one
      that sets aside fewer; where as many, the transient if the fall is to zero, else the spike. Where neither fits, a spike and a
      dip side by side, of up to NEARBY readings together, are set aside if both are steep (nine tenths) and hardly anything was used
      meanwhile (a tenth of either).
      False zeros come first: in each pass the falls to exactly zero are judged as transients before anything else, and only a last
      pass takes a zero for the ground on which a spike of up to NEARBY readings stands. A fall within the tolerance, but beyond the
      resolution and a millionth, is the end of a spike of up to NEARBY readings if it is nine tenths of the climb, and that is not
      climbed again within NEARBY readings. A declared rollover, and what is surely a wrap by max_rate_per_h, is not looked at beyond
      NEARBY readings. Reach: NEARBY readings or 31 days, whichever is more, on either side.
   b. wrap: a modulus is declared, and the rollover was declared or the step forward across it is within max_rate_per_h; or, where no
      rate is declared, it is at most half the modulus and at most a hundredth of it or ten times as fast as one of the rising steps
      beside it (a tenth of the modulus where no step is beside it). Reach 2.
   c. else a reset: counting goes on from the new value. What was used in between is unknown: that time is not covered, and
      the intervals that it touches, up to the one in which the new counting begins, are suspect. Reach 1.
   d. a fall within the tolerance is jitter: the register stands at its earlier value until that is passed, so there is no consumption
      meanwhile. What has not come back within FLOOR_HOLDS (31 days) is booked as a step back. Reach 31 days before.
   e. a step out of exactly zero ends a lost count, and is a reset too, if it is more than a hundred times as fast as the next
      NEARBY readings, which rise, and beyond max_rate_per_h where that is declared: a register that shows zero before it is read for
      the first time, or for longer than a glitch may last, has not used all that it shows then. Reach 4 after.
5. The difference between successive counted readings, times the multiplier in force at the first of them, is the consumption
   between them, spread evenly. A difference above max_rate_per_h (in the quantity's unit, multiplier applied; `over_rating`), or
   at a reading that the gateway called uncertain or in the midst of which another multiplier begins to hold (`uncertain`), is kept
   and suspect until a person has confirmed it. A step
   longer than an hour and than 1.5 times the lower median of the three spacings of readings on either side (at least three in
   all; readings that pass rules 1 and 2, set aside or not) is flagged `gap`: a catch-up. Reach 4.
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

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple, TypeVar, cast

import numpy as np
import polars as pl

from config.schemas import FLAG, INTERVAL, SET_ASIDE, WINDOW, empty
from config.units import quantity_unit
from monitors.axis import HOUR_US, Axis, Floats, Ints, Rows, axis_of, chunks, position_of, rows_on
from monitors.editing import unconfirmed
from monitors.falls import NONE_LEFT, RATE_ROUNDING, judge, on_floor
from monitors.spreading import Grain, Part, by_grain, by_reading, gaps

__all__ = ["COUNTED_KINDS", "Counted", "Grain", "Intervals", "counted", "intervals", "quantity_unit", "spread", "uncovered"]

COUNTED_KINDS: Final = ("cumulative", "interval", "rate")  # registers whose readings are consumption
GREATEST: Final = 1e300  # the sum of any number of such values is a number too
USUAL_TOLERANCE: Final = 1.5  # a spacing longer than this times the usual one is a gap
LONGEST_INTERVAL: Final = timedelta(days=366)
LONGEST_RATE_STEP: Final = timedelta(minutes=90)

ALONE_READINGS: Final = 200_000  # so many are worked on in one piece, more in two at a time

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
_UNCERTAIN, _BAD = 1, 2
_US: Final = timedelta(microseconds=1)
_k, _v, _a, _b, _q = pl.col("k"), pl.col("v"), pl.col("a"), pl.col("b"), pl.col("q")
_NOTHING: Final = pl.lit(None, dtype=pl.Float64)
_FLAGGED: Final = {"a": pl.Int64, "b": pl.Int64, "flag": pl.String, "before": pl.Float64, "after": pl.Float64, "q": pl.Float64}


@dataclass(frozen=True, slots=True)
class Intervals:
    """Consumption, the readings that the rules did not count, and what they decided."""

    intervals: pl.DataFrame  # INTERVAL, sorted by register_key and start
    set_aside: pl.DataFrame  # SET_ASIDE, sorted by register_key, read_at and copy
    flags: pl.DataFrame  # FLAG, sorted by register_key, start, end and flag


@dataclass(frozen=True, slots=True)
class Counted:
    """What counts of some readings, ready to be spread over any grain."""

    parts: tuple[Part, ...]
    set_aside: pl.DataFrame  # SET_ASIDE
    flags: pl.DataFrame  # FLAG


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
    return Intervals(spread(done, by), done.set_aside, done.flags)


def counted(
    readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, *, zone: str, confirmed: pl.DataFrame | None = None,
) -> Counted:
    """Decide what counts (rules 1 to 7), once for all grains.

    Args:
        readings: as for `intervals`.
        registers: the same. Those whose kind is not among COUNTED_KINDS show no consumption (a state) or have no readings (derived):
            these rules do not look at their readings, which are neither counted nor set aside.
        events: the same.
        zone: the same.
        confirmed: WINDOW, in any order: steps and resets inside these spans (both ends included) are not suspect, since a person has
            looked at them. Spans that touch or overlap are one.
    """
    is_counted = registers["kind"].is_in(COUNTED_KINDS)
    if not is_counted.all():
        others = registers.filter(~is_counted)["register_key"].unique()
        readings, registers = readings.filter(~pl.col("register_key").is_in(others.implode())), registers.filter(is_counted)
    keys = registers["register_key"].unique().sort()
    position = position_of(readings["register_key"], keys)
    unknown = position.is_null().arg_true()
    aside = [_aside(readings, unknown, "no_register_row")]
    if len(unknown):
        readings, position = readings.filter(position.is_not_null()), position.drop_nulls()
    parts = []
    if readings.height:
        axis = axis_of(readings, registers, events, keys, zone)
        for first, last in chunks(position, len(keys), axis.span):
            given, place = readings, position
            if last - first < len(keys):
                mine = position.is_between(first, last - 1)
                given, place = readings.filter(mine), position.filter(mine) - first
            halves = _halves(given, place, replace(axis, keys=keys.slice(first, last - first)))
            for part, left in _side_by_side(partial(_count, given, registers, events), halves):
                parts.append(part if confirmed is None else _without_confirmed(part, confirmed))
                aside.extend(left)
    flags = pl.concat([_named(part) for part in parts]) if parts else empty(FLAG)
    return Counted(
        tuple(parts), pl.concat(aside).sort("register_key", "read_at", "copy", "received_at", "message", "value"),
        flags.sort("register_key", "start", "end", "flag"),
    )


def spread(what: Counted, by: Grain) -> pl.DataFrame:
    """INTERVAL of what counts, by that grain (rule 8)."""
    rows = _side_by_side(lambda part: by_reading(part) if by == "reading" else by_grain(part, by), what.parts)
    return pl.concat(rows) if rows else empty(INTERVAL)


def uncovered(what: Counted, spans: pl.DataFrame) -> pl.DataFrame:
    """WINDOW, sorted: what no counted step covers inside some spans (WINDOW, those of one register apart from each other)."""
    found = [gaps(part, spans.filter(pl.col("register_key").is_in(part.axis.keys.implode()))) for part in what.parts]
    named = pl.concat([part.axis.keys for part in what.parts]) if what.parts else pl.Series(dtype=pl.UInt32)
    found.append(spans.filter(~pl.col("register_key").is_in(named.implode())).select(WINDOW.names()))
    return pl.concat(found).sort("register_key", "start")


def _aside(readings: pl.DataFrame, rows: pl.Series, rules: str | pl.Series) -> pl.DataFrame:
    broken = pl.repeat([rules], len(rows), dtype=pl.List(pl.String), eager=True) if isinstance(rules, str) else rules
    return readings[rows.cast(pl.UInt32)].select(SET_ASIDE.names()[:-1]).with_columns(broken.alias("broken_rules"))


def _named(part: Part) -> pl.DataFrame:
    """FLAG of a part."""
    key, start, end = part.axis.key_and_instant(part.flags["a"], part.flags["b"])
    return pl.DataFrame([
        key.alias("register_key"), start.alias("start"), end.alias("end"), part.flags["flag"], part.flags["before"], part.flags["after"],
        part.flags["q"].alias("quantity"),
    ], schema=FLAG)


def _without_confirmed(part: Part, confirmed: pl.DataFrame) -> Part:
    """The part without the flags that make its steps suspect, where a person has confirmed these."""
    doubtful = part.flags.filter(pl.col("flag").is_in(["reset", "over_rating", "uncertain"]))
    spans = confirmed.filter(pl.col("register_key").is_in(part.axis.keys.implode()))
    if not doubtful.height or not spans.height:
        return part
    key, start, end = part.axis.key_and_instant(doubtful["a"], doubtful["b"])
    stays = unconfirmed(doubtful.with_columns(key.alias("register_key"), start.alias("start"), end.alias("end")), spans)
    right = doubtful.join(stays, on=["a", "b", "flag"], how="anti")
    return replace(part, flags=part.flags.join(right, on=["a", "b", "flag"], how="anti", maintain_order="left"))


# --- what counts ------------------------------------------------------------------------------------------------------

class _Half(NamedTuple):
    """The readings of neighbouring registers among all of an axis."""

    k: Ints  # packed instants of all readings
    v: Floats
    rows: Ints  # the places of its own, register after register
    first: int  # the position of its first register
    axis: Axis  # of its own registers

    def frame(self) -> pl.DataFrame:
        """Its readings sorted by packed instant: k, v, row."""
        k, rows = self.k[self.rows], self.rows
        if (k[1:] < k[:-1]).any():
            again = np.argsort(k, kind="stable")
            k, rows = k[again], rows[again]
        return pl.DataFrame({"k": k - self.first * self.axis.span, "v": self.v[rows], "row": rows.astype(np.uint32)})


def _halves(readings: pl.DataFrame, position: pl.Series, axis: Axis) -> list[_Half]:
    """The readings in two, each with its own registers; whole where they are few."""
    place = position.to_numpy()
    k, v = axis.pack(position, readings["read_at"]).to_numpy(), readings["value"].to_numpy()
    if (k[1:] >= k[:-1]).all():
        rows = np.arange(len(k))
    else:  # by register only: that takes one pass, and within a register most come in order
        rows = np.argsort(place.astype(np.uint16) if len(axis.keys) <= 2**16 else place, kind="stable")
    if len(k) >= ALONE_READINGS:
        middle = int(place[rows[len(k) // 2]])
        cut = int(np.count_nonzero(place < middle))
        if cut:
            lower, upper = axis.keys.slice(0, middle), axis.keys.slice(middle)
            return [_Half(k, v, rows[:cut], 0, replace(axis, keys=lower)), _Half(k, v, rows[cut:], middle, replace(axis, keys=upper))]
    return [_Half(k, v, rows, 0, axis)]


def _side_by_side(work: Callable[[_Given], _Made], given: Sequence[_Given]) -> list[_Made]:
    """The work done on each, two at a time: a step on one column uses one core."""
    if len(given) < 2:
        return [work(one) for one in given]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, given))


def _count(
    readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, half: _Half,
) -> tuple[Part, list[pl.DataFrame]]:
    """The counted part of a half of the readings, and what was set aside (SET_ASIDE)."""
    frame, axis = half.frame(), half.axis
    events = events.filter(pl.col("register_key").is_in(axis.keys.implode()))
    rows = rows_on(axis, registers, events)
    passed, aside = _by_own_value(frame, readings, rows)
    frame, repeated = _one_for_an_instant(passed, readings, rows, axis)
    aside += repeated
    if events.height:  # without a reading of a register nothing of it counts, whichever others are looked at with it
        events = events.filter(pl.col("register_key").is_in(axis.keys.gather((frame["k"] // axis.span).unique()).implode()))
    is_uncertain = (readings["quality"] == _UNCERTAIN).fill_null(False)
    doubted = frame["k"].filter(is_uncertain.gather(frame["row"])) if is_uncertain.any() else frame["k"].clear()

    last_row = rows.frame.unique("position", keep="last", maintain_order=True)
    kinds = last_row["kind"]
    points = pl.DataFrame(schema={"k": pl.Int64, "v": pl.Float64, "start": pl.Boolean})
    steps, flags = [pl.DataFrame(schema={"a": pl.Int64, "b": pl.Int64, "q": pl.Float64})], [pl.DataFrame(schema=_FLAGGED)]
    for kind in kinds.unique(maintain_order=True):
        whole = kinds.n_unique() == 1
        mine = frame if whole else frame.filter((kinds == kind).gather(frame["k"] // axis.span))
        if not mine.height:
            continue
        if kind == "cumulative":
            theirs = events if whole else events.filter((kinds == kind).gather(position_of(events["register_key"], axis.keys)))
            points, found, left = _runs(mine, rows, theirs, doubted, axis)
        else:
            some, left = _interval_steps(mine, rows, last_row["stamp"], axis) if kind == "interval" else (_rate_steps(mine, rows, axis), NONE_LEFT)
            found = [_over_rating(some, rows)]
            if len(doubted):
                is_touched = some["shown"].is_in(doubted.implode())
                found.append(_flagged(some.filter(is_touched | some["a"].is_in(doubted.implode()) if kind == "rate" else is_touched), "uncertain"))
            steps.append(some.select("a", "b", "q"))
        flags += found
        aside.append(_aside(readings, left["row"], left["rules"]))
    return Part(axis, points, pl.concat(steps), pl.concat(flags).sort("a", "b", "flag"), passed), aside


def _by_own_value(frame: pl.DataFrame, readings: pl.DataFrame, rows: Rows) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Rule 1. A bound is first held against all readings at its tightest, and looked at more closely only where that is broken."""
    table, k, v = rows.frame, frame["k"], frame["v"]
    broken = {"not_finite": _beyond_numbers(k, v, rows), "no_register_row": _outside_rows(k, rows)}
    if len(broken["not_finite"]):
        v = v.clone().scatter(broken["not_finite"], None)

    def beyond(bound: pl.Series, is_low: bool, *, included: bool = False) -> pl.Series:
        """The places whose value is beyond the bound of their row, a null bound excepted."""
        tightest = bound.max() if is_low else bound.min()
        if tightest is None:
            return pl.Series(dtype=pl.UInt32)
        some = (v < tightest if is_low else v >= tightest if included else v > tightest).fill_null(False).arg_true()
        if not len(some):
            return some
        own = bound.gather(rows.at.search_sorted(k.gather(some), side="right") - 1)
        value = v.gather(some)
        return some.filter((value < own if is_low else value >= own if included else value > own).fill_null(False))

    broken["outside_range"] = pl.concat([
        beyond(table["range_low"], is_low=True), beyond(table["range_high"], is_low=False), beyond(table["modulus"], is_low=False, included=True),
    ]).unique().sort()
    is_bad = (readings["quality"] == _BAD).fill_null(False)
    broken["marked_bad"] = is_bad.gather(frame["row"]).arg_true() if is_bad.any() else pl.Series(dtype=pl.UInt32)
    signed = table["net"] | ((table["kind"] == "cumulative") & (table["range_low"] < 0).fill_null(False))
    broken["negative"] = beyond(table.select(pl.when(~signed).then(0.0)).to_series(), is_low=True)
    found = pl.concat([pl.DataFrame({"at": at.cast(pl.UInt32)}).with_columns(rule=pl.lit(rule)) for rule, at in broken.items()])
    if not found.height:
        return frame, []
    found = found.group_by("at", maintain_order=True).agg("rule").sort("at")
    keep = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True).scatter(found["at"], False)
    return frame.filter(keep), [_aside(readings, frame["row"].gather(found["at"]), found["rule"])]


def _beyond_numbers(k: pl.Series, v: pl.Series, rows: Rows) -> pl.Series:
    """The places whose value, or value times multiplier, is no number or above GREATEST."""
    values, largest = v.to_numpy(), max(1.0, cast(float, rows.multiplier.abs().max()))
    at = np.flatnonzero(~(np.abs(values) <= GREATEST / largest))
    if len(at):
        times = np.maximum(1.0, np.abs(rows.multiplier_of(k.gather(pl.Series(at))).to_numpy()))
        at = at[~(np.abs(values[at]) <= GREATEST / times)]
    return pl.Series(at)


def _outside_rows(k: pl.Series, rows: Rows) -> pl.Series:
    """The places at which no row of the register is valid."""
    begin = k.search_sorted(rows.at, side="left")
    bounds = pl.DataFrame({
        "begin": begin, "end": begin.shift(-1, fill_value=len(k)), "from": k.search_sorted(rows.frame["valid_from_k"], side="left"),
        "to": k.search_sorted(rows.frame["valid_to_k"], side="right"),
    }).cast(pl.Int64)
    before = bounds.select(low="begin", high=pl.min_horizontal("from", "end"))
    after = bounds.select(low=pl.max_horizontal("to", "begin"), high="end")
    outside = pl.concat([before, after]).filter(pl.col("low") < pl.col("high"))
    return outside.select(pl.int_ranges("low", "high").alias("at")).explode("at")["at"].unique().sort().cast(pl.UInt32)


def _one_for_an_instant(frame: pl.DataFrame, readings: pl.DataFrame, rows: Rows, axis: Axis) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
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
        .with_columns(
            fits=pl.col("free") | ((_v >= pl.col("before")).fill_null(True) & (_v <= pl.col("after")).fill_null(True)),
            counts_something=pl.col("free") | (_v != 0),
        )
        .sort(
            "k", "fits", "counts_something", "received_at", "v", "message", descending=[False, True, True, False, True, False],
            nulls_last=True, maintain_order=True,
        )
        .with_columns(counts=_v.first().over("k"), rank=pl.int_range(pl.len()).over("k"))
    )
    left = ranked.filter(pl.col("rank") > 0)
    rules = left.select(pl.concat_list(pl.when(_v == pl.col("counts")).then(pl.lit("duplicate")).otherwise(pl.lit("conflicting_copy")))).to_series()
    keep = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True).scatter(left["at"], False)
    return frame.filter(keep), [_aside(readings, left["row"], rules)]


# --- steps that are doubtful --------------------------------------------------------------------------------------------

def _over_rating(steps: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    """_FLAGGED: steps (a, b, q) of interval and rate registers that are too fast for their register."""
    if rows.frame["max_rate_per_h"].null_count() == rows.frame.height:
        return pl.DataFrame(schema=_FLAGGED)
    rate = rows.of("max_rate_per_h", steps["a"]) * (1 + RATE_ROUNDING) / HOUR_US
    return _flagged(steps.filter((steps["q"].abs() > rate * (steps["b"] - steps["a"])).fill_null(False)), "over_rating")


def _flagged(steps: pl.DataFrame, flag: str) -> pl.DataFrame:
    return steps.select("a", "b", "before", "after", "q", flag=pl.lit(flag)).select(list(_FLAGGED))


# --- cumulative registers ---------------------------------------------------------------------------------------------

def _runs(
    frame: pl.DataFrame, rows: Rows, events: pl.DataFrame, doubted: pl.Series, axis: Axis,
) -> tuple[pl.DataFrame, list[pl.DataFrame], pl.DataFrame]:
    """Rules 3 to 5 for cumulative registers.

    Args:
        frame: k, v, row: one reading for an instant, sorted.
        rows: the register rows.
        events: EVENT of these registers.
        doubted: packed instants of uncertain readings, sorted.
        axis: the axis.

    Returns:
        The points (k, v times multiplier, start), what is flagged (_FLAGGED), and what is set aside (row, rules).
    """
    instants = frame["k"]
    frame, starts, turns, left = _with_events(frame, rows, events, axis)
    judged = judge(frame, starts, rows, turns)
    starts = pl.concat([judged.starts, judged.resets["at"]]).unique().sort()
    shown = judged.frame
    values = on_floor(judged, pl.concat([starts, judged.wraps["at"]]).sort(), rows)
    points = pl.DataFrame({
        "k": shown["k"], "v": values, "start": pl.repeat(False, shown.height, dtype=pl.Boolean, eager=True).scatter(starts, True),
    })
    changed, split = _multiplier_changes(points, rows, axis)
    if judged.wraps.height or len(changed):
        points = _inserted(points, judged.wraps, changed)
    if (rows.multiplier != 1).any():
        # A run has one multiplier: that of its first reading.
        begun = points["k"].filter(points["start"])
        length = np.diff(np.append(np.flatnonzero(points["start"].to_numpy()), points.height))
        points = points.with_columns(v=_v * pl.Series(np.repeat(rows.multiplier_of(begun).to_numpy(), length)))
    steps = _flagged_steps(points, instants, rows, doubted, axis)
    falls = [fall.select("a", "b", flag=pl.lit(flag)) for flag, fall in
             (("wrap", judged.wraps), ("reset", judged.resets), ("jitter", judged.jitter))]
    flags = pl.concat([*falls, *steps, split]).unique(maintain_order=True)
    return points, [_with_values(flags, points, shown)], pl.concat([left, judged.left])


def _flagged_steps(points: pl.DataFrame, instants: pl.Series, rows: Rows, doubted: pl.Series, axis: Axis) -> list[pl.DataFrame]:
    """Steps (a, b, flag) that are too fast, have an uncertain end, or bridge a gap in the instants of readings."""
    k, start = points["k"], points["start"]
    length = np.diff(k.to_numpy())
    places = {"over_rating": _too_fast(k, points["v"], length, rows)}
    if len(doubted):
        ends = k.search_sorted(doubted, side="left"), k.search_sorted(doubted, side="right")
        met = pl.DataFrame({"low": ends[0], "high": ends[1]}).select(pl.int_ranges("low", pl.col("high") + 1).alias("at"))
        places["uncertain"] = met.filter(ends[0] < ends[1]).explode("at")["at"].unique().sort()
    places["gap"] = _gaps(length, points, instants, axis)
    found = []
    for flag, place in places.items():
        at = place.cast(pl.Int64).filter(place < points.height)
        real = at.filter(~start.gather(at))
        found.append(pl.DataFrame({"a": k.gather(real - 1), "b": k.gather(real)}).filter(_b > _a).with_columns(flag=pl.lit(flag)))
    return found


def _too_fast(k: pl.Series, v: pl.Series, length: Ints, rows: Rows) -> pl.Series:
    """The places of steps above max_rate_per_h. Only those are looked at closely that may be, by the least rate of all registers."""
    least = rows.frame["max_rate_per_h"].min()
    if least is None or len(k) < 2:
        return pl.Series(dtype=pl.UInt32)
    rise, usual = np.diff(v.to_numpy()), np.median(length[:: max(1, len(k) // 1000)])
    allowed = cast(float, least) * usual / HOUR_US
    at = pl.Series(np.flatnonzero((rise > allowed) | (rise < -allowed) | (length < usual)) + 1)
    rate = rows.of("max_rate_per_h", k.gather(at - 1)) * ((1 + RATE_ROUNDING) / HOUR_US)
    return at.filter(((v.gather(at) - v.gather(at - 1)).abs() > (k.gather(at) - k.gather(at - 1)) * rate).fill_null(False)).cast(pl.UInt32)


def _gaps(length: Ints, points: pl.DataFrame, instants: pl.Series, axis: Axis) -> pl.Series:
    """The places of steps that are longer than an hour and than 1.5 times the lower median of the spacings around."""
    at = pl.Series(np.flatnonzero(length > HOUR_US) + 1)
    at = at.filter(~points["start"].gather(at))
    if not len(at):
        return at
    first = instants.search_sorted(points["k"].gather(at - 1), side="right").cast(pl.Int64) - 1
    last = instants.search_sorted(points["k"].gather(at), side="left").cast(pl.Int64)
    register, end = points["k"].gather(at) // axis.span, len(instants) - 1
    spacings: list[pl.Series] = []
    for later in (first, first - 1, first - 2, last + 1, last + 2, last + 3):
        inside = later.is_between(1, end)
        place = later.clip(1, max(1, end))
        here, before = instants.gather(place.clip(0, end)), instants.gather(place - 1)
        of_register = inside & (here // axis.span == register) & (before // axis.span == register)
        spacings.append((here - before).set(~of_register, None).alias(str(len(spacings))))
    six = pl.DataFrame(spacings).select(beside=pl.concat_list(pl.all()).list.drop_nulls().list.sort())
    count = pl.col("beside").list.len().cast(pl.Int64)
    usual = six.select(pl.when(count >= 3).then(pl.col("beside").list.get((count - 1) // 2, null_on_oob=True))).to_series()
    return at.filter((pl.Series(length[at.to_numpy() - 1]) > USUAL_TOLERANCE * usual).fill_null(False))


def _with_values(flags: pl.DataFrame, points: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """_FLAGGED of flags (a, b, flag): with what the register showed at both ends, and what was counted in between."""
    if not flags.height:
        return pl.DataFrame(schema=_FLAGGED)
    first = shown["k"].search_sorted(flags["a"], side="right").cast(pl.Int64) - 1
    last = shown["k"].search_sorted(flags["b"], side="left").cast(pl.Int64)
    at = points["k"].search_sorted(flags["b"], side="left").cast(pl.Int64)
    return flags.with_columns(
        before=shown["v"].gather(first), after=shown["v"].gather(last),
        q=(points["v"].gather(at) - points["v"].gather(at - 1)).zip_with(~points["start"].gather(at), pl.Series([0.0])),
    )


def _with_events(frame: pl.DataFrame, rows: Rows, events: pl.DataFrame, axis: Axis) -> tuple[pl.DataFrame, pl.Series, pl.Series, pl.DataFrame]:
    """Put the declared values among the readings.

    Returns:
        The readings, the places at which a run starts, the instants (packed) of rollovers without values, and the readings
        that yield to a declared value.
    """
    left = NONE_LEFT
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
            events.with_columns(k=axis.pack(position_of(events["register_key"], axis.keys), events["at"]))
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
            declared.select("k", "v", row=pl.lit(None, dtype=pl.UInt32), opens="opens"),
        ]).sort("k", maintain_order=True)
        opened = frame["opens"].arg_true().cast(pl.Int64)
        # Without an opening value the run starts at the first reading from the event on, or after the closing value.
        silent = known.filter(opening.is_null()).with_columns(shut=closing.is_not_null())
        breaks.append(silent.filter(~pl.col("shut"))["k"])
        opened = pl.concat([opened, frame["k"].search_sorted(silent.filter("shut")["k"], side="right").cast(pl.Int64)])
        frame = frame.drop("opens")
    starts = pl.concat([opened, *(frame["k"].search_sorted(each, side="left").cast(pl.Int64) for each in breaks)])
    return frame, starts.filter(starts < frame.height).unique().sort(), turns, left


def _multiplier_changes(points: pl.DataFrame, rows: Rows, axis: Axis) -> tuple[pl.Series, pl.DataFrame]:
    """The places inside a run from which on another multiplier holds, and the steps (a, b, flag) in the midst of which it begins to."""
    same = (rows.multiplier == rows.multiplier.shift(1)) | (rows.multiplier_at // axis.span != rows.multiplier_at.shift(1) // axis.span)
    since = rows.multiplier_at.filter(~same.fill_null(True))
    at = points["k"].search_sorted(since, side="left").cast(pl.Int64)
    since, at = since.filter(at < points.height), at.filter(at < points.height)
    since, at = since.filter(~points["start"].gather(at)), at.filter(~points["start"].gather(at))
    steps = pl.DataFrame({"a": points["k"].gather(at - 1), "b": points["k"].gather(at)}).filter(since < points["k"].gather(at))
    return at.unique().sort(), steps.with_columns(flag=pl.lit("uncertain"))


def _inserted(points: pl.DataFrame, wraps: pl.DataFrame, changed: pl.Series) -> pl.DataFrame:
    """Start a run before each wrap, one modulus lower; and end one where the multiplier changes, at the value the next begins with."""
    k, v, start = (points[name].to_numpy() for name in ("k", "v", "start"))
    at, changes = wraps["at"].to_numpy(), changed.to_numpy()
    begun = start.copy()
    begun[changes] = True
    return pl.DataFrame({
        name: np.insert(old, np.append(at, changes), np.append(lower, ended)) for name, old, lower, ended in (
            ("k", k, k[at - 1], k[changes]), ("v", v, v[at - 1] - wraps["modulus"].to_numpy(), v[changes]),
            ("start", begun, np.ones(len(at), np.bool_), np.zeros(len(changes), np.bool_)),
        )
    })


# --- interval and rate registers --------------------------------------------------------------------------------------

def _interval_steps(frame: pl.DataFrame, rows: Rows, stamps: pl.Series, axis: Axis) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rule 6: steps (a, b, q, and the place of the reading: shown) of interval registers, and what is set aside (row, rules)."""
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
    known = (pl.col("length") <= LONGEST_INTERVAL // _US).fill_null(False)
    a = pl.when(ahead).then(_k).otherwise(_k - pl.col("length"))
    steps = frame.filter(known).select(a=a, b=a + pl.col("length"), q="v", shown="k", before=_NOTHING, after=_NOTHING)
    steps = steps.with_columns(q=_q * rows.multiplier_of(steps["a"])).sort("a")
    return steps, frame.filter(~known).select("row", rules=pl.concat_list(pl.lit("length_unknown")))


def _rate_steps(frame: pl.DataFrame, rows: Rows, axis: Axis) -> pl.DataFrame:
    """Rule 7: steps (a, b, q, and the place of the later reading: shown) of rate registers."""
    a = _k.shift(1)
    near = (_k // axis.span == a // axis.span) & (_k - a <= LONGEST_RATE_STEP // _US)
    steps = frame.select(
        a=a, b="k", q=(_v + _v.shift(1)) / 2 * (_k - a) / HOUR_US, shown="k", before=_v.shift(1), after="v", near=near,
    ).filter(pl.col("near").fill_null(False)).drop("near")
    return steps.with_columns(q=_q * rows.multiplier_of(steps["a"]))
