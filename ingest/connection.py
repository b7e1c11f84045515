"""One MQTT connection, driven by the thread that owns it: paho's own loop functions, no thread of its own, no reconnect of its own.

A connection that is gone is never used again; the owner opens a new one. So nothing of an old connection, packet ids above
all, can be taken for something of the new one.
"""

import selectors
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from config.errors import BrokerUnavailableError
from config.settings import MqttSettings

MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024  # the broker is asked to send nothing larger (MQTT 5)
_ANSWER_WITHIN_S: Final = 5.0
_TCP_WITHIN_S: Final = 3.0
_OTHER_VERSION: Final = {"5": "3.1.1", "3.1.1": "5"}


class Connection:
    """A connection with QoS 1, manual acknowledgement and, where `session_expiry_s` > 0, a persistent session.

    Args:
        settings: where the broker is, and as whom to speak.
        client_id: the identity of the session.
        session_expiry_s: how long the broker keeps the session while we are away; 0 = no session.
        receive_maximum: how many messages may be on their way to us unacknowledged (MQTT 5; some brokers ignore it).
        on_message: called for each message, in the thread that calls `step`; what it raises, `step` raises.
        enough: asked between messages; while it holds, `step` leaves the rest to the broker.
    """

    def __init__(
        self, settings: MqttSettings, client_id: str, *, session_expiry_s: int = 0, receive_maximum: int = 1000,
        on_message: Callable[[mqtt.MQTTMessage], None] | None = None, enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._session_expiry_s, self._receive_maximum, self._enough = settings, session_expiry_s, receive_maximum, enough
        self._is_v5 = settings.protocol == "5"
        self._answer: ReasonCode | None = None
        self._topics: Sequence[str] = ()
        self.subscribed = False
        self._closed = False
        self._gone: str | None = None
        self._arrived = 0
        self._selector = selectors.DefaultSelector()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5 if self._is_v5 else mqtt.MQTTv311, manual_ack=True,
            clean_session=None if self._is_v5 else session_expiry_s == 0, reconnect_on_failure=False,
        )
        self._client.connect_timeout = _TCP_WITHIN_S
        self._client.max_inflight_messages_set(0)
        self._client.max_queued_messages_set(0)
        self._client.on_connect = lambda _client, _data, _flags, reason, _properties: self._set_answer(reason)
        self._client.on_subscribe = lambda _client, _data, _mid, reasons, _properties: self._set_granted(reasons)
        self._client.on_disconnect = lambda _client, _data, _flags, reason, _properties: self._set_gone(reason)
        if on_message is not None:
            self._client.on_message = lambda _client, _data, message: self._take(on_message, message)

    def open(self) -> None:
        """Connect and wait for the broker's answer.

        Raises:
            BrokerUnavailableError: nobody listens, nobody answers, or the broker refuses us.
        """
        settings = self._settings
        try:
            if settings.username is not None:
                self._client.username_pw_set(settings.username, settings.password.get_secret_value() if settings.password else None)
            if settings.ca_file is not None:
                self._client.tls_set(str(settings.ca_file), _path(settings.cert_file), _path(settings.key_file))
            if self._is_v5:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves this one without types
                properties.SessionExpiryInterval = self._session_expiry_s
                properties.ReceiveMaximum = self._receive_maximum
                properties.MaximumPacketSize = MAX_PAYLOAD_BYTES + 65_536 + 1024  # topic and headers beside it
                self._client.connect(
                    settings.host, settings.port, settings.keepalive_s, clean_start=self._session_expiry_s == 0, properties=properties
                )
            else:
                self._client.connect(settings.host, settings.port, settings.keepalive_s)
        except (OSError, ValueError) as error:
            raise self._unavailable(error) from error
        connected = self._client.socket()
        assert isinstance(connected, socket.socket)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connected, selectors.EVENT_READ)
        deadline = time.monotonic() + _ANSWER_WITHIN_S
        while self._answer is None and self.alive and time.monotonic() < deadline:
            self.step(0.1)
        if self._answer is None:
            silence = self._gone or f"silence for {_ANSWER_WITHIN_S:g} s"
            raise self._unavailable(f"it does not answer as a broker for MQTT {settings.protocol}: {silence}; {self._other_version()}")
        if self._answer.is_failure:
            version = "version" in str(self._answer).lower()
            raise self._unavailable(f"it refuses us: {self._answer}" + (f"; {self._other_version()}" if version else ""))

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for topics at QoS 1; a retained message comes with a new subscription only (MQTT 5).

        `subscribed` tells when the broker has agreed; where it refuses a topic, `step` raises BrokerUnavailableError.
        """
        self._topics = topics
        if self._is_v5:
            options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            self._client.subscribe([(topic, options) for topic in topics])
        else:
            self._client.subscribe([(topic, 1) for topic in topics])

    @property
    def alive(self) -> bool:
        """Whether the connection still stands."""
        return not self._closed and self._client.socket() is not None

    @property
    def gone(self) -> str:
        """Why it does not stand any more."""
        return self._gone or "closed"

    def step(self, timeout_s: float) -> bool:
        """Wait for the network at most so long, take what has come, send what is due; whether anything came."""
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

    def acknowledge(self, packet_id: int) -> bool:
        """Tell the broker that a message is ours now; False where the connection is gone: it will come again."""
        return self.alive and self._client.ack(packet_id, 1) == mqtt.MQTT_ERR_SUCCESS

    def publish(self, topic: str, payload: bytes) -> mqtt.MQTTMessageInfo:
        """Publish at QoS 1; `is_published()` of the answer tells whether the broker has acknowledged it."""
        return self._client.publish(topic, payload, qos=1)

    def close(self) -> None:
        """Leave; a persistent session stays with the broker."""
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

    def _take(self, on_message: Callable[[mqtt.MQTTMessage], None], message: mqtt.MQTTMessage) -> None:
        self._arrived += 1
        on_message(message)

    def _set_answer(self, reason: ReasonCode) -> None:
        self._answer = reason

    def _set_granted(self, reasons: Sequence[ReasonCode]) -> None:
        refused = [f"{topic} ({reason})" for topic, reason in zip(self._topics, reasons, strict=True) if reason.is_failure]
        if refused:
            raise self._unavailable(f"it refuses the subscription to {', '.join(refused)}")
        self.subscribed = True

    def _set_gone(self, reason: ReasonCode) -> None:
        self._gone = str(reason)

    def _other_version(self) -> str:
        return f'if it speaks another version, set [mqtt] protocol = "{_OTHER_VERSION[self._settings.protocol]}"'

    def _unavailable(self, cause: object) -> BrokerUnavailableError:
        return BrokerUnavailableError(self._settings.host, self._settings.port, cause)


def _path(path: object) -> str | None:
    return None if path is None else str(path)
