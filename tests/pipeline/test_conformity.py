"""Which messages of the journal a conformity report looks at."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config import settings as site_settings
from pipeline import conformity
from pipeline.site import Site
from store.journal import HISTORY, LIVE, Arrival

ENTERPRISE, NOW = "91159901MA0EXAMP83", datetime(2026, 11, 20, 4, tzinfo=UTC)


def topic(gateway: str, kind: str = "readings") -> str:
    return f"tce/v1/159901/{ENTERPRISE}/{gateway}/{kind}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A journal of a hundred messages, one a minute until now, of three senders and in two lanes."""
    route = {"topic": "shelly/#", "enterprise": ENTERPRISE, "gateway": "gw-3", "profile": "shelly"}
    one = Site(site_settings.build({"site": {"data_dir": tmp_path}, "routes": [route]}))
    topics = (topic("gw-1"), topic("gw-2"), topic("gw-1", "backfill"), topic("gw-1", "sandbox"), "shelly/1", "elsewhere", topic("gw-10"))
    one.journal.append([
        Arrival("mqtt", topics[number % len(topics)], None, None, b"%d" % number, NOW - timedelta(minutes=99 - number),
                lane=HISTORY if number % len(topics) == 2 else LIVE)
        for number in range(100)
    ])
    yield one
    one.close()


def found(site: Site, gateway: str, minutes: int) -> list[int]:
    return [int(one.payload) for one in conformity.recent(site, ENTERPRISE, gateway, NOW - timedelta(minutes=minutes))]


@pytest.mark.parametrize("at_once", [1, 7, 30, 10_000])
@pytest.mark.parametrize("minutes", [0, 1, 20, 99, 1000])
def test_it_is_what_the_gateway_sent_in_that_time_in_order(site: Site, monkeypatch: pytest.MonkeyPatch, at_once: int, minutes: int) -> None:
    monkeypatch.setattr(conformity, "_AT_ONCE", at_once)
    first = max(0, 99 - minutes)
    assert found(site, "gw-1", minutes) == [number for number in range(first, 100) if number % 7 in {0, 2, 3}]
    assert found(site, "gw-3", minutes) == [number for number in range(first, 100) if number % 7 == 4]
    assert found(site, "gw-9", minutes) == []


def test_the_newest_are_looked_at_where_there_are_too_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    every = found(site, "gw-1", 1000)
    monkeypatch.setattr(conformity, "KEPT", 10)
    assert found(site, "gw-1", 1000) == every[-10:]
    monkeypatch.setattr(conformity, "_AT_ONCE", 5)
    assert found(site, "gw-1", 1000) == every[-10:]
    monkeypatch.setattr(conformity, "LOOKED_AT", 10)
    assert found(site, "gw-1", 1000) == [number for number in every if number >= 90]
