"""Working days by the notices of the State Council, and the day on which a period of working days ends."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import calendar, data_rules
from config.calendar import working_deadlines
from config.errors import BadInputError
from config.schemas import INSTANT

ZONE = "Asia/Shanghai"
HOLIDAYS = calendar.holidays()


def last_day(year: int, month: int, day: int, *, hour: int = 9, count: int = 3, holidays: pl.DataFrame = HOLIDAYS) -> tuple[date, bool]:
    """The last local day of the period, and whether notices tell of all its days."""
    begun = datetime(year, month, day, hour, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
    (_, due_at, by_notice), = working_deadlines(pl.Series([begun], dtype=INSTANT), count, holidays, ZONE).rows()
    assert due_at.astimezone(ZoneInfo(ZONE)).time() == datetime.min.time()  # the day is over
    return due_at.astimezone(ZoneInfo(ZONE)).date() - timedelta(days=1), by_notice


@pytest.mark.parametrize(("begun", "ends"), [
    ((2026, 3, 2), date(2026, 3, 5)),  # Monday: Tuesday, Wednesday, Thursday
    ((2026, 3, 5), date(2026, 3, 10)),  # Thursday: Friday, Monday, Tuesday
    ((2026, 3, 7), date(2026, 3, 11)),  # Saturday: Monday, Tuesday, Wednesday
    ((2026, 2, 13), date(2026, 2, 25)),  # before the Spring Festival: Saturday 14 (make-up), Tuesday 24, Wednesday 25
    ((2026, 2, 26), date(2026, 3, 2)),  # Friday, Saturday 28 (make-up), Monday
    ((2025, 9, 26), date(2025, 9, 30)),  # Friday: Sunday 28 (make-up), Monday, Tuesday
    ((2025, 9, 30), date(2025, 10, 11)),  # 9, 10 October and the Saturday
    ((2024, 4, 3), date(2024, 4, 9)),  # Qingming to the 6th, Sunday 7 is made up
    ((2025, 12, 31), date(2026, 1, 6)),  # 1-3 January off, Sunday 4 made up, Monday, Tuesday
])
def test_the_third_working_day_after_a_day_by_the_notices(begun, ends):
    assert last_day(*begun) == (ends, True)


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_the_day_on_which_a_period_begins_is_not_counted_whatever_the_hour(hour):
    assert last_day(2026, 3, 2, hour=hour) == (date(2026, 3, 5), True)


def test_outside_the_years_of_the_table_weekdays_count_and_the_result_says_so():
    assert last_day(2027, 9, 30) == (date(2027, 10, 5), False)
    assert last_day(2023, 12, 27) == (date(2024, 1, 2), False)  # Thursday, Friday, and Tuesday: 1 January 2024 is known to be off
    assert last_day(2023, 12, 31) == (date(2024, 1, 4), True)  # no day of the period lies in 2023
    assert last_day(2026, 12, 28) == (date(2026, 12, 31), True)
    assert last_day(2026, 12, 29) == (date(2027, 1, 1), False)


def test_nothing_begun_has_no_deadline():
    assert working_deadlines(pl.Series([], dtype=INSTANT), 3, HOLIDAYS, ZONE).is_empty()


@given(st.lists(st.integers(0, 1461 * 24), min_size=1, max_size=20), st.integers(1, 12))
def test_as_many_working_days_lie_in_the_period_as_it_has(begun, count):
    instants = pl.Series([datetime(2023, 6, 1, tzinfo=UTC) + timedelta(hours=one) for one in begun], dtype=INSTANT)
    off = {row["day"]: row["working"] for row in HOLIDAYS.to_dicts()}
    for at, due_at, _ in working_deadlines(instants, count, HOLIDAYS, ZONE).rows():
        day, end = at.astimezone(ZoneInfo(ZONE)).date(), due_at.astimezone(ZoneInfo(ZONE)).date() - timedelta(days=1)
        between = [day + timedelta(days=one) for one in range(1, (end - day).days + 1)]
        working = [one for one in between if off.get(one, one.weekday() < 5)]
        assert len(working) == count
        assert working[-1] == end


@pytest.mark.parametrize(("year", "off", "made_up"), [
    (2024, 1 + 8 + 3 + 5 + 1 + 3 + 7, 8), (2025, 1 + 8 + 3 + 5 + 3 + 8, 5), (2026, 3 + 9 + 3 + 5 + 3 + 3 + 7, 6),
])
def test_the_shipped_notices_have_as_many_days_as_their_texts_say(year, off, made_up):
    rows = HOLIDAYS.filter(year=year)
    assert (rows.filter(~pl.col("working")).height, rows.filter("working").height) == (off, made_up)
    assert rows["day"].dt.year().unique().to_list() == [year]
    assert rows.filter("working")["day"].dt.weekday().min() >= 6  # only a week-end is made a working day
    assert all(len(source) > 20 for source in rows["source"])


def test_a_site_adds_the_notice_of_the_next_year_and_corrects_a_day(tmp_path):
    (tmp_path / "holidays-2027.csv").write_text(
        "year,first,last,working,name_zh,name_en,source\n2027,2027-01-01,2027-01-03,false,元旦,New Year,notice of November 2026\n"
        "2026,2026-10-10,2026-10-10,false,补休,day off,order of the city\n", encoding="utf-8",
    )
    own = calendar.holidays(tmp_path)
    assert last_day(2026, 12, 31, holidays=own) == (date(2027, 1, 6), True)
    assert last_day(2026, 9, 30, holidays=own)[0] == date(2026, 10, 12)
    assert last_day(2026, 9, 30)[0] == date(2026, 10, 10)
    (tmp_path / "holidays-2027.csv").write_text(
        "year,first,last,working,name_zh,name_en,source\n2027,2027-01-03,2027-01-01,maybe,元旦,New Year,notice\n", encoding="utf-8",
    )
    with pytest.raises(BadInputError) as told:
        calendar.holidays(tmp_path)
    assert {"working", "source"} <= {one.where.rpartition(" ")[2] for one in told.value.problems}


def test_weights_are_equal_and_say_that_they_are_an_assumption_until_a_site_sets_its_own(tmp_path):
    shipped = data_rules.quality_weights()
    assert shipped["weight"].to_list() == [1.0] * 6
    assert all("assumption of tcewatch" in source for source in shipped["source"])
    (tmp_path / "quality_weights.csv").write_text(
        "part,weight,late_after_s,valid_from,source\ntimeliness,2,900,2026-01-01,notice of the province\n", encoding="utf-8",
    )
    own = data_rules.quality_weights(tmp_path).filter(part="timeliness").select("weight", "late_after_s", "valid_from").rows()
    assert own == [(1.0, 7200, date(2020, 1, 1)), (2.0, 900, date(2026, 1, 1))]


@pytest.mark.parametrize(("row", "wrong"), [
    ("timeliness,1,901,2026-01-01,notice of the city", "late_after_s is one of"), ("timeliness,1,,2026-01-01,notice of the city", "is one of"),
    ("accuracy,1,900,2026-01-01,notice of the city", "belongs to the row of timeliness"), ("accuracy,-1,,2026-01-01,its notice", "greater than"),
])
def test_a_weight_that_cannot_be_counted_is_refused(tmp_path, row, wrong):
    (tmp_path / "quality_weights.csv").write_text(f"part,weight,late_after_s,valid_from,source\n{row}\n", encoding="utf-8")
    with pytest.raises(BadInputError, match=wrong):
        data_rules.quality_weights(tmp_path)
