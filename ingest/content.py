"""What a profile makes of one message: plain columns, one entry for each reading."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Literal, NamedTuple

from ingest.routes import Sender


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


class Content(NamedTuple):
    """The readings of one message, column by column, all of one length; where `faults` names a position, all but meter and register hold None.

    `ts` is ISO text with an offset or whole milliseconds since 1970, and None without a fault where the format had no time stamp:
    then the route says whether the arrival counts. `unit` and `quality` are None where no reading has one.
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


Profile = Callable[[bytes, Sender], Content]  # raises UndecodableError where the whole message cannot be read
StatefulProfile = Callable[[bytes, Sender, MutableMapping[str, str]], Content]  # also remembers; changes nothing where it raises
