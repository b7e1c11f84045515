import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from pipeline.site import Site
from portal.app import create_app
from portal.auth import FAILURES_PER_ADDRESS, FAILURES_PER_NAME, WINDOW, Throttle
from tests.portal.conftest import Clock, TestClient, form_token
from tests.portal.seeded import CARBIDE, EVIDENCE, FERRO, FOREIGN, NOW, PASSWORD, POISON

OPEN = {"/login", "/language/{language}", "/health/live", "/health/ready", "/metrics"}  # /metrics has a rule of its own, tested below
VALUES = {"park": "P1", "enterprise": CARBIDE, "gateway": "GW-1", "number": "1", "message": "19", "index": "-1", "table": "limits",
          "edit": "1", "sha256": EVIDENCE, "kind": "fitting"}


def queries(days: str) -> dict[str, str]:
    """What the routes that cannot do without are asked for."""
    first, last = days.split("/")
    span = f"?from={first}&to={last}"
    return {
        "/api/v1/readings": f"?from={first}T00:00:00Z&to={last}T00:00:00Z", "/api/v1/consumption": span, "/api/v1/data-quality": span,
        "/api/v1/data-quality/verdicts": span, "/api/v1/projects/expected": span,
        "/api/v1/exports/papers/{kind}": f"?enterprise={CARBIDE}&year={first[:4]}",
    }


def every_route(app: FastAPI) -> list[APIRoute]:
    """All routes that the application answers, those of included routers too."""

    def walk(routes: Any) -> Iterator[APIRoute]:
        for route in routes:
            if isinstance(route, APIRoute):
                yield route
            elif hasattr(route, "original_router"):
                yield from walk(route.original_router.routes)

    return list(walk(app.routes))


def address(route: APIRoute) -> str:
    return route.path.format(**{name: VALUES.get(name, "zh") for name in route.param_convertors})


def test_no_route_but_the_open_ones_answers_a_stranger(app: FastAPI, guest: Any) -> None:
    routes = every_route(app)
    assert len(routes) > 40
    for route in routes:
        if route.path in OPEN:
            continue
        for method in route.methods:
            answer = guest.request(method, address(route))
            if route.path.startswith("/api/v1"):
                assert answer.status_code == 401, route.path
                assert answer.headers["content-type"] == "application/problem+json"
            else:
                assert (answer.status_code, answer.headers["location"][:12]) == (303, "/login?next="), route.path


def test_every_read_route_of_pages_and_api_answers_an_administrator(app: FastAPI, log_in: Callable[[str], Any]) -> None:
    browser = log_in("admin")
    query = queries("2026-01-01/2026-01-02")
    for route in every_route(app):
        if "GET" in route.methods and route.path not in {"/language/{language}", "/metrics", "/api/v1/receipts/{receipt}"}:
            answer = browser.get(address(route) + query.get(route.path, ""))
            assert answer.status_code == 200, (route.path, answer.text[:300])


def test_a_live_part_whose_session_ended_sends_the_browser_to_the_login(guest: Any) -> None:
    answer = guest.get("/parks/P1/live", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


# --- the login ---

def test_the_right_password_opens_a_session_in_a_cookie_that_scripts_and_other_sites_cannot_use(guest: Any) -> None:
    answer = guest.post("/login", data={"name": "admin", "password": PASSWORD, "token": form_token(guest), "next": "/alerts"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts")
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("tcewatch_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_the_login_leads_to_where_the_visitor_wanted_to_go(guest: Any) -> None:
    asked = guest.get("/alerts?show=all").headers["location"]
    assert 'name="next" value="/alerts?show=all"' in guest.get(asked).text


@pytest.mark.parametrize("onward", ["https://example.invalid/", "//example.invalid", "/\\example.invalid", "javascript:alert(1)", "/a\r\nX: y"])
def test_the_login_never_leads_to_another_site(guest: Any, onward: str) -> None:
    answer = guest.post("/login", data={"name": "admin", "password": PASSWORD, "token": form_token(guest), "next": onward})
    assert answer.headers["location"] == "/"
    assert guest.get("/language/en", params={"next": onward}).headers["location"] == "/"


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(guest: Any) -> None:
    pages = []
    for name in ("admin", "nobody-here"):
        answer = guest.post("/login", data={"name": name, "password": "wrong wrong wrong", "token": form_token(guest)})
        assert answer.status_code == 401
        pages.append(answer.text.replace(name, ""))
    assert pages[0] == pages[1]


def test_a_login_form_of_another_site_is_refused(guest: Any) -> None:
    form_token(guest)
    answer = guest.post("/login", data={"name": "admin", "password": PASSWORD, "token": "0" * 64})
    assert answer.status_code == 400
    assert "tcewatch_session" not in guest.cookies


def test_after_five_failures_even_the_right_password_has_to_wait(guest: Any, clock: Clock) -> None:
    def attempt(password: str) -> Any:
        return guest.post("/login", data={"name": "viewer", "password": password, "token": form_token(guest)})

    assert [attempt("wrong wrong wrong").status_code for _ in range(FAILURES_PER_NAME)] == [401] * FAILURES_PER_NAME
    refused = attempt(PASSWORD)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, str(int(WINDOW.total_seconds()) + 1))
    clock.now += WINDOW + timedelta(seconds=1)
    assert attempt(PASSWORD).status_code == 303


def test_an_address_that_tries_many_names_has_to_wait_too() -> None:
    throttle = Throttle()
    for number in range(FAILURES_PER_ADDRESS - 1):
        throttle.failed(f"name-{number}", "192.0.2.1", NOW)
    assert throttle.wait_s("another", "192.0.2.1", NOW) == 0
    throttle.failed("last", "192.0.2.1", NOW)
    assert throttle.wait_s("another", "192.0.2.1", NOW) > 0
    assert throttle.wait_s("another", "192.0.2.2", NOW) == 0


def test_a_session_ends_when_its_time_is_over(log_in: Callable[[str], Any], clock: Clock, site: Site) -> None:
    browser = log_in("admin")
    clock.now += timedelta(hours=site.settings.portal.session_hours) - timedelta(seconds=1)
    assert browser.get("/alerts").status_code == 200
    clock.now += timedelta(seconds=1)
    assert browser.get("/alerts").status_code == 303


def test_logging_out_needs_the_form_and_makes_a_copied_cookie_worthless(log_in: Callable[[str], Any]) -> None:
    browser = log_in("admin")
    copied = browser.cookies["tcewatch_session"]
    assert browser.post("/logout", data={"token": "0" * 64}).status_code == 400
    assert browser.get("/alerts").status_code == 200
    assert browser.post("/logout", data={"token": form_token(browser, "/alerts")}).status_code == 303
    browser.cookies.set("tcewatch_session", copied)
    assert browser.get("/alerts").status_code == 303


def test_a_forged_or_altered_cookie_proves_nothing(guest: Any, log_in: Callable[[str], Any]) -> None:
    good = log_in("viewer").cookies["tcewatch_session"]
    content, _, signature = good.rpartition(".")
    altered = ("A" if signature[0] != "A" else "B") + signature[1:]  # of the last letter not every bit counts
    for bad in ("", "x", f"{content}.{altered}", f"e30.{signature}"):
        guest.cookies.clear()
        guest.cookies.set("tcewatch_session", bad)
        assert guest.get("/alerts").status_code == 303


def test_the_key_of_sessions_is_kept_and_is_readable_by_its_owner_only(site: Site, app: FastAPI, log_in: Callable[[str], Any]) -> None:
    key = site.data_dir / "portal.key"
    assert (len(key.read_bytes()), key.stat().st_mode & 0o777) == (32, 0o600)
    before = key.read_bytes()
    create_app(site)
    assert key.read_bytes() == before
    assert not list(Path(key.parent).glob("tmp*"))


# --- tokens ---

@pytest.fixture(scope="session")
def tokens(site: Site) -> dict[str, str]:
    soon = NOW + timedelta(days=1)
    return {
        "all": site.people.add_token("t-all", ["read"], None, NOW, soon),
        "verdicts": site.people.add_token("t-verdicts", ["verdicts"], None, NOW, soon),
        "P2": site.people.add_token("t-p2", ["read"], ["P2"], NOW, soon),
    }


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_reads_what_its_scopes_name_and_nothing_else(guest: Any, tokens: dict[str, str]) -> None:
    assert guest.get("/api/v1/verdicts", headers=bearer(tokens["verdicts"])).status_code == 200
    for path in ("/api/v1/alerts", "/api/v1/parks", "/api/v1/energy", "/api/v1/quarantine", "/api/v1/figures"):
        assert guest.get(path, headers=bearer(tokens["verdicts"])).status_code == 403, path
        assert guest.get(path, headers=bearer(tokens["all"])).status_code == 200, path


def test_a_token_that_expired_or_is_unknown_is_refused_even_beside_a_good_session(
    log_in: Callable[[str], Any], tokens: dict[str, str], clock: Clock
) -> None:
    browser = log_in("admin")
    for headers in (bearer("tce_unknown"), {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer "}):
        assert browser.get("/api/v1/parks", headers=headers).status_code == 401
    clock.now += timedelta(days=2)
    assert browser.get("/api/v1/parks", headers=bearer(tokens["all"])).status_code == 401


def test_a_token_opens_no_page(guest: Any, tokens: dict[str, str]) -> None:
    assert guest.get("/alerts", headers=bearer(tokens["all"])).status_code == 303


# --- park scope ---

def test_nobody_sees_an_enterprise_of_another_park_in_any_list(log_in: Callable[[str], Any], app: FastAPI) -> None:
    inside = {"regulator": {CARBIDE, FERRO}, "viewer": {FOREIGN}, "nobody": set()}
    query = queries("2026-03-01/2026-03-03")
    ours = [route for route in every_route(app) if route.path.startswith("/api/v1") and "GET" in route.methods]
    lists = [route.path for route in ours if not route.param_convertors]
    assert len(lists) > 12
    for name, own in inside.items():
        browser = log_in(name)
        for path in lists:
            answer = browser.get(path + query.get(path, ""))
            if answer.status_code == 403:
                assert path in {"/api/v1/quarantine", "/api/v1/signs"}
                assert name != "regulator"
                continue
            seen = {item["enterprise"] for item in answer.json()["items"] if "enterprise" in item}
            assert seen <= own, (name, path)
            if path in {"/api/v1/readings", "/api/v1/consumption", "/api/v1/energy", "/api/v1/meters"}:
                assert seen == own, (name, path)


def test_the_list_of_one_park_shows_that_park_and_its_region_only(log_in: Callable[[str], Any]) -> None:
    browser = log_in("viewer")
    assert [item["park"] for item in browser.get("/api/v1/parks").json()["items"]] == ["P2"]
    assert [item["region"] for item in browser.get("/api/v1/regions").json()["items"]] == ["150400"]


@pytest.mark.parametrize(("known", "unknown"), [
    (f"/api/v1/enterprises/{CARBIDE}", "/api/v1/enterprises/91150900MA0T99999X"),
    ("/api/v1/parks/P1", "/api/v1/parks/P9"), ("/api/v1/alerts/1", "/api/v1/alerts/999"), ("/api/v1/cases/1", "/api/v1/cases/999"),
])
def test_what_is_out_of_scope_looks_like_what_does_not_exist(log_in: Callable[[str], Any], known: str, unknown: str) -> None:
    browser = log_in("viewer")
    there, nowhere = browser.get(known), browser.get(unknown)
    assert there.status_code == nowhere.status_code == 404
    assert there.json() | {"instance": ""} == nowhere.json() | {"instance": ""}
    assert log_in("regulator").get(known).status_code == 200


@pytest.mark.parametrize(
    "path", ["/parks/P1", "/parks/P1/live", f"/enterprises/{CARBIDE}", f"/enterprises/{CARBIDE}/registers", "/alerts/1", "/cases/1",
             f"/gateways/{CARBIDE}/GW-1/conformity"]
)
def test_pages_out_of_scope_are_not_there(log_in: Callable[[str], Any], path: str) -> None:
    assert log_in("viewer").get(path).status_code == 404
    assert log_in("nobody").get(path).status_code == 404
    assert log_in("regulator").get(path).status_code == 200


def test_quarantine_is_for_those_who_work_with_it_and_nobodys_messages_for_those_who_see_all(log_in: Callable[[str], Any]) -> None:
    assert log_in("viewer").get("/quarantine").status_code == 403
    assert log_in("viewer").get("/api/v1/quarantine").status_code == 403
    assert "/quarantine" not in log_in("viewer").get("/alerts").text
    numbers = {name: {item["message"] for item in log_in(name).get("/api/v1/quarantine").json()["items"]} for name in ("admin", "regulator")}
    nobodys = numbers["admin"] - numbers["regulator"]
    assert len(nobodys) == 1
    assert log_in("regulator").get(f"/api/v1/quarantine/{nobodys.pop()}/-1").status_code == 404


def test_poison_is_given_back_byte_by_byte(log_in: Callable[[str], Any]) -> None:
    browser = log_in("admin")
    row = next(item for item in browser.get("/api/v1/quarantine?reason=not_json").json()["items"])
    assert base64.b64decode(browser.get(f"/api/v1/quarantine/{row['message']}/-1").json()["raw"]) == POISON


# --- metrics ---

def test_metrics_are_free_from_this_machine_and_need_a_token_for_everything_from_elsewhere(
    app: FastAPI, guest: Any, tokens: dict[str, str]
) -> None:
    local = TestClient(app, client=("127.0.0.1", 5000))
    assert local.get("/metrics").status_code == 200
    assert local.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 401
    assert TestClient(app, client=("203.0.113.9", 5000)).get("/metrics").status_code == 401
    assert guest.get("/metrics").status_code == 401
    assert guest.get("/metrics", headers=bearer(tokens["P2"])).status_code == 403
    assert guest.get("/metrics", headers=bearer(tokens["verdicts"])).status_code == 403
    assert guest.get("/metrics", headers=bearer(tokens["all"])).status_code == 200
