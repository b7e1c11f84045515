"""The collector on real brokers: Mosquitto with MQTT 5 and 3.1.1, and the embedded one."""

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from structlog.testing import capture_logs

from config.errors import BrokerUnavailableError, StoreFullError
from config.settings import MqttSettings
from ingest.collector import Collector, _version_warnings, probe
from ingest.connect import connection_to
from ingest.embedded import EmbeddedBroker
from ingest.simulate import Outgoing, Publisher
from store.journal import HISTORY, LIVE, Arrival, Journal, Message

TOPIC = "tce/v1/150621/91150621MA0EXAMPLE/gw-1/readings"
STATE = TOPIC.replace("readings", "state")


def until(holds: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} within {seconds} s did not happen"
        time.sleep(0.01)


class Running:
    """A collector in a thread, and the journal that it fills."""

    def __init__(self, settings: MqttSettings, journal: Journal, **kind: object) -> None:
        self.journal, self.stop, self.error = journal, threading.Event(), None
        self.collector = Collector(settings, journal, stop=self.stop, **kind)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.collector.run()
        except BaseException as error:  # noqa: BLE001 - the tests ask what ended it
            self.error = error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def connected(self) -> None:
        until(lambda: self.collector.connected or not self.alive, "connecting")

    def messages(self, count: int) -> list[Message]:
        until(lambda: self.journal.last_id() >= count or not self.alive, f"{count} messages")
        return self.journal.read(0, count + 100)

    def end(self) -> None:
        self.stop.set()
        self._thread.join(15)
        assert not self.alive


@contextmanager
def collecting(journal: Journal, *, lane: int = LIVE, routes: Sequence[str] = (), **settings: object) -> Iterator[Running]:
    running = Running(MqttSettings(**settings), journal, lane=lane, routes=routes)
    try:
        running.connected()
        yield running
    finally:
        running.end()


def send(port: int, *messages: tuple[str, bytes]) -> None:
    publisher = Publisher("127.0.0.1", port)
    try:
        publisher.publish([Outgoing(*one) for one in messages])
    finally:
        publisher.close()


def retain(port: int, *messages: tuple[str, bytes]) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(5)
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    one = Journal(tmp_path / "journal")
    yield one
    one.close()


@pytest.fixture(params=[
    pytest.param("5", marks=pytest.mark.needs("mosquitto")), pytest.param("3.1.1", marks=pytest.mark.needs("mosquitto")), "embedded",
])
def broker(request: pytest.FixtureRequest) -> Iterator[dict[str, object]]:
    """Settings for a running broker."""
    if request.param != "embedded":
        yield {"port": request.getfixturevalue("start_mosquitto")().port, "protocol": request.param}
        return
    pytest.importorskip("amqtt", reason="the extra `demo` is not installed")
    embedded = EmbeddedBroker()
    yield {"port": embedded.start(), "protocol": "3.1.1"}
    embedded.stop()


@pytest.fixture
def mosquitto(start_mosquitto):
    return start_mosquitto()


def test_every_message_is_in_the_journal_once_in_order_with_its_bytes(broker, journal) -> None:
    sent = [(TOPIC, bytes([number % 256]) * (number % 700)) for number in range(1, 1500)]
    with collecting(journal, **broker) as running:
        send(broker["port"], *sent)
        got = running.messages(len(sent))
    assert [(one.topic, one.payload) for one in got] == sent
    assert {(one.door, one.retained) for one in got} == {("mqtt", False)}
    assert running.collector.received == len(sent)
    assert running.collector.last_message_at is not None


def test_live_messages_and_history_come_by_sessions_of_their_own_into_their_lanes(broker, journal) -> None:
    kinds = ("readings", "backfill", "state", "backfill", "sandbox", "receipts", "requests", "readings")
    with collecting(journal, **broker) as live, collecting(journal, lane=HISTORY, **broker) as history:
        assert live.collector.client_id != history.collector.client_id
        send(broker["port"], *[(TOPIC.replace("readings", kind), kind.encode()) for kind in kinds])
        live.messages(6)
        until(lambda: (live.collector.received, history.collector.received) == (4, 2), "all of them")
    assert [one.payload for one in journal.read(0, 10, lane=LIVE)] == [b"readings", b"state", b"sandbox", b"readings"]
    assert [one.payload for one in journal.read(0, 10, lane=HISTORY)] == [b"backfill", b"backfill"]


def test_only_the_topics_of_the_regions_in_the_settings_are_collected(broker, journal) -> None:
    with collecting(journal, regions=("150621", "150600"), **broker) as running:
        send(broker["port"], *[(TOPIC.replace("150621", region), region.encode()) for region in ("150600", "320500", "150621")])
        assert [one.payload for one in running.messages(2)] == [b"150600", b"150621"]


def test_what_the_platform_publishes_itself_is_not_collected(broker, journal) -> None:
    with collecting(journal, routes=("tce/v1/#",), **broker) as running:
        send(broker["port"], (TOPIC.replace("readings", "receipts"), b"r"), (TOPIC.replace("readings", "requests"), b"r"), (TOPIC, b"1"))
        assert [one.payload for one in running.messages(1)] == [b"1"]
    assert running.collector.ignored_own == 2


def test_a_large_message_is_kept_whole_for_the_quarantine(broker, journal) -> None:
    with collecting(journal, **broker) as running:
        send(broker["port"], (TOPIC, b"x" * 10_000_000), (TOPIC, b""), (TOPIC, b"next"))
        assert [len(one.payload) for one in running.messages(3)] == [10_000_000, 0, 4]


def test_a_retained_reading_is_ignored_and_a_retained_state_is_kept(broker, journal) -> None:
    retain(broker["port"], (TOPIC, b"old"), (STATE, b"state"))
    with collecting(journal, **broker) as running:
        until(lambda: running.collector.ignored_retained, "the retained reading")
        send(broker["port"], (TOPIC, b"new"))
        got = running.messages(2)
    assert sorted((one.payload, one.retained) for one in got) == [(b"new", False), (b"state", True)]


def test_several_topics_that_overlap_bring_a_message_once(broker, journal) -> None:
    with collecting(journal, **broker, routes=("tce/v1/#", "tce/v1/150621/#", "MQTT_ENY_NOW", "tce/v1/#")) as running:
        send(broker["port"], (TOPIC, b"1"), ("MQTT_ENY_NOW", b"2"), (TOPIC, b"3"))
        running.messages(3)
        send(broker["port"], (TOPIC, b"4"))
        assert [one.payload for one in running.messages(4)] == [b"1", b"2", b"3", b"4"]


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_messages_published_while_the_collector_is_away_wait_for_it(mosquitto, journal, protocol) -> None:
    with collecting(journal, port=mosquitto.port, protocol=protocol):
        pass
    send(mosquitto.port, *[(TOPIC, b"%d" % number) for number in range(300)])
    with collecting(journal, port=mosquitto.port, protocol=protocol) as running:
        assert [int(one.payload) for one in running.messages(300)] == list(range(300))


@pytest.mark.needs("mosquitto")
def test_a_broker_that_is_away_is_told_in_one_sentence_and_its_coming_is_noticed_within_5_s(mosquitto, journal) -> None:
    mosquitto.stop()
    running = Running(MqttSettings(port=mosquitto.port), journal)
    try:
        until(lambda: running.collector.problem, "the problem")
        assert f"127.0.0.1:{mosquitto.port} cannot be reached" in running.collector.problem
        assert not running.collector.connected
        mosquitto.start()
        until(lambda: running.collector.connected, "the connection", seconds=5.0)
        assert running.collector.problem == ""
    finally:
        running.end()


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_restarts_loses_the_collector_nothing_that_it_still_has(start_mosquitto, journal, how) -> None:
    broker = start_mosquitto("persistence true", "autosave_on_changes true", "autosave_interval 1")
    publisher = Publisher("127.0.0.1", broker.port)
    with collecting(journal, port=broker.port) as running:
        publisher.publish([Outgoing(TOPIC, b"%d" % number) for number in range(500)])
        running.messages(500)
        getattr(broker, how)()
        until(lambda: not running.collector.connected, "the end of the connection")
        broker.start()
        publisher.publish([Outgoing(TOPIC, b"%d" % number) for number in range(500, 1000)])
        publisher.close()
        got = running.messages(1000)
    assert sorted({int(one.payload) for one in got}) == list(range(1000))


@pytest.mark.needs("mosquitto")
def test_a_broker_that_does_not_know_us_is_told_with_its_reason(start_mosquitto, journal, tmp_path) -> None:
    (tmp_path / "passwords").write_text("")
    broker = start_mosquitto("allow_anonymous false", f"password_file {tmp_path / 'passwords'}")
    settings = MqttSettings(port=broker.port, username="tcewatch", password="wrong")
    with pytest.raises(BrokerUnavailableError, match=r"(?i)not authori[sz]ed"):
        probe(settings)
    running = Running(settings, journal)
    try:
        until(lambda: "uthori" in running.collector.problem, "the refusal")
        assert running.alive
    finally:
        running.end()


@pytest.mark.needs("mosquitto")
def test_a_topic_that_the_broker_refuses_is_named(start_mosquitto, tmp_path) -> None:
    (tmp_path / "acl").write_text("topic read tce/v1/#\n")
    broker = start_mosquitto(f"acl_file {tmp_path / 'acl'}")
    try:
        found = probe(MqttSettings(port=broker.port), ("elsewhere/#",))
    except BrokerUnavailableError as error:
        assert "elsewhere/#" in str(error)  # noqa: PT017 - brokers may also grant it and send nothing
    else:
        assert "5 topics" in found.found


def test_a_broker_that_speaks_another_version_is_told_with_the_setting(journal) -> None:
    pytest.importorskip("amqtt", reason="the extra `demo` is not installed")
    embedded = EmbeddedBroker()
    port = embedded.start()
    try:
        with pytest.raises(BrokerUnavailableError, match=r'protocol = "3\.1\.1"'):
            probe(MqttSettings(port=port, protocol="5"))
    finally:
        embedded.stop()


def test_the_embedded_broker_closes_the_connections_of_those_who_have_not_said_who_they_are() -> None:
    pytest.importorskip("amqtt", reason="the extra `demo` is not installed")
    embedded = EmbeddedBroker()
    with socket.create_connection(("127.0.0.1", embedded.start()), timeout=10) as silent:
        embedded.stop()
        gc.collect()  # what was left open would warn, and warnings are errors
        assert silent.recv(1) == b""


def test_somebody_who_is_no_broker_is_told(free_port) -> None:
    with pytest.raises(BrokerUnavailableError, match="cannot be reached"):
        probe(MqttSettings(port=free_port()))


class FullFor:
    """A journal on a disk that is full for some tries."""

    def __init__(self, journal: Journal, tries: int) -> None:
        self._journal, self.tries, self.refused = journal, tries, 0
        self.last_id, self.read = journal.last_id, journal.read

    def append(self, arrivals: Sequence[Arrival]) -> list[int]:
        if self.tries > 0:
            self.tries -= 1
            self.refused += len(arrivals)
            raise StoreFullError(Path("journal"), "no space left")
        return self._journal.append(arrivals)


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("tries", [1, 4])  # 4 tries take longer than half a keepalive: the collector leaves and comes back
def test_a_full_disk_acknowledges_nothing_says_so_and_resumes_by_itself(mosquitto, journal, tries) -> None:
    full = FullFor(journal, tries)
    with collecting(full, port=mosquitto.port, keepalive_s=4) as running:
        send(mosquitto.port, *[(TOPIC, b"%d" % number) for number in range(50)])
        until(lambda: "disk" in running.collector.problem, "the problem")
        got = running.messages(50)
        until(lambda: running.collector.problem == "" and running.collector.connected, "the end of the problem")
    assert full.refused > 0
    assert [int(one.payload) for one in got] == list(range(50))


@pytest.mark.needs("mosquitto")
def test_what_cannot_be_mended_ends_the_collector(mosquitto, journal, monkeypatch) -> None:
    with collecting(journal, port=mosquitto.port) as running:
        monkeypatch.setattr(journal, "append", lambda _: 1 / 0)
        send(mosquitto.port, (TOPIC, b"1"))
        until(lambda: not running.alive, "the end")
    assert isinstance(running.error, ZeroDivisionError)
    assert not running.collector.connected


@pytest.mark.needs("mosquitto")
def test_an_error_while_a_message_is_taken_ends_the_collector_too(mosquitto, journal, monkeypatch) -> None:
    with collecting(journal, port=mosquitto.port) as running:
        monkeypatch.setattr(running.collector, "_arrival", lambda *_: 1 / 0)
        send(mosquitto.port, (TOPIC, b"1"))
        until(lambda: not running.alive, "the end")
    assert isinstance(running.error, ZeroDivisionError)


@pytest.mark.needs("mosquitto")
def test_two_programs_with_one_client_id_give_way_to_each_other_ever_longer_say_so_and_lose_nothing(mosquitto, journal, tmp_path) -> None:
    class Impatient(threading.Event):
        """Notes how long it is to wait, and does not."""

        def __init__(self) -> None:
            super().__init__()
            self.waits: list[float] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.waits.append(timeout or 0.0)
            return super().wait(min(timeout or 0.0, 0.05))

    settings, stop = MqttSettings(port=mosquitto.port), Impatient()
    collector = Collector(settings, journal, stop=stop)
    thread = threading.Thread(target=collector.run, daemon=True)
    thread.start()
    for number in range(7):
        until(lambda: collector.connected, "the connection")
        send(mosquitto.port, (TOPIC, b"%d" % number))
        until(lambda number=number: journal.last_id() > number, "the message")
        other = connection_to(settings, settings.client_id, session_expiry_s=3600)
        other.open()
        until(lambda number=number: len(stop.waits) == number + 2, "giving way")
        other.close()
    until(lambda: collector.connected, "the connection")
    assert "another program seems to use the client id tcewatch-collector" in collector.problem  # connected again, and still told
    stop.set()
    thread.join(10)
    assert stop.waits[1:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert [int(one.payload) for one in journal.read(0, 10)] == list(range(7))


@pytest.mark.needs("mosquitto")
def test_messages_that_the_broker_drops_are_told_by_the_live_session_and_by_the_probe(start_mosquitto, journal) -> None:
    broker = start_mosquitto("max_queued_messages 10", "max_inflight_messages 5", "sys_interval 1")
    settings = {"port": broker.port}
    with collecting(journal, lane=HISTORY, **settings):
        pass
    with capture_logs() as logs, collecting(journal, **settings) as running:
        until(lambda: running.collector.broker_dropped is not None, "the broker's count")
        assert (running.collector.broker_dropped, running.collector.notice) == (0, "")
        send(broker.port, *[(TOPIC.replace("readings", "backfill"), b"%d" % number) for number in range(50)])  # the other session is away
        until(lambda: running.collector.broker_dropped, "the dropped ones")
        assert running.collector.broker_dropped >= 35
        assert f"has dropped {running.collector.broker_dropped} messages" in running.collector.notice
        assert running.collector.problem == ""  # it works
    assert [one["since_its_start"] for one in logs if one["event"] == "the broker has dropped messages"]
    found = probe(MqttSettings(**settings))
    assert any("dropped" in one for one in found.warnings)


@pytest.mark.parametrize(("version", "count"), [
    ("mosquitto version 2.0.21", 1), ("mosquitto version 1.6.12", 1),
    ("mosquitto version 2.0.22", 0), ("mosquitto version 2.1.2", 0), ("EMQX 5", 0), ("", 0),
])
def test_only_a_mosquitto_that_is_known_to_lose_messages_is_warned_of(version, count) -> None:
    assert len(list(_version_warnings(version))) == count


@pytest.mark.needs("mosquitto")
def test_the_probe_tells_the_version_of_the_broker(mosquitto) -> None:
    assert "mosquitto version" in probe(MqttSettings(port=mosquitto.port)).found


@pytest.mark.needs("mosquitto")
def test_a_stop_keeps_what_has_come(mosquitto, journal) -> None:
    with collecting(journal, port=mosquitto.port, linger_ms=1000, batch_messages=10_000) as running:
        send(mosquitto.port, *[(TOPIC, b"%d" % number) for number in range(100)])
        until(lambda: running.collector.last_message_at, "a message")
    assert journal.last_id() > 0
    with collecting(journal, port=mosquitto.port) as running:
        assert [int(one.payload) for one in running.messages(100)] == list(range(100))
