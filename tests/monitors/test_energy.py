"""Quantities become coal equivalent on two bases that are never added, by dated coefficients, and are summed by flow."""

from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import coal_equivalents, schemas
from config.energy_figures import energy_figures
from config.units import dimension, factor, known_units
from monitors.coefficients import GAS_CONDITIONS, by_coefficients, coefficients_for
from monitors.energy import FLOW_SIGNS, energy, figures, in_one_row, in_periods, sum_energy
from monitors.energy_misfits import misfits

TABLE = coal_equivalents.coefficients()
RATES = pl.DataFrame({  # an equivalent electricity coefficient for each of two years, as a site brings it
    "carrier": ["electricity"] * 2, "basis": ["equivalent"] * 2, "unit": ["kWh"] * 2, "kgce_per_unit": [0.302, 0.3],
    "valid_from": [date(2024, 1, 1), date(2025, 1, 1)], "valid_to": [date(2025, 1, 1), date(2026, 1, 1)], "source": ["example rates"] * 2,
})
WITH_RATES = coal_equivalents.overlay(TABLE, RATES)


def rows(*given: dict[str, Any]) -> pl.DataFrame:
    usual = {"enterprise": "E", "period": "2025", "quantity": 1.0}
    return pl.DataFrame([usual | row for row in given], infer_schema_length=None)


def one(table: pl.DataFrame = TABLE, **given: Any) -> dict[str, Any]:
    return energy(rows(given), table).row(0, named=True)


def test_the_published_example_comes_out_on_the_calorific_basis() -> None:
    found = energy(rows(
        {"carrier": "electricity", "quantity": 21_342.0, "unit": "10^4 kWh"}, {"carrier": "raw_coal", "quantity": 223_440.7, "unit": "t"},
    ), TABLE)
    assert [round(value, 2) for value in found["calorific_tce"]] == [26_229.32, 159_603.69]
    assert found["calorific_kgce_per_unit"].to_list() == pytest.approx([1229.0, 714.3])  # for one of the row's own unit


def test_fuels_carry_the_same_value_on_both_bases_and_electricity_does_not() -> None:
    coal, power = one(carrier="raw_coal", unit="t"), one(WITH_RATES, carrier="electricity", unit="MWh")
    assert coal["calorific_tce"] == coal["equivalent_tce"] == pytest.approx(0.7143)
    assert (power["calorific_tce"], power["equivalent_tce"]) == pytest.approx((0.1229, 0.3))


@pytest.mark.parametrize("carrier", ["electricity", "heat"])
def test_without_a_dated_coefficient_the_equivalent_basis_is_empty_and_says_why(carrier: str) -> None:
    found = one(carrier=carrier, unit="MJ")
    assert found["equivalent_tce"] is None
    assert found["calorific_tce"] is not None
    assert f"equivalent: {carrier} has no fixed equivalent coefficient" in found["missing"]


@pytest.mark.parametrize(("period", "rate"), [
    ("2024-12-31", 0.302), ("2024", 0.302), ("2025-01-01", 0.3), ("2025-12", 0.3), ("2026-01-01", None), ("2023", None),
])
def test_the_coefficient_is_the_one_in_force_on_the_days_of_the_period(period: str, rate: float | None) -> None:
    found = one(WITH_RATES, carrier="electricity", unit="kWh", period=period)
    assert found["equivalent_kgce_per_unit"] == rate
    assert (found["missing"] is None) == (rate is not None)


def test_a_period_in_which_the_coefficient_starts_has_none_but_its_months_have() -> None:
    year, march, april = (one(carrier="lng", unit="kg", period=period) for period in ("2021", "2021-03", "2021-04"))
    assert year["calorific_tce"] is None
    assert "within 2021 (2021-04-01)" in year["missing"]
    assert march["calorific_tce"] is None
    assert "no calorific coefficient of lng is in force in 2021-03" in march["missing"]
    assert april["calorific_tce"] == pytest.approx(0.0017572)


def test_a_coefficient_that_changes_within_the_period_is_not_averaged() -> None:
    mid_year = RATES.with_columns(carrier=pl.lit("raw_coal"), basis=pl.lit("calorific"), unit=pl.lit("kg"), valid_to=None)
    table = coal_equivalents.overlay(TABLE, mid_year.with_columns(valid_from=pl.Series([date(2024, 1, 1), date(2025, 7, 1)])))
    june, july, year = (one(table, carrier="raw_coal", unit="t", period=period) for period in ("2025-06", "2025-07", "2025"))
    assert (june["calorific_tce"], july["calorific_tce"]) == pytest.approx((0.302, 0.3))  # the earlier row ends where the later one starts
    assert year["calorific_tce"] is None
    assert "(2025-07-01" in year["missing"]


def changing_in_july(second: float, at: date = date(2025, 7, 11)) -> pl.DataFrame:
    """Raw coal at 0.7 kgce/kg, from 11 July on at the second value."""
    dated = RATES.with_columns(carrier=pl.lit("raw_coal"), basis=pl.lit("calorific"), unit=pl.lit("kg"), valid_to=None)
    return coal_equivalents.overlay(TABLE, dated.with_columns(kgce_per_unit=pl.Series([0.7, second]), valid_from=pl.Series([date(2024, 1, 1), at])))


def test_a_month_in_which_a_coefficient_changes_is_converted_by_the_days_before_and_after() -> None:
    table = changing_in_july(0.5)
    of = {"carrier": "raw_coal", "unit": "t", "flow": "consumed", "use": "fuel"}
    days = rows(*(of | {"period": f"2025-07-{day:02d}", "quantity": 2.0 if day < 11 else 1.0, "estimated_ratio": 0.0} for day in range(1, 32)))
    month = rows(of | {"period": "2025-07", "quantity": 41.0, "covered_ratio": 0.9}, of | {"period": "2025-08", "quantity": 3.0})
    parts = by_coefficients(schemas.conform(month, schemas.QUANTITY), days, table)
    assert parts.select("period", "in_force", "quantity").rows() == [
        ("2025-07", "2025-07-01/2025-07-10", 20.0), ("2025-07", "2025-07-11/2025-07-31", 21.0), ("2025-08", None, 3.0),
    ]
    july, august = in_one_row(energy(parts, table)).iter_rows(named=True)
    assert july["calorific_tce"] == pytest.approx(20 * 0.7 + 21 * 0.5)
    assert july["equivalent_tce"] == pytest.approx(july["calorific_tce"])
    assert (july["quantity"], july["covered_ratio"], july["missing"]) == (41.0, 0.9, None)
    assert july["calorific_kgce_per_unit"] == pytest.approx((20 * 700 + 21 * 500) / 41)
    assert august["calorific_tce"] == pytest.approx(1.5)


def test_a_part_of_a_month_without_a_coefficient_leaves_the_month_open() -> None:
    of = {"carrier": "lng", "unit": "kg", "flow": "consumed", "use": "fuel"}
    days = rows(*(of | {"period": f"2021-{month:02d}-01"} for month in range(1, 13)))
    parts = by_coefficients(schemas.conform(rows(of | {"period": "2021", "quantity": 12.0}), schemas.QUANTITY), days, TABLE)
    assert parts["in_force"].to_list() == ["2021-01-01/2021-03-31", "2021-04-01/2021-12-31"]
    year = in_one_row(energy(parts, TABLE)).row(0, named=True)
    assert (year["quantity"], year["calorific_tce"]) == (12.0, None)
    assert "no calorific coefficient of lng is in force in 2021-01-01/2021-03-31" in year["missing"]


def test_a_coefficient_from_the_first_day_of_a_period_divides_nothing() -> None:
    month = schemas.conform(rows({"carrier": "raw_coal", "unit": "t", "period": "2025-07"}), schemas.QUANTITY)
    days, table = month.with_columns(period=pl.lit("2025-07-01")), changing_in_july(0.5, date(2025, 7, 1))
    assert by_coefficients(month, days, table)["in_force"].to_list() == [None]


def test_a_measured_heating_value_is_not_divided_by_coefficients() -> None:
    month = schemas.conform(rows({"carrier": "raw_coal", "unit": "t", "period": "2025-07"}), schemas.QUANTITY)
    days, measured = month.with_columns(period=pl.lit("2025-07-01")), month.with_columns(lhv=20.0, lhv_unit=pl.lit("MJ/kg"))
    assert by_coefficients(measured, days, changing_in_july(0.5))["in_force"].to_list() == [None]


def test_what_is_asked_of_the_coefficients_changes_with_any_that_counts_inside_the_period() -> None:
    needs = pl.DataFrame({"carrier": ["raw_coal"], "unit": ["t"], "period": ["2025-07"]})
    assert coefficients_for(needs, changing_in_july(0.5)).equals(coefficients_for(needs, changing_in_july(0.5)))
    assert not coefficients_for(needs, changing_in_july(0.5)).equals(coefficients_for(needs, changing_in_july(0.6)))


def test_months_add_up_to_their_year_each_by_its_coefficient() -> None:
    months = rows(*({"carrier": "raw_coal", "unit": "t", "period": f"2025-{month:02d}"} for month in range(1, 13)))
    found = sum_energy(in_periods(energy(months, changing_in_july(0.5, date(2025, 7, 1))), "year"), ["enterprise", "period"])
    assert found.select("period", "calorific_tce", "covered_ratio").rows() == [("2025", pytest.approx(6 * 0.7 + 6 * 0.5), 1.0)]


def test_a_year_without_one_of_its_months_is_not_covered_in_it() -> None:
    there = [month for month in range(1, 13) if month != 7]
    months = rows(*({"carrier": "raw_coal", "unit": "t", "period": f"2025-{month:02d}", "covered_ratio": 0.5} for month in there))
    two_suppliers = pl.concat([months, months])
    found = sum_energy(in_periods(energy(two_suppliers, TABLE), "year"), ["enterprise", "period"])
    assert found["covered_ratio"].item() == pytest.approx(0.5 * 334 / 365)


def test_a_carrier_in_months_and_one_by_the_year_are_both_of_the_year() -> None:
    months = [{"carrier": "raw_coal", "unit": "t", "period": f"2025-{month:02d}"} for month in range(1, 13)]
    found = sum_energy(in_periods(energy(rows(*months, {"carrier": "diesel", "unit": "t"}), TABLE), "year"), ["enterprise", "period"])
    assert found.select("calorific_tce", "covered_ratio").rows() == [(pytest.approx(12 * 0.7143 + 1.4571), 1.0)]


@pytest.mark.parametrize(("unit", "scale"), [("kg", 1.0), ("t", 1e3), ("10^4 t", 1e7)])
def test_units_of_one_kind_convert_by_definition(unit: str, scale: float) -> None:
    assert one(carrier="raw_coal", unit=unit)["calorific_tce"] == pytest.approx(0.7143 * scale / 1000)


@pytest.mark.parametrize(("unit", "kgce"), [("MJ", 0.03412), ("GJ", 34.12), ("10^6 kJ", 34.12), ("kWh", 0.122832)])
def test_heat_converts_from_any_energy_unit(unit: str, kgce: float) -> None:
    assert one(carrier="heat", unit=unit)["calorific_kgce_per_unit"] == pytest.approx(kgce)


@pytest.mark.parametrize(("carrier", "unit"), [
    ("electricity", "m3"), ("raw_coal", "kWh"), ("blast_furnace_gas", "t"), ("diesel", "L"), ("raw_coal", "furlong"),
])
def test_a_unit_of_another_kind_is_an_error_and_gives_no_value(carrier: str, unit: str) -> None:
    given = rows({"carrier": carrier, "unit": unit})
    assert energy(given, TABLE)["calorific_tce"].to_list() == [None]
    assert [(row, column) for row, column, _, _ in misfits(given, TABLE)] == [(0, "unit")]


def test_every_row_of_the_table_takes_every_unit_of_its_kind_with_its_scale_and_refuses_all_others() -> None:
    dated = TABLE.filter(pl.col("kgce_per_unit").is_not_null())
    pairs = dated.select("carrier", "basis", pl.col("unit").alias("_own"), "kgce_per_unit", period=pl.col("valid_from").dt.strftime("%Y-%m-%d")).join(
        pl.DataFrame({"unit": known_units()}), how="cross",
    )
    found = energy(pairs.select("carrier", "period", "unit", enterprise=pl.lit("E"), quantity=pl.lit(1.0)), TABLE)
    got = pl.concat([pairs, found.select(f"{basis}_kgce_per_unit" for basis in ("calorific", "equivalent"))], how="horizontal")
    wrong = {row for row, *_ in misfits(found, TABLE)}
    for place, (carrier, basis, own, kgce, _, unit, calorific, equivalent) in enumerate(got.iter_rows()):
        scale, value = factor(unit, own), calorific if basis == "calorific" else equivalent
        assert value == (None if scale is None else pytest.approx(kgce * scale, rel=1e-12)), (carrier, unit)
        another_condition = own in GAS_CONDITIONS and unit in GAS_CONDITIONS
        assert (place in wrong) == (scale is None and not another_condition), (carrier, unit)
        assert scale is None or dimension(unit) == dimension(own)


def test_a_bare_m3_of_gas_takes_the_coefficient_and_a_stated_condition_needs_a_heating_value() -> None:
    bare, normal = (one(carrier="blast_furnace_gas", unit=unit) for unit in ("m3", "Nm3"))
    assert bare["calorific_tce"] == pytest.approx(0.0001286)
    assert normal["calorific_tce"] is None
    assert "between conditions of a gas there is no fixed factor" in normal["missing"]
    assert misfits(rows({"carrier": "blast_furnace_gas", "unit": "Nm3"}), TABLE) == []
    measured = one(carrier="blast_furnace_gas", unit="Nm3", lhv=3.7, lhv_unit="MJ/Nm3")
    assert measured["calorific_kgce_per_unit"] == pytest.approx(3700 / 29_307.6)


def test_a_measured_heating_value_comes_before_the_coefficient() -> None:
    found = one(carrier="raw_coal", unit="t", quantity=1000.0, lhv=29.3076, lhv_unit="GJ/t")
    assert found["calorific_tce"] == found["equivalent_tce"] == pytest.approx(1000.0)
    assert found["calorific_source"] == "measured heating value 29.3076 GJ/t"
    assert one(carrier="raw_coal", unit="t", lhv=20934.0, lhv_unit="kJ/kg")["calorific_tce"] == pytest.approx(0.7143, rel=1e-4)
    assert one(carrier="raw_coal", unit="t", lhv=5000.0, lhv_unit="kcal/kg")["calorific_tce"] == pytest.approx(5000 / 7000, rel=1e-12)


@pytest.mark.parametrize("carrier", [
    "natural_gas", "anthracite", "bituminous_coal", "lignite", "coke_oven_gas", "naphtha", "petroleum_coke", "converter_gas",
])
def test_a_carrier_without_a_default_asks_for_its_heating_value(carrier: str) -> None:
    unit = "m3" if "gas" in carrier else "kg"
    found = one(carrier=carrier, unit=unit)
    assert found["calorific_tce"] is None
    assert "give its measured heating value" in found["missing"]
    assert misfits(rows({"carrier": carrier, "unit": unit}), TABLE) == []
    assert one(carrier=carrier, unit=unit, lhv=29_307.6, lhv_unit=f"kJ/{unit}")["calorific_tce"] == pytest.approx(0.001)


@pytest.mark.parametrize(("given", "column"), [
    ({"lhv": 5500.0, "lhv_unit": "kWh"}, "lhv_unit"), ({"lhv": 5500.0, "lhv_unit": "kJ/m3"}, "lhv_unit"), ({"lhv": 5500.0}, "lhv_unit"),
    ({"lhv": -1.0, "lhv_unit": "kJ/kg"}, "lhv"), ({"carrier": "electricity", "unit": "kWh", "lhv": 1.0, "lhv_unit": "kJ/kWh"}, "lhv"),
    ({"carrier": "raw_cole"}, "carrier"), ({"flow": "bought"}, "flow"), ({"use": "burning"}, "use"), ({"period": "2025-13"}, "period"),
    ({"period": "Q1 2025"}, "period"), ({"carrier": "water_tap", "unit": "kWh"}, "unit"),
])
def test_what_cannot_be_meant_is_named_by_row_and_column(given: dict[str, Any], column: str) -> None:
    good = {"carrier": "raw_coal", "unit": "t"}
    assert column in [found for row, found, _, _ in misfits(rows(good, good | given), TABLE) if row == 1]
    assert not [row for row, *_ in misfits(rows(good, good | given), TABLE) if row == 0]


@pytest.mark.parametrize(("lhv", "lhv_unit", "fits"), [
    (22.5, "GJ/t", True), (22.5, "MJ/kg", True), (22.5, "GJ/kg", False), (22_500.0, "MJ/kg", False), (22.5, "kJ/kg", False), (22.5, "MJ/t", False),
    (199.9, "kJ/kg", False), (200.0, "kJ/kg", True), (150.0, "MJ/kg", True), (150.1, "MJ/kg", False),
])
def test_a_heating_value_that_no_fuel_has_is_a_wrong_unit(lhv: float, lhv_unit: str, fits: bool) -> None:
    found = misfits(rows({"carrier": "raw_coal", "unit": "10^4 t", "lhv": lhv, "lhv_unit": lhv_unit}), TABLE)
    assert [column for _, column, _, _ in found] == ([] if fits else ["lhv_unit"])


def test_consumed_media_are_refused_with_a_sentence_until_a_list_names_them() -> None:
    refused = one(carrier="oxygen", unit="m3", quantity=1000.0)
    assert (refused["calorific_tce"], refused["equivalent_tce"], refused["use"]) == (None, None, "medium")
    assert "only by a coefficient list that the standard or the site names" in refused["missing"]
    named = coal_equivalents.overlay(TABLE, RATES.head(1).with_columns(
        carrier=pl.lit("oxygen"), unit=pl.lit("m3"), kgce_per_unit=0.4, valid_to=None, source=pl.lit("GB 21256-2025 annex"),
    ))
    admitted = one(named, carrier="oxygen", unit="m3", quantity=1000.0)
    assert (admitted["calorific_tce"], admitted["equivalent_tce"], admitted["use"]) == (None, 0.4, "medium")


def test_water_passes_through_without_energy_and_without_a_complaint() -> None:
    found = one(carrier="water_tap", unit="t", quantity=10.0)
    assert (found["calorific_tce"], found["equivalent_tce"], found["missing"], found["quantity"]) == (None, None, None, 10.0)


def test_every_carrier_of_the_table_takes_its_own_unit() -> None:
    given = rows(*({"carrier": row["carrier"], "unit": row["unit"]} for row in TABLE.iter_rows(named=True)))
    assert misfits(given, TABLE) == []
    assert energy(given, TABLE).schema == schemas.ENERGY


def test_rows_keep_their_order_and_their_further_columns() -> None:
    given = rows({"carrier": "diesel", "unit": "t", "note": "b"}, {"carrier": "raw_coal", "unit": "t", "note": "a"})
    assert energy(given, TABLE)["note"].to_list() == ["b", "a"]


# --- sums -------------------------------------------------------------------------------------------------------------

def total(*given: dict[str, Any], table: pl.DataFrame = WITH_RATES, by: tuple[str, ...] = ("enterprise", "period")) -> dict[str, Any]:
    return sum_energy(energy(rows(*given), table), by).row(0, named=True)


def test_the_balance_adds_what_comes_in_and_takes_off_what_goes_out() -> None:
    flows = {
        "purchased": 100.0, "own_primary": 10.0, "opening_stock": 20.0, "closing_stock": 30.0, "sold": 5.0, "converted_out": 15.0, "recovered": 2.0,
    }
    found = total(*({"carrier": "raw_coal", "unit": "t", "flow": flow, "quantity": amount} for flow, amount in flows.items()))
    assert found["calorific_tce"] == pytest.approx((100 + 10 + 20 - 30 - 5 - 15 - 2) * 0.7143)


def test_consumed_beside_purchased_would_count_twice_and_gives_no_sum() -> None:
    found = total({"carrier": "raw_coal", "unit": "t"}, {"carrier": "raw_coal", "unit": "t", "flow": "purchased"}, {"carrier": "diesel", "unit": "t"})
    assert (found["calorific_tce"], found["equivalent_tce"]) == (None, None)
    assert found["missing"].startswith("raw_coal: consumed stands beside purchased")
    fine = total(
        {"carrier": "raw_coal", "unit": "t"}, {"carrier": "coke", "unit": "t", "flow": "converted_out"},
        {"carrier": "diesel", "unit": "t", "flow": "purchased"},
    )
    assert fine["calorific_tce"] == pytest.approx(0.7143 - 0.9714 + 1.4571)


GATE = {"carrier": "raw_coal", "unit": "t", "flow": "purchased", "quantity": 100.0}
KILN = {"carrier": "raw_coal", "unit": "t", "process": "kiln", "quantity": 90.0}


def test_what_processes_use_of_a_carrier_that_is_bought_is_no_second_input() -> None:
    assert total(GATE, KILN)["calorific_tce"] == pytest.approx(71.43)
    assert total(GATE, KILN | {"covered_ratio": 0.5})["covered_ratio"] == 1.0
    by_process = sum_energy(energy(rows(GATE, KILN), WITH_RATES), ["enterprise", "process"])
    assert by_process.select("process", "calorific_tce").rows() == [(None, pytest.approx(71.43)), ("kiln", pytest.approx(64.287))]


@pytest.mark.parametrize("apart", [{"period": "2024"}, {"enterprise": "F"}, {"site": "north"}])
def test_what_processes_use_elsewhere_counts(apart: dict[str, Any]) -> None:
    gate = GATE | ({"site": "south"} if "site" in apart else {})
    found = sum_energy(energy(rows(gate, KILN | apart), WITH_RATES).with_columns(park=pl.lit("P")), ["park"])
    assert found["calorific_tce"][0] == pytest.approx(190 * 0.7143)


def test_own_output_that_processes_use_and_sell_leaves_once() -> None:
    heat = {"carrier": "heat", "unit": "GJ", "quantity": 60.0}
    found = total(
        {"carrier": "raw_coal", "unit": "t", "quantity": 10.0, "process": "boiler"}, heat | {"flow": "converted_out", "process": "boiler"},
        heat | {"process": "drying", "quantity": 40.0}, heat | {"flow": "sold", "quantity": 20.0},
    )
    assert found["calorific_tce"] == pytest.approx(10 * 0.7143 - 20 * 0.03412)


def test_feedstock_is_known_from_the_processes_where_the_gate_does_not_say_it() -> None:
    gas = {"carrier": "coke", "unit": "t", "flow": "purchased", "quantity": 100.0}
    inside = {"carrier": "coke", "unit": "t", "process": "synthesis", "use": "feedstock", "quantity": 60.0}
    assert total(gas, inside)["feedstock_tce"] == pytest.approx(60 * 0.9714)
    assert total(gas, gas | {"use": "feedstock", "quantity": 50.0}, inside)["feedstock_tce"] == pytest.approx(50 * 0.9714)
    assert total(gas, inside)["calorific_tce"] == pytest.approx(100 * 0.9714)


def test_gross_assessment_and_limit_figures_are_three_figures_each_with_its_source() -> None:
    power = {"carrier": "electricity", "unit": "MWh", "quantity": 1000.0, "renewable_ratio": 0.4, "new_renewable_ratio": 0.1}
    coal = {"carrier": "raw_coal", "unit": "t", "quantity": 100.0}
    found = figures(sum_energy(energy(rows(power, coal, coal | {"use": "feedstock", "quantity": 50.0}), WITH_RATES), ["enterprise", "period"]),
                    energy_figures()).row(0, named=True)
    gross, equivalent = 150 * 0.7143 + 122.9, 150 * 0.7143 + 300.0
    assert (found["gross_calorific_tce"], found["gross_equivalent_tce"]) == pytest.approx((gross, equivalent))
    assert (found["assessment_calorific_tce"], found["assessment_equivalent_tce"]) == pytest.approx(
        (gross - 50 * 0.7143 - 12.29, equivalent - 50 * 0.7143 - 30.0))
    assert (found["limit_calorific_tce"], found["limit_excluded_calorific_tce"]) == pytest.approx((gross, gross - 50 * 0.7143))
    assert "803" in found["assessment_source"]
    assert "GB/T 2589-2020" in found["limit_source"]
    assert found["figures_missing"] is None


@pytest.mark.parametrize(("given", "reason"), [
    ({"renewable_ratio": 0.4}, "assessment: it is not said how much is new_renewable"),
    ({"period": "2019"}, "assessment: no rule of this figure is in force in all of 2019"),
])
def test_a_figure_of_which_a_part_is_unknown_is_empty_and_says_why(given: dict[str, Any], reason: str) -> None:
    sums = sum_energy(energy(rows({"carrier": "electricity", "unit": "MWh"} | given), TABLE), ["period"])
    found = figures(sums, energy_figures()).row(0, named=True)
    assert (found["assessment_calorific_tce"], found["gross_calorific_tce"]) == (None, pytest.approx(0.1229))
    assert reason in found["figures_missing"]


def test_water_counted_twice_gives_no_sum_of_water_but_leaves_the_energy() -> None:
    water = {"carrier": "water_tap", "unit": "m3"}
    found = total({"carrier": "raw_coal", "unit": "t"}, water, water | {"flow": "purchased"})
    assert (found["calorific_tce"], found["fresh_water_m3"]) == (pytest.approx(0.7143), None)
    assert found["missing"].startswith("water_tap: consumed stands beside purchased")


def test_the_carrier_may_be_one_of_the_groups() -> None:
    used = energy(rows({"carrier": "raw_coal", "unit": "t"}, {"carrier": "coke", "unit": "t"}), WITH_RATES)
    assert sum_energy(used, ("enterprise", "carrier"))["carrier"].to_list() == ["raw_coal", "coke"]


def test_a_part_without_a_coefficient_leaves_its_basis_empty_not_smaller() -> None:
    found = total({"carrier": "raw_coal", "unit": "t"}, {"carrier": "electricity", "unit": "MWh"}, table=TABLE)
    assert found["calorific_tce"] == pytest.approx(0.7143 + 0.1229)
    assert found["equivalent_tce"] is None
    assert "electricity has no fixed equivalent coefficient" in found["missing"]


def test_a_refused_medium_takes_no_part_but_is_told() -> None:
    found = total({"carrier": "raw_coal", "unit": "t"}, {"carrier": "oxygen", "unit": "m3"})
    assert found["calorific_tce"] == found["equivalent_tce"] == pytest.approx(0.7143)
    assert "oxygen is a consumed medium" in found["missing"]


def test_a_carrier_that_was_not_measured_leaves_the_rest_and_counts_as_not_covered() -> None:
    found = total(
        {"carrier": "raw_coal", "unit": "t", "covered_ratio": 1.0}, {"carrier": "diesel", "unit": "t", "quantity": None, "covered_ratio": 0.0},
    )
    assert (found["calorific_tce"], found["covered_ratio"]) == (pytest.approx(0.7143), 0.0)
    assert "diesel: no quantity in 2025" in found["missing"]


def test_the_coverage_is_that_of_the_worst_carrier_and_weighs_periods_by_their_days() -> None:
    found = total(
        {"carrier": "raw_coal", "unit": "t", "period": "2025-01", "covered_ratio": 1.0},
        {"carrier": "raw_coal", "unit": "t", "period": "2025-02", "covered_ratio": 0.0},
        {"carrier": "diesel", "unit": "t", "period": "2025-01", "covered_ratio": 0.9}, by=("enterprise",),
    )
    assert found["covered_ratio"] == pytest.approx(31 / 59)


def test_the_estimated_share_is_weighted_by_energy() -> None:
    found = total(
        {"carrier": "electricity", "unit": "MWh", "estimated_ratio": 1.0},
        {"carrier": "raw_coal", "unit": "t", "quantity": 10.0, "estimated_ratio": 0.0},
    )
    assert found["estimated_ratio"] == pytest.approx(0.1229 / (0.1229 + 7.143))


def test_a_reported_figure_counts_as_complete() -> None:
    found = total({"carrier": "raw_coal", "unit": "t"})
    assert (found["covered_ratio"], found["estimated_ratio"]) == (1.0, 0.0)


def test_feedstock_and_renewable_parts_electricity_and_water_stand_apart() -> None:
    found = total(
        {"carrier": "raw_coal", "unit": "t", "quantity": 10.0, "use": "feedstock"}, {"carrier": "raw_coal", "unit": "t", "quantity": 5.0},
        {"carrier": "electricity", "unit": "10^4 kWh", "quantity": 1.0, "renewable_ratio": 0.25},
        {"carrier": "water_tap", "unit": "m3", "quantity": 7.0}, {"carrier": "water_ground", "unit": "t", "quantity": 2.0},
        {"carrier": "water_mine", "unit": "10^4 m3", "quantity": 1.0},
    )
    assert found["calorific_tce"] == pytest.approx(15 * 0.7143 + 1.229)
    assert found["feedstock_tce"] == pytest.approx(7.143)
    assert found["renewable_tce"] == pytest.approx(1.229 / 4)
    assert found["electricity_kwh"] == pytest.approx(10_000)
    assert (found["fresh_water_m3"], found["unconventional_water_m3"]) == (9.0, 10_000.0)


def test_water_alone_has_no_energy_and_says_so() -> None:
    found = total({"carrier": "water_tap", "unit": "m3", "quantity": 7.0})
    assert (found["calorific_tce"], found["electricity_kwh"], found["fresh_water_m3"]) == (None, None, 7.0)
    assert found["missing"] == "no energy carrier in this group"


def test_many_reasons_are_cut_with_their_number() -> None:
    given = [{"carrier": "naphtha", "unit": "kg", "period": f"2025-01-{day:02d}", "quantity": None} for day in range(1, 11)]
    assert total(*given, by=("enterprise",))["missing"].endswith("; and 4 more")


def test_a_sum_has_the_groups_first_then_its_shape() -> None:
    found = sum_energy(energy(rows({"carrier": "raw_coal", "unit": "t"}), TABLE), ["enterprise", "product", "period"])
    assert found.columns == ["enterprise", "product", "period", *schemas.ENERGY_SUM]
    assert sum_energy(energy(rows({"carrier": "raw_coal", "unit": "t"}), TABLE).head(0), ["enterprise", "period"]).height == 0


@given(
    amounts=st.lists(st.tuples(st.sampled_from(["raw_coal", "diesel", "electricity"]), st.floats(0, 1e7)), min_size=1, max_size=20),
    parts=st.integers(1, 4),
)
def test_summing_in_parts_gives_the_same_total(amounts: list[tuple[str, float]], parts: int) -> None:
    given_rows = [
        {"carrier": carrier, "quantity": amount, "unit": "kWh" if carrier == "electricity" else "kg", "product": f"p{n % parts}"}
        for n, (carrier, amount) in enumerate(amounts)
    ]
    carried = energy(rows(*given_rows), WITH_RATES)
    whole, pieces = sum_energy(carried, ["enterprise"]), sum_energy(carried, ["enterprise", "product"])
    for basis in ("calorific_tce", "equivalent_tce"):
        assert pieces[basis].sum() == pytest.approx(whole[basis].item(), rel=1e-9, abs=1e-9)


@given(flow=st.sampled_from(sorted(FLOW_SIGNS)), amount=st.floats(0, 1e9))
def test_a_flow_counts_with_its_sign(flow: str, amount: float) -> None:
    found = total({"carrier": "raw_coal", "unit": "kg", "flow": flow, "quantity": amount})
    assert found["calorific_tce"] == pytest.approx(FLOW_SIGNS[flow] * amount * 0.0007143)
