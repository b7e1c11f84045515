"""What is not measured: four methods, their intervals from hidden windows, and what stays as it was measured."""

import os
import random
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from config.schemas import EVENT, HOLIDAY, INTERVAL, READING, REGISTER, WINDOW, conform
from monitors import estimation as core
from monitors.estimation import FEWEST_TESTS, LINK, Estimates, completed, estimated, gaps
from monitors.intervals import intervals

SHANGHAI = "Asia/Shanghai"
MONDAY = datetime(2025, 3, 2, 16, tzinfo=UTC)  # 00:00 of 3 March in Shanghai
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DATA = Path(os.environ.get("TCEWATCH_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"


def hours(quantities: Iterable[float | None], *, start: datetime = MONDAY, key: int = 1, **columns: Any) -> pl.DataFrame:
    """Hours in a row, whole and measured unless said otherwise; None leaves one out."""
    shape = {"quality": "measured", "covered_ratio": 1.0, "estimated_ratio": 0.0, **columns}
    rows = [(key, start + HOUR * place, start + HOUR * (place + 1), q, *shape.values()) for place, q in enumerate(quantities) if q is not None]
    return pl.DataFrame(rows, schema=INTERVAL, orient="row")


def profile(days: int, of: Callable[[int, int], float | None]) -> list[float | None]:
    """`of(day, hour)` of so many days from a Monday on."""
    return [of(day, hour) for day in range(days) for hour in range(24)]


def window(start: datetime, end: datetime, key: int = 1) -> pl.DataFrame:
    return pl.DataFrame([(key, start, end)], schema=WINDOW, orient="row")


def run(history: pl.DataFrame, windows: pl.DataFrame | None = None, **how: Any) -> Estimates:
    return estimated(history, gaps(history) if windows is None else windows, zone=how.pop("zone", SHANGHAI), **how)


def only(done: Estimates) -> dict[str, Any]:
    assert done.spans.height == 1
    return done.spans.row(0, named=True)


LINKS = pl.DataFrame([(1, 2, "M-2")], schema=LINK, orient="row")


# --- methods ----------------------------------------------------------------------------------------------------------

def test_linear_lies_between_the_rates_on_either_side() -> None:
    done = run(hours([10.0, None, None, None, 50.0]), method="linear")
    assert done.hours["quantity"].to_list() == [20.0, 30.0, 40.0]
    assert only(done)["quantity"] == 90.0
    assert only(done)["reason"] == "linear between 10 an hour before and 50 after; 0 back-tests, fewer than 39: no interval"
    assert only(done)["reason_zh"].startswith("在此前每小时 10 与此后每小时 50 之间线性内插")


def test_the_example_by_hand_of_the_decision() -> None:
    history = pl.concat([hours([10.0, 14.0]), hours([8.0], start=MONDAY + 2 * HOUR, covered_ratio=0.5), hours([24.0], start=MONDAY + 5 * HOUR)])
    half_past = MONDAY + 2 * HOUR + timedelta(minutes=30)
    done = run(history, window(half_past, MONDAY + 5 * HOUR), method="linear")
    assert done.hours["quantity"].to_list() == [8.25, 19.0, 21.5]
    assert (only(done)["start"], only(done)["quantity"], only(done)["estimated_h"]) == (half_past, 48.75, 2.5)


@pytest.mark.parametrize(("known", "side"), [([7.0, None, None], "before"), ([None, None, 7.0], "after")])
def test_linear_takes_the_rate_of_one_side_where_the_other_has_none(known: list[float | None], side: str) -> None:
    done = run(hours(known), window(MONDAY, MONDAY + 3 * HOUR), method="linear")
    assert done.hours["quantity"].to_list() == [7.0, 7.0]
    assert f"as in the hour {side}, 7 an hour" in only(done)["reason"]


@pytest.mark.parametrize(("away", "quantity"), [(24, 7.0), (25, None)])
def test_linear_looks_a_day_far(away: int, quantity: float | None) -> None:
    end = MONDAY + HOUR * away
    done = run(hours([7.0]), window(end, end + HOUR), method="linear")
    assert only(done)["quantity"] == quantity
    assert (quantity is None) == (only(done)["reason"] == "nothing is measured within a day on either side")
    assert done.hours.height == (quantity is not None)


def like_days(history: list[float | None], day: int, hour: int, **how: Any) -> dict[str, Any]:
    start = MONDAY + DAY * day + HOUR * hour
    return only(run(hours(history), window(start, start + HOUR), method="like_days", **how))


def test_like_days_are_working_days_saturdays_and_sundays() -> None:
    history = profile(28, lambda day, hour: 2500.0 + hour if day % 7 > 4 else 10.0 + hour)
    assert like_days(history, 28, 5)["quantity"] == pytest.approx(15.0)  # a Monday: ten and the hour
    assert like_days(history, 33, 5)["quantity"] == pytest.approx(2505.0)  # a Saturday
    assert like_days(history, 34, 5)["quantity"] == pytest.approx(2505.0)
    assert "of 20 or more like days" in like_days(history, 28, 5)["reason"]
    assert "of 4 or more like days" in like_days(history, 33, 5)["reason"]


def test_a_holiday_is_like_a_sunday_and_a_working_saturday_like_a_working_day() -> None:
    history = profile(28, lambda day, _hour: {5: 50.0, 6: 60.0}.get(day % 7, 10.0))
    notice = pl.DataFrame([(date(2025, 3, 31), 2025, False, "", "", ""), (date(2025, 4, 5), 2025, True, "", "", "")], schema=HOLIDAY, orient="row")
    assert like_days(history, 28, 5)["quantity"] == pytest.approx(10.0)
    assert like_days(history, 28, 5, holidays=notice)["quantity"] == pytest.approx(60.0)
    assert like_days(history, 33, 5)["quantity"] == pytest.approx(50.0)
    assert like_days(history, 33, 5, holidays=notice)["quantity"] == pytest.approx(10.0)


@pytest.mark.parametrize(("measured", "quantity"), [(2, None), (3, 4.0)])
def test_like_days_asks_for_three_of_them(measured: int, quantity: float | None) -> None:
    history = profile(measured, lambda _day, hour: 4.0 if hour == 5 else None)
    assert like_days(history, 3, 5)["quantity"] == (None if quantity is None else pytest.approx(quantity))


@pytest.mark.parametrize(("day", "quantity"), [(30, 4.0), (31, None)])
def test_like_days_looks_four_weeks_back(day: int, quantity: float | None) -> None:
    """The first three days are measured; day 30, a Wednesday, still has the three of them within 28 days, day 31 has two."""
    history = [*profile(2, lambda _day, _hour: None), *profile(3, lambda _day, _hour: 4.0)]
    assert like_days(history, day, 5)["quantity"] == (None if quantity is None else pytest.approx(quantity))


def linked_pair(own: list[float | None], other: list[float | None], **how: Any) -> Estimates:
    history = pl.concat([hours(own), hours(other, key=2)])
    return run(history, gaps(history).filter(pl.col("register_key") == 1), links=LINKS, **how)


def test_linked_is_proportional_to_what_the_other_register_measured() -> None:
    other = [float(place % 7) for place in range(60)]
    own: list[float | None] = [q / 4 for q in other]
    own[50] = own[51] = own[52] = None
    done = linked_pair(own, list(other), method="linked")
    assert done.hours["quantity"].to_list() == pytest.approx([q / 4 for q in other[50:53]])
    assert only(done)["reason"].startswith("0.25 times register M-2, by 50 common hours within 28 days before (R2 1)")


def test_linked_says_how_badly_the_registers_go_together() -> None:
    chance = random.Random(5)
    own: list[float | None] = [chance.uniform(0, 10) for _ in range(200)]
    own[150] = None
    reason = only(linked_pair(own, [chance.uniform(0, 10) for _ in range(200)], method="linked"))["reason"]
    assert float(reason.partition("(R2 ")[2].partition(")")[0]) < 0.1


@pytest.mark.parametrize("fault", ["missing hour", "few common hours", "no link"])
def test_linked_has_nothing_to_go_by_without_the_other_register(fault: str) -> None:
    common = 23 if fault == "few common hours" else 24
    own: list[float | None] = [*[1.0] * common, None, 1.0]
    other: list[float | None] = [*[2.0] * common, None if fault == "missing hour" else 2.0, 2.0]
    history = pl.concat([hours(own), hours(other, key=2)])
    asked = gaps(history).filter(pl.col("register_key") == 1)
    done = run(history, asked, method="linked", links=None if fault == "no link" else LINKS)
    assert only(done)["quantity"] is None
    assert only(done)["reason"].startswith("no linked register measured these hours")


def test_a_value_of_a_person_is_spread_evenly_over_what_is_not_covered() -> None:
    history = pl.concat([hours([10.0]), hours([2.0], start=MONDAY + HOUR, covered_ratio=0.5)])
    said = {"quantity": pl.lit(50.0), "low": pl.lit(40.0), "high": pl.lit(70.0), "reason": pl.lit("log book")}
    given_value = window(MONDAY, MONDAY + 4 * HOUR).with_columns(**said)
    done = run(history, given_value)
    assert done.hours.select("quantity", "covered_ratio").rows() == [(10.0, 0.5), (20.0, 1.0), (20.0, 1.0)]
    row = only(done)
    assert (row["quantity"], row["low"], row["high"], row["method"], row["back_tests"]) == (50.0, 40.0, 70.0, "manual", 0)
    assert (row["reason"], row["start"]) == ("given by a person: log book", MONDAY + HOUR)
    bare = only(run(history, given_value.drop("low", "high")))
    assert bare["reason"].endswith("; no interval is given")


def test_manual_without_a_value_says_so() -> None:
    assert only(run(hours([1.0, None, 1.0]), method="manual"))["reason"] == "no value is given"


# --- the choice and the interval --------------------------------------------------------------------------------------

def shaped(kind: str, days: int = 100) -> tuple[list[float | None], list[float | None]]:
    chance = random.Random(kind)
    other = [50 + chance.uniform(-40, 40) for _ in range(days * 24)]
    level = 100.0
    own: list[float | None] = []
    for place in range(days * 24):
        level = max(20.0, level + chance.gauss(0, 3))
        busy = place % 24 in range(8, 18) and (place // 24) % 7 < 5
        own.append({"daily": 100.0 * busy + chance.gauss(20, 2), "drift": level, "follows": other[place] * 3 + chance.gauss(0, 1)}[kind])
    return own, list(other)


@pytest.mark.parametrize(("kind", "method"), [("daily", "like_days"), ("drift", "linear"), ("follows", "linked")])
def test_auto_takes_the_method_that_errs_least_on_hidden_windows(kind: str, method: str) -> None:
    own, other = shaped(kind)
    gap = slice(90 * 24 + 6, 90 * 24 + 12)  # from six to noon, across the begin of work
    truth = sum(q for q in own[gap] if q is not None)
    own[gap] = [None] * 6
    done = only(linked_pair(own, other))
    errors = {
        name: float(only(linked_pair(own, other, method=name))["reason"].partition("mean absolute error ")[2].partition(",")[0])
        for name in core.AUTOMATIC
    }
    assert done["method"] == method == min(errors, key=lambda name: errors[name])
    assert "; the method with the smallest error of " in done["reason"]
    assert done["low"] <= done["quantity"] <= done["high"]
    assert done["low"] <= truth <= done["high"]


def test_auto_without_history_takes_what_there_is() -> None:
    row = only(run(hours([1.0, None, 3.0])))
    assert (row["method"], row["quantity"], row["low"], row["high"], row["back_tests"]) == ("linear", 2.0, None, None, 0)
    nothing = only(run(hours([1.0]), window(MONDAY + 5 * DAY, MONDAY + 6 * DAY)))
    assert (nothing["method"], nothing["quantity"], nothing["reason"]) == (None, None, "no method has anything to go by")


@pytest.mark.parametrize("tests", [FEWEST_TESTS - 1, FEWEST_TESTS])
def test_the_interval_is_bounded_by_the_errors_of_at_least_39_hidden_windows(tests: int) -> None:
    """Every day has one rate but for its noon; linear at noon errs by the day's own number."""
    days = tests + 1
    history = profile(days, lambda day, hour: None if (day, hour) == (days - 1, 12) else 100.0 + (day - 10) * (hour == 12))
    row = only(run(hours(history), method="linear"))
    assert (row["quantity"], row["back_tests"]) == (100.0, tests)
    if tests < FEWEST_TESTS:
        assert (row["low"], row["high"]) == (None, None)
        assert row["reason"].endswith("; 38 back-tests, fewer than 39: no interval")
    else:
        assert (row["low"], row["high"]) == (90.0, 100.0 + tests - 1 - 10)


def test_of_79_errors_the_second_from_either_end_bounds_the_interval() -> None:
    days = 80
    history = profile(days, lambda day, hour: None if (day, hour) == (days - 1, 12) else 100.0 + day * (hour == 12))
    asked = run(hours(history, start=MONDAY), method="linear")
    row = only(asked)
    # More than 39 of the tests begin on a like day (the gap's is a Wednesday): only those count.
    working = [day for day in range(days - 1) if day % 7 < 5]
    rank = (len(working) + 1) // 40
    assert row["back_tests"] == len(working)
    assert (row["low"], row["high"]) == (100.0, 100.0 + working[-rank])  # the estimate itself lies inside too
    assert "back-tests on like days" in row["reason"]


def test_an_interval_holds_95_in_100_truths() -> None:
    """300 registers, each with a level, a day and a noise of its own."""
    chance = random.Random(20250303)
    days, registers = 75, 300
    frames, truths, windows = [], {}, []
    for key in range(registers):
        level, swing, noise = chance.uniform(50, 500), chance.uniform(0, 50), chance.uniform(1, 30)
        values: list[float | None] = [
            level + swing * (8 <= hour < 18) + chance.gauss(0, noise) for _ in range(days) for hour in range(24)
        ]
        first = (days - 1) * 24 + chance.randrange(18)
        length = chance.choice([1, 3, 6])
        truths[key] = sum(q for q in values[first:first + length] if q is not None)
        values[first:first + length] = [None] * length
        frames.append(hours(values, key=key))
        windows.append((key, MONDAY + HOUR * first, MONDAY + HOUR * (first + length)))
    asked = pl.DataFrame(windows, schema=WINDOW, orient="row")
    for method, least, greatest in (("like_days", 0.91, 0.99), ("linear", 0.91, 0.99)):
        done = run(pl.concat(frames), asked, method=method).spans
        inside = [low <= truths[key] <= high for key, low, high in done.select("register_key", "low", "high").iter_rows()]
        assert len(inside) == registers
        assert least <= sum(inside) / registers <= greatest, method


# --- what is measured stays -------------------------------------------------------------------------------------------

def test_measured_time_gives_no_estimate() -> None:
    done = run(hours([1.0, 2.0, 3.0]), window(MONDAY, MONDAY + 3 * HOUR))
    assert done.spans.is_empty()
    assert done.hours.is_empty()


@settings(max_examples=25)
@given(st.lists(st.sampled_from([None, 0.0, 3.0, 8.5]), min_size=4, max_size=60), st.lists(st.floats(0.1, 1), min_size=60, max_size=60))
def test_only_what_is_not_covered_is_added(quantities: list[float | None], covered: list[float]) -> None:
    history = hours([1.0, *quantities, 1.0])
    history = history.with_columns(covered_ratio=pl.Series([1.0, *covered[:history.height - 2], 1.0]))
    done = run(history, method="linear")
    whole = completed(history, done)
    beside = whole.join(history, on=["register_key", "start"], how="left", suffix="_had")
    beside = beside.with_columns(pl.col("quantity_had", "covered_ratio_had").fill_null(0))
    assert whole["covered_ratio"].to_list() == pytest.approx([1.0] * (len(quantities) + 2))
    untouched = beside.filter(pl.col("covered_ratio_had") == 1)
    assert untouched["quantity"].to_list() == untouched["quantity_had"].to_list()
    assert set(untouched["quality"]) <= {"measured"}
    assert (beside["quantity"] >= beside["quantity_had"]).all()
    assert beside["estimated_ratio"].to_list() == pytest.approx((1 - beside["covered_ratio_had"]).to_list())
    estimate = float(done.spans["quantity"].sum())
    assert float(whole["quantity"].sum()) == pytest.approx(float(history["quantity"].sum()) + estimate, rel=1e-12)
    assert done.hours["quantity"].sum() == pytest.approx(estimate, rel=1e-12)


def test_windows_that_share_an_hour_do_not_estimate_it_twice() -> None:
    history = pl.concat([hours([4.0]), hours([2.0], start=MONDAY + HOUR, covered_ratio=0.5), hours([4.0], start=MONDAY + 2 * HOUR)])
    half = MONDAY + HOUR + timedelta(minutes=30)
    done = run(history, pl.concat([window(MONDAY + HOUR, half), window(half, MONDAY + 2 * HOUR)]), method="linear")
    assert done.hours["covered_ratio"].sum() == 0.5
    assert completed(history, done)["quantity"].to_list() == [4.0, 4.0, 4.0]


def caught_up(before: list[float], gap: list[float], after: list[float]) -> pl.DataFrame:
    """A register whose total across the gap is known: each hour of it has the mean."""
    spread = hours([sum(gap) / len(gap)] * len(gap), start=MONDAY + HOUR * len(before), quality="estimated", estimated_ratio=1.0)
    return pl.concat([hours(before), spread, hours(after, start=MONDAY + HOUR * (len(before) + len(gap)))])


@settings(max_examples=25)
@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.sampled_from(["auto", "linear", "like_days", "linked"]),
    st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 5),
)
def test_where_the_total_is_known_the_hours_add_up_to_it(gap: list[float], method: str, left: float, right: float, days: int) -> None:
    before = [left * (1 + hour) for _ in range(days) for hour in range(24)] + [left]
    history = caught_up(before, gap, [right])
    start = MONDAY + HOUR * len(before)
    done = run(history, window(start, start + HOUR * len(gap)), method=method)
    total = sum([sum(gap) / len(gap)] * len(gap))
    row = only(done)
    assert row["total_measured"]
    assert row["low"] == row["quantity"] == row["high"] == pytest.approx(total, rel=1e-12)
    assert done.hours["quantity"].sum() == pytest.approx(total, rel=1e-9)
    assert (done.hours["quantity"] >= 0).all()
    whole = completed(history, done)
    assert whole["quantity"].sum() == pytest.approx(history["quantity"].sum(), rel=1e-9)
    assert whole.height == history.height


def test_a_known_total_falls_into_the_hours_as_on_like_days() -> None:
    week = profile(28, lambda _day, hour: 10.0 if 8 <= hour < 18 else 0.0)
    history = caught_up([q for q in week if q is not None], [100.0] * 24, [0.0])
    done = run(history, window(MONDAY + 28 * DAY, MONDAY + 29 * DAY), method="like_days")
    assert done.hours["quantity"].to_list() == pytest.approx([240.0 if 8 <= hour < 18 else 0.0 for hour in range(24)])
    assert only(done)["reason"].startswith("the total is the register's own, only its hours are estimated: mean of the same hours")


def test_two_catch_ups_side_by_side_keep_their_own_totals() -> None:
    first, second = caught_up([5.0, 1.0], [30.0, 30.0], []), caught_up([], [60.0] * 4, [9.0]).with_columns(pl.col("start", "end") + 4 * HOUR)
    done = run(pl.concat([first, second]), window(MONDAY, MONDAY + 9 * HOUR), method="linear")
    assert done.spans["quantity"].to_list() == pytest.approx([60.0, 240.0])
    assert done.hours.head(2)["quantity"].sum() == pytest.approx(60.0)
    assert done.hours["quantity"].is_sorted()


def test_a_suspect_catch_up_is_left_as_it_is() -> None:
    history = caught_up([1.0], [30.0, 30.0], [1.0]).with_columns(quality=pl.lit("suspect", INTERVAL["quality"]))
    assert run(history, window(MONDAY, MONDAY + 4 * HOUR)).spans.is_empty()


# --- signs and times --------------------------------------------------------------------------------------------------

def test_nothing_is_estimated_below_zero_unless_the_register_was() -> None:
    chance = random.Random(3)
    small: list[float | None] = [max(0.0, chance.gauss(0.2, 1.0)) for _ in range(60 * 24)]
    small[-5:-2] = [None] * 3
    assert only(run(hours(small), method="like_days"))["low"] == 0.0
    once_below = [*small[:30], -0.001, *small[31:]]  # only a net register can show that
    assert only(run(hours(once_below), method="like_days"))["low"] < 0
    net: list[float | None] = [chance.gauss(-5, 1.0) for _ in range(60 * 24)]
    net[-5:-2] = [None] * 3
    row = only(run(hours(net), method="like_days"))
    assert row["low"] < row["quantity"] < row["high"] < 0


@pytest.mark.parametrize("method", ["like_days", "linked"])
def test_what_comes_after_the_window_changes_nothing(method: str) -> None:
    own, other = shaped("daily", 60)
    own[50 * 24:50 * 24 + 8] = [None] * 8
    other_end = 50 * 24 + 8
    changed = [q if place < other_end else 1e6 for place, q in enumerate(own)], [q if place < other_end else 1e6 for place, q in enumerate(other)]
    assert_frame_equal(linked_pair(own, other, method=method).spans, linked_pair(*changed, method=method).spans)


def test_linear_looks_at_one_hour_after_the_window_and_its_back_tests_at_none() -> None:
    own, _ = shaped("daily", 60)
    own[50 * 24:50 * 24 + 30] = [None] * 30  # longer than a day: the hidden windows lie well before
    plain = only(run(hours(own), method="linear"))
    later = [q if place <= 50 * 24 + 30 else 1e6 for place, q in enumerate(own)]
    assert only(run(hours(later), method="linear")) == plain
    next_hour = [q if place != 50 * 24 + 30 else (q or 0) + 300 for place, q in enumerate(own)]
    moved = only(run(hours(next_hour), method="linear"))
    assert moved["quantity"] == pytest.approx(plain["quantity"] + 150 * 30)
    assert moved["high"] - moved["quantity"] == pytest.approx(plain["high"] - plain["quantity"])


def test_days_of_a_place_with_summer_time_have_their_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2025, 2, 3, tzinfo=berlin).astimezone(UTC)
    shown = [(start + HOUR * place).astimezone(berlin) for place in range(24 * 60)]
    changed = date(2025, 3, 30)  # a Sunday of 23 hours
    history = hours([None if at.date() == changed else 1.0 + at.hour for at in shown], start=start)
    done = run(history, zone="Europe/Berlin", method="like_days")
    assert done.hours["quantity"].to_list() == pytest.approx([1.0 + hour for hour in range(24) if hour != 2])


def test_an_hour_that_the_clock_shows_twice_is_estimated_twice() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2025, 9, 1, tzinfo=berlin).astimezone(UTC)
    shown = [(start + HOUR * place).astimezone(berlin) for place in range(24 * 70)]
    history = hours([None if at.date() == date(2025, 10, 26) else 1.0 + at.hour for at in shown], start=start)
    done = run(history, zone="Europe/Berlin", method="like_days")
    assert done.hours["quantity"].to_list() == pytest.approx([1.0, 2.0, 3.0, 3.0, *[1.0 + hour for hour in range(3, 24)]])


def test_neither_the_order_of_rows_nor_the_size_of_batches_changes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(11)
    frames = [hours([None if chance.random() < 0.03 else chance.uniform(0, 9) for _ in range(24 * 50)], key=key) for key in (1, 2, 3)]
    history = pl.concat(frames)
    whole = run(history, links=LINKS)
    assert whole.spans.height > 50
    shuffled = history.sample(fraction=1, shuffle=True, seed=1)
    again = run(shuffled, gaps(history).sample(fraction=1, shuffle=True, seed=2), links=LINKS)
    assert_frame_equal(again.spans, whole.spans)
    monkeypatch.setattr(core, "TESTED_AT_ONCE", 366 * 10)
    parts = run(history, links=LINKS)
    assert_frame_equal(parts.spans, whole.spans)
    assert_frame_equal(parts.hours, whole.hours)


def test_gaps_are_missing_hours_and_hours_not_covered_whole() -> None:
    half = hours([1.0], start=MONDAY + 5 * HOUR, covered_ratio=0.5)
    history = pl.concat([hours([1.0, None, None, 1.0, 1.0]), half, hours([1.0], start=MONDAY + 6 * HOUR), hours([1.0, None, 1.0], key=2)])
    assert [(key, (a - MONDAY) // HOUR, (b - MONDAY) // HOUR) for key, a, b in gaps(history).iter_rows()] == [(1, 1, 3), (1, 5, 6), (2, 1, 2)]
    assert gaps(history.clear()).is_empty()
    assert run(history.clear()).spans.is_empty()


def test_what_lacks_of_the_hours_in_which_the_readings_begin_and_end_is_no_gap() -> None:
    known = [0.0, 0.3, 0.4, 1.0, 0.4, 0.3, 0.0]  # of these hours; the readings begin in hour 1 and end in hour 5
    history = hours([1.0] * 7).with_columns(covered_ratio=pl.Series(known))
    assert [((a - MONDAY) // HOUR, (b - MONDAY) // HOUR) for _, a, b in gaps(history).iter_rows()] == [(2, 3), (4, 5)]
    assert gaps(history.slice(1, 1)).is_empty()
    assert gaps(history.filter(pl.col("covered_ratio").is_in([0.0, 0.3]))).rows() == [(1, MONDAY + 2 * HOUR, MONDAY + 5 * HOUR)]


def test_a_window_within_the_hour_gets_its_share_of_it() -> None:
    quarter = timedelta(minutes=15)
    history = pl.concat([hours([8.0]), hours([4.0], start=MONDAY + HOUR, covered_ratio=0.75), hours([8.0], start=MONDAY + 2 * HOUR)])
    done = run(history, window(MONDAY + HOUR + quarter, MONDAY + HOUR + 2 * quarter), method="linear")
    row = only(done)
    assert (row["start"], row["end"], row["quantity"]) == (MONDAY + HOUR + quarter, MONDAY + HOUR + 2 * quarter, 2.0)


# --- a real load ------------------------------------------------------------------------------------------------------

@pytest.mark.needs("shared-data")
def test_hidden_days_of_a_steel_works_lie_in_their_intervals() -> None:
    table = pl.read_csv(next((DATA / "steel-daewoo").glob("*.csv*")), infer_schema=False)
    stamped = pl.col("date").str.to_datetime("%d/%m/%Y %H:%M", time_unit="us")
    last = (stamped.dt.time() == pl.time(0, 0)).alias("last")
    read_at = pl.when(last).then(stamped + DAY).otherwise(stamped).dt.replace_time_zone("Asia/Seoul").dt.convert_time_zone("UTC")
    values = table.select(read_at=read_at, value=pl.col("Usage_kWh").cast(pl.Float64)).with_columns(
        register_key=pl.lit(1), copy=pl.lit(0), quality=pl.lit(0), received_at="read_at", message=pl.int_range(pl.len()),
    )
    register = {**dict.fromkeys(REGISTER), "register_key": 1, "meter": "M", "register": "main", "unit": "kWh", "kind": "interval", "stamp": "end"}
    readings = conform(values, READING)
    by_hour = intervals(readings, pl.DataFrame([register], schema=REGISTER), pl.DataFrame(schema=EVENT), by="hour", zone="Asia/Seoul").intervals
    seoul = ZoneInfo("Asia/Seoul")
    chosen = random.Random(2018).sample([date(2018, 4, 1) + DAY * ahead for ahead in range(150)], 30)
    inside = []
    for day in sorted(chosen):
        start = datetime(day.year, day.month, day.day, tzinfo=seoul).astimezone(UTC)
        hide = pl.col("start").is_between(start, start + DAY, closed="left")
        row = only(run(by_hour.filter(~hide), window(start, start + DAY), zone="Asia/Seoul"))
        inside.append(row["low"] <= by_hour.filter(hide)["quantity"].sum() <= row["high"])
    assert sum(inside) >= 0.9 * len(inside)
