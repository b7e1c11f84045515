"""Half-open spans and a place's own hours, days, months and years. No clock: the instant is always given."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import Field, model_validator

from config import schemas
from config.tables import Source, TableRow, Text, load, merged

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)  # what lies before is no time of a reading or of an event
LATEST = datetime(2200, 1, 1, tzinfo=UTC)  # nor what lies from here on
GRAINS = ("hour", "day", "month", "year")
_EVERY = {"hour": "1h", "day": "1d", "month": "1mo", "year": "1y"}
_LABEL = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
_LENGTH = {"year": 4, "month": 7, "day": 10}  # of the texts


class HolidayRow(TableRow):
    """Days first..last that are no working days although weekdays, or working days although weekends, by the notice of a year."""

    year: Annotated[int, Field(ge=1949, le=2200)]
    first: date
    last: date
    working: bool
    name_zh: Text
    name_en: Text | None = None
    source: Source

    @property
    def key(self) -> date:
        return self.first

    @model_validator(mode="after")
    def _spans_a_month_at_most(self) -> Self:
        if not timedelta() <= self.last - self.first <= timedelta(days=31):
            raise ValueError(f"last {self.last} is not on one of the 31 days from first {self.first}")
        return self


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


def is_period(grain: str, column: str = "period") -> pl.Expr:
    """Whether a period is a year (2025), a month (2025-03) or a day (2025-03-07)."""
    return pl.col(column).str.len_chars() == _LENGTH[grain]


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


def working_deadlines(instants: pl.Series, count: int, holidays: pl.DataFrame, zone: str) -> pl.DataFrame:
    """When the `count`-th working day after the local day of each instant ends.

    The day of the instant itself is not counted (Civil Code, art. 201). Where the table of holidays has no row of a year, its
    weekdays count, and `by_notice` is false.

    Args:
        instants: what a period begins with.
        count: working days.
        holidays: HOLIDAY.
        zone: the place whose days are meant.

    Returns:
        at, due_at, by_notice; one row for each different instant.

    >>> friday = pl.Series([datetime(2026, 2, 13, 1, tzinfo=UTC)], dtype=pl.Datetime("us", "UTC"))  # the Saturday after it is a working day
    >>> working_deadlines(friday, 3, holidays(), "Asia/Shanghai")["due_at"].dt.convert_time_zone("Asia/Shanghai").dt.date().item()
    datetime.date(2026, 2, 26)
    """
    begun = pl.DataFrame({"at": instants.unique().drop_nulls().sort()}).with_columns(day=pl.col("at").dt.convert_time_zone(zone).dt.date())
    if begun.is_empty():
        return begun.select("at", due_at="at", by_notice=pl.lit(value=True))
    first, last = begun["day"].min(), begun["day"].max()
    ahead = timedelta(days=3 * count + 30)  # more than the longest holiday with its week-ends takes
    every = pl.DataFrame({"day": pl.date_range(first, last + ahead, eager=True)})  # type: ignore[operator, arg-type]  # not empty: both are days
    marked = every.join(holidays.select("day", "working"), on="day", how="left").sort("day").with_columns(
        working=pl.coalesce("working", pl.col("day").dt.weekday() <= 5), unknown=~pl.col("day").dt.year().is_in(holidays["year"].unique().implode()),
    ).with_columns(worked=pl.col("working").cum_sum(), unknown=pl.col("unknown").cum_sum())
    ends = marked.filter("working").select(worked=pl.col("worked").cast(pl.Int64) - count, last_day="day", unknown_then="unknown")
    found = begun.join(marked, on="day").with_columns(pl.col("worked").cast(pl.Int64)).join(ends, on="worked")
    over = {day: day_span(day, zone)[1] for day in found["last_day"].unique()}
    due_at = pl.col("last_day").replace_strict(over, return_dtype=pl.Datetime("us", "UTC"))
    return found.select("at", due_at=due_at, by_notice=pl.col("unknown") == pl.col("unknown_then")).sort("at")


def holidays(site_dir: Path | None = None) -> pl.DataFrame:
    """Days that the notices of the State Council on holidays take from or add to the working days, as HOLIDAY, one row a day.

    A row of the site's folder that begins on the same day replaces the shipped one.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load("holidays", HolidayRow, site_dir)
    rows = merged(base, own)
    spans = pl.DataFrame([row.model_dump() for row in rows], schema_overrides={"year": pl.Int32()})
    days = spans.with_columns(day=pl.date_ranges("first", "last")).explode("day", empty_as_null=False)
    return schemas.conform(days, schemas.HOLIDAY).unique("day", keep="last").sort("day")


MODELS: Final[dict[str, type[TableRow]]] = {"holidays": HolidayRow}
