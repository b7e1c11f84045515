"""Gateways and completeness as page, API and metrics."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from portal.i18n import LANGUAGES, Language
from tests.portal.conftest import TestClient
from tests.portal.seeded import CARBIDE, FERRO, FOREIGN

QUALITY = "/api/v1/data-quality?from=2026-03-01&to=2026-03-10"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_shows_state_clock_count_completeness_and_signs_in_both_languages(log_in: Callable[[str], Any], language: Language) -> None:
    browser = log_in("admin")
    browser.cookies.set("tcewatch_language", language)
    text = browser.get("/gateways").text
    assert ("在线" if language == "zh" else "online") in text
    assert ("数据过期" if language == "zh" else "stale") in text
    assert f'href="/gateways/{CARBIDE}/GW-1/conformity"' in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


@pytest.mark.parametrize(("who", "seen", "hidden"), [("regulator", CARBIDE, FOREIGN), ("viewer", FOREIGN, CARBIDE)])
def test_a_person_sees_the_gateways_and_the_completeness_of_their_parks_only(log_in: Callable[[str], Any], who: str, seen: str, hidden: str) -> None:
    browser = log_in(who)
    for path in ("/gateways", "/api/v1/gateways", QUALITY, f"{QUALITY}&of=messages"):
        text = browser.get(path).text
        assert seen in text, path
        assert hidden not in text, path


def test_the_api_tells_how_a_gateway_is(log_in: Callable[[str], Any]) -> None:
    rows = {row["enterprise"]: row for row in log_in("admin").get("/api/v1/gateways").json()["items"]}
    assert (rows[FERRO]["status"], rows[FERRO]["last_message_at"][:16], rows[FERRO]["missing"]) == ("online", "2026-03-10T04:00", 0)
    assert (rows[CARBIDE]["last_message_at"][:16], rows[CARBIDE]["lost"]) == ("2026-03-10T04:27", 0)


def test_completeness_is_told_by_register_and_day_and_by_gateway_and_day(log_in: Callable[[str], Any]) -> None:
    api = log_in("admin")
    readings = api.get(f"{QUALITY}&enterprise={FERRO}").json()["items"]
    row = next(one for one in readings if (one["meter"], one["day"]) == ("E-1", "2026-03-05"))
    assert (row["interval_min"], row["due"], row["received"], row["completeness_ratio"]) == (60, 24, 3, 0.125)  # read every eight hours
    messages = {row["enterprise"]: row for row in api.get(f"{QUALITY}&of=messages").json()["items"]}
    assert messages[CARBIDE]["missing"] == 2
    assert messages[CARBIDE]["due"] == messages[CARBIDE]["received"] + 2
    assert messages[FERRO]["completeness_ratio"] == 1.0


def test_too_many_days_at_once_are_refused(log_in: Callable[[str], Any]) -> None:
    assert log_in("admin").get("/api/v1/data-quality?from=1000-01-01&to=2999-01-01").status_code == 400


def test_metrics_count_gateways_by_status_and_registers_by_sign(app: FastAPI) -> None:
    text = TestClient(app, client=("127.0.0.1", 1)).get("/metrics").text
    assert 'tcewatch_gateways{status="online"} 3.0' in text
    assert 'tcewatch_gateways{status="silent"} 0.0' in text
    assert 'tcewatch_registers{sign="stale"}' in text
    assert f'tcewatch_gateway_messages_missing{{enterprise="{CARBIDE}",gateway="GW-1"}} 2.0' in text
    assert 'tcewatch_up{part="gateways"} 1.0' in text
