"""Corrections of limits by the parameters of a plant: a worked example for each kind, both sides of every bound, and what is missing."""

from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import limit_tables, schemas
from config.limit_tables import correction_values
from monitors.corrections import corrected, impossible, parameters
from monitors.limit_misfits import misfits
from monitors.limits import limits, parameter_columns
from tests.monitors.neutral import neutral

TABLE = limit_tables.limits()
NOBODY = schemas.empty(schemas.CONFIRMATION)
CORRECTED = TABLE.filter(pl.col("corrections").list.len() > 0)
COKE = {
    "product": "coke_top_charged", "period": "2027", "unit": "kgce/t", "value": 198.0,
    "mixed_gas_ratio": 0.5, "volatile_matter_ratio": 0.245, "coal_moisture_ratio": 0.11, "wet_quenching": "yes", "oven_age_years": 20.0,
}
CEMENT = {
    "product": "cement", "period": "2025", "unit": "kgce/t", "value": 95.0, "clinker_ratio": 0.76, "altitude_m": 2000.0, "air_pressure_pa": 80_000.0,
}
ARC = {"product": "electric_arc_furnace_lt_50_t", "period": "2027", "unit": "kgce/t", "value": 70.0}
FURNACE = {
    "product": "blast_furnace", "period": "2027", "unit": "kgce/t", "value": 400.0,
    "rare_earth_ore_ratio": 0.0, "vanadium_titanium_ore_ratio": 0.0, "laterite_nickel_ore_ratio": 0.0, "feed_grade_ratio": 0.62,
}


def one(**row: Any) -> dict[str, Any]:
    [found] = limits(pl.DataFrame([{"enterprise": "E"} | row]), TABLE, NOBODY).rows(named=True)
    return found


def levels(**row: Any) -> tuple[float | None, float | None, float | None]:
    found = one(**row)
    return found["level_1"], found["level_2"], found["level_3"]


# --- a worked example for each kind -----------------------------------------------------------------------------------

def test_additions_by_condition_by_age_by_ratio_and_by_interpolation_follow_one_another_each_on_its_levels() -> None:
    raw = 4.25 + (0.245 - 0.24) / 0.01 * (8.55 - 4.25) + (0.11 - 0.10) / 0.01 * 3.67  # Vd 24.5 % and moisture 11 %: 6.40 + 3.67
    assert raw == pytest.approx(6.40 + 3.67)
    gas = 8.00 * 0.5
    assert levels(**COKE) == (
        pytest.approx(110 + gas + raw + 2.50), pytest.approx(110 + gas + raw), pytest.approx(135 + gas + raw + 46.46 + 2.50),
    )
    found = one(**COKE)
    assert (found["verdict"], found["level"], found["standing"]) == ("complies", "3", "unconfirmed")
    for step in ("135 + 8 x 0.5 = 139", "139 + 6.4 = 145.4", "145.4 + 3.67 x 1 = 149.07", "149.07 + 46.46 = 195.53", "195.53 + 2.5 = 198.03"):
        assert step in found["derivation"]
        assert step in found["derivation_zh"]
    assert "corrected from 135 kgce/t by share of the time heated with mixed gas 0.5" in found["derivation"]
    assert "湿熄焦 是：149.07 + 46.46 = 195.53" in found["derivation_zh"]


def test_a_linear_correction_has_a_coefficient_for_each_level_and_altitude_multiplies_level_3_alone() -> None:
    factor = 1.179 - 0.211 * 80_000 / 101_325
    assert levels(**CEMENT) == (pytest.approx(80 + 1.10), pytest.approx(87 + 1.15), pytest.approx((94 + 1.20) * factor))
    assert "95.2 x (1.179 - 0.211 x 0.789538613373) = 96.3811799655" in one(**CEMENT)["derivation"]
    assert levels(**CEMENT | {"clinker_ratio": 0.70, "altitude_m": 0.0})[2] == pytest.approx(94 - 5 * 1.20)


@pytest.mark.parametrize(("altitude_m", "higher"), [(1499.0, False), (1500.0, False), (1500.1, True)])
def test_altitude_corrects_above_1500_m_only(altitude_m: float, higher: bool) -> None:
    given = {"product": "clinker", "period": "2025", "unit": "kgce/t", "value": 100.0, "altitude_m": altitude_m, "air_pressure_pa": 84_000.0}
    found = one(**given)
    assert (found["level_1"], found["level_2"]) == (100.0, 107.0)
    assert found["level_3"] == pytest.approx(117 * (1.179 - 0.211 * 84_000 / 101_325) if higher else 117.0)
    assert ("not above 1500 m, no correction" in found["derivation"]) is not higher
    assert ("未超过 1500 m，不修正" in found["derivation_zh"]) is not higher
    for indicator, printed in (("electricity", 61.0), ("coal", 109.0)):
        of_it = levels(**given | {"indicator": indicator, "unit": "kWh/t" if indicator == "electricity" else "kgce/t"})
        assert of_it[2] == pytest.approx(printed * found["level_3"] / 117)


def test_below_the_altitude_the_air_pressure_is_not_asked_for() -> None:
    low = one(product="clinker", period="2025", unit="kgce/t", value=100.0, altitude_m=1040.0)
    high = one(product="clinker", period="2025", unit="kgce/t", value=100.0, altitude_m=1600.0)
    assert (low["verdict"], low["missing"]) == ("complies", None)
    assert (high["verdict"], high["level_3"]) == ("incomplete", None)
    assert high["missing"] == "parameter air_pressure_pa (air pressure of the site: a number from 30000 to 110000 in Pa)"


@pytest.mark.parametrize(("grade", "added"), [(0.63, 0.0), (0.62, 0.0), (0.61, 3.61), (0.57, 5 * 3.61), (0.56, 5 * 3.61)])
def test_a_correction_on_one_side_of_its_base_ends_at_its_cap(grade: float, added: float) -> None:
    assert levels(**FURNACE | {"feed_grade_ratio": grade}) == (pytest.approx(361 + added), pytest.approx(370 + added), pytest.approx(415 + added))
    said = f"iron content of the furnace feed {grade} (base 0.62 per 0.01, at most 5 times): 415 + 3.61 x "
    assert said in one(**FURNACE | {"feed_grade_ratio": grade})["derivation"]


def test_special_ores_add_for_each_per_cent() -> None:
    ores = {"rare_earth_ore_ratio": 0.10, "vanadium_titanium_ore_ratio": 0.20, "laterite_nickel_ore_ratio": 0.05}
    assert levels(**FURNACE | ores)[2] == pytest.approx(415 + 10 * 0.3 + 20 * 0.45 + 5 * 0.5)
    for product, printed in (("sintering", 52.0), ("pelletising", 33.0)):
        of_it = levels(product=product, period="2027", unit="kgce/t", value=40.0, **ores)
        assert of_it[2] == pytest.approx(printed + 10 * 0.15 + 20 * 0.2 + 5 * 1.2)


@pytest.mark.parametrize(("ores", "added"), [({}, 0.0), ({"steel_category": "deep_drawing_pipeline"}, 1.5), ({"scrap_ratio": 0.2}, 20 * 0.23)])
def test_negative_limits_are_corrected_towards_zero_too(ores: dict[str, Any], added: float) -> None:
    given = {"product": "converter", "period": "2027", "unit": "kgce/t", "value": -12.0, "scrap_ratio": 0.0, "steel_category": "plain_carbon"}
    assert levels(**given | ores) == (pytest.approx(-30 + added), pytest.approx(-28 + added), pytest.approx(-12 + added))


@pytest.mark.parametrize(("category", "hot_metal", "level_1", "level_3"), [
    ("plain_carbon", 0.0, 61.0, 86.0), ("stainless", 0.0, 61 * 1.10, 86 * 1.10), ("stainless", 0.1, 61 * 1.10 - 8, 86 * 1.10 - 8),
    ("quality_carbon_structural", 0.1, 61 - 8 + 8, 86 - 8 + 8), ("bearing_gear_hard_wire_tool", 0.0, 61 + 15, 86 + 15),
])
def test_a_factor_by_condition_comes_before_what_is_added(category: str, hot_metal: float, level_1: float, level_3: float) -> None:
    found = levels(**ARC, steel_category=category, hot_metal_ratio=hot_metal)
    assert found == (pytest.approx(level_1), None, pytest.approx(level_3))  # a level that the standard lacks stays missing


@pytest.mark.parametrize(("grade", "limit"), [(0.39, 2550.0), (0.41, 2550 - 2 * 50), (0.37, 2550 + 2 * 50)])
def test_a_limit_falls_with_the_grade_of_the_ore(grade: float, limit: float) -> None:
    given = {"product": "ferromanganese_high_carbon_electric", "indicator": "smelting_electricity", "period": "2025", "unit": "kWh/t", "value": 2500}
    assert levels(**given, ore_grade_ratio=grade)[2] == pytest.approx(limit)
    whole = given | {"indicator": "comprehensive_energy", "unit": "kgce/t", "value": 650.0}
    assert one(**whole)["verdict"] == "complies"  # that indicator has no correction and asks for nothing


@pytest.mark.parametrize(("ratio", "verdict"), [(2.19, "incomplete"), (2.2, "complies"), (3.0, "complies")])
def test_where_the_standard_has_no_value_for_a_parameter_there_is_no_verdict(ratio: float, verdict: str) -> None:
    found = one(
        product="ferrochrome_high_carbon", indicator="smelting_electricity", period="2025", unit="kWh/t", value=3000.0,
        ore_grade_ratio=0.40, chromium_iron_ratio=ratio,
    )
    assert found["verdict"] == verdict
    if verdict == "incomplete":
        assert found["missing"] == "parameter chromium_iron_ratio 2.19 has no value in the table, which has 2.2 and above"
        assert (found["level_3"], found["excess"]) == (None, None)


def test_a_factor_of_the_figure_leaves_the_limits_alone() -> None:
    found = one(product="coal_washing_coking", period="2025", unit="kWh/t", value=4.1, washing_process="jig")
    assert (found["actual"], found["level"], found["level_3"]) == (pytest.approx(4.1 * 1.26), "2", 8.5)
    assert found["derivation"].startswith("reported 4.1 kWh/t = 4.1 kWh/t, corrected by washing process jig: 4.1 x 1.26 = 5.166; GB 29446-2019")
    assert "经修正（选煤工艺 跳汰：4.1 x 1.26 = 5.166）" in found["derivation_zh"]
    made = {"energy": 410.0, "energy_unit": "kWh", "output": 100.0, "output_unit": "t"}
    by_output = one(product="coal_washing_coking", period="2025", washing_process="jig", **made)
    assert by_output["actual"] == pytest.approx(5.166)


def test_factors_that_the_user_brings_are_shares_of_the_level_as_printed() -> None:
    given = {"product": "coal_mine_underground", "period": "2027", "unit": "kgce/t", "value": 10.0}
    found = one(**given, k1=0.10, k2=0.02, k3=0.0, k4=-0.01, k5=0.0)
    total = 1 + 0.10 + 0.02 - 0.01
    assert (found["level_1"], found["level_2"], found["level_3"]) == tuple(pytest.approx(printed * total) for printed in (2.5, 6.2, 10.8))
    assert (found["verdict"], found["standing"]) == ("complies", "indicative")
    assert "parameter k5" in one(**given, k1=0.1, k2=0.0, k3=0.0, k4=0.0)["missing"]


def test_a_factor_by_condition_multiplies_every_level() -> None:
    given = {"product": "soda_ash_light_combined", "period": "2026", "unit": "kgce/t", "value": 150.0}
    assert levels(**given, sun_dried_salt="yes") == (pytest.approx(145 * 1.18), pytest.approx(160 * 1.18), pytest.approx(200 * 1.18))
    assert levels(**given, sun_dried_salt="no") == (145.0, 160.0, 200.0)


def test_amounts_that_stand_in_the_text_alone_are_brought_by_the_user_or_left_out_and_said() -> None:
    given = {"product": "power_subcritical_600_mw", "period": "2026", "unit": "gce/kWh", "value": 320.0}
    without = one(**given)
    assert (without["verdict"], without["standing"], without["level_3"]) == ("exceeds", "indicative", 312.0)
    assert "addition for air cooling, W-flame or fluidised-bed boilers: not given, not applied" in without["derivation"]
    cooled = one(**given, power_factor=1.01, coal_rate_addition=12.0)
    assert (cooled["level_1"], cooled["level_2"], cooled["level_3"]) == (
        pytest.approx(303 * 1.01 + 12), pytest.approx(285 * 1.01), pytest.approx(312 * 1.01 + 12),  # level 2 has no addition
    )
    assert (cooled["verdict"], cooled["standing"]) == ("complies", "indicative")


def test_a_correction_of_the_figure_may_be_added() -> None:
    given = {"product": "semi_coke", "period": "2026", "unit": "kgce/t", "value": 215.0}
    assert one(**given)["verdict"] == "exceeds"
    found = one(**given, yield_correction=8.0)
    assert (found["actual"], found["verdict"]) == (pytest.approx(207.0), "complies")
    phosphorus = one(product="yellow_phosphorus", period="2027", unit="kgce/t", value=2000.0, reductant_carbon_ratio=0.5)
    assert phosphorus["actual"] == pytest.approx(2000 + 0.5 * 1000 * 1.1564)


def test_factors_follow_one_another_and_an_addition_may_concern_new_plants_alone() -> None:
    glass = {"product": "flat_glass_gt_800_t_d", "period": "2025", "unit": "kgce/weight case", "value": 12.0}
    assert levels(**glass, utilisation_factor=1.1, thickness_factor=1.05, iron_content_factor=1.0, line_change_factor=1.1)[2] == (
        pytest.approx(12.0 * 1.1 * 1.05 * 1.1)
    )
    gas = {"product": "power_gas_f_class_400_mw", "period": "2026", "unit": "gce/kWh", "value": 200.0}
    assert levels(**gas, power_factor=1.02, coal_rate_addition=5.0) == (pytest.approx(203 * 1.02), pytest.approx(215 + 5), pytest.approx(223 * 1.02))


def test_a_corrected_level_2_may_lie_below_level_1_and_each_is_compared_on_its_own() -> None:
    found = one(**COKE | {"value": 125.0, "plant_status": "new"})  # 126.57 / 124.07 / 198.03
    assert (found["level"], found["verdict"], found["binding_level"]) == ("1", "exceeds", 2)


# --- bounds of the tables ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("age", "added"), [(0.0, 0.0), (15.0, 0.0), (15.1, 2.5), (25.0, 2.5), (25.1, 5.5)])
def test_both_sides_of_each_step(age: float, added: float) -> None:
    assert levels(**COKE | {"oven_age_years": age})[0] == pytest.approx(110 + 4 + 6.4 + 3.67 + added)


@pytest.mark.parametrize(("volatile", "added"), [
    (0.2099, None), (0.21, -8.30), (0.215, -6.25), (0.22, -4.20), (0.28, 18.71), (0.2801, None), (0.275, (14.08 + 18.71) / 2),
])
def test_between_the_points_of_a_table_on_a_straight_line_and_never_beyond_its_ends(volatile: float, added: float | None) -> None:
    found = one(**COKE | {"volatile_matter_ratio": volatile})
    if added is None:
        assert (found["verdict"], found["level_2"]) == ("incomplete", None)
        assert f"parameter volatile_matter_ratio {volatile} has no value in the table, which has 0.21 to 0.28" in found["missing"]
    else:
        assert found["level_2"] == pytest.approx(110 + 4 + added + 3.67)


def test_every_point_of_every_shipped_table_gives_its_amount() -> None:
    checked = 0
    for row in CORRECTED.iter_rows(named=True):
        for each in row["corrections"]:
            for name, amount in correction_values(each["values"] or ""):
                bound = float(name.removeprefix(">")) if each["kind"] != "by_value" else 0.0
                cell = name if each["kind"] == "by_value" else bound + (1e-6 if name.startswith(">") else 0.0)
                given = pl.DataFrame({
                    "level_1": [100.0], "level_2": [100.0], "level_3": [100.0], "actual": [100.0], "binding_level": [3], each["parameter"]: [cell],
                })
                [found] = corrected(given, [each]).rows(named=True)
                after = 100.0 + amount if each["effect"] == "add" else 100.0 * amount
                changed = {"actual"} if each["applies_to"] == "actual" else {f"level_{level}" for level in each["levels"].split()}
                assert {k for k in ("actual", "level_1", "level_2", "level_3") if found[k] == pytest.approx(after)} >= changed
                assert all(found[k] == 100.0 for k in {"actual", "level_1", "level_2", "level_3"} - changed)
                checked += 1
    assert checked > 60


# --- what is missing or impossible ------------------------------------------------------------------------------------

def test_every_parameter_that_a_limit_needs_and_that_is_empty_is_named() -> None:
    dated = CORRECTED.filter(pl.col("effective_from").is_not_null())
    rows = [
        {"product": row["product"], "indicator": row["indicator"], "feedstock": row["feedstock"], "unit": row["unit"], "value": 1.0,
         "period_start": row["effective_from"], "period_end": row["effective_from"],
         "needed": [each.name for each in parameters(row["corrections"]) if each.needed and each.name != "air_pressure_pa"]}
        for row in dated.iter_rows(named=True)
    ]
    found = limits(pl.DataFrame(rows), TABLE, NOBODY)
    for row in found.iter_rows(named=True):
        assert (row["verdict"] == "incomplete") == bool(row["needed"]), row["product"]
        assert all(f"parameter {name} (" in row["missing"] for name in row["needed"])


def test_with_neutral_parameters_the_levels_are_those_that_are_printed() -> None:
    rows = [
        {"product": row["product"], "indicator": row["indicator"], "unit": row["unit"], "value": 1.0, **neutral(row["corrections"]),
         "period_start": row["effective_from"], "period_end": row["effective_from"], "printed": [row[f"level_{n}"] for n in (1, 2, 3)]}
        for row in CORRECTED.iter_rows(named=True)
    ]
    found = limits(pl.DataFrame(rows, infer_schema_length=None), TABLE, NOBODY)
    assert found.filter(pl.concat_list("level_1", "level_2", "level_3") != pl.col("printed")).is_empty()


@pytest.mark.parametrize("written", ["yes", "Yes", " YES ", "true", "1", "是"])
def test_yes_may_be_written_in_several_ways(written: str) -> None:
    assert levels(**COKE | {"wet_quenching": written}) == levels(**COKE)


def test_a_value_may_be_written_in_chinese() -> None:
    given = {"product": "coal_washing_coking", "period": "2025", "unit": "kWh/t", "value": 4.1}
    assert one(**given, washing_process="跳汰")["actual"] == one(**given, washing_process="JIG")["actual"] == pytest.approx(5.166)
    assert one(**given, washing_process="重介、跳汰、浮选联合")["actual"] == pytest.approx(4.1 * 0.78)


def test_electricity_times_the_factor_of_its_process_over_the_feed_is_compared_with_all_its_digits() -> None:
    """GB 29446-2019: e = E x k / m for each process, at a level (equal keeps it), just above it, and beyond level 3."""
    coking, thermal = (
        [{"product": f"coal_washing_{coal}", "washing_process": process, "energy": energy, "output": feed, "level": level}
         for process, energy, feed, level in rows] for coal, rows in {
            "coking": [("jig_flotation", 500.0, 100.0, "1"), ("jig", 350.0, 63.0, "2"), ("heavy_medium", 212.5, 28.0, "3"),
                       ("heavy_medium_flotation", 1100.0, 100.0, "none"), ("combined", 710.0, 100.0, "2"), ("jig_flotation", 500.00004, 100.0, "2")],
            "thermal": [("dry", 125.0, 65.0, "1"), ("jig", 375.0, 117.5, "2"), ("jig_flotation", 337.5, 60.0, "3"),
                        ("jig_heavy_medium", 600.0, 100.0, "none"), ("heavy_medium", 400.0, 178.0, "1"),
                        ("heavy_medium_flotation", 440.0, 76.0, "3"), ("combined", 260.0, 93.6, "1")],
        }.items()
    )
    rows = pl.DataFrame(coking + thermal).with_columns(
        enterprise=pl.lit("E"), period=pl.lit("2026"), energy_unit=pl.lit("kWh"), output_unit=pl.lit("t"),
    )
    assert limits(rows.drop("level"), TABLE, NOBODY)["level"].to_list() == rows["level"].to_list()


@pytest.mark.parametrize(("cell", "text"), [
    ("", "parameter wet_quenching (wet quenching: no or yes)"), (None, "parameter wet_quenching (wet quenching: no or yes)"),
    ("partly", "parameter wet_quenching partly is not possible: write no or yes"),
])
def test_a_value_that_the_correction_does_not_know_is_told(cell: str | None, text: str) -> None:
    found = one(**COKE | {"wet_quenching": cell})
    assert (found["verdict"], found["missing"], found["level_3"]) == ("incomplete", text, None)
    assert found["level_2"] is not None  # the correction is one of level 3 only
    assert "level 3 (existing plant) is not known" in found["derivation"]
    assert "3 级（现有装置）：未知" in found["derivation_zh"]


@pytest.mark.parametrize(("cell", "wrong"), [
    ("0.5", False), ("1", False), ("1.01", True), ("-0.01", True), ("75 %", True), ("NaN", True), (" ", False),
])
def test_what_is_impossible_for_a_parameter_is_a_misfit_by_row_and_column(cell: str, wrong: bool) -> None:
    rows = pl.DataFrame([{"product": "calcium_carbide", "unit": "kgce/t", "value": 900.0, "clinker_ratio": "pink"},
                         {"product": "cement", "unit": "kgce/t", "value": 90.0, "clinker_ratio": cell}])
    found = [(row, column) for row, column, _, _ in misfits(rows, TABLE)]
    assert found == ([(1, "clinker_ratio")] if wrong else [])
    [asked] = [each for each in parameter_columns(TABLE.filter(product="cement")) if each.name == "clinker_ratio"]
    assert impossible(rows, [asked])["clinker_ratio"].to_list() == [True, wrong]
    assert asked.told == "a number from 0 to 1 (a share, not a percentage)"


def test_an_air_pressure_in_kpa_is_impossible() -> None:
    assert [column for _, column, _, _ in misfits(pl.DataFrame([CEMENT | {"air_pressure_pa": 80.0}]), TABLE)] == ["air_pressure_pa"]


# --- laws -------------------------------------------------------------------------------------------------------------

@settings(max_examples=25)
@given(value=st.floats(1, 400), more=st.floats(0, 100), ratio=st.floats(0, 1), age=st.floats(0, 60), wet=st.sampled_from(["no", "yes"]))
def test_a_higher_figure_never_reaches_a_better_level(value: float, more: float, ratio: float, age: float, wet: str) -> None:
    plant = COKE | {"mixed_gas_ratio": ratio, "oven_age_years": age, "wet_quenching": wet}
    rows = pl.DataFrame([{"enterprise": "E"} | plant | {"value": each} for each in (value, value + more)])
    excess = limits(rows, TABLE, NOBODY)["excess"].to_list()
    assert excess[0] <= excess[1]


def test_the_order_of_rows_changes_nothing() -> None:
    rows = pl.DataFrame([{"enterprise": str(number)} | row for number, row in enumerate((COKE, CEMENT, FURNACE, COKE | {"wet_quenching": "no"}))])
    there, back = (limits(each, TABLE, NOBODY).sort("enterprise") for each in (rows, rows.reverse()))
    assert there.equals(back)


def test_rows_of_one_product_keep_their_own_parameters() -> None:
    rows = pl.DataFrame([{"enterprise": str(age)} | COKE | {"oven_age_years": float(age)} for age in range(60)])
    found = limits(rows, TABLE, NOBODY)
    assert found["enterprise"].to_list() == [str(age) for age in range(60)]
    assert found["level_1"].round(2).to_list() == [round(124.07 + (0 if age <= 15 else 2.5 if age <= 25 else 5.5), 2) for age in range(60)]


def test_a_law_without_corrections_asks_for_nothing() -> None:
    bare = TABLE.drop("corrections")
    found = limits(pl.DataFrame([{"enterprise": "E"} | COKE]), bare, NOBODY)
    assert found["level_3"].to_list() == [135.0]


def test_a_column_of_the_user_that_is_named_as_one_of_the_table_does_not_get_into_the_verdict() -> None:
    found = limits(pl.DataFrame([{"enterprise": "E", "remark": "mine", "effective_from": date(1999, 1, 1)} | CEMENT]), TABLE, NOBODY)
    assert found.select("remark", "effective_from").row(0) == ("mine", date(1999, 1, 1))
    assert "in force from 2022-11-01" in found["derivation"][0]


def test_what_is_missing_is_told_in_chinese_too() -> None:
    found = one(**COKE | {"volatile_matter_ratio": 0.3, "coal_moisture_ratio": 11.0, "wet_quenching": None, "oven_age_years": None})
    assert found["missing_zh"] == (
        "参数 volatile_matter_ratio 为 0.3 时表中无值，表中有 0.21 至 0.28；"
        "参数 coal_moisture_ratio 不可能为 11.0：应填 数值，0 至 1（比例，不是百分数）；"
        "参数 wet_quenching（湿熄焦：no 或 yes）；参数 oven_age_years（焦炉炉龄：数值，不小于 0（年））"
    )
    assert f"缺少：{found['missing_zh']}" in found["derivation_zh"]
    assert one(**COKE)["missing_zh"] is None
