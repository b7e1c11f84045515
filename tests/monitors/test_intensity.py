"""Energy and water by value added: sum over sum, over the same enterprises, with the coverage shown."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import schemas
from monitors.intensity import intensity


def sums(*given: dict[str, Any]) -> pl.DataFrame:
    usual = {"period": "2025", "calorific_tce": 100.0, "equivalent_tce": 200.0, "fresh_water_m3": 1000.0, "covered_ratio": 1.0}
    return pl.DataFrame([usual | row for row in given], infer_schema_length=None)


def figures(*given: dict[str, Any]) -> pl.DataFrame:
    usual = {"park": "P", "period": "2025", "value_added_10k_cny": 50.0}
    return pl.DataFrame([usual | row for row in given], infer_schema_length=None)


def park(energy_sum: pl.DataFrame, values: pl.DataFrame) -> dict[str, Any]:
    found = intensity(energy_sum, values, "park")
    assert found.columns == ["park", *schemas.INTENSITY]
    return found.row(0, named=True)


def test_a_park_is_sum_over_sum_and_never_the_mean_of_ratios() -> None:
    found = park(
        sums({"enterprise": "A"}, {"enterprise": "B", "calorific_tce": 900.0}),
        figures({"enterprise": "A", "value_added_10k_cny": 100.0}, {"enterprise": "B", "value_added_10k_cny": 100.0}),
    )
    assert found["calorific_tce_per_10k_cny"] == pytest.approx(1000 / 200)
    uneven = park(
        sums({"enterprise": "A"}, {"enterprise": "B", "calorific_tce": 900.0}),
        figures({"enterprise": "A", "value_added_10k_cny": 900.0}, {"enterprise": "B", "value_added_10k_cny": 100.0}),
    )
    assert uneven["calorific_tce_per_10k_cny"] == pytest.approx(1.0)  # the mean of 1/9 and 9 would be 4.6


def test_numerator_and_denominator_cover_the_same_enterprises_and_the_coverage_is_shown() -> None:
    values = figures({"enterprise": "A", "value_added_10k_cny": 75.0}, {"enterprise": "B", "value_added_10k_cny": 25.0})
    found = park(sums({"enterprise": "A"}), values)
    assert found["calorific_tce_per_10k_cny"] == pytest.approx(100 / 75)
    assert found["coverage_ratio"] == pytest.approx(0.75)
    assert "no calorific energy of B (25.0 % of value added)" in found["missing"]


def test_each_measure_divides_by_the_value_added_of_those_who_have_it() -> None:
    found = park(
        sums({"enterprise": "A"}, {"enterprise": "B", "equivalent_tce": None, "fresh_water_m3": None, "unconventional_water_m3": 5.0}),
        figures({"enterprise": "A"}, {"enterprise": "B"}),
    )
    assert found["calorific_tce_per_10k_cny"] == pytest.approx(2.0)
    assert found["equivalent_tce_per_10k_cny"] == pytest.approx(4.0)
    assert found["water_m3_per_10k_cny"] == pytest.approx(20.0)
    assert found["all_water_m3_per_10k_cny"] == pytest.approx(1005 / 100)
    assert "no equivalent energy of B" in found["missing"]


def test_an_enterprise_without_value_added_is_in_neither_sum_and_is_named() -> None:
    found = park(sums({"enterprise": "A"}, {"enterprise": "B"}), figures({"enterprise": "A"}, {"enterprise": "B", "value_added_10k_cny": None}))
    assert found["calorific_tce_per_10k_cny"] == pytest.approx(2.0)
    assert "no value added of B" in found["missing"]


@pytest.mark.parametrize("value", [0.0, -5.0])
def test_no_number_where_value_added_is_not_above_zero(value: float) -> None:
    row = intensity(sums({"enterprise": "A"}), figures({"enterprise": "A", "value_added_10k_cny": value}), "enterprise").row(0, named=True)
    assert row["calorific_tce_per_10k_cny"] is None
    assert f"value added is {value}: no intensity" in row["missing"]


def test_a_loss_making_enterprise_counts_in_its_parks_sums() -> None:
    found = park(sums({"enterprise": "A"}, {"enterprise": "B"}), figures({"enterprise": "A"}, {"enterprise": "B", "value_added_10k_cny": -10.0}))
    assert found["calorific_tce_per_10k_cny"] == pytest.approx(200 / 40)


def test_an_enterprises_row_says_what_it_lacks_and_why() -> None:
    energy_sum = sums({"enterprise": "A", "equivalent_tce": None, "missing": "equivalent: no rate for 2025"})
    row = intensity(energy_sum, figures({"enterprise": "A"}, {"enterprise": "B", "value_added_10k_cny": None}), "enterprise").rows(named=True)
    assert row[0]["equivalent_tce_per_10k_cny"] is None
    assert row[0]["missing"] == "no equivalent energy (equivalent: no rate for 2025)"
    assert row[1]["missing"] == "no value added"


@pytest.mark.parametrize(("period", "of_energy", "told"), [
    ("2025", "2025-03", "energy by month, value added by year"), ("2025-03", "2025", "energy by year, value added by month"),
    ("2025-03", "2025-03-02", "energy by day, value added by month"), ("2025", "2024-03", None), ("2025-03", "2025-04-01", None),
])
def test_energy_that_stands_by_other_periods_than_the_value_added_is_told(period: str, of_energy: str, told: str | None) -> None:
    energy_sum, values = sums({"enterprise": "A", "period": of_energy}), figures({"enterprise": "A", "period": period})
    row = intensity(energy_sum, values, "enterprise").row(0, named=True)
    whole = f"{told}: sum the energy by the period of the value added"
    assert row["calorific_tce_per_10k_cny"] is None
    assert row["missing"].startswith("no calorific energy" if told is None else f"{whole}; no calorific energy")
    beside = pl.concat([values, figures({"enterprise": "B", "period": period})])
    missing = park(pl.concat([energy_sum, sums({"enterprise": "B", "period": period})]), beside)["missing"]
    assert (f"{whole} (A); " in missing) == (told is not None)
    assert "sum the energy" not in (intensity(sums({"enterprise": "A"}), figures({"enterprise": "A"}), "enterprise")["missing"].item() or "")


def test_price_bases_are_carried_and_never_mixed() -> None:
    same = {"price_basis": "constant", "base_year": 2020}
    found = park(sums({"enterprise": "A"}, {"enterprise": "B"}), figures({"enterprise": "A"} | same, {"enterprise": "B"} | same))
    assert (found["price_basis"], found["base_year"]) == ("constant", 2020)
    mixed = park(sums({"enterprise": "A"}, {"enterprise": "B"}), figures({"enterprise": "A"} | same, {"enterprise": "B", "price_basis": "current"}))
    assert mixed["calorific_tce_per_10k_cny"] is None
    assert "different price bases" in mixed["missing"]


def test_an_enterprise_in_two_parks_is_in_neither_since_its_energy_cannot_be_divided() -> None:
    values = figures({"enterprise": "A"}, {"enterprise": "A", "park": "Q"}, {"enterprise": "B"})
    found = park(sums({"enterprise": "A"}, {"enterprise": "B"}), values)
    assert found["calorific_tce_per_10k_cny"] == pytest.approx(2.0)
    assert "in several parks, so in none: A" in found["missing"]
    assert intensity(sums({"enterprise": "A"}), values.head(2), "enterprise")["calorific_tce_per_10k_cny"].to_list() == pytest.approx([1.0])


def test_metering_coverage_is_weighted_by_energy() -> None:
    energy_sum = sums({"enterprise": "A", "covered_ratio": 0.5}, {"enterprise": "B", "calorific_tce": 300.0})
    found = park(energy_sum, figures({"enterprise": "A"}, {"enterprise": "B"}))
    assert found["covered_ratio"] == pytest.approx((0.5 * 100 + 300) / 400)


@pytest.mark.parametrize(("covered", "told"), [(0.9, False), (0.89, True)])
def test_energy_that_was_measured_in_part_only_is_told(covered: float, told: bool) -> None:
    energy_sum = sums({"enterprise": "A", "covered_ratio": covered, "missing": "coke: no quantity in 2025"}, {"enterprise": "B"})
    values = figures({"enterprise": "A"}, {"enterprise": "B"})
    row = intensity(energy_sum, values, "enterprise").row(0, named=True)
    assert ("the measured part only, 89.0 % covered (coke: no quantity in 2025)" in (row["missing"] or "")) == told
    assert ("the measured part only of A" in (park(energy_sum, values)["missing"] or "")) == told


def test_nothing_gives_an_empty_table() -> None:
    assert intensity(sums({"enterprise": "A"}).head(0), figures({"enterprise": "A"}).head(0), "park").height == 0


@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=1, max_size=10))
def test_a_parks_intensity_lies_between_those_of_its_enterprises(pairs: list[tuple[float, float]]) -> None:
    energy_sum = sums(*({"enterprise": f"E{n}", "calorific_tce": tce} for n, (tce, _) in enumerate(pairs)))
    values = figures(*({"enterprise": f"E{n}", "value_added_10k_cny": value} for n, (_, value) in enumerate(pairs)))
    each = intensity(energy_sum, values, "enterprise")["calorific_tce_per_10k_cny"]
    whole = park(energy_sum, values)["calorific_tce_per_10k_cny"]
    assert each.min() * (1 - 1e-9) <= whole <= each.max() * (1 + 1e-9)
