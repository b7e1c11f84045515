"""What counts of readings -> hours, days, months, years: the last of the rules at the head of monitors/intervals.py, its rule 8."""

from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl

from config.schemas import INTERVAL, QUALITY, WINDOW
from monitors.axis import HOUR_US, Axis, Slots

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
    runs = [_pieces(points["k"], points["v"], points["start"], points["k"].diff(), slots, long)] if points.height else []
    if part.steps.height:
        steps = _runs_of_steps(part.steps, part.axis)
        runs.append(_pieces(steps["k"], steps["v"], steps["start"], steps["length"], slots, long))
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
            pieces = pieces.filter(~several).merge_sorted(summed, key="slot")
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
    key, start, end = part.axis.key_and_instant(low, high)
    return pl.DataFrame({
        "register_key": key, "start": start, "end": end,
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


def _pieces(k: pl.Series, v: pl.Series, start: pl.Series, length: pl.Series, slots: Slots, long: int) -> list[pl.DataFrame]:
    """What each run gives to each slot (slot, quantity, us, estimated). Arithmetic only where the slot changes or a run starts.

    `length` is that of the whole step that ends at each point; one longer than `long` is estimated.
    """
    slot, s0, k0, v0 = pl.col("slot"), pl.col("s0"), pl.col("k0"), pl.col("v0")
    slot_of = slots.of(k)
    is_long = (length > long).fill_null(False)
    at = ((slot_of != slot_of.shift(1)) | start | is_long).fill_null(True).arg_true()
    before = at.cast(pl.Int64).clip(1) - 1  # of the first one, which starts a run, it is not looked at
    edges = pl.DataFrame({
        "k": k.gather(at), "v": v.gather(at), "slot": slot_of.gather(at), "start": start.gather(at),
        "long": is_long.gather(at),
        "k0": k.gather(before), "v0": v.gather(before), "s0": slot_of.gather(before),
    })
    edges = edges.with_columns(
        pl.col("long") & ~pl.col("start"), slope=(_v - v0) / (_k - k0), shut=slots.high(edges["s0"]), open=slots.low(edges["slot"]),
        least=pl.min_horizontal("v", "v0"), most=pl.max_horizontal("v", "v0"),
    )

    def at_bound(bound: str) -> pl.Expr:
        """The value at a bound between two points; never beyond theirs by rounding."""
        return (_v - pl.col("slope") * (_k - pl.col(bound))).clip("least", "most")

    begins, inside = pl.col("start"), slot == s0  # inside: a long step of which this part, cut at midnight, lies in one slot
    edges = edges.with_columns(
        shut_k=pl.when(begins).then(k0).when(inside).then(_k).otherwise("shut"),
        shut_v=pl.when(begins).then(v0).when(inside).then(_v).otherwise(at_bound("shut")),
        open_k=pl.when(begins | inside).then(_k).otherwise("open"), open_v=pl.when(begins | inside).then(_v).otherwise(at_bound("open")),
    )
    main = edges.select(
        "slot",
        quantity=pl.col("shut_v").shift(-1, fill_value=v[-1]) - pl.col("open_v"),
        us=pl.col("shut_k").shift(-1, fill_value=k[-1]) - pl.col("open_k"),
        estimated=pl.when("long").then(_k - pl.col("open_k")).otherwise(0)
        + pl.when("long").then(pl.col("shut_k") - k0).otherwise(0).shift(-1, fill_value=0),
    ).filter(pl.col("us") > 0)
    across = edges.filter(~begins & (slot - s0 > 1))
    if not across.height:
        return [main]
    inner = across.select(slot=pl.int_ranges(s0 + 1, slot), slope="slope", long="long").explode("slot")
    width = slots.high(inner["slot"]) - slots.low(inner["slot"])
    between = inner.select("slot", quantity=pl.col("slope") * width, us=width, estimated=pl.when("long").then(width).otherwise(0))
    return [main, between]


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
