"""Consumption of time in which nothing is measured: four methods, and how far each errs on the register's own history.

What is estimated is never what is measured: of a window only the uncovered part of each hour, and where a cumulative register
has caught up across a gap, only how its measured total falls into the hours. A part of a window that is estimated by itself is a
span. The formulas, with an example by hand, stand in decision 0018.

- `linear`: between the rates of the nearest measured hours before and after the span, at most a day away; the rate of one side
  where the other has none. The only method that looks beyond the span.
- `like_days`: for each hour the mean of the same local hour on the like days of the LIKE_DAYS days before the day in which the span
  begins; at least FEWEST_LIKE_DAYS of them. Alike are working days, Saturdays, and Sundays with holidays; a Saturday or Sunday that
  a notice makes a working day is one.
- `linked`: what a linked register measured in the same hours, times the ratio of the two sums over the hours of the LIKE_DAYS
  days before the span that both measured; at least FEWEST_COMMON_HOURS of them.
- `manual`: a value that a person gives, spread evenly.
- `auto`: of linear, like_days and linked the one with the smallest mean absolute error over the back-tests that all of them
  could do; without any, the first of these that has something to go by.

Back-test: the span is moved back by 1, 2, ... TESTED_DAYS local days, to the same time of day, as far as it ends before the span
begins; where all its hours are measured, the method estimates them from what it would have had, and the error is truth less
estimate. If at least FEWEST_TESTS of these begin on a like day, only those count. Of n errors in order, the interval is bounded by
those at rank floor((n + 1) / 40) from either end: a further error of the same kind lies between them with 95 %. With fewer than
FEWEST_TESTS there is no such rank and no interval. The interval includes the estimate, and it and the estimate are not below
zero for a register that never was (one that is not net never is).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, cast, get_args

import polars as pl

from config import calendar
from config.schemas import ESTIMATE, HOLIDAY, INSTANT, INTERVAL, QUALITY, WINDOW, conform
from monitors.axis import grain_bounds
from monitors.numbers import whole_sum

Method = Literal["auto", "linear", "like_days", "linked", "manual"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
AUTOMATIC: Final = ("linear", "like_days", "linked")  # in the order in which they are taken where no back-test decides
LIKE_DAYS: Final = 28
FEWEST_LIKE_DAYS: Final = 3
FEWEST_COMMON_HOURS: Final = 24
TESTED_DAYS: Final = 366
FEWEST_TESTS: Final = 39  # the least number whose outermost errors bound 95 %: 2 of n + 1 places lie outside
TESTED_AT_ONCE: Final = 4_000_000  # hours of hidden windows worked on at once: bounds the memory

WINDOW_GIVEN: Final = pl.Schema({  # WINDOW with what a person gives for it, else null
    **WINDOW, "quantity": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(), "reason": pl.String(),
})
LINK: Final = pl.Schema({"register_key": pl.UInt32(), "linked_key": pl.UInt32(), "linked": pl.String()})  # and the linked one's name, for the reason

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_EPSILON: Final = 1e-9  # by how much floating point may blur a share
_SAME_RATE: Final = 1e-6  # hours of one catch-up have one rate, but for rounding
_FACTS: Final = {  # what the reason of an estimate tells, by method
    "rate_before": pl.Float64(), "rate_after": pl.Float64(), "like_days_used": pl.Int64(), "ratio": pl.Float64(), "common_hours": pl.Int64(),
    "fit": pl.Float64(), "linked_name": pl.String(),
}
_NOTHING: Final[dict[Method, tuple[str, str]]] = {
    "auto": ("no method has anything to go by", "没有可用的估算方法"),
    "linear": ("nothing is measured within a day on either side", "前后一天内均无测量值"),
    "like_days": (
        f"an hour has fewer than {FEWEST_LIKE_DAYS} like days within {LIKE_DAYS} days before", f"前 {LIKE_DAYS} 天内同类日少于 {FEWEST_LIKE_DAYS} 个",
    ),
    "linked": ("no linked register measured these hours, or too few common hours before", "无关联表计的测量值，或此前共同小时过少"),
    "manual": ("no value is given", "未给定数值"),
}
_at, _back = pl.col("at"), pl.col("back")


@dataclass(frozen=True, slots=True)
class Estimates:
    """What was estimated, by span and by hour."""

    spans: pl.DataFrame  # ESTIMATE, by register_key and start
    hours: pl.DataFrame  # INTERVAL: of each hour the estimated part; covered_ratio is its share of the hour. They add up to the spans


def gaps(intervals: pl.DataFrame) -> pl.DataFrame:
    """WINDOW: between the first and the last hour of each register, the runs of hours that are missing or not covered whole.

    The first and the last hour of which anything is known are where the readings begin and end: what lacks of these is no gap.

    Args:
        intervals: INTERVAL by hour.
    """
    key = pl.col("register_key")
    rows = intervals.filter(pl.col("covered_ratio") > 0).sort("register_key", "start").with_columns(
        before=pl.col("end").shift(1).over(key), after=pl.col("start").shift(-1).over(key),
    )
    holes = pl.concat([
        rows.filter(pl.col("start") > pl.col("before")).select(key, start="before", end="start"),
        rows.filter(pl.col("covered_ratio") < 1 - _EPSILON, pl.col("before", "after").is_not_null()).select("register_key", "start", "end"),
    ]).sort("register_key", "start")
    begins = (pl.col("start") != pl.col("end").shift(1)) | (key != key.shift(1))
    runs = holes.with_columns(run=begins.fill_null(value=True).cum_sum())
    return conform(runs.group_by("run", maintain_order=True).agg(key.first(), pl.col("start").min(), pl.col("end").max()), WINDOW)


def estimated(
    intervals: pl.DataFrame, windows: pl.DataFrame, *, zone: str, method: Method = "auto", links: pl.DataFrame | None = None,
    holidays: pl.DataFrame | None = None,
) -> Estimates:
    """Estimate what is not measured in some windows, by the rules at the head of this module.

    Args:
        intervals: INTERVAL by local hour: the windows' own hours and the history before them, of linked registers too.
        windows: WINDOW_GIVEN or WINDOW, not overlapping. One with a quantity is `manual` whatever the method.
        zone: the place whose hours and days are meant.
        method: how, where no quantity is given.
        links: LINK, at most one row for a register; needed for `linked`.
        holidays: HOLIDAY; without it weekdays decide alone.

    Returns:
        A row for each span; quantity null where the method has nothing to go by, with the reason. Time that is measured gives none.

    >>> from datetime import UTC, datetime, timedelta
    >>> start = datetime(2025, 6, 2, tzinfo=UTC)
    >>> hours = [(1, start + timedelta(hours=h), start + timedelta(hours=h + 1), q, "measured", 1.0, 0.0) for h, q in ((0, 10.0), (4, 50.0))]
    >>> history = pl.DataFrame(hours, schema=INTERVAL, orient="row")
    >>> done = estimated(history, gaps(history), zone="Asia/Shanghai", method="linear")
    >>> done.hours["quantity"].to_list(), done.spans["quantity"].to_list()
    ([20.0, 30.0, 40.0], [90.0])
    """
    links = conform(links if links is not None else pl.DataFrame(schema=LINK), LINK)
    pieces = _pieces(intervals, conform(windows, WINDOW_GIVEN), zone)
    involved = pl.concat([pieces["register_key"], links["linked_key"]]).unique()
    rows = intervals.filter(pl.col("register_key").is_in(involved.implode()))
    whole = pl.col("covered_ratio").ge(1 - _EPSILON) & pl.col("estimated_ratio").le(_EPSILON) & (pl.col("quality") == "measured")
    history = rows.filter(whole, pl.col("end") - pl.col("start") == _HOUR).select(
        "register_key", at=_local_hour("start", zone), q="quantity",
    ).unique(["register_key", "at"], keep="none").sort("register_key", "at")  # an hour that a clock shows twice is no one's like
    net = history.filter(pl.col("q") < 0)["register_key"].unique()
    pieces = pieces.with_columns(net=pl.col("register_key").is_in(net.implode()))
    off = conform(holidays if holidays is not None else pl.DataFrame(schema=HOLIDAY), HOLIDAY)
    done = [_estimated(part, history, method, links, off) for part in _batches(pieces)]
    if not done:
        return Estimates(pl.DataFrame(schema=ESTIMATE), pl.DataFrame(schema=INTERVAL))
    spans, hours = (pl.concat(tables) for tables in zip(*done, strict=True))
    return Estimates(
        conform(spans.sort("register_key", "start"), ESTIMATE), conform(hours.sort("register_key", "start"), INTERVAL),
    )


def completed(intervals: pl.DataFrame, estimates: Estimates) -> pl.DataFrame:
    """INTERVAL: the hours with their estimated parts added, and what was spread over a catch-up replaced by its estimate.

    Args:
        intervals: INTERVAL by hour, as given to `estimated`.
        estimates: what that gave.
    """
    on = ["register_key", "start"]
    both = intervals.join(estimates.hours.filter(pl.col("quantity").is_not_null()), on=on, how="full", suffix="_new", coalesce=True)
    had, new = pl.col("covered_ratio").fill_null(0.0), pl.col("covered_ratio_new").fill_null(0.0)
    caught_up = had + new > 1 + _EPSILON  # then the estimate only says how the hour's own consumption falls
    kept = pl.when(caught_up).then(0.0).otherwise(had)
    rows = both.with_columns(
        end=pl.coalesce("end", "end_new"),
        quantity=pl.when(caught_up).then(0.0).otherwise(pl.col("quantity").fill_null(0.0)) + pl.col("quantity_new").fill_null(0.0),
        covered_ratio=kept + new,
        estimated_ratio=pl.when(kept + new > 0).then((kept * pl.col("estimated_ratio").fill_null(0.0) + new) / (kept + new)).otherwise(0.0),
        quality=pl.max_horizontal(pl.col("quality", "quality_new").cast(QUALITY).to_physical()).cast(pl.UInt8).cat.to(QUALITY),
    )
    return conform(rows.sort(on), INTERVAL)


# --- what is to be estimated ------------------------------------------------------------------------------------------

def _local_hour(column: str, zone: str) -> pl.Expr:
    """The hour that a clock there shows at each instant, without zone."""
    return pl.col(column).dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.truncate("1h")


def _hours(windows: pl.DataFrame, zone: str) -> pl.DataFrame:
    """The local hours that each window touches: the window's columns, hour and hour_end (UTC)."""
    if windows.is_empty():
        return windows.with_columns(hour=pl.lit(None, INSTANT), hour_end=pl.lit(None, INSTANT))
    first, last = (calendar.local_day(cast(datetime, instant), zone).year for instant in (windows["start"].min(), windows["end"].max()))
    bounds = grain_bounds(zone, "hour", first, last)
    low = bounds.search_sorted(windows["start"].to_physical(), side="right").cast(pl.Int64) - 1
    high = bounds.search_sorted(windows["end"].to_physical(), side="left").cast(pl.Int64)
    hours = windows.with_columns(slot=pl.int_ranges(low, high, eager=True)).explode("slot").drop_nulls("slot")
    return hours.with_columns(
        hour=bounds.gather(hours["slot"]).cast(INSTANT), hour_end=bounds.gather(hours["slot"] + 1).cast(INSTANT),
    ).drop("slot")


def _pieces(intervals: pl.DataFrame, windows: pl.DataFrame, zone: str) -> pl.DataFrame:
    """What is to be estimated of each hour.

    Returns:
        register_key, span (number), start, end (of the span), hour, hour_end, at (local hour), weight (h to be estimated of the hour),
        known (the hour's consumption where it is a part of a catch-up, else null), given, low, high, said (what a person gave).
    """
    named = windows.rename({"quantity": "given", "reason": "said"}).with_row_index("window")
    hours = _hours(named, zone).join(
        intervals.select("register_key", "quantity", "quality", "covered_ratio", "estimated_ratio", hour="start"),
        on=["register_key", "hour"], how="left",
    )
    width = (pl.col("hour_end") - pl.col("hour")) / _HOUR
    inside = (pl.min_horizontal("end", "hour_end") - pl.max_horizontal("start", "hour")) / _HOUR
    caught_up = (
        (pl.col("covered_ratio") >= 1 - _EPSILON) & (pl.col("estimated_ratio") >= 1 - _EPSILON) & (pl.col("quality") == "estimated")
        & (inside >= width - _EPSILON)
    ).fill_null(value=False)
    upto = inside.cum_sum().over("register_key", "hour")  # several windows may touch one hour
    uncovered = width * (1 - pl.col("covered_ratio").fill_null(0.0))
    pieces = hours.with_columns(
        weight=pl.when(caught_up).then(width).otherwise(pl.min_horizontal(upto, uncovered) - pl.min_horizontal(upto - inside, uncovered)),
        known=pl.when(caught_up).then("quantity"), at=_local_hour("hour", zone),
    ).filter(pl.col("weight") > _EPSILON).sort("register_key", "window", "hour")
    rate, window, unknown = pl.col("known") / pl.col("weight"), pl.col("window"), pl.col("known").is_null()
    apart = (
        (window != window.shift(1)) | (pl.col("hour") != pl.col("hour_end").shift(1)) | (unknown != unknown.shift(1))
        | ((rate - rate.shift(1)).abs() > _SAME_RATE * rate.abs()).fill_null(value=False)
    )
    pieces = pieces.with_columns(span=apart.fill_null(value=True).cum_sum())
    return pieces.with_columns(
        start=pl.max_horizontal("start", pl.col("hour").min().over("span")), end=pl.min_horizontal("end", pl.col("hour_end").max().over("span")),
        given=pl.col("given") * pl.col("weight") / pl.col("weight").filter(unknown).sum().over("window"),
    ).select("register_key", "span", "start", "end", "hour", "hour_end", "at", "weight", "known", "given", "low", "high", "said")


def _batches(pieces: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The pieces, whole spans together, so many that their back-tests fit into the memory."""
    at_once = TESTED_AT_ONCE // TESTED_DAYS
    first = pl.int_range(pl.len()).first().over("span")
    for part in pieces.with_columns(batch=first // at_once).partition_by("batch", maintain_order=True):
        yield part.drop("batch")


# --- how --------------------------------------------------------------------------------------------------------------

def _estimated(
    pieces: pl.DataFrame, history: pl.DataFrame, method: Method, links: pl.DataFrame, off: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The spans (ESTIMATE) and hours (INTERVAL) of some pieces."""
    names = [name for name in AUTOMATIC if method in ("auto", name)]
    spans = pieces.group_by("span", maintain_order=True).agg(
        pl.col("register_key", "start", "end", "low", "high", "said", "net").first(), begin=_at.min(), last=_at.max(),
        estimated_h=pl.col("weight").sum(), known=pl.col("known").sum(), total_measured=pl.col("known").is_not_null().all(),
        is_given=pl.col("given").is_not_null().all() & pl.col("known").is_null().all(),
    )
    cases = pl.concat([spans.select("span", "register_key", "begin", back=pl.lit(0, pl.Int64), truth=pl.lit(None, pl.Float64)),
                       _tests(pieces, spans, history)])
    hours = cases.drop("truth").join(pieces.select("span", "at", "weight", "net"), on="span").with_columns(_at - _back * _DAY)
    hours = _linear(hours, spans, history) if "linear" in names else hours
    hours = _like_days(hours, history, off) if "like_days" in names else hours
    hours = _linked(hours, cases, history, links) if "linked" in names else hours
    hours = hours.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in _FACTS.items() if name not in hours.columns)
    sums = hours.group_by("span", "back").agg(
        *(pl.when(pl.col(name).is_not_null().all()).then((pl.col(name) * pl.col("weight")).sum()).alias(name) for name in names),
        *(pl.col(name).min() for name in _FACTS),
    )
    now = sums.filter(_back == 0).drop("back").rename({name: f"{name}_sum" for name in names})
    chosen = _chosen(cases.join(sums.select("span", "back", *names), on=["span", "back"]), names, off)
    known = spans.join(now, on="span").join(chosen, on="span", how="left")
    by_hour = hours.filter(_back == 0).select("span", "at", *names).unique(["span", "at"])  # a clock put back shows an hour twice
    return _results(pieces.join(by_hour, on=["span", "at"], how="left") if names else pieces, known, names, method)


def _tests(pieces: pl.DataFrame, spans: pl.DataFrame, history: pl.DataFrame) -> pl.DataFrame:
    """The hidden windows: span, register_key, begin (local hour), back (days), truth."""
    fewest_back = ((pl.col("last") + _HOUR - pl.col("begin")) / _DAY).ceil().cast(pl.Int64)
    moved = spans.select("span", "register_key", "begin", back=pl.int_ranges(fewest_back, TESTED_DAYS + 1)).explode("back")
    moved = moved.drop_nulls("back").with_columns(pl.col("begin") - _back * _DAY).join(
        history, left_on=["register_key", "begin"], right_on=["register_key", "at"], how="semi",
    )
    needed = pieces.group_by("span").agg(needed=pl.len())
    truth = moved.join(pieces.select("span", "at", "weight"), on="span").with_columns(_at - _back * _DAY).join(
        history, on=["register_key", "at"],
    ).group_by("span", "back").agg(measured=pl.len(), truth=(pl.col("q") * pl.col("weight")).sum())
    whole = truth.join(needed, on="span").filter(pl.col("measured") == pl.col("needed"))
    return moved.join(whole, on=["span", "back"]).sort("span", "back").select("span", "register_key", "begin", "back", "truth")


def _linear(hours: pl.DataFrame, spans: pl.DataFrame, history: pl.DataFrame) -> pl.DataFrame:
    """The hours with rate_before, rate_after and `linear`, the rate at the middle of each."""
    there = history.sort("at").select("register_key", "at", side="at")
    sides = spans.select("span", "register_key", "begin", "last")
    for name, ours, strategy in (("before", "begin", "backward"), ("after", "last", "forward")):
        sides = sides.sort(ours).join_asof(
            there, left_on=ours, right_on="at", by="register_key", strategy=strategy, allow_exact_matches=False, tolerance=_DAY,  # type: ignore[arg-type]
            check_sortedness=False,
        ).rename({"side": name}).drop("at", strict=False)
    # A hidden window has its rates in the same places; none of them may lie beyond the span itself.
    known = hours.select("span", "register_key", "back").unique().join(sides.select("span", "before", "after", first="begin"), on="span")
    known = known.with_columns(pl.col("before", "after") - _back * _DAY).with_columns(
        seen=pl.col("after").is_null() | (_back == 0) | (pl.col("after") < pl.col("first")),
    )
    for name in ("before", "after"):
        known = known.join(history.rename({"at": name, "q": f"rate_{name}"}), on=["register_key", name], how="left")
    before, after = pl.col("rate_before"), pl.col("rate_after")
    both = hours.join(known.drop("register_key", "first"), on=["span", "back"])
    share = (_at - pl.col("before")) / (pl.col("after") - pl.col("before"))
    linear = (
        pl.when(~pl.col("seen")).then(None).when(pl.col("before").is_null()).then(after).when(pl.col("after").is_null()).then(before)
        .otherwise(before + (after - before) * share)
    )
    return both.with_columns(linear=linear).drop("before", "after", "seen")


def _like_days(hours: pl.DataFrame, history: pl.DataFrame, off: pl.DataFrame) -> pl.DataFrame:
    """The hours with like_days_used and `like_days`, the mean of the same hour of those days."""
    key = ["register_key", "like", "clock"]
    kind = [_like(_at.dt.date(), off).alias("like"), _at.dt.hour().alias("clock")]
    past = history.with_columns(*kind, day=_at.dt.date()).sort("day").select(
        *key, "day", total=pl.col("q").cum_sum().over(key), days=pl.int_range(1, pl.len() + 1).over(key),
    )
    asked = hours.with_columns(*kind, day=pl.col("begin").dt.date())
    sums = asked.select(*key, "day").unique().with_columns(since=pl.col("day") - timedelta(days=LIKE_DAYS)).sort("day")
    for bound, mark in (("day", ""), ("since", "_since")):
        sums = sums.join_asof(
            past.rename({"day": "past"}), left_on=bound, right_on="past", by=key, allow_exact_matches=False, check_sortedness=False, suffix=mark,
        ).drop("past", strict=False)
    days = pl.col("days").fill_null(0) - pl.col("days_since").fill_null(0)
    mean = (pl.col("total") - pl.col("total_since").fill_null(0.0)) / days
    means = sums.select(*key, "day", like_days_used=days, like_days=pl.when(days >= FEWEST_LIKE_DAYS).then(mean))
    return asked.join(means, on=[*key, "day"], how="left").drop("like", "clock", "day")


def _linked(hours: pl.DataFrame, cases: pl.DataFrame, history: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """The hours with ratio, common_hours, fit, linked_name and `linked`, the ratio times what the linked register measured."""
    x, y = pl.col("x"), pl.col("q")
    of_linked = history.select(linked_key="register_key", at="at", x="q")
    common = history.join(links, on="register_key").join(of_linked, on=["linked_key", "at"]).sort("at")
    sums = {"n": pl.lit(1, pl.Int64), "sx": x, "sy": y, "sxx": x * x, "sxy": x * y, "syy": y * y}
    past = common.select("register_key", "at", *(each.alias(name) for name, each in sums.items())).with_columns(
        pl.col(list(sums)).cum_sum().over("register_key"),
    )
    known = cases.select("span", "register_key", "back", "begin").with_columns(since=pl.col("begin") - timedelta(days=LIKE_DAYS)).sort("begin")
    for bound, mark in (("begin", ""), ("since", "_since")):
        known = known.join_asof(
            past.rename({"at": "past"}), left_on=bound, right_on="past", by="register_key", allow_exact_matches=False, check_sortedness=False,
            suffix=mark,
        ).drop("past", strict=False)
    known = known.with_columns((pl.col(name) - pl.col(f"{name}_since").fill_null(0)).alias(name) for name in sums)
    ratio = pl.when(pl.col("sx") > 0, pl.col("n") >= FEWEST_COMMON_HOURS).then(pl.col("sy") / pl.col("sx"))
    left = pl.col("syy") - 2 * ratio * pl.col("sxy") + ratio * ratio * pl.col("sxx")
    spread = pl.col("syy") - pl.col("sy") ** 2 / pl.col("n")
    known = known.select("span", "back", ratio=ratio, common_hours="n", fit=pl.when(spread > 0).then(1 - left / spread))
    found = hours.join(known, on=["span", "back"]).join(links.rename({"linked": "linked_name"}), on="register_key", how="left").join(
        of_linked, on=["linked_key", "at"], how="left",
    )
    value = pl.col("ratio") * x
    return found.with_columns(linked=pl.when("net").then(value).otherwise(value.clip(0.0))).drop("linked_key", "x")


def _like(day: pl.Expr, off: pl.DataFrame) -> pl.Expr:
    """1 for a working day, 6 for a Saturday, 7 for a Sunday or holiday."""
    free, working = (off.filter(pl.col("working") == flag)["day"].implode() for flag in (False, True))
    weekday = day.dt.weekday()
    return pl.when(day.is_in(working)).then(1).when(day.is_in(free)).then(7).when(weekday < 6).then(1).otherwise(weekday).cast(pl.Int8)


def _chosen(cases: pl.DataFrame, names: list[str], off: pl.DataFrame) -> pl.DataFrame:
    """The method of each span, and how it errs: span, chosen, contest (back-tests), back_tests, mean_error, mean_absolute_error, least, greatest."""
    if not names:
        unknown = ("mean_error", "mean_absolute_error", "least", "greatest")
        return cases.filter(_back == 0).select(
            "span", *(pl.lit(None, pl.Float64).alias(name) for name in unknown), chosen=pl.lit(None, pl.String), contest=pl.lit(None, pl.UInt32),
            back_tests=pl.lit(0, pl.UInt32), alike=pl.lit(value=False),
        )
    like = _like(pl.col("begin").dt.date(), off)
    able = cases.filter(_back == 0).select("span", *(pl.col(n).is_not_null().alias(f"can_{n}") for n in names), like=like)
    tests = cases.filter(_back > 0).join(able, on="span").with_columns(alike=like == pl.col("like"))

    def counting(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(pl.col("alike") | (pl.col("alike").sum().over("span") < FEWEST_TESTS))

    contest = counting(tests.filter(pl.all_horizontal(pl.col(n).is_not_null() | ~pl.col(f"can_{n}") for n in names))).group_by("span").agg(
        *((pl.col("truth") - pl.col(n)).abs().mean().alias(n) for n in names), contest=pl.len(),
    )
    costs = [pl.when(f"can_{n}").then(pl.coalesce(n, pl.lit(float(place)))) for place, n in enumerate(names)]
    judged = able.join(contest, on="span", how="left")
    cheapest = [pl.when(cost == pl.min_horizontal(costs)).then(pl.lit(n)) for cost, n in zip(costs, names, strict=True)]
    several = pl.sum_horizontal(f"can_{n}" for n in names) > 1
    chosen = judged.select("span", contest=pl.when(several).then("contest"), chosen=pl.coalesce(cheapest))
    estimate = pl.coalesce(pl.when(pl.col("chosen") == n).then(n) for n in names)
    errors = tests.join(chosen, on="span").with_columns(error=pl.col("truth") - estimate).filter(pl.col("error").is_not_null())
    error, rank = pl.col("error"), (pl.len().cast(pl.Int64) + 1) // 40
    enough = pl.len() >= FEWEST_TESTS
    told = counting(errors).group_by("span").agg(
        back_tests=pl.len(), mean_error=error.mean(), mean_absolute_error=error.abs().mean(), alike=pl.col("alike").all(),
        least=pl.when(enough).then(error.sort().get(rank - 1, null_on_oob=True)),
        greatest=pl.when(enough).then(error.sort(descending=True).get(rank - 1, null_on_oob=True)),
    )
    return chosen.join(told, on="span", how="left").with_columns(pl.col("back_tests").fill_null(0))


# --- what comes of it -------------------------------------------------------------------------------------------------

def _results(pieces: pl.DataFrame, spans: pl.DataFrame, names: list[str], method: Method) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The spans (ESTIMATE) and hours (INTERVAL), from the pieces with each method's rates and the spans with all that is known of them."""
    told = spans.with_columns(
        method=pl.when("is_given").then(pl.lit("manual")).otherwise(pl.col("chosen") if method == "auto" else pl.lit(method)),
    )
    rate = pl.coalesce(pl.when(pl.col("chosen") == n).then(n) for n in names) if names else pl.lit(None, pl.Float64)
    hours = pieces.join(told.select("span", "chosen", "is_given", "total_measured", total="known"), on="span")
    hours = hours.with_columns(raw=rate * pl.col("weight"))
    raw, weight, known, total = pl.col("raw"), pl.col("weight"), pl.col("known"), pl.col("total")
    shape = raw.sum().over("span")
    part = weight / weight.sum().over("span")
    spread = pl.when(raw.is_null().any().over("span")).then(known).when(~pl.col("net") & (shape > _EPSILON)).then(raw / shape * total)
    quantity = pl.when("total_measured").then(spread.otherwise(raw + (total - shape) * part)).when("is_given").then("given").otherwise(raw)
    hours = hours.with_columns(quantity=quantity)
    sums = hours.group_by("span").agg(whole_sum("quantity"))
    rows = told.join(sums, on="span").with_columns(quantity=pl.when("total_measured").then("known").otherwise("quantity"))
    estimate, floor = pl.col("quantity"), pl.when("net").then(None).otherwise(0.0)
    low = pl.max_horizontal(pl.min_horizontal(estimate, estimate + pl.col("least")), floor)
    high = pl.max_horizontal(estimate, estimate + pl.col("greatest"))
    given = pl.col("is_given")
    rows = rows.with_columns(
        low=pl.when("total_measured").then(estimate).when(given).then("low").when(pl.col("least").is_not_null()).then(low),
        high=pl.when("total_measured").then(estimate).when(given).then("high").when(pl.col("greatest").is_not_null()).then(high),
        back_tests=pl.when(given).then(0).otherwise("back_tests"),
    )
    rows = rows.with_columns(reason=_reason(method, chinese=False), reason_zh=_reason(method, chinese=True))
    of_hours = hours.filter(pl.col("quantity").is_not_null()).select(
        "register_key", start="hour", end="hour_end", quantity="quantity", quality=pl.lit("estimated"),
        covered_ratio=weight / ((pl.col("hour_end") - pl.col("hour")) / _HOUR), estimated_ratio=pl.lit(1.0),
    )
    return conform(rows, ESTIMATE), conform(of_hours, INTERVAL)


def _reason(method: Method, *, chinese: bool) -> pl.Expr:
    """The facts of each span's estimate as one sentence."""
    def text(english: str, mandarin: str, *facts: pl.Expr) -> pl.Expr:
        return pl.format(mandarin if chinese else english, *facts)

    def figure(name: str) -> pl.Expr:
        return pl.col(name).round_sig_figs(4).cast(pl.String).str.strip_suffix(".0")

    def count(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.String)

    nothing, given, chosen = pl.lit(""), pl.col("is_given"), pl.col("chosen")
    ratio = [pl.col("linked_name"), figure("ratio")] if chinese else [figure("ratio"), pl.col("linked_name")]
    how = pl.coalesce(
        pl.when(given).then(text("given by a person{}", "人工给定{}", pl.coalesce(pl.lit(": ") + pl.col("said"), nothing))),
        pl.when(chosen == "linear").then(pl.coalesce(
            text(
                "linear between {} an hour before and {} after", "在此前每小时 {} 与此后每小时 {} 之间线性内插",
                figure("rate_before"), figure("rate_after"),
            ),
            text("as in the hour before, {} an hour; none is measured after", "按此前每小时 {} 估算，此后无测量值", figure("rate_before")),
            text("as in the hour after, {} an hour; none is measured before", "按此后每小时 {} 估算，此前无测量值", figure("rate_after")),
        )),
        pl.when(chosen == "like_days").then(text(
            f"mean of the same hours of {{}} or more like days within {LIKE_DAYS} days before",
            f"前 {LIKE_DAYS} 天内至少 {{}} 个同类日相同时段的平均值", count("like_days_used"),
        )),
        pl.when(chosen == "linked").then(text(
            f"{{}} times register {{}}, by {{}} common hours within {LIKE_DAYS} days before (R2 {{}})",
            f"关联表计 {{}} 的 {{}} 倍，依据前 {LIKE_DAYS} 天内 {{}} 个共同小时（R2 {{}}）",
            *ratio, count("common_hours"), pl.coalesce(figure("fit"), pl.lit("-")),
        )),
        pl.when("total_measured").then(text("spread evenly", "平均分配")),
        text(*_NOTHING[method]),
    )
    total = pl.when("total_measured").then(text(
        "the total is the register's own, only its hours are estimated: ", "总量为表计实测，仅分时为估算：",
    )).otherwise(nothing)
    contest = pl.when(pl.lit(method == "auto") & ~given).then(text(
        "; the method with the smallest error of {} back-tests", "；在 {} 次回测中误差最小的方法", count("contest"),
    ))
    on_like_days = pl.when("alike").then(text(" on like days", "（同类日）")).otherwise(nothing)
    errors = pl.coalesce(
        pl.when(given & (pl.col("low").is_null() | pl.col("high").is_null())).then(text("; no interval is given", "；未给定置信区间")),
        pl.when(given | pl.col("quantity").is_null()).then(nothing),
        pl.when(pl.col("least").is_not_null()).then(text(
            "; {} back-tests{}: mean absolute error {}, mean error {}", "；{} 次回测{}：平均绝对误差 {}，平均误差 {}",
            count("back_tests"), on_like_days, figure("mean_absolute_error"), figure("mean_error"),
        )),
        pl.when("total_measured").then(nothing),
        text(
            f"; {{}} back-tests, fewer than {FEWEST_TESTS}: no interval", f"；仅 {{}} 次回测，少于 {FEWEST_TESTS} 次：无置信区间",
            count("back_tests"),
        ),
    )
    return pl.concat_str(total, how, pl.coalesce(contest, nothing), errors)
