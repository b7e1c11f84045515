"""Papers as workbooks that hold the figures of the accounts, and signs as page, API and commands."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import fastexcel
import polars as pl
import pytest
from typer.testing import CliRunner

from config import schemas
from config import settings as site_settings
from config.errors import BadInputError
from monitors import signs as core
from pipeline import signs as pipeline_signs
from pipeline.evaluate import Evaluator
from pipeline.site import Site
from portal import papers
from portal.cli.main import build
from portal.i18n import LANGUAGES, Language, term
from tests.pipeline.conftest import ENTERPRISE, KNOWN_FROM, register_tables
from tests.portal.conftest import form_token
from tests.portal.seeded import CARBIDE, FERRO, FOREIGN, NOW

AT = datetime(2026, 3, 10, 4, tzinfo=UTC)


def cells(file: Path | BytesIO, sheet: str) -> list[dict[str, Any]]:
    """The rows of a sheet, as a spreadsheet would show them; that of the sources by its English titles."""
    book = fastexcel.read_excel(file.getvalue() if isinstance(file, BytesIO) else file)
    [name] = (one for one in book.sheet_names if one.split(" ")[1] == sheet.split(" ")[-1])
    table = book.load_sheet(name).to_polars()
    return (table.rename(lambda title: title.partition(" ")[2]) if name == papers.SOURCES else table).to_dicts()


def column(row: dict[str, Any], name: str) -> Any:
    return next(value for title, value in row.items() if title.endswith(name))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a site with a year of coal (10 t a day) and power (1,000 kWh a day), reports of coal, and points that need a meter."""
    folder = tmp_path_factory.mktemp("papers")
    site = Site(site_settings.build({"site": {"data_dir": folder}}))
    tables = register_tables()
    tables["meter"] = tables["meter"].with_columns(accuracy_class=pl.Series(["0.5S", None]))
    point = {"enterprise": ENTERPRISE, "level": "unit", "medium": "electricity"}
    tables["metering_point"] = pl.DataFrame([
        {**point, "point": "P-1", "meter": "E-1", "name_zh": "进线"}, {**point, "point": "P-2", "meter": None, "name_zh": None},
        {**point, "point": "P-3", "level": "equipment", "meter": None, "name_zh": None},
    ])
    tables["stop"] = pl.DataFrame({"enterprise": [ENTERPRISE], "valid_from": ["2026-02-01"], "document": ["D-7"]})
    site.register.apply(tables, by="test", known_from=KNOWN_FROM)
    keys = {row["meter"]: row["register_key"] for row in site.register.names().to_dicts()}
    days = pl.DataFrame({"day": pl.date_range(date(2025, 1, 1), date(2026, 3, 9), eager=True)})
    start = pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("Asia/Shanghai").dt.convert_time_zone("UTC")
    each = [
        days.with_columns(
            start=start, end=start + pl.duration(days=1), register_key=pl.lit(keys[meter]), covered_ratio=1.0, estimated_ratio=0.0,
            quality=pl.lit("measured"), quantity=pl.lit(quantity),
        ) for meter, quantity in (("C-1", 10.0), ("E-1", 1000.0))
    ]
    rows = pl.concat(each)
    site.derived.replace("daily", rows, rows.select("register_key", "day"))
    hours = each[1].with_columns(start=pl.datetime_ranges("start", "end", "1h", closed="left")).explode("start").with_columns(
        end=pl.col("start") + timedelta(hours=1), quantity=pl.lit(1000 / 24),
    )
    site.derived.replace("hourly", hours, hours.select("register_key", "day").unique())
    owner = {"enterprise": ENTERPRISE, "carrier": "raw_coal", "unit": "t"}
    months = [{**owner, "kind": "weighbridge", "flow": "purchased", "period": f"2025-{month:02d}", "quantity": 310.0} for month in range(1, 13)]
    taken = [{**owner, "kind": "stock_taking", "flow": flow, "period": day, "quantity": quantity}
             for flow, day, quantity in (("opening_stock", "2025-01-01", 500.0), ("closing_stock", "2025-12-31", 560.0))]
    site.reported.monthly.apply(pl.DataFrame([*months, *taken]), maker="a", at=AT)
    site.reported.monthly.check_all(checker="b", at=AT)
    goal = {"enterprise": ENTERPRISE, "measure": "calorific_tce", "kind": "ceiling", "period": "2025", "target": 2500.0, "source": "a letter"}
    site.reported.budgets.apply(pl.DataFrame([goal]), maker="a", at=AT)
    site.reported.budgets.check_all(checker="b", at=AT)
    Evaluator(site, lambda: AT).once()
    site.close()
    return folder


@pytest.fixture
def plant(filled: Path, tmp_path: Path) -> Iterator[Site]:
    shutil.copytree(filled, tmp_path / "data")
    site = Site(site_settings.build({"site": {"data_dir": tmp_path / "data"}}))
    yield site
    site.close()


def written(site: Site, kind: papers.Kind, year: int = 2025) -> BytesIO:
    file = BytesIO()
    papers.write(papers.paper(site, kind, ENTERPRISE, year, AT), file)
    return file


def accounts(site: Site) -> dict[str, Any]:
    found = site.derived.read_result("energy")
    assert found is not None
    return found.filter(enterprise=ENTERPRISE, period="2025").row(0, named=True)


def test_the_form_of_purchase_consumption_and_stock_holds_the_figures_of_the_accounts(plant: Site) -> None:
    file = written(plant, "stock")
    rows = {column(row, " code"): row for row in cells(file, "stock")}
    coal, power, total = rows["01"], rows["33"], rows["40"]
    assert [column(coal, name) for name in ("opening stock", "purchased", "closing stock", "as feedstock")] == [500.0, 3720.0, 560.0, 0.0]
    assert column(coal, "consumed") == pytest.approx(3650.0 + 10.0)  # 500 + 3720 - 3650 - 560: booked
    assert column(coal, "coefficient tce/unit") == pytest.approx(0.7143)
    assert column(coal, " tce") == pytest.approx(3660 * 0.7143)
    assert (column(power, "unit"), column(power, "consumed"), column(power, "coefficient tce/unit")) == ("10^4 kWh", 36.5, pytest.approx(1.229))
    assert column(power, "purchased") is None
    assert column(total, " tce") == pytest.approx(accounts(plant)["calorific_tce"])
    assert column(total, " tce") == pytest.approx(3660 * 0.7143 + 365_000 * 0.1229 / 1000)


def test_each_cell_has_its_source_and_each_empty_one_its_reason(plant: Site) -> None:
    for kind in papers.KINDS:
        file = written(plant, kind)
        book = fastexcel.read_excel(file.getvalue())
        told = {(row["sheet"], row["cell"]): row for row in cells(file, papers.SOURCES)}
        for name in book.sheet_names[:-1]:
            sheet = book.load_sheet(name, header_row=None, dtypes="string").to_polars()
            for number, row in enumerate(sheet.rows(), start=1):
                for place, value in enumerate(row):
                    entry = told.get((name, f"{chr(65 + place)}{number}"))
                    if number > 1 and value is None and entry is not None:
                        assert entry["why it is empty"], (kind, name, number, place)
                    if number > 1 and value is not None:
                        assert entry is not None, (kind, name, number, place)
                        assert not entry["why it is empty"]
    stock = {(row["column"], row["cell"]): row for row in cells(written(plant, "stock"), papers.SOURCES)}
    assert stock["购进量 purchased", "F2"]["source"].startswith("已核对的填报 reported and checked: weighbridge")
    assert "no purchase" in stock["购进量 purchased", "F3"]["why it is empty"]


def test_a_missing_month_of_purchases_leaves_the_sum_empty_and_names_the_month(plant: Site) -> None:
    row = {"enterprise": ENTERPRISE, "carrier": "raw_coal", "unit": "t", "kind": "weighbridge", "flow": "purchased", "period": "2025-07"}
    plant.reported.monthly.apply(pl.DataFrame([row | {"quantity": 310.0, "withdrawn": True}]), maker="a", at=AT)
    plant.reported.monthly.check_all(checker="b", at=AT)
    Evaluator(plant, lambda: AT).once()
    line = papers.paper(plant, "stock", ENTERPRISE, 2025, AT)["stock"].rows[0]
    assert line["purchased"].value is None
    assert line["purchased"].missing.endswith("2025-07")


def test_what_was_used_is_what_came_in_and_was_made_less_what_left_where_the_whole_is_not_measured(plant: Site) -> None:
    def line(*rows: tuple[str, str | None, float]) -> Any:
        told = pl.DataFrame([
            {"enterprise": ENTERPRISE, "period": "2025", "carrier": "electricity", "flow": flow, "process": process, "quantity": quantity,
             "unit": "MWh", "calorific_kgce_per_unit": 122.9, "calorific_tce": quantity * 0.1229, "covered_ratio": 1.0}
            for flow, process, quantity in rows
        ], infer_schema_length=None)
        plant.derived.write_result("carriers", schemas.conform(told, schemas.ENERGY))
        row = papers.paper(plant, "stock", ENTERPRISE, 2025, AT)["stock"].rows
        return next(one for one in row if one["code"].value == "33")

    gate = (("purchased", None, 1000.0), ("sold", None, 50.0), ("converted_out", "turbine", 200.0), ("consumed", "furnace", 900.0))
    brought = line(*gate)
    assert (brought["consumed"].value, brought["tce"].value) == (pytest.approx(115.0), pytest.approx(1150 * 0.1229))  # 10^4 kWh
    assert [brought[name].value for name in ("purchased", "converted_out", "sold")] == pytest.approx([100.0, 20.0, 5.0])
    assert brought["consumed"].source == "核算 accounts: purchased - sold + converted_out"
    assert line(*gate, ("consumed", None, 1140.0))["consumed"].value == pytest.approx(114.0)  # the whole is measured
    assert line(gate[3], ("consumed", "office", 10.0))["consumed"].value == pytest.approx(91.0)
    assert line(gate[3])["purchased"].value is None


def test_a_year_that_is_not_over_has_no_figure_yet(plant: Site) -> None:
    stock, report = papers.paper(plant, "stock", ENTERPRISE, 2026, AT), papers.paper(plant, "utilisation", ENTERPRISE, 2026, AT)
    tables = ((stock["stock"].rows, "consumed"), (report["consumption"].rows, "quantity"), (report["consumption"].rows, "calorific_tce"))
    for rows, name in tables:
        asked = [row[name] for row in rows if row[name] != papers.Cell()]
        assert asked
        assert all(cell.value is None and "年度未结束" in cell.missing for cell in asked)


def test_the_utilisation_report_holds_both_bases_and_says_what_the_enterprise_fills_in(plant: Site) -> None:
    file = written(plant, "utilisation")
    rows = cells(file, "consumption")
    total, assessed = (next(row for row in rows if name in column(row, "carrier")) for name in ("综合能耗", "考核口径"))
    named = [row for row in rows if column(row, "unit") is None]
    assert column(assessed, "calorific tce") == pytest.approx(accounts(plant)["calorific_tce"])  # neither feedstock nor new renewable power
    assert column(total, "calorific tce") == pytest.approx(accounts(plant)["calorific_tce"])
    assert column(total, "equivalent tce") is None  # no coefficient of electricity for the year
    parts = sum(column(row, "calorific tce") for row in rows if row not in named)
    assert parts == pytest.approx(column(total, "calorific tce"))
    assert {row["sheet"] for row in cells(file, papers.SOURCES) if "art. 53" in (row["why it is empty"] or "")} == {"措施 measures"}
    [goal] = cells(file, "goals")
    assert (column(goal, "item"), column(goal, "kind of goal")) == ("综合能耗（当量值） energy, calorific basis", "上限 at most")
    assert (column(goal, "target"), column(goal, "actual")) == (2500.0, pytest.approx(column(total, "calorific tce")))
    assert column(goal, "gap ratio") == pytest.approx((column(total, "calorific tce") - 2500) / 2500)
    without = papers.paper(plant, "utilisation", ENTERPRISE, 2026, AT)["goals"].rows
    assert ["no budget" in row["target"].missing for row in without] == [True]
    assert ENTERPRISE in {row[next(title for title in row if title.endswith("value"))] for row in cells(file, "unit")}


def test_the_fitting_table_counts_points_and_says_that_the_requirement_is_not_known(plant: Site) -> None:
    file = written(plant, "fitting")
    unit, equipment = cells(file, "fitting")
    assert (column(unit, "needed"), column(unit, "fitted"), column(unit, "fitting_ratio"), column(unit, "points without meter")) == (2, 1, 0.5, "P-2")
    assert (column(equipment, "needed"), column(equipment, "fitted")) == (1, 0)
    assert column(unit, "required class") is None
    assert any("GB 17167" in (row["why it is empty"] or "") for row in cells(file, papers.SOURCES))
    meters = {column(row, "point"): row for row in cells(file, "meters")}
    assert (column(meters["P-1"], " meter"), column(meters["P-1"], "accuracy class")) == ("E-1", "0.5S")
    assert column(meters[None], " meter") == "C-1"  # stands at no declared point


def test_a_requirement_that_the_site_brings_is_compared(plant: Site, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "metering_requirements.csv").write_text(
        "level,medium,fitting_at_least_ratio,class_at_most,valid_from,source\nunit,electricity,1,0.5,2020-01-01,copy of the site\n", encoding="utf-8",
    )
    section = plant.settings.site.model_copy(update={"tables_dir": folder})
    site = Site(plant.settings.model_copy(update={"site": section}))
    row = papers.paper(site, "fitting", ENTERPRISE, 2025, AT)["fitting"].rows[0]
    site.close()
    assert (row["fitting_at_least_ratio"].value, row["class_at_most"].value, row["class_met"].value) == (1.0, 0.5, 1)
    assert row["class_met"].source == "copy of the site"


def test_the_commands_write_what_the_api_gives_and_refuse_what_does_not_exist(plant: Site, tmp_path: Path) -> None:
    settings = tmp_path / "tcewatch.toml"
    settings.write_text(f'[site]\ndata_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    plant.close()

    def run(*words: str) -> Any:
        return CliRunner().invoke(build(words[0]), [*words, "--settings", str(settings)], catch_exceptions=True)

    out = tmp_path / "F.xlsx"
    done = run("papers", "stock", "--enterprise", ENTERPRISE, "--year", "2025", "--out", str(out), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["file"] == str(out)
    assert column(cells(out, "stock")[0], "purchased") == 3720.0
    assert isinstance(run("papers", "fitting", "--enterprise", "nobody", "--year", "1066", "--out", str(out)).exception, BadInputError)
    assert run("papers", "fitting", "--enterprise", ENTERPRISE, "--year", "2025", "--out", str(tmp_path / "F.csv")).exit_code == 2
    listed = json.loads(run("signs", "list", "--json", "--state", "seen").stdout)
    night = next(row for row in listed if row["rule"] == "night_load")
    assert (night["status"], night["period"]) == ("open", "2026-02-01")
    assert night["innocent_en"]
    assert night["actual"] == pytest.approx(1000 / 24)
    assert run("signs", "look", ENTERPRISE, "night_load", "2026-02-01", "--note", "pumps", "--by", "Li").exit_code == 0
    again = json.loads(run("signs", "list", "--json", "--state", "seen").stdout)
    assert [(row["status"], row["note"], row["looked_at_by"]) for row in again if row["rule"] == "night_load"] == [("looked_at", "pumps", "Li")]
    assert isinstance(run("signs", "look", ENTERPRISE, "night_load", "2020-01-01", "--note", "x").exception, BadInputError)


def test_months_that_end_just_under_their_limit_are_signs_too(plant: Site) -> None:
    row = {"enterprise": ENTERPRISE, "product": "p", "indicator": "i", "verdict": "complies", "actual": 99.0, "excess": -1.0, "excess_ratio": -0.01}
    kinds = {"month": (date(2026, 2, 1), date(2026, 2, 28)), "rolling_12_months": (date(2025, 3, 1), date(2026, 2, 28))}
    running = pl.DataFrame([row | {"period_kind": kind, "period_start": first, "period_end": last} for kind, (first, last) in kinds.items()])
    plant.derived.write_result("running", schemas.conform(running, schemas.RUNNING))
    found = pipeline_signs.signs(plant, AT).filter(rule="just_under_limit", state="seen")
    assert found["period"].to_list() == ["2026-02-01/2026-02-28"]


def test_signs_come_from_the_site_and_never_read_as_verdicts(plant: Site) -> None:
    found = pipeline_signs.signs(plant, AT)
    assert found.schema == pipeline_signs.SIGNED
    assert set(found["state"]) <= {"seen", "unknown"}
    steady = found.filter(rule="stopped_plant").row(0, named=True)
    assert (steady["state"], steady["status"]) == ("unknown", "open")
    assert found.filter(rule="night_load", state="seen").height == 1
    assert (found.filter(state="seen")["source"].str.len_chars() > 0).all()
    assert (found.filter(state="unknown")["missing_zh"].str.len_chars() > 0).all()


# --- pages and API ---

@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", ["/signs", f"/signs?enterprise={FOREIGN}", "/papers", "/papers?year=2024", "/papers?year=2099"])
def test_the_pages_are_in_both_languages(log_in: Callable[[str], Any], language: Language, path: str) -> None:
    browser = log_in("admin")
    browser.cookies.set("tcewatch_language", language)
    text = browser.get(path).text
    words = {"zh": ("待查线索", "能源利用状况报告"), "en": ("Signs to look at", "energy utilisation report")}[language]
    assert words["papers" in path] in text
    assert "<script>alert" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sign_and_every_line_of_evidence_has_its_words(language: Language) -> None:
    for rule in core.RULES:
        for kind in ("sign", "sign-how", "sign-innocent"):
            assert term(language, kind, rule) != rule
    source = Path(core.__file__).read_text(encoding="utf-8")
    figures = {line.strip()[2:].split('"')[0] for line in source.splitlines() if line.strip().startswith('("')}
    assert len(figures) > 15
    zh = {figure for figure in figures if term("zh", "sign-figure", figure) == figure}
    assert zh == set()


class TestNotes:
    """On a copy of the seeded site, since these tests write."""

    @pytest.fixture
    def site(self, site: Site, tmp_path: Path) -> Iterator[Site]:
        shutil.copytree(site.data_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("readings.duckdb*"))
        settings = {"site": {"data_dir": tmp_path / "copy"}, "store": {"database_url": f"sqlite:///{tmp_path}/copy/site.db"}}
        one = Site(site_settings.build(settings))
        yield one
        one.close()

    def test_a_sign_is_shown_with_its_evidence_and_a_note_by_who_looked(self, log_in: Callable[[str], Any]) -> None:
        browser = log_in("admin")
        text = browser.get("/signs").text
        assert "metered energy against bills" in text or "计量与账单不符" in text
        assert "B-2" in text
        assert "electricity · consumed" in text or "电力 · 消费" in text
        assert "475,000 – 525,000" in text
        token = form_token(browser, "/signs")
        sign = {"enterprise": FOREIGN, "rule": "energy_against_bills", "subject": "electricity/consumed", "period": "2026-02"}
        assert browser.post("/signs", data={**sign, "token": token, "note": " "}).status_code == 422
        assert browser.post("/signs", data={**sign, "token": "none", "note": "x"}).status_code == 400
        assert browser.post("/signs", data={**sign, "token": token, "note": "x", "period": "2020-02"}).status_code == 404
        assert browser.post("/signs", data={**sign, "token": token, "note": "the bill is of 28 days"}).status_code == 303
        assert "the bill is of 28 days" in browser.get("/signs").text
        [row] = browser.get("/api/v1/signs?state=seen").json()["items"]
        assert (row["status"], row["looked_at_by"], row["looked_at"][:19]) == ("looked_at", "admin", f"{NOW:%Y-%m-%dT%H:%M:%S}")
        assert [line["value"] for line in row["evidence"]] == pytest.approx([604_800.0, 500_000.0])


def test_signs_are_for_those_who_look_into_them_and_only_of_their_parks(log_in: Callable[[str], Any]) -> None:
    assert log_in("viewer").get("/signs").status_code == 403
    assert log_in("viewer").get("/api/v1/signs").status_code == 403
    regulator = log_in("regulator")
    assert FOREIGN not in regulator.get("/signs").text
    assert {row["enterprise"] for row in regulator.get("/api/v1/signs").json()["items"]} <= {CARBIDE, FERRO}
    sign = {"enterprise": FOREIGN, "rule": "energy_against_bills", "subject": "electricity/consumed", "period": "2026-02", "note": "x"}
    assert regulator.post("/signs", data={**sign, "token": form_token(regulator, "/signs")}).status_code == 404


def test_signs_come_page_by_page_and_as_tables_with_their_evidence(log_in: Callable[[str], Any]) -> None:
    api = log_in("admin")
    whole = api.get("/api/v1/signs").json()["items"]
    paged, path = [], "/api/v1/signs?limit=4"
    following: str | None = ""
    while following is not None:
        answer = api.get(path + (f"&cursor={following}" if following else "")).json()
        paged += answer["items"]
        following = answer["next"]
    assert paged == whole
    table = pl.read_csv(BytesIO(api.get("/api/v1/signs?format=csv&state=seen").content))
    assert json.loads(table["evidence"].item())[1]["source"] == "B-2"
    assert pl.read_parquet(BytesIO(api.get("/api/v1/signs?format=parquet").content)).height == len(whole)


def test_papers_are_downloaded_by_those_who_see_the_enterprise(log_in: Callable[[str], Any]) -> None:
    viewer = log_in("viewer")
    path = "/api/v1/exports/papers/stock?year=2025&enterprise="
    answer = viewer.get(path + FOREIGN)
    assert answer.headers["content-type"].startswith("application/vnd.openxmlformats")
    assert answer.headers["content-disposition"].endswith(f'stock-{FOREIGN}-2025.xlsx"')
    assert {column(row, " code") for row in cells(BytesIO(answer.content), "stock")} >= {"01", "33", "40"}
    assert viewer.get(path + CARBIDE).status_code == 404
    assert viewer.get("/api/v1/exports/papers/stock?year=2099&enterprise=" + FOREIGN).status_code == 404
    assert viewer.get("/api/v1/exports/papers/other?year=2025&enterprise=" + FOREIGN).status_code in {404, 422}
    items = viewer.get(path + FOREIGN + "&format=json").json()["items"]
    assert {item["column"] for item in items if item["missing"]} >= {"purchased", "non_industrial"}
    assert viewer.get(path + FOREIGN + "&format=csv").text.startswith("\ufeffsheet,row,column,value,source,missing")
    assert b"=HYPERLINK" not in viewer.get(path + FOREIGN + "&format=csv").content.replace(b"'=HYPERLINK", b"")
