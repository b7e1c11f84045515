"""Faults that are to be repaired, and exchanges that are to be entered, within three working days.

A fault that keeps data from being collected or sent is repaired within 3 working days; one that lasts longer is reported and its
figures are entered by hand. What was done to a meter is entered within 3 working days (operation rules of a province's platform,
items 4 and 5). All of it follows from readings, register and reports, so that it can be derived again.
"""

from datetime import datetime
from typing import Final

import polars as pl

from config import calendar
from config.schemas import EXCHANGE, INSTANT, OUTAGE, conform
from monitors.completeness import SLOT, missing_windows, usual_intervals
from monitors.liveness import DEFAULT_INTERVAL_S, USUAL_INTERVALS

WORKING_DAYS: Final = 3
_METER: Final = ["enterprise", "meter"]


def outages(
    received: pl.DataFrame, spans: pl.DataFrame, registers: pl.DataFrame, reports: pl.DataFrame, holidays: pl.DataFrame,
    *, since: datetime, until: datetime, now: datetime, zone: str,
) -> pl.DataFrame:
    """The times in which a register of a meter had no reading for longer than three of its usual intervals.

    An outage opens at the first missing slot and is repaired when readings come again, or are no longer due. Where they come
    later for the time in between (back-fill), there was none. An outage that is not repaired is `reported` once a person has
    reported it, else `overdue` when its time is over, else `open`.

    Args:
        received: RECEIVED, as far back as `since`.
        spans: what `completeness.due_spans` gave, up to `until`.
        registers: register_key, enterprise, meter.
        reports: OUTAGE_REPORT.
        holidays: HOLIDAY.
        since: how far back is looked.
        until: the instant up to which readings must have come.
        now: the instant to judge at.
        zone: the place whose working days are meant.

    Returns:
        OUTAGE, by enterprise, meter and opened_at.
    """
    usual_s = pl.max_horizontal(pl.col("usual_interval_s").fill_null(DEFAULT_INTERVAL_S), SLOT.total_seconds())
    quiet_s = (pl.col("end") - pl.col("start") + SLOT).dt.total_microseconds() / 1e6
    windows = missing_windows(received, spans).join(usual_intervals(received), on="register_key", how="left")
    windows = windows.filter(quiet_s > USUAL_INTERVALS * usual_s)
    cut = pl.col("start") < pl.lit(since, INSTANT) + SLOT
    opened = pl.col("start") + pl.duration(microseconds=(usual_s - SLOT.total_seconds()) * 1e6)
    windows = windows.join(registers.select("register_key", *_METER), on="register_key").with_columns(
        cut=cut, opened_at=pl.when(cut).then("start").otherwise(opened.dt.truncate("15m")), open=pl.col("end") > pl.lit(until, INSTANT) - SLOT,
    ).sort(*_METER, "opened_at", "end")
    # Registers of one meter that are out at the same time are one outage.
    apart = (pl.col("opened_at") > pl.col("end").cum_max().shift(1).over(_METER)).fill_null(value=True)
    merged = windows.with_columns(outage=apart.cum_sum()).group_by("outage", maintain_order=True).agg(
        pl.col(_METER).first(), pl.col("opened_at").first(), or_earlier=pl.col("cut").first(),
        repaired_at=pl.when(~pl.col("open").any()).then(pl.col("end").max()),
    )
    at = reports.sort("reported_at").join(merged.select("outage", *_METER, "opened_at", "repaired_at"), on=_METER).filter(
        pl.col("at") >= pl.col("opened_at"), (pl.col("at") < pl.col("repaired_at")).fill_null(value=True)
    ).group_by("outage").agg(pl.col("reported_at", "reported_by", "report", "edit").first())
    due = calendar.working_deadlines(merged["opened_at"], WORKING_DAYS, holidays, zone)
    rows = merged.join(at, on="outage", how="left").join(due, left_on="opened_at", right_on="at", how="left")
    state = (
        pl.when(pl.col("repaired_at") < pl.col("due_at")).then(pl.lit("repaired_in_time"))
        .when(pl.col("repaired_at").is_not_null()).then(pl.lit("repaired_late"))
        .when(pl.col("reported_at").is_not_null()).then(pl.lit("reported"))
        .when(pl.lit(now, INSTANT) >= pl.col("due_at")).then(pl.lit("overdue")).otherwise(pl.lit("open"))
    )
    return conform(rows.with_columns(state=state), OUTAGE).sort(*_METER, "opened_at")


def exchanges(entries: pl.DataFrame, holidays: pl.DataFrame, zone: str) -> pl.DataFrame:
    """The exchanges of meters, and whether each was entered in time.

    Args:
        entries: enterprise, meter, register, at, entered_at: changes by their first entry in the register.
        holidays: HOLIDAY.
        zone: the place whose working days are meant.

    Returns:
        EXCHANGE, by enterprise, meter, register and instant.
    """
    rows = entries.join(calendar.working_deadlines(entries["at"], WORKING_DAYS, holidays, zone), on="at", how="left")
    rows = rows.with_columns(in_time=pl.col("entered_at") < pl.col("due_at"))
    return conform(rows, EXCHANGE).sort(*_METER, "register", "at")
