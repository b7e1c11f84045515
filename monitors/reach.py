"""How much must be looked at so that the rules of monitors/intervals.py decide about a window as they do about everything."""

from datetime import datetime
from typing import Final

import polars as pl

from config.schemas import EVENT
from monitors.axis import axis_of, position_of, rows_on
from monitors.intervals import counting_readings

REACH: Final = 24  # readings that pass rule 1, on either side of a window, that decide about it


def short_of_reach(readings: pl.DataFrame, registers: pl.DataFrame, start: datetime, end: datetime, *, pad: int, zone: str) -> pl.Series:
    """The register_keys of which more readings must be looked at to decide about [start, end).

    These have fewer than REACH instants that pass rule 1 before `start` or from `end` on, although the `pad` instants that were asked for
    on that side were there: a long run of readings out of range, say, has to be looked beyond.
    """
    keys = registers["register_key"].unique().sort()
    position = position_of(readings["register_key"], keys)
    readings, position = readings.filter(position.is_not_null()), position.drop_nulls()
    if readings.is_empty():
        return keys.clear()
    axis = axis_of(readings, registers, pl.DataFrame(schema=EVENT), keys, zone)
    counting = counting_readings(readings, position, rows_on(axis, registers), axis)
    sides = {"before": pl.col("read_at") < start, "after": pl.col("read_at") >= end}
    passed, there = (
        rows.group_by("register_key").agg(pl.col("read_at").filter(side).n_unique().alias(name) for name, side in sides.items())
        for rows in (readings[counting], readings)
    )
    counts = there.join(passed, on="register_key", how="left", suffix="_passed").with_columns(pl.col("before_passed", "after_passed").fill_null(0))
    short = pl.any_horizontal((pl.col(side) >= pad) & (pl.col(f"{side}_passed") < REACH) for side in sides)
    return counts.filter(short)["register_key"].sort()


def affected_days(
    readings: pl.DataFrame, zone: str, events: pl.DataFrame | None = None, span: tuple[datetime, datetime] | None = None,
) -> pl.DataFrame:
    """The local days whose intervals may change when readings of some days come, change or go.

    Args:
        readings: READING of those days, with REACH instants more on either side of each register.
        zone: the place whose days are meant.
        events: EVENT. Before the first and after the last reading of all, a declared value is the neighbour.
        span: the instants [start, end) of those days; needed with events, to know where a register's readings end.

    Returns:
        register_key, day (pl.Date): every day from the first to the last of them, those without a reading included, since a
        step across them is spread over them too.
    """
    at = pl.col("read_at")
    ends = readings.group_by("register_key").agg(first=at.min(), last=at.max())
    if events is not None and span is not None:
        start, end = span
        number = readings.group_by("register_key").agg(before=at.filter(at < start).n_unique(), after=at.filter(at >= end).n_unique())
        beyond = events.join(ends.join(number, on="register_key"), on="register_key").group_by("register_key").agg(
            earlier=pl.col("at").filter((pl.col("before") < REACH) & (pl.col("at") < pl.col("first"))).max(),
            later=pl.col("at").filter((pl.col("after") < REACH) & (pl.col("at") > pl.col("last"))).min(),
        )
        ends = ends.join(beyond, on="register_key", how="left").with_columns(
            first=pl.min_horizontal("first", "earlier"), last=pl.max_horizontal("last", "later"),
        )
    first, last = (pl.col(name).dt.convert_time_zone(zone).dt.date() for name in ("first", "last"))
    return ends.select("register_key", day=pl.date_ranges(first, last)).explode("day").sort("register_key", "day")
