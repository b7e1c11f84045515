"""Each validation rule on both sides of its bound; rules that do not know of each other; the same verdicts however the readings come."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import data_rules
from config.schemas import EVENT, HISTORY, READING, REGISTER, SET_ASIDE, VEE_RULE, conform, empty
from monitors import local_days, vee, vee_bounds, vee_days, vee_rules
from monitors.intervals import counted, spread

ZONE = "Asia/Shanghai"
MIDNIGHT = datetime(2025, 5, 31, 16, tzinfo=UTC)  # in Shanghai
QUARTER = timedelta(minutes=15)
SHIPPED = data_rules.vee_rules().with_columns(  # with less history asked for, to keep the tests short
    low=pl.when(pl.col("rule").is_in(["jump", "unit_scale"])).then(2.0).otherwise("low"),
)


def register(key: int = 1, **given: Any) -> pl.DataFrame:
    row = {
        "register_key": key, "enterprise": "E", "meter": f"m{key}", "register": "main", "medium": "electricity", "unit": "kWh",
        "kind": "cumulative", "multiplier": 1.0, "net": False, "range_low": 0.0, "range_high": 1e9, "max_rate_per_h": 400.0, "resolution": 0.01,
    } | given
    return conform(pl.DataFrame([row]), REGISTER)


def series(
    values: Sequence[float | None], *, key: int = 1, start: datetime = MIDNIGHT, step: timedelta = QUARTER, late_s: float | None = 5.0,
) -> pl.DataFrame:
    at = [start + step * place for place in range(len(values))]
    frame = pl.DataFrame({"value": values, "read_at": at}, schema={"value": pl.Float64, "read_at": pl.Datetime("us", "UTC")})
    received = pl.lit(None) if late_s is None else pl.col("read_at") + timedelta(seconds=late_s)
    return conform(frame.with_columns(
        register_key=pl.lit(key), copy=pl.lit(0), quality=pl.lit(0), message=pl.int_range(pl.len()), received_at=received,
    ), READING)


def own(rule: str, **given: Any) -> pl.DataFrame:
    return conform(pl.DataFrame([{"enterprise": "E", "rule": rule, "source": "a test"} | given]), VEE_RULE)


def judged(
    readings: pl.DataFrame, registers: pl.DataFrame | None = None, rules: pl.DataFrame | None = None, events: pl.DataFrame | None = None, *,
    shipped: pl.DataFrame = SHIPPED,
) -> pl.DataFrame:
    registers = register() if registers is None else registers
    happened = empty(EVENT) if events is None else events
    bounds = shipped if rules is None else pl.concat([shipped, rules])
    aside = counted(readings, registers, happened, zone=ZONE).set_aside
    return vee.validated(readings, registers, happened, bounds, aside, empty(HISTORY), zone=ZONE).verdicts


def broken(verdicts: pl.DataFrame, rule: str, column: str = "broken_rules") -> list[int]:
    """The places of the readings (by message) that broke a rule, or that it could not judge."""
    return verdicts.filter(pl.col(column).list.contains(rule))["message"].sort().to_list()


def working(days: int, *, step: float = 10.0) -> list[float]:
    """A register that uses a little more or less at each quarter, each day another."""
    values, total = [], 1000.0
    for place in range(days * 96):
        total += step * (1 + (place * 37 % 29) / 40 + place // 96 / 100)
        values.append(round(total, 2))
    return values


# --- a reading by itself ----------------------------------------------------------------------------------------------

def test_a_value_is_held_against_the_range_of_its_register() -> None:
    verdicts = judged(series([5.0, 9.99, 10.0, 10.01, 4.99]), register(range_low=5.0, range_high=10.0, net=True))
    assert broken(verdicts, "range") == [3, 4]
    assert broken(verdicts, "outside_range") == [3, 4]  # the interval rule by which they do not count is named beside it


def test_a_register_s_own_range_rule_comes_before_its_row() -> None:
    assert broken(judged(series([5.0, 6.0, 7.0]), rules=own("range", high=6.0)), "range") == [2]


def test_a_value_at_the_modulus_cannot_be_shown() -> None:
    assert broken(judged(series([99.98, 99.99, 100.0]), register(modulus=100.0, range_high=None)), "range") == [2]


@pytest.mark.parametrize(("value", "finer"), [(104257.12, False), (104257.123, True), (0.0, False), (0.004, True)])
def test_a_value_finer_than_the_resolution_is_told(value: float, finer: bool) -> None:
    assert bool(broken(judged(series([value])), "resolution")) is finer


@pytest.mark.parametrize(("value", "net", "kind", "told"), [
    (-0.01, False, "interval", True), (-0.01, True, "interval", False), (0.0, False, "interval", False), (-1.0, False, "cumulative", True),
])
def test_a_negative_value_is_told_unless_the_register_is_net(value: float, net: bool, kind: str, told: bool) -> None:
    assert bool(broken(judged(series([value]), register(kind=kind, net=net, range_low=None)), "negative")) is told


@pytest.mark.parametrize(("late_s", "rule", "told"), [
    (-60.0, "future", False), (-60.001, "future", True), (31_622_400.0, "clock_drift", False), (31_622_400.5, "clock_drift", True),
    (-31_622_401.0, "clock_drift", True), (0.0, "clock_drift", False),
])
def test_a_clock_ahead_or_years_off_is_told(late_s: float, rule: str, told: bool) -> None:
    assert bool(broken(judged(series([1.0], late_s=late_s)), rule)) is told


def test_what_has_no_instant_of_arrival_has_no_known_clock() -> None:
    verdicts = judged(series([1.0], late_s=None))
    assert verdicts["verdict"].to_list() == ["unknown"]
    assert {"future", "clock_drift"} <= set(verdicts["unknown_rules"][0])


# --- readings beside each other ---------------------------------------------------------------------------------------

def test_a_step_at_the_rating_passes_and_one_above_it_does_not() -> None:
    assert broken(judged(series([0.0, 100.0, 200.01])), "rating") == [2]
    assert broken(judged(series([0.0, 100.0, 200.01]), rules=own("rating", high=1.01)), "rating") == []


def test_a_reading_after_a_glitch_is_held_against_the_last_one_that_counts() -> None:
    verdicts = judged(series([1000.0, 1010.0, 0.0, 1020.0, 1030.0]))
    assert broken(verdicts, "step_back") == [2]
    assert broken(verdicts, "transient") == [2]
    assert broken(verdicts, "rating") == []  # the way back up from the dip is no consumption


def test_the_rating_of_interval_and_rate_registers_is_that_of_their_values() -> None:
    values = [100.0, 100.01, 50.0]
    assert broken(judged(series(values), register(kind="interval")), "rating") == [1]
    assert broken(judged(series(values), register(kind="rate", unit="kW", max_rate_per_h=100.0)), "rating") == [1]


def test_a_temperature_may_be_negative_and_has_no_rating() -> None:
    shown = register(kind="state", unit="degC", range_low=-40.0, range_high=60.0, resolution=0.1, max_rate_per_h=None)
    verdicts = vee.validated(series([-5.0, 7.0, -60.0]), shown, empty(EVENT), SHIPPED, empty(SET_ASIDE), empty(HISTORY), zone=ZONE).verdicts
    assert broken(verdicts, "negative") == []
    assert broken(verdicts, "range") == [2]
    assert not {"rating", "jump", "unit_scale"} & set(verdicts["unknown_rules"].explode())


def test_a_register_runs_backwards_only_where_nothing_declared_explains_it() -> None:
    fall = series([9_990.0, 9_999.0, 5.0])
    assert broken(judged(fall), "step_back") == [2]
    assert broken(judged(fall, register(net=True)), "step_back") == []
    wraps = register(modulus=10_000.0)
    assert broken(judged(fall, wraps), "step_back") == []
    assert broken(judged(fall, register(modulus=10_000.0, max_rate_per_h=20.0)), "step_back") == [2]  # too fast for a wrap
    change = {"register_key": 1, "at": MIDNIGHT + QUARTER * 1.5, "event": "change", "closing_value": 10_001.0, "opening_value": 2.0}
    assert broken(judged(fall, events=conform(pl.DataFrame([change]), EVENT)), "step_back") == []


def test_the_multiplier_in_force_counts_for_the_rating() -> None:
    values = [0.0, 1.0, 2.0, 3.0]
    assert broken(judged(series(values), register(multiplier=101.0)), "rating") == [1, 2, 3]
    turned = {"register_key": 1, "at": MIDNIGHT + QUARTER * 1.5, "event": "multiplier", "multiplier": 101.0}
    verdicts = judged(series(values), events=conform(pl.DataFrame([turned]), EVENT))
    assert broken(verdicts, "rating") == [3]
    assert 2 in broken(verdicts, "rating", "unknown_rules")  # the step across the change has two multipliers


def test_a_register_that_usually_moves_is_frozen_after_its_bound() -> None:
    values = working(2)
    still = series([*values, *[values[-1]] * 100])
    assert broken(judged(still), "frozen") == list(range(191 + 96, 292))  # 24 h after the last change
    assert broken(judged(still, rules=own("frozen", high=25.0)), "frozen") == [291]
    hourly = series([*values, *[values[-1]] * 100], step=timedelta(hours=3))
    assert broken(judged(hourly, rules=own("frozen", low=20.0)), "frozen")[0] == 191 + 19  # at least 20 readings


def test_a_register_that_never_moves_stands_still_and_rest_is_not_frozen() -> None:
    assert broken(judged(series([5.0] * 96 * 12)), "frozen") == []
    busy = [1.0, 2.0] * 96
    assert broken(judged(series([*busy, *[0.0] * 200]), register(kind="interval")), "frozen") == []
    assert broken(judged(series([*busy, *[3.0] * 200]), register(kind="interval")), "frozen") == list(range(192 + 96, 392))


def copied(days_before: int, changed: int = 0) -> pl.DataFrame:
    day = [round(1 + (place * 37 % 11) / 10, 1) for place in range(96)]
    between = [round(day[place % 96] + 0.1 * (1 + place // 96) * (place % 5), 1) for place in range(96 * (days_before - 1))]
    again = [*day[: 96 - changed], *[value + 0.1 for value in day[96 - changed :]]]
    return series([*day, *between, *again])


@pytest.mark.parametrize(("days_before", "changed", "told"), [(1, 0, True), (7, 0, True), (8, 0, False), (3, 1, False)])
def test_a_day_like_an_earlier_one_is_told_reading_by_reading(days_before: int, changed: int, told: bool) -> None:
    verdicts = judged(copied(days_before, changed), register(kind="interval", resolution=0.1), own("copied_pattern", high=5.0))
    assert broken(verdicts, "copied_pattern") == (list(range(days_before * 96, (days_before + 1) * 96)) if told else [])


def test_a_flat_day_is_not_known_again() -> None:
    verdicts = judged(series([1.0, 2.0] * 96), register(kind="interval", resolution=0.1))
    assert broken(verdicts, "copied_pattern") == []
    assert broken(verdicts, "copied_pattern", "unknown_rules") == list(range(192))


def test_a_copied_day_of_a_running_total_is_known_by_its_steps() -> None:
    steps = [round(1 + (place * 37 % 13) / 10, 1) for place in range(96)]
    values = _running(0.0, [*steps, *steps])
    assert broken(judged(series(values), register(resolution=0.1)), "copied_pattern") == list(range(96, 192))
    values[150:] = [value + 0.1 for value in values[150:]]
    assert broken(judged(series(values), register(resolution=0.1)), "copied_pattern") == []


def _running(start: float, steps: Sequence[float]) -> list[float]:
    values = []
    for step in steps:
        start = round(start + step, 1)
        values.append(start)
    return values


def test_a_step_far_above_the_register_s_history_is_a_jump_where_no_rating_is_declared() -> None:
    values = working(3)
    greatest = [max(values[place] - values[place - 1] for place in range(first, first + 95)) for first in (1, 96)]
    for times, told in ((4.99, []), (5.01, [200])):
        jumped = [*values[:200], *[value + values[199] - values[200] + max(greatest) * times for value in values[200:]]]
        jumps = judged(series(jumped), register(max_rate_per_h=None, resolution=None))
        assert broken(jumps, "jump") == told
        assert broken(judged(series(jumped)), "jump") == []  # that is what the rating is for
    first_days = judged(series(values), register(max_rate_per_h=None))
    assert set(range(192)) == set(broken(first_days, "jump", "unknown_rules"))


@pytest.mark.parametrize(("minutes", "is_greatest"), [(60, True), (75, False), (300, False)])
def test_what_was_caught_up_for_after_a_gap_is_not_the_greatest_of_its_day(minutes: int, is_greatest: bool) -> None:
    before = series([10.0 * place for place in range(9)])  # 40 an hour
    after = series([80.0 + 100.0 * minutes / 60 + 10.0 * place for place in range(9)], start=MIDNIGHT + timedelta(hours=2, minutes=minutes))
    readings = pl.concat([before, after]).with_columns(message=pl.int_range(pl.len()))
    history = vee.validated(readings, register(), empty(EVENT), SHIPPED, empty(SET_ASIDE), empty(HISTORY), zone=ZONE).history
    assert history["greatest_per_h"].to_list() == [pytest.approx(100.0 if is_greatest else 40.0)]


def test_history_is_asked_for_as_many_days_as_the_rule_says() -> None:
    verdicts = judged(series(working(6)), register(max_rate_per_h=None), shipped=data_rules.vee_rules())
    for rule in ("jump", "unit_scale"):
        assert broken(verdicts, rule, "unknown_rules") == list(range(5 * 96))


@pytest.mark.parametrize("times", [1000.0, 100.0, 10.0, 3.6, 0.1, 0.01, 0.001])
def test_a_running_total_in_another_unit_names_the_factor(times: float) -> None:
    values = working(3)
    values[200:] = [value * times for value in values[200:]]
    verdicts = judged(series(values), register(resolution=None))
    assert broken(verdicts, "unit_scale") == [200]  # from there on it is as it was before
    assert verdicts.filter(message=200)["unit_factor"].item() == pytest.approx(times)
    assert verdicts.filter(pl.col("message") != 200)["unit_factor"].null_count() == verdicts.height - 1


@pytest.mark.parametrize("times", [1000.0, 100.0, 10.0, 3.6, 0.1, 0.01, 0.001])
def test_intervals_in_another_unit_name_the_factor(times: float) -> None:
    values = [10.0 + place % 3 for place in range(96 * 3)]
    values[200] *= times
    verdicts = judged(series(values), register(kind="interval", resolution=None))
    assert broken(verdicts, "unit_scale") == [200]
    assert verdicts.filter(message=200)["unit_factor"].item() == pytest.approx(times)


def test_twice_the_usual_load_is_no_other_unit() -> None:
    values = [10.0 + place % 3 for place in range(96 * 3)]
    values[200] = 24.0  # at the bound of twice what the days before showed
    assert broken(judged(series(values), register(kind="interval")), "unit_scale") == []


def test_repeated_and_conflicting_values_of_one_instant_are_named() -> None:
    readings = pl.concat([series([1.0, 2.0, 3.0]), series([2.0], start=MIDNIGHT + QUARTER), series([0.5], start=MIDNIGHT + QUARTER)])
    verdicts = judged(readings.with_columns(message=pl.int_range(pl.len())))
    assert broken(verdicts, "duplicate") == [3]
    assert broken(verdicts, "conflicting_copy") == [4]
    assert verdicts.filter(message=3)["severity"].item() == "info"
    assert verdicts.filter(message=4)["severity"].item() == "error"


# --- verdicts ---------------------------------------------------------------------------------------------------------

def test_unknown_is_not_fine() -> None:
    bare = register(max_rate_per_h=None, resolution=None, range_low=None, range_high=None)
    verdicts = judged(series([1.0, 2.0]), bare)
    assert verdicts["verdict"].to_list() == ["unknown", "unknown"]
    assert {"range", "rating", "resolution", "jump", "unit_scale"} <= set(verdicts["unknown_rules"][1])
    values = working(3)
    assert set(judged(series(values)).filter(pl.col("message") >= 192)["verdict"]) == {"passed"}


def test_a_reading_names_everything_that_is_wrong_with_it_and_the_worst_severity() -> None:
    values = working(3)
    values[200] = -1000.005
    one = judged(series(values)).filter(message=200).row(0, named=True)
    assert set(one["broken_rules"]) >= {"range", "resolution", "negative", "step_back", "outside_range"}
    assert (one["verdict"], one["severity"]) == ("failed", "error")
    values[200] = values[199] + 0.005
    assert judged(series(values)).filter(message=200)["severity"].item() == "warning"
    harmless = own("resolution", severity="info")
    assert judged(series(values), rules=harmless).filter(message=200)["severity"].item() == "info"


def test_a_register_without_a_row_has_no_judge() -> None:
    verdicts = vee.validated(series([1.0], key=9), register(), empty(EVENT), SHIPPED, empty(SET_ASIDE), empty(HISTORY), zone=ZONE).verdicts
    assert verdicts.select("verdict", "broken_rules").rows() == [("failed", ["no_register_row"])]


WRONG = working(3)
WRONG[150] *= 1000
WRONG[170] = -3.005
WRONG[200] = WRONG[199] - 50
WRONG[230:] = [WRONG[229] + 900 + place for place in range(58)]
MESSY = pl.concat([series(WRONG), series([WRONG[20]], start=MIDNIGHT + 20 * QUARTER), series([7.0], start=MIDNIGHT + 30 * QUARTER)]).with_columns(
    message=pl.int_range(pl.len()), received_at=pl.when(pl.int_range(pl.len()) == 50).then(pl.lit(MIDNIGHT)).otherwise("received_at"),
)


@pytest.mark.parametrize("off", [name for name in (*vee_rules.POINT_RULES, *vee_rules.STEP_RULES) if name not in data_rules.VEE_ALWAYS])
def test_switching_a_rule_off_never_silences_another(off: str) -> None:
    both = [register(max_rate_per_h=rating) for rating in (400.0, None)]
    for registers in both:
        before, after = judged(MESSY, registers), judged(MESSY, registers, own(off, enabled=False))
        by_intervals = counted(MESSY, registers, empty(EVENT), zone=ZONE).set_aside
        still = by_intervals.filter(pl.col("broken_rules").list.contains(off))["message"].to_list()
        for column in ("broken_rules", "unknown_rules"):
            kept = [[name for name in names if name != off] for names in before[column]]
            assert [[name for name in names if name != off] for names in after[column]] == kept
        assert broken(after, off) == still  # only what the interval rules say of it


def test_the_rules_by_which_the_intervals_leave_readings_out_are_those_that_cannot_be_switched_off() -> None:
    assert set(data_rules.VEE_ALWAYS) == set(vee_rules.INTERVAL_RULES) - {"negative"}
    assert set(SHIPPED["rule"]) == {*vee_rules.RULES, "tariff_sum", "sub_meter", "energy_per_output", "day_against_month", "day_start"}


# --- bounds -----------------------------------------------------------------------------------------------------------

def test_the_most_particular_row_that_is_valid_holds_and_leaves_open_what_it_does_not_say() -> None:
    june = MIDNIGHT + timedelta(days=1)
    rules = pl.concat([
        conform(pl.DataFrame([{"rule": "rating", "high": 1.0, "severity": "error", "source": "x"}]), VEE_RULE),
        conform(pl.DataFrame([{"rule": "rating", "high": 1.1, "medium": "electricity", "source": "x"}]), VEE_RULE),
        own("rating", severity="info"), own("rating", meter="m1", register="main", high=2.0, valid_from=june),
    ])
    found = vee_bounds.bounds(pl.concat([register(1), register(2), register(3, enterprise="F", medium="water")]), rules)
    assert found.select("register_key", "high", "severity", "valid_from").rows() == [
        (1, 1.1, "info", None), (1, 2.0, "info", june), (2, 1.1, "info", None), (3, 1.0, "error", None),
    ]


def test_a_bound_holds_from_its_first_instant_to_before_its_end() -> None:
    at = [MIDNIGHT + QUARTER * place for place in (1, 3)]
    rules = own("range", high=1.5, valid_from=at[0], valid_to=at[1])
    assert broken(judged(series([2.0, 2.0, 2.0, 2.0]), rules=rules), "range") == [1, 2]


def test_a_rule_without_a_row_is_not_asked() -> None:
    without = SHIPPED.filter(pl.col("rule") != "negative")
    verdicts = vee.validated(series([-1.0]), register(), empty(EVENT), without, empty(SET_ASIDE), empty(HISTORY), zone=ZONE).verdicts
    assert broken(verdicts, "negative") == []
    assert broken(verdicts, "range") == [0]


# --- screening --------------------------------------------------------------------------------------------------------

def test_screening_splits_by_the_rules_on_single_readings_and_says_what_it_could_not_ask() -> None:
    registers = pl.concat([register(1), register(2, resolution=None, range_low=None, range_high=None)])
    readings = pl.concat([series([1.0, -1.0, 2.005, 3.0]), series([5.0, float("nan")], key=2), series([1.0], key=3)])
    screened = vee.screened(readings, registers, SHIPPED)
    assert screened.passed.select("register_key", "value").rows() == [(1, 1.0), (1, 3.0), (2, 5.0)]
    assert sorted((key, names) for key, names in screened.failed.select("register_key", "broken_rules").rows()) == [
        (1, ["range", "negative"]), (1, ["resolution"]), (2, ["not_finite"]), (3, ["no_register_row"]),
    ]
    assert screened.unjudged.rows() == [(2, "range"), (2, "resolution")]
    assert screened.passed.height + screened.failed.height == readings.height


def test_screening_says_of_each_reading_what_the_whole_validation_says() -> None:
    screened = vee.screened(MESSY, register(), SHIPPED)
    whole = judged(MESSY)
    assert screened.failed.height > 1
    for row in screened.failed.iter_rows(named=True):
        names = whole.filter(message=row["message"])["broken_rules"].item()
        assert set(row["broken_rules"]) == set(names) & set(vee_rules.POINT_RULES)
    assert whole.filter(pl.col("message").is_in(screened.passed["message"].implode()), pl.col("broken_rules").list.set_intersection(
        pl.lit(list(vee_rules.POINT_RULES), pl.List(pl.String)),
    ).list.len() > 0).is_empty()


def test_nothing_to_judge_gives_nothing() -> None:
    nothing = empty(READING)
    assert vee.screened(nothing, register(), SHIPPED).failed.is_empty()
    assert judged(nothing).is_empty()
    assert judged(nothing, empty(REGISTER)).is_empty()


# --- laws -------------------------------------------------------------------------------------------------------------

@settings(max_examples=6)
@given(st.randoms(use_true_random=False), st.integers(1, 400))
def test_the_order_of_rows_and_the_size_of_chunks_change_nothing(random: Any, chunk: int) -> None:
    readings = pl.concat([MESSY, MESSY.with_columns(register_key=pl.lit(2, pl.UInt32), message=pl.col("message") + 1000)])
    registers = pl.concat([register(1), register(2, max_rate_per_h=None)])
    expected = judged(readings, registers)
    order = list(range(readings.height))
    random.shuffle(order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vee_days, "CHUNK_READINGS", chunk)
        assert judged(readings[order], registers).equals(expected)


def test_a_day_judged_alone_with_the_history_of_those_before_gets_the_same_verdicts() -> None:
    values = working(10)
    values[820:] = [value * 10 for value in values[820:]]
    values[400] -= 300
    values[900:] = [values[899]] * 60
    readings, registers = series(values), register(max_rate_per_h=None)
    aside = counted(readings, registers, empty(EVENT), zone=ZONE).set_aside
    whole = vee.validated(readings, registers, empty(EVENT), SHIPPED, aside, empty(HISTORY), zone=ZONE)
    assert whole.history.height == 10
    for day in whole.history["day"]:
        asked = pl.DataFrame({"register_key": [1], "day": [day]}, schema={"register_key": pl.UInt32, "day": pl.Date})
        start = whole.history.filter(day=day)["start"].item()
        window = readings.filter(pl.col("read_at").is_between(start - 30 * QUARTER, start + 126 * QUARTER))
        alone = vee.validated(window, registers, empty(EVENT), SHIPPED, aside, whole.history.filter(pl.col("day") != day), asked, zone=ZONE)
        assert alone.history.equals(whole.history.filter(day=day))
        assert alone.verdicts.equals(whole.verdicts.filter(local_days.day_of("read_at", ZONE) == day))


def test_counts_add_up_to_the_verdicts_by_day() -> None:
    aside = counted(MESSY, register(), empty(EVENT), zone=ZONE).set_aside
    done = vee.validated(MESSY, register(), empty(EVENT), SHIPPED, aside, empty(HISTORY), zone=ZONE)
    verdicts, counts = done.verdicts, done.counts
    assert done.failed.height == verdicts.filter(verdict="failed").height > 0
    for rule in ("rating", "negative", "duplicate"):
        assert counts.filter(rule=rule, verdict="failed")["readings"].sum() == len(broken(verdicts, rule))
    for verdict in ("passed", "failed", "unknown"):
        assert counts.filter(pl.col("rule").is_null(), verdict=verdict)["readings"].sum() == verdicts.filter(verdict=verdict).height
    assert counts["start"].unique().sort().to_list() == [MIDNIGHT + timedelta(days=day) for day in range(3)]


# --- what the interval rules cannot tell (decision 16) -----------------------------------------------------------------

def test_a_meter_changed_unsaid_for_one_that_shows_more_is_a_jump() -> None:
    values = working(4)
    changed = [*values[:300], *(value + 50_000.0 for value in values[300:])]
    assert broken(judged(series(changed), register(max_rate_per_h=None)), "jump") == [300]
    assert broken(judged(series(values), register(max_rate_per_h=None)), "jump") == []


def test_a_false_zero_of_a_net_register_is_a_jump_there_and_back() -> None:
    values = working(4)
    net = register(net=True, range_low=None, max_rate_per_h=None)
    assert broken(judged(series([*values[:300], 0.0, *values[301:]]), net), "jump") == [300, 301]
    assert broken(judged(series([*values[:300], 0.0, *values[301:]]), net.with_columns(max_rate_per_h=400.0)), "rating") == [300, 301]


def test_what_a_counter_shows_that_starts_again_with_every_batch_is_named_reading_by_reading() -> None:
    """It counts nothing; declared as an interval register, or with its resets, it counts all."""
    batches = [0.0, 50.0, 100.0] * 6
    verdicts = judged(series(batches, step=timedelta(hours=1)), register(max_rate_per_h=None))
    left_out = verdicts.filter(pl.col("broken_rules").list.contains("spike") | pl.col("broken_rules").list.contains("transient"))
    assert left_out.height >= len(batches) / 3
    assert set(left_out["severity"]) == {"error"}
    resets = pl.DataFrame([
        {"register_key": 1, "at": MIDNIGHT + timedelta(hours=3 * batch - 0.5), "event": "reset", "closing_value": 100.0, "opening_value": 0.0}
        for batch in range(1, 6)
    ])
    told = counted(series(batches, step=timedelta(hours=1)), register(max_rate_per_h=None), conform(resets, EVENT), zone=ZONE)
    assert told.set_aside.is_empty()
    assert sum(spread(told, "reading")["quantity"]) == 600.0


# --- data of others ---------------------------------------------------------------------------------------------------

@pytest.mark.needs("shared-data")
def test_a_steelworks_load_breaks_no_rule_on_single_readings(shared_data: Path) -> None:
    raw = pl.read_csv(next(shared_data.glob("steel-daewoo/*.csv.zst")), infer_schema=False)
    at = pl.col("date").str.to_datetime("%d/%m/%Y %H:%M", time_unit="us").dt.replace_time_zone("Asia/Seoul").dt.convert_time_zone("UTC")
    rows = raw.select(value=pl.col("Usage_kWh").cast(pl.Float64), read_at=at, received_at=at + timedelta(seconds=5))
    readings = conform(rows.with_columns(register_key=pl.lit(1), copy=pl.lit(0), quality=pl.lit(0), message=pl.int_range(pl.len())), READING)
    registers = register(kind="interval", stamp="end", max_rate_per_h=None)
    shipped = data_rules.vee_rules()
    assert vee.screened(readings, registers, shipped).failed.is_empty()
    verdicts = judged(readings, registers, shipped=shipped)
    assert verdicts.height == 23_328
    told = verdicts["broken_rules"].explode().drop_nulls()
    assert set(told) <= {"jump", "unit_scale"}  # the furnace starts: warnings that a rating would answer
    assert len(told) < 0.005 * verdicts.height
    rated = judged(readings, register(kind="interval", stamp="end", max_rate_per_h=800.0), shipped=shipped)
    assert set(rated["broken_rules"].explode().drop_nulls()) <= {"unit_scale"}


@pytest.mark.needs("shared-data")
def test_backflow_of_water_meters_is_named_as_such(shared_data: Path) -> None:
    raw = pl.read_csv(next(shared_data.glob("water-meters-daiad/*.csv.zst")), separator=";", infer_schema=False)
    few = raw["user key"].unique().sort().head(12)
    at = pl.col("datetime").str.to_datetime("%d/%m/%Y %H:%M:%S", time_unit="us").dt.replace_time_zone("UTC")
    rows = raw.filter(pl.col("user key").is_in(few.implode())).with_columns(
        read_at=at, value=pl.col("meter reading").cast(pl.Float64), register_key=pl.col("user key").rank("dense"),
    )
    readings = conform(rows.with_columns(copy=pl.lit(0), quality=pl.lit(0), message=pl.int_range(pl.len())), READING)
    registers = pl.concat([register(key, medium="water", unit="L", resolution=1.0, max_rate_per_h=None) for key in range(1, 13)])
    aside = counted(readings, registers, empty(EVENT), zone=ZONE).set_aside
    verdicts = judged(readings, registers)
    counting = readings.join(aside, on=["register_key", "read_at", "copy"], how="anti").sort("register_key", "read_at")
    falls = counting.filter((pl.col("value").diff() < 0) & (pl.col("register_key").diff() == 0))["message"]
    assert len(falls) >= 2
    assert set(falls) <= set(broken(verdicts, "step_back"))
    assert broken(verdicts, "resolution") == []
    assert set(verdicts["verdict"]) == {"failed", "unknown"}  # nothing tells when a reading arrived, so no clock is known
