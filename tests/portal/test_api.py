import contextlib
import io
import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from config.errors import StoreUnavailableError
from config.lawbook import MODELS
from pipeline.site import Site
from portal.api.answers import Paging, cursor_of, listed
from portal.api.measured import MAX_REGISTER_DAYS, MAX_REGISTER_DAYS_OF_READINGS
from portal.api.problems import ProblemError
from portal.app import MAX_BODY_BYTES, create_app
from tests.portal.conftest import Clock, TestClient
from tests.portal.seeded import CARBIDE, FOREIGN, FORMULA, NOW, PASSWORD
from tests.portal.test_auth import every_route

MARCH = "from=2026-03-01T00:00:00%2B08:00&to=2026-03-03T00:00:00%2B08:00"


@pytest.fixture
def api(log_in: Callable[[str], Any]) -> Any:
    return log_in("admin")


def all_pages(api: Any, path: str, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = api.get(f"{path}{'&' if '?' in path else '?'}limit={limit}{cursor}").json()
        items += page["items"]
        if page["next"] is None:
            return items
        assert len(page["items"]) == limit
        cursor = f"&cursor={page['next']}"


# --- readings ---

def test_readings_of_a_span_come_with_names_units_and_words_for_their_quality(api: Any) -> None:
    items = api.get(f"/api/v1/readings?{MARCH}&enterprise={CARBIDE}&meter=E-1").json()["items"]
    assert len(items) == 6
    assert items[0] | {"received_at": "", "message": 0} == {
        "enterprise": CARBIDE, "meter": "E-1", "register": "active_import", "read_at": "2026-02-28T16:00:00Z", "copy": 0,
        "value": 1000 + 900 * 24 * 424, "unit": "kWh", "quality": "good", "received_at": "", "message": 0,
    }


def test_the_span_is_half_open(api: Any) -> None:
    def count(start: str, end: str) -> int:
        return len(api.get(f"/api/v1/readings?from={start}&to={end}&enterprise={CARBIDE}&meter=E-1").json()["items"])

    assert count("2026-02-28T16:00:00Z", "2026-02-28T16:00:01Z") == 1
    assert count("2026-02-28T15:59:59Z", "2026-02-28T16:00:00Z") == 0


def test_a_conflicting_value_is_shown_as_a_further_copy(api: Any) -> None:
    items = api.get(f"/api/v1/readings?from=2026-03-09T00:00:00Z&to=2026-03-10T00:00:00Z&enterprise={CARBIDE}&meter=E-1").json()["items"]
    assert sorted(item["copy"] for item in items) == [0, 0, 0, 1]


@pytest.mark.parametrize("limit", [1, 7, 59, 60, 61])
def test_pages_of_readings_together_are_all_readings_once(api: Any, limit: int) -> None:
    paged = all_pages(api, f"/api/v1/readings?{MARCH}&meter=E-1", limit)
    whole = api.get(f"/api/v1/readings?{MARCH}&meter=E-1&limit=5000").json()["items"]
    assert paged == whole
    assert len(whole) == 18


def test_a_long_range_is_read_in_parts_with_the_same_result(api: Any, site: Site) -> None:
    path = f"/api/v1/readings?from=2025-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&enterprise={FOREIGN}&meter=W-1"
    paged = all_pages(api, path, 500)
    key = site.register.names().filter(pl.col("enterprise") == FOREIGN, pl.col("meter") == "W-1")["register_key"].to_list()
    stored = site.readings().span(key, datetime.fromisoformat("2025-01-01T00:00:00Z"), datetime.fromisoformat("2026-03-01T00:00:00Z"))
    assert [item["value"] for item in paged] == stored["value"].to_list()


def test_a_range_that_asks_for_too_much_is_refused_before_it_runs(api: Any) -> None:
    answer = api.get("/api/v1/readings?from=2016-01-01T00:00:00Z&to=2026-01-01T00:00:00Z")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["max_register_days"]) == ("urn:tcewatch:problem:range-too-large", MAX_REGISTER_DAYS_OF_READINGS)
    one_register = f"/api/v1/readings?from=2016-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&enterprise={CARBIDE}&meter=E-1"
    assert api.get(one_register).status_code == 200
    assert api.get("/api/v1/consumption?from=0001-01-01&to=9999-12-31&grain=hour").json()["max_register_days"] == MAX_REGISTER_DAYS["hour"]


@pytest.mark.parametrize("query", ["from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z"])
def test_an_empty_range_is_a_mistake(api: Any, query: str) -> None:
    assert api.get(f"/api/v1/readings?{query}").json()["type"] == "urn:tcewatch:problem:empty-range"


@pytest.mark.parametrize(
    "query", ["", "from=2026-01-01T00:00:00&to=2026-01-02T00:00:00", "from=x&to=y", f"{MARCH}&enterprise=a%27b", f"{MARCH}&limit=0"]
)
def test_parameters_that_do_not_fit_are_told_one_by_one(api: Any, query: str) -> None:
    answer = api.get(f"/api/v1/readings?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_readings_that_another_process_holds_are_said_to_be_there(site: Site, clock: Clock) -> None:
    apart = TestClient(create_app(site, services=None, clock=clock))
    token = site.people.add_token("apart", ["read"], None, NOW, None)
    answer = apart.get(f"/api/v1/readings?{MARCH}", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:tcewatch:problem:readings-elsewhere")


# --- consumption and results ---

def test_days_add_up_to_what_the_register_shows(api: Any) -> None:
    items = api.get(f"/api/v1/consumption?from=2025-01-01&to=2025-12-31&enterprise={CARBIDE}&meter=E-1&limit=5000").json()["items"]
    assert len(items) == 365
    assert sum(item["quantity"] for item in items) == pytest.approx(900 * 24 * 365)
    assert (items[0]["start"], items[0]["unit"], items[0]["medium"]) == ("2024-12-31T16:00:00Z", "kWh", "electricity")


def test_hours_of_a_day_are_24(api: Any) -> None:
    assert len(api.get(f"/api/v1/consumption?from=2025-06-01&to=2025-06-01&grain=hour&enterprise={CARBIDE}&meter=E-1").json()["items"]) == 24


def test_energy_of_a_period_holds_the_periods_within_it(api: Any) -> None:
    periods = [item["period"] for item in api.get(f"/api/v1/energy?enterprise={CARBIDE}&period=2025-02").json()["items"]]
    assert periods == ["2025-02", *[f"2025-02-{day:02}" for day in range(1, 29)]]
    years = api.get(f"/api/v1/energy?enterprise={CARBIDE}&grain=year").json()["items"]
    assert [row["period"] for row in years] == ["2025", "2026"]
    assert years[0]["electricity_kwh"] == pytest.approx(900 * 24 * 365)


def test_carriers_name_the_source_of_their_coefficients(api: Any) -> None:
    coal = next(row for row in api.get(f"/api/v1/energy?by=carrier&enterprise={CARBIDE}&period=2025").json()["items"] if row["carrier"] == "raw_coal")
    assert coal["calorific_tce"] == pytest.approx(0.6 * 24 * 365 * 0.7143)
    assert coal["calorific_source"].startswith("GB/T 2589-2020")


def test_a_verdict_carries_what_it_rests_on(api: Any) -> None:
    [row] = api.get("/api/v1/verdicts?verdict=exceeds&closed=true").json()["items"]
    assert (row["enterprise"], row["standard"], row["standing"], row["binding_level"]) == (CARBIDE, "GB 21343-2023", "binding", 3)
    assert "1180.8" in row["derivation"]
    assert api.get("/api/v1/verdicts?verdict=complies").json() == {"items": [], "next": None}


def test_an_alert_and_a_case_come_with_facts_and_history(api: Any) -> None:
    alert = next(one for one in api.get("/api/v1/alerts?open=true").json()["items"] if one["rule"] == "above-limit")
    assert alert["facts"]["standard"] == "GB 21343-2023"
    assert [one["kind"] for one in api.get(f"/api/v1/alerts/{alert['id']}").json()["history"]] == ["opened"]
    case = api.get("/api/v1/cases/1").json()
    assert (case["state"], case["facts"]["standing"], case["history"][0]["recorded_by"]) == ("suspected", "binding", "watch")


def test_gateways_tell_their_gaps(api: Any) -> None:
    [row] = api.get(f"/api/v1/gateways?enterprise={CARBIDE}").json()["items"]
    assert (row["missing"], row["contiguous_seq"] < row["highest_seq"]) == (2, True)


def test_tables_show_their_rows_with_source(api: Any) -> None:
    assert [item["table"] for item in api.get("/api/v1/tables").json()["items"]] == sorted(MODELS)
    for table in MODELS:
        assert all(row["source"] for row in all_pages(api, f"/api/v1/tables/{table}", 500)), table
    for table in ("coal_equivalent", "limits"):
        rows = all_pages(api, f"/api/v1/tables/{table}", 50)
        assert len(rows) > 50
        assert all(row["source"] for row in rows)
    cement = next(row for row in rows if row["standard"] == "GB 16780-2021" and row["product"] == "cement")
    assert cement["parameters"] == "clinker_ratio altitude_m air_pressure_pa"
    assert pl.read_csv(api.get("/api/v1/tables/limits?format=csv").content)["parameters"].drop_nulls().n_unique() > 10
    assert api.get("/api/v1/tables/none").status_code == 404


# --- forms of an answer ---

def test_a_name_that_looks_like_a_formula_is_text_in_csv_and_numbers_stay_numbers(api: Any) -> None:
    answer = api.get("/api/v1/enterprises?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    frame = pl.read_csv(answer.content)
    assert frame.filter(pl.col("enterprise") == FOREIGN)["name_zh"][0] == "'" + FORMULA
    bulk = pl.read_csv(api.get(f"/api/v1/readings?{MARCH}&format=csv").content)
    assert bulk["value"].dtype == pl.Float64
    assert bulk.height == 90


def test_the_accept_header_chooses_the_form_too(api: Any) -> None:
    answer = api.get("/api/v1/energy", headers={"Accept": "application/vnd.apache.parquet"})
    frame = pl.read_parquet(io.BytesIO(answer.content))
    assert frame.height == len(all_pages(api, "/api/v1/energy", 5000))
    assert "attachment" in answer.headers["content-disposition"]


def test_bulk_readings_are_the_pages_together(api: Any) -> None:
    frame = pl.read_parquet(io.BytesIO(api.get(f"/api/v1/readings?{MARCH}&format=parquet").content))
    assert frame["value"].to_list() == [item["value"] for item in all_pages(api, f"/api/v1/readings?{MARCH}", 40)]


@pytest.mark.parametrize("path", ["/api/v1/alerts", "/api/v1/cases", "/api/v1/quarantine", "/api/v1/gateways", "/api/v1/figures", "/api/v1/verdicts"])
def test_every_list_has_a_csv_form(api: Any, path: str) -> None:
    assert pl.read_csv(api.get(f"{path}?format=csv").content).height == len(api.get(path).json()["items"])


@pytest.mark.parametrize("cursor", ["x", "e30", "bnVsbA", "W10", "WyJhIiwiYiIsImMiXQ", "%F0%9F%98%80", "WzFlOTk5XQ"])
@pytest.mark.parametrize("path", ["/api/v1/energy", "/api/v1/alerts", "/api/v1/quarantine", "/api/v1/verdicts", "/api/v1/tables/limits"])
def test_a_cursor_of_another_list_is_refused(api: Any, path: str, cursor: str) -> None:
    answer = api.get(f"{path}?cursor={cursor}")
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:tcewatch:problem:bad-cursor")


def _paging(limit: int, cursor: str | None) -> Paging:
    return Paging(Request({"type": "http", "headers": []}), None, limit, cursor)


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.dates(date(2025, 1, 1), date(2025, 1, 4)), st.integers(0, 3)),
    unique=True, max_size=20,
)


@given(rows=ROWS, limit=st.integers(1, 7))
def test_pages_of_any_list_are_the_list_in_order_nulls_included(rows: list[tuple[str | None, date | None, int]], limit: int) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.String(), "b": pl.Date(), "c": pl.Int64()}, orient="row")
    seen: list[Any] = []
    cursor = None
    for _ in range(len(rows) + 1):
        page = json.loads(bytes(listed(frame, ["a", "b", "c"], _paging(limit, cursor), "rows").body))
        seen += [(row["a"], row["b"], row["c"]) for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    expected = [(a, b and b.isoformat(), c) for a, b, c in frame.sort("a", "b", "c", nulls_last=False).rows()]
    assert seen == expected


@given(st.lists(st.none() | st.integers() | st.text(max_size=5) | st.booleans() | st.lists(st.integers(), max_size=2), max_size=4))
def test_no_invented_cursor_breaks_the_server(values: list[Any]) -> None:
    frame = pl.DataFrame({"a": ["x", None], "b": [date(2025, 1, 1), None], "c": [1, 2]})
    cursor = cursor_of({str(at): value for at, value in enumerate(values)}, [str(at) for at in range(len(values))])
    fits = len(values) == 3 and all(value is None or type(value) is kind for value, kind in zip(values, (str, int, int), strict=True))
    with contextlib.nullcontext() if fits and _small(values) else pytest.raises(ProblemError, match="cursor"):
        listed(frame, ["a", "b", "c"], _paging(1, cursor), "rows")


def _small(values: list[Any]) -> bool:
    return (values[1] is None or abs(values[1]) < 2**31) and (values[2] is None or abs(values[2]) < 2**63)


# --- the rest of the contract ---

def test_the_openapi_document_names_every_route_of_the_api(app: FastAPI, guest: Any) -> None:
    document = guest.get("/api/openapi.json").json()
    assert set(document["paths"]) == {route.path for route in every_route(app) if route.path.startswith(("/api/v1", "/health", "/metrics"))}
    assert guest.get("/docs").status_code == guest.get("/redoc").status_code == 404


def test_an_unknown_address_of_the_api_is_a_problem_document(api: Any) -> None:
    answer = api.get("/api/v1/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert api.post("/api/v1/parks").status_code == 405


def test_a_body_larger_than_any_form_is_refused(guest: Any) -> None:
    assert guest.post("/login", content=b"x" * (MAX_BODY_BYTES + 1), headers={"Content-Type": "application/x-www-form-urlencoded"}).status_code == 413


def test_a_store_that_is_away_is_said_so_without_its_address(site: Site, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise StoreUnavailableError("postgresql://db.example.invalid/secret", "connection refused")

    monkeypatch.setattr(site.register, "parks", away)
    answer = api.get("/api/v1/parks")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "secret" not in answer.text
    assert api.get("/").status_code == 503


def test_security_headers_are_on_every_answer(api: Any, guest: Any) -> None:
    answers = [guest.get(path) for path in ("/login", "/static/tcewatch.css", "/nowhere", "/health/live")]
    for answer in (api.get("/"), api.get("/api/v1/parks"), *answers):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert api.get("/").headers["cache-control"] == "no-store"
    assert "immutable" in guest.get("/static/tcewatch.css").headers["cache-control"]


def test_a_fault_of_ours_is_told_without_its_cause(site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(site, services=None, clock=clock)
    browser = TestClient(app, raise_server_exceptions=False)
    token = site.people.add_token("fault", ["read"], None, NOW, None)

    def broken() -> None:
        raise RuntimeError(PASSWORD)

    monkeypatch.setattr(site.register, "parks", broken)
    answer = browser.get("/api/v1/parks", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:tcewatch:problem:fault")
    assert PASSWORD not in answer.text
    assert "content-security-policy" in answer.headers


def test_quarantine_is_searched_through_the_api(api: Any) -> None:
    def found(**said: str) -> list[tuple[int, int]]:
        return [(item["message"], item["index"]) for item in api.get("/api/v1/quarantine", params=said).json()["items"]]

    assert found(kind="rejected", meter="E-9") == [(18, 0)]
    assert found(text="onerror") == [(20, -1)]
    assert found(topic="nobody") == [(21, -1)]
    assert found(**{"from": "2026-03-10T12:28:00+08:00"}) == [(21, -1)]
    assert found(replayed="true") == []
    assert api.get("/api/v1/quarantine", params={"from": "2026-03-10T12:28:00"}).status_code == 422
