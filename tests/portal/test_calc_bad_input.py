"""`tcewatch calc intervals` on files that are wrong, odd or large: every problem with its place and nothing written, or a right result."""

import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter

from config.errors import BadInputError
from portal.cli.calc import intervals

READINGS = "meter,read_at,value\nE-1,2026-01-01T00:00:00+08:00,100\nE-1,2026-01-01T00:30:00+08:00,110\nE-1,2026-01-01T01:00:00+08:00,120\n"
REGISTERS = "meter,register,medium,unit,kind,multiplier\nE-1,main,electricity,kWh,cumulative,10\n"
EVENTS = "meter,register,at,event,closing_value,opening_value\n"
AT = "2026-01-01T00:30:00+08:00"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def calc(readings: str | bytes | Path, registers: str = REGISTERS, events: str | None = None, zone: str | None = None) -> list[float]:
    """The hours' quantities."""
    if not isinstance(readings, Path):
        Path("r.csv").write_bytes(readings if isinstance(readings, bytes) else readings.encode())
        readings = Path("r.csv")
    Path("g.csv").write_text(registers, encoding="utf-8")
    if events is not None:
        Path("e.csv").write_text(EVENTS + events, encoding="utf-8")
    given = None if events is None else "e.csv"
    intervals(str(readings), "g.csv", "hour", "o.parquet", events=given, zone=zone, rejected="x.parquet", flags="f.parquet", schema=False)
    return pl.read_parquet("o.parquet")["quantity"].to_list()


def told(*given: str | bytes | Path | None) -> list[str]:
    """Where the problems are and what they are; nothing is written."""
    with pytest.raises(BadInputError) as error:
        calc(*given)  # type: ignore[arg-type]
    assert not [name for name in ("o.parquet", "x.parquet", "f.parquet") if Path(name).exists()]
    return [str(problem) for problem in error.value.problems]


# --- readings ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("readings", "problem"), [
    (READINGS.replace("value", "val"), "r.csv row 1 column value: the column is missing"),
    (READINGS.replace(f"{AT}", "2026-01-01T00:30:00"), "r.csv row 3 column read_at: '2026-01-01T00:30:00' is no instant"),
    (READINGS.replace(",110", ",NaN"), "r.csv row 3 column value: 'NaN' is no number"),
    (READINGS.replace(",110", ",-inf"), "r.csv row 3 column value: '-inf' is no number"),
    (READINGS.replace(",110", ",1 234"), "r.csv row 3 column value: '1 234' is no number"),
    (READINGS.replace(",110", ',"110,5"'), "r.csv row 3 column value: '110,5' is no number"),
    (READINGS.replace(",110", ","), "r.csv row 3 column value: the cell is empty"),
    (READINGS + "E-1,2026-01-01T02:00:00+08:00\n", "r.csv row 5 column value: the cell is empty"),
    (READINGS + "E-1,2026-01-01T02:00:00+08:00,130,7\n", "r.csv row 5: the row has 4 cells, the header 3"),
    (READINGS + '"E-1,2026-01-01T02:00:00+08:00,130\n', "r.csv: it is no well-formed CSV"),
    (READINGS.replace("E-1,", ",", 1), "r.csv row 2 column meter: the cell is empty"),
    (READINGS.replace("E-1", "E-2", 1), "r.csv row 2: no register is declared for E-2 / main"),
    ("", "r.csv: the file is empty"),
    ("\n\n\n", "r.csv: the file is empty"),
    (READINGS.replace(",", ";"), "r.csv row 1: the columns are not separated by commas"),
    (READINGS.replace(",", "\t"), "r.csv row 1: the columns are not separated by commas"),
    (READINGS.encode("utf-16"), "r.csv: the text is not UTF-8"),
    (READINGS.replace("E-1", "电表").encode("gbk"), "r.csv: the text is not UTF-8"),
    (READINGS.replace(AT, "0001-01-01T00:30:00Z"), "r.csv row 3 column read_at: '0001-01-01T00:30:00Z' is no time of a reading"),
    (READINGS.replace(AT, "2200-01-01T00:00:00Z"), "r.csv row 3 column read_at: '2200-01-01T00:00:00Z' is no time of a reading"),
])
def test_a_wrong_file_of_readings_is_told_with_row_and_column(readings: str | bytes, problem: str) -> None:
    found = told(readings)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = told(
        READINGS.replace(",110", ",x").replace("2026-01-01T01:00:00+08:00", "never"), REGISTERS.replace(",10\n", ",-10\n"),
        "E-1,main,2026-01-01T00:40:00+08:00,burnt,,\nE-9,main,2026-01-01T00:40:00+08:00,reset,,\n",
    )
    assert [problem.partition(": ")[0] for problem in found] == [
        "r.csv row 4 column read_at", "r.csv row 3 column value", "g.csv row 2 column multiplier", "e.csv row 2 column event", "e.csv row 3",
    ]


@pytest.mark.parametrize(("readings", "zone"), [
    (READINGS, None),
    (b"\xef\xbb\xbf" + READINGS.encode(), None),
    (READINGS.replace("\n", "\r\n"), None),
    (READINGS.rstrip("\n"), None),
    (READINGS + "\n,,\n", None),
    (READINGS.replace(AT, "2025-12-31T16:30:00Z"), None),
    (READINGS.replace(AT, "2026-01-01 00:30"), "Asia/Shanghai"),
    (READINGS.replace("+08:00", ""), "Asia/Shanghai"),
    ("".join(READINGS.splitlines(keepends=True)[row] for row in (0, 3, 1, 2)), None),
    (READINGS.replace(",110", ", 1.1e2 "), None),
], ids=[
    "plain", "bom", "crlf", "no last newline", "empty rows at the end", "offsets differ", "some without offset", "none with it", "unsorted", "spaces",
])
def test_an_odd_file_gives_the_same_result(readings: str | bytes, zone: str | None) -> None:
    assert calc(readings, zone=zone) == [200.0]


@pytest.mark.parametrize(("local", "zone"), [
    ("2026-03-29 02:30", "Europe/Madrid"), ("2026-10-25 02:30:00", "Europe/Madrid"), ("1986-05-04 02:30", "Asia/Shanghai"),
])
def test_a_local_time_that_the_clock_shows_never_or_twice_is_told_as_that(local: str, zone: str) -> None:
    found = told(f"meter,read_at,value\nE-1,{local},1\nE-1,never,2\n", REGISTERS, None, zone)
    assert len(found) == 2
    assert found[0].startswith(f"r.csv row 2 column read_at: {local!r} is shown by the clock of {zone} never or twice. Write the time with its")
    assert found[1].startswith("r.csv row 3 column read_at: 'never' is no instant")


def test_a_header_alone_is_an_empty_table() -> None:
    for header in ("meter,read_at,value\n", "meter,read_at,value"):
        assert calc(header) == []


def workbook(name: str, *cells: object) -> Path:
    """Readings of E-1, whose times are as given, in a workbook."""
    book = xlsxwriter.Workbook(name)
    sheet, shown_as = book.add_worksheet(), book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
    sheet.write_row(0, 0, ["meter", "read_at", "value"])
    for row, cell in enumerate(cells, start=1):
        sheet.write(row, 0, "E-1")
        if isinstance(cell, datetime):
            sheet.write_datetime(row, 1, cell, shown_as)
        else:
            sheet.write(row, 1, cell)
        sheet.write(row, 2, 90 + 10 * row)
    book.close()
    return Path(name)


def test_dates_of_a_workbook_need_a_zone_and_bare_numbers_are_no_dates() -> None:
    dates = workbook("d.xlsx", *(datetime(2026, 1, 1) + timedelta(minutes=30 * place) for place in range(3)))  # noqa: DTZ001 - as a sheet has them
    assert calc(dates, zone="Asia/Shanghai") == [200.0]
    Path("o.parquet").unlink()
    Path("x.parquet").unlink()
    Path("f.parquet").unlink()
    assert [problem.split(" is no")[0] for problem in told(dates)] == [
        f"d.xlsx row {row} column read_at: '2026-01-01 0{clock}'" for row, clock in ((2, "0:00:00"), (3, "0:30:00"), (4, "1:00:00"))
    ]
    assert [problem.split(" is no")[0] for problem in told(workbook("n.xlsx", 46023, 46023.5), REGISTERS, None, "Asia/Shanghai")] == [
        "n.xlsx row 2 column read_at: '46023'", "n.xlsx row 3 column read_at: '46023.5'",
    ]


# --- registers and events ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("registers", "problem"), [
    (REGISTERS + "E-1,main,electricity,kWh,cumulative,10\n", "g.csv row 3: the register has another row for the same time"),
    (REGISTERS.replace(",10\n", ",-10\n"), "g.csv row 2 column multiplier: '-10' is too small"),
    (REGISTERS.replace(",10\n", ",0\n"), "g.csv row 2 column multiplier: '0' is too small"),
    (REGISTERS.replace("multiplier", "modulus").replace(",10\n", ",-5\n"), "g.csv row 2 column modulus: '-5' is too small"),
    (REGISTERS.replace("multiplier", "resolution").replace(",10\n", ",-1\n"), "g.csv row 2 column resolution: '-1' is too small"),
    (REGISTERS.replace("electricity", "power"), "g.csv row 2 column medium: 'power' is not known. Write one of coal, water"),
    (REGISTERS.replace("kWh", "KWH"), "g.csv row 2 column unit: 'KWH' is no unit of a cumulative register. Write one of Wh, kWh, MWh"),
    (REGISTERS.replace("kWh,cumulative", "kW,interval"), "g.csv row 2 column unit: 'kW' is no unit of an interval register"),
    (REGISTERS.replace("kWh,cumulative", "apples/h,rate"), "g.csv row 2 column unit: 'apples/h' is no unit of a rate"),
    (REGISTERS.replace("multiplier", "net").replace(",10\n", ",maybe\n"), "g.csv row 2 column net: 'maybe' is no flag"),
    (REGISTERS.partition("\n")[0] + "\n", "r.csv row 2: no register is declared for E-1 / main"),
    ("", "g.csv: the file is empty"),
])
def test_a_wrong_file_of_registers_is_told_with_row_and_column(registers: str, problem: str) -> None:
    found = told(READINGS, registers)
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize(("modulus", "left"), [(100, 3), (105, 2), (120, 1), (121, 0)])
def test_values_at_or_above_the_modulus_are_set_aside_by_name(modulus: int, left: int) -> None:
    calc(READINGS, REGISTERS.replace("multiplier", "modulus").replace(",10\n", f",{modulus}\n"))
    assert pl.read_parquet("x.parquet")["broken_rules"].to_list() == [["outside_range"]] * left


@pytest.mark.parametrize(("event", "problem"), [
    ("E-9,main,2026-01-01T00:40:00+08:00,reset,,", "e.csv row 2: no register is declared for E-9 / main"),
    ("E-1,main,2026-01-01T00:40:00+08:00,change,NaN,7", "e.csv row 2 column closing_value: 'NaN' is no number"),
    ("E-1,main,2026-01-01T00:40:00+08:00,change,113,1001", "e.csv row 2 column opening_value: it is beyond the register's modulus of 1000"),
    ("E-1,main,2026-01-01T00:40:00+08:00,change,113,1000", "e.csv row 2 column opening_value: it is the register's modulus of 1000, which is shown"),
    ("E-1,main,1899-12-31,change,113,7", "e.csv row 2 column at: it is no time of an event"),
    ("E-1,main,2026-01-01T00:40:00,change,113,7", "e.csv row 2 column at: '2026-01-01T00:40:00' is no day or instant"),
    ("E-1,main,9999-12-31,change,113,7", "e.csv row 2 column at: it is no time of an event"),
])
def test_a_wrong_event_is_told_with_row_and_column(event: str, problem: str) -> None:
    found = told(READINGS, REGISTERS.replace("multiplier", "modulus").replace(",10\n", ",1000\n"), event + "\n")
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize(("closing", "fits"), [(89, False), (90, True), (200, True), (201, False)])
def test_a_declared_value_lies_within_the_registers_range(closing: int, fits: bool) -> None:
    registers = REGISTERS.replace("multiplier", "range_low,range_high").replace(",10\n", ",90,200\n")
    event = f"E-1,main,2026-01-01T00:40:00+08:00,change,{closing},100\n"
    if fits:
        calc(READINGS, registers, event)
    else:
        assert [text.split(":")[0] for text in told(READINGS, registers, event)] == ["e.csv row 2 column closing_value"]


@pytest.mark.parametrize(("value", "counts"), [("1e299", True), ("1.01e299", False), ("1e308", False), ("1e309", None)])
def test_a_value_too_great_to_be_multiplied_is_set_aside_by_name(value: str, counts: bool | None) -> None:
    """A sum of them would be no number; one that is none itself is told as that."""
    readings = READINGS.replace(",120", f",{value}")
    if counts is None:
        assert told(readings)[0].startswith("r.csv row 4 column value")
        return
    quantities = calc(readings)
    assert all(math.isfinite(quantity) for quantity in quantities)
    assert sum(quantities) == pytest.approx(1e300 if counts else 100.0)
    aside = pl.read_parquet("x.parquet")
    assert aside["broken_rules"].to_list() == ([] if counts else [["not_finite"]])


@pytest.mark.parametrize(("at", "values", "fits"), [
    ("00:40:00", "113,7", True), ("00:39:59.999999", "113,7", False), ("00:39:59.999999", ",7", False), ("00:39:59.999999", ",", True),
    ("00:50:00", "113,7", True), ("00:50:00.000001", "113,7", False), ("00:50:00.000001", "113,", False),
])
def test_a_declared_value_lies_where_a_row_of_its_register_holds(at: str, values: str, fits: bool) -> None:
    registers = REGISTERS.replace("multiplier", "valid_from,valid_to").replace(
        ",10\n", ",2026-01-01T00:40:00+08:00,2026-01-01T00:50:00+08:00\n",
    )
    event = f"E-1,main,2026-01-01T{at}+08:00,change,{values}\n"
    if fits:
        calc(READINGS, registers, event)
    else:
        assert told(READINGS, registers, event)[0].startswith("e.csv row 2 column at: no row of the register holds then")


def test_a_closing_value_may_be_the_modulus_itself() -> None:
    registers = REGISTERS.replace("multiplier", "modulus").replace(",10\n", ",200\n")
    assert calc(READINGS.replace("120", "5"), registers, "E-1,main,2026-01-01T00:40:00+08:00,rollover,200,0\n") == [105.0]


def test_events_act_in_the_order_of_their_times() -> None:
    events = ["E-1,main,2026-01-01T00:40:00+08:00,change,113,7\n", "E-1,main,2026-01-01T00:10:00+08:00,change,104,104\n"]
    forward, backward = (calc(READINGS, REGISTERS, "".join(each)) for each in (events[::-1], events))
    assert forward == backward == [pytest.approx((4 + 6 + 3 + 113) * 10)]


def test_what_was_decided_is_listed_with_the_register_it_is_about() -> None:
    readings = READINGS + "E-1,2026-01-01T01:30:00+08:00,3\nE-1,2026-01-01T02:00:00+08:00,13\n"
    calc(readings)
    flags = pl.read_parquet("f.parquet")
    assert flags.drop("start", "end").rows() == [("E-1", "main", "reset", 120.0, 3.0, 0.0, "kWh")]
    assert flags["start"].to_list() == [datetime(2025, 12, 31, 17, tzinfo=UTC)]


# --- many readings ----------------------------------------------------------------------------------------------------

MANY = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
from portal.cli.calc import intervals
intervals("many.parquet", "g.csv", "day", "o.parquet", zone="UTC", events=None, rejected=None, flags=None, schema=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_ten_million_readings_need_bounded_memory() -> None:
    meters, each = 1000, 10_000
    read_at = pl.datetime_range(
        datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * (each - 1)), "15m", eager=True, time_unit="us",
    )
    value = pl.int_range(each, eager=True).cast(pl.Float64)
    names = [f"M-{meter:04d}" for meter in range(meters)]
    frames = [pl.DataFrame({"meter": pl.repeat(name, each, eager=True), "read_at": read_at, "value": value}) for name in names]
    pl.concat(frames).write_parquet("many.parquet", compression_level=1)
    pl.DataFrame({"meter": names, "medium": "electricity", "unit": "kWh", "kind": "cumulative"}).write_csv("g.csv")
    done = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "POLARS_MAX_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "10000000 readings" in done.stderr
    assert pl.read_parquet("o.parquet")["quantity"].sum() == pytest.approx(meters * (each - 1), rel=1e-9)
    assert int(done.stdout) < 2048  # MB at most; the readings alone are 240
