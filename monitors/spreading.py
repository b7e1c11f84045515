"""What counts of readings -> hours, days, months, years: the last of the rules at the head of monitors/intervals.py, its rule 8."""

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import polars as pl

from config.schemas import INTERVAL, QUALITY, WINDOW
from monitors.axis import HOUR_US, Axis, Floats, Ints, Slots, Truths, ragged

Grain = Literal["reading", "hour", "day", "month", "year"]

LONG_IN_GRAINS: Final = 1.5  # a step longer than this is estimated in its intervals
PASSED: Final = {"k": pl.Int64, "v": pl.Float64, "row": pl.UInt32}  # row: the place among the readings given
GRAIN_US: Final = {"hour": HOUR_US, "day": 24 * HOUR_US, "month": 720 * HOUR_US, "year": 8760 * HOUR_US}
_SUSPECT: Final = ("reset", "over_rating", "uncertain")  # flags that make suspect what they touch
_k, _v, _a, _b, _q = pl.col("k"), pl.col("v"), pl.col("a"), pl.col("b"), pl.col("q")


@dataclass(frozen=True, slots=True)
class Part:
    """Some registers' consumption: runs of values between which it is a plain difference, single steps, and what is flagged."""

    axis: Axis
    points: pl.DataFrame  # of cumulative registers, k: packed instant, v: value times multiplier, start: a run begins here
    steps: pl.DataFrame  # of interval and rate registers, a, b: packed span, q: quantity
    flags: pl.DataFrame  # a, b, flag, before, after, q; the time across a `reset` is not covered
    passed: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PASSED))  # the readings that pass rule 1, sorted by k


def by_reading(part: Part) -> pl.DataFrame:
    """INTERVAL: one row for each step, and one for each reset."""
    points = part.points
    differences = points.select(a=_k.shift(1), b="k", q=_v - _v.shift(1), start="start").filter(~pl.col("start") & (_b > _a)).drop("start")
    across = part.flags.filter(pl.col("flag") == "reset").select("a", "b", q=pl.lit(0.0), covered=pl.lit(0.0))
    suspect = part.flags.filter(pl.col("flag").is_in(_SUSPECT)).select("a", "b", suspect=pl.lit(True)).unique()
    steps = (
        pl.concat([pl.concat([differences, part.steps]).with_columns(covered=pl.lit(1.0)), across]).sort("a", "b")
        .join(suspect, on=["a", "b"], how="left", maintain_order="left")
    )
    key, start, end = part.axis.key_and_instant(steps["a"], steps["b"])
    return pl.DataFrame({
        "register_key": key, "start": start, "end": end,
        "quantity": steps["q"], "quality": (steps["suspect"].fill_null(False).cast(pl.UInt8) * 2).cat.to(QUALITY),
        "covered_ratio": steps["covered"], "estimated_ratio": pl.repeat(0.0, steps.height, eager=True),
    }, schema=INTERVAL)


def by_grain(part: Part, grain: str) -> pl.DataFrame:
    """INTERVAL: one row for each hour, day, ... of which something is known."""
    slots, long = Slots(part.axis, grain), round(LONG_IN_GRAINS * GRAIN_US[grain])
    points = part.points
    runs = []
    if points.height:
        k, v, start = (points[name].to_numpy() for name in ("k", "v", "start"))
        runs.append(_pieces(k, v, start, np.diff(k, prepend=k[0]), slots, long))
    if part.steps.height:
        steps = _runs_of_steps(part.steps, part.axis)
        k, v, start = (steps[name].to_numpy() for name in ("k", "v", "start"))
        runs.append(_pieces(k, v, start, steps["length"].to_numpy(), slots, long))
    pieces = pl.concat([piece for run in runs for piece in run]) if runs else _NO_PIECES
    slot = pieces["slot"]
    if not (slot.diff() > 0).all():
        pieces = pieces.sort("slot", maintain_order=True)
        slot = pieces["slot"]
        again = (slot == slot.shift(1)).fill_null(False)
        if again.any():
            several = again | again.shift(-1, fill_value=False)
            # Running sums keep the order of the pieces, so that a day alone and among others is the same to the last bit.
            summed = pieces.filter(several).group_by("slot", maintain_order=True).agg(pl.col("quantity", "us", "estimated").cum_sum().last())
            first = (several & ~again).arg_true()
            pieces = pieces.with_columns(pieces[name].scatter(first, summed[name]) for name in ("quantity", "us", "estimated")).filter(~again)
            slot = pieces["slot"]
    low, high = slots.low(slot), slots.high(slot)
    quality = (pieces["estimated"] > 0).cast(pl.UInt8)
    doubtful = part.flags.filter(pl.col("flag").is_in(_SUSPECT))
    if doubtful.height:
        last = doubtful["b"] - (doubtful["flag"] != "reset").cast(pl.Int64)  # a reset reaches into where the new counting begins
        touched = pl.DataFrame({"first": slots.of(doubtful["a"]), "last": slots.of(last)})
        touched_slots = touched.select(slot=pl.int_ranges("first", pl.col("last") + 1)).explode("slot")["slot"].unique()
        at = slot.search_sorted(touched_slots, side="left")
        quality = quality.scatter(at.filter(slot.extend_constant(-1, 1).gather(at) == touched_slots), 2)
    key, begin, end = part.axis.key_and_instant(low, high)
    return pl.DataFrame({
        "register_key": key, "start": begin, "end": end,
        "quantity": pieces["quantity"], "quality": quality.cat.to(QUALITY),
        "covered_ratio": pieces["us"] / (high - low), "estimated_ratio": pieces["estimated"] / pieces["us"],
    }, schema=INTERVAL)


def gaps(part: Part, spans: pl.DataFrame) -> pl.DataFrame:
    """WINDOW: what no run and no step covers inside spans (WINDOW) of this part's registers, those of one register apart from each other."""
    axis, points = part.axis, part.points
    last = points["start"].shift(-1, fill_value=True)
    covered = pl.concat([
        pl.DataFrame({"a": points["k"].filter(points["start"]), "b": points["k"].filter(last)}), part.steps.select("a", "b"),
    ]).filter(_a < _b).with_columns(position=_a // axis.span)
    key, start, end = axis.key_and_instant(covered["a"], covered["b"])
    own = pl.DataFrame({"register_key": key, "a": start, "b": end})
    asked = spans.select(WINDOW.names()).with_row_index("span")
    met = asked.join(own, on="register_key").filter((_b > pl.col("start")) & (_a < pl.col("end"))).sort("span", "a")
    before = met.select("register_key", start=pl.coalesce(_b.cum_max().shift(1).over("span"), "start"), end="a")
    after = asked.join(met.group_by("span").agg(_b.max()), on="span", how="left").select("register_key", start=pl.coalesce("b", "start"), end="end")
    return pl.concat([before, after]).filter(pl.col("start") < pl.col("end")).sort("register_key", "start")


_NO_PIECES: Final = pl.DataFrame(schema={"slot": pl.Int64, "quantity": pl.Float64, "us": pl.Int64, "estimated": pl.Int64})


def _pieces(k: Ints, v: Floats, start: Truths, length: Ints, slots: Slots, long: int) -> list[pl.DataFrame]:
    """What each run gives to each slot (slot, quantity, us, estimated). Arithmetic only where the slot changes or a run starts.

    `length` is that of the whole step that ends at each point; one longer than `long` is estimated.
    """
    slot_of, is_long = slots.of(pl.Series(k)).to_numpy(), length > long
    at = np.append(0, np.flatnonzero((slot_of[1:] != slot_of[:-1]) | start[1:] | is_long[1:]) + 1)
    before = np.maximum(at, 1) - 1  # of the first one, which starts a run, it is not looked at
    here, there, slot, s0, v1, v0 = k[at], k[before], slot_of[at], slot_of[before], v[at], v[before]
    begins = start[at]
    is_long = is_long[at] & ~begins
    shut, opens = slots.high(pl.Series(s0)).to_numpy(), slots.low(pl.Series(slot)).to_numpy()
    with np.errstate(all="ignore"):
        slope = (v1 - v0) / (here - there)
        least, most = np.minimum(v1, v0), np.maximum(v1, v0)

        def at_bound(bound: Ints) -> Floats:
            """The value at a bound between two points; never beyond theirs by rounding."""
            shown: Floats = np.minimum(np.maximum(v1 - slope * (here - bound), least), most)
            return shown

        inside = slot == s0  # a long step of which this part, cut at midnight, lies in one slot
        whole = begins | inside
        shut_k, shut_v = np.where(inside, here, shut), np.where(inside, v1, at_bound(shut))
        shut_k, shut_v = np.where(begins, there, shut_k), np.where(begins, v0, shut_v)
        open_k, open_v = np.where(whole, here, opens), np.where(whole, v1, at_bound(opens))
        us = np.append(shut_k[1:], k[-1]) - open_k
        quantity = np.append(shut_v[1:], v[-1]) - open_v
        estimated = np.where(is_long, here - open_k, 0)
        estimated[:-1] += np.where(is_long, shut_k - there, 0)[1:]
        known = us > 0
        main = pl.DataFrame({"slot": slot[known], "quantity": quantity[known], "us": us[known], "estimated": estimated[known]})
    across = np.flatnonzero(~begins & (slot - s0 > 1))
    if not len(across):
        return [main]
    owner, inner = ragged(s0[across] + 1, slot[across])
    of, between = across[owner], pl.Series(inner)
    width = (slots.high(between) - slots.low(between)).to_numpy()
    return [main, pl.DataFrame({"slot": inner, "quantity": slope[of] * width, "us": width, "estimated": np.where(is_long[of], width, 0)})]


def _runs_of_steps(steps: pl.DataFrame, axis: Axis) -> pl.DataFrame:
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
