"""The rest of a year from a series' own history: the profile of like months times the present level, tested on the past.

- *Profile* of a month: the mean of the same month one, two and three years before, as far as the series has them.
- *Level*: what the last LEVEL_MONTHS known months came to, divided by what their profile says; at least FEWEST_LEVEL_MONTHS of them
  need one.
- *Forecast* of the rest of the year: the level times the profile of its months. The year is what is known plus that.
- *Back-test*: the same as of each earlier month after which as many months are known by now as the rest of the year has. The error
  is the truth by the forecast, less 1. Of n errors (FEWEST_TESTS to TESTED_MONTHS, the latest) the largest in size bounds the
  interval: one more of their kind lies within it in n of n + 1 cases. Their windows overlap, so that this is the best case.
- Of a series of levels (`per`) both sums are forecast; the error is that of their quotient.

Only months without a gap up to the last known one count. Decision 0029 has the formulas with an example by hand.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

import polars as pl

from config import schemas
from config.calendar import is_period

LEVEL_MONTHS: Final = 6
FEWEST_LEVEL_MONTHS: Final = 3
LIKE_YEARS: Final = (1, 2, 3)
FEWEST_TESTS: Final = 3
TESTED_MONTHS: Final = 36
FEWEST_MONTHS: Final = 12 + FEWEST_LEVEL_MONTHS + FEWEST_TESTS - 1  # and as many as the rest of the year has
_YEAR: Final = 12
_EPSILON: Final = 1e-12  # what adding and subtracting may leave of a sum
_PARTS: Final = ("v", "w")  # what is used, and what it is divided by
_m = pl.col("_m")


def forecast(history: pl.DataFrame, by: Sequence[str], on: date) -> pl.DataFrame:
    """Forecast the year of a day for each series, by the rules at the head of this module.

    Args:
        history: the columns `by`, `period` (months; other periods are left out), `actual` and optionally `per`; a null is a gap.
        by: what names a series.
        on: the day as of which: months that are not over at its end are not known.

    Returns:
        The columns `by`, then FORECAST. Where the history does not do, value and interval are null and `reason` says why.

    >>> years = [(f"{year}-{month:02d}", 100.0) for year in (2022, 2023, 2024) for month in range(1, 13)]
    >>> used = pl.DataFrame([("P", *month) for month in [*years, ("2025-01", 130.0)]], schema=["subject", "period", "actual"], orient="row")
    >>> forecast(used, ["subject"], date(2025, 2, 9)).select("through", "known", "value", "low", "high", "back_tests").row(0)
    ('2025-01', 130.0, 1285.0, 1253.5, 1316.5, 12)
    """
    keys, axis, ends = _laid_out(history, by, on)
    done = ends.join(_tested(axis, ends, keys), on=keys, how="left", nulls_equal=True).with_columns(_lacking=_lacking())
    over, told = pl.col("_h") == 0, pl.col("_lacking").is_null()
    done = done.with_columns(
        pl.when(over).then(0.0).otherwise(f"_rest_{part}").alias(f"_rest_{part}") for part in _PARTS
    )
    largest = pl.when(over).then(0.0).otherwise("error_ratio")
    least = pl.when("_never_negative").then((1 - largest).clip(lower_bound=0.0)).otherwise(1 - largest)

    def year(factor: pl.Expr) -> pl.Expr:
        total = pl.col("_known_v") + pl.col("_rest_v") * factor
        return pl.when(told).then(pl.when("_levels").then(total / (pl.col("_known_w") + pl.col("_rest_w"))).otherwise(total))

    ends_of = pl.concat_list(year(least), year(1 + largest))  # of a forecast below 0 the factors change places
    shown = done.with_columns(
        year=pl.lit(str(on.year)), through=_month("_o"), known=pl.when(pl.col("_o") >= on.year * _YEAR).then("_known_v"),
        value=year(pl.lit(1.0)), low=ends_of.list.min(), high=ends_of.list.max(),
        error_ratio=pl.when(told & ~over).then("error_ratio"),
        coverage_ratio=pl.when(told & ~over).then(pl.col("back_tests") / (pl.col("back_tests") + 1)),
    )
    return shown.with_columns(reason=_said(zh=False), reason_zh=_said(zh=True)).select(
        *keys, *(pl.col(name).cast(dtype) for name, dtype in schemas.FORECAST.items())
    ).sort(keys)


def forecast_months(history: pl.DataFrame, by: Sequence[str], on: date) -> pl.DataFrame:
    """The months of the year of a day: what is known, then the level times the profile.

    Args:
        history: as for `forecast`.
        by: what names a series.
        on: the day as of which.

    Returns:
        The columns `by`, period, value, known; a month without a profile has no value. Of levels it is the quotient.
    """
    keys, axis, ends = _laid_out(history, by, on)
    rows = axis.drop("_now_v", "_now_w").join(ends.select(*keys, "_o", "_levels", "_now_v", "_now_w"), on=keys, nulls_equal=True).filter(
        _m.is_between(on.year * _YEAR, on.year * _YEAR + 11)
    )
    known = _m <= pl.col("_o")
    parts = [pl.when(known).then(f"_{part}").otherwise(pl.col(f"_now_{part}") * pl.col(f"_like_{part}")) for part in _PARTS]
    value = pl.when("_levels").then(parts[0] / parts[1]).otherwise(parts[0])
    return rows.select(*keys, period=_month("_m"), value=pl.when(value.is_finite()).then(value), known=known).sort(*keys, "period")


def _laid_out(history: pl.DataFrame, by: Sequence[str], on: date) -> tuple[list[str], pl.DataFrame, pl.DataFrame]:
    """The months of each series with profile and level (`axis`), and what stands at its last known month (`ends`)."""
    keys = list(by)
    last = on.year * _YEAR + on.month - (1 if (on + timedelta(days=1)).day == 1 else 2)
    per = pl.col("per") if "per" in history.columns else pl.lit(None, dtype=pl.Float64())
    rows = history.with_columns(per.cast(pl.Float64()).alias("per"))
    rows = rows.with_columns(_levels=pl.col("per").is_not_null().any().over(keys)).filter(is_period("month"))
    months = rows.select(
        *keys, "_levels", _v=pl.col("actual").cast(pl.Float64()), _w=pl.when("_levels").then("per").otherwise(0.0),
        _m=pl.col("period").str.slice(0, 4).cast(pl.Int32) * _YEAR + pl.col("period").str.slice(5, 2).cast(pl.Int32) - 1,
    ).filter(_m <= last, pl.col("_v").is_finite(), pl.col("_w").is_finite()).sort(*keys, "_m")
    begun = _m - pl.int_range(pl.len()).over(keys)  # the same for months that follow each other
    runs = months.filter(begun == begun.last().over(keys))
    found = runs.group_by(keys, maintain_order=True).agg(
        _o=_m.last(), _length=pl.len(), _never_negative=(pl.col("_v") >= 0).all(),
        **{f"_known_{part}": pl.col(f"_{part}").filter(_m >= on.year * _YEAR).sum() for part in _PARTS},
    )
    levels = history.select(keys).unique(maintain_order=True).join(
        rows.select(*keys, "_levels").unique(keys), on=keys, how="left", nulls_equal=True
    ).with_columns(pl.col("_levels").fill_null(value=False))
    ends = levels.join(found, on=keys, how="left", nulls_equal=True).with_columns(_h=pl.lit(on.year * _YEAR + 11) - pl.col("_o"))
    ahead = found.select(*keys, _m=pl.int_ranges(pl.col("_o") + 1, pl.col("_o") + 1 + _YEAR, dtype=pl.Int32)).explode("_m")
    axis = pl.concat([runs.drop("_levels"), ahead], how="diagonal")
    for years in LIKE_YEARS:
        before = runs.select(*keys, _m + _YEAR * years, *(pl.col(f"_{part}").alias(f"_{part}{years}") for part in _PARTS))
        axis = axis.join(before, on=[*keys, "_m"], how="left", nulls_equal=True)
    axis = axis.sort(*keys, "_m").with_columns(
        pl.mean_horizontal(f"_{part}{years}" for years in LIKE_YEARS).alias(f"_like_{part}") for part in _PARTS
    )
    axis = axis.with_columns(_present(part, keys).alias(f"_now_{part}") for part in _PARTS)
    now = axis.select(*keys, pl.col("_m").alias("_o"), "_now_v", "_now_w")
    return keys, axis, ends.join(now, on=[*keys, "_o"], how="left", nulls_equal=True)


def _present(part: str, keys: Sequence[str]) -> pl.Expr:
    """The level as of each month."""
    both = pl.col(f"_{part}").is_not_null() & pl.col(f"_like_{part}").is_not_null()
    sums = []
    for name in (f"_{part}", f"_like_{part}"):
        back = [pl.when(both).then(name).shift(months).over(keys) for months in range(LEVEL_MONTHS)]
        enough = pl.sum_horizontal(one.is_not_null() for one in back) >= FEWEST_LEVEL_MONTHS
        sums.append(pl.when(enough).then(pl.sum_horizontal(back)))
    used, like = sums
    return pl.when((like > 0) & (used >= 0)).then(used / like).when((like == 0) & (used == 0)).then(1.0)


def _tested(axis: pl.DataFrame, ends: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The rest of the year as it is forecast (`_rest_v`, `_rest_w`), and how many back-tests erred by how much at most."""
    sums = axis.with_columns(
        pl.col(name).fill_null(0.0).cum_sum().over(keys).alias(f"_sum{name}") for part in _PARTS for name in (f"_{part}", f"_like_{part}")
    ).join(ends.select(*keys, "_o", "_h", "_levels"), on=keys, nulls_equal=True)
    summed = [f"_sum{name}" for part in _PARTS for name in (f"_{part}", f"_like_{part}")]
    later = sums.select(*keys, _m - pl.col("_h"), *(pl.col(name).alias(f"{name}_then") for name in summed))
    ahead = {name: pl.col(f"{name}_then") - pl.col(name) for name in summed}
    ahead = {name: pl.when(step.abs() > _EPSILON * pl.col(f"{name}_then").abs()).then(step).otherwise(0.0) for name, step in ahead.items()}
    rows = sums.filter(pl.col("_h") > 0, _m <= pl.col("_o")).join(later, on=[*keys, "_m"], how="inner", nulls_equal=True).with_columns(
        **{f"_said_{part}": pl.col(f"_now_{part}") * ahead[f"_sum_like_{part}"] for part in _PARTS},
        **{f"_true_{part}": ahead[f"_sum_{part}"] for part in _PARTS},
    )
    said, true = (
        pl.when("_levels").then(pl.col(f"_{which}_v") / pl.col(f"_{which}_w")).otherwise(f"_{which}_v") for which in ("said", "true")
    )
    error = pl.when((said == 0) & (true == 0)).then(0.0).otherwise((true / said - 1).abs())
    tests = rows.filter(_m + pl.col("_h") <= pl.col("_o"), said.is_not_null()).with_columns(_error=error)
    tests = tests.group_by(keys, maintain_order=True).agg(
        back_tests=pl.col("_error").tail(TESTED_MONTHS).len(),
        error_ratio=pl.col("_error").tail(TESTED_MONTHS).fill_nan(float("inf")).max(),
    )
    rest = rows.filter(_m == pl.col("_o")).select(*keys, _rest_v="_said_v", _rest_w="_said_w")
    return rest.join(tests, on=keys, how="left", nulls_equal=True).with_columns(pl.col("back_tests").fill_null(0))


def _lacking() -> pl.Expr:
    """Why there is no forecast: a code."""
    return (
        pl.when(pl.col("_o").is_null()).then(pl.lit("none"))
        .when(pl.col("_h") > _YEAR).then(pl.lit("late"))
        .when(pl.col("_h") == 0).then(None)
        .when(pl.col("_length") < FEWEST_MONTHS + pl.col("_h")).then(pl.lit("few"))
        .when(pl.col("_rest_v").is_null() | (pl.col("_levels") & ~(pl.col("_rest_w") > 0))).then(pl.lit("level"))
        .when(pl.col("back_tests") < FEWEST_TESTS).then(pl.lit("tests"))
        .when(~pl.col("error_ratio").is_finite()).then(pl.lit("wild"))
    )


def _said(*, zh: bool) -> pl.Expr:
    """By which method, or why not."""
    needed, last = FEWEST_MONTHS + pl.col("_h"), _month("_o")
    percent = (100 * pl.col("error_ratio")).round(1)
    texts: dict[str, tuple[str, list[pl.Expr]]] = {
        "none": ("没有已知月份" if zh else "no month is known", []),
        "late": ("最近的已知月份为 {}，其后各月缺失" if zh else "the last known month is {}, and those after it are missing", [last]),
        "few": (
            "至 {} 仅有连续 {} 个月的数据；预测其后 {} 个月需要 {} 个月" if zh
            else "up to {} only {} months without a gap; a forecast of the {} months after it needs {}",
            [last, pl.col("_length"), pl.col("_h"), needed],
        ),
        "level": (
            "近月同期合计不大于零，无法确定水平" if zh else "what the like months of the last months came to is not above 0: there is no level", [],
        ),
        "tests": ("可回测的月份少于 3 个" if zh else "fewer than 3 back-tests could be done", []),
        "wild": (
            "某次回测中同期为零而实际有用量，误差无界" if zh
            else "in a back-test the like months had nothing where something was used: the error has no bound", [],
        ),
        "over": ("全年各月已知" if zh else "all months of the year are known", []),
        "told": (
            "前一至三年同月均值 × 最近 {} 个月的水平；回测 {} 次，其后 {} 个月合计的最大误差 {} %" if zh
            else "like months of one to three years before x the level of the last {} months; {} back-tests over {} months, the largest error {} %",
            [pl.lit(LEVEL_MONTHS), pl.col("back_tests"), pl.col("_h"), percent],
        ),
    }
    code = pl.coalesce("_lacking", pl.when(pl.col("_h") == 0).then(pl.lit("over")).otherwise(pl.lit("told")))
    said = pl.lit(None, dtype=pl.String())
    for name, (text, values) in texts.items():
        said = pl.when(code == name).then(pl.format(text, *values) if values else pl.lit(text)).otherwise(said)
    return said


def _month(name: str) -> pl.Expr:
    """A month that is counted from year 0, as a period."""
    return pl.format("{}-{}", pl.col(name) // _YEAR, (pl.col(name) % _YEAR + 1).cast(pl.String()).str.zfill(2))
