"""The collector killed at random moments while messages flow: each published message is in the journal once."""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.simulate import Outgoing, Publisher
from store.journal import Journal

TOPIC = "tce/v1/150621/91150621MA0EXAMPLE/gw-1/readings"
KILLS, MESSAGES, RATE, SEED = 6, 2000, 400.0, 20251121
pytestmark = pytest.mark.needs("mosquitto")


def until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def start(port: int, folder: Path, protocol: str, mode: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, Path(__file__).with_name("collect.py"), str(port), folder, protocol, mode])


def journal_after_kills(port: int, folder: Path, protocol: str, mode: str) -> Counter[int]:
    """Publish while the collector is killed again and again; what the journal holds once it rests, by message number."""
    seeded = random.Random(SEED)
    journal, publisher = Journal(folder), Publisher("127.0.0.1", port)
    process = start(port, folder, protocol, mode)
    numbered = [Outgoing(TOPIC, b"%d" % number) for number in range(MESSAGES)]
    sending = threading.Thread(target=lambda: publisher.publish(numbered, rate=RATE))
    try:
        assert until(lambda: _has_session(port, journal, publisher), 30)
        sending.start()
        for _ in range(KILLS):
            goal = journal.last_id() + seeded.randint(20, 150)
            until(lambda goal=goal: journal.last_id() >= goal, 20)
            time.sleep(seeded.uniform(0, 0.03))
            process.kill()
            process.wait()
            process = start(port, folder, protocol, mode)
        sending.join()
        wait_for_rest(journal, 3.0 if mode else 30.0)
        return Counter(int(one.payload) for one in journal.read(0, 2 * MESSAGES) if one.payload != b"first")
    finally:
        process.kill()
        process.wait()
        if sending.is_alive():
            sending.join()
        publisher.close()
        journal.close()


def wait_for_rest(journal: Journal, patience_s: float) -> None:
    """Until nothing more comes, or nothing for so long while some are missing: then all that will ever be there is there, doubles too."""
    last = 0
    while last < journal.last_id():
        last = journal.last_id()
        until(lambda known=last: journal.last_id() > known, 1.0 if last > MESSAGES else patience_s)


def _has_session(port: int, journal: Journal, publisher: Publisher) -> bool:
    """Whether the collector has subscribed: what is published before that is nobody's."""
    if journal.last_id() == 0:
        publisher.publish([Outgoing(TOPIC, b"first")])
        until(lambda: journal.last_id() > 0, 0.5)
    return journal.last_id() > 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_no_message_is_lost_or_doubled_when_the_collector_is_killed_again_and_again(start_mosquitto, tmp_path, protocol) -> None:
    broker = start_mosquitto("max_inflight_messages 1000")
    held = journal_after_kills(broker.port, tmp_path / "journal", protocol, "")
    assert [number for number in range(MESSAGES) if held[number] != 1] == []


def test_the_control_that_acknowledges_before_it_commits_loses_messages(start_mosquitto, tmp_path) -> None:
    broker = start_mosquitto("max_inflight_messages 1000")
    held = journal_after_kills(broker.port, tmp_path / "journal", "5", "ack-first")
    assert len(held) < MESSAGES
