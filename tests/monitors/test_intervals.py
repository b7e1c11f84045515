import importlib.util
import os
import random
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from config import calendar
from config.schemas import DAY_RANGE, EVENT, INTERVAL, READING, REGISTER, SET_ASIDE, WINDOW, conform
from monitors import axis
from monitors import intervals as core
from monitors.falls import NEARBY
from monitors.intervals import Intervals, counted, intervals, quantity_unit, spread, uncovered
from monitors.reach import REACH, affected_days, day_ranges, short_of_reach, widened

SHANGHAI = "Asia/Shanghai"
START = datetime(2025, 6, 1, 2, tzinfo=UTC)  # 10:00 in Shanghai
NO_EVENTS = pl.DataFrame(schema=EVENT)
DATA = Path(os.environ.get("TCEWATCH_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"


def the_plain_rules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_rules", Path(__file__).with_name("plain_rules.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


PLAIN = the_plain_rules()


def register(**given: Any) -> pl.DataFrame:
    known = {"register_key": 1, "meter": "M", "register": "main", "medium": "electricity", "unit": "kWh", "kind": "cumulative", "stamp": "end"}
    return pl.DataFrame([{**dict.fromkeys(REGISTER), **known, **given}], schema=REGISTER)


def event(at: datetime, kind: str, closing: float | None = None, opening: float | None = None, multiplier: float | None = None) -> pl.DataFrame:
    return pl.DataFrame([(1, at, kind, closing, opening, multiplier)], schema=EVENT, orient="row")


def series(*values: float | None, start: datetime = START, minutes: float = 15, key: int = 1) -> pl.DataFrame:
    """Readings at a fixed spacing; None leaves one out."""
    rows = [
        (key, start + timedelta(minutes=minutes * place), 0, float(value), 0, start + timedelta(minutes=minutes * place), place)
        for place, value in enumerate(values) if value is not None
    ]
    return pl.DataFrame(rows, schema=READING, orient="row")


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def run(
    readings: pl.DataFrame, registers: pl.DataFrame | None = None, events: pl.DataFrame = NO_EVENTS, by: core.Grain = "reading", zone: str = SHANGHAI,
) -> Intervals:
    found = intervals(readings, register() if registers is None else registers, events, by=by, zone=zone)
    assert found.intervals.schema == INTERVAL
    assert found.set_aside.schema == SET_ASIDE
    return found


def quantities(found: Intervals) -> list[float]:
    return [round(quantity, 9) for quantity in found.intervals["quantity"]]


def aside(found: Intervals) -> list[tuple[float, list[str]]]:
    return [(value, rules) for value, rules in found.set_aside.select("value", "broken_rules").iter_rows()]


# --- what counts ------------------------------------------------------------------------------------------------------

def test_the_difference_between_two_readings_is_the_consumption_between_them() -> None:
    found = run(series(100, 104, 104, 110))
    assert quantities(found) == [4, 0, 6]
    assert found.intervals["start"].to_list() == [at(0), at(15), at(30)]
    assert set(found.intervals["quality"]) == {"measured"}
    assert found.intervals["covered_ratio"].to_list() == [1, 1, 1]


def test_a_single_reading_gives_no_consumption() -> None:
    assert run(series(100)).intervals.is_empty()
    assert run(series(100), by="hour").intervals.is_empty()


def test_no_readings_and_no_registers_give_empty_tables() -> None:
    assert run(series(), by="day").intervals.is_empty()
    assert aside(run(series(1, 2), pl.DataFrame(schema=REGISTER))) == [(1, ["no_register_row"]), (2, ["no_register_row"])]


def test_a_false_zero_that_returns_is_set_aside_and_its_energy_is_not_lost() -> None:
    found = run(series(100, 101, 0, 0, 104, 105))
    assert quantities(found) == [1, 3, 1]
    assert aside(found) == [(0, ["transient"]), (0, ["transient"])]


def flags(found: Intervals) -> list[tuple[str, float, float]]:
    return found.flags.select("flag", "before", "after").rows()


A_MONTH_OF_QUARTERS = 31 * 96


@pytest.mark.parametrize("length", [*range(1, NEARBY + 2), 40, A_MONTH_OF_QUARTERS - 2, A_MONTH_OF_QUARTERS - 1, A_MONTH_OF_QUARTERS])
def test_a_dip_may_last_a_month_from_the_last_good_reading_to_the_next(length: int) -> None:
    found = run(series(100, 101, *[0] * length, 110, 111))
    within = length < A_MONTH_OF_QUARTERS  # the reading before and the one after are a step more apart
    assert sum(quantities(found)) == (11 if within else 112)
    assert aside(found) == [(0, ["transient"])] * (length if within else 0)
    assert ("suspect" in found.intervals["quality"].to_list()) != within


@pytest.mark.parametrize("length", [*range(1, NEARBY + 2), 40, A_MONTH_OF_QUARTERS - 2, A_MONTH_OF_QUARTERS - 1, A_MONTH_OF_QUARTERS])
def test_a_spike_that_returns_within_a_month_adds_nothing(length: int) -> None:
    found = run(series(100, 101, *[9000] * length, 110, 111))
    within = length < A_MONTH_OF_QUARTERS
    assert sum(quantities(found)) == (11 if within else 8901)
    assert aside(found) == [(9000, ["spike"])] * (length if within else 0)


@pytest.mark.parametrize("length", range(1, NEARBY + 2))
def test_zeros_a_month_apart_may_be_false_as_well_though_not_many(length: int) -> None:
    found = run(series(100, 101, *[0] * length, 110, 111, minutes=30 * 24 * 60))
    assert len(aside(found)) == (length if length <= NEARBY else 0)


def test_a_register_that_climbs_back_steadily_after_a_fall_was_reset() -> None:
    found = run(series(20, 30, 0, 10, 20, 30, 40))
    assert quantities(found) == [10, 0, 10, 10, 10, 10]
    assert found.intervals["quality"].to_list() == ["measured", "suspect", "measured", "measured", "measured", "measured"]
    assert found.intervals["covered_ratio"].to_list() == [1, 0, 1, 1, 1, 1]


def test_what_was_used_across_a_reset_is_unknown_and_not_covered() -> None:
    found = run(series(1000, 1010, 5, 15, 25), by="hour").intervals
    assert found["quantity"].to_list() == [30.0]
    assert found["covered_ratio"].to_list() == [0.75]
    assert found["quality"].to_list() == ["suspect"]


def test_a_declared_modulus_turns_a_fall_into_a_wrap() -> None:
    found = run(series(9990, 9995, 3, 8), register(modulus=10_000.0))
    assert quantities(found) == [5, 8, 5]
    assert set(found.intervals["quality"]) == {"measured"}


@pytest.mark.parametrize(("values", "place", "forward"), [
    ((9000, 9500, 4499, 4999), 1, 4999), ((9000, 9500, 4501, 5001), 1, None),  # half the modulus at most
    ((9800, 9804, 3, 7), 1, None), ((9800, 9820, 20, 40), 1, 200), ((9800, 9819, 20, 39), 1, None),  # ten times a step beside it
    ((9990, 9990, 90, 90), 1, 100), ((9990, 9990, 90.1, 90.1), 1, None),  # a hundredth of the modulus even so
    ((9500, 500), 0, 1000), ((9500, 500.1), 0, None),  # a tenth where no step is beside it
])
def test_without_a_rating_a_wrap_is_small_or_like_the_steps_beside_it(values: tuple[float, ...], place: int, forward: float | None) -> None:
    found = run(series(*values), register(modulus=10_000.0))
    assert found.flags["flag"].to_list() == ["reset" if forward is None else "wrap"]
    assert quantities(found)[place] == (forward or 0)


@pytest.mark.parametrize(("rating", "expected"), [(400, 0), (400.1, 100.0), (400.0 + 1e-9, 100.0)])
def test_with_a_rating_a_wrap_goes_forward_by_what_the_rating_allows(rating: float, expected: float) -> None:
    assert quantities(run(series(9950, 50.0 + (1e-6 if rating == 400 else 0)), register(modulus=10_000.0, max_rate_per_h=rating)))[0] == expected


def test_a_step_back_within_the_resolution_is_jitter_and_no_consumption() -> None:
    found = run(series(100, 100.5, 100.4, 100.45, 101), register(resolution=0.1))
    assert quantities(found) == [0.5, 0, 0, 0.5]
    assert aside(found) == []
    assert set(found.intervals["quality"]) == {"measured"}


def test_a_thousandth_of_the_value_is_jitter_even_where_no_resolution_is_declared() -> None:
    found = run(series(127_000, 128_000, 127_872, 128_001))
    assert (quantities(found), flags(found), aside(found)) == ([1000, 0, 1], [("jitter", 128_000, 127_872)], [])
    assert aside(run(series(127_999, 128_000, 127_871.999, 128_001))) == [(127_871.999, ["transient"])]


def test_a_register_that_comes_back_a_little_lower_was_not_reset() -> None:
    """A meter that restores what it had kept some minutes before a cut."""
    found = run(series(1000, 1001, 0, 0, 1000.5, 1001.3, 1002))
    assert (sum(quantities(found)), aside(found), flags(found)) == (2, [(0, ["transient"])] * 2, [("jitter", 1001, 1000.5)])
    assert sum(quantities(run(series(100, 101, 9000, 100.95, 102)))) == 2


def test_a_spike_and_a_false_zero_side_by_side_add_nothing() -> None:
    found = run(series(100, 101, 9000, 0, 102, 103))
    assert (quantities(found), aside(found)) == ([1, 1, 1], [(9000, ["spike"]), (0, ["transient"])])


def test_a_spike_smaller_than_a_thousandth_is_one_if_it_falls_back_as_it_rose() -> None:
    found = run(series(1_000_000, 1_000_001, 1_000_801, 1_000_002, 1_000_003))
    assert (quantities(found), aside(found)) == ([1, 1, 1], [(1_000_801, ["spike"])])
    back_flow = run(series(1_000_000, 1_000_010, 1_000_002, 1_000_012))
    assert (quantities(back_flow), flags(back_flow)) == ([10, 0, 2], [("jitter", 1_000_010, 1_000_002)])


def test_a_false_zero_is_no_ground_on_which_a_good_reading_would_be_a_spike() -> None:
    found = run(series(1000, *[0] * 5, 1005, *[0] * 5, 1010, 1011))
    assert aside(found) == [(0, ["transient"])] * 10
    assert sum(quantities(run(series(0, 5000, 0, 0, 0)))) == 0


def test_two_rollovers_that_were_declared_within_a_step_are_two() -> None:
    twice = pl.concat([event(at(5), "rollover"), event(at(10), "rollover")])
    assert quantities(run(series(9000, 8000, 8500), register(modulus=10_000.0), twice)) == [19_000, 500]


ZEROS = [0] * 3


@pytest.mark.parametrize(("values", "counted_kwh", "rating"), [
    ((*ZEROS, 120_000, 120_001, 120_002, 120_003, 120_004), 4, None),  # a gateway that had not yet polled
    ((*ZEROS, 120_000, 120_001, 120_002, 120_003), 120_003, None),  # too few readings after it to tell
    ((*ZEROS, 50, 60, 70, 80, 90), 90, None),  # a new meter
    ((*ZEROS, 1000, 1010, 1020, 1030, 1040), 1040, None),  # a hundred times as fast
    ((*ZEROS, 1000.1, 1010.1, 1020.1, 1030.1, 1040.1), 40, None),
    ((*ZEROS, 500, 500, 500, 500, 500), 500, None),  # a batch, then rest
    ((*ZEROS, 120_000, 120_001, 120_002, 120_003, 120_004), 120_004, 480_000.0),
    ((*ZEROS, 120_000, 120_001, 120_002, 120_003, 120_004), 4, 479_999.0),
])
def test_a_step_out_of_zero_ends_a_lost_count_where_it_is_far_beyond_what_follows(values, counted_kwh: float, rating: float | None) -> None:
    found = run(series(*values), register(max_rate_per_h=rating))
    assert sum(quantities(found)) == pytest.approx(counted_kwh)
    assert flags(found) == ([] if counted_kwh == values[-1] else [("reset", 0, values[3])])


@pytest.mark.parametrize(("minutes", "quality"), [(15, ["measured", "measured"]), (20, ["measured", "suspect"]), (30, ["measured", "measured"])])
def test_a_step_in_the_midst_of_which_the_multiplier_changes_is_suspect(minutes: float, quality: list[str]) -> None:
    rows = pl.concat([register(multiplier=10.0, valid_to=at(minutes)), register(multiplier=20.0, valid_from=at(minutes))])
    found = run(series(0, 1, 2), rows)
    assert found.intervals["quality"].to_list() == quality
    assert quantities(found) == [10, 20 if minutes == 15 else 10]


def test_the_31_days_hold_for_few_readings_too_but_not_for_zeros() -> None:
    def monthly(*values: float) -> Intervals:
        return run(series(*values, minutes=30 * 24 * 60))

    assert flags(monthly(50_000, 100, 30_000, 62_000)) == [("reset", 50_000, 100)]
    assert aside(monthly(50_000, 62_000, 620_000, 74_000, 86_000)) == [(620_000, ["spike"])]  # one figure too many
    assert flags(monthly(50_000, 62_000, 100, 12_100, 24_100)) == [("reset", 62_000, 100)]
    assert [flag for flag, *_ in flags(monthly(50_000, 62_000, 70_000, 65_000, 77_000))] == ["reset"]
    assert aside(monthly(50_000, 0, 50_400, 62_000)) == [(0, ["transient"])]


def test_jitter_that_does_not_come_back_within_a_month_is_booked_so_that_energy_is_conserved() -> None:
    values = [100, 100.5, *[100.4] * 31 * 96, 101]
    assert quantities(run(series(*values), register(resolution=0.1))) == [0.5, *[0] * (31 * 96 - 1), -0.1, 0.6]
    assert quantities(run(series(*values[:-2], 101), register(resolution=0.1))) == [0.5, *[0] * (31 * 96 - 1), 0.5]


def test_jitter_before_a_wrap_does_not_leak_across_it() -> None:
    assert quantities(run(series(9998, 9999, 9998.99, 4, 8), register(modulus=10_000.0, resolution=0.1))) == [1, 0, 5, 4]


def test_a_net_register_may_run_backwards() -> None:
    found = run(series(100, 90, 95, 0), register(net=True))
    assert quantities(found) == [-10, 5, -95]
    assert set(found.intervals["quality"]) == {"measured"}


@pytest.mark.parametrize(("value", "counts"), [(9.9, False), (10.0, True), (20.0, True), (20.1, False)])
def test_a_value_outside_its_range_is_set_aside_and_one_at_the_bound_is_not(value: float, counts: bool) -> None:
    found = run(series(10, value, 20), register(range_low=10.0, range_high=20.0))
    assert aside(found) == ([] if counts else [(value, ["outside_range"])])


def test_a_value_at_or_above_the_modulus_is_outside_its_range() -> None:
    assert aside(run(series(1, 99, 100), register(modulus=100.0))) == [(100.0, ["outside_range"])]


def test_a_value_that_is_no_number_is_set_aside() -> None:
    readings = series(1, 2, 3, 4).with_columns(value=pl.Series([1.0, float("nan"), float("inf"), 4.0]))
    found = run(readings)
    assert quantities(found) == [3]
    assert found.set_aside["broken_rules"].to_list() == [["not_finite"], ["not_finite"]]


@pytest.mark.parametrize(
    ("value", "multiplier", "counts"), [(1e300, 1.0, True), (1.01e300, 1.0, False), (1e297, 1000.0, True), (1.01e297, -1000.0, False)],
)
def test_a_value_that_is_too_great_when_multiplied_is_no_number(value: float, multiplier: float, counts: bool) -> None:
    found = run(series(1, value), register(multiplier=multiplier))
    assert aside(found) == ([] if counts else [(value, ["not_finite"])])
    assert found.intervals["quantity"].is_finite().all()


def test_a_reading_that_the_gateway_called_bad_is_set_aside_and_an_uncertain_one_makes_its_steps_suspect() -> None:
    readings = series(1, 2, 3, 4, 5).with_columns(quality=pl.Series([0, 2, 0, 1, 0], dtype=pl.UInt8))
    found = run(readings)
    assert aside(found) == [(2.0, ["marked_bad"])]
    assert found.intervals["quality"].to_list() == ["measured", "suspect", "suspect"]


def test_a_reading_names_every_rule_that_it_breaks() -> None:
    readings = series(1, -5, 3).with_columns(quality=pl.Series([0, 2, 0], dtype=pl.UInt8))
    assert aside(run(readings, register(range_low=0.0))) == [(-5.0, ["outside_range", "marked_bad", "negative"])]
    assert aside(run(readings, register(range_low=-9.0))) == [(-5.0, ["marked_bad"])]


@pytest.mark.parametrize(("values", "rating"), [((300, 800), 500.0), ((100.1, 100.3), 0.2), ((0.1, 0.4), 0.3), ((999.9, 0.1), 0.2)])
def test_a_step_equal_to_the_rating_is_within_it_whatever_floating_point_adds(values: tuple[float, float], rating: float) -> None:
    found = run(series(*values, minutes=60), register(max_rate_per_h=rating, modulus=1000.0))
    assert (quantities(found), found.intervals["quality"].to_list()) == ([rating], ["measured"])


@pytest.mark.parametrize(("rating", "quality"), [(39.9, "suspect"), (40.0, "measured"), (40.1, "measured")])
def test_a_step_above_the_rating_is_kept_and_suspect(rating: float, quality: str) -> None:
    found = run(series(0, 1), register(max_rate_per_h=rating, multiplier=10.0))
    assert quantities(found) == [10]
    assert found.intervals["quality"].to_list() == [quality]
    hourly = run(series(0, 1, 1, 1, 1, 1), register(max_rate_per_h=rating, multiplier=10.0), by="hour").intervals
    assert hourly["quality"].to_list() == [quality, "measured"]


# --- several values for one instant -----------------------------------------------------------------------------------

def with_copies(readings: pl.DataFrame, *copies: tuple[int, float, float]) -> pl.DataFrame:
    """Add (place, value, minutes after the first arrival) as further readings of an instant."""
    extra = [
        {**readings.row(place, named=True), "value": value, "copy": number, "message": 100 + number,
         "received_at": readings["received_at"][place] + timedelta(minutes=late)}
        for number, (place, value, late) in enumerate(copies, start=1)
    ]
    return pl.concat([readings, pl.DataFrame(extra, schema=READING)])


def test_the_same_value_again_counts_once() -> None:
    found = run(with_copies(series(1, 2, 3), (1, 2.0, 5)))
    assert quantities(found) == [1, 1]
    assert aside(found) == [(2.0, ["duplicate"])]


def test_of_conflicting_values_the_one_counts_that_keeps_the_register_from_falling() -> None:
    found = run(with_copies(series(1, 0, 3), (1, 2.0, 5), (1, 7.0, 6)))
    assert quantities(found) == [1, 1]
    assert aside(found) == [(0.0, ["conflicting_copy"]), (7.0, ["conflicting_copy"])]


def test_where_several_values_fit_the_first_received_counts_and_then_the_greatest() -> None:
    assert quantities(run(with_copies(series(1, 2, 5), (1, 3.0, -5)))) == [2, 2]
    assert quantities(run(with_copies(series(1, 2, 5), (1, 3.0, 0)))) == [2, 2]
    assert quantities(run(with_copies(series(1, 2, 5), (1, 3.0, 5)))) == [1, 3]


def test_conflicts_at_every_instant_are_judged_by_the_values_around_them() -> None:
    readings = series(31.057, 31.057, 31.057, 31.06)
    found = run(with_copies(readings, *((place, 0.0, 1.0) for place in range(4))))
    assert sum(quantities(found)) == pytest.approx(0.003)


# --- declared events --------------------------------------------------------------------------------------------------

def test_a_meter_change_carries_the_energy_over_exactly() -> None:
    found = run(series(100, 110, 5, 15), events=event(at(20), "change", 113.0, 2.0))
    assert quantities(found) == [10, 3, 3, 10]
    assert found.intervals["start"].to_list() == [at(0), at(15), at(20), at(30)]
    hourly = run(series(100, 110, 5, 15, 25), events=event(at(20), "change", 113.0, 2.0), by="hour").intervals
    assert hourly.select("quantity", "covered_ratio", "quality").rows() == [(36.0, 1.0, "measured")]


def test_a_change_without_values_leaves_the_time_between_unknown() -> None:
    found = run(series(100, 110, 120, 130), events=event(at(20), "change"))
    assert quantities(found) == [10, 10]
    half = run(series(100, 110, 120, 130), events=event(at(20), "change", closing=112.0))
    assert quantities(half) == [10, 2, 10]


def test_a_reading_at_the_instant_of_a_change_yields_to_the_declared_values() -> None:
    found = run(series(100, 110, 7, 15), events=event(at(30), "change", 118.0, 5.0))
    assert quantities(found) == [10, 8, 10]
    assert aside(found) == [(7.0, ["conflicting_copy"])]
    assert aside(run(series(100, 110, 5, 15), events=event(at(30), "change", 118.0, 5.0))) == [(5.0, ["duplicate"])]


def test_a_declared_rollover_is_a_wrap_however_far_it_goes() -> None:
    registers = register(modulus=100.0, max_rate_per_h=1.0)
    assert quantities(run(series(40, 30), registers)) == [0]
    assert quantities(run(series(40, 30), registers, event(at(10), "rollover"))) == [90]
    assert quantities(run(series(40, 30), registers, event(at(10), "rollover", 100.0, 0.0))) == [60, 30]


def test_a_new_multiplier_holds_from_its_event_on_and_declared_values_cut_the_step() -> None:
    assert quantities(run(series(0, 1, 2, 3), events=event(at(20), "multiplier", multiplier=10.0))) == [1, 1, 10]
    assert quantities(run(series(0, 1, 2, 3), events=event(at(20), "multiplier", 1.25, multiplier=10.0))) == [1, 0.25, 7.5, 10]
    assert quantities(run(series(0, 1, 2, 3), events=event(at(15), "multiplier", multiplier=10.0))) == [1, 10, 10]


def test_dated_rows_of_a_register_hold_from_their_day_on() -> None:
    rows = pl.concat([register(multiplier=1.0, valid_to=at(30)), register(multiplier=10.0, valid_from=at(30))])
    assert quantities(run(series(0, 1, 2, 3, 4), rows)) == [1, 1, 10, 10]


def test_a_reading_outside_every_row_is_set_aside_and_a_hole_is_not_bridged() -> None:
    rows = pl.concat([register(valid_to=at(30)), register(valid_from=at(60))])
    found = run(series(0, 1, 2, 3, 4, 5), rows)
    assert quantities(found) == [1, 1, 1]
    assert aside(found) == [(3.0, ["no_register_row"])]


# --- interval and rate registers --------------------------------------------------------------------------------------

def test_an_interval_reading_covers_the_time_to_its_neighbour_on_the_declared_side() -> None:
    end = run(series(1, 2, 3), register(kind="interval")).intervals
    assert end.select("start", "end", "quantity").rows() == [(at(-15), at(0), 1.0), (at(0), at(15), 2.0), (at(15), at(30), 3.0)]
    start = run(series(1, 2, 3), register(kind="interval", stamp="start")).intervals
    assert start.select("start", "end", "quantity").rows() == [(at(0), at(15), 1.0), (at(15), at(30), 2.0), (at(30), at(45), 3.0)]


def test_a_missing_interval_stays_unknown() -> None:
    found = run(series(1, 2, None, 4, 5), register(kind="interval"))
    assert found.intervals.select("start", "quantity").rows() == [(at(-15), 1.0), (at(0), 2.0), (at(30), 4.0), (at(45), 5.0)]
    hourly = run(series(None, 1, 1, None, 1, 1), register(kind="interval"), by="hour").intervals
    assert hourly["covered_ratio"].to_list() == [0.75, 0.25]


def test_months_of_unequal_length_are_no_gaps() -> None:
    firsts = [datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 6)]
    readings = pl.concat([series(31, start=first) for first in firsts])
    found = run(readings, register(kind="interval"), zone="UTC").intervals
    assert found["start"].to_list()[1:] == firsts[:-1]


def test_the_last_reading_of_a_day_belongs_to_that_day() -> None:
    readings = series(*[1] * 96, start=datetime(2025, 5, 31, 16, 15, tzinfo=UTC))
    assert run(readings, register(kind="interval"), by="day").intervals.select("quantity", "covered_ratio").rows() == [(96.0, 1.0)]


def test_an_interval_without_any_neighbour_has_no_length() -> None:
    assert aside(run(series(5), register(kind="interval"))) == [(5.0, ["length_unknown"])]


def test_negative_intervals_count_for_net_registers_only() -> None:
    assert aside(run(series(1, -1, 1), register(kind="interval"))) == [(-1.0, ["negative"])]
    assert quantities(run(series(1, -1, 1), register(kind="interval", net=True))) == [1, -1, 1]


def test_power_is_integrated_by_trapezoid() -> None:
    found = run(series(4, 8, 8, minutes=30), register(kind="rate", unit="kW"))
    assert quantities(found) == [3, 4]


@pytest.mark.parametrize(("minutes", "steps"), [(89, 1), (90, 1), (91, 0)])
def test_nothing_is_known_between_powers_far_apart(minutes: float, steps: int) -> None:
    assert run(series(4, 4, minutes=minutes), register(kind="rate", unit="kW")).intervals.height == steps


def test_a_month_reading_is_spread_over_its_days_and_estimated_there_but_not_by_month() -> None:
    readings = pl.concat([series(31, start=datetime(2025, month, 1, tzinfo=UTC)) for month in (2, 3, 4)])
    days = run(readings, register(kind="interval"), by="day", zone="UTC").intervals
    assert set(days["quality"]) == {"estimated"}
    months = run(readings, register(kind="interval"), by="month", zone="UTC").intervals
    assert months["quantity"].round(9).to_list()[1:] == [31.0, 31.0]
    assert set(months["quality"]) == {"measured"}


def test_registers_of_all_kinds_go_through_together() -> None:
    kinds = {1: "cumulative", 2: "interval", 3: "rate", 9: "cumulative"}
    registers = pl.concat([register(register_key=key, kind=kind) for key, kind in kinds.items()])
    readings = pl.concat([series(0, 1, 2), series(5, 6, 7, key=2), series(4, 4, 4, key=3), series(3, 4, 4, key=9)])
    found = run(readings, registers).intervals
    assert found.group_by("register_key", maintain_order=True).agg(pl.col("quantity").sum()).rows() == [(1, 2.0), (2, 18.0), (3, 2.0), (9, 1.0)]


def test_readings_of_states_are_neither_counted_nor_set_aside() -> None:
    registers = pl.concat([register(register_key=1), register(register_key=2, kind="state", unit="degC"), register(register_key=3, kind="derived")])
    own, others = series(0, 1, 2), pl.concat([series(-5, 5, float("nan"), key=2), series(1, 2, key=3)])
    changed = pl.DataFrame([(2, at(20), "change", 1.0, 2.0, None)], schema=EVENT, orient="row")
    alone, together = run(own, register()), run(pl.concat([others, own]), registers, changed)
    assert together.intervals.equals(alone.intervals)
    assert together.set_aside.is_empty()
    assert run(others, registers.filter(pl.col("register_key") > 1), changed).intervals.is_empty()
    assert run(series(1, 2, key=4), registers).set_aside["broken_rules"].to_list() == [["no_register_row"]] * 2


@pytest.mark.parametrize(("begin", "quality"), [(20, "measured"), (21, "suspect")])
def test_confirmed_spans_that_touch_are_one_and_hold_a_step_between_them(begin: float, quality: str) -> None:
    spans = [(1, at(begin), at(30)), (1, at(15), at(20))]  # the second step lasts from minute 15 to 30
    confirmed = pl.DataFrame(spans, schema=WINDOW, orient="row")
    done = counted(series(0, 50, 100), register(max_rate_per_h=10.0), NO_EVENTS, zone=SHANGHAI, confirmed=confirmed)
    assert spread(done, "reading")["quality"].to_list() == ["suspect", quality]
    assert done.flags["start"].to_list() == [at(0), at(15)][: 1 + (quality == "suspect")]


def test_the_unit_of_a_rate_is_integrated_too() -> None:
    assert [quantity_unit("rate", unit) for unit in ("kW", "MW", "m3/h", "t/h", "kWh")] == ["kWh", "MWh", "m3", "t", None]
    assert quantity_unit("interval", "kWh") == "kWh"


# --- hours and days ---------------------------------------------------------------------------------------------------

def test_values_at_the_hour_are_interpolated() -> None:
    found = run(series(0, 10, 20, start=at(30), minutes=60), by="hour").intervals
    assert found.select("quantity", "covered_ratio", "estimated_ratio").rows() == [(5.0, 0.5, 0.0), (10.0, 1.0, 0.0), (5.0, 0.5, 0.0)]


def test_a_gap_is_spread_over_its_hours_and_estimated() -> None:
    found = run(series(0, 1, 2, 3, *[None] * 12, 16, 17, 18, 19, 20), by="hour").intervals
    assert found["quantity"].to_list() == [4, 4, 4, 4, 4]
    assert found["quality"].to_list() == ["estimated"] * 4 + ["measured"]
    assert found["estimated_ratio"].to_list() == [0.25, 1, 1, 1, 0]


@pytest.mark.parametrize(("minutes", "quality"), [(60, "measured"), (61, "measured"), (89, "measured"), (90, "measured"), (91, "estimated")])
def test_readings_a_little_off_the_hour_are_not_estimated(minutes: float, quality: str) -> None:
    found = run(series(0, 1, 2, 3, minutes=minutes, start=at(3)), by="hour").intervals
    assert set(found["quality"]) == {quality}


def test_a_register_read_once_a_day_has_estimated_hours_and_measured_days() -> None:
    readings = series(0, 24, 48, minutes=24 * 60)
    assert set(run(readings, by="hour").intervals["quality"]) == {"estimated"}
    days = run(readings, by="day").intervals
    assert days.select("quantity", "quality", "covered_ratio").rows() == [
        (14.0, "measured", pytest.approx(14 / 24)), (24.0, "measured", 1.0), (10.0, "measured", pytest.approx(10 / 24)),
    ]


def test_a_reading_on_the_stroke_of_midnight_belongs_to_neither_day() -> None:
    midnight = datetime(2025, 5, 31, 16, tzinfo=UTC)
    for offset, expected in ((0, [10.0]), (30, [10 * 870 / 900, 10 * 30 / 900]), (-30, [10.0])):
        start = midnight - timedelta(minutes=15) + timedelta(seconds=offset)
        found = run(series(0, 10, start=start), by="day").intervals["quantity"].to_list()
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(("zone", "day", "hours"), [
    ("Europe/Berlin", date(2025, 3, 30), 23), ("Europe/Berlin", date(2025, 10, 26), 25), ("Asia/Shanghai", date(1986, 5, 4), 23),
    ("Asia/Shanghai", date(1986, 9, 14), 25), ("Asia/Shanghai", date(1991, 9, 15), 25), ("Asia/Shanghai", date(2025, 5, 4), 24),
    ("Africa/Cairo", date(2024, 4, 26), 23), ("Australia/Lord_Howe", date(2025, 10, 5), 23.5),
])
def test_local_days_follow_the_summer_times_of_their_place(zone: str, day: date, hours: float) -> None:
    start, end = calendar.day_span(day, zone)
    readings = series(*range(200), start=start - timedelta(hours=20), minutes=20)
    days = run(readings, by="day", zone=zone).intervals.filter(pl.col("start") == start)
    assert days.select("end", "quantity", "covered_ratio").rows() == [(end, pytest.approx(hours * 3), 1.0)]
    hourly = run(readings, by="hour", zone=zone).intervals.filter(pl.col("start").is_between(start, end, closed="left"))
    assert hourly["quantity"].sum() == pytest.approx(hours * 3)
    assert (hourly["end"] == hourly["start"].shift(-1, fill_value=end)).all()


def test_the_hours_of_a_zone_with_a_half_hour_begin_on_its_own_clock() -> None:
    found = run(series(0, 1, 2, 3, 4), by="hour", zone="Asia/Kolkata").intervals
    assert found.select("start", "quantity").rows() == [(at(-30), 2.0), (at(30), 2.0)]


def test_hours_days_months_and_years_telescope() -> None:
    rng = random.Random(7)
    values = [0.0]
    for _ in range(4000):
        values.append(values[-1] + rng.random())
    done = counted(series(*values, start=datetime(2024, 12, 20, tzinfo=UTC), minutes=47), register(), NO_EVENTS, zone=SHANGHAI)
    sums = {by: spread(done, by)["quantity"].sum() for by in ("reading", "hour", "day", "month", "year")}
    assert max(sums.values()) - min(sums.values()) < 1e-9 * values[-1]
    local_day = pl.col("start").dt.convert_time_zone(SHANGHAI).dt.date()
    in_hours = spread(done, "hour").group_by(local_day, maintain_order=True).agg(pl.col("quantity").sum())
    assert in_hours["quantity"].to_list() == pytest.approx(spread(done, "day")["quantity"].to_list(), abs=1e-9)


# --- laws -------------------------------------------------------------------------------------------------------------

ZONES = (SHANGHAI, "Europe/Berlin", "America/New_York")


def wild(rng: random.Random, length: int, start: datetime, modulus: float | None) -> pl.DataFrame:
    """A register with everything that goes wrong with meters, at a density that no real one has."""
    now, total, rows = start + timedelta(seconds=rng.randrange(86_400)), rng.choice([0.0, 50.0, 990.0]), []
    mode, spacings = rng.randrange(4), [900, 900, 900, 900, 60, 3600, 7200, 100_000]
    for _ in range(length):
        now += timedelta(seconds=rng.choice(spacings) if mode else 900)
        total = rng.choice([0, 1, 2, 5, 100, 1000]) + rng.random() if mode == 3 else total + rng.choice([0, 1, 2.3, 0.7])
        value = rng.choice([0, total - 0.005, total + 1000, total / 2, total - 3, total + 2, -5]) if mode and rng.random() < 0.15 else total
        value = round(value % modulus if modulus else value, 3)
        rows.append((1, now, 0, value, rng.choice([0] * 20 + [1, 2]), now, len(rows)))
        if rng.random() < 0.05:
            rows.append((1, now, 1, round(value + rng.choice([0, 1, -50]), 3), 0, now + timedelta(seconds=rng.choice([-5, 0, 5])), len(rows)))
    return pl.DataFrame(rows, schema=READING, orient="row")


def wild_case(seed: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, str]:
    """Readings, register rows, events and a zone, all drawn from one seed."""
    rng, start = random.Random(seed), datetime(2025, 3, 28, tzinfo=UTC)
    kind = rng.choice(["cumulative"] * 5 + ["interval", "rate"])
    modulus = rng.choice([None, 1000.0])
    common: dict[str, Any] = {"kind": kind, "stamp": rng.choice(["start", "end"]), "modulus": modulus if kind == "cumulative" else None, "unit": "kW"}
    middle = start + timedelta(days=2, hours=5)
    rows = pl.concat([
        register(**common, resolution=rng.choice([None, 0.01]), max_rate_per_h=rng.choice([None, 30.0]), multiplier=rng.choice([None, 40.0]),
                 net=rng.random() < 0.1, range_low=rng.choice([None, 0.0]), valid_to=middle),
        register(**common, multiplier=rng.choice([1.0, 80.0]), valid_from=middle + timedelta(hours=rng.randrange(2) * 10)),
    ])
    events = pl.DataFrame([
        (1, start + timedelta(minutes=rng.randrange(10_000)), rng.choice(["change", "reset", "rollover", "multiplier"]),
         rng.choice([None, 500.0]), rng.choice([None, 0.0]), rng.choice([2.0, 60.0]))
        for _ in range(rng.randrange(3))
    ], schema=EVENT, orient="row")
    return wild(rng, rng.randrange(2, 250), start, modulus if rng.random() < 0.5 else None), rows, events, rng.choice(ZONES)


@settings(max_examples=20)
@given(st.integers(0, 10**9))
def test_the_rules_are_those_of_the_plain_reference(seed: int) -> None:
    readings, rows, events, zone = wild_case(seed)
    plain = PLAIN.plain(readings.rows(named=True), rows.rows(named=True), events.rows(named=True))
    steps = plain.steps
    done = counted(readings, rows, events, zone=zone)
    assert {row["message"]: set(row["broken_rules"]) for row in done.set_aside.iter_rows(named=True)} == plain.aside
    total = max(1.0, sum(abs(step.quantity) for step in steps))
    found = spread(done, "reading")
    assert found.select("start", "end", covered=pl.col("covered_ratio") > 0).rows() == [(step.start, step.end, step.covered) for step in steps]
    assert found["quantity"].to_list() == pytest.approx([step.quantity for step in steps], abs=1e-9 * total)
    assert (found["quality"] == "suspect").to_list() == [step.suspect for step in steps]
    for by in ("hour", "day", "month", "year"):
        expected, got = PLAIN.spread(steps, by, zone), spread(done, by)
        assert got["start"].to_list() == list(expected)
        for column, place in (("quantity", 1), ("covered_ratio", 2), ("estimated_ratio", 3)):
            assert got[column].to_list() == pytest.approx([entry[place] for entry in expected.values()], abs=1e-9 * total)
        assert got["quality"].to_list() == [entry[4] for entry in expected.values()]
        assert got["end"].to_list() == [entry[0] for entry in expected.values()]
    assert done.flags.select("start", "end", "flag", "before", "after").rows() == [flag[:5] for flag in plain.flags]
    assert done.flags["quantity"].to_list() == pytest.approx([flag.quantity for flag in plain.flags], abs=1e-9 * total)


@settings(max_examples=20)
@given(st.integers(0, 10**9))
def test_the_order_of_arrival_changes_nothing(seed: int) -> None:
    readings, rows, events, zone = wild_case(seed)
    for by in ("reading", "hour"):
        straight, mixed = (run(each, rows, events, by, zone) for each in (readings, readings.sample(fraction=1, shuffle=True, seed=seed)))
        assert_frame_equal(straight.intervals, mixed.intervals, check_exact=True)
        assert_frame_equal(straight.set_aside, mixed.set_aside, check_exact=True)


def within_reach(readings: pl.DataFrame, rows: pl.DataFrame, events: pl.DataFrame, zone: str, first: date, last: date) -> pl.DataFrame:
    """The readings of some days with their reach, as the service that recomputes dirty days reads them."""
    start, end = calendar.day_span(first, zone)[0], calendar.day_span(last, zone)[1]
    instants, pad = readings["read_at"].unique().sort(), REACH
    while True:
        before, after = instants.filter(instants < start).tail(pad), instants.filter(instants >= end).head(pad)
        inside = pl.col("read_at").is_between(start, end, closed="left")
        window = readings.filter(inside | pl.col("read_at").is_in(pl.concat([before, after]).implode()))
        if short_of_reach(counted(window, rows, events, zone=zone), window, start, end, pad=pad).is_empty():
            return window
        pad *= 2


def together(rows: pl.DataFrame, ranges: pl.DataFrame, day: date) -> tuple[date, date]:
    """The days that are decided together with a day."""
    if rows["kind"][0] != "cumulative" or rows["net"].fill_null(value=False).all():
        return day, day
    found = widened(ranges.sort("register_key", "day"), pl.DataFrame({"register_key": [1], "first": [day], "last": [day]}, schema_overrides=ONE))
    assert not found["open"][0] or found["first"][0] == ranges["day"].min() or found["last"][0] == ranges["day"].max()
    return found["first"][0], found["last"][0]


ONE = {"register_key": pl.UInt32}


@settings(max_examples=30)
@given(st.integers(0, 10**9))
def test_a_day_recomputed_with_its_reach_is_the_same_to_the_last_bit(seed: int) -> None:
    readings, rows, events, zone = wild_case(seed)
    whole = counted(readings, rows, events, zone=zone)
    ranges = day_ranges(whole)
    if ranges.is_empty():
        return
    day = ranges["day"][seed % ranges.height]
    first, last = together(rows, ranges, day)
    part = counted(within_reach(readings, rows, events, zone, first, last), rows, events, zone=zone)
    start, end = calendar.day_span(first, zone)[0], calendar.day_span(last, zone)[1]
    of_days = pl.col("start").is_between(start, end, closed="left")
    for by in ("hour", "day"):
        assert_frame_equal(spread(whole, by).filter(of_days), spread(part, by).filter(of_days), check_exact=True)
    assert_frame_equal(whole.flags.filter(of_days), part.flags.filter(of_days), check_exact=True)
    inside = pl.col("day").is_between(first, last)
    assert_frame_equal(ranges.filter(inside), day_ranges(part).filter(inside))


@settings(max_examples=12)
@given(st.integers(0, 10**9))
def test_a_new_reading_changes_only_the_days_that_it_affects(seed: int) -> None:
    readings, rows, events, zone = wild_case(seed)
    rng = random.Random(seed)
    late = readings["read_at"][rng.randrange(readings.height)]
    without = readings.filter(pl.col("read_at") != late)
    ranges = pl.concat([day_ranges(counted(some, rows, events, zone=zone)) for some in (readings, without)])
    first, last = together(rows, ranges, calendar.local_day(late, zone))
    start, end = calendar.day_span(first, zone)[0], calendar.day_span(last, zone)[1]
    window = within_reach(readings, rows, events, zone, first, last)
    days = affected_days(counted(window, rows, events, zone=zone), window, events, start, end, zone=zone).row(0, named=True)
    after, before = (intervals(some, rows, events, by="hour", zone=zone) for some in (readings, without))
    for now, was in ((after.intervals, before.intervals), (after.flags, before.flags)):
        changed = pl.concat([one.join(other, on=now.columns, how="anti", nulls_equal=True) for one, other in ((now, was), (was, now))])
        local = changed["start"].dt.convert_time_zone(zone).dt.date()
        assert local.is_between(min(first, days["first"]), max(last, days["last"])).all()


def test_a_midnight_is_a_seam_only_while_nothing_falls_across_it() -> None:
    days = [date(2025, 6, 1) + timedelta(days=n) for n in range(5)]

    def seen(*values: tuple[float, float, float, float]) -> tuple[date, date]:
        ranges = conform(pl.DataFrame([
            {"register_key": 1, "day": day, "start": START, "low": low, "high": high, "first": first, "last": last}
            for day, (first, low, high, last) in zip(days, values, strict=True)
        ]), DAY_RANGE)
        return together(register(), ranges, days[2])

    rising = [(10.0 * n + 1, 10.0 * n + 1, 10.0 * n + 9, 10.0 * n + 9) for n in range(5)]
    assert seen(*rising) == (days[2], days[2])
    assert seen(*([(10.0,) * 4] * 5)) == (days[2], days[2])  # a plant that stands still
    assert seen(*rising[:3], (0, 0, 0, 0), rising[4]) == (days[0], days[4])  # zeros on the next day: were they false? and since when?
    assert seen(*rising[:2], (20, 20, 500, 29), *rising[3:]) == (days[2], days[4])  # a spike that is over, but higher than what comes
    assert seen(*rising[:2], (20, 5, 29, 29), *rising[3:]) == (days[0], days[2])  # a dip below what was before
    assert seen((0, 0, 500, 9), *rising[1:]) == (days[0], days[4])  # a spike on a day before
    assert seen((0, 0, 9, 9), *rising[1:]) == (days[0], days[4])  # it left zero: was that the end of a lost count?


@settings(max_examples=20)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=60), st.integers(1, 4000), st.integers(0, 86_399), st.sampled_from(ZONES))
def test_hours_add_up_to_the_difference_of_the_register(steps: list[float], minutes: int, offset: int, zone: str) -> None:
    values = [sum(steps[:place]) for place in range(len(steps) + 1)]
    readings = series(*values, start=START + timedelta(seconds=offset), minutes=minutes)
    for by in ("hour", "day", "month"):
        found = run(readings, by=by, zone=zone).intervals
        assert found["quantity"].sum() == pytest.approx(values[-1], abs=1e-9 * max(1, values[-1]))
        assert (found["quantity"] >= 0).all()
        assert found["covered_ratio"].is_between(0, 1).all()


@pytest.mark.parametrize(("readings_at_once", "alone"), [(1, 10_000), (50, 10_000), (10_000, 1), (500, 1)])
def test_working_in_chunks_and_halves_changes_nothing(monkeypatch: pytest.MonkeyPatch, readings_at_once: int, alone: int) -> None:
    registers = 7
    cases = [wild_case(seed) for seed in range(registers)]
    keyed = [tuple(table.with_columns(register_key=pl.lit(3 * key, dtype=pl.UInt32)) for table in case[:3]) for key, case in enumerate(cases)]
    readings, rows, events = (pl.concat(tables) for tables in zip(*keyed, strict=True))
    whole = run(readings, rows, events, "hour")
    first, last = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)
    spans = rows.select("register_key").unique().with_columns(start=pl.lit(first), end=pl.lit(last))
    before = uncovered(counted(readings, rows, events, zone=SHANGHAI), spans)
    monkeypatch.setattr(axis, "CHUNK_READINGS", readings_at_once)
    monkeypatch.setattr(core, "ALONE_READINGS", alone)
    parts = run(readings.sample(fraction=1, shuffle=True, seed=1), rows, events, "hour")
    assert_frame_equal(whole.intervals, parts.intervals, check_exact=True)
    assert_frame_equal(whole.set_aside, parts.set_aside, check_exact=True)
    assert_frame_equal(whole.flags, parts.flags, check_exact=True)
    assert_frame_equal(before, uncovered(counted(readings, rows, events, zone=SHANGHAI), spans))


def test_what_is_not_covered_lies_before_between_and_after_what_was_counted() -> None:
    readings = pl.concat([series(500, 501, None, None, 560, 561, 5, 6), series(*range(3), key=2)])
    rows = pl.concat([register(modulus=None), register(register_key=2, kind="rate", unit="kW"), register(register_key=3)])
    spans = pl.DataFrame([(1, at(-60), at(200)), (2, at(0), at(30)), (3, at(0), at(15))], schema=WINDOW, orient="row")
    found = uncovered(counted(readings, rows, NO_EVENTS, zone=SHANGHAI), spans)
    assert found.rows() == [(1, at(-60), at(0)), (1, at(75), at(90)), (1, at(105), at(200)), (3, at(0), at(15))]


def test_register_keys_far_apart_are_no_burden() -> None:
    registers = pl.concat([register(register_key=key) for key in (0, 4_000_000_000)])
    found = run(pl.concat([series(0, 1, key=0), series(0, 2, key=4_000_000_000), series(0, 5, key=77)]), registers)
    assert found.intervals.select("register_key", "quantity").rows() == [(0, 1.0), (4_000_000_000, 2.0)]
    assert found.set_aside["register_key"].to_list() == [77, 77]


# --- data sets --------------------------------------------------------------------------------------------------------

def as_readings(table: pl.DataFrame) -> pl.DataFrame:
    """READING from register_key, read_at and value."""
    return table.select(
        pl.col("register_key").cast(pl.UInt32), "read_at", copy=pl.lit(0, dtype=pl.UInt8), value="value", quality=pl.lit(0, dtype=pl.UInt8),
        received_at="read_at", message=pl.int_range(pl.len(), dtype=pl.Int64),
    ).cast(dict(READING))


@pytest.mark.needs("shared-data")
def test_the_steel_works_load_adds_up_to_its_published_total() -> None:
    table = pl.read_csv(next((DATA / "steel-daewoo").glob("*.csv*")), infer_schema=False)
    stamped = pl.col("date").str.to_datetime("%d/%m/%Y %H:%M", time_unit="us")
    # The last row of each day is stamped 00:00 of the same date: it belongs to the midnight that follows.
    last = (stamped.dt.time() == pl.time(0, 0)).alias("last")
    read_at = pl.when(last).then(stamped + timedelta(days=1)).otherwise(stamped).dt.replace_time_zone("Asia/Seoul").dt.convert_time_zone("UTC")
    readings = as_readings(table.select(register_key=1, read_at=read_at, value=pl.col("Usage_kWh").cast(pl.Float64)))
    days = run(readings, register(kind="interval"), by="day", zone="Asia/Seoul")
    assert days.set_aside.is_empty()
    assert days.intervals.height == 243
    assert days.intervals["quantity"].sum() == pytest.approx(671_433.60, abs=0.005)
    assert set(days.intervals["covered_ratio"]) == {1.0}
    months = run(readings, register(kind="interval"), by="month", zone="Asia/Seoul").intervals
    assert months["quantity"].sum() == pytest.approx(671_433.60, abs=0.005)


GAS = {
    "0001": 58187.198, "00010": 154303.989, "00011": 96624.845, "00012": 23552.654, "00014": 61003.408, "00016": 61229.258, "0002": 384405.266,
    "0003": 80013.731, "0005": 288523.938, "0006": 99684.133, "0008": 169240.789,
}


@pytest.mark.needs("shared-data")
@pytest.mark.parametrize("meter", GAS)
def test_gas_meters_give_their_published_consumption(meter: str) -> None:
    table = pl.read_csv(DATA / "gas-meters-cn" / f"G_Data{meter}.csv.zst", infer_schema_length=None)
    read_at = pl.col("CreateDate").str.to_datetime(time_unit="us").dt.replace_time_zone(SHANGHAI).dt.convert_time_zone("UTC")
    readings = as_readings(table.select(register_key=1, read_at=read_at, value=pl.col("BTotal").cast(pl.Float64)))
    found = run(readings, register(unit="Sm3"), by="hour")
    assert found.intervals["quantity"].sum() == pytest.approx(GAS[meter], abs=0.001)
    assert ("suspect" in found.intervals["quality"].to_list()) == (meter == "00016")


@pytest.mark.needs("shared-data")
def test_water_meters_with_small_steps_back_give_the_difference_of_their_ends() -> None:
    table = pl.read_csv(next((DATA / "water-meters-daiad").glob("*.csv.zst")), separator=";", infer_schema=False)
    keys = table["user key"].unique().sort()
    local = pl.col("datetime").str.to_datetime("%d/%m/%Y %H:%M:%S", time_unit="us")
    readings = as_readings(table.select(
        register_key=pl.col("user key").replace_strict(keys, pl.int_range(len(keys), eager=True)), value=pl.col("meter reading").cast(pl.Float64),
        read_at=local.dt.replace_time_zone("Europe/Madrid", ambiguous="earliest").dt.convert_time_zone("UTC"),
    ))
    registers = pl.concat([register(register_key=key, medium="water", unit="L", resolution=1.0) for key in range(len(keys))])
    found = run(readings, registers, by="hour", zone="Europe/Madrid")
    assert found.intervals["quantity"].sum() == pytest.approx(5_045_723, abs=1e-3)
    assert set(found.set_aside["broken_rules"].explode()) == {"duplicate", "conflicting_copy", "spike"}


@pytest.mark.needs("shared-data")
def test_the_clean_meter_of_the_capture_gives_its_difference() -> None:
    log = DATA / "mqtt-kpm33b" / "MQTT_ENY_NOW_20260112_lines0001-1400.log.zst"
    lines = pl.read_csv(log, has_header=False, new_columns=["line"], separator="\x01", quote_char=None)["line"]
    body = lines.str.extract(r"(\{.*\})")
    table = pl.DataFrame({name: body.str.json_path_match(f"$.{key}") for name, key in (("id", "id"), ("time", "time"), ("value", "zygsz"))})
    table = table.filter(pl.col("id").str.ends_with("027") & pl.col("value").is_not_null())
    read_at = pl.col("time").str.to_datetime("%Y%m%d%H%M%S", time_unit="us").dt.replace_time_zone("Europe/Vienna").dt.convert_time_zone("UTC")
    readings = as_readings(table.select(register_key=1, read_at=read_at, value=pl.col("value").cast(pl.Float64)))
    found = run(readings, by="hour", zone="Europe/Vienna")
    assert found.intervals["quantity"].sum() == pytest.approx(104.257 - 56.331, abs=1e-9)
