from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.schemas import EVENT, INTERVAL, READING, REGISTER, conform, empty
from monitors.intervals import intervals
from monitors.rollup import coarser, crossing

ZONES = ("Asia/Shanghai", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo")
GRAINS = ("day", "month", "year")


def readings(key: int, at: list[datetime], values: list[float]) -> pl.DataFrame:
    return conform(pl.DataFrame({"read_at": at, "value": values}).with_columns(
        register_key=pl.lit(key), copy=pl.lit(0), quality=pl.lit(0), message=pl.int_range(pl.len()), received_at="read_at",
    ), READING)


def registers(*keys: int) -> pl.DataFrame:
    return conform(pl.DataFrame({"register_key": keys}).with_columns(unit=pl.lit("kWh"), kind=pl.lit("cumulative"), multiplier=pl.lit(3.0)), REGISTER)


def measured(rows: pl.DataFrame, by: str, zone: str) -> pl.DataFrame:
    return intervals(rows, registers(*rows["register_key"].unique()), empty(EVENT), by=by, zone=zone).intervals


def rolled(hours: pl.DataFrame, by: str, zone: str) -> pl.DataFrame:
    return coarser(hours.lazy(), by, zone).collect(engine="streaming")


@given(
    st.sampled_from(ZONES), st.sampled_from(GRAINS), st.sampled_from([(2018, 2), (2025, 3), (2025, 10), (2025, 12)]),
    st.lists(st.tuples(st.integers(1, 400), st.integers(0, 50)), min_size=2, max_size=60), st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_quantity_and_covered_time_of_summed_hours_are_those_of_the_readings(zone, by, begin, steps, random):
    at, total, when, values = [], 0.0, datetime(*begin, 1, tzinfo=UTC), []
    for quarters, more in steps:
        when, total = when + timedelta(minutes=15 * quarters), total + more
        at.append(when)
        values.append(total)
    rows = pl.concat([readings(key, at[key // 3:], values[key // 3:]) for key in (3, 70_000)]) if len(at) < 30 else readings(3, at, values)
    hours, right = measured(rows, "hour", zone), measured(rows, by, zone)
    order = list(range(hours.height))
    random.shuffle(order)
    found = rolled(hours[order], by, zone)
    assert found.schema == INTERVAL
    spans = ["register_key", "start", "end"]
    assert found.select(spans).equals(right.select(spans))
    assert found["quantity"].to_list() == pytest.approx(right["quantity"].to_list(), rel=1e-12, abs=1e-9)
    assert found["covered_ratio"].to_list() == pytest.approx(right["covered_ratio"].to_list(), rel=1e-12)


def test_a_register_read_once_a_day_has_estimated_hours_and_days_though_its_days_are_measured():
    at = [datetime(2026, 1, day, 16, tzinfo=UTC) for day in range(1, 5)]
    rows = readings(1, at, [0.0, 24.0, 48.0, 72.0])
    found, right = rolled(measured(rows, "hour", "Asia/Shanghai"), "day", "Asia/Shanghai"), measured(rows, "day", "Asia/Shanghai")
    assert found["quantity"].to_list() == pytest.approx(right["quantity"].to_list())
    assert (found["quality"].to_list(), right["quality"].to_list()) == (["estimated"] * 3, ["measured"] * 3)
    assert (found["estimated_ratio"].to_list(), right["estimated_ratio"].to_list()) == ([1.0] * 3, [0.0] * 3)


@pytest.mark.parametrize(("day", "hours"), [(datetime(2025, 3, 29, 23, tzinfo=UTC), 23), (datetime(2025, 10, 25, 22, tzinfo=UTC), 25)])
def test_a_day_of_summer_time_is_covered_by_its_own_hours(day, hours):
    at = [day + timedelta(hours=n) for n in range(hours + 1)]
    found = rolled(measured(readings(1, at, [float(n) for n in range(hours + 1)]), "hour", "Europe/Berlin"), "day", "Europe/Berlin")
    assert found.rows() == [(1, at[0], at[-1], pytest.approx(3.0 * hours), "measured", 1.0, 0.0)]


def hour(n: int, *, quality: str = "measured", covered: float = 1.0, estimated: float = 0.0) -> dict[str, object]:
    start = datetime(2025, 12, 31, 16, tzinfo=UTC) + timedelta(hours=n)
    return {"register_key": 7, "start": start, "end": start + timedelta(hours=1), "quantity": 1.0, "quality": quality, "covered_ratio": covered,
            "estimated_ratio": estimated}


def test_the_worst_quality_stands_and_ratios_are_weighted_by_the_time_that_they_are_of():
    hours = conform(pl.DataFrame([
        hour(0), hour(1, quality="suspect", covered=0.5, estimated=0.5), hour(2, quality="estimated", covered=0.25, estimated=1.0), hour(24),
    ]), INTERVAL)
    found = rolled(hours, "day", "Asia/Shanghai")
    assert found["quality"].to_list() == ["suspect", "measured"]
    assert found["covered_ratio"].to_list() == pytest.approx([1.75 / 24, 1 / 24])
    assert found["estimated_ratio"].to_list() == pytest.approx([0.5 / 1.75, 0.0])


def test_an_interval_of_which_nothing_is_covered_leaves_a_row_that_covers_nothing():
    found = rolled(conform(pl.DataFrame([hour(0, quality="suspect", covered=0.0)]), INTERVAL), "day", "Asia/Shanghai")
    assert found.select("quality", "covered_ratio", "estimated_ratio").rows() == [("suspect", 0.0, 0.0)]


@pytest.mark.parametrize("by", GRAINS)
def test_rows_of_one_period_alone_come_out_as_they_do_among_others(by):
    at = [datetime(2024, 12, 30, 16, tzinfo=UTC) + timedelta(hours=n) for n in range(75)]
    hours = pl.concat([measured(readings(key, at, [float(n * n) for n in range(75)]), "hour", "Asia/Shanghai") for key in (3, 70_000)])
    whole = rolled(hours, by, "Asia/Shanghai")
    alone = [rolled(hours.filter(pl.col("start") >= start, pl.col("start") < end), by, "Asia/Shanghai")
             for start, end in whole.select("start", "end").unique().iter_rows()]
    assert len(alone) >= 2
    assert pl.concat(alone).sort("register_key", "start").equals(whole)


def test_no_rows_give_no_rows():
    assert rolled(empty(INTERVAL), "day", "Asia/Shanghai").equals(empty(INTERVAL))


def test_an_interval_may_end_with_its_day_and_not_later():
    at = datetime(2025, 12, 31, 15, tzinfo=UTC)  # 23:00 in Shanghai
    rows = pl.DataFrame({"start": [at, at], "end": [at + timedelta(hours=1), at + timedelta(hours=1, microseconds=1)]}, schema_overrides={
        name: pl.Datetime("us", "UTC") for name in ("start", "end")
    })
    assert rows.select(crossing("day", "Asia/Shanghai", at, at)).to_series().to_list() == [False, True]
    assert rows.select(crossing("month", "Europe/Berlin", at, at)).to_series().to_list() == [False, False]
