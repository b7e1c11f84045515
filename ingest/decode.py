"""Journal messages -> readings, or the reason why not. A bad message never stops or delays the next one.

Each message is read on its own: payloads of several senders are never joined before they are parsed, so that nothing in
one message can become a reading of another sender.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import polars as pl
import structlog
import zstandard

from config.schemas import DECODED, INSTANT, READING_QUALITY, SETTLEMENT, empty
from ingest.content import Content, Fault, Row, State
from ingest.profiles import PROFILES, STATEFUL
from ingest.profiles.own_json import read_state, salvaged
from ingest.reasons import UndecodableError
from ingest.routes import Routes, Sender
from store.journal import Message

__all__ = ["LOST", "Command", "Decodings", "GatewayState", "Routes", "decode", "unpack"]

MAX_UNPACKED_BYTES: Final = 4 * 1024 * 1024
LOST: Final = pl.Schema({  # messages that a gateway has lost for good, both ends included
    "message": pl.Int64(), "enterprise": pl.String(), "gateway": pl.String(), "epoch": pl.String(),
    "from_seq": pl.Int64(), "to_seq": pl.Int64(),
})
_HEAD: Final = ("message", "outcome", "reason", "enterprise", "gateway", "epoch", "seq", "decoded")  # the rest of SETTLEMENT comes later
_QUALITY: Final = pl.Enum(READING_QUALITY)
_SAID: Final = pl.Schema({  # a reading as its message has it; its time stamp is text or a number
    "meter": pl.String(), "register": pl.String(), "iso": pl.String(), "ms": pl.Int64(),
    "value": pl.Float64(), "unit": pl.String(), "quality": _QUALITY,
})
_NUMBERED_DOORS: Final = frozenset({"mqtt", "http"})  # where a gateway speaks and its gaps are counted
_SIZE_LIMITED_DOORS: Final = _NUMBERED_DOORS
_HEAD_BYTES: Final = 4096  # where epoch and seq of a message that is too large are looked for
_ISO_WITH_OFFSET: Final = "%Y-%m-%dT%H:%M:%S%.f%z"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_USUAL_RATIO: Final = 32  # of JSON, packed well
_CHUNK_READINGS: Final = 4_000
_FIRST_MS, _END_MS = -62_104_060_800_000, 253_370_764_800_000  # the years 2 to 9998: what Python can tell in any zone
_log: Final = structlog.get_logger()


class Command(NamedTuple):
    """What the sender of a message is to be asked for, on its own topic."""

    topic: str
    payload: bytes
    message: int  # the journal id of the message that calls for it


class GatewayState(NamedTuple):
    """What a gateway said of itself."""

    message: int
    enterprise: str
    gateway: str
    state: State


@dataclass(frozen=True, slots=True)
class Decodings:
    """What a batch of messages said."""

    readings: pl.DataFrame  # DECODED, in message order
    heads: pl.DataFrame  # SETTLEMENT, one row for each message; stored, duplicate, conflicting, rejected are 0
    lost: pl.DataFrame  # LOST
    states: list[GatewayState] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)  # the newest for each topic


def decode(
    messages: Sequence[Message], routes: Routes, *, max_payload_bytes: int = 65_536, memory: MutableMapping[str, str] | None = None,
    replayed: bool = False,
) -> Decodings:
    """Read journal messages.

    Args:
        messages: what the journal holds, in its order.
        routes: who sends on which topic.
        max_payload_bytes: larger messages from gateways are `payload_too_large`, unread (contract: 64 KiB as sent).
        memory: what formats with a memory know of their senders, changed in place: the same messages from the same memory say the
            same and leave the same.
        replayed: they come again from quarantine, out of their order: they change nothing in the memory and ask for nothing.

    Returns:
        The readings (those that could not be read carry `fault` and `raw`), a head for each message with its outcome
        (decoded, state, lost, sandbox, or undecodable with its reason), what gateways reported as lost for good, what they
        said of themselves, and what they are to be asked for. A sandbox message is not read here.
    """
    memory = {} if memory is None else memory
    batch = _Batch()
    for message in messages:
        try:
            sender = routes.sender(message.topic, message.identity)
        except UndecodableError as error:
            batch.refuse(message, None, error)
            continue
        try:
            if sender.kind == "sandbox":
                batch.skip(message, sender)
            else:
                batch.take(message, sender, _read(message, sender, max_payload_bytes, memory, replayed=replayed))
        except UndecodableError as error:
            batch.refuse(message, sender, error)
        except Exception:  # noqa: BLE001 - a fault in one profile must not stop the messages of others; the message is kept
            _log.exception("a profile failed on a message", message=message.id, profile=sender.profile)
            batch.refuse(message, sender, UndecodableError("profile_failed"))
    return batch.decodings()


def unpack(payload: bytes, content_type: str | None) -> bytes:
    """The payload as JSON text: gzip and zstd are told by content type or by their first bytes.

    Raises:
        UndecodableError: `empty`, `bad_compression`, `unpacked_too_large`.
    """
    kind = (content_type or "").partition(";")[0].strip()
    if kind.endswith("+gzip") or payload.startswith(_GZIP):
        payload = _inflate(payload)
    elif kind.endswith("+zstd") or payload.startswith(_ZSTD):
        payload = _unpack_zstd(payload)
    if not payload:
        raise UndecodableError("empty")
    if len(payload) > MAX_UNPACKED_BYTES:
        epoch, seq = salvaged(payload[:_HEAD_BYTES])
        raise UndecodableError("unpacked_too_large", epoch=epoch, seq=seq)
    return payload


def weight(message: Message) -> int:
    """Bytes that are to be read from a message, as its packing says; one that says too little is refused when it is read."""
    payload = message.payload
    size = len(payload)
    if payload.startswith(_GZIP):
        size = int.from_bytes(payload[-4:], "little")
    elif payload.startswith(_ZSTD):
        try:
            size = zstandard.frame_content_size(payload)
        except zstandard.ZstdError:
            return len(payload)  # refused in any case
    return min(size if size >= 0 else _USUAL_RATIO * len(payload), MAX_UNPACKED_BYTES)  # -1: packed as a stream, which does not say


def _read(message: Message, sender: Sender, max_payload_bytes: int, memory: MutableMapping[str, str], *, replayed: bool) -> Content:
    if len(message.payload) > max_payload_bytes and message.door in _SIZE_LIMITED_DOORS:
        epoch, seq = salvaged(message.payload[:_HEAD_BYTES])
        raise UndecodableError("payload_too_large", epoch=epoch, seq=seq)
    payload = message.payload
    if message.content_type is not None or payload[:1] != b"{" or len(payload) > MAX_UNPACKED_BYTES:
        payload = unpack(payload, message.content_type)
    if sender.kind == "state":
        return Content(state=read_state(payload))
    if sender.profile in STATEFUL:
        content = STATEFUL[sender.profile](payload, sender, memory, replayed=replayed)
    else:
        content = PROFILES[sender.profile](payload, sender)
    if sender.numbered and content.seq is None and message.door in _NUMBERED_DOORS and not (content.lost and not content.size):
        raise UndecodableError("no_sequence")
    return content


def _inflate(payload: bytes) -> bytes:
    stream = zlib.decompressobj(31)
    try:
        unpacked = stream.decompress(payload, MAX_UNPACKED_BYTES + 1)
    except zlib.error:
        raise UndecodableError("bad_compression") from None
    if len(unpacked) <= MAX_UNPACKED_BYTES and (not stream.eof or stream.unused_data):
        raise UndecodableError("bad_compression")
    return unpacked


def _unpack_zstd(payload: bytes) -> bytes:
    try:
        size = zstandard.frame_content_size(payload)
        with zstandard.ZstdDecompressor(max_window_size=2 * MAX_UNPACKED_BYTES).stream_reader(payload) as stream:
            unpacked = stream.read(MAX_UNPACKED_BYTES + 1)
    except zstandard.ZstdError:
        raise UndecodableError("bad_compression") from None
    if len(unpacked) <= MAX_UNPACKED_BYTES and 0 <= size != len(unpacked):  # a frame that was cut
        raise UndecodableError("bad_compression")
    return unpacked


class _Batch:
    """The messages of one call: what they are, and their readings as columns."""

    def __init__(self) -> None:
        self._heads: list[tuple[object, ...]] = []
        self._received: list[float] = []  # Unix seconds, of the messages that have readings
        self._rows = _Rows()
        self._lost: list[tuple[int, str, str, str, int, int]] = []
        self._columns = _Columns()
        self._chunks: list[pl.DataFrame] = []
        self._count = 0
        self._faults: dict[int, Fault] = {}
        self._states: list[GatewayState] = []
        self._commands: dict[str, Command] = {}

    def refuse(self, message: Message, sender: Sender | None, error: UndecodableError) -> None:
        epoch, seq = (error.epoch, error.seq) if sender and sender.numbered else (None, None)
        self._head(message, sender, "undecodable", error.reason, epoch, seq, 0)

    def skip(self, message: Message, sender: Sender) -> None:
        self._head(message, sender, "sandbox", None, None, None, 0)

    def take(self, message: Message, sender: Sender, content: Content) -> None:
        count, rows = content.size, content.rows
        if rows is not None and count and not content.lost:  # nearly all of them
            self._heads.append((message.id, "decoded", None, sender.enterprise, sender.gateway, content.epoch, content.seq, count))
            self._received.append(message.received_at.timestamp())
            self._count += count
            if self._columns.meter:
                self._close_chunk()
            self._rows.add(content, rows)
            if len(self._rows.rows) >= _CHUNK_READINGS:
                self._close_chunk()
            return
        if content.state is not None:
            self._states.append(GatewayState(message.id, sender.enterprise, sender.gateway, content.state))
        if content.commands:
            self._commands |= {topic: Command(topic, payload, message.id) for topic, payload in content.commands}
        outcome = "decoded"
        if count == 0 and content.state is not None:
            outcome = "state"
        elif count == 0 and content.lost and content.seq is None:
            outcome = "lost"
        self._head(message, sender, outcome, None, content.epoch, content.seq, count)
        if content.lost:
            self._lost += [(message.id, sender.enterprise, sender.gateway, *lost) for lost in content.lost]
        if count == 0:
            return
        self._received.append(message.received_at.timestamp())
        if content.faults:
            self._faults |= {self._count + index: fault for index, fault in content.faults.items()}
        self._count += count
        if rows is not None:
            if self._columns.meter:
                self._close_chunk()
            self._rows.add(content, rows)
        else:
            if self._rows.rows:
                self._close_chunk()
            self._columns.add(_at_arrival(content, message) if sender.arrival and message.door in _NUMBERED_DOORS else content, count)
        if max(len(self._rows.rows), len(self._columns.meter)) >= _CHUNK_READINGS:
            self._close_chunk()

    def _close_chunk(self) -> None:
        """Make columns of what has come since the last chunk: all in row form, or none of it."""
        if self._rows.rows:
            self._chunks.append(self._rows.frame())
            self._rows = _Rows()
        elif self._columns.meter:
            self._chunks.append(self._columns.frame())
            self._columns = _Columns()

    def _head(
        self, message: Message, sender: Sender | None, outcome: str, reason: str | None, epoch: str | None, seq: int | None, count: int
    ) -> None:
        enterprise, gateway = (sender.enterprise, sender.gateway) if sender else (None, None)
        self._heads.append((message.id, outcome, reason, enterprise, gateway, epoch, seq, count))

    def decodings(self) -> Decodings:
        columns = zip(*self._heads, strict=True) if self._heads else ([] for _ in _HEAD)
        heads = pl.DataFrame([pl.Series(name, values, SETTLEMENT[name]) for name, values in zip(_HEAD, columns, strict=True)])
        sources = heads.filter(pl.col("decoded") > 0)
        heads = heads.with_columns(pl.lit(0, dtype).alias(name) for name, dtype in SETTLEMENT.items() if name not in _HEAD)
        lost = pl.DataFrame(self._lost, schema=LOST, orient="row") if self._lost else empty(LOST)
        if sources.is_empty():
            return Decodings(empty(DECODED), heads, lost, self._states, list(self._commands.values()))
        received_at = (pl.Series("received_at", self._received) * 1e6).round().cast(pl.Int64).cast(INSTANT)  # quicker than instants one by one
        sources = sources.select("message", "enterprise", "gateway", received_at, pl.col("decoded").alias("count"))
        of_reading = sources.select(pl.int_range(pl.len(), dtype=pl.UInt32).repeat_by("count").explode()).to_series()
        index = sources.select(pl.int_ranges(0, "count", dtype=pl.UInt32).explode().alias("index"))
        self._close_chunk()
        said = pl.concat([empty(_SAID), *self._chunks], how="diagonal", rechunk=True)
        read_at = _instants(said)
        faults = {**self._faults, **{row: fault for row, fault in _time_faults(said, read_at) if row not in self._faults}}
        readings = pl.concat([sources[of_reading], index, said], how="horizontal").with_columns(
            read_at, pl.col("quality").to_physical().cast(pl.UInt8).fill_null(0), *_fault_columns(faults, said.height)
        )
        return Decodings(readings.select(DECODED.names()), heads, lost, self._states, list(self._commands.values()))


def _at_arrival(content: Content, message: Message) -> Content:
    """Readings without a time stamp count as of the message's arrival, uncertain: how long it was under way nobody knows."""
    arrived_ms = int(message.received_at.timestamp() * 1000)
    quality = content.quality or [None] * len(content.ts)
    without = [ts is None and place not in content.faults for place, ts in enumerate(content.ts)]
    return content._replace(
        ts=[arrived_ms if lacks else ts for lacks, ts in zip(without, content.ts, strict=True)],
        quality=[
            "uncertain" if lacks and said in (None, "good") else said for lacks, said in zip(without, quality, strict=True)
        ],
    )


class _Rows:
    """What some thousand readings in row form said."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._optional: set[Literal["unit", "quality"]] = set()

    def add(self, content: Content, rows: Sequence[Row]) -> None:
        self.rows += rows
        if content.unit is not None:
            self._optional.add("unit")
        if content.quality is not None:
            self._optional.add("quality")

    def frame(self) -> pl.DataFrame:
        """_SAID, without the columns that no reading has."""
        rows = self.rows
        columns = [
            pl.Series("meter", [row.meter for row in rows], pl.String), pl.Series("register", [row.register for row in rows], pl.String),
            *_times([row.ts for row in rows]), pl.Series("value", [row.value for row in rows], pl.Float64),
        ]
        if "unit" in self._optional:
            columns.append(pl.Series("unit", [row.unit for row in rows], pl.String))
        if "quality" in self._optional:
            columns.append(pl.Series("quality", [row.quality for row in rows], _QUALITY))
        return pl.DataFrame(columns)


class _Columns:
    """What some thousand readings said: few enough that their texts are still in the processor's cache when they become columns."""

    def __init__(self) -> None:
        self.meter: list[str | None] = []
        self.register: list[str | None] = []
        self.ts: list[str | int | None] = []
        self.value: list[float | None] = []
        self.unit: list[str | None] = []
        self.quality: list[str | None] = []

    def add(self, content: Content, count: int) -> None:
        self.meter += content.meter
        self.register += content.register
        self.ts += content.ts
        self.value += content.value
        nothing = [None] * count
        self.unit += content.unit or nothing
        self.quality += content.quality or nothing

    def frame(self) -> pl.DataFrame:
        """_SAID, without the column of time stamps that no reading has."""
        return pl.DataFrame([
            pl.Series("meter", self.meter, pl.String), pl.Series("register", self.register, pl.String), *_times(self.ts),
            pl.Series("value", self.value, pl.Float64), pl.Series("unit", self.unit, pl.String),
            pl.Series("quality", self.quality, _QUALITY),
        ])


def _times(given: Sequence[str | int | None]) -> list[pl.Series]:
    """Time stamps as `iso`, `ms` or both."""
    for name in ("iso", "ms"):
        try:
            return [pl.Series(name, given, _SAID[name])]
        except (TypeError, OverflowError):
            continue  # the other form, both forms, or a number beyond all times
    usable = [ts if isinstance(ts, str) or ts is None or _FIRST_MS <= ts < _END_MS else str(ts) for ts in given]
    return [
        pl.Series("iso", [ts if isinstance(ts, str) else None for ts in usable], pl.String),
        pl.Series("ms", [None if isinstance(ts, str) else ts for ts in usable], pl.Int64),
    ]


def _instants(said: pl.DataFrame) -> pl.Series:
    """INSTANT of each reading, null where its time stamp is neither ISO 8601 with an offset nor milliseconds, or out of all bounds."""
    iso = pl.col("iso").str.to_datetime(_ISO_WITH_OFFSET, time_unit="us", time_zone="UTC", strict=False)
    ms = pl.coalesce(iso.dt.epoch("ms"), "ms")
    at = pl.coalesce(iso, pl.when(pl.col("ms").is_between(_FIRST_MS, _END_MS)).then("ms").cast(pl.Datetime("ms", "UTC")).cast(INSTANT))
    read_at = said.select(pl.when(ms.is_between(_FIRST_MS, _END_MS, closed="left")).then(at).alias("read_at")).to_series()
    odd = said["iso"].filter(read_at.is_null()).drop_nulls().unique() if read_at.null_count() else ()
    also = {text: instant for text in odd if (instant := _instant(text)) is not None}  # other spellings, "Z" among them
    return read_at.fill_null(said["iso"].replace_strict(also, default=None, return_dtype=INSTANT)) if also else read_at


def _time_faults(said: pl.DataFrame, read_at: pl.Series) -> Iterator[tuple[int, Fault]]:
    for row in read_at.is_null().arg_true() if read_at.null_count() else ():
        reading = said.row(row, named=True)
        iso, ms = reading.pop("iso"), reading.pop("ms")
        yield row, Fault(_time_fault(iso), json.dumps({**reading, "ts": ms if iso is None else iso}, ensure_ascii=False))


def _fault_columns(faults: Mapping[int, Fault], height: int) -> list[pl.Series | pl.Expr]:
    if not faults:
        return [pl.lit(None, pl.String).alias("fault"), pl.lit(None, pl.String).alias("raw")]
    each = [faults.get(row, (None, None)) for row in range(height)]
    return [pl.Series("fault", [code for code, _ in each], pl.String), pl.Series("raw", [raw for _, raw in each], pl.String)]


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
        return instant.astimezone(UTC) if instant.tzinfo and 2 <= instant.year <= 9998 else None
    except (ValueError, OverflowError):
        return None


def _time_fault(iso: str | None) -> str:
    try:
        naive = iso is not None and datetime.fromisoformat(iso).tzinfo is None
    except ValueError:
        naive = False
    return "timestamp_without_offset" if naive else "bad_timestamp"
