"""Tables of the law beside limits and coefficients: benchmarks, price schemes, carbon; in CSV and in TOML, from the project and from a site."""

import csv
import os
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from config import coal_equivalents, limit_tables, tables
from config.benchmarks import benchmarks
from config.carbon import carbon_factors, carbon_levels
from config.errors import BadInputError
from config.lawbook import MODELS, problems_of, rows_of
from config.price_schemes import price_schemes

SHARED = Path(os.environ.get("TCEWATCH_SHARED", Path(__file__).parents[3] / "shared")) / "domain"
SOURCE = "notice of the region, 2027, no. 5"


def file(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_every_table_is_shipped_and_has_its_rows_a_model_and_a_source_in_each() -> None:
    assert sorted(MODELS) == tables.names()
    for name in MODELS:
        for row in rows_of(name):
            assert len(getattr(row, "source", "")) >= 8, (name, row)


def test_in_no_table_a_row_ends_on_the_day_on_which_it_starts_or_before() -> None:
    dated = {name: row for name in MODELS for row in rows_of(name) if {"valid_from", "valid_to"} <= set(type(row).model_fields)}
    starts = {name: getattr(row, "valid_from", None) or date(2027, 1, 1) for name, row in dated.items()}
    assert {"coal_equivalent", "sign_rules", "energy_figures", "vee_rules", "price_schemes"} <= set(dated)
    for name, row in dated.items():
        given = row.model_dump() | {"valid_from": starts[name]}
        assert MODELS[name].model_validate(given | {"valid_to": starts[name] + timedelta(days=1)}).holds_on(starts[name])
        with pytest.raises(ValidationError, match="is not after valid_from"):
            MODELS[name].model_validate(given | {"valid_to": starts[name]})


def test_a_wrong_row_of_each_table_is_found_when_all_are_loaded(tmp_path: Path) -> None:
    for name in MODELS:
        file(tmp_path, f"{name}-x.csv", "no_such_column\n1\n")
    told = {problem.where.partition(" ")[0] for problem in problems_of(tmp_path)}
    assert told == {f"{name}-x.csv" for name in MODELS}
    assert problems_of(None) == []


@pytest.mark.needs("shared-data")
def test_every_benchmark_that_was_collected_is_carried_with_its_values() -> None:
    with (SHARED / "benchmarks.csv").open(encoding="utf-8-sig", newline="") as collected:
        rows = [row for row in csv.DictReader(collected) if row["benchmark"]]
    wanted = {(float(row["benchmark"]), float(row["baseline"]), row["unit"], row["edition"]) for row in rows}
    carried = benchmarks()
    assert set(carried.drop_nulls("benchmark").select("benchmark", "baseline", "unit", "edition").iter_rows()) == wanted
    assert carried.height == 57  # six rows of the list are for two or three products of the limits


def test_a_benchmark_has_the_code_of_the_limit_it_stands_beside_and_is_in_force_on_no_day() -> None:
    keys = ["product", "indicator", "feedstock"]
    valued = benchmarks().drop_nulls("benchmark")
    assert valued.join(limit_tables.limits(), on=[*keys, "unit"], how="anti", nulls_equal=True).is_empty()
    assert benchmarks().select(keys).is_duplicated().sum() == 0
    assert not any(row.holds_on(date(2026, 1, 1)) for row in rows_of("benchmarks"))


def test_an_edition_of_a_site_replaces_the_shipped_one_of_its_first_day_and_ends_the_one_before(tmp_path: Path) -> None:
    head = "scheme,kind,edition,step,up_to,above,unit,addon_cny_per_kwh,name_zh,valid_from,source,confidence\n"
    file(tmp_path, "price_schemes-2027.csv", head
         + f"tiered_aluminium,consumption,2027-5,none,13000,,kWh/t,0,铝,2027-01-01,{SOURCE},high\n".replace(SOURCE, f'"{SOURCE}"')
         + f'tiered_aluminium,consumption,2027-5,above_13000,,13000,kWh/t,0.1,铝,2027-01-01,"{SOURCE}",high\n')
    steps = price_schemes(tmp_path).filter(scheme="tiered_aluminium")
    ends = dict(steps.select("valid_from", "valid_to").unique().iter_rows())
    assert ends[date(2025, 1, 1)] == date(2027, 1, 1)
    assert ends[date(2027, 1, 1)] is None


@pytest.mark.parametrize(("change", "told"), [
    (("0,0.5", "0,0.4"), "nothing stands between"), (("0,0.5", "0,0.6"), "overlap"),
    (("ratio,0.2", "kWh/t,0.2"), "a step by excess has the unit ratio"),
    (("excess,n,c,0.5,", "excess,m,c,0.5,"), "differ in kind, edition"), (("excess,n,c,0.5,,", "excess,n,c,0.5,0.9,"), "do not reach"),
    (("excess,n,b,0,0.5", "excess,n,b,0.5,0"), "is empty"),
])
def test_steps_that_leave_a_gap_overlap_or_differ_in_kind_are_refused(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    text = "scheme,kind,edition,step,above,up_to,unit,addon_cny_per_kwh,name_zh,valid_from,source,confidence\n" + "".join(
        f'x,excess,n,{step},{above},{up_to},ratio,{addon},x,2027-01-01,"{SOURCE}",high\n'
        for step, above, up_to, addon in (("a", "", "0", "0"), ("b", "0", "0.5", "0.1"), ("c", "0.5", "", "0.2"))
    )
    assert price_schemes(file(tmp_path, "price_schemes.csv", text)).filter(scheme="x").height == 3
    assert change[0] in text
    with pytest.raises(BadInputError, match=told):
        price_schemes(file(tmp_path, "price_schemes.csv", text.replace(*change)))


def test_levels_whose_bounds_do_not_meet_are_refused(tmp_path: Path) -> None:
    text = "measure,code,above,up_to,name_zh,valid_from,source,confidence\n" + "".join(
        f'level,{code},{above},{up_to},x,2027-01-01,"{SOURCE}",high\n' for code, above, up_to in (("low", "", "0.5"), ("high", "0.5", ""))
    )
    assert carbon_levels(file(tmp_path, "carbon_levels.csv", text)).height == 10
    with pytest.raises(BadInputError, match="leave a gap or overlap"):
        carbon_levels(file(tmp_path, "carbon_levels.csv", text.replace("low,,0.5", "low,,0.4")))


def test_one_toml_file_may_hold_rows_of_several_tables(tmp_path: Path) -> None:
    file(tmp_path, "notice.toml", f"""
        [[carbon_factors]]
        carrier = "electricity"
        region = "north_china"
        name_zh = "电力"
        unit = "kWh"
        kgco2_per_unit = 0.6
        year = 2027
        source = "{SOURCE}"
        confidence = "high"

        [[coal_equivalent]]
        carrier = "electricity"
        basis = "equivalent"
        unit = "kWh"
        kgce_per_unit = 0.295
        valid_from = 2027-01-01
        valid_to = 2028-01-01
        source = "{SOURCE}"
    """)
    assert carbon_factors(tmp_path).filter(carrier="electricity", region="north_china", year=2027)["kgco2_per_unit"].item() == 0.6
    row = coal_equivalents.coefficients(tmp_path).filter(carrier="electricity", basis="equivalent", kgce_per_unit=0.295)
    assert row.select("valid_from", "valid_to").row(0) == (date(2027, 1, 1), date(2028, 1, 1))
    assert price_schemes(tmp_path).equals(price_schemes())


def test_what_is_wrong_in_a_toml_file_is_told_with_table_row_and_column(tmp_path: Path) -> None:
    file(tmp_path, "notice.toml", '[[carbon_factors]]\ncarrier = "electricity"\nregion = ["a"]\nunit = "kWatt"\n[[carbon]]\nx = 1\n')
    with pytest.raises(BadInputError) as error:
        carbon_factors(tmp_path)
    wheres = [problem.where for problem in error.value.problems]
    assert wheres[0] == "notice.toml carbon"
    assert {f"notice.toml carbon_factors row 1 column {column}" for column in ("region", "unit", "name_zh", "source", "confidence")} <= set(wheres)
    with pytest.raises(BadInputError, match="cannot be read"):
        carbon_factors(file(tmp_path, "notice.toml", "[[carbon_factors"))


def test_grid_electricity_of_a_site_says_where_and_when(tmp_path: Path) -> None:
    text = f'carrier,name_zh,unit,kgco2_per_unit,year,source,confidence\nelectricity,x,kWh,0.5,2027,"{SOURCE}",high\n'
    with pytest.raises(BadInputError, match="needs the region and the year"):
        carbon_factors(file(tmp_path, "carbon_factors.csv", text))


@pytest.mark.parametrize(("unit", "kg", "told"), [
    ("kg", 1.9, False), ("kg", 1900.0, True), ("t", 1900.0, False), ("t", 1.9, True), ("kg", 0.0, False),
    ("Nm3", 10.0, False), ("Nm3", 10.1, True), ("kWh", 0.0036, False), ("kWh", 0.00053, True), ("MWh", 530.0, False), ("GJ", 110.0, False),
])
def test_a_co2_factor_in_another_unit_than_it_says_is_refused(tmp_path: Path, unit: str, kg: float, told: bool) -> None:
    text = f'carrier,name_zh,unit,kgco2_per_unit,source,confidence\nwaste,x,{unit},{kg},"{SOURCE}",high\n'
    folder = file(tmp_path, "carbon_factors.csv", text)
    if not told:
        assert carbon_factors(folder).filter(carrier="waste")["kgco2_per_unit"].to_list() == [kg]
        return
    with pytest.raises(BadInputError, match="write kg for one of the unit"):
        carbon_factors(folder)


def test_no_price_step_begins_or_ends_where_its_dates_do_not_say() -> None:
    steps = price_schemes()
    assert steps.filter(pl.col("valid_to") <= pl.col("valid_from")).is_empty()
    undated = steps.filter(pl.col("valid_from").is_null())
    assert set(undated["scheme"]) == {"by_excess_guizhou", "by_grade"}
    assert not any(row.holds_on(date(2026, 1, 1)) for row in rows_of("price_schemes") if getattr(row, "valid_from", None) is None)
