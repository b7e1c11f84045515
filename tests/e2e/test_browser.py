"""A real browser opens every page in both languages: no error in its console, no request to another host."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from portal.app import create_app
from tests.conftest import wait_for
from tests.portal.seeded import CARBIDE, NOW, PASSWORD, Health, Running, opened

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.slow]
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]
PAGES = ["/", "/parks/P1", f"/enterprises/{CARBIDE}", f"/enterprises/{CARBIDE}?grain=month", "/alerts", "/alerts?show=all", "/alerts/1", "/cases/1",
         "/quarantine", "/quarantine?reason=not_json", "/quarantine/18/0", "/quarantine/19/-1",
         "/edits", "/edits/2", "/edits/new?kind=estimate", "/key-units", "/access", "/projects", "/budgets",
         "/budgets?year=2025", "/service", "/api/docs"]


@dataclass
class Watched:
    """What the browser complained about, and whom it asked."""

    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self.complaints.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))


@pytest.fixture(scope="module")
def served(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    site = opened(shutil.copytree(history, tmp_path_factory.mktemp("site") / "data"))
    app = create_app(site, services=Running(Health("collect"), Health("settle")), clock=lambda: NOW)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_for(lambda: server.started, "the portal")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
    site.close()


@pytest.fixture(scope="module")
def browser(program: Callable[[str], Path]) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program("chromium")), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def context(browser: Browser, served: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=served, viewport={"width": 1366, "height": 768})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, watched: Watched) -> Page:
    """A page that has logged in by the form."""
    page = context.new_page()
    watched.watch(page)
    page.goto("/alerts")
    page.get_by_label("用户名").fill("admin")
    page.get_by_label("密码").fill(PASSWORD)
    page.get_by_role("button", name="登录").click()
    expect(page.get_by_role("heading", name="报警与案件")).to_be_visible()
    return page


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_page_opens_without_an_error_and_without_another_host(page: Page, watched: Watched, served: str, language: str) -> None:
    page.goto(f"/language/{language}?next=/")
    for path in PAGES:
        answer = page.goto(path, wait_until="networkidle")
        assert answer is not None
        assert answer.status == 200, path
        expect(page.locator("main")).not_to_be_empty()
    assert watched.complaints == []
    assert {urlsplit(url).netloc for url in watched.asked if not url.startswith("data:")} == {urlsplit(served).netloc}


def test_charts_are_drawn_as_text_in_the_page(page: Page) -> None:
    page.goto(f"/enterprises/{CARBIDE}")
    expect(page.locator(".plot svg")).to_have_count(5)
    expect(page.locator("[data-chart=chart-electricity] svg")).to_contain_text("kWh")
    expect(page.locator("[data-chart=chart-water] svg")).to_contain_text("自来水")


def test_pointing_at_a_chart_names_the_day_and_the_quantity(page: Page, watched: Watched) -> None:
    page.goto(f"/enterprises/{CARBIDE}")
    plot = page.locator("[data-chart=chart-electricity]")
    plot.hover(position={"x": 200, "y": 120})
    expect(plot).to_contain_text("21,600 kWh")
    assert watched.complaints == []


def test_live_parts_are_fetched_again_and_a_lost_connection_is_said(page: Page, watched: Watched) -> None:
    page.goto("/parks/P1")
    with page.expect_response(lambda answer: answer.url.endswith("/parks/P1/live") and answer.status == 200):
        pass
    expect(page.locator("#live")).to_contain_text("19,515")
    page.context.set_offline(True)
    expect(page.locator(".stale")).to_be_visible(timeout=15_000)
    page.context.set_offline(False)
    expect(page.locator(".stale")).to_be_hidden(timeout=15_000)
    assert [text for text in watched.complaints if "ERR_INTERNET_DISCONNECTED" not in text and "Failed to fetch" not in text] == []


def test_a_live_part_whose_session_ended_leads_to_the_login(page: Page) -> None:
    page.goto("/parks/P1")
    page.context.clear_cookies()
    expect(page.get_by_role("button", name="登录")).to_be_visible(timeout=15_000)


@pytest.mark.parametrize("width", [390, 1366])
def test_no_page_is_wider_than_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 768})
    for path in PAGES:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_hostile_names_run_nothing(page: Page) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog opened: {dialog.message}"))
    for path in PAGES:
        page.goto(path)
    assert page.locator("main script:not([type='application/json'])").count() == 0
