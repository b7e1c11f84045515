"""The data-quality index of meters, enterprises and parks: six parts, each a ratio that keeps its numerator and denominator.

The parts are those of the provincial standards for the quality of online energy data (DB53/T 1116-2022, DB34/T 4689-2024:
completeness, accuracy, timeliness, verifiability, validity, conformity). Completeness (points uploaded / points due) and accuracy
(meters with a valid verification / all meters) are defined there; how the other four count was not found and is stated below.
A part that is not known of a meter is counted as unknown: never as zero, and never left out in silence.
"""

from typing import Final, Literal

import polars as pl

from config import calendar
from config.schemas import ARRIVAL, INSTANT, LATE_BOUNDS_S, QUALITY_COUNT, QUALITY_INDEX, QUALITY_PARTS, conform
from monitors.local_days import local_days

Level = Literal["meter", "enterprise", "park"]
_DAYS: Final = 2**22  # more than there are, on either side of 1970
_METER: Final = ["enterprise", "meter"]
_CELL: Final = [*_METER, "period"]
KNOWN_STATES: Final = {"valid": 1, "due_soon": 1, "overdue": 0}  # of a verification; the other states say nothing


def arrivals(readings: pl.DataFrame, zone: str) -> pl.DataFrame:
    """How the readings of each register and local day came.

    Args:
        readings: READING; of an instant the first copy counts.
        zone: the place whose days are meant.

    Returns:
        ARRIVAL, by register and day.

    >>> from datetime import UTC, datetime, timedelta
    >>> from config.schemas import READING
    >>> at = datetime(2025, 6, 1, tzinfo=UTC)
    >>> came = {"register_key": [1, 1], "read_at": [at, at], "received_at": [at, at + timedelta(hours=1)], "copy": [0, 0], "message": [7, 8]}
    >>> arrivals(conform(pl.DataFrame(came), READING), "Asia/Shanghai").select("readings", "with_message", "within_900_s", "within_3600_s").rows()
    [(2, 2, 1, 2)]
    """
    took_us = (pl.col("received_at") - pl.col("read_at")).dt.total_microseconds()
    rows = readings.with_columns(day=local_days(readings["read_at"], zone)).lazy().filter(pl.col("copy") == 0).select(
        "message", packed=pl.col("register_key").cast(pl.Int64) * _DAYS + pl.col("day").to_physical() + _DAYS // 2, took_us=took_us,
    )
    by_day = rows.group_by("packed").agg(
        readings=pl.len(), with_message=pl.col("message").count(),
        **{f"within_{bound}_s": (pl.col("took_us") <= bound * 1_000_000).sum() for bound in LATE_BOUNDS_S},
    ).with_columns(
        register_key=pl.col("packed") // _DAYS, day=(pl.col("packed") % _DAYS - _DAYS // 2).cast(pl.Int32()).cast(pl.Date()),
    ).collect()
    starts = {day: calendar.day_span(day, zone)[0] for day in by_day["day"].unique()}
    start = pl.col("day").replace_strict(starts, return_dtype=INSTANT)
    return conform(by_day.with_columns(start=start), ARRIVAL).sort("register_key", "start")


def completeness_counts(complete: pl.DataFrame, registers: pl.DataFrame, periods: pl.DataFrame) -> pl.DataFrame:
    """Completeness: points that came, of the points that were due.

    Args:
        complete: COMPLETENESS.
        registers: register_key, enterprise, meter.
        periods: period, first, last (local days, both included).

    Returns:
        QUALITY_COUNT; a meter of which nothing was due has no row: there was nothing to be complete.
    """
    found = _placed(complete, registers, periods).group_by(_CELL).agg(good=pl.col("received").sum(), total=pl.col("due").sum())
    return _counts(found, "completeness")


def accuracy_counts(verified: pl.DataFrame, period: str) -> pl.DataFrame:
    """Accuracy: meters with a valid verification, of all meters.

    Args:
        verified: CALIBRATION as of the period's last day; a meter without an entry, or without an end of it, is unknown.
        period: the name of the period.

    Returns:
        QUALITY_COUNT.
    """
    good = pl.col("state").replace_strict(KNOWN_STATES, default=None, return_dtype=pl.Int64)
    return _counts(verified.select(*_METER, period=pl.lit(period), good=good, total=pl.when(good.is_not_null()).then(1)), "accuracy")


def timeliness_counts(
    came: pl.DataFrame, received: pl.DataFrame, weights: pl.DataFrame, registers: pl.DataFrame, periods: pl.DataFrame,
) -> pl.DataFrame:
    """Timeliness: readings that arrived within the bound of their instant, of all that arrived.

    Args:
        came: ARRIVAL.
        received: RECEIVED: a day with readings of which no arrival is counted makes the meter unknown.
        weights: QUALITY_WEIGHT: the bound in force on the period's first day.
        registers: register_key, enterprise, meter.
        periods: period, first, last.

    Returns:
        QUALITY_COUNT.
    """
    bounds = weights_on(weights, periods).filter(pl.col("part") == "timeliness").select("period", "late_after_s")
    within = pl.coalesce(pl.when(pl.col("late_after_s") == bound).then(f"within_{bound}_s") for bound in LATE_BOUNDS_S)
    rows = _placed(_with_days_that_came(came, received), registers, periods).join(bounds, on="period", how="left").with_columns(within=within)
    unknown = pl.col("within").is_null().any()
    found = rows.group_by(_CELL).agg(good=pl.when(~unknown).then(pl.col("within").sum()), total=pl.when(~unknown).then(pl.col("readings").sum()))
    return _counts(found, "timeliness")


def verifiability_counts(
    came: pl.DataFrame, received: pl.DataFrame, checked: pl.DataFrame | None, registers: pl.DataFrame, periods: pl.DataFrame,
) -> pl.DataFrame:
    """Verifiability: registers' figures of the period that can be walked back and that a second source confirms or denies, of all of them.

    A figure can be walked back where each of its readings names the message that brought it.

    Args:
        came: ARRIVAL.
        received: RECEIVED.
        checked: register_key, period: figures that were held against a second source (a bill, a stock count, sub-meters, the
            month's own figure), whatever came of it. None: nobody looked, so all are unknown.
        registers: register_key, enterprise, meter.
        periods: period, first, last.

    Returns:
        QUALITY_COUNT.
    """
    days = _placed(_with_days_that_came(came, received), registers, periods)
    figures = days.group_by("register_key", *_CELL).agg(walked=(pl.col("with_message") == pl.col("readings")).all(ignore_nulls=False))
    if checked is None:
        figures = figures.with_columns(both=pl.lit(None, dtype=pl.Boolean()))
    else:
        held = checked.select("register_key", "period").unique().with_columns(held=pl.lit(value=True))
        figures = figures.join(held, on=["register_key", "period"], how="left")
        figures = figures.with_columns(both=pl.col("walked") & pl.col("held").fill_null(value=False))
    unknown = pl.col("both").is_null().any()
    found = figures.group_by(_CELL).agg(good=pl.when(~unknown).then(pl.col("both").sum()), total=pl.when(~unknown).then(pl.len()))
    return _counts(found, "verifiability")


def validity_counts(judged: pl.DataFrame | None, received: pl.DataFrame, registers: pl.DataFrame, periods: pl.DataFrame) -> pl.DataFrame:
    """Validity: readings that passed validation, of those that passed or failed.

    A reading that broke no rule, but could not be judged by one, is neither good nor bad. A day with such readings does not count, and
    a register of which no day counts makes its meter unknown.

    Args:
        judged: register_key, day, passed, failed, unknown (readings). None: validation does not run, so all are unknown.
        received: RECEIVED: a day with readings at which validation did not look makes the meter unknown.
        registers: register_key, enterprise, meter.
        periods: period, first, last.

    Returns:
        QUALITY_COUNT.
    """
    days = received.select("register_key", "day").unique()
    if judged is None:
        rows = days.with_columns(pl.lit(None, pl.Int64()).alias(name) for name in ("passed", "failed", "unknown"))
    else:
        counted = judged.group_by("register_key", "day").agg(pl.col("passed", "failed", "unknown").cast(pl.Int64()).sum())
        rows = counted.join(days, on=["register_key", "day"], how="full", coalesce=True)
    clear = pl.col("unknown") == 0
    by_register = _placed(rows, registers, periods).group_by("register_key", *_CELL).agg(
        good=pl.col("passed").filter(clear).sum(), total=(pl.col("passed") + pl.col("failed")).filter(clear).sum(),
        known=pl.col("unknown").is_not_null().all() & clear.any(),
    )
    known = pl.col("known").all()
    found = by_register.group_by(_CELL).agg(pl.when(known).then(pl.col(name).sum()).alias(name) for name in ("good", "total"))
    return _counts(found, "validity")


def conformity_counts(
    received: pl.DataFrame, refused: pl.DataFrame, judged: pl.DataFrame, starts: pl.DataFrame, spans: pl.DataFrame, registers: pl.DataFrame,
    periods: pl.DataFrame,
) -> pl.DataFrame:
    """Conformity: what came as the contract has it, of all that came.

    Counted are readings (stored, or refused for their form, unit, name or clock), messages that could not be read, and of each
    register and day with readings its start: validation's rule `day_start`, a reading within a minute of midnight.

    Args:
        received: RECEIVED.
        refused: enterprise, meter, day, refused: readings and messages that were refused; a meter that is not registered, or null,
            counts for its enterprise.
        judged: register_key, day: where validation looked. A day with readings at which it did not makes the meter unknown.
        starts: PERIOD_VERDICT of the rule, with `day`; a start that could not be judged makes the meter unknown, a day without a row was
            not asked for one.
        spans: what `completeness.due_spans` gave: only a day that begins within one has a start that is due.
        registers: register_key, enterprise, meter.
        periods: period, first, last.

    Returns:
        QUALITY_COUNT.
    """
    days = received.group_by("register_key", "day").agg(pl.col("readings").cast(pl.Int64()).sum())
    days = days.join(judged.select("register_key", "day").unique().with_columns(judged=pl.lit(value=True)), on=["register_key", "day"], how="left")
    begins = starts.join(spans.select("register_key", owed_from="start", owed_to="end"), on="register_key")
    begins = begins.filter(pl.col("start") >= pl.col("owed_from"), pl.col("start") < pl.col("owed_to")).group_by("register_key", "day").agg(
        kept=(pl.col("verdict") == "passed").sum(), asked=pl.len(), unclear=(pl.col("verdict") == "unknown").any(),
    )
    days = days.join(begins, on=["register_key", "day"], how="left").with_columns(
        good=pl.col("readings") + pl.col("kept").fill_null(0), total=pl.col("readings") + pl.col("asked").fill_null(0),
        unclear=pl.col("judged").is_null() | pl.col("unclear").fill_null(value=False),
    )
    came = _placed(days, registers, periods).group_by(_CELL).agg(pl.col("good", "total").cast(pl.Int64()).sum(), unclear=pl.col("unclear").any())
    known = registers.select(*_METER).unique().with_columns(named="meter")
    lost = _within(refused.join(known, on=_METER, how="left").with_columns(meter="named"), periods).select(
        *_CELL, good=pl.lit(0, pl.Int64()), total=pl.col("refused").cast(pl.Int64()),
    )
    both = pl.concat([came, lost.with_columns(unclear=pl.lit(value=False))])
    clear = ~pl.col("unclear").any()
    return _counts(both.group_by(_CELL).agg(pl.when(clear).then(pl.col(name).sum()).alias(name) for name in ("good", "total")), "conformity")


def data_quality(counts: pl.DataFrame, meters: pl.DataFrame, periods: pl.DataFrame, weights: pl.DataFrame, by: Level) -> pl.DataFrame:
    """The index of each meter, enterprise or park and period, with its parts: sums over sums, never a mean of ratios.

    Args:
        counts: QUALITY_COUNT of all parts. Of a meter and period that has no row there was nothing; one with total null is unknown.
        meters: enterprise, meter, park: all that count; meter null: the row by which an enterprise without a meter's name counts.
        periods: period, first, last.
        weights: QUALITY_WEIGHT: those in force on the period's first day.
        by: whose index.

    Returns:
        QUALITY_INDEX by subject and period. Where a part is not known of all meters, or there was nothing of it, the state is
        incomplete, the index is null, and `known_index_ratio` is that over what is known.
    """
    subject = {"meter": _METER, "enterprise": ["enterprise"], "park": ["park"]}[by]
    cells = meters.filter(pl.col("meter").is_not_null()) if by == "meter" else meters
    cells = cells.join(periods.select("period"), how="cross").join(pl.DataFrame({"part": QUALITY_PARTS}), how="cross")
    rows = cells.join(counts.with_columns(told=pl.lit(value=True)), on=[*_CELL, "part"], how="left", nulls_equal=True)
    unknown = (pl.col("told").fill_null(value=False) & pl.col("total").is_null()).sum().cast(pl.UInt32())
    told = (pl.col("total").sum() > 0) | (unknown == 0)
    parts = rows.group_by(*subject, "period", "part").agg(
        good=pl.when(told).then(pl.col("good").sum()), total=pl.when(told).then(pl.col("total").sum()), unknown=unknown,
    ).with_columns(ratio=pl.when(pl.col("total") > 0).then(pl.col("good") / pl.col("total"))).join(
        weights_on(weights, periods).select("period", "part", "weight"), on=["period", "part"], how="left"
    )
    known = pl.col("ratio").is_not_null() & pl.col("weight").is_not_null()
    lacks = (pl.col("unknown") > 0) | pl.col("ratio").is_null() | pl.col("weight").is_null()
    lacks &= pl.col("weight").ne_missing(0.0)  # what weighs nothing lacks nothing
    order = pl.col("part").replace_strict({part: place for place, part in enumerate(QUALITY_PARTS)}, return_dtype=pl.Int8())
    index = parts.sort(order).group_by(*subject, "period", maintain_order=True).agg(
        known_index_ratio=(pl.col("ratio") * pl.col("weight")).filter(known).sum() / pl.col("weight").filter(known).sum(),
        known_weight_ratio=pl.col("weight").filter(known).sum() / pl.col("weight").sum(),
        missing=pl.col("part").filter(lacks),
        **{f"{part}_{name}": pl.col(name).filter(pl.col("part") == part).first()
           for part in QUALITY_PARTS for name in ("good", "total", "ratio", "unknown")},
    ).with_columns(pl.col("known_index_ratio", "known_weight_ratio").fill_nan(None))
    complete = pl.col("missing").list.len() == 0
    counted = meters.group_by(subject).agg(meters=pl.col("meter").count())
    sources = weights_on(weights, periods).group_by("period").agg(source=pl.col("source").unique(maintain_order=True).str.join("; "))
    index = index.join(counted, on=subject).join(sources, on="period", how="left").with_columns(
        state=pl.when(complete).then(pl.lit("complete")).otherwise(pl.lit("incomplete")),
        index_ratio=pl.when(complete).then("known_index_ratio"),
    )
    return conform(index, QUALITY_INDEX).sort(*subject, "period")


def weights_on(weights: pl.DataFrame, periods: pl.DataFrame) -> pl.DataFrame:
    """The weights in force on the first day of each period: period and the columns of QUALITY_WEIGHT."""
    dated = periods.select("period", "first").join(weights, how="cross").filter(pl.col("valid_from") <= pl.col("first"))
    return dated.sort("valid_from").group_by("period", "part", maintain_order=True).last().drop("first").sort("period", "part")


def _with_days_that_came(came: pl.DataFrame, received: pl.DataFrame) -> pl.DataFrame:
    """ARRIVAL, with a row of nulls for each day that has readings and no arrival."""
    days = received.select("register_key", "day").unique()
    return came.join(days, on=["register_key", "day"], how="full", coalesce=True)


def _placed(by_day: pl.DataFrame, registers: pl.DataFrame, periods: pl.DataFrame) -> pl.DataFrame:
    """Rows by register and day, with the meter and each period that the day lies in."""
    return _within(by_day.join(registers.select("register_key", *_METER), on="register_key"), periods)


def _within(by_day: pl.DataFrame, periods: pl.DataFrame) -> pl.DataFrame:
    days = periods.select("period", day=pl.date_ranges("first", "last")).explode("day")
    return by_day.join(days, on="day")


def _counts(found: pl.DataFrame, part: str) -> pl.DataFrame:
    return conform(found.with_columns(part=pl.lit(part)), QUALITY_COUNT).sort(_CELL, nulls_last=True)
