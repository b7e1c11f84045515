"""The acknowledgement must wait longer than the keepalive allows: the collector leaves, comes back by itself, nothing is lost or doubled."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.errors import StoreFullError
from config.settings import MqttSettings
from ingest.collector import Collector
from ingest.simulate import Outgoing, Publisher
from store.journal import Arrival, Journal
from tests.small_disk import small_disk

TOPIC = "tce/v1/150621/91150621MA0EXAMPLE/gw-1/readings"
KEEPALIVE_S = 2
pytestmark = pytest.mark.needs("mosquitto")
both = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def until(holds: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)


@contextmanager
def collecting(port: int, journal: Journal, protocol: str) -> Iterator[Collector]:
    stop = threading.Event()
    collector = Collector(MqttSettings(port=port, protocol=protocol, keepalive_s=KEEPALIVE_S, batch_messages=100), journal, stop=stop)
    thread = threading.Thread(target=collector.run, daemon=True)
    thread.start()
    try:
        until(lambda: collector.connected, "connecting")
        yield collector
    finally:
        stop.set()
        thread.join(15)
        assert not thread.is_alive()


def publish(port: int, payloads: Sequence[bytes]) -> None:
    publisher = Publisher("127.0.0.1", port)
    publisher.publish([Outgoing(TOPIC, payload) for payload in payloads])
    publisher.close()


def held(journal: Journal) -> list[bytes]:
    return [one.payload[:4] for one in journal.read(0, 10_000)]


class StuckJournal(Journal):
    """Its second commit hangs until it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.hangs, self.go_on, self.commits = threading.Event(), threading.Event(), 0

    def append(self, arrivals: Sequence[Arrival]) -> list[int]:
        if not arrivals:
            return []
        self.commits += 1
        if self.commits == 2:
            self.hangs.set()
            self.go_on.wait(60)
        return super().append(arrivals)


class ForgetfulJournal(StuckJournal):
    """The protection off: a message that the broker brings again is a new one."""

    def append(self, arrivals: Sequence[Arrival]) -> list[int]:
        return super().append([one._replace(dup=False) for one in arrivals])


def stuck_for_two_keepalives(start_mosquitto, folder: Path, protocol: str, kind: type[StuckJournal]) -> tuple[list[bytes], list[bytes], str]:
    """What was sent, what the journal holds at the end, and the broker's log."""
    broker, journal = start_mosquitto(), kind(folder)
    sent = [b"%04d" % number for number in range(500)]
    with collecting(broker.port, journal, protocol) as collector:
        publish(broker.port, sent[:10])
        until(lambda: journal.last_id() == 10, "the first messages")
        publish(broker.port, sent[10:250])
        assert journal.hangs.wait(10)
        log = broker.config.with_suffix(".log")
        until(lambda: "exceeded timeout" in log.read_text(), "the broker losing patience")
        publish(broker.port, sent[250:])
        journal.go_on.set()
        until(lambda: journal.last_id() >= 500 and collector.connected, "the rest")
        until(lambda: journal.commits > 2, "further commits")
    said = log.read_text()
    found = held(journal)
    journal.close()
    return sent, found, said


@both
def test_a_journal_that_hangs_for_two_keepalives_costs_the_connection_and_nothing_else(start_mosquitto, tmp_path, protocol):
    sent, found, said = stuck_for_two_keepalives(start_mosquitto, tmp_path / "journal", protocol, StuckJournal)
    assert sorted(found) == sent
    assert "already connected" not in said  # no session was taken over


def test_the_control_without_knowledge_of_redeliveries_has_messages_twice(start_mosquitto, tmp_path):
    sent, found, _ = stuck_for_two_keepalives(start_mosquitto, tmp_path / "journal", "5", ForgetfulJournal)
    assert len(found) > len(sent)


class AcknowledgesAnyway(Journal):
    """The protection off: what a full disk refuses counts as kept."""

    def append(self, arrivals: Sequence[Arrival]) -> list[int]:
        try:
            return super().append(arrivals)
        except StoreFullError:
            return []


def full_disk(start_mosquitto, folder: Path, protocol: str, kind: type[Journal]) -> tuple[list[bytes], list[bytes], bool, str]:
    """What was sent, what the journal holds at the end, whether the fault was told, and the broker's log."""
    broker = start_mosquitto()
    log = broker.config.with_suffix(".log")
    sent = [b"%04d" % number for number in range(600)]
    with small_disk(folder, megabytes=4) as disk:
        journal = kind(disk / "journal")
        told = False
        with collecting(broker.port, journal, protocol) as collector:
            publish(broker.port, [one + bytes(8000) for one in sent])  # 4.8 MB, more than fits however few commits they are
            if kind is Journal:
                before = log.read_text().count("New client connected")
                until(lambda: "disk" in collector.problem, "the problem")
                told = True
                until(lambda: log.read_text().count("New client connected") >= before + 2, "leaving and coming back, more than once", 60)
            else:
                until(lambda: collector.received >= len(sent), "all of them")
            subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
            if kind is Journal:
                until(lambda: journal.last_id() >= len(sent), "the rest", 60)
                until(lambda: collector.problem == "" and collector.connected, "the end of the problem")
        found = held(journal)
        assert journal.verify().intact
        journal.close()
        return sent, found, told, log.read_text()


@both
def test_a_full_disk_acknowledges_nothing_and_all_is_there_once_when_it_has_room_again(start_mosquitto, tmp_path, protocol):
    sent, found, told, said = full_disk(start_mosquitto, tmp_path / "disk", protocol, Journal)
    assert told
    assert found == sent
    assert "already connected" not in said
    assert "exceeded timeout" not in said  # it left before the broker lost patience


def test_the_control_that_acknowledges_what_a_full_disk_refused_loses_messages(start_mosquitto, tmp_path):
    sent, found, _, _ = full_disk(start_mosquitto, tmp_path / "disk", "5", AcknowledgesAnyway)
    assert len(found) < len(sent)
