"""A figure against the limit in force: both sides of every limit, editions, levels, completeness, standing, derivation."""

import re
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import limit_tables, schemas
from config.limit_tables import correction_values
from monitors.limit_misfits import misfits
from monitors.limits import limits, unit_factor, with_standing
from tests.monitors.neutral import neutral

TABLE = limit_tables.limits()
NOBODY = schemas.empty(schemas.CONFIRMATION)
CARBIDE = {"product": "calcium_carbide", "period": "2025", "value": 900.0, "unit": "kgce/t"}  # GB 21343-2023: 805 / 823 / 940


def products(*given: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{"enterprise": "E"} | row for row in given], infer_schema_length=None)


def judge(
    row: dict[str, Any], table: pl.DataFrame = TABLE, confirmations: pl.DataFrame = NOBODY, sums: pl.DataFrame | None = None
) -> list[dict[str, Any]]:
    return limits(products(row), table, confirmations, sums).rows(named=True)


def one(table: pl.DataFrame = TABLE, confirmations: pl.DataFrame = NOBODY, sums: pl.DataFrame | None = None, **row: Any) -> dict[str, Any]:
    found = judge(row, table, confirmations, sums)
    assert len(found) == 1
    return found[0]


def law(**row: Any) -> pl.DataFrame:
    usual = {
        "product": "p", "indicator": "comprehensive_energy", "standard": "GB 1-2024", "edition": "2024", "basis": "calorific", "unit": "kgce/t",
        "level_1": 80.0, "level_2": 90.0, "level_3": 100.0, "effective_from": date(2024, 1, 1), "corrections_complete": True, "confidence": "medium",
        "clause": "4.1", "source": "a text", "remark": "",
    }
    return schemas.conform(pl.DataFrame([usual | row]), schemas.LIMIT)


def confirmed(product: str, indicator: str, standard: str) -> pl.DataFrame:
    row = {
        "product": product, "indicator": indicator, "standard": standard,
        "confirmed_by": "Li", "confirmed_on": date(2026, 1, 5), "copy": "print of 2024",
    }
    return schemas.conform(pl.DataFrame([row]), schemas.CONFIRMATION)


def every_limit(side: float) -> pl.DataFrame:
    """A product row for each dated row and level of the shipped table that has a value, at the limit or a little beside it.

    Parameters stand where they correct nothing.
    """
    rows = []
    for row in TABLE.filter(pl.col("effective_from").is_not_null()).iter_rows(named=True):
        factor = next((correction_values(one["values"])[0][1] for one in row["corrections"] if row["product"] == "coal_washing_thermal"), 1.0)
        for level, status in ((3, "existing"), (2, "new"), (1, "existing")):
            bound = row[f"level_{level}"]
            if bound is not None:
                rows.append({
                    **neutral(row["corrections"]), "level_meant": level,
                    "product": row["product"], "indicator": row["indicator"], "feedstock": row["feedstock"],
                    "plant_status": status, "unit": row["unit"],
                    "value": (bound + side * max(abs(bound), 1.0)) / factor, "standard_meant": row["standard"],
                    "period_start": row["effective_from"], "period_end": row["effective_from"],
                })
    return products(*rows)


@pytest.mark.parametrize(("side", "verdict"), [(-1e-6, "complies"), (0.0, "complies"), (1e-6, "exceeds")])
def test_both_sides_of_every_binding_limit_of_the_table(side: float, verdict: str) -> None:
    found = limits(every_limit(side), TABLE, NOBODY)
    assert found.height > 950
    assert found["standard"].to_list() == found["standard_meant"].to_list()
    wrong = found.filter(pl.col("verdict") != verdict, pl.col("level_meant") == pl.col("binding_level"))
    assert wrong.is_empty(), wrong.select("product", "standard", "actual", "level_2", "level_3", "verdict", "missing").rows()
    reached = pl.concat_list(*(pl.when(pl.col("actual") <= pl.col(f"level_{n}") + 1e-9).then(pl.lit(f"{n}")) for n in (1, 2, 3)))
    best = found.filter(pl.col("level_meant") == 1).with_columns(best=reached.list.drop_nulls().list.first().fill_null("none"))
    assert best.height > 300
    judged = best.filter(pl.col("verdict") != "incomplete")  # of a few rows only level 1 was found
    assert judged.filter(pl.col("level") != pl.col("best")).is_empty()
    assert (judged["level"] == "1").all() == (side <= 0)
    assert best.height - judged.height < 5


@pytest.mark.parametrize(("value", "level", "verdict"), [
    (804.9, "1", "complies"), (805.0, "1", "complies"), (805.1, "2", "complies"), (823.0, "2", "complies"), (823.1, "3", "complies"),
    (940.0, "3", "complies"), (940.0 + 1e-10, "3", "complies"), (940.00001, "none", "exceeds"),
])
def test_a_figure_equal_to_a_level_meets_it(value: float, level: str, verdict: str) -> None:
    found = one(**CARBIDE | {"value": value})
    assert (found["level"], found["verdict"]) == (level, verdict)


def test_floating_point_noise_is_no_excess() -> None:
    found = one(law(level_3=0.3), product="p", period="2025", value=0.1 + 0.2, unit="kgce/t")
    assert (found["verdict"], found["excess"], found["excess_ratio"]) == ("complies", 0.0, 0.0)


@pytest.mark.parametrize(("status", "binding", "verdict"), [(None, 3, "complies"), ("existing", 3, "complies"), ("new", 2, "exceeds")])
def test_new_plants_are_bound_by_level_2_and_existing_ones_by_level_3(status: str | None, binding: int, verdict: str) -> None:
    found = one(**CARBIDE | {"plant_status": status})
    assert (found["binding_level"], found["verdict"], found["level"]) == (binding, verdict, "3")


def test_each_present_level_is_compared_on_its_own_since_they_need_not_be_in_order() -> None:
    given = {"product": "power_subcritical_600_mw", "period": "2026", "unit": "gce/kWh", "plant_status": "new"}  # 303 / 285 / 312
    between = one(**given, value=300.0)
    assert (between["level"], between["verdict"], between["binding_level"]) == ("1", "exceeds", 2)


def test_negative_limits_bind_like_others_and_the_ratio_is_by_their_absolute_value() -> None:
    given = {"product": "converter", "period": "2027", "unit": "kgce/t", "scrap_ratio": 0, "steel_category": "plain_carbon"}  # -30 / -28 / -12
    assert one(**given, value=-12.0)["verdict"] == "complies"
    above = one(**given, value=-9.0)
    assert (above["verdict"], above["excess"], above["excess_ratio"]) == ("exceeds", 3.0, 0.25)


def test_a_limit_of_zero_has_an_excess_but_no_ratio() -> None:
    found = one(law(level_3=0.0), product="p", period="2025", value=2.0, unit="kgce/t")
    assert (found["verdict"], found["excess"], found["excess_ratio"]) == ("exceeds", 2.0, None)


def test_a_missing_binding_level_is_said_and_not_replaced_by_another() -> None:
    plain = {"steel_category": "plain_carbon", "hot_metal_ratio": 0.0}
    found = one(product="electric_arc_furnace_lt_50_t", period="2027", value=50.0, unit="kgce/t", plant_status="new", **plain)
    assert (found["verdict"], found["level"], found["level_2"]) == ("incomplete", None, None)
    assert "level 2 of GB 21256-2025" in found["missing"]


def test_a_period_across_a_change_of_edition_is_judged_part_by_part_with_the_same_figure() -> None:
    plain = {"mixed_gas_ratio": 0.0, "volatile_matter_ratio": 0.23, "coal_moisture_ratio": 0.1, "wet_quenching": "no", "oven_age_years": 15.0}
    old, new = judge({"product": "coke_top_charged", "period": "2026", "value": 140.0, "unit": "kgce/t", **plain})
    assert (old["period_start"], old["period_end"]) == (date(2026, 1, 1), date(2026, 4, 30))
    assert (new["period_start"], new["period_end"]) == (date(2026, 5, 1), date(2026, 12, 31))
    assert [(row["standard"], row["verdict"]) for row in (old, new)] == [("GB 21342-2013", "complies"), ("GB 21342-2025", "exceeds")]
    assert old["actual"] == new["actual"] == 140.0
    assert "the figure is that of 2026-01-01 to 2026-12-31" in old["derivation"]


def test_days_without_an_edition_make_a_row_of_their_own() -> None:
    gap, judged = judge({"product": "clinker", "period": "2022", "value": 110.0, "unit": "kgce/t", "altitude_m": 1040.0})
    assert (gap["verdict"], gap["period_start"], gap["period_end"]) == ("no_rule", date(2022, 1, 1), date(2022, 10, 31))
    assert (judged["verdict"], judged["standard"]) == ("complies", "GB 16780-2021")
    assert "GB 16780-2021 from 2022-11-01" in gap["missing"]
    assert gap["standing"] is None


def test_a_gap_between_two_editions_is_found_too() -> None:
    table = pl.concat([law(effective_to=date(2025, 3, 31)), law(standard="GB 2-2025", effective_from=date(2025, 5, 1))])
    found = judge({"product": "p", "period": "2025", "value": 95.0, "unit": "kgce/t"}, table)
    assert [(row["verdict"], str(row["period_start"]), str(row["period_end"])) for row in found] == [
        ("complies", "2025-01-01", "2025-03-31"), ("no_rule", "2025-04-01", "2025-04-30"), ("complies", "2025-05-01", "2025-12-31"),
    ]


def test_a_row_without_a_date_of_effect_is_never_in_force() -> None:
    found = one(product="rock_wool", period="2025", value=1.0, unit="kgce/t")
    assert found["verdict"] == "no_rule"
    assert "GB 30183-2013 without a date of effect" in found["missing"]


@pytest.mark.parametrize(("given", "text"), [
    ({"product": "nothing"}, "product nothing is in no limit table"), ({"indicator": "coal"}, "has no indicator coal"),
    ({"feedstock": "included"}, "no feedstock boundary"),
])
def test_what_the_law_does_not_know_is_no_rule(given: dict[str, Any], text: str) -> None:
    found = one(**CARBIDE | given)
    assert found["verdict"] == "no_rule"
    assert text in found["missing"]


def test_feedstock_included_and_excluded_are_never_compared_with_each_other() -> None:
    given = {"product": "olefins_coal_mto", "period": "2026", "value": 2000.0, "unit": "kgce/t"}
    assert [one(**given, feedstock=each)["verdict"] for each in ("included", "excluded")] == ["complies", "exceeds"]
    open_question = one(**given)
    assert open_question["verdict"] == "incomplete"
    assert "feedstock: the standard's rows of olefins_coal_mto have excluded, included" in open_question["missing"]


def test_without_an_indicator_the_comprehensive_one_or_the_only_one_is_meant() -> None:
    assert one(**CARBIDE)["indicator"] == "comprehensive_energy"
    assert one(product="blast_furnace", period="2025", value=400.0, unit="kgce/t")["indicator"] == "process_energy"
    two = law(indicator="a").vstack(law(indicator="b"))
    assert "the indicator: p has a, b" in one(two, product="p", period="2025", value=1.0, unit="kgce/t")["missing"]


@pytest.mark.parametrize(("value", "unit", "actual"), [(0.94, "tce/t", 940.0), (940_000.0, "gce/t", 940.0), (0.94, "kgce/kg", 940.0)])
def test_a_figure_in_another_unit_of_the_kind_is_converted_by_definition(value: float, unit: str, actual: float) -> None:
    found = one(**CARBIDE | {"value": value, "unit": unit})
    assert (found["actual"], found["unit"], found["verdict"]) == (pytest.approx(actual), "kgce/t", "complies")


@pytest.mark.parametrize(("unit", "to", "expected"), [
    ("kgce/t", "kgce/t", 1.0), ("tce/t", "kgce/t", 1000.0), ("gce/kWh", "kgce/kWh", 0.001), ("tce/10^4 kWh", "gce/kWh", 100.0),
    ("kgce/t", "kgoe/t", 1 / 1.4286), ("kgce/t", "kgce/weight case", 0.05), ("kgce/m3", "kgce/kL", 1.0), ("MWh/t", "kWh/t", 1000.0),
    ("kgoe/(t x energy factor)", "kgoe/(t·energy factor)", 1.0), ("kgce/(t x energy factor)", "kgoe/(t·energy factor)", 1 / 1.4286),
    ("kWh/t", "kgce/t", None), ("kgce/m2", "kgce/t", None), ("kgce/toe", "kgce/t", None), ("kgce", "kgce/t", None),
])
def test_units_are_linked_by_definitions_only(unit: str, to: str, expected: float | None) -> None:
    found = unit_factor(unit, to)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_unit_of_another_kind_gives_no_verdict() -> None:
    found = one(**CARBIDE | {"unit": "kWh/t"})
    assert (found["verdict"], found["actual"]) == ("incomplete", None)
    assert "kWh/t cannot be turned into it by definition" in found["missing"]


def test_energy_over_output_is_the_figure() -> None:
    found = one(product="calcium_carbide", period="2025", energy=94_800.0, energy_unit="tce", output=100_000.0, output_unit="t")
    assert (found["actual"], found["verdict"], found["excess"]) == (pytest.approx(948.0), "exceeds", pytest.approx(8.0))
    said = "energy 94800 tce / output 100000 t = 948 kgce/t; GB 21343-2023 4 table 1, level 3 (existing plant): 940 kgce/t"
    assert found["derivation"].startswith(said)


@pytest.mark.parametrize(("given", "text"), [
    ({"output": None}, "output of the product"), ({"output": 0.0}, "an output above 0 (it is 0)"), ({"output": -1.0}, "an output above 0"),
    ({"energy": None}, "energy of the product"), ({"energy_unit": None}, "units of energy and output"),
    ({"output_unit": None}, "units of energy and output"),
])
def test_what_a_figure_lacks_is_named(given: dict[str, Any], text: str) -> None:
    found = one(**{"product": "calcium_carbide", "period": "2025", "energy": 1.0, "energy_unit": "tce", "output": 1.0, "output_unit": "t"} | given)
    assert (found["verdict"], found["actual"], found["level"]) == ("incomplete", None, None)
    assert text in found["missing"]


@pytest.mark.parametrize(("product", "indicator", "value", "verdict"), [
    ("clinker", "electricity", 0.0, "incomplete"), ("clinker", "electricity", 0.001, "complies"),
    ("sulphuric_acid_sulphur_no_heat_recovery", None, 0.0, "exceeds"),  # its limits are below 0: 0 is a figure like any other
])
def test_no_energy_beside_an_output_is_no_figure_where_every_level_is_above_zero(
    product: str, indicator: str | None, value: float, verdict: str,
) -> None:
    unit = "kWh/t" if indicator else "kgce/t"
    found = one(product=product, indicator=indicator, period="2026", value=value, unit=unit, altitude_m=0.0)
    assert found["verdict"] == verdict
    assert ("nothing is made with no energy" in (found["missing"] or "")) == (verdict == "incomplete")


@pytest.mark.parametrize(("covered", "estimated", "value", "verdict"), [
    (0.9, 0.05, 900.0, "complies"), (0.8999, 0.0, 900.0, "incomplete"), (1.0, 0.0501, 900.0, "incomplete"), (None, None, 900.0, "complies"),
    (0.9, 0.05, 941.0, "exceeds"), (0.5, 0.0, 941.0, "exceeds_measured_alone"), (1.0, 0.5, 1880.0, "incomplete"),
    (1.0, 0.5, 1880.1, "exceeds_measured_alone"),
])
def test_incomplete_data_give_no_verdict_unless_the_measured_part_alone_exceeds(
    covered: float | None, estimated: float | None, value: float, verdict: str
) -> None:
    found = one(**CARBIDE | {"value": value, "covered_ratio": covered, "estimated_ratio": estimated})
    assert found["verdict"] == verdict
    assert (found["missing"] is None) == (verdict in ("complies", "exceeds"))


def test_a_recovering_process_is_not_judged_by_its_measured_part() -> None:
    found = one(product="converter", period="2027", value=-9.0, unit="kgce/t", covered_ratio=0.5)
    assert found["verdict"] == "incomplete"


SUMS = pl.DataFrame({
    "enterprise": ["E"], "product": ["calcium_carbide"], "period": ["2025"], "calorific_tce": [94_800.0], "equivalent_tce": [200_000.0],
    "electricity_kwh": [3.3e8], "covered_ratio": [0.95], "estimated_ratio": [0.01], "missing": [None],
}, schema_overrides={"missing": pl.String()})
MADE = {"product": "calcium_carbide", "period": "2025", "output": 100_000.0, "output_unit": "t"}


def test_the_energy_sum_gives_the_energy_on_the_basis_of_the_standard() -> None:
    found = one(sums=SUMS, **MADE)
    assert (found["actual"], found["covered_ratio"], found["estimated_ratio"]) == (pytest.approx(948.0), 0.95, 0.01)
    on_equivalent = law(product="calcium_carbide", basis="equivalent", level_3=2000.0)
    assert one(on_equivalent, sums=SUMS, **MADE)["actual"] == pytest.approx(2000.0)


def test_a_limit_without_raw_material_is_held_against_the_sum_less_its_feedstock() -> None:
    sums = SUMS.with_columns(product=pl.lit("olefins_coal_mto"), period=pl.lit("2026"), calorific_tce=3000.0, feedstock_tce=2000.0)
    made = {"product": "olefins_coal_mto", "period": "2026", "output": 1000.0, "output_unit": "t"}
    without, whole = (one(sums=sums, **made, feedstock=feedstock) for feedstock in ("excluded", "included"))
    assert (without["actual"], without["verdict"]) == (pytest.approx(1000.0), "complies")
    assert without["derivation"].startswith("energy 1000 tce (2000 tce used as raw material left out) / output 1000 t = 1000 kgce/t")
    assert whole["actual"] == pytest.approx(3000.0)


def test_the_energy_sum_answers_only_indicators_of_the_whole_product() -> None:
    found = one(sums=SUMS, **MADE, indicator="furnace_electricity")
    assert found["verdict"] == "incomplete"
    assert "a figure of its own for furnace_electricity" in found["missing"]
    washed = SUMS.with_columns(product=pl.lit("coal_washing_coking"))
    washing = MADE | {"product": "coal_washing_coking", "output": 6e7, "washing_process": "jig_flotation"}
    assert one(sums=washed, **washing)["actual"] == pytest.approx(5.5)


def test_an_energy_sum_without_the_product_or_the_basis_is_told() -> None:
    assert "energy of the product in this period" in one(sums=SUMS, **MADE | {"period": "2026"})["missing"]
    empty = SUMS.with_columns(calorific_tce=pl.lit(None, dtype=pl.Float64()), missing=pl.lit("naphtha: give lhv"))
    assert one(sums=empty, **MADE)["missing"] == "energy: naphtha: give lhv"


@pytest.mark.parametrize(("summed", "asked", "told"), [("2025-03", "2025", True), ("2025", "2025-03", True), ("2024-12", "2025", False)])
def test_an_energy_sum_for_longer_or_shorter_periods_is_told(summed: str, asked: str, told: bool) -> None:
    found = one(sums=SUMS.with_columns(period=pl.lit(summed)), **MADE | {"period": asked})
    assert (found["verdict"], "its sums stand for longer or shorter ones" in found["missing"]) == ("incomplete", told)
    assert ("合计为更长或更短的统计期" in found["missing_zh"]) == told


def test_an_energy_sum_may_name_its_period_by_days() -> None:
    by_days = SUMS.drop("period").with_columns(period_start=date(2025, 1, 1), period_end=date(2025, 6, 30))
    found = one(sums=by_days, **MADE | {"period": None, "period_start": date(2025, 1, 1), "period_end": date(2025, 6, 30)})
    assert found["actual"] == pytest.approx(948.0)


def test_a_row_is_binding_once_a_person_has_confirmed_it() -> None:
    assert one(**CARBIDE)["standing"] == "unconfirmed"
    found = one(confirmations=confirmed("calcium_carbide", "comprehensive_energy", "GB 21343-2023"), **CARBIDE)
    assert found["standing"] == "binding"
    assert "binding, medium confidence, confirmed by Li on 2026-01-05 against print of 2024" in found["derivation"]
    assert one(confirmations=confirmed("calcium_carbide", "comprehensive_energy", "GB 21343-2015"), **CARBIDE)["standing"] == "unconfirmed"


def test_low_confidence_and_missing_corrections_are_indicative_and_only_the_first_can_be_confirmed_away() -> None:
    low, incomplete = law(confidence="low"), law(corrections_complete=False, remark="altitude")
    given = {"product": "p", "period": "2025", "value": 95.0, "unit": "kgce/t"}
    yes = confirmed("p", "comprehensive_energy", "GB 1-2024")
    assert [one(low, **given)["standing"], one(low, yes, **given)["standing"]] == ["indicative", "binding"]
    assert [one(incomplete, **given)["standing"], one(incomplete, yes, **given)["standing"]] == ["indicative", "indicative"]
    assert "corrections of the standard are not all carried as data: altitude" in one(incomplete, **given)["derivation"]
    assert "not all carried as data: see its text" in one(incomplete.with_columns(remark=pl.lit("")), **given)["derivation"]


def test_two_confirmations_of_a_row_make_no_second_verdict() -> None:
    twice = confirmed("calcium_carbide", "comprehensive_energy", "GB 21343-2023")
    assert one(confirmations=pl.concat([twice, twice]), **CARBIDE)["standing"] == "binding"


def test_the_standing_of_the_shipped_rows_is_unconfirmed_or_indicative() -> None:
    standing = with_standing(TABLE, NOBODY)
    assert set(standing["standing"]) == {"unconfirmed", "indicative"}
    assert standing.filter(pl.col("confidence") == "low")["standing"].unique().to_list() == ["indicative"]


def test_the_derivation_names_the_clause_and_the_source_stands_beside_it() -> None:
    found = one(law(), product="p", period="2025", value=95.0, unit="kgce/t")
    assert "GB 1-2024 4.1, level 3" in found["derivation"]
    assert (found["clause"], found["source"], found["confidence"], found["edition"]) == ("4.1", "a text", "medium", "2024")


def test_further_columns_are_carried_through_and_rows_keep_their_order() -> None:
    cement = {"product": "cement", "period": "2026", "value": 90.0, "unit": "kgce/t", "note": "a"}
    found = limits(products(CARBIDE | {"note": "b"}, cement), TABLE, NOBODY)
    assert found.columns == [*schemas.VERDICT, "note"]
    assert found["note"].to_list() == ["b", "a"]
    assert found.drop("note").schema == schemas.VERDICT


def test_nothing_gives_an_empty_table_of_the_right_shape() -> None:
    assert limits(schemas.empty(schemas.PRODUCT), TABLE, NOBODY).schema == schemas.VERDICT


@pytest.mark.parametrize(("given", "column"), [
    ({"product": "calcium_carbid"}, "product"), ({"indicator": "coal"}, "indicator"), ({"feedstock": "included"}, "feedstock"),
    ({"unit": "kWh/t"}, "unit"), ({"unit": None}, "unit"), ({"value": None, "energy": 1.0, "energy_unit": "kWh", "output_unit": "t"}, "energy_unit"),
])
def test_what_cannot_be_meant_is_named_by_row_and_column(given: dict[str, Any], column: str) -> None:
    assert [(row, found) for row, found, _, _ in misfits(products(CARBIDE, CARBIDE | given), TABLE)] == [(1, column)]


def test_beside_an_energy_sum_the_units_of_output_are_checked() -> None:
    assert misfits(products(MADE), TABLE, with_energy=True) == []
    assert [found for _, found, _, _ in misfits(products(MADE | {"output_unit": "m2"}), TABLE, with_energy=True)] == ["output_unit"]


@given(actual=st.floats(-1e4, 1e4), levels=st.tuples(*[st.one_of(st.none(), st.floats(-1e4, 1e4))] * 3), status=st.sampled_from(["existing", "new"]))
def test_verdict_level_and_excess_agree(actual: float, levels: tuple[float | None, float | None, float | None], status: str) -> None:
    table = law(**{f"level_{n}": value for n, value in enumerate(levels, start=1)})
    found = one(table, product="p", period="2025", value=actual, unit="kgce/t", plant_status=status)
    bound = levels[2] if status == "existing" else levels[1]
    if bound is None or (actual == 0 and min(level for level in levels if level is not None) > 0):
        assert found["verdict"] == "incomplete"
        return
    assert (found["verdict"] == "exceeds") == (found["excess"] > 0)
    if found["level"] == str(found["binding_level"]):
        assert found["verdict"] == "complies"


def test_the_derivation_is_told_in_chinese_with_the_same_numbers() -> None:
    made = pl.DataFrame([{"enterprise": "E", "product": row["product"], "indicator": row["indicator"], "feedstock": row["feedstock"],
                          "period": "2026", "plant_status": status, "value": 123.5, "unit": row["unit"], "estimated_ratio": 0.2,
                          "uncertainty_ratio": 0.02, **neutral(row["corrections"])}
                         for row in limit_tables.limits(None).unique(["product", "indicator", "feedstock"]).iter_rows(named=True)
                         for status in ("existing", "new")], infer_schema_length=None)
    for row in limits(made, limit_tables.limits(None), NOBODY).drop_nulls("standard").iter_rows(named=True):
        said = row["derivation_zh"].partition("标准规定的修正未")[0].partition("缺少")[0]
        assert not re.search("[a-z]{3}", said.replace(row["unit"], "").replace("GB", "").replace(row["clause"] or " ", ""), re.IGNORECASE)
        for number in (row["actual"], row["level_3"] if row["binding_level"] == 3 else row["level_2"]):
            assert number is None or f"{number:.12g}" in said


@pytest.mark.parametrize("given", [
    {"product": "nothing"}, {"indicator": "coal"}, {"feedstock": "included"}, {"period": "2001"}, {"product": "rock_wool"}, {"plant_status": "old"},
    {"unit": "kWh/t"}, {"unit": None}, {"value": None}, {"covered_ratio": 0.5}, {"estimated_ratio": 0.5, "value": 900.0}, {"value": float("inf")},
    {"value": None, "energy": 1.0, "energy_unit": "tce"}, {"value": None, "energy": 1.0, "energy_unit": "tce", "output": 0.0, "output_unit": "t"},
    {"product": "olefins_coal_mto"},
])
def test_what_is_missing_is_told_in_both_languages(given: dict[str, Any]) -> None:
    found = one(**CARBIDE | given)
    assert found["verdict"] in ("incomplete", "no_rule")
    assert found["missing"]
    assert re.search("[\u4e00-\u9fff]", found["missing_zh"])
    assert found["missing_zh"] in found["derivation_zh"]


def test_a_row_is_judged_alike_alone_and_among_others_of_its_case_and_of_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    given = products(
        CARBIDE, CARBIDE | {"value": 950.0}, CARBIDE | {"period": "2020"}, CARBIDE | {"plant_status": "new"}, CARBIDE | {"covered_ratio": 0.5},
        CARBIDE | {"period": None, "period_start": date(2023, 1, 1), "period_end": date(2025, 12, 31)}, {"product": "nothing"},
        {"product": "cement", "period": "2025", "value": 90.0, "unit": "kgce/t", "clinker_ratio": 0.6, "altitude_m": 1500.0},
        {"product": "cement", "period": "2025", "value": 90.0, "unit": "kgce/t"}, CARBIDE | {"uncertainty_ratio": 0.1},
    )
    together = limits(given, TABLE, NOBODY)
    assert together.equals(pl.concat([limits(given[at:at + 1], TABLE, NOBODY) for at in range(given.height)]))
    monkeypatch.setattr("monitors.limits.WRITTEN_AT_ONCE", 3)
    assert limits(given, TABLE, NOBODY).equals(together)
    assert limits(given.clear(), TABLE, NOBODY).equals(together.clear())
