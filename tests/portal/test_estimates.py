"""Estimates asked for on the page, over the API and on the command line: whose, by whom, and what is said of them."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from config import settings as site_settings
from config.schemas import INTERVAL
from pipeline.site import Site
from portal.i18n import LANGUAGES
from tests.portal.conftest import form_token
from tests.portal.seeded import CARBIDE, FOREIGN, NOW, PASSWORD, _register
from tests.portal.test_cli_register import STEEL, Run, workbook
from tests.portal.test_cli_register import run as run

HOUR = timedelta(hours=1)
MIDNIGHT = datetime(2026, 3, 8, 16, tzinfo=UTC)  # begin of 9 March, the day before NOW
DAY = {"from": "2026-03-09", "to": "2026-03-09"}
HIDDEN = 5


def keep_hours(site: Site, days: int, *keys: int) -> None:
    """So many days up to that midnight and eight hours of the day itself, of which HIDDEN are missing from one on."""
    places = [place for place in range(-24 * days, 24) if not 1 <= place < 1 + HIDDEN]
    rows = [
        (key, MIDNIGHT + HOUR * place, MIDNIGHT + HOUR * (place + 1), 10.0 + place % 3, "measured", 1.0, 0.0) for key in keys for place in places
    ]
    frame = pl.DataFrame(rows, schema=INTERVAL, orient="row")
    frame = frame.with_columns(day=pl.col("start").dt.convert_time_zone("Asia/Shanghai").dt.date())
    site.derived.replace("hourly", frame, frame.select("register_key", "day").unique())


@pytest.fixture(scope="module")
def own_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with one gap in each of two parks."""
    one = Site(site_settings.build({"site": {"data_dir": tmp_path_factory.mktemp("estimated")}}))
    one.register.apply(_register(), by="tests", known_from=NOW - timedelta(days=400))
    for name in ("admin", "operator", "regulator", "viewer"):
        one.people.add_user(name, PASSWORD, [name], None if name == "admin" else ["P1"], NOW)
    keys = dict(one.register.names().filter(meter="E-1").select("enterprise", "register_key").iter_rows())
    keep_hours(one, 70, keys[CARBIDE], keys[FOREIGN])
    yield one
    one.close()


@pytest.fixture
def site(own_site: Site) -> Iterator[Site]:
    """That site without any estimate that waits or counts."""
    yield own_site
    edits = own_site.edits
    for state, undo in (("waiting", edits.refuse), ("effective", edits.withdraw)):
        numbers = edits.rows(states=[state])["edit"].to_list()
        if numbers:
            undo(numbers, at=NOW, reason="the test is over", **{"checker" if state == "waiting" else "by": "one"})
    if waiting := edits.waiting()["edit"].to_list():
        edits.check(waiting, checker="another", at=NOW)


def ask(browser: Any, **given: Any) -> Any:
    return browser.post("/api/v1/estimates", json={**DAY, **given})


def test_what_is_asked_for_waits_in_the_name_of_who_asked(site: Site, log_in: Callable[[str], Any]) -> None:
    answer = ask(log_in("operator"))
    assert answer.status_code == 201
    [row] = answer.json()["items"]  # the other park's gap is not theirs
    assert (row["enterprise"], row["meter"], row["unit"], row["estimated_h"]) == (CARBIDE, "E-1", "kWh", HIDDEN)
    assert row["low"] <= row["quantity"] <= row["high"]
    waiting = site.edits.waiting().row(0, named=True)
    assert (waiting["edit"], waiting["maker"], waiting["value"]) == (row["edit"], "operator", pytest.approx(row["quantity"]))
    assert log_in("regulator").post("/api/v1/edits/check", json={"edits": [row["edit"]]}).status_code == 200
    assert ask(log_in("operator")).json()["items"] == []


@pytest.mark.parametrize(("who", "given", "status"), [
    ("viewer", {}, 403), ("regulator", {}, 403), ("operator", {"enterprise": FOREIGN}, 404), ("operator", {"meter": "E-9"}, 422),
    ("operator", {"to": "2026-03-08"}, 422), ("operator", {"from": "2025-12-08"}, 201), ("operator", {"from": "2025-12-07"}, 422),
    ("operator", {"method": "manual"}, 422), ("operator", {"more": 1}, 422),
])
def test_who_may_ask_for_what(site: Site, log_in: Callable[[str], Any], who: str, given: dict[str, Any], status: int) -> None:
    assert ask(log_in(who), **given).status_code == status
    assert site.edits.waiting().is_empty() == (status != 201)


def test_no_form_of_another_site_can_ask(site: Site, log_in: Callable[[str], Any]) -> None:
    browser = log_in("operator")
    answer = browser.post("/api/v1/estimates", content=json.dumps(DAY), headers={"content-type": "text/plain"})
    assert answer.status_code in (415, 422)
    said = {"first": "2026-03-09", "last": "2026-03-09", "method": "auto", "token": "not ours"}
    assert browser.post("/estimates", data=said).status_code == 400
    assert site.edits.waiting().is_empty()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_shows_what_was_proposed_with_its_reason(site: Site, log_in: Callable[[str], Any], language: str) -> None:
    browser = log_in("operator")
    browser.cookies.set("tcewatch_language", language)
    said = {"first": "2026-03-09", "last": "2026-03-09", "method": "like_days", "token": form_token(browser, "/estimates")}
    text = browser.post("/estimates", data=said).text
    assert ("mean of the same hours of" if language == "en" else "同类日相同时段的平均值") in text
    number = site.edits.waiting()["edit"].item()
    assert f'<a href="/edits/{number}">{number}</a>' in text
    assert ("No gap, or an estimate" if language == "en" else "无缺失时段") in browser.post("/estimates", data=said).text
    assert site.edits.waiting().height == 1


def test_the_page_tells_what_is_wrong(log_in: Callable[[str], Any]) -> None:
    browser = log_in("operator")
    token = form_token(browser, "/estimates")
    answer = browser.post("/estimates", data={"first": "2026-03-09", "last": "2026-03-01", "token": token})
    assert answer.status_code == 422
    assert "2026-03-01 is before 2026-03-09" in answer.text
    foreign = browser.post("/estimates", data={"first": "2026-03-09", "last": "2026-03-09", "enterprise": FOREIGN, "token": token})
    assert foreign.status_code == 422
    assert "is not yours to see" in foreign.text
    assert log_in("viewer").get("/estimates").status_code == 403


# --- the command ---

@pytest.fixture
def gap(run: Run, tmp_path: Path) -> None:
    """Thirty days of one meter, with a gap."""
    assert run("register", "import", workbook(tmp_path / "in.xlsx"))[0] == 0
    one = Site(site_settings.build({"site": {"data_dir": tmp_path / "var"}}))
    keep_hours(one, 30, one.register.names()["register_key"][0])
    one.close()


@pytest.mark.usefixtures("gap")
def test_a_command_proposes_and_tells_the_numbers(run: Run) -> None:
    code, out, _ = run("edits", "estimate", "--from", "2026-03-01", "--to", "2026-03-09", "--meter", "E-1", "--json")
    assert code == 0
    [row] = json.loads(out)
    assert (row["edit"], row["meter"], row["method"], row["back_tests"] < 39, row["low"]) == (1, "E-1", "like_days", True, None)
    [listed] = json.loads(run("edits", "list", "--json")[1])
    assert (listed["maker"], listed["kind"], listed["state"]) == ("estimation", "estimate", "waiting")
    assert run("edits", "estimate", "--from", "2026-03-01", "--to", "2026-03-09")[1].endswith(
        "0 estimates proposed, 0 gaps without one; `tcewatch edits list` shows what waits\n",
    )


@pytest.mark.usefixtures("gap")
def test_a_command_tells_all_that_is_wrong_with_it(run: Run) -> None:
    assert run("edits", "estimate", "--from", "2026-03-09", "--to", "2026-03-01")[0] == 3
    Path("l.csv").write_text("meter,register,linked_meter,linked_register\nE-1,import,E-8,import\nE-1,import,E-1,import\n", encoding="utf-8")
    code, _, err = run(
        "edits", "estimate", "--from", "2026-03-01", "--to", "2026-03-09", "--enterprise", STEEL, "--meter", "E-7", "--method", "linked",
        "--linked", "l.csv",
    )
    assert code == 3
    assert "--meter: E-7 is not in the register" in err
    assert "l.csv row 2 column linked_meter: the register is not known" in err
    assert "l.csv row 3: the register has a row before" in err
