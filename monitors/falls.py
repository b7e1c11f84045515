"""Where a cumulative register falls that should only rise: glitch, jitter, wrap or reset (rule 4 of monitors/intervals.py).

Falls are few, so all of this works on what lies around them; the other readings are only compared with their neighbours, once.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import polars as pl

from monitors.axis import HOUR_US, Rows

NEARBY: Final = 4  # readings in a row that a glitch may always last
LONGEST_GLITCH: Final = timedelta(days=31)  # beyond NEARBY readings, from the last good one before to the first after
FLOOR_HOLDS: Final = timedelta(days=31)  # how long a register that has stepped back a little is taken to stand where it was
SMALL_SHARE: Final = 1e-3  # of its value: a smaller step back is no reset
SHORT_STEP_SHARE: Final = 0.5  # of the climb that one step makes into or out of a glitch of up to NEARBY readings
LONG_STEP_SHARE: Final = 0.9
RATE_ROUNDING: Final = 1e-9  # by how much floating point may carry a consumption over its greatest rate
_MARGIN: Final = 24  # readings around a fall that can matter to the short glitches: each pass sets aside up to NEARBY, and looks one further
_AT_ONCE: Final = 2_000_000  # rows looked at together
_US: Final = timedelta(microseconds=1)
_k, _v = pl.col("k"), pl.col("v")
_fall: Final = pl.col("before") - pl.col("now")


@dataclass(frozen=True, slots=True)
class Judged:
    """What is left of runs of readings, and what their falls are."""

    frame: pl.DataFrame  # as given, without glitches
    starts: pl.Series  # the places at which its runs start; resets not among them
    wraps: pl.DataFrame  # at (place after the fall), a, b (packed), before, now, modulus
    resets: pl.DataFrame  # at, a, b, before, now
    jitter: pl.DataFrame  # at, a, b, before, now
    left: pl.DataFrame  # row, rules: readings set aside


NONE_LEFT: Final = pl.DataFrame(schema={"row": pl.UInt32, "rules": pl.List(pl.String)})
_GONE: Final = pl.Schema({"at": pl.Int64(), "rules": pl.List(pl.String())})
_FALL: Final = ("at", "a", "b", "before", "now")
_is_deep: Final = pl.col("fall") > pl.col("tolerance")


def judge(frame: pl.DataFrame, starts: pl.Series, rows: Rows, turns: pl.Series) -> Judged:
    """Judge the falls of cumulative registers.

    Args:
        frame: k, v, row: one reading for an instant, sorted by k; row is null for declared values.
        starts: the places at which runs start, sorted, the first one 0.
        rows: the register rows.
        turns: packed instants of rollovers that were declared without values, sorted.
    """
    left = NONE_LEFT
    fallen = _falls(frame, starts, rows)
    for stage in (_short_glitches, _long_glitches):
        deep = fallen.filter(_is_deep)
        if not deep.height:
            break
        gone = stage(frame, starts, deep, rows, turns).sort("at")
        if gone.height:
            keep = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True).scatter(gone["at"], False)
            left = pl.concat([left, gone.select(row=frame["row"].gather(gone["at"]), rules="rules").filter(pl.col("row").is_not_null())])
            # A run's first reading is never set aside: a dip has a reading before it, a spike too.
            starts = starts - gone["at"].search_sorted(starts, side="left").cast(pl.Int64)
            frame = frame.filter(keep)
            fallen = _falls(frame, starts, rows)
    deep = fallen.filter(_is_deep)
    wrapped = _is_wrap(deep, rows, turns, surely=False)
    return Judged(
        frame, starts, deep.filter(wrapped).with_columns(modulus=rows.of("modulus", deep["a"].filter(wrapped))).select(*_FALL, "modulus"),
        deep.filter(~wrapped).select(_FALL), fallen.filter(~_is_deep).select(_FALL), left,
    )


def on_floor(judged: Judged, cuts: pl.Series, rows: Rows) -> pl.Series:
    """The values of what is left; after a small step back a register stands where it was until that is passed, or for FLOOR_HOLDS.

    Args:
        judged: the readings that are left.
        cuts: the places at which runs start, resets and wraps among them, sorted.
        rows: the register rows; where one is `net`, its readings stand as they are and are no floor.
    """
    k, v = judged.frame["k"], judged.frame["v"]
    if not judged.jitter.height:
        return v
    run = (cuts.search_sorted(judged.jitter["at"], side="right").cast(pl.Int64) - 1).unique().sort()
    spans = pl.DataFrame({"low": cuts.gather(run), "high": cuts.extend_constant(len(v), 1).gather(run + 1)})
    at = spans.select(pl.int_ranges("low", "high").alias("at")).explode("at")["at"]
    sunk = pl.DataFrame({"at": at, "k": k.gather(at), "v": v.gather(at)}).with_columns(
        begins=at.is_in(spans["low"].implode()),
        may_fall=rows.of("net", k.gather(at)),
    ).with_columns(run=pl.col("begins").cum_sum(), high=pl.when(pl.col("may_fall")).then(float("-inf")).otherwise("v"))
    sunk = sunk.with_columns(top=pl.col("high").cum_max().over("run"))
    risen_at = pl.when(pl.col("high") == pl.col("top")).then(_k).forward_fill()
    sunk = sunk.with_columns(held=_k - risen_at < FLOOR_HOLDS // _US)
    if not sunk["held"].all():
        # Windows must not reach into the run before: its places are moved out of their way.
        away = pl.when("begins").then(FLOOR_HOLDS // _US).otherwise(pl.min_horizontal(_k.diff(), FLOOR_HOLDS // _US)).cum_sum()
        sunk = sunk.with_columns(away=away).with_columns(
            top=pl.col("high").rolling_max_by("away", window_size=f"{FLOOR_HOLDS // _US}i", closed="right"),
        )
    lifted = sunk.filter(~pl.col("may_fall"), _v < pl.col("top"))
    return v.clone().scatter(lifted["at"], lifted["top"])


def _falls(frame: pl.DataFrame, starts: pl.Series, rows: Rows) -> pl.DataFrame:
    """Where a register that is not `net` falls inside a run: at, a, b (packed), before, now, fall, tolerance."""
    k, v = frame["k"], frame["v"]
    at = (v < v.shift(1)).arg_true().cast(pl.Int64)
    if len(at):
        at = at.filter(starts.gather(starts.search_sorted(at, side="right").cast(pl.Int64) - 1) < at)
    return _described(k, v, at, rows)


def _described(k: pl.Series, v: pl.Series, at: pl.Series, rows: Rows) -> pl.DataFrame:
    a = k.gather(at - 1)
    fallen = pl.DataFrame({"at": at, "a": a, "b": k.gather(at), "before": v.gather(at - 1), "now": v.gather(at)})
    fallen = fallen.with_columns(
        fall=_fall, tolerance=pl.max_horizontal(pl.col("before").abs() * SMALL_SHARE, rows.of("resolution", a).fill_null(0.0)),
    )
    return fallen.filter(~rows.of("net", a))


def _is_wrap(fallen: pl.DataFrame, rows: Rows, turns: pl.Series, *, surely: bool) -> pl.Series:
    """Whether falls (a, b, fall) are wraps; surely: those of which it is certain without a look at what comes later."""
    a, b = fallen["a"], fallen["b"]
    declared = turns.search_sorted(b, side="right") > turns.search_sorted(a, side="right")
    modulus, rate = rows.of("modulus", a), rows.of("max_rate_per_h", a)
    forward = modulus - fallen["fall"]
    within = forward * rows.multiplier_of(a) <= rate * (1 + RATE_ROUNDING) * (b - a) / HOUR_US
    allowed = within.fill_null(False) if surely else within.fill_null(forward <= modulus / 2)
    return (modulus.is_not_null() & (declared | allowed)).fill_null(False)


def _short_glitches(frame: pl.DataFrame, starts: pl.Series, deep: pl.DataFrame, rows: Rows, turns: pl.Series) -> pl.DataFrame:
    """The places that glitches of up to NEARBY readings set aside, and the rules: at, rules."""
    del turns
    around = _around(frame, starts, deep.select(low=pl.col("at") - _MARGIN, high=pl.col("at") + _MARGIN + 1))
    gone = []
    for most in range(1, NEARBY + 1):
        fallen = _within(around, rows)
        if not fallen.height:
            break
        around, found = _without(around, fallen, most)
        gone.append(found)
    return pl.concat(gone)


def _long_glitches(frame: pl.DataFrame, starts: pl.Series, deep: pl.DataFrame, rows: Rows, turns: pl.Series) -> pl.DataFrame:
    """The places that longer glitches set aside, and the rules: at, rules."""
    deep = deep.filter(~_is_wrap(deep, rows, turns, surely=True))
    gone = [pl.DataFrame(schema=_GONE)]
    if deep.height:
        far_back, far_on = _far(frame["k"], deep)
        spans = deep.with_columns(far_back=far_back, far_on=far_on).select(
            low=pl.min_horizontal("far_back", pl.col("at") - NEARBY - 2), high=pl.max_horizontal("far_on", pl.col("at") + NEARBY + 1),
        )
        around, most = _around(frame, starts, spans), NEARBY
        while most < around.height or gone[-1].height:  # until nothing changes any more
            most *= 2
            fallen = _within(around, rows)
            fallen = fallen.filter(~_is_wrap(fallen, rows, turns, surely=True))
            if not fallen.height:
                break
            around, found = _without(around, fallen, most)
            gone.append(found)
    return pl.concat(gone)


def _far(k: pl.Series, fallen: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """For falls (a, b) the first place that LONGEST_GLITCH before allows, and the first place beyond what it allows after."""
    longest = LONGEST_GLITCH // _US
    back, on = k.search_sorted(fallen["b"] - longest, side="left"), k.search_sorted(fallen["a"] + longest, side="right")
    return back.cast(pl.Int64), on.cast(pl.Int64)


def _around(frame: pl.DataFrame, starts: pl.Series, spans: pl.DataFrame) -> pl.DataFrame:
    """The readings in some spans of places (low, high): at, k, v, and a number for each stretch of neighbours within a run."""
    spans = spans.select(low=pl.col("low").clip(0, frame.height), high=pl.col("high").clip(0, frame.height)).sort("low")
    apart = (pl.col("low") > pl.col("high").cum_max().shift(1)).fill_null(True)
    spans = spans.with_columns(stretch=apart.cum_sum()).group_by("stretch", maintain_order=True).agg(pl.col("low").min(), pl.col("high").max())
    at = spans.select("stretch", at=pl.int_ranges("low", "high")).explode("at")
    run = starts.search_sorted(at["at"], side="right").cast(pl.Int64)
    begins = (run != run.shift(1)) | (at["stretch"] != at["stretch"].shift(1))
    stretch = begins.fill_null(True).cast(pl.Int64).cum_sum()
    return pl.DataFrame({"at": at["at"], "k": frame["k"].gather(at["at"]), "v": frame["v"].gather(at["at"]), "stretch": stretch})


def _within(around: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    """The falls in those stretches that are no jitter; `at` is the place among them."""
    at = ((around["v"] < around["v"].shift(1)) & (around["stretch"] == around["stretch"].shift(1))).arg_true().cast(pl.Int64)
    return _described(around["k"], around["v"], at, rows).filter(_is_deep)


def _without(around: pl.DataFrame, fallen: pl.DataFrame, most: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One pass: the stretches without glitches of up to `most` readings, and what was set aside (at in the frame, rules)."""
    k, v, stretch = around["k"], around["v"], around["stretch"]
    m, at = pl.col("m"), pl.col("at")
    own = stretch.gather(fallen["at"])
    first, end = stretch.search_sorted(own, side="left").cast(pl.Int64), stretch.search_sorted(own, side="right").cast(pl.Int64)
    far_back, far_on = _far(k, fallen)
    spans = fallen.with_columns(first=first, end=end, far_back=far_back, far_on=far_on)
    ahead = spans.select(
        "at", "before", "now", low=at + 1, high=pl.min_horizontal("end", at + most + 1, pl.max_horizontal("far_on", at + NEARBY + 1)),
    )
    behind = spans.select(
        "at", "before", "now", low=pl.max_horizontal("first", at - 1 - most, pl.min_horizontal("far_back", at - 1 - NEARBY)), high=at - 1,
    )
    returned = _nearest(ahead, v, _v >= pl.col("before"), "first")
    step_in = v.gather(returned["place"]) - v.gather(returned["place"] - 1)
    dips = returned.with_columns(m=pl.col("place") - at, steep=step_in, climb=pl.col("v") - pl.col("now")).filter(_is_steep)
    risen = _nearest(behind, v, _v <= pl.col("now"), "last")
    step_out = v.gather(risen["place"] + 1) - v.gather(risen["place"])
    spikes = risen.with_columns(m=at - 1 - pl.col("place"), steep=step_out, climb=pl.col("before") - pl.col("v")).filter(
        _is_steep & ((m <= NEARBY) | (pl.col("now") != 0)),
    )
    judged = fallen.select("at", "now")
    for name, found in (("dip", dips), ("spike", spikes)):
        judged = judged.join(found.select("at", pl.col("m").alias(name)), on="at", how="left")
    is_dip = pl.col("dip").is_not_null() & (
        pl.col("spike").is_null() | (pl.col("dip") < pl.col("spike")) | ((pl.col("dip") == pl.col("spike")) & (pl.col("now") == 0))
    )
    gone = pl.concat([
        judged.filter(is_dip).select(at=pl.int_ranges("at", at + pl.col("dip")), rules=pl.lit("transient")),
        judged.filter(~is_dip, pl.col("spike").is_not_null()).select(at=pl.int_ranges(at - pl.col("spike"), "at"), rules=pl.lit("spike")),
    ]).explode("at").group_by("at").agg(pl.col("rules").unique().sort()).sort("at")
    if not gone.height:
        return around, pl.DataFrame(schema=_GONE)
    keep = pl.repeat(True, around.height, dtype=pl.Boolean, eager=True).scatter(gone["at"], False)
    return around.filter(keep), gone.with_columns(at=around["at"].gather(gone["at"]))


_is_steep: Final = pl.col("steep") >= pl.col("climb") * pl.when(pl.col("m") <= NEARBY).then(SHORT_STEP_SHARE).otherwise(LONG_STEP_SHARE)


def _nearest(spans: pl.DataFrame, v: pl.Series, fits: pl.Expr, which: Literal["first", "last"]) -> pl.DataFrame:
    """Of each fall (at, before, now) the first or last place in [low, high) whose value fits: at, before, now, place, v."""
    spans = spans.filter(pl.col("low") < pl.col("high"))
    held = (pl.col("high") - pl.col("low")).cum_sum() // _AT_ONCE
    found = []
    for _, some in spans.with_columns(held=held).group_by("held", maintain_order=True):
        places = some.select("at", "before", "now", place=pl.int_ranges("low", "high")).explode("place")
        places = places.with_columns(v=v.gather(places["place"])).filter(fits)
        found.append(places.unique("at", keep=which, maintain_order=True))
    return pl.concat(found) if found else spans.select("at", "before", "now", place="low", v="before")
