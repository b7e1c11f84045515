"""The local days of many instants: arithmetic where all days are equally long, which is much quicker than a calendar for each."""

from datetime import UTC, date, datetime, timedelta
from typing import cast

import polars as pl

from monitors.axis import grain_bounds

_EPOCH = date(1970, 1, 1)


def local_days(instants: pl.Series, zone: str) -> pl.Series:
    """The local day (pl.Date) of each instant.

    Args:
        instants: UTC instants in microseconds.
        zone: the place whose days are meant.

    >>> from datetime import UTC, datetime
    >>> local_days(pl.Series([datetime(2025, 5, 31, 15, 59, tzinfo=UTC), datetime(2025, 5, 31, 16, tzinfo=UTC)]), "Asia/Shanghai").to_list()
    [datetime.date(2025, 5, 31), datetime.date(2025, 6, 1)]
    """
    if instants.len() == instants.null_count():
        return pl.repeat(None, len(instants), dtype=pl.Date(), eager=True)
    first, last = (cast(datetime, bound).astimezone(UTC).year for bound in (instants.min(), instants.max()))
    bounds, at = grain_bounds(zone, "day", first - 1, last + 1), instants.to_physical()  # the year there may be another one
    widths = bounds.diff().drop_nulls()
    day = (at - bounds[0]) // int(widths[0]) if (widths == widths[0]).all() else bounds.search_sorted(at, side="right").cast(pl.Int64) - 1
    return (day + (date(first - 1, 1, 1) - _EPOCH).days).cast(pl.Int32).cast(pl.Date).set(instants.is_null(), None)


def day_of(column: str, zone: str) -> pl.Expr:
    """The local day of an instant."""
    return pl.col(column).dt.convert_time_zone(zone).dt.date()


def day_start(day: pl.Expr, zone: str) -> pl.Expr:
    """The instant at which a local day starts."""
    midnight = day.cast(pl.Datetime("us"))
    there = (at.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null") for at in (midnight, midnight + timedelta(hours=1)))
    return pl.coalesce(there).dt.convert_time_zone("UTC")  # where the clock skips midnight the day starts at 1:00
