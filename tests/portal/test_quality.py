"""Data quality as page, API and commands: the index, verifications, repairs and exchanges."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from config import settings as site_settings
from config.schemas import EXCHANGE, OUTAGE, QUALITY_PARTS, conform
from pipeline import quality
from pipeline.site import Site
from portal.cli.main import build
from portal.i18n import LANGUAGES, Language
from tests.pipeline.conftest import ENTERPRISE, register_tables
from tests.portal.seeded import CARBIDE, FERRO, FOREIGN

INDEX = "/api/v1/data-quality?of=index&from=2026-02-01&to=2026-03-31"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("query", ["", "?month=2026-02", f"?enterprise={CARBIDE}", "?month=2027-01"])
def test_the_page_shows_six_parts_and_what_is_due_in_both_languages(log_in: Callable[[str], Any], language: Language, query: str) -> None:
    browser = log_in("admin")
    browser.cookies.set("tcewatch_language", language)
    answer = browser.get(f"/quality{query}")
    assert answer.status_code == 200
    text = answer.text
    parts = {"zh": ("完整性", "准确性", "时效性", "可验证性", "有效性", "规范性"), "en": QUALITY_PARTS}[language]
    assert all(text.count(part) >= 2 for part in parts) == ("2027" not in query)
    assert ("已过期" if language == "zh" else "overdue") in text
    assert ("即将到期" if language == "zh" else "due soon") in text
    assert ("未登记检定" if language == "zh" else "none entered") in text
    assert "<script>alert" not in text


def test_the_page_of_an_enterprise_shows_its_meters_only(log_in: Callable[[str], Any]) -> None:
    text = log_in("admin").get(f"/quality?enterprise={FERRO}&month=2026-02").text
    assert "<code>E-1</code>" in text
    assert FOREIGN not in text
    assert "assumption of tcewatch" in text


def test_a_month_that_is_none_is_not_found(log_in: Callable[[str], Any]) -> None:
    assert log_in("admin").get("/quality?month=2026-13").status_code == 404


@pytest.mark.parametrize(("who", "seen", "hidden"), [("regulator", CARBIDE, FOREIGN), ("viewer", FOREIGN, CARBIDE)])
def test_a_person_sees_the_quality_of_their_parks_only(log_in: Callable[[str], Any], who: str, seen: str, hidden: str) -> None:
    browser = log_in(who)
    for path in ("/quality", INDEX, f"{INDEX}&by=meter", "/api/v1/meters?due=2026-12-31"):
        text = browser.get(path).text
        assert seen in text, path
        assert hidden not in text, path
    park = {"regulator": "P1", "viewer": "P2"}[who]
    assert {row["park"] for row in browser.get(f"{INDEX}&by=park").json()["items"]} == {park}
    for of in ("repairs", "exchanges"):
        assert hidden not in browser.get(f"/api/v1/data-quality?of={of}&from=2024-01-01&to=2026-03-31").text


def test_the_index_is_told_by_month_with_both_sides_of_each_ratio(log_in: Callable[[str], Any]) -> None:
    api = log_in("admin")
    rows = {(row["enterprise"], row["period"]): row for row in api.get(INDEX).json()["items"]}
    february = rows[FERRO, "2026-02"]
    assert (february["completeness_good"], february["completeness_total"], february["completeness_ratio"]) == (420, 5 * 24 * 28, 0.125)
    assert (february["accuracy_good"], february["accuracy_total"], february["accuracy_unknown"]) == (1, 2, 3)
    assert (february["state"], february["index_ratio"]) == ("incomplete", None)
    assert "accuracy" in february["missing"]
    assert february["meters"] == 5
    refused = [(rows[one, "2026-03"]["conformity_total"] or 0) - (rows[one, "2026-03"]["conformity_good"] or 0) for one in (CARBIDE, FERRO)]
    assert refused[0] - refused[1] >= 3  # a reading of no meter of theirs, two messages
    by_meter = api.get(f"{INDEX}&by=meter&enterprise={FERRO}").json()["items"]
    assert sum(row["completeness_good"] for row in by_meter if row["period"] == "2026-02") == 420
    whole = api.get(f"{INDEX}&grain=span&enterprise={FERRO}").json()["items"]
    assert [row["period"] for row in whole] == ["2026-02-01/2026-03-10"]


def test_an_index_of_some_days_is_named_by_them_and_days_to_come_have_none(log_in: Callable[[str], Any]) -> None:
    api = log_in("admin")
    some = api.get("/api/v1/data-quality?of=index&by=park&from=2026-01-20&to=2026-02-10").json()["items"]
    assert {row["period"] for row in some} == {"2026-01-20/2026-01-31", "2026-02-01/2026-02-10"}
    assert api.get("/api/v1/data-quality?of=index&from=2026-03-11&to=2026-03-12").json()["items"] == []


@pytest.mark.parametrize(("days", "found"), [
    ("", 1), ("&from=2026-02-01", 1), ("&from=2026-02-02", 0), ("&to=2026-01-31", 0), ("&to=2026-02-01", 1), ("&from=2026-01-31&to=2026-02-02", 1),
])
def test_repairs_and_exchanges_are_told_without_days_too(
    log_in: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, days: str, found: int,
) -> None:
    at = datetime(2026, 2, 1, 4, tzinfo=UTC)
    meter = {"enterprise": CARBIDE, "meter": "E-1"}
    outage = conform(pl.DataFrame([{**meter, "opened_at": at, "repaired_at": at + timedelta(hours=1), "state": "repaired_in_time"}]), OUTAGE)
    exchange = conform(pl.DataFrame([{**meter, "register": "total", "at": at}]), EXCHANGE)
    monkeypatch.setattr(quality, "repairs", lambda _site, _now: outage)
    monkeypatch.setattr(quality, "exchanges", lambda _site: exchange)
    for of in ("repairs", "exchanges"):
        assert len(log_in("admin").get(f"/api/v1/data-quality?of={of}{days}").json()["items"]) == found


def test_a_park_is_not_asked_for_one_enterprise(log_in: Callable[[str], Any]) -> None:
    answer = log_in("admin").get(f"{INDEX}&by=park&enterprise={FERRO}")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (400, "no-such-filter")


@pytest.mark.parametrize(("due", "meters"), [
    ("2026-01-30", {"W-1", "G-1", "O-1"}), ("2026-01-31", {"C-1", "W-1", "G-1", "O-1"}), ("2026-04-01", {"E-1", "C-1", "W-1", "G-1", "O-1"}),
])
def test_meters_are_listed_whose_verification_runs_out_by_a_day_or_has_no_known_end(log_in: Callable[[str], Any], due: str, meters: Any) -> None:
    rows = log_in("admin").get(f"/api/v1/meters?due={due}&enterprise={FERRO}").json()["items"]
    assert {row["meter"] for row in rows} == meters
    told = {row["meter"]: (row["verification"], row["days_left"], row["due_by"]) for row in rows}
    assert told["W-1"] == ("never", None, None)
    assert told.get("C-1", ("overdue", -38, "register")) == ("overdue", -38, "register")
    assert told.get("E-1", ("due_soon", 22, "register")) == ("due_soon", 22, "register")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The settings file of a small site whose meter was exchanged and entered late."""
    file = tmp_path / "tcewatch.toml"
    file.write_text(f'[site]\ndata_dir = "{tmp_path / "data"}"\n', encoding="utf-8")
    site = Site(site_settings.load(file))
    tables = register_tables()
    tables["meter"] = tables["meter"].with_columns(calibration_due=pl.Series(["2026-03-09", "2026-06-01"]))
    exchanged = datetime(2026, 3, 2, 2, tzinfo=UTC)
    site.register.apply(tables, by="test", known_from=exchanged - timedelta(days=400))
    event = {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "at": exchanged.isoformat(), "event": "change"}
    site.register.apply({"event": pl.DataFrame([event])}, by="test", known_from=exchanged + timedelta(days=8))
    site.close()
    return file


def run(*words: str, config: Path) -> Any:
    return CliRunner().invoke(build("meters"), ["meters", *words, "--settings", str(config)], catch_exceptions=False)


@pytest.mark.parametrize(("arguments", "found"), [
    (["--on", "2026-03-09"], {("E-1", "due_soon", 0)}), (["--on", "2026-03-10"], {("E-1", "overdue", -1)}),
    (["--on", "2026-03-10", "--within", "83"], {("E-1", "overdue", -1), ("C-1", "due_soon", 83)}),
    (["--on", "2026-03-10", "--within", "82"], {("E-1", "overdue", -1)}),
])
def test_the_command_lists_verifications_as_of_a_day(config: Path, arguments: list[str], found: set[Any]) -> None:
    rows = json.loads(run("due", *arguments, "--json", config=config).stdout)
    assert {(row["meter"], row["state"], row["days_left"]) for row in rows} == found
    assert "E-1" in run("due", *arguments, config=config).stdout


def test_the_command_lists_exchanges_that_were_entered_late_in_local_time(config: Path) -> None:
    row, = json.loads(run("exchanges", "--json", config=config).stdout)
    assert (row["in_time"], row["at"], row["due_at"]) == (False, "2026-03-02T10:00:00+08:00", "2026-03-06T00:00:00+08:00")


def test_a_report_is_kept_with_its_author_and_a_wrong_one_is_refused_with_all_that_is_wrong(config: Path) -> None:
    assert run("report", ENTERPRISE, "E-1", "--at", "2026-03-02T10:00", "--text", "burnt out", "--by", "someone", config=config).exit_code == 0
    site = Site(site_settings.load(config))
    row, = site.repairs.reports().to_dicts()
    assert (row["meter"], row["at"], row["reported_by"], row["report"], row["edit"]) == (
        "E-1", datetime(2026, 3, 2, 2, tzinfo=UTC), "someone", "burnt out", None,
    )
    assert site.audit.verify().broken is None
    site.close()
    assert json.loads(run("repairs", "--json", config=config).stdout) == []  # nothing was ever due
