"""Published tables come out of the accounts: balances, intensities, a register of facilities; what publishers added up wrong is named."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from config import coal_equivalents, schemas
from monitors.accounts import balance
from monitors.energy import energy, sum_energy
from monitors.intensity import intensity

pytestmark = pytest.mark.needs("shared-data")
TCE_PER_TJ = 1000 / 29.3076


def column(table: pl.DataFrame, year: str) -> dict[str, float]:
    return {name: value for name, value in table.select("row", pl.col(year).cast(pl.Float64)).iter_rows() if value is not None}


def published(rows: dict[str, float], supply: dict[str, str], sectors: list[str]) -> pl.DataFrame:
    """A balance of one carrier, of which only the energy is published (10^4 tce): supply rows by flow, and use by sector."""
    flows = [{"flow": flow, "process": None, "tce": abs(rows[name])} for name, flow in supply.items() if name in rows]
    used = [{"flow": "consumed", "process": name, "tce": rows[name]} for name in sectors if name in rows]
    frame = pl.DataFrame(flows + used, schema={"flow": pl.String(), "process": pl.String(), "tce": pl.Float64()})
    return balance(schemas.conform(frame.with_columns(
        enterprise=pl.lit("region"), period=pl.lit("2000"), carrier=pl.lit("all"), equivalent_tce="tce", calorific_tce="tce",
    ), schemas.ENERGY))


def of(found: pl.DataFrame, block: str, row: str) -> float:
    value = found.filter(pl.col("block") == block, pl.col("row") == row, pl.col("carrier").is_null())["equivalent_tce"][0]
    return round(value, 2)


SECTORS = ["农林牧渔水利", "工业", "建筑业", "交通运输邮政", "交通运输邮电", "批零住餐", "商业餐饮", "其他", "生活消费"]
NATIONAL = {"一次能源生产量": "own_primary", "回收能": "own_primary", "进口量": "purchased", "出口量": "sold"}
PROVINCIAL = {"一次能源生产量": "own_primary", "省外调入量": "purchased", "本省调出量": "sold"}
WRONG = {  # by how much the parts lie above the published totals: of the sectors, of the supply (10^4 tce)
    ("nation", "1997"): (-1.0, 1.0), ("fujian", "2000"): (0.0, 0.02), ("fujian", "2003"): (173.47, -28.01),
}


@pytest.mark.parametrize(("place", "file", "supply"), [
    ("nation", "nbs_energy_balance_1985_1997_1e4tce.csv", NATIONAL), ("fujian", "fujian_energy_balance_1e4tce.csv", PROVINCIAL),
])
def test_published_balances_close_and_those_that_do_not_add_up_are_the_publishers(
    shared_data: Path, place: str, file: str, supply: dict[str, str],
) -> None:
    table = pl.read_csv(shared_data / "cn-official-stats" / file)
    wrong = {}
    for year in table.columns[1:]:
        rows = column(table, year)
        stock = "opening_stock" if rows["库存差额"] >= 0 else "closing_stock"  # what was drawn from stock, or added to it
        found = published(rows, supply | {"库存差额": stock}, SECTORS)
        apart = round(of(found, "use", "total") - rows["能源消费总量"], 2), round(of(found, "supply", "total") - rows["可供消费的能源总量"], 2)
        if max(map(abs, apart)) > 0.015:
            wrong[place, year] = apart
        assert of(found, "closing", "residual") == pytest.approx(
            rows["可供消费的能源总量"] - rows["能源消费总量"] + apart[1] - apart[0], abs=0.011)
    assert wrong == {key: value for key, value in WRONG.items() if key[0] == place}


def test_jilins_electricity_is_at_the_equivalent_value_and_closes_as_published(shared_data: Path) -> None:
    rows = {name: (physical, standard) for name, physical, standard in pl.read_csv(
        shared_data / "cn-official-stats" / "jilin_2014_electricity_balance_equivalent.csv").iter_rows()}
    flows = {"一次能源生产量": "own_primary", "外省调入量": "purchased", "本省调出量": "sold", "火力发电": "converted_out",
             "第一产业": "consumed", "工业": "consumed", "建筑业": "consumed", "第三产业": "consumed", "生活消费": "consumed"}
    quantities = pl.DataFrame([
        {"enterprise": "region", "period": "2014", "carrier": "electricity", "unit": "10^4 kWh", "quantity": abs(rows[name][0]) * 1e4, "flow": flow,
         "process": name if flow in {"converted_out", "consumed"} else None} for name, flow in flows.items()
    ])
    rate = {"carrier": "electricity", "basis": "equivalent", "unit": "kWh", "kgce_per_unit": 0.30864, "valid_from": date(2014, 1, 1),
            "valid_to": date(2015, 1, 1), "source": "Jilin statistical yearbook 2016, table 7-13"}
    found = energy(quantities, coal_equivalents.overlay(coal_equivalents.coefficients(), pl.DataFrame([rate])))
    for name, tce in zip(flows, found["equivalent_tce"], strict=True):
        assert tce / 1e4 == pytest.approx(abs(rows[name][1]), abs=0.02), name
    for physical, standard in rows.values():
        assert standard / physical == pytest.approx(3.086, abs=0.001)  # tce for 10^4 kWh, where 1.229 is calorific
    closed = balance(found).filter(pl.col("row") == "residual", pl.col("carrier") == "electricity").row(0, named=True)
    assert closed["quantity"] / 1e4 == pytest.approx(rows["平衡差额"][0], abs=0.02)
    assert closed["equivalent_tce"] / 1e4 == pytest.approx(rows["平衡差额"][1], abs=0.06)


def divided(energy_tce: float, value_10k_cny: float, fresh_m3: float = 0.0) -> dict[str, Any]:
    sums = pl.DataFrame({"enterprise": ["E"], "period": ["2007"], "equivalent_tce": [energy_tce], "fresh_water_m3": [fresh_m3]})
    figures = pl.DataFrame({"enterprise": ["E"], "period": ["2007"], "value_added_10k_cny": [value_10k_cny]})
    return intensity(sums, figures, "enterprise").row(0, named=True)


def test_beijings_first_quarter_comes_out_and_its_sectors_value_added_is_that_of_rounded_intensities(shared_data: Path) -> None:
    table = {row["sector"]: row for row in pl.read_csv(shared_data / "cn-official-stats" / "beijing_2007q1_energy_water.csv").to_dicts()}
    implied = {name: row["energy_1e4tce"] / row["published_energy_tce_per_1e4yuan"] for name, row in table.items()
               if row["published_energy_tce_per_1e4yuan"]}
    whole, sectors = implied["total"], sum(implied[name] for name in ("primary", "secondary", "tertiary"))
    assert (round(whole, 1), round(sectors, 1)) == (1881.7, 1883.9)  # 10^8 yuan: the publisher's own rounding lies between the two
    found = divided(1541.1e4, whole * 1e4, 6.0e8)
    assert found["equivalent_tce_per_10k_cny"] == pytest.approx(0.819)
    assert found["water_m3_per_10k_cny"] == pytest.approx(31.89, abs=0.005)  # published 31.9
    assert 161.58e8 / (whole * 1e4) == pytest.approx(858.7, abs=0.05)  # published 858.2: made from an unrounded value added


def test_national_water_by_gdp_is_the_published_one(shared_data: Path) -> None:
    for row in pl.read_csv(shared_data / "cn-official-stats" / "mwr_national_water_use.csv").to_dicts():
        found = divided(0.0, row["gdp_1e8yuan_current"] * 1e4, row["water_use_1e8m3"] * 1e8)["water_m3_per_10k_cny"]
        assert round(found, 2) == {2018: 66.82, 2021: 51.76}[row["year"]]
        assert found == pytest.approx(row["published_m3_per_1e4yuan_gdp"], abs=0.05)


def test_the_published_saving_comes_out_of_two_intensities(shared_data: Path) -> None:
    row = pl.read_csv(shared_data / "cn-official-stats" / "worked_example_energy_saving.csv").row(0, named=True)
    base, report = (divided(row[f"{when}_energy_tce"], row[f"{when}_output"])["equivalent_tce_per_10k_cny"] for when in ("base", "report"))
    assert (base - report) * row["report_output"] == pytest.approx(row["published_saving_tce"])


def test_regions_are_ranked_by_energy_for_value_added_and_industry_is_above_the_whole(shared_data: Path) -> None:
    table = pl.read_csv(shared_data / "cn-official-stats" / "nbs_2008_intensity.csv")
    by_gdp, by_industry = pl.col("energy_per_gdp_tce_per_1e4yuan"), pl.col("energy_per_industrial_va_tce_per_1e4yuan")
    assert table.select((by_industry > by_gdp).all()).item()
    ranked = table.filter(pl.col("region") != "全国").sort(by_industry, descending=True)["region"].to_list()
    assert (ranked[0], ranked[1], ranked[-1]) == ("山西", "内蒙古", "广东")
    mongolia = table.filter(region="内蒙古").row(0, named=True)
    made = divided(mongolia["energy_per_industrial_va_tce_per_1e4yuan"] * 100, 100.0)
    assert made["equivalent_tce_per_10k_cny"] == pytest.approx(4.190)


def test_facilities_add_up_to_counties_by_their_code_whatever_their_spelling(shared_data: Path) -> None:
    table = pl.read_csv(shared_data / "us-ghgrp-2017" / "facility_unit_fuel_energy.csv.zst", infer_schema_length=None)
    fuels = table.select(  # a fuel by its energy: as many t of 1 GJ/t as there are GJ
        enterprise=pl.col("FACILITY_ID").cast(pl.String), period=pl.lit("2017"), carrier=pl.lit("bituminous_coal"), unit=pl.lit("t"),
        quantity=pl.col("TJ_TOTAL") * 1000, lhv=pl.lit(1.0), lhv_unit=pl.lit("GJ/t"), park=pl.col("COUNTY_FIPS").cast(pl.Int64),
    ).with_columns(carrier=pl.lit("raw_coal"))
    used = energy(fuels, coal_equivalents.coefficients())
    facilities, counties = sum_energy(used, ["enterprise", "period"]), sum_energy(used, ["park", "period"])
    assert (table.height, facilities.height) == (7704, 2009)
    assert facilities["calorific_tce"].sum() == pytest.approx(247_834_396.2, abs=0.05)
    assert counties["calorific_tce"].sum() == pytest.approx(247_834_396.2, abs=0.05)
    assert facilities.filter(pl.col("calorific_tce") >= 10_000).height == 1729
    assert used.filter(pl.col("calorific_tce") == 0).height == 441
    harris = used.filter(pl.col("park") == 48201)
    assert counties.sort("calorific_tce", descending=True)["park"][0] == 48201
    assert harris["calorific_tce"].sum() / TCE_PER_TJ == pytest.approx(651_616.93, abs=0.005)
    assert harris["enterprise"].n_unique() == 60
    names = table.filter(pl.col("COUNTY_FIPS") == 48201)["COUNTY"].n_unique()
    assert names > 1  # HARRIS, HARRIS COUNTY, none


def test_coal_plants_add_up_to_the_published_regions_but_for_one_plant_that_stands_under_two_names(shared_data: Path) -> None:
    folder = shared_data / "coal-plants-india"
    plants = pl.read_csv(folder / "plants.csv.zst", infer_schema_length=None)
    published = pl.read_csv(folder / "published_totals.csv", infer_schema_length=None)
    twins = plants.filter(pl.col("name").is_in(["ADANI POWER", "LIMITED UDUPI TPP"]), pl.col("region") == "Southern")
    wrong = {}
    for column, flow in (("receipt_total_kt", "purchased"), ("consumption_kt", "consumed")):
        used = energy(plants.select(
            enterprise="name", park="region", period="ym", carrier=pl.lit("raw_coal"), unit=pl.lit("kt"), flow=pl.lit(flow), quantity=column,
        ), coal_equivalents.coefficients())
        regions = sum_energy(used, ["park", "period"]).select(region="park", ym="period", kt=pl.col("calorific_tce") / 714.3)
        both = published.join(regions, on=["region", "ym"]).with_columns(apart=pl.col("kt") - pl.col(column))
        assert both.height == 85  # 17 months of five regions
        apart = both.filter(pl.col("apart").abs() > 1e-6)
        assert apart.select("region", "ym").rows() == [("Southern", f"2024-{month:02}") for month in (4, 5, 6, 7, 9)]
        for ym, off in apart.select("ym", "apart").iter_rows():
            rows = twins.filter(ym=ym)[column]
            assert (len(rows), rows[0], rows[0]) == (2, rows[1], pytest.approx(off))  # the plant counts twice in our sum, once in the publisher's
        wrong[column] = apart["apart"][0]
        whole = published.group_by("ym").agg(
            pl.col(column).filter(pl.col("region") == "ALL INDIA").sum() - pl.col(column).filter(pl.col("region") != "ALL INDIA").sum())
        assert whole[column].abs().max() < 1e-6
    assert wrong == {"receipt_total_kt": pytest.approx(203.755), "consumption_kt": pytest.approx(284.97)}
