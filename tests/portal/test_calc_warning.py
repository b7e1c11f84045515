"""`tcewatch calc warning|forecast|whatif` on files."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from portal.cli.calc import app

HERE = {"budgets": "b.csv", "actuals": "a.csv", "out": "o.csv"}


@pytest.fixture(autouse=True)
def _away_from_any_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)


def calc(*arguments: str) -> str:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False, standalone_mode=False).output


def warned(budgets: str, actuals: str, on: str = "2025-12-31") -> pl.DataFrame:
    Path("b.csv").write_text(budgets, encoding="utf-8")
    Path("a.csv").write_text(actuals, encoding="utf-8")
    calc("warning", "--budgets", "b.csv", "--actuals", "a.csv", "--on", on, "--out", "o.csv")
    return pl.read_csv("o.csv", schema_overrides={"subject": pl.String, "period": pl.String})


def problems(budgets: str, actuals: str) -> list[str]:
    with pytest.raises(BadInputError) as error:
        warned(budgets, actuals)
    assert not Path("o.csv").exists()
    return [str(problem) for problem in error.value.problems]


def test_a_table_of_goals_comes_out_with_gap_colour_and_source_and_brings_its_own_columns_along() -> None:
    found = warned(
        "\ufeffsubject,measure,kind,period,target,note\nP,energy,ceiling,2025,1000,a letter\nP,coal,floor,2025,100,\n",
        "subject,measure,period,actual\nP,energy,2025,1105\nP,coal,2025,95\n",
    )
    assert found.select("subject", "measure", "actual", "target", "colour", "note").rows() == [
        ("P", "energy", 1105.0, 1000.0, "red", "a letter"), ("P", "coal", 95.0, 100.0, "yellow", None),
    ]
    assert found["gap_ratio"].to_list() == pytest.approx([0.105, 0.05])
    assert found["source"].str.contains("901号", literal=True).all()


def test_a_goal_without_a_figure_is_a_row_that_says_so() -> None:
    found = warned("subject,measure,kind,period,target\nP,energy,ceiling,2025,1000\n", "subject,measure,period,actual\nQ,energy,2025,1\n")
    assert found.select("colour", "missing").row(0) == (None, "no figure of energy in 2025")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    told = problems(
        "subject,measure,kind,period,target,shares\nP,energy,roof,2025,1000,\nP,energy,reduction_ratio,2025,3,\nP,water,ceiling,2025,x,1;1\n"
        "P,heat,ceiling,2025,1,\nP,heat,ceiling,2025,2,\n",
        "subject,measure,period,actual,per\nP,energy,25-1,1,0\nP,heat,2025,1,\nP,heat,2025,1,\n",
    )
    assert [line.split(":")[0] for line in told] == [
        "b.csv row 2 column kind", "b.csv row 4 column target", "a.csv row 2 column period", "a.csv row 2 column per",
        "b.csv row 6 column period", "a.csv row 4 column period", "b.csv row 3 column target", "b.csv row 4 column shares",
    ]


def test_a_figure_that_can_be_no_reduction_needs_its_base() -> None:
    goals = "subject,measure,kind,period,target\nP,energy,reduction_ratio,2025,0.03\n"
    told = problems(goals, "subject,measure,period,actual\nP,energy,2025,97\n")
    assert told == ["a.csv row 2 column actual: is no reduction, and there is no base. Write 0.03 for 3 %, or give the base"]
    assert warned(goals, "subject,measure,period,actual\nP,energy,2024,100\nP,energy,2025,97\n")["colour"].to_list() == ["green"]
    assert warned(goals, "subject,measure,period,actual\nP,energy,2025,0.02\n")["colour"].to_list() == ["red"]


def test_the_forecast_comes_with_its_months_and_they_add_up() -> None:
    rows = [f"P,energy,{at // 12}-{at % 12 + 1:02d},{100 + at % 12}" for at in range(2022 * 12, 2025 * 12 + 6)]
    Path("a.csv").write_text("\n".join(["subject,measure,period,actual", *rows]), encoding="utf-8")
    calc("forecast", "--actuals", "a.csv", "--on", "2025-07-15", "--out", "f.csv", "--months", "m.csv")
    year, months = pl.read_csv("f.csv"), pl.read_csv("m.csv")
    assert [year["value"].item(), months["value"].sum()] == pytest.approx([1266.0, 1266.0])
    assert months["known"].to_list() == [True] * 6 + [False] * 6


def test_what_brings_a_level_follows_from_the_output_of_calc_limits() -> None:
    made = "enterprise,product,period,energy,energy_unit,output,output_unit\nE,ferrosilicon,2025,2000,tce,1000,t\n"
    Path("p.csv").write_text(made, encoding="utf-8")
    calc("limits", "--products", "p.csv", "--out", "v.csv")
    calc("whatif", "--verdicts", "v.csv", "--out", "w.csv")
    found = pl.read_csv("w.csv").select("level", "saving", "saving_energy", "saving_energy_unit", "output_needed").rows()
    assert found == [
        (3, 150.0, pytest.approx(150.0), "tce", pytest.approx(2000 / 1.85)), (2, 230.0, pytest.approx(230.0), "tce", pytest.approx(2000 / 1.77)),
        (1, 300.0, pytest.approx(300.0), "tce", pytest.approx(2000 / 1.7)),
    ]


@pytest.mark.parametrize("command", ["warning", "forecast", "whatif"])
def test_each_command_prints_its_columns(command: str) -> None:
    assert "--out" in calc(command, "--schema")


@pytest.mark.needs("shared-data")
def test_the_published_changes_of_intensity_of_2020_come_out_within_eight_hundredths_of_a_point(shared_data: Path) -> None:
    """(1 + growth of energy) / (1 + growth of GDP) - 1 for 20 provinces of the communiqué; what is published is rounded."""
    published = pl.read_csv(shared_data / "cn-official-stats" / "nbs_2020_intensity_change.csv")
    assert published.height == 20
    goals = published.select(subject="region", measure=pl.lit("energy_intensity"), kind=pl.lit("reduction_ratio"), period=pl.lit("2020"), target=0.0)
    figures = pl.concat([
        goals.select("subject", "measure", period=pl.lit(year)).with_columns(actual=100 + energy, per=100 + gdp)
        for year, energy, gdp in (("2019", pl.lit(0.0), pl.lit(0.0)), ("2020", published["energy_growth_pct"], published["gdp_real_growth_pct"]))
    ])
    found = warned(goals.write_csv(), figures.write_csv(), "2020-12-31")
    change = -100 * found["reduction_ratio"]
    off = published.select("region", off=(pl.lit(change) - pl.col("published_energy_intensity_change_pct")).abs().round(2))
    assert off["off"].max() == 0.08  # 天津: -3.153 from growths with one decimal, published -3.07
    of_region = dict(zip(found["subject"], change, strict=True))
    assert of_region["内蒙古"] == pytest.approx(6.89, abs=0.005)
