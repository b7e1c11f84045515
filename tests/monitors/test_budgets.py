from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import budgets as law
from config import schemas
from config.energy_figures import energy_figures
from monitors.budget_figures import PLACE, actuals, additions, subjects
from monitors.budgets import early_warnings, misfits

RULES = law.warning_rules()
END = date(2025, 12, 31)
PLACES = dict.fromkeys(PLACE, pl.String())
SUMS, LOCATED = pl.Schema({**PLACES, **schemas.ENERGY_SUM}), pl.Schema({**schemas.ENERGY, "park": pl.String(), "renewable_ratio": pl.Float64()})
NO_CARBON = pl.DataFrame(schema={**PLACES, "emissions_t": pl.Float64(), "missing": pl.String(), "source": pl.String()})


def lying(*months: str, **parks: list[str]) -> pl.DataFrame:
    """enterprise, park, period."""
    rows = [(enterprise, park, month) for park, members in parks.items() for enterprise in members for month in months or ("2025-01", "2025-02")]
    return pl.DataFrame(rows, orient="row", schema=PLACES)


def goal(kind: str = "ceiling", target: float | None = 1000.0, **others: object) -> pl.DataFrame:
    return pl.DataFrame([{"subject": "P", "measure": "energy", "kind": kind, "period": "2025", "target": target} | others])


def used(actual: float | None, period: str = "2025", **others: object) -> pl.DataFrame:
    return pl.DataFrame([{"subject": "P", "measure": "energy", "period": period, "actual": actual} | others])


def judged(goals: pl.DataFrame, figures: pl.DataFrame, on: date = END, **others: bool) -> dict[str, object]:
    return early_warnings(goals, figures, RULES, on, consequences=law.consequences(), **others).row(0, named=True)


@pytest.mark.parametrize(("kind", "target", "actual", "base", "colour"), [
    ("ceiling", 1000.0, 999.9, None, "green"), ("ceiling", 1000.0, 1000.0, None, "green"), ("ceiling", 1000.0, 1000.1, None, "yellow"),
    ("ceiling", 1000.0, 1100.0, None, "yellow"), ("ceiling", 1000.0, 1100.1, None, "red"),
    ("floor", 1000.0, 1000.1, None, "green"), ("floor", 1000.0, 1000.0, None, "green"), ("floor", 1000.0, 999.9, None, "yellow"),
    ("floor", 1000.0, 900.0, None, "yellow"), ("floor", 1000.0, 899.9, None, "red"),
    ("reduction_ratio", 0.03, 96.9, 100.0, "green"), ("reduction_ratio", 0.03, 97.0, 100.0, "green"),
    ("reduction_ratio", 0.03, 97.01, 100.0, "yellow"), ("reduction_ratio", 0.03, 97.3, 100.0, "yellow"),
    ("reduction_ratio", 0.03, 97.31, 100.0, "red"), ("reduction_ratio", 0.1, 0.9, 1.0, "green"),
    ("ceiling", -100.0, -100.0, None, "green"), ("ceiling", -100.0, -90.0, None, "yellow"), ("ceiling", -100.0, -89.9, None, "red"),
])
def test_a_goal_met_is_green_missed_by_up_to_a_tenth_of_it_yellow_and_by_more_red(
    kind: str, target: float, actual: float, base: float | None, colour: str,
) -> None:
    assert judged(goal(kind, target), used(actual, base=base))["colour"] == colour


def test_the_gap_is_what_is_missed_by_the_goal_whatever_its_kind() -> None:
    assert judged(goal(), used(1100.0))["gap_ratio"] == pytest.approx(0.1)
    assert judged(goal("floor"), used(900.0))["gap_ratio"] == pytest.approx(0.1)
    assert judged(goal("reduction_ratio", 0.03), used(97.3, base=100.0))["gap_ratio"] == pytest.approx(0.1)
    assert judged(goal(), used(900.0))["gap_ratio"] == pytest.approx(-0.1)


@pytest.mark.parametrize(("actual", "colour"), [(0.0, "green"), (0.1, "red")])
def test_a_goal_of_zero_has_no_gap_ratio_and_says_so(actual: float, colour: str) -> None:
    found = judged(goal(target=0.0), used(actual))
    assert (found["gap_ratio"], found["colour"]) == (None, colour)
    assert "the goal is 0: no gap ratio" in str(found["derivation"])
    assert "目标为零" in str(found["derivation_zh"])


@pytest.mark.parametrize(("target", "colour"), [(0.03, "red"), (-0.2, "green")])
def test_a_rise_is_red_where_a_reduction_is_due_and_not_where_a_rise_is_allowed(target: float, colour: str) -> None:
    found = judged(goal("reduction_ratio", target), used(101.0, base=100.0))
    assert found["colour"] == colour
    assert ("rose where a reduction is due" in str(found["derivation"])) == (colour == "red")


def test_a_rise_is_red_by_its_own_rule_only_from_the_first_half_of_2021_on() -> None:
    lenient = RULES.with_columns(value=pl.when(pl.col("rule") == "red_above_missed_ratio").then(10.0).otherwise("value"))
    for year, colour in ((2020, "yellow"), (2021, "red")):
        goals, figures = goal("reduction_ratio", 0.03, period=str(year)), used(101.0, str(year), base=100.0)
        assert early_warnings(goals, figures, lenient, date(year, 12, 31))["colour"].to_list() == [colour]


@pytest.mark.parametrize(("year", "has_rule"), [(2019, False), (2020, True)])
def test_before_the_first_rule_there_is_no_colour(year: int, has_rule: bool) -> None:
    found = judged(goal(period=str(year)), used(900.0, str(year)))
    assert (found["colour"] is not None) == has_rule
    assert ("a rule of the colours in force" in str(found["missing"])) != has_rule


def test_an_amount_that_still_runs_is_held_against_its_share_by_days() -> None:
    """181 of 365 days: 495.9. So far 500, which leaves 500 for 184 days."""
    found = judged(goal(), used(500.0), date(2025, 6, 30))
    assert found["progress_target"] == pytest.approx(1000 * 181 / 365)
    assert found["colour"] == "yellow"
    assert (found["needed_rate"], found["needed_of"], found["rate"]) == (pytest.approx(500 / 184), "a_day", pytest.approx(500 / 181))


def test_shares_of_the_months_take_the_place_of_the_days() -> None:
    shares = ";".join(["0.15", "0.15", *["0.07"] * 10])
    found = judged(goal(shares=shares), used(330.0), date(2025, 3, 15))
    assert found["progress_ratio"] == pytest.approx(0.3 + 0.07 * 15 / 31)
    assert found["colour"] == "green"


def test_months_of_an_amount_are_added_up_to_the_last_of_them_that_has_begun() -> None:
    months = pl.concat([used(80.0, f"2025-{month:02d}") for month in range(1, 8)])
    found = judged(goal(), months, date(2025, 6, 10))
    assert (found["actual"], found["through"]) == (480.0, date(2025, 6, 10))


def test_a_month_without_a_figure_leaves_the_sum_empty_and_is_named() -> None:
    months = pl.concat([used(80.0, "2025-01"), used(None, "2025-02"), used(80.0, "2025-03")])
    found = judged(goal(), months, date(2025, 3, 31))
    assert (found["actual"], found["colour"]) == (None, None)
    assert "no figure of energy in 2025-02" in str(found["missing"])
    without = judged(goal(), months.filter(pl.col("period") != "2025-02"), date(2025, 3, 31))
    assert "figures for 62 of the 90 days to 2025-03-31 only" in str(without["missing"])


@pytest.mark.parametrize(("covered", "has_colour"), [(0.9, True), (0.899, False)])
def test_less_than_nine_tenths_covered_give_no_colour(covered: float, has_colour: bool) -> None:
    assert (judged(goal(), used(900.0, covered_ratio=covered))["colour"] is not None) == has_colour


def test_a_level_has_the_same_goal_from_the_first_day_and_its_months_are_divided_sum_by_sum() -> None:
    """(100 + 300) / (50 + 100) = 2.67 against 2.5: missed by 6.7 %. For the rest 2.5 = 0.16 x 2.67 + 0.84 x 2.47."""
    goals = goal(target=2.5, measure="energy_intensity")
    months = pl.concat([used(100.0, "2025-01", per=50.0), used(300.0, "2025-02", per=100.0)]).with_columns(measure=pl.lit("energy_intensity"))
    found = judged(goals, months, date(2025, 2, 28))
    share = 59 / 365
    assert (found["actual"], found["progress_target"]) == (pytest.approx(400 / 150), 2.5)
    assert (found["colour"], found["needed_of"]) == ("yellow", "level")
    assert found["needed_rate"] == pytest.approx((2.5 - share * 400 / 150) / (1 - share))
    without = judged(goals, months.drop("per"), date(2025, 2, 28))
    assert (without["colour"], "cannot be added" in str(without["missing"])) == (None, True)


@pytest.mark.parametrize(("measure", "goal_so_far"), [
    ("energy", 1000 * 181 / 365), ("carbon", 1000 * 181 / 365), ("energy_intensity", 1000.0), ("calorific_tce_per_10k_cny", 1000.0),
    ("renewable_ratio", 1000.0), ("单位产值能耗", 1000.0), ("能耗强度", 1000.0),
])
def test_what_is_a_level_is_told_by_the_name_of_the_measure(measure: str, goal_so_far: float) -> None:
    found = judged(goal(measure=measure), used(500.0).with_columns(measure=pl.lit(measure)), date(2025, 6, 30))
    assert found["progress_target"] == pytest.approx(goal_so_far)


def test_a_reduction_counts_from_its_own_base_else_from_the_same_months_of_the_year_before() -> None:
    months = pl.concat([used(value, f"{year}-{month:02d}") for year, value in ((2024, 100.0), (2025, 96.0)) for month in range(1, 7)])
    found = judged(goal("reduction_ratio", 0.03), months, date(2025, 6, 30))
    assert (found["base"], found["reduction_ratio"], found["colour"]) == (600.0, pytest.approx(0.04), "green")
    own = judged(goal("reduction_ratio", 0.03, base=1100.0), months, date(2025, 6, 30))
    assert own["base"] == pytest.approx(1100 * 181 / 365)
    assert judged(goal("reduction_ratio", 0.03), used(96.0))["missing"] == "the base of the reduction"
    assert "a base above 0" in str(judged(goal("reduction_ratio", 0.03), used(96.0, base=0.0))["missing"])


def test_a_reduction_may_be_reported_as_such() -> None:
    assert judged(goal("reduction_ratio", 0.03), used(0.028), reported_reductions=True)["colour"] == "yellow"


@pytest.mark.parametrize(("rows", "reduction", "missing"), [
    ([{"actual": 0.999}], 0.999, None), ([{"actual": 1.0}], None, "the base of the reduction"),  # no reduction: what was used
    ([{"period": "2025-01", "actual": 48.0, "per": 100.0}, {"period": "2025-02", "actual": 49.0, "per": 100.0}], None, "the base of the reduction"),
    ([{"period": f"2025-0{m}", "actual": 47.0 + m, "per": 100.0, "base": 0.5} for m in (1, 2)], 0.03, None),
    ([{"period": f"2025-0{m}", "actual": 47.0 + m, "per": 100.0, "base": m / 4} for m in (1, 2)], None, "the base of the reduction"),
])
def test_what_cannot_be_a_reduction_is_not_taken_as_a_reported_one(
    rows: list[dict[str, object]], reduction: float | None, missing: str | None,
) -> None:
    actuals = pl.DataFrame([{"subject": "P", "measure": "energy_intensity", "period": "2025"} | row for row in rows])
    on = date(2025, 2, 28) if len(rows) == 2 else date(2025, 12, 31)
    found = judged(goal("reduction_ratio", 0.03, measure="energy_intensity"), actuals, on, reported_reductions=True)
    assert (found["reduction_ratio"], found["missing"]) == (reduction if reduction is None else pytest.approx(reduction), missing)
    assert (found["colour"] is None) == (missing is not None)


def test_months_of_a_level_that_nothing_divides_give_no_figure_at_all() -> None:
    months = pl.concat([used(0.5, "2025-01"), used(0.6, "2025-02")]).with_columns(measure=pl.lit("energy_intensity"))
    found = judged(goal(target=0.5, measure="energy_intensity"), months, date(2025, 2, 28))
    assert (found["actual"], found["colour"]) == (None, None)
    assert "cannot be added" in found["missing"]


def test_a_goal_without_a_number_and_one_that_has_not_begun_have_no_colour() -> None:
    assert judged(goal(target=None), used(900.0))["missing"] == "the goal has no number yet"
    assert judged(goal(period="2026"), used(900.0))["missing"] == "the period begins on 2026-01-01"


def test_the_forecast_of_the_year_is_held_against_the_whole_goal() -> None:
    months = pl.concat([used(100.0, f"{at // 12}-{at % 12 + 1:02d}") for at in range(2022 * 12, 2025 * 12 + 6)])
    found = judged(goal(target=1150.0), months, date(2025, 6, 30))
    assert (found["forecast"], found["forecast_colour"]) == (pytest.approx(1200.0), "yellow")
    assert judged(goal(target=1150.0), months.tail(6), date(2025, 6, 30))["forecast"] is None


def test_what_a_document_says_of_red_is_told_for_a_region_and_an_intensity() -> None:
    region = judged(goal("reduction_ratio", 0.03, level="region", measure="energy_intensity"),
                    used(101.0, base=100.0).with_columns(measure=pl.lit("energy_intensity")))
    assert region["consequence"] == "energy reviews of high-consumption projects are suspended"
    assert judged(goal(level="region"), used(2000.0))["consequence"] is None
    share = judged(goal("floor", 0.2, level="region", measure="renewable_ratio"), used(0.1).with_columns(measure=pl.lit("renewable_ratio")))
    assert (share["colour"], share["consequence"]) == ("red", None)


def test_what_needs_the_ranking_of_parks_is_listed_as_not_judged_for_a_park_alone() -> None:
    park = judged(goal(level="park"), used(2000.0))
    assert park["consequence"] is None
    assert park["not_judged"].startswith("not judged here: among the first ten of the yearly evaluation (needs the ranking of the parks): plaque")
    both = ("last three", "排名后 3 位（需要园区综合评价排名）：下年度"), ("three years in a row", "连续三年达不到分类标准（需要园区分类标准")
    for english, chinese in both:
        assert english in park["not_judged"]
        assert chinese in park["not_judged_zh"]
    assert judged(goal(level="park", period="2020"), used(2000.0, "2020"), date(2020, 12, 31))["not_judged"] is None
    for level in ("region", "enterprise"):
        assert judged(goal(level=level), used(2000.0))["not_judged"] is None


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(1.0, 1e9), st.floats(0.0, 3.0), st.floats(0.001, 1000.0)), min_size=1, max_size=20))
def test_colour_and_gap_do_not_depend_on_the_unit(cases: list[tuple[float, float, float]]) -> None:
    scaled = {f"{number}/{unit}": (target * by, target * ratio * by)
              for number, (target, ratio, scale) in enumerate(cases) for unit, by in (("a", 1.0), ("b", scale))}
    goals = pl.concat([goal(target=target, subject=name) for name, (target, _) in scaled.items()])
    found = early_warnings(goals, pl.concat([used(actual, subject=name) for name, (_, actual) in scaled.items()]), RULES, END)
    for one, other in zip(found["gap_ratio"][::2], found["gap_ratio"][1::2], strict=True):
        assert other == pytest.approx(one, rel=1e-6, abs=1e-9)


def test_goals_that_cannot_be_are_told_with_their_row() -> None:
    goals = pl.concat([goal("roof"), goal("reduction_ratio", 3.0), goal(shares="1;2"), goal()], how="diagonal")
    assert [(row, column) for row, column, _, _ in misfits(goals)] == [(0, "kind"), (1, "target"), (2, "shares")]


def test_every_row_of_the_tables_says_from_when_it_holds_and_where_it_stands() -> None:
    for table in (law.warning_rules(), law.consequences()):
        assert table.filter(pl.col("valid_from").is_null() | (pl.col("source").str.len_chars() < 8)).is_empty()
        assert table.filter(pl.col("valid_to") <= pl.col("valid_from")).is_empty()
    assert set(law.consequences()["event"]) == {"red", *law.NOT_JUDGED}


def test_a_sum_of_which_one_member_is_not_known_is_not_known_and_names_it() -> None:
    goals = schemas.conform(pl.DataFrame({"level": ["park"], "subject": ["west"], "measure": ["calorific_tce"]}), schemas.BUDGET)
    members = subjects(goals, lying(west=["E1", "E2"]), pl.DataFrame({"park": ["west"], "region": ["150402"]}))
    months = ["2025-01", "2025-01", "2025-02"]
    sums = pl.DataFrame({"enterprise": ["E1", "E2", "E1"], "park": "west", "period": months, "calorific_tce": [10.0, 20.0, 11.0]})
    found = actuals(
        goals, members, schemas.conform(sums, SUMS),
        schemas.empty(LOCATED), schemas.empty(schemas.FIGURE), ["raw_coal"],
        NO_CARBON, energy_figures(),
    )
    assert found.select("period", "actual", "missing").rows() == [("2025-01", 30.0, None), ("2025-02", None, "no figure of E2")]


def test_a_park_counts_an_enterprise_in_the_months_in_which_it_lies_there() -> None:
    goals = schemas.conform(pl.DataFrame({
        "level": ["park", "park", "region", "enterprise"], "subject": ["a", "b", "150402", "E1"], "measure": "calorific_tce",
    }), schemas.BUDGET)
    there = pl.concat([lying("2025-01", a=["E1"]), lying("2025-02", a=["E1"], b=["E1"]), lying("2025-03", b=["E1"])])
    members = subjects(goals, there, pl.DataFrame({"park": ["a", "b"], "region": ["150402", "150602"]}))
    rows = [("E1", park, month, tce) for month, places in {
        "2025-01": {None: 31.0, "a": 31.0}, "2025-02": {None: 28.0, "a": 10.0, "b": 18.0}, "2025-03": {None: 31.0, "b": 31.0},
    }.items() for park, tce in places.items()]
    sums = pl.DataFrame(rows, orient="row", schema=[*PLACE, "calorific_tce"])
    found = actuals(
        goals, members, schemas.conform(sums, SUMS), schemas.empty(LOCATED), schemas.empty(schemas.FIGURE), [], NO_CARBON, energy_figures(),
    )
    got = {(subject, period): actual for subject, period, actual in found.select("subject", "period", "actual").iter_rows()}
    assert got == {
        ("a", "2025-01"): 31.0, ("a", "2025-02"): 10.0, ("b", "2025-02"): 18.0, ("b", "2025-03"): 31.0,
        ("150402", "2025-01"): 31.0, ("150402", "2025-02"): 10.0, ("E1", "2025-01"): 31.0, ("E1", "2025-02"): 28.0, ("E1", "2025-03"): 31.0,
    }


@pytest.mark.parametrize(("figures", "levels"), [
    ({"a": 100.0}, {"E1": 0.28}),  # nobody says which part of it came from where
    ({"a": 60.0, "b": 40.0}, {"a": 10.0 / 60.0, "b": 0.45, "E1": 0.28}),
])
def test_value_added_of_an_enterprise_in_two_parks_counts_where_the_figures_name_each(figures: dict[str, float], levels: dict[str, float]) -> None:
    goals = schemas.conform(pl.DataFrame({
        "level": ["park", "park", "enterprise"], "subject": ["a", "b", "E1"], "measure": "calorific_tce_per_10k_cny",
    }), schemas.BUDGET)
    members = subjects(goals, lying("2025-02", a=["E1"], b=["E1"]), pl.DataFrame({"park": ["a", "b"], "region": ["150402", "150602"]}))
    sums = pl.DataFrame({"enterprise": "E1", "park": [None, "a", "b"], "period": "2025-02", "calorific_tce": [28.0, 10.0, 18.0]})
    values = pl.DataFrame({"enterprise": "E1", "park": list(figures), "period": "2025-02", "value_added_10k_cny": list(figures.values())})
    found = actuals(
        goals, members, schemas.conform(sums, SUMS), schemas.empty(LOCATED), schemas.conform(values, schemas.FIGURE), [], NO_CARBON, energy_figures(),
    )
    got = {subject: actual / per for subject, actual, per in found.select("subject", "actual", "per").iter_rows()}
    assert got == pytest.approx(levels)


def test_the_share_of_renewable_power_is_a_level_of_the_electricity() -> None:
    goals = schemas.conform(pl.DataFrame({"level": ["park"], "subject": ["a"], "measure": ["renewable_electricity_ratio"]}), schemas.BUDGET)
    members = subjects(goals, lying("2025-01", a=["E1", "E2"]), pl.DataFrame({"park": ["a"], "region": ["150402"]}))
    rows = pl.DataFrame({
        "enterprise": ["E1", "E2", "E1"], "park": "a", "period": "2025-01", "carrier": ["electricity", "electricity", "raw_coal"],
        "quantity": [100.0, 300.0, 1.0], "unit": ["kWh", "kWh", "t"], "calorific_tce": [10.0, 30.0, 500.0], "renewable_ratio": [0.5, None, None],
    })
    sums = pl.DataFrame({"enterprise": ["E1", "E2"], "park": "a", "period": "2025-01", "calorific_tce": [510.0, 30.0]})
    found = actuals(
        goals, members, schemas.conform(sums, SUMS), schemas.conform(rows, LOCATED), schemas.empty(schemas.FIGURE), [], NO_CARBON, energy_figures(),
    )
    assert found.select("actual", "per").rows() == [(5.0, 40.0)]


def test_factors_that_a_figure_rests_on_stand_in_the_derivation_and_the_source() -> None:
    said = "CO2 of grid electricity by the factor of inner_mongolia (2023)"
    found = judged(goal(source="plan"), used(900.0, source=said))
    assert str(found["derivation"]).endswith(f"; {said}")
    assert str(found["derivation_zh"]).endswith("；网电二氧化碳按 inner_mongolia 因子（2023）")
    assert str(found["source"]).endswith(f"; {said}")
    assert "因子" not in str(judged(goal(), used(900.0))["derivation_zh"])


def test_coal_that_has_no_heating_value_is_not_taken_for_none() -> None:
    goals = schemas.conform(pl.DataFrame({"level": "enterprise", "subject": ["E1", "E2"], "measure": "coal_tce"}), schemas.BUDGET)
    sums = pl.DataFrame({"enterprise": ["E1", "E2"], "period": "2025-01", "calorific_tce": [10.0, None]})
    carriers = pl.DataFrame({"enterprise": ["E1", "E2"], "period": "2025-01", "carrier": ["electricity", "lignite"], "quantity": 1.0})
    found = actuals(
        goals, subjects(goals, lying(a=["E1", "E2"]), pl.DataFrame({"park": ["a"], "region": ["150402"]})),
        schemas.conform(sums, SUMS),
        schemas.conform(carriers, LOCATED), schemas.empty(schemas.FIGURE), ["lignite"],
        NO_CARBON, energy_figures(),
    )
    assert found["actual"].to_list() == [0.0, None]


def test_emissions_of_which_a_factor_is_missing_say_which() -> None:
    goals = schemas.conform(pl.DataFrame({"level": "enterprise", "subject": ["E1"], "measure": "carbon_tco2"}), schemas.BUDGET)
    sums = pl.DataFrame({"enterprise": ["E1"], "period": "2025-01", "calorific_tce": [10.0], "missing": ["no equivalent coefficient"]})
    carbon = pl.DataFrame({"enterprise": ["E1"], "period": ["2025-01"], "emissions_t": [None], "missing": ["no CO2 factor of raw_coal"]})
    found = actuals(
        goals, subjects(goals, lying(a=["E1"]), pl.DataFrame({"park": ["a"], "region": ["150402"]})),
        schemas.conform(sums, SUMS),
        schemas.empty(LOCATED), schemas.empty(schemas.FIGURE), [], schemas.conform(carbon, NO_CARBON.schema), energy_figures(),
    )
    assert found["missing"].to_list() == ["no figure of E1 (no CO2 factor of raw_coal)"]


def test_the_assessment_of_a_region_leaves_out_feedstock_and_newly_added_renewable_power() -> None:
    goals = schemas.conform(pl.DataFrame({"level": "enterprise", "subject": ["E1"], "measure": ["assessment_calorific_tce"]}), schemas.BUDGET)
    months = pl.DataFrame({"enterprise": "E1", "period": ["2025-01", "2025-02"], "new_renewable_tce": [5.0, None]})
    sums = months.with_columns(calorific_tce=100.0, feedstock_tce=30.0)
    found = actuals(
        goals, subjects(goals, lying(a=["E1"]), pl.DataFrame({"park": ["a"], "region": ["150402"]})),
        schemas.conform(sums, SUMS),
        schemas.empty(LOCATED), schemas.empty(schemas.FIGURE), [], NO_CARBON, energy_figures(),
    )
    assert found["actual"].to_list() == [65.0, None]
    assert "it is not said how much is new_renewable" in found["missing"][1]


def test_what_projects_will_add_is_summed_for_the_budgets_that_they_concern() -> None:
    goals = pl.DataFrame([
        (level, subject, "calorific_tce", period) for level, subject, period in (
            ("enterprise", "E1", "2026"), ("park", "a", "2026"), ("park", "a", "2026-06"), ("park", "a", "2026-05"), ("park", "a", "2025"),
            ("park", "a", "2026-06-30"), ("region", "150400", "2026"), ("region", "150000", "2026"), ("park", "c", "2026"),
        )
    ] + [("park", "a", "equivalent_tce", "2026"), ("park", "a", "coal_tce", "2026")], schema=["level", "subject", "measure", "period"], orient="row")
    coming = pl.DataFrame([
        (project, owner, park, month, tce, 2 * tce, f"approval of {project}")
        for project, owner, park, tce in (("p1", "E1", "a", 10.0), ("p2", "E2", "a", 1.0), ("p3", "E1", "b", 100.0))
        for month in ("2026-06", "2026-07", "2027-01")
    ], schema=["project", "enterprise", "park", "period", "calorific_tce", "equivalent_tce", "source"], orient="row")
    parks = pl.DataFrame({"park": ["a", "b", "c"], "region": ["150402", "150602", "150402"]})
    found = additions(goals, schemas.conform(coming, schemas.EXPECTED_ENERGY), parks, date(2026, 6, 2))
    assert found.select("level", "subject", "measure", "period", "expected_tce").rows() == [
        ("enterprise", "E1", "calorific_tce", "2026", 220.0), ("park", "a", "calorific_tce", "2026", 22.0),
        ("park", "a", "calorific_tce", "2026-06", 11.0), ("region", "150400", "calorific_tce", "2026", 22.0),
        ("region", "150000", "calorific_tce", "2026", 222.0), ("park", "a", "equivalent_tce", "2026", 44.0),
    ]
    assert found["expected_source"][1] == "approval of p1; approval of p2"
    assert found["expected_missing"].null_count() == found.height


def test_a_project_that_cannot_be_told_leaves_the_addition_empty_and_is_named() -> None:
    goals = pl.DataFrame({"level": "park", "subject": "a", "measure": ["calorific_tce", "equivalent_tce"], "period": "2026"})
    coming = pl.DataFrame({
        "project": ["p1", "p2"], "park": "a", "period": ["2026-06", None], "calorific_tce": [10.0, None],
        "missing": ["no approved energy on the equivalent basis", "no planned start of operation"], "source": ["s", "s"],
    })
    parks, on = pl.DataFrame({"park": ["a"], "region": ["150402"]}), date(2026, 6, 2)
    found = additions(goals, schemas.conform(coming, schemas.EXPECTED_ENERGY), parks, on)
    assert found.select("expected_tce", "expected_missing", "expected_source").rows() == [
        (None, "p2: no planned start of operation", "s"),
        (None, "p1: no approved energy on the equivalent basis; p2: no planned start of operation", "s"),
    ]
    known = additions(goals, schemas.conform(coming.head(1), schemas.EXPECTED_ENERGY), parks, on)
    assert known.select("expected_tce", "expected_missing").rows() == [
        (10.0, None), (None, "p1: no approved energy on the equivalent basis"),
    ]
