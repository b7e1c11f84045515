from collections.abc import Sequence
from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.forecast import FEWEST_MONTHS, forecast, forecast_months


def series(values: Sequence[float | None], *, first: int = 2022 * 12, name: str = "P", per: list[float] | None = None) -> pl.DataFrame:
    periods = [f"{at // 12}-{at % 12 + 1:02d}" for at in range(first, first + len(values))]
    return pl.DataFrame({"subject": name, "period": periods, "actual": values, **({} if per is None else {"per": per})})


def told(history: pl.DataFrame, on: date) -> dict[str, object]:
    return forecast(history, ["subject"], on).row(0, named=True)


def seasonal(years: float, level: float = 100.0) -> list[float]:
    return [level * (1.5 if at % 12 in (0, 1, 11) else 1.0) for at in range(round(12 * years))]


def test_the_rest_of_the_year_is_the_profile_of_like_months_times_the_level_of_the_last_six() -> None:
    """2025 runs at 1.1 of the years before: 6 known months of 110 (two of them 165), and 1.1 x (5 x 100 + 150) for the rest."""
    values = seasonal(3) + [1.1 * one for one in seasonal(0.5)]
    found = told(series(values), date(2025, 6, 30))
    assert found["known"] == pytest.approx(1.1 * (4 * 100 + 2 * 150))
    assert found["value"] == pytest.approx(1.1 * (9 * 100 + 3 * 150))
    assert (found["year"], found["through"]) == ("2025", "2025-06")


def test_the_largest_error_of_the_back_tests_bounds_the_interval() -> None:
    """Of 42 months those from the 15th on that have 6 known months after them are tested: 22. The first that look into 2025 err by 10 %."""
    values = seasonal(3) + [1.1 * one for one in seasonal(0.5)]
    found = told(series(values), date(2025, 6, 30))
    rest = 1.1 * (5 * 100 + 150)
    assert found["back_tests"] == 22
    assert found["error_ratio"] == pytest.approx(0.1)
    assert (found["low"], found["high"]) == (pytest.approx(770 + 0.9 * rest), pytest.approx(770 + 1.1 * rest))
    assert found["coverage_ratio"] == pytest.approx(22 / 23)


@pytest.mark.parametrize(("months", "is_told"), [(FEWEST_MONTHS + 11, True), (FEWEST_MONTHS + 10, False)])
def test_with_a_month_too_few_there_is_no_forecast_and_it_says_how_many_it_needs(months: int, is_told: bool) -> None:
    found = told(series([100.0] * months, first=2025 * 12 + 1 - months), date(2025, 1, 31))
    assert (found["value"] is not None) == is_told
    if not is_told:
        assert found["reason"] == "up to 2025-01 only 27 months without a gap; a forecast of the 11 months after it needs 28"
        assert str(found["reason_zh"]).startswith("至 2025-01 仅有连续 27 个月")


def test_a_month_that_is_not_over_is_not_known() -> None:
    history = series([100.0] * 42)
    assert told(history, date(2025, 6, 29))["through"] == "2025-05"
    assert told(history, date(2025, 6, 30))["through"] == "2025-06"


def test_a_gap_cuts_off_what_lies_before_it() -> None:
    values: list[float | None] = [100.0] * 42
    values[20] = None
    assert "only 21 months" in str(told(series(values), date(2025, 6, 30))["reason"])


def test_months_that_are_missing_at_the_end_are_forecast_too_unless_none_of_the_year_and_no_december_is_known() -> None:
    late = told(series([100.0] * 40), date(2025, 6, 30))
    assert (late["through"], late["value"]) == ("2025-04", pytest.approx(1200.0))
    assert told(series([100.0] * 36), date(2025, 6, 30))["value"] == pytest.approx(1200.0)
    assert "the last known month is 2024-11" in str(told(series([100.0] * 35), date(2025, 6, 30))["reason"])


def test_a_year_whose_months_are_all_known_needs_no_forecast() -> None:
    found = told(series([100.0] * 48), date(2025, 12, 31))
    assert (found["value"], found["low"], found["high"], found["back_tests"]) == (1200.0, 1200.0, 1200.0, None)


def test_of_levels_both_sums_are_forecast_and_divided() -> None:
    """Output doubles in 2025 while each unit takes what it took: the level stays 2, though the months weigh differently."""
    output = [50.0] * 36 + [100.0] * 6
    found = told(series([2 * one for one in output], per=output), date(2025, 6, 30))
    assert (found["value"], found["low"], found["high"]) == (pytest.approx(2.0), pytest.approx(2.0), pytest.approx(2.0))


def test_a_plant_that_stands_still_is_forecast_to_go_on_doing_so() -> None:
    assert told(series([0.0] * 42), date(2025, 6, 30))["value"] == 0.0


def test_what_has_no_level_or_no_month_says_so() -> None:
    assert "there is no level" in str(told(series([0.0] * 36 + [5.0] * 6), date(2025, 6, 30))["reason"])
    assert told(series([None, None]), date(2025, 6, 30))["reason"] == "no month is known"
    assert told(pl.concat([series([0.0] * 30 + [7.0] * 9 + [0.0] * 3)]), date(2025, 6, 30))["value"] is None  # the error has no bound


def test_series_do_not_touch_each_other() -> None:
    both = pl.concat([series([100.0] * 42), series([7.0] * 42, name="Q")])
    assert forecast(both, ["subject"], date(2025, 6, 30))["value"].to_list() == pytest.approx([1200.0, 84.0])


def test_the_months_of_the_forecast_add_up_to_it() -> None:
    history = series(seasonal(3) + [1.1 * one for one in seasonal(0.5)])
    months = forecast_months(history, ["subject"], date(2025, 6, 30))
    assert months["known"].sum() == 6
    assert months["value"].sum() == pytest.approx(told(history, date(2025, 6, 30))["value"])


@settings(max_examples=15)
@given(st.lists(st.floats(0.5, 1e6), min_size=42, max_size=42), st.floats(0.001, 1000))
def test_another_unit_of_the_same_history_gives_the_same_forecast_in_that_unit(values: list[float], scale: float) -> None:
    one, other = told(series(list(values)), date(2025, 6, 30)), told(series([scale * value for value in values]), date(2025, 6, 30))
    for name in ("known", "value", "low", "high"):
        assert other[name] == pytest.approx(scale * float(str(one[name])), rel=1e-9)
    assert float(str(one["low"])) <= float(str(one["value"])) <= float(str(one["high"]))
    assert float(str(one["low"])) >= float(str(one["known"]))  # nothing that was used is given back
