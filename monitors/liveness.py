"""Whether gateways and registers are alive: silent gateways, wrong clocks, stale and frozen registers. Signs for people, no verdicts."""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from config.schemas import INSTANT, LIVENESS, conform
from monitors.completeness import usual_intervals

USUAL_INTERVALS: Final = 3  # without a message, or a reading, for longer than so many usual intervals: silent, stale
DEFAULT_INTERVAL_S: Final = 900.0  # the usual interval of who has not shown one yet
SILENT_AT_LEAST_S: Final = 60.0  # a gateway that sends every second is not silent after three
CLOCK_AHEAD_S: Final = 60.0  # further ahead is wrong: the day boundary may be off by a minute at most
CLOCK_BEHIND_S: Final = 60.0  # further behind than the interval that a reading stands for: wrong, likewise
CLOCK_SAMPLES: Final = 3  # a single late message is no wrong clock
FROZEN_FOR: Final = timedelta(hours=24)  # the same value for so long ...
FROZEN_READINGS: Final = 12  # ... over so many readings, of a register that moved before
LOOK_BACK: Final = timedelta(days=8)  # how far back a movement counts


def gateway_status(fleet: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """How each gateway is now.

    Args:
        fleet: state, last_message_at, clock_offset_s, usual_interval_s, samples; further columns stay.
        now: the instant to judge at.

    Returns:
        The input with `status` and `clock_wrong` (null while nothing is known of the clock). `status` is offline where it said
        so; silent where nothing came for longer than USUAL_INTERVALS of its usual intervals; else online; null: never heard.
    """
    usual_s = pl.col("usual_interval_s").fill_null(DEFAULT_INTERVAL_S)
    quiet_s = (pl.lit(now, INSTANT) - pl.col("last_message_at")).dt.total_microseconds() / 1e6
    offset_s = pl.when(pl.col("samples") >= CLOCK_SAMPLES).then("clock_offset_s")
    behind_s = pl.max_horizontal(usual_s, DEFAULT_INTERVAL_S) + CLOCK_BEHIND_S
    return fleet.with_columns(
        status=pl.when(pl.col("state") == "offline").then(pl.lit("offline"))
        .when(quiet_s > pl.max_horizontal(usual_s * USUAL_INTERVALS, SILENT_AT_LEAST_S)).then(pl.lit("silent"))
        .when(pl.col("last_message_at").is_not_null() | (pl.col("state") == "online")).then(pl.lit("online")),
        clock_wrong=(offset_s < -CLOCK_AHEAD_S) | (offset_s > behind_s),
    )


def register_liveness(received: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Which registers are stale, and which are frozen.

    Args:
        received: RECEIVED of the LOOK_BACK before `now`; one that has not moved in it at all stands still, which is no sign.
        now: the instant to judge at.

    Returns:
        LIVENESS, one row for each register that ever sent within the given days.
    """
    runs = received.sort("register_key", "start").with_columns(before=pl.col("last_value").shift(1).over("register_key"))
    # A value that differs from the last one of the run before has changed with the run's first reading.
    stepped = pl.when(pl.col("first_value") != pl.col("before")).then("first_at")
    runs = runs.with_columns(changed_at=pl.coalesce("changed_at", stepped)).with_columns(last_change=pl.col("changed_at").max().over("register_key"))
    since = pl.when(pl.col("changed_at") == pl.col("last_change")).then("unchanged").when(pl.col("start") > pl.col("last_change")).then("readings")
    rows = runs.group_by("register_key").agg(
        pl.col("last_change").first().alias("changed_at"), last_at=pl.col("last_at").max(), unchanged=since.sum(),
    ).join(usual_intervals(received), on="register_key", how="left")
    quiet_s = (pl.lit(now, INSTANT) - pl.col("last_at")).dt.total_microseconds() / 1e6
    stale = quiet_s > USUAL_INTERVALS * pl.col("usual_interval_s").fill_null(DEFAULT_INTERVAL_S)
    frozen = (pl.col("last_at") - pl.col("changed_at") >= FROZEN_FOR) & (pl.col("unchanged") >= FROZEN_READINGS)
    return conform(rows.with_columns(stale=stale, frozen=frozen.fill_null(value=False)).sort("register_key"), LIVENESS)
