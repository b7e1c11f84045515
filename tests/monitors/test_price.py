"""Add-ons to the price of electricity: every step from both sides, editions, factors, and what is unknown."""

import math
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import schemas
from config.price_schemes import price_schemes
from monitors.price import misfits, price

STEPS = price_schemes()


def billed(*rows: dict[str, object]) -> pl.DataFrame:
    return price(pl.DataFrame(list(rows), infer_schema_length=None), STEPS)


def addon(**row: object) -> float | None:
    found = billed({"billing_period": "2022-06", **row})["addon_cny_per_kwh"].item()
    assert found is None or isinstance(found, float)
    return found


def aluminium(**row: object) -> float | None:
    return addon(**{"scheme": "tiered_aluminium", "unit": "kWh/t", **row})


def test_each_bound_of_each_dated_step_divides_it_from_its_neighbour_on_each_day_of_effect() -> None:
    dated = STEPS.filter(pl.col("valid_from").is_not_null(), pl.col("kind").is_in(["excess", "consumption"]))
    bounds = dated.unpivot(["from_value", "above", "up_to", "below"], index=["scheme", "kind", "step", "unit", "valid_from"], variable_name="bound",
                           value_name="at").drop_nulls("at")
    around = pl.concat([bounds.with_columns(side=pl.lit(side), measure=pl.col("at") + side * 1e-6) for side in (-1, 0, 1)])
    by_excess = pl.col("kind") == "excess"
    asked = around.select(
        "scheme", "unit", billing_period=pl.col("valid_from").dt.to_string("%Y-%m-%d"),
        excess_ratio=pl.when(by_excess).then("measure"), actual=pl.when(~by_excess).then("measure"), _step="step", _bound="bound", _side="side",
    )
    inside = (
        pl.when(pl.col("_bound") == "from_value").then(pl.col("_side") >= 0).when(pl.col("_bound") == "above").then(pl.col("_side") > 0)
        .when(pl.col("_bound") == "up_to").then(pl.col("_side") <= 0).otherwise(pl.col("_side") < 0)
    )
    found = price(asked, STEPS).with_columns(_inside=inside)
    assert found.height == 3 * bounds.height == 3 * 14
    assert found["step"].null_count() == 0
    assert found.filter((pl.col("step") == pl.col("_step")) != pl.col("_inside")).is_empty()


def test_every_class_of_a_dated_scheme_by_class_has_its_row_by_code_and_by_name() -> None:
    rows = STEPS.filter(pl.col("kind") == "class")
    asked = pl.concat([rows.select("scheme", "step", "addon_cny_per_kwh", catalogue_class=pl.col(name).str.to_uppercase())
                       for name in ("category", "name_zh")])
    found = price(asked.rename({"step": "_step", "addon_cny_per_kwh": "_addon"}).with_columns(billing_period=pl.lit("2024")), STEPS)
    assert found.filter(pl.col("step").ne_missing(pl.col("_step")) | pl.col("addon_cny_per_kwh").ne_missing(pl.col("_addon"))).is_empty()
    stated = found.filter(scheme="by_catalogue_class").select("step", "addon_cny_per_kwh").unique()
    assert dict(stated.iter_rows()) == {"eliminated": 0.3, "restricted": 0.1, "permitted": 0.0, "encouraged": 0.0}
    unstated = found.filter(pl.col("addon_cny_per_kwh").is_null())
    assert set(unstated["scheme"]) == {"by_catalogue_class_neimenggu"}
    assert unstated["missing"].str.contains("states no add-on").all()


@pytest.mark.parametrize(("excess_ratio", "step", "expected"), [
    (-0.2, "none", 0.0), (0.0, "none", 0.0), (1e-6, "up_to_100_percent", 0.1), (1.0, "up_to_100_percent", 0.1), (1.000001, "above_100_percent", 0.3),
])
def test_by_excess_the_notice_of_2010_divides_at_the_limit_and_at_twice_the_limit(excess_ratio: float, step: str, expected: float) -> None:
    found = billed({"scheme": "by_excess", "billing_period": "2025", "excess_ratio": excess_ratio})
    assert found.select("step", "addon_cny_per_kwh").row(0) == (step, expected)


@pytest.mark.parametrize(("excess_ratio", "expected"), [
    (0.0, 0.0), (0.01, 0.05), (0.499999, 0.05), (0.5, 0.1), (1.0, 0.1), (1.000001, 0.3),
])
def test_the_steps_of_guizhou_begin_at_fifty_percent_once_a_site_dates_them(excess_ratio: float, expected: float) -> None:
    asked = pl.DataFrame({"scheme": ["by_excess_guizhou"], "billing_period": ["2025"], "excess_ratio": [excess_ratio]})
    assert price(asked, STEPS).select("addon_cny_per_kwh", "missing").row(0) == (
        None, "by_excess_guizhou has no date and is never in force: bring the edition of the place with its date",
    )
    dated = STEPS.with_columns(valid_from=pl.coalesce("valid_from", pl.lit(date(2011, 1, 1))))
    assert price(asked, dated)["addon_cny_per_kwh"].item() == expected


@pytest.mark.parametrize(("grade", "expected"), [("A", 0.0), ("b", 0.0), ("C", None), ("D类", None)])
def test_grades_pay_what_the_document_states_once_a_site_dates_it(grade: str, expected: float | None) -> None:
    dated = STEPS.with_columns(valid_from=pl.coalesce("valid_from", pl.lit(date(2021, 1, 1))))
    found = price(pl.DataFrame({"scheme": ["by_grade"], "billing_period": ["2025"], "grade": [grade]}), dated)
    assert found["addon_cny_per_kwh"].item() == expected
    assert (found["missing"].item() or "").endswith("bring the notice that does") == (expected is None)


@pytest.mark.parametrize(("kwh_per_t", "expected"), [(13_700, 0.0), (13_700.1, 0.02), (13_800, 0.02), (13_800.1, 0.08)])
def test_aluminium_by_the_notice_of_2013(kwh_per_t: float, expected: float) -> None:
    assert aluminium(billing_period="2015", actual=kwh_per_t) == expected


@pytest.mark.parametrize(("year", "threshold"), [("2022", 13_650.0), ("2023", 13_450.0), ("2024", 13_450.0), ("2025", 13_300.0), ("2030", 13_300.0)])
@pytest.mark.parametrize(("over", "units"), [(-0.1, 0), (0, 0), (0.001, 1), (19.999, 1), (20, 1), (20.001, 2), (40, 2), (41, 3), (200, 10)])
def test_aluminium_by_the_notice_of_2021_counts_every_started_twenty_kwh(year: str, threshold: float, over: float, units: int) -> None:
    # 13,650 + 20.001 = 13,670.001 kWh/t: the second 20 kWh has begun, 2 x 0.01 = 0.02 CNY/kWh
    assert aluminium(billing_period=year, actual=threshold + over) == pytest.approx(units * 0.01, abs=1e-12)


@pytest.mark.parametrize(("days", "expected"), [(None, 0.02), (0, 0.02), (90, 0.02), (91, 0.03)])
def test_more_than_ninety_days_unpaid_make_it_half_as_much_again(days: float | None, expected: float) -> None:
    assert aluminium(actual=13_690.0, days_unpaid=days) == expected  # 2 x 0.01 = 0.02; x 1.5 = 0.03


@pytest.mark.parametrize(("renewable", "incentive", "expected"), [
    (None, None, 0.02), (0.15, None, 0.02), (0.159, 0.1, 0.02), (0.16, 0.1, 0.0198), (0.20, 0.20, 0.019), (0.20, 0.201, 0.02), (0.29, 0.2, 0.0172),
])
def test_each_completed_point_of_renewable_power_above_fifteen_takes_off_a_hundredth(
    renewable: float | None, incentive: float | None, expected: float,
) -> None:
    # 0.20: 5 points, 0.02 x (1 - 5 x 0.01) = 0.019; under the province's incentive value nothing is taken off
    assert aluminium(actual=13_690.0, renewable_ratio=renewable, incentive_ratio=incentive) == expected


@pytest.mark.parametrize(("renewable", "expected"), [(0.15, 0.02), (0.159, 0.02), (0.16, 0.0198), (0.20, 0.019)])
def test_where_nothing_is_said_of_an_incentive_value_the_renewable_share_counts_and_the_derivation_says_so(renewable: float, expected: float) -> None:
    row = billed({"scheme": "tiered_aluminium", "billing_period": "2022", "actual": 13_690.0, "unit": "kWh/t", "renewable_ratio": renewable})
    assert row.select("addon_cny_per_kwh", "missing").row(0) == (expected, None)
    assert ("the province's incentive value is not given, taken as reached" in row["derivation"].item()) == (expected < 0.02)
    assert ("未给出本省激励值" in row["derivation_zh"].item()) == (expected < 0.02)


def test_a_renewable_share_beside_an_empty_incentive_value_leaves_the_addon_open() -> None:
    row = {"scheme": "tiered_aluminium", "billing_period": "2022", "actual": 13_690.0, "unit": "kWh/t"}
    found = billed(*({**row, "renewable_ratio": share, "incentive_ratio": None} for share in (0.15, 0.2)))
    assert found["addon_cny_per_kwh"].to_list() == [0.02, None]
    assert found["missing"][1].startswith("incentive_ratio")


def test_without_a_period_the_only_open_edition_of_a_scheme_holds_and_of_several_none_is_chosen() -> None:
    found = billed(
        {"scheme": "by_excess", "excess_ratio": 0.2, "electricity_kwh": 1000.0}, {"scheme": "by_catalogue_class", "catalogue_class": "eliminated"},
        {"scheme": "tiered_aluminium", "actual": 13_690.0, "unit": "kWh/t"}, {"scheme": "by_grade", "grade": "A"},
        {"scheme": "by_excess", "excess_ratio": 0.2, "billing_period": "2025"},
    )
    assert found["addon_cny_per_kwh"].to_list() == [0.1, 0.3, None, None, 0.1]
    assert found["derivation"].str.contains("no billing period given, taken by the only edition").to_list() == [True, True, False, False, False]
    assert "未给出计费周期" in found["derivation_zh"][0]
    assert found["missing"][2].startswith("billing_period: the editions of tiered_aluminium begin on 2014-01-01, 2022-01-01, 2023-01-01, 2025-01-01")
    assert found["missing"][3].startswith("by_grade has no date")
    ended = STEPS.with_columns(valid_to=pl.when(pl.col("scheme") == "by_excess").then(date(2027, 1, 1)).otherwise("valid_to"))
    closed = price(pl.DataFrame({"scheme": ["by_excess"], "excess_ratio": [0.2]}), ended)
    assert closed["addon_cny_per_kwh"].item() is None
    assert closed["missing"].item().startswith("billing_period")


def test_unpaid_days_and_renewable_power_act_together_and_the_derivation_shows_the_arithmetic() -> None:
    row = billed({
        "scheme": "tiered_aluminium", "billing_period": "2022", "actual": 13_670.1, "unit": "kWh/t", "days_unpaid": 100.0, "renewable_ratio": 0.2,
        "incentive_ratio": 0.12, "electricity_kwh": 1_000_000.0,
    })
    # 20.1 kWh above 13,650: 2 started units; 2 x 0.01 x 1.5 x (1 - 0.05) = 0.0285 CNY/kWh; 28,500 CNY
    assert row.select("addon_cny_per_kwh", "addon_cny").row(0) == (0.0285, 28_500.0)
    assert row["derivation"].item() == (
        "13670.1 kWh/t; 发改价格〔2021〕1239号 in force from 2022-01-01: step above_13650; 2 started units of 20 x 0.01 CNY/kWh x 1.5 (unpaid for "
        "100 days) x (1 - 5 completed points of renewable power x 0.01) = 0.0285 CNY/kWh; 1000000 kWh: 28500 CNY; medium confidence"
    )
    assert "2 个起算单位（每 20）× 0.01 元/kWh × 1.5（欠缴 100 天）" in row["derivation_zh"].item()


def test_a_period_that_two_editions_touch_is_to_be_billed_in_its_parts() -> None:
    day = date(2024, 12, 31)
    whole = {"scheme": "tiered_aluminium", "actual": 13_400.0, "unit": "kWh/t", "period_start": day, "period_end": day + timedelta(days=1)}
    parts = billed(whole, {**whole, "period_end": day}, {**whole, "period_start": day + timedelta(days=1)})
    assert parts["addon_cny_per_kwh"].to_list() == [None, 0.0, 0.05]  # 13,450 still, then 100 kWh above 13,300: 5 units
    assert parts["missing"][0] == "the edition of tiered_aluminium changes within the period (2025-01-01): bill its parts"
    assert billed({**whole, "period_start": date(2013, 12, 31)})["missing"].item().startswith("the edition of tiered_aluminium changes")
    assert billed({"scheme": "by_excess", "billing_period": "2009", "excess_ratio": 0.1})["missing"].item().startswith("no edition of by_excess")


@pytest.mark.parametrize(("row", "missing"), [
    ({"scheme": "by_excess"}, "excess_ratio"), ({"scheme": "tiered_aluminium"}, "actual in kWh/t"),
    ({"scheme": "by_catalogue_class"}, "catalogue_class"), ({"scheme": "nowhere"}, "nowhere is no scheme"),
    ({"scheme": "by_excess", "excess_ratio": 0.5, "verdict": "incomplete"}, "the verdict is incomplete"),
    ({"scheme": "tiered_aluminium", "actual": 13_700.0, "unit": "kWh/t", "indicator": "ac_electricity"},
     "the scheme is for comprehensive_ac_electricity, not ac_electricity"),
])
def test_what_a_scheme_asks_for_and_does_not_get_is_named(row: dict[str, object], missing: str) -> None:
    found = billed({"billing_period": "2024", **row})
    assert found.select("step", "addon_cny_per_kwh", "missing").row(0) == (None, None, missing)


@pytest.mark.parametrize(("limit", "open_"), [(-12.0, True), (0.0, True), (12.0, False)])
def test_no_step_follows_from_an_excess_over_a_limit_at_or_below_zero(limit: float, open_: bool) -> None:
    as_verdict = {"actual": limit + 6.0, "excess": 6.0, "unit": "kgce/t"}
    found = billed(*({"scheme": "by_excess", "billing_period": "2024", "excess_ratio": 0.5, **row} for row in (as_verdict, {"limit": limit})))
    assert found["step"].is_null().to_list() == [open_, open_]
    assert found["missing"].str.contains("at or below zero").fill_null(value=False).to_list() == [open_, open_]


def test_a_consumption_may_come_in_another_unit_or_as_excess_over_the_schemes_own_threshold() -> None:
    rows = billed(
        {"scheme": "tiered_aluminium", "billing_period": "2022", "value": 13.6701, "unit": "MWh/t"},
        {"scheme": "tiered_aluminium", "billing_period": "2022", "excess_ratio": 20 / 13_650},
        {"scheme": "tiered_aluminium", "billing_period": "2022", "excess_ratio": 20.1 / 13_650},
    )
    assert rows["addon_cny_per_kwh"].to_list() == [0.02, 0.01, 0.02]
    assert "the threshold 13650 and excess_ratio" in rows["derivation"][1]


def test_misfits_name_the_row_the_column_and_what_would_be_right() -> None:
    rows = pl.DataFrame([
        {"scheme": "by_exces"}, {"scheme": "by_catalogue_class", "catalogue_class": "forbidden"},
        {"scheme": "tiered_aluminium", "actual": 1.0, "unit": "kgce/t"}, {"scheme": "tiered_aluminium", "value": 1.0},
        {"scheme": "by_catalogue_class", "catalogue_class": " 限制类 "},
    ], infer_schema_length=None)
    found = misfits(rows, STEPS)
    assert [(row, column) for row, column, _, _ in found] == [(0, "scheme"), (1, "catalogue_class"), (2, "unit"), (3, "unit")]
    assert "tiered_aluminium" in found[0][3]
    assert "限制类" in found[1][3]


@given(st.lists(st.floats(13_000, 16_000), min_size=2, max_size=5))
def test_who_uses_more_never_pays_less_and_the_order_of_rows_does_not_matter(figures: list[float]) -> None:
    asked = pl.DataFrame({"scheme": ["tiered_aluminium"] * len(figures), "billing_period": ["2022"] * len(figures), "actual": figures,
                          "unit": ["kWh/t"] * len(figures)})
    found = price(asked.sort("actual"), STEPS)["addon_cny_per_kwh"]
    assert found.is_sorted()
    assert sorted(price(asked, STEPS)["addon_cny_per_kwh"].to_list()) == found.to_list()
    over = max(figures) - 13_650
    assert found[-1] == pytest.approx(0.01 * max(0, math.ceil(round(over, 7) / 20)))


def test_the_result_has_the_shape_that_is_declared() -> None:
    found = billed({"scheme": "by_excess", "billing_period": "2024", "excess_ratio": 0.5, "park": "A"})
    assert found.columns == [*schemas.PRICED, "park", *schemas.ADDON]
    assert price(schemas.empty(schemas.PRICED), STEPS).is_empty()
