"""Edits through the pages and the API: who may do what, what another site cannot do, and what is shown."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from fastapi import FastAPI

from config.schemas import conform
from pipeline.site import Site
from portal.api import edits as api_module
from portal.app import create_app
from portal.i18n import LANGUAGES
from portal.views import with_effect
from store.derived import FLAGGED
from tests.portal.conftest import Clock, TestClient, form_token
from tests.portal.seeded import CARBIDE, EVIDENCE, FOREIGN, NOW, PASSWORD, PHOTO, Health, Running, opened

START, END = (NOW - timedelta(hours=30)).isoformat(), (NOW - timedelta(hours=20)).isoformat()
ESTIMATE = {
    "enterprise": CARBIDE, "meter": "E-1", "register": "active_import", "kind": "estimate", "start": START, "end": END, "value": 90.0,
    "method": "manual", "reason": "the gateway was off",
}
CONFIRMATION = ESTIMATE | {"kind": "confirm", "value": None, "method": None}


@pytest.fixture(scope="module")
def own_site(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that these tests write to."""
    site = opened(shutil.copytree(history, tmp_path_factory.mktemp("edited") / "data"))
    site.people.add_user("operator", PASSWORD, ["operator"], ["P1"], NOW)
    site.people.add_user("second", PASSWORD, ["admin"], None, NOW)
    site.people.add_user("Admin", PASSWORD, ["admin"], None, NOW)  # another account of the same person
    yield site
    site.close()


@pytest.fixture
def site(own_site: Site) -> Site:
    return own_site


@pytest.fixture
def propose(log_in: Callable[[str], Any]) -> Callable[..., int]:
    """`propose("operator", value=1.0)`: the number of an edit that this person proposed, at a time of its own."""

    def post(who: str, **changes: Any) -> int:
        answer = log_in(who).post("/api/v1/edits", json={"edits": [{**ESTIMATE, "kind": "exclude", "value": None, "method": None, **changes}]})
        assert answer.status_code == 201, answer.text
        return int(answer.json()["edits"][0])

    return post


def token_of(browser: Any) -> str:
    return form_token(browser, "/edits")


def state(site: Site, number: int) -> str:
    return str(site.edits.rows(ids=[number])["state"].item())


# --- the API ---

def test_an_edit_passes_from_its_maker_to_a_checker_and_back_by_two_people(
    site: Site, log_in: Callable[[str], Any], propose: Callable[..., int],
) -> None:
    number = propose("operator")
    regulator = log_in("regulator")
    assert state(site, number) == "waiting"
    assert regulator.post("/api/v1/edits/check", json={"edits": [number]}).json() == {"edits": [number]}
    assert state(site, number) == "effective"
    assert regulator.post("/api/v1/edits/withdraw", json={"edits": [number], "reason": "a mistake"}).status_code == 200
    assert regulator.post("/api/v1/edits/check", json={"edits": [number]}).status_code == 422
    assert log_in("second").post("/api/v1/edits/check", json={"edits": [number]}).status_code == 200
    told = regulator.get(f"/api/v1/edits/{number}").json()
    assert (told["state"], told["maker"], told["checker"]) == ("withdrawn", "operator", "regulator")
    assert [step["step"] for step in told["history"]] == ["proposed", "checked", "withdrawal_asked", "withdrawn"]


@pytest.mark.parametrize(("flag", "effect", "said"), [
    ("replaced_set_aside", "set_aside", True), ("replaced", "counts", False), (None, None, False),
])
def test_of_a_replacement_in_force_it_is_told_whether_its_value_counts(
    site: Site, log_in: Callable[[str], Any], flag: str | None, effect: str | None, said: bool,
) -> None:
    start = NOW - timedelta(days=400)
    row = {"meter": "W-1", "register": "volume", "kind": "replace", "value": 4321.5, "method": None, "end": None, "start": start.isoformat()}
    regulator = log_in("regulator")
    number = log_in("operator").post("/api/v1/edits", json={"edits": [{**ESTIMATE, **row}]}).json()["edits"][0]
    day = start.astimezone(ZoneInfo(site.settings.site.zone)).date()
    told = conform(pl.DataFrame({"register_key": [key_of(site, "W-1")], "start": [start], "end": [start], "flag": [flag], "day": [day]}), FLAGGED)
    days = told.select("register_key", "day")
    site.derived.replace("flags", told if flag else told.clear(), days)
    try:
        assert regulator.get(f"/api/v1/edits/{number}").json()["effect"] is None, "it waits"
        regulator.post("/api/v1/edits/check", json={"edits": [number]})
        assert regulator.get(f"/api/v1/edits/{number}").json()["effect"] == effect
        listed = {item["edit"]: item["effect"] for item in regulator.get("/api/v1/edits?limit=5000").json()["items"]}
        assert listed[number] == effect
        for page in ("/edits", f"/edits/{number}"):
            assert ("无效果：被规则剔除" in regulator.get(page).text) is said
        [row] = [row for row in with_effect(site, site.edits.rows()).to_dicts() if row["edit"] == number]
        assert row["effect"] == effect
    finally:
        site.derived.replace("flags", told.clear(), days)
        regulator.post("/api/v1/edits/withdraw", json={"edits": [number], "reason": "a test"})
        log_in("second").post("/api/v1/edits/check", json={"edits": [number]})
    assert regulator.get(f"/api/v1/edits/{number}").json()["effect"] is None, "it is withdrawn"


def test_the_other_account_of_its_maker_cannot_check(site: Site, log_in: Callable[[str], Any], propose: Callable[..., int]) -> None:
    number = propose("admin")
    for who in ("admin", "Admin"):
        answer = log_in(who).post("/api/v1/edits/check", json={"edits": [number]})
        assert answer.status_code == 422
        assert "cannot check it too" in answer.json()["problems"][0]["what"]
    assert state(site, number) == "waiting"


@pytest.mark.parametrize(("who", "path", "status"), [
    ("regulator", "/api/v1/edits", 403), ("nobody", "/api/v1/edits", 403), ("operator", "/api/v1/edits", 201),
    ("operator", "/api/v1/edits/check", 403), ("nobody", "/api/v1/edits/refuse", 403), ("nobody", "/api/v1/edits/withdraw", 403),
    ("regulator", "/api/v1/evidence/a.jpg", 403), ("operator", "/api/v1/evidence/a.jpg", 201),
])
def test_roles_say_who_makes_and_who_checks(log_in: Callable[[str], Any], who: str, path: str, status: int) -> None:
    browser = log_in(who)
    if "evidence" in path:
        answer = browser.post(path, content=b"photo", headers={"Content-Type": "application/octet-stream"})
    else:
        answer = browser.post(path, json={"edits": [CONFIRMATION] if path.endswith("edits") else [1]})
    assert answer.status_code == status, answer.text


def test_nobody_edits_or_decides_beyond_their_parks(site: Site, log_in: Callable[[str], Any]) -> None:
    foreign = {**ESTIMATE, "enterprise": FOREIGN}
    assert log_in("operator").post("/api/v1/edits", json={"edits": [foreign]}).status_code == 404
    waiting = site.edits.waiting().filter(pl.col("enterprise") == FOREIGN)["edit"].item()
    assert log_in("regulator").post("/api/v1/edits/check", json={"edits": [waiting]}).status_code == 404
    assert log_in("regulator").get(f"/api/v1/edits/{waiting}").status_code == 404
    assert state(site, waiting) == "waiting"


def test_all_problems_of_a_proposal_come_at_once(log_in: Callable[[str], Any]) -> None:
    wrong = [ESTIMATE | {"meter": "E-9"}, ESTIMATE | {"end": START}, ESTIMATE | {"method": None}]
    answer = log_in("operator").post("/api/v1/edits", json={"edits": wrong})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert [problem["where"] for problem in answer.json()["problems"]] == ["edits row 1 column register", "edits row 2 column end",
                                                                          "edits row 3 column method"]
    assert log_in("operator").post("/api/v1/edits", json={"edits": [ESTIMATE | {"edit": 7}]}).status_code == 422


def test_a_token_proposes_only_with_the_scope_of_that_name_and_never_checks(site: Site, app: FastAPI) -> None:
    machine = TestClient(app)
    proposal = {"edits": [CONFIRMATION]}
    for name, scopes, status, listed in (("reader", ["read"], 403, 200), ("cmms", ["propose"], 201, 403)):
        text = site.people.add_token(name, scopes, ["P1"], NOW, None)
        headers = {"Authorization": f"Bearer {text}"}
        assert machine.post("/api/v1/edits", json=proposal, headers=headers).status_code == status
        assert machine.post("/api/v1/edits/check", json={"edits": [1]}, headers=headers).status_code == 403
        assert machine.get("/api/v1/edits", headers=headers).status_code == listed
    assert "token:cmms" in site.edits.rows()["maker"].to_list()


def test_what_a_form_of_another_site_can_send_changes_nothing(site: Site, log_in: Callable[[str], Any], propose: Callable[..., int]) -> None:
    number, admin = propose("operator"), log_in("admin")
    body = json.dumps({"edits": [number]})
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = admin.post("/api/v1/edits/check", content=body, headers={"Content-Type": content_type})
        assert answer.status_code in {415, 422}
        assert admin.post("/api/v1/evidence/a.jpg", content=b"x", headers={"Content-Type": content_type}).status_code == 415
    assert admin.post(f"/edits/{number}/check", data={"token": "wrong"}).status_code == 400
    assert admin.post("/edits/new", data={"kind": "exclude"}).status_code == 400
    assert state(site, number) == "waiting"
    assert admin.post(f"/edits/{number}/check", data={"token": token_of(admin)}).status_code == 303
    assert state(site, number) == "effective"


def test_evidence_comes_back_as_a_file_to_insiders_of_its_park_only(log_in: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    answer = log_in("regulator").get(f"/api/v1/evidence/{EVIDENCE}")
    assert answer.content == PHOTO
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%E7%85%A7%E7%89%87%201.jpg"
    assert log_in("viewer").get(f"/api/v1/evidence/{EVIDENCE}").status_code == 403
    assert log_in("regulator").get(f"/api/v1/evidence/{'0' * 64}").status_code == 404
    operator = log_in("operator")
    headers = {"Content-Type": "application/octet-stream"}
    kept = operator.post("/api/v1/evidence/note.txt", content=b"a note", headers=headers)
    assert operator.get(kept.headers["location"]).status_code == 404  # of no edit yet
    monkeypatch.setattr(api_module, "MAX_EVIDENCE_BYTES", 5)
    assert operator.post("/api/v1/evidence/note.txt", content=b"a note", headers=headers).status_code == 413


def test_consumption_names_the_edits_that_touch_it(log_in: Callable[[str], Any]) -> None:
    query = f"/api/v1/consumption?from=2026-03-01&to=2026-03-10&enterprise={CARBIDE}&meter=E-1"
    items = {item["start"][:10]: item["edits"] for item in log_in("admin").get(query).json()["items"]}
    assert 1 in items["2026-03-06"]  # from 16:00, a local day: the edit is of 2026-03-07 04:30 to the day after
    assert 1 in items["2026-03-07"]
    assert items["2026-03-05"] == items["2026-03-02"] == []
    assert "edits" in log_in("admin").get(query + "&format=csv").text.splitlines()[0]


# --- the pages ---

def test_the_queue_shows_what_waits_with_before_and_after_and_what_the_rules_found(site: Site, log_in: Callable[[str], Any]) -> None:
    row = {"meter": "W-1", "register": "volume", "kind": "replace", "value": 4321.5, "method": None, "end": None}
    first = site.readings().span([key_of(site, "W-1")], NOW - timedelta(hours=30), NOW)["read_at"][0]
    number = log_in("operator").post("/api/v1/edits", json={"edits": [{**ESTIMATE, **row, "start": first.isoformat()}]}).json()["edits"][0]
    text = unescape(log_in("regulator").get("/edits").text)
    waiting, flags = text.split('id="flags"')
    [line] = [one for one in waiting.split("<tr>") if f'href="/edits/{number}"' in one]
    assert "4,321.5" in line
    assert "读数：1条" in line
    assert f'action="/edits/{number}/check"' in line
    assert "the gateway was off" in line
    assert "归零" in flags
    assert "翻转" not in flags.split('id="done"')[0]  # a wrap needs nobody
    assert "/edits/new" not in flags  # a regulator proposes nothing
    mine = log_in("operator").get("/edits").text
    assert f'action="/edits/{number}/check"' not in mine
    assert "/edits/new?kind=reset" in unescape(mine)


def key_of(site: Site, meter: str) -> int:
    rows = site.register.registers().filter(pl.col("enterprise") == CARBIDE, pl.col("meter") == meter)
    return int(rows["register_key"].item())


def test_a_flag_that_somebody_confirms_leaves_the_list_when_it_is_proposed(site: Site, log_in: Callable[[str], Any]) -> None:
    operator = log_in("operator")
    found = re.search(r'href="(/edits/new\?kind=confirm[^"]+)"', operator.get("/edits").text)
    assert found is not None
    form = operator.get(unescape(found[1])).text
    said = dict(re.findall(r'<input name="(\w+)" value="([^"]*)"', form))
    filled = {name: unescape(value) for name, value in said.items()}
    answer = operator.post("/edits/new", data=filled | {"kind": "confirm", "token": token_of(operator), "reason": "the meter was exchanged"})
    assert answer.status_code == 303
    number = int(answer.headers["location"].rpartition("/")[2])
    assert site.edits.rows(ids=[number]).select("meter", "kind", "reason").row(0) == ("W-1", "confirm", "the meter was exchanged")
    assert "没有尚未确认的情况" in operator.get("/edits").text
    assert operator.post(f"/edits/{number}/withdraw", data={"token": token_of(operator), "reason": "typed twice"}).status_code == 303
    assert "没有尚未确认的情况" not in operator.get("/edits").text


def test_the_form_takes_evidence_and_tells_all_that_is_wrong(site: Site, log_in: Callable[[str], Any]) -> None:
    operator = log_in("operator")
    said = {"token": token_of(operator), "kind": "exclude", "enterprise": CARBIDE, "meter": "C-1", "register": "mass", "start": "2026-03-01T08:00:00",
            "end": "2026-03-01T09:00:00", "reason": "皮带秤校验"}
    wrong = operator.post("/edits/new", data=said | {"end": "2026-03-01T07:00:00", "meter": "C-9", "reason": "<b>why</b>"})
    assert wrong.status_code == 422
    assert wrong.text.count("<p>edits row 1 column") == 2
    assert "&lt;b&gt;why&lt;/b&gt;" in wrong.text
    assert operator.post("/edits/new", data=said | {"enterprise": FOREIGN}).status_code == 422
    done = operator.post("/edits/new", data=said, files={"evidence": ("..\\照片.jpg", b"\x00\xff photo", "image/jpeg")})
    assert done.status_code == 303
    shown = operator.get(done.headers["location"]).text
    link = re.search(r'href="(/api/v1/evidence/\w+)"', shown)
    assert link is not None
    answer = operator.get(link[1])
    assert answer.content == b"\x00\xff photo"
    assert answer.headers["content-disposition"].endswith("%E7%85%A7%E7%89%87.jpg")


def test_a_reset_is_declared_as_an_event_without_values_since_these_would_count_by_one_persons_word(site: Site, log_in: Callable[[str], Any]) -> None:
    operator = log_in("operator")
    said = {"token": token_of(operator), "kind": "reset", "enterprise": CARBIDE, "meter": "G-1", "register": "volume", "start": "2026-03-01T08:00:00",
            "closing_value": "512", "opening_value": "0"}
    assert operator.post("/edits/new", data=said | {"start": "yesterday"}).status_code == 422
    assert operator.post("/edits/new", data=said).headers["location"] == "/edits"
    event = site.register.events().filter(pl.col("register_key") == key_of(site, "G-1")).row(0, named=True)
    assert (event["event"], event["closing_value"], event["opening_value"]) == ("reset", None, None)
    assert event["at"].isoformat() == "2026-03-01T00:00:00+00:00"


def test_what_the_store_refuses_is_said_on_the_page_of_the_edit(site: Site, log_in: Callable[[str], Any], propose: Callable[..., int]) -> None:
    number = propose("admin")
    answer = log_in("Admin").post(f"/edits/{number}/check", data={"token": token_of(log_in("Admin"))})
    assert answer.status_code == 422
    assert "was made by admin, who cannot check it too" in answer.text
    assert log_in("regulator").post(f"/edits/{number}/refuse", data={"token": token_of(log_in("regulator")), "reason": "no"}).status_code == 303
    assert state(site, number) == "refused"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_of_an_enterprise_says_why_its_figures_changed(log_in: Callable[[str], Any], language: str) -> None:
    browser = log_in("admin")
    browser.cookies.set("tcewatch_language", language)
    text = browser.get(f"/enterprises/{CARBIDE}").text
    part = text[text.index('id="edits"') : text.index("</section>", text.index('id="edits"'))]
    assert 'href="/edits/1"' in part
    assert "checker" in part
    assert EVIDENCE[:12] in part
    assert 'id="edits"' not in log_in("admin").get(f"/enterprises/{FOREIGN}").text  # there it only waits


def test_without_the_readings_at_hand_the_queue_says_so(site: Site, clock: Clock, log_in: Callable[[str], Any]) -> None:
    apart = TestClient(create_app(site, services=Running(Health("portal")), clock=clock), cookies=log_in("admin").cookies)
    assert "读数不在本进程" in apart.get("/edits/2").text


def test_an_edit_outlives_the_registration_of_its_register(site: Site, log_in: Callable[[str], Any], propose: Callable[..., int]) -> None:
    number = propose("operator", meter="O-1", register="mass")
    rows = {"enterprise": [CARBIDE], "meter": ["O-1"], "withdrawn": [True]}
    gone = {name: pl.DataFrame(rows | {"register": ["mass"]}) for name in ("register", "assignment")}
    gone["assignment"] = gone["assignment"].with_columns(carrier=pl.lit("diesel"))
    gone["register"] = gone["register"].with_columns(unit=pl.lit("t"), kind=pl.lit("cumulative"))
    site.register.apply(gone, by="x", known_from=NOW)
    assert log_in("admin").get("/edits").status_code == 200
    assert "O-1/mass" in log_in("admin").get(f"/edits/{number}").text
    assert log_in("admin").get(f"/api/v1/edits/{number}").json()["meter"] == "O-1"


def test_lists_come_as_files_too(log_in: Callable[[str], Any]) -> None:
    lines = log_in("admin").get("/api/v1/edits?format=csv").text.splitlines()
    assert lines[0].lstrip("\ufeff").startswith("edit,kind,start,end,value")
    assert log_in("admin").get("/api/v1/edits?state=effective&limit=1").json()["items"][0]["edit"] == 1


@pytest.mark.parametrize(("changes", "status"), [
    ({"value": 1e308, "low": -1e308, "high": 1e308}, 201), ({"start": "0001-01-01T00:00:00+14:00"}, 422), ({"start": "2026-03-01T00:00:00"}, 422),
    ({"meter": "\0"}, 422), ({"reason": "\ud83d\0"}, 422), ({"evidence": "../../portal.key"}, 422), ({"enterprise": "x" * 10_000}, 404),
    ({"end": "9999-12-31T23:59:59-12:00"}, 422), ({"value": "many"}, 422), ({"kind": ""}, 422),
])
def test_hostile_proposals_get_an_answer(log_in: Callable[[str], Any], changes: dict[str, Any], status: int) -> None:
    month_ago = {"start": (NOW - timedelta(days=30)).isoformat(), "end": (NOW - timedelta(days=29)).isoformat()}
    body = json.dumps({"edits": [ESTIMATE | month_ago | changes]})
    answer = log_in("operator").post("/api/v1/edits", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text


def test_the_decided_ones_come_in_pages(
    site: Site, log_in: Callable[[str], Any], propose: Callable[..., int], monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(3):
        site.edits.refuse([propose("operator")], checker="x", at=NOW, reason="no")
    monkeypatch.setattr("portal.views.PAGE_ROWS", 2)
    text = log_in("admin").get("/edits").text
    following = re.search(r'href="(\?after=\d+)"', text)
    assert following is not None
    done = text.split('id="done"')[1]
    older = log_in("admin").get(f"/edits{following[1]}").text.split('id="done"')[1]
    numbers = [re.findall(r'scope="row"><a href="/edits/(\d+)"', part) for part in (done, older)]
    assert numbers[0] == sorted(numbers[0], key=int, reverse=True)
    assert int(numbers[1][0]) < int(numbers[0][-1])


def test_the_data_folder_holds_the_evidence(site: Site) -> None:
    assert (Path(site.data_dir) / "evidence" / EVIDENCE).read_bytes() == PHOTO
