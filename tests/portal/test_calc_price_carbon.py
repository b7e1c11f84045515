"""`tcewatch calc price` and `calc carbon` on files: formats, what is carried through, and bad input."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from portal.cli.calc import app
from tests.portal.table_files import read, write


@pytest.fixture(autouse=True)
def _away_from_any_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)


def calc(*arguments: str | Path, given: str | None = None) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False, input=given)
    return result.output


def problems(*arguments: str | Path) -> list[str]:
    with pytest.raises(BadInputError) as error:
        calc(*arguments)
    return [problem.where for problem in error.value.problems]


BILLED: list[dict[str, Any]] = [
    {"scheme": "by_excess", "billing_period": "2025-03", "excess_ratio": 0.4, "electricity_kwh": 5e6, "catalogue_class": "", "account": "A-1"},
    {"scheme": "by_catalogue_class", "billing_period": "2025", "electricity_kwh": 1e6, "catalogue_class": "淘汰类", "account": "A-2"},
]
USED: list[dict[str, Any]] = [
    {"enterprise": "E", "period": "2025-01", "carrier": "bituminous_coal", "quantity": 100.0, "unit": "t"},
    {"enterprise": "E", "period": "2025-01", "carrier": "electricity", "quantity": 100.0, "unit": "10^4 kWh", "grid_region": "华北电网"},
    {"enterprise": "E", "period": "2025", "process_t": 5.0},
]
VALUED: list[dict[str, Any]] = [{"enterprise": "E", "period": "2025", "value_added_10k_cny": 1000.0, "sector": "cement"}]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "xlsx"])
def test_add_ons_and_emissions_come_out_alike_in_each_format(suffix: str) -> None:
    billed, used, valued = (write(Path(f"{name}.{suffix}"), rows) for name, rows in (("b", BILLED), ("q", USED), ("f", VALUED)))
    calc("price", "--products", billed, "--out", f"p.{suffix}")
    found = read(Path(f"p.{suffix}"))
    assert set(found.columns[: len(BILLED[0])]) == set(BILLED[0])
    assert found.select("account", "step", "addon_cny_per_kwh", "addon_cny").rows() == [
        ("A-1", "up_to_100_percent", 0.1, 500_000.0), ("A-2", "eliminated", 0.3, 300_000.0),
    ]
    calc("carbon", "--quantities", used, "--figures", valued, "--year", "2025", "--out", f"c.{suffix}")
    row = read(Path(f"c.{suffix}")).row(0, named=True)
    # 100 t x 1.9467 + 1 GWh x 0.6361 + 5 t process = 835.77 t; over 10 million yuan 0.83577 t / 10,000 yuan
    assert (row["emissions_t"], row["intensity"], row["level"], str(row["grade"])) == (pytest.approx(835.77), pytest.approx(0.83577), "medium", "3")
    assert str(row["factor_year"]) == "2023"


def test_csv_goes_in_and_out_of_the_standard_streams() -> None:
    billed, used = "scheme,billing_period,excess_ratio\nby_excess,2025,1.5\n", "enterprise,period,carrier,quantity,unit\nE,2025,diesel,1,t\n"
    printed = calc("price", "--products", "-", "--out", "-", given=billed)
    assert printed.splitlines()[1].startswith("by_excess,2025,1.5,above_100_percent,0.3,")
    printed = calc("carbon", "--quantities", "-", "--year", "2025", "--out", "-", given=used)
    assert printed.splitlines()[0].startswith("enterprise,year,emissions_t,fuel_t,")
    assert printed.splitlines()[1].startswith("E,2025,3.0994,")
    assert "intensity" not in printed.splitlines()[0]


def test_a_bill_without_a_period_or_an_incentive_column_is_priced_and_an_empty_incentive_cell_is_not() -> None:
    printed = calc("price", "--products", "-", "--out", "-", given="scheme,excess_ratio,electricity_kwh\nby_excess,0.2,1000\n")
    assert printed.splitlines()[1].startswith("by_excess,0.2,1000.0,up_to_100_percent,0.1,100.0,")
    head, row = "scheme,billing_period,actual,unit,renewable_ratio", "tiered_aluminium,2022,13850,kWh/t,0.2"
    # 200 kWh above 13,650: 10 x 0.01, less 5 points: 0.095
    printed = calc("price", "--products", "-", "--out", "-", given=f"{head}\n{row}\n")
    assert printed.splitlines()[1].startswith("tiered_aluminium,2022,13850.0,kWh/t,0.2,above_13650,0.095,")
    printed = calc("price", "--products", "-", "--out", "-", given=f"{head},incentive_ratio\n{row},\n{row},0.3\n{row},0.2\n")
    assert [line.split(",")[7] for line in printed.splitlines()[1:]] == ["", "0.1", "0.095"]


def test_the_output_of_limits_is_priced_by_its_excess_and_an_open_verdict_is_not() -> None:
    made = [{"enterprise": "E", "product": "calcium_carbide", "period": "2025", "value": value, "unit": "kgce/t", "covered_ratio": covered}
            for value, covered in ((1034.0, 1.0), (1034.0, 0.5), (900.0, 1.0))]
    calc("limits", "--products", write(Path("m.csv"), made), "--out", "v.csv")
    write(Path("b.csv"), pl.read_csv("v.csv").with_columns(scheme=pl.lit("by_excess")).to_dicts())
    calc("price", "--products", "b.csv", "--out", "p.csv")
    # 1,034 against 940 kgce/t: 10 % above
    assert pl.read_csv("p.csv").select("enterprise", "addon_cny_per_kwh").rows() == [("E", 0.1), ("E", None), ("E", 0.0)]


@pytest.mark.parametrize(("command", "words"), [
    ("price", ("scheme", "excess_ratio", "catalogue_class", "grade", "electricity_kwh", "days_unpaid", "renewable_ratio", "billing_period",
               "step", "addon_cny_per_kwh", "addon_cny", "source")),
    ("carbon", ("grid_region", "process_t", "sector", "emissions_t", "factor_year", "source", "intensity", "level", "grade")),
])
def test_the_schema_names_what_the_contract_names(command: str, words: tuple[str, ...]) -> None:
    printed = calc(command, "--schema")
    assert all(f"  {word} " in printed for word in words)


def test_every_wrong_cell_of_a_bill_is_told_and_nothing_is_written() -> None:
    rows: list[dict[str, Any]] = [
        {"scheme": "by_exces", "billing_period": "2025"}, {"scheme": "by_excess", "billing_period": "2025-13"},
        {"scheme": "by_excess", "period_start": "2025-02-01"},
        {"scheme": "by_catalogue_class", "billing_period": "2025", "catalogue_class": "none"},
        {"scheme": "tiered_aluminium", "billing_period": "2025", "actual": 13_700.0},
        {"scheme": "by_excess", "billing_period": "2025", "renewable_ratio": 15.0, "electricity_kwh": -1.0},
        {"scheme": "by_excess", "period_start": "2025-02-01", "period_end": "2025-01-31"},
    ]
    assert sorted(problems("price", "--products", write(Path("b.csv"), rows), "--out", "p.csv")) == [
        "b.csv row 2 column scheme", "b.csv row 3 column billing_period", "b.csv row 4 column period_end", "b.csv row 5 column catalogue_class",
        "b.csv row 6 column unit", "b.csv row 7 column electricity_kwh", "b.csv row 7 column renewable_ratio", "b.csv row 8 column period_end",
    ]
    assert not Path("p.csv").exists()


def test_every_wrong_cell_of_quantities_is_told_and_rows_of_other_years_are_named() -> None:
    base = {"enterprise": "E", "period": "2025", "carrier": "electricity", "quantity": 1.0, "unit": "kWh"}
    rows: list[dict[str, Any]] = [
        base | {"carrier": "moonlight"}, base | {"unit": "t"}, base | {"unit": None}, base | {"grid_region": "mars"},
        base | {"carrier": None}, base | {"renewable_ratio": 40.0}, base | {"flow": "lost"},
    ]
    assert sorted(problems("carbon", "--quantities", write(Path("q.csv"), rows), "--year", "2025", "--out", "c.csv")) == [
        "q.csv row 2 column carrier", "q.csv row 3 column unit", "q.csv row 4 column unit", "q.csv row 5 column grid_region",
        "q.csv row 6 column carrier", "q.csv row 7 column renewable_ratio", "q.csv row 8 column flow",
    ]
    assert not Path("c.csv").exists()
    told = calc("carbon", "--quantities", write(Path("q.csv"), [base, base | {"period": "2024"}]), "--year", "2025", "--out", "c.csv")
    assert "1 rows of other years than 2025 are in no sum" in told


def test_a_carrier_that_only_the_factors_name_may_be_given_for_planning() -> None:
    write(Path("q.csv"), [{"enterprise": "E", "period": "2025", "carrier": "coal_planning", "quantity": 10.0, "unit": "tce"}])
    calc("carbon", "--quantities", "q.csv", "--year", "2025", "--out", "c.csv")
    assert pl.read_csv("c.csv")["emissions_t"].to_list() == [pytest.approx(26.6)]
