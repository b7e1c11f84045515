"""Budgets and running verdicts on pages and in the API, within each scope."""

from collections.abc import Callable
from itertools import count

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pipeline.site import Site
from tests.portal.seeded import CARBIDE, FOREIGN, NOW

Enter = Callable[[str], TestClient]
NUMBERS = count()  # the site is one for all tests, and the name of a token is given once


@pytest.fixture
def machine(app: FastAPI, site: Site) -> Callable[[str, list[str] | None], TestClient]:
    def enter(scope: str, parks: list[str] | None) -> TestClient:
        token = site.people.add_token(f"budgets-{next(NUMBERS)}", [scope], parks, NOW, None)
        return TestClient(app, headers={"Authorization": f"Bearer {token}"})

    return enter


def test_the_page_shows_each_goal_with_its_colour_in_words_and_its_derivation(log_in: Enter) -> None:
    text = log_in("admin").get("/budgets?year=2026").text
    assert "红色" in text
    assert "甲园区" in text
    assert "上限（2026）：红色" in text
    assert "electricity_kwh" not in text  # the row has its name
    assert "已用完" in text  # 100 kWh a year, and 2,937,600 are gone
    assert "目标尚无数值" in text
    assert "<b>of the city</b>" not in text  # what people wrote is never markup
    assert text.count("此处未判定：综合评价排名前 10 位（需要园区综合评价排名）") == 1


def test_a_closed_year_has_its_page_and_a_subject_its_own(log_in: Enter) -> None:
    closed = log_in("admin").get("/budgets?year=2025").text
    assert "上限（2025）" in closed
    own = log_in("admin").get("/budgets?year=2026&subject=P1").text
    assert "甲园区" in own
    assert "乙园区" not in own


def test_everybody_sees_the_budgets_of_their_own_parks_only(log_in: Enter) -> None:
    viewer = log_in("viewer").get("/budgets?year=2026").text
    assert "乙园区" in viewer
    assert "甲园区" not in viewer
    assert "乌兰察布" not in viewer  # of a region: for whoever sees everything
    assert "乌兰察布" in log_in("admin").get("/budgets?year=2026").text


def test_the_api_gives_warnings_and_months_within_the_scope(machine: Callable[[str, list[str] | None], TestClient]) -> None:
    items = machine("budgets", None).get("/api/v1/budgets?period=2026").json()["items"]
    assert [(one["level"], one["measure"], one["colour"]) for one in items] == [
        ("enterprise", "electricity_kwh", "green"), ("park", "electricity_kwh", "red"), ("park", "fresh_water_m3", None),
        ("region", "electricity_kwh", "red"),
    ]
    months = machine("budgets", None).get("/api/v1/budgets?of=months&subject=P1").json()["items"]
    assert [one["period"] for one in months if one["known"]] == ["2026-01", "2026-02"]
    own = machine("budgets", ["P2"]).get("/api/v1/budgets").json()["items"]
    assert [one["subject"] for one in own] == ["P2"]
    assert machine("alerts", None).get("/api/v1/budgets").status_code == 403


def test_running_verdicts_say_which_of_them_may_be_a_finding(machine: Callable[[str, list[str] | None], TestClient], log_in: Enter) -> None:
    items = machine("verdicts", None).get("/api/v1/verdicts/running").json()["items"]
    assert [(one["enterprise"], one["period_kind"], one["may_find"]) for one in items] == [(CARBIDE, "calendar_year", True)]
    assert machine("verdicts", ["P2"]).get("/api/v1/verdicts/running").json()["items"] == []
    page = log_in("admin").get(f"/enterprises/{CARBIDE}").text
    assert "自然年" in page
    assert "可作认定" in page
    assert "尚无限额产品" in log_in("admin").get(f"/enterprises/{FOREIGN}").text
