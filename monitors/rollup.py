"""Hours of consumption -> days, months, years: sums of what is covered, at bounded memory."""

from datetime import datetime
from typing import Final, Literal, cast

import polars as pl

from config import calendar
from config.schemas import INSTANT, INTERVAL, QUALITY
from monitors.axis import grain_bounds

Coarse = Literal["day", "month", "year"]
_us: Final = pl.col("start").to_physical()


def coarser(intervals: pl.LazyFrame, by: Coarse, zone: str) -> pl.LazyFrame:
    """Consumption by local day, month or year from shorter intervals, computed in a stream when it is collected so.

    The quantity is the sum. `covered_ratio` weighs by length, and what has no row is not covered; `estimated_ratio` weighs by covered
    time; `quality` is the worst. Quantity and covered time are those of `monitors.intervals` by that grain. The other two say how well
    the *rows given* are known: a register read once a day has estimated hours, so its days come out estimated here and measured there.

    Only the span of the rows is looked for at once: a pass over two columns.

    Args:
        intervals: INTERVAL, in any order, none twice, each within one local day (month, year); further columns are left out. Those of
            one month after the other, with that month's rows only, bound the memory by the rows of a month.
        by: the grain.
        zone: the place whose days are meant, its summer times included.

    Returns:
        INTERVAL sorted by register_key and start. `covered_ratio` is above 1 where rows overlap.
    """
    whole = intervals.select(first=pl.col("start").min(), last=pl.col("start").max()).collect(engine="streaming")
    if whole["first"][0] is None:
        return pl.LazyFrame(schema=INTERVAL)
    bounds = bounds_around(cast(datetime, whole["first"][0]), cast(datetime, whole["last"][0]), by, zone)
    count = len(bounds) - 1
    key = pl.col("register_key").cast(pl.Int64)
    length = (pl.col("end") - pl.col("start")).to_physical()
    packed = intervals.select(
        place=key if count == 1 else key * count + slot(_us, bounds),
        quantity="quantity", quality=pl.col("quality").cast(QUALITY).to_physical(), covered=pl.col("covered_ratio") * length,
        estimated="estimated_ratio",
    )
    sums = packed.group_by("place").agg(
        pl.col("quantity", "covered").sum(), pl.col("quality").max(), estimated=(pl.col("estimated") * pl.col("covered")).sum(),
    ).sort("place")
    at = pl.col("place") % count
    start, end = (pl.lit(bounds).gather(at + ahead) for ahead in (0, 1))
    return sums.select(
        register_key=(pl.col("place") // count).cast(pl.UInt32), start=start.cast(INSTANT), end=end.cast(INSTANT), quantity="quantity",
        quality=pl.col("quality").cat.to(QUALITY), covered_ratio=pl.col("covered") / (end - start),
        estimated_ratio=pl.when(pl.col("covered") > 0).then(pl.col("estimated") / pl.col("covered")).otherwise(0.0),
    )


def bounds_around(first: datetime, last: datetime, by: Coarse, zone: str) -> pl.Series:
    """Starts of the local days, months or years from the one of the first to the one of the last instant, and its end, in us since 1970."""
    bounds = _bounds(first, last, by, zone)
    instants = pl.Series([first, last], dtype=INSTANT).to_physical()
    low, high = (int(cast(int, bounds.search_sorted(us, side="right"))) for us in instants)
    return bounds[low - 1 : high + 1]


def crossing(by: Coarse, zone: str, first: datetime, last: datetime) -> pl.Expr:
    """Whether an interval (`start`, `end`) ends after the local day, month or year in which it starts; `first`, `last`: of all starts."""
    bounds = _bounds(first, last, by, zone)
    close = slot(_us, bounds).map_batches(lambda at: bounds.gather(at + 1, null_on_oob=True), return_dtype=pl.Int64, is_elementwise=True)
    return pl.col("end").to_physical() > close


def slot(us: pl.Expr, bounds: pl.Series) -> pl.Expr:
    """The place of each instant (us since 1970) among the sorted bounds of a grain that hold it."""
    widths = bounds.diff().drop_nulls()
    if (widths == widths[0]).all():
        return (us - int(bounds[0])) // int(widths[0])
    return us.map_batches(lambda at: bounds.search_sorted(at, side="right").cast(pl.Int64) - 1, return_dtype=pl.Int64, is_elementwise=True)


def _bounds(first: datetime, last: datetime, by: Coarse, zone: str) -> pl.Series:
    """Bounds of the grain around all rows, in us since 1970."""
    return grain_bounds(zone, by, calendar.local_day(first, zone).year, calendar.local_day(last, zone).year)
