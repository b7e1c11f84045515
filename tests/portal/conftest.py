"""The seeded site (made once), applications on it, and clients that have logged in."""

import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from fastapi import FastAPI, Response

from pipeline.site import Site
from portal.app import create_app
from portal.auth import SESSION_COOKIE, Session
from tests.portal.seeded import NOW, Health, Running, opened

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette would rather have another HTTP client than the one that we have
    from fastapi.testclient import TestClient


@pytest.fixture(scope="session")
def site(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Only read by the tests."""
    site = opened(shutil.copytree(history, tmp_path_factory.mktemp("site") / "data"))
    yield site
    site.close()


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(site: Site, clock: Clock) -> FastAPI:
    return create_app(site, services=Running(Health("collect"), Health("settle")), clock=clock)


@pytest.fixture
def guest(app: FastAPI) -> TestClient:
    """A browser that nobody has logged in with."""
    return TestClient(app, follow_redirects=False)


@pytest.fixture
def log_in(app: FastAPI, clock: Clock) -> Callable[[str], TestClient]:
    """`log_in("regulator")`: a browser with that person's session (given at the door: hashing passwords takes its time)."""
    door = app.state.portal.door

    def enter(name: str) -> TestClient:
        principal = app.state.portal.site.people.user(name)
        assert principal is not None
        answer = Response()
        door.give(answer, Session(principal, f"nonce-of-{name}", clock() + timedelta(hours=12)))
        browser = TestClient(app, follow_redirects=False)
        browser.cookies.set(SESSION_COOKIE, SimpleCookie(answer.headers["set-cookie"])[SESSION_COOKIE].value)
        return browser

    return enter


def form_token(browser: TestClient, path: str = "/login") -> str:
    """The hidden token of the form on a page."""
    found = re.search(r'name="token" value="(\w+)"', browser.get(path).text)
    assert found is not None
    return found[1]
