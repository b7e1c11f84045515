"""`tcewatch calc validate` on files."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from portal.cli.calc import app

REGISTERS = """meter,register,medium,unit,kind,max_rate_per_h,resolution,range_low,range_high
M,main,electricity,kWh,cumulative,100,0.01,0,100000
M,day,electricity,kWh,cumulative,100,0.01,0,100000
M,night,electricity,kWh,cumulative,100,0.01,0,100000
"""
ROWS = [  # meter, register, minutes, value
    ("main", 0, "100"), ("main", 60, "150"), ("main", 120, "260"), ("main", 120, "260"), ("main", 180, "-5"), ("main", 240, "265.001"),
    ("day", 0, "60"), ("night", 0, "40"), ("day", 60, "90"), ("night", 60, "60.05"),
]
READINGS = "meter,register,read_at,value,received_at,shift\n" + "".join(
    f"M,{register},2026-03-01T{minutes // 60:02}:00:00+08:00,{value},2026-03-01T{minutes // 60:02}:00:05+08:00,early\n"
    for register, minutes, value in ROWS
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put("r.csv", READINGS)
    put("g.csv", REGISTERS)


def put(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def validate(*more: str) -> str:
    result = CliRunner().invoke(app, ["validate", "--readings", "r.csv", "--registers", "g.csv", "--out", "o.csv", *more])
    if isinstance(result.exception, BadInputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def problems(*more: str) -> str:
    with pytest.raises(BadInputError) as error:
        validate(*more)
    assert not Path("o.csv").exists()
    return str(error.value)


def test_each_reading_gets_a_verdict_in_the_order_of_the_file_with_all_rules_that_it_broke() -> None:
    said = validate()
    out = pl.read_csv("o.csv", infer_schema=False)
    assert out.columns == [
        "meter", "register", "read_at", "value", "received_at", "shift", "verdict", "severity", "broken_rules", "unknown_rules", "unit_factor",
    ]
    assert out["value"].cast(pl.Float64).to_list() == [float(value) for _, _, value in ROWS]
    assert [set(names.split()) if names else set() for names in out["broken_rules"]] == [
        set(), set(), {"rating"}, {"rating", "duplicate"},
        {"range", "negative", "step_back", "outside_range"}, {"resolution"}, set(), set(), set(), set(),
    ]
    assert set(out["verdict"]) == {"failed", "unknown"}  # on a first day nothing is known of the register's habits
    assert said.startswith("10 readings: 4 failed, 6 unknown (")


def test_only_what_did_not_pass_is_listed_if_asked() -> None:
    put("v.csv", "rule,enabled\n" + "".join(f"{rule},false\n" for rule in ("copied_pattern", "unit_scale", "frozen", "rating", "step_back")))
    validate("--rules", "v.csv")
    assert pl.read_csv("o.csv")["verdict"].to_list().count("passed") == 7
    validate("--rules", "v.csv", "--not-passed")
    assert pl.read_csv("o.csv").height == 3


def test_a_rule_of_the_file_comes_before_the_shipped_one_for_the_register_that_it_names() -> None:
    put("v.csv", "meter,register,rule,high,severity,valid_from\nM,main,rating,1.5,,\nM,main,range,200,info,2026-03-01T02:00:00+08:00\n")
    validate("--rules", "v.csv")
    out = pl.read_csv("o.csv", infer_schema=False)
    assert out["broken_rules"][2] == "range"
    assert out["severity"][2] == "info"


def test_periods_are_judged_beside_the_readings() -> None:
    put("b.csv", "total_meter,total_register,part_meter,part_register,kind\nM,main,M,day,tariff\nM,main,M,night,tariff\n")
    put("m.csv", "meter,register,period,quantity\nM,main,2026-03,160\nM,day,2026-03,30\nM,night,2026-04,1\n")
    said = validate("--balances", "b.csv", "--month-figures", "m.csv", "--periods", "p.csv")
    out = pl.read_csv("p.csv", infer_schema=False).sort("rule", "register")
    assert out.select("register", "rule", "verdict", "missing").rows() == [
        ("day", "day_against_month", "passed", None), ("main", "day_against_month", "passed", None),
        ("night", "day_against_month", "unknown", "readings"),
        ("day", "day_start", "passed", None), ("main", "day_start", "passed", None), ("night", "day_start", "passed", None),
        ("main", "tariff_sum", "failed", None),
    ]
    assert out.filter(pl.col("rule") == "tariff_sum").select("checked", "broken", "expected").row(0) == ("2", "1", "150.0")
    assert "7 days and months: 5 passed, 1 failed, 1 unknown (1 tariff_sum)" in said


def test_what_is_wrong_in_any_file_is_told_at_once() -> None:
    put("v.csv", """meter,register,rule,low,high,enabled,valid_from,valid_to
,main,rating,,2,,,
M,main,range,9,1,,,
X,main,spike,,,false,2026-03-02,2026-03-01
""")
    put("b.csv", "total_meter,total_register,part_meter,part_register,kind\nM,main,M,main,tariff\nM,main,Z,day,sub_meter\n")
    put("m.csv", "meter,register,period,quantity\nM,main,2026-03,1\nM,main,2026-03,2\nM,day,2026,3\n")
    told = problems("--rules", "v.csv", "--balances", "b.csv", "--month-figures", "m.csv")
    for place, what in [
        ("v.csv row 2 column meter", "empty"), ("v.csv row 3 column high", "below low"), ("v.csv row 4 column enabled", "cannot be switched off"),
        ("v.csv row 4 column meter", "no such"), ("v.csv row 4 column valid_to", "not after"), ("b.csv row 2", "its own part"),
        ("b.csv row 3", "no register is declared"), ("m.csv row 3", "another figure"), ("m.csv row 4 column period", "no month"),
    ]:
        assert any(line.strip().startswith(place) and what in line for line in told.splitlines()), (place, what, told)
    put("v.csv", "rule\nno_such_rule\n")
    assert "v.csv row 2 column rule" in problems("--rules", "v.csv")


@pytest.mark.parametrize(("as_of", "broken"), [
    ("2026-03-01T00:00:04", []), ("2026-03-01T02:00:05", ["", "rating"]), ("2026-03-01T03:59:59", ["", "rating"]),
    ("2026-03-01T04:00:00", ["", "", "rating"]), ("2026-03-01T04:59:59", ["", "", "rating"]), ("2026-03-01T05:00:00", ["", "", ""]),
    (None, ["", "", ""]),
])
def test_as_of_an_instant_what_had_arrived_is_judged_by_what_was_known(as_of: str | None, broken: list[str]) -> None:
    """The second reading arrives at 4 o'clock, and from 5 on a greater rating is known."""
    put("r.csv", "meter,read_at,value,received_at\n" + "".join(
        f"M,2026-03-01T0{hour}:00:00+08:00,{value},2026-03-01T{came}+08:00\n"
        for hour, value, came in ((0, 0, "00:00:05"), (1, 60, "04:00:00"), (2, 260, "02:00:05"))
    ))
    put("g.csv", """meter,medium,unit,kind,max_rate_per_h,known_from,known_to
M,electricity,kWh,cumulative,100,,2026-03-01T05:00:00+08:00
M,electricity,kWh,cumulative,250,2026-03-01T05:00:00+08:00,
""")
    validate(*(() if as_of is None else ("--as-of", as_of)))
    assert pl.read_csv("o.csv", infer_schema=False)["broken_rules"].to_list() == broken


def test_rules_and_balances_count_as_they_were_known_and_arrivals_are_asked_for() -> None:
    put("v.csv", "rule,high,known_from,known_to\nrange,140,,2026-03-02T00:00:00+08:00\nrange,1e6,2026-03-02T00:00:00+08:00,\n")
    put("b.csv", """total_meter,total_register,part_meter,part_register,kind,known_from
M,main,M,day,tariff,2026-03-02T00:00:00+08:00
M,main,M,night,tariff,
""")
    found = {}
    for as_of in ("2026-03-01T23:59:59", "2026-03-02T00:00:00"):
        validate("--rules", "v.csv", "--balances", "b.csv", "--periods", "p.csv", "--as-of", as_of)
        judged = pl.read_csv("p.csv", infer_schema=False).filter(rule="tariff_sum")
        found[as_of] = pl.read_csv("o.csv", infer_schema=False)["broken_rules"][1], judged["actual"].to_list()
    assert found == {"2026-03-01T23:59:59": ("range", ["60.05"]), "2026-03-02T00:00:00": ("", ["150.05"])}
    put("r.csv", READINGS.replace(",2026-03-01T01:00:05+08:00,early", ",,early"))
    Path("o.csv").unlink()
    assert "r.csv row 3 column received_at: the cell is empty" in problems("--as-of", "2026-03-02")


def test_an_empty_file_gives_an_empty_result() -> None:
    put("r.csv", READINGS.splitlines()[0] + "\n")
    assert validate("--periods", "p.csv").startswith("0 readings; 0 days and months")
    assert pl.read_csv("o.csv").is_empty()


def test_a_reading_by_which_a_derived_register_knows_nothing_carries_the_name_of_the_rule() -> None:
    put("g.csv", """meter,register,medium,unit,kind,formula
S,flow,heat,t/h,rate,
S,p,heat,MPa_abs,state,
S,t,heat,degC,state,
S,heat,heat,GJ,derived,"steam_heat(S.flow, S.p, S.t)"
""")
    put("r.csv", "meter,register,read_at,value\n" + "".join(
        f"S,{register},2026-03-01T00:{minute}:00+08:00,{value}\n"
        for minute, degc in (("00", 300), ("15", 300), ("30", 150)) for register, value in (("flow", 10), ("p", 1), ("t", degc))
    ))
    assert "2 failed, 7 unknown (2 not_steam)" in validate()
    failed = pl.read_csv("o.csv", infer_schema=False).filter(pl.col("verdict") == "failed")
    assert failed.select("register", "value", "severity").rows() == [("p", "1.0", "warning"), ("t", "150.0", "warning")]
