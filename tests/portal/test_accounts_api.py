"""The energy balance over the API: closing rows, flows, parks, and nothing of others."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from pipeline.site import Site
from tests.portal.seeded import CARBIDE, FERRO, FOREIGN, NOW, XSS


def items(browser: Any, query: str) -> list[dict[str, Any]]:
    answer = browser.get(f"/api/v1/balances?{query}&limit=1000")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_the_balance_of_a_year_closes_and_its_flows_are_those_of_its_rows(log_in: Callable[[str], Any]) -> None:
    rows = items(log_in("admin"), f"enterprise={FERRO}&period=2025")
    coal = {row["row"]: row for row in rows if (row["carrier"], row["period"]) == ("raw_coal", "2025")}
    assert coal["supplied"]["calorific_tce"] == pytest.approx(coal["consumed"]["calorific_tce"])
    assert coal["supplied"]["known_by"] == "difference"
    assert coal["residual"]["calorific_tce"] == 0.0
    flows = items(log_in("admin"), f"of=flows&enterprise={FERRO}&period=2025")
    [into] = [flow for flow in flows if (flow["source"], flow["target"], flow["period"]) == ("supplied", "raw_coal", "2025")]
    assert into["calorific_tce"] == pytest.approx(coal["consumed"]["calorific_tce"])


def test_a_viewer_of_one_park_sees_its_balances_and_sums_only(log_in: Callable[[str], Any]) -> None:
    viewer = log_in("viewer")
    assert {row["enterprise"] for row in items(viewer, "period=2025")} == {FOREIGN}
    assert {row["park"] for row in items(viewer, "of=parks")} == {"P2"}
    assert items(viewer, f"enterprise={CARBIDE}") == []


def test_a_park_is_the_sum_of_what_lies_in_it(log_in: Callable[[str], Any]) -> None:
    admin = log_in("admin")
    [park] = items(admin, "of=parks&park=P1&period=2025")[:1]
    assert (park["park"], park["block"], park["period"]) == ("P1", None, "2025")
    energy = admin.get("/api/v1/energy?grain=year&period=2025&limit=1000").json()["items"]
    inside = [row for row in energy if row["enterprise"] in {CARBIDE, FERRO}]
    assert park["electricity_kwh"] == pytest.approx(sum(row["electricity_kwh"] for row in inside))
    assert park["fresh_water_m3"] == pytest.approx(sum(row["fresh_water_m3"] for row in inside))


def test_stated_renewable_electricity_stands_with_its_proof_on_the_page_and_in_the_api(site: Site, log_in: Callable[[str], Any]) -> None:
    said = {"enterprise": FOREIGN, "period": "2025-12", "source": XSS}
    site.figures.apply(pl.DataFrame([
        said | {"figure": "renewable_electricity_kwh", "value": 4321.0}, said | {"figure": "new_renewable_electricity_kwh", "value": 1234.0},
    ]), maker="solar", at=NOW)
    viewer, path = log_in("viewer"), "/api/v1/figures?of=renewable"
    assert viewer.get(path).json()["items"] == []
    site.figures.check_all(checker="checker", at=NOW, maker="solar")
    assert viewer.get(path).json()["items"] == [
        {"enterprise": FOREIGN, "period": "2025-12", "renewable_kwh": 4321.0, "new_renewable_kwh": 1234.0, "source": XSS},
    ]
    assert viewer.get(f"{path}&enterprise={FERRO}").json()["items"] == []
    text = viewer.get(f"/enterprises/{FOREIGN}").text
    assert "已申报并有凭证的可再生电力" in text
    assert "1,234 kWh" in text
    assert XSS not in text
