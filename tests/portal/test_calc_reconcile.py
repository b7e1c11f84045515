"""`tcewatch calc reconcile|heating-value` on files, and what `calc energy` makes of their output."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from config.schemas import RECONCILIATION, STOCK_BALANCE
from portal.cli import calc_reconcile
from portal.cli.calc import app

DAY = {"enterprise": "E", "carrier": "raw_coal", "unit": "t"}
USED = [DAY | {"period": f"2025-03-{day:02}", "quantity": float(day)} for day in range(1, 32)]  # 496 t
COAL = {"enterprise": "E", "carrier": "raw_coal"}
BATCHES = [
    COAL | {"batch": "A", "first_day": "2025-03-01", "last_day": "2025-03-10", "lhv": 29.3076, "lhv_unit": "GJ/t"},
    COAL | {"batch": "B", "first_day": "2025-03-11", "last_day": "2025-03-31", "lhv": 14653.8, "lhv_unit": "kJ/kg"},
]
STOCK = [
    DAY | {"kind": "stock_taking", "flow": "opening_stock", "period": "2025-03-01", "quantity": 100.0},
    DAY | {"kind": "receipt", "flow": None, "period": "2025-03-15", "quantity": 500.0},
    DAY | {"kind": "stock_taking", "flow": "closing_stock", "period": "2025-03-31", "quantity": 94.0},
]


@pytest.fixture(autouse=True)
def _away_from_any_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)


def calc(*arguments: str) -> str:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False, standalone_mode=False).output


def problems(*arguments: str) -> list[str]:
    with pytest.raises(BadInputError) as error:
        calc(*arguments)
    return [str(problem) for problem in error.value.problems]


def write(name: str, rows: list[dict[str, Any]]) -> str:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    frame.write_excel(name) if name.endswith("xlsx") else frame.write_parquet(name) if name.endswith("parquet") else frame.write_csv(name)
    return name


@pytest.mark.parametrize("suffix", ["csv", "parquet", "xlsx"])
def test_heating_values_weighted_by_day_go_into_energy(suffix: str) -> None:
    # A on the days with 1 + ... + 10 = 55 t at 1 kgce/kg, B on the other 441 t at 0.5: 55 + 220.5 = 275.5 tce.
    calc("heating-value", "--quantities", write(f"q.{suffix}", USED), "--batches", write(f"b.{suffix}", BATCHES), "--out", f"h.{suffix}")
    calc("energy", "--quantities", f"h.{suffix}", "--out", "e.csv")
    [row] = pl.read_csv("e.csv").to_dicts()
    assert (row["period"], row["quantity"], row["covered_ratio"]) == ("2025-03", 496.0, 1.0)
    assert row["lhv"] == pytest.approx((55 * 29_307.6 + 441 * 14_653.8) / 496)
    assert row["calorific_tce"] == pytest.approx(275.5)
    assert row["calorific_source"].startswith("measured (laboratory, by batch), 2 batches: A, B: ")
    calc("energy", "--quantities", f"h.{suffix}", "--sum", "enterprise,period", "--out", "s.csv")
    assert pl.read_csv("s.csv")["calorific_tce"].item() == pytest.approx(275.5)


def test_by_day_the_days_stay_and_those_without_a_batch_say_so() -> None:
    calc("heating-value", "--quantities", write("q.csv", USED), "--batches", write("b.csv", BATCHES[:1]), "--by", "day", "--out", "h.csv")
    found = pl.read_csv("h.csv")
    assert found.height == 31
    assert found["lhv"].null_count() == 21
    assert found["lhv_missing"][10] == "no heating value on 2025-03-11"
    calc("energy", "--quantities", "h.csv", "--out", "e.csv")
    energy = pl.read_csv("e.csv")
    assert energy["calorific_tce"].sum() == pytest.approx(55 + 441 * 0.7143)
    assert energy["missing"][10] == "raw_coal: no heating value on 2025-03-11; the coefficient is taken for these days"


def test_reported_figures_are_compared_and_what_counts_goes_into_energy() -> None:
    said = calc("reconcile", "--quantities", write("q.csv", USED), "--figures", write("f.csv", STOCK), "--batches", write("b.csv", BATCHES),
                "--stock", "s.csv", "--counted", "c.csv", "--out", "-")
    assert said.splitlines()[0].startswith("enterprise,carrier,flow,period,kind,unit,figure_quantity")
    stocks = pl.read_csv("s.csv").sort("period")
    # 100 + 500 - 496 = 104 in the book, 94 found: 10 t.
    assert stocks["stock_difference"].drop_nulls().to_list() == [pytest.approx(10.0)]
    assert stocks.select(pl.col("residual").abs().max()).item() < 1e-9
    counted = pl.read_csv("c.csv")
    assert dict(counted.group_by("flow").agg(pl.col("quantity").sum()).iter_rows()) == {"consumed": 496.0, "stock_difference": pytest.approx(10.0)}
    calc("energy", "--quantities", "c.csv", "--sum", "enterprise,period", "--out", "e.csv")
    assert pl.read_csv("e.csv")["calorific_tce"].item() == pytest.approx(275.5 * 506 / 496)


def test_quantities_by_month_are_compared_as_a_whole() -> None:
    months = [DAY | {"period": "2025-03", "quantity": 496.0}]
    bills = [DAY | {"kind": "bill", "period": "2025-03", "quantity": 500.0, "document": "1"}]
    calc("reconcile", "--quantities", write("q.csv", months), "--figures", write("f.csv", bills), "--batches", write("b.csv", BATCHES),
         "--counted", "c.csv", "--out", "r.csv")
    [row] = pl.read_csv("r.csv").to_dicts()
    assert (row["within"], row["counts"], row["difference"]) == (True, "metered", pytest.approx(-4.0))
    # Without days the month is spread evenly: 10 days of A and 21 of B.
    assert pl.read_csv("c.csv")["lhv"].to_list() == [pytest.approx((10 * 29_307.6 + 21 * 14_653.8) / 31)]


def test_every_problem_of_all_files_is_told_at_once() -> None:
    quantities = [USED[0], USED[1] | {"period": "2025-03"}, USED[2] | {"period": "2025"}]
    figures = [
        DAY | {"kind": "bill", "period": "2025-03", "first_day": "2025-03-01", "last_day": "2025-03-31", "quantity": 1.0, "flow": "consumed"},
        DAY | {"kind": "bill", "period": None, "first_day": "2025-03-09", "last_day": "2025-03-01", "quantity": -1.0, "flow": "closing_stock"},
    ]
    batches = [
        BATCHES[0] | {"basis": "dry", "moisture_ratio": None}, BATCHES[0] | {"lhv_unit": "Btu/lb", "basis": "dry", "moisture_ratio": 8.0},
    ]
    told = problems("reconcile", "--quantities", write("q.csv", quantities), "--figures", write("f.csv", figures), "--batches",
                    write("b.csv", batches), "--out", "r.csv")
    assert [line.partition(":")[0] for line in told] == [
        "f.csv row 3 column quantity", "q.csv row 4 column period", "q.csv row 3 column period", "f.csv row 2 column period",
        "f.csv row 3 column last_day", "f.csv row 3 column flow", "b.csv row 3 column lhv_unit", "b.csv row 2 column moisture_ratio",
        "b.csv row 3 column batch", "b.csv row 3 column moisture_ratio",
    ]
    assert not Path("r.csv").exists()


@pytest.mark.parametrize("again", [
    {"period": None, "first_day": "2025-03-01", "last_day": "2025-03-31"}, {"flow": "consumed"}, {},
])
def test_a_bill_that_is_written_twice_in_two_ways_is_not_counted_twice(again: dict[str, Any]) -> None:
    bill = DAY | {"kind": "bill", "flow": None, "period": "2025-03", "first_day": None, "last_day": None, "quantity": 100.0}
    told = problems("reconcile", "--quantities", write("q.csv", USED), "--figures", write("f.csv", [bill, bill | again]), "--out", "r.csv")
    assert told == ["f.csv row 3 column document: the same figure stands there twice. Keep one of them, or give each its document"]


def test_a_figure_or_batch_of_more_than_a_year_has_a_wrong_year() -> None:
    bill = DAY | {"kind": "bill", "first_day": "2025-03-01", "last_day": "2205-03-31", "quantity": 100.0}
    told = problems("reconcile", "--quantities", write("q.csv", USED), "--figures", write("f.csv", [bill]), "--batches",
                    write("b.csv", [BATCHES[0] | {"last_day": "2026-03-02"}]), "--out", "r.csv")
    assert [line.partition(" Mend")[0] for line in told] == [
        f"{name} row 2 column last_day: is more than 366 days from first_day." for name in ("f.csv", "b.csv")
    ]
    calc("reconcile", "--quantities", "q.csv", "--figures", write("f.csv", [bill | {"last_day": "2026-03-01"}]), "--out", "r.csv")


def test_heating_values_need_days_and_leave_a_given_value_alone() -> None:
    quantities = write("q.csv", [DAY | {"period": "2025-03", "quantity": 1.0, "lhv": 20_000.0, "lhv_unit": "kJ/kg"}])
    told = problems("heating-value", "--quantities", quantities, "--batches", write("b.csv", BATCHES), "--out", "h.csv")
    assert [line.partition(":")[0] for line in told] == ["q.csv row 2 column lhv", "q.csv row 2 column period"]


@pytest.mark.parametrize("command", ["reconcile", "heating-value"])
def test_the_schema_names_the_columns(command: str) -> None:
    assert "moisture_ratio" in calc(command, "--schema")


def test_the_schema_names_every_column_of_the_outputs() -> None:
    assert [column.name for column in calc_reconcile.RECONCILED] == RECONCILIATION.names()
    assert [column.name for column in calc_reconcile.STOCK] == STOCK_BALANCE.names()


def test_files_without_rows_give_files_without_rows() -> None:
    Path("q.csv").write_text("enterprise,period,carrier,quantity,unit\n")
    Path("f.csv").write_text("enterprise,carrier,kind,period,quantity,unit\n")
    Path("b.csv").write_text("enterprise,carrier,batch,first_day,last_day,lhv,lhv_unit\n")
    calc("reconcile", "--quantities", "q.csv", "--figures", "f.csv", "--batches", "b.csv", "--stock", "s.csv", "--counted", "c.csv", "--out", "r.csv")
    calc("heating-value", "--quantities", "q.csv", "--batches", "b.csv", "--out", "h.csv")
    assert [pl.read_csv(name).height for name in ("r.csv", "s.csv", "c.csv", "h.csv")] == [0, 0, 0, 0]
