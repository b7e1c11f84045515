"""What registers consumed becomes quantities of carriers, and what is not there shows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from config import schemas
from monitors.quantities import quantities

ZONE = "Asia/Shanghai"
MIDNIGHT = datetime(2025, 5, 31, 16, tzinfo=UTC)  # start of 2025-06-01 in Shanghai
HOUR = timedelta(hours=1)


def hours(key: int, start: datetime, values: list[float | None], **same: Any) -> list[dict[str, Any]]:
    return [
        {"register_key": key, "start": start + HOUR * n, "end": start + HOUR * (n + 1), "quantity": value, "quality": "measured",
         "covered_ratio": 1.0, "estimated_ratio": 0.0, **same}
        for n, value in enumerate(values)
    ]


def intervals(*rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([row for each in rows for row in each], schema=schemas.INTERVAL)


def registers(**units: str) -> pl.DataFrame:
    return schemas.conform(pl.DataFrame({"register_key": [int(key[1:]) for key in units], "unit": list(units.values())}), schemas.REGISTER)


def assigned(*rows: dict[str, Any]) -> pl.DataFrame:
    frame = pl.DataFrame([{"enterprise": "E", "carrier": "electricity"} | row for row in rows], infer_schema_length=None)
    return schemas.conform(frame, schemas.ASSIGNMENT)


def only(frame: pl.DataFrame, **keys: str) -> dict[str, Any]:
    return frame.filter(**keys).row(0, named=True)


def test_the_hours_of_a_local_day_add_up_and_the_day_is_covered() -> None:
    found = quantities(intervals(hours(1, MIDNIGHT, [2.0] * 24)), registers(r1="kWh"), assigned({"register_key": 1}), by="day", zone=ZONE)
    assert found.columns == schemas.QUANTITY.names()
    assert only(found) == {
        "enterprise": "E", "site": None, "process": None, "product": None, "period": "2025-06-01", "carrier": "electricity", "quantity": 48.0,
        "unit": "kWh", "flow": "consumed", "use": "fuel", "covered_ratio": 1.0, "estimated_ratio": 0.0,
    }


def test_hours_without_intervals_count_as_uncovered_up_to_the_end_of_the_period() -> None:
    rows = intervals(hours(1, MIDNIGHT, [1.0] * 12))
    day = quantities(rows, registers(r1="kWh"), assigned({"register_key": 1}), by="day", zone=ZONE)
    month = quantities(rows, registers(r1="kWh"), assigned({"register_key": 1}), by="month", zone=ZONE)
    year = quantities(rows, registers(r1="kWh"), assigned({"register_key": 1}), by="year", zone=ZONE)
    assert [frame["covered_ratio"].item() for frame in (day, month, year)] == pytest.approx([12 / 24, 12 / 720, 12 / 8760])
    assert [frame["period"].item() for frame in (day, month, year)] == ["2025-06-01", "2025-06", "2025"]


def test_what_lies_after_until_is_not_expected() -> None:
    rows = intervals(hours(1, MIDNIGHT, [1.0] * 12))
    found = quantities(rows, registers(r1="kWh"), assigned({"register_key": 1}), by="year", zone=ZONE, until=MIDNIGHT + 24 * HOUR)
    assert found["covered_ratio"].item() == pytest.approx(12 / (151 * 24 + 24))


def test_a_register_that_delivers_nothing_lowers_the_coverage_of_its_carrier() -> None:
    rows = intervals(hours(1, MIDNIGHT, [1.0] * 24))
    found = quantities(rows, registers(r1="kWh", r2="kWh"), assigned({"register_key": 1}, {"register_key": 2}), by="day", zone=ZONE)
    assert (found["quantity"].item(), found["covered_ratio"].item()) == (24.0, 0.5)


def test_a_carrier_without_any_interval_is_a_null_quantity_and_never_zero() -> None:
    rows = intervals(hours(1, MIDNIGHT, [1.0] * 24))
    found = quantities(
        rows, registers(r1="kWh", r2="t"), assigned({"register_key": 1}, {"register_key": 2, "carrier": "raw_coal"}), by="day", zone=ZONE
    )
    coal = only(found, carrier="raw_coal")
    assert (coal["quantity"], coal["covered_ratio"], coal["unit"]) == (None, 0.0, "t")


def test_an_hour_of_unknown_consumption_is_not_covered() -> None:
    rows = intervals(hours(1, MIDNIGHT, [1.0] * 23 + [None]))
    found = quantities(rows, registers(r1="kWh"), assigned({"register_key": 1}), by="day", zone=ZONE)
    assert (found["quantity"].item(), found["covered_ratio"].item()) == (23.0, pytest.approx(23 / 24))


def test_the_estimated_share_is_weighted_by_quantity() -> None:
    rows = intervals(hours(1, MIDNIGHT, [9.0] * 12), hours(1, MIDNIGHT + 12 * HOUR, [1.0] * 12, estimated_ratio=1.0))
    found = quantities(rows, registers(r1="kWh"), assigned({"register_key": 1}), by="day", zone=ZONE)
    assert found["estimated_ratio"].item() == pytest.approx(0.1)


def test_an_assignment_counts_from_its_first_day_up_to_but_not_on_its_last() -> None:
    rows = intervals(hours(1, MIDNIGHT, [1.0] * 24))
    noon = MIDNIGHT + 12 * HOUR
    found = quantities(
        rows, registers(r1="kWh"),
        assigned({"register_key": 1, "product": "old", "valid_to": noon}, {"register_key": 1, "product": "new", "valid_from": noon}),
        by="day", zone=ZONE,
    )
    assert found.select("product", "quantity", "covered_ratio").rows() == [("new", 12.0, 1.0), ("old", 12.0, 1.0)]


def test_a_shared_register_is_divided_by_its_shares() -> None:
    rows = intervals(hours(1, MIDNIGHT, [1.0] * 24))
    found = quantities(
        rows, registers(r1="kWh"),
        assigned({"register_key": 1, "product": "a", "share_ratio": 0.25}, {"register_key": 1, "product": "b", "share_ratio": 0.75}),
        by="day", zone=ZONE,
    )
    assert found.select("product", "quantity").rows() == [("a", 6.0), ("b", 18.0)]


def test_an_interval_across_midnight_is_divided_by_time_and_its_parts_are_estimated() -> None:
    row = {"register_key": 1, "start": MIDNIGHT + 21 * HOUR, "end": MIDNIGHT + 33 * HOUR, "quantity": 12.0, "quality": "measured",
           "covered_ratio": 1.0, "estimated_ratio": 0.0}
    found = quantities(intervals([row]), registers(r1="kWh"), assigned({"register_key": 1}), by="day", zone=ZONE)
    assert found.select("period", "quantity", "estimated_ratio").rows() == [("2025-06-01", 3.0, 1.0), ("2025-06-02", 9.0, 1.0)]


def test_two_units_of_a_carrier_stay_two_rows() -> None:
    rows = intervals(hours(1, MIDNIGHT, [1.0] * 24), hours(2, MIDNIGHT, [1.0] * 24))
    found = quantities(rows, registers(r1="kWh", r2="MWh"), assigned({"register_key": 1}, {"register_key": 2}), by="day", zone=ZONE)
    assert found.select("unit", "quantity").rows() == [("MWh", 24.0), ("kWh", 24.0)]


def test_a_rates_quantity_is_in_its_unit_times_an_hour() -> None:
    rates = registers(r1="kW").with_columns(kind=pl.lit("rate"))
    found = quantities(intervals(hours(1, MIDNIGHT, [1.0] * 24)), rates, assigned({"register_key": 1}), by="day", zone=ZONE)
    assert found["unit"].to_list() == ["kWh"]


def test_a_register_is_expected_only_while_it_is_there() -> None:
    built = registers(r1="kWh").with_columns(valid_from=pl.lit(MIDNIGHT + 12 * HOUR, dtype=schemas.INSTANT))
    found = quantities(intervals(hours(1, MIDNIGHT + 12 * HOUR, [1.0] * 12)), built, assigned({"register_key": 1}), by="day", zone=ZONE)
    assert found["covered_ratio"].to_list() == [1.0]


def test_nothing_gives_an_empty_table_of_the_right_shape() -> None:
    found = quantities(schemas.empty(schemas.INTERVAL), schemas.empty(schemas.REGISTER), schemas.empty(schemas.ASSIGNMENT), by="day", zone=ZONE)
    assert found.schema == schemas.QUANTITY


@given(
    spans=st.lists(st.tuples(st.integers(1, 2000), st.floats(0, 1e6)), min_size=1, max_size=12),
    start_h=st.integers(0, 9000), by=st.sampled_from(["day", "month", "year"]),
)
def test_dividing_loses_and_makes_nothing(spans: list[tuple[int, float]], start_h: int, by: Any) -> None:
    rows, at = [], MIDNIGHT + HOUR * start_h
    for length, quantity in spans:
        end = at + length * HOUR
        rows += [row | {"end": end} for row in hours(1, at, [quantity])]
        at = end
    found = quantities(intervals(rows), registers(r1="kWh"), assigned({"register_key": 1}), by=by, zone=ZONE)
    assert found["quantity"].sum() == pytest.approx(sum(quantity for _, quantity in spans), rel=1e-9, abs=1e-9)
    assert found["covered_ratio"].is_between(0, 1).all()


@st.composite
def measured_and_assigned(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Intervals of some registers, with gaps, and what they are assigned to, with dates anywhere."""
    step = draw(st.sampled_from([HOUR, 7 * HOUR, 24 * HOUR]))
    begin = MIDNIGHT + draw(st.integers(0, 700)) * HOUR
    number = st.floats(-100, 100).map(lambda value: round(value, 3))
    rows = [
        {"register_key": key, "start": begin + n * step, "end": begin + (n + 1) * step, "quantity": draw(st.none() | number), "quality": "measured",
         "covered_ratio": draw(st.sampled_from([None, 1.0, 0.5])), "estimated_ratio": draw(st.sampled_from([None, 0.0, 0.25]))}
        for key in (1, 2, 3) for n in range(draw(st.integers(0, 12))) if draw(st.integers(0, 9))
    ]
    dates = st.none() | st.integers(-50, 300).map(lambda n: begin + n * HOUR) | st.just(datetime(2025, 6, 30, 16, tzinfo=UTC))
    taken = [
        {"register_key": draw(st.integers(1, 3)), "enterprise": draw(st.sampled_from("AB")), "share_ratio": draw(st.sampled_from([None, 0.25])),
         "allocation": draw(st.sampled_from([None, None, "unknown"])), "valid_from": first, "valid_to": last}
        for first, last in draw(st.lists(st.tuples(dates, dates), min_size=1, max_size=4)) if first is None or last is None or first < last
    ]
    return rows, taken


def one_by_one(rows: list[dict[str, Any]], taken: list[dict[str, Any]], day_of: Callable[[datetime], str]) -> dict[tuple[str, str], float]:
    """The quantity of each enterprise and period, hour by hour of each interval."""
    sums: dict[tuple[str, str], float] = {}
    for row in rows:
        for to in taken:
            hours_of = int((row["end"] - row["start"]) / HOUR)
            for at in (row["start"] + n * HOUR for n in range(hours_of)):
                in_force = (to["valid_from"] or at) <= at < (to["valid_to"] or at + HOUR)
                if to["register_key"] == row["register_key"] and in_force and row["quantity"] is not None and to["allocation"] is None:
                    key = to["enterprise"], day_of(at)
                    sums[key] = sums.get(key, 0.0) + row["quantity"] / hours_of * (1.0 if to["share_ratio"] is None else to["share_ratio"])
    return sums


@given(measured_and_assigned(), st.sampled_from(["day", "month"]), st.integers(1, 40))
def test_sums_of_rows_in_one_frame_or_in_several_are_those_of_each_hour(
    given_rows: tuple[list[dict[str, Any]], list[dict[str, Any]]], by: Any, cut: int,
) -> None:
    rows, taken = given_rows
    units, shares = registers(r1="kWh", r2="kWh", r3="kWh"), assigned(*taken) if taken else schemas.empty(schemas.ASSIGNMENT)
    whole = quantities(intervals(rows), units, shares, by=by, zone=ZONE)
    label = {"day": 10, "month": 7}[by]
    expected = one_by_one(rows, taken, lambda at: str(at + 8 * HOUR)[:label])
    found = {(row["enterprise"], row["period"]): row["quantity"] for row in whole.iter_rows(named=True) if row["quantity"] is not None}
    assert found == {key: pytest.approx(value, rel=1e-9, abs=1e-7) for key, value in expected.items()}
    frames = [part.lazy() for part in intervals(rows).sort("start").iter_slices(cut)]
    with patch("monitors.quantities.AT_ONCE", 1 + cut // 3):
        assert_frame_equal(quantities(frames, units, shares, by=by, zone=ZONE), whole, rel_tol=1e-9, abs_tol=1e-7)


@pytest.mark.parametrize("named_in_order", [True, False])
def test_a_month_of_one_file_is_summed_the_same_whatever_the_order_of_its_registers(*, named_in_order: bool) -> None:
    rows = intervals(*(hours(key, MIDNIGHT, [float(key)] * 720) for key in ((1, 2, 3) if named_in_order else (2, 3, 1))))
    units = registers(r1="kWh", r2="kWh", r3="kWh")
    found = quantities([rows.lazy()], units, assigned(*({"register_key": key, "site": str(key)} for key in (1, 2, 3))), by="month", zone=ZONE)
    assert found.select("site", "quantity", "covered_ratio").rows() == [("1", 720.0, 1.0), ("2", 1440.0, 1.0), ("3", 2160.0, 1.0)]
