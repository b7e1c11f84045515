"""`tcewatch calc intervals` on files."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from portal.cli.calc import INTERVALS, app
from portal.cli.files import write_table

READINGS = """meter,read_at,value,note
E-1,2026-01-01T00:00:00+08:00,100,a
E-1,2026-01-01T00:30:00+08:00,110,b
E-1,2026-01-01T00:45:00+08:00,0,c
E-1,2026-01-01T01:00:00+08:00,120,d
E-1,2026-01-01T01:00:00+08:00,120,e
E-1,2026-01-01T02:30:00+08:00,150,f
"""
REGISTERS = "meter,register,medium,unit,kind,multiplier,workshop\nE-1,main,electricity,kWh,cumulative,10,red\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.csv").write_text(READINGS, encoding="utf-8")
    Path("g.csv").write_text(REGISTERS, encoding="utf-8")


def calc(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["intervals", *arguments])
    if isinstance(result.exception, BadInputError):
        raise result.exception
    return result.exit_code, result.output


def problems(readings: str = "r.csv", registers: str = "g.csv", *more: str) -> list[str]:
    with pytest.raises(BadInputError) as error:
        calc("--readings", readings, "--registers", registers, "--by", "hour", "--out", "o.csv", *more)
    assert not Path("o.csv").exists()
    return [str(problem) for problem in error.value.problems]


def put(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_readings_become_hours_with_the_columns_of_the_contract() -> None:
    code, said = calc("--readings", "r.csv", "--registers", "g.csv", "--by", "hour", "--out", "o.csv", "--rejected", "x.csv")
    assert code == 0
    assert said.startswith("6 readings, 3 intervals, 2 readings set aside (1 ")
    assert Path("o.csv").read_text(encoding="utf-8").splitlines() == [
        "meter,register,start,end,quantity,unit,quality,covered_ratio,estimated_ratio,workshop",
        "E-1,main,2026-01-01T00:00:00+08:00,2026-01-01T01:00:00+08:00,200.0,kWh,measured,1.0,0.0,red",
        "E-1,main,2026-01-01T01:00:00+08:00,2026-01-01T02:00:00+08:00,200.0,kWh,measured,1.0,0.0,red",
        "E-1,main,2026-01-01T02:00:00+08:00,2026-01-01T03:00:00+08:00,100.0,kWh,measured,0.5,0.0,red",
    ]
    assert Path("x.csv").read_text(encoding="utf-8").splitlines() == [
        "meter,read_at,value,note,broken_rules",
        "E-1,2026-01-01T00:45:00+08:00,0.0,c,transient", "E-1,2026-01-01T01:00:00+08:00,120.0,e,duplicate",
    ]


def test_every_format_gives_the_same_result() -> None:
    calc("--readings", "r.csv", "--registers", "g.csv", "--by", "day", "--out", "o.parquet")
    expected = pl.read_parquet("o.parquet")
    assert set(expected.columns) == {column.name for column in INTERVALS} - {"enterprise"} | {"workshop"}
    texts = {"r": pl.read_csv("r.csv", infer_schema=False), "g": pl.read_csv("g.csv", infer_schema=False)}
    for suffix in ("csv.zst", "csv.gz", "parquet", "xlsx"):
        for name, frame in texts.items():
            write_table(frame, f"{name}.{suffix}")
        calc("--readings", f"r.{suffix}", "--registers", f"g.{suffix}", "--by", "day", "--out", "again.parquet")
        assert pl.read_parquet("again.parquet").equals(expected)


def test_the_standard_streams_carry_csv() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from portal.cli.calc import app; app()",
         "intervals", "--readings", "-", "--registers", "g.csv", "--by", "reading", "--out", "-"],
        input=READINGS.encode(), capture_output=True, check=True, env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert len(done.stdout.decode().splitlines()) == 4
    assert "set aside" in done.stderr.decode()


@pytest.mark.parametrize(("by", "rows"), [("reading", 3), ("hour", 3), ("day", 1), ("month", 1), ("year", 1)])
def test_every_grain_adds_up_to_the_same_energy(by: str, rows: int) -> None:
    calc("--readings", "r.csv", "--registers", "g.csv", "--by", by, "--out", "o.parquet")
    found = pl.read_parquet("o.parquet")
    assert found.height == rows
    assert found["quantity"].sum() == pytest.approx(500)


def test_the_zone_decides_the_day_and_reads_times_without_an_offset() -> None:
    local = put("l.csv", READINGS.replace("+08:00", ""))
    assert "--zone" in problems(local)[0]
    calc("--readings", local, "--registers", "g.csv", "--by", "day", "--zone", "Asia/Kolkata", "--out", "o.csv")
    assert pl.read_csv("o.csv")["start"].to_list() == ["2026-01-01T00:00:00+05:30"]


def test_enterprises_keep_meters_of_the_same_name_apart() -> None:
    head = "enterprise,meter,register,medium,unit,kind\n"
    both = put("both.csv", head + "A,E-1,main,electricity,kWh,cumulative\nB,E-1,main,electricity,MWh,cumulative\n")
    rows = put("rows.csv", "enterprise,meter,read_at,value\n" + "".join(
        f"{name},E-1,2026-01-01T0{hour}:00:00Z,{hour * step}\n" for name, step in (("B", 2), ("A", 1)) for hour in (0, 1)
    ))
    calc("--readings", rows, "--registers", both, "--by", "hour", "--out", "o.parquet")
    assert pl.read_parquet("o.parquet").select("enterprise", "quantity", "unit").rows() == [("A", 1.0, "kWh"), ("B", 2.0, "MWh")]
    assert "several enterprises" in problems("r.csv", both)[0]
    assert "Give the enterprise in both" in problems(rows, "g.csv")[0]


def test_the_enterprise_may_be_left_out_of_the_readings_where_meters_are_unique() -> None:
    one = put("one.csv", "enterprise,meter,register,medium,unit,kind\nA,E-1,main,electricity,kWh,cumulative\n")
    calc("--readings", "r.csv", "--registers", one, "--by", "day", "--out", "o.parquet")
    assert pl.read_parquet("o.parquet")["enterprise"].to_list() == ["A"]


def test_a_column_of_enterprises_that_is_empty_says_nothing() -> None:
    empty = put("empty.csv", "enterprise," + READINGS.replace("E-1", ",E-1"))
    calc("--readings", empty, "--registers", "g.csv", "--by", "day", "--out", "o.parquet")
    assert pl.read_parquet("o.parquet")["quantity"].to_list() == [pytest.approx(500)]


def test_what_the_gateway_said_of_a_reading_counts() -> None:
    rows = put("q.csv", "meter,read_at,value,quality\n" + "".join(
        f"E-1,2026-01-01T0{hour}:00:00Z,{value},{quality}\n"
        for hour, value, quality in ((0, 100, ""), (1, 700, "bad"), (2, 102, "good"), (3, 103, "uncertain"))
    ))
    calc("--readings", rows, "--registers", "g.csv", "--by", "reading", "--out", "o.parquet", "--rejected", "x.csv")
    assert pl.read_parquet("o.parquet").select("quantity", "quality").rows() == [(20.0, "measured"), (10.0, "suspect")]
    assert Path("x.csv").read_text(encoding="utf-8").splitlines()[1:] == ["E-1,2026-01-01T09:00:00+08:00,700.0,bad,marked_bad"]
    broken = put("w.csv", Path(rows).read_text(encoding="utf-8").replace("bad", "broken"))
    assert problems(broken)[0].startswith("w.csv row 3 column quality: 'broken' is not known")


def test_readings_in_another_unit_than_their_register_are_told_once_for_each_unit() -> None:
    rows = put("u.csv", "meter,read_at,value,unit\n" + "".join(f"E-1,2026-01-01T0{hour}:00:00Z,{hour},{unit}\n" for hour, unit in (
        (0, "kWh"), (1, "Wh"), (2, "Wh"), (3, "MWh"), (4, ""))))
    assert [problem.split(": ")[0] for problem in problems(rows)] == ["u.csv row 3 column unit", "u.csv row 5 column unit"]


def test_events_are_read_and_checked() -> None:
    head = "meter,register,at,event,closing_value,opening_value,multiplier\n"
    change = put("e.csv", head + "E-1,main,2026-01-01T01:30:00+08:00,change,125,140,\n")
    calc("--readings", "r.csv", "--registers", "g.csv", "--events", change, "--by", "day", "--out", "o.parquet")
    assert pl.read_parquet("o.parquet")["quantity"].to_list() == [pytest.approx(350)]
    bad = put("bad.csv", head + "E-9,main,2026-01-02,change,,,\nE-1,main,2026-01-02,multiplier,,,\nE-1,main,2026-01-02,burnt,,,\n")
    assert problems("r.csv", "g.csv", "--events", bad)[0].startswith("bad.csv row 4 column event: 'burnt' is not known")
    resets = "E-1,main,2026-01-02,reset,,,\n" * 2
    bad = put("bad.csv", head + "E-9,main,2026-01-02,change,,,\nE-1,main,2026-01-02,multiplier,,,\n" + resets)
    found = problems("r.csv", "g.csv", "--events", bad)
    assert [problem.split(":")[0] for problem in found] == ["bad.csv row 2", "bad.csv row 3 column multiplier", "bad.csv row 4", "bad.csv row 5"]


def test_a_register_that_nobody_declared_is_told_once() -> None:
    rows = put("u.csv", READINGS + "E-7,2026-01-01T00:00:00Z,1,\nE-7,2026-01-01T00:15:00Z,1,\nE-8,2026-01-01T00:00:00Z,1,\n")
    assert [problem.split(":")[0] for problem in problems(rows)] == ["u.csv row 8", "u.csv row 10"]


@pytest.mark.parametrize(("row", "where"), [
    ("E-1,main,electricity,kWh,cumulative,,,,2025-01-01,2024-01-01", "row 2 column valid_to"),
    ("E-1,main,electricity,kWh,cumulative,5,4,,,", "row 2 column range_high"),
    ("E-1,main,electricity,kWh,rate,,,,,", "row 2 column unit"),
    ("E-1,main,electricity,kWh,cumulative,,,-1,,", "row 2 column multiplier"),
    ("E-1,main,electricity,kWh,odometer,,,,,", "row 2 column kind"),
    ("E-1,main,electricity,kWh,cumulative,,,,,\nE-1,main,electricity,kWh,cumulative,,,,,", "row 3"),
    ("E-1,main,electricity,kWh,cumulative,,,,,2026-01-02\nE-1,main,electricity,kWh,cumulative,,,,2026-01-01,", "row 3"),
    ("E-1,main,electricity,kWh,cumulative,,,,,2026-01-01\nE-1,main,electricity,MWh,cumulative,,,,2026-01-01,", "row 3 column unit"),
])
def test_what_is_wrong_between_the_cells_of_the_registers_is_told(row: str, where: str) -> None:
    wrong = put("w.csv", f"meter,register,medium,unit,kind,range_low,range_high,multiplier,valid_from,valid_to\n{row}\n")
    assert [problem.split(":")[0] for problem in problems("r.csv", wrong)] == [f"w.csv {where}"]


def test_dated_register_rows_follow_each_other() -> None:
    dated = put("d.csv", "meter,register,medium,unit,kind,multiplier,valid_from,valid_to\n"
                "E-1,main,electricity,kWh,cumulative,10,,2026-01-01T01:00:00+08:00\nE-1,main,electricity,kWh,cumulative,100,2026-01-01T01:00:00+08:00,\n")
    calc("--readings", "r.csv", "--registers", dated, "--by", "day", "--out", "o.parquet")
    assert pl.read_parquet("o.parquet")["quantity"].to_list() == [pytest.approx(20 * 10 + 30 * 100)]


def test_a_rate_is_written_in_the_unit_of_its_integral() -> None:
    rate = put("k.csv", "meter,register,medium,unit,kind\nE-1,main,electricity,kW,rate\n")
    calc("--readings", "r.csv", "--registers", rate, "--by", "day", "--out", "o.parquet")
    assert pl.read_parquet("o.parquet")["unit"].to_list() == ["kWh"]


def test_the_order_of_the_rows_does_not_matter() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame({
        "meter": "E-1", "read_at": [start + timedelta(minutes=15 * n) for n in range(300)], "value": [float(n % 97) for n in range(300)],
    })
    for name, each in (("straight", frame), ("mixed", frame.sample(fraction=1, shuffle=True, seed=5))):
        each.write_parquet("r.parquet")
        calc("--readings", "r.parquet", "--registers", "g.csv", "--by", "hour", "--out", f"{name}.parquet", "--rejected", f"{name}-x.parquet")
    assert pl.read_parquet("straight.parquet").equals(pl.read_parquet("mixed.parquet"))
    assert pl.read_parquet("straight-x.parquet").equals(pl.read_parquet("mixed-x.parquet"))


def test_an_empty_file_gives_an_empty_table() -> None:
    calc("--readings", put("n.csv", "meter,read_at,value\n"), "--registers", "g.csv", "--by", "hour", "--out", "o.csv", "--rejected", "x.csv")
    assert Path("o.csv").read_text(encoding="utf-8") == "meter,register,start,end,quantity,unit,quality,covered_ratio,estimated_ratio,workshop\n"
    assert Path("x.csv").read_text(encoding="utf-8") == "meter,read_at,value,broken_rules\n"


@pytest.mark.parametrize("arguments", [
    ("--readings", "r.csv"), ("--readings", "r.csv", "--registers", "g.csv", "--out", "o.csv"),
    ("--readings", "r.csv", "--registers", "g.csv", "--by", "week", "--out", "o.csv"),
    ("--readings", "r.csv", "--registers", "g.csv", "--by", "day", "--out", "o.csv", "--zone", "Asia/Nowhere"),
])
def test_a_wrong_command_line_is_told_with_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert calc(*arguments)[0] == 2
    assert not Path("o.csv").exists()


def test_the_schema_is_shown_without_any_file() -> None:
    code, said = calc("--schema")
    assert code == 0
    for word in ("--readings", "--registers", "--events", "--out", "--rejected", "cumulative, interval, rate", "measured, estimated, suspect"):
        assert word in said


def test_wrong_cells_unknown_registers_and_bare_events_are_told_together() -> None:
    readings = put("bad.csv", "meter,read_at,value\nE-1,yesterday,1\nE-2,2026-01-01T00:00:00+08:00,2\n,2026-01-01T00:00:00+08:00,3\n")
    registers = put("h.csv", "meter,medium,unit,kind\nE-1,electricity,kWh,rate\nE-3,electricity,,rate\n")
    events = put("e.csv", "meter,at,event\nE-1,2026-01-01,multiplier\nE-4,never,reset\n")
    told = {problem.partition(": ")[0] for problem in problems(readings, registers, "--events", events)}
    assert told == {
        "bad.csv row 2 column read_at", "bad.csv row 3", "bad.csv row 4 column meter", "h.csv row 2 column unit", "h.csv row 3 column unit",
        "e.csv row 2 column multiplier", "e.csv row 3", "e.csv row 3 column at",
    }


STEAM = """meter,register,medium,unit,kind,formula
S,total,heat,t,cumulative,
S,p,heat,MPa_gauge,state,
S,t,heat,degC,state,
S,heat,heat,GJ,derived,"steam_heat(S.total, S.p, S.t)"
PARK,heat,heat,kWh,derived,sum(S.heat)
"""


def test_derived_registers_are_computed_from_the_others_of_the_file() -> None:
    rows = ["meter,register,read_at,value"] + [
        f"S,{register},2026-01-01T00:{minute:02}:00+08:00,{value}" for minute in (0, 30)
        for register, value in (("total", 10 + minute / 30), ("p", 0.898675 if minute else 9999), ("t", 300))
    ] + ["S,total,2026-01-01T01:00:00+08:00,12", "S,p,2026-01-01T01:00:00+08:00,0.898675", "S,t,2026-01-01T01:00:00+08:00,300"]
    put("s.csv", "\n".join(rows) + "\n")
    code, said = calc("--readings", "s.csv", "--registers", put("sg.csv", STEAM), "--by", "hour", "--out", "o.csv", "--rejected", "x.csv")
    assert code == 0
    assert said.startswith("9 readings, 3 intervals, 2 readings set aside (2 impossible_state)")
    found = pl.read_csv("o.csv").select("meter", "register", "quantity", "unit", "covered_ratio").rows()
    heat = (3051.7 - 83.74) / 1000  # h of steam of 1 MPa and 300 degC: 3051.7 kJ/kg (any steam table)
    assert found == [
        ("S", "total", 2.0, "t", 1.0), ("S", "heat", pytest.approx(heat, rel=1e-5), "GJ", 0.5),
        ("PARK", "heat", pytest.approx(heat / 0.0036, rel=1e-5), "kWh", 0.5),
    ]
    aside = pl.read_csv("x.csv").select("register", "value", "broken_rules").rows()
    assert aside == [("p", 9999.0, "impossible_state"), ("t", 300.0, "impossible_state")]


def test_every_problem_of_formulas_is_told_with_row_and_column() -> None:
    found = problems("r.csv", put("sg.csv", STEAM.replace("S.p, S.t)", "S.t, S.q)").replace(",state,\nS,t", ",cumulative,\nS,t") + (
        "E-1,main,electricity,kWh,cumulative,E-1.main\nA,a,heat,kWh,derived,sum(B.b)\nB,b,heat,kWh,derived,2 * A.a\n"
        "C,c,heat,degC,state,\nD,d,heat,kPa,state,\n"
    )))
    told = {text.split(":")[0]: text for text in found}
    assert "S.t is of kind state in degC, no pressure" in "".join(found)
    assert "there is no register S.q" in told["sg.csv row 5 column formula"]
    assert "has readings and no formula" in told["sg.csv row 7 column formula"]
    assert "comes back to its own register A.a" in told["sg.csv row 8 column formula"]
    assert "comes back to its own register B.b" in told["sg.csv row 9 column formula"]
    assert "no unit of a state" in told["sg.csv row 11 column unit"]


def test_readings_of_a_derived_register_are_a_problem() -> None:
    given = put("s.csv", "meter,register,read_at,value\nS,heat,2026-01-01T00:00:00+08:00,1\nS,heat,2026-01-01T01:00:00+08:00,2\n")
    found, = problems(given, put("sg.csv", STEAM))
    assert found == (
        "s.csv row 2 column meter: readings of a derived register. Leave them out: it follows from the registers that its formula names"
    )
