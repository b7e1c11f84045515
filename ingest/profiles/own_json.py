"""The JSON of the contract: row form, column form, lost ranges, gateway state.

Well-formed messages take the quick way through msgspec's typed decoder. Where that refuses one, the message is read
again by the standard library, which knows NaN and Infinity, and each reading is judged on its own: one bad reading
never costs its neighbours.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from config.schemas import READING_QUALITY
from ingest.content import MAX_READINGS, Content, Fault, LostRange, Sender, State, as_text, is_text, number
from ingest.reasons import UndecodableError

VERSION: Final = 1
MAX_SEQ: Final = 2**53  # what every JSON implementation carries exactly
MAX_EPOCH_CHARS: Final = 64
_COLUMNS: Final = ("meter", "register", "ts", "value", "unit", "quality")
_REQUIRED: Final = _COLUMNS[:4]


class _Reading(msgspec.Struct, gc=False):
    meter: str
    register: str
    ts: str | int
    value: float
    unit: str | None = None
    quality: Literal["good", "uncertain", "bad"] | None = None


class _Payload(msgspec.Struct, gc=False):
    v: int
    epoch: str | None = None
    seq: int | None = None
    readings: list[_Reading] | None = None
    meter: list[str] | None = None
    register: list[str] | None = None
    ts: list[str | int] | None = None
    value: list[float] | None = None
    unit: list[str | None] | None = None
    quality: list[Literal["good", "uncertain", "bad"] | None] | None = None
    lost: list[Any] | None = None
    enterprise: str | None = None
    gateway: str | None = None


class _StateMessage(msgspec.Struct):
    v: Literal[1]
    state: Literal["online", "offline"]
    epoch: str | None = None
    software: str | None = None


_NO_FAULTS: Final[Mapping[int, Fault]] = {}
_payload_decoder: Final = msgspec.json.Decoder(_Payload)
_state_decoder: Final = msgspec.json.Decoder(_StateMessage)
_SALVAGE_EPOCH: Final = re.compile(rb'"epoch"\s*:\s*"([ -!#-\[\]-~]{1,64})"')
_SALVAGE_SEQ: Final = re.compile(rb'"seq"\s*:\s*([0-9]{1,16})\s*[,}]')


def read(payload: bytes, sender: Sender) -> Content:
    """Read one unpacked message of `readings` or `backfill`.

    Raises:
        UndecodableError: the message as a whole cannot be read; it carries epoch and seq where these could be read.
    """
    try:
        message = _payload_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_slowly(payload, sender)
    epoch, seq, rows, meter = message.epoch, message.seq, message.readings, message.meter
    if epoch is None or seq is None or not 1 <= len(epoch) <= MAX_EPOCH_CHARS or not 1 <= seq <= MAX_SEQ:
        epoch = seq = None  # one without the other says nothing
    if message.v != VERSION or message.enterprise is not None or message.gateway is not None:
        _check_head(message.v, message.enterprise, message.gateway, sender, epoch, seq)
    if _may_repeat(payload, None if rows is None else len(rows)):
        return _read_slowly(payload, sender)
    lost = () if message.lost is None else _lost(message.lost)
    if rows is not None:
        if meter is not None:
            raise UndecodableError("two_forms", epoch=epoch, seq=seq)
        if len(rows) > MAX_READINGS:
            raise UndecodableError("too_many_readings", epoch=epoch, seq=seq)
        # Looking for the name is far cheaper than asking each reading for what most senders leave out.
        unit, quality = () if b'"unit"' in payload else None, () if b'"quality"' in payload else None
        return Content((), (), (), (), unit, quality, _NO_FAULTS, epoch, seq, lost, None, (), rows)
    register, ts, value = message.register, message.ts, message.value
    if lost and meter is None:
        return Content(lost=lost)
    if meter is None or register is None or ts is None or value is None:
        raise UndecodableError("no_readings", epoch=epoch, seq=seq)
    _check_lengths([column for column in (meter, register, ts, value, message.unit, message.quality) if column is not None], epoch, seq)
    return Content(meter, register, ts, value, message.unit, message.quality, epoch=epoch, seq=seq, lost=lost)


def _may_repeat(payload: bytes, rows: int | None) -> bool:
    """Whether a key that must be there may stand twice, of which no decoder says anything; or there is no reading."""
    times, count = rows or int(rows is None), payload.count
    if count(b'"meter"') != times or count(b'"register"') != times or count(b'"ts"') != times or count(b'"value"') != times:
        return True
    count = (payload if rows is None or rows == 1 else payload[: payload.find(b"[")] + payload[payload.rfind(b"]") :]).count
    return count(b'"seq"') > 1 or count(b'"epoch"') > 1 or count(b'"v"') > 1


class _Repeating(dict[str, Any]):
    """A JSON object in which a key stands twice."""

    pairs: Sequence[tuple[str, Any]] = ()


def read_state(payload: bytes) -> State:
    """Read a gateway's `state` message.

    Raises:
        UndecodableError: `bad_state`.
    """
    try:
        said = _state_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UndecodableError("bad_state") from None
    return State(said.state, said.epoch, said.software)


def judge(row: object) -> Fault | None:
    """What is wrong with one reading in row form, or None: types, finiteness, text that is no text."""
    if not isinstance(row, dict):
        return Fault("not_an_object", as_text(row))
    if isinstance(row, _Repeating):
        return Fault("duplicate_key", "{" + ", ".join(f"{as_text(key)}: {as_text(value)}" for key, value in row.pairs) + "}")
    for name, code in (("meter", "bad_meter"), ("register", "bad_register"), ("unit", "bad_unit")):
        if not is_text(row.get(name)) and not (name == "unit" and row.get(name) is None):
            return Fault(code, as_text(row))
    ts, value = row.get("ts"), row.get("value")
    if not is_text(ts) and not (isinstance(ts, int) and not isinstance(ts, bool)):
        return Fault("bad_timestamp", as_text(row))
    if number(value) is None:
        return Fault("bad_value", as_text(row))
    if row.get("quality") is not None and row["quality"] not in READING_QUALITY:
        return Fault("bad_quality", as_text(row))
    return None


def _read_slowly(payload: bytes, sender: Sender) -> Content:
    try:
        message = json.loads(payload.decode("utf-8"), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        epoch, seq = salvaged(payload)
        raise UndecodableError("not_json", epoch=epoch, seq=seq) from None
    if not isinstance(message, dict):
        raise UndecodableError("not_an_object")
    if isinstance(message, _Repeating):
        epoch, seq = salvaged(payload)
        raise UndecodableError("duplicate_key", epoch=epoch, seq=seq)
    epoch, seq = message.get("epoch"), message.get("seq")
    _check_head(message.get("v"), message.get("enterprise"), message.get("gateway"), sender, epoch, seq)
    epoch, seq = _sequence(epoch, seq)
    lost = () if message.get("lost") is None else _lost(message["lost"])
    rows = message.get("readings")
    if rows is None and lost and message.get("meter") is None:
        return Content(lost=lost)
    if rows is None:
        rows = _rows_of_columns(message, epoch, seq)
    elif message.get("meter") is not None:
        raise UndecodableError("two_forms", epoch=epoch, seq=seq)
    if not isinstance(rows, list):
        raise UndecodableError("no_readings", epoch=epoch, seq=seq)
    if len(rows) > MAX_READINGS:
        raise UndecodableError("too_many_readings", epoch=epoch, seq=seq)
    faults = {index: fault for index, row in enumerate(rows) if (fault := judge(row)) is not None}
    usable = [_names_of(row) if index in faults else row for index, row in enumerate(rows)]
    meter, register, ts, value, unit, quality = ([row.get(name) for row in usable] for name in _COLUMNS)
    return Content(
        meter, register, ts, [None if one is None else float(one) for one in value], unit, quality, faults, epoch, seq, lost
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) == len(pairs):
        return read
    repeating = _Repeating(read)
    repeating.pairs = pairs
    return repeating


def _names_of(row: object) -> Mapping[str, Any]:
    """What a reading that cannot be used says of its register, for those who look for it in quarantine."""
    return {name: row[name] for name in ("meter", "register") if is_text(row.get(name))} if isinstance(row, dict) else {}


def _rows_of_columns(message: Mapping[str, Any], epoch: str | None, seq: int | None) -> list[dict[str, Any]]:
    columns = {name: message[name] for name in _COLUMNS if message.get(name) is not None}
    if not all(name in columns for name in _REQUIRED) or not all(isinstance(column, list) for column in columns.values()):
        raise UndecodableError("no_readings", epoch=epoch, seq=seq)
    _check_lengths(list(columns.values()), epoch, seq)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _check_lengths(columns: Sequence[Sequence[object]], epoch: str | None, seq: int | None) -> None:
    if len({len(column) for column in columns}) != 1:
        raise UndecodableError("unequal_columns", epoch=epoch, seq=seq)
    if len(columns[0]) > MAX_READINGS:
        raise UndecodableError("too_many_readings", epoch=epoch, seq=seq)


def _check_head(v: object, enterprise: object, gateway: object, sender: Sender, epoch: object, seq: object) -> None:
    known_epoch, known_seq = _sequence(epoch, seq)
    if type(v) is not int or v != VERSION:
        raise UndecodableError("wrong_version", epoch=known_epoch, seq=known_seq)
    if (enterprise is not None and enterprise != sender.enterprise) or (gateway is not None and gateway != sender.gateway):
        raise UndecodableError("topic_payload_mismatch", epoch=known_epoch, seq=known_seq)


def _sequence(epoch: object, seq: object) -> tuple[str | None, int | None]:
    """Epoch and seq where both are usable, else neither: one without the other says nothing."""
    if is_text(epoch) and 1 <= len(epoch) <= MAX_EPOCH_CHARS and type(seq) is int and 1 <= seq <= MAX_SEQ:
        return epoch, seq
    return None, None


def _lost(ranges: object) -> Sequence[LostRange]:
    found = []
    for item in ranges if isinstance(ranges, list) else [None]:
        if not isinstance(item, dict):
            raise UndecodableError("bad_lost_range")
        (epoch, first), (_, last) = _sequence(item.get("epoch"), item.get("from_seq")), _sequence(item.get("epoch"), item.get("to_seq"))
        if epoch is None or first is None or last is None or first > last:
            raise UndecodableError("bad_lost_range")
        found.append(LostRange(epoch, first, last))
    return found


def salvaged(payload: bytes) -> tuple[str | None, int | None]:
    """Epoch and seq of a message that was cut or is too large to be read: its sender can be told, and its number is no gap."""
    epochs, seqs = _SALVAGE_EPOCH.findall(payload), _SALVAGE_SEQ.findall(payload)
    return _sequence(epochs[0].decode(), int(seqs[0])) if len(epochs) == len(seqs) == 1 else (None, None)
