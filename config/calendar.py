"""Half-open spans and a place's own hours, days, months and years. No clock: the instant is always given."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

GRAINS = ("hour", "day", "month", "year")
_EVERY = {"hour": "1h", "day": "1d", "month": "1mo", "year": "1y"}
_LABEL = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}


def day_span(day: date, zone: str) -> tuple[datetime, datetime]:
    """The instants [start, end) of a local day, in UTC.

    >>> day_span(date(2025, 6, 1), "Asia/Shanghai")[0].isoformat()
    '2025-05-31T16:00:00+00:00'
    """
    place = ZoneInfo(zone)
    return (
        datetime.combine(day, time(), place).astimezone(UTC),
        datetime.combine(day + timedelta(days=1), time(), place).astimezone(UTC),
    )


def local_day(instant: datetime, zone: str) -> date:
    """The local day that an instant belongs to.

    >>> local_day(datetime(2025, 5, 31, 16, tzinfo=UTC), "Asia/Shanghai")
    datetime.date(2025, 6, 1)
    """
    return instant.astimezone(ZoneInfo(zone)).date()


def local_start(column: pl.Expr, grain: str, zone: str) -> pl.Expr:
    """Start (UTC) of the local hour, day, month or year in which each instant lies."""
    return column.dt.convert_time_zone(zone).dt.truncate(_EVERY[grain]).dt.convert_time_zone("UTC")


def local_next(column: pl.Expr, grain: str, zone: str) -> pl.Expr:
    """Start (UTC) of the local hour, day, month or year after the one that starts at each instant."""
    return column.dt.convert_time_zone(zone).dt.offset_by(_EVERY[grain]).dt.convert_time_zone("UTC")


def period_of(column: pl.Expr, grain: str, zone: str) -> pl.Expr:
    """The local period of each instant as a text: "2025-03-07" for a day, "2025-03" for a month, "2025" for a year."""
    return column.dt.convert_time_zone(zone).dt.strftime(_LABEL[grain])


def period_days(period: str) -> tuple[date, date]:
    """First and last day (both included) of "2025", "2025-03" or "2025-03-07".

    >>> period_days("2024-02")
    (datetime.date(2024, 2, 1), datetime.date(2024, 2, 29))

    Raises:
        ValueError: the text is none of the three forms.
    """
    parts = [int(part) for part in period.split("-")]
    match len(period), parts:
        case 4, [year]:
            return date(year, 1, 1), date(year, 12, 31)
        case 7, [year, month]:
            following = date(year + month // 12, month % 12 + 1, 1)
            return date(year, month, 1), following - timedelta(days=1)
        case 10, [year, month, day]:
            return date(year, month, day), date(year, month, day)
    raise ValueError(f"{period!r} is no period; write 2025, 2025-03 or 2025-03-07")
