"""Gateways and completeness as page, API and metrics."""

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pytest
from fastapi import FastAPI

from portal import quality
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
    poor = text.partition("低于90%的寄存器" if language == "zh" else "Registers below 90 %")[2].partition("</table>")[0]
    assert "<code>E-1/" in poor
    assert "chip warn" in poor
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


@pytest.mark.parametrize(("below", "meters"), [(0.75, ["E-2"]), (0.76, ["E-2", "E-1"]), (1.0, ["E-2", "E-1"])])
def test_registers_with_less_than_their_share_come_the_worst_first_with_each_day(below: float, meters: list[str]) -> None:
    days = [date(2026, 3, 1), date(2026, 3, 2)]
    came = [("E-1", 0, 2), ("E-1", 1, 4), ("E-2", 0, 0), ("E-2", 1, 1), ("E-3", 0, 4), ("E-3", 1, 4)]
    rows = [("e", meter, "r", days[day], 4, received, received / 4) for meter, day, received in came]
    complete = pl.DataFrame(rows, schema=["enterprise", "meter", "register", "day", "due", "received", "completeness_ratio"], orient="row")
    found = quality.least_complete(complete, below)
    assert found["meter"].to_list() == meters
    assert found.row(0) == ("e", "E-2", "r", days, [0.0, 0.25])


def test_too_many_days_at_once_are_refused(log_in: Callable[[str], Any]) -> None:
    assert log_in("admin").get("/api/v1/data-quality?from=1000-01-01&to=2999-01-01").status_code == 400


def test_metrics_count_gateways_by_status_and_registers_by_sign(app: FastAPI) -> None:
    text = TestClient(app, client=("127.0.0.1", 1)).get("/metrics").text
    assert 'tcewatch_gateways{status="online"} 3.0' in text
    assert 'tcewatch_gateways{status="silent"} 0.0' in text
    assert 'tcewatch_registers{sign="stale"}' in text
    assert f'tcewatch_gateway_messages_missing{{enterprise="{CARBIDE}",gateway="GW-1"}} 2.0' in text
    assert 'tcewatch_up{part="gateways"} 1.0' in text
