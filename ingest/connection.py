"""One MQTT connection, driven by the thread that owns it: no thread of its own, no reconnect of its own.

A connection that is gone is never used again; the owner opens a new one. So nothing of an old connection, packet ids above
all, can be taken for something of the new one.
"""

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from config.errors import BrokerUnavailableError
from config.settings import MqttSettings

MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024  # the broker is asked to send nothing larger (MQTT 5)
ANSWER_WITHIN_S: Final = 5.0
TCP_WITHIN_S: Final = 3.0
_OTHER_VERSION: Final = {"5": "3.1.1", "3.1.1": "5"}


class Received(NamedTuple):
    """A message as it came."""

    topic: str
    payload: bytes
    packet_id: int  # 0 = QoS 0: nothing to acknowledge
    dup: bool
    retained: bool
    content_type: str | None


class Publication:
    """A message on its way to the broker."""

    def __init__(self) -> None:
        self.published = False

    def is_published(self) -> bool:
        """Whether the broker has answered for it."""
        return self.published


class Connection(ABC):
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
        on_message: Callable[[Received], None] = lambda _: None, enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._client_id = settings, client_id
        self._session_expiry_s, self._receive_maximum = session_expiry_s, receive_maximum
        self._on_message, self._enough = on_message, enough
        self._topics: Sequence[str] = ()
        self._gone = ""
        self.subscribed = False  # the broker has agreed to what `subscribe` asked for
        self.taken_over = False  # it ended because another client came with our client id (MQTT 5 tells)

    @abstractmethod
    def open(self) -> None:
        """Connect and wait for the broker's answer.

        Raises:
            BrokerUnavailableError: nobody listens, nobody answers, or the broker refuses us.
        """

    @abstractmethod
    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for topics at QoS 1; a retained message comes with a new subscription only (MQTT 5).

        `subscribed` tells when the broker has agreed; where it refuses a topic, `step` raises BrokerUnavailableError.
        """

    @abstractmethod
    def watch(self, topic: str) -> None:
        """Ask for a topic at QoS 0, which no session keeps; its retained message comes each time, a refusal is no matter."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the connection still stands."""

    @property
    def gone(self) -> str:
        """Why it does not stand any more."""
        return self._gone or "closed"

    @abstractmethod
    def step(self, timeout_s: float) -> bool:
        """Wait for the network at most so long, take what has come, send what is due; whether messages came."""

    @abstractmethod
    def acknowledge(self, packet_ids: Sequence[int]) -> bool:
        """Tell the broker that messages are ours now; False where the connection is gone: they will come again."""

    @abstractmethod
    def publish(self, topic: str, payload: bytes) -> Publication:
        """Publish at QoS 1; the answer tells whether the broker has acknowledged it."""

    @abstractmethod
    def close(self) -> None:
        """Leave; a persistent session stays with the broker."""

    def _tls(self) -> ssl.SSLContext | None:
        """How to speak TLS; None without. A missing or wrong file is an OSError."""
        settings = self._settings
        if settings.ca_file is None:
            return None
        context = ssl.create_default_context(cafile=str(settings.ca_file))
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        return context

    def _answered(self, refusal: str | None) -> None:
        """The broker's answer to our CONNECT.

        Raises:
            BrokerUnavailableError: it refuses us.
        """
        if refusal is not None:
            raise self._unavailable(f"it refuses us: {refusal}" + (f"; {self._other_version()}" if "version" in refusal.lower() else ""))

    def _granted(self, refusals: Sequence[str | None]) -> None:
        """The broker's answer to `subscribe`, a reason or None for each topic.

        Raises:
            BrokerUnavailableError: it refuses one.
        """
        refused = [f"{topic} ({refusal})" for topic, refusal in zip(self._topics, refusals, strict=True) if refusal is not None]
        if refused:
            raise self._unavailable(f"it refuses the subscription to {', '.join(refused)}")
        self.subscribed = True

    def _silent(self) -> BrokerUnavailableError:
        silence = self._gone or f"silence for {ANSWER_WITHIN_S:g} s"
        return self._unavailable(f"it does not answer as a broker for MQTT {self._settings.protocol}: {silence}; {self._other_version()}")

    def _other_version(self) -> str:
        return f'if it speaks another version, set [mqtt] protocol = "{_OTHER_VERSION[self._settings.protocol]}"'

    def _unavailable(self, cause: object) -> BrokerUnavailableError:
        return BrokerUnavailableError(self._settings.host, self._settings.port, cause)
