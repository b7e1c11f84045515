"""`tcewatch calc quantities|energy|intensity|limits` on files, alone and as a chain from readings to a verdict."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from config import schemas
from config.energy_figures import energy_figures
from config.errors import BadInputError
from monitors.energy import figures
from portal.cli.calc import app
from tests.portal.table_files import read, write

SUFFIXES = ["csv", "csv.zst", "parquet", "xlsx"]


@pytest.fixture(autouse=True)
def _away_from_any_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)


def calc(*arguments: str | Path) -> str:
    """Run a command; what it printed. Errors of ours are raised."""
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)
    return result.output


def problems(*arguments: str | Path) -> list[str]:
    with pytest.raises(BadInputError) as error:
        CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)
    return [str(problem) for problem in error.value.problems]


USED = [
    {"enterprise": "E", "period": "2025", "carrier": "electricity", "quantity": 21_342.0, "unit": "10^4 kWh", "note": "grid"},
    {"enterprise": "E", "period": "2025", "carrier": "raw_coal", "quantity": 223_440.7, "unit": "t", "note": "yard"},
]


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("source", ["csv", "parquet", "xlsx"])
def test_the_published_example_in_every_format(tmp_path: Path, source: str, kind: str) -> None:
    out = tmp_path / f"e.{kind}"
    calc("energy", "--quantities", write(tmp_path / f"q.{source}", USED), "--out", out)
    found = read(out)
    assert [round(value, 2) for value in found["calorific_tce"]] == [26_229.32, 159_603.69]
    assert found.columns == [
        "enterprise", "period", "carrier", "quantity", "unit", "note", "calorific_kgce_per_unit", "calorific_tce", "calorific_source",
        "equivalent_kgce_per_unit", "equivalent_tce", "equivalent_source", "missing",
    ]


def test_the_same_example_through_the_installed_command_and_standard_streams(tmp_path: Path) -> None:
    table = write(tmp_path / "q.csv", USED).read_bytes()
    program = Path(sys.executable).with_name("tcewatch")
    done = subprocess.run([program, "calc", "energy", "--quantities", "-", "--out", "-"], input=table, capture_output=True, check=True, cwd=tmp_path)
    assert [round(value, 2) for value in pl.read_csv(done.stdout)["calorific_tce"]] == [26_229.32, 159_603.69]
    bad = subprocess.run(
        [program, "calc", "energy", "--quantities", "-", "--out", "-"], input=table.replace(b"10^4 kWh", b"m3"), capture_output=True, check=False,
        cwd=tmp_path,
    )
    assert (bad.returncode, bad.stdout) == (3, b"")
    assert "row 2 column unit" in bad.stderr.decode()


def test_energy_of_what_has_its_energy_already_is_the_same(tmp_path: Path) -> None:
    calc("energy", "--quantities", write(tmp_path / "q.csv", USED), "--out", tmp_path / "e.csv")
    calc("energy", "--quantities", tmp_path / "e.csv", "--out", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "e.csv").read_bytes()


def test_brought_coefficients_fill_the_equivalent_basis(tmp_path: Path) -> None:
    rates = write(tmp_path / "c.csv", [{
        "carrier": "electricity", "basis": "equivalent", "unit": "kWh", "kgce_per_unit": 0.3, "valid_from": "2025-01-01", "valid_to": "2026-01-01",
        "source": "rate of 2024",
    }])
    used = write(tmp_path / "q.csv", USED)
    calc("energy", "--quantities", used, "--coefficients", rates, "--sum", "enterprise,period", "--out", tmp_path / "s.csv")
    row = read(tmp_path / "s.csv").row(0, named=True)
    assert row["calorific_tce"] == pytest.approx(26_229.318 + 159_603.69201)
    assert row["equivalent_tce"] == pytest.approx(64_026.0 + 159_603.69201)
    assert row["electricity_kwh"] == pytest.approx(213_420_000)


def test_a_brought_coefficient_in_another_unit_than_it_says_is_refused_with_its_row(tmp_path: Path) -> None:
    row = {"carrier": "electricity", "basis": "equivalent", "unit": "kWh", "valid_from": "2025-01-01", "source": "rate of 2024"}
    next_year = {"kgce_per_unit": 302.0, "valid_from": "2026-01-01", "valid_to": None}
    rates = write(tmp_path / "c.csv", [row | {"kgce_per_unit": 0.3, "valid_to": "2026-01-01"}, row | next_year])
    told = problems("energy", "--quantities", write(tmp_path / "q.csv", USED), "--coefficients", rates, "--out", tmp_path / "e.csv")
    assert [each.split(":")[0] for each in told] == ["c.csv row 3 column kgce_per_unit"]
    assert not (tmp_path / "e.csv").exists()


def test_two_brought_coefficients_from_the_same_day_are_refused_and_from_two_days_each_has_its_own(tmp_path: Path) -> None:
    row = {"carrier": "electricity", "basis": "equivalent", "unit": "kWh", "kgce_per_unit": 0.30, "valid_from": "2025-01-01", "source": "rate"}
    used = write(tmp_path / "q.csv", [USED[0] | {"period": "2025-06"}, USED[0] | {"period": "2025-07"}])
    twice = write(tmp_path / "twice.csv", [row, row | {"kgce_per_unit": 0.31}])
    assert "twice.csv row 3 column valid_from: stands a second time" in problems(
        "energy", "--quantities", used, "--coefficients", twice, "--out", tmp_path / "e.csv",
    )[0]
    once = write(tmp_path / "once.csv", [row, row | {"kgce_per_unit": 0.31, "valid_from": "2025-07-01"}])
    calc("energy", "--quantities", used, "--coefficients", once, "--out", tmp_path / "e.csv")
    assert read(tmp_path / "e.csv")["equivalent_tce"].to_list() == [pytest.approx(64_026.0), pytest.approx(66_160.2)]


def test_bad_quantities_are_listed_with_file_row_and_column_and_nothing_is_written(tmp_path: Path) -> None:
    bad = [
        USED[0] | {"unit": "GJ/t"}, USED[1] | {"carrier": "raw_cole"}, USED[0], USED[1] | {"unit": "kWh"}, USED[1] | {"covered_ratio": 95.0},
    ]
    told = problems("energy", "--quantities", write(tmp_path / "q.csv", [{"covered_ratio": None} | row for row in bad]), "--out", tmp_path / "e.csv")
    assert any("q.csv row 2 column unit" in each for each in told)
    bad[0] = USED[0]
    told = problems("energy", "--quantities", write(tmp_path / "q.csv", [{"covered_ratio": None} | row for row in bad]), "--out", tmp_path / "e.csv")
    assert [each.split(":")[0] for each in told] == ["q.csv row 6 column covered_ratio", "q.csv row 3 column carrier", "q.csv row 5 column unit"]
    assert not (tmp_path / "e.csv").exists()
    parquet = problems("energy", "--quantities", write(tmp_path / "q.parquet", [USED[0] | {"unit": "t"}]), "--out", tmp_path / "e.csv")
    assert parquet[0].startswith("q.parquet row 1 column unit")


@pytest.mark.parametrize(("unit", "right"), [("万kWh", "10^4 kWh"), ("万吨", "10^4 t"), ("百万千焦", "10^6 kJ"), ("万Nm3", "10^4 Nm3")])
def test_a_unit_in_chinese_is_told_with_its_code(tmp_path: Path, unit: str, right: str) -> None:
    told = problems("energy", "--quantities", write(tmp_path / "q.csv", [USED[0] | {"unit": unit}]), "--out", tmp_path / "e.csv")
    assert told[0].startswith(f"q.csv row 2 column unit: '{unit}' is not known. Write {right}, or one of ")


def test_a_group_that_is_no_column_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["energy", "--quantities", str(write(tmp_path / "q.csv", USED)), "--sum", "enterprise,parc", "--out", "-"])
    assert result.exit_code == 2
    assert "parc is no column" in result.output


VALUES = [{"enterprise": "E", "park": "P", "period": "2025", "value_added_10k_cny": 1_000_000.0}]


@pytest.mark.parametrize("by", ["enterprise", "park"])
def test_intensity_takes_the_sum_of_energy_as_it_was_written(tmp_path: Path, by: str) -> None:
    calc("energy", "--quantities", write(tmp_path / "q.csv", USED), "--sum", "enterprise,period", "--out", tmp_path / "s.csv")
    calc("intensity", "--energy", tmp_path / "s.csv", "--figures", write(tmp_path / "f.csv", VALUES), "--by", by, "--out", tmp_path / "i.csv")
    row = read(tmp_path / "i.csv").row(0, named=True)
    assert row["calorific_tce_per_10k_cny"] == pytest.approx(0.18583301001)
    assert row["equivalent_tce_per_10k_cny"] is None
    assert row["coverage_ratio"] == 1.0


def test_energy_that_is_not_summed_is_no_input_of_intensity(tmp_path: Path) -> None:
    calc("energy", "--quantities", write(tmp_path / "q.csv", USED), "--out", tmp_path / "e.csv")
    told = problems("intensity", "--energy", tmp_path / "e.csv", "--figures", write(tmp_path / "f.csv", VALUES), "--out", tmp_path / "i.csv")
    assert "e.csv row 3 column period: stands a second time" in told[0]
    assert "--sum enterprise,period" in told[0]
    no_park = write(tmp_path / "f2.csv", [VALUES[0] | {"park": None}])
    calc("energy", "--quantities", tmp_path / "q.csv", "--sum", "enterprise,period", "--out", tmp_path / "s.csv")
    assert "f2.csv row 2 column park" in problems("intensity", "--energy", tmp_path / "s.csv", "--figures", no_park, "--by", "park", "--out", "-")[0]


CARBIDE = {"enterprise": "E", "product": "calcium_carbide", "period": "2025", "value": 948.0, "unit": "kgce/t"}


@pytest.mark.parametrize("kind", SUFFIXES)
def test_limits_writes_a_verdict_in_every_format(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"v.{kind}"
    calc("limits", "--products", write(tmp_path / "p.csv", [CARBIDE | {"line": "2", "plant": "north"}]), "--out", out)
    row = read(out).row(0, named=True)
    assert (row["verdict"], row["standard"], row["binding_level"], row["standing"], row["plant"]) == (
        "exceeds", "GB 21343-2023", 3, "unconfirmed", "north",
    )


def test_a_confirmed_row_binds(tmp_path: Path) -> None:
    named = write(tmp_path / "c.csv", [{
        "product": "calcium_carbide", "indicator": "comprehensive_energy", "standard": "GB 21343-2023",
        "confirmed_by": "Li", "confirmed_on": "2026-01-05", "copy": "print of 2024",
    }])
    calc("limits", "--products", write(tmp_path / "p.csv", [CARBIDE]), "--confirmations", named, "--out", tmp_path / "v.csv")
    assert read(tmp_path / "v.csv")["standing"].to_list() == ["binding"]


def test_bad_products_are_listed_with_file_row_and_column(tmp_path: Path) -> None:
    rows = [
        CARBIDE, CARBIDE | {"product": "calcium_carbid"}, CARBIDE | {"unit": "kWh/t"}, CARBIDE | {"period": None}, CARBIDE | {"plant_status": "old"},
        CARBIDE | {"output": -5.0},
    ]
    rows = [{"plant_status": None, "output": None} | row for row in rows]
    told = problems("limits", "--products", write(tmp_path / "p.csv", rows), "--out", tmp_path / "v.csv")
    assert {each.split(":")[0] for each in told} == {
        "p.csv row 3 column product", "p.csv row 4 column unit", "p.csv row 5 column period", "p.csv row 6 column plant_status",
        "p.csv row 7 column output",
    }
    assert not (tmp_path / "v.csv").exists()


def test_a_sites_own_tables_count_where_its_settings_are_found(tmp_path: Path) -> None:
    (tmp_path / "law").mkdir()
    (tmp_path / "law" / "limits.csv").write_text(
        "product,standard,name_zh,product_zh,product_en,indicator,indicator_zh,indicator_en,unit,level_3,"
        "effective_from,corrections_complete,source,confidence\n"
        "pickles,DB15/T 1-2024,限额,泡菜,pickles,comprehensive_energy,综合能耗,energy,kgce/t,5,2024-01-01,true,text of the standard,high\n",
        encoding="utf-8",
    )
    (tmp_path / "tcewatch.toml").write_text("[site]\ntables_dir = \"law\"\n", encoding="utf-8")
    calc("limits", "--products", write(tmp_path / "p.csv", [CARBIDE | {"product": "pickles", "value": 6.0}]), "--out", tmp_path / "v.csv")
    assert read(tmp_path / "v.csv")["verdict"].to_list() == ["exceeds"]


def test_a_sum_by_carrier_is_a_sum_and_a_repeated_group_counts_once(tmp_path: Path) -> None:
    used = write(tmp_path / "q.csv", USED)
    calc("energy", "--quantities", used, "--sum", "enterprise,carrier,enterprise", "--out", tmp_path / "s.csv")
    assert read(tmp_path / "s.csv").select("enterprise", "carrier").rows() == [("E", "electricity"), ("E", "raw_coal")]
    with pytest.raises(typer.BadParameter, match="is what is summed"):
        calc("energy", "--quantities", used, "--sum", "enterprise,calorific_tce", "--out", tmp_path / "s.csv")


def test_a_verdict_keeps_the_boundary_period_and_output_it_was_asked_for(tmp_path: Path) -> None:
    amounts = {"energy": 1000.0, "energy_unit": "tce", "output": 1000.0, "output_unit": "t"}
    made = {"enterprise": "E", "product": "olefins_coal_mto", "period": "2026", **amounts}
    products = write(tmp_path / "p.csv", [made | {"feedstock": feedstock, "note": feedstock} for feedstock in ("excluded", "included")])
    calc("limits", "--products", products, "--out", tmp_path / "v.csv")
    kept = read(tmp_path / "v.csv").select("feedstock", "period", "energy", "energy_unit", "output", "output_unit", "note")
    assert kept.rows() == [(each, 2026, 1000.0, "tce", 1000.0, "t", each) for each in ("excluded", "included")]


def test_intensity_of_an_enterprise_brings_the_further_columns_of_its_figures_along(tmp_path: Path) -> None:
    sums = write(tmp_path / "s.csv", [{"enterprise": "E", "period": "2025", "calorific_tce": 10.0, "equivalent_tce": 20.0}])
    figures = write(tmp_path / "f.csv", [{"enterprise": "E", "park": "P", "period": "2025", "value_added_10k_cny": 5.0, "sector": "steel"}])
    calc("intensity", "--energy", sums, "--figures", figures, "--out", tmp_path / "i.csv")
    kept = read(tmp_path / "i.csv").select("calorific_tce_per_10k_cny", "park", "value_added_10k_cny", "sector")
    assert kept.rows() == [(2.0, "P", 5.0, "steel")]


FIGURED = [name for name in figures(schemas.empty(pl.Schema({"period": pl.String(), **schemas.ENERGY_SUM})), energy_figures()).columns
           if name != "period"]


@pytest.mark.parametrize(("command", "tables", "written"), [
    ("quantities", ["--intervals", "--assignments", "--outputs", "--holdings", "--out"], schemas.QUANTITY),
    ("energy", ["--quantities", "--coefficients", "--out, after the columns of the quantities", "--out of --sum, after its columns"],
     FIGURED),
    ("balance", ["--quantities", "--coefficients", "--out", "--links"], schemas.ENERGY_LINK),
    ("intensity", ["--energy", "--figures", "--out, after the enterprise or park"], schemas.INTENSITY),
    ("limits", ["--products", "--energy", "--confirmations", "--out"], schemas.VERDICT),
])
def test_every_command_prints_the_columns_of_each_table_that_it_reads_or_writes(command: str, tables: list[str], written: pl.Schema) -> None:
    lines = calc(command, "--schema").splitlines()
    titles = [place for place, line in enumerate(lines) if not line.startswith(" ")]
    assert [lines[place] for place in titles] == tables
    assert sorted(line.split()[0] for line in lines[titles[-1] + 2:]) == sorted(written)


# --- from intervals ---------------------------------------------------------------------------------------------------

START = datetime(2024, 12, 31, 16, tzinfo=UTC)  # 2025 begins in Shanghai


def day_rows(meter: str, unit: str, quantity: float, days: int = 365) -> list[dict[str, Any]]:
    return [
        {"enterprise": "E", "meter": meter, "register": "main", "start": START + timedelta(days=n), "end": START + timedelta(days=n + 1),
         "quantity": quantity, "unit": unit, "quality": "measured", "covered_ratio": 1.0, "estimated_ratio": 0.0}
        for n in range(days)
    ]


ASSIGNED = [
    {"enterprise": "E", "meter": "E-1", "carrier": "electricity", "product": "calcium_carbide"},
    {"enterprise": "E", "meter": "C-1", "carrier": "coke", "product": "calcium_carbide"},
]


def test_quantities_tell_of_registers_without_assignment_and_show_those_without_intervals(tmp_path: Path) -> None:
    rows = write(tmp_path / "i.parquet", day_rows("E-1", "kWh", 10.0) + day_rows("X-9", "m3", 1.0, days=3))
    out = tmp_path / "q.csv"
    result = CliRunner().invoke(
        app, ["quantities", "--intervals", str(rows), "--assignments", str(write(tmp_path / "a.csv", ASSIGNED)), "--by", "year", "--out", str(out)],
    )
    assert result.exit_code == 0
    assert "1 registers have intervals but no assignment and are in no sum: E/X-9/main" in result.output
    assert read(out).select("carrier", "quantity", "unit", "covered_ratio").rows() == [("coke", None, "kg", 0.0), ("electricity", 3650.0, "kWh", 1.0)]


def test_bad_intervals_and_assignments_are_listed_together(tmp_path: Path) -> None:
    rows = day_rows("E-1", "kWh", 10.0, days=3)
    rows[1] |= {"unit": "MWh"}
    rows[2] |= {"end": rows[2]["start"]}
    shares = write(tmp_path / "a.csv", [ASSIGNED[0] | {"share_ratio": 1.5}])
    told = problems("quantities", "--intervals", write(tmp_path / "i.parquet", rows), "--assignments", shares, "--out", tmp_path / "q.csv")
    assert {each.split(":")[0] for each in told} == {"i.parquet row 2 column unit", "i.parquet row 3 column end", "a.csv row 2 column share_ratio"}


def test_a_chain_from_readings_to_a_verdict_on_files(tmp_path: Path) -> None:
    def readings(meter: str, daily: float) -> list[dict[str, Any]]:
        return [{"meter": meter, "read_at": START + timedelta(days=n), "value": 1000.0 + n * daily} for n in range(366)]

    read_from = write(tmp_path / "r.csv", [
        row | {"read_at": row["read_at"].isoformat()} for row in readings("E-1", 1_000_000.0) + readings("C-1", 160.0)
    ])
    registers = write(tmp_path / "g.csv", [
        {"enterprise": "E", "meter": "E-1", "register": "main", "medium": "electricity", "unit": "kWh", "kind": "cumulative"},
        {"enterprise": "E", "meter": "C-1", "register": "main", "medium": "coal", "unit": "t", "kind": "cumulative"},
    ])
    calc("intervals", "--readings", read_from, "--registers", registers, "--by", "day", "--out", tmp_path / "i.parquet")
    assigned = write(tmp_path / "a.csv", ASSIGNED)
    calc("quantities", "--intervals", tmp_path / "i.parquet", "--assignments", assigned, "--by", "year", "--out", tmp_path / "q.xlsx")
    calc("energy", "--quantities", tmp_path / "q.xlsx", "--sum", "enterprise,product,period", "--out", tmp_path / "s.csv")
    made = write(tmp_path / "p.csv", [{"enterprise": "E", "product": "calcium_carbide", "period": "2025", "output": 108_000.0, "output_unit": "t"}])
    calc("limits", "--products", made, "--energy", tmp_path / "s.csv", "--out", tmp_path / "v.csv")
    row = read(tmp_path / "v.csv").row(0, named=True)
    tce = 365 * (1_000_000 * 0.1229 + 160_000 * 0.9714) / 1000
    assert row["actual"] == pytest.approx(tce * 1000 / 108_000)
    assert (row["verdict"], row["level"], row["missing"]) == ("exceeds", "none", None)
    assert row["covered_ratio"] == pytest.approx(1.0)
    assert row["derivation"].startswith(f"energy {tce:.10g} tce / output 108000 t")


# --- balance, keys, holdings ------------------------------------------------------------------------------------------

def test_a_balance_and_its_flows_are_written_with_what_does_not_close(tmp_path: Path) -> None:
    given = write(tmp_path / "q.csv", [
        {"enterprise": "E", "period": "2025", "carrier": "raw_coal", "quantity": 100.0, "unit": "t", "flow": "purchased", "process": None},
        {"enterprise": "E", "period": "2025", "carrier": "raw_coal", "quantity": 90.0, "unit": "t", "flow": "consumed", "process": "boiler"},
        {"enterprise": "E", "period": "2025", "carrier": "heat", "quantity": 1500.0, "unit": "GJ", "flow": "converted_out", "process": "boiler"},
        {"enterprise": "E", "period": "2025", "carrier": "heat", "quantity": 1500.0, "unit": "GJ", "flow": "consumed", "process": "drying"},
    ])
    calc("balance", "--quantities", given, "--out", tmp_path / "b.csv", "--links", tmp_path / "l.csv")
    found = read(tmp_path / "b.csv")
    assert found.columns == schemas.ENERGY_BALANCE.names()
    residual = found.filter(pl.col("row") == "residual", pl.col("carrier").is_null())["calorific_tce"][0]
    assert residual == pytest.approx(10 * 0.7143)
    flows = read(tmp_path / "l.csv").select("source", "target", "calorific_tce").rows()
    assert ("raw_coal", "boiler", pytest.approx(90 * 0.7143)) in flows
    assert ("boiler", "loss", pytest.approx(90 * 0.7143 - 1500 * 0.03412)) in flows
    calc("energy", "--quantities", given, "--sum", "enterprise,period", "--out", tmp_path / "s.csv")
    assert read(tmp_path / "s.csv")["calorific_tce"][0] == pytest.approx(71.43)


def test_a_sum_has_the_named_figures_with_their_sources(tmp_path: Path) -> None:
    given = write(tmp_path / "q.csv", [
        {**USED[1], "use": "feedstock", "renewable_ratio": None, "new_renewable_ratio": None},
        {**USED[0], "use": "fuel", "renewable_ratio": 0.5, "new_renewable_ratio": 0.2},
    ])
    calc("energy", "--quantities", given, "--sum", "enterprise,period", "--out", tmp_path / "s.csv")
    row = read(tmp_path / "s.csv").row(0, named=True)
    coal, power = 223_440.7 * 0.7143, 21_342 * 1.229
    assert row["gross_calorific_tce"] == row["limit_calorific_tce"] == pytest.approx(coal + power)
    assert (row["assessment_calorific_tce"], row["limit_excluded_calorific_tce"]) == pytest.approx((0.8 * power, power))
    assert "803" in row["assessment_source"]


def test_a_newly_added_share_above_the_renewable_one_is_refused(tmp_path: Path) -> None:
    given = write(tmp_path / "q.csv", [USED[0] | {"renewable_ratio": 0.1, "new_renewable_ratio": 0.2}])
    assert problems("energy", "--quantities", given, "--out", tmp_path / "s.csv")[0].startswith("q.csv row 2 column new_renewable_ratio: is above")


def test_own_output_beside_what_was_bought_is_told(tmp_path: Path) -> None:
    given = write(tmp_path / "q.csv", [USED[0] | {"flow": "purchased"}, USED[0] | {"flow": "converted_out", "quantity": 1.0}])
    result = CliRunner().invoke(app, ["energy", "--quantities", str(given), "--sum", "enterprise", "--out", str(tmp_path / "s.csv")])
    assert "E 2025: electricity has converted_out beside purchased and no consumed" in result.output


def test_own_output_beside_its_use_and_its_sale_is_told_unless_its_process_is_named(tmp_path: Path) -> None:
    steam = {"carrier": "heat", "unit": "GJ"}
    rows = [USED[1], *(USED[0] | steam | {"flow": flow, "quantity": gj} for flow, gj in (("converted_out", 15.0), ("consumed", 10.0), ("sold", 5.0)))]
    told = []
    for process in (None, "boiler"):
        given = write(tmp_path / "q.csv", [row | {"process": process if row.get("flow") in ("converted_out", "consumed") else None} for row in rows])
        result = CliRunner().invoke(app, ["energy", "--quantities", str(given), "--sum", "enterprise", "--out", str(tmp_path / "s.csv")])
        told.append("E 2025: heat has converted_out beside consumed and sold: what is sold" in result.output)
    assert told == [True, False]
    # 5 GJ of steam are sold: 5 x 0.03412 tce are taken off once
    assert read(tmp_path / "s.csv")["calorific_tce"].item() == pytest.approx(223_440.7 * 0.7143 - 5 * 0.03412)


@pytest.mark.parametrize(("used_gj", "lost_gj", "group", "told"), [
    (10.0, None, "enterprise", False), (9.0, None, "enterprise", True), (9.0, 1.0, "enterprise", False), (9.0, None, "enterprise,process", False),
])
def test_own_output_that_nobody_is_said_to_use_is_told_as_passed_on(
    tmp_path: Path, used_gj: float, lost_gj: float | None, group: str, told: bool,
) -> None:
    heat = {"enterprise": "E", "period": "2025", "carrier": "heat", "unit": "GJ"}
    rows = [USED[1] | {"flow": "purchased", "process": None}, heat | {"flow": "converted_out", "quantity": 10.0, "process": "boiler"},
            heat | {"flow": "consumed", "quantity": used_gj, "process": "shop"}]
    rows += [] if lost_gj is None else [heat | {"flow": "consumed", "quantity": lost_gj, "process": "network"}]
    given = write(tmp_path / "q.csv", [{"note": None} | row for row in rows])
    result = CliRunner().invoke(app, ["energy", "--quantities", str(given), "--sum", group, "--out", str(tmp_path / "s.csv")])
    assert ("E 2025: 0.03412 tce more of heat was made than is said to be used, and counts as passed on" in result.output) == told


SHARED_ROWS = [ASSIGNED[0] | {"site": "north", "product": product, "allocation": "output"} for product in ("calcium_carbide", "lime")]


def test_a_shared_register_is_divided_by_output_and_a_site_counts_for_its_owner(tmp_path: Path) -> None:
    rows = write(tmp_path / "i.parquet", day_rows("E-1", "kWh", 10.0, days=59))
    assigned = write(tmp_path / "a.csv", SHARED_ROWS)
    made = write(tmp_path / "o.csv", [
        {"enterprise": enterprise, "product": product, "period": period, "output": output}
        for enterprise, period in (("E", "2025-01"), ("F", "2025-02")) for product, output in (("calcium_carbide", 30.0), ("lime", 10.0))
    ])
    owners = write(tmp_path / "h.csv", [{"enterprise": "E", "site": "north", "owner": "F", "valid_from": "2025-02-01"}])
    calc("quantities", "--intervals", rows, "--assignments", assigned, "--outputs", made, "--holdings", owners, "--out", tmp_path / "q.csv")
    assert read(tmp_path / "q.csv").select("enterprise", "product", "quantity").rows() == [
        ("E", "calcium_carbide", 232.5), ("E", "lime", 77.5), ("F", "calcium_carbide", 210.0), ("F", "lime", 70.0),
    ]


def test_a_share_that_the_key_leaves_open_is_told_and_not_covered(tmp_path: Path) -> None:
    rows = write(tmp_path / "i.parquet", day_rows("E-1", "kWh", 10.0, days=31))
    made = write(tmp_path / "o.csv", [{"enterprise": "E", "product": "lime", "period": "2025-01", "output": 3.0}])
    out, assigned = tmp_path / "q.csv", write(tmp_path / "a.csv", SHARED_ROWS)
    result = CliRunner().invoke(app, [
        "quantities", "--intervals", str(rows), "--assignments", str(assigned), "--outputs", str(made), "--out", str(out),
    ])
    assert "2 shares by a key are not known and count as not covered: 2025-01" in result.output
    assert read(out).select("quantity", "covered_ratio").rows() == [(None, 0.0)] * 2


@pytest.mark.parametrize(("shares", "told"), [
    ([{"share_ratio": 0.6}, {"share_ratio": 0.4}], {}),
    ([{"share_ratio": 0.6}, {"share_ratio": 0.41}], {2: "1.01", 3: "1.01"}),
    ([{}, {}], {2: "2", 3: "2"}),  # the same row twice
    ([{"valid_to": "2025-07-01"}, {"valid_from": "2025-07-01"}], {}),
    ([{"valid_to": "2025-07-01"}, {"valid_from": "2025-06-30"}], {3: "2"}),
    ([{}, {"flow": "sold"}], {}), ([{}, {"flow": "consumed"}], {2: "2", 3: "2"}),
    ([{"share_ratio": 0.5, "allocation": "output"}, {"share_ratio": 0.5, "allocation": "output", "product": "lime"}, {"share_ratio": 0.5}], {}),
    ([{"allocation": "output"}, {"allocation": "output", "product": "lime"}, {"share_ratio": 0.5}], {2: "1.5", 3: "1.5", 4: "1.5"}),
])
def test_a_register_is_never_assigned_more_than_whole(tmp_path: Path, shares: list[dict[str, Any]], told: dict[int, str]) -> None:
    blank = dict.fromkeys(["share_ratio", "valid_from", "valid_to", "flow", "allocation"])
    arguments = [
        "quantities", "--intervals", write(tmp_path / "i.parquet", day_rows("E-1", "kWh", 10.0, days=3)), "--assignments",
        write(tmp_path / "a.csv", [ASSIGNED[0] | blank | row for row in shares]), "--outputs",
        write(tmp_path / "o.csv", [{"enterprise": "E", "product": "lime", "period": "2025-01", "output": 3.0}]), "--out", tmp_path / "q.csv",
    ]
    if told:
        text = "column share_ratio: the shares of this register, carrier and flow add up to"
        assert [each.partition(". ")[0] for each in problems(*arguments)] == [f"a.csv row {n} {text} {x}" for n, x in told.items()]
    else:
        calc(*arguments)


@pytest.mark.parametrize(("row", "column"), [
    ({"allocation": "output", "product": None}, "product"), ({"allocation": "output"}, "allocation"), ({"allocation": "register"}, "key_meter"),
    ({"allocation": "heat"}, "allocation"),
])
def test_a_key_that_lacks_something_is_named(tmp_path: Path, row: dict[str, Any], column: str) -> None:
    assigned = write(tmp_path / "a.csv", [ASSIGNED[0] | row])
    told = problems("quantities", "--intervals", write(tmp_path / "i.parquet", day_rows("E-1", "kWh", 10.0, days=3)), "--assignments", assigned,
                    "--out", tmp_path / "q.csv")
    assert any(each.startswith(f"a.csv row 2 column {column}:") for each in told)
