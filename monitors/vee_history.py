"""The days of registers as one row each, by which later days are judged."""

from datetime import timedelta
from typing import Final

import polars as pl

from config.schemas import HISTORY, INSTANT, conform
from monitors.axis import HOUR_US
from monitors.intervals import USUAL_TOLERANCE
from monitors.vee_rules import CUMULATIVE, LOOK_BACK, Asked

_PAST: Final = ("past_days", "past_least", "past_greatest", "past_usual", "past_changed_us", "past_unchanged", "copied")
_NOT_OF_CUMULATIVE: Final = ("past_least", "past_usual")  # nothing is asked of them for cumulative registers
_PROFILE_STEP: Final = 1e-6  # steps of a register without resolution are compared to this
_v, _at, _kind = pl.col("v"), pl.col("at"), pl.col("kind")
_PRIME: Final = 2**31 - 1


def history_of(asked: Asked, of_day: pl.DataFrame) -> pl.DataFrame:
    """HISTORY of the days that are asked for."""
    part, cumulative, counted, size = asked.frame, _kind == CUMULATIVE, pl.col("counted"), pl.col("per_h").abs()
    start = of_day["start"].gather(part["group"])
    inside = counted & (~cumulative | ((pl.col("prev_at") >= start) & pl.col("step").is_not_null())).fill_null(value=False)
    own = asked.own("resolution")
    resolution = pl.lit(_PROFILE_STEP) if own is None else own.fill_null(_PROFILE_STEP)
    in_steps = (pl.when(cumulative).then("step").otherwise("v") / resolution).round().cast(pl.Int64, strict=False).fill_null(0)
    minute = (_at - start) // 60_000_000
    mixed = [((in_steps % _PRIME) * first + minute * second) % _PRIME for first, second in ((48_271, 69_621), (16_807, 39_373))]
    used = counted & (size > 0)
    rows = asked.table().select(
        "group", "counted", inside=inside, used=pl.when(used).then(size), great=pl.when(used & ~_caught_up(part)).then(size),
        change=pl.when(inside & (in_steps != 0)).then(in_steps), moved_place=pl.when("moved").then(pl.int_range(pl.len(), dtype=pl.UInt32)),
        **{f"mark_{nth}": pl.when(inside).then(one * one % _PRIME) for nth, one in enumerate(mixed)},
    )
    used, change = pl.col("used"), pl.col("change")
    days = rows.group_by("group", maintain_order=True).agg(
        steps=pl.col("inside").sum(), readings=pl.col("counted").sum(), least_per_h=used.min(), usual_per_h=used.median(),
        greatest_per_h=pl.col("great").max(),
        moved_place=pl.col("moved_place").max(), different=change.n_unique() - (change.null_count() > 0).cast(pl.UInt32),
        profile=pl.col("mark_0").sum() * 2**20 + pl.col("mark_1").sum() % 2**20,
    ).hstack(of_day.drop("group"))
    nth = part["counted"].cast(pl.UInt32).cum_sum() - part["counted"]  # counted ones before each
    before_change = (nth.gather(days["moved_place"]) - nth.gather(days["begin"])).fill_null(0)
    return conform(days.with_columns(
        start=pl.col("start").cast(INSTANT), changed=pl.col("moved_place").is_not_null(),
        changed_at=part["at"].gather(days["moved_place"]).cast(INSTANT), unchanged=pl.col("readings") - before_change,
        profile=pl.when(pl.col("steps") > 0).then("profile"),
    ).filter("asked", pl.col("readings") > 0), HISTORY)


def _caught_up(part: pl.DataFrame) -> pl.Series:
    """Whether what a cumulative register shows was caught up for after a gap, longer than is usual on its day."""
    long = part.select(((_kind == CUMULATIVE) & (pl.col("since") > HOUR_US)).fill_null(value=False)).to_series()
    if not long.any():
        return long
    days = part["group"].filter(long).unique()
    rows = part.select("group", "since", "counted").filter(pl.col("group").is_in(days.implode()), pl.col("counted"))
    usual = rows.group_by("group").agg(usual=USUAL_TOLERANCE * pl.col("since").median())
    at = long.arg_true()
    those = part.select(pl.col("group", "since").gather(at)).join(usual, on="group", how="left", maintain_order="left")
    return long.scatter(at, (those["since"] > those["usual"]).fill_null(value=False))


def with_past(of_day: pl.DataFrame, history: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """The days with what the LOOK_BACK days before say of each."""
    on = ["register_key", "day"]
    wanted = history.select(*on, "profile", "steps", "different")
    earlier = pl.concat([before.join(wanted, on=on, how="anti"), history]).drop("start").rename({"day": "of"})
    if wanted["day"].n_unique() == 1:
        beside = earlier.join(wanted, on="register_key", suffix="_day")
    else:
        ahead = pl.concat_list(pl.col("of") + timedelta(days=ahead) for ahead in range(1, LOOK_BACK + 1))
        beside = earlier.with_columns(day=ahead).explode("day").join(wanted, on=on, suffix="_day")
    beside = beside.filter((pl.col("day") - pl.col("of")).is_between(timedelta(days=1), timedelta(days=LOOK_BACK)))
    last = pl.col("of").filter("changed").max()
    same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_day") for name in ("profile", "steps", "different"))
    past = beside.group_by(on).agg(
        past_days=pl.len(), past_least=pl.col("least_per_h").min(), past_greatest=pl.col("greatest_per_h").max(),
        past_usual=pl.col("usual_per_h").median(),
        past_changed_us=pl.col("changed_at").max().to_physical(), past_unchanged=pl.col("unchanged").filter(pl.col("of") >= last).sum(),
        copied=same.any(),
    )
    own = wanted.rename({name: f"day_{name}" for name in ("profile", "steps", "different")})
    return of_day.join(own, on=on, how="left", maintain_order="left").join(past, on=on, how="left", maintain_order="left")


def looking_back(was: pl.DataFrame, now: pl.DataFrame, others: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    """The later days whose verdicts may be others since some days before them are.

    Args:
        was: HISTORY of the days that were judged again, as it was.
        now: HISTORY of the same days, as it is.
        others: HISTORY of the days around.
        registers: REGISTER.

    Returns:
        register_key, day.
    """
    on = ["register_key", "day"]
    changed = pl.concat([one.join(other, on=one.columns, how="anti", nulls_equal=True) for one, other in ((was, now), (now, was))])
    ahead = pl.concat_list(pl.col("day") + timedelta(days=ahead) for ahead in range(1, LOOK_BACK + 1))
    later = others.join(changed.select("register_key", day=ahead).explode("day").unique(), on=on, how="semi")
    if later.is_empty():
        return later.select(on)
    before, after = (with_past(later.select(on), later, pl.concat([others, one])) for one in (was, now))
    last = registers.sort("register_key", "valid_from", nulls_last=False).unique("register_key", keep="last", maintain_order=True)
    cumulative = later["register_key"].is_in(last.filter(pl.col("kind") == "cumulative")["register_key"].implode())
    differs = {name: before[name].ne_missing(after[name]) for name in _PAST}
    asked = [one & ~cumulative if name in _NOT_OF_CUMULATIVE else one for name, one in differs.items()]
    return later.select(on).filter(pl.DataFrame([one.alias(str(n)) for n, one in enumerate(asked)]).select(pl.any_horizontal(pl.all())).to_series())


def unchanged(part: pl.DataFrame, of_day: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """still: the reading shows what the one before showed, where that may be a fault; changed_us, unchanged: since when, and for how many."""
    still = part.select(pl.col("counted") & ~pl.col("moved") & ((_kind == CUMULATIVE) | (_v != 0))).to_series().alias("still")
    at = still.arg_true()
    if not len(at):
        return [still, pl.lit(None, pl.Int64()).alias("changed_us"), pl.lit(None, pl.Int64()).alias("unchanged")]
    last = part.select(pl.when("moved").then(pl.int_range(pl.len(), dtype=pl.UInt32)).forward_fill()).to_series().gather(at)
    nth, group = part["counted"].cast(pl.Int64).cum_sum(), part["group"].gather(at)
    first_nth = nth.gather(of_day["begin"]) - part["counted"].gather(of_day["begin"]).cast(pl.Int64)
    seen = pl.DataFrame({
        "inside": part["group"].gather(last) == group, "moved_at": part["at"].gather(last), "nth": nth.gather(at), "moved_nth": nth.gather(last),
        "first_nth": first_nth.gather(group), "past_at": of_day["past_changed_us"].gather(group),
        "past_unchanged": of_day["past_unchanged"].gather(group),
    })
    count_inside, count_all = pl.col("nth") - pl.col("moved_nth") + 1, pl.col("nth") - pl.col("first_nth") + pl.col("past_unchanged")
    seen = seen.select(
        changed_us=pl.when("inside").then("moved_at").otherwise("past_at"),
        unchanged=pl.when("inside").then(count_inside).otherwise(count_all),
    )
    nothing = pl.repeat(None, part.height, dtype=pl.Int64, eager=True)
    return [still, *(nothing.scatter(at, seen[name].cast(pl.Int64)).alias(name) for name in ("changed_us", "unchanged"))]
