"""Both connections on a real broker, with and without TLS; the one for MQTT 5 also on a broker that breaks every rule."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mqtt5
import pytest
from structlog.testing import capture_logs

from config.errors import BrokerUnavailableError
from config.settings import MqttSettings
from ingest import connection_v5
from ingest.collector import Collector
from ingest.connect import connection_to
from ingest.connection import Connection, Received
from ingest.connection_v5 import ConnectionV5
from store.journal import Journal

TOPIC = "tce/v1/150621/91150621MA0EXAMPLE/gw-1/readings"
ONCE = mqtt5.QoS.AT_LEAST_ONCE
GRANTED = mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE


def until(holds: Callable[[], object], connection: Connection | None = None, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        if connection is None:
            time.sleep(0.01)
        else:
            connection.step(0.02)


# --- on a real broker -------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )
    (folder / "key.pem").chmod(0o644)
    return folder


@pytest.fixture(params=["plain", "tls"])
def listener(request, start_mosquitto) -> dict[str, object]:
    if request.param == "plain":
        return {"port": start_mosquitto().port}
    folder = request.getfixturevalue("certificate")
    broker = start_mosquitto(f"certfile {folder / 'cert.pem'}", f"keyfile {folder / 'key.pem'}")
    return {"port": broker.port, "ca_file": folder / "cert.pem"}


@contextmanager
def opened(client_id: str, settings: dict[str, object], *topics: str, **options: object) -> Iterator[Connection]:
    connection = connection_to(MqttSettings(**settings), client_id, **options)
    try:
        connection.open()
        if topics:
            connection.subscribe(topics)
            until(lambda: connection.subscribed, connection)
        yield connection
    finally:
        connection.close()


both = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
real = pytest.mark.needs("mosquitto")
# The codec tells a text that is not UTF-8 by a panic, which it also prints; paho leaves a socket to the garbage where TLS fails.
noisy = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@real
@both
def test_messages_of_every_size_arrive_whole_and_in_order_and_publications_are_confirmed(listener, protocol):
    sent = [bytes([size % 251]) * size for size in (0, 1, 126, 127, 128, 16_383, 16_384, 300_000, 5_000_000, *range(200))]
    got: list[Received] = []
    with opened("reader", {**listener, "protocol": protocol}, TOPIC, on_message=got.append) as reader:
        with opened("writer", {**listener, "protocol": protocol}) as writer:
            publications = [writer.publish(TOPIC, payload) for payload in sent]
            until(lambda: all(one.is_published() for one in publications), writer)
        acknowledged = 0
        while acknowledged < len(sent):  # Mosquitto lets twenty out at a time (3.1.1)
            until(lambda known=acknowledged: len(got) > known, reader)
            assert reader.acknowledge([one.packet_id for one in got[acknowledged:]])
            acknowledged = len(got)
    assert [one.payload for one in got] == sent
    assert {(one.topic, one.dup, one.retained) for one in got} == {(TOPIC, False, False)}


@real
@both
def test_what_is_not_acknowledged_comes_again_marked_and_what_is_does_not(listener, protocol):
    settings, got = {**listener, "protocol": protocol}, []
    with opened("reader", settings, TOPIC, session_expiry_s=3600, on_message=got.append) as reader, opened("writer", settings) as writer:
        last = [writer.publish(TOPIC, b"%d" % number) for number in range(10)][-1]
        until(last.is_published, writer)
        until(lambda: len(got) == 10, reader)
        reader.acknowledge([one.packet_id for one in got[:4]])
        until(reader.publish("elsewhere", b"").is_published, reader)  # by then the broker has read what was sent before
    again: list[Received] = []
    with opened("reader", settings, TOPIC, session_expiry_s=3600, on_message=again.append) as reader:
        until(lambda: len(again) == 6, reader)
    assert [(int(one.payload), one.packet_id, one.dup) for one in again] == [(int(one.payload), one.packet_id, True) for one in got[4:]]


@real
@both
def test_while_it_is_enough_no_message_is_taken_and_none_is_lost(listener, protocol):
    settings, got, limit = {**listener, "protocol": protocol}, [], [7]
    with opened("reader", settings, TOPIC, on_message=got.append, enough=lambda: len(got) >= limit[0]) as reader:
        with opened("writer", settings) as writer:
            last = [writer.publish(TOPIC, b"%d" % number) for number in range(15)][-1]
            until(last.is_published, writer)
        until(lambda: len(got) == 7, reader)
        for _ in range(10):
            assert not reader.step(0.01)
        assert len(got) == 7
        limit[0] = 15
        until(lambda: len(got) == 15, reader)
    assert [int(one.payload) for one in got] == list(range(15))


@real
@both
@noisy
def test_a_certificate_that_nobody_vouches_for_is_refused(start_mosquitto, certificate, tmp_path, protocol):
    broker = start_mosquitto(f"certfile {certificate / 'cert.pem'}", f"keyfile {certificate / 'key.pem'}")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", tmp_path / "k", "-out", tmp_path / "other.pem"]
    subprocess.run(made, check=True, capture_output=True)
    for ca_file, said in ((tmp_path / "other.pem", "CERTIFICATE_VERIFY_FAILED"), (tmp_path / "missing.pem", "No such file")):
        with pytest.raises(BrokerUnavailableError, match=said), opened("reader", {"port": broker.port, "ca_file": ca_file, "protocol": protocol}):
            pass


@real
def test_a_topic_that_is_only_watched_brings_what_the_broker_tells_of_itself(start_mosquitto):
    got: list[Received] = []
    with opened("reader", {"port": start_mosquitto().port}, TOPIC, on_message=got.append) as reader:
        reader.watch("$SYS/broker/version")
        until(lambda: got, reader)
    assert got[0].payload.startswith(b"mosquitto version")
    assert got[0].packet_id == 0


# --- on a broker that breaks the rules ----------------------------------------------------------------------------------

class Peer:
    """The broker's end of one connection."""

    def __init__(self, taken: socket.socket) -> None:
        self.socket, self._buffer = taken, b""

    def send(self, *packets: object) -> None:
        self.socket.sendall(b"".join(one if isinstance(one, bytes) else one.write() for one in packets))

    def read(self) -> object:
        """The next packet of the client; None where it has gone."""
        while True:
            try:
                packet, size = mqtt5.read(memoryview(self._buffer))
            except IndexError:
                try:
                    data = self.socket.recv(65_536)
                except OSError:
                    return None
                if not data:
                    return None
                self._buffer += data
            else:
                self._buffer = self._buffer[size:]
                return packet

    def welcome(self, **options: object) -> None:
        """Answer CONNECT."""
        assert isinstance(self.read(), mqtt5.ConnectPacket)
        self.send(mqtt5.ConnAckPacket(**options))

    def subscription(self) -> None:
        """Grant the next SUBSCRIBE."""
        asked = self.read()
        assert isinstance(asked, mqtt5.SubscribePacket)
        self.send(mqtt5.SubAckPacket(asked.packet_id, [GRANTED] * len(asked.topic_filters)))


Script = Callable[[Peer], None]


@pytest.fixture
def broken_broker() -> Iterator[Callable[..., int]]:
    """`broken_broker(script, ...)`: a port; the first connection is served by the first script, and so on; the last one serves all that follow."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []
    threads: list[threading.Thread] = []
    failures: list[BaseException] = []

    def serve(script: Script, one: socket.socket) -> None:
        try:
            script(Peer(one))
        except OSError:
            pass  # the client has gone
        except BaseException as error:  # noqa: BLE001 - told at the end
            failures.append(error)
        finally:
            one.close()

    def accept(scripts: list[Script]) -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            taken.append(one)
            threads.append(threading.Thread(target=serve, args=(scripts.pop(0) if len(scripts) > 1 else scripts[0], one)))
            threads[-1].start()

    def start(*scripts: Script) -> int:
        threads.append(threading.Thread(target=accept, args=(list(scripts),)))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for one in (listener, *taken):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
    for thread in threads:
        thread.join(10)
    assert failures == []


def publish(payload: bytes, packet_id: int, topic: str = TOPIC) -> bytes:
    return mqtt5.PublishPacket(topic, payload, qos=ONCE, packet_id=packet_id).write()


def not_utf8(packet: bytes) -> bytes:
    return packet.replace(b"gw-1", b"gw\xff1")


def odd_properties(payload: bytes, packet_id: int) -> bytes:
    """A property that MQTT 5 does not know."""
    body = len(TOPIC).to_bytes(2, "big") + TOPIC.encode() + packet_id.to_bytes(2, "big") + b"\x02\x7f\x00" + payload
    return b"\x32" + bytes([len(body)]) + body


@contextmanager
def reading(port: int, **options: object) -> Iterator[ConnectionV5]:
    connection = ConnectionV5(MqttSettings(port=port, keepalive_s=2), "reader", **options)
    try:
        connection.open()
        yield connection
    finally:
        connection.close()


def stay(peer: Peer) -> list[object]:
    """Read until the client goes."""
    return list(iter(peer.read, None))


@noisy
def test_a_message_that_the_codec_refuses_ends_in_the_journal_and_is_acknowledged_and_the_next_ones_flow(broken_broker, tmp_path):
    """Poison at the head of a session would come again for ever."""
    acknowledged: list[int] = []
    connections: list[Peer] = []

    def script(peer: Peer) -> None:
        connections.append(peer)
        peer.welcome()
        peer.subscription()
        content_type = mqtt5.PublishPacket(TOPIC, b"typed", qos=ONCE, packet_id=2, content_type="text/plain").write().replace(b"plain", b"plai\xfe")
        peer.send(not_utf8(publish(b"named", 1)), content_type, odd_properties(b"propertied", 3), publish(b"\xff\x00", 4), publish(b"good", 5))
        acknowledged.extend(one.packet_id for one in stay(peer) if isinstance(one, mqtt5.PubAckPacket))

    stop, journal = threading.Event(), Journal(tmp_path / "journal")
    collector = Collector(MqttSettings(port=broken_broker(script)), journal, stop=stop, lane=1)
    thread = threading.Thread(target=collector.run, daemon=True)
    thread.start()
    until(lambda: journal.last_id() == 5 or not thread.is_alive())
    stop.set()
    thread.join(10)
    until(lambda: len(acknowledged) == 5)
    assert [(one.topic, one.payload) for one in journal.read(0, 10)] == [
        (TOPIC.replace("gw-1", r"gw\xff1"), b"named"), (TOPIC, b"typed"), (TOPIC, b"propertied"), (TOPIC, b"\xff\x00"), (TOPIC, b"good"),
    ]
    assert acknowledged == [1, 2, 3, 4, 5]
    assert len(connections) == 1
    journal.close()


@noisy
@pytest.mark.parametrize("garbage", [
    b"\x00\x00", b"\xf0\xff\xff\xff\xff\xff", b"\x32\xff\xff\xff\xff\x01", b"\x32\x02\x00\x09", b"\x36\x03\x00\x01a",
    b"\x34\x06\x00\x01a\x00\x01\x00", b"\x32\x06\x00\x01\xff\x00\x00\x00", b"\x20\x02\x00\x01", b"\x62\x02\x00\x01",
])
def test_what_is_no_packet_at_all_ends_the_connection_with_a_reason(broken_broker, garbage):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.send(publish(b"first", 1), garbage)
        stay(peer)

    got: list[Received] = []
    with reading(broken_broker(script), on_message=got.append) as connection:
        until(lambda: not connection.alive, connection)
        assert "it sends what" in connection.gone
    assert [one.payload for one in got] == [b"first"]


def test_a_collector_that_met_garbage_says_so_and_comes_back(broken_broker, tmp_path):
    def spoiled(peer: Peer) -> None:
        peer.welcome()
        peer.send(b"\x00\x00")
        stay(peer)

    def good(peer: Peer) -> None:
        peer.welcome()
        peer.subscription()
        peer.send(publish(b"good", 1))
        stay(peer)

    stop, journal = threading.Event(), Journal(tmp_path / "journal")
    collector = Collector(MqttSettings(port=broken_broker(spoiled, good)), journal, stop=stop, lane=1)
    thread = threading.Thread(target=collector.run, daemon=True)
    with capture_logs() as logs:
        thread.start()
        until(lambda: journal.last_id() == 1 or not thread.is_alive())
        stop.set()
        thread.join(10)
    journal.close()
    assert any("cannot be read" in one.get("reason", "") for one in logs)
    assert collector.received == 1


def test_packets_may_come_byte_by_byte(broken_broker):
    def script(peer: Peer) -> None:
        peer.welcome()
        for byte in publish(b"slow", 1) + publish(b"x" * 200, 2):
            peer.send(bytes([byte]))
        stay(peer)

    got: list[Received] = []
    with reading(broken_broker(script), on_message=got.append) as connection:
        until(lambda: len(got) == 2, connection)
    assert [one.payload for one in got] == [b"slow", b"x" * 200]


@pytest.mark.parametrize(("answer", "said"), [
    (mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.NOT_AUTHORIZED, reason_str="ask Li"), r"it refuses us: Not authorized \(ask Li\)"),
    (mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION), r'protocol = "3\.1\.1"'),
    (mqtt5.ConnAckPacket(max_qos=mqtt5.QoS.AT_MOST_ONCE), "no QoS 1"),
    (b"\x20\x03\x00\xee\x00", r'cannot be read.*protocol = "3\.1\.1"'),
    (b"\x20\x02\x00\x01", r'protocol = "3\.1\.1"'),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer as a broker"),
    (b"", "closed the connection"),
])
def test_a_broker_that_refuses_or_is_none_is_told_with_the_reason(broken_broker, answer, said):
    def script(peer: Peer) -> None:
        peer.read()
        peer.send(answer)

    with pytest.raises(BrokerUnavailableError, match=said), reading(broken_broker(script)):
        pass


def test_a_session_that_another_client_took_over_is_told_from_other_ends(broken_broker):
    def ending(code: mqtt5.DisconnectReasonCode) -> Script:
        def script(peer: Peer) -> None:
            peer.welcome()
            peer.send(mqtt5.DisconnectPacket(reason_code=code))
            stay(peer)
        return script

    codes = mqtt5.DisconnectReasonCode
    port = broken_broker(ending(codes.SESSION_TAKEN_OVER), ending(codes.SERVER_SHUTTING_DOWN))
    for taken_over, said in ((True, "Session taken over"), (False, "Server shutting down")):
        with reading(port) as connection:
            until(lambda connection=connection: not connection.alive, connection)
            assert connection.taken_over == taken_over
            assert said in connection.gone


class Clock:
    """Time that the test moves on."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_silent_broker_is_asked_after_three_quarters_of_a_keepalive_and_given_up_after_one_and_a_half(broken_broker, monkeypatch):
    clock, heard, answers = Clock(), [], [True]

    def script(peer: Peer) -> None:
        peer.welcome(server_keep_alive=8)
        for packet in iter(peer.read, None):
            heard.append(type(packet))
            if answers[0]:
                peer.send(mqtt5.PingRespPacket())

    monkeypatch.setattr(connection_v5, "time", clock)
    with reading(broken_broker(script)) as connection:
        clock.now += 5.9
        connection.step(0)
        clock.now += 0.1
        connection.step(0)
        until(lambda: heard == [mqtt5.PingReqPacket])
        until(lambda: connection._pinged_at is None, connection)  # answered
        answers[0] = False
        clock.now += 6.0
        connection.step(0)
        until(lambda: len(heard) == 2)
        clock.now += 5.9
        connection.step(0)
        assert connection.alive
        clock.now += 0.1
        connection.step(0)
        assert not connection.alive
        assert connection.gone == "the broker has been silent for 12 s"


def test_no_more_is_published_than_the_broker_takes_at_once_and_what_is_too_large_for_it_is_told(broken_broker):
    came: list[mqtt5.PublishPacket] = []
    go_on = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        peer.welcome(receive_max=2, max_packet_size=100)
        for packet in iter(peer.read, None):
            if isinstance(packet, mqtt5.PublishPacket):
                came.append(packet)
                go_on.acquire()
                refused = packet.payload == b"3"
                peer.send(mqtt5.PubAckPacket(packet.packet_id, reason_code=mqtt5.PubAckReasonCode(135) if refused else mqtt5.PubAckReasonCode(0)))

    with capture_logs() as logs, reading(broken_broker(script)) as connection:
        publications = [connection.publish("a", payload) for payload in (b"0", b"1", b"x" * 200, b"3", b"4")]
        assert len(connection._publications) == 2
        assert not any(one.is_published() for one in publications)
        for _ in range(4):
            go_on.release()
        until(lambda: all(one.is_published() for one in publications), connection)
    assert [one.payload for one in came] == [b"0", b"1", b"3", b"4"]
    assert len({one.packet_id for one in came}) == 4
    assert [one["reason"] for one in logs if one["log_level"] == "warning"] == ["it takes no packet of 209 bytes", "Not authorized"]


def test_a_broker_that_does_not_read_costs_no_memory_and_gets_everything_once_it_does(broken_broker):
    reads = threading.Event()
    payloads = [bytes([number]) * 100_000 for number in range(200)]

    def script(peer: Peer) -> None:
        peer.welcome()
        reads.wait(10)
        for packet in iter(peer.read, None):
            if isinstance(packet, mqtt5.PublishPacket):
                assert packet.payload == payloads[packet.packet_id - 1]
                peer.send(mqtt5.PubAckPacket(packet.packet_id))

    with reading(broken_broker(script)) as connection:
        publications = [connection.publish("a", payload) for payload in payloads]
        for _ in range(20):
            connection.step(0)
        assert len(connection._out) < connection_v5._UNSENT_BYTES + 200_000
        assert len(connection._to_publish) > 0
        reads.set()
        until(lambda: all(one.is_published() for one in publications), connection)


def test_a_packet_larger_than_what_was_agreed_ends_the_connection_before_it_is_in_memory(broken_broker):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.send(b"\x30\xff\xff\xff\x7f")  # 256 MiB to come
        while True:
            peer.send(bytes(1_000_000))

    with reading(broken_broker(script)) as connection:
        until(lambda: not connection.alive, connection)
        assert "larger" in connection.gone
        assert len(connection._in) < 18_000_000


@pytest.mark.parametrize("error", [IndexError, ValueError, RuntimeError])
def test_what_the_receiver_raises_is_never_taken_for_a_fault_of_the_broker(broken_broker, error):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.send(publish(b"1", 1))
        stay(peer)

    def fails(_message: Received) -> None:
        raise error("ours")

    with pytest.raises(error, match="ours"), reading(broken_broker(script), on_message=fails) as connection:
        until(lambda: not connection.alive, connection)


def test_a_session_that_the_broker_keeps_for_less_than_asked_is_told(broken_broker):
    def script(peer: Peer) -> None:
        peer.welcome(session_expiry_interval=60)
        stay(peer)

    port = broken_broker(script)
    with capture_logs() as logs, reading(port, session_expiry_s=3600):
        pass
    assert [one["kept_s"] for one in logs] == [60]
