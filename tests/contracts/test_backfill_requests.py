"""What is missing is asked for over a real broker, answered by a gateway that keeps its history, and then no longer missing."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import polars as pl
import pytest

from config import settings as site_settings
from ingest.simulate import History, Outgoing, Publisher
from pipeline.services import Services, build
from pipeline.site import Site

ENTERPRISE, GATEWAY, EPOCH = "91159901MA0EXAMP4N", "GW-01", "2026-03-01T00:00:00+08:00"
TOPIC = f"tce/v1/159901/{ENTERPRISE}/{GATEWAY}"
START = datetime(2026, 3, 1, tzinfo=UTC)
pytestmark = pytest.mark.needs("mosquitto")


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Gateway:
    """Numbers messages of two readings, keeps them, and answers requests in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.history, self.requests, self.seq = History(), [], 0
        self._asked: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
        self._publisher = Publisher("127.0.0.1", port, subscribe=[f"{TOPIC}/requests"], on_message=lambda *asked: self._asked.put(asked))
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def greet(self, site: Site) -> None:
        """Say that it is online until the site knows: from then on nothing is sent past a subscription that does not stand yet."""
        before = site.journal.last_id()
        while site.journal.last_id() == before:
            self._publisher.publish([Outgoing(f"{TOPIC}/state", b'{"v":1,"state":"online"}')])
            time.sleep(0.1)

    def send(self, count: int, *, on_the_way: bool = True) -> None:
        """Publish the next messages; where they get lost on the way, the gateway only keeps them."""
        messages = []
        for _ in range(count):
            self.seq += 1
            rows = [
                {"meter": meter, "register": "active_import", "ts": (START + timedelta(minutes=self.seq)).isoformat(), "value": float(self.seq)}
                for meter in ("E-1", "E-2")
            ]
            body = {"v": 1, "epoch": EPOCH, "seq": self.seq, "readings": rows}
            messages.append(Outgoing(f"{TOPIC}/readings", json.dumps(body).encode()))
        kept = list(self.history.keep(messages))
        if on_the_way:
            self._publisher.publish(kept)

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join(10)
        self._publisher.close()

    def _answer(self) -> None:
        while (asked := self._asked.get()) is not None:
            self.requests.append(json.loads(asked[1]))
            self._publisher.publish(self.history.answers(*asked))


@pytest.fixture
def gateway(start_mosquitto) -> Iterator[tuple[int, Gateway]]:
    port = start_mosquitto().port
    one = Gateway(port)
    yield port, one
    one.close()


@contextmanager
def running(folder: Path, port: int) -> Iterator[Site]:
    """A site of which collect and settle run in this process."""
    site = Site(site_settings.build({"site": {"data_dir": folder}, "mqtt": {"port": port}}))
    meter = {"enterprise": ENTERPRISE, "gateway": GATEWAY, "medium": "electricity"}
    site.register.apply({
        "region": pl.DataFrame({"region": ["159901"]}), "park": pl.DataFrame({"park": ["p1"], "region": ["159901"]}),
        "enterprise": pl.DataFrame({"enterprise": [ENTERPRISE], "name_zh": ["示例"], "park": ["p1"]}),
        "gateway": pl.DataFrame({"enterprise": [ENTERPRISE], "gateway": [GATEWAY], "region": ["159901"]}),
        "meter": pl.DataFrame([{**meter, "meter": "E-1"}, {**meter, "meter": "E-2"}]),
        "register": pl.DataFrame([
            {"enterprise": ENTERPRISE, "meter": name, "register": "active_import", "unit": "kWh", "kind": "cumulative"} for name in ("E-1", "E-2")
        ]),
    }, by="test", known_from=START)
    stop = threading.Event()
    services = Services(build(site, ("collect", "settle"), stop), stop)
    services.start()
    try:
        until(lambda: all(one.ready for one in services.health().values()), "every service")
        yield site
    finally:
        assert services.end()
        site.close()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch) -> None:
    for name, seconds in (("RANGE_S", 0.2), ("_EVERY_S", 0.1)):
        monkeypatch.setattr(f"ingest.requests.{name}", seconds)


def counted(site: Site) -> tuple[int, int, int]:
    """Highest seq, messages that may still come, messages reported lost."""
    rows = site.ledger.sequences().select("highest_seq", "missing", "lost").rows()
    return rows[0] if rows else (0, 0, 0)


def test_what_got_lost_on_the_way_is_asked_for_and_closed_and_what_is_lost_for_good_is_not_asked_for_again(gateway, tmp_path) -> None:
    port, one = gateway
    with running(tmp_path / "data", port) as site:
        one.greet(site)
        one.send(3)
        one.send(4, on_the_way=False)
        one.history.forget(TOPIC, EPOCH, 5)
        one.send(2)
        until(lambda: counted(site) == (9, 0, 1), "the gap to close")
        until(lambda: site.waiting() == 0, "the backlog")
        assert site.readings().count() == 16
        assert site.ledger.totals().duplicate == 0
        asked = len(one.requests)
        assert {(gap["from_seq"], gap["to_seq"]) for request in one.requests for gap in request["missing"]} == {(4, 7)}
        one.send(1)
        until(lambda: counted(site)[0] == 10, "a later message")
        assert len(one.requests) == asked


def test_after_a_restore_the_gaps_since_the_backup_are_found_asked_for_and_closed(gateway, tmp_path) -> None:
    """Scenario 52: journal, ledger, fleet and database come back from last night; the broker has delivered the day long ago."""
    port, one = gateway
    data, backup = tmp_path / "data", tmp_path / "backup"
    with running(data, port) as site:
        one.greet(site)
        one.send(20)
        until(lambda: counted(site) == (20, 0, 0), "the day before")
    shutil.copytree(data, backup)
    with running(data, port) as site:
        one.send(30)
        until(lambda: counted(site) == (50, 0, 0), "today")
        assert site.readings().count() == 100
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    with running(data, port) as site:
        assert (counted(site), site.readings().count()) == ((20, 0, 0), 40)
        one.send(1)
        until(lambda: counted(site) == (51, 0, 0), "the gap to close")
        until(lambda: site.readings().count() == 102, "every reading")
        totals = site.ledger.totals()
        assert (totals.missing, totals.decoded, totals.stored, totals.duplicate) == (0, 102, 102, 0)
        assert one.requests == [{"v": 1, "missing": [{"epoch": EPOCH, "from_seq": 21, "to_seq": 50}], "windows": []}]
