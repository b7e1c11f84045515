"""Journal messages -> readings, or the reason why not. A bad message never stops or delays the next one.

Each message is read on its own: payloads of several senders are never joined before they are parsed, so that nothing in
one message can become a reading of another sender.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl
import structlog
import zstandard

from config.schemas import DECODED, INSTANT, READING_QUALITY, SETTLEMENT, empty
from ingest.content import Content
from ingest.profiles import PROFILES
from ingest.profiles.own_json import check_state
from ingest.reasons import UndecodableError
from ingest.routes import Routes, Sender
from store.journal import Message

MAX_UNPACKED_BYTES: Final = 4 * 1024 * 1024
LOST: Final = pl.Schema({  # messages that a gateway has lost for good, both ends included
    "message": pl.Int64(), "enterprise": pl.String(), "gateway": pl.String(), "epoch": pl.String(),
    "from_seq": pl.Int64(), "to_seq": pl.Int64(),
})
_NUMBERED_DOORS: Final = frozenset({"mqtt", "http"})  # where a gateway speaks and its gaps are counted
_SIZE_LIMITED_DOORS: Final = _NUMBERED_DOORS
_ISO_WITH_OFFSET: Final = "%Y-%m-%dT%H:%M:%S%.f%z"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_FIRST_MS, _END_MS = -62_135_596_800_000, 253_402_300_800_000  # the years 1 to 9999
_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Decodings:
    """What a batch of messages said."""

    readings: pl.DataFrame  # DECODED, in message order
    heads: pl.DataFrame  # SETTLEMENT, one row for each message; stored, duplicate, conflicting, rejected are 0
    lost: pl.DataFrame  # LOST


def decode(messages: Sequence[Message], routes: Routes, *, max_payload_bytes: int = 65_536) -> Decodings:
    """Read journal messages.

    Args:
        messages: what the journal holds, in its order.
        routes: who sends on which topic.
        max_payload_bytes: larger messages from gateways are `payload_too_large`, unread (contract: 64 KiB as sent).

    Returns:
        The readings (those that could not be read carry `fault` and `raw`), a head for each message with its outcome
        (decoded, state, lost, or undecodable with its reason), and what gateways reported as lost for good.
    """
    batch = _Batch()
    for message in messages:
        try:
            sender = routes.sender(message.topic, message.identity)
        except UndecodableError as error:
            batch.refuse(message, None, error)
            continue
        try:
            batch.take(message, sender, _read(message, sender, max_payload_bytes))
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
        raise UndecodableError("unpacked_too_large")
    return payload


def _read(message: Message, sender: Sender, max_payload_bytes: int) -> Content | None:
    """The content of a message; None for a gateway's state."""
    if message.door in _SIZE_LIMITED_DOORS and len(message.payload) > max_payload_bytes:
        raise UndecodableError("payload_too_large")
    payload = unpack(message.payload, message.content_type)
    if sender.kind == "state":
        check_state(payload)
        return None
    content = PROFILES[sender.profile](payload, sender)
    if sender.numbered and content.seq is None and message.door in _NUMBERED_DOORS and not (content.lost and not content.meter):
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
        if size > MAX_UNPACKED_BYTES:
            raise UndecodableError("unpacked_too_large")
        with zstandard.ZstdDecompressor(max_window_size=2 * MAX_UNPACKED_BYTES).stream_reader(payload) as stream:
            unpacked = stream.read(MAX_UNPACKED_BYTES + 1)
    except zstandard.ZstdError:
        raise UndecodableError("bad_compression") from None
    if 0 <= size != len(unpacked):  # a frame that was cut
        raise UndecodableError("bad_compression")
    return unpacked


class _Batch:
    """The columns of all messages of one call."""

    def __init__(self) -> None:
        self._heads: list[tuple[object, ...]] = []
        self._sources: list[tuple[int, str, str, datetime, int]] = []  # message, enterprise, gateway, received_at, readings
        self._meter: list[str | None] = []
        self._register: list[str | None] = []
        self._ts: list[str | int | None] = []
        self._value: list[float | None] = []
        self._unit: list[str | None] = []
        self._quality: list[str | None] = []
        self._faults: dict[int, tuple[str, str]] = {}
        self._lost: list[tuple[int, str, str, str, int, int]] = []

    def refuse(self, message: Message, sender: Sender | None, error: UndecodableError) -> None:
        self._head(message, sender, "undecodable", error.reason, error.epoch, error.seq, 0)

    def take(self, message: Message, sender: Sender, content: Content | None) -> None:
        if content is None:
            self._head(message, sender, "state", None, None, None, 0)
            return
        start, count = len(self._meter), len(content.meter)
        outcome = "lost" if content.lost and content.seq is None and count == 0 else "decoded"
        self._head(message, sender, outcome, None, content.epoch, content.seq, count)
        self._lost += [(message.id, sender.enterprise, sender.gateway, *lost) for lost in content.lost]
        if count == 0:
            return
        self._sources.append((message.id, sender.enterprise, sender.gateway, message.received_at, count))
        self._meter += content.meter
        self._register += content.register
        self._ts += content.ts
        self._value += content.value
        nothing = [None] * count
        self._unit += content.unit or nothing
        self._quality += content.quality or nothing
        for index, fault in content.faults.items():
            self._faults[start + index] = fault

    def _head(
        self, message: Message, sender: Sender | None, outcome: str, reason: str | None, epoch: str | None, seq: int | None, count: int
    ) -> None:
        enterprise, gateway = (sender.enterprise, sender.gateway) if sender else (None, None)
        self._heads.append((message.id, outcome, reason, enterprise, gateway, epoch, seq, count, 0, 0, 0, 0))

    def decodings(self) -> Decodings:
        heads = pl.DataFrame(self._heads, schema=SETTLEMENT, orient="row")
        lost = pl.DataFrame(self._lost, schema=LOST, orient="row")
        if not self._meter:
            return Decodings(empty(DECODED), heads, lost)
        sources = pl.DataFrame(
            self._sources, orient="row",
            schema={"message": pl.Int64(), "enterprise": pl.String(), "gateway": pl.String(), "received_at": INSTANT, "count": pl.UInt32()},
        )
        of_reading = sources.select(pl.int_range(pl.len(), dtype=pl.UInt32).repeat_by("count").explode()).to_series()
        readings = sources[of_reading].with_columns(
            sources.select(pl.int_ranges(0, "count", dtype=pl.UInt32).explode()).to_series().alias("index"),
            pl.Series("meter", self._meter, pl.String),
            pl.Series("register", self._register, pl.String),
            pl.Series("value", self._value, pl.Float64),
            pl.Series("unit", self._unit, pl.String),
            pl.Series("quality", self._quality, pl.Enum(READING_QUALITY)).to_physical().cast(pl.UInt8).fill_null(0),
            self._read_at(),
        )
        self._note_unreadable_times(readings["read_at"])
        return Decodings(readings.with_columns(self._fault_columns()).select(DECODED.names()), heads, lost)

    def _read_at(self) -> pl.Series:
        try:
            return _parse(pl.Series("read_at", self._ts, pl.String))
        except TypeError:  # whole milliseconds, or both forms in one batch
            ms = pl.Series("read_at", [ts if isinstance(ts, int) and _FIRST_MS <= ts < _END_MS else None for ts in self._ts], pl.Int64)
            read_at = ms.cast(pl.Datetime("ms", "UTC")).cast(INSTANT)
            if read_at.null_count():
                read_at = read_at.fill_null(_parse(pl.Series([ts if isinstance(ts, str) else None for ts in self._ts], dtype=pl.String)))
            return read_at

    def _note_unreadable_times(self, read_at: pl.Series) -> None:
        for row in read_at.is_null().arg_true() if read_at.null_count() else ():
            if row not in self._faults:
                columns: dict[str, Sequence[object]] = {
                    "meter": self._meter, "register": self._register, "ts": self._ts, "value": self._value, "unit": self._unit,
                }
                raw = json.dumps({name: column[row] for name, column in columns.items()}, ensure_ascii=False)
                self._faults[row] = (_time_fault(self._ts[row]), raw)

    def _fault_columns(self) -> list[pl.Series | pl.Expr]:
        if not self._faults:
            return [pl.lit(None, pl.String).alias("fault"), pl.lit(None, pl.String).alias("raw")]
        faults = [self._faults.get(row) for row in range(len(self._meter))]
        return [
            pl.Series("fault", [None if fault is None else fault[0] for fault in faults], pl.String),
            pl.Series("raw", [None if fault is None else fault[1] for fault in faults], pl.String),
        ]


def _parse(iso: pl.Series) -> pl.Series:
    """ISO 8601 texts with an offset -> INSTANT; null where it is anything else."""
    parsed = iso.str.to_datetime(_ISO_WITH_OFFSET, time_unit="us", time_zone="UTC", strict=False)
    odd = iso.filter(parsed.is_null() & iso.is_not_null()).unique()
    if len(odd) == 0:
        return parsed
    also = {text: instant for text in odd if (instant := _instant(text)) is not None}  # "Z" among them
    return parsed.fill_null(iso.replace_strict(also, default=None, return_dtype=INSTANT)) if also else parsed


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
        return instant.astimezone(UTC) if instant.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _time_fault(ts: str | int | None) -> str:
    try:
        naive = isinstance(ts, str) and datetime.fromisoformat(ts).tzinfo is None
    except ValueError:
        naive = False
    return "timestamp_without_offset" if naive else "bad_timestamp"
