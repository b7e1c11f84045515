"""Receive, journal, acknowledge: one thread, and in that order. Knows no table and reads no payload.

While it commits it does not read, so that the broker holds what we cannot keep. Until a message is committed the broker
holds the only copy: it is acknowledged after the journal has it, never before. What was received and not committed when a
connection ends is forgotten and comes again with the next one.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog
from paho.mqtt.client import topic_matches_sub

from config import failpoints
from config.errors import BrokerUnavailableError, StoreFullError, StoreUnavailableError
from config.settings import MqttSettings
from ingest.connect import connection_to
from ingest.connection import MAX_PAYLOAD_BYTES, Connection, Received
from ingest.routes import OWN_ROOT, PLATFORM_KINDS
from store.journal import HISTORY, LIVE, Arrival, Journal

_KINDS: Final = {LIVE: ("readings", "state", "sandbox"), HISTORY: ("backfill",)}
_BATCH_BYTES: Final = 8 * 1024 * 1024
_LONGEST_WAIT_S: Final = 4.0  # a broker that is back is noticed within 5 s
_SHORTEST_WAIT_S: Final = 1.0
_TAKEN_OVER_WAIT_S: Final = 60.0  # two programs with one client id: the longer both wait, the less they harm each other
_UNDISTURBED_S: Final = 6 * _TAKEN_OVER_WAIT_S
_SUSPICIOUS_ENDS: Final = 3
_STEADY_AFTER_S: Final = 5.0  # a connection that ends sooner counts as a failed try
_STORE_RETRY_S: Final = 1.0
_QUIET_STEP_S: Final = 0.2
_DROPPED: Final = "$SYS/broker/publish/messages/dropped"  # Mosquitto's own count since its start; others say nothing there
_VERSION: Final = "$SYS/broker/version"
_OLDEST_SAFE_MOSQUITTO: Final = (2, 0, 22)  # older ones lose messages or do not honour the window
_NO_ANSWER: Final = "it does not answer a subscription"
_log: Final = structlog.get_logger("collect")


class Collector:
    """Takes messages from the broker into one lane of the journal until told to stop; each lane has a session of its own.

    Args:
        settings: where the broker is, and as whom to speak: the session for history appends "-backfill" to the client id.
        journal: takes the messages.
        stop: set to end it.
        lane: LIVE (readings, state, sandbox and the routes) or HISTORY (backfill).
        routes: topic filters of other formats.
    """

    def __init__(self, settings: MqttSettings, journal: Journal, *, stop: threading.Event, lane: int = LIVE, routes: Sequence[str] = ()) -> None:
        self._settings, self._journal, self._stop, self._lane = settings, journal, stop, lane
        self._topics = topics_of(settings, lane, routes)
        self.client_id = settings.client_id if lane == LIVE else f"{settings.client_id[:50]}-backfill"
        self._pending: list[tuple[int, Arrival | None]] = []  # packet id (0: nothing to acknowledge); None: known and not kept
        self._pending_bytes = 0
        self._pending_since = 0.0
        self.connected = False
        self._broker_problem = self._store_problem = ""
        self.last_message_at: datetime | None = None
        self.received = 0  # messages given to the journal
        self.ignored_retained = 0  # retained readings: old, and published anew by nobody
        self.ignored_own = 0  # receipts and requests of the platform itself
        self.broker_dropped: int | None = None  # messages that the broker has dropped since its start, for whomever; None: it does not tell
        self._taken_over_at: float | None = None
        self._ends: deque[float] = deque(maxlen=_SUSPICIOUS_ENDS)  # of connections to a broker that was there again at once

    @property
    def problem(self) -> str:
        """One sentence on what keeps it from its work, else empty."""
        if self._store_problem or self._broker_problem:
            return self._store_problem or self._broker_problem
        if self._taken_over_at is not None and time.monotonic() - self._taken_over_at < _UNDISTURBED_S:
            return self._other_program
        return ""

    @property
    def _other_program(self) -> str:
        return f"another program seems to use the client id {self.client_id} and to take messages away: end it, or give it an id of its own"

    @property
    def notice(self) -> str:
        """One sentence on what somebody should look at though the work goes on, else empty."""
        return next(_dropped_warnings(str(self.broker_dropped)), "")

    def run(self) -> None:
        """Collect until told to stop. A broker that is away or a full disk is waited for.

        Raises:
            Exception: whatever else goes wrong: a collector that is deaf must not look alive.
        """
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            began, taken_over_at = time.monotonic(), self._taken_over_at
            try:
                self._serve()
            except BrokerUnavailableError as error:
                if str(error) != self._broker_problem:
                    _log.warning("waiting", reason=str(error))
                self._broker_problem = str(error)
            if self._taken_over_at != taken_over_at:
                wait_s = min(max(_LONGEST_WAIT_S, wait_s * 2), _TAKEN_OVER_WAIT_S)
            else:
                steady = time.monotonic() - began >= _STEADY_AFTER_S
                wait_s = 0.0 if steady else min(max(_SHORTEST_WAIT_S, wait_s * 2), _LONGEST_WAIT_S)

    def _serve(self) -> None:
        """Serve one connection from its start to its end."""
        settings = self._settings
        connection = connection_to(
            settings, self.client_id, session_expiry_s=settings.session_expiry_s, receive_maximum=min(2 * settings.batch_messages, 65_535),
            on_message=self._take, enough=self._is_batch,
        )
        try:
            try:
                connection.open()
            except BrokerUnavailableError:
                self._ends.clear()
                raise
            connection.subscribe(self._topics)
            if self._lane == LIVE:
                connection.watch(_DROPPED)
            granted_by = time.monotonic() + _LONGEST_WAIT_S
            while connection.alive and not self._stop.is_set():
                self._advance(connection)
                if not self.connected and connection.subscribed:
                    self.connected, self._broker_problem = True, ""
                    _log.info("connected", host=settings.host, port=settings.port, client_id=self.client_id, topics=self._topics)
                elif not self.connected and time.monotonic() > granted_by:
                    raise BrokerUnavailableError(settings.host, settings.port, _NO_ANSWER)
            if self._stop.is_set():
                self._commit(connection)
            elif not self._store_problem:
                if self._is_taken_over(connection):
                    self._taken_over_at = time.monotonic()
                    raise BrokerUnavailableError(settings.host, settings.port, self._other_program)
                raise BrokerUnavailableError(settings.host, settings.port, f"the connection ended: {connection.gone}")
        finally:
            self.connected = False
            self._pending, self._pending_bytes = [], 0
            connection.close()

    def _is_taken_over(self, connection: Connection) -> bool:
        """Whether another client has come with our client id: told by the broker, or guessed where it just closes (Mosquitto 2.0)."""
        now = time.monotonic()
        self._ends.append(now)
        return connection.taken_over or (len(self._ends) == _SUSPICIOUS_ENDS and now - self._ends[0] < _UNDISTURBED_S)

    def _advance(self, connection: Connection) -> None:
        linger_s = self._settings.linger_ms / 1000
        if not self._pending:
            connection.step(_QUIET_STEP_S)
            return
        # A quarter of the time without company, and the rest need not be waited for.
        came = connection.step(linger_s / 4)
        if not came or self._is_batch() or time.monotonic() - self._pending_since >= linger_s:
            self._commit(connection)

    def _take(self, message: Received) -> None:
        if message.topic == _DROPPED:
            self._note_dropped(message.payload)
            return
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending.append((message.packet_id, self._arrival(message)))
        self._pending_bytes += len(message.payload)

    def _arrival(self, message: Received) -> Arrival | None:
        topic, payload, packet_id, dup, retained, content_type = message
        own = topic.startswith(OWN_ROOT)
        if own and topic.endswith(PLATFORM_KINDS):
            self.ignored_own += 1
            return None
        if retained and not (own and topic.endswith("/state")):
            self.ignored_retained += 1
            return None
        self.last_message_at = datetime.now(UTC)
        payload = payload[:MAX_PAYLOAD_BYTES]  # MQTT 3.1.1 allows more; what is cut here is refused as too large in any case
        return Arrival("mqtt", topic, None, content_type, payload, self.last_message_at, packet_id, dup, retained, self._lane)

    def _note_dropped(self, payload: bytes) -> None:
        if not payload.isdigit():
            return
        count, known = int(payload), self.broker_dropped or 0
        if count != known and count:
            # Fewer than before: the broker has started anew.
            _log.warning("the broker has dropped messages", lately=count - known if count > known else count, since_its_start=count)
        self.broker_dropped = count

    def _is_batch(self) -> bool:
        return len(self._pending) >= self._settings.batch_messages or self._pending_bytes >= _BATCH_BYTES

    def _commit(self, connection: Connection) -> None:
        """Journal what has come, then acknowledge it. A store that cannot take it is tried again, and nothing is read meanwhile."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        arrivals = [arrival for _, arrival in pending if arrival is not None]
        # The broker gives a silent client one and a half keepalives; after half of one we rather leave and come back.
        leave_at = time.monotonic() + self._settings.keepalive_s / 2
        while True:
            try:
                self._journal.append(arrivals)
                break
            except (StoreFullError, StoreUnavailableError) as error:
                if str(error) != self._store_problem:
                    _log.warning("waiting", reason=str(error))
                self._store_problem = str(error)
                if self._stop.wait(_STORE_RETRY_S) or time.monotonic() >= leave_at:
                    connection.close()
                    return
        if self._store_problem and arrivals:
            _log.info("the journal takes messages again")
            self._store_problem = ""
        self.received += len(arrivals)
        failpoints.reach("after_commit")
        failpoints.reach("before_ack")
        # What a connection that is gone does not carry any more comes again and is known by its DUP flag.
        connection.acknowledge([packet_id for packet_id, _ in pending if packet_id])


def topics_of(settings: MqttSettings, lane: int = LIVE, routes: Sequence[str] = ()) -> list[str]:
    """What the session of a lane subscribes to."""
    return _widest((*(f"{OWN_ROOT}{region}/+/+/{kind}" for region in settings.regions for kind in _KINDS[lane]), *routes))


class Probe(NamedTuple):
    """What a look at the broker found."""

    found: str  # in a sentence
    warnings: tuple[str, ...]


def probe(settings: MqttSettings, routes: Sequence[str] = ()) -> Probe:
    """Connect and subscribe as the collectors would, without touching their sessions.

    Raises:
        BrokerUnavailableError: with the reason.
    """
    said: dict[str, str] = {}
    topics = [*topics_of(settings, LIVE, routes), *topics_of(settings, HISTORY)]
    connection = connection_to(
        settings, f"{settings.client_id[:50]}-check", on_message=lambda one: said.update({one.topic: one.payload.decode("utf-8", "replace")})
    )
    try:
        connection.open()
        for topic in (_VERSION, _DROPPED):
            connection.watch(topic)
        connection.subscribe(topics)
        _step_until(connection, lambda: connection.subscribed, _LONGEST_WAIT_S)
        if not connection.subscribed:
            raise BrokerUnavailableError(settings.host, settings.port, _NO_ANSWER)
        _step_until(connection, lambda: {_VERSION, _DROPPED} <= said.keys(), _SHORTEST_WAIT_S)  # retained: they come at once or never
    finally:
        connection.close()
    version = said.get(_VERSION, "")
    found = f"{settings.host}:{settings.port} answers, MQTT {settings.protocol}, {len(topics)} topics{version and f', {version}'}"
    return Probe(found, (*_version_warnings(version), *_dropped_warnings(said.get(_DROPPED, ""))))


def _step_until(connection: Connection, holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while connection.alive and not holds() and time.monotonic() < deadline:
        connection.step(_QUIET_STEP_S)


def _version_warnings(version: str) -> Iterator[str]:
    found = re.match(r"mosquitto version (\d+)\.(\d+)\.(\d+)", version)
    if found and tuple(map(int, found.groups())) < _OLDEST_SAFE_MOSQUITTO:
        yield f"{found[0]} has known faults that lose messages or let strangers in; take {'.'.join(map(str, _OLDEST_SAFE_MOSQUITTO))} or later"


def _dropped_warnings(dropped: str) -> Iterator[str]:
    if dropped.isdigit() and int(dropped):
        yield f"the broker has dropped {dropped} messages since its start: is max_queued_messages too small?"


def _widest(topics: Sequence[str]) -> list[str]:
    """Topic filters without those that another one covers: a broker may send a message once for each that matches."""
    distinct = list(dict.fromkeys(topics))
    return [topic for topic in distinct if not any(other != topic and _covers(other, topic) for other in distinct)]


def _covers(wide: str, narrow: str) -> bool:
    return topic_matches_sub(wide, narrow) and (wide.endswith("#") or not narrow.endswith("#"))
