"""MQTT 3.1.1 by paho: its own loop functions, driven by our thread."""

import selectors
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from ingest.connection import ANSWER_WITHIN_S, TCP_WITHIN_S, Connection, Publication, Received

_UNREADABLE_TOPIC: Final = "(a topic that is not UTF-8)"


class ConnectionV311(Connection):
    """A connection to a broker that does not speak MQTT 5; it does not tell why it ends one or refuses a publication."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._answer: ReasonCode | None = None
        self._subscription: int | None = None
        self._arrived = 0
        self._closed = False
        self._publications: dict[int, Publication] = {}
        self._selector = selectors.DefaultSelector()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=mqtt.MQTTv311, manual_ack=True, clean_session=self._session_expiry_s == 0,
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = TCP_WITHIN_S
        self._client.max_inflight_messages_set(0)
        self._client.max_queued_messages_set(0)
        self._client.on_connect = lambda _client, _data, _flags, reason, _properties: self._set_answer(reason)
        self._client.on_subscribe = lambda _client, _data, mid, reasons, _properties: self._set_granted(mid, reasons)
        self._client.on_disconnect = lambda _client, _data, _flags, reason, _properties: self._set_gone(reason)
        self._client.on_publish = lambda _client, _data, mid, _reason, _properties: self._set_published(mid)
        self._client.on_message = lambda _client, _data, message: self._take(message)

    def open(self) -> None:
        settings = self._settings
        try:
            if settings.username is not None:
                self._client.username_pw_set(settings.username, settings.password.get_secret_value() if settings.password else None)
            if (context := self._tls()) is not None:
                self._client.tls_set_context(context)
            self._client.connect(settings.host, settings.port, settings.keepalive_s)
        except (OSError, ValueError) as error:
            raise self._unavailable(error) from error
        connected = self._client.socket()
        assert isinstance(connected, socket.socket)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connected, selectors.EVENT_READ)
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while self._answer is None and self.alive and time.monotonic() < deadline:
            self.step(0.1)
        if self._answer is None:
            raise self._silent()
        self._answered(str(self._answer) if self._answer.is_failure else None)

    def subscribe(self, topics: Sequence[str]) -> None:
        self._topics = topics
        _, self._subscription = self._client.subscribe([(topic, 1) for topic in topics])

    def watch(self, topic: str) -> None:
        self._client.subscribe(topic, 0)

    @property
    def alive(self) -> bool:
        return not self._closed and self._client.socket() is not None

    def step(self, timeout_s: float) -> bool:
        connected = self._client.socket()
        if self._closed or connected is None:
            return False
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        if self._selector.get_key(connected).events != wanted:
            self._selector.modify(connected, wanted)
        # What TLS has unpacked already the selector does not see.
        unpacked = isinstance(connected, ssl.SSLSocket) and connected.pending() > 0
        events = self._selector.select(0 if unpacked else timeout_s)
        ready = events[0][1] if events else 0
        before = self._arrived
        if ready & selectors.EVENT_READ or unpacked:
            self._read()
        if self.alive and ready & selectors.EVENT_WRITE:
            self._client.loop_write()
        if self.alive:
            self._client.loop_misc()
        return self._arrived > before

    def acknowledge(self, packet_ids: Sequence[int]) -> bool:
        return all(self.alive and self._client.ack(packet_id, 1) == mqtt.MQTT_ERR_SUCCESS for packet_id in packet_ids)

    def publish(self, topic: str, payload: bytes) -> Publication:
        publication = Publication()
        self._publications[self._client.publish(topic, payload, qos=1).mid] = publication
        return publication

    def close(self) -> None:
        if self.alive:
            self._client.disconnect()
        self._closed = True
        if (left := self._client.socket()) is not None:  # what could not be sent at once is not waited for
            left.close()
        self._selector.close()

    def _read(self) -> None:
        while self.alive and not self._enough():  # loop_read takes one packet a call
            before = self._arrived
            if self._client.loop_read() != mqtt.MQTT_ERR_SUCCESS or self._arrived == before:
                return

    def _take(self, message: mqtt.MQTTMessage) -> None:
        self._arrived += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = _UNREADABLE_TOPIC
        self._on_message(Received(topic, bytes(message.payload), message.mid if message.qos else 0, message.dup, message.retain, None))

    def _set_answer(self, reason: ReasonCode) -> None:
        self._answer = reason

    def _set_granted(self, mid: int, reasons: Sequence[ReasonCode]) -> None:
        if mid == self._subscription:
            self._granted([str(reason) if reason.is_failure else None for reason in reasons])

    def _set_published(self, mid: int) -> None:
        if (publication := self._publications.pop(mid, None)) is not None:
            publication.published = True

    def _set_gone(self, reason: ReasonCode) -> None:
        self._gone = str(reason)
