"""How much must be looked at so that the rules of monitors/intervals.py decide about a window as they do about everything.

Most rules look at REACH readings on either side. A glitch of a cumulative register may last NEARBY readings or LONGEST_GLITCH, and a floor
FLOOR_HOLDS; but none of them reaches across a midnight before which the register stood as high as it had stood so far, and after which it
stands as low as it will stand: nothing has fallen below what was before, so what lies on one side says nothing about the other. Nor
does a lost count, which the NEARBY readings after it tell, if that many days with readings lie between its zeros and the midnight. Whether
a midnight is such a seam, the lowest and highest values of the days around tell (DAY_RANGE). A window is widened to the next seams.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final

import polars as pl

from config.schemas import DAY_RANGE, INSTANT, conform, empty
from monitors.axis import Axis, Slots
from monitors.falls import FLOOR_HOLDS, LONGEST_GLITCH, NEARBY
from monitors.intervals import Counted
from monitors.spreading import Part

REACH: Final = 5  # readings that pass rule 1, on either side of a window, that decide about it
SIGHT: Final = max(LONGEST_GLITCH, FLOOR_HOLDS) + timedelta(days=2)  # in whole local days, of which the first and last may be cut
_ROWS: Final = NEARBY + 1  # days with readings that are looked at, however far away
_APART: Final = 1_000_000  # days between two registers on one line
_v, _key, _day = pl.col("v"), pl.col("register_key"), pl.col("day")


def day_ranges(what: Counted) -> pl.DataFrame:
    """DAY_RANGE without `result`, sorted: what each register showed on each local day, of the readings that pass rule 1."""
    return pl.concat([empty(DAY_RANGE), *(_ranges(part) for part in what.parts)])


def _ranges(part: Part) -> pl.DataFrame:
    k, v = part.passed["k"], _least_of_instant(part.passed)
    slots = Slots(part.axis, "day")
    slot = slots.of(k)
    begins = (slot != slot.shift(1)).fill_null(True).arg_true().cast(pl.Int64)
    ends = begins.shift(-1, fill_value=len(k))
    extremes = pl.DataFrame({"slot": slot.set_sorted(), "v": part.passed["v"]}).group_by("slot", maintain_order=True).agg(low=_v.min(), high=_v.max())
    key, start = part.axis.key_and_instant(slots.low(slot.gather(begins)))
    found = pl.DataFrame({
        "register_key": key, "day": start.dt.convert_time_zone(part.axis.zone).dt.date(), "start": start,
        "low": extremes["low"], "high": extremes["high"], "first": v.gather(begins), "last": v.gather(ends - 1),
        "head": _fingerprint(k, v, begins, ends - begins, part.axis), "tail": _fingerprint(k, v, ends - REACH, ends - begins, part.axis),
    })
    return conform(found, DAY_RANGE)


def _least_of_instant(passed: pl.DataFrame) -> pl.Series:
    """The values, where several are of one instant the least of these: they have no order."""
    again = (passed["k"] == passed["k"].shift(1)).fill_null(value=False)
    if not again.any():
        return passed["v"]
    at = (again | again.shift(-1, fill_value=False)).arg_true()
    return passed["v"].clone().scatter(at, passed[at].select(_v.min().over("k")).to_series())


def _fingerprint(k: pl.Series, v: pl.Series, low: pl.Series, held: pl.Series, axis: Axis) -> pl.Series:
    """A number for the REACH readings from each place on; null where less are held, or two of them are of one instant."""
    places = [(low + n).clip(0, len(k) - 1) for n in range(REACH)]
    instants = [k.gather(place) % axis.span + axis.base for place in places]
    rows = pl.DataFrame([series.alias(str(n)) for n, series in enumerate([*instants, *(v.gather(place) for place in places)])])
    differ = [(later != earlier).alias(str(n)) for n, (earlier, later) in enumerate(pairwise(instants))]
    is_whole = (held >= REACH) & pl.DataFrame(differ).select(pl.all_horizontal(pl.all())).to_series()
    return rows.hash_rows(seed=0).set(~is_whole, None)


def short_of_reach(what: Counted, given: pl.DataFrame, start: datetime, end: datetime, *, pad: int) -> pl.Series:
    """The register_keys of which more readings must be looked at to decide about [start, end).

    These have fewer than REACH instants that pass rule 1 before `start` or from `end` on, although the `pad` instants that were asked for
    on that side were there: a long run of readings out of range, say, has to be looked beyond.

    Args:
        what: what was counted of the readings.
        given: READING: those readings.
        start: begin of the window.
        end: its end.
        pad: how many instants of each register were asked for on either side.
    """
    both = _instants_outside(given, start, end).join(
        _instants_outside(_passed_outside(what, start, end), start, end), on="register_key", how="left", suffix="_passed",
    ).fill_null(0)
    short = pl.any_horizontal((pl.col(side) >= pad) & (pl.col(f"{side}_passed") < REACH) for side in ("before", "after"))
    return both.filter(short)["register_key"].sort()


def _passed_outside(what: Counted, start: datetime, end: datetime) -> pl.DataFrame:
    """register_key, read_at of the readings before `start` and from `end` on that pass rule 1."""
    low, high = ((bound - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for bound in (start, end))
    rows = [pl.DataFrame(schema={"register_key": pl.UInt32, "read_at": INSTANT})]
    for part in what.parts:
        k = part.passed["k"]
        since = k % part.axis.span + part.axis.base
        key, instant = part.axis.key_and_instant(k.filter((since < low) | (since >= high)))
        rows.append(pl.DataFrame({"register_key": key, "read_at": instant}))
    return pl.concat(rows)


def _instants_outside(readings: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """register_key, before, after: how many instants of readings lie before `start`, and from `end` on; of registers with any there."""
    at = pl.col("read_at")
    before, after = at < start, at >= end
    outside = readings.select("register_key", "read_at").filter(before | after)
    return outside.group_by("register_key").agg(before=at.filter(before).n_unique(), after=at.filter(after).n_unique())


def widened(ranges: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """The days that are decided together with some days, up to the next seams.

    Args:
        ranges: DAY_RANGE of cumulative registers that are not `net`, sorted by register and day; several rows for a day where it is known
            in parts, or as it was and as it is. All days within SIGHT are there, and _ROWS days with readings on either side.
        days: register_key, first, last.

    Returns:
        register_key, first, last, open: whether there are further days in `ranges` on one side, but no seam.
    """
    mine = ranges.join(days.select("register_key", window_first="first", window_last="last"), on="register_key")
    low, high = pl.col("low"), pl.col("high")
    line = mine.group_by("register_key", "window_first", "window_last", "day", maintain_order=True).agg(
        low=pl.when(low.is_null().any()).then(float("-inf")).otherwise(low.min()),
        high=pl.when(high.is_null().any()).then(float("inf")).otherwise(high.max()),
        first_low=pl.col("first").min(), first_high=pl.col("first").max(), last_low=pl.col("last").min(), last_high=pl.col("last").max(),
    ).sort("register_key", "day").with_columns(at=_key.rank("dense").cast(pl.Int64) * _APART + _day.to_physical().cast(pl.Int64))
    sight = f"{SIGHT // timedelta(days=1)}i"
    high_before = line.select(pl.col("high").rolling_max_by("at", sight, closed="left")).to_series()
    low_after = line.reverse().select(pl.col("low").rolling_min_by(-pl.col("at"), sight, closed="left")).to_series().reverse()

    def of_register(name: str, away: int) -> pl.Expr:
        return pl.when(_key == _key.shift(away)).then(pl.col(name).shift(away))

    before = pl.max_horizontal(high_before.alias("before"), *(of_register("high", n) for n in range(1, _ROWS + 1)))
    after = pl.min_horizontal(low_after.alias("after"), "low", *(of_register("low", -n) for n in range(1, _ROWS)))
    zero_before = pl.any_horizontal(of_register("low", n) <= 0 for n in range(1, NEARBY + 1)).fill_null(value=False)
    begins = (_key != _key.shift(1)).fill_null(value=True)
    is_seam = begins | (
        (of_register("last_low", 1) >= before) & (pl.col("first_high") <= after) & (of_register("last_high", 1) <= pl.col("first_low"))
        & ~(zero_before & (pl.col("first_high") > 0))  # a lost count may have ended: the readings after it tell
    )
    line = line.with_columns(begins=begins, is_seam=is_seam.fill_null(value=False))
    entered = _day.filter(_day >= pl.col("window_first")).min()  # the window begins before the first readings in it, or after all
    left = pl.col("is_seam") & (_day <= entered)
    right = pl.col("is_seam") & (_day > pl.col("window_last"))
    seams = line.group_by("register_key", maintain_order=True).agg(
        pl.col("window_first", "window_last").first(), left=_day.filter(left).max(),
        left_open=(pl.col("begins").filter(left).last() & (_day.filter(left).last() < entered)).fill_null(value=False),
        right=_day.filter(_day < pl.coalesce(_day.filter(right).min(), pl.lit(date.max))).max(),
        right_open=(_day > pl.col("window_last")).any() & ~right.any(),
    )
    return seams.select(
        "register_key", first=pl.min_horizontal("window_first", "left"), last=pl.max_horizontal("window_last", "right"),
        open=pl.col("left_open") | pl.col("right_open"),
    )


def affected_days(
    what: Counted, given: pl.DataFrame, events: pl.DataFrame, start: datetime, end: datetime, *, zone: str,
) -> pl.DataFrame:
    """The local days whose intervals may change when readings of some days between two seams come, change or go.

    Args:
        what: what was counted of the readings.
        given: READING of those days, with so many more on either side of each register that REACH instants pass rule 1.
        events: EVENT. Where readings end, declared values are the neighbours, all of them: none counts without a reading.
        start: begin of the days.
        end: their end.
        zone: the place whose days are meant.

    Returns:
        register_key, first, last (pl.Date): every day from the first to the last may change, those without a reading included,
        since a step across them is spread over them too.
    """
    at = pl.col("at")
    ends = given.group_by("register_key").agg(first=pl.col("read_at").min(), last=pl.col("read_at").max())
    known = ends.join(_instants_outside(_passed_outside(what, start, end), start, end), on="register_key", how="left").with_columns(
        pl.col("before", "after").fill_null(0),
    )
    beyond = events.join(known, on="register_key").group_by("register_key").agg(
        earlier=at.filter(pl.col("before") < REACH).min(), later=at.filter(pl.col("after") < REACH).max(),
    )
    ends = ends.join(beyond, on="register_key", how="left").select(
        "register_key", first=pl.min_horizontal("first", "earlier"), last=pl.max_horizontal("last", "later"),
    )
    return ends.with_columns(pl.col("first", "last").dt.convert_time_zone(zone).dt.date()).sort("register_key")
