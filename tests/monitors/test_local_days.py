"""The local day of an instant is the one that the calendar gives, in every zone and year."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from monitors.local_days import local_days

ZONES = ("Asia/Shanghai", "Asia/Kolkata", "Europe/Berlin", "America/Havana", "Pacific/Apia", "Asia/Beirut", "UTC")


@given(
    instants=st.lists(st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1)), max_size=20),  # noqa: DTZ001 - made UTC below
    zone=st.sampled_from(ZONES),
)
def test_days_are_those_of_the_clock_on_the_wall(instants: list[datetime], zone: str) -> None:
    some = pl.Series([at.replace(tzinfo=UTC) for at in instants], dtype=pl.Datetime("us", "UTC"))
    assert local_days(some, zone).to_list() == some.dt.convert_time_zone(zone).dt.date().to_list()


def test_midnight_belongs_to_the_day_that_it_begins() -> None:
    midnight = datetime(2025, 5, 31, 16, tzinfo=UTC)
    some = pl.Series([midnight - timedelta(microseconds=1), midnight, None], dtype=pl.Datetime("us", "UTC"))
    assert [None if day is None else day.isoformat() for day in local_days(some, "Asia/Shanghai")] == ["2025-05-31", "2025-06-01", None]
