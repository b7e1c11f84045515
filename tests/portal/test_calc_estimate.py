"""`tcewatch calc estimate` on files."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from portal.cli.calc import app

MONDAY = datetime(2025, 3, 2, 16, tzinfo=UTC)  # 00:00 of 3 March in Shanghai
HOUR = timedelta(hours=1)
GAP = 50 * 24 + 6


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty days of two meters; the first lacks five hours of one of them."""
    monkeypatch.chdir(tmp_path)
    lines = ["meter,start,end,quantity,unit,shop"]
    for meter, factor in (("E-1", 1.0), ("E-2", 4.0)):
        for place in range(60 * 24):
            if meter == "E-1" and GAP <= place < GAP + 5:
                continue
            quantity = factor * (100 + 50 * math.sin(place) + 20 * (place % 24 > 8))
            start = MONDAY + HOUR * place
            lines.append(f"{meter},{start.isoformat()},{(start + HOUR).isoformat()},{quantity},kWh,red")
    Path("i.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def calc(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["estimate", "--intervals", "i.csv", *arguments])
    if isinstance(result.exception, BadInputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def problems(*arguments: str) -> list[str]:
    with pytest.raises(BadInputError) as error:
        calc("--out", "o.csv", *arguments)
    assert not Path("o.csv").exists()
    return [str(problem) for problem in error.value.problems]


def put(name: str, *lines: str) -> str:
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


def test_without_windows_the_gaps_of_the_file_are_estimated() -> None:
    assert calc("--out", "o.csv").startswith("1 windows, 1 spans to estimate")
    row = pl.read_csv("o.csv").row(0, named=True)
    assert (row["meter"], row["start"], row["unit"], row["shop"]) == ("E-1", "2025-04-22T06:00:00+08:00", "kWh", "red")
    assert row["low"] <= row["quantity"] <= row["high"]
    assert row["back_tests"] >= 39
    assert row["total_measured"] is False


def test_the_ends_of_the_readings_are_estimated_only_if_a_window_names_them() -> None:
    put("r.csv", "meter,read_at,value", *(f"E-1,2025-04-01T{hour:02}:20:00+08:00,{hour}" for hour in (6, 7, 8, 11, 12)))
    put("g.csv", "meter,medium,unit,kind", "E-1,electricity,kWh,interval")
    made = CliRunner().invoke(app, ["intervals", "--readings", "r.csv", "--registers", "g.csv", "--by", "hour", "--out", "i.csv"])
    assert made.exit_code == 0, made.output
    calc("--method", "linear", "--out", "o.csv")
    assert pl.read_csv("o.csv").select(pl.col("start", "end").str.slice(11, 5)).rows() == [("08:00", "11:00")]
    windows = put("w.csv", "meter,start,end", "E-1,2025-04-01T12:00:00,2025-04-01T13:00:00")
    calc("--method", "linear", "--windows", windows, "--out", "o.csv")
    assert pl.read_csv("o.csv").select(pl.col("start", "end").str.slice(11, 5)).rows() == [("12:00", "13:00")]


def test_a_value_below_zero_is_taken_only_of_a_register_that_runs_backwards_too() -> None:
    windows = put("w.csv", "meter,start,end,quantity,low,high", "E-1,2025-04-22T06:00,2025-04-22T11:00,-5,-9,-1")
    what = "it is below 0, and no hour of the register is. Only a register that runs backwards too can have a negative consumption"
    assert problems("--windows", windows) == [f"w.csv row 2 column quantity: {what}"]
    put("w.csv", "meter,start,end,quantity,low,high", "E-1,2025-04-22T06:00,2025-04-22T11:00,0,-9,1")
    assert problems("--windows", windows) == [f"w.csv row 2 column low: {what}"]
    put("w.csv", "meter,start,end,quantity,low,high", "E-1,2025-04-22T06:00,2025-04-22T11:00,-5,-9,-1")
    with Path("i.csv").open("a", encoding="utf-8") as file:
        file.write("E-1,2025-05-02T00:00+08:00,2025-05-02T01:00+08:00,-0.5,kWh,red\n")
    calc("--windows", windows, "--out", "o.csv")
    assert pl.read_csv("o.csv").row(0, named=True)["quantity"] == -5.0


def test_a_linked_meter_gives_its_share_and_the_filled_hours_are_input_of_the_next_command() -> None:
    links = put("l.csv", "meter,linked_meter", "E-1,E-2")
    calc("--linked", links, "--out", "o.csv", "--filled", "f.parquet")
    row = pl.read_csv("o.csv").row(0, named=True)
    assert (row["method"], row["reason"].partition(",")[0]) == ("linked", "0.25 times register E-2 / main")
    filled = pl.read_parquet("f.parquet")
    one, two = filled.filter(meter="E-1"), filled.filter(meter="E-2")
    assert (one["quantity"] * 4).to_list() == pytest.approx(two["quantity"].to_list())
    assert one["quality"].value_counts().sort("count").rows() == [("estimated", 5), ("measured", 1435)]
    put("a.csv", "enterprise,meter,carrier", "X,E-1,electricity", "X,E-2,electricity")
    done = CliRunner().invoke(app, ["quantities", "--intervals", "f.parquet", "--assignments", "a.csv", "--out", "q.csv", "--by", "year"])
    assert done.exit_code == 0, done.output
    assert pl.read_csv("q.csv")["quantity"][0] == pytest.approx(filled["quantity"].sum())


def test_a_persons_value_is_manual_with_its_bounds() -> None:
    windows = put("w.csv", "meter,start,end,quantity,low,high,reason", "E-1,2025-04-22T06:00,2025-04-22T11:00,500,450,600,shift log")
    calc("--windows", windows, "--out", "o.csv")
    row = pl.read_csv("o.csv").row(0, named=True)
    assert (row["quantity"], row["low"], row["high"], row["method"]) == (500.0, 450.0, 600.0, "manual")
    assert row["reason"] == "given by a person: shift log"


def test_a_window_that_is_measured_whole_gives_no_row() -> None:
    windows = put("w.csv", "meter,start,end", "E-2,2025-04-22T06:00,2025-04-22T11:00")
    assert calc("--windows", windows, "--out", "o.csv").startswith("1 windows, 0 spans to estimate")
    assert pl.read_csv("o.csv").is_empty()


def test_a_window_without_a_value_is_told() -> None:
    windows = put("w.csv", "meter,start,end", "E-1,2026-01-01,2026-01-02T00:00")
    assert "start" in problems("--windows", windows)[0]  # a window starts at an instant
    put("w.csv", "meter,start,end", "E-1,2026-01-01T00:00,2026-01-02T00:00")
    assert "1 of them without a value (column reason says why)" in calc("--windows", windows, "--out", "o.csv")
    assert pl.read_csv("o.csv").select("quantity", "method", "reason").row(0) == (None, None, "no method has anything to go by")


def test_the_holidays_of_china_count_in_its_own_zone_only() -> None:
    """2 May 2025, a Friday, is a holiday by notice."""
    windows = put("w.csv", "meter,start,end", "E-1,2025-05-02T12:00,2025-05-02T13:00")
    calc("--windows", windows, "--method", "like_days", "--out", "o.csv")
    calc("--windows", windows, "--method", "like_days", "--zone", "Asia/Seoul", "--out", "seoul.csv")
    used = [pl.read_csv(name)["reason"][0].partition("hours of ")[2].partition(" ")[0] for name in ("o.csv", "seoul.csv")]
    assert int(used[0]) < int(used[1])


def test_all_that_is_wrong_with_windows_and_links_is_told_at_once() -> None:
    windows = put(
        "w.csv", "meter,start,end,quantity,low,high", "E-9,2025-04-22T06:00,2025-04-22T07:00,1,,", "E-1,2025-04-22T08:00,2025-04-22T08:00,1,,",
        "E-1,2025-04-22T06:00,2025-04-22T09:00,1,2,3", "E-1,2025-04-22T10:00,2025-04-22T11:00,,2,",
    )
    links = put("l.csv", "meter,linked_meter", "E-1,E-1", "E-1,E-7")
    assert problems("--windows", windows, "--linked", links) == [
        "w.csv row 2 column meter: the intervals have no register E-9 / main. Add its hours to the intervals",
        "l.csv row 3 column linked_meter: the intervals have no register E-7 / main. Add its hours to the intervals",
        "w.csv row 3 column end: it is not after start. A window goes from start to end",
        "w.csv row 3 column start: the window overlaps one before it. Give each time once",
        "w.csv row 4 column low: it is above the value. Write low <= quantity <= high",
        "w.csv row 5 column quantity: the cell is empty. Write the value for what is not covered in the window",
        "l.csv row 3: the register has a row before. Link each register to one other",
        "l.csv row 2: it is linked to itself. Name another meter",
    ]


@pytest.mark.parametrize(("method", "needed"), [("manual", "Give --windows with a column quantity"), ("linked", "Give --linked")])
def test_a_method_without_what_it_needs_is_refused(method: str, needed: str) -> None:
    assert needed in problems("--method", method)[0]


def test_rows_that_are_no_hours_are_refused() -> None:
    put("i.csv", "meter,start,end,quantity,unit", "E-1,2025-03-01T00:00,2025-03-02T00:00,5,kWh", "E-1,2025-03-02T00:00,2025-03-02T01:00,5,MWh",
        "E-1,2025-03-02T00:00,2025-03-02T01:00,5,kWh")
    told = problems()
    assert told[0] == "i.csv row 2 column end: the row is not an hour. Write the intervals with `calc intervals --by hour`"
    assert [problem.partition(":")[0] for problem in told[1:]] == ["i.csv row 3 column start", "i.csv row 4 column start", "i.csv row 3 column unit"]


def test_an_empty_file_gives_empty_ones() -> None:
    put("i.csv", "meter,start,end,quantity,unit")
    calc("--out", "o.csv", "--filled", "f.csv")
    assert pl.read_csv("o.csv").is_empty()
    assert pl.read_csv("f.csv").is_empty()
