from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import calendar, units

SHANGHAI = "Asia/Shanghai"


@pytest.mark.parametrize(
    ("utc", "day"),
    [
        (datetime(2025, 5, 31, 15, 59, 59, tzinfo=UTC), date(2025, 5, 31)), (datetime(2025, 5, 31, 16, 0, 0, tzinfo=UTC), date(2025, 6, 1)),
        (datetime(1986, 7, 1, 14, 59, 59, tzinfo=UTC), date(1986, 7, 1)),  # in summer time
        (datetime(1986, 7, 1, 15, 0, 0, tzinfo=UTC), date(1986, 7, 2)),
    ],
)
def test_a_local_day_begins_at_midnight_of_the_place(utc: datetime, day: date) -> None:
    assert calendar.local_day(utc, SHANGHAI) == day


@given(st.dates(date(1980, 1, 1), date(2040, 1, 1)), st.sampled_from([SHANGHAI, "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]))
def test_days_follow_each_other_without_a_gap(day: date, zone: str) -> None:
    start, end = calendar.day_span(day, zone)
    assert calendar.day_span(date.fromordinal(day.toordinal() + 1), zone)[0] == end
    assert calendar.local_day(start, zone) == day
    assert 22 <= (end - start).total_seconds() / 3600 <= 26


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        ("2024", date(2024, 1, 1), date(2024, 12, 31)), ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2025-12", date(2025, 12, 1), date(2025, 12, 31)),
        ("2025-03-07", date(2025, 3, 7), date(2025, 3, 7)),
    ],
)
def test_a_period_knows_its_days(period: str, first: date, last: date) -> None:
    assert calendar.period_days(period) == (first, last)


@pytest.mark.parametrize("text", ["", "25", "2025-1", "2025-13", "2025-02-30", "2025/01", "20250101"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        calendar.period_days(text)


@pytest.mark.parametrize("grain", calendar.GRAINS)
def test_the_next_start_is_the_start_of_what_follows(grain: str) -> None:
    at = pl.Series("at", [datetime(2025, 12, 31, 15, 30, tzinfo=UTC)]).dt.cast_time_unit("us")
    frame = at.to_frame().select(start=calendar.local_start(pl.col("at"), grain, SHANGHAI)).with_columns(
        following=calendar.local_next(pl.col("start"), grain, SHANGHAI)
    )
    start, following = frame.row(0)
    assert start <= at[0] < following
    again = frame.select(calendar.local_start(pl.col("following"), grain, SHANGHAI)).item()
    assert again == following


@pytest.mark.parametrize(
    ("unit", "to", "by"), [("MWh", "kWh", 1000.0), ("10^4 kWh", "kWh", 1e4), ("GJ", "MJ", 1000.0), ("t", "kg", 1000.0), ("L", "m3", 0.001)]
)
def test_units_of_one_kind_convert_by_definition(unit: str, to: str, by: float) -> None:
    assert units.factor(unit, to) == pytest.approx(by)
    assert units.factor(to, unit) == pytest.approx(1 / by)


@pytest.mark.parametrize(("unit", "to"), [("Nm3", "Sm3"), ("m3", "Nm3"), ("kWh", "t"), ("kWh", "kvarh"), ("kW", "kWh"), ("furlong", "m3")])
def test_what_no_definition_links_does_not_convert(unit: str, to: str) -> None:
    assert units.factor(unit, to) is None
