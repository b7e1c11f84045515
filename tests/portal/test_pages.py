import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from fastapi import FastAPI

import config
import portal
from alerts.rules import FLAG_RULES, OF_FLAG
from config.errors import StoreUnavailableError
from config.settings import SiteSettings
from ingest.reasons import REASONS
from pipeline.conformity import recent, report
from pipeline.site import Site
from portal import casework, operation, views
from portal.app import create_app
from portal.i18n import LANGUAGES, Language, term
from portal.pages.render import age, full, moment, number, percent, sourced, static, unit_text
from portal.scope import Scope, scope_of
from store.people import Principal
from tests.portal.conftest import Clock, TestClient
from tests.portal.seeded import CARBIDE, FERRO, FOREIGN, NOW, Health, Running

FOLDER = Path(portal.__file__).parent
PAGES = ["/", "/parks/P1", f"/enterprises/{CARBIDE}", f"/enterprises/{FERRO}?grain=month", "/alerts", "/alerts?show=all", "/alerts/1", "/cases/1",
         "/quarantine", "/quarantine?reason=not_json", "/quarantine/19/-1", "/service", f"/gateways/{CARBIDE}/GW-1/conformity?seconds=86400",
         "/edits", "/edits/1", "/edits/2", *(f"/edits/new?kind={kind}" for kind in ("exclude", "replace", "confirm", "estimate", "reset")),
         "/estimates",
         "/quality", f"/quality?enterprise={CARBIDE}&month=2026-02", "/api/docs"]


@pytest.fixture
def browser(log_in: Callable[[str], Any]) -> Any:
    return log_in("admin")


class Shape(HTMLParser):
    """Which elements a page has, whether they nest, and every address that it names."""

    VOID = frozenset({"meta", "link", "input", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "action", "hx-get"} and value]
        self.inline += [f"{tag} {name}" for name in named if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in named and named.get("type") != "application/json"):
            self.inline.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def shape_of(text: str) -> Shape:
    shape = Shape()
    shape.feed(text)
    assert shape.open == []
    return shape


# --- every page ---

@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_is_whole_in_both_languages_and_names_no_other_host(browser: Any, path: str, language: Language) -> None:
    browser.cookies.set("tcewatch_language", language)
    text = browser.get(path).text
    shape = shape_of(text)
    assert f'<html lang="{"zh-CN" if language == "zh" else "en"}">' in text
    assert all(address.startswith(("/", "#", "?")) and not address.startswith("//") for address in shape.addresses)
    assert shape.inline == []
    assert "built-in method" not in text


@pytest.mark.parametrize("path", PAGES)
def test_hostile_names_and_payloads_are_text_on_every_page(browser: Any, path: str) -> None:
    text = browser.get(path).text
    assert "<script>alert" not in text
    assert "<img src=x" not in text


def test_the_hostile_name_is_really_there(browser: Any) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in browser.get("/").text
    assert "&lt;img src=x onerror=alert(1)&gt;" in browser.get("/quarantine/20/-1").text


def test_names_that_no_one_translated_are_shown_in_the_other_language(browser: Any) -> None:
    browser.cookies.set("tcewatch_language", "en")
    text = browser.get("/parks/P1").text
    assert "Park A" in text
    assert "电石制造" in text


def test_the_switch_remembers_the_language_and_comes_back(browser: Any) -> None:
    assert "园区总览" in browser.get("/alerts?show=all").text
    answer = browser.get("/language/en?next=%2Falerts%3Fshow%3Dall")
    assert answer.headers["location"] == "/alerts?show=all"
    assert "Park overview" in browser.get("/alerts?show=all").text
    assert browser.get("/language/fr").status_code == 404


# --- what they show ---

def test_the_overview_tells_what_came_in_what_it_adds_up_to_and_what_is_wrong(browser: Any) -> None:
    text = re.sub(r"\s+", " ", browser.get("/parks/P1").text)
    assert "<b>51</b>" in text  # messages
    assert "<b>19,515</b>" in text  # readings
    assert "超限额" in text
    assert "+25.6 %" in text
    assert "4 小时前" in text
    assert "7,200<small> kWh</small>" in text  # of the eight hours of today that are read
    assert "铁合金厂" in text
    assert "HYPERLINK" not in text  # the other park's


def test_the_live_part_is_a_part_and_says_the_same(browser: Any) -> None:
    part, whole = browser.get("/parks/P1/live").text, browser.get("/parks/P1").text
    assert "<html" not in part
    assert part.strip() in whole


def test_a_history_that_is_being_loaded_shows_how_far_it_is(site: Site, browser: Any) -> None:
    site.ledger.set_state("history_progress", '{"done": 250, "total": 1000}')
    try:
        assert '<progress class="bar" value="250" max="1000"' in browser.get("/").text
    finally:
        for over in ('{"done": 1000, "total": 1000}', ""):
            site.ledger.set_state("history_progress", over)
            assert "<progress" not in browser.get("/").text


def test_an_enterprise_shows_five_media_both_bases_and_what_a_verdict_rests_on(browser: Any) -> None:
    text = browser.get(f"/enterprises/{CARBIDE}").text
    for medium in ("coal", "water", "oil", "gas", "electricity"):
        assert f'id="chart-{medium}"' in text
    confirmed = "确认人 someone；所核对文本：printed copy"
    for words in ("当量值", "等价值", "GB 21343-2023", confirmed, "能耗 4723.3044 tce ÷ 产量 4000 t", "已确认", "9,361,000"):
        assert words in text
    assert "tce</small></th>" in text


def test_a_verdict_names_edition_and_clause_of_its_limit(browser: Any) -> None:
    assert "版本 2023 · 条款 4 表1" in browser.get(f"/enterprises/{CARBIDE}").text


def test_a_chart_has_sixty_days_and_the_numbers_of_the_daily_tables(browser: Any) -> None:
    found = re.search(r'id="chart-electricity">(.*?)</script>', browser.get(f"/enterprises/{CARBIDE}").text)
    assert found is not None
    data = json.loads(found[1])
    assert (len(data["periods"]), data["periods"][-1]) == (60, "2026-03-10")
    [series] = data["series"]
    assert (series["name"], series["unit"]) == ("电力", "kWh")
    assert series["values"][:-1] == pytest.approx([21_600.0] * 59)
    assert series["values"][-1] == pytest.approx(7200.0)


def test_months_are_those_of_the_running_year(browser: Any) -> None:
    text = browser.get(f"/enterprises/{CARBIDE}?grain=month").text
    assert '"periods": ["2026-01", "2026-02", "2026-03"]' in text
    assert browser.get(f"/enterprises/{CARBIDE}?grain=year").status_code == 404


def test_where_the_bases_lack_a_coefficient_the_page_says_so_instead_of_zero(browser: Any) -> None:
    text = browser.get(f"/enterprises/{CARBIDE}").text
    assert "电力 没有固定的等价值系数" in text
    assert 'class="figure lacking"' in text


def test_a_case_shows_its_frozen_evidence_and_its_history(browser: Any) -> None:
    text = browser.get("/cases/1").text
    for words in ("疑似", "立案时固定的证据", "1,181", "940.0", "watch"):
        assert words in text


def test_quarantine_counts_by_reason_filters_and_pages(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = browser.get("/quarantine").text
    assert text.count('class="count"') == 6  # all, and five reasons
    assert len(re.findall(r'href="/quarantine/\d+/', browser.get("/quarantine?reason=not_json").text)) == 1
    monkeypatch.setattr(views, "PAGE_ROWS", 2)
    seen: list[str] = []
    address = "/quarantine"
    while True:
        page = browser.get(address).text
        seen += re.findall(r'href="(/quarantine/\d+/-?\d+)"', page)
        following = re.search(r'href="(\?after=[\d_-]+)"', page)
        if following is None:
            break
        address = "/quarantine" + following[1]
    assert len(seen) == len(set(seen)) == 5
    assert browser.get("/quarantine?after=x").status_code == 404


def test_quarantine_is_searched_by_what_a_person_knows_of_a_row(browser: Any) -> None:
    def found(**said: str) -> set[str]:
        return set(re.findall(r'href="/quarantine/(\d+/-?\d+)"', browser.get("/quarantine", params=said).text))

    everything = found()
    assert found(meter="E-9") == {"18/0"}
    assert found(text="onerror") == {"20/-1"}
    assert found(topic="nobody/knows") == {"21/-1"}
    assert found(**{"from": "2026-03-10T12:27"}) < everything  # local time of the site
    assert found(to="2026-03-10T12:25") | found(**{"from": "2026-03-10T12:25"}) == everything
    assert found(gateway="nobody") == set()
    assert browser.get("/quarantine?from=yesterday").status_code == browser.get("/quarantine?from=2026-02-31T00:00").status_code == 404


def test_what_was_searched_for_stays_with_the_pages_that_follow(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PAGE_ROWS", 1)
    text = browser.get("/quarantine", params={"topic": "tce/v1", "from": "2026-01-01T00:00"}).text
    [onward] = re.findall(r'href="(\?[^"]*after=[\d_-]+)"', text)
    assert "topic=tce%2Fv1" in onward
    assert 'value="2026-01-01T00:00"' in text


def test_poison_is_shown_as_hexadecimal_and_text_as_text(browser: Any) -> None:
    assert "00000000  ff fe 3c 62 3e 6e 6f 74" in browser.get("/quarantine/19/-1").text
    assert "报文为空" in browser.get("/quarantine/21/-1").text


def test_a_reading_that_broke_a_rule_is_shown_with_the_message_that_it_came_in(browser: Any) -> None:
    text = browser.get("/quarantine/18/0").text
    assert "整个报文" in text
    assert "E-9" in text
    assert "many" in text


def test_the_service_page_shows_that_both_balances_close_and_who_has_gaps(browser: Any) -> None:
    text = browser.get("/service").text
    assert text.count("平衡</span>") == 2
    assert "不平衡" not in text
    assert text.count("有缺口") == 1


def test_the_conformity_of_a_gateway_is_shown_with_evidence_and_what_to_do(site: Site, browser: Any) -> None:
    address = f"/gateways/{CARBIDE}/GW-1/conformity"
    found = report(site, CARBIDE, "GW-1", recent(site, CARBIDE, "GW-1", NOW - timedelta(days=1)), at=NOW)
    for language in LANGUAGES:
        browser.cookies.set("tcewatch_language", language)
        text = unescape(browser.get(f"{address}?seconds=86400").text)
        for one in found.checks:
            assert getattr(one.evidence, language) in text
            assert getattr(one.remedy, language) in text
    assert {one.verdict for one in found.checks} > {"pass", "fail"}
    assert browser.get(f"/gateways/{CARBIDE}/GW-9/conformity").status_code == 404
    assert browser.get(f"{address}?seconds=0").status_code == 404


def test_a_service_that_died_is_seen_by_health_without_saying_why_to_strangers(site: Site, clock: Clock) -> None:
    services = Running(Health("collect"), Health("roll", ready=False, detail="the store is away"), Health("send", alive=False, ready=False))
    guest = TestClient(create_app(site, services=services, clock=clock))
    live, ready = guest.get("/health/live"), guest.get("/health/ready")
    assert (live.status_code, live.json()["parts"]) == (503, {"collect": "ok", "roll": "ok", "send": "failed"})
    assert (ready.status_code, ready.json()["parts"]["roll"]) == (503, "failed")
    assert "away" not in ready.text


def test_an_application_without_parks_says_what_to_do(log_in: Callable[[str], Any]) -> None:
    assert "尚未被分配园区" in log_in("nobody").get("/").text


def test_without_the_readings_at_hand_the_derived_hours_are_shown_and_it_says_so(site: Site, clock: Clock) -> None:
    apart = create_app(site, services=Running(Health("portal")), clock=clock).state.portal
    everyone = scope_of(site, Principal("x", frozenset({"viewer"}), None))
    rows, from_readings = operation.last_readings(apart, everyone)
    assert not from_readings
    assert rows["read_at"].max() == datetime(2026, 3, 10, 0, 0, tzinfo=UTC)
    assert rows["value"].null_count() == rows.height


# --- health and metrics ---

def test_health_is_good_where_everything_answers(guest: Any) -> None:
    assert guest.get("/health/live").json() == {"status": "ok", "parts": {"collect": "ok", "settle": "ok"}}
    assert set(guest.get("/health/ready").json()["parts"]) == {"database", "journal", "ledger", "disk", "readings", "collect", "settle"}


def test_a_store_that_is_away_makes_it_not_ready_but_leaves_it_alive(site: Site, guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise StoreUnavailableError("somewhere", "refused")

    monkeypatch.setattr(site.database, "ready", away)
    assert guest.get("/health/live").status_code == 200
    answer = guest.get("/health/ready")
    assert (answer.status_code, answer.json()["parts"]["database"]) == (503, "failed")


@pytest.mark.parametrize(("free_mb", "status", "said"), [(3000.0, 200, "ok"), (2047.0, 200, "low"), (255.0, 503, "failed")])
def test_a_disk_that_runs_short_is_told_and_one_without_reserve_is_not_ready(
    site: Site, guest: Any, app: FastAPI, monkeypatch: pytest.MonkeyPatch, free_mb: float, status: int, said: str
) -> None:
    monkeypatch.setattr(site, "free_mb", lambda: free_mb)
    answer = guest.get("/health/ready")
    assert (answer.status_code, answer.json()["parts"]["disk"]) == (status, said)
    told = re.search(r"^tcewatch_disk_free_bytes (\S+)$", TestClient(app, client=("127.0.0.1", 1)).get("/metrics").text, re.MULTILINE)
    assert told
    assert float(told[1]) == free_mb * 1048576


def test_metrics_hold_both_balances(app: FastAPI, site: Site) -> None:
    text = TestClient(app, client=("127.0.0.1", 1)).get("/metrics").text
    values = dict(re.findall(r"^(tcewatch_\w+(?:\{[^}]*\})?) ([\d.e+]+)$", text, re.MULTILINE))
    totals = site.ledger.totals()
    for outcome in ("decoded", "stored", "duplicate", "conflicting", "rejected"):
        assert float(values[f'tcewatch_readings_total{{outcome="{outcome}"}}']) == getattr(totals, outcome)
    assert float(values['tcewatch_messages_total{outcome="received"}']) == 51
    assert float(values[f'tcewatch_gateway_messages_missing{{enterprise="{CARBIDE}",gateway="GW-1"}}']) == 2
    assert float(values['tcewatch_service_alive{service="collect"}']) == 1
    assert float(values['tcewatch_up{part="ledger"}']) == 1


def test_what_the_broker_dropped_is_a_metric_where_the_broker_tells_it(site: Site) -> None:
    for figures, count in (({}, []), ({"broker_messages_dropped": 3}, ["3.0"])):
        app = create_app(site, services=Running(Health("collect", figures=figures)))
        text = TestClient(app, client=("127.0.0.1", 1)).get("/metrics").text
        assert re.findall(r"^tcewatch_broker_messages_dropped (\S+)$", text, re.MULTILINE) == count


# --- texts ---

def test_every_text_of_the_pages_is_translated_and_no_translation_is_left_over() -> None:
    found = {
        message for _, _, message, _, _ in
        extract_from_dir(FOLDER / "templates", method_map=[("**.html", "jinja2")], options_map={"**.html": {"trim_blocks": "true"}})
    } | {"just now"}
    catalogue = read_po(BytesIO((FOLDER / "i18n" / "zh.po").read_bytes()))
    translated = {message.id for message in catalogue if message.id and not message.context}
    assert found == translated
    for message in catalogue:
        assert message.string or not message.id
        assert set(re.findall(r"%\(\w+\)s", str(message.id))) == set(re.findall(r"%\(\w+\)s", str(message.string)))


def test_both_catalogues_have_a_word_for_the_same_codes() -> None:
    codes = [
        {(message.context, message.id) for message in read_po(BytesIO((FOLDER / "i18n" / f"{language}.po").read_bytes())) if message.context}
        for language in LANGUAGES
    ]
    assert {code for code in codes[0] if code[0] != "source"} == codes[1]  # sources are written in English where they stand


def test_the_sources_that_pages_show_are_told_in_chinese() -> None:
    shown = ("access_goals", "coal_equivalent", "consequences", "corrections", "energy_figures", "entry_conditions", "figure_rules",
             "key_unit_thresholds", "limits", "sign_rules", "warning_rules")
    tables = Path(config.__file__).parent / "tables"
    sources = {source for name in shown for source in pl.read_csv(tables / f"{name}.csv", infer_schema=False)["source"]}
    english = re.compile(r"(?<![/.\w-])(?!tcewatch)[a-z]{3,}(?![/.\w-])")  # a word, and no part of an address
    assert [source for source in sources if english.search(source) and sourced("zh", source) == source] == []
    left = {message.id for message in read_po(BytesIO((FOLDER / "i18n" / "zh.po").read_bytes())) if message.context == "source"} - sources
    assert left == set()
    assert sourced("zh", "一封信; assumption of tcewatch, to be set by the site; by the consumption of the period; GB/T 2589-2020 app. A") == (
        "一封信；tcewatch 的假定，由现场设定；按当期消费量；GB/T 2589-2020 附录A"
    )
    assert sourced("en", "recalled by the compiler") == "recalled by the compiler"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_and_every_carrier_has_a_word(site: Site, language: Language) -> None:
    for code in REASONS:
        assert term(language, "reason", code) != code
    for code in site.coefficients()["carrier"].unique():
        assert language == "en" or term(language, "carrier", code) != code, code
    assert term("en", "carrier", "electricity") == "electricity"
    assert term(language, "reason", "a_reason_of_tomorrow") == "a_reason_of_tomorrow"


def test_a_case_tells_how_its_figure_came_about_in_the_readers_language(browser: Any) -> None:
    for path in ("/cases/1", "/alerts/1"):
        for language, told, other in (
            ("zh", "能耗 4723.3044 tce ÷ 产量 4000 t", "energy 4723.3044 tce"), ("en", "energy 4723.3044 tce", "能耗 4723.3044 tce"),
        ):
            browser.cookies.set("tcewatch_language", language)
            text = browser.get(path).text
            assert told in text, (path, language)
            assert other not in text, (path, language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_fact_of_an_alert_and_a_case_has_a_word(site: Site, language: Language) -> None:
    everyone = scope_of(site, Principal("x", frozenset({"viewer"}), None))
    facts = {name for found in (casework.alert, casework.case) for name in found(site, everyone, 1)[0]["facts"]}
    assert {name for name in facts if "_" in name and term(language, "fact", name) == name} == set()


def test_every_fact_of_an_alert_on_a_flag_has_a_word() -> None:
    assert {name for name in OF_FLAG if term("zh", "fact", name) == name} == set()
    assert {flag for flag in FLAG_RULES if term("zh", "code", flag) == flag} == set()


# --- numbers and instants ---

@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(2.5, 0, "2"), (3.5, 0, "4"), (12.25, 1, "12.2"), (-12.35, 1, "-12.4"), (1234567.0, 0, "1,234,567"), (None, 2, "—")],
)
def test_numbers_are_rounded_as_gb_t_8170_says_for_display_only(value: float | None, digits: int, shown: str) -> None:
    assert number(value, digits) == shown


def test_a_number_beside_its_limit_never_looks_equal_to_it_unless_it_is() -> None:
    assert number(940.04, beside=940.0) != number(940.0, beside=940.04)
    assert number(940.0, beside=940.0) == "940.0"
    assert full(1180.8261) == "1,180.8261"
    assert percent(None) == "—"
    assert unit_text("10^4 Nm3") == "10⁴ Nm³"


@pytest.mark.parametrize(
    ("ago", "shown"), [(0, "刚刚"), (1, "1 秒前"), (119, "119 秒前"), (120, "2 分钟前"), (7200, "2 小时前"), (172_800, "2 天前"), (-5, "刚刚")]
)
def test_ages_are_told_in_the_largest_unit_that_fits_twice(ago: int, shown: str) -> None:
    assert age(NOW - timedelta(seconds=ago), now=NOW, language="zh") == shown


def test_instants_are_shown_in_the_zone_of_the_site() -> None:
    assert moment(datetime(2025, 12, 31, 16, tzinfo=UTC), zone=ZoneInfo(SiteSettings().zone)) == "2026-01-01 00:00"


def test_a_static_file_that_changes_gets_another_address() -> None:
    assert re.fullmatch(r"/static/tcewatch\.css\?v=[0-9a-f]{12}", static("tcewatch.css"))


# --- the scope itself ---

def test_a_table_that_names_neither_enterprise_nor_park_is_never_shown(site: Site) -> None:
    for parks in (None, frozenset({"P1"})):
        with pytest.raises(ValueError, match="cannot be shown"):
            scope_of(site, Principal("x", frozenset(), parks)).rows(pl.DataFrame({"value": [1]}))


def test_a_row_of_nobody_is_for_those_who_see_everything() -> None:
    rows = pl.DataFrame({"enterprise": [FOREIGN, None]})
    some = Scope(Principal("x", frozenset(), frozenset({"P2"})), everything=False, parks=frozenset({"P2"}), enterprises=frozenset({FOREIGN}))
    every = Scope(Principal("x", frozenset(), None), everything=True, parks=frozenset(), enterprises=frozenset())
    assert (some.rows(rows).height, every.rows(rows).height) == (1, 2)


@pytest.mark.parametrize(("language", "words"), [
    ("zh", ("2026 能源平衡表", "平衡差额", "综合能源消费量", "考核口径能源消费量", "差额推算")),
    ("en", ("Energy balance of 2026", "residual", "comprehensive energy", "as the dual-control assessment counts it", "by difference")),
])
def test_the_page_of_an_enterprise_shows_its_balance_its_flows_and_the_three_figures(browser: Any, language: str, words: tuple[str, ...]) -> None:
    browser.cookies.set("tcewatch_language", language)
    text = browser.get(f"/enterprises/{FERRO}", headers={"Accept-Language": language}).text
    for word in words:
        assert word in text
    assert '<svg class="sankey"' in text
    assert "<title>" in text.partition('<svg class="sankey"')[2]  # each flow says what it is and how much
