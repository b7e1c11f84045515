"""Reported figures beside the meters, on the page of an enterprise and in the API."""

from collections.abc import Callable
from html import unescape
from typing import Any

import polars as pl
import pytest

from tests.portal.seeded import CARBIDE, FERRO, FOREIGN, XSS

PATH = "/api/v1/reconciliations"


def section(browser: Any, enterprise: str) -> str:
    text = browser.get(f"/enterprises/{enterprise}").text
    assert "<script>alert" not in text
    return unescape(text.partition('id="reported"')[2].partition("</section>")[0])


@pytest.mark.parametrize(("language", "words"), [
    ("zh", ["填报数据与计量数据核对", "账单", "允差内", "计量", "28 天中的 28 天", "库存为负", "盘点", "入厂收货"]),
    ("en", ["Reported figures against the meters", "bill", "within", "metered", "28 of 28 days", "stock below zero", "receipt"]),
])
def test_an_enterprise_shows_what_it_reported_what_was_metered_and_what_counts(log_in: Callable[[str], Any], language: str, words: list[str]) -> None:
    browser = log_in("admin")
    browser.get(f"/language/{language}")
    found = section(browser, CARBIDE)
    for word in [*words, "2026-02", "600,000", "604,800", "2026-03-10 12:30", XSS]:
        assert word in found, word


def test_an_enterprise_without_figures_says_so(log_in: Callable[[str], Any]) -> None:
    browser = log_in("admin")
    browser.get("/language/en")
    assert "No monthly figure is reported and checked" in section(browser, FERRO)


def test_the_api_lists_figures_and_stocks_of_the_parks_that_one_may_see(log_in: Callable[[str], Any]) -> None:
    rows = log_in("admin").get(f"{PATH}?period=2026-02").json()["items"]
    bills = {row["enterprise"]: row for row in rows if row["kind"] == "bill"}
    assert {name: row["within"] for name, row in bills.items()} == {CARBIDE: True, FOREIGN: False}
    assert bills[FOREIGN]["difference"] == pytest.approx(104_800.0)
    assert (bills[CARBIDE]["counts"], bills[CARBIDE]["counted_quality"]) == ("metered", "measured")
    assert {row["enterprise"] for row in log_in("regulator").get(PATH).json()["items"]} == {CARBIDE}
    stocks = log_in("regulator").get(f"{PATH}?of=stocks&enterprise={CARBIDE}&period=2026-02").json()["items"]
    # 100 + 300 - 28 days of 14.4 t = -3.2 t.
    assert [(row["book_stock"], row["findings"]) for row in stocks] == [(pytest.approx(-3.2), "negative_stock")]


def test_the_list_has_a_csv_form(log_in: Callable[[str], Any]) -> None:
    browser = log_in("admin")
    for of in ("figures", "stocks"):
        answer = browser.get(f"{PATH}?of={of}&format=csv")
        assert pl.read_csv(answer.content, infer_schema_length=None).height == len(browser.get(f"{PATH}?of={of}").json()["items"]) > 0
