"""Where a cumulative register falls that should only rise: glitch, jitter, wrap or reset (rule 4 of monitors/intervals.py).

Falls are few, so all of this works on what lies around them; the other readings are only compared with their neighbours, once.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import polars as pl

from monitors.axis import HOUR_US, Rows

NEARBY: Final = 4  # readings in a row that a glitch may always last
LONGEST_GLITCH: Final = timedelta(days=31)  # from the last good reading before to the first after; NEARBY zeros, or one reading, may last longer
FLOOR_HOLDS: Final = timedelta(days=31)  # how long a register that has stepped back a little is taken to stand where it was
SMALL_SHARE: Final = 1e-3  # of its value: a smaller step back is no reset
TINY_SHARE: Final = 1e-6  # a smaller one is no spike either
SHORT_STEP_SHARE: Final = 0.5  # of the climb that one step makes into or out of a glitch of up to NEARBY readings
LONG_STEP_SHARE: Final = 0.9
LITTLE_SHARE: Final = 0.1  # of the climb: where at most so much was used meanwhile, a glitch is plain
WRAP_AT_MOST: Final = 1 / 2, 1 / 10, 1 / 100  # of the modulus, where no rating tells: ever, without neighbours, whatever they are
WRAP_FASTER: Final = 10.0  # than the steps beside it, at most
LOST_COUNT_FASTER: Final = 100.0  # a step out of zero that is so much faster than what follows is no consumption
RATE_ROUNDING: Final = 1e-9  # by how much floating point may carry a consumption over its greatest rate
_MARGIN: Final = 24  # readings around a fall that can matter to the short glitches: each pass sets aside up to NEARBY, and looks one further
_SOON: Final = 16  # readings after which most registers are back where they had been
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
_is_step: Final = pl.col("fall") > pl.col("tiny")


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
    for stage, worth in ((_short_glitches, _is_step), (_long_glitches, _is_deep), (_zero_spikes, _is_step)):
        looked_at = fallen.filter(worth)
        if not looked_at.height:
            continue
        gone = stage(frame, starts, looked_at, rows, turns).sort("at")
        if gone.height:
            keep = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True).scatter(gone["at"], False)
            left = pl.concat([left, gone.select(row=frame["row"].gather(gone["at"]), rules="rules").filter(pl.col("row").is_not_null())])
            # A run's first reading is never set aside: a dip has a reading before it, a spike too.
            starts = starts - gone["at"].search_sorted(starts, side="left").cast(pl.Int64)
            frame = frame.filter(keep)
            fallen = _falls(frame, starts, rows)
    deep = fallen.filter(_is_deep)
    wrapped = _is_wrap(deep, rows, turns, beside=_rates_beside(frame, starts, deep))
    wraps = deep.filter(wrapped)
    turned = (turns.search_sorted(wraps["b"], side="right") - turns.search_sorted(wraps["a"], side="right")).cast(pl.Int64).clip(1)
    wraps = wraps.with_columns(modulus=rows.of("modulus", wraps["a"]) * turned).select(*_FALL, "modulus")
    resets = deep.filter(~wrapped).select(_FALL)
    cuts = pl.concat([starts, wraps["at"], resets["at"]]).unique().sort()
    resets = pl.concat([resets, _lost_counts(frame, cuts, rows)]).sort("at")
    return Judged(frame, starts, wraps, resets, fallen.filter(~_is_deep).select(_FALL), left)


def _rates_beside(frame: pl.DataFrame, starts: pl.Series, deep: pl.DataFrame) -> pl.Series:
    """The greater of the rates (value per us) of the steps before and after some falls, of those that rise; null without any."""
    k, v, at = frame["k"], frame["v"], deep["at"]
    ends = starts.extend_constant(frame.height, 1)
    run = starts.search_sorted(at, side="right").cast(pl.Int64)
    rates: list[pl.Series] = []
    for later, inside in ((at - 1, at - 1 > starts.gather(run - 1)), (at + 1, at + 1 < ends.gather(run))):
        place = later.clip(1, max(1, frame.height - 1)).clip(0, frame.height - 1)
        rise = v.gather(place) - v.gather(place - 1) if frame.height > 1 else v.gather(place)
        rates.append((rise / (k.gather(place) - k.gather(place - 1))).set(~inside | (rise < 0), None).alias(str(len(rates))))
    return pl.DataFrame(rates).select(pl.max_horizontal(pl.all())).to_series()


def _lost_counts(frame: pl.DataFrame, cuts: pl.Series, rows: Rows) -> pl.DataFrame:
    """Steps out of zero that end a lost count (_FALL): much faster than the four readings that follow, and than the rating."""
    k, v = frame["k"], frame["v"]
    at = ((v.shift(1) == 0) & (v > 0)).fill_null(False).arg_true().cast(pl.Int64)
    stretch = cuts.search_sorted(at, side="right").cast(pl.Int64)
    whole = (at > cuts.gather(stretch - 1)) & (at + NEARBY < cuts.extend_constant(frame.height, 1).gather(stretch))
    at = at.filter(whole)
    a, b, later = k.gather(at - 1), k.gather(at), k.gather(at + NEARBY)
    steps = pl.DataFrame({
        "at": at, "a": a, "b": b, "before": v.gather(at - 1), "now": v.gather(at), "grown": v.gather(at + NEARBY) - v.gather(at), "us": later - b,
        "rating": rows.of("max_rate_per_h", a) * ((1 + RATE_ROUNDING) / HOUR_US), "multiplier": rows.multiplier_of(a), "net": rows.of("net", a),
    })
    fast = pl.col("now") / (pl.col("b") - pl.col("a"))
    return steps.filter(
        ~pl.col("net"), pl.col("grown") > 0, fast > LOST_COUNT_FASTER * pl.col("grown") / pl.col("us"),
        (fast * pl.col("multiplier") > pl.col("rating")).fill_null(True),
    ).select(_FALL)


def on_floor(judged: Judged, cuts: pl.Series, rows: Rows) -> pl.Series:
    """The values of what is left; after a small step back a register stands where it was until that is passed, or for FLOOR_HOLDS.

    Args:
        judged: the readings that are left.
        cuts: the places at which runs start, resets and wraps among them, sorted.
        rows: the register rows; where one is `net`, its readings stand as they are and are no floor.
    """
    k, v, jitter = judged.frame["k"], judged.frame["v"], judged.jitter
    if not jitter.height:
        return v
    run = cuts.search_sorted(jitter["at"], side="right").cast(pl.Int64) - 1
    if not rows.frame["net"].any():
        v, is_back = _lifted_nearby(k, v, jitter.with_columns(end=cuts.extend_constant(len(v), 1).gather(run + 1)))
        run = run.filter(~is_back)  # these are worked on whole
        if not len(run):
            return v
    run = run.unique().sort()
    spans = pl.DataFrame({"low": cuts.gather(run), "high": cuts.extend_constant(len(v), 1).gather(run + 1)})
    at = spans.select(pl.int_ranges("low", "high").alias("at")).explode("at")["at"]
    sunk = pl.DataFrame({"at": at, "k": k.gather(at), "v": judged.frame["v"].gather(at)}).with_columns(
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


def _lifted_nearby(k: pl.Series, v: pl.Series, jitter: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """The values, lifted after small steps back until the register is back, and of each whether that is within _SOON readings."""
    seen = jitter.with_row_index("fall").select("fall", "a", "before", place=pl.int_ranges("at", pl.min_horizontal("end", pl.col("at") + _SOON)))
    seen = seen.explode("place")
    back = (v.gather(seen["place"]) >= seen["before"]) | (k.gather(seen["place"]) - seen["a"] >= FLOOR_HOLDS // _US)
    seen = seen.with_columns(back=back).with_columns(back=pl.col("back").cum_max().over("fall"))
    floors = seen.filter(~pl.col("back")).group_by("place").agg(pl.col("before").max()).sort("place")
    is_back = seen.group_by("fall", maintain_order=True).agg(pl.col("back").last())["back"] | (jitter["at"] + _SOON >= jitter["end"])
    return v.clone().scatter(floors["place"], floors["before"]), is_back


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
    resolution, size = rows.of("resolution", a).fill_null(0.0), pl.col("before").abs()
    fallen = fallen.with_columns(
        fall=_fall, tolerance=pl.max_horizontal(size * SMALL_SHARE, resolution), tiny=pl.max_horizontal(size * TINY_SHARE, resolution),
    )
    return fallen.filter(~rows.of("net", a))


def _is_wrap(fallen: pl.DataFrame, rows: Rows, turns: pl.Series, *, beside: pl.Series | None = None) -> pl.Series:
    """Whether falls (a, b, fall) are wraps; without the rates beside them, whether they surely are."""
    a, b = fallen["a"], fallen["b"]
    declared = turns.search_sorted(b, side="right") > turns.search_sorted(a, side="right")
    modulus, rate = rows.of("modulus", a), rows.of("max_rate_per_h", a)
    forward = modulus - fallen["fall"]
    allowed = forward * rows.multiplier_of(a) <= rate * (1 + RATE_ROUNDING) * (b - a) / HOUR_US
    if beside is not None:
        ever, alone, always = WRAP_AT_MOST
        like = (forward <= WRAP_FASTER * beside * (b - a)).fill_null(forward <= modulus * alone)
        allowed = allowed.fill_null((forward <= modulus * ever) & ((forward <= modulus * always) | like))
    return (modulus.is_not_null() & (forward >= 0) & (declared | allowed.fill_null(False))).fill_null(False)


def _short_glitches(frame: pl.DataFrame, starts: pl.Series, fallen: pl.DataFrame, rows: Rows, turns: pl.Series) -> pl.DataFrame:
    """The places that glitches of up to NEARBY readings set aside, and the rules: at, rules."""
    del turns
    around = _around(frame, starts, fallen.select(low=pl.col("at") - _MARGIN, high=pl.col("at") + _MARGIN + 1))
    gone = []
    for most in range(1, NEARBY + 1):
        around, found = _passed(around, rows, most)
        gone.append(found)
        if not _places_of_falls(around).len():
            break
    return pl.concat(gone)


def _long_glitches(frame: pl.DataFrame, starts: pl.Series, fallen: pl.DataFrame, rows: Rows, turns: pl.Series) -> pl.DataFrame:
    """The places that longer glitches set aside, and the rules: at, rules."""
    fallen = fallen.filter(~_is_wrap(fallen, rows, turns))
    gone = [pl.DataFrame(schema=_GONE)]
    if fallen.height:
        far_back, far_on = _far(frame["k"], fallen)
        spans = fallen.with_columns(far_back=far_back, far_on=far_on).select(
            low=pl.min_horizontal("far_back", pl.col("at") - NEARBY - 2), high=pl.max_horizontal("far_on", pl.col("at") + NEARBY + 1),
        )
        around, most = _around(frame, starts, spans), NEARBY
        while _is_left(around, rows, turns):
            most *= 2
            around, found = _passed(around, rows, most, turns)
            gone.append(found)
    return pl.concat(gone)


def _is_left(around: pl.DataFrame, rows: Rows, turns: pl.Series) -> bool:
    """Whether any fall is the end or the beginning of a glitch, however many readings it has."""
    fallen = _within(around, rows).filter(_is_deep)
    fallen = fallen.filter(~_is_wrap(fallen, rows, turns))
    return fallen.height > 0 and _glitches(around, fallen, around.height, only_transients=False, from_zero=False).height > 0


def _zero_spikes(frame: pl.DataFrame, starts: pl.Series, fallen: pl.DataFrame, rows: Rows, turns: pl.Series) -> pl.DataFrame:
    """What a last pass sets aside, in which a spike may also be one out of zero and back to zero: at, rules."""
    del turns
    around = _around(frame, starts, fallen.select(low=pl.col("at") - _MARGIN, high=pl.col("at") + _MARGIN + 1))
    return _passed(around, rows, NEARBY, from_zero=True)[1]


def _passed(
    around: pl.DataFrame, rows: Rows, most: int, turns: pl.Series | None = None, *, from_zero: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One pass: the stretches without glitches of up to `most` readings, and what was set aside (at in the frame, rules).

    Falls to exactly zero are judged first, as transients: a false zero is no ground on which another reading would be a spike.
    """
    gone = [pl.DataFrame(schema=_GONE)]
    for only_zeros in (True, False):
        fallen = _within(around, rows).filter(_is_step if most <= NEARBY else _is_deep)
        if turns is not None:
            fallen = fallen.filter(~_is_wrap(fallen, rows, turns))
        if only_zeros:
            fallen = fallen.filter(_is_deep, pl.col("now") == 0)
        if fallen.height:
            found = _glitches(around, fallen, most, only_transients=only_zeros, from_zero=from_zero)
            if found.height:
                keep = pl.repeat(True, around.height, dtype=pl.Boolean, eager=True).scatter(found["at"], False)
                gone.append(found.with_columns(at=around["at"].gather(found["at"])))
                around = around.filter(keep)
    return around, pl.concat(gone)


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
    """The falls in those stretches; `at` is the place among them."""
    return _described(around["k"], around["v"], _places_of_falls(around), rows)


def _places_of_falls(around: pl.DataFrame) -> pl.Series:
    return ((around["v"] < around["v"].shift(1)) & (around["stretch"] == around["stretch"].shift(1))).arg_true().cast(pl.Int64)


def _glitches(around: pl.DataFrame, fallen: pl.DataFrame, most: int, *, only_transients: bool, from_zero: bool) -> pl.DataFrame:
    """The places among the stretches that glitches of up to `most` readings set aside, sorted, and the rules: at, rules."""
    k, v, stretch = around["k"], around["v"], around["stretch"]
    m, at = pl.col("m"), pl.col("at")
    own = stretch.gather(fallen["at"])
    first, end = stretch.search_sorted(own, side="left").cast(pl.Int64), stretch.search_sorted(own, side="right").cast(pl.Int64)
    far_back, far_on = _far(k, fallen)
    to_zero = pl.col("now") == 0  # of which NEARBY may last for any time
    timeless = pl.when(to_zero).then(NEARBY).otherwise(1)
    spans = fallen.with_columns(first=first, end=end, far_back=far_back, far_on=far_on)
    in_time = pl.col("place").is_between("far_back", pl.col("far_on") - 1) | to_zero
    little = {"after": pl.col("v") - pl.col("before"), "before": pl.col("now") - pl.col("v")}  # used across a dip, a spike
    is_near = {side: in_time | (used <= LITTLE_SHARE * pl.col("climb")) for side, used in little.items()}
    ahead = spans.filter(_is_deep).with_columns(
        low=at + 1, high=pl.min_horizontal("end", at + most + 1, pl.max_horizontal("far_on", at + timeless + 1)),
        bound=pl.col("before") - pl.col("tolerance"),
    )
    returned = _nearest(ahead, v, _v >= pl.col("bound"), "first")
    step_in = v.gather(returned["place"]) - v.gather(returned["place"] - 1)
    back = pl.max_horizontal(pl.col("v") - pl.col("now"), "fall")
    dips = returned.with_columns(m=pl.col("place") - at, steep=step_in, climb=back).filter(_is_steep, is_near["after"])
    if only_transients:
        return dips.select(at=pl.int_ranges("at", at + m), rules=pl.lit("transient")).explode("at").unique("at").select(
            "at", rules=pl.concat_list("rules"),
        ).sort("at")
    behind = spans.with_columns(
        low=pl.max_horizontal("first", at - 1 - most, pl.min_horizontal("far_back", at - 1 - timeless)), high=at - 1,
        bound=pl.col("now") + pl.when(_is_deep).then("tolerance").otherwise("tiny"),
    )
    risen = _nearest(behind, v, _v <= pl.col("bound"), "last")
    again = pl.any_horizontal(  # what is climbed again so soon was no spike
        ((at + n < pl.col("end")) & (pl.Series(v.gather((risen["at"] + n).clip(0, len(v) - 1))) >= pl.col("before"))) for n in range(1, NEARBY + 1)
    )
    step_out = v.gather(risen["place"] + 1) - v.gather(risen["place"])
    spikes = risen.with_columns(
        m=at - 1 - pl.col("place"), steep=step_out, climb=pl.max_horizontal(pl.col("before") - pl.col("v"), "fall"),
    ).filter(
        _is_steep & ((m <= NEARBY) | ~to_zero) & (_is_deep | (pl.col("fall") >= LONG_STEP_SHARE * pl.col("climb"))),
        pl.lit(from_zero) | (_v != 0), _is_deep | ~again, is_near["before"],
    )
    judged = spans
    for name, found in (("dip", dips), ("spike", spikes)):
        judged = judged.join(found.select("at", pl.col("m").alias(name)), on="at", how="left")
    is_dip = pl.col("dip").is_not_null() & (
        pl.col("spike").is_null() | (pl.col("dip") < pl.col("spike")) | ((pl.col("dip") == pl.col("spike")) & to_zero)
    )
    neither = judged.filter(_is_deep, pl.col("dip").is_null(), pl.col("spike").is_null())
    gone = pl.concat([
        judged.filter(is_dip).select(at=pl.int_ranges("at", at + pl.col("dip")), rules=pl.lit("transient")),
        judged.filter(~is_dip, pl.col("spike").is_not_null()).select(at=pl.int_ranges(at - pl.col("spike"), "at"), rules=pl.lit("spike")),
        *(_both(neither, k, v, most) if 1 < most <= NEARBY else []),
    ]).explode("at")
    return gone.group_by("at").agg(pl.col("rules").unique().sort()).sort("at")


def _both(fallen: pl.DataFrame, k: pl.Series, v: pl.Series, most: int) -> list[pl.DataFrame]:
    """A spike and a dip side by side, together of up to `most` readings: ranges of places (at) and their rules."""
    at, tolerance, last = fallen["at"], pl.col("tolerance"), len(v) - 1
    values = {f"v{away}": v.gather((at + away).clip(0, last)) for away in range(-NEARBY, NEARBY)}
    instants = {f"k{away}": k.gather((at + away).clip(0, last)) for away in range(-NEARBY, NEARBY)}
    seen = fallen.with_columns(**values, **instants)
    shapes = sorted(((a, b) for a in range(1, most) for b in range(1, most) if a + b <= most), key=lambda shape: (sum(shape), shape[0]))
    fits = []
    for a, b in shapes:
        base, back = pl.col(f"v{-a - 1}"), pl.col(f"v{b}")
        above = pl.min_horizontal(pl.col(f"v{-n}") for n in range(1, a + 1)) > back + tolerance
        below = pl.max_horizontal(pl.col(f"v{n}") for n in range(b)) < base - tolerance
        within = (pl.col("at") - a - 1 >= pl.col("first")) & (pl.col("at") + b < pl.col("end"))
        near = pl.col(f"k{b}") - pl.col(f"k{-a - 1}") <= LONGEST_GLITCH // _US
        rise, dive = pl.col("before") - base, back - pl.col("now")
        steep = (pl.col(f"v{-a}") - base >= LONG_STEP_SHARE * rise) & (back - pl.col(f"v{b - 1}") >= LONG_STEP_SHARE * dive)
        little = back - base <= LITTLE_SHARE * pl.min_horizontal(rise, dive)
        fits.append(within & near & (base <= back + tolerance) & above & below & steep & little)
    left, right = (pl.coalesce(pl.when(fit).then(pl.lit(shape[side])) for shape, fit in zip(shapes, fits, strict=True)) for side in (0, 1))
    sides = seen.select("at", a=left.cast(pl.Int64), b=right.cast(pl.Int64)).filter(pl.col("a").is_not_null())
    return [
        sides.select(at=pl.int_ranges(pl.col("at") - pl.col("a"), "at"), rules=pl.lit("spike")),
        sides.select(at=pl.int_ranges("at", pl.col("at") + pl.col("b")), rules=pl.lit("transient")),
    ]


_is_steep: Final = pl.col("steep") >= pl.col("climb") * pl.when(pl.col("m") <= NEARBY).then(SHORT_STEP_SHARE).otherwise(LONG_STEP_SHARE)


def _nearest(spans: pl.DataFrame, v: pl.Series, fits: pl.Expr, which: Literal["first", "last"]) -> pl.DataFrame:
    """Of each fall the first or last place in [low, high) whose value fits (by `bound`), and that value: place, v."""
    spans = spans.filter(pl.col("low") < pl.col("high"))
    held = (pl.col("high") - pl.col("low")).cum_sum() // _AT_ONCE
    found = []
    for _, some in spans.with_columns(held=held).group_by("held", maintain_order=True):
        places = some.select("at", "bound", place=pl.int_ranges("low", "high")).explode("place")
        places = places.with_columns(v=v.gather(places["place"])).filter(fits)
        found.append(places.unique("at", keep=which, maintain_order=True).select("at", "place", "v"))
    nearest = pl.concat(found) if found else pl.DataFrame(schema={"at": pl.Int64, "place": pl.Int64, "v": pl.Float64})
    return spans.join(nearest, on="at", maintain_order="left")
