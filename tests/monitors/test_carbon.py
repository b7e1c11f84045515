"""CO2 of an enterprise: every factor, the year that counts, exports, what is unknown; levels and grades from both sides."""

import csv
import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import schemas
from config.carbon import carbon_factors, carbon_levels
from monitors.carbon import carbon, misfits

SHARED = Path(os.environ.get("TCEWATCH_SHARED", Path(__file__).parents[3] / "shared")) / "domain"
FACTORS, LEVELS = carbon_factors(), carbon_levels()


def of(*rows: dict[str, object], year: int = 2026, media: tuple[str, ...] = ()) -> pl.DataFrame:
    filled = [{"enterprise": "E", "period": str(year), **row} for row in rows]
    return carbon(pl.DataFrame(filled, infer_schema_length=None), FACTORS, year, media=media)


def tonnes(*rows: dict[str, object], year: int = 2026) -> float | None:
    found = of(*rows, year=year)["emissions_t"].item()
    assert found is None or isinstance(found, float)
    return found


def used(carrier: str, quantity: float | None = 1000.0, unit: str = "t", **row: object) -> dict[str, object]:
    return {"carrier": carrier, "quantity": quantity, "unit": unit, **row}


@pytest.mark.needs("shared-data")
def test_every_number_of_the_collected_factors_is_in_the_table() -> None:
    with (SHARED / "carbon_factors.csv").open(encoding="utf-8-sig", newline="") as file:
        collected = [row for row in csv.DictReader(file) if row["kgco2_per_unit"]]
    scale = {"t": 1e-3, "1000m3": 1e-3}
    unit = {"t": "kg", "1000m3": "m3"}
    there = {(row["unit"], row["year"], round(row["kgco2_per_unit"], 9)) for row in FACTORS.drop_nulls("kgco2_per_unit").to_dicts()}
    wanted = {
        (unit.get(row["unit"], row["unit"]), int(row["year"]) if row["year"] else None,
         round(float(row["kgco2_per_unit"]) * scale.get(row["unit"], 1), 9)) for row in collected
    }
    assert wanted == there


def test_every_factor_gives_its_emission_in_its_own_year_and_says_where_it_is_from() -> None:
    rows = FACTORS.with_row_index("enterprise").with_columns(pl.col("enterprise").cast(pl.String()))
    rows = rows.with_columns(period=pl.col("year").fill_null(2022).cast(pl.String()), quantity=pl.lit(2000.0), grid_region="region")
    for (period,), group in rows.group_by("period"):
        found = carbon(group, FACTORS, int(str(period)))
        both = group.join(found.select("enterprise", "emissions_t", "missing", said="source"), on="enterprise", suffix="_said")
        assert both.height == group.height
        assert both.filter((pl.col("emissions_t") - 2 * pl.col("kgco2_per_unit")).abs() > 1e-9).is_empty()
        assert both.filter(pl.col("emissions_t").is_null() != pl.col("kgco2_per_unit").is_null()).is_empty()
        assert both.filter(pl.col("kgco2_per_unit").is_null())["missing"].str.contains("no number").all()
        said = both.filter(pl.col("kgco2_per_unit").is_not_null())
        assert said.filter(~pl.col("said").str.contains(pl.col("source"), literal=True)).is_empty()


def test_each_row_of_both_tables_has_a_source_and_a_fuel_factor_the_heating_value_it_was_computed_with() -> None:
    assert (FACTORS["source"].str.len_chars() >= 8).all()
    assert (LEVELS["source"].str.len_chars() >= 8).all()
    electricity = FACTORS.filter(carrier="electricity")
    assert electricity.select(pl.col("region", "year").is_not_null().all()).row(0) == (True, True)
    fuels = FACTORS.filter(pl.col("carrier").is_in(["electricity", "heat"]).not_(), pl.col("unit") != "tce", pl.col("kgco2_per_unit").is_not_null())
    assert fuels["lhv_kj_per_unit"].null_count() == 0
    per_gj = fuels["kgco2_per_unit"] / fuels["lhv_kj_per_unit"] * 1e6
    assert per_gj.is_between(43, 261).all()  # producer gas to blast-furnace gas


@pytest.mark.parametrize(("year", "region", "expected", "factor_year"), [
    (2021, "national", 556.8, "2021"), (2022, "national", 536.6, "2022"), (2023, "national", 530.6, "2023"), (2026, "national", 530.6, "2023"),
    (2026, "north_china", 636.1, "2023"), (2026, "northeast", 556.4, "2022"), (2026, "东北电网", 556.4, "2022"),
    (2026, "Inner_Mongolia", 647.9, "2023"),
])
def test_the_newest_published_year_is_used_for_later_years_and_named(year: int, region: str, expected: float, factor_year: str) -> None:
    found = of(used("electricity", 1e6, "kWh", grid_region=region), year=year)
    assert (found["emissions_t"].item(), found["factor_year"].item()) == (pytest.approx(expected), factor_year)
    later = f"factor of {factor_year}, the newest published, for {year}"
    assert (later in found["source"].item()) == (str(year) != factor_year)


def test_before_the_first_published_year_there_is_no_factor() -> None:
    found = of(used("electricity", 1.0, "kWh"), year=2020)
    assert found.select("emissions_t", "missing").row(0) == (
        None, "no CO2 factor of electricity (national) is published for 2020 or before; the first is of 2021",
    )


def test_a_year_with_fuel_power_heat_process_and_exports_is_added_up_with_the_arithmetic_shown() -> None:
    found = of(
        used("bituminous_coal", 10_000.0), used("electricity", 2000.0, "10^4 kWh", grid_region="north_china", renewable_ratio=0.25),
        used("electricity", 3e7, "kWh", grid_region="north_china", flow="sold"), used("heat", 5000.0, "GJ"), {"process_t": 120.0},
    )
    # 10,000 t x 1.9467 = 19,467; 20 GWh x 0.75 x 0.6361 - 30 GWh x 0.6361 = -9,541.5; 5,000 GJ x 0.11 = 550; process 120; sum 10,595.5 t
    parts = found.select("fuel_t", "electricity_t", "heat_t", "process_t", "emissions_t").row(0)
    assert parts == pytest.approx((19_467.0, -9541.5, 550.0, 120.0, 10_595.5))
    assert "heat 5000 GJ x 110 kg/GJ = 550 t; process 120 t; sum 10595.5 t" in found["derivation"].item()
    assert "过程排放 120 t；合计 10595.5 t" in found["derivation_zh"].item()


def test_net_power_may_be_negative_and_own_primary_power_carries_no_co2() -> None:
    assert tonnes(used("electricity", 1e6, "kWh", flow="sold")) == pytest.approx(-530.6)
    both = of(used("electricity", 1e6, "kWh", flow="own_primary"), used("electricity", 4e5, "kWh", flow="purchased"))
    assert both["emissions_t"].item() == pytest.approx(212.24)
    assert "electricity: own primary, no CO2" in both["derivation"].item()


def test_a_measured_heating_value_takes_the_place_of_the_one_the_factor_was_computed_with() -> None:
    default = tonnes(used("bituminous_coal", 1000.0))
    same = tonnes(used("bituminous_coal", 1000.0, lhv=22_300.0, lhv_unit="kJ/kg"))
    lean = tonnes(used("bituminous_coal", 1000.0, lhv=11.15, lhv_unit="GJ/t"))
    assert (default, same, lean) == pytest.approx((1946.7, 1946.7, 973.35))


def test_a_factor_for_energy_needs_a_heating_value_and_a_gas_of_another_condition_too() -> None:
    per_energy = FACTORS.filter(carrier="natural_gas").with_columns(unit=pl.lit("GJ"), kgco2_per_unit=pl.lit(55.54), lhv_kj_per_unit=None)
    gas = pl.DataFrame([{"enterprise": "E", "period": "2026", **used("natural_gas", 1000.0, "Nm3")}])
    assert "give lhv and lhv_unit" in carbon(gas, per_energy, 2026)["missing"].item()
    # 1,000 Nm3 x 0.036 GJ x 55.54 kg = 1,999.44 kg
    measured = gas.with_columns(lhv=pl.lit(36.0), lhv_unit=pl.lit("MJ/Nm3"))
    assert carbon(measured, per_energy, 2026)["emissions_t"].item() == pytest.approx(1.99944)
    assert "give lhv" in of(used("natural_gas", 1000.0, "Nm3"))["missing"].item()
    assert tonnes(used("natural_gas", 1.0, "10^4 m3")) == pytest.approx(21.621)


@pytest.mark.parametrize(("row", "reason"), [
    (used("raw_coal"), "no CO2 factor of raw_coal is in the table: name the kind of fuel as `tcewatch tables carbon_factors` lists it"),
    (used("water_gas", 1.0, "m3"), "the table has no number for the CO2 of water_gas"),
    (used("coke", None), "coke: no quantity in 2026"), (used("coke", lhv=1.0, lhv_unit="kJ/Nm3"), "lhv_unit kJ/Nm3 does not fit coke in t"),
    (used("coke", use="feedstock"), "coke used as raw material has no combustion factor: give its emission in process_t"),
    (used("electricity", 2.0, "kWh", flow="purchased"), "electricity: consumed stands beside purchased"),
])
def test_what_is_unknown_leaves_the_sum_empty_and_never_the_sum_of_the_rest(row: dict[str, object], reason: str) -> None:
    found = of(used("electricity", 1e6, "kWh"), used("diesel", 1.0), row)
    assert found["emissions_t"].item() is None
    assert reason in found["missing"].item()


def test_raw_material_adds_nothing_beside_the_process_emission_that_stands_for_it() -> None:
    assert tonnes(used("coke", use="feedstock"), {"process_t": 7.0}) == 7.0
    # at the enterprise's gate 100 t, of which a process used 40 t as raw material: 60 t are burnt
    gate = used("coke", 100.0, flow="purchased")
    inner = used("coke", 40.0, flow="consumed", use="feedstock", process="carbonising")
    assert tonnes(gate, inner, used("coke", 60.0, flow="consumed", process="boiler"), {"process_t": 7.0}) == pytest.approx(60 * 2.7891 + 7)


def test_water_and_consumed_media_carry_no_co2_of_their_own() -> None:
    rows = (used("diesel", 1.0), used("water_tap", 5.0, "m3"), used("oxygen", 9.0, "m3"), used("nitrogen_main", 9.0, "m3", use="medium"))
    assert of(*rows, media=("oxygen",))["emissions_t"].item() == pytest.approx(3.0994)


def test_months_are_added_up_other_years_left_out_and_the_cover_is_that_of_the_worst_carrier() -> None:
    months = [used("diesel", 1.0, period=f"2026-{month:02}", covered_ratio=0.5 if month == 1 else 1.0) for month in range(1, 13)]
    found = of(*months, used("diesel", 99.0, period="2025"), used("electricity", 1.0, "kWh", period="2026-01"))
    assert found["emissions_t"].item() == pytest.approx(12 * 3.0994 + 0.5306e-3)
    assert found["covered_ratio"].item() == pytest.approx(31 / 365)
    assert of(*months)["covered_ratio"].item() == pytest.approx((365 - 15.5) / 365)


@given(st.permutations(list(range(4))))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    rows: list[dict[str, object]] = [used("diesel", 3.0), used("electricity", 1e6, "kWh"), used("heat", 7.0, "GJ", flow="sold"), {"process_t": 1.5}]
    assert tonnes(*(rows[place] for place in order)) == pytest.approx(3 * 3.0994 + 530.6 - 0.77 + 1.5)


def graded(*figures: dict[str, object], year: int = 2026) -> pl.DataFrame:
    """Enterprises of 100 t with the value added given."""
    rows = [{"enterprise": row["enterprise"], "period": str(year), "process_t": 100.0} for row in figures if row.get("known", True)]
    given_figures = pl.DataFrame([{"period": str(year), **row} for row in figures], infer_schema_length=None)
    return carbon(pl.DataFrame(rows), FACTORS, year, figures=given_figures, levels=LEVELS)


def test_each_bound_of_levels_and_grades_belongs_to_the_better_side() -> None:
    bounds = LEVELS.filter(pl.col("up_to").is_not_null()).select("measure", "code", "up_to")
    after = {"low": "medium", "medium": "high", **{str(grade): str(grade + 1) for grade in range(1, 5)}}
    for measure, code, bound in bounds.iter_rows():
        figures = [
            {"enterprise": f"{side}", "value_added_10k_cny": 100.0 / (bound * (1 + side * 1e-6)), "sector": "s", "sector_intensity": 1.0}
            for side in (-1, 0, 1)
        ]
        found = dict(graded(*figures).select("enterprise", measure).iter_rows())
        assert found == {"-1": code, "0": code, "1": after[code]}, (measure, bound)
    assert bounds.height == 6


def test_the_grade_is_measured_by_the_sectors_sum_over_sum() -> None:
    found = graded(
        {"enterprise": "A", "value_added_10k_cny": 50.0, "sector": "s"}, {"enterprise": "B", "value_added_10k_cny": 350.0, "sector": "s"},
        {"enterprise": "C", "value_added_10k_cny": 100.0, "sector": "t"},
    )
    # A 2.0, B 0.2857; the sector 200 / 400 = 0.5; A over it 4 (grade 5), B 0.571 (grade 1); C is a sector of its own
    assert found["intensity"].to_list() == pytest.approx([2.0, 2 / 7, 1.0])
    assert found["sector_intensity"].to_list() == pytest.approx([0.5, 0.5, 1.0])
    assert found.select("level", "grade").rows() == [("medium", "5"), ("low", "1"), ("medium", "3")]
    assert "over the mean of 2 enterprises of the sector, 0.5: 4" in found["derivation"][0]


def test_value_added_by_months_counts_where_all_twelve_are_there_and_the_year_itself_comes_before_them() -> None:
    def by_months(enterprise: str, count: int) -> list[dict[str, object]]:
        return [
            {"enterprise": enterprise, "period": f"2026-{month:02}", "value_added_10k_cny": 10.0, "sector": "s", "known": month == 1}
            for month in range(1, count + 1)
        ]

    found = graded(*by_months("A", 12), *by_months("B", 11), *by_months("C", 12), {"enterprise": "C", "value_added_10k_cny": 200.0, "known": False})
    assert dict(found.select("enterprise", "value_added_10k_cny").iter_rows()) == {"A": 120.0, "B": None, "C": 200.0}
    assert found["intensity"].to_list() == [pytest.approx(100 / 120), None, pytest.approx(0.5)]
    assert found["missing"].to_list() == [None, "value added of 11 of 12 months only", None]


def test_without_value_added_sector_or_emissions_there_is_no_intensity_and_the_reason_is_told() -> None:
    found = graded(
        {"enterprise": "A", "value_added_10k_cny": None, "sector": "s"}, {"enterprise": "B", "value_added_10k_cny": 0.0, "sector": "s"},
        {"enterprise": "C", "value_added_10k_cny": 100.0}, {"enterprise": "D", "value_added_10k_cny": 9.0, "sector": "s", "known": False},
    )
    missing = dict(found.select("enterprise", "missing").iter_rows())
    assert missing == {
        "A": "no value added", "B": "value added is 0.0: no intensity", "C": "no sector: no grade", "D": "no quantities of the enterprise",
    }
    assert found["level"].to_list() == [None, None, "medium", None]
    assert found["grade"].null_count() == 4


@pytest.mark.parametrize(("months", "missing"), [(11, None), (10, "the measured part only, 83.3 % covered")])  # 334 and 304 of 365 days
def test_an_intensity_of_a_year_that_is_known_in_part_only_says_so(months: int, missing: str | None) -> None:
    rows = [used("diesel", 10.0, enterprise="E", period=f"2026-{month:02}") for month in range(1, months + 1)]
    figures = pl.DataFrame({"enterprise": ["E"], "period": ["2026"], "value_added_10k_cny": [100.0], "sector": ["s"]})
    row = carbon(pl.DataFrame(rows), FACTORS, 2026, figures=figures, levels=LEVELS).row(0, named=True)
    assert row["intensity"] == pytest.approx(months * 10 * 3.0994 / 100)
    assert row["missing"] == missing
    assert (row["missing_zh"] is None) == (missing is None)


@pytest.mark.parametrize(("year", "superseded"), [(2023, False), (2024, True)])
def test_levels_say_by_what_they_are_superseded_and_a_sites_own_come_first(year: int, superseded: bool) -> None:
    figure = {"enterprise": "A", "value_added_10k_cny": 200.0, "sector": "s"}
    found = graded(figure, year=year)
    assert ("superseded by DB33/T 1347-2023 from 2024-01-15" in found["level_source"].item()) == superseded
    own = LEVELS.filter(measure="level").with_columns(valid_from=date(year, 12, 31), code=pl.lit("own_") + pl.col("code"))
    rows = pl.DataFrame([{"enterprise": "A", "period": str(year), "process_t": 100.0}])
    both = carbon(rows, FACTORS, year, figures=pl.DataFrame([{"period": str(year), **figure}]), levels=pl.concat([LEVELS, own]))
    assert both.select("level", "grade").row(0) == ("own_low", "3")


def test_misfits_name_regions_rows_without_a_carrier_and_periods_in_each_other() -> None:
    rows = pl.DataFrame([
        {"enterprise": "E", "period": "2026", **used("electricity", 1.0, "kWh", grid_region="mars")},
        {"enterprise": "E", "period": "2026", "quantity": 1.0},
        {"enterprise": "E", "period": "2026", **used("diesel", 1.0)}, {"enterprise": "E", "period": "2026-03", **used("diesel", 1.0)},
        {"enterprise": "E", "period": "2026-03-01", **used("lpg", 1.0)}, {"enterprise": "E", "period": "2026-03", **used("lpg", 1.0)},
        {"enterprise": "E", "period": "2026", "process_t": 5.0}, {"enterprise": "E", "period": "2026", **used("coke", process_t=5.0)},
        {"enterprise": "E", "period": "2026-01", "process_t": 5.0}, {"enterprise": "E", "period": "2026", "process_t": 6.0},
    ], infer_schema_length=None)
    assert [(row, column) for row, column, _, _ in misfits(rows, FACTORS, 2026)] == [
        (0, "grid_region"), (1, "carrier"), (3, "period"), (4, "period"), (7, "process_t"), (8, "period"),
    ]


def test_no_rows_give_no_enterprise_and_the_declared_shape() -> None:
    found = carbon(schemas.empty(schemas.CARBON_QUANTITY), FACTORS, 2026)
    assert (found.height, found.schema) == (0, schemas.CARBON)
