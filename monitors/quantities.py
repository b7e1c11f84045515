"""Consumption of registers to quantities of carriers by enterprise, site, process, product and period."""

from datetime import datetime
from typing import Final, Literal

import polars as pl

from config import schemas
from config.calendar import local_next, local_start, period_of
from monitors.intervals import quantity_unit

GROUP: Final = ("enterprise", "site", "process", "product", "period", "carrier", "unit", "flow", "use")


def quantities(
    intervals: pl.DataFrame,
    registers: pl.DataFrame,
    assignments: pl.DataFrame,
    *,
    by: Literal["day", "month", "year"],
    zone: str,
    until: datetime | None = None,
) -> pl.DataFrame:
    """Sum intervals over the local days, months or years of what their registers are assigned to.

    An interval that crosses the end of a period or a date of an assignment is divided by time, and its parts count as
    estimated. Periods are those in which the enterprise has any interval; each assignment in force then is expected to deliver
    over all of its days in the period, so that a register without data shows as not covered, and a carrier without any as a
    null quantity, never as zero. So does an assignment whose share of a shared register is not known (`monitors.allocation`).

    Args:
        intervals: INTERVAL of one grain (a row per hour or day, or between readings), not overlapping for a register.
        registers: REGISTER; the unit is that of the row known and valid last.
        assignments: ASSIGNMENT, half-open in time. Null `flow` is consumed, null `use` fuel, null `share_ratio` 1.
        by: the length of a period.
        zone: the calendar's time zone.
        until: an instant up to which data can be there; what lies after it is not expected yet.

    Returns:
        QUANTITY in the register's unit (a rate's times an hour), sorted by its keys. `covered_ratio`: hours covered over hours expected, of all
        registers of the row together; `estimated_ratio`: the estimated share of the quantity.
    """
    assigned = _assigned(registers, assignments).with_row_index("_assignment")
    parts = _divided(intervals, assigned, by, zone)
    known = pl.col("quantity").is_not_null()
    hours = (pl.col("end") - pl.col("start")).dt.total_microseconds() / 3.6e9
    amount = pl.col("quantity") * pl.col("share_ratio")
    delivered = parts.group_by("_assignment", "_start", maintain_order=True).agg(
        quantity=pl.when(known.any()).then(amount.sum()),
        _covered_h=pl.when(known).then(hours * pl.col("covered_ratio").fill_null(1.0)).sum(),
        _weight=amount.abs().sum(), _estimated=(amount.abs() * pl.col("estimated_ratio").fill_null(0.0)).sum(),
        _plain=(hours * pl.col("estimated_ratio").fill_null(0.0)).sum() / hours.sum(),
    )
    horizon = pl.lit(until, dtype=schemas.INSTANT)
    expected = (
        assigned.join(parts.select("enterprise", "_start").unique(), on="enterprise", how="inner")
        .with_columns(_end=local_next(pl.col("_start"), by, zone))
        .with_columns(
            _hours=(pl.min_horizontal("_end", "_to", horizon) - pl.max_horizontal("_start", "_from")).dt.total_microseconds() / 3.6e9,
        )
        .filter(pl.col("_hours") > 0)
    )
    return (
        expected.join(delivered, on=["_assignment", "_start"], how="left")
        .with_columns(period=period_of(pl.col("_start"), by, zone))
        .sort(*GROUP, "_assignment")
        .group_by(GROUP, maintain_order=True)
        .agg(
            quantity=pl.when(pl.col("quantity").is_not_null().any()).then(pl.col("quantity").sum()),
            covered_ratio=(pl.col("_covered_h").fill_null(0.0).sum() / pl.col("_hours").sum()).clip(0.0, 1.0),
            estimated_ratio=pl.when(pl.col("_weight").sum() > 0).then(pl.col("_estimated").sum() / pl.col("_weight").sum())
            .otherwise(pl.col("_plain").mean()),
        )
        .select(schemas.QUANTITY.names())
    )


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


def _divided(intervals: pl.DataFrame, assigned: pl.DataFrame, by: str, zone: str) -> pl.DataFrame:
    """Intervals of assigned registers, cut at the ends of periods and at the dates of assignments; `_start` of each one's period."""
    rows = intervals.join(
        assigned.select("register_key", "_assignment", "enterprise", "share_ratio", "allocation", "_from", "_to"), on="register_key", how="inner"
    ).filter((pl.col("end") > pl.col("_from")).fill_null(value=True), (pl.col("start") < pl.col("_to")).fill_null(value=True))
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
    return rows.with_columns(
        quantity=pl.when(pl.col("allocation").is_null()).then(pl.col("quantity") * share),
        # Where within an interval the consumption lay is not known: a part of one is an estimate.
        estimated_ratio=pl.when(share < 1).then(1.0).otherwise(pl.col("estimated_ratio")),
    ).drop("_whole", "_from", "_to", "allocation")
