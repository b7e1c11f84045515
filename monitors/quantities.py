"""Consumption of registers to quantities of carriers by enterprise, site, process, product and period."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import polars as pl

from config import schemas
from config.calendar import local_next, local_start, period_of
from monitors.intervals import quantity_unit
from monitors.rollup import Coarse, bounds_around, crossing, slot

PLACES: Final = ("enterprise", "site", "process", "product")
CARRIERS: Final = ("carrier", "unit", "flow", "use")
KEYS: Final = (*PLACES, *CARRIERS)  # of QUANTITY, besides its period
AT_ONCE: Final = 5_000_000  # rows of a frame that is scanned
_OF_ASSIGNMENT: Final = ("register_key", "_assignment", "share_ratio", "allocation", "_from", "_to")
_AMOUNTS: Final = ("quantity", "_covered_h", "_weight", "_estimated", "_estimated_h", "_length_h")
_DELIVERED: Final = pl.Schema({  # what the intervals of a frame give to an assignment in the period that begins at `_start`
    "_assignment": pl.UInt32(), "_start": schemas.INSTANT, **dict.fromkeys(_AMOUNTS, pl.Float64()),
})


def quantities(
    intervals: pl.DataFrame | Iterable[pl.LazyFrame],
    registers: pl.DataFrame,
    assignments: pl.DataFrame,
    *,
    by: Coarse,
    zone: str,
    until: datetime | None = None,
) -> pl.DataFrame:
    """Sum intervals over the local days, months or years of what their registers are assigned to.

    An interval that crosses the end of a period or a date of an assignment is divided by time, and its parts count as
    estimated. Periods are those in which the enterprise has any interval; each assignment in force then is expected to deliver
    over all of its days in the period, so that a register without data shows as not covered, and a carrier without any as a
    null quantity, never as zero. So does an assignment whose share of a shared register is not known (`monitors.allocation`).

    Args:
        intervals: INTERVAL of one grain (a row per hour or day, or between readings), not overlapping for a register. Frames that are
            scanned are summed in a stream one after the other: files of a month each, in the order of registers, are the quickest.
        registers: REGISTER; the unit is that of the row known and valid last.
        assignments: ASSIGNMENT, half-open in time. Null `flow` is consumed, null `use` fuel, null `share_ratio` 1.
        by: the length of a period.
        zone: the calendar's time zone.
        until: an instant up to which data can be there; what lies after it is not expected yet.

    Returns:
        QUANTITY in the register's unit (a rate's times an hour), sorted by its keys. `covered_ratio`: hours covered over hours expected, of all
        registers of the row together; `estimated_ratio`: the estimated share of the quantity.
    """
    assigned = _assigned(registers, assignments)
    assigned = assigned.with_columns(
        _owner=_rank(assigned, PLACES[:1]), _place=_rank(assigned, PLACES), _carrier=_rank(assigned, CARRIERS)
    ).with_row_index("_assignment")
    if isinstance(intervals, pl.DataFrame):
        delivered = _delivered(intervals.lazy(), assigned, by, zone, "in-memory")
    else:
        frames = (_delivered(part, assigned, by, zone, "streaming") for frame in intervals for part in _slices(frame))
        delivered = pl.concat([pl.DataFrame(schema=_DELIVERED), *frames])
    horizon = pl.lit(until, dtype=schemas.INSTANT)
    facts = assigned.select(pl.col("_owner", "_place", "_carrier", "_from").gather(delivered["_assignment"]))
    delivered = delivered.with_columns(facts)
    periods = delivered.select(pl.col("_start").unique()).with_columns(
        _end=local_next(pl.col("_start"), by, zone), period=period_of(pl.col("_start"), by, zone),
    )
    expected = (
        assigned.select("_assignment", "_owner", "_place", "_carrier", "_from", "_to")
        .join(delivered.select("_owner", "_start").unique(), on="_owner")
        .join(periods, on="_start")
        .with_columns(_hours=_hours(pl.max_horizontal("_start", "_from"), pl.min_horizontal("_end", "_to", horizon)))
        .filter(pl.col("_hours") > 0)
    )
    keys, due = ("_place", "_start", "_carrier"), (pl.max_horizontal("_start", "_from") < horizon).fill_null(value=True)
    sums = (
        pl.concat([expected.select(*keys, "_assignment", "_hours"), delivered.filter(due).select(*keys, *_AMOUNTS)], how="diagonal")
        .group_by(keys, maintain_order=True)
        .agg(
            pl.col("_assignment").first(), pl.when(pl.col("quantity").count() > 0).then(pl.col("quantity").sum()),
            covered_ratio=(pl.col("_covered_h").sum() / pl.col("_hours").sum()).clip(0.0, 1.0),
            estimated_ratio=pl.when(pl.col("_weight").sum() > 0).then(pl.col("_estimated").sum() / pl.col("_weight").sum())
            .when(pl.col("_length_h").sum() > 0).then(pl.col("_estimated_h").sum() / pl.col("_length_h").sum()),
        )
        .join(periods.select("_start", "period"), on="_start")
        .sort(keys)
    )
    named = assigned.select(pl.col(KEYS).gather(sums["_assignment"]))
    return pl.concat([sums, named], how="horizontal").select(schemas.QUANTITY.names())


def assigned_in(registers: pl.DataFrame, assignments: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """What `quantities` uses of registers and assignments for intervals within [start, end), in one order.

    Returns:
        ASSIGNMENT of what is in force then, each with its register's `unit`; a date that lies outside of that time is null. With these in
        place of the assignments, the quantities of that time are the same.
    """
    rows = _assigned(registers, assignments).with_columns(
        valid_from=pl.when(pl.col("_from") > start).then("_from"), valid_to=pl.when(pl.col("_to") < end).then("_to"),
    )
    begun, ends = (pl.col("_from") < end).fill_null(value=True), (pl.col("_to") > start).fill_null(value=True)
    return rows.filter(begun & ends).select(*schemas.ASSIGNMENT, "unit").sort(schemas.ASSIGNMENT.names())


def _assigned(registers: pl.DataFrame, assignments: pl.DataFrame) -> pl.DataFrame:
    """Assignments with what stands for null, their registers' `unit`, and `_from`, `_to`: where both the register and they hold."""
    measured_in = registers.select("kind", "unit").unique()
    measured_in = measured_in.with_columns(
        _unit=pl.Series([quantity_unit(kind or "cumulative", unit) for kind, unit in measured_in.iter_rows()], dtype=pl.String())
    )
    facts = registers.join(measured_in, on=["kind", "unit"], how="left", nulls_equal=True).sort(
        "known_from", "valid_from", nulls_last=False
    ).group_by("register_key", maintain_order=True).agg(
        pl.col("_unit").last().alias("unit"),
        # A register counts from its first row to its last one; a missing date on either side is without end.
        _from=pl.when(pl.col("valid_from").is_not_null().all()).then(pl.col("valid_from").min()),
        _to=pl.when(pl.col("valid_to").is_not_null().all()).then(pl.col("valid_to").max()),
    )
    return (
        schemas.conform(assignments, schemas.ASSIGNMENT)
        .join(facts, on="register_key", how="inner", maintain_order="left")
        .with_columns(
            pl.col("flow").fill_null("consumed"), pl.col("use").fill_null("fuel"), pl.col("share_ratio").fill_null(1.0),
            _from=pl.max_horizontal("valid_from", "_from"), _to=pl.min_horizontal("valid_to", "_to"),
        )
        .drop("valid_from", "valid_to")
    )


def _rank(assigned: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    """The place of each row's names in their order, nulls first."""
    found = assigned.select(names).unique().sort(names).with_row_index("_rank")
    return assigned.select(names).join(found, on=names, how="left", nulls_equal=True, maintain_order="left")["_rank"]


def _slices(rows: pl.LazyFrame) -> Iterable[pl.LazyFrame]:
    """The rows in parts that bound the memory: a stream holds more of a file the longer it is."""
    count = rows.select(pl.len()).collect(engine="streaming").item()
    return (rows.slice(first, AT_ONCE) for first in range(0, count, AT_ONCE))


def _hours(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    return (end - start).dt.total_microseconds() / 3.6e9


def _delivered(
    rows: pl.LazyFrame, assigned: pl.DataFrame, by: Coarse, zone: str, engine: Literal["in-memory", "streaming"],
) -> pl.DataFrame:
    """What the intervals of a frame give to each assignment in the period that begins at `_start`.

    They are summed by register and period before a share is taken. Only those that cross the end of a period, or are of a register that
    is assigned anew within one, are taken one by one.
    """
    key, start, end, quantity = (pl.col(name) for name in ("register_key", "start", "end", "quantity"))
    covered, estimated = pl.col("covered_ratio").fill_null(1.0), pl.col("estimated_ratio").fill_null(0.0)
    rows = rows.select("register_key", "start", "end", "quantity", "covered_ratio", "estimated_ratio")
    facts = rows.select(
        first=start.min(), last=start.max(), end=end.max(), shortest=(end - start).min(), longest=(end - start).max(),
        ordered=(key >= key.shift(1)).all(),
    ).collect(engine=engine).row(0, named=True)
    if facts["first"] is None:
        return pl.DataFrame(schema=_DELIVERED)
    bounds = bounds_around(facts["first"], facts["last"], by, zone)
    begins, count = bounds.cast(schemas.INSTANT), len(bounds) - 1
    anew = assigned.filter(pl.any_horizontal(
        pl.col(name).is_between(begins[0], begins[-1], closed="none") & ~pl.col(name).is_in(begins.implode()) for name in ("_from", "_to")
    ))["register_key"].unique()
    parts = []
    if anew.len() or facts["end"] > begins[1]:
        apart = key.is_in(anew.implode()) | crossing(by, zone, facts["first"], facts["last"])
        parts.append(_divided(rows.filter(apart).collect(engine=engine), assigned, by, zone))
        rows = rows.filter(~apart)
    at, place = "register_key", pl.col("register_key")
    if count > 1:
        at, place = "_at", pl.col("_at")
        rows = rows.with_columns(_at=key.cast(pl.Int64) * count + slot(start.to_physical(), bounds))
    elif facts["ordered"]:
        rows = rows.set_sorted(at)
    alike = facts["longest"] if facts["shortest"] == facts["longest"] else None

    def hours_of(ratio: pl.Expr) -> pl.Expr:
        return ratio.sum() * (alike / timedelta(hours=1)) if alike else (ratio * _hours(start, end)).sum()

    sums = rows.group_by(at).agg(
        _any=quantity.count() > 0, quantity=quantity.sum(), _covered_h=hours_of(pl.when(quantity.is_not_null()).then(covered)),
        _weight=quantity.abs().sum(), _estimated=(quantity.abs() * estimated).sum(), _estimated_h=hours_of(estimated),
        _length_h=pl.len() * (alike / timedelta(hours=1)) if alike else _hours(start, end).sum(),
    ).collect(engine=engine).with_columns(
        register_key=(place // count).cast(pl.UInt32), quantity=pl.when("_any").then("quantity"),
        _start=pl.lit(begins).gather(place % count), _end=pl.lit(begins).gather(place % count + 1),
    )
    used = sums.join(assigned.select(_OF_ASSIGNMENT), on="register_key").filter(_within(pl.col("_start"), pl.col("_end")))
    known, share = pl.col("allocation").is_null(), pl.col("share_ratio")
    parts.append(used.with_columns(
        pl.when(known).then(pl.col("quantity") * share), pl.when(known).then("_covered_h").otherwise(0.0),
        pl.when(known).then(pl.col("_weight", "_estimated") * share.abs()).otherwise(0.0),
    ).select(_DELIVERED.names()))
    return pl.concat(parts)


def _within(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """Whether an assignment holds at any time of a span."""
    return (end > pl.col("_from")).fill_null(value=True) & (start < pl.col("_to")).fill_null(value=True)


def _divided(intervals: pl.DataFrame, assigned: pl.DataFrame, by: Coarse, zone: str) -> pl.DataFrame:
    """The same of intervals that are cut at the ends of periods and at the dates of assignments."""
    rows = intervals.join(assigned.select(_OF_ASSIGNMENT), on="register_key", how="inner").filter(_within(pl.col("start"), pl.col("end")))
    rows = rows.with_columns(
        _whole=pl.col("end") - pl.col("start"), start=pl.max_horizontal("start", "_from"), end=pl.min_horizontal("end", "_to")
    ).with_columns(_start=local_start(pl.col("start"), by, zone))
    within = pl.col("end") <= local_next(pl.col("_start"), by, zone)
    crossing = rows.filter(~within)
    every = {"day": "1d", "month": "1mo", "year": "1y"}[by]
    local_range = pl.datetime_ranges(
        pl.col("_start").dt.convert_time_zone(zone), pl.col("end").dt.convert_time_zone(zone), interval=every, closed="left"
    )
    cut = crossing.with_columns(_start=local_range).explode("_start").with_columns(pl.col("_start").dt.convert_time_zone("UTC")).with_columns(
        start=pl.max_horizontal("start", "_start"), end=pl.min_horizontal("end", local_next(pl.col("_start"), by, zone))
    )
    rows = pl.concat([rows.filter(within), cut]).sort("_assignment", "start")
    share = (pl.col("end") - pl.col("start")) / pl.col("_whole")
    rows = rows.with_columns(
        quantity=pl.when(pl.col("allocation").is_null()).then(pl.col("quantity") * share * pl.col("share_ratio")),
        # Where within an interval the consumption lay is not known: a part of one is an estimate.
        estimated_ratio=pl.when(share < 1).then(1.0).otherwise(pl.col("estimated_ratio")).fill_null(0.0),
        _length_h=_hours(pl.col("start"), pl.col("end")),
    )
    known, weight = pl.col("quantity").is_not_null(), pl.col("quantity").abs()
    return rows.group_by("_assignment", "_start", maintain_order=True).agg(
        quantity=pl.when(known.any()).then(pl.col("quantity").sum()),
        _covered_h=pl.when(known).then(pl.col("_length_h") * pl.col("covered_ratio").fill_null(1.0)).sum(),
        _weight=weight.sum(), _estimated=(weight * pl.col("estimated_ratio")).sum(),
        _estimated_h=(pl.col("_length_h") * pl.col("estimated_ratio")).sum(), _length_h=pl.col("_length_h").sum(),
    ).select(_DELIVERED.names())
