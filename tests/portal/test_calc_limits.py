"""`tcewatch calc limits` with the parameters of a plant: columns, misfits, what is said; and heat rates that were published."""

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from typer.testing import CliRunner

from config import limit_tables, schemas
from config.errors import BadInputError
from config.units import KJ_PER_KGCE
from monitors.limits import limits
from portal.cli.main import build

SHARED = Path(os.environ.get("TCEWATCH_SHARED", Path(__file__).parents[3] / "shared"))
APP = build()
COKE = {
    "enterprise": "E", "product": "coke_stamp_charged", "period": "2027", "value": 150.0, "unit": "kgce/t", "mixed_gas_ratio": 0.0,
    "volatile_matter_ratio": 0.26, "coal_moisture_ratio": 0.105, "wet_quenching": "no", "oven_age_years": 10.0, "note": "north",
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)


def judged(rows: list[dict[str, Any]], name: str = "p.csv", out: str = "v.csv") -> pl.DataFrame:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "xlsx": frame.write_excel}[name.rpartition(".")[2]](name)
    result = CliRunner().invoke(APP, ["calc", "limits", "--products", name, "--out", out], catch_exceptions=False, standalone_mode=False)
    assert result.exit_code == 0
    return pl.read_csv(out)


@pytest.mark.parametrize("name", ["p.csv", "p.parquet", "p.xlsx"])
def test_parameters_are_columns_of_the_products_in_every_format(name: str) -> None:
    row = judged([COKE | {"wet_quenching": "YES"}], name).row(0, named=True)
    assert (row["level_1"], row["level_3"]) == (pytest.approx(118.2), pytest.approx(140 + 3.2 + 46.46))
    assert (row["verdict"], row["note"]) == ("complies", "north")
    assert (row["mixed_gas_ratio"], row["oven_age_years"]) == (0, 10)


def test_an_empty_parameter_is_named_and_no_verdict_is_made_up() -> None:
    row = judged([COKE | {"coal_moisture_ratio": None, "wet_quenching": ""}]).row(0, named=True)
    assert (row["verdict"], row["level_2"], row["level_3"]) == ("incomplete", None, None)
    assert "parameter coal_moisture_ratio (total moisture of the charge: a number from 0 to 1 (a share, not a percentage))" in row["missing"]
    assert "parameter wet_quenching (wet quenching: no or yes)" in row["missing"]


def test_impossible_and_misspelt_parameters_are_refused_together_with_file_row_and_column() -> None:
    rows = [COKE, COKE | {"coal_moisture_ratio": 10.5}, COKE | {"wet_quenching": "half", "oven_age_years": -1.0}]
    with pytest.raises(BadInputError) as error:
        judged([row | {"volatile_matter": row["volatile_matter_ratio"]} for row in rows])
    told = [str(problem) for problem in error.value.problems]
    assert [each.partition(":")[0] for each in told] == [
        "p.csv row 1 column volatile_matter", "p.csv row 3 column coal_moisture_ratio", "p.csv row 4 column wet_quenching",
        "p.csv row 4 column oven_age_years",
    ]
    assert "Write volatile_matter_ratio" in told[0]
    assert "a share, not a percentage" in told[1]
    assert "Write no or yes" in told[2]
    assert not Path("v.csv").exists()


def test_a_parameter_of_other_products_is_told_and_a_column_of_ones_own_is_carried_through() -> None:
    pl.DataFrame([COKE | {"clinker_ratio": 0.7, "excess_ratio": 0.1, "my_tag": "x"}]).write_csv("p.csv")
    told = CliRunner().invoke(APP, ["calc", "limits", "--products", "p.csv", "--out", "v.csv"], catch_exceptions=False, standalone_mode=False)
    assert told.stderr == "no standard of these products has a parameter clinker_ratio: not applied, carried through\n"
    assert {"clinker_ratio", "my_tag"} <= set(pl.read_csv("v.csv").columns)
    pl.DataFrame([COKE]).write_csv("p.csv")
    quiet = CliRunner().invoke(APP, ["calc", "limits", "--products", "p.csv", "--out", "v.csv"], catch_exceptions=False, standalone_mode=False)
    assert quiet.stderr == ""


def test_the_uncertainty_of_the_figure_stands_beside_the_verdict() -> None:
    carbide = {"enterprise": "E", "product": "calcium_carbide", "period": "2025", "unit": "kgce/t"}
    far, near, none = judged([
        carbide | {"value": 1000.0, "uncertainty_ratio": 0.05}, carbide | {"value": 960.0, "uncertainty_ratio": 0.05}, carbide | {"value": 960.0},
    ]).rows(named=True)
    assert (far["uncertainty"], far["within_uncertainty"], far["uncertainty_ratio"]) == (pytest.approx(50.0), False, 0.05)
    assert (near["uncertainty"], near["within_uncertainty"], near["verdict"]) == (pytest.approx(48.0), True, "exceeds")
    assert "expanded uncertainty (k = 2) 48 kgce/t: the limit lies inside it, to be verified before any case" in near["derivation"]
    assert (none["uncertainty"], none["within_uncertainty"]) == (None, None)


@pytest.mark.parametrize(("value", "position"), [
    (-31.0, "leading"), (-30.0, "leading"), (-29.9, "between"), (-10.0, "between"), (-9.9, "below_baseline"),
])
def test_benchmark_and_baseline_stand_beside_the_verdict_and_open_nothing(value: float, position: str) -> None:
    converter = {"enterprise": "E", "product": "converter", "period": "2027", "unit": "kgce/t", "scrap_ratio": 0.0, "steel_category": "plain_carbon"}
    row = judged([converter | {"value": value}]).row(0, named=True)
    assert (row["benchmark"], row["baseline"], row["benchmark_position"]) == (-30.0, -10.0, position)
    assert row["verdict"] == ("complies" if value <= -12 else "exceeds")
    words = {"leading": "at or better than the benchmark", "between": "between the two", "below_baseline": "worse than the baseline"}
    assert f"no legal finding: {words[position]}" in row["derivation"]


def test_a_product_without_a_benchmark_has_an_unknown_position() -> None:
    row = judged([{"enterprise": "E", "product": "beer", "period": "2027", "value": 30.0, "unit": "kgce/kL"}]).row(0, named=True)
    assert (row["benchmark"], row["benchmark_position"]) == (None, "unknown")


def test_the_schema_and_the_table_tell_the_parameters_with_unit_range_and_values() -> None:
    shown = CliRunner().invoke(APP, ["calc", "limits", "--schema"]).output
    [line] = [each for each in shown.splitlines() if each.strip().startswith("air_pressure_pa ")]
    assert "Pa" in line
    assert "a number from 30000 to 110000 in Pa; of cement, clinker" in line
    assert "no, yes" in next(each for each in shown.splitlines() if each.strip().startswith("wet_quenching "))
    printed = CliRunner().invoke(APP, ["tables", "limits", "--on", "2026-11-01"]).output
    assert "parameters of the corrections" in printed
    assert "volatile_matter_ratio  a number from 0 to 1 (a share, not a percentage); the table has 0.21 to 0.28" in printed
    rows = json.loads(CliRunner().invoke(APP, ["tables", "limits", "--json"]).output)
    cement = next(row for row in rows if row["standard"] == "GB 16780-2021" and row["product"] == "cement")
    assert [each["name"] for each in cement["parameters"]] == ["clinker_ratio", "altitude_m", "air_pressure_pa"]


@pytest.mark.needs("shared-data")
def test_published_heat_rates_are_recomputed_and_a_plant_that_only_took_power_gets_none() -> None:
    packed = (SHARED / "data" / "ca-power-heat-rate" / "plants_2001_2010.csv.zst").read_bytes()
    plants = pl.read_csv(BytesIO(zstandard.ZstdDecompressor().stream_reader(packed).read()), infer_schema_length=None)
    tce_per_mmbtu = 1.055056 / (KJ_PER_KGCE / 1e3)
    made = plants.drop_nulls(["main.mmbtu", "net.mwh"]).select(
        "category", enterprise="plant.id", product=pl.lit("power_subcritical_300_mw"), period=pl.lit("2026"),
        energy=pl.col("main.mmbtu") * tce_per_mmbtu, energy_unit=pl.lit("tce"),
        output="net.mwh", output_unit=pl.lit("MWh"), published="heat.rate", net_mwh="net.mwh",
    )
    found = limits(made, limit_tables.limits(), schemas.empty(schemas.CONFIRMATION))
    burning = found.filter(pl.col("net_mwh") > 0, pl.col("actual") > 0)
    published = burning["published"] * tce_per_mmbtu * 1e3
    assert ((burning["actual"] - published).abs() <= 1e-12 * published).all()
    weighted = burning.group_by("category").agg((pl.col("actual") * pl.col("net_mwh")).sum() / pl.col("net_mwh").sum(), pl.len())
    assert {kind: (round(mean, 2), rows) for kind, mean, rows in weighted.iter_rows() if kind in "CG"} == {"C": (370.58, 162), "G": (330.35, 2451)}
    own_use = found.filter(pl.col("net_mwh") < 0)
    assert own_use.height == 20
    assert set(own_use["verdict"]) == {"incomplete"}
    assert own_use["actual"].null_count() == 20
    assert all("an output above 0 (it is -" in text for text in own_use["missing"])
