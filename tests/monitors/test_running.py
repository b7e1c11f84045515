from datetime import date

import polars as pl
import pytest

from config import schemas
from config.limit_tables import limits
from monitors.limits import limits as judge
from monitors.running import running_energy, running_periods, running_verdicts, what_if, year_forecasts

LAW = schemas.conform(pl.DataFrame([{
    "product": "p", "indicator": "comprehensive_energy", "standard": "GB 1-2020", "edition": "2020", "basis": "calorific", "unit": "kgce/t",
    "level_1": 80.0, "level_2": 90.0, "level_3": 100.0, "effective_from": date(2020, 1, 1), "corrections_complete": True, "confidence": "high",
}]), schemas.LIMIT)
NOBODY = schemas.empty(schemas.CONFIRMATION)


def made(months: dict[str, float], **others: object) -> pl.DataFrame:
    same = {"enterprise": "E", "product": "p", "output_unit": "t", **others}
    return pl.DataFrame([{**same, "period": period, "output": output} for period, output in months.items()])


def months_of(years: tuple[int, ...], value: float, last: str = "9999") -> dict[str, float]:
    return {f"{year}-{month:02d}": value for year in years for month in range(1, 13) if f"{year}-{month:02d}" <= last}


def burnt(months: dict[str, float]) -> pl.DataFrame:
    rows = [{
        "enterprise": "E", "product": "p", "period": period, "carrier": "raw_coal", "quantity": 1.4 * tce, "unit": "t", "flow": "consumed",
        "calorific_tce": tce, "equivalent_tce": tce, "covered_ratio": 1.0, "estimated_ratio": 0.0,
    } for period, tce in months.items()]
    return schemas.conform(pl.DataFrame(rows), schemas.ENERGY)


def kinds(outputs: pl.DataFrame, today: date) -> dict[str, list[tuple[str, str, float, bool]]]:
    found: dict[str, list[tuple[str, str, float, bool]]] = {}
    for kind, *row in running_periods(outputs, today).select("period_kind", "period_start", "period_end", "output", "may_find").iter_rows():
        found.setdefault(kind, []).append((str(row[0]), str(row[1]), row[2], row[3]))
    return found


def test_months_the_year_so_far_twelve_months_and_closed_years_follow_from_the_months_reported() -> None:
    found = kinds(made(months_of((2024, 2025), 10.0, "2025-05")), date(2025, 6, 20))
    assert len(found["month"]) == 12
    assert found["month"][-1] == ("2025-05-01", "2025-05-31", 10.0, False)
    assert found["year_to_date"] == [("2025-01-01", "2025-05-31", 50.0, False)]
    assert found["rolling_12_months"] == [("2024-06-01", "2025-05-31", 120.0, False)]
    assert found["calendar_year"] == [("2024-01-01", "2024-12-31", 120.0, True)]


@pytest.mark.parametrize(("today", "closed"), [(date(2025, 12, 31), 0), (date(2026, 1, 1), 1)])
def test_only_a_calendar_year_that_is_over_may_make_a_finding(today: date, closed: int) -> None:
    found = running_periods(made(months_of((2025,), 10.0)), today)
    assert found["may_find"].sum() == closed
    assert found.filter(pl.col("may_find"))["period_kind"].to_list() == ["calendar_year"] * closed


def test_the_year_so_far_ends_before_a_month_without_output_and_twelve_months_need_all_of_them() -> None:
    months = months_of((2024, 2025), 10.0, "2025-05")
    del months["2025-03"]
    found = kinds(made(months), date(2025, 6, 20))
    assert found["year_to_date"] == [("2025-01-01", "2025-02-28", 20.0, False)]
    assert "rolling_12_months" not in found
    assert len(found["month"]) == 11


def test_a_yearly_output_takes_the_place_of_its_months_once_the_year_is_over() -> None:
    outputs = made({**months_of((2024,), 10.0), "2024": 121.0, "2025": 50.0})
    assert kinds(outputs, date(2025, 6, 20))["calendar_year"] == [("2024-01-01", "2024-12-31", 121.0, True)]


def test_a_parameter_of_several_months_is_weighted_by_output_and_a_text_that_differs_is_empty() -> None:
    outputs = pl.concat([made({"2025-01": 1.0}, ratio=0.4, cooling="air"), made({"2025-02": 3.0}, ratio=0.8, cooling="water")])
    so_far = running_periods(outputs, date(2025, 3, 2)).filter(period_kind="year_to_date")
    assert so_far.select("ratio", "cooling").row(0) == (pytest.approx((0.4 + 3 * 0.8) / 4), None)


def test_energy_of_a_period_is_that_of_its_months_and_months_without_any_are_not_covered() -> None:
    periods = running_periods(made(months_of((2025,), 10.0, "2025-04")), date(2025, 5, 2)).filter(period_kind="year_to_date")
    energy = running_energy(burnt({"2025-01": 1.0, "2025-02": 2.0, "2025-04": 4.0, "2025-05": 9.0}), periods)
    assert energy.select("calorific_tce", "covered_ratio").row(0) == (7.0, pytest.approx(0.75))


def test_running_verdicts_warn_and_the_forecast_of_the_year_is_judged_beside_them() -> None:
    """97 kgce/t in all months: within 5 % of the limit of 100, and so is the year that it heads for."""
    outputs, energy = made(months_of((2023, 2024, 2025), 10.0, "2025-06")), burnt(months_of((2023, 2024, 2025), 0.97, "2025-06"))
    found = running_verdicts(outputs, energy, LAW, NOBODY, date(2025, 7, 3))
    assert found.schema == schemas.RUNNING
    assert set(found["verdict"]) == {"complies"}
    assert found["near_limit"].all()
    ahead = found.filter(period_kind="year_forecast").row(0, named=True)
    assert (ahead["actual"], ahead["low"], ahead["high"]) == (pytest.approx(97.0), pytest.approx(97.0), pytest.approx(97.0))
    assert (ahead["period_end"], ahead["may_find"]) == (date(2025, 12, 31), False)
    assert ahead["derivation"].startswith("forecast of the year (like months of one to three years before x the level")
    assert ahead["derivation_zh"].startswith("全年预测（")
    assert "reported" not in ahead["derivation"]
    assert "填报值" not in ahead["derivation_zh"]


@pytest.mark.parametrize(("tce", "near"), [(0.9499, False), (0.95, True), (1.0, True), (1.0001, False)])
def test_near_the_limit_is_what_complies_with_at_most_five_percent_of_it_to_spare(tce: float, near: bool) -> None:
    found = running_verdicts(made({"2025-01": 10.0}), burnt({"2025-01": tce}), LAW, NOBODY, date(2025, 2, 2))
    assert found.filter(period_kind="month")["near_limit"].to_list() == [near]


def test_a_forecast_whose_interval_reaches_beyond_the_limit_is_near_it() -> None:
    energy = burnt({**months_of((2023, 2024), 0.8), **months_of((2025,), 0.9, "2025-06")})
    outputs = made(months_of((2023, 2024, 2025), 10.0, "2025-06"))
    ahead = running_verdicts(outputs, energy, LAW, NOBODY, date(2025, 7, 3)).filter(period_kind="year_forecast").row(0, named=True)
    assert ahead["actual"] == pytest.approx(90.0)
    assert ahead["near_limit"] == (ahead["high"] > 100)
    beyond = running_verdicts(outputs, burnt({**months_of((2023, 2024), 0.7), **months_of((2025,), 0.94, "2025-06")}), LAW, NOBODY, date(2025, 7, 3))
    row = beyond.filter(period_kind="year_forecast").row(0, named=True)
    assert (row["verdict"], row["near_limit"], row["high"] > 100) == ("complies", True, True)


def test_a_year_that_cannot_be_forecast_is_incomplete_and_says_why() -> None:
    found = running_verdicts(made({"2025-01": 10.0}), burnt({"2025-01": 0.9}), LAW, NOBODY, date(2025, 2, 2))
    row = found.filter(period_kind="year_forecast").row(0, named=True)
    assert (row["verdict"], row["missing"]) == ("incomplete", row["reason"])
    assert "only 1 months without a gap" in row["reason"]


def test_a_limit_without_raw_material_is_forecast_without_it() -> None:
    law = LAW.with_columns(feedstock=pl.lit("excluded"))
    months = months_of((2023, 2024, 2025), 1.0, "2025-06")
    raw = burnt(months).with_columns(use=pl.lit("feedstock"), carrier=pl.lit("crude_oil"))
    outputs = made(months_of((2023, 2024, 2025), 10.0, "2025-06"), feedstock="excluded")
    ahead = year_forecasts(outputs, pl.concat([burnt(months), raw]), law, date(2025, 7, 3))
    assert ahead["value"].to_list() == pytest.approx([0.1])


def test_what_brings_a_level_is_told_for_each_level_that_there_is() -> None:
    """110 kgce/t on 50 t: level 3 needs 10 kgce/t, which is 0.5 tce, or 55 t from the same energy."""
    law = LAW.with_columns(level_2=pl.lit(None, dtype=pl.Float64()))
    judged = running_verdicts(made({"2025-01": 50.0}), burnt({"2025-01": 5.5}), law, NOBODY, date(2025, 2, 2))
    found = what_if(judged.filter(period_kind="month"))
    assert found["level"].to_list() == ["3", "1"]
    first = found.row(0, named=True)
    assert (first["saving"], first["saving_ratio"]) == (pytest.approx(10.0), pytest.approx(10 / 110))
    assert (first["saving_energy"], first["saving_energy_unit"], first["output_needed"]) == (pytest.approx(0.5), "tce", pytest.approx(55.0))


def test_a_level_that_is_reached_needs_nothing_and_a_negative_limit_no_output() -> None:
    judged = pl.DataFrame({"actual": [-10.0, 90.0], "unit": "kgce/t", "level_3": [-30.0, 90.0], "output": 100.0, "output_unit": "t"})
    found = what_if(judged)
    assert found.select("reached", "saving", "saving_energy").rows() == [(False, 20.0, 2.0), (True, 0.0, 0.0)]
    assert found["output_needed"].to_list() == [None, 100.0]
    assert found["saving_ratio"].to_list() == [None, 0.0]


def test_what_a_carrier_alone_would_have_to_save_is_told_in_its_own_unit_and_whether_there_is_as_much() -> None:
    judged = running_verdicts(made({"2025-01": 50.0}), burnt({"2025-01": 5.5}), LAW, NOBODY, date(2025, 2, 2)).filter(period_kind="month")
    energy = pl.concat([burnt({"2025-01": 5.2}), burnt({"2025-01": 0.3}).with_columns(carrier=pl.lit("diesel"), quantity=pl.lit(0.2))])
    found = what_if(judged, energy).filter(level="3")
    assert found.select("carrier", "carrier_saving", "carrier_suffices").rows() == [
        ("raw_coal", pytest.approx(0.5 * 1.4), True), ("diesel", pytest.approx(0.5 / 1.5), False),
    ]


def test_of_a_carrier_of_which_a_part_is_not_known_nothing_is_said() -> None:
    judged = running_verdicts(made({"2025-01": 50.0}), burnt({"2025-01": 5.5}), LAW, NOBODY, date(2025, 2, 2)).filter(period_kind="month")
    days = burnt({"2025-01-01": 5.2, "2025-01-02": 0.3}).with_columns(
        pl.when(pl.col("period") == "2025-01-01").then(name).alias(name) for name in ("quantity", "calorific_tce")
    )
    found = what_if(judged, days).filter(level="3")
    assert found.select("carrier_quantity", "carrier_saving", "carrier_suffices").rows() == [(None, None, None)]


@pytest.mark.parametrize(("process", "verdict"), [("jig", "complies"), (None, "incomplete")])
def test_the_forecast_of_the_year_takes_the_parameters_of_the_year_so_far(process: str | None, verdict: str) -> None:
    """The limit of coal washing depends on the process: where it is reported for the months, it is known of the year."""
    months = months_of((2024, 2025, 2026), 10.0, "2026-06")
    coal = {"product": "coal_washing_coking", "indicator": "electricity", "washing_process": process}
    energy = burnt(months).with_columns(product=pl.lit("coal_washing_coking"), carrier=pl.lit("electricity"), unit=pl.lit("kWh"))
    outputs = made(months, **coal).with_columns(pl.col("washing_process").cast(pl.String()))
    found = running_verdicts(outputs, energy, limits(), NOBODY, date(2026, 7, 3))
    assert found.filter(period_kind="year_forecast")["verdict"].to_list() == [verdict]


def test_where_a_correction_acts_on_the_figure_itself_no_amount_of_energy_is_told() -> None:
    """Coal washing in jigs has its consumption multiplied: a saving of 1 kWh/t in the figure is less than 1 kWh/t at the meter."""
    made_of = pl.DataFrame({
        "product": ["coal_washing_coking", "ferrosilicon"], "indicator": ["electricity", "comprehensive_energy"], "period": "2026",
        "washing_process": ["jig", None], "energy": [9000.0, 2000.0], "energy_unit": ["kWh", "tce"], "output": 1000.0, "output_unit": "t",
    })
    judged = judge(made_of, limits(), NOBODY).with_columns(output=1000.0, output_unit=pl.lit("t"))
    found = what_if(judged).filter(level="3")
    assert found["saving"].to_list() == pytest.approx([9 * 1.26 - 8.5, 150.0])
    assert found["saving_energy"].to_list() == [None, pytest.approx(150.0)]
    assert found["output_needed"].is_null().to_list() == [True, False]


