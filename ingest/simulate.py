"""A gateway that replays data through MQTT at QoS 1, as gateways do: for tests, the demo and `tcewatch gateway simulate`."""

import asyncio
import itertools
import json
import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, Protocol

import aiomqtt
import msgspec
import polars as pl

from config.errors import BrokerUnavailableError

WINDOW: Final = 200  # messages on their way to the broker at one time
_CONFIRMED_WITHIN_S: Final = 10.0
_RETRY_S: Final = 0.5
_quiet: Final = logging.getLogger("ingest.simulate.aiomqtt")
_quiet.setLevel(logging.ERROR)  # it warns of every window above ten


class Publication(Protocol):
    """What can be published."""

    @property
    def topic(self) -> str: ...
    @property
    def payload(self) -> bytes: ...


class Outgoing(NamedTuple):
    """One message of a replay."""

    topic: str
    payload: bytes
    at: datetime | None = None  # the instant of its readings


class Publisher:
    """Publishes as a gateway would: what the broker has not acknowledged is sent again, on a new connection too.

    Args:
        host: of the broker.
        port: of the broker.
        username: None = anonymous.
        password: of that user.
        client_id: default: a name of its own.
        subscribe: topics to listen on (receipts).
        on_message: what to do with what comes there: topic, payload.
    """

    def __init__(
        self, host: str, port: int, username: str | None = None, password: str | None = None, *, client_id: str | None = None,
        subscribe: Sequence[str] = (), on_message: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._host, self._port, self._subscribe, self._on_message = host, port, tuple(subscribe), on_message
        self._username, self._password = username, password
        self._client_id = client_id or f"gateway-{secrets.token_hex(6)}"
        self._client: aiomqtt.Client | None = None
        self._listener: asyncio.Task[None] | None = None
        self._closing = False
        self._was_connected = False
        self.published = 0  # messages that the broker has acknowledged
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="publisher", daemon=True)
        self._thread.start()

    def publish(self, messages: Iterable[Publication], *, rate: float | None = None) -> int:
        """Publish messages in order; returns how many when the broker has acknowledged all.

        Args:
            messages: topic and payload of each.
            rate: messages a second at most; None = as fast as the broker takes them.

        Raises:
            BrokerUnavailableError: the broker cannot be reached at the first try, or this publisher is closed. A broker
                that goes away later is waited for.
        """
        return asyncio.run_coroutine_threadsafe(self._publish(messages, rate), self._loop).result()

    def close(self) -> None:
        """Disconnect and end; further calls do nothing."""
        if self._loop.is_closed():
            return
        self._closing = True
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _publish(self, messages: Iterable[Publication], rate: float | None) -> int:
        count, began = 0, time.monotonic()
        size = WINDOW if rate is None else max(1, min(WINDOW, round(rate / 20)))
        given = iter(messages)
        while window := deque(itertools.islice(given, size)):
            count += len(window)
            while window:
                if self._closing:
                    raise BrokerUnavailableError(self._host, self._port, "the publisher is closed")
                await self._send(window)
            if rate is not None:
                await asyncio.sleep(max(0.0, began + count / rate - time.monotonic()))
        return count

    async def _send(self, window: deque[Publication]) -> None:
        """Try to publish the window once and keep in it what was not acknowledged."""
        try:
            client = await self._connected()
        except aiomqtt.MqttError as error:
            if not self._was_connected:
                raise BrokerUnavailableError(self._host, self._port, error) from error
            await asyncio.sleep(_RETRY_S)
            return
        waiting = list(window)
        window.clear()
        results = await asyncio.gather(
            *(client.publish(one.topic, one.payload, qos=1, timeout=_CONFIRMED_WITHIN_S) for one in waiting), return_exceptions=True
        )
        for one, result in zip(waiting, results, strict=True):
            if result is None:
                self.published += 1
            elif isinstance(result, aiomqtt.MqttError):
                window.append(one)
            else:
                raise result
        if window:
            await self._disconnect()

    async def _connected(self) -> aiomqtt.Client:
        if self._client is None:
            client = aiomqtt.Client(
                self._host, self._port, identifier=self._client_id, protocol=aiomqtt.ProtocolVersion.V311, clean_session=True, keepalive=15,
                max_inflight_messages=WINDOW, logger=_quiet, username=self._username, password=self._password,
            )
            client.pending_calls_threshold = math.inf  # type: ignore[assignment]  # a number to compare with
            await client.__aenter__()
            self._client, self._was_connected = client, True
            if self._subscribe:
                await client.subscribe([(topic, 1) for topic in self._subscribe])
                self._listener = asyncio.create_task(self._listen(client))
        return self._client

    async def _listen(self, client: aiomqtt.Client) -> None:
        try:
            async for message in client.messages:
                if self._on_message is not None and isinstance(message.payload, bytes):
                    self._on_message(str(message.topic), message.payload)
        except aiomqtt.MqttError:
            return  # a new connection has a listener of its own

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        if client is not None:
            try:
                await client.__aexit__(None, None, None)
            except aiomqtt.MqttError:
                return  # it was gone already


class History:
    """What a gateway keeps of what it sent, to answer requests for back-fill: again on `backfill`, or that it is lost."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], dict[int, Outgoing]] = {}  # topic without its kind, epoch -> seq -> message

    def keep(self, messages: Iterable[Outgoing]) -> Iterator[Outgoing]:
        """Keep messages of the contract while they pass."""
        for one in messages:
            said = json.loads(one.payload)
            self._kept.setdefault((one.topic.rpartition("/")[0], said["epoch"]), {})[said["seq"]] = one
            yield one

    def forget(self, gateway: str, epoch: str, seq: int) -> None:
        """Lose a message for good; `gateway` is its topic without the kind."""
        self._kept[gateway, epoch].pop(seq)

    def answers(self, topic: str, payload: bytes) -> list[Outgoing]:
        """The messages that answer a request that came on a topic."""
        gateway, request, backfill = topic.rpartition("/")[0], json.loads(payload), f"{topic.rpartition('/')[0]}/backfill"
        found: dict[tuple[str, int], Outgoing] = {}
        lost = []
        for one in request.get("missing", []):
            kept = self._kept.get((gateway, one["epoch"]), {})
            for has_it, run in itertools.groupby(range(one["from_seq"], one["to_seq"] + 1), kept.__contains__):
                seqs = list(run)
                if has_it:
                    found |= {(one["epoch"], seq): kept[seq] for seq in seqs}
                else:
                    lost.append({"epoch": one["epoch"], "from_seq": seqs[0], "to_seq": seqs[-1]})
        windows = request.get("windows", [])
        for (of, epoch), kept in self._kept.items():
            if of == gateway and windows:
                found |= {(epoch, seq): one for seq, one in kept.items() if _lies_in(one.payload, windows)}
        told = [Outgoing(backfill, msgspec.json.encode({"v": 1, "lost": lost}))] if lost else []
        return told + [one._replace(topic=backfill) for one in found.values()]


def _lies_in(payload: bytes, windows: Sequence[dict[str, str]]) -> bool:
    said = json.loads(payload)
    rows = said.get("readings") or [
        dict(zip(("meter", "register", "ts"), row, strict=True)) for row in zip(said["meter"], said["register"], said["ts"], strict=True)
    ]
    spans = [(one["meter"], one["register"], datetime.fromisoformat(one["from"]), datetime.fromisoformat(one["to"])) for one in windows]
    return any(
        (row["meter"], row["register"]) == (meter, register) and first <= _instant(row["ts"]) < end
        for row in rows for meter, register, first, end in spans
    )


def _instant(ts: str | int) -> datetime:
    return datetime.fromisoformat(ts) if isinstance(ts, str) else datetime.fromtimestamp(ts / 1000, UTC)


def payloads(
    readings: pl.DataFrame, *, region: str, epoch: str, first_seq: int = 1, per_message: int = 100, form: Literal["rows", "columns"] = "rows"
) -> Iterator[Outgoing]:
    """A table of readings as messages of the contract, in order of time; each gateway counts for itself.

    Args:
        readings: enterprise, gateway, meter, register, read_at (INSTANT), value, and unit where there is one.
        region: six digits.
        epoch: start of the gateways' count.
        first_seq: the number of each gateway's first message.
        per_message: readings of one message at most; one message holds one instant of one gateway.
        form: row form or column form.
    """
    seqs: dict[tuple[str, str], int] = {}
    units = ["unit"] if "unit" in readings.columns else []
    ordered = readings.select("enterprise", "gateway", "meter", "register", "read_at", "value", *units).sort("read_at", "enterprise", "gateway")
    ordered = ordered.with_columns(ts=pl.col("read_at").dt.epoch("ms"))
    for (enterprise, gateway, read_at), group in ordered.group_by("enterprise", "gateway", "read_at", maintain_order=True):
        for chunk in group.iter_slices(per_message):
            seq = seqs.get((enterprise, gateway), first_seq)
            seqs[enterprise, gateway] = seq + 1
            columns = chunk.select("meter", "register", "ts", "value", *units)
            said = {"readings": columns.to_dicts()} if form == "rows" else columns.to_dict(as_series=False)
            payload = msgspec.json.encode({"v": 1, "epoch": epoch, "seq": seq, **said})
            yield Outgoing(f"tce/v1/{region}/{enterprise}/{gateway}/readings", payload, read_at)


def paced(messages: Iterable[Outgoing], speed: float, wait: Callable[[float], object] = time.sleep) -> Iterator[list[Outgoing]]:
    """Messages in groups of one instant, each group when its time has come: `speed` times as fast as life."""
    first: datetime | None = None
    began = time.monotonic()
    for at, group in itertools.groupby(messages, key=lambda message: message.at):
        if at is not None:
            first = first or at
            wait(max(0.0, (at - first).total_seconds() / speed - (time.monotonic() - began)))
        yield list(group)


def log_lines(lines: Iterable[bytes]) -> Iterator[Outgoing]:
    """A log of `TOPIC PAYLOAD` lines as messages; empty lines are passed over, a payload may be empty."""
    for line in lines:
        topic, _, payload = line.rstrip(b"\r\n").partition(b" ")
        if topic:
            yield Outgoing(topic.decode("utf-8", "replace"), payload)
