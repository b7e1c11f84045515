"""Tables in files: what is read, what is refused and how, what is written."""

import gzip
import io
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import zstandard

from config.errors import BadInputError, Problem
from portal.cli.files import LISTED_PER_COLUMN, SUFFIXES, Column, Table, check_output, read_table, read_tables, show_schema, write_table

COLUMNS = (
    Column("meter", "text", "id of the meter"),
    Column("read_at", "instant", "when"),
    Column("value", "number", "what it showed", unit="kWh"),
    Column("register", "text", "which one", required=False, default="main"),
    Column("multiplier", "number", "CT ratio", required=False, default=1.0, above=0.0),
    Column("resolution", "number", "smallest step", required=False, low=0.0),
    Column("net", "flag", "may run backwards", required=False),
    Column("valid_from", "day or instant", "from when", required=False),
    Column("on", "day", "a day", required=False),
    Column("period", "period", "a period", required=False),
    Column("kind", "text", "what it says", required=False, allowed=("interval", "rate")),
)
GOOD = "meter,read_at,value\nE-1,2026-01-01T00:00:00+08:00,1.5\n"


def put(folder: Path, content: str | bytes, name: str = "t.csv") -> str:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return str(folder / name)


def read(path: str, *, zone: str | None = None, day_zone: str = "UTC") -> Table:
    problems: list[Problem] = []
    table = read_table(path, COLUMNS, problems, zone=zone, day_zone=day_zone)
    assert problems == []
    assert table is not None
    return table


def wrong(path: str, *, zone: str | None = None) -> list[Problem]:
    problems: list[Problem] = []
    read_table(path, COLUMNS, problems, zone=zone)
    assert problems
    assert all(problem.remedy for problem in problems)
    return problems


def wrong_cells(path: str, *, zone: str | None = None) -> list[str]:
    return [problem.where for problem in wrong(path, zone=zone)]


# --- reading ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("packed", [
    ("t.csv", bytes), ("t.csv.gz", gzip.compress), ("t.csv.zst", zstandard.compress), ("t.csv", lambda content: b"\xef\xbb\xbf" + content),
], ids=["plain", "gz", "zst", "with BOM"])
def test_csv_is_read_plain_packed_and_with_a_byte_order_mark(tmp_path: Path, packed: tuple[str, object]) -> None:
    name, pack = packed
    frame = read(put(tmp_path, pack(GOOD.encode()), name)).frame  # type: ignore[operator]
    got = frame.select("meter", "read_at", "value", "register", "multiplier").rows()
    assert got == [("E-1", datetime(2025, 12, 31, 16, tzinfo=UTC), 1.5, "main", 1.0)]


@pytest.mark.parametrize("end", ["\n", "\n\n\n", "\r\n\r\n", ",,\n,,\n", " ,,\n"])
def test_empty_rows_after_the_last_one_are_no_rows(tmp_path: Path, end: str) -> None:
    assert read(put(tmp_path, GOOD + end)).frame.height == 1
    assert wrong_cells(put(tmp_path, GOOD + ",,\n" + GOOD.splitlines()[1] + "\n" + end))[0] == "t.csv row 3 column meter"


def test_zstd_frames_that_follow_each_other_are_all_read(tmp_path: Path) -> None:
    content = zstandard.compress(GOOD.encode()) + zstandard.compress(b"E-2,2026-01-01T00:00:00Z,2\n")
    assert read(put(tmp_path, content, "t.csv.zst")).frame["meter"].to_list() == ["E-1", "E-2"]


def test_standard_input_is_csv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(GOOD.encode())))
    table = read("-")
    assert table.frame.height == 1
    assert table.where(0, "value") == "standard input row 2 column value"


def test_columns_that_nobody_declared_are_carried_along(tmp_path: Path) -> None:
    table = read(put(tmp_path, "remark,meter,read_at,value\n 中 ,E,2026-01-01T00:00:00Z,1\n"))
    assert table.frame["remark"].to_list() == [" 中 "]
    assert table.given == {"remark", "meter", "read_at", "value"}


def test_a_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    assert read(put(tmp_path, "meter,read_at,value\n")).frame.is_empty()


@pytest.mark.parametrize("text", [
    "2026-01-01T00:00:00Z", "2026-01-01T08:00:00+08:00", "2026-01-01 08:00:00+08:00", "2026-01-01T08:00+08:00", "2026-01-01T08:00:00.000+0800",
    " 2026-01-01T00:00:00z ", "2025-12-31T19:00:00-05:00", '"2026-01-01T08:00:00,0+08:00"',
])
def test_a_time_with_an_offset_is_an_instant(tmp_path: Path, text: str) -> None:
    frame = read(put(tmp_path, f"meter,read_at,value\nE,{text},1\nE,2026-01-01T00:00:01Z,2\n")).frame
    assert frame["read_at"][0] == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_time_without_an_offset_needs_a_zone(tmp_path: Path) -> None:
    path = put(tmp_path, "meter,read_at,value\nE,2026-01-01T08:00:00,1\nE,2026-01-01 08:00,1\nE,2026-01-01T00:00:00Z,1\n")
    assert wrong_cells(path) == ["t.csv row 2 column read_at", "t.csv row 3 column read_at"]
    assert read(path, zone="Asia/Shanghai").frame["read_at"].to_list() == [datetime(2026, 1, 1, tzinfo=UTC)] * 3


def test_a_local_time_that_is_not_there_or_there_twice_is_a_problem(tmp_path: Path) -> None:
    path = put(tmp_path, "meter,read_at,value\nE,2026-03-29T02:30:00,1\nE,2026-10-25T02:30:00,1\nE,2026-10-25T03:30:00,1\n")
    assert wrong_cells(path, zone="Europe/Berlin") == ["t.csv row 2 column read_at", "t.csv row 3 column read_at"]


def test_a_bare_day_is_local_midnight_where_a_day_may_stand(tmp_path: Path) -> None:
    path = put(tmp_path, "meter,read_at,value,valid_from\nE,2026-01-01T00:00:00Z,1,2026-01-01\nE,2026-01-01T00:00:00Z,1,2026-01-01T00:00:00Z\n")
    frame = read(path, day_zone="Asia/Shanghai").frame
    assert frame["valid_from"].to_list() == [datetime(2025, 12, 31, 16, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)]
    assert wrong_cells(put(tmp_path, "meter,read_at,value\nE,2026-01-01,1\n")) == ["t.csv row 2 column read_at"]


def test_every_problem_is_listed_with_its_row_and_column(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        "meter,read_at,value,multiplier,resolution,net,on,period,kind\n"
        'E,2026-01-01T00:00:00Z,"1,200",0,-1,maybe,2026-02-30,2026-13,both\n'
        ",yesterday,nan,1,0,yes,2026-02-28,2026-02-28,rate\n"
        "E,2026-01-01T00:00:00Z,inf,0.1,,no,,2026-02,interval\n"
        "E,2026-01-01T00:00:00Z,,,,,,202,\n",
    )
    assert sorted(wrong_cells(path)) == sorted([
        *(f"t.csv row 2 column {name}" for name in ("value", "multiplier", "resolution", "net", "on", "period", "kind")),
        *(f"t.csv row 3 column {name}" for name in ("meter", "read_at", "value")),
        "t.csv row 4 column value", "t.csv row 5 column value", "t.csv row 5 column period",
    ])


def test_a_problem_says_what_is_wrong_and_what_would_be_right(tmp_path: Path) -> None:
    [problem] = wrong(put(tmp_path, GOOD + "E,2026-01-01T00:00:00Z,12 kWh\n"))
    assert str(problem) == (
        "t.csv row 3 column value: '12 kWh' is no number. "
        "Write a plain number such as 1234.5: no thousands separator, no unit, neither NaN nor infinity (what it showed)"
    )


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    assert wrong_cells(put(tmp_path, "meter,wert\nE,1\n")) == ["t.csv row 1 column read_at", "t.csv row 1 column value"]


def test_a_fault_in_very_many_rows_is_listed_up_to_a_bound_and_then_counted(tmp_path: Path) -> None:
    found = wrong(put(tmp_path, "meter,read_at,value\n" + "E,2026-01-01T00:00:00Z,x\n" * (LISTED_PER_COLUMN + 7)))
    assert len(found) == LISTED_PER_COLUMN + 1
    assert "7 more rows" in found[-1].what


@pytest.mark.parametrize(("content", "name", "what"), [
    (b"", "t.csv", "empty"), ("meter;read_at;value\n", "t.csv", "commas"), ("meter,meter,read_at,value\n", "t.csv", "twice"),
    (GOOD + "E,2026-01-01T00:00:00Z,1,2\n", "t.csv", "4 cells"), ("表,b\n".encode("gbk"), "t.csv", "not UTF-8"),
    (GOOD.encode() * 3000 + "表".encode("gbk"), "t.csv", "not UTF-8"), (GOOD + '"E,1\n', "t.csv", "well-formed"),
    (b"abc", "t.csv.gz", "cannot be read"), (b"abc", "t.csv.zst", "cannot be read"), (b"abc", "t.parquet", "cannot be read"),
    (b"abc", "t.xlsx", "cannot be read"), (b"abc", "t.ods", "suffix"),
])
def test_a_file_that_is_no_table_is_refused_with_its_reason(tmp_path: Path, content: str | bytes, name: str, what: str) -> None:
    assert what in wrong(put(tmp_path, content, name))[0].what


def test_a_file_that_is_not_there_is_named() -> None:
    assert "no such file" in wrong("nowhere.csv")[0].what


def test_the_problems_of_all_files_come_together(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as error:
        read_tables({"a": (put(tmp_path, "x\n", "a.csv"), COLUMNS), "b": (put(tmp_path, "y\n", "b.csv"), COLUMNS), "c": (None, COLUMNS)})
    assert {problem.where.split()[0] for problem in error.value.problems} == {"a.csv", "b.csv"}


def test_standard_input_can_only_be_one_table() -> None:
    with pytest.raises(BadInputError, match="two tables"):
        read_tables({"a": ("-", COLUMNS), "b": ("-", COLUMNS)})


def test_parquet_keeps_its_types_and_counts_rows_from_one(tmp_path: Path) -> None:
    frame = pl.DataFrame({
        "meter": [1, 2], "read_at": pl.Series([date(2026, 1, 1)] * 2).cast(pl.Datetime("ms")).dt.replace_time_zone("Asia/Shanghai"),
        "value": pl.Series([1, 2], dtype=pl.Int32), "net": [True, None], "on": [date(2026, 1, 1)] * 2,
        "kind": pl.Series(["rate", "rate"], dtype=pl.Categorical), "period": [2025, 2026],
    })
    frame.write_parquet(tmp_path / "t.parquet")
    got = read(str(tmp_path / "t.parquet")).frame
    assert got.select("meter", "read_at", "value", "net", "on", "kind", "period").rows() == [
        ("1", datetime(2025, 12, 31, 16, tzinfo=UTC), 1.0, True, date(2026, 1, 1), "rate", "2025"),
        ("2", datetime(2025, 12, 31, 16, tzinfo=UTC), 2.0, None, date(2026, 1, 1), "rate", "2026"),
    ]
    frame.with_columns(value=pl.Series([1.0, float("nan")])).write_parquet(tmp_path / "t.parquet")
    assert wrong_cells(str(tmp_path / "t.parquet")) == ["t.parquet row 2 column value"]
    frame.with_columns(pl.col("read_at").dt.replace_time_zone(None)).write_parquet(tmp_path / "t.parquet")
    assert wrong_cells(str(tmp_path / "t.parquet")) == ["t.parquet row 1 column read_at", "t.parquet row 2 column read_at"]
    assert read(str(tmp_path / "t.parquet"), zone="Asia/Shanghai").frame["read_at"][0] == datetime(2025, 12, 31, 16, tzinfo=UTC)


EIGHT = pl.Series([date(2026, 1, 1)] * 2).cast(pl.Datetime("us")).dt.offset_by(pl.Series(["8h", "8h15m"]))


def test_a_date_that_the_sheet_made_of_a_month_is_told_and_neither_taken_as_month_nor_as_day(tmp_path: Path) -> None:
    periods = {"date": [date(2026, 11, 1)], "text": ["2026-11"]}
    column = Column("period", "period", "month")
    for name, cells in periods.items():
        pl.DataFrame({"period": cells}).write_excel(tmp_path / f"{name}.xlsx")
    problems: list[Problem] = []
    assert (table := read_table(str(tmp_path / "text.xlsx"), (column,), problems)) is not None
    assert (table.frame["period"].to_list(), problems) == (["2026-11"], [])
    read_table(str(tmp_path / "date.xlsx"), (column,), problems)
    [told] = map(str, problems)
    assert told.startswith("date.xlsx row 2 column period: '2026-11-01 00:00:00' is a date by the cell's format, and may mean a month or a day")
    assert "Format the cell as text and write a month (2026-11)" in told


def test_a_spreadsheet_is_read_with_its_dates_and_whole_numbers(tmp_path: Path) -> None:
    pl.DataFrame({
        "meter": [1001, 1002], "read_at": EIGHT, "value": [1.0, 2.5], "net": [True, False],
        "on": [date(2026, 1, 1)] * 2, "period": [2025, 2026], "valid_from": [date(2026, 1, 1)] * 2,
    }).write_excel(tmp_path / "t.xlsx")
    path = str(tmp_path / "t.xlsx")
    assert wrong_cells(path) == ["t.xlsx row 2 column read_at", "t.xlsx row 3 column read_at"]
    got = read(path, zone="Asia/Shanghai", day_zone="Asia/Shanghai").frame
    assert got.select("meter", "read_at", "value", "net", "on", "period", "valid_from").rows()[0] == (
        "1001", datetime(2026, 1, 1, tzinfo=UTC), 1.0, True, date(2026, 1, 1), "2025", datetime(2025, 12, 31, 16, tzinfo=UTC),
    )


# --- writing ----------------------------------------------------------------------------------------------------------

FRAME = pl.DataFrame({
    "meter": ["E-1", "表,2"], "read_at": [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)],
    "value": [1.0, 0.1], "kind": pl.Series(["rate", None], dtype=pl.Enum(["rate"])),
})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    path = str(tmp_path / f"t{suffix}")
    write_table(FRAME, path, zone="Asia/Shanghai")
    assert read(path).frame.select("meter", "read_at", "value", "kind").rows() == FRAME.rows()
    assert [each.name for each in tmp_path.iterdir()] == [f"t{suffix}"]


def test_csv_carries_the_offset_of_the_zone(tmp_path: Path) -> None:
    write_table(FRAME.head(1).with_columns(rules=pl.Series([["a", "b"]])), str(tmp_path / "t.csv"), zone="Asia/Shanghai")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "meter,read_at,value,kind,rules\nE-1,2026-01-01T08:00:00+08:00,1.0,rate,a b\n"


def test_standard_output_is_csv(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_table(FRAME.select("meter"), "-")
    assert capfdbinary.readouterr().out.decode() == 'meter\nE-1\n"表,2"\n'


def test_a_file_that_is_there_stays_whole_until_the_new_one_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_text("old")
    monkeypatch.setattr(pl.DataFrame, "write_parquet", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(BadInputError, match="No space left"):
        write_table(FRAME, str(tmp_path / "t.parquet"))
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("t.parquet", "old")]


def test_an_output_that_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    good = str(tmp_path / "t.csv")
    check_output(good, None, "-")
    for paths in [("t.txt",), (str(tmp_path / "no" / "t.csv"),), (good, good), ("-", "-")]:
        with pytest.raises(BadInputError):
            check_output(*paths)


def test_the_schema_names_types_units_defaults_and_allowed_values(capsys: pytest.CaptureFixture[str]) -> None:
    show_schema({"--readings": COLUMNS})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "--readings"
    assert [line.split()[0] for line in lines[1:]] == ["column", *(column.name for column in COLUMNS)]
    shown = {line.split()[0]: line for line in lines[2:]}
    assert "kWh" in shown["value"]
    assert "no, else main" in shown["register"]
    assert "interval, rate" in shown["kind"]
    units = tuple(f"unit{number}" for number in range(40))
    show_schema({"--long": (Column("unit", "text", "what it is", allowed=units), Column("next", "text", "the next"))})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 120
    assert [lines[2].split()[0], lines[-1].split()[0]] == ["unit", "next"]
    assert all(unit in "".join(lines) for unit in units)
    assert "> 0" in shown["multiplier"]
    assert ">= 0" in shown["resolution"]
