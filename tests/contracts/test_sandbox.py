"""A message on `sandbox` over a real broker: answered, and nothing of it is stored or counted."""

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config import settings as site_settings
from ingest.simulate import Outgoing, Publisher
from pipeline import services
from pipeline.site import Site

ENTERPRISE = "91159901MA0EXAMP83"
OWN = f"tce/v1/159901/{ENTERPRISE}/gw-1"
REGISTER = Path(__file__).resolve().parents[2] / "docs" / "guide" / "example-register"
pytestmark = pytest.mark.needs("mosquitto")


def until(holds, what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_a_sandbox_message_is_answered_as_a_live_one_would_be_and_leaves_no_reading(start_mosquitto, tmp_path) -> None:
    broker, stop, heard = start_mosquitto(), threading.Event(), []
    site = Site(site_settings.build({"site": {"data_dir": tmp_path}, "mqtt": {"port": broker.port}}))
    site.register.import_file(REGISTER, by="tests", known_from=datetime(2024, 1, 1, tzinfo=UTC))
    running = services.Services(services.build(site, ["collect", "settle"], stop), stop)
    running.start()
    gateway = Publisher("127.0.0.1", broker.port, subscribe=[f"{OWN}/receipts"], on_message=lambda _, text: heard.append(json.loads(text)))
    reading = {"meter": "E-001", "register": "active_import", "ts": datetime.now(UTC).isoformat(), "value": 17803.4}
    message = {"v": 1, "epoch": "e", "seq": 1, "readings": [reading, {**reading, "meter": "E-009"}]}
    try:
        until(lambda: gateway.publish([Outgoing(f"{OWN}/state", b'{"v":1,"state":"online"}')]) or site.journal.last_id(), "a collector")
        gateway.publish([Outgoing(f"{OWN}/sandbox", json.dumps(message).encode())])
        until(lambda: heard, "an answer")
        gateway.publish([Outgoing(f"{OWN}/sandbox", b"{")])
        until(lambda: len(heard) == 2, "an answer to what cannot be read")
        totals, last = site.ledger.totals(), site.journal.last_id()
        assert [one.payload for one in site.journal.read(last - 2, 2)] == [json.dumps(message).encode(), b"{"]
        assert site.readings().count() == totals.stored == totals.decoded == totals.undecodable == 0
        assert site.ledger.sequences().is_empty()
        assert site.quarantine.page().is_empty()
        # The same message, live: the control.
        gateway.publish([Outgoing(f"{OWN}/readings", json.dumps(message).encode())])
        until(lambda: len(heard) == 3, "a receipt")
        assert (site.readings().count(), site.ledger.sequences()["contiguous_seq"].to_list()) == (1, [1])
    finally:
        gateway.close()
        assert running.end()
        site.close()
    tried, unread, live = heard
    told = ("epoch", "from_seq", "to_seq", "stored", "duplicate", "conflicting", "rejected_count", "rejected")
    assert [tried[name] for name in told] == [live[name] for name in told]
    assert [one.get("sandbox") for one in heard] == [True, True, None]
    assert [one["reason"] for one in unread["rejected"]] == ["not_json"]
