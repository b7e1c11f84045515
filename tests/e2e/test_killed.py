"""`tcewatch run` killed ten times at random during a replay: nothing lost, nothing doubled; and the control that loses."""

import json
import random
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.simulate import Outgoing, Publisher

START = datetime(2026, 3, 1, tzinfo=UTC)
KILLS, OF_THE_CONTROL = 10, 3  # which loses at nearly every one
SEED = 20260301


def messages(enterprises: list[str]):
    """A message each few milliseconds, two readings in each, values and instants all different, without end."""
    seq = 0
    while True:
        seq += 1
        for code in enterprises:
            rows = [
                {"meter": f"E-{meter}", "register": "active_import", "ts": (START + timedelta(seconds=seq)).isoformat(), "value": float(seq)}
                for meter in (1, 2)
            ]
            body = {"v": 1, "epoch": "2026-03-01T00:00:00+08:00", "seq": seq, "readings": rows}
            yield Outgoing(f"tce/v1/159901/{code}/GW-01/readings", json.dumps(body).encode(), START)


class Replay:
    """Publishes in a thread of its own until halted; counts what the broker has taken."""

    def __init__(self, port: int, enterprises: list[str]) -> None:
        self._publisher = Publisher("127.0.0.1", port)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(enterprises,), daemon=True)
        self._thread.start()

    def _run(self, enterprises: list[str]) -> None:
        flow = messages(enterprises)
        while not self._halt.is_set():
            self._publisher.publish([next(flow) for _ in range(10)])
            time.sleep(0.02)

    def halt(self) -> int:
        self._halt.set()
        self._thread.join(30)
        self._publisher.close()
        return self._publisher.published


def killed_often(start_mosquitto, processes, free_port, launcher: Path | None, kills: int):
    chance = random.Random(SEED)
    broker = start_mosquitto()
    # A long linger: much is received and not committed at any moment, so that a wrong order shows.
    site = processes(broker.port, f"[portal]\nport = {free_port()}\n", {"TCEWATCH_MQTT__LINGER_MS": "200"})
    adapters = site.site()
    enterprises = sorted(adapters.register.enterprises()["enterprise"])
    process = site.start("run", launcher=launcher)
    wait(lambda: site.log().count("connected ") == 2)  # both sessions stand
    replay = Replay(broker.port, enterprises)
    for _ in range(kills):
        time.sleep(chance.uniform(0.3, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
        before = site.log().count("connected ")
        process = site.start("run", launcher=launcher)
        wait(lambda seen=before: site.log().count("connected ") >= seen + 2)
    published = replay.halt()
    quiet = time.monotonic()
    last = -1
    while time.monotonic() - quiet < 3.0:  # nothing new for three seconds: what is still missing does not come
        now = adapters.ledger.totals().received
        if now != last or adapters.waiting():
            last, quiet = now, time.monotonic()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0, site.log()
    totals = adapters.ledger.totals()
    store = adapters.readings()
    stored = store.count()
    chain = adapters.journal.verify()
    adapters.close()
    return published, totals, stored, chain


def wait(holds, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.needs("mosquitto")
def test_ten_kills_at_random_lose_nothing_and_double_nothing(start_mosquitto, processes, free_port):
    published, totals, stored, chain = killed_often(start_mosquitto, processes, free_port, None, KILLS)
    assert (totals.received, totals.missing, totals.undecodable) == (published, 0, 0)
    assert (totals.decoded, totals.stored) == (2 * published, 2 * published)
    assert (totals.duplicate, totals.conflicting, totals.rejected) == (0, 0, 0)
    assert stored == 2 * published
    assert chain.intact


@pytest.mark.slow
@pytest.mark.needs("mosquitto")
def test_the_same_with_acknowledgement_before_the_commit_loses_readings(start_mosquitto, processes, free_port):
    launcher = Path(__file__).with_name("acknowledge_first.py")
    published, totals, stored, _ = killed_often(start_mosquitto, processes, free_port, launcher, OF_THE_CONTROL)
    assert totals.received < published
    assert stored < 2 * published
