"""Bad input through a real broker: each in quarantine with its reason and bytes, its good neighbours stored, nothing as 0."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.simulate import Outgoing, Publisher

TCEWATCH = Path(sys.executable).with_name("tcewatch")
CODE, OTHER = "91159901MA0EXAMP1D", "91159901MA0EXAMP4N"
TOPIC = f"tce/v1/159901/{CODE}/GW-01/readings"


def good(value: object, at: datetime, meter: str = "E-1", **more: object) -> dict[str, object]:
    return {"meter": meter, "register": "active_import", "ts": at.isoformat(), "value": value, **more}


def message(seq: int, *readings: dict[str, object], **more: object) -> bytes:
    return json.dumps({"v": 1, "epoch": "e", "seq": seq, "readings": list(readings), **more}).encode()


@pytest.mark.needs("mosquitto")
def test_every_kind_of_bad_input_is_set_aside_with_its_reason_and_the_good_is_kept(start_mosquitto, processes, free_port):
    broker = start_mosquitto("message_size_limit 20000000")
    site = processes(broker.port, f"[portal]\nport = {free_port()}\n")
    process = site.start("run")
    wait(lambda: "connected" in site.log())
    now = datetime.now(UTC).replace(microsecond=0)
    ok = good(5.0, now)
    whole = {  # the whole message is bad
        "not_json": b'{"v":1,"epoch":"e","seq":1,"readings":[',
        "empty": b"",
        "payload_too_large": b" " * 10_000_000,
    }
    single = {  # one reading of a message is bad, the other is good
        "value NaN": b'{"v":1,"epoch":"e","seq":11,"readings":[' + json.dumps(ok).encode()
        + b',{"meter":"E-2","register":"active_import","ts":"' + now.isoformat().encode() + b'","value":NaN}]}',
        "value is true": message(12, good(True, now, "E-2"), good(6.0, now + timedelta(seconds=1))),
        "value is a text": message(13, good("7", now, "E-2"), good(7.0, now + timedelta(seconds=2))),
        "unknown_meter": message(14, good(1.0, now, "E-99"), good(8.0, now + timedelta(seconds=3))),
        "not_from_the_future": message(15, good(1.0, now + timedelta(days=400), "E-2"), good(9.0, now + timedelta(seconds=4))),
        "not_too_old": message(16, good(1.0, datetime(1970, 1, 1, tzinfo=UTC), "E-2"), good(10.0, now + timedelta(seconds=5))),
        "unit_convertible": message(17, good(1.0, now, "E-2", unit="t"), good(11.0, now + timedelta(seconds=6))),
        "no ts": message(18, {"meter": "E-2", "register": "active_import", "value": 1.0}, good(12.0, now + timedelta(seconds=7))),
    }
    publisher = Publisher("127.0.0.1", broker.port)
    sent = [Outgoing(TOPIC, payload, now) for payload in (*whole.values(), *single.values())]
    # Another enterprise's meter, told on our topic and in the payload.
    sent.append(Outgoing(TOPIC, message(20, good(1.0, now), enterprise=OTHER), now))
    sent.append(Outgoing(TOPIC, message(21, good(13.0, now + timedelta(seconds=8))), now))
    publisher.publish(sent)
    publisher.close()
    adapters = site.site()
    wait(lambda: adapters.journal.last_id() == len(sent) and not adapters.waiting())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0, site.log()
    totals = adapters.ledger.totals()
    assert (totals.received, totals.undecodable) == (len(sent), len(whole) + 1)
    store = adapters.readings()
    kept = store.span(None, now - timedelta(days=9000), now + timedelta(days=900))
    store.close()
    assert sorted(kept["value"]) == [float(value) for value in range(5, 14)]
    rows = {number: adapters.quarantine.get(number, -1) for number in range(1, len(whole) + 1)}
    for number, (reason, payload) in enumerate(whole.items(), start=1):
        assert list(rows[number]["reasons"]) == [reason]
        assert rows[number]["raw"] == payload
    assert totals.rejected == len(single)
    shown = subprocess.run([TCEWATCH, "quarantine", "show", "7", "0", "--raw", "--settings", site.settings], capture_output=True, check=True)
    assert shown.stdout == single["unknown_meter"]  # the fourth of those with one bad reading
    reasons = set(adapters.quarantine.page(filters={"kind": "rejected"})["reasons"].explode())
    assert {"unknown_meter", "not_from_the_future", "not_too_old", "unit_convertible"} <= reasons
    adapters.close()


def wait(holds, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
