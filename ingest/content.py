"""What a profile makes of one message: plain columns, one entry for each reading. And what profiles share."""

import json
import math
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeGuard
from zoneinfo import ZoneInfo

import msgspec

from ingest.mapping_file import MAX_NAME_CHARS as MAX_NAME_CHARS
from ingest.mapping_file import Mapping as MappingFile
from ingest.mapping_file import Names
from ingest.reasons import UndecodableError

Kind = Literal["readings", "backfill", "state", "sandbox"]
MAX_READINGS: Final = 10_000  # of one message
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")
_decoder: Final = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks on a topic, and in which format."""

    enterprise: str  # empty: nobody says, a file on its own
    gateway: str
    profile: str
    kind: Kind
    zone: ZoneInfo  # of local times in its messages
    numbered: bool  # the format has epoch and seq, so that gaps are seen
    topic: str = ""
    arrival: bool = False  # a reading without a time stamp of its own counts as of its arrival
    valid: str | None = None  # nhjc: the `valid` of a valid reading, as text
    mapping: MappingFile | Names | None = None  # what the route's mapping file says


class Fault(NamedTuple):
    """One reading that could not be read: a code of `reasons.READING_FAULTS` and the reading as it came."""

    code: str
    raw: str


class LostRange(NamedTuple):
    """Messages that a gateway has lost for good, both ends included."""

    epoch: str
    from_seq: int
    to_seq: int


class State(NamedTuple):
    """What a gateway says of itself."""

    state: Literal["online", "offline"]
    epoch: str | None = None
    software: str | None = None


class Row(Protocol):
    """One reading that was read without a fault."""

    @property
    def meter(self) -> str: ...
    @property
    def register(self) -> str: ...
    @property
    def ts(self) -> str | int: ...
    @property
    def value(self) -> float: ...
    @property
    def unit(self) -> str | None: ...
    @property
    def quality(self) -> str | None: ...


class Content(NamedTuple):
    """The readings of one message, column by column, all of one length; where `faults` names a position, all but meter and register hold None.

    `ts` is ISO text with an offset or whole milliseconds since 1970, and None without a fault where the format had no time stamp:
    then the route says whether the arrival counts. `unit` and `quality` are None where no reading has one.

    Or `rows`, without a fault, instead of the columns: those of many messages are made into columns together. There an empty
    `unit` or `quality` tells that rows may have one.
    """

    meter: Sequence[str | None] = ()
    register: Sequence[str | None] = ()
    ts: Sequence[str | int | None] = ()
    value: Sequence[float | None] = ()
    unit: Sequence[str | None] | None = None
    quality: Sequence[str | None] | None = None
    faults: Mapping[int, Fault] = {}
    epoch: str | None = None
    seq: int | None = None
    lost: Sequence[LostRange] = ()
    state: State | None = None
    commands: Sequence[tuple[str, bytes]] = ()  # topic, payload: what the sender is to be asked for
    rows: Sequence[Row] | None = None

    @property
    def size(self) -> int:
        """How many readings it has."""
        return len(self.meter if self.rows is None else self.rows)


Profile = Callable[[bytes, Sender], Content]  # raises UndecodableError where the whole message cannot be read


class StatefulProfile(Protocol):
    """A profile that remembers; it changes nothing where it raises, nor for what is replayed from quarantine."""

    def __call__(self, payload: bytes, sender: Sender, memory: MutableMapping[str, str], *, replayed: bool) -> Content: ...


class Rows:
    """Collects the readings of one message, good and faulty, in their order."""

    def __init__(self) -> None:
        self._rows: list[tuple[str | None, str | None, str | int | None, float | None, str | None, str | None]] = []
        self._faults: dict[int, Fault] = {}

    def add(
        self, meter: str, register: str, ts: str | int | None, value: float, unit: str | None = None, quality: str | None = None
    ) -> None:
        self._rows.append((meter, register, ts, value, unit, quality))
        self._check()

    def fault(self, code: str, raw: object, meter: object = None, register: object = None) -> None:
        """One that could not be read; its names are kept where they are names."""
        self._faults[len(self._rows)] = Fault(code, as_text(raw))
        self._rows.append((meter if is_name(meter) else None, register if is_name(register) else None, None, None, None, None))
        self._check()

    def content(self, **more: Any) -> Content:
        meter, register, ts, value, unit, quality = zip(*self._rows, strict=True) if self._rows else ((),) * 6
        return Content(meter, register, ts, value, unit, quality, self._faults, **more)

    def _check(self) -> None:
        if len(self._rows) > MAX_READINGS:
            raise UndecodableError("too_many_readings")


def parse_json(payload: bytes) -> Any:
    """A JSON document; NaN and Infinity, which are no JSON, are read too, so that one of them costs its reading only.

    Raises:
        UndecodableError: `not_json`.
    """
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            return json.loads(payload.decode("utf-8"))
        except (ValueError, RecursionError):
            raise UndecodableError("not_json") from None


def number(value: object, *, from_text: bool = False) -> float | None:
    """A finite number, or None; text counts where the format writes numbers as text."""
    if from_text and isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond what a float holds
        return None


def is_text(value: object) -> TypeGuard[str]:
    """Whether this is text that can be stored."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def is_name(value: object) -> TypeGuard[str]:
    """Whether this can name a meter or a register: text that can be stored, neither empty nor endless."""
    return is_text(value) and 1 <= len(value) <= MAX_NAME_CHARS


def as_text(raw: object) -> str:
    """A part of a message as JSON text that can be stored."""
    return json.dumps(raw, ensure_ascii=False, default=repr).encode("utf-8", "backslashreplace").decode()
