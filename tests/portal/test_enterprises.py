"""Key energy users, access and projects as pages, API and commands: within the scope of who asks, in both languages."""

import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from config import settings as site_settings
from config.schemas import WARNING, conform
from pipeline.site import Site
from portal import enterprises
from portal.app import create_app
from portal.cli.calc import app as calc
from portal.cli.main import build
from portal.i18n import LANGUAGES, Language
from tests.portal.conftest import form_token
from tests.portal.seeded import CARBIDE, FERRO, FOREIGN, FORMULA, NOW, PASSWORD, XSS

LIST = b"minutes of a consultation"


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two parks with three enterprises that report energies, a project in each park, and no reading."""
    folder = tmp_path_factory.mktemp("registered")
    one = Site(site_settings.build({"site": {"data_dir": folder}, "store": {"database_url": f"sqlite:///{folder}/site.db"}}))
    owners, homes = [CARBIDE, FERRO, FOREIGN], ["P1", "P1", "P2"]
    plans = {"approved_on": date(2025, 3, 1), "approved_calorific_tce": 36_500.0, "start_by": date(2025, 12, 31), "name_zh": XSS, "approval": FORMULA}
    one.register.apply({
        "region": pl.DataFrame({"region": ["150900", "150400"], "name_zh": ["甲", "乙"]}),
        "park": pl.DataFrame({"park": ["P1", "P2"], "region": ["150900", "150400"], "name_zh": ["甲园区", "乙园区"]}),
        "enterprise": pl.DataFrame({"enterprise": owners, "name_zh": [XSS, "铁合金厂", FORMULA], "park": homes}),
        "medium_use": pl.DataFrame({"enterprise": owners, "medium": ["coal"] * 3, "source": ["a list"] * 3}),
        "project": pl.DataFrame([
            plans | {"project": "P-1", "enterprise": CARBIDE, "park": "P1", "product": "calcium_carbide", "design_value": 800.0,
                     "design_unit": "kgce/t", "planned_operation_on": date(2026, 7, 1)},
            plans | {"project": "P-2", "enterprise": FOREIGN, "park": "P2"},
        ], infer_schema_length=None),
        "quota": pl.DataFrame({"project": ["P-1"], "day": ["2025-03-01"], "kind": ["granted"], "document": ["d"], "calorific_tce": [36_500.0]}),
    }, by="tests", known_from=NOW)
    one.people.add_user("admin", PASSWORD, ["admin"], None, NOW)
    one.people.add_user("regulator", PASSWORD, ["regulator"], ["P1"], NOW)
    one.people.add_user("viewer", PASSWORD, ["viewer"], ["P2"], NOW)
    energies = [(CARBIDE, "2024", 9_000.0), (CARBIDE, "2025", 10_400.0), (FERRO, "2025", 8_000.0), (FOREIGN, "2025", 4_916.0)]
    one.figures.apply(pl.DataFrame([
        {"enterprise": owner, "period": year, "figure": figure, "value": tce * by}
        for owner, year, tce in energies for figure, by in (("energy_calorific_tce", 1.0), ("energy_equivalent_tce", 2.5))
    ]), maker="maker", at=NOW)
    one.figures.check_all(checker="checker", at=NOW)
    yield one
    one.close()


@pytest.fixture
def app(registered: Site) -> FastAPI:
    return create_app(registered, clock=lambda: NOW)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_say_it_in_both_languages_and_run_nothing_of_what_people_wrote(log_in: Callable[[str], Any], language: Language) -> None:
    browser = log_in("admin")
    browser.cookies.set("tcewatch_language", language)
    wanted: dict[str, dict[str, tuple[str, ...]]] = {
        "/key-units": {"zh": ("重点用能单位", "新进入", "接近10,000吨标准煤", "不一致", "可被指定"),
                       "en": ("key energy user", "entry", "near 10,000 tce", "differs", "may be designated")},
        "/key-units?year=2024": {"zh": ("首个已知年度",), "en": ("first known year",)},
        "/key-units?year=2001": {"zh": ("该年度能耗未知",), "en": ("No energy of that year is known",)},
        "/access": {"zh": ("实时", "无计量器具", "未达到"), "en": ("live", "no meter", "not met")},
        "/access?day=2026-03-09": {"zh": ("2026-03-09",), "en": ("2026-03-09",)},
        "/projects": {"zh": ("逾期未开工", "指标闲置", "达到先进值", "没有计划投产日期"),
                      "en": ("not begun in time", "quota left unused", "advanced", "no planned start of operation")},
    }
    for path, texts in wanted.items():
        answer = browser.get(path)
        assert answer.status_code == 200, path
        assert [text for text in texts[language] if text not in answer.text] == [], path
        assert "<script>alert" not in answer.text


@pytest.mark.parametrize(("who", "seen", "hidden", "park"), [("regulator", CARBIDE, FOREIGN, "P1"), ("viewer", FOREIGN, CARBIDE, "P2")])
def test_a_person_sees_their_parks_only(log_in: Callable[[str], Any], who: str, seen: str, hidden: str, park: str) -> None:
    browser = log_in(who)
    for path in ("/key-units", "/access", "/projects", "/api/v1/enterprises/key", "/api/v1/parks/access?of=enterprises", "/api/v1/projects"):
        text = browser.get(path).text
        assert seen in text, path
        assert hidden not in text, path
    for path in ("/api/v1/parks/access", "/api/v1/parks/access?from=2026-03-08&to=2026-03-09"):
        assert {row["park"] for row in browser.get(path).json()["items"]} == {park}
    expected = browser.get("/api/v1/projects/expected?from=2026-01-01&to=2026-12-01").json()["items"]
    assert {row["project"] for row in expected} == {{"P1": "P-1", "P2": "P-2"}[park]}


def test_the_api_lists_key_units_by_year_with_reason_and_source(log_in: Callable[[str], Any]) -> None:
    rows = log_in("admin").get("/api/v1/enterprises/key?year=2025").json()["items"]
    assert {row["enterprise"]: (row["status"], row["change"], row["bases_differ"], row["watch"]) for row in rows} == {
        CARBIDE: ("key", "entry", False, True), FERRO: ("designable", "first_known", True, False), FOREIGN: ("below", "first_known", True, True),
    }
    assert all("art. 52" in row["source"] and row["reason"] and row["reason_zh"] for row in rows)
    one = log_in("admin").get(f"/api/v1/enterprises/key?enterprise={CARBIDE}&format=csv").text
    assert one.count("\n") == 3
    assert log_in("admin").get(f"/api/v1/enterprises/{CARBIDE}").json()["enterprise"] == CARBIDE  # a path of words hides no enterprise


@pytest.mark.parametrize(("query", "status"), [
    ("?from=2026-03-01&to=2026-03-03", 200), ("?from=2026-03-01&to=2026-03-04", 400), ("?from=2026-03-02&to=2026-03-01", 400),
    ("?to=2026-03-01", 400), ("?of=enterprises&from=2026-03-01", 200), ("?of=enterprises&from=2026-03-01&to=2026-03-02", 400),
    ("?of=nobody", 422),
])
def test_access_is_asked_for_now_or_for_a_few_days(
    log_in: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, query: str, status: int,
) -> None:
    assert enterprises.LONGEST_DAYS == 31
    monkeypatch.setattr(enterprises, "LONGEST_DAYS", 3)
    answer = log_in("viewer").get(f"/api/v1/parks/access{query}")
    assert answer.status_code == status
    if query == "?from=2026-03-01&to=2026-03-03":
        assert {row["day"] for row in answer.json()["items"]} == {"2026-03-01", "2026-03-02", "2026-03-03"}


@pytest.mark.parametrize(("query", "status"), [
    ("from=2026-01-01&to=2035-12-31", 200), ("from=2026-01-01&to=2036-01-01", 400), ("from=2026-02-01&to=2026-01-31", 400),
])
def test_expected_energy_is_asked_for_ten_years_at_most(log_in: Callable[[str], Any], query: str, status: int) -> None:
    assert log_in("admin").get(f"/api/v1/projects/expected?{query}").status_code == status


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_budget_shows_beside_its_forecast_what_projects_will_add(
    registered: Site, log_in: Callable[[str], Any], language: Language,
) -> None:
    goals = {"level": ["park", "park", "park"], "subject": ["P1", "P2", "P1"], "measure": "calorific_tce", "kind": "ceiling",
             "period": ["2026", "2026", "2025"], "target": 1e5}
    registered.derived.write_result("budgets", conform(pl.DataFrame(goals), WARNING))
    browser = log_in("admin")
    browser.cookies.set("tcewatch_language", language)
    items = browser.get("/api/v1/budgets").json()["items"]
    assert [(one["subject"], one["period"], one["expected_tce"], one["expected_missing"]) for one in items] == [
        ("P1", "2025", None, None), ("P1", "2026", pytest.approx(100.0 * 184), None), ("P2", "2026", None, "P-2: no planned start of operation"),
    ]
    assert [FORMULA in (one["expected_source"] or "") for one in items] == [False, True, True]
    text = browser.get("/budgets?year=2026").text
    wanted = {"zh": ("新建项目预计新增", "P-2：没有计划投产日期"), "en": ("new projects, beside the forecast", "P-2: no planned start of operation")}
    assert [each for each in ("18,400", *wanted[language]) if each not in text] == []
    assert "new projects" not in browser.get("/budgets?year=2025").text


class TestMinutes:
    """Kept through the form, found on the page and by machines."""

    def send(self, browser: Any, **given: str) -> Any:
        fields = {"token": form_token(browser, "/projects"), "project": "P-1", "held_on": "2026-02-01", "subject": "the quota"} | given
        return browser.post("/projects/minutes", data=fields, files={"file": ("会商 1.pdf", LIST)})

    def test_minutes_are_kept_and_given_back_to_those_who_may_see_evidence(self, log_in: Callable[[str], Any]) -> None:
        admin = log_in("admin")
        assert self.send(admin).status_code == 303
        (row,) = admin.get("/api/v1/projects/minutes").json()["items"]
        assert (row["project"], row["held_on"], row["kept_by"]) == ("P-1", "2026-02-01", "admin")
        for path in (f"/projects/minutes/{row['evidence']}", f"/api/v1/projects/minutes/{row['evidence']}"):
            answer = log_in("regulator").get(path)
            assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, LIST, "application/octet-stream")
            assert log_in("viewer").get(path).status_code == 403
        assert log_in("admin").get("/api/v1/projects/minutes/" + "0" * 64).status_code == 404
        assert row["evidence"][:12] in admin.get("/projects").text
        assert log_in("viewer").get("/api/v1/projects/minutes").json()["items"] == []

    @pytest.mark.parametrize(("given", "what"), [
        ({"project": "P-9"}, "is not yours to see"), ({"held_on": "yesterday"}, "is no day"), ({"held_on": "2026-03-11"}, "is still to come"),
        ({"subject": " "}, "subject"),
    ])
    def test_what_does_not_fit_is_told_on_the_page(self, log_in: Callable[[str], Any], given: dict[str, str], what: str) -> None:
        answer = self.send(log_in("admin"), **given)
        assert answer.status_code == 422
        assert what in answer.text

    def test_a_foreign_form_and_a_reader_are_refused(self, log_in: Callable[[str], Any]) -> None:
        assert self.send(log_in("admin"), token="0" * 64).status_code == 400
        viewer = log_in("viewer")
        assert "name=\"held_on\"" not in viewer.get("/projects").text
        token = form_token(viewer, "/projects")
        fields = {"token": token, "project": "P-2", "held_on": "2026-02-01", "subject": "x"}
        assert viewer.post("/projects/minutes", data=fields, files={"file": ("a", LIST)}).status_code == 403


class TestCommands:
    """`tcewatch enterprises`, on the same site."""

    @pytest.fixture
    def run(self, registered: Site, tmp_path: Path) -> Callable[..., Any]:
        config = tmp_path / "tcewatch.toml"
        text = f'[site]\ndata_dir = "{registered.data_dir}"\n[store]\ndatabase_url = "{registered.settings.database_url}"\n'
        config.write_text(text, encoding="utf-8")

        def command(*words: str) -> Any:
            result = CliRunner().invoke(build("enterprises"), ["enterprises", *words, "--settings", str(config), "--json"], catch_exceptions=False)
            assert result.exit_code == 0, result.output
            return json.loads(result.stdout)

        return command

    def test_the_lists_are_those_of_the_api(self, run: Callable[..., Any]) -> None:
        assert {row["enterprise"]: row["status"] for row in run("key", "--year", "2025", "--on", "2026-03-10")} == {
            CARBIDE: "key", FERRO: "designable", FOREIGN: "below",
        }
        assert [row["status"] for row in run("key", "--on", "2025-12-31") if row["year"] == 2025] == ["unknown"] * 3
        assert {row["medium"] for row in run("access", "--day", "2026-03-09")} == {"coal", "water", "oil", "gas", "electricity", "all"}
        assert {row["state"] for row in run("access", "--who") if row["medium"] == "coal"} == {"no_meter"}
        assert [(row["project"], row["state"]) for row in run("projects", "--on", "2025-12-31")] == [("P-1", "approved"), ("P-2", "approved")]
        coming = run("expected", "--from", "2026-07", "--to", "2026-08", "--on", "2026-03-10")
        assert [row["calorific_tce"] for row in coming if row["period"]] == pytest.approx([3_100.0, 3_100.0])

    def test_minutes_are_kept_from_a_file(self, run: Callable[..., Any], tmp_path: Path, registered: Site) -> None:
        file = tmp_path / "minutes.txt"
        file.write_bytes(b"said")
        kept = run("minutes", "P-2", str(file), "--held-on", "2026-02-02", "--subject", "start", "--by", "clerk")
        assert registered.minutes.rows().filter(project="P-2")["evidence"].to_list() == [kept["evidence"]]


class TestCalc:
    """`tcewatch calc key-units` on files."""

    def files(self, tmp_path: Path, energy: str, *more: str) -> list[str]:
        (tmp_path / "e.csv").write_text(energy, encoding="utf-8")
        return ["key-units", "--energy", str(tmp_path / "e.csv"), "--on", "2026-06-01", "--out", "-", *more]

    def test_sites_reports_and_designations_come_together(self, tmp_path: Path) -> None:
        (tmp_path / "r.csv").write_text("enterprise,period,calorific_tce\nb,2025,7000\n", encoding="utf-8")
        (tmp_path / "d.csv").write_text("enterprise,authority,valid_from\nb,省,2026-01-01\n", encoding="utf-8")
        energy = "enterprise,period,calorific_tce,covered_ratio\na,2025,6000,1\na,2025,4000,1\nb,2025,100,0.2\n"
        words = self.files(tmp_path, energy, "--reported", str(tmp_path / "r.csv"), "--designations", str(tmp_path / "d.csv"))
        result = CliRunner().invoke(calc, words, catch_exceptions=False)
        rows = pl.read_csv(result.stdout.encode()).select("enterprise", "status", "figure").rows()
        assert rows == [("a", "key", "metered"), ("b", "designated", "reported")]

    def test_every_problem_is_named_by_row_and_column(self, tmp_path: Path) -> None:
        words = self.files(tmp_path, "enterprise,period,calorific_tce,covered_ratio\na,2025-03,1,1\na,2025,1,90\nb,2025,many,1\n")
        error = str(CliRunner().invoke(calc, words).exception)
        assert [part in error for part in ("row 2 column period", "row 3 column covered_ratio", "row 4 column calorific_tce")] == [True] * 3
