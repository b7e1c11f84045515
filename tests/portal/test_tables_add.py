"""`tcewatch tables check|add`: what a site brings is checked against all tables, put beside them, and counts without code."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from portal.cli.calc import app as calc_app
from portal.cli.tables import app
from store.audit import AuditLog
from store.database import opened

SOURCE = "notice of the region, no. 5 of 2027"
LIMIT_HEAD = ("product,standard,name_zh,product_zh,product_en,indicator,indicator_zh,indicator_en,unit,level_3,effective_from,superseded_by,"
              "corrections_complete,source,confidence\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the settings of a site, in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)
    (tmp_path / "law").mkdir()
    (tmp_path / "tcewatch.toml").write_text('[site]\ntables_dir = "law"\n', encoding="utf-8")
    return tmp_path


def run(*arguments: str | Path) -> str:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False).output


def problems(*arguments: str | Path) -> dict[str, str]:
    with pytest.raises(BadInputError) as error:
        run(*arguments)
    return {problem.where: str(problem) for problem in error.value.problems}


def calc(*arguments: str | Path) -> pl.DataFrame:
    out = Path("out.parquet")
    CliRunner().invoke(calc_app, [str(each) for each in (*arguments, "--out", out)], catch_exceptions=False, standalone_mode=False)
    return pl.read_parquet(out)


def file(name: str, text: str) -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def rate(**cells: str) -> str:
    """A file of one equivalent coefficient of electricity."""
    row = {"carrier": "electricity", "basis": "equivalent", "unit": "kWh", "kgce_per_unit": "0.295", "valid_from": "2027-01-01",
           "valid_to": "2028-01-01", "source": f'"{SOURCE}"', "rate_year": "2026"} | cells
    return ",".join(row) + "\n" + ",".join(row.values()) + "\n"


def carbide(level_3: float, start: str, standard: str = "GB 21343-2028", superseded_by: str = "") -> str:
    return (f"calcium_carbide,{standard},限额,电石,calcium carbide,comprehensive_energy,综合能耗,energy,kgce/t,{level_3},{start},{superseded_by},"
            f'true,"{SOURCE}",high\n')


EDITION = f"""
    [[coal_equivalent]]
    carrier = "electricity"
    basis = "equivalent"
    unit = "kWh"
    kgce_per_unit = 0.295
    valid_from = 2028-01-01
    valid_to = 2029-01-01
    rate_year = 2026
    provisional = true
    source = "{SOURCE}"

    [[limits]]
    product = "calcium_carbide"
    standard = "GB 21343-2028"
    name_zh = "限额"
    product_zh = "电石"
    product_en = "calcium carbide"
    indicator = "comprehensive_energy"
    indicator_zh = "综合能耗"
    indicator_en = "energy"
    unit = "kgce/t"
    level_3 = 900
    effective_from = 2028-01-01
    corrections_complete = true
    source = "{SOURCE}"
    confidence = "high"

    [[carbon_factors]]
    carrier = "electricity"
    region = "national"
    name_zh = "电力，全国"
    unit = "kWh"
    kgco2_per_unit = 0.4
    year = 2028
    source = "{SOURCE}"
    confidence = "high"
""" + "".join(f"""
    [[price_schemes]]
    scheme = "by_excess"
    kind = "excess"
    edition = "no. 5 of 2027"
    step = "{step}"
    {bounds}
    unit = "ratio"
    addon_cny_per_kwh = {addon}
    name_zh = "惩罚性电价"
    valid_from = 2028-01-01
    source = "{SOURCE}"
    confidence = "high"
""" for step, bounds, addon in (("none", "up_to = 0.0", "0.0"), ("above", "above = 0.0", "0.5")))


def results() -> list[Any]:
    """What four commands say of 2028."""
    used = file("q.csv", "enterprise,period,carrier,quantity,unit\nE,2028,electricity,1000000,kWh\n")
    made = file("p.csv", "enterprise,product,period,value,unit\nE,calcium_carbide,2028,920,kgce/t\n")
    billed = file("b.csv", "scheme,billing_period,excess_ratio\nby_excess,2028,0.2\n")
    energy, verdict, addon, carbon = (
        calc("energy", "--quantities", used), calc("limits", "--products", made), calc("price", "--products", billed),
        calc("carbon", "--quantities", used, "--year", "2028"),
    )
    return [
        energy["equivalent_tce"].item(), verdict["verdict"].item(), verdict["standard"].item(), addon["addon_cny_per_kwh"].item(),
        carbon["emissions_t"].item(),
    ]


def test_a_file_added_changes_energy_limits_prices_and_carbon_with_no_code(site: Path) -> None:
    assert results() == [None, "complies", "GB 21343-2023", 0.1, pytest.approx(530.6)]
    told = run("add", file("edition-2028.toml", EDITION), "--by", "Wang Li")
    assert "1 rows of limits" in told
    assert "Added as" in told
    assert results() == [pytest.approx(295.0), "exceeds", "GB 21343-2028", 0.5, pytest.approx(400.0)]
    source = calc("energy", "--quantities", "q.csv")["equivalent_source"].item()
    assert source == f"{SOURCE}, rate of 2026 (provisional until the rate of 2027 is published)"
    assert (site / "law" / "edition-2028.toml").read_text(encoding="utf-8") == EDITION
    with opened(f"sqlite:///{site / 'var' / 'tcewatch.db'}") as database:
        record = AuditLog(database).entries().row(-1, named=True)
    assert (record["by"], record["action"], record["subject"]) == ("Wang Li", "tables.add", "edition-2028.toml")
    assert json.loads(record["details"])["rows"] == {"coal_equivalent": 1, "limits": 1, "carbon_factors": 1, "price_schemes": 2}
    listed = json.loads(run("carbon_factors", "--json"))
    assert [row["origin"] for row in listed if row["year"] == 2028] == ["site"]


def test_check_says_what_an_edition_follows_on_replaces_and_leaves_open_and_writes_nothing(site: Path) -> None:
    told = json.loads(run("check", file("edition-2028.toml", EDITION), "--json"))
    assert told["rows"] == {"coal_equivalent": 1, "limits": 1, "carbon_factors": 1, "price_schemes": 2}
    said = " | ".join(told["notes"])
    assert "limits calcium_carbide comprehensive_energy: GB 21343-2028 follows on GB 21343-2023 from 2028-01-01" in said
    assert "price_schemes by_excess: no. 5 of 2027 follows on 发改价格〔2010〕978号 from 2028-01-01" in said
    assert "carbon_factors electricity national 2028: gap, 2024 to 2027 use the factor of 2023" in said
    assert "provisional, the rate of 2026 until that of 2027 is published; results say so" in said
    assert list((site / "law").iterdir()) == []
    assert not (site / "var").exists()


@pytest.mark.usefixtures("site")
def test_the_edition_in_the_guide_fits() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "accounting.md").read_text(encoding="utf-8")
    shown = guide.partition("```toml\n")[2].partition("```")[0]
    assert "provisional, the rate of 2025 until that of 2026 is published" in run("check", file("shown.toml", shown))


@pytest.mark.usefixtures("site")
def test_overlaps_and_gaps_against_what_is_in_force_are_told() -> None:
    overlapping = run("check", file("limits-local.csv", LIMIT_HEAD + carbide(930, "2026-01-01", "DB15/T 9-2026")))
    assert "GB 21343-2023 and DB15/T 9-2026 overlap from 2026-01-01 on: each is judged by its own" in overlapping
    run("add", file("coal_equivalent-2027.csv", rate()), "--by", "Li")
    gap = run("check", file("coal_equivalent-2029.csv", rate(valid_from="2029-01-01", valid_to="2030-01-01", rate_year="2028")))
    assert "gap, nothing is in force from 2028-01-01 to 2028-12-31" in gap
    over = run("check", file("coal_equivalent-x.csv", rate(valid_from="2027-07-01")))
    assert "overlap from 2027-07-01 to before 2028-01-01: the row brought by the site counts" in over
    undated = run("check", file("limits-x.csv", LIMIT_HEAD + carbide(930, "", "DB15/T 9-2026")))
    assert "has no date of effect, so that it is never in force" in undated
    assert "takes the place of the shipped row" in run("check", file("limits-y.csv", LIMIT_HEAD + carbide(930, "2024-12-01", "GB 21343-2023")))


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(("cells", "told"), [
    ({"rate_year": "2025"}, "in 2027 the rate of 2026 counts, not that of 2025"),
    ({"rate_year": "2027"}, "in 2027 the rate of 2026 counts, not that of 2027"),
    ({"provisional": "true"}, "the rate of 2026 is what counts in 2027"),
    ({"valid_to": ""}, "the rate of one year would be used beyond it"), ({"valid_to": "2028-01-02"}, "the rate of one year would be used beyond it"),
    ({"basis": "calorific"}, "rate_year and provisional belong to the equivalent basis"),
])
def test_an_equivalent_value_that_is_not_the_rate_of_the_year_before_is_refused(cells: dict[str, str], told: str) -> None:
    assert any(told in problem for problem in problems("check", file("coal_equivalent-2027.csv", rate(**cells))).values())


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(("cells", "note"), [
    ({}, None), ({"valid_to": "2027-07-01"}, None), ({"rate_year": "2025", "provisional": "true"}, "provisional"),
    ({"rate_year": "", "valid_to": ""}, "has no end"), ({"valid_from": "2020-01-01", "valid_to": "2021-01-01", "rate_year": "2020"}, None),
])
def test_the_rate_of_the_year_before_a_provisional_one_and_one_that_does_not_say_are_taken(cells: dict[str, str], note: str | None) -> None:
    told = run("check", file("coal_equivalent-2027.csv", rate(**cells)))
    assert "all fit" in told
    assert (note or "") in told


def test_every_problem_of_a_file_is_told_at_once_with_row_and_column_and_nothing_is_added(site: Path) -> None:
    rows = [carbide(930, "2026-13-01"), carbide(930, "2028-01-01", "GB 1").replace("kgce/t", "kg/kg"), carbide(930, "2028-01-01", "GB 1")]
    text = LIMIT_HEAD + "".join(rows)
    found = problems("add", file("limits-2028.csv", text.replace("high", "sure", 1)), "--by", " ")
    assert found.keys() == {
        "--by", "limits-2028.csv row 2 column effective_from", "limits-2028.csv row 2 column confidence", "limits-2028.csv row 3 column unit",
    }
    assert problems("add", file("limits-2028.csv", LIMIT_HEAD), "--by", "Li").keys() == {"limits-2028.csv"}
    lost = carbide(930, "2028-01-01", superseded_by="GB 21343-2040")
    assert "GB 21343-2040 has no row" in str(problems("add", file("limits-2028.csv", LIMIT_HEAD + lost), "--by", "Li"))
    level = file("carbon_levels.csv", f'measure,code,up_to,name_zh,source,confidence\nlevel,a,1,x,"{SOURCE}",high\n')
    assert "leave a gap" in str(problems("check", level))
    assert list((site / "law").iterdir()) == []


def test_a_row_that_the_site_has_is_not_overwritten_but_may_be_known_anew(site: Path) -> None:
    run("add", file("coal_equivalent-2027.csv", rate()), "--by", "Li")
    again = file("rates.csv", rate(kgce_per_unit="0.301"))
    assert "belongs to no table" in str(problems("add", again, "--by", "Li"))
    assert "stands in the site's folder already" in str(problems("add", again, "--table", "coal_equivalent", "--by", "Li"))
    anew = file("rates.csv", rate(kgce_per_unit="0.301", known_from="2027-06-01T00:00:00+08:00"))
    run("add", anew, "--table", "coal_equivalent", "--by", "Li")
    assert sorted(path.name for path in (site / "law").iterdir()) == ["coal_equivalent-2027.csv", "coal_equivalent-rates.csv"]
    used = file("q.csv", "enterprise,period,carrier,quantity,unit\nE,2027,electricity,1000,kWh\n")
    assert calc("energy", "--quantities", used)["equivalent_kgce_per_unit"].item() == 0.301
    assert calc("energy", "--quantities", used, "--as-of", "2027-05-31T00:00:00+08:00")["equivalent_kgce_per_unit"].item() == 0.295
    other = file("coal_equivalent-2027.csv", rate(valid_from="2028-01-01", valid_to="2029-01-01", rate_year="2027"))
    assert "none is overwritten" in str(problems("add", other, "--by", "Li"))


def test_without_a_folder_or_a_file_that_can_be_read_nothing_is_added(site: Path) -> None:
    assert problems("check", "nowhere.csv").keys() == {"nowhere.csv"}
    for name in ("limits.xlsx", ".limits.csv", ".notice.toml"):
        assert "is neither a .csv nor a .toml file" in str(problems("check", file(name, EDITION)))
    assert "nothing is no table" in str(problems("check", file("x.csv", rate()), "--table", "nothing"))
    (site / "tcewatch.toml").write_text("[site]\n", encoding="utf-8")
    assert problems("add", file("coal_equivalent-2027.csv", rate()), "--by", "Li").keys() == {"settings [site] tables_dir"}


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(("table", "day", "shown"), [
    ("price_schemes", "2021-12-31", {"13700_to_13800"}), ("price_schemes", "2022-01-01", {"above_13650"}), ("carbon_factors", "2021-06-01", set()),
    ("benchmarks", "2026-01-01", set()),
])
def test_on_a_day_only_rows_in_force_are_listed(table: str, day: str, shown: set[str]) -> None:
    rows = json.loads(run(table, "--on", day, "--json"))
    steps = {row.get("step") for row in rows}
    match table:
        case "price_schemes":
            assert shown <= steps
            assert not {"13700_to_13800", "above_13650"} - shown & steps
            assert {row["standing"] for row in rows} <= {"unconfirmed", "indicative"}
        case "carbon_factors":
            assert {row["year"] for row in rows} == {None, 2021}
        case _:
            assert rows == []
