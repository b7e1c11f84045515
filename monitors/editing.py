"""What checked edits do to readings and to consumption. The originals stay: they are set aside by the rule `edited`.

1. `exclude`: the readings of the register in [start, end) do not count.
2. `replace`: at the instant `start` the given value counts in place of every reading of that instant. Where there was no reading,
   it counts if readings of the register lie before and after it: a value that a person read off. It counts inside an excluded span too.
3. `confirm`: a suspect step that lies within confirmed time is no longer suspect, if its readings had arrived when the confirmation was checked:
   it holds for what two people saw.
4. `estimate`: the consumption of [start, end) where nothing is measured. It belongs to its whole span, evenly in time; of a span
   that is partly measured only the share of the time that is not is used. So measured data that come later replace it by
   themselves, and hours, days and months of an estimate telescope.
"""

from datetime import datetime, timedelta
from typing import Final, Literal, cast

import polars as pl

from config import calendar
from config.schemas import FLAG, INSTANT, INTERVAL, QUALITY, READING, SET_ASIDE, WINDOW, conform, empty
from monitors.axis import grain_bounds

EDITED: Final = "edited"  # the rule by which a reading is set aside
NEIGHBOURS: Final = timedelta(hours=1)  # as far as readings that come as they should are apart
REPLACED: Final = {True: "replaced", False: "replaced_set_aside"}  # flags of checked replacements: whether the given value counts
_MOMENT: Final = timedelta(microseconds=1)
_of_register = pl.col("register_key")
_start, _end = pl.col("start"), pl.col("end")


def edited(readings: pl.DataFrame, edits: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Apply rules 1 and 2.

    Args:
        readings: READING, in any order, all copies.
        edits: EDIT, those that count.

    Returns:
        READING in any order; a replaced value has copy 0, no message, and is received when its edit was checked. And
        SET_ASIDE, sorted by register_key, read_at and copy: the originals that do not count.
    """
    excluded = _together(edits.filter(pl.col("kind") == "exclude"))
    replaced = edits.filter(pl.col("kind") == "replace").sort("register_key", "start", "edit").unique(
        ["register_key", "start"], keep="last", maintain_order=True,
    )
    if excluded.is_empty() and replaced.is_empty():
        return readings, empty(SET_ASIDE)
    keys = pl.concat([excluded["register_key"], replaced["register_key"]]).unique()
    concerned = readings.filter(_of_register.is_in(keys.implode())).sort("read_at")
    marks = replaced.select("register_key", read_at="start", replaced=pl.lit(value=True))
    out = (
        concerned.join_asof(excluded.sort("start"), left_on="read_at", right_on="start", by="register_key", check_sortedness=False)
        .join(marks, on=["register_key", "read_at"], how="left", maintain_order="left")
        .select((pl.col("read_at") < _end).fill_null(value=False) | pl.col("replaced").is_not_null())
        .to_series()
    )
    ends = concerned.group_by("register_key").agg(first=pl.col("read_at").min(), last=pl.col("read_at").max())
    given = replaced.join(ends, on="register_key").filter(_start.is_between("first", "last")).select(
        "register_key", "value", read_at="start", copy=pl.lit(0), quality=pl.lit(0), received_at=pl.coalesce("known_from", "made_at"),
    )
    rest = readings.filter(~_of_register.is_in(keys.implode()))
    aside = concerned.filter(out).with_columns(broken_rules=pl.lit([EDITED], dtype=pl.List(pl.String())))
    return (
        pl.concat([conform(part, READING) for part in (rest, concerned.filter(~out), given)]),
        conform(aside, SET_ASIDE).sort("register_key", "read_at", "copy"),
    )


def effects(edits: pl.DataFrame, readings: pl.DataFrame, set_aside: pl.DataFrame) -> pl.DataFrame:
    """Say of each replacement whether the value that it gives counts.

    Args:
        edits: EDIT, those that count.
        readings: READING after `edited`.
        set_aside: SET_ASIDE of these readings, by the interval rules.

    Returns:
        FLAG, one of REPLACED at the instant of each, `after` being the value: set aside by the rules as any reading, or without readings
        of the register before and after it.
    """
    at = ["register_key", "read_at"]
    given = edits.filter(pl.col("kind") == "replace").sort("edit").unique(["register_key", "start"], keep="last", maintain_order=True)
    if given.is_empty():
        return empty(FLAG)
    given = given.select("register_key", "start", after="value", read_at="start")
    concerned = readings.filter(_of_register.is_in(given["register_key"].unique().implode()))
    counting = concerned.select(at).unique().join(set_aside.select(at), on=at, how="anti").with_columns(counts=pl.lit(value=True))
    flag = pl.when(pl.col("counts").is_not_null()).then(pl.lit(REPLACED[True])).otherwise(pl.lit(REPLACED[False]))
    return conform(given.join(counting, on=at, how="left").with_columns(flag=flag, end="start"), FLAG).sort("register_key", "start")


def confirmed(edits: pl.DataFrame, readings: pl.DataFrame, set_aside: pl.DataFrame) -> pl.DataFrame:
    """The time that confirmations hold for: that of the edits, without the readings that count and arrived after the check.

    Args:
        edits: EDIT, those that count.
        readings: READING after `edited`: a replaced value arrives when its edit is checked.
        set_aside: SET_ASIDE of these readings, by the interval rules.

    Returns:
        WINDOW. A step with a late reading at one of its ends lies in none of them.
    """
    spans = edits.filter(pl.col("kind") == "confirm").with_row_index("row")
    if spans.is_empty():
        return empty(WINDOW)
    concerned = readings.filter(_of_register.is_in(spans["register_key"].unique().implode()))
    counting = concerned.join(set_aside, on=["register_key", "read_at", "copy"], how="anti")
    late = spans.join(counting.select("register_key", "read_at", "received_at"), on="register_key").filter(
        pl.col("received_at") > pl.col("known_from"), pl.col("read_at").is_between("start", "end"),
    ).select("row", "read_at").unique()
    begins = pl.concat([spans.select("row", "start"), late.select("row", start=pl.col("read_at") + _MOMENT)]).sort("row", "start")
    ends = pl.concat([spans.select("row", "end"), late.select("row", end=pl.col("read_at") - _MOMENT)]).sort("row", "end")
    pieces = begins.with_columns(ends["end"]).filter(_start < _end)
    return conform(pieces.join(spans.select("row", "register_key"), on="row", how="left", maintain_order="left"), WINDOW)


def unconfirmed(suspect: pl.DataFrame, confirmed: pl.DataFrame) -> pl.DataFrame:
    """Apply rule 3.

    Args:
        suspect: register_key, start, end of suspect steps; further columns are kept.
        confirmed: WINDOW, in any order; spans that touch or overlap are one.

    Returns:
        The rows of `suspect` that stay so, in their order: those that no confirmed time holds from start to end, both included.
    """
    right = _together(confirmed)
    if right.is_empty() or suspect.is_empty():
        return suspect
    held = (
        suspect.select("register_key", "start", till="end").with_row_index("row").sort("start")
        .join_asof(right.sort("start"), on="start", by="register_key", check_sortedness=False)
        .filter((pl.col("till") <= _end).fill_null(value=False))
    )
    return suspect.with_row_index("row").join(held, on="row", how="anti", maintain_order="left").drop("row")


def filled(
    intervals: pl.DataFrame, gaps: pl.DataFrame, edits: pl.DataFrame, by: Literal["hour", "day", "month", "year"], zone: str,
) -> pl.DataFrame:
    """Apply rule 4.

    Args:
        intervals: INTERVAL by that grain.
        gaps: WINDOW, what no counted step covers.
        edits: EDIT, those that count. Where two estimates of a register overlap, which the store refuses, the one that starts
            later (then the one with the greater number) is left out.
        by: the grain.
        zone: the place whose hours and days are meant.

    Returns:
        INTERVAL sorted by register_key and start; an interval of which nothing but an estimate is known gets a row. Covered and
        estimated shares grow by the time that is filled; a measured interval that is touched becomes estimated.
    """
    estimates = edits.filter(pl.col("kind") == "estimate").sort("register_key", "start", "edit").filter(
        (_start >= _end.cum_max().shift(1).over("register_key")).fill_null(value=True),
    ).select("register_key", "value", e_start="start", e_end="end", whole=_end - _start)
    pieces = estimates.join(_together(gaps), on="register_key").select(
        "register_key", "value", "whole", a=pl.max_horizontal("start", "e_start"), b=pl.min_horizontal("end", "e_end"),
    ).filter(pl.col("a") < pl.col("b"))
    if pieces.is_empty():
        return intervals
    first, last = (calendar.local_day(cast(datetime, instant), zone).year for instant in (pieces["a"].min(), pieces["b"].max()))
    bounds = grain_bounds(zone, by, first, last)
    # What is divided by a repeated value is multiplied by its inverse, and the last bit may differ: so divide before anything is repeated.
    whole = pl.col("whole").dt.total_microseconds()
    pieces = pieces.with_columns(pl.col("a", "b").to_physical(), whole=whole, rate=pl.col("value") / whole)
    low, high = bounds.search_sorted(pieces["a"], side="right").cast(pl.Int64) - 1, bounds.search_sorted(pieces["b"], side="left").cast(pl.Int64)
    pieces = pieces.with_columns(slot=pl.int_ranges(low, high, eager=True)).explode("slot")
    begin, until = bounds.gather(pieces["slot"]), bounds.gather(pieces["slot"] + 1)
    us = pl.min_horizontal("b", "until") - pl.max_horizontal("a", "begin")
    added = (
        pieces.with_columns(begin=begin, until=until).with_columns(us=us).sort("register_key", "begin", "a")
        .with_columns(share=pl.when(pl.col("us") == pl.col("whole")).then("value").otherwise(pl.col("rate") * pl.col("us")))
        .group_by("register_key", "begin", "until", maintain_order=True).agg(added=pl.col("share").cum_sum().last(), us=pl.col("us").sum())
        .select(
            "register_key", "added", start=pl.col("begin").cast(INSTANT), until=pl.col("until").cast(INSTANT),
            more=pl.col("us") / (pl.col("until") - pl.col("begin")),
        )
    )
    known, more, was = pl.col("covered_ratio").fill_null(0.0), pl.col("more"), pl.col("estimated_ratio").fill_null(0.0)
    covered = (known + more).clip(upper_bound=1.0)
    touched = more.is_not_null()
    both = intervals.join(added, on=["register_key", "start"], how="full", coalesce=True).with_columns(
        end=pl.coalesce("end", "until"),
        quantity=pl.when(touched).then(pl.col("quantity").fill_null(0.0) + pl.col("added")).otherwise("quantity"),
        quality=pl.when(touched & (pl.col("quality").is_null() | (pl.col("quality") == "measured"))).then(pl.lit("estimated", QUALITY))
        .otherwise("quality"),
        covered_ratio=pl.when(touched).then(covered).otherwise("covered_ratio"),
        estimated_ratio=pl.when(touched).then(((known * was + more) / (known + more)).clip(upper_bound=1.0)).otherwise("estimated_ratio"),
    )
    return both.select(INTERVAL.names()).sort("register_key", "start")


def explained(intervals: pl.DataFrame, edits: pl.DataFrame) -> pl.DataFrame:
    """Say of each interval which edits touch it.

    Args:
        intervals: register_key, start, end; further columns are kept.
        edits: EDIT, those that count.

    Returns:
        The same rows in their order with `edits`, the numbers of those whose time overlaps the interval. That of an excluded or replaced
        reading is taken with an hour on either side, since the steps to its neighbours change too.
    """
    around = pl.when(pl.col("kind").is_in(["exclude", "replace"])).then(NEIGHBOURS).otherwise(timedelta())
    spans = edits.select("register_key", "edit", low=_start - around, high=pl.coalesce("end", _start + timedelta(microseconds=1)) + around)
    numbered = intervals.with_row_index("row")
    touched = (
        numbered.select("row", "register_key", "start", "end").join(spans, on="register_key")
        .filter((_start < pl.col("high")) & (pl.col("low") < _end))
        .group_by("row").agg(edits=pl.col("edit").sort())
    )
    return numbered.join(touched, on="row", how="left", maintain_order="left").drop("row").with_columns(pl.col("edits").fill_null([]))


def _together(spans: pl.DataFrame) -> pl.DataFrame:
    """WINDOW: the time that some spans hold together; those that touch or overlap become one."""
    reached = _end.cum_max().shift(1).over("register_key")
    return (
        spans.select(WINDOW.names()).sort("register_key", "start")
        .with_columns(run=((_start > reached).fill_null(value=True)).cum_sum())
        .group_by("register_key", "run", maintain_order=True).agg(_start.min(), _end.max())
        .select(WINDOW.names())
    )
