"""`tcewatch calc rollup` on files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from portal.cli import calc_rollup
from portal.cli.calc import app

ROWS = """meter,register,start,end,quantity,unit,quality,covered_ratio,estimated_ratio,workshop
E-1,main,2026-01-01T00:00:00+08:00,2026-01-01T01:00:00+08:00,2,kWh,measured,1,0,red
E-1,main,2026-01-01T01:00:00+08:00,2026-01-01T02:00:00+08:00,4,kWh,estimated,0.5,1,red
E-1,main,2026-01-02T00:00:00+08:00,2026-01-02T01:00:00+08:00,8,kWh,measured,1,0,red
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("h.csv").write_text(ROWS, encoding="utf-8")


def calc(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["rollup", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def problems(given: str, *more: str) -> list[str]:
    with pytest.raises(BadInputError) as error:
        calc("--intervals", given, "--by", "day", "--out", "o.csv", *more)
    assert not Path("o.csv").exists()
    return [str(problem) for problem in error.value.problems]


def typed(rows: str = ROWS) -> pl.DataFrame:
    """The rows with the types that `calc intervals` writes to Parquet."""
    Path("typed.csv").write_text(rows, encoding="utf-8")
    return pl.read_csv("typed.csv").with_columns(
        *(pl.col(name).str.to_datetime(time_zone="UTC", time_unit="us") for name in ("start", "end")),
        *(pl.col(name).cast(pl.Float64) for name in ("quantity", "covered_ratio", "estimated_ratio")),
    )


def test_hours_become_days_with_the_columns_of_the_contract_and_what_else_is_said_of_a_register() -> None:
    code, said = calc("--intervals", "h.csv", "--by", "day", "--out", "o.csv")
    assert (code, said) == (0, "2 rows of 1 registers\n")
    assert Path("o.csv").read_text(encoding="utf-8").splitlines() == [
        "meter,register,start,end,quantity,unit,quality,covered_ratio,estimated_ratio,workshop",
        "E-1,main,2026-01-01T00:00:00+08:00,2026-01-02T00:00:00+08:00,6.0,kWh,estimated,0.0625,0.3333333333333333,red",
        "E-1,main,2026-01-02T00:00:00+08:00,2026-01-03T00:00:00+08:00,8.0,kWh,measured,0.041666666666666664,0.0,red",
    ]


@pytest.mark.parametrize("given", ["hours", "hours/*.parquet", "hours/**/*.parquet"])
def test_a_folder_or_pattern_of_parquet_files_is_one_table(given: str) -> None:
    Path("hours/2026").mkdir(parents=True)
    frame = typed()
    into = "hours/" if given == "hours/*.parquet" else "hours/2026/"
    frame.head(1).write_parquet(f"{into}b.parquet")  # a day divided between files, and one register's names in another order
    frame[1:].select(reversed(frame.columns)).with_columns(pl.col("quality").cast(pl.Categorical)).write_parquet(f"{into}a.parquet")
    calc("--intervals", given, "--by", "day", "--out", "o.csv")
    assert pl.read_csv("o.csv")["quantity"].to_list() == [6.0, 8.0]
    calc("--intervals", given, "--by", "month", "--out", "o.parquet")
    assert pl.read_parquet("o.parquet").select("quantity", "quality", "unit", "workshop").rows() == [(14.0, "estimated", "kWh", "red")]


def test_the_output_is_input_again() -> None:
    calc("--intervals", "h.csv", "--by", "day", "--out", "days.parquet")
    calc("--intervals", "days.parquet", "--by", "year", "--out", "o.csv")
    calc("--intervals", "h.csv", "--by", "year", "--out", "direct.csv")
    assert Path("o.csv").read_text(encoding="utf-8") == Path("direct.csv").read_text(encoding="utf-8")


def test_columns_left_out_mean_that_all_is_covered_and_measured() -> None:
    typed().drop("quality", "covered_ratio", "estimated_ratio", "register").write_parquet("h.parquet")
    calc("--intervals", "h.parquet", "--by", "day", "--out", "o.csv")
    assert pl.read_csv("o.csv").select("register", "quality", "covered_ratio").row(0) == ("main", "measured", 2 / 24)


def test_much_is_added_up_month_by_month_to_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = datetime(2025, 12, 30, 16, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)
    start = pl.datetime_range(first, last, "1h", eager=True, time_zone="UTC", time_unit="us")
    rows = pl.DataFrame({"start": start}).join(pl.DataFrame({"meter": ["b", "a"]}), how="cross").with_columns(
        end=pl.col("start") + timedelta(hours=1), quantity=pl.col("start").dt.day().cast(pl.Float64), unit=pl.lit("kWh"), register=pl.lit("main"),
    )
    rows.write_parquet("h.parquet")
    for by in ("day", "month", "year"):
        calc("--intervals", "h.parquet", "--by", by, "--out", "whole.parquet")
        monkeypatch.setattr(calc_rollup, "AT_ONCE", 1000)
        calc("--intervals", "h.parquet", "--by", by, "--out", "parts.parquet")
        monkeypatch.setattr(calc_rollup, "AT_ONCE", 20_000_000)
        whole, parts = pl.read_parquet("whole.parquet"), pl.read_parquet("parts.parquet")
        assert whole.equals(parts.sort("meter", "start")), by
        assert whole.equals(whole.sort("meter", "start"))


def test_hours_of_a_half_hour_zone_do_not_fit_into_the_days_of_another() -> None:
    Path("h.csv").write_text(ROWS.replace("+08:00", "+05:30"), encoding="utf-8")
    calc("--intervals", "h.csv", "--by", "day", "--zone", "Asia/Kolkata", "--out", "o.parquet")
    Path("d.csv").write_text("meter,start,end,quantity,unit\nE-1,2026-01-01T23:30:00+08:00,2026-01-02T00:30:00+08:00,1,kWh\n", encoding="utf-8")
    told = problems("d.csv")
    assert len(told) == 1
    assert told[0].startswith("E-1 / main at 2026-01-01 15:30:00+00:00: it ends after the local day in which it starts. Write them with `calc inter")


@pytest.mark.parametrize("into", ["h.csv", "h.parquet"])
def test_a_row_that_is_there_twice_or_overlaps_is_refused(into: str) -> None:
    def put(frame: pl.DataFrame) -> str:
        if into.endswith("csv"):
            frame.with_columns(pl.col("start", "end").dt.to_string("%Y-%m-%dT%H:%M:%SZ")).write_csv(into)
        else:
            frame.write_parquet(into)
        return into

    frame = typed()
    told = problems(put(pl.concat([frame, frame.head(1)])))
    assert told == ["E-1 / main at 2025-12-31 16:00:00+00:00: the row is there twice. Keep one of the rows"]
    calc("--intervals", put(frame), "--by", "day", "--out", "days.parquet")
    both = pl.concat([pl.read_parquet("days.parquet").with_columns(covered_ratio=1.0), typed()[1:2]], how="diagonal_relaxed")
    assert "more is covered than the day is long" in problems(put(both))[0]


@pytest.mark.parametrize(("change", "told"), [
    ({"unit": pl.Series(["kWh", "MWh", "kWh"])}, ["E-1 / main: its unit is 'MWh' and 'kWh'. Write one unit for a register"]),
    ({"quantity": pl.Series([1.0, float("nan"), None])}, ["h.parquet row 2 column quantity: 'nan' is no number", "h.parquet row 3 column quantity"]),
    ({"end": pl.col("start")}, ["h.parquet row 1 column end: is not after the start", "h.parquet row 2", "h.parquet row 3"]),
    ({"covered_ratio": pl.lit(-0.1)}, ["h.parquet row 1 column covered_ratio: '-0.1' is too small", "h.parquet row 2", "h.parquet row 3"]),
    ({"quality": pl.lit("fine")}, ["h.parquet row 1 column quality: 'fine' is not known", "h.parquet row 2", "h.parquet row 3"]),
    ({"meter": pl.lit(None, pl.String)}, ["h.parquet row 1 column meter: the cell is empty", "h.parquet row 2", "h.parquet row 3"]),
    ({"start": pl.lit(datetime(1800, 1, 1, tzinfo=UTC))}, ["h.parquet row 1 column start: ", "h.parquet row 2", "h.parquet row 3"]),
])
def test_all_that_is_wrong_with_parquet_is_told_by_row_and_column(change: dict[str, pl.Expr], told: list[str]) -> None:
    typed().with_columns(**change).write_parquet("h.parquet")
    found = problems("h.parquet")
    assert [line[:len(start)] for line, start in zip(found, told, strict=True)] == told


def test_an_empty_folder_a_missing_file_and_files_that_do_not_go_together_are_told() -> None:
    Path("hours").mkdir()
    assert "there is no such file" in problems("hours")[0]
    assert "there is no such file" in problems("no/*.parquet")[0]
    assert "there is no such file" in problems("no.parquet")[0]
    typed().write_parquet("hours/a.parquet")
    typed().with_columns(enterprise=pl.lit("X")).write_parquet("hours/b.parquet")
    assert problems("hours") == ["hours/a.parquet column enterprise: the column is missing, other files have it. Give it in all files or in none"]


def test_no_rows_give_no_rows() -> None:
    Path("h.csv").write_text(ROWS.splitlines()[0] + "\n", encoding="utf-8")
    typed().clear().write_parquet("h.parquet")
    for given in ("h.csv", "h.parquet"):
        calc("--intervals", given, "--by", "day", "--out", "o.csv")
        assert pl.read_csv("o.csv").height == 0
