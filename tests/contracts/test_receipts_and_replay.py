"""Receipts over a real broker, and `gateway simulate` as people use it."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import zstandard
from typer.testing import CliRunner

from config.errors import BadInputError, BrokerUnavailableError
from config.schemas import SETTLEMENT
from config.settings import MqttSettings
from ingest.collector import Collector
from ingest.gateways import ReceiptPublisher
from ingest.simulate import Outgoing, Publisher
from portal.cli.gateway import app
from store.database import opened
from store.journal import Arrival, Journal
from store.ledger import Ledger
from store.quarantine import Quarantine

ENTERPRISE = "91150621MA0EXAMPLE"
TOPIC = f"tce/v1/150621/{ENTERPRISE}/gw-1/readings"
pytestmark = pytest.mark.needs("mosquitto")


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@contextmanager
def running(run: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(15)
        assert not thread.is_alive()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    one = Journal(tmp_path / "journal")
    yield one
    one.close()


@pytest.fixture
def collected(start_mosquitto, journal) -> Iterator[tuple[int, Journal]]:
    """Port of a broker, and the journal that a collector fills from it."""
    port, stop = start_mosquitto().port, threading.Event()
    collector = Collector(MqttSettings(port=port), journal, stop=stop)
    with running(collector.run, stop):
        until(lambda: collector.connected, "connecting")
        yield port, journal


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_gateway_hears_what_became_of_its_messages_and_hears_it_once(start_mosquitto, journal, tmp_path, protocol) -> None:
    broker, heard, stop = start_mosquitto(), [], threading.Event()
    topics = [TOPIC.replace("readings", "receipts")]
    gateway = Publisher("127.0.0.1", broker.port, subscribe=topics, on_message=lambda _, text: heard.append(json.loads(text)))
    ledger = Ledger(tmp_path / "ledger.sqlite")
    who = {"enterprise": ENTERPRISE, "gateway": "gw-1", "epoch": "e"}
    head = {**dict.fromkeys(SETTLEMENT, 0), "outcome": "decoded", "reason": None, "stored": 2, **who}
    with opened(f"sqlite:///{tmp_path}/tcewatch.db") as database:
        publisher = ReceiptPublisher(MqttSettings(port=broker.port, protocol=protocol), ledger, Quarantine(database), journal)
        gateway.publish([Outgoing("elsewhere", b"")])  # the subscription stands
        with running(lambda: publisher.run(stop), stop):
            for seq in (1, 2):
                message, = journal.append([Arrival("mqtt", TOPIC, None, None, b"{}", datetime(2026, 11, 20, tzinfo=UTC))])
                ledger.settle(pl.DataFrame([{**head, "message": message, "seq": seq}], schema=SETTLEMENT), message)
                until(lambda seq=seq: len(heard) == seq, "a receipt")
                until(lambda message=message: ledger.receipt_cursor() == message, "the cursor")
    gateway.close()
    ledger.close()
    assert [(one["from_seq"], one["to_seq"], one["stored"], one["contiguous_seq"]) for one in heard] == [(1, 1, 2, 1), (2, 2, 2, 2)]


@pytest.mark.parametrize(("suffix", "form"), [(".csv", "rows"), (".parquet", "columns"), (".csv.gz", "rows")])
def test_a_table_is_replayed_as_messages_of_the_contract(collected, tmp_path, suffix, form) -> None:
    port, journal = collected
    file = tmp_path / f"readings{suffix}"
    table = pl.DataFrame({
        "enterprise": [ENTERPRISE] * 3, "gateway": ["gw-1"] * 3, "meter": ["E-1", "E-2", "E-1"], "register": ["r"] * 3,
        "read_at": ["2026-11-20T08:00:00+08:00", "2026-11-20T08:00:00+08:00", "2026-11-20T08:15:00+08:00"], "value": [1.0, 2.0, 3.0],
    })
    text = table.write_csv().encode()
    if suffix == ".parquet":
        table.with_columns(pl.col("read_at").str.to_datetime(time_zone="UTC")).write_parquet(file)
    else:
        file.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    arguments = ["--url", f"mqtt://127.0.0.1:{port}", "--region", "150621", "--form", form, "--epoch", "e", "--json"]
    done = CliRunner().invoke(app, ["simulate", str(file), *arguments])
    assert json.loads(done.stdout)["published"] == 2
    until(lambda: journal.last_id() == 2, "two messages")
    sent = [json.loads(one.payload) for one in journal.read(0, 10)]
    assert {one.topic for one in journal.read(0, 10)} == {TOPIC}
    assert [(one["epoch"], one["seq"], "meter" in one) for one in sent] == [("e", 1, form == "columns"), ("e", 2, form == "columns")]


def test_a_simulated_gateway_answers_what_it_is_asked_for_again(collected, tmp_path) -> None:
    port, _ = collected
    table = pl.DataFrame({
        "enterprise": [ENTERPRISE] * 3, "gateway": ["gw-1"] * 3, "meter": ["E-1"] * 3, "register": ["r"] * 3,
        "read_at": [f"2026-11-20T08:{minute}:00+08:00" for minute in ("00", "15", "30")], "value": [1.0, 2.0, 3.0],
    })
    table.write_csv(tmp_path / "readings.csv")
    heard: list[dict[str, object]] = []
    listener = Publisher(
        "127.0.0.1", port, subscribe=[TOPIC.replace("readings", "backfill")], on_message=lambda _, text: heard.append(json.loads(text)),
    )
    missing = [{"epoch": "e", "from_seq": 2, "to_seq": 5}]
    windows = [{"meter": "E-1", "register": "r", "from": "2026-11-20T00:00:00Z", "to": "2026-11-20T00:15:00Z"}]
    asked = Outgoing(TOPIC.replace("readings", "requests"), json.dumps({"v": 1, "missing": missing, "windows": windows}).encode())
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.1):
            listener.publish([asked])

    with running(ask, stop):
        arguments = ["--url", f"mqtt://127.0.0.1:{port}", "--region", "150621", "--epoch", "e", "--answer-requests", "2", "--json"]
        done = CliRunner().invoke(app, ["simulate", str(tmp_path / "readings.csv"), *arguments])
        assert json.loads(done.stdout)["published"] > 3
        until(lambda: {one.get("seq") for one in heard} == {None, 1, 2, 3}, "every answer")
    listener.close()
    assert {json.dumps(one["lost"]) for one in heard if "lost" in one} == {'[{"epoch": "e", "from_seq": 4, "to_seq": 5}]'}


@pytest.mark.parametrize("packed", [True, False])
def test_a_log_is_replayed_line_by_line_at_the_rate_asked_for(collected, tmp_path, packed) -> None:
    port, journal = collected
    text = b'MQTT_ENY_NOW {"id":1}\n' + f"{TOPIC} {{}}\n".encode() * 20
    file = tmp_path / ("capture.log.zst" if packed else "capture.log")
    file.write_bytes(zstandard.compress(text) if packed else text)
    done = CliRunner().invoke(app, ["simulate", str(file), "--url", f"mqtt://127.0.0.1:{port}", "--rate", "100", "--json"])
    counts = json.loads(done.stdout)
    assert counts["published"] == 21
    assert counts["seconds"] >= 0.19
    until(lambda: journal.last_id() == 20, "the messages that the collector has subscribed to")


@pytest.mark.parametrize("arguments", [
    ["--url", "http://127.0.0.1"], ["--url", "mqtt://127.0.0.1:x"], ["--url", "mqtt://"], ["--url", "mqtt://h", "--region", "15"],
    ["--url", "mqtt://h", "--speed", "2"],
])
def test_bad_arguments_are_told_before_anything_is_sent(tmp_path, arguments) -> None:
    file = tmp_path / "capture.log"
    file.write_bytes(b"a b\n")
    assert isinstance(CliRunner().invoke(app, ["simulate", str(file), *arguments]).exception, BadInputError)


def test_a_broker_that_is_away_is_told(tmp_path, free_port) -> None:
    file = tmp_path / "capture.log"
    file.write_bytes(b"a b\n")
    done = CliRunner().invoke(app, ["simulate", str(file), "--url", f"mqtt://127.0.0.1:{free_port()}"])
    assert isinstance(done.exception, BrokerUnavailableError)


def test_a_publisher_sends_again_what_a_restarted_broker_did_not_acknowledge(start_mosquitto) -> None:
    broker = start_mosquitto()
    publisher = Publisher("127.0.0.1", broker.port)
    sending = threading.Thread(target=lambda: publisher.publish([Outgoing("a", b"%d" % number) for number in range(600)], rate=600))
    sending.start()
    until(lambda: publisher.published > 100, "the first messages")
    broker.kill()
    broker.start()
    sending.join(20)
    assert not sending.is_alive()
    assert publisher.published == 600
    publisher.close()
    publisher.close()
