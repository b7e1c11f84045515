"""MQTT 5 by the codec mqtt5: our own socket, and one send for all acknowledgements of a batch."""

import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import mqtt5
import structlog

from ingest.connection import ANSWER_WITHIN_S, MAX_PAYLOAD_BYTES, TCP_WITHIN_S, Connection, Publication, Received

_LARGEST_PACKET: Final = MAX_PAYLOAD_BYTES + 65_536 + 1024  # topic and headers beside the payload
_READ_BYTES: Final = 256 * 1024
_UNSENT_BYTES: Final = 256 * 1024  # while more waits to be sent, nothing is read and nothing more is published
_WINDOW: Final = 1000  # publications on their way to the broker at one time
_PACKET_IDS: Final = 65_535
_FAILURE: Final = 0x80  # reason codes from here on
_PUBLISH: Final = 3  # packet type
_Code = mqtt5.ConnAckReasonCode | mqtt5.SubAckReasonCode | mqtt5.PubAckReasonCode | mqtt5.DisconnectReasonCode
_log: Final = structlog.get_logger("connection")


class ConnectionV5(Connection):
    """A connection to a broker that speaks MQTT 5."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._socket: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._in, self._out = bytearray(), bytearray()
        self._left_over = False  # whether whole packets may still lie in _in
        self._answer: mqtt5.ConnAckPacket | None = None
        self._keepalive_s = self._settings.keepalive_s
        self._heard_at = self._sent_at = time.monotonic()
        self._pinged_at: float | None = None
        self._arrived = 0
        self._last_id = 0
        self._subscription = 0
        self._to_publish: deque[tuple[str, bytes, Publication]] = deque()
        self._publications: dict[int, Publication] = {}  # sent and not acknowledged
        self._complained: set[str] = set()
        self._handlers: dict[type, Callable[[Any], None]] = {
            mqtt5.PublishPacket: self._on_publish, mqtt5.ConnAckPacket: self._on_connack, mqtt5.SubAckPacket: self._on_suback,
            mqtt5.PubAckPacket: self._on_puback, mqtt5.PingRespPacket: lambda _: None, mqtt5.DisconnectPacket: self._on_disconnect,
            Received: self._take,
        }

    def open(self) -> None:
        settings = self._settings
        hello = mqtt5.ConnectPacket(
            self._client_id, username=settings.username, password=settings.password.get_secret_value().encode() if settings.password else None,
            clean_start=self._session_expiry_s == 0, keep_alive=settings.keepalive_s, session_expiry_interval=self._session_expiry_s,
            receive_max=self._receive_maximum, max_packet_size=_LARGEST_PACKET,
        )
        try:
            self._socket = self._dialled()
        except (OSError, ValueError) as error:
            raise self._unavailable(error) from error
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._heard_at = time.monotonic()
        self._send(hello.write())
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while self._answer is None and self.alive and time.monotonic() < deadline:
            self.step(0.1)
        if self._answer is None:
            raise self._silent()
        self._accept(self._answer)

    def _dialled(self) -> socket.socket:
        settings = self._settings
        context = self._tls()
        plain = socket.create_connection((settings.host, settings.port), timeout=TCP_WITHIN_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            dialled = plain if context is None else context.wrap_socket(plain, server_hostname=settings.host)
            dialled.setblocking(False)
        except BaseException:
            plain.close()
            raise
        return dialled

    def _accept(self, answer: mqtt5.ConnAckPacket) -> None:
        self._answered(_refusal(answer.reason_code, answer.reason_str))
        if answer.max_qos == mqtt5.QoS.AT_MOST_ONCE:
            raise self._unavailable("it takes no QoS 1, without which messages may be lost")
        self._keepalive_s = answer.server_keep_alive or self._keepalive_s
        kept_s = answer.session_expiry_interval
        if kept_s is not None and kept_s < self._session_expiry_s:
            _log.warning("the broker keeps the session for a shorter time than asked", client_id=self._client_id, kept_s=kept_s)

    def subscribe(self, topics: Sequence[str]) -> None:
        self._topics, self._subscription = topics, self._next_id()
        self._send(mqtt5.SubscribePacket(self._subscription, [
            _filter(topic, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS) for topic in topics
        ]).write())

    def watch(self, topic: str) -> None:
        once = _filter(topic, mqtt5.QoS.AT_MOST_ONCE, mqtt5.RetainHandling.SEND_ALWAYS)
        self._send(mqtt5.SubscribePacket(self._next_id(), [once]).write())

    @property
    def alive(self) -> bool:
        return self._socket is not None and not self._gone

    def step(self, timeout_s: float) -> bool:
        if self._socket is None or self._gone:
            return False
        reads = len(self._out) < _UNSENT_BYTES
        wanted = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if self._out else 0)
        if self._selector.get_key(self._socket).events != wanted:
            self._selector.modify(self._socket, wanted)
        # What TLS has unpacked already the selector does not see.
        here = reads and (self._left_over or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0))
        events = self._selector.select(0 if here else timeout_s)
        ready = events[0][1] if events else 0
        before = self._arrived
        if ready & selectors.EVENT_WRITE:
            self._flush()
            self._publish_more()
        if reads:
            self._read(ready=bool(here or ready & selectors.EVENT_READ))
        self._keep_alive()
        return self._arrived > before

    def acknowledge(self, packet_ids: Sequence[int]) -> bool:
        self._send(b"".join([mqtt5.PubAckPacket(packet_id).write() for packet_id in packet_ids]))
        return self.alive

    def publish(self, topic: str, payload: bytes) -> Publication:
        publication = Publication()
        self._to_publish.append((topic, payload, publication))
        self._publish_more()
        return publication

    def close(self) -> None:
        if self._socket is not None:
            if not self._gone:
                self._send(mqtt5.DisconnectPacket().write())  # what cannot be sent at once is not waited for
            self._socket.close()
            self._socket = None
        self._selector.close()

    def _read(self, *, ready: bool) -> None:
        """Take packets until there is no whole one left here or nothing comes any more, or until it is enough."""
        while self.alive and not self._enough():
            if self._left_over:
                self._take_packets()
            elif ready:
                ready = self._receive()
            else:
                return

    def _receive(self) -> bool:
        """Read what has come once; whether there may be more."""
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            self._end(f"the connection broke: {error}")
            return False
        if not data:
            self._end("the broker closed the connection")
            return False
        self._in += data
        self._left_over = True
        self._heard_at, self._pinged_at = time.monotonic(), None
        if len(self._in) > _LARGEST_PACKET + _READ_BYTES:
            self._end("it sends a packet that is larger than what we take")
        return True

    def _take_packets(self) -> None:
        """Take the whole packets that have been read, one by one."""
        done = 0
        try:
            with memoryview(self._in) as view:
                while done < len(view) and self.alive and not self._enough():
                    with view[done:] as rest:
                        packet, size = self._packet(rest)
                    if packet is None:  # the rest of it is still on its way
                        self._left_over = False
                        return
                    done += size
                    self._handlers.get(type(packet), self._unasked)(packet)
                self._left_over = done < len(view)
        finally:
            del self._in[:done]

    def _packet(self, data: memoryview) -> tuple[mqtt5.Packet | Received | None, int]:
        """The packet at the start of what has been read, and its length; None where it is not whole, or no MQTT 5 at all."""
        try:
            return mqtt5.read(data)
        except IndexError:
            return None, 0
        except ValueError as error:
            refusal = str(error)
        except BaseException as error:  # a text that is not UTF-8 makes the codec panic, which is no Exception
            if type(error).__name__ != "PanicException":
                raise
            refusal = "a text that is not UTF-8"
        found = _salvaged(bytes(data))
        if found is None:
            self._end(f"it sends what cannot be read: {refusal}")
            return None, 0
        return found

    def _on_publish(self, packet: mqtt5.PublishPacket) -> None:
        if packet.qos == mqtt5.QoS.EXACTLY_ONCE:
            self._unasked(packet)
        else:
            self._take(Received(packet.topic, packet.payload, packet.packet_id or 0, packet.duplicate, packet.retain, packet.content_type))

    def _take(self, message: Received) -> None:
        self._arrived += 1
        self._on_message(message)

    def _unasked(self, packet: object) -> None:
        self._end(f"it sends what nobody asked for: {packet}"[:200])

    def _on_connack(self, packet: mqtt5.ConnAckPacket) -> None:
        self._answer = packet

    def _on_suback(self, packet: mqtt5.SubAckPacket) -> None:
        if packet.packet_id == self._subscription:
            self._granted([_refusal(code, packet.reason_str) for code in packet.reason_codes])

    def _on_puback(self, packet: mqtt5.PubAckPacket) -> None:
        if (publication := self._publications.pop(packet.packet_id, None)) is None:
            return
        publication.published = True
        if (refusal := _refusal(packet.reason_code, packet.reason_str)) is not None:
            self._complain(refusal)
        self._publish_more()

    def _on_disconnect(self, packet: mqtt5.DisconnectPacket) -> None:
        self.taken_over = packet.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
        self._end(f"the broker ended it: {_text(packet.reason_code, packet.reason_str)}")

    def _publish_more(self) -> None:
        answer = self._answer
        if answer is None:
            return
        while self._to_publish and len(self._publications) < min(answer.receive_max, _WINDOW) and len(self._out) < _UNSENT_BYTES and self.alive:
            topic, payload, publication = self._to_publish.popleft()
            packet_id = self._next_id()
            packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id).write()
            if answer.max_packet_size is not None and len(packet) > answer.max_packet_size:
                publication.published = True
                self._complain(f"it takes no packet of {len(packet)} bytes")
                continue
            self._publications[packet_id] = publication
            self._send(packet)

    def _send(self, data: bytes) -> None:
        self._out += data
        self._flush()

    def _flush(self) -> None:
        if self._socket is None or self._gone:
            return
        try:
            while self._out:
                del self._out[:self._socket.send(self._out)]
                self._sent_at = time.monotonic()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self._end(f"the connection broke: {error}")

    def _keep_alive(self) -> None:
        """Ask for a sign of life after three quarters of a keepalive, and end after as long again without one."""
        now, patience_s = time.monotonic(), 0.75 * self._keepalive_s
        if self._pinged_at is not None:
            if now - self._pinged_at >= patience_s:
                self._end(f"the broker has been silent for {now - self._heard_at:.0f} s")
        elif now - min(self._heard_at, self._sent_at) >= patience_s:
            self._pinged_at = now
            self._send(mqtt5.PingReqPacket().write())

    def _next_id(self) -> int:
        """A packet id that is not in use."""
        while True:
            self._last_id = self._last_id % _PACKET_IDS + 1
            if self._last_id not in self._publications:
                return self._last_id

    def _complain(self, reason: str) -> None:
        if reason not in self._complained:  # a broker that refuses one refuses them all
            self._complained.add(reason)
            _log.warning("the broker refuses a publication", client_id=self._client_id, reason=reason)

    def _end(self, why: str) -> None:
        self._gone = self._gone or why


def _filter(topic: str, qos: mqtt5.QoS, retained: mqtt5.RetainHandling) -> mqtt5.TopicFilter:
    return mqtt5.TopicFilter(topic, max_qos=qos, retain_as_published=False, retain_handling=retained)


def _refusal(code: _Code, said: str | None) -> str | None:
    return _text(code, said) if code.value >= _FAILURE else None


def _text(code: _Code, said: str | None) -> str:
    name = code.name.replace("_", " ").capitalize()
    return f"{name} ({said})" if said else name


def _salvaged(data: bytes) -> tuple[Received, int] | None:
    """A message that the codec refuses, read by its lengths alone: refused by us too, a session would bring it again for ever.

    Its properties are passed over, and what is not UTF-8 in its topic is escaped: no such topic is one of ours.

    Returns:
        The message and the length of its packet; None where the lengths do not fit, or where it is no message of QoS 0 or 1.
    """
    first, qos = data[0], data[0] >> 1 & 3
    frame = _number(data, 1)
    if frame is None or first >> 4 != _PUBLISH or qos > 1 or (end := sum(frame)) > len(data):
        return None
    name_at = frame[1] + 2
    name_end = name_at + int.from_bytes(data[frame[1]:name_at])
    packet_id = int.from_bytes(data[name_end:name_end + 2]) if qos else 0
    properties = _number(data[:end], name_end + 2 * qos)
    if properties is None or (payload_at := sum(properties)) > end or (qos and not packet_id):
        return None
    topic = data[name_at:name_end].decode("utf-8", "backslashreplace")
    return Received(topic, data[payload_at:end], packet_id, bool(first & 8), bool(first & 1), None), end


def _number(data: bytes, at: int) -> tuple[int, int] | None:
    """A variable byte integer, and where it ends; None where it does not."""
    number = 0
    for place, byte in enumerate(data[at:at + 4]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    return None
